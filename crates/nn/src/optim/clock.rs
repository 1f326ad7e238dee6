//! Step counts that only the device knows.

use wgrad_core::{DType, Device, Result, Tensor, no_grad};

/// How often some parameters have been updated, and what is kept of it: tensors without dimensions.
#[derive(Clone)]
struct Clock {
    steps: Tensor,
    kept: Vec<Tensor>,
}

/// The clocks of all parameters. Those that were always updated together have one in common.
pub(super) struct Clocks {
    clocks: Vec<Clock>,
    /// The clock of each parameter.
    of: Vec<usize>,
}

/// What the next step needs: the numbers of each set, the set of each parameter, and the clocks after it.
pub(super) struct Tick {
    pub sets: Vec<Tensor>,
    pub set_of: Vec<usize>,
    pub after: Clocks,
}

/// The widest float of a device: steps are counted, and their numbers computed in it.
fn widest(device: &Device) -> DType {
    match device.limits() {
        Ok(limits) if limits.has(DType::F64) => DType::F64,
        _ => DType::F32,
    }
}

impl Clocks {
    /// Clocks that show what the host knows: steps, and `each` numbers that are kept for each parameter.
    pub fn new(device: &Device, steps: &[u64], kept: &[f64], each: usize) -> Clocks {
        let number = |value: f64| Tensor::scalar(value, (widest(device), device));
        let mut known: Vec<(u64, &[f64])> = Vec::new();
        let mut clocks = Clocks {
            clocks: Vec::new(),
            of: Vec::with_capacity(steps.len()),
        };
        for (i, &count) in steps.iter().enumerate() {
            let own = (count, &kept[i * each..(i + 1) * each]);
            let at = known.iter().position(|other| *other == own);
            clocks.of.push(at.unwrap_or(known.len()));
            if at.is_none() {
                known.push(own);
                clocks.clocks.push(Clock {
                    steps: number(count as f64),
                    kept: own.1.iter().map(|&value| number(value)).collect(),
                });
            }
        }
        clocks
    }

    /// A clock for another parameter, which has not been updated.
    pub fn add(&mut self, device: &Device, kept: &[f64]) {
        let fresh = Clocks::new(device, &[0], kept, kept.len());
        self.of.push(self.clocks.len());
        self.clocks.extend(fresh.clocks);
    }

    /// Reads the clocks: the steps and the kept numbers of all parameters.
    ///
    /// # Errors
    /// What a read can fail with.
    pub fn read(&self) -> Result<(Vec<u64>, Vec<f64>)> {
        let mut shown = Vec::with_capacity(self.clocks.len());
        for clock in &self.clocks {
            let kept: Result<Vec<f64>> = clock.kept.iter().map(number).collect();
            shown.push((number(&clock.steps)? as u64, kept?));
        }
        let steps = self.of.iter().map(|&at| shown[at].0).collect();
        let kept = self.of.iter().flat_map(|&at| shown[at].1.iter().copied());
        Ok((steps, kept.collect()))
    }

    /// The next step of the parameters that are `updated`, unless `skip`: `numbers` gives those of a group for a step
    /// and its kept numbers, which it replaces.
    pub fn tick(
        &self,
        skip: &Tensor,
        group_of: &[usize],
        updated: &[bool],
        numbers: impl Fn(usize, Tensor, &mut [Tensor]) -> Vec<Tensor>,
    ) -> Result<Tick> {
        let skip = skip.ne(0).reshape(());
        let mut tick = Tick {
            sets: Vec::new(),
            set_of: vec![0; self.of.len()],
            after: Clocks {
                clocks: Vec::new(),
                of: vec![0; self.of.len()],
            },
        };
        // A clock and the group that takes a step by it, or none where it stands still.
        let mut known: Vec<((usize, Option<usize>), usize)> = Vec::new();
        for (i, &at) in self.of.iter().enumerate() {
            let key = (at, updated[i].then_some(group_of[i]));
            let place = known.iter().position(|(other, _)| *other == key);
            tick.after.of[i] = place.unwrap_or(known.len());
            tick.set_of[i] = match place {
                Some(place) => known[place].1,
                None => {
                    let before = &self.clocks[at];
                    known.push((key, tick.sets.len()));
                    let after = match key.1 {
                        None => before.clone(),
                        Some(group) => {
                            let next = &before.steps + 1;
                            let mut kept = before.kept.clone();
                            let numbers = numbers(group, next.clone(), &mut kept);
                            let set = no_grad(|| vector(&numbers, &next));
                            tick.sets.push(set.checked()?);
                            let chosen = |old: &Tensor, new: &Tensor| skip.where_cond(old, new);
                            Clock {
                                steps: chosen(&before.steps, &next),
                                kept: before
                                    .kept
                                    .iter()
                                    .zip(&kept)
                                    .map(|(old, new)| chosen(old, new))
                                    .collect(),
                            }
                        }
                    };
                    tick.after.clocks.push(after);
                    known[known.len() - 1].1
                }
            };
        }
        Ok(tick)
    }

    /// The count of steps of the parameter at a position.
    pub fn steps_of(&self, position: usize) -> Tensor {
        self.clocks[self.of[position]].steps.clone()
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn number(x: &Tensor) -> Result<f64> {
    match x.dtype()? {
        DType::F64 => x.item::<f64>(),
        _ => Ok(x.item::<f32>()?.into()),
    }
}

#[cfg(target_arch = "wasm32")]
fn number(x: &Tensor) -> Result<f64> {
    Err(super::waits(x))
}

/// Numbers as the elements of a vector: chosen by their places, so that one kernel computes them all.
fn vector(numbers: &[Tensor], like: &Tensor) -> Tensor {
    let Some((first, rest)) = numbers.split_first() else {
        return Tensor::zeros([0], like.device());
    };
    let place = Tensor::arange(0..numbers.len() as i32, like.device());
    let mut vector = first.expand([numbers.len()]);
    for (i, number) in rest.iter().enumerate() {
        vector = place.eq(i as i32 + 1).where_cond(number, vector);
    }
    vector
}
