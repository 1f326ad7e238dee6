//! Elements merged at the places that an index names: the derivative of gathering, and scattering.

use super::gather::{agree, gather};
use crate::operation::{AnyOperation, Derivative, Operation, Spec, apply_part};
use crate::ops::elementwise::cast;
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Place, Result};
use crate::types::shape::Shape;

/// What becomes of the elements that go to one place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Merge {
    /// Their sum, of none 0.
    Sum,
    /// Their product, of none 1.
    Product,
    /// The largest, NaN if there is one; of none what is least of the type.
    Max,
    /// The smallest, NaN if there is one; of none what is largest of the type.
    Min,
}

impl Merge {
    /// The result for a place that no element goes to.
    pub fn of_none(self, dtype: DType) -> Scalar {
        let float = dtype.is_float();
        match self {
            Merge::Sum => Scalar::Integer(0),
            Merge::Product => Scalar::Integer(1),
            Merge::Max if float => Scalar::Float(f64::NEG_INFINITY),
            Merge::Min if float => Scalar::Float(f64::INFINITY),
            Merge::Max => Scalar::Integer(dtype.range().map_or(0, |(least, _)| least)),
            Merge::Min => Scalar::Integer(dtype.range().map_or(1, |(_, largest)| largest)),
        }
    }
}

/// `out[.., v, ..] = merge of source[.., i, ..] where index[.., i, ..] == v` along `dim`, for operands source
/// and index of one shape, merged in ascending order of `i`. `f32`, `f64`, `i32` or `i64`.
///
/// An index outside of the result is reported, and its element is left out.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Scatter {
    /// The dimension that the index replaces.
    pub dim: usize,
    /// The result's size along `dim`.
    pub size: usize,
    /// What becomes of several elements.
    pub merge: Merge,
    /// The method that a bad index is reported for.
    pub method: &'static str,
}

impl Scatter {
    /// Into `size` places along a dimension.
    pub fn new(dim: usize, size: usize, merge: Merge) -> Scatter {
        Scatter {
            dim,
            size,
            merge,
            method: Self::NAME,
        }
    }
}

impl Operation for Scatter {
    const NAME: &'static str = "scatter";
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
            return Err(format!("{} scattered by {}", source.dtype, index.dtype));
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

    /// All elements along `dim` beside each place, of which those that name it are merged.
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let (dim, device) = (self.dim as isize, operands[0].device());
        let summed = || -> Result<Tensor> {
            let (source, index) = (&operands[0], &operands[1]);
            let mut along = vec![1; source.rank()? + 1];
            along[self.dim] = self.size;
            let place = Tensor::arange(self.size, (DType::I32, device)).reshape(along);
            let named = index.to_dtype(DType::I32).unsqueeze(dim).eq(&place);
            let dtype = source.dtype()?;
            let none = self.merge.of_none(dtype);
            let none = Tensor::full((), none, (dtype, device));
            let all = named.where_cond(source.unsqueeze(dim), &none);
            let choice = matches!(self.merge, Merge::Max | Merge::Min);
            let all = match source.shape()?[self.dim] {
                0 if choice => {
                    none.expand(all.shape()?.iter().map(|&n| n.max(1)).collect::<Shape>())
                }
                _ => all,
            };
            let merged = match self.merge {
                Merge::Sum => all.sum_dims([dim + 1], false),
                Merge::Product => all.prod_dims([dim + 1], false),
                Merge::Max => all.max_dims([dim + 1], false),
                Merge::Min => all.min_dims([dim + 1], false),
            };
            Ok(merged.to_dtype(dtype))
        };
        vec![Tensor::or_fail(device, summed())]
    }

    fn keeps_operand(&self, operand: usize) -> bool {
        operand == 1
    }

    /// Each element's gradient is that of the sum that it went into. (Those of other merges are made of
    /// several scatters, where they are recorded.)
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        if self.merge != Merge::Sum {
            return vec![None, None];
        }
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

    fn examples() -> Vec<(Scatter, Vec<Spec>)> {
        let case = |dim: usize, size: usize, source: &[usize], dtype: DType| {
            let specs = vec![Spec::new(source, DType::F32), Spec::new(source, dtype)];
            (Scatter::new(dim, size, Merge::Sum), specs)
        };
        [
            case(0, 50, &[20, 8], DType::I32),
            case(1, 3, &[4, 9, 2], DType::U32),
            case(1, 6, &[4, 3], DType::U8),
            case(0, 3, &[0, 2], DType::I32),
        ]
        .into_iter()
        .chain([Merge::Product, Merge::Max, Merge::Min].map(|merge| {
            let specs = vec![Spec::new([2, 9], DType::I32), Spec::new([2, 9], DType::I32)];
            (Scatter::new(1, 5, merge), specs)
        }))
        .collect()
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
    scatter(method, source, dim, size, index, Merge::Sum, place)
}

/// The same for any way to merge.
pub(crate) fn scatter(
    method: &'static str,
    source: &Value,
    dim: usize,
    size: usize,
    index: &Value,
    merge: Merge,
    place: Place,
) -> Result<Tensor> {
    let dtype = source.dtype();
    let compute = match dtype {
        DType::Bool | DType::U32 => DType::I32,
        narrow if narrow.is_narrow_integer() => DType::I32,
        dtype => dtype.compute(),
    };
    let mut source = cast(source, compute, place)?;
    // As i32 the upper half of u32 would come before the lower one.
    let turned = dtype == DType::U32 && matches!(merge, Merge::Max | Merge::Min);
    let turn = |x: Tensor| place.within(|| if turned { x + i32::MIN } else { x });
    if turned {
        source = turn(source.into_tensor()).capture()?;
    }
    let op = Scatter {
        dim,
        size,
        merge,
        method,
    };
    let merged = apply_part(AnyOperation::new(op), &[&source, index], 0, place)?;
    Ok(place.within(|| turn(merged).to_dtype(dtype)))
}
