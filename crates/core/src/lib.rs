//! The core of wgrad: tensors, the recorded graph, automatic differentiation, fusion and planning.
//!
//! This crate knows no device. A device is a [`Backend`]: a few functions over untyped buffers and
//! plans of [`Kernel`]s; see the crates `wgrad-cpu-backend` and `wgrad-wgpu-backend`, and the
//! facade `wgrad`, which opens them.
//!
//! The rooms, from the ground up; each looks down, but for one circle: a tensor owns what is recorded of
//! it, and to read one runs that.
//!
//! - `types`: shapes, layouts, element types, errors.
//! - `kernel`: what a backend is given: operations, programs, kernels, plans; and what it must be able to do.
//! - `record`: recorded operations, the nodes that tensors own.
//! - `fusion`: which nodes become one kernel. `plan`: kernels, and where every result lies. `run`: running
//!   what was recorded, or replaying it.
//! - `tensor`: the handle, its variables and views, and how values come in and out.
//! - `autograd`: the tape and the backward pass. `update`: optimizers' arenas and steps.
//! - `operation`: what a structured operation is. `ops`: what a user calls. Of the rooms below only `tensor`
//!   knows some of them, for its constructors and the derivatives of its views.

mod autocast;
pub mod autograd;
mod fusion;
mod kernel;
mod operation;
pub mod ops;
mod plan;
mod record;
mod run;
mod tensor;
mod types;
mod update;

pub use autocast::{autocast, autocast_disabled, autocast_dtype, autocast_wide};
#[cfg(not(target_arch = "wasm32"))]
pub use autograd::gradcheck::{gradcheck, gradgradcheck};
pub use autograd::{GradOptions, no_grad};
pub use kernel::backend::*;
pub use kernel::formula::{CompiledUpdate, Formula, Number, UpdateBlock};
pub use kernel::profile::{Profile, Span};
pub use kernel::program::{Arg, Instr, MapOp, Program};
pub use kernel::*;
pub use operation::{
    AnyOperation, CpuKernel, CpuOperand, CpuResult, Derivative, Operation, Spec, Wgsl, WgslVariable,
};
pub use ops::attention::{AttentionOptions, KvCache};
pub use ops::cross_entropy::{CrossEntropyOptions, Reduction};
#[doc(hidden)]
pub use ops::elementwise::apply_row;
pub use ops::elementwise::{Rounding, result_type};
pub use ops::index::{Ellipsis, Index, IndexList, NewAxis, ScatterReduce};
pub use ops::rearrange::Indexing;
pub use ops::recurrence::{CellWeights, RecurrenceOptions};
pub use ops::rotary::RotaryOptions;
pub use ops::{
    AvgPoolOptions, BagMode, BatchNorm, BatchNormOptions, ColumnOptions, ConvOptions, ConvPadding,
    ConvTransposeOptions, CtcOptions, EmbeddingBagOptions, GridOptions, GridPadding, GridSampling,
    InterpolateOptions, Interpolation, LpPoolOptions, MaxPoolOptions, PadMode, Resampling, Unique,
    UnpoolOptions,
};
pub use tensor::create::{Data, Generator, Progression, RandomState};
pub use tensor::device::{Device, Target};
pub use tensor::slice::{Slice, SliceList, s};
pub use tensor::{Rhs, Tensor};
pub use types::dtype::{Category, DType, FloatInfo, IntegerInfo};
pub use types::element::{Element, Scalar, integer_to_odd, round_to_odd};
pub use types::error::{Error, Place, Result};
pub use types::layout::{Layout, Strides, collapse};
pub use types::shape::{DimList, ReshapeTo, Shape, Size};
pub use update::UpdateRule;
pub use update::arena::{Coefficients, Updater};
