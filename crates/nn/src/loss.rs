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

mod binary;
mod divergence;
mod embedding;
mod impurity;
mod margin;
mod penalty;
mod regression;

use wgrad_core::{
    CrossEntropyOptions, DType, Device, Error, Place, Reduction, Result, Shape, Tensor,
    autocast_disabled, autocast_wide,
};

pub use binary::{
    BceLogitsOptions, BceOptions, FocalOptions, binary_cross_entropy, binary_cross_entropy_with,
    binary_cross_entropy_with_logits, binary_cross_entropy_with_logits_with, dice_loss,
    dice_loss_with, focal_loss, focal_loss_with,
};
pub use divergence::{
    GaussianNllOptions, KlDivOptions, KlReduction, PoissonNllOptions, gaussian_nll_loss,
    gaussian_nll_loss_with, kl_div, kl_div_with, poisson_nll_loss, poisson_nll_loss_with,
};
pub use embedding::{
    CosineEmbeddingOptions, TripletMarginOptions, cosine_embedding_loss,
    cosine_embedding_loss_with, info_nce, triplet_margin_loss, triplet_margin_loss_with,
};
pub use impurity::{entropy, gini_impurity, information_gain, within_cluster_sum_of_squares};
pub use margin::{
    HingeEmbeddingOptions, MarginRankingOptions, MultiMarginOptions, MultilabelOptions,
    exponential_loss, exponential_loss_with, hinge_embedding_loss, hinge_embedding_loss_with,
    hinge_loss, hinge_loss_with, margin_ranking_loss, margin_ranking_loss_with, multi_margin_loss,
    multi_margin_loss_with, multilabel_margin_loss, multilabel_margin_loss_with,
    multilabel_soft_margin_loss, multilabel_soft_margin_loss_with, soft_margin_loss,
    soft_margin_loss_with, squared_hinge_loss, squared_hinge_loss_with,
};
pub use penalty::{elastic_net_penalty, l1_penalty, l2_penalty};
pub use regression::{
    HuberOptions, SmoothL1Options, huber_loss, huber_loss_with, l1_loss, l1_loss_with,
    log_cosh_loss, log_cosh_loss_with, mse_loss, mse_loss_with, rmse_loss, smooth_l1_loss,
    smooth_l1_loss_with,
};

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

/// The losses of two operands of equal shape, reduced: torch only warns where they broadcast, which hides mistakes.
#[track_caller]
fn paired(
    op: &'static str,
    input: &Tensor,
    target: &Tensor,
    reduction: Reduction,
    loss: impl FnOnce(&Tensor, &Tensor) -> Tensor,
) -> Tensor {
    let place = Place::caller();
    computed(op, place, &[input, target], |operands| {
        let [x, t] = operands else {
            return Ok(Vec::new());
        };
        same_shapes(op, x, t, place)?;
        Ok(vec![reduce(&loss(x, t), reduction)])
    })
}

/// Computes a loss of floats in the type that 16-bit floats compute in, until the mean is taken: squares of 300 are
/// beyond f16's range, and so are sums. `loss` gives one tensor, which becomes the operands' type.
fn computed(
    op: &'static str,
    place: Place,
    operands: &[&Tensor],
    loss: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Tensor {
    // Inside of autocast a loss is of f32, and what it is put together from takes its operands as they are.
    let operands: Vec<Tensor> = operands.iter().map(|x| autocast_wide(x)).collect();
    let result = place.hold(|| autocast_disabled(|| in_compute_type(op, place, &operands, loss)));
    result.unwrap_or_else(failed)
}

fn in_compute_type(
    op: &'static str,
    place: Place,
    operands: &[Tensor],
    loss: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Result<Tensor> {
    let mut dtype = None;
    for operand in operands {
        let own = operand.dtype()?;
        dtype = Some(dtype.map_or(own, |known: DType| known.promote(own)));
    }
    let dtype = dtype.unwrap_or(DType::F32);
    if !dtype.is_float() {
        let problem = format!("takes floats, not {dtype}; convert them with to_dtype");
        return Err(Error::DType { op, problem, place });
    }
    let wide = operands.iter().map(|x| x.to_dtype(dtype.compute()));
    let results = loss(&wide.collect::<Vec<_>>())?;
    let first = results.into_iter().next();
    let empty = || shape_error(op, "there are no operands".into(), place);
    first.ok_or_else(empty)?.to_dtype(dtype).checked()
}

/// A tensor that carries an error.
fn failed(error: Error) -> Tensor {
    Tensor::zeros((), &Device::failed(error))
}

fn shape_error(op: &'static str, problem: String, place: Place) -> Error {
    Error::Shape { op, problem, place }
}

fn value_error(op: &'static str, problem: String, place: Place) -> Error {
    Error::Value { op, problem, place }
}

fn same_shapes(op: &'static str, input: &Tensor, target: &Tensor, place: Place) -> Result<()> {
    let (left, right) = (input.shape()?, target.shape()?);
    if left == right {
        return Ok(());
    }
    let problem = format!("input of shape {left}, target of shape {right}; they must be equal");
    Err(shape_error(op, problem, place))
}

/// Whether `name` broadcasts to the shape of the input.
fn broadcasts(
    op: &'static str,
    name: &str,
    operand: &Tensor,
    shape: &Shape,
    place: Place,
) -> Result<()> {
    let own = operand.shape()?;
    if own.broadcast(shape).as_ref() == Some(shape) {
        return Ok(());
    }
    let problem = format!("{name} of shape {own} does not broadcast to the input's {shape}");
    Err(shape_error(op, problem, place))
}

/// Integer targets of one dimension less than logits `[n, classes]`, or none for `[classes]`; the number of classes.
fn classes(op: &'static str, logits: &Tensor, targets: &Tensor, place: Place) -> Result<usize> {
    let (x, t) = (logits.shape()?, targets.shape()?);
    let fits = match x.len() {
        1 => t.is_empty(),
        2 => *t == x[..1],
        _ => false,
    };
    if !fits || x.last() == Some(&0) {
        let problem = format!("logits of shape {x} and targets of shape {t}");
        return Err(shape_error(op, problem, place));
    }
    if targets.dtype()?.is_float() {
        let problem = format!("targets must be integers, not {}", targets.dtype()?);
        return Err(Error::DType { op, problem, place });
    }
    Ok(x.last().copied().unwrap_or(0))
}

fn reduce(losses: &Tensor, reduction: Reduction) -> Tensor {
    match reduction {
        Reduction::Mean => losses.mean(),
        Reduction::Sum => losses.sum(),
        Reduction::None => losses.clone(),
    }
}
