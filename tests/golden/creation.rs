//! The calls of what makes tensors.

use wgrad::prelude::*;

use super::manifest::Args;

pub fn apply(op: &str, _: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let y = match op {
        "arange" => {
            let progression = (args.int("start"), args.int("end"), args.int("step"));
            Tensor::arange(progression, (args.dtype("dtype"), args.device()))
        }
        _ => return None,
    };
    Some(vec![y])
}
