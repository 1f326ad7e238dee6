//! The calls of convolutions.

use wgrad::prelude::*;

use super::manifest::Args;

/// Numbers along `N` dimensions, `usual` where none are given.
pub fn sizes<const N: usize>(args: &Args<'_>, name: &str, usual: usize) -> [usize; N] {
    match args.has(name) {
        true => args
            .usizes(name)
            .try_into()
            .expect("a number per dimension"),
        false => [usual; N],
    }
}

fn options<const N: usize>(args: &Args<'_>) -> ConvOptions<N> {
    let padding = match args.has("padding") {
        true if args.opt_str("padding") == Some("same") => ConvPadding::Same,
        true => ConvPadding::Zeros(sizes(args, "padding", 0)),
        false => ConvPadding::Valid,
    };
    ConvOptions {
        stride: sizes(args, "stride", 1),
        padding,
        dilation: sizes(args, "dilation", 1),
        groups: if args.has("groups") {
            args.usize("groups")
        } else {
            1
        },
    }
}

fn transposed<const N: usize>(args: &Args<'_>) -> ConvTransposeOptions<N> {
    ConvTransposeOptions {
        stride: sizes(args, "stride", 1),
        padding: sizes(args, "padding", 0),
        output_padding: sizes(args, "output_padding", 0),
        dilation: sizes(args, "dilation", 1),
        groups: if args.has("groups") {
            args.usize("groups")
        } else {
            1
        },
    }
}

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let y = match op {
        "conv1d" => x[0].conv1d(&x[1], x.get(2)),
        "conv2d" => x[0].conv2d(&x[1], x.get(2)),
        "conv3d" => x[0].conv3d(&x[1], x.get(2)),
        "conv1d_with" => x[0].conv1d_with(&x[1], x.get(2), options(args)),
        "conv2d_with" => x[0].conv2d_with(&x[1], x.get(2), options(args)),
        "conv3d_with" => x[0].conv3d_with(&x[1], x.get(2), options(args)),
        "conv_transpose1d" => x[0].conv_transpose1d(&x[1], x.get(2)),
        "conv_transpose2d" => x[0].conv_transpose2d(&x[1], x.get(2)),
        "conv_transpose3d" => x[0].conv_transpose3d(&x[1], x.get(2)),
        "conv_transpose1d_with" => x[0].conv_transpose1d_with(&x[1], x.get(2), transposed(args)),
        "conv_transpose2d_with" => x[0].conv_transpose2d_with(&x[1], x.get(2), transposed(args)),
        "conv_transpose3d_with" => x[0].conv_transpose3d_with(&x[1], x.get(2), transposed(args)),
        _ => return None,
    };
    Some(vec![y])
}
