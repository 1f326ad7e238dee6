//! The gradients: scores are computed again, by blocks of keys and of queries.

use wgrad_core::{DType, Output, ScalarBits};

use super::scores::{Exponentials, Place, Slopes, Times, View};
use super::{KEYS, Launch, Part, Problem, QUERIES, store};
use crate::executor::{Context, Launchable};
use crate::gemm::Real;
use crate::instructions::dispatch;
use crate::interpreter::Bound;
use crate::ops::products::{Factor, Matrix};
use crate::parallel;
use crate::scratch::{self, take};
use std::ops::Range;

pub(super) struct Backward {
    problem: Problem,
    grad: View,
    lse: View,
    delta: View,
    /// Of queries, keys and values.
    results: [Option<Output>; 3],
}

/// What a task computes: queries of some heads that share one of keys, with some keys.
struct Task {
    batch: usize,
    shared: usize,
    heads: Range<usize>,
    queries: Range<usize>,
    keys: Range<usize>,
    /// Of queries, keys and values.
    wanted: [bool; 3],
}

impl Backward {
    pub fn new(problem: Problem, launch: &Launch<'_>) -> Result<Backward, String> {
        let results = [0, 1, 2].map(|part| launch.outputs.get(part).copied().flatten());
        let view = |i: usize| Ok::<_, String>(View::new(launch.input(i)?));
        Ok(Backward {
            grad: view(3)?,
            lse: view(4)?,
            delta: view(5)?,
            results,
            problem,
        })
    }

    /// Adds up the gradients of a task, and stores them.
    ///
    /// # Safety
    /// Operands and results were checked; tasks have results of their own.
    unsafe fn task<E: Real>(&self, buffers: &[Bound], task: &Task) {
        let p = &self.problem;
        let (depth, values) = (p.head, p.value_head);
        let [of_queries, of_keys, of_values] = task.wanted;
        let sum = |wanted: bool, count: usize| if wanted { count } else { 0 };
        let queries = task.heads.len() * task.queries.len();
        let keys = KEYS.min(task.keys.len());
        let sizes = [
            sum(of_queries, queries * depth),
            sum(of_keys, keys * depth),
            sum(of_values, keys * values),
            Part::room(&p.k, KEYS, depth),
            Part::room(&p.v, KEYS, values),
            Factor::<E>::room(depth, KEYS),
            Factor::<E>::room(values, KEYS),
            sum(of_queries, Factor::<E>::room(KEYS, depth)),
        ];
        let of_block = Block::<E>::room(self);
        scratch::with(|scratch| {
            let mut room = scratch.slice::<E>(sizes.iter().sum::<usize>() + of_block);
            let [dq, dk, dv, wide_k, wide_v, keys_t, values_t, keys_of] =
                sizes.map(|size| take(&mut room, size));
            dq.fill(E::from_f64(0.0));
            for first in task.keys.clone().step_by(KEYS) {
                let count = KEYS.min(task.keys.end - first);
                let (batch, head) = (task.batch, task.shared);
                let part = |columns| Part {
                    batch,
                    head,
                    first,
                    count,
                    columns,
                };
                dk.fill(E::from_f64(0.0));
                dv.fill(E::from_f64(0.0));
                // SAFETY: the caller's promise; factors have room of their own.
                unsafe {
                    let k = part(depth).rows(&p.k, buffers, &mut *wide_k);
                    let v = part(values).rows(&p.v, buffers, &mut *wide_v);
                    // So many rows that packing pays.
                    let many = QUERIES;
                    let mut block = Block {
                        of: self,
                        buffers,
                        first,
                        keys: Factor::new(k.transposed(), (depth, count), many, &mut *keys_t),
                        values: Factor::new(v.transposed(), (values, count), many, &mut *values_t),
                        keys_of: of_queries
                            .then(|| Factor::new(k, (count, depth), many, &mut *keys_of)),
                        dk: of_keys.then(|| &mut dk[..count * depth]),
                        dv: of_values.then(|| &mut dv[..count * values]),
                        room: &mut *room,
                    };
                    let (from, to) = p.rules.queries(first, first + count);
                    let (from, to) = (from.max(task.queries.start), to.min(task.queries.end));
                    for (i, head) in task.heads.clone().enumerate() {
                        for query in (from / QUERIES * QUERIES..to).step_by(QUERIES) {
                            let count = QUERIES.min(task.queries.end - query);
                            let at = i * task.queries.len() + query - task.queries.start;
                            let dq = of_queries.then(|| &mut dq[at * depth..][..count * depth]);
                            block.pair(task.batch, head, query, count, dq);
                        }
                    }
                    let row = (task.batch * p.shared + task.shared) * p.keys + first;
                    for (result, columns, sums) in [(1, depth, &*dk), (2, values, &*dv)] {
                        if let (true, Some(output)) = (task.wanted[result], self.results[result]) {
                            store(output, buffers, row * columns, &sums[..count * columns]);
                        }
                    }
                }
            }
            if let (true, Some(output)) = (of_queries, self.results[0]) {
                let size = task.queries.len() * depth;
                for (i, head) in task.heads.clone().enumerate() {
                    let row = (task.batch * p.heads + head) * p.queries + task.queries.start;
                    // SAFETY: the caller's promise.
                    unsafe { store(output, buffers, row * depth, &dq[i * size..][..size]) };
                }
            }
        });
    }
}

/// A block of keys with its gradients so far.
struct Block<'a, E> {
    of: &'a Backward,
    buffers: &'a [Bound],
    /// The first key.
    first: usize,
    /// Transposed.
    keys: Factor<E>,
    /// Transposed.
    values: Factor<E>,
    keys_of: Option<Factor<E>>,
    dk: Option<&'a mut [E]>,
    dv: Option<&'a mut [E]>,
    room: &'a mut [E],
}

impl<E: Real> Block<'_, E> {
    /// Room for [`Block::pair`].
    fn room(of: &Backward) -> usize {
        let p = &of.problem;
        Part::room(&p.q, QUERIES, p.head)
            + Part::room(&of.grad, QUERIES, p.value_head)
            + Factor::<E>::room(QUERIES, p.head)
            + Factor::<E>::room(QUERIES, p.value_head)
            + 2 * QUERIES * KEYS
            + 3 * KEYS
    }

    /// Adds what a block of queries has to do with this block of keys.
    ///
    /// # Safety
    /// As for [`Backward::task`].
    unsafe fn pair(
        &mut self,
        batch: usize,
        head: usize,
        query: usize,
        count: usize,
        dq: Option<&mut [E]>,
    ) {
        let (of, p, buffers) = (self.of, &self.of.problem, self.buffers);
        let (n, many) = (self.keys.n, KEYS);
        let mut room = &mut *self.room;
        let part = |columns| Part {
            batch,
            head,
            first: query,
            count,
            columns,
        };
        let wide_queries = take(&mut room, Part::room(&p.q, QUERIES, p.head));
        let wide_grads = take(&mut room, Part::room(&of.grad, QUERIES, p.value_head));
        let room_q = take(&mut room, Factor::<E>::room(QUERIES, p.head));
        let room_g = take(&mut room, Factor::<E>::room(QUERIES, p.value_head));
        let weights = take(&mut room, QUERIES * KEYS);
        let slopes = take(&mut room, QUERIES * KEYS);
        let (weights, slopes) = (&mut weights[..count * n], &mut slopes[..count * n]);
        let by_row = |values: &[E]| Matrix {
            start: values.as_ptr(),
            strides: (n as isize, 1),
        };
        // SAFETY: the caller's promise.
        unsafe {
            let q = part(p.head).rows(&p.q, buffers, wide_queries);
            let g = part(p.value_head).rows(&of.grad, buffers, wide_grads);
            self.keys.multiply(count, q, weights.as_mut_ptr(), false);
            self.values.multiply(count, g, slopes.as_mut_ptr(), false);
            let rows = weights.chunks_exact_mut(n).zip(slopes.chunks_exact_mut(n));
            for (i, (p, d)) in rows.enumerate() {
                let place = Place {
                    batch,
                    head,
                    query: query + i,
                    first: self.first,
                };
                of.row(buffers, place, p, d, &mut *room);
            }
            if let Some(dv) = &mut self.dv {
                let g = Factor::new(g, (count, p.value_head), many, room_g);
                g.multiply(n, by_row(weights).transposed(), dv.as_mut_ptr(), true);
            }
            if let Some(dk) = &mut self.dk {
                let q = Factor::new(q, (count, p.head), many, room_q);
                q.multiply(n, by_row(slopes).transposed(), dk.as_mut_ptr(), true);
            }
            if let (Some(dq), Some(keys)) = (dq, &self.keys_of) {
                keys.multiply(count, by_row(slopes), dq.as_mut_ptr(), true);
            }
        }
    }
}

impl Backward {
    /// Makes weights of a row of products of queries and keys, and slopes of one of gradients and values.
    ///
    /// # Safety
    /// The operands are readable.
    unsafe fn row<E: Real>(
        &self,
        buffers: &[Bound],
        place: Place,
        p: &mut [E],
        d: &mut [E],
        staged: &mut [E],
    ) {
        let rules = &self.problem.rules;
        let scale = E::from_f64(rules.scores.scale());
        let index = [place.batch, place.head, place.query, 0];
        // SAFETY: the caller's promise.
        unsafe {
            rules.apply(buffers, place, p, staged);
            let of_row = |view: &View| view.at(buffers, index).cast::<E>().read();
            let (shift, delta) = (of_row(&self.lse), of_row(&self.delta));
            dispatch(Exponentials {
                row: &mut *p,
                shift,
            });
            let (kept, _) = staged.split_at_mut(p.len());
            let drops = rules.kept(buffers, place, kept);
            if drops {
                dispatch(Times(&mut *d, kept));
            }
            dispatch(Slopes { p, d, delta, scale });
            if drops {
                dispatch(Times(p, kept));
            }
        }
    }
}

impl Launchable for Backward {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let p = &self.problem;
        let group = p.heads / p.shared;
        let run = |task: &Task| {
            // SAFETY: everything was checked when this was made; tasks have results of their own.
            unsafe {
                match p.dtype {
                    DType::F64 => self.task::<f64>(context.buffers, task),
                    _ => self.task::<f32>(context.buffers, task),
                }
            }
        };
        let [of_queries, of_keys, of_values] = self.results.map(|result| result.is_some());
        let heads = p.batch * p.shared;
        // The sums are the same in either way: blocks come in the same order.
        if heads >= parallel::threads() || !p.is_large() {
            parallel::for_each(p.is_large(), heads, |i| {
                let shared = i % p.shared;
                run(&Task {
                    batch: i / p.shared,
                    shared,
                    heads: shared * group..(shared + 1) * group,
                    queries: 0..p.queries,
                    keys: 0..p.keys,
                    wanted: [of_queries, of_keys, of_values],
                });
            });
            return None;
        }
        if of_queries {
            let piece = p.task_queries();
            let pieces = p.queries.div_ceil(piece);
            parallel::for_each(true, p.batch * p.heads * pieces, |i| {
                let (of_heads, first) = (i / pieces, i % pieces * piece);
                let (batch, head) = (of_heads / p.heads, of_heads % p.heads);
                run(&Task {
                    batch,
                    shared: p.shared_of(head),
                    heads: head..head + 1,
                    queries: first..p.queries.min(first + piece),
                    keys: 0..p.keys,
                    wanted: [true, false, false],
                });
            });
        }
        if of_keys || of_values {
            let blocks = p.keys.div_ceil(KEYS);
            parallel::for_each(true, heads * blocks, |i| {
                let (of_heads, first) = (i / blocks, i % blocks * KEYS);
                let (batch, shared) = (of_heads / p.shared, of_heads % p.shared);
                run(&Task {
                    batch,
                    shared,
                    heads: shared * group..(shared + 1) * group,
                    queries: 0..p.queries,
                    keys: first..p.keys.min(first + KEYS),
                    wanted: [false, of_keys, of_values],
                });
            });
        }
        None
    }
}
