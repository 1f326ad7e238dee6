//! The exponential function and what is made of it.

use super::{ln, madd, madd64, pick, poly, poly64};

/// `sqrt(2 / pi)`.
pub(crate) const GELU_LINEAR: f64 = 0.797_884_560_802_865_4;
/// `0.044715 sqrt(2 / pi)`.
pub(crate) const GELU_CUBIC: f64 = 0.035_677_408_136_300_125;

/// `1.5 * 2^23 + BIAS`. A sum with it is rounded to an integer, which then stands in the low bits,
/// plus the bias: shifted into place, they are the exponent of a power of 2.
const fn rounder(bias: u32) -> f32 {
    12_582_912.0 + bias as f32
}

/// `x = k ln 2 + r`, `|r| <= ln 2 / 2`: `r`, and `rounder(BIAS) + k`.
///
/// ln 2 is split so that the product of `k` and its first part is exact (Cephes' `expf`,
/// S. Moshier, <https://www.netlib.org/cephes/>). `lo` is a small part of `x` that one float
/// would not hold.
#[inline(always)]
fn reduce<const FMA: bool, const BIAS: u32>(hi: f32) -> (f32, f32) {
    let t = madd::<FMA>(hi, std::f32::consts::LOG2_E, rounder(BIAS));
    let k = t - rounder(BIAS);
    let r = madd::<FMA>(k, -0.693_359_375, hi);
    (madd::<FMA>(k, 2.121_944_4e-4, r), t)
}

/// `(e^r - 1 - r) / r^2` for `|r| <= ln 2 / 2`, a minimax polynomial: with it `e^r` is off by a
/// relative 3e-9.
#[inline(always)]
fn exp_tail<const FMA: bool>(r: f32) -> f32 {
    poly::<FMA, 5>(
        r,
        [
            1.395_085_2e-3,
            8.369_096e-3,
            4.166_62e-2,
            1.666_651_7e-1,
            0.5,
        ],
    )
}

/// `e^r` for `|r| <= ln 2 / 2`.
#[inline(always)]
fn exp_reduced<const FMA: bool>(r: f32) -> f32 {
    poly::<FMA, 3>(r, [exp_tail::<FMA>(r), 1.0, 1.0])
}

/// `e^r - 1` for `|r| <= ln 2 / 2`.
#[inline(always)]
fn expm1_reduced<const FMA: bool>(r: f32) -> f32 {
    madd::<FMA>(exp_tail::<FMA>(r), r * r, r)
}

/// 2^k in one factor, where `t = rounder(BIAS) + k`: 2^(k + BIAS - 127).
#[inline(always)]
fn power(t: f32) -> f32 {
    f32::from_bits(t.to_bits() << 23)
}

/// 2^k as two factors, where `t = rounder(254) + k`: k reaches -150 and 128, and with two products
/// subnormal results and overflow come out right.
#[inline(always)]
fn powers(t: f32) -> (f32, f32) {
    let bits = t.to_bits();
    let half = bits >> 1;
    let rest = bits.wrapping_sub(half);
    (f32::from_bits(half << 23), f32::from_bits(rest << 23))
}

/// `e^x` for `x <= 0`.
#[inline(always)]
pub(super) fn exp_of_negative<const FMA: bool>(x: f32) -> f32 {
    let x = if x < -104.0 { -104.0 } else { x };
    let (r, t) = reduce::<FMA, 254>(x);
    let (first, second) = powers(t);
    exp_reduced::<FMA>(r) * first * second
}

/// `e^(hi + lo)` for a small `lo` and sums from -150 to 0: `m + 1` times two powers of 2.
#[inline(always)]
fn exp_of_parts<const FMA: bool>(hi: f32, lo: f32) -> (f32, (f32, f32)) {
    let t = madd::<FMA>(hi + lo, std::f32::consts::LOG2_E, rounder(254));
    let k = t - rounder(254);
    let r = madd::<FMA>(k, -0.693_359_375, hi);
    let r = madd::<FMA>(k, 2.121_944_4e-4, r) + lo;
    (expm1_reduced::<FMA>(r), powers(t))
}

/// `e^x`.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    let x = if x > 89.0 { 89.0 } else { x };
    exp_of_negative::<FMA>(x)
}

/// `2^x`: what is left of `x` beyond a whole number is exact.
#[inline(always)]
pub(crate) fn exp2<const FMA: bool>(x: f32) -> f32 {
    let x = if x > 129.0 { 129.0 } else { x };
    let x = if x < -151.0 { -151.0 } else { x };
    let t = x + rounder(254);
    let r = (x - (t - rounder(254))) * std::f32::consts::LN_2;
    let (first, second) = powers(t);
    exp_reduced::<FMA>(r) * first * second
}

/// `e^x - 1 = 2^k (e^r - 1) + (2^k - 1)`. For k = 0 the second part is exactly 0, so small results
/// keep their precision. All is halved until the end, because 2^128 would be infinite.
#[inline(always)]
pub(crate) fn expm1<const FMA: bool>(x: f32) -> f32 {
    let limited = if x > 89.0 { 89.0 } else { x };
    let limited = if limited < -20.0 { -20.0 } else { limited };
    let (r, t) = reduce::<FMA, 126>(limited);
    let half = power(t);
    let y = 2.0 * madd::<FMA>(expm1_reduced::<FMA>(r), half, half - 0.5);
    pick(x == 0.0, x, y)
}

/// `e^x - 1` for `-80 <= x <= 0`, and what its last step lost in rounding.
#[inline(always)]
fn expm1_of_negative<const FMA: bool>(x: f32) -> (f32, f32) {
    let (r, t) = reduce::<FMA, 127>(x);
    let power = power(t);
    let m = expm1_reduced::<FMA>(r);
    let y = madd::<FMA>(m, power, power - 1.0);
    (y, madd::<FMA>(m, power, power - 1.0 - y))
}

/// `(a + a_lost) / (b + b_lost)` for `1 <= b <= 2`, rounded about once: one step of Newton's method
/// with the chord of `1 / b`.
#[inline(always)]
fn quotient<const FMA: bool>(a: f32, a_lost: f32, b: f32, b_lost: f32) -> f32 {
    let y = a / b;
    let rest = madd::<FMA>(-y, b, a) + madd::<FMA>(-y, b_lost, a_lost);
    madd::<FMA>(rest, madd::<FMA>(b, -0.5, 1.5), y)
}

/// The hyperbolic tangent, `-d / (2 + d)` with `d = e^(-2 |x|) - 1`, where nothing cancels.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let u = -2.0 * x.abs();
    let u = if u < -20.0 { -20.0 } else { u };
    let (d, d_lost) = expm1_of_negative::<FMA>(u);
    let sum = 2.0 + d;
    let sum_lost = d - (sum - 2.0) + d_lost;
    quotient::<FMA>(d, d_lost, sum, sum_lost).copysign(x)
}

/// `1 / (1 + e^-x)`. e^-|x| cannot overflow, so small results keep their precision.
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    let e = exp_of_negative::<FMA>(-x.abs());
    let sum = 1.0 + e;
    quotient::<FMA>(pick(x < 0.0, e, 1.0), 0.0, sum, e - (sum - 1.0))
}

/// The error function, by N. Juffa's two-piece approximation
/// (<https://stackoverflow.com/a/35148199>): an odd polynomial near 0, and `1 - e^r` with a
/// polynomial r above 0.927734375.
#[inline(always)]
pub(crate) fn erf<const FMA: bool>(x: f32) -> f32 {
    let t = x.abs();
    // erf(4) rounds to 1; the limit keeps infinities out of the polynomial.
    let t = if t > 4.0 { 4.0 } else { t };
    let s = t * t;
    let r = madd::<FMA>(-1.728_534_7e-5, t, 3.831_972e-4);
    let u = madd::<FMA>(-3.883_964_4e-3, t, 2.425_462_2e-2);
    let r = madd::<FMA>(r, s, u);
    let r = poly::<FMA, 4>(t, [r, -1.067_778_8e-1, -6.348_466_9e-1, -1.287_175_1e-1]);
    let r = madd::<FMA>(r, t, -t);
    let large = expm1_of_negative::<FMA>(r).0.copysign(x);
    let p = poly::<FMA, 6>(
        s,
        [
            -5.967_617e-4,
            4.991_194_2e-3,
            -2.676_813_5e-2,
            1.128_199_25e-1,
            -3.761_253_4e-1,
            1.283_791_7e-1,
        ],
    );
    let small = madd::<FMA>(p, x, x);
    pick(t > 0.927_734_4, large, small)
}

/// `P` of [`gelu`].
const TAIL: [f64; 10] = [
    -0.020_956_024_24,
    0.114_257_453,
    -0.232_524_407_3,
    0.197_550_584_6,
    -0.084_213_481_52,
    0.098_711_382_35,
    0.077_517_901_08,
    0.110_418_411_1,
    0.119_550_431_5,
    0.119_687_747_7,
];

/// `x Phi(x)`, Phi the standard normal distribution.
///
/// `Phi(-y) = e^(-y^2/2) h(y)` for `y >= 0`, and `h(y) = t P(t)` with `t = 1 / (1 + 0.3 y)`, P
/// of degree 9 interpolating at the Chebyshev nodes of `0 <= y <= 14.5` (relative error 5e-9). y
/// is split so that its square is exact. Nothing cancels, so the tail keeps its precision.
#[inline(always)]
pub(crate) fn gelu<const FMA: bool>(x: f32) -> f32 {
    let y = x.abs();
    // From here on the tail is 0.
    let y = if y > 14.5 { 14.5 } else { y };
    let head = f32::from_bits(y.to_bits() & 0xFFFF_F000);
    let (m, (first, second)) =
        exp_of_parts::<FMA>(-0.5 * head * head, -0.5 * (y - head) * (y + head));
    // t and P in f64: their rounding errors in f32 would add up to 6 ULP. One step of Newton's
    // method refines the f32 quotient, which costs less than an f64 division.
    let rough = f64::from(1.0 / madd::<FMA>(y, 0.3, 1.0));
    let w = f64::from(y);
    let d = madd64::<FMA>(w, 0.3, 1.0);
    let t = rough * madd64::<FMA>(-d, rough, 2.0);
    let p = poly64::<FMA, 10>(t, TAIL);
    let h = (w * t * p) as f32;
    let tail = madd::<FMA>(h, m, h) * first * second;
    pick(x < 0.0, -0.0, x) - tail
}

/// `1 - erf(x)`. As in [`gelu`] `erfc(y) = 2 Phi(-sqrt(2) y)` for `y >= 0`, where nothing cancels.
#[inline(always)]
pub(crate) fn erfc<const FMA: bool>(x: f32) -> f32 {
    let y = x.abs();
    // From here on it is 0.
    let y = if y > 10.25 { 10.25 } else { y };
    let head = f32::from_bits(y.to_bits() & 0xFFFF_F000);
    let (m, (first, second)) = exp_of_parts::<FMA>(-head * head, -(y - head) * (y + head));
    let w = f64::from(y) * std::f64::consts::SQRT_2;
    let t = 1.0 / madd64::<FMA>(w, 0.3, 1.0);
    let h = (2.0 * t * poly64::<FMA, 10>(t, TAIL)) as f32;
    let tail = madd::<FMA>(h, m, h) * first * second;
    pick(x < 0.0, 2.0 - tail, tail)
}

/// The inverse of the error function (M. Giles, "Approximating the erfinv function", GPU Computing Gems 2, 2011):
/// `x P(w)` with `w = -ln(1 - x^2)`.
#[inline(always)]
pub(crate) fn erfinv<const FMA: bool>(x: f32) -> f32 {
    let w = -ln::<FMA>((1.0 - x) * (1.0 + x));
    let near = poly::<FMA, 9>(
        w - 2.5,
        [
            2.810_226_4e-8,
            3.432_739_4e-7,
            -3.523_387_7e-6,
            -4.391_506_5e-6,
            2.185_808_7e-4,
            -1.253_725e-3,
            -4.177_681_6e-3,
            2.466_407_3e-1,
            1.501_409_4,
        ],
    );
    let far = poly::<FMA, 9>(
        w.sqrt() - 3.0,
        [
            -2.002_142_6e-4,
            1.009_505_6e-4,
            1.349_343_2e-3,
            -3.673_428_4e-3,
            5.739_507_7e-3,
            -7.622_461_3e-3,
            9.438_870_5e-3,
            1.001_674_1,
            2.832_976_8,
        ],
    );
    let y = pick(w < 5.0, near, far) * x;
    pick(x.abs() == 1.0, f32::INFINITY.copysign(x), y)
}

/// The tanh approximation of [`gelu`]: `x (1 + tanh u) / 2 = x sigmoid(2 u)`. The exponent needs
/// more digits than an `f32` has.
#[inline(always)]
pub(crate) fn gelu_tanh<const FMA: bool>(x: f32) -> f32 {
    // Beyond 12 the exponential is 0.
    let limited = if x < -12.0 { -12.0 } else { x };
    let limited = if limited > 12.0 { 12.0 } else { limited };
    let w = f64::from(limited);
    let u = w * madd64::<FMA>(w * w, -2.0 * GELU_CUBIC, -2.0 * GELU_LINEAR);
    let u = -u.abs();
    let hi = u as f32;
    let (m, (first, second)) = exp_of_parts::<FMA>(hi, (u - f64::from(hi)) as f32);
    let e = (m + 1.0) * first * second;
    let sum = 1.0 + e;
    // x e^u is scaled last: e^u alone may be subnormal.
    let tail = madd::<FMA>(limited, m, limited) * first * second;
    let y = quotient::<FMA>(pick(x < 0.0, tail, x), 0.0, sum, e - (sum - 1.0));
    // inf - inf * 0 would be NaN, and the sum of zeros has lost its sign.
    pick((x > 12.0) | (x == 0.0), x, y.copysign(x))
}
