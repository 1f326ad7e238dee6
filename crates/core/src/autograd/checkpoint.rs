//! Checkpoints: memory for time ([Chen et al. 2016](https://arxiv.org/abs/1604.06174)).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use smallvec::SmallVec;

use crate::autocast::{self, autocast_dtype};
use crate::autograd::{self, Grads, Saves, is_grad_enabled, with_grad};
use crate::record::node::Node;
use crate::tensor::{Tensor, Value};
use crate::types::error::{Error, Place, Result};

/// Runs `f` on `inputs` without keeping what its backward pass needs: that is computed again when
/// the gradient is asked for. As `torch.utils.checkpoint`.
///
/// Variables that `f` uses, the parameters of a layer for one, get their gradients as ever. Random
/// numbers drawn in `f` are the same both times, so dropout works. `f` runs twice, so what it does
/// besides (counting calls, updating running statistics) happens twice.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let w = Tensor::ones([3, 3], &dev).requires_grad();
/// let x = Tensor::ones([2, 3], &dev).requires_grad();
/// let weight = w.clone(); // a module that is Clone: clones share parameters
/// let y = autograd::checkpoint(&[&x], move |x| x[0].matmul(&weight).relu().checked())?;
/// y.sum().backward()?;
/// assert_eq!(w.grad()?.to_vec::<f32>()?, [2.0; 9]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// `f`'s, and that of a failed input. The backward pass fails with [`Error::Grad`] if a variable
/// was changed in between, if `f` gave another shape the second time, or with `create_graph`: the
/// gradient of a checkpoint cannot be differentiated again.
#[track_caller]
pub fn checkpoint(
    inputs: &[&Tensor],
    f: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let place = Place::caller();
    if !is_grad_enabled() {
        let inputs: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
        return f(&inputs)?.checked();
    }
    let values: Vec<Value> = inputs.iter().map(|x| x.capture()).collect::<Result<_>>()?;
    let leaves = cut_off(&values);
    let scope = autocast_dtype();
    let (y, draws) = recording(|| f(&leaves));
    let y = y?;
    let mut result = y.capture()?;
    let used = result.history.take().map_or_else(Vec::new, |history| {
        let mut variables = autograd::variables(&history);
        variables.retain(|v| !leaves.iter().any(|leaf| leaf.is_same(v)));
        variables
    });
    drop((y, leaves)); // and with them the tape
    let mut sources = values.clone();
    let mut seen: Vec<(Tensor, Weak<Node>)> = Vec::with_capacity(used.len());
    for variable in used {
        if let Ok(value) = variable.capture() {
            seen.push((variable, Arc::downgrade(&value.node)));
            sources.push(value);
        }
    }
    let sources: Vec<&Value> = sources.iter().collect();
    if !autograd::tracks(&sources) {
        return Ok(result.into_tensor());
    }
    let saves = Saves {
        inputs: values.iter().map(|v| v.clone().into_tensor()).collect(),
        output: false,
    };
    let shape = result.shape().clone();
    Ok(autograd::track(
        "checkpoint",
        result,
        &sources,
        saves,
        place,
        move |c| {
            let again = || -> Result<Grads> {
                if is_grad_enabled() {
                    return Err(problem(
                        place,
                        "the gradient of a checkpoint cannot be differentiated again",
                    ));
                }
                let values: Vec<Value> = c
                    .inputs
                    .iter()
                    .map(Tensor::capture)
                    .collect::<Result<_>>()?;
                let leaves = cut_off(&values);
                for (variable, node) in &seen {
                    if !std::ptr::eq(Arc::as_ptr(&variable.capture()?.node), node.as_ptr()) {
                        return Err(problem(
                            place,
                            "a variable was changed between a checkpoint's two runs",
                        ));
                    }
                }
                let y = autocast::enter(scope, || {
                    with_grad(true, || replaying(&draws, || f(&leaves)))
                })?;
                let value = y.capture()?;
                if *value.shape() != shape {
                    return Err(problem(
                        place,
                        &format!("a checkpoint gave shape {} and then {shape}", value.shape()),
                    ));
                }
                let Some(history) = value.history else {
                    return Ok(c.needs.iter().map(|_| None).collect());
                };
                let wanted = leaves.iter().chain(seen.iter().map(|(v, _)| v));
                let wanted: SmallVec<[&Tensor; 8]> = wanted.collect();
                autograd::gradients("checkpoint", history, c.grad.clone(), &wanted, place)
            };
            again().unwrap_or_else(|error| {
                let failed = Tensor::fail(c.grad.device(), error);
                let needed = c.needs.iter();
                needed.map(|need| need.then(|| failed.clone())).collect()
            })
        },
    ))
}

fn problem(place: Place, problem: &str) -> Error {
    Error::Grad {
        op: "checkpoint",
        problem: problem.to_string(),
        place,
    }
}

/// The inputs cut off from their history; those on the tape become variables of their own.
fn cut_off(values: &[Value]) -> Vec<Tensor> {
    let leaf = |value: &Value| {
        let tracked = value.history.is_some();
        let cut = Value {
            history: None,
            ..value.clone()
        };
        let cut = cut.into_tensor();
        if tracked { cut.requires_grad() } else { cut }
    };
    values.iter().map(leaf).collect()
}

/// A draw from a device's random stream: key and counter.
pub(crate) type Draw = [u64; 4];

enum Frame {
    Recording(Vec<Draw>),
    Replaying(VecDeque<Draw>),
}

thread_local! {
    /// The checkpoints that this thread is in, outermost first.
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Takes a frame off again, panics included.
struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        FRAMES.with_borrow_mut(|frames| frames.pop());
    }
}

fn recording<T>(f: impl FnOnce() -> T) -> (T, Vec<Draw>) {
    FRAMES.with_borrow_mut(|frames| frames.push(Frame::Recording(Vec::new())));
    let entered = Entered;
    let result = f();
    let draws = FRAMES.with_borrow_mut(|frames| match frames.last_mut() {
        Some(Frame::Recording(draws)) => std::mem::take(draws),
        _ => Vec::new(),
    });
    drop(entered);
    (result, draws)
}

fn replaying<T>(draws: &[Draw], f: impl FnOnce() -> T) -> T {
    let queue = draws.iter().copied().collect();
    FRAMES.with_borrow_mut(|frames| frames.push(Frame::Replaying(queue)));
    let _entered = Entered;
    f()
}

/// The next draw: in a second run that of the first, else `fresh`. Runs that record take note.
pub(crate) fn draw(fresh: impl FnOnce() -> Draw) -> Draw {
    FRAMES.with_borrow_mut(|frames| {
        let replay = frames
            .iter()
            .rposition(|f| matches!(f, Frame::Replaying(_)));
        let known = replay.and_then(|at| match &mut frames[at] {
            Frame::Replaying(queue) => queue.pop_front(),
            Frame::Recording(_) => None,
        });
        let draw = known.unwrap_or_else(fresh);
        for frame in frames.iter_mut().skip(replay.map_or(0, |at| at + 1)) {
            if let Frame::Recording(draws) = frame {
                draws.push(draw);
            }
        }
        draw
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_draws_what_the_first_drew() {
        let mut next = 0;
        let mut fresh = || {
            next += 1;
            draw(|| [next, 0, 0, 0])[0]
        };
        let (first, outer) = recording(|| {
            let a = fresh();
            // A checkpoint inside a checkpoint.
            let (b, inner) = recording(&mut fresh);
            (a, b, inner)
        });
        assert_eq!((first.0, first.1), (1, 2));
        assert_eq!(outer.len(), 2);
        assert_eq!(first.2, outer[1..]);
        let again = replaying(&outer, || {
            let a = fresh();
            let (b, inner) = recording(&mut fresh);
            let c = replaying(&inner, &mut fresh);
            (a, b, c)
        });
        assert_eq!(again, (1, 2, 2));
        // Outside, the stream goes on.
        assert!(fresh() > 2);
    }
}
