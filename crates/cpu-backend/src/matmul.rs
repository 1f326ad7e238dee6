//! The MatMul kernel: products of floats block by block, those of integers row by row, the epilogue by the
//! interpreter while its rows are still in the cache. Factors that are several dimensions
//! (the windows of a convolution) or 16-bit floats are read as they are packed and never copied whole.

mod factor;
mod grid;
mod integer;

use std::ops::Range;
use std::sync::Arc;

use wgrad_core::{DType, Kernel, ScalarBits, Shape};

use crate::executor::{Checker, Context, Launchable};
use crate::gemm::{Blocks, Gemm, Operands, Packing, Real, Source};
use crate::interpreter::BLOCK;
use crate::packed::{Form, Packed};
use crate::parallel::{self, PARALLEL_ELEMENTS, Shared};
use crate::pool::{CpuBuffer, Pool};
use crate::results::{Making, Results};
use crate::scratch;

use self::factor::Factor;
use self::grid::{Countdown, Grid};
use self::integer::Product;

/// Multiplications below which a product stays on one thread.
const PARALLEL_WORK: usize = 1 << 19;
/// Products larger than this are split over threads inside, even in a batch.
const LARGE_WORK: usize = 1 << 24;
/// Bytes of the product that stay in a core's cache until the epilogue reads them.
const WARM_BYTES: usize = 512 * 1024;

/// Elements of a factor that are copied together where its own order does not serve.
const COPIED: usize = 1 << 18;

/// Longer products are made in parts of so many steps of `k`, whose sums are added up in `f64`: the
/// error of a chain of additions grows with its length, and what packs a factor packs a part of it.
const LONG: usize = 1 << 16;

/// A prepared MatMul.
pub(crate) struct MatMul {
    factors: Option<(Factor, Factor)>,
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    dtype: DType,
    results: Results,
}

/// A launch's data.
struct Run<'a> {
    pool: &'a Arc<Pool>,
    a: Shared<u8>,
    b: Shared<u8>,
    /// The products.
    c: Making<'a>,
    /// Their inner size, all of it or a part, and where that begins.
    k: usize,
    first: usize,
}

impl MatMul {
    pub fn new(checker: &Checker<'_>, kernel: &Kernel) -> Result<MatMul, String> {
        let Kernel::MatMul {
            batch,
            m,
            n,
            k,
            a,
            b,
            epilogue_inputs,
            epilogue,
            outputs,
            sums: _, // the executor's business
        } = kernel
        else {
            return Err("not a matrix product".to_string());
        };
        let with = |r: &Shape, c: &Shape| -> Shape {
            let dims = batch.iter().chain(r.iter()).chain(c.iter());
            dims.copied().collect()
        };
        let (a_shape, b_shape, shape) = (with(m, k), with(k, n), with(m, n));
        checker.operand(a, Some(&a_shape))?;
        checker.operand(b, Some(&b_shape))?;
        let dtype = a.dtype.compute();
        if dtype != b.dtype.compute() || dtype == DType::Bool {
            return Err(format!("{} times {}", a.dtype, b.dtype));
        }
        for shape in [&a_shape, &b_shape, &shape] {
            shape.checked_numel().ok_or("too many elements")?;
        }
        let operands = [a.buffer, b.buffer];
        let epilogue = (&epilogue_inputs[..], epilogue, &outputs[..]);
        let results = Results::new(checker, (&shape, dtype), &operands, epilogue)?;
        let numel = results.numel();
        let factors = (numel > 0 && k.numel() > 0).then(|| {
            let a = Factor::new(a, batch.rank(), m.rank());
            (a, Factor::new(b, batch.rank(), k.rank()))
        });
        Ok(MatMul {
            factors,
            batch: if numel == 0 { 0 } else { batch.numel() },
            m: m.numel(),
            n: n.numel(),
            k: k.numel(),
            dtype,
            results,
        })
    }

    /// Rows `from..to` of product `item`, of integers or with nothing to add up.
    ///
    /// # Safety
    /// Factors were checked, `c` has room for all products, and nobody else writes these rows.
    unsafe fn product(&self, run: &Run<'_>, item: usize, (from, to): (usize, usize)) {
        let (size, n) = (self.dtype.size(), self.n);
        let start = item * self.m * n + from * n;
        // SAFETY: the caller's promise.
        let c = unsafe { run.c.start().add(start * size) };
        let Some((fa, fb)) = &self.factors else {
            // An empty sum.
            // SAFETY: the caller's promise; all-zero bytes are zeros.
            unsafe { c.write_bytes(0, (to - from) * n * size) };
            return;
        };
        let matrix = |f: &Factor, start: &Shared<u8>| {
            let at = f.first(item) * f.dtype.size() as isize;
            start.get().wrapping_offset(at).cast_const()
        };
        let (a, b) = (matrix(fa, &run.a), matrix(fb, &run.b));
        if let (Some(by_a), Some(by_b)) = (fa.strides(), fb.strides()) {
            let at = from as isize * by_a.0 + run.first as isize * by_a.1;
            let shape = Product {
                m: to - from,
                n,
                k: run.k,
                a: by_a,
                b: by_b,
                row: n,
            };
            let a = a.wrapping_offset(at * size as isize);
            let b = b.wrapping_offset(run.first as isize * by_b.0 * size as isize);
            // SAFETY: the caller's promise.
            return unsafe { shape.compute(self.dtype, a, b, c) };
        }
        // Rows and columns are copied together, as many as stay in a cache.
        let fit = |count: usize| (COPIED / run.k).clamp(1, count);
        let (columns, rows) = (fit(n), fit(to - from));
        let depths = run.first..run.first + run.k;
        scratch::with_many(2, |scratch| {
            let [panel, block] = scratch else { return };
            let panel = panel.reserve(run.k * columns * size);
            let block = block.reserve(run.k * rows * size);
            for first in (0..n).step_by(columns) {
                let end = n.min(first + columns);
                // SAFETY: the caller's promise; the panel has room.
                unsafe { fb.copy(b, depths.clone(), first..end, panel) };
                for row in (from..to).step_by(rows) {
                    let last = to.min(row + rows);
                    let shape = Product {
                        m: last - row,
                        n: end - first,
                        k: run.k,
                        a: (run.k as isize, 1),
                        b: ((end - first) as isize, 1),
                        row: n,
                    };
                    // SAFETY: as above; the block has room.
                    unsafe {
                        fa.copy(a, row..last, depths.clone(), block);
                        let c = c.add(((row - from) * n + first) * size);
                        shape.compute(self.dtype, block, panel, c);
                    }
                }
            }
        });
    }
}

impl Launchable for MatMul {
    fn scalars(&self) -> usize {
        self.results.scalars()
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        if self.batch == 0 {
            return None;
        }
        let buffers = context.buffers;
        self.results.make(buffers, scalars, |c| {
            let start = |factor: Option<&Factor>| match factor {
                Some(factor) => Shared(buffers[factor.buffer].start),
                None => Shared(std::ptr::null_mut()),
            };
            let factors = self.factors.as_ref();
            let run = Run {
                pool: context.pool,
                a: start(factors.map(|(a, _)| a)),
                b: start(factors.map(|(_, b)| b)),
                c: *c,
                k: self.k,
                first: 0,
            };
            if self.k > LONG && self.dtype == DType::F32 {
                self.long(&run);
            } else {
                self.all(&run);
            }
        });
        None
    }
}

impl MatMul {
    fn all(&self, run: &Run<'_>) {
        match (self.dtype, &self.factors) {
            (DType::F32, Some(factors)) => self.tiles::<f32>(run, factors),
            (DType::F64, Some(factors)) => self.tiles::<f64>(run, factors),
            _ => self.rows(run),
        }
    }

    /// `f32` products of long rows and columns, in parts.
    fn long(&self, run: &Run<'_>) {
        let count = self.batch * self.m * self.n;
        let parallel = count >= PARALLEL_ELEMENTS;
        scratch::with(|totals| {
            let sums = totals.slice::<f64>(count);
            sums.fill(0.0);
            let sums = Shared(sums.as_mut_ptr());
            for first in (0..self.k).step_by(LONG) {
                scratch::with(|part| {
                    let part = Shared(part.reserve(count * 4));
                    self.all(&Run {
                        c: run.c.part(part),
                        k: LONG.min(self.k - first),
                        first,
                        ..*run
                    });
                    parallel::for_ranges(parallel, count, BLOCK, |from, to| {
                        for i in from..to {
                            // SAFETY: both hold all results, and tasks have disjoint ranges.
                            unsafe {
                                *sums.get().add(i) += f64::from(*part.get().cast::<f32>().add(i));
                            }
                        }
                    });
                });
            }
            parallel::for_ranges(parallel, count, BLOCK, |from, to| {
                for i in from..to {
                    // SAFETY: as above; `c` holds the result.
                    unsafe { *run.c.start().cast::<f32>().add(i) = *sums.get().add(i) as f32 };
                }
                run.c.task(|finish| finish(from..to));
            });
        });
    }

    /// Products of floats.
    fn tiles<T: Real>(&self, run: &Run<'_>, (fa, fb): &(Factor, Factor)) {
        let work = (self.m * self.n).saturating_mul(run.k);
        let parallel = work.saturating_mul(self.batch) >= PARALLEL_WORK;
        let threads = if parallel { parallel::threads() } else { 1 };
        let many = self.batch >= 2 * threads && work < LARGE_WORK;
        let blocks = Blocks::of::<T>();
        let gemm = |item| Gemm {
            m: self.m,
            n: self.n,
            start: run.first,
            k: run.k,
            row: self.n,
            a: fa.matrix(item),
            b: fb.matrix(item),
            adds: false,
            blocks,
        };
        let first = |f: &Factor, start: Shared<u8>, item| {
            let at = f.first(item) * f.dtype.size() as isize;
            Shared(start.get().wrapping_offset(at))
        };
        if many && gemm(0).is_of_few_rows() {
            let (gemm, size) = (gemm(0), self.m * self.n);
            let operands = |item| Operands {
                a: first(fa, run.a, item).get().cast::<T>().cast_const(),
                b: first(fb, run.b, item).get().cast::<T>().cast_const(),
                // Within the products.
                c: run.c.start().cast::<T>().wrapping_add(item * size),
                end: fb.matrix(item).end,
            };
            parallel::for_ranges(parallel, self.batch, 1, |from, to| {
                run.c.task(|finish| {
                    let mut done = |item: usize| finish(item * size..(item + 1) * size);
                    // SAFETY: the factors were checked, `c` holds all products, and tasks have products of their own.
                    unsafe { gemm.products_of_few_rows(from..to, &operands, &mut done) };
                });
            });
            return;
        }
        let b = first(fb, run.b, 0);
        let kept = fb.form(b, &gemm(0));
        let kept = kept.and_then(|form| self.kept::<T>(run, &gemm(0), b, &form, threads));
        parallel::for_each(parallel && many, self.batch, |item| {
            let factors = (first(fa, run.a, item), first(fb, run.b, item));
            let threads = if many { 1 } else { threads };
            self.panels::<T>(run, &gemm(item), item, factors, kept.as_deref(), threads);
        });
    }

    /// The second factor of all products, `b`, where it is kept packed.
    fn kept<T: Real>(
        &self,
        run: &Run<'_>,
        gemm: &Gemm<'_>,
        b: Shared<u8>,
        form: &Form,
        threads: usize,
    ) -> Option<Arc<CpuBuffer>> {
        let pack = |into: *mut u8| {
            let into = Shared(into.cast::<T>());
            let grid = Grid::new(gemm, 0..self.n, Packing::Whole, threads);
            parallel::for_each(threads > 1, grid.parts(), |i| {
                let (columns, depths) = grid.part(i);
                // SAFETY: the factor was checked, there is room, and tasks pack parts of their own.
                unsafe {
                    let width = form.packed_columns();
                    gemm.pack_b(b.get(), into.get(), 0, width, columns, depths);
                }
            });
        };
        match run.pool.packed.find(form, self.batch > 1, run.pool) {
            Packed::No => None,
            Packed::Into(buffer) => {
                pack(buffer.start());
                run.pool.packed.keep(form, buffer.clone());
                Some(buffer)
            }
            Packed::Ready(buffer) => {
                // Somebody who writes to buffers and does not tell would make wrong numbers.
                #[cfg(debug_assertions)]
                scratch::with(|scratch| {
                    let again = scratch.reserve(form.packed_bytes());
                    pack(again);
                    // SAFETY: both have so many bytes, all of them packed.
                    let [kept, now] = [buffer.start(), again].map(|start| unsafe {
                        std::slice::from_raw_parts(start, form.packed_bytes())
                    });
                    assert!(kept == now, "a factor changed since it was packed");
                });
                Some(buffer)
            }
        }
    }

    /// One product, panel by panel of B.
    fn panels<T: Real>(
        &self,
        run: &Run<'_>,
        gemm: &Gemm<'_>,
        item: usize,
        (a, b): (Shared<u8>, Shared<u8>),
        kept: Option<&CpuBuffer>,
        threads: usize,
    ) {
        let (n, k) = (self.n, gemm.k);
        let kept = kept.map(|buffer| Shared(buffer.start().cast::<T>()));
        // SAFETY: `c` holds all products.
        let c = Shared(unsafe { run.c.start().cast::<T>().add(item * self.m * n) });
        if gemm.is_turned() {
            let parts = gemm.turned_parts(threads);
            parallel::for_each(threads > 1, parts[0] * parts[1], |i| {
                let [rows, columns] = gemm.turned_part(parts, i);
                let part = [rows.clone(), columns.clone()];
                // SAFETY: the factors were checked, `c` has room, and tasks have parts of their own.
                unsafe { gemm.turned_block(a.get(), b.get().cast::<T>(), c.get(), part) };
                self.finish(run, item, rows, columns);
            });
            return;
        }
        let packing = gemm.packing(threads);
        let panel_width = match packing {
            Packing::Whole => gemm.panel_columns(),
            Packing::ByBlocks | Packing::InPlace | Packing::None => n,
        };
        let in_place = gemm.in_place().filter(|_| packing == Packing::InPlace);
        scratch::with(|scratch| {
            for first in (0..n).step_by(panel_width) {
                let columns = match &in_place {
                    Some(in_place) => 0..in_place.places(),
                    None => first..n.min(first + panel_width),
                };
                let grid = Grid::new(gemm, columns.clone(), packing, threads);
                let panel = match (packing, kept) {
                    (Packing::Whole, None) => {
                        Shared(scratch.slice::<T>(k * panel_width).as_mut_ptr())
                    }
                    _ => Shared(std::ptr::null_mut()),
                };
                let (source, width) = match (packing, kept) {
                    (_, Some(kept)) => {
                        let panel = kept.get().cast_const();
                        let width = n.next_multiple_of(gemm.blocks.width);
                        (Source::Packed { panel, first: 0 }, width)
                    }
                    (Packing::None, None) => (Source::Direct(b.get()), 0),
                    (Packing::InPlace, None) => (Source::Windows(b.get()), 0),
                    (Packing::ByBlocks, None) => (Source::Lying(b.get()), 0),
                    (Packing::Whole, None) => {
                        let panel = panel.get().cast_const();
                        (Source::Packed { panel, first }, panel_width)
                    }
                };
                let parts = if kept.is_some() { 0 } else { grid.parts() };
                let packed = Countdown::new(parts);
                parallel::for_each(threads > 1, parts + grid.blocks(), |i| {
                    if i < parts {
                        let _done = packed.one();
                        let (columns, depths) = grid.part(i);
                        // SAFETY: the factor was checked, the panel has room, and tasks pack parts of their own.
                        unsafe {
                            gemm.pack_b(b.get(), panel.get(), first, panel_width, columns, depths);
                        }
                        return;
                    }
                    packed.wait();
                    let (rows, columns) = grid.block(i - parts);
                    // SAFETY: the factors were checked, `c` has room, and tasks have blocks of
                    // their own.
                    unsafe {
                        let (rows, columns) = (rows.clone(), columns.clone());
                        gemm.block(a.get(), source, width, c.get(), rows, columns);
                    }
                    let columns = match &in_place {
                        Some(in_place) => {
                            let [start, end] = [columns.start, columns.end];
                            in_place.columns_before(start)..in_place.columns_before(end)
                        }
                        None => columns,
                    };
                    self.finish(run, item, rows, columns);
                });
            }
        });
    }

    /// The epilogue over a block of product `item`.
    fn finish(&self, run: &Run<'_>, item: usize, rows: Range<usize>, columns: Range<usize>) {
        let n = self.n;
        let start = item * self.m * n;
        run.c.task(|finish| {
            if columns.len() == n {
                return finish(start + rows.start * n..start + rows.end * n);
            }
            for row in rows.map(|r| start + r * n) {
                finish(row + columns.start..row + columns.end);
            }
        });
    }

    /// Products of integers, and empty ones, by strips of rows, few enough that the epilogue finds them in the cache.
    fn rows(&self, run: &Run<'_>) {
        let (m, n) = (self.m, self.n);
        let work = (m * n).saturating_mul(run.k.max(1));
        let total = work.saturating_mul(self.batch);
        let parallel = total >= PARALLEL_WORK || self.batch * m * n >= PARALLEL_ELEMENTS;
        let step = (WARM_BYTES / (n * self.dtype.size())).clamp(64.min(m), m.max(1));
        let step = step.min(m.div_ceil(parallel::threads())).max(1);
        let strips = m.div_ceil(step);
        parallel::for_each(parallel, self.batch * strips, |i| {
            let (item, from) = (i / strips, i % strips * step);
            let to = m.min(from + step);
            // SAFETY: `c` holds all products, and each task has rows of its own.
            unsafe { self.product(run, item, (from, to)) };
            self.finish(run, item, from..to, 0..n);
        });
    }
}
