//! The calls of reductions and running sums.

use wgrad::prelude::*;

use super::manifest::Args;

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let y = match op {
        "sum_dims" => x[0].sum_dims(args.isizes("dims"), args.bool("keepdim")),
        _ => return None,
    };
    Some(vec![y])
}
