//! Lanes of integers, which wrap.

use wgrad_core::integer_to_odd;

use super::{Element, Lane};

/// The `integer` rows.
pub(crate) trait IntegerLane: Lane {
    fn bit_and(self, other: Self) -> Self;
    fn bit_or(self, other: Self) -> Self;
    fn bit_xor(self, other: Self) -> Self;
    /// 0 for more bits than there are, and for negative ones.
    fn shift_left(self, other: Self) -> Self;
    /// The sign in all bits for more bits than there are, and for negative ones.
    fn shift_right(self, other: Self) -> Self;
    /// The greatest common divisor.
    fn gcd(self, other: Self) -> Self;
}

/// An integer lane: arithmetic wraps.
#[derive(Clone, Copy)]
pub(crate) struct Int<T>(pub T);

macro_rules! integer_lanes {
    ($($t:ty: $abs:expr, $sign:expr;)*) => { $(
        impl Lane for Int<$t> {
            type Raw = $t;
            #[inline(always)]
            fn new(raw: $t) -> Self { Int(raw) }
            #[inline(always)]
            fn raw(self) -> $t { self.0 }
            #[inline(always)]
            fn neg(self) -> Self { Int(self.0.wrapping_neg()) }
            #[inline(always)]
            fn abs(self) -> Self { let f: fn($t) -> $t = $abs; Int(f(self.0)) }
            #[inline(always)]
            fn sign(self) -> Self { let f: fn($t) -> $t = $sign; Int(f(self.0)) }
            #[inline(always)]
            fn relu(self) -> Self { Int(self.0.max(0)) }
            #[inline(always)]
            fn floor(self) -> Self { self }
            #[inline(always)]
            fn ceil(self) -> Self { self }
            #[inline(always)]
            fn round(self) -> Self { self }
            #[inline(always)]
            fn add(self, other: Self) -> Self { Int(self.0.wrapping_add(other.0)) }
            #[inline(always)]
            fn sub(self, other: Self) -> Self { Int(self.0.wrapping_sub(other.0)) }
            #[inline(always)]
            fn mul(self, other: Self) -> Self { Int(self.0.wrapping_mul(other.0)) }
            #[inline(always)]
            fn minimum(self, other: Self) -> Self { Int(self.0.min(other.0)) }
            #[inline(always)]
            fn maximum(self, other: Self) -> Self { Int(self.0.max(other.0)) }
            #[inline(always)]
            fn pow(self, other: Self) -> Self {
                let (mut base, mut rest, mut power): ($t, $t, $t) = (self.0, other.0, 1);
                #[allow(unused_comparisons)]
                if rest < 0 {
                    // 1 / 1, 1 / -1, and else a fraction.
                    let unit = base == 1 || base.wrapping_add(1) == 0;
                    (base, rest) = (if unit { base } else { 0 }, rest & 1 | 2);
                }
                while rest != 0 {
                    power = if rest & 1 == 1 { power.wrapping_mul(base) } else { power };
                    base = base.wrapping_mul(base);
                    rest >>= 1;
                }
                Int(power)
            }
            #[inline(always)]
            fn eq(self, other: Self) -> bool { self.0 == other.0 }
            #[inline(always)]
            fn lt(self, other: Self) -> bool { self.0 < other.0 }
            #[inline(always)]
            fn le(self, other: Self) -> bool { self.0 <= other.0 }
            #[inline(always)]
            fn nan_to_zero(self) -> Self { self }
            #[inline(always)]
            fn trunc(self) -> Self { self }
            #[inline(always)]
            fn fmod(self, other: Self) -> Self {
                Int(self.0.checked_rem(other.0).unwrap_or(0))
            }
            #[inline(always)]
            fn remainder(self, other: Self) -> Self {
                let rest = self.0.checked_rem(other.0).unwrap_or(0);
                #[allow(unused_comparisons)]
                let turned = rest != 0 && (rest < 0) != (other.0 < 0);
                Int(if turned { rest.wrapping_add(other.0) } else { rest })
            }
            #[inline(always)]
            fn floor_divide(self, other: Self) -> Self {
                if other.0 == 0 {
                    return Int(0);
                }
                let (quotient, rest) = (self.0.wrapping_div(other.0), self.0.wrapping_rem(other.0));
                #[allow(unused_comparisons)]
                let turned = rest != 0 && (rest < 0) != (other.0 < 0);
                Int(if turned { quotient.wrapping_sub(1) } else { quotient })
            }
            #[inline(always)]
            fn div_trunc(self, other: Self) -> Self {
                Int(if other.0 == 0 { 0 } else { self.0.wrapping_div(other.0) })
            }
        }

        impl IntegerLane for Int<$t> {
            #[inline(always)]
            fn bit_and(self, other: Self) -> Self { Int(self.0 & other.0) }
            #[inline(always)]
            fn bit_or(self, other: Self) -> Self { Int(self.0 | other.0) }
            #[inline(always)]
            fn bit_xor(self, other: Self) -> Self { Int(self.0 ^ other.0) }
            #[inline(always)]
            fn shift_left(self, other: Self) -> Self {
                let bits = u32::try_from(other.0).unwrap_or(u32::MAX);
                Int(self.0.checked_shl(bits).unwrap_or(0))
            }
            #[inline(always)]
            fn shift_right(self, other: Self) -> Self {
                let bits = u32::try_from(other.0).unwrap_or(u32::MAX);
                // Of signed types the sign in all bits is left, of unsigned ones nothing.
                Int(self.0 >> bits.min(<$t>::BITS - 1) >> u32::from(bits >= <$t>::BITS))
            }
            #[inline(always)]
            fn gcd(self, other: Self) -> Self {
                let (mut a, mut b) = (self, other);
                while b.0 != 0 {
                    (a, b) = (b, a.fmod(b));
                }
                a.abs()
            }
        }

        impl Element for $t {
            type Plain = Int<$t>;
            type Fused = Int<$t>;
            const MISSING: $t = 0;
            #[inline(always)]
            fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)]
            fn to_odd(self) -> f32 { integer_to_odd(i64::from(self)) }
            #[inline(always)]
            fn from_f64(value: f64) -> $t { value as $t }
            #[inline(always)]
            fn from_i64(value: i64) -> $t { value as $t }
            #[inline(always)]
            fn is_nan(self) -> bool { false }
        }
    )* };
}
integer_lanes! {
    i64: |x| x.wrapping_abs(), |x| x.signum();
    i32: |x| x.wrapping_abs(), |x| x.signum();
    u32: |x| x, |x| (x != 0) as u32;
    i16: |x| x.wrapping_abs(), |x| x.signum();
    i8: |x| x.wrapping_abs(), |x| x.signum();
    u8: |x| x, |x| (x != 0) as u8;
}

/// Integers: the elements that `integer` rows take.
pub(crate) trait IntegerElement: Element<Plain: IntegerLane, Fused: IntegerLane> {}
impl IntegerElement for i64 {}
impl IntegerElement for i32 {}
impl IntegerElement for u32 {}
impl IntegerElement for i16 {}
impl IntegerElement for i8 {}
impl IntegerElement for u8 {}
