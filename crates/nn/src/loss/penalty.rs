//! What is added to a loss to keep parameters small.

use wgrad_core::{Error, Place, Result, Tensor};

use super::{failed, value_error};

/// The sum of a function over all parameters.
fn total(
    op: &'static str,
    params: &[Tensor],
    place: Place,
    f: impl Fn(&Tensor) -> Tensor,
) -> Tensor {
    place.hold(|| {
        let sums = params.iter().map(|param| {
            let dtype = param.dtype()?;
            if !dtype.is_float() {
                let problem = format!("takes floats, not {dtype}");
                return Err(Error::DType { op, problem, place });
            }
            Ok(f(&param.to_dtype(dtype.compute())).sum())
        });
        let sums: Result<Vec<Tensor>> = sums.collect();
        let sum = sums.map(|sums| sums.into_iter().reduce(|a, b| a + b));
        let none = || value_error(op, "there are no parameters".into(), place);
        sum.and_then(|sum| sum.ok_or_else(none))
            .unwrap_or_else(failed)
    })
}

/// The sum of the absolute values of all parameters (lasso); the derivative at 0 is 0.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let w = Tensor::new([1.0, -2.0], &dev).requires_grad();
/// let penalty = loss::l1_penalty(&[w.clone()]) * 0.1;
/// penalty.backward()?;
/// assert_eq!(w.grad()?.to_vec::<f32>()?, [0.1, -0.1]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn l1_penalty(params: &[Tensor]) -> Tensor {
    total("l1_penalty", params, Place::caller(), Tensor::abs)
}

/// The sum of the squares of all parameters (ridge, weight decay).
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let w = Tensor::new([1.0, -2.0], &dev).requires_grad();
/// assert_eq!(loss::l2_penalty(&[w]).item::<f32>()?, 5.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn l2_penalty(params: &[Tensor]) -> Tensor {
    total("l2_penalty", params, Place::caller(), Tensor::sqr)
}

/// `l1` times the sum of absolute values plus `l2` times the sum of squares of all parameters
/// ([Zou and Hastie 2005](https://doi.org/10.1111/j.1467-9868.2005.00503.x)).
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// # use wgrad_nn::loss;
/// let w = Tensor::new([1.0, -2.0], &dev).requires_grad();
/// assert_eq!(loss::elastic_net_penalty(&[w], 0.5, 0.25).item::<f32>()?, 2.75);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn elastic_net_penalty(params: &[Tensor], l1: f64, l2: f64) -> Tensor {
    let place = Place::caller();
    total("elastic_net_penalty", params, place, |p| {
        p.abs() * l1 + p.sqr() * l2
    })
}
