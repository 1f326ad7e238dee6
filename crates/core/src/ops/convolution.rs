//! Convolution, as cross-correlation: the products of weights and windows.

mod faces;
mod options;

use smallvec::SmallVec;

use self::faces::{Face, Geometry};
pub use self::options::{ConvOptions, ConvPadding, ConvTransposeOptions};
use crate::ops::elementwise::promote_values;
use crate::ops::windows::{Windows, span};
use crate::tensor::{Tensor, Value, same_device};
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{Dims, Shape};

macro_rules! convolutions {
    ($($rank:literal: $conv:ident $conv_with:ident $transpose:ident $transpose_with:ident
        ($x:literal, $w:literal) [$example:literal, $with_example:literal, $transpose_example:literal,
            $transpose_with_example:literal])*) => {
        impl Tensor {$(
            #[doc = concat!("The convolution of `", $x, "` with the weight `", $w, "` (as `torch.nn.functional.",
                stringify!($conv), "`, a cross-correlation): at each place the sum over the channels and a window of ",
                "products with the weight, plus `bias` of `[out]`. The result has the type that the operands promote to.\n\n",
                "```text\ny[n, o, p] = bias[o] + sum over c, t of x[n, c, p + t] w[o, c, t]\n```\n\n",
                "Without the dimension of the batch, so is the result.\n\n", $example)]
            #[track_caller]
            pub fn $conv(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
                let place = Place::caller();
                convolve(stringify!($conv), self, weight, bias, &ConvOptions::<$rank>::default(), place)
            }

            #[doc = concat!("[`Tensor::", stringify!($conv), "`] with stride, padding, dilation and groups.\n\n",
                "Along each dimension the result has `(s + padding - dilation (k - 1) - 1) / stride + 1` places, where ",
                "`padding` is that of both sides together. With groups, the channels and the results are divided, and each ",
                "result sees the channels of its group: the weight is `[out, in / groups, ..]`.\n\n",
                "# Errors\nA failed tensor where the shapes do not fit, a kernel is larger than the padded input, groups ",
                "do not divide the channels, or a stride or dilation is 0.\n\n", $with_example)]
            #[track_caller]
            pub fn $conv_with(
                &self,
                weight: &Tensor,
                bias: Option<&Tensor>,
                options: ConvOptions<$rank>,
            ) -> Tensor {
                convolve(stringify!($conv), self, weight, bias, &options, Place::caller())
            }

            #[doc = concat!("The transposed convolution, as `torch.nn.functional.", stringify!($transpose),
                "`: the gradient of the input of [`Tensor::", stringify!($conv), "`] as an operation. The weight is ",
                "`[in, out, ..]`, `bias` `[out]`.\n\n", $transpose_example)]
            #[track_caller]
            pub fn $transpose(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
                let place = Place::caller();
                let options = ConvTransposeOptions::<$rank>::default();
                transposed(stringify!($transpose), self, weight, bias, &options, place)
            }

            #[doc = concat!("[`Tensor::", stringify!($transpose), "`] with stride, padding, output padding, dilation and ",
                "groups. Along each dimension the result has `(s - 1) stride - 2 padding + dilation (k - 1) + ",
                "output_padding + 1` places; no zeros are multiplied for the strides.\n\n", $transpose_with_example)]
            #[track_caller]
            pub fn $transpose_with(
                &self,
                weight: &Tensor,
                bias: Option<&Tensor>,
                options: ConvTransposeOptions<$rank>,
            ) -> Tensor {
                transposed(stringify!($transpose), self, weight, bias, &options, Place::caller())
            }
        )*}
    };
}

convolutions! {
    1: conv1d conv1d_with conv_transpose1d conv_transpose1d_with ("[n, in, s]", "[out, in, k]")
        ["```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[[1.0, 2.0, 4.0, 8.0]]], &dev);\n\
         let difference = Tensor::new([[[-1.0, 1.0]]], &dev);\n\
         assert_eq!(x.conv1d(&difference, None).to_vec::<f32>()?, [1.0, 2.0, 4.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[[1.0, 2.0, 4.0, 8.0]]], &dev);\n\
         let options = ConvOptions { padding: ConvPadding::Same, ..Default::default() };\n\
         let y = x.conv1d_with(&Tensor::ones([1, 1, 3], &dev), None, options);\n\
         assert_eq!(y.to_vec::<f32>()?, [3.0, 7.0, 14.0, 12.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let (x, w) = (Tensor::new([[[1.0, 2.0]]], &dev), Tensor::new([[[1.0, 10.0]]], &dev));\n\
         assert_eq!(x.conv_transpose1d(&w, None).to_vec::<f32>()?, [1.0, 12.0, 20.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let (x, w) = (Tensor::new([[[1.0, 2.0]]], &dev), Tensor::new([[[1.0, 10.0]]], &dev));\n\
         let options = ConvTransposeOptions { stride: [2], ..Default::default() };\n\
         assert_eq!(x.conv_transpose1d_with(&w, None, options).to_vec::<f32>()?, [1.0, 10.0, 2.0, 20.0]);\n\
         # Ok::<(), Error>(())\n```"]
    2: conv2d conv2d_with conv_transpose2d conv_transpose2d_with ("[n, in, h, w]", "[out, in, kh, kw]")
        ["```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::ones([1, 2, 4, 4], &dev);\n\
         let (w, b) = (Tensor::ones([3, 2, 3, 3], &dev), Tensor::new([0.0, 1.0, 2.0], &dev));\n\
         let y = x.conv2d(&w, Some(&b));\n\
         assert_eq!(y.shape()?, [1, 3, 2, 2]);\n\
         assert_eq!(y.to_vec::<f32>()?[3..6], [18.0, 19.0, 19.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let (x, w) = (Tensor::ones([1, 2, 5, 5], &dev), Tensor::ones([2, 2, 3, 3], &dev));\n\
         let options = ConvOptions { stride: [2, 2], padding: ConvPadding::Zeros([1, 1]), ..Default::default() };\n\
         let y = x.conv2d_with(&w, None, options);\n\
         assert_eq!(y.to_vec::<f32>()?[..4], [8.0, 12.0, 8.0, 12.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let (x, w) = (Tensor::ones([1, 1, 2, 2], &dev), Tensor::ones([1, 3, 2, 2], &dev));\n\
         let y = x.conv_transpose2d(&w, None);\n\
         assert_eq!(y.shape()?, [1, 3, 3, 3]);\n\
         assert_eq!(y.to_vec::<f32>()?[..3], [1.0, 2.0, 1.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let (x, w) = (Tensor::ones([1, 1, 8, 8], &dev), Tensor::ones([1, 1, 4, 4], &dev));\n\
         let options = ConvTransposeOptions { stride: [2, 2], padding: [1, 1], ..Default::default() };\n\
         let y = x.conv_transpose2d_with(&w, None, options); // twice as large\n\
         assert_eq!(y.shape()?, [1, 1, 16, 16]);\n\
         # Ok::<(), Error>(())\n```"]
    3: conv3d conv3d_with conv_transpose3d conv_transpose3d_with ("[n, in, d, h, w]", "[out, in, kd, kh, kw]")
        ["```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let (x, w) = (Tensor::ones([1, 1, 4, 4, 4], &dev), Tensor::ones([2, 1, 3, 3, 3], &dev));\n\
         assert_eq!(x.conv3d(&w, None).to_vec::<f32>()?, [27.0; 16]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let (x, w) = (Tensor::ones([1, 2, 4, 4, 4], &dev), Tensor::ones([2, 1, 3, 3, 3], &dev));\n\
         let options = ConvOptions { groups: 2, ..Default::default() };\n\
         assert_eq!(x.conv3d_with(&w, None, options).to_vec::<f32>()?, [27.0; 16]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let (x, w) = (Tensor::ones([1, 1, 1, 1, 1], &dev), Tensor::ones([1, 1, 2, 2, 2], &dev));\n\
         assert_eq!(x.conv_transpose3d(&w, None).to_vec::<f32>()?, [1.0; 8]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let (x, w) = (Tensor::ones([1, 1, 2, 2, 2], &dev), Tensor::ones([1, 1, 2, 2, 2], &dev));\n\
         let options = ConvTransposeOptions { stride: [2, 2, 2], ..Default::default() };\n\
         assert_eq!(x.conv_transpose3d_with(&w, None, options).to_vec::<f32>()?, [1.0; 64]);\n\
         # Ok::<(), Error>(())\n```"]
}

/// The operands of a convolution, checked, with a batch, and whether it was added.
struct Operands {
    x: Value,
    w: Value,
    bias: Option<Value>,
    single: bool,
}

/// Checks what both directions have in common; `out` of the weight's first two dimensions is that of the
/// results, whose number goes by `groups` where it is the second.
fn operands(
    name: &'static str,
    (x, w, bias): (&Tensor, &Tensor, Option<&Tensor>),
    spatial: usize,
    groups: usize,
    transposed: bool,
    place: Place,
) -> Result<Operands> {
    let (x, w) = (x.capture()?, w.capture()?);
    same_device(name, &x, &w, place)?;
    let wrong = |problem: String| Err(Error::shape(name, place, problem));
    let (from, weight) = (x.shape().clone(), w.shape().clone());
    if weight.rank() != spatial + 2 || !(spatial + 1..=spatial + 2).contains(&from.rank()) {
        return wrong(format!(
            "takes an input of {} or {} dimensions and a weight of {}, not {from} and {weight}",
            spatial + 1,
            spatial + 2,
            spatial + 2
        ));
    }
    let single = from.rank() == spatial + 1;
    let channels = from[usize::from(!single)];
    let end = if groups == 1 { "" } else { "s" };
    let both = format!("an input of {from} and a weight of {weight} with {groups} group{end}");
    if groups == 0 {
        return wrong(format!("{both}: there must be at least one"));
    }
    // The weight's channels are those of one group on the side that is divided.
    let (dim, own) = (usize::from(!single), weight[1]);
    if !transposed && own.checked_mul(groups) != Some(channels) {
        return wrong(format!(
            "{both}: the weight's channels (dimension 1: {own}) times the groups must be the input's channels \
             (dimension {dim}: {channels})"
        ));
    }
    let first = weight[0];
    if transposed && first != channels {
        return wrong(format!(
            "{both}: the weight's channels (dimension 0: {first}) must be the input's (dimension {dim}: {channels})"
        ));
    }
    if !first.is_multiple_of(groups) {
        let what = if transposed { "channels" } else { "results" };
        return wrong(format!(
            "{both}: the weight's {what} (dimension 0: {first}) must be a multiple of the groups"
        ));
    }
    if weight.contains(&0) || channels == 0 {
        return wrong(format!(
            "nothing to add up: an input of {from} and a weight of {weight}, where neither the weight's dimensions \
             nor the channels may be 0"
        ));
    }
    let out = match transposed {
        true => weight[1] * groups,
        false => weight[0],
    };
    let mut dtype = promote_values(&x, &w);
    let bias = match bias.map(Tensor::capture).transpose()? {
        Some(bias) if bias.shape()[..] != [out] => {
            return wrong(format!(
                "a bias of {}, not [{out}], for {out} results of an input of {from} and a weight of {weight}",
                bias.shape()
            ));
        }
        Some(bias) => {
            same_device(name, &x, &bias, place)?;
            dtype = dtype.promote(bias.dtype());
            Some(bias)
        }
        None => None,
    };
    if !dtype.is_float() {
        let problem = format!("takes floats, not {dtype}; convert them with to_dtype");
        return Err(Error::dtype(name, place, problem));
    }
    let cast = |x: Value| crate::ops::elementwise::cast(&x, dtype, place);
    let x = match single {
        true => x.into_tensor().unsqueeze(0).capture()?,
        false => x,
    };
    Ok(Operands {
        x: cast(x)?,
        w: cast(w)?,
        bias: bias.map(cast).transpose()?,
        single,
    })
}

impl Operands {
    fn finished(&self, y: Tensor) -> Tensor {
        match self.single {
            true => y.squeeze(0),
            false => y,
        }
    }
}

/// Whether a stride or dilation is 0.
fn moves(name: &'static str, stride: &[usize], dilation: &[usize], place: Place) -> Result<()> {
    if stride.contains(&0) || dilation.contains(&0) {
        let problem = format!("stride {stride:?} and dilation {dilation:?}: both are at least 1");
        return Err(Error::value(name, place, problem));
    }
    Ok(())
}

fn convolve<const N: usize>(
    name: &'static str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvOptions<N>,
    place: Place,
) -> Tensor {
    let [x, weight] = &[x, weight].map(|x| x.narrowed(place));
    let bias = &bias.map(|bias| bias.narrowed(place));
    let bias = bias.as_ref();
    let result = || {
        let ConvOptions {
            stride,
            dilation,
            groups,
            ..
        } = options;
        moves(name, stride, dilation, place)?;
        let operands = operands(name, (x, weight, bias), N, *groups, false, place)?;
        let (from, kernel) = (&operands.x.shape()[2..], &operands.w.shape()[2..]);
        let mut low: SmallVec<[usize; 3]> = SmallVec::new();
        let mut padded: SmallVec<[usize; 3]> = SmallVec::new();
        for d in 0..N {
            let (before, behind) = options.padding.of(d, span(kernel[d], dilation[d]));
            if options.padding == ConvPadding::Same && stride[d] != 1 {
                let problem =
                    format!("padding \"same\" with stride {stride:?}: it takes a stride of 1");
                return Err(Error::value(name, place, problem));
            }
            low.push(before);
            padded.push(from[d].saturating_add(before).saturating_add(behind));
        }
        let windows = Windows::new(kernel, stride, dilation);
        let output: SmallVec<[usize; 3]> = (0..N).map(|d| windows.count(d, padded[d])).collect();
        if output.contains(&0) {
            let problem = format!(
                "a kernel of {} with dilation {dilation:?} that spans more than {}, to which padding brings an input of {}",
                Shape::new(kernel),
                Shape::new(&padded),
                x.shape()?
            );
            return Err(Error::shape(name, place, problem));
        }
        let geometry = Geometry {
            name,
            groups: *groups,
            input: SmallVec::from_slice(from),
            padded,
            output,
            low,
            windows,
        };
        let bias = operands.bias.as_ref();
        let y = faces::apply(
            &geometry,
            Face::Output,
            &operands.x,
            &operands.w,
            bias,
            place,
        )?;
        Ok(operands.finished(y))
    };
    Tensor::or_fail(x.device(), place.within(result))
}

fn transposed<const N: usize>(
    name: &'static str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvTransposeOptions<N>,
    place: Place,
) -> Tensor {
    let [x, weight] = &[x, weight].map(|x| x.narrowed(place));
    let bias = &bias.map(|bias| bias.narrowed(place));
    let bias = bias.as_ref();
    let result = || {
        let ConvTransposeOptions {
            stride,
            padding,
            output_padding,
            dilation,
            groups,
        } = options;
        moves(name, stride, dilation, place)?;
        let operands = operands(name, (x, weight, bias), N, *groups, true, place)?;
        let (from, kernel) = (&operands.x.shape()[2..], &operands.w.shape()[2..]);
        let mut input: SmallVec<[usize; 3]> = SmallVec::new();
        let mut padded: SmallVec<[usize; 3]> = SmallVec::new();
        for d in 0..N {
            if output_padding[d] >= stride[d].max(dilation[d]) {
                let problem = format!(
                    "output padding {output_padding:?} must be below stride {stride:?} or dilation {dilation:?}"
                );
                return Err(Error::value(name, place, problem));
            }
            let steps = from[d]
                .checked_sub(1)
                .and_then(|steps| steps.checked_mul(stride[d]));
            let whole = steps
                .and_then(|steps| steps.checked_add(span(kernel[d], dilation[d])))
                .and_then(|whole| whole.checked_add(output_padding[d]));
            let size = whole.and_then(|whole| whole.checked_sub(padding[d].checked_mul(2)?));
            let (Some(whole), Some(size @ 1..)) = (whole, size) else {
                let problem = format!(
                    "an input of {} and a weight of {} give no elements along dimension {d} of what is convolved: \
                     (s - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1, with s = {}, k = {}, stride \
                     {}, padding {}, dilation {} and output_padding {}, must be at least 1",
                    x.shape()?,
                    weight.shape()?,
                    from[d],
                    kernel[d],
                    stride[d],
                    padding[d],
                    dilation[d],
                    output_padding[d]
                );
                return Err(Error::shape(name, place, problem));
            };
            input.push(size);
            padded.push(whole);
        }
        let geometry = Geometry {
            name,
            groups: *groups,
            input,
            padded,
            output: SmallVec::from_slice(from),
            low: SmallVec::from_slice(padding),
            windows: Windows::new(kernel, stride, dilation),
        };
        let bias = operands.bias.as_ref();
        let y = faces::apply(
            &geometry,
            Face::Input,
            &operands.x,
            &operands.w,
            bias,
            place,
        )?;
        Ok(operands.finished(y))
    };
    Tensor::or_fail(x.device(), place.within(result))
}

/// `dims` behind a batch and channels.
fn behind(batch: usize, channels: usize, dims: &[usize]) -> Shape {
    let mut all = Dims::from_slice(&[batch, channels]);
    all.extend_from_slice(dims);
    Shape::from(all)
}
