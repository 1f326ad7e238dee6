//! wgrad's structured operations: a file each that chooses the form of their kernel, and a line in the table.

mod attention;
mod concat;
mod cross_entropy;
mod custom;
mod fold;
mod gather;
mod place;
mod pool;
mod scan;
mod scatter;
mod search_sorted;
mod sort;
mod windows;

use smallvec::SmallVec;
use wgrad_core::ops::{
    Attention, AttentionGrad, Concat, CrossEntropy, Fold, Gather, MaxPool, Place, Scan, Scatter,
    SearchSorted, Sort, SumPool,
};
use wgrad_core::{
    AnyOperation, Arg, BufferSpec, DType, Error, Instr, Layout, MapOp, Operand, Operation, Output,
    Program, Result, Shape, Spec,
};
use wgrad_shaders::{Value, context};

use crate::device::Traits;
use crate::map;
use crate::operand::Access;
use crate::source::{Generated, Slot, Source, register};

/// Every operation that has a kernel here.
const TABLE: &[Entry] = &[
    entry::<Attention>(),
    entry::<AttentionGrad>(),
    entry::<Concat>(),
    entry::<CrossEntropy>(),
    entry::<Fold>(),
    entry::<Gather>(),
    entry::<MaxPool>(),
    entry::<Place>(),
    entry::<Scatter>(),
    entry::<Scan>(),
    entry::<SearchSorted>(),
    entry::<Sort>(),
    entry::<SumPool>(),
];

/// An operation with a kernel on a GPU.
pub(crate) trait GpuOperation: Operation {
    /// Whether the kernel takes such operands, with at most so many bindings, and is the best way.
    fn takes(operands: &[Spec], bindings: usize, _: &Traits) -> bool {
        operands.len() + Self::RESULTS <= bindings
    }

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
    takes: fn(&[Spec], usize, &Traits) -> bool,
    generate: fn(&AnyOperation, &mut Launch<'_>) -> Option<Result<Vec<Generated>>>,
}

const fn entry<O: GpuOperation>() -> Entry {
    Entry {
        is: |op| op.downcast_ref::<O>().is_some(),
        takes: O::takes,
        generate: |op, launch| Some(op.downcast_ref::<O>()?.generate(launch)),
    }
}

/// Whether an operation of wgrad's has a kernel here for some operands.
pub(crate) fn is_known(op: &AnyOperation) -> bool {
    TABLE.iter().any(|entry| (entry.is)(op))
}

/// Whether there is a kernel for an operation, with at most so many bindings.
pub(crate) fn has_kernel(
    op: &AnyOperation,
    operands: &[Spec],
    bindings: usize,
    traits: &Traits,
) -> bool {
    match TABLE.iter().find(|entry| (entry.is)(op)) {
        Some(entry) => (entry.takes)(operands, bindings, traits),
        None => operands.len() + op.count() <= bindings && op.wgsl(operands).is_some(),
    }
}

/// The launches of an operation.
pub(crate) fn generate(op: &AnyOperation, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
    let known = TABLE.iter().find_map(|entry| (entry.generate)(op, launch));
    if let Some(known) = known {
        return known;
    }
    let spec = |operand: &Operand| Spec::new(&operand.layout.shape, operand.dtype);
    let specs: Vec<Spec> = launch.inputs.iter().map(spec).collect();
    match op.wgsl(&specs) {
        Some(wgsl) => custom::generate(op, &wgsl, launch),
        None => Err(Error::Device(format!("{} has no kernel", op.name()))),
    }
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

/// The launch that packs a result which a kernel could only store in whole words.
pub(crate) fn packed(
    launch: &Launch<'_>,
    (slot, whole): (Slot, DType),
    output: &Output,
    count: usize,
) -> Result<Vec<Generated>> {
    let shape = Shape::from([count]);
    let input = Access {
        name: "x0".into(),
        slot,
        dtype: whole,
        layout: Layout::contiguous(shape.clone()),
    };
    let mut program = Program {
        inputs: vec![whole],
        outputs: vec![(Arg::Input(0), output.dtype)],
        ..Program::default()
    };
    if !output.dtype.is_float() {
        program.instrs.push(Instr {
            op: MapOp::Cast,
            dtype: output.dtype,
            args: SmallVec::from_slice(&[Arg::Input(0)]),
        });
        program.outputs = vec![(Arg::Instr(0), output.dtype)];
    }
    let made = map::generate(
        launch.source(),
        &shape,
        &[input],
        &program,
        &[place_of(output)],
    )?;
    Ok(made.into_iter().collect())
}

/// Where a result goes.
pub(crate) fn place_of(output: &Output) -> (Slot, DType) {
    (Slot::Plan(output.buffer), output.dtype)
}
