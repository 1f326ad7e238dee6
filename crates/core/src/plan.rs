//! From groups to kernels: programs, operands, and where every result lies.

mod memory;
mod operation;
mod rows;
mod update;

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::fusion::graph::{Graph, Input, Item, ScalarRef};
use crate::fusion::{self, Group, Kind};
use crate::kernel::backend::Limits;
use crate::kernel::program::{Arg, Instr, MapOp, Program};
use crate::kernel::{Accumulator, BufferSpec, Kernel, Launch, Operand, Output, Plan};
use crate::operation::AnyOperation;
use crate::record::node::{Node, Op};
use crate::types::dtype::DType;
use crate::types::shape::Shape;
use crate::update::{Role, Update};

use memory::{Lifetimes, Shared};

/// What one of the plan's buffers is bound to when it runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Place {
    /// The storage of a leaf.
    Leaf(usize),
    /// A new buffer (or an arena's place) that becomes the result of an item.
    Root(usize),
    /// Memory for inner results.
    Inner,
    /// A buffer of the update's arena.
    Arena(usize, Role),
}

/// A plan and how a run binds to it.
pub(crate) struct Planned {
    pub plan: Plan,
    /// One per buffer of the plan.
    pub places: Vec<Place>,
    /// Where the nodes' scalars are found; the update's follow them.
    pub scalars: Vec<ScalarRef>,
    /// For each launch the node that it was made for; fewer than launches, as an update has none.
    pub origins: Vec<usize>,
    /// Items whose launches report bad indices, in the order of their codes.
    pub faults: Vec<usize>,
    /// Nodes whose results must be stored and are larger than the device takes. Then there is no plan.
    pub oversized: Vec<usize>,
    /// Bytes of the results, without leaves and arenas, and the most of them needed at one time.
    pub bytes: usize,
    pub live: usize,
}

/// Plans a run on a device that `takes_epilogue`s of some operations.
pub(crate) fn build(
    graph: &Graph,
    fusion: bool,
    limits: &Limits,
    takes_epilogue: impl Fn(&AnyOperation) -> bool,
    update: Option<&Update>,
    index: impl Fn(&Arc<Node>) -> Option<u32>,
) -> Planned {
    let graph = if fusion {
        let most = limits.max_kernel_buffers.saturating_sub(1);
        graph.clone().join_parts(most).hoist_factors()
    } else {
        graph.clone()
    };
    let groups = fusion::group(&graph, fusion, limits, &takes_epilogue);
    let mut planner = Planner::new(&graph, &groups, limits);
    for group in &groups {
        planner.launch(group);
    }
    if let Some(update) = update {
        planner.update(update, index);
    }
    Planned {
        plan: Plan {
            buffers: planner.buffers,
            launches: planner.launches,
        },
        places: planner.places,
        scalars: planner.scalars,
        origins: planner.origins,
        faults: planner.faults,
        oversized: planner.oversized,
        bytes: planner.shared.iter().map(|shared| shared.bytes).sum(),
        live: planner.live,
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    limits: &'a Limits,
    users: Vec<Vec<usize>>,
    /// The position in the order of groups of each item's group.
    group_of: Vec<usize>,
    /// The memory of each item that leaves its group.
    shared_of: HashMap<usize, usize>,
    shared: Vec<Shared>,
    /// The most bytes of results that are needed at one time.
    live: usize,
    /// The plan's buffer of each shared memory, once something is written to it.
    shared_buffers: Vec<Option<usize>>,
    /// The plan's buffer of each stored item.
    stored: Vec<Option<usize>>,
    leaf_buffers: HashMap<usize, usize>,
    /// Numbers of driver buffers that several of the plan's buffers may be parts of.
    allocations: HashMap<u64, usize>,
    next_allocation: usize,
    buffers: Vec<BufferSpec>,
    places: Vec<Place>,
    launches: Vec<Launch>,
    scalars: Vec<ScalarRef>,
    /// The node that the launches in the making are for.
    origin: usize,
    origins: Vec<usize>,
    faults: Vec<usize>,
    oversized: Vec<usize>,
}

/// Builds a program and collects its operands.
struct Builder {
    program: Program,
    operands: Vec<Operand>,
    scalars: Vec<ScalarRef>,
    /// Where the value of each item of the group is.
    values: HashMap<usize, Arg>,
}

impl Builder {
    fn new() -> Builder {
        Builder {
            program: Program::default(),
            operands: Vec::new(),
            scalars: Vec::new(),
            values: HashMap::new(),
        }
    }

    fn operand(&mut self, operand: Operand) -> Arg {
        let at = match self.operands.iter().position(|o| *o == operand) {
            Some(at) => at,
            None => {
                self.program.inputs.push(operand.dtype);
                self.operands.push(operand);
                self.operands.len() - 1
            }
        };
        Arg::Input(at as u16)
    }

    fn scalar(&mut self, scalar: ScalarRef) -> Arg {
        let at = match self.scalars.iter().position(|s| *s == scalar) {
            Some(at) => at,
            None => {
                self.program.scalars.push(scalar.dtype);
                self.scalars.push(scalar);
                self.scalars.len() - 1
            }
        };
        Arg::Scalar(at as u16)
    }

    fn accumulator(&mut self, dtype: DType) -> Arg {
        self.program.accumulators.push(dtype);
        Arg::Acc(self.program.accumulators.len() as u16 - 1)
    }
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph, groups: &[Group], limits: &'a Limits) -> Planner<'a> {
        let n = graph.items.len();
        let mut group_of = vec![0; n];
        for (at, group) in groups.iter().enumerate() {
            for i in group.all() {
                group_of[i] = at;
            }
        }
        let users = graph.users();
        let last_use: Vec<usize> = (0..n)
            .map(|i| {
                users[i]
                    .iter()
                    .map(|&u| group_of[u])
                    .max()
                    .unwrap_or(group_of[i])
            })
            .collect();
        let mut planner = Planner {
            graph,
            limits,
            users,
            group_of,
            shared_of: HashMap::new(),
            shared: Vec::new(),
            live: 0,
            shared_buffers: Vec::new(),
            stored: vec![None; n],
            leaf_buffers: HashMap::new(),
            allocations: HashMap::new(),
            next_allocation: 0,
            buffers: Vec::new(),
            places: Vec::new(),
            launches: Vec::new(),
            scalars: Vec::new(),
            origin: 0,
            origins: Vec::new(),
            faults: Vec::new(),
            oversized: Vec::new(),
        };
        planner.share(groups, &last_use);
        planner
    }

    /// Finds memory for all results.
    fn share(&mut self, groups: &[Group], last_use: &[usize]) {
        let lifetimes = Lifetimes::new(
            self.graph,
            groups,
            last_use,
            |i| self.leaves_group(i),
            |i| self.bytes(&self.graph.items[i]),
        );
        let (memory, shared) = memory::share(&lifetimes.all);
        self.shared_of = lifetimes
            .of
            .into_iter()
            .map(|(i, lifetime)| (i, memory[lifetime]))
            .collect();
        self.live = memory::most_live(&lifetimes.all);
        self.shared_buffers = vec![None; shared.len()];
        self.shared = shared;
    }

    /// A number for a driver buffer, or a fresh one for memory of its own.
    fn allocation(&mut self, id: Option<u64>) -> usize {
        if let Some(&known) = id.and_then(|id| self.allocations.get(&id)) {
            return known;
        }
        let new = self.next_allocation;
        self.next_allocation += 1;
        if let Some(id) = id {
            self.allocations.insert(id, new);
        }
        new
    }

    fn push_buffer(&mut self, bytes: usize, id: Option<u64>, place: Place) -> usize {
        let allocation = self.allocation(id);
        self.buffers.push(BufferSpec { bytes, allocation });
        self.places.push(place);
        self.buffers.len() - 1
    }

    fn leaf(&mut self, leaf: usize) -> usize {
        if let Some(&buffer) = self.leaf_buffers.get(&leaf) {
            return buffer;
        }
        let (_, bytes, id) = self.graph.leaves[leaf];
        let buffer = self.push_buffer(bytes.max(4), Some(id), Place::Leaf(leaf));
        self.leaf_buffers.insert(leaf, buffer);
        buffer
    }

    fn bytes(&self, item: &Item) -> usize {
        (item.shape.numel() * self.limits.size(item.dtype)).max(4)
    }

    /// The operand that an input from outside its group is.
    fn operand(&mut self, input: &Input) -> Option<Operand> {
        match input {
            Input::Item(p, layout) => Some(Operand {
                buffer: self.stored[*p]?,
                dtype: self.graph.items[*p].dtype,
                layout: layout.clone(),
            }),
            Input::Leaf(l, layout) => Some(Operand {
                buffer: self.leaf(*l),
                dtype: self.graph.leaves[*l].0,
                layout: layout.clone(),
            }),
            Input::Scalar(_) => None,
        }
    }

    /// Whether an item's result leaves its group.
    fn leaves_group(&self, i: usize) -> bool {
        self.graph.items[i].root
            || self.users[i]
                .iter()
                .any(|&u| self.group_of[u] != self.group_of[i])
    }

    /// The buffer of an item's result: a part of an arena, its own, or shared memory.
    fn output(&mut self, i: usize) -> Output {
        let item = &self.graph.items[i];
        if self.limits.exceeded_by(self.bytes(item)).is_some() {
            self.oversized.push(item.origin);
        }
        let buffer = match self.shared_of.get(&i) {
            Some(&shared) => self.shared_buffer(shared),
            None => self.push_buffer(self.bytes(item), item.home, Place::Root(item.origin)),
        };
        self.stored[i] = Some(buffer);
        Output {
            buffer,
            dtype: item.dtype,
        }
    }

    fn shared_buffer(&mut self, shared: usize) -> usize {
        if let Some(buffer) = self.shared_buffers[shared] {
            return buffer;
        }
        let memory = &self.shared[shared];
        let place = memory.kept.map_or(Place::Inner, Place::Root);
        let buffer = self.push_buffer(memory.bytes, None, place);
        self.shared_buffers[shared] = Some(buffer);
        buffer
    }

    fn push(&mut self, kernel: Kernel, scalars: &[&[ScalarRef]], fault: Option<usize>) {
        let start = self.scalars.len();
        for part in scalars {
            self.scalars.extend_from_slice(part);
        }
        let fault = fault.map(|item| {
            self.faults.push(self.graph.items[item].origin);
            self.faults.len() - 1
        });
        self.origins.push(self.origin);
        self.launches.push(Launch {
            kernel,
            scalars: start..self.scalars.len(),
            fault,
        });
    }

    fn launch(&mut self, group: &Group) {
        if let Some(&i) = group.members.first() {
            self.origin = self.graph.items[i].origin;
        }
        match group.kind {
            Kind::Map => self.map(group),
            Kind::Reduce => self.reduce(group),
            Kind::Rows => self.rows(group),
            Kind::MatMul => self.matmul(group),
            Kind::Operation | Kind::Alone => self.operation(group),
        }
    }

    /// Adds the elementwise items of a group to a program. Operands are views over the items' shape, from
    /// which `shape` differs in dimensions of size 1 at most; `perm` rearranges them for a reduction.
    fn elementwise(
        &mut self,
        builder: &mut Builder,
        members: &[usize],
        shape: &Shape,
        perm: Option<&[usize]>,
    ) {
        for &i in members {
            let item = &self.graph.items[i];
            let Op::Map(op) = item.op else { continue };
            let args: SmallVec<[Arg; 4]> = item
                .inputs
                .iter()
                .map(|input| match input {
                    Input::Scalar(scalar) => builder.scalar(*scalar),
                    Input::Item(p, _) if builder.values.contains_key(p) => builder.values[p],
                    other => match self.operand(other) {
                        Some(mut operand) => {
                            if let Some(layout) = operand.layout.reshape(shape) {
                                operand.layout = layout;
                            }
                            if let Some(perm) = perm {
                                operand.layout = operand.layout.permute(perm);
                            }
                            builder.operand(operand)
                        }
                        // Only if an operand came after its user.
                        None => Arg::Instr(0),
                    },
                })
                .collect();
            let value = if fusion::is_alias(op) {
                args[0]
            } else {
                let dtype = if op == MapOp::Cast {
                    item.dtype
                } else {
                    item.dtype.compute()
                };
                builder.program.instrs.push(Instr { op, dtype, args });
                Arg::Instr(builder.program.instrs.len() as u16 - 1)
            };
            builder.values.insert(i, value);
        }
    }

    /// Buffers and program outputs for the results of `members` that leave the group.
    fn outputs(&mut self, builder: &mut Builder, members: &[usize]) -> Vec<Output> {
        let mut outputs = Vec::new();
        for &i in members {
            if self.leaves_group(i) {
                outputs.push(self.output(i));
                builder
                    .program
                    .outputs
                    .push((builder.values[&i], self.graph.items[i].dtype));
            }
        }
        outputs
    }

    fn map(&mut self, group: &Group) {
        let mut builder = Builder::new();
        let shape = self.graph.items[group.members[0]].shape.clone();
        self.elementwise(&mut builder, &group.members, &shape, None);
        let outputs = self.outputs(&mut builder, &group.members);
        if shape.numel() == 0 || outputs.is_empty() {
            return;
        }
        let kernel = Kernel::Map {
            shape,
            inputs: builder.operands,
            program: builder.program,
            outputs,
        };
        self.push(kernel, &[&builder.scalars], None);
    }

    fn reduce(&mut self, group: &Group) {
        if let Some((kernel, scalars)) = self.reduction(&group.members, &group.prologue) {
            self.push(kernel, &[&scalars], None);
        }
    }

    /// The kernel of reductions over one space, and its scalars.
    fn reduction(
        &mut self,
        members: &[usize],
        prologue: &[(usize, Vec<usize>)],
    ) -> Option<(Kernel, Vec<ScalarRef>)> {
        let mut before = Builder::new();
        let mut after = Builder::new();
        let mut accumulators = Vec::new();
        let mut space = (Shape::default(), 0);
        for &i in members {
            let item = &self.graph.items[i];
            let Op::Reduce { op, reduced, perm } = &item.op else {
                continue;
            };
            let perm: Vec<usize> = perm.iter().map(|&d| d as usize).collect();
            let input = &item.inputs[0];
            if let Input::Item(_, layout) | Input::Leaf(_, layout) = input {
                space = (layout.shape.clone(), *reduced);
            }
            let inner = prologue.iter().find(|(r, _)| *r == i);
            let fed = match (inner, input) {
                (Some((_, inner)), Input::Item(p, _)) => {
                    let shape = self.graph.items[*p].shape.clone();
                    self.elementwise(&mut before, inner, &shape, Some(&perm));
                    before.values[p]
                }
                (_, input) => match self.operand(input) {
                    Some(operand) => before.operand(operand),
                    None => Arg::Input(0),
                },
            };
            let dtype = before.program.dtype_of(fed);
            before.program.outputs.push((fed, dtype));
            accumulators.push(Accumulator { op: *op, dtype });
            let result = after.accumulator(Accumulator { op: *op, dtype }.result());
            after.values.insert(i, result);
        }
        let (shape, reduced) = space;
        let kept = Shape::new(&shape[..shape.rank() - reduced]);
        self.elementwise(&mut after, members, &kept, None);
        let outputs = self.outputs(&mut after, members);
        if kept.numel() == 0 || outputs.is_empty() {
            return None;
        }
        let kernel = Kernel::Reduce {
            shape,
            reduced,
            inputs: before.operands,
            prologue: before.program,
            accumulators,
            epilogue_inputs: after.operands,
            epilogue: after.program,
            outputs,
        };
        let mut scalars = before.scalars;
        scalars.extend(after.scalars);
        Some((kernel, scalars))
    }

    fn matmul(&mut self, group: &Group) {
        let product = |&i: &usize| match self.graph.items[i].op {
            Op::MatMul(contraction) => Some((i, contraction)),
            _ => None,
        };
        let Some((anchor, contraction)) = group.members.iter().find_map(product) else {
            return;
        };
        let item = &self.graph.items[anchor];
        let (Some(a), Some(b)) = (self.operand(&item.inputs[0]), self.operand(&item.inputs[1]))
        else {
            return;
        };
        let [batch, m, n, k] = contraction.sizes(&a.layout.shape, &b.layout.shape);
        let shape: Shape = [&batch, &m, &n]
            .into_iter()
            .flat_map(|dims| dims.iter().copied())
            .collect();
        let mut after = Builder::new();
        let product = after.accumulator(item.dtype);
        after.values.insert(anchor, product);
        self.elementwise(&mut after, &group.members, &shape, None);
        let outputs = self.outputs(&mut after, &group.members);
        let sums = match &group.sums {
            Some(members) => self.reduction(members, &[]),
            None => None,
        };
        if item.shape.numel() == 0 || outputs.is_empty() {
            if let Some((kernel, scalars)) = sums {
                self.push(kernel, &[&scalars], None);
            }
            return;
        }
        let (sums, sum_scalars) = sums.unzip();
        let kernel = Kernel::MatMul {
            batch,
            m,
            n,
            k,
            a,
            b,
            epilogue_inputs: after.operands,
            epilogue: after.program,
            outputs,
            sums: sums.map(Box::new),
        };
        let sum_scalars = sum_scalars.unwrap_or_default();
        self.push(kernel, &[&after.scalars, &sum_scalars], None);
    }
}
