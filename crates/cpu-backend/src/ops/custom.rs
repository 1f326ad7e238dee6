//! Kernels that travel with operations from outside.

use wgrad_core::{
    AnyOperation, CpuKernel, CpuOperand, CpuResult, Operand, Output, ScalarBits, Spec,
};

use super::Launch;
use crate::cursor::{Cursor, Walk};
use crate::executor::{Context, Launchable};

/// A prepared kernel: operands that do not lie in row-major order are copied, results that nobody wants go
/// into memory of their own.
pub(crate) struct Custom {
    kernel: CpuKernel,
    inputs: Vec<(Operand, Spec)>,
    outputs: Vec<(Option<Output>, Spec)>,
}

/// Memory aligned for every type, all 0.
fn memory(bytes: usize) -> Vec<u64> {
    vec![0; bytes.div_ceil(8)]
}

impl Custom {
    pub fn new(
        op: &AnyOperation,
        kernel: CpuKernel,
        launch: &Launch<'_>,
    ) -> Result<Custom, String> {
        let results = launch.check(|specs| op.results(specs))?;
        let spec = |operand: &Operand| Spec::new(&operand.layout.shape, operand.dtype);
        let outputs = launch
            .outputs
            .iter()
            .copied()
            .chain(std::iter::repeat(None));
        Ok(Custom {
            kernel,
            inputs: launch.inputs.iter().map(|x| (x.clone(), spec(x))).collect(),
            outputs: outputs.zip(results).collect(),
        })
    }
}

impl Launchable for Custom {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let bytes = |spec: &Spec| spec.shape.numel() * spec.dtype.size();
        let mut copies: Vec<Vec<u64>> = Vec::new();
        for (operand, spec) in &self.inputs {
            let mut copy = Vec::new();
            if !operand.layout.is_contiguous() && spec.shape.numel() > 0 {
                copy = memory(bytes(spec));
                let source = context.buffers[operand.buffer].start.cast_const();
                let walk = Walk::new(&operand.layout);
                let target = copy.as_mut_ptr().cast();
                // SAFETY: the operand was checked; the copy has room for its elements.
                unsafe {
                    let (size, n) = (spec.dtype.size(), spec.shape.numel());
                    Cursor::new(&walk).gather(source, size, 0, target, n);
                }
            }
            copies.push(copy);
        }
        let mut operands = Vec::with_capacity(self.inputs.len());
        for ((operand, spec), copy) in self.inputs.iter().zip(&copies) {
            let bytes = match bytes(spec) {
                0 => &[][..],
                n if copy.is_empty() => {
                    let start = context.buffers[operand.buffer].start.cast_const();
                    let offset = operand.layout.offset * spec.dtype.size();
                    // SAFETY: the operand was checked, lies in row-major order and is not written while
                    // the kernel runs: results are other buffers.
                    unsafe { std::slice::from_raw_parts(start.add(offset), n) }
                }
                n => &bytemuck::cast_slice(copy)[..n],
            };
            operands.push(CpuOperand::new(spec, bytes));
        }
        let unwanted = |(output, spec): &(Option<Output>, Spec)| match output {
            Some(_) => Vec::new(),
            None => memory(bytes(spec)),
        };
        let mut others: Vec<Vec<u64>> = self.outputs.iter().map(unwanted).collect();
        let mut results = Vec::with_capacity(self.outputs.len());
        for ((output, spec), other) in self.outputs.iter().zip(&mut others) {
            let n = bytes(spec);
            let bytes = match output {
                _ if n == 0 => &mut [][..],
                Some(output) => {
                    let start = context.buffers[output.buffer].start;
                    // SAFETY: the output was checked, and each result has a buffer of its own.
                    unsafe {
                        start.write_bytes(0, n);
                        std::slice::from_raw_parts_mut(start, n)
                    }
                }
                None => &mut bytemuck::cast_slice_mut(other)[..n],
            };
            results.push(CpuResult::new(spec, bytes));
        }
        self.kernel.run(&operands, &mut results)
    }
}
