//! Sort by blocks and merges: the stages of `sort.wgsl`.

use wgrad_core::ops::Sort;
use wgrad_core::{DType, Operand, Output, Result};
use wgrad_shaders::context;

use super::{GROUP, GpuOperation, Launch, elements_to, place_of};
use crate::source::{Generated, Slot, register};

/// Most elements of a block that a thread sorts alone, and of one in a workgroup's memory (in the template,
/// too).
const ALONE: usize = 32;
const SHARED: usize = 1024;

/// Runs that a merge makes one: more of them are fewer passes over memory, and more searches.
const WAYS: usize = 4;

const TEMPLATE: &str = "sort.wgsl";

impl GpuOperation for Sort {
    fn generate(&self, launch: &mut Launch<'_>) -> Result<Vec<Generated>> {
        let x = launch.input(0)?;
        let result = |i: usize| launch.outputs.get(i).and_then(Option::as_ref);
        let (positions, values) = (result(0), result(1));
        let n = x.layout.shape.last().copied().unwrap_or(0);
        let rows = x.layout.shape.numel().checked_div(n).unwrap_or(0);
        if rows * self.first == 0 {
            return Ok(Vec::new());
        }
        let rows = Rows {
            op: self,
            x,
            rows,
            n,
        };
        let mut launches = Vec::new();
        let positions = rows.positions(launch, positions, &mut launches)?;
        if let Some(values) = values {
            launches.push(rows.values(launch, positions, values)?);
        }
        Ok(launches)
    }
}

/// Rows to sort.
struct Rows<'a> {
    op: &'a Sort,
    x: &'a Operand,
    rows: usize,
    n: usize,
}

/// Runs of every row, sorted by themselves.
struct Runs {
    /// How many elements of the row each of them stands for.
    covered: usize,
    keys: Slot,
    positions: Slot,
}

impl Rows<'_> {
    /// Elements that are kept of a run, and of all runs of a row.
    fn kept(&self, covered: usize) -> (usize, usize) {
        let kept = covered.min(self.op.first);
        let before = (self.n - 1) / covered;
        (kept, before * kept + kept.min(self.n - before * covered))
    }

    /// Where the sorted positions lie: in the result, if that is wanted.
    fn positions(
        &self,
        launch: &mut Launch<'_>,
        result: Option<&Output>,
        launches: &mut Vec<Generated>,
    ) -> Result<Slot> {
        let alone = launch.traits.software;
        let most = if alone { ALONE } else { SHARED };
        let mut covered = self.n.next_power_of_two().clamp(2, most);
        let bytes = |covered: usize| self.rows * self.kept(covered).1 * 4;
        // The last stage writes where the positions are wanted.
        let target = |launch: &mut Launch<'_>, covered: usize| match result {
            Some(result) if covered >= self.n => Slot::Plan(result.buffer),
            _ => launch.reserve(bytes(covered)),
        };
        let mut runs = Runs {
            covered,
            keys: launch.reserve(bytes(covered)),
            positions: target(launch, covered),
        };
        launches.push(self.blocks(launch, &runs, alone)?);
        // Merges go back and forth between two places.
        let mut free: Option<(Slot, Slot)> = None;
        while runs.covered < self.n {
            covered *= WAYS;
            let last = covered >= self.n;
            let (keys, positions) = match free {
                Some(free) if !last => free,
                Some((keys, _)) => (keys, target(launch, covered)),
                None => (launch.reserve(bytes(covered)), target(launch, covered)),
            };
            let merged = Runs {
                covered,
                keys,
                positions,
            };
            launches.push(self.merge(launch, &runs, &merged, last)?);
            free = Some((runs.keys, runs.positions));
            runs = merged;
        }
        Ok(runs.positions)
    }

    fn blocks(&self, launch: &Launch<'_>, to: &Runs, alone: bool) -> Result<Generated> {
        let length = to.covered;
        let blocks = self.n.div_ceil(length);
        let all = self.rows * blocks;
        // A thread alone keeps keys in memory while it sorts.
        let keys = alone || length < self.n;
        let mut source = launch.source();
        source.input("x", Slot::Plan(self.x.buffer), self.x.dtype, false);
        source.places("x", &[("x", &self.x.layout)]);
        if keys {
            source.output("keys", to.keys, DType::U32, false);
        }
        source.output("positions", to.positions, DType::U32, false);
        source.u32("row", self.n);
        source.u32("first", self.op.first);
        source.u32("blocks", blocks);
        source.u32("all", all);
        source.u32("stride", self.kept(length).1);
        source.bytes = (self.rows * self.n * 12) as f64;
        let variables = context! {
            stage => "block", form => if alone { "thread" } else { "group" }, length, keys,
            descending => self.op.descending, key => register(self.x.dtype),
        };
        let groups = match alone {
            true => all.div_ceil(GROUP),
            false => all.div_ceil(SHARED / length),
        };
        source.render("sort_blocks", TEMPLATE, &variables, groups)
    }

    fn merge(&self, launch: &Launch<'_>, from: &Runs, to: &Runs, last: bool) -> Result<Generated> {
        let (kept, stride) = self.kept(from.covered);
        let (to_kept, to_stride) = self.kept(to.covered);
        let all = self.rows * stride;
        let mut source = launch.source();
        source.input("from_keys", from.keys, DType::U32, false);
        source.input("from_positions", from.positions, DType::U32, false);
        if !last {
            source.output("to_keys", to.keys, DType::U32, false);
        }
        source.output("to_positions", to.positions, DType::U32, false);
        source.u32("row", self.n);
        source.u32("first", self.op.first);
        source.u32("covered", from.covered);
        source.u32("kept", kept);
        source.u32("stride", stride);
        source.u32("to_kept", to_kept);
        source.u32("to_stride", to_stride);
        source.u32("all", all);
        source.bytes = (all * 32) as f64;
        let variables = context! { stage => "merge", ways => WAYS, keys => !last };
        source.render("sort_merge", TEMPLATE, &variables, all.div_ceil(GROUP))
    }

    fn values(&self, launch: &Launch<'_>, positions: Slot, to: &Output) -> Result<Generated> {
        let mut source = launch.source();
        source.input("x", Slot::Plan(self.x.buffer), self.x.dtype, false);
        source.places("x", &[("x", &self.x.layout)]);
        source.input("positions", positions, DType::U32, false);
        source.u32("row", self.n);
        source.u32("first", self.op.first);
        let count = self.rows * self.op.first;
        let variables = context! { stage => "values" };
        let files = ("sort_values", TEMPLATE);
        elements_to(source, files, variables, place_of(to), count)
    }
}
