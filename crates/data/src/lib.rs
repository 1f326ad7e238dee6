//! Data for training: sets of examples, and what a training loop walks.
//!
//! A [`Dataset`] gives examples by number, as host values: any thread can make them. A [`DataLoader`] walks it in
//! batches, in the order of a [`Sampler`], and brings them to a device; a training loop sees [`Batches`]. [`sets`] and
//! [`generate`] have small sets, [`split`] divides them.

mod array;
mod batch;
pub mod cifar;
mod collate;
mod dataset;
pub mod generate;
pub mod idx;
#[cfg(feature = "images")]
mod image;
mod loader;
pub mod npy;
pub mod npz;
mod random;
mod sampler;
mod set;
pub mod sets;
pub mod split;
mod stream;
mod table;
pub mod text;
pub mod transform;

pub use array::Array;
pub use batch::{Batch, Batches, MappedBatches};
pub use collate::{Collate, Stack};
pub use dataset::{Augmented, Cached, Chained, Dataset, FromFn, Mapped, Subset, Zipped, from_fn};
#[cfg(feature = "images")]
pub use image::{Channels, MOST_PIXELS, decode_image, encode_png};
#[cfg(all(feature = "images", not(target_arch = "wasm32")))]
pub use image::{ImageFolder, load_image};
pub use loader::DataLoader;
pub use random::Random;
pub use sampler::{
    BatchSampler, Batched, ByLength, Sampler, Sequential, Shuffled, Stratified, Weighted,
};
pub use set::{Set, Standardization};
pub use stream::{
    IterableDataset, MappedStream, Mixed, Stream, StreamFromFn, StreamLoader, stream_from_fn,
};
pub use table::{Column, ColumnType, CsvOptions, Table};
