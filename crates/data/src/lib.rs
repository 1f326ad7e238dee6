//! Data for training: what a training loop walks.

mod batch;

pub use batch::{Batch, Batches};
