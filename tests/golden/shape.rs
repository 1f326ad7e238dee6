//! The calls of views, joining and splitting.

use wgrad::prelude::*;
use wgrad::{Indexing, Slice};

use super::manifest::Args;

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let dim = || args.isize("dim");
    let y = match op {
        "reshape" => x[0].reshape(args.isizes("shape")),
        "transpose" => x[0].transpose(args.isize("a"), args.isize("b")),
        "swapaxes" => x[0].swapaxes(args.isize("a"), args.isize("b")),
        "t" => x[0].t(),
        "permute" => x[0].permute(args.isizes("dims")),
        "movedim" => x[0].movedim(args.isizes("source"), args.isizes("to")),
        "flatten" => x[0].flatten(args.isize("start"), args.isize("end")),
        "flatten_from" => x[0].flatten_from(args.isize("start")),
        "unflatten" => x[0].unflatten(dim(), args.isizes("sizes")),
        "expand" => x[0].expand(args.isizes("shape")),
        "squeeze" => x[0].squeeze(dim()),
        "squeeze_dims" => x[0].squeeze_dims(args.isizes("dims")),
        "unsqueeze" => x[0].unsqueeze(dim()),
        "contiguous" => x[0].contiguous(),
        "slice" => {
            let (start, end) = (args.isizes("start"), args.isizes("end"));
            let ranges = start.into_iter().zip(end).zip(args.usizes("step"));
            let ranges: Vec<Slice> = ranges.map(|((a, b), step)| s(a..b).step(step)).collect();
            x[0].slice(&ranges[..])
        }
        "narrow" => x[0].narrow(dim(), args.usize("start"), args.usize("length")),
        "select" => x[0].select(dim(), args.isize("index")),
        "cat" => Tensor::cat(x, dim()),
        "stack" => Tensor::stack(x, dim()),
        "hstack" => Tensor::hstack(x),
        "vstack" => Tensor::vstack(x),
        "dstack" => Tensor::dstack(x),
        "block_diag" => Tensor::block_diag(x),
        "chunk" => return Some(x[0].chunk(args.usize("n"), dim())),
        "split" => return Some(x[0].split(args.usize("size"), dim())),
        "split_with_sizes" => return Some(x[0].split_with_sizes(&args.usizes("sizes"), dim())),
        "tensor_split" => return Some(x[0].tensor_split(args.usize("n"), dim())),
        "tensor_split_at" => return Some(x[0].tensor_split_at(&args.isizes("at"), dim())),
        "hsplit" => return Some(x[0].hsplit(args.usize("n"))),
        "vsplit" => return Some(x[0].vsplit(args.usize("n"))),
        "dsplit" => return Some(x[0].dsplit(args.usize("n"))),
        "unbind" => return Some(x[0].unbind(dim())),
        "flip" => x[0].flip(args.isizes("dims")),
        "fliplr" => x[0].fliplr(),
        "flipud" => x[0].flipud(),
        "roll" => x[0].roll(&args.isizes("shifts"), args.isizes("dims")),
        "rot90" => {
            let dims = args.isizes("dims");
            x[0].rot90(args.isize("k"), [dims[0], dims[1]])
        }
        "repeat" => x[0].repeat(&args.usizes("repeats")),
        "tile" => x[0].tile(&args.usizes("repeats")),
        "repeat_interleave" => match x.get(1) {
            Some(times) => x[0].repeat_interleave(times, Some(dim())),
            None => x[0].repeat_interleave(args.int("times"), args.opt_isize("dim")),
        },
        "tril" => x[0].tril(args.isize("diagonal")),
        "triu" => x[0].triu(args.isize("diagonal")),
        "diag" => x[0].diag(args.isize("diagonal")),
        "diagonal" => x[0].diagonal(args.isize("diagonal"), args.isize("a"), args.isize("b")),
        "diag_embed" => x[0].diag_embed(args.isize("diagonal"), args.isize("a"), args.isize("b")),
        "meshgrid" => {
            let indexing = match args.str("indexing") {
                "ij" => Indexing::Ij,
                _ => Indexing::Xy,
            };
            return Some(Tensor::meshgrid(x, indexing));
        }
        "cartesian_prod" => Tensor::cartesian_prod(x),
        _ => return None,
    };
    Some(vec![y])
}
