//! Programs made ready: instructions as function pointers, and registers for their results.

use smallvec::SmallVec;
use wgrad_core::{Arg, DType, Instr, MapOp, Program, ScalarBits};

use super::{Access, BLOCK, Bound, Machine, REGISTER, Source, splat_scalar};
use crate::cursor::Cursor;
use crate::loops::{self, OpFn};
use crate::random::Draw;
use crate::scratch::Scratch;
use crate::storage;

#[derive(Clone, Copy)]
pub(super) enum Action {
    Op(OpFn),
    Index,
    Random(Draw),
}

/// An instruction; operands and result are value numbers.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub action: Action,
    pub args: [u16; 4],
    arity: u8,
    pub out: u16,
}

/// What is stored.
#[derive(Clone, Copy)]
pub(super) struct Store {
    pub value: u16,
    /// Compute type of the value, storage type of the output.
    pub dtype: DType,
    /// Whether the instruction may write straight into the output.
    pub direct: bool,
}

/// A prepared program.
///
/// Values are numbered: inputs, scalars, accumulators, instructions, casts for storing.
pub(crate) struct Code {
    pub(super) sources: Vec<Source>,
    pub(super) scalars: Vec<DType>,
    accumulators: usize,
    blocks: Vec<bool>,
    pub(super) steps: Vec<Step>,
    pub(super) stores: Vec<Store>,
    /// Register of each value; `u16::MAX` for those without.
    pub(super) registers: Vec<u16>,
    register_count: usize,
}

pub(super) const NO_REGISTER: u16 = u16::MAX;

impl Code {
    /// Prepares `program` for inputs that are read as `sources` say. `Err` names what is wrong.
    pub fn new(program: &Program, sources: Vec<Source>) -> Result<Code, String> {
        Code::with_numbers(program, sources, false)
    }

    /// The same; `numbers` says that accumulators are one number each for a whole block. Of those of
    /// [`Code::blocks`] there must be a block all the same.
    pub fn with_numbers(
        program: &Program,
        sources: Vec<Source>,
        numbers: bool,
    ) -> Result<Code, String> {
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
        let mut blocks = vec![!numbers; accumulators];
        let mut read = |arg: Arg| {
            if let Arg::Acc(i) = arg
                && let Some(block) = blocks.get_mut(usize::from(i))
            {
                *block = true;
            }
        };
        for (i, instr) in program.instrs.iter().enumerate() {
            if numbers && let Some((op, a, b)) = with_number(program, i) {
                steps.extend(
                    op.map(|op| {
                        Ok::<Step, String>(Step {
                            action: Action::Op(op),
                            args: [number(a, i)?, number(b, i)?, 0, 0],
                            arity: 2,
                            out: (first + i) as u16,
                        })
                    })
                    .transpose()?,
                );
                continue;
            }
            let mut args = [0u16; 4];
            if instr.args.len() > 4 {
                return Err(format!("{:?} with {} operands", instr.op, instr.args.len()));
            }
            for (slot, &arg) in args.iter_mut().zip(&instr.args) {
                *slot = number(arg, i)?;
                read(arg);
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
            read(arg);
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
            blocks,
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

    /// Whether an accumulator must be a block, rather than one number.
    pub fn blocks(&self, accumulator: usize) -> bool {
        self.blocks[accumulator]
    }

    /// Bytes of an element of output `i` in a register.
    pub fn output_size(&self, i: usize) -> usize {
        self.stores[i].dtype.compute().size()
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

/// A loop and its two operands, if instruction `i` is one of an operand and a number: an accumulator.
/// There is no loop where the instruction is a difference of which only an exponential is taken, by a
/// loop of both.
#[allow(clippy::type_complexity)] // used in one place
fn with_number(program: &Program, i: usize) -> Option<(Option<OpFn>, Arg, Arg)> {
    let instr = &program.instrs[i];
    let [a, b] = instr.args[..] else {
        let [Arg::Instr(difference)] = instr.args[..] else {
            return None;
        };
        let (_, a, b) =
            (instr.op == MapOp::Exp).then(|| with_number(program, usize::from(difference)))??;
        let known = is_exponent(program, usize::from(difference));
        let op = loops::exp_of_difference(instr.dtype).filter(|_| known)?;
        return Some((Some(op), a, b));
    };
    let (a, b) = match (a, b) {
        (Arg::Acc(_), Arg::Acc(_)) => return None,
        (_, Arg::Acc(_)) => (a, b),
        (Arg::Acc(_), _) if matches!(instr.op, MapOp::Add | MapOp::Mul) => (b, a),
        _ => return None,
    };
    let same = program.dtype_of(a) == instr.dtype && program.dtype_of(b) == instr.dtype;
    let op = loops::with_number(instr.op, instr.dtype).filter(|_| same)?;
    Some(((!is_exponent(program, i)).then_some(op), a, b))
}

/// Whether instruction `i` is a difference that one exponential is taken of, and nothing else uses.
fn is_exponent(program: &Program, i: usize) -> bool {
    let difference = Arg::Instr(i as u16);
    let mut users = program
        .instrs
        .iter()
        .filter(|u| u.args.contains(&difference));
    program.instrs[i].op == MapOp::Sub
        && loops::exp_of_difference(program.instrs[i].dtype).is_some()
        && users.next().is_some_and(|user| user.op == MapOp::Exp)
        && users.next().is_none()
        && program.outputs.iter().all(|(arg, _)| *arg != difference)
}
