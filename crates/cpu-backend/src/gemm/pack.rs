//! Packing: the order in which the microkernel reads its factors.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use wgrad_core::DType;

use super::few_rows::offsets;
use super::{DEPTH, Gemm, HEIGHT, LANES, Matrix, WIDTH};
use crate::cursor::Cursor;
use crate::storage;

/// Packs columns of B.
pub(super) struct PackB<'a> {
    pub gemm: &'a Gemm<'a>,
    pub b: *const u8,
    pub panel: *mut f32,
    pub first: usize,
    pub panel_width: usize,
    pub columns: Range<usize>,
}

impl WithSimd for PackB<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let k = self.gemm.k;
        for p in (0..k).step_by(DEPTH) {
            let deep = DEPTH.min(k - p);
            // SAFETY: the start of the slivers of this depth, which `pack_b`'s caller promised.
            let slivers = unsafe { self.panel.add(p * self.panel_width) };
            // Some slivers side by side: long runs of memory suit the prefetcher, and not so many
            // that they lie in the same sets of a first-level cache.
            let wide = matches!(self.gemm.b.strides, Some((_, 1)));
            let group = if wide { 4 * WIDTH } else { WIDTH };
            for from in self.columns.clone().step_by(group) {
                let to = self.columns.end.min(from + group);
                // SAFETY: as above.
                unsafe {
                    let into = slivers.add((from - self.first) * deep);
                    pack_slivers(self.gemm, self.b, p..p + deep, from..to, into);
                }
            }
        }
    }
}

/// Packs neighbouring slivers of B: one, where B is not read by plain strides.
///
/// # Safety
/// As for [`Gemm::pack_b`].
#[inline(always)]
pub(super) unsafe fn pack_slivers(
    gemm: &Gemm<'_>,
    b: *const u8,
    depths: Range<usize>,
    columns: Range<usize>,
    into: *mut f32,
) {
    let depths = gemm.start + depths.start..gemm.start + depths.end;
    // SAFETY: the caller's promise.
    unsafe {
        match (gemm.b.strides, gemm.b.dtype) {
            (Some(strides), _) => pack_strided(strides, b.cast(), depths, columns, into),
            (None, DType::F32) => {
                pack_views(&gemm.b, b.cast::<u32>(), depths, columns, into.cast())
            }
            (None, narrow) => {
                let mut sliver = [0u16; DEPTH * WIDTH];
                let count = depths.len() * WIDTH;
                pack_views(
                    &gemm.b,
                    b.cast::<u16>(),
                    depths,
                    columns,
                    sliver.as_mut_ptr(),
                );
                storage::load(narrow, sliver.as_ptr().cast(), into.cast(), count);
            }
        }
    }
}

/// # Safety
/// As for [`pack_slivers`].
#[inline(always)]
unsafe fn pack_strided(
    (down, along): (isize, isize),
    b: *const f32,
    mut depths: Range<usize>,
    columns: Range<usize>,
    into: *mut f32,
) {
    let deep = depths.len();
    let mut done = 0;
    if down == 1 && columns.len() == WIDTH {
        // Dense along k: blocks are turned in registers.
        while depths.len() >= LANES {
            for from in (0..WIDTH).step_by(LANES) {
                // SAFETY: the caller's promise.
                unsafe {
                    let column = |j: usize| {
                        let first = (columns.start + from + j) as isize * along;
                        b.offset(first).add(depths.start)
                    };
                    turn(column, into.add(done * WIDTH + from));
                }
            }
            depths.start += LANES;
            done += LANES;
        }
    }
    for (r, p) in (done..).zip(depths) {
        for (s, from) in columns.clone().step_by(WIDTH).enumerate() {
            let count = WIDTH.min(columns.end - from);
            // SAFETY: the caller's promise.
            unsafe {
                let source = b.offset(p as isize * down + from as isize * along);
                let target = into.add(s * WIDTH * deep + r * WIDTH);
                if count == WIDTH && along == 1 {
                    std::ptr::copy_nonoverlapping(source, target, WIDTH);
                } else if count == WIDTH {
                    for j in 0..WIDTH {
                        *target.add(j) = *source.offset(j as isize * along);
                    }
                } else {
                    for j in 0..count {
                        *target.add(j) = *source.offset(j as isize * along);
                    }
                    std::slice::from_raw_parts_mut(target.add(count), WIDTH - count).fill(0.0);
                }
            }
        }
    }
}

/// Turns [`LANES`] columns of as many elements into rows, [`WIDTH`] apart.
///
/// # Safety
/// The columns are readable and the rows writable.
#[inline(always)]
unsafe fn turn<T: Copy>(column: impl Fn(usize) -> *const T, into: *mut T) {
    // SAFETY: the caller's promise.
    unsafe {
        let block: [[T; LANES]; LANES] =
            std::array::from_fn(|j| column(j).cast::<[T; LANES]>().read_unaligned());
        let turned: [[T; LANES]; LANES] =
            std::array::from_fn(|r| std::array::from_fn(|j| block[j][r]));
        for (r, row) in turned.into_iter().enumerate() {
            into.add(r * WIDTH)
                .cast::<[T; LANES]>()
                .write_unaligned(row);
        }
    }
}

/// Packs a sliver of a matrix whose rows and columns are several dimensions each. Columns that are not
/// there repeat the last; their sums are not stored.
///
/// # Safety
/// As for [`pack_slivers`]; `T` has the size of an element.
#[inline(always)]
unsafe fn pack_views<T: Copy>(
    b: &Matrix<'_>,
    from: *const T,
    depths: Range<usize>,
    columns: Range<usize>,
    into: *mut T,
) {
    let mut places = [0i64; WIDTH];
    let count = columns.len();
    offsets(
        &mut Cursor::new(b.columns),
        columns.start,
        &mut places[..count],
    );
    let last = places[count - 1];
    places[count..].fill(last);
    // Neighbouring columns that are neighbours in memory.
    let mut runs = [(0usize, 0isize, 0usize); WIDTH];
    let mut many = 0;
    for (j, place) in places.iter().map(|&place| place as isize).enumerate() {
        match runs[..many].last_mut() {
            Some((first, start, length)) if place == *start + (j - *first) as isize => *length += 1,
            _ => {
                runs[many] = (j, place, 1);
                many += 1;
            }
        }
    }
    let runs = &runs[..many];
    let mut cursor = Cursor::new(b.rows);
    cursor.seek(depths.start);
    let mut r = 0;
    while r < depths.len() {
        let (at, stride, length) = cursor.next_run(depths.len() - r);
        let turns = stride == 1 && runs.len() > 3;
        let mut i = 0;
        while turns && i + LANES <= length {
            for half in (0..WIDTH).step_by(LANES) {
                // SAFETY: the caller's promise.
                unsafe {
                    let column =
                        |j: usize| from.offset(places[half + j] as isize + at + i as isize);
                    turn(column, into.add((r + i) * WIDTH + half));
                }
            }
            i += LANES;
        }
        // Whole vectors are copied for parts of one where there is something to read and the next parts, or the next
        // row, overwrite what is too much.
        let furthest = at + (stride * (length as isize - 1)).max(0);
        let whole = runs
            .iter()
            .all(|(_, start, _)| start + furthest + WIDTH as isize <= b.end);
        let last = if r + length == depths.len() {
            length - 1
        } else {
            length
        };
        if whole && runs.len() <= 3 {
            // SAFETY: the caller's promise, and `whole`.
            unsafe {
                let from = from.offset(at);
                let into = into.add(r * WIDTH);
                match *runs {
                    [(_, one, _)] => copy_rows([(0, one)], from, stride, i..last, into),
                    [(_, one, _), (two, other, _)] => {
                        copy_rows([(0, one), (two, other)], from, stride, i..last, into);
                    }
                    _ => {
                        let three = [0, 1, 2].map(|run| (runs[run].0, runs[run].1));
                        copy_rows(three, from, stride, i..last, into);
                    }
                }
            }
            i = last.max(i);
        }
        for i in i..length {
            let row = at + i as isize * stride;
            // SAFETY: the caller's promise. A whole vector is copied for a part of one where there is
            // something to read and the next parts, or the next row, overwrite what is too much.
            unsafe {
                let target = into.add((r + i) * WIDTH);
                if runs.len() > WIDTH / 2 {
                    for (j, &place) in places.iter().enumerate() {
                        *target.add(j) = *from.offset(place as isize + row);
                    }
                    continue;
                }
                let ends = r + i + 1 == depths.len();
                for &(first, start, length) in runs {
                    let (source, target) = (from.offset(start + row), target.add(first));
                    if ends || start + row + WIDTH as isize > b.end {
                        std::ptr::copy_nonoverlapping(source, target, length);
                    } else {
                        let vector = source.cast::<[T; WIDTH]>().read_unaligned();
                        target.cast::<[T; WIDTH]>().write_unaligned(vector);
                    }
                }
            }
        }
        r += length;
    }
}

/// Copies `rows` of a sliver that each consist of runs, which begin at a column and lie at an offset.
///
/// # Safety
/// Whole vectors are readable there, and writable behind `into` but for the last row.
#[inline(always)]
unsafe fn copy_rows<T: Copy, const RUNS: usize>(
    runs: [(usize, isize); RUNS],
    from: *const T,
    stride: isize,
    rows: Range<usize>,
    into: *mut T,
) {
    for i in rows {
        // SAFETY: the caller's promise.
        unsafe {
            let (from, into) = (from.offset(i as isize * stride), into.add(i * WIDTH));
            for (first, start) in runs {
                let vector = from.offset(start).cast::<[T; WIDTH]>().read_unaligned();
                into.add(first).cast::<[T; WIDTH]>().write_unaligned(vector);
            }
        }
    }
}

/// Packs rows of A: slivers of `MR` rows, column by column. Rows that are not there are 0 or repeat the last.
///
/// # Safety
/// A is readable there.
#[inline(always)]
pub(super) unsafe fn pack_a<const MR: usize>(
    gemm: &Gemm<'_>,
    a: *const u8,
    rows: Range<usize>,
    depths: Range<usize>,
    into: &mut [f32],
) {
    let deep = depths.len();
    let depths = gemm.start + depths.start..gemm.start + depths.end;
    for (first, sliver) in rows.clone().step_by(MR).zip(into.chunks_mut(MR * deep)) {
        let count = MR.min(rows.end - first);
        let (columns, _) = sliver.as_chunks_mut::<MR>();
        // SAFETY: the caller's promise.
        unsafe {
            match (gemm.a.strides, gemm.a.dtype) {
                (Some(strides), _) => {
                    pack_rows(
                        strides,
                        a.cast(),
                        first..first + count,
                        depths.clone(),
                        columns,
                    );
                }
                (None, DType::F32) => {
                    let bits = bytemuck::cast_slice_mut::<f32, u32>(columns.as_flattened_mut());
                    let (columns, _) = bits.as_chunks_mut::<MR>();
                    let rows = first..first + count;
                    pack_rows_of_views(&gemm.a, a.cast(), rows, depths.start, columns);
                }
                (None, narrow) => {
                    let mut staged = [[0u16; MR]; DEPTH];
                    let rows = first..first + count;
                    pack_rows_of_views(&gemm.a, a.cast(), rows, depths.start, &mut staged[..deep]);
                    let into = columns.as_mut_ptr().cast();
                    storage::load(narrow, staged.as_ptr().cast(), into, deep * MR);
                }
            }
        }
    }
}

/// # Safety
/// As for [`pack_a`].
#[inline(always)]
unsafe fn pack_rows<const MR: usize>(
    (down, along): (isize, isize),
    a: *const f32,
    rows: Range<usize>,
    depths: Range<usize>,
    columns: &mut [[f32; MR]],
) {
    let count = rows.len();
    for (p, column) in depths.zip(columns) {
        // SAFETY: the caller's promise.
        unsafe {
            let start = a.offset(rows.start as isize * down + p as isize * along);
            if count == MR && down == 1 {
                *column = start.cast::<[f32; MR]>().read_unaligned();
            } else if count == MR {
                *column = std::array::from_fn(|i| *start.offset(i as isize * down));
            } else {
                *column = std::array::from_fn(|i| {
                    if i < count {
                        *start.offset(i as isize * down)
                    } else {
                        0.0
                    }
                });
            }
        }
    }
}

/// # Safety
/// As for [`pack_a`]; `T` has the size of an element.
#[inline(always)]
unsafe fn pack_rows_of_views<T: Copy, const MR: usize>(
    a: &Matrix<'_>,
    from: *const T,
    rows: Range<usize>,
    depth: usize,
    columns: &mut [[T; MR]],
) {
    const { assert!(MR <= HEIGHT) };
    let mut places = [0i64; MR];
    offsets(
        &mut Cursor::new(a.rows),
        rows.start,
        &mut places[..rows.len()],
    );
    let last = places[rows.len() - 1];
    places[rows.len()..].fill(last);
    let mut cursor = Cursor::new(a.columns);
    cursor.seek(depth);
    let mut done = 0;
    while done < columns.len() {
        let (at, stride, length) = cursor.next_run(columns.len() - done);
        for (i, column) in columns[done..done + length].iter_mut().enumerate() {
            let at = at + i as isize * stride;
            // SAFETY: the caller's promise.
            *column = std::array::from_fn(|r| unsafe { *from.offset(places[r] as isize + at) });
        }
        done += length;
    }
}
