//! Schedules of learning rates, with PyTorch's names, meanings and defaults.
//!
//! A [`Schedule`] is a function of the number of steps: it keeps nothing, so that it can be looked at for any step.
//! A [`Scheduler`] counts the steps and gives an optimizer what the schedule says. What depends on how training
//! goes is [`ReduceLrOnPlateau`].
//!
//! ```
//! # fn main() -> wgrad_core::Result<()> {
//! # let dev = wgrad_core::Device::new(
//! #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
//! # use wgrad_core::Tensor;
//! use wgrad_nn::optim::schedule::{CosineAnnealingLr, Schedule, Scheduler, warm_up};
//! use wgrad_nn::optim::{Optimizer, Sgd, SgdOptions};
//!
//! let w = Tensor::scalar(1.0, &dev).requires_grad();
//! let mut sgd = Sgd::new(vec![w.clone()], SgdOptions { lr: 0.1, ..Default::default() });
//! // Ten steps up from nearly nothing, then down along a cosine.
//! let schedule = warm_up(10, CosineAnnealingLr { t_max: 90, eta_min: 0.0 });
//! let mut scheduler = Scheduler::new(&mut sgd, schedule)?;
//! for _ in 0..10 {
//!     w.zero_grad();
//!     w.sqr().backward()?;
//!     sgd.step()?;
//!     scheduler.step(&mut sgd)?;
//! }
//! assert_eq!(sgd.lr(), 0.1);
//! # Ok(())
//! # }
//! ```

mod annealing;
mod composed;
mod cycle;
mod decay;
mod plateau;

use wgrad_core::{Error, Place, Result};

pub use annealing::{CosineAnnealingLr, CosineAnnealingWarmRestarts, SwaAnneal, SwaLr};
pub use composed::{LambdaLr, MultiplicativeLr, SequentialLr, warm_up};
pub use cycle::{Anneal, CyclicLr, CyclicMode, OneCycleLr};
pub use decay::{ConstantLr, ExponentialLr, LinearLr, MultiStepLr, PolynomialLr, StepLr};
pub use plateau::{ReduceLrOnPlateau, ThresholdMode};

use super::{Optimizer, OptimizerState};

/// What a schedule says of a group.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Setting {
    /// The learning rate.
    pub lr: f64,
    /// The momentum (Adam's beta1), where the schedule changes it.
    pub momentum: Option<f64>,
}

impl From<f64> for Setting {
    fn from(lr: f64) -> Setting {
        Setting { lr, momentum: None }
    }
}

/// A learning rate as a function of the number of steps.
pub trait Schedule {
    /// What is wrong with the options, naming the option, if anything is.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&self) -> Result<(), String>;

    /// What a group whose learning rate was `base` before has after `step` steps.
    ///
    /// # Errors
    /// Why there is nothing for this step or group.
    fn at(&self, step: u64, group: usize, base: f64) -> Result<Setting, String>;
}

impl<S: Schedule + ?Sized> Schedule for Box<S> {
    fn check(&self) -> Result<(), String> {
        (**self).check()
    }
    fn at(&self, step: u64, group: usize, base: f64) -> Result<Setting, String> {
        (**self).at(step, group, base)
    }
}

/// A schedule at work: counts steps and sets an optimizer's learning rates.
pub struct Scheduler<S> {
    schedule: S,
    /// The learning rate of each group before.
    bases: Vec<f64>,
    step: u64,
}

impl<S: Schedule> Scheduler<S> {
    /// Begins: sets what the schedule says of step 0.
    ///
    /// # Errors
    /// [`Error::Value`] for an option out of range, or an optimizer that lacks what the schedule sets.
    #[track_caller]
    pub fn new<O: Optimizer + ?Sized>(optimizer: &mut O, schedule: S) -> Result<Scheduler<S>> {
        let place = Place::caller();
        schedule.check().map_err(|problem| value(problem, place))?;
        let groups = 0..optimizer.group_count();
        let bases = groups.map(|group| optimizer.hyperparameter(group, "lr").unwrap_or(0.0));
        let scheduler = Scheduler {
            schedule,
            bases: bases.collect(),
            step: 0,
        };
        scheduler.apply(0, optimizer, place)?;
        Ok(scheduler)
    }

    /// Sets the learning rates of the next step: call it after the optimizer's [`step`](Optimizer::step), once per
    /// step or once per epoch, as the schedule counts. Groups that were added since begin at their own learning
    /// rate.
    ///
    /// # Errors
    /// [`Error::Value`] where the schedule says nothing of this step; then nothing has changed.
    #[track_caller]
    pub fn step<O: Optimizer + ?Sized>(&mut self, optimizer: &mut O) -> Result<()> {
        for group in self.bases.len()..optimizer.group_count() {
            let base = optimizer.hyperparameter(group, "lr");
            self.bases.push(base.unwrap_or(0.0));
        }
        self.apply(self.step + 1, optimizer, Place::caller())?;
        self.step += 1;
        Ok(())
    }

    fn apply<O: Optimizer + ?Sized>(
        &self,
        step: u64,
        optimizer: &mut O,
        place: Place,
    ) -> Result<()> {
        let mut changes = Vec::new();
        for (group, &base) in self.bases.iter().enumerate() {
            let setting = self.schedule.at(step, group, base);
            let setting = setting.map_err(|problem| value(problem, place))?;
            changes.push((group, "lr", setting.lr));
            let Some(momentum) = setting.momentum else {
                continue;
            };
            let names = ["momentum", "beta1"].into_iter();
            let name = names
                .into_iter()
                .find(|n| optimizer.hyperparameter(group, n).is_some());
            let Some(name) = name else {
                let problem = "cycle_momentum needs an optimizer with momentum or betas";
                return Err(value(problem.into(), place));
            };
            changes.push((group, name, momentum));
        }
        for (group, name, number) in changes {
            optimizer.set_hyperparameter(group, name, number);
        }
        Ok(())
    }

    /// How many steps there were.
    pub fn last_step(&self) -> u64 {
        self.step
    }

    /// The schedule.
    pub fn schedule(&self) -> &S {
        &self.schedule
    }

    /// Step and learning rates before, to be saved.
    pub fn state_dict(&self) -> OptimizerState {
        let mut state = OptimizerState::default();
        state.numbers.insert("last_step".into(), self.step as f64);
        for (group, &base) in self.bases.iter().enumerate() {
            state.numbers.insert(format!("base_lrs.{group}"), base);
        }
        state
    }

    /// Continues from a saved state; the optimizer's own state has its learning rates.
    ///
    /// # Errors
    /// [`Error::Load`] where something is missing; then nothing has changed.
    pub fn load_state_dict(&mut self, state: &OptimizerState) -> Result<()> {
        let step = whole(state, "last_step")?;
        let groups = (0..).map(|group| state.numbers.get(&format!("base_lrs.{group}")));
        self.bases = groups.map_while(|base| base.copied()).collect();
        self.step = step;
        Ok(())
    }
}

/// A saved count.
fn whole(state: &OptimizerState, name: &str) -> Result<u64> {
    let whole = |n: &f64| *n >= 0.0 && n.fract() == 0.0 && *n <= 2f64.powi(53);
    let found = state.numbers.get(name).copied().filter(whole);
    found
        .map(|n| n as u64)
        .ok_or_else(|| Error::Load(format!("missing: {name}")))
}

fn value(problem: String, place: Place) -> Error {
    Error::Value {
        op: "schedule",
        problem,
        place,
    }
}

/// What is wrong with a count that must not be 0.
fn positive(name: &str, count: u64) -> Result<(), String> {
    match count {
        0 => Err(format!("{name} must be at least 1")),
        _ => Ok(()),
    }
}
