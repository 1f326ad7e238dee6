//! Devices: a backend with its caches, its random stream and its counters.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use crate::autograd::checkpoint;
use crate::kernel::backend::{Backend, Fault, Limits, ReadBack, Stats};
use crate::operation::{AnyOperation, Spec};
use crate::run::{self, Runner};
use crate::tensor::create::{Generator, RandomState};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Error, Place, Result};

/// A device that tensors live on. Cheap to clone; two clones are equal.
///
/// A device that could not be opened is a *failed device*: all its tensors carry the error.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    id: u64,
    kind: Kind,
}

enum Kind {
    Failed(Error),
    Open(Box<Open>),
}

pub(crate) struct Open {
    pub backend: Box<dyn Backend>,
    pub fusion: bool,
    pub runner: Mutex<Runner>,
    random: Mutex<RandomState>,
    faults: Mutex<Faults>,
    /// How often operations without a kernel were recorded as their references.
    references: Mutex<BTreeMap<&'static str, u64>>,
}

impl Open {
    /// Notes an operation that has no kernel here.
    pub fn note_reference(&self, name: &'static str) {
        *lock(&self.references).entry(name).or_insert(0) += 1;
    }

    // Profiles, which wait for clocks, ask for it.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn references(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.references).clone()
    }
}

/// What a launch that may meet a bad index was recorded as.
#[derive(Clone)]
pub(crate) struct FaultSite {
    pub op: &'static str,
    pub size: usize,
    pub place: Place,
    pub thread: ThreadId,
}

/// Fault codes are handed out in sequence; the table keeps the last ones.
#[derive(Default)]
struct Faults {
    first: u32,
    sites: VecDeque<FaultSite>,
    /// Faults found by another thread's read.
    waiting: Vec<(ThreadId, Error)>,
}

/// How many launches back a fault can be told.
const FAULT_HISTORY: usize = 1 << 16;

impl Device {
    /// Wraps a backend. `fusion: false` runs every recorded operation alone and every fused
    /// kernel as its reference in plain operations.
    pub fn new(backend: impl Backend + 'static, fusion: bool) -> Device {
        Device::with(Kind::Open(Box::new(Open {
            backend: Box::new(backend),
            fusion,
            runner: Mutex::new(Runner::default()),
            random: Mutex::default(),
            faults: Mutex::new(Faults {
                first: 1,
                ..Faults::default()
            }),
            references: Mutex::default(),
        })))
    }

    /// A device all of whose tensors carry `error`.
    pub fn failed(error: Error) -> Device {
        Device::with(Kind::Failed(error))
    }

    fn with(kind: Kind) -> Device {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Device(Arc::new(Inner {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            kind,
        }))
    }

    /// The device's name, as its driver gives it.
    pub fn name(&self) -> &str {
        match &self.0.kind {
            Kind::Failed(_) => "failed device",
            Kind::Open(open) => open.backend.name(),
        }
    }

    /// Whether this is the CPU.
    pub fn is_cpu(&self) -> bool {
        self.open().is_ok_and(|open| open.backend.is_cpu())
    }

    /// The error of a failed device.
    pub fn error(&self) -> Option<Error> {
        match &self.0.kind {
            Kind::Failed(error) => Some(error.clone()),
            Kind::Open(_) => None,
        }
    }

    /// What the device takes.
    ///
    /// # Errors
    /// A failed device's error.
    pub fn limits(&self) -> Result<Limits> {
        Ok(self.open()?.backend.limits().clone())
    }

    /// Whether operations are fused (see [`Device::new`]).
    pub fn fusion(&self) -> bool {
        self.open().is_ok_and(|open| open.fusion)
    }

    /// Whether an operation has a kernel on this device for these operands: else it runs as its reference.
    pub fn has_kernel(&self, operation: &AnyOperation, operands: &[Spec]) -> bool {
        self.open()
            .is_ok_and(|open| open.backend.has_kernel(operation, operands))
    }

    /// Exact counters since the device was opened; zeros for a failed device.
    pub fn stats(&self) -> Stats {
        let Ok(open) = self.open() else {
            return Stats::default();
        };
        let (plan_hits, plan_misses) = lock(&open.runner).plan_counts();
        Stats {
            plan_hits,
            plan_misses,
            ..open.backend.stats()
        }
    }

    /// Restarts the device's random stream. Equal seeds give equal numbers on every device, for
    /// the same sequence of random operations. A fresh device has seed 0.
    pub fn seed(&self, seed: u64) {
        if let Ok(open) = self.open() {
            *lock(&open.random) = RandomState { seed, counter: 0 };
        }
    }

    /// Where the device's random stream stands, to be kept with what is trained; a failed device has none, and
    /// says its beginning.
    pub fn random_state(&self) -> RandomState {
        self.open()
            .map_or_else(|_| RandomState::default(), |open| *lock(&open.random))
    }

    /// Has the device's random stream go on where it stood once.
    pub fn set_random_state(&self, state: RandomState) {
        if let Ok(open) = self.open() {
            *lock(&open.random) = state;
        }
    }

    /// The four scalar operands of the next random operation.
    pub(crate) fn next_random(&self) -> [Scalar; 4] {
        let Ok(open) = self.open() else {
            return [Scalar::Integer(0); 4];
        };
        let draw =
            checkpoint::draw(|| Generator::draw().unwrap_or_else(|| lock(&open.random).next()));
        draw.map(|v| Scalar::Integer(i64::from(v as u32)))
    }

    /// Runs what this thread recorded, without waiting for the results.
    ///
    /// # Errors
    /// What a run can fail with.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([1.0, 2.0], &dev) + 1.0;
    /// dev.flush()?;
    /// assert_eq!(y.to_vec::<f32>()?, [2.0, 3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        run::run(self, &[], None)
    }

    /// Runs what this thread recorded and waits until the device is idle.
    ///
    /// # Errors
    /// What a run can fail with, and bad indices that kernels met.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn synchronize(&self) -> Result<()> {
        pollster::block_on(self.synchronize_async())
    }

    /// [`Device::synchronize`] without blocking the thread.
    ///
    /// # Errors
    /// As `synchronize`.
    pub async fn synchronize_async(&self) -> Result<()> {
        run::run(self, &[], None)?;
        let open = self.open()?;
        let read = open.backend.read(None, 0, 0).await?;
        self.take_fault(&read)
    }

    /// Gives back what is only kept for later: pooled memory, plans and compiled kernels. What is
    /// needed again is made again.
    pub fn trim(&self) {
        if let Ok(open) = self.open() {
            lock(&open.runner).forget();
            open.backend.trim();
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    /// The error for an operation on tensors of this device and of another. Devices of one name are
    /// told apart by when they were opened.
    pub(crate) fn mismatch(&self, op: &'static str, other: &Device, place: Place) -> Error {
        let name = |device: &Device| match self.name() == other.name() {
            true => format!("{} (opened as number {})", device.name(), device.id()),
            false => device.name().to_string(),
        };
        Error::DeviceMismatch {
            op,
            left: name(self),
            right: name(other),
            place,
        }
    }

    pub(crate) fn open(&self) -> Result<&Open> {
        match &self.0.kind {
            Kind::Failed(error) => Err(error.clone()),
            Kind::Open(open) => Ok(open),
        }
    }

    /// Bytes of a stored element.
    pub(crate) fn element_size(&self, dtype: DType) -> usize {
        match self.open() {
            Ok(open) => open.backend.limits().size(dtype),
            Err(_) => dtype.size(),
        }
    }

    /// Codes for launches that may meet a bad index.
    pub(crate) fn fault_codes(&self, sites: Vec<FaultSite>) -> Vec<u32> {
        let Ok(open) = self.open() else {
            return Vec::new();
        };
        let mut faults = lock(&open.faults);
        sites
            .into_iter()
            .map(|site| {
                if faults.first > u32::MAX - 2 * FAULT_HISTORY as u32 {
                    faults.sites.clear();
                    faults.first = 1; // 0 means "no fault"
                }
                if faults.sites.len() == FAULT_HISTORY {
                    faults.sites.pop_front();
                    faults.first += 1;
                }
                faults.sites.push_back(site);
                faults.first + faults.sites.len() as u32 - 1
            })
            .collect()
    }

    /// Turns a fault that came along with a read into the error it means: for this thread now, for
    /// another thread at its next read.
    pub(crate) fn take_fault(&self, read: &ReadBack) -> Result<()> {
        let open = self.open()?;
        let mut faults = lock(&open.faults);
        let thread = std::thread::current().id();
        if let Some(Fault { code, value }) = read.fault {
            let site = code
                .checked_sub(faults.first)
                .and_then(|at| faults.sites.get(at as usize))
                .cloned();
            let (owner, error) = match site {
                Some(FaultSite {
                    op,
                    size,
                    place,
                    thread,
                }) => (
                    thread,
                    Error::IndexOutOfRange {
                        op,
                        index: value,
                        size,
                        place,
                    },
                ),
                None => (
                    thread,
                    Error::Device(format!("a kernel met the bad index {value}")),
                ),
            };
            faults.waiting.push((owner, error));
        }
        match faults
            .waiting
            .iter()
            .position(|(owner, _)| *owner == thread)
        {
            Some(at) => Err(faults.waiting.remove(at).1),
            None => Ok(()),
        }
    }
}

/// Locks; a panic of another holder does not matter for the plain data behind these locks.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PartialEq for Device {
    fn eq(&self, other: &Device) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Device {}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.name())
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A device and the element type to make a tensor with: `&device`, or `(DType::F16, &device)`.
pub trait Target {
    /// The device.
    fn device(&self) -> &Device;
    /// The wanted element type, `None` for the function's default.
    fn dtype(&self) -> Option<DType>;
}

impl Target for &Device {
    fn device(&self) -> &Device {
        self
    }
    fn dtype(&self) -> Option<DType> {
        None
    }
}

impl Target for (DType, &Device) {
    fn device(&self) -> &Device {
        self.1
    }
    fn dtype(&self) -> Option<DType> {
        Some(self.0)
    }
}
