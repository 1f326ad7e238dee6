//! Reductions: the form of `reduce.wgsl` by sizes, strides and the kind of adapter. Where results are
//! few and reductions long, a first launch reduces parts and a second combines them.

mod body;

use wgrad_core::{Accumulator, Arg, BufferSpec, DType, Kernel, Layout, Program, Result, Shape};
use wgrad_shaders::{Value, context};

use crate::device::{LONGEST_WALK, Traits};
use crate::map::{accesses, targets};
use crate::operand::{Access, Axis};
use crate::source::{Generated, Slot, Source};
pub(crate) use body::{is_position, running_dtype};

/// Threads of a workgroup that do not cooperate.
const GROUP: u32 = 64;
/// Steps after which a running f32 sum is put aside, so that its error does not grow with length;
/// so many of these sums are put aside in turn.
pub(crate) const BLOCK: u32 = 64;
/// From so many results on, each of at most [`ALONE`] elements, a workgroup for each does without a second launch.
const DOZENS: usize = 32;
/// What a workgroup reads alone: 64 rounds of loads by 256 threads, which on a GPU that has many more workgroups at a
/// time wait some 0.3 us each where the data was just made and is in its cache. That is 20 us at most, and what a
/// second launch takes, with the wait between the two, is half of that; smaller GPUs are filled by so many
/// workgroups. Results that are fewer or longer would leave most of a large one idle for longer than that.
const ALONE: usize = 1 << 16;
/// Threads that are too few for workgroups of [`GROUP`] to keep several cores busy.
const FEW: usize = 256;
/// Elements that stay in the second-level cache of a core that plays a GPU while a workgroup reads them.
const CACHED: usize = 1 << 17;
/// Threads that share a band of columns, and words that each may keep for the others: 16 KiB, what every device has.
const BAND: u32 = 256;
const BAND_WORDS: usize = 4;
/// Bytes of the partial results of a long reduction at most.
const MOST_PARTIAL: usize = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Columns,
    Rows,
    /// Threads that share a result.
    Group(u32),
    /// [`BAND`] threads that share so many times four results.
    Band(usize),
}

impl Form {
    /// What the template calls it.
    fn name(self) -> &'static str {
        match self {
            Form::Columns => "columns",
            Form::Rows => "rows",
            Form::Group(_) => "group",
            Form::Band(_) => "band",
        }
    }

    /// Whether a thread keeps four neighbouring results.
    fn is_columns(self) -> bool {
        matches!(self, Form::Columns | Form::Band(_))
    }

    /// Elements of a part that take a thread without barriers a quarter of [`LONGEST_WALK`] steps:
    /// few enough that a sum of sums of [`BLOCK`] is still exact to some units in the last place.
    fn longest(self) -> usize {
        match self {
            Form::Columns => LONGEST_WALK / 4,
            Form::Rows => LONGEST_WALK,
            Form::Group(size) => LONGEST_WALK * size as usize,
            Form::Band(band) => LONGEST_WALK / 4 * (BAND as usize / band),
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
    /// Where they begin in the executable's own buffer.
    base: usize,
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
        let alone = results >= DOZENS && length <= ALONE;
        if traits.software {
            if alone && !columnar && results < 256 && length >= 4096 {
                // A thread each would be a workgroup or two, and so a core or two.
                return (Form::Group(64), 1);
            }
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
            let parts = if form == Form::Columns && threads >= 32 && length >= 1024 {
                // Threads run one after the other, so what lies beside a thread's column is only
                // still in the caches if the column is short.
                match results * length <= CACHED {
                    true => 1,
                    false => length / 128,
                }
            } else if threads < 256 && length >= 4096 {
                // Enough threads for a few dozen cores, each with enough to do.
                (512 / threads.max(1)).min(length / 1024).max(1)
            } else {
                1
            };
            return (form, parts);
        }
        if let Some(band) = self.band(columnar) {
            return (Form::Band(band), 1);
        }
        if (columnar && results >= 4) || length <= 32 {
            let parts = if quads < 8192 && length >= 128 {
                (16_384 / quads.max(1)).min(length / 32).clamp(1, 512)
            } else {
                1
            };
            return (Form::Columns, parts);
        }
        let parts = if results < 128 && length >= 32_768 && !alone {
            (512 / results.max(1)).min(length / 4096).clamp(1, 512)
        } else {
            1
        };
        (Form::Group(if length >= 1024 { 256 } else { 64 }), parts)
    }

    /// The quads of columns of a workgroup where workgroups do without a second launch: 64 bytes of a row where that is
    /// enough of them, else 32, which memory still moves at once.
    fn band(&self, columnar: bool) -> Option<usize> {
        let (results, length) = (self.results(), self.length());
        let quads = results.div_ceil(4);
        let words = self.accumulators.iter();
        let words: usize = words.map(|a| 1 + usize::from(is_position(a.op))).sum();
        let band = if quads < 128 { 2 } else { 4 };
        let fits = words <= BAND_WORDS && length * band * 4 <= ALONE;
        // Few workgroups are slow at much.
        let many = quads >= 8 * band || length <= 1024;
        (columnar && results >= 4 && length >= 128 && quads < 8192 && fits && many).then_some(band)
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
        let (kept, reduced) = self.axes();
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
            return Ok(vec![self.single(
                source,
                form,
                (&kept, &reduced),
                None,
                label,
            )?]);
        }
        let partials = Partials {
            parts,
            chunk,
            pitch,
            base: *scratch,
        };
        let slots: usize = self
            .accumulators
            .iter()
            .map(|a| 1 + usize::from(is_position(a.op)))
            .sum();
        *scratch += slots * partials.bytes();
        let source = Source::new(traits, buffers);
        let first = self.single(source, form, (&kept, &reduced), Some(&partials), label)?;
        let mut launches = vec![first];
        launches.extend(self.combine(traits, buffers, &partials, scratch)?);
        Ok(launches)
    }

    /// The second launch: reduces over the parts.
    fn combine(
        &self,
        traits: &Traits,
        buffers: &[BufferSpec],
        partials: &Partials,
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
        let mut at = partials.base;
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

    /// The same inside another kernel, in threads of its own. Returns what `matmul/place.wgsl` takes
    /// in, and how many threads there are.
    pub fn beside(&self, source: &mut Source<'_>) -> Result<(Value, usize)> {
        let (kept, reduced) = self.axes();
        let results = self.results();
        let (form, threads) = match self.is_columnar(&kept, &reduced) && results >= 4 {
            true => (Form::Columns, results.div_ceil(4)),
            false => (Form::Rows, results),
        };
        source.u32(&self.named("length"), self.length());
        let reduction = self.variables(source, form, (&kept, &reduced), None)?;
        Ok((reduction, threads))
    }

    /// The dimensions that are kept and those that are reduced, over the inputs.
    fn axes(&self) -> (Axis, Axis) {
        let layouts: Vec<&Layout> = self.inputs.iter().map(|a| &a.layout).collect();
        let split = self.kept();
        let kept = Axis::new(&self.shape, 0..split, &layouts);
        let reduced = Axis::new(&self.shape, split..self.shape.rank(), &layouts);
        (kept, reduced)
    }

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether this combines the results of a first launch.
    fn is_second(&self) -> bool {
        !self.positions.is_empty()
    }

    /// One launch; of a first of two also where its results go.
    fn single(
        &self,
        mut source: Source<'_>,
        form: Form,
        axes: (&Axis, &Axis),
        partials: Option<&Partials>,
        label: &str,
    ) -> Result<Generated> {
        let (results, length) = (self.results(), self.length());
        let units = match form {
            Form::Columns | Form::Band(_) => results.div_ceil(4),
            Form::Rows | Form::Group(_) => results,
        };
        source.u32(&self.named("length"), length);
        if let Some(p) = partials {
            source.u32("units", units);
            source.u32("parts", p.parts);
            source.u32("chunk", p.chunk);
            source.u32("pitch", p.pitch);
        }
        let reduction = self.variables(&mut source, form, axes, partials)?;
        let units = units * partials.map_or(1, |p| p.parts);
        let (size, groups) = match form {
            Form::Group(size) => (size, units),
            Form::Band(band) => (BAND, units.div_ceil(band)),
            // Cores that play a GPU take a workgroup each.
            Form::Columns if source.traits.software && units <= FEW => (8, units.div_ceil(8)),
            Form::Columns | Form::Rows => (GROUP, units.div_ceil(GROUP as usize)),
        };
        let split = partials.is_some();
        let band = match form {
            Form::Band(band) => band,
            _ => 0,
        };
        let variables = context! { form => form.name(), size, band, split, reduction };
        source.bytes = (results * length * 4 * self.inputs.len().max(1)) as f64;
        source.flops = (results * length * (1 + self.prologue.instrs.len() * 4)) as f64;
        source.render(label, "reduce.wgsl", &variables, groups)
    }
}
