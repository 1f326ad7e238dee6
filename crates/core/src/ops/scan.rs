//! Running sums, products and extremes along a dimension.

mod running;

pub(super) use running::{product_type, shifted};

use crate::operation::{AnyOperation, Derivative, Operation, Spec, apply_part};
use crate::tensor::Tensor;
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Place, Result};

/// How elements combine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Combine {
    /// The sum. Integers wrap.
    Sum,
    /// The product. Integers wrap.
    Product,
    /// The logarithm of the sum of exponentials, of floats.
    LogSumExp,
    /// The position (as `i32`) of the last largest element; NaN is larger than all others.
    ArgMax,
    /// The position of the last smallest element; NaN is smaller than all others.
    ArgMin,
}

impl Combine {
    /// Whether the result is a position.
    pub const fn is_position(self) -> bool {
        matches!(self, Combine::ArgMax | Combine::ArgMin)
    }

    /// Whether it is defined for elements of a type.
    pub fn takes(self, dtype: DType) -> bool {
        match self {
            Combine::Sum | Combine::Product => dtype == dtype.compute() && !is_narrow(dtype),
            Combine::LogSumExp => matches!(dtype, DType::F32 | DType::F64),
            Combine::ArgMax | Combine::ArgMin => true,
        }
    }
}

/// Whether sums and products of a type are computed in a wider one.
fn is_narrow(dtype: DType) -> bool {
    dtype == DType::Bool || dtype.is_narrow_integer()
}

/// Along the last dimension of one operand, element `i` is the combination of the elements `0..=i`. Sums and
/// products are of `f32`, `f64`, `i32`, `i64` or `u32`, logarithms of sums of `f32` or `f64`, and positions of
/// elements of any type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Scan {
    /// How elements combine.
    pub combine: Combine,
    /// Whether it runs from the end to the beginning: element `i` is the combination of `i..`.
    pub reverse: bool,
}

impl Scan {
    /// Records the scan.
    pub(super) fn of(self, x: &Tensor) -> Tensor {
        let place = Place::caller();
        x.then(|x| apply_part(AnyOperation::new(self), &[&x], 0, place))
    }
}

impl Operation for Scan {
    const NAME: &'static str = "scan";
    const PRIMITIVE: bool = true;

    fn called(&self) -> &'static str {
        match self.combine {
            Combine::Sum => "cumsum",
            Combine::Product => "cumprod",
            Combine::LogSumExp => "logcumsumexp",
            Combine::ArgMax => "cummax",
            Combine::ArgMin => "cummin",
        }
    }

    fn results(&self, operands: &[Spec]) -> std::result::Result<Vec<Spec>, String> {
        let [x] = operands else {
            return Err(format!("{} operands instead of one", operands.len()));
        };
        let n = x.shape.last().copied();
        match n {
            None => Err("a tensor without dimensions has no rows".into()),
            _ if !self.combine.takes(x.dtype) => Err(format!("of {}", x.dtype)),
            Some(n) if self.combine.is_position() && n > i32::MAX as usize => {
                Err(format!("positions in rows of {n} elements"))
            }
            _ if self.combine.is_position() => Ok(vec![Spec::new(x.shape.clone(), DType::I32)]),
            _ => Ok(vec![x.clone()]),
        }
    }

    /// Combinations of 2, 4, 8, ... elements: each step takes in what stands half as far away.
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let x = &operands[0];
        let scanned = || -> Result<Tensor> {
            let n = x.shape()?.last().copied().unwrap_or(0);
            let mut row = Row::of(self.combine, x, n)?;
            let mut reach = 1;
            while reach < n {
                row = row.join(self.combine, &row.moved(self, reach, n)?)?;
                reach *= 2;
            }
            Ok(match row.positions {
                Some(positions) => positions,
                None => row.values,
            })
        };
        vec![Tensor::or_fail(x.device(), scanned())]
    }

    fn keeps_operand(&self, _: usize) -> bool {
        matches!(self.combine, Combine::Product | Combine::LogSumExp)
    }

    fn keeps_result(&self, _: usize, _: usize) -> bool {
        matches!(self.combine, Combine::Product | Combine::LogSumExp)
    }

    fn is_differentiable(&self, _: usize) -> bool {
        !self.combine.is_position()
    }

    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        let back = Scan {
            combine: Combine::Sum,
            reverse: !self.reverse,
        };
        let g = c.grad();
        vec![Some(match self.combine {
            // An element is part of all sums from its own on.
            Combine::Sum => back.of(g),
            Combine::Product => running::slope_of_products(self, &c.operand(0), &c.result(0), g),
            Combine::LogSumExp => running::slope_of_logs(self, &c.operand(0), &c.result(0), g),
            Combine::ArgMax | Combine::ArgMin => g.zeros_like(),
        })]
    }

    fn examples() -> Vec<(Scan, Vec<Spec>)> {
        let case = |combine, reverse, shape: &[usize]| {
            let specs = vec![Spec::new(shape, DType::F32)];
            (Scan { combine, reverse }, specs)
        };
        let mut cases = vec![
            case(Combine::Sum, true, &[2, 4099]),
            case(Combine::Sum, false, &[20_000]),
            case(Combine::ArgMax, false, &[2, 4099]),
            case(Combine::ArgMin, true, &[20_000]),
        ];
        for combine in [
            Combine::Sum,
            Combine::Product,
            Combine::LogSumExp,
            Combine::ArgMax,
            Combine::ArgMin,
        ] {
            cases.push(case(combine, false, &[3, 5]));
            cases.push(case(combine, true, &[3, 5]));
            cases.push(case(combine, false, &[2, 3, 130]));
            cases.push(case(combine, false, &[3, 0]));
        }
        cases
    }
}

/// A row on its way through the reference.
struct Row {
    values: Tensor,
    positions: Option<Tensor>,
}

impl Row {
    fn of(combine: Combine, x: &Tensor, n: usize) -> Result<Row> {
        let positions = || {
            Tensor::arange(n, (DType::I32, x.device()))
                .expand(&x.shape()?)
                .checked()
        };
        Ok(Row {
            values: x.clone(),
            positions: combine.is_position().then(positions).transpose()?,
        })
    }

    /// Every element `reach` places on in the direction of the scan; what has no such element keeps its own,
    /// for extremes, or gets what changes nothing.
    fn moved(&self, scan: &Scan, reach: usize, n: usize) -> Result<Row> {
        let (from, edge) = match scan.reverse {
            true => (reach, n - reach),
            false => (0, 0),
        };
        let shift = |x: &Tensor, nothing: Option<Scalar>| -> Result<Tensor> {
            let edge = x.narrow(-1, edge, reach);
            let edge = match nothing {
                Some(nothing) => Tensor::full(edge.shape()?, nothing, (x.dtype()?, x.device())),
                None => edge,
            };
            let rest = x.narrow(-1, from, n - reach);
            Ok(match scan.reverse {
                true => Tensor::cat(&[rest, edge], -1),
                false => Tensor::cat(&[edge, rest], -1),
            })
        };
        let nothing = match scan.combine {
            Combine::Sum => Some(Scalar::Integer(0)),
            Combine::Product => Some(Scalar::Integer(1)),
            Combine::LogSumExp => Some(Scalar::Float(f64::NEG_INFINITY)),
            Combine::ArgMax | Combine::ArgMin => None,
        };
        let positions = self.positions.as_ref();
        Ok(Row {
            values: shift(&self.values, nothing)?,
            positions: positions.map(|p| shift(p, None)).transpose()?,
        })
    }

    /// Each element with what comes before it.
    fn join(&self, combine: Combine, before: &Row) -> Result<Row> {
        let (x, b) = (&self.values, &before.values);
        let value = |values: Tensor| Row {
            values,
            positions: None,
        };
        let is_nan = |t: &Tensor| t.ne(t);
        let stays = match combine {
            Combine::Sum => return Ok(value(x + b)),
            Combine::Product => return Ok(value(x * b)),
            Combine::LogSumExp => return Ok(value(running::log_of_sum(x, b))),
            // The later of equal ones.
            Combine::ArgMax => is_nan(x).logical_or(x.ge(b)),
            Combine::ArgMin => is_nan(x).logical_or(x.le(b)),
        };
        let positions = self.positions.as_ref().zip(before.positions.as_ref());
        Ok(Row {
            values: stays.where_cond(x, b),
            positions: positions.map(|(own, other)| stays.where_cond(own, other)),
        })
    }
}
