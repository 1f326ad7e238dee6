//! Gather and its derivative.

use std::sync::{Mutex, PoisonError};

use wgrad_core::{DType, Layout, Operand, Output, ScalarBits, Shape};

use crate::cursor::{Cursor, Walk};
use crate::executor::{Checker, Context, Launchable};
use crate::interpreter::Bound;
use crate::lanes::{Element, Lane};
use crate::parallel::{self, PARALLEL_ELEMENTS};
use crate::scratch;

/// The bad index that comes first in row-major order, whichever thread finds it.
#[derive(Default)]
pub(crate) struct FirstFault(Mutex<Option<(usize, i64)>>);

impl FirstFault {
    pub fn report(&self, position: usize, value: i64) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none_or(|(p, _)| position < p) {
            *first = Some((position, value));
        }
    }

    pub fn value(&self) -> Option<i64> {
        let first = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.map(|(_, value)| value)
    }
}

/// An operand of integers.
pub(crate) struct Integers {
    buffer: usize,
    dtype: DType,
    layout: Layout,
}

impl Integers {
    pub fn new(operand: &Operand) -> Result<Integers, String> {
        if !operand.dtype.is_integer() {
            return Err(format!("indices of {}", operand.dtype));
        }
        Ok(Integers {
            buffer: operand.buffer,
            dtype: operand.dtype,
            layout: operand.layout.clone(),
        })
    }

    /// The element at an element offset of the buffer.
    ///
    /// # Safety
    /// It is an element of the operand, which was checked.
    unsafe fn at(&self, buffers: &[Bound], at: isize) -> i64 {
        let start = buffers[self.buffer].start.cast_const();
        // SAFETY: the caller's promise.
        unsafe {
            match self.dtype {
                DType::I64 => *start.cast::<i64>().offset(at),
                DType::I32 => i64::from(*start.cast::<i32>().offset(at)),
                DType::U32 => i64::from(*start.cast::<u32>().offset(at)),
                _ => i64::from(*start.offset(at)),
            }
        }
    }

    /// Element `i` of a one-dimensional operand.
    ///
    /// # Safety
    /// The operand was checked and has element `i`.
    pub unsafe fn get(&self, buffers: &[Bound], i: usize) -> i64 {
        let at = self.layout.offset as isize + i as isize * self.layout.strides[0];
        // SAFETY: the caller's promise.
        unsafe { self.at(buffers, at) }
    }
}

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

/// A walk over two views of the same shape, in runs within rows of both.
struct Pair<'a>(Cursor<'a>, Cursor<'a>);

impl Pair<'_> {
    /// The next run of at most `n`: offset and stride in either view, and its length.
    fn next_run(&mut self, n: usize) -> ((isize, isize), (isize, isize), usize) {
        let position = self.0.position();
        let (a, sa, na) = self.0.next_run(n);
        let (b, sb, nb) = self.1.next_run(na);
        if nb < na {
            self.0.seek(position + nb);
        }
        ((a, sa), (b, sb), nb)
    }
}

/// A prepared Gather.
pub(crate) struct Gather {
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

impl Gather {
    pub fn new(
        checker: &Checker<'_>,
        dim: usize,
        source: &Operand,
        index: &Operand,
        output: Output,
    ) -> Result<Gather, String> {
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
        Ok(Gather {
            source: source.buffer,
            size: source.dtype.size(),
            missing: missing(source.dtype),
            len: from.shape[dim],
            step: from.strides[dim],
            walks: (numel > 0).then(|| (Walk::new(&fixed), Walk::new(&index.layout))),
            index: Integers::new(index)?,
            output,
            numel,
        })
    }

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

impl Launchable for Gather {
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

/// Most `f32` elements that are added to one in their own type.
const CHAIN: usize = 1024;
/// Sums of longer chains that a thread holds at a time, if its columns are more than a few.
const LONG_SUMS: usize = 1 << 20;

/// A prepared ScatterAdd.
pub(crate) struct ScatterAdd {
    source: usize,
    dtype: DType,
    /// Sizes before, along and after the dimension; the output's along it.
    outer: usize,
    len: usize,
    inner: usize,
    size: usize,
    walks: Option<(Walk, Walk)>,
    index: Integers,
    /// Whether one index serves all of the inner dimensions.
    shared: bool,
    output: Output,
}

impl ScatterAdd {
    pub fn new(
        checker: &Checker<'_>,
        dim: usize,
        size: usize,
        source: &Operand,
        index: &Operand,
        output: Output,
    ) -> Result<ScatterAdd, String> {
        let shape = &index.layout.shape;
        checker.operand(index, None)?;
        checker.operand(source, Some(shape))?;
        if dim >= shape.rank() {
            return Err(format!("no dimension {dim} in {shape}"));
        }
        let outer = Shape::new(&shape[..dim]).checked_numel();
        let inner = Shape::new(&shape[dim + 1..]).checked_numel();
        let (outer, inner) = outer.zip(inner).ok_or("too many elements")?;
        let numel = shape.checked_numel().ok_or("too many elements")?;
        let out = outer.checked_mul(inner).and_then(|n| n.checked_mul(size));
        checker.output(output, out.ok_or("too many elements")?)?;
        let known = matches!(
            source.dtype,
            DType::F32 | DType::F64 | DType::I32 | DType::I64
        );
        if source.dtype != output.dtype || !known {
            return Err(format!("{} into {}", source.dtype, output.dtype));
        }
        Ok(ScatterAdd {
            source: source.buffer,
            dtype: source.dtype,
            outer,
            len: shape[dim],
            inner,
            size,
            walks: (numel > 0).then(|| (Walk::new(&source.layout), Walk::new(&index.layout))),
            shared: (dim + 1..shape.rank()).all(|d| shape[d] == 1 || index.layout.strides[d] == 0),
            index: Integers::new(index)?,
            output,
        })
    }

    /// Whether more than [`CHAIN`] elements are added to one.
    ///
    /// # Safety
    /// Operands were checked.
    unsafe fn is_long(&self, buffers: &[Bound]) -> bool {
        let Some((_, index)) = &self.walks else {
            return false;
        };
        if self.dtype != DType::F32 || self.len <= CHAIN || !self.shared {
            return self.dtype == DType::F32 && self.len > CHAIN;
        }
        scratch::with(|scratch| {
            let counts = scratch.slice::<u32>(self.size);
            let mut cursor = Cursor::new(index);
            (0..self.outer).any(|outer| {
                counts.fill(0);
                (0..self.len).any(|i| {
                    cursor.seek((outer * self.len + i) * self.inner);
                    let (at, ..) = cursor.next_run(1);
                    // SAFETY: the index lies in its view.
                    let v = unsafe { self.index.at(buffers, at) };
                    let count = usize::try_from(v).ok().and_then(|v| counts.get_mut(v));
                    count.is_some_and(|count| {
                        *count += 1;
                        *count as usize > CHAIN
                    })
                })
            })
        })
    }

    /// Adds the columns `from..to` of the inner dimensions of outer index `outer`.
    ///
    /// # Safety
    /// Operands and output were checked; this task alone writes these columns.
    unsafe fn columns<E: Element>(
        &self,
        buffers: &[Bound],
        outer: usize,
        (from, to): (usize, usize),
        faults: &FirstFault,
    ) {
        let target = buffers[self.output.buffer].start.cast::<E>();
        let slab = outer * self.size * self.inner;
        // SAFETY: the output has `size` rows of `inner` elements in each slab.
        unsafe {
            for v in 0..self.size {
                let row = target.add(slab + v * self.inner);
                std::slice::from_raw_parts_mut(row.add(from), to - from).fill(E::from_i64(0));
            }
            self.visit::<E>(buffers, outer, (from, to), faults, |v, column, x| {
                let place = target.add(slab + v * self.inner + column);
                *place = E::Plain::new(*place).add(E::Plain::new(x)).raw();
            });
        }
    }

    /// The same for long chains of `f32`, added up in `f64`.
    ///
    /// # Safety
    /// As for `columns`.
    unsafe fn long_columns(
        &self,
        buffers: &[Bound],
        outer: usize,
        (from, to): (usize, usize),
        faults: &FirstFault,
    ) {
        let target = buffers[self.output.buffer].start.cast::<f32>();
        let slab = outer * self.size * self.inner;
        let width = to - from;
        // Some rows of a large table at a time: the source is read again for each, the sums stay small.
        let rows = (LONG_SUMS / width.max(1)).clamp(1, self.size.max(1));
        scratch::with(|scratch| {
            let sums = scratch.slice::<f64>(rows * width);
            for first in (0..self.size).step_by(rows) {
                let end = (first + rows).min(self.size);
                sums.fill(0.0);
                // SAFETY: the caller's promise.
                unsafe {
                    self.visit::<f32>(buffers, outer, (from, to), faults, |v, column, x| {
                        if (first..end).contains(&v) {
                            sums[(v - first) * width + column - from] += f64::from(x);
                        }
                    });
                    for v in first..end {
                        let row = target.add(slab + v * self.inner + from);
                        let row = std::slice::from_raw_parts_mut(row, width);
                        for (x, sum) in row.iter_mut().zip(&sums[(v - first) * width..]) {
                            *x = *sum as f32;
                        }
                    }
                }
            }
        });
    }

    /// Calls `add` with place, column and value of each element, in ascending order along the
    /// dimension.
    ///
    /// # Safety
    /// Operands were checked.
    #[inline(always)]
    unsafe fn visit<E: Element>(
        &self,
        buffers: &[Bound],
        outer: usize,
        (from, to): (usize, usize),
        faults: &FirstFault,
        mut add: impl FnMut(usize, usize, E),
    ) {
        let Some((source, index)) = &self.walks else {
            return;
        };
        let elements = buffers[self.source].start.cast_const().cast::<E>();
        let mut walk = Pair(Cursor::new(source), Cursor::new(index));
        for i in 0..self.len {
            let first = (outer * self.len + i) * self.inner;
            walk.0.seek(first + from);
            walk.1.seek(first + from);
            let mut column = from;
            while column < to {
                let ((at, stride), (index_at, index_stride), n) = walk.next_run(to - column);
                for j in 0..n {
                    // SAFETY: both views have the element.
                    unsafe {
                        let v = self.index.at(buffers, index_at + j as isize * index_stride);
                        if v < 0 || v as u64 >= self.size as u64 {
                            faults.report(first + column + j, v);
                            continue;
                        }
                        let x = elements.offset(at + j as isize * stride).read();
                        add(v as usize, column + j, x);
                    }
                }
                column += n;
            }
        }
    }
}

impl Launchable for ScatterAdd {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let faults = FirstFault::default();
        let work = self.outer * self.inner * self.len.max(self.size);
        // Additions to one element keep their order, so threads share out columns.
        let strip = self
            .inner
            .div_ceil(parallel::threads())
            .clamp(16, self.inner.max(16));
        // SAFETY: the operands were checked.
        let long = unsafe { self.is_long(context.buffers) };
        let strip = match long {
            true => (LONG_SUMS / self.size.max(1)).clamp(8, strip),
            false => strip,
        };
        let strips = self.inner.div_ceil(strip);
        let parallel = work >= PARALLEL_ELEMENTS;
        parallel::for_each(parallel, self.outer * strips, |item| {
            let from = item % strips * strip;
            let columns = (from, self.inner.min(from + strip));
            let (b, outer, f) = (context.buffers, item / strips, &faults);
            // SAFETY: everything was checked when this was made; tasks have disjoint columns.
            unsafe {
                match self.dtype {
                    DType::F64 => self.columns::<f64>(b, outer, columns, f),
                    DType::I64 => self.columns::<i64>(b, outer, columns, f),
                    DType::I32 => self.columns::<i32>(b, outer, columns, f),
                    _ if long => self.long_columns(b, outer, columns, f),
                    _ => self.columns::<f32>(b, outer, columns, f),
                }
            }
        });
        faults.value()
    }
}
