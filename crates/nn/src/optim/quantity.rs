//! Numbers that the host knows, or only the device.

use std::ops::{Add, Div, Mul, Sub};

use wgrad_core::Tensor;

/// A number that a step's numbers are computed from: the count of steps, and what is kept between them. It is an
/// `f64` where the host knows how many steps were made, and a tensor without dimensions where only the device does,
/// because it decided whether to skip some ([`GradScaler`](crate::amp::GradScaler)).
///
/// ```
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_core::Tensor;
/// use wgrad_nn::optim::Quantity;
///
/// /// 1 / (1 + t / 2)
/// fn decay<X: Quantity>(t: X) -> X {
///     t.constant(1.0) / (t.constant(1.0) + t.times(0.5))
/// }
///
/// assert_eq!(decay(2.0), 0.5);
/// assert_eq!(decay(Tensor::scalar(2.0, &dev)).item::<f32>()?, 0.5);
/// # Ok::<(), wgrad_core::Error>(())
/// ```
pub trait Quantity:
    Clone + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// A constant of the same kind.
    fn constant(&self, value: f64) -> Self;
    /// `self * factor`.
    fn times(&self, factor: f64) -> Self;
    /// `e^self - 1`.
    fn expm1(&self) -> Self;
    /// `self` to a power.
    fn power(&self, exponent: f64) -> Self;
    /// The larger of `self` and a limit.
    fn at_least(&self, limit: f64) -> Self;
    /// The smaller of `self` and a limit.
    fn at_most(&self, limit: f64) -> Self;
    /// `yes` where `self > limit`, `no` elsewhere.
    fn above(&self, limit: f64, yes: Self, no: Self) -> Self;
    /// The elements of a tensor times this number.
    fn scale(&self, x: &Tensor) -> Tensor;

    /// `1 - beta^self`, which for `beta` near 1 must not be a difference of numbers that are rounded to `f32`.
    fn decayed(&self, beta: f64) -> Self {
        match beta {
            0.0 => self.constant(1.0),
            _ => self.constant(0.0) - self.times(beta.ln()).expm1(),
        }
    }
}

impl Quantity for f64 {
    fn constant(&self, value: f64) -> f64 {
        value
    }
    fn times(&self, factor: f64) -> f64 {
        self * factor
    }
    fn expm1(&self) -> f64 {
        self.exp_m1()
    }
    fn power(&self, exponent: f64) -> f64 {
        self.powf(exponent)
    }
    fn at_least(&self, limit: f64) -> f64 {
        self.max(limit)
    }
    fn at_most(&self, limit: f64) -> f64 {
        self.min(limit)
    }
    fn above(&self, limit: f64, yes: f64, no: f64) -> f64 {
        if *self > limit { yes } else { no }
    }
    fn scale(&self, x: &Tensor) -> Tensor {
        x * *self
    }
}

impl Quantity for Tensor {
    fn constant(&self, value: f64) -> Tensor {
        match self.dtype() {
            Ok(dtype) => Tensor::scalar(value, (dtype, self.device())),
            Err(_) => self.clone(),
        }
    }
    fn times(&self, factor: f64) -> Tensor {
        self * factor
    }
    fn expm1(&self) -> Tensor {
        Tensor::expm1(self)
    }
    fn power(&self, exponent: f64) -> Tensor {
        self.pow(exponent)
    }
    fn at_least(&self, limit: f64) -> Tensor {
        self.maximum(limit)
    }
    fn at_most(&self, limit: f64) -> Tensor {
        self.minimum(limit)
    }
    fn above(&self, limit: f64, yes: Tensor, no: Tensor) -> Tensor {
        self.gt(limit).where_cond(yes, no)
    }
    fn scale(&self, x: &Tensor) -> Tensor {
        // Counts are of the widest type, parameters mostly are not.
        match x.dtype() {
            Ok(dtype) => x * self.to_dtype(dtype),
            Err(_) => x.clone(),
        }
    }
}
