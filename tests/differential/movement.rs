//! Operations that only move elements: where each element of the result comes from. The same
//! table, read backwards, is their derivative.

use super::array::{Array, Fault, Outcome, dim, flat, positions};
use super::number::Num;
use super::program::Op;

/// The result's shape and, for each of its elements, the operand and the position in it.
type Moves = (Vec<usize>, Vec<(usize, usize)>);

/// The positions that `from` gives for those of a result of `shape`.
fn moves(shape: Vec<usize>, of: &[usize], from: impl Fn(&[usize]) -> Vec<usize>) -> Outcome<Moves> {
    let sources = positions(&shape)
        .iter()
        .map(|c| (0, flat(of, &from(c))))
        .collect();
    Ok((shape, sources))
}

fn reshaped(x: &Array, shape: Vec<usize>) -> Outcome<Moves> {
    if shape.iter().product::<usize>() != x.data.len() {
        return Err(Fault::Refused);
    }
    Ok((shape, (0..x.data.len()).map(|i| (0, i)).collect()))
}

/// Sizes with at most one -1, which is what is left.
fn infer(sizes: &[isize], numel: usize) -> Outcome<Vec<usize>> {
    let known: usize = sizes
        .iter()
        .filter(|&&s| s >= 0)
        .map(|&s| s as usize)
        .product();
    let open = sizes.iter().filter(|&&s| s < 0).count();
    if open > 1 || (open == 1 && (known == 0 || !numel.is_multiple_of(known))) {
        return Err(Fault::Refused);
    }
    Ok(sizes
        .iter()
        .map(|&s| if s < 0 { numel / known } else { s as usize })
        .collect())
}

fn narrow(shape: &[usize], d: usize, start: usize, len: usize) -> Outcome<Moves> {
    if start + len > shape[d] {
        return Err(Fault::Refused);
    }
    let to = [&shape[..d], &[len], &shape[d + 1..]].concat();
    moves(to, shape, |c| {
        [&c[..d], &[c[d] + start], &c[d + 1..]].concat()
    })
}

/// An index tensor's elements, all below `size`.
fn integers(index: &Array, size: usize) -> Outcome<Vec<usize>> {
    if !index.dtype.is_integer() {
        return Err(Fault::Refused);
    }
    let number = |v: &Num| match *v {
        Num::Int(v) => usize::try_from(v).ok().filter(|&v| v < size),
        _ => None,
    };
    index
        .data
        .iter()
        .map(number)
        .collect::<Option<_>>()
        .ok_or(Fault::Unspecified)
}

/// Along dimension `d` from the parts in turn, all of the rank of the first.
fn joined(shapes: &[Vec<usize>], d: usize) -> Outcome<Moves> {
    let mut shape = shapes[0].clone();
    let others = |s: &[usize]| [&s[..d], &s[d + 1..]].concat();
    if shapes
        .iter()
        .any(|s| s.len() != shape.len() || others(s) != others(&shape))
    {
        return Err(Fault::Refused);
    }
    shape[d] = shapes.iter().map(|s| s[d]).sum();
    let source = |c: &Vec<usize>| {
        let (mut part, mut at) = (0, c.clone());
        while at[d] >= shapes[part][d] {
            at[d] -= shapes[part][d];
            part += 1;
        }
        (part, flat(&shapes[part], &at))
    };
    let sources = positions(&shape).iter().map(source).collect();
    Ok((shape, sources))
}

pub fn movement(op: &Op, args: &[&Array]) -> Outcome<Moves> {
    let x = args[0];
    let (of, rank) = (&x.shape[..], x.shape.len());
    match op {
        Op::Gather(d) => {
            let (d, index) = (dim(*d, rank)?, args[1]);
            let (at, shape) = (integers(index, of[d])?, index.shape.clone());
            if shape.len() != rank || (0..rank).any(|i| i != d && shape[i] > of[i]) {
                return Err(Fault::Refused);
            }
            moves(shape.clone(), of, |c| {
                [&c[..d], &[at[flat(&shape, c)]], &c[d + 1..]].concat()
            })
        }
        Op::IndexSelect(d) => {
            let d = dim(*d, rank)?;
            let at = integers(args[1], of[d])?;
            if args[1].shape.len() > 1 {
                return Err(Fault::Refused);
            }
            let shape = [&of[..d], &[at.len()], &of[d + 1..]].concat();
            moves(shape, of, |c| [&c[..d], &[at[c[d]]], &c[d + 1..]].concat())
        }
        Op::Embedding => {
            if rank != 2 {
                return Err(Fault::Refused);
            }
            let (at, index) = (integers(args[1], of[0])?, &args[1].shape);
            let shape = [&index[..], &of[1..]].concat();
            moves(shape, of, |c| {
                vec![at[flat(index, &c[..index.len()])], c[index.len()]]
            })
        }
        Op::Cat(d) => {
            let shapes: Vec<Vec<usize>> = args.iter().map(|a| a.shape.clone()).collect();
            joined(&shapes, dim(*d, rank)?)
        }
        Op::Stack(d) => {
            let d = dim(*d, rank + 1)?;
            if args.iter().any(|a| a.shape != of) {
                return Err(Fault::Refused);
            }
            let shape = [&of[..d], &[1], &of[d..]].concat();
            joined(&vec![shape; args.len()], d)
        }
        Op::Split(size, d, part) => {
            let d = dim(*d, rank)?;
            let start = part * size;
            if *size == 0 || start >= of[d] {
                return Err(Fault::Unspecified);
            }
            narrow(of, d, start, (*size).min(of[d] - start))
        }
        Op::Chunk(n, d, part) => {
            let at = dim(*d, rank)?;
            movement(&Op::Split(of[at].div_ceil((*n).max(1)), *d, *part), args)
        }
        Op::Narrow(d, start, len) => narrow(of, dim(*d, rank)?, *start, *len),
        Op::Slice(ranges) => {
            let bad = |(r, &n): (&(usize, usize, usize), &usize)| r.0 > r.1 || r.1 > n || r.2 == 0;
            if ranges.len() > rank || ranges.iter().zip(of).any(bad) {
                return Err(Fault::Refused);
            }
            let range = |d: usize| ranges.get(d).copied().unwrap_or((0, of[d], 1));
            let shape = (0..rank)
                .map(|d| (range(d).1 - range(d).0).div_ceil(range(d).2))
                .collect();
            moves(shape, of, |c| {
                (0..rank).map(|d| range(d).0 + c[d] * range(d).2).collect()
            })
        }
        Op::Transpose(a, b) => {
            let mut dims: Vec<isize> = (0..rank as isize).collect();
            dims.swap(dim(*a, rank)?, dim(*b, rank)?);
            movement(&Op::Permute(dims), args)
        }
        Op::Permute(dims) => {
            let dims: Vec<usize> = dims.iter().map(|&d| dim(d, rank)).collect::<Outcome<_>>()?;
            if (0..rank).any(|d| !dims.contains(&d)) || dims.len() != rank {
                return Err(Fault::Refused);
            }
            moves(dims.iter().map(|&d| of[d]).collect(), of, |c| {
                (0..rank)
                    .map(|d| c[dims.iter().position(|&p| p == d).unwrap_or(0)])
                    .collect()
            })
        }
        Op::Reshape(sizes) => reshaped(x, infer(sizes, x.data.len())?),
        Op::Expand(sizes) => {
            let pad = sizes.len().checked_sub(rank).ok_or(Fault::Refused)?;
            let size = |d: usize| match sizes[d] {
                -1 if d < pad => Err(Fault::Refused),
                -1 => Ok(of[d - pad]),
                s if d >= pad && of[d - pad] != 1 && of[d - pad] != s as usize => {
                    Err(Fault::Refused)
                }
                s => Ok(s as usize),
            };
            let shape = (0..sizes.len()).map(size).collect::<Outcome<_>>()?;
            moves(shape, of, |c| {
                c[pad..]
                    .iter()
                    .zip(of)
                    .map(|(&i, &n)| if n == 1 { 0 } else { i })
                    .collect()
            })
        }
        Op::Flatten(a, b) => {
            let (a, b) = (dim(*a, rank)?, dim(*b, rank)?);
            if a > b {
                return Err(Fault::Refused);
            }
            reshaped(
                x,
                [&of[..a], &[of[a..=b].iter().product()], &of[b + 1..]].concat(),
            )
        }
        Op::Squeeze(d) => {
            let d = dim(*d, rank)?;
            reshaped(
                x,
                if of[d] == 1 {
                    [&of[..d], &of[d + 1..]].concat()
                } else {
                    of.to_vec()
                },
            )
        }
        Op::Unsqueeze(d) => {
            let d = dim(*d, rank + 1)?;
            reshaped(x, [&of[..d], &[1], &of[d..]].concat())
        }
        _ => Err(Fault::Unspecified),
    }
}
