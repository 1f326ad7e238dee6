//! Products of operands whose dimensions have names. Their derivatives are such products again.

use smallvec::SmallVec;

use super::{accumulated, contract};
use crate::autocast::narrow;
use crate::autograd::{self, Grads, Saves};
use crate::ops::elementwise::cast;
use crate::record::node::Contraction;
use crate::tensor::views::materialized;
use crate::tensor::{Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::layout::Layout;
use crate::types::shape::{Dims, Shape};

/// The names of a tensor's dimensions, none of them twice.
pub(crate) type Names = SmallVec<[u8; 8]>;

/// The products of the elements of `a` and `b` with equal places along the names that both have, summed over those
/// of them that `to` lacks: a tensor with the dimensions `to`. Each of its names is one of `a` or `b`, each name that
/// only one of them has is in it, and a name has one size. Bools do not multiply.
///
/// Matrix products are `[bmk] [bkn] -> [bmn]`; what `linear` computes is `[..k] [nk] -> [..n]`, whose derivative by
/// the weight is `[..n] [..k] -> [nk]`.
pub(crate) fn product(
    name: &'static str,
    (a, a_names): (&Value, &Names),
    (b, b_names): (&Value, &Names),
    to: &Names,
    place: Place,
) -> Result<Tensor> {
    same_device(name, a, b, place)?;
    let (a, b) = (&narrow(a, place)?, &narrow(b, place)?);
    let dtype = a.dtype().promote(b.dtype());
    if dtype == DType::Bool {
        return Err(Error::dtype(name, place, "bool matrices do not multiply"));
    }
    let compute = accumulated(dtype);
    // Kernels widen 16-bit floats as they read them.
    let seen = |x: &Value| match x.dtype().compute() == compute {
        true => Ok(x.clone()),
        false => cast(x, compute, place),
    };
    let (a, b) = (seen(a)?, seen(b)?);
    rounded(name, (&a, a_names), (&b, b_names), to, dtype, place)
}

/// [`product`] of operands that a kernel takes together, rounded to `dtype`.
fn rounded(
    name: &'static str,
    (a, a_names): (&Value, &Names),
    (b, b_names): (&Value, &Names),
    to: &Names,
    dtype: DType,
    place: Place,
) -> Result<Tensor> {
    let plan = Arrangement::new(a_names, b_names, to);
    let (a, b) = (&materialized(a, place)?, &materialized(b, place)?);
    let operands = [(a, a_names), (b, b_names)];
    let [left, right] = match plan.swapped {
        false => operands,
        true => [operands[1], operands[0]],
    };
    let size = |wanted: u8| {
        let found = operands.iter().find_map(|(x, names)| {
            let d = names.iter().position(|&n| n == wanted)?;
            Some(x.shape()[d])
        });
        found.unwrap_or(1)
    };
    let seen = |(x, names): (&Value, &Names), parts: [&[u8]; 3]| {
        x.through(arranged(x.layout(), names, &parts.concat(), size))
    };
    let left = seen(left, [&plan.batch, &plan.rows, &plan.inner]);
    let right = seen(right, [&plan.batch, &plan.inner, &plan.columns]);
    let contraction = Contraction {
        batch: plan.batch.len() as u8,
        rows: plan.rows.len() as u8,
        columns: plan.columns.len() as u8,
    };
    let made: Names = [&plan.batch[..], &plan.rows, &plan.columns].concat().into();
    let shape = made.iter().map(|&n| size(n)).collect();
    let y = contract(name, (&left, &right), contraction, shape, place)?;
    let y = cast(&y, dtype, place)?;
    let y = y.through(arranged(y.layout(), &made, to, size));
    if !autograd::tracks(&[a, b]) {
        return Ok(y.into_tensor());
    }
    let saves = Saves {
        inputs: SmallVec::from_iter([a.clone().into_tensor(), b.clone().into_tensor()]),
        output: false,
    };
    let (a_names, b_names, to) = (a_names.clone(), b_names.clone(), to.clone());
    Ok(autograd::track(name, y, &[a, b], saves, place, move |c| {
        let by = |needed: bool, x: (&Tensor, &Names), other: (&Tensor, &Names)| {
            let gradient = || c.grad.then(|g| gradient(name, (&g, &to), other, x, place));
            needed.then(gradient)
        };
        let (a, b) = ((&c.inputs[0], &a_names), (&c.inputs[1], &b_names));
        Grads::from_iter([by(c.needs[0], a, b), by(c.needs[1], b, a)])
    }))
}

/// The derivative by `x`, of the gradient `g` and the other operand.
fn gradient(
    name: &'static str,
    g: (&Value, &Names),
    (other, other_names): (&Tensor, &Names),
    (x, names): (&Tensor, &Names),
    place: Place,
) -> Result<Tensor> {
    let (other, x) = (other.capture()?, x.capture()?);
    // Along the operand's own memory, so that what stands behind a transposed view, a weight mostly, gets a
    // gradient that lies as it does.
    let along = in_memory(x.layout(), names);
    let along =
        along.filter(|to| !Arrangement::new(g.1, other_names, to).spreads(g.1, other_names));
    let to = along.as_ref().unwrap_or(names);
    let grad = rounded(name, g, (&other, other_names), to, x.dtype(), place)?;
    let order = names.iter().filter_map(|n| to.iter().position(|t| t == n));
    let order: SmallVec<[isize; 8]> = order.map(|d| d as isize).collect();
    grad.permute(&order[..]).checked()
}

/// What the dimensions of a product are to its kernel.
struct Arrangement {
    /// Whether `b` stands on the left.
    swapped: bool,
    batch: Names,
    /// Those of the left operand.
    rows: Names,
    /// Those of the right one.
    columns: Names,
    /// Those that are summed over.
    inner: Names,
}

impl Arrangement {
    /// Results lie as `to` says where they can: its last names, of one operand, are the columns, those of the
    /// other before them the rows. Where some of the rows stand elsewhere the kernel's order is another.
    fn new(a: &Names, b: &Names, to: &Names) -> Arrangement {
        let only = |n: &u8, own: &Names, other: &Names| own.contains(n) && !other.contains(n);
        let swapped = to.last().is_some_and(|n| only(n, a, b));
        let (left, right) = if swapped { (b, a) } else { (a, b) };
        let last = |names: &[u8], own: &Names, other: &Names| {
            let count = names
                .iter()
                .rev()
                .take_while(|n| only(n, own, other))
                .count();
            names.len() - count
        };
        let columns = last(to, right, left);
        let rows = last(&to[..columns], left, right);
        let inner = left.iter().filter(|n| right.contains(n) && !to.contains(n));
        let inner = inner.copied().collect();
        let scattered = to[..rows].iter().any(|n| only(n, left, right));
        if !scattered {
            return Arrangement {
                swapped,
                batch: to[..rows].into(),
                rows: to[rows..columns].into(),
                columns: to[columns..].into(),
                inner,
            };
        }
        let those = |wanted: &dyn Fn(&u8) -> bool| to.iter().copied().filter(wanted).collect();
        Arrangement {
            swapped,
            batch: those(&|n| left.contains(n) && right.contains(n)),
            rows: those(&|n| only(n, left, right)),
            columns: those(&|n| only(n, right, left)),
            inner,
        }
    }

    /// Whether an operand is repeated along the batch.
    fn spreads(&self, a: &Names, b: &Names) -> bool {
        self.batch.iter().any(|n| !a.contains(n) || !b.contains(n))
    }
}

/// The names by their strides, the largest first; `None` for a view that repeats elements.
fn in_memory(layout: &Layout, names: &Names) -> Option<Names> {
    let mut order: SmallVec<[usize; 8]> = (0..names.len()).collect();
    if order
        .iter()
        .any(|&d| layout.shape[d] > 1 && layout.strides[d] == 0)
    {
        return None;
    }
    order.sort_by_key(|&d| std::cmp::Reverse(layout.strides[d].unsigned_abs()));
    Some(order.into_iter().map(|d| names[d]).collect())
}

/// The view of a tensor with these names that has the names `to`, repeated along those that it lacks.
fn arranged(layout: &Layout, names: &Names, to: &[u8], size: impl Fn(u8) -> usize) -> Layout {
    let mut dims = Dims::new();
    let mut strides = SmallVec::new();
    for &name in to {
        let found = names.iter().position(|&n| n == name);
        dims.push(found.map_or_else(|| size(name), |d| layout.shape[d]));
        strides.push(found.map_or(0, |d| layout.strides[d]));
    }
    Layout {
        shape: Shape::from(dims),
        strides,
        offset: layout.offset,
    }
}
