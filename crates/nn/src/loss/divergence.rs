//! Divergences of distributions, and likelihoods.

use std::f64::consts::PI;

use wgrad_core::{Place, Reduction, Tensor};

use super::{broadcasts, computed, paired, reduce, same_shapes};

/// How the terms of a divergence are combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KlReduction {
    /// The mean of all terms, which is no divergence: torch's default.
    Mean,
    /// The sum of all terms over the size of the first dimension: the mean divergence.
    BatchMean,
    /// The sum of all terms.
    Sum,
    /// Each term.
    None,
}

/// Options of [`kl_div_with`], by default PyTorch's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KlDivOptions {
    /// Whether the targets are logarithms too.
    pub log_target: bool,
    /// How terms are combined.
    pub reduction: KlReduction,
}

impl Default for KlDivOptions {
    fn default() -> KlDivOptions {
        KlDivOptions {
            log_target: false,
            reduction: KlReduction::Mean,
        }
    }
}

/// The mean of the terms `t (ln t - x)` of the Kullback-Leibler divergence of log-probabilities `x` from
/// probabilities `t`, as `torch.nn.functional.kl_div`; a target of 0 counts 0. Both have one shape.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// use loss::{KlDivOptions, KlReduction};
/// let x = Tensor::new([[0.5, 0.5]], &dev).ln();
/// let t = Tensor::new([[1.0, 0.0]], &dev);
/// let options = KlDivOptions { reduction: KlReduction::BatchMean, ..Default::default() };
/// assert_eq!(loss::kl_div_with(&x, &t, options).item::<f32>()?, 2f32.ln());
/// assert_eq!(loss::kl_div(&x, &t).item::<f32>()?, 2f32.ln() / 2.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn kl_div(log_probabilities: &Tensor, targets: &Tensor) -> Tensor {
    kl_div_with(log_probabilities, targets, KlDivOptions::default())
}

/// [`kl_div`] with options.
#[track_caller]
pub fn kl_div_with(log_probabilities: &Tensor, targets: &Tensor, options: KlDivOptions) -> Tensor {
    let rows = log_probabilities.shape().ok();
    let rows = rows.and_then(|shape| shape.first().copied());
    let place = Place::caller();
    computed("kl_div", place, &[log_probabilities, targets], |operands| {
        let (x, t) = (&operands[0], &operands[1]);
        same_shapes("kl_div", x, t, place)?;
        let terms = if options.log_target {
            t.exp() * (t - x)
        } else {
            t.xlogy(t) - t * x
        };
        Ok(vec![match options.reduction {
            KlReduction::Mean => terms.mean(),
            KlReduction::BatchMean => terms.sum() * (1.0 / rows.unwrap_or(1) as f64),
            KlReduction::Sum => terms.sum(),
            KlReduction::None => terms,
        }])
    })
}

/// Options of [`poisson_nll_loss_with`], by default PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PoissonNllOptions {
    /// Whether the input is the logarithm of the expected count.
    pub log_input: bool,
    /// Whether Stirling's approximation of `ln t!` is added for targets above 1.
    pub full: bool,
    /// Added to the input before its logarithm is taken.
    pub eps: f64,
    /// How losses are combined.
    pub reduction: Reduction,
}

impl Default for PoissonNllOptions {
    fn default() -> PoissonNllOptions {
        PoissonNllOptions {
            log_input: true,
            full: false,
            eps: 1e-8,
            reduction: Reduction::Mean,
        }
    }
}

/// The mean negative log-likelihood of counts whose expectation is `e^x`: `e^x - t x`, as
/// `torch.nn.functional.poisson_nll_loss`. Both have one shape.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (x, t) = (Tensor::new([0.0], &dev), Tensor::new([3.0], &dev));
/// assert_eq!(loss::poisson_nll_loss(&x, &t).item::<f32>()?, 1.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn poisson_nll_loss(input: &Tensor, target: &Tensor) -> Tensor {
    poisson_nll_loss_with(input, target, PoissonNllOptions::default())
}

/// [`poisson_nll_loss`] with options.
#[track_caller]
pub fn poisson_nll_loss_with(
    input: &Tensor,
    target: &Tensor,
    options: PoissonNllOptions,
) -> Tensor {
    let op = "poisson_nll_loss";
    paired(op, input, target, options.reduction, |x, t| {
        let losses = if options.log_input {
            x.exp() - t * x
        } else {
            x - t * (x + options.eps).ln()
        };
        if !options.full {
            return losses;
        }
        // ln t! is about t ln t - t + ln(2 pi t) / 2.
        let many = t.gt(1.0);
        let count = many.where_cond(t, 1.0);
        let stirling = &count * count.ln() - &count + (&count * (2.0 * PI)).ln() * 0.5;
        losses + many.where_cond(stirling, 0.0)
    })
}

/// Options of [`gaussian_nll_loss_with`], by default PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GaussianNllOptions {
    /// Whether the constant `ln(2 pi) / 2` is added.
    pub full: bool,
    /// The least variance.
    pub eps: f64,
    /// How losses are combined.
    pub reduction: Reduction,
}

impl Default for GaussianNllOptions {
    fn default() -> GaussianNllOptions {
        GaussianNllOptions {
            full: false,
            eps: 1e-6,
            reduction: Reduction::Mean,
        }
    }
}

/// The mean negative log-likelihood of normal distributions: `(ln v + (x - t)^2 / v) / 2` for means `x` and variances
/// `v` that are at least 1e-6, as `torch.nn.functional.gaussian_nll_loss`. Means and targets have one shape, to which
/// the variances broadcast. The derivative passes the least variance as if it were none, as in torch.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (x, t) = (Tensor::new([1.0], &dev), Tensor::new([3.0], &dev));
/// let v = Tensor::new([1.0], &dev);
/// assert_eq!(loss::gaussian_nll_loss(&x, &t, &v).item::<f32>()?, 2.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn gaussian_nll_loss(input: &Tensor, target: &Tensor, variance: &Tensor) -> Tensor {
    gaussian_nll_loss_with(input, target, variance, GaussianNllOptions::default())
}

/// [`gaussian_nll_loss`] with options.
#[track_caller]
pub fn gaussian_nll_loss_with(
    input: &Tensor,
    target: &Tensor,
    variance: &Tensor,
    options: GaussianNllOptions,
) -> Tensor {
    let (op, place) = ("gaussian_nll_loss", Place::caller());
    computed(op, place, &[input, target, variance], |operands| {
        let (x, t, v) = (&operands[0], &operands[1], &operands[2]);
        same_shapes(op, x, t, place)?;
        broadcasts(op, "variance", v, &x.shape()?, place)?;
        // The value of the larger, the derivative of v.
        let v = v + (v.maximum(options.eps) - v).detach();
        let mut losses = (v.ln() + (x - t).sqr() / &v) * 0.5;
        if options.full {
            losses = losses + 0.5 * (2.0 * PI).ln();
        }
        Ok(vec![reduce(&losses, options.reduction)])
    })
}
