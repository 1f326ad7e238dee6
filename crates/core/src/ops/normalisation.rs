//! Normalisation by mean and variance, or by squares: of layers, groups, neighbours and weights.
//!
//! Plain formulas, of which fusion makes kernels of rows, with what stands before and after them.

mod batch;
mod vectors;

pub use batch::{BatchNorm, BatchNormOptions};

use crate::autocast;
use crate::ops::elementwise::cast;
use crate::ops::place::lay;
use crate::ops::statistics::floats;
use crate::tensor::views::{dim_of, materialized};
use crate::tensor::{Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{Dims, Shape};

impl Tensor {
    /// Each part of the last dimensions, which are `shape`, with the mean 0 and the variance 1, then scaled and
    /// shifted: `(x - mean) / sqrt(variance + eps) * weight + bias`, where the variance divides by the number of
    /// elements ([Ba et al. 2016](https://arxiv.org/abs/1607.06450)). `weight` and `bias` have the shape `shape` and
    /// this tensor's type, or are `f32` beside 16-bit floats. `torch.nn.functional.layer_norm`, whose default for
    /// `eps` is 1e-5.
    ///
    /// Only floats; 16-bit ones are widened to `f32` and rounded once. Forward, this is one kernel.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 3.0], [20.0, 10.0]], &dev);
    /// let weight = Tensor::new([1.0, 2.0], &dev);
    /// let y = x.layer_norm([2], Some(&weight), None, 0.0);
    /// assert_eq!(y.to_vec::<f32>()?, [-1.0, 2.0, 1.0, -2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn layer_norm(
        &self,
        shape: impl Into<Shape>,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Tensor {
        let (place, shape) = (Place::caller(), shape.into());
        self.widened().then(|x| {
            let name = "layer_norm";
            let dtype = floats(name, &x, place)?;
            let dims = trailing(name, &x, &shape, place)?;
            let affine = Affine::new(name, &x, weight, bias, &shape, &shape, place)?;
            let x = wide(&x, place)?;
            Ok(place.within(|| affine.of(standardised(&x, &dims, eps)).to_dtype(dtype)))
        })
    }

    /// Each part of the last dimensions, which are `shape`, divided by the root of the mean of its squares, then
    /// scaled: `x / sqrt(mean(x^2) + eps) * weight` ([Zhang and Sennrich 2019](https://arxiv.org/abs/1910.07467)).
    /// Without an `eps` it is the distance between 1 and the next number of the type that computes.
    /// `torch.nn.functional.rms_norm`; types and kernels as [`Tensor::layer_norm`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, -1.0, 1.0, 5.0]], &dev); // the mean of the squares is 7
    /// let y = x.rms_norm([4], None, Some(2.0)).to_vec::<f32>()?;
    /// assert!((y[0] - 1.0 / 3.0).abs() < 1e-6 && (y[3] - 5.0 / 3.0).abs() < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn rms_norm(
        &self,
        shape: impl Into<Shape>,
        weight: Option<&Tensor>,
        eps: Option<f64>,
    ) -> Tensor {
        let (place, shape) = (Place::caller(), shape.into());
        self.widened().then(|x| {
            let name = "rms_norm";
            let dtype = floats(name, &x, place)?;
            let eps = eps.unwrap_or(match dtype.compute() {
                DType::F64 => f64::EPSILON,
                _ => f64::from(f32::EPSILON),
            });
            let dims = trailing(name, &x, &shape, place)?;
            let affine = Affine::new(name, &x, weight, None, &shape, &shape, place)?;
            let x = wide(&x, place)?;
            Ok(place.within(|| {
                let scale = (x.sqr().mean_dims(&dims[..], true) + eps).rsqrt();
                affine.of(&x * scale).to_dtype(dtype)
            }))
        })
    }

    /// Of `[n, channels, ..]` each of `groups` equal parts of the channels, with all that lies behind them, with the
    /// mean 0 and the variance 1, then scaled and shifted by a `weight` and a `bias` per channel
    /// ([Wu and He 2018](https://arxiv.org/abs/1803.08494)). Otherwise as [`Tensor::layer_norm`].
    /// `torch.nn.functional.group_norm`, which also refuses groups of one element.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 3.0, 20.0, 10.0]], &dev);
    /// assert_eq!(x.group_norm(2, None, None, 0.0).to_vec::<f32>()?, [-1.0, 1.0, 1.0, -1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn group_norm(
        &self,
        groups: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Tensor {
        let place = Place::caller();
        self.widened().then(|x| {
            let name = "group_norm";
            let dtype = floats(name, &x, place)?;
            let shape = x.shape().clone();
            if shape.rank() < 2 || groups == 0 || !shape[1].is_multiple_of(groups) {
                let problem = format!("shape {shape} has no channels in {groups} equal groups: it is [n, channels, ..], with a multiple of the groups");
                return Err(Error::shape(name, place, problem));
            }
            let part = shape[1] / groups;
            // As torch counts them: over the batch, too.
            let spatial: usize = shape[2..].iter().product();
            if shape[0] * part * spatial == 1 {
                return Err(Error::shape(name, place, alone(&shape)));
            }
            let mut apart = Dims::from_slice(&[shape[0], groups, part]);
            apart.extend_from_slice(&shape[2..]);
            let mut per = Dims::from_elem(1, shape.rank() + 1);
            (per[1], per[2]) = (groups, part);
            let (channels, per) = (Shape::from(shape[1]), Shape::from(per));
            let affine = Affine::new(name, &x, weight, bias, &channels, &per, place)?;
            let x = wide(&x, place)?;
            let dims: Vec<isize> = (2..apart.len() as isize).collect();
            Ok(place.within(|| {
                let y = standardised(&x.reshape(Shape::from(apart)), &dims, eps);
                affine.of(y).to_dtype(dtype).reshape(shape)
            }))
        })
    }

    /// Of `[n, channels, ..]` with at least three dimensions each element divided by a power of the squares of its
    /// neighbours in `size` channels around it: `x / (k + alpha mean(x^2))^beta`, where the mean of the window counts
    /// zeros beyond the ends; an even window has one more before than behind
    /// ([Krizhevsky et al. 2012](https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks)).
    /// `torch.nn.functional.local_response_norm`, whose defaults are an `alpha` of 1e-4, a `beta` of 0.75 and a `k`
    /// of 1.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[[3.0], [1.0], [0.0]]], &dev);
    /// let y = x.local_response_norm(3, 3.0, 1.0, 1.0); // 1 + 9 + 1, 1 + 9 + 1 + 0, ..
    /// let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
    /// let y = y.to_vec::<f32>()?;
    /// assert!(close(y[0], 3.0 / 11.0) && close(y[1], 1.0 / 11.0) && y[2] == 0.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn local_response_norm(&self, size: usize, alpha: f64, beta: f64, k: f64) -> Tensor {
        let place = Place::caller();
        self.widened().then(|x| {
            let name = "local_response_norm";
            let dtype = floats(name, &x, place)?;
            if x.shape().rank() < 3 || size == 0 {
                let problem = format!(
                    "a window of {size} channels for shape {}: there must be one or more, and three dimensions, [n, \
                     channels, ..]",
                    x.shape()
                );
                return Err(Error::shape(name, place, problem));
            }
            let channels = x.shape()[1];
            let x = wide(&x, place)?;
            Ok(place.within(|| {
                let squares = x.sqr();
                let sum = windows(&squares, channels, size / 2, (size - 1) / 2);
                let scale = (sum * (alpha / size as f64) + k).powf(-beta);
                (&x * scale).to_dtype(dtype)
            }))
        })
    }

    /// A weight as its length and its direction: this tensor, divided by its norms over all dimensions but `dim`, times
    /// `length`, whose shape broadcasts to this tensor's ([Salimans and Kingma 2016](https://arxiv.org/abs/1602.07868)).
    /// Without a `dim` the norm is that of all elements. What `torch.nn.utils.weight_norm` computes, which takes
    /// dimension 0 and lengths with dimensions of size 1 for the others.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let v = Tensor::new([[3.0, 4.0], [0.0, 2.0]], &dev);
    /// let length = Tensor::new([[10.0], [1.0]], &dev);
    /// assert_eq!(v.weight_norm(&length, Some(0)).to_vec::<f32>()?, [6.0, 8.0, 0.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn weight_norm(&self, length: &Tensor, dim: Option<isize>) -> Tensor {
        let place = Place::caller();
        self.widened().then(|v| {
            let name = "weight_norm";
            let dtype = floats(name, &v, place)?;
            let length = factor(name, "length", &v, &length.capture()?, place)?;
            let (shape, of) = (v.shape(), length.shape()?);
            if shape.broadcast(&of).as_ref() != Some(shape) {
                let problem = format!("lengths of shape {of} must broadcast to shape {shape}");
                return Err(Error::shape(name, place, problem));
            }
            let but = match dim {
                Some(dim) => Some(dim_of(name, shape, dim, place)?),
                None => None,
            };
            let dims = (0..shape.rank()).filter(|&d| Some(d) != but);
            let dims: Vec<isize> = dims.map(|d| d as isize).collect();
            let v = wide(&v, place)?;
            Ok(place.within(|| {
                // Over no dimensions, the norm of an element is its absolute value.
                let norm = match dims.is_empty() {
                    true => v.abs(),
                    false => v.vector_norm(2.0, &dims[..], true),
                };
                (&v * (length / norm)).to_dtype(dtype)
            }))
        })
    }
}

/// The operand in the type that computes.
fn wide(x: &Value, place: Place) -> Result<Tensor> {
    Ok(materialized(&cast(x, x.dtype().compute(), place)?, place)?.into_tensor())
}

/// `(x - mean) / sqrt(variance + eps)` over `dims`: in two passes, so that nothing cancels.
fn standardised(x: &Tensor, dims: &[isize], eps: f64) -> Tensor {
    let centred = x - x.mean_dims(dims, true);
    let variance = centred.sqr().mean_dims(dims, true);
    centred * (variance + eps).rsqrt()
}

/// The last dimensions, which must be `shape`.
fn trailing(name: &'static str, x: &Value, shape: &Shape, place: Place) -> Result<Vec<isize>> {
    let n = shape.rank();
    if n == 0 || !x.shape().ends_with(shape) {
        let problem = format!(
            "shape {} does not end with {shape}, the normalized shape of a dimension or more",
            x.shape()
        );
        return Err(Error::shape(name, place, problem));
    }
    Ok((1..=n as isize).rev().map(|d| -d).collect())
}

/// What is wrong with a variance of one element.
fn alone(shape: &Shape) -> String {
    format!("more than one element per variance is needed, which shape {shape} does not have")
}

/// Checks that an operand goes with `x`: of its type, or `f32` beside 16-bit floats.
fn fitting(name: &'static str, what: &str, x: &Value, operand: &Value, place: Place) -> Result<()> {
    same_device(name, x, operand, place)?;
    let (of, dtype) = (operand.dtype(), x.dtype());
    if of != dtype && of != dtype.compute() {
        let problem = format!("a {what} of {of} for a tensor of {dtype}; convert it with to_dtype");
        return Err(Error::dtype(name, place, problem));
    }
    Ok(())
}

/// The operand in the type that computes.
fn factor(
    name: &'static str,
    what: &str,
    x: &Value,
    operand: &Value,
    place: Place,
) -> Result<Tensor> {
    let operand = &autocast::wide(operand, place)?;
    fitting(name, what, x, operand, place)?;
    Ok(cast(operand, x.dtype().compute(), place)?.into_tensor())
}

/// What scales and shifts.
struct Affine {
    weight: Option<Tensor>,
    bias: Option<Tensor>,
}

impl Affine {
    /// Weight and bias of the shape `shape`, seen as `per`.
    fn new(
        name: &'static str,
        x: &Value,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        shape: &Shape,
        per: &Shape,
        place: Place,
    ) -> Result<Affine> {
        let operand = |what: &str, operand: Option<&Tensor>| -> Result<Option<Tensor>> {
            let Some(operand) = operand else {
                return Ok(None);
            };
            let operand = operand.capture()?;
            if operand.shape() != shape {
                let (of, x) = (operand.shape(), x.shape());
                let problem = format!("a {what} of shape {of}, not {shape}, for shape {x}");
                return Err(Error::shape(name, place, problem));
            }
            let operand = factor(name, what, x, &operand, place)?;
            Ok(Some(place.within(|| operand.reshape(per))))
        };
        Ok(Affine {
            weight: operand("weight", weight)?,
            bias: operand("bias", bias)?,
        })
    }

    fn of(&self, x: Tensor) -> Tensor {
        let x = match &self.weight {
            Some(weight) => x * weight,
            None => x,
        };
        match &self.bias {
            Some(bias) => x + bias,
            None => x,
        }
    }
}

/// The sums over `before` positions before each of dimension 1, itself and `behind` behind it, with zeros beyond the
/// ends.
fn windows(x: &Tensor, size: usize, before: usize, behind: usize) -> Tensor {
    // Further away there is nothing.
    let (before, behind) = (before.min(size), behind.min(size));
    let x = &x.then(|x| {
        let mut to = Dims::from_slice(x.shape());
        to[1] += before + behind;
        let mut start = vec![0; to.len()];
        start[1] = before;
        Ok(lay(
            &x.into_tensor(),
            &Shape::from(to),
            &start,
            &vec![1; start.len()],
        ))
    });
    let shifted = |offset: usize| x.narrow(1, offset, size);
    (1..=before + behind).fold(shifted(0), |sum, offset| sum + shifted(offset))
}
