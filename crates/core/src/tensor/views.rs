//! Operations that change the layout and move no data, and the copy for where they cannot.

use smallvec::SmallVec;

use crate::autograd::{self, Saves};
use crate::kernel::program::MapOp;
use crate::ops::elementwise::map;
use crate::tensor::{Tensor, Value, view};
use crate::types::error::{Error, Place, Result};
use crate::types::layout::Layout;
use crate::types::shape::{DimList, Dims, ReshapeTo, Shape};

/// The value as a new row-major node.
pub(crate) fn copy(value: &Value, place: Place) -> Result<Value> {
    let inputs = [value.source()].into_iter().collect();
    map(
        "contiguous",
        MapOp::Copy,
        &value.node.device,
        inputs,
        value.shape(),
        value.dtype(),
        place,
    )
}

/// `dim` as a position, or the error that says it is out of range.
pub(crate) fn dim_of(op: &'static str, shape: &Shape, dim: isize, place: Place) -> Result<usize> {
    match shape.dim(dim) {
        Some(d) if d < shape.rank() => Ok(d),
        _ => Err(Error::DimOutOfRange {
            op,
            dim,
            shape: shape.clone(),
            place,
        }),
    }
}

/// Checks a dimension of a tensor that has none: 0 and -1 are taken, as in torch.
fn scalar_dim(op: &'static str, dim: isize, place: Place) -> Result<()> {
    match dim {
        0 | -1 => Ok(()),
        _ => Err(Error::DimOutOfRange {
            op,
            dim,
            shape: Shape::default(),
            place,
        }),
    }
}

/// The dimensions of a list, ascending; all of them for `..`.
pub(crate) fn dims_of(
    op: &'static str,
    shape: &Shape,
    dims: &impl DimList,
    place: Place,
) -> Result<SmallVec<[usize; 6]>> {
    let Some(list) = dims.list() else {
        return Ok((0..shape.rank()).collect());
    };
    let mut out: SmallVec<[usize; 6]> = SmallVec::new();
    for dim in list {
        // A scalar has dimension 0 and -1, as in torch.
        if shape.rank() == 0 && (dim == 0 || dim == -1) {
            continue;
        }
        let d = dim_of(op, shape, dim, place)?;
        if out.contains(&d) {
            return Err(Error::value(
                op,
                place,
                format!("dimension {dim} is named twice"),
            ));
        }
        out.push(d);
    }
    out.sort_unstable();
    Ok(out)
}

impl Tensor {
    /// The same elements in another shape; one size may be -1. Copies only where strides demand.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2, 3], [4, 5, 6]], &dev).reshape([3, -1]);
    /// assert_eq!(x.shape()?, [3, 2]);
    /// assert_eq!(x.to_vec::<i32>()?, [1, 2, 3, 4, 5, 6]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn reshape(&self, shape: impl ReshapeTo) -> Tensor {
        let place = Place::caller();
        let sizes = shape.sizes();
        self.then(|x| {
            let to = infer(x.shape(), &sizes, place)?;
            reshape(&x, to, place)
        })
    }

    /// Joins dimensions `start` to the last into one.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([2, 3, 4], &dev);
    /// assert_eq!(x.flatten_from(1).shape()?, [2, 12]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn flatten_from(&self, start: isize) -> Tensor {
        self.flatten(start, -1)
    }

    /// Joins dimensions `start` to `end` (included) into one.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([2, 3, 4, 5], &dev);
    /// assert_eq!(x.flatten(1, 2).shape()?, [2, 12, 5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn flatten(&self, start: isize, end: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.shape().rank() == 0 {
                scalar_dim("flatten", start, place)?;
                scalar_dim("flatten", end, place)?;
                return reshape(&x, Shape::from(1), place);
            }
            let a = dim_of("flatten", x.shape(), start, place)?;
            let b = dim_of("flatten", x.shape(), end, place)?;
            if a > b {
                return Err(Error::value(
                    "flatten",
                    place,
                    format!("start {start} comes after end {end}"),
                ));
            }
            let mut dims = Dims::from_slice(&x.shape()[..a]);
            dims.push(x.shape()[a..=b].iter().product());
            dims.extend_from_slice(&x.shape()[b + 1..]);
            reshape(&x, Shape::from(dims), place)
        })
    }

    /// The dimensions in another order: dimension `i` of the result is `dims[i]` of this tensor.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([2, 3, 4], &dev);
    /// assert_eq!(x.permute([2, 0, 1]).shape()?, [4, 2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn permute(&self, dims: impl DimList) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let rank = x.shape().rank();
            let list = dims.list().unwrap_or_else(|| (0..rank as isize).collect());
            let mut perm: SmallVec<[usize; 6]> = SmallVec::new();
            for &dim in &list {
                let d = dim_of("permute", x.shape(), dim, place)?;
                if perm.contains(&d) {
                    return Err(Error::value(
                        "permute",
                        place,
                        format!("dimension {dim} is named twice"),
                    ));
                }
                perm.push(d);
            }
            if perm.len() != rank {
                let problem = format!("{} dimensions for shape {}", perm.len(), x.shape());
                return Err(Error::shape("permute", place, problem));
            }
            Ok(permute("permute", &x, &perm, place))
        })
    }

    /// Two dimensions exchanged.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([2, 3, 4], &dev);
    /// assert_eq!(x.transpose(0, -1).shape()?, [4, 3, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.shape().rank() == 0 {
                scalar_dim("transpose", a, place)?;
                scalar_dim("transpose", b, place)?;
                return Ok(x.into_tensor());
            }
            let a = dim_of("transpose", x.shape(), a, place)?;
            let b = dim_of("transpose", x.shape(), b, place)?;
            let mut perm: SmallVec<[usize; 6]> = (0..x.shape().rank()).collect();
            perm.swap(a, b);
            Ok(permute("transpose", &x, &perm, place))
        })
    }

    /// The transpose of a matrix; vectors and scalars stay.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2, 3]], &dev).t();
    /// assert_eq!(x.shape()?, [3, 1]);
    /// assert_eq!(x.to_vec::<i32>()?, [1, 2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn t(&self) -> Tensor {
        let place = Place::caller();
        self.then(|x| match x.shape().rank() {
            0 | 1 => Ok(x.into_tensor()),
            2 => Ok(permute("t", &x, &[1, 0], place)),
            _ => Err(Error::shape(
                "t",
                place,
                format!("shape {} is not a matrix; use transpose", x.shape()),
            )),
        })
    }

    /// Broadcasts to `shape` without copying; -1 keeps a size.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1], [2]], &dev).expand([2, 3]);
    /// assert_eq!(x.to_vec::<i32>()?, [1, 1, 1, 2, 2, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn expand(&self, shape: impl ReshapeTo) -> Tensor {
        let place = Place::caller();
        let sizes = shape.sizes();
        self.then(|x| {
            let wrong = || {
                Error::shape(
                    "expand",
                    place,
                    format!("shape {} does not expand to {sizes:?}", x.shape()),
                )
            };
            let pad = sizes
                .len()
                .checked_sub(x.shape().rank())
                .ok_or_else(wrong)?;
            let mut to = Dims::new();
            for (i, &size) in sizes.iter().enumerate() {
                to.push(match size {
                    -1 if i >= pad => x.shape()[i - pad],
                    s => usize::try_from(s).map_err(|_| wrong())?,
                });
            }
            expand(&x, &Shape::from(to), place).ok_or_else(wrong)
        })
    }

    /// Drops dimension `dim` if its size is 1.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([2, 1, 3], &dev);
    /// assert_eq!(x.squeeze(1).shape()?, [2, 3]);
    /// assert_eq!(x.squeeze(0).shape()?, [2, 1, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn squeeze(&self, dim: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.shape().rank() == 0 {
                scalar_dim("squeeze", dim, place)?;
                return Ok(x.into_tensor());
            }
            let d = dim_of("squeeze", x.shape(), dim, place)?;
            if x.shape()[d] != 1 {
                return Ok(x.into_tensor());
            }
            let layout = x.layout().remove(d);
            Ok(view("squeeze", &x, layout, place, move |g| {
                g.unsqueeze(d as isize)
            }))
        })
    }

    /// Puts in a dimension of size 1 at `dim` (negative ones count from the end of the result).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([2, 3], &dev);
    /// assert_eq!(x.unsqueeze(1).shape()?, [2, 1, 3]);
    /// assert_eq!(x.unsqueeze(-1).shape()?, [2, 3, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn unsqueeze(&self, dim: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let rank = x.shape().rank() as isize + 1;
            let d = if dim < 0 { dim + rank } else { dim };
            if !(0..rank).contains(&d) {
                return Err(Error::DimOutOfRange {
                    op: "unsqueeze",
                    dim,
                    shape: x.shape().clone(),
                    place,
                });
            }
            let layout = x.layout().insert(d as usize);
            Ok(view("unsqueeze", &x, layout, place, move |g| g.squeeze(d)))
        })
    }

    /// The tensor with its elements in row-major order; itself if they are.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev).t();
    /// assert!(!x.is_contiguous()?);
    /// assert!(x.contiguous().is_contiguous()?);
    /// assert_eq!(x.contiguous().to_vec::<i32>()?, [1, 3, 2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn contiguous(&self) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.layout().is_contiguous() {
                return Ok(x.into_tensor());
            }
            let y = copy(&x, place)?;
            if !autograd::tracks(&[&x]) {
                return Ok(y.into_tensor());
            }
            Ok(autograd::track(
                "contiguous",
                y,
                &[&x],
                Saves::default(),
                place,
                |c| SmallVec::from_iter([Some(c.grad.clone())]),
            ))
        })
    }

    /// Whether the elements lie in row-major order without gaps.
    ///
    /// # Errors
    /// A failed tensor's error.
    pub fn is_contiguous(&self) -> Result<bool> {
        Ok(self.capture()?.layout().is_contiguous())
    }
}

impl AsRef<Tensor> for Tensor {
    fn as_ref(&self) -> &Tensor {
        self
    }
}

/// The shape that `sizes` mean for a tensor of shape `from`.
fn infer(from: &Shape, sizes: &[isize], place: Place) -> Result<Shape> {
    let wrong = || {
        Error::shape(
            "reshape",
            place,
            format!("shape {from} does not become {sizes:?}"),
        )
    };
    let mut dims = Dims::new();
    let mut open = None;
    for (i, &size) in sizes.iter().enumerate() {
        if size == -1 {
            if open.replace(i).is_some() {
                return Err(Error::shape(
                    "reshape",
                    place,
                    format!("more than one -1 in {sizes:?}"),
                ));
            }
            dims.push(1);
        } else {
            dims.push(usize::try_from(size).map_err(|_| wrong())?);
        }
    }
    let known = Shape::new(&dims).checked_numel().ok_or_else(wrong)?;
    if let Some(i) = open {
        if known == 0 || !from.numel().is_multiple_of(known) {
            return Err(wrong());
        }
        dims[i] = from.numel() / known;
    } else if known != from.numel() {
        return Err(wrong());
    }
    Ok(Shape::from(dims))
}

pub(crate) fn reshape(x: &Value, to: Shape, place: Place) -> Result<Tensor> {
    if *x.shape() == to {
        return Ok(x.clone().into_tensor());
    }
    let from = x.shape().clone();
    match x.layout().reshape(&to) {
        Some(layout) => Ok(view("reshape", x, layout, place, move |g| g.reshape(&from))),
        None => {
            let x = place
                .within(|| x.clone().into_tensor().contiguous())
                .capture()?;
            let layout = Layout {
                offset: x.layout().offset,
                ..Layout::contiguous(to)
            };
            Ok(view("reshape", &x, layout, place, move |g| {
                g.reshape(&from)
            }))
        }
    }
}

pub(crate) fn permute(name: &'static str, x: &Value, perm: &[usize], place: Place) -> Tensor {
    let mut inverse: SmallVec<[isize; 6]> = SmallVec::from_elem(0, perm.len());
    for (i, &d) in perm.iter().enumerate() {
        inverse[d] = i as isize;
    }
    view(name, x, x.layout().permute(perm), place, move |g| {
        g.permute(&inverse[..])
    })
}

pub(crate) fn expand(x: &Value, to: &Shape, place: Place) -> Option<Tensor> {
    if x.shape() == to {
        return Some(x.clone().into_tensor());
    }
    let layout = x.layout().expand(to)?;
    let from = x.shape().clone();
    Some(view("expand", x, layout, place, move |g| g.sum_to(&from)))
}

/// A constant as a node that a structured kernel can read.
pub(crate) fn materialized(x: &Value, place: Place) -> Result<Value> {
    let Some(constant) = x.node.constant else {
        return Ok(x.clone());
    };
    let inputs = [crate::record::node::Source::Scalar(
        constant.value,
        x.dtype().compute(),
    )]
    .into_iter()
    .collect();
    let mut y = map(
        "full",
        MapOp::Copy,
        &x.node.device,
        inputs,
        x.shape(),
        x.dtype(),
        place,
    )?;
    y.history = x.history.clone();
    Ok(y)
}
