//! Inputs that every framework makes alike, bit by bit: a hash of the index.

use wgrad::{Device, Tensor};

/// A hash of the index for each of `n` elements.
fn hashes(seed: u32, n: usize) -> impl Iterator<Item = u32> {
    let offset = seed.wrapping_mul(2_891_336_453);
    (0..n as u32).map(move |i| {
        let mut h = i.wrapping_mul(747_796_405).wrapping_add(offset);
        h ^= h >> 16;
        h = h.wrapping_mul(2_246_822_519);
        h ^= h >> 13;
        h = h.wrapping_mul(3_266_489_917);
        h ^ (h >> 16)
    })
}

/// `n` values, uniform in `[-scale, scale)`.
pub fn values(seed: u32, n: usize, scale: f32) -> Vec<f32> {
    hashes(seed, n)
        .map(|h| ((h >> 8) as f32 / 16_777_216.0 - 0.5) * (2.0 * scale))
        .collect()
}

/// `n` integers below `most`.
pub fn integers(seed: u32, n: usize, most: u32) -> Vec<i32> {
    hashes(seed, n).map(|h| (h % most) as i32).collect()
}

/// [`values`] as a tensor.
pub fn tensor(dev: &Device, seed: u32, shape: &[usize], scale: f32) -> Tensor {
    let n = shape.iter().product();
    Tensor::from_vec(values(seed, n, scale), shape, dev)
}

/// `1 / sqrt(n)`: the scale of weights with `n` inputs.
pub fn rsqrt(n: usize) -> f32 {
    (n as f64).powf(-0.5) as f32
}

/// Mean of the absolute values.
pub fn mean_abs(v: &[f32]) -> f64 {
    v.iter().map(|x| f64::from(x.abs())).sum::<f64>() / v.len() as f64
}

/// Mean.
pub fn mean(v: &[f32]) -> f64 {
    v.iter().map(|x| f64::from(*x)).sum::<f64>() / v.len() as f64
}

/// Sum of the absolute values.
pub fn sum_abs(v: &[f32]) -> f64 {
    v.iter().map(|x| f64::from(x.abs())).sum()
}

/// Sum of the squares.
pub fn sum_squares(v: &[f32]) -> f64 {
    v.iter().map(|x| f64::from(*x) * f64::from(*x)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_those_of_the_other_frameworks() {
        // Computed from the same definition in Python.
        let bits: Vec<u32> = values(1, 3, 0.5).iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [0x3e90_cd1e, 0xbeab_7500, 0x3ea6_0d38]);
        assert_eq!(integers(1, 3, 256), [119, 64, 122]);
    }
}
