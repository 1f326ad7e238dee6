//! The bilinear layer.

use std::fmt;

use wgrad_core::{Error, Place, Result, Target, Tensor, autocast_disabled};
use wgrad_derive::Module;

use crate::hooks;
use crate::init;

/// `y_k = a W_k b^T + bias_k` over the last dimensions, as `torch.nn.Bilinear`: of
/// `[.., in1_features]` and `[.., in2_features]`, `[.., out_features]`.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let layer = nn::Bilinear::new(3, 4, 2, &dev);
/// let (a, b) = (Tensor::randn([5, 3], &dev), Tensor::randn([5, 4], &dev));
/// assert_eq!(layer.forward(&a, &b)?.shape()?, [5, 2]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate, display)]
pub struct Bilinear {
    /// `[out_features, in1_features, in2_features]`.
    pub weight: Tensor,
    /// `[out_features]`.
    pub bias: Option<Tensor>,
    #[module(skip)]
    size: [usize; 3],
}

impl Bilinear {
    /// A layer with bias. Weight and bias are drawn from `U(-b, b)` with `b = 1 / sqrt(in1_features)`,
    /// as PyTorch does.
    #[track_caller]
    pub fn new(
        in1_features: usize,
        in2_features: usize,
        out_features: usize,
        target: impl Target,
    ) -> Bilinear {
        let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
        let bound = init::bound(in1_features);
        let layer = Bilinear::without_bias(in1_features, in2_features, out_features, target);
        let bias = init::uniform([out_features], -bound, bound, target).requires_grad();
        Bilinear {
            bias: Some(bias),
            ..layer
        }
    }

    /// A layer without bias.
    #[track_caller]
    pub fn without_bias(
        in1_features: usize,
        in2_features: usize,
        out_features: usize,
        target: impl Target,
    ) -> Bilinear {
        let bound = init::bound(in1_features);
        let size = [out_features, in1_features, in2_features];
        Bilinear {
            weight: init::uniform(size, -bound, bound, target).requires_grad(),
            bias: None,
            size,
        }
    }

    /// The layer's result for two inputs, whose dimensions but the last are equal.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let [out, in1, in2] = self.size;
        let count = |a: &wgrad_core::Shape, _: &wgrad_core::Shape| {
            let rows = a.numel().checked_div(in1).unwrap_or(0);
            rows.saturating_mul(out.saturating_mul(in1.saturating_mul(in2).saturating_add(in2)))
        };
        hooks::counted(self, a, count, |a| {
            let place = Place::caller();
            let (left, right) = (a.shape()?, b.shape()?);
            let fits = match (left.split_last(), right.split_last()) {
                (Some((&i, lead)), Some((&j, other))) => i == in1 && j == in2 && lead == other,
                _ => false,
            };
            if !fits {
                let problem = format!("shapes {left} and {right} for a weight of {:?}", self.size);
                let op = "bilinear";
                return Err(Error::Shape { op, problem, place });
            }
            let rows = left.numel() / in1.max(1);
            // As torch's, it promotes its operands and narrows none inside of autocast.
            let y = autocast_disabled(|| self.of_rows(rows, a, b));
            let mut shape = left.to_vec();
            if let Some(last) = shape.last_mut() {
                *last = out;
            }
            y.reshape(shape).checked()
        })
    }

    /// `[rows, out]` of `rows` rows.
    fn of_rows(&self, rows: usize, a: &Tensor, b: &Tensor) -> Tensor {
        let [out, in1, in2] = self.size;
        // [.., in1] by [in1, out in2], then each [out, in2] by the second.
        let weight = self.weight.permute([1, 0, 2]).reshape([in1, out * in2]);
        let half = a.reshape([rows, in1]).matmul(&weight);
        let half = half.reshape([rows, out, in2]);
        let y = half.matmul(&b.reshape([rows, in2, 1])).squeeze(-1);
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}

impl fmt::Display for Bilinear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([out, in1, in2], bias) = (self.size, self.bias.is_some());
        write!(
            f,
            "Bilinear(in1_features={in1}, in2_features={in2}, out_features={out}, bias={bias})"
        )
    }
}
