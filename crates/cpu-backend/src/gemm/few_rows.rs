//! Products of few rows, which are bound by reading B: it is read where it lies.

mod windows;

use std::ops::Range;

use pulp::Simd;

use super::Gemm;
use super::real::{Real, lanes};
use super::views::offsets;
use crate::cursor::Cursor;
use crate::scratch::Scratch;

/// Rows of B whose sum is added to the others.
const DEPTH: usize = 256;
/// Elements of a dot product that are added up before their sum is added to the others.
const DOT: usize = 16 * DEPTH;
/// Columns of such a sum that stay in the first-level cache.
const STRIP: usize = 2048;

/// Where a product's factors and its result begin, and what of B may be read, counted from its first element.
#[derive(Clone, Copy)]
pub(crate) struct Operands<T> {
    pub a: *const T,
    pub b: *const T,
    pub c: *mut T,
    pub end: isize,
}

/// Rows and columns of products of few rows, which have their sizes and layouts in common.
pub(super) struct FewRows<'a, T> {
    gemm: &'a Gemm<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
    /// Where the rows of B begin, where their sums are computed.
    starts: &'a mut [i64],
    /// The rows of A, one after the other.
    factors: &'a mut [T],
    part: &'a mut [T],
}

impl<'a, T: Real> FewRows<'a, T> {
    /// Scratch comes from outside: a closure in here would be compiled without the instructions of a set.
    pub fn new(
        gemm: &'a Gemm<'a>,
        rows: Range<usize>,
        columns: Range<usize>,
        scratch: &'a mut Scratch,
    ) -> FewRows<'a, T> {
        let k = gemm.k;
        let elements = rows.len() * k + STRIP;
        let words = scratch.slice::<u64>(k + (elements * size_of::<T>()).div_ceil(8));
        let (starts, rest) = words.split_at_mut(k);
        let starts: &mut [i64] = bytemuck::cast_slice_mut(starts);
        let (factors, part) = bytemuck::cast_slice_mut::<u64, T>(rest).split_at_mut(rows.len() * k);
        let few = FewRows {
            gemm,
            rows,
            columns,
            starts,
            factors,
            part,
        };
        if few.is_of_sums() {
            offsets(&mut Cursor::new(gemm.b.rows), gemm.start, few.starts);
        }
        few
    }

    /// Whether rows of B are added up, rather than columns multiplied.
    fn is_of_sums(&self) -> bool {
        self.gemm.b.columns.dense() >= self.gemm.b.rows.dense()
    }

    /// Computes the rows and columns of one of the products.
    ///
    /// # Safety
    /// As for [`Gemm::block`]; columns or rows of B are dense.
    #[inline(always)]
    pub unsafe fn compute<S: Simd>(&mut self, simd: S, of: &Operands<T>) {
        let Gemm { k, start, a, b, .. } = *self.gemm;
        let mut cursor = Cursor::new(a.columns);
        for (i, factors) in self.rows.clone().zip(self.factors.chunks_exact_mut(k)) {
            // SAFETY: the caller's promise.
            unsafe {
                let row = of.a.offset(a.rows.at(i)).cast();
                let into = factors.as_mut_ptr().cast();
                cursor.gather(row, size_of::<T>(), start, into, k);
            }
        }
        // SAFETY: the caller's promise.
        unsafe {
            match (self.is_of_sums(), b.strides.is_none()) {
                (true, true) => self.sums_of_windows(simd, of),
                (true, false) => self.sums_of_rows::<S>(of),
                (false, true) => self.dots_of_windows(simd, of),
                (false, false) => self.dots(simd, of),
            }
        }
    }

    /// The sums of B's rows, which begin at `starts`, times the factors of each row of A, along what of them lies next
    /// to each other: that stays in the caches from one row of A to the next.
    ///
    /// # Safety
    /// As for [`FewRows::compute`].
    #[inline(always)]
    unsafe fn sums_of_rows<S: Simd>(&mut self, of: &Operands<T>) {
        let Gemm { row: stride, k, .. } = *self.gemm;
        let (columns, starts) = (self.columns.clone(), &*self.starts);
        let mut cursor = Cursor::new(self.gemm.b.columns);
        cursor.seek(columns.start);
        while cursor.position() < columns.end {
            let first = cursor.position();
            let (at, _, count) = cursor.next_run(STRIP.min(columns.end - first));
            let row = |p: usize| {
                // SAFETY: the caller's promise.
                unsafe {
                    let from = of.b.offset(starts[p] as isize + at);
                    std::slice::from_raw_parts(from, count)
                }
            };
            for (i, factors) in self.rows.clone().zip(self.factors.chunks_exact(k)) {
                // SAFETY: the caller's promise.
                let c =
                    unsafe { std::slice::from_raw_parts_mut(of.c.add(i * stride + first), count) };
                sum_of_rows::<S, T>(row, factors, &mut self.part[..count], c);
            }
        }
    }

    /// The dot products of each row of A with B's columns.
    ///
    /// # Safety
    /// As for [`FewRows::compute`].
    #[inline(always)]
    unsafe fn dots<S: Simd>(&self, simd: S, of: &Operands<T>) {
        let Gemm {
            row, k, start, b, ..
        } = *self.gemm;
        let mut down = Cursor::new(b.rows);
        for (i, factors) in self.rows.clone().zip(self.factors.chunks_exact(k)) {
            for j in self.columns.clone() {
                let column = b.columns.at(j);
                let mut sum = T::from_f64(0.0);
                down.seek(start);
                let mut done = 0;
                while done < k {
                    let (at, _, count) = down.next_run(DOT.min(k - done));
                    // SAFETY: the caller's promise.
                    let column =
                        unsafe { std::slice::from_raw_parts(of.b.offset(column + at), count) };
                    sum += dot(simd, &factors[done..done + count], column);
                    done += count;
                }
                // SAFETY: as above.
                unsafe { *of.c.add(i * row + j) = sum };
            }
        }
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
