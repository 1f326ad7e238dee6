//! Reverse-mode derivatives of the interpreter's programs, by PyTorch's conventions where there
//! is a choice.

use wgrad::{DType, Reduction};

use super::interpret::{
    Array, Fault, Input, Outcome, apply, binary, choose, inputs, matmul, positions, reduced_dims,
    softmax,
};
use super::movement::movement;
use super::number::{Num, Rules, at_most, equal, less, meet, sum};
use super::program::{Arg, Binary, Form, Node, Op, Program, Reduce};
use super::rows::Unary;

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
        if let Node::Step(op, args) = &program.nodes[i] {
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
pub const SMOOTH: [&str; 18] = [
    "neg", "abs", "sqr", "sqrt", "rsqrt", "recip", "exp", "ln", "tanh", "sigmoid", "relu", "sign",
    "floor", "ceil", "round", "softplus", "sin", "cos",
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
        let array = |i: usize| -> Outcome<Array> {
            match args[i] {
                Input::Array(a) => Ok(a.clone()),
                Input::Number(Arg::Float(v)) => Ok(Array {
                    dtype: y.dtype,
                    shape: vec![],
                    data: vec![Num::point(v)],
                }),
                Input::Number(Arg::Int(v)) => Ok(Array {
                    dtype: y.dtype,
                    shape: vec![],
                    data: vec![Num::point(v as f64)],
                }),
                Input::Number(_) => Err(Fault::Unspecified),
            }
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
                let inside = |v: &[Num]| Some(at_most(v[1], v[0])? && at_most(v[0], v[2])?);
                // Bounds are compared, so rounded to the type.
                let bound = |v: Array| v.map(v.dtype, |n| n.stored(x.dtype, self.rules));
                vec![self.masked(
                    g,
                    &[&x.cast(y.dtype, self.rules), &bound(lo), &bound(hi)],
                    inside,
                )]
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
        let back = |(i, dx): (usize, Array)| {
            // A condition has no gradient, whatever its type.
            let operand =
                arrays[i].filter(|a| a.dtype.is_float() && (i > 0 || !matches!(op, Op::Where)))?;
            Some(dx.cast(operand.dtype, self.rules))
        };
        Ok(found.into_iter().enumerate().map(back).collect())
    }

    fn unary(self, name: &str, x: &Array, y: &Array, g: &Array) -> Outcome {
        match name {
            "neg" => self.row("neg", g),
            "abs" => self.times(g, &self.row("sign", x)?),
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
            "sign" | "floor" | "ceil" | "round" => Ok(self.masked(g, &[], |_| Some(false))),
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
        let dims = reduced_dims(dims, x.shape.len())?;
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
        let da = self.sum_to(&matmul(self.rules, &g, &t(&right)?)?, &left)?;
        let db = self.sum_to(&matmul(self.rules, &t(&left)?, &g)?, &right)?;
        Ok(vec![
            self.reshape(&da, &a.shape)?,
            self.reshape(&db, &b.shape)?,
        ])
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
                let p = softmax(self.rules, Form::Softmax, x, d, true)?;
                let mut kept = x.shape.clone();
                kept[super::interpret::dim(d, x.shape.len())?] = 1;
                self.times(&p, &self.reshape(g, &kept)?)
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
        // An ignored row's gradient is 0.
        Ok(Array::build(dx.dtype, &dx.shape, |c| {
            if class(c).is_some() {
                dx.at(c)
            } else {
                Num::point(0.0)
            }
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
