//! Optimizer steps over whole arenas: four elements per thread, the segments in the parameters.

use wgrad_core::{BufferSpec, DType, Error, Kernel, Result};
use wgrad_shaders::context;

use crate::codegen::{self, Scope};
use crate::device::Traits;
use crate::source::{Convert, Generated, Slot, Source};

/// Threads of a workgroup, as the template has it.
const GROUP: usize = 64;
/// Segments of one launch.
const MOST: usize = 8;

/// The launches of an `Update` kernel, a few segments each.
pub(crate) fn generate(
    traits: &Traits,
    buffers: &[BufferSpec],
    kernel: &Kernel,
) -> Result<Vec<Generated>> {
    let Kernel::Update {
        name,
        program,
        len,
        param,
        target,
        grad,
        states,
        segments,
        control,
        ..
    } = kernel
    else {
        return Err(Error::Device("not an optimizer".into()));
    };
    let types = program.inputs.iter().chain(&program.scalars);
    if let Some(dtype) = types.into_iter().find(|&&dtype| dtype != DType::F32) {
        let problem = format!("optimizers on a GPU take f32, not {dtype}");
        return Err(Error::Device(problem));
    }
    let (segments, in_place) = (*segments, param == target);
    let numbers = program.scalars.len();
    let width = 2 + numbers;
    let mut made = Vec::new();
    let mut at = 0;
    // Without any segment there may still be parameters to copy.
    while *len > 0 && (at < segments || (at == 0 && !in_place)) {
        let range = at..(at + MOST).min(segments);
        at += MOST;
        let mut source = Source::new(traits, buffers);
        source.u32("n", *len);
        source.input("param", Slot::Plan(*param), DType::F32, true);
        source.input("grad", Slot::Plan(*grad), DType::F32, true);
        source.output("goal", Slot::Plan(*target), DType::F32, true);
        let mut inputs = vec!["p".to_string(), "g".to_string()];
        for (k, &state) in states.iter().enumerate() {
            let name = format!("state{k}");
            source.input(&name, Slot::Plan(state), DType::F32, true);
            source.output(&name, Slot::Plan(state), DType::F32, true);
            inputs.push(format!("x{k}"));
        }
        if let Some(control) = control {
            source.input("control", Slot::Plan(control.buffer), DType::F32, false);
        }
        // Numbers that the device decides on are no scalars.
        let read = control.map_or(0, |control| control.numbers);
        for (k, segment) in range.clone().enumerate() {
            let first = segment * width;
            source.scalar(&format!("s{k}_start"), first, Convert::U32);
            source.scalar(&format!("s{k}_end"), first + 1, Convert::U32);
            for number in read..numbers {
                let name = format!("s{k}_n{number}");
                source.scalar(&name, first + 2 + number, Convert::F32);
            }
        }
        let registers: Vec<String> = (0..numbers).map(|k| format!("n{k}")).collect();
        let scope = Scope {
            inputs: &inputs,
            scalars: Some(&registers),
            accumulators: &[],
            index: "",
            block: true,
            prefix: "",
            first_scalar: 0,
        };
        let mut text = String::new();
        let values = codegen::program(&mut source, program, &scope, &mut text)?;
        let variables = context! {
            segments => range.len(),
            // What no segment covers is copied once, by the first launch; later ones write over it.
            keep => !in_place && made.is_empty(),
            numbers,
            read,
            decided => control.is_some(),
            // Where the numbers of the launch's first segment lie, behind the flag.
            first => 1 + range.start * read,
            states => states.len(),
            program => text,
            values,
        };
        // Everything is read; all but the gradients is written.
        source.bytes = (len * 4 * (3 + 2 * states.len())) as f64;
        source.flops = (len * program.instrs.len()) as f64;
        let groups = len.div_ceil(4).div_ceil(GROUP);
        made.push(source.render(name, "update.wgsl", &variables, groups)?);
    }
    Ok(made)
}
