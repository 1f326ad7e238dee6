//! The fully connected layer.

use std::fmt;

use wgrad_core::{Result, Shape, Target, Tensor};
use wgrad_derive::Module;

use crate::forward::Forward;
use crate::hooks;
use crate::init;

/// `y = x W^T + b` over the last dimension, as `torch.nn.Linear`.
///
/// `weight` is `[out_features, in_features]`, `bias` `[out_features]`; an input of shape
/// `[.., in_features]` gives `[.., out_features]`.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let linear = nn::Linear::new(4, 2, &dev);
/// let y = linear.forward(&Tensor::randn([3, 4], &dev))?;
/// assert_eq!(y.shape()?, [3, 2]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate, display)]
pub struct Linear {
    /// `[out_features, in_features]`.
    pub weight: Tensor,
    /// `[out_features]`.
    pub bias: Option<Tensor>,
}

impl Linear {
    /// A layer with bias. Weight and bias are drawn from `U(-1/sqrt(in), 1/sqrt(in))` of the
    /// device's random stream, as PyTorch does.
    #[track_caller]
    pub fn new(in_features: usize, out_features: usize, target: impl Target) -> Linear {
        let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
        let bound = init::bound(in_features);
        let weight = init::uniform([out_features, in_features], -bound, bound, target);
        let bias = init::uniform([out_features], -bound, bound, target);
        Linear::from_tensors(weight, Some(bias))
    }

    /// A layer without bias.
    #[track_caller]
    pub fn without_bias(in_features: usize, out_features: usize, target: impl Target) -> Linear {
        let bound = init::bound(in_features);
        let weight = init::uniform([out_features, in_features], -bound, bound, target);
        Linear::from_tensors(weight, None)
    }

    /// A layer of given values: `weight` `[out, in]` and `bias` `[out]`, which become variables
    /// unless they are some already.
    #[track_caller]
    pub fn from_tensors(weight: Tensor, bias: Option<Tensor>) -> Linear {
        Linear {
            weight: weight.requires_grad(),
            bias: bias.map(Tensor::requires_grad),
        }
    }
}

impl fmt::Display for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bias = if self.bias.is_some() {
            ""
        } else {
            ", bias=false"
        };
        match self.weight.dims::<2>() {
            Ok([out, input]) => write!(f, "Linear({input}, {out}{bias})"),
            Err(_) => f.write_str("Linear(failed)"),
        }
    }
}

impl Forward for Linear {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let count = |_: &Shape, y: &Shape| {
            let inputs = self.weight.dims::<2>().map_or(0, |[_, inputs]| inputs);
            y.numel().saturating_mul(inputs)
        };
        hooks::counted(self, x, count, |x| {
            x.linear(&self.weight, self.bias.as_ref()).checked()
        })
    }
}
