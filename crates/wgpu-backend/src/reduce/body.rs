//! What the templates of reductions take in: addresses, programs, and the facts of accumulators.

use wgrad_core::{Accumulator, DType, Layout, ReduceOp, Result, Shape};
use wgrad_shaders::{Value, context};

use super::{BLOCK, Form, Partials, Reduction};
use crate::codegen::{self, Scope};
use crate::operand::{Axis, Lanes, load, start, sum};
use crate::source::{Slot, Source, register};

pub(crate) fn is_position(op: ReduceOp) -> bool {
    matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin)
}

/// Storage of an accumulator's running value: values for sums and products, keys for the rest.
pub(crate) fn running_dtype(accumulator: &Accumulator) -> DType {
    match accumulator.op {
        ReduceOp::Sum | ReduceOp::Product => match register(accumulator.dtype) {
            "f32" => DType::F32,
            "i32" => DType::I32,
            _ => DType::U32,
        },
        _ => DType::U32,
    }
}

/// What the templates call it.
fn name(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "sum",
        ReduceOp::Product => "product",
        ReduceOp::Max => "max",
        ReduceOp::Min => "min",
        ReduceOp::ArgMax => "argmax",
        ReduceOp::ArgMin => "argmin",
        ReduceOp::Any => "any",
        ReduceOp::All => "all",
    }
}

/// Texts before the loop and in it, and the registers that the accumulators take in.
struct Walk {
    before: String,
    element: String,
    fed: Vec<String>,
}

impl Reduction<'_> {
    /// `reduction` of `reduce/accumulate.wgsl` and `reduce/finish.wgsl`.
    pub(super) fn variables(
        &self,
        source: &mut Source<'_>,
        form: Form,
        (kept, reduced): (&Axis, &Axis),
        partials: Option<&Partials>,
    ) -> Result<Value> {
        let columns = form.is_columns();
        source.u32(&self.named("results"), self.results());
        let walk = self.walk(source, columns, kept, reduced)?;
        let mut after = String::new();
        let mut stores = Vec::new();
        match partials {
            Some(partials) => self.bind_partials(source, partials, columns),
            None => stores = self.finish(source, columns, &mut after)?,
        }
        let accumulators: Vec<Value> = self
            .accumulators
            .iter()
            .enumerate()
            .map(|(i, accumulator)| {
                let at = match self.positions.get(i).copied().flatten() {
                    Some(input) => self.inputs[input].name.as_str(),
                    None if columns => "vec4<u32>(r)",
                    None => "vec4<u32>(r) + vec4<u32>(0u, 1u, 2u, 3u)",
                };
                context! {
                    op => name(accumulator.op),
                    dtype => accumulator.dtype.to_string(),
                    d => register(accumulator.dtype),
                    t => register(running_dtype(accumulator)),
                    position => is_position(accumulator.op),
                    value => &walk.fed[i],
                    at,
                }
            })
            .collect();
        let floats = |a: &Accumulator| a.op == ReduceOp::Sum && running_dtype(a) == DType::F32;
        let zero = self.accumulators.iter().any(floats).then(|| source.zero());
        Ok(context! {
            prefix => self.prefix,
            zero,
            form => form.name(),
            accumulators,
            second => self.is_second(),
            before => walk.before,
            element => walk.element,
            masked => !columns && !reduced.len().is_multiple_of(4),
            // Kernels without barriers never walk so far that the sums of blocks need blocks.
            blocks => if source.traits.software { 1 } else { 2 },
            block_length => BLOCK,
            after,
            stores,
        })
    }

    /// The addresses of the elements, and what the prologue makes of them.
    fn walk(
        &self,
        source: &mut Source<'_>,
        columns: bool,
        kept: &Axis,
        reduced: &Axis,
    ) -> Result<Walk> {
        let (mut before, mut element) = (String::new(), String::new());
        let names: Vec<String> = self.inputs.iter().map(|a| a.name.clone()).collect();
        let begins: Vec<String> = self.inputs.iter().map(|a| start(source, a)).collect();
        let other = if columns { reduced } else { kept };
        let aligned: Vec<bool> = (0..names.len())
            .map(|i| self.inputs[i].layout.offset.is_multiple_of(4) && other.divides(i))
            .collect();
        let len = self.named("length");
        let [k, r] = ["k", "r"].map(|name| self.named(name));
        // Offsets that the loop does not change, those that it does, and how the lanes lie.
        let (fixed, moved, lanes, index): (Vec<String>, Vec<String>, Vec<Lanes>, String);
        if columns {
            let found = kept.lanes(source, &names, &k, "o", &aligned, &mut before);
            moved = reduced.point(source, &names, &r, "r", &mut element);
            (fixed, lanes) = found.into_iter().unzip();
            index = format!("((vec4<u32>(o) + vec4<u32>(0u, 1u, 2u, 3u)) * params.{len} + r)");
        } else {
            fixed = kept.point(source, &names, &k, "o", &mut before);
            let found = reduced.lanes(source, &names, &r, "r", &aligned, &mut element);
            (moved, lanes) = found.into_iter().unzip();
            index = format!("(o * params.{len} + r + vec4<u32>(0u, 1u, 2u, 3u))");
        }
        // What does not change in the loop is added up before it.
        for (i, access) in self.inputs.iter().enumerate() {
            let mut base = sum(&[&begins[i], &fixed[i]]);
            if columns && lanes[i] == Lanes::Each && fixed[i].is_empty() {
                base = format!("vec4<u32>({base})");
            }
            before.push_str(&format!("let {}_base = {base};\n", access.name));
            source.input(
                &access.name,
                access.slot,
                access.dtype,
                lanes[i] == Lanes::Four,
            );
            let at = sum(&[&format!("{}_base", access.name), &moved[i]]);
            load(access, &lanes[i], &at, &mut element);
        }
        let scope = Scope {
            inputs: &names,
            scalars: None,
            accumulators: &[],
            index: &index,
            block: false,
            prefix: &self.named("p"),
            first_scalar: self.first_scalar,
        };
        let fed = codegen::program(source, self.prologue, &scope, &mut element)?;
        Ok(Walk {
            before,
            element,
            fed,
        })
    }

    /// Where the running values of a part go.
    fn bind_partials(&self, source: &mut Source<'_>, partials: &Partials, columns: bool) {
        let mut at = partials.base;
        let mut bind = |name: &str, dtype: DType| {
            let slot = Slot::Scratch {
                offset: at,
                bytes: partials.bytes(),
            };
            at += partials.bytes();
            source.output(name, slot, dtype, columns);
        };
        for (i, accumulator) in self.accumulators.iter().enumerate() {
            bind(&format!("part{i}"), running_dtype(accumulator));
            if is_position(accumulator.op) {
                bind(&format!("part{i}_at"), DType::U32);
            }
        }
    }

    /// Writes the epilogue, of `acc0`, `acc1`, ...; returns what is stored.
    fn finish(
        &self,
        source: &mut Source<'_>,
        columns: bool,
        body: &mut String,
    ) -> Result<Vec<Value>> {
        let split = self.kept();
        let shape = Shape::from(&self.shape[..split]);
        let layouts: Vec<&Layout> = self.epilogue_inputs.iter().map(|a| &a.layout).collect();
        let axis = Axis::new(&shape, 0..split, &layouts);
        let names: Vec<String> = self
            .epilogue_inputs
            .iter()
            .map(|a| a.name.clone())
            .collect();
        let found = if columns {
            let aligned: Vec<bool> = layouts.iter().map(|l| l.offset % 4 == 0).collect();
            axis.lanes(source, &names, &self.named("e"), "o", &aligned, body)
        } else {
            axis.point(source, &names, &self.named("e"), "o", body)
                .into_iter()
                .map(|offset| (offset, Lanes::Splat))
                .collect()
        };
        for (access, (offset, lanes)) in self.epilogue_inputs.iter().zip(found) {
            let begin = start(source, access);
            source.input(
                &access.name,
                access.slot,
                access.dtype,
                lanes == Lanes::Four,
            );
            load(access, &lanes, &sum(&[&begin, &offset]), body);
        }
        let accumulators: Vec<String> = (0..self.accumulators.len())
            .map(|i| format!("acc{i}"))
            .collect();
        let scope = Scope {
            inputs: &names,
            scalars: None,
            accumulators: &accumulators,
            index: if columns {
                "(vec4<u32>(o) + vec4<u32>(0u, 1u, 2u, 3u))"
            } else {
                "vec4<u32>(o)"
            },
            block: columns,
            prefix: &self.named("e"),
            first_scalar: self.first_scalar + self.prologue.scalars.len(),
        };
        let stored = codegen::program(source, self.epilogue, &scope, body)?;
        let mut stores = Vec::new();
        for (k, (value, &(slot, dtype))) in stored.into_iter().zip(&self.outputs).enumerate() {
            let name = self.named(&format!("y{k}"));
            source.output(&name, slot, dtype, columns);
            stores.push(context! { name, value });
        }
        Ok(stores)
    }
}
