//! The microkernel: a tile of C, in registers throughout.

use pulp::Simd;

use super::real::{Real, lanes};

/// Rows of A as the microkernel reads them.
#[derive(Clone, Copy)]
pub(super) enum Rows<T> {
    /// Packed for a tile of this height: column by column.
    Packed(*const T),
    /// Where they lie: the first element, the distance between rows and between the elements of a row.
    Direct(*const T, isize, isize),
}

/// Most rows that are read where they lie: each takes a register for its address.
pub(super) const DIRECT_ROWS: usize = 8;

/// The part of C that a tile covers.
#[derive(Clone, Copy)]
pub(super) struct Tile<T> {
    pub start: *mut T,
    /// Distance between rows.
    pub row: usize,
    pub rows: usize,
    pub columns: usize,
    /// Whether the products are stored rather than added.
    pub fresh: bool,
}

impl<T: Real> Tile<T> {
    /// Computes the tile: `k` steps of A's rows and of B's, which are `down` apart, `VECTORS` vectors each.
    ///
    /// # Safety
    /// All these elements are readable; this part of C is writable, by this task only.
    #[inline(always)]
    pub unsafe fn compute<S: Simd, const MOST: usize, const VECTORS: usize>(
        self,
        simd: S,
        k: usize,
        a: Rows<T>,
        b: *const T,
        down: isize,
    ) {
        macro_rules! heights {
            ($method:ident, $a:expr, $($height:literal)*) => {
                match self.rows {
                    $($height => {
                        // Heights beyond the instruction set's are not compiled.
                        if const { $height <= MOST } {
                            // SAFETY: the caller's promise.
                            unsafe { self.$method::<S, $height, VECTORS>(simd, k, $a, b, down) }
                        }
                    })*
                    rows => debug_assert!(false, "a tile of {rows} rows"),
                }
            };
        }
        self.fetch();
        match a {
            Rows::Packed(a) => heights!(packed, a, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            Rows::Direct(a, next, along) => {
                heights!(direct, (a, next, along), 1 2 3 4 5 6 7 8);
            }
        }
    }

    /// # Safety
    /// As for [`Tile::compute`].
    #[inline(always)]
    unsafe fn packed<S: Simd, const ROWS: usize, const VECTORS: usize>(
        self,
        simd: S,
        k: usize,
        a: *const T,
        b: *const T,
        down: isize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let rows = std::array::from_fn::<_, ROWS, _>(|r| a.add(r));
            let sums = multiply::<S, T, ROWS, VECTORS>(simd, k, rows, ROWS as isize, b, down);
            self.store(simd, &sums);
        }
    }

    /// # Safety
    /// As for [`Tile::compute`].
    #[inline(always)]
    unsafe fn direct<S: Simd, const ROWS: usize, const VECTORS: usize>(
        self,
        simd: S,
        k: usize,
        (a, next, along): (*const T, isize, isize),
        b: *const T,
        down: isize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let rows = std::array::from_fn::<_, ROWS, _>(|r| a.offset(r as isize * next));
            let sums = multiply::<S, T, ROWS, VECTORS>(simd, k, rows, along, b, down);
            self.store(simd, &sums);
        }
    }

    /// Asks for the tile's memory, so that it is there when the sums are.
    #[inline(always)]
    fn fetch(&self) {
        #[cfg(target_arch = "x86_64")]
        if !self.fresh {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            for i in 0..self.rows {
                let row = self.start.wrapping_add(i * self.row);
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
        let lanes = lanes::<S, T>();
        let whole = self.columns == VECTORS * lanes;
        for (i, row) in sums.iter().enumerate() {
            for (v, &sum) in row.iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe {
                    let at = self.start.add(i * self.row).wrapping_add(v * lanes);
                    if whole {
                        let at = at.cast::<T::Vector<S>>();
                        let sum = match self.fresh {
                            true => sum,
                            false => T::add(simd, at.read_unaligned(), sum),
                        };
                        at.write_unaligned(sum);
                    } else if self.columns > v * lanes {
                        let count = lanes.min(self.columns - v * lanes);
                        let sum = match self.fresh {
                            true => sum,
                            false => T::add(simd, T::load(simd, at, count), sum),
                        };
                        T::store(simd, at, count, sum);
                    }
                }
            }
        }
    }
}

/// The products of `ROWS` rows of A, whose next elements are `along` apart, and `k` rows of B, `down` apart.
///
/// # Safety
/// All these elements are readable.
#[inline(always)]
unsafe fn multiply<S: Simd, T: Real, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    k: usize,
    a: [*const T; ROWS],
    along: isize,
    mut b: *const T,
    down: isize,
) -> [[T::Vector<S>; VECTORS]; ROWS] {
    let zero = T::splat(simd, T::from_f64(0.0));
    let mut sums = [[zero; VECTORS]; ROWS];
    let mut skip = 0isize;
    for _ in 0..k {
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
        skip += along;
        b = b.wrapping_offset(down);
    }
    sums
}
