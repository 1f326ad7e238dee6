//! Pools in one launch.

use wgrad_core::ops::{MaxPool, SumPool, Windows};
use wgrad_core::{DType, Output, Result};
use wgrad_shaders::context;

use super::windows::{parameters, planes, strides};
use super::{GpuOperation, Launch};
use crate::source::{Generated, Slot};

/// Threads of a workgroup.
const GROUP: usize = 64;

impl GpuOperation for SumPool {
    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let output = launch.output()?;
        pool(
            launch,
            (&self.windows, &self.counts),
            "sum",
            [None, Some(output)],
        )
    }
}

impl GpuOperation for MaxPool {
    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let output = |i: usize| launch.outputs.get(i).and_then(Option::as_ref);
        let outputs = [output(0), output(1)];
        pool(launch, (&self.windows, &self.counts), "max", outputs)
    }
}

fn pool(
    launch: &Launch<'_>,
    (windows, counts): (&Windows, &[usize]),
    combine: &str,
    [positions, values]: [Option<&Output>; 2],
) -> Result<Vec<Generated>> {
    let x = launch.input(0)?;
    let lead = x.layout.shape.rank() - windows.rank();
    let (outer, elements) = x.layout.shape.split_at(lead);
    let all = outer.iter().chain(counts).product::<usize>();
    if all == 0 {
        return Ok(Vec::new());
    }
    let mut source = launch.source();
    source.input("x", Slot::Plan(x.buffer), x.dtype, false);
    source.places("lead", &[("x", &planes(&x.layout, lead))]);
    parameters(&mut source, windows, elements, counts);
    strides(&mut source, "stride", &x.layout.strides[lead..]);
    source.u32("all", all);
    if let Some(values) = values {
        source.output("y", Slot::Plan(values.buffer), values.dtype, false);
    }
    if let Some(positions) = positions {
        source.output("at", Slot::Plan(positions.buffer), DType::I32, false);
    }
    source.bytes += (x.layout.shape.numel() * 4 + all * 8) as f64;
    let variables = context! {
        combine, dilated => windows.dilation.iter().any(|&d| d > 1), values => values.is_some(), positions => positions.is_some(),
    };
    let label = format!("{combine}_pool");
    let groups = all.div_ceil(GROUP);
    Ok(vec![source.render(
        &label,
        "pool.wgsl",
        &variables,
        groups,
    )?])
}
