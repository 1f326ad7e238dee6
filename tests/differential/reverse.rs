//! Reverse-mode derivatives of the interpreter's programs, by PyTorch's conventions where there
//! is a choice.

use wgrad::{DType, Reduction};

use super::array::{Array, Fault, Outcome, dim, positions};
use super::interpret::{Input, apply, binary, choose, inputs};
use super::movement::movement;
use super::number::{Num, Rules, at_most, equal, less, meet, precision, sum};
use super::program::{Arg, Binary, Form, Node, Op, Program, Reduce};
use super::rows::Unary;
use super::sums::{dims_of, matmul, softmax};

/// The gradients of all nodes that `root` depends on.
pub fn backward(
    rules: Rules,
    program: &Program,
    values: &[Outcome],
    root: usize,
    seed: &Array,
) -> Outcome<Vec<Option<Array>>> {
    let mut terms: Vec<Vec<Array>> = vec![Vec::new(); values.len()];
    let mut grads: Vec<Option<Array>> = vec![None; values.len()];
    terms[root].push(seed.clone());
    for i in (0..=root).rev() {
        let Some(first) = terms[i].first() else {
            continue;
        };
        let (dtype, shape) = (first.dtype, first.shape.clone());
        let g = Array::build(dtype, &shape, |c| {
            let met: Vec<Num> = terms[i].iter().map(|t| t.at(c)).collect();
            if let [one] = met[..] {
                return one;
            }
            let met: Vec<Num> = met.iter().map(|t| t.load(dtype, rules)).collect();
            meet(&met, dtype, rules)
        });
        if let Some(at) = same(&program.nodes[i], values, i) {
            let met = terms[i].clone();
            terms[at].extend(met);
        } else if let Node::Step(op, args) = &program.nodes[i] {
            let operands = inputs(args, values)?;
            let y = values[i].as_ref().map_err(|&fault| fault)?;
            for (arg, dx) in args
                .iter()
                .zip(Rule { rules }.gradients(op, &operands, y, &g)?)
            {
                if let (Arg::Value(at), Some(dx)) = (arg, dx) {
                    terms[*at].push(dx);
                }
            }
        }
        grads[i] = Some(g);
    }
    Ok(grads)
}

/// The operand that a step returns as it is: what meets at one meets at the other.
fn same(node: &Node, values: &[Outcome], at: usize) -> Option<usize> {
    let Node::Step(op, args) = node else {
        return None;
    };
    let (Arg::Value(x), Ok(y)) = (*args.first()?, &values[at]) else {
        return None;
    };
    let moves = matches!(
        op,
        Op::Cast(_) | Op::Reshape(_) | Op::Expand(_) | Op::Flatten(..) | Op::Squeeze(_)
    );
    let x_value = values[x].as_ref().ok()?;
    (moves && x_value.dtype == y.dtype && x_value.shape == y.shape).then_some(x)
}

/// Whether a gradient flows through the operation, and this file knows how.
pub fn is_differentiable(op: &Op) -> bool {
    match op {
        Op::Unary(row) => SMOOTH.contains(&row.name),
        Op::Binary(op) => !matches!(op, Binary::Pow),
        Op::Powi(_) | Op::Powf(_) | Op::Linear => false,
        _ => true,
    }
}

/// The rows that [`Rule::unary`] has.
pub const SMOOTH: [&str; 19] = [
    "neg", "abs", "sqr", "sqrt", "rsqrt", "recip", "exp", "ln", "tanh", "sigmoid", "relu", "sign",
    "floor", "ceil", "round", "trunc", "softplus", "sin", "cos",
];

#[derive(Clone, Copy)]
struct Rule {
    rules: Rules,
}

impl Rule {
    fn binary(self, op: Binary, a: &Array, b: &Array) -> Outcome {
        binary(self.rules, op, Input::Array(a), Input::Array(b))
    }

    fn times(self, a: &Array, b: &Array) -> Outcome {
        self.binary(Binary::Mul, a, b)
    }

    fn scaled(self, a: &Array, v: f64) -> Outcome {
        binary(
            self.rules,
            Binary::Mul,
            Input::Array(a),
            Input::Number(Arg::Float(v)),
        )
    }

    /// `1 - a`.
    fn rest(self, a: &Array) -> Outcome {
        binary(
            self.rules,
            Binary::Sub,
            Input::Number(Arg::Float(1.0)),
            Input::Array(a),
        )
    }

    fn row(self, name: &str, x: &Array) -> Outcome {
        apply(
            self.rules,
            &Op::Unary(Unary::named(name)),
            &[Input::Array(x)],
        )
    }

    /// `g` where `holds` of the loaded operands, 0 elsewhere.
    fn masked(
        self,
        g: &Array,
        operands: &[&Array],
        holds: impl Fn(&[Num]) -> Option<bool>,
    ) -> Array {
        Array::build(g.dtype, &g.shape, |c| {
            let nums: Vec<Num> = operands
                .iter()
                .map(|a| a.at(c).load(a.dtype, self.rules))
                .collect();
            choose(Num::truth(holds(&nums)), g.at(c), Num::point(0.0))
        })
    }

    fn sums(self, x: &Array, dims: Vec<isize>) -> Outcome {
        apply(
            self.rules,
            &Op::Reduce(Reduce::Sum, Some(dims), true),
            &[Input::Array(x)],
        )
    }

    fn reshape(self, x: &Array, shape: &[usize]) -> Outcome {
        let sizes = shape.iter().map(|&s| s as isize).collect();
        apply(self.rules, &Op::Reshape(sizes), &[Input::Array(x)])
    }

    /// Sums over the dimensions that broadcasting added, in the type of the operand.
    fn sum_to(self, g: &Array, like: &Array) -> Outcome {
        let pad = g.shape.len() - like.shape.len();
        let added = |&d: &usize| d < pad || (like.shape[d - pad] == 1 && g.shape[d] != 1);
        let dims = (0..g.shape.len())
            .filter(added)
            .map(|d| d as isize)
            .collect();
        Ok(self
            .reshape(&self.sums(g, dims)?, &like.shape)?
            .cast(like.dtype, self.rules))
    }

    fn gradients(
        self,
        op: &Op,
        args: &[Input<'_>],
        y: &Array,
        g: &Array,
    ) -> Outcome<Vec<Option<Array>>> {
        let arrays: Vec<Option<&Array>> = args
            .iter()
            .map(|a| {
                if let Input::Array(a) = a {
                    Some(*a)
                } else {
                    None
                }
            })
            .collect();
        // A number's place is taken by a constant; its gradient goes nowhere.
        let constant = |v: f64| {
            let data = vec![Num::point(v).convert(y.dtype.compute())];
            Ok(Array {
                dtype: y.dtype,
                shape: vec![],
                data,
            })
        };
        let array = |i: usize| match args[i] {
            Input::Array(a) => Ok(a.clone()),
            Input::Number(Arg::Float(v)) => constant(v),
            Input::Number(Arg::Int(v)) => constant(v as f64),
            Input::Number(_) => Err(Fault::Unspecified),
        };
        let x = array(0)?;
        let found = match op {
            Op::Unary(row) => vec![self.unary(row.name, &x, y, g)?],
            Op::Binary(op) => self.pair(*op, &array(0)?, &array(1)?, y, g)?,
            Op::Where => {
                let zero = |truth: bool, like: &Array| {
                    let dx = self.masked(g, &[&x.cast(DType::Bool, self.rules)], |c| match c[0] {
                        Num::Int(c) => Some((c != 0) == truth),
                        _ => None,
                    });
                    self.sum_to(&dx, like)
                };
                vec![x.clone(), zero(true, &array(1)?)?, zero(false, &array(2)?)?]
            }
            Op::Clamp => {
                let (lo, hi) = (array(1)?, array(2)?);
                // Strictly, as torch has it; infinite bounds are none.
                let open = |v: Num, end: f64| matches!(v, Num::Float(v, _) if v == end);
                let inside = |v: &[Num]| {
                    let (low, high) = (open(v[1], f64::NEG_INFINITY), open(v[2], f64::INFINITY));
                    let real = equal(v[0], v[0])?;
                    Some(real && (low || less(v[1], v[0])?) && (high || less(v[0], v[2])?))
                };
                // Compared as they are or rounded to the type.
                let rounded = |v: Num| v.stored(x.dtype, self.rules);
                let certain = |v: &[Num]| {
                    let exact = inside(v)?;
                    (inside(&[v[0], rounded(v[1]), rounded(v[2])])? == exact).then_some(exact)
                };
                vec![self.masked(g, &[&x.cast(y.dtype, self.rules), &lo, &hi], certain)]
            }
            Op::NanToZero => vec![self.masked(g, &[&x], |v| equal(v[0], v[0]))],
            Op::Cast(_) => vec![g.clone()],
            Op::Reduce(op, dims, _) => vec![self.reduce(*op, dims.as_deref(), &x, y, g)?],
            Op::MatMul => self.product(&x, &array(1)?, g)?,
            Op::Softmax(form, d, _) => vec![self.softmax(*form, *d, &x, y, g)?],
            Op::CrossEntropy(weight, ignore, reduction) => {
                let ignore = ignore.unwrap_or(-100);
                vec![self.cross_entropy(
                    &x,
                    &array(1)?,
                    (weight.as_deref(), ignore, *reduction),
                    g,
                )?]
            }
            _ => return self.moved(op, &arrays.iter().flatten().copied().collect::<Vec<_>>(), g),
        };
        let written = !matches!(op, Op::Where | Op::Clamp | Op::NanToZero | Op::Cast(_));
        let back = |(i, dx): (usize, Array)| {
            let dx = if written { self.loose(&dx) } else { dx };
            // A condition has no gradient, whatever its type.
            let operand =
                arrays[i].filter(|a| a.dtype.is_float() && (i > 0 || !matches!(op, Op::Where)))?;
            Some(dx.cast(operand.dtype, self.rules))
        };
        Ok(found.into_iter().enumerate().map(back).collect())
    }

    /// Which formula computes a derivative is open: four roundings more, to the type it is in.
    fn loose(self, dx: &Array) -> Array {
        let (eps, least) = match dx.dtype {
            DType::F16 => (2f64.powi(-11), 2f64.powi(-24)),
            DType::BF16 => (2f64.powi(-8), 2f64.powi(-133)),
            other => precision(other, self.rules),
        };
        dx.map(dx.dtype, |v| match v {
            Num::Float(lo, hi) if lo.is_finite() && v.magnitude() > 0.0 => {
                let off = 4.0 * (eps * v.magnitude() + least);
                Num::Float(lo - off, hi + off).computed(dx.dtype, 0.0, self.rules)
            }
            other => other,
        })
    }

    fn unary(self, name: &str, x: &Array, y: &Array, g: &Array) -> Outcome {
        match name {
            "neg" => self.row("neg", g),
            "abs" => {
                // Nothing at NaN, as torch.
                let zero = Num::point(0.0);
                let rising = self.masked(g, &[x], |v| less(zero, v[0]));
                let falling = self.masked(&self.row("neg", g)?, &[x], |v| less(v[0], zero));
                self.binary(Binary::Add, &rising, &falling)
            }
            "sqr" => self.times(g, &self.scaled(x, 2.0)?),
            "sqrt" => self.binary(Binary::Div, g, &self.scaled(y, 2.0)?),
            "rsqrt" => self.scaled(&self.times(g, &self.times(y, &self.row("sqr", y)?)?)?, -0.5),
            "recip" => self.row("neg", &self.times(g, &self.row("sqr", y)?)?),
            "exp" => self.times(g, y),
            "ln" => self.binary(Binary::Div, g, x),
            "tanh" => self.times(g, &self.rest(&self.row("sqr", y)?)?),
            "sigmoid" => self.times(g, &self.times(y, &self.rest(y)?)?),
            "softplus" => self.times(g, &self.row("sigmoid", x)?),
            "sin" => self.times(g, &self.row("cos", x)?),
            "cos" => self.row("neg", &self.times(g, &self.row("sin", x)?)?),
            "relu" => Ok(self.masked(g, &[y], |v| Some(!at_most(v[0], Num::point(0.0))?))),
            "sign" | "floor" | "ceil" | "round" | "trunc" => {
                Ok(self.masked(g, &[], |_| Some(false)))
            }
            _ => Err(Fault::Unspecified),
        }
    }

    fn pair(self, op: Binary, a: &Array, b: &Array, y: &Array, g: &Array) -> Outcome<Vec<Array>> {
        let of = |x: &Array| x.cast(y.dtype, self.rules);
        let (wide_a, wide_b) = (of(a), of(b));
        let (da, db) = match op {
            Binary::Add => (g.clone(), g.clone()),
            Binary::Sub => (g.clone(), self.row("neg", g)?),
            Binary::Mul => (self.times(g, &wide_b)?, self.times(g, &wide_a)?),
            Binary::Div => {
                let da = self.binary(Binary::Div, g, &wide_b)?;
                let ratio = self.binary(Binary::Div, &wide_a, &wide_b)?;
                let db = self.binary(Binary::Div, &self.times(g, &ratio)?, &wide_b)?;
                (da, self.row("neg", &db)?)
            }
            Binary::Minimum => (
                self.winner(g, &wide_a, &wide_b)?,
                self.winner(g, &wide_b, &wide_a)?,
            ),
            Binary::Maximum => (
                self.winner(g, &self.row("neg", &wide_a)?, &self.row("neg", &wide_b)?)?,
                self.winner(g, &self.row("neg", &wide_b)?, &self.row("neg", &wide_a)?)?,
            ),
            _ => return Err(Fault::Unspecified),
        };
        Ok(vec![self.sum_to(&da, a)?, self.sum_to(&db, b)?])
    }

    /// All of `g` where `a` is smaller, half where both tie.
    fn winner(self, g: &Array, a: &Array, b: &Array) -> Outcome {
        let half = self.scaled(g, 0.5)?;
        Ok(Array::build(g.dtype, &g.shape, |c| {
            let (x, y) = (
                a.at(c).load(a.dtype, self.rules),
                b.at(c).load(b.dtype, self.rules),
            );
            if x.is_nan() || y.is_nan() {
                return Num::Unknown;
            }
            let rest = choose(Num::truth(less(x, y)), g.at(c), Num::point(0.0));
            choose(Num::truth(equal(x, y)), half.at(c), rest)
        }))
    }

    fn reduce(
        self,
        op: Reduce,
        dims: Option<&[isize]>,
        x: &Array,
        y: &Array,
        g: &Array,
    ) -> Outcome {
        let dims = dims_of(op, dims, x.shape.len())?;
        let kept: Vec<usize> = (0..x.shape.len())
            .map(|d| if dims.contains(&d) { 1 } else { x.shape[d] })
            .collect();
        let (y, g) = (self.reshape(y, &kept)?, self.reshape(g, &kept)?);
        let list = || dims.iter().map(|&d| d as isize).collect();
        let spread = |g: &Array| Array::build(g.dtype, &x.shape, |c| g.at(c));
        match op {
            Reduce::Sum => Ok(spread(&g)),
            Reduce::Mean => {
                let n: usize = dims.iter().map(|&d| x.shape[d]).product();
                Ok(spread(&self.scaled(&g, 1.0 / n as f64)?))
            }
            Reduce::Max | Reduce::Min => {
                let hit = Array::build(DType::I32, &x.shape, |c| {
                    let (x, y) = (
                        x.at(c).load(x.dtype, self.rules),
                        y.at(c).load(y.dtype, self.rules),
                    );
                    if y.is_nan() {
                        Num::Unknown
                    } else {
                        Num::truth(equal(x, y))
                    }
                });
                let ties = self.sums(&hit, list())?.cast(DType::F32, self.rules);
                let share = self.binary(Binary::Div, &g, &ties)?;
                Ok(Array::build(g.dtype, &x.shape, |c| {
                    choose(hit.at(c), share.at(c), Num::point(0.0))
                }))
            }
            _ => Err(Fault::Unspecified),
        }
    }

    fn product(self, a: &Array, b: &Array, g: &Array) -> Outcome<Vec<Array>> {
        let (row, column) = (a.shape.len() == 1, b.shape.len() == 1);
        let (mut left, mut right, mut g) = (a.clone(), b.clone(), g.clone());
        if row {
            left.shape.insert(0, 1);
            g.shape.insert(g.shape.len() - usize::from(!column), 1);
        }
        if column {
            right.shape.push(1);
            g.shape.push(1);
        }
        let t = |x: &Array| apply(self.rules, &Op::Transpose(-1, -2), &[Input::Array(x)]);
        let da = self.product_sum(&g, &t(&right)?, &left)?;
        let db = self.product_sum(&t(&left)?, &g, &right)?;
        Ok(vec![
            self.reshape(&da, &a.shape)?,
            self.reshape(&db, &b.shape)?,
        ])
    }

    /// A product summed over the batches that `like` was broadcast over, which may be one long sum.
    fn product_sum(self, a: &Array, b: &Array, like: &Array) -> Outcome {
        let sum = |a: &Array, b: &Array| self.sum_to(&matmul(self.rules, a, b)?, like);
        let (total, size) = (sum(a, b)?, sum(&self.row("abs", a)?, &self.row("abs", b)?)?);
        let eps = 32.0 * precision(like.dtype.compute(), self.rules).0;
        Ok(Array::build(like.dtype, &like.shape, |c| {
            match (total.at(c), size.at(c)) {
                (Num::Float(lo, hi), Num::Float(_, most)) if lo.is_finite() && most.is_finite() => {
                    Num::Float(lo - eps * most, hi + eps * most)
                        .computed(like.dtype, 0.0, self.rules)
                }
                (Num::Float(lo, hi), Num::Float(..)) if !lo.is_finite() => Num::Float(lo, hi),
                _ => Num::Unknown,
            }
        }))
    }

    fn softmax(self, form: Form, d: isize, x: &Array, y: &Array, g: &Array) -> Outcome {
        let along = |v: &Array| self.sums(v, vec![d]);
        match form {
            Form::Softmax => {
                let mean = along(&self.times(g, y)?)?;
                self.times(y, &self.binary(Binary::Sub, g, &mean)?)
            }
            Form::LogSoftmax => {
                let part = self.times(&self.row("exp", y)?, &along(g)?)?;
                self.binary(Binary::Sub, g, &part)
            }
            Form::LogSumExp => {
                let mut kept = x.shape.clone();
                kept[dim(d, x.shape.len())?] = 1;
                let (y, g) = (self.reshape(y, &kept)?, self.reshape(g, &kept)?);
                // The kernel rounds this difference in a way of its own.
                let depth = self.binary(Binary::Sub, x, &y)?;
                let depth = depth.map(x.dtype, |v| v.computed(x.dtype, 1.0, self.rules));
                self.times(&self.row("exp", &depth)?, &g)
            }
        }
    }

    /// `w (softmax(x) - onehot(t))`, by the row's gradient.
    fn cross_entropy(
        self,
        x: &Array,
        targets: &Array,
        (weight, ignore, reduction): (Option<&[f64]>, i64, Reduction),
        g: &Array,
    ) -> Outcome {
        let wide = x.cast(x.dtype.compute(), self.rules);
        let p = softmax(self.rules, Form::Softmax, &wide, -1, true)?;
        let class = |c: &[usize]| match targets.at(&c[..c.len() - 1]) {
            Num::Int(t) if t != ignore.into() => Some(t as usize),
            _ => None,
        };
        let weight_of = |t: Option<usize>| t.map_or(0.0, |t| weight.map_or(1.0, |w| w[t]));
        let lead = |c: &[usize]| [c, &[0]].concat();
        let total: f64 = positions(&targets.shape)
            .iter()
            .map(|c| weight_of(class(&lead(c))))
            .sum();
        let scale = if reduction == Reduction::Mean {
            1.0 / total
        } else {
            1.0
        };
        let onehot = Array::build(p.dtype, &p.shape, |c| {
            Num::point(f64::from(u8::from(class(c) == c.last().copied())))
        });
        let slope = self.binary(Binary::Sub, &p, &onehot)?;
        let factor = Array::build(p.dtype, &[&targets.shape[..], &[1]].concat(), |c| {
            Num::point(weight_of(class(c)) * scale).computed(p.dtype, 2.0, self.rules)
        });
        let slope = self.times(&slope, &factor)?;
        let mut upstream = g.clone();
        if reduction == Reduction::None {
            upstream.shape.push(1);
        }
        let dx = self.times(&slope, &upstream)?;
        // Torch, and the reference in plain operations, scale by the weight before the probability; that
        // may overflow where the whole does not.
        let scaled = self.times(&factor, &upstream)?;
        let is_finite = |v: Num| matches!(v, Num::Float(a, b) if a.is_finite() && b.is_finite());
        Ok(Array::build(dx.dtype, &dx.shape, |c| match class(c) {
            // An ignored row's gradient is 0. (What comes to all rows at once may be infinite here,
            // where others count: see the guide.)
            None if reduction != Reduction::None && total > 0.0 && !is_finite(upstream.at(c)) => {
                Num::Unknown
            }
            None => Num::point(0.0),
            // Torch adds infinities of both signs there.
            Some(t) if t == c[c.len() - 1] && upstream.at(c).is_infinite() => Num::Unknown,
            Some(_) if is_finite(upstream.at(c)) && !is_finite(scaled.at(c)) => Num::Unknown,
            _ => dx.at(c),
        }))
    }

    /// Elements that were moved: what lands on the same one is added up.
    fn moved(self, op: &Op, args: &[&Array], g: &Array) -> Outcome<Vec<Option<Array>>> {
        let (_, sources) = movement(op, args)?;
        let mut terms: Vec<Vec<Vec<Num>>> = args
            .iter()
            .map(|a| vec![Vec::new(); a.data.len()])
            .collect();
        for (&(arg, at), &g_element) in sources.iter().zip(&g.data) {
            terms[arg][at].push(g_element.load(g.dtype, self.rules));
        }
        let gather = |(a, terms): (&&Array, Vec<Vec<Num>>)| {
            let data = terms.iter().map(|t| sum(t, g.dtype, self.rules)).collect();
            let dx = Array {
                dtype: g.dtype,
                shape: a.shape.clone(),
                data,
            };
            a.dtype.is_float().then(|| dx.cast(a.dtype, self.rules))
        };
        Ok(args.iter().zip(terms).map(gather).collect())
    }
}
