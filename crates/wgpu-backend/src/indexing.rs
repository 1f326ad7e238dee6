//! Kernels that pick elements by position: gather and scatter-add.
//!
//! Each declares `element(e)`, the result's element at linear position `e`; a thread stores four.

use std::fmt::Write;

use wgrad_core::{BufferSpec, DType, Layout, Operand, Output, Shape};

use crate::device::Traits;
use crate::operand::sum;
use crate::reduce::BLOCK;
use crate::source::{Generated, Slot, Source, indent, register};

const GROUP: usize = 64;

/// Writes the coordinates of `e` in a shape as `c0`, `c1`, ...
fn coordinates(source: &mut Source<'_>, shape: &[usize], body: &mut String) {
    body.push_str("var rest = e;\n");
    for d in (0..shape.len()).rev() {
        if d == 0 {
            body.push_str("let c0 = rest;\n");
        } else {
            let size = source.u32(&format!("d{d}"), shape[d]);
            let _ = write!(body, "let c{d} = rest % {size};\nrest = rest / {size};\n");
        }
    }
}

/// The address of coordinates in a layout, leaving out dimension `skip`.
fn address(source: &mut Source<'_>, name: &str, layout: &Layout, skip: Option<usize>) -> String {
    let mut terms = Vec::new();
    if layout.offset != 0 {
        terms.push(source.u32(&format!("{name}_start"), layout.offset));
    }
    for (d, &stride) in layout.strides.iter().enumerate() {
        if skip == Some(d) || layout.shape[d] == 1 {
            continue;
        }
        match stride {
            0 => {}
            1 => terms.push(format!("c{d}")),
            _ => {
                let s = source.stride(&format!("{name}_s{d}"), stride);
                terms.push(format!("c{d} * {s}"));
            }
        }
    }
    sum(&terms.iter().map(String::as_str).collect::<Vec<_>>())
}

fn zero(dtype: DType) -> &'static str {
    match register(dtype) {
        "bool" => "false",
        "u32" => "0u",
        "i32" => "0",
        _ => "0.0",
    }
}

/// Declares `index_value(i)`: an index as i32; what does not fit is negative.
fn declare_index(source: &mut Source<'_>, index: &Operand) {
    source.input("index", Slot::Plan(index.buffer), index.dtype, false);
    let value = match register(index.dtype) {
        "i32" => "load_index(i)",
        "bool" => "select(0, 1, load_index(i))",
        _ => "bitcast<i32>(load_index(i))",
    };
    let signed = register(index.dtype) == "i32";
    source.declare(&format!(
        "fn index_value(i: u32) -> i32 {{\n    return {value};\n}}\n\n\
         fn bad_index(value: i32) {{\n    report_fault(bitcast<u32>(value), select(0u, 0xffffffffu, {signed} && value < 0));\n}}\n"
    ));
}

fn place_of(output: &Output) -> (Slot, DType) {
    (Slot::Plan(output.buffer), output.dtype)
}

/// The kernel that stores `element(e)` everywhere.
fn finish(
    mut source: Source<'_>,
    label: &str,
    what: &str,
    (slot, dtype): (Slot, DType),
    count: usize,
    element: &str,
) -> Generated {
    let t = register(dtype);
    source.declare(&format!(
        "fn element(e: u32) -> {t} {{\n{}}}\n",
        indent(element)
    ));
    source.output("y", slot, dtype, true);
    let n = source.u32("n", count);
    let body = format!(
        "let i = (group_index * {GROUP}u + lane) * 4u;\n\
         if i >= {n} {{\n    return;\n}}\n\
         let last = {n} - 1u;\n\
         let value = vec4<{t}>(element(i), element(min(i + 1u, last)), element(min(i + 2u, last)), element(min(i + 3u, last)));\n\
         store4_y(i, value);\n"
    );
    source.bytes += (count * 12) as f64;
    let groups = count.div_ceil(4).div_ceil(GROUP);
    source.finish(label, what, GROUP as u32, groups, &body)
}

/// `out[.., i, ..] = source[.., index[.., i, ..], ..]`.
pub(crate) fn gather(
    traits: &Traits,
    buffers: &[BufferSpec],
    dim: usize,
    from: &Operand,
    index: &Operand,
    output: &Output,
) -> Vec<Generated> {
    let shape = &index.layout.shape;
    if shape.numel() == 0 {
        return Vec::new();
    }
    let mut source = Source::new(traits, buffers);
    source.fault();
    declare_index(&mut source, index);
    source.input("from", Slot::Plan(from.buffer), from.dtype, false);
    let mut body = String::new();
    coordinates(&mut source, shape, &mut body);
    let at = address(&mut source, "index", &index.layout, None);
    let base = address(&mut source, "from", &from.layout, Some(dim));
    let size = source.u32("size", from.layout.shape[dim]);
    let step = source.stride("from_dim", from.layout.strides[dim]);
    let bad = match register(from.dtype) {
        "f32" => "nan_f32(vec4<f32>(f32(value))).x",
        _ => zero(from.dtype),
    };
    let _ = write!(
        body,
        "let value = index_value({at});\n\
         if value < 0 || u32(value) >= {size} {{\n    bad_index(value);\n    return {bad};\n}}\n\
         return load_from({base} + u32(value) * {step});\n"
    );
    let what = "elements by an index along a dimension";
    vec![finish(
        source,
        "gather",
        what,
        place_of(output),
        shape.numel(),
        &body,
    )]
}

/// `out[.., v, ..] = sum of source[.., i, ..] where index[.., i, ..] == v`, ascending `i`.
///
/// Three launches over lists: the elements of an output are chained, first in any order by atomic
/// exchange, then each chain is sorted, then each output walks its chain. So the sums have a fixed
/// order, and the work grows with the source, not with source times output.
///
/// Kernels without barriers take a long source piece by piece, and add to what the pieces before
/// gave: a thread sorts a chain, which may be as long as its piece.
pub(crate) fn scatter_add(
    traits: &Traits,
    buffers: &[BufferSpec],
    (dim, size): (usize, usize),
    from: &Operand,
    index: &Operand,
    output: &Output,
    scratch: &mut usize,
) -> Vec<Generated> {
    let length = from.layout.shape[dim];
    let most = if traits.software {
        PIECE
    } else {
        length.max(1)
    };
    let part = |operand: &Operand, start: usize| Operand {
        layout: operand
            .layout
            .slice(dim, start, most.min(length - start), 1),
        ..operand.clone()
    };
    let result: usize = {
        let mut dims = from.layout.shape.to_vec();
        dims[dim] = size;
        dims.iter().product()
    };
    // Many pieces are summed in batches: the error of one chain of additions grows with its length.
    let batches = length > BATCH * most;
    let target = if batches {
        let bytes = (result.max(1) * 4).next_multiple_of(256);
        let offset = *scratch;
        *scratch += bytes;
        (Slot::Scratch { offset, bytes }, output.dtype)
    } else {
        place_of(output)
    };
    // All pieces use the same scratch, one after the other. A source of nothing is one piece.
    let first = *scratch;
    let mut launches = Vec::new();
    for (i, start) in (0..length.max(1)).step_by(most).enumerate() {
        let mut end = first;
        let (from, index) = (part(from, start), part(index, start));
        let fresh = i % BATCH == 0;
        let to = (dim, size);
        let piece = scatter_piece(traits, buffers, to, &from, &index, target, &mut end, fresh);
        launches.extend(piece);
        *scratch = end.max(*scratch);
        if batches && result > 0 && ((i + 1) % BATCH == 0 || start + most >= length) {
            let source = Source::new(traits, buffers);
            launches.push(join(source, target, output, result, i < BATCH));
        }
    }
    launches
}

/// Pieces of a long source that are summed before their sum is added to the others.
const BATCH: usize = 64;

/// Adds a batch of pieces to what the batches before gave, if it is not the `first`.
fn join(
    mut source: Source<'_>,
    (batch, dtype): (Slot, DType),
    output: &Output,
    count: usize,
    first: bool,
) -> Generated {
    source.input("batch", batch, dtype, false);
    let element = if first {
        "return load_batch(e);\n"
    } else {
        source.input("before", Slot::Plan(output.buffer), output.dtype, false);
        "return load_before(e) + load_batch(e);\n"
    };
    let what = "adds up batches";
    finish(
        source,
        "scatter_join",
        what,
        place_of(output),
        count,
        element,
    )
}

/// Most elements along the dimension that chains of kernels without barriers hold: sorting so many
/// takes a thread some 40,000 rounds of its loops (see [`LONGEST_WALK`](crate::device::LONGEST_WALK)).
const PIECE: usize = 2048;

/// The launches for a whole source, or a piece of it; `fresh` says that nothing was added before.
#[allow(clippy::too_many_arguments)] // the kernel's operands
fn scatter_piece(
    traits: &Traits,
    buffers: &[BufferSpec],
    (dim, size): (usize, usize),
    from: &Operand,
    index: &Operand,
    target: (Slot, DType),
    scratch: &mut usize,
    fresh: bool,
) -> Vec<Generated> {
    let shape = &from.layout.shape;
    let mut dims = shape.to_vec();
    dims[dim] = size;
    let result = Shape::from(dims);
    if result.numel() == 0 {
        return Vec::new();
    }
    let length = shape[dim];
    // Chains are needed once for all positions along dimensions that the index does not step along.
    let mut chain_dims = shape.to_vec();
    for (d, n) in chain_dims.iter_mut().enumerate() {
        if d != dim && index.layout.strides[d] == 0 {
            *n = 1;
        }
    }
    chain_dims[dim] = 1;
    let chains: usize = chain_dims.iter().product();
    let mut slot = |words: usize| {
        let bytes = (words.max(1) * 4).next_multiple_of(256);
        let slot = Slot::Scratch {
            offset: *scratch,
            bytes,
        };
        *scratch += bytes;
        slot
    };
    let heads = slot(chains * size);
    let next = slot(chains * length);
    let scatter = Scatter {
        dim,
        size,
        length,
        chains,
        chain_dims,
        heads,
        next,
        fresh,
    };
    let mut launches = vec![scatter.clear(Source::new(traits, buffers))];
    if length > 0 && chains > 0 {
        launches.push(scatter.link(Source::new(traits, buffers), index));
        launches.push(scatter.sort(Source::new(traits, buffers)));
    }
    launches.push(scatter.add(Source::new(traits, buffers), from, &result, target));
    launches
}

struct Scatter {
    dim: usize,
    size: usize,
    length: usize,
    chains: usize,
    chain_dims: Vec<usize>,
    heads: Slot,
    next: Slot,
    /// Whether the sums start at 0.
    fresh: bool,
}

impl Scatter {
    fn threads(count: usize) -> usize {
        count.div_ceil(GROUP)
    }

    /// Empties all chains. Links count from 1; 0 ends a chain.
    fn clear(&self, mut source: Source<'_>) -> Generated {
        source.output("head", self.heads, DType::U32, true);
        let count = self.chains * self.size;
        let n = source.u32("n", count);
        let body = format!(
            "let i = (group_index * {GROUP}u + lane) * 4u;\n\
             if i < {n} {{\n    store4_head(i, vec4<u32>(0u));\n}}\n"
        );
        let groups = Self::threads(count.div_ceil(4));
        source.finish(
            "scatter_clear",
            "no chain has a link",
            GROUP as u32,
            groups,
            &body,
        )
    }

    /// Puts each element of the index in front of its output's chain.
    fn link(&self, mut source: Source<'_>, index: &Operand) -> Generated {
        source.fault();
        declare_index(&mut source, index);
        let mut body = String::new();
        let mut shape = self.chain_dims.clone();
        shape[self.dim] = self.length;
        let count = self.chains * self.length;
        let n = source.u32("n", count);
        let _ = write!(
            body,
            "let e = group_index * {GROUP}u + lane;\nif e >= {n} {{\n    return;\n}}\n"
        );
        coordinates(&mut source, &shape, &mut body);
        let mut layout = index.layout.clone();
        layout.shape = Shape::from(shape.clone());
        let at = address(&mut source, "index", &layout, None);
        let chain = self.chain(&mut source);
        let size = source.u32("size", self.size);
        let length = source.u32("length", self.length);
        source.atomic("heads", self.heads);
        source.output("next", self.next, DType::U32, false);
        let _ = write!(
            body,
            "let value = index_value({at});\n\
             if value < 0 || u32(value) >= {size} {{\n    bad_index(value);\n    return;\n}}\n\
             let chain = {chain};\n\
             let before = atomicExchange(&heads[chain * {size} + u32(value)], c{dim} + 1u);\n\
             store_next(chain * {length} + c{dim}, before);\n",
            dim = self.dim
        );
        let what = "chains the elements of each output";
        source.finish(
            "scatter_link",
            what,
            GROUP as u32,
            Self::threads(count),
            &body,
        )
    }

    /// The number of the chain of coordinates `c0`, `c1`, ..., whatever the one along `dim`.
    fn chain(&self, source: &mut Source<'_>) -> String {
        let layout = Layout::contiguous(Shape::from(self.chain_dims.clone()));
        address(source, "chain", &layout, Some(self.dim))
    }

    /// Sorts each chain: merge sort of linked lists, bottom up.
    fn sort(&self, mut source: Source<'_>) -> Generated {
        source.output("head", self.heads, DType::U32, false);
        source.output("next", self.next, DType::U32, false);
        let count = self.chains * self.size;
        let n = source.u32("n", count);
        let size = source.u32("size", self.size);
        let length = source.u32("length", self.length);
        source.declare(wgrad_shaders::SCATTER_SORT);
        let body = format!(
            "let list = group_index * {GROUP}u + lane;\n\
             if list >= {n} {{\n    return;\n}}\n\
             let base = list / {size} * {length};\n\
             store_head(list, sort_chain(base, load_head(list)));\n"
        );
        let what = "each chain in ascending order";
        source.finish(
            "scatter_sort",
            what,
            GROUP as u32,
            Self::threads(count),
            &body,
        )
    }

    fn add(
        &self,
        mut source: Source<'_>,
        from: &Operand,
        result: &Shape,
        target: (Slot, DType),
    ) -> Generated {
        source.input("from", Slot::Plan(from.buffer), from.dtype, false);
        source.input("head", self.heads, DType::U32, false);
        source.input("next", self.next, DType::U32, false);
        let mut body = String::new();
        coordinates(&mut source, result, &mut body);
        let base = address(&mut source, "from", &from.layout, Some(self.dim));
        let chain = self.chain(&mut source);
        let size = source.u32("size", self.size);
        let length = source.u32("length", self.length);
        let step = source.stride("from_dim", from.layout.strides[self.dim]);
        let t = register(from.dtype);
        let start = if self.fresh {
            format!("{t}(0)")
        } else {
            source.input("before", target.0, target.1, false);
            "load_before(e)".to_string()
        };
        let _ = write!(
            body,
            "let chain = {chain};\n\
             let base = {base};\n\
             // Sums of blocks of sums of blocks: the error of one chain grows with its length.\n\
             var total = {t}(0);\n\
             var blocks = {t}(0);\n\
             var block = {t}(0);\n\
             var steps = 0u;\n\
             var link = load_head(chain * {size} + c{dim});\n\
             while link != 0u {{\n    \
                 block += load_from(base + (link - 1u) * {step});\n    \
                 link = load_next(chain * {length} + link - 1u);\n    \
                 steps++;\n    \
                 if (steps & {most}u) == 0u {{\n        \
                     blocks += block;\n        \
                     block = {t}(0);\n        \
                     if (steps & {many}u) == 0u {{\n            \
                         total += blocks;\n            \
                         blocks = {t}(0);\n        \
                     }}\n    \
                 }}\n}}\n\
             return {start} + (total + (blocks + block));\n",
            dim = self.dim,
            most = BLOCK - 1,
            many = BLOCK * BLOCK - 1
        );
        let what = "sums along chains";
        finish(source, "scatter_add", what, target, result.numel(), &body)
    }
}
