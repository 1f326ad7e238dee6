//! Finding where NaN arose.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::tape::{Entry, History};
use crate::tensor::Tensor;
use crate::types::error::{Error, Result};

thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread looks for NaN.
pub(super) fn is_enabled() -> bool {
    ENABLED.get()
}

/// Does `f`, in which backward passes of this thread say where the first NaN arose that reaches their result: an
/// [`Error::NotANumber`] with the operation and the user's line, of the forward or the backward pass. NaN that
/// is masked out on the way is none of them.
/// `torch.autograd.detect_anomaly`, which knows the backward pass alone.
///
/// What is recorded in `f` keeps all intermediate results, and backward passes read back whether they hold NaN:
/// for looking for a fault, not for training.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let x = Tensor::new([-1.0, 4.0], &dev).requires_grad();
/// let error = wgrad::autograd::detect_anomaly(|| (x.ln() * 2.0).sum().backward()).unwrap_err();
/// // ln: the result has NaN, and nothing that it was computed from (src/main.rs:12:9)
/// assert!(error.to_string().starts_with("ln: the result has NaN"));
/// # Ok::<(), Error>(())
/// ```
///
/// In a browser, where nothing can be waited for, this only does `f`.
pub fn detect_anomaly<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENABLED.set(self.0);
        }
    }
    let _restore = Restore(ENABLED.replace(true));
    f()
}

/// Which of the tensors hold NaN.
fn hold_nan(tensors: &[&Tensor]) -> Result<Vec<bool>> {
    #[cfg(not(target_arch = "wasm32"))]
    {
        let mut found = Vec::with_capacity(tensors.len());
        for some in tensors.chunks(64) {
            let any = crate::autograd::no_grad(|| {
                let any = some.iter().map(|x| x.ne(*x).any());
                Tensor::stack(&any.collect::<Vec<_>>(), 0)
            });
            found.extend(any.to_vec::<bool>()?);
        }
        Ok(found)
    }
    #[cfg(target_arch = "wasm32")]
    Ok(vec![false; tensors.len()])
}

/// Looks for NaN in the results on the tape that `root` was computed from.
pub(super) fn check_results(root: &History) -> Result<()> {
    let mut entries: BTreeMap<u64, Arc<Entry>> = BTreeMap::new();
    let mut stack = vec![root.clone()];
    while let Some(next) = stack.pop() {
        if let History::Entry(entry) = next
            && entries.insert(entry.seq, entry.clone()).is_none()
        {
            stack.extend(entry.edges.iter().flatten().cloned());
        }
    }
    let known = entries
        .values()
        .filter_map(|entry| Some((entry, entry.result()?)));
    let known: Vec<(&Arc<Entry>, Tensor)> = known.collect();
    let results: Vec<&Tensor> = known.iter().map(|(_, result)| result).collect();
    let holds = hold_nan(&results)?;
    let nan: BTreeMap<u64, &Arc<Entry>> = known
        .iter()
        .zip(holds)
        .filter(|(_, nan)| *nan)
        .map(|((entry, _), _)| (entry.seq, *entry))
        .collect();
    // From the root back, as long as there is an operand with NaN.
    let History::Entry(root) = root else {
        return Ok(());
    };
    let Some(mut at) = nan.get(&root.seq) else {
        return Ok(());
    };
    loop {
        let before = at.edges.iter().flatten().find_map(|edge| match edge {
            History::Entry(entry) => nan.get(&entry.seq),
            History::Variable(_) => None,
        });
        match before {
            Some(entry) => at = entry,
            None => {
                return Err(Error::NotANumber {
                    op: at.name,
                    part: "result",
                    place: at.place,
                });
            }
        }
    }
}

/// What a backward pass has gone through.
#[derive(Default)]
pub(super) struct Passed(Vec<Step>);

struct Step {
    entry: Arc<Entry>,
    grad: Tensor,
    results: Vec<Tensor>,
}

impl Passed {
    /// Notes the gradient that an entry got and those that it gave.
    pub fn note(&mut self, entry: &Arc<Entry>, grad: &Tensor, results: &[Option<Tensor>]) {
        if is_enabled() {
            self.0.push(Step {
                entry: entry.clone(),
                grad: grad.clone(),
                results: results.iter().flatten().cloned().collect(),
            });
        }
    }

    /// Looks for the first entry that made NaN of a gradient without, if one of `found` holds NaN.
    pub fn check(&self, found: &[&Tensor]) -> Result<()> {
        if self.0.is_empty() || !hold_nan(found)?.contains(&true) {
            return Ok(());
        }
        for step in &self.0 {
            let mut tensors = vec![&step.grad];
            tensors.extend(&step.results);
            let nan = hold_nan(&tensors)?;
            if !nan[0] && nan.contains(&true) {
                return Err(Error::NotANumber {
                    op: step.entry.name,
                    part: "derivative",
                    place: step.entry.place,
                });
            }
        }
        Ok(())
    }
}
