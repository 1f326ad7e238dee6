//! The core of wgrad: tensors, the recorded graph, automatic differentiation, fusion and planning.
//!
//! This crate knows no device. A device is a [`Backend`]: a few functions over untyped buffers and
//! plans of [`Kernel`]s; see the crates `wgrad-cpu-backend` and `wgrad-wgpu-backend`, and the
//! facade `wgrad`, which opens them.

mod arena;
pub mod autograd;
mod backend;
mod checkpoint;
mod create;
mod device;
mod dot;
mod dtype;
mod element;
mod elementwise;
mod error;
mod fusion;
#[cfg(not(target_arch = "wasm32"))]
mod gradcheck;
mod graph;
mod hash;
mod index;
mod join;
mod kernel;
mod layout;
mod linear_cross_entropy;
mod matmul;
mod node;
mod operators;
pub mod ops;
mod pending;
mod plan;
// In a browser nothing waits for values, so tensors are not printed there.
#[cfg_attr(target_arch = "wasm32", allow(dead_code, unused_imports))]
mod print;
mod profile;
mod program;
pub mod random;
mod read;
mod reduce;
mod reference;
mod rows;
mod run;
mod shape;
mod slice;
mod softmax;
mod tensor;
mod update;
mod variable;
mod views;

pub use arena::{Coefficients, Updater};
pub use autograd::{GradOptions, no_grad};
pub use backend::*;
pub use create::{Data, Progression};
pub use device::{Device, Target};
pub use dtype::{Category, DType};
pub use element::{Element, Scalar, integer_to_odd, round_to_odd};
#[doc(hidden)]
pub use elementwise::apply_row;
pub use error::{Error, Place, Result};
#[cfg(not(target_arch = "wasm32"))]
pub use gradcheck::gradcheck;
pub use kernel::*;
pub use layout::{Layout, Strides, collapse};
pub use ops::cross_entropy::{CrossEntropyOptions, Reduction};
pub use ops::{
    AnyOperation, CpuKernel, CpuOperand, CpuResult, Derivative, Operation, Spec, Wgsl, WgslVariable,
};
pub use profile::{Profile, Span};
pub use program::{Arg, Instr, MapOp, Program};
pub use shape::{DimList, ReshapeTo, Shape, Size};
pub use slice::{Slice, SliceList, s};
pub use tensor::{Rhs, Tensor};
pub use update::UpdateRule;
