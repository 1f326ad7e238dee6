//! Indexing by tensors: gather, index_select, embedding, and their derivative.

use smallvec::SmallVec;

use crate::autograd::{self, Grads, Saves};
use crate::elementwise::cast;
use crate::error::{Error, Place, Result};
use crate::layout::Layout;
use crate::node::Op;
use crate::shape::{Dims, Shape};
use crate::tensor::{Tensor, Value, record, same_device};
use crate::views::{dim_of, materialized};

impl Tensor {
    /// `out[.., i, ..] = self[.., index[.., i, ..], ..]` along `dim`, as `torch.gather`: the index
    /// has this tensor's rank, and no dimension but `dim` larger than this tensor's. A tensor without
    /// dimensions counts as one of one element, and so does an index; an empty index fits always.
    ///
    /// An index out of range gives NaN there (0 for integers), and
    /// [`Error::IndexOutOfRange`] at this thread's next read.
    #[track_caller]
    pub fn gather(&self, dim: isize, index: &Tensor) -> Tensor {
        gather_along("gather", self, dim, index, Place::caller())
    }

    /// The elements at the positions `index` (one dimension or none, any integers) of dimension
    /// `dim`. From a tensor without dimensions only one can be selected. Bad indices as in
    /// [`Tensor::gather`].
    #[track_caller]
    pub fn index_select(&self, dim: isize, index: &Tensor) -> Tensor {
        index_select("index_select", self, dim, index, Place::caller())
    }

    /// Rows of this `[n, d]` matrix: for an index of shape `S` a tensor of shape `[S.., d]`, as
    /// `torch.nn.functional.embedding(index, weight)`. Bad indices as in [`Tensor::gather`].
    #[track_caller]
    pub fn embedding(&self, index: &Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.shape().rank() != 2 {
                let problem = format!("table of shape {} is not a matrix", x.shape());
                return Err(Error::shape("embedding", place, problem));
            }
            let shape = index.shape()?;
            let flat = place.hold(|| index.reshape((-1,)));
            let index = integer("embedding", &flat, &x, place)?;
            let (n, width) = (index.shape()[0], x.shape()[1]);
            let strides = SmallVec::from_iter([index.layout().strides[0], 0]);
            let layout = Layout {
                shape: [n, width].into(),
                strides,
                offset: index.layout().offset,
            };
            let rows = gather("embedding", &x, 0, &index, layout, place)?;
            let mut to = Dims::from_slice(&shape);
            to.push(width);
            Ok(place.hold(|| rows.reshape(Shape::from(to))))
        })
    }
}

/// [`Tensor::gather`], reported under another name.
pub(crate) fn gather_along(
    name: &'static str,
    x: &Tensor,
    dim: isize,
    index: &Tensor,
    place: Place,
) -> Tensor {
    x.then(|x| {
        let index = integer(name, index, &x, place)?;
        let shape = index.shape().clone();
        let (x, index) = (one_dimensional(x)?, one_dimensional(index)?);
        let d = dim_of(name, x.shape(), dim, place)?;
        if shape.numel() == 0 {
            let nothing = || x.into_tensor().reshape([-1isize]).narrow(0, 0, 0);
            return Ok(place.hold(|| nothing().reshape(&shape)));
        }
        let fits = index.shape().rank() == x.shape().rank()
            && (0..x.shape().rank()).all(|i| i == d || index.shape()[i] <= x.shape()[i]);
        if !fits {
            let problem = format!("index of shape {shape} for shape {}", x.shape());
            return Err(Error::shape(name, place, problem));
        }
        let mut part = x.clone().into_tensor();
        for i in (0..x.shape().rank()).filter(|&i| i != d && index.shape()[i] < x.shape()[i]) {
            part = part.narrow(i as isize, 0, index.shape()[i]);
        }
        let layout = index.layout().clone();
        let y = gather(name, &part.capture()?, d, &index, layout, place)?;
        Ok(place.hold(|| y.reshape(&shape)))
    })
}

/// [`Tensor::index_select`], reported under another name.
pub(crate) fn index_select(
    name: &'static str,
    x: &Tensor,
    dim: isize,
    index: &Tensor,
    place: Place,
) -> Tensor {
    x.then(|x| {
        let index = integer(name, index, &x, place)?;
        let n = index.shape().numel();
        let scalar = x.shape().rank() == 0;
        if index.shape().rank() > 1 || (scalar && n != 1) {
            let problem = format!("index of shape {} for shape {}", index.shape(), x.shape());
            return Err(Error::shape(name, place, problem));
        }
        let x = one_dimensional(x)?;
        let d = dim_of(name, x.shape(), dim, place)?;
        let mut dims = Dims::from_slice(x.shape());
        dims[d] = n;
        let stride = index.layout().strides.first().copied().unwrap_or(0);
        let mut strides = SmallVec::from_elem(0, x.shape().rank());
        strides[d] = stride;
        let layout = Layout {
            shape: Shape::from(dims),
            strides,
            offset: index.layout().offset,
        };
        let y = gather(name, &x, d, &index, layout, place)?;
        Ok(if scalar { y.squeeze(0) } else { y })
    })
}

/// The value, or what has no dimensions as a vector of one element.
fn one_dimensional(x: Value) -> Result<Value> {
    match x.shape().rank() {
        0 => x.into_tensor().unsqueeze(0).capture(),
        _ => Ok(x),
    }
}

/// The value of an index tensor on the device of `x`.
fn integer(name: &'static str, index: &Tensor, x: &Value, place: Place) -> Result<Value> {
    let index = materialized(&index.capture()?, place)?;
    if !index.dtype().is_integer() {
        return Err(Error::dtype(
            name,
            place,
            format!("an index must hold integers, not {}", index.dtype()),
        ));
    }
    same_device(name, x, &index, place)?;
    Ok(index)
}

/// Records a gather; `layout` is the index over the result's shape.
fn gather(
    name: &'static str,
    x: &Value,
    dim: usize,
    index: &Value,
    layout: Layout,
    place: Place,
) -> Result<Tensor> {
    let x = materialized(x, place)?;
    let shape = layout.shape.clone();
    let inputs = [x.source(), index.source_as(layout.clone())]
        .into_iter()
        .collect();
    let y = record(
        name,
        &x.node.device,
        Op::Gather { name, dim },
        inputs,
        shape,
        x.dtype(),
        place,
    )?;
    if !x.dtype().is_float() || !autograd::tracks(&[&x]) {
        return Ok(y.into_tensor());
    }
    let size = x.shape()[dim];
    let over = index.through(layout);
    let saves = Saves {
        inputs: SmallVec::from_iter([over.into_tensor()]),
        output: false,
    };
    Ok(autograd::track(name, y, &[&x], saves, place, move |c| {
        let place = Place::caller();
        let grad = c
            .grad
            .then(|g| scatter_add(name, &g, dim, size, &c.inputs[0].capture()?, place));
        SmallVec::from_iter([Some(grad)])
    }))
}

/// Sums `source` into `size` places along `dim`, as the index over its shape says.
fn scatter_add(
    name: &'static str,
    source: &Value,
    dim: usize,
    size: usize,
    index: &Value,
    place: Place,
) -> Result<Tensor> {
    let dtype = source.dtype();
    let source = materialized(&cast(source, dtype.compute(), place)?, place)?;
    let mut dims = Dims::from_slice(source.shape());
    dims[dim] = size;
    let inputs = [source.source(), index.source()].into_iter().collect();
    let op = Op::ScatterAdd { name, dim, size };
    let y = record(
        name,
        &source.node.device,
        op,
        inputs,
        Shape::from(dims),
        source.dtype(),
        place,
    )?;
    let y = if autograd::tracks(&[&source]) {
        let saves = Saves {
            inputs: SmallVec::from_iter([index.clone().into_tensor()]),
            output: false,
        };
        autograd::track(name, y, &[&source], saves, place, move |c| {
            let place = Place::caller();
            let grad = c.grad.then(|g| {
                let index = c.inputs[0].capture()?;
                gather(name, &g, dim, &index, index.layout().clone(), place)
            });
            let mut grads = Grads::new();
            grads.push(Some(grad));
            grads
        })
    } else {
        y.into_tensor()
    };
    Ok(place.hold(|| y.to_dtype(dtype)))
}
