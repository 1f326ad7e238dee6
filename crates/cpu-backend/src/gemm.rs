//! `f32` matrix products: blocks that suit the caches, packed into the order in which the
//! microkernel reads them ([Goto and van de Geijn 2008](https://doi.org/10.1145/1356052.1356053)).
//!
//! Every element of C is one chain of multiply-adds over ascending k, cut at multiples of
//! [`DEPTH`] (or a dot product in a fixed order, in pieces too), whatever the threads and the blocks are: results
//! are the same bits in every run.

mod few_rows;
mod pack;

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use wgrad_core::DType;

use self::few_rows::FewRows;
use self::pack::{PackB, pack_a, pack_slivers};
use crate::cursor::Walk;
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
/// The same where B is the windows of something smaller, whose packing makes many elements of few, and so many of
/// them lie next to each other.
const WINDOW_ROWS: usize = 8;
const WINDOW_RUN: usize = 12;
/// A product `C = A B`, or the part of one from depth `start` on.
#[derive(Clone, Copy)]
pub(crate) struct Gemm<'a> {
    pub m: usize,
    pub n: usize,
    pub start: usize,
    pub k: usize,
    pub a: Matrix<'a>,
    pub b: Matrix<'a>,
    /// Whether the products are added to what C holds; only where B is packed.
    pub adds: bool,
}

/// A factor: element `[i, j]` lies at `rows.at(i) + columns.at(j)`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub rows: &'a Walk,
    pub columns: &'a Walk,
    /// `f32`, or a 16-bit float, which is widened as it is packed.
    pub dtype: DType,
    /// One past the last element that may be read, counted from the first.
    pub end: isize,
    /// Distances between neighbours in a column and in a row, where it can be read where it lies.
    pub strides: Option<(isize, isize)>,
}

impl Matrix<'_> {
    /// The distances, which are asked for only where there are such.
    fn steps(&self) -> (isize, isize) {
        self.strides.unwrap_or((0, 0))
    }
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

/// Runs `task` with the vectors that the microkernel is made for, if this machine has them.
fn dispatch<F: WithSimd>(task: F) -> F::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return Simd::vectorize(simd, task);
    }
    Arch::new().dispatch(task)
}

/// The tile, where this machine has vectors with multiply-add that the microkernel is made for. Products
/// that lie ready for the `gemm` crate are left to it where vectors are longer.
pub(crate) fn tile(ready: bool) -> Option<Tile> {
    match ready {
        true => Arch::new().dispatch(TileShape),
        false => dispatch(TileShape),
    }
}

/// B as the microkernel reads it.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// Where it lies.
    Direct(*const u8),
    /// The columns from `first` on, packed.
    Packed { panel: *const f32, first: usize },
}

// SAFETY: the pointers are only read; the caller of `Gemm::block` vouches for them.
unsafe impl Send for Source {}
// SAFETY: as above.
unsafe impl Sync for Source {}

impl Gemm<'_> {
    fn packs_a(&self) -> bool {
        self.a.strides.is_none() || self.n >= PACK_A_COLUMNS && self.m > VECTOR_ROWS
    }

    /// Whether it is sums of B's rows, or dot products with its columns.
    fn is_of_few_rows(&self) -> bool {
        let run = self.b.columns.dense();
        let windows = self.b.strides.is_none() && run >= WINDOW_RUN;
        let fits = match self.m {
            0..=VECTOR_ROWS => run.max(self.b.rows.dense()) > 1,
            m => m <= WINDOW_ROWS && windows && run >= self.b.rows.dense(),
        };
        fits && !self.adds && self.a.dtype == DType::F32 && self.b.dtype == DType::F32
    }

    /// Whether B is to be packed before blocks of C are computed.
    pub fn packs_b(&self) -> bool {
        let size = self.k * self.n;
        let small = || {
            self.m > VECTOR_ROWS
                && self.b.strides.is_some_and(|(_, along)| along == 1)
                && (size <= DIRECT_B || (self.m <= SHALLOW_ROWS && size <= DIRECT_B_SHALLOW))
        };
        !self.is_of_few_rows() && !small()
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
        b: *const u8,
        panel: *mut f32,
        first: usize,
        panel_width: usize,
        columns: Range<usize>,
    ) {
        dispatch(PackB {
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
        a: *const u8,
        b: Source,
        panel_width: usize,
        c: *mut f32,
        rows: Range<usize>,
        columns: Range<usize>,
    ) {
        scratch::with(|scratch| {
            dispatch(Block {
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
    gemm: &'a Gemm<'a>,
    a: *const u8,
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
        if let (Source::Direct(b), true) = (self.b, self.gemm.is_of_few_rows()) {
            let few = FewRows {
                gemm: self.gemm,
                a: self.a,
                b: b.cast(),
                c: self.c,
            };
            // SAFETY: `block`'s caller's promise; B is direct only where it is dense one way.
            return unsafe { few.compute(simd, self.rows, self.columns, self.scratch) };
        }
        // SAFETY: `block`'s caller's promise.
        unsafe { self.run::<S, HEIGHT>(simd) };
    }
}

impl Block<'_> {
    /// # Safety
    /// As for [`Gemm::block`]; `MR` is the tile's height.
    #[inline(always)]
    unsafe fn run<S: Simd, const MR: usize>(self, simd: S) {
        let Gemm { n, k, start, .. } = *self.gemm;
        let depth = |p: usize| (start + p) as isize;
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
                                let down = self.gemm.b.steps().0;
                                (b.cast::<f32>().offset(depth(p) * down).add(j), down)
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
                                let (down, along) = self.gemm.a.steps();
                                let a = self.a.cast::<f32>();
                                let a = a.offset(i as isize * down + depth(p) * along);
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
