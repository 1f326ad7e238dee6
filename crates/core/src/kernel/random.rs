//! Philox4x32-10, the counter-based generator behind every random tensor
//! ([Salmon et al. 2011](https://doi.org/10.1145/2063384.2063405)).
//!
//! Element `e` of a random tensor takes word `e % 4` of block `e / 4`: the counter is
//! `[block, 0, counter low, counter high]`, the key is the device's seed. Integers and uniforms
//! are therefore equal bit for bit on every device and in every grouping of operations.

/// Four words of 32 random bits for a counter and a key.
///
/// ```
/// // The known-answer test of the Random123 distribution.
/// let ones = [u32::MAX; 4];
/// assert_eq!(
///     wgrad_core::random::philox(ones, [u32::MAX; 2]),
///     [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
/// );
/// ```
#[inline(always)]
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [
            key[0].wrapping_add(0x9E37_79B9),
            key[1].wrapping_add(0xBB67_AE85),
        ];
    }
    counter
}

/// A uniform number in [0, 1) with 24 bits.
#[inline(always)]
pub fn unit(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}
