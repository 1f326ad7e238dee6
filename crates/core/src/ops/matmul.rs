//! Matrix products.

use crate::ops::contraction::{Names, mismatch, product};
use crate::tensor::{Tensor, Value, same_device};
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

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
        let [x, weight] = [self, weight].map(|x| x.narrowed(place));
        let bias = bias.map(|bias| bias.narrowed(place));
        place.within(|| {
            let w = match weight.rank() {
                Ok(2) => weight.t(),
                Ok(_) => x.then(|_| {
                    let shape = weight.shape()?;
                    Err(Error::shape(
                        "linear",
                        place,
                        format!("weight of shape {shape} is not a matrix"),
                    ))
                }),
                Err(error) => Tensor::fail(self.device(), error),
            };
            let y = x.then(|x| matmul("linear", &x, &w.capture()?, place));
            let Some(bias) = &bias else { return y };
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
        return Err(mismatch(name, a, b, place));
    }
    let y = matrices(name, (&a2, &b2), place)?;
    let y = if rb == 1 { y.squeeze(-1) } else { y };
    let y = if ra == 1 {
        y.squeeze(if rb == 1 { -1 } else { -2 })
    } else {
        y
    };
    Ok(y)
}

/// The product of matrices with equal inner sizes, batch dimensions broadcast.
fn matrices(name: &'static str, (a, b): (&Value, &Value), place: Place) -> Result<Tensor> {
    let [m, k, n] = [0, 1, 2];
    let leading = |x: &Value| Shape::new(&x.shape()[..x.shape().rank() - 2]);
    let batch = leading(a)
        .broadcast(&leading(b))
        .ok_or_else(|| mismatch(name, a, b, place))?;
    // Batch dimensions are named from the last on. Of an operand that is the same along one the dimension is left
    // out: rows of a batch that share one right operand are rows of one matrix.
    let named = |x: &Value, last: [u8; 2]| -> Result<(Value, Names)> {
        let rank = x.shape().rank() - 2;
        let mut names = Names::new();
        let mut squeezed = x.clone();
        for (d, &size) in x.shape()[..rank].iter().enumerate() {
            let from_last = rank - 1 - d;
            if size == batch[batch.rank() - 1 - from_last] {
                names.push(n + 1 + from_last as u8);
            } else {
                let at = names.len() as isize;
                squeezed = squeezed.into_tensor().squeeze(at).capture()?;
            }
        }
        names.extend(last);
        Ok((squeezed, names))
    };
    let (a, a_names) = named(a, [m, k])?;
    let (b, b_names) = named(b, [k, n])?;
    let to = (0..batch.rank() as u8).rev().map(|d| n + 1 + d);
    let to = to.chain([m, n]).collect();
    product(name, (&a, &a_names), (&b, &b_names), &to, place)
}
