//! Operations that move no data, and the copies, joins and splits beside them.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo};

use smallvec::SmallVec;

use crate::autograd::{self, Grads, Saves};
use crate::dtype::DType;
use crate::elementwise::{cast, map};
use crate::error::{Error, Place, Result};
use crate::layout::Layout;
use crate::node::Op;
use crate::program::MapOp;
use crate::shape::{DimList, Dims, ReshapeTo, Shape};
use crate::tensor::{Tensor, Value, record, same_device, view};

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
    #[track_caller]
    pub fn flatten_from(&self, start: isize) -> Tensor {
        self.flatten(start, -1)
    }

    /// Joins dimensions `start` to `end` (included) into one.
    #[track_caller]
    pub fn flatten(&self, start: isize, end: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.shape().rank() == 0 {
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
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.shape().rank() == 0 {
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
    #[track_caller]
    pub fn squeeze(&self, dim: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.shape().rank() == 0 {
                return Ok(x.into_tensor());
            }
            let d = dim_of("squeeze", x.shape(), dim, place)?;
            if x.shape()[d] != 1 {
                return Ok(x.into_tensor());
            }
            let layout = x.layout.remove(d);
            Ok(view("squeeze", &x, layout, place, move |g| {
                g.unsqueeze(d as isize)
            }))
        })
    }

    /// Puts in a dimension of size 1 at `dim` (negative ones count from the end of the result).
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
            let layout = x.layout.insert(d as usize);
            Ok(view("unsqueeze", &x, layout, place, move |g| g.squeeze(d)))
        })
    }

    /// Part of the tensor: a range per dimension, trailing ones may be left out.
    /// `x.slice((.., 1..4))`, `x.slice(s(1..9).step(2))`. Ranges must lie within the sizes.
    #[track_caller]
    pub fn slice(&self, ranges: impl SliceList) -> Tensor {
        let place = Place::caller();
        let ranges = ranges.list();
        self.then(|x| {
            if ranges.len() > x.shape().rank() {
                let problem = format!("{} ranges for shape {}", ranges.len(), x.shape());
                return Err(Error::shape("slice", place, problem));
            }
            let mut layout = x.layout.clone();
            let mut start: SmallVec<[usize; 6]> = SmallVec::from_elem(0, x.shape().rank());
            let mut step: SmallVec<[usize; 6]> = SmallVec::from_elem(1, x.shape().rank());
            for (d, slice) in ranges.iter().enumerate() {
                let size = x.shape()[d];
                let end = slice.end.unwrap_or(size);
                if slice.start > end || end > size || slice.step == 0 {
                    let problem = format!(
                        "range {}..{end} with step {} does not lie in dimension {d} of shape {}",
                        slice.start,
                        slice.step,
                        x.shape()
                    );
                    return Err(Error::shape("slice", place, problem));
                }
                let len = (end - slice.start).div_ceil(slice.step);
                layout = layout.slice(d, slice.start, len, slice.step);
                (start[d], step[d]) = (slice.start, slice.step);
            }
            Ok(slice_view("slice", &x, layout, start, step, place))
        })
    }

    /// `len` elements of dimension `dim` from `start`.
    #[track_caller]
    pub fn narrow(&self, dim: isize, start: usize, len: usize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let d = dim_of("narrow", x.shape(), dim, place)?;
            narrow("narrow", &x, d, start, len, place)
        })
    }

    /// The elements at position `index` of dimension `dim`, which goes away.
    #[track_caller]
    pub fn select(&self, dim: isize, index: usize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let d = dim_of("select", x.shape(), dim, place)?;
            if index >= x.shape()[d] {
                return Err(Error::IndexOutOfRange {
                    op: "select",
                    index: index as i64,
                    size: x.shape()[d],
                    place,
                });
            }
            let part = narrow("select", &x, d, index, 1, place)?;
            Ok(place.hold(|| part.squeeze(d as isize)))
        })
    }

    /// The tensor in `n` parts along `dim`, the last ones smaller or missing where it does not
    /// divide (as torch). A failed tensor gives one failed part.
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
            Ok(size) => place.hold(|| self.split(size.div_ceil(n), dim)),
        }
    }

    /// The tensor in parts of `size` along `dim`, the last one possibly smaller.
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
            Ok(total) => place.hold(|| {
                let part = |start| self.narrow(dim, start, size.min(total - start));
                (0..total.max(1)).step_by(size).map(part).collect()
            }),
        }
    }

    /// The tensors one after the other along `dim`. Types promote; sizes agree in the other
    /// dimensions.
    #[track_caller]
    pub fn cat(tensors: &[impl AsRef<Tensor>], dim: isize) -> Tensor {
        let place = Place::caller();
        let tensors: Vec<&Tensor> = tensors.iter().map(AsRef::as_ref).collect();
        match tensors.first() {
            Some(first) => Tensor::or_fail(first.device(), cat(&tensors, dim, place)),
            None => {
                let error = Error::value("cat", place, "no tensors to join");
                Tensor::fail(&crate::device::Device::failed(error.clone()), error)
            }
        }
    }

    /// The tensors, all of one shape, along a new dimension `dim`.
    #[track_caller]
    pub fn stack(tensors: &[impl AsRef<Tensor>], dim: isize) -> Tensor {
        let place = Place::caller();
        place.hold(|| {
            let parts: Vec<Tensor> = tensors.iter().map(|t| t.as_ref().unsqueeze(dim)).collect();
            Tensor::cat(&parts, dim)
        })
    }

    /// The tensor with its elements in row-major order; itself if they are.
    #[track_caller]
    pub fn contiguous(&self) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.layout.is_contiguous() {
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
        Ok(self.capture()?.layout.is_contiguous())
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
    match x.layout.reshape(&to) {
        Some(layout) => Ok(view("reshape", x, layout, place, move |g| g.reshape(&from))),
        None => {
            let x = place
                .hold(|| x.clone().into_tensor().contiguous())
                .capture()?;
            let layout = Layout {
                offset: x.layout.offset,
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
    view(name, x, x.layout.permute(perm), place, move |g| {
        g.permute(&inverse[..])
    })
}

pub(crate) fn expand(x: &Value, to: &Shape, place: Place) -> Option<Tensor> {
    if x.shape() == to {
        return Some(x.clone().into_tensor());
    }
    let layout = x.layout.expand(to)?;
    let from = x.shape().clone();
    Some(view("expand", x, layout, place, move |g| g.sum_to(&from)))
}

fn narrow(
    name: &'static str,
    x: &Value,
    d: usize,
    start: usize,
    len: usize,
    place: Place,
) -> Result<Tensor> {
    let size = x.shape()[d];
    if start.checked_add(len).is_none_or(|end| end > size) {
        let problem = format!(
            "{len} elements from {start} do not lie in dimension {d} of shape {}",
            x.shape()
        );
        return Err(Error::shape(name, place, problem));
    }
    let mut starts: SmallVec<[usize; 6]> = SmallVec::from_elem(0, x.shape().rank());
    starts[d] = start;
    let step = SmallVec::from_elem(1, x.shape().rank());
    Ok(slice_view(
        name,
        x,
        x.layout.slice(d, start, len, 1),
        starts,
        step,
        place,
    ))
}

/// A slice, whose derivative lays the gradient into zeros.
fn slice_view(
    name: &'static str,
    x: &Value,
    layout: Layout,
    start: SmallVec<[usize; 6]>,
    step: SmallVec<[usize; 6]>,
    place: Place,
) -> Tensor {
    let from = x.shape().clone();
    view(name, x, layout, place, move |g| {
        let place = Place::caller();
        g.then(|g| lay(&g, &from, &start, &step, place))
    })
}

/// `x` laid into zeros of shape `to`: the derivative of slicing, whose own derivative is slicing.
fn lay(x: &Value, to: &Shape, start: &[usize], step: &[usize], place: Place) -> Result<Tensor> {
    let op = Op::Place {
        start: SmallVec::from_slice(start),
        step: SmallVec::from_slice(step),
    };
    let x = match x.node.constant {
        Some(_) => materialized(x, place)?,
        None => x.clone(),
    };
    let inputs = [x.source()].into_iter().collect();
    let y = record(
        "slice",
        &x.node.device,
        op,
        inputs,
        to.clone(),
        x.dtype(),
        place,
    )?;
    if !autograd::tracks(&[&x]) {
        return Ok(y.into_tensor());
    }
    let slices: SmallVec<[Slice; 6]> = (0..to.rank())
        .map(|d| Slice {
            start: start[d],
            end: Some(
                (start[d] + x.shape()[d].saturating_sub(1) * step[d] + x.shape()[d].min(1))
                    .min(to[d]),
            ),
            step: step[d],
        })
        .collect();
    Ok(autograd::track(
        "slice",
        y,
        &[&x],
        Saves::default(),
        place,
        move |c| SmallVec::from_iter([Some(c.grad.slice(&slices[..]))]),
    ))
}

/// A constant as a node that a structured kernel can read.
pub(crate) fn materialized(x: &Value, place: Place) -> Result<Value> {
    let Some(constant) = x.node.constant else {
        return Ok(x.clone());
    };
    let inputs = [crate::node::Source::Scalar(constant, x.dtype().compute())]
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

/// Most tensors that one kernel joins; more are joined in steps.
const CAT_INPUTS: usize = 6;

fn cat(tensors: &[&Tensor], dim: isize, place: Place) -> Result<Tensor> {
    let mut values = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        values.push(tensor.capture()?);
    }
    // Torch skips tensors of shape [0] whatever the others' rank.
    if values
        .iter()
        .any(|v| v.shape().rank() != 1 || v.shape()[0] != 0)
    {
        values.retain(|v| v.shape().rank() != 1 || v.shape()[0] != 0);
    }
    let Some(first) = values.first().cloned() else {
        return Err(Error::value("cat", place, "no tensors to join"));
    };
    let d = dim_of("cat", first.shape(), dim, place)?;
    let mut dtype = first.dtype();
    for v in &values[1..] {
        same_device("cat", &first, v, place)?;
        let fits = v.shape().rank() == first.shape().rank()
            && (0..first.shape().rank()).all(|i| i == d || v.shape()[i] == first.shape()[i]);
        if !fits {
            let problem = format!(
                "shapes {} and {} do not join along dimension {d}",
                first.shape(),
                v.shape()
            );
            return Err(Error::shape("cat", place, problem));
        }
        dtype = dtype.promote(v.dtype());
    }
    let values: Vec<Value> = values
        .iter()
        .map(|v| materialized(&cast(v, dtype, place)?, place))
        .collect::<Result<_>>()?;
    let mut parts = values;
    while parts.len() > CAT_INPUTS {
        parts = parts
            .chunks(CAT_INPUTS)
            .map(|chunk| join(chunk, d, dtype, place).and_then(|t| t.capture()))
            .collect::<Result<_>>()?;
    }
    join(&parts, d, dtype, place)
}

fn join(values: &[Value], d: usize, dtype: DType, place: Place) -> Result<Tensor> {
    if let [one] = values {
        return Ok(one.clone().into_tensor());
    }
    let mut dims = Dims::from_slice(values[0].shape());
    dims[d] = values.iter().map(|v| v.shape()[d]).sum();
    let inputs = values.iter().map(Value::source).collect();
    let device = &values[0].node.device;
    let y = record(
        "cat",
        device,
        Op::Concat { dim: d },
        inputs,
        Shape::from(dims),
        dtype,
        place,
    )?;
    let operands: Vec<&Value> = values.iter().collect();
    if !autograd::tracks(&operands) {
        return Ok(y.into_tensor());
    }
    let sizes: Vec<usize> = values.iter().map(|v| v.shape()[d]).collect();
    Ok(autograd::track(
        "cat",
        y,
        &operands,
        Saves::default(),
        place,
        move |c| {
            let mut start = 0;
            let mut grads = Grads::new();
            for (&size, &needed) in sizes.iter().zip(c.needs) {
                grads.push(needed.then(|| c.grad.narrow(d as isize, start, size)));
                start += size;
            }
            grads
        },
    ))
}

/// A range with a step: `s(1..9).step(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    start: usize,
    end: Option<usize>,
    step: usize,
}

impl Slice {
    /// Every `step`-th element of the range.
    pub fn step(self, step: usize) -> Slice {
        Slice { step, ..self }
    }
}

/// A range of one dimension, to put a step on.
pub fn s(range: impl Into<Slice>) -> Slice {
    range.into()
}

impl From<RangeFull> for Slice {
    fn from(_: RangeFull) -> Slice {
        Slice {
            start: 0,
            end: None,
            step: 1,
        }
    }
}

impl From<Range<usize>> for Slice {
    fn from(r: Range<usize>) -> Slice {
        Slice {
            start: r.start,
            end: Some(r.end),
            step: 1,
        }
    }
}

impl From<RangeInclusive<usize>> for Slice {
    fn from(r: RangeInclusive<usize>) -> Slice {
        Slice {
            start: *r.start(),
            end: Some(r.end().saturating_add(1)),
            step: 1,
        }
    }
}

impl From<RangeFrom<usize>> for Slice {
    fn from(r: RangeFrom<usize>) -> Slice {
        Slice {
            start: r.start,
            end: None,
            step: 1,
        }
    }
}

impl From<RangeTo<usize>> for Slice {
    fn from(r: RangeTo<usize>) -> Slice {
        Slice {
            start: 0,
            end: Some(r.end),
            step: 1,
        }
    }
}

/// What [`Tensor::slice`] accepts: one range, or a tuple or slice of them.
pub trait SliceList {
    /// The ranges, one per leading dimension.
    fn list(&self) -> SmallVec<[Slice; 6]>;
}

impl SliceList for &[Slice] {
    fn list(&self) -> SmallVec<[Slice; 6]> {
        SmallVec::from_slice(self)
    }
}

macro_rules! slice_lists {
    (one $($t:ty),*) => { $(impl SliceList for $t {
        fn list(&self) -> SmallVec<[Slice; 6]> { SmallVec::from_iter([self.clone().into()]) }
    })* };
    ($(($($t:ident $i:tt),+);)*) => { $(impl<$($t: Into<Slice> + Clone),+> SliceList for ($($t,)+) {
        fn list(&self) -> SmallVec<[Slice; 6]> { SmallVec::from_iter([$(self.$i.clone().into()),+]) }
    })* };
}
slice_lists!(one Slice, RangeFull, Range<usize>, RangeInclusive<usize>, RangeFrom<usize>, RangeTo<usize>);
slice_lists! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
}
