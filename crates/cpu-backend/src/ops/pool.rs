//! Pools: plane by plane, a row of results at a time, element by element of the windows.

use std::ops::Range;

use wgrad_core::ops::{MaxPool, SumPool, Windows};
use wgrad_core::{DType, Output, ScalarBits};

use pulp::{Simd, WithSimd};

use super::windows::{Loops, planes, strides};
use super::{CpuOperation, Launch};
use crate::cursor::Walk;
use crate::executor::{Context, Launchable};
use crate::instructions::dispatch;
use crate::parallel::{self, PARALLEL_ELEMENTS, Shared};
use crate::scratch;

/// A prepared pool.
struct Pool {
    loops: Loops,
    source: usize,
    dtype: DType,
    planes: Walk,
    strides: [isize; 3],
    count: usize,
    kind: Kind,
}

/// What is stored.
enum Kind {
    Sum(Output),
    /// Positions and values.
    Max(Option<Output>, Option<Output>),
}

impl CpuOperation for SumPool {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let kind = Kind::Sum(launch.output()?);
        prepare(&self.windows, &self.counts, launch, kind)
    }
}

impl CpuOperation for MaxPool {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let output = |i: usize| launch.outputs.get(i).copied().flatten();
        let kind = Kind::Max(output(0), output(1));
        prepare(&self.windows, &self.counts, launch, kind)
    }
}

fn prepare(
    windows: &Windows,
    counts: &[usize],
    launch: &Launch<'_>,
    kind: Kind,
) -> Result<Box<dyn Launchable>, String> {
    let (x, checker) = (launch.input(0)?, launch.checker);
    let rank = windows.rank();
    checker.operand(x, None)?;
    if !windows.is_sound() || counts.len() != rank || x.layout.shape.rank() < rank {
        return Err(format!("windows {:?} of {}", windows.size, x.layout.shape));
    }
    let lead = x.layout.shape.rank() - rank;
    let loops = Loops::new(windows, &x.layout.shape[lead..], counts);
    let count: usize = x.layout.shape[..lead].iter().product();
    let results = count
        .checked_mul(loops.windows())
        .ok_or("too many elements")?;
    let outputs: Vec<(Output, DType)> = match kind {
        Kind::Sum(output) => vec![(output, x.dtype)],
        Kind::Max(at, most) => {
            let at = at.map(|at| (at, DType::I32));
            at.into_iter()
                .chain(most.map(|most| (most, x.dtype)))
                .collect()
        }
    };
    for (output, dtype) in outputs {
        if output.dtype != dtype || !matches!(x.dtype, DType::F32 | DType::F64) {
            return Err(format!("{} of {}", output.dtype, x.dtype));
        }
        checker.output(output, results)?;
    }
    let empty = x.layout.shape.numel() == 0;
    let (planes, inner) = match empty {
        true => (
            Walk::new(&wgrad_core::Layout::contiguous(().into())),
            vec![0; rank],
        ),
        false => planes(&x.layout, rank),
    };
    Ok(Box::new(Pool {
        loops,
        source: x.buffer,
        dtype: x.dtype,
        planes,
        strides: strides(&inner),
        count,
        kind,
    }))
}

/// An element of a pool.
trait Float: bytemuck::Pod + PartialOrd + Send + Sync + std::ops::AddAssign {
    const LEAST: Self;
    const ZERO: Self;
    fn is_no_number(self) -> bool;
}
impl Float for f32 {
    const LEAST: f32 = f32::NEG_INFINITY;
    const ZERO: f32 = 0.0;
    #[inline(always)]
    fn is_no_number(self) -> bool {
        self.is_nan()
    }
}
impl Float for f64 {
    const LEAST: f64 = f64::NEG_INFINITY;
    const ZERO: f64 = 0.0;
    #[inline(always)]
    fn is_no_number(self) -> bool {
        self.is_nan()
    }
}

impl Launchable for Pool {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        match self.dtype {
            DType::F32 => self.run::<f32>(context),
            _ => self.run::<f64>(context),
        }
        None
    }
}

/// An element of the windows of a row: which windows have it, where the first one's lies in memory and in the
/// plane.
struct Taps {
    windows: Range<usize>,
    memory: isize,
    place: usize,
}

/// The largest so far, and where it is, with one more element of each window.
struct Largest<'a, T> {
    /// Those elements lie `by` apart.
    x: *const T,
    by: isize,
    most: &'a mut [T],
    at: &'a mut [i32],
    /// Their positions: the first one's, and the distance to the next.
    place: i32,
    step: i32,
}

impl<T: Float> Largest<'_, T> {
    #[inline(always)]
    fn run(self) {
        // Distances that the compiler knows become loads of vectors.
        match self.by {
            1 => self.run_by(|i| i),
            2 => self.run_by(|i| 2 * i),
            by => self.run_by(|i| by * i),
        }
    }

    #[inline(always)]
    fn run_by(self, offset: impl Fn(isize) -> isize) {
        let (first, step) = (self.place, self.step);
        for (i, (most, at)) in self.most.iter_mut().zip(self.at).enumerate() {
            // SAFETY: who made this says that each window has such an element.
            let x = unsafe { *self.x.offset(offset(i as isize)) };
            // The first of all counts, also where it is minus infinity; and NaN, the last of several.
            let wins = (x > *most) | x.is_no_number() | (*at < 0);
            *most = if wins { x } else { *most };
            *at = if wins { first + i as i32 * step } else { *at };
        }
    }
}

impl Pool {
    fn run<T: Float>(&self, context: &Context<'_>) {
        let start = |output: Option<Output>| {
            output.map(|output| Shared(context.buffers[output.buffer].start))
        };
        let source = Shared(context.buffers[self.source].start.cast::<T>());
        let [depth, height, width] = self.loops.counts;
        let rows = depth * height;
        let work = self.loops.windows() * self.loops.size.iter().product::<usize>();
        let parallel = self.count.saturating_mul(work) >= PARALLEL_ELEMENTS;
        let (at, most) = match self.kind {
            Kind::Sum(output) => (None, start(Some(output))),
            Kind::Max(at, most) => (start(at), start(most)),
        };
        parallel::for_ranges(parallel, self.count * rows, 1, |from, to| {
            scratch::with_many(2, |scratch| {
                let [values, places] = scratch else { return };
                dispatch(Task {
                    pool: self,
                    rows: from..to,
                    source: source.get(),
                    most: most.map(|most| most.get().cast()),
                    at: at.map(|at| at.get().cast()),
                    values: values.slice(width),
                    places: places.slice(width),
                });
            });
        });
    }

    /// Calls `each` for every element of a row's windows that lies within the plane.
    #[inline(always)]
    fn taps(&self, [o0, o1]: [usize; 2], mut each: impl FnMut(Taps)) {
        let Loops {
            elements,
            step,
            dilation,
            low,
            ..
        } = self.loops;
        for t0 in self.loops.elements_of(0, o0) {
            let s0 = o0 * step[0] + t0 * dilation[0] - low[0];
            for t1 in self.loops.elements_of(1, o1) {
                let s1 = o1 * step[1] + t1 * dilation[1] - low[1];
                for t2 in self.loops.elements_of_any() {
                    let (windows, s2) = self.loops.inside(t2);
                    let [by0, by1, by2] = self.strides;
                    let memory = s0 as isize * by0 + s1 as isize * by1 + s2 as isize * by2;
                    let place = (s0 * elements[1] + s1) * elements[2] + s2;
                    each(Taps {
                        windows,
                        memory,
                        place,
                    });
                }
            }
        }
    }

    /// # Safety
    /// The plane is one of the checked operand's.
    #[inline(always)]
    unsafe fn sums<T: Float>(&self, plane: *const T, row: [usize; 2], values: &mut [T]) {
        let by = self.strides[2] * self.loops.step[2] as isize;
        values.fill(T::ZERO);
        self.taps(row, |taps| {
            for (i, sum) in values[taps.windows].iter_mut().enumerate() {
                // SAFETY: `inside` says that these elements lie in the plane.
                *sum += unsafe { *plane.offset(taps.memory + i as isize * by) };
            }
        });
    }

    /// # Safety
    /// As for [`Pool::sums`].
    #[inline(always)]
    unsafe fn largest<T: Float>(
        &self,
        plane: *const T,
        row: [usize; 2],
        values: &mut [T],
        places: &mut [i32],
    ) {
        let step = self.loops.step[2];
        let by = self.strides[2] * step as isize;
        values.fill(T::LEAST);
        places.fill(-1);
        self.taps(row, |taps| {
            let element = Largest {
                // SAFETY: as in `sums`.
                x: unsafe { plane.offset(taps.memory) },
                by,
                most: &mut values[taps.windows.clone()],
                at: &mut places[taps.windows],
                place: taps.place as i32,
                step: step as i32,
            };
            element.run();
        });
        for at in places {
            *at = (*at).max(0);
        }
    }
}

/// Rows of results, of all planes one after the other.
struct Task<'a, T> {
    pool: &'a Pool,
    rows: Range<usize>,
    source: *const T,
    most: Option<*mut T>,
    at: Option<*mut i32>,
    /// A row of each.
    values: &'a mut [T],
    places: &'a mut [i32],
}

impl<T: Float> WithSimd for Task<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Task {
            pool,
            values,
            places,
            ..
        } = self;
        let [depth, height, width] = pool.loops.counts;
        let mut plane = self.source;
        for row in self.rows.clone() {
            let (o0, o1) = (row / height % depth, row % height);
            // SAFETY: the operand and the outputs were checked, and tasks have rows of their own.
            unsafe {
                if row == self.rows.start || (o0, o1) == (0, 0) {
                    plane = self.source.offset(pool.planes.at(row / (depth * height)));
                }
                match pool.kind {
                    Kind::Sum(_) => pool.sums(plane, [o0, o1], values),
                    Kind::Max(..) => pool.largest(plane, [o0, o1], values, places),
                }
                if let Some(most) = self.most {
                    let target = most.add(row * width);
                    std::ptr::copy_nonoverlapping(values.as_ptr(), target, width);
                }
                if let Some(at) = self.at {
                    let target = at.add(row * width);
                    std::ptr::copy_nonoverlapping(places.as_ptr(), target, width);
                }
            }
        }
    }
}
