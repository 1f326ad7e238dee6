//! Data for training: sets of examples, and what a training loop walks.
//!
//! A [`Dataset`] gives examples by number, as host values: any thread can make them. [`sets`] and [`generate`] have
//! small ones.

mod array;
mod batch;
mod dataset;
pub mod generate;
mod random;
mod set;
pub mod sets;
pub mod split;

pub use array::Array;
pub use batch::{Batch, Batches};
pub use dataset::{Augmented, Cached, Chained, Dataset, FromFn, Mapped, Subset, Zipped, from_fn};
pub use random::Random;
pub use set::{Set, Standardization};
