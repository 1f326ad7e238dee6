//! Layers without parameters: activations, reshaping, and functions as layers.

use std::fmt;

use wgrad_core::{Result, Tensor};

use crate::forward::Forward;
use crate::hooks;
use crate::module::Module;
use crate::part::{Visitor, VisitorMut};

/// A module that has neither parameters nor buffers.
macro_rules! without_parameters {
    ($t:ident) => {
        impl Module for $t {
            fn visit(&self, _: &mut Visitor<'_>) {}

            fn visit_mut(&mut self, _: &mut VisitorMut<'_>) {}

            fn description(&self) -> String {
                format!("{self:?}")
            }
        }
    };
}

macro_rules! activations {
    ($($(#[$doc:meta])* $t:ident $method:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $t;

        without_parameters!($t);

        impl Forward for $t {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                hooks::call(self, x, |x| x.$method().checked())
            }
        }
    )* };
}
activations! {
    /// `max(x, 0)`, element by element: [`Tensor::relu`].
    Relu relu;
    /// The Gaussian error linear unit, exact form: [`Tensor::gelu`].
    Gelu gelu;
    /// The tanh approximation of the Gaussian error linear unit: [`Tensor::gelu_tanh`].
    GeluTanh gelu_tanh;
    /// `x sigmoid(x)`: [`Tensor::silu`].
    Silu silu;
    /// The hyperbolic tangent: [`Tensor::tanh`].
    Tanh tanh;
    /// The logistic function: [`Tensor::sigmoid`].
    Sigmoid sigmoid;
    /// `ln(1 + e^x)`: [`Tensor::softplus`].
    Softplus softplus;
    /// The input itself.
    Identity clone;
}

/// Makes one dimension of those from `start` to `end` (both included): by default all but the
/// first, `[n, c, h, w]` to `[n, c * h * w]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flatten {
    /// The first of the dimensions; negative ones count from the end.
    pub start: isize,
    /// The last of them.
    pub end: isize,
}

impl Default for Flatten {
    fn default() -> Flatten {
        Flatten { start: 1, end: -1 }
    }
}

without_parameters!(Flatten);

impl Forward for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::call(self, x, |x| x.flatten(self.start, self.end).checked())
    }
}

/// A function as a layer.
///
/// ```
/// use wgrad_nn::{Func, Module, Sequential};
/// let model = Sequential::new().add(Func::new("Square", |x| x.sqr()));
/// assert_eq!(model.layers()[0].description(), "Square");
/// ```
pub struct Func {
    name: String,
    function: Box<dyn Fn(&Tensor) -> Tensor + Send + Sync>,
}

impl Func {
    /// A layer that applies `function`; errors and summaries print `name`.
    pub fn new(
        name: impl Into<String>,
        function: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static,
    ) -> Func {
        Func {
            name: name.into(),
            function: Box::new(function),
        }
    }
}

impl fmt::Debug for Func {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

without_parameters!(Func);

impl Forward for Func {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::call(self, x, |x| (self.function)(x).checked())
    }
}
