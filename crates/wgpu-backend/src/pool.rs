//! Device memory: a pool of buffers by size class, last in, first out.

use std::collections::BTreeMap;
use std::sync::Arc;

use wgrad_core::{Buffer, Error, RawBuffer, Result};

use crate::counters::Counters;
use crate::device::{Gpu, lock};

/// Bytes of unused buffers that are kept at most.
const KEEP: usize = 2 << 30;
/// Bytes written at once when a buffer is poisoned.
const POISON_CHUNK: usize = 1 << 20;

/// What a buffer is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Purpose {
    /// Kernels and copies.
    Storage,
    /// Reads by the host.
    Staging,
}

/// A buffer of the driver.
#[derive(Clone)]
pub(crate) struct Block {
    pub buffer: wgpu::Buffer,
    pub id: u64,
    pub size: usize,
}

/// What is unused, by purpose and size: the last one in is the first one out, unless it takes too
/// much room, when those that lie there for longest go.
struct Shelf<T> {
    /// With the time when each was given back.
    free: BTreeMap<(Purpose, usize), Vec<(u64, T)>>,
    bytes: usize,
    most: usize,
    clock: u64,
}

/// The unused buffers.
pub(crate) struct Pool {
    shelf: Shelf<Block>,
    next_id: u64,
    limit: Option<usize>,
}

/// Rounds up to the next size class: 16 steps between powers of two, multiples of 256.
pub(crate) fn size_class(bytes: usize) -> usize {
    let bytes = bytes.max(256);
    let power = usize::BITS - 1 - bytes.leading_zeros();
    let step = (1usize << power.saturating_sub(4)).max(256);
    bytes.div_ceil(step).saturating_mul(step)
}

impl<T> Shelf<T> {
    fn new(most: usize) -> Shelf<T> {
        Shelf {
            free: BTreeMap::new(),
            bytes: 0,
            most,
            clock: 0,
        }
    }

    fn take(&mut self, purpose: Purpose, size: usize) -> Option<T> {
        let (_, item) = self.free.get_mut(&(purpose, size))?.pop()?;
        self.bytes -= size;
        Some(item)
    }

    /// Puts one back; returns those that had to make room for it, and itself if it is too large.
    fn give(&mut self, purpose: Purpose, size: usize, item: T) -> Vec<T> {
        if size > self.most {
            return vec![item];
        }
        let mut gone = Vec::new();
        while self.bytes + size > self.most {
            let oldest = self
                .free
                .iter()
                .filter_map(|(class, items)| Some((items.first()?.0, *class)))
                .min();
            let Some((_, class)) = oldest else { break };
            if let Some(items) = self.free.get_mut(&class) {
                gone.push(items.remove(0).1);
                self.bytes -= class.1;
            }
        }
        self.bytes += size;
        self.clock += 1;
        let class = self.free.entry((purpose, size)).or_default();
        class.push((self.clock, item));
        gone
    }

    fn drain(&mut self) -> Vec<T> {
        self.bytes = 0;
        std::mem::take(&mut self.free)
            .into_values()
            .flatten()
            .map(|(_, item)| item)
            .collect()
    }
}

impl Pool {
    /// An empty pool that holds at most `limit` bytes.
    pub fn new(limit: Option<usize>) -> Pool {
        Pool {
            shelf: Shelf::new(KEEP),
            next_id: 1,
            limit,
        }
    }

    /// A number for a buffer.
    pub fn number(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }
}

impl Gpu {
    fn out_of_memory(&self, requested: usize) -> Error {
        Error::OutOfMemory {
            requested,
            live: self.counters.live(),
            limit: lock(&self.pool).limit.unwrap_or(0),
        }
    }

    /// A buffer from the pool or the driver, counted as live.
    pub fn take_block(&self, purpose: Purpose, bytes: usize) -> Result<Block> {
        self.check()?;
        let mut size = size_class(bytes);
        if size > self.limits.max_buffer {
            size = bytes.div_ceil(256).saturating_mul(256);
        }
        if size > self.limits.max_buffer {
            return Err(self.out_of_memory(bytes));
        }
        let pooled = lock(&self.pool).shelf.take(purpose, size);
        let block = match pooled {
            Some(block) => block,
            None => self.create_block(purpose, size)?,
        };
        self.counters.live_grew(block.size);
        if self.poison && purpose == Purpose::Storage {
            let ones = vec![0xFF; block.size.min(POISON_CHUNK)];
            for start in (0..block.size).step_by(POISON_CHUNK) {
                let end = (start + POISON_CHUNK).min(block.size);
                self.queue
                    .write_buffer(&block.buffer, start as u64, &ones[..end - start]);
            }
        }
        Ok(block)
    }

    fn create_block(&self, purpose: Purpose, size: usize) -> Result<Block> {
        let limit = lock(&self.pool).limit.unwrap_or(usize::MAX);
        if self.counters.held().saturating_add(size) > limit {
            self.trim_pool();
            if self.counters.held().saturating_add(size) > limit {
                return Err(self.out_of_memory(size));
            }
        }
        let usage = match purpose {
            Purpose::Storage => {
                wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::COPY_SRC
                    | wgpu::BufferUsages::COPY_DST
            }
            Purpose::Staging => wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        };
        let create = || {
            self.scoped(wgpu::ErrorFilter::OutOfMemory, || {
                self.device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: size as u64,
                    usage,
                    mapped_at_creation: false,
                })
            })
        };
        let buffer = create()
            .or_else(|_| {
                self.trim_pool();
                create()
            })
            .map_err(|_| self.out_of_memory(size))?;
        self.check()?;
        Counters::add(&self.counters.allocations, 1);
        self.counters.held_grew(size);
        let id = lock(&self.pool).number();
        Ok(Block { buffer, id, size })
    }

    /// Gives a live buffer back to the pool. Work that still uses it is ahead of whatever its
    /// next owner asks for.
    pub fn give_block(&self, purpose: Purpose, block: Block) {
        self.counters.live_shrank(block.size);
        let gone = match self.failure.lost() {
            Some(_) => vec![block],
            None => lock(&self.pool).shelf.give(purpose, block.size, block),
        };
        if !gone.is_empty() {
            self.destroy(&gone);
        }
    }

    /// Returns all unused buffers to the driver.
    pub fn trim_pool(&self) {
        let blocks = lock(&self.pool).shelf.drain();
        self.destroy(&blocks);
    }

    /// Destroyed buffers free their memory even while a cached bind group names them.
    fn destroy(&self, blocks: &[Block]) {
        for block in blocks {
            self.counters.held_shrank(block.size);
            block.buffer.destroy();
        }
        lock(&self.bind_groups).forget_buffers(|id| blocks.iter().any(|b| b.id == id));
    }
}

/// A live buffer; dropping it gives it back to the pool.
pub(crate) struct GpuBuffer {
    block: Block,
    gpu: Arc<Gpu>,
}

impl GpuBuffer {
    /// Takes a buffer of at least `bytes`.
    pub fn allocate(gpu: &Arc<Gpu>, bytes: usize) -> Result<Buffer> {
        let block = gpu.take_block(Purpose::Storage, bytes)?;
        Ok(Buffer::new(GpuBuffer {
            block,
            gpu: gpu.clone(),
        }))
    }

    /// The driver's buffer.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Ours, if it belongs to `gpu` and holds `offset..offset + bytes`.
    pub fn of<'a>(
        gpu: &Arc<Gpu>,
        buffer: &'a Buffer,
        offset: usize,
        bytes: usize,
    ) -> Result<&'a GpuBuffer> {
        let own = buffer
            .downcast::<GpuBuffer>()
            .filter(|b| Arc::ptr_eq(&b.gpu, gpu))
            .ok_or_else(|| Error::Device("a buffer of another device".into()))?;
        match offset.checked_add(bytes) {
            Some(end) if end <= own.block.size => Ok(own),
            _ => Err(Error::Device(format!(
                "{bytes} bytes at {offset} lie outside a buffer of {}",
                own.block.size
            ))),
        }
    }
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        self.gpu.give_block(Purpose::Storage, self.block.clone());
    }
}

impl RawBuffer for GpuBuffer {
    fn bytes(&self) -> usize {
        self.block.size
    }

    fn id(&self) -> u64 {
        self.block.id
    }
}

#[cfg(test)]
mod tests {
    use super::{Purpose, Shelf, size_class};

    #[test]
    fn what_lies_there_for_longest_makes_room() {
        let mut shelf = Shelf::new(1000);
        let class = Purpose::Storage;
        for (size, item) in [(400, 'a'), (300, 'b'), (300, 'c')] {
            assert_eq!(shelf.give(class, size, item), []);
        }
        // The last one in is the first one out.
        assert_eq!(shelf.take(class, 300), Some('c'));
        assert_eq!(shelf.give(class, 300, 'c'), []);
        assert_eq!(shelf.give(class, 500, 'd'), ['a', 'b']);
        assert_eq!(shelf.give(class, 2000, 'e'), ['e']);
        assert_eq!(shelf.take(class, 400), None);
        assert_eq!(shelf.take(Purpose::Staging, 300), None);
        assert_eq!(shelf.give(class, 900, 'f'), ['c', 'd']);
        assert_eq!(shelf.drain(), ['f']);
        assert_eq!(shelf.give(class, 1000, 'g'), []);
    }

    #[test]
    fn classes_are_multiples_of_256_and_waste_at_most_a_sixteenth() {
        for bytes in (1..100_000).chain([1 << 20, (1 << 20) + 1, 3 << 30]) {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(256));
            assert!(
                class <= (bytes + bytes / 16).max(bytes + 256),
                "{bytes}: {class}"
            );
            assert_eq!(size_class(class), class);
        }
    }
}
