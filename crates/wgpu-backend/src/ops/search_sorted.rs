//! SearchSorted in one launch.

use wgrad_core::ops::SearchSorted;
use wgrad_core::{Layout, Result};
use wgrad_shaders::context;

use super::{GpuOperation, Launch, elements, place_of};
use crate::source::{Generated, Slot, register};

impl GpuOperation for SearchSorted {
    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let (sorted, values, output) = (launch.input(0)?, launch.input(1)?, launch.output()?);
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
        let (to, count) = (place_of(output), shape.numel());
        let (label, template) = ("searchsorted", "search_sorted.wgsl");
        let made = elements(source, label, template, variables, to, count)?;
        Ok(vec![made])
    }
}
