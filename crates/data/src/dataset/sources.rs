//! What is a set by itself: values in memory, closures, sets behind pointers.

use std::sync::Arc;

use wgrad_core::{Place, Result};

use crate::Dataset;
use crate::array::out_of_range;

/// A set of `len` examples that a function makes.
///
/// ```
/// use wgrad::data::{Dataset, from_fn};
///
/// let set = from_fn(100, |index| Ok((index as f32, (index % 2) as i32)));
/// assert_eq!(set.example(3)?, (3.0, 1));
/// assert!(set.example(100).is_err());
/// # Ok::<(), wgrad::Error>(())
/// ```
pub fn from_fn<T, F>(len: usize, f: F) -> FromFn<F>
where
    T: Send,
    F: Fn(usize) -> Result<T> + Send + Sync,
{
    FromFn { len, f }
}

/// See [`from_fn`].
#[derive(Clone)]
pub struct FromFn<F> {
    len: usize,
    f: F,
}

impl<T, F> Dataset for FromFn<F>
where
    T: Send,
    F: Fn(usize) -> Result<T> + Send + Sync,
{
    type Item = T;

    fn len(&self) -> usize {
        self.len
    }

    fn example(&self, index: usize) -> Result<T> {
        if index >= self.len {
            return Err(out_of_range("get", index, self.len, Place::caller()));
        }
        (self.f)(index)
    }
}

impl<T: Clone + Send + Sync> Dataset for [T] {
    type Item = T;

    fn len(&self) -> usize {
        self.len()
    }

    fn example(&self, index: usize) -> Result<T> {
        let found = self.as_ref().get(index).cloned();
        found.ok_or_else(|| out_of_range("get", index, self.len(), Place::caller()))
    }
}

impl<T: Clone + Send + Sync> Dataset for Vec<T> {
    type Item = T;

    fn len(&self) -> usize {
        self.len()
    }

    fn example(&self, index: usize) -> Result<T> {
        Dataset::example(self.as_slice(), index)
    }
}

macro_rules! pointers {
    ($($pointer:ty),*) => { $(
        impl<D: Dataset + ?Sized> Dataset for $pointer {
            type Item = D::Item;

            fn len(&self) -> usize {
                (**self).len()
            }

            fn example(&self, index: usize) -> Result<D::Item> {
                (**self).example(index)
            }

            fn example_in_epoch(&self, index: usize, epoch: u64) -> Result<D::Item> {
                (**self).example_in_epoch(index, epoch)
            }
        }
    )* };
}
pointers!(&D, Box<D>, Arc<D>);
