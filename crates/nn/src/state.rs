//! State dictionaries, and taking over their values.

use std::collections::BTreeMap;

use wgrad_core::{DType, Error, Result, Tensor};

/// Tensors by name: what a module saves.
pub type StateDict = BTreeMap<String, Tensor>;

/// Whether the names of what is loaded must be those of the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Match {
    /// Nothing may be missing, nothing may be unknown.
    Strict,
    /// What is missing keeps its value, what is unknown is ignored.
    Loose,
}

/// What does not fit, collected so that one error tells all.
#[derive(Default)]
pub(crate) struct Misfits {
    missing: Vec<String>,
    unexpected: Vec<String>,
    wrong: Vec<String>,
}

impl Misfits {
    /// Compares the names on both sides.
    pub fn of_names<'a>(
        wanted: impl Iterator<Item = &'a str> + Clone,
        given: impl Iterator<Item = &'a str> + Clone,
        names: Match,
    ) -> Misfits {
        let mut misfits = Misfits::default();
        if names == Match::Strict {
            let (want, give): (Vec<_>, Vec<_>) = (wanted.collect(), given.collect());
            let (mut sorted_want, mut sorted_give) = (want.clone(), give.clone());
            sorted_want.sort_unstable();
            sorted_give.sort_unstable();
            let absent = |name: &&&str, sorted: &[&str]| sorted.binary_search(*name).is_err();
            misfits.missing = want
                .iter()
                .filter(|name| absent(name, &sorted_give))
                .map(ToString::to_string)
                .collect();
            misfits.unexpected = give
                .iter()
                .filter(|name| absent(name, &sorted_want))
                .map(ToString::to_string)
                .collect();
        }
        misfits
    }

    /// Checks shape and type of a value for a tensor.
    pub fn check(&mut self, name: &str, tensor: &Tensor, shape: &[usize], dtype: DType) {
        let (wanted, kind) = match tensor.shape().and_then(|s| Ok((s, tensor.dtype()?))) {
            Ok(pair) => pair,
            Err(error) => return self.wrong.push(format!("{name} has failed: {error}")),
        };
        if *wanted != *shape {
            self.wrong
                .push(format!("{name} has shape {shape:?}, not {wanted}"));
        } else if kind.category() != dtype.category() {
            self.wrong.push(format!(
                "{name} is of type {dtype}, which does not become {kind}"
            ));
        } else if let Err(error) = tensor.assign(&tensor.detach()) {
            // Assigning a variable its own value changes nothing; other tensors take no value.
            self.wrong.push(format!("{name} takes no value: {error}"));
        }
    }

    /// Notes a value that cannot be used.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn refuse(&mut self, name: &str, problem: &str) {
        self.wrong.push(format!("{name}: {problem}"));
    }

    /// One line that tells everything, if there is anything to tell.
    pub fn summary(&self) -> Option<String> {
        let mut parts = Vec::new();
        for (what, names) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            if !names.is_empty() {
                parts.push(format!("{what}: {}", names.join(", ")));
            }
        }
        parts.extend(self.wrong.iter().cloned());
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Gives the leaves the values of `dict`; all of them or none.
pub(crate) fn load(leaves: &[(String, Tensor)], dict: &StateDict, names: Match) -> Result<()> {
    let wanted = leaves.iter().map(|(name, _)| name.as_str());
    let mut misfits = Misfits::of_names(wanted, dict.keys().map(String::as_str), names);
    let mut pairs = Vec::new();
    for (name, tensor) in leaves {
        let Some(value) = dict.get(name) else {
            continue;
        };
        misfits.check(name, tensor, &value.shape()?, value.dtype()?);
        pairs.push((tensor, value));
    }
    if let Some(summary) = misfits.summary() {
        return Err(Error::Load(summary));
    }
    let mut converted = Vec::with_capacity(pairs.len());
    for (tensor, value) in pairs {
        converted.push((tensor, fit(value, tensor)?));
    }
    assign_all(&converted)
}

/// Assigns values that have been checked. They are computed first, so that what fails in a run
/// fails before the first assignment.
pub(crate) fn assign_all(pairs: &[(&Tensor, Tensor)]) -> Result<()> {
    #[cfg(not(target_arch = "wasm32"))]
    if let Some((tensor, _)) = pairs.first() {
        tensor.device().synchronize()?;
    }
    for (tensor, value) in pairs {
        tensor.assign(value)?;
    }
    Ok(())
}

/// The value in the type and on the device of `tensor`.
fn fit(value: &Tensor, tensor: &Tensor) -> Result<Tensor> {
    let dtype = tensor.dtype()?;
    #[cfg(not(target_arch = "wasm32"))]
    if value.device() != tensor.device() {
        // Converted where the value is: the other device may not have its type.
        let narrow = value.detach().to_dtype(dtype);
        return narrow.to_device(tensor.device());
    }
    value.detach().to_dtype(dtype).contiguous().checked()
}
