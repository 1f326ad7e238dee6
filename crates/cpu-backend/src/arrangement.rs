//! Kernels that only move elements: Concat, Place and Copy.

use smallvec::SmallVec;
use wgrad_core::{Layout, Operand, Output, ScalarBits, Shape, collapse};

use crate::cursor::{Cursor, Walk};
use crate::executor::{Checker, Context, Launchable};
use crate::parallel::{self, PARALLEL_ELEMENTS, Shared};

/// One input of a Concat: for each outer index a dense run of the output.
struct Part {
    buffer: usize,
    walk: Walk,
    /// Elements of a run, and where the first one starts.
    run: usize,
    start: usize,
}

/// A prepared Concat.
pub(crate) struct Concat {
    parts: Vec<Part>,
    size: usize,
    outer: usize,
    /// Elements of the output for each outer index.
    slab: usize,
    output: Output,
}

impl Concat {
    pub fn new(
        checker: &Checker<'_>,
        dim: usize,
        inputs: &[Operand],
        output: Output,
    ) -> Result<Concat, String> {
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
        Ok(Concat {
            parts,
            size: output.dtype.size(),
            outer,
            slab,
            output,
        })
    }
}

impl Launchable for Concat {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let target = Shared(context.buffers[self.output.buffer].start);
        for part in &self.parts {
            let numel = part.run * self.outer;
            let source = context.buffers[part.buffer];
            parallel::for_ranges(numel >= PARALLEL_ELEMENTS, numel, 64, |start, end| {
                let mut cursor = Cursor::new(&part.walk);
                let mut position = start;
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

/// A prepared Place.
pub(crate) struct Place {
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

impl Place {
    pub fn new(
        checker: &Checker<'_>,
        shape: &Shape,
        start: &[usize],
        step: &[usize],
        source: &Operand,
        output: Output,
    ) -> Result<Place, String> {
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
        Ok(Place {
            source: source.buffer,
            size: source.dtype.size(),
            dims,
            from: layout.offset as isize,
            to: offset as isize,
            bytes: numel * source.dtype.size(),
            output,
            empty: inside.contains(&0),
        })
    }

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
    /// As for [`Place::copy`].
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

impl Launchable for Place {
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

/// A prepared Copy: buffer and byte offset from and to.
pub(crate) struct CopyBytes {
    source: (usize, usize),
    target: (usize, usize),
    bytes: usize,
}

impl CopyBytes {
    pub fn new(
        checker: &Checker<'_>,
        source: (usize, usize),
        target: (usize, usize),
        bytes: usize,
    ) -> Result<CopyBytes, String> {
        for (buffer, offset) in [source, target] {
            let end = offset.checked_add(bytes).ok_or("too many bytes")?;
            checker.elements(buffer, wgrad_core::DType::U8, end)?;
        }
        Ok(CopyBytes {
            source,
            target,
            bytes,
        })
    }
}

impl Launchable for CopyBytes {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let source = context.buffers[self.source.0].start;
        let target = context.buffers[self.target.0].start;
        // SAFETY: both ranges were checked; `copy` allows overlap.
        unsafe {
            std::ptr::copy(
                source.add(self.source.1),
                target.add(self.target.1),
                self.bytes,
            );
        }
        None
    }
}
