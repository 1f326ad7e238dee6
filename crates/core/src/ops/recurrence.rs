//! Recurrent cells, and layers of them over sequences.

mod operation;
mod sequence;

pub use operation::{Recurrence, RecurrenceGrad};
pub use sequence::{CellWeights, RecurrenceOptions};

use crate::tensor::Tensor;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

/// A kind of cell.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cell {
    /// That of [`Tensor::rnn_tanh_cell`].
    Tanh,
    /// That of [`Tensor::rnn_relu_cell`].
    Relu,
    /// That of [`Tensor::gru_cell`].
    Gru,
    /// That of [`Tensor::lstm_cell`].
    Lstm,
}

impl Cell {
    /// Torch's name of the cell and of the layer.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Cell::Tanh => ("rnn_tanh_cell", "rnn_tanh"),
            Cell::Relu => ("rnn_relu_cell", "rnn_relu"),
            Cell::Gru => ("gru_cell", "gru"),
            Cell::Lstm => ("lstm_cell", "lstm"),
        }
    }

    /// How many rows of weights each element of the state has.
    pub const fn gates(self) -> usize {
        match self {
            Cell::Tanh | Cell::Relu => 1,
            Cell::Gru => 3,
            Cell::Lstm => 4,
        }
    }

    /// How many numbers of each element of the state the gradient looks at beside the states: an LSTM's
    /// `[i, f, g, o]`; a GRU's gates `[r, u, n]` and the part of `n` that the state gives, before it is multiplied
    /// by `r`.
    pub const fn kept(self) -> usize {
        match self {
            Cell::Tanh | Cell::Relu => 0,
            Cell::Gru | Cell::Lstm => 4,
        }
    }

    /// How many tensors a state is: the hidden one, and for an LSTM the cells.
    pub const fn parts(self) -> usize {
        match self {
            Cell::Lstm => 2,
            _ => 1,
        }
    }

    /// The next state, of what the input gives (with both biases but for a GRU), and of the state; and what
    /// [`Cell::kept`] counts.
    fn step(
        self,
        input: &Tensor,
        state: &State,
        weights: &Recurrent<'_>,
    ) -> Result<(State, Vec<Tensor>)> {
        let size = state.h.shape()?.last().copied().unwrap_or(0);
        let own = state.h.linear(weights.weight, weights.bias);
        let part = |of: &Tensor, i: usize| of.narrow(-1, i * size, size);
        let (h, kept) = match self {
            Cell::Tanh => ((own + input).tanh(), Vec::new()),
            Cell::Relu => ((own + input).relu(), Vec::new()),
            Cell::Gru => {
                let gate = |i: usize| (part(input, i) + part(&own, i)).sigmoid();
                let (reset, update, own) = (gate(0), gate(1), part(&own, 2));
                let new = (part(input, 2) + &reset * &own).tanh();
                let h = (1.0 - &update) * &new + &update * &state.h;
                (h, vec![reset, update, new, own])
            }
            Cell::Lstm => {
                let Some(c) = &state.c else {
                    return Err(Error::Device("a state without cells".into()));
                };
                let gates = own + input;
                let gate = |i: usize| part(&gates, i).sigmoid();
                let (forget, enter, new) = (gate(1), gate(0), part(&gates, 2).tanh());
                let c = &forget * c + &enter * &new;
                let leave = gate(3);
                let h = &leave * c.tanh();
                return Ok((State { h, c: Some(c) }, vec![enter, forget, new, leave]));
            }
        };
        Ok((State { h, c: None }, kept))
    }
}

/// The hidden state, and for an LSTM the cells.
#[derive(Clone)]
struct State {
    h: Tensor,
    c: Option<Tensor>,
}

/// What the state is multiplied by.
struct Recurrent<'a> {
    weight: &'a Tensor,
    bias: Option<&'a Tensor>,
}

impl Tensor {
    /// The next hidden state and cells of an LSTM, `torch.lstm_cell`, for an input `[.., in]`, a state `h` and
    /// cells `c` of `[.., size]`, weights `[4 size, in]` and `[4 size, size]` and biases `[4 size]`. With
    /// `[i, f, g, o] = x w_ih^T + b_ih + h w_hh^T + b_hh`:
    ///
    /// `c' = sigmoid(f) c + sigmoid(i) tanh(g)`, `h' = sigmoid(o) tanh(c')`.
    ///
    /// Two products, whose sum is the second one's, and one kernel of all that is elementwise.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (x, h) = (Tensor::zeros([1, 3], &dev), Tensor::zeros([1, 2], &dev));
    /// let c = Tensor::new([[1.0, 2.0]], &dev);
    /// let (w_ih, w_hh) = (Tensor::zeros([8, 3], &dev), Tensor::zeros([8, 2], &dev));
    /// let (h, c) = x.lstm_cell(&h, &c, &w_ih, &w_hh, None, None);
    /// assert_eq!(c.to_vec::<f32>()?, [0.5, 1.0]); // half of it is forgotten
    /// assert_eq!(h.shape()?, [1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Shapes that do not fit give failed tensors.
    #[track_caller]
    pub fn lstm_cell(
        &self,
        h: &Tensor,
        c: &Tensor,
        w_ih: &Tensor,
        w_hh: &Tensor,
        b_ih: Option<&Tensor>,
        b_hh: Option<&Tensor>,
    ) -> (Tensor, Tensor) {
        let state = (h, Some(c));
        let made = cell(
            Cell::Lstm,
            self,
            state,
            (w_ih, b_ih),
            (w_hh, b_hh),
            Place::caller(),
        );
        let made = made.and_then(|state| match state.c {
            Some(c) => Ok((state.h, c)),
            None => Err(Error::Device("a state without cells".into())),
        });
        made.unwrap_or_else(|error| {
            let failed = Tensor::fail(self.device(), error);
            (failed.clone(), failed)
        })
    }

    /// The next hidden state of a GRU, `torch.gru_cell`, for an input `[.., in]`, a state `h` of `[.., size]`,
    /// weights `[3 size, in]` and `[3 size, size]` and biases `[3 size]`. With `[r, z, n] = x w_ih^T + b_ih` and
    /// `[r', z', n'] = h w_hh^T + b_hh`, `u = sigmoid(z + z')`:
    ///
    /// `h' = (1 - u) tanh(n + sigmoid(r + r') n') + u h`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (x, h) = (Tensor::zeros([1, 3], &dev), Tensor::new([[1.0, 2.0]], &dev));
    /// let (w_ih, w_hh) = (Tensor::zeros([6, 3], &dev), Tensor::zeros([6, 2], &dev));
    /// let h = x.gru_cell(&h, &w_ih, &w_hh, None, None);
    /// assert_eq!(h.to_vec::<f32>()?, [0.5, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Shapes that do not fit give a failed tensor.
    #[track_caller]
    pub fn gru_cell(
        &self,
        h: &Tensor,
        w_ih: &Tensor,
        w_hh: &Tensor,
        b_ih: Option<&Tensor>,
        b_hh: Option<&Tensor>,
    ) -> Tensor {
        let place = Place::caller();
        hidden(
            self,
            cell(
                Cell::Gru,
                self,
                (h, None),
                (w_ih, b_ih),
                (w_hh, b_hh),
                place,
            ),
        )
    }

    /// The next hidden state of a plain recurrent cell, `torch.rnn_tanh_cell`:
    /// `h' = tanh(x w_ih^T + b_ih + h w_hh^T + b_hh)`, for an input `[.., in]`, a state `h` of `[.., size]`,
    /// weights `[size, in]` and `[size, size]` and biases `[size]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (x, h) = (Tensor::new([[0.5]], &dev), Tensor::new([[2.0]], &dev));
    /// let h = x.rnn_tanh_cell(&h, &Tensor::new([[2.0]], &dev), &Tensor::new([[-0.5]], &dev), None, None);
    /// assert_eq!(h.to_vec::<f32>()?, [0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Shapes that do not fit give a failed tensor.
    #[track_caller]
    pub fn rnn_tanh_cell(
        &self,
        h: &Tensor,
        w_ih: &Tensor,
        w_hh: &Tensor,
        b_ih: Option<&Tensor>,
        b_hh: Option<&Tensor>,
    ) -> Tensor {
        let place = Place::caller();
        hidden(
            self,
            cell(
                Cell::Tanh,
                self,
                (h, None),
                (w_ih, b_ih),
                (w_hh, b_hh),
                place,
            ),
        )
    }

    /// [`Tensor::rnn_tanh_cell`] with `max(x, 0)` in place of the hyperbolic tangent, `torch.rnn_relu_cell`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (x, h) = (Tensor::new([[0.5]], &dev), Tensor::new([[2.0]], &dev));
    /// let h = x.rnn_relu_cell(&h, &Tensor::new([[2.0]], &dev), &Tensor::new([[1.0]], &dev), None, None);
    /// assert_eq!(h.to_vec::<f32>()?, [3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn rnn_relu_cell(
        &self,
        h: &Tensor,
        w_ih: &Tensor,
        w_hh: &Tensor,
        b_ih: Option<&Tensor>,
        b_hh: Option<&Tensor>,
    ) -> Tensor {
        let place = Place::caller();
        hidden(
            self,
            cell(
                Cell::Relu,
                self,
                (h, None),
                (w_ih, b_ih),
                (w_hh, b_hh),
                place,
            ),
        )
    }
}

fn hidden(x: &Tensor, made: Result<State>) -> Tensor {
    Tensor::or_fail(x.device(), made.map(|state| state.h))
}

fn cell(
    cell: Cell,
    x: &Tensor,
    (h, c): (&Tensor, Option<&Tensor>),
    (w_ih, b_ih): (&Tensor, Option<&Tensor>),
    (w_hh, b_hh): (&Tensor, Option<&Tensor>),
    place: Place,
) -> Result<State> {
    let narrow = |x: &Tensor| x.narrowed(place);
    let [x, h, w_ih, w_hh] = &[x, h, w_ih, w_hh].map(narrow);
    let [c, b_ih, b_hh] = &[c, b_ih, b_hh].map(|x| x.map(narrow));
    let [c, b_ih, b_hh] = [c, b_ih, b_hh].map(Option::as_ref);
    place.within(|| {
        let (input, state) = (x.shape()?, h.shape()?);
        let lead = |shape: &Shape| shape[..shape.rank().saturating_sub(1)].to_vec();
        let fits =
            input.rank() >= 1 && state.rank() == input.rank() && lead(&input) == lead(&state);
        let cells = c.map(Tensor::shape).transpose()?;
        if !fits || cells.as_ref().is_some_and(|cells| *cells != state) {
            let problem = match cells {
                Some(cells) if fits => format!("cells of shape {cells}, not {state}, the state's"),
                _ => format!(
                    "an input of shape {input} for a state of shape {state}: all dimensions but the last must agree"
                ),
            };
            return Err(Error::shape(cell.names().0, place, problem));
        }
        check(cell, cell.names().0, &input, (w_ih, w_hh), [b_ih, b_hh], place)?;
        let size = w_hh.shape()?[1];
        if state[state.rank() - 1] != size {
            let problem = format!(
                "a state of shape {state}, whose last dimension must be {size} for weights of {}",
                w_hh.shape()?
            );
            return Err(Error::shape(cell.names().0, place, problem));
        }
        let input = x.linear(w_ih, b_ih);
        let state = State {
            h: h.clone(),
            c: c.cloned(),
        };
        let recurrent = Recurrent {
            weight: w_hh,
            bias: b_hh,
        };
        Ok(cell.step(&input, &state, &recurrent)?.0)
    })
}

/// Checks the weights' and the biases' shapes, and that of the input.
fn check(
    cell: Cell,
    name: &'static str,
    x: &Shape,
    (w_ih, w_hh): (&Tensor, &Tensor),
    biases: [Option<&Tensor>; 2],
    place: Place,
) -> Result<()> {
    let (input, state) = (w_ih.shape()?, w_hh.shape()?);
    let fits = state.rank() == 2
        && input.rank() == 2
        && state[0] == cell.gates() * state[1]
        && input[0] == state[0];
    if !fits {
        let gates = cell.gates();
        let problem = format!(
            "weights of shapes {input} and {state}, which must be [{gates} size, input] and [{gates} size, size]"
        );
        return Err(Error::shape(name, place, problem));
    }
    if x.last() != Some(&input[1]) {
        let problem = format!(
            "an input of shape {x}, whose last dimension must be {} for weights of shapes {input} and {state}",
            input[1]
        );
        return Err(Error::shape(name, place, problem));
    }
    for bias in biases.into_iter().flatten() {
        if *bias.shape()? != [state[0]] {
            let problem = format!(
                "a bias of shape {}, not [{}], for weights of shapes {input} and {state}",
                bias.shape()?,
                state[0]
            );
            return Err(Error::shape(name, place, problem));
        }
    }
    Ok(())
}
