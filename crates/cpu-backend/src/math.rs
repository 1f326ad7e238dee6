//! Branch-free single-precision functions that vectorise.
//!
//! Where single precision suffices (`exp`, `tanh`, `sigmoid`, `erf`, `gelu`) everything is `f32`;
//! the others compute in `f64` lanes, which costs two vector instructions for one and gives
//! results that are almost always correctly rounded. `FMA` says whether the instruction set has a
//! fused multiply-add; no function needs it to be exact.

/// `sqrt(2 / pi)`.
pub(crate) const GELU_LINEAR: f64 = 0.797_884_560_802_865_4;
/// `0.044715 sqrt(2 / pi)`.
pub(crate) const GELU_CUBIC: f64 = 0.035_677_408_136_300_125;

/// Beyond this the sine and its kin reduce their operand by a slower, exact method.
pub(crate) const HUGE_ANGLE: f32 = 1.0e6;

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

/// The polynomial with these coefficients, highest first.
#[inline(always)]
fn poly64<const FMA: bool, const N: usize>(x: f64, c: [f64; N]) -> f64 {
    let mut sum = c[0];
    let mut i = 1;
    while i < N {
        sum = madd64::<FMA>(sum, x, c[i]);
        i += 1;
    }
    sum
}

/// Adding `1.5 * 2^23` rounds to an integer, which then stands in the low bits.
const ROUNDER: f32 = 12_582_912.0;
/// The same for `f64`: `1.5 * 2^52`.
const ROUNDER64: f64 = 6_755_399_441_055_744.0;

/// `e^(hi + lo)` for a small `lo`, from -104 (0) to 89 (infinity); NaN stays NaN.
///
/// `e^x = 2^k e^r`, `k = round(x / ln 2)`; ln 2 is split so that `k` times its first part is
/// exact. The polynomial is that of Cephes' `expf` (S. Moshier,
/// <https://www.netlib.org/cephes/>). 2^k is applied in two halves, because k reaches -150 and
/// 128, so subnormal results and overflow come out right.
#[inline(always)]
fn exp_parts<const FMA: bool>(hi: f32, lo: f32) -> f32 {
    let hi = if hi > 89.0 { 89.0 } else { hi };
    let hi = if hi < -104.0 { -104.0 } else { hi };
    let t = madd::<FMA>(hi + lo, std::f32::consts::LOG2_E, ROUNDER);
    let k = t - ROUNDER;
    let r = madd::<FMA>(k, -0.693_359_375, hi);
    let r = madd::<FMA>(k, 2.121_944_4e-4, r) + lo;
    let p = poly::<FMA, 6>(
        r,
        [
            1.987_569_1e-4,
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_5e-1,
            5.000_000_1e-1,
        ],
    );
    let y = madd::<FMA>(p, r * r, r) + 1.0;
    let k = (t.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
    let half = k >> 1;
    let rest = k.wrapping_sub(half);
    let power = |k: i32| f32::from_bits((k.wrapping_add(127) as u32) << 23);
    y * power(half) * power(rest)
}

/// `e^x`.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    exp_parts::<FMA>(x, 0.0)
}

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
    let x = if x > limit { limit } else { x };
    if x < -limit { -limit } else { x }
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

/// `ln(1 + x)` for finite `x > -1`.
#[inline(always)]
fn log1p64<const FMA: bool>(x: f64) -> f64 {
    // Below 1e-4 the sum 1 + x would lose digits and three terms of the series suffice.
    let small = x * madd64::<FMA>(x, madd64::<FMA>(x, 1.0 / 3.0, -0.5), 1.0);
    let large = ln64::<FMA>(1.0 + x);
    if x.abs() < 1e-4 { small } else { large }
}

/// `e^x - 1`.
#[inline(always)]
pub(crate) fn expm1<const FMA: bool>(x: f32) -> f32 {
    let (r, power) = reduce64::<FMA>(limit64(f64::from(x), 200.0));
    // For k = 0 the second part is exactly 0, so small results keep their precision and sign.
    let y = expm1_series::<FMA>(r) * power + (power - 1.0);
    if x == 0.0 { x } else { y as f32 }
}

/// The natural logarithm.
#[inline(always)]
pub(crate) fn ln<const FMA: bool>(x: f32) -> f32 {
    let y = ln64::<FMA>(f64::from(x)) as f32;
    let pole = if x == 0.0 {
        f32::NEG_INFINITY
    } else {
        f32::NAN
    };
    let edge = if x == f32::INFINITY { x } else { pole };
    if (x > 0.0) & (x < f32::INFINITY) {
        y
    } else {
        edge
    }
}

/// `ln(1 + x)`.
#[inline(always)]
pub(crate) fn log1p<const FMA: bool>(x: f32) -> f32 {
    let y = log1p64::<FMA>(f64::from(x)) as f32;
    let pole = if x == -1.0 {
        f32::NEG_INFINITY
    } else {
        f32::NAN
    };
    let edge = if x == f32::INFINITY { x } else { pole };
    if (x > -1.0) & (x < f32::INFINITY) {
        y
    } else {
        edge
    }
}

/// Sine and cosine of `x` minus the nearest multiple `n` of pi/2, and `n` in the low bits.
///
/// Exact up to 2^20 pi/2: the first part of pi/2 has 33 bits (fdlibm's e_rem_pio2.c). The
/// polynomials are those of FreeBSD's k_sinf.c and k_cosf.c, good to 2^-34.
#[inline(always)]
fn sin_cos<const FMA: bool>(x: f32) -> (f64, f64, u64) {
    let x = f64::from(x);
    let t = madd64::<FMA>(x, std::f64::consts::FRAC_2_PI, ROUNDER64);
    let n = t - ROUNDER64;
    let r = madd64::<FMA>(-n, 1.570_796_310_901_641_8, x);
    let r = madd64::<FMA>(-n, 1.589_325_477_352_819_6e-8, r);
    let z = r * r;
    let sin = poly64::<FMA, 5>(
        z,
        [
            2.718_311_493_989_822e-6,
            -1.983_933_483_609_663e-4,
            8.333_329_385_889_463e-3,
            -1.666_666_664_162_652_4e-1,
            1.0,
        ],
    );
    let cos = poly64::<FMA, 5>(
        z,
        [
            2.439_044_879_627_741e-5,
            -1.388_676_377_460_993e-3,
            4.166_662_332_373_906e-2,
            -4.999_999_972_510_31e-1,
            1.0,
        ],
    );
    (r * sin, cos, t.to_bits())
}

/// The sine of `quadrant * pi/2` plus an angle.
#[inline(always)]
fn turn(sin: f64, cos: f64, quadrant: u64) -> f32 {
    let y = if quadrant & 1 == 0 { sin } else { cos };
    f64::from_bits(y.to_bits() ^ ((quadrant & 2) << 62)) as f32
}

/// The sine, for `|x| <=` [`HUGE_ANGLE`].
#[inline(always)]
pub(crate) fn sin<const FMA: bool>(x: f32) -> f32 {
    let (sin, cos, quadrant) = sin_cos::<FMA>(x);
    turn(sin, cos, quadrant)
}

/// The cosine, for `|x| <=` [`HUGE_ANGLE`].
#[inline(always)]
pub(crate) fn cos<const FMA: bool>(x: f32) -> f32 {
    let (sin, cos, quadrant) = sin_cos::<FMA>(x);
    turn(sin, cos, quadrant.wrapping_add(1))
}

/// The tangent, for `|x| <=` [`HUGE_ANGLE`].
#[inline(always)]
pub(crate) fn tan<const FMA: bool>(x: f32) -> f32 {
    let (sin, cos, quadrant) = sin_cos::<FMA>(x);
    let odd = quadrant & 1 == 1;
    let (top, bottom) = if odd { (-cos, sin) } else { (sin, cos) };
    (top / bottom) as f32
}

/// The hyperbolic tangent: Cephes' `tanhf` polynomial below 0.625, `1 - 2 / (e^2x + 1)` above.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let y = x.abs();
    let z = x * x;
    let p = poly::<FMA, 5>(
        z,
        [
            -5.704_988_7e-3,
            2.063_908_9e-2,
            -5.373_971_6e-2,
            1.333_144_2e-1,
            -3.333_328_2e-1,
        ],
    );
    let small = madd::<FMA>(p * z, x, x);
    let large = 1.0 - 2.0 / (exp::<FMA>(2.0 * y) + 1.0);
    let y = if y < 0.625 { small } else { large.copysign(x) };
    // The square of a subnormal number is 0, and its sum with -0 would lose the sign.
    if x == 0.0 { x } else { y }
}

/// `1 / (1 + e^-x)`. e^-|x| cannot overflow, so small results keep their precision.
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    let e = exp::<FMA>(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
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
    let large = (1.0 - exp::<FMA>(r)).copysign(x);
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
    if t > 0.927_734_4 { large } else { small }
}

/// `x Phi(x)`, Phi the standard normal distribution.
///
/// `Phi(-y) = e^(-y^2/2) h(y)` for `y >= 0`, and `h(y) = t P(t)` with `t = 1 / (1 + 0.3 y)`, P
/// of degree 9 interpolating at the Chebyshev nodes of `0 <= y <= 14.5` (relative error 5e-9). y
/// is split so that its square is exact. Nothing cancels, so the tail keeps its precision.
#[inline(always)]
pub(crate) fn gelu<const FMA: bool>(x: f32) -> f32 {
    let y = x.abs();
    let y = if y > 20.0 { 20.0 } else { y };
    let head = f32::from_bits(y.to_bits() & 0xFFFF_F000);
    let e = exp_parts::<FMA>(-0.5 * head * head, -0.5 * (y - head) * (y + head));
    let t = 1.0 / madd::<FMA>(y, 0.3, 1.0);
    let p = poly::<FMA, 10>(
        t,
        [
            -0.020_956_024,
            0.114_257_45,
            -0.232_524_41,
            0.197_550_58,
            -0.084_213_48,
            0.098_711_38,
            0.077_517_9,
            0.110_418_41,
            0.119_550_43,
            0.119_687_75,
        ],
    );
    let tail = x * (t * p) * e;
    let y = if x < 0.0 { tail } else { x - tail };
    // Beyond the point where Phi is 0 in f32; -inf * 0 would be NaN. +inf - inf likewise.
    let y = if x < -20.0 { -0.0 } else { y };
    if x > 20.0 { x } else { y }
}

/// The tanh approximation of [`gelu`]: `x (1 + tanh u) / 2 = x sigmoid(2 u)`.
#[inline(always)]
pub(crate) fn gelu_tanh<const FMA: bool>(x: f32) -> f32 {
    let w = f64::from(x);
    let u = w * madd64::<FMA>(w * w, GELU_CUBIC, GELU_LINEAR);
    let e = exp64::<FMA>(-(2.0 * u).abs());
    let y = (w * (if u < 0.0 { e } else { 1.0 } / (1.0 + e))) as f32;
    if x < -50.0 { -0.0 } else { y }
}

/// `ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)`.
#[inline(always)]
pub(crate) fn softplus<const FMA: bool>(x: f32) -> f32 {
    let w = f64::from(x);
    let positive = if x <= 0.0 { 0.0 } else { w };
    (positive + log1p64::<FMA>(exp64::<FMA>(-w.abs()))) as f32
}

/// `a^b` with the special values of IEEE 754's `pow`: `e^(b ln |a|)` in `f64`, negative for a
/// negative `a` and an odd `b`.
#[inline(always)]
#[allow(clippy::eq_op)] // x != x is the branch-free test for NaN
pub(crate) fn pow<const FMA: bool>(a: f32, b: f32) -> f32 {
    let size = a.abs();
    let log = ln64::<FMA>(f64::from(size));
    let log = if size == 0.0 { f64::NEG_INFINITY } else { log };
    let log = if size < f32::INFINITY {
        log
    } else {
        f64::from(size)
    };
    let y = exp64::<FMA>(f64::from(b) * log) as f32;
    // 1^(+-inf) is 1, also for -1.
    let y = if (size == 1.0) & (b.abs() == f32::INFINITY) {
        1.0
    } else {
        y
    };
    let integer = b == b.floor();
    let half = 0.5 * b;
    let odd = integer & (half != half.floor());
    let negative = odd & (a.to_bits() >> 31 == 1);
    let y = if negative { -y } else { y };
    let undefined = (a < 0.0) & (size < f32::INFINITY) & !integer & (b == b);
    let y = if undefined { f32::NAN } else { y };
    if (b == 0.0) | (a == 1.0) { 1.0 } else { y }
}
