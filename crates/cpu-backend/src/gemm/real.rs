//! The elements of products, and vectors of them.

use std::ops::Range;

use pulp::{MemMask, Simd};

use crate::lanes::FloatElement;
use crate::loops::fused;

/// `f32` or `f64`.
pub(crate) trait Real: FloatElement + std::ops::AddAssign {
    type Vector<S: Simd>: Copy;
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    fn add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a * b + c`, in one rounding where the instruction set has that.
    fn multiply_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    fn sum<S: Simd>(simd: S, a: Self::Vector<S>) -> Self;
    /// Elements `lanes` of the vector at `at`; the others are 0.
    ///
    /// # Safety
    /// They are readable.
    unsafe fn load_lanes<S: Simd>(simd: S, at: *const Self, lanes: Range<usize>)
    -> Self::Vector<S>;
    /// Stores elements `lanes` of a vector at `at`.
    ///
    /// # Safety
    /// They are writable.
    unsafe fn store_lanes<S: Simd>(simd: S, at: *mut Self, lanes: Range<usize>, x: Self::Vector<S>);
    /// The first `count` elements from `at` on; the others are 0.
    ///
    /// # Safety
    /// They are readable.
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, at: *const Self, count: usize) -> Self::Vector<S> {
        // SAFETY: the caller's promise.
        unsafe { Self::load_lanes(simd, at, 0..count) }
    }
    /// Stores the first `count` elements.
    ///
    /// # Safety
    /// They are writable at `at`.
    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, at: *mut Self, count: usize, x: Self::Vector<S>) {
        // SAFETY: the caller's promise.
        unsafe { Self::store_lanes(simd, at, 0..count, x) }
    }
    /// `a * b + c` for a single element, rounded as in vectors.
    fn multiply_add_one<S: Simd>(a: Self, b: Self, c: Self) -> Self;
}

/// Elements of a vector.
pub(super) const fn lanes<S: Simd, T: Real>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}

macro_rules! real {
    ($t:ty, $vector:ident, $bits:ty, $splat:ident, $add:ident, $mul:ident, $mul_add:ident, $sum:ident,
     $between:ident, $load:ident, $store:ident) => {
        impl Real for $t {
            type Vector<S: Simd> = S::$vector;
            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: $t) -> S::$vector {
                simd.$splat(x)
            }
            #[inline(always)]
            fn add<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn multiply_add<S: Simd>(
                simd: S,
                a: S::$vector,
                b: S::$vector,
                c: S::$vector,
            ) -> S::$vector {
                match fused::<S>() {
                    true => simd.$mul_add(a, b, c),
                    false => simd.$add(simd.$mul(a, b), c),
                }
            }
            #[inline(always)]
            fn sum<S: Simd>(simd: S, a: S::$vector) -> $t {
                simd.$sum(a)
            }
            #[inline(always)]
            unsafe fn load_lanes<S: Simd>(
                simd: S,
                at: *const $t,
                lanes: Range<usize>,
            ) -> S::$vector {
                let mask = simd.$between(lanes.start as $bits, lanes.end as $bits);
                let mask = MemMask::new(mask.mask());
                // SAFETY: the caller's promise.
                unsafe { simd.$load(mask, at) }
            }
            #[inline(always)]
            unsafe fn store_lanes<S: Simd>(
                simd: S,
                at: *mut $t,
                lanes: Range<usize>,
                x: S::$vector,
            ) {
                let mask = simd.$between(lanes.start as $bits, lanes.end as $bits);
                let mask = MemMask::new(mask.mask());
                // SAFETY: the caller's promise.
                unsafe { simd.$store(mask, at, x) }
            }
            #[inline(always)]
            fn multiply_add_one<S: Simd>(a: $t, b: $t, c: $t) -> $t {
                match fused::<S>() {
                    true => a.mul_add(b, c),
                    false => a * b + c,
                }
            }
        }
    };
}
real!(
    f32,
    f32s,
    u32,
    splat_f32s,
    add_f32s,
    mul_f32s,
    mul_add_f32s,
    reduce_sum_f32s,
    mask_between_m32s,
    mask_load_ptr_f32s,
    mask_store_ptr_f32s
);
real!(
    f64,
    f64s,
    u64,
    splat_f64s,
    add_f64s,
    mul_f64s,
    mul_add_f64s,
    reduce_sum_f64s,
    mask_between_m64s,
    mask_load_ptr_f64s,
    mask_store_ptr_f64s
);
