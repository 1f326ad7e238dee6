//! Kernels of rows: which item belongs to which stage, and what goes along a row or once a row.

use std::collections::HashMap;

use super::{Builder, Planner};
use crate::fusion::graph::{Input, Item};
use crate::fusion::{self, Group, Level, Space};
use crate::kernel::program::{Arg, Instr, MapOp, Program};
use crate::kernel::{Accumulator, Fold, Kernel, Operand, Rows, Stage};
use crate::record::node::Op;
use crate::types::dtype::DType;

/// The kernel in the making.
struct Draft {
    space: Space,
    elements: Builder,
    /// Per stage its folds and what is computed after them. The first stage has no folds.
    stages: Vec<(Vec<Fold>, Builder, Vec<u16>)>,
    values: Vec<DType>,
    /// The stage after which each item of a row is known, and where it is found in the program after it.
    known: HashMap<usize, (usize, Arg)>,
    /// The last stage that an item of elements needs.
    needs: HashMap<usize, usize>,
    /// Items that have become row values.
    published: HashMap<usize, u16>,
    /// Operands that are the same for a whole row, as row values.
    carried: Vec<(Operand, u16)>,
}

impl Draft {
    fn new(space: Space) -> Draft {
        Draft {
            space,
            elements: Builder::new(),
            stages: Vec::new(),
            values: Vec::new(),
            known: HashMap::new(),
            needs: HashMap::new(),
            published: HashMap::new(),
            carried: Vec::new(),
        }
    }

    fn stage(&mut self, at: usize) -> &mut (Vec<Fold>, Builder, Vec<u16>) {
        while self.stages.len() <= at {
            self.stages.push((Vec::new(), Builder::new(), Vec::new()));
        }
        &mut self.stages[at]
    }

    fn value(&mut self, dtype: DType) -> u16 {
        self.values.push(dtype);
        self.values.len() as u16 - 1
    }

    /// Makes an output of the program after a stage a row value.
    fn publish(&mut self, at: usize, arg: Arg, dtype: DType) -> u16 {
        let value = self.value(dtype);
        let (_, after, results) = self.stage(at);
        after.program.outputs.push((arg, dtype));
        results.push(value);
        value
    }

    /// The row value of an item of a row.
    fn published(&mut self, item: usize, dtype: DType) -> u16 {
        if let Some(&value) = self.published.get(&item) {
            return value;
        }
        let (at, arg) = self.known[&item];
        let value = match arg {
            Arg::Acc(value) => value,
            arg => self.publish(at, arg, dtype.compute()),
        };
        self.published.insert(item, value);
        value
    }

    /// The row value of an operand that is the same for a whole row.
    fn carry(&mut self, operand: Operand) -> u16 {
        if let Some((_, value)) = self.carried.iter().find(|(known, _)| *known == operand) {
            return *value;
        }
        let dtype = operand.dtype.compute();
        let arg = self.stage(0).1.operand(operand.clone());
        let value = self.publish(0, arg, dtype);
        self.carried.push((operand, value));
        value
    }

    /// Adds an item's instruction to a program.
    fn compute(builder: &mut Builder, op: MapOp, item: &Item, args: Vec<Arg>) -> Arg {
        if fusion::is_alias(op) {
            return args[0];
        }
        let dtype = match op {
            MapOp::Cast => item.dtype,
            _ => item.dtype.compute(),
        };
        let args = args.into_iter().collect();
        builder.program.instrs.push(Instr { op, dtype, args });
        Arg::Instr(builder.program.instrs.len() as u16 - 1)
    }
}

impl Planner<'_> {
    pub(super) fn rows(&mut self, group: &Group) {
        let Some(space) = fusion::space(self.graph, group) else {
            return;
        };
        let mut draft = Draft::new(space);
        for &i in &group.members {
            let item = &self.graph.items[i];
            match item.op {
                Op::Map(op) => match draft.space.level(&item.shape) {
                    Some(Level::Row) => self.item_of_row(&mut draft, i, op),
                    _ => self.item_of_elements(&mut draft, i, op),
                },
                Op::Reduce { op, .. } => self.fold(&mut draft, i, op),
                _ => {}
            }
        }
        let (mut outputs, mut row_outputs) = (Vec::new(), Vec::new());
        for &i in &group.members {
            if !self.leaves_group(i) {
                continue;
            }
            let output = self.output(i);
            if draft.known.contains_key(&i) {
                let value = draft.published(i, self.graph.items[i].dtype);
                row_outputs.push((value, output));
            } else {
                let value = (draft.elements.values[&i], output.dtype);
                draft.elements.program.outputs.push(value);
                outputs.push(output);
            }
        }
        if draft.space.shape.numel() == 0 || (outputs.is_empty() && row_outputs.is_empty()) {
            return;
        }
        let Draft {
            space,
            elements,
            stages,
            values,
            ..
        } = draft;
        let mut scalars = elements.scalars;
        let with_values = |program: Program| Program {
            accumulators: values.clone(),
            ..program
        };
        let mut made = Vec::with_capacity(stages.len());
        for (folds, after, results) in stages {
            if folds.is_empty() && results.is_empty() {
                continue;
            }
            scalars.extend(after.scalars);
            made.push(Stage {
                folds,
                inputs: after.operands,
                after: with_values(after.program),
                results,
            });
        }
        let kernel = Kernel::Rows(Rows {
            shape: space.shape,
            reduced: space.reduced,
            inputs: elements.operands,
            elements: with_values(elements.program),
            outputs,
            stages: made,
            row_outputs,
            values,
        });
        self.push(kernel, &[&scalars], None);
    }

    /// An item that is computed once a row, as soon as its operands are known.
    fn item_of_row(&mut self, draft: &mut Draft, i: usize, op: MapOp) {
        let item = &self.graph.items[i];
        let stages = item.inputs.iter().map(|input| match input {
            Input::Item(p, _) => draft.known.get(p).map_or(0, |(stage, _)| *stage),
            _ => 0,
        });
        let at = stages.max().unwrap_or(0);
        let mut args = Vec::with_capacity(item.inputs.len());
        for input in &item.inputs {
            args.push(match input {
                Input::Scalar(scalar) => draft.stage(at).1.scalar(*scalar),
                Input::Item(p, _) if draft.known.contains_key(p) => match draft.known[p] {
                    (stage, arg) if stage == at => arg,
                    _ => Arg::Acc(draft.published(*p, self.graph.items[*p].dtype)),
                },
                other => match self.operand(other) {
                    Some(operand) => {
                        let operand = draft.space.operand_of_row(operand);
                        draft.stage(at).1.operand(operand)
                    }
                    // Only if an operand came after its user.
                    None => Arg::Instr(0),
                },
            });
        }
        let value = Draft::compute(&mut draft.stage(at).1, op, item, args);
        draft.known.insert(i, (at, value));
    }

    /// An item that is computed for every element.
    fn item_of_elements(&mut self, draft: &mut Draft, i: usize, op: MapOp) {
        let item = &self.graph.items[i];
        let mut needs = 0;
        let mut args = Vec::with_capacity(item.inputs.len());
        for input in &item.inputs {
            args.push(match input {
                Input::Scalar(scalar) => draft.elements.scalar(*scalar),
                Input::Item(p, _) if draft.needs.contains_key(p) => {
                    needs = needs.max(draft.needs[p]);
                    draft.elements.values[p]
                }
                Input::Item(p, _) if draft.known.contains_key(p) => {
                    needs = needs.max(draft.known[p].0);
                    Arg::Acc(draft.published(*p, self.graph.items[*p].dtype))
                }
                other => match self.operand(other) {
                    Some(operand) => self.operand_of_elements(draft, operand),
                    // Only if an operand came after its user.
                    None => Arg::Instr(0),
                },
            });
        }
        let value = Draft::compute(&mut draft.elements, op, item, args);
        draft.elements.values.insert(i, value);
        draft.needs.insert(i, needs);
    }

    fn operand_of_elements(&mut self, draft: &mut Draft, mut operand: Operand) -> Arg {
        if let Some(layout) = operand.layout.reshape(&draft.space.shape) {
            operand.layout = layout;
        }
        match draft.space.is_still(&operand.layout) {
            true => {
                let operand = draft.space.operand_of_row(operand);
                Arg::Acc(draft.carry(operand))
            }
            false => draft.elements.operand(operand),
        }
    }

    fn fold(&mut self, draft: &mut Draft, i: usize, op: crate::kernel::ReduceOp) {
        let input = &self.graph.items[i].inputs[0];
        let (from, needs) = match input {
            Input::Item(p, _) if draft.needs.contains_key(p) => {
                (draft.elements.values[p], draft.needs[p])
            }
            other => match self.operand(other) {
                Some(operand) => (self.operand_of_elements(draft, operand), 0),
                None => return,
            },
        };
        let dtype = match from {
            Arg::Acc(value) => draft.values[usize::from(value)],
            from => draft.elements.program.dtype_of(from),
        };
        let accumulator = Accumulator { op, dtype };
        let to = draft.value(accumulator.result());
        let stage = draft.stage(needs + 1);
        stage.0.push(Fold {
            from,
            accumulator,
            to,
        });
        draft.known.insert(i, (needs + 1, Arg::Acc(to)));
        draft.published.insert(i, to);
    }
}
