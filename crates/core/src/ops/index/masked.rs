//! Elements by masks, and the positions of what is not 0.

use super::along::index_select;
use super::written;
use crate::ops::compaction::positions;
use crate::ops::elementwise::cast;
use crate::tensor::{Rhs, Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

impl Tensor {
    /// This tensor with `value`, a number or a tensor without dimensions, where `mask` is true; the mask
    /// broadcasts to this tensor's shape. `torch.masked_fill`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.0, 2.0, 3.0], &dev);
    /// let y = x.masked_fill(&x.gt(1.5), f64::NEG_INFINITY);
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, f32::NEG_INFINITY, f32::NEG_INFINITY]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: impl Into<Rhs>) -> Tensor {
        let place = Place::caller();
        let value = value.into();
        self.then(|x| {
            let mask = mask_of("masked_fill", &x, mask, place)?;
            if x.shape().broadcast(&mask.shape()?).as_ref() != Some(x.shape()) {
                let problem = format!("mask of shape {} for shape {}", mask.shape()?, x.shape());
                return Err(Error::shape("masked_fill", place, problem));
            }
            let value = match &value {
                Rhs::Scalar(number) => Rhs::Scalar(*number),
                Rhs::Tensor(value) if value.rank()? > 0 => {
                    let problem = format!("a value of shape {} has dimensions", value.shape()?);
                    return Err(Error::shape("masked_fill", place, problem));
                }
                Rhs::Tensor(value) => value.to_dtype(x.dtype()).into(),
            };
            place.within(|| {
                let value = written("masked_fill", &x, &value, place)?.into_tensor();
                mask.where_cond(value, x.into_tensor()).checked()
            })
        })
    }

    /// The elements where `mask` is true, both broadcast, as a vector. How many they are is read back.
    /// `torch.masked_select`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.0, -2.0, 3.0], &dev);
    /// assert_eq!(x.masked_select(&x.gt(0.0)).to_vec::<f32>()?, [1.0, 3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn masked_select(&self, mask: &Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let mask = mask_of("masked_select", &x, mask, place)?;
            let (left, right) = (x.shape().clone(), mask.shape()?);
            let Some(both) = left.broadcast(&right) else {
                let op = "masked_select";
                return Err(Error::Broadcast {
                    op,
                    left,
                    right,
                    place,
                });
            };
            place.within(|| {
                let at = positions(&mask.expand(&both).reshape([-1isize]), place);
                let flat = x.into_tensor().expand(&both).reshape([-1isize]);
                flat.index_select(0, &at).checked()
            })
        })
    }

    /// This tensor with the elements of `source` in their order where `mask` is true; the mask broadcasts to
    /// this tensor's shape. Too few elements are reported as a bad index at the next read.
    /// `torch.masked_scatter`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1, 2, 3], &dev);
    /// let y = x.masked_scatter(&x.ne(2), &Tensor::new([10, 20], &dev));
    /// assert_eq!(y.to_vec::<i32>()?, [10, 2, 20]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn masked_scatter(&self, mask: &Tensor, source: &Tensor) -> Tensor {
        let place = Place::caller();
        let name = "masked_scatter";
        self.then(|x| {
            let mask = mask_of(name, &x, mask, place)?;
            let shape = x.shape().clone();
            let source = written(name, &x, &source.into(), place)?.into_tensor();
            if shape.broadcast(&mask.shape()?).as_ref() != Some(&shape) {
                let problem = format!("mask of shape {} for shape {shape}", mask.shape()?);
                return Err(Error::shape(name, place, problem));
            }
            place.within(|| {
                let mask = mask.expand(&shape).reshape([-1isize]);
                let (source, count) = match source.numel()? {
                    // Whatever is asked for is not there.
                    0 => (
                        Tensor::zeros([1], (x.dtype(), &x.node.device)),
                        Rhs::from(1),
                    ),
                    _ => {
                        let count = mask.to_dtype(DType::I32).cumsum(0) - 1;
                        (source.reshape([-1isize]), Rhs::from(count))
                    }
                };
                let at = mask.where_cond(count, 0);
                let taken = index_select(name, &source, 0, &at, place).reshape(&shape);
                mask.reshape(&shape)
                    .where_cond(taken, x.into_tensor())
                    .checked()
            })
        })
    }

    /// The positions of the elements that are not 0, one a row: `[n, rank]` of `i32`, in row-major order. How
    /// many they are is read back. `torch.nonzero`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[0, 4], [5, 0]], &dev);
    /// assert_eq!(x.nonzero().shape()?, [2, 2]);
    /// assert_eq!(x.nonzero().to_vec::<i32>()?, [0, 1, 1, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn nonzero(&self) -> Tensor {
        let place = Place::caller();
        self.then(|x| place.within(|| nonzero(&x, place)))
    }

    /// [`Tensor::nonzero`] by NumPy's name.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[0, 4], [5, 0]], &dev);
    /// assert_eq!(x.argwhere().to_vec::<i32>()?, [0, 1, 1, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn argwhere(&self) -> Tensor {
        let place = Place::caller();
        self.then(|x| place.within(|| nonzero(&x, place)))
    }

    /// Each class number as a row of `classes` numbers, all 0 but a 1 at the class, as `i32`: the shape with
    /// `classes` behind it. A number that is no class gives only zeros. `torch.nn.functional.one_hot`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let hot = Tensor::new([2, 0], &dev).one_hot(3);
    /// assert_eq!(hot.to_vec::<i32>()?, [0, 0, 1, 1, 0, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn one_hot(&self, classes: usize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if !x.dtype().is_integer() {
                let problem = format!("class numbers are integers, not {}", x.dtype());
                return Err(Error::dtype("one_hot", place, problem));
            }
            place.within(|| {
                let class = Tensor::arange(classes, (DType::I32, &x.node.device));
                let x = x.into_tensor();
                // In its own type: what is beyond i32 would wrap into the range.
                let known = x.ge(0).logical_and(x.lt(classes as i64)).unsqueeze(-1);
                let hot = x
                    .to_dtype(DType::I32)
                    .unsqueeze(-1)
                    .eq(class)
                    .logical_and(known);
                hot.to_dtype(DType::I32).checked()
            })
        })
    }
}

fn mask_of(name: &'static str, x: &Value, mask: &Tensor, place: Place) -> Result<Tensor> {
    let mask = mask.capture()?;
    same_device(name, x, &mask, place)?;
    if mask.dtype() != DType::Bool {
        let problem = format!("a mask holds bools, not {}", mask.dtype());
        return Err(Error::dtype(name, place, problem));
    }
    Ok(mask.into_tensor())
}

/// The positions of what is not 0, one a row.
fn nonzero(x: &Value, place: Place) -> Result<Tensor> {
    let shape = x.shape().clone();
    let device = x.node.device.clone();
    let mask = cast(x, DType::Bool, place)?.into_tensor();
    let flat = positions(&mask.reshape([-1isize]), place).checked()?;
    if shape.rank() == 0 {
        let n = flat.numel()?;
        return Ok(Tensor::zeros([n, 0], (DType::I32, &device)));
    }
    let columns = coordinates(&shape, &flat)?;
    Tensor::stack(&columns, 1).checked()
}

/// Along each dimension the positions of elements of `shape` whose row-major positions are `flat`.
pub(super) fn coordinates(shape: &Shape, flat: &Tensor) -> Result<Vec<Tensor>> {
    let along = |d: usize| {
        let mut own = vec![1; shape.rank()];
        own[d] = shape[d];
        let all = Tensor::arange(shape[d], (DType::I32, flat.device())).reshape(own);
        all.expand(shape)
            .reshape([-1isize])
            .index_select(0, flat)
            .checked()
    };
    (0..shape.rank()).map(along).collect()
}
