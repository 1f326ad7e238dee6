//! Kernels of rows: the form of `rows.wgsl` for the rows' length and the kind of adapter, and the
//! programs and addresses that go into it.

use wgrad_core::{
    Accumulator, BufferSpec, DType, Error, Fold, Layout, ReduceOp, Result, Rows as Kernel, Walk,
};
use wgrad_shaders::{Value, context};

use crate::codegen::{self, Scope};
use crate::device::{LONGEST_WALK, Traits};
use crate::map::accesses;
use crate::operand::{Access, Axis, Lanes, load, start, sum};
use crate::reduce::{BLOCK, is_position, running_dtype};
use crate::source::{Generated, Slot, Source, register};

/// Elements up to which a sum of a row is one chain of additions.
const SHORT: usize = 4096;
/// What a value must cost to be kept in registers for later walks.
const WORTH: usize = 4;
/// Quads that a thread keeps in registers at most.
const MOST_KEPT: usize = 12;
/// Quads that a round of a loop takes at most: each is text that the driver compiles.
const MOST_ROUNDS: usize = 10;
/// Threads of a workgroup that shares a row of more than 64 quads.
const LARGE: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Thread,
    /// So many threads, each with so many quads.
    Registers(usize, usize),
    /// Quads that a thread takes in one round of its loops.
    Long(usize),
}

/// A kernel in the making.
pub(crate) struct Rows<'a> {
    kernel: &'a Kernel,
    inputs: Vec<Access>,
    rows: usize,
    length: usize,
}

impl Rows<'_> {
    pub fn generate(
        kernel: &Kernel,
        traits: &Traits,
        buffers: &[BufferSpec],
    ) -> Result<Option<Generated>> {
        let made = Rows {
            kernel,
            inputs: accesses("x", &kernel.inputs),
            rows: kernel.kept().numel(),
            length: kernel.length(),
        };
        if made.rows == 0 || made.length == 0 {
            return Ok(None);
        }
        made.launch(Source::new(traits, buffers)).map(Some)
    }

    fn choose(&self, traits: &Traits) -> Form {
        let quads = self.length.div_ceil(4);
        let walks = self.kernel.stages.len() + 1;
        // A driver may leave a thread's loops early, all walks together.
        if quads <= 16 || (traits.software && quads * walks < LONGEST_WALK) {
            return Form::Thread;
        }
        match quads {
            ..=64 => Form::Registers(64, 1),
            65..=1024 => Form::Registers(LARGE, quads.div_ceil(LARGE)),
            // As above.
            _ if traits.software => Form::Long((quads * walks).div_ceil(LARGE * LONGEST_WALK / 2)),
            _ => Form::Long(1),
        }
    }

    fn launch(&self, mut source: Source<'_>) -> Result<Generated> {
        let kernel = self.kernel;
        let form = self.choose(source.traits);
        let (name, size, count, groups) = match form {
            Form::Thread => ("thread", 64, 1, self.rows.div_ceil(64)),
            Form::Registers(size, count) => ("registers", size, count, self.rows),
            Form::Long(count) => ("long", LARGE, count, self.rows),
        };
        if matches!(form, Form::Long(count) if count > MOST_ROUNDS) {
            let problem = "elements are too long for this driver's loops";
            return Err(Error::Device(format!("rows of {} {problem}", self.length)));
        }
        source.u32("rows", self.rows);
        source.u32("length", self.length);
        let walks = match form {
            Form::Registers(..) => kernel.walks(WORTH, MOST_KEPT / count),
            // There is nowhere to keep anything.
            _ => kernel.walks(usize::MAX, 0),
        };
        let kept: usize = walks.iter().map(|walk| walk.keeps.len()).sum();
        let held_inputs = self.held_inputs(&walks, (MOST_KEPT / count).saturating_sub(kept), form);
        let mut held: Vec<(String, &str)> = held_inputs
            .iter()
            .map(|&i| (self.inputs[i].name.clone(), register(self.inputs[i].dtype)))
            .collect();
        let kept = walks.iter().flat_map(|walk| &walk.keeps);
        held.extend(kept.map(|&i| (format!("k{i}"), register(kernel.elements.instrs[i].dtype))));

        let addresses = self.addresses(&mut source);
        let mut loaded = vec![false; self.inputs.len()];
        let mut walks = walks.iter().peekable();
        let mut stages = Vec::new();
        let mut widest: Vec<Value> = Vec::new();
        let mut first_scalar = kernel.elements.scalars.len();
        for (at, stage) in kernel.stages.iter().enumerate() {
            let walk = walks.next_if(|walk| walk.stage == Some(at));
            let walk = match walk {
                Some(walk) => {
                    let mut made =
                        self.walk(&mut source, walk, &addresses, &held_inputs, &mut loaded)?;
                    let folds = stage.folds.iter().zip(&made.outputs).enumerate();
                    let folds: Vec<Value> = folds
                        .map(|(f, (fold, value))| describe(fold, at, f, value))
                        .collect::<Result<_>>()?;
                    for (f, fold) in folds.iter().enumerate() {
                        let position = is_position(stage.folds[f].accumulator.op);
                        match widest.get_mut(f) {
                            Some(known) if position => *known = fold.clone(),
                            Some(_) => {}
                            None => widest.push(fold.clone()),
                        }
                    }
                    made.folds = folds;
                    Some(made.describe(&format!("w{at}")))
                }
                None => None,
            };
            let (after, results) = self.after(&mut source, at, first_scalar)?;
            first_scalar += stage.after.scalars.len();
            stages.push(context! { walk => walk, after => after, results => results });
        }
        let last = match walks.next() {
            Some(walk) => {
                let made = self.walk(&mut source, walk, &addresses, &held_inputs, &mut loaded)?;
                let stores = made.outputs.iter().enumerate();
                let stores: Vec<(String, String)> = stores
                    .map(|(i, value)| (format!("y{i}"), value.clone()))
                    .collect();
                Some(context! { stores => stores, ..made.describe("last") })
            }
            None => None,
        };
        let masked = !self.length.is_multiple_of(4);
        for (i, output) in kernel.outputs.iter().enumerate() {
            let slot = Slot::Plan(output.buffer);
            source.output(&format!("y{i}"), slot, output.dtype, !masked);
        }
        let mut row_stores = Vec::new();
        for (i, (value, output)) in kernel.row_outputs.iter().enumerate() {
            let slot = Slot::Plan(output.buffer);
            source.output(&format!("z{i}"), slot, output.dtype, false);
            row_stores.push((format!("z{i}"), format!("r{value}")));
        }
        let elements = self.rows * self.length;
        let operands = kernel.inputs.len() + kernel.outputs.len();
        source.bytes = (elements * 4 * operands) as f64;
        let ops = kernel.elements.instrs.len() + kernel.stages.len();
        source.flops = (elements * 4 * ops) as f64;
        let variables = context! {
            form => name,
            size => size,
            count => count,
            masked => masked,
            blocks => self.length > SHORT,
            block_length => BLOCK,
            bases => addresses.bases,
            held => held,
            widest => widest,
            stages => stages,
            last => last,
            row_stores => row_stores,
        };
        source.render("rows", "rows.wgsl", &variables, groups)
    }

    /// The operands that threads keep in registers: those that several walks read, as far as there is
    /// room.
    fn held_inputs(&self, walks: &[Walk], room: usize, form: Form) -> Vec<usize> {
        if !matches!(form, Form::Registers(..)) {
            return Vec::new();
        }
        let readers = |i: usize| walks.iter().filter(|walk| walk.inputs.contains(&i)).count();
        let again = (0..self.inputs.len()).filter(|&i| readers(i) > 1);
        again.take(room).collect()
    }

    /// Where a row's operands begin, and how a quad of them is found.
    fn addresses(&self, source: &mut Source<'_>) -> Addresses {
        let kernel = self.kernel;
        let split = kernel.shape.rank() - kernel.reduced;
        let layouts: Vec<&Layout> = self.inputs.iter().map(|a| &a.layout).collect();
        let kept = Axis::new(&kernel.shape, 0..split, &layouts);
        let reduced = Axis::new(&kernel.shape, split..kernel.shape.rank(), &layouts);
        let names: Vec<String> = self.inputs.iter().map(|a| a.name.clone()).collect();
        let begins: Vec<String> = self.inputs.iter().map(|a| start(source, a)).collect();
        let mut bases = String::new();
        let fixed = kept.point(source, &names, "k", "row", &mut bases);
        for ((name, begin), fixed) in names.iter().zip(&begins).zip(&fixed) {
            bases.push_str(&format!("let {name}_base = {};\n", sum(&[begin, fixed])));
        }
        let aligned: Vec<bool> = (0..names.len())
            .map(|i| self.inputs[i].layout.offset.is_multiple_of(4) && kept.divides(i))
            .collect();
        let mut coordinates = String::new();
        let lanes = match names.is_empty() {
            true => Vec::new(),
            false => reduced.lanes(source, &names, "r", "c", &aligned, &mut coordinates),
        };
        for (access, (_, lanes)) in self.inputs.iter().zip(&lanes) {
            source.input(
                &access.name,
                access.slot,
                access.dtype,
                *lanes == Lanes::Four,
            );
        }
        Addresses {
            bases,
            coordinates,
            lanes,
        }
    }

    /// The program of a walk for one quad.
    fn walk(
        &self,
        source: &mut Source<'_>,
        walk: &Walk,
        addresses: &Addresses,
        held: &[usize],
        loaded: &mut [bool],
    ) -> Result<Made> {
        let (mut takes, mut keeps) = (Vec::new(), Vec::new());
        let mut loads = String::new();
        for &i in &walk.inputs {
            let access = &self.inputs[i];
            if held.contains(&i) {
                if std::mem::replace(&mut loaded[i], true) {
                    takes.push(access.name.clone());
                    continue;
                }
                keeps.push((access.name.clone(), access.name.clone()));
            }
            let (offset, lanes) = &addresses.lanes[i];
            let at = sum(&[&format!("{}_base", access.name), offset]);
            load(access, lanes, &at, &mut loads);
        }
        let mut body = match loads.is_empty() {
            true => String::new(),
            false => addresses.coordinates.clone() + &loads,
        };
        let inputs = walk.inputs.iter().map(|&i| self.inputs[i].name.clone());
        let taken: Vec<String> = walk.takes.iter().map(|i| format!("k{i}")).collect();
        let inputs: Vec<String> = inputs.chain(taken.iter().cloned()).collect();
        takes.extend(taken);
        let accumulators = self.values();
        let scope = Scope {
            inputs: &inputs,
            scalars: None,
            accumulators: &accumulators,
            index: "(vec4<u32>(row * params.length + c) + vec4<u32>(0u, 1u, 2u, 3u))",
            block: self.length.is_multiple_of(4),
            prefix: "e",
            first_scalar: 0,
        };
        let mut outputs = codegen::program(source, &walk.program, &scope, &mut body)?;
        let first = outputs.len() - walk.keeps.len();
        let kept = outputs.split_off(first);
        keeps.extend(
            walk.keeps
                .iter()
                .zip(kept)
                .map(|(i, value)| (format!("k{i}"), value)),
        );
        Ok(Made {
            body,
            takes,
            keeps,
            outputs,
            folds: Vec::new(),
        })
    }

    /// The names of the row values.
    fn values(&self) -> Vec<String> {
        let values = 0..self.kernel.values.len();
        values.map(|value| format!("r{value}")).collect()
    }

    /// The program after a stage, and the row values that it makes: their names and registers.
    fn after(
        &self,
        source: &mut Source<'_>,
        at: usize,
        first_scalar: usize,
    ) -> Result<(String, Vec<(String, String)>)> {
        let stage = &self.kernel.stages[at];
        let prefix = format!("a{at}");
        let inputs = accesses(&format!("{prefix}_x"), &stage.inputs);
        let kept = self.kernel.kept();
        let layouts: Vec<&Layout> = inputs.iter().map(|a| &a.layout).collect();
        let names: Vec<String> = inputs.iter().map(|a| a.name.clone()).collect();
        let mut body = String::new();
        if !inputs.is_empty() {
            let axis = Axis::new(&kept, 0..kept.rank(), &layouts);
            let offsets = axis.point(source, &names, &prefix, "row", &mut body);
            for (access, offset) in inputs.iter().zip(offsets) {
                let begin = start(source, access);
                source.input(&access.name, access.slot, access.dtype, false);
                load(access, &Lanes::Splat, &sum(&[&begin, &offset]), &mut body);
            }
        }
        let accumulators = self.values();
        let scope = Scope {
            inputs: &names,
            scalars: None,
            accumulators: &accumulators,
            index: "vec4<u32>(row)",
            block: false,
            prefix: &prefix,
            first_scalar,
        };
        let made = codegen::program(source, &stage.after, &scope, &mut body)?;
        let results = stage.results.iter().zip(made);
        let results = results.map(|(to, value)| (format!("r{to}"), value));
        Ok((body, results.collect()))
    }
}

/// How operands are found.
struct Addresses {
    /// Once a row.
    bases: String,
    /// Once a quad.
    coordinates: String,
    lanes: Vec<(String, Lanes)>,
}

/// A walk's text.
struct Made {
    body: String,
    takes: Vec<String>,
    keeps: Vec<(String, String)>,
    /// What is folded or stored.
    outputs: Vec<String>,
    folds: Vec<Value>,
}

impl Made {
    fn describe(self, name: &str) -> Value {
        context! {
            name => name,
            body => self.body,
            takes => self.takes,
            keeps => self.keeps,
            folds => self.folds,
        }
    }
}

/// What the template needs to know of a fold.
fn describe(fold: &Fold, stage: usize, f: usize, value: &str) -> Result<Value> {
    let Accumulator { op, dtype } = fold.accumulator;
    let t = register(running_dtype(&fold.accumulator));
    let d = register(dtype);
    let (kind, enter, leave) = match op {
        ReduceOp::Sum if d == "bool" => ("sum", "key_bool".into(), "unkey_bool".into()),
        ReduceOp::Sum if dtype == DType::U8 => ("sum", String::new(), "low_byte".into()),
        ReduceOp::Sum => ("sum", String::new(), String::new()),
        ReduceOp::Product if d == "bool" => {
            return Err(Error::Device(format!("{op:?} of {dtype} in a row")));
        }
        ReduceOp::Product if dtype == DType::U8 => ("product", String::new(), "low_byte".into()),
        ReduceOp::Product => ("product", String::new(), String::new()),
        ReduceOp::Any | ReduceOp::All if d != "bool" => {
            return Err(Error::Device(format!("{op:?} of {dtype} in a row")));
        }
        // Of 0 and 1 as keys, any is the largest and all the smallest.
        _ => {
            let down = if matches!(op, ReduceOp::Min | ReduceOp::ArgMin | ReduceOp::All) {
                "down_"
            } else {
                ""
            };
            let kind = if is_position(op) { "position" } else { "max" };
            (kind, format!("{down}key_{d}"), format!("{down}unkey_{d}"))
        }
    };
    Ok(context! {
        name => format!("f{stage}_{f}"),
        value => value,
        kind => kind,
        t => t,
        enter => enter,
        leave => leave,
        to => format!("r{}", fold.to),
    })
}
