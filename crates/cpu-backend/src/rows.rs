//! The Rows kernel: blocks of whole rows, or a long row block by block, through all stages.
//!
//! A walk along a row runs one program per block of elements ([`Walk`]); values that a later walk needs
//! lie in buffers as long as the rows at work, which stay in the caches. What is computed once a row
//! runs for all rows of a block at once.

use smallvec::SmallVec;
use wgrad_core::{Arg, DType, Operand, Output, Program, Rows as Kernel, ScalarBits, Walk};

use crate::cursor;
use crate::executor::{Checker, Context, Launchable};
use crate::fold::{Fold, State, fold_of};
use crate::interpreter::{self, BLOCK, Bound, Code, Machine, REGISTER, Source, Target};
use crate::parallel::{self, PARALLEL_ELEMENTS};
use crate::scratch::{self, Scratch};
use crate::storage;

/// What a value must cost to be kept for later walks: anything in rows that stay in the first-level cache,
/// a function in those that stay in the others, and beyond nothing is.
fn worth(length: usize) -> usize {
    match length {
        ..=4096 => 1,
        4097..=262_144 => 4,
        _ => usize::MAX,
    }
}

/// A walk along the rows.
struct Pass {
    walk: Walk,
    code: Code,
    /// The row values that its elements read.
    reads: Vec<usize>,
}

/// A stage: its walk, if it folds anything, its folds, and what follows.
struct Stage {
    pass: Option<Pass>,
    folds: Vec<(Fold, usize)>,
    after: Code,
    /// The row values that its outputs become.
    results: Vec<usize>,
    /// Position of the program's first scalar.
    first_scalar: usize,
}

/// A prepared Rows.
pub(crate) struct Rows {
    rows: usize,
    length: usize,
    /// Rows of a block.
    together: usize,
    stages: Vec<Stage>,
    last: Option<Pass>,
    /// The last stage with a walk, if another walk follows.
    last_fold: Option<usize>,
    outputs: Vec<Output>,
    row_outputs: Vec<(usize, Output)>,
    values: Vec<DType>,
    /// Row values that elements of some walk read.
    spread: Vec<usize>,
    /// Bytes of an element of each instruction's value, and its number among those that walks keep.
    kept: Vec<(usize, Option<usize>)>,
    sources: Vec<Source>,
    scalars: usize,
}

impl Rows {
    pub fn new(checker: &Checker<'_>, kernel: &Kernel) -> Result<Rows, String> {
        let rank = kernel.shape.rank();
        if kernel.reduced == 0 || kernel.reduced > rank {
            return Err(format!("{} reduced dimensions of {rank}", kernel.reduced));
        }
        let kept = kernel.kept();
        let numel = checker.outputs(&kernel.shape, &kernel.outputs, &kernel.elements)?;
        let rows = kept.checked_numel().ok_or("too many rows")?;
        let length = kernel.length();
        if numel == 0 {
            return Err("rows without elements".to_string());
        }
        for input in &kernel.inputs {
            checker.operand(input, Some(&kernel.shape))?;
        }
        if kernel.elements.accumulators != kernel.values {
            return Err("elements that know other row values".to_string());
        }
        // Checks everything that walks are made of.
        let whole = Code::new(&kernel.elements, sources(&kernel.inputs))?;
        for fold in kernel.stages.iter().flat_map(|stage| &stage.folds) {
            dtype_of(&kernel.elements, fold.from)?;
        }
        for (value, output) in &kernel.row_outputs {
            let dtype = *kernel
                .values
                .get(usize::from(*value))
                .ok_or("no such row value")?;
            checker.output(*output, rows)?;
            if output.dtype.compute() != dtype {
                return Err(format!("row value of {dtype} stored as {}", output.dtype));
            }
        }
        let mut stages = Vec::new();
        let mut last = None;
        let mut walks = kernel
            .walks(worth(length), usize::MAX)
            .into_iter()
            .peekable();
        let mut known = vec![false; kernel.values.len()];
        let mut first_scalar = kernel.elements.scalars.len();
        for (at, stage) in kernel.stages.iter().enumerate() {
            let walk = walks.next_if(|walk| walk.stage == Some(at));
            let pass = walk.map(|walk| pass(kernel, walk, &known)).transpose()?;
            let mut folds = Vec::with_capacity(stage.folds.len());
            for fold in &stage.folds {
                let accumulator = fold.accumulator;
                let to = usize::from(fold.to);
                let fed = dtype_of(&kernel.elements, fold.from)?;
                if fed != accumulator.dtype || kernel.values.get(to) != Some(&accumulator.result())
                {
                    return Err(format!("types around {accumulator:?}"));
                }
                known[to] = true;
                let found = fold_of(accumulator);
                folds.push((
                    found.ok_or_else(|| format!("no accumulator {accumulator:?}"))?,
                    to,
                ));
            }
            for input in &stage.inputs {
                checker.operand(input, Some(&kept))?;
            }
            if stage.after.accumulators != kernel.values {
                return Err("a stage that knows other row values".to_string());
            }
            reads(&stage.after, &known)?;
            let after = Code::new(&stage.after, sources(&stage.inputs))?;
            let mut results = Vec::with_capacity(stage.results.len());
            if stage.results.len() != stage.after.outputs.len() {
                return Err("results and outputs of a stage do not fit".to_string());
            }
            for (&to, (_, dtype)) in stage.results.iter().zip(&stage.after.outputs) {
                let to = usize::from(to);
                if kernel.values.get(to) != Some(dtype) {
                    return Err(format!("row value {to} is not of {dtype}"));
                }
                known[to] = true;
                results.push(to);
            }
            let scalars = stage.after.scalars.len();
            stages.push(Stage {
                pass,
                folds,
                after,
                results,
                first_scalar,
            });
            first_scalar += scalars;
        }
        if let Some(walk) = walks.next() {
            last = Some(pass(kernel, walk, &known)?);
        }
        if kernel
            .row_outputs
            .iter()
            .any(|(value, _)| !known[usize::from(*value)])
        {
            return Err("a row value that nothing computes".to_string());
        }
        let passes = || stages.iter().filter_map(|s| s.pass.as_ref()).chain(&last);
        let spread = passes().flat_map(|p| p.reads.iter().filter(|v| p.code.blocks(**v)));
        let mut spread: Vec<usize> = spread.copied().collect();
        spread.sort_unstable();
        spread.dedup();
        let instrs = kernel.elements.instrs.iter();
        let mut kept: Vec<_> = instrs.map(|i| (i.dtype.compute().size(), None)).collect();
        let keeps = passes().flat_map(|pass| pass.walk.keeps.iter());
        for (number, &instr) in keeps.enumerate() {
            kept[instr].1 = Some(number);
        }
        Ok(Rows {
            rows,
            length,
            together: (BLOCK / length).max(1),
            outputs: kernel.outputs.clone(),
            row_outputs: kernel
                .row_outputs
                .iter()
                .map(|&(v, o)| (usize::from(v), o))
                .collect(),
            values: kernel.values.clone(),
            spread,
            kept,
            sources: whole.sources().to_vec(),
            scalars: first_scalar,
            last_fold: match last {
                Some(_) => stages.iter().rposition(|stage| stage.pass.is_some()),
                None => None,
            },
            stages,
            last,
        })
    }
}

/// The type of what an argument of a checked program names.
fn dtype_of(program: &Program, arg: Arg) -> Result<DType, String> {
    let (i, len) = match arg {
        Arg::Input(i) => (i, program.inputs.len()),
        Arg::Scalar(i) => (i, program.scalars.len()),
        Arg::Acc(i) => (i, program.accumulators.len()),
        Arg::Instr(i) => (i, program.instrs.len()),
    };
    match usize::from(i) < len {
        true => Ok(program.dtype_of(arg)),
        false => Err(format!("{arg:?} is not there")),
    }
}

fn sources(operands: &[Operand]) -> Vec<Source> {
    let sources = operands.iter();
    sources.map(|o| Source::new(o, &o.layout)).collect()
}

/// The row values that a checked program reads, all of which must be known.
fn reads(program: &Program, known: &[bool]) -> Result<Vec<usize>, String> {
    let args = program.instrs.iter().flat_map(|instr| &instr.args);
    let args = args.chain(program.outputs.iter().map(|(arg, _)| arg));
    let mut reads: Vec<usize> = args
        .filter_map(|arg| match arg {
            Arg::Acc(value) => Some(usize::from(*value)),
            _ => None,
        })
        .collect();
    reads.sort_unstable();
    reads.dedup();
    match reads.iter().find(|&&value| known.get(value) != Some(&true)) {
        Some(value) => Err(format!("row value {value} is read before it is known")),
        None => Ok(reads),
    }
}

fn pass(kernel: &Kernel, walk: Walk, known: &[bool]) -> Result<Pass, String> {
    let operands = walk.inputs.iter().map(|&i| &kernel.inputs[i]);
    let operands = operands.map(|o| Source::new(o, &o.layout));
    let taken = walk.program.inputs[walk.inputs.len()..].iter();
    let taken = taken.map(|&dtype| Source::given(dtype));
    // A block of one row, or of a part of one, has one number of each row value.
    let numbers = kernel.length() > BLOCK / 2;
    let sources = operands.chain(taken).collect();
    Ok(Pass {
        code: Code::with_numbers(&walk.program, sources, numbers)?,
        reads: reads(&walk.program, known)?,
        walk,
    })
}

/// A launch's data.
struct Run<'a> {
    kernel: &'a Rows,
    buffers: &'a [Bound],
    scalars: &'a [ScalarBits],
    targets: SmallVec<[Target; 4]>,
    row_targets: SmallVec<[Target; 4]>,
    direct: bool,
}

/// A task's memory: row values, the same once an element, and what walks keep.
#[derive(Clone, Copy)]
struct Memory {
    start: *mut u8,
    /// Bytes of a row value for all rows of a block, and where the spread ones and the kept ones start.
    value: usize,
    spread: usize,
    kept: usize,
    /// Bytes of what one instruction keeps.
    keep: usize,
}

impl Memory {
    /// Bytes in all.
    fn of(kernel: &Rows) -> (Memory, usize) {
        let value = (kernel.together * 8).next_multiple_of(64);
        let spread = kernel.values.len() * value;
        let kept = spread + kernel.spread.len() * REGISTER;
        let keep = (kernel.together * kernel.length * 8).next_multiple_of(64);
        let count = kernel
            .kept
            .iter()
            .filter(|(_, place)| place.is_some())
            .count();
        let memory = Memory {
            start: std::ptr::null_mut(),
            value,
            spread,
            kept,
            keep,
        };
        (memory, kept + count * keep)
    }

    fn value(&self, value: usize) -> *mut u8 {
        self.start.wrapping_add(value * self.value)
    }

    fn spread(&self, number: usize) -> *mut u8 {
        self.start.wrapping_add(self.spread + number * REGISTER)
    }

    fn kept(&self, number: usize) -> *mut u8 {
        self.start.wrapping_add(self.kept + number * self.keep)
    }
}

impl Launchable for Rows {
    fn scalars(&self) -> usize {
        self.scalars
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        let buffers = context.buffers;
        let row_outputs: SmallVec<[Output; 4]> = self.row_outputs.iter().map(|(_, o)| *o).collect();
        let run = Run {
            kernel: self,
            buffers,
            scalars,
            targets: interpreter::targets(&self.outputs, buffers),
            row_targets: interpreter::targets(&row_outputs, buffers),
            direct: interpreter::are_apart(&self.sources, &self.outputs, buffers),
        };
        let parallel = self.rows * self.length >= PARALLEL_ELEMENTS / 4;
        parallel::for_ranges(parallel, self.rows, self.together, |start, end| {
            scratch::with_many(2 * self.stages.len() + 2, |scratches| {
                // SAFETY: everything was checked when this was made; tasks have disjoint rows.
                unsafe { run.rows(start, end, scratches) };
            });
        });
        None
    }
}

/// The machines of a stage.
struct Machines<'a> {
    walking: Option<Machine<'a>>,
    after: Machine<'a>,
}

impl Run<'_> {
    /// # Safety
    /// Operands and outputs were checked against the buffers; this task alone has these rows.
    unsafe fn rows(&self, start: usize, end: usize, scratches: &mut [Scratch]) {
        let kernel = self.kernel;
        let (mut memory, bytes) = Memory::of(kernel);
        let mut scratches = scratches.iter_mut();
        let mut scratch = move || scratches.next();
        let Some(own) = scratch() else { return };
        memory.start = own.reserve(bytes);
        let elements = kernel.length * kernel.together.min(end - start);
        let mut stages: SmallVec<[Machines<'_>; 4]> = SmallVec::new();
        for stage in &kernel.stages {
            let (Some(first), Some(second)) = (scratch(), scratch()) else {
                return;
            };
            let pass = stage.pass.as_ref();
            let walking = pass.map(|pass| self.start(pass, &memory, elements, first));
            let scalars = &self.scalars[stage.first_scalar..];
            let rows = kernel.together.min(end - start);
            let mut after = stage.after.start(self.buffers, scalars, rows, second);
            for value in 0..kernel.values.len() {
                after.set_accumulator(value, memory.value(value));
            }
            stages.push(Machines { walking, after });
        }
        let last = kernel.last.as_ref().zip(scratch());
        let mut last = last.map(|(pass, scratch)| self.start(pass, &memory, elements, scratch));
        for first in (start..end).step_by(kernel.together) {
            let rows = kernel.together.min(end - first);
            for (at, (stage, machines)) in kernel.stages.iter().zip(&mut stages).enumerate() {
                if Some(at) == kernel.last_fold {
                    self.expect(first * kernel.length, rows * kernel.length);
                }
                // SAFETY: the caller's promise.
                unsafe { self.stage(stage, machines, &memory, first, rows) };
            }
            if let (Some(pass), Some(machine)) = (&kernel.last, &mut last) {
                self.blocks(rows, |skip, n| {
                    kept_blocks(kernel, pass, machine, &memory, skip);
                    let position = first * kernel.length + skip;
                    // SAFETY: the caller's promise; outputs lie over no operand that is read later.
                    unsafe { machine.run_to(&self.targets, self.direct, position, n) };
                });
            }
            for ((value, output), target) in kernel.row_outputs.iter().zip(&self.row_targets) {
                // SAFETY: the value is there for all rows; the output was checked.
                unsafe {
                    storage::store(output.dtype, memory.value(*value), target.at(first), rows)
                };
            }
        }
    }

    /// Has the outputs' `n` elements after `position` fetched into the cache, if they are soon written:
    /// the last walk computes too little to hide that, the one before it more.
    fn expect(&self, position: usize, n: usize) {
        if n <= 4 * BLOCK {
            for (output, target) in self.kernel.outputs.iter().zip(&self.targets) {
                cursor::prefetch(target.at(position), n * output.dtype.size());
            }
        }
    }

    /// Makes a walk's machine ready.
    fn start<'a>(
        &'a self,
        pass: &'a Pass,
        memory: &Memory,
        most: usize,
        scratch: &'a mut Scratch,
    ) -> Machine<'a> {
        let mut machine = pass.code.start(self.buffers, self.scalars, most, scratch);
        for &value in &pass.reads {
            let number = self.kernel.spread.iter().position(|&v| v == value);
            let block = number.map_or(memory.value(value), |number| memory.spread(number));
            machine.set_accumulator(value, block);
        }
        machine
    }

    /// Calls `run(skip, n)` for each block of the rows: `n` elements after the first `skip`.
    fn blocks(&self, rows: usize, mut run: impl FnMut(usize, usize)) {
        let elements = rows * self.kernel.length;
        for skip in (0..elements).step_by(BLOCK) {
            run(skip, BLOCK.min(elements - skip));
        }
    }

    /// # Safety
    /// As for `rows`; the rows are those of one block.
    unsafe fn stage(
        &self,
        stage: &Stage,
        machines: &mut Machines<'_>,
        memory: &Memory,
        first: usize,
        rows: usize,
    ) {
        let kernel = self.kernel;
        let length = kernel.length;
        if let (Some(pass), Some(machine)) = (&stage.pass, &mut machines.walking) {
            let mut states: SmallVec<[State; 16]> =
                SmallVec::from_elem(State::EMPTY, rows * stage.folds.len());
            self.blocks(rows, |skip, n| {
                kept_blocks(kernel, pass, machine, memory, skip);
                // SAFETY: the caller's promise.
                unsafe { machine.run(first * length + skip, n) };
                for (f, (fold, _)) in stage.folds.iter().enumerate() {
                    let block = machine.output(f);
                    let size = pass.code.output_size(f);
                    let states = &mut states[f * rows..][..rows];
                    // A block has whole rows, or is a part of one.
                    let (part, at) = if rows == 1 { (n, skip) } else { (length, 0) };
                    for (row, state) in states.iter_mut().enumerate() {
                        // SAFETY: output `f` holds `n` elements, which are the rows'.
                        unsafe { (fold.row)(block.add(row * part * size), part, at as i64, state) };
                    }
                }
            });
            for (f, (fold, to)) in stage.folds.iter().enumerate() {
                let states = &states[f * rows..][..rows];
                // SAFETY: a row value has room for all rows of a block.
                unsafe { (fold.finish)(states, memory.value(*to)) };
                self.spread(memory, *to, rows);
            }
        }
        if stage.results.is_empty() {
            return;
        }
        // SAFETY: the caller's promise; row values that are read were computed before.
        unsafe { machines.after.run(first, rows) };
        for (i, &to) in stage.results.iter().enumerate() {
            let bytes = rows * kernel.values[to].size();
            // SAFETY: an output has an element for each row, and so has a row value.
            unsafe {
                let from = machines.after.output(i);
                std::ptr::copy(from, memory.value(to), bytes);
            }
            self.spread(memory, to, rows);
        }
    }

    /// Repeats a row value for each element of a block, where elements read it.
    fn spread(&self, memory: &Memory, value: usize, rows: usize) {
        let kernel = self.kernel;
        let Some(number) = kernel.spread.iter().position(|&v| v == value) else {
            return;
        };
        let size = kernel.values[value].size();
        let repeat = cursor::run_of(size);
        let length = kernel.length.min(BLOCK);
        for row in 0..rows {
            let from = memory.value(value).wrapping_add(row * size);
            let to = memory.spread(number).wrapping_add(row * length * size);
            // SAFETY: the value is there for all rows; a spread one has a register, which holds
            // the elements of a block.
            unsafe { repeat(from, 0, to, length) };
        }
    }
}

/// Says where a walk keeps values, and takes those that earlier ones kept, for the block after `skip`
/// elements.
fn kept_blocks(
    kernel: &Rows,
    pass: &Pass,
    machine: &mut Machine<'_>,
    memory: &Memory,
    skip: usize,
) {
    let block = |instr: usize| {
        let (size, number) = kernel.kept[instr];
        memory.kept(number.unwrap_or(0)).wrapping_add(skip * size)
    };
    let walk = &pass.walk;
    for (i, &instr) in walk.takes.iter().enumerate() {
        machine.set_input(walk.inputs.len() + i, block(instr));
    }
    let first = walk.program.outputs.len() - walk.keeps.len();
    for (i, &instr) in walk.keeps.iter().enumerate() {
        machine.set_output(first + i, block(instr));
    }
}
