//! SearchSorted: each value by halving its row.

use wgrad_core::ops::SearchSorted;
use wgrad_core::{DType, Layout, Output, ScalarBits};

use super::{CpuOperation, Launch};
use crate::cursor::{Cursor, Walk};
use crate::executor::{Context, Launchable};
use crate::index::Pair;
use crate::interpreter::Bound;
use crate::order::{Ordered, with_order};
use crate::parallel::{self, PARALLEL_ELEMENTS};

/// A prepared SearchSorted.
struct Search {
    right: bool,
    dtype: DType,
    sorted: usize,
    values: usize,
    /// Elements of a sorted row, and the step between them.
    len: usize,
    step: isize,
    /// Where each value's row begins, and the values.
    walks: Option<(Walk, Walk)>,
    output: Output,
    numel: usize,
}

impl CpuOperation for SearchSorted {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let (sorted, values) = (launch.input(0)?, launch.input(1)?);
        let (output, checker) = (launch.output()?, launch.checker);
        let shape = &values.layout.shape;
        checker.operand(sorted, None)?;
        checker.operand(values, None)?;
        let numel = shape.checked_numel().ok_or("too many elements")?;
        checker.output(output, numel)?;
        if output.dtype != DType::I32 || sorted.dtype != values.dtype {
            return Err(format!("{} among {}", values.dtype, sorted.dtype));
        }
        let from = &sorted.layout;
        let Some(last) = shape.rank().checked_sub(1) else {
            return Err("values without dimensions".into());
        };
        if from.shape.rank() != shape.rank() || from.shape[..last] != shape[..last] {
            return Err(format!("{shape} among {}", from.shape));
        }
        let mut rows = Layout {
            shape: shape.clone(),
            ..from.clone()
        };
        rows.strides[last] = 0;
        Ok(Box::new(Search {
            right: self.right,
            dtype: sorted.dtype,
            sorted: sorted.buffer,
            values: values.buffer,
            len: from.shape[last],
            step: from.strides[last],
            walks: (numel > 0).then(|| (Walk::new(&rows), Walk::new(&values.layout))),
            output,
            numel,
        }))
    }
}

impl Search {
    /// Searches for the values `start..end`.
    ///
    /// # Safety
    /// Operands and output were checked; this task alone writes these positions.
    unsafe fn range<T: Ordered>(&self, buffers: &[Bound], start: usize, end: usize) {
        let Some((rows, values)) = &self.walks else {
            return;
        };
        let sorted = buffers[self.sorted].start.cast_const().cast::<T>();
        let wanted = buffers[self.values].start.cast_const().cast::<T>();
        let target = buffers[self.output.buffer].start.cast::<i32>();
        let mut walk = Pair(Cursor::new(rows), Cursor::new(values));
        walk.0.seek(start);
        walk.1.seek(start);
        let mut position = start;
        while position < end {
            let ((row, row_stride), (at, stride), n) = walk.next_run(end - position);
            for i in 0..n as isize {
                // SAFETY: both views have the element, and a row has `len` of them, `step` apart.
                unsafe {
                    let value = wanted.offset(at + i * stride).read().key();
                    let row = sorted.offset(row + i * row_stride);
                    let (mut low, mut high) = (0, self.len);
                    while low < high {
                        let middle = low + (high - low) / 2;
                        let key = row.offset(middle as isize * self.step).read().key();
                        if key < value || (self.right && key == value) {
                            low = middle + 1;
                        } else {
                            high = middle;
                        }
                    }
                    target.add(position + i as usize).write(low as i32);
                }
            }
            position += n;
        }
    }
}

impl Launchable for Search {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let parallel = self.numel >= PARALLEL_ELEMENTS / 8;
        parallel::for_ranges(parallel, self.numel, 64, |start, end| {
            // SAFETY: everything was checked when this was made; tasks have disjoint positions.
            with_order!(self.dtype, T => unsafe {
                self.range::<T>(context.buffers, start, end);
            });
        });
        None
    }
}
