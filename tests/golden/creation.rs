//! The calls of what makes tensors.

use wgrad::prelude::*;

use super::manifest::Args;

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let target = || (args.dtype("dtype"), args.device());
    let number = |name| args.f64(name);
    let y = match op {
        "arange" => match args.scalar("step") {
            wgrad::Scalar::Integer(step) => {
                Tensor::arange((args.int("start"), args.int("end"), step), target())
            }
            _ => Tensor::arange((number("start"), number("end"), number("step")), target()),
        },
        "eye" => Tensor::eye(args.usizes("size"), target()),
        "zeros" => Tensor::zeros(args.usizes("shape"), target()),
        "ones" => Tensor::ones(args.usizes("shape"), target()),
        "full" => Tensor::full(args.usizes("shape"), args.scalar("value"), target()),
        "zeros_like" => x[0].zeros_like(),
        "ones_like" => x[0].ones_like(),
        "full_like" => x[0].full_like(args.scalar("value")),
        "linspace" => Tensor::linspace(number("start"), number("end"), args.usize("n"), target()),
        "logspace" => {
            let (start, end) = (number("start"), number("end"));
            Tensor::logspace(start, end, args.usize("n"), number("base"), target())
        }
        "tril_indices" | "triu_indices" => {
            let (rows, columns) = (args.usize("rows"), args.usize("columns"));
            let diagonal = args.isize("diagonal");
            match op {
                "tril_indices" => Tensor::tril_indices(rows, columns, diagonal, target()),
                _ => Tensor::triu_indices(rows, columns, diagonal, target()),
            }
        }
        _ => return None,
    };
    Some(vec![y])
}
