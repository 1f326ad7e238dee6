//! Kernels of structured operations, with which nothing fuses.

use super::Planner;
use crate::fusion::Group;
use crate::kernel::{Kernel, Operand};
use crate::operation::Spec;
use crate::record::node::Op;

impl Planner<'_> {
    /// The kernel of a structured operation, with the results of the group's members.
    pub(super) fn operation(&mut self, group: &Group) {
        let item = &self.graph.items[group.members[0]];
        let Op::Operation { op, .. } = &item.op else {
            return;
        };
        let inputs = item.inputs.iter();
        let inputs: Vec<Operand> = inputs.filter_map(|input| self.operand(input)).collect();
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
