//! Elements without their repetitions.

use super::compaction::positions;
use super::scatter::scatter_add;
use super::sort::first;
use crate::tensor::Tensor;
use crate::tensor::slice::s;
use crate::tensor::views::dim_of;
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

/// What [`Tensor::unique`] gives: what is not used of it is not computed.
#[derive(Clone)]
pub struct Unique {
    /// The different elements, a vector.
    pub values: Tensor,
    /// For each element of the tensor, in its shape, where its value stands among them, as `i32`.
    pub inverse: Tensor,
    /// How often each value occurs, as `i32`.
    pub counts: Tensor,
}

impl Tensor {
    /// The different elements in ascending order, where each element of the tensor stands among them, and how
    /// often each occurs: `torch.unique` with all its results. Each NaN is different from the others.
    ///
    /// How many there are is read back, which runs what has been recorded and waits for it.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let unique = Tensor::new([3, 1, 3, 2], &dev).unique();
    /// assert_eq!(unique.values.to_vec::<i32>()?, [1, 2, 3]);
    /// assert_eq!(unique.inverse.to_vec::<i32>()?, [2, 0, 2, 1]);
    /// assert_eq!(unique.counts.to_vec::<i32>()?, [1, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn unique(&self) -> Unique {
        let place = Place::caller();
        results(self, || {
            let shape = self.shape()?;
            let flat = self.reshape([-1isize]).capture()?;
            let (sorted, from) = first("unique", &flat, 0, false, None, place)?;
            let runs = runs(&sorted, 0, place)?;
            // The inverse is in sorted order; each number goes to where its element stood.
            let (number, from) = (runs.inverse.capture()?, from.capture()?);
            let inverse = scatter_add("unique", &number, 0, shape.numel(), &from, place)?;
            Ok(Unique {
                inverse: inverse.reshape(shape),
                ..runs
            })
        })
    }

    /// [`Tensor::unique`] in the order in which the elements stand, where only repetitions that follow each
    /// other are left out: `torch.unique_consecutive`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let unique = Tensor::new([1, 1, 2, 1], &dev).unique_consecutive();
    /// assert_eq!(unique.values.to_vec::<i32>()?, [1, 2, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn unique_consecutive(&self) -> Unique {
        let place = Place::caller();
        results(self, || {
            let shape = self.shape()?;
            let runs = runs(&self.reshape([-1isize]), 0, place)?;
            Ok(Unique {
                inverse: runs.inverse.reshape(shape),
                ..runs
            })
        })
    }

    /// The different slices along `dim` in ascending order of their elements, the first counting most, where each
    /// slice stands among them (a vector), and how often each occurs: `torch.unique(dim=..)`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[2, 1], [1, 1], [2, 1]], &dev);
    /// let unique = x.unique_along(0);
    /// assert_eq!(unique.values.to_vec::<i32>()?, [1, 1, 2, 1]);
    /// assert_eq!(unique.inverse.to_vec::<i32>()?, [1, 0, 1]);
    /// assert_eq!(unique.counts.to_vec::<i32>()?, [1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A dimension that is not there gives failed tensors with
    /// [`Error::DimOutOfRange`](crate::Error::DimOutOfRange).
    #[track_caller]
    pub fn unique_along(&self, dim: isize) -> Unique {
        let place = Place::caller();
        results(self, || {
            let shape = self.shape()?;
            let d = dim_of("unique", &shape, dim, place)?;
            // The others keep their order, which is that of what counts most.
            let others = (0..shape.rank()).filter(|&o| o != d);
            let turned: Vec<isize> = [d].into_iter().chain(others).map(|d| d as isize).collect();
            let order = order_of_rows(&self.detach().permute(turned), place)?;
            let runs = runs(&self.index_select(dim, &order), dim, place)?;
            let (number, order) = (runs.inverse.capture()?, order.capture()?);
            Ok(Unique {
                inverse: scatter_add("unique", &number, 0, shape[d], &order, place)?,
                ..runs
            })
        })
    }

    /// [`Tensor::unique_along`] in the order in which the slices stand, where only repetitions that follow each
    /// other are left out: `torch.unique_consecutive(dim=..)`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [1, 2], [3, 4], [1, 2]], &dev);
    /// let unique = x.unique_consecutive_along(0);
    /// assert_eq!(unique.values.to_vec::<i32>()?, [1, 2, 3, 4, 1, 2]);
    /// assert_eq!(unique.counts.to_vec::<i32>()?, [2, 1, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn unique_consecutive_along(&self, dim: isize) -> Unique {
        let place = Place::caller();
        results(self, || {
            dim_of("unique_consecutive", &self.shape()?, dim, place)?;
            runs(self, dim, place)
        })
    }
}

#[track_caller]
fn results(x: &Tensor, f: impl FnOnce() -> Result<Unique>) -> Unique {
    let place = Place::caller();
    place.within(f).unwrap_or_else(|error: Error| {
        let failed = Tensor::fail(x.device(), error);
        Unique {
            values: failed.clone(),
            inverse: failed.clone(),
            counts: failed,
        }
    })
}

/// The runs of equal slices along a dimension: one of each, for each slice the number of its run, and how long
/// they are.
fn runs(x: &Tensor, dim: isize, place: Place) -> Result<Unique> {
    let (shape, device) = (x.shape()?, x.device());
    let d = dim_of("unique", &shape, dim, place)?;
    let n = shape[d];
    if n == 0 {
        let none = Tensor::zeros([0], (DType::I32, device));
        return Ok(Unique {
            values: x.clone(),
            inverse: none.clone(),
            counts: none,
        });
    }
    let changes = x.narrow(dim, 1, n - 1).ne(x.narrow(dim, 0, n - 1));
    let others: Vec<isize> = (0..shape.rank())
        .filter(|&o| o != d)
        .map(|o| o as isize)
        .collect();
    let changes = match others.is_empty() {
        true => changes,
        false => changes.any_dims(others, false),
    };
    let begins = Tensor::cat(&[Tensor::ones([1], (DType::Bool, device)), changes], 0);
    let starts = positions(&begins, place);
    let runs = starts.numel()?;
    let end = Tensor::full([1], n as i64, (DType::I32, device));
    let ends = Tensor::cat(&[starts.narrow(0, 1, runs - 1), end], 0);
    Ok(Unique {
        values: x.index_select(dim, &starts),
        inverse: begins.cumsum(0) - 1,
        counts: ends - starts,
    })
}

/// The order of the slices along the first dimension, by their elements.
///
/// Elements get ranks, and two neighbours the rank of their pair, until one is left of each slice (Karp, Miller and
/// Rosenberg, 1972): the logarithm of the number of elements in sorts, all columns at a time.
fn order_of_rows(x: &Tensor, place: Place) -> Result<Tensor> {
    let shape = x.shape()?;
    let (n, mut width) = (shape[0], shape[1..].iter().product::<usize>());
    if n == 0 || width == 0 {
        return Ok(Tensor::arange(n, (DType::I32, x.device())));
    }
    let x = x.contiguous().reshape([n, width]);
    let (sorted, from) = x.sort(0, false);
    let mut ranks = ranked(&changed(&sorted, n), &from, place)?;
    while width > 1 {
        let half = width / 2;
        let side = |first| ranks.slice((.., s(first..2 * half).step(2)));
        let (high, low) = (side(0), side(1));
        let by_low = low.argsort(0, false);
        let from = by_low.gather(0, &high.gather(0, &by_low).argsort(0, false));
        let part = |side: &Tensor| changed(&side.gather(0, &from), n);
        let pairs = ranked(&part(&high).logical_or(part(&low)), &from, place)?;
        ranks = match width % 2 {
            0 => pairs,
            _ => Tensor::cat(&[pairs, ranks.narrow(1, width - 1, 1)], 1),
        };
        width = width.div_ceil(2);
    }
    Ok(ranks.select(1, 0).argsort(0, false))
}

/// Whether each of `n` elements along the first dimension differs from the one before it.
fn changed(x: &Tensor, n: usize) -> Tensor {
    let first = x.narrow(0, 0, 1).to_dtype(DType::Bool).zeros_like();
    Tensor::cat(&[first, x.narrow(0, 1, n - 1).ne(x.narrow(0, 0, n - 1))], 0)
}

/// The ranks of elements along the first dimension that are sorted, and came `from` there: how many changes there are
/// up to each.
fn ranked(changes: &Tensor, from: &Tensor, place: Place) -> Result<Tensor> {
    let (ranks, from) = (changes.cumsum(0).capture()?, from.capture()?);
    let n = ranks.shape()[0];
    scatter_add("unique", &ranks, 0, n, &from, place)
}
