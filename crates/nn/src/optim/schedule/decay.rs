//! Factors that fall or rise step by step.

use super::{Schedule, Setting, positive};
use crate::optim::options::{finite, not_negative};

/// Multiplies the learning rate by `gamma` every `step_size` steps, as `torch.optim.lr_scheduler.StepLR`:
/// `base gamma^floor(t / step_size)`.
///
/// ```
/// use wgrad_nn::optim::schedule::{Schedule, StepLr};
/// let schedule = StepLr { step_size: 30, gamma: 0.5 };
/// assert_eq!(schedule.at(29, 0, 0.1)?.lr, 0.1);
/// assert_eq!(schedule.at(60, 0, 0.1)?.lr, 0.025);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepLr {
    /// After how many steps.
    pub step_size: u64,
    /// By what; torch's default is 0.1.
    pub gamma: f64,
}

impl Schedule for StepLr {
    fn check(&self) -> Result<(), String> {
        positive("step_size", self.step_size)?;
        finite(&[("gamma", self.gamma)])
    }
    fn at(&self, step: u64, _: usize, base: f64) -> Result<Setting, String> {
        Ok((base * self.gamma.powf((step / self.step_size.max(1)) as f64)).into())
    }
}

/// Multiplies the learning rate by `gamma` at each milestone, as `MultiStepLR`. A milestone given twice counts
/// twice.
///
/// ```
/// use wgrad_nn::optim::schedule::{MultiStepLr, Schedule};
/// let schedule = MultiStepLr { milestones: vec![30, 80], gamma: 0.5 };
/// assert_eq!(schedule.at(80, 0, 1.0)?.lr, 0.25);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct MultiStepLr {
    /// After how many steps, in any order.
    pub milestones: Vec<u64>,
    /// By what; torch's default is 0.1.
    pub gamma: f64,
}

impl Schedule for MultiStepLr {
    fn check(&self) -> Result<(), String> {
        finite(&[("gamma", self.gamma)])
    }
    fn at(&self, step: u64, _: usize, base: f64) -> Result<Setting, String> {
        let passed = self.milestones.iter().filter(|m| **m <= step).count();
        Ok((base * self.gamma.powf(passed as f64)).into())
    }
}

/// Multiplies the learning rate by `gamma` every step, as `ExponentialLR`: `base gamma^t`.
///
/// ```
/// use wgrad_nn::optim::schedule::{ExponentialLr, Schedule};
/// assert_eq!(ExponentialLr { gamma: 0.5 }.at(3, 0, 1.0)?.lr, 0.125);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ExponentialLr {
    /// By what.
    pub gamma: f64,
}

impl Schedule for ExponentialLr {
    fn check(&self) -> Result<(), String> {
        finite(&[("gamma", self.gamma)])
    }
    fn at(&self, step: u64, _: usize, base: f64) -> Result<Setting, String> {
        Ok((base * self.gamma.powf(step as f64)).into())
    }
}

/// A factor that goes from `start_factor` to `end_factor` in `total_iters` steps along a line and stays there, as
/// `LinearLR`; the usual warm-up.
///
/// ```
/// use wgrad_nn::optim::schedule::{LinearLr, Schedule};
/// let schedule = LinearLr { start_factor: 0.5, total_iters: 4, ..Default::default() };
/// assert_eq!(schedule.at(1, 0, 1.0)?.lr, 0.625);
/// assert_eq!(schedule.at(9, 0, 1.0)?.lr, 1.0);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LinearLr {
    /// The first factor, in `(0, 1]`.
    pub start_factor: f64,
    /// The last factor, in `[0, 1]`.
    pub end_factor: f64,
    /// In how many steps.
    pub total_iters: u64,
}

/// PyTorch's defaults.
impl Default for LinearLr {
    fn default() -> LinearLr {
        LinearLr {
            start_factor: 1.0 / 3.0,
            end_factor: 1.0,
            total_iters: 5,
        }
    }
}

impl Schedule for LinearLr {
    fn check(&self) -> Result<(), String> {
        positive("total_iters", self.total_iters)?;
        if !(self.start_factor > 0.0 && self.start_factor <= 1.0) {
            return Err(format!(
                "start_factor must be in (0, 1], not {}",
                self.start_factor
            ));
        }
        if !(0.0..=1.0).contains(&self.end_factor) {
            return Err(format!(
                "end_factor must be in [0, 1], not {}",
                self.end_factor
            ));
        }
        Ok(())
    }
    fn at(&self, step: u64, _: usize, base: f64) -> Result<Setting, String> {
        let total = self.total_iters.max(1);
        let share = step.min(total) as f64 / total as f64;
        // Exact at both ends.
        let factor = self.start_factor * (1.0 - share) + self.end_factor * share;
        Ok((base * factor).into())
    }
}

/// A factor for the first `total_iters` steps, as `ConstantLR`.
///
/// ```
/// use wgrad_nn::optim::schedule::{ConstantLr, Schedule};
/// let schedule = ConstantLr { factor: 0.5, total_iters: 4 };
/// assert_eq!((schedule.at(3, 0, 1.0)?.lr, schedule.at(4, 0, 1.0)?.lr), (0.5, 1.0));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ConstantLr {
    /// The factor, in `[0, 1]`.
    pub factor: f64,
    /// For how many steps.
    pub total_iters: u64,
}

/// PyTorch's defaults.
impl Default for ConstantLr {
    fn default() -> ConstantLr {
        ConstantLr {
            factor: 1.0 / 3.0,
            total_iters: 5,
        }
    }
}

impl Schedule for ConstantLr {
    fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.factor) {
            return Err(format!("factor must be in [0, 1], not {}", self.factor));
        }
        Ok(())
    }
    fn at(&self, step: u64, _: usize, base: f64) -> Result<Setting, String> {
        let factor = if step < self.total_iters {
            self.factor
        } else {
            1.0
        };
        Ok((base * factor).into())
    }
}

/// Falls to 0 in `total_iters` steps, as `PolynomialLR`: `base (1 - t / total_iters)^power`.
///
/// ```
/// use wgrad_nn::optim::schedule::{PolynomialLr, Schedule};
/// let schedule = PolynomialLr { total_iters: 4, power: 2.0 };
/// assert_eq!((schedule.at(2, 0, 1.0)?.lr, schedule.at(7, 0, 1.0)?.lr), (0.25, 0.0));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PolynomialLr {
    /// In how many steps.
    pub total_iters: u64,
    /// The power.
    pub power: f64,
}

/// PyTorch's defaults.
impl Default for PolynomialLr {
    fn default() -> PolynomialLr {
        PolynomialLr {
            total_iters: 5,
            power: 1.0,
        }
    }
}

impl Schedule for PolynomialLr {
    fn check(&self) -> Result<(), String> {
        positive("total_iters", self.total_iters)?;
        not_negative(&[("power", self.power)])
    }
    fn at(&self, step: u64, _: usize, base: f64) -> Result<Setting, String> {
        let total = self.total_iters.max(1);
        let left = 1.0 - step.min(total) as f64 / total as f64;
        Ok((base * left.powf(self.power)).into())
    }
}
