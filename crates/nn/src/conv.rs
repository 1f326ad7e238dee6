//! Convolutions and transposed convolutions.

use std::fmt;

use wgrad_core::{
    ConvPadding, ConvTransposeOptions as Transposition, Error, PadMode, Place, Result, Shape,
    Target, Tensor,
};
use wgrad_derive::Module;

use crate::extent::{Extent, product};
use crate::forward::Forward;
use crate::hooks;
use crate::init;

/// What stands around the input of a [`Conv`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The elements mirrored at the first and last ones.
    Reflect,
    /// The first and last elements.
    Replicate,
    /// The elements of the other end.
    Circular,
}

/// Options of [`Conv`]; the defaults are PyTorch's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvOptions<const D: usize> {
    /// Distance between the windows, 1 by default.
    pub stride: [usize; D],
    /// How many elements stand around the input, by default none. What they are says
    /// `padding_mode`.
    pub padding: ConvPadding<D>,
    /// Distance between the elements of a window, 1 by default.
    pub dilation: [usize; D],
    /// Into how many parts channels and results are divided, 1 by default.
    pub groups: usize,
    /// Whether there is a bias, as by default.
    pub bias: bool,
    /// What stands around the input.
    pub padding_mode: PaddingMode,
}

impl<const D: usize> Default for ConvOptions<D> {
    fn default() -> ConvOptions<D> {
        ConvOptions {
            stride: [1; D],
            padding: ConvPadding::Zeros([0; D]),
            dilation: [1; D],
            groups: 1,
            bias: true,
            padding_mode: PaddingMode::Zeros,
        }
    }
}

/// Options of [`ConvTranspose`]; the defaults are PyTorch's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvTransposeOptions<const D: usize> {
    /// Distance between the windows of the result, 1 by default.
    pub stride: [usize; D],
    /// How much of the result is left out on both sides, 0 by default.
    pub padding: [usize; D],
    /// How much of it is added behind, 0 by default.
    pub output_padding: [usize; D],
    /// Distance between the elements of a window, 1 by default.
    pub dilation: [usize; D],
    /// Into how many parts channels and results are divided, 1 by default.
    pub groups: usize,
    /// Whether there is a bias, as by default.
    pub bias: bool,
}

impl<const D: usize> Default for ConvTransposeOptions<D> {
    fn default() -> ConvTransposeOptions<D> {
        ConvTransposeOptions {
            stride: [1; D],
            padding: [0; D],
            output_padding: [0; D],
            dilation: [1; D],
            groups: 1,
            bias: true,
        }
    }
}

/// A convolution (a cross-correlation) along `D` dimensions, as `torch.nn.Conv1d` to `Conv3d`: of
/// `[n, in, ..]`, with or without `n`, `[n, out, ..]` with
/// `(s + 2 padding - dilation (kernel - 1) - 1) / stride + 1` elements along each dimension.
///
/// ```text
/// y[n, o, p] = bias[o] + sum over c, t of x[n, c, stride p + dilation t - padding] weight[o, c, t]
/// ```
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let conv = nn::Conv2d::new(3, 8, 5, &dev); // or [5, 5]
/// assert_eq!(conv.forward(&Tensor::randn([2, 3, 9, 9], &dev))?.shape()?, [2, 8, 5, 5]);
///
/// let options = nn::Conv2dOptions { stride: [2, 2], bias: false, ..Default::default() };
/// let conv = nn::Conv2d::with(3, 8, [3, 3], options, &dev);
/// assert_eq!(conv.to_string(), "Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), bias=false)");
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate, display)]
pub struct Conv<const D: usize> {
    /// `[out, in / groups, kernel..]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
    #[module(skip)]
    shape: Channels<D>,
    #[module(skip)]
    options: ConvOptions<D>,
}

/// A transposed convolution along `D` dimensions, as `torch.nn.ConvTranspose1d` to
/// `ConvTranspose3d`: what [`Conv`] does to gradients of its input. Of `[n, in, ..]` it gives
/// `[n, out, ..]` with `(s - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1`
/// elements along each dimension.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let options = nn::ConvTranspose2dOptions { stride: [2, 2], padding: [1, 1], ..Default::default() };
/// let larger = nn::ConvTranspose2d::with(8, 3, 4, options, &dev);
/// assert_eq!(larger.forward(&Tensor::randn([2, 8, 7, 7], &dev))?.shape()?, [2, 3, 14, 14]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate, display)]
pub struct ConvTranspose<const D: usize> {
    /// `[in, out / groups, kernel..]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
    #[module(skip)]
    shape: Channels<D>,
    #[module(skip)]
    options: ConvTransposeOptions<D>,
}

#[derive(Clone, Copy, Debug)]
struct Channels<const D: usize> {
    input: usize,
    output: usize,
    kernel: [usize; D],
}

impl<const D: usize> Channels<D> {
    /// A weight and a bias, uniform within `1 / sqrt(fan in)`, where the fan in is that of torch's
    /// `kaiming_uniform_`: the weight's elements but for those of dimension 0.
    #[track_caller]
    fn parameters(
        &self,
        first: usize,
        second: usize,
        bias: bool,
        target: impl Target,
    ) -> (Tensor, Option<Tensor>) {
        let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
        let bound = init::bound(second.saturating_mul(product(&self.kernel)));
        let shape: Shape = [first, second].into_iter().chain(self.kernel).collect();
        let weight = init::uniform(shape, -bound, bound, target).requires_grad();
        let bias =
            bias.then(|| init::uniform([self.output], -bound, bound, target).requires_grad());
        (weight, bias)
    }
}

macro_rules! constructors {
    ($layer:ident $options:ident $what:literal $fan_in:literal |$shape:ident, $groups:ident| $weight:expr) => {
        impl<const D: usize> $layer<D> {
            #[doc = concat!("A ", $what, " with [`", stringify!($options), "::default`]: stride 1, no padding, with a bias. ",
                "Parameters are drawn as PyTorch does, from `U(-b, b)` with `b = 1 / sqrt(", $fan_in, ")`.")]
            #[track_caller]
            pub fn new(
                in_channels: usize,
                out_channels: usize,
                kernel_size: impl Into<Extent<D>>,
                target: impl Target,
            ) -> $layer<D> {
                let options = $options::default();
                $layer::with(in_channels, out_channels, kernel_size, options, target)
            }

            #[doc = concat!("A ", $what, " with options. Those that do not fit are errors of `forward`.")]
            #[track_caller]
            pub fn with(
                in_channels: usize,
                out_channels: usize,
                kernel_size: impl Into<Extent<D>>,
                options: $options<D>,
                target: impl Target,
            ) -> $layer<D> {
                let $shape = Channels {
                    input: in_channels,
                    output: out_channels,
                    kernel: kernel_size.into().0,
                };
                let $groups = options.groups;
                let [first, second] = $weight;
                let (weight, bias) = $shape.parameters(first, second, options.bias, target);
                $layer {
                    weight,
                    bias,
                    shape: $shape,
                    options,
                }
            }

            /// The options.
            pub fn options(&self) -> &$options<D> {
                &self.options
            }
        }
    };
}
// The weight's first two dimensions: of the channels on one side those of a group.
constructors!(Conv ConvOptions "convolution" "in kernel" |shape, groups| {
    [shape.output, shape.input.checked_div(groups).unwrap_or(0)]
});
constructors!(ConvTranspose ConvTransposeOptions "transposed convolution" "out kernel" |shape, groups| {
    [shape.input, shape.output.checked_div(groups).unwrap_or(0)]
});

impl<const D: usize> Conv<D> {
    /// The input with what stands around it, and the options that are left.
    #[track_caller]
    fn padded(&self, x: &Tensor) -> (Tensor, wgrad_core::ConvOptions<D>) {
        let ConvOptions {
            stride,
            padding,
            dilation,
            groups,
            padding_mode,
            ..
        } = self.options;
        let mut options = wgrad_core::ConvOptions {
            stride,
            padding,
            dilation,
            groups,
        };
        let mode = match padding_mode {
            PaddingMode::Zeros => return (x.clone(), options),
            PaddingMode::Reflect => PadMode::Reflect,
            PaddingMode::Replicate => PadMode::Replicate,
            PaddingMode::Circular => PadMode::Circular,
        };
        // From the last dimension on, as `pad` takes them.
        let sides = (0..D).rev().flat_map(|d| match padding {
            ConvPadding::Zeros(sizes) => [sizes[d], sizes[d]],
            ConvPadding::Valid => [0, 0],
            ConvPadding::Same => {
                let all = dilation[d].saturating_mul(self.shape.kernel[d].saturating_sub(1));
                [all / 2, all - all / 2]
            }
        });
        let sides: Vec<isize> = sides
            .map(|size| isize::try_from(size).unwrap_or(isize::MAX))
            .collect();
        // With `Same`, other strides than 1 stay refused.
        if padding != ConvPadding::Same || stride == [1; D] {
            options.padding = ConvPadding::Valid;
        }
        (x.pad(&sides, mode), options)
    }

    /// A product and a sum for each element of a window.
    fn multiply_adds(&self, y: &Shape) -> usize {
        let seen = self.shape.input / self.options.groups.max(1);
        product(&[y.numel(), seen, product(&self.shape.kernel)])
    }
}

impl<const D: usize> ConvTranspose<D> {
    fn operation(&self) -> Transposition<D> {
        let ConvTransposeOptions {
            stride,
            padding,
            output_padding,
            dilation,
            groups,
            ..
        } = self.options;
        Transposition {
            stride,
            padding,
            output_padding,
            dilation,
            groups,
        }
    }

    /// The output padding with which the result has this size.
    #[track_caller]
    fn padding_to(&self, x: &Tensor, size: [usize; D]) -> Result<[usize; D]> {
        let place = Place::caller();
        let shape = x.shape()?;
        let first = shape.rank().saturating_sub(D);
        let mut more = [0; D];
        for d in 0..D {
            let elements = shape.get(first + d).copied().unwrap_or(0);
            let stride = self.options.stride[d];
            let reach = elements.saturating_sub(1).saturating_mul(stride);
            let window = self.shape.kernel[d]
                .saturating_sub(1)
                .saturating_mul(self.options.dilation[d]);
            let least = reach.saturating_add(window).saturating_add(1);
            let least = least.saturating_sub(self.options.padding[d].saturating_mul(2));
            match size[d]
                .checked_sub(least)
                .filter(|&more| more < stride.max(1))
            {
                Some(rest) => more[d] = rest,
                None => {
                    let most = least.saturating_add(stride.max(1) - 1);
                    let problem = format!(
                        "an output of {size:?} for shape {shape}: along dimension {d} it has {least} to {most}"
                    );
                    let op = "conv_transpose";
                    return Err(Error::Shape { op, problem, place });
                }
            }
        }
        Ok(more)
    }

    fn multiply_adds(&self, x: &Shape) -> usize {
        let made = self.shape.output / self.options.groups.max(1);
        product(&[x.numel(), made, product(&self.shape.kernel)])
    }
}

/// Prints an option that is not as usual.
fn unusual<const D: usize>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    sizes: [usize; D],
    usual: usize,
) -> fmt::Result {
    match sizes == [usual; D] {
        true => Ok(()),
        false => write!(f, ", {name}={}", Extent(sizes)),
    }
}

fn rest(f: &mut fmt::Formatter<'_>, groups: usize, bias: bool) -> fmt::Result {
    if groups != 1 {
        write!(f, ", groups={groups}")?;
    }
    f.write_str(if bias { "" } else { ", bias=false" })
}

impl<const D: usize> fmt::Display for Channels<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Channels {
            input,
            output,
            kernel,
        } = self;
        write!(f, "{input}, {output}, kernel_size={}", Extent(*kernel))
    }
}

impl<const D: usize> fmt::Display for Conv<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        write!(
            f,
            "Conv{D}d({}, stride={}",
            self.shape,
            Extent(options.stride)
        )?;
        match options.padding {
            ConvPadding::Zeros(sizes) => unusual(f, "padding", sizes, 0)?,
            ConvPadding::Same => f.write_str(", padding=same")?,
            ConvPadding::Valid => f.write_str(", padding=valid")?,
        }
        unusual(f, "dilation", options.dilation, 1)?;
        rest(f, options.groups, self.bias.is_some())?;
        f.write_str(match options.padding_mode {
            PaddingMode::Zeros => ")",
            PaddingMode::Reflect => ", padding_mode=reflect)",
            PaddingMode::Replicate => ", padding_mode=replicate)",
            PaddingMode::Circular => ", padding_mode=circular)",
        })
    }
}

impl<const D: usize> fmt::Display for ConvTranspose<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        write!(
            f,
            "ConvTranspose{D}d({}, stride={}",
            self.shape,
            Extent(options.stride)
        )?;
        unusual(f, "padding", options.padding, 0)?;
        unusual(f, "dilation", options.dilation, 1)?;
        unusual(f, "output_padding", options.output_padding, 0)?;
        rest(f, options.groups, self.bias.is_some())?;
        f.write_str(")")
    }
}

macro_rules! ranks {
    ($($rank:literal $shape:literal: $conv:ident $options:ident $call:ident,
        $transpose:ident $transpose_options:ident $transposed:ident;)*) => { $(
        #[doc = concat!("A [convolution](Conv) of `", $shape, "`.")]
        pub type $conv = Conv<$rank>;
        #[doc = concat!("[Options](ConvOptions) of [`", stringify!($conv), "`].")]
        pub type $options = ConvOptions<$rank>;
        #[doc = concat!("A [transposed convolution](ConvTranspose) of `", $shape, "`.")]
        pub type $transpose = ConvTranspose<$rank>;
        #[doc = concat!("[Options](ConvTransposeOptions) of [`", stringify!($transpose), "`].")]
        pub type $transpose_options = ConvTransposeOptions<$rank>;

        impl Forward for Conv<$rank> {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                hooks::counted(self, x, |_, y| self.multiply_adds(y), |x| {
                    let (x, options) = self.padded(x);
                    x.$call(&self.weight, self.bias.as_ref(), options).checked()
                })
            }
        }

        impl Forward for ConvTranspose<$rank> {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                hooks::counted(self, x, |x, _| self.multiply_adds(x), |x| {
                    x.$transposed(&self.weight, self.bias.as_ref(), self.operation()).checked()
                })
            }
        }

        impl ConvTranspose<$rank> {
            /// [`forward`](Forward::forward) to a size, as `output_size` of PyTorch: of the sizes whose convolution
            /// would have the input's, `(s - 1) stride - 2 padding + dilation (k - 1) + 1` and `stride - 1` more,
            /// one is chosen, in place of the option `output_padding`.
            ///
            /// # Errors
            /// What does not fit.
            #[track_caller]
            pub fn forward_to(&self, x: &Tensor, output_size: [usize; $rank]) -> Result<Tensor> {
                hooks::counted(self, x, |x, _| self.multiply_adds(x), |x| {
                    let output_padding = self.padding_to(x, output_size)?;
                    let options = Transposition { output_padding, ..self.operation() };
                    x.$transposed(&self.weight, self.bias.as_ref(), options).checked()
                })
            }
        }
    )* };
}
ranks! {
    1 "[n, in, s]": Conv1d Conv1dOptions conv1d_with,
        ConvTranspose1d ConvTranspose1dOptions conv_transpose1d_with;
    2 "[n, in, h, w]": Conv2d Conv2dOptions conv2d_with,
        ConvTranspose2d ConvTranspose2dOptions conv_transpose2d_with;
    3 "[n, in, d, h, w]": Conv3d Conv3dOptions conv3d_with,
        ConvTranspose3d ConvTranspose3dOptions conv_transpose3d_with;
}
