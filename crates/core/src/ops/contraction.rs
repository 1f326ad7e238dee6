//! Products of operands of several dimensions: what matrix products and convolutions are recorded as.

mod named;

pub(crate) use self::named::{Names, product};

use smallvec::SmallVec;

use crate::autograd::no_grad;
use crate::kernel::Kernel;
use crate::record::node::{Contraction, Op};
use crate::tensor::views::{copy, materialized};
use crate::tensor::{Tensor, Value, record};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::layout::{Layout, collapse};
use crate::types::shape::{Dims, Shape};

/// Most elements of an intermediate result of [`reference`].
const REFERENCE_ELEMENTS: usize = 1 << 22;

/// `[batch.., m.., k..] x [batch.., k.., n..]`, of equal sizes, as `shape`, which is `[batch.., m.., n..]` or
/// merges neighbours of it. Without a history: the derivative is whoever's who calls.
pub(crate) fn contract(
    name: &'static str,
    (a, b): (&Value, &Value),
    contraction: Contraction,
    shape: Shape,
    place: Place,
) -> Result<Value> {
    let [batch, m, n, k] = contraction.sizes(a.shape(), b.shape());
    let others = batch.iter().chain(&k[..]).chain(&n[..]);
    let results = [&batch, &m, &n].map(Shape::checked_numel);
    let results = results
        .into_iter()
        .try_fold(1usize, |all, n| all.checked_mul(n?));
    // Kernels go by these sizes alone, so that no caller may be wrong about them.
    if !others.eq(b.shape().iter()) || results != shape.checked_numel() {
        let problem = format!(
            "shapes {} and {} do not multiply to {shape}",
            a.shape(),
            b.shape()
        );
        return Err(Error::shape(name, place, problem));
    }
    let dtype = a.dtype().compute();
    let device = a.node.device.clone();
    if !device.fusion() {
        let plain = |x: &Value| x.through(x.layout().clone()).into_tensor();
        let y = place.within(|| no_grad(|| reference(&plain(a), &plain(b), contraction)));
        return y.reshape(shape).capture();
    }
    let (batch, m, n) = (batch.rank(), m.rank(), n.rank());
    let (rank_a, rank_b) = (a.shape().rank(), b.shape().rank());
    let (a, b) = (materialized(a, place)?, materialized(b, place)?);
    let a = countable(&a, batch + m..rank_a, place)?;
    let b = countable(&b, batch..rank_b - n, place)?;
    let inputs = [&a, &b].map(|x| x.source_as(x.layout().clone()));
    let op = Op::MatMul(contraction);
    record(
        name,
        &device,
        op,
        SmallVec::from_iter(inputs),
        shape,
        dtype,
        place,
    )
}

/// The operand, copied if its dimensions `inner` are more than a kernel counts along.
fn countable(x: &Value, inner: std::ops::Range<usize>, place: Place) -> Result<Value> {
    let layout = x.layout();
    let inner = Layout {
        shape: Shape::new(&layout.shape[inner.clone()]),
        strides: SmallVec::from_slice(&layout.strides[inner]),
        offset: 0,
    };
    match collapse(&[&inner])[0].shape.rank() > Kernel::MOST_INNER {
        true => copy(x, place),
        false => Ok(x.clone()),
    }
}

/// The same in plain operations: all pairs multiplied, then summed over `k`, some of `k` at a time. What runs
/// with fusion off, and what the kernels are tested against.
pub(crate) fn reference(a: &Tensor, b: &Tensor, contraction: Contraction) -> Tensor {
    Tensor::or_fail(a.device(), try_reference(a, b, contraction))
}

fn try_reference(a: &Tensor, b: &Tensor, contraction: Contraction) -> Result<Tensor> {
    let (a_shape, b_shape) = (a.shape()?, b.shape()?);
    let [batch, m, n, k] = contraction.sizes(&a_shape, &b_shape);
    let terms = [&batch, &m, &n, &k]
        .iter()
        .try_fold(1usize, |all, dims| all.checked_mul(dims.checked_numel()?));
    let longest = (0..k.rank()).max_by_key(|&d| k[d]);
    if let Some(d) = longest
        && k[d] > 1
        && terms.is_none_or(|terms| terms > REFERENCE_ELEMENTS)
    {
        // Both halves of the longest dimension.
        let half = k[d] / 2;
        let part = |start: usize, len: usize| {
            let a = a.narrow((batch.rank() + m.rank() + d) as isize, start, len);
            let b = b.narrow((batch.rank() + d) as isize, start, len);
            try_reference(&a, &b, contraction)
        };
        return (part(0, half)? + part(half, k[d] - half)?).checked();
    }
    let dtype = a.dtype()?.compute();
    // A as [batch.., m.., 1.., k..], B as [batch.., 1.., n.., k..].
    let ones = |count: usize| std::iter::repeat_n(&1usize, count);
    let rows: Dims = batch
        .iter()
        .chain(m.iter())
        .chain(ones(n.rank()))
        .chain(k.iter())
        .copied()
        .collect();
    let columns: Dims = batch
        .iter()
        .chain(ones(m.rank()))
        .chain(n.iter())
        .chain(k.iter())
        .copied()
        .collect();
    let (inner, outer) = (
        batch.rank()..batch.rank() + k.rank(),
        batch.rank() + k.rank()..b_shape.rank(),
    );
    let last: Vec<isize> = (0..batch.rank())
        .chain(outer)
        .chain(inner)
        .map(|d| d as isize)
        .collect();
    let a = a.to_dtype(dtype).reshape(Shape::from(rows));
    let b = b
        .to_dtype(dtype)
        .permute(&last[..])
        .reshape(Shape::from(columns));
    let product = a * b;
    // Sums of integers are wider than their terms.
    match k.rank() {
        0 => Ok(product.to_dtype(dtype)),
        rank => {
            let dims: Vec<isize> = (1..=rank as isize).map(|d| -d).collect();
            product.sum_dims(&dims[..], false).to_dtype(dtype).checked()
        }
    }
}

/// The type that a product's kernel adds up in and gives: narrow integers wrap to the same bits, and several
/// share a word on a GPU, where products are stored one by one.
pub(crate) fn accumulated(dtype: DType) -> DType {
    match dtype {
        narrow if narrow.is_narrow_integer() => DType::I32,
        dtype => dtype.compute(),
    }
}

/// The error of shapes that do not multiply.
pub(crate) fn mismatch(name: &'static str, a: &Value, b: &Value, place: Place) -> Error {
    let problem = format!("shapes {} and {} do not multiply", a.shape(), b.shape());
    Error::shape(name, place, problem)
}
