//! Slices written and added at positions of a dimension, each giving a new tensor.

use super::{integer, last_sent, one_dimensional, written};
use crate::ops::place::lay;
use crate::ops::scatter::{Merge, scatter};
use crate::tensor::views::dim_of;
use crate::tensor::{Rhs, Tensor, Value};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Dims;

impl Tensor {
    /// This tensor plus `alpha` times the slices of `source` at the positions `index` (a vector) of `dim`.
    /// `torch.index_add`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([10, 20, 30], &dev);
    /// let y = x.index_add(0, &Tensor::new([2, 0, 2], &dev), &Tensor::new([1, 2, 3], &dev), 1);
    /// assert_eq!(y.to_vec::<i32>()?, [12, 20, 34]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn index_add(
        &self,
        dim: isize,
        index: &Tensor,
        source: &Tensor,
        alpha: impl Into<Scalar>,
    ) -> Tensor {
        let place = Place::caller();
        let alpha = alpha.into();
        self.then(|x| {
            let name = "index_add";
            let slices = Slices::new(name, &x, dim, index, &source.into(), place)?;
            place.within(|| {
                let source = match alpha {
                    Scalar::Integer(1) => slices.source.clone(),
                    alpha => slices.source.mul(alpha).to_dtype(x.dtype()),
                };
                let index = slices.along(&slices.index);
                let index = index.expand(source.shape()?).capture()?;
                let source = source.capture()?;
                let (d, size) = (slices.d, slices.size);
                let sums = scatter(name, &source, d, size, &index, Merge::Sum, place)?;
                (&slices.x + sums).reshape(x.shape()).checked()
            })
        })
    }

    /// This tensor with the slices of `source` at the positions `index` (a vector) of `dim`; of several for one
    /// position the last stays. `torch.index_copy`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([10, 20, 30], &dev);
    /// let y = x.index_copy(0, &Tensor::new([2, 0], &dev), &Tensor::new([1, 2], &dev));
    /// assert_eq!(y.to_vec::<i32>()?, [2, 20, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn index_copy(&self, dim: isize, index: &Tensor, source: &Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let slices = Slices::new("index_copy", &x, dim, index, &source.into(), place)?;
            place.within(|| {
                slices
                    .copied("index_copy", place)?
                    .reshape(x.shape())
                    .checked()
            })
        })
    }

    /// This tensor with `value`, a number or a tensor without dimensions, at the positions `index` (a vector) of
    /// `dim`. `torch.index_fill`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2, 3], [4, 5, 6]], &dev);
    /// let y = x.index_fill(1, &Tensor::new([0, 2], &dev), -1);
    /// assert_eq!(y.to_vec::<i32>()?, [-1, 2, -1, -1, 5, -1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn index_fill(&self, dim: isize, index: &Tensor, value: impl Into<Rhs>) -> Tensor {
        let place = Place::caller();
        let value = value.into();
        self.then(|x| {
            let name = "index_fill";
            let value = written(name, &x, &value, place)?.into_tensor();
            if value.rank()? > 0 {
                let problem = format!("a value of shape {} has dimensions", value.shape()?);
                return Err(Error::shape(name, place, problem));
            }
            let slices = Slices::new(name, &x, dim, index, &Rhs::from(0), place)?;
            place.within(|| {
                let index = slices.index.capture()?;
                let (hit, _) = last_sent(name, &index, 0, slices.size, place)?;
                let filled = slices.along(&hit).where_cond(value, &slices.x);
                filled.reshape(x.shape()).checked()
            })
        })
    }
}

/// `x` with the slices of `source` at the positions `index` of dimension 0, or plus them.
pub(super) fn put_rows(
    name: &'static str,
    x: &Tensor,
    index: &Tensor,
    source: &Tensor,
    accumulate: bool,
    place: Place,
) -> Result<Tensor> {
    let x = x.capture()?;
    let slices = Slices::new(name, &x, 0, index, &source.into(), place)?;
    if !accumulate {
        return slices.copied(name, place);
    }
    let spread = slices
        .along(&slices.index)
        .expand(source.shape()?)
        .capture()?;
    let source = source.capture()?;
    let sums = scatter(name, &source, 0, slices.size, &spread, Merge::Sum, place)?;
    Ok(&slices.x + sums)
}

/// Slices of a dimension that are written at positions of it.
struct Slices {
    /// With at least one dimension.
    x: Tensor,
    d: usize,
    size: usize,
    /// A vector.
    index: Tensor,
    source: Tensor,
}

impl Slices {
    fn new(
        name: &'static str,
        x: &Value,
        dim: isize,
        index: &Tensor,
        source: &Rhs,
        place: Place,
    ) -> Result<Slices> {
        let index = one_dimensional(integer(name, index, x, place)?)?;
        let mut from = written(name, x, source, place)?;
        let x = one_dimensional(x.clone())?;
        let d = dim_of(name, x.shape(), dim, place)?;
        let n = index.shape().numel();
        if matches!(source, Rhs::Tensor(_)) {
            from = one_dimensional(from)?;
            let mut to = Dims::from_slice(x.shape());
            to[d] = n;
            if from.shape()[..] != to[..] || index.shape().rank() != 1 {
                let (of, own, at) = (from.shape(), x.shape(), index.shape());
                let problem =
                    format!("index of shape {at} and source of shape {of} for shape {own}");
                return Err(Error::shape(name, place, problem));
            }
        } else if index.shape().rank() != 1 {
            let problem = format!("index of shape {} is no vector", index.shape());
            return Err(Error::shape(name, place, problem));
        }
        Ok(Slices {
            d,
            size: x.shape()[d],
            x: x.into_tensor(),
            index: index.into_tensor(),
            source: from.into_tensor(),
        })
    }

    /// A vector as one along the dimension.
    fn along(&self, vector: &Tensor) -> Tensor {
        vector.then(|v| {
            let mut to = vec![1; self.x.rank()?];
            to[self.d] = v.shape().numel();
            Ok(v.into_tensor().reshape(to))
        })
    }

    /// `x` with the slices at their positions.
    fn copied(&self, name: &'static str, place: Place) -> Result<Tensor> {
        if self.index.numel()? == 0 {
            // They get a gradient all the same.
            let from = self.source.shape()?;
            let nothing = lay(
                &self.source,
                &self.x.shape()?,
                &vec![0; from.rank()],
                &vec![1; from.rank()],
            );
            return Ok(
                Tensor::zeros([1], (DType::Bool, self.x.device())).where_cond(nothing, &self.x)
            );
        }
        let (hit, last) = last_sent(name, &self.index.capture()?, 0, self.size, place)?;
        let taken = self.source.index_select(self.d as isize, &last);
        Ok(self.along(&hit).where_cond(taken, &self.x))
    }
}
