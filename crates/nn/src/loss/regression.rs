//! Losses of numbers.

use std::f64::consts::LN_2;

use wgrad_core::{Place, Reduction, Tensor};

use super::{failed, paired, value_error};

/// The mean of `(input - target)^2`. Both have one shape.
#[track_caller]
pub fn mse_loss(input: &Tensor, target: &Tensor) -> Tensor {
    mse_loss_with(input, target, Reduction::Mean)
}

/// [`mse_loss`] with another reduction.
#[track_caller]
pub fn mse_loss_with(input: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    paired("mse_loss", input, target, reduction, |x, t| (x - t).sqr())
}

/// The mean of `|input - target|`. Both have one shape.
#[track_caller]
pub fn l1_loss(input: &Tensor, target: &Tensor) -> Tensor {
    l1_loss_with(input, target, Reduction::Mean)
}

/// [`l1_loss`] with another reduction.
#[track_caller]
pub fn l1_loss_with(input: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    paired("l1_loss", input, target, reduction, |x, t| (x - t).abs())
}

/// The square root of [`mse_loss`]. Where all are hit exactly it has no derivative: NaN, as in torch.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (y, t) = (Tensor::new([1.0, 2.0], &dev), Tensor::new([1.0, 4.0], &dev));
/// assert_eq!(loss::rmse_loss(&y, &t).item::<f32>()?, 2f32.sqrt());
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn rmse_loss(input: &Tensor, target: &Tensor) -> Tensor {
    paired("rmse_loss", input, target, Reduction::None, |x, t| {
        (x - t).sqr().mean().sqrt()
    })
}

/// Options of [`huber_loss_with`], by default PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct HuberOptions {
    /// From where on the loss is linear, above 0.
    pub delta: f64,
    /// How losses are combined.
    pub reduction: Reduction,
}

impl Default for HuberOptions {
    fn default() -> HuberOptions {
        HuberOptions {
            delta: 1.0,
            reduction: Reduction::Mean,
        }
    }
}

/// The mean of Huber's loss ([1964](https://doi.org/10.1214/aoms/1177703732)) with a `delta` of 1, as
/// `torch.nn.functional.huber_loss`: `d^2 / 2` where the difference `d` is at most `delta`, else
/// `delta (|d| - delta / 2)`. Both have one shape.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (y, t) = (Tensor::new([0.5, 3.0], &dev), Tensor::new([0.0, 0.0], &dev));
/// assert_eq!(loss::huber_loss(&y, &t).item::<f32>()?, (0.125 + 2.5) / 2.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn huber_loss(input: &Tensor, target: &Tensor) -> Tensor {
    huber_loss_with(input, target, HuberOptions::default())
}

/// [`huber_loss`] with options.
#[track_caller]
pub fn huber_loss_with(input: &Tensor, target: &Tensor, options: HuberOptions) -> Tensor {
    let HuberOptions { delta, reduction } = options;
    if !(delta > 0.0 && delta.is_finite()) {
        let problem = format!("delta must be above 0, not {delta}");
        return failed(value_error("huber_loss", problem, Place::caller()));
    }
    paired("huber_loss", input, target, reduction, |x, t| {
        let d = x - t;
        let size = d.abs();
        let line = (&size - 0.5 * delta) * delta;
        size.le(delta).where_cond(d.sqr() * 0.5, line)
    })
}

/// Options of [`smooth_l1_loss_with`], by default PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SmoothL1Options {
    /// From where on the loss is linear; with 0 it is the L1 loss.
    pub beta: f64,
    /// How losses are combined.
    pub reduction: Reduction,
}

impl Default for SmoothL1Options {
    fn default() -> SmoothL1Options {
        SmoothL1Options {
            beta: 1.0,
            reduction: Reduction::Mean,
        }
    }
}

/// The mean of the smooth L1 loss ([Girshick 2015](https://arxiv.org/abs/1504.08083)) with a `beta` of 1, as
/// `torch.nn.functional.smooth_l1_loss`: `d^2 / (2 beta)` where the difference `d` is below `beta`, else
/// `|d| - beta / 2`. Both have one shape.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (y, t) = (Tensor::new([0.5, 3.0], &dev), Tensor::new([0.0, 0.0], &dev));
/// assert_eq!(loss::smooth_l1_loss(&y, &t).item::<f32>()?, (0.125 + 2.5) / 2.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn smooth_l1_loss(input: &Tensor, target: &Tensor) -> Tensor {
    smooth_l1_loss_with(input, target, SmoothL1Options::default())
}

/// [`smooth_l1_loss`] with options.
#[track_caller]
pub fn smooth_l1_loss_with(input: &Tensor, target: &Tensor, options: SmoothL1Options) -> Tensor {
    let SmoothL1Options { beta, reduction } = options;
    if !(beta >= 0.0 && beta.is_finite()) {
        let problem = format!("beta must be at least 0, not {beta}");
        return failed(value_error("smooth_l1_loss", problem, Place::caller()));
    }
    paired("smooth_l1_loss", input, target, reduction, |x, t| {
        let d = x - t;
        if beta == 0.0 {
            return d.abs();
        }
        let size = d.abs();
        size.lt(beta)
            .where_cond(d.sqr() * (0.5 / beta), &size - 0.5 * beta)
    })
}

/// The mean of `ln cosh(input - target)`, in the form `|d| + softplus(-2 |d|) - ln 2`, which does not overflow. Both
/// have one shape.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (y, t) = (Tensor::new([100.0], &dev), Tensor::new([0.0], &dev));
/// assert!((loss::log_cosh_loss(&y, &t).item::<f32>()? - 99.30685).abs() < 1e-4);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn log_cosh_loss(input: &Tensor, target: &Tensor) -> Tensor {
    log_cosh_loss_with(input, target, Reduction::Mean)
}

/// [`log_cosh_loss`] with another reduction.
#[track_caller]
pub fn log_cosh_loss_with(input: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    paired("log_cosh_loss", input, target, reduction, |x, t| {
        // d + softplus(-2 d) - ln 2 is even, and its derivative tanh(d) comes out at 0 too; beyond some
        // size it loses what |d| would keep, which is nothing.
        let d = x - t;
        let positive = d.ge(0.0);
        let size = positive.where_cond(&d, d.neg());
        &size + (&size * -2.0).softplus() - LN_2
    })
}
