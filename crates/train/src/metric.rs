//! Metrics: numbers that tell how good predictions are.
//!
//! A [`Metric`] says what a batch contributes, as a small tensor that stays on the device, and what the contributions
//! of all batches together mean. A [`Meter`] collects them; nothing is read back until a value is asked for, so that a
//! [`Trainer`](crate::Trainer) reads all of its metrics at once, and rarely.
//!
//! ```
//! # use wgrad::prelude::*;
//! use wgrad::train::{Accuracy, F1Score, Meter};
//!
//! # let dev = wgrad::cpu();
//! let (mut accuracy, mut f1) = (Meter::new(Accuracy::new()), Meter::new(F1Score::default()));
//! let logits = Tensor::new([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]], &dev);
//! let classes = Tensor::new([0, 1, 1], &dev);
//! accuracy.update(&logits, &classes)?;
//! f1.update(&logits, &classes)?;
//! assert_eq!(accuracy.value()?.number(), Some(2.0 / 3.0));
//! assert_eq!(f1.value()?.number(), Some(2.0 / 3.0)); // both classes: precision 1/2 and 1, recall 1 and 1/2
//! # Ok::<(), Error>(())
//! ```

mod classification;
mod perplexity;
mod ranking;
mod regression;

pub use classification::{Accuracy, Average, ConfusionMatrix, F1Score, Precision, Recall};
pub use perplexity::Perplexity;
pub use ranking::{Auroc, AveragePrecision};
pub use regression::{MeanAbsoluteError, R2Score, RootMeanSquaredError};

use serde::{Deserialize, Serialize};
use wgrad_core::{DType, Error, Place, Result, Tensor, no_grad};

use crate::number;

/// What a batch contributes to a metric.
pub enum Contribution {
    /// Whole numbers from 0 (`i32`): those of all batches are added. Exact up to 2^31 between two reads.
    Counts(Tensor),
    /// Numbers (`f32`): those of all batches are added, in `f64`.
    Sums(Tensor),
    /// Numbers (`f32`) that are all kept, a row per example: for what is no sum over examples.
    Rows(Tensor),
}

/// What a metric says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Value {
    /// One number.
    Number(#[serde(with = "number")] f64),
    /// Counts: a row per true class, a column per predicted one.
    Matrix(Vec<Vec<u64>>),
}

impl Value {
    /// The number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            Value::Matrix(_) => None,
        }
    }
}

/// A number that tells how good predictions are.
///
/// Your own takes three short functions:
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::{Contribution, Meter, Metric, Value};
///
/// /// The mean of the predictions.
/// struct Mean;
///
/// impl Metric for Mean {
///     fn name(&self) -> String {
///         "mean".into()
///     }
///
///     fn contribution(&self, prediction: &Tensor, _target: &Tensor) -> Result<Contribution> {
///         let count = prediction.ones_like().sum();
///         Ok(Contribution::Sums(Tensor::stack(&[prediction.sum(), count], 0)))
///     }
///
///     fn value(&self, totals: &[f64]) -> Value {
///         Value::Number(totals[0] / totals[1])
///     }
/// }
///
/// # let dev = wgrad::cpu();
/// let mut mean = Meter::new(Mean);
/// mean.update(&Tensor::new([1.0, 2.0], &dev), &Tensor::zeros([2], &dev))?;
/// mean.update(&Tensor::new([6.0], &dev), &Tensor::zeros([1], &dev))?;
/// assert_eq!(mean.value()?.number(), Some(3.0));
/// # Ok::<(), Error>(())
/// ```
pub trait Metric {
    /// What it is called, in tables and files: `accuracy`.
    fn name(&self) -> String;

    /// Whether a larger value is the better one.
    fn higher_is_better(&self) -> bool {
        true
    }

    /// What a batch contributes. It is recorded on the device and not waited for.
    ///
    /// # Errors
    /// What does not fit.
    fn contribution(&self, prediction: &Tensor, target: &Tensor) -> Result<Contribution>;

    /// What the sums (or rows, one after the other) of all batches mean. Never called before the first batch.
    fn value(&self, totals: &[f64]) -> Value;
}

/// Collects what batches contribute to a metric.
pub struct Meter {
    metric: Box<dyn Metric>,
    /// What has been read so far.
    totals: Vec<f64>,
    waiting: Waiting,
}

/// Contributions that have not been read yet.
#[derive(Default)]
enum Waiting {
    #[default]
    Nothing,
    Counts(Tensor),
    Sums(Vec<Tensor>),
    Rows(Vec<Tensor>),
}

impl Meter {
    /// Begins with no batch.
    pub fn new(metric: impl Metric + 'static) -> Meter {
        Meter::of(Box::new(metric))
    }

    pub(crate) fn of(metric: Box<dyn Metric>) -> Meter {
        Meter {
            metric,
            totals: Vec::new(),
            waiting: Waiting::Nothing,
        }
    }

    /// The metric.
    pub fn metric(&self) -> &dyn Metric {
        &*self.metric
    }

    /// Takes in a batch. Nothing is read back.
    ///
    /// # Errors
    /// What does not fit the metric, under its name.
    #[track_caller]
    pub fn update(&mut self, prediction: &Tensor, target: &Tensor) -> Result<()> {
        let place = Place::caller();
        let (prediction, target) = (prediction.detach(), target.detach());
        let contribution = || self.metric.contribution(&prediction, &target);
        let new = place
            .hold(|| no_grad(contribution))
            .map_err(|error| error.in_module(&self.metric.name(), ""))?;
        self.waiting = match (std::mem::take(&mut self.waiting), new) {
            (Waiting::Counts(sum), Contribution::Counts(new)) => Waiting::Counts(sum + new),
            (Waiting::Nothing, Contribution::Counts(new)) => Waiting::Counts(new),
            (Waiting::Sums(mut all), Contribution::Sums(new)) => {
                all.push(new.flatten(0, -1));
                Waiting::Sums(all)
            }
            (Waiting::Nothing, Contribution::Sums(new)) => Waiting::Sums(vec![new.flatten(0, -1)]),
            (Waiting::Rows(mut all), Contribution::Rows(new)) => {
                all.push(new.flatten(0, -1));
                Waiting::Rows(all)
            }
            (Waiting::Nothing, Contribution::Rows(new)) => Waiting::Rows(vec![new.flatten(0, -1)]),
            (kept, _) => {
                self.waiting = kept;
                return Err(Error::Value {
                    op: "metric",
                    problem: format!(
                        "{} contributes now counts, now sums or rows",
                        self.metric.name()
                    ),
                    place,
                });
            }
        };
        Ok(())
    }

    /// The value of all batches so far; NaN where there was none. Reads from the device.
    ///
    /// # Errors
    /// What reading can fail with.
    pub fn value(&mut self) -> Result<Value> {
        let mut reading = Reading::default();
        let lengths = self.ask(&mut reading)?;
        let numbers = reading.read()?;
        self.absorb(&lengths, &mut numbers.iter().copied());
        Ok(self.known())
    }

    /// Forgets all batches.
    pub fn reset(&mut self) {
        self.totals.clear();
        self.waiting = Waiting::Nothing;
    }

    /// The value of what has been read.
    pub(crate) fn known(&self) -> Value {
        match self.totals.is_empty() {
            true => Value::Number(f64::NAN),
            false => self.metric.value(&self.totals),
        }
    }

    /// What has been read, to be saved.
    pub(crate) fn totals(&self) -> &[f64] {
        &self.totals
    }

    pub(crate) fn set_totals(&mut self, totals: Vec<f64>) {
        self.waiting = Waiting::Nothing;
        self.totals = totals;
    }

    /// Adds what waits to a reading; how many numbers each part of it has.
    pub(crate) fn ask(&self, reading: &mut Reading) -> Result<Vec<usize>> {
        match &self.waiting {
            Waiting::Nothing => Ok(Vec::new()),
            // An f32 holds whole numbers below 2^24: two halves of 16 bits pass unchanged.
            Waiting::Counts(counts) => {
                let counts = counts.flatten(0, -1);
                let high = counts.floor_divide(65536);
                let low = &counts - &high * 65536;
                [low, high].iter().map(|half| reading.push(half)).collect()
            }
            Waiting::Sums(all) | Waiting::Rows(all) => {
                all.iter().map(|part| reading.push(part)).collect()
            }
        }
    }

    /// Takes in what was read of the parts that `ask` gave.
    pub(crate) fn absorb(&mut self, lengths: &[usize], numbers: &mut impl Iterator<Item = f32>) {
        let mut next =
            |length: usize| -> Vec<f64> { numbers.by_ref().take(length).map(f64::from).collect() };
        match std::mem::take(&mut self.waiting) {
            Waiting::Nothing => {}
            Waiting::Counts(_) => {
                let (low, high) = (next(lengths[0]), next(lengths[1]));
                let whole = low.iter().zip(high).map(|(low, high)| low + high * 65536.0);
                add(&mut self.totals, whole);
            }
            Waiting::Sums(_) => {
                for &length in lengths {
                    add(&mut self.totals, next(length).into_iter());
                }
            }
            Waiting::Rows(_) => {
                for &length in lengths {
                    self.totals.extend(next(length));
                }
            }
        }
    }
}

fn add(totals: &mut Vec<f64>, new: impl ExactSizeIterator<Item = f64>) {
    totals.resize(new.len().max(totals.len()), 0.0);
    for (total, new) in totals.iter_mut().zip(new) {
        *total += new;
    }
}

/// Many small tensors that are read at once.
#[derive(Default)]
pub(crate) struct Reading(Vec<Tensor>);

impl Reading {
    /// Adds a tensor; how many numbers it has.
    pub fn push(&mut self, tensor: &Tensor) -> Result<usize> {
        let flat = tensor.to_dtype(DType::F32).flatten(0, -1);
        let length = flat.numel()?;
        self.0.push(flat);
        Ok(length)
    }

    /// All numbers, in the order of the tensors: one read.
    pub fn read(self) -> Result<Vec<f32>> {
        match self.0.is_empty() {
            true => Ok(Vec::new()),
            false => no_grad(|| Tensor::cat(&self.0, 0)).to_vec(),
        }
    }
}

fn shape_error(problem: String) -> Error {
    Error::Shape {
        op: "metric",
        problem,
        place: Place::caller(),
    }
}
