//! Cumsum by blocks: the stages of `cumsum.wgsl`, for the sums of the blocks again and again.

use wgrad_core::ops::Cumsum;
use wgrad_core::{DType, Layout, Result, Shape};
use wgrad_shaders::context;

use super::{GpuOperation, Launch, elements, place_of};
use crate::source::{Generated, Slot, register};

/// Threads that share a block, and elements of each.
const SHARED: (usize, usize) = (256, 16);

/// Elements of a block that a thread takes alone.
const ALONE: usize = 128;

const TEMPLATE: &str = "cumsum.wgsl";

/// Rows to scan.
struct Rows {
    slot: Slot,
    layout: Layout,
}

impl GpuOperation for Cumsum {
    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let (x, output) = (launch.input(0)?, launch.output()?);
        let n = x.layout.shape.last().copied().unwrap_or(0);
        let rows = x.layout.shape.numel().checked_div(n).unwrap_or(0);
        let x = Rows {
            slot: Slot::Plan(x.buffer),
            layout: x.layout.clone(),
        };
        let mut launches = Vec::new();
        if rows > 0 {
            let to = place_of(output);
            x.scan(launch, to, (rows, n), self.reverse, &mut launches)?;
        }
        Ok(launches)
    }
}

impl Rows {
    /// Scans `rows` rows of `n` elements into `to`.
    fn scan(
        &self,
        launch: &mut Launch<'_>,
        to: (Slot, DType),
        (rows, n): (usize, usize),
        reverse: bool,
        launches: &mut Vec<Generated>,
    ) -> Result<()> {
        let alone = launch.traits.software || n <= ALONE;
        let (size, count) = SHARED;
        let length = if alone { ALONE } else { size * count };
        let blocks = n.div_ceil(length);
        let all = rows * blocks;
        let dtype = to.1;
        let sums = (blocks > 1).then(|| launch.reserve(all * 4));
        let mut source = launch.source();
        source.input("x", self.slot, dtype, false);
        source.places("x", &[("x", &self.layout)]);
        source.output("y", to.0, dtype, false);
        if let Some(sums) = sums {
            source.output("sums", sums, dtype, false);
        }
        source.u32("row", n);
        source.u32("blocks", blocks);
        source.u32("length", length);
        source.u32("all", all);
        source.bytes = (rows * n * 8) as f64;
        let form = if alone { "thread" } else { "group" };
        let size = if alone { 64 } else { size };
        let variables = context! {
            stage => "scan", form, size, count, reverse, sums => sums.is_some(), t => register(dtype),
        };
        let groups = if alone { all.div_ceil(size) } else { all };
        launches.push(source.render("cumsum", TEMPLATE, &variables, groups)?);
        let Some(sums) = sums else { return Ok(()) };
        let scanned = launch.reserve(all * 4);
        let of_blocks = Rows {
            slot: sums,
            layout: Layout::contiguous(Shape::from([rows, blocks])),
        };
        let to_blocks = (scanned, dtype);
        of_blocks.scan(launch, to_blocks, (rows, blocks), false, launches)?;
        let mut source = launch.source();
        source.input("before", to.0, dtype, false);
        source.input("sums", scanned, dtype, false);
        source.u32("row", n);
        source.u32("blocks", blocks);
        source.u32("length", length);
        let variables = context! { stage => "add", reverse };
        launches.push(elements(
            source,
            "cumsum_add",
            TEMPLATE,
            variables,
            to,
            rows * n,
        )?);
        Ok(())
    }
}
