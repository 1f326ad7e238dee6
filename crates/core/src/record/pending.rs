//! What each thread has recorded and not run yet.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use crate::kernel::backend::Limits;
use crate::record::node::{Node, State};
use crate::run;
use crate::tensor::device::{Device, lock};
use crate::types::error::Result;

/// A run happens by itself at so many pending nodes ...
const MAX_PENDING: usize = 4096;
/// ... or so many bytes of pending results.
const MAX_PENDING_BYTES: usize = 256 << 20;
/// What one thread has recorded on one device and not run, in order. Nodes that nobody holds any
/// more are dead, and simply no longer there.
struct Pending {
    device: u64,
    nodes: Vec<Weak<Node>>,
    bytes: usize,
}

thread_local! {
    static PENDING: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
}

/// What a pending node will take. A result that is larger than the device takes is never stored.
fn stored_bytes(node: &Node) -> usize {
    let bytes = node.bytes();
    let stored = |limits: &Limits| limits.exceeded_by(bytes).is_none();
    match node.device.open() {
        Ok(open) if bytes > MAX_PENDING_BYTES / 8 && !stored(open.backend.limits()) => 0,
        _ => bytes,
    }
}

/// Notes a node for this thread's next run; runs if much is pending.
pub(crate) fn note(node: &Arc<Node>) {
    let device = node.device.id();
    // While a thread ends there is nobody left to run for.
    let full = PENDING.try_with(|pending| {
        let mut pending = pending.borrow_mut();
        let at = match pending.iter().position(|p| p.device == device) {
            Some(at) => at,
            None => {
                pending.push(Pending {
                    device,
                    nodes: Vec::new(),
                    bytes: 0,
                });
                pending.len() - 1
            }
        };
        let list = &mut pending[at];
        list.nodes.push(Arc::downgrade(node));
        list.bytes = list.bytes.saturating_add(stored_bytes(node));
        list.nodes.len() >= MAX_PENDING || list.bytes > MAX_PENDING_BYTES
    });
    if full == Ok(true) {
        // A failure is kept by the nodes it concerns.
        let _ = flush_if_full(&node.device);
    }
}

/// Forgets dead nodes, and runs if the living are still too many.
fn flush_if_full(device: &Device) -> Result<()> {
    let full = {
        let open = device.open()?;
        // The run lock keeps other threads from mistaking the upgraded handles for users.
        let _runner = lock(&open.runner);
        PENDING.with(|pending| {
            let mut pending = pending.borrow_mut();
            let Some(list) = pending.iter_mut().find(|p| p.device == device.id()) else {
                return false;
            };
            let living = |w: &Weak<Node>| {
                w.upgrade()
                    .filter(|n| matches!(&*n.state(), State::Pending(_)))
                    .map(|n| stored_bytes(&n))
            };
            let mut bytes = 0usize;
            list.nodes.retain(|w| match living(w) {
                Some(more) => {
                    bytes = bytes.saturating_add(more);
                    true
                }
                None => false,
            });
            list.bytes = bytes;
            // Half full already counts: the next look must not come too soon.
            list.nodes.len() >= MAX_PENDING / 2 || bytes > MAX_PENDING_BYTES
        })
    };
    if full {
        run::run(device, &[], None)
    } else {
        Ok(())
    }
}

/// Takes this thread's list.
pub(crate) fn take(device: &Device) -> Vec<Weak<Node>> {
    PENDING
        .try_with(|pending| {
            let mut pending = pending.borrow_mut();
            match pending.iter_mut().find(|p| p.device == device.id()) {
                Some(list) => {
                    list.bytes = 0;
                    std::mem::take(&mut list.nodes)
                }
                None => Vec::new(),
            }
        })
        .unwrap_or_default()
}

/// Gives the list of what has run back, so that its memory is reused.
pub(crate) fn give_back(device: &Device, mut nodes: Vec<Weak<Node>>) {
    nodes.clear();
    put_back(device, nodes);
}

/// Gives the list back as it was.
pub(crate) fn put_back(device: &Device, nodes: Vec<Weak<Node>>) {
    let bytes = nodes.iter().filter_map(Weak::upgrade);
    let bytes = bytes.map(|node| stored_bytes(&node));
    let bytes = bytes.fold(0usize, usize::saturating_add);
    let _ = PENDING.try_with(|pending| {
        let mut pending = pending.borrow_mut();
        if let Some(list) = pending.iter_mut().find(|p| p.device == device.id())
            && list.nodes.is_empty()
        {
            (list.nodes, list.bytes) = (nodes, bytes);
        }
    });
}
