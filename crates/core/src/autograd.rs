//! Reverse-mode differentiation: the tape, `backward`, and gradients as functions.
//!
//! The tape is owned by the tensors: a result holds its entry, an entry holds what its derivative
//! needs and the entries of its operands. Derivatives are tensor expressions, recorded like any
//! others, so they fuse and can be differentiated again. There is no global state except the
//! thread's gradient mode.

mod anomaly;
pub(crate) mod checkpoint;
mod functional;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod gradcheck;
mod hooks;
mod tape;

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smallvec::SmallVec;

use self::anomaly::Passed;
pub use self::anomaly::detect_anomaly;
pub use self::checkpoint::checkpoint;
pub use self::functional::{hessian, hvp, jacobian, jvp, vjp};
pub use self::hooks::HookHandle;
pub(crate) use self::hooks::Hooks;
use self::tape::release;
pub(crate) use self::tape::{Context, Entry, Grads, History, Saves, track, tracks};
pub use self::tape::{is_grad_enabled, no_grad, with_grad};
use crate::autocast::suspended;
use crate::tensor::create;
use crate::tensor::device::lock;
use crate::tensor::{Inner, Tensor, Value};
use crate::types::element::Scalar;
use crate::types::error::{Error, Place, Result};
use crate::types::hash::NumberMap;

/// How [`grad`] and [`Tensor::backward_with_options`] go about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GradOptions {
    /// Record the derivative itself on the tape, so that it can be differentiated again.
    /// Implies `retain_graph`.
    ///
    /// A gradient that `backward` keeps so refers to the variable that keeps it: the two, and the graph
    /// between them, live until [`Tensor::zero_grad`] parts them, as in torch. [`grad`] keeps nothing.
    pub create_graph: bool,
    /// Keep the graph for another backward pass.
    pub retain_graph: bool,
    /// Give zeros for inputs that the output does not depend on, instead of an error.
    pub allow_unused: bool,
}

/// An entry waiting for its turn: the youngest first.
struct Turn(Arc<Entry>);

impl PartialEq for Turn {
    fn eq(&self, other: &Turn) -> bool {
        self.0.seq == other.0.seq
    }
}
impl Eq for Turn {}
impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Turn) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Turn {
    fn cmp(&self, other: &Turn) -> std::cmp::Ordering {
        self.0.seq.cmp(&other.0.seq)
    }
}

/// What a walk over the tape collects.
#[derive(Default)]
struct Collected {
    /// Gradients of variables, by the address of the handle's contents, in order of discovery.
    variables: Vec<(Tensor, Tensor)>,
    index: NumberMap<*const Inner, usize>,
    /// Gradients of the entries asked for.
    wanted: NumberMap<u64, Tensor>,
}

impl Collected {
    fn add_variable(&mut self, variable: &Tensor, grad: Tensor) {
        let at = *self
            .index
            .entry(Arc::as_ptr(&variable.0))
            .or_insert(self.variables.len());
        match self.variables.get_mut(at) {
            Some((_, sum)) => *sum = &*sum + grad,
            None => self.variables.push((variable.clone(), grad)),
        }
    }

    /// The hooks of the variables see what this pass found.
    fn apply_hooks(&mut self, op: &'static str, place: Place) -> Result<()> {
        for (tensor, grad) in &mut self.variables {
            if let Some(variable) = tensor.variable() {
                *grad = variable.hooks.applied(grad.clone(), op, place)?;
            }
        }
        Ok(())
    }
}

fn add_to(slot: &mut Option<Tensor>, grad: Tensor) {
    *slot = Some(match slot.take() {
        Some(sum) => sum + grad,
        None => grad,
    });
}

/// Walks the tape from `root` with gradient `seed`, iteratively, freeing entries as it passes
/// them unless told to keep them.
fn walk(
    op: &'static str,
    root: History,
    seed: Tensor,
    keep: bool,
    wanted: &[u64],
    place: Place,
) -> Result<Collected> {
    let mut found = Collected::default();
    let mut passed = Passed::default();
    if anomaly::is_enabled() {
        anomaly::check_results(&root)?;
    }
    let mut grads: NumberMap<u64, Option<Tensor>> = NumberMap::default();
    let mut turns = BinaryHeap::new();
    match root {
        History::Variable(variable) => {
            found.add_variable(&variable, seed);
            found.apply_hooks(op, place)?;
            return Ok(found);
        }
        History::Entry(entry) => {
            grads.insert(entry.seq, Some(seed));
            turns.push(Turn(entry));
        }
    }
    while let Some(Turn(entry)) = turns.pop() {
        let Some(Some(grad)) = grads.remove(&entry.seq) else {
            continue;
        };
        let grad = entry.hooks.applied(grad, op, place)?;
        if let Some(error) = grad.error() {
            return Err(error);
        }
        if wanted.contains(&entry.seq) {
            found.wanted.insert(entry.seq, grad.clone());
        }
        let needs: SmallVec<[bool; 4]> = entry.edges.iter().map(Option::is_some).collect();
        let mut saved = lock(&entry.saved);
        let Some(kept) = saved.as_ref() else {
            return Err(Error::GraphFreed { op, place });
        };
        let output = kept.output.as_ref().map(|(node, view)| {
            let history = Some(History::Entry(entry.clone()));
            Value {
                node: node.clone(),
                view: view.clone(),
                history,
            }
            .into_tensor()
        });
        let context = Context {
            inputs: &kept.inputs,
            output: output.as_ref().unwrap_or(&grad),
            grad: &grad,
            needs: &needs,
        };
        let results = entry.place.hold(|| (kept.rule)(&context));
        drop(output);
        if !keep && let Some(kept) = saved.take() {
            release(kept);
        }
        drop(saved);
        passed.note(&entry, &grad, &results);
        for (edge, result) in entry.edges.iter().zip(results) {
            match (edge, result) {
                (Some(History::Variable(variable)), Some(grad)) => {
                    found.add_variable(variable, grad);
                }
                (Some(History::Entry(parent)), Some(grad)) => {
                    let slot = grads.entry(parent.seq).or_insert_with(|| {
                        turns.push(Turn(parent.clone()));
                        None
                    });
                    add_to(slot, grad);
                }
                _ => {}
            }
        }
    }
    let all = found.variables.iter().map(|(_, grad)| grad);
    passed.check(&all.chain(found.wanted.values()).collect::<Vec<_>>())?;
    found.apply_hooks(op, place)?;
    Ok(found)
}

/// The variables that a history leads to, each once, in a fixed order.
pub(crate) fn variables(history: &History) -> Vec<Tensor> {
    let mut found: Vec<Tensor> = Vec::new();
    let mut known: NumberMap<*const Inner, ()> = NumberMap::default();
    let mut entered: NumberMap<u64, ()> = NumberMap::default();
    let mut stack = vec![history.clone()];
    while let Some(next) = stack.pop() {
        match next {
            History::Variable(variable) => {
                if known.insert(Arc::as_ptr(&variable.0), ()).is_none() {
                    found.push(variable);
                }
            }
            History::Entry(entry) => {
                if entered.insert(entry.seq, ()).is_none() {
                    stack.extend(entry.edges.iter().flatten().cloned());
                }
            }
        }
    }
    found
}

/// The gradients of `variables` by a walk from `root`, which frees the tape.
pub(crate) fn gradients(
    op: &'static str,
    root: History,
    seed: Tensor,
    variables: &[&Tensor],
    place: Place,
) -> Result<Grads> {
    let found = walk(op, root, seed, false, &[], place)?;
    let grad = |variable: &&Tensor| {
        let at = *found.index.get(&Arc::as_ptr(&variable.0))?;
        Some(found.variables[at].1.clone())
    };
    Ok(variables.iter().map(grad).collect())
}

/// The gradients of `f(operands)`, whose gradient is `grad`, by the operands that need one: recorded on the
/// tape if this thread records one, so that they can be differentiated again.
pub(crate) fn through(
    f: impl FnOnce(&[Tensor]) -> Tensor,
    operands: &[Tensor],
    needs: &[bool],
    grad: &Tensor,
    place: Place,
) -> Vec<Option<Tensor>> {
    let cut = Arc::new(AtomicBool::new(true));
    let mut gates: Vec<Option<u64>> = Vec::with_capacity(operands.len());
    let mut inside = Vec::with_capacity(operands.len());
    for (i, operand) in operands.iter().enumerate() {
        let gated = needs
            .get(i)
            .is_some_and(|&needed| needed)
            .then(|| gate(operand, &cut, place));
        gates.push(
            gated
                .as_ref()
                .and_then(|gated| match gated.capture().ok()?.history? {
                    History::Entry(entry) => Some(entry.seq),
                    History::Variable(_) => None,
                }),
        );
        inside.push(gated.unwrap_or_else(|| operand.detach()));
    }
    let wanted: Vec<u64> = gates.iter().copied().flatten().collect();
    let found = with_grad(true, || f(&inside))
        .capture()
        .and_then(|y| match y.history {
            Some(root) => walk(
                "derivative",
                root,
                grad.clone(),
                is_grad_enabled(),
                &wanted,
                place,
            ),
            None => Ok(Collected::default()),
        });
    cut.store(false, Ordering::Relaxed);
    let by = |(gate, operand): (&Option<u64>, &Tensor)| {
        let gate = (*gate)?;
        Some(match &found {
            Err(error) => Tensor::fail(grad.device(), error.clone()),
            Ok(found) => match found.wanted.get(&gate) {
                Some(grad) => grad.clone(),
                None => operand.zeros_like(),
            },
        })
    };
    gates.iter().zip(operands).map(by).collect()
}

/// The tensor behind an entry of its own, which lets gradients through once `cut` is not set: a walk that
/// asks for the gradient at the entry ends there.
fn gate(x: &Tensor, cut: &Arc<AtomicBool>, place: Place) -> Tensor {
    let cut = cut.clone();
    x.then(|x| {
        let through = x.through(x.layout().clone());
        let rule = move |c: &Context<'_>| {
            let open = !cut.load(Ordering::Relaxed);
            Grads::from_iter([open.then(|| c.grad.clone())])
        };
        Ok(track(
            "derivative",
            through,
            &[&x],
            Saves::default(),
            place,
            rule,
        ))
    })
}

/// The gradient to start from: `given`, checked, or one for a single element.
fn seed(op: &'static str, y: &Value, given: Option<&Tensor>, place: Place) -> Result<Tensor> {
    match given {
        None if y.shape().numel() == 1 => {
            let one = create::constant(
                &y.node.device,
                y.shape(),
                Scalar::Float(1.0),
                y.dtype(),
                place,
            )?;
            Ok(one.into_tensor())
        }
        None => Err(Error::Grad {
            op,
            problem: format!(
                "shape {} has more than one element; reduce it first, or give the gradient with backward_with",
                y.shape()
            ),
            place,
        }),
        Some(grad) => {
            let g = grad.capture()?;
            if g.shape() != y.shape() {
                return Err(Error::shape(
                    op,
                    place,
                    format!(
                        "gradient of shape {} for a tensor of shape {}",
                        g.shape(),
                        y.shape()
                    ),
                ));
            }
            grad.to_dtype(y.dtype()).checked()
        }
    }
}

fn differentiate(
    op: &'static str,
    y: &Tensor,
    gradient: Option<&Tensor>,
    options: GradOptions,
    wanted: &[u64],
    place: Place,
) -> Result<Collected> {
    let value = y.capture()?;
    let Some(root) = value.history.clone() else {
        return Err(Error::Grad {
            op,
            problem: "the tensor depends on nothing that requires a gradient".into(),
            place,
        });
    };
    let keep = options.retain_graph || options.create_graph;
    // Derivatives take their operands as they are, wherever they are asked for.
    suspended(|| {
        with_grad(options.create_graph, || {
            let seed = seed(op, &value, gradient, place)?;
            walk(op, root, seed, keep, wanted, place)
        })
    })
}

impl Tensor {
    /// Differentiates this single-element tensor and adds the gradients to `.grad()` of every
    /// variable it depends on. Frees the graph.
    ///
    /// # Errors
    /// A failed tensor's error (of this tensor or of a gradient; then no `.grad()` has changed),
    /// [`Error::Grad`] where there is nothing to differentiate, and [`Error::GraphFreed`] on a
    /// second pass.
    #[track_caller]
    pub fn backward(&self) -> Result<()> {
        let place = Place::caller();
        self.backward_from(None, GradOptions::default(), place)
    }

    /// [`Tensor::backward`] from a given gradient of this tensor's shape.
    ///
    /// # Errors
    /// As `backward`, and [`Error::Shape`] if the gradient has another shape.
    #[track_caller]
    pub fn backward_with(&self, gradient: &Tensor) -> Result<()> {
        let place = Place::caller();
        self.backward_from(Some(gradient), GradOptions::default(), place)
    }

    /// [`Tensor::backward`] with options, from a given gradient or from 1.
    ///
    /// # Errors
    /// As [`Tensor::backward_with`].
    #[track_caller]
    pub fn backward_with_options<'a>(
        &self,
        gradient: impl Into<Option<&'a Tensor>>,
        options: GradOptions,
    ) -> Result<()> {
        let place = Place::caller();
        self.backward_from(gradient.into(), options, place)
    }

    fn backward_from(
        &self,
        gradient: Option<&Tensor>,
        options: GradOptions,
        place: Place,
    ) -> Result<()> {
        let found = differentiate("backward", self, gradient, options, &[], place)?;
        let add = |old: Option<&Tensor>, grad: &Tensor| {
            with_grad(options.create_graph, || match old {
                Some(old) => old + grad,
                None => grad.clone(),
            })
            .checked()
        };
        let mut sums = Vec::with_capacity(found.variables.len());
        for (tensor, grad) in &found.variables {
            let Some(variable) = tensor.variable() else {
                continue;
            };
            let old = variable.grad();
            let sum = add(old.as_ref(), grad)?;
            sums.push((variable, grad, old, sum));
        }
        // All gradients are good: now none is left behind.
        for (variable, grad, mut old, mut sum) in sums {
            while !variable.replace_grad(old.as_ref(), sum) {
                old = variable.grad();
                sum = add(old.as_ref(), grad)?;
            }
        }
        Ok(())
    }
}

/// Gradients of the single-element tensor `y` with respect to `inputs` (variables or results on
/// the tape), without touching any `.grad()`.
///
/// # Errors
/// As [`Tensor::backward`]; [`Error::Grad`] if `y` does not depend on an input.
#[track_caller]
pub fn grad(y: &Tensor, inputs: &[&Tensor], options: GradOptions) -> Result<Vec<Tensor>> {
    grad_from(y, inputs, None, options, Place::caller())
}

/// [`grad`] of a tensor of any shape, from a given gradient of its shape.
///
/// # Errors
/// As [`grad`], and [`Error::Shape`] if the gradient has another shape.
#[track_caller]
pub fn grad_with(
    y: &Tensor,
    inputs: &[&Tensor],
    gradient: &Tensor,
    options: GradOptions,
) -> Result<Vec<Tensor>> {
    grad_from(y, inputs, Some(gradient), options, Place::caller())
}

fn grad_from(
    y: &Tensor,
    inputs: &[&Tensor],
    gradient: Option<&Tensor>,
    options: GradOptions,
    place: Place,
) -> Result<Vec<Tensor>> {
    let histories: Vec<Option<History>> = inputs
        .iter()
        .map(|x| x.capture().map(|v| v.history))
        .collect::<Result<_>>()?;
    let wanted: Vec<u64> = histories
        .iter()
        .filter_map(|h| match h {
            Some(History::Entry(entry)) => Some(entry.seq),
            _ => None,
        })
        .collect();
    let found = differentiate("grad", y, gradient, options, &wanted, place)?;
    let gradient = |x: &Tensor, history: &Option<History>| -> Result<Tensor> {
        let grad = match history {
            Some(History::Entry(entry)) => found.wanted.get(&entry.seq),
            Some(History::Variable(variable)) => found
                .index
                .get(&Arc::as_ptr(&variable.0))
                .map(|&at| &found.variables[at].1),
            None => None,
        };
        match grad {
            Some(grad) => grad.clone().checked(),
            None if options.allow_unused => x.zeros_like().checked(),
            None => Err(Error::Grad {
                op: "grad",
                problem: "the output does not depend on one of the inputs; \
                          set allow_unused to get zeros for it"
                    .into(),
                place,
            }),
        }
    };
    inputs
        .iter()
        .zip(&histories)
        .map(|(x, history)| gradient(x, history))
        .collect()
}
