//! Sets made of other sets.

use std::sync::OnceLock;

use wgrad_core::{Place, Result};

use crate::array::out_of_range;
use crate::{Dataset, Random};

/// See [`Dataset::map`].
pub struct Mapped<D, F> {
    pub(super) set: D,
    pub(super) f: F,
}

impl<D, F, T> Dataset for Mapped<D, F>
where
    D: Dataset,
    T: Send,
    F: Fn(D::Item) -> Result<T> + Send + Sync,
{
    type Item = T;

    fn len(&self) -> usize {
        self.set.len()
    }

    fn example(&self, index: usize) -> Result<T> {
        (self.f)(self.set.example(index)?)
    }

    fn example_in_epoch(&self, index: usize, epoch: u64) -> Result<T> {
        (self.f)(self.set.example_in_epoch(index, epoch)?)
    }
}

/// See [`Dataset::augment`]. Outside of an epoch, examples are as in epoch 0.
pub struct Augmented<D, F> {
    pub(super) set: D,
    pub(super) seed: u64,
    pub(super) f: F,
}

impl<D, F, T> Dataset for Augmented<D, F>
where
    D: Dataset,
    T: Send,
    F: Fn(D::Item, &mut Random) -> Result<T> + Send + Sync,
{
    type Item = T;

    fn len(&self) -> usize {
        self.set.len()
    }

    fn example(&self, index: usize) -> Result<T> {
        self.example_in_epoch(index, 0)
    }

    fn example_in_epoch(&self, index: usize, epoch: u64) -> Result<T> {
        let item = self.set.example_in_epoch(index, epoch)?;
        let mut random = Random::keyed([self.seed, epoch, index as u64]);
        (self.f)(item, &mut random)
    }
}

/// See [`Dataset::subset`].
#[derive(Clone, Debug)]
pub struct Subset<D> {
    pub(super) set: D,
    pub(super) indices: Vec<usize>,
}

impl<D> Subset<D> {
    /// The positions in the whole set.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    #[track_caller]
    fn position(&self, index: usize) -> Result<usize> {
        let found = self.indices.get(index).copied();
        found.ok_or_else(|| out_of_range("get", index, self.indices.len(), Place::caller()))
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn example(&self, index: usize) -> Result<D::Item> {
        self.set.example(self.position(index)?)
    }

    fn example_in_epoch(&self, index: usize, epoch: u64) -> Result<D::Item> {
        self.set.example_in_epoch(self.position(index)?, epoch)
    }
}

/// See [`Dataset::chain`].
#[derive(Clone, Debug)]
pub struct Chained<A, B> {
    pub(super) a: A,
    pub(super) b: B,
}

impl<A: Dataset, B: Dataset<Item = A::Item>> Dataset for Chained<A, B> {
    type Item = A::Item;

    fn len(&self) -> usize {
        self.a.len() + self.b.len()
    }

    fn example(&self, index: usize) -> Result<A::Item> {
        match index.checked_sub(self.a.len()) {
            None => self.a.example(index),
            Some(rest) => self.b.example(rest),
        }
    }

    fn example_in_epoch(&self, index: usize, epoch: u64) -> Result<A::Item> {
        match index.checked_sub(self.a.len()) {
            None => self.a.example_in_epoch(index, epoch),
            Some(rest) => self.b.example_in_epoch(rest, epoch),
        }
    }
}

/// See [`Dataset::zip`].
#[derive(Clone, Debug)]
pub struct Zipped<A, B> {
    pub(super) a: A,
    pub(super) b: B,
}

impl<A: Dataset, B: Dataset> Dataset for Zipped<A, B> {
    type Item = (A::Item, B::Item);

    fn len(&self) -> usize {
        self.a.len().min(self.b.len())
    }

    fn example(&self, index: usize) -> Result<(A::Item, B::Item)> {
        Ok((self.a.example(index)?, self.b.example(index)?))
    }

    fn example_in_epoch(&self, index: usize, epoch: u64) -> Result<(A::Item, B::Item)> {
        let a = self.a.example_in_epoch(index, epoch)?;
        Ok((a, self.b.example_in_epoch(index, epoch)?))
    }
}

/// See [`Dataset::cached`].
pub struct Cached<D: Dataset> {
    set: D,
    kept: Vec<OnceLock<D::Item>>,
}

impl<D: Dataset> Cached<D> {
    pub(super) fn new(set: D) -> Cached<D> {
        let kept = (0..set.len()).map(|_| OnceLock::new()).collect();
        Cached { set, kept }
    }
}

impl<D: Dataset> Dataset for Cached<D>
where
    D::Item: Clone + Sync,
{
    type Item = D::Item;

    fn len(&self) -> usize {
        self.kept.len()
    }

    fn example(&self, index: usize) -> Result<D::Item> {
        let Some(kept) = self.kept.get(index) else {
            return self.set.example(index);
        };
        if kept.get().is_none() {
            // Two threads may read the same example at once; the first to finish is kept.
            let _ = kept.set(self.set.example(index)?);
        }
        Ok(kept.get().expect("just set").clone())
    }
}
