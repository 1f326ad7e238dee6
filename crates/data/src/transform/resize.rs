//! Another size.

use wgrad_core::Result;

use super::{Pixel, Transform, extent, gather, planes, refused};
use crate::{Array, Random};

/// How a pixel of another size is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// The pixel whose place is next: `floor(i * old / new)`, as torch's "nearest".
    Nearest,
    /// Between neighbours, over all that a pixel covers where the image becomes smaller (torch's "bilinear" with
    /// `antialias=True`, as PIL).
    #[default]
    Bilinear,
    /// Between the two neighbours in each direction, also where the image becomes smaller (`antialias=False`).
    Linear,
}

/// Another height and width.
///
/// ```
/// use wgrad::data::transform::{Filter, Resize, Transform};
/// use wgrad::data::{Array, Random};
///
/// let image = Array::new(vec![0.0f32, 1.0], [1, 1, 2])?;
/// let wide = Resize::to(1, 4).apply(image.clone(), &mut Random::new(0))?;
/// assert_eq!(wide.values(), [0.0, 0.25, 0.75, 1.0]);
/// let wide = Resize::to(1, 4).filter(Filter::Nearest).apply(image, &mut Random::new(0))?;
/// assert_eq!(wide.values(), [0.0, 0.0, 1.0, 1.0]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Resize {
    size: Size,
    filter: Filter,
}

#[derive(Clone, Copy, Debug)]
enum Size {
    Exactly([usize; 2]),
    Shorter(usize),
}

impl Resize {
    /// This height and width.
    pub fn to(height: usize, width: usize) -> Resize {
        Resize {
            size: Size::Exactly([height, width]),
            filter: Filter::default(),
        }
    }

    /// The shorter side has this length; the other keeps the proportion (rounded down).
    ///
    /// ```
    /// use wgrad::data::transform::{Resize, Transform};
    /// use wgrad::data::{Array, Random};
    ///
    /// let image = Array::full(0u8, [3, 30, 45]);
    /// assert_eq!(Resize::shorter(10).apply(image, &mut Random::new(0))?.dims(), [3, 10, 15]);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn shorter(side: usize) -> Resize {
        Resize {
            size: Size::Shorter(side),
            filter: Filter::default(),
        }
    }

    /// How pixels are made.
    pub fn filter(mut self, filter: Filter) -> Resize {
        self.filter = filter;
        self
    }

    fn target(&self, height: usize, width: usize) -> [usize; 2] {
        let longer = |side: usize, long: usize, short: usize| {
            (side as u128 * long as u128 / short.max(1) as u128) as usize
        };
        match self.size {
            Size::Exactly(size) => size,
            Size::Shorter(side) if height <= width => [side, longer(side, width, height)],
            Size::Shorter(side) => [longer(side, height, width), side],
        }
    }
}

impl<E: Pixel> Transform<E> for Resize {
    fn apply(&self, image: Array<E>, _random: &mut Random) -> Result<Array<E>> {
        let size @ [_, height, width] = extent("Resize", &image)?;
        let target = self.target(height, width);
        resized(&image, size, target, self.filter)
    }
}

pub(super) fn resized<E: Pixel>(
    image: &Array<E>,
    size @ [channels, height, width]: [usize; 3],
    target @ [new_height, new_width]: [usize; 2],
    filter: Filter,
) -> Result<Array<E>> {
    if height * width == 0 && new_height * new_width > 0 {
        return Err(refused(
            "Resize",
            "an image without pixels has no other size",
        ));
    }
    if target == [height, width] {
        return Ok(image.clone());
    }
    if filter == Filter::Nearest {
        let near = |i: usize, old: usize, new: usize| {
            ((i as u64 * old as u64 / new as u64) as usize).min(old - 1)
        };
        return gather(image, size, target, E::ZERO, |y, x| {
            Some((near(y, height, new_height), near(x, width, new_width)))
        });
    }
    let (down, across) = (
        taps(height, new_height, filter),
        taps(width, new_width, filter),
    );
    let mut values = Vec::with_capacity(channels * new_height * new_width);
    for plane in planes(image, height * width) {
        // Rows first to the new width, all of them; then columns.
        let mut rows = Vec::with_capacity(height * new_width);
        for row in plane.chunks_exact(width.max(1)) {
            for (begin, weights) in &across {
                let pixels = weights.iter().zip(&row[*begin..]);
                rows.push(pixels.map(|(w, p)| w * p.to_f32()).sum::<f32>());
            }
        }
        for (begin, weights) in &down {
            for x in 0..new_width {
                let column = rows[begin * new_width + x..].iter().step_by(new_width);
                let sum: f32 = weights.iter().zip(column).map(|(w, p)| w * p).sum();
                values.push(E::from_f32(sum));
            }
        }
    }
    Array::new(values, [channels, new_height, new_width])
}

/// For each new pixel the first old one that it is made of, and the weights: a triangle around the new one's middle,
/// as wide as the larger of an old and (without [`Filter::Linear`]) a new pixel on both sides.
fn taps(old: usize, new: usize, filter: Filter) -> Vec<(usize, Vec<f32>)> {
    let scale = old as f64 / new as f64;
    let reach = if filter == Filter::Linear {
        1.0
    } else {
        scale.max(1.0)
    };
    let tap = |i: usize| {
        let middle = (i as f64 + 0.5) * scale;
        let begin = ((middle - reach + 0.5).max(0.0)) as usize;
        let end = (((middle + reach + 0.5).max(0.0)) as usize).min(old);
        let distance = |j: usize| (j as f64 + 0.5 - middle).abs() / reach;
        let weights: Vec<f64> = (begin..end).map(|j| (1.0 - distance(j)).max(0.0)).collect();
        let sum: f64 = weights.iter().sum();
        (begin, weights.iter().map(|w| (w / sum) as f32).collect())
    };
    (0..new).map(tap).collect()
}
