//! Running elementwise programs, block by block.
//!
//! A program is prepared once ([`Code`]): every instruction becomes a function pointer with
//! numbered operands, and every result gets a register that is used again when the result is dead.
//! A register holds one block of [`BLOCK`] elements, so intermediate results stay in the
//! first-level cache.

use smallvec::SmallVec;
use wgrad_core::{Arg, DType, Instr, Layout, MapOp, Operand, Output, Program, ScalarBits};

use crate::cursor::{Cursor, Walk};
use crate::lanes::Element;
use crate::loops::{self, OpFn};
use crate::random::{self, Draw};
use crate::scratch::Scratch;
use crate::storage;

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

#[derive(Clone, Copy)]
enum Action {
    Op(OpFn),
    Index,
    Random(Draw),
}

/// An instruction; operands and result are value numbers.
#[derive(Clone, Copy)]
struct Step {
    action: Action,
    args: [u16; 4],
    arity: u8,
    out: u16,
}

/// What is stored.
#[derive(Clone, Copy)]
struct Store {
    value: u16,
    /// Compute type of the value, storage type of the output.
    dtype: DType,
    /// Whether the instruction may write straight into the output.
    direct: bool,
}

/// A prepared program.
///
/// Values are numbered: inputs, scalars, accumulators, instructions, casts for storing.
pub(crate) struct Code {
    sources: Vec<Source>,
    scalars: Vec<DType>,
    accumulators: usize,
    steps: Vec<Step>,
    stores: Vec<Store>,
    /// Register of each value; `u16::MAX` for those without.
    registers: Vec<u16>,
    register_count: usize,
}

const NO_REGISTER: u16 = u16::MAX;

impl Code {
    /// Prepares `program` for inputs that are read as `sources` say. `Err` names what is wrong.
    pub fn new(program: &Program, sources: Vec<Source>) -> Result<Code, String> {
        let inputs = program.inputs.len();
        let scalars = program.scalars.len();
        let accumulators = program.accumulators.len();
        if sources.len() != inputs {
            return Err(format!("{} operands for {inputs} inputs", sources.len()));
        }
        for (source, &dtype) in sources.iter().zip(&program.inputs) {
            if source.dtype != dtype {
                return Err(format!("operand of {} for {dtype}", source.dtype));
            }
        }
        let first = inputs + scalars + accumulators;
        let total = first + program.instrs.len() + program.outputs.len();
        if total >= usize::from(NO_REGISTER) {
            return Err("program too long".to_string());
        }
        let number = |arg: Arg, defined: usize| -> Result<u16, String> {
            let (base, i, len) = match arg {
                Arg::Input(i) => (0, i, inputs),
                Arg::Scalar(i) => (inputs, i, scalars),
                Arg::Acc(i) => (inputs + scalars, i, accumulators),
                Arg::Instr(i) => (first, i, defined),
            };
            if usize::from(i) < len {
                Ok((base + usize::from(i)) as u16)
            } else {
                Err(format!("{arg:?} is not there"))
            }
        };
        let mut steps = Vec::with_capacity(program.instrs.len());
        for (i, instr) in program.instrs.iter().enumerate() {
            let mut args = [0u16; 4];
            if instr.args.len() > 4 {
                return Err(format!("{:?} with {} operands", instr.op, instr.args.len()));
            }
            for (slot, &arg) in args.iter_mut().zip(&instr.args) {
                *slot = number(arg, i)?;
            }
            steps.push(Step {
                action: action(program, instr)?,
                args,
                arity: instr.args.len() as u8,
                out: (first + i) as u16,
            });
        }
        let mut stores: Vec<Store> = Vec::with_capacity(program.outputs.len());
        for (i, &(arg, dtype)) in program.outputs.iter().enumerate() {
            let mut value = number(arg, program.instrs.len())?;
            let register = program.dtype_of(arg);
            if register != dtype.compute() {
                let cast = loops::cast(register, dtype)
                    .ok_or_else(|| format!("no cast from {register} to {dtype}"))?;
                let out = (first + program.instrs.len() + i) as u16;
                steps.push(Step {
                    action: Action::Op(cast),
                    args: [value, 0, 0, 0],
                    arity: 1,
                    out,
                });
                value = out;
            }
            let direct = usize::from(value) >= first
                && dtype == dtype.compute()
                && stores.iter().all(|s| s.value != value);
            stores.push(Store {
                value,
                dtype,
                direct,
            });
        }
        let mut code = Code {
            sources,
            scalars: program.scalars.clone(),
            accumulators,
            steps,
            stores,
            registers: vec![NO_REGISTER; total],
            register_count: 0,
        };
        code.assign_registers();
        Ok(code)
    }

    /// Gives registers to inputs that are copied, scalars and results; results give theirs back
    /// after their last use. A result never takes the register of its own operands.
    fn assign_registers(&mut self) {
        let inputs = self.sources.len();
        let mut count = 0u16;
        let mut fresh = || {
            count += 1;
            count - 1
        };
        for (i, source) in self.sources.iter().enumerate() {
            if matches!(source.access, Access::Given) {
                continue;
            }
            // An input that is stored beside other outputs must be copied first: one of them
            // may lie over it.
            let stored =
                self.stores.len() > 1 && self.stores.iter().any(|s| usize::from(s.value) == i);
            if !source.is_borrowed() || stored {
                self.registers[i] = fresh();
            }
        }
        for i in 0..self.scalars.len() {
            self.registers[inputs + i] = fresh();
        }
        let mut last_use = vec![0usize; self.registers.len()];
        for (i, step) in self.steps.iter().enumerate() {
            for &arg in &step.args[..usize::from(step.arity)] {
                last_use[usize::from(arg)] = i;
            }
            last_use[usize::from(step.out)] = last_use[usize::from(step.out)].max(i);
        }
        for store in &self.stores {
            last_use[usize::from(store.value)] = usize::MAX;
        }
        let first = inputs + self.scalars.len() + self.accumulators;
        let mut free: Vec<u16> = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            self.registers[usize::from(step.out)] = free.pop().unwrap_or_else(&mut fresh);
            let mut dead: SmallVec<[u16; 5]> =
                SmallVec::from_slice(&step.args[..usize::from(step.arity)]);
            dead.push(step.out);
            dead.sort_unstable();
            dead.dedup();
            for value in dead {
                let value = usize::from(value);
                if value >= first && last_use[value] == i {
                    free.push(self.registers[value]);
                }
            }
        }
        self.register_count = usize::from(count);
    }

    /// The inputs.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// How many scalars the program takes.
    pub fn scalars(&self) -> usize {
        self.scalars.len()
    }

    /// Bytes of an element of output `i` in a register.
    pub fn output_size(&self, i: usize) -> usize {
        self.stores[i].dtype.compute().size()
    }

    /// Whether the program stores accumulator 0 as it is, in its own type, and nothing else.
    pub fn is_plain_accumulator(&self, dtype: DType) -> bool {
        self.steps.is_empty()
            && self.stores.len() == 1
            && usize::from(self.stores[0].value) == self.sources.len() + self.scalars.len()
            && self.stores[0].dtype == dtype
            && dtype == dtype.compute()
            && self.accumulators > 0
    }

    /// The first output that is accumulator 0 as it is.
    pub fn accumulator_output(&self) -> Option<usize> {
        let value = self.sources.len() + self.scalars.len();
        let mut stores = self.stores.iter();
        stores.position(|store| self.accumulators > 0 && usize::from(store.value) == value)
    }

    /// Makes ready to run blocks of at most `most` elements over `buffers`.
    pub fn start<'a>(
        &'a self,
        buffers: &'a [Bound],
        scalars: &[ScalarBits],
        most: usize,
        scratch: &'a mut Scratch,
    ) -> Machine<'a> {
        let most = most.min(BLOCK);
        let memory = scratch.reserve(self.register_count * REGISTER);
        let mut values: SmallVec<[*mut u8; 24]> = SmallVec::with_capacity(self.registers.len());
        values.extend(self.registers.iter().map(|&r| match r {
            NO_REGISTER => std::ptr::null_mut(),
            // SAFETY: within the reserved memory.
            r => unsafe { memory.add(usize::from(r) * REGISTER) },
        }));
        let mut cursors = SmallVec::new();
        for (i, source) in self.sources.iter().enumerate() {
            match &source.access {
                Access::Single(at) => {
                    // SAFETY: the operand was checked against its buffer; the register is ours.
                    unsafe {
                        let element = buffers[source.buffer]
                            .start
                            .add(at * source.dtype.size())
                            .cast_const();
                        storage::splat(source.dtype, element, values[i], most);
                    }
                }
                Access::Strided(walk) => cursors.push((i, Cursor::new(walk))),
                Access::Dense(_) | Access::Given => {}
            }
        }
        for (i, (&dtype, &bits)) in self.scalars.iter().zip(scalars).enumerate() {
            // SAFETY: the register is ours and holds a block.
            unsafe { splat_scalar(dtype, bits, values[self.sources.len() + i], most) };
        }
        Machine {
            code: self,
            buffers,
            values,
            cursors,
        }
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
            DType::U8 => fill(bits.to_i64() as u8, register, n),
            DType::Bool => fill(u8::from(bits.to_i64() != 0), register, n),
            _ => fill(rounded(bits.to_f64() as f32), register, n),
        }
    }
}

/// What an instruction does. Types are checked, because loops trust them.
fn action(program: &Program, instr: &Instr) -> Result<Action, String> {
    let wrong = || format!("{:?} does not take these operands", instr);
    if instr.args.len() != loops::arity(instr.op) {
        return Err(wrong());
    }
    let types: SmallVec<[DType; 4]> = instr.args.iter().map(|&a| program.dtype_of(a)).collect();
    let same = |types: &[DType]| types.windows(2).all(|pair| pair[0] == pair[1]);
    let (found, result) = match instr.op {
        MapOp::Index => (Some(Action::Index), DType::I32),
        MapOp::RandomBits | MapOp::Uniform | MapOp::Normal => {
            if types.iter().any(|&t| t != DType::U32) {
                return Err(wrong());
            }
            match instr.op {
                MapOp::RandomBits => (Some(Action::Random(Draw::Bits)), DType::U32),
                MapOp::Uniform => (Some(Action::Random(Draw::Uniform)), DType::F32),
                _ => (Some(Action::Random(Draw::Normal)), DType::F32),
            }
        }
        MapOp::Cast => (
            loops::cast(types[0], instr.dtype).map(Action::Op),
            instr.dtype.compute(),
        ),
        MapOp::Where => {
            if types[0] != DType::Bool || !same(&types[1..]) {
                return Err(wrong());
            }
            (
                loops::operation(instr.op, types[1]).map(Action::Op),
                types[1],
            )
        }
        op => {
            if !same(&types) {
                return Err(wrong());
            }
            let result = if loops::gives_bool(op) {
                DType::Bool
            } else {
                types[0]
            };
            (loops::operation(op, types[0]).map(Action::Op), result)
        }
    };
    if result != instr.dtype.compute() {
        return Err(wrong());
    }
    found.ok_or_else(wrong)
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
