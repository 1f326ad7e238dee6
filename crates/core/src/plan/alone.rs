//! Kernels that nothing fuses with: row kernels, indexing, joining, slices' gradients.

use super::Planner;
use crate::fusion::Group;
use crate::graph::Input;
use crate::kernel::{Kernel, Operand};
use crate::node::{CrossEntropyPart, Op};
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
        if let Op::CrossEntropy { .. } = item.op {
            return self.cross_entropy(group, operands);
        }
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
        // It was asked when it was recorded.
        let count = op.results(&specs).map_or(0, |results| results.len());
        let mut outputs = vec![None; count];
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

    fn cross_entropy(&mut self, group: &Group, operands: Vec<Operand>) {
        let first = &self.graph.items[group.members[0]];
        let (mut loss, mut row_weight, mut grad) = (None, None, None);
        for &i in &group.members {
            if !self.leaves_group(i) {
                continue;
            }
            let output = Some(self.output(i));
            match self.graph.items[i].op {
                Op::CrossEntropy {
                    part: CrossEntropyPart::Loss,
                    ..
                } => loss = output,
                Op::CrossEntropy {
                    part: CrossEntropyPart::Weight,
                    ..
                } => row_weight = output,
                _ => grad = output,
            }
        }
        let mut operands = operands.into_iter();
        let (Some(logits), Some(targets)) = (operands.next(), operands.next()) else {
            return;
        };
        let (rows, classes) = (logits.layout.shape[0], logits.layout.shape[1]);
        if rows == 0 || (loss.is_none() && row_weight.is_none() && grad.is_none()) {
            return;
        }
        let ignore = first.inputs.iter().find_map(|input| match input {
            Input::Scalar(scalar) => Some(*scalar),
            _ => None,
        });
        let weight = operands.next();
        let kernel = Kernel::CrossEntropy {
            rows,
            classes,
            logits,
            targets,
            weight,
            loss,
            row_weight,
            grad,
        };
        self.push(kernel, &[ignore.as_slice()], Some(group.members[0]));
    }
}
