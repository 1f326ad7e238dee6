//! Element types and PyTorch's promotion rules.

use std::fmt;

/// The type of a tensor's elements.
///
/// Floating types compute in `f32` (or `f64`), `f16` and `bf16` are storage types: every kernel
/// widens them to `f32`, computes, and rounds once when it stores.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DType {
    /// 64-bit IEEE 754 float (CPU only).
    F64,
    /// 32-bit IEEE 754 float, the default.
    F32,
    /// 16-bit IEEE 754 float.
    F16,
    /// 16-bit brain float: the upper half of an `f32`.
    BF16,
    /// 64-bit signed integer (CPU only; a GPU keeps such data as `i32` where it fits).
    I64,
    /// 32-bit signed integer, the integer type on every device.
    I32,
    /// 32-bit unsigned integer.
    U32,
    /// 16-bit signed integer; two share a word on a GPU.
    I16,
    /// 8-bit signed integer; four share a word on a GPU.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// Truth value; one byte on the host and on the CPU, one `u32` on a GPU.
    Bool,
}

/// Promotion categories, in ascending order: a higher one wins (`torch.result_type`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Category {
    /// `Bool`.
    Bool,
    /// Integers.
    Integer,
    /// Floats.
    Float,
}

/// What a floating type holds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FloatInfo {
    /// Bits of an element.
    pub bits: u32,
    /// The distance from 1 to the next number.
    pub eps: f64,
    /// The largest finite number.
    pub max: f64,
    /// The smallest, `-max`.
    pub min: f64,
    /// The smallest number above 0 that has all digits.
    pub smallest_normal: f64,
}

/// What an integer type holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IntegerInfo {
    /// Bits of an element.
    pub bits: u32,
    /// The smallest integer.
    pub min: i64,
    /// The largest integer.
    pub max: i64,
}

impl DType {
    /// Every element type.
    pub const ALL: [DType; 11] = [
        DType::F64,
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::I64,
        DType::I32,
        DType::U32,
        DType::I16,
        DType::I8,
        DType::U8,
        DType::Bool,
    ];

    /// Bytes of one element on the host.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F16 | DType::BF16 | DType::I16 => 2,
            DType::I8 | DType::U8 | DType::Bool => 1,
        }
    }

    /// The name as PyTorch's suffix would have it: `f32`, `bool`, ...
    pub const fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::I16 => "i16",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }

    /// The promotion category.
    pub const fn category(self) -> Category {
        match self {
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 => Category::Float,
            DType::Bool => Category::Bool,
            _ => Category::Integer,
        }
    }

    /// Whether this is a floating type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
    }

    /// Whether this is an integer type (`Bool` is not).
    pub const fn is_integer(self) -> bool {
        matches!(self.category(), Category::Integer)
    }

    /// Whether this is an integer type of fewer than 32 bits: sums and products of it are of `i32`, as torch's are
    /// of `int64`.
    pub const fn is_narrow_integer(self) -> bool {
        matches!(self, DType::I16 | DType::I8 | DType::U8)
    }

    /// The smallest and the largest integer of an integer type.
    pub const fn range(self) -> Option<(i64, i64)> {
        match self {
            DType::I64 => Some((i64::MIN, i64::MAX)),
            DType::I32 => Some((i32::MIN as i64, i32::MAX as i64)),
            DType::U32 => Some((0, u32::MAX as i64)),
            DType::I16 => Some((i16::MIN as i64, i16::MAX as i64)),
            DType::I8 => Some((i8::MIN as i64, i8::MAX as i64)),
            DType::U8 => Some((0, u8::MAX as i64)),
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 | DType::Bool => None,
        }
    }

    /// What a floating type holds (`torch.finfo`); `None` for the others.
    ///
    /// ```
    /// use wgrad_core::DType;
    /// assert_eq!(DType::F16.finfo().unwrap().max, 65504.0);
    /// assert!(DType::I32.finfo().is_none());
    /// ```
    pub const fn finfo(self) -> Option<FloatInfo> {
        let (bits, digits, max, smallest_normal) = match self {
            DType::F64 => (64, 53, f64::MAX, f64::MIN_POSITIVE),
            DType::F32 => (32, 24, f32::MAX as f64, f32::MIN_POSITIVE as f64),
            DType::F16 => (16, 11, 65_504.0, 6.103_515_625e-5),
            // (2 - 2^-7) 2^127
            DType::BF16 => (16, 8, 3.389_531_389_251_535_5e38, f32::MIN_POSITIVE as f64),
            _ => return None,
        };
        let eps = 1.0 / (1u64 << (digits - 1)) as f64;
        Some(FloatInfo {
            bits,
            eps,
            max,
            min: -max,
            smallest_normal,
        })
    }

    /// What an integer type holds (`torch.iinfo`); `None` for the others.
    ///
    /// ```
    /// use wgrad_core::DType;
    /// assert_eq!(DType::U8.iinfo().unwrap().max, 255);
    /// ```
    pub const fn iinfo(self) -> Option<IntegerInfo> {
        match self.range() {
            Some((min, max)) => Some(IntegerInfo {
                bits: 8 * self.size() as u32,
                min,
                max,
            }),
            None => None,
        }
    }

    /// Whether results of this type may be stored as `to`: not floats as integers, nor numbers as bools
    /// (`torch.can_cast`).
    ///
    /// ```
    /// use wgrad_core::DType;
    /// assert!(DType::F64.can_cast(DType::F16));
    /// assert!(!DType::F16.can_cast(DType::I64));
    /// ```
    pub fn can_cast(self, to: DType) -> bool {
        self.category() <= to.category()
    }

    /// The type that arithmetic on stored elements of this type happens in: `f32` for the 16-bit
    /// floats, the type itself otherwise.
    pub const fn compute(self) -> DType {
        match self {
            DType::F16 | DType::BF16 => DType::F32,
            other => other,
        }
    }

    /// The type both operands of a binary operation are brought to (`torch.promote_types`).
    ///
    /// ```
    /// use wgrad_core::DType;
    /// assert_eq!(DType::F16.promote(DType::BF16), DType::F32);
    /// assert_eq!(DType::U8.promote(DType::I32), DType::I32);
    /// assert_eq!(DType::U8.promote(DType::I8), DType::I16);
    /// assert_eq!(DType::I64.promote(DType::F16), DType::F16);
    /// ```
    pub fn promote(self, other: DType) -> DType {
        use DType::*;
        if self == other {
            return self;
        }
        match self.category().cmp(&other.category()) {
            std::cmp::Ordering::Greater => return self,
            std::cmp::Ordering::Less => return other,
            std::cmp::Ordering::Equal => {}
        }
        match (self, other) {
            (F64, _) | (_, F64) => F64,
            // f16 with bf16: neither holds the other.
            (F32 | F16 | BF16, _) => F32,
            (I64, _) | (_, I64) => I64,
            // No 32-bit type holds all of u32 and of a signed one.
            (U32, other) | (other, U32) => {
                if other == U8 {
                    U32
                } else {
                    I64
                }
            }
            (I32, _) | (_, I32) => I32,
            _ => I16,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
