//! Products of few rows, which are bound by reading B: it is read where it lies.

use std::ops::Range;

use pulp::Simd;

use super::pack::RowTiles;
use super::real::{Real, lanes};
use super::{Gemm, Matrix};
use crate::cursor::Cursor;
use crate::scratch::Scratch;

/// Rows of B whose sum is added to the others.
const DEPTH: usize = 256;
/// Elements of a dot product that are added up before their sum is added to the others.
const DOT: usize = 16 * DEPTH;
/// Columns of such a sum that stay in the first-level cache.
const STRIP: usize = 2048;

/// Rows of A whose sums are in registers together, and vectors of each.
const MOST_ROWS: usize = 3;
const VECTORS: usize = 4;
/// Short runs of columns whose sums are in registers together.
const RUNS: usize = 4;
/// Dot products that are computed together.
const MOST_DOTS: usize = 5;

/// A product of few rows.
pub(super) struct FewRows<'a, T> {
    pub gemm: &'a Gemm<'a>,
    pub a: *const T,
    pub b: *const T,
    pub c: *mut T,
}

impl<T: Real> FewRows<'_, T> {
    /// Computes `rows` and `columns` of C. Scratch comes from outside: a closure in here would be compiled without the
    /// instructions of `S`.
    ///
    /// # Safety
    /// As for [`Gemm::block`]; columns or rows of B are dense.
    #[inline(always)]
    pub unsafe fn compute<S: Simd>(
        &self,
        simd: S,
        rows: Range<usize>,
        columns: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let Gemm { k, start, a, b, .. } = *self.gemm;
        let elements = rows.len() * k + STRIP;
        let words = scratch.slice::<u64>(k + (elements * size_of::<T>()).div_ceil(8));
        let (starts, rest) = words.split_at_mut(k);
        let starts: &mut [i64] = bytemuck::cast_slice_mut(starts);
        let (factors, part) = bytemuck::cast_slice_mut::<u64, T>(rest).split_at_mut(rows.len() * k);
        for (i, factors) in rows.clone().zip(factors.chunks_exact_mut(k)) {
            let mut cursor = Cursor::new(a.columns);
            // SAFETY: the caller's promise.
            unsafe {
                let row = self.a.offset(a.rows.at(i)).cast();
                let into = factors.as_mut_ptr().cast();
                cursor.gather(row, size_of::<T>(), start, into, k);
            }
        }
        let windows = b.strides.is_none();
        // SAFETY: the caller's promise.
        unsafe {
            if b.columns.dense() >= b.rows.dense() {
                offsets(&mut Cursor::new(b.rows), start, starts);
                match windows {
                    true => self.sums_of_windows(simd, rows, factors, starts, columns),
                    false => self.sums_of_rows::<S>(rows, factors, starts, part, columns),
                }
                return;
            }
            for (i, factors) in rows.zip(factors.chunks_exact(k)) {
                match windows {
                    true => self.dots_of_windows(simd, i, factors, columns.clone()),
                    false => self.dots(simd, i, factors, columns.clone()),
                }
            }
        }
    }

    /// What [`FewRows::sums_of_rows`] computes, where the rows of B are windows of something smaller: that stays in the
    /// caches from one row of B to the next, and sums in registers.
    ///
    /// # Safety
    /// As for [`FewRows::compute`].
    #[inline(always)]
    unsafe fn sums_of_windows<S: Simd>(
        &self,
        simd: S,
        rows: Range<usize>,
        factors: &[T],
        starts: &[i64],
        columns: Range<usize>,
    ) {
        let Gemm {
            row: stride, k, b, ..
        } = *self.gemm;
        let (step, short) = const { (VECTORS * lanes::<S, T>(), 2 * lanes::<S, T>()) };
        let furthest = starts.iter().copied().max().unwrap_or(0) as isize;
        let mut cursor = Cursor::new(b.columns);
        cursor.seek(columns.start);
        while cursor.position() < columns.end {
            let first = cursor.position();
            let (at, _, count) = cursor.next_run(columns.end - first);
            // Short runs of one row of A go together.
            let (mut places, mut runs) = ([at; RUNS], 1);
            while rows.len() == 1
                && count <= short
                && runs < RUNS
                && cursor.run(columns.end - cursor.position()) == count
            {
                places[runs] = cursor.next_run(count).0;
                runs += 1;
            }
            let last = places[..runs].iter().copied().max().unwrap_or(at);
            for p in (0..k).step_by(DEPTH) {
                for j in (0..count).step_by(step) {
                    for i in (0..rows.len()).step_by(MOST_ROWS) {
                        let sums = Sums {
                            b: self.b.wrapping_add(j),
                            places: &places[..runs],
                            starts: &starts[p..k.min(p + DEPTH)],
                            factors: factors[i * k + p..].as_ptr(),
                            k,
                            c: self.c.wrapping_add((rows.start + i) * stride + first + j),
                            apart: if runs > 1 { count } else { stride },
                            width: step.min(count - j),
                            fresh: p == 0,
                            roomy: last + (j + step) as isize + furthest <= b.end,
                        };
                        // SAFETY: the caller's promise.
                        unsafe { sums.compute(simd, MOST_ROWS.min(rows.len() - i)) };
                    }
                }
            }
        }
    }

    /// What [`FewRows::dots`] computes, where the columns of B are windows: several at a time, since their runs are
    /// short.
    ///
    /// # Safety
    /// As for [`FewRows::compute`].
    #[inline(always)]
    unsafe fn dots_of_windows<S: Simd>(
        &self,
        simd: S,
        i: usize,
        factors: &[T],
        columns: Range<usize>,
    ) {
        let c = self.c.wrapping_add(i * self.gemm.row);
        for group in RowTiles::new(columns, MOST_DOTS).iter() {
            let first = group.start;
            // SAFETY: the caller's promise.
            unsafe {
                match group.len() {
                    1 => self.dots_of_group::<S, 1>(simd, factors, first, c),
                    2 => self.dots_of_group::<S, 2>(simd, factors, first, c),
                    3 => self.dots_of_group::<S, 3>(simd, factors, first, c),
                    4 => self.dots_of_group::<S, 4>(simd, factors, first, c),
                    _ => self.dots_of_group::<S, MOST_DOTS>(simd, factors, first, c),
                }
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
        c: *mut T,
    ) {
        let Gemm { k, start, b, .. } = *self.gemm;
        let lanes = lanes::<S, T>();
        let zero = T::splat(simd, T::from_f64(0.0));
        let mut places = [0; COUNT];
        for (j, place) in places.iter_mut().enumerate() {
            *place = b.columns.at(first + j);
        }
        let mut totals = [T::from_f64(0.0); COUNT];
        let (mut sums, mut added) = ([zero; COUNT], 0);
        let mut down = Cursor::new(b.rows);
        down.seek(start);
        let mut done = 0;
        while done < k {
            let (at, _, count) = down.next_run(DOT.min(k - done));
            for i in (0..count).step_by(lanes) {
                let part = lanes.min(count - i);
                // SAFETY: the caller's promise.
                unsafe {
                    let x = load(simd, factors.as_ptr().add(done + i), part);
                    for (sum, place) in sums.iter_mut().zip(places) {
                        let y = load(simd, self.b.offset(place + at).add(i), part);
                        *sum = T::multiply_add(simd, x, y, *sum);
                    }
                }
            }
            done += count;
            added += count;
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

    /// The sums of B's rows, which begin at `starts`, times the factors of each row of A, along what of them lies next
    /// to each other: that stays in the caches from one row of A to the next.
    ///
    /// # Safety
    /// As for [`FewRows::compute`].
    #[inline(always)]
    unsafe fn sums_of_rows<S: Simd>(
        &self,
        rows: Range<usize>,
        factors: &[T],
        starts: &[i64],
        part: &mut [T],
        columns: Range<usize>,
    ) {
        let Gemm { row: stride, k, .. } = *self.gemm;
        let mut cursor = Cursor::new(self.gemm.b.columns);
        cursor.seek(columns.start);
        while cursor.position() < columns.end {
            let first = cursor.position();
            let (at, _, count) = cursor.next_run(STRIP.min(columns.end - first));
            let row = |p: usize| {
                // SAFETY: the caller's promise.
                unsafe {
                    let from = self.b.offset(starts[p] as isize + at);
                    std::slice::from_raw_parts(from, count)
                }
            };
            for (i, factors) in rows.clone().zip(factors.chunks_exact(k)) {
                // SAFETY: the caller's promise.
                let c = unsafe {
                    std::slice::from_raw_parts_mut(self.c.add(i * stride + first), count)
                };
                sum_of_rows::<S, T>(row, factors, &mut part[..count], c);
            }
        }
    }

    /// The dot products of `factors` with B's columns.
    ///
    /// # Safety
    /// As for [`FewRows::compute`].
    #[inline(always)]
    unsafe fn dots<S: Simd>(&self, simd: S, i: usize, factors: &[T], columns: Range<usize>) {
        let Gemm { row, k, start, .. } = *self.gemm;
        let Matrix {
            rows,
            columns: across,
            ..
        } = self.gemm.b;
        let mut down = Cursor::new(rows);
        for j in columns {
            let column = across.at(j);
            let mut sum = T::from_f64(0.0);
            down.seek(start);
            let mut done = 0;
            while done < k {
                let (at, _, count) = down.next_run(DOT.min(k - done));
                // SAFETY: the caller's promise.
                let column =
                    unsafe { std::slice::from_raw_parts(self.b.offset(column + at), count) };
                sum += dot(simd, &factors[done..done + count], column);
                done += count;
            }
            // SAFETY: as above.
            unsafe { *self.c.add(i * row + j) = sum };
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

/// Sums of rows of B, which begin at `starts` from `b` and one of `places` on, times the factors of rows of A, which lie
/// `k` apart: parts of C, one for each place or row.
struct Sums<'a, T> {
    b: *const T,
    places: &'a [isize],
    starts: &'a [i64],
    factors: *const T,
    k: usize,
    c: *mut T,
    /// Distance between the parts of C.
    apart: usize,
    width: usize,
    /// Whether C holds nothing yet.
    fresh: bool,
    /// Whether whole vectors of B are readable.
    roomy: bool,
}

impl<T: Real> Sums<'_, T> {
    /// # Safety
    /// There are such rows and columns, one row of several places.
    #[inline(always)]
    unsafe fn compute<S: Simd>(&self, simd: S, rows: usize) {
        let vectors = self.width.div_ceil(const { lanes::<S, T>() });
        // SAFETY: the caller's promise.
        unsafe {
            match (self.places.len(), rows, vectors) {
                (1, 1, 1) => self.tile::<S, 1, 1, 1>(simd),
                (1, 1, 2) => self.tile::<S, 1, 1, 2>(simd),
                (1, 1, 3) => self.tile::<S, 1, 1, 3>(simd),
                (1, 1, _) => self.tile::<S, 1, 1, VECTORS>(simd),
                (1, 2, 1) => self.tile::<S, 1, 2, 1>(simd),
                (1, 2, 2) => self.tile::<S, 1, 2, 2>(simd),
                (1, 2, 3) => self.tile::<S, 1, 2, 3>(simd),
                (1, 2, _) => self.tile::<S, 1, 2, VECTORS>(simd),
                (1, _, 1) => self.tile::<S, 1, MOST_ROWS, 1>(simd),
                (1, _, 2) => self.tile::<S, 1, MOST_ROWS, 2>(simd),
                (1, _, 3) => self.tile::<S, 1, MOST_ROWS, 3>(simd),
                (1, _, _) => self.tile::<S, 1, MOST_ROWS, VECTORS>(simd),
                (2, _, 1) => self.tile::<S, 2, 1, 1>(simd),
                (2, _, _) => self.tile::<S, 2, 1, 2>(simd),
                (3, _, 1) => self.tile::<S, 3, 1, 1>(simd),
                (3, _, _) => self.tile::<S, 3, 1, 2>(simd),
                (_, _, 1) => self.tile::<S, RUNS, 1, 1>(simd),
                (_, _, _) => self.tile::<S, RUNS, 1, 2>(simd),
            }
        }
    }

    /// # Safety
    /// As for [`Sums::compute`].
    #[inline(always)]
    unsafe fn tile<S: Simd, const RUNS: usize, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
    ) {
        const { assert!(RUNS == 1 || ROWS == 1) };
        let lanes = const { lanes::<S, T>() };
        let last = self.width - (VECTORS - 1) * lanes;
        // SAFETY: the caller's promise.
        unsafe {
            // What is too much of a vector is not stored.
            let sums = match self.roomy {
                true => self.sums::<S, RUNS, ROWS, VECTORS>(simd, lanes),
                false => self.sums::<S, RUNS, ROWS, VECTORS>(simd, last),
            };
            for i in 0..RUNS * ROWS {
                for (v, &sum) in sums[i / ROWS][i % ROWS].iter().enumerate() {
                    let count = if v + 1 == VECTORS { last } else { lanes };
                    let at = self.c.add(i * self.apart + v * lanes);
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

    /// The sums of vectors of B, of whose last ones `last` elements are read.
    ///
    /// # Safety
    /// As for [`Sums::compute`].
    #[inline(always)]
    unsafe fn sums<S: Simd, const RUNS: usize, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        last: usize,
    ) -> [[[T::Vector<S>; VECTORS]; ROWS]; RUNS] {
        let lanes = const { lanes::<S, T>() };
        let zero = T::splat(simd, T::from_f64(0.0));
        let mut sums = [[[zero; VECTORS]; ROWS]; RUNS];
        let mut runs = [self.b; RUNS];
        for (run, &place) in runs.iter_mut().zip(self.places) {
            *run = run.wrapping_offset(place);
        }
        // SAFETY: the caller's promise.
        unsafe {
            for (p, &start) in self.starts.iter().enumerate() {
                let mut a = [zero; ROWS];
                for (i, a) in a.iter_mut().enumerate() {
                    *a = T::splat(simd, *self.factors.add(i * self.k + p));
                }
                for (sums, run) in sums.iter_mut().zip(runs) {
                    let row = run.offset(start as isize);
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

/// The sum of rows times their factors, four at a time, as `c`.
#[inline(always)]
fn sum_of_rows<'a, S: Simd, T: Real>(
    row: impl Fn(usize) -> &'a [T],
    factors: &[T],
    part: &mut [T],
    c: &mut [T],
) {
    let (k, count) = (factors.len(), part.len());
    let zero = T::from_f64(0.0);
    c.fill(zero);
    for from in (0..k).step_by(DEPTH) {
        let end = k.min(from + DEPTH);
        let fours = from + (end - from) / 4 * 4;
        part.fill(zero);
        for p in (from..fours).step_by(4) {
            let (b0, b1, b2, b3) = (row(p), row(p + 1), row(p + 2), row(p + 3));
            let (a0, a1) = (factors[p], factors[p + 1]);
            let (a2, a3) = (factors[p + 2], factors[p + 3]);
            for j in 0..count {
                let sum = T::multiply_add_one::<S>(a0, b0[j], part[j]);
                let sum = T::multiply_add_one::<S>(a1, b1[j], sum);
                let sum = T::multiply_add_one::<S>(a2, b2[j], sum);
                part[j] = T::multiply_add_one::<S>(a3, b3[j], sum);
            }
        }
        for (p, &x) in (fours..end).zip(&factors[fours..end]) {
            for (sum, &y) in part.iter_mut().zip(row(p)) {
                *sum = T::multiply_add_one::<S>(x, y, *sum);
            }
        }
        for (sum, &x) in c.iter_mut().zip(&*part) {
            *sum += x;
        }
    }
}

/// Where the elements from position `first` on lie.
pub(super) fn offsets(cursor: &mut Cursor<'_>, first: usize, into: &mut [i64]) {
    cursor.seek(first);
    let mut done = 0;
    while done < into.len() {
        let (at, stride, count) = cursor.next_run(into.len() - done);
        for (i, offset) in into[done..done + count].iter_mut().enumerate() {
            *offset = (at + i as isize * stride) as i64;
        }
        done += count;
    }
}

/// The sum of products, over as many lanes as hide the latency of an addition.
#[inline(always)]
fn dot<S: Simd, T: Real>(simd: S, a: &[T], b: &[T]) -> T {
    let lanes = lanes::<S, T>();
    // SAFETY: whole vectors within the slices.
    let at =
        |x: &[T], i: usize| unsafe { x.as_ptr().add(i).cast::<T::Vector<S>>().read_unaligned() };
    let mut sums = [T::splat(simd, T::from_f64(0.0)); 4];
    let whole = a.len().min(b.len()) / lanes * lanes;
    let chunks = whole / (4 * lanes) * (4 * lanes);
    for i in (0..chunks).step_by(4 * lanes) {
        for (v, sum) in sums.iter_mut().enumerate() {
            let (a, b) = (at(a, i + v * lanes), at(b, i + v * lanes));
            *sum = T::multiply_add(simd, a, b, *sum);
        }
    }
    for i in (chunks..whole).step_by(lanes) {
        sums[0] = T::multiply_add(simd, at(a, i), at(b, i), sums[0]);
    }
    let left = T::add(simd, sums[0], sums[1]);
    let right = T::add(simd, sums[2], sums[3]);
    let mut sum = T::sum(simd, T::add(simd, left, right));
    for (&a, &b) in a[whole..].iter().zip(&b[whole..]) {
        sum = T::multiply_add_one::<S>(a, b, sum);
    }
    sum
}
