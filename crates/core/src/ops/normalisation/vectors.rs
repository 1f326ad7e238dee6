//! Vectors of length 1, and how near two are to each other.

use super::wide;
use crate::autograd::no_grad;
use crate::ops::elementwise::{cast, result_type};
use crate::ops::statistics::floats;
use crate::tensor::{Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::DimList;

impl Tensor {
    /// Vectors along `dims` divided by their `p`-norms, or by `eps` where those are smaller.
    /// `torch.nn.functional.normalize`, whose defaults are a `p` of 2, dimension 1, and an `eps` of 1e-12.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[3.0, 4.0], [0.0, 0.0]], &dev);
    /// assert_eq!(x.normalize(2.0, [1], 1e-12).to_vec::<f32>()?, [0.6, 0.8, 0.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn normalize(&self, p: f64, dims: impl DimList, eps: f64) -> Tensor {
        let place = Place::caller();
        self.widened().then(|x| {
            let dtype = floats("normalize", &x, place)?;
            let x = wide(&x, place)?;
            let y = place.within(|| &x / x.vector_norm(p, dims, true).clamp_min(eps));
            Ok(place.within(|| y.to_dtype(dtype)))
        })
    }

    /// The cosines of the angles between vectors along `dim`: `sum(a b) / (max(|a|, eps) max(|b|, eps))`; both
    /// broadcast. `torch.nn.functional.cosine_similarity`, whose defaults are dimension 1 and an `eps` of 1e-8.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 0.0], [3.0, 4.0]], &dev);
    /// let y = x.cosine_similarity(&Tensor::new([[2.0, 0.0]], &dev), 1, 1e-8);
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 0.6]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cosine_similarity(&self, other: &Tensor, dim: isize, eps: f64) -> Tensor {
        let place = Place::caller();
        self.widened().then(|a| {
            let (a, b, dtype) = pair("cosine_similarity", &a, other, place)?;
            place.within(|| {
                let shape = a.shape()?.broadcast(&b.shape()?);
                let shape = shape.ok_or_else(|| Error::Broadcast {
                    op: "cosine_similarity",
                    left: a.shape().unwrap_or_default(),
                    right: b.shape().unwrap_or_default(),
                    place,
                })?;
                let unit = |x: &Tensor| {
                    let x = x.expand(&shape);
                    let norm = at_least(&x.vector_norm(2.0, [dim], true), eps);
                    x / norm
                };
                (unit(&a) * unit(&b))
                    .sum_dims([dim], false)
                    .to_dtype(dtype)
                    .checked()
            })
        })
    }

    /// The `p`-norms of the differences of vectors along the last dimension, `norm(a - b + eps)`; both broadcast.
    /// `torch.nn.functional.pairwise_distance`, whose defaults are a `p` of 2, an `eps` of 1e-6, and that the
    /// dimension goes away.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 1.0], [3.0, 4.0]], &dev);
    /// let y = x.pairwise_distance(&Tensor::new([0.0, 0.0], &dev), 2.0, 0.0, false);
    /// assert_eq!(y.to_vec::<f32>()?, [2.0_f32.sqrt(), 5.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn pairwise_distance(&self, other: &Tensor, p: f64, eps: f64, keepdim: bool) -> Tensor {
        let place = Place::caller();
        self.widened().then(|a| {
            let (a, b, dtype) = pair("pairwise_distance", &a, other, place)?;
            Ok(place.within(|| {
                let apart = a - b + eps;
                let last: &[isize] = match apart.rank() {
                    Ok(0) => &[],
                    _ => &[-1],
                };
                apart.vector_norm(p, last, keepdim).to_dtype(dtype)
            }))
        })
    }
}

/// Two operands of floats in the type that computes, and the type of the result.
fn pair(
    name: &'static str,
    a: &Value,
    b: &Tensor,
    place: Place,
) -> Result<(Tensor, Tensor, DType)> {
    let b = b.capture()?;
    same_device(name, a, &b, place)?;
    let dtype = result_type(a.clone().into_tensor(), b.clone().into_tensor())?;
    if !dtype.is_float() {
        let problem = format!("takes floats, not {dtype}; convert them with to_dtype");
        return Err(Error::dtype(name, place, problem));
    }
    let to = dtype.compute();
    let wide = |x: &Value| cast(x, to, place).map(Value::into_tensor);
    Ok((wide(a)?, wide(&b)?, dtype))
}

/// A norm, or `eps` where it is smaller, with the norm's derivative in both cases, as torch has it.
fn at_least(norm: &Tensor, eps: f64) -> Tensor {
    let raised = no_grad(|| norm.lt(eps).where_cond(norm.detach() * -1.0 + eps, 0.0));
    norm + raised
}
