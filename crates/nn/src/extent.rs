//! Sizes along dimensions, and how descriptions print them.

use std::fmt;

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
