//! The text of reductions: the loop over what is reduced, and what follows it.

use std::fmt::Write;

use wgrad_core::{DType, Layout, ReduceOp, Result, Shape};

use super::{BLOCK, Form, Partials, Reduction};
use crate::accumulate::{is_position, running, running_dtype};
use crate::codegen::{self, Scope};
use crate::operand::{Axis, Lanes, load, start, sum};
use crate::source::{Slot, Source, indent, register};

impl Reduction<'_> {
    /// The loop over the reduced part.
    pub(super) fn walk(
        &self,
        source: &mut Source<'_>,
        form: Form,
        kept: &Axis,
        reduced: &Axis,
        body: &mut String,
    ) -> Result<()> {
        let names: Vec<String> = self.inputs.iter().map(|a| a.name.clone()).collect();
        let columns = form == Form::Columns;
        let begins: Vec<String> = self.inputs.iter().map(|a| start(source, a)).collect();
        let (lane_axis, other) = if columns {
            (kept, reduced)
        } else {
            (reduced, kept)
        };
        let aligned: Vec<bool> = (0..names.len())
            .map(|i| self.inputs[i].layout.offset.is_multiple_of(4) && other.divides(i))
            .collect();
        let mut inner = String::new();
        let len = self.named("length");
        let (fixed, lanes, index);
        if columns {
            let found = kept.lanes(source, &names, &self.named("k"), "o", &aligned, body);
            let moved = reduced.point(source, &names, &self.named("r"), "r", &mut inner);
            fixed = found.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
            lanes = found
                .into_iter()
                .zip(moved)
                .map(|((_, lanes), offset)| (offset, lanes))
                .collect::<Vec<_>>();
            index = format!("((vec4<u32>(o) + vec4<u32>(0u, 1u, 2u, 3u)) * params.{len} + r)");
        } else {
            fixed = kept.point(source, &names, &self.named("k"), "o", body);
            lanes = reduced.lanes(source, &names, &self.named("r"), "r", &aligned, &mut inner);
            index = format!("(o * params.{len} + r + vec4<u32>(0u, 1u, 2u, 3u))");
        }
        // What does not change in the loop is added up before it.
        for (i, access) in self.inputs.iter().enumerate() {
            let mut base = sum(&[&begins[i], &fixed[i]]);
            if columns && lanes[i].1 == Lanes::Each && fixed[i].is_empty() {
                base = format!("vec4<u32>({base})");
            }
            let _ = writeln!(body, "let {}_base = {base};", access.name);
            let four = lanes[i].1 == Lanes::Four;
            source.input(&access.name, access.slot, access.dtype, four);
            let at = sum(&[&format!("{}_base", access.name), &lanes[i].0]);
            load(access, &lanes[i].1, &at, &mut inner);
        }
        let scope = Scope {
            inputs: &names,
            accumulators: &[],
            index: &index,
            block: false,
            prefix: &self.named("p"),
            first_scalar: self.first_scalar,
        };
        let fed = codegen::program(source, self.prologue, &scope, &mut inner)?;
        // Lanes beyond the end must not count.
        let masked = !columns && lane_axis.len() % 4 != 0;
        if masked {
            inner.push_str(
                "let live = vec4<u32>(r) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(end);\n",
            );
        }
        for (i, value) in fed.iter().enumerate() {
            self.feed(i, value, columns, masked, &mut inner);
        }
        let (from, step) = match form {
            Form::Columns => ("begin".to_string(), "r++".to_string()),
            Form::Rows => ("begin".into(), "r += 4u".into()),
            Form::Group(size) => ("begin + lane * 4u".into(), format!("r += {}u", size * 4)),
        };
        let sums: Vec<usize> = (0..self.accumulators.len())
            .filter(|&i| running(&self.accumulators[i]) == "f32")
            .collect();
        // Kernels without barriers never walk so far that the sums of blocks need blocks.
        let deep = !source.traits.software;
        if !sums.is_empty() {
            body.push_str("var steps = 0u;\n");
            let into = if deep { "_blocks" } else { "" };
            let (mut put, mut put_blocks) = (String::new(), String::new());
            for i in &sums {
                let _ = write!(
                    put,
                    "a{i}{into} += a{i}_block;\na{i}_block = vec4<f32>(0.0);\n"
                );
                let _ = write!(
                    put_blocks,
                    "a{i} += a{i}_blocks;\na{i}_blocks = vec4<f32>(0.0);\n"
                );
            }
            if deep {
                let _ = write!(
                    put,
                    "if (steps & {}u) == 0u {{\n{}}}\n",
                    BLOCK * BLOCK - 1,
                    indent(&put_blocks)
                );
            }
            let _ = write!(
                inner,
                "steps++;\nif (steps & {}u) == 0u {{\n{}}}\n",
                BLOCK - 1,
                indent(&put)
            );
        }
        let _ = write!(
            body,
            "for (var r = {from}; r < end; {step}) {{\n{}}}\n",
            indent(&inner)
        );
        for i in &sums {
            let _ = match deep {
                true => writeln!(body, "a{i} += a{i}_blocks + a{i}_block;"),
                false => writeln!(body, "a{i} += a{i}_block;"),
            };
        }
        Ok(())
    }

    pub(super) fn store_partials(
        &self,
        source: &mut Source<'_>,
        partials: &Partials,
        base: usize,
        columns: bool,
        body: &mut String,
    ) {
        let pitch = source.u32("pitch", partials.pitch);
        let _ = writeln!(body, "let to = part * {pitch} + o;");
        let mut at = base;
        let mut put = |name: String, dtype: DType, value: String, body: &mut String| {
            let slot = Slot::Scratch {
                offset: at,
                bytes: partials.bytes(),
            };
            at += partials.bytes();
            source.output(&name, slot, dtype, columns);
            let _ = if columns {
                writeln!(body, "store4_{name}(to, {value});")
            } else {
                writeln!(body, "store_{name}(to, {value}.x);")
            };
        };
        for (i, accumulator) in self.accumulators.iter().enumerate() {
            let dtype = running_dtype(accumulator);
            put(format!("part{i}"), dtype, format!("a{i}"), body);
            if is_position(accumulator.op) {
                put(format!("part{i}_at"), DType::U32, format!("a{i}_at"), body);
            }
        }
    }

    /// Turns running values into results, runs the epilogue and stores.
    pub(super) fn finish(
        &self,
        source: &mut Source<'_>,
        columns: bool,
        body: &mut String,
    ) -> Result<()> {
        for (i, accumulator) in self.accumulators.iter().enumerate() {
            let d = register(accumulator.dtype);
            let value = match accumulator.op {
                ReduceOp::Sum if accumulator.dtype == DType::Bool => {
                    format!("a{i} != vec4<u32>(0u)")
                }
                ReduceOp::Sum if accumulator.dtype == DType::U8 => {
                    format!("a{i} & vec4<u32>(255u)")
                }
                ReduceOp::Sum => format!("a{i}"),
                ReduceOp::Any | ReduceOp::All => {
                    let test = if accumulator.op == ReduceOp::Any {
                        "!="
                    } else {
                        "=="
                    };
                    match d {
                        "bool" => format!("a{i} {test} vec4<u32>(0u)"),
                        d => {
                            format!("select(vec4<{d}>(0), vec4<{d}>(1), a{i} {test} vec4<u32>(0u))")
                        }
                    }
                }
                ReduceOp::Max => format!("unkey_{d}(a{i})"),
                ReduceOp::Min => format!("down_unkey_{d}(a{i})"),
                ReduceOp::ArgMax | ReduceOp::ArgMin => format!("vec4<i32>(a{i}_at)"),
            };
            let _ = writeln!(body, "let acc{i} = {value};");
        }
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
        for (k, (value, &(slot, dtype))) in stored.iter().zip(&self.outputs).enumerate() {
            let name = self.named(&format!("y{k}"));
            source.output(&name, slot, dtype, columns);
            let _ = if columns {
                writeln!(body, "store4_{name}(o, {value});")
            } else {
                writeln!(body, "store_{name}(o, {value}.x);")
            };
        }
        Ok(())
    }
}
