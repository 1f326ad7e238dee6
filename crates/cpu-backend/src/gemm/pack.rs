//! Packing: the order in which the microkernel reads its factors.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{DEPTH, Gemm, LANES, WIDTH};

/// Packs columns of B.
pub(super) struct PackB<'a> {
    pub gemm: &'a Gemm,
    pub b: *const f32,
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
            let group = if self.gemm.b.1 == 1 { 4 * WIDTH } else { WIDTH };
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

/// Packs neighbouring slivers.
///
/// # Safety
/// As for [`Gemm::pack_b`].
#[inline(always)]
pub(super) unsafe fn pack_slivers(
    gemm: &Gemm,
    b: *const f32,
    depths: Range<usize>,
    columns: Range<usize>,
    into: *mut f32,
) {
    let deep = depths.len();
    let mut depths = depths;
    let mut done = 0;
    if gemm.b.0 == 1 && columns.len() == WIDTH {
        // Dense along k: blocks are turned in registers.
        while depths.len() >= LANES {
            for from in (0..WIDTH).step_by(LANES) {
                // SAFETY: the caller's promise.
                unsafe {
                    let column = |j: usize| {
                        let first = (columns.start + from + j) as isize * gemm.b.1;
                        let start = b.offset(first).add(depths.start);
                        start.cast::<[f32; LANES]>().read_unaligned()
                    };
                    let block: [[f32; LANES]; LANES] = std::array::from_fn(column);
                    let turned: [[f32; LANES]; LANES] =
                        std::array::from_fn(|r| std::array::from_fn(|j| block[j][r]));
                    for (r, row) in turned.into_iter().enumerate() {
                        let target = into.add((done + r) * WIDTH + from);
                        target.cast::<[f32; LANES]>().write_unaligned(row);
                    }
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
                let source = b.offset(p as isize * gemm.b.0 + from as isize * gemm.b.1);
                let target = into.add(s * WIDTH * deep + r * WIDTH);
                if count == WIDTH && gemm.b.1 == 1 {
                    std::ptr::copy_nonoverlapping(source, target, WIDTH);
                } else if count == WIDTH {
                    for j in 0..WIDTH {
                        *target.add(j) = *source.offset(j as isize * gemm.b.1);
                    }
                } else {
                    for j in 0..count {
                        *target.add(j) = *source.offset(j as isize * gemm.b.1);
                    }
                    std::slice::from_raw_parts_mut(target.add(count), WIDTH - count).fill(0.0);
                }
            }
        }
    }
}

/// Packs rows of A: slivers of `MR` rows, column by column, missing rows as 0.
///
/// # Safety
/// A is readable there.
#[inline(always)]
pub(super) unsafe fn pack_a<const MR: usize>(
    gemm: &Gemm,
    a: *const f32,
    rows: Range<usize>,
    depths: Range<usize>,
    into: &mut [f32],
) {
    let (down, along) = gemm.a;
    let deep = depths.len();
    for (first, sliver) in rows.clone().step_by(MR).zip(into.chunks_mut(MR * deep)) {
        let count = MR.min(rows.end - first);
        let (columns, _) = sliver.as_chunks_mut::<MR>();
        for (p, column) in depths.clone().zip(columns) {
            // SAFETY: the caller's promise.
            unsafe {
                let start = a.offset(first as isize * down + p as isize * along);
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
}
