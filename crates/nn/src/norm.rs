//! Normalisation of each instance by itself.

use std::fmt;

use wgrad_core::{Error, PadMode, Place, Result, Shape, Target, Tensor, autocast_wide};
use wgrad_derive::Module;

use crate::extent::tuple;
use crate::forward::Forward;
use crate::hooks;
use crate::init;

/// Options of [`LayerNorm`]; the defaults are PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LayerNormOptions {
    /// What is added to the variance, 1e-5 by default.
    pub eps: f64,
    /// Whether there are a weight and, with `bias`, a bias for each element, as by default.
    pub elementwise_affine: bool,
    /// Whether there is a bias beside the weight, as by default.
    pub bias: bool,
}

impl Default for LayerNormOptions {
    fn default() -> LayerNormOptions {
        LayerNormOptions {
            eps: 1e-5,
            elementwise_affine: true,
            bias: true,
        }
    }
}

/// The last dimensions with mean 0 and variance 1, then scaled and shifted, as
/// `torch.nn.LayerNorm` ([Ba et al. 2016](https://arxiv.org/abs/1607.06450)):
///
/// ```text
/// y = (x - mean) / sqrt(variance + eps) * weight + bias
/// ```
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let norm = nn::LayerNorm::new(2, &dev); // or [h, w] for the last two
/// let y = norm.forward(&Tensor::new([[1.0, 3.0], [20.0, 10.0]], &dev))?.to_vec::<f32>()?;
/// assert!((y[0] + 1.0).abs() < 1e-4 && (y[2] - 1.0).abs() < 1e-4);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate, display)]
pub struct LayerNorm {
    /// Of the normalised shape, ones at first.
    pub weight: Option<Tensor>,
    /// Of the normalised shape, zeros at first.
    pub bias: Option<Tensor>,
    #[module(skip)]
    shape: Shape,
    #[module(skip)]
    options: LayerNormOptions,
}

impl LayerNorm {
    /// A layer over the last dimensions, which are `shape`, with the usual options.
    #[track_caller]
    pub fn new(shape: impl Into<Shape>, target: impl Target) -> LayerNorm {
        LayerNorm::with(shape, LayerNormOptions::default(), target)
    }

    /// A layer with options.
    #[track_caller]
    pub fn with(
        shape: impl Into<Shape>,
        options: LayerNormOptions,
        target: impl Target,
    ) -> LayerNorm {
        let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
        let shape = shape.into();
        let affine = options.elementwise_affine;
        LayerNorm {
            weight: affine.then(|| Tensor::ones(&shape, target).requires_grad()),
            bias: (affine && options.bias).then(|| Tensor::zeros(&shape, target).requires_grad()),
            shape,
            options,
        }
    }
}

impl fmt::Display for LayerNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LayerNorm(")?;
        tuple(f, &self.shape)?;
        let (eps, affine) = (self.options.eps, self.options.elementwise_affine);
        let bias = self.bias.is_some();
        write!(
            f,
            ", eps={eps:?}, elementwise_affine={affine}, bias={bias})"
        )
    }
}

impl Forward for LayerNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
            x.layer_norm(&self.shape, weight, bias, self.options.eps)
                .checked()
        })
    }
}

/// Options of [`RmsNorm`]; the defaults are PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RmsNormOptions {
    /// What is added to the mean of the squares; by default the distance between 1 and the next
    /// number of the type.
    pub eps: Option<f64>,
    /// Whether there is a weight for each element, as by default.
    pub elementwise_affine: bool,
}

impl Default for RmsNormOptions {
    fn default() -> RmsNormOptions {
        RmsNormOptions {
            eps: None,
            elementwise_affine: true,
        }
    }
}

/// The last dimensions divided by the root of the mean of their squares, then scaled, as
/// `torch.nn.RMSNorm` ([Zhang and Sennrich 2019](https://arxiv.org/abs/1910.07467)):
/// `y = x / sqrt(mean(x^2) + eps) * weight`.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let y = nn::RmsNorm::new(2, &dev).forward(&Tensor::new([[3.0, 3.0]], &dev))?;
/// assert!((y.to_vec::<f32>()?[0] - 1.0).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate, display)]
pub struct RmsNorm {
    /// Of the normalised shape, ones at first.
    pub weight: Option<Tensor>,
    #[module(skip)]
    shape: Shape,
    #[module(skip)]
    options: RmsNormOptions,
}

impl RmsNorm {
    /// A layer over the last dimensions, which are `shape`, with the usual options.
    #[track_caller]
    pub fn new(shape: impl Into<Shape>, target: impl Target) -> RmsNorm {
        RmsNorm::with(shape, RmsNormOptions::default(), target)
    }

    /// A layer with options.
    #[track_caller]
    pub fn with(shape: impl Into<Shape>, options: RmsNormOptions, target: impl Target) -> RmsNorm {
        let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
        let shape = shape.into();
        let affine = options.elementwise_affine;
        RmsNorm {
            weight: affine.then(|| Tensor::ones(&shape, target).requires_grad()),
            shape,
            options,
        }
    }
}

impl fmt::Display for RmsNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RmsNorm(")?;
        tuple(f, &self.shape)?;
        match self.options.eps {
            Some(eps) => write!(f, ", eps={eps:?}")?,
            None => f.write_str(", eps=none")?,
        }
        write!(
            f,
            ", elementwise_affine={})",
            self.options.elementwise_affine
        )
    }
}

impl Forward for RmsNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            x.rms_norm(&self.shape, self.weight.as_ref(), self.options.eps)
                .checked()
        })
    }
}

/// Options of [`GroupNorm`]; the defaults are PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GroupNormOptions {
    /// What is added to the variance, 1e-5 by default.
    pub eps: f64,
    /// Whether there are a weight and, with `bias`, a bias for each channel, as by default.
    pub affine: bool,
    /// Whether there is a bias beside the weight, as by default.
    pub bias: bool,
}

impl Default for GroupNormOptions {
    fn default() -> GroupNormOptions {
        GroupNormOptions {
            eps: 1e-5,
            affine: true,
            bias: true,
        }
    }
}

/// Groups of channels of `[n, c, ..]` with mean 0 and variance 1, then scaled and shifted by
/// channel, as `torch.nn.GroupNorm` ([Wu and He 2018](https://arxiv.org/abs/1803.08494)).
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let norm = nn::GroupNorm::new(2, 6, &dev);
/// assert_eq!(norm.forward(&Tensor::randn([4, 6, 5, 5], &dev))?.shape()?, [4, 6, 5, 5]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate, display)]
pub struct GroupNorm {
    /// `[num_channels]`, ones at first.
    pub weight: Option<Tensor>,
    /// `[num_channels]`, zeros at first.
    pub bias: Option<Tensor>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    channels: usize,
    #[module(skip)]
    options: GroupNormOptions,
}

impl GroupNorm {
    /// A layer with the usual options. Groups that do not divide the channels are an error of
    /// `forward`.
    #[track_caller]
    pub fn new(num_groups: usize, num_channels: usize, target: impl Target) -> GroupNorm {
        GroupNorm::with(
            num_groups,
            num_channels,
            GroupNormOptions::default(),
            target,
        )
    }

    /// A layer with options.
    #[track_caller]
    pub fn with(
        num_groups: usize,
        num_channels: usize,
        options: GroupNormOptions,
        target: impl Target,
    ) -> GroupNorm {
        let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
        let affine = options.affine;
        GroupNorm {
            weight: affine.then(|| Tensor::ones([num_channels], target).requires_grad()),
            bias: (affine && options.bias)
                .then(|| Tensor::zeros([num_channels], target).requires_grad()),
            groups: num_groups,
            channels: num_channels,
            options,
        }
    }
}

impl fmt::Display for GroupNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (groups, channels, bias) = (self.groups, self.channels, self.bias.is_some());
        let GroupNormOptions { eps, affine, .. } = self.options;
        write!(
            f,
            "GroupNorm({groups}, {channels}, eps={eps:?}, affine={affine}, bias={bias})"
        )
    }
}

impl Forward for GroupNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
            x.group_norm(self.groups, weight, bias, self.options.eps)
                .checked()
        })
    }
}

/// Each element divided by a power of the squares of its neighbours in `size` channels around it,
/// as `torch.nn.LocalResponseNorm`: `y = x / (k + alpha mean(x^2))^beta`
/// ([Krizhevsky et al. 2012](https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks)).
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let norm = nn::LocalResponseNorm { alpha: 1.0, beta: 1.0, ..nn::LocalResponseNorm::new(1) };
/// let y = norm.forward(&Tensor::new([[[1.0], [3.0]]], &dev))?.to_vec::<f32>()?;
/// assert!((y[0] - 0.5).abs() < 1e-6 && (y[1] - 0.3).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Debug)]
#[module(crate = crate, display)]
pub struct LocalResponseNorm {
    /// How many channels are looked at.
    #[module(skip)]
    pub size: usize,
    /// 1e-4 by default.
    #[module(skip)]
    pub alpha: f64,
    /// 0.75 by default.
    #[module(skip)]
    pub beta: f64,
    /// 1 by default.
    #[module(skip)]
    pub k: f64,
}

impl LocalResponseNorm {
    /// A layer with PyTorch's numbers.
    pub fn new(size: usize) -> LocalResponseNorm {
        LocalResponseNorm {
            size,
            alpha: 1e-4,
            beta: 0.75,
            k: 1.0,
        }
    }
}

impl fmt::Display for LocalResponseNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LocalResponseNorm {
            size,
            alpha,
            beta,
            k,
        } = self;
        write!(
            f,
            "LocalResponseNorm({size}, alpha={alpha:?}, beta={beta:?}, k={k:?})"
        )
    }
}

impl Forward for LocalResponseNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            x.local_response_norm(self.size, self.alpha, self.beta, self.k)
                .checked()
        })
    }
}

/// Each element divided by a power of the squares of its neighbours in channels around it, of images `[n, c, h, w]`, as old
/// models have it and `torch.nn.CrossMapLRN2d`: `y = x / (k + alpha / size sum(x^2))^beta`, where the sum is over
/// `r = (size - 1) / 2` channels to both sides. As in torch it keeps the first channel from channel `r + 1` on, which
/// [`LocalResponseNorm`] does not.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let norm = nn::CrossMapLrn2d { alpha: 1.0, beta: 1.0, ..nn::CrossMapLrn2d::new(1) };
/// let y = norm.forward(&Tensor::new([[[[1.0]], [[3.0]]]], &dev))?.to_vec::<f32>()?;
/// assert!((y[0] - 0.5).abs() < 1e-6 && (y[1] - 3.0 / 11.0).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Debug)]
#[module(crate = crate, display)]
pub struct CrossMapLrn2d {
    /// How many channels are looked at.
    #[module(skip)]
    pub size: usize,
    /// 1e-4 by default.
    #[module(skip)]
    pub alpha: f64,
    /// 0.75 by default.
    #[module(skip)]
    pub beta: f64,
    /// 1 by default.
    #[module(skip)]
    pub k: f64,
}

impl CrossMapLrn2d {
    /// A layer with PyTorch's numbers.
    pub fn new(size: usize) -> CrossMapLrn2d {
        let LocalResponseNorm {
            size,
            alpha,
            beta,
            k,
        } = LocalResponseNorm::new(size);
        CrossMapLrn2d {
            size,
            alpha,
            beta,
            k,
        }
    }
}

impl fmt::Display for CrossMapLrn2d {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, alpha, beta, k) = (self.size, self.alpha, self.beta, self.k);
        write!(
            f,
            "CrossMapLrn2d({size}, alpha={alpha:?}, beta={beta:?}, k={k:?})"
        )
    }
}

impl Forward for CrossMapLrn2d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            let place = Place::caller();
            let shape = x.shape()?;
            if shape.rank() != 4 || self.size == 0 {
                let problem = format!(
                    "a window of {} channels for images of shape {shape}: there must be one or more, and four dimensions",
                    self.size
                );
                let op = "cross_map_lrn2d";
                return Err(Error::Shape { op, problem, place });
            }
            let x = &autocast_wide(x);
            let (dtype, r) = (x.dtype()?, (self.size - 1) / 2);
            let sides = [0, 0, 0, 0, r as isize, r as isize];
            let squares = x.to_dtype(dtype.compute()).sqr();
            let around = squares.pad(&sides, PadMode::ZERO).unfold(1, 2 * r + 1, 1);
            let far = Tensor::arange(0..shape[1] as i32, x.device()).gt(r as i32);
            let first = squares.narrow(1, 0, shape[1].min(1));
            let kept = far.reshape([shape[1], 1, 1]).where_cond(first, 0.0);
            let sum = around.sum_dims([-1], false) + kept;
            let scale = (sum * (self.alpha / self.size as f64) + self.k).pow(-self.beta);
            (x.to_dtype(dtype.compute()) * scale)
                .to_dtype(dtype)
                .checked()
        })
    }
}
