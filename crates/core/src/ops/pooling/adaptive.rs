//! Pools of a given number of windows, which may differ in size by one element and overlap by one.

use super::{AvgPoolOptions, MaxPoolOptions, avg_pool, max_pool, operand};
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

/// More windows along a dimension are taken for a mistake: where they begin is counted one by one.
const MOST_WINDOWS: usize = 1 << 24;

/// The operand, if there may be so many windows.
fn operand_of<const N: usize>(
    name: &'static str,
    x: &Tensor,
    size: &[usize; N],
    place: Place,
) -> Result<Value> {
    let value = operand(name, x, N, place)?;
    if size.contains(&0) || size.iter().any(|&count| count > MOST_WINDOWS) {
        let problem = format!(
            "{size:?} windows of an input of {}: there must be 1 to {MOST_WINDOWS} along each dimension",
            value.shape()
        );
        return Err(Error::value(name, place, problem));
    }
    Ok(value)
}

/// The size of windows that are all of one and do not overlap, if they are.
fn even<const N: usize>(elements: &[usize], size: &[usize; N]) -> Option<[usize; N]> {
    let mut kernel = [0; N];
    for d in 0..N {
        kernel[d] = elements[d] / size[d];
        if kernel[d] == 0 || !elements[d].is_multiple_of(size[d]) {
            return None;
        }
    }
    Some(kernel)
}

/// The windows along dimension `dim` of `x` as `[.., count, longest, ..]`; where each begins `[count, 1]`, and how
/// many elements of each there are `[count, 1]`.
struct Windows {
    x: Tensor,
    first: Tensor,
    length: Tensor,
    inside: Tensor,
}

fn windows(x: &Tensor, dim: isize, count: usize) -> Result<Windows> {
    let shape = x.shape()?;
    let d = dim as usize;
    let from = shape[d];
    let bound = |i: usize| (i * from / count, ((i + 1) * from).div_ceil(count));
    let longest = (0..count)
        .map(|i| bound(i).1 - bound(i).0)
        .max()
        .unwrap_or(0);
    let device = x.device();
    let numbers = |of: &dyn Fn(usize) -> usize| {
        let data: Vec<i32> = (0..count).map(|i| of(i) as i32).collect();
        Tensor::from_vec(data, [count, 1], device)
    };
    let first = numbers(&|i| bound(i).0);
    let length = numbers(&|i| bound(i).1 - bound(i).0);
    let element = Tensor::arange(longest, (DType::I32, device));
    let at = (&first + &element).clamp_max(from as i32 - 1);
    let x = x
        .index_select(dim, &at.flatten(0, -1))
        .unflatten(dim, &[count, longest][..]);
    // Dimensions behind, so that masks broadcast.
    let mut dims = vec![count, longest];
    dims.extend(vec![1; shape.rank() - d - 1]);
    let inside = element.lt(&length).reshape(&dims[..]);
    Ok(Windows {
        x,
        first,
        length,
        inside,
    })
}

pub(super) fn avg<const N: usize>(
    name: &'static str,
    x: &Tensor,
    size: &[usize; N],
    place: Place,
) -> Result<Tensor> {
    let value = operand_of(name, x, size, place)?;
    let lead = value.shape().rank() - N;
    if let Some(kernel) = even(&value.shape()[lead..], size) {
        return avg_pool(name, x, &kernel, &AvgPoolOptions::default(), place);
    }
    let mut y = x.to_dtype(value.dtype().compute());
    for (d, &count) in size.iter().enumerate() {
        let dim = (lead + d) as isize;
        let windows = windows(&y, dim, count)?;
        let sums = windows
            .inside
            .where_cond(&windows.x, 0.0)
            .sum_dims([dim + 1], false);
        let mut dims = vec![count];
        dims.extend(vec![1; N - d - 1]);
        y = sums
            / windows
                .length
                .to_dtype(value.dtype().compute())
                .reshape(&dims[..]);
    }
    y.to_dtype(value.dtype()).checked()
}

pub(super) fn max<const N: usize>(
    name: &'static str,
    x: &Tensor,
    size: &[usize; N],
    place: Place,
) -> Result<(Tensor, Tensor)> {
    let value = operand_of(name, x, size, place)?;
    let lead = value.shape().rank() - N;
    if let Some(kernel) = even(&value.shape()[lead..], size) {
        let (values, at) = max_pool(name, x, &kernel, &MaxPoolOptions::default(), true, place)?;
        return Ok((values, at.unwrap_or_else(|| x.clone())));
    }
    // Dimension by dimension, the last first: so the first of equal elements in the order of the plane wins.
    let mut y = x.clone();
    let mut at: Option<Tensor> = None;
    let mut plane = 1;
    for d in (0..N).rev() {
        let dim = (lead + d) as isize;
        let from = value.shape()[lead + d];
        let windows = windows(&y, dim, size[d])?;
        let seen = windows.inside.where_cond(&windows.x, f64::NEG_INFINITY);
        let (values, element) = seen.max_along(dim + 1, false);
        let mut dims = vec![size[d]];
        dims.extend(vec![1; N - d - 1]);
        let place = windows.first.reshape(&dims[..]) + &element;
        let position = &place * plane as i32;
        at = Some(match at {
            None => position,
            // What the dimensions behind found at that place.
            Some(behind) => position + behind.gather(dim, &place),
        });
        y = values;
        plane *= from;
    }
    Ok((y, at.unwrap_or_else(|| x.clone())))
}
