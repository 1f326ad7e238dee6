//! The calls of attention.

use wgrad::AttentionOptions;
use wgrad::prelude::*;

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
        _ => return None,
    };
    Some(vec![y])
}
