//! How often what occurs.

use super::compaction::read_size;
use super::scatter::scatter_add;
use super::statistics::floats;
use crate::ops::elementwise::cast;
use crate::tensor::{Tensor, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

impl Tensor {
    /// How often each integer from 0 on occurs in this vector, as `i32`, or with `weights` the sum of the weights
    /// of its occurrences, in their type (`f32` for integers): `torch.bincount`. As long as the largest integer
    /// demands, and at least `minlength`.
    ///
    /// How long that is is read back, which runs what has been recorded and waits for it.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let counts = Tensor::new([1, 2, 1, 5], &dev).bincount(None, 0);
    /// assert_eq!(counts.to_vec::<i32>()?, [0, 2, 1, 0, 0, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Anything but a vector of integers that are not negative gives a failed tensor, and so do weights of another
    /// shape.
    #[track_caller]
    pub fn bincount(&self, weights: Option<&Tensor>, minlength: usize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if !x.dtype().is_integer() {
                let problem = format!("counts integers, not {}", x.dtype());
                return Err(Error::dtype("bincount", place, problem));
            }
            if x.shape().rank() != 1 {
                let problem = format!("shape {} is no vector", x.shape());
                return Err(Error::shape("bincount", place, problem));
            }
            let weights = weights.map(|w| w.capture()).transpose()?;
            if let Some(w) = &weights {
                same_device("bincount", &x, w, place)?;
                if w.shape() != x.shape() {
                    let problem = format!("weights of shape {} for shape {}", w.shape(), x.shape());
                    return Err(Error::shape("bincount", place, problem));
                }
            }
            let numbers = x.clone().into_tensor();
            place.within(|| {
                let length = match x.shape().numel() {
                    0 => minlength,
                    _ => minlength.max(length(&numbers, place)?),
                };
                match weights {
                    None => Ok(tally(&numbers.to_dtype(DType::I32), length)),
                    Some(w) => {
                        let dtype = if w.dtype().is_float() {
                            w.dtype()
                        } else {
                            DType::F32
                        };
                        let w = cast(&w, dtype, place)?;
                        scatter_add("bincount", &w, 0, length, &x, place)
                    }
                }
            })
        })
    }

    /// How many elements lie in each of `bins` equal parts of the range from `min` to `max`, in this tensor's
    /// type: `torch.histc`. The last part has its upper end, the others only their lower one; what lies outside
    /// counts nowhere, nor does NaN. Where `min` is `max` the range is that of the elements; if that has no width, it is
    /// widened by 1 to both sides. Only floats.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let counts = Tensor::new([1.0, 2.0, 1.0], &dev).histc(4, 0.0, 3.0);
    /// assert_eq!(counts.to_vec::<f32>()?, [0.0, 2.0, 1.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// No bins, and a `min` above `max`, give a failed tensor.
    #[track_caller]
    pub fn histc(&self, bins: usize, min: f64, max: f64) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let dtype = floats("histc", &x, place)?;
            if bins == 0 || min > max || !(max - min).is_finite() || bins >= i32::MAX as usize {
                let problem = format!("{bins} bins from {min} to {max}");
                return Err(Error::value("histc", place, problem));
            }
            let empty = x.shape().numel() == 0;
            let x = cast(&x, dtype.compute(), place)?.into_tensor();
            place.within(|| {
                let x = x.detach().reshape([-1isize]);
                let device = x.device();
                let number = |v: f64| Tensor::full((), v, (dtype.compute(), device));
                let (low, high) = match min == max && !empty {
                    true => (x.min(), x.max()),
                    false => (number(min), number(max)),
                };
                let flat = low.eq(&high);
                let low = flat.where_cond(&low - 1.0, low);
                let high = flat.where_cond(&high + 1.0, high);
                let inside = x.ge(&low).logical_and(x.le(&high));
                let bin = ((&x - &low) * bins as f64 / (high - low)).to_dtype(DType::I32);
                let bin = inside.where_cond(bin.minimum(bins as i64 - 1), bins as i64);
                Ok(tally(&bin, bins).to_dtype(dtype))
            })
        })
    }
}

/// One more than the largest of the integers, which is read back; an error if one is negative, or the largest
/// positions cannot count.
fn length(numbers: &Tensor, place: Place) -> Result<usize> {
    // In the numbers' own type, unless one more may be beyond it.
    let numbers = match numbers.dtype()? {
        narrow if narrow.is_narrow_integer() => numbers.to_dtype(DType::I32),
        _ => numbers.clone(),
    };
    // 0 stands for a negative one, and the largest of a type wraps to it or to such.
    let length = numbers.min().lt(0).where_cond(0, numbers.max() + 1);
    match read_size(&length, place)? {
        0 => Err(Error::value(
            "bincount",
            place,
            "counts integers from 0 on, below 2^31 - 1",
        )),
        length => Ok(length),
    }
}

/// How often each of `0..length` occurs in a vector of integers, as `i32`: what lies between its bounds among the
/// sorted ones.
fn tally(numbers: &Tensor, length: usize) -> Tensor {
    // A length that no tensor has is the error of `arange`.
    let bounds = length.saturating_add(1);
    let bounds = Tensor::arange(bounds, (DType::I32, numbers.device()));
    let before = numbers.msort().searchsorted(&bounds, false);
    before.narrow(0, 1, length) - before.narrow(0, 0, length)
}
