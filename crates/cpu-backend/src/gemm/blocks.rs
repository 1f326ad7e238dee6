//! The sizes of blocks, by the machine's caches.

use std::sync::OnceLock;

use pulp::{Simd, WithSimd};

use super::real::{Real, lanes};
use crate::instructions;

/// Vectors in a row of a tile.
pub(super) const VECTORS: usize = 2;
/// Bytes of the smallest first-level caches.
const FIRST_LEVEL: usize = 32 << 10;
/// Most columns of a tile.
pub(super) const MOST_COLUMNS: usize = 32;
/// Fewest steps of k between two visits to C, which cost as much as a dozen steps. A wide sliver of B then comes from the
/// second-level cache, which is in time: a row of it is needed only every fourteen multiply-adds.
const LEAST_DEPTH: usize = 256;
/// Most steps of k between two visits to C.
pub(super) const MOST_DEPTH: usize = 512;

/// The microkernel's tile: `MOST` rows of `VECTORS` vectors of C stay in registers, beside a row of B and an element
/// of A. Calls a function that is generic over its height, its vectors and its columns with what suits the instruction
/// set; a branch on a constant is not compiled.
macro_rules! with_tile {
    ($s:ty, $t:ty, $receiver:ident.$method:ident($($argument:expr),*)) => {{
        use $crate::gemm::blocks::{SCALARS, VECTORS, height};
        use $crate::gemm::real::lanes;
        if const { lanes::<$s, $t>() == 16 } {
            $receiver.$method::<$s, 14, VECTORS, 32>($($argument),*)
        } else if const { lanes::<$s, $t>() == 8 && height::<$s>() == 14 } {
            $receiver.$method::<$s, 14, VECTORS, 16>($($argument),*)
        } else if const { lanes::<$s, $t>() == 8 } {
            $receiver.$method::<$s, 6, VECTORS, 16>($($argument),*)
        } else if const { lanes::<$s, $t>() == 4 && height::<$s>() == 14 } {
            $receiver.$method::<$s, 14, VECTORS, 8>($($argument),*)
        } else if const { lanes::<$s, $t>() == 4 } {
            $receiver.$method::<$s, 6, VECTORS, 8>($($argument),*)
        } else if const { lanes::<$s, $t>() == 2 && height::<$s>() == 14 } {
            $receiver.$method::<$s, 14, VECTORS, 4>($($argument),*)
        } else if const { lanes::<$s, $t>() == 2 } {
            $receiver.$method::<$s, 6, VECTORS, 4>($($argument),*)
        } else {
            // One element at a time, or as many as the compiler finds to go together.
            $receiver.$method::<$s, 4, SCALARS, 8>($($argument),*)
        }
    }};
}
pub(super) use with_tile;

/// Elements in a row of a tile without vectors.
pub(super) const SCALARS: usize = 8;

/// Rows of a tile of vectors. An engine for WebAssembly may have 16 registers.
pub(super) const fn height<S: Simd>() -> usize {
    match S::REGISTER_COUNT >= 32 && !cfg!(target_arch = "wasm32") {
        true => 14,
        false => 6,
    }
}

/// How a product is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    /// Rows of a tile.
    pub height: usize,
    /// Columns of a tile.
    pub width: usize,
    /// Steps of k between two visits to C: with them, a sliver of B takes half of a first-level cache, or all of it.
    pub depth: usize,
    /// Rows of A that are packed at a time: with `depth` columns they fill part of a second-level cache.
    pub rows: usize,
    /// Elements of B that are packed at a time; a third-level cache holds them.
    pub panel: usize,
}

impl Blocks {
    /// For products of `T` on this machine, by the instruction set of this thread.
    pub fn of<T: Real>() -> Blocks {
        struct Shape<T>(std::marker::PhantomData<T>);
        impl<T: Real> WithSimd for Shape<T> {
            type Output = (usize, usize);
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
                match lanes::<S, T>() {
                    1 => (4, SCALARS),
                    lanes => (height::<S>(), VECTORS * lanes),
                }
            }
        }
        let (height, width) = instructions::dispatch(Shape::<T>(std::marker::PhantomData));
        let caches = Caches::of_this_machine();
        let size = size_of::<T>();
        // Not by this machine's first-level cache: where sums are cut decides their last bits, and the cores of one
        // machine may differ.
        let depth = FIRST_LEVEL / 2 / (width * size);
        let depth = (depth / 32 * 32).clamp(LEAST_DEPTH, MOST_DEPTH);
        let rows = caches.second / 4 / (depth * size);
        Blocks {
            height,
            width,
            depth,
            rows: (rows.min(512) / height * height).max(height),
            panel: (caches.third / 2 / size).clamp(1 << 18, 2 << 20),
        }
    }
}

/// Bytes of data that a core's caches hold.
#[derive(Clone, Copy, Debug)]
struct Caches {
    second: usize,
    /// Shared with other cores.
    third: usize,
}

impl Caches {
    fn of_this_machine() -> Caches {
        static CACHES: OnceLock<Caches> = OnceLock::new();
        *CACHES.get_or_init(|| {
            let usual = Caches {
                second: 512 << 10,
                third: 16 << 20,
            };
            #[cfg(target_arch = "x86_64")]
            let usual = usual.or_what_the_processor_says();
            usual
        })
    }

    #[cfg(target_arch = "x86_64")]
    fn or_what_the_processor_says(mut self) -> Caches {
        use raw_cpuid::{CacheType, CpuId};
        let Some(levels) = CpuId::new().get_cache_parameters() else {
            return self;
        };
        for cache in levels {
            if !matches!(cache.cache_type(), CacheType::Data | CacheType::Unified) {
                continue;
            }
            let lines = cache.sets() * cache.associativity() * cache.physical_line_partitions();
            let bytes = lines * cache.coherency_line_size();
            let (level, possible) = match cache.level() {
                2 => (&mut self.second, 128 << 10..=16 << 20),
                3 => (&mut self.third, 1 << 20..=4 << 30),
                _ => continue,
            };
            if possible.contains(&bytes) {
                *level = bytes;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instructions::InstructionSet;

    #[test]
    fn blocks_fit_the_caches_in_every_instruction_set() {
        let caches = Caches::of_this_machine();
        let sets = InstructionSet::ALL.into_iter();
        for set in sets.filter(|set| set.is_available()) {
            for (blocks, size) in [
                (set.during(Blocks::of::<f32>), 4),
                (set.during(Blocks::of::<f64>), 8),
            ] {
                assert!(blocks.width <= MOST_COLUMNS && blocks.depth <= MOST_DEPTH);
                assert!(
                    blocks.width * blocks.depth * size <= FIRST_LEVEL,
                    "{blocks:?}"
                );
                assert!(
                    blocks.rows * blocks.depth * size <= caches.second,
                    "{blocks:?}"
                );
                assert!(blocks.rows.is_multiple_of(blocks.height));
            }
        }
    }
}
