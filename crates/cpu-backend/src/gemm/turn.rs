//! Small blocks whose lines become columns, in registers.

use pulp::Simd;

#[cfg(target_arch = "x86_64")]
use super::real::lanes;

/// The side of a block.
pub(super) const fn side<T>() -> usize {
    if size_of::<T>() == 8 { 4 } else { 8 }
}

/// Turns [`side`] lines of as many elements into rows, which begin `row` apart and are written one after the other.
///
/// # Safety
/// The lines are readable and the rows writable.
#[inline(always)]
pub(super) unsafe fn turn<S: Simd, T: Copy>(
    line: impl Fn(usize) -> *const T,
    into: *mut T,
    row: usize,
) {
    // Compilers make loads and stores of single elements of the loops below.
    #[cfg(target_arch = "x86_64")]
    if const { lanes::<S, f32>() >= 8 } {
        // SAFETY: only AVX2 and better have vectors of eight `f32`; the caller's promise.
        unsafe {
            match size_of::<T>() {
                8 => return avx::turn_4(line, into, row),
                4 => return avx::turn_8(line, into, row),
                _ => {}
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        match const { side::<T>() } {
            4 => turn_any::<T, 4>(line, into, row),
            _ => turn_any::<T, 8>(line, into, row),
        }
    }
}

/// Turns a block of a tile's rows, of which `line` gives as many as are asked for. Where rows are missing others are
/// turned in their place, and the next column overwrites them; where a block does not divide the rows, two overlap.
///
/// # Safety
/// The lines are readable; there is room for a block beyond the last element.
#[inline(always)]
pub(super) unsafe fn turn_rows<S: Simd, T: Copy>(
    line: impl Fn(usize) -> *const T,
    height: usize,
    into: *mut T,
) {
    for from in (0..height).step_by(side::<T>()) {
        let from = from.min(height.saturating_sub(side::<T>()));
        // SAFETY: the caller's promise.
        unsafe { turn::<S, T>(|j| line(from + j), into.add(from), height) };
    }
}

/// # Safety
/// As for [`turn`].
#[inline(always)]
unsafe fn turn_any<T: Copy, const SIDE: usize>(
    line: impl Fn(usize) -> *const T,
    into: *mut T,
    row: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let block: [[T; SIDE]; SIDE] =
            std::array::from_fn(|j| line(j).cast::<[T; SIDE]>().read_unaligned());
        let turned: [[T; SIDE]; SIDE] =
            std::array::from_fn(|r| std::array::from_fn(|j| block[j][r]));
        for (r, turned) in turned.into_iter().enumerate() {
            into.add(r * row)
                .cast::<[T; SIDE]>()
                .write_unaligned(turned);
        }
    }
}

/// The halves of two lines in one vector leave only permutations within 128 bits, which are the cheap ones.
#[cfg(target_arch = "x86_64")]
mod avx {
    use std::arch::x86_64::*;

    macro_rules! halves {
        ($load:ident, $widen:ident, $insert:ident, $line:expr, $at:expr; $($first:literal $second:literal)*) => {
            [$($insert::<1>($widen($load($line($first).add($at))), $load($line($second).add($at)))),*]
        };
    }

    /// # Safety
    /// As for [`super::turn`], of elements of 4 bytes on a machine that has AVX.
    #[inline(always)]
    pub unsafe fn turn_8<T>(line: impl Fn(usize) -> *const T, into: *mut T, row: usize) {
        let line = |j: usize| line(j).cast::<f32>();
        // SAFETY: the caller's promise.
        unsafe {
            for at in [0, 4] {
                let [a, b, c, d] = halves!(_mm_loadu_ps, _mm256_castps128_ps256, _mm256_insertf128_ps, line, at;
                    0 4 1 5 2 6 3 7);
                let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
                let (above, below) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
                let into = into.cast::<f32>().add(at * row);
                _mm256_storeu_ps(into, _mm256_shuffle_ps::<0x44>(ab, cd));
                _mm256_storeu_ps(into.add(row), _mm256_shuffle_ps::<0xEE>(ab, cd));
                _mm256_storeu_ps(into.add(2 * row), _mm256_shuffle_ps::<0x44>(above, below));
                _mm256_storeu_ps(into.add(3 * row), _mm256_shuffle_ps::<0xEE>(above, below));
            }
        }
    }

    /// # Safety
    /// As for [`super::turn`], of elements of 8 bytes on a machine that has AVX.
    #[inline(always)]
    pub unsafe fn turn_4<T>(line: impl Fn(usize) -> *const T, into: *mut T, row: usize) {
        let line = |j: usize| line(j).cast::<f64>();
        // SAFETY: the caller's promise.
        unsafe {
            for at in [0, 2] {
                let [a, b] = halves!(_mm_loadu_pd, _mm256_castpd128_pd256, _mm256_insertf128_pd, line, at;
                    0 2 1 3);
                let into = into.cast::<f64>().add(at * row);
                _mm256_storeu_pd(into, _mm256_unpacklo_pd(a, b));
                _mm256_storeu_pd(into.add(row), _mm256_unpackhi_pd(a, b));
            }
        }
    }
}
