//! Reductions: sums, means, extrema and where they are.

use smallvec::SmallVec;

use crate::autograd::{self, Saves};
use crate::kernel::ReduceOp;
use crate::ops::elementwise::cast;
use crate::record::node::{Op, View};
use crate::tensor::views::{dims_of, materialized};
use crate::tensor::{Tensor, Value, record};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::layout::Layout;
use crate::types::shape::{DimList, Dims, Shape};

impl Tensor {
    /// The sum of all elements. Sums of bools, `u8` and `i32` are `i32` and wrap; sums of `u32` are
    /// `i64`, and on a device without it `u32`, where they wrap too.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([[1, 2], [3, 4]], &dev).sum().item::<i32>()?, 10);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sum(&self) -> Tensor {
        self.sum_dims(.., false)
    }

    /// The sum over `dims`, which go away unless `keepdim`. An empty list means all dimensions, as in
    /// torch; so it does in `mean_dims`, `max_dims` and `min_dims`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev);
    /// assert_eq!(x.sum_dims([0], false).to_vec::<i32>()?, [4, 6]);
    /// assert_eq!(x.sum_dims([0], true).shape()?, [1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sum_dims(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        let place = Place::caller();
        self.widened().then(|x| {
            let dims = dims_or_all("sum", x.shape(), &dims, place)?;
            sum(&x, &dims, keepdim, place)
        })
    }

    /// The mean of all elements; of none it is NaN.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([1.0, 2.0, 6.0], &dev).mean().item::<f32>()?, 3.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn mean(&self) -> Tensor {
        self.mean_dims(.., false)
    }

    /// The mean over `dims`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 3.0], [5.0, 9.0]], &dev);
    /// assert_eq!(x.mean_dims([1], false).to_vec::<f32>()?, [2.0, 7.0]);
    /// assert_eq!(x.mean_dims([1], true).shape()?, [2, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn mean_dims(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let list = dims_or_all("mean", x.shape(), &dims, place)?;
            let n: f64 = list.iter().map(|&d| x.shape()[d] as f64).product();
            let dtype = match x.dtype() {
                float if float.is_float() => float,
                _ => DType::F32,
            };
            // In the compute type until the end: the sum may be beyond the range of f16.
            let x = cast(&x, dtype.compute(), place)?;
            let total = sum(&x, &list, keepdim, place)?;
            // 0 / 0 for the mean of nothing.
            Ok(place.within(|| (total / n).to_dtype(dtype)))
        })
    }

    /// The largest element; NaN wins. Tied elements share the gradient.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([[1, 5], [7, 3]], &dev).max().item::<i32>()?, 7);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max(&self) -> Tensor {
        self.max_dims(.., false)
    }

    /// The largest over `dims`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 5], [7, 3]], &dev);
    /// assert_eq!(x.max_dims([0], false).to_vec::<i32>()?, [7, 5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max_dims(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let dims = dims_or_all("max", x.shape(), &dims, place)?;
            extremum("max", ReduceOp::Max, &x, &dims, keepdim, place)
        })
    }

    /// The smallest element; NaN wins. Tied elements share the gradient.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([[4, 5], [1, 3]], &dev).min().item::<i32>()?, 1);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn min(&self) -> Tensor {
        self.min_dims(.., false)
    }

    /// The smallest over `dims`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 5], [7, 3]], &dev);
    /// assert_eq!(x.min_dims([0], false).to_vec::<i32>()?, [1, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn min_dims(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let dims = dims_or_all("min", x.shape(), &dims, place)?;
            extremum("min", ReduceOp::Min, &x, &dims, keepdim, place)
        })
    }

    /// The position of the first largest element along `dims`, as `i32`: `x.argmax(1, false)`, or
    /// `x.argmax(.., false)` for the position in the whole tensor. Over several dimensions it counts
    /// row-major within them; NaN wins.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 5.0, 5.0], [7.0, 3.0, 0.0]], &dev);
    /// assert_eq!(x.argmax([1], false).to_vec::<i32>()?, [1, 0]);
    /// assert_eq!(x.argmax(.., false).item::<i32>()?, 3);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn argmax(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        let place = Place::caller();
        self.then(|x| position("argmax", ReduceOp::ArgMax, &x, &dims, keepdim, place))
    }

    /// The position of the first smallest element, as [`Tensor::argmax`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 5.0, 1.0], [7.0, 3.0, 0.0]], &dev);
    /// assert_eq!(x.argmin([1], false).to_vec::<i32>()?, [0, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn argmin(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        let place = Place::caller();
        self.then(|x| position("argmin", ReduceOp::ArgMin, &x, &dims, keepdim, place))
    }

    /// Whether any element is true (not 0).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert!(Tensor::new([0, 2], &dev).any().item::<bool>()?);
    /// assert!(!Tensor::new([0, 0], &dev).any().item::<bool>()?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn any(&self) -> Tensor {
        self.any_dims(.., false)
    }

    /// Whether any element along `dims` is true.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[true, false], [false, false]], &dev);
    /// assert_eq!(x.any_dims([1], false).to_vec::<bool>()?, [true, false]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn any_dims(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        truth("any", ReduceOp::Any, self, &dims, keepdim, Place::caller())
    }

    /// Whether all elements are true (not 0).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert!(Tensor::new([1, 2], &dev).all().item::<bool>()?);
    /// assert!(!Tensor::new([1, 0], &dev).all().item::<bool>()?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn all(&self) -> Tensor {
        self.all_dims(.., false)
    }

    /// Whether all elements along `dims` are true.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[true, false], [true, true]], &dev);
    /// assert_eq!(x.all_dims([1], false).to_vec::<bool>()?, [false, true]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn all_dims(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        truth("all", ReduceOp::All, self, &dims, keepdim, Place::caller())
    }

    /// Sums over the dimensions that broadcasting to this tensor's shape from `shape` added.
    pub(crate) fn sum_to(&self, shape: &Shape) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.shape() == shape {
                return Ok(x.into_tensor());
            }
            let pad = x.shape().rank().saturating_sub(shape.rank());
            let dims: SmallVec<[usize; 6]> = (0..x.shape().rank())
                .filter(|&d| d < pad || (shape[d - pad] == 1 && x.shape()[d] != 1))
                .collect();
            let total = sum(&x, &dims, true, place)?;
            Ok(total.reshape(shape))
        })
    }
}

/// The dimensions of a list, ascending; all of them for `..` and for an empty list.
pub(super) fn dims_or_all(
    name: &'static str,
    shape: &Shape,
    dims: &impl DimList,
    place: Place,
) -> Result<SmallVec<[usize; 6]>> {
    let list = dims_of(name, shape, dims, place)?;
    Ok(match list.is_empty() {
        true => (0..shape.rank()).collect(),
        false => list,
    })
}

/// Records a reduction of `dims` (ascending).
pub(super) fn reduce(
    name: &'static str,
    op: ReduceOp,
    x: &Value,
    dims: &[usize],
    result: DType,
    place: Place,
) -> Result<Value> {
    let rank = x.shape().rank();
    if rank > u8::MAX as usize {
        return Err(Error::shape(
            name,
            place,
            format!("rank {rank} is above 255"),
        ));
    }
    let kept = (0..rank).filter(|d| !dims.contains(d));
    let perm: SmallVec<[usize; 6]> = kept.chain(dims.iter().copied()).collect();
    let layout = x.layout().permute(&perm);
    let shape: Shape = layout.shape[..rank - dims.len()].iter().copied().collect();
    let op = Op::Reduce {
        op,
        reduced: dims.len(),
        perm: perm.iter().map(|&d| d as u8).collect(),
    };
    let inputs = [x.source_as(layout)].into_iter().collect();
    record(name, &x.node.device, op, inputs, shape, result, place)
}

/// The result with the reduced dimensions put back as 1, where wanted.
pub(super) fn keep(y: Value, x: &Shape, dims: &[usize], keepdim: bool) -> Value {
    if !keepdim {
        return y;
    }
    let layout = Layout::contiguous(kept_shape(x, dims));
    Value {
        view: View::new(&y.node, layout),
        ..y
    }
}

pub(super) fn kept_shape(x: &Shape, dims: &[usize]) -> Shape {
    let mut shape = Dims::from_slice(x);
    for &d in dims {
        shape[d] = 1;
    }
    Shape::from(shape)
}

pub(crate) fn sum(x: &Value, dims: &[usize], keepdim: bool, place: Place) -> Result<Tensor> {
    let dtype = match x.dtype() {
        DType::Bool => DType::I32,
        narrow if narrow.is_narrow_integer() => DType::I32,
        DType::U32 if x.node.device.open()?.backend.limits().has(DType::I64) => DType::I64,
        dtype => dtype,
    };
    let x = materialized(&cast(x, dtype.compute(), place)?, place)?;
    if dims.is_empty() || dims.iter().all(|&d| x.shape()[d] == 1) {
        let shape = if keepdim {
            x.shape().clone()
        } else {
            (0..x.shape().rank())
                .filter(|d| !dims.contains(d))
                .map(|d| x.shape()[d])
                .collect()
        };
        let same = crate::tensor::views::reshape(&x, shape, place)?;
        return Ok(place.within(|| same.to_dtype(dtype)));
    }
    let y = reduce("sum", ReduceOp::Sum, &x, dims, x.dtype(), place)?;
    let y = keep(y, x.shape(), dims, keepdim);
    let y = if autograd::tracks(&[&x]) {
        let (full, kept) = (x.shape().clone(), kept_shape(x.shape(), dims));
        autograd::track("sum", y, &[&x], Saves::default(), place, move |c| {
            SmallVec::from_iter([Some(c.grad.reshape(&kept).expand(&full))])
        })
    } else {
        y.into_tensor()
    };
    Ok(place.within(|| y.to_dtype(dtype)))
}

/// The error of a choice from nothing, unless nothing is chosen.
pub(super) fn no_elements(
    name: &'static str,
    x: &Shape,
    dims: &[usize],
    place: Place,
) -> Result<()> {
    let kept_empty = (0..x.rank()).any(|d| !dims.contains(&d) && x[d] == 0);
    if dims.iter().any(|&d| x[d] == 0) && !kept_empty {
        return Err(Error::shape(
            name,
            place,
            format!("no elements to choose from in shape {x}"),
        ));
    }
    Ok(())
}

fn extremum(
    name: &'static str,
    op: ReduceOp,
    x: &Value,
    dims: &[usize],
    keepdim: bool,
    place: Place,
) -> Result<Tensor> {
    no_elements(name, x.shape(), dims, place)?;
    let dtype = x.dtype();
    let compute = match dtype {
        // Kernels store results of reductions one by one; several narrow integers share a word on a GPU.
        DType::Bool => DType::I32,
        narrow if narrow.is_narrow_integer() => DType::I32,
        dtype => dtype.compute(),
    };
    let x = materialized(&cast(x, compute, place)?, place)?;
    let y = keep(
        reduce(name, op, &x, dims, compute, place)?,
        x.shape(),
        dims,
        keepdim,
    );
    let y = if autograd::tracks(&[&x]) {
        let kept = kept_shape(x.shape(), dims);
        let dims: SmallVec<[isize; 6]> = dims.iter().map(|&d| d as isize).collect();
        let saves = Saves {
            inputs: SmallVec::from_iter([x.clone().into_tensor()]),
            output: true,
        };
        autograd::track(name, y, &[&x], saves, place, move |c| {
            let x = &c.inputs[0];
            let hit = x.eq(c.output.reshape(&kept));
            // Tied elements share, and where NaN won nobody is tied: 0 / 0. Torch's amax.
            let ties = hit.sum_dims(&dims[..], true);
            let won = hit.where_cond(c.grad.reshape(&kept), 0.0);
            SmallVec::from_iter([Some(won / ties)])
        })
    } else {
        y.into_tensor()
    };
    Ok(place.within(|| y.to_dtype(dtype)))
}

fn position(
    name: &'static str,
    op: ReduceOp,
    x: &Value,
    dims: &impl DimList,
    keepdim: bool,
    place: Place,
) -> Result<Tensor> {
    let dims = dims_of(name, x.shape(), dims, place)?;
    no_elements(name, x.shape(), &dims, place)?;
    if dims.is_empty() {
        // One element each: its position is 0.
        let zeros = Tensor::zeros(x.shape(), (DType::I32, &x.node.device));
        return zeros.checked();
    }
    let places: usize = dims.iter().fold(1, |n, &d| x.shape()[d].saturating_mul(n));
    // Positions count from 0.
    const MOST: usize = 1 << 31;
    if places > MOST {
        return Err(Error::TooLarge {
            op: name,
            shape: x.shape().clone(),
            bytes: places.saturating_mul(x.dtype().size()),
            limit: MOST.saturating_mul(x.dtype().size()),
            what: "row whose positions are i32",
            place,
        });
    }
    let compute = if x.dtype() == DType::Bool {
        DType::I32
    } else {
        x.dtype().compute()
    };
    let x = materialized(&cast(x, compute, place)?, place)?;
    let y = reduce(name, op, &x, &dims, DType::I32, place)?;
    Ok(keep(y, x.shape(), &dims, keepdim).into_tensor())
}

fn truth(
    name: &'static str,
    op: ReduceOp,
    x: &Tensor,
    dims: &impl DimList,
    keepdim: bool,
    place: Place,
) -> Tensor {
    x.then(|x| {
        let dims = dims_of(name, x.shape(), dims, place)?;
        let x = materialized(&cast(&x, DType::Bool, place)?, place)?;
        let y = reduce(name, op, &x, &dims, DType::Bool, place)?;
        Ok(keep(y, x.shape(), &dims, keepdim).into_tensor())
    })
}
