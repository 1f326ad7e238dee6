//! Core of wgrad.

mod backend;
mod dtype;
mod error;
mod kernel;
mod layout;
mod program;
pub mod random;
mod rows;
mod shape;

pub use backend::*;
pub use dtype::{Category, DType};
pub use error::{Error, Place, Result};
pub use kernel::*;
pub use layout::{Layout, Strides, collapse};
pub use program::{Arg, Instr, MapOp, Program};
pub use shape::{DimList, ReshapeTo, Shape, Size};
