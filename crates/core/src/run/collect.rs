//! Which nodes a run consists of, and what it begins with.

use std::sync::{Arc, Weak};

use super::Runner;
use crate::kernel::backend::Limits;
use crate::record::node::{Node, Op, Recipe, Source, State, Storage, Tenancy};
use crate::tensor::device::Open;
use crate::types::error::Error;
use crate::update::Update;

/// A node of the run, with its recipe taken out.
pub(super) struct Taken {
    pub(super) node: Arc<Node>,
    pub(super) recipe: Recipe,
    /// How many operands of this run's nodes it is.
    pub(super) uses: usize,
    pub(super) root: bool,
    /// Whether it is too large to be stored, and pending again after the run.
    pub(super) put_off: bool,
    /// The place in an arena that the result goes into.
    pub(super) tenancy: Option<Arc<Tenancy>>,
}

/// A value from before the run.
pub(super) struct Leaf {
    pub(super) node: Arc<Node>,
    pub(super) storage: Storage,
    pub(super) uses: usize,
}

/// Leaves are marked with this bit.
pub(super) const LEAF: u32 = 1 << 31;

pub(super) struct Collected {
    pub(super) stamp: u32,
    pub(super) items: Vec<Taken>,
    pub(super) leaves: Vec<Leaf>,
}

/// Takes the recipes of all pending nodes that the run consists of, operands before users.
pub(super) fn collect(
    runner: &mut Runner,
    list: &[Weak<Node>],
    targets: &[&Arc<Node>],
    update: Option<&Update>,
    limits: &Limits,
) -> Collected {
    runner.stamp = runner.stamp.wrapping_add(1).max(1);
    let mut c = Collected {
        stamp: runner.stamp,
        items: Vec::with_capacity(list.len()),
        leaves: Vec::new(),
    };
    for weak in list {
        if let Some(node) = weak.upgrade() {
            c.visit(node);
        }
    }
    for &node in targets {
        c.visit(node.clone());
    }
    for node in update.into_iter().flat_map(Update::nodes) {
        c.visit(node.clone());
    }
    c.put_off(limits, targets);
    for i in 0..c.items.len() {
        let external = Arc::strong_count(&c.items[i].node) > 1 + c.items[i].uses;
        c.items[i].root |= external && !c.items[i].put_off;
        if c.items[i].root
            && let Some(home) = c.items[i].node.home.get().and_then(Weak::upgrade)
            && home.bytes == c.items[i].node.bytes()
        {
            c.items[i].tenancy = home.claim();
        }
    }
    c
}

impl Collected {
    /// Adds a pending node after its pending operands, without recursion.
    fn visit(&mut self, node: Arc<Node>) {
        if node.mark(self.stamp).is_some() {
            return;
        }
        let Some(recipe) = self.enter(&node) else {
            return;
        };
        // In the order of recording, which is the usual one, operands came before.
        let inputs = recipe.inputs.iter();
        let first = inputs.take_while(|input| self.is_ready(input)).count();
        if first == recipe.inputs.len() {
            return self.leave(node, recipe);
        }
        let mut stack: Vec<(Arc<Node>, Recipe, usize)> = vec![(node, recipe, first)];
        while let Some((_, recipe, next)) = stack.last_mut() {
            if let Some(input) = recipe.inputs.get(*next) {
                *next += 1;
                if let Source::Node(operand, _) = input {
                    let operand = operand.clone();
                    if operand.mark(self.stamp).is_none()
                        && let Some(recipe) = self.enter(&operand)
                    {
                        stack.push((operand, recipe, 0));
                    }
                }
                continue;
            }
            let Some((node, recipe, _)) = stack.pop() else {
                break;
            };
            self.leave(node, recipe);
        }
    }

    /// Whether an operand is part of the run already, or becomes a leaf of it here.
    fn is_ready(&mut self, input: &Source) -> bool {
        let Source::Node(operand, _) = input else {
            return true;
        };
        if operand.mark(self.stamp).is_some() {
            return true;
        }
        let state = operand.state();
        match &*state {
            State::Done(storage) => {
                self.add_leaf(operand, storage.clone());
                true
            }
            _ => false,
        }
    }

    fn add_leaf(&mut self, node: &Arc<Node>, storage: Storage) {
        node.set_mark(self.stamp, LEAF | self.leaves.len() as u32);
        self.leaves.push(Leaf {
            node: node.clone(),
            storage,
            uses: 0,
        });
    }

    /// Takes a pending node's recipe; a node that has run becomes a leaf.
    fn enter(&mut self, node: &Arc<Node>) -> Option<Recipe> {
        let mut state = node.state();
        match &*state {
            State::Pending(_) => {
                // Under way; a graph has no cycles, so nobody looks at the number yet.
                node.set_mark(self.stamp, u32::MAX);
                match std::mem::replace(&mut *state, State::Running) {
                    State::Pending(recipe) => Some(recipe),
                    _ => None,
                }
            }
            State::Done(storage) => {
                self.add_leaf(node, storage.clone());
                None
            }
            State::Failed(_) | State::Running => None,
        }
    }

    /// Counts the uses of a node's operands and appends it; a node with a failed operand fails.
    fn leave(&mut self, node: Arc<Node>, recipe: Recipe) {
        let failure = recipe.inputs.iter().find_map(|input| match input {
            Source::Node(operand, _) => match &*operand.state() {
                State::Failed(error) => Some(error.clone()),
                State::Running if operand.mark(self.stamp).is_none() => {
                    Some(Error::Device("a run was interrupted by a panic".into()))
                }
                _ => None,
            },
            Source::Scalar(..) => None,
        });
        if let Some(error) = failure {
            *node.state() = State::Failed(error);
            return;
        }
        for input in &recipe.inputs {
            if let Source::Node(operand, _) = input
                && let Some(mark) = operand.mark(self.stamp)
            {
                if mark & LEAF != 0 {
                    self.leaves[(mark & !LEAF) as usize].uses += 1;
                } else {
                    self.items[mark as usize].uses += 1;
                }
            }
        }
        node.set_mark(self.stamp, self.items.len() as u32);
        self.items.push(Taken {
            node,
            recipe,
            uses: 0,
            root: false,
            put_off: false,
            tenancy: None,
        });
    }

    /// Finds results that are too large to be stored but need not be: a handle holds them, nobody has
    /// asked for them. They take part in the run where others use them, and are pending again
    /// afterwards. What they are computed from is kept for that.
    fn put_off(&mut self, limits: &Limits, targets: &[&Arc<Node>]) {
        for i in (0..self.items.len()).rev() {
            let node = &self.items[i].node;
            if limits.exceeded_by(node.bytes()).is_none() {
                continue;
            }
            let external = Arc::strong_count(node) > 1 + self.items[i].uses;
            let asked_for = targets.iter().any(|target| Arc::ptr_eq(target, node));
            if asked_for || !(external || self.items[i].put_off) {
                continue;
            }
            self.items[i].put_off = true;
            for j in 0..self.items[i].recipe.inputs.len() {
                let Source::Node(operand, _) = &self.items[i].recipe.inputs[j] else {
                    continue;
                };
                let large = limits.exceeded_by(operand.bytes()).is_some();
                if let Some(mark) = operand.mark(self.stamp)
                    && mark & LEAF == 0
                {
                    let operand = &mut self.items[mark as usize];
                    operand.put_off |= large;
                    operand.root |= !large;
                }
            }
        }
    }

    /// Gives all recipes back but those of the oversized items, whose nodes fail.
    pub(super) fn fail(self, open: &Open, oversized: &[usize]) {
        let limits = open.backend.limits();
        for (i, item) in self.items.into_iter().enumerate() {
            let node = item.node;
            *node.state() = if oversized.contains(&i) {
                let bytes = node.bytes();
                let (limit, what) = limits.exceeded_by(bytes).unwrap_or((0, "buffer"));
                State::Failed(Error::TooLarge {
                    op: match &item.recipe.op {
                        Op::Map(op) => op.name(),
                        // Looked at when they were recorded.
                        _ => "run",
                    },
                    shape: node.shape().clone(),
                    bytes,
                    limit,
                    what,
                    place: node.place,
                })
            } else {
                State::Pending(item.recipe)
            };
        }
    }

    /// The mark of a node of this run.
    pub(super) fn index(&self, node: &Node) -> Option<u32> {
        node.mark(self.stamp)
    }
}
