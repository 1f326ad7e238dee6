//! What recurrent layers have in common.

use std::fmt;

use wgrad_core::{CellWeights, Error, Place, RecurrenceOptions, Result, Shape, Target, Tensor};

use crate::init;
use crate::module::Module;
use crate::part::{Training, Visitor, VisitorMut};

/// A kind of cells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tanh,
    Relu,
    Gru,
    Lstm,
}

impl Kind {
    /// How many rows of weights each element of the state has.
    pub fn gates(self) -> usize {
        match self {
            Kind::Tanh | Kind::Relu => 1,
            Kind::Gru => 3,
            Kind::Lstm => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Tanh => "rnn_tanh",
            Kind::Relu => "rnn_relu",
            Kind::Gru => "gru",
            Kind::Lstm => "lstm",
        }
    }
}

/// The sizes of layers.
#[derive(Clone, Copy)]
pub struct Size {
    pub input: usize,
    pub hidden: usize,
    /// To what states are projected.
    pub projected: Option<usize>,
    pub layers: usize,
    pub bidirectional: bool,
    pub batch_first: bool,
    pub dropout: f64,
}

impl Size {
    fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// The size of a state.
    fn state(&self) -> usize {
        self.projected.unwrap_or(self.hidden)
    }
}

/// The weights of a layer in one direction.
#[derive(Clone)]
struct Direction {
    cells: CellWeights,
    /// `[projected, hidden]`.
    w_hr: Option<Tensor>,
}

/// Layers of cells.
#[derive(Clone)]
pub struct Stack {
    kind: Kind,
    size: Size,
    /// Layer by layer, the directions one after the other.
    directions: Vec<Direction>,
    training: Training,
}

impl Stack {
    /// Weights and biases are uniform within `1 / sqrt(hidden)`, as in PyTorch.
    #[track_caller]
    pub fn new(kind: Kind, size: Size, bias: bool, target: impl Target) -> Stack {
        let place = Place::caller();
        let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
        let bound = init::bound(size.hidden);
        let rows = kind.gates().saturating_mul(size.hidden);
        let draw = |shape: Shape| {
            place.hold(|| init::uniform(shape, -bound, bound, target).requires_grad())
        };
        let direction = |inputs: usize| Direction {
            cells: CellWeights {
                w_ih: draw([rows, inputs].into()),
                w_hh: draw([rows, size.state()].into()),
                b_ih: bias.then(|| draw([rows].into())),
                b_hh: bias.then(|| draw([rows].into())),
            },
            w_hr: size.projected.map(|to| draw([to, size.hidden].into())),
        };
        let below = size.state().saturating_mul(size.directions());
        let inputs = (0..size.layers).map(|layer| if layer == 0 { size.input } else { below });
        let directions = inputs
            .flat_map(|inputs| std::iter::repeat_n(inputs, size.directions()))
            .map(direction)
            .collect();
        Stack {
            kind,
            size,
            directions,
            training: Training::default(),
        }
    }

    fn positions(&self, x: &Shape) -> usize {
        x.numel().checked_div(self.size.input).unwrap_or(0)
    }

    /// A product of each weight at each step.
    pub fn multiply_adds(&self, x: &Shape) -> usize {
        let weights = self.directions.iter().flat_map(|direction| {
            let cells = &direction.cells;
            [
                Some(&cells.w_ih),
                Some(&cells.w_hh),
                direction.w_hr.as_ref(),
            ]
        });
        let numbers: usize = weights.flatten().map(|w| w.numel().unwrap_or(0)).sum();
        self.positions(x).saturating_mul(numbers)
    }

    #[track_caller]
    fn wrong(&self, problem: String) -> Error {
        let (op, place) = (self.kind.name(), Place::caller());
        Error::Shape { op, problem, place }
    }

    /// Whether an input is a sequence of what the layers take.
    #[track_caller]
    fn check(&self, x: &Tensor) -> Result<Shape> {
        let shape = x.shape()?;
        let input = self.size.input;
        if !(2..=3).contains(&shape.rank()) || shape[shape.rank() - 1] != input {
            let whole = if self.size.batch_first {
                "batch, time"
            } else {
                "time, batch"
            };
            let problem = format!("takes [{whole}, {input}] or [time, {input}], not {shape}");
            return Err(self.wrong(problem));
        }
        Ok(shape)
    }

    /// Zeros to begin from: states, and the cells of an LSTM.
    #[track_caller]
    pub fn zeros<const N: usize>(&self, x: &Tensor) -> Result<[Tensor; N]> {
        let shape = self.check(x)?;
        let batch = (shape.rank() == 3).then(|| shape[usize::from(!self.size.batch_first)]);
        let target = (x.dtype()?, x.device());
        Ok(std::array::from_fn(|i| {
            let size = if i == 0 {
                self.size.state()
            } else {
                self.size.hidden
            };
            let layers = [self.directions.len()].into_iter().chain(batch);
            Tensor::zeros(layers.chain([size]).collect::<Shape>(), target)
        }))
    }

    fn options(&self) -> RecurrenceOptions {
        let dropout = if self.training.get() {
            self.size.dropout
        } else {
            0.0
        };
        RecurrenceOptions {
            batch_first: self.size.batch_first,
            bidirectional: self.size.bidirectional,
            dropout,
        }
    }

    fn cells(&self) -> Vec<CellWeights> {
        let cells = self
            .directions
            .iter()
            .map(|direction| direction.cells.clone());
        cells.collect()
    }

    /// The layers of cells with one state.
    #[track_caller]
    pub fn plain(&self, x: &Tensor, h: &Tensor) -> Result<(Tensor, Tensor)> {
        let _ = self.check(x)?;
        let (cells, options) = (self.cells(), self.options());
        let (y, h) = match self.kind {
            Kind::Gru => x.gru(h, &cells, options),
            Kind::Relu => x.rnn_relu(h, &cells, options),
            Kind::Tanh | Kind::Lstm => x.rnn_tanh(h, &cells, options),
        };
        Ok((y.checked()?, h.checked()?))
    }

    /// The layers of an LSTM.
    #[track_caller]
    pub fn lstm(&self, x: &Tensor, h: &Tensor, c: &Tensor) -> Result<(Tensor, (Tensor, Tensor))> {
        let _ = self.check(x)?;
        if self.size.projected.is_some() {
            return self.projected(x, h, c);
        }
        let (y, h, c) = x.lstm(h, c, &self.cells(), self.options());
        Ok((y.checked()?, (h.checked()?, c.checked()?)))
    }

    /// The layers of an LSTM whose states are projected.
    #[track_caller]
    fn projected(&self, x: &Tensor, h: &Tensor, c: &Tensor) -> Result<(Tensor, (Tensor, Tensor))> {
        let shape = self.check(x)?;
        let [zero_h, zero_c] = self.zeros::<2>(x)?;
        for (name, given, wanted) in [("a state", h, zero_h), ("cells", c, zero_c)] {
            let (given, wanted) = (given.shape()?, wanted.shape()?);
            if given != wanted {
                return Err(self.wrong(format!("{name} of shape {given}, not {wanted}")));
            }
        }
        let options = self.options();
        let turned = options.batch_first && shape.rank() == 3;
        let mut y = if turned { x.transpose(0, 1) } else { x.clone() };
        let steps = y.shape()?[0];
        if steps == 0 || self.directions.is_empty() {
            let layers = self.size.layers;
            return Err(self.wrong(format!(
                "{layers} layers over an input of shape {shape}: there must be a layer and a step"
            )));
        }
        let (mut last_h, mut last_c) = (Vec::new(), Vec::new());
        for (layer, both) in self.directions.chunks(self.size.directions()).enumerate() {
            if layer > 0 {
                y = y.dropout(options.dropout, true);
            }
            let mut results = Vec::new();
            for (backwards, direction) in both.iter().enumerate() {
                let at = last_h.len() as isize;
                let state = (h.select(0, at), c.select(0, at));
                let (of_steps, h, c) = direction.sweep(&y, state, backwards == 1)?;
                results.push(of_steps);
                last_h.push(h);
                last_c.push(c);
            }
            y = Tensor::cat(&results, -1);
        }
        let y = if turned { y.transpose(0, 1) } else { y };
        let (h, c) = (Tensor::stack(&last_h, 0), Tensor::stack(&last_c, 0));
        Ok((y.checked()?, (h.checked()?, c.checked()?)))
    }
}

impl Direction {
    /// The states of all steps, and the last state and cells.
    #[track_caller]
    fn sweep(
        &self,
        x: &Tensor,
        (mut h, mut c): (Tensor, Tensor),
        backwards: bool,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let CellWeights {
            w_ih,
            w_hh,
            b_ih,
            b_hh,
        } = &self.cells;
        let bias = b_ih.as_ref().zip(b_hh.as_ref()).map(|(a, b)| a + b);
        let input = x.linear(w_ih, bias.as_ref());
        let (steps, hidden) = (x.shape()?[0], c.shape()?.last().copied().unwrap_or(0));
        let mut states = Vec::with_capacity(steps);
        for step in 0..steps {
            let at = if backwards { steps - 1 - step } else { step };
            let gates = input.select(0, at as isize) + h.linear(w_hh, None);
            let [i, f, g, o] = [0, 1, 2, 3].map(|i| gates.narrow(-1, i * hidden, hidden));
            c = f.sigmoid() * c + i.sigmoid() * g.tanh();
            h = o.sigmoid() * c.tanh();
            if let Some(w_hr) = &self.w_hr {
                h = h.linear(w_hr, None);
            }
            states.push(h.clone());
        }
        if backwards {
            states.reverse();
        }
        Ok((Tensor::stack(&states, 0), h, c))
    }
}

/// Visits the weights under PyTorch's names.
macro_rules! visit {
    ($stack:ident, $visitor:ident, $iter:ident $(, $mutable:tt)?) => {
        let directions = $stack.size.directions();
        for (i, direction) in $stack.directions.$iter().enumerate() {
            let end = if i % directions == 1 { "_reverse" } else { "" };
            let name = |what: &str| format!("{what}_l{}{end}", i / directions);
            let cells = & $($mutable)? direction.cells;
            $visitor.part(&name("weight_ih"), & $($mutable)? cells.w_ih);
            $visitor.part(&name("weight_hh"), & $($mutable)? cells.w_hh);
            $visitor.part(&name("bias_ih"), & $($mutable)? cells.b_ih);
            $visitor.part(&name("bias_hh"), & $($mutable)? cells.b_hh);
            $visitor.part(&name("weight_hr"), & $($mutable)? direction.w_hr);
        }
    };
}

impl Module for Stack {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visit!(self, visitor, iter);
        visitor.part("training", &self.training);
    }

    fn visit_mut(&mut self, visitor: &mut VisitorMut<'_>) {
        visit!(self, visitor, iter_mut, mut);
    }
}

/// The options, without the bias.
impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = &self.size;
        write!(f, "{}, {}", size.input, size.hidden)?;
        if let Some(projected) = size.projected {
            write!(f, ", proj_size={projected}")?;
        }
        if size.layers != 1 {
            write!(f, ", num_layers={}", size.layers)?;
        }
        if size.batch_first {
            f.write_str(", batch_first=true")?;
        }
        if size.dropout != 0.0 {
            write!(f, ", dropout={:?}", size.dropout)?;
        }
        f.write_str(if size.bidirectional {
            ", bidirectional=true"
        } else {
            ""
        })
    }
}
