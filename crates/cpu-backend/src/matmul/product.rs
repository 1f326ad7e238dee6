//! Products by the `gemm` crate, and of integers.

use gemm_common::Parallelism;
use wgrad_core::DType;

use crate::lanes::{Element, Lane};
#[cfg(not(target_arch = "wasm32"))]
use crate::parallel;

/// One product: sizes, strides (of rows and columns) of the factors, and the distance of C's rows.
pub(super) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: (isize, isize),
    pub b: (isize, isize),
    pub row: usize,
    #[cfg_attr(target_arch = "wasm32", allow(dead_code))]
    pub threads: bool,
}

macro_rules! gemm {
    ($name:ident, $t:ty, $gemm:path) => {
        /// # Safety
        /// The matrices are readable, C is writable and overlaps neither.
        unsafe fn $name(&self, a: *const $t, b: *const $t, c: *mut $t) {
            #[cfg(not(target_arch = "wasm32"))]
            let parallelism = if self.threads && parallel::threads() > 1 {
                Parallelism::Rayon(0)
            } else {
                Parallelism::None
            };
            #[cfg(target_arch = "wasm32")]
            let parallelism = Parallelism::None;
            // SAFETY: the caller's promise.
            unsafe {
                $gemm()(
                    self.m,
                    self.n,
                    self.k,
                    c,
                    1,
                    self.row as isize,
                    false,
                    a,
                    self.a.1,
                    self.a.0,
                    b,
                    self.b.1,
                    self.b.0,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    parallelism,
                );
            }
        }
    };
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
                DType::F32 => self.f32(a.cast(), b.cast(), c.cast()),
                DType::F64 => self.f64(a.cast(), b.cast(), c.cast()),
                DType::I64 => self.integer::<i64>(a.cast(), b.cast(), c.cast()),
                DType::I32 => self.integer::<i32>(a.cast(), b.cast(), c.cast()),
                DType::U32 => self.integer::<u32>(a.cast(), b.cast(), c.cast()),
                _ => self.integer::<u8>(a.cast(), b.cast(), c),
            }
        }
    }

    gemm!(f32, f32, gemm_f32::gemm::f32::get_gemm_fn);
    gemm!(f64, f64, gemm_f64::gemm::f64::get_gemm_fn);

    /// Row by row: each element of A times a row of B, which the compiler vectorises.
    ///
    /// # Safety
    /// As for the floats.
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
