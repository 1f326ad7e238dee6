//! Products of a step's rows and the weights, which are packed once for all steps.

use std::ops::Range;

use bytemuck::Pod;
use pulp::{Arch, Simd, WithSimd};

use crate::lanes::FloatElement;
use crate::parallel::{self, Shared};

/// Rows of a tile: with two vectors of columns as many sums as the registers hold. Lower ones have 4 and 2.
const HEIGHT: usize = 6;
/// Vectors in a row of a tile.
const VECTORS: usize = 2;
/// Steps of `k` after which a sum is added to the others: errors grow with the length of a chain of additions.
const DEPTH: usize = 256;

/// Elements with vectors of them.
pub(super) trait Real: FloatElement {
    type Vector<S: Simd>: Pod;
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    fn add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a b + c`.
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
}

macro_rules! real {
    ($t:ty, $vector:ident, $splat:ident, $add:ident, $mul_add:ident) => {
        impl Real for $t {
            type Vector<S: Simd> = S::$vector;
            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$vector {
                simd.$splat(x)
            }
            #[inline(always)]
            fn add<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn mul_add<S: Simd>(
                simd: S,
                a: S::$vector,
                b: S::$vector,
                c: S::$vector,
            ) -> S::$vector {
                simd.$mul_add(a, b, c)
            }
        }
    };
}
real!(f32, f32s, splat_f32s, add_f32s, mul_add_e_f32s);
real!(f64, f64s, splat_f64s, add_f64s, mul_add_e_f64s);

/// Columns of a tile on this machine.
struct Width<E>(std::marker::PhantomData<E>);
impl<E: Real> WithSimd for Width<E> {
    type Output = usize;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        VECTORS * size_of::<E::Vector<S>>() / size_of::<E>()
    }
}

/// The second factor, `k` rows of `n`, by slivers of a tile's width, row by row, missing columns as 0.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a, E> {
    k: usize,
    width: usize,
    panel: &'a [E],
}

impl<'a, E: Real> Weights<'a, E> {
    fn width() -> usize {
        Arch::new().dispatch(Width::<E>(std::marker::PhantomData))
    }

    /// Columns of the products of a factor with `n`.
    pub fn columns(n: usize) -> usize {
        n.next_multiple_of(Self::width())
    }

    /// Room for rows, which go by tiles of an even height.
    pub fn room(rows: usize) -> usize {
        rows.next_multiple_of(2)
    }

    /// Packs into `panel`, of `k` times [`Weights::columns`]: `line` gives the factor's rows, or with `transposed` its
    /// columns, one after the other.
    pub fn new(
        (k, n): (usize, usize),
        transposed: bool,
        panel: &'a mut [E],
        mut line: impl FnMut(usize) -> &'a [E],
    ) -> Weights<'a, E> {
        let width = Self::width();
        panel.fill(E::from_f64(0.0));
        if transposed {
            for j in 0..n {
                let sliver = &mut panel[j / width * k * width..][..k * width];
                for (row, &x) in sliver.chunks_exact_mut(width).zip(line(j)) {
                    row[j % width] = x;
                }
            }
        } else {
            for p in 0..k {
                for (j, part) in line(p).chunks(width).enumerate() {
                    panel[(j * k + p) * width..][..part.len()].copy_from_slice(part);
                }
            }
        }
        Weights { k, width, panel }
    }

    /// The product of `rows` rows, which lie one behind the other in `a` with [`Weights::room`], to `c` with as much
    /// room, whose rows are `stride` apart and have [`Weights::columns`] elements; its columns in so many pieces at a
    /// time.
    pub fn multiply(&self, rows: usize, a: &[E], c: &mut [E], stride: usize, pieces: usize) {
        let (room, columns) = (Self::room(rows), self.panel.len() / self.k);
        assert!(a.len() >= room * self.k && c.len() >= room * stride && stride >= columns);
        let slivers = columns / self.width;
        let piece = slivers.div_ceil(pieces);
        let c = Shared(c.as_mut_ptr());
        parallel::for_each(pieces > 1, slivers.div_ceil(piece), |i| {
            Arch::new().dispatch(Multiply {
                weights: self,
                slivers: i * piece..slivers.min(i * piece + piece),
                rows,
                a,
                c,
                stride,
            });
        });
    }
}

struct Multiply<'a, E> {
    weights: &'a Weights<'a, E>,
    /// Those that are multiplied.
    slivers: Range<usize>,
    rows: usize,
    a: &'a [E],
    /// With room for all, of which nobody else writes these columns.
    c: Shared<E>,
    stride: usize,
}

impl<E: Real> WithSimd for Multiply<'_, E> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Weights { k, width, panel } = *self.weights;
        // As few tiles as there may be, and none that is much lower than the others.
        let height = self.rows.div_ceil(self.rows.div_ceil(HEIGHT).max(1));
        for j in self.slivers {
            let sliver = &panel[j * k * width..][..k * width];
            for from in (0..k).step_by(DEPTH) {
                let b = &sliver[from * width..k.min(from + DEPTH) * width];
                let mut i = 0;
                while i < self.rows {
                    // SAFETY: `multiply` has checked that there is room for whole tiles, which end at an even row.
                    i += unsafe {
                        let part = Part {
                            a: self.a.as_ptr().add(i * k + from),
                            k,
                            b,
                            c: self.c.get().add(i * self.stride + j * width),
                            stride: self.stride,
                            adds: from > 0,
                        };
                        match height.min(self.rows - i) {
                            0..=2 => part.tile::<S, 2>(simd),
                            3..=4 => part.tile::<S, 4>(simd),
                            _ => part.tile::<S, HEIGHT>(simd),
                        }
                    };
                }
            }
        }
    }
}

/// A part of the sums of a tile.
struct Part<'a, E> {
    /// Rows, `k` apart.
    a: *const E,
    k: usize,
    /// A part of a sliver.
    b: &'a [E],
    /// Rows, `stride` apart.
    c: *mut E,
    stride: usize,
    /// Whether there are sums already.
    adds: bool,
}

impl<E: Real> Part<'_, E> {
    /// `MR` rows of a product, whose count it returns.
    ///
    /// # Safety
    /// `a` has as many rows, each with an element for each row of `b`, and `c` as many with a tile's width.
    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize>(self, simd: S) -> usize {
        let lanes = size_of::<E::Vector<S>>() / size_of::<E>();
        let mut sums = [[E::splat(simd, E::from_f64(0.0)); VECTORS]; MR];
        for (p, b) in self.b.chunks_exact(VECTORS * lanes).enumerate() {
            let b = b.as_ptr().cast::<E::Vector<S>>();
            // SAFETY: two vectors, and the caller's promise.
            unsafe {
                let row = [b.read_unaligned(), b.add(1).read_unaligned()];
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = E::splat(simd, *self.a.add(r * self.k + p));
                    sums[0] = E::mul_add(simd, x, row[0], sums[0]);
                    sums[1] = E::mul_add(simd, x, row[1], sums[1]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe {
                    let to = self.c.add(r * self.stride + v * lanes);
                    let to = to.cast::<E::Vector<S>>();
                    let sum = match self.adds {
                        true => E::add(simd, to.read_unaligned(), sum),
                        false => sum,
                    };
                    to.write_unaligned(sum);
                }
            }
        }
        MR
    }
}
