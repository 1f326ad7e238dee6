//! Dropout: elements, or whole channels, that are left out at random in training.
//!
//! The masks are of the device's random numbers, and join the kernels of their neighbours.

use crate::ops::statistics::floats;
use crate::tensor::{Tensor, Value};
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{Dims, Shape};

/// What takes the place of what is left out, and how what stays is scaled.
#[derive(Clone, Copy)]
enum Kind {
    /// Zeros.
    Zero,
    /// The negative saturation of [`Tensor::selu`], so that mean and variance stay.
    Alpha,
}

impl Tensor {
    /// In training each element is 0 with probability `p`, and the others are `1 / (1 - p)` times as large; otherwise
    /// the tensor itself ([Hinton et al. 2012](https://arxiv.org/abs/1207.0580)). Only floats.
    /// `torch.nn.functional.dropout`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::ones([100], &dev).dropout(0.5, true).to_vec::<f32>()?;
    /// assert!(x.iter().all(|&x| x == 0.0 || x == 2.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn dropout(&self, p: f64, training: bool) -> Tensor {
        let each = |shape: &Shape, _| Ok(shape.clone());
        dropped(
            "dropout",
            self,
            p,
            training,
            Kind::Zero,
            each,
            Place::caller(),
        )
    }

    /// [`Tensor::dropout`] of whole channels of `[n, channels, ..]`. `torch.feature_dropout`, and what
    /// `torch.nn.functional.{dropout1d, dropout2d, dropout3d}` do with a batch.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::ones([50, 2, 3], &dev).feature_dropout(0.5, true);
    /// let channels = x.sum_dims([2], false).to_vec::<f32>()?;
    /// assert!(channels.iter().all(|&x| x == 0.0 || x == 6.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn feature_dropout(&self, p: f64, training: bool) -> Tensor {
        let (name, place) = ("feature_dropout", Place::caller());
        let each = |shape: &Shape, place| channels(name, shape, 2, place);
        dropped(name, self, p, training, Kind::Zero, each, place)
    }

    /// [`Tensor::dropout`] of whole channels of `[n, channels, length]` or `[channels, length]`.
    /// `torch.nn.functional.dropout1d`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::ones([50, 3], &dev).dropout1d(0.5, true);
    /// let channels = x.sum_dims([1], false).to_vec::<f32>()?;
    /// assert!(channels.iter().all(|&x| x == 0.0 || x == 6.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn dropout1d(&self, p: f64, training: bool) -> Tensor {
        let (name, place) = ("dropout1d", Place::caller());
        let each = |shape: &Shape, place| match shape.rank() {
            2 | 3 => channels(name, shape, shape.rank() - 1, place),
            _ => channels(name, shape, usize::MAX, place),
        };
        dropped(name, self, p, training, Kind::Zero, each, place)
    }

    /// [`Tensor::feature_dropout`] of pictures, `[n, channels, h, w]`. As in torch three dimensions are
    /// `[n, channels, length]`. `torch.nn.functional.dropout2d`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::ones([50, 2, 2, 2], &dev).dropout2d(0.5, true);
    /// let channels = x.sum_dims([2, 3], false).to_vec::<f32>()?;
    /// assert!(channels.iter().all(|&x| x == 0.0 || x == 8.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn dropout2d(&self, p: f64, training: bool) -> Tensor {
        let (name, place) = ("dropout2d", Place::caller());
        let each = |shape: &Shape, place| match shape.rank() {
            3 | 4 => channels(name, shape, 2, place),
            _ => channels(name, shape, usize::MAX, place),
        };
        dropped(name, self, p, training, Kind::Zero, each, place)
    }

    /// [`Tensor::dropout`] of whole channels of `[n, channels, d, h, w]` or `[channels, d, h, w]`.
    /// `torch.nn.functional.dropout3d`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::ones([50, 1, 2, 2], &dev).dropout3d(0.5, true);
    /// let channels = x.sum_dims([1, 2, 3], false).to_vec::<f32>()?;
    /// assert!(channels.iter().all(|&x| x == 0.0 || x == 8.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn dropout3d(&self, p: f64, training: bool) -> Tensor {
        let (name, place) = ("dropout3d", Place::caller());
        let each = |shape: &Shape, place| match shape.rank() {
            4 | 5 => channels(name, shape, shape.rank() - 3, place),
            _ => channels(name, shape, usize::MAX, place),
        };
        dropped(name, self, p, training, Kind::Zero, each, place)
    }

    /// In training each element is the negative saturation of [`Tensor::selu`] with probability `p`, and all are scaled
    /// and shifted so that a mean of 0 and a variance of 1 stay
    /// ([Klambauer et al. 2017](https://arxiv.org/abs/1706.02515)). `torch.nn.functional.alpha_dropout`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::randn([10_000], &dev).alpha_dropout(0.3, true);
    /// assert!(y.mean().item::<f32>()?.abs() < 0.1);
    /// assert!((y.std().item::<f32>()? - 1.0).abs() < 0.1);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn alpha_dropout(&self, p: f64, training: bool) -> Tensor {
        let each = |shape: &Shape, _| Ok(shape.clone());
        let place = Place::caller();
        dropped("alpha_dropout", self, p, training, Kind::Alpha, each, place)
    }

    /// [`Tensor::alpha_dropout`] of whole channels of `[n, channels, ..]`.
    /// `torch.nn.functional.feature_alpha_dropout`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::ones([20, 5, 2], &dev).feature_alpha_dropout(0.5, true);
    /// let spread = x.max_dims([2], false) - x.min_dims([2], false);
    /// assert_eq!(spread.max().item::<f32>()?, 0.0); // a channel is one thing
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn feature_alpha_dropout(&self, p: f64, training: bool) -> Tensor {
        let (name, place) = ("feature_alpha_dropout", Place::caller());
        let each = |shape: &Shape, place| channels(name, shape, 2, place);
        dropped(name, self, p, training, Kind::Alpha, each, place)
    }
}

/// The shape of a mask that is one for all that lies behind the first `first` dimensions.
fn channels(name: &'static str, shape: &Shape, first: usize, place: Place) -> Result<Shape> {
    if first > shape.rank() {
        let problem = format!("shape {shape} has other dimensions");
        return Err(Error::shape(name, place, problem));
    }
    let mut dims = Dims::from_slice(shape);
    dims[first..].fill(1);
    Ok(Shape::from(dims))
}

fn dropped(
    name: &'static str,
    x: &Tensor,
    p: f64,
    training: bool,
    kind: Kind,
    each: impl FnOnce(&Shape, Place) -> Result<Shape>,
    place: Place,
) -> Tensor {
    x.then(|x: Value| {
        let dtype = floats(name, &x, place)?;
        if !(0.0..=1.0).contains(&p) {
            let problem = format!("the probability must be within 0 and 1, not {p}");
            return Err(Error::value(name, place, problem));
        }
        let mask = each(x.shape(), place)?;
        let x = x.into_tensor();
        if !training || p == 0.0 {
            return Ok(x);
        }
        let keep = 1.0 - p;
        place.within(|| {
            let kept = Tensor::bernoulli(mask, keep, x.device());
            Ok(match kind {
                // With p = 1 nothing is kept: whatever the scale is, it must be finite.
                _ if keep == 0.0 => kept.where_cond(x, 0.0),
                Kind::Zero => kept.where_cond(x * (1.0 / keep), 0.0),
                Kind::Alpha => {
                    // selu's scale times its alpha.
                    const SATURATION: f64 = 1.758_099_340_847_376_6;
                    let scale = ((SATURATION * SATURATION * p + 1.0) * keep).sqrt().recip();
                    let low = -SATURATION * scale;
                    let shift = SATURATION * scale * p;
                    let wide = x.to_dtype(dtype.compute());
                    kept.where_cond(wide * scale + shift, low + shift)
                        .to_dtype(dtype)
                }
            })
        })
    })
}
