//! The matrix products of attention: small ones, whose second factor is packed once and multiplied many times.

use gemm_common::Parallelism;

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
        let dense = matrix.strides.0 == 1 || matrix.strides.1 == 1;
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

fn product<E>(m: usize, a: &Matrix<E>, b: &Factor<E>, adds: bool) -> Gemm {
    Gemm {
        m,
        n: b.n,
        k: b.k,
        a: a.strides,
        b: b.matrix.strides,
        adds,
    }
}

impl Products for f32 {
    fn packed(k: usize, n: usize) -> Option<usize> {
        Some(n.next_multiple_of(gemm::tile()?.width) * k)
    }

    unsafe fn pack(matrix: Matrix<f32>, k: usize, n: usize, panel: *mut f32) {
        let Some(tile) = gemm::tile() else { return };
        let gemm = Gemm {
            m: 0,
            n,
            k,
            a: (0, 0),
            b: matrix.strides,
            adds: false,
        };
        let width = n.next_multiple_of(tile.width);
        // SAFETY: the caller's promise.
        unsafe { gemm.pack_b(matrix.start, panel, 0, width, 0..n) };
    }

    unsafe fn multiply(m: usize, a: Matrix<f32>, b: &Factor<f32>, c: *mut f32, adds: bool) {
        let gemm = product(m, &a, b, adds);
        // SAFETY: the caller's promise.
        unsafe {
            match (b.panel, gemm::tile()) {
                (Some(panel), Some(tile)) => {
                    let source = Source::Packed { panel, first: 0 };
                    let width = b.n.next_multiple_of(tile.width);
                    gemm.block(a.start, source, width, c, 0..m, 0..b.n);
                }
                (None, Some(_)) if m <= gemm::VECTOR_ROWS && !adds => {
                    let source = Source::Direct(b.matrix.start);
                    gemm.block(a.start, source, 0, c, 0..m, 0..b.n);
                }
                _ => by_crate(
                    gemm_f32::gemm::f32::get_gemm_fn(),
                    &gemm,
                    a,
                    b,
                    c,
                    (0.0, 1.0),
                ),
            }
        }
    }
}

impl Products for f64 {
    fn packed(_: usize, _: usize) -> Option<usize> {
        None
    }

    unsafe fn pack(_: Matrix<f64>, _: usize, _: usize, _: *mut f64) {}

    unsafe fn multiply(m: usize, a: Matrix<f64>, b: &Factor<f64>, c: *mut f64, adds: bool) {
        let gemm = product(m, &a, b, adds);
        // SAFETY: the caller's promise.
        unsafe {
            by_crate(
                gemm_f64::gemm::f64::get_gemm_fn(),
                &gemm,
                a,
                b,
                c,
                (0.0, 1.0),
            )
        }
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
unsafe fn by_crate<E>(
    function: Function<E>,
    gemm: &Gemm,
    a: Matrix<E>,
    b: &Factor<E>,
    c: *mut E,
    (zero, one): (E, E),
) where
    E: Copy,
{
    let alpha = if gemm.adds { one } else { zero };
    // SAFETY: the caller's promise.
    unsafe {
        function(
            gemm.m,
            gemm.n,
            gemm.k,
            c,
            1,
            gemm.n as isize,
            gemm.adds,
            a.start,
            gemm.a.1,
            gemm.a.0,
            b.matrix.start,
            gemm.b.1,
            gemm.b.0,
            alpha,
            one,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
