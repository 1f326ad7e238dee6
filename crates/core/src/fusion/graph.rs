//! A run as the planner sees it, and rewriting before it is grouped.

use smallvec::SmallVec;

use crate::kernel::ReduceOp;
use crate::kernel::program::MapOp;
use crate::record::node::Op;
use crate::types::dtype::DType;
use crate::types::layout::Layout;
use crate::types::shape::Shape;

/// Where a scalar's value is found when the plan runs: operand `input` of node `item`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ScalarRef {
    pub item: u32,
    pub input: u32,
    pub dtype: DType,
}

/// An operand.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Input {
    Item(usize, Layout),
    Leaf(usize, Layout),
    Scalar(ScalarRef),
}

/// A node of the run.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The node's number in the run; rewriting may split a node in two.
    pub origin: usize,
    pub op: Op,
    pub inputs: SmallVec<[Input; 2]>,
    pub shape: Shape,
    pub dtype: DType,
    /// Whether the result must be kept.
    pub root: bool,
    /// The buffer of the arena that the result goes into, if it does.
    pub home: Option<u64>,
}

/// The nodes in an order in which operands come first, and the leaves: type, bytes, buffer.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub items: Vec<Item>,
    pub leaves: Vec<(DType, usize, u64)>,
}

impl Graph {
    /// For each item the items that use it (one entry per operand).
    pub fn users(&self) -> Vec<Vec<usize>> {
        let mut users = vec![Vec::new(); self.items.len()];
        for (i, item) in self.items.iter().enumerate() {
            for input in &item.inputs {
                if let Input::Item(p, _) = input {
                    users[*p].push(i);
                }
            }
        }
        users
    }

    /// Moves a factor of one element from the gradient of a cross-entropy, where that is an operand of
    /// a matrix product or a sum, into the epilogue: `(s X) W = s (X W)`. The gradient of a mean arrives
    /// as such a factor, and this way the scaled matrix is never stored.
    ///
    /// Of no other matrix: what other kernels make is scaled as it is made, and where `X W` overflows
    /// or `s` is 0 or infinite the two sides differ. This one's elements lie within the weights.
    pub fn hoist_factors(self) -> Graph {
        let users = self.users();
        let factors: Vec<Option<(usize, usize)>> = (0..self.items.len())
            .map(|i| self.factor(i, &users))
            .collect();
        if factors.iter().all(Option::is_none) {
            return self;
        }
        let Graph { items, leaves } = self;
        let mut out: Vec<Item> = Vec::with_capacity(items.len() + 2);
        let mut moved = vec![0; items.len()];
        for i in 0..items.len() {
            let mut item = items[i].clone();
            for input in &mut item.inputs {
                if let Input::Item(p, _) = input {
                    *p = moved[*p];
                }
            }
            let mut scales: SmallVec<[Input; 2]> = SmallVec::new();
            if is_linear(&item.op) {
                for (k, original) in items[i].inputs.iter().enumerate() {
                    let Input::Item(p, layout) = original else {
                        continue;
                    };
                    let Some((matrix, scale)) = factors[*p] else {
                        continue;
                    };
                    // Both inputs of the product as the new numbering has them.
                    let scaled: &Item = &out[moved[*p]];
                    item.inputs[k] = with_layout(&scaled.inputs[matrix], layout.clone());
                    scales.push(spread(&scaled.inputs[scale], &item.shape));
                }
            }
            let (root, home) = (item.root, item.home);
            let (shape, dtype, origin) = (item.shape.clone(), item.dtype, item.origin);
            let last = scales.len();
            (item.root, item.home) = if last == 0 {
                (root, home)
            } else {
                (false, None)
            };
            out.push(item);
            for (n, scale) in scales.into_iter().enumerate() {
                let product = Input::Item(out.len() - 1, Layout::contiguous(shape.clone()));
                let end = n + 1 == last;
                out.push(Item {
                    origin,
                    op: Op::Map(MapOp::Mul),
                    inputs: SmallVec::from_iter([product, scale]),
                    shape: shape.clone(),
                    dtype,
                    root: root && end,
                    home: if end { home } else { None },
                });
            }
            moved[i] = out.len() - 1;
        }
        Graph { items: out, leaves }.without_dead()
    }

    /// Which operand of item `i` is the matrix and which the factor, if it is a product with one
    /// element that only matrix products and sums use.
    fn factor(&self, i: usize, users: &[Vec<usize>]) -> Option<(usize, usize)> {
        let item = &self.items[i];
        let used = users[i]
            .iter()
            .any(|u| matches!(self.items[*u].op, Op::MatMul(_)));
        if item.op != Op::Map(MapOp::Mul)
            || item.root
            || !matches!(item.dtype, DType::F32 | DType::F64)
            || !used
            || !users[i].iter().all(|&u| is_linear(&self.items[u].op))
        {
            return None;
        }
        let slope = |input: &Input| {
            matches!(input, Input::Item(p, _) if matches!(&self.items[*p].op,
                Op::Operation { op, part } if op.is_bounded(usize::from(*part))))
        };
        let single = |input: &Input| match input {
            Input::Scalar(_) => true,
            Input::Item(_, layout) | Input::Leaf(_, layout) => layout.is_single(),
        };
        let whole = |input: &Input| match input {
            Input::Scalar(_) => false,
            Input::Item(p, layout) => layout.is_whole() && self.items[*p].shape == item.shape,
            Input::Leaf(_, layout) => layout.is_whole(),
        };
        let [a, b] = item.inputs.as_slice() else {
            return None;
        };
        match () {
            () if single(b) && whole(a) && slope(a) => Some((0, 1)),
            () if single(a) && whole(b) && slope(b) => Some((1, 0)),
            () => None,
        }
    }

    /// Drops items that neither are roots nor have users.
    pub(super) fn without_dead(self) -> Graph {
        let mut alive = vec![false; self.items.len()];
        for i in (0..self.items.len()).rev() {
            alive[i] |= self.items[i].root;
            if alive[i] {
                for input in &self.items[i].inputs {
                    if let Input::Item(p, _) = input {
                        alive[*p] = true;
                    }
                }
            }
        }
        let mut moved = vec![0; self.items.len()];
        let mut items = Vec::with_capacity(self.items.len());
        for (i, mut item) in self.items.into_iter().enumerate() {
            if !alive[i] {
                continue;
            }
            for input in &mut item.inputs {
                if let Input::Item(p, _) = input {
                    *p = moved[*p];
                }
            }
            moved[i] = items.len();
            items.push(item);
        }
        Graph {
            items,
            leaves: self.leaves,
        }
    }
}

/// Whether a factor of one element may be applied to the result instead of the operand.
fn is_linear(op: &Op) -> bool {
    match op {
        Op::MatMul(_) => true,
        Op::Reduce { op, .. } => *op == ReduceOp::Sum,
        _ => false,
    }
}

impl Input {
    /// The same operand through a layout made from its own; `None` for a scalar.
    pub fn with(&self, change: impl FnOnce(&Layout) -> Layout) -> Option<Input> {
        match self {
            Input::Item(p, layout) => Some(Input::Item(*p, change(layout))),
            Input::Leaf(l, layout) => Some(Input::Leaf(*l, change(layout))),
            Input::Scalar(_) => None,
        }
    }
}

/// The input through another layout.
fn with_layout(input: &Input, layout: Layout) -> Input {
    match input {
        Input::Item(p, _) => Input::Item(*p, layout),
        Input::Leaf(l, _) => Input::Leaf(*l, layout),
        Input::Scalar(s) => Input::Scalar(*s),
    }
}

/// A single-element input repeated over `shape`.
fn spread(input: &Input, shape: &Shape) -> Input {
    let over = |layout: &Layout| Layout {
        shape: shape.clone(),
        strides: SmallVec::from_elem(0, shape.rank()),
        offset: layout.offset,
    };
    match input {
        Input::Item(p, layout) => Input::Item(*p, over(layout)),
        Input::Leaf(l, layout) => Input::Leaf(*l, over(layout)),
        Input::Scalar(s) => Input::Scalar(*s),
    }
}
