//! Branch-free single-precision functions that vectorise.
//!
//! `exp`, `ln` and their kin are `f32` throughout, except where an intermediate result needs more
//! digits; angles and powers compute in `f64` lanes, which costs two vector instructions for one.
//! `FMA` says whether the instruction set has a fused multiply-add; no function needs it to be
//! exact.
//!
//! Largest errors in ULP over all 2^32 floats, with FMA (`WGRAD_FLOATS=all`, see `tests`): exp 0.91, expm1 1.57,
//! ln 0.86, log1p 1.51, tanh 1.50, sigmoid 1.48, erf 0.99, softplus 1.94, gelu 1.85, gelu_tanh 2.24,
//! erfc 1.91, erfinv 3.76. Of the inverses and their kin, over all floats of the sizes where errors vary (2^-6 to 2^6 and
//! wider): atan 2.30, asin 2.36, acos 1.12, sinh and cosh 2.79, asinh 1.87, acosh 2.02, atanh 2.15, exp2 0.92, log2 1.66
//! (2.23 without FMA), log10 2.66, logit 1.79, sinc 3.08.
//! Without FMA, over every 11th float from 2^-14 to 2^7 and every 101st of the others: exp 1.2, expm1 1.7,
//! ln 1.1, log1p 1.7, tanh 2.0, sigmoid 2.0, erf 1.2, softplus 2.0, gelu 2.1, gelu_tanh 2.6. The
//! functions of `f64` lanes: 1.0.

#![allow(clippy::excessive_precision)] // the digits are the sources'

mod angle;
pub(crate) mod double;
mod exponential;
pub(crate) mod gamma;
mod hyperbolic;
mod inverse;
mod logarithm;
mod power;
#[cfg(test)]
mod tests;

pub(crate) use angle::{HUGE_ANGLE, cos, sin, tan};
pub(crate) use exponential::{GELU_CUBIC, GELU_LINEAR};
pub(crate) use exponential::{erf, erfc, erfinv, exp, exp2, expm1, gelu, gelu_tanh, sigmoid, tanh};
pub(crate) use hyperbolic::{
    acosh, asinh, atanh, cosh, hypot, logaddexp, logaddexp2, logit, sinh, xlogy,
};
pub(crate) use inverse::{acos, asin, atan, atan2, sinc};
pub(crate) use logarithm::{ln, log1p, log2, log10, softplus};
pub(crate) use power::pow;

/// `a` where `yes`, else `b`, both computed. An `if` would let the compiler move the computation of
/// `a` behind a branch, and a loop with a branch does not vectorise.
#[inline(always)]
fn pick<T>(yes: bool, a: T, b: T) -> T {
    std::hint::select_unpredictable(yes, a, b)
}

/// `a b + c`.
#[inline(always)]
fn madd<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `a b + c`.
#[inline(always)]
fn madd64<const FMA: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The polynomial with these coefficients, highest first.
#[inline(always)]
fn poly<const FMA: bool, const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut sum = c[0];
    let mut i = 1;
    while i < N {
        sum = madd::<FMA>(sum, x, c[i]);
        i += 1;
    }
    sum
}

/// The polynomial with these coefficients, highest first, as two interleaved ones of `x^2`: a
/// chain of `N` dependent steps would keep the processor waiting.
#[inline(always)]
fn poly64<const FMA: bool, const N: usize>(x: f64, c: [f64; N]) -> f64 {
    let z = x * x;
    let (mut a, mut b) = (c[0], c[1]);
    let mut i = 2;
    while i + 1 < N {
        a = madd64::<FMA>(a, z, c[i]);
        b = madd64::<FMA>(b, z, c[i + 1]);
        i += 2;
    }
    if i < N {
        madd64::<FMA>(b, x, madd64::<FMA>(a, z, c[i]))
    } else {
        madd64::<FMA>(a, x, b)
    }
}

/// Adding `1.5 * 2^52` rounds to an integer, which then stands in the low bits.
const ROUNDER64: f64 = 6_755_399_441_055_744.0;
