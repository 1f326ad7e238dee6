//! Concat: each operand's rows are copied to their places.

use wgrad_core::ops::Concat;
use wgrad_core::{Output, ScalarBits, Shape};

use super::{CpuOperation, Launch};
use crate::cursor::{Cursor, Walk};
use crate::executor::{Context, Launchable};
use crate::parallel::{self, PARALLEL_ELEMENTS, Shared};

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
    outer: usize,
    /// Elements of the output for each outer index.
    slab: usize,
    output: Output,
}

impl CpuOperation for Concat {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let (dim, inputs, checker) = (self.dim, launch.inputs, launch.checker);
        let output = launch.output()?;
        let first = inputs.first().ok_or("nothing to concatenate")?;
        let shape = &first.layout.shape;
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
            if !fits || input.dtype != output.dtype {
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
        checker.output(output, slab.checked_mul(outer).ok_or("too many elements")?)?;
        Ok(Box::new(Joined {
            parts,
            size: output.dtype.size(),
            outer,
            slab,
            output,
        }))
    }
}

impl Launchable for Joined {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let target = Shared(context.buffers[self.output.buffer].start);
        for part in &self.parts {
            let numel = part.run * self.outer;
            let source = context.buffers[part.buffer];
            parallel::for_ranges(numel >= PARALLEL_ELEMENTS, numel, 64, |start, end| {
                let mut cursor = Cursor::new(&part.walk);
                let mut position = start;
                let spread = spread_of(self.size);
                let mut staged = [0u64; STAGED];
                while position < end && part.run < SHORT {
                    let (outer, at) = (position / part.run, position % part.run);
                    let n = STAGED.min(end - position);
                    let place = outer * self.slab + part.start;
                    let stage = staged.as_mut_ptr().cast::<u8>();
                    // SAFETY: as below; the stage has room for elements of any size.
                    unsafe {
                        cursor.gather(source.start(), self.size, position, stage, n);
                        let target = target.get().add(place * self.size);
                        spread(stage, n, (part.run, at), target, self.slab);
                    }
                    position += n;
                }
                while position < end {
                    let (outer, at) = (position / part.run, position % part.run);
                    let n = (part.run - at).min(end - position);
                    let place = outer * self.slab + part.start + at;
                    // SAFETY: operand and output were checked; tasks have disjoint positions.
                    unsafe {
                        let target = target.get().add(place * self.size);
                        cursor.gather(source.start(), self.size, position, target, n);
                    }
                    position += n;
                }
            });
        }
        None
    }
}
