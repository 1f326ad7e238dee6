//! The calls of gathering, scattering and selecting.

use serde_json::Value;
use wgrad::prelude::*;
use wgrad::{BagMode, EmbeddingBagOptions, Index, ScatterReduce};

use super::manifest::Args;

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let dim = || args.isize("dim");
    let y = match op {
        "index_select" => x[0].index_select(dim(), &x[1]),
        "gather" => x[0].gather(dim(), &x[1]),
        "take" => x[0].take(&x[1]),
        "take_along_dim" => x[0].take_along_dim(&x[1], args.opt_isize("dim")),
        "embedding" => x[0].embedding(&x[1]),
        "embedding_bag" => x[0].embedding_bag(&x[1], bag_options(x, args)),
        "masked_fill" => match x.get(2) {
            Some(value) => x[0].masked_fill(&x[1], value),
            None => x[0].masked_fill(&x[1], args.scalar("value")),
        },
        "masked_select" => x[0].masked_select(&x[1]),
        "masked_scatter" => x[0].masked_scatter(&x[1], &x[2]),
        "nonzero" => x[0].nonzero(),
        "argwhere" => x[0].argwhere(),
        "one_hot" => x[0].one_hot(args.usize("classes")),
        "index" => x[0].index(&list(x, args)[..]),
        "index_put" => x[0].index_put(&list(x, args)[..], &x[1], args.bool("accumulate")),
        "put" => x[0].put(&x[1], &x[2], args.bool("accumulate")),
        "scatter" => match x.get(2) {
            Some(source) => x[0].scatter(dim(), &x[1], source),
            None => x[0].scatter(dim(), &x[1], args.scalar("value")),
        },
        "scatter_add" => x[0].scatter_add(dim(), &x[1], &x[2]),
        "scatter_reduce" => {
            let reduce = match args.str("reduce") {
                "sum" => ScatterReduce::Sum,
                "prod" => ScatterReduce::Prod,
                "mean" => ScatterReduce::Mean,
                "amax" => ScatterReduce::Amax,
                _ => ScatterReduce::Amin,
            };
            x[0].scatter_reduce(dim(), &x[1], &x[2], reduce, args.bool("include_self"))
        }
        "index_add" => x[0].index_add(dim(), &x[1], &x[2], args.scalar("alpha")),
        "index_copy" => x[0].index_copy(dim(), &x[1], &x[2]),
        "index_fill" => match x.get(2) {
            Some(value) => x[0].index_fill(dim(), &x[1], value),
            None => x[0].index_fill(dim(), &x[1], args.scalar("value")),
        },
        "select_scatter" => x[0].select_scatter(&x[1], dim(), args.isize("index")),
        "slice_scatter" => {
            let range = s(args.isize("start")..args.isize("end")).step(args.usize("step"));
            x[0].slice_scatter(&x[1], dim(), range)
        }
        _ => return None,
    };
    Some(vec![y])
}

/// The entries of a list of indices: numbers, ranges `[start, end, step]`, "...", "new", and "t1" for operand 1.
fn list(x: &[Tensor], args: &Args<'_>) -> Vec<Index> {
    let entry = |value: &Value| match value {
        Value::Array(range) => {
            let number = |i: usize| range[i].as_i64().expect("a bound") as isize;
            s(number(0)..number(1)).step(number(2) as usize).into()
        }
        Value::String(name) => match name.as_str() {
            "..." => Ellipsis.into(),
            "new" => NewAxis.into(),
            operand => Index::from(&x[operand[1..].parse::<usize>().expect("an operand")]),
        },
        number => Index::At(number.as_i64().expect("a position") as isize),
    };
    args.values("list").iter().map(entry).collect()
}

/// Operands by flags: offsets, weights.
fn bag_options(x: &[Tensor], args: &Args<'_>) -> EmbeddingBagOptions {
    let mut rest = x[2..].iter().cloned();
    let flag = |name: &str| args.has(name) && args.bool(name);
    EmbeddingBagOptions {
        offsets: flag("offsets").then(|| rest.next().expect("offsets")),
        include_last_offset: flag("last"),
        mode: match args.str("mode") {
            "sum" => BagMode::Sum,
            "max" => BagMode::Max,
            _ => BagMode::Mean,
        },
        per_sample_weights: flag("weights").then(|| rest.next().expect("weights")),
        padding_index: args.opt_isize("padding").map(|at| at as i64),
    }
}
