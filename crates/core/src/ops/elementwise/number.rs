//! Numbers as operands of elementwise operations.
//!
//! A number is exact: it takes part in the compute type of the tensor beside it and is never rounded
//! to a storage type, in the derivative as little as in the operation. `x / 1e5` of f16 has the
//! derivative 1e-5, though f16 does not hold 1e5. In a derivative, where every operand is a tensor, a
//! number is a constant without dimensions that still counts as a number, and arithmetic of numbers
//! alone is done here.

use smallvec::SmallVec;

use crate::kernel::program::MapOp;
use crate::record::node::{Constant, Op, Recipe, Source};
use crate::tensor::device::Device;
use crate::tensor::{Tensor, Value, record_node};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Place, Result};
use crate::types::shape::Shape;

/// A number, and the type it takes where it must become a tensor.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub value: Scalar,
    pub dtype: DType,
}

/// What a comparison with a number comes to.
pub(super) enum Against {
    /// A comparison with this number.
    Number(Scalar),
    /// The same answer for every element.
    Always(bool),
}

impl Number {
    /// The number that a tensor stands for, if it does.
    pub fn of(x: &Value) -> Option<Number> {
        match x.node.constant {
            Some(Constant { value, exact: true }) if x.shape().rank() == 0 => Some(Number {
                value,
                dtype: x.dtype(),
            }),
            _ => None,
        }
    }

    /// The number as an operand that is a tensor.
    pub fn into_value(self, device: &Device, place: Place) -> Result<Value> {
        let inputs = SmallVec::from_iter([Source::Scalar(self.value, self.dtype.compute())]);
        let recipe = Recipe {
            op: Op::Map(MapOp::Copy),
            inputs,
        };
        let constant = Constant {
            value: self.value,
            exact: true,
        };
        let shape = Shape::default();
        record_node(
            "number",
            device,
            recipe,
            shape,
            self.dtype,
            Some(constant),
            place,
        )
    }

    pub fn into_tensor(self, device: &Device, place: Place) -> Result<Tensor> {
        Ok(self.into_value(device, place)?.into_tensor())
    }

    /// A function of a number; `None` for those that derivatives do not need.
    pub fn apply(self, op: MapOp) -> Option<Number> {
        let x = self.value.to_f64();
        let y = match op {
            MapOp::Neg => -x,
            MapOp::Sqr => x * x,
            MapOp::Recip => 1.0 / x,
            MapOp::Exp => x.exp(),
            MapOp::Ln => x.ln(),
            _ => return None,
        };
        Some(Number {
            value: Scalar::Float(y),
            ..self
        })
    }

    /// A function of two numbers; `None` for those that derivatives do not need.
    pub fn combine(self, op: MapOp, other: Number) -> Option<Number> {
        let (a, b) = (self.value.to_f64(), other.value.to_f64());
        let float = |value| Number {
            value: Scalar::Float(value),
            ..self
        };
        let bool = |value| Number {
            value: Scalar::Bool(value),
            dtype: DType::Bool,
        };
        Some(match op {
            MapOp::Add => float(a + b),
            MapOp::Sub => float(a - b),
            MapOp::Mul => float(a * b),
            MapOp::Div => float(a / b),
            MapOp::Pow => float(a.powf(b)),
            MapOp::Eq => bool(a == b),
            MapOp::Ne => bool(a != b),
            MapOp::Lt => bool(a < b),
            MapOp::Le => bool(a <= b),
            MapOp::Gt => bool(a > b),
            MapOp::Ge => bool(a >= b),
            _ => return None,
        })
    }
}

/// `x op number` for elements `x` of `dtype`.
///
/// Beside integers the answer is the mathematical one: `x < 2.5` is `x < 3`, and `x < 300` is always
/// true of u8. (Torch wraps such a number into the type.) Beside 16-bit floats the number is rounded
/// to their type, as torch does, so that `f16(0.1) == 0.1`.
pub(super) fn against(op: MapOp, number: Scalar, dtype: DType) -> Against {
    let Some((lo, hi)) = dtype.range() else {
        return Against::Number(number.rounded(dtype));
    };
    let (whole, fraction) = match number {
        Scalar::Float(v) if v.is_nan() => return Against::Always(op == MapOp::Ne),
        Scalar::Float(v) => {
            // The integer that stands for it, from the side where the comparison's answer is.
            let up = matches!(op, MapOp::Lt | MapOp::Ge);
            let whole = if up { v.ceil() } else { v.floor() };
            (whole, v != v.trunc())
        }
        Scalar::Integer(v) if (lo..=hi).contains(&v) => return Against::Number(number),
        other => (other.to_f64(), false),
    };
    match op {
        MapOp::Eq if fraction => Against::Always(false),
        MapOp::Ne if fraction => Against::Always(true),
        _ if Scalar::Float(whole).fits(dtype) => Against::Number(Scalar::Integer(whole as i64)),
        MapOp::Eq => Against::Always(false),
        MapOp::Ne => Against::Always(true),
        // Beyond the range: above all elements or below all of them.
        MapOp::Lt | MapOp::Le => Against::Always(whole > 0.0),
        _ => Against::Always(whole < 0.0),
    }
}

/// The comparison with its operands exchanged.
pub(super) fn mirrored(op: MapOp) -> MapOp {
    match op {
        MapOp::Lt => MapOp::Gt,
        MapOp::Le => MapOp::Ge,
        MapOp::Gt => MapOp::Lt,
        MapOp::Ge => MapOp::Le,
        same => same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every comparison of every u8 with numbers in and out of its range against f64's answer.
    #[test]
    fn comparisons_with_integers_are_the_mathematical_ones() {
        let ends = [
            -1e30, -1.0, -0.5, 0.0, 0.5, 2.0, 254.5, 255.0, 255.5, 256.0, 1e30,
        ];
        let numbers = ends
            .into_iter()
            .chain([f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
        let scalars = numbers.map(Scalar::Float).chain([
            Scalar::Integer(-1),
            Scalar::Integer(3),
            Scalar::Integer(300),
            Scalar::Integer(i64::MIN),
        ]);
        type Answer = fn(&f64, &f64) -> bool;
        let table: [(MapOp, Answer); 6] = [
            (MapOp::Eq, f64::eq),
            (MapOp::Ne, f64::ne),
            (MapOp::Lt, f64::lt),
            (MapOp::Le, f64::le),
            (MapOp::Gt, f64::gt),
            (MapOp::Ge, f64::ge),
        ];
        for number in scalars {
            for (op, answer) in table {
                for x in 0..=255u8 {
                    let x = f64::from(x);
                    let got = match against(op, number, DType::U8) {
                        Against::Always(answer) => answer,
                        Against::Number(n) => {
                            assert!(n.fits(DType::U8), "{op:?} {number:?}: {n:?}");
                            answer(&x, &n.to_f64())
                        }
                    };
                    assert_eq!(got, answer(&x, &number.to_f64()), "{x} {op:?} {number:?}");
                }
            }
        }
    }
}
