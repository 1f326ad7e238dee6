//! Concat: each operand's rows are copied to their places.

use std::ops::Range;

use wgrad_core::ops::Concat;
use wgrad_core::{ScalarBits, Shape};

use super::{CpuOperation, Launch};
use crate::cursor::{Cursor, Walk};
use crate::executor::{Context, Launchable};
use crate::interpreter::Bound;
use crate::parallel::PARALLEL_ELEMENTS;
use crate::results::Results;

/// Shorter runs are gathered, so many elements together, and then go to their places one by one.
const SHORT: usize = 16;
const STAGED: usize = 512;

/// Copies `n` dense elements to runs that lie a slab apart, from element `at` of the first on.
type SpreadFn =
    unsafe fn(from: *const u8, n: usize, run_at: (usize, usize), target: *mut u8, slab: usize);

/// # Safety
/// `from` is readable and the places are writable, both aligned to the element.
unsafe fn spread<T: Copy>(
    from: *const u8,
    n: usize,
    (run, mut at): (usize, usize),
    target: *mut u8,
    slab: usize,
) {
    let (from, mut target) = (from.cast::<T>(), target.cast::<T>());
    for i in 0..n {
        // SAFETY: the caller's promise.
        unsafe { *target.wrapping_add(at) = *from.add(i) };
        at += 1;
        if at == run {
            (at, target) = (0, target.wrapping_add(slab));
        }
    }
}

/// The loop for elements of `size` bytes.
fn spread_of(size: usize) -> SpreadFn {
    match size {
        1 => spread::<u8>,
        2 => spread::<u16>,
        4 => spread::<u32>,
        _ => spread::<u64>,
    }
}

/// One input of a Concat: for each outer index a dense run of the output.
struct Part {
    buffer: usize,
    walk: Walk,
    /// Elements of a run, and where the first one starts.
    run: usize,
    start: usize,
}

/// A prepared Concat.
struct Joined {
    parts: Vec<Part>,
    size: usize,
    /// Elements of the result for each outer index.
    slab: usize,
    results: Results,
}

impl CpuOperation for Concat {
    const EPILOGUE: bool = true;

    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let (dim, inputs, checker) = (self.dim, launch.inputs, launch.checker);
        let first = inputs.first().ok_or("nothing to concatenate")?;
        let (shape, dtype) = (&first.layout.shape, first.dtype);
        if dim >= shape.rank() {
            return Err(format!("no dimension {dim} in {shape}"));
        }
        let outer = Shape::new(&shape[..dim]).checked_numel();
        let inner = Shape::new(&shape[dim + 1..]).checked_numel();
        let (outer, inner) = outer.zip(inner).ok_or("too many elements")?;
        let mut parts = Vec::with_capacity(inputs.len());
        let mut slab = 0usize;
        for input in inputs {
            let other = &input.layout.shape;
            checker.operand(input, None)?;
            let fits = other.rank() == shape.rank()
                && (0..shape.rank()).all(|d| d == dim || other[d] == shape[d]);
            if !fits || input.dtype != dtype {
                return Err(format!("{other} of {} beside {shape}", input.dtype));
            }
            let run = other[dim].checked_mul(inner).ok_or("too many elements")?;
            if run > 0 && outer > 0 {
                parts.push(Part {
                    buffer: input.buffer,
                    walk: Walk::new(&input.layout),
                    run,
                    start: slab,
                });
            }
            slab = slab.checked_add(run).ok_or("too many elements")?;
        }
        let along = inputs.iter().map(|input| input.layout.shape[dim]);
        let along = along.fold(0usize, usize::saturating_add);
        let dims = shape[..dim].iter().chain([&along]);
        let whole: Shape = dims.chain(&shape[dim + 1..]).copied().collect();
        Ok(Box::new(Joined {
            parts,
            size: dtype.size(),
            slab,
            results: launch.only_result(&whole, dtype)?,
        }))
    }
}

impl Part {
    /// How many of its elements come before position `at` of the result, whose slabs are so long.
    fn before(&self, at: usize, slab: usize) -> usize {
        let own = (at % slab).saturating_sub(self.start).min(self.run);
        at / slab * self.run + own
    }
}

impl Joined {
    /// Copies the elements `range` of the result.
    ///
    /// # Safety
    /// Operands and results were checked; this task alone writes these positions.
    unsafe fn copy(&self, buffers: &[Bound], range: Range<usize>, target: *mut u8) {
        for part in &self.parts {
            let source = buffers[part.buffer].start.cast_const();
            let mut position = part.before(range.start, self.slab);
            let end = part.before(range.end, self.slab);
            let mut cursor = Cursor::new(&part.walk);
            let spread = spread_of(self.size);
            let mut staged = [0u64; STAGED];
            while position < end && part.run < SHORT {
                let (outer, at) = (position / part.run, position % part.run);
                let n = STAGED.min(end - position);
                let place = outer * self.slab + part.start;
                let stage = staged.as_mut_ptr().cast::<u8>();
                // SAFETY: as below; the stage has room for elements of any size.
                unsafe {
                    cursor.gather(source, self.size, position, stage, n);
                    let target = target.wrapping_add(place * self.size);
                    spread(stage, n, (part.run, at), target, self.slab);
                }
                position += n;
            }
            while position < end {
                let (outer, at) = (position / part.run, position % part.run);
                let n = (part.run - at).min(end - position);
                let place = outer * self.slab + part.start + at;
                // SAFETY: the caller's promise; these elements lie in the range.
                unsafe {
                    let target = target.wrapping_add(place * self.size);
                    cursor.gather(source, self.size, position, target, n);
                }
                position += n;
            }
        }
    }
}

impl Launchable for Joined {
    fn scalars(&self) -> usize {
        self.results.scalars()
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        let (buffers, numel) = (context.buffers, self.results.numel());
        let to = self.results.making(buffers, scalars);
        to.by_units(numel >= PARALLEL_ELEMENTS, (numel, 1), 64, |range, to| {
            // SAFETY: everything was checked when this was made; tasks have disjoint positions.
            unsafe { self.copy(buffers, range, to.start()) };
        });
        None
    }
}
