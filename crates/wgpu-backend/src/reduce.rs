//! Reductions: a template around a prologue and an epilogue.
//!
//! Three forms. *Columns*: a thread keeps four neighbouring results and walks the reduced part;
//! neighbouring threads read neighbouring elements where the kept dimensions are the inner ones.
//! *Rows*: a thread keeps one result and its four lanes walk the reduced part. *Group*: as rows,
//! but a workgroup shares a result and combines in a tree. Where results are few and reductions
//! long, a first launch reduces parts and a second combines them. The order of combination depends
//! on sizes alone, so results are the same every time.
//!
//! Extremes and their positions work on order-preserving `u32` keys (see the prelude), which makes
//! NaN and infinity ordinary values.

mod body;

use std::fmt::Write;

use wgrad_core::{Accumulator, Arg, BufferSpec, DType, Kernel, Layout, Program, Result, Shape};

use crate::accumulate::{is_position, running, running_dtype};
use crate::device::{LONGEST_WALK, Traits};
use crate::map::{accesses, targets};
use crate::operand::{Access, Axis};
use crate::source::{Generated, Slot, Source};

/// Threads of a workgroup that do not cooperate.
const GROUP: u32 = 64;
/// Steps after which a running f32 sum is put aside, so that its error does not grow with length;
/// so many of these sums are put aside in turn.
pub(crate) const BLOCK: u32 = 64;
/// Bytes of the partial results of a long reduction at most.
const MOST_PARTIAL: usize = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Columns,
    Rows,
    Group(u32),
}

impl Form {
    /// Elements of a part that take a thread without barriers a quarter of [`LONGEST_WALK`] steps:
    /// few enough that a sum of sums of [`BLOCK`] is still exact to some units in the last place.
    fn longest(self) -> usize {
        match self {
            Form::Columns => LONGEST_WALK / 4,
            Form::Rows => LONGEST_WALK,
            Form::Group(size) => LONGEST_WALK * size as usize,
        }
    }
}

/// A reduction, whoever asks for it.
pub(crate) struct Reduction<'a> {
    /// Kept then reduced dimensions.
    pub shape: Shape,
    pub reduced: usize,
    pub inputs: Vec<Access>,
    pub prologue: &'a Program,
    pub accumulators: &'a [Accumulator],
    /// For a second launch: the inputs that hold the positions found by the first.
    pub positions: Vec<Option<usize>>,
    pub epilogue_inputs: Vec<Access>,
    pub epilogue: &'a Program,
    pub outputs: Vec<(Slot, DType)>,
    /// Position of its first scalar among the launch's.
    pub first_scalar: usize,
    /// What its parameters and outputs are called begins with this, so that it fits beside another
    /// kernel's.
    pub prefix: &'static str,
}

/// Where the first of two launches leaves its results: per accumulator a value and perhaps a
/// position, each `parts * pitch` words.
struct Partials {
    parts: usize,
    /// Elements of a part: a multiple of 4 (kept apart from `parts`, which is data).
    chunk: usize,
    /// Results rounded up to 4.
    pitch: usize,
}

impl Partials {
    fn bytes(&self) -> usize {
        (self.parts * self.pitch * 4).next_multiple_of(256)
    }
}

impl<'a> Reduction<'a> {
    /// A plan's reduction; `None` for other kernels.
    pub fn of(
        kernel: &'a Kernel,
        first_scalar: usize,
        prefix: &'static str,
    ) -> Option<Reduction<'a>> {
        let Kernel::Reduce {
            shape,
            reduced,
            inputs,
            prologue,
            accumulators,
            epilogue_inputs,
            epilogue,
            outputs,
        } = kernel
        else {
            return None;
        };
        Some(Reduction {
            shape: shape.clone(),
            reduced: *reduced,
            inputs: accesses(&format!("{prefix}x"), inputs),
            prologue,
            accumulators,
            positions: Vec::new(),
            epilogue_inputs: accesses(&format!("{prefix}z"), epilogue_inputs),
            epilogue,
            outputs: targets(outputs),
            first_scalar,
            prefix,
        })
    }

    fn kept(&self) -> usize {
        self.shape.rank() - self.reduced
    }

    fn results(&self) -> usize {
        self.shape[..self.kept()].iter().product()
    }

    fn length(&self) -> usize {
        self.shape[self.kept()..].iter().product()
    }

    /// Whether neighbouring results read neighbouring elements.
    fn is_columnar(&self, kept: &Axis, reduced: &Axis) -> bool {
        let weight = |stride: isize| match stride.unsigned_abs() {
            0 => usize::MAX,
            s => s,
        };
        (0..self.inputs.len())
            .filter(|&i| !self.inputs[i].layout.is_single())
            .map(|i| weight(kept.inner(i)) < weight(reduced.inner(i)))
            .next()
            .unwrap_or(false)
    }

    fn choose(&self, traits: &Traits, kept: &Axis, reduced: &Axis) -> (Form, usize) {
        let (results, length) = (self.results(), self.length());
        let columnar = self.is_columnar(kept, reduced);
        let quads = results.div_ceil(4);
        if self.is_second() {
            let form = match (columnar, traits.software) {
                (true, _) if quads >= 64 => Form::Columns,
                (true, true) if results >= 4 => Form::Columns,
                (_, true) => Form::Rows,
                (_, false) => Form::Group(64),
            };
            return (form, 1);
        }
        if traits.software {
            let form = if columnar && results >= 4 {
                Form::Columns
            } else {
                Form::Rows
            };
            let threads = if form == Form::Columns {
                quads
            } else {
                results
            };
            let parts = if threads < 256 && length >= 4096 {
                // Enough threads for a few dozen cores, each with enough to do.
                (512 / threads.max(1)).min(length / 1024).max(1)
            } else if form == Form::Columns && length >= 1024 {
                // Threads run one after the other, so what lies beside a thread's column is only
                // still in the caches if the column is short.
                length / 128
            } else {
                1
            };
            return (form, parts);
        }
        if (columnar && results >= 4) || length <= 32 {
            let parts = if quads < 8192 && length >= 128 {
                (16_384 / quads.max(1)).min(length / 32).clamp(1, 512)
            } else {
                1
            };
            return (Form::Columns, parts);
        }
        let parts = if results < 128 && length >= 32_768 {
            (512 / results.max(1)).min(length / 4096).clamp(1, 512)
        } else {
            1
        };
        (Form::Group(if length >= 1024 { 256 } else { 64 }), parts)
    }

    /// Makes the launches; needs `scratch` bytes of the executable's own buffer.
    pub fn generate(
        &self,
        traits: &Traits,
        buffers: &[BufferSpec],
        scratch: &mut usize,
        label: &str,
    ) -> Result<Vec<Generated>> {
        if self.results() == 0 {
            return Ok(Vec::new());
        }
        let layouts: Vec<&Layout> = self.inputs.iter().map(|a| &a.layout).collect();
        let split = self.kept();
        let kept = Axis::new(&self.shape, 0..split, &layouts);
        let reduced = Axis::new(&self.shape, split..self.shape.rank(), &layouts);
        let (form, parts) = self.choose(traits, &kept, &reduced);
        let pitch = self.results().next_multiple_of(4);
        let words = |parts: usize| parts * pitch * 8 * self.accumulators.len();
        let least = if traits.software {
            self.length().div_ceil(form.longest()).max(1)
        } else {
            1
        };
        let mut parts = parts.max(least);
        while parts > least && words(parts) > MOST_PARTIAL {
            parts = (parts / 2).max(least);
        }
        let chunk = self.length().div_ceil(parts.max(1)).next_multiple_of(4);
        let parts = self.length().div_ceil(chunk.max(1)).max(1);
        if parts == 1 {
            let source = Source::new(traits, buffers);
            return Ok(vec![
                self.single(source, form, &kept, &reduced, None, *scratch, label)?,
            ]);
        }
        let partials = Partials {
            parts,
            chunk,
            pitch,
        };
        let base = *scratch;
        let slots: usize = self
            .accumulators
            .iter()
            .map(|a| 1 + usize::from(is_position(a.op)))
            .sum();
        *scratch += slots * partials.bytes();
        let source = Source::new(traits, buffers);
        let first = self.single(source, form, &kept, &reduced, Some(&partials), base, label)?;
        let mut launches = vec![first];
        launches.extend(self.combine(traits, buffers, &partials, base, scratch)?);
        Ok(launches)
    }

    /// The second launch: reduces over the parts.
    fn combine(
        &self,
        traits: &Traits,
        buffers: &[BufferSpec],
        partials: &Partials,
        base: usize,
        scratch: &mut usize,
    ) -> Result<Vec<Generated>> {
        let split = self.kept();
        let mut dims = self.shape[..split].to_vec();
        dims.push(partials.parts);
        let shape = Shape::from(dims);
        let results = Shape::from(&self.shape[..split]);
        let mut strides = results.strides();
        strides.push(partials.pitch as isize);
        let mut inputs = Vec::new();
        let mut prologue = Program::default();
        let mut positions = Vec::new();
        let mut accumulators = Vec::new();
        let mut at = base;
        let mut add = |dtype: DType, inputs: &mut Vec<Access>| {
            inputs.push(Access {
                name: format!("x{}", inputs.len()),
                slot: Slot::Scratch {
                    offset: at,
                    bytes: partials.bytes(),
                },
                dtype,
                layout: Layout {
                    shape: shape.clone(),
                    strides: strides.clone(),
                    offset: 0,
                },
            });
            at += partials.bytes();
        };
        for accumulator in self.accumulators {
            let dtype = running_dtype(accumulator);
            prologue
                .outputs
                .push((Arg::Input(inputs.len() as u16), dtype));
            add(dtype, &mut inputs);
            positions.push(is_position(accumulator.op).then_some(inputs.len()));
            if is_position(accumulator.op) {
                add(DType::U32, &mut inputs);
            }
            accumulators.push(*accumulator);
        }
        prologue.inputs = inputs.iter().map(|a| a.dtype).collect();
        // The first launch's keys are fed as they are. Scalars of the launch are the prologue's, then
        // the epilogue's; this prologue has none.
        let second = Reduction {
            shape,
            reduced: 1,
            inputs,
            prologue: &prologue,
            accumulators: &accumulators,
            positions,
            epilogue_inputs: self.epilogue_inputs.clone(),
            epilogue: self.epilogue,
            outputs: self.outputs.clone(),
            first_scalar: self.first_scalar + self.prologue.scalars.len(),
            prefix: self.prefix,
        };
        second.generate(traits, buffers, scratch, "reduce_parts")
    }

    /// The same inside another kernel, in threads of its own: `unit` numbers them, and may reach
    /// past the last. Returns how many there are.
    pub fn beside(&self, source: &mut Source<'_>, unit: &str, body: &mut String) -> Result<usize> {
        let layouts: Vec<&Layout> = self.inputs.iter().map(|a| &a.layout).collect();
        let split = self.kept();
        let kept = Axis::new(&self.shape, 0..split, &layouts);
        let reduced = Axis::new(&self.shape, split..self.shape.rank(), &layouts);
        let columns = self.is_columnar(&kept, &reduced) && self.results() >= 4;
        let form = if columns { Form::Columns } else { Form::Rows };
        let length = source.u32(&self.named("length"), self.length());
        let _ = write!(body, "let begin = 0u;\nlet end = {length};\n");
        self.accumulate(source, form, (&kept, &reduced), unit, body)?;
        self.finish(source, columns, body)?;
        let results = self.results();
        Ok(if columns {
            results.div_ceil(4)
        } else {
            results
        })
    }

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether this combines the results of a first launch.
    pub(crate) fn is_second(&self) -> bool {
        !self.positions.is_empty()
    }

    #[allow(clippy::too_many_arguments)] // one launch's facts, used in one place each
    fn single(
        &self,
        mut source: Source<'_>,
        form: Form,
        kept: &Axis,
        reduced: &Axis,
        partials: Option<&Partials>,
        base: usize,
        label: &str,
    ) -> Result<Generated> {
        let (results, length) = (self.results(), self.length());
        let mut body = String::new();
        let columns = form == Form::Columns;
        let per_part = if columns {
            results.div_ceil(4)
        } else {
            results
        };
        let parts = partials.map_or(1, |p| p.parts);
        let unit = match form {
            Form::Group(_) => "group_index".to_string(),
            _ => {
                let _ = writeln!(body, "let unit = group_index * {GROUP}u + lane;");
                "unit".to_string()
            }
        };
        let len = source.u32(&self.named("length"), length);
        let slot = if let Some(p) = partials {
            let units = source.u32("units", per_part);
            let count = source.u32("parts", p.parts);
            let chunk = source.u32("chunk", p.chunk);
            let _ = write!(
                body,
                "let part = {unit} / {units};\n\
                 if part >= {count} {{\n    return;\n}}\n\
                 let begin = part * {chunk};\n\
                 let end = min(begin + {chunk}, {len});\n"
            );
            format!("({unit} % {units})")
        } else {
            let _ = write!(body, "let begin = 0u;\nlet end = {len};\n");
            unit
        };
        self.accumulate(&mut source, form, (kept, reduced), &slot, &mut body)?;
        match partials {
            Some(p) => self.store_partials(&mut source, p, base, columns, &mut body),
            None => self.finish(&mut source, columns, &mut body)?,
        }
        source.bytes = (results * length * 4 * self.inputs.len().max(1)) as f64;
        source.flops = (results * length * (1 + self.prologue.instrs.len() * 4)) as f64;
        let (size, groups, what) = match form {
            Form::Columns => (
                GROUP,
                (per_part * parts).div_ceil(GROUP as usize),
                "four neighbouring results per thread",
            ),
            Form::Rows => (
                GROUP,
                (per_part * parts).div_ceil(GROUP as usize),
                "a result per thread",
            ),
            Form::Group(size) => (size, per_part * parts, "a result per workgroup"),
        };
        Ok(source.finish(label, what, size, groups, &body))
    }

    /// The accumulators of result (or four results) number `slot`, from `begin` to `end`.
    fn accumulate(
        &self,
        source: &mut Source<'_>,
        form: Form,
        (kept, reduced): (&Axis, &Axis),
        slot: &str,
        body: &mut String,
    ) -> Result<()> {
        let n = source.u32(&self.named("results"), self.results());
        let columns = form == Form::Columns;
        let scale = if columns { " * 4u" } else { "" };
        let _ = write!(
            body,
            "let o = {slot}{scale};\nif o >= {n} {{\n    return;\n}}\n"
        );
        for (i, accumulator) in self.accumulators.iter().enumerate() {
            let t = running(accumulator);
            let _ = writeln!(body, "var a{i} = vec4<{t}>(0);");
            if t == "f32" {
                let _ = writeln!(body, "var a{i}_block = vec4<f32>(0.0);");
                if !source.traits.software {
                    let _ = writeln!(body, "var a{i}_blocks = vec4<f32>(0.0);");
                }
            }
            if is_position(accumulator.op) {
                let _ = writeln!(body, "var a{i}_at = vec4<u32>(0xffffffffu);");
            }
        }
        self.walk(source, form, kept, reduced, body)?;
        if !columns {
            self.combine_lanes(body);
        }
        if let Form::Group(size) = form {
            self.combine_group(source, size, body);
        }
        Ok(())
    }
}
