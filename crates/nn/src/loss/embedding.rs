//! Losses of vectors that should be near or far.

use wgrad_core::{CrossEntropyOptions, Error, Place, Reduction, Result, Tensor};

use super::{computed, failed, reduce, same_shapes, shape_error, value_error};

/// Options of [`cosine_embedding_loss_with`], by default PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CosineEmbeddingOptions {
    /// Up to which cosine vectors are far enough apart.
    pub margin: f64,
    /// How losses are combined.
    pub reduction: Reduction,
}

impl Default for CosineEmbeddingOptions {
    fn default() -> CosineEmbeddingOptions {
        CosineEmbeddingOptions {
            margin: 0.0,
            reduction: Reduction::Mean,
        }
    }
}

/// The mean loss of pairs of vectors `[n, d]` (or of one pair `[d]`): `1 - cos` where the target (`[n]`, or no
/// dimension) is 1, `max(0, cos - margin)` where it is -1, as `torch.nn.functional.cosine_embedding_loss`.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let a = Tensor::new([[1.0, 0.0], [1.0, 0.0]], &dev);
/// let b = Tensor::new([[0.0, 2.0], [3.0, 0.0]], &dev);
/// let y = loss::cosine_embedding_loss(&a, &b, &Tensor::new([1, -1], &dev));
/// assert!((y.item::<f32>()? - 1.0).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn cosine_embedding_loss(a: &Tensor, b: &Tensor, target: &Tensor) -> Tensor {
    cosine_embedding_loss_with(a, b, target, CosineEmbeddingOptions::default())
}

/// [`cosine_embedding_loss`] with options.
#[track_caller]
pub fn cosine_embedding_loss_with(
    a: &Tensor,
    b: &Tensor,
    target: &Tensor,
    options: CosineEmbeddingOptions,
) -> Tensor {
    let (op, place) = ("cosine_embedding_loss", Place::caller());
    computed(op, place, &[a, b], |operands| {
        let (a, b) = (&operands[0], &operands[1]);
        same_shapes(op, a, b, place)?;
        vectors(op, a, place)?;
        leading(op, a, target, place)?;
        let dot = |x: &Tensor, y: &Tensor| (x * y).sum_dims([-1], false);
        let sizes = (dot(a, a) + 1e-12) * (dot(b, b) + 1e-12);
        let cos = dot(a, b) / sizes.sqrt();
        let near = 1.0 - &cos;
        let far = (cos - options.margin).relu();
        let losses = target.eq(1).where_cond(near, 0.0) + target.eq(-1).where_cond(far, 0.0);
        Ok(vec![reduce(&losses, options.reduction)])
    })
}

/// That there are one or two dimensions.
fn vectors(op: &'static str, x: &Tensor, place: Place) -> Result<()> {
    let shape = x.shape()?;
    match shape.len() {
        1 | 2 => Ok(()),
        _ => Err(shape_error(
            op,
            format!("takes vectors [n, d] or [d], not {shape}"),
            place,
        )),
    }
}

/// That the target has all dimensions but the last.
fn leading(op: &'static str, x: &Tensor, target: &Tensor, place: Place) -> Result<()> {
    let (shape, own) = (x.shape()?, target.shape()?);
    if *own == shape[..shape.len() - 1] {
        return Ok(());
    }
    let problem = format!("vectors of shape {shape}, target of shape {own}");
    Err(shape_error(op, problem, place))
}

/// Options of [`triplet_margin_loss_with`], by default PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TripletMarginOptions {
    /// How much farther the negatives should be.
    pub margin: f64,
    /// The norm that distances are measured by.
    pub p: f64,
    /// Added to differences.
    pub eps: f64,
    /// Whether the negative's distance is that from the positive, where this is smaller
    /// ([Balntas et al. 2016](https://www.bmva-archive.org.uk/bmvc/2016/papers/paper119/paper119.pdf)).
    pub swap: bool,
    /// How losses are combined.
    pub reduction: Reduction,
}

impl Default for TripletMarginOptions {
    fn default() -> TripletMarginOptions {
        TripletMarginOptions {
            margin: 1.0,
            p: 2.0,
            eps: 1e-6,
            swap: false,
            reduction: Reduction::Mean,
        }
    }
}

/// The mean of `max(0, |anchor - positive| - |anchor - negative| + margin)` with a margin of 1, of vectors along the
/// last dimension, as `torch.nn.functional.triplet_margin_loss`. All have one shape.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let anchor = Tensor::new([[0.0, 0.0]], &dev);
/// let (near, far) = (Tensor::new([[3.0, 4.0]], &dev), Tensor::new([[0.0, 2.0]], &dev));
/// let y = loss::triplet_margin_loss(&anchor, &near, &far);
/// assert!((y.item::<f32>()? - 4.0).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn triplet_margin_loss(anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Tensor {
    triplet_margin_loss_with(anchor, positive, negative, TripletMarginOptions::default())
}

/// [`triplet_margin_loss`] with options.
#[track_caller]
pub fn triplet_margin_loss_with(
    anchor: &Tensor,
    positive: &Tensor,
    negative: &Tensor,
    options: TripletMarginOptions,
) -> Tensor {
    let (op, place) = ("triplet_margin_loss", Place::caller());
    if !(options.margin > 0.0 && options.margin.is_finite()) {
        let problem = format!("margin must be above 0, not {}", options.margin);
        return failed(value_error(op, problem, place));
    }
    computed(op, place, &[anchor, positive, negative], |operands| {
        let (a, p, n) = (&operands[0], &operands[1], &operands[2]);
        same_shapes(op, a, p, place)?;
        same_shapes(op, a, n, place)?;
        let apart = |x: &Tensor, y: &Tensor| x.pairwise_distance(y, options.p, options.eps, false);
        let near = apart(a, p);
        let mut far = apart(a, n);
        if options.swap {
            far = far.minimum(apart(p, n));
        }
        let losses = (near - far + options.margin).relu();
        Ok(vec![reduce(&losses, options.reduction)])
    })
}

/// The mean InfoNCE loss ([van den Oord et al. 2018](https://arxiv.org/abs/1807.03748)) of queries and keys `[n, d]`,
/// where the key of a query stands in its row and the other keys are the negatives: the cross-entropy of
/// `cos(query_i, key_j) / temperature` against `i`. 0.07 is a usual temperature.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let x = Tensor::new([[1.0, 0.0], [0.0, 1.0]], &dev);
/// let y = loss::info_nce(&x, &x, 1.0).item::<f32>()?;
/// assert!((y - (1.0 + (-1f32).exp()).ln()).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn info_nce(queries: &Tensor, keys: &Tensor, temperature: f64) -> Tensor {
    let (op, place) = ("info_nce", Place::caller());
    if !(temperature > 0.0 && temperature.is_finite()) {
        let problem = format!("temperature must be above 0, not {temperature}");
        return failed(value_error(op, problem, place));
    }
    computed(op, place, &[queries, keys], |operands| {
        let (q, k) = (&operands[0], &operands[1]);
        same_shapes(op, q, k, place)?;
        let &[count, _] = &*q.shape()? else {
            let problem = format!("takes vectors [n, d], not {}", q.shape()?);
            return Err(shape_error(op, problem, place));
        };
        let unit = |x: &Tensor| x.normalize(2.0, [1], 1e-12);
        let logits = unit(q).matmul(&unit(k).transpose(0, 1)) * (1.0 / temperature);
        let rows = Tensor::arange(0..count as i32, q.device());
        let loss = logits.cross_entropy_with(&rows, CrossEntropyOptions::default());
        Ok::<_, Error>(vec![loss])
    })
}
