//! Parts of tensors by ranges, and how ranges are written.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo};

use smallvec::SmallVec;

use crate::ops::place::lay;
use crate::tensor::views::dim_of;
use crate::tensor::{Tensor, Value, view};
use crate::types::error::{Error, Place, Result};
use crate::types::layout::Layout;
use crate::types::shape::Dims;

impl Tensor {
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
            let mut layout = x.layout().clone();
            let mut start: Dims = SmallVec::from_elem(0, x.shape().rank());
            let mut step: Dims = SmallVec::from_elem(1, x.shape().rank());
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
