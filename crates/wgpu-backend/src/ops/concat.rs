//! Concat in one launch.

use wgrad_core::ops::Concat;
use wgrad_core::{Operand, Result, Shape};
use wgrad_shaders::context;

use super::{GpuOperation, Launch, elements, has_quads, is_aligned};
use crate::source::{Generated, Slot};

impl GpuOperation for Concat {
    const EPILOGUE: bool = true;

    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let size = |operand: &Operand| operand.layout.shape[self.dim];
        let parts: Vec<&Operand> = launch
            .inputs
            .iter()
            .filter(|o| o.layout.shape.numel() > 0)
            .collect();
        let Some(first) = parts.first() else {
            return Ok(Vec::new());
        };
        let shape = &first.layout.shape;
        let total: usize = parts.iter().map(|part| size(part)).sum();
        let (before, behind) = (&shape[..self.dim], &shape[self.dim + 1..]);
        let inner: usize = behind.iter().product();
        let mut source = launch.source();
        source.u32("inner", inner);
        source.u32("total", total);
        let quads = parts.iter().all(|part| has_quads(&part.layout));
        let mut vectors = Vec::new();
        for (i, part) in parts.iter().enumerate() {
            let name = format!("x{i}");
            let vector = quads && is_aligned(&part.layout);
            source.input(&name, Slot::Plan(part.buffer), part.dtype, vector);
            source.places(&name, &[(&name, &part.layout)]);
            source.u32(&format!("{name}_size"), size(part));
            match vector {
                true => vectors.push(name),
                false if quads => {
                    let step = part.layout.strides.last().copied();
                    source.stride(&format!("{name}_step"), step.unwrap_or(0));
                }
                false => {}
            }
        }
        let variables = context! { parts => parts.len(), quads, vectors };
        let whole = before.iter().chain([&total]).chain(behind);
        let (whole, files): (Shape, _) = (whole.copied().collect(), ("concat", "concat.wgsl"));
        Ok(vec![elements(launch, source, files, variables, &whole)?])
    }
}
