//! Recorded operations: the nodes of the graph, owned by the tensors that use them.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use smallvec::SmallVec;

use crate::autograd::Entry;
use crate::kernel::ReduceOp;
use crate::kernel::backend::Buffer;
use crate::kernel::program::MapOp;
use crate::operation::AnyOperation;
use crate::tensor::Tensor;
use crate::tensor::device::{Device, lock};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Error, Place};
use crate::types::layout::Layout;
use crate::types::shape::Shape;

/// What a node computes. Structure only: sizes are in the shapes, data in scalar operands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Op {
    /// Elementwise; operands broadcast to the node's shape by their layouts.
    Map(MapOp),
    /// Reduces the trailing `reduced` dimensions of the operand's layout, which is the operand's
    /// own order of dimensions rearranged by `perm`.
    Reduce {
        op: ReduceOp,
        reduced: usize,
        perm: SmallVec<[u8; 8]>,
    },
    /// `[batch.., m.., k..] x [batch.., k.., n..]`, batch dimensions already broadcast. The node's shape is
    /// `[batch.., m.., n..]` or merges neighbours of it.
    MatMul(Contraction),
    /// One of the results of a structured operation.
    Operation { op: AnyOperation, part: u8 },
}

// Every recorded node has room for one.
const _: () = assert!(size_of::<Op>() <= 40);

/// How many dimensions of each kind the operands of a product have; the others, behind A's rows and
/// before B's columns, are summed over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Contraction {
    pub batch: u8,
    pub rows: u8,
    pub columns: u8,
}

impl Contraction {
    /// Plain matrices behind `batch` dimensions.
    pub fn matrices(batch: usize) -> Contraction {
        Contraction {
            batch: batch as u8,
            rows: 1,
            columns: 1,
        }
    }

    /// The sizes `[batch, m, n, k]` of operands of these shapes.
    pub fn sizes(self, a: &Shape, b: &Shape) -> [Shape; 4] {
        let (batch, rows) = (self.batch as usize, self.rows as usize);
        [
            Shape::new(&a[..batch]),
            Shape::new(&a[batch..batch + rows]),
            Shape::new(&b[b.rank() - self.columns as usize..]),
            Shape::new(&a[batch + rows..]),
        ]
    }
}

/// Where an operand's elements come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Another node's result, or a view of it.
    Node(Arc<Node>, View),
    /// The same value everywhere, and the compute type in which it is used.
    Scalar(Scalar, DType),
}

/// Which elements of a node's result are meant, in which order: without a layout, all as they lie.
/// Most operands are such, and cost no copy of a layout.
#[derive(Clone, Debug, Default)]
pub(crate) struct View(Option<Arc<Layout>>);

impl View {
    /// The view of `node` through `layout`.
    pub fn new(node: &Node, layout: Layout) -> View {
        if layout == node.layout {
            View(None)
        } else {
            View(Some(Arc::new(layout)))
        }
    }

    /// Its layout on the node that it is a view of.
    pub fn layout<'a>(&'a self, node: &'a Node) -> &'a Layout {
        self.0.as_deref().unwrap_or(&node.layout)
    }

    /// Whether all elements are meant, as they lie.
    pub fn is_whole(&self) -> bool {
        self.0.is_none()
    }
}

/// The one value that all elements of a node have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Constant {
    pub value: Scalar,
    /// Whether it stands for a number operand, which is not rounded to the node's type and does not
    /// promote as a tensor (see `elementwise/number.rs`).
    pub exact: bool,
}

/// How to compute a pending node.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub op: Op,
    pub inputs: SmallVec<[Source; 2]>,
}

/// Where a result lies.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    pub buffer: Buffer,
    /// Byte offset, a multiple of 256.
    pub offset: usize,
    /// Keeps a place of an arena taken (see `arena.rs`).
    pub tenancy: Option<Arc<Tenancy>>,
}

/// A place in an optimizer's arena that a gradient may be computed straight into.
#[derive(Debug)]
pub(crate) struct Home {
    pub buffer: Buffer,
    pub offset: usize,
    pub bytes: usize,
    tenant: Mutex<Weak<Tenancy>>,
}

/// The right to a place: whatever lies there stays as long as this lives.
#[derive(Debug)]
pub(crate) struct Tenancy(pub Arc<Home>);

impl Tenancy {
    /// Buffer and offset.
    pub fn place(&self) -> (u64, usize) {
        (self.0.buffer.id(), self.0.offset)
    }
}

impl Home {
    pub fn new(buffer: Buffer, offset: usize, bytes: usize) -> Arc<Home> {
        Arc::new(Home {
            buffer,
            offset,
            bytes,
            tenant: Mutex::default(),
        })
    }

    /// Who has the place, if anybody has.
    pub fn tenant(&self) -> Option<Arc<Tenancy>> {
        lock(&self.tenant).upgrade()
    }

    /// Takes the place if nobody has it.
    pub fn claim(self: &Arc<Home>) -> Option<Arc<Tenancy>> {
        let mut tenant = lock(&self.tenant);
        if tenant.strong_count() > 0 {
            return None;
        }
        let new = Arc::new(Tenancy(self.clone()));
        *tenant = Arc::downgrade(&new);
        Some(new)
    }
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // most nodes are pending, and a box would cost an allocation each
pub(crate) enum State {
    Pending(Recipe),
    /// Taken out by a run in progress (which holds the device's run lock).
    Running,
    Done(Storage),
    Failed(Error),
}

/// A recorded operation and, once it has run, its result: row-major, of `shape`.
#[derive(Debug)]
pub(crate) struct Node {
    pub device: Device,
    /// Contiguous.
    pub layout: Layout,
    pub dtype: DType,
    pub place: Place,
    /// The value, if all elements are one constant: such a node is a scalar operand wherever it
    /// is used elementwise.
    pub constant: Option<Constant>,
    /// Where the result should go if the place is free.
    pub home: OnceLock<Weak<Home>>,
    /// Position in the run in progress; only meaningful under the device's run lock.
    mark: AtomicU64,
    state: Mutex<State>,
}

impl Node {
    pub fn new(
        device: Device,
        shape: Shape,
        dtype: DType,
        place: Place,
        constant: Option<Constant>,
        state: State,
    ) -> Node {
        Node {
            device,
            layout: Layout::contiguous(shape),
            dtype,
            place,
            constant,
            home: OnceLock::new(),
            mark: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    pub fn shape(&self) -> &Shape {
        &self.layout.shape
    }

    /// Locks the state. A poisoned lock is as good as any: states change in one assignment.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes position `index` in the run numbered `stamp`.
    pub fn set_mark(&self, stamp: u32, index: u32) {
        self.mark
            .store(u64::from(stamp) << 32 | u64::from(index), Ordering::Relaxed);
    }

    /// The position noted in the run numbered `stamp`.
    pub fn mark(&self, stamp: u32) -> Option<u32> {
        let mark = self.mark.load(Ordering::Relaxed);
        (mark >> 32 == u64::from(stamp)).then_some(mark as u32)
    }

    /// The result's place, if it has run.
    pub fn storage(&self) -> Option<Storage> {
        match &*self.state() {
            State::Done(storage) => Some(storage.clone()),
            _ => None,
        }
    }

    /// Bytes of the result as the device stores it.
    pub fn bytes(&self) -> usize {
        self.shape()
            .numel()
            .saturating_mul(self.device.element_size(self.dtype))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let State::Pending(recipe) = state {
            for input in recipe.inputs.drain(..) {
                if let Source::Node(node, _) = input {
                    drop_later(Owned::Node(node));
                }
            }
        }
    }
}

/// Things whose drop may set off the drop of a long chain.
pub(crate) enum Owned {
    #[allow(dead_code)] // held only to be dropped
    Node(Arc<Node>),
    #[allow(dead_code)]
    Entry(Arc<Entry>),
    #[allow(dead_code)]
    Tensor(Tensor),
}

thread_local! {
    /// `Some` while an outer drop on this thread empties the queue.
    static DROPPING: RefCell<Option<Vec<Owned>>> = const { RefCell::new(None) };
}

/// Drops `owned` without recursion: a graph of any depth is freed in a loop, because every `Drop`
/// of a node or tape entry hands what it owns to the outermost one.
pub(crate) fn drop_later(owned: Owned) {
    let mut first = Some(owned);
    let queued = DROPPING.try_with(|queue| {
        let mut queue = queue.borrow_mut();
        match (&mut *queue, first.take()) {
            (Some(queue), Some(owned)) => {
                queue.push(owned);
                true
            }
            (none, owned) => {
                *none = Some(Vec::new());
                first = owned;
                false
            }
        }
    });
    if queued != Ok(false) {
        return; // queued, or the thread is ending: `first` drops here
    }
    let mut next = first;
    while let Some(owned) = next {
        drop(owned);
        next = DROPPING.with(|queue| queue.borrow_mut().as_mut().and_then(Vec::pop));
    }
    DROPPING.with(|queue| *queue.borrow_mut() = None);
}
