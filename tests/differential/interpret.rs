//! A slow, plain interpreter: what a program means, by PyTorch's rules, independent of wgrad's
//! kernels. Floats are intervals (see `number.rs`), integers exact.

use wgrad::{Category, DType};

use super::array::{Array, Fault, Outcome, broadcast};
use super::movement::movement;
use super::number::{
    Num, Rules, add, at_most, div, equal, less, maximum, minimum, mul, neg, range, round, wrap,
};
use super::program::{Arg, Binary, Node, Op, Program};
use super::rows::Unary;
use super::sums::{cross_entropy, matmul, reduce, softmax};

/// An operand with its value.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    Array(&'a Array),
    Number(Arg),
}

/// The operands broadcast, loaded and combined.
fn zip(rules: Rules, dtype: DType, args: &[&Array], f: impl Fn(&[Num]) -> Num) -> Outcome {
    let shape = args
        .iter()
        .try_fold(Vec::new(), |shape, a| broadcast(&shape, &a.shape))?;
    Ok(Array::build(dtype, &shape, |c| {
        let nums: Vec<Num> = args.iter().map(|a| a.at(c).load(a.dtype, rules)).collect();
        f(&nums)
    }))
}

/// `torch.result_type`: tensors with dimensions, those without, numbers; a later group counts
/// only if its category is higher.
pub fn result_type(rules: Rules, args: &[Input<'_>]) -> Outcome<DType> {
    let mut groups: [Option<DType>; 3] = [None; 3];
    for arg in args {
        let (group, dtype) = match arg {
            Input::Array(a) if !a.shape.is_empty() => (0, a.dtype),
            Input::Array(a) => (1, a.dtype),
            Input::Number(Arg::Float(_)) => (2, DType::F32),
            Input::Number(Arg::Int(_)) => (2, DType::I32),
            Input::Number(_) => (2, DType::Bool),
        };
        groups[group] = Some(groups[group].map_or(dtype, |d| promote(d, dtype)));
    }
    let rank = |d: DType| match d.category() {
        Category::Bool => 0,
        Category::Integer => 1,
        Category::Float => 2,
    };
    let found = groups
        .into_iter()
        .flatten()
        .reduce(|a, b| if rank(b) > rank(a) { b } else { a });
    let found = found.ok_or(Fault::Refused)?;
    if found == DType::I64 && !rules.wide {
        Err(Fault::Refused)
    } else {
        Ok(found)
    }
}

fn promote(a: DType, b: DType) -> DType {
    use DType::*;
    let order = [Bool, U8, I8, I16, U32, I32, I64, F16, BF16, F32, F64];
    let at = |d| order.iter().position(|&o| o == d);
    match (a, b) {
        (I32 | I16 | I8, U32) | (U32, I32 | I16 | I8) => I64,
        (U8, I8) | (I8, U8) => I16,
        (F16, BF16) | (BF16, F16) => F32,
        _ if at(a) > at(b) => a,
        _ => b,
    }
}

/// What becomes of an integer number that its type does not hold.
#[derive(Clone, Copy, PartialEq)]
enum Outside {
    Wraps,
    Saturates,
    Refused,
    /// Compared as it is.
    Stays,
}

/// An operand as an array of `dtype`; a number of 16-bit operands stays in f32, unless it is
/// compared.
fn operand(rules: Rules, input: Input<'_>, dtype: DType, outside: Outside) -> Outcome {
    let number = match input {
        Input::Array(a) => return Ok(a.cast(dtype, rules)),
        Input::Number(number) => number,
    };
    let value = match number {
        Arg::Float(v) => Num::point(v),
        Arg::Int(v) => Num::Int(v.into()),
        Arg::Bool(v) => Num::Int(v.into()),
        Arg::Value(_) => return Err(Fault::Unspecified),
    };
    let (least, most) = range(dtype);
    let value = match value {
        Num::Float(v, _) if dtype.is_float() && outside == Outside::Stays => {
            Num::point(round(v, dtype))
        }
        Num::Int(v) if dtype.is_float() && outside == Outside::Stays => {
            Num::point(round(v as f64, dtype))
        }
        Num::Int(v) if dtype.is_integer() => Num::Int(match outside {
            Outside::Wraps => wrap(v, dtype),
            Outside::Saturates => v.clamp(least, most),
            Outside::Refused if v < least || v > most => return Err(Fault::Refused),
            _ => v,
        }),
        v => v.convert(dtype.compute()),
    };
    let dtype = if outside == Outside::Stays {
        dtype
    } else {
        dtype.compute()
    };
    Ok(Array {
        dtype,
        shape: Vec::new(),
        data: vec![value],
    })
}

pub fn floating(dtype: DType) -> DType {
    if dtype.is_float() { dtype } else { DType::F32 }
}

fn unary(rules: Rules, row: &Unary, x: &Array) -> Outcome {
    if let (Some(int), false) = (row.int, x.dtype.is_float()) {
        return match (x.dtype, row.name) {
            (DType::Bool, "neg") => Err(Fault::Refused),
            (DType::Bool, _) => Err(Fault::Unspecified),
            (dtype, _) => Ok(x.map(dtype, |v| match v {
                Num::Int(v) => Num::Int(wrap(int(v), dtype)),
                other => other,
            })),
        };
    }
    let dtype = floating(x.dtype);
    let x = x.cast(dtype, rules);
    Ok(x.map(dtype, |v| row.apply(v.load(dtype, rules), dtype, rules)))
}

/// An integer power by squaring, wrapped at each step.
fn int_pow(base: i128, exponent: i128, dtype: DType) -> i128 {
    if exponent < 0 {
        return match base {
            1 => 1,
            -1 => 1 - 2 * (exponent & 1),
            _ => 0,
        };
    }
    let (mut result, mut power, mut left) = (1, base, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result = wrap(result * power, dtype);
        }
        power = wrap(power * power, dtype);
        left >>= 1;
    }
    result
}

fn float_pow(a: Num, b: Num, dtype: DType, rules: Rules) -> Num {
    let (Num::Float(a, c), Num::Float(b, d)) = (a, b) else {
        return Num::Unknown;
    };
    // Where the ends do not tell: bases that may be negative, exponents that may or may not be
    // whole, and the bases and exponents whose power is 1 whatever the other is.
    let one = a <= 1.0 && c >= 1.0 && a != c;
    let open =
        (a != c && a <= 0.0) || (b < d && (a <= 0.0 || !c.is_finite())) || (b.is_nan() && one);
    if open {
        return Num::Unknown;
    }
    let ends = [a.powf(b), a.powf(d), c.powf(b), c.powf(d)];
    let slope = (b.abs().max(d.abs()) * a.abs().ln().abs().max(c.abs().ln().abs())).min(200.0);
    let ulps = (4.0 + 2.0 * if slope.is_nan() { 0.0 } else { slope })
        * if rules.shader { 4.0 } else { 1.0 };
    Num::hull(&ends).computed(dtype, ulps, rules)
}

/// Whether a number makes bools i32, which it does not fit itself.
fn chosen_by_what_does_not_fit(a: Input<'_>, b: Input<'_>) -> bool {
    match (a, b) {
        (Input::Array(x), Input::Number(Arg::Int(n)))
        | (Input::Number(Arg::Int(n)), Input::Array(x)) => {
            x.dtype == DType::Bool && i32::try_from(n).is_err()
        }
        _ => false,
    }
}

pub fn binary(rules: Rules, op: Binary, a: Input<'_>, b: Input<'_>) -> Outcome {
    use Binary::*;
    let dtype = match op {
        // Truth needs no common type.
        And | Or | Xor => DType::Bool,
        // Integers of any type divide as floats.
        Div => result_type(rules, &[a, b]).map_or(DType::F32, floating),
        _ => result_type(rules, &[a, b])?,
    };
    let outside = match op {
        Add | Sub | Mul => Outside::Wraps,
        Minimum | Maximum => Outside::Saturates,
        _ if matches!(op, Pow | Div) && dtype.is_float() => Outside::Wraps,
        Pow => Outside::Refused,
        _ => Outside::Stays,
    };
    match (op, dtype, b) {
        (Sub, DType::Bool, _) => return Err(Fault::Refused),
        (Pow, DType::Bool, _) => return Err(Fault::Unspecified),
        (Add | Sub | Mul, DType::I32, _) if chosen_by_what_does_not_fit(a, b) => {
            return Err(Fault::Refused);
        }
        (Pow, t, Input::Number(Arg::Int(n))) if t.is_integer() && n < 0 => {
            return Err(Fault::Refused);
        }
        _ => {}
    }
    let compares = matches!(op, Eq | Ne | Lt | Le | Gt | Ge);
    let whole = |x: Input<'_>| matches!(x, Input::Array(x) if !x.dtype.is_float());
    let fraction = |x: Input<'_>| matches!(x, Input::Number(Arg::Float(_)));
    let exact = compares && (whole(a) && fraction(b) || fraction(a) && whole(b));
    let side = |x: Input<'_>| match x {
        // Beside a fraction an integer is compared as it is.
        Input::Array(x) if exact => Ok(x.map(DType::F64, |v| match v {
            Num::Int(v) if v.unsigned_abs() < 1 << 53 => Num::point(v as f64),
            _ => Num::Unknown,
        })),
        Input::Number(Arg::Float(v)) if exact => Ok(Array {
            dtype: DType::F64,
            shape: Vec::new(),
            data: vec![Num::point(v)],
        }),
        x => operand(rules, x, dtype, outside),
    };
    let (a, b) = (side(a)?, side(b)?);
    let result = if compares { DType::Bool } else { dtype };
    // A shader may contract `a * b + c`, and divides within 2.5 units.
    let (product, quotient) = if rules.shader { (1.0, 3.0) } else { (0.0, 1.0) };
    // Of products (whose bits are open already) it may make `a (b + c)`.
    let open = |v: Num| matches!(v, Num::Float(lo, hi) if lo != hi);
    let factored = |x: Num, y: Num| f64::from(u8::from(rules.shader && (open(x) || open(y))));
    zip(rules, result, &[&a, &b], |v| {
        let (x, y) = (v[0], v[1]);
        let not = |v: Option<bool>| Num::truth(v.map(|v| !v));
        match (op, x, y) {
            (Eq, ..) => Num::truth(equal(x, y)),
            (Ne, ..) => not(equal(x, y)),
            (Lt, ..) => Num::truth(less(x, y)),
            (Le, ..) => Num::truth(at_most(x, y)),
            (Gt, ..) => Num::truth(less(y, x)),
            (Ge, ..) => Num::truth(at_most(y, x)),
            (Minimum, Num::Int(x), Num::Int(y)) => Num::Int(x.min(y)),
            (Maximum, Num::Int(x), Num::Int(y)) => Num::Int(x.max(y)),
            (Pow, Num::Int(x), Num::Int(y)) => Num::Int(int_pow(x, y, dtype)),
            (And, Num::Int(x), Num::Int(y)) => Num::Int(x & y),
            (Or, Num::Int(x), Num::Int(y)) => Num::Int(x | y),
            (Xor, Num::Int(x), Num::Int(y)) => Num::Int(x ^ y),
            (Add, Num::Int(x), Num::Int(y)) if dtype == DType::Bool => Num::Int(x | y),
            (Add, Num::Int(x), Num::Int(y)) => Num::Int(wrap(x + y, dtype)),
            (Sub, Num::Int(x), Num::Int(y)) => Num::Int(wrap(x - y, dtype)),
            (Mul, Num::Int(x), Num::Int(y)) => Num::Int(wrap(x * y, dtype)),
            (Add, ..) => add(x, y).computed(dtype, factored(x, y), rules),
            (Sub, ..) => add(x, neg(y)).computed(dtype, factored(x, y), rules),
            (Mul, ..) => mul(x, y).computed(dtype, product, rules),
            (Div, ..) => div(x, y).computed(dtype, quotient, rules),
            (Pow, ..) => float_pow(x, y, dtype, rules),
            (Minimum, ..) => minimum(x, y),
            (Maximum, ..) => maximum(x, y),
            (And | Or | Xor, ..) => Num::Unknown,
        }
    })
}

/// One of two loaded values, by a condition that may be open.
pub fn choose(c: Num, a: Num, b: Num) -> Num {
    match (c, a, b) {
        (Num::Int(0), ..) => b,
        (Num::Int(_), ..) => a,
        (_, Num::Float(a, b), Num::Float(c, d)) => Num::hull(&[a, b, c, d]),
        _ => Num::Unknown,
    }
}

fn clamp(rules: Rules, x: Input<'_>, lo: Input<'_>, hi: Input<'_>) -> Outcome {
    let dtype = result_type(rules, &[x, lo, hi])?;
    if dtype == DType::Bool {
        return Err(Fault::Unspecified);
    }
    let bound = |v| operand(rules, v, dtype, Outside::Saturates);
    let (x, lo, hi) = (bound(x)?, bound(lo)?, bound(hi)?);
    zip(rules, dtype, &[&x, &lo, &hi], |v| {
        match (v[0], v[1], v[2]) {
            (Num::Int(x), Num::Int(lo), Num::Int(hi)) => Num::Int(x.max(lo).min(hi)),
            (x, lo, hi) => minimum(maximum(x, lo), hi),
        }
    })
}

/// The value of one operation.
pub fn apply(rules: Rules, op: &Op, args: &[Input<'_>]) -> Outcome {
    if let Op::Binary(op) = op {
        return binary(rules, *op, args[0], args[1]);
    }
    let array = |i: usize| match args[i] {
        Input::Array(array) => Ok(array),
        Input::Number(_) => Err(Fault::Unspecified),
    };
    let x = array(0)?;
    match op {
        Op::Unary(row) => unary(rules, row, x),
        Op::Powi(n) => binary(
            rules,
            Binary::Pow,
            args[0],
            Input::Number(Arg::Int((*n).into())),
        ),
        // As torch: roots.
        Op::Powf(p) if *p == 0.5 => unary(rules, Unary::named("sqrt"), x),
        Op::Powf(p) if *p == -0.5 => unary(rules, Unary::named("rsqrt"), x),
        Op::Powf(p) => binary(rules, Binary::Pow, args[0], Input::Number(Arg::Float(*p))),
        Op::Not => Ok(x.cast(DType::Bool, rules).map(DType::Bool, |v| match v {
            Num::Int(v) => Num::Int(1 - v),
            other => other,
        })),
        Op::Where => {
            let dtype = result_type(rules, &args[1..])?;
            let c = x.cast(DType::Bool, rules);
            let a = operand(rules, args[1], dtype, Outside::Refused)?;
            let b = operand(rules, args[2], dtype, Outside::Refused)?;
            zip(rules, dtype, &[&c, &a, &b], |v| choose(v[0], v[1], v[2]))
        }
        Op::Clamp => clamp(rules, args[0], args[1], args[2]),
        Op::NanToZero => Ok(x.map(x.dtype, |v| if v.is_nan() { Num::point(0.0) } else { v })),
        Op::Cast(DType::F64 | DType::I64) if !rules.wide => Err(Fault::Refused),
        Op::Cast(dtype) => Ok(x.cast(*dtype, rules)),
        Op::Reduce(op, dims, keep) => reduce(rules, *op, x, dims.as_deref(), *keep),
        Op::MatMul => matmul(rules, x, array(1)?),
        Op::Linear => {
            let w = array(1)?;
            if w.shape.len() != 2 {
                return Err(Fault::Refused);
            }
            let w = apply(rules, &Op::Transpose(0, 1), &[Input::Array(w)])?;
            let y = matmul(rules, x, &w)?;
            match args.get(2) {
                Some(&bias) => binary(rules, Binary::Add, Input::Array(&y), bias),
                None => Ok(y),
            }
        }
        Op::Softmax(form, d, keep) => softmax(rules, *form, x, *d, *keep),
        Op::CrossEntropy(weight, ignore, reduction) => {
            let options = (weight.as_deref(), ignore.unwrap_or(-100), *reduction);
            cross_entropy(rules, (x, array(1)?), options)
        }
        _ => {
            let arrays: Vec<&Array> = (0..args.len()).map(array).collect::<Outcome<_>>()?;
            let dtype = match op {
                Op::Cat(_) | Op::Stack(_) => result_type(rules, args)?,
                _ => x.dtype,
            };
            let (shape, sources) = movement(op, &arrays)?;
            let cast: Vec<Array> = arrays.iter().map(|a| a.cast(dtype, rules)).collect();
            let data = sources.iter().map(|&(arg, i)| cast[arg].data[i]).collect();
            Ok(Array { dtype, shape, data })
        }
    }
}

/// The values of all nodes.
pub fn interpret(rules: Rules, program: &Program) -> Vec<Outcome> {
    let mut values: Vec<Outcome> = Vec::new();
    for node in &program.nodes {
        let value = match node {
            Node::Leaf(array, _) => Ok(array.clone()),
            Node::Step(op, args) => inputs(args, &values).and_then(|args| apply(rules, op, &args)),
        };
        values.push(value);
    }
    values
}

pub fn inputs<'a>(args: &[Arg], values: &'a [Outcome]) -> Outcome<Vec<Input<'a>>> {
    let input = |arg: &Arg| match *arg {
        Arg::Value(i) => values[i].as_ref().map(Input::Array).map_err(|&fault| fault),
        number => Ok(Input::Number(number)),
    };
    args.iter().map(input).collect()
}
