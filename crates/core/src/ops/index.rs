//! Indexing by tensors: elements read and written at positions, along a dimension, by masks, and by lists of
//! ranges, numbers, masks and positions.

mod along;
mod list;
mod masked;
mod scattered;
mod slices;

pub(crate) use along::{gather_along, index_select};
pub use list::{Ellipsis, Index, IndexList, NewAxis};
pub use scattered::ScatterReduce;
pub(crate) use scattered::scatter_along;

use crate::ops::place::lay;
use crate::ops::scatter::{Merge, scatter};
use crate::tensor::create::constant;
use crate::tensor::views::materialized;
use crate::tensor::{Rhs, Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

/// The value of an index tensor on the device of `x`.
fn integer(name: &'static str, index: &Tensor, x: &Value, place: Place) -> Result<Value> {
    let index = materialized(&index.capture()?, place)?;
    if !index.dtype().is_integer() {
        let problem = format!("an index must hold integers, not {}", index.dtype());
        return Err(Error::dtype(name, place, problem));
    }
    same_device(name, x, &index, place)?;
    Ok(index)
}

/// Positions counted from the end where they are negative.
fn wrapped(index: Tensor, size: usize) -> Tensor {
    let index = match index.dtype() {
        // The size may be beyond the type.
        Ok(DType::I16 | DType::I8) => index.to_dtype(DType::I32),
        Ok(DType::I32 | DType::I64) => index,
        _ => return index,
    };
    index.lt(0).where_cond(&index + size as i32, &index)
}

/// The value, or what has no dimensions as a vector of one element.
fn one_dimensional(x: Value) -> Result<Value> {
    match x.shape().rank() {
        0 => x.into_tensor().unsqueeze(0).capture(),
        _ => Ok(x),
    }
}

/// What is written into `x`: a tensor of its type, or a number as one without dimensions.
fn written(name: &'static str, x: &Value, source: &Rhs, place: Place) -> Result<Value> {
    let source = match source {
        Rhs::Scalar(number) => {
            return constant(&x.node.device, &Shape::default(), *number, x.dtype(), place);
        }
        Rhs::Tensor(source) => source.capture()?,
    };
    same_device(name, x, &source, place)?;
    if source.dtype() != x.dtype() {
        let problem = format!("{} is written into {}", source.dtype(), x.dtype());
        return Err(Error::dtype(name, place, problem));
    }
    Ok(source)
}

/// `x` with `part` over its first elements along each dimension.
fn over(x: Tensor, part: Tensor) -> Tensor {
    x.then(|x| {
        let (whole, own) = (x.shape().clone(), part.shape()?);
        if whole == own {
            return Ok(part);
        }
        let (start, step) = (vec![0; whole.rank()], vec![1; whole.rank()]);
        let ones = Tensor::ones(&own, (DType::Bool, &x.node.device));
        let inside = lay(&ones, &whole, &start, &step);
        Ok(inside.where_cond(lay(&part, &whole, &start, &step), x.into_tensor()))
    })
}

/// Of the elements that `index` sends to each of `size` places along `dim`, the position of the last one; and
/// whether there is one. Where there is none the position is 0.
fn last_sent(
    name: &'static str,
    index: &Value,
    dim: usize,
    size: usize,
    place: Place,
) -> Result<(Tensor, Tensor)> {
    let shape = index.shape().clone();
    let mut along = vec![1; shape.rank()];
    along[dim] = shape[dim];
    let count = Tensor::arange(shape[dim], (DType::I32, &index.node.device));
    let count = count.reshape(along).expand(&shape).capture()?;
    let last = scatter(name, &count, dim, size, index, Merge::Max, place)?;
    let sent = last.ge(0);
    let last = sent.where_cond(last, 0);
    Ok((sent, last))
}
