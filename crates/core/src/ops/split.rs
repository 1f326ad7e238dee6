//! Tensors in parts along a dimension: views.

use crate::tensor::Tensor;
use crate::tensor::views::dim_of;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

impl Tensor {
    /// The tensor in `n` parts along `dim`, the last ones smaller or missing where it does not
    /// divide (as torch). A failed tensor gives one failed part.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let parts = Tensor::new([1, 2, 3, 4, 5], &dev).chunk(2, 0);
    /// assert_eq!(parts[0].to_vec::<i32>()?, [1, 2, 3]);
    /// assert_eq!(parts[1].to_vec::<i32>()?, [4, 5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn chunk(&self, n: usize, dim: isize) -> Vec<Tensor> {
        let place = Place::caller();
        let size = self.capture().and_then(|x| {
            if n == 0 {
                return Err(Error::value("chunk", place, "0 parts"));
            }
            Ok(x.shape()[dim_of("chunk", x.shape(), dim, place)?])
        });
        match size {
            Err(error) => vec![Tensor::fail(self.device(), error)],
            Ok(0) => vec![self.clone(); n],
            Ok(size) => place.within(|| self.split(size.div_ceil(n), dim)),
        }
    }

    /// The tensor in parts of `size` along `dim`, the last one possibly smaller.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let parts = Tensor::new([1, 2, 3], &dev).split(2, 0);
    /// assert_eq!(parts[0].to_vec::<i32>()?, [1, 2]);
    /// assert_eq!(parts[1].to_vec::<i32>()?, [3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn split(&self, size: usize, dim: isize) -> Vec<Tensor> {
        let place = Place::caller();
        let total = self.capture().and_then(|x| {
            if size == 0 {
                return Err(Error::value("split", place, "parts of size 0"));
            }
            Ok(x.shape()[dim_of("split", x.shape(), dim, place)?])
        });
        match total {
            Err(error) => vec![Tensor::fail(self.device(), error)],
            Ok(total) => place.within(|| {
                let part = |start| self.narrow(dim, start, size.min(total - start));
                (0..total.max(1)).step_by(size).map(part).collect()
            }),
        }
    }

    /// The tensor in parts of the given sizes along `dim`, which add up to its size. A failed tensor gives
    /// one failed part, and so do sizes that do not fit.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let parts = Tensor::new([1, 2, 3, 4], &dev).split_with_sizes(&[1, 3], 0);
    /// assert_eq!(parts[0].to_vec::<i32>()?, [1]);
    /// assert_eq!(parts[1].to_vec::<i32>()?, [2, 3, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn split_with_sizes(&self, sizes: &[usize], dim: isize) -> Vec<Tensor> {
        let place = Place::caller();
        let name = "split_with_sizes";
        self.parts(|shape| {
            let total = shape[dim_of(name, shape, dim, place)?];
            let sum = sizes.iter().try_fold(0usize, |sum, &s| sum.checked_add(s));
            if sum != Some(total) {
                let problem = format!("sizes {sizes:?} of dimension {dim} of shape {shape}");
                return Err(Error::shape(name, place, problem));
            }
            let mut start = 0;
            let part = |&size: &usize| {
                start += size;
                place.within(|| self.narrow(dim, start - size, size))
            };
            Ok(sizes.iter().map(part).collect())
        })
    }

    /// The tensor in `n` parts along `dim`, of equal sizes or the first ones larger by one.
    /// `torch.tensor_split`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let parts = Tensor::new([1, 2, 3], &dev).tensor_split(2, 0);
    /// assert_eq!(parts[0].to_vec::<i32>()?, [1, 2]);
    /// assert_eq!(parts[1].to_vec::<i32>()?, [3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn tensor_split(&self, n: usize, dim: isize) -> Vec<Tensor> {
        let place = Place::caller();
        self.parts(|shape| {
            let total = shape[dim_of("tensor_split", shape, dim, place)?];
            if n == 0 {
                return Err(Error::value("tensor_split", place, "0 parts"));
            }
            let size = |i: usize| total / n + usize::from(i < total % n);
            let sizes: Vec<usize> = (0..n).map(size).collect();
            Ok(place.within(|| self.split_with_sizes(&sizes, dim)))
        })
    }

    /// The tensor cut along `dim` before each of the positions `at`: one part more than positions. As a range
    /// of NumPy's, a position beyond the end is the end and a negative one counts from it, and a part whose end
    /// comes before its start is empty. `torch.tensor_split` by indices.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let parts = Tensor::new([1, 2, 3, 4], &dev).tensor_split_at(&[1, -1], 0);
    /// assert_eq!(parts[0].to_vec::<i32>()?, [1]);
    /// assert_eq!(parts[1].to_vec::<i32>()?, [2, 3]);
    /// assert_eq!(parts[2].to_vec::<i32>()?, [4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn tensor_split_at(&self, at: &[isize], dim: isize) -> Vec<Tensor> {
        let place = Place::caller();
        self.parts(|shape| {
            let total = shape[dim_of("tensor_split", shape, dim, place)?] as isize;
            let position = |at: isize| {
                let at = if at < 0 { at + total } else { at };
                at.clamp(0, total) as usize
            };
            let starts = std::iter::once(0).chain(at.iter().map(|&at| position(at)));
            let ends = at.iter().map(|&at| position(at));
            let ends = ends.chain(std::iter::once(total as usize));
            let part = |(start, end): (usize, usize)| {
                place.within(|| self.narrow(dim, start, end.saturating_sub(start)))
            };
            Ok(starts.zip(ends).map(part).collect())
        })
    }

    /// [`Tensor::tensor_split`] in equal parts along dimension 1, or 0 of a vector. `torch.hsplit`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let parts = Tensor::new([[1, 2], [3, 4]], &dev).hsplit(2);
    /// assert_eq!(parts[0].to_vec::<i32>()?, [1, 3]);
    /// assert_eq!(parts[1].to_vec::<i32>()?, [2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn hsplit(&self, n: usize) -> Vec<Tensor> {
        let dim = |shape: &Shape| usize::from(shape.rank() > 1);
        equal_parts("hsplit", self, n, 1, dim, Place::caller())
    }

    /// [`Tensor::tensor_split`] in equal parts along dimension 0 of two or more. `torch.vsplit`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let parts = Tensor::new([[1, 2], [3, 4]], &dev).vsplit(2);
    /// assert_eq!(parts[1].to_vec::<i32>()?, [3, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn vsplit(&self, n: usize) -> Vec<Tensor> {
        equal_parts("vsplit", self, n, 2, |_| 0, Place::caller())
    }

    /// [`Tensor::tensor_split`] in equal parts along dimension 2 of three or more. `torch.dsplit`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let parts = Tensor::new([[[1, 2], [3, 4]]], &dev).dsplit(2);
    /// assert_eq!(parts[1].shape()?, [1, 2, 1]);
    /// assert_eq!(parts[1].to_vec::<i32>()?, [2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn dsplit(&self, n: usize) -> Vec<Tensor> {
        equal_parts("dsplit", self, n, 3, |_| 2, Place::caller())
    }

    /// The parts at each position of `dim`, which goes away. `torch.unbind`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let rows = Tensor::new([[1, 2], [3, 4]], &dev).unbind(0);
    /// assert_eq!(rows[1].to_vec::<i32>()?, [3, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn unbind(&self, dim: isize) -> Vec<Tensor> {
        let place = Place::caller();
        self.parts(|shape| {
            let n = shape[dim_of("unbind", shape, dim, place)?];
            Ok(place.within(|| (0..n as isize).map(|i| self.select(dim, i)).collect()))
        })
    }

    /// The parts that `of` makes of the shape, or one failed part.
    fn parts(&self, of: impl FnOnce(&Shape) -> Result<Vec<Tensor>>) -> Vec<Tensor> {
        let parts = self.shape().and_then(|shape| of(&shape));
        parts.unwrap_or_else(|error| vec![Tensor::fail(self.device(), error)])
    }
}

fn equal_parts(
    name: &'static str,
    x: &Tensor,
    n: usize,
    least: usize,
    dim: impl FnOnce(&Shape) -> usize,
    place: Place,
) -> Vec<Tensor> {
    x.parts(|shape| {
        if shape.rank() < least {
            let problem = format!("shape {shape} has fewer than {least} dimensions");
            return Err(Error::shape(name, place, problem));
        }
        let d = dim(shape);
        if n == 0 || !shape[d].is_multiple_of(n) {
            let problem = format!("dimension {d} of shape {shape} has no {n} equal parts");
            return Err(Error::shape(name, place, problem));
        }
        Ok(place.within(|| x.tensor_split(n, d as isize)))
    })
}
