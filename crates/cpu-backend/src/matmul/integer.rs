//! Products of integers.

use wgrad_core::DType;

use crate::lanes::{Element, Lane};

/// One product: sizes, strides (of rows and columns) of the factors, and the distance of C's rows.
pub(super) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: (isize, isize),
    pub b: (isize, isize),
    pub row: usize,
}

impl Product {
    /// Computes it in this type.
    ///
    /// # Safety
    /// The matrices are readable, C is writable and overlaps neither.
    pub unsafe fn compute(&self, dtype: DType, a: *const u8, b: *const u8, c: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            match dtype {
                DType::I64 => self.integer::<i64>(a.cast(), b.cast(), c.cast()),
                DType::I32 => self.integer::<i32>(a.cast(), b.cast(), c.cast()),
                DType::U32 => self.integer::<u32>(a.cast(), b.cast(), c.cast()),
                _ => self.integer::<u8>(a.cast(), b.cast(), c),
            }
        }
    }

    /// Row by row: each element of A times a row of B, which the compiler vectorises.
    ///
    /// # Safety
    /// As for [`Product::compute`].
    unsafe fn integer<E: Element>(&self, a: *const E, b: *const E, c: *mut E) {
        let rows = |i: usize| {
            // SAFETY: the caller's promise.
            let row = unsafe { std::slice::from_raw_parts_mut(c.add(i * self.row), self.n) };
            row.fill(E::from_i64(0));
            for p in 0..self.k as isize {
                // SAFETY: the caller's promise.
                unsafe {
                    let x = E::Plain::new(*a.offset(i as isize * self.a.0 + p * self.a.1));
                    let from = b.offset(p * self.b.0);
                    for (j, sum) in row.iter_mut().enumerate() {
                        let y = E::Plain::new(*from.offset(j as isize * self.b.1));
                        *sum = E::Plain::new(*sum).add(x.mul(y)).raw();
                    }
                }
            }
        };
        (0..self.m).for_each(rows);
    }
}
