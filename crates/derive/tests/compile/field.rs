//! A field that is neither a tensor nor a module.

use wgrad_nn::{Linear, Module};

#[derive(Module)]
#[module(crate = wgrad_nn)]
struct Net {
    head: Linear,
    width: usize,
}

fn main() {}
