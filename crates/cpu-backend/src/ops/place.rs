//! Place: zeros, and the operand's elements copied to their places.

use smallvec::SmallVec;
use wgrad_core::ops::Place;
use wgrad_core::{Layout, Output, ScalarBits, Shape, collapse};

use super::{CpuOperation, Launch};
use crate::executor::{Context, Launchable};
use crate::parallel::{self, PARALLEL_ELEMENTS, Shared};

/// A prepared Place.
struct Placed {
    source: usize,
    size: usize,
    /// The views of the source and of the output, dimension by dimension: length, steps.
    dims: SmallVec<[(usize, isize, isize); 6]>,
    from: isize,
    to: isize,
    /// Bytes of the output, and whether the source leaves any of them out.
    bytes: usize,
    output: Output,
    empty: bool,
}

impl CpuOperation for Place {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let Place { shape, start, step } = self;
        let (source, output, checker) = (launch.input(0)?, launch.output()?, launch.checker);
        let layout = &source.layout;
        let rank = shape.rank();
        checker.operand(source, None)?;
        if layout.shape.rank() != rank || start.len() != rank || step.len() != rank {
            return Err(format!("{} in {shape}", layout.shape));
        }
        if source.dtype != output.dtype || step.contains(&0) {
            return Err(format!("{} in {}", source.dtype, output.dtype));
        }
        let numel = shape.checked_numel().ok_or("too many elements")?;
        checker.output(output, numel)?;
        // The part of the source that falls inside, and where its elements go.
        let mut inside = SmallVec::<[usize; 6]>::new();
        let mut offset = 0usize;
        let mut target = Layout::contiguous(shape.clone());
        for d in 0..rank {
            let room = shape[d].saturating_sub(start[d]).div_ceil(step[d]);
            inside.push(layout.shape[d].min(room));
            if numel > 0 && room > 0 {
                offset += start[d] * target.strides[d] as usize;
            }
            target.strides[d] = target.strides[d].saturating_mul(step[d] as isize);
        }
        let inside = Shape::new(&inside);
        target.shape = inside.clone();
        let view = Layout {
            shape: inside.clone(),
            ..layout.clone()
        };
        let merged = collapse(&[&view, &target]);
        let dims = (0..merged[0].shape.rank())
            .map(|d| {
                (
                    merged[0].shape[d],
                    merged[0].strides[d],
                    merged[1].strides[d],
                )
            })
            .collect();
        Ok(Box::new(Placed {
            source: source.buffer,
            size: source.dtype.size(),
            dims,
            from: layout.offset as isize,
            to: offset as isize,
            bytes: numel * source.dtype.size(),
            output,
            empty: inside.contains(&0),
        }))
    }
}

impl Placed {
    /// Copies the elements from dimension `d` inwards.
    ///
    /// # Safety
    /// Operand and output were checked.
    unsafe fn copy<T: Copy>(&self, source: *const T, target: *mut T, d: usize) {
        // SAFETY: every step stays within the checked views.
        unsafe {
            match self.dims.get(d) {
                None => *target = *source,
                Some(&(n, 1, 1)) if d + 1 == self.dims.len() => {
                    std::ptr::copy_nonoverlapping(source, target, n);
                }
                Some(&(n, from, to)) if d + 1 == self.dims.len() => {
                    for i in 0..n as isize {
                        *target.offset(i * to) = *source.offset(i * from);
                    }
                }
                Some(&(n, from, to)) => {
                    for i in 0..n as isize {
                        self.copy(source.offset(i * from), target.offset(i * to), d + 1);
                    }
                }
            }
        }
    }

    /// # Safety
    /// As for [`Placed::copy`].
    unsafe fn place<T: Copy + Send + Sync>(&self, source: *mut u8, target: *mut u8) {
        // SAFETY: the first elements of the checked views.
        let (source, target) = unsafe {
            (
                Shared(source.cast::<T>().offset(self.from)),
                Shared(target.cast::<T>().offset(self.to)),
            )
        };
        let parallel = self.bytes >= PARALLEL_ELEMENTS * 4;
        match self.dims.first() {
            Some(&(n, from, to)) if self.dims.len() > 1 => {
                parallel::for_ranges(parallel, n, 1, |start, end| {
                    for i in start as isize..end as isize {
                        // SAFETY: within the views; tasks have disjoint outer indices.
                        unsafe {
                            self.copy(
                                source.get().offset(i * from).cast_const(),
                                target.get().offset(i * to),
                                1,
                            );
                        }
                    }
                });
            }
            // SAFETY: as above.
            _ => unsafe { self.copy(source.get().cast_const(), target.get(), 0) },
        }
    }
}

impl Launchable for Placed {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let target = context.buffers[self.output.buffer].start;
        let source = context.buffers[self.source].start;
        // SAFETY: operand and output were checked.
        unsafe {
            target.write_bytes(0, self.bytes);
            if !self.empty {
                match self.size {
                    1 => self.place::<u8>(source, target),
                    2 => self.place::<u16>(source, target),
                    4 => self.place::<u32>(source, target),
                    _ => self.place::<u64>(source, target),
                }
            }
        }
        None
    }
}
