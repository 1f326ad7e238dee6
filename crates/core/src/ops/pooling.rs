//! Pooling: one number for each window, of each channel by itself.

mod adaptive;
mod fractional;
mod options;

use smallvec::SmallVec;

pub use self::options::{AvgPoolOptions, LpPoolOptions, MaxPoolOptions, UnpoolOptions};
use crate::operation::{AnyOperation, apply};
use crate::ops::elementwise::cast;
use crate::ops::index::scatter_along;
use crate::ops::pool::{MaxPool, SumPool};
use crate::ops::windows::Windows;
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{Dims, Shape};

macro_rules! pools {
    ($($rank:literal $shape:literal:
        $max:ident $max_with:ident $max_indices:ident $avg:ident $avg_with:ident $lp:ident $lp_with:ident
        $unpool:ident $unpool_with:ident $adaptive_avg:ident $adaptive_max:ident $adaptive_max_indices:ident
        [$kernel:expr, $max_example:literal, $avg_example:literal, $lp_example:literal, $unpool_example:literal,
         $adaptive_avg_example:literal, $adaptive_max_example:literal])*) => {
        impl Tensor {$(
            #[doc = concat!("The largest element of each window of `kernel` elements, as `torch.nn.functional.",
                stringify!($max), "`, of `", $shape, "` with or without `n`. The windows do not overlap; ",
                "[`Tensor::", stringify!($max_with), "`] has strides and padding. NaN is the largest, and the first of ",
                "equal elements gets the gradient.\n\n", $max_example)]
            #[track_caller]
            pub fn $max(&self, kernel: [usize; $rank]) -> Tensor {
                self.$max_with(kernel, MaxPoolOptions::default())
            }

            #[doc = concat!("[`Tensor::", stringify!($max), "`] with stride, padding (by minus infinity), dilation and ",
                "`ceil_mode`. Along each dimension there are `(s + 2 padding - dilation (k - 1) - 1) / stride + 1` ",
                "windows, rounded down, or up with `ceil_mode` where the last one begins within the input or the padding ",
                "before it.\n\n# Errors\nA failed tensor where a number is 0, a padding is more than half of what the ",
                "kernel spans, or there is no window.\n\n", $max_example)]
            #[track_caller]
            pub fn $max_with(&self, kernel: [usize; $rank], options: MaxPoolOptions<$rank>) -> Tensor {
                let place = Place::caller();
                Tensor::or_fail(self.device(), place.within(|| {
                    let found = max_pool(stringify!($max), self, &kernel, &options, false, place)?;
                    Ok(found.0)
                }))
            }

            #[doc = concat!("[`Tensor::", stringify!($max_with), "`] and where the elements stand, as `torch` with ",
                "`return_indices`: positions of `i32` in the row-major plane of a channel, as [`Tensor::",
                stringify!($unpool), "`] takes them.\n\n", $unpool_example)]
            #[track_caller]
            pub fn $max_indices(
                &self,
                kernel: [usize; $rank],
                options: MaxPoolOptions<$rank>,
            ) -> (Tensor, Tensor) {
                let place = Place::caller();
                let found = place.within(|| max_pool(stringify!($max), self, &kernel, &options, true, place));
                pair(self, found.map(|(values, at)| (values, at.unwrap_or_else(|| self.clone()))))
            }

            #[doc = concat!("The mean of each window of `kernel` elements, as `torch.nn.functional.", stringify!($avg),
                "`, of `", $shape, "` with or without `n`. The windows do not overlap; [`Tensor::",
                stringify!($avg_with), "`] has strides and padding.\n\n", $avg_example)]
            #[track_caller]
            pub fn $avg(&self, kernel: [usize; $rank]) -> Tensor {
                self.$avg_with(kernel, AvgPoolOptions::default())
            }

            #[doc = concat!("[`Tensor::", stringify!($avg), "`] with stride, padding (by zeros, which count unless ",
                "`count_include_pad` is off), `ceil_mode` (what is beyond the padding does not count) and a divisor of ",
                "its own.\n\n# Errors\nAs [`Tensor::", stringify!($max_with), "`].\n\n", $avg_example)]
            #[track_caller]
            pub fn $avg_with(&self, kernel: [usize; $rank], options: AvgPoolOptions<$rank>) -> Tensor {
                let place = Place::caller();
                let mean = || avg_pool(stringify!($avg), self, &kernel, &options, place);
                Tensor::or_fail(self.device(), place.within(mean))
            }

            #[doc = concat!("The `p`-norm of each window, `(sum x^p)^(1/p)`, as `torch.nn.functional.", stringify!($lp),
                "`: by signed powers, so that of an odd `p` a negative sum gives NaN or 0 as torch has it. The windows ",
                "do not overlap; [`Tensor::", stringify!($lp_with), "`] has strides.\n\n", $lp_example)]
            #[track_caller]
            pub fn $lp(&self, p: f64, kernel: [usize; $rank]) -> Tensor {
                self.$lp_with(p, kernel, LpPoolOptions::default())
            }

            #[doc = concat!("[`Tensor::", stringify!($lp), "`] with a stride and `ceil_mode`.\n\n", $lp_example)]
            #[track_caller]
            pub fn $lp_with(&self, p: f64, kernel: [usize; $rank], options: LpPoolOptions<$rank>) -> Tensor {
                let place = Place::caller();
                let x = &self.widened();
                place.within(|| {
                    let options = AvgPoolOptions {
                        stride: options.stride,
                        ceil_mode: options.ceil_mode,
                        ..AvgPoolOptions::default()
                    };
                    let mean = avg_pool(stringify!($lp), &x.pow(p), &kernel, &options, place);
                    let mean = Tensor::or_fail(x.device(), mean);
                    let sum = mean.sign() * mean.abs().relu() * kernel.iter().map(|&k| k as f64).product::<f64>();
                    sum.pow(1.0 / p)
                })
            }

            #[doc = concat!("Elements put back where [`Tensor::", stringify!($max_indices), "`] found them, zeros ",
                "elsewhere, as `torch.nn.functional.", stringify!($unpool), "`. Of several elements with one position ",
                "one is kept. [`Tensor::", stringify!($unpool_with), "`] has strides, padding and the size of the ",
                "result, which else is the smallest that was pooled to this.\n\n", $unpool_example)]
            #[track_caller]
            pub fn $unpool(&self, indices: &Tensor, kernel: [usize; $rank]) -> Tensor {
                self.$unpool_with(indices, kernel, UnpoolOptions::default())
            }

            #[doc = concat!("[`Tensor::", stringify!($unpool), "`] with the stride and padding of the pool, or the size ",
                "of the result.\n\n# Errors\nA failed tensor where the shapes do not fit; an index beyond the result is ",
                "an error of the next read.\n\n", $unpool_example)]
            #[track_caller]
            pub fn $unpool_with(
                &self,
                indices: &Tensor,
                kernel: [usize; $rank],
                options: UnpoolOptions<$rank>,
            ) -> Tensor {
                let place = Place::caller();
                let put = || unpool(stringify!($unpool), self, indices, &kernel, &options, place);
                Tensor::or_fail(self.device(), place.within(put))
            }

            #[doc = concat!("Means of as many windows as `size` says, as `torch.nn.functional.",
                stringify!($adaptive_avg), "`: along a dimension of `s` elements, window `i` of `o` goes from ",
                "`i s / o`, rounded down, to `(i + 1) s / o`, rounded up.\n\n", $adaptive_avg_example)]
            #[track_caller]
            pub fn $adaptive_avg(&self, size: [usize; $rank]) -> Tensor {
                let place = Place::caller();
                let mean = || adaptive::avg(stringify!($adaptive_avg), self, &size, place);
                Tensor::or_fail(self.device(), place.within(mean))
            }

            #[doc = concat!("The largest elements of the windows of [`Tensor::", stringify!($adaptive_avg),
                "`], as `torch.nn.functional.", stringify!($adaptive_max), "`.\n\n", $adaptive_max_example)]
            #[track_caller]
            pub fn $adaptive_max(&self, size: [usize; $rank]) -> Tensor {
                self.$adaptive_max_indices(size).0
            }

            #[doc = concat!("[`Tensor::", stringify!($adaptive_max), "`] and where the elements stand, as [`Tensor::",
                stringify!($max_indices), "`].\n\n", $adaptive_max_example)]
            #[track_caller]
            pub fn $adaptive_max_indices(&self, size: [usize; $rank]) -> (Tensor, Tensor) {
                let place = Place::caller();
                let found = place.within(|| adaptive::max(stringify!($adaptive_max), self, &size, place));
                pair(self, found)
            }
        )*}
    };
}

pools! {
    1 "[n, c, s]":
        max_pool1d max_pool1d_with max_pool1d_with_indices avg_pool1d avg_pool1d_with lp_pool1d lp_pool1d_with
        max_unpool1d max_unpool1d_with adaptive_avg_pool1d adaptive_max_pool1d adaptive_max_pool1d_with_indices
        [[2],
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[1.0, 3.0, 2.0, 5.0, 4.0]], &dev);\n\
         assert_eq!(x.max_pool1d([2]).to_vec::<f32>()?, [3.0, 5.0]);\n\
         let options = MaxPoolOptions { stride: Some([1]), ..Default::default() };\n\
         assert_eq!(x.max_pool1d_with([3], options).to_vec::<f32>()?, [3.0, 5.0, 5.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[1.0, 3.0, 2.0, 5.0]], &dev);\n\
         assert_eq!(x.avg_pool1d([2]).to_vec::<f32>()?, [2.0, 3.5]);\n\
         let options = AvgPoolOptions { stride: Some([1]), ..Default::default() };\n\
         assert_eq!(x.avg_pool1d_with([3], options).mean().item::<f32>()?, (2.0 + 10.0 / 3.0) / 2.0);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[3.0, 4.0, 6.0, 8.0]], &dev);\n\
         assert_eq!(x.lp_pool1d(2.0, [2]).to_vec::<f32>()?, [5.0, 10.0]);\n\
         let options = LpPoolOptions { stride: Some([4]), ..Default::default() };\n\
         assert_eq!(x.lp_pool1d_with(2.0, [2], options).to_vec::<f32>()?, [5.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[1.0, 3.0, 5.0, 4.0, 2.0]], &dev);\n\
         let (y, at) = x.max_pool1d_with_indices([2], MaxPoolOptions::default());\n\
         assert_eq!(at.to_vec::<i32>()?, [1, 2]);\n\
         assert_eq!(y.max_unpool1d(&at, [2]).to_vec::<f32>()?, [0.0, 3.0, 5.0, 0.0]);\n\
         let options = UnpoolOptions { size: Some([5]), ..Default::default() };\n\
         assert_eq!(y.max_unpool1d_with(&at, [2], options).shape()?, [1, 5]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[1.0, 3.0, 2.0, 5.0, 4.0]], &dev);\n\
         assert_eq!(x.adaptive_avg_pool1d([2]).to_vec::<f32>()?, [2.0, 11.0 / 3.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[1.0, 3.0, 2.0, 5.0, 4.0]], &dev);\n\
         assert_eq!(x.adaptive_max_pool1d([2]).to_vec::<f32>()?, [3.0, 5.0]);\n\
         let (_, at) = x.adaptive_max_pool1d_with_indices([2]);\n\
         assert_eq!(at.to_vec::<i32>()?, [1, 3]);\n\
         # Ok::<(), Error>(())\n```"]
    2 "[n, c, h, w]":
        max_pool2d max_pool2d_with max_pool2d_with_indices avg_pool2d avg_pool2d_with lp_pool2d lp_pool2d_with
        max_unpool2d max_unpool2d_with adaptive_avg_pool2d adaptive_max_pool2d adaptive_max_pool2d_with_indices
        [[2, 2],
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[[[1.0, 2.0], [4.0, 3.0]]]], &dev).requires_grad();\n\
         let y = x.max_pool2d([2, 2]);\n\
         assert_eq!(y.to_vec::<f32>()?, [4.0]);\n\
         y.sum().backward()?;\n\
         assert_eq!(x.grad()?.to_vec::<f32>()?, [0.0, 0.0, 1.0, 0.0]);\n\
         let options = MaxPoolOptions { padding: [1, 1], ..Default::default() };\n\
         assert_eq!(x.max_pool2d_with([2, 2], options).to_vec::<f32>()?, [1.0, 2.0, 4.0, 3.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[[[1.0, 2.0], [4.0, 3.0]]]], &dev);\n\
         assert_eq!(x.avg_pool2d([2, 2]).to_vec::<f32>()?, [2.5]);\n\
         let options = AvgPoolOptions { padding: [1, 1], ..Default::default() };\n\
         assert_eq!(x.avg_pool2d_with([2, 2], options).to_vec::<f32>()?, [0.25, 0.5, 1.0, 0.75]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[[1.0, 1.0], [1.0, 1.0]]], &dev);\n\
         assert_eq!(x.lp_pool2d(2.0, [2, 2]).to_vec::<f32>()?, [2.0]);\n\
         let options = LpPoolOptions { stride: Some([1, 1]), ..Default::default() };\n\
         assert_eq!(x.lp_pool2d_with(1.0, [1, 2], options).to_vec::<f32>()?, [2.0, 2.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[[1.0, 2.0], [4.0, 3.0]]], &dev);\n\
         let (y, at) = x.max_pool2d_with_indices([2, 2], MaxPoolOptions::default());\n\
         assert_eq!(at.to_vec::<i32>()?, [2]);\n\
         assert_eq!(y.max_unpool2d(&at, [2, 2]).to_vec::<f32>()?, [0.0, 0.0, 4.0, 0.0]);\n\
         let options = UnpoolOptions { size: Some([2, 3]), ..Default::default() };\n\
         assert_eq!(y.max_unpool2d_with(&at, [2, 2], options).shape()?, [1, 2, 3]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[[1.0, 2.0, 3.0], [4.0, 3.0, 2.0]]], &dev);\n\
         assert_eq!(x.adaptive_avg_pool2d([1, 1]).to_vec::<f32>()?, [2.5]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::new([[[1.0, 2.0, 3.0], [4.0, 3.0, 2.0]]], &dev);\n\
         assert_eq!(x.adaptive_max_pool2d([2, 1]).to_vec::<f32>()?, [3.0, 4.0]);\n\
         let (_, at) = x.adaptive_max_pool2d_with_indices([2, 1]);\n\
         assert_eq!(at.to_vec::<i32>()?, [2, 3]);\n\
         # Ok::<(), Error>(())\n```"]
    3 "[n, c, d, h, w]":
        max_pool3d max_pool3d_with max_pool3d_with_indices avg_pool3d avg_pool3d_with lp_pool3d lp_pool3d_with
        max_unpool3d max_unpool3d_with adaptive_avg_pool3d adaptive_max_pool3d adaptive_max_pool3d_with_indices
        [[2, 2, 2],
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::arange(8, (DType::F32, &dev)).reshape([1, 2, 2, 2]);\n\
         assert_eq!(x.max_pool3d([2, 2, 2]).to_vec::<f32>()?, [7.0]);\n\
         let options = MaxPoolOptions { stride: Some([1, 1, 1]), ..Default::default() };\n\
         assert_eq!(x.max_pool3d_with([1, 2, 2], options).to_vec::<f32>()?, [3.0, 7.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::arange(8, (DType::F32, &dev)).reshape([1, 2, 2, 2]);\n\
         assert_eq!(x.avg_pool3d([2, 2, 2]).to_vec::<f32>()?, [3.5]);\n\
         let options = AvgPoolOptions { divisor: Some(1), ..Default::default() };\n\
         assert_eq!(x.avg_pool3d_with([2, 2, 2], options).to_vec::<f32>()?, [28.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::ones([1, 1, 2, 2, 4], &dev);\n\
         assert_eq!(x.lp_pool3d(2.0, [2, 2, 4]).to_vec::<f32>()?, [4.0]);\n\
         let options = LpPoolOptions { ceil_mode: true, ..Default::default() };\n\
         assert_eq!(x.lp_pool3d_with(1.0, [2, 2, 2], options).to_vec::<f32>()?, [8.0, 8.0]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::arange(8, (DType::F32, &dev)).reshape([1, 2, 2, 2]);\n\
         let (y, at) = x.max_pool3d_with_indices([2, 2, 2], MaxPoolOptions::default());\n\
         assert_eq!(at.to_vec::<i32>()?, [7]);\n\
         assert_eq!(y.max_unpool3d(&at, [2, 2, 2]).sum().item::<f32>()?, 7.0);\n\
         let options = UnpoolOptions { stride: Some([2, 2, 2]), ..Default::default() };\n\
         assert_eq!(y.max_unpool3d_with(&at, [2, 2, 2], options).shape()?, [1, 2, 2, 2]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::arange(8, (DType::F32, &dev)).reshape([1, 2, 2, 2]);\n\
         assert_eq!(x.adaptive_avg_pool3d([2, 1, 1]).to_vec::<f32>()?, [1.5, 5.5]);\n\
         # Ok::<(), Error>(())\n```",
        "```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\n\
         let x = Tensor::arange(8, (DType::F32, &dev)).reshape([1, 2, 2, 2]);\n\
         assert_eq!(x.adaptive_max_pool3d([2, 1, 1]).to_vec::<f32>()?, [3.0, 7.0]);\n\
         let (_, at) = x.adaptive_max_pool3d_with_indices([1, 1, 1]);\n\
         assert_eq!(at.to_vec::<i32>()?, [7]);\n\
         # Ok::<(), Error>(())\n```"]
}

/// Both of a pair, failed where it is an error.
fn pair(x: &Tensor, found: Result<(Tensor, Tensor)>) -> (Tensor, Tensor) {
    found.unwrap_or_else(|error| {
        let failed = Tensor::fail(x.device(), error);
        (failed.clone(), failed)
    })
}

/// The operand: floats with channels and, or not, a batch.
fn operand(name: &'static str, x: &Tensor, spatial: usize, place: Place) -> Result<Value> {
    let x = x.capture()?;
    let rank = x.shape().rank();
    if rank != spatial + 1 && rank != spatial + 2 {
        let (one, more) = (spatial + 1, spatial + 2);
        let problem = format!("takes {one} or {more} dimensions, not {}", x.shape());
        return Err(Error::shape(name, place, problem));
    }
    if !x.dtype().is_float() {
        let problem = format!(
            "takes floats, not {}; convert them with to_dtype",
            x.dtype()
        );
        return Err(Error::dtype(name, place, problem));
    }
    if x.shape()[rank - spatial - 1..].contains(&0) {
        let problem = format!(
            "an input of {} has no elements to pool: only the batch may be 0",
            x.shape()
        );
        return Err(Error::shape(name, place, problem));
    }
    Ok(x)
}

/// The numbers of a pool along its dimensions.
struct Sizes<'a> {
    kernel: &'a [usize],
    stride: &'a [usize],
    padding: &'a [usize],
    dilation: &'a [usize],
    ceil_mode: bool,
}

/// The windows of a pool over `elements`, and how many there are.
fn windows(
    name: &'static str,
    sizes: &Sizes<'_>,
    elements: &[usize],
    place: Place,
) -> Result<(Windows, SmallVec<[usize; 3]>)> {
    let Sizes {
        kernel,
        stride,
        padding,
        dilation,
        ceil_mode,
    } = *sizes;
    if [kernel, stride, dilation]
        .iter()
        .any(|numbers| numbers.contains(&0))
    {
        let problem =
            format!("kernel {kernel:?}, stride {stride:?}, dilation {dilation:?}: none may be 0");
        return Err(Error::value(name, place, problem));
    }
    let mut windows = Windows::new(kernel, stride, dilation);
    windows.low = SmallVec::from_slice(padding);
    let mut counts = SmallVec::new();
    for d in 0..kernel.len() {
        let span = windows.span(d);
        if span > i32::MAX as usize {
            let problem = format!(
                "kernel {kernel:?} with dilation {dilation:?}: along dimension {d} of what is pooled it spans {span} \
                 elements, and may span {} at most",
                i32::MAX
            );
            return Err(Error::value(name, place, problem));
        }
        if padding[d] > span / 2 {
            let problem = format!(
                "padding {padding:?} may be half of what kernel {kernel:?} with dilation {dilation:?} spans at most: \
                 {} along dimension {d} of what is pooled",
                span / 2
            );
            return Err(Error::value(name, place, problem));
        }
        // Wider than all sizes, which may be as large as they like. Less than 0 where no window is whole.
        let [size, step, pad] = [elements[d], stride[d], padding[d]].map(|n| n as i128);
        let rest = size + 2 * pad - span as i128 + if ceil_mode { step - 1 } else { 0 };
        let count = rest.div_euclid(step) + 1;
        if count < 1 {
            let problem = format!(
                "kernel {kernel:?} with dilation {dilation:?} spans {span} along dimension {d} of {}, more than its \
                 elements and twice the padding {padding:?}",
                Shape::new(elements)
            );
            return Err(Error::shape(name, place, problem));
        }
        // The last window begins within the input or the padding before it.
        let beyond = ceil_mode && (count - 1) * step >= size + pad;
        counts.push((count - i128::from(beyond)) as usize);
    }
    Ok((windows, counts))
}

/// The largest elements, and where they stand if that is `wanted`.
fn max_pool<const N: usize>(
    name: &'static str,
    x: &Tensor,
    kernel: &[usize; N],
    options: &MaxPoolOptions<N>,
    wanted: bool,
    place: Place,
) -> Result<(Tensor, Option<Tensor>)> {
    let x = operand(name, x, N, place)?;
    let sizes = Sizes {
        kernel,
        stride: &options.stride.unwrap_or(*kernel),
        padding: &options.padding,
        dilation: &options.dilation,
        ceil_mode: options.ceil_mode,
    };
    let elements = &x.shape()[x.shape().rank() - N..];
    let (windows, counts) = windows(name, &sizes, elements, place)?;
    let dtype = x.dtype();
    let wide = cast(&x, dtype.compute(), place)?;
    let op = AnyOperation::new(MaxPool { windows, counts });
    let parts: &[usize] = if wanted { &[1, 0] } else { &[1] };
    let mut found = apply(op, &[&wide], parts, place)?.into_iter();
    let Some(values) = found.next() else {
        return Err(Error::value(name, place, "no result"));
    };
    Ok((values.to_dtype(dtype).checked()?, found.next()))
}

fn avg_pool<const N: usize>(
    name: &'static str,
    x: &Tensor,
    kernel: &[usize; N],
    options: &AvgPoolOptions<N>,
    place: Place,
) -> Result<Tensor> {
    let x = operand(name, x, N, place)?;
    let sizes = Sizes {
        kernel,
        stride: &options.stride.unwrap_or(*kernel),
        padding: &options.padding,
        dilation: &[1; N],
        ceil_mode: options.ceil_mode,
    };
    if options.divisor == Some(0) {
        return Err(Error::value(
            name,
            place,
            "a divisor of 0: it must be at least 1",
        ));
    }
    let elements = SmallVec::<[usize; 3]>::from_slice(&x.shape()[x.shape().rank() - N..]);
    let (windows, counts) = windows(name, &sizes, &elements, place)?;
    let dtype = x.dtype();
    let wide = cast(&x, dtype.compute(), place)?;
    let op = SumPool {
        windows: windows.clone(),
        counts: counts.clone(),
    };
    let sums = apply(AnyOperation::new(op), &[&wide], &[0], place)?.remove(0);
    let mut mean = sums;
    let mut whole = 1.0;
    for d in 0..N {
        if options.divisor.is_some() {
            break;
        }
        // Windows count what of them lies before `end`, and within the input if padding does not count.
        let (padding, size, step) = (options.padding[d], kernel[d], windows.step[d]);
        let end = elements[d] + 2 * padding;
        let clipped = (counts[d] - 1) * step + size > end;
        if !clipped && (padding == 0 || options.count_include_pad) {
            whole *= size as f64;
            continue;
        }
        let mut dims = Dims::from_elem(1, N);
        dims[d] = counts[d];
        let first = Tensor::arange(counts[d], (DType::I32, &wide.node.device)) * step as i32;
        let last = (&first + size as i32).clamp_max(end as i32);
        let count = match options.count_include_pad {
            true => last - first,
            false => {
                let within = |x: Tensor| x.clamp(padding as i32, (padding + elements[d]) as i32);
                within(last) - within(first)
            }
        };
        mean = mean / count.to_dtype(wide.dtype()).reshape(Shape::from(dims));
    }
    let whole = options.divisor.map_or(whole, |divisor| divisor as f64);
    let mean = match whole == 1.0 {
        true => mean,
        false => mean / whole,
    };
    mean.to_dtype(dtype).checked()
}

fn unpool<const N: usize>(
    name: &'static str,
    x: &Tensor,
    indices: &Tensor,
    kernel: &[usize; N],
    options: &UnpoolOptions<N>,
    place: Place,
) -> Result<Tensor> {
    let value = operand(name, x, N, place)?;
    let shape = value.shape().clone();
    if indices.shape()? != shape {
        let problem = format!(
            "indices of {} for elements of {shape}: both must have one shape",
            indices.shape()?
        );
        return Err(Error::shape(name, place, problem));
    }
    let lead = shape.rank() - N;
    let stride = options.stride.unwrap_or(*kernel);
    let mut to = Dims::from_slice(&shape[..lead]);
    for d in 0..N {
        let least = (shape[lead + d] - 1)
            .saturating_mul(stride[d])
            .saturating_add(kernel[d])
            .saturating_sub(options.padding[d].saturating_mul(2));
        let size = match options.size {
            None => least,
            Some(size) if size[d].abs_diff(least) < stride[d] => size[d],
            Some(size) => {
                let problem = format!(
                    "a size of {size:?} for elements of {shape}: along dimension {d} of what is pooled it must be less \
                     than the stride {} from {least}",
                    stride[d]
                );
                return Err(Error::value(name, place, problem));
            }
        };
        to.push(size);
    }
    let Some(plane) = Shape::new(&to[lead..]).checked_numel() else {
        let problem = format!("too many elements: {}", Shape::from(to));
        return Err(Error::shape(name, place, problem));
    };
    let mut flat = Dims::from_slice(&shape[..lead]);
    flat.push(plane);
    let zeros = Tensor::zeros(Shape::from(flat), (value.dtype(), &value.node.device));
    let (x, at) = (
        x.flatten(lead as isize, -1),
        indices.flatten(lead as isize, -1),
    );
    scatter_along(name, &zeros, -1, &at, (&x).into(), place)
        .reshape(Shape::from(to))
        .checked()
}
