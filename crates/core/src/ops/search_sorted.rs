//! Places of values among sorted ones.

use crate::operation::{AnyOperation, Operation, Spec, apply_part};
use crate::ops::elementwise::cast;
use crate::tensor::views::materialized;
use crate::tensor::{Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

impl Tensor {
    /// Where `values` would stand among the elements of this tensor, whose last dimension is sorted
    /// ascending, as `torch.searchsorted`: the number of elements that are smaller, and with `right` of
    /// those that are not larger. `i32`, of the shape of `values`.
    ///
    /// A vector serves all values; otherwise the dimensions but the last are those of `values`. NaN counts as
    /// larger than everything, so it stands at the end.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let sorted = Tensor::new([1.0, 3.0, 5.0], &dev);
    /// let values = Tensor::new([3.0, 6.0], &dev);
    /// assert_eq!(sorted.searchsorted(&values, false).to_vec::<i32>()?, [1, 3]);
    /// assert_eq!(sorted.searchsorted(&values, true).to_vec::<i32>()?, [2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Operands of different types promote. Other shapes give a failed tensor with [`Error::Shape`].
    #[track_caller]
    pub fn searchsorted(&self, values: &Tensor, right: bool) -> Tensor {
        let place = Place::caller();
        self.then(|sorted| search("searchsorted", &sorted, &values.capture()?, right, place))
    }

    /// The number of the bucket of each element, as `torch.bucketize`: [`Tensor::searchsorted`] of the
    /// elements among `boundaries`, a sorted vector.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[3.0, 6.0, 9.0], [3.0, 6.0, 9.0]], &dev);
    /// let boundaries = Tensor::new([1.0, 3.0, 5.0, 7.0, 9.0], &dev);
    /// assert_eq!(x.bucketize(&boundaries, false).to_vec::<i32>()?, [1, 3, 4, 1, 3, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn bucketize(&self, boundaries: &Tensor, right: bool) -> Tensor {
        let place = Place::caller();
        self.then(|values| {
            let boundaries = boundaries.capture()?;
            if boundaries.shape().rank() != 1 {
                let problem = format!("boundaries of shape {} are no vector", boundaries.shape());
                return Err(Error::shape("bucketize", place, problem));
            }
            search("bucketize", &boundaries, &values, right, place)
        })
    }
}

impl Tensor {
    /// Whether each element is among those of `others`, as bools: `torch.isin`. NaN is equal to nothing.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1, 2, 3], &dev).isin(&Tensor::new([3, 1], &dev));
    /// assert_eq!(x.to_vec::<bool>()?, [true, false, true]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn isin(&self, others: &Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let others = others.capture()?;
            same_device("isin", &x, &others, place)?;
            let (n, shape) = (others.shape().numel(), x.shape().clone());
            if n == 0 {
                let device = &x.node.device;
                return place.within(|| Tensor::zeros(shape, (DType::Bool, device)).checked());
            }
            let dtype = x.dtype().promote(others.dtype());
            let (x, others) = (cast(&x, dtype, place)?, cast(&others, dtype, place)?);
            place.within(|| {
                let x = x.into_tensor().detach().reshape([-1isize]);
                let sorted = others.into_tensor().detach().reshape([-1isize]).msort();
                let place = sorted.searchsorted(&x, false).minimum(n as i64 - 1);
                Ok(sorted.gather(0, &place).eq(x).reshape(shape))
            })
        })
    }
}

fn search(
    name: &'static str,
    sorted: &Value,
    values: &Value,
    right: bool,
    place: Place,
) -> Result<Tensor> {
    same_device(name, sorted, values, place)?;
    let shape = values.shape().clone();
    let dtype = sorted.dtype().promote(values.dtype());
    let (sorted, values) = (cast(sorted, dtype, place)?, cast(values, dtype, place)?);
    let (sorted, values) = (materialized(&sorted, place)?, materialized(&values, place)?);
    if sorted.shape().rank() == 0 {
        let problem = "there are no sorted elements in a tensor without dimensions";
        return Err(Error::shape(name, place, problem));
    }
    place.within(|| {
        // One sorted vector for all: the values as one row.
        let values = match sorted.shape().rank() {
            1 => values.into_tensor().reshape([-1isize]).capture()?,
            _ => values,
        };
        let op = AnyOperation::new(SearchSorted {
            right,
            method: name,
        });
        Ok(apply_part(op, &[&sorted, &values], 0, place)?.reshape(shape))
    })
}

/// For operands sorted `[.., n]` and values `[.., m]` of one type, whose other dimensions are equal, the number
/// of elements of the value's row that are smaller (or with `right` not larger), by halving; `i32`. NaN is
/// larger than everything.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SearchSorted {
    /// Whether equal elements come before the value.
    pub right: bool,
    /// The method that errors are reported for.
    pub method: &'static str,
}

impl Operation for SearchSorted {
    const NAME: &'static str = "searchsorted";
    const PRIMITIVE: bool = true;

    fn called(&self) -> &'static str {
        self.method
    }

    fn results(&self, operands: &[Spec]) -> std::result::Result<Vec<Spec>, String> {
        let [sorted, values] = operands else {
            return Err(format!(
                "{} operands instead of sorted elements and values",
                operands.len()
            ));
        };
        let rank = values.shape.rank();
        let fits = rank > 0
            && sorted.shape.rank() == rank
            && sorted.shape[..rank - 1] == values.shape[..rank - 1];
        if !fits {
            return Err(format!(
                "values of shape {} among sorted rows of shape {}",
                values.shape, sorted.shape
            ));
        }
        if sorted.dtype != values.dtype {
            return Err(format!("{} among {}", values.dtype, sorted.dtype));
        }
        Ok(vec![Spec::new(values.shape.clone(), DType::I32)])
    }

    /// All elements of the row beside each value, of which those before it are counted.
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let (sorted, value) = (operands[0].unsqueeze(-2), operands[1].unsqueeze(-1));
        let is_nan = |x: &Tensor| x.ne(x);
        let before = match self.right {
            true => sorted.le(&value).logical_or(is_nan(&value)),
            false => {
                let smaller = sorted.lt(&value);
                smaller.logical_or(is_nan(&value).logical_and(is_nan(&sorted).logical_not()))
            }
        };
        vec![before.to_dtype(DType::I32).sum_dims([-1], false)]
    }

    fn keeps_operand(&self, _: usize) -> bool {
        false
    }

    fn is_constant(&self, _: usize) -> bool {
        true
    }

    fn examples() -> Vec<(SearchSorted, Vec<Spec>)> {
        let case = |right, sorted: &[usize], values: &[usize]| {
            let method = SearchSorted::NAME;
            let specs = vec![Spec::new(sorted, DType::F32), Spec::new(values, DType::F32)];
            (SearchSorted { right, method }, specs)
        };
        vec![
            case(false, &[1], &[7]),
            case(true, &[3, 1], &[3, 5]),
            case(false, &[2, 0], &[2, 3]),
        ]
    }
}
