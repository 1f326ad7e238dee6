//! Tensors that are put together of parts: sums of parts laid into zeros become joins.
//!
//! The gradients of `split`, `chunk`, `unbind` and of several `select`s arrive as such sums: each part's gradient laid
//! into zeros of the whole, and all of them added up. Where the parts fill the whole side by side, that is
//! their concatenation, which a single kernel writes; and so it is where the sum is then copied in another order, as
//! it is for queries, keys and values that were made by one product.

use smallvec::SmallVec;

use crate::fusion::graph::{Graph, Input, Item};
use crate::kernel::program::MapOp;
use crate::operation::AnyOperation;
use crate::ops::concat::Concat;
use crate::ops::place::Place;
use crate::record::node::Op;
use crate::types::layout::Layout;
use crate::types::shape::Shape;

/// A part: where it begins along the dimension, and how it is read.
type Part = (usize, Input);

impl Graph {
    /// The graph with joins in place of sums of at most `most` parts that lie side by side.
    pub fn join_parts(mut self, most: usize) -> Graph {
        if !self.items.iter().any(|item| placed(item).is_some()) {
            return self;
        }
        let users = self.users();
        let only = |i: usize, user: usize| users[i][..] == [user];
        // Larger sums before those in them.
        for i in (0..self.items.len()).rev() {
            let mut parts = Vec::new();
            let sum = self.items[i].op == Op::Map(MapOp::Add);
            if sum && let Some(dim) = self.parts(i, &only, &mut parts) {
                let shape = self.items[i].shape.clone();
                self.items[i].join(parts, dim, shape, most);
            }
        }
        for i in 0..self.items.len() {
            self.join_in_order(i, &only);
        }
        self.without_dead()
    }

    /// Collects the parts that sum `i` consists of; the dimension along which they lie.
    fn parts(
        &self,
        i: usize,
        only: &impl Fn(usize, usize) -> bool,
        parts: &mut Vec<Part>,
    ) -> Option<usize> {
        let mut along = None;
        for input in &self.items[i].inputs {
            let Input::Item(p, layout) = input else {
                return None;
            };
            let term = &self.items[*p];
            let shape = &self.items[i].shape;
            if !only(*p, i) || term.root || !layout.is_whole() || term.shape != *shape {
                return None;
            }
            let dim = match (placed(term), &term.op) {
                (Some(place), _) => {
                    let (Input::Item(_, layout) | Input::Leaf(_, layout)) = &term.inputs[0] else {
                        return None;
                    };
                    let dim = only_dim(place, &layout.shape)?;
                    parts.push((place.start[dim], term.inputs[0].clone()));
                    dim
                }
                (None, Op::Map(MapOp::Add)) => self.parts(*p, only, parts)?,
                _ => return None,
            };
            if *along.get_or_insert(dim) != dim {
                return None;
            }
        }
        along
    }

    /// Makes item `i` a join where it is the copy of one, used by nothing else, with its dimensions in another order.
    fn join_in_order(&mut self, i: usize, only: &impl Fn(usize, usize) -> bool) {
        let item = &self.items[i];
        let (Op::Map(MapOp::Copy), Some(Input::Item(p, layout))) = (&item.op, item.inputs.first())
        else {
            return;
        };
        let from = &self.items[*p];
        let Op::Operation { op, .. } = &from.op else {
            return;
        };
        let Some(&Concat { dim }) = op.downcast_ref() else {
            return;
        };
        let Some(order) = order_of(layout, &from.shape) else {
            return;
        };
        if !only(*p, i) || from.root || from.dtype != item.dtype || layout.shape != item.shape {
            return;
        }
        let in_order = |input: &Input| input.with(|layout| layout.permute(&order));
        let Some(inputs) = from.inputs.iter().map(in_order).collect::<Option<_>>() else {
            return;
        };
        let dim = order.iter().position(|&d| d == dim).unwrap_or(dim);
        self.items[i].inputs = inputs;
        self.items[i].op = joined(dim);
    }
}

impl Item {
    /// Becomes the join of parts, if they fill `shape` along `dim`.
    fn join(&mut self, mut parts: Vec<Part>, dim: usize, shape: Shape, most: usize) {
        parts.sort_by_key(|(start, _)| *start);
        let mut end = 0;
        for (start, input) in &parts {
            let (Input::Item(_, layout) | Input::Leaf(_, layout)) = input else {
                return;
            };
            if *start != end {
                return;
            }
            end += layout.shape[dim];
        }
        if end == shape[dim] && parts.len() <= most {
            self.inputs = parts.into_iter().map(|(_, input)| input).collect();
            self.op = joined(dim);
        }
    }
}

fn joined(dim: usize) -> Op {
    Op::Operation {
        op: AnyOperation::new(Concat { dim }),
        part: 0,
    }
}

fn placed(item: &Item) -> Option<&Place> {
    match &item.op {
        Op::Operation { op, .. } => op.downcast_ref(),
        _ => None,
    }
}

/// The one dimension along which a part does not fill the whole, if it lies there without gaps.
fn only_dim(place: &Place, part: &Shape) -> Option<usize> {
    let mut dims = (0..part.rank()).filter(|&d| part[d] != place.shape[d]);
    let dim = dims.next()?;
    let fits = dims.next().is_none()
        && place
            .start
            .iter()
            .enumerate()
            .all(|(d, &s)| d == dim || s == 0)
        && (part[dim] < 2 || place.step[dim] == 1)
        && place.start[dim] + part[dim] <= place.shape[dim];
    fits.then_some(dim)
}

/// The order of the dimensions of a whole tensor in which a view has them, if it differs by no more.
fn order_of(layout: &Layout, whole: &Shape) -> Option<SmallVec<[usize; 8]>> {
    let whole = Layout::contiguous(whole.clone());
    if layout.shape.rank() != whole.shape.rank() {
        return None;
    }
    let mut order: SmallVec<[usize; 8]> = SmallVec::new();
    for (&size, &stride) in layout.shape.iter().zip(&layout.strides) {
        let here = |d: &usize| {
            let same = whole.shape[*d] == size && (size == 1 || whole.strides[*d] == stride);
            same && !order.contains(d)
        };
        let found = (0..whole.shape.rank()).find(here)?;
        order.push(found);
    }
    (layout.offset == 0).then_some(order)
}
