//! Where NaN began.

use wgrad_core::autograd::detect_anomaly;
use wgrad_core::{Device, Error, Place, Result};
use wgrad_nn::Module;
use wgrad_nn::optim::Optimizer;

use super::Trainer;
use super::fit::Plan;
use crate::snapshot::Snapshot;

/// Snapshots of more bytes are not kept in memory for this.
const SMALL: usize = 64 << 20;
/// Snapshots within an epoch are at least so many steps apart.
const APART: u64 = 50;

/// What a search for NaN came to.
enum Found {
    /// The operation that made it.
    Operation(Error),
    /// No operation did.
    Nothing,
    /// There is no moment to begin from: the model is large, and there is no checkpoint of this epoch.
    NoBeginning,
}

impl<M: Module, O: Optimizer, B> Trainer<M, O, B> {
    /// Keeps this moment, from which the steps to a NaN can be done again. (Each epoch begins with one: those steps
    /// never go across its end.)
    pub(super) fn remember(&mut self, device: &Device) -> Result<()> {
        let progress = &self.state.progress;
        let kept = self.state.snapshot.as_ref().map(|kept| &kept.progress);
        let fresh = kept
            .is_some_and(|kept| kept.epoch == progress.epoch && kept.step + APART > progress.step);
        // Known before anything is copied: a parameter, and as much again for each of two moments.
        let parameters = self.model.parameters().into_iter();
        let bytes = parameters.map(|p| p.numel().unwrap_or(0) * p.dtype().map_or(0, |d| d.size()));
        if fresh || bytes.sum::<usize>() * 3 > SMALL {
            return Ok(());
        }
        self.state.snapshot = Some(self.snapshot(device)?);
        Ok(())
    }

    /// The error of a NaN loss: does the steps up to that batch again, and that one with a look at each operation.
    pub(super) fn locate_nan(&mut self, plan: &Plan<'_, B>, batch: u64) -> Error {
        let progress = &self.state.progress;
        let epoch = progress.epoch;
        let at = format!(
            "the loss is NaN in epoch {}, batch {}",
            epoch + 1,
            batch + 1
        );
        let place = self.state.place.unwrap_or_else(Place::caller);
        let value = |problem: String| Error::Value {
            op: "fit",
            problem,
            place,
        };
        let found = self.search(plan, batch);
        match found {
            Ok(Found::Operation(error)) => {
                let step = self.state.progress.step + 1;
                error.in_module(&format!("{at} (step {step})"), "")
            }
            Ok(Found::NoBeginning) => value(format!(
                "{at}; to learn where it began, train with checkpoints, or look with detect_anomaly"
            )),
            Ok(Found::Nothing) => {
                let damaged = self
                    .model
                    .named_parameters()
                    .into_iter()
                    .filter(|(_, p)| p.detach().isnan().any().item::<bool>().unwrap_or(false));
                let damaged: Vec<String> = damaged.map(|(name, _)| name).collect();
                value(match damaged.is_empty() {
                    true => format!("{at}; no operation made it, so the batch itself holds NaN"),
                    false => format!("{at}; NaN is in {}", damaged.join(", ")),
                })
            }
            Err(error) => error.in_module(&at, ""),
        }
    }

    /// What made the NaN, and the training as it was before that step.
    fn search(&mut self, plan: &Plan<'_, B>, batch: u64) -> Result<Found> {
        let epoch = self.state.progress.epoch;
        let in_memory = self.state.snapshot.take();
        let begin = match (in_memory, &self.checkpoints) {
            (Some(snapshot), _) => Some(snapshot),
            (None, Some(checkpoints)) => match checkpoints.last()? {
                Some(last) => Some(checkpoints.load(&last, &plan.device)?),
                None => None,
            },
            (None, None) => None,
        };
        let reaches = |snapshot: &Snapshot| {
            snapshot.progress.epoch == epoch && snapshot.progress.batch <= batch
        };
        let Some(begin) = begin.filter(reaches) else {
            return Ok(Found::NoBeginning);
        };
        self.restore(&begin, &plan.device)?;
        self.model.train();
        let mut batches = plan
            .train
            .epoch(epoch, begin.progress.batch as usize)
            .peekable();
        while let Some(next) = batches.next() {
            let next = next?;
            if self.state.progress.batch == batch {
                let error = detect_anomaly(|| self.batch(&next)).err();
                return Ok(error.map_or(Found::Nothing, Found::Operation));
            }
            self.batch(&next)?;
            if self.state.gathered == self.accumulate || batches.peek().is_none() {
                self.update()?;
            }
        }
        Ok(Found::Nothing)
    }
}
