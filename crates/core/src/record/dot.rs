//! A picture of what has been recorded and not run yet.

use std::fmt::Write;
use std::sync::Arc;

use crate::record::node::{Node, Op, Source, State};
use crate::tensor::Tensor;
use crate::types::element::Scalar;
use crate::types::error::Result;
use crate::types::hash::NumberMap;

impl Op {
    fn name(&self) -> String {
        match self {
            Op::Map(op) => op.name().to_string(),
            Op::Reduce { op, .. } => format!("{op:?}").to_lowercase(),
            Op::MatMul(_) => "matmul".into(),
            Op::Operation { op, part: 0 } => op.name().into(),
            Op::Operation { op, part } => format!("{}, result {part}", op.name()),
        }
    }
}

impl Tensor {
    /// What has been recorded for this tensor and has not run yet, in Graphviz' DOT language:
    /// operations with shapes and the lines they were recorded at, and as boxes the values that
    /// they start from. Edges through a view carry its shape. `dot -Tsvg g.dot > g.svg` draws it.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let loss = Tensor::ones([2, 3], &dev).requires_grad().sqr().mean();
    /// let graph = loss.graph_dot()?; // for graphviz
    /// assert!(graph.starts_with("digraph"));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// A failed tensor's error.
    pub fn graph_dot(&self) -> Result<String> {
        let root = self.capture()?.node;
        let mut dot = String::from("digraph {\n    node [fontname=\"monospace\"];\n");
        let mut numbers: NumberMap<*const Node, usize> = NumberMap::default();
        let mut queue = vec![root.clone()];
        numbers.insert(Arc::as_ptr(&root), 0);
        let mut at = 0;
        while let Some(node) = queue.get(at).cloned() {
            let about = format!("{} {}", node.dtype, node.shape());
            let state = node.state();
            let recipe = match &*state {
                State::Pending(recipe) if node.constant.is_none() => recipe,
                State::Failed(error) => {
                    let text = escaped(&error.to_string());
                    let _ = writeln!(dot, "    n{at} [shape=octagon, label=\"failed: {text}\"];");
                    at += 1;
                    continue;
                }
                _ => {
                    let value = match node.constant.map(|c| c.value) {
                        Some(Scalar::Float(v)) => format!("{v} as "),
                        Some(Scalar::Integer(v)) => format!("{v} as "),
                        _ => String::new(),
                    };
                    let _ = writeln!(dot, "    n{at} [shape=box, label=\"{value}{about}\"];");
                    at += 1;
                    continue;
                }
            };
            let mut name = recipe.op.name();
            for input in &recipe.inputs {
                let _ = match input {
                    Source::Scalar(Scalar::Float(v), _) => write!(name, " {v}"),
                    Source::Scalar(Scalar::Integer(v), _) => write!(name, " {v}"),
                    _ => Ok(()),
                };
            }
            let place = escaped(&format!("{}:{}", node.place.file(), node.place.line()));
            let _ = writeln!(dot, "    n{at} [label=\"{name}\\n{about}\\n{place}\"];");
            for input in &recipe.inputs {
                let Source::Node(operand, view) = input else {
                    continue;
                };
                let next = numbers.len();
                let from = *numbers.entry(Arc::as_ptr(operand)).or_insert(next);
                if from == next {
                    queue.push(operand.clone());
                }
                let label = if view.is_whole() {
                    String::new()
                } else {
                    format!(" [label=\"{}\"]", view.layout(operand).shape)
                };
                let _ = writeln!(dot, "    n{from} -> n{at}{label};");
            }
            drop(state);
            at += 1;
        }
        dot.push_str("}\n");
        Ok(dot)
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
