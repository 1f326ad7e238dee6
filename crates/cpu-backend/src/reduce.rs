//! The Reduce kernel.
//!
//! Two ways through the elements. By rows: the reduced dimensions are innermost, each kept element
//! is the fold of a run. By columns: where the operands lie the other way round (a sum over the
//! rows of a matrix), the kept dimensions are walked innermost and folded element by element. Both
//! split long reductions into pieces whose size depends on the shape only, and merge the pieces in
//! order, so results do not depend on the number of threads.

use smallvec::SmallVec;
use wgrad_core::{Kernel, Layout, Output, ScalarBits, Shape};

use crate::executor::{Checker, Context, Launchable};
use crate::fold::{ColumnFold, Fold, State, fold_of};
use crate::interpreter::{self, BLOCK, Bound, Code, Machine, REGISTER, Source, Target};
use crate::parallel::{self, PARALLEL_ELEMENTS, Shared};
use crate::scratch;

/// Elements of one piece of a long reduction.
const PIECE: usize = 64 * 1024;
/// Additions to one element of a column level before it is flushed: bounds the rounding error.
const LEVEL_ROWS: usize = 64;
/// Columns that a level is widened to where there are few.
const LEVEL_WIDTH: usize = 128;

/// A prepared Reduce.
pub(crate) struct Reduce {
    prologue: Code,
    epilogue: Code,
    folds: Vec<Fold>,
    outputs: Vec<Output>,
    kept: usize,
    reduced: usize,
    by_columns: bool,
}

impl Reduce {
    pub fn new(checker: &Checker<'_>, kernel: &Kernel) -> Result<Reduce, String> {
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
            return Err("not a reduction".to_string());
        };
        let kept_rank = shape
            .rank()
            .checked_sub(*reduced)
            .ok_or("more reduced dimensions than there are")?;
        let kept_shape = Shape::new(&shape[..kept_rank]);
        let reduced_shape = Shape::new(&shape[kept_rank..]);
        if prologue.outputs.len() != accumulators.len()
            || epilogue.accumulators.len() != accumulators.len()
        {
            return Err("programs and accumulators do not fit".to_string());
        }
        if accumulators.is_empty() {
            return Err("no accumulators".to_string());
        }
        let mut folds = Vec::with_capacity(accumulators.len());
        for (i, accumulator) in accumulators.iter().enumerate() {
            if prologue.outputs[i].1 != accumulator.dtype
                || epilogue.accumulators[i].compute() != accumulator.result()
            {
                return Err(format!("types around accumulator {i}"));
            }
            folds.push(
                fold_of(*accumulator).ok_or_else(|| format!("no accumulator {accumulator:?}"))?,
            );
        }
        let kept = checker.outputs(&kept_shape, outputs, epilogue)?;
        let reduced = reduced_shape
            .checked_numel()
            .filter(|r| r.checked_mul(kept).is_some())
            .ok_or("too many elements")?;
        for input in inputs {
            checker.operand(input, Some(shape))?;
        }
        for input in epilogue_inputs {
            checker.operand(input, Some(&kept_shape))?;
        }
        let positional = prologue.instrs.iter().any(|i| i.op.is_positional());
        let by_columns = !positional
            && kept > 1
            && reduced > 1
            && prefers_columns(
                inputs.iter().map(|i| (&i.layout, i.dtype.size())),
                kept_rank,
            );
        let order: SmallVec<[usize; 6]> = if by_columns {
            (kept_rank..shape.rank()).chain(0..kept_rank).collect()
        } else {
            (0..shape.rank()).collect()
        };
        let sources = inputs
            .iter()
            .map(|i| Source::new(i, &i.layout.permute(&order)))
            .collect();
        let epilogue_sources = epilogue_inputs
            .iter()
            .map(|i| Source::new(i, &i.layout))
            .collect();
        Ok(Reduce {
            prologue: Code::new(prologue, sources)?,
            epilogue: Code::new(epilogue, epilogue_sources)?,
            folds,
            outputs: outputs.clone(),
            kept,
            reduced,
            by_columns,
        })
    }
}

/// Whether the operands lie denser along the kept dimensions than along the reduced ones.
fn prefers_columns<'a>(
    inputs: impl Iterator<Item = (&'a Layout, usize)>,
    kept_rank: usize,
) -> bool {
    // Bytes that a step along the innermost dimension of each kind costs, up to a cache line.
    let step = |layout: &Layout, size: usize, dims: std::ops::Range<usize>| {
        dims.rev()
            .find(|&d| layout.shape[d] > 1)
            .map_or(0, |d| (layout.strides[d].unsigned_abs() * size).min(64))
    };
    let (mut along_kept, mut along_reduced) = (0, 0);
    for (layout, size) in inputs {
        along_kept += step(layout, size, 0..kept_rank);
        along_reduced += step(layout, size, kept_rank..layout.shape.rank());
    }
    along_kept < along_reduced
}

/// A launch's data.
struct Run<'a> {
    kernel: &'a Reduce,
    buffers: &'a [Bound],
    before: &'a [ScalarBits],
    after: &'a [ScalarBits],
    targets: SmallVec<[Target; 4]>,
    direct: bool,
}

impl Launchable for Reduce {
    fn scalars(&self) -> usize {
        self.prologue.scalars() + self.epilogue.scalars()
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        if self.kept == 0 {
            return None;
        }
        let buffers = context.buffers;
        let (before, after) = scalars.split_at(self.prologue.scalars());
        // An output may lie over an operand of the prologue only if that is read before.
        let apart = interpreter::are_apart(self.prologue.sources(), &self.outputs, buffers);
        let run = Run {
            kernel: self,
            buffers,
            before,
            after,
            targets: interpreter::targets(&self.outputs, buffers),
            direct: interpreter::are_apart(self.epilogue.sources(), &self.outputs, buffers),
        };
        if self.reduced == 0 {
            let states = vec![State::EMPTY; self.kept * self.folds.len()];
            run.finish_all(&states);
        } else if self.by_columns {
            run.columns(apart);
        } else {
            run.rows(apart);
        }
        None
    }
}

impl Run<'_> {
    fn is_parallel(&self) -> bool {
        self.kernel.kept * self.kernel.reduced >= PARALLEL_ELEMENTS
    }

    /// Epilogue for all kept elements, whose states stand accumulator by accumulator.
    fn finish_all(&self, states: &[State]) {
        let kept = self.kernel.kept;
        parallel::for_ranges(kept >= PARALLEL_ELEMENTS, kept, BLOCK, |start, end| {
            let parts: SmallVec<[&[State]; 4]> = (0..self.kernel.folds.len())
                .map(|a| &states[a * kept + start..a * kept + end])
                .collect();
            self.finish(start, end, &parts);
        });
    }

    /// Epilogue for kept elements `start..end`, given their states for each accumulator.
    fn finish(&self, start: usize, end: usize, states: &[&[State]]) {
        let kernel = self.kernel;
        scratch::with(|results| {
            let results = results.reserve(kernel.folds.len() * REGISTER);
            scratch::with(|scratch| {
                let code = &kernel.epilogue;
                let mut machine = code.start(self.buffers, self.after, end - start, scratch);
                for position in (start..end).step_by(BLOCK) {
                    let n = BLOCK.min(end - position);
                    for (a, (fold, states)) in kernel.folds.iter().zip(states).enumerate() {
                        let part = &states[position - start..position - start + n];
                        // SAFETY: a register for each accumulator was reserved.
                        unsafe {
                            let block = results.add(a * REGISTER);
                            (fold.finish)(part, block);
                            machine.set_accumulator(a, block);
                        }
                    }
                    // SAFETY: operands and outputs were checked; tasks have their own ranges of
                    // kept elements.
                    unsafe { machine.run_to(&self.targets, self.direct, position, n) };
                }
            });
        });
    }

    /// Folds the reduced elements `from..to` of one kept element.
    fn fold_run(
        &self,
        machine: &mut Machine<'_>,
        row: usize,
        from: usize,
        to: usize,
        states: &mut [State],
    ) {
        for r in (from..to).step_by(BLOCK) {
            let n = BLOCK.min(to - r);
            // SAFETY: the positions lie within the iteration space.
            unsafe { machine.run(row * self.kernel.reduced + r, n) };
            for (a, (fold, state)) in self.kernel.folds.iter().zip(&mut *states).enumerate() {
                // SAFETY: output `a` holds `n` elements of the accumulator's type.
                unsafe { (fold.row)(machine.output(a), n, r as i64, state) };
            }
        }
    }

    fn rows(&self, apart: bool) {
        let Reduce { kept, reduced, .. } = *self.kernel;
        let pieces = if reduced >= 2 * PIECE {
            reduced.div_ceil(PIECE)
        } else {
            1
        };
        if pieces == 1 && apart {
            let group = (PIECE / 2 / reduced).clamp(1, kept);
            // Groups of whole blocks share their epilogue's blocks.
            parallel::for_ranges(self.is_parallel(), kept, group, |start, end| {
                let mut states =
                    vec![State::EMPTY; (end - start).min(BLOCK) * self.kernel.folds.len()];
                for first in (start..end).step_by(BLOCK) {
                    let last = end.min(first + BLOCK);
                    self.fold_rows(first, last, &mut states);
                    let parts: SmallVec<[&[State]; 4]> = states
                        .chunks(states.len() / self.kernel.folds.len())
                        .collect();
                    self.finish(first, last, &parts);
                }
            });
            return;
        }
        // Partial states of the pieces, piece by piece within a kept element.
        let folds = self.kernel.folds.len();
        let mut partial = vec![State::EMPTY; kept * pieces * folds];
        let shared = Shared(partial.as_mut_ptr());
        parallel::for_ranges(self.is_parallel(), kept * pieces, 1, |start, end| {
            scratch::with(|scratch| {
                let code = &self.kernel.prologue;
                let mut machine = code.start(self.buffers, self.before, reduced, scratch);
                for item in start..end {
                    let from = item % pieces * PIECE;
                    let to = if pieces == 1 {
                        reduced
                    } else {
                        reduced.min(from + PIECE)
                    };
                    // SAFETY: each item's states are its own.
                    let states = unsafe {
                        std::slice::from_raw_parts_mut(shared.get().add(item * folds), folds)
                    };
                    self.fold_run(&mut machine, item / pieces, from, to, states);
                }
            });
        });
        let mut states = vec![State::EMPTY; kept * folds];
        for (item, part) in partial.chunks(folds.max(1)).enumerate() {
            for (a, (fold, state)) in self.kernel.folds.iter().zip(part).enumerate() {
                (fold.merge)(&mut states[a * kept + item / pieces], state);
            }
        }
        self.finish_all(&states);
    }

    /// Folds kept elements `first..last`; their states stand accumulator by accumulator, as far
    /// apart as `states` allows.
    fn fold_rows(&self, first: usize, last: usize, states: &mut [State]) {
        let Reduce {
            reduced, ref folds, ..
        } = *self.kernel;
        let apart = states.len() / folds.len();
        states.fill(State::EMPTY);
        scratch::with(|scratch| {
            let code = &self.kernel.prologue;
            let most = reduced * (last - first);
            let mut machine = code.start(self.buffers, self.before, most, scratch);
            if reduced > BLOCK / 2 {
                let mut row_states: SmallVec<[State; 4]> = SmallVec::new();
                for row in first..last {
                    row_states.clear();
                    row_states.resize(folds.len(), State::EMPTY);
                    self.fold_run(&mut machine, row, 0, reduced, &mut row_states);
                    for (a, state) in row_states.iter().enumerate() {
                        states[a * apart + row - first] = *state;
                    }
                }
                return;
            }
            // Short rows: several of them in one block.
            let rows = BLOCK / reduced;
            for row in (first..last).step_by(rows) {
                let rows = rows.min(last - row);
                // SAFETY: the positions lie within the iteration space.
                unsafe { machine.run(row * reduced, rows * reduced) };
                for (a, fold) in folds.iter().enumerate() {
                    let block = machine.output(a);
                    let size = self.size(a);
                    for i in 0..rows {
                        let state = &mut states[a * apart + row - first + i];
                        // SAFETY: output `a` holds all the rows.
                        unsafe { (fold.row)(block.add(i * reduced * size), reduced, 0, state) };
                    }
                }
            }
        });
    }

    /// Bytes of an element of accumulator `a`.
    fn size(&self, a: usize) -> usize {
        self.kernel.prologue.output_size(a)
    }

    fn columns(&self, apart: bool) {
        let Reduce {
            kept,
            reduced,
            ref folds,
            ..
        } = *self.kernel;
        let columns = kept.min(BLOCK);
        let strips = kept.div_ceil(columns);
        // Enough pieces for any machine, none of them tiny.
        let wanted = 64usize.div_ceil(strips);
        let rows = reduced
            .div_ceil(wanted)
            .max((PIECE / 4).div_ceil(columns))
            .max(LEVEL_ROWS);
        let pieces = reduced.div_ceil(rows);
        let fold_strip = |strip: usize, piece: usize, states: &mut [State]| {
            let first = strip * columns;
            let width = columns.min(kept - first);
            let from = piece * rows;
            self.fold_columns(first, width, from, reduced.min(from + rows), states);
        };
        if pieces == 1 && apart {
            parallel::for_each(self.is_parallel(), strips, |strip| {
                let first = strip * columns;
                let width = columns.min(kept - first);
                let mut states = vec![State::EMPTY; width * folds.len()];
                fold_strip(strip, 0, &mut states);
                let parts: SmallVec<[&[State]; 4]> = states.chunks(width).collect();
                self.finish(first, first + width, &parts);
            });
            return;
        }
        let each = columns * folds.len();
        let mut partial = vec![State::EMPTY; strips * pieces * each];
        let shared = Shared(partial.as_mut_ptr());
        parallel::for_each(self.is_parallel(), strips * pieces, |item| {
            let width = columns.min(kept - item / pieces * columns);
            // SAFETY: each item's states are its own.
            let states = unsafe {
                std::slice::from_raw_parts_mut(shared.get().add(item * each), width * folds.len())
            };
            fold_strip(item / pieces, item % pieces, states);
        });
        let mut states = vec![State::EMPTY; kept * folds.len()];
        for (item, part) in partial.chunks(each).enumerate() {
            let first = item / pieces * columns;
            let width = columns.min(kept - first);
            for (a, fold) in folds.iter().enumerate() {
                let into = &mut states[a * kept + first..a * kept + first + width];
                for (state, other) in into.iter_mut().zip(&part[a * width..]) {
                    (fold.merge)(state, other);
                }
            }
        }
        self.finish_all(&states);
    }

    /// Folds rows `from..to` of the `width` columns from `first` on; states stand accumulator by
    /// accumulator.
    fn fold_columns(
        &self,
        first: usize,
        width: usize,
        from: usize,
        to: usize,
        states: &mut [State],
    ) {
        let Reduce {
            kept, ref folds, ..
        } = *self.kernel;
        // Whole rows that lie one after the other share a block.
        let rows = if width == kept { BLOCK / width } else { 1 };
        let copies = if rows == 1 {
            1
        } else {
            (LEVEL_WIDTH / width).clamp(1, rows)
        };
        let level_width = width * copies;
        scratch::with(|levels| {
            let levels = levels.reserve(folds.len() * REGISTER);
            scratch::with(|scratch| {
                let code = &self.kernel.prologue;
                let most = rows.min(to - from) * width;
                let mut machine = code.start(self.buffers, self.before, most, scratch);
                let mut added = 0;
                for row in (from..to).step_by(rows) {
                    let n = rows.min(to - row) * width;
                    let last = row + rows >= to;
                    // SAFETY: the positions lie within the iteration space.
                    unsafe { machine.run(row * kept + first, n) };
                    let full = last || added + n.div_ceil(level_width) >= LEVEL_ROWS;
                    for (a, fold) in folds.iter().enumerate() {
                        let states = &mut states[a * width..(a + 1) * width];
                        let block = machine.output(a);
                        // SAFETY: output `a` holds `n` elements, a level's register `level_width`.
                        unsafe {
                            match fold.columns {
                                ColumnFold::Levels { add, flush } => {
                                    let level = levels.add(a * REGISTER);
                                    add(block, n, width, level_width, added == 0, level);
                                    if full {
                                        flush(level, level_width, states);
                                    }
                                }
                                ColumnFold::Positions(positions) => {
                                    positions(block, n, row as i64, states);
                                }
                            }
                        }
                    }
                    added = if full {
                        0
                    } else {
                        added + n.div_ceil(level_width)
                    };
                }
            });
        });
    }
}
