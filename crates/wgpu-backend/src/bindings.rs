//! Bind groups, kept by layout and buffers.

use smallvec::SmallVec;

use crate::recent::Recent;

/// A bound part of a buffer: number, offset, size.
pub(crate) type Part = (u64, u64, u64);
/// The number of a layout and the parts bound to it.
pub(crate) type Key = (u64, SmallVec<[Part; 8]>);

pub(crate) type BindGroups = Recent<Key, wgpu::BindGroup>;

impl BindGroups {
    /// Drops groups that name a buffer that is gone.
    pub fn forget_buffers(&mut self, gone: impl Fn(u64) -> bool) {
        self.forget(|key| key.1.iter().any(|part| gone(part.0)));
    }
}
