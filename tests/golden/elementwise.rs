//! The calls of elementwise operations.

use wgrad::backend::{MapOp, apply_row};
use wgrad::prelude::*;
use wgrad::{Rhs, Rounding};

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
        "clamp" => match x {
            [x, lo, hi] => x.clamp(lo, hi),
            _ => x[0].clamp(args.scalar("lo"), args.scalar("hi")),
        },
        "clamp_min" => x[0].clamp_min(other()),
        "clamp_max" => x[0].clamp_max(other()),
        "fmod" => x[0].fmod(other()),
        "remainder" => x[0].remainder(other()),
        "floor_divide" => x[0].floor_divide(other()),
        "div_trunc" => x[0].div_trunc(other()),
        "div_rounded" => {
            let rounding = match args.str("rounding") {
                "trunc" => Rounding::Trunc,
                _ => Rounding::Floor,
            };
            x[0].div_rounded(other(), rounding)
        }
        "bitwise_and" => x[0].bitwise_and(other()),
        "bitwise_or" => x[0].bitwise_or(other()),
        "bitwise_xor" => x[0].bitwise_xor(other()),
        "bitwise_left_shift" => x[0].bitwise_left_shift(other()),
        "bitwise_right_shift" => x[0].bitwise_right_shift(other()),
        "bitwise_not" => x[0].bitwise_not(),
        "lcm" => x[0].lcm(&x[1]),
        "frac" => x[0].frac(),
        "round_decimals" => x[0].round_decimals(args.int("decimals") as i32),
        "lerp" => match x.get(2) {
            Some(weight) => x[0].lerp(&x[1], weight),
            None => x[0].lerp(&x[1], args.scalar("weight")),
        },
        "addcmul" => x[0].addcmul(&x[1], &x[2], args.scalar("value")),
        "addcdiv" => x[0].addcdiv(&x[1], &x[2], args.scalar("value")),
        "deg2rad" => x[0].deg2rad(),
        "rad2deg" => x[0].rad2deg(),
        "isnan" => x[0].isnan(),
        "isinf" => x[0].isinf(),
        "isfinite" => x[0].isfinite(),
        "signbit" => x[0].signbit(),
        "isclose" => x[0].isclose(
            &x[1],
            args.f64("rtol"),
            args.f64("atol"),
            args.bool("equal_nan"),
        ),
        "nan_to_num" => x[0].nan_to_num(
            args.opt_f64("nan"),
            args.opt_f64("posinf"),
            args.opt_f64("neginf"),
        ),
        "heaviside" => x[0].heaviside(&x[1]),
        "polygamma" => x[0].polygamma(args.int("n") as i32),
        "logit_within" => x[0].logit_within(args.f64("eps")),
        "leaky_relu" => x[0].leaky_relu(args.f64("slope")),
        "elu" => x[0].elu(args.f64("alpha")),
        "selu" => x[0].selu(),
        "celu" => x[0].celu(args.f64("alpha")),
        "mish" => x[0].mish(),
        "hardtanh" => x[0].hardtanh(args.f64("lo"), args.f64("hi")),
        "relu6" => x[0].relu6(),
        "hardswish" => x[0].hardswish(),
        "hardsigmoid" => x[0].hardsigmoid(),
        "hardshrink" => x[0].hardshrink(args.f64("lambd")),
        "softshrink" => x[0].softshrink(args.f64("lambd")),
        "tanhshrink" => x[0].tanhshrink(),
        "softsign" => x[0].softsign(),
        "logsigmoid" => x[0].logsigmoid(),
        "threshold" => x[0].threshold(args.scalar("threshold"), args.scalar("value")),
        "prelu" => x[0].prelu(&x[1]),
        "rrelu" => x[0].rrelu(args.f64("lo"), args.f64("hi"), false),
        "glu" => x[0].glu(args.isize("dim")),
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
