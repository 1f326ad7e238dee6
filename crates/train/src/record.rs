//! What a training has done: a record per epoch and per logged step.

use serde::{Deserialize, Serialize};

use crate::metric::Value;
use crate::number;

/// Values by name, in the order of a table: the loss first.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Scores(pub Vec<(String, Value)>);

impl Scores {
    /// A number by its name. `None` where there is none of that name, or where it is no number.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.value(name).and_then(Value::number)
    }

    /// A value by its name.
    pub fn value(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value)
    }

    /// The mean loss.
    pub fn loss(&self) -> f64 {
        self.get("loss").unwrap_or(f64::NAN)
    }

    /// The numbers with their names.
    pub fn numbers(&self) -> impl Iterator<Item = (&str, f64)> {
        let all = self.0.iter();
        all.filter_map(|(name, value)| Some((name.as_str(), value.number()?)))
    }
}

/// What is known after a logged step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StepRecord {
    /// The epoch, from 1.
    pub epoch: u64,
    /// How many steps there have been in all.
    pub step: u64,
    /// The learning rate of the first group in this step.
    #[serde(with = "number")]
    pub lr: f64,
    /// The mean loss since the last record, and the metrics of this epoch so far.
    pub scores: Scores,
}

/// What is known after an epoch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch, from 1.
    pub epoch: u64,
    /// How many steps there have been in all.
    pub step: u64,
    /// The learning rate of the first group in its last step.
    #[serde(with = "number")]
    pub lr: f64,
    /// Mean loss and metrics over the epoch's training batches, while the model changed.
    pub train: Scores,
    /// Mean loss and metrics over the batches for validation, after the epoch.
    pub valid: Option<Scores>,
    /// How long it took, with validation; after a resumption what this process needed.
    #[serde(with = "number")]
    pub seconds: f64,
}

impl EpochRecord {
    /// A number by its name, of the validation where there was one: what checkpoints and early stopping look at.
    pub fn score(&self, name: &str) -> Option<f64> {
        self.valid.as_ref().unwrap_or(&self.train).get(name)
    }
}

/// Why a training ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It went as far as it was asked to.
    Finished,
    /// Early stopping, or a callback, ended it.
    Early,
    /// Ctrl-C ended it; where there are checkpoints, the last one is of this moment.
    Interrupted,
}

/// What a training did.
#[derive(Clone, PartialEq, Debug)]
#[must_use = "it says why training ended"]
pub struct Fit {
    /// The epochs, those before a resumption too.
    pub history: Vec<EpochRecord>,
    /// Why it ended.
    pub stop: Stop,
}

impl Fit {
    /// The last epoch, if one ended.
    pub fn last(&self) -> Option<&EpochRecord> {
        self.history.last()
    }
}

/// How far to train, in all: a resumed training counts what it did before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Budget {
    /// So many epochs.
    Epochs(u64),
    /// So many steps of the optimizer. The epoch in which they end ends with them.
    Steps(u64),
}

/// [`Budget::Epochs`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epochs(pub u64);

/// [`Budget::Steps`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Steps(pub u64);

impl From<Epochs> for Budget {
    fn from(Epochs(count): Epochs) -> Budget {
        Budget::Epochs(count)
    }
}

impl From<Steps> for Budget {
    fn from(Steps(count): Steps) -> Budget {
        Budget::Steps(count)
    }
}
