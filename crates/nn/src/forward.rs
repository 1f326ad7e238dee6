//! Modules that map a tensor to a tensor.

use wgrad_core::{Result, Tensor};

use crate::hooks;
use crate::module::Module;

/// A module that maps one tensor to one: what [`Sequential`](crate::Sequential) holds.
///
/// An implementation ends its chain of operations in [`Tensor::checked`], so that the first thing
/// that does not fit is an `Err` here and not somewhere behind.
///
/// ```
/// # use wgrad_core::{Result, Tensor};
/// use wgrad_nn::{Forward, InModule, Linear, Module};
///
/// #[derive(Module)]
/// #[module(crate = wgrad_nn)]
/// struct Residual {
///     inner: Linear,
/// }
///
/// impl Forward for Residual {
///     fn forward(&self, x: &Tensor) -> Result<Tensor> {
///         let y = self.inner.forward(x).in_module("inner")?;
///         (x + y.relu()).checked()
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not map one tensor to one",
    label = "no layer of a sequence",
    note = "implement `Forward` for `{Self}`: `fn forward(&self, x: &Tensor) -> Result<Tensor>`"
)]
pub trait Forward: Module {
    /// The module's result for `x`.
    ///
    /// # Errors
    /// What does not fit, with the path of the module in which it does not. (With `#[track_caller]`
    /// on an implementation errors name its caller's line, without the line in it.)
    fn forward(&self, x: &Tensor) -> Result<Tensor>;
}

impl<F: Forward + ?Sized> Forward for Box<F> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::through(&**self, |layer| layer.forward(x))
    }
}

/// Says in which module an error happened.
pub trait InModule {
    /// Puts a module's name in front of an error: `head.0: Linear(784, 512): ...`.
    ///
    /// # Errors
    /// The same error, with the path.
    fn in_module(self, name: &str) -> Self;
}

impl<T> InModule for Result<T> {
    fn in_module(self, name: &str) -> Result<T> {
        self.map_err(|error| error.in_module(name, ""))
    }
}

/// As [`InModule`], with the module's description.
pub(crate) trait Within {
    fn within<M: Module + ?Sized>(self, name: &str, module: &M) -> Self;
}

impl<T> Within for Result<T> {
    fn within<M: Module + ?Sized>(self, name: &str, module: &M) -> Result<T> {
        self.map_err(|error| error.in_module(name, &module.description()))
    }
}
