//! Elements by an index along a dimension.

use super::scatter::scatter_add;
use crate::operation::{AnyOperation, Derivative, Operation, Spec, apply_part};
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Place, Result};

/// `out[.., i, ..] = source[.., index[.., i, ..], ..]` along `dim`, for operands source and index. The index
/// has the result's shape, and the source the same but along `dim`.
///
/// An index outside of the source is reported and gives NaN, or 0 in integers and bools.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Gather {
    /// The dimension that the index replaces.
    pub dim: usize,
    /// The method that a bad index is reported for.
    pub method: &'static str,
}

impl Gather {
    /// Along a dimension.
    pub fn new(dim: usize) -> Gather {
        Gather {
            dim,
            method: Self::NAME,
        }
    }
}

/// Whether shapes are equal but along `dim`, which they have.
pub(super) fn agree(a: &Spec, b: &Spec, dim: usize) -> bool {
    let rank = a.shape.rank();
    dim < rank && b.shape.rank() == rank && (0..rank).all(|d| d == dim || a.shape[d] == b.shape[d])
}

impl Operation for Gather {
    const NAME: &'static str = "gather";
    const PRIMITIVE: bool = true;

    fn called(&self) -> &'static str {
        self.method
    }

    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String> {
        let [source, index] = operands else {
            return Err(format!(
                "{} operands instead of source and index",
                operands.len()
            ));
        };
        if !index.dtype.is_integer() {
            return Err(format!("an index must hold integers, not {}", index.dtype));
        }
        if !agree(source, index, self.dim) {
            return Err(format!(
                "index of shape {} for shape {}",
                index.shape, source.shape
            ));
        }
        Ok(vec![Spec::new(index.shape.clone(), source.dtype)])
    }

    /// All elements along `dim` beside each index, of which the one that it names is taken.
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let (dim, device) = (self.dim as isize, operands[0].device());
        let gathered = || -> Result<Tensor> {
            let (source, index) = (&operands[0], &operands[1]);
            let (size, dtype) = (source.shape()?[self.dim], source.dtype()?);
            let mut along = vec![1; source.rank()? + 1];
            along[self.dim + 1] = size;
            let position = Tensor::arange(size, (DType::I32, device)).reshape(along);
            let index = index.to_dtype(DType::I32);
            let named = index.unsqueeze(dim + 1).eq(&position);
            let all = source.unsqueeze(dim);
            if dtype.is_float() {
                let sum = named.where_cond(all, 0.0).sum_dims([dim + 1], false);
                let inside = index.ge(0).logical_and(index.lt(size as i64));
                return Ok(inside.where_cond(sum, f64::NAN));
            }
            let sum = named.where_cond(all, 0).sum_dims([dim + 1], false);
            Ok(sum.to_dtype(dtype))
        };
        vec![Tensor::or_fail(device, gathered())]
    }

    fn keeps_operand(&self, operand: usize) -> bool {
        operand == 1
    }

    /// Each element's gradient goes back to where the element came from.
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        let size = c.spec(0).map_or(0, |source| source.shape[self.dim]);
        let grad = |c: &Derivative<'_>| {
            let place = Place::caller();
            let index = c.operand(1);
            c.grad()
                .then(|g| scatter_add(self.method, &g, self.dim, size, &index.capture()?, place))
        };
        vec![c.needs(0).then(|| grad(c)), None]
    }

    fn index_range(&self, operands: &[Spec]) -> Option<usize> {
        Some(operands.first()?.shape.get(self.dim).copied().unwrap_or(0))
    }

    fn examples() -> Vec<(Gather, Vec<Spec>)> {
        let case = |dim: usize, source: &[usize], index: &[usize], dtype: DType| {
            let specs = vec![Spec::new(source, DType::F32), Spec::new(index, dtype)];
            (Gather::new(dim), specs)
        };
        vec![
            case(0, &[50, 8], &[20, 8], DType::I32),
            case(1, &[3, 5, 2], &[3, 9, 2], DType::U32),
            case(1, &[4, 6], &[4, 3], DType::U8),
            case(0, &[4], &[0], DType::I32),
        ]
    }
}

/// Records a gather; the index is a view over the result's shape.
pub(crate) fn gather(
    method: &'static str,
    x: &Value,
    dim: usize,
    index: &Value,
    place: Place,
) -> Result<Tensor> {
    let op = AnyOperation::new(Gather { dim, method });
    apply_part(op, &[x, index], 0, place)
}
