//! What kernels that take indices share.

use std::sync::{Mutex, PoisonError};

use wgrad_core::{DType, Layout, Operand};

use crate::cursor::Cursor;
use crate::interpreter::Bound;

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
    pub unsafe fn at(&self, buffers: &[Bound], at: isize) -> i64 {
        let start = buffers[self.buffer].start.cast_const();
        // SAFETY: the caller's promise.
        unsafe {
            match self.dtype {
                DType::I64 => *start.cast::<i64>().offset(at),
                DType::I32 => i64::from(*start.cast::<i32>().offset(at)),
                DType::U32 => i64::from(*start.cast::<u32>().offset(at)),
                DType::I16 => i64::from(*start.cast::<i16>().offset(at)),
                DType::I8 => i64::from(*start.cast::<i8>().offset(at)),
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

/// A walk over two views of the same shape, in runs within rows of both.
pub(crate) struct Pair<'a>(pub Cursor<'a>, pub Cursor<'a>);

impl Pair<'_> {
    /// The next run of at most `n`: offset and stride in either view, and its length.
    pub fn next_run(&mut self, n: usize) -> ((isize, isize), (isize, isize), usize) {
        let position = self.0.position();
        let (a, sa, na) = self.0.next_run(n);
        let (b, sb, nb) = self.1.next_run(na);
        if nb < na {
            self.0.seek(position + nb);
        }
        ((a, sa), (b, sb), nb)
    }
}
