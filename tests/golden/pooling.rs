//! The calls of windows and pools.

use wgrad::ColumnOptions;
use wgrad::prelude::*;

use super::convolution::sizes;
use super::manifest::Args;

fn stride<const N: usize>(args: &Args<'_>) -> Option<[usize; N]> {
    args.has("stride").then(|| sizes(args, "stride", 1))
}

fn largest<const N: usize>(args: &Args<'_>) -> MaxPoolOptions<N> {
    MaxPoolOptions {
        stride: stride(args),
        padding: sizes(args, "padding", 0),
        dilation: sizes(args, "dilation", 1),
        ceil_mode: args.has("ceil_mode") && args.bool("ceil_mode"),
    }
}

fn mean<const N: usize>(args: &Args<'_>) -> AvgPoolOptions<N> {
    AvgPoolOptions {
        stride: stride(args),
        padding: sizes(args, "padding", 0),
        ceil_mode: args.has("ceil_mode") && args.bool("ceil_mode"),
        count_include_pad: !args.has("count_include_pad") || args.bool("count_include_pad"),
        divisor: args.has("divisor").then(|| args.usize("divisor")),
    }
}

fn power<const N: usize>(args: &Args<'_>) -> LpPoolOptions<N> {
    LpPoolOptions {
        stride: stride(args),
        ceil_mode: args.has("ceil_mode") && args.bool("ceil_mode"),
    }
}

fn unpool<const N: usize>(args: &Args<'_>) -> UnpoolOptions<N> {
    UnpoolOptions {
        stride: stride(args),
        padding: sizes(args, "padding", 0),
        size: args.has("size").then(|| sizes(args, "size", 1)),
    }
}

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    macro_rules! calls {
        ($n:literal $name:ident $with:ident $indices:ident $avg:ident $avg_with:ident $lp:ident $lp_with:ident $unpool:ident $unpool_with:ident
            $mean:ident $most:ident $most_indices:ident) => {
            if op == stringify!($name) {
                return Some(vec![x[0].$name(sizes::<$n>(args, "kernel", 1))]);
            } else if op == stringify!($with) {
                return Some(vec![
                    x[0].$with(sizes(args, "kernel", 1), largest::<$n>(args)),
                ]);
            } else if op == stringify!($indices) {
                let (y, at) = x[0].$indices(sizes(args, "kernel", 1), largest::<$n>(args));
                return Some(vec![y, at]);
            } else if op == stringify!($avg) {
                return Some(vec![x[0].$avg(sizes::<$n>(args, "kernel", 1))]);
            } else if op == stringify!($avg_with) {
                return Some(vec![
                    x[0].$avg_with(sizes(args, "kernel", 1), mean::<$n>(args)),
                ]);
            } else if op == stringify!($lp) {
                return Some(vec![
                    x[0].$lp(args.f64("p"), sizes::<$n>(args, "kernel", 1)),
                ]);
            } else if op == stringify!($lp_with) {
                let kernel = sizes(args, "kernel", 1);
                return Some(vec![x[0].$lp_with(
                    args.f64("p"),
                    kernel,
                    power::<$n>(args),
                )]);
            } else if op == stringify!($unpool) {
                return Some(vec![x[0].$unpool(&x[1], sizes::<$n>(args, "kernel", 1))]);
            } else if op == stringify!($unpool_with) {
                let kernel = sizes(args, "kernel", 1);
                return Some(vec![x[0].$unpool_with(&x[1], kernel, unpool::<$n>(args))]);
            } else if op == stringify!($mean) {
                return Some(vec![x[0].$mean(sizes::<$n>(args, "size", 1))]);
            } else if op == stringify!($most) {
                return Some(vec![x[0].$most(sizes::<$n>(args, "size", 1))]);
            } else if op == stringify!($most_indices) {
                let (y, at) = x[0].$most_indices(sizes::<$n>(args, "size", 1));
                return Some(vec![y, at]);
            }
        };
    }
    let columns = || ColumnOptions {
        dilation: sizes(args, "dilation", 1),
        padding: sizes(args, "padding", 0),
        stride: sizes(args, "stride", 1),
    };
    match op {
        "im2col" => return Some(vec![x[0].im2col(sizes(args, "kernel", 1), columns())]),
        "col2im" => {
            let (size, kernel) = (sizes(args, "size", 1), sizes(args, "kernel", 1));
            return Some(vec![x[0].col2im(size, kernel, columns())]);
        }
        "fractional_max_pool2d" => {
            let (kernel, size) = (sizes(args, "kernel", 1), sizes(args, "size", 1));
            return Some(vec![x[0].fractional_max_pool2d(kernel, size, &x[1])]);
        }
        "fractional_max_pool2d_with_indices" => {
            let (kernel, size) = (sizes(args, "kernel", 1), sizes(args, "size", 1));
            let (y, at) = x[0].fractional_max_pool2d_with_indices(kernel, size, &x[1]);
            return Some(vec![y, at]);
        }
        "fractional_max_pool3d" => {
            let (kernel, size) = (sizes(args, "kernel", 1), sizes(args, "size", 1));
            return Some(vec![x[0].fractional_max_pool3d(kernel, size, &x[1])]);
        }
        "fractional_max_pool3d_with_indices" => {
            let (kernel, size) = (sizes(args, "kernel", 1), sizes(args, "size", 1));
            let (y, at) = x[0].fractional_max_pool3d_with_indices(kernel, size, &x[1]);
            return Some(vec![y, at]);
        }
        _ => {}
    }
    if op == "unfold" {
        let (size, step) = (args.usize("size"), args.usize("step"));
        return Some(vec![x[0].unfold(args.isize("dim"), size, step)]);
    }
    calls!(1 max_pool1d max_pool1d_with max_pool1d_with_indices avg_pool1d avg_pool1d_with lp_pool1d lp_pool1d_with
        max_unpool1d max_unpool1d_with adaptive_avg_pool1d adaptive_max_pool1d adaptive_max_pool1d_with_indices);
    calls!(2 max_pool2d max_pool2d_with max_pool2d_with_indices avg_pool2d avg_pool2d_with lp_pool2d lp_pool2d_with
        max_unpool2d max_unpool2d_with adaptive_avg_pool2d adaptive_max_pool2d adaptive_max_pool2d_with_indices);
    calls!(3 max_pool3d max_pool3d_with max_pool3d_with_indices avg_pool3d avg_pool3d_with lp_pool3d lp_pool3d_with
        max_unpool3d max_unpool3d_with adaptive_avg_pool3d adaptive_max_pool3d adaptive_max_pool3d_with_indices);
    None
}
