//! Changes of images: on the host, example by example, and of whole batches on the device.
//!
//! An image is an [`Array`] of shape `[channels, height, width]`, of bytes or of floats from 0 to 1. A [`Transform`] draws
//! its random numbers from the generator that it is given, so that
//! [`Dataset::augment`](crate::Dataset::augment) makes them the same in any thread:
//!
//! ```
//! use wgrad::data::transform::{Compose, Flip, Normalize, RandomCrop, Transform, to_float};
//! use wgrad::data::{Array, Dataset};
//!
//! let set = vec![(Array::full(128u8, [3, 32, 32]), 7)];
//! let crops = Compose::new().then(RandomCrop::new(32, 32).padding(4)).then(Flip::horizontal(0.5));
//! let scale = Normalize::new(&[0.5, 0.5, 0.5], &[0.25, 0.25, 0.25]);
//! let set = set.augment(1, move |(image, label), random| {
//!     let image = to_float(&crops.apply(image, random)?);
//!     Ok((scale.apply(image, random)?, label))
//! });
//! assert_eq!(set.example_in_epoch(0, 3)?.0.dims(), [3, 32, 32]);
//! # Ok::<(), wgrad::Error>(())
//! ```

mod batch;
mod color;
mod crop;
mod erase;
mod resize;
mod rotate;

use wgrad_core::{Element, Error, Place, Result};

pub use batch::{cutmix, mixup, normalize, one_hot};
pub use color::{ColorJitter, Normalize, grayscale, to_float};
pub use crop::{CenterCrop, Flip, Pad, RandomCrop, RandomResizedCrop, crop};
pub use erase::RandomErasing;
pub use resize::{Filter, Resize};
pub use rotate::{RandomRotation, rotate};

use crate::split::value;
use crate::{Array, Random};

/// A number of an image: `u8` from 0 to 255 or `f32` from 0 to 1.
pub trait Pixel: Element {
    /// White.
    const MAX: f32;
    /// Black.
    const ZERO: Self;

    /// The number as a float of the same scale.
    fn to_f32(self) -> f32;

    /// The nearest number of this type.
    fn from_f32(v: f32) -> Self;
}

impl Pixel for u8 {
    const MAX: f32 = 255.0;
    const ZERO: u8 = 0;

    fn to_f32(self) -> f32 {
        f32::from(self)
    }

    fn from_f32(v: f32) -> u8 {
        v.round_ties_even() as u8 // saturates
    }
}

impl Pixel for f32 {
    const MAX: f32 = 1.0;
    const ZERO: f32 = 0.0;

    fn to_f32(self) -> f32 {
        self
    }

    fn from_f32(v: f32) -> f32 {
        v
    }
}

/// A change of an image. Closures are ones too.
///
/// ```
/// use wgrad::data::transform::Transform;
/// use wgrad::data::{Array, Random};
///
/// let negative = |image: Array<u8>, _: &mut Random| Ok(image.map(|v| 255 - v));
/// let image = negative.apply(Array::full(5, [1, 2, 2]), &mut Random::new(0))?;
/// assert_eq!(image.values()[0], 250);
/// # Ok::<(), wgrad::Error>(())
/// ```
pub trait Transform<E: Pixel>: Send + Sync {
    /// The changed image; `random` decides where there is a choice.
    ///
    /// # Errors
    /// [`Error::Shape`] where it is not an image that can be changed so.
    fn apply(&self, image: Array<E>, random: &mut Random) -> Result<Array<E>>;
}

impl<E: Pixel, F> Transform<E> for F
where
    F: Fn(Array<E>, &mut Random) -> Result<Array<E>> + Send + Sync,
{
    fn apply(&self, image: Array<E>, random: &mut Random) -> Result<Array<E>> {
        self(image, random)
    }
}

/// Transforms one after the other.
///
/// ```
/// use wgrad::data::transform::{CenterCrop, Compose, Flip, Transform};
/// use wgrad::data::{Array, Random};
///
/// let steps = Compose::new().then(CenterCrop::new(2, 2)).then(Flip::horizontal(0.5));
/// let image = steps.apply(Array::full(1.0f32, [3, 8, 8]), &mut Random::new(1))?;
/// assert_eq!(image.dims(), [3, 2, 2]);
/// # Ok::<(), wgrad::Error>(())
/// ```
pub struct Compose<E> {
    steps: Vec<Box<dyn Transform<E>>>,
}

impl<E: Pixel> Compose<E> {
    /// No change yet.
    pub fn new() -> Compose<E> {
        Compose { steps: Vec::new() }
    }

    /// A further change.
    pub fn then(mut self, step: impl Transform<E> + 'static) -> Compose<E> {
        self.steps.push(Box::new(step));
        self
    }

    /// A further change of some images: with probability `p`.
    ///
    /// ```
    /// use wgrad::data::transform::{Compose, ColorJitter, Transform};
    /// use wgrad::data::{Array, Random};
    ///
    /// let sometimes = Compose::new().sometimes(0.3, ColorJitter { brightness: 0.5, ..Default::default() });
    /// let image = Array::full(0.5f32, [3, 2, 2]);
    /// let mut random = Random::new(1);
    /// let changed = (0..1000).filter(|_| sometimes.apply(image.clone(), &mut random).unwrap() != image).count();
    /// assert!((250..350).contains(&changed));
    /// ```
    pub fn sometimes(self, p: f64, step: impl Transform<E> + 'static) -> Compose<E> {
        self.then(move |image: Array<E>, random: &mut Random| {
            if random.chance(p) {
                step.apply(image, random)
            } else {
                Ok(image)
            }
        })
    }
}

impl<E: Pixel> Default for Compose<E> {
    fn default() -> Compose<E> {
        Compose::new()
    }
}

impl<E: Pixel> Transform<E> for Compose<E> {
    fn apply(&self, image: Array<E>, random: &mut Random) -> Result<Array<E>> {
        let mut steps = self.steps.iter();
        steps.try_fold(image, |image, step| step.apply(image, random))
    }
}

/// Channels, height and width.
#[track_caller]
fn extent<E: Element>(op: &'static str, image: &Array<E>) -> Result<[usize; 3]> {
    <[usize; 3]>::try_from(image.dims()).map_err(|_| Error::Shape {
        op,
        problem: format!(
            "an image has shape [channels, height, width], not {}",
            image.shape()
        ),
        place: Place::caller(),
    })
}

/// The pixel at `at(y, x)` of the image for each pixel of one of another size; `fill` where there is none.
fn gather<E: Pixel>(
    image: &Array<E>,
    [channels, height, width]: [usize; 3],
    [new_height, new_width]: [usize; 2],
    fill: E,
    at: impl Fn(usize, usize) -> Option<(usize, usize)>,
) -> Result<Array<E>> {
    let mut values = Vec::with_capacity(channels * new_height * new_width);
    for plane in planes(image, height * width) {
        for y in 0..new_height {
            let pixel = |x| at(y, x).map_or(fill, |(y, x)| plane[y * width + x]);
            values.extend((0..new_width).map(pixel));
        }
    }
    Array::new(values, [channels, new_height, new_width])
}

/// The channels' pixels.
fn planes<E: Element>(image: &Array<E>, size: usize) -> impl Iterator<Item = &[E]> {
    image.values().chunks_exact(size.max(1))
}

#[track_caller]
fn refused(op: &'static str, problem: impl Into<String>) -> Error {
    value(op, problem, Place::caller())
}
