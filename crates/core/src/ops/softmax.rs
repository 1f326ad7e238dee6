//! Softmax, its logarithm, and the logarithm of a sum of exponentials.
//!
//! Plain formulas, of which fusion makes one kernel of rows each, with what stands before and after them.

use smallvec::SmallVec;

use crate::autograd::{self, Saves, no_grad};
use crate::ops::elementwise::cast;
use crate::tensor::views::{dim_of, materialized};
use crate::tensor::{Tensor, Value, check_count};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

/// Which of the three.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Softmax,
    LogSoftmax,
    LogSumExp,
}

impl Tensor {
    /// `exp(x) / sum(exp(x))` along `dim`. Only floats.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([0.0, 0.0, f64::NEG_INFINITY], &dev).softmax(0);
    /// assert_eq!(y.to_vec::<f32>()?, [0.5, 0.5, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn softmax(&self, dim: isize) -> Tensor {
        along("softmax", self, dim, Form::Softmax, Place::caller())
    }

    /// `ln(softmax(x))` along `dim`, without loss of precision. Only floats.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([0.0, 0.0], &dev).log_softmax(0).to_vec::<f32>()?;
    /// assert!((y[0] + 2.0_f32.ln()).abs() < 1e-6 && y[0] == y[1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn log_softmax(&self, dim: isize) -> Tensor {
        let form = Form::LogSoftmax;
        along("log_softmax", self, dim, form, Place::caller())
    }

    /// `ln(sum(exp(x)))` along `dim`, without overflow.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([1000.0, 1000.0], &dev).logsumexp(0, false).item::<f32>()?;
    /// assert!((y - 1000.0 - 2.0_f32.ln()).abs() < 1e-3);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn logsumexp(&self, dim: isize, keepdim: bool) -> Tensor {
        let place = Place::caller();
        let sum = along("logsumexp", self, dim, Form::LogSumExp, place);
        place.within(|| if keepdim { sum } else { sum.squeeze(dim) })
    }
}

/// The result along `dim`, with `dim` kept.
fn along(name: &'static str, x: &Tensor, dim: isize, form: Form, place: Place) -> Tensor {
    x.widened().then(|value| {
        // A scalar has a dimension 0 here, as in torch.
        let d = match value.shape().dim(dim) {
            Some(d) => d,
            None => dim_of(name, value.shape(), dim, place)?,
        };
        let sums = form == Form::LogSumExp;
        let value = match value.dtype() {
            dtype if dtype.is_float() => value,
            _ if sums => cast(&value, DType::F32, place)?,
            dtype => {
                let problem = format!("takes floats, not {dtype}; convert them with to_dtype");
                return Err(Error::dtype(name, place, problem));
            }
        };
        let shape = value.shape().clone();
        let classes = shape.get(d).copied().unwrap_or(1);
        let x = value.into_tensor();
        Ok(place.within(|| match classes {
            // The logarithm of an empty sum; else there are no elements.
            0 if sums => x.sum_dims([dim], true).ln(),
            0 => x * 1.0,
            _ if shape.rank() == 0 => x
                .reshape([1])
                .then(|x| rows(name, &x, form, place))
                .reshape(shape),
            _ => {
                let last = x.transpose(dim, -1);
                last.then(|x| rows(name, &x, form, place))
                    .transpose(dim, -1)
            }
        }))
    })
}

/// The result along the last dimension, which is kept.
fn rows(name: &'static str, x: &Value, form: Form, place: Place) -> Result<Tensor> {
    let dtype = x.dtype();
    check_count(name, &x.node.device, x.shape(), dtype, place)?;
    let x = materialized(&cast(x, dtype.compute(), place)?, place)?;
    let y = no_grad(|| formula(&x.clone().into_tensor(), form)).capture()?;
    if !autograd::tracks(&[&x]) {
        return Ok(y.into_tensor().to_dtype(dtype));
    }
    let saves = Saves {
        inputs: match form {
            Form::LogSumExp => SmallVec::from_iter([x.clone().into_tensor()]),
            _ => SmallVec::new(),
        },
        output: true,
    };
    let y = autograd::track(name, y, &[&x], saves, place, move |c| {
        let (y, g) = (c.output, c.grad);
        SmallVec::from_iter([Some(match form {
            Form::Softmax => y * (g - (g * y).sum_dims([-1], true)),
            Form::LogSoftmax => slope_of_logs(y, g),
            Form::LogSumExp => slope_of_sum(&c.inputs[0], y) * g,
        })])
    });
    Ok(y.to_dtype(dtype))
}

/// The derivative of `y`, the logarithm of the sum of each row of `x`: its softmax; where the sum is
/// infinite, 0 for what is finite, as torch's `e^(x - y)` has it.
fn slope_of_sum(x: &Tensor, y: &Tensor) -> Tensor {
    y.eq(f64::INFINITY).where_cond((x - y).exp(), x.softmax(-1))
}

/// Along the last dimension, in plain operations.
fn formula(x: &Tensor, form: Form) -> Tensor {
    if x.numel() == Ok(0) {
        // There are classes, so there are no rows.
        return match form {
            Form::LogSumExp => x.sum_dims([-1], true),
            _ => x.clone(),
        };
    }
    let top = x.max_dims([-1], true);
    match form {
        Form::Softmax => {
            let e = (x - top).exp();
            &e * e.sum_dims([-1], true).recip()
        }
        Form::LogSoftmax => {
            let shifted = x - top;
            &shifted - log_total(&shifted)
        }
        Form::LogSumExp => {
            // Where it is infinite it cannot be subtracted.
            let top = top.abs().eq(f64::INFINITY).where_cond(0.0, top);
            log_total(&(x - &top)) + top
        }
    }
}

/// `ln(sum(exp(x)))` of each row, the largest of which is 0 (or none): as `ln(1 + rest)`, so that a
/// small rest is not lost beside the 1.
fn log_total(x: &Tensor) -> Tensor {
    let top = x.eq(0.0);
    let rest = top.where_cond(0.0, x.exp()).sum_dims([-1], true);
    (rest + (top.to_dtype(DType::F32).sum_dims([-1], true) - 1.0)).log1p()
}

/// The derivative of `y`, a logarithm of softmax, times `g`: `g - e^y sum(g)`, where `e^y` is near 1 as
/// `(g - sum(g)) - (e^y - 1) sum(g)`, for the difference of a target's 1 and its probability.
fn slope_of_logs(y: &Tensor, g: &Tensor) -> Tensor {
    let sum = g.sum_dims([-1], true);
    let near = (g - &sum) - y.expm1() * &sum;
    // Infinite sums have no difference from g.
    let near_one = y.gt(-0.5).logical_and(sum.abs().lt(f64::INFINITY));
    near_one.where_cond(near, g - y.exp() * &sum)
}
