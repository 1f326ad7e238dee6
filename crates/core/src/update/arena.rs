//! Optimizer steps: parameters, gradients and moments in arenas, so that one kernel updates all.
//!
//! Each optimizer lays its parameters of one type out in arenas, one buffer per role (parameters,
//! gradients, moments). Backward computes gradients straight into their place; what lies elsewhere
//! is copied first, and counted. A parameter's old value that somebody still holds is never
//! overwritten: the step then writes a new arena.

mod device;
mod layout;
mod states;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::autograd::no_grad;
use crate::kernel::ScalarBits;
use crate::kernel::backend::Buffer;
use crate::record::node::{Home, Node, State, Storage};
use crate::run;
use crate::tensor::device::Device;
use crate::tensor::variable::{Variable, whole};
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;
use crate::update::{ArenaUpdate, Update, UpdateRule};
use layout::{ALIGN, copy_padded};

/// The numbers of one parameter's update, as its rule takes them.
pub type Coefficients<X = f64> = smallvec::SmallVec<[X; 8]>;

/// Where the numbers of a step come from, by the position of a parameter.
pub(super) enum Numbers<'a> {
    Host(&'a mut dyn FnMut(usize) -> Coefficients),
    Device(device::Decision<'a>),
}

/// The numbers of a segment.
#[derive(PartialEq)]
enum Chosen {
    Host(Coefficients),
    /// A set of the device's.
    Set(usize),
}

impl Numbers<'_> {
    fn of(&mut self, param: usize) -> Chosen {
        match self {
            Numbers::Host(coefficients) => Chosen::Host(coefficients(param)),
            Numbers::Device(decision) => Chosen::Set(decision.set_of(param)),
        }
    }
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

    /// The rule.
    pub fn rule(&self) -> &UpdateRule {
        &self.rule
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
        self.step_by(Numbers::Host(&mut coefficients), Place::caller())
    }

    fn step_by(&mut self, mut numbers: Numbers<'_>, place: Place) -> Result<()> {
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
        if !device.fusion() {
            return self.step_by_reference(&device, &grads, &mut numbers, place);
        }
        self.renew_grads(&device, &grads)?;
        let mut update = Update { arenas: Vec::new() };
        for arena in &self.arenas {
            update.arenas.push(arena.update(
                &self.rule,
                &self.params,
                &grads,
                &mut numbers,
                place,
            )?);
        }
        update.arenas.retain(|a| a.segments > 0);
        run::run(&device, &[], Some(&mut update))?;
        let copied = update.arenas.iter().flat_map(|a| a.copies());
        let copied: HashSet<*const Node> = copied.map(|c| Arc::as_ptr(c.node)).collect();
        self.commit(&device, update, place);
        if !copied.is_empty() {
            self.adopt(&device, &grads, &copied, place);
        }
        Ok(())
    }

    /// Points variables whose gradients were copied into an arena at the copies: a gradient that
    /// stays is not copied again in the next step.
    fn adopt(
        &self,
        device: &Device,
        grads: &[Option<Arc<Node>>],
        copied: &HashSet<*const Node>,
        place: Place,
    ) {
        for arena in &self.arenas {
            for part in &arena.parts {
                let (Some(variable), Some(grad)) =
                    (self.params[part.param].variable(), &grads[part.param])
                else {
                    continue;
                };
                // Another thread may have given another gradient, and a gradient that can be
                // differentiated keeps its history.
                let current = variable.grad();
                let value = current.as_ref().and_then(|grad| grad.capture().ok());
                let plain = |v: &Value| v.history.is_none() && Arc::ptr_eq(&v.node, grad);
                if !copied.contains(&Arc::as_ptr(grad)) || !value.is_some_and(|v| plain(&v)) {
                    continue;
                }
                let Some(tenancy) = part.home.claim() else {
                    continue; // someone has the place
                };
                let storage = Storage {
                    buffer: arena.grad.clone(),
                    offset: part.offset,
                    tenancy: Some(tenancy),
                };
                let node = Node::new(
                    device.clone(),
                    variable.shape().clone(),
                    grad.dtype,
                    place,
                    None,
                    State::Done(storage),
                );
                let adopted = Value::new(Arc::new(node)).into_tensor();
                // If not, a newer gradient came meanwhile, which is as well.
                let _ = variable.replace_grad(current.as_ref(), adopted);
            }
        }
    }

    /// The same step in plain operations: every new value is computed apart from the old one and
    /// put into its place when all are there.
    fn step_by_reference(
        &mut self,
        device: &Device,
        grads: &[Option<Arc<Node>>],
        numbers: &mut Numbers<'_>,
        place: Place,
    ) -> Result<()> {
        let rule = &self.rule;
        let mut results: Vec<(usize, usize, Vec<Arc<Node>>)> = Vec::new();
        for (a, arena) in self.arenas.iter().enumerate() {
            for (i, part) in arena.parts.iter().enumerate() {
                let Some(grad) = &grads[part.param] else {
                    continue;
                };
                let value = variable(&self.params[part.param], place)?.value();
                let shape = value.shape().clone();
                let states: Vec<Tensor> = arena
                    .states
                    .iter()
                    .map(|s| arena.value(device, part, shape.clone(), place, s))
                    .map(|node| Value::new(node).into_tensor())
                    .collect();
                let [p, g] = [value, grad.clone()].map(|node| Value::new(node).into_tensor());
                let new = no_grad(|| numbers.reference(rule, part.param, &p, &g, &states))?;
                let nodes = new
                    .into_iter()
                    .map(|t| whole(t.capture()?, place))
                    .collect::<Result<_>>()?;
                results.push((a, i, nodes));
            }
        }
        let all: Vec<&Arc<Node>> = results.iter().flat_map(|(_, _, nodes)| nodes).collect();
        run::run(device, &all, None)?;
        let mut stored = Vec::with_capacity(results.len());
        for (a, i, nodes) in &results {
            let done = nodes.iter().map(|node| match &*node.state() {
                State::Done(storage) => Ok(storage.clone()),
                State::Failed(error) => Err(error.clone()),
                _ => Err(Error::Device("a step has no result".into())),
            });
            stored.push((*a, *i, done.collect::<Result<Vec<_>>>()?));
        }
        let open = device.open()?;
        // All memory is taken before anything is written: there is no half of a step.
        let fresh = self.arenas.iter().map(|a| open.backend.allocate(a.bytes));
        let fresh = fresh.collect::<Result<Vec<Buffer>>>()?;
        for ((a, arena), param) in self.arenas.iter_mut().enumerate().zip(fresh) {
            open.backend.copy(&arena.param, 0, &param, 0, arena.bytes)?;
            let targets = || std::iter::once(&param).chain(&arena.states);
            for (_, i, new) in stored.iter().filter(|(of, ..)| *of == a) {
                for (storage, target) in new.iter().zip(targets()) {
                    copy_padded(open, storage, target, &arena.parts[*i])?;
                }
            }
            arena.param = param;
        }
        self.give_values(device, place, |_| true);
        Ok(())
    }

    /// The gradients as whole nodes.
    fn grads(&self, device: &Device, place: Place) -> Result<Vec<Option<Arc<Node>>>> {
        let mut grads = Vec::with_capacity(self.params.len());
        for param in &self.params {
            let variable = variable(param, place)?;
            if variable.device() != device {
                return Err(device.mismatch("step", variable.device(), place));
            }
            grads.push(whole_grad(variable, place)?);
        }
        Ok(grads)
    }

    /// Takes a new gradient arena where someone still holds a gradient of an earlier step.
    fn renew_grads(&mut self, device: &Device, grads: &[Option<Arc<Node>>]) -> Result<()> {
        let open = device.open()?;
        for arena in &mut self.arenas {
            let held = arena.parts.iter().any(|part| {
                let current = grads[part.param]
                    .as_ref()
                    .and_then(|g| g.storage()?.tenancy);
                match (part.home.tenant(), current) {
                    (Some(tenant), Some(current)) => !Arc::ptr_eq(&tenant, &current),
                    (tenant, _) => tenant.is_some(),
                }
            });
            if !held {
                continue;
            }
            arena.grad = open.backend.allocate(arena.bytes)?;
            open.backend.clear(&arena.grad)?;
            for part in &mut arena.parts {
                part.home = Home::new(arena.grad.clone(), part.offset, part.bytes);
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
        let mut stepped = vec![false; self.arenas.len()];
        for (arena, stepped) in self.arenas.iter_mut().zip(&mut stepped) {
            // Arenas without a gradient took no part.
            let Some(update) = next.take_if(|u| u.param.id() == arena.param.id()) else {
                continue;
            };
            next = done.next();
            if let Some(target) = update.target {
                arena.param = target;
            }
            *stepped = true;
        }
        self.give_values(device, place, |a| stepped[a]);
    }

    /// Points the parameters of the chosen arenas at their places.
    fn give_values(&self, device: &Device, place: Place, chosen: impl Fn(usize) -> bool) {
        for (a, arena) in self.arenas.iter().enumerate() {
            for part in arena.parts.iter().filter(|_| chosen(a)) {
                let Some(variable) = self.params[part.param].variable() else {
                    continue;
                };
                let shape = variable.shape().clone();
                variable.set_value(arena.value(device, part, shape, place, &arena.param));
            }
        }
    }
}

/// The gradient as a whole node of the parameter's shape, if there is one.
fn whole_grad(variable: &Variable, place: Place) -> Result<Option<Arc<Node>>> {
    while let Some(grad) = variable.grad() {
        let value = grad.capture()?;
        let plain = value.layout().is_whole()
            && *value.node.shape() == *variable.shape()
            && value.node.constant.is_none();
        if plain {
            return Ok(Some(value.node));
        }
        let copied = no_grad(|| crate::tensor::views::copy(&value, place))?;
        let node = copied.node.clone();
        if variable.replace_grad(Some(&grad), copied.into_tensor()) {
            return Ok(Some(node));
        }
    }
    Ok(None)
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
            tenancy: None,
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
        rule: &UpdateRule,
        params: &[Tensor],
        grads: &[Option<Arc<Node>>],
        numbers: &mut Numbers<'_>,
        place: Place,
    ) -> Result<ArenaUpdate> {
        let size = self.dtype.size();
        let mut values = Vec::with_capacity(self.parts.len());
        let mut with_grad = Vec::with_capacity(self.parts.len());
        let mut segments: Vec<(usize, usize, Chosen)> = Vec::new();
        for part in &self.parts {
            if let Some(variable) = params[part.param].variable() {
                values.push(variable.value());
            }
            let Some(grad) = &grads[part.param] else {
                continue;
            };
            with_grad.push((grad.clone(), part.offset, part.bytes));
            let chosen = numbers.of(part.param);
            let start = part.offset / size;
            // Padding up to the next part holds zeros, which every rule leaves at zero.
            let end = (part.offset + part.bytes.next_multiple_of(ALIGN).max(ALIGN)) / size;
            match segments.last_mut() {
                Some((_, last, same)) if *last == start && *same == chosen => *last = end,
                _ => segments.push((start, end, chosen)),
            }
        }
        let mut scalars = Vec::with_capacity(segments.len() * 10);
        let mut sets = Vec::new();
        for (start, end, chosen) in &segments {
            scalars.extend([
                ScalarBits::integer(*start as i64),
                ScalarBits::integer(*end as i64),
            ]);
            match chosen {
                Chosen::Host(numbers) => {
                    scalars.extend(numbers.iter().map(|&number| ScalarBits::float(number)));
                }
                Chosen::Set(set) => {
                    scalars.extend((0..rule.numbers()).map(|_| ScalarBits::float(0.0)));
                    sets.push(*set);
                }
            }
            let constants = rule.constants().iter();
            scalars.extend(constants.map(|&number| ScalarBits::float(number)));
        }
        let control = match numbers {
            Numbers::Device(decision) => Some(decision.control(&sets, self.dtype, place)?),
            Numbers::Host(_) => None,
        };
        Ok(ArenaUpdate {
            rule: rule.clone(),
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
            control,
            fresh: false,
            target: None,
        })
    }
}
