//! Checking derivatives against finite differences.

use crate::autograd::{GradOptions, grad};
use crate::tensor::Tensor;
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

/// Compares the gradient of `f`, a single-element result, at the `f64` tensors `inputs` with
/// central differences (step 1e-6), as `torch.autograd.gradcheck`: absolute tolerance 1e-5,
/// relative 1e-3. On a device that has `f64`, that is the CPU.
///
/// # Errors
/// [`Error::Grad`] that names the first entry that differs; errors of `f`.
#[track_caller]
pub fn gradcheck(f: impl Fn(&[Tensor]) -> Tensor, inputs: &[Tensor]) -> Result<()> {
    const STEP: f64 = 1e-6;
    let place = Place::caller();
    let mut points = Vec::with_capacity(inputs.len());
    for input in inputs {
        if input.dtype()? != DType::F64 {
            let problem = format!("needs f64 inputs, not {}", input.dtype()?);
            return Err(Error::dtype("gradcheck", place, problem));
        }
        points.push((
            input.to_vec::<f64>()?,
            input.shape()?,
            input.device().clone(),
        ));
    }
    let leaves: Vec<Tensor> = inputs.iter().map(|x| x.detach().requires_grad()).collect();
    let handles: Vec<&Tensor> = leaves.iter().collect();
    let options = GradOptions {
        allow_unused: true,
        ..GradOptions::default()
    };
    let y = f(&leaves).checked()?;
    // What depends on no input has the derivative 0.
    let grads = match y.needs_grad() {
        true => grad(&y, &handles, options)?,
        false => inputs.iter().map(Tensor::zeros_like).collect(),
    };
    for (i, (values, shape, device)) in points.iter().enumerate() {
        let analytic = grads[i].to_vec::<f64>()?;
        for at in 0..values.len() {
            let shifted = |by: f64| -> Result<f64> {
                let mut moved = values.clone();
                moved[at] += by;
                let mut all: Vec<Tensor> = inputs.iter().map(Tensor::detach).collect();
                all[i] = Tensor::from_vec(moved, shape, device);
                f(&all).item::<f64>()
            };
            let numeric = (shifted(STEP)? - shifted(-STEP)?) / (2.0 * STEP);
            let difference = (analytic[at] - numeric).abs();
            if difference.is_nan() || difference > 1e-5 + 1e-3 * numeric.abs() {
                return Err(Error::Grad {
                    op: "gradcheck",
                    problem: format!(
                        "input {i}, element {at}: derivative {} but difference quotient {numeric}",
                        analytic[at]
                    ),
                    place,
                });
            }
        }
    }
    Ok(())
}

/// Compares the second derivatives of `f`, a single-element result, at the `f64` tensors `inputs` with central
/// differences of its first ones: [`gradcheck`] of the gradient times fixed numbers. `torch.autograd.gradgradcheck`.
///
/// # Errors
/// As [`gradcheck`].
#[track_caller]
pub fn gradgradcheck(f: impl Fn(&[Tensor]) -> Tensor, inputs: &[Tensor]) -> Result<()> {
    let place = Place::caller();
    let slope = |x: &[Tensor]| -> Result<Tensor> {
        let leaf = |x: &Tensor| match x.needs_grad() {
            true => x.clone(),
            false => x.detach().requires_grad(),
        };
        let leaves: Vec<Tensor> = x.iter().map(leaf).collect();
        let handles: Vec<&Tensor> = leaves.iter().collect();
        let options = GradOptions {
            create_graph: true,
            allow_unused: true,
            ..GradOptions::default()
        };
        let mut sum = Tensor::zeros((), (DType::F64, x[0].device()));
        let y = f(&leaves).checked()?;
        if !y.needs_grad() {
            return Ok(sum);
        }
        for grad in grad(&y, &handles, options)? {
            let n = grad.numel()?;
            let weights: Vec<f64> = (0..n)
                .map(|i| 0.5 + (i as f64 * 0.618_034).fract())
                .collect();
            let weights = Tensor::from_vec(weights, grad.shape()?, grad.device());
            sum = sum + (grad * weights).sum();
        }
        sum.checked()
    };
    let Some(first) = inputs.first() else {
        return Ok(());
    };
    place.hold(|| gradcheck(|x| Tensor::or_fail(first.device(), slope(x)), inputs))
}
