//! Functions that see gradients as they pass.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::History;
use crate::tensor::{Inner, Tensor};
use crate::types::error::{Error, Place, Result};

type Hook = Arc<dyn Fn(&Tensor) -> Option<Tensor> + Send + Sync>;

/// The hooks of a tensor, in the order in which they were registered.
#[derive(Default)]
pub(crate) struct Hooks(Mutex<Vec<(u64, Hook)>>);

impl Hooks {
    fn add(&self, hook: Hook) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((id, hook));
        id
    }

    fn remove(&self, id: u64) {
        let mut hooks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hooks.retain(|(own, _)| *own != id);
    }

    /// The gradient after all hooks. `op` and `place` are those of the backward pass.
    pub fn applied(&self, mut grad: Tensor, op: &'static str, place: Place) -> Result<Tensor> {
        let hooks = {
            let hooks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if hooks.is_empty() {
                return Ok(grad);
            }
            // A hook may register others, or remove itself.
            hooks.clone()
        };
        for (_, hook) in hooks {
            let Some(other) = hook(&grad) else { continue };
            if other.shape()? != grad.shape()? || other.dtype()? != grad.dtype()? {
                let (of, for_) = (other.shape()?, grad.shape()?);
                let problem = format!(
                    "a hook gave a gradient of shape {of} and type {} for shape {for_} and type {}",
                    other.dtype()?,
                    grad.dtype()?
                );
                return Err(Error::shape(op, place, problem));
            }
            grad = other;
        }
        Ok(grad)
    }
}

/// A hook that is registered; dropping this leaves it where it is.
#[must_use = "without it the hook cannot be removed"]
pub struct HookHandle {
    owner: Owner,
    id: u64,
}

enum Owner {
    Entry(std::sync::Weak<super::Entry>),
    Variable(std::sync::Weak<Inner>),
}

impl HookHandle {
    /// Takes the hook away.
    pub fn remove(self) {
        match &self.owner {
            Owner::Entry(entry) => {
                if let Some(entry) = entry.upgrade() {
                    entry.hooks.remove(self.id);
                }
            }
            Owner::Variable(inner) => {
                if let Some(Inner::Variable(variable)) = inner.upgrade().as_deref() {
                    variable.hooks.remove(self.id);
                }
            }
        }
    }
}

impl Tensor {
    /// Calls `hook` with the gradient of this tensor in each backward pass that reaches it, before it goes
    /// further; what the hook returns, if anything, takes its place, in the same shape and type. Hooks of a
    /// variable see what a pass adds to its gradient. Several run in the order of their registration.
    /// `torch.Tensor.register_hook`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.0, 5.0], &dev).requires_grad();
    /// let hidden = &x * 2.0;
    /// let handle = hidden.register_hook(|grad| Some(grad.clamp(-1.0, 1.0)))?;
    /// hidden.sqr().sum().backward()?;
    /// handle.remove();
    /// assert_eq!(x.grad()?.to_vec::<f32>()?, [2.0, 2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// A failed tensor's error; [`Error::Grad`] for a tensor that has no gradient.
    #[track_caller]
    pub fn register_hook(
        &self,
        hook: impl Fn(&Tensor) -> Option<Tensor> + Send + Sync + 'static,
    ) -> Result<HookHandle> {
        let place = Place::caller();
        match self.capture()?.history {
            Some(History::Entry(entry)) => Ok(HookHandle {
                id: entry.hooks.add(Arc::new(hook)),
                owner: Owner::Entry(Arc::downgrade(&entry)),
            }),
            Some(History::Variable(tensor)) => match &*tensor.0 {
                Inner::Variable(variable) => Ok(HookHandle {
                    id: variable.hooks.add(Arc::new(hook)),
                    owner: Owner::Variable(Arc::downgrade(&tensor.0)),
                }),
                _ => Err(no_gradient(place)),
            },
            None => Err(no_gradient(place)),
        }
    }
}

fn no_gradient(place: Place) -> Error {
    Error::Grad {
        op: "register_hook",
        problem: "the tensor depends on nothing that requires a gradient".into(),
        place,
    }
}
