//! Losses, as in `torch.nn.functional`: the mean over all elements or rows, or another
//! [`Reduction`] with the function of the same name and `_with`.
//!
//! ```
//! # fn main() -> wgrad_core::Result<()> {
//! # let dev = wgrad_core::Device::new(
//! #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
//! use wgrad_core::{Reduction, Tensor};
//! use wgrad_nn::loss;
//!
//! let (y, t) = (Tensor::new([1.0, 2.0], &dev), Tensor::new([0.0, 4.0], &dev));
//! assert_eq!(loss::mse_loss(&y, &t).item::<f32>()?, 2.5);
//! assert_eq!(loss::mse_loss_with(&y, &t, Reduction::Sum).item::<f32>()?, 5.0);
//! # Ok(())
//! # }
//! ```

use wgrad_core::{CrossEntropyOptions, Error, Place, Reduction, Result, Tensor};

/// The mean cross-entropy of logits `[n, classes]` against integer classes `[n]`:
/// [`Tensor::cross_entropy`].
#[track_caller]
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Tensor {
    logits.cross_entropy(targets)
}

/// [`cross_entropy`] with class weights, an ignored class and a reduction:
/// [`Tensor::cross_entropy_with`].
#[track_caller]
pub fn cross_entropy_with(
    logits: &Tensor,
    targets: &Tensor,
    options: CrossEntropyOptions,
) -> Tensor {
    logits.cross_entropy_with(targets, options)
}

/// The mean cross-entropy of `x.linear(weight, bias)` against integer classes, without storing all
/// logits where they are many: [`Tensor::linear_cross_entropy`].
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_core::Tensor;
/// use wgrad_nn::loss;
///
/// let x = Tensor::new([[1.0, 2.0], [0.5, -1.0]], &dev);
/// let w = Tensor::new([[0.1, 0.2], [0.0, 1.0], [-1.0, 0.3]], &dev).requires_grad();
/// let targets = Tensor::new([1, 0], &dev);
/// let loss = loss::linear_cross_entropy(&x, &w, None, &targets);
/// let plain = loss::cross_entropy(&x.linear(&w, None), &targets);
/// assert_eq!(loss.item::<f32>()?, plain.item::<f32>()?);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn linear_cross_entropy(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    targets: &Tensor,
) -> Tensor {
    x.linear_cross_entropy(weight, bias, targets)
}

/// The mean of `-log_probabilities[i, targets[i]]`: log-probabilities `[n, classes, ..]` (or
/// `[classes]`) against integer classes `[n, ..]` (or no dimension). Targets of -100 do not count.
#[track_caller]
pub fn nll_loss(log_probabilities: &Tensor, targets: &Tensor) -> Tensor {
    nll_loss_with(log_probabilities, targets, CrossEntropyOptions::default())
}

/// [`nll_loss`] with class weights, another ignored class and a reduction:
/// [`Tensor::nll_loss_with`].
#[track_caller]
pub fn nll_loss_with(
    log_probabilities: &Tensor,
    targets: &Tensor,
    options: CrossEntropyOptions,
) -> Tensor {
    log_probabilities.nll_loss_with(targets, options)
}

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

/// The mean of `-(t ln p + (1 - t) ln(1 - p))` for probabilities `p` within 0 and 1. Both have
/// one shape. Logarithms are at least -100 and slopes at most 1e12, as in torch, so that a wrong
/// certainty costs much but not infinitely much.
///
/// Where the probabilities come from a sigmoid, [`binary_cross_entropy_with_logits`] is more
/// precise.
#[track_caller]
pub fn binary_cross_entropy(probabilities: &Tensor, targets: &Tensor) -> Tensor {
    binary_cross_entropy_with(probabilities, targets, Reduction::Mean)
}

/// [`binary_cross_entropy`] with another reduction.
#[track_caller]
pub fn binary_cross_entropy_with(
    probabilities: &Tensor,
    targets: &Tensor,
    reduction: Reduction,
) -> Tensor {
    let name = "binary_cross_entropy";
    paired(name, probabilities, targets, reduction, |p, t| {
        let rest = 1.0 - p;
        let hit = bounded_ln(p, |regular| regular.where_cond(p, 1.0).ln());
        let miss = bounded_ln(&rest, |regular| regular.where_cond(p.neg(), 0.0).log1p());
        ((t * hit) + (1.0 - t) * miss).neg()
    })
}

/// The mean of `-(t ln s(x) + (1 - t) ln(1 - s(x)))` for logits `x`, where `s` is the sigmoid, in
/// the form `t softplus(-x) + (1 - t) softplus(x)`: nothing in it or in its derivative cancels. Both
/// have one shape.
#[track_caller]
pub fn binary_cross_entropy_with_logits(logits: &Tensor, targets: &Tensor) -> Tensor {
    binary_cross_entropy_with_logits_with(logits, targets, Reduction::Mean)
}

/// [`binary_cross_entropy_with_logits`] with another reduction.
#[track_caller]
pub fn binary_cross_entropy_with_logits_with(
    logits: &Tensor,
    targets: &Tensor,
    reduction: Reduction,
) -> Tensor {
    let name = "binary_cross_entropy_with_logits";
    paired(name, logits, targets, reduction, |x, t| {
        t * x.neg().softplus() + (1.0 - t) * x.softplus()
    })
}

/// `max(ln x, -100)` with the slope `1 / max(x, 1e-12)`: where x is all but zero, a straight line
/// of that slope through the value stands for the logarithm, whose own slope would be infinite.
/// `ln` gives the logarithm where it is told that x is regular, and anything without NaN in value or
/// slope elsewhere, so that none spreads.
fn bounded_ln(x: &Tensor, ln: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
    const SMALL: f64 = 1e-12;
    let regular = x.gt(SMALL);
    let here = x.detach();
    let line = here.ln().maximum(-100.0) + (x - &here) * (1.0 / SMALL);
    regular.where_cond(ln(&regular), line)
}

/// A loss of two operands of equal shape: torch only warns where they broadcast, which hides
/// mistakes.
#[track_caller]
fn paired(
    op: &'static str,
    input: &Tensor,
    target: &Tensor,
    reduction: Reduction,
    loss: impl FnOnce(&Tensor, &Tensor) -> Tensor,
) -> Tensor {
    let place = Place::caller();
    place.hold(|| {
        let result = check_shapes(op, input, target, place).and_then(|()| {
            let dtype = input.dtype()?.promote(target.dtype()?);
            if !dtype.is_float() {
                let problem = format!("takes floats, not {dtype}; convert them with to_dtype");
                return Err(Error::DType { op, problem, place });
            }
            // In the type that 16-bit floats compute in until the mean is taken: squares of 300 are
            // beyond f16's range, and so are sums.
            let [x, t] = [input, target].map(|t| t.to_dtype(dtype.compute()));
            let result = reduce(&loss(&x, &t), reduction);
            result.to_dtype(dtype).checked()
        });
        result.unwrap_or_else(|error| Tensor::zeros((), &wgrad_core::Device::failed(error)))
    })
}

fn check_shapes(op: &'static str, input: &Tensor, target: &Tensor, place: Place) -> Result<()> {
    let (left, right) = (input.shape()?, target.shape()?);
    if left == right {
        return Ok(());
    }
    Err(Error::Shape {
        op,
        problem: format!("input of shape {left}, target of shape {right}; they must be equal"),
        place,
    })
}

fn reduce(losses: &Tensor, reduction: Reduction) -> Tensor {
    match reduction {
        Reduction::Mean => losses.mean(),
        Reduction::Sum => losses.sum(),
        Reduction::None => losses.clone(),
    }
}
