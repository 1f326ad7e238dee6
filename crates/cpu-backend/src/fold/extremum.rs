//! The largest or smallest of a row of `f32`, by two instructions a vector.

use pulp::{Simd, WithSimd};

use crate::instructions::dispatch;

/// Vectors side by side, to hide the latency of an instruction.
const WIDTH: usize = 4;

/// The extremum of the row; `None` where this way cannot tell.
struct Extremum<'a> {
    row: &'a [f32],
    largest: bool,
}

impl WithSimd for Extremum<'_> {
    type Output = Option<f32>;
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Option<f32> {
        let (vectors, rest) = S::as_simd_f32s(self.row);
        let (chunks, odd) = vectors.as_chunks::<WIDTH>();
        let (first, _) = chunks.split_first()?;
        let better = |a, b| match self.largest {
            true => simd.max_f32s(a, b),
            false => simd.min_f32s(a, b),
        };
        // The instruction loses NaN; the sum keeps it.
        let (mut best, mut sums) = (*first, [simd.splat_f32s(0.0); WIDTH]);
        for chunk in chunks {
            for i in 0..WIDTH {
                best[i] = better(best[i], chunk[i]);
                sums[i] = simd.add_f32s(sums[i], chunk[i]);
            }
        }
        for &vector in odd {
            best[0] = better(best[0], vector);
            sums[0] = simd.add_f32s(sums[0], vector);
        }
        for width in [2, 1] {
            for i in 0..width {
                best[i] = better(best[i], best[i + width]);
                sums[i] = simd.add_f32s(sums[i], sums[i + width]);
            }
        }
        let (mut found, mut sum) = match self.largest {
            true => (simd.reduce_max_f32s(best[0]), simd.reduce_sum_f32s(sums[0])),
            false => (simd.reduce_min_f32s(best[0]), simd.reduce_sum_f32s(sums[0])),
        };
        for &x in rest {
            let better = if self.largest { x > found } else { x < found };
            found = if better { x } else { found };
            sum += x;
        }
        // Infinities of both signs look like NaN; of zeros the first counts, whatever its sign.
        (!sum.is_nan() && found != 0.0).then_some(found)
    }
}

/// The largest, or else the smallest, of a row; `None` where it has to be looked for with care.
pub(super) fn extremum(row: &[f32], largest: bool) -> Option<f32> {
    dispatch(Extremum { row, largest })
}

#[cfg(test)]
mod tests {
    use super::extremum;

    #[test]
    fn what_is_found_is_right_and_nan_is_never_lost() {
        for n in 0..150usize {
            let row: Vec<f32> = (0..n)
                .map(|i| ((i * 37 + 11) % 101) as f32 - 50.5)
                .collect();
            for largest in [true, false] {
                let fold = |a: f32, &b: &f32| if largest { a.max(b) } else { a.min(b) };
                let want = row.iter().fold(if largest { -99.0 } else { 99.0 }, fold);
                if let Some(found) = extremum(&row, largest) {
                    assert_eq!(found, want, "{n} elements");
                } else {
                    assert!(n < 64, "{n} elements are enough");
                }
                for special in 0..n {
                    let mut row = row.clone();
                    row[special] = f32::NAN;
                    assert_eq!(extremum(&row, largest), None, "NaN at {special} of {n}");
                    row[special] = f32::NEG_INFINITY;
                    let want = row.iter().fold(if largest { -99.0 } else { 99.0 }, fold);
                    assert!(extremum(&row, largest).is_none_or(|found| found == want));
                }
            }
            let zeros = vec![-0.0; n];
            assert_eq!(extremum(&zeros, true), None);
        }
    }
}
