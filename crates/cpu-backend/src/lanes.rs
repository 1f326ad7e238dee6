//! Lane types: what the Rust expressions of the operations' table compute on.
//!
//! A lane is one element. The loops over them are plain; the compiler turns them into vector code
//! for each instruction set that is chosen from at run time. Floats come in two versions, with
//! fused multiply-add where the instruction set has it and without elsewhere (where `mul_add`
//! would be a slow library call).

mod integer;

use bytemuck::Pod;
use wgrad_core::round_to_odd;

use crate::erf;
use crate::math::{self, double, gamma};

pub(crate) use integer::{IntegerElement, IntegerLane};

/// An element as registers hold it: floats of 32 and 64 bits, and integers (bool as `u8`).
pub(crate) trait Element: Pod + Send + Sync + PartialOrd {
    /// Computes without fused multiply-add.
    type Plain: Lane<Raw = Self>;
    /// Computes with it.
    type Fused: Lane<Raw = Self>;
    /// What stands for "no such element": NaN, or 0.
    const MISSING: Self;
    fn to_f64(self) -> f64;
    /// An `f32` that rounds to the 16-bit floats as the element does.
    fn to_odd(self) -> f32;
    fn from_f64(value: f64) -> Self;
    fn from_i64(value: i64) -> Self;
    fn is_nan(self) -> bool;
}

/// The `number` and `compare` rows.
pub(crate) trait Lane: Copy {
    type Raw: Element;
    fn new(raw: Self::Raw) -> Self;
    fn raw(self) -> Self::Raw;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    fn sign(self) -> Self;
    fn relu(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn round(self) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// The smaller, the first of equal ones (zeros have signs); NaN if either is.
    fn minimum(self, other: Self) -> Self;
    /// The larger, the first of equal ones; NaN if either is.
    fn maximum(self, other: Self) -> Self;
    /// `self` to the power `other`. Integers wrap; to a negative power they are what is left of
    /// the fraction: 0, and 1 or -1 of these.
    fn pow(self, other: Self) -> Self;
    fn eq(self, other: Self) -> bool;
    fn lt(self, other: Self) -> bool;
    fn le(self, other: Self) -> bool;
    /// 0 for NaN.
    fn nan_to_zero(self) -> Self;
    fn trunc(self) -> Self;
    /// What is left after division, with the sign of `self`; integers divided by 0 leave 0.
    fn fmod(self, other: Self) -> Self;
    /// What is left after division, with the sign of `other`; integers divided by 0 leave 0.
    fn remainder(self, other: Self) -> Self;
    /// The quotient rounded down; integers divided by 0 give 0.
    fn floor_divide(self, other: Self) -> Self;
    /// The quotient rounded towards 0; integers divided by 0 give 0.
    fn div_trunc(self, other: Self) -> Self;
}

/// The `float` rows.
pub(crate) trait FloatLane: Lane {
    fn recip(self) -> Self;
    fn sqrt(self) -> Self;
    fn exp(self) -> Self;
    fn expm1(self) -> Self;
    fn ln(self) -> Self;
    fn log1p(self) -> Self;
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    fn tan(self) -> Self;
    fn tanh(self) -> Self;
    fn sigmoid(self) -> Self;
    fn gelu(self) -> Self;
    fn gelu_tanh(self) -> Self;
    fn softplus(self) -> Self;
    fn erf(self) -> Self;
    fn div(self, other: Self) -> Self;
    fn erfc(self) -> Self;
    fn erfinv(self) -> Self;
    fn lgamma(self) -> Self;
    fn digamma(self) -> Self;
    fn exp2(self) -> Self;
    fn log2(self) -> Self;
    fn log10(self) -> Self;
    fn asin(self) -> Self;
    fn acos(self) -> Self;
    fn atan(self) -> Self;
    fn sinh(self) -> Self;
    fn cosh(self) -> Self;
    fn asinh(self) -> Self;
    fn acosh(self) -> Self;
    fn atanh(self) -> Self;
    fn sinc(self) -> Self;
    fn logit(self) -> Self;
    fn atan2(self, other: Self) -> Self;
    fn hypot(self, other: Self) -> Self;
    fn copysign(self, other: Self) -> Self;
    fn xlogy(self, other: Self) -> Self;
    fn logaddexp(self, other: Self) -> Self;
    fn logaddexp2(self, other: Self) -> Self;
    /// Hurwitz' zeta function of `self` and `q`.
    fn zeta(self, q: Self) -> Self;
}

/// An `f32` lane.
#[derive(Clone, Copy)]
pub(crate) struct F32<const FMA: bool>(pub f32);

/// An `f64` lane.
#[derive(Clone, Copy)]
pub(crate) struct F64(pub f64);

macro_rules! float_numbers {
    ($t:ty) => {
        type Raw = $t;
        #[inline(always)]
        fn new(raw: $t) -> Self {
            Self(raw)
        }
        #[inline(always)]
        fn raw(self) -> $t {
            self.0
        }
        #[inline(always)]
        fn neg(self) -> Self {
            Self(-self.0)
        }
        #[inline(always)]
        fn abs(self) -> Self {
            Self(self.0.abs())
        }
        #[inline(always)]
        fn sign(self) -> Self {
            // The product keeps NaN; elsewhere it is the zero of the operand's sign.
            let one = ((self.0 > 0.0) as i32 - (self.0 < 0.0) as i32) as $t;
            Self(if self.0 != self.0 { self.0 } else { one })
        }
        #[inline(always)]
        fn relu(self) -> Self {
            // NaN fails the comparison and stays, and so does -0, as in torch.
            Self(if self.0 < 0.0 { 0.0 } else { self.0 })
        }
        #[inline(always)]
        fn floor(self) -> Self {
            Self(self.0.floor())
        }
        #[inline(always)]
        fn ceil(self) -> Self {
            Self(self.0.ceil())
        }
        #[inline(always)]
        fn round(self) -> Self {
            Self(self.0.round_ties_even())
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(self.0 + other.0)
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            Self(self.0 - other.0)
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            Self(self.0 * other.0)
        }
        #[inline(always)]
        fn minimum(self, other: Self) -> Self {
            let keep = (self.0 <= other.0) | (self.0 != self.0);
            Self(if keep { self.0 } else { other.0 })
        }
        #[inline(always)]
        fn maximum(self, other: Self) -> Self {
            let keep = (self.0 >= other.0) | (self.0 != self.0);
            Self(if keep { self.0 } else { other.0 })
        }
        #[inline(always)]
        fn eq(self, other: Self) -> bool {
            self.0 == other.0
        }
        #[inline(always)]
        fn lt(self, other: Self) -> bool {
            self.0 < other.0
        }
        #[inline(always)]
        fn le(self, other: Self) -> bool {
            self.0 <= other.0
        }
        #[inline(always)]
        fn nan_to_zero(self) -> Self {
            Self(if self.0 == self.0 { self.0 } else { 0.0 })
        }
        #[inline(always)]
        fn trunc(self) -> Self {
            Self(self.0.trunc())
        }
        #[inline(always)]
        fn fmod(self, other: Self) -> Self {
            Self(self.0 % other.0)
        }
        #[inline(always)]
        fn remainder(self, other: Self) -> Self {
            let rest = self.0 % other.0;
            let turned = (rest != 0.0) & ((rest < 0.0) != (other.0 < 0.0));
            Self(if turned { rest + other.0 } else { rest })
        }
        #[inline(always)]
        fn floor_divide(self, other: Self) -> Self {
            // Python's: the quotient of what is a multiple of `other` is whole but for its rounding.
            let (a, b) = (self.0, other.0);
            let rest = a % b;
            let turned = (rest != 0.0) & ((rest < 0.0) != (b < 0.0));
            let quotient = (a - rest) / b - if turned { 1.0 } else { 0.0 };
            let whole = quotient.floor();
            let whole = if quotient - whole > 0.5 {
                whole + 1.0
            } else {
                whole
            };
            let whole = if quotient == 0.0 {
                (0.0 as $t).copysign(a / b)
            } else {
                whole
            };
            Self(if b == 0.0 { a / b } else { whole })
        }
        #[inline(always)]
        fn div_trunc(self, other: Self) -> Self {
            Self((self.0 / other.0).trunc())
        }
    };
}

/// The functions of [`math`] in single precision.
macro_rules! single_functions {
    ($fma:ident) => {
        single_functions!(@one $fma: erfc erfinv exp2 log2 log10 asin acos atan sinh cosh asinh acosh atanh sinc logit);
        single_functions!(@two $fma: atan2 hypot xlogy logaddexp logaddexp2);
        single_functions!(@wide lgamma digamma);
        #[inline(always)]
        fn copysign(self, other: Self) -> Self {
            Self(self.0.copysign(other.0))
        }
        #[inline(always)]
        fn zeta(self, q: Self) -> Self {
            Self(gamma::zeta(f64::from(self.0), f64::from(q.0)) as f32)
        }
    };
    (@one $fma:ident: $($name:ident)*) => { $(
        #[inline(always)]
        fn $name(self) -> Self {
            Self(math::$name::<$fma>(self.0))
        }
    )* };
    (@two $fma:ident: $($name:ident)*) => { $(
        #[inline(always)]
        fn $name(self, other: Self) -> Self {
            Self(math::$name::<$fma>(self.0, other.0))
        }
    )* };
    (@wide $($name:ident)*) => { $(
        #[inline(always)]
        fn $name(self) -> Self {
            Self(gamma::$name(f64::from(self.0)) as f32)
        }
    )* };
}

/// The same in double precision.
macro_rules! double_functions {
    () => {
        double_functions!(@std exp2 log2 log10 asin acos atan sinh cosh);
        double_functions!(@own double: erfinv asinh acosh atanh sinc logit);
        double_functions!(@own erf: erfc);
        double_functions!(@own gamma: lgamma digamma);
        double_functions!(@std_two atan2 hypot copysign);
        double_functions!(@two double: xlogy logaddexp logaddexp2);
        #[inline(always)]
        fn zeta(self, q: Self) -> Self {
            Self(gamma::zeta(self.0, q.0))
        }
    };
    (@std $($name:ident)*) => { $(
        #[inline(always)]
        fn $name(self) -> Self {
            Self(self.0.$name())
        }
    )* };
    (@std_two $($name:ident)*) => { $(
        #[inline(always)]
        fn $name(self, other: Self) -> Self {
            Self(self.0.$name(other.0))
        }
    )* };
    (@own $module:ident: $($name:ident)*) => { $(
        #[inline(always)]
        fn $name(self) -> Self {
            Self($module::$name(self.0))
        }
    )* };
    (@two $module:ident: $($name:ident)*) => { $(
        #[inline(always)]
        fn $name(self, other: Self) -> Self {
            Self($module::$name(self.0, other.0))
        }
    )* };
}

#[allow(clippy::eq_op)] // x != x is the branch-free test for NaN
impl<const FMA: bool> Lane for F32<FMA> {
    float_numbers!(f32);
    #[inline(always)]
    fn pow(self, other: Self) -> Self {
        Self(math::pow::<FMA>(self.0, other.0))
    }
}

#[allow(clippy::eq_op)]
impl Lane for F64 {
    float_numbers!(f64);
    #[inline(always)]
    fn pow(self, other: Self) -> Self {
        Self(self.0.powf(other.0))
    }
}

impl<const FMA: bool> FloatLane for F32<FMA> {
    #[inline(always)]
    fn recip(self) -> Self {
        Self(1.0 / self.0)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.sqrt())
    }
    #[inline(always)]
    fn exp(self) -> Self {
        Self(math::exp::<FMA>(self.0))
    }
    #[inline(always)]
    fn expm1(self) -> Self {
        Self(math::expm1::<FMA>(self.0))
    }
    #[inline(always)]
    fn ln(self) -> Self {
        Self(math::ln::<FMA>(self.0))
    }
    #[inline(always)]
    fn log1p(self) -> Self {
        Self(math::log1p::<FMA>(self.0))
    }
    #[inline(always)]
    fn sin(self) -> Self {
        Self(math::sin::<FMA>(self.0))
    }
    #[inline(always)]
    fn cos(self) -> Self {
        Self(math::cos::<FMA>(self.0))
    }
    #[inline(always)]
    fn tan(self) -> Self {
        Self(math::tan::<FMA>(self.0))
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        Self(math::tanh::<FMA>(self.0))
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self(math::sigmoid::<FMA>(self.0))
    }
    #[inline(always)]
    fn gelu(self) -> Self {
        Self(math::gelu::<FMA>(self.0))
    }
    #[inline(always)]
    fn gelu_tanh(self) -> Self {
        Self(math::gelu_tanh::<FMA>(self.0))
    }
    #[inline(always)]
    fn softplus(self) -> Self {
        Self(math::softplus::<FMA>(self.0))
    }
    #[inline(always)]
    fn erf(self) -> Self {
        Self(math::erf::<FMA>(self.0))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(self.0 / other.0)
    }
    single_functions!(FMA);
}

impl FloatLane for F64 {
    #[inline(always)]
    fn recip(self) -> Self {
        Self(1.0 / self.0)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.sqrt())
    }
    #[inline(always)]
    fn exp(self) -> Self {
        Self(self.0.exp())
    }
    #[inline(always)]
    fn expm1(self) -> Self {
        Self(self.0.exp_m1())
    }
    #[inline(always)]
    fn ln(self) -> Self {
        Self(self.0.ln())
    }
    #[inline(always)]
    fn log1p(self) -> Self {
        Self(self.0.ln_1p())
    }
    #[inline(always)]
    fn sin(self) -> Self {
        Self(self.0.sin())
    }
    #[inline(always)]
    fn cos(self) -> Self {
        Self(self.0.cos())
    }
    #[inline(always)]
    fn tan(self) -> Self {
        Self(self.0.tan())
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        Self(self.0.tanh())
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        // e^-|x| cannot overflow, so small results keep their precision.
        let e = (-self.0.abs()).exp();
        Self(if self.0 < 0.0 { e } else { 1.0 } / (1.0 + e))
    }
    #[inline(always)]
    fn gelu(self) -> Self {
        // At -inf the product would be inf * 0; the limit is 0.
        let x = self.0;
        let y = 0.5 * x * erf::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
        Self(if x == f64::NEG_INFINITY { -0.0 } else { y })
    }
    #[inline(always)]
    fn gelu_tanh(self) -> Self {
        // x (1 + tanh u) / 2 = x sigmoid(2 u), which does not cancel.
        let x = self.0;
        let u = x * (math::GELU_LINEAR + math::GELU_CUBIC * (x * x));
        let y = x * F64(2.0 * u).sigmoid().0;
        Self(if x == f64::NEG_INFINITY { -0.0 } else { y })
    }
    #[inline(always)]
    fn softplus(self) -> Self {
        let positive = if self.0 <= 0.0 { 0.0 } else { self.0 };
        Self(positive + (-self.0.abs()).exp().ln_1p())
    }
    #[inline(always)]
    fn erf(self) -> Self {
        Self(erf::erf(self.0))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(self.0 / other.0)
    }
    double_functions!();
}

macro_rules! float_elements {
    ($($t:ty, $plain:ty, $fused:ty;)*) => { $(
        impl Element for $t {
            type Plain = $plain;
            type Fused = $fused;
            const MISSING: $t = <$t>::NAN;
            #[inline(always)]
            fn to_f64(self) -> f64 { f64::from(self) }
            #[inline(always)]
            fn to_odd(self) -> f32 { round_to_odd(f64::from(self)) }
            #[inline(always)]
            fn from_f64(value: f64) -> $t { value as $t }
            #[inline(always)]
            fn from_i64(value: i64) -> $t { value as $t }
            #[inline(always)]
            fn is_nan(self) -> bool { <$t>::is_nan(self) }
        }
    )* };
}
float_elements! {
    f32, F32<false>, F32<true>;
    f64, F64, F64;
}

/// Floats: the elements that `float` rows take.
pub(crate) trait FloatElement: Element<Plain: FloatLane, Fused: FloatLane> {}
impl FloatElement for f32 {}
impl FloatElement for f64 {}
