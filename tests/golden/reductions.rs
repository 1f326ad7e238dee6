//! The calls of reductions and running combinations.

use wgrad::Interpolation;
use wgrad::prelude::*;

use super::manifest::Args;

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let y = &x[0];
    let dims = || args.isizes("dims");
    let dim = || args.isize("dim");
    let keepdim = || args.bool("keepdim");
    let pair = |(a, b): (Tensor, Tensor)| vec![a, b];
    let moments = || (dims(), args.f64("correction"), keepdim());
    Some(vec![match op {
        "sum" => y.sum(),
        "sum_dims" => y.sum_dims(dims(), keepdim()),
        "mean" => y.mean(),
        "mean_dims" => y.mean_dims(dims(), keepdim()),
        "prod" => y.prod(),
        "prod_dims" => y.prod_dims(dims(), keepdim()),
        "nansum" => y.nansum(dims(), keepdim()),
        "nanmean" => y.nanmean(dims(), keepdim()),
        "any" => y.any(),
        "any_dims" => y.any_dims(dims(), keepdim()),
        "all" => y.all(),
        "all_dims" => y.all_dims(dims(), keepdim()),
        "max" => y.max(),
        "max_dims" => y.max_dims(dims(), keepdim()),
        "min" => y.min(),
        "min_dims" => y.min_dims(dims(), keepdim()),
        "amax" => y.amax(dims(), keepdim()),
        "amin" => y.amin(dims(), keepdim()),
        "aminmax" => return Some(pair(y.aminmax(dims(), keepdim()))),
        "max_along" => return Some(pair(y.max_along(dim(), keepdim()))),
        "min_along" => return Some(pair(y.min_along(dim(), keepdim()))),
        "argmax" if !args.has("dim") => y.argmax(.., false),
        "argmin" if !args.has("dim") => y.argmin(.., false),
        "argmax" => y.argmax(dim(), keepdim()),
        "argmin" => y.argmin(dim(), keepdim()),
        "var" => y.var(),
        "std" => y.std(),
        "var_dims" => y.var_dims(moments().0, moments().1, moments().2),
        "std_dims" => y.std_dims(moments().0, moments().1, moments().2),
        "var_mean" => return Some(pair(y.var_mean(moments().0, moments().1, moments().2))),
        "std_mean" => return Some(pair(y.std_mean(moments().0, moments().1, moments().2))),
        "norm" => y.norm(args.f64("p")),
        "vector_norm" => y.vector_norm(args.f64("p"), dims(), keepdim()),
        "count_nonzero" => y.count_nonzero(dims()),
        "bincount" => y.bincount(x.get(1), args.usize("minlength")),
        "histc" => y.histc(args.usize("bins"), args.f64("min"), args.f64("max")),
        "median" => y.median(),
        "median_along" => return Some(pair(y.median_along(dim(), keepdim()))),
        "nanmedian" => y.nanmedian(),
        "nanmedian_along" => return Some(pair(y.nanmedian_along(dim(), keepdim()))),
        "quantile" | "nanquantile" => quantile(op, x, args),
        "mode" => return Some(pair(y.mode(dim(), keepdim()))),
        "softmax" => y.softmax(dim()),
        "log_softmax" => y.log_softmax(dim()),
        "logsumexp" => y.logsumexp(dim(), keepdim()),
        "cumsum" => y.cumsum(dim()),
        "cumprod" => y.cumprod(dim()),
        "logcumsumexp" => y.logcumsumexp(dim()),
        "cummax" => return Some(pair(y.cummax(dim()))),
        "cummin" => return Some(pair(y.cummin(dim()))),
        "diff" => y.diff(args.usize("n"), dim()),
        "trapezoid" if args.has("dx") => y.trapezoid(args.f64("dx"), dim()),
        "trapezoid" => y.trapezoid(&x[1], dim()),
        "cumulative_trapezoid" if args.has("dx") => y.cumulative_trapezoid(args.f64("dx"), dim()),
        "cumulative_trapezoid" => y.cumulative_trapezoid(&x[1], dim()),
        _ => return None,
    }])
}

fn quantile(op: &str, x: &[Tensor], args: &Args<'_>) -> Tensor {
    let interpolation = match args.str("interpolation") {
        "linear" => Interpolation::Linear,
        "lower" => Interpolation::Lower,
        "higher" => Interpolation::Higher,
        "midpoint" => Interpolation::Midpoint,
        _ => Interpolation::Nearest,
    };
    let (dims, keepdim) = (args.isizes("dims"), args.bool("keepdim"));
    match (op, x.get(1)) {
        ("quantile", Some(q)) => x[0].quantile(q, dims, keepdim, interpolation),
        ("quantile", None) => x[0].quantile(args.f64("q"), dims, keepdim, interpolation),
        (_, Some(q)) => x[0].nanquantile(q, dims, keepdim, interpolation),
        (_, None) => x[0].nanquantile(args.f64("q"), dims, keepdim, interpolation),
    }
}
