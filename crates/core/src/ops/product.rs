//! Products of elements.

use crate::autograd::{self, Saves, no_grad};
use crate::ops::elementwise::cast;
use crate::ops::reduce::{dims_or_all, kept_shape};
use crate::ops::scan::{Combine, Scan, product_type, shifted};
use crate::tensor::views::materialized;
use crate::tensor::{Tensor, Value};
use crate::types::error::{Place, Result};
use crate::types::shape::{DimList, Shape};

impl Tensor {
    /// The product of all elements, as `torch.prod`; of none it is 1. Of the types of [`Tensor::sum`].
    #[track_caller]
    pub fn prod(&self) -> Tensor {
        self.prod_dims(.., false)
    }

    /// The product over `dims`, which go away unless `keepdim`. An empty list means all dimensions.
    ///
    /// The gradient of an element is the product of the others: nothing is divided by, so it is right where
    /// elements are 0.
    ///
    /// ```ignore
    /// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]], &dev);
    /// x.prod_dims([0], false); // [3, 8]
    /// ```
    #[track_caller]
    pub fn prod_dims(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let dims = dims_or_all("prod", x.shape(), &dims, place)?;
            product(&x, &dims, keepdim, place)
        })
    }
}

fn product(x: &Value, dims: &[usize], keepdim: bool, place: Place) -> Result<Tensor> {
    let dtype = product_type(x)?;
    let x = materialized(&cast(x, dtype.compute(), place)?, place)?;
    let shape = x.shape().clone();
    let kept: Vec<usize> = (0..shape.rank()).filter(|d| !dims.contains(d)).collect();
    let result: Shape = match keepdim {
        true => kept_shape(&shape, dims),
        false => kept.iter().map(|&d| shape[d]).collect(),
    };
    let n: usize = dims.iter().map(|&d| shape[d]).product();
    let turned: Vec<isize> = kept.iter().chain(dims).map(|&d| d as isize).collect();
    let mut rows: Vec<usize> = kept.iter().map(|&d| shape[d]).collect();
    rows.push(n);
    place.hold(|| {
        // The factors of each product as a row.
        let rows = x
            .into_tensor()
            .permute(&turned[..])
            .reshape(Shape::new(&rows));
        Ok(total(&rows.capture()?, n, place)?
            .reshape(&result)
            .to_dtype(dtype))
    })
}

/// The products of rows of `n` elements: the last of the running products.
fn total(rows: &Value, n: usize, place: Place) -> Result<Tensor> {
    let last = |rows: &Tensor| {
        let forwards = Scan {
            combine: Combine::Product,
            reverse: false,
        };
        forwards.of(rows).narrow(-1, n - 1, 1)
    };
    let x = rows.clone().into_tensor();
    let y = match n {
        // Of the shape, and there is nothing to sum.
        0 => x.sum_dims([-1], true) + 1,
        1 => return Ok(x),
        _ => no_grad(|| last(&x)),
    };
    if !autograd::tracks(&[rows]) {
        return Ok(y);
    }
    let saves = Saves {
        inputs: [x].into_iter().collect(),
        output: false,
    };
    let rule = |c: &autograd::Context<'_>| {
        let x = &c.inputs[0];
        let others = |reverse| {
            let scan = Scan {
                combine: Combine::Product,
                reverse,
            };
            shifted(&scan.of(x), reverse, 1, 1.0)
        };
        [Some(others(false) * others(true) * c.grad)]
            .into_iter()
            .collect()
    };
    Ok(autograd::track(
        "prod",
        y.capture()?,
        &[rows],
        saves,
        place,
        rule,
    ))
}
