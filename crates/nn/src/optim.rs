//! Optimizers with PyTorch's meanings and defaults, and clipping of gradients.
//!
//! An optimizer moves its parameters, gradients and moments side by side, so that one kernel
//! updates all of them; hyperparameters are data of that kernel, so that changing the learning
//! rate costs nothing. A parameter without gradient is skipped and its step count stays.
//!
//! ```
//! # fn main() -> wgrad_core::Result<()> {
//! # let dev = wgrad_core::Device::new(
//! #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
//! use wgrad_core::Tensor;
//! use wgrad_nn::optim::{Group, Optimizer, Sgd, SgdOptions};
//!
//! let w = Tensor::scalar(1.0, &dev).requires_grad();
//! let b = Tensor::scalar(1.0, &dev).requires_grad();
//! let mut sgd = Sgd::with_groups(vec![
//!     Group { params: vec![w.clone()], options: SgdOptions { lr: 0.1, ..Default::default() } },
//!     Group { params: vec![b.clone()], options: SgdOptions { lr: 0.5, ..Default::default() } },
//! ]);
//! (&w * 2.0 + &b).backward()?;
//! sgd.step()?;
//! assert_eq!(w.item::<f32>()?, 0.8);
//! assert_eq!(b.item::<f32>()?, 0.5);
//! # Ok(())
//! # }
//! ```

mod adafactor;
mod adagrad;
mod adam;
mod adamax;
mod asgd;
mod averaging;
mod clip;
mod clock;
mod descent;
mod lamb;
mod layerwise;
// It waits for numbers, which browsers do not allow.
#[cfg(not(target_arch = "wasm32"))]
mod lbfgs;
mod lion;
mod moments;
mod muon;
mod nadam;
mod options;
mod quantity;
mod radam;
mod rmsprop;
mod rprop;
pub mod schedule;
mod sgd;
mod state;

pub use adafactor::{Adafactor, AdafactorOptions};
pub use adagrad::{Adadelta, AdadeltaOptions, Adagrad, AdagradOptions};
pub use adam::{Adam, AdamOptions, AdamW, AdamWOptions};
pub use adamax::{Adamax, AdamaxOptions};
pub use asgd::{Asgd, AsgdOptions};
pub use averaging::{AveragedModel, Averaging};
pub use clip::{clip_grad_norm, clip_grad_value};
pub use descent::{Descent, Group, Hyperparameters};
pub use lamb::{Lamb, LambOptions};
pub use layerwise::{Layerwise, LayerwiseRule};
#[cfg(not(target_arch = "wasm32"))]
pub use lbfgs::{Lbfgs, LbfgsOptions, LineSearch};
pub use lion::{Lion, LionOptions};
pub use muon::{Muon, MuonOptions};
pub use nadam::{NAdam, NAdamOptions};
pub use options::Named;
pub use quantity::Quantity;
pub use radam::{RAdam, RAdamOptions};
pub use rmsprop::{RmsProp, RmsPropForm, RmsPropOptions};
pub use rprop::{Rprop, RpropOptions};
pub use sgd::{Sgd, SgdForm, SgdOptions};
pub use state::OptimizerState;

#[cfg(target_arch = "wasm32")]
use wgrad_core::Error;
use wgrad_core::{Result, Tensor};

/// What every optimizer can do.
pub trait Optimizer {
    /// Updates the parameters by their gradients, and runs what this thread has recorded.
    ///
    /// # Errors
    /// [`Error::Value`](wgrad_core::Error::Value) for a hyperparameter out of range or a parameter
    /// given twice, a failed gradient's error, and what a run can fail with. Then neither
    /// parameters nor step counts have changed.
    #[track_caller]
    fn step(&mut self) -> Result<()>;

    /// As [`step`](Optimizer::step), but nothing changes where `skip`, a tensor of one element, is not 0: neither
    /// parameters nor moments, nor the step counts that numbers depend on. The device decides, and nobody waits for
    /// it, so that the counts are known to the device alone until they are asked for.
    ///
    /// An optimizer that does not say how reads the flag.
    ///
    /// ```
    /// # let dev = wgrad_core::Device::new(
    /// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
    /// use wgrad_core::Tensor;
    /// use wgrad_nn::optim::{Adam, AdamOptions, Optimizer};
    ///
    /// let w = Tensor::scalar(1.0, &dev).requires_grad();
    /// let mut adam = Adam::new(vec![w.clone()], AdamOptions::default());
    /// (&w * 3.0).backward()?;
    /// adam.step_unless(&Tensor::scalar(1.0, &dev))?;
    /// assert_eq!((w.item::<f32>()?, adam.steps()?[0]), (1.0, 0));
    /// adam.step_unless(&Tensor::scalar(0.0, &dev))?;
    /// assert_eq!((w.item::<f32>()?, adam.steps()?[0]), (0.999, 1));
    /// # Ok::<(), wgrad_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`step`](Optimizer::step), and an error for a flag of another shape.
    #[track_caller]
    fn step_unless(&mut self, skip: &Tensor) -> Result<()> {
        match is_zero(skip)? {
            true => self.step(),
            false => Ok(()),
        }
    }

    /// Forgets the gradients of all parameters.
    fn zero_grad(&self);

    /// The parameters, group after group.
    fn parameters(&self) -> &[Tensor];

    /// How many groups of parameters there are.
    fn group_count(&self) -> usize;

    /// A hyperparameter of a group by its name, as in saved states: `lr`, `weight_decay`, `beta1` and so on.
    /// `None` where there is none.
    fn hyperparameter(&self, group: usize, name: &str) -> Option<f64>;

    /// Sets a hyperparameter of a group. False where there is none of that name.
    fn set_hyperparameter(&mut self, group: usize, name: &str, value: f64) -> bool;

    /// The learning rate of the first group; 0 where there is none.
    fn lr(&self) -> f64 {
        self.hyperparameter(0, "lr").unwrap_or(0.0)
    }

    /// Sets the learning rate of all groups.
    fn set_lr(&mut self, lr: f64) {
        for group in 0..self.group_count() {
            self.set_hyperparameter(group, "lr", lr);
        }
    }

    /// Moments, step counts and hyperparameters of this moment.
    ///
    /// # Errors
    /// What copying can fail with.
    fn state_dict(&self) -> Result<OptimizerState>;

    /// Continues from a saved state: the next steps are those that would have followed it.
    ///
    /// # Errors
    /// [`Error::Load`](wgrad_core::Error::Load) where the state does not fit the parameters; then
    /// nothing has changed.
    fn load_state_dict(&mut self, state: &OptimizerState) -> Result<()>;
}

/// Whether a tensor's one element is 0. Browsers cannot wait for it.
fn is_zero(flag: &Tensor) -> Result<bool> {
    #[cfg(not(target_arch = "wasm32"))]
    return flag.eq(0).item::<bool>();
    #[cfg(target_arch = "wasm32")]
    Err(waits(flag))
}

/// What asks for a number of the device fails with where that cannot be waited for.
#[cfg(target_arch = "wasm32")]
fn waits(_: &Tensor) -> Error {
    Error::Device("the device decides on steps, and its counts cannot be waited for here".into())
}
