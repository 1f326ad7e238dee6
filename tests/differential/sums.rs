//! What the interpreter makes of many elements: reductions, products, softmax, cross-entropy.

use wgrad::{DType, Reduction};

use super::array::{Array, Fault, Outcome, broadcast, dim, flat, positions};
use super::interpret::{Input, floating, result_type};
use super::number::{Num, Rules, at_most, div, less, maximum, minimum, mul, neg, sum, wrap};
use super::program::{Form, Reduce};

/// The reduced dimensions, ascending.
fn reduced_dims(dims: Option<&[isize]>, rank: usize) -> Outcome<Vec<usize>> {
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

/// The dimensions that a reduction is over: an empty list means all, but not for truths and places.
pub fn dims_of(op: Reduce, dims: Option<&[isize]>, rank: usize) -> Outcome<Vec<usize>> {
    let all = matches!(op, Reduce::Sum | Reduce::Mean | Reduce::Max | Reduce::Min);
    reduced_dims(dims.filter(|dims| !(all && dims.is_empty())), rank)
}

pub fn reduce(rules: Rules, op: Reduce, x: &Array, dims: Option<&[isize]>, keep: bool) -> Outcome {
    let dims = dims_of(op, dims, x.shape.len())?;
    let dtype = match (op, x.dtype) {
        (Reduce::Sum, t) if t == DType::Bool || t.is_narrow_integer() => DType::I32,
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
            let terms: Vec<Num> = pairs.iter().map(|&(a, b)| mul(a, b)).collect();
            // A factor of an operand may be applied to the product instead.
            return sum(&terms, dtype, rules).computed(dtype, 2.0, rules);
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

/// One end of an interval.
type End = fn(&(f64, f64)) -> f64;

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
    let at = |i: usize, own: End, other: End| {
        let x = |j: usize| {
            if j == i {
                own(&ends[j])
            } else {
                other(&ends[j])
            }
        };
        let top = (0..lane.len()).map(x).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = (0..lane.len()).map(|j| (x(j) - top).exp()).sum();
        match form {
            Form::Softmax => (x(i) - top).exp() / total,
            Form::LogSoftmax => x(i) - top - total.ln(),
            Form::LogSumExp => top + total.ln(),
        }
    };
    let (low, high): (End, End) = (|e| e.0, |e| e.1);
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

pub fn cross_entropy(
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
