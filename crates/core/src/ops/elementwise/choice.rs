//! Operations of three operands: choosing between two, and keeping within bounds.

use smallvec::SmallVec;

use super::{Class, available, broadcast, cast, class_dtype, expanded, map, promote_values};
use crate::autograd::{self, Grads, Saves};
use crate::kernel::program::MapOp;
use crate::record::node::Source;
use crate::tensor::create;
use crate::tensor::{Rhs, Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

impl Tensor {
    /// Where this (bool) tensor is true the element of `on_true`, elsewhere that of `on_false`;
    /// all three broadcast. `torch.where`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([-1.0, 2.0], &dev);
    /// assert_eq!(x.gt(0.0).where_cond(&x, 0.0).to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn where_cond(&self, on_true: impl Into<Rhs>, on_false: impl Into<Rhs>) -> Tensor {
        let place = Place::caller();
        let (a, b) = (on_true.into(), on_false.into());
        self.then(|c| where_cond(&c, &a, &b, place))
    }

    /// `min(max(self, lo), hi)`; NaN stays NaN. A bound is a number or a tensor, which broadcasts. With numbers the
    /// derivative is 1 inside and 0 at the bounds and beyond; with tensors it is that of [`Tensor::minimum`] and
    /// [`Tensor::maximum`]. A bound beyond an integer type's range counts as its end.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([-3.0, 0.5, 3.0], &dev);
    /// assert_eq!(x.clamp(-1.0, 2.0).to_vec::<f32>()?, [-1.0, 0.5, 2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn clamp(&self, lo: impl Into<Rhs>, hi: impl Into<Rhs>) -> Tensor {
        let place = Place::caller();
        match (lo.into(), hi.into()) {
            (Rhs::Scalar(lo), Rhs::Scalar(hi)) => self.then(|x| clamp(&x, lo, hi, place)),
            (lo, hi) => place.within(|| self.clamp_min(lo).clamp_max(hi)),
        }
    }
}

fn where_cond(c: &Value, a: &Rhs, b: &Rhs, place: Place) -> Result<Tensor> {
    let name = "where";
    let device = &c.node.device;
    let c = cast(c, DType::Bool, place)?;
    let captured = |rhs: &Rhs| match rhs {
        Rhs::Tensor(t) => t.capture().map(Some),
        Rhs::Scalar(_) => Ok(None),
    };
    let (va, vb) = (captured(a)?, captured(b)?);
    for v in va.iter().chain(vb.iter()) {
        same_device(name, &c, v, place)?;
    }
    let dtype = match (&va, &vb, a, b) {
        (Some(a), Some(b), ..) => promote_values(a, b),
        (Some(t), None, _, Rhs::Scalar(s)) | (None, Some(t), Rhs::Scalar(s), _) => {
            s.promote(t.dtype())
        }
        (_, _, Rhs::Scalar(a), Rhs::Scalar(b)) => a.default_dtype().promote(b.default_dtype()),
        _ => DType::F32,
    };
    let dtype = available(name, device, dtype, place)?;
    let operand = |v: Option<Value>, rhs: &Rhs| match (v, rhs) {
        (Some(v), _) => cast(&v, dtype, place),
        (None, Rhs::Scalar(s)) if !s.fits(dtype) => Err(create::unfit(name, *s, dtype, place)),
        (None, Rhs::Scalar(s)) => create::constant(device, &Shape::default(), *s, dtype, place),
        (None, Rhs::Tensor(t)) => t.capture(),
    };
    let (va, vb) = (operand(va, a)?, operand(vb, b)?);
    let mut shape = broadcast(name, &c, &va, place)?;
    shape = shape
        .broadcast(vb.shape())
        .ok_or_else(|| Error::Broadcast {
            op: name,
            left: shape.clone(),
            right: vb.shape().clone(),
            place,
        })?;
    let inputs = [
        expanded(&c, &shape),
        expanded(&va, &shape),
        expanded(&vb, &shape),
    ]
    .into_iter()
    .collect();
    let y = map(name, MapOp::Where, device, inputs, &shape, dtype, place)?;
    if !dtype.is_float() || !autograd::tracks(&[&va, &vb]) {
        return Ok(y.into_tensor());
    }
    let shapes = (va.shape().clone(), vb.shape().clone());
    let saves = Saves {
        inputs: SmallVec::from_iter([c.into_tensor()]),
        output: false,
    };
    Ok(autograd::track(
        name,
        y,
        &[&va, &vb],
        saves,
        place,
        move |c| {
            let mut grads = Grads::new();
            let cond = &c.inputs[0];
            grads.push(c.needs[0].then(|| cond.where_cond(c.grad, 0.0).sum_to(&shapes.0)));
            grads.push(c.needs[1].then(|| cond.where_cond(0.0, c.grad).sum_to(&shapes.1)));
            grads
        },
    ))
}

fn clamp(x: &Value, lo: Scalar, hi: Scalar, place: Place) -> Result<Tensor> {
    let device = &x.node.device;
    let dtype = class_dtype(Class::Number, hi.promote(lo.promote(x.dtype())));
    let (lo, hi) = (lo.saturated(dtype), hi.saturated(dtype));
    let x = cast(x, dtype, place)?;
    let of = dtype.compute();
    let inputs = [x.source(), Source::Scalar(lo, of), Source::Scalar(hi, of)]
        .into_iter()
        .collect();
    let y = map(
        "clamp",
        MapOp::Clamp,
        device,
        inputs,
        x.shape(),
        dtype,
        place,
    )?;
    if !autograd::tracks(&[&x]) {
        return Ok(y.into_tensor());
    }
    let saves = Saves {
        inputs: SmallVec::from_iter([x.clone().into_tensor()]),
        output: false,
    };
    Ok(autograd::track("clamp", y, &[&x], saves, place, move |c| {
        let x = &c.inputs[0];
        // An infinite bound is none, which infinities are inside of.
        let above = match lo.to_f64() {
            f64::NEG_INFINITY => x.eq(x),
            _ => x.gt(Rhs::Scalar(lo)),
        };
        let inside = match hi.to_f64() {
            f64::INFINITY => above,
            _ => above.logical_and(x.lt(Rhs::Scalar(hi))),
        };
        SmallVec::from_iter([Some(inside.where_cond(c.grad, 0.0))])
    }))
}
