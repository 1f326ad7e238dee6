//! Softmax, its logarithm, and the logarithm of a sum of exponentials.
//!
//! Each is one kernel that reads a row once. Where the rows of a view cannot be walked with two
//! strides, and with fusion off, they are composed of plain operations.

use smallvec::SmallVec;

use crate::autograd::{self, Saves};
use crate::elementwise::cast;
use crate::error::{Error, Place, Result};
use crate::kernel::SoftmaxForm;
use crate::node::Op;
use crate::shape::Shape;
use crate::tensor::{Tensor, Value, record};
use crate::views::{dim_of, materialized};

impl Tensor {
    /// `exp(x) / sum(exp(x))` along `dim`.
    #[track_caller]
    pub fn softmax(&self, dim: isize) -> Tensor {
        let place = Place::caller();
        place.hold(|| {
            along("softmax", self, dim, SoftmaxForm::Softmax, place).unwrap_or_else(|| {
                let e = (self - self.detach().max_dims([dim], true)).exp();
                &e / e.sum_dims([dim], true)
            })
        })
    }

    /// `ln(softmax(x))` along `dim`, without loss of precision.
    #[track_caller]
    pub fn log_softmax(&self, dim: isize) -> Tensor {
        let place = Place::caller();
        place.hold(|| {
            along("log_softmax", self, dim, SoftmaxForm::LogSoftmax, place).unwrap_or_else(|| {
                let shifted = self - self.detach().max_dims([dim], true);
                let log_sum = shifted.exp().sum_dims([dim], true).ln();
                shifted - log_sum
            })
        })
    }

    /// `ln(sum(exp(x)))` along `dim`, without overflow.
    #[track_caller]
    pub fn logsumexp(&self, dim: isize, keepdim: bool) -> Tensor {
        let place = Place::caller();
        place.hold(|| {
            let sum = along("logsumexp", self, dim, SoftmaxForm::LogSumExp, place);
            let sum = sum.unwrap_or_else(|| {
                let top = self.detach().max_dims([dim], true);
                // Where it is infinite it cannot be subtracted.
                let top = top.abs().eq(f64::INFINITY).where_cond(0.0, top);
                (self - &top).exp().sum_dims([dim], true).ln() + top
            });
            if keepdim { sum } else { sum.squeeze(dim) }
        })
    }
}

/// The result along `dim`, with `dim` kept, by the kernel, or where there is nothing to compute;
/// `None` where the operation must be composed.
fn along(
    name: &'static str,
    x: &Tensor,
    dim: isize,
    form: SoftmaxForm,
    place: Place,
) -> Option<Tensor> {
    let checked = x.capture().and_then(|value| {
        // A scalar has a dimension 0 here, as in torch.
        let d = match value.shape().dim(dim) {
            Some(d) => d,
            None => dim_of(name, value.shape(), dim, place)?,
        };
        if form != SoftmaxForm::LogSumExp && !value.dtype().is_float() {
            let problem = format!(
                "takes floats, not {}; convert them with to_dtype",
                value.dtype()
            );
            return Err(Error::dtype(name, place, problem));
        }
        Ok((value, d))
    });
    let (value, d) = match checked {
        Ok(checked) => checked,
        Err(error) => return Some(Tensor::fail(x.device(), error)),
    };
    let rank = value.shape().rank();
    let classes = *value.shape().get(d)?;
    if classes == 0 {
        // The logarithm of an empty sum; else there are no elements.
        return Some(match form {
            SoftmaxForm::LogSumExp => x.sum_dims([dim], true).ln(),
            _ => x.clone() * 1.0,
        });
    }
    let numel = value.shape().numel();
    if !value.node.device.fusion() || !value.dtype().is_float() || numel == 0 {
        return None;
    }
    let last = x.transpose(dim, -1);
    let shape = last.shape().ok()?;
    let flat = Shape::from([numel / classes, classes]);
    last.capture().ok()?.layout().reshape(&flat)?;
    let y = last.reshape(&flat).then(|x| rows(name, &x, form, place));
    let mut shape = shape.to_vec();
    if form == SoftmaxForm::LogSumExp {
        shape[rank - 1] = 1;
    }
    Some(y.reshape(shape).transpose(dim, -1))
}

/// The kernel over rows `[n, classes]`.
fn rows(name: &'static str, x: &Value, form: SoftmaxForm, place: Place) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = materialized(&cast(x, dtype.compute(), place)?, place)?;
    let shape = match form {
        SoftmaxForm::LogSumExp => Shape::from([x.shape()[0], 1]),
        _ => x.shape().clone(),
    };
    let inputs = [x.source()].into_iter().collect();
    let device = &x.node.device;
    let y = record(
        name,
        device,
        Op::Softmax(form),
        inputs,
        shape,
        x.dtype(),
        place,
    )?;
    if !autograd::tracks(&[&x]) {
        return Ok(y.into_tensor().to_dtype(dtype));
    }
    let saves = match form {
        SoftmaxForm::LogSumExp => Saves {
            inputs: SmallVec::from_iter([x.clone().into_tensor()]),
            output: true,
        },
        _ => Saves {
            inputs: SmallVec::new(),
            output: true,
        },
    };
    let y = autograd::track(name, y, &[&x], saves, place, move |c| {
        let (y, g) = (c.output, c.grad);
        SmallVec::from_iter([Some(match form {
            SoftmaxForm::Softmax => y * (g - (g * y).sum_dims([1], true)),
            SoftmaxForm::LogSoftmax => g - y.exp() * g.sum_dims([1], true),
            SoftmaxForm::LogSumExp => slope_of_sum(&c.inputs[0], y) * g,
        })])
    });
    Ok(y.to_dtype(dtype))
}

/// The derivative of `y`, the logarithm of the sum of each row of `x`: its softmax; where the sum is
/// infinite, 0 for what is finite, as torch's `e^(x - y)` has it.
fn slope_of_sum(x: &Tensor, y: &Tensor) -> Tensor {
    y.eq(f64::INFINITY).where_cond((x - y).exp(), x.softmax(1))
}
