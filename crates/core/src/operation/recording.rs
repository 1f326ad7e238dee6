//! How an operation is recorded, by its kernel or its reference, and how it stands on the tape.

use smallvec::SmallVec;

use super::{AnyOperation, Operation, Spec};
use crate::autocast::suspended;
use crate::autograd::{self, Context, Grads, Saves};
use crate::record::node::{Op, Source};
use crate::tensor::views::materialized;
use crate::tensor::{Tensor, Value, record, same_device};
use crate::types::error::{Error, Place, Result};

/// Where the operands and results that are kept stand among the tape's inputs.
#[derive(Default)]
struct Kept {
    operands: SmallVec<[Option<u32>; 8]>,
    results: SmallVec<[Option<u32>; 8]>,
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

    fn saved(&self, kept: &[Option<u32>], i: usize) -> Option<Tensor> {
        let at = kept.get(i).copied().flatten()?;
        self.tape.inputs.get(at as usize).cloned()
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
    if results.len() != op.count() || !(1..=256).contains(&results.len()) {
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
            suspended(|| by_reference(&op, &operands, &results, place))?
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
    let made = place.within(|| op.reference(&tensors));
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
        let at = saves.inputs.len() as u32;
        saves.inputs.extend(tensor);
        (saves.inputs.len() > at as usize).then_some(at)
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
