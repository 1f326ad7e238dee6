//! Random tensors, from the device's stream (see [`Device::seed`]): the same seed gives the same
//! numbers on every device.
//!
//! Intervals are half open in every type: what is drawn is a multiple of a power of two that the type
//! holds, or kept below the end, so that no rounding reaches it.

use std::f64::consts::TAU;

use half::{bf16, f16};

use crate::kernel::program::MapOp;
use crate::ops::elementwise::map;
use crate::record::node::Source;
use crate::tensor::device::{Device, Target};
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

impl Tensor {
    /// Uniform random numbers in [0, 1): multiples of 2^-24, in `f64` of 2^-53, in `f16` of 2^-11, in
    /// `bf16` of 2^-8. Only floats.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::rand([100], &dev);
    /// assert!(x.min().item::<f32>()? >= 0.0 && x.max().item::<f32>()? < 1.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn rand(shape: impl Into<Shape>, target: impl Target) -> Tensor {
        let place = Place::caller();
        let dtype = target.dtype().unwrap_or(DType::F32);
        let device = target.device();
        if let Err(error) = only_floats("rand", dtype, place) {
            return Tensor::fail(device, error);
        }
        place.within(|| {
            let u = unit(shape.into(), dtype, device, place);
            let multiples = |bits: i32| {
                let scale = 2f64.powi(bits);
                ((&u * scale).floor() * (1.0 / scale)).to_dtype(dtype)
            };
            match dtype {
                DType::F16 => multiples(11),
                DType::BF16 => multiples(8),
                _ => u,
            }
        })
    }

    /// Standard normal random numbers (Box-Muller). Only floats.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::randn([1000], &dev);
    /// assert!(x.mean().item::<f32>()?.abs() < 0.25);
    /// assert!((x.std().item::<f32>()? - 1.0).abs() < 0.25);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn randn(shape: impl Into<Shape>, target: impl Target) -> Tensor {
        let place = Place::caller();
        let dtype = target.dtype().unwrap_or(DType::F32);
        let (shape, device) = (shape.into(), target.device());
        if let Err(error) = only_floats("randn", dtype, place) {
            return Tensor::fail(device, error);
        }
        place.within(|| match dtype {
            DType::F64 => {
                let radius = (1.0 - unit(shape.clone(), dtype, device, place)).ln() * -2.0;
                radius.sqrt() * (unit(shape, dtype, device, place) * TAU).cos()
            }
            _ => draw(MapOp::Normal, shape, DType::F32, device, place).to_dtype(dtype),
        })
    }

    /// Uniform random numbers in [lo, hi); all `lo` where both are equal. Only floats.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::uniform([100], -2.0, 3.0, &dev);
    /// assert!(x.min().item::<f32>()? >= -2.0 && x.max().item::<f32>()? < 3.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn uniform(shape: impl Into<Shape>, lo: f64, hi: f64, target: impl Target) -> Tensor {
        let place = Place::caller();
        let dtype = target.dtype().unwrap_or(DType::F32);
        let device = target.device();
        let largest = match dtype {
            DType::F64 => f64::MAX,
            DType::F16 => f16::MAX.to_f64(),
            DType::BF16 => bf16::MAX.to_f64(),
            _ => f64::from(f32::MAX),
        };
        let checked = only_floats("uniform", dtype, place).and_then(|()| {
            // Not so either where one is NaN.
            if lo <= hi && lo.abs().max(hi.abs()) <= largest && hi - lo <= largest {
                return Ok(());
            }
            let problem = format!("[{lo}, {hi}) is no interval of {dtype}");
            Err(Error::value("uniform", place, problem))
        });
        if let Err(error) = checked {
            return Tensor::fail(device, error);
        }
        let end = below(hi, dtype).max(Scalar::Float(lo).rounded(dtype).to_f64());
        place.within(|| {
            let u = unit(shape.into(), dtype, device, place);
            (u * (hi - lo) + lo).minimum(end).to_dtype(dtype)
        })
    }

    /// Random integers in `lo..hi` as `i32` (or the given type, which must hold them all), by
    /// multiplication of a uniform 24-bit number: ranges above 2^24 are refused.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::randint([100], -2, 3, &dev);
    /// assert!(x.to_vec::<i32>()?.iter().all(|x| (-2..3).contains(x)));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn randint(shape: impl Into<Shape>, lo: i32, hi: i32, target: impl Target) -> Tensor {
        let place = Place::caller();
        let dtype = target.dtype().unwrap_or(DType::I32);
        let device = target.device();
        let span = i64::from(hi) - i64::from(lo);
        if !(1..=1 << 24).contains(&span) {
            let problem = format!("the range {lo}..{hi} must hold 1 to 2^24 integers");
            return Tensor::fail(device, Error::value("randint", place, problem));
        }
        if !holds(dtype, lo.into()) || !holds(dtype, i64::from(hi) - 1) {
            let problem = format!("{dtype} does not hold all integers in {lo}..{hi}");
            return Tensor::fail(device, Error::dtype("randint", place, problem));
        }
        place.within(|| {
            // Below span even rounded: span (1 - 2^-24) lies half a step or more under it.
            let u = unit(shape.into(), DType::F32, device, place) * span as f64;
            (u.floor().to_dtype(DType::I32) + lo).to_dtype(dtype)
        })
    }

    /// A random truth value per element, true with probability `p`, which lies within 0 and 1.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::bernoulli([1000], 0.25, &dev);
    /// let share = x.to_dtype(DType::F32).mean().item::<f32>()?;
    /// assert!((share - 0.25).abs() < 0.1);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn bernoulli(shape: impl Into<Shape>, p: f64, target: impl Target) -> Tensor {
        let place = Place::caller();
        let device = target.device();
        if !(0.0..=1.0).contains(&p) {
            let problem = format!("{p} is not a probability");
            return Tensor::fail(device, Error::value("bernoulli", place, problem));
        }
        place.within(|| {
            let mask = unit(shape.into(), DType::F32, device, place).lt(p);
            mask.to_dtype(target.dtype().unwrap_or(DType::Bool))
        })
    }
}

pub(super) fn only_floats(name: &'static str, dtype: DType, place: Place) -> Result<()> {
    if dtype.is_float() {
        return Ok(());
    }
    let problem = format!("numbers of this distribution are floats, not {dtype}; see randint");
    Err(Error::dtype(name, place, problem))
}

/// One draw per element.
pub(crate) fn draw(op: MapOp, shape: Shape, dtype: DType, device: &Device, place: Place) -> Tensor {
    let words = device.next_random();
    let inputs = words.map(|word| Source::Scalar(word, DType::U32));
    let inputs = inputs.into_iter().collect();
    let value = map(op.name(), op, device, inputs, &shape, dtype, place);
    Tensor::or_fail(device, value.map(Value::into_tensor))
}

/// Uniform numbers in [0, 1) in the type that `dtype` computes in: 24 bits in `f32`, 53 in `f64`.
pub(super) fn unit(shape: Shape, dtype: DType, device: &Device, place: Place) -> Tensor {
    if dtype != DType::F64 {
        return draw(MapOp::Uniform, shape, DType::F32, device, place);
    }
    // The upper 27 and 26 bits of two words.
    let word = |shift: i32| {
        let bits = draw(MapOp::RandomBits, shape.clone(), DType::U32, device, place);
        (bits.to_dtype(DType::F64) * 2f64.powi(-shift)).floor()
    };
    let (upper, lower) = (word(5), word(6));
    (upper * 2f64.powi(26) + lower) * 2f64.powi(-53)
}

/// Whether `dtype` holds the integer exactly, and all that are nearer to 0.
fn holds(dtype: DType, value: i64) -> bool {
    let exact = |bits: u32| value.unsigned_abs() <= 1 << bits;
    match dtype {
        DType::F64 => exact(53),
        DType::F32 => exact(24),
        DType::F16 => exact(11),
        DType::BF16 => exact(8),
        DType::Bool => (0..=1).contains(&value),
        integer => Scalar::Integer(value).fits(integer),
    }
}

/// The largest number of a float type below `x`.
fn below(x: f64, dtype: DType) -> f64 {
    let single = x as f32;
    let odd = Scalar::Float(x).to_odd();
    match dtype {
        DType::F64 => x.next_down(),
        DType::F16 => {
            let y = f16::from_f32(odd);
            let down = f16::from_bits(step_down(y.to_bits()));
            if y.to_f64() < x { y } else { down }.to_f64()
        }
        DType::BF16 => {
            let y = bf16::from_f32(odd);
            let down = bf16::from_bits(step_down(y.to_bits()));
            if y.to_f64() < x { y } else { down }.to_f64()
        }
        _ if f64::from(single) < x => f64::from(single),
        _ => f64::from(single.next_down()),
    }
}

/// The bits of the next smaller 16-bit float (of either kind).
fn step_down(bits: u16) -> u16 {
    match bits {
        0 => 0x8001,
        bits if bits & 0x8000 == 0 => bits - 1,
        bits => bits + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_below_is_the_nearest_below() {
        for (x, f16_below, bf16_below) in [
            (1.0, 1.0 - 0.5f64.powi(11), 1.0 - 0.5f64.powi(8)),
            (2.0, 2.0 - 0.5f64.powi(10), 2.0 - 0.5f64.powi(7)),
            (0.0, -(0.5f64.powi(24)), -f64::from(f32::from_bits(1 << 16))),
            (-1.0, -1.0 - 0.5f64.powi(10), -1.0 - 0.5f64.powi(7)),
            // Not itself of either type.
            (1.0 + 1e-9, 1.0, 1.0),
        ] {
            assert_eq!(below(x, DType::F16), f16_below, "{x}");
            assert_eq!(below(x, DType::BF16), bf16_below, "{x}");
            assert!(below(x, DType::F32) < x && below(x, DType::F64) < x);
        }
        assert_eq!(below(2.0, DType::F32), f64::from(2f32.next_down()));
        assert_eq!(below(2.0 + 1e-12, DType::F32), 2.0);
    }
}
