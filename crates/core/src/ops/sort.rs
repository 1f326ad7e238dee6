//! Order along a dimension: sorting, and what is the first of it.

use super::scatter::scatter_add;
use crate::operation::{AnyOperation, Derivative, Operation, Spec, apply};
use crate::tensor::views::{dim_of, materialized};
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

impl Tensor {
    /// The elements along `dim` (negative counts from the end) in ascending or descending order, and where
    /// they stood, as `i32`: `torch.sort(stable=True)`, equal elements in the order in which they stood. NaN
    /// counts as the largest. Gradients go back to where the elements stood.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (values, positions) = Tensor::new([3.0, 1.0, 2.0], &dev).sort(0, false);
    /// assert_eq!(values.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    /// assert_eq!(positions.to_vec::<i32>()?, [1, 2, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A dimension that is not there gives failed tensors with
    /// [`Error::DimOutOfRange`](crate::Error::DimOutOfRange).
    #[track_caller]
    pub fn sort(&self, dim: isize, descending: bool) -> (Tensor, Tensor) {
        let place = Place::caller();
        pair(self, |x| first("sort", &x, dim, descending, None, place))
    }

    /// Where the elements along `dim` stand that come first, second and so on: the positions of
    /// [`Tensor::sort`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([3.0, 1.0, 2.0], &dev);
    /// assert_eq!(x.argsort(0, false).to_vec::<i32>()?, [1, 2, 0]);
    /// assert_eq!(x.argsort(0, true).to_vec::<i32>()?, [0, 2, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn argsort(&self, dim: isize, descending: bool) -> Tensor {
        let place = Place::caller();
        pair(self, |x| first("argsort", &x, dim, descending, None, place)).1
    }

    /// The elements in ascending order along the first dimension, as `torch.msort`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[3, 1], [2, 5]], &dev);
    /// assert_eq!(x.msort().to_vec::<i32>()?, [2, 1, 3, 5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn msort(&self) -> Tensor {
        let place = Place::caller();
        pair(self, |x| first("msort", &x, 0, false, None, place)).0
    }

    /// The `k` largest (or smallest) elements along `dim`, the most extreme first, and where they stood:
    /// `torch.topk`. NaN counts as the largest; of equal elements those that stand first are taken.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (values, positions) = Tensor::new([3.0, 1.0, 4.0], &dev).topk(2, 0, true);
    /// assert_eq!(values.to_vec::<f32>()?, [4.0, 3.0]);
    /// assert_eq!(positions.to_vec::<i32>()?, [2, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A `k` above the size of the dimension gives failed tensors with
    /// [`Error::Value`](crate::Error::Value).
    #[track_caller]
    pub fn topk(&self, k: usize, dim: isize, largest: bool) -> (Tensor, Tensor) {
        let place = Place::caller();
        pair(self, |x| first("topk", &x, dim, largest, Some(k), place))
    }

    /// The `k`-th smallest element along `dim`, counted from 1, and where it stands: `torch.kthvalue`. NaN
    /// counts as the largest.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (value, position) = Tensor::new([3.0, 1.0, 4.0], &dev).kthvalue(2, 0, false);
    /// assert_eq!((value.item::<f32>()?, position.item::<i32>()?), (3.0, 0));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A `k` of 0 or above the size of the dimension gives failed tensors with
    /// [`Error::Value`](crate::Error::Value).
    #[track_caller]
    pub fn kthvalue(&self, k: usize, dim: isize, keepdim: bool) -> (Tensor, Tensor) {
        let place = Place::caller();
        pair(self, |x| {
            if k == 0 {
                return Err(Error::value("kthvalue", place, "k counts from 1"));
            }
            let (values, positions) = first("kthvalue", &x, dim, false, Some(k), place)?;
            let last = |t: Tensor| match (x.shape().rank(), keepdim) {
                (0, _) => t,
                (_, true) => t.narrow(dim, k - 1, 1),
                (_, false) => t.select(dim, k as isize - 1),
            };
            Ok(place.within(|| (last(values), last(positions))))
        })
    }
}

/// Two results, or two failed tensors.
pub(crate) fn pair(
    x: &Tensor,
    f: impl FnOnce(Value) -> Result<(Tensor, Tensor)>,
) -> (Tensor, Tensor) {
    match x.capture().and_then(f) {
        Ok(made) => made,
        Err(error) => {
            let failed = Tensor::fail(x.device(), error);
            (failed.clone(), failed)
        }
    }
}

/// The first `count` elements (all, without one) in an order along `dim`, and where they stood.
pub(crate) fn first(
    name: &'static str,
    x: &Value,
    dim: isize,
    descending: bool,
    count: Option<usize>,
    place: Place,
) -> Result<(Tensor, Tensor)> {
    let scalar = x.shape().rank() == 0;
    let (d, size) = match scalar && (dim == 0 || dim == -1) {
        true => (0, 1),
        false => {
            let d = dim_of(name, x.shape(), dim, place)?;
            (d as isize, x.shape()[d])
        }
    };
    if let Some(k) = count.filter(|&k| k > size) {
        let problem = format!("{k} of {size} elements");
        return Err(Error::value(name, place, problem));
    }
    let x = materialized(x, place)?;
    if scalar {
        // Of no elements there is a vector of none.
        let positions = Tensor::zeros((), (DType::I32, &x.node.device));
        let part = |t: Tensor| match count {
            Some(0) => t.reshape([1]).narrow(0, 0, 0),
            _ => t,
        };
        return Ok(place.within(|| (part(x.into_tensor()), part(positions))));
    }
    place.within(|| {
        let rows = x.into_tensor().transpose(d, -1).capture()?;
        let op = AnyOperation::new(Sort {
            descending,
            first: count.unwrap_or(size),
            method: name,
        });
        let [positions, values] = &apply(op, &[&rows], &[0, 1], place)?[..] else {
            return Err(Error::Device("a sort without results".into()));
        };
        Ok((values.transpose(d, -1), positions.transpose(d, -1)))
    })
}

/// The first so many elements of each row (the last dimension) of one operand of any type in ascending or
/// descending order. Two results: where they stood (`i32`), and the elements. Equal elements keep their order,
/// zeros of both signs are equal, and NaN is the largest.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sort {
    /// Whether the largest come first.
    pub descending: bool,
    /// How many elements of each row are wanted.
    pub first: usize,
    /// The method that errors are reported for.
    pub method: &'static str,
}

impl Operation for Sort {
    const NAME: &'static str = "sort";
    const RESULTS: usize = 2;
    const PRIMITIVE: bool = true;

    fn called(&self) -> &'static str {
        self.method
    }

    fn results(&self, operands: &[Spec]) -> std::result::Result<Vec<Spec>, String> {
        let [x] = operands else {
            return Err(format!("{} operands instead of one", operands.len()));
        };
        let mut dims = x.shape.to_vec();
        match dims.last_mut() {
            None => return Err("a tensor without dimensions has no rows".into()),
            Some(n) if self.first > *n => return Err(format!("{} of {n} elements", self.first)),
            Some(n) if *n > i32::MAX as usize => return Err(format!("rows of {n} elements")),
            Some(n) => *n = self.first,
        }
        Ok(vec![
            Spec::new(dims.clone(), DType::I32),
            Spec::new(dims, x.dtype),
        ])
    }

    /// The place of each element is the number of those before it, which are counted among all.
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let x = &operands[0];
        let sorted = || -> Result<Vec<Tensor>> {
            let n = x.shape()?.last().copied().unwrap_or(0);
            let (own, other) = (x.unsqueeze(-1), x.unsqueeze(-2));
            let is_nan = |t: &Tensor| t.ne(t);
            let less = |a: &Tensor, b: &Tensor| {
                let numbers = a.lt(b);
                numbers.logical_or(is_nan(b).logical_and(is_nan(a).logical_not()))
            };
            let (first, second) = match self.descending {
                true => (&own, &other),
                false => (&other, &own),
            };
            let (before, behind) = (less(first, second), less(second, first));
            let number = Tensor::arange(n, (DType::I32, x.device()));
            let earlier = number.unsqueeze(0).lt(number.unsqueeze(1));
            let tied = before.logical_or(&behind).logical_not();
            let before = before.logical_or(tied.logical_and(earlier));
            let rank = before.to_dtype(DType::I32).sum_dims([-1], false);
            // For each place the element of that rank.
            let wanted = Tensor::arange(self.first, (DType::I32, x.device()));
            let here = rank.unsqueeze(-2).eq(wanted.unsqueeze(-1));
            let positions = here.where_cond(&number, 0).sum_dims([-1], false);
            Ok(vec![positions.clone(), x.gather(-1, &positions)])
        };
        sorted().unwrap_or_else(|error| vec![Tensor::fail(x.device(), error); 2])
    }

    fn keeps_operand(&self, _: usize) -> bool {
        false
    }

    fn keeps_result(&self, part: usize, result: usize) -> bool {
        part == 1 && result == 0
    }

    fn is_differentiable(&self, part: usize) -> bool {
        part == 1
    }

    /// Each element's gradient goes back to where the element stood.
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        let place = Place::caller();
        let Some(x) = c.spec(0) else {
            return vec![None];
        };
        let last = x.shape.rank() - 1;
        let grad = c.grad().then(|g| {
            let positions = c.result(0).capture()?;
            scatter_add(self.method, &g, last, x.shape[last], &positions, place)
        });
        vec![Some(grad)]
    }

    fn examples() -> Vec<(Sort, Vec<Spec>)> {
        let case = |descending, shape: &[usize], first| {
            let sort = Sort {
                descending,
                first,
                method: Sort::NAME,
            };
            (sort, vec![Spec::new(shape, DType::F32)])
        };
        vec![
            case(false, &[3, 5], 5),
            case(true, &[2, 3, 7], 7),
            case(true, &[4, 6], 2),
            case(false, &[3, 100], 100),
            case(false, &[2, 1500], 1500),
            case(true, &[1, 1600], 30),
            case(false, &[3, 0], 0),
            case(false, &[0, 3], 3),
        ]
    }
}
