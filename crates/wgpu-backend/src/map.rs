//! Elementwise kernels: each thread computes four consecutive elements.

use std::fmt::Write;

use wgrad_core::{Layout, Operand, Output, Program, Result, Shape};
use wgrad_shaders::context;

use crate::codegen::{self, Scope};
use crate::operand::{Access, Axis, Lanes, load, start, sum};
use crate::source::{Generated, Slot, Source};

/// Threads of a workgroup, as the template has it.
const GROUP: usize = 64;

/// Names the operands of a kernel.
pub(crate) fn accesses(prefix: &str, inputs: &[Operand]) -> Vec<Access> {
    inputs
        .iter()
        .enumerate()
        .map(|(i, input)| Access {
            name: format!("{prefix}{i}"),
            slot: Slot::Plan(input.buffer),
            dtype: input.dtype,
            layout: input.layout.clone(),
        })
        .collect()
}

/// Where results go.
pub(crate) fn targets(outputs: &[Output]) -> Vec<(Slot, wgrad_core::DType)> {
    outputs
        .iter()
        .map(|o| (Slot::Plan(o.buffer), o.dtype))
        .collect()
}

/// Writes the loads of four consecutive elements from `first` on, an index over the whole
/// iteration space; returns their registers.
pub(crate) fn loads(
    source: &mut Source<'_>,
    shape: &Shape,
    inputs: &[Access],
    first: &str,
    body: &mut String,
) -> Vec<String> {
    // Contiguous and single-element operands need no coordinates; leaving them out lets the
    // others collapse further.
    let is_plain = |l: &Layout| l.is_contiguous() || l.is_single();
    let strided: Vec<&Access> = inputs.iter().filter(|a| !is_plain(&a.layout)).collect();
    let layouts: Vec<&Layout> = strided.iter().map(|a| &a.layout).collect();
    let axis = Axis::new(shape, 0..shape.rank(), &layouts);
    let names: Vec<String> = strided.iter().map(|a| a.name.clone()).collect();
    let aligned: Vec<bool> = strided.iter().map(|a| a.layout.offset % 4 == 0).collect();
    let mut found = if strided.is_empty() {
        Vec::new()
    } else {
        axis.lanes(source, &names, "x", first, &aligned, body)
    }
    .into_iter();
    let mut clamped = false;
    for access in inputs {
        let begin = start(source, access);
        let (offset, lanes) = if access.layout.is_single() {
            (String::new(), Lanes::Splat)
        } else if access.layout.is_contiguous() && access.layout.offset % 4 == 0 {
            (first.to_string(), Lanes::Four)
        } else if access.layout.is_contiguous() {
            if !clamped {
                clamped = true;
                let last = source.u32("last", shape.numel().saturating_sub(1));
                let _ = writeln!(
                    body,
                    "let near = min(vec4<u32>({first}) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>({last}));"
                );
            }
            ("near".into(), Lanes::Each)
        } else {
            found.next().unwrap_or((String::new(), Lanes::Splat))
        };
        source.input(
            &access.name,
            access.slot,
            access.dtype,
            lanes == Lanes::Four,
        );
        let at = match (&lanes, begin.is_empty()) {
            (Lanes::Each, false) => format!("{offset} + vec4<u32>({begin})"),
            _ => sum(&[&begin, &offset]),
        };
        load(access, &lanes, &at, body);
    }
    inputs.iter().map(|a| a.name.clone()).collect()
}

/// Makes the kernel (`map.wgsl`); `None` where there is nothing to do.
pub(crate) fn generate(
    mut source: Source<'_>,
    shape: &Shape,
    inputs: &[Access],
    program: &Program,
    outputs: &[(Slot, wgrad_core::DType)],
) -> Result<Option<Generated>> {
    let count = shape.numel();
    if count == 0 {
        return Ok(None);
    }
    source.u32("n", count);
    let (mut text, mut program_text) = (String::new(), String::new());
    let registers = loads(&mut source, shape, inputs, "i", &mut text);
    let scope = Scope {
        inputs: &registers,
        scalars: None,
        accumulators: &[],
        index: "(vec4<u32>(i) + vec4<u32>(0u, 1u, 2u, 3u))",
        block: true,
        prefix: "",
        first_scalar: 0,
    };
    let values = codegen::program(&mut source, program, &scope, &mut program_text)?;
    for (k, &(slot, dtype)) in outputs.iter().enumerate() {
        source.output(&format!("y{k}"), slot, dtype, true);
    }
    source.bytes = (count * 4 * (inputs.len() + outputs.len())) as f64;
    source.flops = (count * program.instrs.len() * 4) as f64;
    let variables = context! { loads => text, program => program_text, values };
    let groups = count.div_ceil(4).div_ceil(GROUP);
    Ok(Some(source.render("map", "map.wgsl", &variables, groups)?))
}
