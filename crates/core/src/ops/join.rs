//! Tensors joined along a dimension.

use crate::autograd::{self, Saves};
use crate::ops::concat::concat;
use crate::ops::elementwise::cast;
use crate::tensor::views::dim_of;
use crate::tensor::{Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

impl Tensor {
    /// The tensors one after the other along `dim`. Types promote; sizes agree in the other
    /// dimensions.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (a, b) = (Tensor::new([[1], [2]], &dev), Tensor::new([[3, 4], [5, 6]], &dev));
    /// assert_eq!(Tensor::cat(&[a, b], 1).to_vec::<i32>()?, [1, 3, 4, 2, 5, 6]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cat(tensors: &[impl AsRef<Tensor>], dim: isize) -> Tensor {
        let place = Place::caller();
        let tensors: Vec<&Tensor> = tensors.iter().map(AsRef::as_ref).collect();
        match tensors.first() {
            Some(first) => Tensor::or_fail(first.device(), cat(&tensors, dim, place)),
            None => {
                let error = Error::value("cat", place, "no tensors to join");
                Tensor::fail(&crate::tensor::device::Device::failed(error.clone()), error)
            }
        }
    }

    /// The tensors, all of one shape, along a new dimension `dim`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::stack(&[Tensor::new([1, 2], &dev), Tensor::new([3, 4], &dev)], 1);
    /// assert_eq!(x.to_vec::<i32>()?, [1, 3, 2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn stack(tensors: &[impl AsRef<Tensor>], dim: isize) -> Tensor {
        let place = Place::caller();
        place.within(|| {
            let parts: Vec<Tensor> = tensors.iter().map(|t| t.as_ref().unsqueeze(dim)).collect();
            Tensor::cat(&parts, dim)
        })
    }
}

/// Most tensors that one kernel joins; more are joined in steps.
const CAT_INPUTS: usize = 6;

fn cat(tensors: &[&Tensor], dim: isize, place: Place) -> Result<Tensor> {
    let mut values = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        values.push(tensor.capture()?);
    }
    let dtype = values.iter().map(Value::dtype).reduce(DType::promote);
    // Torch skips tensors of shape [0] whatever the others' rank, but for the type of the result.
    let is_nothing = |v: &Value| v.shape().rank() == 1 && v.shape()[0] == 0;
    let mut skipped = Vec::new();
    if !values.iter().all(is_nothing) {
        (skipped, values) = values.into_iter().partition(is_nothing);
    }
    let Some(first) = values.first().cloned() else {
        return Err(Error::value("cat", place, "no tensors to join"));
    };
    let d = dim_of("cat", first.shape(), dim, place)?;
    let dtype = dtype.unwrap_or(first.dtype());
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
    }
    let values: Vec<Value> = values
        .iter()
        .map(|v| cast(v, dtype, place))
        .collect::<Result<_>>()?;
    let mut parts = values;
    while parts.len() > CAT_INPUTS {
        parts = parts
            .chunks(CAT_INPUTS)
            .map(|chunk| join(chunk, d, place).and_then(|t| t.capture()))
            .collect::<Result<_>>()?;
    }
    let joined = join(&parts, d, place)?;
    if !skipped.iter().any(|v| autograd::tracks(&[v])) || !dtype.is_float() {
        return Ok(joined);
    }
    // They get gradients all the same, of no elements.
    let joined = joined.capture()?;
    let plain = Value {
        history: None,
        ..joined.clone()
    };
    let operands: Vec<&Value> = std::iter::once(&joined).chain(&skipped).collect();
    let types: Vec<DType> = skipped.iter().map(Value::dtype).collect();
    let saves = Saves::default();
    Ok(autograd::track(
        "cat",
        plain,
        &operands,
        saves,
        place,
        move |c| {
            let nothing = types.iter().map(|&dtype| {
                let device = c.grad.device();
                Some(Tensor::zeros([0usize], (dtype, device)))
            });
            std::iter::once(Some(c.grad.clone()))
                .chain(nothing)
                .collect()
        },
    ))
}

fn join(values: &[Value], d: usize, place: Place) -> Result<Tensor> {
    match values {
        [one] => Ok(one.clone().into_tensor()),
        _ => concat(values, d, place),
    }
}
