//! Recurrent layers over sequences, and their cells.

mod cell;
mod stack;

use std::fmt;

use wgrad_core::{Result, Target, Tensor};

pub use self::cell::{GruCell, LstmCell, RnnCell};
use self::stack::{Kind, Size, Stack};
use crate::forward::Forward;
use crate::hooks;
use crate::module::Module;
use crate::part::{Visitor, VisitorMut};

/// What a plain recurrent cell does with the sum of its products.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Nonlinearity {
    /// The hyperbolic tangent.
    #[default]
    Tanh,
    /// `max(x, 0)`.
    Relu,
}

macro_rules! options {
    ($($(#[$doc:meta])* $options:ident { $($(#[$own_doc:meta])* $own:ident: $ty:ty = $default:expr),* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Debug)]
        pub struct $options {
            /// How many layers there are, each over the results of the one before; 1 by default.
            pub num_layers: usize,
            /// Whether there are biases, as by default.
            pub bias: bool,
            /// Whether sequences are `[batch, time, ..]` instead of `[time, batch, ..]`.
            pub batch_first: bool,
            /// The probability of dropout between the layers in training, 0 by default.
            pub dropout: f64,
            /// Whether each layer also has cells that go from the end to the beginning.
            pub bidirectional: bool,
            $($(#[$own_doc])* pub $own: $ty,)*
        }

        impl Default for $options {
            fn default() -> $options {
                $options {
                    num_layers: 1,
                    bias: true,
                    batch_first: false,
                    dropout: 0.0,
                    bidirectional: false,
                    $($own: $default,)*
                }
            }
        }
    )* };
}
options! {
    /// Options of [`Rnn`]; the defaults are PyTorch's.
    RnnOptions {
        /// What a cell does with the sum of its products.
        nonlinearity: Nonlinearity = Nonlinearity::Tanh
    }
    /// Options of [`Gru`]; the defaults are PyTorch's.
    GruOptions {}
    /// Options of [`Lstm`]; the defaults are PyTorch's.
    LstmOptions {
        /// The size to which states are projected, 0 for none.
        proj_size: usize = 0
    }
}

macro_rules! layers {
    ($($(#[$doc:meta])* $layer:ident $options:ident)*) => { $(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $layer {
            stack: Stack,
            options: $options,
        }

        impl $layer {
            /// A layer with the usual options.
            #[track_caller]
            pub fn new(input_size: usize, hidden_size: usize, target: impl Target) -> $layer {
                $layer::with(input_size, hidden_size, $options::default(), target)
            }

            /// A layer with options. Those that do not fit are errors of `forward`.
            #[track_caller]
            pub fn with(
                input_size: usize,
                hidden_size: usize,
                options: $options,
                target: impl Target,
            ) -> $layer {
                let size = Size {
                    input: input_size,
                    hidden: hidden_size,
                    projected: options.projected(),
                    layers: options.num_layers,
                    bidirectional: options.bidirectional,
                    batch_first: options.batch_first,
                    dropout: options.dropout,
                };
                let stack = Stack::new(options.kind(), size, options.bias, target);
                $layer { stack, options }
            }

            /// The options.
            pub fn options(&self) -> &$options {
                &self.options
            }
        }

        impl Module for $layer {
            fn visit(&self, visitor: &mut Visitor<'_>) {
                self.stack.visit(visitor);
            }

            fn visit_mut(&mut self, visitor: &mut VisitorMut<'_>) {
                self.stack.visit_mut(visitor);
            }

            fn description(&self) -> String {
                self.to_string()
            }
        }

        impl fmt::Display for $layer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}", stringify!($layer), self.stack)?;
                f.write_str(if self.options.bias { ")" } else { ", bias=false)" })
            }
        }

        impl fmt::Debug for $layer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        /// The states of the last layer at each step, alone.
        impl Forward for $layer {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                Ok($layer::forward(self, x)?.0)
            }
        }
    )* };
}
layers! {
    /// Layers of plain recurrent cells over a sequence, as `torch.nn.RNN`:
    /// `h' = tanh(x W_ih^T + b_ih + h W_hh^T + b_hh)`.
    ///
    /// Of `[time, batch, input_size]` (or without a batch, or with the batch first)
    /// `[time, batch, hidden_size]`, twice as wide in both directions. Parameters are
    /// `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, those of the other direction end in
    /// `_reverse`; all are uniform within `1 / sqrt(hidden_size)`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let rnn = nn::Rnn::new(4, 8, &dev);
    /// let (y, h) = rnn.forward(&Tensor::randn([5, 2, 4], &dev))?;
    /// assert_eq!((y.shape()?, h.shape()?), ([5, 2, 8].into(), [1, 2, 8].into()));
    /// # Ok::<(), Error>(())
    /// ```
    Rnn RnnOptions
    /// Layers of GRU cells over a sequence, as `torch.nn.GRU`
    /// ([Cho et al. 2014](https://arxiv.org/abs/1406.1078)):
    ///
    /// ```text
    /// r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)        h' = (1 - z) n + z h
    /// z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
    /// n = tanh(W_in x + b_in + r (W_hn h + b_hn))
    /// ```
    ///
    /// Shapes, names and first values are those of [`Rnn`], with `3 hidden_size` rows of weights.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let options = nn::GruOptions { bidirectional: true, batch_first: true, ..Default::default() };
    /// let gru = nn::Gru::with(4, 8, options, &dev);
    /// let (y, h) = gru.forward(&Tensor::randn([2, 5, 4], &dev))?;
    /// assert_eq!((y.shape()?, h.shape()?), ([2, 5, 16].into(), [2, 2, 8].into()));
    /// # Ok::<(), Error>(())
    /// ```
    Gru GruOptions
    /// Layers of LSTM cells over a sequence, as `torch.nn.LSTM`
    /// ([Hochreiter and Schmidhuber 1997](https://doi.org/10.1162/neco.1997.9.8.1735)):
    ///
    /// ```text
    /// [i, f, g, o] = x W_ih^T + b_ih + h W_hh^T + b_hh
    /// c' = sigmoid(f) c + sigmoid(i) tanh(g)            h' = sigmoid(o) tanh(c')
    /// ```
    ///
    /// Shapes, names and first values are those of [`Rnn`], with `4 hidden_size` rows of weights.
    /// With `proj_size`, `h'` is multiplied by `weight_hr_l0`
    /// ([Sak et al. 2014](https://arxiv.org/abs/1402.1128)).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let lstm = nn::Lstm::new(4, 8, &dev);
    /// let x = Tensor::randn([5, 2, 4], &dev);
    /// let (y, (h, c)) = lstm.forward(&x)?;
    /// assert_eq!(y.shape()?, [5, 2, 8]);
    /// let (_, (h, c)) = lstm.forward_from(&x, (&h, &c))?; // goes on
    /// assert_eq!((h.shape()?, c.shape()?), ([1, 2, 8].into(), [1, 2, 8].into()));
    ///
    /// // In a sequence of layers it gives `y`.
    /// let model = nn::Sequential::from((lstm, nn::Linear::new(8, 1, &dev)));
    /// assert_eq!(model.forward(&x)?.shape()?, [5, 2, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    Lstm LstmOptions
}

impl RnnOptions {
    fn kind(&self) -> Kind {
        match self.nonlinearity {
            Nonlinearity::Tanh => Kind::Tanh,
            Nonlinearity::Relu => Kind::Relu,
        }
    }

    fn projected(&self) -> Option<usize> {
        None
    }
}

impl GruOptions {
    fn kind(&self) -> Kind {
        Kind::Gru
    }

    fn projected(&self) -> Option<usize> {
        None
    }
}

impl LstmOptions {
    fn kind(&self) -> Kind {
        Kind::Lstm
    }

    fn projected(&self) -> Option<usize> {
        (self.proj_size > 0).then_some(self.proj_size)
    }
}

macro_rules! with_one_state {
    ($($layer:ident)*) => { $(
        impl $layer {
            /// The states of the last layer at each step, and the last states of all layers,
            /// `[layers, batch, hidden_size]` (with both directions one after the other), from zeros.
            ///
            /// # Errors
            /// What does not fit.
            #[track_caller]
            pub fn forward(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
                hooks::counted(self, x, |x, _| self.stack.multiply_adds(x), |x| {
                    let [h] = self.stack.zeros(x)?;
                    self.stack.plain(x, &h)
                })
            }

            /// [`forward`](Self::forward) from the states `h`.
            ///
            /// # Errors
            /// What does not fit.
            #[track_caller]
            pub fn forward_from(&self, x: &Tensor, h: &Tensor) -> Result<(Tensor, Tensor)> {
                hooks::counted(self, x, |x, _| self.stack.multiply_adds(x), |x| self.stack.plain(x, h))
            }
        }
    )* };
}
with_one_state!(Rnn Gru);

impl Lstm {
    /// The states of the last layer at each step, and the last states and cells of all layers,
    /// `[layers, batch, hidden_size]` (with both directions one after the other), from zeros.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Result<(Tensor, (Tensor, Tensor))> {
        hooks::counted(
            self,
            x,
            |x, _| self.stack.multiply_adds(x),
            |x| {
                let [h, c] = self.stack.zeros(x)?;
                self.stack.lstm(x, &h, &c)
            },
        )
    }

    /// [`forward`](Self::forward) from the states `h` and the cells `c`.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward_from(
        &self,
        x: &Tensor,
        (h, c): (&Tensor, &Tensor),
    ) -> Result<(Tensor, (Tensor, Tensor))> {
        hooks::counted(
            self,
            x,
            |x, _| self.stack.multiply_adds(x),
            |x| self.stack.lstm(x, h, c),
        )
    }
}
