//! Rows: reductions, and maps of what they give over the same space, in as many stages as it takes.

use std::fmt;

use crate::kernel::program::{Arg, Instr, MapOp, Program};
use crate::kernel::{Accumulator, Operand, Output, ReduceOp};
use crate::types::dtype::DType;
use crate::types::shape::Shape;

/// What [`Kernel::Rows`](crate::Kernel::Rows) computes. A row is the reduced dimensions at one point of
/// the kept ones.
///
/// Row values are numbers of a row: results of its reductions and what is computed of them. For each
/// row, stage by stage: every element of the row is computed and folded as `folds` say, and each result
/// becomes a row value; then `after` runs once, and its outputs become row values. At last the outputs of
/// `elements` are stored for every element, and `row_outputs` once.
///
/// Softmax is: the largest element (stage 1), the sum of `e^(x - largest)` (stage 2), their quotients.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Rows {
    /// Kept dimensions followed by reduced ones.
    pub shape: Shape,
    /// How many trailing dimensions are reduced: at least one.
    pub reduced: usize,
    /// Operands of the elements, over `shape`.
    pub inputs: Vec<Operand>,
    /// What is computed of each element, for all stages and for what is stored. Its accumulators are the
    /// row values; an instruction that reads one runs when it is known.
    pub elements: Program,
    /// Where the outputs of `elements` go, each of them of `shape`, row-major. Types of 8 and 16 bits only
    /// where the length of a row divides by 4.
    pub outputs: Vec<Output>,
    /// The row values' types.
    pub values: Vec<DType>,
    /// In order.
    pub stages: Vec<Stage>,
    /// Which row values are stored, row-major over the kept dimensions. 32- or 64-bit types or bool.
    pub row_outputs: Vec<(u16, Output)>,
}

/// A stage of [`Rows`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Stage {
    /// What is folded. Only the first stage may have none.
    pub folds: Vec<Fold>,
    /// Operands of `after`, over the kept dimensions.
    pub inputs: Vec<Operand>,
    /// What is computed of row values, once a row. Its accumulators are the row values.
    pub after: Program,
    /// The row values that its outputs become.
    pub results: Vec<u16>,
}

/// A reduction of a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fold {
    /// What is folded: an operand of the program `elements`.
    pub from: Arg,
    /// How elements combine.
    pub accumulator: Accumulator,
    /// The row value that the result becomes.
    pub to: u16,
}

/// One walk along a row, of those that a backend does for each row: see [`Rows::walks`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Walk {
    /// The stage whose folds it feeds; `None` for the last, which stores the outputs.
    pub stage: Option<usize>,
    /// Inputs: those of `inputs`, then those of `takes`. Outputs: what the stage folds, or the kernel's
    /// outputs; then those of `keeps`.
    pub program: Program,
    /// Which of the kernel's operands it reads.
    pub inputs: Vec<usize>,
    /// Kept values that it reads: instructions of `elements`.
    pub takes: Vec<usize>,
    /// Values that it computes and later walks take: instructions of `elements`.
    pub keeps: Vec<usize>,
}

/// What a walk is for: the stage whose folds it feeds, and what it must compute.
type Roots = (Option<usize>, Vec<(Arg, DType)>);

impl Rows {
    /// Elements of a row.
    pub fn length(&self) -> usize {
        self.shape[self.shape.rank() - self.reduced..]
            .iter()
            .product()
    }

    /// The kept dimensions.
    pub fn kept(&self) -> Shape {
        Shape::new(&self.shape[..self.shape.rank() - self.reduced])
    }

    /// Softmax along the last dimension, and where the largest element of each row is: an example, with
    /// which backends test theirs.
    #[doc(hidden)]
    pub fn softmax(input: Operand, output: Output, at: Output) -> Rows {
        let values = vec![DType::F32, DType::I32, DType::F32, DType::F32];
        let with_values = |instrs: Vec<Instr>, inputs, outputs| Program {
            inputs,
            accumulators: values.clone(),
            instrs,
            outputs,
            ..Program::default()
        };
        let compute = |op, args: &[Arg]| Instr {
            op,
            dtype: DType::F32,
            args: args.into(),
        };
        let fold = |from, op, to| Fold {
            from,
            accumulator: Accumulator {
                op,
                dtype: DType::F32,
            },
            to,
        };
        let elements = vec![
            compute(MapOp::Sub, &[Arg::Input(0), Arg::Acc(0)]),
            compute(MapOp::Exp, &[Arg::Instr(0)]),
            compute(MapOp::Mul, &[Arg::Instr(1), Arg::Acc(3)]),
        ];
        let (outputs, total) = ((Arg::Instr(2), output.dtype), Arg::Acc(2));
        let recip = vec![compute(MapOp::Recip, &[total])];
        Rows {
            shape: input.layout.shape.clone(),
            reduced: 1,
            elements: with_values(elements, vec![input.dtype], vec![outputs]),
            inputs: vec![input],
            outputs: vec![output],
            stages: vec![
                Stage {
                    folds: vec![
                        fold(Arg::Input(0), ReduceOp::Max, 0),
                        fold(Arg::Input(0), ReduceOp::ArgMax, 1),
                    ],
                    after: with_values(vec![], vec![], vec![]),
                    ..Stage::default()
                },
                Stage {
                    folds: vec![fold(Arg::Instr(1), ReduceOp::Sum, 2)],
                    after: with_values(recip, vec![], vec![(Arg::Instr(0), DType::F32)]),
                    results: vec![3],
                    ..Stage::default()
                },
            ],
            row_outputs: vec![(1, at)],
            values,
        }
    }

    /// The walks along a row. Values of elements that several walks need, and whose computation costs at
    /// least `worth`, are kept from the first walk that computes them, at most `most` of them; others are
    /// computed again. (An instruction costs 1, a division or a function 4, a routine 8.)
    pub fn walks(&self, worth: usize, most: usize) -> Vec<Walk> {
        let folded = self.stages.iter().enumerate();
        let folded = folded.filter(|(_, stage)| !stage.folds.is_empty());
        let mut roots: Vec<Roots> = folded
            .map(|(at, stage)| {
                let from = stage.folds.iter();
                let from = from.map(|fold| (fold.from, fold.accumulator.dtype));
                (Some(at), from.collect())
            })
            .collect();
        if !self.elements.outputs.is_empty() {
            roots.push((None, self.elements.outputs.clone()));
        }
        let kept = self.worth_keeping(&roots, worth, most);
        let walks = roots.into_iter().enumerate();
        walks
            .map(|(at, (stage, roots))| self.walk(stage, roots, &kept, at))
            .collect()
    }

    /// For each instruction of `elements` the walk that it is kept from, if it is.
    fn worth_keeping(&self, roots: &[Roots], worth: usize, most: usize) -> Vec<Option<usize>> {
        let instrs = &self.elements.instrs;
        let needed: Vec<Vec<bool>> = roots
            .iter()
            .map(|(_, roots)| self.reached(roots, |_| false))
            .collect();
        let first = |i: usize| needed.iter().position(|walk| walk[i]);
        let mut candidates: Vec<(usize, usize, usize)> = Vec::new();
        for i in 0..instrs.len() {
            let Some(from) = first(i) else { continue };
            // Whether a later walk needs it for something new.
            let again = (from + 1..roots.len()).any(|walk| {
                let stored = roots[walk].1.iter().any(|(arg, _)| *arg == instr(i));
                let mut users =
                    (i + 1..instrs.len()).filter(|&u| instrs[u].args.contains(&instr(i)));
                stored || users.any(|u| needed[walk][u] && first(u) == Some(walk))
            });
            let cost = self.cost(i);
            if again && cost >= worth {
                candidates.push((cost, i, from));
            }
        }
        candidates.sort_by_key(|&(cost, i, _)| (std::cmp::Reverse(cost), i));
        let mut kept = vec![None; instrs.len()];
        for (_, i, from) in candidates.into_iter().take(most) {
            kept[i] = Some(from);
        }
        kept
    }

    /// Which instructions `roots` need, beyond those at which it may `stop`.
    fn reached(&self, roots: &[(Arg, DType)], stop: impl Fn(usize) -> bool) -> Vec<bool> {
        let instrs = &self.elements.instrs;
        let mut reached = vec![false; instrs.len()];
        let mark = |arg: &Arg, reached: &mut Vec<bool>| {
            if let Arg::Instr(i) = arg {
                reached[usize::from(*i)] |= !stop(usize::from(*i));
            }
        };
        for (arg, _) in roots {
            mark(arg, &mut reached);
        }
        for i in (0..instrs.len()).rev() {
            if reached[i] {
                for arg in &instrs[i].args {
                    mark(arg, &mut reached);
                }
            }
        }
        reached
    }

    /// What instruction `i` costs with all that it is computed of.
    fn cost(&self, i: usize) -> usize {
        let cone = self.reached(&[(instr(i), DType::F32)], |_| false);
        let instrs = self.elements.instrs.iter().zip(cone);
        let instrs = instrs.filter(|(_, inside)| *inside);
        instrs.map(|(instr, _)| cost(instr.op)).sum()
    }

    fn walk(
        &self,
        stage: Option<usize>,
        roots: Vec<(Arg, DType)>,
        kept: &[Option<usize>],
        at: usize,
    ) -> Walk {
        let known = |i: usize| kept[i].is_some_and(|from| from < at);
        let reached = self.reached(&roots, known);
        let instrs = &self.elements.instrs;
        let mut walk = Walk {
            stage,
            program: Program {
                scalars: self.elements.scalars.clone(),
                accumulators: self.values.clone(),
                ..Program::default()
            },
            inputs: Vec::new(),
            takes: Vec::new(),
            keeps: (0..instrs.len())
                .filter(|&i| reached[i] && kept[i] == Some(at))
                .collect(),
        };
        let keeps = walk.keeps.iter();
        let keeps = keeps.map(|&i| (instr(i), instrs[i].dtype.compute()));
        let outputs: Vec<(Arg, DType)> = roots.into_iter().chain(keeps).collect();
        let used = (0..instrs.len()).filter(|&i| reached[i]);
        let used = used.flat_map(|i| instrs[i].args.iter().copied());
        for arg in used.chain(outputs.iter().map(|(arg, _)| *arg)) {
            let (list, at) = match arg {
                Arg::Input(i) => (&mut walk.inputs, usize::from(i)),
                Arg::Instr(i) if known(usize::from(i)) => (&mut walk.takes, usize::from(i)),
                _ => continue,
            };
            if !list.contains(&at) {
                list.push(at);
            }
        }
        walk.inputs.sort_unstable();
        walk.takes.sort_unstable();
        let inputs = walk.inputs.iter().map(|&i| self.inputs[i].dtype);
        let takes = walk.takes.iter().map(|&i| instrs[i].dtype.compute());
        walk.program.inputs = inputs.chain(takes).collect();
        let mut moved = vec![0; instrs.len()];
        let place = |list: &[usize], at: u16| {
            let found = list.iter().position(|&x| x == usize::from(at));
            found.unwrap_or(0) as u16
        };
        let renumbered = |arg: Arg, moved: &[u16], walk: &Walk| match arg {
            Arg::Input(i) => Arg::Input(place(&walk.inputs, i)),
            Arg::Instr(i) if known(usize::from(i)) => {
                Arg::Input(walk.inputs.len() as u16 + place(&walk.takes, i))
            }
            Arg::Instr(i) => Arg::Instr(moved[usize::from(i)]),
            arg => arg,
        };
        for (i, instr) in instrs.iter().enumerate().filter(|(i, _)| reached[*i]) {
            moved[i] = walk.program.instrs.len() as u16;
            let args = instr.args.iter().map(|&arg| renumbered(arg, &moved, &walk));
            let instr = Instr {
                args: args.collect(),
                ..instr.clone()
            };
            walk.program.instrs.push(instr);
        }
        walk.program.outputs = outputs
            .into_iter()
            .map(|(arg, dtype)| (renumbered(arg, &moved, &walk), dtype))
            .collect();
        walk
    }
}

fn instr(i: usize) -> Arg {
    Arg::Instr(i as u16)
}

/// About how many multiplications an operation is worth.
fn cost(op: MapOp) -> usize {
    match op {
        op if op.is_routine() => 8,
        MapOp::Div
        | MapOp::Exp
        | MapOp::Ln
        | MapOp::Sqrt
        | MapOp::Rsqrt
        | MapOp::Recip
        | MapOp::Tanh
        | MapOp::Sigmoid
        | MapOp::Silu => 4,
        _ => 1,
    }
}

/// For a person: the space, and what is done in it.
impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows {}", self.shape)?;
        for fold in self.stages.iter().flat_map(|stage| &stage.folds) {
            let op = format!("{:?}", fold.accumulator.op).to_lowercase();
            write!(f, " {op}")?;
        }
        let after = self.stages.iter().map(|stage| stage.after.instrs.len());
        let ops = self.elements.instrs.len() + after.sum::<usize>();
        write!(f, " + {ops} ops")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::layout::Layout;

    fn softmax() -> Rows {
        let input = Operand {
            buffer: 0,
            dtype: DType::F32,
            layout: Layout::contiguous([3, 8].into()),
        };
        let output = |buffer, dtype| Output { buffer, dtype };
        Rows::softmax(input, output(1, DType::F32), output(2, DType::I32))
    }

    #[test]
    fn exponentials_are_kept_where_that_is_worth_it() {
        let walks = softmax().walks(4, 1);
        let shape = |w: &Walk| (w.inputs.clone(), w.takes.clone(), w.keeps.clone());
        assert_eq!(shape(&walks[0]), (vec![0], vec![], vec![]));
        assert_eq!(shape(&walks[1]), (vec![0], vec![], vec![1]));
        assert_eq!(shape(&walks[2]), (vec![], vec![1], vec![]));
        assert_eq!(walks[2].program.instrs.len(), 1);
        assert_eq!(walks[2].program.instrs[0].args[0], Arg::Input(0));
    }

    #[test]
    fn else_they_are_computed_again() {
        for walks in [softmax().walks(6, 9), softmax().walks(0, 0)] {
            assert!(
                walks
                    .iter()
                    .all(|w| w.takes.is_empty() && w.keeps.is_empty())
            );
            assert_eq!(walks[2].program.instrs.len(), 3);
            assert_eq!(walks[2].inputs, [0]);
        }
    }
}
