//! Sums at the places that an index names: the derivative of gathering.

use super::gather::{agree, gather};
use crate::operation::{AnyOperation, Derivative, Operation, Spec, apply_part};
use crate::ops::elementwise::cast;
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Place, Result};

/// `out[.., v, ..] = sum of source[.., i, ..] where index[.., i, ..] == v` along `dim`, for operands source
/// and index of one shape, summed in ascending order of `i`. `f32`, `f64`, `i32` or `i64`.
///
/// An index outside of the result is reported, and adds nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ScatterAdd {
    /// The dimension that the index replaces.
    pub dim: usize,
    /// The result's size along `dim`.
    pub size: usize,
    /// The method that a bad index is reported for.
    pub method: &'static str,
}

impl ScatterAdd {
    /// Into `size` places along a dimension.
    pub fn new(dim: usize, size: usize) -> ScatterAdd {
        ScatterAdd {
            dim,
            size,
            method: Self::NAME,
        }
    }
}

impl Operation for ScatterAdd {
    const NAME: &'static str = "scatter_add";
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
        let known = [DType::F32, DType::F64, DType::I32, DType::I64];
        if !known.contains(&source.dtype) || !index.dtype.is_integer() {
            return Err(format!("sums of {} by {}", source.dtype, index.dtype));
        }
        if !agree(source, index, self.dim) || source.shape != index.shape {
            return Err(format!(
                "index of shape {} for shape {}",
                index.shape, source.shape
            ));
        }
        let mut dims = source.shape.to_vec();
        dims[self.dim] = self.size;
        Ok(vec![Spec::new(dims, source.dtype)])
    }

    /// All elements along `dim` beside each place, of which those that name it are summed.
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let (dim, device) = (self.dim as isize, operands[0].device());
        let summed = || -> Result<Tensor> {
            let (source, index) = (&operands[0], &operands[1]);
            let mut along = vec![1; source.rank()? + 1];
            along[self.dim] = self.size;
            let place = Tensor::arange(self.size, (DType::I32, device)).reshape(along);
            let named = index.to_dtype(DType::I32).unsqueeze(dim).eq(&place);
            let all = source.unsqueeze(dim);
            let sums = named.where_cond(all, 0).sum_dims([dim + 1], false);
            Ok(sums.to_dtype(source.dtype()?))
        };
        vec![Tensor::or_fail(device, summed())]
    }

    fn keeps_operand(&self, operand: usize) -> bool {
        operand == 1
    }

    /// Each element's gradient is that of the sum that it went into.
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        let grad = |c: &Derivative<'_>| {
            let place = Place::caller();
            let index = c.operand(1);
            c.grad()
                .then(|g| gather(self.method, &g, self.dim, &index.capture()?, place))
        };
        vec![c.needs(0).then(|| grad(c)), None]
    }

    fn index_range(&self, _: &[Spec]) -> Option<usize> {
        Some(self.size)
    }

    fn examples() -> Vec<(ScatterAdd, Vec<Spec>)> {
        let case = |dim: usize, size: usize, source: &[usize], dtype: DType| {
            let specs = vec![Spec::new(source, DType::F32), Spec::new(source, dtype)];
            (ScatterAdd::new(dim, size), specs)
        };
        vec![
            case(0, 50, &[20, 8], DType::I32),
            case(1, 3, &[4, 9, 2], DType::U32),
            case(1, 6, &[4, 3], DType::U8),
            case(0, 3, &[0, 2], DType::I32),
        ]
    }
}

/// Records the sums of `source` at `size` places along `dim`, as the index over its shape says; in the
/// compute type.
pub(crate) fn scatter_add(
    method: &'static str,
    source: &Value,
    dim: usize,
    size: usize,
    index: &Value,
    place: Place,
) -> Result<Tensor> {
    let dtype = source.dtype();
    let source = cast(source, dtype.compute(), place)?;
    let op = AnyOperation::new(ScatterAdd { dim, size, method });
    let sums = apply_part(op, &[&source, index], 0, place)?;
    Ok(place.hold(|| sums.to_dtype(dtype)))
}
