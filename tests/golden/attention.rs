//! The calls of attention.

use wgrad::prelude::*;
use wgrad::{AttentionOptions, RotaryOptions};

use super::manifest::Args;

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let options = || AttentionOptions {
        mask: x.get(3).cloned(),
        is_causal: args.has("causal"),
        scale: args.has("scale").then(|| args.f64("scale")),
        enable_gqa: args.has("gqa"),
        ..AttentionOptions::default()
    };
    let y = match op {
        "scaled_dot_product_attention" => x[0].scaled_dot_product_attention(&x[1], &x[2]),
        "scaled_dot_product_attention_with" => {
            x[0].scaled_dot_product_attention_with(&x[1], &x[2], options())
        }
        "rotary_embedding" => x[0].rotary_embedding(),
        "rotary_embedding_with" => x[0].rotary_embedding_with(RotaryOptions {
            offset: if args.has("offset") {
                args.usize("offset")
            } else {
                0
            },
            positions: x.get(1).cloned(),
            base: args.opt_f64("base").unwrap_or(10_000.0),
            interleaved: args.has("interleaved"),
        }),
        _ => return None,
    };
    Some(vec![y])
}
