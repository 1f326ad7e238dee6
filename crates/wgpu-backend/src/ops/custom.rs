//! Kernels that travel with operations from outside: templates of their own, with accessors by position.

use std::collections::BTreeMap;

use wgrad_core::{AnyOperation, DType, Error, Operand, Output, Result, Spec, Wgsl, WgslVariable};
use wgrad_shaders::Value;

use super::{Launch, packed};
use crate::source::{Generated, Slot, register};

pub(super) fn generate(
    op: &AnyOperation,
    wgsl: &Wgsl,
    launch: &mut Launch<'_>,
) -> Result<Vec<Generated>> {
    let spec = |operand: &Operand| Spec::new(&operand.layout.shape, operand.dtype);
    let specs: Vec<Spec> = launch.inputs.iter().map(spec).collect();
    let results = op.results(&specs).unwrap_or_default();
    let mut source = launch.source();
    for (i, operand) in launch.inputs.iter().enumerate() {
        let name = wgsl
            .operand_names
            .get(i)
            .map_or(format!("x{i}"), ToString::to_string);
        let t = register(operand.dtype);
        if operand.layout.shape.numel() == 0 {
            let nothing = format!("fn load_{name}(i: u32) -> {t} {{\n    return {t}();\n}}\n");
            source.declare(&nothing);
            continue;
        }
        let at = format!("{name}_at");
        source.input(&at, Slot::Plan(operand.buffer), operand.dtype, false);
        source.places(&name, &[(&name, &operand.layout)]);
        source.declare(&format!(
            "fn load_{name}(i: u32) -> {t} {{\n    return load_{at}(place_{name}(i));\n}}\n"
        ));
        source.bytes += (operand.layout.shape.numel() * 4) as f64;
    }
    let mut later = Vec::new();
    for (i, spec) in results.iter().enumerate() {
        let name = wgsl
            .result_names
            .get(i)
            .map_or(format!("y{i}"), ToString::to_string);
        let count = spec.shape.numel();
        source.bytes += (count * 4) as f64;
        // Elements of packed types share words, so they go through whole ones; what nobody wants goes
        // nowhere.
        let whole = match spec.dtype {
            DType::F16 | DType::BF16 => DType::F32,
            DType::U8 => DType::U32,
            DType::I16 | DType::I8 => DType::I32,
            other => other,
        };
        let output: Option<Output> = launch.outputs.get(i).copied().flatten();
        let slot = match output {
            Some(output) if whole == output.dtype => Slot::Plan(output.buffer),
            _ => launch.reserve(count.max(1) * 4),
        };
        if let Some(output) = output.filter(|output| output.dtype != whole) {
            later.push((slot, whole, output, count));
        }
        source.output(&name, slot, whole, false);
    }
    if op.index_range(&specs).is_some() {
        source.fault();
    }
    for (name, value) in &wgsl.params {
        if source.has_param(name) {
            let problem = format!("{}: there are two parameters {name}", op.name());
            return Err(Error::Device(problem));
        }
        source.u32(name, *value as usize);
    }
    let variables: BTreeMap<&str, Value> = wgsl.variables.iter().map(variable).collect();
    let kernel = source.render_text(
        op.name(),
        wgsl.template,
        &Value::from(variables),
        wgsl.groups,
    )?;
    let mut launches = vec![kernel];
    for (slot, whole, output, count) in later {
        launches.extend(packed(launch, (slot, whole), &output, count)?);
    }
    Ok(launches)
}

fn variable<'a>((name, value): &'a (&'static str, WgslVariable)) -> (&'a str, Value) {
    let value = match value {
        WgslVariable::Number(number) => Value::from(*number),
        WgslVariable::Flag(flag) => Value::from(*flag),
        WgslVariable::Text(text) => Value::from(text.as_str()),
    };
    (name, value)
}
