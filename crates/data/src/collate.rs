//! Making a batch of examples.

use half::{bf16, f16};
use wgrad_core::{Device, Element, Place, Result, Tensor};

use crate::array::unequal;
use crate::{Array, Batch};

/// Examples that can be put together to a batch: on the host, by the thread that read them, and then on the device.
///
/// Pairs `(x, y)` become a [`Batch`], single values a [`Tensor`], triples three tensors; each part is a number, an
/// array `[E; N]`, a vector or an [`Array`] (see [`Stack`]). An own example says how it is done:
///
/// ```
/// use wgrad::data::{Array, Batches, Collate, DataLoader};
/// use wgrad::prelude::*;
///
/// #[derive(Clone)]
/// struct Example {
///     words: Array<i32>,
///     rating: f32,
/// }
///
/// struct Reviews {
///     words: Tensor, // [batch, longest], filled up with 0
///     rating: Tensor,
/// }
///
/// impl Collate for Example {
///     type Host = (Array<i32>, Array<f32>);
///     type Batch = Reviews;
///
///     fn collate(examples: Vec<Example>) -> Result<Self::Host> {
///         let ratings: Vec<f32> = examples.iter().map(|e| e.rating).collect();
///         Ok((Array::stack_padded(examples.iter().map(|e| &e.words), 0)?, ratings.into()))
///     }
///
///     fn upload((words, rating): Self::Host, device: &Device) -> Result<Reviews> {
///         Ok(Reviews { words: words.to_tensor(device), rating: rating.to_tensor(device) })
///     }
/// }
///
/// # let dev = wgrad::cpu();
/// let set = vec![
///     Example { words: vec![3, 4].into(), rating: 0.5 },
///     Example { words: vec![5].into(), rating: 1.0 },
/// ];
/// let loader = DataLoader::new(set, &dev).batch_size(2);
/// let batch = loader.epoch(0, 0).next().unwrap()?;
/// assert_eq!(batch.words.to_vec::<i32>()?, [3, 4, 5, 0]);
/// assert_eq!(batch.rating.to_vec::<f32>()?, [0.5, 1.0]);
/// # Ok::<(), Error>(())
/// ```
pub trait Collate: Send + Sized {
    /// The batch on the host.
    type Host: Send + 'static;
    /// The batch on the device.
    type Batch;

    /// Puts examples together.
    ///
    /// # Errors
    /// Where they do not fit together.
    fn collate(examples: Vec<Self>) -> Result<Self::Host>;

    /// Brings a batch to a device.
    ///
    /// # Errors
    /// What the device can fail with.
    fn upload(host: Self::Host, device: &Device) -> Result<Self::Batch>;
}

/// Values that can be the rows of one array: numbers give `[batch]`, `[E; N]` and vectors `[batch, n]`, arrays
/// `[batch, ..]`.
///
/// ```
/// use wgrad::data::Stack;
///
/// assert_eq!(Stack::stack(vec![[1, 2], [3, 4], [5, 6]])?.dims(), [3, 2]);
/// assert!(Stack::stack(vec![vec![1], vec![2, 3]]).is_err());
/// # Ok::<(), wgrad::Error>(())
/// ```
pub trait Stack: Send + Sized {
    /// The type of the elements.
    type Element: Element;

    /// The values as rows.
    ///
    /// # Errors
    /// [`Error::Shape`](wgrad_core::Error::Shape) where their shapes differ.
    fn stack(rows: Vec<Self>) -> Result<Array<Self::Element>>;
}

impl<E: Element> Stack for Array<E> {
    type Element = E;

    #[track_caller]
    fn stack(rows: Vec<Array<E>>) -> Result<Array<E>> {
        Array::stack(&rows)
    }
}

impl<E: Element> Stack for Vec<E> {
    type Element = E;

    #[track_caller]
    fn stack(rows: Vec<Vec<E>>) -> Result<Array<E>> {
        let len = rows.first().map_or(0, Vec::len);
        if let Some(at) = rows.iter().position(|row| row.len() != len) {
            return Err(unequal(at, &[len], &[rows[at].len()], Place::caller()));
        }
        let shape = [rows.len(), len];
        Array::new(rows.concat(), shape)
    }
}

impl<E: Element, const N: usize> Stack for [E; N] {
    type Element = E;

    fn stack(rows: Vec<[E; N]>) -> Result<Array<E>> {
        let shape = [rows.len(), N];
        Array::new(rows.concat(), shape)
    }
}

impl<X: Stack, Y: Stack> Collate for (X, Y) {
    type Host = (Array<X::Element>, Array<Y::Element>);
    type Batch = Batch;

    fn collate(examples: Vec<(X, Y)>) -> Result<Self::Host> {
        let (x, y) = examples.into_iter().unzip();
        Ok((X::stack(x)?, Y::stack(y)?))
    }

    fn upload((x, y): Self::Host, device: &Device) -> Result<Batch> {
        Ok(Batch {
            x: x.to_tensor(device).checked()?,
            y: y.to_tensor(device).checked()?,
        })
    }
}

impl<A: Stack, B: Stack, C: Stack> Collate for (A, B, C) {
    type Host = (Array<A::Element>, Array<B::Element>, Array<C::Element>);
    type Batch = (Tensor, Tensor, Tensor);

    fn collate(examples: Vec<(A, B, C)>) -> Result<Self::Host> {
        let (a, b, c) = examples.into_iter().collect();
        Ok((A::stack(a)?, B::stack(b)?, C::stack(c)?))
    }

    fn upload((a, b, c): Self::Host, device: &Device) -> Result<Self::Batch> {
        Ok((
            a.to_tensor(device).checked()?,
            b.to_tensor(device).checked()?,
            c.to_tensor(device).checked()?,
        ))
    }
}

macro_rules! alone {
    ($([$($generic:tt)*] $t:ty),* $(,)?) => { $(
        impl<$($generic)*> Collate for $t {
            type Host = Array<<$t as Stack>::Element>;
            type Batch = Tensor;

            fn collate(examples: Vec<$t>) -> Result<Self::Host> {
                Stack::stack(examples)
            }

            fn upload(host: Self::Host, device: &Device) -> Result<Tensor> {
                host.to_tensor(device).checked()
            }
        }
    )* };
}
alone!([E: Element] Array<E>, [E: Element] Vec<E>, [E: Element, const N: usize] [E; N]);

macro_rules! numbers {
    ($($t:ty),*) => { $(
        impl Stack for $t {
            type Element = $t;

            fn stack(rows: Vec<$t>) -> Result<Array<$t>> {
                Ok(rows.into())
            }
        }
        alone!([] $t);
    )* };
}
numbers!(f64, f32, f16, bf16, i64, i32, u32, i16, i8, u8, bool);
