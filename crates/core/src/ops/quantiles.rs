//! What stands at a place of the sorted elements: medians, quantiles, and the most frequent element.

use super::extremes::along;
use super::sort::{first, pair};
use super::statistics::floats;
use crate::autograd::{self, Saves, no_grad};
use crate::ops::elementwise::cast;
use crate::ops::reduce::{dims_or_all, kept_shape, no_elements};
use crate::tensor::{Rhs, Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{DimList, Shape};

/// What a quantile is that lies between two elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Interpolation {
    /// On the line between them.
    #[default]
    Linear,
    /// The lower one.
    Lower,
    /// The higher one.
    Higher,
    /// Their mean.
    Midpoint,
    /// The nearer one; halfway the one whose place is even.
    Nearest,
}

impl Tensor {
    /// The median of all elements, as `torch.median`: of an even number the lower of the middle two. NaN if an
    /// element is, or if there is none. Elements that are equal to it share the gradient.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([4.0, 1.0, 3.0, 2.0], &dev).median().item::<f32>()?, 2.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn median(&self) -> Tensor {
        let place = Place::caller();
        self.then(|x| median_of_all("median", &x, place, |x| x.median_along(0, false).0))
    }

    /// The medians along `dim`, which goes away unless `keepdim`, and where they stand, as `i32`:
    /// `torch.median(x, dim)`. NaN wins, the first one. The gradient goes to where the median stands.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (value, position) = Tensor::new([4.0, 1.0, 3.0, 2.0], &dev).median_along(0, false);
    /// assert_eq!((value.item::<f32>()?, position.item::<i32>()?), (2.0, 3));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn median_along(&self, dim: isize, keepdim: bool) -> (Tensor, Tensor) {
        let place = Place::caller();
        pair(self, |x| {
            let dtype = x.dtype();
            along("median", &x, dim, keepdim, place, |x, dim| {
                let middle = match x.shape() {
                    Ok(shape) => shape.dim(dim).map_or(0, |d| shape[d]).div_ceil(2),
                    Err(_) => 0,
                };
                let position = x.topk(middle, dim, false).1.narrow(
                    dim,
                    middle.saturating_sub(1),
                    middle.min(1),
                );
                match dtype.is_float() {
                    true => x
                        .ne(x)
                        .any_dims([dim], true)
                        .where_cond(x.argmax([dim], true), position),
                    false => position,
                }
            })
        })
    }

    /// The median of the elements that are not NaN; NaN if there is none. Otherwise as [`Tensor::median`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.0, f64::NAN, 3.0, 2.0], &dev);
    /// assert_eq!(x.nanmedian().item::<f32>()?, 2.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn nanmedian(&self) -> Tensor {
        let place = Place::caller();
        self.then(|x| median_of_all("nanmedian", &x, place, |x| x.nanmedian_along(0, false).0))
    }

    /// The medians along `dim` of what is not NaN, and where they stand, as [`Tensor::median_along`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (y, at) = Tensor::new([[f64::NAN, 4.0], [3.0, 5.0]], &dev).nanmedian_along(1, false);
    /// assert_eq!(y.to_vec::<f32>()?, [4.0, 3.0]);
    /// assert_eq!(at.to_vec::<i32>()?, [1, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn nanmedian_along(&self, dim: isize, keepdim: bool) -> (Tensor, Tensor) {
        let place = Place::caller();
        pair(self, |x| {
            along("nanmedian", &x, dim, keepdim, place, |x, dim| {
                let positions = x.argsort(dim, false);
                let n = x
                    .shape()
                    .map_or(0, |shape| shape.dim(dim).map_or(0, |d| shape[d]));
                // Half of what is no NaN, less one, rounded down: how many i from 1 on have 2 i + 1 up to it.
                let count = x.eq(x).sum_dims([dim], true);
                let doubles = Tensor::arange(n, (DType::I32, x.device())) * 2 + 1;
                let below = count.transpose(dim, -1).ge(&doubles).transpose(dim, -1);
                let middle = below.sum_dims([dim], true) - 1;
                positions.gather(dim, &middle.maximum(0))
            })
        })
    }

    /// The quantiles `q` over `dims`, which go away unless `keepdim`: `torch.quantile`. `q` is a number in
    /// `0..=1`, or a tensor of such without dimensions, or a vector, whose dimension then comes first. NaN where an
    /// element is. Only floats.
    ///
    /// A quantile stands at place `q (n - 1)` of the sorted elements; if that lies between two, `interpolation` says
    /// what it is. The gradient goes to the elements that it is made of, and along the line to `q`.
    ///
    /// ```
    /// # use wgrad::{Interpolation, prelude::*};
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([4.0, 1.0, 3.0, 2.0], &dev);
    /// assert_eq!(x.quantile(0.5, .., false, Interpolation::Linear).item::<f32>()?, 2.5);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A number outside of `0..=1` and a reduction of no elements give failed tensors; such a number in a tensor is
    /// an [`Error::IndexOutOfRange`] at the next read.
    #[track_caller]
    pub fn quantile(
        &self,
        q: impl Into<Rhs>,
        dims: impl DimList,
        keepdim: bool,
        interpolation: Interpolation,
    ) -> Tensor {
        let place = Place::caller();
        let q = q.into();
        self.then(|x| quantile("quantile", &x, &q, &dims, (keepdim, interpolation), place))
    }

    /// The quantiles of what is not NaN, otherwise as [`Tensor::quantile`]; NaN where there is nothing.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::Interpolation;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.0, f64::NAN, 3.0], &dev);
    /// assert_eq!(x.nanquantile(0.5, .., false, Interpolation::Linear).item::<f32>()?, 2.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn nanquantile(
        &self,
        q: impl Into<Rhs>,
        dims: impl DimList,
        keepdim: bool,
        interpolation: Interpolation,
    ) -> Tensor {
        let place = Place::caller();
        let q = q.into();
        self.then(|x| {
            quantile(
                "nanquantile",
                &x,
                &q,
                &dims,
                (keepdim, interpolation),
                place,
            )
        })
    }

    /// The most frequent element along `dim`, which goes away unless `keepdim`, and where it stands last, as
    /// `i32`: `torch.mode`. Of equally frequent ones the smallest. Each NaN is different from the others.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (value, position) = Tensor::new([2, 1, 2, 3], &dev).mode(0, false);
    /// assert_eq!((value.item::<i32>()?, position.item::<i32>()?), (2, 2));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn mode(&self, dim: isize, keepdim: bool) -> (Tensor, Tensor) {
        let place = Place::caller();
        pair(self, |x| {
            along("mode", &x, dim, keepdim, place, |x, dim| {
                let n = x
                    .shape()
                    .map_or(0, |shape| shape.dim(dim).map_or(0, |d| shape[d]));
                let (sorted, positions) = x.transpose(dim, -1).sort(-1, false);
                if n < 2 {
                    return positions.transpose(dim, -1);
                }
                // Where each element's run of equal ones began, and so how many there are up to it.
                let index = Tensor::arange(n, (DType::I32, x.device()));
                let begins = sorted.narrow(-1, 1, n - 1).ne(sorted.narrow(-1, 0, n - 1));
                let starts = begins.where_cond(index.narrow(0, 1, n - 1), 0);
                let starts = Tensor::cat(&[positions.narrow(-1, 0, 1).zeros_like(), starts], -1);
                let length = index - starts.cummax(-1).0;
                let longest = length.argmax([-1], true);
                positions.gather(-1, &longest).transpose(dim, -1)
            })
        })
    }
}

/// The median of all elements by that of a vector; the gradient is shared by those that are equal to it.
fn median_of_all(
    name: &'static str,
    x: &Value,
    place: Place,
    median: impl FnOnce(&Tensor) -> Tensor,
) -> Result<Tensor> {
    if x.shape().numel() == 0 {
        if !x.dtype().is_float() {
            no_elements(name, &Shape::from([0]), &[0], place)?;
        }
        return Ok(place.within(|| x.clone().into_tensor().sum() * f64::NAN));
    }
    let whole = x.clone().into_tensor();
    let y = place.within(|| no_grad(|| median(&whole.reshape([-1isize]))));
    if !autograd::tracks(&[x]) {
        return Ok(y);
    }
    let saves = Saves {
        inputs: [whole].into_iter().collect(),
        output: true,
    };
    let rule = |c: &autograd::Context<'_>| {
        let (x, y) = (&c.inputs[0], c.output);
        let hit = x.eq(y).logical_or(x.ne(x).logical_and(y.ne(y)));
        let share = c.grad / hit.sum();
        [Some(hit.where_cond(share, 0.0))].into_iter().collect()
    };
    Ok(autograd::track(
        name,
        y.capture()?,
        &[x],
        saves,
        place,
        rule,
    ))
}

fn quantile(
    name: &'static str,
    x: &Value,
    q: &Rhs,
    dims: &impl DimList,
    (keepdim, interpolation): (bool, Interpolation),
    place: Place,
) -> Result<Tensor> {
    let dtype = floats(name, x, place)?;
    let dims = dims_or_all(name, x.shape(), dims, place)?;
    let shape = x.shape().clone();
    let n: usize = dims.iter().map(|&d| shape[d]).product();
    if n == 0 {
        let problem = format!("no elements to choose from in shape {shape}");
        return Err(Error::shape(name, place, problem));
    }
    let compute = dtype.compute();
    let device = &x.node.device;
    let (q, many) = match q {
        Rhs::Scalar(q) if !(0.0..=1.0).contains(&q.to_f64()) => {
            let problem = format!("{} is not in 0..=1", q.to_f64());
            return Err(Error::value(name, place, problem));
        }
        Rhs::Scalar(q) => (Tensor::full([1], *q, (compute, device)), None),
        Rhs::Tensor(q) => match q.rank()? {
            0 => (q.reshape([1]).to_dtype(compute), None),
            1 => (q.to_dtype(compute), Some(q.numel()?)),
            _ => {
                let problem = format!("quantiles of shape {} are no vector", q.shape()?);
                return Err(Error::shape(name, place, problem));
            }
        },
    };
    let kept: Vec<usize> = (0..shape.rank()).filter(|d| !dims.contains(d)).collect();
    let turned: Vec<isize> = kept.iter().chain(&dims).map(|&d| d as isize).collect();
    let mut rows: Vec<usize> = kept.iter().map(|&d| shape[d]).collect();
    rows.push(n);
    place.within(|| {
        let x = cast(x, compute, place)?.into_tensor();
        let rows = x.permute(&turned[..]).reshape(Shape::new(&rows));
        let (sorted, _) = first(name, &rows.capture()?, -1, false, None, place)?;
        let last = (n - 1) as f64;
        let rank = match name {
            "nanquantile" => {
                let count = rows.eq(&rows).sum_dims([-1], true).to_dtype(compute);
                ((count - 1.0) * q).maximum(0.0)
            }
            // NaN stands last.
            _ => rows
                .ne(&rows)
                .any_dims([-1], true)
                .where_cond(last, q * last),
        };
        let at = |rank: &Tensor| sorted.gather(-1, &rank.to_dtype(DType::I32));
        let y = match interpolation {
            Interpolation::Lower => at(&rank.floor()),
            Interpolation::Higher => at(&rank.ceil()),
            Interpolation::Nearest => at(&rank.round()),
            Interpolation::Linear => between(
                &at(&rank.floor()),
                &at(&rank.ceil()),
                &(&rank - rank.floor()),
            ),
            Interpolation::Midpoint => {
                let half = Tensor::full((), 0.5, (compute, device));
                between(&at(&rank.floor()), &at(&rank.ceil()), &half)
            }
        };
        let shape: Shape = match keepdim {
            true => kept_shape(&shape, &dims),
            false => kept.iter().map(|&d| shape[d]).collect(),
        };
        let y = match many {
            None => y.reshape(&shape),
            Some(count) => {
                let dims: Shape = [count].into_iter().chain(shape.iter().copied()).collect();
                let order: Vec<isize> = (0..kept.len() as isize).collect();
                let order: Vec<isize> = [kept.len() as isize].into_iter().chain(order).collect();
                y.permute(&order[..]).reshape(&dims)
            }
        };
        Ok(y.to_dtype(dtype))
    })
}

/// The point between `a` and `b` that divides them by `weight`, from the nearer one, as torch's `lerp`; equal
/// ones, which may be infinite, themselves.
fn between(a: &Tensor, b: &Tensor, weight: &Tensor) -> Tensor {
    let way = b - a;
    let low = a + &way * weight;
    let high = b - &way * (1.0 - weight);
    let line = weight.lt(0.5).where_cond(low, high);
    a.eq(b).where_cond(a, line)
}
