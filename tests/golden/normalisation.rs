//! The calls of normalisations.

use wgrad::BatchNormOptions;
use wgrad::prelude::*;

use super::manifest::Args;

/// Operands by flags: running statistics, weight, bias.
fn options(x: &[Tensor], args: &Args<'_>) -> BatchNormOptions {
    let mut rest = x[1..].iter().cloned();
    let flag = |name: &str| args.has(name) && args.bool(name);
    let mut next = |wanted: bool| wanted.then(|| rest.next().expect("an operand"));
    let (mean, variance) = (next(flag("running")), next(flag("running")));
    let (weight, bias) = (next(flag("weight")), next(flag("bias")));
    let default = BatchNormOptions::default();
    BatchNormOptions {
        running: mean.zip(variance),
        weight,
        bias,
        training: !args.has("training") || args.bool("training"),
        momentum: args.opt_f64("momentum").unwrap_or(default.momentum),
        eps: args.opt_f64("eps").unwrap_or(default.eps),
    }
}

fn last(x: &Tensor, args: &Args<'_>) -> Vec<usize> {
    let n = args.opt_isize("n").unwrap_or(1) as usize;
    let dims = x.shape().expect("a shape");
    dims[dims.len() - n..].to_vec()
}

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let eps = args.opt_f64("eps");
    let y = match op {
        "layer_norm" => x[0].layer_norm(
            &last(&x[0], args)[..],
            x.get(1),
            x.get(2),
            eps.unwrap_or(1e-5),
        ),
        "rms_norm" => x[0].rms_norm(&last(&x[0], args)[..], x.get(1), eps),
        "group_norm" => {
            let groups = args.opt_isize("groups").unwrap_or(2) as usize;
            x[0].group_norm(groups, x.get(1), x.get(2), eps.unwrap_or(1e-5))
        }
        "batch_norm" | "instance_norm" => {
            let options = options(x, args);
            let normed = match op {
                "batch_norm" => x[0].batch_norm(options),
                _ => x[0].instance_norm(options),
            };
            let running = normed.running.into_iter().flat_map(|(m, v)| [m, v]);
            return Some([normed.output].into_iter().chain(running).collect());
        }
        "local_response_norm" => x[0].local_response_norm(
            args.usize("size"),
            args.f64("alpha"),
            args.f64("beta"),
            args.f64("k"),
        ),
        "weight_norm" => x[0].weight_norm(&x[1], args.opt_isize("dim")),
        "normalize" => x[0].normalize(args.f64("p"), args.isizes("dim"), args.f64("eps")),
        "cosine_similarity" => x[0].cosine_similarity(&x[1], args.isize("dim"), args.f64("eps")),
        "pairwise_distance" => {
            x[0].pairwise_distance(&x[1], args.f64("p"), args.f64("eps"), args.bool("keepdim"))
        }
        _ => return None,
    };
    Some(vec![y])
}
