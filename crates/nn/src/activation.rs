//! Activations.

use std::fmt;

use wgrad_core::{Result, Target, Tensor};
use wgrad_derive::Module;

use crate::forward::Forward;
use crate::hooks;
use crate::init;
use crate::part::Training;

macro_rules! plain {
    ($($(#[$doc:meta])* $t:ident $method:ident ($x:expr => $y:expr);)*) => { $(
        $(#[$doc])*
        ///
        #[doc = concat!("```\n# use wgrad::prelude::*;\n# let dev = wgrad::cpu();\nlet y = nn::", stringify!($t),
            ".forward(&Tensor::scalar(", stringify!($x), ", &dev))?;\nassert!((y.item::<f32>()? - (",
            stringify!($y), ")).abs() < 1e-6);\n# Ok::<(), Error>(())\n```")]
        #[derive(Module, Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[module(crate = crate)]
        pub struct $t;

        impl Forward for $t {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                hooks::layer(self, x, |x| x.$method().checked())
            }
        }
    )* };
}
plain! {
    /// `max(x, 0)`, element by element, as `torch.nn.ReLU`: [`Tensor::relu`].
    Relu relu (-1.0 => 0.0);
    /// `min(max(x, 0), 6)`, as `torch.nn.ReLU6`: [`Tensor::relu6`].
    Relu6 relu6 (8.0 => 6.0);
    /// The Gaussian error linear unit `x P(X <= x)` of a normal `X`, exact form, as `torch.nn.GELU`:
    /// [`Tensor::gelu`].
    Gelu gelu (1.0 => 0.841_344_7);
    /// The tanh approximation of the Gaussian error linear unit, as `torch.nn.GELU("tanh")`:
    /// [`Tensor::gelu_tanh`].
    GeluTanh gelu_tanh (1.0 => 0.841_192);
    /// `x sigmoid(x)`, as `torch.nn.SiLU`: [`Tensor::silu`].
    Silu silu (1.0 => 0.731_058_6);
    /// The hyperbolic tangent, as `torch.nn.Tanh`: [`Tensor::tanh`].
    Tanh tanh (1.0 => 0.761_594_2);
    /// The logistic function `1 / (1 + e^-x)`, as `torch.nn.Sigmoid`: [`Tensor::sigmoid`].
    Sigmoid sigmoid (2.0 => 0.880_797_1);
    /// `ln(sigmoid(x))`, as `torch.nn.LogSigmoid`: [`Tensor::logsigmoid`].
    LogSigmoid logsigmoid (0.0 => -0.693_147_2);
    /// `x relu6(x + 3) / 6`, as `torch.nn.Hardswish`: [`Tensor::hardswish`].
    Hardswish hardswish (1.0 => 2.0 / 3.0);
    /// `relu6(x + 3) / 6`, as `torch.nn.Hardsigmoid`: [`Tensor::hardsigmoid`].
    Hardsigmoid hardsigmoid (0.0 => 0.5);
    /// `x tanh(softplus(x))`, as `torch.nn.Mish`: [`Tensor::mish`].
    Mish mish (1.0 => 0.865_098_4);
    /// The scaled [`Elu`] that keeps mean 0 and variance 1, as `torch.nn.SELU`: [`Tensor::selu`].
    Selu selu (-1.0 => -1.111_330_7);
    /// `x / (1 + |x|)`, as `torch.nn.Softsign`: [`Tensor::softsign`].
    Softsign softsign (3.0 => 0.75);
    /// `x - tanh(x)`, as `torch.nn.Tanhshrink`: [`Tensor::tanhshrink`].
    Tanhshrink tanhshrink (1.0 => 0.238_405_84);
}

/// A layer with options that are numbers: its fields, its default, how it prints, what it does.
macro_rules! with_options {
    ($($(#[$doc:meta])* $t:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty $(= $default:expr)?),* }
        $print:literal |$this:ident, $x:ident| $forward:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Module, Clone, Copy, PartialEq, Debug)]
        #[module(crate = crate, display)]
        pub struct $t {
            $($(#[$field_doc])* #[module(skip)] pub $field: $ty,)*
        }

        with_options!(@default $t $($field $(= $default)?),*);

        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $t { $($field),* } = self;
                write!(f, $print)
            }
        }

        impl Forward for $t {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                let $this = self;
                hooks::layer(self, x, |$x| $forward.checked())
            }
        }
    )* };
    (@default $t:ident $($field:ident = $default:expr),+) => {
        /// PyTorch's.
        impl Default for $t {
            fn default() -> $t {
                $t { $($field: $default),+ }
            }
        }
    };
    (@default $t:ident $($field:ident),*) => {};
}
with_options! {
    /// `x` above 0, else `negative_slope x`, as `torch.nn.LeakyReLU`: [`Tensor::leaky_relu`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let layer = nn::LeakyRelu { negative_slope: 0.25 };
    /// assert_eq!(layer.forward(&Tensor::new([-2.0, 3.0], &dev))?.to_vec::<f32>()?, [-0.5, 3.0]);
    /// assert_eq!(nn::LeakyRelu::default().to_string(), "LeakyRelu(negative_slope=0.01)");
    /// # Ok::<(), Error>(())
    /// ```
    LeakyRelu {
        /// The slope below 0, 0.01 by default.
        negative_slope: f64 = 0.01
    } "LeakyRelu(negative_slope={negative_slope:?})" |layer, x| x.leaky_relu(layer.negative_slope);
    /// `x` above 0, else `alpha (e^x - 1)`, as `torch.nn.ELU`: [`Tensor::elu`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::Elu { alpha: 2.0 }.forward(&Tensor::new([-100.0, 3.0], &dev))?;
    /// assert_eq!(y.to_vec::<f32>()?, [-2.0, 3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    Elu {
        /// What it falls to, negated; 1 by default.
        alpha: f64 = 1.0
    } "Elu(alpha={alpha:?})" |layer, x| x.elu(layer.alpha);
    /// `x` above 0, else `alpha (e^(x / alpha) - 1)`, as `torch.nn.CELU`: [`Tensor::celu`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::Celu { alpha: 2.0 }.forward(&Tensor::new([-200.0, 3.0], &dev))?;
    /// assert_eq!(y.to_vec::<f32>()?, [-2.0, 3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    Celu {
        /// What it falls to, negated; 1 by default.
        alpha: f64 = 1.0
    } "Celu(alpha={alpha:?})" |layer, x| x.celu(layer.alpha);
    /// `x` within two bounds, as `torch.nn.Hardtanh`: [`Tensor::hardtanh`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::Hardtanh::default().forward(&Tensor::new([-3.0, 0.5, 3.0], &dev))?;
    /// assert_eq!(y.to_vec::<f32>()?, [-1.0, 0.5, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    Hardtanh {
        /// The smallest value, -1 by default.
        min_val: f64 = -1.0,
        /// The largest value, 1 by default.
        max_val: f64 = 1.0
    } "Hardtanh(min_val={min_val:?}, max_val={max_val:?})" |layer, x| x.hardtanh(layer.min_val, layer.max_val);
    /// `ln(1 + e^(beta x)) / beta`, and `x` where `beta x` is above a threshold, as
    /// `torch.nn.Softplus`: [`Tensor::softplus`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::Softplus { beta: 2.0, threshold: 4.0 }.forward(&Tensor::new([0.0, 3.0], &dev))?;
    /// assert_eq!(y.to_vec::<f32>()?, [2f32.ln() / 2.0, 3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    Softplus {
        /// How sharp the bend is, 1 by default.
        beta: f64 = 1.0,
        /// From where on the result is `x`, 20 by default.
        threshold: f64 = 20.0
    } "Softplus(beta={beta:?}, threshold={threshold:?})" |layer, x| softplus(x, layer.beta, layer.threshold);
    /// 0 within `lambda` of 0, else `x` shifted towards it, as `torch.nn.Softshrink`:
    /// [`Tensor::softshrink`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::Softshrink::default().forward(&Tensor::new([0.25, 2.0], &dev))?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 1.5]);
    /// # Ok::<(), Error>(())
    /// ```
    Softshrink {
        /// By how much, 0.5 by default.
        lambda: f64 = 0.5
    } "Softshrink({lambda:?})" |layer, x| x.softshrink(layer.lambda);
    /// 0 within `lambda` of 0, else `x`, as `torch.nn.Hardshrink`: [`Tensor::hardshrink`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::Hardshrink::default().forward(&Tensor::new([0.25, 2.0], &dev))?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    Hardshrink {
        /// How far, 0.5 by default.
        lambda: f64 = 0.5
    } "Hardshrink({lambda:?})" |layer, x| x.hardshrink(layer.lambda);
    /// `x` above a threshold, else `value`, as `torch.nn.Threshold`: [`Tensor::threshold`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let layer = nn::Threshold { threshold: 1.0, value: -5.0 };
    /// assert_eq!(layer.forward(&Tensor::new([0.5, 2.0], &dev))?.to_vec::<f32>()?, [-5.0, 2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    Threshold {
        /// The threshold.
        threshold: f64,
        /// What is below it.
        value: f64
    } "Threshold(threshold={threshold:?}, value={value:?})" |layer, x| x.threshold(layer.threshold, layer.value);
    /// `e^x` along a dimension, divided by its sum, as `torch.nn.Softmax`: [`Tensor::softmax`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::Softmax { dim: -1 }.forward(&Tensor::zeros([1, 4], &dev))?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.25; 4]);
    /// # Ok::<(), Error>(())
    /// ```
    Softmax {
        /// The dimension; negative ones count from the end.
        dim: isize
    } "Softmax(dim={dim})" |layer, x| x.softmax(layer.dim);
    /// The logarithm of [`Softmax`], as `torch.nn.LogSoftmax`: [`Tensor::log_softmax`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::LogSoftmax { dim: -1 }.forward(&Tensor::zeros([1, 4], &dev))?;
    /// assert!((y.to_vec::<f32>()?[0] + 4f32.ln()).abs() < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    LogSoftmax {
        /// The dimension; negative ones count from the end.
        dim: isize
    } "LogSoftmax(dim={dim})" |layer, x| x.log_softmax(layer.dim);
    /// [`Softmax`] of `-x`, as `torch.nn.Softmin`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::Softmin { dim: 0 }.forward(&Tensor::new([0.0, 1e9], &dev))?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    Softmin {
        /// The dimension; negative ones count from the end.
        dim: isize
    } "Softmin(dim={dim})" |layer, x| (-x).softmax(layer.dim);
    /// The first half along a dimension times the [`Sigmoid`] of the second, as `torch.nn.GLU`:
    /// [`Tensor::glu`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::Glu::default().forward(&Tensor::new([3.0, 0.0], &dev))?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.5]);
    /// # Ok::<(), Error>(())
    /// ```
    Glu {
        /// The dimension, by default the last; negative ones count from the end.
        dim: isize = -1
    } "Glu(dim={dim})" |layer, x| x.glu(layer.dim);
}

#[track_caller]
fn softplus(x: &Tensor, beta: f64, threshold: f64) -> Tensor {
    // With PyTorch's numbers the threshold changes nothing: beyond it e^-x is below the rounding.
    if beta == 1.0 && threshold == 20.0 {
        return x.softplus();
    }
    let scaled = x * beta;
    let bent = scaled.softplus() / beta;
    scaled.gt(threshold).where_cond(x, bent)
}

/// `x` above 0, else `weight x` with weights that are trained, as `torch.nn.PReLU`
/// ([He et al. 2015](https://arxiv.org/abs/1502.01852)): [`Tensor::prelu`].
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let layer = nn::Prelu::new(1, &dev); // or a weight for each of the channels
/// assert_eq!(layer.forward(&Tensor::new([-2.0, 3.0], &dev))?.to_vec::<f32>()?, [-0.5, 3.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate, display)]
pub struct Prelu {
    /// `[num_parameters]`.
    pub weight: Tensor,
}

impl Prelu {
    /// A layer with one weight, or one for each of the channels (dimension 1), of 0.25.
    #[track_caller]
    pub fn new(num_parameters: usize, target: impl Target) -> Prelu {
        let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
        let weight = Tensor::full([num_parameters], 0.25, target).requires_grad();
        Prelu { weight }
    }
}

impl fmt::Display for Prelu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.weight.numel().unwrap_or(0);
        write!(f, "Prelu(num_parameters={n})")
    }
}

impl Forward for Prelu {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| x.prelu(&self.weight).checked())
    }
}

/// `x` above 0, else `slope x`; in training the slope is drawn for each element from
/// `[lower, upper)`, else it is their middle. `torch.nn.RReLU`: [`Tensor::rrelu`].
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let layer = nn::Rrelu::new(0.25, 0.75);
/// layer.eval();
/// assert_eq!(layer.forward(&Tensor::new([-2.0, 3.0], &dev))?.to_vec::<f32>()?, [-1.0, 3.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate, display)]
pub struct Rrelu {
    #[module(skip)]
    lower: f64,
    #[module(skip)]
    upper: f64,
    training: Training,
}

impl Rrelu {
    /// Slopes between these two.
    pub fn new(lower: f64, upper: f64) -> Rrelu {
        let training = Training::default();
        Rrelu {
            lower,
            upper,
            training,
        }
    }
}

/// PyTorch's slopes, 1/8 to 1/3.
impl Default for Rrelu {
    fn default() -> Rrelu {
        Rrelu::new(1.0 / 8.0, 1.0 / 3.0)
    }
}

impl fmt::Display for Rrelu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rrelu(lower={:?}, upper={:?})", self.lower, self.upper)
    }
}

impl Forward for Rrelu {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let training = self.training.get();
        hooks::layer(self, x, |x| {
            x.rrelu(self.lower, self.upper, training).checked()
        })
    }
}
