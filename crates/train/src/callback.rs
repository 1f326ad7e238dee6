//! What happens between steps: callbacks, and early stopping.

use wgrad_core::{Device, Result, Tensor};

use crate::record::{EpochRecord, Fit, StepRecord};

/// Whether training goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// It goes on.
    Continue,
    /// It ends after this step or epoch, as if it had been asked for no more.
    Stop,
}

/// A training that begins.
pub struct Run<'a> {
    /// Where the model is.
    pub device: &'a Device,
    /// The model as PyTorch prints it.
    pub model: &'a str,
    /// How many numbers its parameters hold.
    pub parameters: usize,
    /// How many steps there will have been at the end, where that is known.
    pub steps: Option<u64>,
    /// How many steps an epoch has, where that is known.
    pub steps_per_epoch: Option<u64>,
    /// How many steps there have been: not 0 in a training that is resumed.
    pub step: u64,
    /// The epochs before.
    pub history: &'a [EpochRecord],
}

/// Some of the examples for validation, and what the model said of them.
pub struct Samples {
    /// The inputs.
    pub input: Tensor,
    /// The model's predictions.
    pub prediction: Tensor,
    /// What they should be.
    pub target: Tensor,
}

/// What is done at certain moments of a training.
///
/// A closure is called after each epoch:
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::{data::Batch, train::{Control, EpochRecord, Epochs, Stop, Trainer}};
/// # let dev = wgrad::cpu();
/// # let batch = Batch { x: Tensor::ones([4, 2], &dev), y: Tensor::ones([4, 1], &dev) };
/// # let model = nn::Linear::new(2, 1, &dev);
/// # let sgd = Sgd::new(model.parameters(), SgdOptions { lr: 0.1, ..Default::default() });
/// let mut trainer = Trainer::new(model, sgd)
///     .criterion(loss::mse_loss)
///     .callback(|epoch: &EpochRecord| match epoch.train.loss() < 1e-3 {
///         true => Ok(Control::Stop),
///         false => Ok(Control::Continue),
///     });
/// let fit = trainer.fit_without_validation(&vec![batch], Epochs(1000))?;
/// assert_eq!(fit.stop, Stop::Early);
/// assert!(fit.history.len() < 100);
/// # Ok::<(), Error>(())
/// ```
///
/// Names of the methods say when they are called. An error ends the training.
#[allow(unused_variables)]
pub trait Callback {
    /// Before the first step.
    ///
    /// # Errors
    /// Whatever should end the training.
    fn begin(&mut self, run: &Run<'_>) -> Result<()> {
        Ok(())
    }

    /// After each step; nothing is known of it yet but that it has been recorded.
    fn advance(&mut self, step: u64) {}

    /// After each logged step.
    ///
    /// # Errors
    /// Whatever should end the training.
    fn step(&mut self, record: &StepRecord) -> Result<Control> {
        Ok(Control::Continue)
    }

    /// After each epoch and its validation.
    ///
    /// # Errors
    /// Whatever should end the training.
    fn epoch(&mut self, record: &EpochRecord) -> Result<Control> {
        Ok(Control::Continue)
    }

    /// How many validation examples [`end`](Callback::end) wants to see.
    fn samples(&self) -> usize {
        0
    }

    /// At the end, whatever its reason was (but an error).
    ///
    /// # Errors
    /// Whatever should be told.
    fn end(&mut self, fit: &Fit, samples: Option<&Samples>) -> Result<()> {
        Ok(())
    }

    /// What a resumed training gives back to [`set_state`](Callback::set_state): where this stood when a checkpoint
    /// was written.
    fn state(&self) -> String {
        String::new()
    }

    /// Goes back to where it stood.
    ///
    /// # Errors
    /// What cannot be gone back to.
    fn set_state(&mut self, state: &str) -> Result<()> {
        Ok(())
    }
}

impl<F: FnMut(&EpochRecord) -> Result<Control>> Callback for F {
    fn epoch(&mut self, record: &EpochRecord) -> Result<Control> {
        self(record)
    }
}

/// Ends a training that does not get better.
///
/// ```
/// use wgrad::train::EarlyStopping;
///
/// let stopping = EarlyStopping { monitor: "accuracy".into(), patience: 5, ..Default::default() };
/// assert_eq!(stopping.min_delta, 0.0);
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct EarlyStopping {
    /// What to look at: `loss` or a metric's name; of the validation where there is one.
    pub monitor: String,
    /// After how many epochs in a row that are no better than the best one training ends.
    pub patience: u64,
    /// What it must be better by to count.
    pub min_delta: f64,
}

impl Default for EarlyStopping {
    fn default() -> EarlyStopping {
        EarlyStopping {
            monitor: "loss".into(),
            patience: 10,
            min_delta: 0.0,
        }
    }
}

impl EarlyStopping {
    /// Whether it is time: a function of the history alone, so that a resumed training stops where an uninterrupted
    /// one does. NaN is never better.
    pub(crate) fn is_over(&self, history: &[EpochRecord], higher_is_better: bool) -> bool {
        let mut best: Option<f64> = None;
        let mut waited = 0;
        for record in history {
            let Some(value) = record.score(&self.monitor) else {
                continue;
            };
            let better = match best {
                None => !value.is_nan(),
                Some(best) if higher_is_better => value > best + self.min_delta,
                Some(best) => value < best - self.min_delta,
            };
            if better {
                (best, waited) = (Some(value), 0);
            } else {
                waited += 1;
            }
        }
        waited >= self.patience.max(1)
    }
}
