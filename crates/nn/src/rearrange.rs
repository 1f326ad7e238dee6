//! Layers that rearrange or resample elements, and functions as layers.

use std::fmt;

use wgrad_core::{ColumnOptions, InterpolateOptions, Resampling, Result, Tensor};
use wgrad_derive::Module;

use crate::extent::{Extent, tuple};
use crate::forward::Forward;
use crate::hooks;

/// The input itself, as `torch.nn.Identity`.
#[derive(Module, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[module(crate = crate)]
pub struct Identity;

impl Forward for Identity {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| x.clone().checked())
    }
}

/// Makes one dimension of those from `start` to `end` (both included), as `torch.nn.Flatten`: by
/// default all but the first, `[n, c, h, w]` to `[n, c * h * w]`.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let y = nn::Flatten::default().forward(&Tensor::zeros([2, 3, 4, 5], &dev))?;
/// assert_eq!(y.shape()?, [2, 60]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Eq, Debug)]
#[module(crate = crate, display)]
pub struct Flatten {
    /// The first of the dimensions; negative ones count from the end.
    #[module(skip)]
    pub start: isize,
    /// The last of them.
    #[module(skip)]
    pub end: isize,
}

impl Default for Flatten {
    fn default() -> Flatten {
        Flatten { start: 1, end: -1 }
    }
}

impl fmt::Display for Flatten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flatten(start_dim={}, end_dim={})", self.start, self.end)
    }
}

impl Forward for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| x.flatten(self.start, self.end).checked())
    }
}

/// Makes several dimensions of one, as `torch.nn.Unflatten`; one of the sizes may be -1.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let y = nn::Unflatten::new(1, [3, 4, -1]).forward(&Tensor::zeros([2, 60], &dev))?;
/// assert_eq!(y.shape()?, [2, 3, 4, 5]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, PartialEq, Eq, Debug)]
#[module(crate = crate, display)]
pub struct Unflatten {
    /// The dimension; negative ones count from the end.
    #[module(skip)]
    pub dim: isize,
    /// What it becomes.
    #[module(skip)]
    pub sizes: Vec<isize>,
}

impl Unflatten {
    /// The dimension `dim` as dimensions of these sizes.
    pub fn new(dim: isize, sizes: impl Into<Vec<isize>>) -> Unflatten {
        let sizes = sizes.into();
        Unflatten { dim, sizes }
    }
}

impl fmt::Display for Unflatten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unflatten(dim={}, unflattened_size=", self.dim)?;
        tuple(f, &self.sizes)?;
        f.write_str(")")
    }
}

impl Forward for Unflatten {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            x.unflatten(self.dim, &self.sizes[..]).checked()
        })
    }
}

macro_rules! channels {
    ($($(#[$doc:meta])* $layer:ident { $(#[$field_doc:meta])* $field:ident } $call:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Module, Clone, Copy, PartialEq, Eq, Debug)]
        #[module(crate = crate, display)]
        pub struct $layer {
            $(#[$field_doc])*
            #[module(skip)]
            pub $field: usize,
        }

        impl $layer {
            /// The layer with this number.
            pub fn new($field: usize) -> $layer {
                $layer { $field }
            }
        }

        impl fmt::Display for $layer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (layer, field) = (stringify!($layer), stringify!($field));
                write!(f, "{layer}({field}={})", self.$field)
            }
        }

        impl Forward for $layer {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                hooks::layer(self, x, |x| x.$call(self.$field).checked())
            }
        }
    )* };
}
channels! {
    /// `[.., c r r, h, w]` as `[.., c, h r, w r]`, as `torch.nn.PixelShuffle`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::PixelShuffle::new(2).forward(&Tensor::zeros([1, 8, 3, 3], &dev))?;
    /// assert_eq!(y.shape()?, [1, 2, 6, 6]);
    /// # Ok::<(), Error>(())
    /// ```
    PixelShuffle {
        /// `r`.
        upscale_factor
    } pixel_shuffle;
    /// `[.., c, h r, w r]` as `[.., c r r, h, w]`, as `torch.nn.PixelUnshuffle`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::PixelUnshuffle::new(2).forward(&Tensor::zeros([1, 2, 6, 6], &dev))?;
    /// assert_eq!(y.shape()?, [1, 8, 3, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    PixelUnshuffle {
        /// `r`.
        downscale_factor
    } pixel_unshuffle;
    /// The channels of `[n, c, ..]` in groups, one of each group in turn, as `torch.nn.ChannelShuffle`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[[1.0], [2.0], [3.0], [4.0]]], &dev);
    /// assert_eq!(nn::ChannelShuffle::new(2).forward(&x)?.to_vec::<f32>()?, [1.0, 3.0, 2.0, 4.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ChannelShuffle {
        /// How many groups there are.
        groups
    } channel_shuffle;
}

/// Of `[n, c, ..]` a tensor of another size, as `torch.nn.Upsample`. The fields are
/// [`InterpolateOptions`]'s: a size, or a factor.
///
/// ```
/// # use wgrad::{Resampling, prelude::*};
/// # let dev = wgrad::cpu();
/// let up = nn::Upsample::by(2.0, Resampling::Linear);
/// assert_eq!(up.forward(&Tensor::zeros([1, 3, 4, 5], &dev))?.shape()?, [1, 3, 8, 10]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug, Default)]
#[module(crate = crate, display)]
pub struct Upsample {
    /// What the new size is, and how elements are made.
    #[module(skip)]
    pub options: InterpolateOptions,
}

impl Upsample {
    /// So many times as large along each dimension behind the channels.
    pub fn by(scale_factor: f64, mode: Resampling) -> Upsample {
        let scale_factor = Some(vec![scale_factor]);
        let options = InterpolateOptions {
            scale_factor,
            mode,
            ..Default::default()
        };
        Upsample { options }
    }

    /// Of this size along each dimension behind the channels (or one for all).
    pub fn to(size: impl Into<Vec<usize>>, mode: Resampling) -> Upsample {
        let size = Some(size.into());
        let options = InterpolateOptions {
            size,
            mode,
            ..Default::default()
        };
        Upsample { options }
    }

    /// With other options.
    pub fn with(options: InterpolateOptions) -> Upsample {
        Upsample { options }
    }
}

impl fmt::Display for Upsample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upsample(")?;
        match (&self.options.size, &self.options.scale_factor) {
            (Some(size), _) => {
                f.write_str("size=")?;
                tuple(f, size)?;
            }
            (None, factors) => {
                f.write_str("scale_factor=")?;
                tuple(f, factors.as_deref().unwrap_or_default())?;
            }
        }
        let mode = match self.options.mode {
            Resampling::Nearest => "nearest",
            Resampling::NearestExact => "nearest-exact",
            Resampling::Linear => "linear",
            Resampling::Bicubic => "bicubic",
            Resampling::Area => "area",
        };
        write!(f, ", mode={mode})")
    }
}

impl Forward for Upsample {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let options = self.options.clone();
        hooks::layer(self, x, |x| x.interpolate_with(options).checked())
    }
}

/// A function as a layer.
///
/// ```
/// # use wgrad::prelude::*;
/// let model = nn::Sequential::new().add(nn::Func::new("Square", |x| x.sqr()));
/// assert_eq!(model.layers()[0].description(), "Square");
/// ```
#[derive(Module)]
#[module(crate = crate, display)]
pub struct Func {
    #[module(skip)]
    name: String,
    #[module(skip)]
    function: Box<dyn Fn(&Tensor) -> Tensor + Send + Sync>,
}

impl Func {
    /// A layer that applies `function`; errors and summaries print `name`.
    pub fn new(
        name: impl Into<String>,
        function: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static,
    ) -> Func {
        Func {
            name: name.into(),
            function: Box::new(function),
        }
    }
}

impl fmt::Display for Func {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Func {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Forward for Func {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::call(self, x, |x| (self.function)(x).checked())
    }
}

/// The windows of images as columns, as `torch.nn.Unfold`: see [`Tensor::im2col`].
///
/// ```
/// # use wgrad::{ColumnOptions, prelude::*};
/// # let dev = wgrad::cpu();
/// let options = ColumnOptions { stride: [4, 4], ..Default::default() };
/// let patches = nn::Unfold::with(4, options); // of a vision transformer
/// assert_eq!(patches.forward(&Tensor::randn([2, 3, 8, 8], &dev))?.shape()?, [2, 48, 4]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Eq, Debug)]
#[module(crate = crate, display)]
pub struct Unfold {
    /// The size of a window.
    #[module(skip)]
    pub kernel_size: [usize; 2],
    /// Dilation, padding, stride.
    #[module(skip)]
    pub options: ColumnOptions,
}

/// Columns added up to images, as `torch.nn.Fold`: see [`Tensor::col2im`].
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let x = Tensor::randn([2, 3, 4, 5], &dev);
/// let columns = nn::Unfold::new(2).forward(&x)?;
/// let y = nn::Fold::new([4, 5], 2).forward(&columns)?;
/// assert_eq!(y.shape()?, [2, 3, 4, 5]); // each element as often as windows cover it
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Eq, Debug)]
#[module(crate = crate, display)]
pub struct Fold {
    /// The size of the images.
    #[module(skip)]
    pub output_size: [usize; 2],
    /// The size of a window.
    #[module(skip)]
    pub kernel_size: [usize; 2],
    /// Dilation, padding, stride.
    #[module(skip)]
    pub options: ColumnOptions,
}

impl Unfold {
    /// Windows of this size, with the usual options.
    pub fn new(kernel_size: impl Into<Extent<2>>) -> Unfold {
        Unfold::with(kernel_size, ColumnOptions::default())
    }

    /// Windows of this size, with options. Those that do not fit are errors of `forward`.
    pub fn with(kernel_size: impl Into<Extent<2>>, options: ColumnOptions) -> Unfold {
        let kernel_size = kernel_size.into().0;
        Unfold {
            kernel_size,
            options,
        }
    }
}

impl Fold {
    /// Windows of a size over images of a size, with the usual options.
    pub fn new(output_size: impl Into<Extent<2>>, kernel_size: impl Into<Extent<2>>) -> Fold {
        Fold::with(output_size, kernel_size, ColumnOptions::default())
    }

    /// The same with options. Those that do not fit are errors of `forward`.
    pub fn with(
        output_size: impl Into<Extent<2>>,
        kernel_size: impl Into<Extent<2>>,
        options: ColumnOptions,
    ) -> Fold {
        Fold {
            output_size: output_size.into().0,
            kernel_size: kernel_size.into().0,
            options,
        }
    }
}

fn windows(f: &mut fmt::Formatter<'_>, kernel: [usize; 2], options: &ColumnOptions) -> fmt::Result {
    let [dilation, padding, stride] =
        [options.dilation, options.padding, options.stride].map(Extent);
    let kernel = Extent(kernel);
    write!(
        f,
        "kernel_size={kernel}, dilation={dilation}, padding={padding}, stride={stride})"
    )
}

impl fmt::Display for Unfold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unfold(")?;
        windows(f, self.kernel_size, &self.options)
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fold(output_size={}, ", Extent(self.output_size))?;
        windows(f, self.kernel_size, &self.options)
    }
}

impl Forward for Unfold {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            x.im2col(self.kernel_size, self.options).checked()
        })
    }
}

impl Forward for Fold {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            x.col2im(self.output_size, self.kernel_size, self.options)
                .checked()
        })
    }
}
