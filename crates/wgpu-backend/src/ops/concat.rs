//! Concat in one launch.

use wgrad_core::ops::Concat;
use wgrad_core::{Operand, Result, Shape};
use wgrad_shaders::context;

use super::{GpuOperation, Launch, elements};
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
        for (i, part) in parts.iter().enumerate() {
            let name = format!("x{i}");
            source.input(&name, Slot::Plan(part.buffer), part.dtype, false);
            source.places(&name, &[(&name, &part.layout)]);
            source.u32(&format!("{name}_size"), size(part));
        }
        let variables = context! { parts => parts.len() };
        let whole = before.iter().chain([&total]).chain(behind);
        let (whole, files): (Shape, _) = (whole.copied().collect(), ("concat", "concat.wgsl"));
        Ok(vec![elements(launch, source, files, variables, &whole)?])
    }
}
