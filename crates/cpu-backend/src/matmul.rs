//! The MatMul kernel: products by our own blocks (sums in `f32` on x86 with FMA) or by the `gemm` crate, the
//! epilogue by the interpreter while its rows are still in the cache. Factors that are several dimensions
//! (the windows of a convolution) or 16-bit floats are read as they are packed and never copied whole.

mod factor;
mod product;

use std::ops::Range;

use wgrad_core::{DType, Kernel, Output, ScalarBits, Shape};

use crate::executor::{Checker, Context, Launchable};
use crate::gemm::{self, Gemm, Source, Tile};
use crate::interpreter::{self, BLOCK, Bound, Code};
use crate::parallel::{self, PARALLEL_ELEMENTS, Shared};
use crate::scratch;

use self::factor::Factor;
use self::product::Product;

/// Multiplications below which a product stays on one thread.
const PARALLEL_WORK: usize = 1 << 19;
/// Products larger than this are split over threads inside, even in a batch.
const LARGE_WORK: usize = 1 << 24;
/// Bytes of the product that stay in a core's cache until the epilogue reads them.
const WARM_BYTES: usize = 512 * 1024;
/// Inner sizes up to this are cheap enough that reading the product again would show.
const SHALLOW: usize = 128;

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
    epilogue: Code,
    outputs: Vec<Output>,
    /// Whether the product itself is the output.
    plain: bool,
    /// The microkernel's tile, where it computes the product.
    tile: Option<Tile>,
}

/// A launch's data.
struct Run<'a> {
    buffers: &'a [Bound],
    scalars: &'a [ScalarBits],
    a: Shared<u8>,
    b: Shared<u8>,
    /// Where the products go.
    c: Shared<u8>,
    /// Their inner size, all of it or a part, and where that begins.
    k: usize,
    first: usize,
    /// Whether they need no epilogue.
    finished: bool,
}

// SAFETY: the buffers are shared as `Bound` says.
unsafe impl Sync for Run<'_> {}

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
        let numel = checker.outputs(&shape, outputs, epilogue)?;
        let dtype = a.dtype.compute();
        if dtype != b.dtype.compute()
            || dtype == DType::Bool
            || epilogue.accumulators.len() != 1
            || epilogue.accumulators[0].compute() != dtype
        {
            return Err(format!("{} times {}", a.dtype, b.dtype));
        }
        for shape in [&a_shape, &b_shape, &shape] {
            shape.checked_numel().ok_or("too many elements")?;
        }
        let factors = (numel > 0 && k.numel() > 0).then(|| {
            let a = Factor::new(a, batch.rank(), m.rank());
            (a, Factor::new(b, batch.rank(), k.rank()))
        });
        let ready = match &factors {
            Some((a, b)) => a.strides().is_some() && b.strides().is_some(),
            None => true,
        };
        let mut sources = Vec::with_capacity(epilogue_inputs.len());
        for input in epilogue_inputs {
            checker.operand(input, Some(&shape))?;
            sources.push(interpreter::Source::new(input, &input.layout));
        }
        let epilogue = Code::new(epilogue, sources)?;
        Ok(MatMul {
            tile: gemm::tile(ready).filter(|_| dtype == DType::F32 && factors.is_some()),
            factors,
            batch: if numel == 0 { 0 } else { batch.numel() },
            m: m.numel(),
            n: n.numel(),
            k: k.numel(),
            dtype,
            plain: outputs.len() == 1 && epilogue.is_plain_accumulator(dtype),
            epilogue,
            outputs: outputs.clone(),
        })
    }

    /// The output that the product can be made in: of its type, overlapping no operand. Where the
    /// product itself is stored it is that output, because outputs are stored one after the other
    /// and none may be written over the product before it is read.
    fn place(&self, buffers: &[Bound]) -> Option<Bound> {
        let apart = |a: Bound, b: Bound| {
            let (a0, b0) = (a.start as usize, b.start as usize);
            a0 + a.bytes <= b0 || b0 + b.bytes <= a0
        };
        let at = self.epilogue.accumulator_output().unwrap_or(0);
        let output = self.outputs.get(at).filter(|o| o.dtype == self.dtype)?;
        let target = buffers[output.buffer];
        let mut factors = self.factors.iter().flat_map(|(a, b)| [a.buffer, b.buffer]);
        let fits = factors.all(|f| apart(buffers[f], target))
            && interpreter::are_apart(self.epilogue.sources(), &self.outputs, buffers);
        fits.then_some(target)
    }

    /// Rows `from..to` of product `item` into `c`, the start of the whole result.
    ///
    /// # Safety
    /// Factors were checked, `c` has room for all products, and nobody else writes these rows.
    unsafe fn product(
        &self,
        run: &Run<'_>,
        item: usize,
        (from, to): (usize, usize),
        threads: bool,
    ) {
        let (size, n) = (self.dtype.size(), self.n);
        let start = item * self.m * n + from * n;
        // SAFETY: the caller's promise.
        let c = unsafe { run.c.get().add(start * size) };
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
                threads,
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
                        threads,
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
        self.epilogue.scalars()
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        if self.batch == 0 {
            return None;
        }
        let buffers = context.buffers;
        let place = self.place(buffers);
        let bytes = self.batch * self.m * self.n * self.dtype.size();
        let c_of = |product: &mut scratch::Scratch| match place {
            Some(target) => target.start,
            None => product.reserve(bytes),
        };
        scratch::with(|product| {
            let start = |factor: Option<&Factor>| match factor {
                Some(factor) => Shared(buffers[factor.buffer].start),
                None => Shared(std::ptr::null_mut()),
            };
            let factors = self.factors.as_ref();
            let run = Run {
                buffers,
                scalars,
                a: start(factors.map(|(a, _)| a)),
                b: start(factors.map(|(_, b)| b)),
                c: Shared(c_of(product)),
                k: self.k,
                first: 0,
                finished: self.plain && place.is_some(),
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
        match (self.tile, &self.factors) {
            (Some(tile), Some(factors)) => self.tiles(run, tile, factors),
            _ => self.multiply_on_pool(run),
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
                        c: part,
                        k: LONG.min(self.k - first),
                        first,
                        finished: true,
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
                    unsafe { *run.c.get().cast::<f32>().add(i) = *sums.get().add(i) as f32 };
                }
                if !run.finished {
                    self.finish(run, std::iter::once(from..to));
                }
            });
        });
    }

    /// Products by the microkernel, each block followed by its epilogue.
    fn tiles(&self, run: &Run<'_>, tile: Tile, (fa, fb): &(Factor, Factor)) {
        let work = (self.m * self.n).saturating_mul(run.k);
        let parallel = work.saturating_mul(self.batch) >= PARALLEL_WORK;
        let threads = if parallel { parallel::threads() } else { 1 };
        let many = self.batch >= 2 * threads && work < LARGE_WORK;
        parallel::for_each(parallel && many, self.batch, |item| {
            let first = |f: &Factor, start: &Shared<u8>| {
                let at = f.first(item) * f.dtype.size() as isize;
                start.get().wrapping_offset(at)
            };
            let gemm = Gemm {
                m: self.m,
                n: self.n,
                start: run.first,
                k: run.k,
                a: fa.matrix(item),
                b: fb.matrix(item),
                adds: false,
            };
            let factors = (first(fa, &run.a), first(fb, &run.b));
            let threads = if many { 1 } else { threads };
            self.panels(run, tile, &gemm, item, factors, threads);
        });
    }

    /// One product, panel by panel of B.
    fn panels(
        &self,
        run: &Run<'_>,
        tile: Tile,
        gemm: &Gemm<'_>,
        item: usize,
        (a, b): (*mut u8, *mut u8),
        threads: usize,
    ) {
        let (m, n, k) = (self.m, self.n, gemm.k);
        let (a, b) = (Shared(a), Shared(b));
        // SAFETY: `c` holds all products.
        let c = Shared(unsafe { run.c.get().cast::<f32>().add(item * m * n) });
        let (packs, panel_width) = if gemm.packs_b() {
            (true, gemm.panel_columns(tile))
        } else {
            (false, n)
        };
        scratch::with(|scratch| {
            for first in (0..n).step_by(panel_width) {
                let end = n.min(first + panel_width);
                let slivers = (end - first).div_ceil(tile.width);
                let sliver = |i: usize| end.min(first + i * tile.width);
                let source = if packs {
                    let panel = Shared(scratch.slice::<f32>(k * panel_width).as_mut_ptr());
                    let parallel = threads > 1 && k * (end - first) >= PARALLEL_ELEMENTS;
                    parallel::for_ranges(parallel, slivers, 1, |from, to| {
                        let columns = sliver(from)..sliver(to);
                        // SAFETY: the factor was checked, the panel has room, and tasks pack
                        // slivers of their own.
                        unsafe { gemm.pack_b(b.get(), panel.get(), first, panel_width, columns) };
                    });
                    let panel = panel.get().cast_const();
                    Source::Packed { panel, first }
                } else {
                    Source::Direct(b.get())
                };
                let blocks = gemm.row_blocks(tile, threads);
                let splits = threads.div_ceil(blocks).min(slivers);
                let tiles = m.div_ceil(tile.height);
                let row = |i: usize| m.min(tiles * i / blocks * tile.height);
                parallel::for_each(threads > 1, blocks * splits, |i| {
                    let rows = row(i / splits)..row(i / splits + 1);
                    let at = |i: usize| sliver(slivers * i / splits);
                    let columns = at(i % splits)..at(i % splits + 1);
                    // SAFETY: the factors were checked, `c` has room, and tasks have blocks of
                    // their own.
                    unsafe {
                        let (rows, columns) = (rows.clone(), columns.clone());
                        gemm.block(a.get(), source, panel_width, c.get(), rows, columns);
                    }
                    let start = item * m * n;
                    if run.finished {
                        return;
                    }
                    if columns.len() == n {
                        let range = start + rows.start * n..start + rows.end * n;
                        self.finish(run, std::iter::once(range));
                    } else {
                        self.finish(
                            run,
                            rows.map(|r| {
                                start + r * n + columns.start..start + r * n + columns.end
                            }),
                        );
                    }
                });
            }
        });
    }

    /// The `gemm` crate shares its work out over the pool of the thread that it is called on.
    fn multiply_on_pool(&self, run: &Run<'_>) {
        #[cfg(not(target_arch = "wasm32"))]
        if (self.m * self.n)
            .saturating_mul(run.k)
            .saturating_mul(self.batch)
            >= PARALLEL_WORK
        {
            return parallel::install(|| self.multiply(run));
        }
        self.multiply(run);
    }

    /// Products by rows, each followed by its epilogue.
    fn multiply(&self, run: &Run<'_>) {
        let (m, n) = (self.m, self.n);
        let work = (m * n).saturating_mul(run.k.max(1));
        let total = work.saturating_mul(self.batch);
        let parallel = total >= PARALLEL_WORK || self.batch * m * n >= PARALLEL_ELEMENTS;
        let rows = |item: usize, from: usize, to: usize, threads: bool| {
            // SAFETY: `c` holds all products, and whoever calls has these rows for itself.
            unsafe { self.product(run, item, (from, to), threads) };
        };
        let finish = |from: usize, to: usize, threads: bool| {
            if !run.finished {
                let parallel = threads && to - from >= PARALLEL_ELEMENTS;
                parallel::for_ranges(parallel, to - from, BLOCK, |start, end| {
                    self.finish(run, std::iter::once(from + start..from + end));
                });
            }
        };
        let integer = self.dtype.is_integer();
        if !parallel {
            for item in 0..self.batch {
                rows(item, 0, m, false);
            }
            finish(0, self.batch * m * n, false);
        } else if self.batch >= 2 * parallel::threads() && work < LARGE_WORK {
            parallel::for_each(true, self.batch, |item| {
                rows(item, 0, m, false);
                finish(item * m * n, (item + 1) * m * n, false);
            });
        } else if integer || (run.k <= SHALLOW && !run.finished) {
            // Rows few enough that the epilogue finds them in the cache.
            let step = (WARM_BYTES / (n * self.dtype.size())).clamp(64.min(m), m.max(1));
            let step = step.min(m.div_ceil(parallel::threads())).max(1);
            let strips = m.div_ceil(step);
            parallel::for_each(true, self.batch * strips, |i| {
                let (item, from) = (i / strips, i % strips * step);
                let to = m.min(from + step);
                rows(item, from, to, false);
                finish(item * m * n + from * n, item * m * n + to * n, false);
            });
        } else {
            for item in 0..self.batch {
                rows(item, 0, m, true);
                finish(item * m * n, (item + 1) * m * n, true);
            }
        }
    }

    /// The epilogue over these ranges of the result.
    fn finish(&self, run: &Run<'_>, ranges: impl Iterator<Item = Range<usize>>) {
        let targets = interpreter::targets(&self.outputs, run.buffers);
        let size = self.dtype.size();
        let most = self.batch * self.m * self.n;
        scratch::with(|scratch| {
            let mut machine = self.epilogue.start(run.buffers, run.scalars, most, scratch);
            for range in ranges {
                for position in range.clone().step_by(BLOCK) {
                    let n = BLOCK.min(range.end - position);
                    // SAFETY: `c` holds the result; operands and outputs were checked; tasks
                    // have disjoint ranges. Outputs are stored after the block was computed, so
                    // one of them may be `c` itself.
                    unsafe {
                        machine.set_accumulator(0, run.c.get().add(position * size));
                        machine.run_to(&targets, false, position, n);
                    }
                }
            }
        });
    }
}
