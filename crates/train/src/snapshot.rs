//! Everything that a training goes on from: model, optimizer, and how far it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wgrad_core::{Device, RandomState, Result};
use wgrad_nn::optim::{Optimizer, OptimizerState};
use wgrad_nn::{Module, StateDict, Strict};

use crate::number;
use crate::record::EpochRecord;

/// Losses that have been read.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Each batch's mean loss times its examples, added.
    #[serde(with = "number")]
    sum: f64,
    #[serde(with = "number")]
    examples: f64,
}

impl Tally {
    pub fn add(&mut self, loss: f64, examples: f64) {
        self.sum += loss * examples;
        self.examples += examples;
    }

    /// The mean loss of an example; NaN of none.
    pub fn mean(&self) -> f64 {
        self.sum / self.examples
    }
}

#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(#[serde(with = "number")] pub f64);

/// How far a training is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// Epochs that are over.
    pub epoch: u64,
    /// Batches of this epoch that are over.
    pub batch: u64,
    /// Steps of the optimizer in all.
    pub step: u64,
    /// The learning rate of the last step.
    pub lr: Number,
    /// Losses since the last record.
    pub window: Tally,
    /// Losses of this epoch.
    pub tally: Tally,
    /// What the metrics have collected in this epoch.
    pub metrics: Vec<Vec<Number>>,
    pub history: Vec<EpochRecord>,
    /// Where the device's random numbers stand: seed and counter.
    pub random: (u64, u64),
    pub schedule: BTreeMap<String, Number>,
    pub plateau: Option<Plateau>,
    /// Of a [`GradScaler`](wgrad_nn::amp::GradScaler): its factor, and the good steps since it changed.
    pub scaler: Option<(Number, u32)>,
    pub callbacks: Vec<String>,
}

/// What a [`ReduceLrOnPlateau`](wgrad_nn::optim::schedule::ReduceLrOnPlateau) remembers.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Plateau {
    pub best: Option<Number>,
    pub bad_steps: u64,
    pub cooling: u64,
}

/// A training at a moment between two steps.
#[derive(Clone)]
pub struct Snapshot {
    pub model: StateDict,
    pub optimizer: OptimizerState,
    pub progress: Position,
}

impl Snapshot {
    /// Model and optimizer of this moment; on the device, where later steps do not change them.
    pub fn of<M: Module, O: Optimizer>(
        model: &M,
        optimizer: &O,
        progress: &Position,
    ) -> Result<Snapshot> {
        Ok(Snapshot {
            model: model.state_dict(),
            optimizer: optimizer.state_dict()?,
            progress: progress.clone(),
        })
    }

    /// Gives model, optimizer and the device's random numbers back what they had.
    pub fn restore<M: Module, O: Optimizer>(
        &self,
        model: &M,
        optimizer: &mut O,
        device: &Device,
    ) -> Result<()> {
        model.load_state_dict(&self.model, Strict)?;
        optimizer.load_state_dict(&self.optimizer)?;
        let (seed, counter) = self.progress.random;
        device.set_random_state(RandomState { seed, counter });
        Ok(())
    }
}
