//! The GPU backend of wgrad: kernels as data become WGSL, pipelines and dispatches on wgpu.
//!
//! [`WgpuBackend`] implements [`wgrad_core::Backend`]. A plan is compiled by the modules named
//! after its kernels: each chooses the form of a template of `wgrad-shaders`, whose text depends on
//! the structure alone, and puts sizes, strides, offsets and scalars into parameters. Pipelines
//! are cached by their text, so a new batch size compiles nothing new.
//!
//! - `adapter`, `instance`, `options`: finding and opening a device. `device`: what it can do, and its caches.
//! - `map`, `reduce`, `rows`, `matmul` (with `form`, `tune`), `optimizer`: the kernels that core's fuser and
//!   planner write. `ops`: the structured operations, a file each. `variants`: all of them, for checks.
//! - `source`: a shader in the making, with its bindings and accessors; `operand`: addresses of strided views;
//!   `codegen`: fused programs.
//! - `executable`, `bindings`, `pipeline`, `pool`, `readback`, `timer`: running plans.
//!
//! Environment: `WGRAD_STRICT=1` restricts wgpu to what the WebGPU standard has,
//! `WGRAD_CHECKED=1` keeps wgpu's bounds checks in kernels, `WGRAD_TUNE=1` times the ways to
//! compute each matrix product before it first runs, `WGRAD_DUMP_WGSL=DIR` writes every shader into
//! a directory.

mod adapter;
mod bindings;
mod codegen;
mod counters;
mod device;
mod executable;
mod form;
mod instance;
mod map;
mod matmul;
mod operand;
mod ops;
mod optimizer;
mod options;
mod pipeline;
mod pool;
mod readback;
mod recent;
mod reduce;
mod rows;
mod source;
mod timer;
#[cfg(not(target_arch = "wasm32"))]
mod tune;
mod variants;

pub use adapter::{WgpuBackend, adapters};
pub use options::{AdapterSummary, AttentionChoice, KernelSet, MatmulChoice, WgpuOptions};
