//! A slow, plain interpreter: what a program means, by PyTorch's rules, independent of wgrad's
//! kernels. Floats are intervals (see `number.rs`), integers exact.

use std::fmt;

use wgrad::{Category, DType, Reduction};

use super::movement::movement;
use super::number::{
    Num, Rules, add, at_most, div, equal, less, maximum, minimum, mul, neg, range, round, sum, wrap,
};
use super::program::{Arg, Binary, Form, Node, Op, Program, Reduce};
use super::rows::Unary;

#[derive(Clone, Debug)]
pub struct Array {
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// Row-major; floats before they are rounded to a 16-bit type.
    pub data: Vec<Num>,
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// wgrad must make a failed tensor.
    Refused,
    /// The rules do not say: not to be generated.
    Unspecified,
}
pub type Outcome<T = Array> = Result<T, Fault>;

/// An operand with its value.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    Array(&'a Array),
    Number(Arg),
}

/// All positions of a shape, row-major.
pub fn positions(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![Vec::new()], |all, &size| {
        all.iter()
            .flat_map(|c| (0..size).map(move |i| [&c[..], &[i]].concat()))
            .collect()
    })
}

pub fn flat(shape: &[usize], position: &[usize]) -> usize {
    shape
        .iter()
        .zip(position)
        .fold(0, |at, (&size, &i)| at * size + i)
}

pub fn dim(d: isize, rank: usize) -> Outcome<usize> {
    let at = if d < 0 { d + rank as isize } else { d };
    if (0..rank as isize).contains(&at) {
        Ok(at as usize)
    } else {
        Err(Fault::Refused)
    }
}

pub fn broadcast(a: &[usize], b: &[usize]) -> Outcome<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |s: &[usize], d: usize| (d + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    (0..rank)
        .map(|d| match (size(a, d), size(b, d)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            _ => Err(Fault::Refused),
        })
        .collect()
}

impl Array {
    pub fn build(dtype: DType, shape: &[usize], f: impl FnMut(&[usize]) -> Num) -> Array {
        let mut f = f;
        let data = positions(shape).iter().map(|c| f(c)).collect();
        Array {
            dtype,
            shape: shape.to_vec(),
            data,
        }
    }

    /// The element at a position of a shape that this one broadcasts to.
    pub fn at(&self, position: &[usize]) -> Num {
        let position = &position[position.len() - self.shape.len()..];
        let own: Vec<usize> = position
            .iter()
            .zip(&self.shape)
            .map(|(&i, &n)| if n == 1 { 0 } else { i })
            .collect();
        self.data[flat(&self.shape, &own)]
    }

    pub fn map(&self, dtype: DType, f: impl FnMut(Num) -> Num) -> Array {
        Array {
            dtype,
            shape: self.shape.clone(),
            data: self.data.iter().copied().map(f).collect(),
        }
    }

    pub fn cast(&self, to: DType, rules: Rules) -> Array {
        if to == self.dtype {
            return self.clone();
        }
        self.map(to, |v| v.load(self.dtype, rules).convert(to))
    }

    /// Loaded elements: what arithmetic sees.
    fn loaded(&self, rules: Rules) -> Array {
        self.map(self.dtype, |v| v.load(self.dtype, rules))
    }
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
    let order = [Bool, U8, U32, I32, I64, F16, BF16, F32, F64];
    let at = |d| order.iter().position(|&o| o == d);
    match (a, b) {
        (I32, U32) | (U32, I32) => I64,
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

fn floating(dtype: DType) -> DType {
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
    if a != c && !(a > 0.0) {
        return Num::Unknown;
    }
    let ends = [a.powf(b), a.powf(d), c.powf(b), c.powf(d)];
    let slope = (b.abs().max(d.abs()) * a.abs().ln().abs().max(c.abs().ln().abs())).min(200.0);
    let ulps = (4.0 + 2.0 * if slope.is_nan() { 0.0 } else { slope })
        * if rules.shader { 4.0 } else { 1.0 };
    Num::hull(&ends).computed(dtype, ulps, rules)
}

pub fn binary(rules: Rules, op: Binary, a: Input<'_>, b: Input<'_>) -> Outcome {
    use Binary::*;
    let common = result_type(rules, &[a, b])?;
    let dtype = match op {
        Div => floating(common),
        And | Or | Xor => DType::Bool,
        _ => common,
    };
    let outside = match op {
        Add | Sub | Mul => Outside::Wraps,
        Minimum | Maximum => Outside::Saturates,
        _ if matches!(op, Pow | Div) && dtype.is_float() => Outside::Wraps,
        _ => Outside::Stays,
    };
    match (op, dtype, b) {
        (Sub, DType::Bool, _) => return Err(Fault::Refused),
        (Pow, DType::Bool, _) => return Err(Fault::Unspecified),
        (Pow, t, Input::Number(Arg::Int(n))) if t.is_integer() && n < 0 => {
            return Err(Fault::Refused);
        }
        _ => {}
    }
    let (a, b) = (
        operand(rules, a, dtype, outside)?,
        operand(rules, b, dtype, outside)?,
    );
    let result = if matches!(op, Eq | Ne | Lt | Le | Gt | Ge) {
        DType::Bool
    } else {
        dtype
    };
    // A shader may contract `a * b + c`, and divides within 2.5 units.
    let (product, quotient) = if rules.shader { (1.0, 3.0) } else { (0.0, 1.0) };
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
            (Add, ..) => add(x, y).computed(dtype, 0.0, rules),
            (Sub, ..) => add(x, neg(y)).computed(dtype, 0.0, rules),
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

/// The reduced dimensions, ascending.
pub fn reduced_dims(dims: Option<&[isize]>, rank: usize) -> Outcome<Vec<usize>> {
    let Some(dims) = dims else {
        return Ok((0..rank).collect());
    };
    let mut found = Vec::new();
    for &d in dims.iter().filter(|&&d| rank > 0 || !(-1..=0).contains(&d)) {
        let d = dim(d, rank)?;
        if found.contains(&d) {
            return Err(Fault::Refused);
        }
        found.push(d);
    }
    found.sort_unstable();
    Ok(found)
}

/// The position of the first largest of loaded elements.
fn first_largest(lane: &[Num]) -> Num {
    let at = |i: usize| Num::Int(i as i128);
    if let Some(i) = lane.iter().position(|v| v.is_nan()) {
        return if lane[..i].iter().any(|v| v.is_unknown()) {
            Num::Unknown
        } else {
            at(i)
        };
    }
    let wins = |i: usize| {
        (0..i).all(|j| less(lane[j], lane[i]) == Some(true))
            && (i + 1..lane.len()).all(|j| at_most(lane[j], lane[i]) == Some(true))
    };
    (0..lane.len()).find(|&i| wins(i)).map_or(Num::Unknown, at)
}

fn reduce(rules: Rules, op: Reduce, x: &Array, dims: Option<&[isize]>, keep: bool) -> Outcome {
    let dims = reduced_dims(dims, x.shape.len())?;
    let dtype = match (op, x.dtype) {
        (Reduce::Sum, DType::Bool | DType::U8) => DType::I32,
        (Reduce::Sum, DType::U32) if rules.wide => DType::I64,
        (Reduce::Mean, t) => floating(t),
        (Reduce::ArgMax | Reduce::ArgMin, _) => DType::I32,
        (Reduce::Any | Reduce::All, _) => DType::Bool,
        (_, t) => t,
    };
    let x = match op {
        Reduce::Mean => x.cast(dtype, rules),
        Reduce::Any | Reduce::All => x.cast(DType::Bool, rules),
        _ => x.clone(),
    };
    let kept: Vec<usize> = (0..x.shape.len())
        .map(|d| if dims.contains(&d) { 1 } else { x.shape[d] })
        .collect();
    let mut lanes = vec![Vec::new(); kept.iter().product()];
    for (c, &v) in positions(&x.shape).iter().zip(&x.data) {
        let c: Vec<usize> = c
            .iter()
            .zip(&kept)
            .map(|(&i, &n)| if n == 1 { 0 } else { i })
            .collect();
        lanes[flat(&kept, &c)].push(v.load(x.dtype, rules));
    }
    let chooses = matches!(
        op,
        Reduce::Max | Reduce::Min | Reduce::ArgMax | Reduce::ArgMin
    );
    if chooses && lanes.iter().any(Vec::is_empty) {
        return Err(Fault::Refused);
    }
    let int_sum = |lane: &[Num]| {
        lane.iter().try_fold(0, |sum, v| {
            if let Num::Int(v) = v {
                Some(wrap(sum + v, dtype))
            } else {
                None
            }
        })
    };
    let extremum = |lane: &[Num], pick: fn(Num, Num) -> Num, int: fn(i128, i128) -> i128| {
        let both = |a, b| match (a, b) {
            (Num::Int(a), Num::Int(b)) => Num::Int(int(a, b)),
            _ => pick(a, b),
        };
        lane.iter().copied().reduce(both).unwrap_or(Num::Unknown)
    };
    let has = |lane: &[Num], v: i128| lane.iter().any(|n| matches!(n, Num::Int(n) if *n == v));
    let data = lanes.iter().map(|lane| match op {
        Reduce::Sum if dtype.is_float() => sum(lane, dtype, rules),
        Reduce::Sum => int_sum(lane).map_or(Num::Unknown, Num::Int),
        Reduce::Mean => {
            div(sum(lane, dtype, rules), Num::point(lane.len() as f64)).computed(dtype, 2.0, rules)
        }
        Reduce::Max => extremum(lane, maximum, Ord::max),
        Reduce::Min => extremum(lane, minimum, Ord::min),
        Reduce::ArgMax => first_largest(lane),
        Reduce::ArgMin => first_largest(&lane.iter().map(|&v| reverse(v)).collect::<Vec<_>>()),
        Reduce::Any if has(lane, 1) => Num::Int(1),
        Reduce::All if has(lane, 0) => Num::Int(0),
        _ if lane.iter().any(|v| v.is_unknown()) => Num::Unknown,
        _ => Num::Int(i128::from(op == Reduce::All)),
    });
    let data = data.collect();
    let shape = (0..kept.len())
        .filter(|d| keep || !dims.contains(d))
        .map(|d| kept[d])
        .collect();
    Ok(Array { dtype, shape, data })
}

/// The order turned around.
fn reverse(v: Num) -> Num {
    match v {
        Num::Int(v) => Num::Int(-v),
        v => neg(v),
    }
}

pub fn matmul(rules: Rules, a: &Array, b: &Array) -> Outcome {
    if a.shape.is_empty() || b.shape.is_empty() {
        return Err(Fault::Refused);
    }
    let dtype = result_type(rules, &[Input::Array(a), Input::Array(b)])?;
    if dtype == DType::Bool {
        return Err(Fault::Refused);
    }
    let (mut a, mut b) = (
        a.cast(dtype, rules).loaded(rules),
        b.cast(dtype, rules).loaded(rules),
    );
    let (row, column) = (a.shape.len() == 1, b.shape.len() == 1);
    if row {
        a.shape.insert(0, 1);
    }
    if column {
        b.shape.push(1);
    }
    let (ra, rb) = (a.shape.len(), b.shape.len());
    let (m, k, n) = (a.shape[ra - 2], a.shape[ra - 1], b.shape[rb - 1]);
    if b.shape[rb - 2] != k {
        return Err(Fault::Refused);
    }
    let mut shape = broadcast(&a.shape[..ra - 2], &b.shape[..rb - 2])?;
    shape.extend([m, n]);
    let batch = shape.len() - 2;
    let mut y = Array::build(dtype, &shape, |c| {
        let element = |i: usize| {
            let left = a.at(&[&c[..batch], &[c[batch], i]].concat());
            (left, b.at(&[&c[..batch], &[i, c[batch + 1]]].concat()))
        };
        let pairs: Vec<(Num, Num)> = (0..k).map(element).collect();
        if dtype.is_float() {
            return sum(
                &pairs.iter().map(|&(a, b)| mul(a, b)).collect::<Vec<_>>(),
                dtype,
                rules,
            );
        }
        let total = pairs.iter().try_fold(0, |sum, &pair| match pair {
            (Num::Int(a), Num::Int(b)) => Some(wrap(sum + a * b, dtype)),
            _ => None,
        });
        total.map_or(Num::Unknown, Num::Int)
    });
    if column {
        y.shape.pop();
    }
    if row {
        y.shape.remove(batch);
    }
    Ok(y)
}

/// Softmax and its like of loaded elements.
fn softmax_lane(form: Form, lane: &[Num], dtype: DType, rules: Rules) -> Vec<Num> {
    let ends: Option<Vec<(f64, f64)>> = lane
        .iter()
        .map(|v| {
            if let Num::Float(lo, hi) = *v {
                Some((lo, hi))
            } else {
                None
            }
        })
        .collect();
    let Some(ends) = ends else {
        return vec![Num::Unknown; lane.len()];
    };
    let top = ends.iter().fold(f64::NEG_INFINITY, |top, e| top.max(e.1));
    let nan = lane.iter().any(|v| v.is_nan());
    if nan || top.is_infinite() {
        let all = if !nan && form == Form::LogSumExp {
            top
        } else {
            f64::NAN
        };
        return vec![Num::point(all); lane.len()];
    }
    let (eps, tiny) = match dtype {
        DType::F64 => (f64::EPSILON, f64::MIN_POSITIVE),
        _ => (f64::from(f32::EPSILON), f64::from(f32::MIN_POSITIVE)),
    };
    let eps = 4.0 * eps * if rules.shader { 4.0 } else { 1.0 };
    // Element i at one end, all others at the other.
    let at = |i: usize, own: fn(&(f64, f64)) -> f64, other: fn(&(f64, f64)) -> f64| {
        let x = |j: usize| {
            if j == i {
                own(&ends[j])
            } else {
                other(&ends[j])
            }
        };
        let total: f64 = (0..lane.len()).map(|j| (x(j) - top).exp()).sum();
        match form {
            Form::Softmax => (x(i) - top).exp() / total,
            Form::LogSoftmax => x(i) - top - total.ln(),
            Form::LogSumExp => top + total.ln(),
        }
    };
    let (low, high): (fn(&(f64, f64)) -> f64, fn(&(f64, f64)) -> f64) = (|e| e.0, |e| e.1);
    (0..lane.len())
        .map(|i| {
            let (lo, hi) = match form {
                Form::LogSumExp => (at(i, low, low), at(i, high, high)),
                _ => (at(i, low, high), at(i, high, low)),
            };
            let depth = if ends[i].0.is_finite() {
                top - ends[i].0
            } else {
                0.0
            };
            let off = match form {
                Form::Softmax => hi * eps * (4.0 + depth.min(200.0)) + tiny,
                Form::LogSoftmax => eps * (4.0 + depth),
                Form::LogSumExp => eps * (4.0 + top.abs()),
            };
            Num::hull(&[lo - off, hi + off]).computed(dtype, 0.0, rules)
        })
        .collect()
}

pub fn softmax(rules: Rules, form: Form, x: &Array, d: isize, keep: bool) -> Outcome {
    if !x.dtype.is_float() || x.shape.is_empty() {
        return Err(Fault::Unspecified);
    }
    let d = dim(d, x.shape.len())?;
    let x = x.loaded(rules);
    let size = x.shape[d];
    let mut shape = x.shape.clone();
    if form == Form::LogSumExp {
        shape[d] = 1;
    }
    let mut y = Array::build(x.dtype, &shape, |c| {
        let along = |i: usize| [&c[..d], &[i], &c[d + 1..]].concat();
        let lane: Vec<Num> = (0..size).map(|i| x.at(&along(i))).collect();
        let found = softmax_lane(form, &lane, x.dtype, rules);
        found
            .get(c[d])
            .copied()
            .unwrap_or(Num::point(f64::NEG_INFINITY))
    });
    if form == Form::LogSumExp && !keep {
        y.shape.remove(d);
    }
    Ok(y)
}

fn cross_entropy(
    rules: Rules,
    (x, targets): (&Array, &Array),
    (weight, ignore, reduction): (Option<&[f64]>, i64, Reduction),
) -> Outcome {
    let rank = x.shape.len();
    let fits = (1..=2).contains(&rank)
        && targets.shape[..] == x.shape[..rank - 1]
        && x.shape[rank - 1] > 0;
    if !fits || !x.dtype.is_float() || !targets.dtype.is_integer() {
        return Err(Fault::Refused);
    }
    let logs = softmax(rules, Form::LogSoftmax, x, -1, true)?;
    let (mut losses, mut weights) = (Vec::new(), Vec::new());
    for (c, &target) in positions(&targets.shape).iter().zip(&targets.data) {
        let Num::Int(t) = target else {
            return Err(Fault::Unspecified);
        };
        if t == ignore.into() {
            losses.push(Num::point(0.0));
            weights.push(Num::point(0.0));
            continue;
        }
        if !(0..x.shape[rank - 1] as i128).contains(&t) {
            return Err(Fault::Unspecified);
        }
        let w = Num::point(weight.map_or(1.0, |w| w[t as usize]));
        // What the kernel keeps is f32, whatever the logits' type.
        losses.push(mul(neg(logs.at(&[&c[..], &[t as usize]].concat())), w));
        weights.push(w);
    }
    let total = |v: &[Num]| sum(v, x.dtype, rules);
    let data = match reduction {
        Reduction::None => losses,
        Reduction::Sum => vec![total(&losses)],
        Reduction::Mean => vec![div(total(&losses), total(&weights)).computed(x.dtype, 3.0, rules)],
    };
    let shape = if reduction == Reduction::None {
        targets.shape.clone()
    } else {
        Vec::new()
    };
    Ok(Array {
        dtype: x.dtype,
        shape,
        data,
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

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data: Vec<String> = self.data.iter().map(Num::to_string).collect();
        write!(f, "{}{:?} [{}]", self.dtype, self.shape, data.join(", "))
    }
}
