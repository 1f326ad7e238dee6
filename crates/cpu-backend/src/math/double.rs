//! Functions of double precision that the standard library lacks, or has otherwise.

use std::f64::consts::{LN_2, LOG2_E, PI};

/// `ln(x + sqrt(x^2 + 1))`, without overflow.
pub(crate) fn asinh(x: f64) -> f64 {
    let t = x.abs();
    let y = if t > 1e8 {
        t.ln() + LN_2
    } else {
        (t + t * t / (1.0 + (t * t + 1.0).sqrt())).ln_1p()
    };
    y.copysign(x)
}

/// `ln(x + sqrt(x^2 - 1))`, precise near 1 and without overflow.
pub(crate) fn acosh(x: f64) -> f64 {
    let t = x - 1.0;
    if x < 1.0 {
        f64::NAN
    } else if x > 1e8 {
        x.ln() + LN_2
    } else {
        (t + (2.0 * t + t * t).sqrt()).ln_1p()
    }
}

/// `ln((1 + x) / (1 - x)) / 2`.
pub(crate) fn atanh(x: f64) -> f64 {
    let t = x.abs();
    (0.5 * (2.0 * t / (1.0 - t)).ln_1p()).copysign(x)
}

/// `sin(pi x) / (pi x)`.
pub(crate) fn sinc(x: f64) -> f64 {
    let whole = x.round_ties_even();
    let sine = (PI * (x - whole)).sin();
    let odd = (whole * 0.5).round_ties_even() != whole * 0.5;
    if x == 0.0 {
        1.0
    } else {
        (if odd { -sine } else { sine }) / (PI * x)
    }
}

/// `ln(x / (1 - x))`, precise around 1/2.
pub(crate) fn logit(x: f64) -> f64 {
    // Of zeros the positive one.
    let x = x + 0.0;
    if x >= 0.5 {
        ((2.0 * x - 1.0) / (1.0 - x)).ln_1p()
    } else if x < 0.1 {
        x.ln() - (-x).ln_1p()
    } else {
        -((1.0 - 2.0 * x) / x).ln_1p()
    }
}

/// `a ln(b)`, 0 for `a = 0`.
pub(crate) fn xlogy(a: f64, b: f64) -> f64 {
    if a == 0.0 && !b.is_nan() {
        0.0
    } else {
        a * b.ln()
    }
}

/// The larger of two numbers, NaN if either is, and minus their distance.
fn larger(a: f64, b: f64) -> (f64, f64) {
    let more = if a > b || a.is_nan() { a } else { b };
    (more, if a == b { 0.0 } else { -(a - b).abs() })
}

/// `ln(e^a + e^b)`.
pub(crate) fn logaddexp(a: f64, b: f64) -> f64 {
    let (more, distance) = larger(a, b);
    more + distance.exp().ln_1p()
}

/// `log2(2^a + 2^b)`.
pub(crate) fn logaddexp2(a: f64, b: f64) -> f64 {
    let (more, distance) = larger(a, b);
    more + distance.exp2().ln_1p() * LOG2_E
}

/// The inverse of the error function (M. Giles, "Approximating the erfinv function", GPU Computing Gems 2, 2011):
/// `x P(w)` with `w = -ln(1 - x^2)`.
#[allow(clippy::excessive_precision)] // the digits are the source's
pub(crate) fn erfinv(x: f64) -> f64 {
    fn poly<const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
        coefficients.iter().fold(0.0, |sum, c| sum * x + c)
    }
    if x.abs() == 1.0 {
        return f64::INFINITY.copysign(x);
    }
    let w = -((1.0 - x) * (1.0 + x)).ln();
    let p = if w < 6.25 {
        poly(
            w - 3.125,
            [
                -3.644_412_064_017_819_699_6e-21,
                -1.685_059_138_182_016_589e-19,
                1.285_848_071_525_640_016_7e-18,
                1.115_787_767_802_518_096e-17,
                -1.333_171_662_854_620_906e-16,
                2.097_276_787_596_856_163_7e-17,
                6.637_638_134_358_323_832_5e-15,
                -4.054_566_272_975_206_863_9e-14,
                -8.151_934_197_605_472_152_2e-14,
                2.633_509_315_308_232_297_7e-12,
                -1.297_513_325_345_353_249_8e-11,
                -5.415_412_054_294_627_931_7e-11,
                1.051_212_273_321_532_285e-9,
                -4.112_633_980_346_983_697_6e-9,
                -2.907_036_995_788_200_508_6e-8,
                4.234_787_782_793_240_351_8e-7,
                -1.365_469_200_083_467_864_5e-6,
                -1.388_252_336_278_646_871_9e-5,
                1.867_342_080_340_571_352e-4,
                -7.407_025_341_662_669_751_2e-4,
                -6.033_670_871_430_149_053_3e-3,
                2.401_581_824_255_896_169_3e-1,
                1.653_654_562_683_102_735_6,
            ],
        )
    } else if w < 16.0 {
        poly(
            w.sqrt() - 3.25,
            [
                2.213_737_692_177_578_704_9e-9,
                9.075_656_193_888_539_097_9e-8,
                -2.751_740_629_706_454_542_8e-7,
                1.823_962_921_438_922_775_5e-8,
                1.502_740_396_890_982_762_7e-6,
                -4.013_867_526_981_545_969e-6,
                2.923_444_908_995_544_604_4e-6,
                1.247_530_448_167_177_872_3e-5,
                -4.731_822_900_905_573_398_1e-5,
                6.828_485_145_957_317_544_8e-5,
                2.403_111_038_709_789_399_9e-5,
                -3.550_375_203_628_474_796e-4,
                9.532_893_797_373_804_970_3e-4,
                -1.688_275_556_023_504_731_3e-3,
                2.491_442_096_107_850_806_6e-3,
                -3.751_208_507_569_241_107e-3,
                5.370_914_553_590_063_617e-3,
                1.005_258_967_694_159_233_4,
                3.083_885_610_492_220_763_5,
            ],
        )
    } else {
        poly(
            w.sqrt() - 5.0,
            [
                -2.710_992_061_643_857_324_3e-11,
                -2.555_641_816_996_525_205_5e-10,
                1.507_657_269_355_054_808_3e-9,
                -3.789_465_440_126_736_993_7e-9,
                7.615_701_208_078_339_380_4e-9,
                -1.496_002_662_714_924_047_8e-8,
                2.914_795_345_090_108_082_6e-8,
                -6.771_199_775_845_233_949_8e-8,
                2.290_048_222_802_665_471_7e-7,
                -9.929_827_294_231_700_253_9e-7,
                4.526_062_597_223_153_703_9e-6,
                -1.968_177_810_553_167_056_7e-5,
                7.599_527_703_001_776_113_9e-5,
                -2.150_301_193_004_447_734_7e-4,
                -1.387_193_183_362_312_202_6e-4,
                1.010_300_464_864_534_397_7,
                4.849_906_401_408_584_422_1,
            ],
        )
    };
    p * x
}
