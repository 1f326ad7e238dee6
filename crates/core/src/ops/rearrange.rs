//! Elements in another order, repeated and joined: views where strides allow it.

use smallvec::SmallVec;

use crate::tensor::views::{dim_of, dims_of};
use crate::tensor::{Rhs, Tensor, view};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{DimList, Dims, ReshapeTo, Shape};

/// How the dimensions of a [`Tensor::meshgrid`] are ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Indexing {
    /// Dimension `i` belongs to tensor `i`, as matrices are indexed.
    #[default]
    Ij,
    /// The first two dimensions are exchanged, as `x` and `y` of a picture.
    Xy,
}

impl Tensor {
    /// The elements along `dims` in reverse order, `torch.flip`. A view, which moves nothing.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev);
    /// assert_eq!(x.flip([1]).to_vec::<i32>()?, [2, 1, 4, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn flip(&self, dims: impl DimList) -> Tensor {
        flip("flip", self, &dims, Place::caller())
    }

    /// The columns in reverse order: [`Tensor::flip`] of dimension 1. At least two dimensions.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev);
    /// assert_eq!(x.fliplr().to_vec::<i32>()?, [2, 1, 4, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn fliplr(&self) -> Tensor {
        flip("fliplr", self, &1isize, Place::caller())
    }

    /// The rows in reverse order: [`Tensor::flip`] of dimension 0. At least one dimension.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev);
    /// assert_eq!(x.flipud().to_vec::<i32>()?, [3, 4, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn flipud(&self) -> Tensor {
        flip("flipud", self, &0isize, Place::caller())
    }

    /// The elements moved by `shifts` along `dims`, those that leave at one end coming in at the other,
    /// `torch.roll`. As many shifts as dimensions; of `..` one, by which the flattened tensor moves.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1, 2, 3, 4], &dev);
    /// assert_eq!(x.roll(&[1], [0]).to_vec::<i32>()?, [4, 1, 2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn roll(&self, shifts: &[isize], dims: impl DimList) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let shape = x.shape().clone();
            let Some(dims) = dims.list() else {
                let flat = place.within(|| x.into_tensor().reshape([-1isize]));
                return place.within(|| flat.roll(shifts, 0).reshape(&shape).checked());
            };
            if shifts.len() != dims.len() {
                let problem = format!("{} shifts for {} dimensions", shifts.len(), dims.len());
                return Err(Error::value("roll", place, problem));
            }
            let mut y = x.into_tensor();
            for (&shift, &dim) in shifts.iter().zip(&dims) {
                let d = dim_of("roll", &shape, dim, place)?;
                let size = shape[d];
                if size == 0 {
                    continue;
                }
                let tail = shift.rem_euclid(size as isize) as usize;
                if tail > 0 {
                    let d = d as isize;
                    y = place.within(|| {
                        let parts = [y.narrow(d, size - tail, tail), y.narrow(d, 0, size - tail)];
                        Tensor::cat(&parts, d)
                    });
                }
            }
            Ok(y)
        })
    }

    /// Turned by `k` quarters from dimension `dims[0]` towards `dims[1]`, `torch.rot90`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev).rot90(1, [0, 1]);
    /// assert_eq!(x.to_vec::<i32>()?, [2, 4, 1, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn rot90(&self, k: isize, dims: [isize; 2]) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let a = dim_of("rot90", x.shape(), dims[0], place)?;
            let b = dim_of("rot90", x.shape(), dims[1], place)?;
            if a == b {
                let problem = format!("dimensions {} and {} are the same", dims[0], dims[1]);
                return Err(Error::value("rot90", place, problem));
            }
            let (x, a, b) = (x.into_tensor(), a as isize, b as isize);
            Ok(place.within(|| match k.rem_euclid(4) {
                0 => x,
                1 => x.flip(b).transpose(a, b),
                2 => x.flip([a, b]),
                _ => x.flip(a).transpose(a, b),
            }))
        })
    }

    /// Dimensions `from` moved to the positions `to`; the others keep their order. `torch.movedim`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([2, 3, 4], &dev);
    /// assert_eq!(x.movedim([0], [2]).shape()?, [3, 4, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn movedim(&self, from: impl DimList, to: impl DimList) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let rank = x.shape().rank();
            let positions = |dims: &dyn Fn() -> Option<SmallVec<[isize; 6]>>| {
                let list = dims().unwrap_or_else(|| (0..rank as isize).collect());
                dims_of("movedim", x.shape(), &&list[..], place)?;
                let found = list.iter();
                let found = found.map(|&d| dim_of("movedim", x.shape(), d, place));
                found.collect::<Result<SmallVec<[usize; 6]>>>()
            };
            if rank == 0 {
                return Ok(x.clone().into_tensor());
            }
            let (from, to) = (positions(&|| from.list())?, positions(&|| to.list())?);
            if from.len() != to.len() {
                let problem = format!("{} dimensions to {} positions", from.len(), to.len());
                return Err(Error::value("movedim", place, problem));
            }
            let mut rest = (0..rank).filter(|d| !from.contains(d));
            let order = (0..rank).map(|at| match to.iter().position(|&t| t == at) {
                Some(i) => from[i],
                None => rest.next().unwrap_or(at),
            });
            let order: SmallVec<[isize; 6]> = order.map(|d| d as isize).collect();
            Ok(place.within(|| x.into_tensor().permute(&order[..])))
        })
    }

    /// Two dimensions exchanged: [`Tensor::transpose`] by NumPy's name.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev);
    /// assert_eq!(x.swapaxes(0, 1).to_vec::<i32>()?, [1, 3, 2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn swapaxes(&self, a: isize, b: isize) -> Tensor {
        Place::caller().within(|| self.transpose(a, b))
    }

    /// Dimension `dim` as several, of `sizes`, one of which may be -1. `torch.unflatten`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([2, 12], &dev);
    /// assert_eq!(x.unflatten(1, [3, -1]).shape()?, [2, 3, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn unflatten(&self, dim: isize, sizes: impl ReshapeTo) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let d = dim_of("unflatten", x.shape(), dim, place)?;
            let sizes = sizes.sizes();
            let mut given = sizes.iter().filter(|&&s| s != -1);
            // More than there can be are none.
            let known = given
                .try_fold(1isize, |n, &s| n.checked_mul(s))
                .unwrap_or(0);
            let open = sizes.iter().filter(|&&s| s == -1).count();
            let size = x.shape()[d] as isize;
            let fits = match open {
                0 => known == size && (known > 0 || sizes.contains(&0)),
                1 => known > 0 && size % known == 0,
                _ => false,
            };
            if sizes.is_empty() || !fits || sizes.iter().any(|&s| s < -1) {
                let problem = format!("size {size} is not split into {sizes:?}");
                return Err(Error::shape("unflatten", place, problem));
            }
            let mut to: Vec<isize> = x.shape()[..d].iter().map(|&s| s as isize).collect();
            to.extend(
                sizes
                    .iter()
                    .map(|&s| if s == -1 { size / known } else { s }),
            );
            to.extend(x.shape()[d + 1..].iter().map(|&s| s as isize));
            Ok(place.within(|| x.into_tensor().reshape(&to[..])))
        })
    }

    /// Drops those of `dims` whose size is 1; `..` for all dimensions of size 1.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([1, 2, 1], &dev);
    /// assert_eq!(x.squeeze_dims([0, 1]).shape()?, [2, 1]);
    /// assert_eq!(x.squeeze_dims(..).shape()?, [2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn squeeze_dims(&self, dims: impl DimList) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let dims = dims_of("squeeze", x.shape(), &dims, place)?;
            let ones = dims.into_iter().rev();
            let x = x.into_tensor();
            Ok(place.within(|| ones.fold(x, |x, d| x.squeeze(d as isize))))
        })
    }

    /// The tensor side by side with itself, `repeats[i]` times along dimension `i`, where dimensions of size
    /// 1 are put in front for more of them. `torch.Tensor.repeat`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1, 2], &dev).repeat(&[2, 2]);
    /// assert_eq!(x.shape()?, [2, 4]);
    /// assert_eq!(x.to_vec::<i32>()?, [1, 2, 1, 2, 1, 2, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn repeat(&self, repeats: &[usize]) -> Tensor {
        repeat("repeat", self, repeats, Place::caller())
    }

    /// [`Tensor::repeat`], but where there are fewer numbers than dimensions they stand for the last ones.
    /// `torch.tile`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev).tile(&[2]);
    /// assert_eq!(x.shape()?, [2, 4]);
    /// assert_eq!(x.to_vec::<i32>()?, [1, 2, 1, 2, 3, 4, 3, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn tile(&self, repeats: &[usize]) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let missing = x.shape().rank().saturating_sub(repeats.len());
            let mut all = vec![1; missing];
            all.extend_from_slice(repeats);
            Ok(repeat("tile", &x.into_tensor(), &all, place))
        })
    }

    /// Each element along `dim` so many times in a row; without a dimension, of the flattened tensor.
    /// `repeats` is a number, or a vector of integers with one for each element along the dimension, the sum of
    /// which is read back. `torch.repeat_interleave`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1, 2], &dev);
    /// assert_eq!(x.repeat_interleave(2, None).to_vec::<i32>()?, [1, 1, 2, 2]);
    /// let times = Tensor::new([3, 1], &dev);
    /// assert_eq!(x.repeat_interleave(&times, Some(0)).to_vec::<i32>()?, [1, 1, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn repeat_interleave(&self, repeats: impl Into<Rhs>, dim: Option<isize>) -> Tensor {
        let place = Place::caller();
        let repeats = repeats.into();
        self.then(|x| {
            let name = "repeat_interleave";
            let x = match dim {
                None => place
                    .within(|| x.into_tensor().reshape([-1isize]))
                    .capture()?,
                Some(_) => x,
            };
            let d = dim_of(name, x.shape(), dim.unwrap_or(0), place)?;
            let size = x.shape()[d];
            let times = match &repeats {
                Rhs::Tensor(times) => times.clone(),
                Rhs::Scalar(times) => {
                    let times = times.to_f64();
                    if times < 0.0 || times.fract() != 0.0 {
                        let problem = format!("{times} is no number of repetitions");
                        return Err(Error::value(name, place, problem));
                    }
                    let x = x.into_tensor();
                    return place.within(|| {
                        let mut to = x.shape()?.to_vec();
                        let apart = x.unsqueeze(d as isize + 1);
                        let mut wide: Vec<isize> = vec![-1; to.len() + 1];
                        wide[d + 1] = times as isize;
                        to[d] = to[d].saturating_mul(times as usize);
                        apart.expand(&wide[..]).reshape(to).checked()
                    });
                }
            };
            let of = times.shape()?;
            if of.rank() > 1 || (of.numel() != 1 && of.numel() != size) {
                let problem = format!("{of} repetitions for {size} elements");
                return Err(Error::shape(name, place, problem));
            }
            let times = place.within(|| times.reshape([-1isize]).expand([size]));
            if !times.dtype()?.is_integer() {
                let problem = format!("repetitions are integers, not {}", times.dtype()?);
                return Err(Error::dtype(name, place, problem));
            }
            place.within(|| {
                let x = x.into_tensor();
                if size == 0 {
                    return x.checked();
                }
                let ends = times.to_dtype(DType::I32).cumsum(0);
                let total = super::compaction::read_size(&ends.narrow(0, size - 1, 1), place)?;
                let at = Tensor::arange(total, (DType::I32, x.device()));
                let from = ends.searchsorted(&at, true);
                x.index_select(d as isize, &from).checked()
            })
        })
    }

    /// Of vectors (or numbers) a grid: result `i` has the elements of tensor `i` along dimension `i` and repeats
    /// them along the others. Views. `torch.meshgrid`.
    ///
    /// ```
    /// # use wgrad::{Indexing, prelude::*};
    /// # let dev = wgrad::cpu();
    /// let (x, y) = (Tensor::new([1, 2], &dev), Tensor::new([3, 4, 5], &dev));
    /// let grid = Tensor::meshgrid(&[&x, &y], Indexing::Ij);
    /// assert_eq!(grid[0].to_vec::<i32>()?, [1, 1, 1, 2, 2, 2]);
    /// assert_eq!(grid[1].to_vec::<i32>()?, [3, 4, 5, 3, 4, 5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn meshgrid(tensors: &[impl AsRef<Tensor>], indexing: Indexing) -> Vec<Tensor> {
        let place = Place::caller();
        let tensors: Vec<&Tensor> = tensors.iter().map(AsRef::as_ref).collect();
        let grid = || -> Result<Vec<Tensor>> {
            let mut dims = Dims::new();
            for tensor in &tensors {
                let shape = tensor.shape()?;
                if shape.rank() > 1 {
                    let problem = format!("shape {shape} is no vector");
                    return Err(Error::shape("meshgrid", place, problem));
                }
                dims.push(shape.numel());
            }
            let shape = Shape::from(dims);
            let spread = |(i, x): (usize, &&Tensor)| {
                place.within(|| {
                    let mut own = vec![1; shape.rank()];
                    own[i] = shape[i];
                    let y = x.reshape(own).expand(&shape);
                    match indexing {
                        Indexing::Xy if shape.rank() > 1 => y.transpose(0, 1),
                        _ => y,
                    }
                })
            };
            Ok(tensors.iter().enumerate().map(spread).collect())
        };
        let failed = |error| {
            let device = tensors.first().map(|t| t.device().clone());
            device.map_or_else(Vec::new, |device| vec![Tensor::fail(&device, error)])
        };
        grid().unwrap_or_else(failed)
    }

    /// All ways to take one element of each vector, one a row. `torch.cartesian_prod`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::cartesian_prod(&[Tensor::new([1, 2], &dev), Tensor::new([3, 4], &dev)]);
    /// assert_eq!(y.shape()?, [4, 2]);
    /// assert_eq!(y.to_vec::<i32>()?, [1, 3, 1, 4, 2, 3, 2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cartesian_prod(tensors: &[impl AsRef<Tensor>]) -> Tensor {
        let place = Place::caller();
        place.within(|| match tensors {
            [one] => one.as_ref().reshape([-1isize]),
            _ => {
                let grid = Tensor::meshgrid(tensors, Indexing::Ij);
                let flat = grid.iter().map(|x| x.reshape([-1isize]));
                Tensor::stack(&flat.collect::<Vec<_>>(), 1)
            }
        })
    }

    /// Joined along dimension 1, or 0 of vectors. `torch.hstack`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::hstack(&[Tensor::new([[1], [2]], &dev), Tensor::new([[3], [4]], &dev)]);
    /// assert_eq!(y.to_vec::<i32>()?, [1, 3, 2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn hstack(tensors: &[impl AsRef<Tensor>]) -> Tensor {
        let place = Place::caller();
        let parts = at_least(tensors, 1, place);
        let vectors = parts.first().is_some_and(|x| x.rank() == Ok(1));
        place.within(|| Tensor::cat(&parts, if vectors { 0 } else { 1 }))
    }

    /// Joined along dimension 0, vectors as rows. `torch.vstack`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::vstack(&[Tensor::new([1, 2], &dev), Tensor::new([3, 4], &dev)]);
    /// assert_eq!(x.shape()?, [2, 2]);
    /// assert_eq!(x.to_vec::<i32>()?, [1, 2, 3, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn vstack(tensors: &[impl AsRef<Tensor>]) -> Tensor {
        let place = Place::caller();
        let parts = at_least(tensors, 2, place);
        place.within(|| Tensor::cat(&parts, 0))
    }

    /// Joined along dimension 2, vectors and matrices in depth. `torch.dstack`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::dstack(&[Tensor::new([1, 2], &dev), Tensor::new([3, 4], &dev)]);
    /// assert_eq!(y.shape()?, [1, 2, 2]);
    /// assert_eq!(y.to_vec::<i32>()?, [1, 3, 2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn dstack(tensors: &[impl AsRef<Tensor>]) -> Tensor {
        let place = Place::caller();
        let parts = at_least(tensors, 3, place);
        place.within(|| Tensor::cat(&parts, 2))
    }
}

fn flip(name: &'static str, x: &Tensor, dims: &impl DimList, place: Place) -> Tensor {
    x.then(|x| {
        let dims = dims_of(name, x.shape(), dims, place)?;
        let mut layout = x.layout().clone();
        for &d in &dims {
            layout = layout.flip(d);
        }
        let dims: SmallVec<[isize; 6]> = dims.iter().map(|&d| d as isize).collect();
        Ok(view(name, &x, layout, place, move |g| g.flip(&dims[..])))
    })
}

fn repeat(name: &'static str, x: &Tensor, repeats: &[usize], place: Place) -> Tensor {
    x.then(|x| {
        let shape = x.shape().clone();
        let Some(pad) = repeats.len().checked_sub(shape.rank()) else {
            let problem = format!("{} repetitions for shape {shape}", repeats.len());
            return Err(Error::shape(name, place, problem));
        };
        let size = |d: usize| if d < pad { 1 } else { shape[d - pad] };
        let (mut own, mut wide, mut to) = (Dims::new(), Dims::new(), Dims::new());
        for (d, &times) in repeats.iter().enumerate() {
            own.extend([1, size(d)]);
            wide.extend([times, size(d)]);
            let Some(all) = times.checked_mul(size(d)) else {
                let problem = format!("shape {shape} repeated {repeats:?} times is too large");
                return Err(Error::shape(name, place, problem));
            };
            to.push(all);
        }
        let [own, wide, to] = [own, wide, to].map(Shape::from);
        let x = x.into_tensor();
        Ok(place.within(|| x.reshape(own).expand(wide).reshape(to)))
    })
}

/// The tensors with dimensions of size 1 put in until they have `rank`: in front, but behind from the third on.
fn at_least(tensors: &[impl AsRef<Tensor>], rank: usize, place: Place) -> Vec<Tensor> {
    let widened = |x: &Tensor| {
        let mut x = x.clone();
        while let Ok(has) = x.rank()
            && has < rank
        {
            x = x.unsqueeze(if has < 2 { 0 } else { -1 });
        }
        x
    };
    place.within(|| tensors.iter().map(|x| widened(x.as_ref())).collect())
}
