//! Scatter: threads share out columns, so that the elements that go to one place keep their order.

use wgrad_core::ops::{Merge, Scatter};
use wgrad_core::{DType, Output, Scalar, ScalarBits, Shape};

use super::{CpuOperation, Launch};
use crate::cursor::{Cursor, Walk};
use crate::executor::{Context, Launchable};
use crate::index::{FirstFault, Integers, Pair};
use crate::interpreter::Bound;
use crate::lanes::{Element, Lane};
use crate::parallel::{self, PARALLEL_ELEMENTS};
use crate::scratch;

/// Most `f32` elements that are added to one in their own type.
const CHAIN: usize = 1024;
/// Sums of longer chains that a thread holds at a time, if its columns are more than a few.
const LONG_SUMS: usize = 1 << 20;

/// A prepared Scatter.
struct Scattered {
    source: usize,
    dtype: DType,
    /// Sizes before, along and after the dimension; the output's along it.
    outer: usize,
    len: usize,
    inner: usize,
    size: usize,
    merge: Merge,
    walks: Option<(Walk, Walk)>,
    index: Integers,
    /// Whether one index serves all of the inner dimensions.
    shared: bool,
    output: Output,
}

impl CpuOperation for Scatter {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let (source, index) = (launch.input(0)?, launch.input(1)?);
        let (output, checker) = (launch.output()?, launch.checker);
        let Scatter {
            dim, size, merge, ..
        } = *self;
        let shape = &index.layout.shape;
        checker.operand(index, None)?;
        checker.operand(source, Some(shape))?;
        if dim >= shape.rank() {
            return Err(format!("no dimension {dim} in {shape}"));
        }
        let outer = Shape::new(&shape[..dim]).checked_numel();
        let inner = Shape::new(&shape[dim + 1..]).checked_numel();
        let (outer, inner) = outer.zip(inner).ok_or("too many elements")?;
        let numel = shape.checked_numel().ok_or("too many elements")?;
        let out = outer.checked_mul(inner).and_then(|n| n.checked_mul(size));
        checker.output(output, out.ok_or("too many elements")?)?;
        let known = matches!(
            source.dtype,
            DType::F32 | DType::F64 | DType::I32 | DType::I64
        );
        if source.dtype != output.dtype || !known {
            return Err(format!("{} into {}", source.dtype, output.dtype));
        }
        Ok(Box::new(Scattered {
            source: source.buffer,
            dtype: source.dtype,
            outer,
            len: shape[dim],
            inner,
            size,
            merge,
            walks: (numel > 0).then(|| (Walk::new(&source.layout), Walk::new(&index.layout))),
            shared: (dim + 1..shape.rank()).all(|d| shape[d] == 1 || index.layout.strides[d] == 0),
            index: Integers::new(index)?,
            output,
        }))
    }
}

impl Scattered {
    /// Whether more than [`CHAIN`] elements are added to one.
    ///
    /// # Safety
    /// Operands were checked.
    unsafe fn is_long(&self, buffers: &[Bound]) -> bool {
        let Some((_, index)) = &self.walks else {
            return false;
        };
        if self.merge != Merge::Sum {
            return false;
        }
        if self.dtype != DType::F32 || self.len <= CHAIN || !self.shared {
            return self.dtype == DType::F32 && self.len > CHAIN;
        }
        scratch::with(|scratch| {
            let counts = scratch.slice::<u32>(self.size);
            let mut cursor = Cursor::new(index);
            (0..self.outer).any(|outer| {
                counts.fill(0);
                (0..self.len).any(|i| {
                    cursor.seek((outer * self.len + i) * self.inner);
                    let (at, ..) = cursor.next_run(1);
                    // SAFETY: the index lies in its view.
                    let v = unsafe { self.index.at(buffers, at) };
                    let count = usize::try_from(v).ok().and_then(|v| counts.get_mut(v));
                    count.is_some_and(|count| {
                        *count += 1;
                        *count as usize > CHAIN
                    })
                })
            })
        })
    }

    /// Merges the columns `from..to` of the inner dimensions of outer index `outer`.
    ///
    /// # Safety
    /// Operands and output were checked; this task alone writes these columns.
    unsafe fn columns<E: Element>(
        &self,
        buffers: &[Bound],
        outer: usize,
        (from, to): (usize, usize),
        faults: &FirstFault,
    ) {
        let target = buffers[self.output.buffer].start.cast::<E>();
        let none = match self.merge.of_none(self.dtype) {
            Scalar::Integer(x) => E::from_i64(x),
            x => E::from_f64(x.to_f64()),
        };
        let merge = match self.merge {
            Merge::Sum => E::Plain::add,
            Merge::Product => E::Plain::mul,
            Merge::Max => E::Plain::maximum,
            Merge::Min => E::Plain::minimum,
        };
        let slab = outer * self.size * self.inner;
        // SAFETY: the output has `size` rows of `inner` elements in each slab.
        unsafe {
            for v in 0..self.size {
                let row = target.add(slab + v * self.inner);
                std::slice::from_raw_parts_mut(row.add(from), to - from).fill(none);
            }
            self.visit::<E>(buffers, outer, (from, to), faults, |v, column, x| {
                let place = target.add(slab + v * self.inner + column);
                *place = merge(E::Plain::new(*place), E::Plain::new(x)).raw();
            });
        }
    }

    /// The same for long chains of `f32`, added up in `f64`.
    ///
    /// # Safety
    /// As for `columns`.
    unsafe fn long_columns(
        &self,
        buffers: &[Bound],
        outer: usize,
        (from, to): (usize, usize),
        faults: &FirstFault,
    ) {
        let target = buffers[self.output.buffer].start.cast::<f32>();
        let slab = outer * self.size * self.inner;
        let width = to - from;
        // Some rows of a large table at a time: the source is read again for each, the sums stay small.
        let rows = (LONG_SUMS / width.max(1)).clamp(1, self.size.max(1));
        scratch::with(|scratch| {
            let sums = scratch.slice::<f64>(rows * width);
            for first in (0..self.size).step_by(rows) {
                let end = (first + rows).min(self.size);
                sums.fill(0.0);
                // SAFETY: the caller's promise.
                unsafe {
                    self.visit::<f32>(buffers, outer, (from, to), faults, |v, column, x| {
                        if (first..end).contains(&v) {
                            sums[(v - first) * width + column - from] += f64::from(x);
                        }
                    });
                    for v in first..end {
                        let row = target.add(slab + v * self.inner + from);
                        let row = std::slice::from_raw_parts_mut(row, width);
                        for (x, sum) in row.iter_mut().zip(&sums[(v - first) * width..]) {
                            *x = *sum as f32;
                        }
                    }
                }
            }
        });
    }

    /// Calls `add` with place, column and value of each element, in ascending order along the
    /// dimension.
    ///
    /// # Safety
    /// Operands were checked.
    #[inline(always)]
    unsafe fn visit<E: Element>(
        &self,
        buffers: &[Bound],
        outer: usize,
        (from, to): (usize, usize),
        faults: &FirstFault,
        mut add: impl FnMut(usize, usize, E),
    ) {
        let Some((source, index)) = &self.walks else {
            return;
        };
        let elements = buffers[self.source].start.cast_const().cast::<E>();
        let mut walk = Pair(Cursor::new(source), Cursor::new(index));
        for i in 0..self.len {
            let first = (outer * self.len + i) * self.inner;
            walk.0.seek(first + from);
            walk.1.seek(first + from);
            let mut column = from;
            while column < to {
                let ((at, stride), (index_at, index_stride), n) = walk.next_run(to - column);
                for j in 0..n {
                    // SAFETY: both views have the element.
                    unsafe {
                        let v = self.index.at(buffers, index_at + j as isize * index_stride);
                        if v < 0 || v as u64 >= self.size as u64 {
                            faults.report(first + column + j, v);
                            continue;
                        }
                        let x = elements.offset(at + j as isize * stride).read();
                        add(v as usize, column + j, x);
                    }
                }
                column += n;
            }
        }
    }
}

impl Launchable for Scattered {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let faults = FirstFault::default();
        let work = self.outer * self.inner * self.len.max(self.size);
        // Additions to one element keep their order, so threads share out columns.
        let strip = self
            .inner
            .div_ceil(parallel::threads())
            .clamp(16, self.inner.max(16));
        // SAFETY: the operands were checked.
        let long = unsafe { self.is_long(context.buffers) };
        let strip = match long {
            true => (LONG_SUMS / self.size.max(1)).clamp(8, strip),
            false => strip,
        };
        let strips = self.inner.div_ceil(strip);
        let parallel = work >= PARALLEL_ELEMENTS;
        parallel::for_each(parallel, self.outer * strips, |item| {
            let from = item % strips * strip;
            let columns = (from, self.inner.min(from + strip));
            let (b, outer, f) = (context.buffers, item / strips, &faults);
            // SAFETY: everything was checked when this was made; tasks have disjoint columns.
            unsafe {
                match self.dtype {
                    DType::F64 => self.columns::<f64>(b, outer, columns, f),
                    DType::I64 => self.columns::<i64>(b, outer, columns, f),
                    DType::I32 => self.columns::<i32>(b, outer, columns, f),
                    _ if long => self.long_columns(b, outer, columns, f),
                    _ => self.columns::<f32>(b, outer, columns, f),
                }
            }
        });
        faults.value()
    }
}
