//! Colours and scales of values.

use wgrad_core::{Error, Place, Result};

use super::{Pixel, Transform, extent, planes};
use crate::{Array, Random};

/// Bytes as floats from 0 to 1.
///
/// ```
/// use wgrad::data::{Array, transform::to_float};
///
/// assert_eq!(to_float(&Array::full(255u8, [1, 1, 1])).values(), [1.0]);
/// ```
pub fn to_float(image: &Array<u8>) -> Array<f32> {
    image.map(|v| f32::from(v) / 255.0)
}

/// Red, green and blue as one channel: 0.299 r + 0.587 g + 0.114 b.
///
/// ```
/// use wgrad::data::{Array, transform::grayscale};
///
/// let green = Array::new(vec![0.0f32, 1.0, 0.0], [3, 1, 1])?;
/// assert_eq!(grayscale(&green)?.values(), [0.587]);
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where it is not an image of three channels.
#[track_caller]
pub fn grayscale<E: Pixel>(image: &Array<E>) -> Result<Array<E>> {
    let [height, width] = colored("grayscale", image)?;
    let values = luminance(image, height * width).map(E::from_f32);
    Array::new(values.collect(), [1, height, width])
}

#[track_caller]
fn colored<E: Pixel>(op: &'static str, image: &Array<E>) -> Result<[usize; 2]> {
    let [channels, height, width] = extent(op, image)?;
    if channels != 3 {
        return Err(Error::Shape {
            op,
            problem: format!(
                "an image of 3 channels is needed, not of shape {}",
                image.shape()
            ),
            place: Place::caller(),
        });
    }
    Ok([height, width])
}

fn luminance<E: Pixel>(image: &Array<E>, size: usize) -> impl Iterator<Item = f32> {
    let (red, rest) = image.values().split_at(size);
    let (green, blue) = rest.split_at(size);
    let colors = red.iter().zip(green).zip(blue);
    colors.map(|((r, g), b)| 0.299 * r.to_f32() + 0.587 * g.to_f32() + 0.114 * b.to_f32())
}

/// `(image - mean) / std`, channel by channel. ([`normalize`](super::normalize) does it to a batch on the device.)
///
/// ```
/// use wgrad::data::transform::{Normalize, Transform};
/// use wgrad::data::{Array, Random};
///
/// let image = Array::new(vec![0.5f32, 1.0], [2, 1, 1])?;
/// let image = Normalize::new(&[0.5, 0.0], &[0.25, 0.5]).apply(image, &mut Random::new(0))?;
/// assert_eq!(image.values(), [0.0, 2.0]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Normalize {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Normalize {
    /// From a mean and a standard deviation per channel.
    pub fn new(mean: &[f32], std: &[f32]) -> Normalize {
        Normalize {
            mean: mean.to_vec(),
            std: std.to_vec(),
        }
    }
}

impl Transform<f32> for Normalize {
    fn apply(&self, mut image: Array<f32>, _random: &mut Random) -> Result<Array<f32>> {
        let [channels, height, width] = extent("Normalize", &image)?;
        if self.mean.len() != channels || self.std.len() != channels {
            return Err(Error::Shape {
                op: "Normalize",
                problem: format!(
                    "{} means and {} deviations for an image of shape {}",
                    self.mean.len(),
                    self.std.len(),
                    image.shape()
                ),
                place: Place::caller(),
            });
        }
        let scales = self.mean.iter().zip(&self.std);
        let planes = image.values_mut().chunks_exact_mut((height * width).max(1));
        for (plane, (mean, std)) in planes.zip(scales) {
            for v in plane {
                *v = (*v - mean) / std;
            }
        }
        Ok(image)
    }
}

/// Random changes of brightness, contrast, saturation and hue, in random order, as
/// `torchvision.transforms.ColorJitter`. Brightness, contrast and saturation are multiplied by a factor uniform in
/// `max(0, 1 - strength)..1 + strength`, the hue is turned by up to `hue` (at most 0.5) turns. The last two need three
/// channels.
///
/// ```
/// use wgrad::data::transform::{ColorJitter, Transform};
/// use wgrad::data::{Array, Random};
///
/// let jitter = ColorJitter { brightness: 0.4, hue: 0.1, ..Default::default() };
/// let image = jitter.apply(Array::full(100u8, [3, 2, 2]), &mut Random::new(1))?;
/// assert_ne!(image.values()[0], 100);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ColorJitter {
    /// The change of brightness.
    pub brightness: f64,
    /// The change of contrast: of the distance to the mean luminance.
    pub contrast: f64,
    /// The change of saturation: of the distance to the pixel's luminance.
    pub saturation: f64,
    /// The change of hue, in turns.
    pub hue: f64,
}

impl<E: Pixel> Transform<E> for ColorJitter {
    fn apply(&self, image: Array<E>, random: &mut Random) -> Result<Array<E>> {
        let [channels, height, width] = extent("ColorJitter", &image)?;
        if self.saturation > 0.0 || self.hue > 0.0 {
            colored("ColorJitter", &image)?;
        }
        let size = height * width;
        let mut pixels = image.map(Pixel::to_f32);
        let mut order = [0, 1, 2, 3];
        random.shuffle(&mut order);
        let mut factor =
            |strength: f64| random.between((1.0 - strength).max(0.0), 1.0 + strength) as f32;
        let factors = [
            factor(self.brightness),
            factor(self.contrast),
            factor(self.saturation),
        ];
        let turn = random.between(-self.hue, self.hue) as f32;
        for step in order {
            match step {
                0 if self.brightness > 0.0 => brighten::<E>(&mut pixels, factors[0]),
                1 if self.contrast > 0.0 => contrast::<E>(&mut pixels, channels, size, factors[1]),
                2 if self.saturation > 0.0 => saturate::<E>(&mut pixels, size, factors[2]),
                3 if self.hue > 0.0 => shift_hue(&mut pixels, size, E::MAX, turn),
                _ => {}
            }
        }
        Ok(pixels.map(E::from_f32))
    }
}

/// `factor * v + (1 - factor) * other`, within the range of pixels.
fn blend<E: Pixel>(v: &mut f32, other: f32, factor: f32) {
    *v = (factor * *v + (1.0 - factor) * other).clamp(0.0, E::MAX);
}

fn brighten<E: Pixel>(image: &mut Array<f32>, factor: f32) {
    image
        .values_mut()
        .iter_mut()
        .for_each(|v| blend::<E>(v, 0.0, factor));
}

fn contrast<E: Pixel>(image: &mut Array<f32>, channels: usize, size: usize, factor: f32) {
    let sum: f64 = match channels {
        3 => luminance(image, size).map(f64::from).sum(),
        _ => planes(image, size)
            .take(1)
            .flatten()
            .map(|&v| f64::from(v))
            .sum(),
    };
    let mean = (sum / size.max(1) as f64) as f32;
    image
        .values_mut()
        .iter_mut()
        .for_each(|v| blend::<E>(v, mean, factor));
}

fn saturate<E: Pixel>(image: &mut Array<f32>, size: usize, factor: f32) {
    let gray: Vec<f32> = luminance(image, size).collect();
    for plane in image.values_mut().chunks_exact_mut(size.max(1)) {
        for (v, &gray) in plane.iter_mut().zip(&gray) {
            blend::<E>(v, gray, factor);
        }
    }
}

/// Turns the hue of hue, saturation and value (Smith 1978).
fn shift_hue(image: &mut Array<f32>, size: usize, white: f32, turn: f32) {
    let (red, rest) = image.values_mut().split_at_mut(size);
    let (green, blue) = rest.split_at_mut(size);
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        let (max, min) = (r.max(*g).max(*b), r.min(*g).min(*b));
        let range = max - min;
        if range <= 0.0 {
            continue; // gray
        }
        // In sixths of a turn.
        let hue = if max == *r {
            (*g - *b) / range
        } else if max == *g {
            2.0 + (*b - *r) / range
        } else {
            4.0 + (*r - *g) / range
        };
        let hue = (hue + 6.0 * turn).rem_euclid(6.0);
        // How far each colour lies below the greatest, by the distance of its own hue: 0 up to one sixth, all of the
        // range from two sixths on.
        let channel = |own: f32| {
            let apart = (hue - own).abs();
            let apart = apart.min(6.0 - apart);
            (max - range * (apart - 1.0).clamp(0.0, 1.0)).clamp(0.0, white)
        };
        (*r, *g, *b) = (channel(0.0), channel(2.0), channel(4.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hues_turn_as_in_pythons_colorsys() {
        let cases: [([f32; 3], f32, [f32; 3]); 12] = [
            ([0.2, 0.5, 0.9], 0.1, [0.32, 0.2, 0.9]),
            ([0.2, 0.5, 0.9], -0.45, [0.9, 0.81, 0.2]),
            ([0.9, 0.1, 0.3], 0.1, [0.9, 0.38, 0.1]),
            ([0.9, 0.1, 0.3], -0.45, [0.1, 0.86, 0.9]),
            ([0.4, 0.4, 0.4], 0.1, [0.4, 0.4, 0.4]),
            ([0.4, 0.4, 0.4], -0.45, [0.4, 0.4, 0.4]),
            ([1.0, 0.0, 0.0], 0.1, [1.0, 0.6, 0.0]),
            ([1.0, 0.0, 0.0], -0.45, [0.0, 0.7, 1.0]),
            ([0.1, 0.9, 0.2], 0.1, [0.1, 0.9, 0.68]),
            ([0.1, 0.9, 0.2], -0.45, [0.9, 0.1, 0.56]),
            ([0.8, 0.8, 0.1], 0.1, [0.38, 0.8, 0.1]),
            ([0.8, 0.8, 0.1], -0.45, [0.31, 0.1, 0.8]),
        ];
        for (rgb, turn, expected) in cases {
            let mut image = Array::new(rgb.to_vec(), [3, 1, 1]).expect("a pixel");
            shift_hue(&mut image, 1, 1.0, turn);
            for (a, b) in image.values().iter().zip(expected) {
                assert!((a - b).abs() < 1e-5, "{rgb:?} by {turn}: {image:?}");
            }
        }
    }
}
