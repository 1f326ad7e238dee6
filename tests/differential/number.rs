//! One element as the interpreter knows it: an exact integer, or the interval in which a float
//! that was computed in any permitted order, precision and fusion must lie.

use wgrad::DType;

/// What differs between devices in the meaning of a program.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether the device has `f64` and `i64`.
    pub wide: bool,
    /// Whether shaders compute: they may flush subnormal numbers, contract `a * b + c`, lose the
    /// sign of a zero and divide within 2.5 units in the last place.
    pub shader: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Num {
    /// An integer, or a bool as 0 or 1.
    Int(i128),
    /// A float between both ends, or the same infinity or NaN twice. `-0.0` and `0.0` are
    /// different ends, so that a zero whose sign is open is an interval.
    Float(f64, f64),
    /// Within the error bounds it could be on either side of a discontinuity.
    Unknown,
}
use Num::{Float, Int, Unknown};

impl Num {
    pub fn point(v: f64) -> Num {
        Float(v, v)
    }

    pub fn truth(v: Option<bool>) -> Num {
        v.map_or(Unknown, |v| Int(v.into()))
    }

    /// The largest absolute value, 0 of what is no finite float.
    pub fn magnitude(self) -> f64 {
        match self {
            Float(lo, hi) if lo.is_finite() => lo.abs().max(hi.abs()),
            _ => 0.0,
        }
    }

    /// The hull of what the ends became; unknown where they are of different kinds.
    pub fn hull(ends: &[f64]) -> Num {
        if ends.iter().all(|v| v.is_nan()) {
            return Num::point(f64::NAN);
        }
        let lo = ends
            .iter()
            .copied()
            .min_by(f64::total_cmp)
            .unwrap_or(f64::NAN);
        let hi = ends
            .iter()
            .copied()
            .max_by(f64::total_cmp)
            .unwrap_or(f64::NAN);
        let known = lo == hi || (lo.is_finite() && hi.is_finite());
        if ends.iter().any(|v| v.is_nan()) || !known {
            return Unknown;
        }
        Float(lo, hi)
    }

    pub fn is_nan(self) -> bool {
        matches!(self, Float(lo, _) if lo.is_nan())
    }

    pub fn is_infinite(self) -> bool {
        matches!(self, Float(lo, _) if lo.is_infinite())
    }

    pub fn is_unknown(self) -> bool {
        matches!(self, Unknown)
    }

    /// A float result of arithmetic in `dtype`'s compute type, off by at most `ulps` units in the
    /// last place before it is rounded.
    pub fn computed(self, dtype: DType, ulps: f64, rules: Rules) -> Num {
        let Float(lo, hi) = self else { return self };
        if !lo.is_finite() {
            return self;
        }
        let of = dtype.compute();
        let (eps, tiny) = precision(of, rules);
        // The ends of an f64 interval were rounded themselves.
        let ulps = if of == DType::F64 && lo != hi {
            ulps.max(1.0)
        } else {
            ulps
        };
        let off = |v: f64| {
            if ulps == 0.0 {
                0.0
            } else {
                ulps * (v.abs() * eps).max(tiny)
            }
        };
        Num::hull(&[round(lo - off(lo), of), round(hi + off(hi), of)]).flushed(of, rules)
    }

    /// The element as an operand. A fused kernel keeps 16-bit floats unrounded, so both are
    /// possible, and an overflow may or may not have happened.
    pub fn load(self, dtype: DType, rules: Rules) -> Num {
        let Float(lo, hi) = self else { return self };
        if dtype.compute() == dtype {
            return self.flushed(dtype, rules);
        }
        let of = DType::F32;
        let ends = [
            round(lo, of),
            round(hi, of),
            round(lo, dtype),
            round(hi, dtype),
        ];
        Num::hull(&ends).flushed(of, rules)
    }

    /// The element as it is stored and read.
    pub fn stored(self, dtype: DType, rules: Rules) -> Num {
        match self.flushed(dtype.compute(), rules) {
            Float(lo, hi) => Num::hull(&[round(lo, dtype), round(hi, dtype)]),
            other => other,
        }
    }

    /// Whether a number that was read is this one. `None` where that is open.
    pub fn agrees(self, read: Num) -> Option<bool> {
        match (self, read) {
            (Unknown, _) => None,
            (Int(a), Int(b)) => Some(a == b),
            (Float(lo, hi), Float(v, _)) => {
                Some((lo <= v && v <= hi) || (lo.is_nan() && v.is_nan()))
            }
            _ => Some(false),
        }
    }

    /// A zero at an end may have either sign.
    fn open_zero(self) -> Num {
        match self {
            Float(lo, hi) if lo == 0.0 || hi == 0.0 => Float(
                if lo == 0.0 { -0.0 } else { lo },
                if hi == 0.0 { 0.0 } else { hi },
            ),
            other => other,
        }
    }

    fn flushed(self, of: DType, rules: Rules) -> Num {
        let Float(mut lo, mut hi) = self else {
            return self;
        };
        if rules.shader && of == DType::F32 {
            let least = f64::from(f32::MIN_POSITIVE);
            if (0.0..least).contains(&lo) {
                lo = -0.0;
            }
            if hi > -least && hi <= 0.0 {
                hi = 0.0;
            }
        }
        Float(lo, hi)
    }

    /// The element as another type: Rust's `as`, `!= 0` for bool.
    pub fn convert(self, to: DType) -> Num {
        match self {
            Unknown => Unknown,
            Int(v) if to == DType::F32 => Num::point(f64::from(v as f32)),
            Int(v) if to == DType::F64 => Num::point(v as f64),
            Int(v) if to.is_float() => Num::hull(&[v as f64, f64::from(v as f32)]),
            Int(v) if to == DType::Bool => Int(i128::from(v != 0)),
            Int(v) => Int(wrap(v, to)),
            // Overflow to an infinity in `f32` happens in a register; 16-bit floats are rounded
            // when they are stored.
            Float(lo, hi) if to.is_float() => {
                if to.compute() == to {
                    Num::hull(&[round(lo, to), round(hi, to)])
                } else {
                    self
                }
            }
            Float(lo, hi) if to == DType::Bool => {
                let zero = |v: f64| v == 0.0;
                match (zero(lo), zero(hi)) {
                    (true, true) => Int(0),
                    _ if lo.is_nan() || lo > 0.0 || hi < 0.0 => Int(1),
                    _ => Unknown,
                }
            }
            Float(lo, hi) => {
                let (least, most) = range(to);
                let cut = |v: f64| (v as i128).clamp(least, most);
                if cut(lo) == cut(hi) {
                    Int(cut(lo))
                } else {
                    Unknown
                }
            }
        }
    }
}

/// The relative spacing of a compute type and the least spacing, or least number where shaders
/// flush.
pub fn precision(of: DType, rules: Rules) -> (f64, f64) {
    match of {
        DType::F64 => (f64::EPSILON, f64::MIN_POSITIVE * f64::EPSILON),
        _ if rules.shader => (f64::from(f32::EPSILON), f64::from(f32::MIN_POSITIVE)),
        _ => (f64::from(f32::EPSILON), 1.401_298_464_324_817e-45),
    }
}

/// To the nearest number of a float type, ties to even: once.
pub fn round(v: f64, dtype: DType) -> f64 {
    let (bits, least, most) = match dtype {
        DType::F32 => return f64::from(v as f32),
        DType::F16 => (11, -14, 65504.0),
        DType::BF16 => (8, -126, 255.0 * 2f64.powi(120)),
        _ => return v,
    };
    if v == 0.0 || !v.is_finite() {
        return v;
    }
    let exponent = ((v.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    let unit = 2f64.powi(exponent.max(least) - (bits - 1));
    let rounded = (v / unit).round_ties_even() * unit;
    if rounded.abs() > most {
        f64::INFINITY.copysign(v)
    } else {
        rounded
    }
}

/// The least and the largest number of an integer type or bool.
pub fn range(dtype: DType) -> (i128, i128) {
    match dtype {
        DType::I64 => (i64::MIN.into(), i64::MAX.into()),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::U32 => (0, u32::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::U8 => (0, 255),
        _ => (0, 1),
    }
}

/// Two's complement.
pub fn wrap(v: i128, dtype: DType) -> i128 {
    let (least, most) = range(dtype);
    (v - least).rem_euclid(most - least + 1) + least
}

pub fn add(a: Num, b: Num) -> Num {
    match (a, b) {
        (Float(a, b), Float(c, d)) => Num::hull(&[a + c, b + d]),
        _ => Unknown,
    }
}

pub fn neg(a: Num) -> Num {
    match a {
        Float(lo, hi) => Float(-hi, -lo),
        other => other,
    }
}

pub fn mul(a: Num, b: Num) -> Num {
    match (a, b) {
        (Float(a, b), Float(c, d)) => Num::hull(&[a * c, a * d, b * c, b * d]),
        _ => Unknown,
    }
}

pub fn div(a: Num, b: Num) -> Num {
    match (a, b) {
        _ if (a.is_nan() && !b.is_unknown()) || (b.is_nan() && !a.is_unknown()) => {
            Num::point(f64::NAN)
        }
        (Float(..), Float(c, d)) if c <= 0.0 && d >= 0.0 && c != d => Unknown,
        (Float(a, b), Float(c, d)) => Num::hull(&[a / c, a / d, b / c, b / d]),
        _ => Unknown,
    }
}

/// The larger; NaN wins. Which of two zeros it is stays open.
pub fn maximum(a: Num, b: Num) -> Num {
    match (a, b) {
        (Float(..), Float(..)) if a.is_nan() || b.is_nan() => Num::point(f64::NAN),
        (Float(a, b), Float(c, d)) => Num::hull(&[a.max(c), b.max(d)]).open_zero(),
        _ => Unknown,
    }
}

pub fn minimum(a: Num, b: Num) -> Num {
    neg(maximum(neg(a), neg(b)))
}

/// Whether `a < b`, where that is certain.
pub fn less(a: Num, b: Num) -> Option<bool> {
    match (a, b) {
        (Int(a), Int(b)) => Some(a < b),
        (Float(a, b), Float(c, d)) if b < c || a >= d || a.is_nan() || c.is_nan() => Some(b < c),
        _ => None,
    }
}

pub fn equal(a: Num, b: Num) -> Option<bool> {
    match (a, b) {
        (Int(a), Int(b)) => Some(a == b),
        (Float(a, b), Float(c, d)) => {
            if a == b && c == d || a.is_nan() || c.is_nan() {
                Some(a == c)
            } else if b < c || d < a {
                Some(false)
            } else {
                None
            }
        }
        _ => None,
    }
}

/// Whether `a <= b`, where that is certain.
pub fn at_most(a: Num, b: Num) -> Option<bool> {
    match (a, b) {
        (Int(a), Int(b)) => Some(a <= b),
        (Float(a, b), Float(c, d)) if b <= c || a > d || a.is_nan() || c.is_nan() => Some(b <= c),
        _ => None,
    }
}

/// The sum of floats in any order in `dtype`'s compute type: `n` roundings of partial sums.
pub fn sum(terms: &[Num], dtype: DType, rules: Rules) -> Num {
    let (mut low, mut high, mut size) = (0.0, 0.0, 0.0);
    let (mut whole, mut infinite) = (true, false);
    for &term in terms {
        let Float(lo, hi) = term else { return Unknown };
        (low, high) = (low + lo, high + hi);
        if lo.is_finite() {
            size += lo.abs().max(hi.abs());
        }
        whole &= lo == hi && lo.fract() == 0.0;
        infinite |= !lo.is_finite();
    }
    let of = dtype.compute();
    let (eps, tiny) = precision(of, rules);
    // Partial sums of another order could overflow.
    if round(size * (1.0 + eps), of).is_infinite() {
        return Unknown;
    }
    let exact = infinite || terms.len() < 2 || (whole && size * eps < 0.5);
    let off = if exact {
        0.0
    } else {
        terms.len() as f64 * (size * eps + tiny)
    };
    // Whether the sum starts at 0 decides about the sign of a zero.
    Num::hull(&[low - off, high + off])
        .open_zero()
        .computed(dtype, 0.0, rules)
}

/// The sum of gradients that meet, each partial sum of which may be rounded to a 16-bit type.
pub fn meet(terms: &[Num], dtype: DType, rules: Rules) -> Num {
    let total = sum(terms, dtype, rules);
    let Float(lo, hi) = total else { return total };
    let eps = match dtype {
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => return total,
    };
    let size: f64 = terms.iter().map(|t| t.magnitude()).sum();
    let off = eps * size * terms.len().saturating_sub(2) as f64;
    if lo.is_finite() {
        Num::hull(&[lo - off, hi + off])
    } else {
        total
    }
}

impl std::fmt::Display for Num {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Int(v) => write!(f, "{v}"),
            Float(lo, hi) if lo == hi || lo.is_nan() => write!(f, "{lo:?}"),
            Float(lo, hi) => write!(f, "{lo:?}..{hi:?}"),
            Unknown => f.write_str("?"),
        }
    }
}
