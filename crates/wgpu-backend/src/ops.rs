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
    AnyOperation, Arg, BufferSpec, DType, Epilogue, Error, Instr, Layout, MapOp, Operand,
    Operation, Output, Program, Result, Shape, Spec,
};
use wgrad_shaders::{Value, context};

use crate::codegen::{self, Scope};
use crate::device::Traits;
use crate::map::{self, accesses};
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
    /// Whether results are stored by [`elements`], which may have an epilogue.
    const EPILOGUE: bool = false;

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
    pub epilogue: Option<&'a Epilogue>,
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
    epilogue: bool,
    generate: fn(&AnyOperation, &mut Launch<'_>) -> Option<Result<Vec<Generated>>>,
}

const fn entry<O: GpuOperation>() -> Entry {
    Entry {
        is: |op| op.downcast_ref::<O>().is_some(),
        takes: O::takes,
        epilogue: O::EPILOGUE,
        generate: |op, launch| Some(op.downcast_ref::<O>()?.generate(launch)),
    }
}

/// Whether an operation of wgrad's has a kernel here for some operands.
pub(crate) fn is_known(op: &AnyOperation) -> bool {
    TABLE.iter().any(|entry| (entry.is)(op))
}

/// Whether the kernel of an operation runs an epilogue.
pub(crate) fn takes_epilogue(op: &AnyOperation) -> bool {
    TABLE.iter().any(|entry| entry.epilogue && (entry.is)(op))
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
    if launch.epilogue.is_some() && !takes_epilogue(op) {
        return Err(Error::Device(format!("{} takes no epilogue", op.name())));
    }
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

/// Whether four positions in row-major order, from a multiple of four on, are neighbours along the last dimension.
pub(crate) fn has_quads(layout: &Layout) -> bool {
    layout.shape.last().is_some_and(|n| n.is_multiple_of(4))
}

/// Whether such quads also lie side by side, from a multiple of four on.
pub(crate) fn is_aligned(layout: &Layout) -> bool {
    let dims = layout.shape.iter().zip(&layout.strides[..]).rev();
    let (mut last, others) = (dims.clone().take(1), dims.skip(1));
    last.all(|(_, &stride)| stride == 1)
        && layout.offset.is_multiple_of(4)
        && others
            .into_iter()
            .all(|(&n, stride)| n == 1 || stride % 4 == 0)
}

/// The kernel of a template that declares `element(e)`, the element at position `e` of the operation's only wanted
/// result, or `quad(e)` where it says `quads`, and includes `elements.wgsl`, which stores them all, or what the epilogue makes of them.
pub(crate) fn elements(
    launch: &Launch<'_>,
    mut source: Source<'_>,
    files: (&str, &'static str),
    variables: Value,
    shape: &Shape,
) -> Result<Generated> {
    let count = shape.numel();
    let Some(epilogue) = launch.epilogue else {
        let output = launch.outputs.iter().flatten().next();
        let output = output.ok_or_else(|| Error::Device("a kernel without a result".into()))?;
        return elements_to(source, files, variables, place_of(output), count);
    };
    let Epilogue {
        shape: own,
        inputs,
        program,
        ..
    } = epilogue;
    let result = program.accumulators.first().copied();
    let Some(result) = result.filter(|_| own.numel() == count) else {
        return Err(Error::Device(format!("an epilogue of {own} for {shape}")));
    };
    let mut text = String::new();
    let registers = map::loads(&mut source, own, &accesses("z", inputs), "i", &mut text);
    let scope = Scope {
        inputs: &registers,
        scalars: None,
        accumulators: &["acc".to_string()],
        index: "(vec4<u32>(i) + vec4<u32>(0u, 1u, 2u, 3u))",
        block: true,
        prefix: "e",
        first_scalar: 0,
    };
    let values = codegen::program(&mut source, program, &scope, &mut text)?;
    let mut stores = Vec::new();
    for (i, (value, output)) in values.into_iter().zip(&epilogue.outputs).enumerate() {
        let (name, (slot, dtype)) = (format!("y{i}"), place_of(output));
        source.output(&name, slot, dtype, true);
        stores.push(context! { name, value });
    }
    source.bytes += (count * 4 * (inputs.len() + stores.len())) as f64;
    source.flops += (count * program.instrs.len() * 4) as f64;
    let own = context! { t => register(result), epilogue => text, stores };
    let variables = context! { ..own, ..variables, ..single() };
    all_elements(source, files, &variables, count)
}

/// The same, stored in one place as they are.
pub(crate) fn elements_to(
    mut source: Source<'_>,
    files: (&str, &'static str),
    variables: Value,
    (slot, dtype): (Slot, DType),
    count: usize,
) -> Result<Generated> {
    source.output("y", slot, dtype, true);
    let stores = vec![context! { name => "y", value => "acc" }];
    let own = context! { t => register(dtype), epilogue => "", stores };
    let variables = context! { ..own, ..variables, ..single() };
    all_elements(source, files, &variables, count)
}

/// What a template of [`elements`] varies that does not say it.
fn single() -> Value {
    context! { quads => false }
}

fn all_elements(
    mut source: Source<'_>,
    (label, template): (&str, &'static str),
    variables: &Value,
    count: usize,
) -> Result<Generated> {
    source.u32("n", count);
    source.bytes += (count * 12) as f64;
    let groups = count.div_ceil(4).div_ceil(GROUP);
    source.render(label, template, variables, groups)
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
