//! The key of a plan: what it depends on, as words.

use std::hash::{Hash, Hasher};

use super::Collected;
use crate::operation::AnyOperation;
use crate::record::node::{Contraction, Op, Source};
use crate::types::dtype::DType;
use crate::types::hash::NumberMap;
use crate::types::shape::Shape;
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
        Op::MatMul(Contraction {
            batch,
            rows,
            columns,
        }) => {
            let word = u32::from_be_bytes([0, *batch, *rows, *columns]);
            key.push(2 << 32 | u64::from(word));
        }
        Op::Operation { op, part } => {
            key.push(3 << 32 | u64::from(*part));
            op.hash(&mut Words(key));
        }
    }
}

/// A hasher that keeps every word, so that unequal fields of an operation make unequal keys. (Where an
/// operation hashes less than all of itself, the comparison of the operations tells them apart.)
struct Words<'a>(&'a mut Vec<u64>);

impl Hasher for Words<'_> {
    fn write(&mut self, bytes: &[u8]) {
        self.0.push(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0.push(u64::from_ne_bytes(word));
        }
    }
    fn write_u8(&mut self, value: u8) {
        self.0.push(u64::from(value));
    }
    fn write_u32(&mut self, value: u32) {
        self.0.push(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.0.push(value);
    }
    fn write_usize(&mut self, value: usize) {
        self.0.push(value as u64);
    }
    fn finish(&self) -> u64 {
        hash(self.0)
    }
}

/// The structured operations of a run, which the key holds only as far as they hash themselves.
pub(super) fn operations(c: &Collected) -> impl Iterator<Item = &AnyOperation> {
    c.items.iter().filter_map(|item| match &item.recipe.op {
        Op::Operation { op, .. } => Some(op),
        _ => None,
    })
}

/// A fast hash of the key; equality is checked on the whole.
pub(super) fn hash(key: &[u64]) -> u64 {
    key.iter().fold(key.len() as u64, |h, &word| {
        (h.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}

// `DType` and friends are written into keys by their discriminants.
const _: () = assert!(DType::F64 as u64 == 0);
