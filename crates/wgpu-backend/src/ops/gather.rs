//! Gather in one launch.

use wgrad_core::ops::Gather;
use wgrad_core::{Layout, Result};
use wgrad_shaders::context;

use super::{GpuOperation, Launch, elements, has_quads, is_aligned};
use crate::source::{Generated, Slot, register};

impl GpuOperation for Gather {
    const EPILOGUE: bool = true;

    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let (from, index) = (launch.input(0)?, launch.input(1)?);
        let shape = &index.layout.shape;
        let mut source = launch.source();
        source.fault();
        source.input("index", Slot::Plan(index.buffer), index.dtype, false);
        let last = shape.rank().saturating_sub(1);
        let quads = self.dim < last && has_quads(&index.layout) && index.layout.strides[last] == 0;
        let vector = quads && is_aligned(&from.layout);
        source.input("from", Slot::Plan(from.buffer), from.dtype, vector);
        let mut fixed = Layout {
            shape: shape.clone(),
            ..from.layout.clone()
        };
        fixed.strides[self.dim] = 0;
        source.places("at", &[("index", &index.layout), ("from", &fixed)]);
        source.u32("size", from.layout.shape[self.dim]);
        source.stride("from_step", from.layout.strides[self.dim]);
        if quads && !vector {
            source.stride("step", from.layout.strides[last]);
        }
        let signed = register(index.dtype) == "i32";
        let variables = context! { signed, quads, vector };
        let files = ("gather", "gather.wgsl");
        Ok(vec![elements(launch, source, files, variables, shape)?])
    }
}
