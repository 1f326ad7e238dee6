//! Random tensors whose distribution is given by tensors, and further distributions; from the same stream as
//! those in `distribution`.

use super::distribution::{draw, only_floats, unit};
use crate::kernel::program::MapOp;
use crate::tensor::device::Target;
use crate::tensor::{Rhs, Tensor};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

impl Tensor {
    /// [`Tensor::rand`] of this tensor's shape, type and device.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([2, 3], (DType::F64, &dev)).rand_like();
    /// assert_eq!(x.shape()?, [2, 3]);
    /// assert!(x.to_vec::<f64>()?.iter().all(|x| (0.0..1.0).contains(x)));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn rand_like(&self) -> Tensor {
        let place = Place::caller();
        self.then(|x| Ok(place.within(|| Tensor::rand(x.shape(), (x.dtype(), &x.node.device)))))
    }

    /// [`Tensor::randn`] of this tensor's shape, type and device.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([1000], &dev).randn_like();
    /// assert!((x.std().item::<f32>()? - 1.0).abs() < 0.25);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn randn_like(&self) -> Tensor {
        let place = Place::caller();
        self.then(|x| Ok(place.within(|| Tensor::randn(x.shape(), (x.dtype(), &x.node.device)))))
    }

    /// Normal random numbers of a mean and a standard deviation, which is not negative. Only floats.
    /// `torch.normal` with a size.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::normal([1000], 5.0, 2.0, &dev);
    /// assert!((x.mean().item::<f32>()? - 5.0).abs() < 0.5);
    /// assert!((x.std().item::<f32>()? - 2.0).abs() < 0.5);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn normal(
        shape: impl Into<Shape>,
        mean: f64,
        deviation: f64,
        target: impl Target,
    ) -> Tensor {
        let place = Place::caller();
        let device = target.device();
        if deviation.is_nan() || deviation < 0.0 {
            let problem = format!("{deviation} is no standard deviation");
            return Tensor::fail(device, Error::value("normal", place, problem));
        }
        let dtype = target.dtype().unwrap_or(DType::F32);
        if let Err(error) = only_floats("normal", dtype, place) {
            return Tensor::fail(device, error);
        }
        place.within(|| {
            let numbers = Tensor::randn(shape, (dtype.compute(), device));
            (numbers * deviation + mean).to_dtype(dtype)
        })
    }

    /// Normal random numbers whose means and standard deviations are elements of tensors, which broadcast; one
    /// of both may be a number. `torch.normal`. What this gives has a derivative by both.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let mean = Tensor::new([0.0, 100.0], &dev);
    /// let x = Tensor::normal_of(&mean, 0.0); // no deviation: the means themselves
    /// assert_eq!(x.to_vec::<f32>()?, [0.0, 100.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn normal_of(mean: &Tensor, deviation: impl Into<Rhs>) -> Tensor {
        let place = Place::caller();
        let deviation = deviation.into();
        mean.then(|m| {
            let mut shape = m.shape().clone();
            if let Rhs::Tensor(deviation) = &deviation {
                let (left, right) = (shape, deviation.shape()?);
                shape = left.broadcast(&right).ok_or(Error::Broadcast {
                    op: "normal",
                    left,
                    right,
                    place,
                })?;
            }
            only_floats("normal", m.dtype(), place)?;
            place.within(|| {
                let numbers = Tensor::randn(&shape, (m.dtype(), &m.node.device));
                (numbers.mul(deviation) + m.into_tensor()).checked()
            })
        })
    }

    /// Normal random numbers that lie in [lo, hi]: drawn of the normal distribution's part in there, by its
    /// inverse distribution function. Only floats. `torch.nn.init.trunc_normal_`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::trunc_normal([1000], 0.0, 1.0, (-0.5, 2.0), &dev);
    /// assert!(x.min().item::<f32>()? >= -0.5 && x.max().item::<f32>()? <= 2.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn trunc_normal(
        shape: impl Into<Shape>,
        mean: f64,
        deviation: f64,
        (lo, hi): (f64, f64),
        target: impl Target,
    ) -> Tensor {
        let place = Place::caller();
        let device = target.device();
        let dtype = target.dtype().unwrap_or(DType::F32);
        let checked = only_floats("trunc_normal", dtype, place).and_then(|()| {
            if lo < hi && deviation > 0.0 && mean.is_finite() {
                return Ok(());
            }
            let problem = format!("[{lo}, {hi}] of mean {mean} and standard deviation {deviation}");
            Err(Error::value("trunc_normal", place, problem))
        });
        if let Err(error) = checked {
            return Tensor::fail(device, error);
        }
        place.within(|| {
            let compute = dtype.compute();
            let scale = deviation * std::f64::consts::SQRT_2;
            let end = |at: f64| Tensor::full((), (at - mean) / scale, (compute, device)).erf();
            let (from, to) = (end(lo), end(hi));
            let u = unit(shape.into(), compute, device, place) * (to - &from) + from;
            // At the ends the inverse is infinite.
            let numbers = u.erfinv() * scale + mean;
            numbers.clamp(lo, hi).to_dtype(dtype)
        })
    }

    /// Exponentially distributed random numbers: `rate e^(-rate x)`. Only floats.
    /// `torch.Tensor.exponential_`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::exponential([1000], 2.0, &dev);
    /// assert!(x.min().item::<f32>()? >= 0.0);
    /// assert!((x.mean().item::<f32>()? - 0.5).abs() < 0.1); // 1 / rate
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn exponential(shape: impl Into<Shape>, rate: f64, target: impl Target) -> Tensor {
        let place = Place::caller();
        let device = target.device();
        let dtype = target.dtype().unwrap_or(DType::F32);
        let checked = only_floats("exponential", dtype, place).and_then(|()| match rate > 0.0 {
            true => Ok(()),
            false => {
                let problem = format!("rate {rate} is not positive");
                Err(Error::value("exponential", place, problem))
            }
        });
        if let Err(error) = checked {
            return Tensor::fail(device, error);
        }
        place.within(|| {
            let u = unit(shape.into(), dtype, device, place);
            // 1 - u is above 0.
            ((1.0 - u).ln() * (-1.0 / rate)).to_dtype(dtype)
        })
    }

    /// A random truth value per element, true with the probability that the element is, as this tensor's type.
    /// `torch.bernoulli` of a tensor.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let p = Tensor::new([0.0, 1.0, 0.0], &dev);
    /// assert_eq!(Tensor::bernoulli_of(&p).to_vec::<f32>()?, [0.0, 1.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn bernoulli_of(probabilities: &Tensor) -> Tensor {
        let place = Place::caller();
        probabilities.then(|p| {
            let dtype = p.dtype();
            only_floats("bernoulli", dtype, place)?;
            place.within(|| {
                let u = unit(p.shape().clone(), dtype, &p.node.device, place);
                let p = p.into_tensor().detach();
                u.lt(&p).to_dtype(dtype).checked()
            })
        })
    }

    /// The integers `0..n` in random order, as `i32` or the given type. `torch.randperm`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::randperm(5, &dev);
    /// assert_eq!(x.sort(0, false).0.to_vec::<i32>()?, [0, 1, 2, 3, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn randperm(n: usize, target: impl Target) -> Tensor {
        let place = Place::caller();
        let device = target.device();
        let dtype = target.dtype().unwrap_or(DType::I32);
        place.within(|| {
            let words = draw(MapOp::RandomBits, n.into(), DType::U32, device, place);
            words.argsort(0, false).to_dtype(dtype)
        })
    }

    /// `n` positions of each row (of the last dimension) of weights, each drawn with its weight's share of the
    /// row's sum, as `i32`; with `replacement` a position may come again. Weights are not negative, and some are
    /// positive (without replacement at least `n`; of others it is open which are drawn).
    /// `torch.multinomial`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let logits = Tensor::new([[0.0, 100.0, 0.0]], &dev);
    /// let next = Tensor::multinomial(&logits.softmax(-1), 1, false);
    /// assert_eq!(next.to_vec::<i32>()?, [1]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Without replacement by exponential races: the `n` largest of `w / e`, `e` exponentially distributed
    /// ([Efraimidis and Spirakis 2006](https://doi.org/10.1016/j.ipl.2005.11.003)).
    #[track_caller]
    pub fn multinomial(weights: &Tensor, n: usize, replacement: bool) -> Tensor {
        let place = Place::caller();
        weights.then(|w| {
            let shape = w.shape().clone();
            let name = "multinomial";
            only_floats(name, w.dtype(), place)?;
            let (Some((&classes, before)), false) = (shape.split_last(), shape.contains(&0)) else {
                let problem = format!("weights of shape {shape} are no rows");
                return Err(Error::shape(name, place, problem));
            };
            if n == 0 || (!replacement && n > classes) {
                let problem = format!("{n} draws of {classes} positions");
                return Err(Error::value(name, place, problem));
            }
            let compute = w.dtype().compute();
            let device = w.node.device.clone();
            let w = w.into_tensor().detach();
            place.within(|| -> Result<Tensor> {
                let w = w.to_dtype(compute);
                if !replacement {
                    let races = Tensor::exponential(&shape, 1.0, (compute, &device));
                    // A draw may be 0, and what has no weight must stay behind what has.
                    let races = races.maximum(f64::from(f32::MIN_POSITIVE));
                    return (w / races).topk(n, -1, true).1.checked();
                }
                let ends = w.cumsum(-1);
                let total = ends.narrow(-1, classes - 1, 1);
                let drawn = before.iter().copied().chain([n]).collect::<Shape>();
                let at = Tensor::rand(&drawn, (compute, &device)) * &total;
                // Below the total, however the product is rounded.
                let at = at.minimum(&total * (1.0 - 2f64.powi(-22)));
                ends.searchsorted(&at, true).checked()
            })
        })
    }
}
