//! Place in one launch.

use wgrad_core::ops::Place;
use wgrad_core::{Layout, Result};
use wgrad_shaders::context;

use super::{GpuOperation, Launch, elements};
use crate::source::{Generated, Slot};

impl GpuOperation for Place {
    const EPILOGUE: bool = true;

    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let from = launch.input(0)?;
        if self.shape.numel() == 0 {
            return Ok(Vec::new());
        }
        let mut source = launch.source();
        let layout = &from.layout;
        let filled = layout.shape.numel() > 0;
        let dims = merged(self, layout);
        if filled {
            source.input("from", Slot::Plan(from.buffer), from.dtype, false);
            source.u32("from_start", layout.offset);
            for (d, dim) in dims.iter().enumerate() {
                source.u32(&format!("size{d}"), dim.size);
                source.u32(&format!("start{d}"), dim.start);
                source.u32(&format!("step{d}"), dim.step);
                source.u32(&format!("from_size{d}"), dim.from);
                source.stride(&format!("from_stride{d}"), dim.stride);
            }
        }
        let steps: Vec<bool> = dims.iter().map(|dim| dim.step > 1).collect();
        let variables = context! { steps, filled };
        let (files, shape) = (("place", "place.wgsl"), &self.shape);
        Ok(vec![elements(launch, source, files, variables, shape)?])
    }
}

/// A dimension of the result, and what of the operand stands in it.
struct Dim {
    size: usize,
    start: usize,
    step: usize,
    from: usize,
    stride: isize,
}

/// The dimensions, of which those that the operand fills are one with the dimension before them where one stride
/// walks both: each costs every element two divisions.
fn merged(place: &Place, layout: &Layout) -> Vec<Dim> {
    let mut dims: Vec<Dim> = Vec::new();
    for d in 0..place.shape.rank() {
        let dim = Dim {
            size: place.shape[d],
            start: place.start[d],
            step: place.step[d],
            from: layout.shape[d],
            stride: layout.strides[d],
        };
        let full = dim.start == 0 && dim.step == 1 && dim.from == dim.size;
        match dims.last_mut() {
            Some(last)
                if full && last.step == 1 && last.stride == dim.stride * dim.size as isize =>
            {
                last.size *= dim.size;
                last.start *= dim.size;
                last.from *= dim.size;
                last.stride = dim.stride;
            }
            _ => dims.push(dim),
        }
    }
    dims
}
