//! A layer's way through a sequence: sequences are shared out, and each task takes its own through all steps, so that no
//! thread waits for another. The weights are packed once.

mod cells;

use wgrad_core::ops::{Cell, Recurrence, RecurrenceGrad};
use wgrad_core::{DType, Operand, Operation, Output, ScalarBits, Spec};

use self::cells::{Backward, Forward};
use super::products::{Factor, Matrix};
use super::{CpuOperation, Launch};
use crate::cursor::{Cursor, Walk};
use crate::executor::{Context, Launchable};
use crate::gemm::Real;
use crate::interpreter::Bound;
use crate::parallel::{self, Shared};
use crate::scratch::{self, take};

/// Multiplications below which a sequence stays on one thread.
const PARALLEL_WORK: usize = 1 << 18;
/// The same for a step, after which threads wait for one another.
const PARALLEL_STEP: usize = 1 << 19;

/// An operand, row by row.
struct Rows {
    buffer: usize,
    walk: Walk,
}

impl Rows {
    fn new(operand: &Operand) -> Rows {
        Rows {
            buffer: operand.buffer,
            walk: Walk::new(&operand.layout),
        }
    }
}

/// A place in one.
struct Reader<'a> {
    start: *const u8,
    walk: &'a Walk,
    cursor: Cursor<'a>,
}

impl<'a> Reader<'a> {
    fn new(rows: &'a Rows, buffers: &[Bound]) -> Reader<'a> {
        Reader {
            start: buffers[rows.buffer].start,
            walk: &rows.walk,
            cursor: Cursor::new(&rows.walk),
        }
    }

    /// Row `i`, which is as long as `room`: where it lies, or gathered there.
    ///
    /// # Safety
    /// The operand was checked, has elements of this type, and such a row.
    unsafe fn row<'r, E>(&'r mut self, i: usize, room: &'r mut [E]) -> &'r [E] {
        let n = room.len();
        if self.walk.dense().is_multiple_of(n) {
            // SAFETY: the caller's promise, and its elements are neighbours.
            return unsafe {
                let first = self.start.cast::<E>().offset(self.walk.at(i * n));
                std::slice::from_raw_parts(first, n)
            };
        }
        // SAFETY: the caller's promise.
        unsafe { self.read(i, room) };
        room
    }

    /// Copies row `i`, which is as long as `to`.
    ///
    /// # Safety
    /// As [`Reader::row`].
    unsafe fn read<E>(&mut self, i: usize, to: &mut [E]) {
        let (n, size) = (to.len(), size_of::<E>());
        // SAFETY: the caller's promise.
        unsafe {
            let to = to.as_mut_ptr().cast();
            self.cursor.gather(self.start, size, i * n, to, n);
        }
    }
}

/// What both ways have.
struct Problem {
    cell: Cell,
    reverse: bool,
    dtype: DType,
    steps: usize,
    batch: usize,
    size: usize,
    operands: Vec<Rows>,
    results: [Option<Output>; 2],
}

impl Problem {
    fn new(
        (cell, reverse): (Cell, bool),
        [steps, batch, size]: [usize; 3],
        launch: &Launch<'_>,
        results: impl FnOnce(&[Spec]) -> Result<Vec<Spec>, String>,
    ) -> Result<Problem, String> {
        launch.check(results)?;
        let dtype = launch.input(0)?.dtype;
        if !matches!(dtype, DType::F32 | DType::F64) || steps * batch * size == 0 {
            return Err(format!("[{steps}, {batch}, {size}] of {dtype}"));
        }
        let outputs = [0, 1].map(|part| launch.outputs.get(part).copied().flatten());
        Ok(Problem {
            cell,
            reverse,
            dtype,
            steps,
            batch,
            size,
            operands: launch.inputs.iter().map(Rows::new).collect(),
            results: outputs,
        })
    }

    /// Elements of a row of gates.
    fn gates(&self) -> usize {
        self.cell.gates() * self.size
    }

    /// Elements of a row of what is kept.
    fn kept(&self) -> usize {
        self.cell.kept() * self.size
    }

    /// Place `i` in the order of the steps.
    fn step(&self, i: usize) -> usize {
        if self.reverse { self.steps - 1 - i } else { i }
    }

    /// In how many pieces the columns of a step's product go: where there are threads for more than one to a sequence,
    /// and enough to do.
    fn pieces(&self) -> usize {
        let threads = parallel::threads();
        let work = self.batch * self.gates() * self.size;
        let shared = 2 * self.batch <= threads && work >= PARALLEL_STEP;
        if shared { threads } else { 1 }
    }

    /// Runs `task` on ranges of the batch, as many as there are threads, or on all of it if a step is shared out.
    fn shared_out(&self, pieces: usize, task: impl Fn(usize, usize) + Sync) {
        let work = self.steps * self.batch * self.gates();
        let parallel = pieces == 1 && work.saturating_mul(self.size) >= PARALLEL_WORK;
        let threads = if parallel { parallel::threads() } else { 1 };
        let piece = self.batch.div_ceil(threads);
        parallel::for_each(parallel, self.batch.div_ceil(piece), |i| {
            task(i * piece, self.batch.min(i * piece + piece));
        });
    }

    /// Runs `task` with the packed weights: as they are, or transposed.
    fn with_weights<E: Real>(
        &self,
        buffers: &[Bound],
        transposed: bool,
        task: impl FnOnce(&Factor<E>),
    ) {
        let (gates, size) = (self.gates(), self.size);
        let ((k, n), strides) = match transposed {
            true => ((size, gates), (1, size as isize)),
            false => ((gates, size), (size as isize, 1)),
        };
        scratch::with(|scratch| {
            let room = scratch.slice::<E>(gates * size + Factor::<E>::room(k, n));
            let (plain, panel) = room.split_at_mut(gates * size);
            // SAFETY: the weights are the third operand of both, `[gates size, size]`; they and the panel stay as long
            // as the factor.
            unsafe {
                Reader::new(&self.operands[2], buffers).read(0, plain);
                let start = plain.as_ptr();
                task(&Factor::new(
                    Matrix { start, strides },
                    (k, n),
                    self.batch,
                    panel,
                ));
            }
        });
    }
}

/// The products of `rows` rows, dense in `a`, and the weights, into rows of `c` that are `row` apart; the columns in so
/// many pieces at a time.
fn multiply<E: Real>(
    weights: &Factor<E>,
    rows: usize,
    a: &[E],
    (c, row): (&mut [E], usize),
    pieces: usize,
) {
    assert!(a.len() >= rows * weights.k && c.len() >= rows * row && row >= weights.n);
    let (a, c) = (Shared(a.as_ptr().cast_mut()), Shared(c.as_mut_ptr()));
    parallel::for_each(pieces > 1, pieces, |i| {
        let a = Matrix {
            start: a.get().cast_const(),
            strides: (weights.k as isize, 1),
        };
        let columns = weights.piece(i, pieces);
        // SAFETY: there is room, and tasks have columns of their own.
        unsafe { weights.multiply_columns(rows, a, (c.get(), row), columns, false) };
    });
}

/// Where a result's elements go.
#[derive(Clone, Copy)]
struct Target<E>(Option<Shared<E>>);

impl<E: Copy> Target<E> {
    fn new(output: Option<Output>, buffers: &[Bound]) -> Target<E> {
        Target(output.map(|output| Shared(buffers[output.buffer].start.cast())))
    }

    /// Writes row `i`.
    ///
    /// # Safety
    /// The result has such a row, which is this task's.
    unsafe fn write(self, i: usize, row: &[E]) {
        if let Some(start) = self.0 {
            // SAFETY: the caller's promise.
            unsafe {
                let to = start.get().add(i * row.len());
                std::ptr::copy_nonoverlapping(row.as_ptr(), to, row.len());
            }
        }
    }
}

/// Row `i` of rows of `size`.
fn row<E>(rows: &mut [E], i: usize, size: usize) -> &mut [E] {
    &mut rows[i * size..][..size]
}

struct Forwards(Problem);

impl CpuOperation for Recurrence {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let (input, weights) = (launch.input(0)?, launch.input(2)?);
        let (&[steps, batch, _], &[_, size]) = (&input.layout.shape[..], &weights.layout.shape[..])
        else {
            return Err(format!("inputs {}", input.layout.shape));
        };
        let sizes = [steps, batch, size];
        let problem = Problem::new((self.cell, self.reverse), sizes, launch, |specs| {
            self.results(specs)
        })?;
        Ok(Box::new(Forwards(problem)))
    }
}

impl Forwards {
    fn run<E: Real>(&self, buffers: &[Bound]) {
        let pieces = self.0.pieces();
        self.0.with_weights::<E>(buffers, true, |weights| {
            self.0.shared_out(pieces, |from, to| {
                // SAFETY: operands and results were checked, and tasks have sequences of their own.
                unsafe { self.task(buffers, (weights, pieces), from, to) };
            });
        });
    }

    /// # Safety
    /// Operands and results were checked; nobody else has these sequences.
    unsafe fn task<E: Real>(
        &self,
        buffers: &[Bound],
        (weights, pieces): (&Factor<E>, usize),
        from: usize,
        to: usize,
    ) {
        let p = &self.0;
        let (size, gates, rows) = (p.size, p.gates(), to - from);
        let stride = gates.max(p.kept());
        let kept = Target::<E>::new(p.results[Recurrence::KEPT], buffers);
        let states = Target::<E>::new(p.results[Recurrence::STATES], buffers);
        let mut inputs = Reader::new(&p.operands[0], buffers);
        let mut first = Reader::new(&p.operands[1], buffers);
        let sizes = [rows * size, rows * size, rows * stride, gates, gates];
        scratch::with(|scratch| {
            let mut room = scratch.slice::<E>(sizes.iter().sum());
            room.fill(E::from_f64(0.0));
            let [h, c, own, input, bias] = sizes.map(|size| take(&mut room, size));
            // SAFETY: the caller's promise.
            unsafe {
                for i in 0..rows {
                    first.read(from + i, row(h, i, size));
                    if p.cell.parts() == 2 {
                        first.read(p.batch + from + i, row(c, i, size));
                    }
                }
                let bias = p.operands.get(3).map(|operand| {
                    Reader::new(operand, buffers).read(0, bias);
                    &*bias
                });
                for step in (0..p.steps).map(|i| p.step(i)) {
                    multiply(weights, rows, h, (&mut *own, stride), pieces);
                    for i in 0..rows {
                        let at = step * p.batch + from + i;
                        let gates = row(own, i, stride);
                        let (h, c) = (row(h, i, size), row(c, i, size));
                        let step = Forward {
                            cell: p.cell,
                            input: inputs.row(at, input),
                            bias,
                            gates: &mut *gates,
                            h: &mut *h,
                            c: &mut *c,
                        };
                        step.run();
                        kept.write(at, &gates[..p.kept()]);
                        states.write(at, h);
                        if p.cell.parts() == 2 {
                            states.write(p.steps * p.batch + at, c);
                        }
                    }
                }
            }
        });
    }
}

impl Launchable for Forwards {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        match self.0.dtype {
            DType::F64 => self.run::<f64>(context.buffers),
            _ => self.run::<f32>(context.buffers),
        }
        None
    }
}

struct Backwards(Problem);

impl CpuOperation for RecurrenceGrad {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let states = launch.input(1)?;
        let &[_, steps, batch, size] = &states.layout.shape[..] else {
            return Err(format!("states {}", states.layout.shape));
        };
        let sizes = [steps, batch, size];
        let problem = Problem::new((self.cell, self.reverse), sizes, launch, |specs| {
            self.results(specs)
        })?;
        Ok(Box::new(Backwards(problem)))
    }
}

impl Backwards {
    fn run<E: Real>(&self, buffers: &[Bound]) {
        let pieces = self.0.pieces();
        self.0.with_weights::<E>(buffers, false, |weights| {
            self.0.shared_out(pieces, |from, to| {
                // SAFETY: operands and results were checked, and tasks have sequences of their own.
                unsafe { self.task(buffers, (weights, pieces), from, to) };
            });
        });
    }

    /// # Safety
    /// Operands and results were checked; nobody else has these sequences.
    unsafe fn task<E: Real>(
        &self,
        buffers: &[Bound],
        (weights, pieces): (&Factor<E>, usize),
        from: usize,
        to: usize,
    ) {
        let p = &self.0;
        let (size, gates, rows) = (p.size, p.gates(), to - from);
        let slopes = Target::<E>::new(p.results[RecurrenceGrad::SLOPES], buffers);
        let of_first = Target::<E>::new(p.results[RecurrenceGrad::FIRST], buffers);
        let reader = |i: usize| p.operands.get(i).map(|rows| Reader::new(rows, buffers));
        let (mut first, mut kept_rows) = (reader(3), reader(4));
        let [mut grads, mut more_grads] = [0; 2].map(|i| Reader::new(&p.operands[i], buffers));
        let [mut states, mut earlier] = [1; 2].map(|i| Reader::new(&p.operands[i], buffers));
        let (two, all) = (p.cell.parts() == 2, p.steps * p.batch);
        let sizes = [
            rows * size,
            rows * size,
            rows * gates,
            gates,
            p.kept(),
            size,
            size,
            size,
            size,
            size,
        ];
        scratch::with(|scratch| {
            let mut room = scratch.slice::<E>(sizes.iter().sum());
            room.fill(E::from_f64(0.0));
            let [
                dh,
                carry,
                own,
                slope,
                kept,
                grad,
                of_cells,
                state,
                before,
                squashed,
            ] = sizes.map(|size| take(&mut room, size));
            // SAFETY: the caller's promise.
            unsafe {
                for i in (0..p.steps).rev() {
                    let step = p.step(i);
                    for r in 0..rows {
                        let at = step * p.batch + from + r;
                        // The part of the states that the cell looks at.
                        let part = if two { all } else { 0 };
                        let before = match (i, &mut first) {
                            (_, None) => &*before,
                            (0, Some(first)) => {
                                first.row(if two { p.batch } else { 0 } + from + r, before)
                            }
                            _ => {
                                let at = p.step(i - 1) * p.batch + from + r;
                                earlier.row(part + at, before)
                            }
                        };
                        let step = Backward {
                            cell: p.cell,
                            grad: grads.row(at, grad),
                            of_cells: match two {
                                true => more_grads.row(all + at, of_cells),
                                false => &*of_cells,
                            },
                            kept: match &mut kept_rows {
                                Some(rows) => rows.row(at, kept),
                                None => &*kept,
                            },
                            state: states.row(part + at, state),
                            before,
                            squashed: &mut *squashed,
                            dh: row(dh, r, size),
                            carry: row(carry, r, size),
                            slopes: &mut *slope,
                            own: row(own, r, gates),
                        };
                        step.run();
                        slopes.write(at, slope);
                    }
                    multiply(weights, rows, own, (&mut *dh, size), pieces);
                }
                for r in 0..rows {
                    let dh = row(dh, r, size);
                    let carry = row(carry, r, size);
                    if two {
                        of_first.write(p.batch + from + r, carry);
                    } else if p.cell == Cell::Gru {
                        for (dh, more) in dh.iter_mut().zip(&*carry) {
                            *dh = E::from_f64(dh.to_f64() + more.to_f64());
                        }
                    }
                    of_first.write(from + r, dh);
                }
            }
        });
    }
}

impl Launchable for Backwards {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        match self.0.dtype {
            DType::F64 => self.run::<f64>(context.buffers),
            _ => self.run::<f32>(context.buffers),
        }
        None
    }
}
