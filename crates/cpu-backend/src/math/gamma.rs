//! The gamma function's logarithm and its derivatives, in double precision.

use std::f64::consts::PI;

/// From here on the asymptotic series serve.
const FAR: f64 = 12.0;

/// `ln |Gamma(x)|`: Stirling's series behind the recurrence `Gamma(x + 1) = x Gamma(x)`, and
/// `Gamma(x) Gamma(-x) = -pi / (x sin(pi x))` below 0 (NIST DLMF 5.11.1, 5.5.1, 5.5.3).
pub(crate) fn lgamma(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x <= 0.0 {
        if x == x.floor() {
            return f64::INFINITY;
        }
        let y = -x;
        let sine = (PI * (y - y.round())).sin().abs();
        return (PI / sine).ln() - y.ln() - lgamma(y);
    }
    if x.is_infinite() {
        return x;
    }
    let (mut z, mut product) = (x, 1.0);
    while z < FAR {
        product *= z;
        z += 1.0;
    }
    let t = 1.0 / (z * z);
    let series = [
        1.0 / 156.0,
        -691.0 / 360_360.0,
        1.0 / 1188.0,
        -1.0 / 1680.0,
        1.0 / 1260.0,
        -1.0 / 360.0,
        1.0 / 12.0,
    ];
    let rest = series.iter().fold(0.0, |sum, c| sum * t + c) / z;
    // ln sqrt(2 pi)
    (z - 0.5) * z.ln() - z + 0.918_938_533_204_672_7 + rest - product.ln()
}

/// The derivative of [`lgamma`] (NIST DLMF 5.11.2, 5.5.2, 5.5.4).
pub(crate) fn digamma(x: f64) -> f64 {
    if x == 0.0 {
        return f64::INFINITY.copysign(-x);
    }
    if x < 0.0 {
        if x == x.floor() {
            return f64::NAN;
        }
        let fraction = x - x.round();
        return digamma(1.0 - x) - PI / (PI * fraction).tan();
    }
    if x.is_infinite() {
        return x;
    }
    let (mut z, mut sum) = (x, 0.0);
    while z < FAR {
        sum += 1.0 / z;
        z += 1.0;
    }
    let t = 1.0 / (z * z);
    let series = [
        1.0 / 12.0,
        -691.0 / 32_760.0,
        1.0 / 132.0,
        -1.0 / 240.0,
        1.0 / 252.0,
        -1.0 / 120.0,
        1.0 / 12.0,
    ];
    let rest = series.iter().fold(0.0, |sum, c| sum * t + c) * t;
    z.ln() - 0.5 / z - rest - sum
}

/// Hurwitz' zeta function, the sum of `(q + k)^-s` over all k from 0. Infinite at `s = 1` and where `q` is 0 or a
/// negative integer; NaN for `s` below 1, and for other `s` than integers at negative `q`.
pub(crate) fn zeta(s: f64, q: f64) -> f64 {
    if s.is_nan() || q.is_nan() || s < 1.0 {
        return f64::NAN;
    }
    if s == 1.0 {
        return f64::INFINITY;
    }
    if q > 0.0 {
        return zeta_of_positive(s, q);
    }
    if q == q.floor() {
        return f64::INFINITY;
    }
    if s != s.floor() || s.is_infinite() {
        return f64::NAN;
    }
    // The terms above 0 are those of the fraction, those below a finite part of its complement's.
    let fraction = q - q.floor();
    let below = zeta_of_positive(s, q.ceil() - q) - zeta_of_positive(s, 1.0 - q);
    let sign = if s % 2.0 == 0.0 { 1.0 } else { -1.0 };
    zeta_of_positive(s, fraction) + sign * below
}

/// Some terms, and the others by Euler and Maclaurin's formula (NIST DLMF 25.11.5 and 2.10.1), whose coefficients are
/// Bernoulli's numbers by factorials, B_2k / (2k)!.
fn zeta_of_positive(s: f64, q: f64) -> f64 {
    const TERMS: u32 = 12;
    const COEFFICIENTS: [f64; 8] = [
        1.0 / 12.0,
        -1.0 / 720.0,
        1.0 / 30_240.0,
        -1.0 / 1_209_600.0,
        1.0 / 47_900_160.0,
        -691.0 / 1_307_674_368_000.0,
        1.0 / 74_724_249_600.0,
        -3617.0 / 10_670_622_842_880_000.0,
    ];
    if q.is_infinite() {
        return 0.0;
    }
    let mut sum = 0.0;
    for k in 0..TERMS {
        sum += (q + f64::from(k)).powf(-s);
    }
    let a = q + f64::from(TERMS);
    let power = a.powf(-s);
    sum += a.powf(1.0 - s) / (s - 1.0) + 0.5 * power;
    if power == 0.0 {
        return sum;
    }
    let (mut factor, mut n) = (power * s / a, s);
    for c in COEFFICIENTS {
        sum += c * factor;
        factor *= (n + 1.0) * (n + 2.0) / (a * a);
        n += 2.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against values of mpmath 1.3 to 17 digits.
    #[test]
    fn known_values() {
        let near = |got: f64, want: f64| {
            let error = (got - want).abs() / want.abs().max(1.0);
            assert!(error < 2e-14, "{got} for {want}");
        };
        near(lgamma(0.5), 0.572_364_942_924_700_1);
        near(lgamma(1.0), 0.0);
        near(lgamma(1e-10), 23.025_850_929_882_735);
        near(lgamma(100.0), 359.134_205_369_575_4);
        near(lgamma(-0.5), 1.265_512_123_484_645_4);
        near(digamma(1.0), -0.577_215_664_901_532_9);
        near(digamma(0.5), -1.963_510_026_021_423_5);
        near(digamma(-0.5), 0.036_489_973_978_576_52);
        near(zeta(2.0, 1.0), PI * PI / 6.0);
        near(zeta(4.0, 1.0), PI.powi(4) / 90.0);
        near(zeta(2.0, 0.5), PI * PI / 2.0);
    }

    #[test]
    fn recurrences_hold_on_both_sides_of_zero() {
        for i in -4000..4000 {
            let x = f64::from(i) * 0.013_713_7 + 0.001_234_5;
            let near = |a: f64, b: f64| {
                assert!((a - b).abs() <= 1e-11 * a.abs().max(1.0), "{x}: {a} {b}");
            };
            near(lgamma(x + 1.0), lgamma(x) + x.abs().ln());
            near(digamma(x + 1.0), digamma(x) + 1.0 / x);
            for s in [2.0, 3.0, 6.0] {
                near(zeta(s, x), zeta(s, x + 1.0) + x.powf(-s));
            }
        }
    }
}
