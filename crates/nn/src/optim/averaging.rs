//! Averages of weights over the course of training.

use std::collections::BTreeMap;

use wgrad_core::{DType, Error, Place, Result, Tensor, no_grad};

use super::OptimizerState;
use crate::state::StateDict;
use crate::{Match, Module};

/// How an [`AveragedModel`] weighs new values.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Averaging {
    /// All alike: stochastic weight averaging ([Izmailov et al. 2018](https://arxiv.org/abs/1803.05407)),
    /// `a = a + (p - a) / (n + 1)`.
    Equal,
    /// `a = decay a + (1 - decay) p`, an exponential moving average.
    Exponential {
        /// The weight of what came before, in `[0, 1]`.
        decay: f64,
    },
}

/// The averages of a model's parameters, as `torch.optim.swa_utils.AveragedModel`. The first update takes the
/// parameters as they are. Nothing is read back.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_core::Tensor;
/// use wgrad_nn::optim::{AveragedModel, Averaging};
/// use wgrad_nn::{Linear, Module, Strict};
///
/// let model = Linear::new(1, 1, &dev);
/// let mut average = AveragedModel::new(Averaging::Equal);
/// for weight in [1.0, 2.0, 6.0] {
///     model.weight.assign(&Tensor::new([[weight]], &dev))?;
///     average.update(&model)?;
/// }
/// average.copy_to(&model)?;
/// assert_eq!(model.weight.item::<f32>()?, 3.0);
/// # Ok(())
/// # }
/// ```
pub struct AveragedModel {
    averaging: Averaging,
    /// Whether buffers are averaged too, rather than taken from the model.
    use_buffers: bool,
    updates: u64,
    averages: StateDict,
}

impl AveragedModel {
    /// Averages without values.
    pub fn new(averaging: Averaging) -> AveragedModel {
        AveragedModel {
            averaging,
            use_buffers: false,
            updates: 0,
            averages: StateDict::new(),
        }
    }

    /// Averages buffers of floats (of a batch norm, for instance) too; without, they are the model's last.
    pub fn use_buffers(mut self) -> AveragedModel {
        self.use_buffers = true;
        self
    }

    /// How many updates there were.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The averages by name, parameters and buffers.
    pub fn state_dict(&self) -> &StateDict {
        &self.averages
    }

    /// Takes in the model's values of this moment.
    ///
    /// # Errors
    /// [`Error::Value`] for a decay out of range, [`Error::Load`] if the model has other parameters than before,
    /// and what a run can fail with. Then nothing has changed.
    #[track_caller]
    pub fn update<M: Module + ?Sized>(&mut self, model: &M) -> Result<()> {
        let place = Place::caller();
        if let Averaging::Exponential { decay } = self.averaging
            && !(0.0..=1.0).contains(&decay)
        {
            let problem = format!("decay must be in [0, 1], not {decay}");
            return Err(Error::Value {
                op: "update",
                problem,
                place,
            });
        }
        let averaged = self.use_buffers;
        let parameters = model
            .named_parameters()
            .into_iter()
            .map(|leaf| (leaf, true));
        let buffers = model.named_buffers().into_iter();
        let buffers = buffers.map(|leaf| (leaf, averaged));
        let mut new = StateDict::new();
        for ((name, value), averaged) in parameters.chain(buffers) {
            let value = value.detach();
            let known = self.averages.get(&name);
            if self.updates > 0 && known.is_none() {
                return Err(Error::Load(format!("unexpected: {name}")));
            }
            let floats = value.dtype()?.is_float();
            let average = match known.filter(|_| averaged && floats) {
                Some(average) if average.shape()? != value.shape()? => {
                    let (shape, before) = (value.shape()?, average.shape()?);
                    let problem = format!("{name} has shape {shape}, not {before}");
                    return Err(Error::Load(problem));
                }
                Some(average) => place.hold(|| no_grad(|| self.average(average, &value))),
                None => value.clone(),
            };
            new.insert(name, average.checked()?);
        }
        if self.updates > 0
            && let Some(name) = self.averages.keys().find(|name| !new.contains_key(*name))
        {
            return Err(Error::Load(format!("missing: {name}")));
        }
        if let Some(value) = new.values().next() {
            value.device().flush()?;
        }
        self.averages = new;
        self.updates += 1;
        Ok(())
    }

    fn average(&self, average: &Tensor, value: &Tensor) -> Tensor {
        let share = match self.averaging {
            Averaging::Equal => 1.0 / (self.updates + 1) as f64,
            Averaging::Exponential { decay } => 1.0 - decay,
        };
        // In the type that 16-bit floats compute in.
        let dtype = average.dtype().unwrap_or(DType::F32);
        let [a, p] = [average, value].map(|x| x.to_dtype(dtype.compute()));
        (&a + (p - &a) * share).to_dtype(dtype)
    }

    /// Gives a model the averages as its values.
    ///
    /// # Errors
    /// As [`Module::load_state_dict`].
    pub fn copy_to<M: Module + ?Sized>(&self, model: &M) -> Result<()> {
        model.load_state_dict(&self.averages, Match::Strict)
    }

    /// Averages and count, to be saved.
    pub fn state(&self) -> OptimizerState {
        OptimizerState {
            tensors: self.averages.clone(),
            numbers: BTreeMap::from([("updates".to_string(), self.updates as f64)]),
        }
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// [`Error::Load`] if the count is missing.
    pub fn load_state(&mut self, state: &OptimizerState) -> Result<()> {
        let updates = state.numbers.get("updates").copied();
        let whole = |n: &f64| *n >= 0.0 && n.fract() == 0.0 && *n <= 2f64.powi(53);
        let Some(updates) = updates.filter(whole) else {
            return Err(Error::Load("missing: updates".into()));
        };
        self.updates = updates as u64;
        self.averages = state.tensors.clone();
        Ok(())
    }
}
