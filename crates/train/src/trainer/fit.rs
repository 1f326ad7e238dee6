//! Training as a whole: where it begins, goes on from and ends.

use wgrad_core::{DType, Device, Error, Place, RandomState, Result};
use wgrad_data::Batches;
use wgrad_nn::Module;
use wgrad_nn::amp::{GradScaler, GradScalerOptions};
use wgrad_nn::optim::schedule::Scheduler;
use wgrad_nn::optim::{Optimizer, OptimizerState};

use super::Trainer;
use crate::callback::Run;
use crate::interrupt::Interrupt;
use crate::metric::Meter;
use crate::record::{Budget, Fit, Stop};
use crate::snapshot::{Number, Plateau, Snapshot};

/// What to train on, and how far to go.
pub(super) struct Plan<'a, B> {
    pub train: &'a dyn Batches<Batch = B>,
    pub valid: Option<&'a dyn Batches<Batch = B>>,
    pub budget: Budget,
    pub device: Device,
    pub interrupt: Interrupt,
}

impl<M: Module, O: Optimizer, B> Trainer<M, O, B> {
    /// Trains until the budget is used up, early stopping or a callback ends it, or Ctrl-C. Called again it goes on:
    /// with `Epochs(5)` and then `Epochs(8)` there are 8 in all. With [`checkpoints`](Trainer::checkpoints) it goes on
    /// from the last of them. Afterwards the model is in the mode of evaluation.
    ///
    /// # Errors
    /// Whatever data, model, optimizer, callbacks and files fail with; settings out of range; a loss that is NaN
    /// ([`Error::NotANumber`] with the operation and its line, within the name of the step).
    #[track_caller]
    pub fn fit<T, V>(&mut self, train: &T, valid: &V, budget: impl Into<Budget>) -> Result<Fit>
    where
        T: Batches<Batch = B>,
        V: Batches<Batch = B>,
    {
        self.run(train, Some(valid), budget.into(), Place::caller())
    }

    /// [`fit`](Trainer::fit) without batches for validation.
    ///
    /// # Errors
    /// As `fit`.
    #[track_caller]
    pub fn fit_without_validation<T>(&mut self, train: &T, budget: impl Into<Budget>) -> Result<Fit>
    where
        T: Batches<Batch = B>,
    {
        self.run(train, None, budget.into(), Place::caller())
    }

    fn run(
        &mut self,
        train: &dyn Batches<Batch = B>,
        valid: Option<&dyn Batches<Batch = B>>,
        budget: Budget,
        place: Place,
    ) -> Result<Fit> {
        let value = |problem: String| Error::Value {
            op: "fit",
            problem,
            place,
        };
        if let Some(error) = &self.problem {
            return Err(error.clone());
        }
        self.check_names().map_err(value)?;
        let parameters = self.model.parameters();
        let Some(first) = parameters.first() else {
            return Err(value("the model has no parameters".into()));
        };
        let device = first.device().clone();
        place.hold(|| self.begin(&device))?;
        let plan = Plan {
            train,
            valid,
            budget,
            interrupt: Interrupt::listen(self.checkpoints.is_some()),
            device,
        };
        self.state.place = Some(place);
        let fit = self.train(&plan).map_err(|error| self.explained(error));
        self.model.eval();
        fit
    }

    /// A monitored name that no score has would never stop anything.
    fn check_names(&self) -> Result<(), String> {
        let mut known = vec!["loss".to_string()];
        known.extend(self.meters.iter().map(|meter| meter.metric().name()));
        let early = self.early.iter().map(|early| &early.monitor);
        for name in early.chain([&self.monitor]) {
            if !known.contains(name) {
                let known = known.join(", ");
                return Err(format!("no score is called {name}; there are: {known}"));
            }
        }
        Ok(())
    }

    /// Before the first step: the schedule, and a checkpoint to go on from.
    fn begin(&mut self, device: &Device) -> Result<()> {
        if self.state.begun {
            return Ok(());
        }
        if let Some(schedule) = self.schedule.take() {
            let scheduler = Scheduler::new(&mut self.optimizer, schedule)?;
            self.state.scheduler = Some(scheduler);
        }
        if self.narrow == Some(DType::F16) {
            self.state.scaler = Some(GradScaler::new(device, GradScalerOptions::default()));
        }
        if let Some(plateau) = &mut self.plateau {
            let mut metrics = self.meters.iter().map(Meter::metric);
            let monitored = metrics.find(|metric| metric.name() == self.monitor);
            plateau.maximize = monitored.is_some_and(|metric| metric.higher_is_better());
        }
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.prepare()?;
            if let Some(last) = checkpoints.last()? {
                let snapshot = checkpoints.load(&last, device)?;
                let name = last.display().to_string();
                self.restore(&snapshot, device)
                    .map_err(|error| error.in_module(&name, ""))?;
                for (callback, state) in
                    (self.callbacks.iter_mut()).zip(&snapshot.progress.callbacks)
                {
                    callback.set_state(state)?;
                }
            }
        }
        self.state.begun = true;
        Ok(())
    }

    fn train(&mut self, plan: &Plan<'_, B>) -> Result<Fit> {
        let per_epoch = plan.train.num_batches();
        let per_epoch = per_epoch.map(|n| (n as u64).div_ceil(self.accumulate));
        let progress = &self.state.progress;
        let model = self.model.tree().to_string();
        let run = Run {
            device: &plan.device,
            model: &model,
            parameters: self.model.num_parameters(),
            steps: match plan.budget {
                Budget::Steps(steps) => Some(steps),
                Budget::Epochs(epochs) => per_epoch.map(|n| n * epochs),
            },
            steps_per_epoch: per_epoch,
            step: progress.step,
            history: &progress.history,
        };
        for callback in &mut self.callbacks {
            callback.begin(&run)?;
        }
        let stop = loop {
            let progress = &self.state.progress;
            let done = match plan.budget {
                Budget::Epochs(epochs) => progress.epoch >= epochs,
                Budget::Steps(steps) => progress.step >= steps,
            };
            if done {
                break Stop::Finished;
            }
            let higher = self.higher_is_better();
            let early = self.early.as_ref();
            if early.is_some_and(|early| early.is_over(&progress.history, higher)) {
                break Stop::Early;
            }
            if let Some(stop) = self.epoch(plan)? {
                break stop;
            }
        };
        let fit = Fit {
            history: self.state.progress.history.clone(),
            stop,
        };
        let wanted = self.callbacks.iter().map(|c| c.samples()).max();
        let samples = self.samples(plan, wanted.unwrap_or(0))?;
        for callback in &mut self.callbacks {
            callback.end(&fit, samples.as_ref())?;
        }
        Ok(fit)
    }

    /// This moment.
    pub(super) fn snapshot(&mut self, device: &Device) -> Result<Snapshot> {
        let state = &mut self.state;
        let RandomState { seed, counter } = device.random_state();
        state.progress.random = (seed, counter);
        if let Some(scheduler) = &state.scheduler {
            let numbers = scheduler.state_dict().numbers.into_iter();
            state.progress.schedule = numbers.map(|(name, n)| (name, Number(n))).collect();
        }
        if let Some(scaler) = &state.scaler {
            let scaler = scaler.state_dict()?;
            state.progress.scaler = Some((Number(scaler.scale), scaler.growth_tracker));
        }
        state.progress.plateau = self.plateau.as_ref().map(|plateau| Plateau {
            best: plateau.best.map(Number),
            bad_steps: plateau.bad_steps,
            cooling: plateau.cooling,
        });
        let totals = self.meters.iter().map(Meter::totals);
        state.progress.metrics = totals
            .map(|all| all.iter().map(|&n| Number(n)).collect())
            .collect();
        state.progress.callbacks = self.callbacks.iter().map(|c| c.state()).collect();
        Snapshot::of(&self.model, &self.optimizer, &state.progress)
    }

    /// Goes back to a moment.
    pub(super) fn restore(&mut self, snapshot: &Snapshot, device: &Device) -> Result<()> {
        snapshot.restore(&self.model, &mut self.optimizer, device)?;
        let progress = &snapshot.progress;
        if let Some(scheduler) = &mut self.state.scheduler {
            let numbers = progress.schedule.iter();
            scheduler.load_state_dict(&OptimizerState {
                numbers: numbers.map(|(name, n)| (name.clone(), n.0)).collect(),
                ..Default::default()
            })?;
        }
        if let (Some(scaler), Some((scale, growth_tracker))) =
            (&mut self.state.scaler, progress.scaler)
        {
            let mut state = scaler.state_dict()?;
            (state.scale, state.growth_tracker) = (scale.0, growth_tracker);
            scaler.load_state_dict(&state);
        }
        if let (Some(plateau), Some(saved)) = (&mut self.plateau, &progress.plateau) {
            plateau.best = saved.best.map(|best| best.0);
            plateau.bad_steps = saved.bad_steps;
            plateau.cooling = saved.cooling;
        }
        for (meter, totals) in self.meters.iter_mut().zip(&progress.metrics) {
            meter.set_totals(totals.iter().map(|n| n.0).collect());
        }
        self.state.progress = progress.clone();
        self.state.losses.clear();
        self.state.gathered = 0;
        self.model.zero_grad();
        Ok(())
    }

    /// A failure of device or memory, with what is left of the training.
    fn explained(&self, error: Error) -> Error {
        let of_device = matches!(
            error.root(),
            Error::DeviceLost(_) | Error::Device(_) | Error::OutOfMemory { .. }
        );
        let checkpoints = self.checkpoints.as_ref().filter(|_| of_device);
        let last = checkpoints.and_then(|all| all.last().ok().flatten());
        match last {
            Some(last) => {
                let (step, last) = (self.state.progress.step, last.display());
                let told = format!(
                    "training stopped after step {step}; run the program again to go on from {last}"
                );
                error.in_module(&told, "")
            }
            None => error,
        }
    }
}
