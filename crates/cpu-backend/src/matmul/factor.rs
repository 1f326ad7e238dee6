//! How the matrices of a product are found.

use std::ops::Range;

use smallvec::SmallVec;
use wgrad_core::{DType, Layout, Operand, Shape};

use crate::cursor::{self, Cursor, Walk};
use crate::gemm::{Gemm, Matrix, Packing};
use crate::packed::Form;
use crate::parallel::Shared;
use crate::storage;

/// Products of more rows pack their second factor each time: that is less than a fifteenth of their work, and to keep
/// it packed takes its memory once more.
const KEPT_ROWS: usize = 128;

/// A factor: its matrices as the products see them.
pub(super) struct Factor {
    pub buffer: usize,
    pub dtype: DType,
    /// How the matrices' first elements are found, in elements.
    batch: Walk,
    rows: Walk,
    columns: Walk,
    /// One past the last element of all.
    end: usize,
}

impl Factor {
    /// An operand that is not empty, whose dimensions are `batch`, those of the matrices' rows and those
    /// of their columns.
    pub fn new(operand: &Operand, batch: usize, rows: usize) -> Factor {
        let layout = &operand.layout;
        let walk = |dims: Range<usize>, offset: usize| {
            Walk::new(&Layout {
                shape: Shape::new(&layout.shape[dims.clone()]),
                strides: SmallVec::from_slice(&layout.strides[dims]),
                offset,
            })
        };
        Factor {
            buffer: operand.buffer,
            dtype: operand.dtype,
            batch: walk(0..batch, layout.offset),
            rows: walk(batch..batch + rows, 0),
            columns: walk(batch + rows..layout.shape.rank(), 0),
            end: cursor::extent(layout).ok().flatten().unwrap_or(0),
        }
    }

    /// The first element of matrix `item`.
    pub fn first(&self, item: usize) -> isize {
        self.batch.at(item)
    }

    /// Distances between neighbours in a column and in a row, where one each walks the matrix and its
    /// elements are read as they are.
    pub fn strides(&self) -> Option<(isize, isize)> {
        let wide = self.dtype == self.dtype.compute();
        self.rows
            .stride()
            .zip(self.columns.stride())
            .filter(|_| wide)
    }

    /// How it is kept packed for product `gemm`, whose second factor begins at `start`: where it is one matrix for all
    /// products, and each of its elements is packed once.
    pub fn form(&self, start: Shared<u8>, gemm: &Gemm<'_>) -> Option<Form> {
        let (down, along) = self.strides()?;
        let (k, n) = (gemm.k as isize, gemm.n as isize);
        // Each element is there once; the windows of a line are not.
        let plain = down.abs() >= n * along.abs().max(1) || along.abs() >= k * down.abs().max(1);
        let single = self.batch.stride() == Some(0) && gemm.start == 0;
        let pays = gemm.m <= KEPT_ROWS && gemm.n >= gemm.blocks.width;
        if !plain || !single || !pays || gemm.packing(1) == Packing::None {
            return None;
        }
        let size = self.dtype.size();
        let reach = |stride: isize, count: usize| stride * (count as isize - 1);
        let (height, length) = (reach(down, gemm.k), reach(along, gemm.n));
        let (least, most) = (height.min(0) + length.min(0), height.max(0) + length.max(0));
        Some(Form {
            start: start.get().wrapping_offset(least * size as isize) as usize,
            bytes: (most - least + 1) as usize * size,
            strides: (down, along),
            rows: gemm.k,
            columns: gemm.n,
            element: size,
            width: gemm.blocks.width,
            depth: gemm.blocks.depth,
        })
    }

    /// Matrix `item`, seen from its first element.
    pub fn matrix(&self, item: usize) -> Matrix<'_> {
        Matrix {
            rows: &self.rows,
            columns: &self.columns,
            dtype: self.dtype,
            end: self.end as isize - self.first(item),
            strides: self.strides(),
        }
    }

    /// Copies rows and columns of a matrix to `into`, row by row, widened.
    ///
    /// # Safety
    /// The operand was checked, `first` is the matrix' first element, and `into` has room.
    pub unsafe fn copy(
        &self,
        first: *const u8,
        rows: Range<usize>,
        columns: Range<usize>,
        into: *mut u8,
    ) {
        let size = self.dtype.size();
        let (wide, width) = (self.dtype.compute().size(), columns.len());
        let mut narrow: Vec<u64> = match size == wide {
            true => Vec::new(),
            false => vec![0; (width * size).div_ceil(8)],
        };
        let mut cursor = Cursor::new(&self.columns);
        for (r, row) in rows.enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let from = first.offset(self.rows.at(row) * size as isize);
                let into = into.add(r * width * wide);
                if narrow.is_empty() {
                    cursor.gather(from, size, columns.start, into, width);
                } else {
                    let staged = narrow.as_mut_ptr().cast::<u8>();
                    cursor.gather(from, size, columns.start, staged, width);
                    storage::load(self.dtype, staged, into, width);
                }
            }
        }
    }
}
