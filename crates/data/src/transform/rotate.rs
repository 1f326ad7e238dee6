//! Rotations.

use wgrad_core::Result;

use super::{Filter, Pixel, Transform, extent, gather};
use crate::{Array, Random};

/// The image turned counterclockwise around its middle by an angle in degrees; its size stays. Pixels from outside are
/// black.
///
/// ```
/// use wgrad::data::transform::{Filter, rotate};
/// use wgrad::data::Array;
///
/// let image = Array::new(vec![1u8, 2, 3, 4], [1, 2, 2])?;
/// assert_eq!(rotate(&image, 90.0, Filter::Nearest)?.values(), [2, 4, 1, 3]);
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](wgrad_core::Error::Shape) where it is not an image.
#[track_caller]
pub fn rotate<E: Pixel>(image: &Array<E>, degrees: f64, filter: Filter) -> Result<Array<E>> {
    let size @ [channels, height, width] = extent("rotate", image)?;
    let (sin, cos) = libm::sincos(degrees.to_radians());
    // Where a pixel of the result comes from: turned back.
    let source = |y: usize, x: usize| {
        let (dy, dx) = (
            y as f64 + 0.5 - height as f64 / 2.0,
            x as f64 + 0.5 - width as f64 / 2.0,
        );
        (
            dx * sin + dy * cos + height as f64 / 2.0 - 0.5,
            dx * cos - dy * sin + width as f64 / 2.0 - 0.5,
        )
    };
    let inside = |v: f64, n: usize| (v >= 0.0 && v < n as f64).then_some(v as usize);
    if filter == Filter::Nearest {
        // A place between two pixels, but for the rounding of sines, is one of them always.
        let near = |v: f64, n| inside(((v * 1e6).round() / 1e6).round_ties_even(), n);
        return gather(image, size, [height, width], E::ZERO, |y, x| {
            let (y, x) = source(y, x);
            near(y, height).zip(near(x, width))
        });
    }
    let mut values = Vec::with_capacity(channels * height * width);
    for plane in super::planes(image, height * width) {
        let pixel = |y: f64, x: f64| {
            let at = inside(y, height).zip(inside(x, width));
            at.map_or(0.0, |(y, x)| plane[y * width + x].to_f32())
        };
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let (y, x) = source(y, x);
            let (top, left) = (y.floor(), x.floor());
            let (down, right) = ((y - top) as f32, (x - left) as f32);
            let row = |y| pixel(y, left) * (1.0 - right) + pixel(y, left + 1.0) * right;
            values.push(E::from_f32(row(top) * (1.0 - down) + row(top + 1.0) * down));
        }
    }
    Array::new(values, [channels, height, width])
}

/// A rotation by a random angle, uniform between `-degrees` and `degrees`.
///
/// ```
/// use wgrad::data::transform::{RandomRotation, Transform};
/// use wgrad::data::{Array, Random};
///
/// let image = Array::full(1.0f32, [1, 9, 9]);
/// let turned = RandomRotation::new(15.0).apply(image, &mut Random::new(1))?;
/// assert!((turned.values()[40] - 1.0).abs() < 1e-6); // the middle stays
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomRotation {
    degrees: f64,
    filter: Filter,
}

impl RandomRotation {
    /// Pixels are made between their neighbours.
    pub fn new(degrees: f64) -> RandomRotation {
        RandomRotation {
            degrees,
            filter: Filter::Bilinear,
        }
    }

    /// How pixels are made.
    pub fn filter(mut self, filter: Filter) -> RandomRotation {
        self.filter = filter;
        self
    }
}

impl<E: Pixel> Transform<E> for RandomRotation {
    fn apply(&self, image: Array<E>, random: &mut Random) -> Result<Array<E>> {
        let degrees = random.between(-self.degrees, self.degrees);
        rotate(&image, degrees, self.filter)
    }
}
