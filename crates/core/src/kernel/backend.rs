//! What a device must be able to do: untyped buffers and plans.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::kernel::profile::Span;
use crate::kernel::{Plan, ScalarBits};
use crate::operation::{AnyOperation, Spec};
use crate::types::dtype::DType;
use crate::types::error::{Error, Result};

/// A future that a backend returns: `Send` on native targets, where a read may cross threads.
#[cfg(not(target_arch = "wasm32"))]
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// A future that a backend returns.
#[cfg(target_arch = "wasm32")]
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// A backend's own buffer behind a [`Buffer`]. Dropping it gives the memory back.
pub trait RawBuffer: Any + Send + Sync {
    /// Usable bytes (a multiple of 16).
    fn bytes(&self) -> usize;
    /// A number that no other live buffer of the device has. A recycled buffer keeps its number.
    fn id(&self) -> u64;
}

/// A shared, untyped piece of device memory.
#[derive(Clone)]
pub struct Buffer(pub(crate) Arc<dyn RawBuffer>);

impl Buffer {
    /// Wraps a backend's buffer.
    pub fn new(raw: impl RawBuffer) -> Buffer {
        Buffer(Arc::new(raw))
    }

    /// Usable bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The number that tells this buffer from all others.
    pub fn id(&self) -> u64 {
        self.0.id()
    }

    /// The backend's own type; `None` if the buffer is another backend's.
    pub fn downcast<T: RawBuffer>(&self) -> Option<&T> {
        let raw: &dyn Any = &*self.0;
        raw.downcast_ref()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({}, {} bytes)", self.id(), self.bytes())
    }
}

/// A part of a buffer, bound to one of a plan's buffers.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The buffer.
    pub buffer: Buffer,
    /// Byte offset of the part, a multiple of 256.
    pub offset: usize,
}

/// What a device takes.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// Largest buffer in bytes.
    pub max_buffer: usize,
    /// Largest part of a buffer that a kernel sees, in bytes.
    pub max_binding: usize,
    /// Most buffers that one kernel may use (inputs, outputs and the fault word).
    pub max_kernel_buffers: usize,
    /// Most elementwise operations that are fused into one kernel; routines such as `erf` count as
    /// three.
    pub max_kernel_ops: usize,
    /// Most elements of one tensor, views of few elements by stride 0 included.
    pub max_elements: usize,
    /// Element types that the device stores and computes.
    pub dtypes: Vec<DType>,
    /// Bytes of one stored bool: 1 or 4.
    pub bool_bytes: usize,
}

impl Limits {
    /// Bytes of one stored element.
    pub fn size(&self, dtype: DType) -> usize {
        if dtype == DType::Bool {
            self.bool_bytes
        } else {
            dtype.size()
        }
    }

    /// The limit that a tensor of so many bytes exceeds, and of what it is the limit.
    pub(crate) fn exceeded_by(&self, bytes: usize) -> Option<(usize, &'static str)> {
        let limits = [(self.max_buffer, "buffer"), (self.max_binding, "binding")];
        limits.into_iter().find(|(limit, _)| bytes > *limit)
    }

    /// Whether the device has the type.
    pub fn has(&self, dtype: DType) -> bool {
        self.dtypes.contains(&dtype)
    }
}

/// Exact counters of one device since it was opened, incremented where a command is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Kernels launched.
    pub launches: u64,
    /// Buffer-to-buffer copies (not those that fetch data for the host).
    pub copies: u64,
    /// Buffers cleared.
    pub clears: u64,
    /// Command buffers submitted (runs, on the CPU).
    pub submits: u64,
    /// Uploads from the host.
    pub uploads: u64,
    /// Reads by the host.
    pub reads: u64,
    /// Pipelines compiled.
    pub pipelines: u64,
    /// Pipelines that are kept for their next use.
    pub pipelines_held: u64,
    /// Bind groups made.
    pub bind_groups: u64,
    /// Buffers allocated from the driver (or the system).
    pub allocations: u64,
    /// Bytes in use by tensors and running plans.
    pub live_bytes: u64,
    /// Bytes held from the driver, in use or pooled.
    pub held_bytes: u64,
    /// Largest `live_bytes` so far.
    pub peak_bytes: u64,
    /// Runs whose plan was replayed from the cache.
    pub plan_hits: u64,
    /// Runs that were planned anew.
    pub plan_misses: u64,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |b: u64| b as f64 / (1024.0 * 1024.0);
        writeln!(
            f,
            "work    {} launches, {} copies, {} clears, {} submits, {} uploads, {} reads",
            self.launches, self.copies, self.clears, self.submits, self.uploads, self.reads
        )?;
        writeln!(
            f,
            "made    {} pipelines ({} kept), {} bind groups, {} buffers; plans: {} replayed, {} new",
            self.pipelines,
            self.pipelines_held,
            self.bind_groups,
            self.allocations,
            self.plan_hits,
            self.plan_misses
        )?;
        write!(
            f,
            "memory  {:.2} MiB live, {:.2} MiB peak, {:.2} MiB held",
            mib(self.live_bytes),
            mib(self.peak_bytes),
            mib(self.held_bytes)
        )
    }
}

/// A bad index that a kernel met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The fault code that the run gave the launch.
    pub code: u32,
    /// The offending index.
    pub value: i64,
}

/// What a read brings.
#[derive(Debug)]
pub struct ReadBack {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The first fault since the last read, cleared by this one.
    pub fault: Option<Fault>,
}

/// A plan made ready by a backend: kernels compiled, group counts and parameters computed.
pub trait Executable: Send + Sync {
    /// Runs the plan.
    ///
    /// `bindings` match [`Plan::buffers`]; `faults` are the codes that launches with a fault index
    /// report (never 0). Returns when the work is submitted, not when it is done. On an error
    /// nothing was submitted.
    fn run(&self, bindings: &[Binding], scalars: &[ScalarBits], faults: &[u32]) -> Result<()>;
}

/// A device. Everything it is asked to do happens in the order asked.
pub trait Backend: Send + Sync {
    /// The device's name as its driver gives it, for a person.
    fn name(&self) -> &str;

    /// Whether this is the CPU.
    fn is_cpu(&self) -> bool;

    /// What it takes.
    fn limits(&self) -> &Limits;

    /// A buffer of at least `bytes` (more than 0), contents undefined.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), after which the device still works, or
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    fn allocate(&self, bytes: usize) -> Result<Buffer>;

    /// Writes to a buffer, after everything asked so far. Offset and length are multiples of 4
    /// (the caller pads).
    fn write(&self, buffer: &Buffer, offset: usize, bytes: &[u8]) -> Result<()>;

    /// Reads from a buffer what it holds after everything asked so far; `bytes` may be 0, which
    /// only waits and looks for faults.
    fn read(
        &self,
        buffer: Option<&Buffer>,
        offset: usize,
        bytes: usize,
    ) -> BoxFuture<Result<ReadBack>>;

    /// Fills a whole buffer with zeros.
    fn clear(&self, buffer: &Buffer) -> Result<()>;

    /// Copies between buffers; offsets and size are multiples of 4.
    fn copy(
        &self,
        source: &Buffer,
        source_offset: usize,
        target: &Buffer,
        target_offset: usize,
        bytes: usize,
    ) -> Result<()>;

    /// Whether it has a kernel for an operation on these operands. Without one, the operation's reference
    /// runs instead.
    fn has_kernel(&self, _op: &AnyOperation, _operands: &[Spec]) -> bool {
        false
    }

    /// Whether its kernel of an operation computes an [`Epilogue`](crate::Epilogue) of each element where it makes
    /// that, on the way to memory. Elementwise work on the operation's result is planned as one only then.
    fn takes_epilogue(&self, _op: &AnyOperation) -> bool {
        false
    }

    /// Makes a plan ready.
    fn compile(&self, plan: &Plan) -> Result<Box<dyn Executable>>;

    /// Waits until everything asked so far is done.
    fn synchronize(&self) -> Result<()>;

    /// The counters (`plan_hits` and `plan_misses` are the device's, not the backend's).
    fn stats(&self) -> Stats;

    /// Gives pooled memory that nothing uses back to the driver, and drops what can be made again.
    fn trim(&self);

    /// Starts to time every kernel.
    ///
    /// # Errors
    /// Where the device has no clock for that.
    fn begin_profile(&self) -> Result<()> {
        Err(Error::Device(format!(
            "{} cannot time its kernels",
            self.name()
        )))
    }

    /// Stops, waits for what was asked so far, and returns what ran since the start.
    ///
    /// # Errors
    /// What a wait can fail with.
    fn end_profile(&self) -> Result<Vec<Span>> {
        Ok(Vec::new())
    }
}
