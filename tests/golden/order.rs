//! The calls of what orders elements.

use wgrad::prelude::*;

use super::manifest::Args;

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let y = &x[0];
    let dim = || args.isize("dim");
    let pair = |(a, b): (Tensor, Tensor)| vec![a, b];
    Some(match op {
        "sort" => pair(y.sort(dim(), args.bool("descending"))),
        "argsort" => vec![y.argsort(dim(), args.bool("descending"))],
        "msort" => vec![y.msort()],
        "topk" => pair(y.topk(args.usize("k"), dim(), args.bool("largest"))),
        "kthvalue" => pair(y.kthvalue(args.usize("k"), dim(), args.bool("keepdim"))),
        "searchsorted" => vec![y.searchsorted(&x[1], args.bool("right"))],
        "bucketize" => vec![y.bucketize(&x[1], args.bool("right"))],
        "isin" => vec![y.isin(&x[1])],
        "unique" | "unique_consecutive" | "unique_along" | "unique_consecutive_along" => {
            let unique = match op {
                "unique" => y.unique(),
                "unique_consecutive" => y.unique_consecutive(),
                "unique_along" => y.unique_along(dim()),
                _ => y.unique_consecutive_along(dim()),
            };
            vec![unique.values, unique.inverse, unique.counts]
        }
        _ => return None,
    })
}
