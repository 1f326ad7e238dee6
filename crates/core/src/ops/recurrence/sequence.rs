//! Layers of recurrent cells over sequences.

use super::{Cell, Recurrence, Recurrent, State, check};
use crate::tensor::Tensor;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

/// The weights of the cells of a layer, in one direction.
#[derive(Clone)]
pub struct CellWeights {
    /// `[gates size, in]`; in deeper layers `in` is the size of the state, or twice that with both directions.
    pub w_ih: Tensor,
    /// `[gates size, size]`.
    pub w_hh: Tensor,
    /// `[gates size]`.
    pub b_ih: Option<Tensor>,
    /// `[gates size]`.
    pub b_hh: Option<Tensor>,
}

impl CellWeights {
    fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> CellWeights {
        CellWeights {
            w_ih: f(&self.w_ih),
            w_hh: f(&self.w_hh),
            b_ih: self.b_ih.as_ref().map(&f),
            b_hh: self.b_hh.as_ref().map(&f),
        }
    }
}

/// Options of [`Tensor::lstm`] and its like.
#[derive(Clone, Default)]
pub struct RecurrenceOptions {
    /// Whether sequences are `[batch, time, ..]` instead of `[time, batch, ..]`.
    pub batch_first: bool,
    /// Whether each layer also has cells that go from the end to the beginning; their weights come behind those
    /// of the others, layer by layer.
    pub bidirectional: bool,
    /// The probability with which elements between layers become 0 (the others grow by `1 / (1 - dropout)`).
    pub dropout: f64,
}

impl Tensor {
    /// Layers of LSTM cells (see [`Tensor::lstm_cell`]) over a sequence, `torch.lstm`: for an input `[time, batch,
    /// in]` (or `[time, in]`), first states `h` and `c` of `[layers, batch, size]` and the weights of each layer,
    /// the last layer's states `[time, batch, size]`, and the last states of all layers.
    ///
    /// The input's products of all steps are one. On the CPU, in `f32` and `f64`, the rest of them is one kernel for the
    /// whole sequence, and one for its gradient; elsewhere a step is a product and a kernel of what is elementwise.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::{CellWeights, RecurrenceOptions};
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::randn([7, 2, 3], &dev);
    /// let state = Tensor::zeros([1, 2, 4], &dev);
    /// let layer = CellWeights {
    ///     w_ih: Tensor::randn([16, 3], &dev),
    ///     w_hh: Tensor::randn([16, 4], &dev),
    ///     b_ih: None,
    ///     b_hh: None,
    /// };
    /// let (y, h, _) = x.lstm(&state, &state, &[layer], RecurrenceOptions::default());
    /// assert_eq!(y.shape()?, [7, 2, 4]);
    /// assert_eq!(y.select(0, 6).to_vec::<f32>()?, h.select(0, 0).to_vec::<f32>()?);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Shapes that do not fit, no steps and no layers give failed tensors.
    #[track_caller]
    pub fn lstm(
        &self,
        h: &Tensor,
        c: &Tensor,
        layers: &[CellWeights],
        options: RecurrenceOptions,
    ) -> (Tensor, Tensor, Tensor) {
        let made = layered(
            Cell::Lstm,
            self,
            (h, Some(c)),
            layers,
            &options,
            Place::caller(),
        );
        let made = made.and_then(|(y, state)| match state.c {
            Some(c) => Ok((y, state.h, c)),
            None => Err(Error::Device("a state without cells".into())),
        });
        made.unwrap_or_else(|error| {
            let failed = Tensor::fail(self.device(), error);
            (failed.clone(), failed.clone(), failed)
        })
    }

    /// Layers of GRU cells (see [`Tensor::gru_cell`]) over a sequence, `torch.gru`: of [`Tensor::lstm`]'s shapes,
    /// the last layer's states and the last states of all layers.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::{CellWeights, RecurrenceOptions};
    /// # let dev = wgrad::cpu();
    /// let layer = CellWeights {
    ///     w_ih: Tensor::zeros([6, 3], &dev),
    ///     w_hh: Tensor::zeros([6, 2], &dev),
    ///     b_ih: None,
    ///     b_hh: None,
    /// };
    /// let (x, h) = (Tensor::ones([2, 1, 3], &dev), Tensor::ones([1, 1, 2], &dev));
    /// let (y, _) = x.gru(&h, &[layer], RecurrenceOptions::default());
    /// assert_eq!(y.to_vec::<f32>()?, [0.5, 0.5, 0.25, 0.25]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn gru(
        &self,
        h: &Tensor,
        layers: &[CellWeights],
        options: RecurrenceOptions,
    ) -> (Tensor, Tensor) {
        self.plain(Cell::Gru, h, layers, &options, Place::caller())
    }

    /// Layers of plain recurrent cells (see [`Tensor::rnn_tanh_cell`]) over a sequence, `torch.rnn_tanh`: of
    /// [`Tensor::lstm`]'s shapes, the last layer's states and the last states of all layers.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::{CellWeights, RecurrenceOptions};
    /// # let dev = wgrad::cpu();
    /// let one = Tensor::ones([1, 1], &dev);
    /// let layer = CellWeights { w_ih: one.clone(), w_hh: one, b_ih: None, b_hh: None };
    /// let (x, h) = (Tensor::zeros([2, 1, 1], &dev), Tensor::zeros([1, 1, 1], &dev));
    /// let (y, _) = x.rnn_tanh(&h, &[layer], RecurrenceOptions::default());
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn rnn_tanh(
        &self,
        h: &Tensor,
        layers: &[CellWeights],
        options: RecurrenceOptions,
    ) -> (Tensor, Tensor) {
        self.plain(Cell::Tanh, h, layers, &options, Place::caller())
    }

    /// [`Tensor::rnn_tanh`] of [`Tensor::rnn_relu_cell`], `torch.rnn_relu`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::{CellWeights, RecurrenceOptions};
    /// # let dev = wgrad::cpu();
    /// let one = Tensor::ones([1, 1], &dev);
    /// let layer = CellWeights { w_ih: one.clone(), w_hh: one, b_ih: None, b_hh: None };
    /// let (x, h) = (Tensor::ones([3, 1, 1], &dev), Tensor::zeros([1, 1, 1], &dev));
    /// let (y, _) = x.rnn_relu(&h, &[layer], RecurrenceOptions::default());
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 3.0]); // running sums
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn rnn_relu(
        &self,
        h: &Tensor,
        layers: &[CellWeights],
        options: RecurrenceOptions,
    ) -> (Tensor, Tensor) {
        self.plain(Cell::Relu, h, layers, &options, Place::caller())
    }

    fn plain(
        &self,
        cell: Cell,
        h: &Tensor,
        layers: &[CellWeights],
        options: &RecurrenceOptions,
        place: Place,
    ) -> (Tensor, Tensor) {
        let made = layered(cell, self, (h, None), layers, options, place);
        let made = made.map(|(y, state)| (y, state.h));
        made.unwrap_or_else(|error| {
            let failed = Tensor::fail(self.device(), error);
            (failed.clone(), failed)
        })
    }
}

fn layered(
    cell: Cell,
    x: &Tensor,
    (h, c): (&Tensor, Option<&Tensor>),
    layers: &[CellWeights],
    options: &RecurrenceOptions,
    place: Place,
) -> Result<(Tensor, State)> {
    let narrow = |x: &Tensor| x.narrowed(place);
    let [x, h] = &[x, h].map(narrow);
    let c = &c.map(narrow);
    let c = c.as_ref();
    let layers: Vec<CellWeights> = layers.iter().map(|layer| layer.map(narrow)).collect();
    let layers = &layers[..];
    place.within(|| {
        let name = cell.names().1;
        let wrong = |problem: String| Err(Error::shape(name, place, problem));
        let (input, first) = (x.shape()?, h.shape()?);
        let directions = 1 + usize::from(options.bidirectional);
        let batched = input.rank() == 3;
        if !(2..=3).contains(&input.rank()) || first.rank() != input.rank() {
            return wrong(format!(
                "an input of shape {input} with a state of shape {first}: both must have two dimensions, or three with \
                 a batch"
            ));
        }
        if layers.is_empty() || !layers.len().is_multiple_of(directions) || first[0] != layers.len()
        {
            let problem = format!(
                "weights of {} layers and directions for a state of shape {first}: the state's first dimension must be \
                 their number, a multiple of {directions}",
                layers.len()
            );
            return wrong(problem);
        }
        if let Some(c) = c
            && c.shape()? != first
        {
            return wrong(format!(
                "cells of shape {}, not {first}, the state's",
                c.shape()?
            ));
        }
        if !(0.0..=1.0).contains(&options.dropout) {
            let problem = format!("dropout {} must be within 0 and 1", options.dropout);
            return Err(Error::value(name, place, problem));
        }
        let turned = options.batch_first && batched;
        let mut y = match turned {
            true => x.transpose(0, 1),
            false => x.clone(),
        };
        let steps = y.shape()?[0];
        let batch = Shape::from(&y.shape()?[1..input.rank() - 1]);
        if steps == 0 || first[1..first.rank() - 1] != batch[..] {
            let order = match (batched, turned) {
                (false, _) => "[steps, size]",
                (true, false) => "[steps, batch, size]",
                (true, true) => "[batch, steps, size]",
            };
            return wrong(format!(
                "an input of shape {input}, {order}, with a state of shape {first}: there must be a step, and one batch"
            ));
        }
        let (mut last_h, mut last_c) = (Vec::new(), Vec::new());
        for (layer, both) in layers.chunks(directions).enumerate() {
            if layer > 0 && options.dropout > 0.0 {
                y = dropped(&y, options.dropout)?;
            }
            let mut results = Vec::with_capacity(directions);
            for (direction, weights) in both.iter().enumerate() {
                let at = layer * directions + direction;
                let state = State {
                    h: h.select(0, at as isize),
                    c: c.map(|c| c.select(0, at as isize)),
                };
                let (of_steps, state) = sweep(cell, &y, state, weights, direction == 1, place)?;
                results.push(of_steps);
                last_h.push(state.h);
                last_c.extend(state.c);
            }
            y = match results.len() {
                1 => results.remove(0),
                _ => Tensor::cat(&results, -1),
            };
        }
        let y = if turned { y.transpose(0, 1) } else { y };
        let state = State {
            h: Tensor::stack(&last_h, 0),
            c: c.map(|_| Tensor::stack(&last_c, 0)),
        };
        Ok((y, state))
    })
}

fn dropped(y: &Tensor, p: f64) -> Result<Tensor> {
    let factor = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
    let kept = y.rand_like().ge(p).to_dtype(y.dtype()?);
    Ok(y * kept * factor)
}

/// One layer in one direction: the states of all steps, and the last.
fn sweep(
    cell: Cell,
    x: &Tensor,
    state: State,
    weights: &CellWeights,
    backwards: bool,
    place: Place,
) -> Result<(Tensor, State)> {
    let CellWeights {
        w_ih,
        w_hh,
        b_ih,
        b_hh,
    } = weights;
    let name = cell.names().1;
    check(
        cell,
        name,
        &x.shape()?,
        (w_ih, w_hh),
        [b_ih.as_ref(), b_hh.as_ref()],
        place,
    )?;
    let size = state.h.shape()?.last().copied().unwrap_or(0);
    if size != w_hh.shape()?[1] {
        let problem = format!(
            "a state of shape {}, whose last dimension ({size}) must be that of the weights of shape {}",
            state.h.shape()?,
            w_hh.shape()?
        );
        return Err(Error::shape(name, place, problem));
    }
    // A GRU multiplies a part of what the state gives, its bias included.
    let own = (cell == Cell::Gru).then_some(b_hh.as_ref()).flatten();
    let both = match (b_ih, b_hh) {
        (Some(a), Some(b)) if cell != Cell::Gru => Some(a + b),
        (None, Some(b)) if cell != Cell::Gru => Some(b.clone()),
        _ => b_ih.clone(),
    };
    let batched = x.shape()?.rank() == 3;
    // One sequence is a batch of one.
    let whole = |x: Tensor, dim: isize| if batched { x } else { x.unsqueeze(dim) };
    let input = whole(x.linear(w_ih, both.as_ref()), 1);
    let first = State {
        h: whole(state.h, 0),
        c: state.c.map(|c| whole(c, 0)),
    };
    let recurrent = Recurrent {
        weight: w_hh,
        bias: own,
    };
    let recurrence = Recurrence {
        cell,
        reverse: backwards,
    };
    let (states, last) = recurrence.of(&input, first, &recurrent, place)?;
    // Of a batch of one, the sequence.
    let alone = |x: Tensor, dim: isize| if batched { x } else { x.squeeze(dim) };
    let last = State {
        h: alone(last.h, 0),
        c: last.c.map(|c| alone(c, 0)),
    };
    Ok((alone(states, 1), last))
}
