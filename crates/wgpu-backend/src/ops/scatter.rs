//! Scatter in one launch where it is small, else in launches over linked lists: the stages of `scatter.wgsl`.

use wgrad_core::ops::{Merge, Scatter};
use wgrad_core::{DType, Layout, Operand, Output, Result, Shape};
use wgrad_shaders::{Value, context};

use super::{GROUP, GpuOperation, Launch, elements_to, place_of};
use crate::reduce::BLOCK;
use crate::source::{Generated, Slot, Source, register};

/// Most elements along the dimension that chains of kernels without barriers hold: sorting so many
/// takes a thread some 40,000 rounds of its loops (see [`LONGEST_WALK`](crate::device::LONGEST_WALK)).
const PIECE: usize = 2048;

/// Pieces of a long source that are summed before their sum is added to the others.
const BATCH: usize = 64;

/// Positions along the dimension that a workgroup has a bit for, comparisons with all of them, and results behind a
/// place, up to which each place looks for what goes there: in the time of the launches that chains take.
const FOUND: usize = 2048;
const COMPARISONS: usize = 1 << 20;
const BEHIND: usize = 512;
/// Places of a workgroup, which compares for all of them at once.
const EACH: usize = 8;

const TEMPLATE: &str = "scatter.wgsl";

impl GpuOperation for Scatter {
    /// Kernels without barriers take a long source piece by piece, and add to what the pieces before gave:
    /// a thread sorts a chain, which may be as long as its piece.
    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let (from, index, output) = (launch.input(0)?, launch.input(1)?, launch.output()?);
        let length = from.layout.shape[self.dim];
        if let Some(search) = Search::new(self, from, index) {
            return Ok(vec![search.launch(launch.source(), output)?]);
        }
        let most = match launch.traits.software {
            true => PIECE,
            false => length.max(1),
        };
        let part = |operand: &Operand, start: usize| Operand {
            layout: operand
                .layout
                .slice(self.dim, start, most.min(length - start), 1),
            ..operand.clone()
        };
        let mut result = from.layout.shape.to_vec();
        result[self.dim] = self.size;
        let result = Shape::from(result);
        let count = result.numel();
        // Many pieces are summed in batches: the error of one chain of additions grows with its length.
        let batches = length > BATCH * most;
        let target = match batches {
            true => (launch.reserve(count.max(1) * 4), output.dtype),
            false => place_of(output),
        };
        // All pieces use the same scratch, one after the other. A source of nothing is one piece.
        let first = *launch.scratch;
        let mut end = first;
        let mut launches = Vec::new();
        for (i, start) in (0..length.max(1)).step_by(most).enumerate() {
            *launch.scratch = first;
            let piece = Piece::new(self, &part(from, start), &part(index, start), launch);
            launches.extend(piece.launches(launch, &result, target, i % BATCH == 0)?);
            end = end.max(*launch.scratch);
            if batches && ((i + 1) % BATCH == 0 || start + most >= length) {
                launches.push(join(
                    self,
                    launch.source(),
                    target,
                    output,
                    count,
                    i >= BATCH,
                )?);
            }
        }
        *launch.scratch = end;
        Ok(launches)
    }
}

/// A sum by one launch: each place of the result, times what lies before it, has a workgroup that looks for its elements.
struct Search<'a> {
    op: &'a Scatter,
    from: &'a Operand,
    index: &'a Operand,
    /// Workgroups, and results of each.
    places: usize,
    behind: usize,
}

impl<'a> Search<'a> {
    /// `None` where it would take longer than chains, or where the index steps along other dimensions.
    fn new(op: &'a Scatter, from: &'a Operand, index: &'a Operand) -> Option<Search<'a>> {
        let shape = &from.layout.shape[..];
        let (length, behind) = (shape[op.dim], shape[op.dim + 1..].iter().product());
        let places = shape[..op.dim].iter().product::<usize>() * op.size;
        let mut others = (0..shape.len()).filter(|&d| d != op.dim);
        let fits = op.merge == Merge::Sum
            && others.all(|d| shape[d] == 1 || index.layout.strides[d] == 0)
            && (1..=FOUND).contains(&length)
            && (1..=COMPARISONS / length).contains(&places)
            && (1..=BEHIND).contains(&behind)
            && behind % 4 == 0;
        fits.then_some(Search {
            op,
            from,
            index,
            places,
            behind,
        })
    }

    fn launch(&self, mut source: Source<'_>, output: &Output) -> Result<Generated> {
        let (from, index, dim) = (&self.from.layout, &self.index.layout, self.op.dim);
        source.fault();
        for (name, operand) in [("index", self.index), ("from", self.from)] {
            source.input(name, Slot::Plan(operand.buffer), operand.dtype, false);
        }
        let along = Layout {
            shape: from.shape[dim].into(),
            strides: [index.strides[dim]].as_slice().into(),
            offset: index.offset,
        };
        source.places("along", &[("index", &along)]);
        let mut fixed = from.clone();
        fixed.strides[dim] = 0;
        let mut dims = from.shape.to_vec();
        dims[dim] = self.op.size;
        fixed.shape = Shape::from(dims);
        source.places("at", &[("from", &fixed)]);
        source.stride("from_step", from.strides[dim]);
        let (slot, dtype) = place_of(output);
        source.output("y", slot, dtype, true);
        for (name, value) in [
            ("places", self.places),
            ("behind", self.behind),
            ("size", self.op.size),
            ("length", from.shape[dim]),
        ] {
            source.u32(name, value);
        }
        source.bytes += (self.places * self.behind * 12) as f64;
        let variables = context! {
            stage => "find",
            t => register(dtype),
            signed => register(self.index.dtype) == "i32",
            block => BLOCK,
            each => EACH,
            words => FOUND / 32,
        };
        let groups = self.places.div_ceil(EACH);
        source.render("scatter_find", TEMPLATE, &variables, groups)
    }
}

/// What the template calls a way to merge.
fn merge_name(merge: Merge) -> &'static str {
    match merge {
        Merge::Sum => "sum",
        Merge::Product => "product",
        Merge::Max => "max",
        Merge::Min => "min",
    }
}

/// Adds a batch of pieces to what the batches `before` gave, if there are any.
fn join(
    op: &Scatter,
    mut source: Source<'_>,
    (batch, dtype): (Slot, DType),
    output: &Output,
    count: usize,
    before: bool,
) -> Result<Generated> {
    source.input("batch", batch, dtype, false);
    if before {
        source.input("before", Slot::Plan(output.buffer), output.dtype, false);
    }
    let merge = merge_name(op.merge);
    let variables = context! { stage => "join", merge, before };
    let files = ("scatter_join", TEMPLATE);
    elements_to(source, files, variables, place_of(output), count)
}

/// A whole source, or a piece of it, and its chains.
struct Piece {
    dim: usize,
    merge: Merge,
    size: usize,
    length: usize,
    from: Operand,
    index: Operand,
    /// How many chains there are, and of how many along each dimension; 1 along `dim`.
    chains: usize,
    chain_dims: Vec<usize>,
    heads: Slot,
    next: Slot,
}

impl Piece {
    fn new(op: &Scatter, from: &Operand, index: &Operand, launch: &mut Launch<'_>) -> Piece {
        let shape = &from.layout.shape;
        let length = shape[op.dim];
        // Chains are needed once for all positions along dimensions that the index does not step along.
        let mut chain_dims = shape.to_vec();
        for (d, n) in chain_dims.iter_mut().enumerate() {
            if d == op.dim || index.layout.strides[d] == 0 {
                *n = 1;
            }
        }
        let chains: usize = chain_dims.iter().product();
        Piece {
            dim: op.dim,
            merge: op.merge,
            size: op.size,
            length,
            from: from.clone(),
            index: index.clone(),
            chains,
            chain_dims,
            heads: launch.reserve((chains * op.size).max(1) * 4),
            next: launch.reserve((chains * length).max(1) * 4),
        }
    }

    /// The stages; `fresh` says that nothing was summed before.
    fn launches(
        &self,
        launch: &Launch<'_>,
        result: &Shape,
        target: (Slot, DType),
        fresh: bool,
    ) -> Result<Vec<Generated>> {
        let mut launches = vec![self.clear(launch.source())?];
        if self.length > 0 && self.chains > 0 {
            launches.push(self.link(launch.source())?);
            launches.push(self.sort(launch.source())?);
        }
        launches.push(self.add(launch.source(), result, target, fresh)?);
        Ok(launches)
    }

    /// Renders a stage with one thread for each of `threads`.
    fn render(
        source: Source<'_>,
        label: &str,
        variables: &Value,
        threads: usize,
    ) -> Result<Generated> {
        source.render(label, TEMPLATE, variables, threads.div_ceil(GROUP))
    }

    fn clear(&self, mut source: Source<'_>) -> Result<Generated> {
        source.output("head", self.heads, DType::U32, true);
        let count = self.chains * self.size;
        source.u32("n", count);
        let variables = context! { stage => "clear" };
        Self::render(source, "scatter_clear", &variables, count.div_ceil(4))
    }

    /// The number of the chain of a position of `shape`, and its position along the dimension, as strides.
    fn chain_and_along(&self, shape: &Shape) -> [Layout; 2] {
        let mut chain = Layout::contiguous(Shape::from(self.chain_dims.clone()));
        for (stride, &n) in chain.strides.iter_mut().zip(&self.chain_dims) {
            *stride = if n == 1 { 0 } else { *stride };
        }
        chain.shape = shape.clone();
        let mut along = chain.clone();
        along.strides.fill(0);
        along.strides[self.dim] = 1;
        [chain, along]
    }

    fn link(&self, mut source: Source<'_>) -> Result<Generated> {
        source.fault();
        source.input(
            "index",
            Slot::Plan(self.index.buffer),
            self.index.dtype,
            false,
        );
        let mut dims = self.chain_dims.clone();
        dims[self.dim] = self.length;
        let index = Layout {
            shape: Shape::from(dims),
            ..self.index.layout.clone()
        };
        let [chain, along] = self.chain_and_along(&index.shape);
        source.places(
            "at",
            &[("index", &index), ("chain", &chain), ("along", &along)],
        );
        let count = self.chains * self.length;
        source.u32("n", count);
        source.u32("size", self.size);
        source.u32("length", self.length);
        source.atomic("heads", self.heads);
        source.output("next", self.next, DType::U32, false);
        let signed = register(self.index.dtype) == "i32";
        let variables = context! { stage => "link", signed };
        Self::render(source, "scatter_link", &variables, count)
    }

    fn sort(&self, mut source: Source<'_>) -> Result<Generated> {
        source.output("head", self.heads, DType::U32, false);
        source.output("next", self.next, DType::U32, false);
        let count = self.chains * self.size;
        source.u32("n", count);
        source.u32("size", self.size);
        source.u32("length", self.length);
        let variables = context! { stage => "sort" };
        Self::render(source, "scatter_sort", &variables, count)
    }

    fn add(
        &self,
        mut source: Source<'_>,
        result: &Shape,
        target: (Slot, DType),
        fresh: bool,
    ) -> Result<Generated> {
        source.input("from", Slot::Plan(self.from.buffer), self.from.dtype, false);
        source.input("head", self.heads, DType::U32, false);
        source.input("next", self.next, DType::U32, false);
        let [chain, along] = self.chain_and_along(result);
        let mut fixed = Layout {
            shape: result.clone(),
            ..self.from.layout.clone()
        };
        fixed.strides[self.dim] = 0;
        source.places(
            "at",
            &[("from", &fixed), ("chain", &chain), ("along", &along)],
        );
        source.u32("size", self.size);
        source.u32("length", self.length);
        source.stride("from_step", self.from.layout.strides[self.dim]);
        if !fresh {
            source.input("before", target.0, target.1, false);
        }
        let merge = merge_name(self.merge);
        if self.merge != Merge::Sum {
            let none = self.merge.of_none(self.from.dtype).to_f64();
            let none = match self.from.dtype {
                DType::F32 => (none as f32).to_bits(),
                _ => none as i32 as u32,
            };
            source.u32("none", none as usize);
        }
        let variables = context! { stage => "add", merge, before => !fresh, block => BLOCK };
        let files = ("scatter_add", TEMPLATE);
        elements_to(source, files, variables, target, result.numel())
    }
}
