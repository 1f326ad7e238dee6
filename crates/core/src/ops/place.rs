//! A tensor laid into zeros: the derivative of slicing.

use crate::operation::{AnyOperation, Derivative, Operation, Spec, apply_part};
use crate::tensor::Tensor;
use crate::tensor::slice::{Slice, s};
use crate::types::dtype::DType;
use crate::types::error;
use crate::types::shape::Shape;

/// The operand laid into zeros of `shape`: element `c` of the result is the operand's at
/// `(c - start) / step`, where each dimension's `c - start` is a multiple of `step` within the operand, and
/// else 0. What lies outside of `shape` is left out.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// The result's shape.
    pub shape: Shape,
    /// Per dimension the position of the operand's first element.
    pub start: Vec<usize>,
    /// Per dimension the distance of its elements, at least 1.
    pub step: Vec<usize>,
}

impl Place {
    /// How many of the operand's `size` elements along dimension `d` lie within the result.
    fn inside(&self, d: usize, size: usize) -> usize {
        let room = self.shape[d].saturating_sub(self.start[d]);
        size.min(room.div_ceil(self.step[d]))
    }
}

impl Operation for Place {
    const NAME: &'static str = "place";
    const PRIMITIVE: bool = true;

    fn called(&self) -> &'static str {
        "slice"
    }

    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String> {
        let [from] = operands else {
            return Err(format!("{} operands instead of one", operands.len()));
        };
        let rank = self.shape.rank();
        let fits = from.shape.rank() == rank && self.start.len() == rank && self.step.len() == rank;
        if !fits || self.step.contains(&0) {
            return Err(format!(
                "shape {} is not placed in {}",
                from.shape, self.shape
            ));
        }
        Ok(vec![Spec::new(self.shape.clone(), from.dtype)])
    }

    /// Along each dimension: zeros between the elements, before the first and behind the last.
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let mut x = operands[0].clone();
        for d in 0..self.shape.rank() {
            let widened = || -> error::Result<Tensor> {
                let dim = d as isize;
                let zeros = |of: &Tensor, d: usize, size: usize| -> error::Result<Tensor> {
                    let mut dims = of.shape()?.to_vec();
                    dims[d] = size;
                    Ok(Tensor::zeros(dims, (of.dtype()?, of.device())))
                };
                let inside = self.inside(d, x.shape()?[d]);
                let mut y = x.narrow(dim, 0, inside);
                let mut dims = x.shape()?.to_vec();
                if inside > 0 {
                    let apart = y.unsqueeze(dim + 1);
                    let between = zeros(&apart, d + 1, self.step[d] - 1)?;
                    dims[d] = inside * self.step[d];
                    y = Tensor::cat(&[apart, between], dim + 1).reshape(dims);
                }
                let end = self.start[d] + y.shape()?[d];
                let before = zeros(&y, d, self.start[d])?;
                let behind = zeros(&y, d, self.shape[d].saturating_sub(end))?;
                Ok(Tensor::cat(&[before, y, behind], dim).narrow(dim, 0, self.shape[d]))
            };
            x = Tensor::or_fail(x.device(), widened());
        }
        vec![x]
    }

    fn keeps_operand(&self, _: usize) -> bool {
        false
    }

    /// The slice; where the operand was cut off, its gradient is 0.
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        let Some(from) = c.spec(0) else {
            return vec![None];
        };
        let inside: Vec<usize> = (0..self.shape.rank())
            .map(|d| self.inside(d, from.shape[d]))
            .collect();
        let slice = |d: usize| -> Slice {
            let (start, step) = (self.start[d], self.step[d]);
            match inside[d] {
                0 => s(0..0),
                n => s(start..start + (n - 1) * step + 1).step(step),
            }
        };
        let slices: Vec<Slice> = (0..self.shape.rank()).map(slice).collect();
        let grad = c.grad().slice(&slices[..]);
        let whole = match from.shape[..] == inside[..] {
            true => grad,
            false => lay(
                &grad,
                &from.shape,
                &vec![0; inside.len()],
                &vec![1; inside.len()],
            ),
        };
        vec![Some(whole)]
    }

    fn examples() -> Vec<(Place, Vec<Spec>)> {
        let place = |shape: &[usize], start: &[usize], step: &[usize], from: &[usize]| {
            let place = Place {
                shape: shape.into(),
                start: start.into(),
                step: step.into(),
            };
            (place, vec![Spec::new(from, DType::F32)])
        };
        vec![
            place(&[9, 10], &[1, 2], &[2, 3], &[4, 3]),
            place(&[4, 5], &[0, 0], &[1, 1], &[4, 5]),
            place(&[4, 5], &[2, 0], &[1, 1], &[0, 5]),
            place(&[3, 2, 7], &[1, 0, 3], &[1, 1, 1], &[2, 2, 3]),
            place(&[6], &[2], &[3], &[4]),
            place(&[], &[], &[], &[]),
        ]
    }
}

/// `x` laid into zeros of shape `to`.
pub(crate) fn lay(x: &Tensor, to: &Shape, start: &[usize], step: &[usize]) -> Tensor {
    let at = error::Place::caller();
    x.then(|x| {
        let place = Place {
            shape: to.clone(),
            start: start.into(),
            step: step.into(),
        };
        apply_part(AnyOperation::new(place), &[&x], 0, at)
    })
}
