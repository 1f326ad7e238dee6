//! Single recurrent cells.

use std::fmt;

use wgrad_core::{Result, Shape, Target, Tensor};
use wgrad_derive::Module;

use super::Nonlinearity;
use super::stack::Kind;
use crate::hooks;
use crate::init;

macro_rules! cells {
    ($($(#[$doc:meta])* $cell:ident $kind:ident $rows:literal { $($own:ident: $ty:ty)? })*) => { $(
        $(#[$doc])*
        #[derive(Module, Clone, Debug)]
        #[module(crate = crate, display)]
        pub struct $cell {
            #[doc = concat!("`[", $rows, ", input_size]`.")]
            pub weight_ih: Tensor,
            #[doc = concat!("`[", $rows, ", hidden_size]`.")]
            pub weight_hh: Tensor,
            #[doc = concat!("`[", $rows, "]`.")]
            pub bias_ih: Option<Tensor>,
            #[doc = concat!("`[", $rows, "]`.")]
            pub bias_hh: Option<Tensor>,
            #[module(skip)]
            input_size: usize,
            #[module(skip)]
            hidden_size: usize,
            $(#[module(skip)] $own: $ty,)?
        }

        impl $cell {
            #[track_caller]
            fn drawn(
                input_size: usize,
                hidden_size: usize,
                bias: bool,
                $($own: $ty,)?
                target: impl Target,
            ) -> $cell {
                let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
                let bound = init::bound(hidden_size);
                let rows = Kind::$kind.gates().saturating_mul(hidden_size);
                let draw = |shape: Shape| {
                    init::uniform(shape, -bound, bound, target).requires_grad()
                };
                $cell {
                    weight_ih: draw([rows, input_size].into()),
                    weight_hh: draw([rows, hidden_size].into()),
                    bias_ih: bias.then(|| draw([rows].into())),
                    bias_hh: bias.then(|| draw([rows].into())),
                    input_size,
                    hidden_size,
                    $($own,)?
                }
            }

            /// Zeros to begin from.
            #[track_caller]
            fn zeros(&self, x: &Tensor) -> Result<Tensor> {
                let shape = x.shape()?;
                let batch = shape.iter().copied().take(shape.rank().saturating_sub(1));
                let shape: Shape = batch.chain([self.hidden_size]).collect();
                Ok(Tensor::zeros(shape, (x.dtype()?, x.device())))
            }

            fn multiply_adds(&self, x: &Shape) -> usize {
                let weights = [&self.weight_ih, &self.weight_hh];
                let numbers: usize = weights.iter().map(|w| w.numel().unwrap_or(0)).sum();
                let batch = x.numel().checked_div(self.input_size).unwrap_or(0);
                batch.saturating_mul(numbers)
            }
        }
    )* };
}
cells! {
    /// A plain recurrent cell, as `torch.nn.RNNCell`:
    /// `h' = tanh(x W_ih^T + b_ih + h W_hh^T + b_hh)` for `[batch, input_size]` or `[input_size]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let cell = nn::RnnCell::new(4, 3, &dev);
    /// let x = Tensor::randn([2, 4], &dev);
    /// let h = cell.forward(&x)?;
    /// assert_eq!(cell.forward_from(&x, &h)?.shape()?, [2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    RnnCell Tanh "hidden_size" { nonlinearity: Nonlinearity }
    /// A GRU cell, as `torch.nn.GRUCell`: a step of [`Gru`](crate::Gru) for `[batch, input_size]` or
    /// `[input_size]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let cell = nn::GruCell::new(4, 3, &dev);
    /// let x = Tensor::randn([2, 4], &dev);
    /// let h = cell.forward(&x)?;
    /// assert_eq!(cell.forward_from(&x, &h)?.shape()?, [2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    GruCell Gru "3 hidden_size" {}
    /// An LSTM cell, as `torch.nn.LSTMCell`: a step of [`Lstm`](crate::Lstm) for
    /// `[batch, input_size]` or `[input_size]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let cell = nn::LstmCell::new(4, 3, &dev);
    /// let x = Tensor::randn([2, 4], &dev);
    /// let (h, c) = cell.forward(&x)?;
    /// let (h, _) = cell.forward_from(&x, (&h, &c))?;
    /// assert_eq!(h.shape()?, [2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    LstmCell Lstm "4 hidden_size" {}
}

impl RnnCell {
    /// A cell with biases, of the hyperbolic tangent.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize, target: impl Target) -> RnnCell {
        RnnCell::with(input_size, hidden_size, true, Nonlinearity::Tanh, target)
    }

    /// A cell with or without biases, and with another function.
    #[track_caller]
    pub fn with(
        input_size: usize,
        hidden_size: usize,
        bias: bool,
        nonlinearity: Nonlinearity,
        target: impl Target,
    ) -> RnnCell {
        RnnCell::drawn(input_size, hidden_size, bias, nonlinearity, target)
    }

    /// The next state, from zeros.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_from(x, &self.zeros(x)?)
    }

    /// The next state, from the state `h`.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward_from(&self, x: &Tensor, h: &Tensor) -> Result<Tensor> {
        let (w_ih, w_hh) = (&self.weight_ih, &self.weight_hh);
        let (b_ih, b_hh) = (self.bias_ih.as_ref(), self.bias_hh.as_ref());
        hooks::counted(
            self,
            x,
            |x, _| self.multiply_adds(x),
            |x| {
                let h = match self.nonlinearity {
                    Nonlinearity::Tanh => x.rnn_tanh_cell(h, w_ih, w_hh, b_ih, b_hh),
                    Nonlinearity::Relu => x.rnn_relu_cell(h, w_ih, w_hh, b_ih, b_hh),
                };
                h.checked()
            },
        )
    }
}

macro_rules! usual_constructors {
    ($($cell:ident)*) => { $(
        impl $cell {
            /// A cell with biases.
            #[track_caller]
            pub fn new(input_size: usize, hidden_size: usize, target: impl Target) -> $cell {
                $cell::drawn(input_size, hidden_size, true, target)
            }

            /// A cell without biases.
            #[track_caller]
            pub fn without_bias(input_size: usize, hidden_size: usize, target: impl Target) -> $cell {
                $cell::drawn(input_size, hidden_size, false, target)
            }
        }
    )* };
}
usual_constructors!(GruCell LstmCell);

impl GruCell {
    /// The next state, from zeros.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_from(x, &self.zeros(x)?)
    }

    /// The next state, from the state `h`.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward_from(&self, x: &Tensor, h: &Tensor) -> Result<Tensor> {
        let (b_ih, b_hh) = (self.bias_ih.as_ref(), self.bias_hh.as_ref());
        hooks::counted(
            self,
            x,
            |x, _| self.multiply_adds(x),
            |x| {
                x.gru_cell(h, &self.weight_ih, &self.weight_hh, b_ih, b_hh)
                    .checked()
            },
        )
    }
}

impl LstmCell {
    /// The next state and cells, from zeros.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let zeros = self.zeros(x)?;
        self.forward_from(x, (&zeros, &zeros))
    }

    /// The next state and cells, from the state `h` and the cells `c`.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward_from(&self, x: &Tensor, (h, c): (&Tensor, &Tensor)) -> Result<(Tensor, Tensor)> {
        let (b_ih, b_hh) = (self.bias_ih.as_ref(), self.bias_hh.as_ref());
        hooks::counted(
            self,
            x,
            |x, _| self.multiply_adds(x),
            |x| {
                let (h, c) = x.lstm_cell(h, c, &self.weight_ih, &self.weight_hh, b_ih, b_hh);
                Ok((h.checked()?, c.checked()?))
            },
        )
    }
}

macro_rules! printed {
    ($($cell:ident)*) => { $(
        impl fmt::Display for $cell {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (name, input, hidden) = (stringify!($cell), self.input_size, self.hidden_size);
                let bias = if self.bias_ih.is_some() { "" } else { ", bias=false" };
                write!(f, "{name}({input}, {hidden}{bias})")
            }
        }
    )* };
}
printed!(GruCell LstmCell);

impl fmt::Display for RnnCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RnnCell({}, {}", self.input_size, self.hidden_size)?;
        f.write_str(if self.bias_ih.is_some() {
            ""
        } else {
            ", bias=false"
        })?;
        f.write_str(match self.nonlinearity {
            Nonlinearity::Tanh => ")",
            Nonlinearity::Relu => ", nonlinearity=relu)",
        })
    }
}
