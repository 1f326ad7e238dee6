//! Elementwise programs as WGSL over 4-vectors.

use std::fmt::Write;

use wgrad_core::{Arg, DType, Error, MapOp, Program, Result};

use crate::source::{Convert, Source, register};

/// The registers that a program finds around it.
pub(crate) struct Scope<'a> {
    /// Registers of the inputs.
    pub inputs: &'a [String],
    /// Registers of the scalars, where they are no parameters of the kernel.
    pub scalars: Option<&'a [String]>,
    /// Registers of the accumulators.
    pub accumulators: &'a [String],
    /// A `vec4<u32>`: the lanes' linear indices in the iteration space.
    pub index: &'a str,
    /// Whether the lanes are four consecutive elements from a multiple of 4 on.
    pub block: bool,
    /// Before every name the program makes.
    pub prefix: &'a str,
    /// Position of the program's first scalar in the launch's.
    pub first_scalar: usize,
}

/// How a scalar of a type becomes a parameter.
fn conversion(dtype: DType) -> Convert {
    match dtype {
        DType::I32 | DType::I64 | DType::I16 | DType::I8 => Convert::I32,
        DType::U32 | DType::U8 => Convert::U32,
        DType::Bool => Convert::Bool,
        _ => Convert::F32,
    }
}

/// Writes the program; returns the registers of its outputs.
pub(crate) fn program(
    source: &mut Source<'_>,
    program: &Program,
    scope: &Scope<'_>,
    body: &mut String,
) -> Result<Vec<String>> {
    let prefix = scope.prefix;
    let mut scalars = scope.scalars.unwrap_or_default().to_vec();
    for (i, &dtype) in program.scalars.iter().enumerate().skip(scalars.len()) {
        let name = format!("{prefix}s{i}");
        let value = source.scalar(&name, scope.first_scalar + i, conversion(dtype));
        let t = register(dtype);
        let used = |arg: &Arg| *arg == Arg::Scalar(i as u16);
        let read = program.instrs.iter().any(|n| n.args.iter().any(used))
            || program.outputs.iter().any(|(arg, _)| used(arg));
        if read {
            let _ = match dtype {
                DType::Bool => writeln!(body, "let {name} = vec4<bool>({value} != 0u);"),
                _ => writeln!(body, "let {name} = vec4<{t}>({value});"),
            };
        }
        scalars.push(name);
    }
    let ones = ones(program);
    for one in 0..ones.iter().flatten().max().map_or(0, |most| most + 1) {
        let value = source.one(one);
        let _ = writeln!(body, "let {prefix}one{one} = vec4<f32>({value});");
    }
    let names = Names {
        inputs: scope.inputs,
        accumulators: scope.accumulators,
        scalars: &scalars,
        prefix,
    };
    for (i, instr) in program.instrs.iter().enumerate() {
        let args: Vec<String> = instr
            .args
            .iter()
            .map(|&a| names.of(a))
            .collect::<Result<_>>()?;
        let from = instr.args.first().map(|&a| program.dtype_of(a));
        let value = match (&args[..], ones[i]) {
            ([a, b], Some(one)) => {
                let sign = if instr.op == MapOp::Sub { "-" } else { "" };
                format!("fma({a}, {prefix}one{one}, {sign}{b})")
            }
            _ => expression(source, instr.op, instr.dtype, from, &args, scope)?,
        };
        let _ = writeln!(body, "let {prefix}v{i} = {value};");
    }
    program
        .outputs
        .iter()
        .map(|&(arg, _)| names.of(arg))
        .collect()
}

/// For each float addition and subtraction, which of the numbers 1 it multiplies by.
///
/// Sums are written as multiply-adds by a 1 that the driver's compiler does not know. It would take
/// `x - x` for 0, which it is not for infinity and NaN, and `(x + b) - x` for b, which loses what b
/// lost in the sum. A multiply-add costs what an addition costs, and is as exact. Where a driver
/// takes it apart again, products by the same 1 would be one value that cancels, so a sum of sums
/// takes another 1 than these: three are enough.
fn ones(program: &Program) -> Vec<Option<usize>> {
    let mut ones: Vec<Option<usize>> = Vec::with_capacity(program.instrs.len());
    // The 1 behind each value, also through a change of sign.
    let mut behind: Vec<Option<usize>> = Vec::with_capacity(program.instrs.len());
    for instr in &program.instrs {
        let of = |arg: &Arg| match arg {
            Arg::Instr(i) => behind.get(*i as usize).copied().flatten(),
            _ => None,
        };
        let adds = matches!(instr.op, MapOp::Add | MapOp::Sub) && register(instr.dtype) == "f32";
        let one = adds.then(|| {
            let taken: Vec<usize> = instr.args.iter().filter_map(of).collect();
            (0..).find(|one| !taken.contains(one)).unwrap_or(0)
        });
        ones.push(one);
        behind.push(match instr.op {
            MapOp::Neg | MapOp::Copy => instr.args.first().and_then(of),
            _ => one,
        });
    }
    ones
}

struct Names<'a> {
    inputs: &'a [String],
    accumulators: &'a [String],
    scalars: &'a [String],
    prefix: &'a str,
}

impl Names<'_> {
    fn of(&self, arg: Arg) -> Result<String> {
        let found = match arg {
            Arg::Input(i) => self.inputs.get(i as usize).cloned(),
            Arg::Scalar(i) => self.scalars.get(i as usize).cloned(),
            Arg::Acc(i) => self.accumulators.get(i as usize).cloned(),
            Arg::Instr(i) => Some(format!("{}v{i}", self.prefix)),
        };
        found.ok_or_else(|| Error::Device(format!("a program names {arg:?}, which it lacks")))
    }
}

fn expression(
    source: &mut Source<'_>,
    op: MapOp,
    dtype: DType,
    from: Option<DType>,
    args: &[String],
    scope: &Scope<'_>,
) -> Result<String> {
    let arg = |i: usize| {
        args.get(i)
            .map(String::as_str)
            .ok_or_else(|| Error::Device(format!("{op:?} lacks operand {i}")))
    };
    let from = from.unwrap_or(dtype);
    let index = scope.index;
    let t = match op.name() {
        // Comparisons look at their operands' type.
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => register(from),
        _ => register(dtype),
    };
    let random = |each: &str| -> Result<String> {
        let form = if scope.block { "block" } else { "each" };
        Ok(format!(
            "{each}_{form}({index}, {}.x, {}.x, {}.x, {}.x)",
            arg(0)?,
            arg(1)?,
            arg(2)?,
            arg(3)?
        ))
    };
    let value = match op {
        MapOp::Copy => arg(0)?.to_string(),
        MapOp::Not => format!("!{}", arg(0)?),
        MapOp::Cast => return cast(source, arg(0)?, from, dtype),
        MapOp::Where => format!("select({}, {}, {})", arg(2)?, arg(1)?, arg(0)?),
        MapOp::Clamp => format!("clamp_{t}({}, {}, {})", arg(0)?, arg(1)?, arg(2)?),
        MapOp::NanToZero if t == "f32" => format!("nan_to_zero_f32({})", arg(0)?),
        MapOp::NanToZero => arg(0)?.to_string(),
        MapOp::Index => format!("vec4<i32>({index})"),
        MapOp::RandomBits => random("random_bits")?,
        MapOp::Uniform => format!("uniform_from_bits({})", random("random_bits")?),
        MapOp::Normal => random("normal")?,
        // WGSL has no minus for unsigned integers.
        MapOp::Neg if t == "u32" => format!("vec4<u32>(0u) - {}", arg(0)?),
        _ => {
            let row = op
                .wgsl()
                .ok_or_else(|| Error::Device(format!("{op:?} has no shader code")))?;
            let mut text = row.replace("{t}", t);
            for (i, name) in args.iter().enumerate() {
                text = text.replace(&format!("${i}"), name);
            }
            text
        }
    };
    Ok(match (dtype, op) {
        // Narrow integers wrap.
        (_, MapOp::Copy | MapOp::Where | MapOp::Clamp) => value,
        (DType::U8, _) => format!("({value}) & vec4<u32>(255u)"),
        (DType::I16 | DType::I8, _) => format!("wrap_{dtype}({value})"),
        _ => value,
    })
}

/// Rust's `as`; to the 16-bit floats by rounding within an f32 register.
///
/// What becomes a float passes a 0 or 1 that the driver's compiler does not know. It knows `x <= x`
/// and, for integers, `x - x`; made into floats these would be constants, and as a constant 0 times
/// or by anything is 0 to it, infinity and NaN included. (Mesa 22.3 besides loses the second number
/// of a constant `unpack2x16float`.)
fn cast(source: &mut Source<'_>, value: &str, from: DType, to: DType) -> Result<String> {
    let (held, target) = (register(from), register(to));
    let text = match (held, target) {
        ("bool", "bool") => value.to_string(),
        ("f32", "bool") => format!("f32_to_bool({value})"),
        (t, "bool") => format!("{value} != vec4<{t}>(0)"),
        ("bool", "f32") => {
            let (zero, one) = (source.zero(), source.one(0));
            format!("select(vec4<f32>({zero}), vec4<f32>({one}), {value})")
        }
        ("bool", t) => format!("select(vec4<{t}>(0), vec4<{t}>(1), {value})"),
        ("f32", "i32" | "u32") if to.is_narrow_integer() => {
            return Ok(format!("f32_to_{to}({value})"));
        }
        ("f32", "i32") => format!("f32_to_i32({value})"),
        ("f32", "u32") => format!("f32_to_u32({value})"),
        ("i32", "u32") => format!("bitcast<vec4<u32>>({value})"),
        ("u32", "i32") => format!("bitcast<vec4<i32>>({value})"),
        (a, b) if a == b => value.to_string(),
        (t, _) => {
            let value = format!("({value} | vec4<{t}>(bitcast<{t}>({})))", source.zero());
            match to {
                // Rounded once: see there.
                DType::F16 | DType::BF16 => format!("{t}_to_odd({value})"),
                _ => format!("vec4<f32>{value}"),
            }
        }
    };
    Ok(match to {
        DType::F16 => format!("round_f16({text})"),
        DType::BF16 => format!("round_bf16({text})"),
        DType::U8 if !matches!(from, DType::U8 | DType::Bool) => {
            format!("{text} & vec4<u32>(255u)")
        }
        DType::I16 if !matches!(from, DType::I16 | DType::I8 | DType::U8 | DType::Bool) => {
            format!("wrap_i16({text})")
        }
        DType::I8 if !matches!(from, DType::I8 | DType::Bool) => format!("wrap_i8({text})"),
        _ => text,
    })
}
