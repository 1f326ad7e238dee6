//! Learning rates that fall along a cosine.

use std::f64::consts::PI;

use super::{Schedule, Setting, positive};
use crate::optim::options::finite;

/// Down to `eta_min` in `t_max` steps along half a cosine ([Loshchilov and Hutter
/// 2016](https://arxiv.org/abs/1608.03983)), then up again, as `torch.optim.lr_scheduler.CosineAnnealingLR`:
/// `eta_min + (base - eta_min) (1 + cos(pi t / t_max)) / 2`.
///
/// ```
/// use wgrad_nn::optim::schedule::{CosineAnnealingLr, Schedule};
/// let schedule = CosineAnnealingLr { t_max: 10, eta_min: 0.0 };
/// assert!((schedule.at(5, 0, 1.0)?.lr - 0.5).abs() < 1e-15);
/// assert_eq!(schedule.at(10, 0, 1.0)?.lr, 0.0);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CosineAnnealingLr {
    /// In how many steps.
    pub t_max: u64,
    /// Down to what; torch's default is 0.
    pub eta_min: f64,
}

fn cosine(base: f64, eta_min: f64, share: f64) -> f64 {
    eta_min + (base - eta_min) * (1.0 + (PI * share).cos()) / 2.0
}

impl Schedule for CosineAnnealingLr {
    fn check(&self) -> Result<(), String> {
        positive("t_max", self.t_max)?;
        finite(&[("eta_min", self.eta_min)])
    }
    fn at(&self, step: u64, _: usize, base: f64) -> Result<Setting, String> {
        let t_max = self.t_max.max(1);
        let share = (step % (2 * t_max)) as f64 / t_max as f64;
        Ok(cosine(base, self.eta_min, share).into())
    }
}

/// Down along half a cosine again and again, each time `t_mult` times as long as before, as
/// `CosineAnnealingWarmRestarts`.
///
/// ```
/// use wgrad_nn::optim::schedule::{CosineAnnealingWarmRestarts, Schedule};
/// let schedule = CosineAnnealingWarmRestarts { t_0: 10, ..Default::default() };
/// assert!(schedule.at(9, 0, 1.0)?.lr < 0.03);
/// assert_eq!(schedule.at(10, 0, 1.0)?.lr, 1.0);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CosineAnnealingWarmRestarts {
    /// The steps before the first restart.
    pub t_0: u64,
    /// How much longer each period is.
    pub t_mult: u64,
    /// Down to what.
    pub eta_min: f64,
}

/// Periods of 10 steps; the rest as PyTorch's defaults.
impl Default for CosineAnnealingWarmRestarts {
    fn default() -> CosineAnnealingWarmRestarts {
        CosineAnnealingWarmRestarts {
            t_0: 10,
            t_mult: 1,
            eta_min: 0.0,
        }
    }
}

impl Schedule for CosineAnnealingWarmRestarts {
    fn check(&self) -> Result<(), String> {
        positive("t_0", self.t_0)?;
        positive("t_mult", self.t_mult)?;
        finite(&[("eta_min", self.eta_min)])
    }
    fn at(&self, step: u64, _: usize, base: f64) -> Result<Setting, String> {
        let mut period = self.t_0.max(1);
        let mut since = step;
        if self.t_mult <= 1 {
            since %= period;
        }
        while since >= period {
            since -= period;
            period = period.saturating_mul(self.t_mult);
        }
        let share = since as f64 / period as f64;
        Ok(cosine(base, self.eta_min, share).into())
    }
}

/// How [`SwaLr`] goes from one learning rate to the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SwaAnneal {
    /// Along half a cosine.
    #[default]
    Cosine,
    /// Along a line.
    Linear,
}

/// To a learning rate that stays, while weights are averaged
/// ([`AveragedModel`](crate::optim::AveragedModel)), as `torch.optim.swa_utils.SWALR`:
/// `swa_lr a + base (1 - a)` with `a = (1 - cos(pi t / anneal_epochs)) / 2` or `t / anneal_epochs`, and 1 after
/// `anneal_epochs`.
///
/// ```
/// use wgrad_nn::optim::schedule::{Schedule, SwaLr};
/// let schedule = SwaLr { anneal_epochs: 4, ..SwaLr::new(0.05) };
/// assert!((schedule.at(2, 0, 0.25)?.lr - 0.15).abs() < 1e-15);
/// assert_eq!(schedule.at(9, 0, 0.25)?.lr, 0.05);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SwaLr {
    /// The learning rate at the end.
    pub swa_lr: f64,
    /// In how many steps; torch's default is 10. With 0 it is there at once, from the first step on.
    pub anneal_epochs: u64,
    /// Along what.
    pub anneal_strategy: SwaAnneal,
}

impl SwaLr {
    /// In ten steps along half a cosine.
    pub fn new(swa_lr: f64) -> SwaLr {
        SwaLr {
            swa_lr,
            anneal_epochs: 10,
            anneal_strategy: SwaAnneal::Cosine,
        }
    }
}

impl Schedule for SwaLr {
    fn check(&self) -> Result<(), String> {
        finite(&[("swa_lr", self.swa_lr)])
    }
    fn at(&self, step: u64, _: usize, base: f64) -> Result<Setting, String> {
        let share = match self.anneal_epochs {
            0 => 1.0,
            epochs => (step as f64 / epochs as f64).min(1.0),
        };
        let done = match self.anneal_strategy {
            SwaAnneal::Cosine => (1.0 - (PI * share).cos()) / 2.0,
            SwaAnneal::Linear => share,
        };
        Ok((self.swa_lr * done + base * (1.0 - done)).into())
    }
}
