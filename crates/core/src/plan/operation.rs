//! Kernels of structured operations, and what runs behind their results.

use super::{Builder, Planner};
use crate::fusion::Group;
use crate::kernel::{Epilogue, Kernel, Operand};
use crate::operation::Spec;
use crate::record::node::Op;

impl Planner<'_> {
    /// The kernel of a structured operation, with the results of the group's members.
    pub(super) fn operation(&mut self, group: &Group) {
        let graph = self.graph;
        let is_result = |i: &&usize| matches!(graph.items[**i].op, Op::Operation { .. });
        let results: Vec<usize> = group.members.iter().filter(is_result).copied().collect();
        let Some(&first) = results.first() else {
            return;
        };
        let item = &graph.items[first];
        let Op::Operation { op, part } = &item.op else {
            return;
        };
        self.origin = item.origin;
        let inputs = item.inputs.iter();
        let inputs: Vec<Operand> = inputs.filter_map(|input| self.operand(input)).collect();
        let spec = |operand: &Operand| Spec::new(&operand.layout.shape, operand.dtype);
        let specs: Vec<Spec> = inputs.iter().map(spec).collect();
        let fault = op.index_range(&specs).map(|_| first);
        let mut outputs = vec![None; op.count()];
        if let Some(&map) = group.members.iter().find(|i| !is_result(i)) {
            let shape = &graph.items[map].shape;
            let mut after = Builder::new();
            let result = after.accumulator(item.dtype);
            after.values.insert(first, result);
            self.elementwise(&mut after, &group.members, shape, None);
            let stored = self.outputs(&mut after, &group.members);
            if item.shape.numel() == 0 || stored.is_empty() {
                return;
            }
            let kernel = Kernel::Operation {
                op: op.clone(),
                inputs,
                outputs,
                epilogue: Some(Epilogue {
                    part: usize::from(*part),
                    shape: shape.clone(),
                    inputs: after.operands,
                    program: after.program,
                    outputs: stored,
                }),
            };
            self.push(kernel, &[&after.scalars], fault);
            return;
        }
        for i in results {
            let item = &graph.items[i];
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
        let kernel = Kernel::Operation {
            op: op.clone(),
            inputs,
            outputs,
            epilogue: None,
        };
        self.push(kernel, &[], fault);
    }
}
