//! Pooling: one number for each window, of each channel by itself.

use std::fmt;

use wgrad_core::{
    AvgPoolOptions, Error, LpPoolOptions, MaxPoolOptions, Place, Result, Tensor, UnpoolOptions,
};
use wgrad_derive::Module;

use crate::extent::{Extent, OutputSize, tuple};
use crate::forward::Forward;
use crate::hooks;

/// The largest element of each window, as `torch.nn.MaxPool1d` to `MaxPool3d`: of `[n, c, ..]`, with
/// or without `n`, `(s + 2 padding - dilation (kernel - 1) - 1) / stride + 1` elements along each
/// dimension. Without a stride, windows do not overlap.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let x = Tensor::new([[1.0, 3.0, 2.0, 5.0, 4.0]], &dev);
/// assert_eq!(nn::MaxPool1d::new(2).forward(&x)?.to_vec::<f32>()?, [3.0, 5.0]);
///
/// let options = MaxPoolOptions { stride: Some([2, 2]), padding: [1, 1], ..Default::default() };
/// let pool = nn::MaxPool2d::with(3, options);
/// assert_eq!(pool.forward(&Tensor::randn([1, 64, 112, 112], &dev))?.shape()?, [1, 64, 56, 56]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Eq, Debug)]
#[module(crate = crate, display)]
pub struct MaxPool<const D: usize> {
    /// The size of a window.
    #[module(skip)]
    pub kernel_size: [usize; D],
    /// Stride, padding, dilation.
    #[module(skip)]
    pub options: MaxPoolOptions<D>,
}

/// The inverse of [`MaxPool`], as `torch.nn.MaxUnpool1d` to `MaxUnpool3d`: elements at the places
/// where the pool found them, and zeros elsewhere.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let x = Tensor::new([[1.0, 3.0, 5.0, 2.0]], &dev);
/// let (y, places) = nn::MaxPool1d::new(2).forward_with_indices(&x)?;
/// let back = nn::MaxUnpool1d::new(2).forward(&y, &places)?;
/// assert_eq!(back.to_vec::<f32>()?, [0.0, 3.0, 5.0, 0.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Eq, Debug)]
#[module(crate = crate, display)]
pub struct MaxUnpool<const D: usize> {
    /// The size of a window.
    #[module(skip)]
    pub kernel_size: [usize; D],
    /// Stride and padding, and the size of the result.
    #[module(skip)]
    pub options: UnpoolOptions<D>,
}

/// The mean of each window, as `torch.nn.AvgPool1d` to `AvgPool3d`. Without a stride, windows do not
/// overlap.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let x = Tensor::new([[[1.0, 2.0], [4.0, 3.0]]], &dev);
/// assert_eq!(nn::AvgPool2d::new([1, 2]).forward(&x)?.to_vec::<f32>()?, [1.5, 3.5]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Eq, Debug)]
#[module(crate = crate, display)]
pub struct AvgPool<const D: usize> {
    /// The size of a window.
    #[module(skip)]
    pub kernel_size: [usize; D],
    /// Stride, padding, and what sums are divided by.
    #[module(skip)]
    pub options: AvgPoolOptions<D>,
}

/// The `p`-norm of each window, `(sum x^p)^(1/p)`, as `torch.nn.LPPool1d` to `LPPool3d`.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let x = Tensor::new([[3.0, 4.0, 6.0, 8.0]], &dev);
/// assert_eq!(nn::LpPool1d::new(2.0, 2).forward(&x)?.to_vec::<f32>()?, [5.0, 10.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Debug)]
#[module(crate = crate, display)]
pub struct LpPool<const D: usize> {
    /// `p`.
    #[module(skip)]
    pub norm_type: f64,
    /// The size of a window.
    #[module(skip)]
    pub kernel_size: [usize; D],
    /// Stride and rounding.
    #[module(skip)]
    pub options: LpPoolOptions<D>,
}

/// Means of as many windows as the result shall have, as `torch.nn.AdaptiveAvgPool1d` to
/// `AdaptiveAvgPool3d`: window `i` of `o` goes from `i s / o`, rounded down, to `(i + 1) s / o`,
/// rounded up.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let pool = nn::AdaptiveAvgPool2d::new(1); // the mean of each channel
/// assert_eq!(pool.forward(&Tensor::randn([2, 8, 5, 7], &dev))?.shape()?, [2, 8, 1, 1]);
/// let rows = nn::AdaptiveAvgPool2d::new([None, Some(1)]); // the mean of each row
/// assert_eq!(rows.forward(&Tensor::randn([2, 8, 5, 7], &dev))?.shape()?, [2, 8, 5, 1]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Eq, Debug)]
#[module(crate = crate, display)]
pub struct AdaptiveAvgPool<const D: usize> {
    /// The size of the result; the input's where there is none.
    #[module(skip)]
    pub output_size: [Option<usize>; D],
}

/// The largest elements of the windows of [`AdaptiveAvgPool`], as `torch.nn.AdaptiveMaxPool1d` to
/// `AdaptiveMaxPool3d`.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let x = Tensor::new([[1.0, 3.0, 2.0, 5.0, 4.0]], &dev);
/// assert_eq!(nn::AdaptiveMaxPool1d::new(2).forward(&x)?.to_vec::<f32>()?, [3.0, 5.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Eq, Debug)]
#[module(crate = crate, display)]
pub struct AdaptiveMaxPool<const D: usize> {
    /// The size of the result; the input's where there is none.
    #[module(skip)]
    pub output_size: [Option<usize>; D],
}

macro_rules! constructors {
    ($($pool:ident $options:ident;)*) => { $(
        impl<const D: usize> $pool<D> {
            /// Windows of this size, with the usual options.
            pub fn new(kernel_size: impl Into<Extent<D>>) -> $pool<D> {
                $pool::with(kernel_size, $options::default())
            }

            /// Windows of this size, with options. Those that do not fit are errors of `forward`.
            pub fn with(kernel_size: impl Into<Extent<D>>, options: $options<D>) -> $pool<D> {
                let kernel_size = kernel_size.into().0;
                $pool { kernel_size, options }
            }
        }
    )* };
}
constructors! {
    MaxPool MaxPoolOptions;
    MaxUnpool UnpoolOptions;
    AvgPool AvgPoolOptions;
}

impl<const D: usize> LpPool<D> {
    /// Windows of this size, with the usual options.
    pub fn new(norm_type: f64, kernel_size: impl Into<Extent<D>>) -> LpPool<D> {
        LpPool::with(norm_type, kernel_size, LpPoolOptions::default())
    }

    /// Windows of this size, with options. Those that do not fit are errors of `forward`.
    pub fn with(
        norm_type: f64,
        kernel_size: impl Into<Extent<D>>,
        options: LpPoolOptions<D>,
    ) -> LpPool<D> {
        LpPool {
            norm_type,
            kernel_size: kernel_size.into().0,
            options,
        }
    }
}

macro_rules! adaptive {
    ($($pool:ident)*) => { $(
        impl<const D: usize> $pool<D> {
            /// A pool to this size: one number, one for each dimension, or `None` for those that keep theirs.
            pub fn new(output_size: impl Into<OutputSize<D>>) -> $pool<D> {
                let output_size = output_size.into().0;
                $pool { output_size }
            }
        }

        impl<const D: usize> fmt::Display for $pool<D> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{D}d(output_size={})", stringify!($pool), OutputSize(self.output_size))
            }
        }
    )* };
}
adaptive!(AdaptiveAvgPool AdaptiveMaxPool);

impl<const D: usize> fmt::Display for MaxPool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kernel, options) = (Extent(self.kernel_size), self.options);
        let stride = Extent(options.stride.unwrap_or(self.kernel_size));
        let (padding, dilation) = (Extent(options.padding), Extent(options.dilation));
        write!(
            f,
            "MaxPool{D}d(kernel_size={kernel}, stride={stride}, padding={padding}, dilation={dilation}, ceil_mode={})",
            options.ceil_mode
        )
    }
}

impl<const D: usize> fmt::Display for MaxUnpool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernel = Extent(self.kernel_size);
        let stride = Extent(self.options.stride.unwrap_or(self.kernel_size));
        let padding = Extent(self.options.padding);
        write!(
            f,
            "MaxUnpool{D}d(kernel_size={kernel}, stride={stride}, padding={padding})"
        )
    }
}

impl<const D: usize> fmt::Display for AvgPool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernel = Extent(self.kernel_size);
        let stride = Extent(self.options.stride.unwrap_or(self.kernel_size));
        let padding = Extent(self.options.padding);
        write!(
            f,
            "AvgPool{D}d(kernel_size={kernel}, stride={stride}, padding={padding})"
        )
    }
}

impl<const D: usize> fmt::Display for LpPool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernel = Extent(self.kernel_size);
        let stride = Extent(self.options.stride.unwrap_or(self.kernel_size));
        let ceil_mode = self.options.ceil_mode;
        write!(
            f,
            "LpPool{D}d(norm_type={:?}, kernel_size={kernel}, stride={stride}, ceil_mode={ceil_mode})",
            self.norm_type
        )
    }
}

macro_rules! ranks {
    ($($rank:literal $shape:literal:
        $max:ident $max_call:ident $max_indices:ident $unpool:ident $unpool_call:ident
        $avg:ident $avg_call:ident $lp:ident $lp_call:ident
        $adaptive_avg:ident $adaptive_avg_call:ident
        $adaptive_max:ident $adaptive_max_call:ident $adaptive_max_indices:ident;)*) => { $(
        #[doc = concat!("The [largest elements](MaxPool) of windows of `", $shape, "`.")]
        pub type $max = MaxPool<$rank>;
        #[doc = concat!("The [inverse](MaxUnpool) of [`", stringify!($max), "`].")]
        pub type $unpool = MaxUnpool<$rank>;
        #[doc = concat!("The [means](AvgPool) of windows of `", $shape, "`.")]
        pub type $avg = AvgPool<$rank>;
        #[doc = concat!("The [norms](LpPool) of windows of `", $shape, "`.")]
        pub type $lp = LpPool<$rank>;
        #[doc = concat!("[Means](AdaptiveAvgPool) of `", $shape, "` to a given size.")]
        pub type $adaptive_avg = AdaptiveAvgPool<$rank>;
        #[doc = concat!("[Largest elements](AdaptiveMaxPool) of `", $shape, "` to a given size.")]
        pub type $adaptive_max = AdaptiveMaxPool<$rank>;

        impl Forward for MaxPool<$rank> {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                hooks::layer(self, x, |x| x.$max_call(self.kernel_size, self.options).checked())
            }
        }

        impl MaxPool<$rank> {
            /// The largest elements, and where in the plane of a channel they stand (`i32`).
            ///
            /// # Errors
            /// What does not fit.
            #[track_caller]
            pub fn forward_with_indices(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
                hooks::layer(self, x, |x| {
                    let (y, places) = x.$max_indices(self.kernel_size, self.options);
                    Ok((y.checked()?, places.checked()?))
                })
            }
        }

        impl MaxUnpool<$rank> {
            /// The elements `x` put at the places that the pool gave.
            ///
            /// # Errors
            /// What does not fit.
            #[track_caller]
            pub fn forward(&self, x: &Tensor, indices: &Tensor) -> Result<Tensor> {
                hooks::layer(self, x, |x| {
                    x.$unpool_call(indices, self.kernel_size, self.options).checked()
                })
            }
        }

        impl Forward for AvgPool<$rank> {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                hooks::layer(self, x, |x| x.$avg_call(self.kernel_size, self.options).checked())
            }
        }

        impl Forward for LpPool<$rank> {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                hooks::layer(self, x, |x| {
                    x.$lp_call(self.norm_type, self.kernel_size, self.options).checked()
                })
            }
        }

        impl Forward for AdaptiveAvgPool<$rank> {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                hooks::layer(self, x, |x| x.$adaptive_avg_call(OutputSize(self.output_size).of(x)?).checked())
            }
        }

        impl Forward for AdaptiveMaxPool<$rank> {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                hooks::layer(self, x, |x| x.$adaptive_max_call(OutputSize(self.output_size).of(x)?).checked())
            }
        }

        impl AdaptiveMaxPool<$rank> {
            /// The largest elements, and where in the plane of a channel they stand (`i32`).
            ///
            /// # Errors
            /// What does not fit.
            #[track_caller]
            pub fn forward_with_indices(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
                hooks::layer(self, x, |x| {
                    let (y, places) = x.$adaptive_max_indices(OutputSize(self.output_size).of(x)?);
                    Ok((y.checked()?, places.checked()?))
                })
            }
        }
    )* };
}
ranks! {
    1 "[n, c, s]": MaxPool1d max_pool1d_with max_pool1d_with_indices
        MaxUnpool1d max_unpool1d_with AvgPool1d avg_pool1d_with LpPool1d lp_pool1d_with
        AdaptiveAvgPool1d adaptive_avg_pool1d
        AdaptiveMaxPool1d adaptive_max_pool1d adaptive_max_pool1d_with_indices;
    2 "[n, c, h, w]": MaxPool2d max_pool2d_with max_pool2d_with_indices
        MaxUnpool2d max_unpool2d_with AvgPool2d avg_pool2d_with LpPool2d lp_pool2d_with
        AdaptiveAvgPool2d adaptive_avg_pool2d
        AdaptiveMaxPool2d adaptive_max_pool2d adaptive_max_pool2d_with_indices;
    3 "[n, c, d, h, w]": MaxPool3d max_pool3d_with max_pool3d_with_indices
        MaxUnpool3d max_unpool3d_with AvgPool3d avg_pool3d_with LpPool3d lp_pool3d_with
        AdaptiveAvgPool3d adaptive_avg_pool3d
        AdaptiveMaxPool3d adaptive_max_pool3d adaptive_max_pool3d_with_indices;
}

/// The largest elements of windows that begin at random places, drawn for every call, as
/// `torch.nn.FractionalMaxPool2d` and `FractionalMaxPool3d` ([Graham 2014](https://arxiv.org/abs/1412.6071)).
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let pool = nn::FractionalMaxPool2d::new(2, 5);
/// assert_eq!(pool.forward(&Tensor::randn([1, 3, 8, 8], &dev))?.shape()?, [1, 3, 5, 5]);
/// let pool = nn::FractionalMaxPool2d::with_ratio(2, [0.5, 0.75]);
/// assert_eq!(pool.forward(&Tensor::randn([1, 3, 8, 8], &dev))?.shape()?, [1, 3, 4, 6]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Debug)]
#[module(crate = crate, display)]
pub struct FractionalMaxPool<const D: usize> {
    /// The size of a window.
    #[module(skip)]
    pub kernel_size: [usize; D],
    /// The size of the result.
    #[module(skip)]
    pub output: FractionalSize<D>,
}

/// The size of a [`FractionalMaxPool`]'s result.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum FractionalSize<const D: usize> {
    /// So many elements.
    Size([usize; D]),
    /// A part of the input's, in (0, 1), rounded down.
    Ratio([f64; D]),
}

impl<const D: usize> FractionalMaxPool<D> {
    /// Windows of a size, to a size.
    pub fn new(
        kernel_size: impl Into<Extent<D>>,
        output_size: impl Into<Extent<D>>,
    ) -> FractionalMaxPool<D> {
        FractionalMaxPool {
            kernel_size: kernel_size.into().0,
            output: FractionalSize::Size(output_size.into().0),
        }
    }

    /// Windows of a size, to a part of the input's size.
    pub fn with_ratio(
        kernel_size: impl Into<Extent<D>>,
        output_ratio: [f64; D],
    ) -> FractionalMaxPool<D> {
        FractionalMaxPool {
            kernel_size: kernel_size.into().0,
            output: FractionalSize::Ratio(output_ratio),
        }
    }

    /// The size of the result for `x`, and samples for its planes.
    #[track_caller]
    fn drawn(&self, x: &Tensor) -> Result<([usize; D], Tensor)> {
        let shape = x.shape()?;
        let size = match self.output {
            FractionalSize::Size(size) => size,
            FractionalSize::Ratio(ratio) => {
                let place = Place::caller();
                if ratio.iter().any(|&part| !(part > 0.0 && part < 1.0)) {
                    let problem = format!("output_ratio must be within (0, 1), not {ratio:?}");
                    let op = "fractional_max_pool";
                    return Err(Error::Value { op, problem, place });
                }
                let first = shape.rank().saturating_sub(D);
                std::array::from_fn(|d| {
                    let elements = shape.get(first + d).copied().unwrap_or(0);
                    (elements as f64 * ratio[d]) as usize
                })
            }
        };
        let lead = match shape[..shape.rank().saturating_sub(D)] {
            [c] => [1, c, D],
            [n, c] => [n, c, D],
            _ => [0, 0, D],
        };
        Ok((size, Tensor::rand(lead, x.device())))
    }
}

impl<const D: usize> fmt::Display for FractionalMaxPool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernel = Extent(self.kernel_size);
        write!(f, "FractionalMaxPool{D}d(kernel_size={kernel}, ")?;
        match self.output {
            FractionalSize::Size(size) => write!(f, "output_size={})", Extent(size)),
            FractionalSize::Ratio(ratio) => {
                f.write_str("output_ratio=")?;
                tuple(f, &ratio)?;
                f.write_str(")")
            }
        }
    }
}

macro_rules! fractional {
    ($($rank:literal $shape:literal $pool:ident $call:ident $call_indices:ident;)*) => { $(
        #[doc = concat!("The [largest elements](FractionalMaxPool) of random windows of `", $shape, "`.")]
        pub type $pool = FractionalMaxPool<$rank>;

        impl Forward for FractionalMaxPool<$rank> {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                hooks::layer(self, x, |x| {
                    let (size, samples) = self.drawn(x)?;
                    x.$call(self.kernel_size, size, &samples).checked()
                })
            }
        }

        impl FractionalMaxPool<$rank> {
            /// The largest elements, and where in the plane of a channel they stand (`i32`).
            ///
            /// # Errors
            /// What does not fit.
            #[track_caller]
            pub fn forward_with_indices(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
                hooks::layer(self, x, |x| {
                    let (size, samples) = self.drawn(x)?;
                    let (y, places) = x.$call_indices(self.kernel_size, size, &samples);
                    Ok((y.checked()?, places.checked()?))
                })
            }
        }
    )* };
}
fractional! {
    2 "[n, c, h, w]" FractionalMaxPool2d fractional_max_pool2d fractional_max_pool2d_with_indices;
    3 "[n, c, d, h, w]" FractionalMaxPool3d fractional_max_pool3d fractional_max_pool3d_with_indices;
}
