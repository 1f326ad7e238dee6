//! Where the results of a product or a structured operation go: into an output as they are made, or through an
//! epilogue, which the interpreter runs over each part of them while that is still in the cache.

use std::ops::Range;

use wgrad_core::{Arg, DType, Operand, Output, Program, ScalarBits, Shape};

use crate::executor::Checker;
use crate::interpreter::{self, BLOCK, Bound, Code, REGISTER, Source};
use crate::parallel::{self, Shared};
use crate::{scratch, storage};

/// Elements that are made before the epilogue runs over them: few enough to stay in a first-level cache, and
/// whole blocks.
const STEP: usize = 4 * BLOCK;

/// What becomes of a kernel's results.
pub(crate) struct Results {
    epilogue: Code,
    outputs: Vec<Output>,
    /// The type that results are made in, and how many there are.
    dtype: DType,
    numel: usize,
    /// The output that may be the memory in which they are made: the results themselves if they are stored, because
    /// outputs are stored one after the other, and none may be written over results before they are read.
    first: usize,
    /// Whether the results themselves are the only output.
    plain: bool,
    /// What is read while they are made.
    operands: Vec<usize>,
}

impl Results {
    /// Results of `shape`, made of `operands` as elements of `dtype`, whose element is accumulator 0 of the epilogue
    /// `program`.
    pub fn new(
        checker: &Checker<'_>,
        (shape, dtype): (&Shape, DType),
        operands: &[usize],
        (inputs, program, outputs): (&[Operand], &Program, &[Output]),
    ) -> Result<Results, String> {
        let numel = checker.outputs(shape, outputs, program)?;
        let compute = |dtype: &DType| dtype.compute();
        if program
            .accumulators
            .iter()
            .map(compute)
            .ne([dtype.compute()])
        {
            return Err(format!("an epilogue that is not of {dtype}"));
        }
        let mut sources = Vec::with_capacity(inputs.len());
        for input in inputs {
            checker.operand(input, Some(shape))?;
            sources.push(Source::new(input, &input.layout));
        }
        let is_result = |(arg, _): &(Arg, DType)| *arg == Arg::Acc(0);
        Ok(Results {
            epilogue: Code::new(program, sources)?,
            outputs: outputs.to_vec(),
            dtype,
            numel,
            first: program.outputs.iter().position(is_result).unwrap_or(0),
            plain: program.outputs[..] == [(Arg::Acc(0), dtype)],
            operands: operands.to_vec(),
        })
    }

    /// Results that are stored as they are.
    pub fn stored(
        checker: &Checker<'_>,
        (shape, dtype): (&Shape, DType),
        operands: &[usize],
        output: Output,
    ) -> Result<Results, String> {
        let program = Program {
            accumulators: vec![dtype],
            outputs: vec![(Arg::Acc(0), dtype)],
            ..Program::default()
        };
        Results::new(
            checker,
            (shape, dtype),
            operands,
            (&[], &program, &[output]),
        )
    }

    pub fn numel(&self) -> usize {
        self.numel
    }

    /// How many scalars the epilogue takes.
    pub fn scalars(&self) -> usize {
        self.epilogue.scalars()
    }

    /// The output that results can be made in: of their type, and apart from whatever is read.
    fn place(&self, buffers: &[Bound]) -> Option<Bound> {
        let apart = |a: Bound, b: Bound| {
            let (a0, b0) = (a.start as usize, b.start as usize);
            a0 + a.bytes <= b0 || b0 + b.bytes <= a0
        };
        let output = self.outputs.get(self.first);
        let target = buffers[output.filter(|o| o.dtype == self.dtype)?.buffer];
        let fits = self.operands.iter().all(|&o| apart(buffers[o], target))
            && interpreter::are_apart(self.epilogue.sources(), &self.outputs, buffers);
        fits.then_some(target)
    }

    /// Runs `task` with memory for all results: that output's, or a thread's.
    pub fn make<R>(
        &self,
        buffers: &[Bound],
        scalars: &[ScalarBits],
        task: impl FnOnce(&Making<'_>) -> R,
    ) -> R {
        let making = self.making(buffers, scalars);
        if making.placed {
            return task(&making);
        }
        scratch::with(|scratch| {
            let start = scratch.reserve(self.numel * self.dtype.size());
            task(&Making {
                start: Shared(start),
                ..making
            })
        })
    }

    /// The same for [`Making::by_units`], whose tasks have memory of their own where there is no such output.
    pub fn making<'a>(&'a self, buffers: &'a [Bound], scalars: &'a [ScalarBits]) -> Making<'a> {
        let place = self.place(buffers);
        Making {
            results: self,
            buffers,
            scalars,
            start: Shared(place.map_or(std::ptr::null_mut(), |target| target.start)),
            placed: place.is_some(),
            stored: self.plain && place.is_some(),
        }
    }
}

/// Results in the making.
#[derive(Clone, Copy)]
pub(crate) struct Making<'a> {
    results: &'a Results,
    buffers: &'a [Bound],
    scalars: &'a [ScalarBits],
    start: Shared<u8>,
    /// Whether that is an output's memory.
    placed: bool,
    /// Whether they are stored where they are made, and nothing is left to do.
    stored: bool,
}

impl Making<'_> {
    /// Where the first result is, or would be if this is a part of them: others are reached by `wrapping_add`.
    /// A method, so that closures capture the whole.
    pub fn start(&self) -> *mut u8 {
        self.start.get()
    }

    /// The same elsewhere, with nothing to do behind it: a part of the results' sums.
    pub fn part(&self, start: Shared<u8>) -> Self {
        Making {
            start,
            stored: true,
            ..*self
        }
    }

    /// Runs a task that calls its argument with each range of results that it has made, none of them twice.
    pub fn task<R>(&self, task: impl FnOnce(&mut dyn FnMut(Range<usize>)) -> R) -> R {
        let Results {
            epilogue,
            outputs,
            dtype,
            numel,
            ..
        } = self.results;
        if self.stored {
            return task(&mut |_| {});
        }
        let targets = interpreter::targets(outputs, self.buffers);
        let widens = *dtype != dtype.compute();
        scratch::with(|register| {
            let register = register.reserve(if widens { REGISTER } else { 0 });
            scratch::with(|scratch| {
                let mut machine = epilogue.start(self.buffers, self.scalars, *numel, scratch);
                task(&mut |range: Range<usize>| {
                    for position in range.clone().step_by(BLOCK) {
                        let n = BLOCK.min(range.end - position);
                        // SAFETY: the results of the range were made, by this task; operands and outputs were
                        // checked; tasks have disjoint ranges. Outputs are stored after the block was computed,
                        // so one of them may be the results themselves.
                        unsafe {
                            let mut block = self.start().wrapping_add(position * dtype.size());
                            if widens {
                                storage::load(*dtype, block, register, n);
                                block = register;
                            }
                            machine.set_accumulator(0, block);
                            machine.run_to(&targets, false, position, n);
                        }
                    }
                })
            })
        })
    }

    /// Makes all results, over all threads where `parallel`. They are `units`, each of so many elements (the last
    /// may be shorter) that follow one another; `make` makes a range of units in the memory that it is given, and tasks
    /// have multiples of `grain`.
    pub fn by_units(
        &self,
        parallel: bool,
        (units, elements): (usize, usize),
        grain: usize,
        make: impl Fn(Range<usize>, &Making<'_>) + Sync,
    ) {
        let Results { numel, dtype, .. } = *self.results;
        let step = match self.stored {
            true => usize::MAX,
            false => (STEP / elements.max(1)).max(1),
        };
        let part = |first: usize, last: usize| first * elements..numel.min(last * elements);
        parallel::for_ranges(parallel, units, grain, |from, to| {
            let steps = (from..to).step_by(step);
            let steps = steps.map(|first| (first, to.min(first.saturating_add(step))));
            if self.placed {
                return self.task(|finish| {
                    for (first, last) in steps {
                        make(first..last, self);
                        finish(part(first, last));
                    }
                });
            }
            scratch::with(|scratch| {
                let most = part(from, to.min(from.saturating_add(step))).len();
                let memory = scratch.reserve(most * dtype.size());
                for (first, last) in steps {
                    let before = part(first, last).start * dtype.size();
                    let own = Making {
                        start: Shared(memory.wrapping_sub(before)),
                        ..*self
                    };
                    own.task(|finish| {
                        make(first..last, &own);
                        finish(part(first, last));
                    });
                }
            });
        });
    }
}
