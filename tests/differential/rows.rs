//! The elementwise functions of one operand whose intervals are known (the table's others are compared in
//! tests/golden.rs and in the backends' tests): wgrad's method, the mathematics in f64, and how the
//! function bends, which says what becomes of an interval.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2, PI};
use std::fmt;

use wgrad::{DType, Tensor};

use super::number::{Num, Rules};

/// How a function bends.
#[derive(Clone, Copy, PartialEq)]
pub enum Curve {
    /// It rises or falls everywhere: ends go to ends.
    Monotone,
    /// It falls to 0 and rises from there.
    Valley,
    /// Sine and cosine: steps of at most the operand's.
    Wave,
    /// The tangent, which rises between its poles.
    Poles,
    /// Rises, but for a dip whose slope is above -0.13 and nowhere above 1.13.
    Dip,
}

pub struct Unary {
    pub name: &'static str,
    pub tensor: fn(&Tensor) -> Tensor,
    float: fn(f64) -> f64,
    /// For those that leave integers integers.
    pub int: Option<fn(i128) -> i128>,
    curve: Curve,
    /// Permitted error of the implementation, in units in the last place; times as many on shaders.
    ulps: f64,
}

impl fmt::Debug for Unary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! rows {
    ($($name:ident $float:expr, $int:expr, $curve:ident $ulps:literal;)*) => {
        pub static UNARY: &[Unary] = &[$(Unary {
            name: stringify!($name),
            tensor: Tensor::$name,
            float: $float,
            int: $int,
            curve: Curve::$curve,
            ulps: $ulps,
        }),*];
    };
}
rows! {
    neg |x| -x, Some(|x| -x), Monotone 0.0;
    abs f64::abs, Some(i128::abs), Valley 0.0;
    sign |x| if x.is_nan() || x == 0.0 { x } else { x.signum() }, Some(i128::signum), Monotone 0.0;
    sqr |x| x * x, Some(|x| x * x), Valley 0.0;
    relu |x| if x.is_nan() || x == 0.0 { x } else { x.max(0.0) }, Some(|x| x.max(0)), Monotone 0.0;
    floor f64::floor, Some(|x| x), Monotone 0.0;
    ceil f64::ceil, Some(|x| x), Monotone 0.0;
    round f64::round_ties_even, Some(|x| x), Monotone 0.0;
    recip |x| 1.0 / x, None, Monotone 1.0;
    sqrt f64::sqrt, None, Monotone 1.0;
    rsqrt |x| 1.0 / x.sqrt(), None, Monotone 2.0;
    exp f64::exp, None, Monotone 4.0;
    expm1 f64::exp_m1, None, Monotone 6.0;
    ln f64::ln, None, Monotone 4.0;
    log1p f64::ln_1p, None, Monotone 6.0;
    sin f64::sin, None, Wave 4.0;
    cos f64::cos, None, Wave 4.0;
    tan f64::tan, None, Poles 8.0;
    tanh f64::tanh, None, Monotone 8.0;
    sigmoid |x| 1.0 / (1.0 + (-x).exp()), None, Monotone 8.0;
    gelu |x| x * 0.5 * erfc(-x * FRAC_1_SQRT_2), None, Dip 8.0;
    gelu_tanh |x| 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()), None, Dip 8.0;
    silu |x| x / (1.0 + (-x).exp()), None, Dip 8.0;
    softplus |x| if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }, None, Monotone 8.0;
    erf erf, None, Monotone 8.0;
    erfc erfc, None, Monotone 16.0;
    trunc f64::trunc, Some(|x| x), Monotone 0.0;
    exp2 f64::exp2, None, Monotone 6.0;
    log2 f64::log2, None, Monotone 6.0;
    log10 f64::log10, None, Monotone 6.0;
    asin f64::asin, None, Monotone 8.0;
    acos f64::acos, None, Monotone 8.0;
    atan f64::atan, None, Monotone 8.0;
    sinh f64::sinh, None, Monotone 8.0;
    asinh |x| if x.abs() < 1e8 { x.asinh() } else { (x.abs().ln() + LN_2).copysign(x) }, None, Monotone 8.0;
    atanh f64::atanh, None, Monotone 8.0;
}

/// The error function by a series of positive terms.
fn erf_series(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..100 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    sum * (-x * x).exp() * 2.0 / PI.sqrt()
}

fn erf(x: f64) -> f64 {
    if x.abs() < 2.5 {
        erf_series(x)
    } else {
        1.0 - erfc(x)
    }
}

/// `1 - erf(x)`; a continued fraction where the difference would cancel.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 1.0 || x.is_nan() {
        return 1.0 - erf_series(x);
    }
    let tail = (1..500)
        .rev()
        .fold(0.0, |tail, n| f64::from(n) / 2.0 / (x + tail));
    // The square of a number of few digits is exact; the rest of the exponent is small.
    let near = (x * 16.0).trunc() / 16.0;
    let bell = match x.is_finite() {
        true => (-near * near).exp() * (-(x - near) * (x + near)).exp(),
        false => 0.0,
    };
    bell / (x + tail) / PI.sqrt()
}

impl Unary {
    pub fn named(name: &str) -> &'static Unary {
        UNARY
            .iter()
            .find(|row| row.name == name)
            .expect("a row of the table")
    }

    /// The function of a loaded operand, in `dtype`'s compute type.
    pub fn apply(&self, x: Num, dtype: DType, rules: Rules) -> Num {
        let Num::Float(lo, hi) = x else {
            return Num::Unknown;
        };
        let f = self.float;
        let (a, b, width) = (f(lo), f(hi), hi - lo);
        let y = match self.curve {
            // The limit at -inf is -0; the formulas give NaN there, as torch's do.
            Curve::Dip if lo == f64::NEG_INFINITY => Num::Unknown,
            _ if lo == hi || lo.is_nan() => Num::hull(&[a, b]),
            // Rising functions of an interval that begins at -0: 1 / x has another kind there.
            Curve::Monotone if self.name.contains("recip") && lo <= 0.0 && hi >= 0.0 => {
                Num::Unknown
            }
            Curve::Monotone => Num::hull(&[a, b]),
            Curve::Valley if lo < 0.0 && hi > 0.0 => Num::hull(&[a, b, 0.0]),
            Curve::Valley => Num::hull(&[a, b]),
            Curve::Wave => {
                let (mid, off) = (f((lo + hi) / 2.0), width / 2.0);
                Num::hull(&[(mid - off).max(-1.0), (mid + off).min(1.0)])
            }
            Curve::Poles if ((lo / PI) - 0.5).floor() != ((hi / PI) - 0.5).floor() => Num::Unknown,
            Curve::Poles => Num::hull(&[a, b]),
            Curve::Dip => Num::hull(&[a.min(b) - 0.13 * width, a.max(b) + 0.13 * width]),
        };
        let ulps = self.ulps * if rules.shader { 4.0 } else { 1.0 };
        let y = y.computed(dtype, ulps, rules);
        // Their tails are differences from 1: precise to the last place of the operand.
        match (self.curve, y) {
            (Curve::Dip, Num::Float(lo, hi)) if lo.is_finite() => {
                let eps = if dtype == DType::F64 {
                    f64::EPSILON
                } else {
                    f64::from(f32::EPSILON)
                };
                let off = ulps * eps * x.magnitude().min(1.0);
                Num::hull(&[lo - off, hi + off])
            }
            _ => y,
        }
    }
}
