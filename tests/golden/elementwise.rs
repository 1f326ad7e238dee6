//! The calls of elementwise operations.

use wgrad::Rhs;
use wgrad::backend::{MapOp, apply_row};
use wgrad::prelude::*;

use super::manifest::Args;

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    // The second operand, if it is a number.
    let other = || match x.get(1) {
        Some(b) => Rhs::from(b),
        None => Rhs::Scalar(args.scalar("other")),
    };
    let y = match op {
        "add" => x[0].add(other()),
        "sub" => x[0].sub(other()),
        "mul" => x[0].mul(other()),
        "div" => x[0].div(other()),
        "eq" => x[0].eq(other()),
        "ne" => x[0].ne(other()),
        "lt" => x[0].lt(other()),
        "le" => x[0].le(other()),
        "gt" => x[0].gt(other()),
        "ge" => x[0].ge(other()),
        "powi" => x[0].powi(args.int("n") as i32),
        "powf" => x[0].powf(args.f64("p")),
        "logical_not" => x[0].logical_not(),
        "where_cond" => x[0].where_cond(&x[1], &x[2]),
        "clamp" => x[0].clamp(args.scalar("lo"), args.scalar("hi")),
        "to_dtype" => x[0].to_dtype(args.dtype("dtype")),
        "nan_to_zero" => x[0].nan_to_zero(),
        // The other rows of the table have no arguments.
        _ => {
            let row = MapOp::ROWS.iter().find(|row| row.name() == op)?;
            apply_row(*row, &x[0], x.get(1).unwrap_or(&x[0]))
        }
    };
    Some(vec![y])
}
