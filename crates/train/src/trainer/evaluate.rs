//! Evaluation: loss and metrics of a model that does not change.

use wgrad_core::{Place, Result, no_grad};
use wgrad_data::Batches;
use wgrad_nn::Module;
use wgrad_nn::optim::Optimizer;

use super::Trainer;
use super::fit::Plan;
use crate::callback::Samples;
use crate::metric::Meter;
use crate::record::Scores;
use crate::snapshot::Tally;

impl<M: Module, O: Optimizer, B> Trainer<M, O, B> {
    /// Mean loss and metrics over batches (those of epoch 0), by the model in the mode of evaluation, in which it is
    /// left.
    ///
    /// # Errors
    /// Whatever data, model and metrics fail with.
    #[track_caller]
    pub fn evaluate<V: Batches<Batch = B>>(&mut self, data: &V) -> Result<Scores> {
        if let Some(error) = &self.problem {
            return Err(error.clone());
        }
        self.state.place = Some(Place::caller());
        self.evaluation(data)
    }

    pub(super) fn evaluation(&mut self, data: &dyn Batches<Batch = B>) -> Result<Scores> {
        self.model.eval();
        let mut tally = Tally::default();
        let mut read = |trainer: &mut Self| -> Result<()> {
            for (loss, examples) in trainer.read_losses()? {
                tally.add(loss, examples);
            }
            Ok(())
        };
        let place = self.state.place.unwrap_or_else(Place::caller);
        let batches = place.hold(|| data.epoch(0, 0));
        for (number, batch) in batches.enumerate() {
            let outcome = no_grad(|| self.outcome(&batch?))?;
            self.observe(&outcome.prediction, &outcome.target)?;
            let loss = outcome.loss.clone().checked()?;
            let device = loss.device().clone();
            self.state.losses.push((loss, outcome.examples()));
            device.flush()?;
            if (number as u64 + 1).is_multiple_of(self.log_every) {
                read(self)?;
            }
        }
        read(self)?;
        let scores = self.scores(tally.mean());
        self.meters.iter_mut().for_each(Meter::reset);
        Ok(scores)
    }

    /// The first examples for validation and what the model says of them, if a callback wants to see some.
    pub(super) fn samples(&mut self, plan: &Plan<'_, B>, count: usize) -> Result<Option<Samples>> {
        let Some(valid) = plan.valid.filter(|_| count > 0) else {
            return Ok(None);
        };
        let Some(batch) = valid.epoch(0, 0).next() else {
            return Ok(None);
        };
        self.model.eval();
        let outcome = no_grad(|| self.outcome(&batch?))?;
        let (Some(input), Some(prediction), Some(target)) =
            (outcome.input, outcome.prediction, outcome.target)
        else {
            return Ok(None);
        };
        let rows = |tensor: wgrad_core::Tensor| -> Result<_> {
            let all = tensor.shape()?.dims().first().copied().unwrap_or(0);
            tensor.narrow(0, 0, count.min(all)).detach().checked()
        };
        Ok(Some(Samples {
            input: rows(input)?,
            prediction: rows(prediction)?,
            target: rows(target)?,
        }))
    }
}
