//! The GPU's own clock around every kernel, while a profile is taken.

use std::sync::Arc;
use std::time::Duration;

use wgrad_core::{Error, Result, Span};

use crate::device::{Gpu, lock};

/// Queries of one set: WebGPU's limit, a beginning and an end for each kernel.
const SET: usize = wgpu::QUERY_SET_MAX_QUERIES as usize;

/// Kernels of one run, and where their times arrive.
pub(crate) struct Timed {
    names: Vec<Arc<str>>,
    ticks: wgpu::Buffer,
}

/// The queries of a run that is being encoded.
pub(crate) struct Timer {
    sets: Vec<wgpu::QuerySet>,
    names: Vec<Arc<str>>,
}

impl Timer {
    /// Where the pass of the next kernel writes its times.
    pub fn next(&mut self, name: &Arc<str>) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let at = 2 * self.names.len();
        self.names.push(name.clone());
        let query = (at % SET) as u32;
        Some(wgpu::ComputePassTimestampWrites {
            query_set: self.sets.get(at / SET)?,
            beginning_of_pass_write_index: Some(query),
            end_of_pass_write_index: Some(query + 1),
        })
    }
}

fn failed(problem: impl ToString) -> Error {
    Error::Device(format!("profile: {}", problem.to_string()))
}

impl Gpu {
    /// A timer for a run of so many kernels, if a profile is being taken.
    pub fn timer(&self, kernels: usize) -> Option<Timer> {
        lock(&self.profile).as_ref()?;
        let queries = 2 * kernels;
        let set = |first: usize| {
            self.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("profile"),
                ty: wgpu::QueryType::Timestamp,
                count: SET.min(queries - first) as u32,
            })
        };
        Some(Timer {
            sets: (0..queries).step_by(SET).map(set).collect(),
            names: Vec::with_capacity(kernels),
        })
    }

    /// Has the times fetched at the end of a run.
    pub fn stop(&self, timer: Timer, encoder: &mut wgpu::CommandEncoder) {
        let queries = 2 * timer.names.len();
        if queries == 0 {
            return;
        }
        let bytes = (queries * 8) as u64;
        let buffer = |usage| {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("profile"),
                size: bytes,
                usage,
                mapped_at_creation: false,
            })
        };
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = buffer(usage);
        let ticks = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        for (set, first) in timer.sets.iter().zip((0..queries).step_by(SET)) {
            let count = SET.min(queries - first) as u32;
            encoder.resolve_query_set(set, 0..count, &resolved, (first * 8) as u64);
        }
        encoder.copy_buffer_to_buffer(&resolved, 0, &ticks, 0, bytes);
        if let Some(profile) = lock(&self.profile).as_mut() {
            let names = timer.names;
            profile.push(Timed { names, ticks });
        }
    }

    /// Starts a profile.
    pub fn begin_profile(&self) -> Result<()> {
        if !self
            .device
            .features()
            .contains(wgpu::Features::TIMESTAMP_QUERY)
        {
            return Err(failed(format!("{} has no timestamp queries", self.name)));
        }
        *lock(&self.profile) = Some(Vec::new());
        Ok(())
    }

    /// Ends a profile and waits for its times.
    pub fn end_profile(&self) -> Result<Vec<Span>> {
        let runs = lock(&self.profile).take().unwrap_or_default();
        for run in &runs {
            // What went wrong shows when the range is asked for.
            run.ticks.map_async(wgpu::MapMode::Read, .., |_| {});
        }
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(failed)?;
        self.check()?;
        let mut spans = Vec::new();
        let mut origin = None;
        let period = f64::from(self.queue.get_timestamp_period());
        for run in &runs {
            let view = run.ticks.get_mapped_range(..).map_err(failed)?;
            let tick = |i: usize| {
                let word = view.get(8 * i..8 * i + 8).and_then(|b| b.try_into().ok());
                word.map_or(0, u64::from_le_bytes)
            };
            for (i, name) in run.names.iter().enumerate() {
                let (begin, end) = (tick(2 * i), tick(2 * i + 1));
                let origin = *origin.get_or_insert(begin);
                // Clocks of some GPUs jump back now and then.
                let time = |ticks: u64| Duration::from_nanos((ticks as f64 * period) as u64);
                spans.push(Span {
                    name: name.to_string(),
                    start: time(begin.saturating_sub(origin)),
                    time: time(end.saturating_sub(begin)),
                });
            }
        }
        Ok(spans)
    }
}
