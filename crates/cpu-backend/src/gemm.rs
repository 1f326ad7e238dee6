//! `f32` matrix products: blocks that suit the caches, packed into the order in which the
//! microkernel reads them ([Goto and van de Geijn 2008](https://doi.org/10.1145/1356052.1356053)).
//!
//! Every element of C is one chain of multiply-adds over ascending k, cut at multiples of
//! [`DEPTH`] (or a dot product in a fixed order, in pieces too), whatever the threads and the blocks are: results
//! are the same bits in every run.

mod pack;

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use self::pack::{PackB, pack_a, pack_slivers};
use crate::loops::fused;
use crate::scratch::{self, Scratch};

/// Vectors in a row of a tile.
const VECTORS: usize = 2;
/// Lanes of a vector that the microkernel is made for: AVX2's. Where there are sixteen, the `gemm`
/// crate's kernels serve, which were written for them.
const LANES: usize = 8;
/// Columns of a tile.
const WIDTH: usize = VECTORS * LANES;
/// Rows of a tile: as many as the registers hold beside a row of B and an element of A.
const HEIGHT: usize = 6;
/// Steps of k between two visits to C: a sliver of B takes half of a first-level cache.
const DEPTH: usize = 256;
/// Rows of A that are packed at a time: with [`DEPTH`] columns they fill part of a second-level
/// cache.
const BLOCK_ROWS: usize = 96;
/// Elements of B that are packed at a time; a third-level cache holds them.
const PANEL: usize = 2 << 20;
/// Narrower products read A where it lies: packing would cost more than it saves.
const PACK_A_COLUMNS: usize = 128;
/// Most elements of B that are read where they lie: they fit the first-level cache.
const DIRECT_B: usize = 8 * 1024;
/// The same for products of so few rows that packing would not pay.
const DIRECT_B_SHALLOW: usize = 64 * 1024;
const SHALLOW_ROWS: usize = 24;
/// Up to so many rows a product is a sum of B's rows, or dot products with its columns.
pub(crate) const VECTOR_ROWS: usize = 2;
/// Elements of a dot product that are added up before their sum is added to the others.
const DOT: usize = 16 * DEPTH;
/// Columns of such a sum that stay in the first-level cache.
const STRIP: usize = 2048;

/// A product `C = A B`: sizes, and distances between neighbours in a column and in a row.
#[derive(Clone, Copy)]
pub(crate) struct Gemm {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: (isize, isize),
    pub b: (isize, isize),
    /// Whether the products are added to what C holds; only where B is packed.
    pub adds: bool,
}

/// The shape of this machine's tiles.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub height: usize,
    pub width: usize,
}

struct TileShape;
impl WithSimd for TileShape {
    type Output = Option<Tile>;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Option<Tile> {
        let fits = cfg!(target_arch = "x86_64") && fused::<S>() && S::F32_LANES == LANES;
        fits.then_some(Tile {
            height: HEIGHT,
            width: WIDTH,
        })
    }
}

/// The tile, where this machine has vectors with multiply-add that the microkernel is made for.
pub(crate) fn tile() -> Option<Tile> {
    Arch::new().dispatch(TileShape)
}

/// B as the microkernel reads it.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// Where it lies.
    Direct(*const f32),
    /// The columns from `first` on, packed.
    Packed { panel: *const f32, first: usize },
}

// SAFETY: the pointers are only read; the caller of `Gemm::block` vouches for them.
unsafe impl Send for Source {}
// SAFETY: as above.
unsafe impl Sync for Source {}

impl Gemm {
    fn packs_a(&self) -> bool {
        self.n >= PACK_A_COLUMNS && self.m > VECTOR_ROWS
    }

    /// Whether B is to be packed before blocks of C are computed.
    pub fn packs_b(&self) -> bool {
        let size = self.k * self.n;
        let direct = if self.m <= VECTOR_ROWS {
            self.b.1 == 1 || self.b.0 == 1
        } else {
            self.b.1 == 1
                && (size <= DIRECT_B || (self.m <= SHALLOW_ROWS && size <= DIRECT_B_SHALLOW))
        };
        !direct
    }

    /// How many columns are packed and computed at a time, a multiple of a tile's.
    pub fn panel_columns(&self, tile: Tile) -> usize {
        (PANEL / self.k.max(1))
            .max(4 * tile.width)
            .min(self.n)
            .next_multiple_of(tile.width)
    }

    /// How the rows are split into blocks for so many threads.
    pub fn row_blocks(&self, tile: Tile, threads: usize) -> usize {
        let tiles = self.m.div_ceil(tile.height);
        let blocks = tiles.div_ceil(BLOCK_ROWS / tile.height);
        blocks.next_multiple_of(threads).min(tiles)
    }

    /// Packs columns `columns` (from `first`, the panel's first one, on) of rows `depths` of B: for
    /// each [`DEPTH`] of rows, slivers of a tile's width, row by row, missing columns as 0.
    ///
    /// # Safety
    /// B is readable, the panel has room for all of its slivers, and nobody else touches these.
    pub unsafe fn pack_b(
        &self,
        b: *const f32,
        panel: *mut f32,
        first: usize,
        panel_width: usize,
        columns: Range<usize>,
    ) {
        Arch::new().dispatch(PackB {
            gemm: self,
            b,
            panel,
            first,
            panel_width,
            columns,
        });
    }

    /// Computes `rows` and `columns` of C, dense with `n` columns. `columns` begins at a tile.
    ///
    /// # Safety
    /// The matrices are readable (a panel as [`Gemm::pack_b`] made it, `panel_width` columns wide),
    /// and nobody else touches this part of C, which overlaps neither.
    pub unsafe fn block(
        &self,
        a: *const f32,
        b: Source,
        panel_width: usize,
        c: *mut f32,
        rows: Range<usize>,
        columns: Range<usize>,
    ) {
        scratch::with(|scratch| {
            Arch::new().dispatch(Block {
                gemm: self,
                a,
                b,
                panel_width,
                c,
                rows,
                columns,
                scratch,
            });
        });
    }
}

struct Block<'a> {
    gemm: &'a Gemm,
    a: *const f32,
    b: Source,
    panel_width: usize,
    c: *mut f32,
    rows: Range<usize>,
    columns: Range<usize>,
    scratch: &'a mut Scratch,
}

impl WithSimd for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if let (Source::Direct(b), true) = (self.b, self.gemm.m <= VECTOR_ROWS) {
            // SAFETY: `block`'s caller's promise; B is direct only where it is dense one way.
            return unsafe {
                if self.gemm.b.1 == 1 {
                    self.sum_of_rows(b)
                } else {
                    self.dots(simd, b)
                }
            };
        }
        // SAFETY: `block`'s caller's promise.
        unsafe { self.run::<S, HEIGHT>(simd) };
    }
}

impl Block<'_> {
    /// Few rows: each is the sum of B's rows times its elements, four at a time.
    ///
    /// # Safety
    /// As for [`Gemm::block`]; rows of B are dense.
    #[inline(always)]
    unsafe fn sum_of_rows(self, b: *const f32) {
        let Gemm { n, k, .. } = *self.gemm;
        let part = self.scratch.slice::<f32>(STRIP);
        for i in self.rows {
            for from in self.columns.clone().step_by(STRIP) {
                let count = STRIP.min(self.columns.end - from);
                // SAFETY: the caller's promise.
                unsafe {
                    let row = |p: usize| {
                        let start = b.offset(p as isize * self.gemm.b.0).add(from);
                        std::slice::from_raw_parts(start, count)
                    };
                    let factor = |p: usize| {
                        let (down, along) = self.gemm.a;
                        *self.a.offset(i as isize * down + p as isize * along)
                    };
                    let c = std::slice::from_raw_parts_mut(self.c.add(i * n + from), count);
                    c.fill(0.0);
                    for start in (0..k).step_by(DEPTH) {
                        let end = k.min(start + DEPTH);
                        let fours = end / 4 * 4;
                        let part = &mut part[..count];
                        part.fill(0.0);
                        for p in (start..fours).step_by(4) {
                            let (b0, b1, b2, b3) = (row(p), row(p + 1), row(p + 2), row(p + 3));
                            let (a0, a1) = (factor(p), factor(p + 1));
                            let (a2, a3) = (factor(p + 2), factor(p + 3));
                            for j in 0..count {
                                let sum = a1.mul_add(b1[j], a0.mul_add(b0[j], part[j]));
                                part[j] = a3.mul_add(b3[j], a2.mul_add(b2[j], sum));
                            }
                        }
                        for p in fours..end {
                            let (x, row) = (factor(p), row(p));
                            for (sum, &y) in part.iter_mut().zip(row) {
                                *sum = x.mul_add(y, *sum);
                            }
                        }
                        for (sum, &x) in c.iter_mut().zip(&*part) {
                            *sum += x;
                        }
                    }
                }
            }
        }
    }

    /// Few rows: their dot products with B's columns.
    ///
    /// # Safety
    /// As for [`Gemm::block`]; columns of B are dense.
    #[inline(always)]
    unsafe fn dots<S: Simd>(self, simd: S, b: *const f32) {
        let Gemm { n, k, a, .. } = *self.gemm;
        let row = self.scratch.slice::<f32>(k);
        for i in self.rows {
            // SAFETY: the caller's promise.
            unsafe {
                let start = self.a.offset(i as isize * a.0);
                for (p, x) in row.iter_mut().enumerate() {
                    *x = *start.offset(p as isize * a.1);
                }
                for j in self.columns.clone() {
                    let column = b.offset(j as isize * self.gemm.b.1);
                    let column = std::slice::from_raw_parts(column, k);
                    let parts = row.chunks(DOT).zip(column.chunks(DOT));
                    *self.c.add(i * n + j) = parts.map(|(a, b)| dot(simd, a, b)).sum();
                }
            }
        }
    }

    /// # Safety
    /// As for [`Gemm::block`]; `MR` is the tile's height.
    #[inline(always)]
    unsafe fn run<S: Simd, const MR: usize>(self, simd: S) {
        let Gemm { n, k, .. } = *self.gemm;
        let packs_a = self.gemm.packs_a();
        let columns = self.columns;
        // A's block, and the sliver of B that is cut off by its edge.
        let deepest = DEPTH.min(k);
        let a_size = if packs_a {
            BLOCK_ROWS.min(self.rows.len()).next_multiple_of(MR) * deepest
        } else {
            0
        };
        let scratch = self.scratch.slice::<f32>(a_size + WIDTH * deepest);
        let (packed_a, edge) = scratch.split_at_mut(a_size);
        for p in (0..k).step_by(DEPTH) {
            let deep = DEPTH.min(k - p);
            let last = columns.end / WIDTH * WIDTH;
            if let (Source::Direct(b), true) = (self.b, last < columns.end) {
                let from = last.max(columns.start);
                // SAFETY: the caller's promise.
                unsafe {
                    let into = edge.as_mut_ptr();
                    pack_slivers(self.gemm, b, p..p + deep, from..columns.end, into);
                }
            }
            for first in self.rows.clone().step_by(BLOCK_ROWS) {
                let end = self.rows.end.min(first + BLOCK_ROWS);
                if packs_a {
                    // SAFETY: the caller's promise.
                    unsafe { pack_a::<MR>(self.gemm, self.a, first..end, p..p + deep, packed_a) };
                }
                for j in columns.clone().step_by(WIDTH) {
                    let count = WIDTH.min(columns.end - j);
                    // SAFETY: within B, the panel or the edge's sliver.
                    let (b, step) = unsafe {
                        match self.b {
                            Source::Packed { panel, first } => {
                                let slivers = panel.add(p * self.panel_width);
                                (slivers.add((j - first) * deep), WIDTH as isize)
                            }
                            Source::Direct(_) if count < WIDTH => (edge.as_ptr(), WIDTH as isize),
                            Source::Direct(b) => {
                                (b.offset(p as isize * self.gemm.b.0).add(j), self.gemm.b.0)
                            }
                        }
                    };
                    for i in (first..end).step_by(MR) {
                        let target = Part {
                            // SAFETY: within C.
                            start: unsafe { self.c.add(i * n + j) },
                            row: n,
                            rows: MR.min(end - i),
                            columns: count,
                            fresh: p == 0 && !self.gemm.adds,
                        };
                        target.fetch();
                        // SAFETY: the caller's promise.
                        unsafe {
                            if packs_a {
                                let a = packed_a.as_ptr().add((i - first) * deep);
                                let rows = std::array::from_fn(|r| a.add(r));
                                let sum = multiply::<S, MR>(simd, deep, rows, MR as isize, b, step);
                                target.store::<S, MR>(simd, &sum);
                            } else {
                                let (down, along) = self.gemm.a;
                                let a = self.a.offset(i as isize * down + p as isize * along);
                                // Rows that are not there repeat the last one.
                                let rows = std::array::from_fn(|r: usize| {
                                    a.offset(r.min(target.rows - 1) as isize * down)
                                });
                                let sum = multiply::<S, MR>(simd, deep, rows, along, b, step);
                                target.store::<S, MR>(simd, &sum);
                            }
                        }
                    }
                }
            }
        }
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

/// The microkernel: the product of `MR` rows of A, whose next elements are `along` apart, and `k`
/// rows of B, `down` apart, in registers throughout.
///
/// # Safety
/// All these elements are readable.
#[inline(always)]
unsafe fn multiply<S: Simd, const MR: usize>(
    simd: S,
    k: usize,
    a: [*const f32; MR],
    along: isize,
    mut b: *const f32,
    down: isize,
) -> [[S::f32s; VECTORS]; MR] {
    let mut sum = [[simd.splat_f32s(0.0); VECTORS]; MR];
    let mut skip = 0isize;
    for _ in 0..k {
        // SAFETY: the caller's promise.
        unsafe {
            let row = [
                b.cast::<S::f32s>().read_unaligned(),
                b.add(S::F32_LANES).cast::<S::f32s>().read_unaligned(),
            ];
            for (sum, a) in sum.iter_mut().zip(&a) {
                let x = simd.splat_f32s(*a.offset(skip));
                sum[0] = simd.mul_add_f32s(x, row[0], sum[0]);
                sum[1] = simd.mul_add_f32s(x, row[1], sum[1]);
            }
        }
        skip += along;
        b = b.wrapping_offset(down);
    }
    sum
}

/// The part of C that a tile covers.
#[derive(Clone, Copy)]
struct Part {
    start: *mut f32,
    /// Distance between rows.
    row: usize,
    rows: usize,
    columns: usize,
    /// Whether the tile is stored rather than added.
    fresh: bool,
}

impl Part {
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
    /// This part of C is writable, by this task only.
    #[inline(always)]
    unsafe fn store<S: Simd, const MR: usize>(self, simd: S, sum: &[[S::f32s; VECTORS]; MR]) {
        if self.rows == MR && self.columns == WIDTH {
            for (i, row) in sum.iter().enumerate() {
                for (v, &x) in row.iter().enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let at = self.start.add(i * self.row + v * S::F32_LANES);
                        let at = at.cast::<S::f32s>();
                        let x = if self.fresh {
                            x
                        } else {
                            simd.add_f32s(at.read_unaligned(), x)
                        };
                        at.write_unaligned(x);
                    }
                }
            }
            return;
        }
        let mut tile = [0f32; HEIGHT * WIDTH];
        for (i, row) in sum.iter().enumerate() {
            for (v, &x) in row.iter().enumerate() {
                let at = i * WIDTH + v * S::F32_LANES;
                let lanes: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&x));
                tile[at..at + S::F32_LANES].copy_from_slice(lanes);
            }
        }
        for i in 0..self.rows {
            // SAFETY: the caller's promise.
            let row = unsafe {
                std::slice::from_raw_parts_mut(self.start.add(i * self.row), self.columns)
            };
            let tile = &tile[i * WIDTH..][..self.columns];
            if self.fresh {
                row.copy_from_slice(tile);
            } else {
                for (c, x) in row.iter_mut().zip(tile) {
                    *c += x;
                }
            }
        }
    }
}
