//! Derivatives of functions: products with vectors, and whole matrices.

use super::{GradOptions, grad, grad_with, no_grad};
use crate::tensor::Tensor;
use crate::types::error::{Error, Place, Result};

const ALL: GradOptions = GradOptions {
    create_graph: false,
    retain_graph: true,
    allow_unused: true,
};
/// To be differentiated again.
const AGAIN: GradOptions = GradOptions {
    create_graph: true,
    ..ALL
};

/// Inputs that the function is differentiated by: leaves of their own, so that nothing else gets a gradient.
fn leaves(inputs: &[&Tensor]) -> Vec<Tensor> {
    inputs.iter().map(|x| x.detach().requires_grad()).collect()
}

/// The sum of the products of all elements.
fn inner(a: &[Tensor], b: &[&Tensor]) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (a, b) in a.iter().zip(b) {
        let product = (a * *b).sum();
        sum = Some(match sum {
            Some(sum) => sum + product,
            None => product,
        });
    }
    match sum {
        Some(sum) => sum.checked(),
        None => Err(Error::value(
            "inner",
            Place::caller(),
            "there are no inputs",
        )),
    }
}

/// The value of a derivative, by `inputs`, of `y`, which may depend on none of them.
fn by(y: &Tensor, inputs: &[Tensor], options: GradOptions) -> Result<Vec<Tensor>> {
    let handles: Vec<&Tensor> = inputs.iter().collect();
    if !y.needs_grad() {
        return inputs.iter().map(|x| x.zeros_like().checked()).collect();
    }
    grad(y, &handles, options)
}

fn fits(op: &'static str, v: &[&Tensor], inputs: &[&Tensor], place: Place) -> Result<()> {
    if v.len() != inputs.len() {
        let problem = format!("{} vectors for {} inputs", v.len(), inputs.len());
        return Err(Error::value(op, place, problem));
    }
    for (v, x) in v.iter().zip(inputs) {
        let (of, own) = (v.shape()?, x.shape()?);
        if of != own {
            let problem = format!("a vector of shape {of} for an input of shape {own}");
            return Err(Error::shape(op, place, problem));
        }
    }
    Ok(())
}

/// `f(inputs)`, and the product of `v`, of its shape, and its Jacobian: what a backward pass computes.
/// `torch.autograd.functional.vjp`.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let x = Tensor::new([1.0, 3.0], &dev);
/// let v = Tensor::new([1.0, 10.0], &dev);
/// let (y, grads) = autograd::vjp(|x| x[0].sqr(), &[&x], &v)?;
/// assert_eq!(y.to_vec::<f32>()?, [1.0, 9.0]);
/// assert_eq!(grads[0].to_vec::<f32>()?, [2.0, 60.0]); // 2 x v
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// Errors of `f`; [`Error::Shape`] if `v` has another shape than the result.
#[track_caller]
pub fn vjp(
    f: impl Fn(&[Tensor]) -> Tensor,
    inputs: &[&Tensor],
    v: &Tensor,
) -> Result<(Tensor, Vec<Tensor>)> {
    let place = Place::caller();
    place.hold(|| {
        let inputs = leaves(inputs);
        let y = f(&inputs).checked()?;
        let handles: Vec<&Tensor> = inputs.iter().collect();
        let grads = match y.needs_grad() {
            true => grad_with(&y, &handles, v, ALL)?,
            false => by(&y, &inputs, ALL)?,
        };
        Ok((y.detach(), grads))
    })
}

/// `f(inputs)`, and the product of its Jacobian and `v`, of the inputs' shapes: the derivative in a direction.
/// `torch.autograd.functional.jvp`.
///
/// Computed by two backward passes: the first is linear in its gradient, and the derivative of that, in the
/// direction `v`, is the product (the "double backward trick").
///
/// # Errors
/// Errors of `f`; [`Error::Value`] and [`Error::Shape`] if `v` does not fit the inputs.
#[track_caller]
pub fn jvp(
    f: impl Fn(&[Tensor]) -> Tensor,
    inputs: &[&Tensor],
    v: &[&Tensor],
) -> Result<(Tensor, Tensor)> {
    let place = Place::caller();
    fits("jvp", v, inputs, place)?;
    place.hold(|| {
        let inputs = leaves(inputs);
        let y = f(&inputs).checked()?;
        if !y.needs_grad() {
            return Ok((y.detach(), y.zeros_like().checked()?));
        }
        let any = y.zeros_like().requires_grad();
        let handles: Vec<&Tensor> = inputs.iter().collect();
        let grads = grad_with(&y, &handles, &any, AGAIN)?;
        let along = by(&inner(&grads, v)?, &[any], ALL)?;
        let product = along.into_iter().next();
        Ok((y.detach(), product.unwrap_or_else(|| y.zeros_like())))
    })
}

/// The Jacobian of `f` by each input: of the result's shape followed by the input's, one backward pass for each
/// element of the result. `torch.autograd.functional.jacobian`.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let w = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &dev);
/// let x = Tensor::new([1.0, 1.0], &dev);
/// let j = autograd::jacobian(|x| x[0].matmul(&w), &[&x])?; // of [2] to [3]
/// assert_eq!(j[0].shape()?, [3, 2]);
/// assert_eq!(j[0].to_vec::<f32>()?, w.t().to_vec::<f32>()?);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// Errors of `f`.
#[track_caller]
pub fn jacobian(f: impl Fn(&[Tensor]) -> Tensor, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let place = Place::caller();
    place.hold(|| {
        let inputs = leaves(inputs);
        rows(&f(&inputs).checked()?, &inputs)
    })
}

/// The derivatives of each element of `y`.
fn rows(y: &Tensor, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let shape = y.shape()?;
    let flat = y.reshape([-1isize]);
    let mut rows: Vec<Vec<Tensor>> = inputs.iter().map(|_| Vec::new()).collect();
    for i in 0..shape.numel() {
        let element = flat.select(0, i as isize);
        for (rows, row) in rows.iter_mut().zip(by(&element, inputs, ALL)?) {
            rows.push(row);
        }
    }
    let joined = |(rows, x): (Vec<Tensor>, &Tensor)| -> Result<Tensor> {
        let own = x.shape()?;
        let to: Vec<usize> = shape.iter().chain(own.iter()).copied().collect();
        if rows.is_empty() {
            return Tensor::zeros(to, (x.dtype()?, x.device())).checked();
        }
        no_grad(|| Tensor::stack(&rows, 0).reshape(to).checked())
    };
    rows.into_iter().zip(inputs).map(joined).collect()
}

/// The second derivatives of `f`, whose result has one element: `h[i][j]`, of the shape of input `i` followed by
/// that of input `j`. `torch.autograd.functional.hessian`.
///
/// # Errors
/// Errors of `f`; [`Error::Grad`] if its result has several elements.
#[track_caller]
pub fn hessian(f: impl Fn(&[Tensor]) -> Tensor, inputs: &[&Tensor]) -> Result<Vec<Vec<Tensor>>> {
    let place = Place::caller();
    place.hold(|| {
        let inputs = leaves(inputs);
        let grads = by(&f(&inputs).checked()?, &inputs, AGAIN)?;
        grads.iter().map(|grad| rows(grad, &inputs)).collect()
    })
}

/// `f(inputs)`, and the product of its second derivatives and `v`, of the inputs' shapes, without the whole
/// matrix. `torch.autograd.functional.hvp`.
///
/// # Errors
/// As [`hessian`], and [`Error::Value`] and [`Error::Shape`] if `v` does not fit the inputs.
#[track_caller]
pub fn hvp(
    f: impl Fn(&[Tensor]) -> Tensor,
    inputs: &[&Tensor],
    v: &[&Tensor],
) -> Result<(Tensor, Vec<Tensor>)> {
    let place = Place::caller();
    fits("hvp", v, inputs, place)?;
    place.hold(|| {
        let inputs = leaves(inputs);
        let y = f(&inputs).checked()?;
        let grads = by(&y, &inputs, AGAIN)?;
        let product = by(&inner(&grads, v)?, &inputs, ALL)?;
        Ok((y.detach(), product))
    })
}
