//! Bind groups, kept by layout and buffers.

use std::collections::HashMap;

use smallvec::SmallVec;

/// Bind groups kept at most.
const CAPACITY: usize = 4096;

/// A bound part of a buffer: number, offset, size.
pub(crate) type Part = (u64, u64, u64);
/// The number of a layout and the parts bound to it.
pub(crate) type Key = (u64, SmallVec<[Part; 8]>);

/// The least recently used bind groups are dropped when there are too many.
#[derive(Default)]
pub(crate) struct BindGroups {
    groups: HashMap<Key, (wgpu::BindGroup, u64)>,
    clock: u64,
}

impl BindGroups {
    /// The group for a key, if there is one.
    pub fn get(&mut self, key: &Key) -> Option<wgpu::BindGroup> {
        self.clock += 1;
        let (group, used) = self.groups.get_mut(key)?;
        *used = self.clock;
        Some(group.clone())
    }

    /// Keeps a group.
    pub fn insert(&mut self, key: Key, group: wgpu::BindGroup) {
        if self.groups.len() >= CAPACITY {
            let mut times: Vec<u64> = self.groups.values().map(|g| g.1).collect();
            let (_, median, _) = times.select_nth_unstable(CAPACITY / 2);
            let bound = *median;
            self.groups.retain(|_, g| g.1 > bound);
        }
        self.clock += 1;
        self.groups.insert(key, (group, self.clock));
    }

    /// Drops groups that name a buffer that is gone.
    pub fn forget(&mut self, gone: impl Fn(u64) -> bool) {
        self.groups
            .retain(|key, _| !key.1.iter().any(|part| gone(part.0)));
    }
}
