//! The tensor: a handle to a recorded value, a variable, or a failure.

pub(crate) mod create;
pub(crate) mod device;
// In a browser nothing waits for values, so tensors are not printed there.
#[cfg_attr(target_arch = "wasm32", allow(dead_code, unused_imports))]
mod print;
mod read;
pub(crate) mod slice;
pub(crate) mod variable;
pub(crate) mod views;

use std::sync::Arc;

use smallvec::SmallVec;

use crate::autograd::{self, History};
use crate::record::node::{Constant, Node, Op, Recipe, Source, State, View};
use crate::record::pending;
use crate::tensor::device::Device;
use crate::tensor::variable::Variable;
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Error, Place, Result};
use crate::types::layout::Layout;
use crate::types::shape::Shape;

/// An n-dimensional array on a device.
///
/// Building never fails: an operation whose operands do not fit returns a *failed tensor* that
/// carries the [`Error`], everything made from it carries the same error, and whatever reads it
/// returns it. Operations are recorded; they run when something is read, when an optimizer steps,
/// or on [`Device::synchronize`]. A clone shares the value.
#[derive(Clone)]
#[must_use = "operations return new tensors"]
pub struct Tensor(pub(crate) Arc<Inner>);

pub(crate) enum Inner {
    Failed { device: Device, error: Error },
    Value(Value),
    Variable(Variable),
}

/// A view of a node's result, and where it came from for the backward pass.
#[derive(Clone)]
pub(crate) struct Value {
    pub node: Arc<Node>,
    pub view: View,
    pub history: Option<History>,
}

impl Value {
    pub fn new(node: Arc<Node>) -> Value {
        Value {
            node,
            view: View::default(),
            history: None,
        }
    }

    /// The same node's elements through another layout, without a history.
    pub fn through(&self, layout: Layout) -> Value {
        Value {
            node: self.node.clone(),
            view: View::new(&self.node, layout),
            history: None,
        }
    }

    pub fn layout(&self) -> &Layout {
        self.view.layout(&self.node)
    }

    pub fn shape(&self) -> &Shape {
        &self.layout().shape
    }

    pub fn dtype(&self) -> DType {
        self.node.dtype
    }

    /// The value as an operand of an elementwise operation over its own shape.
    pub fn source(&self) -> Source {
        self.seen_as(|| self.view.clone())
    }

    /// The value through another layout of the same node. A constant is a scalar, whatever the
    /// layout.
    pub fn source_as(&self, layout: Layout) -> Source {
        self.seen_as(|| View::new(&self.node, layout))
    }

    fn seen_as(&self, view: impl FnOnce() -> View) -> Source {
        match self.node.constant {
            Some(constant) => Source::Scalar(constant.value, self.dtype().compute()),
            None => Source::Node(self.node.clone(), view()),
        }
    }

    pub fn into_tensor(self) -> Tensor {
        Tensor(Arc::new(Inner::Value(self)))
    }
}

impl Tensor {
    pub(crate) fn fail(device: &Device, error: Error) -> Tensor {
        Tensor(Arc::new(Inner::Failed {
            device: device.clone(),
            error,
        }))
    }

    /// The tensor, or the failed tensor that an error makes.
    pub(crate) fn or_fail(device: &Device, result: Result<Tensor>) -> Tensor {
        result.unwrap_or_else(|error| Tensor::fail(device, error))
    }

    /// Does `f` with the value of this moment; fails as this tensor has.
    pub(crate) fn then(&self, f: impl FnOnce(Value) -> Result<Tensor>) -> Tensor {
        Tensor::or_fail(self.device(), self.capture().and_then(f))
    }

    /// The value of this moment. Later writes to a variable do not change it.
    pub(crate) fn capture(&self) -> Result<Value> {
        match &*self.0 {
            Inner::Failed { error, .. } => Err(error.clone()),
            Inner::Value(value) => Ok(value.clone()),
            Inner::Variable(variable) => {
                let mut value = Value::new(variable.value());
                if variable.requires_grad() {
                    value.history = Some(History::Variable(self.clone()));
                }
                Ok(value)
            }
        }
    }

    /// The variable behind this handle, if it is one.
    pub(crate) fn variable(&self) -> Option<&Variable> {
        match &*self.0 {
            Inner::Variable(variable) => Some(variable),
            _ => None,
        }
    }

    /// The device that the tensor is on. Works on failed tensors too.
    pub fn device(&self) -> &Device {
        match &*self.0 {
            Inner::Failed { device, .. } => device,
            Inner::Value(value) => &value.node.device,
            Inner::Variable(variable) => variable.device(),
        }
    }

    /// The error that a failed tensor carries. A tensor that has not run yet may still fail.
    pub fn error(&self) -> Option<Error> {
        match &*self.0 {
            Inner::Failed { error, .. } => Some(error.clone()),
            _ => None,
        }
    }

    /// The tensor, or its error: ends a chain of operations where `?` should stop.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// fn forward(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    ///     x.matmul(w).relu().checked()
    /// }
    /// let w = Tensor::ones([4, 2], &dev);
    /// assert!(forward(&Tensor::ones([3, 4], &dev), &w).is_ok());
    /// assert!(forward(&Tensor::ones([3, 5], &dev), &w).is_err());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// A failed tensor's error.
    pub fn checked(self) -> Result<Tensor> {
        match self.error() {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    fn read<T>(&self, f: impl FnOnce(&Shape, DType) -> T) -> Result<T> {
        match &*self.0 {
            Inner::Failed { error, .. } => Err(error.clone()),
            Inner::Value(value) => Ok(f(value.shape(), value.dtype())),
            Inner::Variable(variable) => Ok(f(variable.shape(), variable.dtype())),
        }
    }

    /// The shape.
    ///
    /// # Errors
    /// A failed tensor's error.
    pub fn shape(&self) -> Result<Shape> {
        self.read(|shape, _| shape.clone())
    }

    /// The number of dimensions.
    ///
    /// # Errors
    /// A failed tensor's error.
    pub fn rank(&self) -> Result<usize> {
        self.read(|shape, _| shape.rank())
    }

    /// The number of elements.
    ///
    /// # Errors
    /// A failed tensor's error.
    pub fn numel(&self) -> Result<usize> {
        self.read(|shape, _| shape.numel())
    }

    /// The element type.
    ///
    /// # Errors
    /// A failed tensor's error.
    pub fn dtype(&self) -> Result<DType> {
        self.read(|_, dtype| dtype)
    }

    /// The shape as an array, where the rank is known: `let [n, c] = x.dims()?;`
    ///
    /// # Errors
    /// A failed tensor's error, or [`Error::Shape`] if the rank differs.
    #[track_caller]
    pub fn dims<const N: usize>(&self) -> Result<[usize; N]> {
        let place = Place::caller();
        let shape = self.shape()?;
        <[usize; N]>::try_from(shape.dims()).map_err(|_| {
            Error::shape(
                "dims",
                place,
                format!("shape {shape} has rank {}, not {N}", shape.rank()),
            )
        })
    }
}

/// The second operand of an operation: a tensor or a number.
#[derive(Clone)]
pub enum Rhs {
    /// A tensor.
    Tensor(Tensor),
    /// A number, the same for all elements.
    Scalar(Scalar),
}

impl From<&Tensor> for Rhs {
    fn from(tensor: &Tensor) -> Rhs {
        Rhs::Tensor(tensor.clone())
    }
}

impl From<Tensor> for Rhs {
    fn from(tensor: Tensor) -> Rhs {
        Rhs::Tensor(tensor)
    }
}

impl<S: Into<Scalar>> From<S> for Rhs {
    fn from(scalar: S) -> Rhs {
        Rhs::Scalar(scalar.into())
    }
}

/// Records one operation: checks the result against the device's limits, makes the node, and
/// notes it for this thread's next run.
pub(crate) fn record(
    name: &'static str,
    device: &Device,
    op: Op,
    inputs: SmallVec<[Source; 2]>,
    shape: Shape,
    dtype: DType,
    place: Place,
) -> Result<Value> {
    record_node(
        name,
        device,
        Recipe { op, inputs },
        shape,
        dtype,
        None,
        place,
    )
}

pub(crate) fn record_node(
    name: &'static str,
    device: &Device,
    recipe: Recipe,
    shape: Shape,
    dtype: DType,
    constant: Option<Constant>,
    place: Place,
) -> Result<Value> {
    match &recipe.op {
        // Most of these are never stored; what is, is looked at when it is planned.
        Op::Map(_) if device.fusion() => check_type(name, device, &shape, dtype, place)?,
        _ => check_size(name, device, &shape, dtype, place)?,
    }
    check_views(name, device, &recipe.inputs, place)?;
    let node = Node::new(
        device.clone(),
        shape,
        dtype,
        place,
        constant,
        State::Pending(recipe),
    );
    let node = Arc::new(node);
    // A constant is a scalar to those who use it, and computed only if somebody reads it.
    if node.constant.is_none() {
        pending::note(&node);
    }
    Ok(Value::new(node))
}

/// Whether the device's kernels can count the elements of views, which may be many more than are
/// stored: a dimension that was expanded has stride 0.
fn check_views(name: &'static str, device: &Device, inputs: &[Source], place: Place) -> Result<()> {
    for input in inputs {
        if let Source::Node(node, view) = input
            && !view.is_whole()
        {
            let shape = &view.layout(node).shape;
            check_count(name, device, shape, node.dtype, place)?;
        }
    }
    Ok(())
}

pub(crate) fn check_count(
    name: &'static str,
    device: &Device,
    shape: &Shape,
    dtype: DType,
    place: Place,
) -> Result<()> {
    let limits = device.open()?.backend.limits();
    let numel = shape.checked_numel().unwrap_or(usize::MAX);
    if numel <= limits.max_elements && shape.is_countable() {
        return Ok(());
    }
    let size = limits.size(dtype);
    Err(Error::TooLarge {
        op: name,
        shape: shape.clone(),
        bytes: numel.saturating_mul(size),
        limit: limits.max_elements.saturating_mul(size),
        what: "tensor",
        place,
    })
}

/// Whether the device can compute a tensor of this shape and type.
fn check_type(
    name: &'static str,
    device: &Device,
    shape: &Shape,
    dtype: DType,
    place: Place,
) -> Result<()> {
    if !device.open()?.backend.limits().has(dtype) {
        return Err(Error::unsupported(name, place, dtype, device.name()));
    }
    check_count(name, device, shape, dtype, place)
}

/// Whether the device can hold a tensor of this shape and type.
pub(crate) fn check_size(
    name: &'static str,
    device: &Device,
    shape: &Shape,
    dtype: DType,
    place: Place,
) -> Result<()> {
    check_type(name, device, shape, dtype, place)?;
    let limits = device.open()?.backend.limits();
    let numel = shape.checked_numel().unwrap_or(usize::MAX);
    let bytes = numel.saturating_mul(limits.size(dtype));
    match limits.exceeded_by(bytes) {
        None => Ok(()),
        Some((limit, what)) => Err(Error::TooLarge {
            op: name,
            shape: shape.clone(),
            bytes,
            limit,
            what,
            place,
        }),
    }
}

/// The device of `values`, all of which must be on it.
pub(crate) fn same_device(name: &'static str, a: &Value, b: &Value, place: Place) -> Result<()> {
    if a.node.device == b.node.device {
        return Ok(());
    }
    Err(a.node.device.mismatch(name, &b.node.device, place))
}

/// A view of `value` through `layout`: no kernel, only a derivative.
pub(crate) fn view(
    name: &'static str,
    value: &Value,
    layout: Layout,
    place: Place,
    back: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static,
) -> Tensor {
    let result = value.through(layout);
    if !autograd::tracks(&[value]) {
        return result.into_tensor();
    }
    autograd::track(
        name,
        result,
        &[value],
        autograd::Saves::default(),
        place,
        move |c| SmallVec::from_iter([Some(back(c.grad))]),
    )
}
