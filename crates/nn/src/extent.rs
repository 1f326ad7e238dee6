//! Sizes along dimensions, and how descriptions print them.

use std::fmt;

use wgrad_core::{Result, Tensor};

/// A size along each of `D` dimensions: one number for all of them, or one for each.
///
/// ```
/// use wgrad::nn::Extent;
/// assert_eq!(Extent::<2>::from(3), Extent::from([3, 3]));
/// assert_eq!(Extent::from([5]).to_string(), "(5,)"); // as Python prints tuples
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent<const D: usize>(pub [usize; D]);

impl<const D: usize> From<usize> for Extent<D> {
    fn from(size: usize) -> Extent<D> {
        Extent([size; D])
    }
}

impl<const D: usize> From<[usize; D]> for Extent<D> {
    fn from(sizes: [usize; D]) -> Extent<D> {
        Extent(sizes)
    }
}

impl<const D: usize> fmt::Display for Extent<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        tuple(f, &self.0)
    }
}

/// The size of a result along each of `D` dimensions, which may be the input's: one number, one for each, or `None`.
///
/// ```
/// use wgrad::nn::OutputSize;
/// assert_eq!(OutputSize::<2>::from(3), OutputSize::from([3, 3]));
/// assert_eq!(OutputSize::from([None, Some(7)]).to_string(), "(None, 7)");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutputSize<const D: usize>(pub [Option<usize>; D]);

impl<const D: usize> From<usize> for OutputSize<D> {
    fn from(size: usize) -> OutputSize<D> {
        OutputSize([Some(size); D])
    }
}

impl<const D: usize> From<[usize; D]> for OutputSize<D> {
    fn from(sizes: [usize; D]) -> OutputSize<D> {
        OutputSize(sizes.map(Some))
    }
}

impl<const D: usize> From<[Option<usize>; D]> for OutputSize<D> {
    fn from(sizes: [Option<usize>; D]) -> OutputSize<D> {
        OutputSize(sizes)
    }
}

impl<const D: usize> OutputSize<D> {
    /// The size for an input whose last dimensions it is of.
    pub(crate) fn of(self, x: &Tensor) -> Result<[usize; D]> {
        let shape = x.shape()?;
        let first = shape.rank().saturating_sub(D);
        // What is missing is told by the operation.
        let own = |d: usize| shape.get(first + d).copied().unwrap_or(1);
        Ok(std::array::from_fn(|d| self.0[d].unwrap_or_else(|| own(d))))
    }
}

impl<const D: usize> fmt::Display for OutputSize<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |size: Option<usize>| size.map_or("None".to_string(), |size| size.to_string());
        let sizes = self.0.map(size).join(", ");
        let comma = if D == 1 { "," } else { "" };
        write!(f, "({sizes}{comma})")
    }
}

/// Prints numbers as Python prints a tuple.
pub(crate) fn tuple<T: fmt::Debug>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    f.write_str("(")?;
    for (i, item) in items.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        write!(f, "{comma}{item:?}")?;
    }
    f.write_str(if items.len() == 1 { ",)" } else { ")" })
}

/// The product of sizes, which is as large as it gets where it would be larger.
pub(crate) fn product(sizes: &[usize]) -> usize {
    sizes
        .iter()
        .fold(1, |product: usize, &size| product.saturating_mul(size))
}
