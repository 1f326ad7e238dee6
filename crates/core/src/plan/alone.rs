//! Kernels that nothing fuses with: structured operations, softmax.

use super::Planner;
use crate::fusion::Group;
use crate::kernel::{Kernel, Operand};
use crate::node::Op;
use crate::ops::{AnyOperation, Spec};

impl Planner<'_> {
    pub(super) fn alone(&mut self, group: &Group) {
        let i = group.members[0];
        let item = &self.graph.items[i];
        let operands: Vec<Operand> = item
            .inputs
            .iter()
            .filter_map(|input| self.operand(input))
            .collect();
        if let Op::Operation { op, .. } = &item.op {
            return self.operation(op, group, operands);
        }
        if !self.leaves_group(i) {
            return;
        }
        let output = self.output(i);
        if item.shape.numel() == 0 {
            return;
        }
        if let (Op::Softmax(form), Some(input)) = (&item.op, operands.into_iter().next()) {
            let kernel = Kernel::Softmax {
                rows: input.layout.shape[0],
                classes: input.layout.shape[1],
                form: *form,
                input,
                output,
            };
            self.push(kernel, &[], None);
        }
    }

    /// The kernel of a structured operation, with the results of the group's members.
    fn operation(&mut self, op: &AnyOperation, group: &Group, inputs: Vec<Operand>) {
        let spec = |operand: &Operand| Spec::new(&operand.layout.shape, operand.dtype);
        let specs: Vec<Spec> = inputs.iter().map(spec).collect();
        let mut outputs = vec![None; op.count()];
        for &i in &group.members {
            let item = &self.graph.items[i];
            if !self.leaves_group(i) {
                continue;
            }
            let output = self.output(i);
            if let Op::Operation { part, .. } = item.op
                && item.shape.numel() > 0
                && let Some(place) = outputs.get_mut(usize::from(part))
            {
                *place = Some(output);
            }
        }
        if outputs.iter().all(Option::is_none) {
            return;
        }
        let fault = op.index_range(&specs).map(|_| group.members[0]);
        let kernel = Kernel::Operation {
            op: op.clone(),
            inputs,
            outputs,
        };
        self.push(kernel, &[], fault);
    }
}
