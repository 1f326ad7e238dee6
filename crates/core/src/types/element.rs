//! Rust types that tensors hold, and scalars.

use half::{bf16, f16};

use crate::kernel::ScalarBits;
use crate::types::dtype::{Category, DType};

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that is a tensor's element type.
pub trait Element: sealed::Sealed + Copy + Send + Sync + std::fmt::Debug + 'static {
    /// The matching [`DType`].
    const DTYPE: DType;
    /// Appends the values as the bytes of a host buffer.
    fn extend_bytes(values: &[Self], bytes: &mut Vec<u8>);
    /// The values as the bytes of a host buffer, where they lie.
    fn bytes(values: &[Self]) -> &[u8];
    /// Reads values back; `bytes` holds whole elements.
    fn from_bytes(bytes: &[u8]) -> Vec<Self>;
    /// The bytes as values, if they are whole ones and aligned.
    fn view(bytes: &[u8]) -> Option<&[Self]>;
    /// The bytes as values to write to.
    fn view_mut(bytes: &mut [u8]) -> Option<&mut [Self]>;
    /// The value as a scalar.
    fn scalar(self) -> Scalar;
}

macro_rules! elements {
    ($($t:ty, $dtype:ident, |$v:ident| $scalar:expr;)*) => { $(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            fn extend_bytes(values: &[Self], bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(bytemuck::cast_slice(values));
            }
            fn bytes(values: &[Self]) -> &[u8] {
                bytemuck::cast_slice(values)
            }
            fn from_bytes(bytes: &[u8]) -> Vec<Self> {
                bytemuck::pod_collect_to_vec(bytes)
            }
            fn view(bytes: &[u8]) -> Option<&[Self]> {
                bytemuck::try_cast_slice(bytes).ok()
            }
            fn view_mut(bytes: &mut [u8]) -> Option<&mut [Self]> {
                bytemuck::try_cast_slice_mut(bytes).ok()
            }
            fn scalar(self) -> Scalar {
                let $v = self;
                $scalar
            }
        }
    )* };
}
elements! {
    f64, F64, |v| Scalar::Float(v);
    f32, F32, |v| Scalar::Float(f64::from(v));
    f16, F16, |v| Scalar::Float(v.to_f64());
    bf16, BF16, |v| Scalar::Float(v.to_f64());
    i64, I64, |v| Scalar::Integer(v);
    i32, I32, |v| Scalar::Integer(i64::from(v));
    u32, U32, |v| Scalar::Integer(i64::from(v));
    i16, I16, |v| Scalar::Integer(i64::from(v));
    i8, I8, |v| Scalar::Integer(i64::from(v));
    u8, U8, |v| Scalar::Integer(i64::from(v));
}

impl sealed::Sealed for bool {}
impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn extend_bytes(values: &[Self], bytes: &mut Vec<u8>) {
        bytes.extend(values.iter().map(|&v| u8::from(v)));
    }
    fn bytes(values: &[Self]) -> &[u8] {
        bytemuck::cast_slice(values)
    }
    fn from_bytes(bytes: &[u8]) -> Vec<Self> {
        bytes.iter().map(|&b| b != 0).collect()
    }
    fn view(bytes: &[u8]) -> Option<&[Self]> {
        bytemuck::checked::try_cast_slice(bytes).ok()
    }
    fn view_mut(bytes: &mut [u8]) -> Option<&mut [Self]> {
        bytemuck::checked::try_cast_slice_mut(bytes).ok()
    }
    fn scalar(self) -> Scalar {
        Scalar::Bool(self)
    }
}

/// A number that takes part in an operation without being a tensor: the same for all elements.
///
/// Scalars are data of a recorded operation, never part of its structure: another value compiles
/// nothing new. They promote as in torch: a float scalar makes an integer tensor `f32`, and no
/// scalar changes the type of a tensor of its own category.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scalar {
    /// A float.
    Float(f64),
    /// An integer.
    Integer(i64),
    /// A truth value.
    Bool(bool),
}

impl Scalar {
    /// The promotion category.
    pub fn category(self) -> Category {
        match self {
            Scalar::Float(_) => Category::Float,
            Scalar::Integer(_) => Category::Integer,
            Scalar::Bool(_) => Category::Bool,
        }
    }

    /// The type a scalar has where no tensor decides: `f32`, `i32` or `bool`.
    pub fn default_dtype(self) -> DType {
        match self {
            Scalar::Float(_) => DType::F32,
            Scalar::Integer(_) => DType::I32,
            Scalar::Bool(_) => DType::Bool,
        }
    }

    /// The result type of a tensor of `dtype` with this scalar.
    pub fn promote(self, dtype: DType) -> DType {
        if self.category() > dtype.category() {
            self.default_dtype()
        } else {
            dtype
        }
    }

    /// The value as a float.
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::Float(v) => v,
            Scalar::Integer(v) => v as f64,
            Scalar::Bool(v) => f64::from(u8::from(v)),
        }
    }

    /// Whether the number is one of `dtype`'s: an integer within its range, a float whose whole part
    /// is. Floats and bools take every number (rounded, or as `!= 0`).
    pub fn fits(self, dtype: DType) -> bool {
        let Some((lo, hi)) = dtype.range() else {
            return true;
        };
        match self {
            // The bounds are exact in f64 or, for i64's upper one, rounded up by one.
            Scalar::Float(v) => v.trunc() >= lo as f64 && v.trunc() < hi as f64 + 1.0,
            Scalar::Integer(v) => (lo..=hi).contains(&v),
            Scalar::Bool(_) => true,
        }
    }

    /// The nearest number of `dtype`'s range.
    pub(crate) fn saturated(self, dtype: DType) -> Scalar {
        match (dtype.range(), self) {
            (Some((lo, hi)), Scalar::Integer(v)) => Scalar::Integer(v.clamp(lo, hi)),
            _ => self,
        }
    }

    /// The number as elements of `dtype` hold it, where `dtype` is a 16-bit float.
    pub(crate) fn rounded(self, dtype: DType) -> Scalar {
        match dtype {
            DType::F16 => Scalar::Float(f16::from_f32(self.to_odd()).to_f64()),
            DType::BF16 => Scalar::Float(bf16::from_f32(self.to_odd()).to_f64()),
            _ => self,
        }
    }

    /// The number as an `f32` that rounds to the 16-bit floats as the number itself does.
    pub(crate) fn to_odd(self) -> f32 {
        match self {
            Scalar::Integer(v) => integer_to_odd(v),
            other => round_to_odd(other.to_f64()),
        }
    }

    /// The bits a kernel gets where it declares the scalar as `dtype`. Integers wrap into it, as
    /// sums and products of them do; floats become integers as by Rust's `as`.
    pub(crate) fn bits(self, dtype: DType) -> ScalarBits {
        if dtype.is_float() {
            return ScalarBits::float(self.to_f64());
        }
        ScalarBits::integer(match (dtype, self) {
            (DType::Bool, value) => i64::from(value.to_f64() != 0.0),
            (_, Scalar::Float(v)) => match dtype.range() {
                Some((lo, hi)) => (v as i64).clamp(lo, hi),
                None => v as i64,
            },
            (DType::I32, Scalar::Integer(v)) => i64::from(v as i32),
            (DType::U32, Scalar::Integer(v)) => i64::from(v as u32),
            (DType::I16, Scalar::Integer(v)) => i64::from(v as i16),
            (DType::I8, Scalar::Integer(v)) => i64::from(v as i8),
            (DType::U8, Scalar::Integer(v)) => i64::from(v as u8),
            (_, Scalar::Integer(v)) => v,
            (_, Scalar::Bool(v)) => i64::from(v),
        })
    }
}

macro_rules! scalars {
    ($($t:ty => $variant:ident as $wide:ty;)*) => { $(
        impl From<$t> for Scalar {
            fn from(value: $t) -> Scalar { Scalar::$variant(value as $wide) }
        }
    )* };
}
scalars! {
    f64 => Float as f64;
    f32 => Float as f64;
    i32 => Integer as i64;
    i64 => Integer as i64;
    u32 => Integer as i64;
    i16 => Integer as i64;
    i8 => Integer as i64;
    u8 => Integer as i64;
    bool => Bool as bool;
}

impl From<usize> for Scalar {
    /// Saturates at the largest `i64`.
    fn from(value: usize) -> Scalar {
        Scalar::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

/// `x` as `f32`, rounded so that a second rounding to fewer bits gives what one rounding would
/// have: towards zero, with the last bit set where that was inexact ("round to odd",
/// [Boldo and Melquiond 2008](https://doi.org/10.1109/TC.2007.70819)).
///
/// ```
/// // Just above the middle between 1 and the next f16; the f32 nearest to it is the middle.
/// let x = 1.0 + 0.5f64.powi(11) + 0.5f64.powi(40);
/// assert_eq!(half::f16::from_f32(x as f32).to_f64(), 1.0);
/// assert_eq!(half::f16::from_f32(wgrad_core::round_to_odd(x)).to_f64(), 1.0 + 0.5f64.powi(10));
/// ```
pub fn round_to_odd(x: f64) -> f32 {
    let y = x as f32;
    if x.is_nan() || f64::from(y) == x {
        return y;
    }
    odd(y, f64::from(y).abs() > x.abs())
}

/// [`round_to_odd`] of an integer, which may have more digits than an `f64`.
pub fn integer_to_odd(x: i64) -> f32 {
    let y = x as f32;
    let back = y as i128; // exact
    if back == i128::from(x) {
        return y;
    }
    odd(y, back.unsigned_abs() > i128::from(x).unsigned_abs())
}

/// The inexact `y`, one step towards zero if it is too far `away`, with its last bit set.
fn odd(y: f32, away: bool) -> f32 {
    f32::from_bits((y.to_bits() - u32::from(away)) | 1)
}
