//! Scan: rows and blocks of long rows are shared out; `f32` is combined in `f64`.

use std::marker::PhantomData;

use bytemuck::Pod;
use wgrad_core::ops::{Combine, Scan};
use wgrad_core::{DType, Output, ScalarBits};

use super::{CpuOperation, Launch};
use crate::cursor::{Cursor, Walk};
use crate::executor::{Context, Launchable};
use crate::order::{Ordered, with_order};
use crate::parallel::{self, PARALLEL_ELEMENTS, Shared};
use crate::scratch;

/// Elements of a block: of fixed size, so that the results do not depend on the number of threads.
const BLOCK: usize = 1 << 14;

/// A prepared Scan.
struct Scanned {
    combine: Combine,
    reverse: bool,
    dtype: DType,
    source: usize,
    walk: Option<Walk>,
    output: Output,
    rows: usize,
    n: usize,
}

impl CpuOperation for Scan {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let (x, output, checker) = (launch.input(0)?, launch.output()?, launch.checker);
        checker.operand(x, None)?;
        let numel = x.layout.shape.checked_numel().ok_or("too many elements")?;
        checker.output(output, numel)?;
        let result = match self.combine.is_position() {
            true => DType::I32,
            false => x.dtype,
        };
        if output.dtype != result || !self.combine.takes(x.dtype) {
            return Err(format!("{} of {}", output.dtype, x.dtype));
        }
        let n = x.layout.shape.last().copied().unwrap_or(1);
        Ok(Box::new(Scanned {
            combine: self.combine,
            reverse: self.reverse,
            dtype: x.dtype,
            source: x.buffer,
            walk: (numel > 0).then(|| Walk::new(&x.layout)),
            output,
            rows: numel.checked_div(n).unwrap_or(0),
            n,
        }))
    }
}

/// How elements become states, and states one.
trait Monoid {
    type Element: Pod + Send + Sync;
    type State: Copy + Send + Sync;
    type Result: Copy + Send + Sync;
    /// The state of nothing, which changes no other.
    const NOTHING: Self::State;
    fn state(x: Self::Element, position: usize) -> Self::State;
    fn join(a: Self::State, b: Self::State) -> Self::State;
    fn result(state: Self::State) -> Self::Result;
}

struct Sum<T>(PhantomData<T>);
struct Product<T>(PhantomData<T>);
struct LogSumExp<T>(PhantomData<T>);
/// The position of the largest, or with `MIN` of the smallest.
struct Extreme<T, const MIN: bool>(PhantomData<T>);

macro_rules! totals {
    ($($monoid:ident<$t:ty> as $state:ty: $nothing:expr, |$a:ident, $b:ident| $join:expr;)*) => { $(
        impl Monoid for $monoid<$t> {
            type Element = $t;
            type State = $state;
            type Result = $t;
            const NOTHING: $state = $nothing;
            #[inline(always)]
            fn state(x: $t, _: usize) -> $state {
                x as $state
            }
            #[inline(always)]
            fn join($a: $state, $b: $state) -> $state {
                $join
            }
            #[inline(always)]
            fn result(state: $state) -> $t {
                state as $t
            }
        }
    )* };
}
// The sum of nothing is -0, which changes no element that is added to it.
totals! {
    Sum<f32> as f64: -0.0, |a, b| a + b;
    Sum<f64> as f64: -0.0, |a, b| a + b;
    Sum<i32> as i32: 0, |a, b| a.wrapping_add(b);
    Sum<i64> as i64: 0, |a, b| a.wrapping_add(b);
    Sum<u32> as u32: 0, |a, b| a.wrapping_add(b);
    Product<f32> as f64: 1.0, |a, b| a * b;
    Product<f64> as f64: 1.0, |a, b| a * b;
    Product<i32> as i32: 1, |a, b| a.wrapping_mul(b);
    Product<i64> as i64: 1, |a, b| a.wrapping_mul(b);
    Product<u32> as u32: 1, |a, b| a.wrapping_mul(b);
}

/// `(m, s)` for `m + ln(s)`, where `m` is the largest element.
macro_rules! logs {
    ($($t:ty)*) => { $(impl Monoid for LogSumExp<$t> {
        type Element = $t;
        type State = (f64, f64);
        type Result = $t;
        const NOTHING: (f64, f64) = (f64::NEG_INFINITY, 0.0);
        #[inline(always)]
        fn state(x: $t, _: usize) -> (f64, f64) {
            (f64::from(x), 1.0)
        }
        #[inline(always)]
        fn join(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
            if a.0 == b.0 {
                (a.0, a.1 + b.1)
            } else if a.0 > b.0 {
                (a.0, a.1 + b.1 * (b.0 - a.0).exp())
            } else {
                // And where one is NaN.
                (b.0, b.1 + a.1 * (a.0 - b.0).exp())
            }
        }
        #[inline(always)]
        fn result((m, s): (f64, f64)) -> $t {
            (m + s.ln()) as $t
        }
    })* };
}
logs! { f32 f64 }

impl<T: Ordered, const MIN: bool> Monoid for Extreme<T, MIN> {
    type Element = T;
    /// NaN wins both ways, so it comes before the key.
    type State = Option<(bool, T::Key, usize)>;
    type Result = i32;
    const NOTHING: Self::State = None;
    #[inline(always)]
    fn state(x: T, position: usize) -> Self::State {
        let key = if MIN { !x.key() } else { x.key() };
        Some((x.is_nan(), key, position))
    }
    #[inline(always)]
    fn join(a: Self::State, b: Self::State) -> Self::State {
        // Of equal ones the later.
        match (a, b) {
            (Some(x), Some(y)) if (x.0, x.1) > (y.0, y.1) => a,
            (_, None) => a,
            _ => b,
        }
    }
    #[inline(always)]
    fn result(state: Self::State) -> i32 {
        state.map_or(0, |(.., position)| position as i32)
    }
}

/// Takes a block: its number, where its row begins, where in the row it does, and its elements.
type Visit<'a, E> = &'a mut dyn FnMut(usize, usize, usize, &[E]);

impl Scanned {
    /// # Safety
    /// Operand and output were checked.
    unsafe fn run<M: Monoid>(&self, context: &Context<'_>) {
        let Some(walk) = &self.walk else { return };
        let source = context.buffers[self.source];
        let target = Shared(
            context.buffers[self.output.buffer]
                .start
                .cast::<M::Result>(),
        );
        let blocks = self.n.div_ceil(BLOCK);
        let count = self.rows * blocks;
        let parallel = self.rows * self.n >= PARALLEL_ELEMENTS;
        // Visits some blocks.
        let each = |start: usize, end: usize, f: Visit<'_, M::Element>| {
            let mut cursor = Cursor::new(walk);
            scratch::with(|scratch| {
                let elements = scratch.slice::<M::Element>(BLOCK.min(self.n));
                for i in start..end {
                    let (row, first) = (i / blocks * self.n, i % blocks * BLOCK);
                    let len = BLOCK.min(self.n - first);
                    // Blocks are counted in the direction of the scan.
                    let first = match self.reverse {
                        true => self.n - first - len,
                        false => first,
                    };
                    let to = elements.as_mut_ptr().cast();
                    // SAFETY: the caller's promise.
                    unsafe {
                        cursor.gather(
                            source.start(),
                            size_of::<M::Element>(),
                            row + first,
                            to,
                            len,
                        );
                    }
                    f(i, row, first, &elements[..len]);
                }
            });
        };
        let mut totals = vec![M::NOTHING; if blocks > 1 { count } else { 0 }];
        if blocks > 1 {
            let to = Shared(totals.as_mut_ptr());
            parallel::for_ranges(parallel, count, 1, |start, end| {
                each(start, end, &mut |i, _, first, elements| {
                    let mut total = M::NOTHING;
                    self.walk_block(elements, |j, x| {
                        total = M::join(total, M::state(x, first + j))
                    });
                    // SAFETY: tasks have disjoint blocks.
                    unsafe { to.get().add(i).write(total) };
                });
            });
            // What comes before each block of its row.
            for row in totals.chunks_mut(blocks) {
                let mut before = M::NOTHING;
                for total in row {
                    (*total, before) = (before, M::join(before, *total));
                }
            }
        }
        parallel::for_ranges(parallel, count, 1, |start, end| {
            each(start, end, &mut |i, row, first, elements| {
                let mut state = totals.get(i).copied().unwrap_or(M::NOTHING);
                self.walk_block(elements, |j, x| {
                    state = M::join(state, M::state(x, first + j));
                    // SAFETY: tasks have disjoint blocks.
                    unsafe { target.get().add(row + first + j).write(M::result(state)) };
                });
            });
        });
    }

    /// Calls `f` with position and value of a block's elements, in the direction of the scan.
    #[inline(always)]
    fn walk_block<E: Copy>(&self, elements: &[E], mut f: impl FnMut(usize, E)) {
        match self.reverse {
            true => (0..elements.len()).rev().for_each(|j| f(j, elements[j])),
            false => (0..elements.len()).for_each(|j| f(j, elements[j])),
        }
    }
}

/// Runs a monoid over the type of sums and products.
macro_rules! with_numbers {
    ($scan:expr, $context:expr, $monoid:ident) => {
        match $scan.dtype {
            DType::F64 => $scan.run::<$monoid<f64>>($context),
            DType::F32 => $scan.run::<$monoid<f32>>($context),
            DType::I64 => $scan.run::<$monoid<i64>>($context),
            DType::I32 => $scan.run::<$monoid<i32>>($context),
            _ => $scan.run::<$monoid<u32>>($context),
        }
    };
}

impl Launchable for Scanned {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        // SAFETY: operand and output were checked when this was made.
        unsafe {
            match (self.combine, self.dtype) {
                (Combine::Sum, _) => with_numbers!(self, context, Sum),
                (Combine::Product, _) => with_numbers!(self, context, Product),
                (Combine::LogSumExp, DType::F64) => self.run::<LogSumExp<f64>>(context),
                (Combine::LogSumExp, _) => self.run::<LogSumExp<f32>>(context),
                (Combine::ArgMax, dtype) => {
                    with_order!(dtype, T => self.run::<Extreme<T, false>>(context));
                }
                (Combine::ArgMin, dtype) => {
                    with_order!(dtype, T => self.run::<Extreme<T, true>>(context));
                }
            }
        }
        None
    }
}
