//! Attention in one launch, its gradients in two: the passes of `attention.wgsl`, or of `attention_lanes.wgsl`.

use wgrad_core::ops::{Attention, AttentionGrad, Scores};
use wgrad_core::{DType, Error, Operand, Output, Result, Spec};
use wgrad_shaders::context;

use super::{GpuOperation, Launch, packed};
use crate::device::{LONGEST_WALK, Traits};
use crate::options::AttentionChoice;
use crate::source::{Generated, Slot, Source};

/// Rows of a workgroup, and of the others that it takes at a time.
const OWN: usize = 64;
const OTHERS: usize = 32;

/// Rows that the lanes of a subgroup share, and elements of a head up to which they do.
const LANES_OWN: usize = 8;
const LANES_HEAD: usize = 64;

/// Elements of a head that registers hold sums of.
const LARGEST_HEAD: usize = 256;

/// Quads of a row of both sums that registers hold.
const MOST_SUMS: usize = 64;

/// Scores that may be stored on adapters that run on the CPU: 16 MiB.
const MOST_SCORES: usize = 1 << 22;

impl GpuOperation for Attention {
    fn takes(operands: &[Spec], bindings: usize, traits: &Traits) -> bool {
        fits(operands, bindings) && !is_composed(operands, traits)
    }

    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let problem = Problem::new(&self.0, launch, 3)?;
        problem.pass(launch, "forward", &[], |p| {
            let rows = p.batch * p.heads * p.queries;
            vec![
                Part {
                    name: "lse",
                    result: Self::LSE,
                    rows,
                    columns: 1,
                },
                Part {
                    name: "out",
                    result: Self::OUTPUT,
                    rows,
                    columns: p.value_head,
                },
            ]
        })
    }
}

impl GpuOperation for AttentionGrad {
    fn takes(operands: &[Spec], bindings: usize, traits: &Traits) -> bool {
        fits(operands, bindings) && !is_composed(operands, traits)
    }

    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let problem = Problem::new(&self.0, launch, Self::FIRST)?;
        let more = ["g", "lse", "delta"];
        let mut launches = problem.pass(launch, "query", &more, |p| {
            let rows = p.batch * p.heads * p.queries;
            vec![Part {
                name: "dq",
                result: 0,
                rows,
                columns: p.head,
            }]
        })?;
        launches.extend(problem.pass(launch, "key", &more, |p| {
            let rows = p.batch * p.shared * p.keys;
            vec![
                Part {
                    name: "dk",
                    result: 1,
                    rows,
                    columns: p.head,
                },
                Part {
                    name: "dv",
                    result: 2,
                    rows,
                    columns: p.value_head,
                },
            ]
        })?);
        Ok(launches)
    }
}

/// Whether the kernels take heads of these sizes; a pass has at most two results.
fn fits(operands: &[Spec], bindings: usize) -> bool {
    let mut sizes = operands.iter().take(3).filter_map(|spec| spec.shape.last());
    sizes.all(|&size| size <= LARGEST_HEAD) && operands.len() + 2 <= bindings
}

/// The size of the subgroups that compute attention of such shapes without barriers, on adapters that run on the CPU and
/// know it; none of whose threads may walk for too long.
fn lanes(q: &[usize], k: &[usize], v: &[usize], traits: &Traits) -> Option<usize> {
    let size = traits.subgroup;
    let fits = traits.attention == AttentionChoice::Auto && size > 0;
    let [
        &[_, heads, queries, head],
        &[_, shared, keys, _],
        &[.., value_head],
    ] = [q, k, v]
    else {
        return None;
    };
    let steps = |head: usize| head.div_ceil(4).next_multiple_of(size.max(1)) + size;
    let rounds = queries.max(keys).div_ceil(4 * size.max(1)) * (heads / shared.max(1));
    let walk = rounds * (steps(head) + steps(value_head) + 1);
    (fits && head.max(value_head) <= LANES_HEAD && walk < LONGEST_WALK).then_some(size)
}

/// Whether plain operations, which store the scores, are faster.
fn is_composed(operands: &[Spec], traits: &Traits) -> bool {
    let [q, k, v, ..] = operands else {
        return false;
    };
    if lanes(&q.shape, &k.shape, &v.shape, traits).is_some() {
        return false;
    }
    let keys = k.shape.get(2).copied().unwrap_or(0);
    let rows = q.shape[..q.shape.rank() - 1].iter();
    let scores = rows.fold(keys, |all, &size| all.saturating_mul(size));
    traits.software && traits.attention == AttentionChoice::Auto && scores <= MOST_SCORES
}

/// A result of a pass.
struct Part {
    name: &'static str,
    result: usize,
    rows: usize,
    columns: usize,
}

/// Sizes and operands.
struct Problem<'a> {
    scores: Scores,
    batch: usize,
    heads: usize,
    shared: usize,
    queries: usize,
    keys: usize,
    head: usize,
    value_head: usize,
    inputs: &'a [Operand],
    outputs: &'a [Option<Output>],
    first: usize,
    lanes: Option<usize>,
}

impl<'a> Problem<'a> {
    fn new(scores: &Scores, launch: &Launch<'a>, first: usize) -> Result<Problem<'a>> {
        let shape = |i: usize| Ok::<_, Error>(&launch.input(i)?.layout.shape[..]);
        let ([batch, heads, queries, head], [_, shared, keys, _], [.., value_head]) =
            (shape(0)?, shape(1)?, shape(2)?)
        else {
            return Err(Error::Device("operands without four dimensions".into()));
        };
        Ok(Problem {
            scores: scores.clone(),
            batch: *batch,
            heads: *heads,
            shared: *shared,
            queries: *queries,
            keys: *keys,
            head: *head,
            value_head: *value_head,
            inputs: launch.inputs,
            outputs: launch.outputs,
            first,
            lanes: lanes(shape(0)?, shape(1)?, shape(2)?, launch.traits),
        })
    }

    /// A launch, and one more for each result that is packed and of an odd size.
    fn pass(
        &self,
        launch: &mut Launch<'_>,
        pass: &'static str,
        more: &[&'static str],
        parts: impl Fn(&Problem<'_>) -> Vec<Part>,
    ) -> Result<Vec<Generated>> {
        let parts = parts(self);
        let wanted = |part: &Part| self.outputs.get(part.result).copied().flatten();
        if parts.iter().all(|part| wanted(part).is_none()) {
            return Ok(Vec::new());
        }
        let mut source = launch.source();
        let quads = !launch.traits.software || self.lanes.is_some();
        let mut vectors = self.inputs(&mut source, quads);
        for (name, operand) in more.iter().zip(&self.inputs[3..]) {
            match *name {
                "g" => vectors.extend(matrix(&mut source, "g", operand, quads)),
                _ => by_row(&mut source, name, operand),
            }
        }
        let (mut whole, mut later) = (Vec::new(), Vec::new());
        for part in &parts {
            let count = part.rows * part.columns;
            let output = wanted(part);
            let whole_quads = part.columns.is_multiple_of(4);
            let (slot, dtype) = match output {
                Some(output) if output.dtype == DType::F32 || whole_quads => {
                    (Slot::Plan(output.buffer), output.dtype)
                }
                // Rows of packed elements share words.
                _ => (launch.reserve(count * 4), DType::F32),
            };
            if let (Some(output), Slot::Scratch { .. }) = (output, slot) {
                later.push((slot, output, count));
            }
            source.output(part.name, slot, dtype, whole_quads);
            if whole_quads {
                whole.push(part.name);
            }
        }
        let made = self.render(source, launch.traits.software, pass, &vectors, &whole)?;
        let mut launches = vec![made];
        for (slot, output, count) in later {
            launches.extend(packed(launch, (slot, DType::F32), &output, count)?);
        }
        Ok(launches)
    }

    /// Makes what reads the operands; the names of those that are read by quads.
    fn inputs(&self, source: &mut Source<'_>, quads: bool) -> Vec<&'static str> {
        let mut vectors = Vec::new();
        for (name, operand) in ["q", "k", "v"].into_iter().zip(self.inputs) {
            vectors.extend(matrix(source, name, operand, quads));
        }
        let extras = self.scores.split(&self.inputs[self.first..]);
        if let Some(mask) = extras.mask {
            let slot = Slot::Plan(mask.buffer);
            source.input("mask", slot, mask.dtype, false);
            source.u32("mask_start", mask.layout.offset);
            let names = ["mask_batch", "mask_head", "mask_row", "mask_column"];
            for (name, &stride) in names.into_iter().zip(&mask.layout.strides[..]) {
                source.stride(name, stride);
            }
        }
        let vectors_of = [
            ("alibi", ["alibi_start", "alibi_step"], extras.alibi),
            ("seed", ["seed_start", "seed_step"], extras.seed),
        ];
        for (name, [start, step], operand) in vectors_of {
            if let Some(operand) = operand {
                source.input(name, Slot::Plan(operand.buffer), operand.dtype, false);
                source.u32(start, operand.layout.offset);
                source.stride(step, operand.layout.strides.first().copied().unwrap_or(0));
            }
        }
        if extras.seed.is_some() {
            let (threshold, factor) = self.scores.threshold();
            source.u32("threshold", threshold as usize);
            source.f32("factor", factor as f32);
        }
        vectors
    }

    fn render(
        &self,
        mut source: Source<'_>,
        software: bool,
        pass: &'static str,
        vectors: &[&'static str],
        whole: &[&'static str],
    ) -> Result<Generated> {
        let by_key = pass == "key";
        let (own, others) = match by_key {
            true => (self.keys, self.queries),
            false => (self.queries, self.keys),
        };
        let heads = self.batch * if by_key { self.shared } else { self.heads };
        let rows = if self.lanes.is_some() { LANES_OWN } else { OWN };
        let (tiles, group) = (own.div_ceil(rows), self.heads / self.shared);
        let blocks = tiles * heads;
        for (name, value) in [
            ("heads", self.heads),
            ("group", group),
            ("queries", self.queries),
            ("keys", self.keys),
            ("tiles", tiles),
            ("blocks", blocks),
        ] {
            source.u32(name, value);
        }
        source.f32("scale", self.scores.scale() as f32);
        let longest = self.queries.max(self.keys);
        if let Some(window) = self.scores.window {
            source.u32("window", window.min(longest));
        }
        let quads = [self.head.div_ceil(4), self.value_head.div_ceil(4)];
        let held = match pass {
            "forward" => quads[1],
            "query" => quads[0],
            _ => 2 * quads[0].max(quads[1]),
        };
        // So that no registers are spilled.
        let most = if pass == "query" { 16 } else { 32 };
        let across = if held <= most { 8 } else { 16 };
        let rounds = others.div_ceil(OTHERS) * if by_key { group } else { 1 };
        let each = 2 * (quads[0] + quads[1]) + 2 * OTHERS + 32;
        if software && self.lanes.is_none() && rounds * each >= LONGEST_WALK {
            let problem = format!("{others} rows are too many for this driver's loops");
            return Err(Error::Device(problem));
        }
        let extras = self.scores.split(&self.inputs[self.first..]);
        let (template, size) = match self.lanes {
            Some(size) => ("attention_lanes.wgsl", size),
            None => ("attention.wgsl", 0),
        };
        let variables = context! {
            pass, across, size,
            vectors => vectors.to_vec(),
            whole => whole.to_vec(),
            rolled => software,
            split => held > MOST_SUMS,
            head => self.head,
            value_head => self.value_head,
            causal => self.scores.causal,
            window => self.scores.window.is_some(),
            mask => match extras.mask {
                None => "none",
                Some(mask) if mask.dtype == DType::Bool => "bool",
                Some(_) => "float",
            },
            alibi => extras.alibi.is_some(),
            dropout => extras.seed.is_some(),
        };
        let products = if pass == "forward" { 2 } else { 4 };
        let elements = self.batch * self.heads * self.queries * self.keys;
        source.flops = (elements * products * (self.head + self.value_head)) as f64;
        source.bytes = (heads * own * (self.head + self.value_head) * 8) as f64;
        let label = match pass {
            "forward" => "attention",
            "query" => "attention_dq",
            _ => "attention_dkv",
        };
        source.render(label, template, &variables, blocks)
    }
}

/// Makes what reads the rows of a matrix of each head; its name where it is read by quads, which may be left
/// out where each form of the shader takes long to compile.
fn matrix(
    source: &mut Source<'_>,
    name: &'static str,
    operand: &Operand,
    quads: bool,
) -> Option<&'static str> {
    let layout = &operand.layout;
    let strides = &layout.strides[..];
    let last = strides.len() - 1;
    let quads = quads
        && strides[last] == 1
        && layout.shape[last].is_multiple_of(4)
        && layout.offset.is_multiple_of(4)
        && strides[..last].iter().all(|stride| stride % 4 == 0);
    source.input(name, Slot::Plan(operand.buffer), operand.dtype, quads);
    source.u32(&format!("{name}_start"), layout.offset);
    for (part, &stride) in ["batch", "head", "row"].into_iter().zip(strides) {
        source.stride(&format!("{name}_{part}"), stride);
    }
    if !quads {
        source.stride(&format!("{name}_column"), strides[last]);
    }
    quads.then_some(name)
}

/// Makes what reads a number of each query.
fn by_row(source: &mut Source<'_>, name: &'static str, operand: &Operand) {
    source.input(name, Slot::Plan(operand.buffer), operand.dtype, false);
    source.places(name, &[(name, &operand.layout)]);
}
