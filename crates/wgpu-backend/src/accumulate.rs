//! How running values of reductions take in elements and combine with each other.

use std::fmt::Write;

use wgrad_core::{Accumulator, DType, ReduceOp};

use crate::reduce::Reduction;
use crate::source::{Source, indent, register};

pub(crate) fn is_position(op: ReduceOp) -> bool {
    matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin)
}

pub(crate) fn is_down(op: ReduceOp) -> bool {
    matches!(op, ReduceOp::Min | ReduceOp::ArgMin)
}

/// The type of an accumulator's register: values for sums, keys for the rest.
pub(crate) fn running(accumulator: &Accumulator) -> &'static str {
    match accumulator.op {
        ReduceOp::Sum if accumulator.dtype == DType::Bool => "u32",
        ReduceOp::Sum => register(accumulator.dtype),
        _ => "u32",
    }
}

/// Storage of a running value.
pub(crate) fn running_dtype(accumulator: &Accumulator) -> DType {
    match running(accumulator) {
        "f32" => DType::F32,
        "i32" => DType::I32,
        _ => DType::U32,
    }
}

impl Reduction<'_> {
    /// Feeds a register into accumulator `i`.
    pub(crate) fn feed(
        &self,
        i: usize,
        value: &str,
        columns: bool,
        masked: bool,
        out: &mut String,
    ) {
        let accumulator = &self.accumulators[i];
        let t = running(accumulator);
        let second = self.is_second();
        let d = register(accumulator.dtype);
        let value = match accumulator.op {
            _ if second => value.to_string(),
            ReduceOp::Sum if accumulator.dtype == DType::Bool => {
                format!("select(vec4<u32>(0u), vec4<u32>(1u), {value})")
            }
            ReduceOp::Sum => value.to_string(),
            ReduceOp::Any => truth(d, value, "0u", "1u"),
            ReduceOp::All => truth(d, value, "1u", "0u"),
            op if is_down(op) => format!("down_key_{d}({value})"),
            _ => format!("key_{d}({value})"),
        };
        let value = if masked {
            format!("select(vec4<{t}>(0), {value}, live)")
        } else {
            value
        };
        match accumulator.op {
            ReduceOp::Sum if t == "f32" => {
                let _ = writeln!(out, "a{i}_block += {value};");
            }
            ReduceOp::Sum => {
                let _ = writeln!(out, "a{i} += {value};");
            }
            ReduceOp::Any | ReduceOp::All => {
                let _ = writeln!(out, "a{i} |= {value};");
            }
            ReduceOp::Max | ReduceOp::Min => {
                let _ = writeln!(out, "a{i} = max(a{i}, {value});");
            }
            ReduceOp::ArgMax | ReduceOp::ArgMin => {
                let at = match self.positions.get(i).copied().flatten() {
                    Some(input) => self.inputs[input].name.clone(),
                    None if columns => "vec4<u32>(r)".into(),
                    None => "(vec4<u32>(r) + vec4<u32>(0u, 1u, 2u, 3u))".into(),
                };
                let at = if masked {
                    format!("select(vec4<u32>(0xffffffffu), {at}, live)")
                } else {
                    at
                };
                let _ = write!(
                    out,
                    "let a{i}_key = {value};\n\
                     let a{i}_new = {at};\n\
                     let a{i}_wins = (a{i}_key > a{i}) | ((a{i}_key == a{i}) & (a{i}_new < a{i}_at));\n\
                     a{i} = select(a{i}, a{i}_key, a{i}_wins);\n\
                     a{i}_at = select(a{i}_at, a{i}_new, a{i}_wins);\n"
                );
            }
        }
    }

    /// Combines the four lanes into all of them.
    pub(crate) fn combine_lanes(&self, body: &mut String) {
        for swap in ["zwxy", "yxwz"] {
            for (i, accumulator) in self.accumulators.iter().enumerate() {
                body.push_str(&merge(
                    accumulator.op,
                    &format!("a{i}"),
                    &format!("a{i}.{swap}"),
                    &format!("a{i}_at"),
                    &format!("a{i}_at.{swap}"),
                    &format!("{i}_{swap}"),
                ));
            }
        }
    }

    /// A tree over the workgroup; the results are in lane 0, the others leave.
    pub(crate) fn combine_group(&self, source: &mut Source<'_>, size: u32, body: &mut String) {
        for (i, accumulator) in self.accumulators.iter().enumerate() {
            let t = running(accumulator);
            source.declare(&format!("var<workgroup> shared{i}: array<{t}, {size}>;\n"));
            let _ = writeln!(body, "shared{i}[lane] = a{i}.x;");
            if is_position(accumulator.op) {
                source.declare(&format!(
                    "var<workgroup> shared{i}_at: array<u32, {size}>;\n"
                ));
                let _ = writeln!(body, "shared{i}_at[lane] = a{i}_at.x;");
            }
        }
        body.push_str("workgroupBarrier();\n");
        let mut step = String::new();
        for (i, accumulator) in self.accumulators.iter().enumerate() {
            step.push_str(&merge(
                accumulator.op,
                &format!("shared{i}[lane]"),
                &format!("shared{i}[lane + width]"),
                &format!("shared{i}_at[lane]"),
                &format!("shared{i}_at[lane + width]"),
                &format!("{i}"),
            ));
        }
        let _ = write!(
            body,
            "for (var width = {}u; width > 0u; width >>= 1u) {{\n    \
                 if lane < width {{\n{}    }}\n    \
                 workgroupBarrier();\n}}\n\
             if lane != 0u {{\n    return;\n}}\n",
            size / 2,
            indent(&indent(&step))
        );
        for (i, accumulator) in self.accumulators.iter().enumerate() {
            let t = running(accumulator);
            let _ = writeln!(body, "a{i} = vec4<{t}>(shared{i}[0]);");
            if is_position(accumulator.op) {
                let _ = writeln!(body, "a{i}_at = vec4<u32>(shared{i}_at[0]);");
            }
        }
    }
}

fn truth(t: &str, value: &str, no: &str, yes: &str) -> String {
    let test = match t {
        "bool" => value.to_string(),
        t => format!("({value} != vec4<{t}>(0))"),
    };
    format!("select(vec4<u32>({no}), vec4<u32>({yes}), {test})")
}

/// Merges `other` into `value`, and positions with them.
fn merge(op: ReduceOp, value: &str, other: &str, at: &str, other_at: &str, tag: &str) -> String {
    match op {
        ReduceOp::Sum => format!("{value} = {value} + {other};\n"),
        ReduceOp::Any | ReduceOp::All => format!("{value} = {value} | {other};\n"),
        ReduceOp::Max | ReduceOp::Min => format!("{value} = max({value}, {other});\n"),
        ReduceOp::ArgMax | ReduceOp::ArgMin => format!(
            "let wins{tag} = ({other} > {value}) | (({other} == {value}) & ({other_at} < {at}));\n\
             let value{tag} = select({value}, {other}, wins{tag});\n\
             let at{tag} = select({at}, {other_at}, wins{tag});\n\
             {value} = value{tag};\n\
             {at} = at{tag};\n"
        ),
    }
}
