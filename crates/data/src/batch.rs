//! What a training loop walks: epochs of batches.

use wgrad_core::{Result, Tensor};

/// The examples of one step and what they should give.
#[derive(Clone)]
pub struct Batch {
    /// The inputs, one example after the other along the first dimension.
    pub x: Tensor,
    /// The targets, in the same order.
    pub y: Tensor,
}

/// Epochs of batches.
///
/// A walk keeps no state outside of its iterator: the same epoch from the same batch on gives the same batches, in any
/// process. That is what makes a training resumable at any step.
///
/// A vector of batches gives all of them in each epoch, in its order:
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::data::{Batch, Batches};
/// # let dev = wgrad::cpu();
/// let batch = Batch { x: Tensor::zeros([4, 2], &dev), y: Tensor::zeros([4], &dev) };
/// let batches = vec![batch.clone(), batch];
/// assert_eq!(batches.num_batches(), Some(2));
/// assert_eq!(batches.epoch(7, 1).count(), 1);
/// ```
pub trait Batches {
    /// A batch: [`Batch`], or a type of your own.
    type Batch;

    /// The batches of an epoch, from the batch of number `from` on (the ones before it are not produced).
    fn epoch(&self, epoch: u64, from: usize) -> Box<dyn Iterator<Item = Result<Self::Batch>> + '_>;

    /// How many batches an epoch has, where that is known.
    fn num_batches(&self) -> Option<usize>;
}

impl<B: Clone> Batches for Vec<B> {
    type Batch = B;

    fn epoch(&self, _epoch: u64, from: usize) -> Box<dyn Iterator<Item = Result<B>> + '_> {
        Box::new(self.iter().skip(from).cloned().map(Ok))
    }

    fn num_batches(&self) -> Option<usize> {
        Some(self.len())
    }
}
