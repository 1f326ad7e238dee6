//! Which kernel computes a matrix product: by its shape and the kind of adapter, or what tuning
//! found.

use std::ops::Range;

use wgrad_core::{DType, Operand};

use crate::device::{LONGEST_WALK, Traits, lock};
use crate::matmul::Product;
use crate::options::MatmulChoice;

/// The direction in which an operand is read by vectors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Walk {
    /// Along `k`.
    K,
    /// Along `m` (of A) or `n` (of B).
    Across,
    /// By single elements.
    Single,
}

impl Walk {
    /// What the templates call it.
    pub fn name(self) -> &'static str {
        match self {
            Walk::K => "k",
            Walk::Across => "across",
            Walk::Single => "single",
        }
    }
}

/// Products up to this depth are one chain of additions. Longer ones are sums of sums of
/// [`CHAIN`] products: the error of a chain grows with its length.
///
/// On hardware the chains are longer, because registers for other sums cost speed: the 64 x 64 tile
/// takes 84 instead of 60, a 128 x 128 tile spills (RADV's compiler, gfx1100).
pub(crate) const fn deepest_chain(software: bool) -> usize {
    if software { 2048 } else { 16_384 }
}

/// Products of one chain, where there are several. Tiled products list where so many depths lie, one by each thread.
pub(crate) const CHAIN: usize = 256;

/// Rows and columns of a thread and, where tiled, of a workgroup and the depth of its tiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Registers {
        rows: usize,
        quads: usize,
    },
    /// As `Registers`, but a subgroup of so many lanes shares its rows.
    Lanes {
        rows: usize,
        quads: usize,
        size: usize,
    },
    Tiled {
        tile: usize,
        block: usize,
        depth: usize,
    },
}

const TILE64: Form = Form::Tiled {
    tile: 64,
    block: 4,
    depth: 16,
};
const TILE128: Form = Form::Tiled {
    tile: 128,
    block: 8,
    depth: 16,
};

impl Form {
    pub fn tile(self) -> (usize, usize) {
        match self {
            Form::Registers { rows, quads } => (rows, quads * 4),
            Form::Lanes { rows, quads, size } => (rows, quads * 4 * size),
            Form::Tiled { tile, .. } => (tile, tile),
        }
    }
}

/// How a product is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// A reduction per element.
    Dot,
    /// A form, and in how many parts of `k`.
    Form(Form, usize),
}

/// What a product's way depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Sizes {
    pub batches: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub dtypes: [DType; 2],
    pub walks: [Walk; 2],
    /// See [`Product::counts`].
    pub counts: [usize; 2],
}

impl Product<'_> {
    pub fn sizes(&self) -> Sizes {
        let [m, n, k] = self.dims();
        Sizes {
            batches: self.batches(),
            m,
            n,
            k,
            dtypes: [self.a.dtype, self.b.dtype],
            walks: self.walks(),
            counts: self.counts(),
        }
    }

    /// What tuning found for these sizes, else the table's answer.
    pub fn way(&self, traits: &Traits) -> Way {
        let tuned = lock(&traits.tuned).get(&self.sizes());
        tuned.unwrap_or_else(|| self.by_table(traits))
    }

    fn tiles(&self, form: Form) -> usize {
        let (rows, columns) = form.tile();
        let [m, n, _] = self.dims();
        self.batches() * m.div_ceil(rows) * n.div_ceil(columns)
    }

    fn registers(&self, traits: &Traits) -> Form {
        let [m, n, _] = self.dims();
        let rows = match m {
            1 => 1,
            2 => 2,
            3 | 4 => 4,
            _ if !traits.software && !self.is_shallow() => 4,
            _ => 8,
        };
        // 8 x 8 results spill on RDNA3 (27 registers, by RADV's compiler).
        let quads = if n <= 4 || rows < 8 || !traits.software {
            1
        } else {
            2
        };
        Form::Registers { rows, quads }
    }

    /// Few rows take more columns. More rows read less per product and compile longer (0.3 s and
    /// 0.6 s on 2 cores).
    fn lanes(&self, size: usize, many: bool) -> Form {
        let [m, n, _] = self.dims();
        let rows = match m {
            1 => 1,
            2 => 2,
            3 | 4 => 4,
            5..=8 => 8,
            m if many && m > 16 => 32,
            _ => 16,
        };
        let quads = if m > 4 || n <= 4 * size { 1 } else { 2 };
        Form::Lanes { rows, quads, size }
    }

    /// Whether the large tiles are right: there is memory for them and for where the depths of two blocks lie, and
    /// registers for all sums.
    fn fits_128(&self, traits: &Traits) -> bool {
        let listed = self.counts().iter().filter(|count| **count > 0).count();
        traits.workgroup_bytes >= (128 * 16 * 2 + listed * 2 * CHAIN) * 4 && self.is_shallow()
    }

    /// Whether hardware adds products up in one chain, with no registers for the sums of others.
    fn is_shallow(&self) -> bool {
        self.k.numel() <= deepest_chain(false)
    }

    /// The way by shape and kind of adapter.
    pub fn by_table(&self, traits: &Traits) -> Way {
        if self.is_dot(traits) {
            return Way::Dot;
        }
        let [m, n, k] = self.dims();
        let fits = self.fits_128(traits);
        let registers = self.registers(traits);
        let many = traits.matmul == MatmulChoice::Lanes || m * n * k >= 1 << 26;
        let form = match traits.matmul {
            MatmulChoice::Lanes | MatmulChoice::Auto if traits.subgroup > 0 => {
                self.lanes(traits.subgroup, many)
            }
            MatmulChoice::Registers | MatmulChoice::Lanes => registers,
            MatmulChoice::Tile64 | MatmulChoice::SplitK => TILE64,
            MatmulChoice::Tile128 if fits => TILE128,
            MatmulChoice::Tile128 => TILE64,
            _ if traits.software || m <= 4 || n <= 4 => registers,
            _ if fits && self.tiles(TILE128) >= 120 => TILE128,
            _ => TILE64,
        };
        let workers = match form {
            // A workgroup of 64 threads.
            Form::Registers { .. } => self.tiles(form).div_ceil(64),
            Form::Lanes { .. } | Form::Tiled { .. } => self.tiles(form),
        };
        let wanted = if traits.software { 8 } else { 96 };
        let parts = match traits.matmul {
            MatmulChoice::SplitK => 3,
            MatmulChoice::Auto if workers < wanted && k >= 512 => {
                (wanted / workers.max(1)).min(k / 256).clamp(1, 64)
            }
            _ => 1,
        };
        Way::Form(form, parts.max(self.short_parts()))
    }

    /// Parts of `k` so short that the blocks of a thread's sums need no blocks of their own.
    fn short_parts(&self) -> usize {
        self.k.numel().div_ceil(LONGEST_WALK).max(1)
    }

    /// Parts of `k` that no thread walks for too long.
    pub fn least_parts(&self, traits: &Traits) -> usize {
        match traits.software {
            true => self.short_parts(),
            false => 1,
        }
    }

    /// A reduction per element reads both operands along `k`: right where that is their own order.
    fn is_dot(&self, traits: &Traits) -> bool {
        if traits.matmul == MatmulChoice::Dot {
            return true;
        }
        traits.matmul == MatmulChoice::Auto
            && !traits.software
            && self.m.numel().min(self.n.numel()) <= 4
            && self.is_along_k()
            && self.k.numel() >= 64
    }

    fn is_along_k(&self) -> bool {
        let [a, b] = self.directions();
        let dense = |x: &Operand, along: Range<usize>| x.layout.strides[along].last() == Some(&1);
        dense(self.a, a.1) && dense(self.b, b.1)
    }

    /// What tuning tries: the table's way first, then every other that may be faster.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn candidates(&self, traits: &Traits) -> Vec<Way> {
        let [m, n, k] = self.dims();
        let mut forms = vec![self.registers(traits)];
        if traits.subgroup > 0 {
            forms.extend([false, true].map(|many| self.lanes(traits.subgroup, many)));
        }
        if !traits.software && m.min(n) > 4 {
            forms.push(TILE64);
            if self.fits_128(traits) {
                forms.push(TILE128);
            }
        }
        let mut ways = vec![self.by_table(traits)];
        for form in forms {
            // Each part at least 128 deep.
            let parts = [1, 2, 4, 8, 16, 32];
            let least = self.short_parts();
            let parts = parts.into_iter().filter(|&p| p == 1 || k >= 128 * p);
            let parts = parts.map(|p| p.max(least));
            ways.extend(parts.map(|parts| Way::Form(form, parts)));
        }
        if self.is_along_k() && k >= 64 && self.batches() * m * n <= 1 << 14 {
            ways.push(Way::Dot);
        }
        let mut once: Vec<Way> = Vec::new();
        for way in ways {
            if !once.contains(&way) {
                once.push(way);
            }
        }
        once
    }
}
