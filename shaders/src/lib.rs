//! The hand-written WGSL of wgrad.
//!
//! A kernel is one file, read from top to bottom as a shader: a template ([`render`]) whose loops
//! unroll registers and whose conditions choose between forms. What a shader cannot say (bindings,
//! parameters, accessors to operands of any type, addresses of strided ones, the text of fused
//! elementwise programs) comes from the backend. A module is a concatenation: WGSL lets declarations
//! stand in any order, so [`link`] adds just the library functions that a kernel reaches, which keeps
//! modules short to read and quick to compile.
//!
//! With `WGRAD_SHADERS=DIR` the files are read from a folder instead of the program, those that are
//! there: edit a kernel and run again without building.

mod library;
mod templates;

pub use library::link;
pub use minijinja::{Value, context};
pub use templates::{Rendering, TemplateError, render, render_text};
