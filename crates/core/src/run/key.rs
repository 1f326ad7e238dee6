//! The key of a plan: what it depends on, as words.

use super::Collected;
use crate::dtype::DType;
use crate::hash::NumberMap;
use crate::node::{Op, Source};
use crate::shape::Shape;
use crate::update::Update;

/// Writes everything that a plan depends on: structure and exact sizes, but no data.
pub(super) fn write(key: &mut Vec<u64>, c: &Collected, update: Option<&Update>) {
    let mut allocations: NumberMap<u64, u64> = NumberMap::default();
    for leaf in &c.leaves {
        let next = allocations.len() as u64;
        let allocation = *allocations.entry(leaf.storage.buffer.id()).or_insert(next);
        key.push((leaf.node.dtype as u64) << 32 | allocation);
        key.push(leaf.node.bytes() as u64);
        write_shape(key, leaf.node.shape());
    }
    for item in &c.items {
        let home = match &item.tenancy {
            Some(tenancy) => {
                let next = allocations.len() as u64;
                1 + *allocations.entry(tenancy.0.buffer.id()).or_insert(next)
            }
            None => 0,
        };
        let flags = u64::from(item.root);
        key.push(
            home << 40
                | (item.node.dtype as u64) << 32
                | (item.recipe.inputs.len() as u64) << 8
                | flags,
        );
        write_op(key, &item.recipe.op);
        write_shape(key, item.node.shape());
        for input in &item.recipe.inputs {
            match input {
                Source::Scalar(_, dtype) => key.push(1 << 63 | *dtype as u64),
                Source::Node(node, view) => {
                    let index = u64::from(c.index(node).unwrap_or(u32::MAX));
                    if view.is_whole() {
                        // The layout follows from the node's shape.
                        key.push(1 << 62 | index);
                        continue;
                    }
                    key.push(index);
                    let layout = view.layout(node);
                    write_shape(key, &layout.shape);
                    key.extend(layout.strides.iter().map(|&s| s as u64));
                    key.push(layout.offset as u64);
                }
            }
        }
    }
    if let Some(update) = update {
        update.write_key(
            key,
            |node| c.index(node),
            |buffer| {
                let next = allocations.len() as u64;
                *allocations.entry(buffer).or_insert(next)
            },
        );
    }
}

fn write_shape(key: &mut Vec<u64>, shape: &Shape) {
    key.push(shape.rank() as u64);
    key.extend(shape.iter().map(|&d| d as u64));
}

fn write_op(key: &mut Vec<u64>, op: &Op) {
    match op {
        Op::Map(op) => key.push(*op as u64),
        Op::Reduce { op, reduced, perm } => {
            key.push(1 << 32 | (*op as u64) << 16 | *reduced as u64);
            key.extend(perm.iter().map(|&d| u64::from(d)));
        }
        Op::MatMul => key.push(2 << 32),
        Op::CrossEntropy { part, ignore } => key.extend([3 << 32 | *part as u64, *ignore as u64]),
        Op::Gather { dim, .. } => key.push(4 << 32 | *dim as u64),
        Op::ScatterAdd { dim, size, .. } => key.extend([5 << 32 | *dim as u64, *size as u64]),
        Op::Concat { dim } => key.push(6 << 32 | *dim as u64),
        Op::Place(steps) => {
            key.push(7 << 32);
            key.extend(steps.start.iter().chain(&steps.step).map(|&d| d as u64));
        }
    }
}

/// A fast hash of the key; equality is checked on the whole.
pub(super) fn hash(key: &[u64]) -> u64 {
    key.iter().fold(key.len() as u64, |h, &word| {
        (h.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}

// `DType` and friends are written into keys by their discriminants.
const _: () = assert!(DType::F64 as u64 == 0);
