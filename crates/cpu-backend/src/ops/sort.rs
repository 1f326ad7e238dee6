//! Sort: pairs of key and position, rows shared out or one long row sorted by all threads.

use wgrad_core::ops::Sort;
use wgrad_core::{DType, Output, ScalarBits};

use super::{CpuOperation, Launch};
use crate::cursor::{Cursor, Walk};
use crate::executor::{Context, Launchable};
use crate::order::{Ordered, with_order};
use crate::parallel::{self, PARALLEL_ELEMENTS};
use crate::scratch;

/// A prepared Sort.
struct Sorted {
    descending: bool,
    first: usize,
    dtype: DType,
    source: usize,
    walk: Option<Walk>,
    rows: usize,
    n: usize,
    positions: Option<Output>,
    values: Option<Output>,
}

impl CpuOperation for Sort {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let (x, checker) = (launch.input(0)?, launch.checker);
        checker.operand(x, None)?;
        let numel = x.layout.shape.checked_numel().ok_or("too many elements")?;
        let n = x.layout.shape.last().copied().unwrap_or(0);
        let rows = numel.checked_div(n).unwrap_or(0);
        if self.first > n || n > i32::MAX as usize {
            return Err(format!("{} of {n} elements", self.first));
        }
        let result = |i: usize, dtype: DType| {
            let output = launch.outputs.get(i).copied().flatten();
            match output {
                Some(output) if output.dtype != dtype => {
                    Err(format!("{} of {dtype}", output.dtype))
                }
                Some(output) => checker
                    .output(output, rows * self.first)
                    .map(|()| Some(output)),
                None => Ok(None),
            }
        };
        Ok(Box::new(Sorted {
            descending: self.descending,
            first: self.first,
            dtype: x.dtype,
            source: x.buffer,
            walk: (numel > 0).then(|| Walk::new(&x.layout)),
            rows,
            n,
            positions: result(0, DType::I32)?,
            values: result(1, x.dtype)?,
        }))
    }
}

impl Sorted {
    /// Sorts the rows `start..end`, each with all threads where `together`.
    ///
    /// # Safety
    /// Operand and outputs were checked; this task alone writes these rows.
    unsafe fn rows<T: Ordered>(
        &self,
        context: &Context<'_>,
        (start, end): (usize, usize),
        together: bool,
    ) {
        let Some(walk) = &self.walk else { return };
        let source = context.buffers[self.source].start.cast_const();
        let target = |output: Option<Output>| output.map(|o| context.buffers[o.buffer].start);
        let positions = target(self.positions).map(<*mut u8>::cast::<i32>);
        let values = target(self.values).map(<*mut u8>::cast::<T>);
        let mut cursor = Cursor::new(walk);
        let mut pairs: Vec<(T::Key, u32)> = Vec::with_capacity(self.n);
        scratch::with(|scratch| {
            let row = scratch.slice::<T>(self.n);
            for r in start..end {
                // SAFETY: the caller's promise.
                unsafe {
                    let to = row.as_mut_ptr().cast();
                    cursor.gather(source, size_of::<T>(), r * self.n, to, self.n);
                }
                pairs.clear();
                pairs.extend(row.iter().zip(0..).map(|(x, i)| match self.descending {
                    true => (!x.key(), i),
                    false => (x.key(), i),
                }));
                // Positions are part of the order, so equal elements keep theirs.
                if self.first < self.n {
                    pairs.select_nth_unstable(self.first);
                }
                parallel::sort(together, &mut pairs[..self.first]);
                for (i, &(_, position)) in pairs[..self.first].iter().enumerate() {
                    let to = r * self.first + i;
                    // SAFETY: outputs have `first` elements for each row.
                    unsafe {
                        if let Some(positions) = positions {
                            positions.add(to).write(position as i32);
                        }
                        if let Some(values) = values {
                            values.add(to).write(row[position as usize]);
                        }
                    }
                }
            }
        });
    }
}

impl Launchable for Sorted {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let parallel = self.rows * self.n >= PARALLEL_ELEMENTS / 8;
        let few = self.rows < parallel::threads() && self.n >= PARALLEL_ELEMENTS;
        parallel::for_ranges(parallel && !few, self.rows, 1, |start, end| {
            // SAFETY: everything was checked when this was made; tasks have disjoint rows.
            with_order!(self.dtype, T => unsafe {
                self.rows::<T>(context, (start, end), few);
            });
        });
        None
    }
}
