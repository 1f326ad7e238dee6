//! The calls of what is done to pictures and their channels.

use wgrad::Padding;
use wgrad::prelude::*;

use super::manifest::Args;

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let dropped =
        |f: fn(&Tensor, f64, bool) -> Tensor| f(&x[0], args.f64("p"), args.bool("training"));
    let y = match op {
        "pad" => {
            let with = match args.str("mode") {
                "reflect" => Padding::Reflect,
                "replicate" => Padding::Replicate,
                "circular" => Padding::Circular,
                _ => args
                    .opt_scalar("value")
                    .map_or(Padding::ZERO, Padding::Constant),
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
        _ => return None,
    };
    Some(vec![y])
}
