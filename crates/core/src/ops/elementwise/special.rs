//! Special functions that are no rows of the table by themselves.

use smallvec::SmallVec;

use super::{Class, cast, class_dtype, map};
use crate::autograd::{self, Grads, Saves};
use crate::kernel::program::MapOp;
use crate::record::node::Source;
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Error, Place, Result};

impl Tensor {
    /// The `n`th derivative of [`Tensor::digamma`]; that itself for 0.
    ///
    /// `(-1)^(n + 1) n! zeta(n + 1, x)`, with Hurwitz' zeta function.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([1.0], &dev).polygamma(1).item::<f32>()?;
    /// assert!((y - std::f32::consts::PI.powi(2) / 6.0).abs() < 1e-5); // the sum of 1 / n^2
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn polygamma(&self, n: i32) -> Tensor {
        let place = Place::caller();
        match n {
            0 => place.within(|| self.digamma()),
            1.. => self.widened().then(|x| polygamma(&x, n, place)),
            _ => self.then(|_| {
                let problem = format!("there is no derivative number {n}");
                Err(Error::value("polygamma", place, problem))
            }),
        }
    }

    /// [`Tensor::logit`] of `x` kept within `eps` and `1 - eps`; beyond them the derivative is 0.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([0.0, 0.5, 1.0], &dev).logit_within(0.25).to_vec::<f32>()?;
    /// assert!((y[2] - 3.0_f32.ln()).abs() < 1e-6 && y[1] == 0.0 && y[0] == -y[2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn logit_within(&self, eps: f64) -> Tensor {
        let place = Place::caller();
        self.then(|_| {
            if !(0.0..=0.5).contains(&eps) {
                let problem = format!("eps is {eps}, and not from 0 to 0.5");
                return Err(Error::value("logit_within", place, problem));
            }
            Ok(place.within(|| {
                super::formula::smooth(
                    "logit_within",
                    self,
                    move |x| x.clamp(eps, 1.0 - eps).logit(),
                    move |x, g| {
                        let inside = x.ge(eps).logical_and(x.le(1.0 - eps));
                        inside.where_cond(g / (x * (x * -1.0 + 1.0)), 0.0)
                    },
                )
            }))
        })
    }
}

/// `(-1)^(n + 1) n! zeta(n + 1, x)` and its derivative, for `n` above 0.
fn polygamma(x: &Value, n: i32, place: Place) -> Result<Tensor> {
    let dtype = class_dtype(Class::Float, x.dtype());
    let x = cast(x, dtype, place)?;
    let s = Source::Scalar(Scalar::Float(f64::from(n) + 1.0), dtype.compute());
    let inputs = SmallVec::from_iter([s, x.source()]);
    // In the compute type: the factorial may lead out of a 16-bit type, and back into it.
    let compute: DType = dtype.compute();
    let device = &x.node.device;
    let zeta = map(
        "polygamma",
        MapOp::Zeta,
        device,
        inputs,
        x.shape(),
        compute,
        place,
    )?;
    // Infinite from 171 on.
    let factorial: f64 = (1..=n.min(171)).map(f64::from).product();
    let factor = if n % 2 == 1 { factorial } else { -factorial };
    let y = place
        .within(|| (zeta.into_tensor() * factor).to_dtype(dtype))
        .capture()?;
    if !autograd::tracks(&[&x]) {
        return Ok(y.into_tensor());
    }
    let saves = Saves {
        inputs: SmallVec::from_iter([x.clone().into_tensor()]),
        output: false,
    };
    let rule = move |c: &autograd::Context<'_>| {
        let slope = c.inputs[0].polygamma(n.saturating_add(1));
        Grads::from_iter([Some(c.grad * slope)])
    };
    Ok(autograd::track("polygamma", y, &[&x], saves, place, rule))
}
