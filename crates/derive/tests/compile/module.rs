//! A `Forward` of what is no module.

use wgrad_core::{Result, Tensor};
use wgrad_nn::Forward;

struct Double;

impl Forward for Double {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        (x * 2.0).checked()
    }
}

fn main() {}
