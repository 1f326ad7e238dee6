//! Steps that the device decides on: whether they are made, and by which numbers.

use std::sync::Arc;

use super::{Numbers, Updater};
use crate::autograd::no_grad;
use crate::record::node::Node;
use crate::tensor::Tensor;
use crate::tensor::variable::whole;
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::update::UpdateRule;

/// What the device decides a step by.
pub(crate) struct Decision<'a> {
    skip: &'a Tensor,
    sets: &'a [Tensor],
    set_of: &'a dyn Fn(usize) -> usize,
}

impl Updater {
    /// As [`step`](Updater::step), but nothing changes where `skip`, a tensor of one element, is not 0: neither
    /// parameters nor states. Nobody waits for it.
    ///
    /// What numbers depend on whether earlier steps were skipped, so they come from the device, too: `sets` are tensors
    /// of the shape `[rule().numbers()]`, and `set_of` says which of them belongs to the parameter at a position.
    ///
    /// # Errors
    /// Those of [`step`](Updater::step), and [`Error::Shape`] for a flag or numbers of other shapes.
    #[track_caller]
    pub fn step_unless(
        &mut self,
        skip: &Tensor,
        sets: &[Tensor],
        set_of: impl Fn(usize) -> usize,
    ) -> Result<()> {
        let place = Place::caller();
        if skip.numel()? != 1 {
            let problem = format!("a flag has one element, not {}", skip.shape()?);
            return Err(Error::shape("step", place, problem));
        }
        for set in sets {
            if set.shape()?[..] != [self.rule.numbers()] {
                let (found, wanted) = (set.shape()?, self.rule.numbers());
                let problem = format!("numbers of shape {found}, not [{wanted}]");
                return Err(Error::shape("step", place, problem));
            }
        }
        let set_of = &set_of;
        self.step_by(Numbers::Device(Decision { skip, sets, set_of }), place)
    }
}

impl Decision<'_> {
    pub fn set_of(&self, param: usize) -> usize {
        (self.set_of)(param)
    }

    fn set(&self, set: usize) -> Result<&Tensor> {
        let absent = || Error::Device("an optimizer's step lacks numbers".into());
        self.sets.get(set).ok_or_else(absent)
    }

    /// The flag, and behind it the numbers of the sets, as a kernel reads them.
    pub fn control(&self, sets: &[usize], dtype: DType, place: Place) -> Result<Arc<Node>> {
        let joined = no_grad(|| {
            let mut parts = vec![self.skip.ne(0).to_dtype(dtype).reshape([1])];
            for &set in sets {
                parts.push(self.set(set)?.to_dtype(dtype));
            }
            Tensor::cat(&parts, 0).detach().checked()
        })?;
        whole(joined.capture()?, place)
    }
}

impl Numbers<'_> {
    /// The step of one parameter in plain operations: its new value and its new states.
    pub(super) fn reference(
        &mut self,
        rule: &UpdateRule,
        param: usize,
        p: &Tensor,
        g: &Tensor,
        states: &[Tensor],
    ) -> Result<Vec<Tensor>> {
        match self {
            Numbers::Host(coefficients) => {
                let target = (p.dtype()?, p.device());
                let numbers = coefficients(param).into_iter();
                let numbers: Vec<Tensor> = numbers.map(|n| Tensor::scalar(n, target)).collect();
                rule.reference(&numbers, p, g, states)
            }
            Numbers::Device(decision) => {
                let set = decision.set(decision.set_of(param))?.to_dtype(p.dtype()?);
                let numbers: Vec<Tensor> = (0..rule.numbers() as isize)
                    .map(|k| set.select(0, k))
                    .collect();
                let new = rule.reference(&numbers, p, g, states)?;
                let skip = decision.skip.ne(0).reshape(());
                let old = std::iter::once(p).chain(states);
                Ok(new
                    .iter()
                    .zip(old)
                    .map(|(new, old)| skip.where_cond(old, new))
                    .collect())
            }
        }
    }
}
