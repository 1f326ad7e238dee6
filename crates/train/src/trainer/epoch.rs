//! An epoch: steps, records, validation, a checkpoint.

use std::time::Instant;

use wgrad_core::{Device, Error, Place, Result, Tensor};
use wgrad_nn::Module;
use wgrad_nn::optim::{Optimizer, clip_grad_norm, clip_grad_value};

use super::fit::Plan;
use super::{Clip, Pace, Trainer};
use crate::callback::Control;
use crate::metric::{Meter, Reading, Value};
use crate::record::{Budget, EpochRecord, Scores, StepRecord, Stop};
use crate::snapshot::{Number, Tally};

impl<M: Module, O: Optimizer, B> Trainer<M, O, B> {
    /// What is left of an epoch; why training ends after it, if it does.
    pub(super) fn epoch(&mut self, plan: &Plan<'_, B>) -> Result<Option<Stop>> {
        let begun = Instant::now();
        self.model.train();
        self.remember(&plan.device)?;
        let (epoch, from) = (self.state.progress.epoch, self.state.progress.batch);
        let place = self.state.place.unwrap_or_else(Place::caller);
        let batches = place.hold(|| plan.train.epoch(epoch, from as usize));
        let mut batches = batches.peekable();
        let mut stop = None;
        while stop.is_none()
            && let Some(batch) = batches.next()
        {
            self.batch(&batch?)?;
            if self.state.gathered < self.accumulate && batches.peek().is_some() {
                continue;
            }
            self.update()?;
            let step = self.state.progress.step;
            for callback in &mut self.callbacks {
                callback.advance(step);
            }
            let pressed = plan.interrupt.is_pressed();
            let log = step.is_multiple_of(self.log_every);
            let save = self
                .checkpoint_every
                .is_some_and(|every| step.is_multiple_of(every));
            if log || save || pressed {
                self.read(plan)?;
            }
            if log {
                stop = self.record_step()?;
                self.remember(&plan.device)?;
            }
            if save || pressed {
                self.save(&plan.device, None)?;
            }
            if pressed {
                return Ok(Some(Stop::Interrupted));
            }
            if matches!(plan.budget, Budget::Steps(steps) if step >= steps) {
                break;
            }
        }
        drop(batches);
        if self.state.progress.batch == 0 {
            return Err(Error::Value {
                op: "fit",
                problem: format!("epoch {} has no batches", epoch + 1),
                place: self.state.place.unwrap_or_else(Place::caller),
            });
        }
        self.read(plan)?;
        let train = self.scores(self.state.progress.tally.mean());
        self.meters.iter_mut().for_each(Meter::reset);
        let valid = match plan.valid {
            Some(valid) => Some(self.evaluation(valid)?),
            None => None,
        };
        let record = EpochRecord {
            epoch: epoch + 1,
            step: self.state.progress.step,
            lr: self.state.progress.lr.0,
            train,
            valid,
            seconds: begun.elapsed().as_secs_f64(),
        };
        let ended = self.end_epoch(record, &plan.device)?;
        Ok(stop.or(ended))
    }

    /// Loss and gradients of a batch, and what it contributes to metrics.
    pub(super) fn batch(&mut self, batch: &B) -> Result<()> {
        let outcome = self.outcome(batch)?;
        let loss = outcome.loss.clone().checked()?;
        let mut share = loss.clone();
        if self.accumulate > 1 {
            share = share / self.accumulate as f64;
        }
        if let Some(scaler) = &self.state.scaler {
            share = scaler.scale(&share);
        }
        share.backward()?;
        self.observe(&outcome.prediction, &outcome.target)?;
        self.state.losses.push((loss.detach(), outcome.examples()));
        self.state.gathered += 1;
        self.state.progress.batch += 1;
        Ok(())
    }

    /// Gives metrics predictions and targets.
    pub(super) fn observe(
        &mut self,
        prediction: &Option<Tensor>,
        target: &Option<Tensor>,
    ) -> Result<()> {
        let Some(first) = self.meters.first() else {
            return Ok(());
        };
        let (Some(prediction), Some(target)) = (prediction, target) else {
            return Err(Error::Value {
                op: "metric",
                problem: format!(
                    "{} needs predictions and targets: let the loss give Ok((loss, predictions, targets))",
                    first.metric().name()
                ),
                place: self.state.place.unwrap_or_else(Place::caller),
            });
        };
        self.meters
            .iter_mut()
            .try_for_each(|meter| meter.update(prediction, target))
    }

    /// A step of the optimizer, and of a schedule that counts steps.
    pub(super) fn update(&mut self) -> Result<()> {
        if let (Some(scaler), Some(_)) = (&mut self.state.scaler, self.clip) {
            scaler.unscale(&self.optimizer)?;
        }
        match self.clip {
            // The norm stays on the device; nobody asks for it.
            Some(Clip::Norm(max)) => drop(clip_grad_norm(self.optimizer.parameters(), max)?),
            Some(Clip::Value(max)) => clip_grad_value(self.optimizer.parameters(), max)?,
            None => {}
        }
        self.state.progress.lr = Number(self.optimizer.lr());
        match &mut self.state.scaler {
            Some(scaler) => {
                scaler.step(&mut self.optimizer)?;
                scaler.update()?;
            }
            None => self.optimizer.step()?,
        }
        self.optimizer.zero_grad();
        if let (Some(scheduler), Pace::Step) = (&mut self.state.scheduler, self.pace) {
            scheduler.step(&mut self.optimizer)?;
        }
        self.state.gathered = 0;
        self.state.progress.step += 1;
        Ok(())
    }

    /// Reads all losses and metrics that wait, at once. A loss that is NaN is an error.
    fn read(&mut self, plan: &Plan<'_, B>) -> Result<()> {
        let losses = self.read_losses()?;
        let first = self.state.progress.batch - losses.len() as u64;
        if let Some(bad) = losses.iter().position(|(loss, _)| loss.is_nan()) {
            return Err(self.locate_nan(plan, first + bad as u64));
        }
        for (loss, examples) in losses {
            self.state.progress.window.add(loss, examples);
            self.state.progress.tally.add(loss, examples);
        }
        Ok(())
    }

    /// The losses that wait, with their examples. Metrics take in what waits for them.
    pub(super) fn read_losses(&mut self) -> Result<Vec<(f64, f64)>> {
        let losses = std::mem::take(&mut self.state.losses);
        let mut reading = Reading::default();
        for (loss, _) in &losses {
            reading.push(loss)?;
        }
        let asked = self.meters.iter().map(|meter| meter.ask(&mut reading));
        let asked: Vec<_> = asked.collect::<Result<_>>()?;
        let mut numbers = reading.read()?.into_iter();
        let read = losses.iter().map(|(_, examples)| {
            let loss = numbers.next().map_or(f64::NAN, f64::from);
            (loss, *examples)
        });
        let read = read.collect();
        for (meter, lengths) in self.meters.iter_mut().zip(&asked) {
            meter.absorb(lengths, &mut numbers);
        }
        Ok(read)
    }

    /// A loss and the metrics of what has been read.
    pub(super) fn scores(&self, loss: f64) -> Scores {
        let metrics = self.meters.iter();
        let metrics = metrics.map(|meter| (meter.metric().name(), meter.known()));
        let loss = ("loss".to_string(), Value::Number(loss));
        Scores([loss].into_iter().chain(metrics).collect())
    }

    fn record_step(&mut self) -> Result<Option<Stop>> {
        let progress = &self.state.progress;
        let record = StepRecord {
            epoch: progress.epoch + 1,
            step: progress.step,
            lr: progress.lr.0,
            scores: self.scores(progress.window.mean()),
        };
        self.state.progress.window = Tally::default();
        let mut stop = None;
        for callback in &mut self.callbacks {
            if callback.step(&record)? == Control::Stop {
                stop = Some(Stop::Early);
            }
        }
        Ok(stop)
    }

    fn end_epoch(&mut self, record: EpochRecord, device: &Device) -> Result<Option<Stop>> {
        let score = record.score(&self.monitor);
        if let (Some(plateau), Some(score)) = (&mut self.plateau, score) {
            plateau.step(&mut self.optimizer, score)?;
        }
        if let (Some(scheduler), Pace::Epoch) = (&mut self.state.scheduler, self.pace) {
            scheduler.step(&mut self.optimizer)?;
        }
        let mut stop = None;
        for callback in &mut self.callbacks {
            if callback.epoch(&record)? == Control::Stop {
                stop = Some(Stop::Early);
            }
        }
        let progress = &mut self.state.progress;
        progress.history.push(record);
        progress.epoch += 1;
        progress.batch = 0;
        progress.tally = Tally::default();
        self.save(device, score)?;
        Ok(stop)
    }

    fn save(&mut self, device: &Device, score: Option<f64>) -> Result<()> {
        if self.checkpoints.is_none() {
            return Ok(());
        }
        let snapshot = self.snapshot(device)?;
        let score = match self.higher_is_better() {
            true => score,
            false => score.map(|score| -score),
        };
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.save(&snapshot, score)?;
        }
        Ok(())
    }
}
