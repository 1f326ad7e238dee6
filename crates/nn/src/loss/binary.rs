//! Losses of yes and no.

use wgrad_core::{Place, Reduction, Result, Shape, Tensor};

use super::{broadcasts, computed, paired, reduce, same_shapes, shape_error};

/// Options of [`binary_cross_entropy_with`], by default PyTorch's.
#[derive(Clone, Debug)]
pub struct BceOptions {
    /// What each loss is multiplied by; broadcasts to the input's shape.
    pub weight: Option<Tensor>,
    /// How losses are combined.
    pub reduction: Reduction,
}

impl Default for BceOptions {
    fn default() -> BceOptions {
        Reduction::Mean.into()
    }
}

impl From<Reduction> for BceOptions {
    fn from(reduction: Reduction) -> BceOptions {
        BceOptions {
            weight: None,
            reduction,
        }
    }
}

/// Options of [`binary_cross_entropy_with_logits_with`], by default PyTorch's.
#[derive(Clone, Debug)]
pub struct BceLogitsOptions {
    /// What each loss is multiplied by; broadcasts to the input's shape.
    pub weight: Option<Tensor>,
    /// What the losses of targets 1 are multiplied by; broadcasts to the input's shape.
    pub pos_weight: Option<Tensor>,
    /// How losses are combined.
    pub reduction: Reduction,
}

impl Default for BceLogitsOptions {
    fn default() -> BceLogitsOptions {
        Reduction::Mean.into()
    }
}

impl From<Reduction> for BceLogitsOptions {
    fn from(reduction: Reduction) -> BceLogitsOptions {
        BceLogitsOptions {
            weight: None,
            pos_weight: None,
            reduction,
        }
    }
}

/// The weights that there are, if they broadcast.
fn weights(
    op: &'static str,
    named: [(&str, &Option<Tensor>); 2],
    shape: &Shape,
    place: Place,
) -> Result<()> {
    for (name, weight) in named {
        if let Some(weight) = weight {
            broadcasts(op, name, weight, shape, place)?;
        }
    }
    Ok(())
}

/// The mean of `-(t ln p + (1 - t) ln(1 - p))` for probabilities `p` within 0 and 1. Both have
/// one shape. Logarithms are at least -100 and slopes at most 1e12, as in torch, so that a wrong
/// certainty costs much but not infinitely much.
///
/// Where the probabilities come from a sigmoid, [`binary_cross_entropy_with_logits`] is more
/// precise.
#[track_caller]
pub fn binary_cross_entropy(probabilities: &Tensor, targets: &Tensor) -> Tensor {
    binary_cross_entropy_with(probabilities, targets, BceOptions::default())
}

/// [`binary_cross_entropy`] with weights, or another reduction.
#[track_caller]
pub fn binary_cross_entropy_with(
    probabilities: &Tensor,
    targets: &Tensor,
    options: impl Into<BceOptions>,
) -> Tensor {
    let op = "binary_cross_entropy";
    let (options, place) = (options.into(), Place::caller());
    computed(op, place, &[probabilities, targets], |x| {
        let (p, t) = (&x[0], &x[1]);
        same_shapes(op, p, t, place)?;
        weights(
            op,
            [("weight", &options.weight), ("", &None)],
            &p.shape()?,
            place,
        )?;
        let rest = 1.0 - p;
        let hit = bounded_ln(p, |regular| regular.where_cond(p, 1.0).ln());
        let miss = bounded_ln(&rest, |regular| regular.where_cond(p.neg(), 0.0).log1p());
        let mut losses = ((t * hit) + (1.0 - t) * miss).neg();
        if let Some(weight) = &options.weight {
            losses = losses * weight;
        }
        Ok(vec![reduce(&losses, options.reduction)])
    })
}

/// The mean of `-(t ln s(x) + (1 - t) ln(1 - s(x)))` for logits `x`, where `s` is the sigmoid, in
/// the form `t softplus(-x) + (1 - t) softplus(x)`: nothing in it or in its derivative cancels. Both
/// have one shape.
#[track_caller]
pub fn binary_cross_entropy_with_logits(logits: &Tensor, targets: &Tensor) -> Tensor {
    binary_cross_entropy_with_logits_with(logits, targets, BceLogitsOptions::default())
}

/// [`binary_cross_entropy_with_logits`] with weights, or another reduction.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// use loss::BceLogitsOptions;
/// let (x, t) = (Tensor::new([0.0, 0.0], &dev), Tensor::new([1.0, 0.0], &dev));
/// let options = BceLogitsOptions { pos_weight: Some(Tensor::scalar(3.0, &dev)), ..Default::default() };
/// let y = loss::binary_cross_entropy_with_logits_with(&x, &t, options).item::<f32>()?;
/// assert!((y - 2.0 * 2f32.ln()).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn binary_cross_entropy_with_logits_with(
    logits: &Tensor,
    targets: &Tensor,
    options: impl Into<BceLogitsOptions>,
) -> Tensor {
    let op = "binary_cross_entropy_with_logits";
    let (options, place) = (options.into(), Place::caller());
    computed(op, place, &[logits, targets], |x| {
        let (x, t) = (&x[0], &x[1]);
        same_shapes(op, x, t, place)?;
        let named = [
            ("weight", &options.weight),
            ("pos_weight", &options.pos_weight),
        ];
        weights(op, named, &x.shape()?, place)?;
        let mut hit = t * x.neg().softplus();
        if let Some(weight) = &options.pos_weight {
            hit = hit * weight;
        }
        let mut losses = hit + (1.0 - t) * x.softplus();
        if let Some(weight) = &options.weight {
            losses = losses * weight;
        }
        Ok(vec![reduce(&losses, options.reduction)])
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

/// Options of [`focal_loss_with`], by default those of `torchvision.ops.sigmoid_focal_loss`, but for the reduction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FocalOptions {
    /// The weight of targets 1, that of targets 0 being `1 - alpha`; `None` for no weights.
    pub alpha: Option<f64>,
    /// How much less certain hits count.
    pub gamma: f64,
    /// How losses are combined.
    pub reduction: Reduction,
}

impl Default for FocalOptions {
    fn default() -> FocalOptions {
        FocalOptions {
            alpha: Some(0.25),
            gamma: 2.0,
            reduction: Reduction::Mean,
        }
    }
}

/// The mean focal loss of logits ([Lin et al. 2017](https://arxiv.org/abs/1708.02002)), with an `alpha` of 0.25 and a
/// `gamma` of 2: `-alpha_t (1 - p_t)^gamma ln p_t`, where `p_t` is the probability of what is so. Both have one
/// shape.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let (x, t) = (Tensor::new([0.0], &dev), Tensor::new([1.0], &dev));
/// let y = loss::focal_loss(&x, &t).item::<f32>()?;
/// assert!((y - 0.25 * 0.25 * 2f32.ln()).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn focal_loss(logits: &Tensor, targets: &Tensor) -> Tensor {
    focal_loss_with(logits, targets, FocalOptions::default())
}

/// [`focal_loss`] with options.
#[track_caller]
pub fn focal_loss_with(logits: &Tensor, targets: &Tensor, options: FocalOptions) -> Tensor {
    let FocalOptions {
        alpha,
        gamma,
        reduction,
    } = options;
    paired("focal_loss", logits, targets, reduction, |x, t| {
        // 1 - p_t is sigmoid(-x) for a target 1, sigmoid(x) for 0; its logarithm does not underflow.
        let (hit, miss) = (x.neg().softplus(), x.softplus());
        let crossed = t * &hit + (1.0 - t) * &miss;
        let wrong = t * x.neg().sigmoid() + (1.0 - t) * x.sigmoid();
        let focused = crossed * wrong.pow(gamma);
        match alpha {
            Some(alpha) => focused * (t * alpha + (1.0 - t) * (1.0 - alpha)),
            None => focused,
        }
    })
}

/// The mean Dice loss of probabilities ([Milletari et al. 2016](https://arxiv.org/abs/1606.04797)), smoothed by 1:
/// for each of the first dimension `1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)`. Both have one shape, of
/// one dimension at least.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let p = Tensor::new([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], &dev);
/// let t = Tensor::new([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], &dev);
/// assert_eq!(loss::dice_loss(&p, &t).item::<f32>()?, 0.125);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn dice_loss(probabilities: &Tensor, targets: &Tensor) -> Tensor {
    dice_loss_with(probabilities, targets, 1.0, Reduction::Mean)
}

/// [`dice_loss`] with another smoothing and another reduction.
#[track_caller]
pub fn dice_loss_with(
    probabilities: &Tensor,
    targets: &Tensor,
    smooth: f64,
    reduction: Reduction,
) -> Tensor {
    let (op, place) = ("dice_loss", Place::caller());
    computed(op, place, &[probabilities, targets], |x| {
        let (p, t) = (&x[0], &x[1]);
        same_shapes(op, p, t, place)?;
        let shape = p.shape()?;
        let Some(&count) = shape.first() else {
            return Err(shape_error(
                op,
                "operands without a dimension".into(),
                place,
            ));
        };
        let rest: usize = shape[1..].iter().product();
        let rows = |x: &Tensor| x.reshape([count, rest]).sum_dims([1], false);
        let both = rows(&(p * t)) * 2.0 + smooth;
        let losses = 1.0 - both / (rows(p) + rows(t) + smooth);
        Ok(vec![reduce(&losses, reduction)])
    })
}
