//! Gather in one launch.

use wgrad_core::ops::Gather;
use wgrad_core::{Layout, Result};
use wgrad_shaders::context;

use super::{GpuOperation, Launch, elements};
use crate::source::{Generated, Slot, register};

impl GpuOperation for Gather {
    const EPILOGUE: bool = true;

    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let (from, index) = (launch.input(0)?, launch.input(1)?);
        let shape = &index.layout.shape;
        let mut source = launch.source();
        source.fault();
        source.input("index", Slot::Plan(index.buffer), index.dtype, false);
        source.input("from", Slot::Plan(from.buffer), from.dtype, false);
        let mut fixed = Layout {
            shape: shape.clone(),
            ..from.layout.clone()
        };
        fixed.strides[self.dim] = 0;
        source.places("at", &[("index", &index.layout), ("from", &fixed)]);
        source.u32("size", from.layout.shape[self.dim]);
        source.stride("from_step", from.layout.strides[self.dim]);
        let variables = context! { signed => register(index.dtype) == "i32" };
        let files = ("gather", "gather.wgsl");
        Ok(vec![elements(launch, source, files, variables, shape)?])
    }
}
