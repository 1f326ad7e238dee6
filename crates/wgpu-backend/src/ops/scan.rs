//! Scan by blocks: the stages of `scan.wgsl`, for the totals of the blocks again and again.

use wgrad_core::ops::{Combine, Scan};
use wgrad_core::{DType, Layout, Result};
use wgrad_shaders::context;

use super::{GpuOperation, Launch};
use crate::source::{Generated, Slot, Source, register};

/// Threads that share a block, and elements of each.
const SHARED: (usize, usize) = (256, 16);

/// Elements of a block that a thread takes alone.
const ALONE: usize = 128;

const TEMPLATE: &str = "scan.wgsl";

impl GpuOperation for Scan {
    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let (x, output) = (launch.input(0)?, launch.output()?);
        let n = x.layout.shape.last().copied().unwrap_or(0);
        let rows = x.layout.shape.numel().checked_div(n).unwrap_or(0);
        let rows = Rows {
            scan: self,
            dtype: x.dtype,
            from: Elements::Operand(Slot::Plan(x.buffer), x.layout.clone()),
            to: Elements::Result(Slot::Plan(output.buffer)),
            rows,
            n,
        };
        let mut launches = Vec::new();
        if rows.rows > 0 {
            rows.scan(launch, &mut launches)?;
        }
        Ok(launches)
    }
}

/// What a stage reads or writes.
#[derive(Clone)]
enum Elements {
    Operand(Slot, Layout),
    Result(Slot),
    /// States: of one word, or of two in two places.
    States(Slot, Option<Slot>),
}

/// Rows to scan.
struct Rows<'a> {
    scan: &'a Scan,
    dtype: DType,
    from: Elements,
    to: Elements,
    rows: usize,
    n: usize,
}

impl Rows<'_> {
    /// The type of the words of states.
    fn state(&self) -> DType {
        match self.scan.combine {
            Combine::Sum | Combine::Product | Combine::LogSumExp => self.dtype,
            Combine::ArgMax | Combine::ArgMin => DType::U32,
        }
    }

    fn combine(&self) -> &'static str {
        match self.scan.combine {
            Combine::Sum => "sum",
            Combine::Product => "product",
            Combine::LogSumExp => "logsumexp",
            Combine::ArgMax => "argmax",
            Combine::ArgMin => "argmin",
        }
    }

    /// Room for so many states.
    fn reserve(&self, launch: &mut Launch<'_>, count: usize) -> Elements {
        let pairs = !matches!(self.scan.combine, Combine::Sum | Combine::Product);
        let first = launch.reserve(count * 4);
        Elements::States(first, pairs.then(|| launch.reserve(count * 4)))
    }

    /// Makes accessors of `name`, and for second words of `name_more`.
    fn access(&self, source: &mut Source<'_>, name: &str, elements: &Elements, write: bool) {
        let mut access = |name: &str, slot: Slot, dtype: DType| match write {
            true => source.output(name, slot, dtype, false),
            false => source.input(name, slot, dtype, false),
        };
        match elements {
            // Positions are stored as the words that they are.
            Elements::Result(slot) => access(name, *slot, self.state()),
            Elements::Operand(slot, layout) => {
                access(name, *slot, self.dtype);
                source.places(name, &[(name, layout)]);
            }
            Elements::States(first, more) => {
                access(name, *first, self.state());
                if let Some(more) = more {
                    access(&format!("{name}_more"), *more, self.state());
                }
            }
        }
    }

    fn scan(&self, launch: &mut Launch<'_>, launches: &mut Vec<Generated>) -> Result<()> {
        let alone = launch.traits.software || self.n <= ALONE;
        let (size, count) = SHARED;
        let length = if alone { ALONE } else { size * count };
        let blocks = self.n.div_ceil(length);
        let all = self.rows * blocks;
        let mut before = None;
        if blocks > 1 {
            let (totals, scanned) = (self.reserve(launch, all), self.reserve(launch, all));
            let stage = self.stage(launch, (length, alone), &totals, None)?;
            launches.push(stage);
            let of_blocks = Rows {
                from: totals,
                to: scanned.clone(),
                n: blocks,
                ..*self
            };
            of_blocks.scan(launch, launches)?;
            before = Some(scanned);
        }
        let stage = self.stage(launch, (length, alone), &self.to, Some(before.as_ref()))?;
        launches.push(stage);
        Ok(())
    }

    /// The totals of blocks, or their scan with what comes `before` them.
    fn stage(
        &self,
        launch: &Launch<'_>,
        (length, alone): (usize, bool),
        to: &Elements,
        scan: Option<Option<&Elements>>,
    ) -> Result<Generated> {
        let blocks = self.n.div_ceil(length);
        let all = self.rows * blocks;
        let states = matches!(self.from, Elements::States(..));
        let before = scan.flatten();
        let mut source = launch.source();
        self.access(&mut source, "x", &self.from, false);
        self.access(&mut source, "y", to, true);
        if let Some(before) = before {
            self.access(&mut source, "before", before, false);
        }
        source.u32("row", self.n);
        source.u32("blocks", blocks);
        source.u32("length", length);
        source.u32("all", all);
        source.bytes = (self.rows * self.n * 8) as f64;
        let (size, count) = SHARED;
        let size = if alone { 64 } else { size };
        let variables = context! {
            stage => if scan.is_some() { "scan" } else { "totals" },
            form => if alone { "thread" } else { "group" },
            size, count, combine => self.combine(), states,
            // The blocks are counted in the direction of the scan.
            reverse => self.scan.reverse && !states,
            before => before.is_some(), t => register(self.dtype),
        };
        let groups = if alone { all.div_ceil(size) } else { all };
        let label = if scan.is_some() {
            "scan"
        } else {
            "scan_totals"
        };
        source.render(label, TEMPLATE, &variables, groups)
    }
}
