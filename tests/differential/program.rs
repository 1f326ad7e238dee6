//! Random programs as data: how they print, and how wgrad runs them.

use std::fmt;

use half::{bf16, f16};
use wgrad::prelude::*;
use wgrad::{Element, Rhs, Scalar, Slice};

use super::array::Array;
use super::number::Num;
use super::rows::Unary;

/// An operand: an earlier node's value or a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg {
    Value(usize),
    Float(f64),
    Int(i64),
    Bool(bool),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Minimum,
    Maximum,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduce {
    Sum,
    Mean,
    Max,
    Min,
    ArgMax,
    ArgMin,
    Any,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    Softmax,
    LogSoftmax,
    LogSumExp,
}

#[derive(Clone, Debug)]
pub enum Op {
    Unary(&'static Unary),
    Binary(Binary),
    Powi(i32),
    Powf(f64),
    Not,
    Where,
    Clamp,
    NanToZero,
    Cast(DType),
    /// Over these dimensions (`None`: all), with `keepdim`.
    Reduce(Reduce, Option<Vec<isize>>, bool),
    MatMul,
    Linear,
    Softmax(Form, isize, bool),
    CrossEntropy(Option<Vec<f64>>, Option<i64>, Reduction),
    Gather(isize),
    IndexSelect(isize),
    Embedding,
    Cat(isize),
    Stack(isize),
    /// Part `.2` of the parts of size `.0`, or of `.0` parts, along dimension `.1`.
    Split(usize, isize, usize),
    Chunk(usize, isize, usize),
    Narrow(isize, usize, usize),
    /// Start, end and step of each dimension.
    Slice(Vec<(usize, usize, usize)>),
    Transpose(isize, isize),
    Permute(Vec<isize>),
    Reshape(Vec<isize>),
    Expand(Vec<isize>),
    Flatten(isize, isize),
    Squeeze(isize),
    Unsqueeze(isize),
}

/// How a leaf lies in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Placement {
    Plain,
    /// The dimensions in reverse order.
    Transposed,
    /// Every second position of the first dimension, from the second on.
    Stepped,
    /// One element of this dimension, expanded.
    Expanded(usize),
    /// `Tensor::full`.
    Full,
}

#[derive(Clone, Debug)]
pub enum Node {
    Leaf(Array, Placement),
    Step(Op, Vec<Arg>),
}

/// Nodes in order; what is read in the end; what the backward pass starts from.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub nodes: Vec<Node>,
    pub reads: Vec<usize>,
    /// A node and its gradient: then float leaves require gradients.
    pub backward: Option<(usize, Array)>,
}

/// The values read, `None` for a failed tensor, and the leaves' gradients by node.
pub struct Outcome {
    pub values: Vec<Result<Array>>,
    pub grads: Vec<(usize, Result<Array>)>,
}

impl Program {
    pub fn run(&self, dev: &Device) -> Outcome {
        let mut tensors: Vec<Option<Tensor>> = Vec::new();
        for node in &self.nodes {
            let tensor = match node {
                Node::Leaf(array, placement) => {
                    let leaf = place(array, *placement, dev);
                    let variable = self.backward.is_some() && array.dtype.is_float();
                    if variable { leaf.requires_grad() } else { leaf }
                }
                Node::Step(op, args) => {
                    let rhs: Vec<Rhs> = args.iter().map(|&arg| operand(arg, &tensors)).collect();
                    op.tensor(&rhs)
                }
            };
            tensors.push(Some(tensor));
        }
        let failed = self.backward.as_ref().and_then(|(root, seed)| {
            let seed = place(seed, Placement::Plain, dev);
            tensors[*root].as_ref()?.backward_with(&seed).err()
        });
        let mut grads = Vec::new();
        for (i, node) in self.nodes.iter().enumerate() {
            let leaf = matches!(node, Node::Leaf(array, _) if array.dtype.is_float());
            if let (true, Some(_), Some(tensor)) = (leaf, &self.backward, &tensors[i]) {
                let grad = match &failed {
                    Some(error) => Err(error.clone()),
                    None => tensor.grad(),
                };
                grads.push((i, grad));
            }
        }
        // What is not read must not be kept, or nothing would be fused.
        for (i, tensor) in tensors.iter_mut().enumerate() {
            if !self.reads.contains(&i) {
                *tensor = None;
            }
        }
        let values = self
            .reads
            .iter()
            .filter_map(|&i| tensors[i].as_ref())
            .map(read)
            .collect();
        let read_grad = |(i, grad): (usize, Result<Tensor>)| (i, grad.and_then(|g| read(&g)));
        Outcome {
            values,
            grads: grads.into_iter().map(read_grad).collect(),
        }
    }
}

fn operand(arg: Arg, tensors: &[Option<Tensor>]) -> Rhs {
    match arg {
        Arg::Value(i) => Rhs::Tensor(tensors[i].clone().expect("operands come first")),
        Arg::Float(v) => Rhs::Scalar(Scalar::Float(v)),
        Arg::Int(v) => Rhs::Scalar(Scalar::Integer(v)),
        Arg::Bool(v) => Rhs::Scalar(Scalar::Bool(v)),
    }
}

/// Calls `$f::<T>` for the Rust type of a dtype.
macro_rules! typed {
    ($dtype:expr, $f:ident $args:tt) => {
        match $dtype {
            DType::F64 => $f::<f64> $args,
            DType::F32 => $f::<f32> $args,
            DType::F16 => $f::<f16> $args,
            DType::BF16 => $f::<bf16> $args,
            DType::I64 => $f::<i64> $args,
            DType::I32 => $f::<i32> $args,
            DType::U32 => $f::<u32> $args,
            DType::I16 => $f::<i16> $args,
            DType::I8 => $f::<i8> $args,
            DType::U8 => $f::<u8> $args,
            _ => $f::<bool> $args,
        }
    };
}

/// An element type's exact conversions from and to the interpreter's numbers.
trait Host: Element {
    fn host(num: Num) -> Self;
    fn num(self) -> Num;
}
macro_rules! host {
    ($($t:ty, $float:ident $f:expr, $i:ident $int:expr, $v:ident $num:expr;)*) => { $(impl Host for $t {
        fn host(num: Num) -> $t {
            match num {
                Num::Float($float, _) => $f,
                Num::Int($i) => $int,
                Num::Unknown => unreachable!("leaves are known"),
            }
        }
        fn num(self) -> Num { let $v = self; $num }
    })* };
}
host! {
    f64, f f, i i as f64, v Num::point(v);
    f32, f f as f32, i i as f32, v Num::point(v.into());
    f16, f f16::from_f64(f), i f16::from_f64(i as f64), v Num::point(v.to_f64());
    bf16, f bf16::from_f64(f), i bf16::from_f64(i as f64), v Num::point(v.to_f64());
    i64, f f as i64, i i as i64, v Num::Int(v.into());
    i32, f f as i32, i i as i32, v Num::Int(v.into());
    u32, f f as u32, i i as u32, v Num::Int(v.into());
    i16, f f as i16, i i as i16, v Num::Int(v.into());
    i8, f f as i8, i i as i8, v Num::Int(v.into());
    u8, f f as u8, i i as u8, v Num::Int(v.into());
    bool, f f != 0.0, i i != 0, v Num::Int(v.into());
}

fn upload<E: Host>(data: &[Num], shape: &[usize], dev: &Device) -> Tensor {
    Tensor::from_vec(
        data.iter().map(|&n| E::host(n)).collect::<Vec<E>>(),
        shape.to_vec(),
        dev,
    )
}

fn download<E: Host>(tensor: &Tensor) -> Result<Vec<Num>> {
    Ok(tensor.to_vec::<E>()?.into_iter().map(E::num).collect())
}

fn full<E: Host>(num: Num, shape: &[usize], dtype: DType, dev: &Device) -> Tensor {
    Tensor::full(shape.to_vec(), E::host(num).scalar(), (dtype, dev))
}

fn read(tensor: &Tensor) -> Result<Array> {
    let (dtype, shape) = (tensor.dtype()?, tensor.shape()?.to_vec());
    let data = typed!(dtype, download(tensor))?;
    Ok(Array { dtype, shape, data })
}

fn place(array: &Array, placement: Placement, dev: &Device) -> Tensor {
    let put = |a: &Array| typed!(a.dtype, upload(&a.data, &a.shape, dev));
    let rank = array.shape.len();
    match placement {
        Placement::Plain => put(array),
        Placement::Transposed => {
            let shape: Vec<usize> = array.shape.iter().rev().copied().collect();
            let reversed = Array::build(array.dtype, &shape, |c| {
                array.at(&c.iter().rev().copied().collect::<Vec<_>>())
            });
            put(&reversed).permute((0..rank as isize).rev().collect::<Vec<_>>())
        }
        Placement::Stepped => {
            let mut shape = array.shape.clone();
            shape[0] = 2 * shape[0] + 1;
            let spread = Array::build(array.dtype, &shape, |c| match c[0] % 2 {
                0 if array.dtype.is_float() => Num::point(f64::NAN),
                0 => Num::Int(1),
                _ => array.at(&[&[c[0] / 2], &c[1..]].concat()),
            });
            put(&spread).slice(s(1..2 * array.shape[0] + 1).step(2))
        }
        Placement::Expanded(d) => {
            let mut shape = array.shape.clone();
            shape[d] = 1;
            put(&Array::build(array.dtype, &shape, |c| array.at(c)))
                .expand(Shape::from(&array.shape))
        }
        Placement::Full => {
            typed!(
                array.dtype,
                full(array.data[0], &array.shape, array.dtype, dev)
            )
        }
    }
}

impl Op {
    fn tensor(&self, args: &[Rhs]) -> Tensor {
        let tensor = |i: usize| match &args[i] {
            Rhs::Tensor(tensor) => tensor,
            Rhs::Scalar(_) => unreachable!("only some operands are numbers"),
        };
        match self {
            Op::Binary(op) => return op.tensor(&args[0], args[1].clone()),
            Op::Cat(d) | Op::Stack(d) => {
                let parts: Vec<&Tensor> = (0..args.len()).map(tensor).collect();
                return match self {
                    Op::Cat(_) => Tensor::cat(&parts, *d),
                    _ => Tensor::stack(&parts, *d),
                };
            }
            _ => {}
        }
        let x = tensor(0);
        match self {
            Op::Unary(row) => (row.tensor)(x),
            Op::Powi(n) => x.powi(*n),
            Op::Powf(p) => x.powf(*p),
            Op::Not => x.logical_not(),
            Op::Where => x.where_cond(args[1].clone(), args[2].clone()),
            Op::Clamp => match (&args[1], &args[2]) {
                (Rhs::Scalar(lo), Rhs::Scalar(hi)) => x.clamp(*lo, *hi),
                _ => unreachable!("bounds are numbers"),
            },
            Op::NanToZero => x.nan_to_zero(),
            Op::Cast(dtype) => x.to_dtype(*dtype),
            Op::Reduce(op, dims, keep) => match dims {
                Some(dims) => op.tensor(x, &dims[..], *keep),
                None => op.tensor(x, .., *keep),
            },
            Op::MatMul => x.matmul(tensor(1)),
            Op::Linear => x.linear(tensor(1), args.get(2).map(|_| tensor(2))),
            Op::Softmax(Form::Softmax, d, _) => x.softmax(*d),
            Op::Softmax(Form::LogSoftmax, d, _) => x.log_softmax(*d),
            Op::Softmax(Form::LogSumExp, d, keep) => x.logsumexp(*d, *keep),
            Op::CrossEntropy(weight, ignore_index, reduction) => {
                let weight = weight.as_ref().map(|w| {
                    let values: Vec<f32> = w.iter().map(|&v| v as f32).collect();
                    Tensor::from_vec(values, w.len(), x.device())
                });
                let options = CrossEntropyOptions {
                    weight,
                    ignore_index: *ignore_index,
                    reduction: *reduction,
                    ..Default::default()
                };
                x.cross_entropy_with(tensor(1), options)
            }
            Op::Gather(d) => x.gather(*d, tensor(1)),
            Op::IndexSelect(d) => x.index_select(*d, tensor(1)),
            Op::Embedding => x.embedding(tensor(1)),
            Op::Split(size, d, part) => x.split(*size, *d).swap_remove(*part),
            Op::Chunk(n, d, part) => x.chunk(*n, *d).swap_remove(*part),
            Op::Narrow(d, start, len) => x.narrow(*d, *start, *len),
            Op::Slice(ranges) => {
                let slices: Vec<Slice> =
                    ranges.iter().map(|&(a, b, by)| s(a..b).step(by)).collect();
                x.slice(&slices[..])
            }
            Op::Transpose(a, b) => x.transpose(*a, *b),
            Op::Permute(dims) => x.permute(&dims[..]),
            Op::Reshape(sizes) => x.reshape(&sizes[..]),
            Op::Expand(sizes) => x.expand(&sizes[..]),
            Op::Flatten(a, b) => x.flatten(*a, *b),
            Op::Squeeze(d) => x.squeeze(*d),
            Op::Unsqueeze(d) => x.unsqueeze(*d),
            Op::Binary(_) | Op::Cat(_) | Op::Stack(_) => unreachable!("returned above"),
        }
    }
}

impl Binary {
    fn tensor(self, a: &Rhs, b: Rhs) -> Tensor {
        let (x, c) = match (a, b) {
            (Rhs::Tensor(x), b) => (x, b),
            (Rhs::Scalar(Scalar::Float(v)), Rhs::Tensor(y)) => return self.reversed(*v, y),
            (Rhs::Scalar(Scalar::Integer(v)), Rhs::Tensor(y)) => {
                return self.reversed(*v as i32, y);
            }
            _ => unreachable!("one operand is a tensor"),
        };
        match self {
            Binary::Add => x.add(c),
            Binary::Sub => x.sub(c),
            Binary::Mul => x.mul(c),
            Binary::Div => x.div(c),
            Binary::Pow => x.pow(c),
            Binary::Minimum => x.minimum(c),
            Binary::Maximum => x.maximum(c),
            Binary::Eq => x.eq(c),
            Binary::Ne => x.ne(c),
            Binary::Lt => x.lt(c),
            Binary::Le => x.le(c),
            Binary::Gt => x.gt(c),
            Binary::Ge => x.ge(c),
            Binary::And => x.logical_and(c),
            Binary::Or => x.logical_or(c),
            Binary::Xor => x.logical_xor(c),
        }
    }

    /// A number on the left, through Rust's operators.
    fn reversed<N>(self, v: N, y: Tensor) -> Tensor
    where
        N: std::ops::Add<Tensor, Output = Tensor>
            + std::ops::Sub<Tensor, Output = Tensor>
            + std::ops::Mul<Tensor, Output = Tensor>
            + std::ops::Div<Tensor, Output = Tensor>,
    {
        match self {
            Binary::Add => v + y,
            Binary::Sub => v - y,
            Binary::Mul => v * y,
            _ => v / y,
        }
    }
}

impl Reduce {
    fn tensor(self, x: &Tensor, dims: impl wgrad::DimList, keep: bool) -> Tensor {
        match self {
            Reduce::Sum => x.sum_dims(dims, keep),
            Reduce::Mean => x.mean_dims(dims, keep),
            Reduce::Max => x.max_dims(dims, keep),
            Reduce::Min => x.min_dims(dims, keep),
            Reduce::ArgMax => x.argmax(dims, keep),
            Reduce::ArgMin => x.argmin(dims, keep),
            Reduce::Any => x.any_dims(dims, keep),
            Reduce::All => x.all_dims(dims, keep),
        }
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arg::Value(i) => write!(f, "v{i}"),
            Arg::Float(v) => write!(f, "{v:?}"),
            Arg::Int(v) => write!(f, "{v}"),
            Arg::Bool(v) => write!(f, "{v}"),
        }
    }
}

impl fmt::Display for Op {
    /// `name(parameters)`, as the variant is called.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Unary(row) => f.write_str(row.name),
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.nodes.iter().enumerate() {
            match node {
                Node::Leaf(array, placement) => {
                    writeln!(f, "    let v{i} = {array}; // {placement:?}")?
                }
                Node::Step(op, args) => {
                    let args: Vec<String> = args.iter().map(Arg::to_string).collect();
                    writeln!(f, "    let v{i} = {op}({});", args.join(", "))?;
                }
            }
        }
        if let Some((root, seed)) = &self.backward {
            writeln!(f, "    v{root}.backward_with({seed});")?;
        }
        writeln!(f, "    read {:?}", self.reads)
    }
}
