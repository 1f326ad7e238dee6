//! The matrix products of attention: small ones, whose second factor is packed once and multiplied many times.

use gemm_common::Parallelism;
use wgrad_core::DType;

use crate::cursor::Walk;
use crate::gemm::{self, Gemm, Source};
use crate::lanes::FloatElement;

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

/// Types of products.
pub(super) trait Products: FloatElement {
    /// How many elements a packed factor has; `None` where factors are read where they lie.
    fn packed(k: usize, n: usize) -> Option<usize>;

    /// Packs.
    ///
    /// # Safety
    /// The matrix is readable, the panel has room.
    unsafe fn pack(matrix: Matrix<Self>, k: usize, n: usize, panel: *mut Self);

    /// `C = A B`, or with `adds` `C += A B`, of `m` rows of A; C is dense with `n` columns.
    ///
    /// # Safety
    /// The matrices are readable, C is writable by this task only and overlaps none of them.
    unsafe fn multiply(m: usize, a: Matrix<Self>, b: &Factor<Self>, c: *mut Self, adds: bool);
}

impl<E: Products> Factor<E> {
    /// Elements of room that [`Factor::new`] wants.
    pub fn room(k: usize, n: usize) -> usize {
        E::packed(k, n).unwrap_or(0)
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
        let packs = E::packed(k, n).is_some() && !(rows <= gemm::VECTOR_ROWS && dense);
        if packs {
            // SAFETY: the caller's promise.
            unsafe { E::pack(matrix, k, n, room.as_mut_ptr()) };
        }
        Factor {
            matrix,
            k,
            n,
            panel: packs.then_some(room.as_ptr()),
        }
    }
}

/// A factor's rows and columns as the blocks take them.
struct Walks([Walk; 2]);

impl Walks {
    fn new(strides: (isize, isize), rows: usize, columns: usize) -> Walks {
        Walks([Walk::line(rows, strides.0), Walk::line(columns, strides.1)])
    }

    fn matrix(
        &self,
        (down, along): (isize, isize),
        rows: usize,
        columns: usize,
    ) -> gemm::Matrix<'_> {
        let reach = |stride: isize, size: usize| (stride * (size as isize - 1)).max(0);
        gemm::Matrix {
            rows: &self.0[0],
            columns: &self.0[1],
            dtype: DType::F32,
            end: reach(down, rows) + reach(along, columns) + 1,
            strides: Some((down, along)),
        }
    }
}

/// Runs `task` with the product of `f32` factors.
fn with_gemm(
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
        a: walks_a.matrix(a, m, k),
        b: walks_b.matrix(b, k, n),
        adds,
    });
}

impl Products for f32 {
    fn packed(k: usize, n: usize) -> Option<usize> {
        Some(n.next_multiple_of(gemm::tile(false)?.width) * k)
    }

    unsafe fn pack(matrix: Matrix<f32>, k: usize, n: usize, panel: *mut f32) {
        let Some(tile) = gemm::tile(false) else {
            return;
        };
        let width = n.next_multiple_of(tile.width);
        with_gemm([1, k, n], (0, 0), matrix.strides, false, |gemm| {
            // SAFETY: the caller's promise.
            unsafe { gemm.pack_b(matrix.start.cast(), panel, 0, width, 0..n) };
        });
    }

    unsafe fn multiply(m: usize, a: Matrix<f32>, b: &Factor<f32>, c: *mut f32, adds: bool) {
        let (source, width) = match (b.panel, gemm::tile(false)) {
            (Some(panel), Some(tile)) => (
                Source::Packed { panel, first: 0 },
                b.n.next_multiple_of(tile.width),
            ),
            (None, Some(_)) if m <= gemm::VECTOR_ROWS && !adds => {
                (Source::Direct(b.matrix.start.cast()), 0)
            }
            _ => {
                let function = gemm_f32::gemm::f32::get_gemm_fn();
                // SAFETY: the caller's promise.
                return unsafe { by_crate(function, m, a, b, c, (adds, 0.0, 1.0)) };
            }
        };
        with_gemm([m, b.k, b.n], a.strides, b.matrix.strides, adds, |gemm| {
            // SAFETY: the caller's promise.
            unsafe { gemm.block(a.start.cast(), source, width, c, 0..m, 0..b.n) };
        });
    }
}

impl Products for f64 {
    fn packed(_: usize, _: usize) -> Option<usize> {
        None
    }

    unsafe fn pack(_: Matrix<f64>, _: usize, _: usize, _: *mut f64) {}

    unsafe fn multiply(m: usize, a: Matrix<f64>, b: &Factor<f64>, c: *mut f64, adds: bool) {
        let function = gemm_f64::gemm::f64::get_gemm_fn();
        // SAFETY: the caller's promise.
        unsafe { by_crate(function, m, a, b, c, (adds, 0.0, 1.0)) }
    }
}

/// The type of the `gemm` crate's functions.
type Function<E> = unsafe fn(
    usize,
    usize,
    usize,
    *mut E,
    isize,
    isize,
    bool,
    *const E,
    isize,
    isize,
    *const E,
    isize,
    isize,
    E,
    E,
    bool,
    bool,
    bool,
    Parallelism,
);

/// # Safety
/// As for [`Products::multiply`].
unsafe fn by_crate<E: Copy>(
    function: Function<E>,
    m: usize,
    a: Matrix<E>,
    b: &Factor<E>,
    c: *mut E,
    (adds, zero, one): (bool, E, E),
) {
    let alpha = if adds { one } else { zero };
    let (a_strides, b_strides) = (a.strides, b.matrix.strides);
    // SAFETY: the caller's promise.
    unsafe {
        function(
            m,
            b.n,
            b.k,
            c,
            1,
            b.n as isize,
            adds,
            a.start,
            a_strides.1,
            a_strides.0,
            b.matrix.start,
            b_strides.1,
            b_strides.0,
            alpha,
            one,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
