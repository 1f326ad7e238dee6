//! Tensors that are put together of parts: sums of parts laid into zeros become joins.
//!
//! The gradients of `split`, `chunk`, `unbind` and of several `select`s arrive as such sums: each part's gradient laid
//! into zeros of the whole, and all of them added up. Where the parts lie side by side, that is their concatenation,
//! which is laid into zeros once if it does not fill the whole, and to which one other term may be added: what an
//! earlier run made of the steps of a sequence behind. Where the sum is then copied in another order, as it is for queries,
//! keys and values that were made by one product, the copy is the concatenation.

use smallvec::SmallVec;

use crate::fusion::graph::{Graph, Input, Item};
use crate::kernel::program::MapOp;
use crate::operation::AnyOperation;
use crate::ops::concat::Concat;
use crate::ops::place::Place;
use crate::record::node::Op;
use crate::types::layout::Layout;
use crate::types::shape::Shape;

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
            sums[i]?;
            let inner = users[i].len() == 1 && sums[users[i][0]].is_some() && !self.items[i].root;
            (!inner).then(|| self.parts(i, &sums, &only)).flatten()
        };
        let mut items: Vec<Item> = Vec::with_capacity(self.items.len());
        let mut moved = Vec::with_capacity(self.items.len());
        for (i, item) in self.items.iter().enumerate() {
            let mut item = item.clone();
            let join = join_of(i);
            let renumber = |input: &mut Input| {
                if let Input::Item(p, _) = input {
                    *p = moved[*p];
                }
            };
            match join {
                None => item.inputs.iter_mut().for_each(renumber),
                Some(mut join) => {
                    join.parts.iter_mut().for_each(renumber);
                    join.other.iter_mut().for_each(renumber);
                    item = join.assemble(item, most, &mut items);
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

    /// For each item that is a sum of parts, which nothing else uses, and of at most one other term, the dimension along
    /// which they lie, and whether there is another.
    fn sums(&self, only: &impl Fn(usize, usize) -> bool) -> Vec<Option<(usize, bool)>> {
        let mut sums: Vec<Option<(usize, bool)>> = Vec::with_capacity(self.items.len());
        for (i, item) in self.items.iter().enumerate() {
            let term = |input: &Input| {
                let p = self.term(input, i, only)?;
                match self.items[p].op {
                    Op::Map(_) => sums[p],
                    _ => part_dim(&self.items[p]).map(|dim| (dim, false)),
                }
            };
            let sum = match (&item.op, &item.inputs[..]) {
                (Op::Map(MapOp::Add), [a, b]) => match (term(a), term(b)) {
                    (Some((dim, x)), Some((other, y))) if dim == other && !(x && y) => {
                        Some((dim, x || y))
                    }
                    (Some((dim, false)), None) | (None, Some((dim, false))) => Some((dim, true)),
                    _ => None,
                },
                _ => None,
            };
            sums.push(sum);
        }
        sums
    }

    /// The item that an operand of `user` is, if nothing else needs it and it is read as it lies.
    fn term(
        &self,
        input: &Input,
        user: usize,
        only: &impl Fn(usize, usize) -> bool,
    ) -> Option<usize> {
        let Input::Item(p, layout) = input else {
            return None;
        };
        let term = &self.items[*p];
        let alone = only(*p, user) && !term.root;
        let whole = layout.is_whole() && term.shape == self.items[user].shape;
        (alone && whole).then_some(*p)
    }

    /// What sum `i` consists of, if its parts are several and lie side by side.
    fn parts(
        &self,
        i: usize,
        sums: &[Option<(usize, bool)>],
        only: &impl Fn(usize, usize) -> bool,
    ) -> Option<Join> {
        let dim = sums[i]?.0;
        let (mut parts, mut other, mut left) = (Vec::new(), None, vec![i]);
        while let Some(sum) = left.pop() {
            for input in &self.items[sum].inputs {
                match self.term(input, sum, only) {
                    Some(p) if part_dim(&self.items[p]) == Some(dim) => {
                        let start = placed(&self.items[p])?.start[dim];
                        parts.push((start, self.items[p].inputs[0].clone()));
                    }
                    Some(p) if sums[p].is_some_and(|(d, _)| d == dim) => left.push(p),
                    _ if other.is_none() => other = Some(input.clone()),
                    _ => return None,
                }
            }
        }
        parts.sort_by_key(|(start, _)| *start);
        let first = parts.first()?.0;
        let mut end = first;
        for (start, input) in &parts {
            if *start != end {
                return None;
            }
            end += input.layout()?.shape[dim];
        }
        let parts: Vec<Input> = parts.into_iter().map(|(_, input)| input).collect();
        (parts.len() > 1).then_some(Join {
            dim,
            first,
            size: end - first,
            parts,
            other,
        })
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

/// Parts that lie side by side, and what is added to them.
struct Join {
    dim: usize,
    /// Where the first part begins, and how long all are together.
    first: usize,
    size: usize,
    parts: Vec<Input>,
    other: Option<Input>,
}

impl Join {
    /// The item in place of `sum`; what it is made of goes to the end of `items`.
    fn assemble(self, sum: Item, most: usize, items: &mut Vec<Item>) -> Item {
        let (dim, shape) = (self.dim, sum.shape.clone());
        let inner = |inputs: &[Input], op: Op, shape: Shape| Item {
            op,
            inputs: inputs.into(),
            shape,
            root: false,
            home: None,
            ..sum.clone()
        };
        let along = |size: usize| {
            let mut dims = shape.to_vec();
            dims[dim] = size;
            Shape::from(dims)
        };
        let push = |item: Item, items: &mut Vec<Item>| {
            let whole = Layout::contiguous(item.shape.clone());
            items.push(item);
            Input::Item(items.len() - 1, whole)
        };
        let mut parts = self.parts;
        while parts.len() > most {
            let size = |input: &Input| input.layout().map_or(0, |layout| layout.shape[dim]);
            let steps = parts.chunks(most).map(|some| {
                let shape = along(some.iter().map(size).sum());
                push(inner(some, joined(dim), shape), items)
            });
            parts = steps.collect();
        }
        let mut made = inner(&parts, joined(dim), along(self.size));
        if made.shape != shape {
            let mut start = vec![0; shape.rank()];
            start[dim] = self.first;
            let place = Place {
                shape: shape.clone(),
                step: vec![1; start.len()],
                start,
            };
            let op = Op::Operation {
                op: AnyOperation::new(place),
                part: 0,
            };
            let input = push(made, items);
            made = inner(&[input], op, shape.clone());
        }
        if let Some(other) = self.other {
            let input = push(made, items);
            made = inner(&[other, input], Op::Map(MapOp::Add), shape);
        }
        Item {
            root: sum.root,
            home: sum.home,
            ..made
        }
    }
}

/// The one dimension along which a part lies.
fn part_dim(item: &Item) -> Option<usize> {
    only_dim(placed(item)?, &item.inputs[0].layout()?.shape)
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
