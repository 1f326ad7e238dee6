//! Smaller programs that still disagree, greedily.

use super::array::Array;
use super::interpret::interpret;
use super::number::{Num, Rules, round};
use super::program::{Arg, Node, Op, Placement, Program};

/// Most programs tried.
const TRIES: usize = 400;

/// What disagrees about a program, if anything does.
type Fails<'a> = &'a dyn Fn(&Program) -> Option<String>;

struct Shrink<'a> {
    best: Program,
    problem: String,
    fails: Fails<'a>,
    tries: usize,
}

impl Shrink<'_> {
    /// Keeps the program if it still disagrees.
    fn offer(&mut self, program: Program) -> bool {
        self.tries += 1;
        if self.tries > TRIES {
            return false;
        }
        let Some(problem) = (self.fails)(&program) else {
            return false;
        };
        (self.best, self.problem) = (program, problem);
        true
    }
}

/// The smallest found, and its problem.
pub fn shrink(program: &Program, rules: Rules, fails: Fails<'_>) -> (Program, String) {
    let problem = fails(program).unwrap_or_else(|| "only sometimes".into());
    let mut s = Shrink {
        best: program.clone(),
        problem,
        fails,
        tries: 0,
    };
    s.offer(Program {
        backward: None,
        ..s.best.clone()
    });
    for read in s.best.reads.clone() {
        if s.offer(Program {
            reads: vec![read],
            ..s.best.clone()
        }) {
            break;
        }
    }
    s.offer(Program {
        reads: vec![],
        ..s.best.clone()
    });
    s.offer(s.best.without_unused());
    // An operation becomes a leaf of its value.
    for i in (0..s.best.nodes.len()).rev() {
        if i >= s.best.nodes.len() || !matches!(s.best.nodes[i], Node::Step(..)) {
            continue;
        }
        if let Ok(Some(leaf)) = interpret(rules, &s.best)[i].as_ref().map(settled) {
            let mut smaller = s.best.clone();
            smaller.nodes[i] = Node::Leaf(leaf, Placement::Plain);
            if s.offer(smaller) {
                s.offer(s.best.without_unused());
            }
        }
    }
    for i in 0..s.best.nodes.len() {
        let Node::Leaf(array, placement) = s.best.nodes[i].clone() else {
            continue;
        };
        let mut with = |array: &Array, placement| {
            let mut smaller = s.best.clone();
            smaller.nodes[i] = Node::Leaf(array.clone(), placement);
            s.offer(smaller)
        };
        let mut array = array;
        let plain = placement == Placement::Plain || with(&array, Placement::Plain);
        let placement = if plain { Placement::Plain } else { placement };
        let one = if array.dtype.is_float() {
            Num::point(1.0)
        } else {
            Num::Int(1)
        };
        if with(&array.map(array.dtype, |_| one), placement) || placement != Placement::Plain {
            continue;
        }
        for e in 0..array.data.len() {
            let mut simpler = array.clone();
            simpler.data[e] = one;
            if with(&simpler, placement) {
                array = simpler;
            }
        }
    }
    (s.best, s.problem)
}

/// A value as a leaf, if all of it is known.
fn settled(value: &Array) -> Option<Array> {
    let known = value.data.iter().all(|v| !v.is_unknown());
    known.then(|| {
        value.map(value.dtype, |v| match v {
            Num::Float(lo, hi) if lo != hi && !lo.is_nan() => {
                Num::point(round((lo + hi) / 2.0, value.dtype))
            }
            Num::Float(v, _) => Num::point(round(v, value.dtype)),
            other => other,
        })
    })
}

impl Program {
    /// Only the nodes that what is read and differentiated depends on.
    fn without_unused(&self) -> Program {
        let mut used = vec![false; self.nodes.len()];
        let roots = self
            .reads
            .iter()
            .copied()
            .chain(self.backward.as_ref().map(|(root, _)| *root));
        roots.for_each(|i| used[i] = true);
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if let (Node::Step(_, args), true) = (node, used[i]) {
                args.iter().for_each(|arg| {
                    if let Arg::Value(at) = arg {
                        used[*at] = true;
                    }
                });
            }
        }
        let to: Vec<usize> = (0..used.len())
            .map(|i| used[..i].iter().filter(|&&u| u).count())
            .collect();
        let renamed = |node: &Node| match node {
            Node::Step(op, args) => {
                let args = args.iter().map(|arg| {
                    if let Arg::Value(i) = arg {
                        Arg::Value(to[*i])
                    } else {
                        *arg
                    }
                });
                Node::Step(op.clone(), args.collect())
            }
            leaf => leaf.clone(),
        };
        Program {
            nodes: self
                .nodes
                .iter()
                .zip(&used)
                .filter(|(_, u)| **u)
                .map(|(node, _)| renamed(node))
                .collect(),
            reads: self.reads.iter().map(|&i| to[i]).collect(),
            backward: self.backward.clone().map(|(root, seed)| (to[root], seed)),
        }
    }

    /// Operations and the types of their leaves: two reports of one kind are told once.
    pub fn kind(&self) -> String {
        let name = |op: &Op| {
            op.to_string()
                .split(['(', ','])
                .next()
                .unwrap_or_default()
                .to_string()
        };
        let word = |node: &Node| match node {
            Node::Leaf(array, _) => array.dtype.to_string(),
            Node::Step(Op::Binary(op), args) => {
                let number = args.iter().any(|arg| !matches!(arg, Arg::Value(_)));
                format!("{op:?}{}", if number { " number" } else { "" })
            }
            Node::Step(op @ (Op::Cast(_) | Op::Reduce(..)), _) => format!("{op:?}"),
            Node::Step(op, _) => name(op),
        };
        let words: Vec<String> = self.nodes.iter().map(word).collect();
        format!(
            "{}{}",
            words.join(" "),
            if self.backward.is_some() {
                " backward"
            } else {
                ""
            }
        )
    }
}
