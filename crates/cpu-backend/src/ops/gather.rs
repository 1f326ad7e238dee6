//! Gather: runs of elements, copied where one index serves them all.

use wgrad_core::ops::Gather;
use wgrad_core::{DType, Layout, Output, ScalarBits};

use super::{CpuOperation, Launch};
use crate::cursor::{Cursor, Walk};
use crate::executor::{Context, Launchable};
use crate::index::{FirstFault, Integers, Pair};
use crate::interpreter::Bound;
use crate::lanes::Element;
use crate::parallel::{self, PARALLEL_ELEMENTS};

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
    output: Output,
    numel: usize,
}

impl CpuOperation for Gather {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let (source, index) = (launch.input(0)?, launch.input(1)?);
        let (dim, output, checker) = (self.dim, launch.output()?, launch.checker);
        let shape = &index.layout.shape;
        checker.operand(index, None)?;
        checker.operand(source, None)?;
        let numel = shape.checked_numel().ok_or("too many elements")?;
        checker.output(output, numel)?;
        if source.dtype != output.dtype {
            return Err(format!("{} from {}", output.dtype, source.dtype));
        }
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
            walks: (numel > 0).then(|| (Walk::new(&fixed), Walk::new(&index.layout))),
            index: Integers::new(index)?,
            output,
            numel,
        }))
    }
}

impl Gathered {
    /// Gathers positions `start..end` of elements of the type `T`.
    ///
    /// # Safety
    /// Operands and output were checked; this task alone writes these positions.
    unsafe fn range<T: Copy>(
        &self,
        buffers: &[Bound],
        missing: T,
        start: usize,
        end: usize,
        faults: &FirstFault,
    ) {
        let Some((fixed, index)) = &self.walks else {
            return;
        };
        let source = buffers[self.source].start.cast_const().cast::<T>();
        let target = buffers[self.output.buffer].start.cast::<T>();
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
                            target.add(place + j).write(missing);
                        }
                        continue;
                    }
                    let first = at + piece as isize * stride + i as isize * self.step;
                    if stride == 1 && each > 1 {
                        std::ptr::copy_nonoverlapping(
                            source.offset(first),
                            target.add(place),
                            each,
                        );
                    } else {
                        for j in 0..each {
                            let element = source.offset(first + j as isize * stride).read();
                            target.add(place + j).write(element);
                        }
                    }
                }
            }
            position += n;
        }
    }
}

impl Launchable for Gathered {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let faults = FirstFault::default();
        let parallel = self.numel >= PARALLEL_ELEMENTS;
        parallel::for_ranges(parallel, self.numel, 64, |start, end| {
            let (b, m, f) = (context.buffers, self.missing, &faults);
            // SAFETY: everything was checked when this was made; tasks have disjoint positions.
            unsafe {
                match self.size {
                    1 => self.range(b, m as u8, start, end, f),
                    2 => self.range(b, m as u16, start, end, f),
                    4 => self.range(b, m as u32, start, end, f),
                    _ => self.range(b, m, start, end, f),
                }
            }
        });
        faults.value()
    }
}
