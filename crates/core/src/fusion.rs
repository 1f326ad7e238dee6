//! Grouping: which nodes run as one kernel.
//!
//! Elementwise nodes of one shape form islands with any number of results; an island may be the
//! epilogue of a reduction or a matrix product, and what only one reduction uses is its prologue.
//! Grouping depends on nothing but the list of nodes: same program, same kernels, same bits.

mod relocation;

use crate::backend::Limits;
use crate::dtype::DType;
use crate::graph::{Graph, Input, Item};
use crate::layout::Layout;
use crate::node::Op;
use crate::program::MapOp;

/// What an operation that is a whole routine counts among a kernel's operations.
const ROUTINE: usize = 3;
/// How far back results of a structured operation look for the others.
const LOOK_BACK: usize = 64;

/// What kind of kernel a group becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Map,
    Reduce,
    MatMul,
    /// A kernel of its own; only results of one structured operation share one.
    Alone,
}

/// Nodes that run as one kernel.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub kind: Kind,
    /// Ascending. Prologue nodes are not among them.
    pub members: Vec<usize>,
    /// Nodes computed inside the reduction `.0` before it reduces.
    pub prologue: Vec<(usize, Vec<usize>)>,
    /// Beside a matrix product: the sums of one of its operands, and what is computed of them.
    pub sums: Option<Vec<usize>>,
}

impl Group {
    pub fn all(&self) -> impl Iterator<Item = usize> + '_ {
        self.members
            .iter()
            .copied()
            .chain(self.prologue.iter().flat_map(|(_, p)| p.iter().copied()))
            .chain(self.sums.iter().flatten().copied())
    }

    fn last(&self) -> usize {
        self.all().max().unwrap_or(0)
    }

    fn ops(&self, graph: &Graph) -> usize {
        let cost = |i: usize| match graph.items[i].op {
            Op::Map(op) if is_routine(op) => ROUTINE,
            Op::Map(_) => 1,
            _ => 0,
        };
        self.all().map(cost).sum()
    }
}

/// The groups, in an order in which they can run.
pub(crate) fn group(graph: &Graph, fusion: bool, limits: &Limits) -> Vec<Group> {
    let mut grouping = Grouping {
        graph,
        users: graph.users(),
        of: Vec::with_capacity(graph.items.len()),
        groups: Vec::new(),
        seen: Vec::new(),
        stamp: 0,
        max_buffers: limits.max_kernel_buffers.saturating_sub(1).max(2),
        max_ops: limits.max_kernel_ops,
    };
    for i in 0..graph.items.len() {
        grouping.add(i, fusion);
    }
    if fusion {
        grouping.sink();
        grouping.join_sums();
    }
    grouping.ordered()
}

struct Grouping<'a> {
    graph: &'a Graph,
    users: Vec<Vec<usize>>,
    /// The group of each item so far.
    of: Vec<usize>,
    /// `None` for groups that were merged into others.
    groups: Vec<Option<Group>>,
    /// Marks of `reaches`.
    seen: Vec<u32>,
    stamp: u32,
    max_buffers: usize,
    max_ops: usize,
}

/// Types that only whole vectors of four elements can store.
fn is_packed(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16 | DType::U8)
}

impl Grouping<'_> {
    fn add(&mut self, i: usize, fusion: bool) {
        let item = &self.graph.items[i];
        let kind = match item.op {
            Op::Map(_) => Kind::Map,
            Op::Reduce { .. } => Kind::Reduce,
            Op::MatMul => Kind::MatMul,
            _ => Kind::Alone,
        };
        let own = self.groups.len();
        self.of.push(own);
        self.groups.push(Some(Group {
            kind,
            members: vec![i],
            prologue: Vec::new(),
            sums: None,
        }));
        self.seen.push(0);
        if !fusion {
            return;
        }
        match &item.op {
            Op::Map(_) => {
                for input in &item.inputs {
                    if let Input::Item(p, layout) = input
                        && layout.is_whole()
                        && self.graph.items[*p].shape == item.shape
                    {
                        self.try_merge(self.of[*p], self.of[i]);
                    }
                }
            }
            Op::Reduce { .. } => self.absorb(i),
            Op::Operation { .. } => {
                let earlier = (0..i).rev().take(LOOK_BACK);
                for g in earlier.map(|j| self.of[j]).collect::<Vec<_>>() {
                    if self.of[i] != own {
                        break; // merged
                    }
                    self.try_merge(g, own);
                }
            }
            _ => {}
        }
    }

    fn get(&self, g: usize) -> Option<&Group> {
        self.groups.get(g).and_then(Option::as_ref)
    }

    /// Merges two groups if they make one kernel and no cycle.
    fn try_merge(&mut self, a: usize, b: usize) {
        if a == b || !self.fits(a, b) || self.reaches(a, b) || self.reaches(b, a) {
            return;
        }
        let (Some(x), Some(y)) = (self.groups[a].take(), self.groups[b].take()) else {
            return;
        };
        let kind = if x.kind == Kind::Map { y.kind } else { x.kind };
        let mut members = x.members;
        members.extend(y.members);
        members.sort_unstable();
        let mut prologue = x.prologue;
        prologue.extend(y.prologue);
        let merged = Group {
            kind,
            members,
            prologue,
            sums: None, // they join when nothing else does any more
        };
        for i in merged.all() {
            self.of[i] = a;
        }
        self.groups[a] = Some(merged);
    }

    /// Whether the kinds, sizes and numbers of operands of both allow one kernel.
    fn fits(&self, a: usize, b: usize) -> bool {
        let (Some(x), Some(y)) = (self.get(a), self.get(b)) else {
            return false;
        };
        let structured = match (x.kind, y.kind) {
            (Kind::Map, Kind::Map) => false,
            (Kind::Map, Kind::Reduce | Kind::MatMul) | (Kind::Reduce | Kind::MatMul, Kind::Map) => {
                true
            }
            (Kind::Reduce, Kind::Reduce) => self.same_reduction(x, y),
            (Kind::Alone, Kind::Alone) => return self.same_operation(x, y),
            _ => return false,
        };
        if (x.kind, y.kind) == (Kind::Reduce, Kind::Reduce) && !structured {
            return false;
        }
        if structured {
            // A product's elements are computed at their own places, sums elsewhere.
            let placed = [x.kind, y.kind].contains(&Kind::MatMul);
            let stores = |i: &usize| {
                let item = &self.graph.items[*i];
                let positional = matches!(item.op, Op::Map(op) if op.is_positional());
                !is_packed(item.dtype) && (placed || !positional)
            };
            if !x.members.iter().chain(&y.members).all(stores) {
                return false;
            }
        }
        x.ops(self.graph) + y.ops(self.graph) <= self.max_ops
            && self.aligned(x, y)
            && self.buffers(x, y) <= self.max_buffers
    }

    /// Whether every node of the merged group finds the values of the others at its own place: an
    /// elementwise node may read another only whole, and what a reduction or a product reads comes
    /// from outside (or is its own prologue).
    fn aligned(&self, x: &Group, y: &Group) -> bool {
        let inside = |i: usize| self.is_in(i, x) || self.is_in(i, y);
        let whole = |i: usize| {
            let item = &self.graph.items[i];
            item.inputs.iter().all(|input| match input {
                Input::Item(p, layout) if inside(*p) => {
                    matches!(item.op, Op::Map(_))
                        && layout.is_whole()
                        && self.graph.items[*p].shape == item.shape
                }
                _ => true,
            })
        };
        let prologues = || x.prologue.iter().chain(&y.prologue);
        let fed = |i: &usize| prologues().any(|(r, _)| r == i);
        let own = |(_, nodes): &(usize, Vec<usize>)| {
            nodes
                .iter()
                .flat_map(|&i| &self.graph.items[i].inputs)
                .all(|input| match input {
                    Input::Item(p, _) => !inside(*p) || nodes.contains(p),
                    _ => true,
                })
        };
        x.members
            .iter()
            .chain(&y.members)
            .all(|i| fed(i) || whole(*i))
            && prologues().all(own)
    }

    fn is_in(&self, i: usize, group: &Group) -> bool {
        let of = self.of.get(i).and_then(|&g| self.get(g));
        of.is_some_and(|g| std::ptr::eq(g, group))
    }

    /// Whether both are results of one operation, none of them twice.
    fn same_operation(&self, x: &Group, y: &Group) -> bool {
        let of = |&i: &usize| match &self.graph.items[i] {
            Item {
                op: Op::Operation { op, part },
                inputs,
                ..
            } => Some((op, inputs, *part)),
            _ => None,
        };
        x.members.iter().all(|i| {
            y.members.iter().all(|j| match (of(i), of(j)) {
                (Some((p, a, one)), Some((q, b, other))) => one != other && a == b && p == q,
                _ => false,
            })
        })
    }

    /// Whether two reduction groups walk the same space.
    fn same_reduction(&self, x: &Group, y: &Group) -> bool {
        let space = |g: &Group| {
            g.members.iter().find_map(|&i| {
                match (&self.graph.items[i].op, &self.graph.items[i].inputs[0]) {
                    (Op::Reduce { reduced, .. }, Input::Item(_, l) | Input::Leaf(_, l)) => {
                        Some((l.shape.clone(), *reduced))
                    }
                    _ => None,
                }
            })
        };
        space(x) == space(y)
    }

    /// Distinct operands from outside plus results that leave the merged group.
    fn buffers(&self, x: &Group, y: &Group) -> usize {
        let inside = |i: usize| self.is_in(i, x) || self.is_in(i, y);
        let mut operands: Vec<(&Layout, bool, usize)> = Vec::new();
        let mut results = 0;
        for i in x.all().chain(y.all()) {
            let item = &self.graph.items[i];
            for input in &item.inputs {
                let operand = match input {
                    Input::Item(p, layout) if !inside(*p) => (layout, false, *p),
                    Input::Leaf(l, layout) => (layout, true, *l),
                    _ => continue,
                };
                if !operands.contains(&operand) {
                    operands.push(operand);
                }
            }
            if item.root || self.users[i].iter().any(|&u| !inside(u)) {
                results += 1;
            }
        }
        operands.len() + results
    }

    /// Whether group `to` depends on group `from` through a third group. The numbers of nodes say
    /// nothing here: a group that ends before `from` starts may depend on one that goes on after
    /// it.
    fn reaches(&mut self, from: usize, to: usize) -> bool {
        self.stamp += 1;
        let mut stack = Vec::new();
        self.push_operands(to, Some(from), &mut stack);
        while let Some(g) = stack.pop() {
            if g == from {
                return true;
            }
            self.push_operands(g, None, &mut stack);
        }
        false
    }

    /// Groups that the members of `g` read from, except `skip`.
    fn push_operands(&mut self, g: usize, skip: Option<usize>, stack: &mut Vec<usize>) {
        let Some(group) = self.groups[g].as_ref() else {
            return;
        };
        for i in group.all() {
            for input in &self.graph.items[i].inputs {
                if let Input::Item(p, _) = input {
                    let next = self.of[*p];
                    if next != g && Some(next) != skip && self.seen[next] != self.stamp {
                        self.seen[next] = self.stamp;
                        stack.push(next);
                    }
                }
            }
        }
    }

    /// Takes the island that only reduction `r` uses into it.
    fn absorb(&mut self, r: usize) {
        let item = &self.graph.items[r];
        let (Op::Reduce { perm, .. }, Some(Input::Item(p, layout))) =
            (&item.op, item.inputs.first())
        else {
            return;
        };
        let producer = &self.graph.items[*p];
        let perm: Vec<usize> = perm.iter().map(|&d| d as usize).collect();
        let rearranged = Layout::contiguous(producer.shape.clone());
        if perm.len() != rearranged.shape.rank() || rearranged.permute(&perm) != *layout {
            return;
        }
        let island = self.of[*p];
        let Some(group) = self.get(island) else {
            return;
        };
        let private = |&i: &usize| {
            !self.graph.items[i].root
                && self.users[i]
                    .iter()
                    .all(|&u| u == r || self.of.get(u) == Some(&island))
                && !matches!(self.graph.items[i].op, Op::Map(op) if op.is_positional())
        };
        let fits = group.kind == Kind::Map
            && group.members.iter().all(private)
            && self
                .get(self.of[r])
                .is_some_and(|own| self.buffers(group, own) <= self.max_buffers);
        if !fits {
            return;
        }
        let own = self.of[r];
        if let Some(group) = self.groups[island].take() {
            for &i in &group.members {
                self.of[i] = own;
            }
            if let Some(own) = self.groups[own].as_mut() {
                own.prologue.push((r, group.members));
            }
        }
    }

    /// The groups in topological order, each as early as its last member allows.
    fn ordered(self) -> Vec<Group> {
        let mut starts: Vec<usize> = (0..self.groups.len())
            .filter(|&g| self.get(g).is_some())
            .collect();
        starts.sort_by_key(|&g| self.get(g).map_or(0, Group::last));
        let mut done = vec![false; self.groups.len()];
        let mut order = Vec::with_capacity(starts.len());
        for g in starts {
            let mut stack = vec![(g, false)];
            while let Some((g, expanded)) = stack.pop() {
                if done[g] {
                    continue;
                }
                if expanded {
                    done[g] = true;
                    order.push(g);
                    continue;
                }
                stack.push((g, true));
                let Some(group) = self.get(g) else { continue };
                for i in group.all() {
                    for input in &self.graph.items[i].inputs {
                        if let Input::Item(p, _) = input
                            && self.of[*p] != g
                            && !done[self.of[*p]]
                        {
                            stack.push((self.of[*p], false));
                        }
                    }
                }
            }
        }
        let mut groups = self.groups;
        order.into_iter().filter_map(|g| groups[g].take()).collect()
    }
}

/// Whether an operation is a routine rather than an instruction or two.
fn is_routine(op: MapOp) -> bool {
    matches!(
        op,
        MapOp::Sin
            | MapOp::Cos
            | MapOp::Tan
            | MapOp::Pow
            | MapOp::Erf
            | MapOp::Gelu
            | MapOp::Expm1
            | MapOp::Log1p
            | MapOp::Softplus
            | MapOp::RandomBits
            | MapOp::Uniform
            | MapOp::Normal
    )
}

/// Whether an elementwise node only passes its operand on, so that no instruction is needed.
pub(crate) fn is_alias(op: MapOp) -> bool {
    op == MapOp::Copy
}
