//! Memory: aligned buffers, recycled by size class.

use std::alloc;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wgrad_core::{Error, RawBuffer, Result};

use crate::packed::PackedFactors;

/// Alignment of every buffer: a cache line, and the widest vector.
const ALIGN: usize = 64;

/// What the counters of [`wgrad_core::Stats`] know about memory.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct MemoryStats {
    pub allocations: u64,
    pub live: u64,
    pub held: u64,
    pub peak: u64,
}

/// Memory from the system, aligned to [`ALIGN`] and initialised (its contents are undefined to
/// users, but reading them is not undefined behaviour).
struct Block {
    /// What the system gave.
    raw: NonNull<u8>,
    layout: alloc::Layout,
    /// The aligned start.
    start: NonNull<u8>,
    bytes: usize,
    id: u64,
}

// SAFETY: a block is plain memory that it owns; who may touch it when is the executor's matter
// (see `executor.rs`: every access happens under the device's lock).
unsafe impl Send for Block {}
// SAFETY: as above; a shared reference to a block only gives its address.
unsafe impl Sync for Block {}

impl Block {
    fn new(bytes: usize, id: u64) -> Option<Block> {
        // `alloc_zeroed` of a small alignment lets the system hand out fresh pages without
        // touching them; a large alignment would make it clear them one by one.
        let layout = alloc::Layout::from_size_align(bytes.checked_add(ALIGN)?, 16).ok()?;
        // SAFETY: the layout's size is not 0.
        let raw = NonNull::new(unsafe { alloc::alloc_zeroed(layout) })?;
        let skip = raw.as_ptr().align_offset(ALIGN);
        // SAFETY: `skip < ALIGN`, and the allocation is `ALIGN` bytes longer than `bytes`.
        let start = unsafe { raw.add(skip) };
        Some(Block {
            raw,
            layout,
            start,
            bytes,
            id,
        })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { alloc::dealloc(self.raw.as_ptr(), self.layout) }
    }
}

#[derive(Default)]
struct State {
    /// Free blocks by size, the last one freed on top.
    free: BTreeMap<usize, Vec<Block>>,
    pooled: usize,
    stats: MemoryStats,
    next_id: u64,
}

/// The pool of one device. The same sequence of requests and drops gives the same buffers.
pub(crate) struct Pool {
    state: Mutex<State>,
    /// Most bytes held, in use or pooled.
    limit: usize,
    /// Whether `limit` was asked for (rather than being what the machine has).
    limited: bool,
    /// Most bytes kept for reuse.
    pool_limit: usize,
    poison: bool,
    /// Packed copies of parts of buffers, which end with these.
    pub packed: PackedFactors,
}

/// A buffer; dropping it gives its block back to the pool.
pub(crate) struct CpuBuffer {
    /// `Some` until dropped.
    block: Option<Block>,
    start: NonNull<u8>,
    bytes: usize,
    id: u64,
    pool: Arc<Pool>,
}

// SAFETY: as for `Block`, which this owns.
unsafe impl Send for CpuBuffer {}
// SAFETY: as for `Block`.
unsafe impl Sync for CpuBuffer {}

impl CpuBuffer {
    /// The first byte, aligned to 64. Only to be dereferenced under the device's lock.
    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether the buffer is of this pool.
    pub fn of(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }
}

impl RawBuffer for CpuBuffer {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for CpuBuffer {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            let start = self.start.as_ptr() as usize;
            self.pool.packed.forget(start..start + self.bytes);
            self.pool.give_back(block);
        }
    }
}

/// The size class of a request: a multiple of 64 bytes, with 16 classes per doubling above
/// 1 KiB, so that at most a sixteenth is wasted. `None` where it overflows.
fn size_class(bytes: usize) -> Option<usize> {
    let bytes = bytes.max(1);
    let step = if bytes <= 1024 {
        ALIGN
    } else {
        ((bytes - 1).ilog2() as usize)
            .checked_sub(4)
            .map_or(ALIGN, |log| 1 << log)
            .max(ALIGN)
    };
    bytes.checked_next_multiple_of(step)
}

/// What the machine (or the container) has, `None` where unknown.
fn system_memory() -> Option<usize> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let total = std::fs::read_to_string("/proc/meminfo")
        .ok()?
        .lines()
        .find_map(|line| {
            let kib = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
            kib.trim().parse::<usize>().ok()?.checked_mul(1024)
        })?;
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<usize>().ok());
    Some(group.map_or(total, |g| g.min(total)))
}

impl Pool {
    pub fn new(memory_limit: Option<usize>, pool_limit: Option<usize>, poison: bool) -> Arc<Pool> {
        let system = system_memory().unwrap_or(isize::MAX as usize / 2);
        let limit = memory_limit.unwrap_or(system).min(isize::MAX as usize / 2);
        Arc::new(Pool {
            state: Mutex::default(),
            limit,
            limited: memory_limit.is_some(),
            pool_limit: pool_limit.unwrap_or(limit / 4),
            poison,
            packed: PackedFactors::default(),
        })
    }

    /// The largest buffer that can be asked for.
    pub fn limit(&self) -> usize {
        self.limit
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent at every point that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stats(&self) -> MemoryStats {
        self.state().stats
    }

    pub fn trim(&self) {
        self.packed.clear();
        let free = {
            let mut state = self.state();
            state.stats.held -= state.pooled as u64;
            state.pooled = 0;
            std::mem::take(&mut state.free)
        };
        drop(free);
    }

    /// A buffer of at least so many bytes. Packed factors give way to it.
    pub fn allocate(self: &Arc<Pool>, wanted: usize) -> Result<CpuBuffer> {
        match self.try_allocate(wanted) {
            Err(Error::OutOfMemory { .. }) if self.packed.clear() => self.try_allocate(wanted),
            result => result,
        }
    }

    /// The same, but nothing gives way.
    pub fn try_allocate(self: &Arc<Pool>, wanted: usize) -> Result<CpuBuffer> {
        let mut state = self.state();
        let out_of_memory = |state: &State| Error::OutOfMemory {
            requested: wanted,
            live: state.stats.live as usize,
            limit: if self.limited { self.limit } else { 0 },
        };
        let Some(bytes) = size_class(wanted) else {
            return Err(out_of_memory(&state));
        };
        let recycled = state.free.get_mut(&bytes).and_then(Vec::pop);
        let block = match recycled {
            Some(block) => {
                state.pooled -= bytes;
                block
            }
            None => {
                let live = state.stats.live as usize;
                if live.checked_add(bytes).is_none_or(|sum| sum > self.limit) {
                    return Err(out_of_memory(&state));
                }
                if state.stats.held as usize + bytes > self.limit {
                    // Pooled blocks of other sizes stand in the way.
                    state.stats.held -= state.pooled as u64;
                    state.pooled = 0;
                    state.free.clear();
                }
                let id = state.next_id;
                let Some(block) = Block::new(bytes, id) else {
                    return Err(out_of_memory(&state));
                };
                state.next_id += 1;
                state.stats.allocations += 1;
                state.stats.held += bytes as u64;
                block
            }
        };
        state.stats.live += bytes as u64;
        state.stats.peak = state.stats.peak.max(state.stats.live);
        drop(state);
        if self.poison {
            // SAFETY: the block has `bytes` bytes, and nobody else knows it.
            unsafe { block.start.as_ptr().write_bytes(0xFF, bytes) };
        }
        Ok(CpuBuffer {
            start: block.start,
            bytes,
            id: block.id,
            block: Some(block),
            pool: self.clone(),
        })
    }

    fn give_back(&self, block: Block) {
        let mut state = self.state();
        state.stats.live -= block.bytes as u64;
        if state.pooled + block.bytes <= self.pool_limit {
            state.pooled += block.bytes;
            state.free.entry(block.bytes).or_default().push(block);
        } else {
            state.stats.held -= block.bytes as u64;
            drop(state);
            drop(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_at_most_a_sixteenth() {
        for bytes in (1..5000).chain([1 << 20, (1 << 20) + 1, 123_456_789]) {
            let class = size_class(bytes).unwrap();
            assert!(class >= bytes && class.is_multiple_of(ALIGN));
            assert!(class - bytes <= (bytes / 16).max(ALIGN), "{bytes}: {class}");
        }
        assert_eq!(size_class(usize::MAX), None);
    }

    #[test]
    fn recycles_last_in_first_out() {
        let pool = Pool::new(None, None, false);
        let a = pool.allocate(1000).unwrap();
        let b = pool.allocate(1000).unwrap();
        let (ia, ib) = (a.id(), b.id());
        drop(a);
        drop(b);
        assert_eq!(pool.allocate(1000).unwrap().id(), ib);
        let c = pool.allocate(970).unwrap();
        let d = pool.allocate(1000).unwrap();
        assert_eq!((c.id(), d.id()), (ib, ia));
        assert_eq!(pool.stats().allocations, 2);
        assert_eq!(d.start() as usize % ALIGN, 0);
        drop((c, d));
        assert_eq!(pool.stats().live, 0);
        assert_eq!(pool.stats().held, 2048);
        pool.trim();
        assert_eq!(pool.stats().held, 0);
        assert_eq!(pool.stats().peak, 2048);
    }

    #[test]
    fn limits_and_absurd_sizes_are_errors() {
        let pool = Pool::new(Some(4096), None, true);
        let a = pool.allocate(2048).unwrap();
        // SAFETY: the test owns the buffer.
        assert_eq!(unsafe { *a.start() }, 0xFF);
        let error = pool.allocate(4096).err().unwrap();
        assert!(matches!(
            error,
            Error::OutOfMemory {
                requested: 4096,
                live: 2048,
                limit: 4096
            }
        ));
        drop(a);
        // The pooled block gives way.
        assert!(pool.allocate(4096).is_ok());
        for bytes in [usize::MAX, usize::MAX / 2, isize::MAX as usize, 1 << 55] {
            assert!(Pool::new(None, None, false).allocate(bytes).is_err());
        }
    }
}
