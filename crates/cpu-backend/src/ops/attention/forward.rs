//! The weighted sums: a block of queries goes over all keys, and keeps the largest score, the sum of
//! exponentials and the sum of values so far.

use wgrad_core::ops::Attention;
use wgrad_core::{DType, Output, ScalarBits};

use super::scores::{Exponentials, Largest, Place, Scaled, Times};
use super::{KEYS, Launch, Part, Problem, QUERIES, store};
use crate::executor::{Context, Launchable};
use crate::gemm::Real;
use crate::instructions::dispatch;
use crate::interpreter::Bound;
use crate::ops::products::Factor;
use crate::parallel;
use crate::scratch::{self, take};

pub(super) struct Forward {
    problem: Problem,
    lse: Option<Output>,
    output: Option<Output>,
}

impl Forward {
    pub fn new(problem: Problem, launch: &Launch<'_>) -> Forward {
        let result = |part: usize| launch.outputs.get(part).copied().flatten();
        Forward {
            problem,
            lse: result(Attention::LSE),
            output: result(Attention::OUTPUT),
        }
    }

    /// # Safety
    /// Operands and results were checked; tasks have queries of their own.
    unsafe fn task<E: Real>(
        &self,
        buffers: &[Bound],
        (batch, head): (usize, usize),
        (first, end): (usize, usize),
    ) {
        let p = &self.problem;
        let (from, to) = p.rules.keys(first, end, p.keys);
        let blocks = || (from / KEYS * KEYS..to).step_by(KEYS);
        let (depth, values) = (p.head, p.value_head);
        let key_room = Factor::<E>::room(depth, KEYS);
        let value_room = Factor::<E>::room(KEYS, values);
        let wide_keys = Part::room(&p.k, KEYS, depth);
        let wide_values = Part::room(&p.v, KEYS, values);
        let wide_queries = Part::room(&p.q, QUERIES, depth);
        let of_block = key_room + value_room + wide_keys + wide_values;
        let all = blocks().count() * of_block + wide_queries + QUERIES * (KEYS + values) + 3 * KEYS;
        scratch::with(|scratch| {
            let mut room = scratch.slice::<E>(all);
            let mut packed = Vec::with_capacity(blocks().count());
            let shared = p.shared_of(head);
            for key in blocks() {
                let count = KEYS.min(p.keys - key);
                let part = |columns| Part {
                    batch,
                    head: shared,
                    first: key,
                    count,
                    columns,
                };
                // SAFETY: the caller's promise; each block has room of its own.
                unsafe {
                    let keys = part(depth).rows(&p.k, buffers, take(&mut room, wide_keys));
                    let rows = end - first;
                    let size = (depth, count);
                    let room_of_keys = take(&mut room, key_room);
                    let keys = Factor::new(keys.transposed(), size, rows, room_of_keys);
                    let of_values = take(&mut room, wide_values);
                    let of_values = part(values).rows(&p.v, buffers, of_values);
                    let size = (count, values);
                    let room_of_values = take(&mut room, value_room);
                    packed.push((
                        key,
                        keys,
                        Factor::new(of_values, size, rows, room_of_values),
                    ));
                }
            }
            let queries = take(&mut room, wide_queries);
            let scores = take(&mut room, QUERIES * KEYS);
            let sums = take(&mut room, QUERIES * values);
            for query in (first..end).step_by(QUERIES) {
                let count = QUERIES.min(end - query);
                let part = Part {
                    batch,
                    head,
                    first: query,
                    count,
                    columns: depth,
                };
                let (from, to) = p.rules.keys(query, query + count, p.keys);
                let mut state = [(f64::NEG_INFINITY, 0.0); QUERIES];
                let sums = &mut sums[..count * values];
                sums.fill(E::from_f64(0.0));
                // SAFETY: the caller's promise.
                unsafe {
                    let queries = part.rows(&p.q, buffers, &mut *queries);
                    for (key, keys, of_values) in &packed {
                        if *key >= to || key + keys.n <= from {
                            continue;
                        }
                        let scores = &mut scores[..count * keys.n];
                        keys.multiply(count, queries, scores.as_mut_ptr(), false);
                        for (i, row) in scores.chunks_exact_mut(keys.n).enumerate() {
                            let place = Place {
                                batch,
                                head,
                                query: query + i,
                                first: *key,
                            };
                            let sums = &mut sums[i * values..][..values];
                            self.row(buffers, place, row, &mut state[i], sums, &mut *room);
                        }
                        let weights = super::Matrix {
                            start: scores.as_ptr(),
                            strides: (keys.n as isize, 1),
                        };
                        of_values.multiply(count, weights, sums.as_mut_ptr(), true);
                    }
                    self.finish(buffers, part, &state, sums);
                }
            }
        });
    }

    /// Makes weights of a row of products: `e^(s - m)` with the largest score `m` so far.
    ///
    /// # Safety
    /// The operands are readable.
    unsafe fn row<E: Real>(
        &self,
        buffers: &[Bound],
        place: Place,
        row: &mut [E],
        (most, total): &mut (f64, f64),
        sums: &mut [E],
        staged: &mut [E],
    ) {
        let rules = &self.problem.rules;
        // SAFETY: the caller's promise.
        unsafe { rules.apply(buffers, place, row, staged) };
        let here = dispatch(Largest(row)).to_f64();
        let larger = if here > *most { here } else { *most };
        // Nothing can be subtracted from minus infinity.
        let shift = if larger == f64::NEG_INFINITY {
            0.0
        } else {
            larger
        };
        let sum = dispatch(Exponentials {
            row: &mut *row,
            shift: E::from_f64(shift),
        });
        if larger != *most {
            let factor = (*most - shift).exp();
            *total *= factor;
            dispatch(Scaled(sums, E::from_f64(factor)));
        }
        *total += sum;
        *most = larger;
        let (kept, _) = staged.split_at_mut(row.len());
        // SAFETY: the caller's promise.
        if unsafe { rules.kept(buffers, place, kept) } {
            dispatch(Times(row, kept));
        }
    }

    /// Stores a block of results.
    ///
    /// # Safety
    /// As for [`Forward::task`].
    unsafe fn finish<E: Real>(
        &self,
        buffers: &[Bound],
        part: Part,
        state: &[(f64, f64); QUERIES],
        sums: &mut [E],
    ) {
        let p = &self.problem;
        let row = (part.batch * p.heads + part.head) * p.queries + part.first;
        let mut logs = [E::from_f64(0.0); QUERIES];
        for (i, &(most, total)) in state[..part.count].iter().enumerate() {
            let dead = most == f64::NEG_INFINITY && total == 0.0;
            let (log, factor) = match dead {
                true => (f64::INFINITY, 0.0),
                false => (most + total.ln(), 1.0 / total),
            };
            logs[i] = E::from_f64(log);
            let sums = &mut sums[i * p.value_head..][..p.value_head];
            dispatch(Scaled(sums, E::from_f64(factor)));
        }
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(lse) = self.lse {
                store(lse, buffers, row, &logs[..part.count]);
            }
            if let Some(output) = self.output {
                for (i, sums) in sums.chunks_exact(p.value_head).enumerate() {
                    let query = part.batch * p.queries + part.first + i;
                    let at = (query * p.heads + part.head) * p.value_head;
                    store(output, buffers, at, sums);
                }
            }
        }
    }
}

impl Launchable for Forward {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let p = &self.problem;
        let piece = p.task_queries();
        let pieces = p.queries.div_ceil(piece.max(1));
        let buffers = context.buffers;
        parallel::for_each(p.is_large(), p.batch * p.heads * pieces, |i| {
            let (of_heads, first) = (i / pieces, i % pieces * piece);
            let head = (of_heads / p.heads, of_heads % p.heads);
            let queries = (first, p.queries.min(first + piece));
            // SAFETY: everything was checked when this was made; tasks have queries of their own.
            unsafe {
                match p.dtype {
                    DType::F64 => self.task::<f64>(buffers, head, queries),
                    _ => self.task::<f32>(buffers, head, queries),
                }
            }
        });
        None
    }
}
