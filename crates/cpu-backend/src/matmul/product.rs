//! Products by the `gemm` crate, and of integers.

use gemm_common::Parallelism;

use crate::lanes::{Element, Lane};
#[cfg(not(target_arch = "wasm32"))]
use crate::parallel;

/// One product: sizes and strides (of rows and columns); C is dense.
pub(super) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: (isize, isize),
    pub b: (isize, isize),
    #[cfg_attr(target_arch = "wasm32", allow(dead_code))]
    pub threads: bool,
}

macro_rules! gemm {
    ($name:ident, $t:ty, $gemm:path) => {
        /// # Safety
        /// The matrices are readable, C is writable and overlaps neither.
        pub unsafe fn $name(&self, a: *const $t, b: *const $t, c: *mut $t) {
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
                    self.n as isize,
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
    gemm!(f32, f32, gemm_f32::gemm::f32::get_gemm_fn);
    gemm!(f64, f64, gemm_f64::gemm::f64::get_gemm_fn);

    /// Row by row: each element of A times a row of B, which the compiler vectorises.
    ///
    /// # Safety
    /// As for the floats.
    pub unsafe fn integer<E: Element>(&self, a: *const E, b: *const E, c: *mut E) {
        let rows = |i: usize| {
            // SAFETY: the caller's promise.
            let row = unsafe { std::slice::from_raw_parts_mut(c.add(i * self.n), self.n) };
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
