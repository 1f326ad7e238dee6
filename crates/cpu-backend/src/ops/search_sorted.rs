//! SearchSorted: each value by halving its row.

use std::ops::Range;

use wgrad_core::ops::SearchSorted;
use wgrad_core::{DType, Layout, ScalarBits};

use super::{CpuOperation, Launch};
use crate::cursor::{Cursor, Walk};
use crate::executor::{Context, Launchable};
use crate::index::Pair;
use crate::interpreter::Bound;
use crate::order::{Ordered, with_order};
use crate::parallel::PARALLEL_ELEMENTS;
use crate::results::Results;

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
    results: Results,
}

impl CpuOperation for SearchSorted {
    const EPILOGUE: bool = true;

    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let (sorted, values) = (launch.input(0)?, launch.input(1)?);
        let checker = launch.checker;
        let shape = &values.layout.shape;
        checker.operand(sorted, None)?;
        checker.operand(values, None)?;
        let results = launch.only_result(shape, DType::I32)?;
        if sorted.dtype != values.dtype {
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
            walks: (results.numel() > 0).then(|| (Walk::new(&rows), Walk::new(&values.layout))),
            results,
        }))
    }
}

impl Search {
    /// Searches for some of the values.
    ///
    /// # Safety
    /// Operands and results were checked; this task alone writes these positions.
    unsafe fn range<T: Ordered>(
        &self,
        buffers: &[Bound],
        target: *mut i32,
        Range { start, end }: Range<usize>,
    ) {
        let Some((rows, values)) = &self.walks else {
            return;
        };
        let sorted = buffers[self.sorted].start.cast_const().cast::<T>();
        let wanted = buffers[self.values].start.cast_const().cast::<T>();
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
                    target.wrapping_add(position + i as usize).write(low as i32);
                }
            }
            position += n;
        }
    }
}

impl Launchable for Search {
    fn scalars(&self) -> usize {
        self.results.scalars()
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        let numel = self.results.numel();
        let parallel = numel >= PARALLEL_ELEMENTS / 8;
        let to = self.results.making(context.buffers, scalars);
        to.by_units(parallel, (numel, 1), 64, |range, to| {
            // SAFETY: everything was checked when this was made; tasks have disjoint positions.
            with_order!(self.dtype, T => unsafe {
                self.range::<T>(context.buffers, to.start().cast(), range);
            });
        });
        None
    }
}
