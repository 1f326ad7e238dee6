//! The formulas of optimizers, written once: what kernels and plain operations compute from them.

use std::cell::RefCell;
use std::fmt;
use std::ops;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::kernel::formula::{CompiledUpdate, Formula, Number};
use crate::kernel::program::{Arg, Instr, MapOp, Program};
use crate::types::dtype::DType;

/// How an optimizer changes parameters: an elementwise [`Formula`]. All parameters are updated by one kernel; with
/// fusion off the same formula runs as plain operations.
///
/// Rules are equal if they compute the same.
///
/// ```
/// use wgrad_core::{Formula, Number, UpdateRule};
///
/// /// Heavy ball: b = momentum b + g, p = p - lr b.
/// #[derive(Clone, Copy)]
/// struct Ball;
/// impl Formula<1, 2> for Ball {
///     fn apply<X: Number>(self, p: X, g: X, [b]: [X; 1], [lr, momentum]: [X; 2]) -> (X, [X; 1]) {
///         let b = momentum * b + g;
///         (p - lr * b, [b])
///     }
/// }
///
/// let rule = UpdateRule::new("ball", ["velocity"], Ball);
/// assert_eq!(rule.states(), ["velocity"]);
/// assert_eq!(rule.numbers(), 2);
/// ```
#[derive(Clone)]
pub struct UpdateRule(Arc<Rule>);

struct Rule {
    name: &'static str,
    states: Vec<&'static str>,
    numbers: usize,
    /// Follow the numbers among the program's scalars.
    constants: Vec<f64>,
    /// In `f32`. Inputs: parameter, gradient, states. Outputs: the new parameter, the new states.
    program: Program,
    /// What tells rules apart, in words.
    key: Vec<u64>,
    compiled: CompiledUpdate,
}

impl UpdateRule {
    /// The rule of a formula, whose kernels are called `name`.
    pub fn new<const STATES: usize, const NUMBERS: usize>(
        name: &'static str,
        states: [&'static str; STATES],
        formula: impl Formula<STATES, NUMBERS>,
    ) -> UpdateRule {
        let tape = Tape::new(NUMBERS);
        let input = |i: usize| tape.term(Arg::Input(i as u16));
        let kept = std::array::from_fn(|i| input(2 + i));
        let numbers = std::array::from_fn(|i| tape.term(Arg::Scalar(i as u16)));
        let (param, new) = formula.apply(input(0), input(1), kept, numbers);
        let outputs = std::iter::once(param).chain(new);
        let outputs = outputs.map(|term| (term.arg, DType::F32)).collect();
        let (instrs, mut constants) = tape.0.into_inner();
        let constants = constants.split_off(NUMBERS);
        let program = Program {
            inputs: vec![DType::F32; 2 + STATES],
            accumulators: Vec::new(),
            scalars: vec![DType::F32; NUMBERS + constants.len()],
            instrs,
            outputs,
        };
        let key = key(&program, &constants);
        UpdateRule(Arc::new(Rule {
            name,
            states: states.to_vec(),
            numbers: NUMBERS,
            constants,
            program,
            key,
            compiled: CompiledUpdate::new(formula),
        }))
    }

    /// The loop of a CPU.
    pub fn compiled(&self) -> &CompiledUpdate {
        &self.0.compiled
    }

    /// What profiles call the kernel.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The names of the states.
    pub fn states(&self) -> &[&'static str] {
        &self.0.states
    }

    /// How many numbers a step gives.
    pub fn numbers(&self) -> usize {
        self.0.numbers
    }

    /// Constants of the formula: scalars after the numbers.
    pub fn constants(&self) -> &[f64] {
        &self.0.constants
    }

    /// The program for elements of a float type. Inputs are the parameter, its gradient and the states,
    /// outputs the new parameter and the new states; scalars are the numbers and the constants.
    pub fn program(&self, dtype: DType) -> Program {
        let mut program = self.0.program.clone();
        let instrs = program.instrs.iter_mut().map(|instr| &mut instr.dtype);
        let outputs = program.outputs.iter_mut().map(|(_, dtype)| dtype);
        let others = program.inputs.iter_mut().chain(&mut program.scalars);
        for kind in others.chain(instrs).chain(outputs) {
            if *kind == DType::F32 {
                *kind = dtype;
            }
        }
        program
    }

    /// What tells rules apart, in words.
    pub(crate) fn key(&self) -> &[u64] {
        &self.0.key
    }
}

impl PartialEq for UpdateRule {
    fn eq(&self, other: &UpdateRule) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.key == other.0.key
                && self.0.name == other.0.name
                && self.0.states == other.0.states)
    }
}

impl fmt::Debug for UpdateRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.0.name, self.0.states.join(", "))
    }
}

fn key(program: &Program, constants: &[f64]) -> Vec<u64> {
    let place = |arg: Arg| match arg {
        Arg::Input(i) => u64::from(i) << 2,
        Arg::Scalar(i) => u64::from(i) << 2 | 1,
        Arg::Acc(i) => u64::from(i) << 2 | 2,
        Arg::Instr(i) => u64::from(i) << 2 | 3,
    };
    let counts = [program.inputs.len(), program.scalars.len(), constants.len()];
    let mut words: Vec<u64> = counts.iter().map(|&count| count as u64).collect();
    for instr in &program.instrs {
        words.push((instr.op as u64) << 8 | instr.args.len() as u64);
        words.extend(instr.args.iter().map(|&arg| place(arg)));
    }
    words.push(u64::MAX);
    words.extend(program.outputs.iter().map(|&(arg, _)| place(arg)));
    words.extend(constants.iter().map(|c| c.to_bits()));
    words
}

/// Instructions, and as many numbers (of any value) as the rule takes with the constants behind them.
struct Tape(RefCell<(Vec<Instr>, Vec<f64>)>);

impl Tape {
    fn new(numbers: usize) -> Tape {
        Tape(RefCell::new((Vec::new(), vec![0.0; numbers])))
    }

    fn term(&self, arg: Arg) -> Term<'_> {
        Term { tape: self, arg }
    }

    /// The result of an instruction; one that is there already is not computed twice.
    fn push(&self, op: MapOp, dtype: DType, args: &[Arg]) -> Term<'_> {
        let instrs = &mut self.0.borrow_mut().0;
        let args = SmallVec::from_slice(args);
        let instr = Instr { op, dtype, args };
        let known = instrs.iter().position(|other| *other == instr);
        let at = known.unwrap_or_else(|| {
            instrs.push(instr);
            instrs.len() - 1
        });
        self.term(Arg::Instr(at as u16))
    }

    fn constant(&self, value: f64) -> Term<'_> {
        let scalars = &mut self.0.borrow_mut().1;
        scalars.push(value);
        self.term(Arg::Scalar((scalars.len() - 1) as u16))
    }
}

/// A value in a formula that is traced.
#[derive(Clone, Copy)]
struct Term<'a> {
    tape: &'a Tape,
    arg: Arg,
}

impl<'a> Term<'a> {
    fn unary(self, op: MapOp) -> Term<'a> {
        self.tape.push(op, DType::F32, &[self.arg])
    }

    fn binary(self, op: MapOp, other: Term<'a>) -> Term<'a> {
        self.tape.push(op, DType::F32, &[self.arg, other.arg])
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident;)*) => { $(
        impl<'a> ops::$trait for Term<'a> {
            type Output = Term<'a>;
            fn $method(self, other: Term<'a>) -> Term<'a> {
                self.binary(MapOp::$trait, other)
            }
        }
    )* };
}
operators! {
    Add add;
    Sub sub;
    Mul mul;
    Div div;
}

impl<'a> ops::Neg for Term<'a> {
    type Output = Term<'a>;
    fn neg(self) -> Term<'a> {
        self.unary(MapOp::Neg)
    }
}

impl<'a> Number for Term<'a> {
    type Truth = Term<'a>;
    fn constant(self, value: f64) -> Term<'a> {
        self.tape.constant(value)
    }
    fn abs(self) -> Term<'a> {
        self.unary(MapOp::Abs)
    }
    fn sign(self) -> Term<'a> {
        self.unary(MapOp::Sign)
    }
    fn sqrt(self) -> Term<'a> {
        self.unary(MapOp::Sqrt)
    }
    fn minimum(self, other: Term<'a>) -> Term<'a> {
        self.binary(MapOp::Minimum, other)
    }
    fn maximum(self, other: Term<'a>) -> Term<'a> {
        self.binary(MapOp::Maximum, other)
    }
    fn gt(self, other: Term<'a>) -> Term<'a> {
        let args = [self.arg, other.arg];
        self.tape.push(MapOp::Gt, DType::Bool, &args)
    }
    fn lt(self, other: Term<'a>) -> Term<'a> {
        let args = [self.arg, other.arg];
        self.tape.push(MapOp::Lt, DType::Bool, &args)
    }
    fn select(truth: Term<'a>, yes: Term<'a>, no: Term<'a>) -> Term<'a> {
        let args = [truth.arg, yes.arg, no.arg];
        truth.tape.push(MapOp::Where, DType::F32, &args)
    }
}
