//! Optimizers' states, to be saved and loaded.

use std::sync::Arc;

use super::{Updater, variable};
use crate::record::node::{Node, State, Storage};
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

impl Updater {
    /// Adds parameters; the states of the others stay.
    ///
    /// # Errors
    /// What copying the states can fail with; then nothing has changed.
    pub fn extend(&mut self, params: Vec<Tensor>) -> Result<()> {
        self.unsettle()?;
        self.params.extend(params);
        Ok(())
    }

    /// Takes all states out of their arenas, which are laid out again in the next step.
    fn unsettle(&mut self) -> Result<()> {
        let mut taken = Vec::new();
        for other in 0..self.params.len() {
            if let Some(current) = self.states(other)? {
                taken.extend((0..).map(|s| (other, s)).zip(current));
            }
        }
        for (of, state) in taken {
            self.loaded.entry(of).or_insert(state);
        }
        self.arenas.clear();
        Ok(())
    }

    /// The states of the parameter at `position`, in the rule's order: snapshots of this moment. `None` before the first
    /// step.
    ///
    /// # Errors
    /// What a copy can fail with.
    pub fn states(&self, position: usize) -> Result<Option<Vec<Tensor>>> {
        // What was loaded stays where it is until the next step.
        let loaded =
            (0..self.rule.states().len()).map(|s| self.loaded.get(&(position, s)).cloned());
        if let Some(loaded) = loaded
            .collect::<Option<Vec<_>>>()
            .filter(|all| !all.is_empty())
        {
            return Ok(Some(loaded));
        }
        for arena in &self.arenas {
            let Some(part) = arena.parts.iter().find(|p| p.param == position) else {
                continue;
            };
            let variable = variable(&self.params[position], Place::caller())?;
            let open = variable.device().open()?;
            let mut states = Vec::with_capacity(arena.states.len());
            for state in &arena.states {
                let bytes = part.bytes.max(16);
                let buffer = open.backend.allocate(bytes)?;
                open.backend
                    .copy(state, part.offset, &buffer, 0, part.bytes)?;
                let storage = Storage {
                    buffer,
                    offset: 0,
                    tenancy: None,
                };
                let node = Node::new(
                    variable.device().clone(),
                    variable.shape().clone(),
                    arena.dtype,
                    Place::caller(),
                    None,
                    State::Done(storage),
                );
                states.push(Value::new(Arc::new(node)).into_tensor());
            }
            return Ok(Some(states));
        }
        Ok(None)
    }

    /// Sets the states of the parameter at `position`, in the order of [`Updater::states`].
    ///
    /// # Errors
    /// [`Error::Load`] where number, shapes or types do not fit; then nothing has changed.
    pub fn set_states(&mut self, position: usize, states: Vec<Tensor>) -> Result<()> {
        let Some(param) = self.params.get(position) else {
            return Err(Error::Load(format!("there is no parameter {position}")));
        };
        let wanted = self.rule.states().len();
        if states.len() != wanted {
            return Err(Error::Load(format!(
                "{} states for a parameter that has {wanted}",
                states.len()
            )));
        }
        let (shape, dtype): (Shape, DType) = (param.shape()?, param.dtype()?);
        for state in &states {
            if state.shape()? != shape || state.dtype()? != dtype {
                let problem = format!(
                    "a state of shape {} for a parameter of shape {shape}",
                    state.shape()?
                );
                return Err(Error::Load(problem));
            }
        }
        self.unsettle()?;
        for (s, state) in states.into_iter().enumerate() {
            self.loaded.insert((position, s), state);
        }
        Ok(())
    }
}
