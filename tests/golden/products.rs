//! The calls of products.

use wgrad::prelude::*;

use super::manifest::Args;

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let factors = || (args.f64("beta"), args.f64("alpha"));
    let y = match op {
        "matmul" => x[0].matmul(&x[1]),
        "mm" => x[0].mm(&x[1]),
        "mv" => x[0].mv(&x[1]),
        "dot" => x[0].dot(&x[1]),
        "bmm" => x[0].bmm(&x[1]),
        "outer" => x[0].outer(&x[1]),
        "inner" => x[0].inner(&x[1]),
        "kron" => x[0].kron(&x[1]),
        "cross" => x[0].cross(&x[1], args.isize("dim")),
        "linear" => x[0].linear(&x[1], x.get(2)),
        "addmm" => x[0].addmm(&x[1], &x[2], factors().0, factors().1),
        "addmv" => x[0].addmv(&x[1], &x[2], factors().0, factors().1),
        "baddbmm" => x[0].baddbmm(&x[1], &x[2], factors().0, factors().1),
        "tensordot" => x[0].tensordot(&x[1], args.isizes("ours"), args.isizes("theirs")),
        "chain_matmul" => Tensor::chain_matmul(x),
        "einsum" => Tensor::einsum(args.str("equation"), x),
        "matrix_power" => x[0].matrix_power(args.usize("n") as u32),
        "trace" => x[0].trace(),
        "cdist" => x[0].cdist(&x[1], args.f64("p")),
        _ => return None,
    };
    Some(vec![y])
}
