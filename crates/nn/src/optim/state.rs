//! What an optimizer saves.

use std::collections::BTreeMap;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

#[cfg(not(target_arch = "wasm32"))]
use wgrad_core::{Device, Error, Result};

#[cfg(not(target_arch = "wasm32"))]
use crate::safetensors;
use crate::state::StateDict;

/// The state of an optimizer. Parameters are named by their position, as in PyTorch.
#[derive(Clone, Default)]
pub struct OptimizerState {
    /// `0.exp_avg`, `0.exp_avg_sq`, `0.max_exp_avg_sq` or `0.momentum_buffer`, and so on: the
    /// moments of the parameters that have been updated.
    pub tensors: StateDict,
    /// `0.step`, and so on: how often each parameter has been updated. `groups.0.lr`, and so on:
    /// the groups' hyperparameters, truth values as 0 and 1.
    pub numbers: BTreeMap<String, f64>,
}

#[cfg(not(target_arch = "wasm32"))]
impl OptimizerState {
    /// Writes the state to a safetensors file, whose metadata hold the numbers.
    ///
    /// # Errors
    /// As [`safetensors::save`].
    pub fn save_safetensors(&self, path: impl AsRef<Path>) -> Result<()> {
        // The shortest text that reads back as the same number.
        let numbers = self.numbers.iter();
        let text = numbers.map(|(name, value)| (name.clone(), value.to_string()));
        safetensors::save_with_metadata(path, &self.tensors, &text.collect())
    }

    /// Reads a state onto a device.
    ///
    /// # Errors
    /// As [`safetensors::load`], and [`Error::File`] where a number is none.
    pub fn load_safetensors(path: impl AsRef<Path>, device: &Device) -> Result<OptimizerState> {
        let path = path.as_ref();
        let (tensors, text) = safetensors::load_with_metadata(path, device)?;
        let mut numbers = BTreeMap::new();
        for (name, value) in text {
            let number = value.parse().map_err(|_| Error::File {
                path: path.display().to_string(),
                problem: format!("{name}: {value} is not a number"),
            })?;
            numbers.insert(name, number);
        }
        Ok(OptimizerState { tensors, numbers })
    }
}
