//! Counted tensors.

use std::ops::Range;

use smallvec::SmallVec;

use super::from_elements;
use crate::kernel::program::MapOp;
use crate::ops::elementwise::map;
use crate::tensor::device::{Device, Target};
use crate::tensor::{Tensor, check_size};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

/// What [`Tensor::arange`] counts through: a number `n` for `0..n`, a range, or
/// `(start, end, step)`. The end is not reached.
pub trait Progression {
    /// Start, end and step.
    fn progression(&self) -> [Scalar; 3];
}

macro_rules! progressions {
    ($($t:ty: $zero:literal, $one:literal;)*) => { $(
        impl Progression for $t {
            fn progression(&self) -> [Scalar; 3] {
                [($zero as $t).into(), (*self).into(), ($one as $t).into()]
            }
        }
        impl Progression for Range<$t> {
            fn progression(&self) -> [Scalar; 3] {
                [self.start.into(), self.end.into(), ($one as $t).into()]
            }
        }
        impl Progression for ($t, $t, $t) {
            fn progression(&self) -> [Scalar; 3] {
                [self.0.into(), self.1.into(), self.2.into()]
            }
        }
    )* };
}
progressions! {
    i32: 0, 1;
    i64: 0, 1;
    usize: 0, 1;
    f64: 0.0, 1.0;
}

impl Tensor {
    /// The numbers from a start to an end that is not reached, a step apart: `i32` for integers and
    /// `f32` for floats, or the given type, which must hold them. `torch.arange`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::arange(3, &dev).to_vec::<i32>()?, [0, 1, 2]);
    /// assert_eq!(Tensor::arange(2..5, &dev).to_vec::<i32>()?, [2, 3, 4]);
    /// let down = Tensor::arange((1.0, 0.0, -0.25), &dev);
    /// assert_eq!(down.to_vec::<f32>()?, [1.0, 0.75, 0.5, 0.25]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn arange(progression: impl Progression, target: impl Target) -> Tensor {
        let place = Place::caller();
        let [start, end, step] = progression.progression();
        let dtype = target.dtype().unwrap_or(start.default_dtype());
        let device = target.device();
        let result = arange(start, end, step, dtype, device, place);
        Tensor::or_fail(device, result)
    }

    /// `n` evenly spaced numbers from `start` to `end`, both included and exact: each is computed in
    /// `f64` and rounded once (for integer types, towards 0).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::linspace(0.0, 1.0, 5, &dev).to_vec::<f32>()?, [0.0, 0.25, 0.5, 0.75, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn linspace(start: f64, end: f64, n: usize, target: impl Target) -> Tensor {
        let place = Place::caller();
        let dtype = target.dtype().unwrap_or(DType::F32);
        let number = |i: usize| spaced(start, end, n, i);
        let device = target.device();
        let result = numbers("linspace", n, number, dtype, device, place);
        Tensor::or_fail(device, result)
    }

    /// `n` numbers from `base^start` to `base^end`, evenly spaced by their logarithms. `torch.logspace`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::logspace(0.0, 3.0, 4, 2.0, &dev).to_vec::<f32>()?, [1.0, 2.0, 4.0, 8.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn logspace(start: f64, end: f64, n: usize, base: f64, target: impl Target) -> Tensor {
        let place = Place::caller();
        let dtype = target.dtype().unwrap_or(DType::F32);
        let number = |i: usize| base.powf(spaced(start, end, n, i));
        let device = target.device();
        let result = numbers("logspace", n, number, dtype, device, place);
        Tensor::or_fail(device, result)
    }

    /// Ones on the main diagonal of a matrix, else zeros: `eye(3, &dev)` is square, `eye([2, 3], &dev)` is not.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::eye(2, &dev).to_vec::<f32>()?, [1.0, 0.0, 0.0, 1.0]);
    /// assert_eq!(Tensor::eye([1, 2], (DType::I32, &dev)).to_vec::<i32>()?, [1, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn eye(size: impl Into<Shape>, target: impl Target) -> Tensor {
        let place = Place::caller();
        let dtype = target.dtype().unwrap_or(DType::F32);
        let size = size.into();
        let (rows, columns) = match size[..] {
            [n] => (n, n),
            [rows, columns] => (rows, columns),
            _ => {
                let problem = format!("shape {size} is no matrix");
                return Tensor::fail(target.device(), Error::shape("eye", place, problem));
            }
        };
        place.within(|| {
            let [i, j] = [rows, columns].map(|n| Tensor::arange(n, (DType::I32, target.device())));
            i.unsqueeze(1).eq(j).to_dtype(dtype)
        })
    }
}

/// Number `i` of `n` evenly spaced ones.
fn spaced(start: f64, end: f64, n: usize, i: usize) -> f64 {
    match i {
        0 => start,
        i if i + 1 == n => end,
        // The product first, so that whole numbers come out whole.
        i => start + (end - start) * i as f64 / (n - 1) as f64,
    }
}

fn arange(
    start: Scalar,
    end: Scalar,
    step: Scalar,
    dtype: DType,
    device: &Device,
    place: Place,
) -> Result<Tensor> {
    let count = count(start, end, step).ok_or_else(|| {
        let [start, end, step] = [start, end, step].map(Scalar::to_f64);
        let problem = format!("no sequence leads from {start} to {end} by steps of {step}");
        Error::value("arange", place, problem)
    })?;
    if dtype == DType::Bool {
        return Err(Error::dtype("arange", place, "bools do not count"));
    }
    let (Scalar::Integer(first), Scalar::Integer(by), false) = (start, step, dtype.is_float())
    else {
        let (start, step) = (start.to_f64(), step.to_f64());
        let number = |i: usize| start + step * i as f64;
        return numbers("arange", count, number, dtype, device, place);
    };
    if count > i32::MAX as usize {
        let problem = format!("{count} numbers are more than positions can count");
        return Err(Error::value("arange", place, problem));
    }
    let last = i128::from(first) + i128::from(by) * (count as i128 - 1).max(0);
    let last = Scalar::Integer(last.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
    if count > 0
        && let Some(unfit) = [start, last].into_iter().find(|v| !v.fits(dtype))
    {
        return Err(super::unfit("arange", unfit, dtype, place));
    }
    let shape = Shape::from(count);
    let inputs = SmallVec::new();
    let index = map(
        "arange",
        MapOp::Index,
        device,
        inputs,
        &shape,
        DType::I32,
        place,
    )?;
    // What wraps on the way comes out right.
    let index = index.into_tensor();
    place.within(|| index.to_dtype(dtype).mul(step).add(start).checked())
}

/// `number(0)`, `number(1)` and so on, computed here, in `f64`, and rounded once.
fn numbers(
    name: &'static str,
    n: usize,
    number: impl Fn(usize) -> f64,
    dtype: DType,
    device: &Device,
    place: Place,
) -> Result<Tensor> {
    let shape = Shape::from(n);
    check_size(name, device, &shape, dtype, place)?;
    let values: Vec<f64> = (0..n).map(number).collect();
    from_elements(name, &values, shape, dtype, device, place)
}

/// How many numbers there are; `None` where the step leads away from the end, or nowhere.
fn count(start: Scalar, end: Scalar, step: Scalar) -> Option<usize> {
    if let (Scalar::Integer(start), Scalar::Integer(end), Scalar::Integer(step)) =
        (start, end, step)
    {
        let (way, step) = (i128::from(end) - i128::from(start), i128::from(step));
        if step == 0 || way * step < 0 {
            return None;
        }
        return usize::try_from((way.abs() + step.abs() - 1) / step.abs()).ok();
    }
    let way = (end.to_f64() - start.to_f64()) / step.to_f64();
    (way >= 0.0 && way.is_finite() && step.to_f64() != 0.0).then(|| way.ceil() as usize)
}
