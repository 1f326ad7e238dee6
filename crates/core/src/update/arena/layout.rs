//! Where parameters, gradients and moments lie, side by side.

use std::sync::Arc;

use super::{Arena, Part, Updater, variable};
use crate::kernel::backend::Buffer;
use crate::record::node::{Home, State, Storage};
use crate::run;
use crate::tensor::device::{Device, Open};
use crate::tensor::variable::whole;
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

/// An arena in the making: type, bytes so far, and for each part its parameter, offset and bytes.
type Extent = (DType, usize, Vec<(usize, usize, usize)>);

/// Bytes from one arena part to the next: what bindings must be aligned to.
pub(super) const ALIGN: usize = 256;

impl Updater {
    /// Whether every parameter's value lies in its place.
    pub(super) fn is_laid_out(&self) -> Result<bool> {
        if self.arenas.is_empty() {
            return Ok(false);
        }
        let mut inside = true;
        for arena in &self.arenas {
            for part in &arena.parts {
                let Some(variable) = self.params[part.param].variable() else {
                    continue;
                };
                inside &= variable
                    .value()
                    .storage()
                    .is_some_and(|s| s.buffer.id() == arena.param.id() && s.offset == part.offset);
            }
        }
        Ok(inside)
    }

    /// Moves the parameters into arenas (again, where values were assigned from outside). States
    /// move along.
    pub(super) fn lay_out(&mut self, device: &Device, place: Place) -> Result<()> {
        run::run(device, &[], None)?;
        let open = device.open()?;
        let limits = open.backend.limits();
        let mut values = Vec::with_capacity(self.params.len());
        for param in &self.params {
            let value = variable(param, place)?.value();
            run::run(device, &[&value], None)?;
            match &*value.state() {
                State::Done(storage) => values.push((value.clone(), storage.clone())),
                State::Failed(error) => return Err(error.clone()),
                _ => return Err(Error::Device("a parameter has no value".into())),
            }
        }
        if self.arenas.is_empty() {
            let mut arenas: Vec<Extent> = Vec::new();
            let limit = limits.max_binding.min(limits.max_buffer);
            for (param, (value, _)) in values.iter().enumerate() {
                if !matches!(value.dtype, DType::F32 | DType::F64) {
                    let problem = format!("parameters must be f32 or f64, not {}", value.dtype);
                    return Err(Error::dtype("step", place, problem));
                }
                let bytes = value.bytes();
                let room = bytes.next_multiple_of(ALIGN).max(ALIGN);
                match arenas
                    .iter_mut()
                    .find(|(d, end, _)| *d == value.dtype && *end + room <= limit)
                {
                    Some((_, end, parts)) => {
                        parts.push((param, *end, bytes));
                        *end += room;
                    }
                    None => arenas.push((value.dtype, room, vec![(param, 0, bytes)])),
                }
            }
            let mut made = Vec::with_capacity(arenas.len());
            for (dtype, bytes, parts) in arenas {
                let clear = || -> Result<Buffer> {
                    let buffer = open.backend.allocate(bytes)?;
                    open.backend.clear(&buffer)?;
                    Ok(buffer)
                };
                let (param, grad) = (clear()?, clear()?);
                let states = self
                    .rule
                    .states()
                    .iter()
                    .map(|_| clear())
                    .collect::<Result<Vec<_>>>()?;
                let parts = parts
                    .into_iter()
                    .map(|(param, offset, bytes)| {
                        let home = Home::new(grad.clone(), offset, bytes);
                        Part {
                            param,
                            offset,
                            bytes,
                            home,
                        }
                    })
                    .collect();
                made.push(Arena {
                    dtype,
                    bytes,
                    param,
                    grad,
                    states,
                    parts,
                });
            }
            self.arenas = made;
            self.place_loaded(open)?;
        } else {
            for arena in &mut self.arenas {
                arena.param = open.backend.allocate(arena.bytes)?;
                open.backend.clear(&arena.param)?;
            }
        }
        for arena in &self.arenas {
            for part in &arena.parts {
                let (value, storage) = &values[part.param];
                copy_padded(open, storage, &arena.param, part)?;
                let variable = variable(&self.params[part.param], place)?;
                variable.set_value(arena.value(
                    device,
                    part,
                    value.shape().clone(),
                    place,
                    &arena.param,
                ));
                variable.set_home(Arc::downgrade(&part.home));
            }
        }
        Ok(())
    }

    /// Copies loaded states into their arenas.
    fn place_loaded(&mut self, open: &Open) -> Result<()> {
        for arena in &self.arenas {
            for part in &arena.parts {
                for (s, state) in arena.states.iter().enumerate() {
                    let Some(loaded) = self.loaded.get(&(part.param, s)) else {
                        continue;
                    };
                    let value = loaded.contiguous().capture()?;
                    let node = whole(value, Place::caller())?;
                    run::run(&node.device, &[&node], None)?;
                    let storage = node
                        .storage()
                        .ok_or_else(|| Error::Load("an optimizer state has no value".into()))?;
                    copy_padded(open, &storage, state, part)?;
                }
            }
        }
        self.loaded.clear();
        Ok(())
    }
}

/// Copies a value into its part of an arena.
pub(super) fn copy_padded(open: &Open, from: &Storage, to: &Buffer, part: &Part) -> Result<()> {
    if part.bytes == 0 {
        return Ok(());
    }
    open.backend
        .copy(&from.buffer, from.offset, to, part.offset, part.bytes)
}
