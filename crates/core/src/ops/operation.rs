//! What a structured operation is, and how one is recorded.

use std::any::{Any, TypeId};
use std::fmt::{self, Debug};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use smallvec::SmallVec;

use super::custom::{CpuKernel, Wgsl};
use crate::autograd::{self, Context, Grads, Saves};
use crate::dtype::DType;
use crate::error::{Error, Place, Result};
use crate::node::{Op, Source};
use crate::shape::Shape;
use crate::tensor::{Tensor, Value, record, same_device};
use crate::views::materialized;

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

    fn of(value: &Value) -> Spec {
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
    /// ([`Derivative::needs`]). Without a definition, those of the reference.
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
trait Erased: Any + Send + Sync {
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
pub struct AnyOperation(Arc<dyn Erased>);

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

/// Where the operands and results that are kept stand among the tape's inputs.
#[derive(Default)]
struct Kept {
    operands: SmallVec<[Option<u8>; 8]>,
    results: SmallVec<[Option<u8>; 8]>,
}

/// What a derivative is made from.
pub struct Derivative<'a> {
    part: usize,
    specs: &'a [Spec],
    kept: &'a Kept,
    tape: &'a Context<'a>,
}

impl Derivative<'_> {
    /// The number of the result whose gradient this is.
    pub fn part(&self) -> usize {
        self.part
    }

    /// The gradient of that result, of its shape.
    pub fn grad(&self) -> &Tensor {
        self.tape.grad
    }

    /// Whether operand `i` wants a gradient.
    pub fn needs(&self, i: usize) -> bool {
        self.tape.needs.get(i).copied().unwrap_or(false)
    }

    /// How many operands there are.
    pub fn operands(&self) -> usize {
        self.specs.len()
    }

    /// Shape and type of operand `i`, if there is one.
    pub fn spec(&self, i: usize) -> Option<&Spec> {
        self.specs.get(i)
    }

    /// Operand `i`; a failed tensor if it was not kept.
    pub fn operand(&self, i: usize) -> Tensor {
        self.saved(&self.kept.operands, i)
            .unwrap_or_else(|| self.absent(&format!("operand {i} is not kept for it")))
    }

    /// Result `i`, the derivative's own or one before it; a failed tensor if it was not kept.
    pub fn result(&self, i: usize) -> Tensor {
        let own = i == self.part && !std::ptr::eq(self.tape.output, self.tape.grad);
        let result = match own {
            true => Some(self.tape.output.clone()),
            false => self.saved(&self.kept.results, i),
        };
        result.unwrap_or_else(|| self.absent(&format!("result {i} is not kept for it")))
    }

    fn saved(&self, kept: &[Option<u8>], i: usize) -> Option<Tensor> {
        let at = kept.get(i).copied().flatten()?;
        self.tape.inputs.get(usize::from(at)).cloned()
    }

    fn absent(&self, problem: &str) -> Tensor {
        let error = Error::Grad {
            op: "derivative",
            problem: problem.into(),
            place: Place::caller(),
        };
        Tensor::fail(self.tape.grad.device(), error)
    }

    /// The derivative of an operation's reference, by the tape of its plain operations.
    pub fn of_reference(&self, operation: &impl Operation) -> Vec<Option<Tensor>> {
        let operands: Vec<Tensor> = (0..self.operands()).map(|i| self.operand(i)).collect();
        let part = |operands: &[Tensor]| {
            let results = operation.reference(operands);
            results
                .into_iter()
                .nth(self.part)
                .unwrap_or_else(|| self.absent("there is no such result"))
        };
        autograd::through(
            part,
            &operands,
            self.tape.needs,
            self.tape.grad,
            Place::caller(),
        )
    }
}

/// Records one result of an operation.
pub(crate) fn apply_part(
    op: AnyOperation,
    operands: &[&Value],
    part: usize,
    place: Place,
) -> Result<Tensor> {
    let one = apply(op, operands, &[part], place)?.pop();
    one.ok_or_else(|| Error::Device("an operation without results".into()))
}

/// Records an operation; the results `wanted`, in their order. Results of equal operations on equal operands
/// come from one kernel, whenever they are recorded.
pub(crate) fn apply(
    op: AnyOperation,
    operands: &[&Value],
    wanted: &[usize],
    place: Place,
) -> Result<Vec<Tensor>> {
    let name = op.called();
    let Some(first) = operands.first() else {
        return Err(Error::value(name, place, "no operands"));
    };
    for value in &operands[1..] {
        same_device(name, first, value, place)?;
    }
    let specs: Vec<Spec> = operands.iter().map(|value| Spec::of(value)).collect();
    let results = op.results(&specs);
    let results = results.map_err(|problem| Error::shape(name, place, problem))?;
    if results.len() != op.count() {
        let problem = format!("has {} results instead of {}", results.len(), op.count());
        return Err(Error::value(name, place, problem));
    }
    let constants = operands.iter().enumerate().map(|(i, &value)| {
        let mut value = value.clone();
        value.history = value.history.filter(|_| !op.is_constant(i));
        value
    });
    let values: SmallVec<[Value; 4]> = constants.collect();
    let operands: SmallVec<[&Value; 4]> = values.iter().collect();
    let open = first.node.device.open()?;
    let by_kernel = (open.fusion || op.is_primitive()) && open.backend.has_kernel(&op, &specs);
    let made = match by_kernel {
        true => by_kernel_of(&op, &operands, &specs, results, wanted, place)?,
        false => {
            if open.fusion {
                open.note_reference(op.name());
            }
            by_reference(&op, &operands, &results, place)?
        }
    };
    let result = |&part: &usize| made.get(part).cloned().flatten();
    let absent = || Error::value(name, place, "there is no such result");
    wanted
        .iter()
        .map(|part| result(part).ok_or_else(absent))
        .collect()
}

/// Records the results that are wanted, and those that their derivatives keep.
fn by_kernel_of(
    op: &AnyOperation,
    operands: &[&Value],
    specs: &[Spec],
    results: Vec<Spec>,
    wanted: &[usize],
    place: Place,
) -> Result<Vec<Option<Tensor>>> {
    let mut values: SmallVec<[Value; 4]> = SmallVec::new();
    for value in operands {
        values.push(materialized(value, place)?);
    }
    let operands: SmallVec<[&Value; 4]> = values.iter().collect();
    let inputs: SmallVec<[Source; 2]> = operands.iter().map(|value| value.source()).collect();
    let on_tape = autograd::tracks(&operands);
    let tracks =
        |part: usize| on_tape && results[part].dtype.is_float() && op.0.is_differentiable(part);
    let mut needed: SmallVec<[bool; 4]> = (0..results.len()).map(|r| wanted.contains(&r)).collect();
    for part in (0..results.len()).rev() {
        for before in 0..part {
            needed[before] |= needed[part] && tracks(part) && op.0.keeps_result(part, before);
        }
    }
    let mut made: Vec<Option<Tensor>> = Vec::with_capacity(results.len());
    for (part, spec) in results.iter().enumerate() {
        if !needed[part] {
            made.push(None);
            continue;
        }
        let node = Op::Operation {
            op: op.clone(),
            part: part as u8,
        };
        let device = &operands[0].node.device;
        let (shape, name) = (spec.shape.clone(), op.called());
        let y = record(name, device, node, inputs.clone(), shape, spec.dtype, place)?;
        made.push(Some(match tracks(part) {
            true => track(op, part, y, &operands, specs, &made, place),
            false => y.into_tensor(),
        }));
    }
    Ok(made)
}

/// The results of the reference, checked against the shape rule.
fn by_reference(
    op: &AnyOperation,
    operands: &[&Value],
    results: &[Spec],
    place: Place,
) -> Result<Vec<Option<Tensor>>> {
    let tensors: Vec<Tensor> = operands
        .iter()
        .map(|&value| value.clone().into_tensor())
        .collect();
    let made = place.hold(|| op.reference(&tensors));
    if made.len() != results.len() {
        let problem = format!(
            "its reference gives {} results instead of {}",
            made.len(),
            results.len()
        );
        return Err(Error::value(op.called(), place, problem));
    }
    for (tensor, spec) in made.iter().zip(results) {
        let value = tensor.capture()?;
        if Spec::of(&value) != *spec {
            let problem = format!("its reference gives {} instead of {spec}", Spec::of(&value));
            return Err(Error::value(op.called(), place, problem));
        }
    }
    Ok(made.into_iter().map(Some).collect())
}

/// Puts one result on the tape; `before` it come those that its derivative may keep.
fn track(
    op: &AnyOperation,
    part: usize,
    y: Value,
    operands: &[&Value],
    specs: &[Spec],
    before: &[Option<Tensor>],
    place: Place,
) -> Tensor {
    let mut saves = Saves {
        inputs: SmallVec::new(),
        output: op.0.keeps_result(part, part),
    };
    let mut keep = |tensor: Option<Tensor>| {
        let at = saves.inputs.len() as u8;
        saves.inputs.extend(tensor);
        (saves.inputs.len() > usize::from(at)).then_some(at)
    };
    let mut kept = Kept::default();
    for (i, &operand) in operands.iter().enumerate() {
        let keeps = op.0.keeps_operand(i);
        kept.operands
            .push(keep(keeps.then(|| operand.clone().into_tensor())));
    }
    for (i, result) in before.iter().enumerate() {
        let keeps = op.0.keeps_result(part, i);
        kept.results.push(keep(result.clone().filter(|_| keeps)));
    }
    let (op, specs) = (op.clone(), specs.to_vec());
    autograd::track(op.called(), y, operands, saves, place, move |tape| {
        let c = Derivative {
            part,
            specs: &specs,
            kept: &kept,
            tape,
        };
        let grads = op.0.derivative(&c);
        complete(&op, &c, grads)
    })
}

/// The gradients as the tape takes them: one for each operand that needs it, of its shape and type. What
/// a derivative leaves out would be cut off the graph without a word, so it is an error.
fn complete(op: &AnyOperation, c: &Derivative<'_>, grads: Vec<Option<Tensor>>) -> Grads {
    let device = c.grad().device();
    let wrong = |problem: String| {
        let op = op.called();
        let place = Place::caller();
        Tensor::fail(device, Error::Grad { op, problem, place })
    };
    let mut grads = grads.into_iter().chain(std::iter::repeat(None));
    let checked = c.specs.iter().enumerate().map(|(i, spec)| {
        let grad = grads.next().flatten();
        if !c.needs(i) {
            return None;
        }
        Some(match grad {
            None => wrong(format!("its derivative leaves out operand {i}")),
            Some(grad) => match grad.shape() {
                Ok(shape) if shape != spec.shape => wrong(format!(
                    "its derivative for operand {i} has shape {shape} instead of {}",
                    spec.shape
                )),
                _ => grad.to_dtype(spec.dtype),
            },
        })
    });
    checked.collect()
}
