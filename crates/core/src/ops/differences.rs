//! Differences of neighbours, and areas under them.

use crate::tensor::views::dim_of;
use crate::tensor::{Rhs, Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

impl Tensor {
    /// The differences of neighbours along `dim`, `n` times, as `torch.diff`: each time one element fewer, as long
    /// as there are any. Of bools whether they differ.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([1, 4, 9, 16], &dev).diff(1, -1).to_vec::<i32>()?, [3, 5, 7]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A tensor without dimensions gives a failed tensor.
    #[track_caller]
    pub fn diff(&self, n: usize, dim: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let d = dim_of("diff", x.shape(), dim, place)?;
            let (mut size, dtype) = (x.shape()[d], x.dtype());
            let mut x = x.into_tensor();
            place.within(|| {
                for _ in 0..n.min(size) {
                    let (a, b) = neighbours(&x, dim, size);
                    x = match dtype {
                        DType::Bool => b.logical_xor(a),
                        _ => b - a,
                    };
                    size = size.saturating_sub(1);
                }
                Ok(x)
            })
        })
    }

    /// The area under the lines through the elements along `dim`, which goes away, by trapezoids:
    /// `torch.trapezoid`. `x` is the distance of neighbours, or a tensor of the places where the elements stand:
    /// a vector, or one that broadcasts to this tensor. Integers give `f32`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([1.0, 5.0, 10.0], &dev);
    /// assert_eq!(y.trapezoid(1.0, -1).item::<f32>()?, 10.5);
    /// assert_eq!(y.trapezoid(&Tensor::new([1.0, 3.0, 6.0], &dev), -1).item::<f32>()?, 28.5);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn trapezoid(&self, x: impl Into<Rhs>, dim: isize) -> Tensor {
        let place = Place::caller();
        let x = x.into();
        self.widened().then(|y| {
            let areas = areas("trapezoid", &y, &x, dim, place)?;
            Ok(place.within(|| areas.sum_dims([dim], false)))
        })
    }

    /// The areas of [`Tensor::trapezoid`] up to each element but the first: `torch.cumulative_trapezoid`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([1.0, 3.0, 5.0], &dev);
    /// assert_eq!(y.cumulative_trapezoid(1.0, 0).to_vec::<f32>()?, [2.0, 6.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cumulative_trapezoid(&self, x: impl Into<Rhs>, dim: isize) -> Tensor {
        let place = Place::caller();
        let x = x.into();
        self.widened().then(|y| {
            let areas = areas("cumulative_trapezoid", &y, &x, dim, place)?;
            Ok(place.within(|| areas.cumsum(dim)))
        })
    }
}

/// All elements but the last, and all but the first.
fn neighbours(x: &Tensor, dim: isize, size: usize) -> (Tensor, Tensor) {
    let (less, one) = (size.saturating_sub(1), size.min(1));
    (x.narrow(dim, 0, less), x.narrow(dim, one, less))
}

/// The areas between neighbours along `dim`.
fn areas(name: &'static str, y: &Value, x: &Rhs, dim: isize, place: Place) -> Result<Tensor> {
    let d = dim_of(name, y.shape(), dim, place)?;
    let (size, rank) = (y.shape()[d], y.shape().rank());
    place.within(|| {
        let (a, b) = neighbours(&y.clone().into_tensor(), dim, size);
        let sums = a + b;
        let width = match x {
            Rhs::Scalar(width) => return Ok(sums * (width.to_f64() / 2.0)),
            Rhs::Tensor(x) => x,
        };
        let (shape, last) = (width.shape()?, (rank - 1 - d) as isize);
        let (dims, at) = match shape.rank() {
            // Along the dimension of the elements.
            1 => {
                let mut dims = vec![1; rank - d];
                dims[0] = shape[0];
                (dims, 0)
            }
            of => (shape.to_vec(), of as isize - 1 - last),
        };
        let points = usize::try_from(at)
            .ok()
            .and_then(|at| dims.get(at))
            .copied();
        if points != Some(size) {
            let problem = format!("places of shape {shape} for shape {}", y.shape());
            return Err(Error::shape(name, place, problem));
        }
        let (from, to) = neighbours(&width.reshape(Shape::new(&dims)), at, size);
        Ok(sums * (to - from) / 2.0)
    })
}
