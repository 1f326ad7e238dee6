//! The machine's values as a tree.

use super::TorchValue;
use super::machine::Machine;
use super::objects::{Id, Object};

/// Values within values; a value within itself has no end.
const DEEPEST: usize = 200;

impl Machine<'_> {
    /// A value with all that is in it. Shared values come once for each place: what that takes is bounded by the
    /// program's length.
    pub fn tree(&self, root: Id, program: usize) -> Result<TorchValue, String> {
        let room = program.saturating_mul(64).saturating_add(1 << 16);
        Branch {
            machine: self,
            room,
        }
        .value(root, 0)
    }
}

struct Branch<'a> {
    machine: &'a Machine<'a>,
    /// How many bytes may yet be made.
    room: usize,
}

impl Branch<'_> {
    fn take(&mut self, bytes: usize) -> Result<(), String> {
        let room = self.room.checked_sub(bytes);
        self.room = room.ok_or("values that are shared would take far more than the file")?;
        Ok(())
    }

    fn values(&mut self, ids: &[Id], depth: usize) -> Result<Vec<TorchValue>, String> {
        ids.iter().map(|&id| self.value(id, depth + 1)).collect()
    }

    fn pairs(
        &mut self,
        ids: &[(Id, Id)],
        depth: usize,
    ) -> Result<Vec<(TorchValue, TorchValue)>, String> {
        let mut pair =
            |&(k, v): &(Id, Id)| Ok((self.value(k, depth + 1)?, self.value(v, depth + 1)?));
        ids.iter().map(&mut pair).collect()
    }

    fn value(&mut self, id: Id, depth: usize) -> Result<TorchValue, String> {
        if depth > DEEPEST {
            return Err(format!("values within values, more than {DEEPEST} deep"));
        }
        self.take(size_of::<TorchValue>() / 2)?;
        Ok(match &self.machine.objects[id] {
            Object::None => TorchValue::None,
            Object::Bool(v) => TorchValue::Bool(*v),
            Object::Int(v) => TorchValue::Int(*v),
            Object::Float(v) => TorchValue::Float(*v),
            Object::Text(text) | Object::Name(text) | Object::NumpyType(text) => {
                self.take(text.len())?;
                TorchValue::Text(text.clone())
            }
            Object::Bytes(bytes) => {
                self.take(bytes.len())?;
                TorchValue::Bytes(bytes.clone())
            }
            Object::List(ids) | Object::Tuple(ids) => TorchValue::List(self.values(ids, depth)?),
            Object::Dict(ids) => TorchValue::Dict(self.pairs(ids, depth)?),
            Object::Storage(storage) => TorchValue::Text(format!("storage {}", storage.key)),
            Object::Tensor(tensor) => TorchValue::Tensor(tensor.clone()),
            Object::Made {
                class,
                args,
                state,
                items,
            } => {
                self.take(class.len())?;
                let args = match &self.machine.objects[*args] {
                    Object::Tuple(ids) => self.values(ids, depth)?,
                    _ => Vec::new(),
                };
                // A kind of dictionary without attributes is its entries.
                let state = match state {
                    Some(state) => self.value(*state, depth + 1)?,
                    None if items.is_empty() => TorchValue::None,
                    None => TorchValue::Dict(self.pairs(items, depth)?),
                };
                TorchValue::Object {
                    class: class.clone(),
                    args,
                    state: Box::new(state),
                }
            }
        })
    }
}
