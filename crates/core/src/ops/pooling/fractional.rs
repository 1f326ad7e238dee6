//! Pools whose windows begin at random places, so that the result may be any part of the input's size.

use super::operand;
use crate::tensor::Tensor;
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{Dims, Shape};

/// Where the windows along a dimension begin, `[n, c, count]`, by the samples `[n, c]`:
/// `floor((i + u) a) - floor(u a)` with `a = (elements - kernel) / (count - 1)`, and the last at the end.
fn starts(samples: &Tensor, elements: usize, kernel: usize, count: usize) -> Tensor {
    let device = samples.device();
    let u = samples.unsqueeze(-1);
    let i = Tensor::arange(0..count as i32, device);
    let last = (elements - kernel) as i32;
    let pace = f64::from((elements - kernel) as f32 / (count.max(2) - 1) as f32);
    let at = ((i.to_dtype(DType::F32) + &u) * pace).floor() - (u * pace).floor();
    i.eq(count as i32 - 1)
        .where_cond(last, at.to_dtype(DType::I32))
}

/// The largest elements of the windows, and their positions in the planes.
fn pooled<const N: usize>(
    name: &'static str,
    x: &Tensor,
    kernel: &[usize; N],
    size: &[usize; N],
    samples: &Tensor,
    place: Place,
) -> Result<(Tensor, Tensor)> {
    let value = operand(name, x, N, place)?;
    let shape = value.shape().clone();
    let lead = shape.rank() - N;
    let (n, c) = match lead {
        1 => (1, shape[0]),
        _ => (shape[0], shape[1]),
    };
    for d in 0..N {
        let elements = shape[lead + d];
        let room = elements.checked_sub(kernel[d]).map(|rest| rest + 1);
        if kernel[d] == 0 || size[d] == 0 || room.is_none_or(|room| size[d] > room) {
            let problem = format!(
                "{size:?} windows of {kernel:?} over shape {shape}: along dimension {} their number and size must be at \
                 least 1, and their sum at most {}",
                lead + d,
                elements.saturating_add(1)
            );
            return Err(Error::value(name, place, problem));
        }
    }
    let found = samples.shape()?;
    if found[..] != [n, c, N] || !samples.dtype()?.is_float() {
        let problem = format!("samples of shape {found}, not [{n}, {c}, {N}] of floats");
        return Err(Error::shape(name, place, problem));
    }
    let device = x.device().clone();
    place.within(|| {
        let samples = samples.detach().to_dtype(DType::F32);
        // Positions in the plane, [n, c, o.., k..].
        let mut at = Tensor::zeros((), (DType::I32, &device));
        for d in 0..N {
            // Torch's samples of planes are of the width first.
            let own = if N == 2 { 1 - d } else { d };
            let first = starts(
                &samples.select(-1, own as isize),
                shape[lead + d],
                kernel[d],
                size[d],
            );
            let mut dims = Dims::from_slice(&[n, c]);
            dims.extend((0..2 * N).map(|i| if i == d { size[d] } else { 1 }));
            let mut own = Dims::from_elem(1, 2 * N);
            own[N + d] = kernel[d];
            let along = Tensor::arange(0..kernel[d] as i32, &device).reshape(Shape::from(own));
            at = at * shape[lead + d] as i32 + (first.reshape(Shape::from(dims)) + along);
        }
        let (windows, elements) = (
            size.iter().product::<usize>(),
            kernel.iter().product::<usize>(),
        );
        let plane: usize = shape[lead..].iter().product();
        let seen = x
            .reshape([n, c, plane])
            .gather(-1, &at.reshape([n, c, windows * elements]));
        let seen = seen.reshape([n, c, windows, elements]);
        let best = seen.detach().argmax([-1], true);
        let mut to = Dims::from_slice(&shape[..lead]);
        to.extend_from_slice(size);
        let to = Shape::from(to);
        let chosen = |of: &Tensor| of.gather(-1, &best).reshape(to.clone());
        Ok((
            chosen(&seen),
            chosen(&at.reshape([n, c, windows, elements])),
        ))
    })
}

/// Fractional pools.
impl Tensor {
    /// The largest elements of `size` windows of `kernel` elements over `[n, c, h, w]` (or without `n`) that begin at
    /// random places ([Graham 2014](https://arxiv.org/abs/1412.6071)), as `torch.nn.functional.fractional_max_pool2d`.
    /// The places follow from `samples`, numbers in [0, 1) of shape `[n, c, 2]`. Of equal elements the first gets the
    /// gradient.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::arange(0..25, &dev).to_dtype(DType::F32).reshape([1, 1, 5, 5]);
    /// let samples = Tensor::zeros([1, 1, 2], &dev);
    /// let y = x.fractional_max_pool2d([2, 2], [3, 3], &samples);
    /// assert_eq!(y.to_vec::<f32>()?[..3], [6.0, 7.0, 9.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A failed tensor where windows do not fit, or samples have another shape.
    #[track_caller]
    pub fn fractional_max_pool2d(
        &self,
        kernel: [usize; 2],
        size: [usize; 2],
        samples: &Tensor,
    ) -> Tensor {
        self.fractional_max_pool2d_with_indices(kernel, size, samples)
            .0
    }

    /// [`Tensor::fractional_max_pool2d`], and where in the plane of a channel the elements stand (`i32`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::arange(0..25, &dev).to_dtype(DType::F32).reshape([1, 1, 5, 5]);
    /// let samples = Tensor::zeros([1, 1, 2], &dev);
    /// let (_, at) = x.fractional_max_pool2d_with_indices([2, 2], [3, 3], &samples);
    /// assert_eq!(at.to_vec::<i32>()?[..3], [6, 7, 9]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn fractional_max_pool2d_with_indices(
        &self,
        kernel: [usize; 2],
        size: [usize; 2],
        samples: &Tensor,
    ) -> (Tensor, Tensor) {
        let name = "fractional_max_pool2d";
        let made = pooled(name, self, &kernel, &size, samples, Place::caller());
        made.unwrap_or_else(|error| {
            let failed = Tensor::fail(self.device(), error);
            (failed.clone(), failed)
        })
    }

    /// The largest elements of `size` windows of `kernel` elements over `[n, c, d, h, w]` (or without `n`) that begin at
    /// random places ([Graham 2014](https://arxiv.org/abs/1412.6071)), as `torch.nn.functional.fractional_max_pool3d`.
    /// The places follow from `samples`, numbers in [0, 1) of shape `[n, c, 3]`. Of equal elements the first gets the
    /// gradient.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::arange(0..27, &dev).to_dtype(DType::F32).reshape([1, 1, 3, 3, 3]);
    /// let samples = Tensor::zeros([1, 1, 3], &dev);
    /// let y = x.fractional_max_pool3d([2, 2, 2], [2, 2, 2], &samples);
    /// assert_eq!(y.to_vec::<f32>()?[..2], [13.0, 14.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A failed tensor where windows do not fit, or samples have another shape.
    #[track_caller]
    pub fn fractional_max_pool3d(
        &self,
        kernel: [usize; 3],
        size: [usize; 3],
        samples: &Tensor,
    ) -> Tensor {
        self.fractional_max_pool3d_with_indices(kernel, size, samples)
            .0
    }

    /// [`Tensor::fractional_max_pool3d`], and where in the plane of a channel the elements stand (`i32`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::arange(0..27, &dev).to_dtype(DType::F32).reshape([1, 1, 3, 3, 3]);
    /// let samples = Tensor::zeros([1, 1, 3], &dev);
    /// let (_, at) = x.fractional_max_pool3d_with_indices([2, 2, 2], [2, 2, 2], &samples);
    /// assert_eq!(at.to_vec::<i32>()?[..2], [13, 14]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn fractional_max_pool3d_with_indices(
        &self,
        kernel: [usize; 3],
        size: [usize; 3],
        samples: &Tensor,
    ) -> (Tensor, Tensor) {
        let name = "fractional_max_pool3d";
        let made = pooled(name, self, &kernel, &size, samples, Place::caller());
        made.unwrap_or_else(|error| {
            let failed = Tensor::fail(self.device(), error);
            (failed.clone(), failed)
        })
    }
}
