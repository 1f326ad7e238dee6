//! Indexing by lists, as NumPy and torch write in brackets: ranges, numbers, new dimensions, masks, positions.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo};

use smallvec::SmallVec;

use super::slices::put_rows;
use super::{integer, wrapped, written};
use crate::tensor::slice::{Slice, position};
use crate::tensor::{Rhs, Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{Dims, Shape};

/// One entry of a list that [`Tensor::index`] takes.
#[derive(Clone)]
pub enum Index {
    /// One position, whose dimension goes away; negative ones count from the end.
    At(isize),
    /// A range, perhaps with a step.
    Range(Slice),
    /// A new dimension of size 1.
    NewAxis,
    /// As many whole dimensions as are left.
    Ellipsis,
    /// Positions, or a mask of bools over as many dimensions as it has.
    Tensor(Tensor),
}

/// A new dimension of size 1 in a list of indices: torch's `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewAxis;

/// As many whole dimensions as are left in a list of indices: torch's `...`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ellipsis;

impl From<NewAxis> for Index {
    fn from(_: NewAxis) -> Index {
        Index::NewAxis
    }
}

impl From<Ellipsis> for Index {
    fn from(_: Ellipsis) -> Index {
        Index::Ellipsis
    }
}

impl From<&Tensor> for Index {
    fn from(tensor: &Tensor) -> Index {
        Index::Tensor(tensor.clone())
    }
}

impl From<Tensor> for Index {
    fn from(tensor: Tensor) -> Index {
        Index::Tensor(tensor)
    }
}

macro_rules! from_numbers {
    ($($t:ty),*) => { $(
        impl From<$t> for Index {
            fn from(at: $t) -> Index {
                Index::At(isize::try_from(at).unwrap_or(isize::MAX))
            }
        }
    )* };
}
from_numbers!(usize, isize, i32, i64);

macro_rules! from_ranges {
    ($($t:ty),*) => { $(impl From<$t> for Index {
        fn from(range: $t) -> Index {
            Index::Range(range.into())
        }
    })* };
    (of $($n:ty),*) => {
        from_ranges!($(Range<$n>, RangeFrom<$n>, RangeInclusive<$n>, RangeTo<$n>),*);
    };
}
from_ranges!(Slice, RangeFull);
from_ranges!(of usize, isize, i32, i64);

/// What [`Tensor::index`] accepts: one entry, or a tuple, slice or array of them.
pub trait IndexList {
    /// The entries, one after the other.
    fn list(&self) -> SmallVec<[Index; 4]>;
}

impl IndexList for &[Index] {
    fn list(&self) -> SmallVec<[Index; 4]> {
        self.iter().cloned().collect()
    }
}

macro_rules! index_lists {
    (one $($t:ty),*) => { $(impl IndexList for $t {
        fn list(&self) -> SmallVec<[Index; 4]> { SmallVec::from_iter([self.clone().into()]) }
    })* };
    (ranges $($n:ty),*) => {
        index_lists!(one $($n, Range<$n>, RangeFrom<$n>, RangeInclusive<$n>, RangeTo<$n>),*);
    };
    ($(($($t:ident $i:tt),+);)*) => { $(impl<$($t: Into<Index> + Clone),+> IndexList for ($($t,)+) {
        fn list(&self) -> SmallVec<[Index; 4]> { SmallVec::from_iter([$(self.$i.clone().into()),+]) }
    })* };
}
index_lists!(one Index, NewAxis, Ellipsis, Tensor, &Tensor, Slice, RangeFull);
index_lists!(ranges usize, isize, i32, i64);
index_lists! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
}

impl Tensor {
    /// Part of the tensor, as torch's `x[..]`: per dimension a range ([`Tensor::slice`]'s), a number, a mask or
    /// positions; [`NewAxis`] puts in a dimension, [`Ellipsis`] stands for those that are not named, as does the
    /// end of the list. Ranges, numbers and new dimensions are views.
    ///
    /// Masks count as the positions where they are true, of as many dimensions as they have. Tensors of positions
    /// broadcast with one another; their shape stands where they do if they are side by side, and in front
    /// otherwise. Negative positions count from the end; bad ones as in [`Tensor::gather`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::arange(12, &dev).reshape([3, 4]);
    /// assert_eq!(x.index((.., 1)).to_vec::<i32>()?, [1, 5, 9]); // x[:, 1]
    /// assert_eq!(x.index((Ellipsis, NewAxis, -2..)).shape()?, [3, 1, 2]); // x[..., None, -2:]
    /// assert_eq!(x.index(&x.gt(9)).to_vec::<i32>()?, [10, 11]); // x[x > 9]
    /// let (rows, columns) = (Tensor::new([0, 2], &dev), Tensor::new([3, -1], &dev));
    /// assert_eq!(x.index((&rows, &columns)).to_vec::<i32>()?, [3, 11]); // x[rows, columns]
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn index(&self, list: impl IndexList) -> Tensor {
        let place = Place::caller();
        let list = list.list();
        self.then(|x| {
            let (x, tensors) = place.within(|| viewed("index", &x.into_tensor(), &list, place))?;
            let Some(rows) = place.within(|| Rows::new("index", &x, &tensors, place))? else {
                return Ok(x);
            };
            place.within(|| {
                let flat = rows.flat(&x);
                let taken = super::index_select("index", &flat, 0, &rows.at, place);
                rows.back(&taken).checked()
            })
        })
    }

    /// This tensor with `values` (a tensor of its type, or a number) at what [`Tensor::index`] takes out, to whose
    /// shape they broadcast; or, with `accumulate`, added to it. Of several values for one element the last stays.
    /// `torch.index_put`, and `x[..] = values` as a new tensor.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, -2.0], [-3.0, 4.0]], &dev);
    /// let y = x.index_put((.., 1), 0.0, false); // x[:, 1] = 0
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 0.0, -3.0, 0.0]);
    /// let y = x.index_put(&x.lt(0.0), 0.0, false); // x[x < 0] = 0
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 0.0, 0.0, 4.0]);
    /// let rows = Tensor::new([0, 0], &dev);
    /// let y = x.index_put(&rows, 10.0, true); // adds 10 to row 0, twice
    /// assert_eq!(y.to_vec::<f32>()?, [21.0, 18.0, -3.0, 4.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn index_put(
        &self,
        list: impl IndexList,
        values: impl Into<Rhs>,
        accumulate: bool,
    ) -> Tensor {
        let place = Place::caller();
        let name = "index_put";
        let (list, values) = (list.list(), values.into());
        self.then(|x| {
            let values = written(name, &x, &values, place)?.into_tensor();
            let device = x.node.device.clone();
            let shape = x.shape().clone();
            place.within(|| {
                // Where each element of what is taken out lies in this tensor: the same list, of positions.
                let x = x.into_tensor().reshape([-1isize]);
                let all = Tensor::arange(shape.numel(), (DType::I32, &device)).reshape(&shape);
                let (all, tensors) = viewed(name, &all, &list, place)?;
                let at = match Rows::new(name, &all, &tensors, place)? {
                    None => all,
                    Some(rows) => {
                        let flat = rows.flat(&all);
                        let taken = super::index_select(name, &flat, 0, &rows.at, place);
                        rows.back(&taken)
                    }
                };
                let (to, from) = (at.shape()?, values.shape()?);
                if to.broadcast(&from).as_ref() != Some(&to) {
                    let problem = format!("values of shape {from} for elements of shape {to}");
                    return Err(Error::shape(name, place, problem));
                }
                let values = values.expand(&to).reshape([-1isize]).contiguous();
                let at = at.reshape([-1isize]);
                let y = put_rows(name, &x, &at, &values, accumulate, place)?;
                y.reshape(&shape).checked()
            })
        })
    }
}

/// The view that numbers, ranges and new dimensions make, and the tensors that are left, each with its
/// dimension of the view.
fn viewed(
    name: &'static str,
    x: &Tensor,
    list: &[Index],
    place: Place,
) -> Result<(Tensor, Vec<(usize, Tensor)>)> {
    let shape = x.shape()?;
    let taken = |index: &Index| match index {
        Index::At(_) | Index::Range(_) => Ok(1),
        Index::NewAxis | Index::Ellipsis => Ok(0),
        Index::Tensor(t) if t.dtype()? == DType::Bool => t.rank(),
        Index::Tensor(_) => Ok(1),
    };
    let named = list.iter().map(taken).sum::<Result<usize>>()?;
    let dots = list.iter().filter(|i| matches!(i, Index::Ellipsis)).count();
    if named > shape.rank() || dots > 1 {
        let problem = match dots {
            0 | 1 => format!("{named} indices for shape {shape}"),
            _ => format!("{dots} times an ellipsis"),
        };
        return Err(Error::shape(name, place, problem));
    }
    let mut x = x.clone();
    let mut tensors = Vec::new();
    let mut d = 0;
    for index in list {
        let dim = d as isize;
        let own = x.shape()?;
        match index {
            Index::At(at) => {
                let at = position(name, own[d], *at, place)?;
                x = x.select(dim, at as isize);
            }
            Index::Range(slice) => {
                let (start, end, step) = slice.within(name, &own, d, place)?;
                let whole = (0..d).map(|_| Slice::from(..));
                let part = crate::tensor::slice::s(start..end).step(step);
                let ranges: Vec<Slice> = whole.chain(std::iter::once(part)).collect();
                x = x.slice(&ranges[..]);
                d += 1;
            }
            Index::NewAxis => {
                x = x.unsqueeze(dim);
                d += 1;
            }
            Index::Ellipsis => d += shape.rank() - named,
            Index::Tensor(t) if t.dtype()? == DType::Bool => {
                let mask = t.shape()?;
                if own[d..d + mask.rank()] != mask[..] {
                    let problem = format!("mask of shape {mask} for dimensions {:?}", &own[d..]);
                    return Err(Error::shape(name, place, problem));
                }
                if mask.rank() == 0 {
                    // A new dimension that is there or not.
                    x = x.unsqueeze(dim);
                    let whether = t.reshape([1]);
                    tensors.push((d, whether.nonzero().select(1, 0)));
                    d += 1;
                    continue;
                }
                let at = t.nonzero();
                for i in 0..mask.rank() {
                    tensors.push((d, at.select(1, i as isize)));
                    d += 1;
                }
            }
            Index::Tensor(t) => {
                tensors.push((d, t.clone()));
                d += 1;
            }
        }
    }
    Ok((x.checked()?, tensors))
}

/// Positions in some dimensions, as rows of a table of those dimensions and the others.
struct Rows {
    /// Indexed dimensions, then the others.
    order: SmallVec<[isize; 6]>,
    /// How many rows there are, and their shape.
    count: usize,
    rest: Dims,
    /// The positions as row numbers, a vector, and their shape.
    at: Tensor,
    shape: Shape,
    /// The dimension of the result where their shape stands.
    stands: usize,
}

impl Rows {
    fn new(
        name: &'static str,
        x: &Tensor,
        tensors: &[(usize, Tensor)],
        place: Place,
    ) -> Result<Option<Rows>> {
        let value: Value = x.capture()?;
        let own = x.shape()?;
        let Some((first, _)) = tensors.first() else {
            return Ok(None);
        };
        let mut shape = Shape::default();
        for (_, t) in tensors {
            let t = integer(name, t, &value, place)?;
            same_device(name, &value, &t, place)?;
            shape = match shape.broadcast(t.shape()) {
                Some(shape) => shape,
                None => {
                    let (left, op) = (shape, name);
                    let right = t.shape().clone();
                    return Err(Error::Broadcast {
                        op,
                        left,
                        right,
                        place,
                    });
                }
            };
        }
        // A position that is not there is none of the table either.
        let mut at: Option<Tensor> = None;
        let mut inside: Option<Tensor> = None;
        for (d, t) in tensors {
            let own_at = wrapped(t.clone(), own[*d]);
            if tensors.len() == 1 {
                at = Some(own_at);
                break;
            }
            // In the index's own type: what is beyond i32 would wrap into the range.
            let fits = own_at.ge(0).logical_and(own_at.lt(own[*d] as i64));
            let own_at = own_at.to_dtype(DType::I32);
            inside = Some(match inside {
                Some(inside) => inside.logical_and(fits),
                None => fits,
            });
            at = Some(match at {
                Some(at) => at * own[*d] as i32 + own_at,
                None => own_at,
            });
        }
        let mut at = at.unwrap_or_else(|| x.clone());
        if let Some(inside) = inside {
            at = inside.where_cond(at, -1);
        }
        let dims: Vec<usize> = tensors.iter().map(|(d, _)| *d).collect();
        let others = (0..own.rank()).filter(|d| !dims.contains(d));
        let together = dims.windows(2).all(|pair| pair[1] == pair[0] + 1);
        Ok(Some(Rows {
            order: dims
                .iter()
                .copied()
                .chain(others.clone())
                .map(|d| d as isize)
                .collect(),
            count: dims.iter().map(|&d| own[d]).product(),
            rest: others.map(|d| own[d]).collect(),
            at: at.expand(&shape).reshape([-1isize]),
            shape,
            stands: if together { *first } else { 0 },
        }))
    }

    /// `x` as the table.
    fn flat(&self, x: &Tensor) -> Tensor {
        let mut to = Dims::from_slice(&[self.count]);
        to.extend_from_slice(&self.rest);
        x.permute(&self.order[..]).reshape(Shape::from(to))
    }

    /// Rows that were taken out, as the result.
    fn back(&self, rows: &Tensor) -> Tensor {
        let rank = self.shape.rank();
        let mut to = Dims::from_slice(&self.shape);
        to.extend_from_slice(&self.rest);
        let y = rows.reshape(Shape::from(to));
        let from: Vec<isize> = (0..rank as isize).collect();
        let to: Vec<isize> = (0..rank).map(|d| (d + self.stands) as isize).collect();
        y.movedim(from, to)
    }
}
