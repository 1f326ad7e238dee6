//! The inverses of the angle functions, and the sine in half turns.

use std::f32::consts::{FRAC_PI_2, FRAC_PI_4, PI};

use super::{madd, pick, poly, sin};

/// What `FRAC_PI_2` and `FRAC_PI_4` lack.
const FRAC_PI_2_LOW: f32 = -4.371_138_8e-8;
const FRAC_PI_4_LOW: f32 = -2.185_569_4e-8;

/// The arc tangent for `|x| <= tan(pi/8)` (Cephes' atanf.c, S. Moshier).
#[inline(always)]
fn atan_small<const FMA: bool>(x: f32) -> f32 {
    let z = x * x;
    let p = poly::<FMA, 4>(
        z,
        [
            8.053_744_5e-2,
            -1.387_768_6e-1,
            1.997_771_1e-1,
            -3.333_295e-1,
        ],
    );
    madd::<FMA>(p * z, x, x)
}

/// The angle whose tangent is `x`: beyond tan(3 pi/8) that of `-1 / x` and a quarter turn, beyond tan(pi/8) that of
/// `(x - 1) / (x + 1)` and an eighth.
#[inline(always)]
pub(crate) fn atan<const FMA: bool>(x: f32) -> f32 {
    let t = x.abs();
    let (far, middle) = (t > 2.414_213_6, t > 0.414_213_57);
    let u = pick(far, -1.0 / t, pick(middle, (t - 1.0) / (t + 1.0), t));
    let base = pick(far, FRAC_PI_2, pick(middle, FRAC_PI_4, 0.0));
    let low = pick(far, FRAC_PI_2_LOW, pick(middle, FRAC_PI_4_LOW, 0.0));
    (base + (atan_small::<FMA>(u) + low)).copysign(x)
}

/// The angle of the point `(x, y)`.
#[inline(always)]
#[allow(clippy::eq_op)] // x != x is the branch-free test for NaN
pub(crate) fn atan2<const FMA: bool>(y: f32, x: f32) -> f32 {
    let (a, b) = (x.abs(), y.abs());
    let steep = b > a;
    let (top, bottom) = pick(steep, (a, b), (b, a));
    // Also of two infinities and of two zeros.
    let ratio = pick(top == bottom, 1.0, top / bottom);
    let ratio = pick(bottom == 0.0, 0.0, ratio);
    let middle = ratio > 0.414_213_57;
    let u = pick(middle, (ratio - 1.0) / (ratio + 1.0), ratio);
    let base = pick(middle, FRAC_PI_4, 0.0);
    let low = pick(middle, FRAC_PI_4_LOW, 0.0);
    let angle = base + (atan_small::<FMA>(u) + low);
    let angle = pick(steep, FRAC_PI_2 - (angle - FRAC_PI_2_LOW), angle);
    let behind = x.is_sign_negative();
    let angle = pick(behind, PI - (angle - 2.0 * FRAC_PI_2_LOW), angle);
    pick((x != x) | (y != y), x + y, angle.copysign(y))
}

/// The arc sine of `|x|` (Cephes' asinf.c): below 1/2 by a polynomial, else by that of `sqrt((1 - x) / 2)`, of which
/// it is half the complement. What is returned is that of the smaller number, and whether it was taken.
#[inline(always)]
fn asin_parts<const FMA: bool>(t: f32) -> (f32, bool) {
    let far = t > 0.5;
    let z = pick(far, 0.5 * (1.0 - t), t * t);
    let s = pick(far, z.sqrt(), t);
    let p = poly::<FMA, 5>(
        z,
        [
            4.216_32e-2,
            2.418_131_1e-2,
            4.547_002_6e-2,
            7.495_300_3e-2,
            1.666_675_2e-1,
        ],
    );
    (madd::<FMA>(p * z, s, s), far)
}

/// The angle whose sine is `x`.
#[inline(always)]
pub(crate) fn asin<const FMA: bool>(x: f32) -> f32 {
    let (y, far) = asin_parts::<FMA>(x.abs());
    pick(far, FRAC_PI_2 - (2.0 * y - FRAC_PI_2_LOW), y).copysign(x)
}

/// The angle whose cosine is `x`.
#[inline(always)]
pub(crate) fn acos<const FMA: bool>(x: f32) -> f32 {
    let (y, far) = asin_parts::<FMA>(x.abs());
    let twice = 2.0 * y;
    let far_angle = pick(x < 0.0, PI - (twice - 2.0 * FRAC_PI_2_LOW), twice);
    let near_angle = FRAC_PI_2 - (y.copysign(x) - FRAC_PI_2_LOW);
    pick(far, far_angle, near_angle)
}

/// `sin(pi x) / (pi x)`: what is beyond the nearest whole number is exact.
#[inline(always)]
pub(crate) fn sinc<const FMA: bool>(x: f32) -> f32 {
    let whole = x.round_ties_even();
    let sine = sin::<FMA>(PI * (x - whole));
    let odd = (whole * 0.5).round_ties_even() != whole * 0.5;
    pick(x == 0.0, 1.0, pick(odd, -sine, sine) / (PI * x))
}
