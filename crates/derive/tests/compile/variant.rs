//! A field of an enum's variant that is neither a tensor nor a module.

use wgrad_nn::{Linear, Module};

#[derive(Module)]
#[module(crate = wgrad_nn)]
enum Head {
    One(Linear),
    Named { name: &'static str },
}

fn main() {}
