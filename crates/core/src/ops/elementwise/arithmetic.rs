//! Arithmetic that is put together from other operations.

use super::formula::composed;
use crate::tensor::{Rhs, Tensor};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Error, Place};

/// How [`Tensor::div_rounded`] rounds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rounding {
    /// Towards 0, as [`Tensor::div_trunc`].
    Trunc,
    /// Down, as [`Tensor::floor_divide`].
    Floor,
}

/// Arithmetic of several tensors, which broadcast and promote as in torch.
impl Tensor {
    /// `self` to an integer power; exact for small exponents. Integers stay integers, wrap, and take
    /// no negative exponent.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([2, -3], &dev).powi(3).to_vec::<i32>()?, [8, -27]);
    /// assert_eq!(Tensor::new([2.0], &dev).powi(-2).to_vec::<f32>()?, [0.25]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn powi(&self, exponent: i32) -> Tensor {
        let place = Place::caller();
        let x = &self.widened();
        place.within(|| match exponent {
            1 => x.mul(1),
            2 => x.sqr(),
            -1 if !x.is_integer() => x.recip(),
            // Steps of 16-bit floats would be rounded.
            n if x.dtype().is_ok_and(|dtype| dtype != dtype.compute()) => x.pow(n),
            3 => x.sqr() * x,
            // The square of the reciprocal, whose derivative stays within the range where x^-4,
            // the other way's, does not.
            -2 if !x.is_integer() => x.recip().sqr(),
            n => x.pow(n),
        })
    }

    /// `self` to a constant power, in floats.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([1.0, 4.0], &dev).powf(1.5).to_vec::<f32>()?, [1.0, 8.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn powf(&self, exponent: f64) -> Tensor {
        let place = Place::caller();
        let x = &self.widened();
        place.within(|| {
            match exponent {
                2.0 if !x.is_integer() => x.sqr(),
                // As torch, also in that roots of -0 and -infinity are not IEEE 754's powers.
                0.5 => x.sqrt(),
                -0.5 => x.rsqrt(),
                _ => x.pow(exponent),
            }
        })
    }

    /// Whether this holds integers or bools; not if it failed.
    fn is_integer(&self) -> bool {
        self.dtype().is_ok_and(|dtype| !dtype.is_float())
    }

    /// `self / other` rounded to a whole number; torch's `div` with a rounding mode. Integers stay integers, and
    /// divided by 0 they give 0.
    ///
    /// ```
    /// # use wgrad::{Rounding, prelude::*};
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([-7.0, 7.0], &dev).div_rounded(2.0, Rounding::Floor);
    /// assert_eq!(y.to_vec::<f32>()?, [-4.0, 3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn div_rounded(&self, other: impl Into<Rhs>, rounding: Rounding) -> Tensor {
        let place = Place::caller();
        place.within(|| match rounding {
            Rounding::Trunc => self.div_trunc(other),
            Rounding::Floor => self.floor_divide(other),
        })
    }

    /// The least common multiple of two integers, not negative (it wraps); 0 with 0.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([4, 6], &dev).lcm(&Tensor::new([10], &dev));
    /// assert_eq!(y.to_vec::<i32>()?, [20, 30]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn lcm(&self, other: impl Into<Rhs>) -> Tensor {
        let place = Place::caller();
        let other = other.into();
        place.within(|| {
            let divisor = self.gcd(other.clone());
            match divisor.dtype() {
                // The smaller types wrap behind the sign, as in torch.
                Ok(dtype @ (DType::I8 | DType::I16)) => {
                    let other = match other {
                        Rhs::Tensor(other) => Rhs::Tensor(other.to_dtype(DType::I32)),
                        number => number,
                    };
                    self.to_dtype(DType::I32).lcm(other).to_dtype(dtype)
                }
                // Unsigned ones are not negative.
                Ok(dtype) if dtype.range().is_some_and(|(lo, _)| lo == 0) => {
                    self.div_trunc(divisor).mul(other)
                }
                _ => self.div_trunc(divisor).mul(other).abs(),
            }
        })
    }

    /// From `self` to `end` by `weight`: `self + weight (end - self)`, written so that both ends are exact.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (a, b) = (Tensor::new([0.0, 4.0], &dev), Tensor::new([4.0, 8.0], &dev));
    /// assert_eq!(a.lerp(&b, 0.25).to_vec::<f32>()?, [1.0, 5.0]); // a quarter of the way
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn lerp(&self, end: &Tensor, weight: impl Into<Rhs>) -> Tensor {
        let place = Place::caller();
        match weight.into() {
            Rhs::Tensor(weight) => place.within(|| {
                composed([self, end, &weight], |[start, end, weight]| {
                    let way = &end - &start;
                    let back = end - &way * (&weight * -1.0 + 1.0);
                    let forth = start + way * &weight;
                    weight.abs().lt(0.5).where_cond(forth, back)
                })
            }),
            Rhs::Scalar(weight) => place.within(|| {
                let weight = weight.to_f64();
                composed([self, end], |[start, end]| {
                    let way = &end - &start;
                    match weight.abs() < 0.5 {
                        true => start + way * weight,
                        false => end - way * (1.0 - weight),
                    }
                })
            }),
        }
    }

    /// `self + value a b`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (mean, std) = (Tensor::new([1.0, 2.0], &dev), Tensor::new([3.0, 4.0], &dev));
    /// let noise = Tensor::new([0.5, -0.5], &dev);
    /// let y = mean.addcmul(&std, &noise, 1.0); // mean + std * noise
    /// assert_eq!(y.to_vec::<f32>()?, [2.5, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn addcmul(&self, a: &Tensor, b: &Tensor, value: impl Into<Scalar>) -> Tensor {
        let place = Place::caller();
        let value = Rhs::Scalar(value.into());
        place.within(|| composed([self, a, b], |[x, a, b]| x + (a * b).mul(value)))
    }

    /// `self + value a / b`; integers divide as floats.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (a, b) = (Tensor::new([2.0, 3.0], &dev), Tensor::new([4.0, 2.0], &dev));
    /// let y = Tensor::new([1.0, 1.0], &dev).addcdiv(&a, &b, 2.0);
    /// assert_eq!(y.to_vec::<f32>()?, [2.0, 4.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn addcdiv(&self, a: &Tensor, b: &Tensor, value: impl Into<Scalar>) -> Tensor {
        let place = Place::caller();
        let value = Rhs::Scalar(value.into());
        place.within(|| composed([self, a, b], |[x, a, b]| x + a.mul(value) / b))
    }

    /// `x - trunc(x)`: what stands behind the point, with the sign of `x`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([1.5, -2.25], &dev).frac().to_vec::<f32>()?, [0.5, -0.25]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn frac(&self) -> Tensor {
        let place = Place::caller();
        place.within(|| self - self.trunc())
    }

    /// Rounded to so many decimals, halves to even; negative `decimals` round to tens, hundreds and so on. Floats
    /// alone. torch's `round` with `decimals`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.234, -0.125], &dev).round_decimals(2).to_vec::<f32>()?;
    /// assert_eq!(x, [1.23, -0.12]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn round_decimals(&self, decimals: i32) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if !x.dtype().is_float() {
                return Err(super::formula::refused("round_decimals", x.dtype(), place));
            }
            let power = 10f64.powi(decimals.saturating_abs());
            Ok(place.within(|| match decimals {
                0 => self.round(),
                1.. => composed([self], |[x]| (x * power).round() / power),
                _ => composed([self], |[x]| (x / power).round() * power),
            }))
        })
    }

    /// The bits that are not set; of bools the other truth value. Integers and bools alone.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([0, 5], &dev).bitwise_not().to_vec::<i32>()?, [-1, -6]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn bitwise_not(&self) -> Tensor {
        let place = Place::caller();
        self.then(|x| match x.dtype() {
            DType::Bool => Ok(place.within(|| self.logical_not())),
            dtype => match dtype.range() {
                // All bits: -1, or the largest number.
                Some((lo, hi)) => {
                    let all = if lo < 0 { -1 } else { hi };
                    Ok(place.within(|| self.bitwise_xor(all)))
                }
                None => {
                    let problem =
                        format!("takes integers, not {dtype}; convert them with to_dtype");
                    Err(Error::dtype("bitwise_not", place, problem))
                }
            },
        })
    }

    /// Degrees as radians. Integers become `f32`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([0.0, 180.0], &dev);
    /// assert_eq!(x.deg2rad().to_vec::<f32>()?, [0.0, std::f32::consts::PI]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn deg2rad(&self) -> Tensor {
        let place = Place::caller();
        place.within(|| self * (std::f64::consts::PI / 180.0))
    }

    /// Radians as degrees. Integers become `f32`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([0.0, std::f64::consts::PI], &dev);
    /// assert_eq!(x.rad2deg().to_vec::<f32>()?, [0.0, 180.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn rad2deg(&self) -> Tensor {
        let place = Place::caller();
        place.within(|| self * (180.0 / std::f64::consts::PI))
    }
}
