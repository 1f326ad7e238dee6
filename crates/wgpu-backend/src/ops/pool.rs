//! Pools in one launch.

use wgrad_core::ops::{MaxPool, SumPool, Windows};
use wgrad_core::{DType, Result, Shape};
use wgrad_shaders::context;

use super::windows::{parameters, planes, strides};
use super::{GROUP, GpuOperation, Launch, elements};
use crate::source::{Generated, Slot};

impl GpuOperation for SumPool {
    const EPILOGUE: bool = true;

    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        pool(launch, (&self.windows, &self.counts), "sum")
    }
}

impl GpuOperation for MaxPool {
    const EPILOGUE: bool = true;

    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        pool(launch, (&self.windows, &self.counts), "max")
    }
}

fn pool(
    launch: &Launch<'_>,
    (windows, counts): (&Windows, &[usize]),
    combine: &str,
) -> Result<Vec<Generated>> {
    let x = launch.input(0)?;
    let lead = x.layout.shape.rank() - windows.rank();
    let (outer, inner) = x.layout.shape.split_at(lead);
    let whole: Shape = outer.iter().chain(counts).copied().collect();
    let all = whole.numel();
    if all == 0 {
        return Ok(Vec::new());
    }
    let mut source = launch.source();
    source.input("x", Slot::Plan(x.buffer), x.dtype, false);
    source.places("lead", &[("x", &planes(&x.layout, lead))]);
    parameters(&mut source, windows, inner, counts);
    strides(&mut source, "stride", &x.layout.strides[lead..]);
    source.bytes += (x.layout.shape.numel() * 4) as f64;
    let label = format!("{combine}_pool");
    let template = "pool.wgsl";
    let dilated = windows.dilation.iter().any(|&d| d > 1);
    let Some(epilogue) = launch.epilogue else {
        let output = |i: usize| launch.outputs.get(i).and_then(Option::as_ref);
        let [positions, values] = match combine {
            "max" => [output(0), output(1)],
            _ => [None, output(0)],
        };
        source.u32("all", all);
        if let Some(values) = values {
            source.output("y", Slot::Plan(values.buffer), values.dtype, false);
        }
        if let Some(positions) = positions {
            source.output("at", Slot::Plan(positions.buffer), DType::I32, false);
        }
        source.bytes += (all * 8) as f64;
        let variables = context! {
            combine, dilated, alone => true, values => values.is_some(), positions => positions.is_some(),
        };
        let groups = all.div_ceil(GROUP);
        return Ok(vec![source.render(&label, template, &variables, groups)?]);
    };
    let positions = combine == "max" && epilogue.part == 0;
    let variables = context! { combine, dilated, alone => false, positions };
    let files = (&*label, template);
    Ok(vec![elements(launch, source, files, variables, &whole)?])
}
