//! Learning rates that rise and fall, with the momentum the other way.

use std::f64::consts::PI;

use super::{Schedule, Setting, positive};
use crate::optim::options::not_negative;

/// The way from one value to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anneal {
    /// Half a cosine.
    Cos,
    /// A line.
    Linear,
}

impl Anneal {
    fn between(self, start: f64, end: f64, share: f64) -> f64 {
        match self {
            Anneal::Cos => end + (start - end) / 2.0 * (1.0 + (PI * share).cos()),
            Anneal::Linear => (end - start) * share + start,
        }
    }
}

/// One cycle up to `max_lr` and down to nearly nothing ([Smith and Topin
/// 2017](https://arxiv.org/abs/1708.07120)), as `torch.optim.lr_scheduler.OneCycleLR`. The groups' own learning
/// rates do not matter.
///
/// ```
/// use wgrad_nn::optim::schedule::{OneCycleLr, Schedule};
/// let schedule = OneCycleLr { max_lr: vec![0.1], total_steps: 101, ..Default::default() };
/// assert!((schedule.at(0, 0, 1.0)?.lr - 0.004).abs() < 1e-15);
/// assert_eq!(schedule.at(0, 0, 1.0)?.momentum, Some(0.95));
/// assert!(schedule.at(102, 0, 1.0).is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct OneCycleLr {
    /// The largest learning rate, one for all groups or one for each.
    pub max_lr: Vec<f64>,
    /// The steps of the cycle.
    pub total_steps: u64,
    /// Which share of them goes up.
    pub pct_start: f64,
    /// The way.
    pub anneal: Anneal,
    /// Whether the momentum goes the other way.
    pub cycle_momentum: bool,
    /// The least momentum, at the largest learning rate.
    pub base_momentum: f64,
    /// The largest momentum.
    pub max_momentum: f64,
    /// How much lower the learning rate begins.
    pub div_factor: f64,
    /// How much lower than at the beginning it ends.
    pub final_div_factor: f64,
    /// Down to the beginning as fast as up, then down to the end.
    pub three_phase: bool,
}

/// PyTorch's defaults; `max_lr` and `total_steps` must be given.
impl Default for OneCycleLr {
    fn default() -> OneCycleLr {
        OneCycleLr {
            max_lr: Vec::new(),
            total_steps: 0,
            pct_start: 0.3,
            anneal: Anneal::Cos,
            cycle_momentum: true,
            base_momentum: 0.85,
            max_momentum: 0.95,
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
        }
    }
}

/// A group's number of a list that has one for all or one for each.
fn of_group(name: &str, list: &[f64], group: usize) -> Result<f64, String> {
    match list {
        [one] => Ok(*one),
        _ => list.get(group).copied().ok_or_else(|| {
            let count = list.len();
            format!("{name} has {count} values, none for group {group}")
        }),
    }
}

fn learning_rates(name: &str, list: &[f64]) -> Result<(), String> {
    if list.is_empty() {
        return Err(format!("{name} is missing"));
    }
    list.iter().try_for_each(|&lr| not_negative(&[(name, lr)]))
}

impl Schedule for OneCycleLr {
    fn check(&self) -> Result<(), String> {
        learning_rates("max_lr", &self.max_lr)?;
        positive("total_steps", self.total_steps)?;
        not_negative(&[
            ("base_momentum", self.base_momentum),
            ("max_momentum", self.max_momentum),
        ])?;
        if !(0.0..=1.0).contains(&self.pct_start) {
            return Err(format!(
                "pct_start must be in [0, 1], not {}",
                self.pct_start
            ));
        }
        for (name, factor) in [
            ("div_factor", self.div_factor),
            ("final_div_factor", self.final_div_factor),
        ] {
            if !(factor > 0.0 && factor.is_finite()) {
                return Err(format!("{name} must be above 0, not {factor}"));
            }
        }
        Ok(())
    }

    fn at(&self, step: u64, group: usize, _: f64) -> Result<Setting, String> {
        if step > self.total_steps {
            let total = self.total_steps;
            return Err(format!("step {step} of a cycle of total_steps {total}"));
        }
        let high = of_group("max_lr", &self.max_lr, group)?;
        let begin = high / self.div_factor;
        let end = begin / self.final_div_factor;
        let (slow, fast) = (self.base_momentum, self.max_momentum);
        let total = self.total_steps as f64;
        let up = self.pct_start * total - 1.0;
        // The last step of each phase, learning rates and momenta at its ends.
        let phases = if self.three_phase {
            vec![
                (up, (begin, high), (fast, slow)),
                (
                    2.0 * self.pct_start * total - 2.0,
                    (high, begin),
                    (slow, fast),
                ),
                (total - 1.0, (begin, end), (fast, fast)),
            ]
        } else {
            vec![
                (up, (begin, high), (fast, slow)),
                (total - 1.0, (high, end), (slow, fast)),
            ]
        };
        let t = step as f64;
        let mut from = 0.0;
        for (i, &(to, lr, momentum)) in phases.iter().enumerate() {
            if t <= to || i + 1 == phases.len() {
                // A phase of no length is at its end.
                let share = if to > from {
                    (t - from) / (to - from)
                } else {
                    1.0
                };
                let momentum = self.anneal.between(momentum.0, momentum.1, share);
                return Ok(Setting {
                    lr: self.anneal.between(lr.0, lr.1, share),
                    momentum: self.cycle_momentum.then_some(momentum),
                });
            }
            from = to;
        }
        Ok(end.into())
    }
}

/// How the height of the cycles of [`CyclicLr`] changes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum CyclicMode {
    /// It does not.
    Triangular,
    /// It is halved after each cycle.
    Triangular2,
    /// It is multiplied by `gamma` each step.
    ExpRange {
        /// By what.
        gamma: f64,
    },
}

/// Up and down between two learning rates along lines ([Smith 2015](https://arxiv.org/abs/1506.01186)), as
/// `CyclicLR`. The groups' own learning rates do not matter.
///
/// ```
/// use wgrad_nn::optim::schedule::{CyclicLr, Schedule};
/// let schedule = CyclicLr {
///     base_lr: vec![0.125],
///     max_lr: vec![0.625],
///     step_size_up: 4,
///     ..Default::default()
/// };
/// assert_eq!((schedule.at(1, 0, 1.0)?.lr, schedule.at(4, 0, 1.0)?.lr), (0.25, 0.625));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct CyclicLr {
    /// The least learning rate, one for all groups or one for each.
    pub base_lr: Vec<f64>,
    /// The largest learning rate, one for all groups or one for each.
    pub max_lr: Vec<f64>,
    /// Steps up.
    pub step_size_up: u64,
    /// Steps down; `None` for as many as up.
    pub step_size_down: Option<u64>,
    /// How the height changes.
    pub mode: CyclicMode,
    /// Whether the momentum goes the other way.
    pub cycle_momentum: bool,
    /// The least momentum, at the largest learning rate.
    pub base_momentum: f64,
    /// The largest momentum.
    pub max_momentum: f64,
}

/// PyTorch's defaults; the learning rates must be given.
impl Default for CyclicLr {
    fn default() -> CyclicLr {
        CyclicLr {
            base_lr: Vec::new(),
            max_lr: Vec::new(),
            step_size_up: 2000,
            step_size_down: None,
            mode: CyclicMode::Triangular,
            cycle_momentum: true,
            base_momentum: 0.8,
            max_momentum: 0.9,
        }
    }
}

impl Schedule for CyclicLr {
    fn check(&self) -> Result<(), String> {
        learning_rates("base_lr", &self.base_lr)?;
        learning_rates("max_lr", &self.max_lr)?;
        positive("step_size_up", self.step_size_up)?;
        positive("step_size_down", self.step_size_down.unwrap_or(1))?;
        if let CyclicMode::ExpRange { gamma } = self.mode {
            not_negative(&[("gamma", gamma)])?;
        }
        not_negative(&[
            ("base_momentum", self.base_momentum),
            ("max_momentum", self.max_momentum),
        ])
    }

    fn at(&self, step: u64, group: usize, _: f64) -> Result<Setting, String> {
        let low = of_group("base_lr", &self.base_lr, group)?;
        let high = of_group("max_lr", &self.max_lr, group)?;
        let up = self.step_size_up.max(1);
        let down = self.step_size_down.unwrap_or(up).max(1);
        let (cycle, within) = (step / (up + down), step % (up + down));
        let height = if within <= up {
            within as f64 / up as f64
        } else {
            (up + down - within) as f64 / down as f64
        };
        let height = height
            * match self.mode {
                CyclicMode::Triangular => 1.0,
                CyclicMode::Triangular2 => 0.5f64.powf(cycle as f64),
                CyclicMode::ExpRange { gamma } => gamma.powf(step as f64),
            };
        let momentum = self.max_momentum - (self.max_momentum - self.base_momentum) * height;
        Ok(Setting {
            lr: low + (high - low) * height,
            momentum: self.cycle_momentum.then_some(momentum),
        })
    }
}
