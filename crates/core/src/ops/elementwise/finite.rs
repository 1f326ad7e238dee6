//! Signs, NaN and infinities: telling them, and putting others in their place.

use super::formula::refused;
use crate::tensor::{Rhs, Tensor, create};
use crate::types::dtype::{DType, FloatInfo};
use crate::types::element::Scalar;
use crate::types::error::Place;

/// What numbers are. Integers are always finite, bools too.
impl Tensor {
    /// Where the element is NaN, a bool tensor.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.0, f64::NAN, f64::INFINITY], &dev);
    /// assert_eq!(x.isnan().to_vec::<bool>()?, [false, true, false]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn isnan(&self) -> Tensor {
        self.told(false, |x| x.ne(x))
    }

    /// Where the element is infinite, a bool tensor.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.0, f64::NAN, f64::NEG_INFINITY], &dev);
    /// assert_eq!(x.isinf().to_vec::<bool>()?, [false, false, true]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn isinf(&self) -> Tensor {
        self.told(false, |x| x.abs().eq(f64::INFINITY))
    }

    /// Where the element is neither NaN nor infinite, a bool tensor.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.0, f64::NAN, f64::INFINITY], &dev);
    /// assert_eq!(x.isfinite().to_vec::<bool>()?, [true, false, false]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn isfinite(&self) -> Tensor {
        self.told(true, |x| x.abs().lt(f64::INFINITY))
    }

    /// Where the sign is a minus, also that of zeros, a bool tensor.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([-0.0, 0.0, -3.0], &dev);
    /// assert_eq!(x.signbit().to_vec::<bool>()?, [true, false, true]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn signbit(&self) -> Tensor {
        let place = Place::caller();
        place.within(|| match self.dtype() {
            Ok(dtype) if !dtype.is_float() => self.lt(0),
            _ => self
                .detach()
                .told(false, |x| x.ones_like().copysign(x).lt(0.0)),
        })
    }

    /// Where both are near: `|self - other| <= atol + rtol |other|`, or equal, or (if asked) both NaN. torch's
    /// defaults are an `rtol` of 1e-5, an `atol` of 1e-8, and NaN equal to nothing.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (x, y) = (Tensor::new([1.0, f64::NAN], &dev), Tensor::new([1.000001, f64::NAN], &dev));
    /// assert_eq!(x.isclose(&y, 1e-5, 1e-8, false).to_vec::<bool>()?, [true, false]);
    /// assert_eq!(x.isclose(&y, 1e-5, 1e-8, true).to_vec::<bool>()?, [true, true]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn isclose(&self, other: &Tensor, rtol: f64, atol: f64, equal_nan: bool) -> Tensor {
        let place = Place::caller();
        place.within(|| {
            let equal = self.eq(other);
            let equal = match equal_nan {
                true => equal.logical_or(self.isnan().logical_and(other.isnan())),
                false => equal,
            };
            if rtol == 0.0 && atol == 0.0 {
                return equal;
            }
            // Integers and bools as floats, where differences do not wrap.
            let number = |x: &Tensor| match x.dtype() {
                Ok(dtype) if !dtype.is_float() => x.to_dtype(DType::F32),
                _ => x.clone(),
            };
            let (a, b) = (number(self), number(other));
            let distance = (&a - &b).abs();
            let near = distance.le((b * rtol).abs() + atol);
            equal.logical_or(distance.isfinite().logical_and(near))
        })
    }

    /// `nan`, `posinf` and `neginf` in place of NaN and the infinities; `None` stands for 0, and for the largest
    /// and smallest number of the type. Where something was replaced, the derivative is 0.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([f32::NAN, f32::INFINITY, 1.0], &dev);
    /// assert_eq!(x.nan_to_num(None, None, None).to_vec::<f32>()?, [0.0, f32::MAX, 1.0]);
    /// assert_eq!(x.nan_to_num(None, Some(1e3), None).to_vec::<f32>()?, [0.0, 1e3, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn nan_to_num(&self, nan: Option<f64>, posinf: Option<f64>, neginf: Option<f64>) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let Some(FloatInfo { max, min, .. }) = x.dtype().finfo() else {
                return Ok(x.into_tensor());
            };
            Ok(place.within(|| {
                let y = self
                    .eq(f64::INFINITY)
                    .where_cond(posinf.unwrap_or(max), self);
                let y = self
                    .eq(f64::NEG_INFINITY)
                    .where_cond(neginf.unwrap_or(min), y);
                self.ne(self).where_cond(nan.unwrap_or(0.0), y)
            }))
        })
    }

    /// 0 below 0, 1 above, and `values` at 0; of NaN 0. Both have one type, as in torch; no derivative.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([-1.0, 0.0, 2.0], &dev);
    /// assert_eq!(x.heaviside(&Tensor::scalar(0.5, &dev)).to_vec::<f32>()?, [0.0, 0.5, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn heaviside(&self, values: &Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let v = values.capture()?;
            if x.dtype() != v.dtype() {
                let problem = format!("takes one type, not {} and {}", x.dtype(), v.dtype());
                return Err(crate::types::error::Error::dtype(
                    "heaviside",
                    place,
                    problem,
                ));
            }
            if x.dtype() == DType::Bool {
                return Err(refused("heaviside", DType::Bool, place));
            }
            Ok(place.within(|| {
                let step = self.gt(0).to_dtype(x.dtype());
                self.eq(0).where_cond(values.detach(), step)
            }))
        })
    }

    /// `f` of floats; for the others `answer`.
    #[track_caller]
    fn told(&self, answer: bool, f: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.dtype().is_float() {
                return Ok(place.within(|| f(self)));
            }
            let answer = Scalar::Bool(answer);
            let device = &x.node.device;
            let all = create::constant(device, x.shape(), answer, DType::Bool, place)?;
            Ok(all.into_tensor())
        })
    }

    /// At least `lo`; NaN stays NaN. `lo` is a number or a tensor. Where an element is at a number, the derivative
    /// is 0; a tensor shares it.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([-3, 5], &dev).clamp_min(2).to_vec::<i32>()?, [2, 5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn clamp_min(&self, lo: impl Into<Rhs>) -> Tensor {
        let place = Place::caller();
        place.within(|| match lo.into() {
            Rhs::Scalar(lo) => self.clamp(lo, self.end_beside(lo, i64::MAX, f64::INFINITY)),
            lo => self.maximum(lo),
        })
    }

    /// At most `hi`; NaN stays NaN. `hi` is a number or a tensor. Where an element is at a number, the derivative is
    /// 0; a tensor shares it.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([-3, 5], &dev).clamp_max(2).to_vec::<i32>()?, [-3, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn clamp_max(&self, hi: impl Into<Rhs>) -> Tensor {
        let place = Place::caller();
        place.within(|| match hi.into() {
            Rhs::Scalar(hi) => self.clamp(self.end_beside(hi, i64::MIN, f64::NEG_INFINITY), hi),
            hi => self.minimum(hi),
        })
    }

    /// A bound that is none, of the category that this and the other bound promote to.
    fn end_beside(&self, other: Scalar, integer: i64, float: f64) -> Scalar {
        let floats = self.dtype().is_ok_and(DType::is_float);
        match other {
            Scalar::Integer(_) | Scalar::Bool(_) if !floats => Scalar::Integer(integer),
            _ => Scalar::Float(float),
        }
    }
}
