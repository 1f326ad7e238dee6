//! Initial values of parameters, as `torch.nn.init`, drawn from the device's random stream.
//!
//! The functions return plain tensors; [`Tensor::requires_grad`] makes a parameter of one.
//!
//! ```
//! # fn main() -> wgrad_core::Result<()> {
//! # let dev = wgrad_core::Device::new(
//! #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
//! use wgrad_nn::init::{self, Fan, Gain};
//!
//! let weight = init::kaiming_uniform([16, 8], Fan::In, Gain::Relu, &dev).requires_grad();
//! let bound = (6.0f32 / 8.0).sqrt();
//! assert!(weight.to_vec::<f32>()?.iter().all(|w| w.abs() <= bound));
//! # Ok(())
//! # }
//! ```

use wgrad_core::{DType, Device, Error, Place, Result, Shape, Target, Tensor};

/// The type of parameters unless another is given.
pub(crate) const FLOAT: DType = DType::F32;

/// Which side of a layer keeps its variance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fan {
    /// Inputs per output: the forward pass keeps it.
    #[default]
    In,
    /// Outputs per input: the backward pass keeps it.
    Out,
}

/// By how much the nonlinearity behind a layer shrinks the standard deviation
/// (`torch.nn.init.calculate_gain`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Gain {
    /// No nonlinearity, a convolution, or a sigmoid: 1.
    Linear,
    /// `tanh`: 5/3.
    Tanh,
    /// `relu`: the square root of 2.
    Relu,
    /// A leaky relu with this negative slope: `sqrt(2 / (1 + slope^2))`.
    LeakyRelu(f64),
    /// `selu`: 3/4.
    Selu,
    /// This factor.
    Factor(f64),
}

impl Gain {
    /// The factor.
    pub fn factor(self) -> f64 {
        match self {
            Gain::Linear => 1.0,
            Gain::Tanh => 5.0 / 3.0,
            Gain::Relu => std::f64::consts::SQRT_2,
            Gain::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
            Gain::Selu => 0.75,
            Gain::Factor(factor) => factor,
        }
    }
}

/// Inputs per output and outputs per input of a weight `[out, in, kernel..]`.
///
/// # Errors
/// [`Error::Shape`] if there are fewer than two dimensions.
///
/// ```
/// use wgrad_core::Shape;
/// assert_eq!(wgrad_nn::init::fans(&Shape::from([8, 3, 5, 5])), Ok((3 * 25, 8 * 25)));
/// assert!(wgrad_nn::init::fans(&Shape::from([8])).is_err());
/// ```
#[track_caller]
pub fn fans(shape: &Shape) -> Result<(usize, usize)> {
    match shape.dims() {
        [out, input, kernel @ ..] => {
            let field = Shape::new(kernel).numel();
            Ok((input.saturating_mul(field), out.saturating_mul(field)))
        }
        _ => Err(Error::Shape {
            op: "init",
            problem: format!("shape {shape} has no fans, which need two dimensions"),
            place: Place::caller(),
        }),
    }
}

/// Uniform in `[lo, hi)`.
#[track_caller]
pub fn uniform(shape: impl Into<Shape>, lo: f64, hi: f64, target: impl Target) -> Tensor {
    Tensor::uniform(shape, lo, hi, target)
}

/// Normal with this mean and standard deviation.
#[track_caller]
pub fn normal(shape: impl Into<Shape>, mean: f64, std: f64, target: impl Target) -> Tensor {
    let place = Place::caller();
    place.hold(|| Tensor::randn(shape, target) * std + mean)
}

/// All zeros.
#[track_caller]
pub fn zeros(shape: impl Into<Shape>, target: impl Target) -> Tensor {
    Tensor::zeros(shape, target)
}

/// All ones.
#[track_caller]
pub fn ones(shape: impl Into<Shape>, target: impl Target) -> Tensor {
    Tensor::ones(shape, target)
}

/// Uniform within `gain sqrt(3 / fan)`
/// ([He et al. 2015](https://arxiv.org/abs/1502.01852)). A shape without fans gives a failed
/// tensor.
#[track_caller]
pub fn kaiming_uniform(
    shape: impl Into<Shape>,
    fan: Fan,
    gain: Gain,
    target: impl Target,
) -> Tensor {
    let place = Place::caller();
    place.hold(|| {
        scaled(shape.into(), target, |input, out| {
            let std = gain.factor() / root(chosen(fan, input, out));
            Distribution::Uniform(std)
        })
    })
}

/// Normal with standard deviation `gain / sqrt(fan)`; otherwise as [`kaiming_uniform`].
#[track_caller]
pub fn kaiming_normal(
    shape: impl Into<Shape>,
    fan: Fan,
    gain: Gain,
    target: impl Target,
) -> Tensor {
    let place = Place::caller();
    place.hold(|| {
        scaled(shape.into(), target, |input, out| {
            let std = gain.factor() / root(chosen(fan, input, out));
            Distribution::Normal(std)
        })
    })
}

/// Uniform within `gain sqrt(6 / (fan in + fan out))`
/// ([Glorot and Bengio 2010](https://proceedings.mlr.press/v9/glorot10a.html)). A shape without
/// fans gives a failed tensor.
#[track_caller]
pub fn xavier_uniform(shape: impl Into<Shape>, gain: Gain, target: impl Target) -> Tensor {
    let place = Place::caller();
    place.hold(|| {
        scaled(shape.into(), target, |input, out| {
            let std = gain.factor() / root((input as f64 + out as f64) / 2.0);
            Distribution::Uniform(std)
        })
    })
}

/// Normal with standard deviation `gain sqrt(2 / (fan in + fan out))`; otherwise as
/// [`xavier_uniform`].
#[track_caller]
pub fn xavier_normal(shape: impl Into<Shape>, gain: Gain, target: impl Target) -> Tensor {
    let place = Place::caller();
    place.hold(|| {
        scaled(shape.into(), target, |input, out| {
            let std = gain.factor() / root((input as f64 + out as f64) / 2.0);
            Distribution::Normal(std)
        })
    })
}

/// A distribution around zero with a standard deviation.
enum Distribution {
    Uniform(f64),
    Normal(f64),
}

fn chosen(fan: Fan, input: usize, out: usize) -> f64 {
    match fan {
        Fan::In => input as f64,
        Fan::Out => out as f64,
    }
}

/// The bound of PyTorch's usual uniform weights and biases, `1 / sqrt(fan in)`.
pub(crate) fn bound(fan_in: usize) -> f64 {
    match fan_in {
        0 => 0.0,
        fan => 1.0 / (fan as f64).sqrt(),
    }
}

/// The square root, 1 for weights without elements (which have no value to scale).
fn root(fan: f64) -> f64 {
    if fan > 0.0 { fan.sqrt() } else { 1.0 }
}

#[track_caller]
fn scaled(
    shape: Shape,
    target: impl Target,
    distribution: impl FnOnce(usize, usize) -> Distribution,
) -> Tensor {
    match fans(&shape).map(|(input, out)| distribution(input, out)) {
        Ok(Distribution::Uniform(std)) => {
            let bound = 3f64.sqrt() * std;
            Tensor::uniform(shape, -bound, bound, target)
        }
        Ok(Distribution::Normal(std)) => Tensor::randn(shape, target) * std,
        Err(error) => Tensor::zeros(shape, &Device::failed(error)),
    }
}
