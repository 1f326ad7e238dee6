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
use wgrad_core::{AnyOperation, Operand, Operation, Output, Spec};

use crate::executor::{Checker, Launchable};

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
    /// Makes the kernel ready, or says what does not fit.
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String>;
}

/// What a kernel is made for.
pub(crate) struct Launch<'a> {
    pub checker: &'a Checker<'a>,
    pub inputs: &'a [Operand],
    pub outputs: &'a [Option<Output>],
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
}

type Prepare = fn(&AnyOperation, &Launch<'_>) -> Option<Result<Box<dyn Launchable>, String>>;

struct Entry {
    is: fn(&AnyOperation) -> bool,
    prepare: Prepare,
}

const fn entry<O: CpuOperation>() -> Entry {
    Entry {
        is: |op| op.downcast_ref::<O>().is_some(),
        prepare: |op, launch| Some(op.downcast_ref::<O>()?.prepare(launch)),
    }
}

/// Whether there is a kernel for an operation.
pub(crate) fn has_kernel(op: &AnyOperation) -> bool {
    TABLE.iter().any(|entry| (entry.is)(op)) || op.cpu().is_some()
}

/// The kernel of an operation.
pub(crate) fn prepare(
    op: &AnyOperation,
    launch: &Launch<'_>,
) -> Result<Box<dyn Launchable>, String> {
    let mut known = TABLE.iter().filter_map(|entry| (entry.prepare)(op, launch));
    match (known.next(), op.cpu()) {
        (Some(kernel), _) => kernel,
        (None, Some(kernel)) => Ok(Box::new(custom::Custom::new(op, kernel, launch)?)),
        (None, None) => Err("there is no kernel for it".to_string()),
    }
}
