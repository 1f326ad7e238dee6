//! Losses that want a margin between right and wrong.

use wgrad_core::{DType, Place, Reduction, Tensor};

use super::{
    broadcasts, classes, computed, failed, paired, reduce, same_shapes, shape_error, value_error,
};

/// The mean hinge loss `max(0, 1 - t x)` of scores `x` and targets 1 or -1 ([Cortes and Vapnik
/// 1995](https://doi.org/10.1007/BF00994018)), the support vector machine's. Both have one shape.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (x, t) = (Tensor::new([0.5, 3.0], &dev), Tensor::new([1.0, -1.0], &dev));
/// assert_eq!(loss::hinge_loss(&x, &t).item::<f32>()?, 2.25);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn hinge_loss(input: &Tensor, target: &Tensor) -> Tensor {
    hinge_loss_with(input, target, Reduction::Mean)
}

/// [`hinge_loss`] with another reduction.
#[track_caller]
pub fn hinge_loss_with(input: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    paired("hinge_loss", input, target, reduction, |x, t| {
        (1.0 - t * x).relu()
    })
}

/// The mean of `max(0, 1 - t x)^2` of scores `x` and targets 1 or -1. Both have one shape.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (x, t) = (Tensor::new([0.5, 3.0], &dev), Tensor::new([1.0, -1.0], &dev));
/// assert_eq!(loss::squared_hinge_loss(&x, &t).item::<f32>()?, 8.125);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn squared_hinge_loss(input: &Tensor, target: &Tensor) -> Tensor {
    squared_hinge_loss_with(input, target, Reduction::Mean)
}

/// [`squared_hinge_loss`] with another reduction.
#[track_caller]
pub fn squared_hinge_loss_with(input: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    paired("squared_hinge_loss", input, target, reduction, |x, t| {
        (1.0 - t * x).relu().sqr()
    })
}

/// The mean exponential loss `e^(-t x)` of scores `x` and targets 1 or -1, AdaBoost's ([Friedman et al.
/// 2000](https://doi.org/10.1214/aos/1016218223)). Both have one shape.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (x, t) = (Tensor::new([0.0], &dev), Tensor::new([1.0], &dev));
/// assert_eq!(loss::exponential_loss(&x, &t).item::<f32>()?, 1.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn exponential_loss(input: &Tensor, target: &Tensor) -> Tensor {
    exponential_loss_with(input, target, Reduction::Mean)
}

/// [`exponential_loss`] with another reduction.
#[track_caller]
pub fn exponential_loss_with(input: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    paired("exponential_loss", input, target, reduction, |x, t| {
        (t * x).neg().exp()
    })
}

/// The mean logistic loss `ln(1 + e^(-t x))` of scores `x` and targets 1 or -1, as
/// `torch.nn.functional.soft_margin_loss`. Both have one shape.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (x, t) = (Tensor::new([0.0], &dev), Tensor::new([1.0], &dev));
/// assert_eq!(loss::soft_margin_loss(&x, &t).item::<f32>()?, 2f32.ln());
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn soft_margin_loss(input: &Tensor, target: &Tensor) -> Tensor {
    soft_margin_loss_with(input, target, Reduction::Mean)
}

/// [`soft_margin_loss`] with another reduction.
#[track_caller]
pub fn soft_margin_loss_with(input: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    paired("soft_margin_loss", input, target, reduction, |x, t| {
        (t * x).neg().softplus()
    })
}

/// Options of [`hinge_embedding_loss_with`], by default PyTorch's.
#[derive(Clone, Debug)]
pub struct HingeEmbeddingOptions {
    /// From which distance on pairs are far enough apart.
    pub margin: f64,
    /// How losses are combined.
    pub reduction: Reduction,
}

impl Default for HingeEmbeddingOptions {
    fn default() -> HingeEmbeddingOptions {
        HingeEmbeddingOptions {
            margin: 1.0,
            reduction: Reduction::Mean,
        }
    }
}

/// The mean loss of distances `x` of pairs: `x` where the target is 1, `max(0, margin - x)` with a margin of 1 where it
/// is -1, as `torch.nn.functional.hinge_embedding_loss`. Both have one shape.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (x, t) = (Tensor::new([0.5, 3.0], &dev), Tensor::new([1.0, -1.0], &dev));
/// assert_eq!(loss::hinge_embedding_loss(&x, &t).item::<f32>()?, 0.25);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn hinge_embedding_loss(input: &Tensor, target: &Tensor) -> Tensor {
    hinge_embedding_loss_with(input, target, HingeEmbeddingOptions::default())
}

/// [`hinge_embedding_loss`] with options.
#[track_caller]
pub fn hinge_embedding_loss_with(
    input: &Tensor,
    target: &Tensor,
    options: HingeEmbeddingOptions,
) -> Tensor {
    let HingeEmbeddingOptions { margin, reduction } = options;
    paired("hinge_embedding_loss", input, target, reduction, |x, t| {
        // torch's: what is not 1 may be far, what is not -1 near.
        let far = t.eq(1.0).where_cond(0.0, (margin - x).relu());
        let near = t.eq(-1.0).where_cond(0.0, x);
        far + near
    })
}

/// Options of [`margin_ranking_loss_with`], by default PyTorch's.
#[derive(Clone, Debug)]
pub struct MarginRankingOptions {
    /// By how much the first should be before the second.
    pub margin: f64,
    /// How losses are combined.
    pub reduction: Reduction,
}

impl Default for MarginRankingOptions {
    fn default() -> MarginRankingOptions {
        MarginRankingOptions {
            margin: 0.0,
            reduction: Reduction::Mean,
        }
    }
}

/// The mean of `max(0, -t (a - b) + margin)` without margin: the target is 1 where `a` should be above `b`, -1 where it
/// should be below, as `torch.nn.functional.margin_ranking_loss`. All have one shape.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (a, b) = (Tensor::new([1.0, 1.0], &dev), Tensor::new([3.0, 3.0], &dev));
/// let y = loss::margin_ranking_loss(&a, &b, &Tensor::new([1.0, -1.0], &dev));
/// assert_eq!(y.item::<f32>()?, 1.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn margin_ranking_loss(a: &Tensor, b: &Tensor, target: &Tensor) -> Tensor {
    margin_ranking_loss_with(a, b, target, MarginRankingOptions::default())
}

/// [`margin_ranking_loss`] with options.
#[track_caller]
pub fn margin_ranking_loss_with(
    a: &Tensor,
    b: &Tensor,
    target: &Tensor,
    options: MarginRankingOptions,
) -> Tensor {
    let (op, place) = ("margin_ranking_loss", Place::caller());
    computed(op, place, &[a, b, target], |operands| {
        let (a, b, t) = (&operands[0], &operands[1], &operands[2]);
        same_shapes(op, a, b, place)?;
        same_shapes(op, a, t, place)?;
        let losses = (t * (b - a) + options.margin).relu();
        Ok(vec![reduce(&losses, options.reduction)])
    })
}

/// Options of [`multi_margin_loss_with`], by default PyTorch's.
#[derive(Clone, Debug)]
pub struct MultiMarginOptions {
    /// The power, 1 or 2.
    pub p: u8,
    /// By how much the right class should be before each other.
    pub margin: f64,
    /// What the losses of each class are multiplied by, `[classes]`.
    pub weight: Option<Tensor>,
    /// How losses are combined.
    pub reduction: Reduction,
}

impl Default for MultiMarginOptions {
    fn default() -> MultiMarginOptions {
        MultiMarginOptions {
            p: 1,
            margin: 1.0,
            weight: None,
            reduction: Reduction::Mean,
        }
    }
}

/// The mean multi-class hinge loss of scores `[n, classes]` (or `[classes]`) against integer classes `[n]` (or no
/// dimension): `sum of max(0, 1 - x_t + x_j) / classes` over the other classes `j`
/// ([Crammer and Singer 2001](https://jmlr.org/papers/v2/crammer01a.html)), as
/// `torch.nn.functional.multi_margin_loss`.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let x = Tensor::new([[2.0, 1.5, 0.0]], &dev);
/// let y = loss::multi_margin_loss(&x, &Tensor::new([0], &dev));
/// assert!((y.item::<f32>()? - 0.5 / 3.0).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn multi_margin_loss(scores: &Tensor, targets: &Tensor) -> Tensor {
    multi_margin_loss_with(scores, targets, MultiMarginOptions::default())
}

/// [`multi_margin_loss`] with options.
#[track_caller]
pub fn multi_margin_loss_with(
    scores: &Tensor,
    targets: &Tensor,
    options: MultiMarginOptions,
) -> Tensor {
    let (op, place) = ("multi_margin_loss", Place::caller());
    if !matches!(options.p, 1 | 2) {
        let problem = format!("p must be 1 or 2, not {}", options.p);
        return failed(value_error(op, problem, place));
    }
    computed(op, place, &[scores], |operands| {
        let x = &operands[0];
        let count = classes(op, x, targets, place)?;
        let t = targets.to_dtype(DType::I32).unsqueeze(-1);
        let all = Tensor::arange(0..count as i32, x.device());
        let others = all.ne(&t);
        let mut parts = (x - x.gather(-1, &t) + options.margin).relu();
        if options.p == 2 {
            parts = parts.sqr();
        }
        let mut losses = others.where_cond(parts, 0.0).sum_dims([-1], false) * (1.0 / count as f64);
        if let Some(weight) = &options.weight {
            if *weight.shape()? != [count] {
                let problem = format!("{count} classes, weight of shape {}", weight.shape()?);
                return Err(shape_error(op, problem, place));
            }
            let own = weight.index_select(0, &t.reshape([-1]));
            let shape = losses.shape()?;
            losses = losses * own.reshape(shape);
        }
        Ok(vec![reduce(&losses, options.reduction)])
    })
}

/// The mean multi-label hinge loss of scores `[n, classes]` (or `[classes]`) against integer targets of the same shape,
/// which list the right classes and end with a -1 where there are fewer: `sum of max(0, 1 - (x_t - x_i)) / classes`
/// over right classes `t` and wrong classes `i`, as `torch.nn.functional.multilabel_margin_loss`.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let x = Tensor::new([[0.1, 0.2, 0.4, 0.8]], &dev);
/// let y = loss::multilabel_margin_loss(&x, &Tensor::new([[3, 0, -1, 1]], &dev));
/// assert!((y.item::<f32>()? - 0.85).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn multilabel_margin_loss(scores: &Tensor, targets: &Tensor) -> Tensor {
    multilabel_margin_loss_with(scores, targets, Reduction::Mean)
}

/// [`multilabel_margin_loss`] with another reduction.
#[track_caller]
pub fn multilabel_margin_loss_with(
    scores: &Tensor,
    targets: &Tensor,
    reduction: Reduction,
) -> Tensor {
    let (op, place) = ("multilabel_margin_loss", Place::caller());
    computed(op, place, &[scores], |operands| {
        let x = &operands[0];
        same_shapes(op, x, targets, place)?;
        let shape = x.shape()?;
        if !matches!(shape.len(), 1 | 2) || targets.dtype()?.is_float() {
            let problem = format!("scores of shape {shape}, targets of {}", targets.dtype()?);
            return Err(shape_error(op, problem, place));
        }
        let count = shape.last().copied().unwrap_or(0);
        let t = targets.to_dtype(DType::I32);
        // What stands behind the first -1 does not count.
        let ended = t.lt(0).to_dtype(DType::I32).cumsum(-1);
        let valid = ended.eq(0);
        let index = valid.where_cond(&t, 0);
        let all = Tensor::arange(0..count as i32, x.device());
        // [.., right classes, all classes]
        let named = index
            .unsqueeze(-1)
            .eq(&all)
            .logical_and(valid.unsqueeze(-1));
        let wrong = named.any_dims([-2], true).logical_not();
        let counted = valid.unsqueeze(-1).logical_and(wrong);
        let right = x.gather(-1, &index).unsqueeze(-1);
        let parts = (1.0 - (right - x.unsqueeze(-2))).relu();
        let sum = counted.where_cond(parts, 0.0).sum_dims([-2, -1], false);
        Ok(vec![reduce(
            &(sum * (1.0 / count.max(1) as f64)),
            reduction,
        )])
    })
}

/// Options of [`multilabel_soft_margin_loss_with`], by default PyTorch's.
#[derive(Clone, Debug)]
pub struct MultilabelOptions {
    /// What the losses of each class are multiplied by; broadcasts to the input's shape.
    pub weight: Option<Tensor>,
    /// How losses are combined.
    pub reduction: Reduction,
}

impl Default for MultilabelOptions {
    fn default() -> MultilabelOptions {
        MultilabelOptions {
            weight: None,
            reduction: Reduction::Mean,
        }
    }
}

/// The mean over samples and classes of the logistic losses of logits `[.., classes]` and targets 0 or 1 of the same
/// shape, as `torch.nn.functional.multilabel_soft_margin_loss`.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (x, t) = (Tensor::new([[0.0, 0.0]], &dev), Tensor::new([[1.0, 0.0]], &dev));
/// let y = loss::multilabel_soft_margin_loss(&x, &t);
/// assert!((y.item::<f32>()? - 2f32.ln()).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn multilabel_soft_margin_loss(logits: &Tensor, targets: &Tensor) -> Tensor {
    multilabel_soft_margin_loss_with(logits, targets, MultilabelOptions::default())
}

/// [`multilabel_soft_margin_loss`] with options.
#[track_caller]
pub fn multilabel_soft_margin_loss_with(
    logits: &Tensor,
    targets: &Tensor,
    options: MultilabelOptions,
) -> Tensor {
    let (op, place) = ("multilabel_soft_margin_loss", Place::caller());
    computed(op, place, &[logits, targets], |operands| {
        let (x, t) = (&operands[0], &operands[1]);
        same_shapes(op, x, t, place)?;
        if x.rank()? == 0 {
            return Err(shape_error(op, "logits without a dimension".into(), place));
        }
        let mut losses = t * x.neg().softplus() + (1.0 - t) * x.softplus();
        if let Some(weight) = &options.weight {
            broadcasts(op, "weight", weight, &x.shape()?, place)?;
            losses = losses * weight;
        }
        Ok(vec![reduce(
            &losses.mean_dims([-1], false),
            options.reduction,
        )])
    })
}
