//! Packing: the order in which the microkernel reads its factors.

use std::mem::MaybeUninit;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::blocks::{MOST_COLUMNS, with_tile};
use super::real::Real;
use super::turn::{side, turn, turn_rows};
use super::views::{Columns, Starts, ViewOfB, pack_rows_of_views};
use super::{GROUP, Gemm};
use crate::storage;

/// Steps of k of a 16-bit factor that are brought together before they are widened.
const STAGED: usize = 64;

/// Packs columns of B.
pub(super) struct PackB<'a, T> {
    pub gemm: &'a Gemm<'a>,
    pub b: *const u8,
    pub panel: *mut T,
    pub first: usize,
    pub panel_width: usize,
    pub columns: Range<usize>,
    pub depths: Range<usize>,
}

impl<T: Real> WithSimd for PackB<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        with_tile!(S, T, self.run())
    }
}

impl<T: Real> PackB<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const MOST: usize, const VECTORS: usize, const WIDTH: usize>(self) {
        let depth = self.gemm.blocks.depth;
        for p in self.depths.clone().step_by(depth) {
            let deep = depth.min(self.depths.end - p);
            // SAFETY: the start of the slivers of this depth, which `pack_b`'s caller promised.
            let slivers = unsafe { self.panel.add(p * self.panel_width) };
            for from in self.columns.clone().step_by(GROUP * WIDTH) {
                let to = self.columns.end.min(from + GROUP * WIDTH);
                // SAFETY: as above.
                unsafe {
                    let into = slivers.add((from - self.first) * deep);
                    pack_slivers::<S, T, WIDTH>(self.gemm, self.b, p..p + deep, from..to, into);
                }
            }
        }
    }
}

/// Packs neighbouring slivers of B.
///
/// # Safety
/// As for [`Gemm::pack_b`].
#[inline(always)]
pub(super) unsafe fn pack_slivers<S: Simd, T: Real, const WIDTH: usize>(
    gemm: &Gemm<'_>,
    b: *const u8,
    depths: Range<usize>,
    columns: Range<usize>,
    into: *mut T,
) {
    let depths = gemm.start + depths.start..gemm.start + depths.end;
    let deep = depths.len();
    if let Some((down, 1)) = gemm.b.strides {
        // SAFETY: the caller's promise.
        return unsafe { pack_lines::<T, WIDTH>(down, b.cast(), depths, columns, into) };
    }
    let slivers = columns.clone().step_by(WIDTH).enumerate();
    let slivers = slivers.map(|(s, from)| (from..columns.end.min(from + WIDTH), s * WIDTH * deep));
    if let Some(strides) = gemm.b.strides {
        for (columns, at) in slivers {
            // SAFETY: the caller's promise.
            unsafe {
                let into = into.add(at);
                pack_strided::<S, T, WIDTH>(strides, b.cast(), depths.clone(), columns, into);
            }
        }
        return;
    }
    let b_rows = Starts::of_rows(&gemm.b, depths.clone());
    for (columns, at) in slivers {
        let view = ViewOfB {
            b: &gemm.b,
            columns: Columns::<WIDTH>::new(&gemm.b, columns),
        };
        // SAFETY: the caller's promise.
        unsafe {
            let into = into.add(at);
            if !gemm.b.is_narrow() {
                let starts = b_rows.part(0..deep);
                view.pack::<S, T>(b.cast(), depths.clone(), starts, into);
                continue;
            }
            let mut sliver = [const { MaybeUninit::<u16>::uninit() }; STAGED * MOST_COLUMNS];
            for done in (0..deep).step_by(STAGED) {
                let part = done..deep.min(done + STAGED);
                let count = part.len() * WIDTH;
                let staged = sliver.as_mut_ptr().cast::<u16>();
                let starts = b_rows.part(part.clone());
                let part = depths.start + part.start..depths.start + part.end;
                view.pack::<S, u16>(b.cast(), part, starts, staged);
                let into = into.add(done * WIDTH).cast();
                storage::load(gemm.b.dtype, staged.cast(), into, count);
            }
        }
    }
}

/// Packs slivers of a matrix whose rows are dense and `down` apart, row by row.
///
/// # Safety
/// As for [`pack_slivers`].
#[inline(always)]
unsafe fn pack_lines<T: Real, const WIDTH: usize>(
    down: isize,
    b: *const T,
    depths: Range<usize>,
    columns: Range<usize>,
    into: *mut T,
) {
    let deep = depths.len();
    let zero = T::from_f64(0.0);
    for (r, p) in depths.enumerate() {
        for (s, from) in columns.clone().step_by(WIDTH).enumerate() {
            let count = WIDTH.min(columns.end - from);
            // SAFETY: the caller's promise.
            unsafe {
                let source = b.offset(p as isize * down).add(from);
                let target = into.add((s * deep + r) * WIDTH);
                if count == WIDTH {
                    std::ptr::copy_nonoverlapping(source, target, WIDTH);
                } else {
                    std::ptr::copy_nonoverlapping(source, target, count);
                    std::slice::from_raw_parts_mut(target.add(count), WIDTH - count).fill(zero);
                }
            }
        }
    }
}

/// Packs a sliver of a matrix that is read by strides.
///
/// # Safety
/// As for [`pack_slivers`].
#[inline(always)]
unsafe fn pack_strided<S: Simd, T: Real, const WIDTH: usize>(
    (down, along): (isize, isize),
    b: *const T,
    mut depths: Range<usize>,
    columns: Range<usize>,
    mut into: *mut T,
) {
    if down == 1 && columns.len() == WIDTH {
        // Dense along k: blocks are turned in registers.
        let side = const { side::<T>() };
        while depths.len() >= side {
            for from in (0..WIDTH).step_by(side) {
                // SAFETY: the caller's promise.
                unsafe {
                    let first = b.offset((columns.start + from) as isize * along);
                    let line = |j: usize| first.add(depths.start).offset(j as isize * along);
                    turn::<S, T>(line, into.add(from), WIDTH);
                }
            }
            depths.start += side;
            into = into.wrapping_add(side * WIDTH);
        }
    }
    for (r, p) in depths.enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let source = b.offset(p as isize * down + columns.start as isize * along);
            let target = std::slice::from_raw_parts_mut(into.add(r * WIDTH), WIDTH);
            for (j, target) in target.iter_mut().enumerate() {
                *target = match j < columns.len() {
                    true => *source.offset(j as isize * along),
                    false => T::from_f64(0.0),
                };
            }
        }
    }
}

/// A block of rows, as tiles of nearly the same height.
pub(super) struct RowTiles {
    rows: Range<usize>,
    count: usize,
}

impl RowTiles {
    /// Tiles of at most so many rows.
    pub fn new(rows: Range<usize>, most: usize) -> RowTiles {
        let count = rows.len().div_ceil(most);
        RowTiles { rows, count }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    #[inline(always)]
    pub fn iter(&self) -> impl Iterator<Item = Range<usize>> {
        let (start, size, count) = (self.rows.start, self.rows.len(), self.count);
        (0..count).map(move |i| start + size * i / count..start + size * (i + 1) / count)
    }
}

/// Packs rows of A, tile by tile: the columns of each, one after the other.
///
/// # Safety
/// A is readable there, and there is room for a block to be turned beyond the last element.
#[inline(always)]
pub(super) unsafe fn pack_a<S: Simd, T: Real>(
    gemm: &Gemm<'_>,
    a: *const u8,
    tiles: &RowTiles,
    depths: Range<usize>,
    into: &mut [T],
) {
    let deep = depths.len();
    let depths = gemm.start + depths.start..gemm.start + depths.end;
    if let Some((1, along)) = gemm.a.strides {
        // SAFETY: the caller's promise.
        return unsafe {
            pack_columns(
                along,
                a.cast::<T>(),
                gemm.a.end,
                tiles,
                depths,
                into.as_mut_ptr(),
            )
        };
    }
    for rows in tiles.iter() {
        // SAFETY: the caller's promise.
        unsafe {
            let into = into
                .as_mut_ptr()
                .add((rows.start - tiles.rows.start) * deep);
            match (gemm.a.strides, gemm.a.is_narrow()) {
                (Some(strides), _) => {
                    pack_rows::<S, T>(strides, a.cast::<T>(), rows, depths.clone(), into)
                }
                (None, false) => {
                    pack_rows_of_views::<S, T>(&gemm.a, a.cast::<T>(), rows, depths.clone(), into);
                }
                (None, true) => {
                    let mut block = [const { MaybeUninit::<u16>::uninit() }; STAGED * MOST_COLUMNS];
                    for done in (0..deep).step_by(STAGED) {
                        let first = depths.start + done;
                        let part = first..depths.end.min(first + STAGED);
                        let count = part.len() * rows.len();
                        let staged = block.as_mut_ptr().cast::<u16>();
                        pack_rows_of_views::<S, u16>(&gemm.a, a.cast(), rows.clone(), part, staged);
                        let into = into.add(done * rows.len()).cast();
                        storage::load(gemm.a.dtype, staged.cast(), into, count);
                    }
                }
            }
        }
    }
}

/// Packs rows of a matrix whose columns are dense and `along` apart, column by column.
///
/// # Safety
/// As for [`pack_a`].
#[inline(always)]
unsafe fn pack_columns<T: Real>(
    along: isize,
    a: *const T,
    end: isize,
    tiles: &RowTiles,
    depths: Range<usize>,
    into: *mut T,
) {
    let deep = depths.len();
    for (column, p) in depths.enumerate() {
        let at = p as isize * along;
        for rows in tiles.iter() {
            let height = rows.len();
            // SAFETY: the caller's promise. What is too much of a whole vector, the tile's next columns overwrite.
            unsafe {
                let source = a.offset(at).add(rows.start);
                let target = into.add((rows.start - tiles.rows.start) * deep + column * height);
                let whole = height <= 8 && (deep - column) * height >= 8;
                if whole && at + rows.start as isize + 8 <= end {
                    let vector = source.cast::<[T; 8]>().read_unaligned();
                    target.cast::<[T; 8]>().write_unaligned(vector);
                } else {
                    std::ptr::copy_nonoverlapping(source, target, height);
                }
            }
        }
    }
}

/// # Safety
/// As for [`pack_a`].
#[inline(always)]
unsafe fn pack_rows<S: Simd, T: Real>(
    (down, along): (isize, isize),
    a: *const T,
    rows: Range<usize>,
    mut depths: Range<usize>,
    mut into: *mut T,
) {
    let height = rows.len();
    let first = a.wrapping_offset(rows.start as isize * down);
    let side = const { side::<T>() };
    if along == 1 {
        while depths.len() >= side {
            let line = |r: usize| {
                let row = r.min(height - 1);
                first.wrapping_offset(row as isize * down + depths.start as isize)
            };
            // SAFETY: the caller's promise.
            unsafe { turn_rows::<S, T>(line, height, into) };
            depths.start += side;
            into = into.wrapping_add(side * height);
        }
    }
    for (column, p) in depths.enumerate() {
        let from = first.wrapping_offset(p as isize * along);
        for i in 0..height {
            // SAFETY: the caller's promise.
            unsafe { *into.add(column * height + i) = *from.offset(i as isize * down) };
        }
    }
}

#[cfg(test)]
mod tests {
    use pulp::{Scalar, Simd};

    use super::super::Blocks;
    use super::*;
    use crate::cursor::Walk;
    use crate::instructions::dispatch;

    struct Pack<'a> {
        gemm: &'a Gemm<'a>,
        a: *const u8,
        tiles: &'a RowTiles,
        into: &'a mut [f32],
    }

    impl WithSimd for Pack<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            // SAFETY: the test made room, and A has these rows.
            unsafe { pack_a::<S, f32>(self.gemm, self.a, self.tiles, 0..self.gemm.k, self.into) };
        }
    }

    /// Whatever the heights of the tiles, which depend on threads and caches: no tile spills into another.
    #[test]
    fn rows_are_packed_tile_by_tile() {
        for (most, k) in [4, 6, 14]
            .into_iter()
            .flat_map(|most| [1, 2, 7, 8, 33].map(|k| (most, k)))
        {
            for m in 1..=45 {
                // Columns, rows, and rows that are no multiple of either apart.
                for (down, along) in [
                    (1, m as isize + 3),
                    (k as isize, 1),
                    (2 * k as isize + 1, 2),
                ] {
                    let size = (m - 1) * down as usize + (k - 1) * along as usize + 1;
                    let a: Vec<f32> = (1..=size).map(|i| i as f32).collect();
                    let (rows, columns) = (Walk::line(m, down), Walk::line(k, along));
                    let matrix = super::super::Matrix {
                        rows: &rows,
                        columns: &columns,
                        dtype: wgrad_core::DType::F32,
                        end: size as isize,
                        strides: Some((down, along)),
                    };
                    let gemm = Gemm {
                        m,
                        n: 1,
                        start: 0,
                        k,
                        row: 1,
                        a: matrix,
                        b: matrix,
                        adds: false,
                        blocks: Blocks::of::<f32>(),
                    };
                    let tiles = RowTiles::new(0..m, most);
                    for scalar in [false, true] {
                        let mut packed = vec![0.0; m * k + MOST_COLUMNS];
                        let pack = Pack {
                            gemm: &gemm,
                            a: a.as_ptr().cast(),
                            tiles: &tiles,
                            into: &mut packed,
                        };
                        match scalar {
                            true => Scalar.vectorize(pack),
                            false => dispatch(pack),
                        }
                        for rows in tiles.iter() {
                            for (p, i) in (0..k).flat_map(|p| rows.clone().map(move |i| (p, i))) {
                                let at = rows.start * k + p * rows.len() + i - rows.start;
                                let want = a[i * down as usize + p * along as usize];
                                assert_eq!(packed[at], want, "[{i}, {p}] of {m} x {k} by {most}");
                            }
                        }
                    }
                }
            }
        }
    }
}
