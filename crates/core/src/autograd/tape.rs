//! The tape: entries that results own, and whether operations are recorded on it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;

use crate::record::node::{Node, Owned, View, drop_later};
use crate::tensor::{Tensor, Value};
use crate::types::error::Place;

use super::anomaly;
use super::hooks::Hooks;

/// Where a value came from.
#[derive(Clone)]
pub(crate) enum History {
    Entry(Arc<Entry>),
    Variable(Tensor),
}

/// Gradients for each operand; `None` where it needs none.
pub(crate) type Grads = SmallVec<[Option<Tensor>; 2]>;

/// What a derivative gets.
pub(crate) struct Context<'a> {
    /// The saved operands.
    pub inputs: &'a [Tensor],
    /// The result, if it was saved; else the gradient stands in.
    pub output: &'a Tensor,
    /// The gradient of the result.
    pub grad: &'a Tensor,
    /// Which operands want a gradient.
    pub needs: &'a [bool],
}

pub(super) type Rule = Box<dyn Fn(&Context<'_>) -> Grads + Send + Sync>;

/// What an entry keeps for its derivative.
#[derive(Default)]
pub(crate) struct Saves {
    pub inputs: SmallVec<[Tensor; 2]>,
    /// Whether the derivative uses the result.
    pub output: bool,
}

pub(super) struct Saved {
    pub(super) inputs: SmallVec<[Tensor; 2]>,
    pub(super) output: Option<(Arc<Node>, View)>,
    pub(super) rule: Rule,
}

/// One recorded operation on the tape.
pub(crate) struct Entry {
    /// Ascending in recording order: every entry comes after those it depends on.
    pub(super) seq: u64,
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) edges: SmallVec<[Option<History>; 2]>,
    pub(super) hooks: Hooks,
    /// `None` once a backward pass has freed it.
    pub(super) saved: Mutex<Option<Saved>>,
}

impl Entry {
    /// The result, if it was kept.
    pub(super) fn result(&self) -> Option<Tensor> {
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let (node, view) = saved.as_ref()?.output.clone()?;
        let history = None;
        Some(
            Value {
                node,
                view,
                history,
            }
            .into_tensor(),
        )
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({} #{})", self.name, self.seq)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        for edge in self.edges.drain(..) {
            match edge {
                Some(History::Entry(entry)) => drop_later(Owned::Entry(entry)),
                Some(History::Variable(variable)) => drop_later(Owned::Tensor(variable)),
                None => {}
            }
        }
        if let Some(saved) = self
            .saved
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            release(saved);
        }
    }
}

pub(super) fn release(saved: Saved) {
    for tensor in saved.inputs {
        drop_later(Owned::Tensor(tensor));
    }
    if let Some((node, _)) = saved.output {
        drop_later(Owned::Node(node));
    }
}

thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// Runs `f` without recording a tape on this thread: results in it need no gradient.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let w = Tensor::ones([3, 3], &dev).requires_grad();
/// let y = no_grad(|| Tensor::ones([2, 3], &dev).matmul(&w));
/// assert!(!y.needs_grad());
/// # Ok::<(), Error>(())
/// ```
pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    with_grad(false, f)
}

/// Runs `f` with the gradient mode set, and restores it afterwards, panics included.
pub fn with_grad<T>(enabled: bool, f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENABLED.set(self.0);
        }
    }
    let _restore = Restore(ENABLED.replace(enabled));
    f()
}

/// Whether this thread records a tape.
pub fn is_grad_enabled() -> bool {
    ENABLED.get()
}

/// Whether an operation on these operands goes on the tape.
pub(crate) fn tracks(operands: &[&Value]) -> bool {
    operands.iter().any(|v| v.history.is_some()) && is_grad_enabled()
}

/// Puts an operation on the tape. `rule` gets what `saves` kept and the gradient of the result,
/// and returns a gradient for each operand.
pub(crate) fn track(
    name: &'static str,
    mut result: Value,
    operands: &[&Value],
    saves: Saves,
    place: Place,
    rule: impl Fn(&Context<'_>) -> Grads + Send + Sync + 'static,
) -> Tensor {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let saved = Saved {
        inputs: saves.inputs,
        output: (saves.output || anomaly::is_enabled())
            .then(|| (result.node.clone(), result.view.clone())),
        rule: Box::new(rule),
    };
    result.history = Some(History::Entry(Arc::new(Entry {
        seq: NEXT.fetch_add(1, Ordering::Relaxed),
        name,
        place,
        edges: operands.iter().map(|v| v.history.clone()).collect(),
        hooks: Hooks::default(),
        saved: Mutex::new(Some(saved)),
    })));
    result.into_tensor()
}
