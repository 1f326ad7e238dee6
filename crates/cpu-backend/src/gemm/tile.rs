//! The microkernel: a tile of C, in registers throughout.

use pulp::Simd;

use super::in_place::Piece;
use super::real::{Real, lanes};

/// Rows of A as the microkernel reads them.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a, T> {
    /// Packed for a tile of this height: column by column.
    Packed(*const T),
    /// Where they lie: the first element, the distance between rows and between the elements of a row.
    Direct(*const T, isize, isize),
    /// Where they lie: how far from here each begins, and how far from there the elements of all of them lie.
    Views(*const T, &'a [i64], &'a [i64]),
}

/// Rows of B as the microkernel reads them.
#[derive(Clone, Copy)]
pub(super) enum RowsOfB<'a, T> {
    /// The first, and the distance to the next.
    Apart(*const T, isize),
    /// So far from here each, in elements.
    From(*const T, &'a [i64]),
}

impl<T> RowsOfB<'_, T> {
    /// Those of a packed sliver.
    pub fn packed<const WIDTH: usize>(first: *const T) -> Self {
        RowsOfB::Apart(first, WIDTH as isize)
    }
}

/// Most rows that are read where they lie: each takes a register for its address.
pub(super) const DIRECT_ROWS: usize = 8;

/// The part of C that a tile covers.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a, T> {
    /// The beginning of its first row in C.
    pub start: *mut T,
    /// Distance between rows.
    pub row: usize,
    pub rows: usize,
    /// The columns that are stored.
    pub pieces: &'a [Piece],
    /// Whether the products are stored rather than added.
    pub fresh: bool,
}

impl<T: Real> Tile<'_, T> {
    /// Computes the tile: `k` steps of A's rows and of B's, `VECTORS` vectors each.
    ///
    /// # Safety
    /// All these elements are readable; this part of C is writable, by this task only. Windows go with rows that are
    /// packed.
    #[inline(always)]
    pub unsafe fn compute<S: Simd, const MOST: usize, const VECTORS: usize>(
        self,
        simd: S,
        k: usize,
        a: Rows<'_, T>,
        b: RowsOfB<'_, T>,
    ) {
        macro_rules! heights {
            ($method:ident, $a:expr, $b:expr, $($height:literal)*) => {
                match self.rows {
                    $($height => {
                        // Heights beyond the instruction set's are not compiled.
                        if const { $height <= MOST } {
                            // SAFETY: the caller's promise.
                            unsafe { self.$method::<S, $height, VECTORS>(simd, $a, $b) }
                        }
                    })*
                    rows => debug_assert!(false, "a tile of {rows} rows"),
                }
            };
        }
        self.fetch();
        let apart = |mut at: *const T, down: isize| {
            (0..k).map(move |_| {
                let row = at;
                at = at.wrapping_offset(down);
                row
            })
        };
        match (a, b) {
            (Rows::Packed(a), RowsOfB::Apart(b, down)) => {
                heights!(packed, a, apart(b, down), 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            }
            (Rows::Packed(a), RowsOfB::From(b, starts)) => {
                let rows = starts
                    .iter()
                    .map(|&start| b.wrapping_offset(start as isize));
                heights!(packed, a, rows, 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            }
            (Rows::Direct(a, next, along), RowsOfB::Apart(b, down)) => {
                heights!(direct, (a, next, along), apart(b, down), 1 2 3 4 5 6 7 8);
            }
            (Rows::Views(a, places, steps), RowsOfB::Apart(b, down)) => {
                heights!(views, (a, places, steps), apart(b, down), 1 2 3 4 5 6 7 8 9);
            }
            (Rows::Direct(..) | Rows::Views(..), RowsOfB::From(..)) => {
                debug_assert!(false, "rows are packed")
            }
        }
    }

    /// # Safety
    /// As for [`Tile::compute`].
    #[inline(always)]
    unsafe fn packed<S: Simd, const ROWS: usize, const VECTORS: usize>(
        self,
        simd: S,
        a: *const T,
        b: impl Iterator<Item = *const T>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let rows = std::array::from_fn::<_, ROWS, _>(|r| a.add(r));
            let sums = multiply::<S, T, ROWS, VECTORS>(simd, rows, every(ROWS as isize).zip(b));
            self.store(simd, &sums);
        }
    }

    /// # Safety
    /// As for [`Tile::compute`].
    #[inline(always)]
    unsafe fn direct<S: Simd, const ROWS: usize, const VECTORS: usize>(
        self,
        simd: S,
        (a, next, along): (*const T, isize, isize),
        b: impl Iterator<Item = *const T>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let rows = std::array::from_fn::<_, ROWS, _>(|r| a.offset(r as isize * next));
            let sums = multiply::<S, T, ROWS, VECTORS>(simd, rows, every(along).zip(b));
            self.store(simd, &sums);
        }
    }

    /// # Safety
    /// As for [`Tile::compute`].
    #[inline(always)]
    unsafe fn views<S: Simd, const ROWS: usize, const VECTORS: usize>(
        self,
        simd: S,
        (a, places, steps): (*const T, &[i64], &[i64]),
        b: impl Iterator<Item = *const T>,
    ) {
        let mut rows = [a; ROWS];
        for (row, &place) in rows.iter_mut().zip(places) {
            *row = row.wrapping_offset(place as isize);
        }
        let steps = steps.iter().map(|&step| step as isize);
        // SAFETY: the caller's promise.
        unsafe {
            let sums = multiply::<S, T, ROWS, VECTORS>(simd, rows, steps.zip(b));
            self.store(simd, &sums);
        }
    }

    /// Asks for the tile's memory, so that it is there when the sums are.
    #[inline(always)]
    fn fetch(&self) {
        #[cfg(target_arch = "x86_64")]
        if let (false, Some(piece)) = (self.fresh, self.pieces.first()) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let start = self.start.wrapping_add(piece.column);
            for i in 0..self.rows {
                let row = start.wrapping_add(i * self.row);
                // SAFETY: a hint, which touches nothing.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(row.cast()) };
            }
        }
    }

    /// # Safety
    /// As for [`Tile::compute`].
    #[inline(always)]
    unsafe fn store<S: Simd, const ROWS: usize, const VECTORS: usize>(
        self,
        simd: S,
        sums: &[[T::Vector<S>; VECTORS]; ROWS],
    ) {
        let lanes = const { lanes::<S, T>() };
        // SAFETY: the caller's promise.
        unsafe {
            if let &[
                Piece {
                    lane: 0,
                    count,
                    column,
                },
            ] = self.pieces
                && count == VECTORS * lanes
            {
                for (i, row) in sums.iter().enumerate() {
                    for (v, &sum) in row.iter().enumerate() {
                        let at = self.start.add(i * self.row + column + v * lanes);
                        let at = at.cast::<T::Vector<S>>();
                        let sum = match self.fresh {
                            true => sum,
                            false => T::add(simd, at.read_unaligned(), sum),
                        };
                        at.write_unaligned(sum);
                    }
                }
                return;
            }
            for &Piece {
                lane,
                count,
                column,
            } in self.pieces
            {
                for v in 0..VECTORS {
                    // Lanes of this vector.
                    let from = lane.max(v * lanes) - v * lanes;
                    let to = (lane + count).saturating_sub(v * lanes).min(lanes);
                    if from >= to {
                        continue;
                    }
                    // Where its first lane would be.
                    let start = self
                        .start
                        .wrapping_add(column + v * lanes)
                        .wrapping_sub(lane);
                    for (i, row) in sums.iter().enumerate() {
                        let at = start.wrapping_add(i * self.row);
                        let sum = match self.fresh {
                            true => row[v],
                            false => T::add(simd, T::load_lanes(simd, at, from..to), row[v]),
                        };
                        T::store_lanes(simd, at, from..to, sum);
                    }
                }
            }
        }
    }
}

/// Multiples of a distance.
#[inline(always)]
fn every(distance: isize) -> impl Iterator<Item = isize> {
    let mut at = 0isize;
    std::iter::repeat_with(move || {
        let now = at;
        at = at.wrapping_add(distance);
        now
    })
}

/// The products of `ROWS` rows of A and of rows of B: for each step of k, how far the elements of A lie from `a`, and where the
/// row of B is.
///
/// # Safety
/// All these elements are readable.
#[inline(always)]
unsafe fn multiply<S: Simd, T: Real, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    a: [*const T; ROWS],
    steps: impl Iterator<Item = (isize, *const T)>,
) -> [[T::Vector<S>; VECTORS]; ROWS] {
    let zero = T::splat(simd, T::from_f64(0.0));
    let mut sums = [[zero; VECTORS]; ROWS];
    for (skip, b) in steps {
        // SAFETY: the caller's promise.
        unsafe {
            let row: [T::Vector<S>; VECTORS] = std::array::from_fn(|v| {
                b.add(v * lanes::<S, T>())
                    .cast::<T::Vector<S>>()
                    .read_unaligned()
            });
            for (sums, a) in sums.iter_mut().zip(&a) {
                let x = T::splat(simd, *a.offset(skip));
                for (sum, y) in sums.iter_mut().zip(row) {
                    *sum = T::multiply_add(simd, x, y, *sum);
                }
            }
        }
    }
    sums
}
