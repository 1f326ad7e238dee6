//! The calls of what is done to pictures and their channels.

use wgrad::prelude::*;
use wgrad::{GridOptions, GridPadding, GridSampling, InterpolateOptions, PadMode, Resampling};

use super::manifest::Args;

fn resampling(args: &Args<'_>) -> Resampling {
    match args.str("mode") {
        "nearest" => Resampling::Nearest,
        "nearest-exact" => Resampling::NearestExact,
        "linear" => Resampling::Linear,
        "bicubic" => Resampling::Bicubic,
        _ => Resampling::Area,
    }
}

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let dropped =
        |f: fn(&Tensor, f64, bool) -> Tensor| f(&x[0], args.f64("p"), args.bool("training"));
    let y = match op {
        "pad" => {
            let with = match args.str("mode") {
                "reflect" => PadMode::Reflect,
                "replicate" => PadMode::Replicate,
                "circular" => PadMode::Circular,
                _ => args
                    .opt_scalar("value")
                    .map_or(PadMode::ZERO, PadMode::Constant),
            };
            x[0].pad(&args.isizes("padding"), with)
        }
        "pixel_shuffle" => x[0].pixel_shuffle(args.usize("r")),
        "pixel_unshuffle" => x[0].pixel_unshuffle(args.usize("r")),
        "channel_shuffle" => x[0].channel_shuffle(args.usize("groups")),
        "dropout" => dropped(Tensor::dropout),
        "feature_dropout" => dropped(Tensor::feature_dropout),
        "dropout1d" => dropped(Tensor::dropout1d),
        "dropout2d" => dropped(Tensor::dropout2d),
        "dropout3d" => dropped(Tensor::dropout3d),
        "alpha_dropout" => dropped(Tensor::alpha_dropout),
        "feature_alpha_dropout" => dropped(Tensor::feature_alpha_dropout),
        "interpolate" => x[0].interpolate(&args.usizes("size"), resampling(args)),
        "interpolate_with" => {
            let flag = |name: &str| args.has(name) && args.bool(name);
            let factors = || args.values("scale_factor").iter();
            x[0].interpolate_with(InterpolateOptions {
                size: args.has("size").then(|| args.usizes("size")),
                scale_factor: args
                    .has("scale_factor")
                    .then(|| factors().filter_map(|v| v.as_f64()).collect()),
                mode: resampling(args),
                align_corners: flag("align_corners"),
                recompute_scale_factor: flag("recompute"),
                antialias: flag("antialias"),
            })
        }
        "grid_sample" => {
            let text = |name: &str| if args.has(name) { args.str(name) } else { "" };
            let options = GridOptions {
                mode: match text("mode") {
                    "nearest" => GridSampling::Nearest,
                    "bicubic" => GridSampling::Bicubic,
                    _ => GridSampling::Bilinear,
                },
                padding: match text("padding") {
                    "border" => GridPadding::Border,
                    "reflection" => GridPadding::Reflection,
                    _ => GridPadding::Zeros,
                },
                align_corners: args.has("align_corners") && args.bool("align_corners"),
            };
            x[0].grid_sample(&x[1], options)
        }
        "affine_grid" => {
            Tensor::affine_grid(&x[0], &args.usizes("size")[..], args.bool("align_corners"))
        }
        _ => return None,
    };
    Some(vec![y])
}
