//! The CPU as a device of wgrad.
//!
//! It runs the same kernels as a GPU: elementwise programs by a block-wise interpreter over
//! vectorised loops ([rows of the operations' table](wgrad_core::MapOp)), reductions, matrix
//! products and the hand-written kernels. The [instruction set](InstructionSet) is chosen at run time.
//!
//! - `executor`: the device, its plans, and what a prepared kernel is. `pool`, `recorder`: memory, profiles.
//! - `interpreter`: programs, block by block, by the `loops` of the table, over `lanes` with the functions of
//!   `math`, compiled for several `instructions`. `cursor`, `storage`, `scratch`, `parallel`: strided views, types,
//!   working memory, threads.
//! - `map`, `reduce` (with `fold`), `rows`, `matmul` (with `gemm`), `optimizer`: the kernels that core's fuser
//!   and planner write. `ops`: the structured operations, a file each.

mod copy;
mod cursor;
mod erf;
mod executor;
mod fold;
mod gemm;
mod index;
mod instructions;
mod interpreter;
mod lanes;
mod loops;
mod map;
mod math;
mod matmul;
mod ops;
mod optimizer;
mod order;
mod packed;
mod parallel;
mod pool;
mod random;
mod recorder;
mod reduce;
mod results;
mod rows;
mod scratch;
mod storage;

pub use executor::{CpuBackend, CpuOptions};
pub use instructions::InstructionSet;
