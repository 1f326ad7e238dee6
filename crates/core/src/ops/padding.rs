//! Tensors with something around them.

use crate::ops::place::lay;
use crate::tensor::{Tensor, create};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{Dims, Shape};

/// What [`Tensor::pad`] puts around a tensor.
#[derive(Clone, Copy, Debug)]
pub enum PadMode {
    /// A number.
    Constant(Scalar),
    /// The elements mirrored at the first and last ones, which are not repeated: `c b [a b c d] c b`.
    Reflect,
    /// The first and last elements: `a a [a b c d] d d`.
    Replicate,
    /// The elements of the other end: `c d [a b c d] a b`.
    Circular,
}

impl PadMode {
    /// Zeros.
    pub const ZERO: PadMode = PadMode::Constant(Scalar::Integer(0));
}

impl Tensor {
    /// The tensor with so many elements more before and behind the last dimension, the one before it, and so on:
    /// `[left, right, top, bottom, front, back]`. Negative numbers take elements away. `torch.nn.functional.pad`.
    ///
    /// Numbers go around any dimensions. What is made of the elements themselves goes around the last one, two or
    /// three of a tensor that has one or two dimensions more, channels and a batch, as in torch; reflections are
    /// shorter than a dimension, and what is circular is no longer.
    ///
    /// ```
    /// # use wgrad::{PadMode, prelude::*};
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2, 3]], &dev);
    /// assert_eq!(x.pad(&[1, 2], PadMode::Constant(9.into())).to_vec::<i32>()?, [9, 1, 2, 3, 9, 9]);
    /// assert_eq!(x.pad(&[1, 2], PadMode::Reflect).to_vec::<i32>()?, [2, 1, 2, 3, 2, 1]);
    /// assert_eq!(x.pad(&[1, 2], PadMode::Replicate).to_vec::<i32>()?, [1, 1, 2, 3, 3, 3]);
    /// assert_eq!(x.pad(&[1, 2], PadMode::Circular).to_vec::<i32>()?, [3, 1, 2, 3, 1, 2]);
    /// assert_eq!(x.pad(&[-1, 0, 1, 0], PadMode::ZERO).to_vec::<i32>()?, [0, 0, 2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn pad(&self, padding: &[isize], with: PadMode) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let shape = x.shape().clone();
            let sides = sides(&shape, padding, place)?;
            let x = x.into_tensor();
            place.within(|| match with {
                PadMode::Constant(value) => constant(&x, &shape, &sides, value, place),
                _ => around(&x, &shape, &sides, with, place),
            })
        })
    }
}

/// Elements before and behind a dimension.
struct Sides {
    dim: usize,
    before: isize,
    behind: isize,
}

fn refused(shape: &Shape, padding: &str, why: &str, place: Place) -> Error {
    let problem = format!("padding {padding} of shape {shape}: {why}");
    Error::shape("pad", place, problem)
}

fn sides(shape: &Shape, padding: &[isize], place: Place) -> Result<Vec<Sides>> {
    let shown = format!("{padding:?}");
    if !padding.len().is_multiple_of(2) {
        let why = "there is one number before and one behind each dimension";
        return Err(refused(shape, &shown, why, place));
    }
    if padding.len() / 2 > shape.rank() {
        return Err(refused(shape, &shown, "there are fewer dimensions", place));
    }
    let mut sides = Vec::new();
    for (i, pair) in padding.chunks_exact(2).enumerate() {
        let dim = shape.rank() - 1 - i;
        let (before, behind) = (pair[0], pair[1]);
        let size = (shape[dim] as isize)
            .checked_add(before)
            .and_then(|size| size.checked_add(behind));
        if size.is_none_or(|size| size < 0) {
            let why = format!("dimension {dim} would have no size");
            return Err(refused(shape, &shown, &why, place));
        }
        let cropped = before.min(0).unsigned_abs() + behind.min(0).unsigned_abs();
        if cropped > shape[dim] {
            let why = format!("dimension {dim} has no {cropped} elements to leave out");
            return Err(refused(shape, &shown, &why, place));
        }
        sides.push(Sides {
            dim,
            before,
            behind,
        });
    }
    Ok(sides)
}

/// The tensor laid into zeros, and the number where it is not.
fn constant(
    x: &Tensor,
    shape: &Shape,
    sides: &[Sides],
    value: Scalar,
    place: Place,
) -> Result<Tensor> {
    let dtype = x.dtype()?;
    if !value.fits(dtype) {
        return Err(create::unfit("pad", value, dtype, place));
    }
    let (mut x, mut to, mut start) = (x.clone(), Dims::from_slice(shape), vec![0; shape.rank()]);
    for side in sides {
        let (d, size) = (side.dim, shape[side.dim]);
        let from = side.before.min(0).unsigned_abs();
        let kept = size.saturating_sub(from + side.behind.min(0).unsigned_abs());
        x = x.narrow(d as isize, from.min(size), kept);
        start[d] = side.before.max(0) as usize;
        to[d] = (size as isize + side.before + side.behind) as usize;
    }
    let kept = x.shape()?;
    if kept[..] == to[..] {
        return Ok(x);
    }
    let to = Shape::from(to);
    let laid = lay(&x, &to, &start, &vec![1; start.len()]);
    if value.to_f64() == 0.0 && !value.to_f64().is_sign_negative() {
        return laid.checked();
    }
    let mut inside: Option<Tensor> = None;
    for d in (0..kept.rank()).filter(|&d| kept[d] != to[d]) {
        let mut along = Dims::from_elem(1, to.rank());
        along[d] = to[d];
        let at = Tensor::arange(to[d], (DType::I32, x.device())).reshape(Shape::from(along));
        let within = at.ge(start[d]).logical_and(at.lt(start[d] + kept[d]));
        inside = Some(match inside {
            Some(inside) => inside.logical_and(within),
            None => within,
        });
    }
    let value = Tensor::full((), value, (dtype, x.device()));
    match inside {
        Some(inside) => inside.where_cond(laid, value).checked(),
        None => laid.checked(),
    }
}

/// The tensor's own elements around it, one dimension after the other.
fn around(
    x: &Tensor,
    shape: &Shape,
    sides: &[Sides],
    with: PadMode,
    place: Place,
) -> Result<Tensor> {
    let shown: Vec<isize> = sides.iter().flat_map(|s| [s.before, s.behind]).collect();
    let shown = format!("{with:?} {shown:?}");
    let spatial = sides.len();
    if !(1..=3).contains(&spatial) || !(1..=2).contains(&(shape.rank() - spatial)) {
        let why = "one to three dimensions have channels before them, and maybe a batch";
        return Err(refused(shape, &shown, why, place));
    }
    let mut x = x.clone();
    for side in sides {
        let fits = fits(side, shape[side.dim] as isize, with);
        if let Err(why) = fits {
            let why = format!("dimension {} {why}", side.dim);
            return Err(refused(shape, &shown, &why, place));
        }
        let parts = parts(&x, side, shape[side.dim] as isize, with);
        x = match &parts[..] {
            [one] => one.clone(),
            _ => Tensor::cat(&parts, side.dim as isize),
        };
    }
    x.checked()
}

/// What is wrong with a side, if anything.
fn fits(side: &Sides, n: isize, with: PadMode) -> Result<(), &'static str> {
    let most = side.before.max(side.behind);
    match with {
        PadMode::Circular => {
            // The other end is that of what is left.
            let left = n + side.before.min(0) + side.behind.min(0);
            match most <= left && left >= 0 {
                true => Ok(()),
                false => Err("is shorter than what goes around it"),
            }
        }
        _ if n == 0 => Err("is empty"),
        _ if n + side.before + side.behind == 0 => Err("would be empty"),
        PadMode::Reflect if most >= n => Err("is not longer than what is reflected"),
        _ => Ok(()),
    }
}

/// What stands along a dimension of `n` elements: what comes before, the elements, what comes behind.
fn parts(x: &Tensor, side: &Sides, n: isize, with: PadMode) -> Vec<Tensor> {
    let dim = side.dim as isize;
    let range = |from: isize, to: isize| x.narrow(dim, from as usize, (to - from) as usize);
    if let PadMode::Circular = with {
        let (from, to) = ((-side.before).max(0), n + side.behind.min(0));
        let (before, behind) = (side.before.max(0), side.behind.max(0));
        let parts = [(to - before, to), (from, to), (from, from + behind)];
        let parts = parts.iter().enumerate();
        let parts = parts.filter(|&(i, &(from, to))| i == 1 || to > from);
        return parts.map(|(_, &(from, to))| range(from, to)).collect();
    }
    // Positions of the result, as positions of the tensor.
    let (start, end) = (-side.before, n + side.behind);
    let mut parts = Vec::new();
    let (low, high) = (end.min(0), start.max(n));
    let repeated = |at: isize, times: isize| {
        let mut sizes = vec![-1; x.rank().unwrap_or(0)];
        sizes[side.dim] = times;
        range(at, at + 1).expand(&sizes[..])
    };
    if start < low {
        parts.push(match with {
            // Position i is -i.
            PadMode::Reflect => range(1 - low, 1 - start).flip([dim]),
            _ => repeated(0, low - start),
        });
    }
    let (from, to) = (start.max(0), end.min(n));
    if from < to {
        parts.push(range(from, to));
    }
    if high < end {
        let mirrored = 2 * (n - 1);
        parts.push(match with {
            // Position i is 2 (n - 1) - i.
            PadMode::Reflect => range(mirrored - end + 1, mirrored - high + 1).flip([dim]),
            _ => repeated(n - 1, end - high),
        });
    }
    parts
}
