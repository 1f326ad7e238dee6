//! The device: buffers, plans and their execution.
//!
//! All memory is touched under one lock, so that kernels run one after the other whoever asks.
//! Every kernel's operands are checked against the plan's buffers when it is compiled, and the
//! bound buffers against the plan when it runs, so no kernel reaches outside its buffers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;
use wgrad_core::{
    AnyOperation, Backend, Binding, BoxFuture, Buffer, BufferSpec, DType, Error, Executable, Fault,
    Kernel, Limits, Operand, Output, Plan, Program, ReadBack, Result, ScalarBits, Shape, Span,
    Spec, Stats,
};

use crate::copy::CopyBytes;
use crate::cursor;
use crate::instructions::InstructionSet;
use crate::interpreter::Bound;
use crate::map::Map;
use crate::matmul::MatMul;
use crate::ops;
use crate::optimizer::Optimizer;
use crate::pool::{CpuBuffer, Pool};
use crate::recorder::Recorder;
use crate::reduce::Reduce;
use crate::rows::Rows;

/// How to open the CPU.
#[derive(Clone, Debug, Default)]
pub struct CpuOptions {
    /// Most bytes of memory to hold; without it, what the machine has.
    pub memory_limit: Option<usize>,
    /// Most bytes of unused memory to keep for later; without it, a quarter of the limit.
    pub pool_limit: Option<usize>,
    /// The instruction set; without it what the environment variable `WGRAD_CPU` names (`scalar`, `avx2`, `avx512`,
    /// `neon` or `simd128`), or else the best that the machine has; optimizers' formulas use the best in any case. With one that the machine does not have, the
    /// device refuses everything.
    pub instructions: Option<InstructionSet>,
    /// Fill fresh buffers with 0xFF bytes (NaN), so that tests notice reads of what was never
    /// written.
    pub poison: bool,
}

/// What the lock guards besides the buffers' contents.
#[derive(Default)]
struct State {
    counters: Stats,
    fault: Option<Fault>,
    profile: Option<Recorder>,
}

struct Shared {
    pool: Arc<Pool>,
    state: Mutex<State>,
    instructions: InstructionSet,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent at every point that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The start of `bytes` bytes at `offset` of a buffer of this device.
    fn range(&self, buffer: &Buffer, offset: usize, bytes: usize) -> Result<*mut u8> {
        let own = buffer
            .downcast::<CpuBuffer>()
            .filter(|own| own.of(&self.pool))
            .ok_or_else(|| Error::Device("a buffer of another device".to_string()))?;
        if offset
            .checked_add(bytes)
            .is_none_or(|end| end > buffer.bytes())
        {
            return Err(Error::Device(format!(
                "bytes {offset}.. (+{bytes}) of a buffer of {} bytes",
                buffer.bytes()
            )));
        }
        Ok(own.start().wrapping_add(offset))
    }

    /// Every write to a buffer's memory ends here.
    fn written(&self, start: *mut u8, bytes: usize) {
        let start = start as usize;
        self.pool.packed.forget(start..start + bytes);
    }
}

/// The CPU as a device.
pub struct CpuBackend {
    shared: Arc<Shared>,
    limits: Limits,
    name: String,
    /// Why the wanted instruction set cannot be used.
    refusal: Option<String>,
}

impl CpuBackend {
    /// Opens the CPU.
    ///
    /// ```
    /// use wgrad_core::Backend;
    /// use wgrad_cpu_backend::{CpuBackend, CpuOptions};
    /// let cpu = CpuBackend::new(CpuOptions::default());
    /// let buffer = cpu.allocate(16)?;
    /// cpu.clear(&buffer)?;
    /// # Ok::<(), wgrad_core::Error>(())
    /// ```
    pub fn new(options: CpuOptions) -> CpuBackend {
        let instructions = match options.instructions {
            Some(set) => set.check(),
            None => InstructionSet::wanted(),
        };
        let (instructions, refusal) = match instructions {
            Ok(set) => (set, None),
            Err(problem) => (InstructionSet::best(), Some(problem)),
        };
        let pool = Pool::new(options.memory_limit, options.pool_limit, options.poison);
        let limits = Limits {
            max_buffer: pool.limit(),
            max_binding: pool.limit(),
            max_kernel_buffers: 32,
            max_kernel_ops: 256,
            max_elements: usize::MAX / 16,
            dtypes: DType::ALL.to_vec(),
            bool_bytes: 1,
        };
        CpuBackend {
            shared: Arc::new(Shared {
                pool,
                state: Mutex::default(),
                instructions,
            }),
            limits,
            name: match refusal {
                None => format!("CPU ({instructions})"),
                Some(_) => "CPU".to_string(),
            },
            refusal,
        }
    }

    /// The instruction set that it uses.
    pub fn instructions(&self) -> InstructionSet {
        self.shared.instructions
    }
}

impl Backend for CpuBackend {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_cpu(&self) -> bool {
        true
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn allocate(&self, bytes: usize) -> Result<Buffer> {
        if let Some(problem) = &self.refusal {
            return Err(Error::Device(problem.clone()));
        }
        Ok(Buffer::new(self.shared.pool.allocate(bytes)?))
    }

    fn write(&self, buffer: &Buffer, offset: usize, bytes: &[u8]) -> Result<()> {
        let target = self.shared.range(buffer, offset, bytes.len())?;
        let mut state = self.shared.lock();
        // SAFETY: the range was checked, the lock is held, and nobody outside has a buffer's
        // memory.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
        self.shared.written(target, bytes.len());
        state.counters.uploads += 1;
        Ok(())
    }

    fn read(
        &self,
        buffer: Option<&Buffer>,
        offset: usize,
        bytes: usize,
    ) -> BoxFuture<Result<ReadBack>> {
        let result = (|| {
            let source = match buffer {
                Some(buffer) => Some(self.shared.range(buffer, offset, bytes)?),
                None => None,
            };
            let mut state = self.shared.lock();
            let bytes = match source {
                // SAFETY: the range was checked, its memory is initialised, the lock is held.
                Some(source) => unsafe { std::slice::from_raw_parts(source, bytes) }.to_vec(),
                None => Vec::new(),
            };
            state.counters.reads += 1;
            Ok(ReadBack {
                bytes,
                fault: state.fault.take(),
            })
        })();
        Box::pin(std::future::ready(result))
    }

    fn clear(&self, buffer: &Buffer) -> Result<()> {
        let target = self.shared.range(buffer, 0, buffer.bytes())?;
        let mut state = self.shared.lock();
        // SAFETY: the whole buffer, under the lock.
        unsafe { target.write_bytes(0, buffer.bytes()) };
        self.shared.written(target, buffer.bytes());
        state.counters.clears += 1;
        Ok(())
    }

    fn copy(
        &self,
        source: &Buffer,
        source_offset: usize,
        target: &Buffer,
        target_offset: usize,
        bytes: usize,
    ) -> Result<()> {
        let from = self.shared.range(source, source_offset, bytes)?;
        let to = self.shared.range(target, target_offset, bytes)?;
        let mut state = self.shared.lock();
        // SAFETY: both ranges were checked, the lock is held; `copy` allows overlap.
        unsafe { std::ptr::copy(from, to, bytes) };
        self.shared.written(to, bytes);
        state.counters.copies += 1;
        Ok(())
    }

    fn has_kernel(&self, op: &AnyOperation, _: &[Spec]) -> bool {
        ops::has_kernel(op)
    }

    fn takes_epilogue(&self, op: &AnyOperation) -> bool {
        ops::takes_epilogue(op)
    }

    fn compile(&self, plan: &Plan) -> Result<Box<dyn Executable>> {
        let mut launches = Vec::with_capacity(plan.launches.len());
        for launch in &plan.launches {
            let checker = Checker {
                buffers: &plan.buffers,
            };
            let kernel = prepare(&checker, &launch.kernel)
                .map_err(|problem| Error::Device(format!("{}: {problem}", launch.kernel)))?;
            if launch.scalars.len() != kernel.scalars() {
                return Err(Error::Device(format!(
                    "{}: {} scalars for {}",
                    launch.kernel,
                    launch.scalars.len(),
                    kernel.scalars()
                )));
            }
            launches.push(Prepared {
                name: launch.kernel.to_string(),
                is_copy: matches!(launch.kernel, Kernel::Copy { .. }),
                kernel,
                written: launch.kernel.written(),
                scalars: launch.scalars.clone(),
                fault: launch.fault,
            });
        }
        Ok(Box::new(CpuPlan {
            shared: self.shared.clone(),
            buffers: plan.buffers.clone(),
            scalars: launches.iter().map(|l| l.scalars.end).max().unwrap_or(0),
            faults: launches
                .iter()
                .filter_map(|l| l.fault)
                .map(|f| f + 1)
                .max()
                .unwrap_or(0),
            launches,
        }))
    }

    fn synchronize(&self) -> Result<()> {
        // Whoever holds the lock is at work; having had it means that everything is done.
        drop(self.shared.lock());
        Ok(())
    }

    fn stats(&self) -> Stats {
        let memory = self.shared.pool.stats();
        Stats {
            allocations: memory.allocations,
            live_bytes: memory.live,
            held_bytes: memory.held,
            peak_bytes: memory.peak,
            ..self.shared.lock().counters
        }
    }

    fn trim(&self) {
        self.shared.pool.trim();
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn begin_profile(&self) -> Result<()> {
        self.shared.lock().profile = Some(Recorder::new());
        Ok(())
    }

    fn end_profile(&self) -> Result<Vec<Span>> {
        let recorder = self.shared.lock().profile.take();
        Ok(recorder.map_or_else(Vec::new, Recorder::spans))
    }
}

/// What a kernel runs with.
pub(crate) struct Context<'a> {
    pub buffers: &'a [Bound],
    pub pool: &'a Arc<Pool>,
}

/// Tells that a launch is over and has written, also where it panics.
struct Written<'a> {
    shared: &'a Shared,
    buffers: &'a [Bound],
    written: &'a [usize],
}

impl Drop for Written<'_> {
    fn drop(&mut self) {
        for bound in self.written.iter().filter_map(|&b| self.buffers.get(b)) {
            self.shared.written(bound.start, bound.bytes);
        }
    }
}

/// A prepared kernel.
pub(crate) trait Launchable: Send + Sync {
    /// How many scalars it takes.
    fn scalars(&self) -> usize {
        0
    }

    /// Whether it can run on these buffers: what it writes overlaps nothing that it must not.
    fn admits(&self, _buffers: &[Bound]) -> bool {
        true
    }

    /// Runs it; the first bad index it met.
    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64>;
}

/// A product and the sums of one of its operands.
struct WithSums {
    product: MatMul,
    sums: Reduce,
}

impl Launchable for WithSums {
    fn scalars(&self) -> usize {
        self.product.scalars() + self.sums.scalars()
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        let (product, sums) = scalars.split_at(self.product.scalars());
        self.product.launch(context, product);
        self.sums.launch(context, sums)
    }
}

struct Prepared {
    name: String,
    kernel: Box<dyn Launchable>,
    is_copy: bool,
    /// The buffers that it writes.
    written: Vec<usize>,
    scalars: std::ops::Range<usize>,
    fault: Option<usize>,
}

struct CpuPlan {
    shared: Arc<Shared>,
    buffers: Vec<BufferSpec>,
    launches: Vec<Prepared>,
    /// How many scalars and fault codes a run must bring.
    scalars: usize,
    faults: usize,
}

impl Executable for CpuPlan {
    fn run(&self, bindings: &[Binding], scalars: &[ScalarBits], faults: &[u32]) -> Result<()> {
        if bindings.len() != self.buffers.len()
            || scalars.len() < self.scalars
            || faults.len() < self.faults
        {
            return Err(Error::Device(format!(
                "plan of {} buffers, {} scalars and {} faults run with {}, {} and {}",
                self.buffers.len(),
                self.scalars,
                self.faults,
                bindings.len(),
                scalars.len(),
                faults.len()
            )));
        }
        let mut bound: SmallVec<[Bound; 16]> = SmallVec::with_capacity(bindings.len());
        for (binding, spec) in bindings.iter().zip(&self.buffers) {
            let start = self
                .shared
                .range(&binding.buffer, binding.offset, spec.bytes)?;
            if !(start as usize).is_multiple_of(16) {
                return Err(Error::Device(format!(
                    "binding at byte {}, not a multiple of 16",
                    binding.offset
                )));
            }
            bound.push(Bound {
                start,
                bytes: spec.bytes,
            });
        }
        if !self.launches.iter().all(|l| l.kernel.admits(&bound)) {
            return Err(Error::Device("arenas that overlap".to_string()));
        }
        let mut state = self.shared.lock();
        let state = &mut *state;
        let context = Context {
            buffers: &bound,
            pool: &self.shared.pool,
        };
        self.shared.instructions.during(|| {
            for launch in &self.launches {
                let _written = Written {
                    shared: &self.shared,
                    buffers: &bound,
                    written: &launch.written,
                };
                launch.run(&context, scalars, faults, state);
            }
        });
        state.counters.submits += 1;
        Ok(())
    }
}

impl Prepared {
    fn run(
        &self,
        context: &Context<'_>,
        scalars: &[ScalarBits],
        faults: &[u32],
        state: &mut State,
    ) {
        let scalars = &scalars[self.scalars.clone()];
        let run = || self.kernel.launch(context, scalars);
        let bad = match &mut state.profile {
            Some(recorder) => recorder.time(&self.name, run),
            None => run(),
        };
        if let (Some(value), Some(fault), None) = (bad, self.fault, state.fault) {
            let code = faults[fault];
            state.fault = Some(Fault { code, value });
        }
        if self.is_copy {
            state.counters.copies += 1;
        } else {
            state.counters.launches += 1;
        }
    }
}

fn prepare(checker: &Checker<'_>, kernel: &Kernel) -> Result<Box<dyn Launchable>, String> {
    Ok(match kernel {
        Kernel::Map {
            shape,
            inputs,
            program,
            outputs,
        } => Box::new(Map::new(checker, shape, inputs, program, outputs)?),
        Kernel::Reduce { .. } => Box::new(Reduce::new(checker, kernel)?),
        Kernel::Rows(rows) => Box::new(Rows::new(checker, rows)?),
        Kernel::MatMul { sums: None, .. } => Box::new(MatMul::new(checker, kernel)?),
        Kernel::MatMul {
            sums: Some(sums), ..
        } => Box::new(WithSums {
            product: MatMul::new(checker, kernel)?,
            sums: Reduce::new(checker, sums)?,
        }),
        Kernel::Operation {
            op,
            inputs,
            outputs,
            epilogue,
        } => {
            let launch = ops::Launch {
                checker,
                inputs,
                outputs,
                epilogue: epilogue.as_ref(),
            };
            ops::prepare(op, &launch)?
        }
        Kernel::Copy {
            source,
            source_offset,
            target,
            target_offset,
            bytes,
        } => Box::new(CopyBytes::new(
            checker,
            (*source, *source_offset),
            (*target, *target_offset),
            *bytes,
        )?),
        Kernel::Update { .. } => Box::new(Optimizer::new(checker, kernel)?),
    })
}

/// Checks operands against the plan's buffers.
pub(crate) struct Checker<'a> {
    buffers: &'a [BufferSpec],
}

impl Checker<'_> {
    /// That a buffer has `len` elements of `dtype`.
    pub fn elements(&self, buffer: usize, dtype: DType, len: usize) -> Result<(), String> {
        let spec = self
            .buffers
            .get(buffer)
            .ok_or_else(|| format!("no buffer {buffer}"))?;
        match len.checked_mul(dtype.size()) {
            Some(bytes) if bytes <= spec.bytes => Ok(()),
            _ => Err(format!(
                "{len} elements of {dtype} in buffer {buffer} of {} bytes",
                spec.bytes
            )),
        }
    }

    /// That an operand lies in its buffer and has the shape.
    pub fn operand(&self, operand: &Operand, shape: Option<&Shape>) -> Result<(), String> {
        let layout = &operand.layout;
        if shape.is_some_and(|s| *s != layout.shape) {
            return Err(format!(
                "an operand of shape {} where {} is wanted",
                layout.shape,
                shape.cloned().unwrap_or_default()
            ));
        }
        let end = cursor::extent(layout)
            .map_err(|()| format!("a view that leaves its buffer: {layout:?}"))?;
        self.elements(operand.buffer, operand.dtype, end.unwrap_or(0))
    }

    /// That an output of `len` elements fits its buffer.
    pub fn output(&self, output: Output, len: usize) -> Result<(), String> {
        self.elements(output.buffer, output.dtype, len)
    }

    /// That a program's outputs are these and fit their buffers; the number of elements.
    pub fn outputs(
        &self,
        shape: &Shape,
        outputs: &[Output],
        program: &Program,
    ) -> Result<usize, String> {
        let numel = shape
            .checked_numel()
            .ok_or_else(|| format!("shape {shape} is too large"))?;
        if outputs.len() != program.outputs.len() {
            return Err(format!(
                "{} outputs of a program with {}",
                outputs.len(),
                program.outputs.len()
            ));
        }
        for (output, (_, dtype)) in outputs.iter().zip(&program.outputs) {
            if output.dtype != *dtype {
                return Err(format!("output of {} for {dtype}", output.dtype));
            }
            self.output(*output, numel)?;
        }
        Ok(numel)
    }
}
