//! Operations of two operands: types, shapes, the record and its derivative.

use smallvec::SmallVec;

use super::number::{self, Against, Number};
use super::{
    Class, Needs, available, binary_grads, broadcast, cast, class_dtype, class_of, expanded, map,
    promote_values,
};
use crate::autocast::wide;
use crate::autograd::{self, Context, Grads, Saves};
use crate::kernel::program::MapOp;
use crate::record::node::Source;
use crate::tensor::create;
use crate::tensor::device::Device;
use crate::tensor::{Rhs, Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Error, Place, Result};

/// An operand as it was captured.
enum Operand {
    Value(Value),
    Number(Scalar),
}

impl Operand {
    fn capture(rhs: &Rhs) -> Result<Operand> {
        Ok(match rhs {
            Rhs::Scalar(number) => Operand::Number(*number),
            Rhs::Tensor(tensor) => {
                let value = tensor.capture()?;
                match Number::of(&value) {
                    Some(number) => Operand::Number(number.value),
                    None => Operand::Value(value),
                }
            }
        })
    }

    /// The operand of an operation that computes in `f32` inside of `autocast`.
    fn wide(self, place: Place) -> Result<Operand> {
        match self {
            Operand::Value(value) => Ok(Operand::Value(wide(&value, place)?)),
            number => Ok(number),
        }
    }

    /// The operand as a tensor; a number becomes one of `dtype` that still counts as a number.
    fn into_value(self, device: &Device, dtype: DType, place: Place) -> Result<Value> {
        match self {
            Operand::Value(value) => Ok(value),
            Operand::Number(value) => Number { value, dtype }.into_value(device, place),
        }
    }
}

pub(crate) fn binary(op: MapOp, a: &Rhs, b: &Rhs, place: Place) -> Tensor {
    let device = match (a, b) {
        (Rhs::Tensor(t), _) | (_, Rhs::Tensor(t)) => t.device().clone(),
        // Unreachable through the public functions, which have one tensor at least.
        _ => {
            let error = Error::value(op.name(), place, "needs a tensor operand");
            return Tensor::fail(&Device::failed(error.clone()), error);
        }
    };
    let result = Operand::capture(a).and_then(|a| {
        let b = Operand::capture(b)?;
        let inverse = op == MapOp::Div && matches!(a, Operand::Number(_));
        let (a, b) = match inverse || op == MapOp::Pow {
            true => (a.wide(place)?, b.wide(place)?),
            false => (a, b),
        };
        operate(op, &device, a, b, place)
    });
    Tensor::or_fail(&device, result)
}

fn operate(op: MapOp, device: &Device, a: Operand, b: Operand, place: Place) -> Result<Tensor> {
    let name = op.name();
    let promoted = match (&a, &b) {
        (Operand::Value(a), Operand::Value(b)) => {
            same_device(name, a, b, place)?;
            promote_values(a, b)
        }
        (Operand::Value(t), Operand::Number(s)) | (Operand::Number(s), Operand::Value(t)) => {
            let dtype = s.promote(t.dtype());
            // A number that wraps into a tensor's type must not choose one that it wraps into.
            let wraps = matches!(op, MapOp::Add | MapOp::Sub | MapOp::Mul);
            if wraps && t.dtype() == DType::Bool && !s.fits(dtype) {
                let problem = format!("{} does not fit {dtype}", s.to_f64());
                return Err(Error::value(name, place, problem));
            }
            dtype
        }
        (&Operand::Number(x), &Operand::Number(y)) => {
            let number = |value: Scalar| Number {
                value,
                dtype: DType::F64,
            };
            if let Some(folded) = number(x).combine(op, number(y)) {
                let dtype = match folded.dtype {
                    DType::Bool => DType::Bool,
                    _ => x.default_dtype().promote(DType::F32),
                };
                return Number { dtype, ..folded }.into_tensor(device, place);
            }
            x.default_dtype().promote(y.default_dtype())
        }
    };
    let (op, class) = match (class_of(op), promoted) {
        (Class::Number | Class::Integer, DType::Bool) => (of_bools(op, place)?, Class::Logic),
        (Class::Integer, dtype) if dtype.is_float() => {
            let problem = format!("takes integers, not {dtype}; convert them with to_dtype");
            return Err(Error::dtype(name, place, problem));
        }
        (class, _) => (op, class),
    };
    let class_dtype = class_dtype(class, promoted);
    let (a, b) = match (class, a, b) {
        (Class::Compare, Operand::Value(t), Operand::Number(s)) => {
            return compare(op, device, &t, s, place);
        }
        (Class::Compare, Operand::Number(s), Operand::Value(t)) => {
            return compare(number::mirrored(op), device, &t, s, place);
        }
        (_, a, b) => (a, b),
    };
    let dtype = available(name, device, class_dtype, place)?;
    // What a type cannot hold wraps in sums and products, as their results do.
    let (a, b) = match op {
        MapOp::Minimum | MapOp::Maximum => (saturated(a, dtype), saturated(b, dtype)),
        _ => (a, b),
    };
    let whole = matches!(
        op,
        MapOp::Pow
            | MapOp::Fmod
            | MapOp::Remainder
            | MapOp::FloorDivide
            | MapOp::DivTrunc
            | MapOp::Gcd
    );
    if whole && dtype.is_integer() {
        if op == MapOp::Pow && matches!(&b, Operand::Number(s) if s.to_f64() < 0.0) {
            let problem = "integers have no negative powers; convert them to floats with to_dtype";
            return Err(Error::value(name, place, problem));
        }
        // Nothing of a power wraps with its exponent, nor of a quotient with its divisor.
        for operand in [&a, &b] {
            if let Operand::Number(s) = operand
                && !s.fits(dtype)
            {
                let problem = format!("{} does not fit {dtype}", s.to_f64());
                return Err(Error::value(name, place, problem));
            }
        }
    }
    record(op, device, a, b, dtype, place)
}

/// The factor beside a constant 1, which is the product, where nobody wants its derivative. Such a constant is
/// the gradient that `backward` starts from: what it is multiplied by would be stored a second time.
fn times_one<'a>(a: &'a Operand, b: &'a Operand) -> Option<&'a Value> {
    let is_one = |operand: &Operand| match operand {
        Operand::Value(v) => v
            .node
            .constant
            .is_some_and(|c| matches!(c.value, Scalar::Float(1.0))),
        Operand::Number(_) => false,
    };
    let (one, other) = match (a, b) {
        (Operand::Value(one), Operand::Value(other)) if is_one(a) => (one, other),
        (Operand::Value(other), Operand::Value(one)) if is_one(b) => (one, other),
        _ => return None,
    };
    let free = one.history.is_none() && other.history.is_none() && other.dtype().is_float();
    free.then_some(other)
}

/// What an arithmetic operation is on bools, as in torch.
fn of_bools(op: MapOp, place: Place) -> Result<MapOp> {
    match op {
        MapOp::Add | MapOp::Maximum | MapOp::BitOr => Ok(MapOp::Or),
        MapOp::Mul | MapOp::Minimum | MapOp::BitAnd => Ok(MapOp::And),
        MapOp::BitXor => Ok(MapOp::Xor),
        MapOp::Sub | MapOp::Pow => {
            let problem = "bools are not subtracted or raised to powers; use logical_xor, or convert \
                           them with to_dtype";
            Err(Error::dtype(op.name(), place, problem))
        }
        _ => {
            let problem = "takes numbers, not bools; convert them with to_dtype";
            Err(Error::dtype(op.name(), place, problem))
        }
    }
}

fn saturated(operand: Operand, dtype: DType) -> Operand {
    match operand {
        Operand::Number(s) => Operand::Number(s.saturated(dtype)),
        value => value,
    }
}

/// `t op s`.
fn compare(op: MapOp, device: &Device, t: &Value, s: Scalar, place: Place) -> Result<Tensor> {
    // Integers stay what they are, whatever number they meet.
    let dtype = class_dtype(Class::Compare, t.dtype());
    let value = match number::against(op, s, dtype) {
        Against::Number(value) => value,
        Against::Always(answer) => {
            let answer = Scalar::Bool(answer);
            let all = create::constant(device, t.shape(), answer, DType::Bool, place)?;
            return Ok(all.into_tensor());
        }
    };
    let t = cast(t, dtype, place)?;
    let number = Source::Scalar(value, dtype.compute());
    let inputs = SmallVec::from_iter([t.source(), number]);
    let y = map(op.name(), op, device, inputs, t.shape(), DType::Bool, place)?;
    Ok(y.into_tensor())
}

/// Records the operation on operands of `dtype` (numbers are theirs).
fn record(
    op: MapOp,
    device: &Device,
    a: Operand,
    b: Operand,
    dtype: DType,
    place: Place,
) -> Result<Tensor> {
    let name = op.name();
    let converted = |operand| match operand {
        Operand::Value(v) => Ok(Operand::Value(cast(&v, dtype, place)?)),
        number => Ok(number),
    };
    let (a, b) = (converted(a)?, converted(b)?);
    let shape = match (&a, &b) {
        (Operand::Value(a), Operand::Value(b)) => broadcast(name, a, b, place)?,
        (Operand::Value(t), _) | (_, Operand::Value(t)) => t.shape().clone(),
        _ => Default::default(),
    };
    if op == MapOp::Mul
        && let Some(same) = times_one(&a, &b).filter(|same| *same.shape() == shape)
    {
        return Ok(same.clone().into_tensor());
    }
    let source = |operand: &Operand| match operand {
        Operand::Value(v) => expanded(v, &shape),
        Operand::Number(s) => Source::Scalar(*s, dtype.compute()),
    };
    let inputs = SmallVec::from_iter([source(&a), source(&b)]);
    let result = match class_of(op) {
        Class::Compare | Class::Logic => DType::Bool,
        _ => dtype,
    };
    let y = map(name, op, device, inputs, &shape, result, place)?;
    let tracks = |operand: &Operand| match operand {
        Operand::Value(v) => autograd::tracks(&[v]),
        Operand::Number(_) => false,
    };
    if !result.is_float() || !(tracks(&a) || tracks(&b)) {
        return Ok(y.into_tensor());
    }
    let Some([(needs_a, da), (needs_b, db)]) = binary_grads(op) else {
        return Ok(y.into_tensor());
    };
    let a = a.into_value(device, dtype, place)?;
    let b = b.into_value(device, dtype, place)?;
    // An operand is kept only for a derivative that somebody wants: `w * x` keeps `w` for an `x`
    // that needs a gradient, and nothing else.
    let wanted = [
        (a.history.is_some(), needs_a),
        (b.history.is_some(), needs_b),
    ];
    let needed = |which: fn(&Needs) -> bool| wanted.iter().any(|(w, n)| *w && which(n));
    let (keep_a, keep_b) = (needed(|n| n.a), needed(|n| n.b));
    let mut inputs = SmallVec::new();
    if keep_a {
        inputs.push(a.clone().into_tensor());
    }
    if keep_b {
        inputs.push(b.clone().into_tensor());
    }
    let saves = Saves {
        inputs,
        output: needed(|n| n.y),
    };
    let shapes = (a.shape().clone(), b.shape().clone());
    let rule = move |c: &Context<'_>| {
        let mut kept = c.inputs.iter();
        let a = if keep_a { kept.next() } else { None }.unwrap_or(c.grad);
        let b = if keep_b { kept.next() } else { None }.unwrap_or(c.grad);
        let mut grads = Grads::new();
        grads.push(c.needs[0].then(|| da(a, b, c.output, c.grad).sum_to(&shapes.0)));
        grads.push(c.needs[1].then(|| db(a, b, c.output, c.grad).sum_to(&shapes.1)));
        grads
    };
    Ok(autograd::track(name, y, &[&a, &b], saves, place, rule))
}
