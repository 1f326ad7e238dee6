//! Sets of examples.

mod adapters;
mod sources;

use std::sync::Arc;

use wgrad_core::{Place, Result};

pub use adapters::{Augmented, Cached, Chained, Mapped, Subset, Zipped};
pub use sources::{FromFn, from_fn};

use crate::{Random, split};

/// A set whose examples have numbers. Examples are host values (numbers, [`Array`](crate::Array)s, structs of your
/// own), so that any thread can make them.
///
/// Vectors and slices are sets of their elements, closures by [`from_fn`]. An own set says how long it is and gives an
/// example:
///
/// ```
/// use wgrad::data::{Array, Dataset};
/// use wgrad::prelude::*;
///
/// /// The numbers below `self.0` and their squares.
/// struct Squares(usize);
///
/// impl Dataset for Squares {
///     type Item = (f32, f32);
///
///     fn len(&self) -> usize {
///         self.0
///     }
///
///     fn example(&self, index: usize) -> Result<(f32, f32)> {
///         let x = index as f32;
///         Ok((x, x * x))
///     }
/// }
///
/// let set = Squares(10).map(|(x, y)| Ok((x / 10.0, y / 100.0))).subset(vec![5, 6]);
/// assert_eq!(set.len(), 2);
/// assert_eq!(set.example(0)?, (0.5, 0.25));
/// # Ok::<(), Error>(())
/// ```
pub trait Dataset: Send + Sync {
    /// An example.
    type Item: Send;

    /// How many examples there are.
    fn len(&self) -> usize;

    /// An example.
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`](wgrad_core::Error::IndexOutOfRange) beyond the end, and what reading it can fail with.
    fn example(&self, index: usize) -> Result<Self::Item>;

    /// An example as it is in an epoch. Sets that change their examples in each epoch ([`Dataset::augment`]) say how
    /// here; others are the same in all. It depends on its arguments alone.
    ///
    /// # Errors
    /// As [`Dataset::example`].
    fn example_in_epoch(&self, index: usize, epoch: u64) -> Result<Self::Item> {
        let _ = epoch;
        self.example(index)
    }

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each example through a function.
    ///
    /// ```
    /// use wgrad::data::Dataset;
    ///
    /// let set = vec![1, 2, 3].map(|x| Ok(x * 10));
    /// assert_eq!(set.example(2)?, 30);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    fn map<T, F>(self, f: F) -> Mapped<Self, F>
    where
        Self: Sized,
        T: Send,
        F: Fn(Self::Item) -> Result<T> + Send + Sync,
    {
        Mapped { set: self, f }
    }

    /// Each example through a function that draws random numbers: other ones in each epoch, but the same for the
    /// same seed, epoch and example, whichever thread asks and whether or not a training was interrupted.
    ///
    /// ```
    /// use wgrad::data::Dataset;
    ///
    /// let set = vec![1.0, 2.0].augment(7, |x, random| Ok(x + random.uniform()));
    /// assert_eq!(set.example_in_epoch(1, 3)?, set.example_in_epoch(1, 3)?);
    /// assert_ne!(set.example_in_epoch(1, 3)?, set.example_in_epoch(1, 4)?);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    fn augment<T, F>(self, seed: u64, f: F) -> Augmented<Self, F>
    where
        Self: Sized,
        T: Send,
        F: Fn(Self::Item, &mut Random) -> Result<T> + Send + Sync,
    {
        Augmented { set: self, seed, f }
    }

    /// The examples at these positions, in their order.
    fn subset(self, indices: Vec<usize>) -> Subset<Self>
    where
        Self: Sized,
    {
        Subset { set: self, indices }
    }

    /// These examples, then another set's.
    ///
    /// ```
    /// use wgrad::data::Dataset;
    ///
    /// let set = vec![1, 2].chain(vec![3]);
    /// assert_eq!(set.len(), 3);
    /// assert_eq!(set.example(2)?, 3);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    fn chain<D>(self, other: D) -> Chained<Self, D>
    where
        Self: Sized,
        D: Dataset<Item = Self::Item>,
    {
        Chained { a: self, b: other }
    }

    /// Pairs with the examples of another set at the same positions; as many as the shorter one has.
    ///
    /// ```
    /// use wgrad::data::Dataset;
    ///
    /// let set = vec![1.5, 2.5].zip(vec!['a', 'b']);
    /// assert_eq!(set.example(1)?, (2.5, 'b'));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    fn zip<D>(self, other: D) -> Zipped<Self, D>
    where
        Self: Sized,
        D: Dataset,
    {
        Zipped { a: self, b: other }
    }

    /// Keeps each example in memory once it has been asked for. What is in front of it is asked once, for the epoch
    /// that comes first: put [`Dataset::augment`] behind it.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use wgrad::data::{Dataset, from_fn};
    ///
    /// static READ: AtomicUsize = AtomicUsize::new(0);
    /// let set = from_fn(3, |i| Ok(i + READ.fetch_add(1, Ordering::Relaxed))).cached();
    /// assert_eq!(set.example(1)?, set.example(1)?);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    fn cached(self) -> Cached<Self>
    where
        Self: Sized,
        Self::Item: Clone + Sync,
    {
        Cached::new(self)
    }

    /// Divides the set at random into parts of these fractions ([`split::random`]), which share it.
    ///
    /// ```
    /// use wgrad::data::Dataset;
    ///
    /// let parts = (0..10).collect::<Vec<_>>().random_split(&[0.8, 0.2], 1)?;
    /// assert_eq!((parts[0].len(), parts[1].len()), (8, 2));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`split::random`].
    #[track_caller]
    fn random_split(self, fractions: &[f64], seed: u64) -> Result<Vec<Subset<Arc<Self>>>>
    where
        Self: Sized,
    {
        let parts = Place::caller().hold(|| split::random(self.len(), fractions, seed))?;
        let set = Arc::new(self);
        let part = |indices| Arc::clone(&set).subset(indices);
        Ok(parts.into_iter().map(part).collect())
    }
}
