//! wgrad's structured operations: a file each, and a line in the table.

mod attention;
mod concat;
mod cross_entropy;
mod custom;
mod fold;
mod gather;
mod place;
mod pool;
mod products;
mod recurrence;
mod scan;
mod scatter;
mod search_sorted;
mod sort;
mod windows;

use wgrad_core::ops::{
    Attention, AttentionGrad, Concat, CrossEntropy, Fold, Gather, MaxPool, Place, Recurrence,
    RecurrenceGrad, Scan, Scatter, SearchSorted, Sort, SumPool,
};
use wgrad_core::{AnyOperation, DType, Epilogue, Operand, Operation, Output, Shape, Spec};

use crate::executor::{Checker, Launchable};
use crate::results::Results;

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
    entry::<Recurrence>(),
    entry::<RecurrenceGrad>(),
    entry::<Scatter>(),
    entry::<Scan>(),
    entry::<SearchSorted>(),
    entry::<Sort>(),
    entry::<SumPool>(),
];

/// An operation with a kernel on the CPU.
pub(crate) trait CpuOperation: Operation {
    /// Whether the kernel has its results from [`Launch::result`], which may have an epilogue.
    const EPILOGUE: bool = false;

    /// Makes the kernel ready, or says what does not fit.
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String>;
}

/// What a kernel is made for.
pub(crate) struct Launch<'a> {
    pub checker: &'a Checker<'a>,
    pub inputs: &'a [Operand],
    pub outputs: &'a [Option<Output>],
    pub epilogue: Option<&'a Epilogue>,
}

impl Launch<'_> {
    /// Operand `i`.
    pub fn input(&self, i: usize) -> Result<&Operand, String> {
        self.inputs.get(i).ok_or_else(|| format!("no operand {i}"))
    }

    /// That the operands lie in their buffers, and that the outputs are what `results` makes of them; what these are.
    pub fn check(
        &self,
        results: impl FnOnce(&[Spec]) -> Result<Vec<Spec>, String>,
    ) -> Result<Vec<Spec>, String> {
        let mut specs = Vec::with_capacity(self.inputs.len());
        for operand in self.inputs {
            self.checker.operand(operand, None)?;
            specs.push(Spec::new(&operand.layout.shape, operand.dtype));
        }
        let results = results(&specs)?;
        for (output, spec) in self.outputs.iter().zip(&results) {
            let numel = spec.shape.checked_numel().ok_or("too many elements")?;
            if let Some(output) = output {
                self.checker.output(*output, numel)?;
                if output.dtype != spec.dtype {
                    return Err(format!("{} for {}", output.dtype, spec.dtype));
                }
            }
        }
        Ok(results)
    }

    /// The result of an operation that has one.
    pub fn output(&self) -> Result<Output, String> {
        let output = self.outputs.first().copied().flatten();
        output.ok_or_else(|| "no result is wanted".to_string())
    }

    /// Result `part`, of such a shape and type, if it is wanted.
    pub fn result(
        &self,
        part: usize,
        (shape, dtype): (&Shape, DType),
    ) -> Result<Option<Results>, String> {
        let operands: Vec<usize> = self.inputs.iter().map(|input| input.buffer).collect();
        let (checker, of) = (self.checker, (shape, dtype));
        Ok(match (self.epilogue, self.outputs.get(part)) {
            (Some(epilogue), _) if epilogue.part == part => {
                if epilogue.shape.checked_numel() != shape.checked_numel() {
                    return Err(format!("{shape} as {}", epilogue.shape));
                }
                let of = (&epilogue.shape, dtype);
                let (program, outputs) = (&epilogue.program, &epilogue.outputs[..]);
                let epilogue = (&epilogue.inputs[..], program, outputs);
                Some(Results::new(checker, of, &operands, epilogue)?)
            }
            (_, Some(Some(output))) => Some(Results::stored(checker, of, &operands, *output)?),
            _ => None,
        })
    }

    /// The result of an operation that has one.
    pub fn only_result(&self, shape: &Shape, dtype: DType) -> Result<Results, String> {
        let result = self.result(0, (shape, dtype))?;
        result.ok_or_else(|| "no result is wanted".to_string())
    }
}

type Prepare = fn(&AnyOperation, &Launch<'_>) -> Option<Result<Box<dyn Launchable>, String>>;

struct Entry {
    is: fn(&AnyOperation) -> bool,
    prepare: Prepare,
    epilogue: bool,
}

const fn entry<O: CpuOperation>() -> Entry {
    Entry {
        is: |op| op.downcast_ref::<O>().is_some(),
        prepare: |op, launch| Some(op.downcast_ref::<O>()?.prepare(launch)),
        epilogue: O::EPILOGUE,
    }
}

/// Whether there is a kernel for an operation.
pub(crate) fn has_kernel(op: &AnyOperation) -> bool {
    TABLE.iter().any(|entry| (entry.is)(op)) || op.cpu().is_some()
}

/// Whether the kernel of an operation runs an epilogue.
pub(crate) fn takes_epilogue(op: &AnyOperation) -> bool {
    TABLE.iter().any(|entry| entry.epilogue && (entry.is)(op))
}

/// The kernel of an operation.
pub(crate) fn prepare(
    op: &AnyOperation,
    launch: &Launch<'_>,
) -> Result<Box<dyn Launchable>, String> {
    if launch.epilogue.is_some() && !takes_epilogue(op) {
        return Err("it takes no epilogue".to_string());
    }
    let mut known = TABLE.iter().filter_map(|entry| (entry.prepare)(op, launch));
    match (known.next(), op.cpu()) {
        (Some(kernel), _) => kernel,
        (None, Some(kernel)) => Ok(Box::new(custom::Custom::new(op, kernel, launch)?)),
        (None, None) => Err("there is no kernel for it".to_string()),
    }
}
