//! Elementwise operations: promotion, broadcasting, recording, and the methods that the table of
//! rows defines.

mod choice;

use smallvec::SmallVec;

use self::choice::{clamp, where_cond};
use crate::autograd::{self, Context, Grads, Saves};
use crate::device::Device;
use crate::dtype::{Category, DType};
use crate::element::Scalar;
use crate::error::{Error, Place, Result};
use crate::map_rows;
use crate::node::{Op, Source};
use crate::program::MapOp;
use crate::shape::Shape;
use crate::tensor::{Rhs, Tensor, Value, record, same_device};

/// What operands an operation takes (see `rows.rs`).
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Float,
    Number,
    Compare,
    Logic,
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

macro_rules! define_methods {
    (
        unary { $($(#[$udoc:meta])* $U:ident $uclass:ident $uname:ident, rust $ur:expr, wgsl $uw:literal,
            saves $us:tt, grad $ug:expr, domain $ud:tt;)* }
        binary { $($B:ident $bclass:ident $bname:ident, rust $br:expr, wgsl $bw:literal,
            da $bsa:tt $bda:expr, db $bsb:tt $bdb:expr, domain $bd:tt;)* }
        compare { $($C:ident $cname:ident, rust $cr:expr, wgsl $cw:literal;)* }
        logic { $($L:ident $lname:ident, rust $lr:expr, wgsl $lw:literal;)* }
    ) => {
        /// Elementwise functions of one tensor. `float` ones turn integers into `f32`.
        impl Tensor {
            $(
                $(#[$udoc])*
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

/// The gradient of the larger (or smaller) operand: all of it where it won, half where both tie.
fn extremum_grad(won: &Tensor, tie: &Tensor, g: &Tensor) -> Tensor {
    tie.where_cond(g * 0.5, won.where_cond(g, 0.0))
}

macro_rules! binary_methods {
    ($($(#[$doc:meta])* $name:ident $op:ident;)*) => {
        /// Elementwise functions of two operands, which broadcast and promote as in torch; the
        /// second may be a number.
        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self, other: impl Into<Rhs>) -> Tensor {
                    binary(MapOp::$op, &Rhs::Tensor(self.clone()), &other.into(), Place::caller())
                }
            )*
        }
    };
}
binary_methods! {
    /// `self + other`.
    add Add;
    /// `self - other`.
    sub Sub;
    /// `self * other`, element by element.
    mul Mul;
    /// `self / other`; integers divide as floats.
    div Div;
    /// `self` to the power `other`, in floats.
    pow Pow;
    /// The smaller of both; NaN in either gives NaN.
    minimum Minimum;
    /// The larger of both; NaN in either gives NaN.
    maximum Maximum;
    /// Whether `self == other`, a bool tensor.
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
}

impl Tensor {
    /// `self` to an integer power; exact for small exponents.
    #[track_caller]
    pub fn powi(&self, exponent: i32) -> Tensor {
        let place = Place::caller();
        place.hold(|| match exponent {
            0 => self * 0.0 + 1.0,
            1 => self * 1.0,
            2 => self.sqr(),
            3 => self.sqr() * self,
            -1 => self.recip(),
            -2 => self.sqr().recip(),
            n => self.pow(f64::from(n)),
        })
    }

    /// `self` to a constant power.
    #[track_caller]
    pub fn powf(&self, exponent: f64) -> Tensor {
        let place = Place::caller();
        place.hold(|| {
            if exponent == 2.0 {
                self.sqr()
            } else {
                self.pow(exponent)
            }
        })
    }

    /// `!self`: true where the element is 0.
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

    /// Where this (bool) tensor is true the element of `on_true`, elsewhere that of `on_false`;
    /// all three broadcast. `torch.where`.
    #[track_caller]
    pub fn where_cond(&self, on_true: impl Into<Rhs>, on_false: impl Into<Rhs>) -> Tensor {
        let place = Place::caller();
        let (a, b) = (on_true.into(), on_false.into());
        self.then(|c| where_cond(&c, &a, &b, place))
    }

    /// `min(max(self, lo), hi)`; NaN stays NaN. The derivative is 1 within the closed range.
    #[track_caller]
    pub fn clamp(&self, lo: impl Into<Scalar>, hi: impl Into<Scalar>) -> Tensor {
        let place = Place::caller();
        let (lo, hi) = (lo.into(), hi.into());
        self.then(|x| clamp(&x, lo, hi, place))
    }

    /// The elements as `dtype`: Rust's `as` for numbers (saturating, NaN to 0), `!= 0` for bool,
    /// rounding to nearest even for the 16-bit floats.
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Tensor {
        let place = Place::caller();
        self.then(|x| Ok(cast(&x, dtype, place)?.into_tensor()))
    }

    /// Zero in place of NaN.
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

/// `i64` where the device has it, else `i32`.
fn fit(device: &Device, dtype: DType) -> DType {
    let narrow = dtype == DType::I64
        && device
            .open()
            .is_ok_and(|open| !open.backend.limits().has(DType::I64));
    if narrow { DType::I32 } else { dtype }
}

/// The type in which a class of operations computes on operands of type `dtype`.
fn class_dtype(class: Class, dtype: DType) -> DType {
    match (class, dtype.category()) {
        (Class::Float, Category::Integer | Category::Bool) => DType::F32,
        (Class::Number, Category::Bool) => DType::I32,
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

fn unary(op: MapOp, class: Class, x: &Tensor, place: Place) -> Tensor {
    x.then(|x| {
        // Rounding an integer leaves it as it is.
        if matches!(op, MapOp::Floor | MapOp::Ceil | MapOp::Round) && !x.dtype().is_float() {
            return Ok(x.into_tensor());
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

/// A constant tensor without dimensions.
fn constant(device: &Device, scalar: Scalar, dtype: DType, place: Place) -> Result<Value> {
    crate::create::constant(device, &Shape::default(), scalar, dtype, place)
}

pub(crate) fn binary(op: MapOp, a: &Rhs, b: &Rhs, place: Place) -> Tensor {
    let device = match (a, b) {
        (Rhs::Tensor(t), _) | (_, Rhs::Tensor(t)) => t.device().clone(),
        // Unreachable through the public functions, which have one tensor at least.
        _ => return Tensor::fail(&Device::failed(no_tensor(op, place)), no_tensor(op, place)),
    };
    Tensor::or_fail(&device, try_binary(op, &device, a, b, place))
}

fn no_tensor(op: MapOp, place: Place) -> Error {
    Error::value(op.name(), place, "needs a tensor operand")
}

fn try_binary(op: MapOp, device: &Device, a: &Rhs, b: &Rhs, place: Place) -> Result<Tensor> {
    let class = class_of(op);
    let captured = |rhs: &Rhs| match rhs {
        Rhs::Tensor(t) => t.capture().map(Some),
        Rhs::Scalar(_) => Ok(None),
    };
    let (va, vb) = (captured(a)?, captured(b)?);
    if let (Some(a), Some(b)) = (&va, &vb) {
        same_device(op.name(), a, b, place)?;
    }
    let dtype = match (&va, &vb, a, b) {
        (Some(a), Some(b), ..) => promote_values(a, b),
        (Some(t), None, _, Rhs::Scalar(s)) | (None, Some(t), Rhs::Scalar(s), _) => {
            s.promote(t.dtype())
        }
        _ => return Err(no_tensor(op, place)),
    };
    let dtype = fit(device, class_dtype(class, dtype));
    let result = if matches!(class, Class::Compare | Class::Logic) {
        DType::Bool
    } else {
        dtype
    };
    let converted = |v: Option<Value>| match v {
        Some(v) if v.dtype() != dtype => cast(&v, dtype, place).map(Some),
        same => Ok(same),
    };
    let (va, vb) = (converted(va)?, converted(vb)?);
    let shape = match (&va, &vb) {
        (Some(a), Some(b)) => broadcast(op.name(), a, b, place)?,
        (Some(t), None) | (None, Some(t)) => t.shape().clone(),
        (None, None) => return Err(no_tensor(op, place)),
    };
    let source = |value: &Option<Value>, rhs: &Rhs| match (value, rhs) {
        (Some(v), _) => expanded(v, &shape),
        (None, Rhs::Scalar(s)) => Source::Scalar(*s, dtype.compute()),
        (None, Rhs::Tensor(_)) => Source::Scalar(Scalar::Float(0.0), dtype.compute()),
    };
    let inputs = [source(&va, a), source(&vb, b)].into_iter().collect();
    let y = map(op.name(), op, device, inputs, &shape, result, place)?;
    let tracked = va.iter().chain(vb.iter()).any(|v| autograd::tracks(&[v]));
    if !result.is_float() || !tracked {
        return Ok(y.into_tensor());
    }
    let Some([(needs_a, da), (needs_b, db)]) = binary_grads(op) else {
        return Ok(y.into_tensor());
    };
    // Scalars become constant operands: the derivative then has two operands, and may itself be
    // differentiated.
    let operand = |value: Option<Value>, rhs: &Rhs| match (value, rhs) {
        (Some(v), _) => Ok(v),
        (None, Rhs::Scalar(s)) => constant(device, *s, dtype, place),
        (None, Rhs::Tensor(_)) => Err(no_tensor(op, place)),
    };
    let (va, vb) = (operand(va, a)?, operand(vb, b)?);
    // An operand is kept only for a derivative that somebody wants: `w * x` keeps `w` for an `x`
    // that needs a gradient, and nothing else.
    let wanted = [
        (va.history.is_some(), needs_a),
        (vb.history.is_some(), needs_b),
    ];
    let needed = |which: fn(&Needs) -> bool| wanted.iter().any(|(w, n)| *w && which(n));
    let (keep_a, keep_b) = (needed(|n| n.a), needed(|n| n.b));
    let mut inputs = SmallVec::new();
    if keep_a {
        inputs.push(va.clone().into_tensor());
    }
    if keep_b {
        inputs.push(vb.clone().into_tensor());
    }
    let saves = Saves {
        inputs,
        output: needed(|n| n.y),
    };
    let shapes = (va.shape().clone(), vb.shape().clone());
    let rule = move |c: &Context<'_>| {
        let mut kept = c.inputs.iter();
        let a = if keep_a { kept.next() } else { None }.unwrap_or(c.grad);
        let b = if keep_b { kept.next() } else { None }.unwrap_or(c.grad);
        let mut grads = Grads::new();
        grads.push(c.needs[0].then(|| da(a, b, c.output, c.grad).sum_to(&shapes.0)));
        grads.push(c.needs[1].then(|| db(a, b, c.output, c.grad).sum_to(&shapes.1)));
        grads
    };
    Ok(autograd::track(
        op.name(),
        y,
        &[&va, &vb],
        saves,
        place,
        rule,
    ))
}

/// Torch's rule: within one category, tensors with dimensions decide over those without.
fn promote_values(a: &Value, b: &Value) -> DType {
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
