//! The order of elements: NaN above all others, zeros of both signs equal.

use bytemuck::Pod;
use half::{bf16, f16};

/// An element with a key whose order is the element's.
pub(crate) trait Ordered: Pod + Send + Sync {
    /// Unsigned, so that keys of all types are compared alike.
    type Key: Copy + Ord + Send + Sync + std::ops::Not<Output = Self::Key>;
    fn key(self) -> Self::Key;
    /// Not a number.
    fn is_nan(self) -> bool;
}

/// The bits of a float, turned so that their order as unsigned integers is that of the numbers.
macro_rules! float_keys {
    ($($t:ty as $bits:ty;)*) => { $(impl Ordered for $t {
        type Key = $bits;
        #[inline(always)]
        fn key(self) -> $bits {
            const SIGN: $bits = 1 << (<$bits>::BITS - 1);
            let bits = self.to_bits();
            if self.is_nan() {
                <$bits>::MAX
            } else if bits & SIGN == 0 {
                bits | SIGN
            } else if bits == SIGN {
                SIGN // -0 is 0
            } else {
                !bits
            }
        }
        #[inline(always)]
        fn is_nan(self) -> bool {
            <$t>::is_nan(self)
        }
    })* };
}
float_keys! { f64 as u64; f32 as u32; f16 as u16; bf16 as u16; }

macro_rules! integer_keys {
    ($($t:ty as $key:ty, |$x:ident| $value:expr;)*) => { $(impl Ordered for $t {
        type Key = $key;
        #[inline(always)]
        fn key(self) -> $key {
            let $x = self;
            $value
        }
        #[inline(always)]
        fn is_nan(self) -> bool {
            false
        }
    })* };
}
integer_keys! {
    i64 as u64, |x| (x as u64) ^ (1 << 63);
    i32 as u32, |x| (x as u32) ^ (1 << 31);
    u32 as u32, |x| x;
    i16 as u16, |x| (x as u16) ^ (1 << 15);
    i8 as u8, |x| (x as u8) ^ (1 << 7);
    u8 as u8, |x| x;
}

/// Calls a function that is generic over [`Ordered`] with the type of a `DType`; bools are `u8`.
macro_rules! with_order {
    ($dtype:expr, $t:ident => $call:expr) => {
        match $dtype {
            wgrad_core::DType::F64 => {
                type $t = f64;
                $call
            }
            wgrad_core::DType::F32 => {
                type $t = f32;
                $call
            }
            wgrad_core::DType::F16 => {
                type $t = half::f16;
                $call
            }
            wgrad_core::DType::BF16 => {
                type $t = half::bf16;
                $call
            }
            wgrad_core::DType::I64 => {
                type $t = i64;
                $call
            }
            wgrad_core::DType::I32 => {
                type $t = i32;
                $call
            }
            wgrad_core::DType::U32 => {
                type $t = u32;
                $call
            }
            wgrad_core::DType::I16 => {
                type $t = i16;
                $call
            }
            wgrad_core::DType::I8 => {
                type $t = i8;
                $call
            }
            _ => {
                type $t = u8;
                $call
            }
        }
    };
}
pub(crate) use with_order;

#[cfg(test)]
mod tests {
    use super::*;

    fn ascending<T: Ordered>(values: &[T])
    where
        T::Key: std::fmt::Debug,
    {
        for pair in values.windows(2) {
            assert!(pair[0].key() < pair[1].key(), "{:?}", pair[1].key());
        }
    }

    #[test]
    fn keys_have_the_order_of_elements() {
        let (inf, least) = (f32::INFINITY, f32::from_bits(1));
        ascending(&[-inf, -1.5, -least, 0.0, least, 1.5, inf, f32::NAN]);
        assert_eq!((-0.0f32).key(), 0f32.key());
        assert_eq!((-f32::NAN).key(), f32::NAN.key());
        ascending(&[f64::NEG_INFINITY, -1e300, -0.0, 1e-310, f64::MAX, f64::NAN]);
        ascending(&[-2.0, 0.0, 3.0, f32::INFINITY, f32::NAN].map(f16::from_f32));
        ascending(&[-2.0, 0.0, 3.0, f32::INFINITY, f32::NAN].map(bf16::from_f32));
        ascending(&[i64::MIN, -1, 0, i64::MAX]);
        ascending(&[i32::MIN, -1, 0, i32::MAX]);
        ascending(&[0u32, 7, u32::MAX]);
        ascending(&[0u8, 1, 255]);
    }
}
