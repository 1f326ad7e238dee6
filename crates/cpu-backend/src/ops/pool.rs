//! Pools: plane by plane, a row of results at a time, element by element of the windows.

use std::ops::Range;

use wgrad_core::ops::{MaxPool, SumPool, Windows};
use wgrad_core::{DType, Output, ScalarBits, Shape};

use pulp::{Simd, WithSimd};

use super::windows::{Loops, planes, strides};
use super::{CpuOperation, Launch};
use crate::cursor::Walk;
use crate::executor::{Context, Launchable};
use crate::instructions::dispatch;
use crate::parallel::{PARALLEL_ELEMENTS, Shared};
use crate::results::{Making, Results};
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
    results: Results,
}

/// What the results are.
enum Kind {
    Sums,
    /// The largest elements, and where their positions are stored beside them.
    Largest(Option<Output>),
    /// The largest elements' positions alone.
    Positions,
}

impl CpuOperation for SumPool {
    const EPILOGUE: bool = true;

    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        prepare(&self.windows, &self.counts, launch, Kind::Sums)
    }
}

impl CpuOperation for MaxPool {
    const EPILOGUE: bool = true;

    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let output = |i: usize| launch.outputs.get(i).copied().flatten();
        let values = launch.epilogue.map_or(output(1).is_some(), |e| e.part == 1);
        let kind = match values {
            true => Kind::Largest(output(0)),
            false => Kind::Positions,
        };
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
    if !matches!(x.dtype, DType::F32 | DType::F64) {
        return Err(format!("windows of {}", x.dtype));
    }
    let leading = x.layout.shape[..lead].iter();
    let shape: Shape = leading.chain(counts).copied().collect();
    let (part, dtype) = match kind {
        Kind::Sums => (0, x.dtype),
        Kind::Largest(_) => (1, x.dtype),
        Kind::Positions => (0, DType::I32),
    };
    let results = launch.result(part, (&shape, dtype))?;
    let results = results.ok_or("no result is wanted")?;
    if let Kind::Largest(Some(at)) = kind {
        checker.output(at, results.numel())?;
        if at.dtype != DType::I32 {
            return Err(format!("positions of {}", at.dtype));
        }
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
        results,
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
    fn scalars(&self) -> usize {
        self.results.scalars()
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        let to = self.results.making(context.buffers, scalars);
        match self.dtype {
            DType::F32 => self.run::<f32>(context, &to),
            _ => self.run::<f64>(context, &to),
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
    fn run<T: Float>(&self, context: &Context<'_>, to: &Making<'_>) {
        let source = Shared(context.buffers[self.source].start.cast::<T>());
        let [depth, height, width] = self.loops.counts;
        let rows = depth * height;
        let work = self.loops.windows() * self.loops.size.iter().product::<usize>();
        let parallel = self.count.saturating_mul(work) >= PARALLEL_ELEMENTS;
        let beside = match self.kind {
            Kind::Largest(Some(at)) => Some(Shared(context.buffers[at.buffer].start)),
            _ => None,
        };
        to.by_units(parallel, (self.count * rows, width), 1, |rows, to| {
            let (most, at) = match self.kind {
                Kind::Sums | Kind::Largest(_) => (Some(to.start()), beside.map(Shared::get)),
                Kind::Positions => (None, Some(to.start())),
            };
            scratch::with_many(2, |scratch| {
                let [values, places] = scratch else { return };
                dispatch(Task {
                    pool: self,
                    rows,
                    source: source.get(),
                    most: most.map(<*mut u8>::cast),
                    at: at.map(<*mut u8>::cast),
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
                    Kind::Sums => pool.sums(plane, [o0, o1], values),
                    Kind::Largest(_) | Kind::Positions => {
                        pool.largest(plane, [o0, o1], values, places)
                    }
                }
                if let Some(most) = self.most {
                    let target = most.wrapping_add(row * width);
                    std::ptr::copy_nonoverlapping(values.as_ptr(), target, width);
                }
                if let Some(at) = self.at {
                    let target = at.wrapping_add(row * width);
                    std::ptr::copy_nonoverlapping(places.as_ptr(), target, width);
                }
            }
        }
    }
}
