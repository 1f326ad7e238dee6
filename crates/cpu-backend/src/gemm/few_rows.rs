//! Products of few rows, which are bound by reading B: it is read where it lies.

use std::ops::Range;

use pulp::Simd;

use super::{DEPTH, Gemm, Matrix};
use crate::cursor::Cursor;
use crate::scratch::Scratch;

/// Elements of a dot product that are added up before their sum is added to the others.
const DOT: usize = 16 * DEPTH;
/// Columns of such a sum that stay in the first-level cache.
const STRIP: usize = 2048;

/// A product of few rows, of `f32` operands.
pub(super) struct FewRows<'a> {
    pub gemm: &'a Gemm<'a>,
    pub a: *const u8,
    pub b: *const f32,
    pub c: *mut f32,
}

impl FewRows<'_> {
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
        let words = scratch.slice::<u64>(k + (rows.len() * k + STRIP).div_ceil(2));
        let (starts, rest) = words.split_at_mut(k);
        let starts: &mut [i64] = bytemuck::cast_slice_mut(starts);
        let (factors, part) =
            bytemuck::cast_slice_mut::<u64, f32>(rest).split_at_mut(rows.len() * k);
        for (i, factors) in rows.clone().zip(factors.chunks_exact_mut(k)) {
            let mut cursor = Cursor::new(a.columns);
            // SAFETY: the caller's promise.
            unsafe {
                let row = self.a.offset(a.rows.at(i) * 4);
                cursor.gather(row, 4, start, factors.as_mut_ptr().cast(), k);
            }
        }
        // SAFETY: the caller's promise.
        unsafe {
            if b.columns.dense() >= b.rows.dense() {
                offsets(&mut Cursor::new(b.rows), start, starts);
                self.sums_of_rows(rows, factors, starts, part, columns);
            } else {
                for (i, factors) in rows.zip(factors.chunks_exact(k)) {
                    self.dots(simd, i, factors, columns.clone());
                }
            }
        }
    }

    /// The sums of B's rows, which begin at `starts`, times the factors of each row of A, along what of them lies next
    /// to each other: that stays in the caches from one row of A to the next.
    ///
    /// # Safety
    /// As for [`FewRows::compute`].
    #[inline(always)]
    unsafe fn sums_of_rows(
        &self,
        rows: Range<usize>,
        factors: &[f32],
        starts: &[i64],
        part: &mut [f32],
        columns: Range<usize>,
    ) {
        let Gemm { n, k, .. } = *self.gemm;
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
                let c = unsafe { std::slice::from_raw_parts_mut(self.c.add(i * n + first), count) };
                sum_of_rows(row, factors, &mut part[..count], c);
            }
        }
    }

    /// The dot products of `factors` with B's columns.
    ///
    /// # Safety
    /// As for [`FewRows::compute`].
    #[inline(always)]
    unsafe fn dots<S: Simd>(&self, simd: S, i: usize, factors: &[f32], columns: Range<usize>) {
        let Gemm { n, k, start, .. } = *self.gemm;
        let Matrix {
            rows,
            columns: across,
            ..
        } = self.gemm.b;
        let mut down = Cursor::new(rows);
        for j in columns {
            let column = across.at(j);
            let mut sum = 0.0;
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
            unsafe { *self.c.add(i * n + j) = sum };
        }
    }
}

/// The sum of rows times their factors, four at a time, as `c`.
#[inline(always)]
fn sum_of_rows<'a>(
    row: impl Fn(usize) -> &'a [f32],
    factors: &[f32],
    part: &mut [f32],
    c: &mut [f32],
) {
    let (k, count) = (factors.len(), part.len());
    c.fill(0.0);
    for from in (0..k).step_by(DEPTH) {
        let end = k.min(from + DEPTH);
        let fours = from + (end - from) / 4 * 4;
        part.fill(0.0);
        for p in (from..fours).step_by(4) {
            let (b0, b1, b2, b3) = (row(p), row(p + 1), row(p + 2), row(p + 3));
            let (a0, a1) = (factors[p], factors[p + 1]);
            let (a2, a3) = (factors[p + 2], factors[p + 3]);
            for j in 0..count {
                let sum = a1.mul_add(b1[j], a0.mul_add(b0[j], part[j]));
                part[j] = a3.mul_add(b3[j], a2.mul_add(b2[j], sum));
            }
        }
        for (p, x) in (fours..end).zip(&factors[fours..end]) {
            for (sum, &y) in part.iter_mut().zip(row(p)) {
                *sum = x.mul_add(y, *sum);
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
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = S::as_simd_f32s(a);
    let (b, b_rest) = S::as_simd_f32s(b);
    let (a_chunks, a_last) = a.as_chunks::<4>();
    let (b_chunks, b_last) = b.as_chunks::<4>();
    let mut sums = [simd.splat_f32s(0.0); 4];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..4 {
            sums[i] = simd.mul_add_f32s(a[i], b[i], sums[i]);
        }
    }
    for (&a, &b) in a_last.iter().zip(b_last) {
        sums[0] = simd.mul_add_f32s(a, b, sums[0]);
    }
    let left = simd.add_f32s(sums[0], sums[1]);
    let right = simd.add_f32s(sums[2], sums[3]);
    let mut sum = simd.reduce_sum_f32s(simd.add_f32s(left, right));
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        sum = a.mul_add(b, sum);
    }
    sum
}
