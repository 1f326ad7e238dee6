//! The matrix products within operations: small ones, whose second factor is packed once and multiplied many times.

use std::ops::Range;

use wgrad_core::DType;

use crate::cursor::Walk;
use crate::gemm::{self, Blocks, Gemm, Real, Source};

/// A matrix: its first element, and the distances between neighbours in a column and in a row.
#[derive(Clone, Copy)]
pub(super) struct Matrix<E> {
    pub start: *const E,
    pub strides: (isize, isize),
}

impl<E> Matrix<E> {
    pub fn transposed(self) -> Matrix<E> {
        Matrix {
            strides: (self.strides.1, self.strides.0),
            ..self
        }
    }
}

/// The second factor of products, `k` rows of `n`.
#[derive(Clone, Copy)]
pub(super) struct Factor<E> {
    pub matrix: Matrix<E>,
    pub k: usize,
    pub n: usize,
    /// Where it is packed, if it is.
    panel: Option<*const E>,
}

// SAFETY: the pointers are only read, and whoever made it keeps what they point to.
unsafe impl<E: Sync> Sync for Factor<E> {}

impl<E: Real> Factor<E> {
    /// Elements of room that [`Factor::new`] wants.
    pub fn room(k: usize, n: usize) -> usize {
        n.next_multiple_of(Blocks::of::<E>().width) * k
    }

    /// The factor, packed into the room where that pays for `rows` rows that are multiplied by it.
    ///
    /// # Safety
    /// The matrix is readable as long as the factor is used, and so is the room.
    pub unsafe fn new(
        matrix: Matrix<E>,
        (k, n): (usize, usize),
        rows: usize,
        room: &mut [E],
    ) -> Factor<E> {
        let dense = matrix.strides.1 == 1 || (matrix.strides.0 == 1 && k > 1);
        let packs = rows > gemm::VECTOR_ROWS || !dense;
        if packs {
            with_gemm::<E>([1, k, n], (0, 0), matrix.strides, false, |gemm| {
                let (panel, width) = (room.as_mut_ptr(), n.next_multiple_of(gemm.blocks.width));
                // SAFETY: the caller's promise.
                unsafe { gemm.pack_b(matrix.start.cast(), panel, 0, width, 0..n, 0..k) };
            });
        }
        Factor {
            matrix,
            k,
            n,
            panel: packs.then_some(room.as_ptr()),
        }
    }

    /// Piece `i` of its columns, of which there are so many; each begins at a tile.
    pub fn piece(&self, i: usize, pieces: usize) -> Range<usize> {
        let width = Blocks::of::<E>().width;
        let tiles = self.n.div_ceil(width);
        let at = |i: usize| self.n.min(tiles * i / pieces * width);
        at(i)..at(i + 1)
    }

    /// `C = A B`, or with `adds` `C += A B`, of `m` rows of A; C is dense with `n` columns.
    ///
    /// # Safety
    /// The matrices are readable, C is writable by this task only and overlaps none of them.
    pub unsafe fn multiply(&self, m: usize, a: Matrix<E>, c: *mut E, adds: bool) {
        // SAFETY: the caller's promise.
        unsafe { self.multiply_columns(m, a, (c, self.n), 0..self.n, adds) };
    }

    /// Columns `columns` of that, which are a [piece](Factor::piece); the rows of C lie so far apart.
    ///
    /// # Safety
    /// As for [`Factor::multiply`].
    pub unsafe fn multiply_columns(
        &self,
        m: usize,
        a: Matrix<E>,
        (c, row): (*mut E, usize),
        columns: Range<usize>,
        adds: bool,
    ) {
        let Factor { k, n, .. } = *self;
        with_gemm::<E>([m, k, n], a.strides, self.matrix.strides, adds, |gemm| {
            let gemm = Gemm { row, ..*gemm };
            let source = match self.panel {
                Some(panel) => Source::Packed { panel, first: 0 },
                None if adds => Source::Lying(self.matrix.start.cast()),
                None => Source::Direct(self.matrix.start.cast()),
            };
            let width = n.next_multiple_of(gemm.blocks.width);
            // SAFETY: the caller's promise.
            unsafe { gemm.block(a.start.cast(), source, width, c, 0..m, columns) };
        });
    }
}

/// A factor's rows and columns as the blocks take them.
struct Walks([Walk; 2]);

impl Walks {
    fn new(strides: (isize, isize), rows: usize, columns: usize) -> Walks {
        Walks([Walk::line(rows, strides.0), Walk::line(columns, strides.1)])
    }

    fn matrix<E: Real>(
        &self,
        (down, along): (isize, isize),
        rows: usize,
        columns: usize,
    ) -> gemm::Matrix<'_> {
        let reach = |stride: isize, size: usize| (stride * (size as isize - 1)).max(0);
        gemm::Matrix {
            rows: &self.0[0],
            columns: &self.0[1],
            dtype: if size_of::<E>() == 8 {
                DType::F64
            } else {
                DType::F32
            },
            end: reach(down, rows) + reach(along, columns) + 1,
            strides: Some((down, along)),
        }
    }
}

/// Runs `task` with the product of such factors.
fn with_gemm<E: Real>(
    [m, k, n]: [usize; 3],
    a: (isize, isize),
    b: (isize, isize),
    adds: bool,
    task: impl FnOnce(&Gemm<'_>),
) {
    let (walks_a, walks_b) = (Walks::new(a, m, k), Walks::new(b, k, n));
    task(&Gemm {
        m,
        n,
        start: 0,
        k,
        row: n,
        a: walks_a.matrix::<E>(a, m, k),
        b: walks_b.matrix::<E>(b, k, n),
        adds,
        blocks: Blocks::of::<E>(),
    });
}
