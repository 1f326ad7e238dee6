//! Variances, and reductions that leave elements out.

use crate::autograd::{self, Saves, no_grad};
use crate::ops::elementwise::cast;
use crate::ops::reduce::{dims_or_all, kept_shape};
use crate::tensor::views::materialized;
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::DimList;

impl Tensor {
    /// The variance of all elements with Bessel's correction: [`Tensor::var_dims`] with a correction of 1.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([1.0, 3.0, 5.0], &dev).var().item::<f32>()?, 4.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn var(&self) -> Tensor {
        self.var_dims(.., 1.0, false)
    }

    /// The variance over `dims`, which go away unless `keepdim`: the sum of the squared differences from the
    /// mean, divided by the number of elements less `correction`, as `torch.var`. An empty list means all
    /// dimensions. Only floats.
    ///
    /// It takes two passes, the mean first, so nothing cancels; 16-bit floats are widened to `f32`. Where nothing
    /// is left to divide by, it is NaN or infinite.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 3.0], [2.0, 2.0]], &dev);
    /// assert_eq!(x.var_dims([1], 1.0, false).to_vec::<f32>()?, [2.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn var_dims(&self, dims: impl DimList, correction: f64, keepdim: bool) -> Tensor {
        let place = Place::caller();
        self.then(|x| variance("var", &x, &dims, correction, keepdim, place))
    }

    /// The standard deviation of all elements: [`Tensor::std_dims`] with a correction of 1.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([1.0, 3.0, 5.0], &dev).std().item::<f32>()?, 2.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn std(&self) -> Tensor {
        self.std_dims(.., 1.0, false)
    }

    /// The standard deviation over `dims`, the square root of [`Tensor::var_dims`]. Where it is 0, so is its
    /// gradient.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 3.0], [2.0, 2.0]], &dev);
    /// assert_eq!(x.std_dims([1], 0.0, false).to_vec::<f32>()?, [1.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn std_dims(&self, dims: impl DimList, correction: f64, keepdim: bool) -> Tensor {
        let place = Place::caller();
        self.then(|x| deviation("std", &x, &dims, correction, keepdim, place))
    }

    /// Variance and mean over `dims`, as `torch.var_mean`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (variance, mean) = Tensor::new([1.0, 3.0], &dev).var_mean(.., 1.0, false);
    /// assert_eq!((variance.item::<f32>()?, mean.item::<f32>()?), (2.0, 2.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn var_mean(&self, dims: impl DimList, correction: f64, keepdim: bool) -> (Tensor, Tensor) {
        let place = Place::caller();
        let variance = self.then(|x| variance("var_mean", &x, &dims, correction, keepdim, place));
        (variance, place.within(|| self.mean_dims(dims, keepdim)))
    }

    /// Standard deviation and mean over `dims`, as `torch.std_mean`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (std, mean) = Tensor::new([[1.0, 3.0, 5.0]], &dev).std_mean([1], 1.0, false);
    /// assert_eq!(std.to_vec::<f32>()?, [2.0]);
    /// assert_eq!(mean.to_vec::<f32>()?, [3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn std_mean(&self, dims: impl DimList, correction: f64, keepdim: bool) -> (Tensor, Tensor) {
        let place = Place::caller();
        let deviation = self.then(|x| deviation("std_mean", &x, &dims, correction, keepdim, place));
        (deviation, place.within(|| self.mean_dims(dims, keepdim)))
    }

    /// How many elements over `dims` are not 0, as `i32`; NaN is not. As `torch.count_nonzero`; `..` for all
    /// dimensions, which an empty list means, too.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[0, 2, 0], [1, 1, 0]], &dev);
    /// assert_eq!(x.count_nonzero([1]).to_vec::<i32>()?, [1, 2]);
    /// assert_eq!(x.count_nonzero(..).item::<i32>()?, 3);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_nonzero(&self, dims: impl DimList) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let x = cast(&x, DType::Bool, place)?.into_tensor();
            Ok(place.within(|| x.sum_dims(dims, false)))
        })
    }

    /// The sum over `dims` with 0 for NaN, as `torch.nansum`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.0, f64::NAN, 3.0], &dev);
    /// assert_eq!(x.nansum(.., false).item::<f32>()?, 4.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn nansum(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        let place = Place::caller();
        place.within(|| self.nan_to_zero().sum_dims(dims, keepdim))
    }

    /// The mean over `dims` of what is not NaN; of nothing it is NaN. As `torch.nanmean`, of floats only.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, f64::NAN], [3.0, 5.0]], &dev);
    /// assert_eq!(x.nanmean([1], false).to_vec::<f32>()?, [1.0, 4.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn nanmean(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let dtype = floats("nanmean", &x, place)?;
            let list = dims_or_all("nanmean", x.shape(), &dims, place)?;
            let dims: Vec<isize> = list.iter().map(|&d| d as isize).collect();
            let x = materialized(&cast(&x, dtype.compute(), place)?, place)?.into_tensor();
            Ok(place.within(|| {
                let count = x.eq(&x).sum_dims(&dims[..], keepdim);
                let sum = x.nan_to_zero().sum_dims(&dims[..], keepdim);
                (sum / count).to_dtype(dtype)
            }))
        })
    }
}

/// The type of a tensor of floats.
pub(super) fn floats(name: &'static str, x: &Value, place: Place) -> Result<DType> {
    match x.dtype() {
        dtype if dtype.is_float() => Ok(dtype),
        dtype => {
            let problem = format!("takes floats, not {dtype}; convert them with to_dtype");
            Err(Error::dtype(name, place, problem))
        }
    }
}

/// The square root of what is not negative, with the derivative 0 at 0.
pub(super) fn root(x: &Tensor) -> Tensor {
    let zero = x.eq(0.0);
    let root = zero.where_cond(1.0, x).sqrt();
    zero.where_cond(0.0, root)
}

/// The variance in the compute type.
fn moment(
    name: &'static str,
    x: &Value,
    dims: &impl DimList,
    correction: f64,
    keepdim: bool,
    place: Place,
) -> Result<Tensor> {
    floats(name, x, place)?;
    let over = dims_or_all(name, x.shape(), dims, place)?;
    let count: f64 = over.iter().map(|&d| x.shape()[d] as f64).product();
    let divisor = (count - correction).max(0.0);
    let x = materialized(&cast(x, x.dtype().compute(), place)?, place)?;
    let kept = kept_shape(x.shape(), &over);
    let list: Vec<isize> = over.iter().map(|&d| d as isize).collect();
    let dims = list.clone();
    let centred = move |x: &Tensor| x - x.mean_dims(&dims[..], true);
    let y = place.within(|| {
        no_grad(|| {
            let sum = centred(&x.clone().into_tensor()).sqr();
            (sum.sum_dims(&list[..], keepdim) / divisor).capture()
        })
    })?;
    if !autograd::tracks(&[&x]) {
        return Ok(y.into_tensor());
    }
    let saves = Saves {
        inputs: [x.clone().into_tensor()].into_iter().collect(),
        output: false,
    };
    Ok(autograd::track(name, y, &[&x], saves, place, move |c| {
        // The differences sum up to 0, so the mean's part cancels.
        let scale = c.grad.reshape(&kept) * (2.0 / divisor);
        [Some(centred(&c.inputs[0]) * scale)].into_iter().collect()
    }))
}

fn variance(
    name: &'static str,
    x: &Value,
    dims: &impl DimList,
    correction: f64,
    keepdim: bool,
    place: Place,
) -> Result<Tensor> {
    let y = moment(name, x, dims, correction, keepdim, place)?;
    Ok(place.within(|| y.to_dtype(x.dtype())))
}

fn deviation(
    name: &'static str,
    x: &Value,
    dims: &impl DimList,
    correction: f64,
    keepdim: bool,
    place: Place,
) -> Result<Tensor> {
    let y = moment(name, x, dims, correction, keepdim, place)?;
    Ok(place.within(|| root(&y).to_dtype(x.dtype())))
}
