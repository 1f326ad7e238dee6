//! Matrix products.

use smallvec::SmallVec;

use crate::autograd::{self, Grads, Saves};
use crate::ops::contraction::{accumulated, contract, mismatch, reference};
use crate::ops::elementwise::cast;
use crate::record::node::Contraction;
use crate::tensor::views::{expand, materialized};
use crate::tensor::{Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::layout::Layout;
use crate::types::shape::{Dims, Shape};

impl Tensor {
    /// The matrix product, as `torch.matmul`: vectors are rows on the left and columns on the
    /// right (and their dimension goes away), dimensions before the last two broadcast.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]], &dev);
    /// assert_eq!(x.matmul(&x).to_vec::<f32>()?, [7.0, 10.0, 15.0, 22.0]);
    /// let v = Tensor::new([1.0, 1.0], &dev);
    /// assert_eq!(x.matmul(&v).to_vec::<f32>()?, [3.0, 7.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|a| {
            let b = other.capture()?;
            matmul("matmul", &a, &b, place)
        })
    }

    /// `x W^T + b`, as `torch.nn.functional.linear`: `weight` is `[out, in]`, `bias` `[out]`,
    /// or whatever broadcasts to the result's shape.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 2.0]], &dev);
    /// let (w, b) = (Tensor::new([[1.0, 1.0], [0.0, -1.0]], &dev), Tensor::new([0.5, 0.0], &dev));
    /// assert_eq!(x.linear(&w, Some(&b)).to_vec::<f32>()?, [3.5, -2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let place = Place::caller();
        place.hold(|| {
            let w = match weight.rank() {
                Ok(2) => weight.t(),
                Ok(_) => self.then(|_| {
                    let shape = weight.shape()?;
                    Err(Error::shape(
                        "linear",
                        place,
                        format!("weight of shape {shape} is not a matrix"),
                    ))
                }),
                Err(error) => Tensor::fail(self.device(), error),
            };
            let y = self.then(|x| matmul("linear", &x, &w.capture()?, place));
            let Some(bias) = bias else { return y };
            y.then(|y| {
                let (shape, added) = (y.shape().clone(), bias.shape()?);
                // A larger one would make the result larger.
                if shape.broadcast(&added).as_ref() != Some(&shape) {
                    let problem = format!("bias of shape {added} for a result of shape {shape}");
                    return Err(Error::shape("linear", place, problem));
                }
                Ok(y.into_tensor() + bias)
            })
        })
    }
}

pub(crate) fn matmul(name: &'static str, a: &Value, b: &Value, place: Place) -> Result<Tensor> {
    same_device(name, a, b, place)?;
    let (ra, rb) = (a.shape().rank(), b.shape().rank());
    if ra == 0 || rb == 0 {
        return Err(mismatch(name, a, b, place));
    }
    let dtype = a.dtype().promote(b.dtype());
    if dtype == DType::Bool {
        return Err(Error::dtype(name, place, "bool matrices do not multiply"));
    }
    let compute = accumulated(dtype);
    // Kernels widen 16-bit floats as they read them.
    let seen = |x: &Value| match x.dtype().compute() == compute {
        true => Ok(x.clone()),
        false => cast(x, compute, place),
    };
    let (a, b) = (seen(a)?, seen(b)?);
    // Vectors become matrices of one row or one column.
    let a2 = if ra == 1 {
        a.clone().into_tensor().unsqueeze(0).capture()?
    } else {
        a.clone()
    };
    let b2 = if rb == 1 {
        b.clone().into_tensor().unsqueeze(1).capture()?
    } else {
        b.clone()
    };
    if a2.shape()[a2.shape().rank() - 1] != b2.shape()[b2.shape().rank() - 2] {
        return Err(mismatch(name, &a, &b, place));
    }
    let y = product(name, (&a2, &b2), dtype, place)?;
    let y = if rb == 1 { y.squeeze(-1) } else { y };
    let y = if ra == 1 {
        y.squeeze(if rb == 1 { -1 } else { -2 })
    } else {
        y
    };
    Ok(y)
}

/// The product of matrices with equal inner sizes, batch dimensions broadcast, rounded to `dtype`.
fn product(
    name: &'static str,
    (a, b): (&Value, &Value),
    dtype: DType,
    place: Place,
) -> Result<Tensor> {
    let (ra, rb) = (a.shape().rank(), b.shape().rank());
    let (m, k, n) = (a.shape()[ra - 2], a.shape()[ra - 1], b.shape()[rb - 1]);
    // Rows of a batch that share one right operand are rows of one matrix.
    if ra > 2 && rb == 2 {
        let rows: usize = a.shape()[..ra - 1].iter().product();
        if a.layout().reshape(&Shape::from([rows, k])).is_some() {
            let mut to = Dims::from_slice(&a.shape()[..ra - 1]);
            to.push(n);
            let flat =
                crate::tensor::views::reshape(a, Shape::from([rows, k]), place)?.capture()?;
            return Ok(product(name, (&flat, b), dtype, place)?.reshape(Shape::from(to)));
        }
    }
    let batch_a = Shape::new(&a.shape()[..ra - 2]);
    let batch_b = Shape::new(&b.shape()[..rb - 2]);
    let batch = batch_a
        .broadcast(&batch_b)
        .ok_or_else(|| mismatch(name, a, b, place))?;
    let with = |r: usize, c: usize| {
        let mut dims = Dims::from_slice(&batch);
        dims.extend([r, c]);
        Shape::from(dims)
    };
    let (a, b) = (materialized(a, place)?, materialized(b, place)?);
    let source = |v: &Value, shape: Shape| -> Result<Value> {
        let fits = || mismatch(name, &a, &b, place);
        expand(v, &shape, place).ok_or_else(fits)?.capture()
    };
    let operands = (source(&a, with(m, k))?, source(&b, with(k, n))?);
    let contraction = Contraction::matrices(batch.rank());
    if !a.node.device.fusion() {
        let (a, b) = (operands.0.into_tensor(), operands.1.into_tensor());
        return place.hold(|| {
            let y = reference(&a, &b, contraction);
            y.to_dtype(dtype).checked()
        });
    }
    let y = contract(
        name,
        (&operands.0, &operands.1),
        contraction,
        with(m, n),
        place,
    )?;
    let y = cast(&y, dtype, place)?;
    if !autograd::tracks(&[&a, &b]) {
        return Ok(y.into_tensor());
    }
    let shapes = (a.shape().clone(), b.shape().clone());
    let dtypes = (a.dtype(), b.dtype());
    let columns = (is_transposed(a.layout()), is_transposed(b.layout()));
    let saves = Saves {
        inputs: SmallVec::from_iter([a.clone().into_tensor(), b.clone().into_tensor()]),
        output: false,
    };
    // dA = dC B^T, dB = A^T dC. For an operand that is a transposed view the product is formed
    // transposed, so that the gradient of the matrix behind the view comes out row-major.
    Ok(autograd::track(
        name,
        y,
        &[&a, &b],
        saves,
        place,
        move |c| {
            let (a, b, g) = (&c.inputs[0], &c.inputs[1], c.grad);
            let mut grads = Grads::new();
            grads.push(c.needs[0].then(|| {
                let da = if columns.0 {
                    b.matmul(&g.transpose(-1, -2)).transpose(-1, -2)
                } else {
                    g.matmul(&b.transpose(-1, -2))
                };
                da.sum_to(&shapes.0).to_dtype(dtypes.0)
            }));
            grads.push(c.needs[1].then(|| {
                let db = if columns.1 {
                    g.transpose(-1, -2).matmul(a).transpose(-1, -2)
                } else {
                    a.transpose(-1, -2).matmul(g)
                };
                db.sum_to(&shapes.1).to_dtype(dtypes.1)
            }));
            grads
        },
    ))
}

/// Whether the last two dimensions lie column by column.
fn is_transposed(layout: &Layout) -> bool {
    let rank = layout.shape.rank();
    let (rows, columns) = (layout.shape[rank - 2], layout.shape[rank - 1]);
    rows > 1 && columns > 1 && layout.strides[rank - 2] == 1 && layout.strides[rank - 1] != 1
}
