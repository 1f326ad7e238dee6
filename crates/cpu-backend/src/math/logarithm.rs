//! Logarithms.

use super::exponential::exp_of_negative;
use super::{madd, pick, poly};

/// The bits of a float's exponent.
const EXPONENT: u32 = 0xFF80_0000;

/// The bits of 2/3. The exponent of a float's distance from it is the k of `2^k m` with m in
/// [2/3, 4/3).
const TWO_THIRDS: u32 = 0x3F2A_AAAB;

/// `ln(2^k (1 + f))` for `2/3 <= 1 + f < 4/3`: a polynomial by
/// N. Juffa (<https://stackoverflow.com/a/39822314>).
#[inline(always)]
fn ln_of_parts<const FMA: bool>(f: f32, k: f32) -> f32 {
    let s = f * f;
    let even = poly::<FMA, 4>(
        s,
        [-0.130_310_06, -0.121_483_51, -0.166_846_13, -0.249_996_2],
    );
    let odd = poly::<FMA, 3>(s, [0.140_869_14, 0.139_814_85, 0.200_120_35]);
    let p = madd::<FMA>(odd, f, even);
    let p = poly::<FMA, 3>(f, [p, 0.333_331_97, -0.5]);
    let y = madd::<FMA>(p, s, f);
    madd::<FMA>(k, std::f32::consts::LN_2, y)
}

/// `f` and `k` of `2^k (1 + f)`.
#[inline(always)]
fn parts<const FMA: bool>(x: f32) -> (f32, f32) {
    // Subnormal numbers are scaled first.
    let tiny = x < f32::MIN_POSITIVE;
    let bits = pick(tiny, x * 8_388_608.0, x).to_bits();
    let e = bits.wrapping_sub(TWO_THIRDS) & EXPONENT;
    let f = f32::from_bits(bits.wrapping_sub(e)) - 1.0;
    let k = madd::<FMA>(e as i32 as f32, 1.0 / 8_388_608.0, pick(tiny, -23.0, 0.0));
    (f, k)
}

/// A logarithm that is `y` within its range: infinities, and NaN below 0.
#[inline(always)]
fn edges(x: f32, y: f32) -> f32 {
    let pole = pick(x == 0.0, f32::NEG_INFINITY, f32::NAN);
    let edge = pick(x == f32::INFINITY, x, pole);
    pick((x > 0.0) & (x < f32::INFINITY), y, edge)
}

/// The natural logarithm.
#[inline(always)]
pub(crate) fn ln<const FMA: bool>(x: f32) -> f32 {
    let (f, k) = parts::<FMA>(x);
    edges(x, ln_of_parts::<FMA>(f, k))
}

/// The logarithm to base 2.
#[inline(always)]
pub(crate) fn log2<const FMA: bool>(x: f32) -> f32 {
    let (f, k) = parts::<FMA>(x);
    let y = ln_of_parts::<FMA>(f, 0.0);
    edges(x, madd::<FMA>(y, std::f32::consts::LOG2_E, k))
}

/// The logarithm to base 10; that of 2 in two parts, so that its product with `k` is exact (FreeBSD's e_log10f.c).
#[inline(always)]
pub(crate) fn log10<const FMA: bool>(x: f32) -> f32 {
    let (f, k) = parts::<FMA>(x);
    let y = ln_of_parts::<FMA>(f, 0.0) * std::f32::consts::LOG10_E;
    edges(
        x,
        madd::<FMA>(k, 3.010_292e-1, madd::<FMA>(k, 7.903_415_5e-7, y)),
    )
}

/// `ln(1 + x)` for finite `x > -1`.
///
/// `1 + x = 2^k (1 + f)`; `f` is put together from `x 2^-k` and `2^-k - 1`, which are exact, so
/// that nothing of a small `x` is lost.
#[inline(always)]
pub(super) fn log1p_finite<const FMA: bool>(x: f32) -> f32 {
    let e = (1.0 + x).to_bits().wrapping_sub(TWO_THIRDS) & EXPONENT;
    // x 2^-k by its exponent alone: k is 0 where x is 0 or subnormal.
    let scaled = f32::from_bits(x.to_bits().wrapping_sub(e));
    let four = f32::from_bits(4f32.to_bits().wrapping_sub(e));
    let f = scaled + madd::<FMA>(0.25, four, -1.0);
    ln_of_parts::<FMA>(f, e as i32 as f32 * (1.0 / 8_388_608.0))
}

/// `ln(1 + x)`.
#[inline(always)]
pub(crate) fn log1p<const FMA: bool>(x: f32) -> f32 {
    let y = log1p_finite::<FMA>(x);
    let pole = pick(x == -1.0, f32::NEG_INFINITY, f32::NAN);
    let edge = pick(x == f32::INFINITY, x, pole);
    let y = pick((x > -1.0) & (x < f32::INFINITY), y, edge);
    pick(x == 0.0, x, y)
}

/// `ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)`.
#[inline(always)]
pub(crate) fn softplus<const FMA: bool>(x: f32) -> f32 {
    let positive = pick(x <= 0.0, 0.0, x);
    positive + log1p_finite::<FMA>(exp_of_negative::<FMA>(-x.abs()))
}
