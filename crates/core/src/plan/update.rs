//! The tail of a run: an optimizer's step.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Place, Planner};
use crate::kernel::{Kernel, Launch};
use crate::record::node::Node;
use crate::update::{Role, Update};

impl Planner<'_> {
    /// The optimizer's launches: gradients that lie elsewhere are copied into their place first.
    pub(super) fn update(&mut self, update: &Update, index: impl Fn(&Arc<Node>) -> Option<u32>) {
        // Items by their number in the run; rewriting keeps the last of a split node under it.
        let mut item_of: HashMap<usize, usize> = HashMap::new();
        for (i, item) in self.graph.items.iter().enumerate() {
            item_of.insert(item.origin, i);
        }
        let mut scalars = self.scalars.len();
        for (a, arena) in update.arenas().iter().enumerate() {
            let mut buffers: HashMap<Role, usize> = HashMap::new();
            for (role, id) in arena.roles() {
                let buffer = self.push_buffer(arena.bytes(), Some(id), Place::Arena(a, role));
                buffers.insert(role, buffer);
            }
            let Some(&target) = buffers.get(&Role::Grad) else {
                continue;
            };
            // What lies in the arena already, in another parameter's place, is moved aside first: a
            // driver refuses copies within one buffer, and two parameters may exchange places.
            let mut aside = Vec::new();
            let mut direct = Vec::new();
            let control = arena.control.as_ref();
            let control = control.and_then(|node| self.held(index(node), &item_of));
            for copy in arena.copies() {
                let Some(mut source) = self.held(index(copy.node), &item_of) else {
                    continue;
                };
                if self.buffers[source].allocation == self.buffers[target].allocation {
                    let scratch = self.push_buffer(copy.bytes, None, Place::Inner);
                    aside.push((source, scratch, 0, copy.bytes));
                    source = scratch;
                }
                direct.push((source, target, copy.offset, copy.bytes));
            }
            for (source, target, target_offset, bytes) in aside.into_iter().chain(direct) {
                let kernel = Kernel::Copy {
                    source,
                    source_offset: 0,
                    target,
                    target_offset,
                    bytes,
                };
                self.launches.push(Launch {
                    kernel,
                    scalars: 0..0,
                    fault: None,
                });
            }
            let count = arena.scalar_count();
            if let Some(kernel) = arena.kernel(&buffers, control) {
                self.launches.push(Launch {
                    kernel,
                    scalars: scalars..scalars + count,
                    fault: None,
                });
            }
            scalars += count;
        }
    }

    /// The buffer of a node by its mark: an operand of the run or a result of it.
    fn held(&mut self, mark: Option<u32>, item_of: &HashMap<usize, usize>) -> Option<usize> {
        match mark? {
            mark if mark & (1 << 31) != 0 => Some(self.leaf((mark & !(1 << 31)) as usize)),
            mark => self.stored[*item_of.get(&(mark as usize))?],
        }
    }
}
