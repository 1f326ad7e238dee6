//! The trait of everything that has parameters.

#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

#[cfg(not(target_arch = "wasm32"))]
use wgrad_core::Device;
use wgrad_core::{DType, Error, Place, Result, Tensor};

use crate::apply::{self, Visited};
use crate::part::{Leaf, LeafMut, Visitor, VisitorMut};
#[cfg(not(target_arch = "wasm32"))]
use crate::safetensors;
use crate::state::{self, Match, StateDict};
use crate::tree::Tree;

/// Something with parameters and buffers: a layer or a network.
///
/// Derive it; the two functions without a body are all that a manual implementation needs. Names
/// are PyTorch's: fields joined by dots, positions in vectors and tuples as numbers.
///
/// ```
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_nn::{Linear, Module, Relu, Sequential};
///
/// #[derive(Module)]
/// #[module(crate = wgrad_nn)] // not needed with the crate `wgrad`
/// struct Net {
///     head: Sequential,
///     #[module(skip)]
///     classes: usize,
/// }
///
/// let head = Sequential::new().add(Linear::new(3, 4, &dev)).add(Relu);
/// let net = Net { head, classes: 4 };
/// let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["head.0.weight", "head.0.bias"]);
/// assert_eq!(net.num_parameters(), 3 * 4 + net.classes);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module",
    note = "derive it: `#[derive(Module)]`"
)]
pub trait Module {
    /// Visits the module's parts: `visitor.part("weight", &self.weight)` and so on.
    fn visit(&self, visitor: &mut Visitor<'_>);

    /// As [`visit`](Module::visit), to replace tensors (by those on another device).
    fn visit_mut(&mut self, visitor: &mut VisitorMut<'_>);

    /// What the module is, in one line: `Linear(784, 512)`. The type's name unless a module says
    /// more; errors and summaries print it.
    fn description(&self) -> String {
        short_name(std::any::type_name::<Self>())
    }

    /// Visits the module as a part: that it begins, and then its own parts. Boxes and options
    /// stand for what is in them.
    #[doc(hidden)]
    fn visit_whole(&self, visitor: &mut Visitor<'_>) {
        visitor.module(self);
    }

    /// The module and those in it, to look at: it prints as in PyTorch.
    ///
    /// ```
    /// # let dev = wgrad_core::Device::new(
    /// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
    /// use wgrad_nn::{Linear, Module, Relu, Sequential};
    ///
    /// let head = Sequential::from((Linear::new(3, 4, &dev), Relu));
    /// let model = Sequential::new().add(Linear::new(2, 3, &dev)).add(head);
    /// assert_eq!(
    ///     model.tree().to_string(),
    ///     "\
    /// Sequential(
    ///   (0): Linear(2, 3)
    ///   (1): Sequential(
    ///     (0): Linear(3, 4)
    ///     (1): Relu
    ///   )
    /// )"
    /// );
    /// ```
    fn tree(&self) -> Tree {
        Tree::of(self)
    }

    /// The modules in this one, itself first (its name is empty), with their descriptions.
    fn named_modules(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        self.visit_whole(&mut Visitor::of_modules(&mut |name, begun| {
            found.push((name.to_string(), begun.description()));
        }));
        found
    }

    /// Calls `f` with every module in this one and with itself at last, as `torch.nn.Module.apply`: to initialise by
    /// kind of layer, for instance.
    ///
    /// ```
    /// # let dev = wgrad_core::Device::new(
    /// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
    /// use wgrad_nn::init::{self, Gain};
    /// use wgrad_nn::{Linear, Module, Relu, Sequential};
    ///
    /// let model = Sequential::from((Linear::new(3, 4, &dev), Relu, Linear::new(4, 2, &dev)));
    /// model.apply(&mut |layer| {
    ///     if layer.kind() == "Linear" {
    ///         for (name, parameter) in layer.parameters() {
    ///             parameter.assign(&match name.as_str() {
    ///                 "weight" => init::xavier_uniform(parameter.shape()?, Gain::Relu, &dev),
    ///                 _ => parameter.zeros_like(),
    ///             })?;
    ///         }
    ///     }
    ///     Ok(())
    /// })?;
    /// assert_eq!(model.state_dict()["2.bias"].to_vec::<f32>()?, [0.0, 0.0]);
    /// # Ok::<(), wgrad_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first of `f`, after which no other module is visited.
    fn apply(&self, f: &mut dyn FnMut(&Visited) -> Result<()>) -> Result<()> {
        apply::apply(self, f)
    }

    /// The parameters, each once even where modules share it.
    fn parameters(&self) -> Vec<Tensor> {
        unnamed(self.named_parameters())
    }

    /// The parameters with their names, each once (under its first name).
    fn named_parameters(&self) -> Vec<(String, Tensor)> {
        collect(self, |leaf| match leaf {
            Leaf::Parameter(tensor) => Some(tensor),
            _ => None,
        })
    }

    /// The buffers, each once.
    fn buffers(&self) -> Vec<Tensor> {
        unnamed(self.named_buffers())
    }

    /// The buffers with their names, each once.
    fn named_buffers(&self) -> Vec<(String, Tensor)> {
        collect(self, |leaf| match leaf {
            Leaf::Buffer(tensor) => Some(tensor),
            _ => None,
        })
    }

    /// How many numbers the parameters hold together.
    fn num_parameters(&self) -> usize {
        let parameters = self.parameters();
        parameters.iter().map(|p| p.numel().unwrap_or(0)).sum()
    }

    /// Parameters and buffers of this moment by name: snapshots, which later steps do not change.
    fn state_dict(&self) -> StateDict {
        let mut dict = StateDict::new();
        let mut each = |name: &str, leaf: Leaf<'_>| {
            if let Leaf::Parameter(tensor) | Leaf::Buffer(tensor) = leaf {
                dict.insert(name.to_string(), tensor.detach());
            }
        };
        self.visit(&mut Visitor::new(&mut each));
        dict
    }

    /// Takes over the values of `dict`, converted to each parameter's type and device. With
    /// [`Match::Strict`] the names must be the same on both sides; with [`Match::Loose`] what is
    /// missing keeps its value, and what is not known is ignored. Shapes must always be equal.
    ///
    /// # Errors
    /// [`Error::Load`](wgrad_core::Error::Load), which lists everything that does not fit; then
    /// nothing has changed.
    fn load_state_dict(&self, dict: &StateDict, names: Match) -> Result<()> {
        let mut leaves = Vec::new();
        let mut each = |name: &str, leaf: Leaf<'_>| {
            if let Leaf::Parameter(tensor) | Leaf::Buffer(tensor) = leaf {
                leaves.push((name.to_string(), tensor.clone()));
            }
        };
        self.visit(&mut Visitor::new(&mut each));
        state::load(&leaves, dict, names)
    }

    /// Switches to training: dropout drops, running statistics run.
    fn train(&self) {
        self.set_training(true);
    }

    /// Switches to evaluation: what the module computes depends on its input only.
    fn eval(&self) {
        self.set_training(false);
    }

    /// [`train`](Module::train) or [`eval`](Module::eval).
    fn set_training(&self, training: bool) {
        let mut each = |_: &str, leaf: Leaf<'_>| {
            if let Leaf::Training(flag) = leaf {
                flag.set(training);
            }
        };
        self.visit(&mut Visitor::new(&mut each));
    }

    /// Freezes all parameters, or thaws them. Backward passes compute no gradient of a frozen
    /// parameter (nor anything that only such gradients need), and optimizers leave it alone.
    ///
    /// ```
    /// # fn main() -> wgrad_core::Result<()> {
    /// # let dev = wgrad_core::Device::new(
    /// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
    /// # use wgrad_core::Tensor;
    /// use wgrad_nn::{Forward, Linear, Module, Sequential};
    ///
    /// let (body, head) = (Linear::new(2, 3, &dev), Linear::new(3, 1, &dev));
    /// body.set_requires_grad(false);
    /// let model = Sequential::from((body, head));
    /// model.forward(&Tensor::ones([4, 2], &dev))?.sum().backward()?;
    /// let trained: Vec<bool> = model.parameters().iter().map(|p| p.grad().is_ok()).collect();
    /// assert_eq!(trained, [false, false, true, true]);
    /// # Ok(())
    /// # }
    /// ```
    fn set_requires_grad(&self, requires_grad: bool) {
        for parameter in self.parameters() {
            parameter.set_requires_grad(requires_grad);
        }
    }

    /// Forgets the gradients of all parameters.
    fn zero_grad(&self) {
        for parameter in self.parameters() {
            parameter.zero_grad();
        }
    }

    /// Moves parameters and buffers to a device. They become other tensors: make optimizers
    /// afterwards. Gradients do not move along; parameters that modules share stay shared.
    ///
    /// # Errors
    /// What reading and writing can fail with; then nothing has moved.
    #[cfg(not(target_arch = "wasm32"))]
    fn to_device(&mut self, device: &Device) -> Result<()> {
        exchange(self, |tensor| {
            (tensor.device() != device).then(|| tensor.to_device(device))
        })
    }

    /// Converts parameters and buffers of floats to another type of floats; others stay. They
    /// become other tensors: make optimizers afterwards. Gradients do not come along; parameters
    /// that modules share stay shared.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let mut model = nn::Sequential::from((nn::Linear::new(2, 3, &dev), nn::BatchNorm1d::new(3, &dev)));
    /// model.to_dtype(DType::F16)?;
    /// let y = model.forward(&Tensor::ones([4, 2], (DType::F16, &dev)))?;
    /// assert_eq!(y.dtype()?, DType::F16);
    /// assert_eq!(model.state_dict()["1.num_batches_tracked"].dtype()?, DType::I32);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::DType`](wgrad_core::Error::DType) for what is no float or what the device lacks;
    /// then nothing has changed.
    #[track_caller]
    fn to_dtype(&mut self, dtype: DType) -> Result<()> {
        if !dtype.is_float() {
            return Err(Error::DType {
                op: "to_dtype",
                problem: format!("parameters are floats, not {dtype}"),
                place: Place::caller(),
            });
        }
        exchange(self, |tensor| match tensor.dtype() {
            Ok(own) if own == dtype || !own.is_float() => None,
            Ok(_) => Some(tensor.detach().to_dtype(dtype).checked()),
            Err(error) => Some(Err(error)),
        })
    }

    /// Writes parameters and buffers to a [safetensors](crate::safetensors) file, which other
    /// frameworks read. The file is replaced at once or not at all.
    ///
    /// # Errors
    /// What reading the tensors can fail with, and [`Error::File`](wgrad_core::Error::File).
    #[cfg(not(target_arch = "wasm32"))]
    fn save_safetensors(&self, path: impl AsRef<Path>) -> Result<()>
    where
        Self: Sized,
    {
        safetensors::save(path, &self.state_dict())
    }

    /// Reads parameters and buffers from a safetensors file, as
    /// [`load_state_dict`](Module::load_state_dict) does.
    ///
    /// # Errors
    /// [`Error::File`](wgrad_core::Error::File) with the file's name where it is not a sound
    /// safetensors file or does not fit the module; then nothing has changed.
    #[cfg(not(target_arch = "wasm32"))]
    fn load_safetensors(&self, path: impl AsRef<Path>, names: Match) -> Result<()>
    where
        Self: Sized,
    {
        safetensors::load_into(self, path.as_ref(), names)
    }
}

/// The type's name without its path and its parameters.
fn short_name(full: &str) -> String {
    let plain = full.split('<').next().unwrap_or(full);
    plain.rsplit("::").next().unwrap_or(plain).to_string()
}

/// Replaces parameters and buffers by what `other` makes of them; of each one thing, and all of
/// them or none.
fn exchange<M: Module + ?Sized>(
    module: &mut M,
    other: impl Fn(&Tensor) -> Option<Result<Tensor>>,
) -> Result<()> {
    let mut moved: Vec<(Tensor, Tensor)> = Vec::new();
    let mut problem = None;
    let mut copy = |_: &str, leaf: Leaf<'_>| {
        let (Leaf::Parameter(tensor) | Leaf::Buffer(tensor)) = leaf else {
            return;
        };
        let known = moved.iter().any(|(old, _)| old.is_same(tensor));
        if known || problem.is_some() {
            return;
        }
        let Some(new) = other(tensor) else {
            return;
        };
        let new = new.and_then(|new| {
            if tensor.needs_grad() {
                new.requires_grad().checked()
            } else {
                new.buffer().checked()
            }
        });
        match new {
            Ok(new) => moved.push((tensor.clone(), new)),
            Err(error) => problem = Some(error),
        }
    };
    module.visit(&mut Visitor::new(&mut copy));
    if let Some(error) = problem {
        return Err(error);
    }
    let mut replace = |_: &str, leaf: LeafMut<'_>| {
        let (LeafMut::Parameter(tensor) | LeafMut::Buffer(tensor)) = leaf;
        if let Some((_, new)) = moved.iter().find(|(old, _)| old.is_same(tensor)) {
            *tensor = new.clone();
        }
    };
    module.visit_mut(&mut VisitorMut::new(&mut replace));
    Ok(())
}

fn unnamed(named: Vec<(String, Tensor)>) -> Vec<Tensor> {
    named.into_iter().map(|(_, tensor)| tensor).collect()
}

/// The tensors that `select` chooses, without repetitions.
fn collect<M: Module + ?Sized>(
    module: &M,
    select: impl Fn(Leaf<'_>) -> Option<&Tensor>,
) -> Vec<(String, Tensor)> {
    let mut found: Vec<(String, Tensor)> = Vec::new();
    let mut each = |name: &str, leaf: Leaf<'_>| {
        if let Some(tensor) = select(leaf)
            && !found.iter().any(|(_, other)| other.is_same(tensor))
        {
            found.push((name.to_string(), tensor.clone()));
        }
    };
    module.visit(&mut Visitor::new(&mut each));
    found
}
