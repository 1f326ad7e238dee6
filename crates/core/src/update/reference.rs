//! The optimizers' steps in plain operations: what runs with fusion off.

use crate::kernel::program::{Arg, MapOp};
use crate::ops::elementwise::apply_row;
use crate::tensor::Tensor;
use crate::types::error::{Error, Result};
use crate::update::UpdateRule;

impl UpdateRule {
    /// One step of one parameter: its new value and its new states. `numbers` are those of
    /// the step, of no dimension and the parameter's type.
    pub(crate) fn reference(
        &self,
        numbers: &[Tensor],
        p: &Tensor,
        grad: &Tensor,
        states: &[Tensor],
    ) -> Result<Vec<Tensor>> {
        let incomplete = || Error::Device("an optimizer's step lacks operands".into());
        let dtype = p.dtype()?;
        let program = self.program(dtype);
        // Of no dimension, so that operands keep the parameter's type and shape.
        let constant = |&number: &f64| Tensor::scalar(number, (dtype, p.device()));
        let constants = self.constants().iter().map(constant);
        let scalars: Vec<Tensor> = numbers.iter().cloned().chain(constants).collect();
        let inputs: Vec<&Tensor> = [p, grad].into_iter().chain(states).collect();
        let mut results: Vec<Tensor> = Vec::with_capacity(program.instrs.len());
        let value = |arg: Arg, results: &[Tensor]| {
            match arg {
                Arg::Input(i) => inputs.get(usize::from(i)).copied(),
                Arg::Scalar(i) => scalars.get(usize::from(i)),
                Arg::Instr(i) => results.get(usize::from(i)),
                Arg::Acc(_) => None,
            }
            .cloned()
            .ok_or_else(incomplete)
        };
        for instr in &program.instrs {
            let args = instr.args.iter().map(|&arg| value(arg, &results));
            let args: Vec<Tensor> = args.collect::<Result<_>>()?;
            results.push(match (instr.op, &args[..]) {
                (MapOp::Where, [cond, yes, no]) => cond.where_cond(yes, no),
                (op, [x]) => apply_row(op, x, x),
                (op, [a, b]) => apply_row(op, a, b),
                _ => return Err(incomplete()),
            });
        }
        let outputs = program.outputs.iter();
        outputs
            .map(|&(arg, _)| value(arg, &results)?.expand(p.shape()?).checked())
            .collect()
    }
}
