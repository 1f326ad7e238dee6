//! Place in one launch.

use wgrad_core::Result;
use wgrad_core::ops::Place;
use wgrad_shaders::context;

use super::{GpuOperation, Launch, elements, place_of};
use crate::source::{Generated, Slot};

impl GpuOperation for Place {
    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let (from, output) = (launch.input(0)?, launch.output()?);
        if self.shape.numel() == 0 {
            return Ok(Vec::new());
        }
        let mut source = launch.source();
        let layout = &from.layout;
        let filled = layout.shape.numel() > 0;
        if filled {
            source.input("from", Slot::Plan(from.buffer), from.dtype, false);
            source.u32("from_start", layout.offset);
            for d in 0..self.shape.rank() {
                source.u32(&format!("size{d}"), self.shape[d]);
                source.u32(&format!("start{d}"), self.start[d]);
                source.u32(&format!("step{d}"), self.step[d]);
                source.u32(&format!("from_size{d}"), layout.shape[d]);
                source.stride(&format!("from_stride{d}"), layout.strides[d]);
            }
        }
        let variables = context! { rank => self.shape.rank(), filled };
        let (to, count) = (place_of(output), self.shape.numel());
        Ok(vec![elements(
            source,
            "place",
            "place.wgsl",
            variables,
            to,
            count,
        )?])
    }
}
