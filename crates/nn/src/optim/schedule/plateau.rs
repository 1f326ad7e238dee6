//! Learning rates that fall where training does not get on.

use wgrad_core::{Error, Place, Result};

use super::{value, whole};
use crate::optim::options::not_negative;
use crate::optim::{Optimizer, OptimizerState};

/// What a metric must be better by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ThresholdMode {
    /// A share of the best.
    Rel,
    /// An amount.
    Abs,
}

/// Multiplies learning rates by `factor` when a metric has not got better for `patience` steps, as
/// `torch.optim.lr_scheduler.ReduceLROnPlateau`.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::schedule::ReduceLrOnPlateau;
/// use wgrad_nn::optim::{Optimizer, Sgd, SgdOptions};
///
/// let w = Tensor::scalar(1.0, &dev).requires_grad();
/// let mut sgd = Sgd::new(vec![w], SgdOptions { lr: 0.1, ..Default::default() });
/// let mut plateau = ReduceLrOnPlateau { patience: 1, factor: 0.5, ..Default::default() };
/// for loss in [3.0, 2.0, 2.0, 2.0] {
///     plateau.step(&mut sgd, loss)?;
/// }
/// assert_eq!(sgd.lr(), 0.05);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct ReduceLrOnPlateau {
    /// Whether larger is better, rather than smaller.
    pub maximize: bool,
    /// By what, below 1.
    pub factor: f64,
    /// For how many steps a metric may be no better.
    pub patience: u64,
    /// What a metric must be better by.
    pub threshold: f64,
    /// How that is meant.
    pub threshold_mode: ThresholdMode,
    /// After how many steps counting begins again.
    pub cooldown: u64,
    /// The least learning rate: none, one for all groups or one for each.
    pub min_lr: Vec<f64>,
    /// Smaller changes are left out.
    pub eps: f64,
    /// The best metric so far.
    pub best: Option<f64>,
    /// For how many steps there was no better one.
    pub bad_steps: u64,
    /// How many steps of the cooldown are left.
    pub cooling: u64,
}

/// PyTorch's defaults.
impl Default for ReduceLrOnPlateau {
    fn default() -> ReduceLrOnPlateau {
        ReduceLrOnPlateau {
            maximize: false,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::Rel,
            cooldown: 0,
            min_lr: Vec::new(),
            eps: 1e-8,
            best: None,
            bad_steps: 0,
            cooling: 0,
        }
    }
}

impl ReduceLrOnPlateau {
    fn check(&self, groups: usize) -> Result<(), String> {
        not_negative(&[("threshold", self.threshold), ("eps", self.eps)])?;
        if !(self.factor < 1.0 && self.factor >= 0.0) {
            return Err(format!("factor must be in [0, 1), not {}", self.factor));
        }
        if self.min_lr.len() > 1 && self.min_lr.len() != groups {
            let count = self.min_lr.len();
            return Err(format!("min_lr has {count} values for {groups} groups"));
        }
        self.min_lr
            .iter()
            .try_for_each(|&lr| not_negative(&[("min_lr", lr)]))
    }

    fn is_better(&self, metric: f64) -> bool {
        let Some(best) = self.best else {
            return !metric.is_nan();
        };
        match (self.threshold_mode, self.maximize) {
            (ThresholdMode::Rel, false) => metric < best * (1.0 - self.threshold),
            (ThresholdMode::Rel, true) => metric > best * (1.0 + self.threshold),
            (ThresholdMode::Abs, false) => metric < best - self.threshold,
            (ThresholdMode::Abs, true) => metric > best + self.threshold,
        }
    }

    /// Takes in a metric, and lowers the learning rates if it is time.
    ///
    /// # Errors
    /// [`Error::Value`] for an option out of range; then nothing has changed.
    #[track_caller]
    pub fn step<O: Optimizer + ?Sized>(&mut self, optimizer: &mut O, metric: f64) -> Result<()> {
        let place = Place::caller();
        let groups = optimizer.group_count();
        self.check(groups)
            .map_err(|problem| value(problem, place))?;
        if self.is_better(metric) {
            self.best = Some(metric);
            self.bad_steps = 0;
        } else {
            self.bad_steps += 1;
        }
        if self.cooling > 0 {
            self.cooling -= 1;
            self.bad_steps = 0;
        }
        if self.bad_steps <= self.patience {
            return Ok(());
        }
        for group in 0..groups {
            let old = optimizer.hyperparameter(group, "lr").unwrap_or(0.0);
            let least = match &self.min_lr[..] {
                [] => 0.0,
                [one] => *one,
                each => each[group],
            };
            let new = (old * self.factor).max(least);
            if old - new > self.eps {
                optimizer.set_hyperparameter(group, "lr", new);
            }
        }
        self.cooling = self.cooldown;
        self.bad_steps = 0;
        Ok(())
    }

    /// What has been seen, to be saved.
    pub fn state_dict(&self) -> OptimizerState {
        let mut state = OptimizerState::default();
        let best = self.best.map(|best| ("best", best));
        let counts = [
            ("num_bad_epochs", self.bad_steps as f64),
            ("cooldown_counter", self.cooling as f64),
        ];
        for (name, number) in counts.into_iter().chain(best) {
            state.numbers.insert(name.into(), number);
        }
        state
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// [`Error::Load`] where something is missing; then nothing has changed.
    pub fn load_state_dict(&mut self, state: &OptimizerState) -> Result<(), Error> {
        let bad_steps = whole(state, "num_bad_epochs")?;
        self.cooling = whole(state, "cooldown_counter")?;
        self.bad_steps = bad_steps;
        self.best = state.numbers.get("best").copied();
        Ok(())
    }
}
