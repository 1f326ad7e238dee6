//! Optimizer steps: parameters, gradients and moments in arenas, so that one kernel updates all.
//!
//! Each optimizer lays its parameters of one type out in arenas, one buffer per role (parameters,
//! gradients, moments). Backward computes gradients straight into their place; what lies elsewhere
//! is copied first, and counted. A parameter's old value that somebody still holds is never
//! overwritten: the step then writes a new arena.

use std::collections::HashMap;
use std::sync::Arc;

use crate::autograd::no_grad;
use crate::backend::{Binding, Buffer};
use crate::device::{Device, Open};
use crate::dtype::DType;
use crate::error::{Error, Place, Result};
use crate::kernel::{Kernel, ScalarBits};
use crate::node::{Home, Node, State, Storage};
use crate::run;
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::variable::{Variable, whole};

/// Which update a step applies. Numbers (learning rate and so on) are data of each step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UpdateRule {
    /// Adam and AdamW: see [`Kernel::Adam`].
    Adam {
        /// Weight decay apart from the gradient (AdamW).
        decoupled: bool,
        /// Keep the maximum of the second moments.
        amsgrad: bool,
        /// Ascend.
        maximize: bool,
    },
    /// Stochastic gradient descent: see [`Kernel::Sgd`].
    Sgd {
        /// Whether there is a momentum buffer.
        momentum: bool,
        /// Nesterov's form.
        nesterov: bool,
        /// Ascend.
        maximize: bool,
    },
}

impl UpdateRule {
    /// The states kept per element.
    fn states(self) -> &'static [Role] {
        match self {
            UpdateRule::Adam { amsgrad: true, .. } => &[Role::First, Role::Second, Role::Largest],
            UpdateRule::Adam { amsgrad: false, .. } => &[Role::First, Role::Second],
            UpdateRule::Sgd { momentum: true, .. } => &[Role::First],
            UpdateRule::Sgd {
                momentum: false, ..
            } => &[],
        }
    }
}

/// The numbers of one parameter's update, everything in the kernel's scalars after the range.
pub type Coefficients = smallvec::SmallVec<[ScalarBits; 6]>;

/// What a buffer of an arena holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Role {
    Param,
    Target,
    Grad,
    First,
    Second,
    Largest,
}

/// A part of an arena that belongs to one parameter.
#[derive(Debug)]
struct Part {
    /// Position in the optimizer's list of parameters.
    param: usize,
    /// Bytes from the start of each of the arena's buffers, a multiple of 256.
    offset: usize,
    /// Bytes without padding.
    bytes: usize,
    home: Arc<Home>,
}

/// Parameters of one type, side by side.
struct Arena {
    dtype: DType,
    bytes: usize,
    param: Buffer,
    grad: Buffer,
    states: Vec<Buffer>,
    parts: Vec<Part>,
}

/// Parameters and their optimizer state; the numerical half of an optimizer.
pub struct Updater {
    rule: UpdateRule,
    params: Vec<Tensor>,
    arenas: Vec<Arena>,
    /// States to begin with, by parameter and state, where they were loaded.
    loaded: HashMap<(usize, usize), Tensor>,
}

/// A copy into the gradient arena.
pub(crate) struct GradCopy<'a> {
    pub node: &'a Arc<Node>,
    pub offset: usize,
    pub bytes: usize,
}

/// A step of one arena, as a run sees it.
pub(crate) struct ArenaUpdate {
    rule: UpdateRule,
    dtype: DType,
    bytes: usize,
    param: Buffer,
    grad: Buffer,
    states: Vec<Buffer>,
    /// Current values of all parameters of the arena.
    values: Vec<Arc<Node>>,
    /// Gradient node, offset and bytes of the parameters that have one.
    grads: Vec<(Arc<Node>, usize, usize)>,
    /// For each gradient whether it is computed in place.
    placed: Vec<bool>,
    scalars: Vec<ScalarBits>,
    segments: usize,
    /// Whether someone holds an old value, so that the result goes to a new buffer.
    fresh: bool,
    target: Option<Buffer>,
}

/// What a run does after its nodes: the step of an optimizer.
pub(crate) struct Update {
    arenas: Vec<ArenaUpdate>,
}

/// An arena in the making: type, bytes so far, and for each part its parameter, offset and bytes.
type Extent = (DType, usize, Vec<(usize, usize, usize)>);

/// Bytes from one arena part to the next: what bindings must be aligned to.
const ALIGN: usize = 256;

impl Updater {
    /// An updater for `params`, which must be variables (others make the first step fail).
    pub fn new(rule: UpdateRule, params: Vec<Tensor>) -> Updater {
        Updater {
            rule,
            params,
            arenas: Vec::new(),
            loaded: HashMap::new(),
        }
    }

    /// The parameters.
    pub fn params(&self) -> &[Tensor] {
        &self.params
    }

    /// Updates every parameter that has a gradient. `coefficients` gives the numbers for the
    /// parameter at a position; parameters with equal numbers side by side form one segment.
    /// Runs what this thread has recorded.
    ///
    /// # Errors
    /// A failed gradient's error, or what a run can fail with; then no parameter has changed.
    #[track_caller]
    pub fn step(&mut self, mut coefficients: impl FnMut(usize) -> Coefficients) -> Result<()> {
        let place = Place::caller();
        let Some(device) = self.params.first().map(|p| p.device().clone()) else {
            return Ok(());
        };
        let grads = self.grads(&device, place)?;
        if grads.iter().all(Option::is_none) {
            return run::run(&device, &[], None);
        }
        if !self.is_laid_out()? {
            self.lay_out(&device, place)?;
        }
        self.renew_grads(&device, &grads)?;
        let mut update = Update { arenas: Vec::new() };
        for arena in &self.arenas {
            update
                .arenas
                .push(arena.update(self.rule, &self.params, &grads, &mut coefficients)?);
        }
        update.arenas.retain(|a| a.segments > 0);
        run::run(&device, &[], Some(&mut update))?;
        self.commit(&device, update, place);
        Ok(())
    }

    /// The gradients as whole nodes.
    fn grads(&self, device: &Device, place: Place) -> Result<Vec<Option<Arc<Node>>>> {
        let mut grads = Vec::with_capacity(self.params.len());
        for param in &self.params {
            let variable = variable(param, place)?;
            if variable.device() != device {
                return Err(Error::DeviceMismatch {
                    op: "step",
                    left: device.name().into(),
                    right: variable.device().name().into(),
                    place,
                });
            }
            grads.push(match variable.grad() {
                Some(grad) => {
                    let value = grad.capture()?;
                    let plain = value.layout.is_whole()
                        && value.node.shape == *variable.shape()
                        && value.node.constant.is_none();
                    if !plain {
                        let copied = no_grad(|| crate::views::copy(&value, place))?;
                        variable.set_grad(Some(copied.into_tensor()));
                    }
                    match variable.grad() {
                        Some(grad) => Some(grad.capture()?.node),
                        None => None,
                    }
                }
                None => None,
            });
        }
        Ok(grads)
    }

    /// Whether every parameter's value lies in its place.
    fn is_laid_out(&self) -> Result<bool> {
        if self.arenas.is_empty() {
            return Ok(false);
        }
        let mut inside = true;
        for arena in &self.arenas {
            for part in &arena.parts {
                let Some(variable) = self.params[part.param].variable() else {
                    continue;
                };
                inside &= variable
                    .value()
                    .storage()
                    .is_some_and(|s| s.buffer.id() == arena.param.id() && s.offset == part.offset);
            }
        }
        Ok(inside)
    }

    /// Moves the parameters into arenas (again, where values were assigned from outside). States
    /// move along.
    fn lay_out(&mut self, device: &Device, place: Place) -> Result<()> {
        run::run(device, &[], None)?;
        let open = device.open()?;
        let limits = open.backend.limits();
        let mut values = Vec::with_capacity(self.params.len());
        for param in &self.params {
            let value = variable(param, place)?.value();
            run::run(device, &[&value], None)?;
            match &*value.state() {
                State::Done(storage) => values.push((value.clone(), storage.clone())),
                State::Failed(error) => return Err(error.clone()),
                _ => return Err(Error::Device("a parameter has no value".into())),
            }
        }
        if self.arenas.is_empty() {
            let mut arenas: Vec<Extent> = Vec::new();
            let limit = limits.max_binding.min(limits.max_buffer);
            for (param, (value, _)) in values.iter().enumerate() {
                if !matches!(value.dtype, DType::F32 | DType::F64) {
                    let problem = format!("parameters must be f32 or f64, not {}", value.dtype);
                    return Err(Error::dtype("step", place, problem));
                }
                let bytes = value.bytes();
                let room = bytes.next_multiple_of(ALIGN).max(ALIGN);
                match arenas
                    .iter_mut()
                    .find(|(d, end, _)| *d == value.dtype && *end + room <= limit)
                {
                    Some((_, end, parts)) => {
                        parts.push((param, *end, bytes));
                        *end += room;
                    }
                    None => arenas.push((value.dtype, room, vec![(param, 0, bytes)])),
                }
            }
            let mut made = Vec::with_capacity(arenas.len());
            for (dtype, bytes, parts) in arenas {
                let clear = || -> Result<Buffer> {
                    let buffer = open.backend.allocate(bytes)?;
                    open.backend.clear(&buffer)?;
                    Ok(buffer)
                };
                let (param, grad) = (clear()?, clear()?);
                let states = self
                    .rule
                    .states()
                    .iter()
                    .map(|_| clear())
                    .collect::<Result<Vec<_>>>()?;
                let parts = parts
                    .into_iter()
                    .map(|(param, offset, bytes)| {
                        let home = Arc::new(Home {
                            buffer: grad.clone(),
                            offset,
                            bytes,
                        });
                        Part {
                            param,
                            offset,
                            bytes,
                            home,
                        }
                    })
                    .collect();
                made.push(Arena {
                    dtype,
                    bytes,
                    param,
                    grad,
                    states,
                    parts,
                });
            }
            self.arenas = made;
            self.place_loaded(open)?;
        } else {
            for arena in &mut self.arenas {
                arena.param = open.backend.allocate(arena.bytes)?;
                open.backend.clear(&arena.param)?;
            }
        }
        for arena in &self.arenas {
            for part in &arena.parts {
                let (value, storage) = &values[part.param];
                copy_padded(open, storage, &arena.param, part)?;
                let variable = variable(&self.params[part.param], place)?;
                variable.set_value(arena.value(
                    device,
                    part,
                    value.shape.clone(),
                    place,
                    &arena.param,
                ));
                variable.set_home(Arc::downgrade(&part.home));
            }
        }
        Ok(())
    }

    /// Copies loaded states into their arenas.
    fn place_loaded(&mut self, open: &Open) -> Result<()> {
        for arena in &self.arenas {
            for part in &arena.parts {
                for (s, state) in arena.states.iter().enumerate() {
                    let Some(loaded) = self.loaded.get(&(part.param, s)) else {
                        continue;
                    };
                    let value = loaded.contiguous().capture()?;
                    let node = whole(value, Place::caller())?;
                    run::run(&node.device, &[&node], None)?;
                    let storage = node
                        .storage()
                        .ok_or_else(|| Error::Load("an optimizer state has no value".into()))?;
                    copy_padded(open, &storage, state, part)?;
                }
            }
        }
        self.loaded.clear();
        Ok(())
    }

    /// Takes a new gradient arena where someone still holds a gradient of an earlier step.
    fn renew_grads(&mut self, device: &Device, grads: &[Option<Arc<Node>>]) -> Result<()> {
        let open = device.open()?;
        for arena in &mut self.arenas {
            let held = arena.parts.iter().any(|part| {
                let current = grads[part.param]
                    .as_ref()
                    .and_then(|g| g.storage())
                    .and_then(|s| s.home);
                // The arena, and this node's storage and its clone here.
                let own = match &current {
                    Some(home) if Arc::ptr_eq(home, &part.home) => 3,
                    _ => 1,
                };
                Arc::strong_count(&part.home) > own
            });
            if !held {
                continue;
            }
            arena.grad = open.backend.allocate(arena.bytes)?;
            open.backend.clear(&arena.grad)?;
            for part in &mut arena.parts {
                part.home = Arc::new(Home {
                    buffer: arena.grad.clone(),
                    offset: part.offset,
                    bytes: part.bytes,
                });
                if let Some(variable) = self.params[part.param].variable() {
                    variable.set_home(Arc::downgrade(&part.home));
                }
            }
        }
        Ok(())
    }

    /// Gives the parameters their new values.
    fn commit(&mut self, device: &Device, update: Update, place: Place) {
        let mut done = update.arenas.into_iter();
        let mut next = done.next();
        for arena in &mut self.arenas {
            // Arenas without a gradient took no part.
            let Some(stepped) = next.take_if(|u| u.param.id() == arena.param.id()) else {
                continue;
            };
            next = done.next();
            if let Some(target) = stepped.target {
                arena.param = target;
            }
            drop((stepped.values, stepped.grads));
            for part in &arena.parts {
                let Some(variable) = self.params[part.param].variable() else {
                    continue;
                };
                let shape = variable.shape().clone();
                variable.set_value(arena.value(device, part, shape, place, &arena.param));
            }
        }
    }

    /// The states of the parameter at `position`, in the rule's order (`exp_avg`, `exp_avg_sq`,
    /// `max_exp_avg_sq` or `momentum_buffer`): snapshots of this moment. `None` before the first
    /// step.
    ///
    /// # Errors
    /// What a copy can fail with.
    pub fn states(&self, position: usize) -> Result<Option<Vec<Tensor>>> {
        for arena in &self.arenas {
            let Some(part) = arena.parts.iter().find(|p| p.param == position) else {
                continue;
            };
            let variable = variable(&self.params[position], Place::caller())?;
            let open = variable.device().open()?;
            let mut states = Vec::with_capacity(arena.states.len());
            for state in &arena.states {
                let bytes = part.bytes.max(16);
                let buffer = open.backend.allocate(bytes)?;
                open.backend
                    .copy(state, part.offset, &buffer, 0, part.bytes)?;
                let storage = Storage {
                    buffer,
                    offset: 0,
                    home: None,
                };
                let node = Node::new(
                    variable.device().clone(),
                    variable.shape().clone(),
                    arena.dtype,
                    Place::caller(),
                    None,
                    State::Done(storage),
                );
                states.push(crate::tensor::Value::new(Arc::new(node)).into_tensor());
            }
            return Ok(Some(states));
        }
        Ok(None)
    }

    /// Sets the states of the parameter at `position`, in the order of [`Updater::states`].
    ///
    /// # Errors
    /// [`Error::Load`] where number, shapes or types do not fit; then nothing has changed.
    pub fn set_states(&mut self, position: usize, states: Vec<Tensor>) -> Result<()> {
        let Some(param) = self.params.get(position) else {
            return Err(Error::Load(format!("there is no parameter {position}")));
        };
        let wanted = self.rule.states().len();
        if states.len() != wanted {
            return Err(Error::Load(format!(
                "{} states for a parameter that has {wanted}",
                states.len()
            )));
        }
        let (shape, dtype): (Shape, DType) = (param.shape()?, param.dtype()?);
        for state in &states {
            if state.shape()? != shape || state.dtype()? != dtype {
                let problem = format!(
                    "a state of shape {} for a parameter of shape {shape}",
                    state.shape()?
                );
                return Err(Error::Load(problem));
            }
        }
        // All states move when the arenas are next laid out.
        for other in 0..self.params.len() {
            if let Some(current) = self.states(other)? {
                for (s, state) in current.into_iter().enumerate() {
                    self.loaded.entry((other, s)).or_insert(state);
                }
            }
        }
        self.arenas.clear();
        for (s, state) in states.into_iter().enumerate() {
            self.loaded.insert((position, s), state);
        }
        Ok(())
    }
}

fn variable(param: &Tensor, place: Place) -> Result<&Variable> {
    if let Some(error) = param.error() {
        return Err(error);
    }
    param.variable().ok_or_else(|| Error::Grad {
        op: "step",
        problem: "a parameter is not a variable; make it one with requires_grad".into(),
        place,
    })
}

/// Copies a value into its part of an arena.
fn copy_padded(open: &Open, from: &Storage, to: &Buffer, part: &Part) -> Result<()> {
    if part.bytes == 0 {
        return Ok(());
    }
    open.backend
        .copy(&from.buffer, from.offset, to, part.offset, part.bytes)
}

impl Arena {
    /// The value of a part as a node.
    fn value(
        &self,
        device: &Device,
        part: &Part,
        shape: Shape,
        place: Place,
        buffer: &Buffer,
    ) -> Arc<Node> {
        let storage = Storage {
            buffer: buffer.clone(),
            offset: part.offset,
            home: None,
        };
        Arc::new(Node::new(
            device.clone(),
            shape,
            self.dtype,
            place,
            None,
            State::Done(storage),
        ))
    }

    fn update(
        &self,
        rule: UpdateRule,
        params: &[Tensor],
        grads: &[Option<Arc<Node>>],
        coefficients: &mut impl FnMut(usize) -> Coefficients,
    ) -> Result<ArenaUpdate> {
        let size = self.dtype.size();
        let mut values = Vec::with_capacity(self.parts.len());
        let mut with_grad = Vec::with_capacity(self.parts.len());
        let mut segments: Vec<(usize, usize, Coefficients)> = Vec::new();
        for part in &self.parts {
            if let Some(variable) = params[part.param].variable() {
                values.push(variable.value());
            }
            let Some(grad) = &grads[part.param] else {
                continue;
            };
            with_grad.push((grad.clone(), part.offset, part.bytes));
            let numbers = coefficients(part.param);
            let start = part.offset / size;
            // Padding up to the next part holds zeros, which every rule leaves at zero.
            let end = (part.offset + part.bytes.next_multiple_of(ALIGN).max(ALIGN)) / size;
            match segments.last_mut() {
                Some((_, last, same)) if *last == start && *same == numbers => *last = end,
                _ => segments.push((start, end, numbers)),
            }
        }
        let mut scalars = Vec::with_capacity(segments.len() * 8);
        for (start, end, numbers) in &segments {
            scalars.extend([
                ScalarBits::integer(*start as i64),
                ScalarBits::integer(*end as i64),
            ]);
            scalars.extend(numbers);
        }
        Ok(ArenaUpdate {
            rule,
            dtype: self.dtype,
            bytes: self.bytes,
            param: self.param.clone(),
            grad: self.grad.clone(),
            states: self.states.clone(),
            values,
            placed: vec![false; with_grad.len()],
            grads: with_grad,
            scalars,
            segments: segments.len(),
            fresh: false,
            target: None,
        })
    }
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
        roles.extend(
            self.rule
                .states()
                .iter()
                .zip(&self.states)
                .map(|(&role, b)| (role, b.id())),
        );
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
    pub fn kernel(&self, buffers: &HashMap<Role, usize>) -> Option<Kernel> {
        let (&param, &grad) = (buffers.get(&Role::Param)?, buffers.get(&Role::Grad)?);
        let target = buffers.get(&Role::Target).copied().unwrap_or(param);
        let (dtype, len, segments) = (self.dtype, self.bytes / self.dtype.size(), self.segments);
        Some(match self.rule {
            UpdateRule::Adam {
                decoupled,
                maximize,
                ..
            } => Kernel::Adam {
                dtype,
                len,
                param,
                target,
                grad,
                m: *buffers.get(&Role::First)?,
                v: *buffers.get(&Role::Second)?,
                vmax: buffers.get(&Role::Largest).copied(),
                decoupled,
                maximize,
                segments,
            },
            UpdateRule::Sgd {
                nesterov, maximize, ..
            } => Kernel::Sgd {
                dtype,
                len,
                param,
                target,
                grad,
                momentum: buffers.get(&Role::First).copied(),
                nesterov,
                maximize,
                segments,
            },
        })
    }
}

impl Update {
    pub fn arenas(&self) -> &[ArenaUpdate] {
        &self.arenas
    }

    /// The nodes whose results the update uses.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.arenas
            .iter()
            .flat_map(|a| a.values.iter().chain(a.grads.iter().map(|(g, _, _)| g)))
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
        let state = |role: Role| arena.rule.states().iter().position(|r| *r == role);
        let buffer = match role {
            Role::Param => &arena.param,
            Role::Grad => &arena.grad,
            Role::Target => arena.target.as_ref()?,
            other => arena.states.get(state(other)?)?,
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
            let (kind, flags) = match arena.rule {
                UpdateRule::Adam {
                    decoupled,
                    amsgrad,
                    maximize,
                } => (1, [decoupled, amsgrad, maximize]),
                UpdateRule::Sgd {
                    momentum,
                    nesterov,
                    maximize,
                } => (2, [momentum, nesterov, maximize]),
            };
            let flags = flags.iter().fold(0, |f, &b| f << 1 | u64::from(b));
            let fresh = u64::from(arena.fresh);
            key.push(1 << 62 | kind << 16 | flags << 8 | fresh << 4 | arena.dtype as u64);
            key.extend([arena.bytes as u64, arena.segments as u64]);
            key.extend([allocation(arena.param.id()), allocation(arena.grad.id())]);
            for ((grad, offset, bytes), placed) in arena.grads.iter().zip(&arena.placed) {
                let at = u64::from(index(grad).unwrap_or(u32::MAX));
                key.extend([at << 1 | u64::from(*placed), *offset as u64, *bytes as u64]);
            }
        }
    }
}
