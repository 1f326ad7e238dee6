//! Tuning, where asked for: which of the ways to compute a matrix product is the fastest here.
//!
//! A way is timed only if its numbers are right. The operands are small integers, so that every
//! order of summation gives the same exact result; some of its elements are compared with the
//! host's.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wgrad_core::{
    Backend, Binding, Buffer, BufferSpec, DType, Error, Executable, Fault, Kernel, Launch, Layout,
    Operand, Output, Plan, Program, Result, Shape,
};

use crate::WgpuBackend;
use crate::device::{Gpu, lock};
use crate::executable;
use crate::form::Way;
use crate::matmul::Product;

/// How long a way is timed, and how often at most.
const TIME: Duration = Duration::from_millis(20);
const RUNS: usize = 50;
/// How many elements of a result the host computes.
const CHECKED: usize = 64;

impl Gpu {
    /// Makes the fault word what it was before it was read.
    fn put_back(&self, fault: Fault) {
        let words = [fault.code, fault.value as u32, (fault.value >> 32) as u32];
        self.queue
            .write_buffer(&self.fault, 0, bytemuck::cast_slice(&words));
        self.fault_armed.store(true, Ordering::Relaxed);
    }

    /// Finds the fastest way for every product of the plan that has not been tuned before.
    pub fn tune(self: &Arc<Gpu>, plan: &Plan) -> Result<()> {
        for launch in &plan.launches {
            let Some(trial) = Trial::of(&launch.kernel, plan) else {
                continue;
            };
            let sizes = trial.product().sizes();
            if lock(&self.traits.tuned).get(&sizes).is_some() {
                continue;
            }
            let way = match trial.fastest(self) {
                Ok(way) => way,
                Err(error @ Error::DeviceLost(_)) => return Err(error),
                // The run itself may still succeed, for want of memory say.
                Err(error) => {
                    tracing::warn!(?sizes, %error, "not tuned");
                    trial.product().by_table(&self.traits)
                }
            };
            lock(&self.traits.tuned).insert(sizes, way);
        }
        Ok(())
    }
}

/// A product of the plan's shape and strides on buffers of its own.
struct Trial {
    plan: Plan,
    batch: Shape,
    /// `m`, `n` and `k`.
    size: [Shape; 3],
    a: Operand,
    b: Operand,
    epilogue: Program,
    outputs: Vec<Output>,
}

impl Trial {
    /// `None` for what is no product of `f32`, or has no results.
    fn of(kernel: &Kernel, plan: &Plan) -> Option<Trial> {
        let Kernel::MatMul {
            batch,
            m,
            n,
            k,
            a,
            b,
            ..
        } = kernel
        else {
            return None;
        };
        let results = batch.numel() * m.numel() * n.numel();
        if results == 0 || k.numel() == 0 || a.dtype != DType::F32 || b.dtype != DType::F32 {
            return None;
        }
        // The same alignment, near the start of a buffer that holds all of it.
        let own = |operand: &Operand, buffer: usize| -> Option<(Operand, usize)> {
            let layout = Layout {
                offset: operand.layout.offset % 4,
                ..operand.layout.clone()
            };
            let reach = |(&size, &stride): (&usize, &isize)| {
                usize::try_from(stride).ok()?.checked_mul(size - 1)
            };
            let dims = layout.shape.iter().zip(&layout.strides);
            let last: usize = dims.map(reach).collect::<Option<Vec<_>>>()?.iter().sum();
            let elements = (layout.offset + last + 1).next_multiple_of(4);
            let known = plan.buffers.get(operand.buffer)?.bytes;
            let operand = Operand {
                buffer,
                dtype: DType::F32,
                layout,
            };
            (elements * 4 <= known.next_multiple_of(16)).then_some((operand, elements * 4))
        };
        let (a, a_bytes) = own(a, 0)?;
        let (b, b_bytes) = own(b, 1)?;
        let sizes = [a_bytes, b_bytes, (results * 4).next_multiple_of(16)];
        let buffer = |(allocation, &bytes): (usize, &usize)| BufferSpec { bytes, allocation };
        let epilogue = Program {
            accumulators: vec![DType::F32],
            outputs: vec![(wgrad_core::Arg::Acc(0), DType::F32)],
            ..Program::default()
        };
        let outputs = vec![Output {
            buffer: 2,
            dtype: DType::F32,
        }];
        Some(Trial {
            plan: Plan {
                buffers: sizes.iter().enumerate().map(buffer).collect(),
                launches: vec![Launch {
                    kernel: Kernel::MatMul {
                        batch: batch.clone(),
                        m: m.clone(),
                        n: n.clone(),
                        k: k.clone(),
                        a: a.clone(),
                        b: b.clone(),
                        epilogue_inputs: Vec::new(),
                        epilogue: epilogue.clone(),
                        outputs: outputs.clone(),
                        sums: None,
                    },
                    scalars: 0..0,
                    fault: None,
                }],
            },
            batch: batch.clone(),
            size: [m.clone(), n.clone(), k.clone()],
            a,
            b,
            epilogue,
            outputs,
        })
    }

    fn product(&self) -> Product<'_> {
        Product {
            batch: &self.batch,
            m: &self.size[0],
            n: &self.size[1],
            k: &self.size[2],
            a: &self.a,
            b: &self.b,
            epilogue_inputs: &[],
            epilogue: &self.epilogue,
            outputs: &self.outputs,
            sums: None,
        }
    }

    /// Times every way.
    fn fastest(&self, gpu: &Arc<Gpu>) -> Result<Way> {
        let sizes = self.product().sizes();
        let backend = WgpuBackend { gpu: gpu.clone() };
        let bytes = |buffer: usize| self.plan.buffers[buffer].bytes;
        let buffers: Vec<Buffer> = (0..3)
            .map(|i| backend.allocate(bytes(i)))
            .collect::<Result<_>>()?;
        for (i, buffer) in buffers.iter().enumerate().take(2) {
            let values: Vec<f32> = (0..bytes(i) / 4).map(|at| value(i, at) as f32).collect();
            backend.write(buffer, 0, bytemuck::cast_slice(&values))?;
        }
        let bindings: Vec<Binding> = buffers
            .iter()
            .map(|buffer| Binding {
                buffer: buffer.clone(),
                offset: 0,
            })
            .collect();
        let mut best: Option<(Way, Duration)> = None;
        for way in self.product().candidates(&gpu.traits) {
            // A result of an earlier way must not pass for this one's.
            backend.clear(&buffers[2])?;
            let time = match self.time(gpu, &backend, way, &bindings) {
                Ok(Some(time)) => time,
                Ok(None) => {
                    tracing::warn!(?way, ?sizes, "wrong numbers: this way is not used");
                    continue;
                }
                Err(error @ Error::DeviceLost(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(?way, ?sizes, %error, "this way is not used");
                    continue;
                }
            };
            tracing::debug!(?way, ?sizes, ?time, "timed");
            // Ahead by a twentieth at least: else the table's, or whatever is simpler.
            if best.is_none_or(|(_, known)| time.mul_f64(1.05) < known) {
                best = Some((way, time));
            }
        }
        let (way, time) = best.ok_or_else(|| {
            Error::Device(format!(
                "no way to compute {} gives right numbers",
                self.plan.launches[0].kernel
            ))
        })?;
        tracing::info!(?way, ?sizes, ?time, "tuned");
        Ok(way)
    }

    /// The least time of a run, if the numbers are right.
    fn time(
        &self,
        gpu: &Arc<Gpu>,
        backend: &WgpuBackend,
        way: Way,
        bindings: &[Binding],
    ) -> Result<Option<Duration>> {
        let mut traits = gpu.traits.clone();
        traits.tuned = Arc::default();
        lock(&traits.tuned).insert(self.product().sizes(), way);
        let program = executable::Program::compile(gpu, &traits, &self.plan)?;
        let run = || -> Result<Duration> {
            let start = Instant::now();
            program.run(bindings, &[], &[])?;
            backend.synchronize()?;
            Ok(start.elapsed())
        };
        run()?;
        let result = pollster::block_on(backend.read(
            Some(&bindings[2].buffer),
            0,
            self.plan.buffers[2].bytes,
        ))?;
        if let Some(fault) = result.fault {
            // Of a run before this one, whose reader is still to come.
            gpu.put_back(fault);
        }
        if !self.is_right(bytemuck::cast_slice(&result.bytes)) {
            return Ok(None);
        }
        let begin = Instant::now();
        let mut least = run()?;
        for _ in 1..RUNS {
            if begin.elapsed() > TIME {
                break;
            }
            least = least.min(run()?);
        }
        Ok(Some(least))
    }

    /// Whether elements all over the result, its last one among them, are what the host computes.
    fn is_right(&self, result: &[f32]) -> bool {
        let [m, n, k] = self.product().dims();
        let count = self.batch.numel() * m * n;
        let [a_dims, b_dims] = self.product().directions();
        let batch = 0..self.batch.rank();
        let step = (count / CHECKED).max(1);
        // A step that divides the row's length would stay in one column.
        let places = (0..CHECKED).map(|i| (i * step + i * 7) % count);
        places.chain([count - 1]).all(|at| {
            let (row, column, item) = (at / n % m, at % n, at / n / m);
            let first = |x: &Operand, across: &Range<usize>, line: usize| {
                x.layout.offset + place(x, &batch, item) + place(x, across, line)
            };
            let a = first(&self.a, &a_dims.0, row);
            let b = first(&self.b, &b_dims.0, column);
            let term = |i: usize| {
                value(0, a + place(&self.a, &a_dims.1, i))
                    * value(1, b + place(&self.b, &b_dims.1, i))
            };
            let sum: i64 = (0..k).map(term).sum();
            result.get(at).is_some_and(|&r| r == sum as f32)
        })
    }
}

/// How far element `at` of some dimensions of an operand, whose strides are not negative, lies from their first.
fn place(x: &Operand, dims: &Range<usize>, at: usize) -> usize {
    let (mut rest, mut place) = (at, 0);
    for d in dims.clone().rev() {
        place += rest % x.layout.shape[d] * x.layout.strides[d] as usize;
        rest /= x.layout.shape[d];
    }
    place
}

/// Element `at` of operand `operand`: an integer from -3 to 3, so that sums of a million terms are
/// exact.
fn value(operand: usize, at: usize) -> i64 {
    let mixed = (at as u64 + 1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(17 + operand as u32)
        .wrapping_mul(0xD1B5_4A32_D192_ED03);
    (mixed >> 40) as i64 % 7 - 3
}
