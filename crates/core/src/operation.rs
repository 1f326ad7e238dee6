//! What a structured operation is, and how one is recorded.

mod custom;
mod recording;

use std::any::{Any, TypeId};
use std::fmt::{self, Debug};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use self::custom::{CpuKernel, CpuOperand, CpuResult, Wgsl, WgslVariable};
pub use self::recording::Derivative;
pub(crate) use self::recording::{apply, apply_part};
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::shape::Shape;

/// Shape and element type of an operand or a result.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Spec {
    /// The shape.
    pub shape: Shape,
    /// The element type.
    pub dtype: DType,
}

impl Spec {
    /// Shape and type together.
    pub fn new(shape: impl Into<Shape>, dtype: DType) -> Spec {
        Spec {
            shape: shape.into(),
            dtype,
        }
    }

    pub(super) fn of(value: &Value) -> Spec {
        Spec::new(value.shape().clone(), value.dtype())
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, self.shape)
    }
}

/// An operation that is more than an elementwise row, a reduction or a matrix product.
///
/// The fields of the type are *structure* (sizes, axes, flags): two operations that are equal on equal
/// operands run the same kernels, and a program that comes again with equal operations is replayed.
/// They should be few, and `Hash` and `Eq` are best derived.
///
/// Every operation has a reference, the same in plain operations: it is what runs where there is no
/// kernel and where fusion is off, what the kernels are tested against, and what its derivative is made
/// of unless it has one of its own.
pub trait Operation: Hash + Eq + Debug + Send + Sync + Sized + 'static {
    /// The name in errors, profiles and pictures of the graph.
    const NAME: &'static str;

    /// How many results it has, at most 256.
    const RESULTS: usize = 1;

    /// Whether the references of others are made of it. Such an operation runs by its kernel where
    /// fusion is off, too.
    const PRIMITIVE: bool = false;

    /// The name that errors report, where one operation serves several methods.
    fn called(&self) -> &'static str {
        Self::NAME
    }

    /// Shapes and types of the results, [`Operation::RESULTS`] of them.
    ///
    /// # Errors
    /// What does not fit, for a person, if the operation does not take these operands.
    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String>;

    /// The results in plain operations. Called only with operands that [`Operation::results`] takes.
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor>;

    /// The gradients of the operands by the gradient of one result ([`Derivative::part`]), as tensor
    /// expressions, so that they can be differentiated again. `None` only where the operand needs none
    /// ([`Derivative::needs`]). Without a definition, those of the reference; where the operation runs as its
    /// reference, the gradients are that one's in any case.
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        c.of_reference(self)
    }

    /// Whether an operand counts as a constant: no gradient flows to it.
    fn is_constant(&self, _operand: usize) -> bool {
        false
    }

    /// Whether the derivative looks at an operand's values; what it does not look at is not kept for it.
    fn keeps_operand(&self, _operand: usize) -> bool {
        true
    }

    /// Whether the derivative by result `part` looks at the values of `result`, which is `part` itself or
    /// one before it.
    fn keeps_result(&self, _part: usize, _result: usize) -> bool {
        false
    }

    /// Whether a result has a derivative; one that has none counts as a constant, as integers do.
    fn is_differentiable(&self, _part: usize) -> bool {
        true
    }

    /// Whether the elements of a result lie within those of its operands, however large others are. A factor
    /// of one element then moves from such a matrix to the other side of a product that it is multiplied
    /// in, so that the scaled matrix is never stored.
    fn is_bounded(&self, _part: usize) -> bool {
        false
    }

    /// For an operation that takes indices, the size that they must be below: its kernels report those
    /// that are not, and the error names operation, size and the line that recorded it.
    fn index_range(&self, _operands: &[Spec]) -> Option<usize> {
        None
    }

    /// Operations with operands that they take: what tests compare kernels and derivatives on, and whose
    /// shaders they compile. Small ones suffice; each form of the kernels should be among them.
    fn examples() -> Vec<(Self, Vec<Spec>)>;

    /// The kernel for the CPU that travels with an operation from outside of wgrad.
    fn cpu(&self) -> Option<CpuKernel> {
        None
    }

    /// The kernel for GPUs that travels with an operation from outside of wgrad, for these operands.
    fn wgsl(&self, _operands: &[Spec]) -> Option<Wgsl> {
        None
    }
}

/// [`Operation`] without its type.
pub(super) trait Erased: Any + Send + Sync {
    fn name(&self) -> &'static str;
    fn count(&self) -> usize;
    fn is_primitive(&self) -> bool;
    fn is_constant(&self, operand: usize) -> bool;
    fn cpu(&self) -> Option<CpuKernel>;
    fn wgsl(&self, operands: &[Spec]) -> Option<Wgsl>;
    fn called(&self) -> &'static str;
    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String>;
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor>;
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>>;
    fn keeps_operand(&self, operand: usize) -> bool;
    fn keeps_result(&self, part: usize, result: usize) -> bool;
    fn is_differentiable(&self, part: usize) -> bool;
    fn is_bounded(&self, part: usize) -> bool;
    fn index_range(&self, operands: &[Spec]) -> Option<usize>;
    fn hash_into(&self, state: &mut dyn Hasher);
    fn is_same(&self, other: &dyn Any) -> bool;
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<O: Operation> Erased for O {
    fn name(&self) -> &'static str {
        O::NAME
    }
    fn count(&self) -> usize {
        O::RESULTS
    }
    fn is_primitive(&self) -> bool {
        O::PRIMITIVE
    }
    fn is_constant(&self, operand: usize) -> bool {
        Operation::is_constant(self, operand)
    }
    fn cpu(&self) -> Option<CpuKernel> {
        Operation::cpu(self)
    }
    fn wgsl(&self, operands: &[Spec]) -> Option<Wgsl> {
        Operation::wgsl(self, operands)
    }
    fn called(&self) -> &'static str {
        Operation::called(self)
    }
    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String> {
        Operation::results(self, operands)
    }
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        Operation::reference(self, operands)
    }
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        Operation::derivative(self, c)
    }
    fn keeps_operand(&self, operand: usize) -> bool {
        Operation::keeps_operand(self, operand)
    }
    fn keeps_result(&self, part: usize, result: usize) -> bool {
        Operation::keeps_result(self, part, result)
    }
    fn is_differentiable(&self, part: usize) -> bool {
        Operation::is_differentiable(self, part)
    }
    fn is_bounded(&self, part: usize) -> bool {
        Operation::is_bounded(self, part)
    }
    fn index_range(&self, operands: &[Spec]) -> Option<usize> {
        Operation::index_range(self, operands)
    }
    fn hash_into(&self, mut state: &mut dyn Hasher) {
        TypeId::of::<O>().hash(&mut state);
        self.hash(&mut state);
    }
    fn is_same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<O>().is_some_and(|other| self == other)
    }
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt(f)
    }
}

/// Any [`Operation`], as kernels and backends have it. Cheap to clone.
#[derive(Clone)]
pub struct AnyOperation(pub(super) Arc<dyn Erased>);

impl AnyOperation {
    /// Wraps an operation.
    pub fn new(operation: impl Operation) -> AnyOperation {
        AnyOperation(Arc::new(operation))
    }

    /// The operation, if it is an `O`.
    pub fn downcast_ref<O: Operation>(&self) -> Option<&O> {
        let any: &dyn Any = &*self.0;
        any.downcast_ref()
    }

    /// [`Operation::NAME`].
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// [`Operation::called`].
    pub fn called(&self) -> &'static str {
        self.0.called()
    }

    /// [`Operation::RESULTS`].
    pub fn count(&self) -> usize {
        self.0.count()
    }

    /// [`Operation::cpu`].
    pub fn cpu(&self) -> Option<CpuKernel> {
        self.0.cpu()
    }

    /// [`Operation::wgsl`].
    pub fn wgsl(&self, operands: &[Spec]) -> Option<Wgsl> {
        self.0.wgsl(operands)
    }

    /// [`Operation::is_constant`].
    pub fn is_constant(&self, operand: usize) -> bool {
        self.0.is_constant(operand)
    }

    /// [`Operation::PRIMITIVE`].
    pub fn is_primitive(&self) -> bool {
        self.0.is_primitive()
    }

    /// [`Operation::results`].
    ///
    /// # Errors
    /// As there.
    pub fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String> {
        self.0.results(operands)
    }

    /// [`Operation::reference`].
    pub fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        self.0.reference(operands)
    }

    /// [`Operation::is_bounded`].
    pub fn is_bounded(&self, part: usize) -> bool {
        self.0.is_bounded(part)
    }

    /// [`Operation::index_range`].
    pub fn index_range(&self, operands: &[Spec]) -> Option<usize> {
        self.0.index_range(operands)
    }
}

impl PartialEq for AnyOperation {
    fn eq(&self, other: &AnyOperation) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.is_same(&*other.0)
    }
}

impl Eq for AnyOperation {}

impl Hash for AnyOperation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash_into(state);
    }
}

impl Debug for AnyOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe(f)
    }
}
