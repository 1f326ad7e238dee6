//! Operations from outside: the door through which a program records its own, and the kernels that travel
//! with them.

use std::fmt;
use std::sync::Arc;

use super::{AnyOperation, Operation, Spec, apply};
use crate::tensor::device::Device;
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::element::Element;
use crate::types::error::{Place, Result};
use crate::types::shape::Shape;

impl Tensor {
    /// Records an operation of your own on `operands`, all on one device: its [`Operation::RESULTS`]
    /// results.
    ///
    /// It runs by its own kernel where it has one for the device, and as its reference elsewhere, which
    /// [`Profile`](crate::Profile) tells of; gradients flow through it like through any other. Operands may
    /// be views with any strides. Numbers that change from run to run are operands too, tensors without
    /// dimensions: the fields of the operation are structure, for whose every value the program is planned
    /// anew.
    ///
    /// With operands that do not fit, all results are failed tensors that carry the reason. The facade's
    /// `examples/custom_operation.rs` has an operation with both kernels, `docs/guide/adding-an-operation.md`
    /// goes through it step by step.
    #[track_caller]
    pub fn custom<O: Operation>(operation: O, operands: &[&Tensor]) -> Vec<Tensor> {
        AnyOperation::new(operation).record(operands)
    }
}

impl AnyOperation {
    /// [`Tensor::custom`] for an operation whose type is not known.
    #[track_caller]
    pub fn record(&self, operands: &[&Tensor]) -> Vec<Tensor> {
        let place = Place::caller();
        let wanted: Vec<usize> = (0..self.count()).collect();
        let made = || -> Result<Vec<Tensor>> {
            let values = operands.iter().map(|operand| operand.capture());
            let values: Vec<Value> = values.collect::<Result<_>>()?;
            let values: Vec<&Value> = values.iter().collect();
            apply(self.clone(), &values, &wanted, place)
        };
        made().unwrap_or_else(|error| {
            let device = match operands.first() {
                Some(operand) => operand.device().clone(),
                None => Device::failed(error.clone()),
            };
            vec![Tensor::fail(&device, error); wanted.len()]
        })
    }
}

/// An operand of a [`CpuKernel`]: its elements in row-major order, whatever its strides were.
pub struct CpuOperand<'a> {
    spec: &'a Spec,
    bytes: &'a [u8],
}

impl<'a> CpuOperand<'a> {
    /// For backends: the elements as bytes, aligned to their size.
    pub fn new(spec: &'a Spec, bytes: &'a [u8]) -> CpuOperand<'a> {
        CpuOperand { spec, bytes }
    }

    /// The shape.
    pub fn shape(&self) -> &'a Shape {
        &self.spec.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.spec.dtype
    }

    /// The elements; `None` if they are of another type.
    pub fn values<T: Element>(&self) -> Option<&'a [T]> {
        (T::DTYPE == self.spec.dtype)
            .then(|| T::view(self.bytes))
            .flatten()
    }
}

/// A result of a [`CpuKernel`]: its elements in row-major order, all 0 at first.
pub struct CpuResult<'a> {
    spec: &'a Spec,
    bytes: &'a mut [u8],
}

impl<'a> CpuResult<'a> {
    /// For backends: the elements as bytes, all 0, aligned to their size.
    pub fn new(spec: &'a Spec, bytes: &'a mut [u8]) -> CpuResult<'a> {
        CpuResult { spec, bytes }
    }

    /// The shape.
    pub fn shape(&self) -> &'a Shape {
        &self.spec.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.spec.dtype
    }

    /// The elements; `None` if they are of another type.
    pub fn values_mut<T: Element>(&mut self) -> Option<&mut [T]> {
        (T::DTYPE == self.spec.dtype)
            .then(|| T::view_mut(self.bytes))
            .flatten()
    }
}

type Run = dyn Fn(&[CpuOperand<'_>], &mut [CpuResult<'_>]) -> Option<i64> + Send + Sync;

/// A kernel for the CPU that travels with an operation: a function from the operands' elements to the
/// results'.
///
/// ```
/// use wgrad_core::CpuKernel;
/// // Every element and its neighbour to the right.
/// let kernel = CpuKernel::new(|x, y| {
///     if let (Some(x), Some(y)) = (x[0].values::<f32>(), y[0].values_mut::<f32>()) {
///         for i in 0..x.len() {
///             y[i] = x[i] + x.get(i + 1).unwrap_or(&0.0);
///         }
///     }
/// });
/// ```
#[derive(Clone)]
pub struct CpuKernel(Arc<Run>);

impl CpuKernel {
    /// The function as a kernel. It gets all operands and all results of the operation, in their order.
    pub fn new(
        run: impl Fn(&[CpuOperand<'_>], &mut [CpuResult<'_>]) + Send + Sync + 'static,
    ) -> CpuKernel {
        CpuKernel(Arc::new(move |operands, results| {
            run(operands, results);
            None
        }))
    }

    /// The kernel of an operation with indices ([`Operation::index_range`]): the function returns the first
    /// one that is out of range.
    pub fn with_indices(
        run: impl Fn(&[CpuOperand<'_>], &mut [CpuResult<'_>]) -> Option<i64> + Send + Sync + 'static,
    ) -> CpuKernel {
        CpuKernel(Arc::new(run))
    }

    /// For backends: runs it; the first bad index.
    pub fn run(&self, operands: &[CpuOperand<'_>], results: &mut [CpuResult<'_>]) -> Option<i64> {
        (self.0)(operands, results)
    }
}

impl fmt::Debug for CpuKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CpuKernel")
    }
}

/// What a template's variable stands for.
#[derive(Clone, PartialEq, Debug)]
pub enum WgslVariable {
    /// A number.
    Number(i64),
    /// A condition.
    Flag(bool),
    /// A piece of text.
    Text(String),
}

impl From<usize> for WgslVariable {
    fn from(value: usize) -> WgslVariable {
        WgslVariable::Number(value as i64)
    }
}

impl From<bool> for WgslVariable {
    fn from(value: bool) -> WgslVariable {
        WgslVariable::Flag(value)
    }
}

impl From<&str> for WgslVariable {
    fn from(value: &str) -> WgslVariable {
        WgslVariable::Text(value.into())
    }
}

/// A kernel for GPUs that travels with an operation: a template of a WGSL compute shader, and what it is
/// given.
///
/// The template is a shader with `main`; `{{name}}` puts in a variable, lines that begin with `#` are
/// statements of minijinja (`#if`, `#for`, `#set`), which choose and unroll. The backend puts in front of it:
///
/// - for each operand `load_x0(i)`, its element at row-major position `i` (a `u32`) whatever its strides,
///   and for each result `store_y0(i, value)`; the names are those of [`Wgsl::operands`] and
///   [`Wgsl::results`]. Elements are `f32` for floats, `i32`, `u32` (for `u8` too) and `bool`;
/// - `params.name` for each of [`Wgsl::param`], a `u32`: what differs from one size to the next belongs here,
///   for then a new size compiles nothing new;
/// - `report_fault(low, high)` for an operation with [`Operation::index_range`]: the words of an index that is
///   out of range;
/// - `linear_group(group, groups)`, the number of a workgroup, which are laid out in two dimensions where
///   there are many. There may be more workgroups than were asked for.
///
/// ```
/// use wgrad_core::Wgsl;
/// let shader = "
/// @compute @workgroup_size(64)
/// fn main(
///     @builtin(workgroup_id) group: vec3<u32>,
///     @builtin(num_workgroups) groups: vec3<u32>,
///     @builtin(local_invocation_index) lane: u32,
/// ) {
///     let i = linear_group(group, groups) * 64u + lane;
///     if i < params.n {
///         store_y(i, load_x(i) + select(load_x(min(i + 1u, params.n - 1u)), 0.0, i + 1u == params.n));
///     }
/// }
/// ";
/// let n = 1000usize;
/// let kernel = Wgsl::new(shader, n.div_ceil(64)).operands(&["x"]).results(&["y"]).param("n", n);
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Wgsl {
    /// The text of the template.
    pub template: &'static str,
    /// How many workgroups run.
    pub groups: usize,
    /// Names of the operands, in their order; those without one are `x0`, `x1`, ...
    pub operand_names: Vec<&'static str>,
    /// Names of the results, in their order; those without one are `y0`, `y1`, ...
    pub result_names: Vec<&'static str>,
    /// Numbers that the shader reads.
    pub params: Vec<(&'static str, u32)>,
    /// Variables of the template.
    pub variables: Vec<(&'static str, WgslVariable)>,
}

impl Wgsl {
    /// A template that so many workgroups run.
    pub fn new(template: &'static str, groups: usize) -> Wgsl {
        Wgsl {
            template,
            groups,
            operand_names: Vec::new(),
            result_names: Vec::new(),
            params: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Names the operands.
    pub fn operands(self, names: &[&'static str]) -> Wgsl {
        Wgsl {
            operand_names: names.into(),
            ..self
        }
    }

    /// Names the results.
    pub fn results(self, names: &[&'static str]) -> Wgsl {
        Wgsl {
            result_names: names.into(),
            ..self
        }
    }

    /// A number that the shader reads as `params.name`.
    pub fn param(mut self, name: &'static str, value: usize) -> Wgsl {
        self.params.push((name, value as u32));
        self
    }

    /// A variable of the template.
    pub fn variable(mut self, name: &'static str, value: impl Into<WgslVariable>) -> Wgsl {
        self.variables.push((name, value.into()));
        self
    }
}
