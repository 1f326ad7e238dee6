//! Tensors one after the other along a dimension.

use crate::operation::{AnyOperation, Derivative, Operation, Spec, apply_part};
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Place, Result};
use crate::types::shape::Shape;

/// The operands one after the other along `dim`. Their types are equal, and their shapes but along `dim`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Concat {
    /// The dimension that grows.
    pub dim: usize,
}

impl Operation for Concat {
    const NAME: &'static str = "cat";
    const PRIMITIVE: bool = true;

    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String> {
        let [first, others @ ..] = operands else {
            return Err("no tensors to join".into());
        };
        let rank = first.shape.rank();
        if self.dim >= rank {
            return Err(format!(
                "no dimension {} in shape {}",
                self.dim, first.shape
            ));
        }
        for other in others {
            let fits = other.dtype == first.dtype
                && other.shape.rank() == rank
                && (0..rank).all(|d| d == self.dim || other.shape[d] == first.shape[d]);
            if !fits {
                return Err(format!(
                    "{first} and {other} do not join along dimension {}",
                    self.dim
                ));
            }
        }
        let mut dims = first.shape.to_vec();
        dims[self.dim] = operands.iter().map(|o| o.shape[self.dim]).sum();
        Ok(vec![Spec::new(dims, first.dtype)])
    }

    /// Each operand laid into zeros of the result's shape, and chosen from its first position on.
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let joined = || -> Result<Tensor> {
            let mut dims = operands[0].shape()?.to_vec();
            let mut size = 0;
            for operand in operands {
                size += operand.shape()?[self.dim];
            }
            dims[self.dim] = size;
            let mut along = vec![1; dims.len()];
            along[self.dim] = size;
            let position = Tensor::arange(size, (DType::I32, operands[0].device())).reshape(along);
            let mut joined: Option<Tensor> = None;
            let mut first = 0;
            for operand in operands {
                let mut start = vec![0; dims.len()];
                start[self.dim] = first;
                let laid = super::place::lay(
                    operand,
                    &Shape::from(dims.clone()),
                    &start,
                    &vec![1; dims.len()],
                );
                joined = Some(match joined {
                    Some(before) => position.ge(first as i64).where_cond(laid, before),
                    None => laid,
                });
                first += operand.shape()?[self.dim];
            }
            Ok(joined.unwrap_or_else(|| operands[0].clone()))
        };
        vec![Tensor::or_fail(operands[0].device(), joined())]
    }

    fn keeps_operand(&self, _: usize) -> bool {
        false
    }

    /// The parts of the gradient.
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        let mut start = 0;
        let part = |i: usize| {
            let size = c.spec(i)?.shape[self.dim];
            start += size;
            c.needs(i)
                .then(|| c.grad().narrow(self.dim as isize, start - size, size))
        };
        (0..c.operands()).map(part).collect()
    }

    fn examples() -> Vec<(Concat, Vec<Spec>)> {
        let spec = |dims: &[usize]| Spec::new(dims, DType::F32);
        vec![
            (
                Concat { dim: 1 },
                vec![spec(&[3, 5]), spec(&[3, 4]), spec(&[3, 1])],
            ),
            (
                Concat { dim: 0 },
                vec![spec(&[2, 3, 2]), spec(&[0, 3, 2]), spec(&[5, 3, 2])],
            ),
            (Concat { dim: 0 }, vec![spec(&[6])]),
        ]
    }
}

/// Records the join of several values along `dim`.
pub(crate) fn concat(values: &[Value], dim: usize, place: Place) -> Result<Tensor> {
    let operands: Vec<&Value> = values.iter().collect();
    apply_part(AnyOperation::new(Concat { dim }), &operands, 0, place)
}
