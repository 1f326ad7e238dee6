//! Attributes that there are not, or not together.

use wgrad_core::Tensor;
use wgrad_nn::Module;

#[derive(Module)]
#[module(crate = wgrad_nn)]
struct Unknown {
    #[module(frozen)]
    weight: Tensor,
}

#[derive(Module)]
#[module(crate = wgrad_nn)]
struct Both {
    #[module(skip, buffer)]
    mean: Tensor,
}

#[derive(Module)]
#[module(crate = wgrad_nn)]
struct Twice {
    weight: Tensor,
    #[module(name = "weight")]
    other: Tensor,
}

#[derive(Module)]
#[module(root = wgrad_nn)]
struct Nowhere {
    weight: Tensor,
}

fn main() {}
