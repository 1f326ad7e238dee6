//! What a training loop walks: epochs of batches.

use wgrad_core::{Result, Tensor};

use crate::Random;

/// The examples of one step and what they should give.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::Batch;
/// # let dev = wgrad::cpu();
/// let batch = Batch { x: Tensor::ones([32, 4], &dev), y: Tensor::zeros([32], &dev) };
/// assert_eq!(batch.x.dims::<2>()?, [32, 4]);
/// # Ok::<(), Error>(())
/// ```
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

    /// Each batch through a function that may draw random numbers, on the training thread: for what is done to whole
    /// batches on the device ([`transform::mixup`](crate::transform::mixup) and its like). The numbers depend on seed,
    /// epoch and batch alone.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::data::{Batch, Batches};
    /// # let dev = wgrad::cpu();
    /// let batches = vec![Batch { x: Tensor::ones([2], &dev), y: Tensor::zeros([2], &dev) }];
    /// let scaled = batches.map_batches(7, |b, random| Ok(Batch { x: b.x * random.uniform(), ..b }));
    /// let first = |epoch| scaled.epoch(epoch, 0).next().unwrap()?.x.to_vec::<f32>();
    /// assert_eq!(first(1)?, first(1)?);
    /// assert_ne!(first(1)?, first(2)?);
    /// # Ok::<(), Error>(())
    /// ```
    fn map_batches<T, F>(self, seed: u64, f: F) -> MappedBatches<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Batch, &mut Random) -> Result<T>,
    {
        MappedBatches {
            batches: self,
            seed,
            f,
        }
    }
}

/// See [`Batches::map_batches`].
pub struct MappedBatches<B, F> {
    batches: B,
    seed: u64,
    f: F,
}

impl<B, F, T> Batches for MappedBatches<B, F>
where
    B: Batches,
    F: Fn(B::Batch, &mut Random) -> Result<T>,
{
    type Batch = T;

    fn epoch(&self, epoch: u64, from: usize) -> Box<dyn Iterator<Item = Result<T>> + '_> {
        let numbers = from as u64..;
        let batches = self.batches.epoch(epoch, from).zip(numbers);
        Box::new(batches.map(move |(batch, number)| {
            let mut random = Random::keyed([self.seed, epoch, number]);
            (self.f)(batch?, &mut random)
        }))
    }

    fn num_batches(&self) -> Option<usize> {
        self.batches.num_batches()
    }
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
