//! Perplexity.

use wgrad_core::{CrossEntropyOptions, DType, Reduction, Result, Tensor};

use super::{Contribution, Metric, Value};

/// How many equally likely classes a prediction would be as unsure about: `exp(mean cross-entropy)`. Predictions are
/// logits with the classes along dimension 1; targets of -100 do not count.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Meter, Perplexity};
/// # let dev = wgrad::cpu();
/// let mut perplexity = Meter::new(Perplexity);
/// perplexity.update(&Tensor::zeros([3, 8], &dev), &Tensor::new([1, 5, 7], &dev))?;
/// assert!((perplexity.value()?.number().unwrap() - 8.0).abs() < 1e-5);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Perplexity;

impl Metric for Perplexity {
    fn name(&self) -> String {
        "perplexity".into()
    }

    fn higher_is_better(&self) -> bool {
        false
    }

    fn contribution(&self, prediction: &Tensor, target: &Tensor) -> Result<Contribution> {
        let options = CrossEntropyOptions {
            reduction: Reduction::Sum,
            ..Default::default()
        };
        let sum = prediction
            .to_dtype(DType::F32)
            .cross_entropy_with(target, options);
        let counted = target.ne(-100).to_dtype(DType::F32).sum();
        Ok(Contribution::Sums(
            Tensor::stack(&[sum, counted], 0).checked()?,
        ))
    }

    fn value(&self, totals: &[f64]) -> Value {
        Value::Number((totals[0] / totals[1]).exp())
    }
}
