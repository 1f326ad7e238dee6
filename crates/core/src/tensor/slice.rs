//! Parts of tensors by ranges, and how ranges are written.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo};

use smallvec::{SmallVec, smallvec};

use crate::ops::elementwise::cast;
use crate::ops::place::lay;
use crate::tensor::views::dim_of;
use crate::tensor::{Tensor, Value, same_device, view};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::layout::Layout;
use crate::types::shape::{Dims, Shape};

impl Tensor {
    /// Part of the tensor: a range per dimension, trailing ones may be left out.
    /// `x.slice((.., 1..4))`, `x.slice(s(1..9).step(2))`, `x.slice(-3..)`. Negative numbers count from the
    /// end. Ranges must lie within the sizes.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2, 3], [4, 5, 6]], &dev);
    /// assert_eq!(x.slice((.., 1..)).to_vec::<i32>()?, [2, 3, 5, 6]);
    /// assert_eq!(x.slice((1.., s(..).step(2))).to_vec::<i32>()?, [4, 6]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn slice(&self, ranges: impl SliceList) -> Tensor {
        let place = Place::caller();
        let ranges = ranges.list();
        self.then(|x| {
            if ranges.len() > x.shape().rank() {
                let problem = format!("{} ranges for shape {}", ranges.len(), x.shape());
                return Err(Error::shape("slice", place, problem));
            }
            let mut layout = x.layout().clone();
            let mut start: Dims = SmallVec::from_elem(0, x.shape().rank());
            let mut step: Dims = SmallVec::from_elem(1, x.shape().rank());
            for (d, slice) in ranges.iter().enumerate() {
                let (begin, end, by) = slice.within("slice", x.shape(), d, place)?;
                layout = layout.slice(d, begin, (end - begin).div_ceil(by), by);
                (start[d], step[d]) = (begin, by);
            }
            Ok(slice_view("slice", &x, layout, start, step, place))
        })
    }

    /// `len` elements of dimension `dim` from `start`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2, 3], [4, 5, 6]], &dev);
    /// assert_eq!(x.narrow(1, 1, 2).to_vec::<i32>()?, [2, 3, 5, 6]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn narrow(&self, dim: isize, start: usize, len: usize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let d = dim_of("narrow", x.shape(), dim, place)?;
            narrow("narrow", &x, d, start, len, place)
        })
    }

    /// The elements at position `index` of dimension `dim`, which goes away. Negative positions count from
    /// the end.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev);
    /// assert_eq!(x.select(0, 1).to_vec::<i32>()?, [3, 4]);
    /// assert_eq!(x.select(1, -1).to_vec::<i32>()?, [2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn select(&self, dim: isize, index: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let d = dim_of("select", x.shape(), dim, place)?;
            let at = position("select", x.shape()[d], index, place)?;
            let part = narrow("select", &x, d, at, 1, place)?;
            Ok(place.within(|| part.squeeze(d as isize)))
        })
    }

    /// This tensor with `source` at position `index` of dimension `dim`. `torch.select_scatter`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev);
    /// let y = x.select_scatter(&Tensor::new([8, 9], &dev), 1, 0);
    /// assert_eq!(y.to_vec::<i32>()?, [8, 2, 9, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn select_scatter(&self, source: &Tensor, dim: isize, index: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let d = dim_of("select_scatter", x.shape(), dim, place)?;
            let at = position("select_scatter", x.shape()[d], index, place)?;
            let source = place.within(|| source.unsqueeze(d as isize));
            laid_over("select_scatter", &x, &source, d, (at, at + 1, 1), place)
        })
    }

    /// This tensor with `source` over the range `slice` of dimension `dim`. `torch.slice_scatter`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([5], &dev);
    /// let y = x.slice_scatter(&Tensor::ones([2], &dev), 0, s(1..5).step(2));
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 1.0, 0.0, 1.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn slice_scatter(&self, source: &Tensor, dim: isize, slice: impl Into<Slice>) -> Tensor {
        let place = Place::caller();
        let slice = slice.into();
        self.then(|x| {
            let d = dim_of("slice_scatter", x.shape(), dim, place)?;
            let range = slice.within("slice_scatter", x.shape(), d, place)?;
            laid_over("slice_scatter", &x, source, d, range, place)
        })
    }
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
    let mut starts: Dims = SmallVec::from_elem(0, x.shape().rank());
    starts[d] = start;
    let step = SmallVec::from_elem(1, x.shape().rank());
    Ok(slice_view(
        name,
        x,
        x.layout().slice(d, start, len, 1),
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
    start: Dims,
    step: Dims,
    place: Place,
) -> Tensor {
    let from = x.shape().clone();
    view(name, x, layout, place, move |g| {
        lay(g, &from, &start, &step)
    })
}

/// `index` as a position in a dimension of `size`.
pub(crate) fn position(op: &'static str, size: usize, index: isize, place: Place) -> Result<usize> {
    let at = match index {
        ..0 => index.checked_add_unsigned(size),
        at => Some(at),
    };
    match at.and_then(|at| usize::try_from(at).ok()) {
        Some(at) if at < size => Ok(at),
        _ => Err(Error::IndexOutOfRange {
            op,
            index: index as i64,
            size,
            place,
        }),
    }
}

/// `x` with `source` over the elements `start, start + step, ..` before `end` of dimension `d`.
fn laid_over(
    op: &'static str,
    x: &Value,
    source: &Tensor,
    d: usize,
    (start, end, step): (usize, usize, usize),
    place: Place,
) -> Result<Tensor> {
    let source = cast(&source.capture()?, x.dtype(), place)?;
    same_device(op, x, &source, place)?;
    let mut dims = Dims::from_slice(x.shape());
    let size = dims[d];
    dims[d] = (end - start).div_ceil(step);
    if dims[..] != source.shape()[..] {
        let problem = format!("shape {} for a part of shape {:?}", source.shape(), dims);
        return Err(Error::shape(op, place, problem));
    }
    let rank = dims.len();
    let (mut first, mut steps): (Dims, Dims) = (smallvec![0; rank], smallvec![1; rank]);
    (first[d], steps[d]) = (start, step);
    place.within(|| {
        let ones = Tensor::ones([dims[d]], (DType::Bool, &x.node.device));
        let inside = lay(&ones, &Shape::from(size), &[start], &[step]);
        let mut along = vec![1; rank];
        along[d] = size;
        let laid = lay(&source.into_tensor(), x.shape(), &first, &steps);
        inside
            .reshape(along)
            .where_cond(laid, x.clone().into_tensor())
            .checked()
    })
}

/// A range with a step: `s(1..9).step(2)`. Negative numbers count from the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    start: isize,
    end: Option<isize>,
    step: usize,
}

impl Slice {
    /// Every `step`-th element of the range.
    pub fn step(self, step: usize) -> Slice {
        Slice { step, ..self }
    }

    /// First position, end and step within dimension `d` of `shape`.
    pub(crate) fn within(
        &self,
        op: &'static str,
        shape: &Shape,
        d: usize,
        place: Place,
    ) -> Result<(usize, usize, usize)> {
        let size = shape[d];
        let at = |at: isize| match at {
            ..0 => at.checked_add_unsigned(size),
            at => Some(at),
        };
        let at = |number: isize| at(number).and_then(|at| usize::try_from(at).ok());
        let range = (at(self.start), self.end.map_or(Some(size), at));
        match range {
            (Some(start), Some(end)) if start <= end && end <= size && self.step > 0 => {
                Ok((start, end, self.step))
            }
            _ => {
                let end = self.end.map(|end| end.to_string()).unwrap_or_default();
                let problem = format!(
                    "range {}..{end} with step {} does not lie in dimension {d} of shape {shape}",
                    self.start, self.step,
                );
                Err(Error::shape(op, place, problem))
            }
        }
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

macro_rules! ranges {
    ($($t:ty),*) => { $(
        impl From<Range<$t>> for Slice {
            fn from(r: Range<$t>) -> Slice {
                Slice { start: number(r.start), end: Some(number(r.end)), step: 1 }
            }
        }
        impl From<RangeInclusive<$t>> for Slice {
            fn from(r: RangeInclusive<$t>) -> Slice {
                // The end of `..=-1` is that of the dimension.
                let end = number(*r.end()).saturating_add(1);
                let end = (end != 0 || number(*r.end()) >= 0).then_some(end);
                Slice { start: number(*r.start()), end, step: 1 }
            }
        }
        impl From<RangeFrom<$t>> for Slice {
            fn from(r: RangeFrom<$t>) -> Slice {
                Slice { start: number(r.start), end: None, step: 1 }
            }
        }
        impl From<RangeTo<$t>> for Slice {
            fn from(r: RangeTo<$t>) -> Slice {
                Slice { start: 0, end: Some(number(r.end)), step: 1 }
            }
        }
    )* };
}
ranges!(usize, isize, i32, i64);

/// A bound; one that is too large for any dimension stays so.
fn number(bound: impl TryInto<isize>) -> isize {
    bound.try_into().unwrap_or(isize::MAX)
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
slice_lists!(one Slice, RangeFull);
macro_rules! range_lists {
    ($($t:ty),*) => {
        slice_lists!(one $(Range<$t>, RangeFrom<$t>, RangeInclusive<$t>, RangeTo<$t>),*);
    };
}
range_lists!(usize, isize, i32, i64);
slice_lists! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
}
