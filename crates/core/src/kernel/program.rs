//! Elementwise programs: what a Map kernel computes, and what a reduction or a matrix product
//! does before and after its own work.

use smallvec::SmallVec;

use crate::map_rows;
use crate::types::dtype::DType;

macro_rules! takes_integers {
    (integer) => {
        true
    };
    (float) => {
        false
    };
}

macro_rules! define_map_op {
    (
        unary { $($(#[$udoc:meta])* $U:ident $uclass:ident $uname:ident, rust $ur:expr, wgsl $uw:literal,
            saves $us:tt, grad $ug:expr, domain $ud:tt;)* }
        binary { $($B:ident $bclass:ident $bname:ident, rust $br:expr, wgsl $bw:literal,
            da $bsa:tt $bda:expr, db $bsb:tt $bdb:expr, domain $bd:tt;)* }
        compare { $($C:ident $cname:ident, rust $cr:expr, wgsl $cw:literal;)* }
        logic { $($L:ident $lname:ident, rust $lr:expr, wgsl $lw:literal;)* }
        constant { $($K:ident $kclass:ident $kname:ident, rust $kr:expr, wgsl $kw:literal;)* }
    ) => {
        /// An elementwise operation. The table of `rows.rs` defines all but the last few.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs)] // the rows carry the documentation
        #[non_exhaustive]
        pub enum MapOp {
            $($U,)* $($B,)* $($C,)* $($L,)* $($K,)*
            /// `!x` on bools.
            Not,
            /// The operand itself: copies, and constants.
            Copy,
            /// The operand in another type: Rust's saturating `as`, NaN to 0, floats to bool by
            /// `!= 0`; to f16 and bf16 by rounding to nearest even.
            Cast,
            /// `cond ? a : b`, operands in this order.
            Where,
            /// `min(max(x, lo), hi)`, operands in this order; NaN in any of them gives NaN.
            Clamp,
            /// 0 where the operand is NaN, else the operand.
            NanToZero,
            /// The linear index of the element in the kernel's iteration space, as `i32`.
            Index,
            /// 32 random bits per element as `u32`; operands key low, key high, counter low,
            /// counter high (all scalar `u32`). See [`crate::kernel::random`].
            RandomBits,
            /// Uniform in [0, 1), `(bits >> 8) * 2^-24`; operands as `RandomBits`.
            Uniform,
            /// Standard normal by Box-Muller; operands as `RandomBits`.
            Normal,
        }

        impl MapOp {
            /// The operations that the table of rows defines.
            pub const ROWS: &'static [MapOp] =
                &[$(MapOp::$U,)* $(MapOp::$B,)* $(MapOp::$C,)* $(MapOp::$L,)* $(MapOp::$K,)*];

            /// The name of the `Tensor` method.
            pub const fn name(self) -> &'static str {
                match self {
                    $(MapOp::$U => stringify!($uname),)*
                    $(MapOp::$B => stringify!($bname),)*
                    $(MapOp::$C => stringify!($cname),)*
                    $(MapOp::$L => stringify!($lname),)*
                    $(MapOp::$K => stringify!($kname),)*
                    MapOp::Not => "logical_not",
                    MapOp::Copy => "copy",
                    MapOp::Cast => "cast",
                    MapOp::Where => "where",
                    MapOp::Clamp => "clamp",
                    MapOp::NanToZero => "nan_to_zero",
                    MapOp::Index => "index",
                    MapOp::RandomBits => "random_bits",
                    MapOp::Uniform => "uniform",
                    MapOp::Normal => "normal",
                }
            }

            /// The WGSL expression of a row; `None` for the operations outside the table.
            pub const fn wgsl(self) -> Option<&'static str> {
                match self {
                    $(MapOp::$U => Some($uw),)*
                    $(MapOp::$B => Some($bw),)*
                    $(MapOp::$C => Some($cw),)*
                    $(MapOp::$L => Some($lw),)*
                    $(MapOp::$K => Some($kw),)*
                    _ => None,
                }
            }

            /// Whether this row takes integers alone.
            pub const fn takes_integers(self) -> bool {
                match self {
                    $(MapOp::$K => takes_integers!($kclass),)*
                    _ => false,
                }
            }

            /// The range that tests draw operands from, for rows with a derivative.
            pub const fn domain(self) -> Option<(f64, f64)> {
                match self {
                    $(MapOp::$U => Some($ud),)*
                    $(MapOp::$B => Some($bd),)*
                    _ => None,
                }
            }
        }
    };
}
map_rows!(define_map_op);

impl MapOp {
    /// Whether the result depends on where the element stands, so that the operation must not
    /// move into another iteration space.
    pub const fn is_positional(self) -> bool {
        matches!(
            self,
            MapOp::Index | MapOp::RandomBits | MapOp::Uniform | MapOp::Normal
        )
    }

    /// Whether the operation is a routine rather than an instruction or two.
    pub(crate) const fn is_routine(self) -> bool {
        matches!(
            self,
            MapOp::Sin
                | MapOp::Cos
                | MapOp::Tan
                | MapOp::Pow
                | MapOp::Erf
                | MapOp::Gelu
                | MapOp::Expm1
                | MapOp::Log1p
                | MapOp::Softplus
                | MapOp::Erfc
                | MapOp::Erfinv
                | MapOp::Lgamma
                | MapOp::Digamma
                | MapOp::Zeta
                | MapOp::Log2
                | MapOp::Log10
                | MapOp::Asin
                | MapOp::Acos
                | MapOp::Atan
                | MapOp::Atan2
                | MapOp::Sinh
                | MapOp::Cosh
                | MapOp::Asinh
                | MapOp::Acosh
                | MapOp::Atanh
                | MapOp::Sinc
                | MapOp::Logit
                | MapOp::Xlogy
                | MapOp::Logaddexp
                | MapOp::Logaddexp2
                | MapOp::Fmod
                | MapOp::Remainder
                | MapOp::FloorDivide
                | MapOp::DivTrunc
                | MapOp::Gcd
                | MapOp::RandomBits
                | MapOp::Uniform
                | MapOp::Normal
        )
    }
}

/// Where an instruction's operand comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Arg {
    /// The element of input `i` at this point of the iteration space.
    Input(u16),
    /// Scalar `i`: data of the launch, the same for all elements.
    Scalar(u16),
    /// The result of accumulator `i` (in the epilogue of a reduction or a matrix product).
    Acc(u16),
    /// The result of instruction `i`.
    Instr(u16),
}

/// One operation on registers. All operands of one instruction have the same type, except the
/// condition of `Where` (bool) and the scalar operands of random operations (u32).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Instr {
    /// What to compute.
    pub op: MapOp,
    /// The result's type. Never f16 or bf16, except in `Cast`, which then rounds to that type and
    /// keeps the rounded value in an `f32` register.
    pub dtype: DType,
    /// The operands.
    pub args: SmallVec<[Arg; 4]>,
}

/// A straight-line elementwise program in SSA form.
///
/// Registers have the compute type of their value ([`DType::compute`]): inputs of f16 and bf16
/// are widened to f32 when loaded, outputs rounded when stored.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Program {
    /// Storage types of the inputs.
    pub inputs: Vec<DType>,
    /// Types of the accumulators that the epilogue reads.
    pub accumulators: Vec<DType>,
    /// Types of the scalars.
    pub scalars: Vec<DType>,
    /// The instructions, each after those it uses.
    pub instrs: Vec<Instr>,
    /// What is stored, and as what type.
    pub outputs: Vec<(Arg, DType)>,
}

impl Program {
    /// The type of the register that `arg` names.
    pub fn dtype_of(&self, arg: Arg) -> DType {
        match arg {
            Arg::Input(i) => self.inputs[i as usize].compute(),
            Arg::Scalar(i) => self.scalars[i as usize].compute(),
            Arg::Acc(i) => self.accumulators[i as usize].compute(),
            Arg::Instr(i) => self.instrs[i as usize].dtype.compute(),
        }
    }
}
