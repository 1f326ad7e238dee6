//! What a step computes.

use wgrad_core::Tensor;
use wgrad_data::Batch;

/// What a step computes of a batch: made from a loss, `(loss, predictions)` or `(loss, predictions, targets)`.
#[derive(Clone)]
pub struct Outcome {
    /// The mean loss of the batch's examples: a tensor of one element.
    pub loss: Tensor,
    /// What the model predicts, for metrics.
    pub prediction: Option<Tensor>,
    /// What it should predict.
    pub target: Option<Tensor>,
    /// What the model got, for pictures.
    pub input: Option<Tensor>,
}

impl From<Tensor> for Outcome {
    fn from(loss: Tensor) -> Outcome {
        Outcome {
            loss,
            prediction: None,
            target: None,
            input: None,
        }
    }
}

impl From<(Tensor, Tensor)> for Outcome {
    fn from((loss, prediction): (Tensor, Tensor)) -> Outcome {
        Outcome {
            prediction: Some(prediction),
            ..loss.into()
        }
    }
}

impl From<(Tensor, Tensor, Tensor)> for Outcome {
    fn from((loss, prediction, target): (Tensor, Tensor, Tensor)) -> Outcome {
        Outcome {
            target: Some(target),
            ..(loss, prediction).into()
        }
    }
}

impl Outcome {
    /// With what a batch has, where the step gave none of its own.
    pub(super) fn of_batch(mut self, batch: &Batch) -> Outcome {
        self.target.get_or_insert_with(|| batch.y.clone());
        self.input.get_or_insert_with(|| batch.x.clone());
        self
    }

    /// How many examples the loss is the mean of.
    pub(super) fn examples(&self) -> f64 {
        let first = self.target.as_ref().and_then(|y| y.shape().ok());
        let count = first.and_then(|shape| shape.dims().first().copied());
        count.unwrap_or(1) as f64
    }
}
