//! Channels in another order, and channels as pixels: views, and a copy where strides demand one.

use crate::tensor::Tensor;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{Dims, Shape};

impl Tensor {
    /// Of `[.., c r^2, h, w]` the picture `[.., c, h r, w r]` whose squares of `r` by `r` pixels are the channels of
    /// one place ([Shi et al. 2016](https://arxiv.org/abs/1609.05158)). `torch.nn.functional.pixel_shuffle`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[[1, 5]], [[2, 6]], [[3, 7]], [[4, 8]]], &dev); // four channels of a row of two
    /// let y = x.pixel_shuffle(2);
    /// assert_eq!(y.shape()?, [1, 2, 4]);
    /// assert_eq!(y.to_vec::<i32>()?, [1, 2, 5, 6, 3, 4, 7, 8]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn pixel_shuffle(&self, r: usize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let (outer, [c, h, w]) = picture("pixel_shuffle", x.shape(), place)?;
            let square = r.checked_mul(r).filter(|&square| square > 0);
            let Some(square) = square.filter(|&square| c.is_multiple_of(square)) else {
                let problem = format!(
                    "shape {} for squares of {r} by {r}: the channels ({c}) must be a multiple of their elements",
                    x.shape()
                );
                return Err(Error::shape("pixel_shuffle", place, problem));
            };
            let n = outer.len() as isize;
            let apart = joined(&outer, &[c / square, r, r, h, w]);
            let dims: Vec<isize> = (0..=n).chain([n + 3, n + 1, n + 4, n + 2]).collect();
            let to = joined(&outer, &[c / square, h * r, w * r]);
            Ok(place.within(|| self.reshape(apart).permute(&dims[..]).reshape(to)))
        })
    }

    /// The inverse of [`Tensor::pixel_shuffle`]: of `[.., c, h r, w r]` the tensor `[.., c r^2, h, w]`.
    /// `torch.nn.functional.pixel_unshuffle`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[[1, 2, 5, 6], [3, 4, 7, 8]]], &dev);
    /// let y = x.pixel_unshuffle(2);
    /// assert_eq!(y.shape()?, [4, 1, 2]);
    /// assert_eq!(y.to_vec::<i32>()?, [1, 5, 2, 6, 3, 7, 4, 8]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn pixel_unshuffle(&self, r: usize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let (outer, [c, h, w]) = picture("pixel_unshuffle", x.shape(), place)?;
            if r == 0 || !h.is_multiple_of(r) || !w.is_multiple_of(r) {
                let problem = format!(
                    "shape {} for squares of {r} by {r}: height and width must be multiples of {r}",
                    x.shape()
                );
                return Err(Error::shape("pixel_unshuffle", place, problem));
            }
            let n = outer.len() as isize;
            let apart = joined(&outer, &[c, h / r, r, w / r, r]);
            let dims: Vec<isize> = (0..=n).chain([n + 2, n + 4, n + 1, n + 3]).collect();
            // No larger than the tensor, unless that has no elements.
            let to = joined(
                &outer,
                &[c.saturating_mul(r.saturating_mul(r)), h / r, w / r],
            );
            Ok(place.within(|| self.reshape(apart).permute(&dims[..]).reshape(to)))
        })
    }

    /// The channels of `[n, channels, ..]`, at least three dimensions, dealt out: the first of each of `groups` equal
    /// parts, then the second of each ([Zhang et al. 2018](https://arxiv.org/abs/1707.01083)).
    /// `torch.nn.functional.channel_shuffle`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[[1], [2], [3], [4]]], &dev);
    /// assert_eq!(x.channel_shuffle(2).to_vec::<i32>()?, [1, 3, 2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn channel_shuffle(&self, groups: usize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let shape = x.shape();
            if shape.rank() < 3 || groups == 0 || !shape[1].is_multiple_of(groups) {
                let problem = format!(
                    "shape {shape} has no channels in {groups} equal groups: it is [n, channels, ..] of three dimensions \
                     or more, with a multiple of the groups"
                );
                return Err(Error::shape("channel_shuffle", place, problem));
            }
            let apart = joined(&[shape[0], groups, shape[1] / groups], &shape[2..]);
            Ok(place.within(|| self.reshape(apart).transpose(1, 2).reshape(shape)))
        })
    }
}

fn joined(a: &[usize], b: &[usize]) -> Shape {
    a.iter().chain(b).copied().collect()
}

/// The dimensions before a picture's, and the picture's.
fn picture(name: &'static str, shape: &Shape, place: Place) -> Result<(Dims, [usize; 3])> {
    match shape[..] {
        [ref outer @ .., c, h, w] => Ok((Dims::from_slice(outer), [c, h, w])),
        _ => {
            let problem = format!("shape {shape} is no picture: it is [.., channels, h, w]");
            Err(Error::shape(name, place, problem))
        }
    }
}
