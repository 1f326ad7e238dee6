//! The same where B is the windows of something smaller, which stays in the caches from one row of B to the next: sums
//! are in registers.

use pulp::Simd;

use super::super::Gemm;
use super::super::pack::RowTiles;
use super::super::real::{Real, lanes};
use super::{DEPTH, DOT, FewRows, Operands, STRIP};
use crate::cursor::{Cursor, Lines};

/// Rows of A whose sums are in registers together, and vectors of each.
const MOST_ROWS: usize = 3;
const VECTORS: usize = 4;
/// Dot products that are computed together: a 3 x 3 window.
const MOST_DOTS: usize = 9;

impl<T: Real> FewRows<'_, T> {
    /// What [`FewRows::sums_of_rows`] computes.
    ///
    /// # Safety
    /// As for [`FewRows::compute`].
    #[inline(always)]
    pub(super) unsafe fn sums_of_windows<S: Simd>(&self, simd: S, of: &Operands<T>) {
        let Gemm {
            row: stride, k, b, ..
        } = *self.gemm;
        let FewRows {
            rows,
            columns,
            starts,
            factors,
            ..
        } = self;
        let lanes = const { lanes::<S, T>() };
        let step = VECTORS * lanes;
        let furthest = starts.iter().copied().max().unwrap_or(0) as isize;
        let mut cursor = Cursor::new(b.columns);
        cursor.seek(columns.start);
        while cursor.position() < columns.end {
            let first = cursor.position();
            let Lines {
                at,
                apart,
                length,
                count,
            } = cursor.next_lines(STRIP.min(columns.end - first));
            let last = at + (apart * (count as isize - 1)).max(0);
            for p in (0..k).step_by(DEPTH) {
                for j in (0..length).step_by(step) {
                    let width = step.min(length - j);
                    let reach = (j + width.next_multiple_of(lanes)) as isize;
                    for i in (0..rows.len()).step_by(MOST_ROWS) {
                        let sums = Sums {
                            b: of.b.wrapping_offset(at).wrapping_add(j),
                            apart,
                            starts: &starts[p..k.min(p + DEPTH)],
                            factors: factors[i * k + p..].as_ptr(),
                            k,
                            c: of.c.wrapping_add((rows.start + i) * stride + first + j),
                            row: stride,
                            length,
                            lines: count,
                            width,
                            fresh: p == 0,
                            roomy: last + reach + furthest <= of.end,
                            spills: p == 0 && width == length,
                        };
                        // SAFETY: the caller's promise.
                        unsafe { sums.compute(simd, MOST_ROWS.min(rows.len() - i)) };
                    }
                }
            }
        }
    }

    /// What [`FewRows::dots`] computes: several at a time, since lines are short.
    ///
    /// # Safety
    /// As for [`FewRows::compute`].
    #[inline(always)]
    pub(super) unsafe fn dots_of_windows<S: Simd>(&self, simd: S, of: &Operands<T>) {
        let rows = self
            .rows
            .clone()
            .zip(self.factors.chunks_exact(self.gemm.k));
        for (i, factors) in rows {
            let c = of.c.wrapping_add(i * self.gemm.row);
            for group in RowTiles::new(self.columns.clone(), MOST_DOTS).iter() {
                let first = group.start;
                macro_rules! dots {
                    ($($count:literal)*) => {
                        match group.len() {
                            // SAFETY: the caller's promise.
                            $($count => unsafe {
                                self.dots_of_group::<S, $count>(simd, factors, first, of.b, c)
                            },)*
                            count => debug_assert!(false, "{count} columns"),
                        }
                    };
                }
                dots!(1 2 3 4 5 6 7 8 9);
            }
        }
    }

    /// # Safety
    /// As for [`FewRows::compute`].
    #[inline(always)]
    unsafe fn dots_of_group<S: Simd, const COUNT: usize>(
        &self,
        simd: S,
        factors: &[T],
        first: usize,
        b: *const T,
        c: *mut T,
    ) {
        const { assert!(COUNT <= MOST_DOTS) };
        let Gemm { k, start, .. } = *self.gemm;
        let lanes = const { lanes::<S, T>() };
        let zero = T::splat(simd, T::from_f64(0.0));
        let mut columns = [b; COUNT];
        for (j, column) in columns.iter_mut().enumerate() {
            *column = column.wrapping_offset(self.gemm.b.columns.at(first + j));
        }
        let mut totals = [T::from_f64(0.0); COUNT];
        let (mut sums, mut added) = ([zero; COUNT], 0);
        let mut down = Cursor::new(self.gemm.b.rows);
        down.seek(start);
        let mut done = 0;
        while done < k {
            let Lines {
                at,
                apart,
                length,
                count,
            } = down.next_lines(DOT.min(k - done));
            let whole = length / lanes * lanes;
            for line in 0..count {
                let at = at + line as isize * apart;
                // SAFETY: the caller's promise.
                unsafe {
                    let x = factors.as_ptr().add(done + line * length);
                    for i in (0..whole).step_by(lanes) {
                        let x = load(simd, x.add(i), lanes);
                        for (sum, column) in sums.iter_mut().zip(columns) {
                            let y = load(simd, column.offset(at).add(i), lanes);
                            *sum = T::multiply_add(simd, x, y, *sum);
                        }
                    }
                    if whole < length {
                        let x = T::load(simd, x.add(whole), length - whole);
                        for (sum, column) in sums.iter_mut().zip(columns) {
                            let y = column.offset(at).add(whole);
                            let y = T::load(simd, y, length - whole);
                            *sum = T::multiply_add(simd, x, y, *sum);
                        }
                    }
                }
            }
            done += count * length;
            added += count * length;
            if added >= DOT || done == k {
                for (total, sum) in totals.iter_mut().zip(&mut sums) {
                    *total += T::sum(simd, *sum);
                    *sum = zero;
                }
                added = 0;
            }
        }
        for (j, total) in totals.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { *c.add(first + j) = total };
        }
    }
}

/// The first `count` elements from `at` on, of which there may be a whole vector.
///
/// # Safety
/// They are readable.
#[inline(always)]
unsafe fn load<S: Simd, T: Real>(simd: S, at: *const T, count: usize) -> T::Vector<S> {
    // SAFETY: the caller's promise.
    unsafe {
        match count == const { lanes::<S, T>() } {
            true => at.cast::<T::Vector<S>>().read_unaligned(),
            false => T::load(simd, at, count),
        }
    }
}

/// Sums of rows of B, which begin at `starts` from where each line of columns does, times the factors of rows of A, which
/// lie `k` apart: lines of rows of C.
struct Sums<'a, T> {
    /// The first line of columns, and the distance to the next.
    b: *const T,
    apart: isize,
    starts: &'a [i64],
    factors: *const T,
    k: usize,
    /// The first line, and the distance between rows.
    c: *mut T,
    row: usize,
    /// Elements of a line, and how many lines there are, one behind the other in C.
    length: usize,
    lines: usize,
    /// Elements of each that are computed.
    width: usize,
    /// Whether C holds nothing yet.
    fresh: bool,
    /// Whether whole vectors of B are readable.
    roomy: bool,
    /// Whether what is too much of a vector may be stored where the next lines will be.
    spills: bool,
}

impl<T: Real> Sums<'_, T> {
    /// # Safety
    /// There are such rows and lines.
    #[inline(always)]
    unsafe fn compute<S: Simd>(&self, simd: S, rows: usize) {
        let vectors = self.width.div_ceil(const { lanes::<S, T>() });
        // As many sums at a time as hide the latency of an addition.
        // SAFETY: the caller's promise.
        unsafe {
            match (rows, vectors) {
                (1, 1) => self.all::<S, 4, 1, 1>(simd),
                (1, 2) => self.all::<S, 4, 1, 2>(simd),
                (1, 3) => self.all::<S, 2, 1, 3>(simd),
                (1, _) => self.all::<S, 2, 1, VECTORS>(simd),
                (2, 1) => self.all::<S, 1, 2, 1>(simd),
                (2, 2) => self.all::<S, 1, 2, 2>(simd),
                (2, 3) => self.all::<S, 1, 2, 3>(simd),
                (2, _) => self.all::<S, 1, 2, VECTORS>(simd),
                (_, 1) => self.all::<S, 1, MOST_ROWS, 1>(simd),
                (_, 2) => self.all::<S, 1, MOST_ROWS, 2>(simd),
                (_, 3) => self.all::<S, 1, MOST_ROWS, 3>(simd),
                (_, _) => self.all::<S, 1, MOST_ROWS, VECTORS>(simd),
            }
        }
    }

    /// All lines, so many at a time.
    ///
    /// # Safety
    /// As for [`Sums::compute`].
    #[inline(always)]
    unsafe fn all<S: Simd, const LINES: usize, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
    ) {
        let together = self.lines / LINES * LINES;
        // SAFETY: the caller's promise.
        unsafe {
            for line in (0..together).step_by(LINES) {
                self.tile::<S, LINES, ROWS, VECTORS>(simd, line);
            }
            for line in together..self.lines {
                self.tile::<S, 1, ROWS, VECTORS>(simd, line);
            }
        }
    }

    /// # Safety
    /// As for [`Sums::compute`].
    #[inline(always)]
    unsafe fn tile<S: Simd, const LINES: usize, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        line: usize,
    ) {
        let lanes = const { lanes::<S, T>() };
        let last = self.width - (VECTORS - 1) * lanes;
        // SAFETY: the caller's promise. Lines are stored in order.
        unsafe {
            let sums = match self.roomy {
                true => self.sums::<S, LINES, ROWS, VECTORS>(simd, line, lanes),
                false => self.sums::<S, LINES, ROWS, VECTORS>(simd, line, last),
            };
            for (l, sums) in (line..).zip(&sums) {
                let behind = (self.lines - l) * self.length;
                let last = match self.spills && VECTORS * lanes <= behind {
                    true => lanes,
                    false => last,
                };
                for (i, sums) in sums.iter().enumerate() {
                    for (v, &sum) in sums.iter().enumerate() {
                        let count = if v + 1 == VECTORS { last } else { lanes };
                        let at = self.c.add(i * self.row + l * self.length + v * lanes);
                        let sum = match self.fresh {
                            true => sum,
                            false => T::add(simd, load(simd, at, count), sum),
                        };
                        match count == lanes {
                            true => at.cast::<T::Vector<S>>().write_unaligned(sum),
                            false => T::store(simd, at, count, sum),
                        }
                    }
                }
            }
        }
    }

    /// The sums of vectors of B from line `line` on, of whose last ones `last` elements are read.
    ///
    /// # Safety
    /// As for [`Sums::compute`].
    #[inline(always)]
    unsafe fn sums<S: Simd, const LINES: usize, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        line: usize,
        last: usize,
    ) -> [[[T::Vector<S>; VECTORS]; ROWS]; LINES] {
        let lanes = const { lanes::<S, T>() };
        let zero = T::splat(simd, T::from_f64(0.0));
        let mut sums = [[[zero; VECTORS]; ROWS]; LINES];
        let mut lines = [self.b; LINES];
        for (l, at) in (line as isize..).zip(&mut lines) {
            *at = at.wrapping_offset(l * self.apart);
        }
        // SAFETY: the caller's promise.
        unsafe {
            for (p, &start) in self.starts.iter().enumerate() {
                let mut a = [zero; ROWS];
                for (i, a) in a.iter_mut().enumerate() {
                    *a = T::splat(simd, *self.factors.add(i * self.k + p));
                }
                for (sums, at) in sums.iter_mut().zip(lines) {
                    let row = at.offset(start as isize);
                    let mut b = [zero; VECTORS];
                    for (v, b) in b.iter_mut().enumerate() {
                        let count = if v + 1 == VECTORS { last } else { lanes };
                        *b = load(simd, row.add(v * lanes), count);
                    }
                    for (sums, a) in sums.iter_mut().zip(a) {
                        for (sum, b) in sums.iter_mut().zip(b) {
                            *sum = T::multiply_add(simd, a, b, *sum);
                        }
                    }
                }
            }
        }
        sums
    }
}
