//! Variables: leaves that keep a gradient, and buffers of modules.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Weak};

use crate::autograd::{Hooks, no_grad};
use crate::record::node::{Home, Node};
use crate::tensor::device::{Device, lock};
use crate::tensor::{Inner, Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

/// A cell that clones of a tensor share: its value, which may be replaced, and its gradient.
///
/// An operation captures the value of the moment it is recorded, so replacing it never changes
/// what has been recorded.
pub(crate) struct Variable {
    device: Device,
    shape: Shape,
    dtype: DType,
    requires_grad: AtomicBool,
    pub hooks: Hooks,
    cell: Mutex<Cell>,
}

struct Cell {
    /// Whole and row-major.
    value: Arc<Node>,
    grad: Option<Tensor>,
    /// Where an optimizer wants the gradient.
    home: Weak<Home>,
}

impl Variable {
    fn new(value: Arc<Node>, requires_grad: bool) -> Variable {
        Variable {
            device: value.device.clone(),
            shape: value.shape().clone(),
            dtype: value.dtype,
            requires_grad: AtomicBool::new(requires_grad),
            hooks: Hooks::default(),
            cell: Mutex::new(Cell {
                value,
                grad: None,
                home: Weak::new(),
            }),
        }
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn requires_grad(&self) -> bool {
        self.requires_grad.load(Ordering::Relaxed)
    }

    pub fn value(&self) -> Arc<Node> {
        lock(&self.cell).value.clone()
    }

    /// Replaces the value; shape and type are the variable's.
    pub fn set_value(&self, node: Arc<Node>) {
        let old = std::mem::replace(&mut lock(&self.cell).value, node);
        drop(old); // outside the lock: it may free a graph
    }

    pub fn grad(&self) -> Option<Tensor> {
        lock(&self.cell).grad.clone()
    }

    pub fn set_grad(&self, grad: Option<Tensor>) {
        let mut cell = lock(&self.cell);
        let old = self.put_grad(&mut cell, grad);
        drop(cell);
        drop(old); // outside the lock: it may free a graph
    }

    /// Replaces the gradient if it is still `seen`. Whoever makes a new gradient from the old one
    /// goes this way and begins again where the answer is no: another thread's may have come in
    /// between. (No lock is held while the new one is recorded, because that may run kernels.)
    #[must_use]
    pub fn replace_grad(&self, seen: Option<&Tensor>, grad: Tensor) -> bool {
        let mut cell = lock(&self.cell);
        let same = match (&cell.grad, seen) {
            (Some(now), Some(seen)) => now.is_same(seen),
            (None, None) => true,
            _ => false,
        };
        let dropped = match same {
            true => self.put_grad(&mut cell, Some(grad)),
            false => Some(grad),
        };
        drop(cell);
        drop(dropped); // outside the lock: it may free a graph
        same
    }

    /// Puts the gradient into the locked cell and gives back the old one.
    fn put_grad(&self, cell: &mut Cell, grad: Option<Tensor>) -> Option<Tensor> {
        if let Some(Inner::Value(value)) = grad.as_ref().map(|g| &*g.0)
            && value.layout().is_whole()
            && value.node.shape().numel() == self.shape.numel()
        {
            // Has an effect only the first time, and only while the node is pending.
            let _ = value.node.home.set(cell.home.clone());
        }
        std::mem::replace(&mut cell.grad, grad)
    }

    /// Says where gradients should be computed to.
    pub fn set_home(&self, home: Weak<Home>) {
        lock(&self.cell).home = home;
    }
}

impl Tensor {
    fn into_variable(self, op: &'static str, requires_grad: bool, place: Place) -> Tensor {
        let device = self.device().clone();
        Tensor::or_fail(
            &device,
            self.capture().and_then(|value| {
                if requires_grad && !value.dtype().is_float() {
                    return Err(Error::dtype(
                        op,
                        place,
                        format!("only floats have gradients, not {}", value.dtype()),
                    ));
                }
                let node = no_grad(|| whole(value, place))?;
                Ok(Tensor(Arc::new(Inner::Variable(Variable::new(
                    node,
                    requires_grad,
                )))))
            }),
        )
    }

    /// Makes this value a variable: a leaf that collects a gradient. The result's clones share
    /// value and gradient. A tensor that is already on the tape is returned as it is; a variable
    /// (a module's buffer) starts to require a gradient.
    #[track_caller]
    pub fn requires_grad(self) -> Tensor {
        let place = Place::caller();
        match &*self.0 {
            Inner::Variable(variable) if variable.dtype.is_float() => {
                variable.requires_grad.store(true, Ordering::Relaxed);
                self
            }
            Inner::Value(value) if value.history.is_some() => self,
            _ => self.into_variable("requires_grad", true, place),
        }
    }

    /// Makes this value a variable without a gradient: state that a module updates with
    /// [`Tensor::assign`] and saves, such as running statistics.
    #[track_caller]
    pub fn buffer(self) -> Tensor {
        let place = Place::caller();
        match &*self.0 {
            Inner::Variable(_) => self,
            _ => self.into_variable("buffer", false, place),
        }
    }

    /// Sets whether this variable collects a gradient (to freeze a layer). Nothing happens on
    /// other tensors.
    pub fn set_requires_grad(&self, requires_grad: bool) {
        if let Some(variable) = self.variable() {
            variable
                .requires_grad
                .store(requires_grad, Ordering::Relaxed);
        }
    }

    /// Whether results of operations on this tensor are differentiated with respect to it.
    pub fn needs_grad(&self) -> bool {
        match &*self.0 {
            Inner::Variable(variable) => variable.requires_grad(),
            Inner::Value(value) => value.history.is_some(),
            Inner::Failed { .. } => false,
        }
    }

    /// Whether two handles share one variable.
    pub fn is_same(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The value of this moment, without history: a snapshot that later steps do not change.
    pub fn detach(&self) -> Tensor {
        self.then(|value| {
            Ok(Value {
                history: None,
                ..value
            }
            .into_tensor())
        })
    }

    /// The gradient that backward passes have collected.
    ///
    /// # Errors
    /// [`Error::Grad`] if there is none yet, or this is not a variable.
    #[track_caller]
    pub fn grad(&self) -> Result<Tensor> {
        let place = Place::caller();
        if let Some(error) = self.error() {
            return Err(error);
        }
        let problem = match self.variable() {
            Some(variable) => match variable.grad() {
                Some(grad) => return Ok(grad),
                None => "no gradient has been computed for this variable; call backward first",
            },
            None => "only variables keep a gradient; use autograd::grad for others",
        };
        Err(Error::Grad {
            op: "grad",
            problem: problem.into(),
            place,
        })
    }

    /// Replaces the gradient, for clipping and the like.
    ///
    /// # Errors
    /// A failed gradient's error, [`Error::Grad`] if this is no variable, [`Error::Shape`],
    /// [`Error::DType`] or [`Error::DeviceMismatch`] if the gradient does not fit.
    #[track_caller]
    pub fn set_grad(&self, grad: &Tensor) -> Result<()> {
        let place = Place::caller();
        let variable = self.written("set_grad", place)?;
        let value = grad.capture()?;
        variable.check("set_grad", &value, place)?;
        variable.set_grad(Some(grad.detach()));
        Ok(())
    }

    /// Replaces the gradient by what `f` makes of it. No backward pass of another thread is lost: where
    /// one came in between, `f` begins again.
    ///
    /// # Errors
    /// As [`Tensor::set_grad`], and [`Error::Grad`] if there is no gradient.
    #[track_caller]
    pub fn update_grad(&self, f: impl Fn(&Tensor) -> Tensor) -> Result<()> {
        let place = Place::caller();
        let variable = self.written("update_grad", place)?;
        loop {
            let old = place.within(|| self.grad())?;
            let new = f(&old);
            variable.check("update_grad", &new.capture()?, place)?;
            if variable.replace_grad(Some(&old), new.detach()) {
                return Ok(());
            }
        }
    }

    /// Forgets the gradient.
    pub fn zero_grad(&self) {
        if let Some(variable) = self.variable() {
            variable.set_grad(None);
        }
    }

    /// Replaces the variable's value. What has been recorded keeps the old one.
    ///
    /// # Errors
    /// As [`Tensor::set_grad`].
    #[track_caller]
    pub fn assign(&self, value: &Tensor) -> Result<()> {
        let place = Place::caller();
        let variable = self.written("assign", place)?;
        let value = value.capture()?;
        variable.check("assign", &value, place)?;
        variable.set_value(no_grad(|| whole(value, place))?);
        Ok(())
    }

    fn written(&self, op: &'static str, place: Place) -> Result<&Variable> {
        if let Some(error) = self.error() {
            return Err(error);
        }
        self.variable().ok_or_else(|| Error::Grad {
            op,
            problem: "this tensor is not a variable".into(),
            place,
        })
    }
}

impl Variable {
    fn check(&self, op: &'static str, value: &Value, place: Place) -> Result<()> {
        if *value.shape() != self.shape {
            let problem = format!(
                "value of shape {} for a variable of shape {}",
                value.shape(),
                self.shape
            );
            return Err(Error::shape(op, place, problem));
        }
        if value.dtype() != self.dtype {
            let problem = format!(
                "value of type {} for a variable of type {}",
                value.dtype(),
                self.dtype
            );
            return Err(Error::dtype(op, place, problem));
        }
        if value.node.device != self.device {
            return Err(self.device.mismatch(op, &value.node.device, place));
        }
        Ok(())
    }
}

/// The value as a node of its own shape, copied where it is a view of another.
pub(crate) fn whole(value: Value, place: Place) -> Result<Arc<Node>> {
    if value.layout().is_whole() && value.node.shape() == value.shape() {
        return Ok(value.node);
    }
    Ok(crate::tensor::views::copy(&value, place)?.node)
}
