//! The one error type.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;

use crate::types::dtype::DType;
use crate::types::shape::Shape;

/// A `Result` with wgrad's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where in the user's program an operation was called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place(&'static Location<'static>);

thread_local! {
    static FIXED: Cell<Option<Place>> = const { Cell::new(None) };
}

impl Place {
    /// The caller's file and line.
    #[track_caller]
    pub fn caller() -> Place {
        let here = Place(Location::caller());
        FIXED.get().unwrap_or(here)
    }

    /// Runs `f` with every operation in it called from here: what a derivative or a composed
    /// operation records is reported at the line that the user wrote.
    pub fn hold<T>(self, f: impl FnOnce() -> T) -> T {
        struct Restore(Option<Place>);
        impl Drop for Restore {
            fn drop(&mut self) {
                FIXED.set(self.0);
            }
        }
        let _restore = Restore(FIXED.replace(Some(FIXED.get().unwrap_or(self))));
        f()
    }

    /// [`hold`](Place::hold) for what an operation is composed of, which takes its operands as they are inside of
    /// [`autocast`](crate::autocast()).
    pub(crate) fn within<T>(self, f: impl FnOnce() -> T) -> T {
        self.hold(|| crate::autocast::suspended(f))
    }

    /// The source file.
    pub fn file(&self) -> &'static str {
        self.0.file()
    }

    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.0.line()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)
    }
}

/// Everything that can go wrong. Each variant names the operation, what it was given and where it
/// was called. Cloned freely: everything made from a failed tensor carries the same error.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let error = Tensor::zeros([2, 3], &dev).matmul(&Tensor::zeros([2, 3], &dev)).checked().unwrap_err();
/// assert!(matches!(error, Error::Shape { op: "matmul", .. }));
/// // `unwrap`, and a `main` that returns it, print what is displayed.
/// assert_eq!(format!("{error:?}"), error.to_string());
/// ```
#[derive(Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two shapes do not broadcast.
    #[error("{op}: shapes {left} and {right} do not broadcast ({place})")]
    Broadcast {
        /// The operation.
        op: &'static str,
        /// Shape of the first operand.
        left: Shape,
        /// Shape of the second operand.
        right: Shape,
        /// The call.
        place: Place,
    },
    /// Shapes that do not fit an operation.
    #[error("{op}: {problem} ({place})")]
    Shape {
        /// The operation.
        op: &'static str,
        /// What does not fit, with the shapes.
        problem: String,
        /// The call.
        place: Place,
    },
    /// A dimension that the tensor does not have.
    #[error("{op}: dimension {dim} is out of range for shape {shape} ({place})")]
    DimOutOfRange {
        /// The operation.
        op: &'static str,
        /// The dimension as given.
        dim: isize,
        /// The tensor's shape.
        shape: Shape,
        /// The call.
        place: Place,
    },
    /// An element type that an operation or a device does not take.
    #[error("{op}: {problem} ({place})")]
    DType {
        /// The operation.
        op: &'static str,
        /// What does not fit, with the types.
        problem: String,
        /// The call.
        place: Place,
    },
    /// Operands on different devices.
    #[error(
        "{op}: operands are on different devices, {left} and {right}; move one with to_device ({place})"
    )]
    DeviceMismatch {
        /// The operation.
        op: &'static str,
        /// Device of the first operand.
        left: String,
        /// Device of the second operand.
        right: String,
        /// The call.
        place: Place,
    },
    /// Data whose length does not fit the shape.
    #[error("{op}: {len} values do not fill shape {shape}, which needs {needed} ({place})")]
    Length {
        /// The operation.
        op: &'static str,
        /// How many values there are.
        len: usize,
        /// The wanted shape.
        shape: Shape,
        /// How many values it needs.
        needed: usize,
        /// The call.
        place: Place,
    },
    /// An index or class that lies outside, found on the host or reported by a kernel.
    #[error("{op}: index {index} is out of range for size {size} ({place})")]
    IndexOutOfRange {
        /// The operation.
        op: &'static str,
        /// The offending value.
        index: i64,
        /// The valid range is `0..size`.
        size: usize,
        /// The call that recorded the operation.
        place: Place,
    },
    /// A value that an operation does not take.
    #[error("{op}: {problem} ({place})")]
    Value {
        /// The operation.
        op: &'static str,
        /// What is wrong with it.
        problem: String,
        /// The call.
        place: Place,
    },
    /// Automatic differentiation asked for what is not there.
    #[error("{op}: {problem} ({place})")]
    Grad {
        /// The operation.
        op: &'static str,
        /// What is missing.
        problem: String,
        /// The call.
        place: Place,
    },
    /// NaN arose where [`detect_anomaly`](crate::autograd::detect_anomaly) looks for it.
    #[error("{op}: the {part} has NaN, and nothing that it was computed from ({place})")]
    NotANumber {
        /// The operation.
        op: &'static str,
        /// "result" or "derivative".
        part: &'static str,
        /// The call.
        place: Place,
    },
    /// A backward pass through a graph that an earlier one freed.
    #[error(
        "{op}: this part of the graph was freed by an earlier backward pass; \
         pass retain_graph to keep it ({place})"
    )]
    GraphFreed {
        /// The operation.
        op: &'static str,
        /// The call.
        place: Place,
    },
    /// A tensor larger than the device takes.
    #[error(
        "{op}: {bytes} bytes for shape {shape} exceed the device's limit of {limit} bytes per {what} ({place})"
    )]
    TooLarge {
        /// The operation.
        op: &'static str,
        /// The tensor's shape.
        shape: Shape,
        /// What it needs.
        bytes: usize,
        /// What the device takes.
        limit: usize,
        /// "buffer" or "binding".
        what: &'static str,
        /// The call.
        place: Place,
    },
    /// Memory ran out. Nothing of the run was executed; the device still works.
    #[error("out of memory: {requested} bytes wanted, {live} bytes live, limit {limit}")]
    OutOfMemory {
        /// Bytes wanted.
        requested: usize,
        /// Bytes in use.
        live: usize,
        /// The limit in force, 0 where only the driver knows it.
        limit: usize,
    },
    /// No adapter fits the wish.
    #[error("no GPU adapter: {0}")]
    NoAdapter(String),
    /// The device is gone (driver reset, unplugged, destroyed). Open a new one.
    #[error("device lost: {0}")]
    DeviceLost(String),
    /// The device or its driver refused a command.
    #[error("device: {0}")]
    Device(String),
    /// A file could not be read or written, or is not what it should be.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// Names or shapes of loaded parameters do not fit the module.
    #[error("load: {0}")]
    Load(String),
    /// An error inside a module, with the module's path.
    #[error("{path}: {source}")]
    Module {
        /// Path and description, as `head.0: Linear(784, 512)`.
        path: String,
        /// What went wrong there.
        source: Box<Error>,
    },
}

/// As it is displayed: what `unwrap` and a `main` that returns a [`Result`] print is for people.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// The error without module paths around it.
    pub fn root(&self) -> &Error {
        match self {
            Error::Module { source, .. } => source.root(),
            other => other,
        }
    }

    /// Puts a module's path in front; paths of nested modules are joined by a dot.
    pub fn in_module(self, name: &str, description: &str) -> Error {
        match self {
            Error::Module { path, source } => Error::Module {
                path: format!("{name}.{path}"),
                source,
            },
            other => Error::Module {
                path: if description.is_empty() {
                    name.to_string()
                } else {
                    format!("{name}: {description}")
                },
                source: Box::new(other),
            },
        }
    }

    pub(crate) fn shape(op: &'static str, place: Place, problem: impl Into<String>) -> Error {
        Error::Shape {
            op,
            problem: problem.into(),
            place,
        }
    }

    pub(crate) fn dtype(op: &'static str, place: Place, problem: impl Into<String>) -> Error {
        Error::DType {
            op,
            problem: problem.into(),
            place,
        }
    }

    pub(crate) fn value(op: &'static str, place: Place, problem: impl Into<String>) -> Error {
        Error::Value {
            op,
            problem: problem.into(),
            place,
        }
    }

    /// For `DType` errors that concern one type on one device.
    pub(crate) fn unsupported(op: &'static str, place: Place, dtype: DType, device: &str) -> Error {
        let instead = match dtype.is_float() {
            true => DType::F32,
            false => DType::I32,
        };
        let problem = format!("{dtype} is not available on {device}; use {instead}, or the CPU");
        Error::dtype(op, place, problem)
    }
}
