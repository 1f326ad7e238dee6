//! What file formats are made of: files in memory without a copy, files that are replaced whole, zip archives, bytes as
//! tensors.
//!
//! Files are not trusted: nothing is allocated for what a file merely claims to hold, and every mistake is an
//! [`Error::File`] with the file's name.

mod bytes;
#[cfg(not(target_arch = "wasm32"))]
mod mapped;
#[cfg(not(target_arch = "wasm32"))]
mod replace;
pub mod zip;

use wgrad_core::Error;

pub use bytes::{LARGEST_RANK, tensor, unpack_gzip};
#[cfg(not(target_arch = "wasm32"))]
pub use mapped::Mapped;
#[cfg(not(target_arch = "wasm32"))]
pub use replace::{Failure, replace, replace_with};

/// What is wrong with a file.
///
/// ```
/// assert_eq!(wgrad_files::file_error("x.bin", "cut short").to_string(), "x.bin: cut short");
/// ```
pub fn file_error(path: &str, problem: impl Into<String>) -> Error {
    Error::File {
        path: path.to_string(),
        problem: problem.into(),
    }
}
