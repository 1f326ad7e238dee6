//! Elements written, added and merged at positions along a dimension, each giving a new tensor.

use smallvec::SmallVec;

use super::slices::put_rows;
use super::{integer, last_sent, one_dimensional, over, wrapped, written};
use crate::autograd::{self, Grads, Saves, no_grad};
use crate::ops::place::lay;
use crate::ops::scatter::{Merge, scatter};
use crate::tensor::views::dim_of;
use crate::tensor::{Rhs, Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{Dims, Shape};

/// What becomes of the elements that [`Tensor::scatter_reduce`] sends to one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScatterReduce {
    /// Their sum.
    Sum,
    /// Their product.
    Prod,
    /// Their mean; of integers rounded down.
    Mean,
    /// The largest.
    Amax,
    /// The smallest.
    Amin,
}

impl Tensor {
    /// This tensor with the elements of `source` (a tensor of its type, or a number) where `index` sends them
    /// along `dim`: `out[.., index[.., i, ..], ..] = source[.., i, ..]`, as `torch.scatter`. The index has this
    /// tensor's rank, is no larger than the source, and but along `dim` no larger than this tensor. Of several
    /// elements that go to one place the last stays (torch leaves it open); gradients go to those that stay.
    ///
    /// An index out of range writes nothing, and gives [`Error::IndexOutOfRange`] at this thread's next read.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([3], (DType::I32, &dev));
    /// let y = x.scatter(0, &Tensor::new([2, 0], &dev), &Tensor::new([5, 6], &dev));
    /// assert_eq!(y.to_vec::<i32>()?, [6, 0, 5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn scatter(&self, dim: isize, index: &Tensor, source: impl Into<Rhs>) -> Tensor {
        scatter_along("scatter", self, dim, index, source.into(), Place::caller())
    }

    /// This tensor plus the elements of `source` where `index` sends them along `dim`, added in ascending order;
    /// shapes as in [`Tensor::scatter`]. `torch.scatter_add`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([10, 20], &dev);
    /// let y = x.scatter_add(0, &Tensor::new([1, 1, 0], &dev), &Tensor::new([1, 2, 3], &dev));
    /// assert_eq!(y.to_vec::<i32>()?, [13, 23]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn scatter_add(&self, dim: isize, index: &Tensor, source: &Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let sent = Sent::new("scatter_add", &x, dim, index, &source.into(), place)?;
            place.within(|| over(sent.x.clone(), sent.added("scatter_add", place)?).checked())
        })
    }

    /// This tensor's elements merged with those of `source` that `index` sends to them along `dim`; without
    /// `include_self` only those that are sent, where there are any. Shapes as in [`Tensor::scatter`].
    /// `torch.scatter_reduce`. Largest and smallest elements share the gradient where several are equal.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::ScatterReduce;
    /// # let dev = wgrad::cpu();
    /// let (x, index) = (Tensor::new([10, 20], &dev), Tensor::new([1, 1, 0], &dev));
    /// let source = Tensor::new([30, 2, 3], &dev);
    /// let y = x.scatter_reduce(0, &index, &source, ScatterReduce::Amax, true);
    /// assert_eq!(y.to_vec::<i32>()?, [10, 30]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn scatter_reduce(
        &self,
        dim: isize,
        index: &Tensor,
        source: &Tensor,
        reduce: ScatterReduce,
        include_self: bool,
    ) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let name = "scatter_reduce";
            let sent = Sent::new(name, &x, dim, index, &source.into(), place)?;
            place.within(|| {
                let part = sent.merged(name, reduce, include_self, place)?;
                over(sent.x.clone(), part).checked()
            })
        })
    }

    /// This tensor with the elements of `source` at the positions `index` of the flattened tensor, negative ones
    /// counted from the end, or added to those that are there. As many elements as positions. `torch.put`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev);
    /// let y = x.put(&Tensor::new([-1, 0], &dev), &Tensor::new([10, 20], &dev), false);
    /// assert_eq!(y.to_vec::<i32>()?, [20, 2, 3, 10]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn put(&self, index: &Tensor, source: &Tensor, accumulate: bool) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let index = integer("put", index, &x, place)?.into_tensor();
            let source = written("put", &x, &source.into(), place)?.into_tensor();
            if index.numel()? != source.numel()? {
                let (at, from) = (index.shape()?, source.shape()?);
                let problem = format!("positions of shape {at} for elements of shape {from}");
                return Err(Error::shape("put", place, problem));
            }
            let (shape, size) = (x.shape().clone(), x.shape().numel());
            place.within(|| {
                let flat = x.into_tensor().reshape([-1isize]);
                let (index, source) = (index.reshape([-1isize]), source.reshape([-1isize]));
                let index = wrapped(index, size);
                put_rows("put", &flat, &index, &source, accumulate, place)?
                    .reshape(&shape)
                    .checked()
            })
        })
    }
}

/// [`Tensor::scatter`], reported under another name.
pub(crate) fn scatter_along(
    name: &'static str,
    x: &Tensor,
    dim: isize,
    index: &Tensor,
    source: Rhs,
    place: Place,
) -> Tensor {
    x.then(|x| {
        let sent = Sent::new(name, &x, dim, index, &source, place)?;
        place.within(|| {
            let (hit, last) = last_sent(name, &sent.index, sent.d, sent.size, place)?;
            let taken = match source {
                Rhs::Scalar(_) => sent.source.clone(),
                Rhs::Tensor(_) if sent.index.shape().contains(&0) => {
                    let shape = sent.part.shape()?;
                    let rank = shape.rank();
                    lay(&sent.source, &shape, &vec![0; rank], &vec![1; rank])
                }
                Rhs::Tensor(_) => sent.source.gather(sent.d as isize, &last),
            };
            let part = hit.where_cond(taken, &sent.part);
            over(sent.x.clone(), part).checked()
        })
    })
}

/// A scatter's operands: what is written into, its part that the index covers, and what is written.
struct Sent {
    x: Tensor,
    d: usize,
    /// The size of `x` along `d`.
    size: usize,
    index: Value,
    /// Of the index's shape, or without dimensions.
    source: Tensor,
    /// The elements of `x` at which something may arrive: of the index's shape, but all along `d`.
    part: Tensor,
}

impl Sent {
    fn new(
        name: &'static str,
        x: &Value,
        dim: isize,
        index: &Tensor,
        source: &Rhs,
        place: Place,
    ) -> Result<Sent> {
        let index = one_dimensional(integer(name, index, x, place)?)?;
        let mut written = written(name, x, source, place)?;
        let x = one_dimensional(x.clone())?;
        let d = dim_of(name, x.shape(), dim, place)?;
        let (own, of) = (x.shape().clone(), index.shape().clone());
        let is_number = matches!(source, Rhs::Scalar(_));
        if !is_number {
            written = one_dimensional(written)?;
        }
        let from = written.shape().clone();
        let rank = own.rank();
        let empty = of.numel() == 0;
        let fits = of.rank() == rank
            && (0..rank).all(|i| i == d || of[i] <= own[i])
            && (is_number || (from.rank() == rank && (0..rank).all(|i| of[i] <= from[i])));
        if !fits && !empty {
            let problem = format!("index of shape {of} for shapes {own} and {from}");
            return Err(Error::shape(name, place, problem));
        }
        place.within(|| {
            let (mut part, mut source) = (x.clone().into_tensor(), written.into_tensor());
            let mut index = index.into_tensor();
            if empty {
                let mut none = Dims::from_slice(&own);
                none[d] = 0;
                let none = Shape::from(none);
                index = index.reshape([-1isize]).narrow(0, 0, 0).reshape(&none);
                if !is_number {
                    source = source.reshape([-1isize]).narrow(0, 0, 0).reshape(&none);
                }
            } else {
                for i in 0..rank {
                    if i != d {
                        part = part.narrow(i as isize, 0, of[i]);
                    }
                    if !is_number {
                        source = source.narrow(i as isize, 0, of[i]);
                    }
                }
            }
            Ok(Sent {
                size: own[d],
                x: x.into_tensor(),
                d,
                index: index.capture()?,
                source: source.checked()?,
                part: part.checked()?,
            })
        })
    }

    /// What arrives at each place of the part, merged.
    fn arrived(
        &self,
        name: &'static str,
        source: &Tensor,
        merge: Merge,
        place: Place,
    ) -> Result<Tensor> {
        let source = source.capture()?;
        scatter(name, &source, self.d, self.size, &self.index, merge, place)
    }

    /// The part plus what arrives.
    fn added(&self, name: &'static str, place: Place) -> Result<Tensor> {
        let sums = self.arrived(name, &self.source, Merge::Sum, place)?;
        let dtype = self.part.dtype()?;
        Ok((&self.part + sums).to_dtype(dtype))
    }

    /// How many elements arrive at each place.
    fn count(&self, name: &'static str, place: Place) -> Result<Tensor> {
        let ones = Tensor::ones(self.index.shape(), (DType::I32, &self.index.node.device));
        let ones = crate::tensor::views::materialized(&ones.capture()?, place)?;
        self.arrived(name, &ones.into_tensor(), Merge::Sum, place)
    }

    fn merged(
        &self,
        name: &'static str,
        reduce: ScatterReduce,
        include_self: bool,
        place: Place,
    ) -> Result<Tensor> {
        let dtype = self.part.dtype()?;
        let count = self.count(name, place)?;
        let touched = count.gt(0);
        // What is left out counts as what merges to nothing.
        let base = |merge: Merge| match include_self {
            true => self.part.clone(),
            false => touched.where_cond(merge.of_none(dtype), &self.part),
        };
        match reduce {
            ScatterReduce::Sum | ScatterReduce::Mean => {
                let sum = base(Merge::Sum) + self.arrived(name, &self.source, Merge::Sum, place)?;
                if reduce == ScatterReduce::Sum {
                    return Ok(sum.to_dtype(dtype));
                }
                let n = match include_self {
                    true => count + 1,
                    false => count.maximum(1),
                };
                Ok(match dtype.is_float() {
                    true => sum / n.to_dtype(dtype.compute()),
                    false => (sum.to_dtype(DType::F32) / n).floor(),
                }
                .to_dtype(dtype))
            }
            ScatterReduce::Prod => self.product(name, base(Merge::Product), place),
            ScatterReduce::Amax => self.extreme(name, base(Merge::Max), Merge::Max, place),
            ScatterReduce::Amin => self.extreme(name, base(Merge::Min), Merge::Min, place),
        }
    }

    /// The largest or smallest of what arrives and `base`, which share the gradient where they are equal.
    fn extreme(
        &self,
        name: &'static str,
        base: Tensor,
        merge: Merge,
        place: Place,
    ) -> Result<Tensor> {
        let dtype = self.part.dtype()?;
        let combined = |base: &Tensor, arrived: Tensor| match merge {
            Merge::Max => base.maximum(arrived),
            _ => base.minimum(arrived),
        };
        let top = no_grad(|| self.arrived(name, &self.source, merge, place));
        let y = no_grad(|| combined(&base, top?).to_dtype(dtype).capture())?;
        let rule = move |_: &Sent, c: &Operands<'_>| {
            let winner = |x: &Tensor, top: &Tensor| x.eq(top).to_dtype(DType::F32);
            let own = winner(c.base, c.y);
            let sent = winner(c.source, &c.at(c.y));
            let ties = &own + c.sum(&sent);
            let share = c.grad / ties;
            (&share * own, c.at(&share) * sent)
        };
        Ok(self.tracked(name, y, base, place, rule))
    }

    /// The product of what arrives and `base`.
    fn product(&self, name: &'static str, base: Tensor, place: Place) -> Result<Tensor> {
        let dtype = self.part.dtype()?;
        let product = no_grad(|| self.arrived(name, &self.source, Merge::Product, place));
        let y = no_grad(|| (&base * product?).to_dtype(dtype).capture())?;
        let rule = move |sent: &Sent, c: &Operands<'_>| {
            // The product of the others: by division where no factor is 0; the one 0 gets the product
            // without it, and beside two there is nothing left.
            let zero = c.source.eq(0.0);
            let zeros = c.sum(&zero.to_dtype(DType::F32));
            let others = zero.where_cond(1.0, c.source);
            let others = sent.arrived(name, &others, Merge::Product, place);
            let others = Tensor::or_fail(c.grad.device(), others);
            let arrived = zeros.gt(0.0).where_cond(0.0, &others);
            let to_base = c.grad * arrived;
            let whole = c.grad * c.base * others;
            let alone = zero.logical_and(c.at(&zeros).eq(1.0));
            let beside =
                c.at(&zeros.gt(0.0).where_cond(0.0, &whole)) / zero.where_cond(1.0, c.source);
            (to_base, alone.where_cond(c.at(&whole), beside))
        };
        Ok(self.tracked(name, y, base, place, rule))
    }

    /// `y` with a derivative by `base` and the source.
    fn tracked(
        &self,
        name: &'static str,
        y: Value,
        base: Tensor,
        place: Place,
        rule: impl Fn(&Sent, &Operands<'_>) -> (Tensor, Tensor) + Send + Sync + 'static,
    ) -> Tensor {
        let values = base
            .capture()
            .and_then(|base| Ok((base, self.source.capture()?)));
        let (base, source) = match values {
            Ok(values) => values,
            Err(error) => return Tensor::fail(self.x.device(), error),
        };
        if !y.dtype().is_float() || !autograd::tracks(&[&base, &source]) {
            return y.into_tensor();
        }
        let kept = [base.clone(), source.clone(), self.index.clone()];
        let saves = Saves {
            inputs: kept.into_iter().map(Value::into_tensor).collect(),
            output: true,
        };
        let (d, size) = (self.d, self.size);
        autograd::track(name, y, &[&base, &source], saves, place, move |c| {
            let [base, source, index] = c.inputs else {
                return Grads::new();
            };
            let grads = || -> Result<(Tensor, Tensor)> {
                let sent = Sent {
                    x: base.clone(),
                    d,
                    size,
                    index: index.capture()?,
                    source: source.clone(),
                    part: base.clone(),
                };
                let operands = Operands {
                    base,
                    source,
                    y: c.output,
                    grad: c.grad,
                    sent: &sent,
                    name,
                    place,
                };
                let (by_base, by_source) = rule(&sent, &operands);
                let dtype = base.dtype()?;
                Ok((by_base.to_dtype(dtype), by_source.to_dtype(dtype)))
            };
            let grads = grads().map_err(|error| Tensor::fail(c.grad.device(), error));
            let (by_base, by_source) = grads.unwrap_or_else(|failed| (failed.clone(), failed));
            SmallVec::from_iter([Some(by_base), Some(by_source)])
        })
    }
}

/// What the derivative of a merge is made of.
struct Operands<'a> {
    base: &'a Tensor,
    source: &'a Tensor,
    y: &'a Tensor,
    grad: &'a Tensor,
    sent: &'a Sent,
    name: &'static str,
    place: Place,
}

impl Operands<'_> {
    /// The elements of a tensor of the part's shape where the source's elements go.
    fn at(&self, x: &Tensor) -> Tensor {
        x.gather(self.sent.d as isize, &self.sent.index.clone().into_tensor())
    }

    /// What arrives of a tensor of the source's shape, summed.
    fn sum(&self, x: &Tensor) -> Tensor {
        let sum = self.sent.arrived(self.name, x, Merge::Sum, self.place);
        Tensor::or_fail(x.device(), sum)
    }
}
