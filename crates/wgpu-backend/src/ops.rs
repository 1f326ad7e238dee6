//! wgrad's structured operations: a file each that chooses the form of their kernel, and a line in the table.

mod concat;
mod cross_entropy;
mod gather;
mod place;
mod scatter_add;

use wgrad_core::ops::{Concat, CrossEntropy, Gather, Place, ScatterAdd};
use wgrad_core::{AnyOperation, BufferSpec, DType, Error, Operand, Operation, Output, Result};
use wgrad_shaders::{Value, context};

use crate::device::Traits;
use crate::source::{Generated, Slot, Source, register};

pub(crate) use cross_entropy::{Rows, Task};

/// Every operation that has a kernel here.
const TABLE: &[Entry] = &[
    entry::<Concat>(),
    entry::<CrossEntropy>(),
    entry::<Gather>(),
    entry::<Place>(),
    entry::<ScatterAdd>(),
];

/// An operation with a kernel on a GPU.
pub(crate) trait GpuOperation: Operation {
    /// The launches for given operands and results.
    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>>;
}

/// What kernels are made for.
pub(crate) struct Launch<'a> {
    pub traits: &'a Traits,
    pub buffers: &'a [BufferSpec],
    pub inputs: &'a [Operand],
    pub outputs: &'a [Option<Output>],
    /// Bytes of the plan's scratch that are taken.
    pub scratch: &'a mut usize,
}

impl<'a> Launch<'a> {
    /// An empty kernel.
    pub fn source(&self) -> Source<'a> {
        Source::new(self.traits, self.buffers)
    }

    /// A part of the plan's scratch.
    pub fn reserve(&mut self, bytes: usize) -> Slot {
        let bytes = bytes.next_multiple_of(256);
        let offset = *self.scratch;
        *self.scratch += bytes;
        Slot::Scratch { offset, bytes }
    }

    /// Operand `i`.
    pub fn input(&self, i: usize) -> Result<&'a Operand> {
        let operand = self.inputs.get(i);
        operand.ok_or_else(|| Error::Device(format!("a kernel without operand {i}")))
    }

    /// The result of an operation that has one.
    pub fn output(&self) -> Result<&'a Output> {
        let output = self.outputs.first().and_then(Option::as_ref);
        output.ok_or_else(|| Error::Device("a kernel without a result".into()))
    }
}

struct Entry {
    is: fn(&AnyOperation) -> bool,
    generate: fn(&AnyOperation, &mut Launch<'_>) -> Option<Result<Vec<Generated>>>,
}

const fn entry<O: GpuOperation>() -> Entry {
    Entry {
        is: |op| op.downcast_ref::<O>().is_some(),
        generate: |op, launch| Some(op.downcast_ref::<O>()?.generate(launch)),
    }
}

/// Whether there is a kernel for an operation.
pub(crate) fn has_kernel(op: &AnyOperation) -> bool {
    TABLE.iter().any(|entry| (entry.is)(op))
}

/// The launches of an operation.
pub(crate) fn generate(op: &AnyOperation, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
    let known = TABLE.iter().find_map(|entry| (entry.generate)(op, launch));
    known.unwrap_or_else(|| Err(Error::Device(format!("{} has no kernel", op.name()))))
}

/// Threads of a workgroup of [`elements`].
const GROUP: usize = 64;

/// The kernel of a template that declares `element(e)`, the result's element at position `e`, and includes
/// `elements.wgsl`, which stores them all.
pub(crate) fn elements(
    mut source: Source<'_>,
    label: &str,
    template: &'static str,
    variables: Value,
    (slot, dtype): (Slot, DType),
    count: usize,
) -> Result<Generated> {
    source.output("y", slot, dtype, true);
    source.u32("n", count);
    source.bytes += (count * 12) as f64;
    let variables = context! { t => register(dtype), ..variables };
    let groups = count.div_ceil(4).div_ceil(GROUP);
    source.render(label, template, &variables, groups)
}

/// Where a result goes.
pub(crate) fn place_of(output: &Output) -> (Slot, DType) {
    (Slot::Plan(output.buffer), output.dtype)
}
