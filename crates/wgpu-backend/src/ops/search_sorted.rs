//! SearchSorted in one launch.

use wgrad_core::ops::SearchSorted;
use wgrad_core::{Layout, Result};
use wgrad_shaders::context;

use super::{GpuOperation, Launch, elements};
use crate::source::{Generated, Slot, register};

impl GpuOperation for SearchSorted {
    const EPILOGUE: bool = true;

    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let (sorted, values) = (launch.input(0)?, launch.input(1)?);
        let shape = &values.layout.shape;
        let last = shape.rank() - 1;
        let mut source = launch.source();
        source.input("sorted", Slot::Plan(sorted.buffer), sorted.dtype, false);
        source.input("values", Slot::Plan(values.buffer), values.dtype, false);
        let mut row = Layout {
            shape: shape.clone(),
            ..sorted.layout.clone()
        };
        row.strides[last] = 0;
        source.places("at", &[("values", &values.layout), ("row", &row)]);
        source.u32("length", sorted.layout.shape[last]);
        source.stride("step", sorted.layout.strides[last]);
        let variables = context! { right => self.right, key => register(sorted.dtype) };
        let files = ("searchsorted", "search_sorted.wgsl");
        Ok(vec![elements(launch, source, files, variables, shape)?])
    }
}
