//! Parts of images, borders, reflections.

use wgrad_core::Result;

use super::resize::resized;
use super::{Filter, Pixel, Transform, extent, gather, refused};
use crate::{Array, Random};

/// The part of `height` rows and `width` columns from row `top` and column `left` on; black where it reaches beyond the
/// image (also above and to the left).
///
/// ```
/// use wgrad::data::{Array, transform::crop};
///
/// let image = Array::new(vec![1u8, 2, 3, 4], [1, 2, 2])?;
/// assert_eq!(crop(&image, 1, -1, 1, 2)?.values(), [0, 3]);
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](wgrad_core::Error::Shape) where it is not an image.
#[track_caller]
pub fn crop<E: Pixel>(
    image: &Array<E>,
    top: isize,
    left: isize,
    height: usize,
    width: usize,
) -> Result<Array<E>> {
    cut(image, [top, left], [height, width], E::ZERO)
}

#[track_caller]
fn cut<E: Pixel>(
    image: &Array<E>,
    [top, left]: [isize; 2],
    size: [usize; 2],
    fill: E,
) -> Result<Array<E>> {
    let from @ [_, rows, columns] = extent("crop", image)?;
    let inside = |i: usize, by: isize, n: usize| {
        let at = isize::try_from(i).ok()?.checked_add(by)?;
        usize::try_from(at).ok().filter(|&at| at < n)
    };
    gather(image, from, size, fill, |y, x| {
        inside(y, top, rows).zip(inside(x, left, columns))
    })
}

/// The middle part of an image; black where the image is smaller.
///
/// ```
/// use wgrad::data::transform::{CenterCrop, Transform};
/// use wgrad::data::{Array, Random};
///
/// let image = Array::new((0..16).map(|v| v as f32).collect(), [1, 4, 4])?;
/// let middle = CenterCrop::new(2, 2).apply(image, &mut Random::new(0))?;
/// assert_eq!(middle.values(), [5.0, 6.0, 9.0, 10.0]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CenterCrop([usize; 2]);

impl CenterCrop {
    /// A part of this size.
    pub fn new(height: usize, width: usize) -> CenterCrop {
        CenterCrop([height, width])
    }
}

impl<E: Pixel> Transform<E> for CenterCrop {
    fn apply(&self, image: Array<E>, _random: &mut Random) -> Result<Array<E>> {
        let [_, height, width] = extent("CenterCrop", &image)?;
        // As torchvision: a rest of one pixel goes to the left and top of a crop at even places (Python's round), and
        // of a border to the right and bottom.
        let begin = |old: usize, new: usize| match new > old {
            true => -(((new - old) / 2) as isize),
            false => ((old - new) as f64 / 2.0).round_ties_even() as isize,
        };
        let at = [begin(height, self.0[0]), begin(width, self.0[1])];
        cut(&image, at, self.0, E::ZERO)
    }
}

/// A border around an image.
///
/// ```
/// use wgrad::data::transform::{Pad, Transform};
/// use wgrad::data::{Array, Random};
///
/// let image = Pad::new(1).fill(9).apply(Array::full(1u8, [1, 1, 1]), &mut Random::new(0))?;
/// assert_eq!(image.values(), [9, 9, 9, 9, 1, 9, 9, 9, 9]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pad {
    width: usize,
    fill: f32,
}

impl Pad {
    /// Black pixels on all four sides.
    pub fn new(width: usize) -> Pad {
        Pad { width, fill: 0.0 }
    }

    /// Pixels of another value.
    pub fn fill<E: Pixel>(mut self, value: E) -> Pad {
        self.fill = value.to_f32();
        self
    }
}

impl<E: Pixel> Transform<E> for Pad {
    fn apply(&self, image: Array<E>, _random: &mut Random) -> Result<Array<E>> {
        let [_, height, width] = extent("Pad", &image)?;
        let at = [-(self.width as isize); 2];
        let size = [height + 2 * self.width, width + 2 * self.width];
        cut(&image, at, size, E::from_f32(self.fill))
    }
}

/// A part at a random place, of the image with a black border if wanted.
///
/// ```
/// use wgrad::data::transform::{RandomCrop, Transform};
/// use wgrad::data::{Array, Random};
///
/// // Shifts a digit by up to one pixel in each direction.
/// let shift = RandomCrop::new(8, 8).padding(1);
/// let image = shift.apply(Array::full(1.0f32, [1, 8, 8]), &mut Random::new(0))?;
/// assert_eq!(image.dims(), [1, 8, 8]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomCrop {
    size: [usize; 2],
    padding: usize,
}

impl RandomCrop {
    /// A part of this size.
    pub fn new(height: usize, width: usize) -> RandomCrop {
        RandomCrop {
            size: [height, width],
            padding: 0,
        }
    }

    /// A border on all sides before.
    pub fn padding(mut self, width: usize) -> RandomCrop {
        self.padding = width;
        self
    }
}

impl<E: Pixel> Transform<E> for RandomCrop {
    fn apply(&self, image: Array<E>, random: &mut Random) -> Result<Array<E>> {
        let [_, height, width] = extent("RandomCrop", &image)?;
        let mut begin = |old: usize, new: usize| {
            let room = (old + 2 * self.padding).checked_sub(new)?;
            Some(random.below(room + 1) as isize - self.padding as isize)
        };
        let at = begin(height, self.size[0]).zip(begin(width, self.size[1]));
        let Some((top, left)) = at else {
            let problem = format!(
                "{:?} pixels of an image of [{height}, {width}] with a border of {}",
                self.size, self.padding
            );
            return Err(refused("RandomCrop", problem));
        };
        cut(&image, [top, left], self.size, E::ZERO)
    }
}

/// A part of random size and shape, brought to one size (Szegedy and others 2014, as
/// `torchvision.transforms.RandomResizedCrop`).
///
/// ```
/// use wgrad::data::transform::{RandomResizedCrop, Transform};
/// use wgrad::data::{Array, Random};
///
/// let image = Array::full(7u8, [3, 40, 60]);
/// let part = RandomResizedCrop::new(16, 16).apply(image, &mut Random::new(1))?;
/// assert_eq!(part, Array::full(7u8, [3, 16, 16]));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomResizedCrop {
    /// Height and width of the result.
    pub size: [usize; 2],
    /// The least and the greatest share of the image's area.
    pub scale: [f64; 2],
    /// The least and the greatest ratio of width to height.
    pub ratio: [f64; 2],
    /// How pixels are made.
    pub filter: Filter,
}

impl RandomResizedCrop {
    /// Parts of 8 % to 100 % of the area, of ratios from 3:4 to 4:3.
    pub fn new(height: usize, width: usize) -> RandomResizedCrop {
        RandomResizedCrop {
            size: [height, width],
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            filter: Filter::Bilinear,
        }
    }
}

impl<E: Pixel> Transform<E> for RandomResizedCrop {
    fn apply(&self, image: Array<E>, random: &mut Random) -> Result<Array<E>> {
        let [channels, height, width] = extent("RandomResizedCrop", &image)?;
        let [h, w] = rectangle([height, width], self.scale, self.ratio, random)
            .unwrap_or_else(|| within([height, width], self.ratio));
        let [room_y, room_x] = [height - h, width - w];
        // Where no part was found, the middle one.
        let at = [
            random.below(room_y + 1) as isize,
            random.below(room_x + 1) as isize,
        ];
        let part = cut(&image, at, [h, w], E::ZERO)?;
        resized(&part, [channels, h, w], self.size, self.filter)
    }
}

/// Height and width of a rectangle of random area and ratio that fits; ten tries.
pub(super) fn rectangle(
    [height, width]: [usize; 2],
    scale: [f64; 2],
    ratio: [f64; 2],
    random: &mut Random,
) -> Option<[usize; 2]> {
    let area = (height * width) as f64;
    let (low, high) = (libm::log(ratio[0]), libm::log(ratio[1]));
    (0..10).find_map(|_| {
        let area = area * random.between(scale[0], scale[1]);
        let ratio = libm::exp(random.between(low, high));
        let w = (area * ratio).sqrt().round_ties_even() as usize;
        let h = (area / ratio).sqrt().round_ties_even() as usize;
        let fits = (1..=height).contains(&h) && (1..=width).contains(&w);
        fits.then_some([h, w])
    })
}

/// The largest part with a ratio within bounds.
fn within([height, width]: [usize; 2], ratio: [f64; 2]) -> [usize; 2] {
    let whole = width as f64 / height.max(1) as f64;
    let [h, w] = if whole < ratio[0] {
        [(width as f64 / ratio[0]).round_ties_even() as usize, width]
    } else if whole > ratio[1] {
        [
            height,
            (height as f64 * ratio[1]).round_ties_even() as usize,
        ]
    } else {
        [height, width]
    };
    [h.min(height), w.min(width)]
}

/// A reflection of some images.
///
/// ```
/// use wgrad::data::transform::{Flip, Transform};
/// use wgrad::data::{Array, Random};
///
/// let image = Array::new(vec![1u8, 2, 3, 4], [1, 2, 2])?;
/// let mut random = Random::new(0);
/// assert_eq!(Flip::horizontal(1.0).apply(image.clone(), &mut random)?.values(), [2, 1, 4, 3]);
/// assert_eq!(Flip::vertical(1.0).apply(image, &mut random)?.values(), [3, 4, 1, 2]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Flip {
    p: f64,
    vertical: bool,
}

impl Flip {
    /// Left and right change places with probability `p`.
    pub fn horizontal(p: f64) -> Flip {
        Flip { p, vertical: false }
    }

    /// Above and below change places with probability `p`.
    pub fn vertical(p: f64) -> Flip {
        Flip { p, vertical: true }
    }
}

impl<E: Pixel> Transform<E> for Flip {
    fn apply(&self, image: Array<E>, random: &mut Random) -> Result<Array<E>> {
        let size @ [_, height, width] = extent("Flip", &image)?;
        if !random.chance(self.p) {
            return Ok(image);
        }
        gather(&image, size, [height, width], E::ZERO, |y, x| {
            Some(match self.vertical {
                true => (height - 1 - y, x),
                false => (y, width - 1 - x),
            })
        })
    }
}
