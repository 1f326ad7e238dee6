//! Holes in images.

use wgrad_core::Result;

use super::crop::rectangle;
use super::{Pixel, Transform, extent};
use crate::{Array, Random};

/// Makes a rectangle of some images black ([Zhong and others 2017](https://arxiv.org/abs/1708.04896)); with
/// [`RandomErasing::cutout`] a square of fixed size ([DeVries and Taylor 2017](https://arxiv.org/abs/1708.04552)).
///
/// ```
/// use wgrad::data::transform::{RandomErasing, Transform};
/// use wgrad::data::{Array, Random};
///
/// let image = Array::full(1.0f32, [3, 10, 10]);
/// let erased = RandomErasing { p: 1.0, ..Default::default() }.apply(image, &mut Random::new(1))?;
/// assert!(erased.values().contains(&0.0));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomErasing {
    /// The probability that an image is changed.
    pub p: f64,
    /// The least and the greatest share of the image's area.
    pub scale: [f64; 2],
    /// The least and the greatest ratio of width to height.
    pub ratio: [f64; 2],
    /// The value of erased pixels.
    pub value: f32,
    /// A square of this side instead, whose middle is anywhere in the image: it may reach beyond.
    pub side: Option<usize>,
}

impl Default for RandomErasing {
    /// As torchvision's: half of the images, 2 % to 33 % of the area, ratios of 0.3 to 3.3, black.
    fn default() -> RandomErasing {
        RandomErasing {
            p: 0.5,
            scale: [0.02, 0.33],
            ratio: [0.3, 3.3],
            value: 0.0,
            side: None,
        }
    }
}

impl RandomErasing {
    /// A black square in every image.
    pub fn cutout(side: usize) -> RandomErasing {
        RandomErasing {
            p: 1.0,
            side: Some(side),
            ..RandomErasing::default()
        }
    }
}

impl<E: Pixel> Transform<E> for RandomErasing {
    fn apply(&self, mut image: Array<E>, random: &mut Random) -> Result<Array<E>> {
        let [_, height, width] = extent("RandomErasing", &image)?;
        if !random.chance(self.p) || height * width == 0 {
            return Ok(image);
        }
        let (rows, columns) = match self.side {
            Some(side) => {
                let mut stretch = |n: usize| {
                    let middle = random.below(n);
                    let begin = middle.saturating_sub(side / 2);
                    begin..(middle + side - side / 2).min(n)
                };
                (stretch(height), stretch(width))
            }
            None => {
                let Some([h, w]) = rectangle([height, width], self.scale, self.ratio, random)
                else {
                    return Ok(image);
                };
                let (top, left) = (random.below(height - h + 1), random.below(width - w + 1));
                (top..top + h, left..left + w)
            }
        };
        for row in image
            .values_mut()
            .chunks_exact_mut(height * width)
            .flat_map(|plane| {
                plane
                    .chunks_exact_mut(width)
                    .take(rows.end)
                    .skip(rows.start)
            })
        {
            row[columns.clone()].fill(E::from_f32(self.value));
        }
        Ok(image)
    }
}
