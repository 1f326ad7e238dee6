//! Random programs that mostly fit: shapes are drawn from one base shape, and the interpreter
//! says what each step gives before the next is chosen.

use wgrad::{DType, Reduction};

use super::array::{Array, Fault, Outcome, broadcast};
use super::interpret::{apply, inputs};
use super::number::{Num, Rules, range, round, wrap};
use super::program::{Arg, Binary, Form, Node, Op, Placement, Program, Reduce};
use super::random::Rng;
use super::reverse::is_differentiable;
use super::rows::UNARY;

const FLOATS: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];
const INTEGERS: [DType; 6] = [
    DType::I32,
    DType::I64,
    DType::U32,
    DType::I16,
    DType::I8,
    DType::U8,
];
/// Numbers at which something happens.
const SPECIAL: [f64; 20] = [
    0.0,
    -0.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    1e-40,
    -1e-40,
    3e-7,
    f32::MAX as f64,
    65504.0,
    300.0,
    -129.0,
    70000.0,
    2_147_483_648.0,
    3e9,
    0.1,
    0.5,
    2.5,
    -1.0,
    1e-310,
];
const SPECIAL_INT: [i64; 14] = [
    0,
    1,
    -1,
    2,
    -2,
    255,
    256,
    300,
    -129,
    70000,
    1 << 31,
    3_000_000_000,
    i64::MAX,
    i64::MIN,
];
const SIZES: [usize; 10] = [1, 2, 3, 2, 4, 3, 5, 7, 1, 2];

/// How wild a leaf's numbers are.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Calm,
    Whole,
    Wild,
}

struct Builder {
    rng: Rng,
    rules: Rules,
    program: Program,
    values: Vec<Outcome>,
    base: Vec<usize>,
    /// Whether the program is to be differentiated.
    smooth: bool,
}

/// The program of a seed.
pub fn program(seed: u64, rules: Rules) -> Program {
    let mut rng = Rng(seed);
    let rank = rng.pick(&[0, 1, 1, 2, 2, 2, 3, 3, 4]);
    let mut base: Vec<usize> = (0..rank)
        .map(|_| if rng.chance(1) { 0 } else { rng.pick(&SIZES) })
        .collect();
    while base.iter().product::<usize>() > 60 {
        base.remove(0);
    }
    let smooth = rng.chance(35);
    let mut b = Builder {
        rng,
        rules,
        program: Program::default(),
        values: Vec::new(),
        base,
        smooth,
    };
    for _ in 0..1 + b.rng.below(3) {
        let (dtype, shape) = (b.dtype(), b.shape());
        b.leaf(dtype, shape);
    }
    let steps = 1 + b.rng.below(8);
    for _ in 0..60 {
        b.step();
        if b.program
            .nodes
            .iter()
            .filter(|n| matches!(n, Node::Step(..)))
            .count()
            >= steps
        {
            break;
        }
    }
    b.finish()
}

impl Builder {
    fn dtype(&mut self) -> DType {
        let wide = self.rules.wide;
        let found = match self.rng.below(10) {
            _ if self.smooth => self.rng.pick(&FLOATS),
            0..=4 => self.rng.pick(&FLOATS),
            5..=8 => self.rng.pick(&INTEGERS),
            _ => DType::Bool,
        };
        match found {
            DType::F64 if !wide => DType::F32,
            DType::I64 if !wide => DType::I32,
            // Half of all floats are of the default type.
            found if found.is_float() && self.rng.chance(35) => DType::F32,
            found => found,
        }
    }

    /// A shape that mostly broadcasts with the base shape.
    fn shape(&mut self) -> Vec<usize> {
        let start = if self.rng.chance(25) {
            self.rng.below(self.base.len() + 1)
        } else {
            0
        };
        let mut shape = self.base[start..].to_vec();
        for size in &mut shape {
            if self.rng.chance(12) {
                *size = 1;
            }
        }
        if self.rng.chance(4) && !shape.is_empty() {
            let d = self.rng.below(shape.len());
            shape[d] = self.rng.pick(&SIZES);
        }
        shape
    }

    fn number(&mut self, dtype: DType, mood: Mood) -> Num {
        if dtype == DType::Bool {
            return Num::Int(self.rng.below(2) as i128);
        }
        if !dtype.is_float() {
            let (least, most) = range(dtype);
            return Num::Int(match mood {
                Mood::Wild if self.rng.chance(20) => self.rng.pick(&[least, most]),
                Mood::Wild => wrap(self.rng.pick(&SPECIAL_INT).into(), dtype),
                _ => wrap(self.rng.below(11) as i128 - 5, dtype).min(most),
            });
        }
        let v = match mood {
            Mood::Wild if self.rng.chance(45) => self.rng.pick(&SPECIAL),
            Mood::Whole => self.rng.below(9) as f64 - 4.0,
            _ => self.rng.unit() * 6.0 - 3.0,
        };
        Num::point(round(v, dtype))
    }

    fn mood(&mut self) -> Mood {
        self.rng
            .pick(&[Mood::Calm, Mood::Calm, Mood::Calm, Mood::Whole, Mood::Wild])
    }

    fn leaf(&mut self, dtype: DType, shape: Vec<usize>) -> usize {
        let mood = self.mood();
        let mut array = Array::build(dtype, &shape, |_| self.number(dtype, mood));
        let placement = match self.rng.below(8) {
            _ if self.smooth && dtype.is_float() => Placement::Plain,
            0 | 1 => Placement::Transposed,
            2 if !shape.is_empty() => Placement::Stepped,
            3 if !shape.is_empty() && !array.data.is_empty() => {
                let d = self.rng.below(shape.len());
                let first = |c: &[usize]| [&c[..d], &[0], &c[d + 1..]].concat();
                array = Array::build(dtype, &shape, |c| array.at(&first(c)));
                Placement::Expanded(d)
            }
            4 if !array.data.is_empty() => {
                array = array.map(dtype, |_| array.data[0]);
                Placement::Full
            }
            _ => Placement::Plain,
        };
        self.push(Node::Leaf(array.clone(), placement), Ok(array))
    }

    fn push(&mut self, node: Node, value: Outcome) -> usize {
        self.program.nodes.push(node);
        self.values.push(value);
        self.values.len() - 1
    }

    /// Integers below `size` as a leaf: an index.
    fn index(&mut self, shape: Vec<usize>, size: usize) -> usize {
        let dtype = self.rng.pick(if self.rules.wide {
            &INTEGERS[..]
        } else {
            &INTEGERS[2..]
        });
        let array = Array::build(dtype, &shape, |_| Num::Int(self.rng.below(size) as i128));
        let placement = self.rng.pick(&[Placement::Plain, Placement::Transposed]);
        self.push(Node::Leaf(array.clone(), placement), Ok(array))
    }

    fn get(&self, i: usize) -> &Array {
        self.values[i].as_ref().expect("only values are picked")
    }

    /// An earlier value, rather a late one, that `fits`.
    fn find(&mut self, fits: impl Fn(&Array) -> bool) -> Option<usize> {
        let good: Vec<usize> = (0..self.values.len())
            .filter(|&i| self.values[i].as_ref().is_ok_and(&fits))
            .collect();
        match good.last() {
            Some(&last) if self.rng.chance(50) => Some(last),
            Some(_) => Some(self.rng.pick(&good)),
            None => None,
        }
    }

    fn scalar(&mut self) -> Arg {
        match self.rng.below(if self.smooth { 10 } else { 20 }) {
            0..=5 => Arg::Float((self.rng.unit() * 600.0 - 300.0).round() / 100.0),
            6..=9 => Arg::Int(self.rng.below(9) as i64 - 4),
            10..=14 => Arg::Float(self.rng.pick(&SPECIAL)),
            15..=18 => Arg::Int(self.rng.pick(&SPECIAL_INT)),
            _ => Arg::Bool(self.rng.chance(50)),
        }
    }

    /// A second operand for `x`: a value that broadcasts with it, a new leaf, or a number.
    fn other(&mut self, x: usize) -> Arg {
        let shape = self.get(x).shape.clone();
        if self.rng.chance(40) {
            return self.scalar();
        }
        let found = self.find(|a| {
            broadcast(&a.shape, &shape).is_ok_and(|s| s.iter().product::<usize>() <= 120)
        });
        match found {
            Some(y) if self.rng.chance(70) => Arg::Value(y),
            _ => {
                let (dtype, shape) = (self.dtype(), self.shape());
                Arg::Value(self.leaf(dtype, shape))
            }
        }
    }

    fn dim(&mut self, rank: usize) -> isize {
        let d = self.rng.below(rank) as isize;
        if self.rng.chance(30) {
            d - rank as isize
        } else {
            d
        }
    }

    /// Tries one step; what the rules do not cover leaves no trace but leaves.
    fn step(&mut self) {
        let Some(x) = self.find(|_| true) else { return };
        let Some((op, args)) = self.propose(x) else {
            return;
        };
        if self.smooth && !is_differentiable(&op) {
            return;
        }
        let value = match inputs(&args, &self.values) {
            Ok(inputs) => apply(self.rules, &op, &inputs),
            Err(fault) => Err(fault),
        };
        let keep = match &value {
            Ok(array) => array.data.len() <= 200 && array.shape.len() <= 5,
            Err(Fault::Refused) => !self.smooth && self.rng.chance(60),
            Err(Fault::Unspecified) => false,
        };
        if keep {
            self.push(Node::Step(op, args), value);
        }
    }

    fn propose(&mut self, x: usize) -> Option<(Op, Vec<Arg>)> {
        let v = Arg::Value(x);
        match self.rng.below(20) {
            0..=3 => Some((Op::Unary(&UNARY[self.rng.below(UNARY.len())]), vec![v])),
            4..=7 => self.binary(x),
            8 => {
                let cond = self.find(|a| a.dtype == DType::Bool).unwrap_or(x);
                let (a, b) = (self.other(cond), self.other(cond));
                Some((Op::Where, vec![Arg::Value(cond), a, b]))
            }
            9 => {
                let (lo, hi) = (self.scalar(), self.scalar());
                let nan = |a: Arg| matches!(a, Arg::Float(v) if v.is_nan());
                (!nan(lo) && !nan(hi)).then_some((Op::Clamp, vec![v, lo, hi]))
            }
            10 => Some(match self.rng.below(6) {
                0 => (Op::Powi(self.rng.below(7) as i32 - 2), vec![v]),
                1 => (
                    Op::Powf(self.rng.pick(&[0.0, 0.5, 1.0, 2.0, 3.0, -1.0, -0.5, 1.7])),
                    vec![v],
                ),
                2 => (Op::Not, vec![v]),
                3 => (Op::NanToZero, vec![v]),
                _ => (Op::Cast(self.dtype()), vec![v]),
            }),
            11 => Some((Op::Cast(self.rng.pick(&DType::ALL)), vec![v])),
            12 | 13 => {
                use Reduce::*;
                let op = self
                    .rng
                    .pick(&[Sum, Sum, Mean, Max, Min, ArgMax, ArgMin, Any, All]);
                let rank = self.get(x).shape.len();
                let mut dims: Vec<isize> =
                    (0..rank as isize).filter(|_| self.rng.chance(50)).collect();
                if self.rng.chance(30) {
                    dims.iter_mut().for_each(|d| *d -= rank as isize);
                    dims.reverse();
                }
                let dims = if self.rng.chance(20) {
                    None
                } else {
                    Some(dims)
                };
                Some((Op::Reduce(op, dims, self.rng.chance(40)), vec![v]))
            }
            14 => self.product(x),
            15 => self.rows(x),
            16 => self.picks(x),
            17 => self.joins(x),
            _ => self.view(x),
        }
    }

    fn binary(&mut self, x: usize) -> Option<(Op, Vec<Arg>)> {
        use Binary::*;
        const ALL: [Binary; 22] = [
            Add, Add, Sub, Sub, Mul, Mul, Div, Div, Pow, Minimum, Maximum, Minimum, Maximum, Eq,
            Ne, Lt, Le, Gt, Ge, And, Or, Xor,
        ];
        let op = self.rng.pick(&ALL);
        let other = self.other(x);
        let left = match other {
            Arg::Float(_) => true,
            Arg::Int(v) => i32::try_from(v).is_ok(),
            _ => false,
        };
        if matches!(op, Add | Sub | Mul | Div) && left && self.rng.chance(40) {
            return Some((Op::Binary(op), vec![other, Arg::Value(x)]));
        }
        Some((Op::Binary(op), vec![Arg::Value(x), other]))
    }

    fn product(&mut self, x: usize) -> Option<(Op, Vec<Arg>)> {
        let shape = self.get(x).shape.clone();
        let k = *shape.last()?;
        let n = self.rng.pick(&SIZES);
        let dtype = self.get(x).dtype;
        let dtype = if self.rng.chance(70) {
            dtype
        } else {
            self.dtype()
        };
        if self.rng.chance(30) {
            let weight = self.leaf(dtype, vec![n, k]);
            let mut args = vec![Arg::Value(x), Arg::Value(weight)];
            if self.rng.chance(60) {
                args.push(Arg::Value(self.leaf(dtype, vec![n])));
            }
            return Some((Op::Linear, args));
        }
        let fits = move |a: &Array| match a.shape.len() {
            0 => false,
            1 => a.shape[0] == k,
            rank => a.shape[rank - 2] == k,
        };
        let found = self.find(fits);
        let right = match found {
            Some(y) if self.rng.chance(60) => y,
            _ => {
                let lead = if self.rng.chance(30) {
                    shape[..shape.len().saturating_sub(2)].to_vec()
                } else {
                    vec![]
                };
                let tail = if self.rng.chance(20) {
                    vec![k]
                } else {
                    [&lead[..], &[k, n]].concat()
                };
                self.leaf(dtype, tail)
            }
        };
        Some((Op::MatMul, vec![Arg::Value(x), Arg::Value(right)]))
    }

    fn rows(&mut self, x: usize) -> Option<(Op, Vec<Arg>)> {
        let shape = self.get(x).shape.clone();
        let rank = shape.len();
        if rank == 0 {
            return None;
        }
        if (1..=2).contains(&rank) && shape[rank - 1] > 0 && self.rng.chance(40) {
            let classes = shape[rank - 1];
            let targets = self.index(shape[..rank - 1].to_vec(), classes);
            let weight = self
                .rng
                .chance(40)
                .then(|| (0..classes).map(|c| [1.0, 0.5, 2.0][c % 3]).collect());
            let ignore = self.rng.chance(40).then(|| self.rng.below(classes) as i64);
            let reduction = self
                .rng
                .pick(&[Reduction::Mean, Reduction::Sum, Reduction::None]);
            return Some((
                Op::CrossEntropy(weight, ignore, reduction),
                vec![Arg::Value(x), Arg::Value(targets)],
            ));
        }
        let form = self
            .rng
            .pick(&[Form::Softmax, Form::LogSoftmax, Form::LogSumExp]);
        Some((
            Op::Softmax(form, self.dim(rank), self.rng.chance(50)),
            vec![Arg::Value(x)],
        ))
    }

    fn picks(&mut self, x: usize) -> Option<(Op, Vec<Arg>)> {
        let shape = self.get(x).shape.clone();
        let rank = shape.len();
        if rank == 0 || shape.contains(&0) {
            return None;
        }
        let d = self.dim(rank);
        let at = d.rem_euclid(rank as isize) as usize;
        let n = self.rng.pick(&SIZES);
        let (op, index) = match self.rng.below(3) {
            0 => {
                let mut to = shape.clone();
                to[at] = n;
                for i in (0..rank).filter(|&i| i != at) {
                    to[i] -= if self.rng.chance(20) {
                        self.rng.below(to[i])
                    } else {
                        0
                    };
                }
                (Op::Gather(d), self.index(to, shape[at]))
            }
            1 if rank == 2 => {
                let to = if self.rng.chance(50) {
                    vec![n]
                } else {
                    vec![2, n]
                };
                (Op::Embedding, self.index(to, shape[0]))
            }
            _ => (Op::IndexSelect(d), self.index(vec![n], shape[at])),
        };
        Some((op, vec![Arg::Value(x), Arg::Value(index)]))
    }

    fn joins(&mut self, x: usize) -> Option<(Op, Vec<Arg>)> {
        let shape = self.get(x).shape.clone();
        let rank = shape.len();
        if rank == 0 || self.rng.chance(40) {
            let same = shape.clone();
            let mut parts = vec![Arg::Value(x)];
            for _ in 0..1 + self.rng.below(2) {
                parts.push(Arg::Value(self.find(|a| a.shape == same)?));
            }
            return Some((Op::Stack(self.dim(rank + 1)), parts));
        }
        let d = self.dim(rank);
        let at = d.rem_euclid(rank as isize) as usize;
        let mut parts = vec![Arg::Value(x)];
        for _ in 0..1 + self.rng.below(3) {
            let others = [&shape[..at], &shape[at + 1..]].concat();
            let fits = move |a: &Array| {
                a.shape.len() == rank && [&a.shape[..at], &a.shape[at + 1..]].concat() == others
            };
            parts.push(Arg::Value(self.find(fits)?));
        }
        Some((Op::Cat(d), parts))
    }

    fn view(&mut self, x: usize) -> Option<(Op, Vec<Arg>)> {
        let shape = self.get(x).shape.clone();
        let (rank, numel) = (shape.len(), shape.iter().product::<usize>());
        let args = vec![Arg::Value(x)];
        if rank == 0 || self.rng.chance(12) {
            return Some((Op::Unsqueeze(self.dim(rank + 1)), args));
        }
        let d = self.dim(rank);
        let at = d.rem_euclid(rank as isize) as usize;
        let size = shape[at];
        let start = self.rng.below(size);
        let op = match self.rng.below(10) {
            0 => Op::Transpose(d, self.dim(rank)),
            1 => {
                let mut dims: Vec<isize> = (0..rank as isize).collect();
                for i in (1..rank).rev() {
                    dims.swap(i, self.rng.below(i + 1));
                }
                Op::Permute(dims)
            }
            2 => Op::Narrow(d, start, self.rng.below(size - start + 1)),
            3 => {
                let range = |n: usize, rng: &mut Rng| {
                    let start = rng.below(n);
                    (start, start + rng.below(n - start + 1), 1 + rng.below(3))
                };
                Op::Slice(
                    shape[..=at]
                        .iter()
                        .map(|&n| range(n, &mut self.rng))
                        .collect(),
                )
            }
            4 => {
                let sizes: Vec<isize> = (2..=numel as isize)
                    .filter(|s| numel as isize % s == 0)
                    .collect();
                if sizes.is_empty() || self.rng.chance(30) {
                    Op::Reshape(vec![-1])
                } else {
                    Op::Reshape(vec![self.rng.pick(&sizes), -1])
                }
            }
            5 => {
                let mut sizes: Vec<isize> = shape.iter().map(|&s| s as isize).collect();
                for s in sizes.iter_mut().filter(|s| **s == 1) {
                    *s = self.rng.pick(&[1, 2, 3]);
                }
                if self.rng.chance(40) {
                    sizes.insert(0, self.rng.pick(&[1, 2, 3]));
                }
                Op::Expand(sizes)
            }
            6 => Op::Flatten(self.rng.below(at + 1) as isize, at as isize),
            7 => Op::Squeeze(d),
            8 => Op::Split(1 + self.rng.below(size), d, self.rng.below(2)),
            _ => Op::Chunk(1 + self.rng.below(3), d, self.rng.below(2)),
        };
        Some((op, args))
    }

    /// Chooses what is read: the last value always, others sometimes, so that most are fused away.
    fn finish(mut self) -> Program {
        let last = self.values.len() - 1;
        self.program.reads = (0..=last)
            .filter(|&i| i == last || self.values[i].is_err() || self.rng.chance(15))
            .collect();
        if !self.smooth {
            return self.program;
        }
        let root = (0..=last).rev().find(|&i| {
            matches!(&self.program.nodes[i], Node::Step(..))
                && self.values[i].as_ref().is_ok_and(|a| a.dtype.is_float())
        });
        if let Some(root) = root {
            let (dtype, shape) = (self.get(root).dtype, self.get(root).shape.clone());
            let mood = if self.rng.chance(10) {
                Mood::Wild
            } else {
                self.rng.pick(&[Mood::Calm, Mood::Whole])
            };
            let seed = Array::build(dtype, &shape, |_| self.number(dtype, mood));
            self.program.backward = Some((root, seed));
        }
        self.program
    }
}
