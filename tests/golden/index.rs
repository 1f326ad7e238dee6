//! The calls of gathering, scattering and selecting.

use wgrad::prelude::*;

use super::manifest::Args;

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let y = match op {
        "index_select" => x[0].index_select(args.isize("dim"), &x[1]),
        _ => return None,
    };
    Some(vec![y])
}
