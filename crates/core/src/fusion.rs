//! Grouping: which nodes run as one kernel.
//!
//! Elementwise nodes of one shape form islands with any number of results; an island may be the
//! epilogue of a reduction, a matrix product or a structured operation, and what only one reduction uses is its prologue.
//! What maps over the space of a reduction with its results, each repeated along its row, makes a
//! kernel of rows of it: such a kernel takes in further maps and reductions of the space, in as many
//! stages as they need. Grouping depends on nothing but the list of nodes: same program, same kernels, same bits.

mod assembly;
pub(crate) mod graph;
mod order;
mod relocation;
mod space;

use crate::fusion::graph::{Graph, Input, Item};
use crate::kernel::backend::Limits;
use crate::kernel::program::MapOp;
use crate::operation::AnyOperation;
use crate::record::node::Op;
use crate::types::dtype::DType;
use crate::types::layout::Layout;

use self::space::alike;
pub(crate) use self::space::{Level, Space, space};

/// What an operation that is a whole routine counts among a kernel's operations.
const ROUTINE: usize = 3;
/// How far back results of a structured operation look for the others.
const LOOK_BACK: usize = 64;

/// Most reductions of a kernel of rows: a workgroup shares up to 2 KiB for each, and has 16 KiB.
const MOST_FOLDS: usize = 8;

/// What kind of kernel a group becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Map,
    Reduce,
    Rows,
    MatMul,
    /// A structured operation of which one result is wanted, and the device takes an epilogue.
    Operation,
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
            Op::Map(op) if op.is_routine() => ROUTINE,
            Op::Map(_) => 1,
            _ => 0,
        };
        self.all().map(cost).sum()
    }
}

/// The groups, in an order in which they can run.
pub(crate) fn group(
    graph: &Graph,
    fusion: bool,
    limits: &Limits,
    takes_epilogue: &dyn Fn(&AnyOperation) -> bool,
) -> Vec<Group> {
    let mut grouping = Grouping {
        graph,
        takes_epilogue,
        users: graph.users(),
        of: Vec::with_capacity(graph.items.len()),
        groups: Vec::new(),
        seen: Vec::new(),
        stamp: 0,
        max_buffers: limits.max_kernel_buffers.saturating_sub(1).max(2),
        max_ops: limits.max_kernel_ops,
        max_bytes: limits.max_binding.min(limits.max_buffer),
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
    takes_epilogue: &'a dyn Fn(&AnyOperation) -> bool,
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
    max_bytes: usize,
}

/// Types that only whole vectors of four elements can store.
fn is_packed(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16) || dtype.is_narrow_integer()
}

impl Grouping<'_> {
    fn add(&mut self, i: usize, fusion: bool) {
        let item = &self.graph.items[i];
        let kind = match &item.op {
            Op::Map(_) => Kind::Map,
            Op::Reduce { .. } => Kind::Reduce,
            Op::MatMul(_) => Kind::MatMul,
            Op::Operation { op, .. } => match (self.takes_epilogue)(op) && self.is_only_result(i) {
                true => Kind::Operation,
                false => Kind::Alone,
            },
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
            Op::Map(_) => self.join(i),
            Op::Reduce { .. } => {
                if let Some(p) = self.whole_operand(&item.inputs[0], i)
                    && self.get(self.of[p]).is_some_and(|g| g.kind == Kind::Rows)
                {
                    self.try_merge(self.of[p], own);
                }
                if self.of[i] == own {
                    self.absorb(i);
                    self.join_alike(i);
                }
            }
            Op::Operation { .. } if kind == Kind::Alone => {
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

    /// Puts an elementwise item into the groups of its operands.
    fn join(&mut self, i: usize) {
        // Where a kernel of rows begins with this item, operands that it did not fit together with
        // before may do so now.
        for _ in 0..2 {
            for input in &self.graph.items[i].inputs {
                let Input::Item(p, layout) = input else {
                    continue;
                };
                let whole = self.whole_operand(input, i).is_some();
                if whole || self.repeats(*p, layout) {
                    self.try_merge(self.of[*p], self.of[i]);
                }
            }
            if self.get(self.of[i]).is_none_or(|g| g.kind != Kind::Rows) {
                return;
            }
            self.gather_operands(self.of[i]);
        }
    }

    /// The item that is an operand of item `i` element by element.
    fn whole_operand(&self, input: &Input, i: usize) -> Option<usize> {
        match (input, &self.graph.items[i]) {
            (Input::Item(p, layout), Item { shape, op, .. }) if layout.is_whole() => {
                let same = match op {
                    Op::Reduce { .. } => &layout.shape,
                    _ => shape,
                };
                let from = &self.graph.items[*p];
                // An operation's kernel goes by positions, which another shape does not change.
                let reshaped = || {
                    let operation = matches!(from.op, Op::Operation { .. });
                    operation && from.shape.numel() == same.numel()
                };
                (alike(&from.shape, same) || reshaped()).then_some(*p)
            }
            _ => None,
        }
    }

    /// Whether `layout` repeats item `p`, which stands once a row in its group, along the rows.
    fn repeats(&self, p: usize, layout: &Layout) -> bool {
        let space = self.get(self.of[p]).and_then(|g| space(self.graph, g));
        space.is_some_and(|space| {
            let item = &self.graph.items[p];
            space.level(&item.shape) == Some(Level::Row) && space.repeats(layout)
        })
    }

    /// Lets a kernel of rows compute its elements' operands, where they may not be computed alone for
    /// others' sake any more.
    fn gather_operands(&mut self, g: usize) {
        let Some(group) = self.get(g) else { return };
        let members = group.members.clone();
        for i in members {
            for input in &self.graph.items[i].inputs {
                if let Some(p) = self.whole_operand(input, i)
                    && self.of[p] != self.of[i]
                {
                    self.try_merge(self.of[p], self.of[i]);
                }
            }
        }
    }

    /// Merges two groups if they make one kernel and no cycle.
    fn try_merge(&mut self, a: usize, b: usize) {
        let Some(kind) = self.fit(a, b) else { return };
        if a == b || self.reaches(a, b) || self.reaches(b, a) {
            return;
        }
        let (Some(x), Some(y)) = (self.groups[a].take(), self.groups[b].take()) else {
            return;
        };
        let mut members = x.members;
        members.extend(y.members);
        let mut prologue = x.prologue;
        prologue.extend(y.prologue);
        if kind == Kind::Rows {
            // Elements like all others.
            members.extend(prologue.drain(..).flat_map(|(_, nodes)| nodes));
        }
        members.sort_unstable();
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

    /// The kind of kernel that two groups make, if their kinds, sizes and numbers of operands allow one.
    fn fit(&self, a: usize, b: usize) -> Option<Kind> {
        let (x, y) = (self.get(a)?, self.get(b)?);
        if a == b {
            return None;
        }
        let kind = match (x.kind, y.kind) {
            (Kind::Map, Kind::Map) => Kind::Map,
            (Kind::Map, kind @ (Kind::MatMul | Kind::Operation))
            | (kind @ (Kind::MatMul | Kind::Operation), Kind::Map) => kind,
            (Kind::Alone, Kind::Alone) => {
                return self.same_operation(x, y).then_some(Kind::Alone);
            }
            (Kind::MatMul | Kind::Operation | Kind::Alone, _)
            | (_, Kind::MatMul | Kind::Operation | Kind::Alone) => return None,
            (Kind::Rows, _) | (_, Kind::Rows) => Kind::Rows,
            (Kind::Reduce, Kind::Reduce) => match self.space(x) == self.space(y) {
                true => Kind::Reduce,
                false => return None,
            },
            (Kind::Map, Kind::Reduce) => self.with_map(y, x)?,
            (Kind::Reduce, Kind::Map) => self.with_map(x, y)?,
        };
        let fits = match kind {
            Kind::Rows => self.is_rows(x, y),
            // Stored as a map's are: four neighbours together.
            Kind::Operation => self.in_one_shape(x, y) && self.aligned(x, y),
            Kind::Map => self.aligned(x, y),
            _ => self.stores(kind, x, y) && self.aligned(x, y),
        };
        let small = || x.ops(self.graph) + y.ops(self.graph) <= self.max_ops;
        (fits && small() && self.buffers(x, y) <= self.max_buffers).then_some(kind)
    }

    /// What becomes of a reduction and an island: an epilogue, or rows.
    fn with_map(&self, reduction: &Group, map: &Group) -> Option<Kind> {
        let space = self.space(reduction)?;
        let shape = &self.graph.items[*map.members.first()?].shape;
        Some(match space.level(shape)? {
            Level::Element if space.is_worth_rows(self.max_bytes) => Kind::Rows,
            _ => Kind::Reduce,
        })
    }

    fn space(&self, group: &Group) -> Option<Space> {
        space(self.graph, group)
    }

    /// Whether what maps over an operation's result does so in one shape.
    fn in_one_shape(&self, x: &Group, y: &Group) -> bool {
        let of = |group: &Group| {
            let items = group.members.iter().map(|&i| &self.graph.items[i]);
            let mut maps = items.filter(|item| matches!(item.op, Op::Map(_)));
            maps.next().map(|item| &item.shape)
        };
        match (of(x), of(y)) {
            (Some(a), Some(b)) => alike(a, b),
            _ => true,
        }
    }

    /// Whether a reduction or a product can store the results of both.
    fn stores(&self, kind: Kind, x: &Group, y: &Group) -> bool {
        // A product's elements are computed at their own places, sums elsewhere.
        let placed = kind == Kind::MatMul;
        x.members.iter().chain(&y.members).all(|&i| {
            let item = &self.graph.items[i];
            let positional = matches!(item.op, Op::Map(op) if op.is_positional());
            !is_packed(item.dtype) && (placed || !positional)
        })
    }

    /// Whether both together are a kernel of rows: everything in it stands in the space of its
    /// reductions, whose rows are whole.
    fn is_rows(&self, x: &Group, y: &Group) -> bool {
        let (a, b) = (self.space(x), self.space(y));
        let space = match (a, b) {
            (Some(a), Some(b)) if a == b => a,
            (Some(space), None) | (None, Some(space)) => space,
            _ => return false,
        };
        let whole_quads = space.length().is_multiple_of(4);
        let inside = |p: usize| self.is_in(p, x) || self.is_in(p, y);
        let level = |p: usize| match self.graph.items[p].op {
            Op::Map(_) => space.level(&self.graph.items[p].shape),
            _ => Some(Level::Row),
        };
        let fits = |i: usize| {
            let item = &self.graph.items[i];
            let level_here = level(i);
            let operands = item.inputs.iter().all(|input| match input {
                Input::Item(p, layout) if inside(*p) => match (level_here, level(*p)) {
                    (Some(Level::Element), Some(Level::Row)) => space.repeats(layout),
                    (Some(Level::Row), Some(Level::Element)) => {
                        matches!(item.op, Op::Reduce { .. }) && layout.is_whole()
                    }
                    _ => matches!(item.op, Op::Map(_)) && layout.is_whole(),
                },
                _ => true,
            });
            let stored =
                !is_packed(item.dtype) || level_here == Some(Level::Element) && whole_quads;
            let ordered = match &item.op {
                Op::Reduce { perm, .. } => perm.iter().enumerate().all(|(d, &p)| d == p as usize),
                _ => true,
            };
            level_here.is_some() && operands && stored && ordered
        };
        let folds = x.all().chain(y.all());
        let folds = folds.filter(|&i| matches!(self.graph.items[i].op, Op::Reduce { .. }));
        folds.count() <= MOST_FOLDS
            && space.is_worth_rows(self.max_bytes)
            && x.all().chain(y.all()).all(fits)
    }

    /// Whether every node of the merged group finds the values of the others at its own place: an
    /// elementwise node may read another only whole, and what a reduction or a product reads comes
    /// from outside (or is its own prologue).
    fn aligned(&self, x: &Group, y: &Group) -> bool {
        let inside = |i: usize| self.is_in(i, x) || self.is_in(i, y);
        let whole = |i: usize| {
            let item = &self.graph.items[i];
            item.inputs.iter().all(|input| match input {
                Input::Item(p, _) if inside(*p) => {
                    matches!(item.op, Op::Map(_)) && self.whole_operand(input, i).is_some()
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
        let mut pairs = x
            .members
            .iter()
            .flat_map(|&i| y.members.iter().map(move |&j| (i, j)));
        pairs.all(|(i, j)| self.are_results(i, j))
    }

    /// Whether these are two results of one operation.
    fn are_results(&self, i: usize, j: usize) -> bool {
        let of = |i: usize| match &self.graph.items[i] {
            Item {
                op: Op::Operation { op, part },
                inputs,
                ..
            } => Some((op, inputs, *part)),
            _ => None,
        };
        match (of(i), of(j)) {
            (Some((p, a, one)), Some((q, b, other))) => one != other && a == b && p == q,
            _ => false,
        }
    }

    /// Whether no other result of the operation of item `i` is wanted by a kernel that it would share.
    fn is_only_result(&self, i: usize) -> bool {
        let near = i.saturating_sub(LOOK_BACK)..self.graph.items.len().min(i + LOOK_BACK + 1);
        !near.into_iter().any(|j| self.are_results(i, j))
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

    /// Lets a reduction run beside another over the same space that reads what it reads, or what that was computed
    /// of: the gradients of a norm's weight and bias.
    fn join_alike(&mut self, r: usize) {
        let own = self.of[r];
        let read = self.operands(own);
        let nearest = read.iter().flat_map(|&p| self.operands(self.of[p]));
        let read: Vec<usize> = read.iter().copied().chain(nearest).collect();
        let users = read.iter().flat_map(|&p| self.users[p].iter().copied());
        let mut others: Vec<usize> = users.filter(|&u| u < r).map(|u| self.of[u]).collect();
        others.sort_unstable();
        others.dedup();
        for g in others {
            if self.get(g).is_some_and(|g| g.kind == Kind::Reduce) {
                self.try_merge(g, self.of[r]);
            }
        }
    }

    /// The items that a group reads, each as often as it does.
    fn operands(&self, g: usize) -> Vec<usize> {
        let items = self.get(g).into_iter().flat_map(Group::all);
        let inputs = items.flat_map(|i| &self.graph.items[i].inputs);
        let operands = inputs.filter_map(|input| match input {
            Input::Item(p, _) => Some(*p),
            _ => None,
        });
        operands.collect()
    }
}

/// Whether an elementwise node only passes its operand on, so that no instruction is needed.
pub(crate) fn is_alias(op: MapOp) -> bool {
    op == MapOp::Copy
}
