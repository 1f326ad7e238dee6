//! Sine, cosine and tangent, in `f64` lanes.

use super::{ROUNDER64, madd64, pick, poly64};

/// Beyond this the sine and its kin reduce their operand by a slower, exact method.
pub(crate) const HUGE_ANGLE: f32 = 1.0e6;

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
    let y = pick(quadrant & 1 == 0, sin, cos);
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
    let (top, bottom) = pick(odd, (-cos, sin), (sin, cos));
    (top / bottom) as f32
}
