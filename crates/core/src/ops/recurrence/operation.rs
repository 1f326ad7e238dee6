//! A layer's way through a sequence and its gradient as structured operations.

use super::{Cell, Recurrent, State};
use crate::operation::{AnyOperation, Derivative, Operation, Spec, apply, apply_part};
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

/// Cells over a sequence: of what the inputs give, `[time, batch, gates size]` with their biases, the first states
/// `[parts, batch, size]`, the weights `[gates size, size]` and for a GRU perhaps a bias `[gates size]`, which is added
/// to what the states give. An LSTM's states have two parts, the hidden one and the cells.
///
/// The results are what the gradient wants beside the states ([`Cell::kept`], `[time, batch, kept size]`), and the
/// states `[parts, time, batch, size]`. Of `f32` or `f64`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Recurrence {
    /// The kind of cell.
    pub cell: Cell,
    /// Whether it goes from the end to the beginning.
    pub reverse: bool,
}

/// Sizes of the operands of both operations.
struct Sizes {
    steps: usize,
    batch: usize,
    size: usize,
}

impl Sizes {
    fn states(&self, cell: Cell) -> [usize; 4] {
        [cell.parts(), self.steps, self.batch, self.size]
    }

    fn first(&self, cell: Cell) -> [usize; 3] {
        [cell.parts(), self.batch, self.size]
    }

    fn weights(&self, cell: Cell) -> [usize; 2] {
        [cell.gates() * self.size, self.size]
    }

    fn by_step(&self, count: usize) -> [usize; 3] {
        [self.steps, self.batch, count * self.size]
    }
}

/// Elements of every step, in the order in which the steps are taken.
fn steps(reverse: bool, count: usize) -> impl DoubleEndedIterator<Item = usize> {
    (0..count).map(move |i| if reverse { count - 1 - i } else { i })
}

fn at(x: &Tensor, i: usize) -> Tensor {
    x.select(0, i as isize)
}

impl Recurrence {
    /// The number of the result that holds what is kept.
    pub const KEPT: usize = 0;
    /// The number of the result that holds the states.
    pub const STATES: usize = 1;

    /// The hidden states of all steps, `[time, batch, size]`, and the last state: by the kernel where there is one for
    /// such operands, else step by step.
    pub(super) fn of(
        self,
        input: &Tensor,
        first: State,
        weights: &Recurrent<'_>,
        place: Place,
    ) -> Result<(Tensor, State)> {
        let steps = input.shape()?[0];
        let last = if self.reverse { 0 } else { steps - 1 };
        let operation = AnyOperation::new(self.clone());
        let spec = |x: &Tensor| Ok::<_, Error>(Spec::new(x.shape()?, x.dtype()?));
        let state = spec(&first.h)?;
        let alike = match &first.c {
            Some(c) => spec(c)? == state,
            None => true,
        };
        let parts = std::iter::once(self.cell.parts()).chain(state.shape.iter().copied());
        let mut specs = vec![
            spec(input)?,
            Spec::new(parts.collect::<Vec<_>>(), state.dtype),
            spec(weights.weight)?,
        ];
        specs.extend(weights.bias.map(spec).transpose()?);
        // What has no kernel anywhere is no result: 16-bit floats, which are rounded at every step, and empty ones.
        let takes = alike && operation.results(&specs).is_ok();
        if !takes || !input.device().has_kernel(&operation, &specs) {
            let made = self.composed(input, first, weights)?;
            let state = made[last].0.clone();
            let hidden: Vec<Tensor> = made.into_iter().map(|(state, _)| state.h).collect();
            return Ok((Tensor::stack(&hidden, 0), state));
        }
        let parts: Vec<Tensor> = std::iter::once(first.h).chain(first.c).collect();
        let mut operands = vec![input.capture()?, Tensor::stack(&parts, 0).capture()?];
        operands.push(weights.weight.capture()?);
        operands.extend(weights.bias.map(Tensor::capture).transpose()?);
        let operands: Vec<&Value> = operands.iter().collect();
        let states = apply_part(operation, &operands, Self::STATES, place)?;
        let part = |i: usize| at(&states, i);
        let state = State {
            h: at(&part(0), last),
            c: (self.cell.parts() == 2).then(|| at(&part(1), last)),
        };
        Ok((part(0), state))
    }

    /// The state after each step and what is kept of it, in the order of time, in plain operations.
    fn composed(
        &self,
        input: &Tensor,
        mut state: State,
        weights: &Recurrent<'_>,
    ) -> Result<Vec<(State, Vec<Tensor>)>> {
        let count = input.shape()?[0];
        let mut made = Vec::with_capacity(count);
        for step in steps(self.reverse, count) {
            let kept;
            (state, kept) = self.cell.step(&at(input, step), &state, weights)?;
            made.push((state.clone(), kept));
        }
        if self.reverse {
            made.reverse();
        }
        Ok(made)
    }

    /// What is kept and the states, of [`Recurrence::composed`].
    fn together(&self, operands: &[Tensor]) -> Result<Vec<Tensor>> {
        let (input, first) = (&operands[0], &operands[1]);
        let state = State {
            h: at(first, 0),
            c: (self.cell.parts() == 2).then(|| at(first, 1)),
        };
        let weights = Recurrent {
            weight: &operands[2],
            bias: operands.get(3),
        };
        let made = self.composed(input, state, &weights)?;
        let stack = |tensors: Vec<Tensor>| Tensor::stack(&tensors, 0);
        let hidden = stack(made.iter().map(|(state, _)| state.h.clone()).collect());
        let cells: Vec<Tensor> = made
            .iter()
            .filter_map(|(state, _)| state.c.clone())
            .collect();
        let states = match cells.is_empty() {
            true => hidden.unsqueeze(0),
            false => stack(vec![hidden, stack(cells)]),
        };
        let shape = input.shape()?;
        let kept = match self.cell.kept() {
            0 => Tensor::zeros([shape[0], shape[1], 0], (input.dtype()?, input.device())),
            _ => stack(made.iter().map(|(_, kept)| Tensor::cat(kept, -1)).collect()),
        };
        Ok(vec![kept, states])
    }

    fn sizes(&self, operands: &[Spec]) -> std::result::Result<Sizes, String> {
        let cell = self.cell;
        let most = if cell == Cell::Gru { 4 } else { 3 };
        if !(3..=most).contains(&operands.len()) {
            return Err(format!("{} operands", operands.len()));
        }
        let (input, first, weights) = (&operands[0], &operands[1], &operands[2]);
        let wrong = || format!("inputs {input}, first states {first} and weights {weights}");
        let ([steps, batch, _], [_, size]) = (&input.shape[..], &weights.shape[..]) else {
            return Err(wrong());
        };
        let sizes = Sizes {
            steps: *steps,
            batch: *batch,
            size: *size,
        };
        let fits = input.shape[..] == sizes.by_step(cell.gates())
            && first.shape[..] == sizes.first(cell)
            && weights.shape[..] == sizes.weights(cell);
        if !fits || operands.iter().any(|x| x.shape.numel() == 0) {
            return Err(wrong());
        }
        let bias = operands.get(3);
        if let Some(bias) = bias.filter(|bias| bias.shape[..] != [cell.gates() * size]) {
            return Err(format!("a bias {bias} for weights {weights}"));
        }
        one_type(operands)?;
        Ok(sizes)
    }
}

fn one_type(operands: &[Spec]) -> std::result::Result<(), String> {
    let dtype = operands[0].dtype;
    match matches!(dtype, DType::F32 | DType::F64) && operands.iter().all(|x| x.dtype == dtype) {
        true => Ok(()),
        false => Err("operands of other types than one of f32 and f64".to_string()),
    }
}

impl Operation for Recurrence {
    const NAME: &'static str = "recurrence";
    const RESULTS: usize = 2;

    fn called(&self) -> &'static str {
        self.cell.names().1
    }

    fn results(&self, operands: &[Spec]) -> std::result::Result<Vec<Spec>, String> {
        let (sizes, dtype) = (self.sizes(operands)?, operands[0].dtype);
        Ok(vec![
            Spec::new(sizes.by_step(self.cell.kept()), dtype),
            Spec::new(sizes.states(self.cell), dtype),
        ])
    }

    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let device = operands[0].device();
        self.together(operands)
            .unwrap_or_else(|error| vec![Tensor::fail(device, error); 2])
    }

    fn keeps_result(&self, part: usize, result: usize) -> bool {
        part == Self::STATES && (result == Self::STATES || self.cell.kept() > 0)
    }

    fn is_differentiable(&self, part: usize) -> bool {
        part == Self::STATES || self.cell.kept() > 0
    }

    /// With the slopes `s_t` of what the inputs give, by [`RecurrenceGrad`], the weights' gradient is
    /// `sum_t s_t^T h_(t-1)`: a product over all steps, and one of the first state.
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        if c.part() != Self::STATES {
            return c.of_reference(self);
        }
        let made = || -> Result<Vec<Option<Tensor>>> {
            let (states, first) = (c.result(Self::STATES), c.operand(1));
            let mut operands = vec![c.grad().clone(), states.clone(), c.operand(2)];
            if self.cell.kept() > 0 {
                operands.extend([first.clone(), c.result(Self::KEPT)]);
            }
            let values: Vec<Value> = operands
                .iter()
                .map(|x| x.capture())
                .collect::<Result<_>>()?;
            let values: Vec<&Value> = values.iter().collect();
            let operation = RecurrenceGrad {
                cell: self.cell,
                reverse: self.reverse,
            };
            let results = [RecurrenceGrad::SLOPES, RecurrenceGrad::FIRST];
            let results = apply(
                AnyOperation::new(operation),
                &values,
                &results,
                Place::caller(),
            )?;
            let [slopes, of_first] = &results[..] else {
                return Ok(Vec::new());
            };
            // What the states give: a part of a GRU's is multiplied by the gate `r`.
            let own = match self.cell {
                Cell::Gru => {
                    let size = states.shape()?[3];
                    let reset = operands[4].narrow(-1, 0, size);
                    let new = slopes.narrow(-1, 2 * size, size) * reset;
                    Tensor::cat(&[slopes.narrow(-1, 0, 2 * size), new], -1)
                }
                _ => slopes.clone(),
            };
            let weights = c
                .needs(2)
                .then(|| self.of_weights(&own, &at(&states, 0), &at(&first, 0)));
            let bias = c.needs(3).then(|| own.sum_dims([0, 1], false));
            Ok(vec![
                Some(slopes.clone()),
                Some(of_first.clone()),
                weights.transpose()?,
                bias,
            ])
        };
        let device = c.grad().device();
        made().unwrap_or_else(|error| vec![Some(Tensor::fail(device, error)); c.operands()])
    }

    fn examples() -> Vec<(Recurrence, Vec<Spec>)> {
        let case = |(cell, reverse, sizes): (Cell, bool, Sizes)| {
            let mut operands = vec![
                Spec::new(sizes.by_step(cell.gates()), DType::F32),
                Spec::new(sizes.first(cell), DType::F32),
                Spec::new(sizes.weights(cell), DType::F32),
            ];
            if cell == Cell::Gru && reverse {
                operands.push(Spec::new(cell.gates() * sizes.size, DType::F32));
            }
            (Recurrence { cell, reverse }, operands)
        };
        cases().into_iter().map(case).collect()
    }
}

impl Recurrence {
    fn of_weights(&self, own: &Tensor, h: &Tensor, first: &Tensor) -> Result<Tensor> {
        let shape = own.shape()?;
        let (count, batch, rows) = (shape[0], shape[1], shape[2]);
        let size = first.shape()?[1];
        let product = |slopes: Tensor, h: &Tensor| slopes.transpose(0, 1).matmul(h);
        let begin = if self.reverse { count - 1 } else { 0 };
        let of_first = product(at(own, begin), first);
        if count == 1 {
            return Ok(of_first);
        }
        let (later, earlier) = if self.reverse { (0, 1) } else { (1, 0) };
        let flat = |x: &Tensor, from: usize, columns: usize| {
            x.narrow(0, from, count - 1)
                .reshape([(count - 1) * batch, columns])
        };
        let of_others = product(flat(own, later, rows), &flat(h, earlier, size));
        Ok(of_first + of_others)
    }
}

/// The gradient of [`Recurrence`]'s inputs (`slopes`) and first states, by that of its states, `[parts, time, batch,
/// size]`. Operands are that gradient, the states, the weights, and where something is kept the first states and what is
/// kept. From the last step to the first, with `dh` the gradient of a step's hidden state and `s W` what it gives to the
/// one before:
///
/// - plain cells: `s = dh (1 - h^2)`, or 0 where `h <= 0` and `dh` elsewhere;
/// - LSTM: `dc += dh o (1 - tanh(c)^2)`, `s = [dc g i (1 - i), dc c' f (1 - f), dc i (1 - g^2), dh tanh(c) o (1 - o)]`
///   with the cells `c'` before, which get `dc f`;
/// - GRU: `n = dh (1 - u) (1 - n^2)`, `s = [n own r (1 - r), dh (h' - n) u (1 - u), n]` with the state `h'` before, which
///   gets `dh u`, too; in `s W` the last part is multiplied by `r`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RecurrenceGrad {
    /// The kind of cell.
    pub cell: Cell,
    /// Whether the states were computed from the end to the beginning.
    pub reverse: bool,
}

impl RecurrenceGrad {
    /// The number of the result that holds the gradient of what the inputs give.
    pub const SLOPES: usize = 0;
    /// The number of the result that holds that of the first states.
    pub const FIRST: usize = 1;

    fn composed(&self, operands: &[Tensor]) -> Result<Vec<Tensor>> {
        let cell = self.cell;
        let (grad, states, weights) = (&operands[0], &operands[1], &operands[2]);
        let shape = states.shape()?;
        let (count, size) = (shape[1], shape[3]);
        let (first, kept) = (operands.get(3), operands.get(4));
        let order: Vec<usize> = steps(self.reverse, count).collect();
        let state = |part: usize, step: usize| at(&at(states, part), step);
        let (mut carried, mut cells): (Option<Tensor>, Option<Tensor>) = (None, None);
        let plus = |x: Tensor, y: &Option<Tensor>| match y {
            Some(y) => x + y,
            None => x,
        };
        let rising = |gate: &Tensor| gate * (1.0 - gate);
        let mut slopes = vec![None; count];
        for (i, &step) in order.iter().enumerate().rev() {
            let dh = plus(at(&at(grad, 0), step), &carried);
            let before = |part: usize| match (i, first) {
                (0, Some(first)) => at(first, part),
                (0, None) => state(part, step).zeros_like(),
                _ => state(part, order[i - 1]),
            };
            let gate = |i: usize| match kept {
                Some(kept) => at(kept, step).narrow(-1, i * size, size),
                None => dh.clone(),
            };
            let (slope, own, more) = match cell {
                Cell::Tanh => {
                    let slope = &dh * (1.0 - state(0, step).sqr());
                    (slope.clone(), slope, None)
                }
                Cell::Relu => {
                    let slope = state(0, step).le(0.0).where_cond(0.0, &dh);
                    (slope.clone(), slope, None)
                }
                Cell::Gru => {
                    let (reset, update, new) = (gate(0), gate(1), gate(2));
                    let inner = &dh * (1.0 - &update) * (1.0 - new.sqr());
                    let of_update = &dh * (before(0) - &new) * rising(&update);
                    let of_reset = &inner * gate(3) * rising(&reset);
                    let last = &inner * &reset;
                    let slope = Tensor::cat(&[of_reset.clone(), of_update.clone(), inner], -1);
                    let own = Tensor::cat(&[of_reset, of_update, last], -1);
                    (slope, own, Some(dh * update))
                }
                Cell::Lstm => {
                    let (enter, forget, new, leave) = (gate(0), gate(1), gate(2), gate(3));
                    let squashed = state(1, step).tanh();
                    let dc = &dh * &leave * (1.0 - squashed.sqr()) + at(&at(grad, 1), step);
                    let dc = plus(dc, &cells);
                    let slope = Tensor::cat(
                        &[
                            &dc * &new * rising(&enter),
                            &dc * before(1) * rising(&forget),
                            &dc * &enter * (1.0 - new.sqr()),
                            &dh * squashed * rising(&leave),
                        ],
                        -1,
                    );
                    cells = Some(dc * forget);
                    (slope.clone(), slope, None)
                }
            };
            carried = Some(plus(own.matmul(weights), &more));
            slopes[step] = Some(slope);
        }
        let slopes: Vec<Tensor> = slopes.into_iter().flatten().collect();
        let of_first: Vec<Tensor> = carried.into_iter().chain(cells).collect();
        Ok(vec![Tensor::stack(&slopes, 0), Tensor::stack(&of_first, 0)])
    }
}

impl Operation for RecurrenceGrad {
    const NAME: &'static str = "recurrence_grad";
    const RESULTS: usize = 2;

    fn called(&self) -> &'static str {
        self.cell.names().1
    }

    fn results(&self, operands: &[Spec]) -> std::result::Result<Vec<Spec>, String> {
        let cell = self.cell;
        let count = if cell.kept() > 0 { 5 } else { 3 };
        if operands.len() != count {
            return Err(format!("{} operands", operands.len()));
        }
        let (grad, states, weights) = (&operands[0], &operands[1], &operands[2]);
        let &[_, steps, batch, size] = &states.shape[..] else {
            return Err(format!("states {states}"));
        };
        let sizes = Sizes { steps, batch, size };
        let fits = grad.shape[..] == sizes.states(cell)
            && states.shape == grad.shape
            && weights.shape[..] == sizes.weights(cell)
            && grad.shape.numel() > 0;
        if !fits {
            return Err(format!(
                "a gradient {grad} of states {states} with weights {weights}"
            ));
        }
        if let [first, kept] = &operands[3..]
            && (first.shape[..] != sizes.first(cell)
                || kept.shape[..] != sizes.by_step(cell.kept()))
        {
            return Err(format!(
                "first states {first} and {kept} for states {states}"
            ));
        }
        one_type(operands)?;
        let dtype = grad.dtype;
        Ok(vec![
            Spec::new(sizes.by_step(cell.gates()), dtype),
            Spec::new(sizes.first(cell), dtype),
        ])
    }

    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let device = operands[0].device();
        self.composed(operands)
            .unwrap_or_else(|error| vec![Tensor::fail(device, error); 2])
    }

    /// A rectifier looks only at the states' signs.
    fn is_constant(&self, operand: usize) -> bool {
        operand == 1 && self.cell == Cell::Relu
    }

    /// That of the reference, which does not look at the states of a GRU after its only step.
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        let mut grads = c.of_reference(self);
        if let (Some(grad @ None), Some(spec), true) = (grads.get_mut(1), c.spec(1), c.needs(1)) {
            *grad = Some(Tensor::zeros(&spec.shape, (spec.dtype, c.grad().device())));
        }
        grads
    }

    fn examples() -> Vec<(RecurrenceGrad, Vec<Spec>)> {
        let case = |(cell, reverse, sizes): (Cell, bool, Sizes)| {
            let mut operands = vec![
                Spec::new(sizes.states(cell), DType::F32),
                Spec::new(sizes.states(cell), DType::F32),
                Spec::new(sizes.weights(cell), DType::F32),
            ];
            if cell.kept() > 0 {
                operands.push(Spec::new(sizes.first(cell), DType::F32));
                operands.push(Spec::new(sizes.by_step(cell.kept()), DType::F32));
            }
            (RecurrenceGrad { cell, reverse }, operands)
        };
        cases().into_iter().map(case).collect()
    }
}

/// Cells and sizes of the examples.
fn cases() -> Vec<(Cell, bool, Sizes)> {
    let sizes = |steps, batch, size| Sizes { steps, batch, size };
    vec![
        (Cell::Tanh, false, sizes(3, 2, 3)),
        (Cell::Tanh, true, sizes(1, 1, 2)),
        (Cell::Relu, true, sizes(3, 2, 3)),
        (Cell::Gru, false, sizes(3, 2, 2)),
        (Cell::Gru, true, sizes(2, 3, 3)),
        (Cell::Lstm, false, sizes(3, 2, 2)),
        (Cell::Lstm, true, sizes(2, 3, 3)),
        (Cell::Lstm, false, sizes(3, 9, 21)),
        (Cell::Gru, false, sizes(2, 8, 40)),
    ]
}
