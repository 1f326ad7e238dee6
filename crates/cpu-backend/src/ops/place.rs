//! Place: zeros, and the operand's elements copied to their places.

use std::ops::Range;

use smallvec::SmallVec;
use wgrad_core::ops::Place;
use wgrad_core::{Layout, ScalarBits, Shape, collapse};

use super::{CpuOperation, Launch};
use crate::executor::{Context, Launchable};
use crate::parallel::{PARALLEL_ELEMENTS, Shared};
use crate::results::{Making, Results};

/// A prepared Place.
struct Placed {
    source: usize,
    size: usize,
    /// The views of the source and of the output, dimension by dimension: length, steps.
    dims: SmallVec<[(usize, isize, isize); 6]>,
    from: isize,
    to: usize,
    results: Results,
    empty: bool,
}

impl CpuOperation for Place {
    const EPILOGUE: bool = true;

    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let Place { shape, start, step } = self;
        let (source, checker) = (launch.input(0)?, launch.checker);
        let layout = &source.layout;
        let rank = shape.rank();
        checker.operand(source, None)?;
        if layout.shape.rank() != rank || start.len() != rank || step.len() != rank {
            return Err(format!("{} in {shape}", layout.shape));
        }
        if step.contains(&0) {
            return Err("steps of 0".to_string());
        }
        let results = launch.only_result(shape, source.dtype)?;
        let numel = results.numel();
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
            to: offset,
            results,
            empty: inside.contains(&0),
        }))
    }
}

/// Copies the elements along these dimensions.
///
/// # Safety
/// They are elements of checked views.
unsafe fn copy<T: Copy>(dims: &[(usize, isize, isize)], source: *const T, target: *mut T) {
    // SAFETY: every step stays within the checked views.
    unsafe {
        match dims {
            [] => *target = *source,
            &[(n, 1, 1)] => std::ptr::copy_nonoverlapping(source, target, n),
            &[(n, from, to)] => {
                for i in 0..n as isize {
                    *target.offset(i * to) = *source.offset(i * from);
                }
            }
            &[(n, from, to), ref inner @ ..] => {
                for i in 0..n as isize {
                    copy(inner, source.offset(i * from), target.offset(i * to));
                }
            }
        }
    }
}

impl Placed {
    /// Makes all results.
    ///
    /// # Safety
    /// Operand and results were checked.
    unsafe fn place<T: Copy>(&self, source: *mut u8, to: &Making<'_>) {
        let source = Shared(source.cast::<T>().wrapping_offset(self.from));
        let numel = self.results.numel();
        if numel == 0 {
            return;
        }
        // Units as long as a step of the outermost dimension, in each of which lies one of its elements with all that
        // is within, because row-major order has room for that.
        let (count, from, unit) = match self.dims.first() {
            Some(&(n, from, to)) if to > 0 => (n, from, to as usize),
            Some(_) => (1, 0, numel),
            // A single element, in one of any parts.
            None => (1, 0, numel.min(PARALLEL_ELEMENTS)),
        };
        let inner = usize::from(self.dims.first().is_some_and(|&(.., to)| to > 0));
        let first = self.to / unit;
        let parallel = numel * self.size >= PARALLEL_ELEMENTS * 4;
        to.by_units(parallel, (numel.div_ceil(unit), unit), 1, |units, to| {
            // SAFETY: every step stays within the checked views; tasks have units of their own, and all-zero bytes
            // are zeros.
            unsafe {
                let target = to.start().cast::<T>();
                let (start, end) = (units.start * unit, numel.min(units.end * unit));
                target.wrapping_add(start).write_bytes(0, end - start);
                if self.empty {
                    return;
                }
                let Range { start, end } = units.start.max(first)..units.end.min(first + count);
                if start >= end {
                    return;
                }
                let source = source.get().offset((start - first) as isize * from);
                let target = target.wrapping_add(self.to + (start - first) * unit);
                if inner == self.dims.len() {
                    let dims = [(end - start, from, unit as isize)];
                    return copy(&dims[..inner], source, target);
                }
                for i in 0..end - start {
                    let source = source.offset(i as isize * from);
                    copy(&self.dims[inner..], source, target.add(i * unit));
                }
            }
        });
    }
}

impl Launchable for Placed {
    fn scalars(&self) -> usize {
        self.results.scalars()
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        let source = context.buffers[self.source].start;
        let to = self.results.making(context.buffers, scalars);
        // SAFETY: operand and results were checked.
        unsafe {
            match self.size {
                1 => self.place::<u8>(source, &to),
                2 => self.place::<u16>(source, &to),
                4 => self.place::<u32>(source, &to),
                _ => self.place::<u64>(source, &to),
            }
        }
        None
    }
}
