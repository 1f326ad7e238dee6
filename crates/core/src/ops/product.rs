//! Products of elements.

use crate::autograd::{self, Saves};
use crate::kernel::ReduceOp;
use crate::ops::elementwise::cast;
use crate::ops::reduce::{dims_or_all, keep, kept_shape, reduce};
use crate::ops::scan::{Combine, Scan, product_type, shifted};
use crate::tensor::views::materialized;
use crate::tensor::{Tensor, Value};
use crate::types::error::{Place, Result};
use crate::types::shape::{DimList, Shape};

impl Tensor {
    /// The product of all elements, as `torch.prod`; of none it is 1. Of the types of [`Tensor::sum`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([2, 3, 4], &dev).prod().item::<i32>()?, 24);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn prod(&self) -> Tensor {
        self.prod_dims(.., false)
    }

    /// The product over `dims`, which go away unless `keepdim`. An empty list means all dimensions.
    ///
    /// The gradient of an element is the product of the others: nothing is divided by, so it is right where
    /// elements are 0.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]], &dev);
    /// assert_eq!(x.prod_dims([0], false).to_vec::<f32>()?, [3.0, 8.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn prod_dims(&self, dims: impl DimList, keepdim: bool) -> Tensor {
        let place = Place::caller();
        self.widened().then(|x| {
            let dims = dims_or_all("prod", x.shape(), &dims, place)?;
            product(&x, &dims, keepdim, place)
        })
    }
}

fn product(x: &Value, dims: &[usize], keepdim: bool, place: Place) -> Result<Tensor> {
    let dtype = product_type(x)?;
    let x = materialized(&cast(x, dtype.compute(), place)?, place)?;
    let shape = x.shape().clone();
    let y = reduce("prod", ReduceOp::Product, &x, dims, x.dtype(), place)?;
    let y = keep(y, &shape, dims, keepdim);
    if !autograd::tracks(&[&x]) {
        return Ok(place.within(|| y.into_tensor().to_dtype(dtype)));
    }
    let saves = Saves {
        inputs: [x.clone().into_tensor()].into_iter().collect(),
        output: false,
    };
    let kept = kept_shape(&shape, dims);
    let order: Vec<usize> = (0..shape.rank())
        .filter(|d| !dims.contains(d))
        .chain(dims.iter().copied())
        .collect();
    let outer = shape.rank() - dims.len();
    let y = autograd::track("prod", y, &[&x], saves, place, move |c| {
        let others = others(&c.inputs[0], &order, outer);
        [Some(others * c.grad.reshape(&kept))].into_iter().collect()
    });
    Ok(place.within(|| y.to_dtype(dtype)))
}

/// For each element the product of the others that are reduced with it: of those before it and those after it.
/// `order` has the kept dimensions, `outer` of them, and then the reduced ones.
fn others(x: &Tensor, order: &[usize], outer: usize) -> Tensor {
    let moved = || -> Result<Tensor> {
        let turned: Vec<isize> = order.iter().map(|&d| d as isize).collect();
        let x = x.permute(&turned[..]);
        let shape = x.shape()?;
        let n: usize = shape[outer..].iter().product();
        let rows: Shape = shape[..outer].iter().copied().chain([n]).collect();
        let rows = x.reshape(rows);
        let running = |reverse| {
            let scan = Scan {
                combine: Combine::Product,
                reverse,
            };
            shifted(&scan.of(&rows), reverse, 1, 1.0)
        };
        let others = (running(false) * running(true)).reshape(shape);
        let mut back = vec![0; turned.len()];
        for (i, &d) in order.iter().enumerate() {
            back[d] = i as isize;
        }
        Ok(others.permute(&back[..]))
    };
    Tensor::or_fail(x.device(), moved())
}
