//! Hyperbolic functions and their inverses, and what is made of logarithms.

use std::f32::consts::{LN_2, LOG2_E};

use super::exponential::exp_of_negative;
use super::logarithm::log1p_finite;
use super::{exp, exp2, expm1, ln, log1p, madd, pick};

/// `(e^x - e^-x) / 2`: with `e = e^|x| - 1` it is `(e + e / (e + 1)) / 2`, where nothing cancels; large ones by the
/// square of `e^(|x| / 2)`, which does not overflow before they do.
#[inline(always)]
pub(crate) fn sinh<const FMA: bool>(x: f32) -> f32 {
    let t = x.abs();
    let e = expm1::<FMA>(if t > 40.0 { 40.0 } else { t });
    let near = 0.5 * (e + e / (e + 1.0));
    let root = exp::<FMA>(0.5 * t);
    pick(t > 40.0, 0.5 * root * root, near).copysign(x)
}

/// `(e^x + e^-x) / 2`.
#[inline(always)]
pub(crate) fn cosh<const FMA: bool>(x: f32) -> f32 {
    let t = x.abs();
    let e = exp::<FMA>(if t > 40.0 { 40.0 } else { t });
    let root = exp::<FMA>(0.5 * t);
    pick(t > 40.0, 0.5 * root * root, madd::<FMA>(0.5, e, 0.5 / e))
}

/// `ln(x + sqrt(x^2 + 1))` as `ln(1 + (x + x^2 / (1 + sqrt(x^2 + 1))))`; `ln(2 x)` for large ones.
#[inline(always)]
pub(crate) fn asinh<const FMA: bool>(x: f32) -> f32 {
    let t = x.abs();
    let u = if t > 1e4 { 1e4 } else { t };
    let square = u * u;
    let near = log1p::<FMA>(u + square / (1.0 + madd::<FMA>(u, u, 1.0).sqrt()));
    pick(t > 1e4, ln::<FMA>(t) + LN_2, near).copysign(x)
}

/// `ln(x + sqrt(x^2 - 1))` by `t = x - 1`: `ln(1 + (t + sqrt(2 t + t^2)))`.
#[inline(always)]
pub(crate) fn acosh<const FMA: bool>(x: f32) -> f32 {
    let t = pick(x < 1.0, f32::NAN, x) - 1.0;
    let near = log1p::<FMA>(t + madd::<FMA>(t, t, 2.0 * t).sqrt());
    pick(x > 1e4, ln::<FMA>(x) + LN_2, near)
}

/// `ln((1 + x) / (1 - x)) / 2` as `ln(1 + 2 x / (1 - x)) / 2`.
#[inline(always)]
pub(crate) fn atanh<const FMA: bool>(x: f32) -> f32 {
    let t = x.abs();
    (0.5 * log1p::<FMA>(2.0 * t / (1.0 - t))).copysign(x)
}

/// `ln(x / (1 - x))` as `ln(1 + (2 x - 1) / (1 - x))`, or minus that of `1 - x`: precise around 1/2. For small ones as
/// `ln(x) - ln(1 - x)`.
#[inline(always)]
pub(crate) fn logit<const FMA: bool>(x: f32) -> f32 {
    // Of zeros the positive one.
    let x = x + 0.0;
    let upper = x >= 0.5;
    let top = pick(upper, 2.0 * x - 1.0, 1.0 - 2.0 * x);
    let y = log1p::<FMA>(top / pick(upper, 1.0 - x, x));
    let small = ln::<FMA>(x) - log1p::<FMA>(-x);
    pick(upper, y, pick(x < 0.1, small, -y))
}

/// `sqrt(a^2 + b^2)` by the smaller's share of the larger.
#[inline(always)]
pub(crate) fn hypot<const FMA: bool>(a: f32, b: f32) -> f32 {
    let (a, b) = (a.abs(), b.abs());
    let (more, less) = pick(a < b, (b, a), (a, b));
    let share = less / more;
    let y = more * madd::<FMA>(share, share, 1.0).sqrt();
    let y = pick((more == 0.0) & (less == 0.0), 0.0, y);
    pick(
        (a == f32::INFINITY) | (b == f32::INFINITY),
        f32::INFINITY,
        y,
    )
}

/// `a ln(b)`, 0 for `a = 0`.
#[inline(always)]
#[allow(clippy::eq_op)] // b == b is the branch-free test for NaN
pub(crate) fn xlogy<const FMA: bool>(a: f32, b: f32) -> f32 {
    pick((a == 0.0) & (b == b), 0.0, a * ln::<FMA>(b))
}

/// The larger of two numbers, NaN if either is, and minus their distance: 0 of equal ones, infinities too.
#[inline(always)]
#[allow(clippy::eq_op)] // a != a is the branch-free test for NaN
fn larger(a: f32, b: f32) -> (f32, f32) {
    let more = pick((a > b) | (a != a), a, b);
    let distance = pick(a == b, 0.0, -(a - b).abs());
    (more, distance)
}

/// `ln(e^a + e^b)`.
#[inline(always)]
pub(crate) fn logaddexp<const FMA: bool>(a: f32, b: f32) -> f32 {
    let (more, distance) = larger(a, b);
    more + log1p_finite::<FMA>(exp_of_negative::<FMA>(distance))
}

/// `log2(2^a + 2^b)`.
#[inline(always)]
pub(crate) fn logaddexp2<const FMA: bool>(a: f32, b: f32) -> f32 {
    let (more, distance) = larger(a, b);
    let limited = if distance < -200.0 { -200.0 } else { distance };
    madd::<FMA>(log1p_finite::<FMA>(exp2::<FMA>(limited)), LOG2_E, more)
}
