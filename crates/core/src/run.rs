//! Running what has been recorded: collecting the pending nodes, finding or making their plan,
//! binding buffers, and replaying.

mod collect;
mod key;

use std::sync::Arc;

use self::collect::{Collected, LEAF, Taken, collect};
use crate::fusion::graph::{Graph, Input, Item, ScalarRef};
use crate::kernel::backend::{Binding, Executable};
use crate::kernel::{Plan, ScalarBits};
use crate::operation::{AnyOperation, Spec};
use crate::plan::{self, Place as BufferPlace, Planned};
use crate::record::node::{Node, Op, Source, State, Storage};
use crate::record::pending;
use crate::tensor::device::{Device, FaultSite, Open, lock};
use crate::types::error::{Error, Result};
use crate::types::hash::NumberMap;
use crate::update::Update;

/// Plans kept per device.
const MAX_PLANS: usize = 256;

/// A device's planner: the cache of plans, and scratch memory for finding them.
#[derive(Default)]
pub(crate) struct Runner {
    /// Numbers the runs; marks on nodes carry it.
    stamp: u32,
    plans: NumberMap<u64, Vec<Cached>>,
    cached: usize,
    hits: u64,
    misses: u64,
    clock: u64,
    key: Vec<u64>,
}

struct Cached {
    key: Box<[u64]>,
    operations: Box<[AnyOperation]>,
    ready: Arc<Ready>,
    used: u64,
}

/// A plan made ready, and how a run's nodes bind to it.
struct Ready {
    executable: Box<dyn Executable>,
    planned: Planned,
}

impl Runner {
    pub fn plan_counts(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }

    /// Drops all plans; those that run now end with their runs.
    pub fn forget(&mut self) {
        self.plans.clear();
        self.cached = 0;
    }

    fn find(&mut self, hash: u64, c: &Collected) -> Option<Arc<Ready>> {
        self.clock += 1;
        let clock = self.clock;
        let key = &self.key;
        let hit =
            self.plans.get_mut(&hash)?.iter_mut().find(|known| {
                *known.key == **key && known.operations.iter().eq(key::operations(c))
            })?;
        hit.used = clock;
        Some(hit.ready.clone())
    }

    fn keep(&mut self, hash: u64, c: &Collected, ready: Arc<Ready>) {
        if self.cached >= MAX_PLANS {
            let oldest = self
                .plans
                .values()
                .flatten()
                .map(|c| c.used)
                .min()
                .unwrap_or(0);
            self.plans.retain(|_, bucket| {
                bucket.retain(|c| c.used != oldest);
                !bucket.is_empty()
            });
            self.cached = self.plans.values().map(Vec::len).sum();
        }
        let cached = Cached {
            key: self.key.as_slice().into(),
            operations: key::operations(c).cloned().collect(),
            ready,
            used: self.clock,
        };
        self.plans.entry(hash).or_default().push(cached);
        self.cached += 1;
    }
}

/// Runs what this thread has recorded on `device`, what `targets` need from other threads, and
/// then the optimizer's update. Returns when the work is submitted.
///
/// A result that is larger than the device takes fails alone if it is asked for or cannot be done
/// without, and stays pending where only a handle holds it. On an error no kernel has run, and no
/// variable has changed; every node of the run has failed with the error, unless it is that of a
/// gradient, without which there is no update: then all stay pending.
pub(crate) fn run(
    device: &Device,
    targets: &[&Arc<Node>],
    mut update: Option<&mut Update>,
) -> Result<()> {
    let open = device.open()?;
    let mut runner = lock(&open.runner);
    let list = pending::take(device);
    let limits = open.backend.limits();
    let (collected, outcome) = loop {
        let mut collected = collect(&mut runner, &list, targets, update.as_deref(), limits);
        if collected.items.is_empty() && update.is_none() {
            pending::give_back(device, list);
            return Ok(());
        }
        let failed = |u: &Update| u.error(|node| collected.index(node).is_some());
        if let Some(error) = update.as_deref().and_then(failed) {
            // There is nothing to step with; what else is pending may run later.
            collected.fail(open, &[]);
            pending::put_back(device, list);
            return Err(error);
        }
        match execute(device, open, &mut runner, &mut collected, &mut update) {
            // What is too large fails alone, and the rest runs.
            Err(Failure::Oversized(items)) => collected.fail(open, &items),
            Err(Failure::Run(error)) => break (collected, Err(error)),
            Ok(stored) => break (collected, Ok(stored)),
        }
    };
    pending::give_back(device, list);
    for (i, item) in collected.items.into_iter().enumerate() {
        let state = match &outcome {
            Ok(stored) => match &stored[i] {
                Some(storage) => State::Done(storage.clone()),
                None if item.put_off => State::Pending(item.recipe),
                // An inner result that nobody can ask for.
                None => State::Failed(Error::Device(
                    "the value of an inner result was not kept".into(),
                )),
            },
            Err(error) => State::Failed(error.clone()),
        };
        *item.node.state() = state;
    }
    outcome.map(drop)
}

/// Why a run does not take place.
enum Failure {
    Run(Error),
    /// The results of these items are larger than the device takes.
    Oversized(Vec<usize>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Run(error)
    }
}

/// Plans or replays, and submits. Returns where each item's result lies.
fn execute(
    device: &Device,
    open: &Open,
    runner: &mut Runner,
    c: &mut Collected,
    update: &mut Option<&mut Update>,
) -> Result<Vec<Option<Storage>>, Failure> {
    if let Some(update) = update {
        // Parameters whose old value someone else still holds are written elsewhere.
        update.resolve(|node| {
            let uses = match c.index(node) {
                Some(mark) if mark & LEAF != 0 => 1 + c.leaves[(mark & !LEAF) as usize].uses,
                _ => 0,
            };
            // The update's own handle, the variable's, and those of this run.
            Arc::strong_count(node) > 2 + uses
        });
        // A result must not take a place that the update itself fills with something else.
        let takers: NumberMap<(u64, usize), u32> = update
            .places()
            .filter_map(|(buffer, offset, grad)| Some(((buffer, offset), c.index(grad)?)))
            .collect();
        for (i, item) in c.items.iter_mut().enumerate() {
            if let Some(place) = item.tenancy.as_ref().map(|t| t.place())
                && takers.get(&place).is_some_and(|&taker| taker != i as u32)
            {
                item.tenancy = None;
            }
        }
        update.locate(|node| {
            let tenancy = match c.index(node)? {
                mark if mark & LEAF == 0 => c.items[mark as usize].tenancy.as_ref(),
                mark => c.leaves[(mark & !LEAF) as usize].storage.tenancy.as_ref(),
            };
            tenancy.map(|t| t.place())
        });
        update.reserve(open)?;
    }
    let mut key = std::mem::take(&mut runner.key);
    key.clear();
    key::write(&mut key, c, update.as_deref());
    runner.key = key;
    let hash = key::hash(&runner.key);
    let ready = match runner.find(hash, c) {
        Some(ready) => {
            runner.hits += 1;
            ready
        }
        None => {
            runner.misses += 1;
            let graph = graph(c);
            let limits = open.backend.limits();
            let planned = plan::build(
                &graph,
                open.fusion,
                limits,
                |op| open.backend.takes_epilogue(op),
                update.as_deref(),
                |node| c.index(node),
            );
            if !planned.oversized.is_empty() {
                return Err(Failure::Oversized(planned.oversized));
            }
            tracing::debug!(
                device = open.backend.name(),
                nodes = c.items.len(),
                launches = planned.plan.launches.len(),
                bytes = planned.bytes,
                live = planned.live,
                "planned"
            );
            let compiled = open.backend.compile(&planned.plan);
            let executable = compiled.map_err(|error| located(open, &planned, c, error))?;
            let ready = Arc::new(Ready {
                executable,
                planned,
            });
            runner.keep(hash, c, ready.clone());
            ready
        }
    };
    Ok(submit(device, open, &ready, c, update.as_deref())?)
}

/// A kernel that the device refuses, with the line that recorded it.
fn located(open: &Open, planned: &Planned, c: &Collected, error: Error) -> Error {
    let Error::Device(problem) = &error else {
        return error;
    };
    let plan = &planned.plan;
    let refused = plan.launches.iter().zip(&planned.origins);
    let refused = refused.into_iter().find(|(launch, _)| {
        let alone = Plan {
            buffers: plan.buffers.clone(),
            launches: vec![(*launch).clone()],
        };
        open.backend.compile(&alone).is_err()
    });
    match refused {
        Some((_, &origin)) => {
            let place = c.items[origin].node.place;
            Error::Device(format!("{problem} ({place})"))
        }
        None => error,
    }
}

/// Binds buffers and scalars, and runs.
fn submit(
    device: &Device,
    open: &Open,
    ready: &Ready,
    c: &Collected,
    update: Option<&Update>,
) -> Result<Vec<Option<Storage>>> {
    let planned = &ready.planned;
    let mut stored: Vec<Option<Storage>> = vec![None; c.items.len()];
    let mut bindings = Vec::with_capacity(planned.places.len());
    for (place, spec) in planned.places.iter().zip(&planned.plan.buffers) {
        bindings.push(match *place {
            BufferPlace::Leaf(leaf) => {
                let storage = &c.leaves[leaf].storage;
                Binding {
                    buffer: storage.buffer.clone(),
                    offset: storage.offset,
                }
            }
            BufferPlace::Root(item) => {
                let storage = match &c.items[item].tenancy {
                    Some(tenancy) => Storage {
                        buffer: tenancy.0.buffer.clone(),
                        offset: tenancy.0.offset,
                        tenancy: Some(tenancy.clone()),
                    },
                    None => Storage {
                        buffer: open.backend.allocate(spec.bytes.max(16))?,
                        offset: 0,
                        tenancy: None,
                    },
                };
                let binding = Binding {
                    buffer: storage.buffer.clone(),
                    offset: storage.offset,
                };
                stored[item] = Some(storage);
                binding
            }
            BufferPlace::Inner => Binding {
                buffer: open.backend.allocate(spec.bytes.max(16))?,
                offset: 0,
            },
            BufferPlace::Arena(arena, role) => match update.and_then(|u| u.binding(arena, role)) {
                Some(binding) => binding,
                None => return Err(Error::Device("an optimizer's arena is missing".into())),
            },
        });
    }
    let mut scalars: Vec<ScalarBits> = Vec::with_capacity(planned.scalars.len());
    for ScalarRef { item, input, dtype } in &planned.scalars {
        scalars.push(
            match &c.items[*item as usize].recipe.inputs[*input as usize] {
                Source::Scalar(value, _) => value.bits(*dtype),
                Source::Node(..) => ScalarBits(0),
            },
        );
    }
    if let Some(update) = update {
        update.push_scalars(&mut scalars);
    }
    let sites = planned
        .faults
        .iter()
        .map(|&item| site(&c.items[item]))
        .collect::<Vec<_>>();
    let codes = if sites.is_empty() {
        Vec::new()
    } else {
        device.fault_codes(sites)
    };
    ready.executable.run(&bindings, &scalars, &codes)?;
    Ok(stored)
}

/// How a launch's bad index is reported.
fn site(item: &Taken) -> FaultSite {
    let spec = |input: &Source| match input {
        Source::Node(node, view) => Some(Spec::new(&view.layout(node).shape, node.dtype)),
        Source::Scalar(..) => None,
    };
    let (op, size) = match &item.recipe.op {
        Op::Operation { op, .. } => {
            let specs: Vec<Spec> = item.recipe.inputs.iter().filter_map(spec).collect();
            (op.called(), op.index_range(&specs).unwrap_or(0))
        }
        _ => ("index", 0),
    };
    FaultSite {
        op,
        size,
        place: item.node.place,
        thread: std::thread::current().id(),
    }
}

/// The run as the planner sees it.
fn graph(c: &Collected) -> Graph {
    let items = c.items.iter().enumerate().map(|(i, taken)| Item {
        origin: i,
        op: taken.recipe.op.clone(),
        inputs: taken
            .recipe
            .inputs
            .iter()
            .enumerate()
            .map(|(j, input)| match input {
                Source::Scalar(_, dtype) => Input::Scalar(ScalarRef {
                    item: i as u32,
                    input: j as u32,
                    dtype: *dtype,
                }),
                Source::Node(node, view) => {
                    let layout = view.layout(node).clone();
                    match c.index(node) {
                        Some(mark) if mark & LEAF == 0 => Input::Item(mark as usize, layout),
                        Some(mark) => Input::Leaf((mark & !LEAF) as usize, layout),
                        // Every operand was visited.
                        None => Input::Leaf(0, layout),
                    }
                }
            })
            .collect(),
        shape: taken.node.shape().clone(),
        dtype: taken.node.dtype,
        root: taken.root,
        home: taken.tenancy.as_ref().map(|t| t.0.buffer.id()),
    });
    Graph {
        items: items.collect(),
        leaves: c
            .leaves
            .iter()
            .map(|leaf| (leaf.node.dtype, leaf.node.bytes(), leaf.storage.buffer.id()))
            .collect(),
    }
}
