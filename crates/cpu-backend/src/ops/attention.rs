//! Attention by blocks of queries and keys whose scores stay in the caches.

mod backward;
mod forward;
mod scores;

use wgrad_core::ops::{Attention, AttentionGrad, Scores};
use wgrad_core::{DType, Operation, Output, Spec};

use self::scores::{Rules, View};
use super::products::Matrix;
use super::{CpuOperation, Launch};
use crate::executor::Launchable;
use crate::gemm::Real;
use crate::interpreter::Bound;
use crate::parallel;
use crate::storage;

/// Queries of a block.
const QUERIES: usize = 64;
/// Keys of a block.
const KEYS: usize = 128;
/// Queries of a task, for which keys and values are packed, where tasks are scarce.
const LEAST_QUERIES: usize = 256;

/// Sizes, operands and rules of both operations.
struct Problem {
    batch: usize,
    heads: usize,
    shared: usize,
    queries: usize,
    keys: usize,
    head: usize,
    value_head: usize,
    dtype: DType,
    q: View,
    k: View,
    v: View,
    rules: Rules,
}

impl Problem {
    /// `results` checks that operands fit each other; what follows the first ones are those of the scores.
    fn new(
        scores: &Scores,
        launch: &Launch<'_>,
        first: usize,
        results: impl FnOnce(&[Spec]) -> Result<Vec<Spec>, String>,
    ) -> Result<Problem, String> {
        launch.check(results)?;
        let (q, k, v) = (launch.input(0)?, launch.input(1)?, launch.input(2)?);
        let ([batch, heads, queries, head], [_, shared, keys, _], [.., value_head]) = (
            &q.layout.shape[..],
            &k.layout.shape[..],
            &v.layout.shape[..],
        ) else {
            return Err("operands without four dimensions".to_string());
        };
        let extras = scores.split(launch.inputs.get(first..).unwrap_or_default());
        Ok(Problem {
            batch: *batch,
            heads: *heads,
            shared: *shared,
            queries: *queries,
            keys: *keys,
            head: *head,
            value_head: *value_head,
            dtype: q.dtype,
            q: View::new(q),
            k: View::new(k),
            v: View::new(v),
            rules: Rules {
                mask: extras.mask.map(View::new),
                alibi: extras.alibi.map(View::new),
                seed: extras.seed.map(View::new),
                scores: scores.clone(),
                heads: *heads,
                queries: *queries,
            },
        })
    }

    /// The head of keys of a head.
    fn shared_of(&self, head: usize) -> usize {
        head / (self.heads / self.shared)
    }

    /// How many queries a task takes: all, where there are heads enough for all threads.
    fn task_queries(&self) -> usize {
        let wanted = parallel::threads() * 4;
        let pieces = wanted.div_ceil((self.batch * self.heads).max(1));
        let piece = self.queries.div_ceil(pieces).max(LEAST_QUERIES);
        piece.min(self.queries).next_multiple_of(QUERIES)
    }

    /// Whether there is work for several threads.
    fn is_large(&self) -> bool {
        let products = self.batch * self.heads * self.queries * self.keys;
        products * (self.head + self.value_head) >= 1 << 18
    }
}

/// A block of a matrix: rows `first..first + count` of a head, of `columns`.
#[derive(Clone, Copy)]
struct Part {
    batch: usize,
    head: usize,
    first: usize,
    count: usize,
    columns: usize,
}

impl Part {
    /// The rows where they lie, or widened into `room`, which has space for them and a row more.
    ///
    /// # Safety
    /// They are readable; `room` is not used for anything else as long as they are used.
    unsafe fn rows<E: Real>(self, view: &View, buffers: &[Bound], room: &mut [E]) -> Matrix<E> {
        let Part {
            batch,
            head,
            first,
            count,
            columns,
        } = self;
        if view.dtype == view.dtype.compute() {
            return Matrix {
                start: view.at(buffers, [batch, head, first, 0]).cast(),
                strides: view.matrix(),
            };
        }
        let (rows, staged) = room.split_at_mut(count * columns);
        for (i, row) in rows.chunks_exact_mut(columns).enumerate() {
            let index = [batch, head, first + i, 0];
            let staged = staged.as_mut_ptr().cast();
            // SAFETY: the caller's promise.
            unsafe { view.load(buffers, index, columns, staged, row.as_mut_ptr().cast()) };
        }
        Matrix {
            start: rows.as_ptr(),
            strides: (columns as isize, 1),
        }
    }

    /// Room for [`Part::rows`].
    fn room(view: &View, count: usize, columns: usize) -> usize {
        match view.dtype == view.dtype.compute() {
            true => 0,
            false => (count + 1) * columns,
        }
    }
}

/// Stores computed elements from element `at` of a result on.
///
/// # Safety
/// They are writable, by this task only.
unsafe fn store<E>(output: Output, buffers: &[Bound], at: usize, values: &[E]) {
    let start = buffers[output.buffer].start;
    // SAFETY: the caller's promise.
    unsafe {
        let target = start.add(at * output.dtype.size());
        storage::store(output.dtype, values.as_ptr().cast(), target, values.len());
    }
}

impl CpuOperation for Attention {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let problem = Problem::new(&self.0, launch, 3, |specs| self.results(specs))?;
        Ok(Box::new(forward::Forward::new(problem, launch)))
    }
}

impl CpuOperation for AttentionGrad {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let first = AttentionGrad::FIRST;
        let problem = Problem::new(&self.0, launch, first, |specs| self.results(specs))?;
        Ok(Box::new(backward::Backward::new(problem, launch)?))
    }
}
