//! The error function and its complement in double precision.
//!
//! The piecewise rational approximations of fdlibm's `s_erf.c` (Sun Microsystems 1993, freely
//! granted; <https://www.netlib.org/fdlibm/s_erf.c>), good to about 1 ULP.

/// The value at x of the polynomial with these coefficients, lowest first.
#[inline(always)]
fn poly<const N: usize>(x: f64, coefficients: &[f64; N]) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

const ERX: f64 = 0.845_062_911_510_467_5;
/// erf on [0, 0.84375]: x + x P(x^2) / Q(x^2).
const PP: [f64; 5] = [
    1.283_791_670_955_125_585_61e-01,
    -3.250_421_072_470_014_993_70e-01,
    -2.848_174_957_559_851_047_66e-02,
    -5.770_270_296_489_441_591_57e-03,
    -2.376_301_665_665_016_260_84e-05,
];
const QQ: [f64; 6] = [
    1.0,
    3.979_172_239_591_553_528_19e-01,
    6.502_224_998_876_729_444_85e-02,
    5.081_306_281_875_765_627_76e-03,
    1.324_947_380_043_216_445_26e-04,
    -3.960_228_278_775_368_123_20e-06,
];
/// erf on [0.84375, 1.25]: ERX + P(|x| - 1) / Q(|x| - 1).
const PA: [f64; 7] = [
    -2.362_118_560_752_659_440_77e-03,
    4.148_561_186_837_483_316_66e-01,
    -3.722_078_760_357_013_238_47e-01,
    3.183_466_199_011_617_536_74e-01,
    -1.108_946_942_823_966_774_76e-01,
    3.547_830_432_561_823_593_71e-02,
    -2.166_375_594_868_790_843_00e-03,
];
const QA: [f64; 7] = [
    1.0,
    1.064_208_804_008_442_282_86e-01,
    5.403_979_177_021_710_489_37e-01,
    7.182_865_441_419_626_628_68e-02,
    1.261_712_198_087_616_421_12e-01,
    1.363_708_391_202_905_073_62e-02,
    1.198_449_984_679_910_741_70e-02,
];
/// erfc on [1.25, 1/0.35]: e^(-x^2 - 0.5625 + R/S) / x in 1/x^2.
const RA: [f64; 8] = [
    -9.864_944_034_847_148_227_05e-03,
    -6.938_585_727_071_817_643_72e-01,
    -1.055_862_622_532_329_098_14e+01,
    -6.237_533_245_032_600_603_96e+01,
    -1.623_966_694_625_734_703_55e+02,
    -1.846_050_929_067_110_359_94e+02,
    -8.128_743_550_630_659_342_46e+01,
    -9.814_329_344_169_145_485_92e+00,
];
const SA: [f64; 9] = [
    1.0,
    1.965_127_166_743_925_712_92e+01,
    1.376_577_541_435_190_426_00e+02,
    4.345_658_774_752_292_288_21e+02,
    6.453_872_717_332_678_803_36e+02,
    4.290_081_400_275_678_333_86e+02,
    1.086_350_055_417_794_351_34e+02,
    6.570_249_770_319_281_701_35e+00,
    -6.042_441_521_485_809_874_38e-02,
];
/// erfc on [1/0.35, 28].
const RB: [f64; 7] = [
    -9.864_942_924_700_099_285_97e-03,
    -7.992_832_376_805_230_065_74e-01,
    -1.775_795_491_775_475_198_89e+01,
    -1.606_363_848_558_219_160_62e+02,
    -6.375_664_433_683_896_277_22e+02,
    -1.025_095_131_611_077_249_54e+03,
    -4.835_191_916_086_513_970_19e+02,
];
const SB: [f64; 8] = [
    1.0,
    3.033_806_074_348_245_829_24e+01,
    3.257_925_129_965_739_188_26e+02,
    1.536_729_586_084_436_959_94e+03,
    3.199_858_219_508_595_539_08e+03,
    2.553_050_406_433_164_425_83e+03,
    4.745_285_412_069_553_672_15e+02,
    -2.244_095_244_658_581_833_62e+01,
];

/// `erfc(y)` for `y >= 1.25`.
fn tail(y: f64) -> f64 {
    if y > 28.0 {
        return 0.0;
    }
    let s = 1.0 / (y * y);
    let ratio = if y < 1.0 / 0.35 {
        poly(s, &RA) / poly(s, &SA)
    } else {
        poly(s, &RB) / poly(s, &SB)
    };
    // y^2 = z^2 + (y - z)(y + z), and z^2 is exact because z has few bits.
    let z = f64::from_bits(y.to_bits() & 0xFFFF_FFFF_0000_0000);
    (-z * z - 0.5625).exp() * ((z - y) * (z + y) + ratio).exp() / y
}

/// `erf(y)` for `0 <= y < 1.25` beyond the first interval, minus [`ERX`].
fn middle(y: f64) -> f64 {
    poly(y - 1.0, &PA) / poly(y - 1.0, &QA)
}

/// The error function.
pub(crate) fn erf(x: f64) -> f64 {
    let y = x.abs();
    if x.is_nan() {
        x
    } else if y < 0.84375 {
        x + x * (poly(x * x, &PP) / poly(x * x, &QQ))
    } else {
        let value = if y < 1.25 {
            ERX + middle(y)
        } else if y < 6.0 {
            1.0 - tail(y)
        } else {
            1.0
        };
        value.copysign(x)
    }
}

/// `1 - erf(x)` without cancellation.
pub(crate) fn erfc(x: f64) -> f64 {
    let y = x.abs();
    if x.is_nan() {
        x
    } else if y < 0.84375 {
        let ratio = poly(x * x, &PP) / poly(x * x, &QQ);
        if x < 0.25 {
            1.0 - (x + x * ratio)
        } else {
            0.5 - (x - 0.5 + x * ratio)
        }
    } else if y < 1.25 {
        if x >= 0.0 {
            1.0 - ERX - middle(y)
        } else {
            1.0 + (ERX + middle(y))
        }
    } else if x > 0.0 {
        tail(y)
    } else {
        2.0 - tail(y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `2/sqrt(pi) sum (-1)^n x^(2n+1) / (n! (2n+1))`, good for small x.
    fn series(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn follows_the_series_and_known_values() {
        for i in 0..=2500 {
            let x = f64::from(i) / 1000.0;
            let want = series(x);
            assert!((erf(x) - want).abs() <= 1e-13, "{x}: {} {want}", erf(x));
            assert!((erfc(x) - (1.0 - want)).abs() <= 1e-13, "{x}");
            assert_eq!(erf(-x), -erf(x));
            assert!((erfc(-x) - (2.0 - erfc(x))).abs() <= 4e-16);
        }
        // NIST DLMF table 7.23 and mpmath.
        for (x, want) in [
            (3.0, 2.209_049_699_858_544e-5),
            (5.0, 1.537_459_794_428_035e-12),
            (10.0, 2.088_487_583_762_545e-45),
            (20.0, 5.395_865_611_607_901e-176),
        ] {
            assert!((erfc(x) / want - 1.0).abs() < 1e-14, "{x}: {}", erfc(x));
        }
        assert_eq!(erf(f64::INFINITY), 1.0);
        assert_eq!(erfc(f64::NEG_INFINITY), 2.0);
        assert_eq!(erfc(f64::INFINITY), 0.0);
        assert!(erf(f64::NAN).is_nan() && erfc(f64::NAN).is_nan());
    }
}
