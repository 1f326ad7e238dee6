//! How the tasks of a product share its panel and its part of C.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::gemm::{Blocks, GROUP, Gemm, Packing};

/// Columns that a block has before a panel is cut into more blocks than there are threads.
const WIDE_COLUMNS: usize = 512;

/// How the columns of a panel are packed by tasks, and its part of C computed by others.
pub(super) struct Grid {
    columns: Range<usize>,
    width: usize,
    depth: usize,
    k: usize,
    /// Slivers that a task packs, and how many tasks share the columns and the depths.
    group: usize,
    parts: [usize; 2],
    tiles: usize,
    m: usize,
    height: usize,
    /// Blocks of rows, and of columns.
    blocks: [usize; 2],
}

impl Grid {
    pub fn new(gemm: &Gemm<'_>, columns: Range<usize>, packing: Packing, threads: usize) -> Grid {
        let Blocks {
            width,
            height,
            depth,
            ..
        } = gemm.blocks;
        let slivers = columns.len().div_ceil(width);
        let depths = gemm.k.div_ceil(depth);
        let group = (slivers * depths / (2 * threads)).clamp(1, GROUP);
        let rows = match packing {
            Packing::ByBlocks => 1,
            Packing::InPlace if gemm.m <= gemm.blocks.rows => 1,
            Packing::Whole | Packing::InPlace | Packing::None => gemm.row_blocks(threads),
        };
        let splits = match packing {
            // Each of them packs all of A.
            Packing::ByBlocks | Packing::InPlace if threads > 1 && rows == 1 => {
                let wide = columns.len() / WIDE_COLUMNS;
                wide.clamp(threads, 2 * threads).min(slivers)
            }
            Packing::ByBlocks | Packing::InPlace | Packing::Whole | Packing::None => {
                threads.div_ceil(rows).min(slivers)
            }
        };
        Grid {
            columns,
            width,
            depth,
            k: gemm.k,
            group,
            parts: match packing {
                Packing::Whole => [slivers.div_ceil(group), depths],
                Packing::ByBlocks | Packing::InPlace | Packing::None => [0, 0],
            },
            tiles: gemm.m.div_ceil(height),
            m: gemm.m,
            height,
            blocks: [rows, splits],
        }
    }

    /// Tasks that pack.
    pub fn parts(&self) -> usize {
        self.parts[0] * self.parts[1]
    }

    /// The columns and depths that a task packs.
    pub fn part(&self, i: usize) -> (Range<usize>, Range<usize>) {
        let (depth, group) = (i / self.parts[0], i % self.parts[0]);
        let first = self.columns.start + group * self.group * self.width;
        let last = self.columns.end.min(first + self.group * self.width);
        let depth = depth * self.depth;
        (first..last, depth..self.k.min(depth + self.depth))
    }

    /// Tasks that multiply.
    pub fn blocks(&self) -> usize {
        self.blocks[0] * self.blocks[1]
    }

    /// The rows and columns that a task computes.
    pub fn block(&self, i: usize) -> (Range<usize>, Range<usize>) {
        let [blocks, splits] = self.blocks;
        let row = |i: usize| self.m.min(self.tiles * i / blocks * self.height);
        let slivers = self.columns.len().div_ceil(self.width);
        let column = |i: usize| {
            let sliver = slivers * i / splits;
            self.columns
                .end
                .min(self.columns.start + sliver * self.width)
        };
        let (r, c) = (i / splits, i % splits);
        (row(r)..row(r + 1), column(c)..column(c + 1))
    }
}

/// Tasks that others wait for.
pub(super) struct Countdown(AtomicUsize);

impl Countdown {
    pub fn new(count: usize) -> Countdown {
        Countdown(AtomicUsize::new(count))
    }

    /// Counts when it is dropped, also where a task panics, so that nobody waits for ever.
    pub fn one(&self) -> impl Drop {
        struct One<'a>(&'a AtomicUsize);
        impl Drop for One<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Release);
            }
        }
        One(&self.0)
    }

    /// Waits until all are done. They were all begun before whoever waits.
    pub fn wait(&self) {
        #[cfg(not(target_arch = "wasm32"))]
        for looks in 1usize.. {
            if self.0.load(Ordering::Acquire) == 0 {
                break;
            }
            std::hint::spin_loop();
            if looks % 1024 == 0 {
                std::thread::yield_now();
            }
        }
        debug_assert_eq!(self.0.load(Ordering::Acquire), 0);
    }
}
