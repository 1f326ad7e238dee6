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
    /// The graph with joins in place of sums of parts that lie side by side. More than `most` parts are joined in
    /// steps, neighbours first.
    pub fn join_parts(self, most: usize) -> Graph {
        if most < 2 || !self.items.iter().any(|item| placed(item).is_some()) {
            return self;
        }
        let users = self.users();
        let only = |i: usize, user: usize| users[i][..] == [user];
        let sums = self.sums(&only);
        let join_of = |i: usize| {
            let dim = sums[i]?;
            let inner = users[i].len() == 1 && sums[users[i][0]].is_some() && !self.items[i].root;
            let parts = (!inner).then(|| self.parts(i, &sums))?;
            Some((side_by_side(parts, dim, self.items[i].shape[dim])?, dim))
        };
        let mut items: Vec<Item> = Vec::with_capacity(self.items.len());
        let mut moved = Vec::with_capacity(self.items.len());
        for (i, item) in self.items.iter().enumerate() {
            let mut item = item.clone();
            if let Some((parts, dim)) = join_of(i) {
                item.op = joined(dim);
                item.inputs = parts.into();
            }
            for input in &mut item.inputs {
                if let Input::Item(p, _) = input {
                    *p = moved[*p];
                }
            }
            while let (true, Some(dim)) = (item.inputs.len() > most, join_dim(&item.op)) {
                let steps = item.inputs.chunks(most).map(|part| item.part(part, dim));
                let steps: Vec<Item> = steps.collect();
                item.inputs = SmallVec::new();
                for step in steps {
                    let whole = Layout::contiguous(step.shape.clone());
                    item.inputs.push(Input::Item(items.len(), whole));
                    items.push(step);
                }
            }
            moved.push(items.len());
            items.push(item);
        }
        let mut graph = Graph {
            items,
            leaves: self.leaves,
        };
        let users = graph.users();
        let only = |i: usize, user: usize| users[i][..] == [user];
        for i in 0..graph.items.len() {
            graph.join_in_order(i, &only);
        }
        graph.without_dead()
    }

    /// For each item that is a sum of nothing but parts, which nothing else uses, the dimension along which they lie.
    fn sums(&self, only: &impl Fn(usize, usize) -> bool) -> Vec<Option<usize>> {
        let mut sums: Vec<Option<usize>> = Vec::with_capacity(self.items.len());
        for (i, item) in self.items.iter().enumerate() {
            let along = |input: &Input| {
                let Input::Item(p, layout) = input else {
                    return None;
                };
                let term = &self.items[*p];
                if !only(*p, i) || term.root || !layout.is_whole() || term.shape != item.shape {
                    return None;
                }
                match placed(term) {
                    Some(place) => only_dim(place, &term.inputs[0].layout()?.shape),
                    None => sums[*p],
                }
            };
            let dim = match (&item.op, &item.inputs[..]) {
                (Op::Map(MapOp::Add), [a, b]) => along(a).filter(|_| along(a) == along(b)),
                _ => None,
            };
            sums.push(dim);
        }
        sums
    }

    /// The parts that sum `i` consists of.
    fn parts(&self, i: usize, sums: &[Option<usize>]) -> Vec<Part> {
        let (mut parts, mut left) = (Vec::new(), vec![i]);
        while let Some(i) = left.pop() {
            for input in &self.items[i].inputs {
                let Input::Item(p, _) = input else { continue };
                match placed(&self.items[*p]) {
                    Some(place) => {
                        let dim = sums[i].unwrap_or(0);
                        parts.push((place.start[dim], self.items[*p].inputs[0].clone()));
                    }
                    None => left.push(*p),
                }
            }
        }
        parts
    }

    /// Makes item `i` a join where it is the copy of one, used by nothing else, with its dimensions in another order.
    fn join_in_order(&mut self, i: usize, only: &impl Fn(usize, usize) -> bool) {
        let item = &self.items[i];
        let (Op::Map(MapOp::Copy), Some(Input::Item(p, layout))) = (&item.op, item.inputs.first())
        else {
            return;
        };
        let from = &self.items[*p];
        let Some(dim) = join_dim(&from.op) else {
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
    /// The join of some of a join's parts.
    fn part(&self, inputs: &[Input], dim: usize) -> Item {
        let size = |input: &Input| input.layout().map_or(0, |layout| layout.shape[dim]);
        let mut dims = self.shape.to_vec();
        dims[dim] = inputs.iter().map(size).sum();
        Item {
            inputs: inputs.into(),
            shape: Shape::from(dims),
            root: false,
            home: None,
            ..self.clone()
        }
    }
}

/// The parts in order, if they fill `size` elements along `dim`.
fn side_by_side(mut parts: Vec<Part>, dim: usize, size: usize) -> Option<Vec<Input>> {
    parts.sort_by_key(|(start, _)| *start);
    let mut end = 0;
    for (start, input) in &parts {
        if *start != end {
            return None;
        }
        end += input.layout()?.shape[dim];
    }
    (end == size).then(|| parts.into_iter().map(|(_, input)| input).collect())
}

/// The dimension of a join.
fn join_dim(op: &Op) -> Option<usize> {
    match op {
        Op::Operation { op, .. } => op.downcast_ref().map(|&Concat { dim }| dim),
        _ => None,
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
