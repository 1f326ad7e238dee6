//! Products of float matrices: blocks that suit the caches, packed into the order in which the
//! microkernel reads them ([Goto and van de Geijn 2008](https://doi.org/10.1145/1356052.1356053)).
//!
//! Every element of C is one chain of multiply-adds over ascending k, cut at multiples of
//! [`Blocks::depth`] (or a dot product in a fixed order, in pieces too), whatever the threads are: results
//! are the same bits in every run with an instruction set.

mod blocks;
mod few_rows;
mod in_place;
mod pack;
mod real;
mod tile;
mod turn;
mod turned;
mod views;

use std::ops::Range;

use pulp::{Simd, WithSimd};
use wgrad_core::DType;

use self::blocks::{MOST_COLUMNS, with_tile};
use self::few_rows::FewRows;
pub(crate) use self::few_rows::Operands;
pub(crate) use self::in_place::InPlace;
use self::in_place::Pieces;
use self::pack::{PackB, RowTiles, pack_a, pack_slivers};
use self::tile::{DIRECT_ROWS, Rows, RowsOfB, Tile};
use self::turned::TurnedBlock;
use self::views::Starts;
use crate::cursor::Walk;
use crate::instructions::dispatch;
use crate::scratch::{self, Scratch};

pub(crate) use self::blocks::Blocks;
pub(crate) use self::real::Real;

/// Narrower products read A where it lies: packing would cost more than it saves.
const PACK_A_COLUMNS: usize = 128;
/// Products of up to so many rows pack B by blocks of columns, and do not pack A where it can be read without.
const BY_BLOCKS_ROWS: usize = 32;
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
/// Slivers of B that are packed side by side: long runs of memory suit the prefetcher, and not so many that they lie in
/// the same sets of a first-level cache.
pub(crate) const GROUP: usize = 4;

/// A product `C = A B`, or the part of one from depth `start` on.
#[derive(Clone, Copy)]
pub(crate) struct Gemm<'a> {
    pub m: usize,
    pub n: usize,
    pub start: usize,
    pub k: usize,
    /// Distance between the rows of C.
    pub row: usize,
    pub a: Matrix<'a>,
    pub b: Matrix<'a>,
    /// Whether the products are added to what C holds; only where B is packed.
    pub adds: bool,
    /// How it is cut: [`Blocks::of`] the type in which it is computed.
    pub blocks: Blocks,
}

/// A factor: element `[i, j]` lies at `rows.at(i) + columns.at(j)`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub rows: &'a Walk,
    pub columns: &'a Walk,
    /// The type in which the product is computed, or for `f32` a 16-bit float, which is widened as it is packed.
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

    fn is_narrow(&self) -> bool {
        self.dtype != self.dtype.compute()
    }
}

/// Where the microkernel finds B.
#[derive(Clone, Copy)]
pub(crate) enum Source<T> {
    /// Where it lies; what cannot be read there is packed on the way.
    Direct(*const u8),
    /// Where it lies, to be packed on the way.
    Lying(*const u8),
    /// The same for windows whose columns are lines, which are read as [`InPlace`] says.
    Windows(*const u8),
    /// The columns from `first` on, packed.
    Packed { panel: *const T, first: usize },
}

// SAFETY: the pointers are only read; the caller of `Gemm::block` vouches for them.
unsafe impl<T> Send for Source<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Source<T> {}

/// What is to become of B before blocks of C are computed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Nothing: blocks read it where it lies.
    None,
    /// Nothing, and the columns of blocks are places of the lines that [`InPlace`] tells of.
    InPlace,
    /// Each block packs its columns, a few at a time, which are still in its caches when they are multiplied: there
    /// are so few rows that a block has them all, which it packs too.
    ByBlocks,
    /// It is packed once for all.
    Whole,
}

impl Gemm<'_> {
    fn packs_a(&self) -> bool {
        self.a.strides.is_none()
            || self.in_place().is_some()
            || self.n >= PACK_A_COLUMNS && self.m > BY_BLOCKS_ROWS
    }

    /// Whether it is sums of B's rows, or dot products with its columns.
    pub fn is_of_few_rows(&self) -> bool {
        let run = self.b.columns.dense();
        let windows = self.b.strides.is_none() && run >= WINDOW_RUN;
        let fits = match self.m {
            0..=VECTOR_ROWS => run.max(self.b.rows.dense()) > 1,
            m => m <= WINDOW_ROWS && windows && run >= self.b.rows.dense(),
        };
        fits && !self.adds && !self.a.is_narrow() && !self.b.is_narrow()
    }

    /// How B is read where it lies, if it is windows and that is faster than to pack them.
    pub fn in_place(&self) -> Option<InPlace> {
        let windows = self.b.strides.is_none() && !self.b.is_narrow() && self.m > VECTOR_ROWS;
        let lines = self.b.columns.lines().filter(|_| windows && !self.adds)?;
        InPlace::new(lines, self.m, self.blocks.width)
    }

    /// For so many threads.
    pub fn packing(&self, threads: usize) -> Packing {
        let size = self.k * self.n;
        let small = || {
            self.b.strides.is_some_and(|(_, along)| along == 1)
                && (size <= DIRECT_B || (self.m <= SHALLOW_ROWS && size <= DIRECT_B_SHALLOW))
        };
        let flat = self.m <= BY_BLOCKS_ROWS;
        if self.is_of_few_rows() || self.m > VECTOR_ROWS && small() {
            Packing::None
        } else if self.in_place().is_some() {
            Packing::InPlace
        } else if self.m <= self.blocks.rows && (flat || self.n >= threads * self.m) {
            Packing::ByBlocks
        } else {
            Packing::Whole
        }
    }

    /// How many columns are packed and computed at a time, a multiple of a tile's.
    pub fn panel_columns(&self) -> usize {
        (self.blocks.panel / self.k.max(1))
            .max(GROUP * self.blocks.width)
            .min(self.n)
            .next_multiple_of(self.blocks.width)
    }

    /// How the rows are split into blocks for so many threads.
    pub fn row_blocks(&self, threads: usize) -> usize {
        let Blocks { height, rows, .. } = self.blocks;
        let tiles = self.m.div_ceil(height);
        let blocks = tiles.div_ceil(rows / height);
        blocks.next_multiple_of(threads).min(tiles)
    }

    /// Packs columns `columns` (where `first` is the panel's first one) of rows `depths` of B, which begin at a
    /// multiple of [`Blocks::depth`] and end at one or with B: for each of these, slivers of a tile's width, row by
    /// row.
    ///
    /// # Safety
    /// B is readable, the panel has room for all of its slivers, and nobody else touches these.
    pub unsafe fn pack_b<T: Real>(
        &self,
        b: *const u8,
        panel: *mut T,
        first: usize,
        panel_width: usize,
        columns: Range<usize>,
        depths: Range<usize>,
    ) {
        dispatch(PackB {
            gemm: self,
            b,
            panel,
            first,
            panel_width,
            columns,
            depths,
        });
    }

    /// Computes `rows` and `columns` of C, a [part](Gemm::turned_part).
    ///
    /// # Safety
    /// [`Gemm::is_turned`]; else as for [`Gemm::block`].
    pub unsafe fn turned_block<T: Real>(
        &self,
        a: *const u8,
        b: *const T,
        c: *mut T,
        [rows, columns]: [Range<usize>; 2],
    ) {
        scratch::with(|scratch| {
            dispatch(TurnedBlock {
                gemm: self,
                a,
                b,
                c,
                rows,
                columns,
                scratch,
            });
        });
    }

    /// Computes products `items` of few rows, which have sizes and layouts in common, and tells `done` of each. What they
    /// have in common is looked up once.
    ///
    /// # Safety
    /// It is of few rows; as for [`Gemm::block`] for the operands of each.
    pub unsafe fn products_of_few_rows<T: Real>(
        &self,
        items: Range<usize>,
        operands: &dyn Fn(usize) -> Operands<T>,
        done: &mut dyn FnMut(usize),
    ) {
        scratch::with(|scratch| {
            dispatch(Few {
                gemm: self,
                items,
                operands,
                done,
                scratch,
            });
        });
    }

    /// Computes `rows` and `columns` of C, whose rows are dense. `columns` begins at a tile; of [`Source::Windows`] they
    /// are places.
    ///
    /// # Safety
    /// The matrices are readable (a panel as [`Gemm::pack_b`] made it, `panel_width` columns wide),
    /// and nobody else touches this part of C, which overlaps neither.
    pub unsafe fn block<T: Real>(
        &self,
        a: *const u8,
        b: Source<T>,
        panel_width: usize,
        c: *mut T,
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

/// Several products of few rows.
struct Few<'a, T> {
    gemm: &'a Gemm<'a>,
    items: Range<usize>,
    operands: &'a dyn Fn(usize) -> Operands<T>,
    done: &'a mut dyn FnMut(usize),
    scratch: &'a mut Scratch,
}

impl<T: Real> WithSimd for Few<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Gemm { m, n, .. } = *self.gemm;
        let mut few = FewRows::new(self.gemm, 0..m, 0..n, self.scratch);
        for item in self.items {
            let of = (self.operands)(item);
            // SAFETY: `products_of_few_rows`' caller's promise.
            unsafe { few.compute(simd, &of) };
            (self.done)(item);
        }
    }
}

struct Block<'a, T> {
    gemm: &'a Gemm<'a>,
    a: *const u8,
    b: Source<T>,
    panel_width: usize,
    c: *mut T,
    rows: Range<usize>,
    columns: Range<usize>,
    scratch: &'a mut Scratch,
}

impl<T: Real> WithSimd for Block<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if let (Source::Direct(b), true) = (self.b, self.gemm.is_of_few_rows()) {
            let of = Operands {
                a: self.a.cast::<T>(),
                b: b.cast(),
                c: self.c,
                end: self.gemm.b.end,
            };
            let mut few = FewRows::new(self.gemm, self.rows, self.columns, self.scratch);
            // SAFETY: `block`'s caller's promise; B is direct only where it is dense one way.
            return unsafe { few.compute(simd, &of) };
        }
        // SAFETY: `block`'s caller's promise.
        unsafe { with_tile!(S, T, self.run(simd)) };
    }
}

impl<T: Real> Block<'_, T> {
    /// # Safety
    /// As for [`Gemm::block`].
    #[inline(always)]
    unsafe fn run<S: Simd, const MOST: usize, const VECTORS: usize, const WIDTH: usize>(
        self,
        simd: S,
    ) {
        const { assert!(WIDTH <= MOST_COLUMNS) };
        let Gemm {
            k,
            start,
            row,
            blocks,
            ..
        } = *self.gemm;
        let depth = |p: usize| (start + p) as isize;
        let packs_a = self.gemm.packs_a();
        let height = if packs_a { MOST } else { MOST.min(DIRECT_ROWS) };
        let columns = self.columns;
        let in_place = match self.b {
            Source::Windows(_) => self.gemm.in_place(),
            _ => None,
        };
        // A's block, and slivers of B.
        let deepest = blocks.depth.min(k);
        let a_size = match packs_a {
            true => blocks.rows.min(self.rows.len()) * deepest + MOST_COLUMNS,
            false => 0,
        };
        let own = match self.b {
            Source::Packed { .. } | Source::Windows(_) => 0,
            Source::Direct(_) => WIDTH,
            Source::Lying(_) => GROUP * WIDTH,
        };
        let scratch = self.scratch.slice::<T>(a_size + own * deepest);
        let (packed_a, slivers) = scratch.split_at_mut(a_size);
        for p in (0..k).step_by(blocks.depth) {
            let deep = blocks.depth.min(k - p);
            let b_rows =
                in_place.map(|_| Starts::of_rows(&self.gemm.b, start + p..start + p + deep));
            for first in self.rows.clone().step_by(blocks.rows) {
                let end = self.rows.end.min(first + blocks.rows);
                let tiles = RowTiles::new(first..end, height);
                if packs_a {
                    // SAFETY: the caller's promise.
                    unsafe { pack_a::<S, T>(self.gemm, self.a, &tiles, p..p + deep, packed_a) };
                }
                for group in columns.clone().step_by(GROUP * WIDTH) {
                    let group = group..columns.end.min(group + GROUP * WIDTH);
                    let whole = match self.b {
                        Source::Packed { .. } | Source::Windows(_) => group.end,
                        Source::Direct(_) => group.start + group.len() / WIDTH * WIDTH,
                        Source::Lying(_) => group.start,
                    };
                    if let (true, Source::Direct(b) | Source::Lying(b)) =
                        (whole < group.end, self.b)
                    {
                        // SAFETY: the caller's promise.
                        unsafe {
                            let into = slivers.as_mut_ptr();
                            let columns = whole..group.end;
                            pack_slivers::<S, T, WIDTH>(self.gemm, b, p..p + deep, columns, into);
                        }
                    }
                    for j in group.clone().step_by(WIDTH) {
                        let end = group.end.min(j + WIDTH);
                        let pieces = match &in_place {
                            Some(in_place) => in_place.pieces::<WIDTH>(j..end),
                            None => Pieces::whole(j..end),
                        };
                        // SAFETY: within B, the panel or the slivers.
                        let b = unsafe {
                            match self.b {
                                Source::Packed { panel, first } => {
                                    let slivers = panel.add(p * self.panel_width);
                                    RowsOfB::packed::<WIDTH>(slivers.add((j - first) * deep))
                                }
                                Source::Direct(b) if j < whole => {
                                    let down = self.gemm.b.steps().0;
                                    let at = b.cast::<T>().offset(depth(p) * down).add(j);
                                    RowsOfB::Apart(at, down)
                                }
                                Source::Windows(b) => {
                                    let starts =
                                        b_rows.as_ref().map_or(&[][..], |rows| rows.part(0..deep));
                                    RowsOfB::From(b.cast::<T>().add(pieces.first), starts)
                                }
                                Source::Direct(_) | Source::Lying(_) => RowsOfB::packed::<WIDTH>(
                                    slivers.as_ptr().add((j - whole) * deep),
                                ),
                            }
                        };
                        for (i, rows) in tiles.iter().enumerate() {
                            // The next sliver is brought while this one is multiplied: so many short runs are
                            // no prefetcher's.
                            if let (Some(starts), Source::Windows(b)) = (&b_rows, self.b)
                                && j + WIDTH < columns.end
                            {
                                let next = b.cast::<T>().wrapping_add(pieces.first + WIDTH);
                                starts.fetch((i, tiles.count()), next, WIDTH);
                            }
                            let tile = Tile {
                                // SAFETY: within C.
                                start: unsafe { self.c.add(rows.start * row) },
                                row,
                                rows: rows.len(),
                                pieces: pieces.each(),
                                fresh: p == 0 && !self.gemm.adds,
                            };
                            // SAFETY: the caller's promise.
                            unsafe {
                                let a = match packs_a {
                                    true => Rows::Packed(
                                        packed_a.as_ptr().add((rows.start - first) * deep),
                                    ),
                                    false => {
                                        let (down, along) = self.gemm.a.steps();
                                        let at = rows.start as isize * down + depth(p) * along;
                                        Rows::Direct(self.a.cast::<T>().offset(at), down, along)
                                    }
                                };
                                tile.compute::<S, MOST, VECTORS>(simd, deep, a, b);
                            }
                        }
                    }
                }
            }
        }
    }
}
