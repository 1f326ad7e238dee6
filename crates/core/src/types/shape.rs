//! Shapes, and how dimensions and shapes are written by a user.

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

use crate::types::layout::Strides;

/// Dimensions that stay on the stack up to rank 4.
pub(crate) type Dims = SmallVec<[usize; 4]>;

/// The sizes of a tensor's dimensions, outermost first. A scalar has the empty shape.
#[derive(PartialEq, Eq, Hash, Default)]
pub struct Shape(Dims);

impl Clone for Shape {
    /// A block copy: shapes are cloned several times for every operation recorded, and `SmallVec`
    /// clones element by element.
    fn clone(&self) -> Shape {
        Shape::new(&self.0)
    }
}

impl Shape {
    /// A shape from its sizes.
    pub fn new(dims: &[usize]) -> Shape {
        Shape(Dims::from_slice(dims))
    }

    /// The number of elements. Saturates at `usize::MAX`; [`Shape::checked_numel`] tells.
    pub fn numel(&self) -> usize {
        self.checked_numel().unwrap_or(usize::MAX)
    }

    /// The number of elements, `None` where it does not fit a `usize`.
    pub fn checked_numel(&self) -> Option<usize> {
        if self.0.contains(&0) {
            return Some(0);
        }
        self.0.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }

    /// Whether the elements can be counted, and those of several such shapes too, dimensions of size 0
    /// left out: views of few elements may have any size.
    pub(crate) fn is_countable(&self) -> bool {
        const MOST: u64 = 1 << 48;
        let sizes = self.0.iter().filter(|&&d| d != 0);
        let product = sizes.fold(1u64, |n, &d| n.saturating_mul(d as u64));
        product <= MOST
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The sizes.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Strides of a row-major tensor of this shape, in elements.
    pub fn strides(&self) -> Strides {
        let mut strides = SmallVec::from_elem(0, self.rank());
        let mut step = 1isize;
        for (stride, &dim) in strides.iter_mut().zip(self.0.iter()).rev() {
            *stride = step;
            step = step.wrapping_mul(dim.max(1) as isize);
        }
        strides
    }

    /// The shape two operands broadcast to (NumPy's rule), `None` where they do not fit.
    ///
    /// ```
    /// use wgrad_core::Shape;
    /// let (a, b) = (Shape::from([4, 1, 3]), Shape::from([5, 1]));
    /// assert_eq!(a.broadcast(&b), Some(Shape::from([4, 5, 3])));
    /// assert_eq!(a.broadcast(&Shape::from([2])), None);
    /// ```
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        if self == other {
            return Some(self.clone());
        }
        let rank = self.rank().max(other.rank());
        let at = |s: &Shape, i: usize| {
            let pad = rank - s.rank();
            if i < pad { 1 } else { s.0[i - pad] }
        };
        let mut dims = Dims::with_capacity(rank);
        for i in 0..rank {
            dims.push(match (at(self, i), at(other, i)) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            });
        }
        Some(Shape(dims))
    }

    /// The position of `dim`, where negative values count from the end; `None` out of range.
    /// A scalar accepts 0 and -1, as in torch.
    pub fn dim(&self, dim: isize) -> Option<usize> {
        let rank = self.rank().max(1) as isize;
        let i = if dim < 0 { dim + rank } else { dim };
        (0..rank).contains(&i).then_some(i as usize)
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<Dims> for Shape {
    fn from(dims: Dims) -> Shape {
        Shape(dims)
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Shape {
        Shape::new(dims)
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Shape {
        Shape(Dims::from_vec(dims))
    }
}

impl From<&Vec<usize>> for Shape {
    fn from(dims: &Vec<usize>) -> Shape {
        Shape::new(dims)
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Shape {
        shape.clone()
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Shape {
        Shape::new(&dims)
    }
}

impl From<usize> for Shape {
    fn from(dim: usize) -> Shape {
        Shape::new(&[dim])
    }
}

impl From<()> for Shape {
    fn from((): ()) -> Shape {
        Shape::default()
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(dims: I) -> Shape {
        Shape(dims.into_iter().collect())
    }
}

impl PartialEq<[usize]> for Shape {
    fn eq(&self, other: &[usize]) -> bool {
        self.dims() == other
    }
}

impl<const N: usize> PartialEq<[usize; N]> for Shape {
    fn eq(&self, other: &[usize; N]) -> bool {
        self.dims() == other
    }
}

/// Prints like `[2, 3]`.
impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter()).finish()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A size given to `reshape` and the like: a size, or -1 for "what is left".
pub trait Size: Copy {
    /// The size as a signed number.
    fn size(self) -> isize;
}

macro_rules! sizes {
    ($($t:ty),*) => { $(impl Size for $t {
        fn size(self) -> isize { isize::try_from(self).unwrap_or(isize::MAX) }
    })* };
}
sizes!(usize, isize, i32, i64, u32);

/// What `reshape` accepts: arrays and slices of sizes, a shape, or a tuple that mixes `usize` and
/// -1, as in `x.reshape((-1, c / 2))`.
pub trait ReshapeTo {
    /// The sizes, -1 for the inferred one.
    fn sizes(&self) -> SmallVec<[isize; 6]>;
}

impl<S: Size, const N: usize> ReshapeTo for [S; N] {
    fn sizes(&self) -> SmallVec<[isize; 6]> {
        self.iter().map(|s| s.size()).collect()
    }
}

impl<S: Size> ReshapeTo for &[S] {
    fn sizes(&self) -> SmallVec<[isize; 6]> {
        self.iter().map(|s| s.size()).collect()
    }
}

impl<S: Size> ReshapeTo for Vec<S> {
    fn sizes(&self) -> SmallVec<[isize; 6]> {
        self.iter().map(|s| s.size()).collect()
    }
}

impl ReshapeTo for Shape {
    fn sizes(&self) -> SmallVec<[isize; 6]> {
        self.iter().map(|s| s.size()).collect()
    }
}

impl ReshapeTo for &Shape {
    fn sizes(&self) -> SmallVec<[isize; 6]> {
        (*self).sizes()
    }
}

impl ReshapeTo for () {
    fn sizes(&self) -> SmallVec<[isize; 6]> {
        SmallVec::new()
    }
}

macro_rules! tuples {
    ($(($($t:ident $i:tt),+);)*) => { $(impl<$($t: Size),+> ReshapeTo for ($($t,)+) {
        fn sizes(&self) -> SmallVec<[isize; 6]> { SmallVec::from_slice(&[$(self.$i.size()),+]) }
    })* };
}
tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
}

/// Dimensions to reduce over or to permute: negative ones count from the end. Arrays, slices,
/// a single number, or `..` for all.
pub trait DimList {
    /// The dimensions as given, `None` for all.
    fn list(&self) -> Option<SmallVec<[isize; 6]>>;
}

impl<const N: usize> DimList for [isize; N] {
    fn list(&self) -> Option<SmallVec<[isize; 6]>> {
        Some(SmallVec::from_slice(self))
    }
}

impl DimList for &[isize] {
    fn list(&self) -> Option<SmallVec<[isize; 6]>> {
        Some(SmallVec::from_slice(self))
    }
}

impl DimList for Vec<isize> {
    fn list(&self) -> Option<SmallVec<[isize; 6]>> {
        Some(SmallVec::from_slice(self))
    }
}

impl DimList for isize {
    fn list(&self) -> Option<SmallVec<[isize; 6]>> {
        Some(SmallVec::from_slice(&[*self]))
    }
}

impl DimList for std::ops::RangeFull {
    fn list(&self) -> Option<SmallVec<[isize; 6]>> {
        None
    }
}
