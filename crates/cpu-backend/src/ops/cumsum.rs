//! Cumsum: rows and blocks of long rows are shared out, and `f32` is added up in `f64`.

use wgrad_core::ops::Cumsum;
use wgrad_core::{DType, Output, ScalarBits};

use super::{CpuOperation, Launch};
use crate::cursor::{Cursor, Walk};
use crate::executor::{Context, Launchable};
use crate::parallel::{self, PARALLEL_ELEMENTS, Shared};

/// Elements of a block: of fixed size, so that the sums do not depend on the number of threads.
const BLOCK: usize = 1 << 14;

/// A prepared Cumsum.
struct Scan {
    reverse: bool,
    source: usize,
    walk: Option<Walk>,
    output: Output,
    rows: usize,
    n: usize,
}

impl CpuOperation for Cumsum {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let (x, output, checker) = (launch.input(0)?, launch.output()?, launch.checker);
        checker.operand(x, None)?;
        let numel = x.layout.shape.checked_numel().ok_or("too many elements")?;
        checker.output(output, numel)?;
        let known = [DType::F32, DType::F64, DType::I32, DType::I64, DType::U32];
        if x.dtype != output.dtype || !known.contains(&x.dtype) {
            return Err(format!("{} of {}", output.dtype, x.dtype));
        }
        let n = x.layout.shape.last().copied().unwrap_or(1);
        Ok(Box::new(Scan {
            reverse: self.reverse,
            source: x.buffer,
            walk: (numel > 0).then(|| Walk::new(&x.layout)),
            output,
            rows: numel.checked_div(n).unwrap_or(0),
            n,
        }))
    }
}

/// A type of elements, and that of their sums.
trait Summed: Copy + Send + Sync {
    type Sum: Copy + Send + Sync;
    const ZERO: Self::Sum;
    fn add(sum: Self::Sum, x: Self) -> Self::Sum;
    fn join(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn rounded(sum: Self::Sum) -> Self;
}

macro_rules! summed {
    ($($t:ty as $sum:ty: $zero:expr, |$a:ident, $b:ident| $add:expr;)*) => { $(
        impl Summed for $t {
            type Sum = $sum;
            const ZERO: $sum = $zero;
            fn add($a: $sum, x: $t) -> $sum {
                let $b = x as $sum;
                $add
            }
            fn join($a: $sum, $b: $sum) -> $sum {
                $add
            }
            fn rounded(sum: $sum) -> $t {
                sum as $t
            }
        }
    )* };
}
// The sum of nothing is -0, which changes no element that is added to it.
summed! {
    f32 as f64: -0.0, |a, b| a + b;
    f64 as f64: -0.0, |a, b| a + b;
    i32 as i32: 0, |a, b| a.wrapping_add(b);
    i64 as i64: 0, |a, b| a.wrapping_add(b);
    u32 as u32: 0, |a, b| a.wrapping_add(b);
}

impl Scan {
    /// # Safety
    /// Operand and output were checked.
    unsafe fn run<T: Summed>(&self, context: &Context<'_>) {
        let Some(walk) = &self.walk else { return };
        let source = context.buffers[self.source];
        let target = Shared(context.buffers[self.output.buffer].start.cast::<T>());
        let blocks = self.n.div_ceil(BLOCK);
        let parallel = self.rows * self.n >= PARALLEL_ELEMENTS;
        // Where block `i` of all starts, counted in the direction of the sums, and its length.
        let range = |i: usize| {
            let (row, first) = (i / blocks, i % blocks * BLOCK);
            let len = BLOCK.min(self.n - first);
            let first = if self.reverse {
                self.n - first - len
            } else {
                first
            };
            (row * self.n + first, len)
        };
        // Each block by itself, in place of its elements' copies.
        let mut sums = vec![T::ZERO; self.rows * blocks];
        let totals = Shared(sums.as_mut_ptr());
        parallel::for_ranges(parallel, self.rows * blocks, 1, |start, end| {
            let mut cursor = Cursor::new(walk);
            for i in start..end {
                let (first, len) = range(i);
                // SAFETY: the caller's promise; tasks have disjoint blocks.
                unsafe {
                    let block = target.get().add(first);
                    cursor.gather(source.start(), size_of::<T>(), first, block.cast(), len);
                    if blocks > 1 {
                        let block = std::slice::from_raw_parts(block, len);
                        let total = block.iter().fold(T::ZERO, |sum, &x| T::add(sum, x));
                        totals.get().add(i).write(total);
                    }
                }
            }
        });
        // What comes before each block of its row.
        for row in sums.chunks_mut(blocks) {
            let mut before = T::ZERO;
            for total in row {
                (*total, before) = (before, T::join(before, *total));
            }
        }
        parallel::for_ranges(parallel, self.rows * blocks, 1, |start, end| {
            for (i, &before) in (start..end).zip(&sums[start..end]) {
                let (first, len) = range(i);
                // SAFETY: as above.
                let block = unsafe { std::slice::from_raw_parts_mut(target.get().add(first), len) };
                let mut sum = before;
                let mut step = |x: &mut T| {
                    sum = T::add(sum, *x);
                    *x = T::rounded(sum);
                };
                match self.reverse {
                    true => block.iter_mut().rev().for_each(&mut step),
                    false => block.iter_mut().for_each(&mut step),
                }
            }
        });
    }
}

impl Launchable for Scan {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        // SAFETY: operand and output were checked when this was made.
        unsafe {
            match self.output.dtype {
                DType::F64 => self.run::<f64>(context),
                DType::F32 => self.run::<f32>(context),
                DType::I64 => self.run::<i64>(context),
                DType::I32 => self.run::<i32>(context),
                _ => self.run::<u32>(context),
            }
        }
        None
    }
}
