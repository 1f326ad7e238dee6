//! Norms of vectors.

use crate::autograd::{self, Saves};
use crate::ops::elementwise::cast;
use crate::ops::reduce::{dims_or_all, no_elements};
use crate::ops::statistics::{floats, root};
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Place, Result};
use crate::types::shape::DimList;

impl Tensor {
    /// The `p`-norm of all elements: [`Tensor::vector_norm`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([3.0, -4.0], &dev);
    /// assert_eq!(x.norm(2.0).item::<f32>()?, 5.0);
    /// assert_eq!(x.norm(1.0).item::<f32>()?, 7.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn norm(&self, p: f64) -> Tensor {
        let place = Place::caller();
        self.widened()
            .then(|x| norm("norm", &x, p, &.., false, place))
    }

    /// The `p`-norm over `dims`, which go away unless `keepdim`: `sum(|x|^p)^(1/p)`, as
    /// `torch.linalg.vector_norm`. For infinity it is the largest absolute value, for minus infinity the
    /// smallest, for 0 the number of elements that are not 0. Only floats; 16-bit ones are widened to `f32`, but
    /// nothing is scaled: sums of squares overflow.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[3.0, -4.0], [0.0, 2.0]], &dev);
    /// assert_eq!(x.vector_norm(2.0, [1], false).to_vec::<f32>()?, [5.0, 2.0]);
    /// assert_eq!(x.vector_norm(f64::INFINITY, [1], false).to_vec::<f32>()?, [4.0, 2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Where the norm is 0, so is the gradient; of absolute values that tie for an extremum each gets its share.
    /// No elements have a norm of 0, but for a `p` below 0 or infinite, where the result is a failed tensor.
    #[track_caller]
    pub fn vector_norm(&self, p: f64, dims: impl DimList, keepdim: bool) -> Tensor {
        let place = Place::caller();
        self.widened()
            .then(|x| norm("vector_norm", &x, p, &dims, keepdim, place))
    }
}

fn norm(
    name: &'static str,
    x: &Value,
    p: f64,
    dims: &impl DimList,
    keepdim: bool,
    place: Place,
) -> Result<Tensor> {
    let dtype = floats(name, x, place)?;
    let list = dims_or_all(name, x.shape(), dims, place)?;
    if p < 0.0 || p == f64::INFINITY {
        no_elements(name, x.shape(), &list, place)?;
    }
    let dims: Vec<isize> = list.iter().map(|&d| d as isize).collect();
    let x = cast(x, dtype.compute(), place)?.into_tensor();
    if p == 0.0 {
        return count(name, &x.capture()?, &dims, keepdim, dtype, place);
    }
    let y = place.within(|| {
        let sum = |x: Tensor| x.sum_dims(&dims[..], keepdim);
        match p {
            1.0 => sum(x.abs()),
            2.0 => root(&sum(x.sqr())),
            f64::INFINITY => x.abs().max_dims(&dims[..], keepdim),
            f64::NEG_INFINITY => x.abs().min_dims(&dims[..], keepdim),
            p => sum(x.abs().powf(p)).powf(1.0 / p),
        }
    });
    Ok(place.within(|| y.to_dtype(dtype)))
}

/// The number of elements that are not 0, whose derivative is 0.
fn count(
    name: &'static str,
    x: &Value,
    dims: &[isize],
    keepdim: bool,
    dtype: DType,
    place: Place,
) -> Result<Tensor> {
    let counted = x.clone().into_tensor();
    let y = place.within(|| counted.ne(0.0).sum_dims(dims, keepdim).to_dtype(dtype));
    if !autograd::tracks(&[x]) {
        return Ok(y);
    }
    let (shape, of) = (x.shape().clone(), x.dtype());
    let rule = move |c: &autograd::Context<'_>| {
        let zeros = Tensor::zeros(&shape, (of, c.grad.device()));
        [Some(zeros)].into_iter().collect()
    };
    let y = y.capture()?;
    Ok(autograd::track(
        name,
        y,
        &[x],
        Saves::default(),
        place,
        rule,
    ))
}
