//! Fold in one launch.

use wgrad_core::ops::Fold;
use wgrad_core::{Result, Shape};
use wgrad_shaders::context;

use super::windows::{parameters, planes, spans, strides};
use super::{GpuOperation, Launch, elements};
use crate::source::{Generated, Slot};

impl GpuOperation for Fold {
    const EPILOGUE: bool = true;

    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let x = launch.input(0)?;
        let (shape, rank) = (&x.layout.shape, self.rank());
        let positions = launch.inputs.get(1);
        let lead = shape.rank() - if positions.is_some() { rank } else { 2 * rank };
        let counts = &shape[lead..lead + rank];
        let whole: Shape = shape[..lead].iter().chain(&self.to).copied().collect();
        if whole.numel() == 0 {
            return Ok(Vec::new());
        }
        let mut source = launch.source();
        let filled = shape.numel() > 0;
        if filled {
            source.input("x", Slot::Plan(x.buffer), x.dtype, false);
            source.places("lead", &[("x", &planes(&x.layout, lead))]);
            parameters(&mut source, &self.windows, &self.to, counts);
            spans(&mut source, &self.windows);
            let steps = &x.layout.strides[lead..];
            strides(&mut source, "outer", &steps[..rank]);
            match positions {
                None => strides(&mut source, "inner", &steps[rank..]),
                Some(at) => {
                    source.input("at", Slot::Plan(at.buffer), at.dtype, false);
                    source.places("own", &[("at", &planes(&at.layout, lead))]);
                    strides(&mut source, "at", &at.layout.strides[lead..]);
                }
            }
        }
        let dilated = self.windows.dilation.iter().any(|&d| d > 1);
        let variables = context! { positions => positions.is_some(), filled, dilated };
        let files = ("fold", "fold.wgsl");
        Ok(vec![elements(launch, source, files, variables, &whole)?])
    }
}
