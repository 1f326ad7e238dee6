//! What clusterings and trees are judged by.

use wgrad_core::{Place, Tensor};

use super::{computed, shape_error};

/// The sum of the squared distances of points `[n, d]` from the centers `[k, d]` of their clusters `[n]` (integers):
/// what k-means makes small. Differentiable in points and centers.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let x = Tensor::new([[0.0, 0.0], [3.0, 4.0]], &dev);
/// let centers = Tensor::new([[0.0, 1.0], [3.0, 3.0]], &dev);
/// let y = loss::within_cluster_sum_of_squares(&x, &centers, &Tensor::new([0, 1], &dev));
/// assert_eq!(y.item::<f32>()?, 2.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn within_cluster_sum_of_squares(points: &Tensor, centers: &Tensor, labels: &Tensor) -> Tensor {
    let (op, place) = ("within_cluster_sum_of_squares", Place::caller());
    computed(op, place, &[points, centers], |operands| {
        let (x, c) = (&operands[0], &operands[1]);
        let (points, centers, own) = (x.shape()?, c.shape()?, labels.shape()?);
        let fits = points.len() == 2 && centers.len() == 2 && points[1] == centers[1];
        if !fits || *own != points[..1] {
            let problem = format!(
                "points of shape {points}, centers of shape {centers}, labels of shape {own}"
            );
            return Err(shape_error(op, problem, place));
        }
        Ok(vec![(x - c.index_select(0, labels)).sqr().sum()])
    })
}

/// The share of each class along the last dimension; 0 where there is nothing.
fn shares(counts: &Tensor) -> Tensor {
    let all = counts.sum_dims([-1], true);
    let some = all.gt(0.0);
    counts / some.where_cond(all, 1.0)
}

/// Gini's impurity `1 - sum p^2` of the class counts (or weights) along the last dimension; 0 where there is nothing.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let counts = Tensor::new([[2.0, 2.0], [5.0, 0.0]], &dev);
/// assert_eq!(loss::gini_impurity(&counts).to_vec::<f32>()?, [0.5, 0.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn gini_impurity(counts: &Tensor) -> Tensor {
    let (op, place) = ("gini_impurity", Place::caller());
    computed(op, place, &[counts], |operands| {
        classes(op, &operands[0], 1, place)?;
        let any = operands[0].sum_dims([-1], false).gt(0.0);
        let impurity = 1.0 - shares(&operands[0]).sqr().sum_dims([-1], false);
        Ok(vec![any.where_cond(impurity, 0.0)])
    })
}

fn classes(
    op: &'static str,
    counts: &Tensor,
    least: usize,
    place: Place,
) -> wgrad_core::Result<()> {
    let shape = counts.shape()?;
    match shape.len() >= least {
        true => Ok(()),
        false => {
            let problem = format!("counts of shape {shape} need {least} dimensions");
            Err(shape_error(op, problem, place))
        }
    }
}

/// The entropy `-sum p log2 p`, in bits.
fn bits(counts: &Tensor) -> Tensor {
    let p = shares(counts);
    p.xlogy(&p).sum_dims([-1], false) * (-1.0 / std::f64::consts::LN_2)
}

/// The entropy `-sum p log2 p`, in bits, of the class counts (or weights) along the last dimension; 0 where there is
/// nothing.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let counts = Tensor::new([[2.0, 2.0], [5.0, 0.0]], &dev);
/// assert_eq!(loss::entropy(&counts).to_vec::<f32>()?, [1.0, 0.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn entropy(counts: &Tensor) -> Tensor {
    let (op, place) = ("entropy", Place::caller());
    computed(op, place, &[counts], |operands| {
        classes(op, &operands[0], 1, place)?;
        Ok(vec![bits(&operands[0])])
    })
}

/// By how many bits a split lowers the entropy: that of all class counts, less the mean of the parts `[.., parts,
/// classes]`, weighted by their size.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let parts = Tensor::new([[2.0, 0.0], [0.0, 2.0]], &dev);
/// assert_eq!(loss::information_gain(&parts).item::<f32>()?, 1.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn information_gain(parts: &Tensor) -> Tensor {
    let (op, place) = ("information_gain", Place::caller());
    computed(op, place, &[parts], |operands| {
        let parts = &operands[0];
        classes(op, parts, 2, place)?;
        let weights = shares(&parts.sum_dims([-1], false));
        let rest = (bits(parts) * weights).sum_dims([-1], false);
        Ok(vec![bits(&parts.sum_dims([-2], false)) - rest])
    })
}
