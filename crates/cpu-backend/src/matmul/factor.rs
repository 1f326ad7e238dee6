//! How the matrices of a product are found.

use std::ops::Range;

use smallvec::SmallVec;
use wgrad_core::{DType, Layout, Operand, Shape};

use crate::cursor::{self, Cursor, Walk};
use crate::gemm::Matrix;
use crate::storage;

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
