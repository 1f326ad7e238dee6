//! The methods: running sums, products, logarithms of sums and extremes, and their derivatives.

use super::{Combine, Scan, is_narrow};
use crate::ops::elementwise::cast;
use crate::ops::sort::pair;
use crate::tensor::views::dim_of;
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

impl Tensor {
    /// The running sums along `dim` (negative counts from the end), as `torch.cumsum`: element `i` is the sum
    /// of the elements `0..=i`. Of the same shape; bools, `u8` and `i32` give `i32` and wrap, `u32` gives
    /// `i64` where the device has it.
    ///
    /// Long rows are summed in blocks, so that errors grow with the logarithm of the length rather than with
    /// the length.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &dev);
    /// assert_eq!(x.cumsum(1).to_vec::<f32>()?, [1.0, 3.0, 6.0, 4.0, 9.0, 15.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A dimension that is not there gives a failed tensor with
    /// [`Error::DimOutOfRange`](crate::Error::DimOutOfRange).
    #[track_caller]
    pub fn cumsum(&self, dim: isize) -> Tensor {
        let place = Place::caller();
        self.widened()
            .then(|x| totals("cumsum", Combine::Sum, &x, dim, place))
    }

    /// The running products along `dim`, as `torch.cumprod`, of the types of [`Tensor::cumsum`]. The gradient
    /// divides by nothing, so it is right where elements are 0, and differentiable.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.0, 2.0, 3.0], &dev);
    /// assert_eq!(x.cumprod(0).to_vec::<f32>()?, [1.0, 2.0, 6.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cumprod(&self, dim: isize) -> Tensor {
        let place = Place::caller();
        self.widened()
            .then(|x| totals("cumprod", Combine::Product, &x, dim, place))
    }

    /// The logarithms of the running sums of exponentials along `dim`, without overflow, as
    /// `torch.logcumsumexp`. Only floats. An element of minus infinity has the gradient 0.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([0.0, 0.0], &dev);
    /// assert_eq!(x.logcumsumexp(0).to_vec::<f32>()?, [0.0, 2f32.ln()]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn logcumsumexp(&self, dim: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if !x.dtype().is_float() {
                let problem = format!(
                    "takes floats, not {}; convert them with to_dtype",
                    x.dtype()
                );
                return Err(Error::dtype("logcumsumexp", place, problem));
            }
            totals("logcumsumexp", Combine::LogSumExp, &x, dim, place)
        })
    }

    /// The largest of the elements `0..=i` along `dim` and where it stands, as `i32`: `torch.cummax`. Of equal
    /// elements the last; NaN wins and stays. The gradient goes to where the largest stands.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (values, positions) = Tensor::new([1.0, 3.0, 2.0], &dev).cummax(0);
    /// assert_eq!(values.to_vec::<f32>()?, [1.0, 3.0, 3.0]);
    /// assert_eq!(positions.to_vec::<i32>()?, [0, 1, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cummax(&self, dim: isize) -> (Tensor, Tensor) {
        let place = Place::caller();
        pair(self, |x| {
            extremes("cummax", Combine::ArgMax, &x, dim, place)
        })
    }

    /// The smallest of the elements `0..=i` along `dim` and where it stands, as [`Tensor::cummax`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (y, at) = Tensor::new([3, 5, 1, 1], &dev).cummin(0);
    /// assert_eq!(y.to_vec::<i32>()?, [3, 3, 1, 1]);
    /// assert_eq!(at.to_vec::<i32>()?, [0, 0, 2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cummin(&self, dim: isize) -> (Tensor, Tensor) {
        let place = Place::caller();
        pair(self, |x| {
            extremes("cummin", Combine::ArgMin, &x, dim, place)
        })
    }
}

/// The value with a scan along `dim` made of its rows; a tensor without dimensions is one row.
fn along(
    name: &'static str,
    x: Value,
    dim: isize,
    place: Place,
    f: impl FnOnce(&Tensor) -> Tensor,
) -> Result<Tensor> {
    if x.shape().rank() == 0 && (dim == 0 || dim == -1) {
        return Ok(place.within(|| f(&x.into_tensor().reshape([1])).reshape(())));
    }
    let d = dim_of(name, x.shape(), dim, place)? as isize;
    // The kernel's rows are the last dimension; it reads and its result is read through strides.
    Ok(place.within(|| f(&x.into_tensor().transpose(d, -1)).transpose(d, -1)))
}

/// The type of sums and products of elements: that of [`Tensor::sum`].
pub(in crate::ops) fn product_type(x: &Value) -> Result<DType> {
    Ok(match x.dtype() {
        dtype if is_narrow(dtype) => DType::I32,
        DType::U32 if x.node.device.open()?.backend.limits().has(DType::I64) => DType::I64,
        dtype => dtype,
    })
}

fn totals(
    name: &'static str,
    combine: Combine,
    x: &Value,
    dim: isize,
    place: Place,
) -> Result<Tensor> {
    let dtype = product_type(x)?;
    let x = cast(x, dtype.compute(), place)?;
    let scan = Scan {
        combine,
        reverse: false,
    };
    along(name, x, dim, place, |rows| scan.of(rows).to_dtype(dtype))
}

fn extremes(
    name: &'static str,
    combine: Combine,
    x: &Value,
    dim: isize,
    place: Place,
) -> Result<(Tensor, Tensor)> {
    let scan = Scan {
        combine,
        reverse: false,
    };
    let positions = along(name, x.clone(), dim, place, |rows| scan.of(rows))?;
    let values = place.within(|| x.clone().into_tensor().gather(dim, &positions));
    Ok((values, positions))
}

/// `ln(e^a + e^b)`, also of infinities.
pub(super) fn log_of_sum(a: &Tensor, b: &Tensor) -> Tensor {
    let (top, low) = (a.maximum(b), a.minimum(b));
    // Two infinities of one sign have no difference.
    let same = a.eq(b);
    let apart = same.where_cond(0.0, low - &top);
    top + apart.exp().log1p()
}

/// The derivative of running products `y` of `x`: `g_i = (product before i) * s_i`, where the sum of all
/// products that `x_i` is in, without it and what comes before it, is `s_i = g_i + x_(i+1) s_(i+1)`.
pub(super) fn slope_of_products(scan: &Scan, x: &Tensor, y: &Tensor, g: &Tensor) -> Tensor {
    let before = shifted(y, scan.reverse, 1, 1.0);
    let after = shifted(x, !scan.reverse, 1, 0.0);
    before * recurrence(after, g.clone(), !scan.reverse)
}

/// The derivative of running logarithms `y`: `g_i = e^(x_i - y_i) s_i` with
/// `s_i = g_i + e^(y_i - y_(i+1)) s_(i+1)`; no exponent is positive.
pub(super) fn slope_of_logs(scan: &Scan, x: &Tensor, y: &Tensor, g: &Tensor) -> Tensor {
    let next = shifted(y, !scan.reverse, 1, f64::INFINITY);
    // Two infinities of one sign have no difference.
    let decay = y.eq(&next).where_cond(1.0, (y - next).exp());
    let own = x.eq(f64::NEG_INFINITY).where_cond(0.0, (x - y).exp());
    own * recurrence(decay, g.clone(), !scan.reverse)
}

/// `s_i = b_i + a_i s_(i-1)` along the last dimension (with `reverse` `s_(i+1)`), by doubling: `2 log2(n)`
/// steps of plain operations, which can be differentiated.
fn recurrence(mut a: Tensor, mut b: Tensor, reverse: bool) -> Tensor {
    let n = match b.shape() {
        Ok(shape) => shape.last().copied().unwrap_or(0),
        Err(_) => return b,
    };
    let mut reach = 1;
    while reach < n {
        b = &b + &a * shifted(&b, reverse, reach, 0.0);
        reach *= 2;
        if reach < n {
            a = &a * shifted(&a, reverse, reach / 2, 1.0);
        }
    }
    b
}

/// Each element moved on by `reach` places along the last dimension (with `reverse` towards the beginning),
/// `fill` before the first.
pub(in crate::ops) fn shifted(x: &Tensor, reverse: bool, reach: usize, fill: f64) -> Tensor {
    let moved = || -> Result<Tensor> {
        let mut dims = x.shape()?.to_vec();
        let last = dims.len() - 1;
        let n = dims[last];
        let reach = reach.min(n);
        dims[last] = reach;
        let edge = Tensor::full(dims, fill, (x.dtype()?, x.device()));
        Ok(match reverse {
            true => Tensor::cat(&[x.narrow(-1, reach, n - reach), edge], -1),
            false => Tensor::cat(&[edge, x.narrow(-1, 0, n - reach)], -1),
        })
    };
    Tensor::or_fail(x.device(), moved())
}
