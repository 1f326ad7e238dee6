//! Definitions of the table's rows that the standard library lacks, in double precision and by other ways than the
//! kernels go: for the tests of both backends.

use std::f64::consts::{FRAC_2_SQRT_PI, PI};

/// The row called `name` of `a` and `b`; `None` for rows that are defined elsewhere.
pub fn reference(name: &str, a: f64, b: f64) -> Option<f64> {
    Some(match name {
        "erfc" => erfc(a),
        "erfinv" => erfinv(a),
        "lgamma" => lgamma(a),
        "digamma" => digamma(a),
        "exp2" => a.exp2(),
        "log2" => a.log2(),
        "log10" => a.log10(),
        "asin" => a.asin(),
        "acos" => a.acos(),
        "atan" => a.atan(),
        "sinh" => a.sinh(),
        "cosh" => a.cosh(),
        "asinh" if a.abs() > 1e10 => (a.abs().ln() + 2f64.ln()).copysign(a),
        "asinh" => a.asinh(),
        "acosh" if a > 1e10 => a.ln() + 2f64.ln(),
        "acosh" => a.acosh(),
        "atanh" => a.atanh(),
        "sinc" if a.is_nan() || a.is_infinite() => f64::NAN,
        "sinc" if a == 0.0 => 1.0,
        "sinc" => (PI * (a % 2.0)).sin() / (PI * a),
        "logit" => a.ln() - (-a).ln_1p(),
        "trunc" => a.trunc(),
        "atan2" => a.atan2(b),
        "hypot" => a.hypot(b),
        "copysign" => a.copysign(b),
        "xlogy" if a == 0.0 && !b.is_nan() => 0.0,
        "xlogy" => a * b.ln(),
        "logaddexp" | "logaddexp2" if a == b => {
            a + if name == "logaddexp" { 2f64.ln() } else { 1.0 }
        }
        "logaddexp" | "logaddexp2" if a.is_nan() || b.is_nan() => f64::NAN,
        "logaddexp" => a.max(b) + (-(a - b).abs()).exp().ln_1p(),
        "logaddexp2" => a.max(b) + (-(a - b).abs()).exp2().ln_1p() / 2f64.ln(),
        "fmod" => a % b,
        "remainder" => remainder(a, b),
        "floor_divide" => floor_divide(a, b),
        "div_trunc" => (a / b).trunc(),
        "zeta" => zeta(a, b),
        _ => return None,
    })
}

/// The row called `name` of integers; `None` for rows that are defined elsewhere.
pub fn integers(name: &str, a: i64, b: i64) -> Option<i64> {
    Some(match name {
        "trunc" => a,
        "fmod" | "remainder" | "floor_divide" | "div_trunc" if b == 0 => 0,
        "fmod" => a.wrapping_rem(b),
        "remainder" => {
            let least = a.wrapping_rem(b);
            if least != 0 && (least < 0) != (b < 0) {
                least + b
            } else {
                least
            }
        }
        "floor_divide" => {
            let exact = a.wrapping_rem(b) == 0;
            a.wrapping_div(b) - i64::from(!exact && (a < 0) != (b < 0))
        }
        "div_trunc" => a.wrapping_div(b),
        "bitwise_and" => a & b,
        "bitwise_or" => a | b,
        "bitwise_xor" => a ^ b,
        "gcd" => {
            let (mut x, mut y) = (a.unsigned_abs(), b.unsigned_abs());
            while y != 0 {
                (x, y) = (y, x % y);
            }
            x as i64
        }
        _ => return None,
    })
}

fn remainder(a: f64, b: f64) -> f64 {
    let rest = a % b;
    if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
        rest + b
    } else {
        rest
    }
}

fn floor_divide(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() || a.is_infinite() && b != 0.0 {
        f64::NAN
    } else if b.is_infinite() && a != 0.0 && (a < 0.0) != (b < 0.0) {
        -1.0
    } else {
        (a / b).floor()
    }
}

/// By the series below 2, by Laplace's continued fraction above.
fn erfc(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 1.0 - sum * FRAC_2_SQRT_PI;
    }
    let mut tail = x;
    for n in (1..200).rev() {
        tail = x + f64::from(n) / 2.0 / tail;
    }
    (-x * x).exp() / PI.sqrt() / tail
}

/// The root of erf(y) = x by bisection.
fn erfinv(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 1.0 {
        return f64::NAN;
    }
    if x.abs() == 1.0 {
        return f64::INFINITY.copysign(x);
    }
    if x.abs() < 1e-5 {
        return x * PI.sqrt() / 2.0;
    }
    let (mut lo, mut hi) = (0.0, 7.0);
    let want = 1.0 - x.abs();
    for _ in 0..100 {
        let middle = 0.5 * (lo + hi);
        if erfc(middle) > want {
            lo = middle;
        } else {
            hi = middle;
        }
    }
    (0.5 * (lo + hi)).copysign(x)
}

/// Where both series are precise.
const FAR: f64 = 40.0;

fn lgamma(x: f64) -> f64 {
    if x.is_nan() {
        x
    } else if x <= 0.0 && x == x.floor() || x.is_infinite() {
        f64::INFINITY
    } else if x < 0.0 {
        (PI / (PI * (x % 2.0)).sin().abs()).ln() - lgamma(1.0 - x)
    } else if x < FAR {
        lgamma(x + 1.0) - x.ln()
    } else {
        let t = 1.0 / (x * x);
        (x - 0.5) * x.ln() - x
            + 0.5 * (2.0 * PI).ln()
            + (1.0 / 12.0 - t * (1.0 / 360.0 - t * (1.0 / 1260.0 - t / 1680.0))) / x
    }
}

fn digamma(x: f64) -> f64 {
    if x == 0.0 {
        f64::INFINITY.copysign(-x)
    } else if x.is_nan() || x < 0.0 && x == x.floor() {
        f64::NAN
    } else if x < 0.0 {
        digamma(1.0 - x) - PI / (PI * (x % 1.0)).tan()
    } else if x < FAR {
        digamma(x + 1.0) - 1.0 / x
    } else {
        let t = 1.0 / (x * x);
        x.ln() - 0.5 / x - t * (1.0 / 12.0 - t * (1.0 / 120.0 - t * (1.0 / 252.0 - t / 240.0)))
    }
}

/// 200 terms, or more until they are above 0, and the first corrections of the integral of the others.
fn zeta(s: f64, q: f64) -> f64 {
    let whole = q <= 0.0 && q == q.floor();
    if s.is_nan() || q.is_nan() || s < 1.0 {
        return f64::NAN;
    }
    if s == 1.0 || whole {
        return f64::INFINITY;
    }
    if q < 0.0 && (s != s.floor() || s.is_infinite()) {
        return f64::NAN;
    }
    let (mut sum, mut a) = (0.0, q);
    for _ in 0..200 + (-q).max(0.0).ceil() as u64 {
        sum += a.powf(-s);
        a += 1.0;
    }
    let (power, integral) = (a.powf(-s), a.powf(1.0 - s) / (s - 1.0));
    if power == 0.0 {
        return sum + integral;
    }
    let third = s * (s + 1.0) * (s + 2.0) / (a * a * a);
    let fifth = third * (s + 3.0) * (s + 4.0) / (a * a);
    sum + integral + power * (0.5 + s / a / 12.0 - third / 720.0 + fifth / 30_240.0)
}
