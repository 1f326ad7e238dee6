//! Products that are computed as `C^T = B^T A^T`: the gradient of a convolution's weight, whose B is the windows of an
//! input. Element by element they become factors of whole vectors, wherever they lie, so none is packed; A, which is
//! no windows, is packed in place of B, and C is small.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::blocks::with_tile;
use super::in_place::Pieces;
use super::pack::{RowTiles, pack_slivers};
use super::real::Real;
use super::tile::{Rows, RowsOfB, Tile};
use super::views::{Starts, offsets};
use super::{Gemm, Matrix};
use crate::cursor::Cursor;
use crate::scratch::Scratch;

/// Most windows whose sums are in registers together: a window of 3 x 3. Each takes a register for its address.
const MOST_WINDOWS: usize = 9;
/// How often C is smaller than B: it is turned in the end.
const SMALLER: usize = 4;
/// Fewer columns are not worth packing A for.
const LEAST_COLUMNS: usize = 4 * MOST_WINDOWS;
/// Furthest neighbours along k that are still in one line of the cache.
const FURTHEST: isize = 4;

impl Gemm<'_> {
    /// Whether [`Gemm::turned_block`] computes it.
    pub fn is_turned(&self) -> bool {
        let near = self.b.rows.last_stride().abs() <= FURTHEST;
        let windows = self.b.strides.is_none() && near && !self.b.is_narrow();
        // Columns of a tile that nobody needs.
        let waste = self.m.next_multiple_of(self.blocks.width) - self.m;
        windows
            && !self.a.is_narrow()
            && !self.adds
            && self.n >= LEAST_COLUMNS
            && self.k >= SMALLER * self.m
            && 8 * waste <= self.m
            && !self.is_of_few_rows()
            && self.in_place().is_none()
    }

    /// How its rows and columns are split for so many threads: each part of the rows is packed once for each part of
    /// the columns.
    pub fn turned_parts(&self, threads: usize) -> [usize; 2] {
        let slivers = self.m.div_ceil(self.blocks.width);
        match slivers.is_multiple_of(threads) {
            true => [threads, 1],
            false => [1, threads.min(self.n / (2 * MOST_WINDOWS)).max(1)],
        }
    }

    /// Rows and columns of part `i`.
    pub fn turned_part(&self, [rows, columns]: [usize; 2], i: usize) -> [Range<usize>; 2] {
        let width = self.blocks.width;
        let slivers = self.m.div_ceil(width);
        let row = |i: usize| self.m.min(slivers * i / rows * width);
        let column = |i: usize| self.n * i / columns;
        let (r, c) = (i / columns, i % columns);
        [row(r)..row(r + 1), column(c)..column(c + 1)]
    }
}

/// A part of such a product.
pub(super) struct TurnedBlock<'a, T> {
    pub gemm: &'a Gemm<'a>,
    pub a: *const u8,
    pub b: *const T,
    pub c: *mut T,
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    pub scratch: &'a mut Scratch,
}

impl<T: Real> WithSimd for TurnedBlock<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: `turned_block`'s caller's promise.
        unsafe { with_tile!(S, T, self.run(simd)) }
    }
}

impl<T: Real> TurnedBlock<'_, T> {
    /// # Safety
    /// As for [`Gemm::turned_block`].
    #[inline(always)]
    unsafe fn run<S: Simd, const MOST: usize, const VECTORS: usize, const WIDTH: usize>(
        self,
        simd: S,
    ) {
        let Gemm {
            k,
            start,
            row,
            blocks,
            a,
            b,
            ..
        } = *self.gemm;
        let turned = Gemm {
            b: Matrix {
                rows: a.columns,
                columns: a.rows,
                strides: a.strides.map(|(down, along)| (along, down)),
                ..a
            },
            ..*self.gemm
        };
        let (rows, columns) = (self.rows, self.columns);
        let height = rows.len();
        let deepest = blocks.depth.min(k);
        let elements = columns.len() * height + WIDTH * deepest;
        let words = columns.len() + (elements * size_of::<T>()).div_ceil(8);
        let (places, rest) = self.scratch.slice::<u64>(words).split_at_mut(columns.len());
        let places: &mut [i64] = bytemuck::cast_slice_mut(places);
        offsets(&mut Cursor::new(b.columns), columns.start, places);
        let rest = bytemuck::cast_slice_mut::<u64, T>(rest);
        let (sums, sliver) = rest.split_at_mut(columns.len() * height);
        let tiles = RowTiles::new(
            0..columns.len(),
            const {
                if MOST < MOST_WINDOWS {
                    MOST
                } else {
                    MOST_WINDOWS
                }
            },
        );
        for p in (0..k).step_by(blocks.depth) {
            let deep = blocks.depth.min(k - p);
            let steps = Starts::of_rows(&b, start + p..start + p + deep);
            for j in rows.clone().step_by(WIDTH) {
                let part = j..rows.end.min(j + WIDTH);
                let pieces = Pieces::whole(part.start - rows.start..part.end - rows.start);
                // SAFETY: the caller's promise; the scratch has room for a sliver.
                unsafe {
                    let into = sliver.as_mut_ptr();
                    pack_slivers::<S, T, WIDTH>(&turned, self.a, p..p + deep, part, into);
                }
                for windows in tiles.iter() {
                    let tile = Tile {
                        start: sums[windows.start * height..].as_mut_ptr(),
                        row: height,
                        rows: windows.len(),
                        pieces: pieces.each(),
                        fresh: p == 0,
                    };
                    let windows = Rows::Views(self.b, &places[windows], steps.part(0..deep));
                    let sliver = RowsOfB::packed::<WIDTH>(sliver.as_ptr());
                    // SAFETY: the caller's promise.
                    unsafe { tile.compute::<S, MOST, VECTORS>(simd, deep, windows, sliver) };
                }
            }
        }
        for (i, line) in rows.enumerate() {
            let c = self.c.wrapping_add(line * row + columns.start);
            for (j, sums) in sums.chunks_exact(height).enumerate() {
                // SAFETY: the caller's promise.
                unsafe { *c.add(j) = sums[i] };
            }
        }
    }
}
