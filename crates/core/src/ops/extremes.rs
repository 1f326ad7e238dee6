//! Extremes over dimensions, and along one with their positions.

use crate::ops::reduce::no_elements;
use crate::ops::sort::pair;
use crate::tensor::views::dim_of;
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Place, Result};
use crate::types::shape::DimList;

impl Tensor {
    /// The largest over `dims`; tied elements share the gradient. Another name of [`Tensor::max_dims`], as in
    /// torch.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 5.0], [7.0, 3.0]], &dev);
    /// assert_eq!(x.amax([1], false).to_vec::<f32>()?, [5.0, 7.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn amax(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        self.max_dims(dims, keepdim)
    }

    /// The smallest over `dims`; tied elements share the gradient. Another name of [`Tensor::min_dims`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 5.0], [7.0, 3.0]], &dev);
    /// assert_eq!(x.amin([1], false).to_vec::<f32>()?, [1.0, 3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn amin(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        self.min_dims(dims, keepdim)
    }

    /// The smallest and the largest over `dims`, as `torch.aminmax`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (least, largest) = Tensor::new([[1, 5], [7, 3]], &dev).aminmax([1], false);
    /// assert_eq!(least.to_vec::<i32>()?, [1, 3]);
    /// assert_eq!(largest.to_vec::<i32>()?, [5, 7]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn aminmax(&self, dims: impl DimList, keepdim: bool) -> (Tensor, Tensor) {
        let place = Place::caller();
        place.within(|| match dims.list() {
            Some(list) => (
                self.min_dims(&list[..], keepdim),
                self.max_dims(&list[..], keepdim),
            ),
            None => (self.min_dims(.., keepdim), self.max_dims(.., keepdim)),
        })
    }

    /// The largest elements along `dim`, which goes away unless `keepdim`, and where they stand, as `i32`:
    /// `torch.max(x, dim)`. Of equal elements the first; NaN wins. The gradient goes to that element alone, unlike
    /// that of [`Tensor::amax`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 3.0], [4.0, 2.0]], &dev);
    /// let (values, positions) = x.max_along(1, false);
    /// assert_eq!(values.to_vec::<f32>()?, [3.0, 4.0]);
    /// assert_eq!(positions.to_vec::<i32>()?, [1, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max_along(&self, dim: isize, keepdim: bool) -> (Tensor, Tensor) {
        let place = Place::caller();
        let position = |x: &Tensor, dim| x.argmax([dim], true);
        pair(self, |x| along("max", &x, dim, keepdim, place, position))
    }

    /// The smallest elements along `dim`, and where they stand, as [`Tensor::max_along`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (y, at) = Tensor::new([[4, 5], [3, 1]], &dev).min_along(1, false);
    /// assert_eq!(y.to_vec::<i32>()?, [4, 1]);
    /// assert_eq!(at.to_vec::<i32>()?, [0, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn min_along(&self, dim: isize, keepdim: bool) -> (Tensor, Tensor) {
        let place = Place::caller();
        let position = |x: &Tensor, dim| x.argmin([dim], true);
        pair(self, |x| along("min", &x, dim, keepdim, place, position))
    }
}

/// The elements along `dim` at `position(x, dim)`, which keeps the dimension, and the positions.
pub(super) fn along(
    name: &'static str,
    x: &Value,
    dim: isize,
    keepdim: bool,
    place: Place,
    position: impl FnOnce(&Tensor, isize) -> Tensor,
) -> Result<(Tensor, Tensor)> {
    let scalar = x.shape().rank() == 0 && (dim == 0 || dim == -1);
    if !scalar {
        let d = dim_of(name, x.shape(), dim, place)?;
        no_elements(name, x.shape(), &[d], place)?;
        if x.shape()[d] == 0 {
            // Of no rows.
            let mut dims = x.shape().to_vec();
            match keepdim {
                true => dims[d] = 1,
                false => drop(dims.remove(d)),
            }
            let none = |dtype| Tensor::zeros(&dims[..], (dtype, &x.node.device));
            return Ok(place.within(|| (none(x.dtype()), none(DType::I32))));
        }
    }
    let x = x.clone().into_tensor();
    Ok(place.within(|| {
        let whole = if scalar { x.reshape([1]) } else { x };
        let positions = position(&whole, dim);
        let values = whole.gather(dim, &positions);
        let result = |t: Tensor| match (scalar, keepdim) {
            (true, _) => t.reshape(()),
            (false, true) => t,
            (false, false) => t.squeeze(dim),
        };
        (result(values), result(positions))
    }))
}
