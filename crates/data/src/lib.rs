//! Data for training: sets of examples, and what a training loop walks.
//!
//! A [`Dataset`] gives examples by number, as host values: any thread can make them. A [`DataLoader`] walks it in
//! batches, in the order of a [`Sampler`], and brings them to a device; a training loop sees [`Batches`]. [`sets`] and
//! [`generate`] have small sets, [`split`] divides them.

mod array;
mod batch;
mod collate;
mod dataset;
pub mod generate;
mod loader;
mod random;
mod sampler;
mod set;
pub mod sets;
pub mod split;
mod stream;
pub mod transform;

pub use array::Array;
pub use batch::{Batch, Batches, MappedBatches};
pub use collate::{Collate, Stack};
pub use dataset::{Augmented, Cached, Chained, Dataset, FromFn, Mapped, Subset, Zipped, from_fn};
pub use loader::DataLoader;
pub use random::Random;
pub use sampler::{
    BatchSampler, Batched, ByLength, Sampler, Sequential, Shuffled, Stratified, Weighted,
};
pub use set::{Set, Standardization};
pub use stream::{
    IterableDataset, MappedStream, Mixed, Stream, StreamFromFn, StreamLoader, stream_from_fn,
};
