//! Gather: runs of elements, copied where one index serves them all.

use std::ops::Range;

use wgrad_core::ops::Gather;
use wgrad_core::{DType, Layout, ScalarBits};

use super::{CpuOperation, Launch};
use crate::cursor::{Cursor, Walk};
use crate::executor::{Context, Launchable};
use crate::index::{FirstFault, Integers, Pair};
use crate::interpreter::Bound;
use crate::lanes::Element;
use crate::parallel::PARALLEL_ELEMENTS;
use crate::results::{Making, Results};

/// What fills the place of an element that is not there: NaN, or 0.
fn missing(dtype: DType) -> u64 {
    match dtype {
        DType::F64 => f64::MISSING.to_bits(),
        DType::F32 => u64::from(f32::MISSING.to_bits()),
        DType::F16 => u64::from(half::f16::NAN.to_bits()),
        DType::BF16 => u64::from(half::bf16::NAN.to_bits()),
        _ => 0,
    }
}

/// A prepared Gather.
struct Gathered {
    source: usize,
    size: usize,
    missing: u64,
    /// Elements along the indexed dimension of the source, and the step between them.
    len: usize,
    step: isize,
    /// Source and index over the output's shape; the source without the indexed dimension.
    walks: Option<(Walk, Walk)>,
    index: Integers,
    results: Results,
}

impl CpuOperation for Gather {
    const EPILOGUE: bool = true;

    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let (source, index) = (launch.input(0)?, launch.input(1)?);
        let (dim, checker) = (self.dim, launch.checker);
        let shape = &index.layout.shape;
        checker.operand(index, None)?;
        checker.operand(source, None)?;
        let results = launch.only_result(shape, source.dtype)?;
        let from = &source.layout;
        let fits = dim < shape.rank()
            && from.shape.rank() == shape.rank()
            && (0..shape.rank()).all(|d| d == dim || from.shape[d] == shape[d]);
        if !fits {
            return Err(format!("{} from {} along {dim}", shape, from.shape));
        }
        let mut fixed = Layout {
            shape: shape.clone(),
            ..from.clone()
        };
        fixed.strides[dim] = 0;
        Ok(Box::new(Gathered {
            source: source.buffer,
            size: source.dtype.size(),
            missing: missing(source.dtype),
            len: from.shape[dim],
            step: from.strides[dim],
            walks: (results.numel() > 0).then(|| (Walk::new(&fixed), Walk::new(&index.layout))),
            index: Integers::new(index)?,
            results,
        }))
    }
}

impl Gathered {
    /// Gathers positions of elements of the type `T`.
    ///
    /// # Safety
    /// Operands and results were checked; this task alone writes these positions.
    unsafe fn range<T: Copy>(
        &self,
        buffers: &[Bound],
        target: &Making<'_>,
        missing: T,
        Range { start, end }: Range<usize>,
        faults: &FirstFault,
    ) {
        let Some((fixed, index)) = &self.walks else {
            return;
        };
        let source = buffers[self.source].start.cast_const().cast::<T>();
        let target = target.start().cast::<T>();
        let mut walk = Pair(Cursor::new(fixed), Cursor::new(index));
        walk.0.seek(start);
        walk.1.seek(start);
        let mut position = start;
        while position < end {
            let ((at, stride), (index_at, index_stride), n) = walk.next_run(end - position);
            // Where one index serves the whole run, the run is read at once.
            let pieces = if index_stride == 0 { 1 } else { n };
            let each = n / pieces;
            for piece in 0..pieces {
                let place = position + piece * each;
                // SAFETY: the index lies in its view; a good index leads to an element of the
                // source; the target's positions are this task's.
                unsafe {
                    let i = self
                        .index
                        .at(buffers, index_at + piece as isize * index_stride);
                    let good = i >= 0 && (i as u64) < self.len as u64;
                    if !good {
                        faults.report(place, i);
                        for j in 0..each {
                            target.wrapping_add(place + j).write(missing);
                        }
                        continue;
                    }
                    let first = at + piece as isize * stride + i as isize * self.step;
                    if stride == 1 && each > 1 {
                        std::ptr::copy_nonoverlapping(
                            source.offset(first),
                            target.wrapping_add(place),
                            each,
                        );
                    } else {
                        for j in 0..each {
                            let element = source.offset(first + j as isize * stride).read();
                            target.wrapping_add(place + j).write(element);
                        }
                    }
                }
            }
            position += n;
        }
    }
}

impl Launchable for Gathered {
    fn scalars(&self) -> usize {
        self.results.scalars()
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        let faults = FirstFault::default();
        let numel = self.results.numel();
        let to = self.results.making(context.buffers, scalars);
        to.by_units(numel >= PARALLEL_ELEMENTS, (numel, 1), 64, |range, to| {
            let (b, m, f) = (context.buffers, self.missing, &faults);
            // SAFETY: everything was checked when this was made; tasks have disjoint positions.
            unsafe {
                match self.size {
                    1 => self.range(b, to, m as u8, range, f),
                    2 => self.range(b, to, m as u16, range, f),
                    4 => self.range(b, to, m as u32, range, f),
                    _ => self.range(b, to, m, range, f),
                }
            }
        });
        faults.value()
    }
}
