//! The kernel that only copies bytes.

use wgrad_core::ScalarBits;

use crate::executor::{Checker, Context, Launchable};

/// A prepared Copy: buffer and byte offset from and to.
pub(crate) struct CopyBytes {
    source: (usize, usize),
    target: (usize, usize),
    bytes: usize,
}

impl CopyBytes {
    pub fn new(
        checker: &Checker<'_>,
        source: (usize, usize),
        target: (usize, usize),
        bytes: usize,
    ) -> Result<CopyBytes, String> {
        for (buffer, offset) in [source, target] {
            let end = offset.checked_add(bytes).ok_or("too many bytes")?;
            checker.elements(buffer, wgrad_core::DType::U8, end)?;
        }
        Ok(CopyBytes {
            source,
            target,
            bytes,
        })
    }
}

impl Launchable for CopyBytes {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let source = context.buffers[self.source.0].start;
        let target = context.buffers[self.target.0].start;
        // SAFETY: both ranges were checked; `copy` allows overlap.
        unsafe {
            std::ptr::copy(
                source.add(self.source.1),
                target.add(self.target.1),
                self.bytes,
            );
        }
        None
    }
}
