//! Fold: plane by plane, every element of every window added where it belongs.

use wgrad_core::ops::Fold;
use wgrad_core::{DType, ScalarBits, Shape};

use super::windows::{Loops, planes, strides};
use super::{CpuOperation, Launch};
use crate::cursor::Walk;
use crate::executor::{Context, Launchable};
use crate::parallel::{PARALLEL_ELEMENTS, Shared};
use crate::results::{Making, Results};

/// A prepared Fold.
struct Folded {
    loops: Loops,
    source: (usize, Walk),
    /// Strides over the windows and over their elements.
    outer: [isize; 3],
    inner: [isize; 3],
    positions: Option<(usize, Walk, [isize; 3])>,
    dtype: DType,
    count: usize,
    results: Results,
    empty: bool,
}

impl CpuOperation for Fold {
    const EPILOGUE: bool = true;

    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let (x, checker) = (launch.input(0)?, launch.checker);
        let rank = self.rank();
        let behind = match launch.inputs.len() {
            1 => 2 * rank,
            _ => rank,
        };
        checker.operand(x, None)?;
        let shape = &x.layout.shape;
        if !self.windows.is_sound() || self.windows.rank() != rank || shape.rank() < behind {
            return Err(format!("windows of {shape} to {:?}", self.to));
        }
        let lead = shape.rank() - behind;
        if behind > rank && shape[lead + rank..] != self.windows.size[..] {
            return Err(format!("windows of {shape} to {:?}", self.to));
        }
        let loops = Loops::new(&self.windows, &self.to, &shape[lead..lead + rank]);
        let count: usize = shape[..lead].iter().product();
        let whole: Shape = shape[..lead].iter().chain(&self.to).copied().collect();
        let results = launch.only_result(&whole, x.dtype)?;
        if !matches!(x.dtype, DType::F32 | DType::F64) {
            return Err(format!("windows of {}", x.dtype));
        }
        let empty = shape.numel() == 0;
        let nothing = || Walk::new(&wgrad_core::Layout::contiguous(().into()));
        let seen = |operand: &wgrad_core::Operand, behind: usize| match empty {
            true => (nothing(), vec![0; behind]),
            false => planes(&operand.layout, behind),
        };
        let (walk, steps) = seen(x, behind);
        let positions = match behind > rank {
            true => None,
            false => {
                let at = launch.input(1)?;
                checker.operand(at, Some(shape))?;
                if at.dtype != DType::I32 {
                    return Err(format!("positions of {}", at.dtype));
                }
                let (walk, steps) = seen(at, rank);
                Some((at.buffer, walk, strides(&steps)))
            }
        };
        Ok(Box::new(Folded {
            loops,
            source: (x.buffer, walk),
            outer: strides(&steps[..rank]),
            inner: strides(&steps[rank..]),
            positions,
            dtype: x.dtype,
            count,
            results,
            empty,
        }))
    }
}

impl Launchable for Folded {
    fn scalars(&self) -> usize {
        self.results.scalars()
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        let target = self.results.making(context.buffers, scalars);
        match self.dtype {
            DType::F32 => self.run::<f32>(context, &target),
            _ => self.run::<f64>(context, &target),
        }
        None
    }
}

impl Folded {
    fn run<T: bytemuck::Pod + std::ops::AddAssign + Send + Sync>(
        &self,
        context: &Context<'_>,
        target: &Making<'_>,
    ) {
        let source = Shared(context.buffers[self.source.0].start.cast::<T>());
        let positions = self.positions.as_ref().map(|(buffer, walk, steps)| {
            (
                Shared(context.buffers[*buffer].start.cast::<i32>()),
                walk,
                steps,
            )
        });
        let plane = self.loops.plane();
        let work = self.loops.windows() * self.loops.size.iter().product::<usize>();
        let parallel = self.count.saturating_mul(work.max(plane)) >= PARALLEL_ELEMENTS;
        target.by_units(parallel, (self.count, plane), 1, |items, target| {
            for item in items {
                // SAFETY: the operands and the results were checked, and tasks have planes of their own.
                unsafe {
                    let y = target.start().cast::<T>().wrapping_add(item * plane);
                    let y = std::slice::from_raw_parts_mut(y, plane);
                    y.fill(T::zeroed());
                    if self.empty {
                        continue;
                    }
                    let x = source.get().offset(self.source.1.at(item)).cast_const();
                    match &positions {
                        Some((start, walk, steps)) => {
                            let at = start.get().offset(walk.at(item)).cast_const();
                            self.add_at(x, at, steps, y);
                        }
                        None => self.add(x, y),
                    }
                }
            }
        });
    }

    /// # Safety
    /// `x` is a plane of the checked operand.
    unsafe fn add<T: Copy + std::ops::AddAssign>(&self, x: *const T, y: &mut [T]) {
        let Loops {
            counts,
            elements,
            step,
            dilation,
            low,
            ..
        } = self.loops;
        let along = |strides: [isize; 3], at: [usize; 3]| -> isize {
            strides.iter().zip(at).map(|(s, i)| s * i as isize).sum()
        };
        for o0 in 0..counts[0] {
            for t0 in self.loops.elements_of(0, o0) {
                let s0 = o0 * step[0] + t0 * dilation[0] - low[0];
                for o1 in 0..counts[1] {
                    for t1 in self.loops.elements_of(1, o1) {
                        let s1 = o1 * step[1] + t1 * dilation[1] - low[1];
                        let row = (s0 * elements[1] + s1) * elements[2];
                        for t2 in self.loops.elements_of_any() {
                            let (windows, s2) = self.loops.inside(t2);
                            let from = along(self.outer, [o0, o1, windows.start])
                                + along(self.inner, [t0, t1, t2]);
                            let targets = y[row..row + elements[2]].iter_mut().skip(s2);
                            let targets = targets.step_by(step[2]).take(windows.len());
                            for (i, sum) in targets.enumerate() {
                                // SAFETY: an element of the plane.
                                *sum += unsafe { *x.offset(from + i as isize * self.outer[2]) };
                            }
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    /// `x` and `positions` are planes of the checked operands.
    unsafe fn add_at<T: Copy + std::ops::AddAssign>(
        &self,
        x: *const T,
        positions: *const i32,
        steps: &[isize; 3],
        y: &mut [T],
    ) {
        let counts = self.loops.counts;
        for o0 in 0..counts[0] as isize {
            for o1 in 0..counts[1] as isize {
                for o2 in 0..counts[2] as isize {
                    let along = |by: &[isize; 3]| o0 * by[0] + o1 * by[1] + o2 * by[2];
                    // SAFETY: elements of the planes.
                    let (x, at) = unsafe {
                        (
                            *x.offset(along(&self.outer)),
                            *positions.offset(along(steps)),
                        )
                    };
                    if let Some(sum) = usize::try_from(at).ok().and_then(|at| y.get_mut(at)) {
                        *sum += x;
                    }
                }
            }
        }
    }
}
