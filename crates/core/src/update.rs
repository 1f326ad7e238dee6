//! The step of an optimizer as a run sees it: buffers, gradients that must be copied, numbers.

pub(crate) mod arena;
mod reference;
mod rule;

use std::collections::HashMap;
use std::sync::Arc;

use crate::kernel::backend::{Binding, Buffer};
use crate::kernel::{Control, Kernel, ScalarBits};
use crate::record::node::{Node, State};
use crate::tensor::device::Open;
use crate::types::dtype::DType;
use crate::types::error::{Error, Result};

pub use rule::UpdateRule;

/// What a buffer of an arena holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Role {
    Param,
    Target,
    Grad,
    State(usize),
}

/// A copy into the gradient arena.
pub(crate) struct GradCopy<'a> {
    pub node: &'a Arc<Node>,
    pub offset: usize,
    pub bytes: usize,
}

/// A step of one arena, as a run sees it.
pub(crate) struct ArenaUpdate {
    pub rule: UpdateRule,
    pub dtype: DType,
    pub bytes: usize,
    pub param: Buffer,
    pub grad: Buffer,
    pub states: Vec<Buffer>,
    /// Current values of all parameters of the arena.
    pub values: Vec<Arc<Node>>,
    /// Gradient node, offset and bytes of the parameters that have one.
    pub grads: Vec<(Arc<Node>, usize, usize)>,
    /// For each gradient whether it is computed in place.
    pub placed: Vec<bool>,
    pub scalars: Vec<ScalarBits>,
    pub segments: usize,
    /// Flag and numbers of the segments, where the device decides.
    pub control: Option<Arc<Node>>,
    /// Whether someone holds an old value, so that the result goes to a new buffer.
    pub fresh: bool,
    pub target: Option<Buffer>,
}

/// What a run does after its nodes: the step of an optimizer.
pub(crate) struct Update {
    pub arenas: Vec<ArenaUpdate>,
}

impl ArenaUpdate {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn scalar_count(&self) -> usize {
        self.scalars.len()
    }

    /// The buffers by role, with their numbers.
    pub fn roles(&self) -> Vec<(Role, u64)> {
        let mut roles = vec![(Role::Param, self.param.id()), (Role::Grad, self.grad.id())];
        if let Some(target) = &self.target {
            roles.push((Role::Target, target.id()));
        }
        let states = self.states.iter().enumerate();
        roles.extend(states.map(|(i, buffer)| (Role::State(i), buffer.id())));
        roles
    }

    /// Gradients that lie elsewhere.
    pub fn copies(&self) -> impl Iterator<Item = GradCopy<'_>> {
        self.grads
            .iter()
            .zip(&self.placed)
            .filter(|((_, _, bytes), placed)| !**placed && *bytes > 0)
            .map(|((node, offset, bytes), _)| GradCopy {
                node,
                offset: *offset,
                bytes: *bytes,
            })
    }

    /// The kernel over the plan's buffers.
    pub fn kernel(&self, buffers: &HashMap<Role, usize>, control: Option<usize>) -> Option<Kernel> {
        if control.is_none() != self.control.is_none() {
            return None;
        }
        let (&param, &grad) = (buffers.get(&Role::Param)?, buffers.get(&Role::Grad)?);
        let target = buffers.get(&Role::Target).copied().unwrap_or(param);
        let states = (0..self.states.len()).map(|i| buffers.get(&Role::State(i)).copied());
        Some(Kernel::Update {
            name: self.rule.name(),
            program: self.rule.program(self.dtype),
            compiled: self.rule.compiled().clone(),
            len: self.bytes / self.dtype.size(),
            param,
            target,
            grad,
            states: states.collect::<Option<_>>()?,
            segments: self.segments,
            control: control.map(|buffer| Control {
                buffer,
                numbers: self.rule.numbers(),
            }),
        })
    }
}

impl Update {
    pub fn arenas(&self) -> &[ArenaUpdate] {
        &self.arenas
    }

    /// The nodes whose results the update uses.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.arenas.iter().flat_map(|a| {
            let grads = a.grads.iter().map(|(grad, _, _)| grad);
            a.values.iter().chain(grads).chain(&a.control)
        })
    }

    /// Why a value or a gradient cannot be computed, if one is no part of the run.
    pub fn error(&self, is_part: impl Fn(&Arc<Node>) -> bool) -> Option<Error> {
        let missing = self.nodes().find(|node| !is_part(node))?;
        Some(match &*missing.state() {
            State::Failed(error) => error.clone(),
            _ => Error::Device("a run was interrupted by a panic".into()),
        })
    }

    /// Finds out whether old values are still held by others.
    pub fn resolve(&mut self, held: impl Fn(&Arc<Node>) -> bool) {
        for arena in &mut self.arenas {
            arena.fresh = arena.values.iter().any(&held);
        }
    }

    /// The places of the gradients, buffer and offset, and what each is filled with.
    pub fn places(&self) -> impl Iterator<Item = (u64, usize, &Arc<Node>)> {
        self.arenas.iter().flat_map(|arena| {
            let buffer = arena.grad.id();
            let grads = arena.grads.iter();
            grads.map(move |(grad, offset, _)| (buffer, *offset, grad))
        })
    }

    /// Finds out which gradients are computed in their place; `home` gives the buffer and offset
    /// of a gradient that lies in an arena. That may be another optimizer's arena, or another
    /// parameter's part: those are copied.
    pub fn locate(&mut self, home: impl Fn(&Arc<Node>) -> Option<(u64, usize)>) {
        for arena in &mut self.arenas {
            let own = arena.grad.id();
            arena.placed = arena
                .grads
                .iter()
                .map(|(grad, offset, _)| home(grad) == Some((own, *offset)))
                .collect();
        }
    }

    /// Allocates new parameter buffers where old values must stay.
    pub fn reserve(&mut self, open: &Open) -> Result<()> {
        for arena in self.arenas.iter_mut().filter(|a| a.fresh) {
            arena.target = Some(open.backend.allocate(arena.bytes)?);
        }
        Ok(())
    }

    pub fn binding(&self, arena: usize, role: Role) -> Option<Binding> {
        let arena = self.arenas.get(arena)?;
        let buffer = match role {
            Role::Param => &arena.param,
            Role::Grad => &arena.grad,
            Role::Target => arena.target.as_ref()?,
            Role::State(i) => arena.states.get(i)?,
        };
        Some(Binding {
            buffer: buffer.clone(),
            offset: 0,
        })
    }

    pub fn push_scalars(&self, scalars: &mut Vec<ScalarBits>) {
        for arena in &self.arenas {
            scalars.extend_from_slice(&arena.scalars);
        }
    }

    /// What the plan depends on.
    pub fn write_key(
        &self,
        key: &mut Vec<u64>,
        index: impl Fn(&Arc<Node>) -> Option<u32>,
        mut allocation: impl FnMut(u64) -> u64,
    ) {
        for arena in &self.arenas {
            let fresh = u64::from(arena.fresh);
            key.push(1 << 62 | fresh << 4 | arena.dtype as u64);
            key.extend_from_slice(arena.rule.key());
            key.extend([arena.bytes as u64, arena.segments as u64]);
            let control = arena.control.as_ref();
            key.push(control.map_or(0, |node| 1 + u64::from(index(node).unwrap_or(u32::MAX))));
            key.extend([allocation(arena.param.id()), allocation(arena.grad.id())]);
            for ((grad, offset, bytes), placed) in arena.grads.iter().zip(&arena.placed) {
                let at = u64::from(index(grad).unwrap_or(u32::MAX));
                key.extend([at << 1 | u64::from(*placed), *offset as u64, *bytes as u64]);
            }
        }
    }
}
