//! How the matrices of a product are found.

use smallvec::SmallVec;
use wgrad_core::{DType, Layout, Operand, Shape};

use crate::cursor::{Cursor, Walk};
use crate::interpreter::{BLOCK, Bound};
use crate::parallel::{self, PARALLEL_ELEMENTS, Shared};
use crate::scratch;
use crate::storage;

/// A factor: its matrices as the products see them.
pub(super) struct Factor {
    pub buffer: usize,
    pub dtype: DType,
    /// How the matrices' first elements are found, in elements.
    pub batch: Walk,
    pub rows: isize,
    pub columns: isize,
    /// The whole operand in row-major order, where it must be widened first.
    pub widen: Option<Walk>,
    pub numel: usize,
}

impl Factor {
    pub fn new(operand: &Operand, batch: &Shape, shape: &Shape) -> Factor {
        let wide = operand.dtype == operand.dtype.compute();
        let layout = if wide {
            operand.layout.clone()
        } else {
            Layout::contiguous(shape.clone())
        };
        let rank = batch.rank();
        Factor {
            buffer: operand.buffer,
            dtype: operand.dtype,
            batch: Walk::new(&Layout {
                shape: batch.clone(),
                strides: SmallVec::from_slice(&layout.strides[..rank]),
                offset: layout.offset,
            }),
            rows: layout.strides[rank],
            columns: layout.strides[rank + 1],
            widen: (!wide).then(|| Walk::new(&operand.layout)),
            numel: shape.numel(),
        }
    }

    /// The first element of matrix `item`.
    pub fn first(&self, item: usize) -> isize {
        if item == 0 {
            return self.batch.first();
        }
        let mut cursor = Cursor::new(&self.batch);
        cursor.seek(item);
        cursor.next_run(1).0
    }

    /// The elements that the walk's offsets count from, widened into `scratch` where needed.
    ///
    /// # Safety
    /// The operand was checked.
    pub unsafe fn elements(&self, buffers: &[Bound], scratch: &mut scratch::Scratch) -> *const u8 {
        let start = buffers[self.buffer].start;
        let Some(walk) = &self.widen else {
            return start.cast_const();
        };
        let target = Shared(scratch.reserve(self.numel * 4));
        let parallel = self.numel >= PARALLEL_ELEMENTS;
        let source = Shared(start);
        parallel::for_ranges(parallel, self.numel, BLOCK, |from, to| {
            let mut cursor = Cursor::new(walk);
            let mut narrow = [0u16; BLOCK];
            for position in (from..to).step_by(BLOCK) {
                let n = BLOCK.min(to - position);
                let staged = narrow.as_mut_ptr().cast::<u8>();
                // SAFETY: the operand was checked, the scratch has room for all of it, and tasks
                // have disjoint ranges.
                unsafe {
                    cursor.gather(source.get(), 2, position, staged, n);
                    storage::load(self.dtype, staged, target.get().add(position * 4), n);
                }
            }
        });
        target.get().cast_const()
    }
}
