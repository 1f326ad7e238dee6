//! Rust types that tensors hold, and scalars.

use half::{bf16, f16};

use crate::dtype::{Category, DType};
use crate::kernel::ScalarBits;

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that is a tensor's element type.
pub trait Element: sealed::Sealed + Copy + Send + Sync + std::fmt::Debug + 'static {
    /// The matching [`DType`].
    const DTYPE: DType;
    /// Appends the values as the bytes of a host buffer.
    fn extend_bytes(values: &[Self], bytes: &mut Vec<u8>);
    /// Reads values back; `bytes` holds whole elements.
    fn from_bytes(bytes: &[u8]) -> Vec<Self>;
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
            fn from_bytes(bytes: &[u8]) -> Vec<Self> {
                bytemuck::pod_collect_to_vec(bytes)
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
    u8, U8, |v| Scalar::Integer(i64::from(v));
}

impl sealed::Sealed for bool {}
impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn extend_bytes(values: &[Self], bytes: &mut Vec<u8>) {
        bytes.extend(values.iter().map(|&v| u8::from(v)));
    }
    fn from_bytes(bytes: &[u8]) -> Vec<Self> {
        bytes.iter().map(|&b| b != 0).collect()
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

    /// The bits a kernel gets where it declares the scalar as `dtype`.
    pub(crate) fn bits(self, dtype: DType) -> ScalarBits {
        if dtype.is_float() {
            return ScalarBits::float(self.to_f64());
        }
        let value = match self {
            Scalar::Float(v) => v as i64,
            Scalar::Integer(v) => v,
            Scalar::Bool(v) => i64::from(v),
        };
        ScalarBits::integer(if dtype == DType::Bool {
            i64::from(value != 0)
        } else {
            value
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
    u8 => Integer as i64;
    usize => Integer as i64;
    bool => Bool as bool;
}
