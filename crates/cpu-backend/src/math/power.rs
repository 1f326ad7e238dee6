//! Powers: logarithm and exponential in `f64` lanes, whose errors a large exponent does not blow up
//! beyond a unit of the `f32` result.

use super::{ROUNDER64, madd64, pick, poly64};

/// `k` and `r` with `x = k ln 2 + r`, and 2^k. `|x| <= 400`.
#[inline(always)]
fn reduce64<const FMA: bool>(x: f64) -> (f64, f64) {
    let t = madd64::<FMA>(x, std::f64::consts::LOG2_E, ROUNDER64);
    let k = t - ROUNDER64;
    // The two parts of ln 2 of fdlibm's e_exp.c.
    let r = madd64::<FMA>(k, -6.931_471_803_691_238e-1, x);
    let r = madd64::<FMA>(k, -1.908_214_929_270_587_7e-10, r);
    let k = t.to_bits().wrapping_sub(ROUNDER64.to_bits());
    (r, f64::from_bits(k.wrapping_add(1023) << 52))
}

/// `e^r - 1` for `|r| <= ln 2 / 2`: Taylor's series to r^10, an error below 1e-12.
#[inline(always)]
fn expm1_series<const FMA: bool>(r: f64) -> f64 {
    let p = poly64::<FMA, 9>(
        r,
        [
            1.0 / 3_628_800.0,
            1.0 / 362_880.0,
            1.0 / 40_320.0,
            1.0 / 5_040.0,
            1.0 / 720.0,
            1.0 / 120.0,
            1.0 / 24.0,
            1.0 / 6.0,
            0.5,
        ],
    );
    madd64::<FMA>(p, r * r, r)
}

/// Limits `x` to `-limit..=limit`; NaN stays NaN.
#[inline(always)]
fn limit64(x: f64, limit: f64) -> f64 {
    let x = pick(x > limit, limit, x);
    pick(x < -limit, -limit, x)
}

/// `e^x` to about 1e-12; beyond 200 a number that is infinite (or 0) as `f32`.
#[inline(always)]
fn exp64<const FMA: bool>(x: f64) -> f64 {
    let (r, power) = reduce64::<FMA>(limit64(x, 200.0));
    madd64::<FMA>(expm1_series::<FMA>(r), power, power)
}

/// `ln x` for positive, normal, finite `x`, about 1e-15: `x = 2^k (1 + f)`,
/// `sqrt(1/2) <= 1 + f < sqrt 2`, `s = f / (2 + f)`, then fdlibm's e_log.c.
#[inline(always)]
fn ln64<const FMA: bool>(x: f64) -> f64 {
    const SQRT_HALF: u64 = 0x3FE6_A09E_667F_3BCD;
    const TOP: u64 = 0xFFF0_0000_0000_0000;
    let bits = x.to_bits();
    let above = bits.wrapping_sub(SQRT_HALF);
    // The exponent as the low bits of a float of the size 2^52 (there is no vector conversion
    // from 64-bit integers before AVX-512).
    let biased = above.wrapping_add(1023 << 52) >> 52;
    let k = f64::from_bits(0x4330_0000_0000_0000 | biased) - (4_503_599_627_370_496.0 + 1023.0);
    let f = f64::from_bits(bits.wrapping_sub(above & TOP)) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * poly64::<FMA, 7>(
        z,
        [
            1.479_819_860_511_658_6e-1,
            1.531_383_769_920_937_3e-1,
            1.818_357_216_161_805e-1,
            2.222_219_843_214_978_4e-1,
            2.857_142_874_366_239e-1,
            3.999_999_999_940_942e-1,
            6.666_666_666_666_735e-1,
        ],
    );
    let half = 0.5 * f * f;
    madd64::<FMA>(k, std::f64::consts::LN_2, f - (half - s * (half + r)))
}

/// `a^b` with the special values of IEEE 754's `pow`: `e^(b ln |a|)` in `f64`, negative for a
/// negative `a` and an odd `b`.
#[inline(always)]
#[allow(clippy::eq_op)] // x != x is the branch-free test for NaN
pub(crate) fn pow<const FMA: bool>(a: f32, b: f32) -> f32 {
    let size = a.abs();
    let log = ln64::<FMA>(f64::from(size));
    let log = pick(size == 0.0, f64::NEG_INFINITY, log);
    let log = pick(size < f32::INFINITY, log, f64::from(size));
    let y = exp64::<FMA>(f64::from(b) * log) as f32;
    // 1^(+-inf) is 1, also for -1.
    let y = pick((size == 1.0) & (b.abs() == f32::INFINITY), 1.0, y);
    let integer = b == b.floor();
    let half = 0.5 * b;
    let odd = integer & (half != half.floor());
    let negative = odd & (a.to_bits() >> 31 == 1);
    let y = pick(negative, -y, y);
    let undefined = (a < 0.0) & (size < f32::INFINITY) & !integer & (b == b);
    let y = pick(undefined, f32::NAN, y);
    pick((b == 0.0) | (a == 1.0), 1.0, y)
}
