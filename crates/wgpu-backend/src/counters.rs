//! Exact counters of what was done.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wgrad_core::Stats;

/// The counters behind [`Stats`].
#[derive(Default)]
pub(crate) struct Counters {
    pub launches: AtomicU64,
    pub copies: AtomicU64,
    pub clears: AtomicU64,
    pub submits: AtomicU64,
    pub uploads: AtomicU64,
    pub reads: AtomicU64,
    pub pipelines: AtomicU64,
    pub pipelines_held: AtomicU64,
    pub bind_groups: AtomicU64,
    pub allocations: AtomicU64,
    live: AtomicU64,
    held: AtomicU64,
    peak: AtomicU64,
}

impl Counters {
    /// Adds `n` to a counter.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }

    /// Bytes handed out.
    pub fn live_grew(&self, bytes: usize) {
        let now = self.live.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        self.peak.fetch_max(now, Relaxed);
    }

    /// Bytes given back.
    pub fn live_shrank(&self, bytes: usize) {
        self.live.fetch_sub(bytes as u64, Relaxed);
    }

    /// Bytes taken from the driver.
    pub fn held_grew(&self, bytes: usize) {
        self.held.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes returned to the driver.
    pub fn held_shrank(&self, bytes: usize) {
        self.held.fetch_sub(bytes as u64, Relaxed);
    }

    pub fn live(&self) -> usize {
        self.live.load(Relaxed) as usize
    }

    pub fn held(&self) -> usize {
        self.held.load(Relaxed) as usize
    }

    /// A snapshot.
    pub fn stats(&self) -> Stats {
        Stats {
            launches: self.launches.load(Relaxed),
            copies: self.copies.load(Relaxed),
            clears: self.clears.load(Relaxed),
            submits: self.submits.load(Relaxed),
            uploads: self.uploads.load(Relaxed),
            reads: self.reads.load(Relaxed),
            pipelines: self.pipelines.load(Relaxed),
            pipelines_held: self.pipelines_held.load(Relaxed),
            bind_groups: self.bind_groups.load(Relaxed),
            allocations: self.allocations.load(Relaxed),
            live_bytes: self.live.load(Relaxed),
            held_bytes: self.held.load(Relaxed),
            peak_bytes: self.peak.load(Relaxed),
            plan_hits: 0,
            plan_misses: 0,
        }
    }
}
