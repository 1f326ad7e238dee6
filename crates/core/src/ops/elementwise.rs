//! Elementwise operations: promotion, broadcasting, recording, and the methods that the table of
//! rows defines.

mod activation;
mod arithmetic;
mod binary;
mod choice;
mod finite;
mod formula;
mod number;
mod special;

use smallvec::SmallVec;

pub use self::arithmetic::Rounding;
pub(crate) use self::binary::binary;
use self::number::Number;
use crate::autocast::wide;
use crate::autograd::{self, Saves};
use crate::kernel::program::MapOp;
use crate::map_rows;
use crate::record::node::{Op, Source};
use crate::tensor::device::Device;
use crate::tensor::{Rhs, Tensor, Value, record};
use crate::types::dtype::{Category, DType};
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

/// What operands an operation takes (see `rows.rs`).
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Float,
    Number,
    Compare,
    Logic,
    Integer,
}

/// Which of operands and result a derivative needs.
#[derive(Clone, Copy, Default)]
struct Needs {
    a: bool,
    b: bool,
    y: bool,
}

macro_rules! class {
    (float) => {
        Class::Float
    };
    (number) => {
        Class::Number
    };
    (integer) => {
        Class::Integer
    };
}

macro_rules! needs {
    ([$($which:ident)*]) => {{
        #[allow(unused_mut)]
        let mut needs = Needs::default();
        $(needs!(@ needs $which);)*
        needs
    }};
    (@ $needs:ident x) => { $needs.a = true };
    (@ $needs:ident a) => { $needs.a = true };
    (@ $needs:ident b) => { $needs.b = true };
    (@ $needs:ident y) => { $needs.y = true };
}

/// The call of a row's method, for its documentation.
macro_rules! example {
    ($values:literal, $name:ident, $second:literal) => {
        concat!(
            "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\nlet y = Tensor::new(",
            $values,
            ", &dev).",
            stringify!($name),
            "(",
            $second,
            ");\nassert_eq!(y.shape()?, [2]);\n# y.to_dtype(DType::F64).to_vec::<f64>()?;\n# Ok::<(), Error>(())\n```"
        )
    };
}

macro_rules! define_methods {
    (
        unary { $($(#[$udoc:meta])* $U:ident $uclass:ident $uname:ident, rust $ur:expr, wgsl $uw:literal,
            saves $us:tt, grad $ug:expr, domain $ud:tt;)* }
        binary { $($B:ident $bclass:ident $bname:ident, rust $br:expr, wgsl $bw:literal,
            da $bsa:tt $bda:expr, db $bsb:tt $bdb:expr, domain $bd:tt;)* }
        compare { $($C:ident $cname:ident, rust $cr:expr, wgsl $cw:literal;)* }
        logic { $($L:ident $lname:ident, rust $lr:expr, wgsl $lw:literal;)* }
        constant { $($K:ident $kclass:ident $kname:ident, rust $kr:expr, wgsl $kw:literal;)* }
    ) => {
        /// Elementwise functions of one tensor. `float` ones turn integers into `f32`.
        impl Tensor {
            $(
                $(#[$udoc])*
                ///
                #[doc = example!("[0.25, 0.75]", $uname, "")]
                #[track_caller]
                pub fn $uname(&self) -> Tensor {
                    unary(MapOp::$U, class!($uclass), self, Place::caller())
                }
            )*
        }

        /// Applies an operation of the table to as many operands as it takes; for tests that go
        /// through the whole table.
        #[doc(hidden)]
        #[track_caller]
        pub fn apply_row(op: MapOp, a: &Tensor, b: &Tensor) -> Tensor {
            let place = Place::caller();
            match op {
                $(MapOp::$U => unary(op, class!($uclass), a, place),)*
                _ => binary(op, &a.into(), &b.into(), place),
            }
        }

        /// What the derivative of a unary row needs.
        fn needs_of(op: MapOp) -> Needs {
            match op {
                $(MapOp::$U => needs!($us),)*
                _ => Needs::default(),
            }
        }

        fn class_of(op: MapOp) -> Class {
            match op {
                $(MapOp::$U => class!($uclass),)*
                $(MapOp::$B => class!($bclass),)*
                $(MapOp::$C => Class::Compare,)*
                $(MapOp::$L => Class::Logic,)*
                $(MapOp::$K => class!($kclass),)*
                _ => Class::Number,
            }
        }

        fn unary_grad(op: MapOp, x: &Tensor, y: &Tensor, g: &Tensor) -> Tensor {
            match op {
                $(MapOp::$U => {
                    let grad: fn(&Tensor, &Tensor, &Tensor) -> Tensor = $ug;
                    grad(x, y, g)
                })*
                _ => g.clone(),
            }
        }

        type BinaryGrad = fn(&Tensor, &Tensor, &Tensor, &Tensor) -> Tensor;

        /// The derivatives of a binary row and what each needs.
        fn binary_grads(op: MapOp) -> Option<[(Needs, BinaryGrad); 2]> {
            match op {
                $(MapOp::$B => {
                    let da: BinaryGrad = $bda;
                    let db: BinaryGrad = $bdb;
                    Some([(needs!($bsa), da), (needs!($bsb), db)])
                })*
                _ => None,
            }
        }
    };
}
map_rows!(define_methods);

/// `1 / (a^2 + b^2)`; 0 where both are 0.
fn inverse_square(a: &Tensor, b: &Tensor) -> Tensor {
    let zero = a.eq(0.0).logical_and(b.eq(0.0));
    zero.where_cond(0.0, (a.sqr() + b.sqr()).recip())
}

/// The derivative of `sin(pi x) / (pi x)`. Near 0 its formula cancels, so there it is a series to x^9, whose rest
/// is below 3e-12 where it begins.
fn sinc_slope(x: &Tensor) -> Tensor {
    let pi = std::f64::consts::PI;
    let near = x.abs().lt(0.25);
    let z = (x * pi).sqr();
    let series = &z * (1.0 / 518_918_400.0) - 1.0 / 3_991_680.0;
    let series =
        &z * (&z * (&z * (&z * series + 1.0 / 45_360.0) - 1.0 / 840.0) + 1.0 / 30.0) - 1.0 / 3.0;
    // Where the series serves, the formula must not divide by 0, also in its own derivative.
    let far = near.where_cond(1.0, x);
    let turned = &far - (&far * 0.5).round() * 2.0;
    let formula = ((turned * pi).cos() - far.sinc()) / far;
    near.where_cond(x * series * (pi * pi), formula)
}

/// The gradient of an operand of `maximum` or `minimum`: none where it lost, half where both tie.
fn extremum_grad(lost: &Tensor, tie: &Tensor, g: &Tensor) -> Tensor {
    lost.where_cond(0.0, tie.where_cond(g * 0.5, g))
}

macro_rules! binary_methods {
    ($($(#[$doc:meta])* $name:ident $op:ident;)*) => {
        /// Elementwise functions of two operands, which broadcast and promote as in torch; the
        /// second may be a number.
        impl Tensor {
            $(
                $(#[$doc])*
                ///
                #[doc = example!("[6, 3]", $name, "2")]
                #[track_caller]
                pub fn $name(&self, other: impl Into<Rhs>) -> Tensor {
                    binary(MapOp::$op, &Rhs::Tensor(self.clone()), &other.into(), Place::caller())
                }
            )*
        }
    };
}
binary_methods! {
    /// `self + other`; of bools, whether either is true.
    add Add;
    /// `self - other`; refused for bools.
    sub Sub;
    /// `self * other`, element by element; of bools, whether both are true.
    mul Mul;
    /// `self / other`; integers divide as floats.
    div Div;
    /// `self` to the power `other`. Integers to integer powers stay integers and wrap; a negative
    /// power of them is refused as a number, and as an element of a tensor leaves what is left of
    /// the fraction: 0, or 1 and -1 of these.
    pow Pow;
    /// The smaller of both; NaN in either gives NaN. A number beyond an integer type's range counts
    /// as its end.
    minimum Minimum;
    /// The larger of both; NaN in either gives NaN. A number beyond an integer type's range counts
    /// as its end.
    maximum Maximum;
    /// What is left of `self` after division by `other`, with the sign of `self` (C's `%`); exact. Of integers
    /// divided by 0 it is 0, of floats NaN.
    fmod Fmod;
    /// What is left of `self` after division by `other`, with the sign of `other` (Python's `%`). Of integers
    /// divided by 0 it is 0, of floats NaN.
    remainder Remainder;
    /// The largest integer not above `self / other`, of floats as a float. Integers divided by 0 give 0.
    /// The derivative is 0.
    floor_divide FloorDivide;
    /// `self / other` rounded towards 0, of floats as a float: torch's `div` with the rounding mode `trunc`.
    /// Integers divided by 0 give 0. The derivative is 0.
    div_trunc DivTrunc;
    /// The angle in [-pi, pi] of the point with the ordinate `self` and the abscissa `other`.
    atan2 Atan2;
    /// `sqrt(self^2 + other^2)`, whose squares do not overflow.
    hypot Hypot;
    /// `self` with the sign of `other`, also that of a zero.
    copysign Copysign;
    /// `self ln(other)`, which is 0 where `self` is 0, unless `other` is NaN.
    xlogy Xlogy;
    /// `ln(e^self + e^other)`, which does not overflow.
    logaddexp Logaddexp;
    /// `log2(2^self + 2^other)`, which does not overflow.
    logaddexp2 Logaddexp2;
    /// Whether `self == other`, a bool tensor. Beside integers a number keeps its value, whatever
    /// their type can hold; beside 16-bit floats it is rounded to their type first.
    eq Eq;
    /// Whether `self != other`.
    ne Ne;
    /// Whether `self < other`.
    lt Lt;
    /// Whether `self <= other`.
    le Le;
    /// Whether `self > other`.
    gt Gt;
    /// Whether `self >= other`.
    ge Ge;
    /// Whether both are true (not 0).
    logical_and And;
    /// Whether either is true.
    logical_or Or;
    /// Whether exactly one is true.
    logical_xor Xor;
    /// The bits that both integers have; of bools, whether both are true.
    bitwise_and BitAnd;
    /// The bits that either integer has; of bools, whether either is true.
    bitwise_or BitOr;
    /// The bits that exactly one integer has; of bools, whether exactly one is true.
    bitwise_xor BitXor;
    /// The integer shifted left by `other` bits; 0 where those are as many as the type has, or negative.
    bitwise_left_shift ShiftLeft;
    /// The integer shifted right by `other` bits; what comes in is its sign, and of all bits where those are as
    /// many as the type has, or negative.
    bitwise_right_shift ShiftRight;
    /// The greatest common divisor of two integers, not negative; of 0 and `b` it is `|b|`.
    gcd Gcd;
}

impl Tensor {
    /// `!self`: true where the element is 0.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([0, 3], &dev).logical_not().to_vec::<bool>()?, [true, false]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn logical_not(&self) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let x = cast(&x, DType::Bool, place)?;
            Ok(map(
                "logical_not",
                MapOp::Not,
                &x.node.device.clone(),
                [x.source()].into_iter().collect(),
                x.shape(),
                DType::Bool,
                place,
            )?
            .into_tensor())
        })
    }

    /// The elements as `dtype`: Rust's `as` for numbers (saturating, NaN to 0), `!= 0` for bool,
    /// rounding to nearest even for the 16-bit floats.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.9, -300.0, f64::NAN], &dev);
    /// assert_eq!(x.to_dtype(DType::U8).to_vec::<u8>()?, [1, 0, 0]);
    /// assert_eq!(x.to_dtype(DType::Bool).to_vec::<bool>()?, [true, true, true]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Tensor {
        let place = Place::caller();
        self.then(|x| Ok(cast(&x, dtype, place)?.into_tensor()))
    }

    /// Zero in place of NaN.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.0, f64::NAN, f64::INFINITY], &dev);
    /// assert_eq!(x.nan_to_zero().to_vec::<f32>()?, [1.0, 0.0, f32::INFINITY]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn nan_to_zero(&self) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if !x.dtype().is_float() {
                return Ok(x.into_tensor());
            }
            let inputs = [x.source()].into_iter().collect();
            let y = map(
                "nan_to_zero",
                MapOp::NanToZero,
                &x.node.device,
                inputs,
                x.shape(),
                x.dtype(),
                place,
            )?;
            if !autograd::tracks(&[&x]) {
                return Ok(y.into_tensor());
            }
            let saves = Saves {
                inputs: SmallVec::from_iter([x.clone().into_tensor()]),
                output: false,
            };
            Ok(autograd::track(
                "nan_to_zero",
                y,
                &[&x],
                saves,
                place,
                |c| {
                    let x = &c.inputs[0];
                    SmallVec::from_iter([Some(x.eq(x).where_cond(c.grad, 0.0))])
                },
            ))
        })
    }
}

/// Records an elementwise node.
pub(crate) fn map(
    name: &'static str,
    op: MapOp,
    device: &Device,
    inputs: SmallVec<[Source; 2]>,
    shape: &Shape,
    dtype: DType,
    place: Place,
) -> Result<Value> {
    record(
        name,
        device,
        Op::Map(op),
        inputs,
        shape.clone(),
        dtype,
        place,
    )
}

/// The type that two operands promote to, where the device has it: `i32` and `u32` need `i64`.
fn available(name: &'static str, device: &Device, dtype: DType, place: Place) -> Result<DType> {
    // Every other type is one that an operand has already.
    if dtype != DType::I64 || device.open()?.backend.limits().has(dtype) {
        return Ok(dtype);
    }
    let problem = format!(
        "the operands promote to {dtype}, which {} lacks; convert one of them with to_dtype",
        device.name()
    );
    Err(Error::dtype(name, place, problem))
}

/// The type in which a class of operations computes on operands of type `dtype`.
fn class_dtype(class: Class, dtype: DType) -> DType {
    match (class, dtype.category()) {
        (Class::Float, Category::Integer | Category::Bool) => DType::F32,
        (Class::Number | Class::Integer, Category::Bool) => DType::I32,
        (Class::Logic, _) => DType::Bool,
        // Bools compare as numbers.
        (Class::Compare, Category::Bool) => DType::I32,
        _ => dtype,
    }
}

/// The value as `dtype`, with its derivative.
pub(crate) fn cast(x: &Value, dtype: DType, place: Place) -> Result<Value> {
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    let inputs = [x.source()].into_iter().collect();
    let y = map(
        "to_dtype",
        MapOp::Cast,
        &x.node.device,
        inputs,
        x.shape(),
        dtype,
        place,
    )?;
    if !dtype.is_float() || !x.dtype().is_float() || !autograd::tracks(&[x]) {
        return Ok(y);
    }
    let from = x.dtype();
    autograd::track("to_dtype", y, &[x], Saves::default(), place, move |c| {
        SmallVec::from_iter([Some(c.grad.to_dtype(from))])
    })
    .capture()
}

/// Whether an operation of one operand computes in `f32` inside of `autocast`.
fn needs_f32(op: MapOp) -> bool {
    use MapOp::*;
    matches!(
        op,
        Acos | Asin
            | Cosh
            | Sinh
            | Tan
            | Exp
            | Expm1
            | Ln
            | Log10
            | Log1p
            | Log2
            | Recip
            | Rsqrt
            | Softplus
            | Sqr
            | Erfinv
    )
}

fn unary(op: MapOp, class: Class, x: &Tensor, place: Place) -> Tensor {
    x.then(|x| {
        let rounds = matches!(op, MapOp::Floor | MapOp::Ceil | MapOp::Round | MapOp::Trunc);
        let signed = rounds || matches!(op, MapOp::Neg | MapOp::Abs | MapOp::Relu);
        if x.dtype() == DType::Bool && signed {
            let problem = "bools have no sign and nothing to round; convert them with to_dtype";
            return Err(Error::dtype(op.name(), place, problem));
        }
        // Rounding an integer leaves it as it is, and so does the sign of a bool.
        if (rounds && !x.dtype().is_float()) || (op == MapOp::Sign && x.dtype() == DType::Bool) {
            return Ok(x.into_tensor());
        }
        let x = match needs_f32(op) {
            true => wide(&x, place)?,
            false => x,
        };
        if let Some(number) = Number::of(&x).and_then(|x| x.apply(op)) {
            return number.into_tensor(&x.node.device, place);
        }
        let x = cast(&x, class_dtype(class, x.dtype()), place)?;
        let inputs = [x.source()].into_iter().collect();
        let y = map(
            op.name(),
            op,
            &x.node.device,
            inputs,
            x.shape(),
            x.dtype(),
            place,
        )?;
        if !autograd::tracks(&[&x]) {
            return Ok(y.into_tensor());
        }
        let needs = needs_of(op);
        let saves = Saves {
            inputs: if needs.a {
                SmallVec::from_iter([x.clone().into_tensor()])
            } else {
                SmallVec::new()
            },
            output: needs.y,
        };
        Ok(autograd::track(
            op.name(),
            y,
            &[&x],
            saves,
            place,
            move |c| {
                let x = c.inputs.first().unwrap_or(c.grad);
                SmallVec::from_iter([Some(unary_grad(op, x, c.output, c.grad))])
            },
        ))
    })
}

/// The type of an operation's result on two operands, tensors or numbers, before the operation has its say (division
/// makes floats of integers): `torch.result_type`.
///
/// # Errors
/// A failed tensor's.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// assert_eq!(wgrad::result_type(&Tensor::new([1, 2], &dev), 1.5)?, DType::F32);
/// # Ok::<(), Error>(())
/// ```
pub fn result_type(a: impl Into<Rhs>, b: impl Into<Rhs>) -> Result<DType> {
    Ok(match (a.into(), b.into()) {
        (Rhs::Tensor(a), Rhs::Tensor(b)) => promote_values(&a.capture()?, &b.capture()?),
        (Rhs::Tensor(t), Rhs::Scalar(s)) | (Rhs::Scalar(s), Rhs::Tensor(t)) => {
            s.promote(t.dtype()?)
        }
        (Rhs::Scalar(a), Rhs::Scalar(b)) => a.default_dtype().promote(b.default_dtype()),
    })
}

/// Torch's rule: within one category, tensors with dimensions decide over those without.
pub(crate) fn promote_values(a: &Value, b: &Value) -> DType {
    let (da, db) = (a.dtype(), b.dtype());
    if da.category() == db.category() {
        match (a.shape().rank(), b.shape().rank()) {
            (0, 1..) => return db,
            (1.., 0) => return da,
            _ => {}
        }
    } else if a.shape().rank() == 0 && b.shape().rank() > 0 && da.category() > db.category() {
        return da;
    }
    da.promote(db)
}

/// The shape that both broadcast to.
fn broadcast(name: &'static str, a: &Value, b: &Value, place: Place) -> Result<Shape> {
    a.shape()
        .broadcast(b.shape())
        .ok_or_else(|| Error::Broadcast {
            op: name,
            left: a.shape().clone(),
            right: b.shape().clone(),
            place,
        })
}

/// The value as an operand over `shape`, which it is known to broadcast to.
pub(crate) fn expanded(value: &Value, shape: &Shape) -> Source {
    if value.shape() == shape {
        return value.source();
    }
    match value.layout().expand(shape) {
        Some(layout) => value.source_as(layout),
        None => value.source(),
    }
}
