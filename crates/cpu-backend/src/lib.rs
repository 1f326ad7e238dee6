//! The CPU as a device of wgrad.
//!
//! It runs the same kernels as a GPU: elementwise programs by a block-wise interpreter over
//! vectorised loops ([rows of the operations' table](wgrad_core::MapOp)), reductions, matrix
//! products and the hand-written kernels. The instruction set is chosen at run time.

mod arrangement;
mod cursor;
mod erf;
mod executor;
mod fold;
mod gemm;
mod index;
mod interpreter;
mod lanes;
mod loops;
mod map;
mod math;
mod matmul;
mod ops;
mod optimizer;
mod parallel;
mod pool;
mod random;
mod recorder;
mod reduce;
mod rows;
mod scratch;
mod storage;

pub use executor::{CpuBackend, CpuOptions};
