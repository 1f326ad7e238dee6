//! Cross-entropy with its gradient, in one launch: the form of `cross_entropy.wgsl` for the
//! rows' length and the kind of adapter.

use wgrad_core::{Arg, BufferSpec, DType, Error, Layout, Operand, Output, Program, Result, Shape};

use wgrad_core::ops::CrossEntropy;
use wgrad_shaders::context;

use super::{GpuOperation, Launch};
use crate::device::{LONGEST_WALK, Traits};
use crate::map;
use crate::operand::Access;
use crate::reduce::BLOCK;
use crate::source::{Generated, Slot, Source, register};

/// The kernel, as the plan has it.
struct Loss<'a> {
    pub rows: usize,
    pub classes: usize,
    pub logits: &'a Operand,
    /// Integers `[rows]`.
    pub targets: &'a Operand,
    pub ignore: i32,
    pub weight: Option<&'a Operand>,
    pub loss: Option<&'a Output>,
    pub row_weight: Option<&'a Output>,
    pub grad: Option<&'a Output>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Thread,
    /// So many threads, each with so many quads.
    Registers(usize, usize),
    /// Quads that a thread takes in one round of its loop.
    Long(usize),
}

/// Classes up to which the sum of a row is one chain of additions.
const SHORT: usize = 4096;

/// Quads that a round of a loop takes at most: each is text that the driver compiles.
const MOST_ROUNDS: usize = 10;

/// Threads of a workgroup that shares a long row.
const LONG: usize = 256;

impl GpuOperation for CrossEntropy {
    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let (logits, targets) = (launch.input(0)?, launch.input(1)?);
        let [rows, classes] = logits.layout.shape[..] else {
            return Err(Error::Device(
                "logits of cross-entropy have two dimensions".into(),
            ));
        };
        let output = |part: usize| launch.outputs.get(part).and_then(Option::as_ref);
        let kernel = Loss {
            rows,
            classes,
            logits,
            targets,
            ignore: self.ignore.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32,
            weight: launch.inputs.get(2),
            loss: output(Self::LOSS),
            row_weight: output(Self::WEIGHT),
            grad: output(Self::GRAD),
        };
        kernel.generate(launch.traits, launch.buffers, launch.scratch)
    }
}

impl Loss<'_> {
    /// Rounds of a workgroup's loop that one round of its text does, so that the driver does not
    /// leave the three walks over a long row early.
    fn rounds(&self, traits: &Traits) -> usize {
        match traits.software {
            true => self.classes.div_ceil(LONG * 4 * (LONGEST_WALK / 4)),
            false => 1,
        }
    }

    fn choose(&self, traits: &Traits) -> Form {
        let quads = self.classes.div_ceil(4);
        // Three walks over the row, four elements a round.
        if self.classes <= 64 || (traits.software && self.classes <= LONGEST_WALK) {
            return Form::Thread;
        }
        if self.classes > 4096 {
            return Form::Long(self.rounds(traits));
        }
        let size = if quads <= 64 { 64 } else { 256 };
        Form::Registers(size, quads.div_ceil(size))
    }

    /// Makes the launches: one, and one more for each result that is stored in a packed type.
    pub fn generate(
        &self,
        traits: &Traits,
        buffers: &[BufferSpec],
        scratch: &mut usize,
    ) -> Result<Vec<Generated>> {
        if self.rows == 0 || self.classes == 0 {
            return Ok(Vec::new());
        }
        // Rows of packed elements share words; such results go through f32.
        let mut later = Vec::new();
        let mut target = |output: Option<&Output>, count: usize| {
            output.map(|o| {
                if o.dtype == DType::F32 {
                    return Slot::Plan(o.buffer);
                }
                let bytes = (count * 4).next_multiple_of(256);
                let slot = Slot::Scratch {
                    offset: *scratch,
                    bytes,
                };
                *scratch += bytes;
                later.push((slot, *o, count));
                slot
            })
        };
        let loss = target(self.loss, self.rows);
        let row_weight = target(self.row_weight, self.rows);
        let grad = target(self.grad, self.rows * self.classes);
        let source = Source::new(traits, buffers);
        let form = self.choose(traits);
        if matches!(form, Form::Long(rounds) if rounds > MOST_ROUNDS) {
            return Err(Error::Device(format!(
                "rows of {} elements are too long for this driver's loops",
                self.classes
            )));
        }
        let mut launches = vec![self.launch(source, form, loss, row_weight, grad)?];
        for (slot, output, count) in later {
            let shape = Shape::from([count]);
            let input = Access {
                name: "x0".into(),
                slot,
                dtype: DType::F32,
                layout: Layout::contiguous(shape.clone()),
            };
            let program = Program {
                inputs: vec![DType::F32],
                outputs: vec![(Arg::Input(0), output.dtype)],
                ..Program::default()
            };
            let to = [(Slot::Plan(output.buffer), output.dtype)];
            let source = Source::new(traits, buffers);
            launches.extend(map::generate(source, &shape, &[input], &program, &to)?);
        }
        Ok(launches)
    }

    fn launch(
        &self,
        mut source: Source<'_>,
        form: Form,
        loss: Option<Slot>,
        row_weight: Option<Slot>,
        grad: Option<Slot>,
    ) -> Result<Generated> {
        let logits = &self.logits.layout;
        let [row, class] = match logits.strides[..] {
            [row, class] => [row, class],
            _ => {
                let problem = "logits of cross-entropy have two dimensions";
                return Err(Error::Device(problem.into()));
            }
        };
        source.u32("rows", self.rows);
        source.u32("classes", self.classes);
        let vectors = class == 1 && row % 4 == 0 && logits.offset.is_multiple_of(4);
        let slot = Slot::Plan(self.logits.buffer);
        source.input("logits", slot, self.logits.dtype, vectors);
        source.u32("logits_start", logits.offset);
        source.stride("logits_row", row);
        if class != 1 {
            source.stride("logits_class", class);
        }
        let vector = |source: &mut Source<'_>, [name, start, step]: [&str; 3], of: &Operand| {
            source.input(name, Slot::Plan(of.buffer), of.dtype, false);
            source.u32(start, of.layout.offset);
            source.stride(step, of.layout.strides.first().copied().unwrap_or(0));
        };
        let names = ["targets", "targets_start", "targets_row"];
        vector(&mut source, names, self.targets);
        if let Some(weight) = self.weight {
            let names = ["weight", "weight_start", "weight_class"];
            vector(&mut source, names, weight);
        }
        source.fault();
        source.i32("ignore_index", self.ignore);
        let ragged = !self.classes.is_multiple_of(4);
        for (name, slot, four) in [
            ("loss", loss, false),
            ("row_weight", row_weight, false),
            ("grad", grad, !ragged),
        ] {
            if let Some(slot) = slot {
                source.output(name, slot, DType::F32, four);
            }
        }
        let (name, size, count, groups) = match form {
            Form::Thread => ("thread", 64, 1, self.rows.div_ceil(64)),
            Form::Registers(size, quads) => ("registers", size, quads, self.rows),
            Form::Long(rounds) => ("long", LONG, rounds, self.rows),
        };
        let variables = context! {
            form => name,
            size => size,
            count => count,
            blocks => self.classes > SHORT,
            block_length => BLOCK,
            vectors => vectors,
            ragged => ragged,
            strided => class != 1,
            signed => register(self.targets.dtype) == "i32",
            weighted => self.weight.is_some(),
            loss => loss.is_some(),
            row_weight => row_weight.is_some(),
            grad => grad.is_some(),
        };
        source.bytes = (self.rows * self.classes * 8) as f64;
        source.flops = (self.rows * self.classes * 60) as f64;
        source.render("cross_entropy", "cross_entropy.wgsl", &variables, groups)
    }
}
