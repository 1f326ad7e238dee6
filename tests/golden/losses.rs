//! The calls of cross-entropies.

use wgrad::CtcOptions;
use wgrad::prelude::*;

use super::manifest::Args;

fn reduction(args: &Args<'_>) -> Reduction {
    match args.str("reduction") {
        "sum" => Reduction::Sum,
        "none" => Reduction::None,
        _ => Reduction::Mean,
    }
}

fn options(args: &Args<'_>, weight: Option<&Tensor>) -> CrossEntropyOptions {
    CrossEntropyOptions {
        weight: weight.cloned(),
        ignore_index: args.has("ignore").then(|| args.int("ignore")),
        reduction: reduction(args),
        label_smoothing: args.opt_f64("smoothing").unwrap_or(0.0),
    }
}

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let y = match op {
        "cross_entropy" => x[0].cross_entropy(&x[1]),
        "cross_entropy_with" => x[0].cross_entropy_with(&x[1], options(args, x.get(2))),
        "nll_loss_with" => x[0].nll_loss_with(&x[1], options(args, x.get(2))),
        "linear_cross_entropy" => x[0].linear_cross_entropy(&x[1], x.get(3), &x[2]),
        "linear_cross_entropy_with" => {
            x[0].linear_cross_entropy_with(&x[1], x.get(3), &x[2], options(args, None))
        }
        "linear_cross_entropy_by" => {
            let rows = args.usize("rows");
            x[0].linear_cross_entropy_by(rows, &x[1], x.get(3), &x[2], options(args, None))
        }
        "ctc_loss" => {
            let options = CtcOptions {
                blank: args.opt_isize("blank").unwrap_or(0) as usize,
                reduction: reduction(args),
                zero_infinity: args.has("zero_infinity") && args.bool("zero_infinity"),
            };
            let log_p = x[0].log_softmax(-1);
            log_p.ctc_loss(&x[1], &x[2], &x[3], options)
        }
        _ => return None,
    };
    Some(vec![y])
}
