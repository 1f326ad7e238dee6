//! Normalisation by the statistics of a batch, or by those that ran along in training.

use smallvec::SmallVec;

use super::{Affine, alone, fitting, wide};
use crate::autograd::{self, Grads, Saves, no_grad};
use crate::ops::elementwise::cast;
use crate::ops::statistics::floats;
use crate::tensor::{Tensor, Value};
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{Dims, Shape};

/// Options of [`Tensor::batch_norm`] and [`Tensor::instance_norm`].
#[derive(Clone, Debug)]
pub struct BatchNormOptions {
    /// Running mean and variance, a number per channel each: what normalises where `training` is off, and what the
    /// updated ones come from where it is on. They have no derivative.
    pub running: Option<(Tensor, Tensor)>,
    /// A factor per channel.
    pub weight: Option<Tensor>,
    /// A summand per channel.
    pub bias: Option<Tensor>,
    /// Whether the tensor's own mean and variance normalise (torch's `training`, and `use_input_stats` of instances).
    pub training: bool,
    /// The part of the new statistics in the updated ones. For a plain mean over all batches, `1 / batches so far`.
    pub momentum: f64,
    /// What is added to the variance.
    pub eps: f64,
}

impl Default for BatchNormOptions {
    /// Normalisation by the tensor's own statistics, a momentum of 0.1, and an `eps` of 1e-5.
    fn default() -> BatchNormOptions {
        BatchNormOptions {
            running: None,
            weight: None,
            bias: None,
            training: true,
            momentum: 0.1,
            eps: 1e-5,
        }
    }
}

/// What [`Tensor::batch_norm`] and [`Tensor::instance_norm`] give.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// The normalised tensor.
    pub output: Tensor,
    /// The means that were subtracted, without history: `[channels]`, of instances `[n, channels]`.
    pub mean: Tensor,
    /// The variances that were divided by, without history. In training they divide by the number of elements.
    pub variance: Tensor,
    /// The running mean and variance after this batch, where there are any:
    /// `(1 - momentum) running + momentum new`, where a new variance divides by the number of elements less 1. Those
    /// of instances are means over the batch. Without training they are as they were.
    pub running: Option<(Tensor, Tensor)>,
}

/// Whose statistics normalise.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// A channel's, over the batch.
    Channel,
    /// An instance's channel's.
    Instance,
}

impl Tensor {
    /// Of `[n, channels, ..]` each channel with the mean 0 and the variance 1, then scaled and shifted:
    /// `(x - mean) / sqrt(variance + eps) * weight + bias`
    /// ([Ioffe and Szegedy 2015](https://arxiv.org/abs/1502.03167)). In training mean and variance are the
    /// channel's own, and running ones are updated; otherwise the running ones are taken, and needed.
    /// `torch.nn.functional.batch_norm`.
    ///
    /// Nothing is written to: the updated statistics are in the result, [`BatchNorm::running`]. `weight` and `bias`
    /// have this tensor's type, or are `f32` beside 16-bit floats, as running statistics may be. A channel of one
    /// element is refused in training, as in torch.
    ///
    /// ```
    /// # use wgrad::{BatchNormOptions, prelude::*};
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 10.0], [3.0, 20.0]], &dev);
    /// let running = Some((Tensor::zeros([2], &dev), Tensor::ones([2], &dev)));
    /// let options = BatchNormOptions { running, momentum: 0.5, eps: 0.0, ..Default::default() };
    /// let normed = x.batch_norm(options);
    /// assert_eq!(normed.output.to_vec::<f32>()?, [-1.0, -1.0, 1.0, 1.0]);
    /// let (mean, variance) = normed.running.unwrap();
    /// assert_eq!(mean.to_vec::<f32>()?, [1.0, 7.5]);
    /// assert_eq!(variance.to_vec::<f32>()?, [1.5, 25.5]); // (1 + 2) / 2, (1 + 50) / 2
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn batch_norm(&self, options: BatchNormOptions) -> BatchNorm {
        normalised("batch_norm", self, &options, Of::Channel, Place::caller())
    }

    /// Of `[n, channels, ..]` each channel of each instance with the mean 0 and the variance 1, otherwise as
    /// [`Tensor::batch_norm`] ([Ulyanov et al. 2016](https://arxiv.org/abs/1607.08022)).
    /// `torch.nn.functional.instance_norm`.
    ///
    /// ```
    /// # use wgrad::{BatchNormOptions, prelude::*};
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[[1.0, 3.0], [20.0, 10.0]]], &dev);
    /// let y = x.instance_norm(BatchNormOptions { eps: 0.0, ..Default::default() });
    /// assert_eq!(y.output.to_vec::<f32>()?, [-1.0, 1.0, 1.0, -1.0]);
    /// assert_eq!(y.mean.to_vec::<f32>()?, [2.0, 15.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn instance_norm(&self, options: BatchNormOptions) -> BatchNorm {
        let place = Place::caller();
        normalised("instance_norm", self, &options, Of::Instance, place)
    }
}

fn normalised(
    name: &'static str,
    x: &Tensor,
    options: &BatchNormOptions,
    of: Of,
    place: Place,
) -> BatchNorm {
    let normed = x
        .capture()
        .and_then(|x| place.within(|| normed(name, &x, options, of, place)));
    normed.unwrap_or_else(|error| {
        let failed = || Tensor::fail(x.device(), error.clone());
        BatchNorm {
            output: failed(),
            mean: failed(),
            variance: failed(),
            running: options.running.as_ref().map(|_| (failed(), failed())),
        }
    })
}

fn normed(
    name: &'static str,
    x: &Value,
    options: &BatchNormOptions,
    of: Of,
    place: Place,
) -> Result<BatchNorm> {
    let dtype = floats(name, x, place)?;
    let shape = x.shape();
    if shape.rank() < 2 {
        let problem = format!("shape {shape} has no channels: it is [n, channels, ..]");
        return Err(Error::shape(name, place, problem));
    }
    let channels = shape[1];
    let mut per = Dims::from_elem(1, shape.rank());
    per[1] = channels;
    let per = Shape::from(per);
    let running = match &options.running {
        Some((mean, variance)) => Some((
            statistic(name, "mean", x, mean, channels, place)?,
            statistic(name, "variance", x, variance, channels, place)?,
        )),
        None if options.training => None,
        None => {
            let problem =
                format!("without training, running statistics are needed for shape {shape}");
            return Err(Error::value(name, place, problem));
        }
    };
    let (weight, bias) = (options.weight.as_ref(), options.bias.as_ref());
    let affine = Affine::new(name, x, weight, bias, &Shape::from(channels), &per, place)?;
    let first = usize::from(of == Of::Instance) * 2;
    let dims: Vec<usize> = (0..shape.rank())
        .filter(|&d| d != 1 && (d >= 2 || first == 0))
        .collect();
    let count: usize = dims.iter().map(|&d| shape[d]).product();
    let wide = wide(x, place)?;
    match running {
        Some((mean, variance)) if !options.training => {
            let (m, v) = (compute(&mean, x, place)?, compute(&variance, x, place)?);
            let scale = (v.reshape(&per) + options.eps).rsqrt();
            let output = affine.of((wide - m.reshape(&per)) * scale).to_dtype(dtype);
            let (mean, variance) = (mean.into_tensor(), variance.into_tensor());
            Ok(BatchNorm {
                output,
                mean: mean.clone(),
                variance: variance.clone(),
                running: Some((mean, variance)),
            })
        }
        running => {
            if count == 1 {
                return Err(Error::shape(name, place, alone(shape)));
            }
            let own: &[usize] = match of {
                Of::Channel => &[channels],
                Of::Instance => &[shape[0], channels],
            };
            if count == 0 {
                // Of nothing there is no mean: running statistics stay what they are.
                let none = || Tensor::zeros(own, (wide.dtype().unwrap_or(dtype), wide.device()));
                let (mean, variance) = (none(), none());
                return Ok(BatchNorm {
                    output: affine.of(wide).to_dtype(dtype),
                    mean,
                    variance,
                    running: running.map(|(m, v)| (m.into_tensor(), v.into_tensor())),
                });
            }
            let dims: Vec<isize> = dims.iter().map(|&d| d as isize).collect();
            let (variance, mean) = wide.var_mean(&dims[..], 0.0, true);
            let scale = (&variance + options.eps).rsqrt();
            let output = standardised(name, &wide, (&mean, scale), affine, (dims, of), place)?;
            let (mean, variance) = (mean.detach().reshape(own), variance.detach().reshape(own));
            let running = running.map(|(old_mean, old_variance)| {
                // Bessel's correction.
                let unbiased = &variance * (count as f64 / (count as f64 - 1.0));
                let updated = |old: Value, new: &Tensor| updated(old, new, options.momentum, of);
                (updated(old_mean, &mean), updated(old_variance, &unbiased))
            });
            Ok(BatchNorm {
                output: output.to_dtype(dtype),
                mean,
                variance,
                running,
            })
        }
    }
}

/// `(x - mean) * scale * weight + bias`, where these are the mean over `dims` and what divides by the deviation. The
/// derivative is that of all of it: two sums, of the gradient `g` and of `g (x - mean)`, which are those of bias and
/// weight too, where the tape of the parts has six. With the parts' own history it is differentiable again.
fn standardised(
    name: &'static str,
    x: &Tensor,
    (mean, scale): (&Tensor, Tensor),
    Affine { weight, bias }: Affine,
    (dims, of): (Vec<isize>, Of),
    place: Place,
) -> Result<Tensor> {
    let factor = |scale: &Tensor, weight: Option<&Tensor>| match weight {
        Some(weight) => scale * weight,
        None => scale.clone(),
    };
    let y = no_grad(|| {
        let scaled = (x - mean) * factor(&scale, weight.as_ref());
        match &bias {
            Some(bias) => scaled + bias,
            None => scaled,
        }
        .capture()
    })?;
    let operands = [Some(x), weight.as_ref(), bias.as_ref()];
    let values = operands.into_iter().flatten().map(Tensor::capture);
    let values = values.collect::<Result<Vec<Value>>>()?;
    let values: SmallVec<[&Value; 3]> = values.iter().collect();
    if !autograd::tracks(&values) {
        return Ok(y.into_tensor());
    }
    let (has_weight, has_bias) = (weight.is_some(), bias.is_some());
    let kept = [x.clone(), mean.clone(), scale].into_iter().chain(weight);
    let saves = Saves {
        inputs: kept.collect(),
        output: false,
    };
    let count: usize = dims.iter().map(|&d| y.shape()[d as usize]).product();
    Ok(autograd::track(name, y, &values, saves, place, move |c| {
        let [x, mean, scale, weight @ ..] = c.inputs else {
            return Grads::new();
        };
        let sum = |of: &Tensor| of.sum_dims(&dims[..], true);
        let (g, centred) = (c.grad, x - mean);
        let (by_bias, by_weight) = (sum(g), sum(&(g * &centred)) * scale);
        let by_x = c.needs[0].then(|| {
            let mean = &by_bias / count as f64;
            let along = &by_weight * scale / count as f64;
            (g - mean - centred * along) * factor(scale, weight.first())
        });
        // Instances share weight and bias.
        let shared = |grad: Tensor| match of {
            Of::Channel => grad,
            Of::Instance => grad.sum_dims([0], true),
        };
        let by_weight = has_weight.then(|| Some(shared(by_weight)));
        let by_bias = has_bias.then(|| Some(shared(by_bias)));
        [Some(by_x), by_weight, by_bias]
            .into_iter()
            .flatten()
            .collect()
    }))
}

/// A running statistic, without history.
fn statistic(
    name: &'static str,
    what: &str,
    x: &Value,
    of: &Tensor,
    channels: usize,
    place: Place,
) -> Result<Value> {
    let of = of.capture()?;
    if *of.shape() != [channels] {
        let (own, shape) = (of.shape(), x.shape());
        let problem =
            format!("a running {what} of shape {own}, not [{channels}], for shape {shape}");
        return Err(Error::shape(name, place, problem));
    }
    fitting(name, what, x, &of, place)?;
    Ok(Value {
        history: None,
        ..of
    })
}

fn compute(of: &Value, x: &Value, place: Place) -> Result<Tensor> {
    Ok(cast(of, x.dtype().compute(), place)?.into_tensor())
}

/// `(1 - momentum) old + momentum new`, of the old one's type.
fn updated(old: Value, new: &Tensor, momentum: f64, of: Of) -> Tensor {
    no_grad(|| {
        let dtype = old.dtype();
        let old = old.into_tensor().to_dtype(dtype.compute());
        let new = match of {
            Of::Channel => new.clone(),
            Of::Instance => new.mean_dims([0], false),
        };
        (old * (1.0 - momentum) + new * momentum).to_dtype(dtype)
    })
}
