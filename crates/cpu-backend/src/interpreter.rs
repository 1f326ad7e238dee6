//! Running elementwise programs, block by block.
//!
//! A program is prepared once ([`Code`]): every instruction becomes a function pointer with
//! numbered operands, and every result gets a register that is used again when the result is dead.
//! A register holds one block of [`BLOCK`] elements, so intermediate results stay in the
//! first-level cache.

mod code;

use smallvec::SmallVec;
use wgrad_core::{DType, Layout, Operand, Output, ScalarBits};

use crate::cursor::{Cursor, Walk};
use crate::lanes::Element;
use crate::random;
use crate::storage;

pub(crate) use self::code::Code;
use self::code::{Action, NO_REGISTER};

/// Elements of a block.
pub(crate) const BLOCK: usize = 1024;
/// Bytes of a register: a block of the widest type.
pub(crate) const REGISTER: usize = BLOCK * 8;

/// A buffer of the running plan.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    pub start: *mut u8,
    pub bytes: usize,
}

// SAFETY: the executor hands these out under the device's lock; tasks write disjoint ranges.
unsafe impl Send for Bound {}
// SAFETY: as above.
unsafe impl Sync for Bound {}

impl Bound {
    /// The first byte. A method, so that closures capture the whole.
    pub fn start(self) -> *mut u8 {
        self.start
    }
}

/// How an input's elements are found.
#[derive(Clone, Debug)]
enum Access {
    /// Dense from this element on.
    Dense(usize),
    /// This one element everywhere.
    Single(usize),
    Strided(Walk),
    /// A block that whoever runs the program gives: [`Machine::set_input`].
    Given,
}

/// An input of a program: where it lies and how it is read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub buffer: usize,
    pub dtype: DType,
    access: Access,
}

impl Source {
    /// The operand, whose layout is not empty.
    pub fn new(operand: &Operand, layout: &Layout) -> Source {
        let access = if layout.is_single() {
            Access::Single(layout.offset)
        } else if layout.is_contiguous() {
            Access::Dense(layout.offset)
        } else {
            Access::Strided(Walk::new(layout))
        };
        Source {
            buffer: operand.buffer,
            dtype: operand.dtype,
            access,
        }
    }

    /// Values in registers, of a compute type.
    pub fn given(dtype: DType) -> Source {
        Source {
            buffer: usize::MAX,
            dtype,
            access: Access::Given,
        }
    }

    /// Whether a block is read where it lies.
    fn is_borrowed(&self) -> bool {
        matches!(self.access, Access::Dense(_)) && self.dtype == self.dtype.compute()
    }
}

/// Fills a register with a scalar.
///
/// # Safety
/// `register` holds `n` elements of the compute type of `dtype`.
unsafe fn splat_scalar(dtype: DType, bits: ScalarBits, register: *mut u8, n: usize) {
    unsafe fn fill<E: Element>(value: E, register: *mut u8, n: usize) {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(register.cast::<E>(), n) }.fill(value);
    }
    let rounded = |x: f32| match dtype {
        DType::F16 => half::f16::from_f32(x).to_f32(),
        DType::BF16 => half::bf16::from_f32(x).to_f32(),
        _ => x,
    };
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            DType::F64 => fill(bits.to_f64(), register, n),
            DType::I64 => fill(bits.to_i64(), register, n),
            DType::I32 => fill(bits.to_i64() as i32, register, n),
            DType::U32 => fill(bits.to_i64() as u32, register, n),
            DType::I16 => fill(bits.to_i64() as i16, register, n),
            DType::I8 => fill(bits.to_i64() as i8, register, n),
            DType::U8 => fill(bits.to_i64() as u8, register, n),
            DType::Bool => fill(u8::from(bits.to_i64() != 0), register, n),
            _ => fill(rounded(bits.to_f64() as f32), register, n),
        }
    }
}

/// A program at work on one thread.
pub(crate) struct Machine<'a> {
    code: &'a Code,
    buffers: &'a [Bound],
    values: SmallVec<[*mut u8; 24]>,
    cursors: SmallVec<[(usize, Cursor<'a>); 2]>,
}

impl Machine<'_> {
    /// Says where the block of accumulator `i` lies.
    pub fn set_accumulator(&mut self, i: usize, block: *mut u8) {
        let at = self.code.sources.len() + self.code.scalars.len() + i;
        self.values[at] = block;
    }

    /// Says where the block of input `i`, whose source is [`Source::given`], lies.
    pub fn set_input(&mut self, i: usize, block: *mut u8) {
        self.values[i] = block;
    }

    /// Says where output `i`, which an instruction computes in the type that is stored, is to be computed.
    pub fn set_output(&mut self, i: usize, block: *mut u8) {
        self.values[usize::from(self.code.stores[i].value)] = block;
    }

    /// Loads and computes the `n <= BLOCK` elements from linear position `position` on.
    ///
    /// # Safety
    /// The positions lie within the sources' layouts, whose buffers nobody writes meanwhile;
    /// accumulators were set to blocks of `n` elements.
    pub unsafe fn run(&mut self, position: usize, n: usize) {
        for (i, source) in self.code.sources.iter().enumerate() {
            if let Access::Dense(offset) = source.access {
                let size = source.dtype.size();
                let start = self.buffers[source.buffer].start;
                // SAFETY: the operand was checked against its buffer.
                let element = unsafe { start.add((offset + position) * size) };
                if self.code.registers[i] == NO_REGISTER {
                    self.values[i] = element;
                } else {
                    // SAFETY: a register holds a block, and no buffer overlaps it.
                    unsafe { storage::load(source.dtype, element, self.values[i], n) };
                }
            }
        }
        for (i, cursor) in &mut self.cursors {
            let source = &self.code.sources[*i];
            let size = source.dtype.size();
            let base = self.buffers[source.buffer].start.cast_const();
            let register = self.values[*i];
            // SAFETY: positions lie within the layout, which was checked against the buffer. The
            // upper half of a register takes 16-bit elements before they are widened into the
            // lower half.
            unsafe {
                if source.dtype == source.dtype.compute() {
                    cursor.gather(base, size, position, register, n);
                } else {
                    let staged = register.add(REGISTER / 2);
                    cursor.gather(base, size, position, staged, n);
                    storage::load(source.dtype, staged, register, n);
                }
            }
        }
        for step in &self.code.steps {
            let value = |i: usize| self.values[usize::from(step.args[i])].cast_const();
            let out = self.values[usize::from(step.out)];
            // SAFETY: `Code` gave the result a register (or output) apart from its operands.
            unsafe {
                match step.action {
                    Action::Op(op) => op(n, [value(0), value(1), value(2)], out),
                    Action::Index => {
                        let out = std::slice::from_raw_parts_mut(out.cast::<i32>(), n);
                        for (i, o) in out.iter_mut().enumerate() {
                            *o = (position + i) as i32;
                        }
                    }
                    Action::Random(draw) => {
                        let key = |i: usize| *value(i).cast::<u32>();
                        let words = [key(0), key(1), key(2), key(3)];
                        random::fill(draw, words, position, n, out);
                    }
                }
            }
        }
    }

    /// The block of output `i` after [`Machine::run`], in its compute type.
    pub fn output(&self, i: usize) -> *const u8 {
        self.values[usize::from(self.code.stores[i].value)].cast_const()
    }

    /// Runs a block and stores its outputs at the same positions of `targets`. Where `direct`,
    /// instructions write into the outputs themselves.
    ///
    /// # Safety
    /// As for [`Machine::run`]; each target is writable at these positions, by this task only.
    /// Where `direct`, the targets overlap neither one another nor any source.
    pub unsafe fn run_to(&mut self, targets: &[Target], direct: bool, position: usize, n: usize) {
        if direct {
            for (store, target) in self.code.stores.iter().zip(targets) {
                if store.direct {
                    self.values[usize::from(store.value)] = target.at(position);
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.run(position, n) };
        for (store, target) in self.code.stores.iter().zip(targets) {
            if direct && store.direct {
                continue;
            }
            let block = self.values[usize::from(store.value)].cast_const();
            // SAFETY: the block holds `n` elements; `store` allows it to be the target itself.
            unsafe { storage::store(store.dtype, block, target.at(position), n) };
        }
    }
}

/// An output of the running kernel.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    start: *mut u8,
    size: usize,
}

// SAFETY: as for `Bound`.
unsafe impl Send for Target {}
// SAFETY: as for `Bound`.
unsafe impl Sync for Target {}

impl Target {
    pub fn at(&self, position: usize) -> *mut u8 {
        // `wrapping_add` needs no promise; whoever writes there gave it.
        self.start.wrapping_add(position * self.size)
    }
}

/// The outputs of a kernel in the bound buffers.
pub(crate) fn targets(outputs: &[Output], buffers: &[Bound]) -> SmallVec<[Target; 4]> {
    outputs
        .iter()
        .map(|o| Target {
            start: buffers[o.buffer].start,
            size: o.dtype.size(),
        })
        .collect()
}

/// Whether no output's buffer overlaps a source's or another output's.
pub(crate) fn are_apart(sources: &[Source], outputs: &[Output], buffers: &[Bound]) -> bool {
    let overlap = |a: usize, b: usize| {
        let (a, b) = (buffers[a], buffers[b]);
        let (a0, b0) = (a.start as usize, b.start as usize);
        a0 < b0 + b.bytes && b0 < a0 + a.bytes
    };
    outputs.iter().enumerate().all(|(i, o)| {
        sources.iter().all(|s| !overlap(s.buffer, o.buffer))
            && outputs[..i].iter().all(|p| !overlap(p.buffer, o.buffer))
    })
}
