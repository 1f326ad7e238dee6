//! A layer of a sequence that has no `forward`.

use wgrad_nn::{Linear, Module, Sequential};

#[derive(Module)]
#[module(crate = wgrad_nn)]
struct Block {
    inner: Linear,
}

fn add(block: Block) -> Sequential {
    Sequential::new().add(block)
}

fn main() {}
