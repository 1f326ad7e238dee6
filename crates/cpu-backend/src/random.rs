//! Random numbers: Philox blocks turned into bits, uniforms and normals.

use pulp::{Simd, WithSimd};
use wgrad_core::random::{philox, unit};

use crate::instructions::dispatch;
use crate::interpreter::BLOCK;
use crate::loops::fused;
use crate::math;

/// What to make of the random bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Draw {
    Bits,
    Uniform,
    Normal,
}

/// Philox words for whole blocks of four elements.
struct Words<'a> {
    /// Key low, key high, counter low, counter high.
    seed: [u32; 4],
    first: usize,
    words: &'a mut [[u32; 4]],
}

impl WithSimd for Words<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let [k_lo, k_hi, c_lo, c_hi] = self.seed;
        for (i, out) in self.words.iter_mut().enumerate() {
            let block = (self.first + i) as u32;
            *out = philox([block, 0, c_lo, c_hi], [k_lo, k_hi]);
        }
    }
}

struct Normals<'a>(&'a [[u32; 4]], &'a mut [[f32; 4]]);

impl WithSimd for Normals<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (words, out) in self.0.iter().zip(self.1) {
            for pair in 0..2 {
                let (a, b) = (words[2 * pair], words[2 * pair + 1]);
                let (even, odd) = if fused::<S>() {
                    box_muller::<true>(a, b)
                } else {
                    box_muller::<false>(a, b)
                };
                out[2 * pair] = even;
                out[2 * pair + 1] = odd;
            }
        }
    }
}

/// Two normals from two words ([Box and Muller 1958](https://doi.org/10.1214/aoms/1177706645));
/// the first uniform is in (0, 1], so its logarithm is finite.
#[inline(always)]
fn box_muller<const FMA: bool>(a: u32, b: u32) -> (f32, f32) {
    let u = ((a >> 8) + 1) as f32 * (1.0 / 16_777_216.0);
    let radius = (-2.0 * math::ln::<FMA>(u)).sqrt();
    let angle = std::f32::consts::TAU * unit(b);
    (
        radius * math::cos::<FMA>(angle),
        radius * math::sin::<FMA>(angle),
    )
}

/// Writes `n <= BLOCK` random elements from linear position `position` on.
///
/// # Safety
/// `out` is writable for `n` 4-byte elements.
pub(crate) unsafe fn fill(draw: Draw, seed: [u32; 4], position: usize, n: usize, out: *mut u8) {
    let mut words = [[0u32; 4]; BLOCK / 4 + 1];
    let first = position / 4;
    let skip = position % 4;
    let words = &mut words[..(skip + n).div_ceil(4)];
    dispatch(Words { seed, first, words });
    // SAFETY: the caller's promise.
    let (bits, floats) = unsafe {
        match draw {
            Draw::Bits => (
                std::slice::from_raw_parts_mut(out.cast::<u32>(), n),
                &mut [][..],
            ),
            _ => (
                &mut [][..],
                std::slice::from_raw_parts_mut(out.cast::<f32>(), n),
            ),
        }
    };
    let elements = &words.as_flattened()[skip..];
    match draw {
        Draw::Bits => bits.copy_from_slice(&elements[..n]),
        Draw::Uniform => {
            for (o, &w) in floats.iter_mut().zip(elements) {
                *o = unit(w);
            }
        }
        Draw::Normal => {
            let mut normals = [[0f32; 4]; BLOCK / 4 + 1];
            let normals = &mut normals[..words.len()];
            dispatch(Normals(words, normals));
            floats.copy_from_slice(&normals.as_flattened()[skip..skip + n]);
        }
    }
}
