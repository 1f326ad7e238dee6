//! Changes of whole batches, on the device.

use wgrad_core::{DType, Error, Place, Result, Tensor};

use crate::{Batch, Random};

/// `(images - mean) / std` for images `[batch, channels, height, width]`; bytes are divided by 255 before. One kernel,
/// together with what follows.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::transform::normalize;
/// # let dev = wgrad::cpu();
/// let images = Tensor::full([1, 1, 1, 1], 255, (DType::U8, &dev));
/// assert_eq!(normalize(&images, &[0.5], &[0.25]).to_vec::<f32>()?, [2.0]);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn normalize(images: &Tensor, mean: &[f32], std: &[f32]) -> Tensor {
    Place::caller().hold(|| {
        let per_channel =
            |values: &[f32]| Tensor::from_slice(values, [values.len(), 1, 1], images.device());
        let images = match images.dtype() {
            Ok(DType::U8) => images.to_dtype(DType::F32) / 255.0,
            _ => images.clone(),
        };
        (images - per_channel(mean)) / per_channel(std)
    })
}

/// Classes as rows of 0 and 1 of type `f32`, which may be mixed; rows of probabilities stay as they are.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::transform::one_hot;
/// # let dev = wgrad::cpu();
/// let classes = Tensor::new([1, 0], &dev);
/// assert_eq!(one_hot(&classes, 3).to_vec::<f32>()?, [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn one_hot(classes: &Tensor, num_classes: usize) -> Tensor {
    Place::caller().hold(|| match classes.dtype() {
        Ok(dtype) if dtype.is_float() => classes.clone(),
        _ => classes.one_hot(num_classes).to_dtype(DType::F32),
    })
}

/// Mixes each example with its neighbour, inputs and targets alike:
/// `l a + (1 - l) b`, with l from the beta distribution of `alpha, alpha`
/// ([Zhang and others 2017](https://arxiv.org/abs/1710.09412)). Targets become rows of probabilities, as
/// `cross_entropy` takes them.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::{Batch, Random, transform::mixup};
/// # let dev = wgrad::cpu();
/// let batch = Batch { x: Tensor::new([[0.0], [1.0]], &dev), y: Tensor::new([0, 1], &dev) };
/// let mixed = mixup(&batch, 2, 0.4, &mut Random::new(1))?;
/// let (x, y) = (mixed.x.to_vec::<f32>()?, mixed.y.to_vec::<f32>()?);
/// assert!((x[0] - y[1]).abs() < 1e-6); // the share of class 1
/// assert_eq!(mixed.y.dims::<2>()?, [2, 2]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] where `alpha` is not above 0, and what the tensors fail with.
#[track_caller]
pub fn mixup(batch: &Batch, num_classes: usize, alpha: f64, random: &mut Random) -> Result<Batch> {
    let place = Place::caller();
    let share = share("mixup", alpha, random, place)?;
    place.hold(|| {
        let mixed = |t: &Tensor| (t * share + t.roll(&[1], [0]) * (1.0 - share)).checked();
        Ok(Batch {
            x: mixed(&batch.x)?,
            y: mixed(&one_hot(&batch.y, num_classes))?,
        })
    })
}

/// Puts a rectangle of each image's neighbour into it, and mixes the targets by area
/// ([Yun and others 2019](https://arxiv.org/abs/1905.04899)). The rectangle has a share 1 - l of the image, where it
/// lies inside, with l from the beta distribution of `alpha, alpha`. Images are `[batch, channels, height, width]`.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::{Batch, Random, transform::cutmix};
/// # let dev = wgrad::cpu();
/// let x = Tensor::stack(&[Tensor::zeros([1, 8, 8], &dev), Tensor::ones([1, 8, 8], &dev)], 0);
/// let batch = Batch { x, y: Tensor::new([0, 1], &dev) };
/// let mixed = cutmix(&batch, 2, 1.0, &mut Random::new(1))?;
/// let ones = mixed.x.select(0, 0).mean().item::<f32>()?;
/// assert!((ones - mixed.y.to_vec::<f32>()?[1]).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] where `alpha` is not above 0, [`Error::Shape`] where there are no images, and what the tensors fail
/// with.
#[track_caller]
pub fn cutmix(batch: &Batch, num_classes: usize, alpha: f64, random: &mut Random) -> Result<Batch> {
    let place = Place::caller();
    let share = share("cutmix", alpha, random, place)?;
    let shape = batch.x.shape()?;
    let &[_, _, height, width] = shape.dims() else {
        return Err(Error::Shape {
            op: "cutmix",
            problem: format!("images have shape [batch, channels, height, width], not {shape}"),
            place,
        });
    };
    let side = (1.0 - share).sqrt();
    let mut stretch = |n: usize| {
        let (middle, half) = (random.below(n), (side * n as f64 / 2.0) as usize);
        middle.saturating_sub(half)..(middle + half).min(n)
    };
    let (rows, columns) = (stretch(height), stretch(width));
    let inside = |i: usize| rows.contains(&(i / width)) && columns.contains(&(i % width));
    let mask: Vec<bool> = (0..height * width).map(inside).collect();
    let area = (rows.len() * columns.len()) as f64 / (height * width).max(1) as f64;
    place.hold(|| {
        let mask = Tensor::from_vec(mask, [height, width], batch.x.device());
        let y = one_hot(&batch.y, num_classes);
        Ok(Batch {
            x: mask
                .where_cond(batch.x.roll(&[1], [0]), &batch.x)
                .checked()?,
            y: (&y * (1.0 - area) + y.roll(&[1], [0]) * area).checked()?,
        })
    })
}

fn share(op: &'static str, alpha: f64, random: &mut Random, place: Place) -> Result<f64> {
    if alpha > 0.0 && alpha.is_finite() {
        return Ok(random.beta(alpha, alpha));
    }
    let problem = format!("alpha is {alpha}; it is finite and above 0");
    Err(crate::split::value(op, problem, place))
}
