//! What a backend executes: kernels as data, and plans made of them.
//!
//! The CPU and the GPU run the same kernels. A [`Plan`] says exactly what happens to which buffer;
//! what may change from one replay to the next (the buffers themselves and the scalars) is bound
//! when it is run.

pub(crate) mod backend;
pub(crate) mod formula;
pub(crate) mod profile;
pub(crate) mod program;
pub mod random;
mod rows;
mod table;

use std::fmt;
use std::ops::Range;

use crate::kernel::formula::CompiledUpdate;
use crate::kernel::program::Program;
use crate::operation::{AnyOperation, Operation};
use crate::types::dtype::DType;
use crate::types::layout::Layout;
use crate::types::shape::Shape;

pub use self::rows::{Fold, Rows, Stage, Walk};

/// An operand: a strided view of one of the plan's buffers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Operand {
    /// Index into [`Plan::buffers`].
    pub buffer: usize,
    /// Storage type.
    pub dtype: DType,
    /// Which elements, relative to the start of the buffer's binding.
    pub layout: Layout,
}

/// A result: one of the plan's buffers, written whole, row-major, from its start. The buffer is
/// padded to 16 bytes, and a kernel may write into the padding. In a [`Kernel::Map`] it may be the
/// buffer of an operand of its type, all of whose elements the kernel reads where it computes them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Output {
    /// Index into [`Plan::buffers`].
    pub buffer: usize,
    /// Storage type.
    pub dtype: DType,
}

/// How a reduction combines elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReduceOp {
    /// The sum. Starts at 0. Integers wrap.
    Sum,
    /// The product. Starts at 1. Integers wrap.
    Product,
    /// The largest; NaN wins.
    Max,
    /// The smallest; NaN wins.
    Min,
    /// The position (within the reduced part, as `i32`) of the first largest; NaN wins.
    ArgMax,
    /// The position of the first smallest; NaN wins.
    ArgMin,
    /// Whether any is true.
    Any,
    /// Whether all are true.
    All,
}

/// One accumulator of a reduction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Accumulator {
    /// How elements combine.
    pub op: ReduceOp,
    /// The compute type of the elements fed into it. The result has the same type, except that
    /// `ArgMax` and `ArgMin` give `i32`. `f32` sums use pairwise or multi-lane summation, and so do products.
    pub dtype: DType,
}

impl Accumulator {
    /// The type of the accumulator's result.
    pub fn result(&self) -> DType {
        match self.op {
            ReduceOp::ArgMax | ReduceOp::ArgMin => DType::I32,
            _ => self.dtype,
        }
    }
}

/// Elementwise work on the result of an operation, done where that is made.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Epilogue {
    /// Which of the operation's results it is.
    pub part: usize,
    /// The shape in which it is worked on: that of the result, or another with its elements in the same order.
    pub shape: Shape,
    /// Operands, over this shape.
    pub inputs: Vec<Operand>,
    /// What is computed; accumulator 0 is the result's element.
    pub program: Program,
    /// Where the program's outputs go, each of this shape.
    pub outputs: Vec<Output>,
}

/// A kernel: what to compute on which buffers, with exact sizes and strides. Scalars are not part
/// of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Kernel {
    /// For each point of `shape` runs `program` on the inputs and stores its outputs, each of them
    /// of `shape`. Input layouts all have this shape.
    Map {
        /// The iteration space, row-major; the outputs' shape.
        shape: Shape,
        /// The inputs, in the program's order.
        inputs: Vec<Operand>,
        /// What to compute.
        program: Program,
        /// Where the program's outputs go, in its order.
        outputs: Vec<Output>,
    },
    /// Reduces the trailing `reduced` dimensions of `shape`.
    ///
    /// For each point of the kept (leading) dimensions: runs `prologue` on each point of the
    /// reduced ones and feeds its output `i` into accumulator `i`; then runs `epilogue` once on the
    /// accumulators' results and stores its outputs, row-major over the kept dimensions.
    /// An empty reduction gives the accumulator's start (`Max`, `Min` and their positions of
    /// nothing never get here).
    Reduce {
        /// Kept dimensions followed by reduced ones.
        shape: Shape,
        /// How many trailing dimensions are reduced.
        reduced: usize,
        /// Operands of the prologue, over `shape`.
        inputs: Vec<Operand>,
        /// What is fed into the accumulators, an output for each.
        prologue: Program,
        /// The accumulators.
        accumulators: Vec<Accumulator>,
        /// Operands of the epilogue, over the kept dimensions.
        epilogue_inputs: Vec<Operand>,
        /// What is stored.
        epilogue: Program,
        /// Where the epilogue's outputs go. 32- or 64-bit types or bool.
        outputs: Vec<Output>,
    },
    /// Reductions of each row, and maps of what they give over its elements.
    Rows(Rows),
    /// `C = epilogue(A B)`: for each point of the batch dimensions the product of an `m x k` and a
    /// `k x n` matrix, accumulated in f32 (f64 for f64). Transposes are strides, and `m`, `n` and `k` may be
    /// several dimensions: in the product that is a convolution, `k` goes over the channels and the places
    /// of the kernel, and B is a view of the windows, which overlap.
    MatMul {
        /// Batch dimensions; the operands broadcast over them by stride 0.
        batch: Shape,
        /// Rows of A and C.
        m: Shape,
        /// Columns of B and C.
        n: Shape,
        /// Columns of A, rows of B; of at most [`Kernel::MOST_INNER`] dimensions once those that both operands
        /// walk with one stride are merged. May be empty.
        k: Shape,
        /// Layout `[batch.., m.., k..]`.
        a: Operand,
        /// Layout `[batch.., k.., n..]`.
        b: Operand,
        /// Operands of the epilogue, layouts `[batch.., m.., n..]`.
        epilogue_inputs: Vec<Operand>,
        /// What is stored; accumulator 0 is the product's element.
        epilogue: Program,
        /// Where the epilogue's outputs go, each `[batch.., m.., n..]`. 32- or 64-bit types or bool.
        outputs: Vec<Output>,
        /// A reduction that runs in the same launch: the sums over `k` of A's rows or B's columns
        /// (without a batch). In the backward pass of a linear layer, where the product is the
        /// weight's gradient, they are the bias's. A [`Kernel::Reduce`] without a prologue, with
        /// one `Sum` over `k` of `[m, k..]` or `[n, k..]`.
        sums: Option<Box<Kernel>>,
    },
    /// A structured operation: its results of its operands.
    Operation {
        /// What to compute.
        op: AnyOperation,
        /// The operands, in the operation's order.
        inputs: Vec<Operand>,
        /// The results, in the operation's order; `None` for those that nobody wants. At least one, or an epilogue.
        outputs: Vec<Option<Output>>,
        /// What is computed of the only result that is wanted, which is then in none of the outputs. Only where
        /// [`Backend::takes_epilogue`](crate::Backend::takes_epilogue).
        epilogue: Option<Epilogue>,
    },
    /// Copies bytes, both offsets and the size divisible by 4. Counted as a copy.
    Copy {
        /// From.
        source: usize,
        /// Byte offset in the source's binding.
        source_offset: usize,
        /// To.
        target: usize,
        /// Byte offset in the target's binding.
        target_offset: usize,
        /// How much.
        bytes: usize,
    },
    /// An optimizer's step over whole arenas (see [`UpdateRule`](crate::UpdateRule)): for each element of a
    /// segment the program of the parameter, its gradient and the states, which gives the new parameter and the
    /// new states.
    ///
    /// Scalars per segment: `start` and `end`, the element range (multiples of 4), then those of the program.
    /// Elements outside all segments keep their values (where `target` is not `param`, they are copied).
    ///
    /// With `control` numbers come from the device: the buffer holds, in the arenas' type, a flag and then the numbers
    /// of each segment, in whose place the scalars mean nothing (constants behind them do). Where the flag is not 0,
    /// nothing changes: states stay, and the target is the parameters.
    Update {
        /// What it is called.
        name: &'static str,
        /// What is computed. Inputs: parameter, gradient, states; outputs: parameter, states; all of the same
        /// type, f32 or f64.
        program: Program,
        /// The same as loops, without the program's constants: scalars beyond the step's numbers.
        compiled: CompiledUpdate,
        /// Elements in each arena, a multiple of 4.
        len: usize,
        /// Parameters.
        param: usize,
        /// New parameters; the same buffer as `param` where the old values are no longer needed.
        target: usize,
        /// Gradients.
        grad: usize,
        /// What else is kept, updated in place.
        states: Vec<usize>,
        /// How many segments.
        segments: usize,
        /// The flag and the numbers, where the device decides.
        control: Option<Control>,
    },
}

/// What a step's flag and numbers are read from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Control {
    /// The buffer, of `1 + segments * numbers` elements.
    pub buffer: usize,
    /// How many of a segment's scalars are read from it.
    pub numbers: usize,
}

impl Kernel {
    /// The kernel of an operation all of whose results are wanted.
    pub fn operation(
        op: impl Operation,
        inputs: impl Into<Vec<Operand>>,
        outputs: impl IntoIterator<Item = Output>,
    ) -> Kernel {
        Kernel::Operation {
            op: AnyOperation::new(op),
            inputs: inputs.into(),
            outputs: outputs.into_iter().map(Some).collect(),
            epilogue: None,
        }
    }

    /// The buffers that it writes, indices into [`Plan::buffers`].
    pub fn written(&self) -> Vec<usize> {
        let of = |outputs: &[Output]| outputs.iter().map(|o| o.buffer).collect();
        match self {
            Kernel::Map { outputs, .. } | Kernel::Reduce { outputs, .. } => of(outputs),
            Kernel::Rows(rows) => {
                let values = rows.row_outputs.iter().map(|(_, output)| output);
                rows.outputs
                    .iter()
                    .chain(values)
                    .map(|o| o.buffer)
                    .collect()
            }
            Kernel::MatMul { outputs, sums, .. } => {
                let mut written: Vec<usize> = of(outputs);
                written.extend(sums.iter().flat_map(|sums| sums.written()));
                written
            }
            Kernel::Operation {
                outputs, epilogue, ..
            } => {
                let finished = epilogue.iter().flat_map(|epilogue| &epilogue.outputs);
                let outputs = outputs.iter().flatten().chain(finished);
                outputs.map(|o| o.buffer).collect()
            }
            Kernel::Copy { target, .. } => vec![*target],
            Kernel::Update { target, states, .. } => {
                [target].into_iter().chain(states).copied().collect()
            }
        }
    }

    /// Most dimensions of a product's `k`.
    pub const MOST_INNER: usize = 4;
}

/// A short name for a person: the kind, the sizes, and how many operations are fused into it.
impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fused = |program: &Program| match program.instrs.len() {
            0 => String::new(),
            n => format!(" + {n} ops"),
        };
        match self {
            Kernel::Map { shape, program, .. } => {
                write!(f, "map {shape}{}", fused(program))
            }
            Kernel::Reduce {
                shape,
                reduced,
                prologue,
                accumulators,
                ..
            } => {
                let op = accumulators.first().map(|a| a.op);
                let kept = Shape::new(&shape[..shape.rank() - reduced]);
                let name = op.map_or("reduce".into(), |op| format!("{op:?}").to_lowercase());
                write!(f, "{name} {shape} to {kept}{}", fused(prologue))
            }
            Kernel::MatMul {
                batch,
                m,
                n,
                k,
                epilogue,
                sums,
                ..
            } => {
                f.write_str("matmul ")?;
                if batch.rank() > 0 {
                    write!(f, "{batch} x ")?;
                }
                let sums = if sums.is_some() { " + sums" } else { "" };
                let [m, k, n] = [m, k, n].map(Shape::numel);
                write!(f, "{m}x{k}x{n}{}{sums}", fused(epilogue))
            }
            Kernel::Rows(rows) => rows.fmt(f),
            Kernel::Operation {
                op,
                inputs,
                epilogue,
                ..
            } => {
                f.write_str(op.name())?;
                for (i, input) in inputs.iter().enumerate() {
                    let comma = if i > 0 { "," } else { "" };
                    write!(f, "{comma} {}", input.layout.shape)?;
                }
                let after = epilogue.as_ref().map(|epilogue| &epilogue.program);
                f.write_str(&after.map(fused).unwrap_or_default())
            }
            Kernel::Copy { bytes, .. } => write!(f, "copy {bytes} bytes"),
            Kernel::Update { name, len, .. } => write!(f, "{name} {len}"),
        }
    }
}

/// A kernel in a plan.
#[derive(Clone, PartialEq, Debug)]
pub struct Launch {
    /// What to do.
    pub kernel: Kernel,
    /// Which of the run's scalars are this kernel's: for `Map` the program's, for `Reduce` the
    /// prologue's then the epilogue's, for `Rows` those of `elements` then those after each stage, for `MatMul` the epilogue's then those of its sums,
    /// for `Operation` the epilogue's.
    pub scalars: Range<usize>,
    /// Which of the run's fault codes this kernel writes on a bad index.
    pub fault: Option<usize>,
}

/// What the plan knows of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferSpec {
    /// Bytes of the binding.
    pub bytes: usize,
    /// Buffers of equal number may be parts of one allocation (disjoint or not), others are not.
    pub allocation: usize,
}

/// A sequence of kernels over numbered buffers. Later kernels see what earlier ones wrote.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// The buffers that a run binds.
    pub buffers: Vec<BufferSpec>,
    /// The kernels, in order.
    pub launches: Vec<Launch>,
}

/// A scalar as 64 bits: `f64::to_bits` for floats, the value as `i64` for integers and bools.
/// A kernel converts it to the type its program declares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScalarBits(pub u64);

impl ScalarBits {
    /// A float.
    pub fn float(value: f64) -> ScalarBits {
        ScalarBits(value.to_bits())
    }

    /// An integer or a bool.
    pub fn integer(value: i64) -> ScalarBits {
        ScalarBits(value as u64)
    }

    /// The value, if it was made by [`ScalarBits::float`].
    pub fn to_f64(self) -> f64 {
        f64::from_bits(self.0)
    }

    /// The value, if it was made by [`ScalarBits::integer`].
    pub fn to_i64(self) -> i64 {
        self.0 as i64
    }
}
