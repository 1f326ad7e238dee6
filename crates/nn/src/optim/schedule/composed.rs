//! Schedules made of others, and of functions.

use std::sync::Mutex;

use super::{LinearLr, Schedule, Setting};

/// One schedule after the other, as `torch.optim.lr_scheduler.SequentialLR`: from each milestone on the next, which
/// counts from there.
///
/// ```
/// use wgrad_nn::optim::schedule::{ConstantLr, ExponentialLr, Schedule, SequentialLr};
/// let schedule = SequentialLr {
///     schedules: vec![
///         Box::new(ConstantLr { factor: 0.5, total_iters: 10 }),
///         Box::new(ExponentialLr { gamma: 0.5 }),
///     ],
///     milestones: vec![10],
/// };
/// assert_eq!((schedule.at(9, 0, 1.0)?.lr, schedule.at(12, 0, 1.0)?.lr), (0.5, 0.25));
/// # Ok::<(), String>(())
/// ```
pub struct SequentialLr {
    /// The schedules, in order.
    pub schedules: Vec<Box<dyn Schedule + Send + Sync>>,
    /// Where each but the first begins, ascending.
    pub milestones: Vec<u64>,
}

impl Schedule for SequentialLr {
    fn check(&self) -> Result<(), String> {
        let (schedules, milestones) = (self.schedules.len(), self.milestones.len());
        if schedules != milestones + 1 {
            return Err(format!(
                "{schedules} schedules need one milestone less, not {milestones}"
            ));
        }
        if self.milestones.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err("milestones must ascend".into());
        }
        self.schedules
            .iter()
            .try_for_each(|schedule| schedule.check())
    }

    fn at(&self, step: u64, group: usize, base: f64) -> Result<Setting, String> {
        let passed = self.milestones.partition_point(|&m| m <= step);
        let since = match passed {
            0 => 0,
            _ => self.milestones[passed - 1],
        };
        let schedule = self.schedules.get(passed).ok_or("a schedule is missing")?;
        schedule.at(step - since, group, base)
    }
}

/// A schedule after `steps` steps that go up to the learning rate along a line, beginning with its share of one
/// step: [`LinearLr`], then `schedule`.
pub fn warm_up(steps: u64, schedule: impl Schedule + Send + Sync + 'static) -> SequentialLr {
    let steps = steps.max(1);
    let rise = LinearLr {
        start_factor: 1.0 / (steps + 1) as f64,
        end_factor: 1.0,
        total_iters: steps,
    };
    SequentialLr {
        schedules: vec![Box::new(rise), Box::new(schedule)],
        milestones: vec![steps],
    }
}

/// A factor that a function of the step gives, as `LambdaLR`.
///
/// ```
/// use wgrad_nn::optim::schedule::{LambdaLr, Schedule};
/// let schedule = LambdaLr(|step| 1.0 / (1 + step) as f64);
/// assert_eq!(schedule.at(3, 0, 0.5)?.lr, 0.125);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy)]
pub struct LambdaLr<F>(pub F);

impl<F: Fn(u64) -> f64> Schedule for LambdaLr<F> {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
    fn at(&self, step: u64, _: usize, base: f64) -> Result<Setting, String> {
        Ok((base * (self.0)(step)).into())
    }
}

/// A factor of the step before that a function of the step, from 1, gives, as `MultiplicativeLR`.
///
/// ```
/// use wgrad_nn::optim::schedule::{MultiplicativeLr, Schedule};
/// let schedule = MultiplicativeLr::new(|step| if step < 3 { 0.5 } else { 1.0 });
/// assert_eq!(schedule.at(9, 0, 1.0)?.lr, 0.25);
/// # Ok::<(), String>(())
/// ```
pub struct MultiplicativeLr<F> {
    factor: F,
    /// The product up to a step, which the next is made of.
    known: Mutex<(u64, f64)>,
}

impl<F: Fn(u64) -> f64> MultiplicativeLr<F> {
    /// The schedule of a function.
    pub fn new(factor: F) -> MultiplicativeLr<F> {
        MultiplicativeLr {
            factor,
            known: Mutex::new((0, 1.0)),
        }
    }
}

impl<F: Fn(u64) -> f64> Schedule for MultiplicativeLr<F> {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
    fn at(&self, step: u64, _: usize, base: f64) -> Result<Setting, String> {
        let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        if known.0 > step {
            *known = (0, 1.0);
        }
        for t in known.0 + 1..=step {
            *known = (t, known.1 * (self.factor)(t));
        }
        Ok((base * known.1).into())
    }
}
