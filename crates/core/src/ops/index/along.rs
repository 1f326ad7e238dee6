//! Elements by positions along a dimension.

use smallvec::SmallVec;

use super::{integer, one_dimensional, wrapped};
use crate::ops::gather::gather;
use crate::tensor::Tensor;
use crate::tensor::views::dim_of;
use crate::types::error::{Error, Place};
use crate::types::layout::Layout;
use crate::types::shape::{Dims, Shape};

impl Tensor {
    /// `out[.., i, ..] = self[.., index[.., i, ..], ..]` along `dim`, as `torch.gather`: the index
    /// has this tensor's rank, and no dimension but `dim` larger than this tensor's. A tensor without
    /// dimensions counts as one of one element, and so does an index; an empty index fits always.
    ///
    /// An index out of range gives NaN there (0 for integers), and
    /// [`Error::IndexOutOfRange`] at this thread's next read.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev);
    /// let index = Tensor::new([[0, 0], [1, 0]], &dev);
    /// assert_eq!(x.gather(1, &index).to_vec::<i32>()?, [1, 1, 4, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn gather(&self, dim: isize, index: &Tensor) -> Tensor {
        gather_along("gather", self, dim, index, Place::caller())
    }

    /// The elements at the positions `index` (one dimension or none, any integers) of dimension
    /// `dim`. From a tensor without dimensions only one can be selected. Bad indices as in
    /// [`Tensor::gather`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2, 3], [4, 5, 6]], &dev);
    /// let y = x.index_select(1, &Tensor::new([2, 2, 0], &dev));
    /// assert_eq!(y.to_vec::<i32>()?, [3, 3, 1, 6, 6, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn index_select(&self, dim: isize, index: &Tensor) -> Tensor {
        index_select("index_select", self, dim, index, Place::caller())
    }

    /// The elements at the positions `index`, of any shape, of the flattened tensor; negative positions count
    /// from the end. Bad ones as in [`Tensor::gather`]. `torch.take`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev);
    /// assert_eq!(x.take(&Tensor::new([0, -1], &dev)).to_vec::<i32>()?, [1, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take(&self, index: &Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let (size, shape) = (x.shape().numel(), index.shape()?);
            let index = integer("take", index, &x, place)?.into_tensor();
            place.within(|| {
                let flat = x.into_tensor().reshape([-1isize]);
                let at = wrapped(index, size).reshape([-1isize]);
                let taken = index_select("take", &flat, 0, &at, place);
                taken.reshape(&shape).checked()
            })
        })
    }

    /// [`Tensor::gather`] with an index that broadcasts against this tensor but along `dim`, and may count from
    /// the end; without a dimension, of the flattened tensor. What [`Tensor::argsort`] gives fits.
    /// `torch.take_along_dim`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[3, 1], [2, 4]], &dev);
    /// let y = x.take_along_dim(&x.argsort(1, false), Some(1));
    /// assert_eq!(y.to_vec::<i32>()?, [1, 3, 2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_along_dim(&self, index: &Tensor, dim: Option<isize>) -> Tensor {
        let place = Place::caller();
        let name = "take_along_dim";
        let Some(dim) = dim else {
            return place.within(|| {
                let flat = index.reshape([-1isize]);
                self.reshape([-1isize]).take_along_dim(&flat, Some(0))
            });
        };
        self.then(|x| {
            let d = dim_of(name, x.shape(), dim, place)?;
            let index = integer(name, index, &x, place)?;
            let (own, of) = (x.shape().clone(), index.shape().clone());
            let others = |shape: &Shape| -> Shape {
                let sizes = shape.iter().enumerate();
                sizes.map(|(i, &n)| if i == d { 1 } else { n }).collect()
            };
            let both = (own.rank() == of.rank())
                .then(|| others(&own).broadcast(&others(&of)))
                .flatten();
            let Some(both) = both else {
                let problem = format!("index of shape {of} for shape {own}");
                return Err(Error::shape(name, place, problem));
            };
            let spread = |x: Tensor, size: usize| {
                let mut to = Dims::from_slice(&both);
                to[d] = size;
                x.expand(Shape::from(to))
            };
            place.within(|| {
                let index = wrapped(spread(index.into_tensor(), of[d]), own[d]);
                let x = spread(x.into_tensor(), own[d]);
                gather_along(name, &x, d as isize, &index, place).checked()
            })
        })
    }

    /// Rows of this `[n, d]` matrix: for an index of shape `S` a tensor of shape `[S.., d]`, as
    /// `torch.nn.functional.embedding(index, weight)`. Bad indices as in [`Tensor::gather`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let table = Tensor::new([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &dev);
    /// let y = table.embedding(&Tensor::new([2, 0], &dev));
    /// assert_eq!(y.to_vec::<f32>()?, [5.0, 6.0, 1.0, 2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn embedding(&self, index: &Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.shape().rank() != 2 {
                let problem = format!("table of shape {} is not a matrix", x.shape());
                return Err(Error::shape("embedding", place, problem));
            }
            let shape = index.shape()?;
            let flat = place.within(|| index.reshape((-1,)));
            let index = integer("embedding", &flat, &x, place)?;
            let (n, width) = (index.shape()[0], x.shape()[1]);
            let strides = SmallVec::from_iter([index.layout().strides[0], 0]);
            let layout = Layout {
                shape: [n, width].into(),
                strides,
                offset: index.layout().offset,
            };
            let rows = gather("embedding", &x, 0, &index.through(layout), place)?;
            let mut to = Dims::from_slice(&shape);
            to.push(width);
            Ok(place.within(|| rows.reshape(Shape::from(to))))
        })
    }
}

/// [`Tensor::gather`], reported under another name.
pub(crate) fn gather_along(
    name: &'static str,
    x: &Tensor,
    dim: isize,
    index: &Tensor,
    place: Place,
) -> Tensor {
    x.then(|x| {
        let index = integer(name, index, &x, place)?;
        let shape = index.shape().clone();
        let (x, index) = (one_dimensional(x)?, one_dimensional(index)?);
        let d = dim_of(name, x.shape(), dim, place)?;
        if shape.numel() == 0 {
            let nothing = || x.into_tensor().reshape([-1isize]).narrow(0, 0, 0);
            return Ok(place.within(|| nothing().reshape(&shape)));
        }
        let fits = index.shape().rank() == x.shape().rank()
            && (0..x.shape().rank()).all(|i| i == d || index.shape()[i] <= x.shape()[i]);
        if !fits {
            let problem = format!("index of shape {shape} for shape {}", x.shape());
            return Err(Error::shape(name, place, problem));
        }
        let mut part = x.clone().into_tensor();
        for i in (0..x.shape().rank()).filter(|&i| i != d && index.shape()[i] < x.shape()[i]) {
            part = part.narrow(i as isize, 0, index.shape()[i]);
        }
        let y = gather(name, &part.capture()?, d, &index, place)?;
        Ok(place.within(|| y.reshape(&shape)))
    })
}

/// [`Tensor::index_select`], reported under another name.
pub(crate) fn index_select(
    name: &'static str,
    x: &Tensor,
    dim: isize,
    index: &Tensor,
    place: Place,
) -> Tensor {
    x.then(|x| {
        let index = integer(name, index, &x, place)?;
        let n = index.shape().numel();
        let scalar = x.shape().rank() == 0;
        if index.shape().rank() > 1 || (scalar && n != 1) {
            let problem = format!("index of shape {} for shape {}", index.shape(), x.shape());
            return Err(Error::shape(name, place, problem));
        }
        let x = one_dimensional(x)?;
        let d = dim_of(name, x.shape(), dim, place)?;
        let mut dims = Dims::from_slice(x.shape());
        dims[d] = n;
        let stride = index.layout().strides.first().copied().unwrap_or(0);
        let mut strides = SmallVec::from_elem(0, x.shape().rank());
        strides[d] = stride;
        let layout = Layout {
            shape: Shape::from(dims),
            strides,
            offset: index.layout().offset,
        };
        let y = gather(name, &x, d, &index.through(layout), place)?;
        Ok(if scalar { y.squeeze(0) } else { y })
    })
}
