//! Clipping of gradients.

use wgrad_core::{DType, Error, Place, Result, Tensor, no_grad};

/// Scales all gradients together so that their 2-norm is at most `max_norm`, and returns the norm
/// from before, as `torch.nn.utils.clip_grad_norm_`. Everything is recorded and nothing waits:
/// call it between `backward` and `step`, and read the norm later or never. Parameters without
/// gradient do not count; without any the norm is 0.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_core::Tensor;
/// use wgrad_nn::optim::clip_grad_norm;
///
/// let w = Tensor::new([1.0, 1.0], &dev).requires_grad();
/// (&w * Tensor::new([3.0, 4.0], &dev)).sum().backward()?;
/// assert_eq!(clip_grad_norm(&[w.clone()], 1.0)?.item::<f32>()?, 5.0);
/// assert!((w.grad()?.sqr().sum().item::<f32>()? - 1.0).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Value`] if there are no parameters or `max_norm` is negative or NaN, and a failed
/// gradient's error; then no gradient has changed.
#[track_caller]
pub fn clip_grad_norm(params: &[Tensor], max_norm: f64) -> Result<Tensor> {
    let place = Place::caller();
    let value = |problem: String| Error::Value {
        op: "clip_grad_norm",
        problem,
        place,
    };
    if max_norm.is_nan() || max_norm < 0.0 {
        return Err(value(format!(
            "max_norm must be at least 0, not {max_norm}"
        )));
    }
    let Some(first) = params.first() else {
        return Err(value("there are no parameters".into()));
    };
    place.hold(|| {
        no_grad(|| {
            let mut grads = Vec::with_capacity(params.len());
            for param in params {
                if let Ok(grad) = param.grad() {
                    grads.push((param, grad.checked()?));
                }
            }
            if grads.is_empty() {
                return Tensor::zeros((), first.device()).checked();
            }
            let norm = norm(grads.iter().map(|(_, g)| g)).checked()?;
            // As torch: a little less than max_norm, but never a division by zero.
            let scale = (max_norm / (&norm + 1e-6)).clamp(f64::NEG_INFINITY, 1.0);
            let clip = |grad: &Tensor| match grad.dtype() {
                Ok(dtype) => (grad.to_dtype(dtype.compute()) * &scale).to_dtype(dtype),
                Err(_) => grad.clone(),
            };
            for (_, grad) in &grads {
                let _ = clip(grad).checked()?;
            }
            // All are good: now none is left behind.
            for (param, _) in grads {
                param.update_grad(clip)?;
            }
            Ok(norm)
        })
    })
}

/// Cuts every element of every gradient to `[-value, value]`, as `torch.nn.utils.clip_grad_value_`; NaN stays NaN.
/// Everything is recorded and nothing waits. Parameters without gradient do not count.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_core::Tensor;
/// use wgrad_nn::optim::clip_grad_value;
///
/// let w = Tensor::new([1.0, 1.0], &dev).requires_grad();
/// (&w * Tensor::new([3.0, -0.5], &dev)).sum().backward()?;
/// clip_grad_value(&[w.clone()], 1.0)?;
/// assert_eq!(w.grad()?.to_vec::<f32>()?, [1.0, -0.5]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Value`] if `value` is negative or NaN, and a failed gradient's error; then no gradient has changed.
#[track_caller]
pub fn clip_grad_value(params: &[Tensor], value: f64) -> Result<()> {
    let place = Place::caller();
    if value.is_nan() || value < 0.0 {
        return Err(Error::Value {
            op: "clip_grad_value",
            problem: format!("value must be at least 0, not {value}"),
            place,
        });
    }
    place.hold(|| {
        no_grad(|| {
            let clip = |grad: &Tensor| grad.clamp(-value, value);
            let with_grad: Vec<&Tensor> = params.iter().filter(|p| p.grad().is_ok()).collect();
            for param in &with_grad {
                let _ = clip(&param.grad()?).checked()?;
            }
            // All are good: now none is left behind.
            with_grad
                .iter()
                .try_for_each(|param| param.update_grad(clip))
        })
    })
}

/// The 2-norm of all elements of all tensors, which squares neither overflow nor underflow: they are
/// scaled by the largest element first. In the type that 16-bit floats compute in.
fn norm<'a>(tensors: impl Iterator<Item = &'a Tensor> + Clone) -> Tensor {
    let computed = |x: &Tensor| match x.dtype() {
        Ok(dtype) => x.to_dtype(dtype.compute()),
        Err(_) => x.clone(),
    };
    let filled = tensors.clone().filter(|x| x.numel() != Ok(0));
    let largest = filled.map(|x| computed(x).abs().max());
    let largest = largest.reduce(|a, b| a.maximum(&b));
    let scale = match &largest {
        // Zeros are not scaled, and infinities or NaN come out as they are. A GPU divides well by
        // 2^-126 to 2^126 only, where squares of what is left are harmless too.
        Some(largest) => {
            let ends = (2f64.powi(-126), 2f64.powi(126));
            let ends = match largest.dtype() {
                Ok(DType::F64) => (f64::MIN_POSITIVE, f64::MAX),
                _ => ends,
            };
            let usable = largest.ge(ends.0).logical_and(largest.lt(f64::INFINITY));
            usable.where_cond(largest.minimum(ends.1), 1.0)
        }
        None => return tensors.map(Tensor::sum).sum(),
    };
    let squares: Tensor = tensors.map(|x| (computed(x) / &scale).sqr().sum()).sum();
    squares.sqrt() * scale
}
