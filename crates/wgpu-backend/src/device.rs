//! The open device that everything shares: queue, limits, errors.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use wgrad_core::{Error, Limits, Result};
use wgrad_shaders::{Rendering, TemplateError, Value};

use crate::bindings::BindGroups;
use crate::counters::Counters;
use crate::form::{Sizes, Way};
use crate::options::{AttentionChoice, KernelSet, MatmulChoice};
use crate::pipeline::Pipelines;
use crate::pool::Pool;
use crate::recent::Recent;
use crate::timer::Timed;

/// Locks, also after a panic elsewhere: what the locks protect is whole at every moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The result of a future that does not have to wait; `None` where it does (on the web).
pub(crate) fn settled<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// What wgpu reported outside of any call's result.
#[derive(Default)]
pub(crate) struct Failure {
    lost: AtomicBool,
    reason: Mutex<String>,
    pending: Mutex<Option<Error>>,
}

impl Failure {
    /// The device is gone for good.
    pub fn lose(&self, reason: String) {
        *lock(&self.reason) = reason;
        self.lost.store(true, Ordering::Release);
    }

    /// Keeps the first error until an operation returns it.
    pub fn record(&self, error: wgpu::Error) {
        tracing::error!("wgpu: {error}");
        lock(&self.pending).get_or_insert(convert(error));
    }

    /// The error of a lost device.
    pub fn lost(&self) -> Option<Error> {
        self.lost
            .load(Ordering::Acquire)
            .then(|| Error::DeviceLost(lock(&self.reason).clone()))
    }

    /// Returns what was recorded.
    pub fn check(&self) -> Result<()> {
        if let Some(error) = self.lost() {
            return Err(error);
        }
        lock(&self.pending).take().map_or(Ok(()), Err)
    }
}

/// wgpu's error as ours.
pub(crate) fn convert(error: wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory {
            requested: 0,
            live: 0,
            limit: 0,
        },
        other => Error::Device(other.to_string()),
    }
}

/// Steps of `k`, or elements of a row, that a thread of a kernel without barriers may walk. Mesa's
/// llvmpipe leaves a thread's loops after 65,535 rounds of all of them together, silently
/// (`LP_MAX_TGSI_LOOP_ITERATIONS` in `lp_bld_limits.h`); these walks take fewer.
pub(crate) const LONGEST_WALK: usize = 1 << 16;

/// Rendered templates, by file and variables. Fewer than of other things: both hold whole texts.
type Renderings = Recent<(&'static str, Value), Arc<Rendering>, 512>;

/// What code generation needs to know about the device.
#[derive(Clone, Debug)]
pub(crate) struct Traits {
    /// Bytes of immediates, 0 where there are none.
    pub immediates: usize,
    /// Prefer kernels without barriers.
    pub software: bool,
    /// For kernels without barriers: the size of every subgroup, 0 where it is not known or the
    /// device has no subgroup operations.
    pub subgroup: usize,
    /// For kernels without barriers: vectors are read as pairs of 64-bit words.
    pub wide: bool,
    pub matmul: MatmulChoice,
    pub attention: AttentionChoice,
    /// What tuning found.
    pub tuned: Arc<Mutex<Recent<Sizes, Way>>>,
    /// Templates as they were rendered, by file and variables.
    pub renderings: Arc<Mutex<Renderings>>,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: usize,
    /// Most workgroups per dimension.
    pub max_groups: u32,
}

impl Traits {
    /// A kernel's text. A plan that is replayed has it already; one that is made anew finds what others
    /// of its structure have rendered.
    pub fn render(&self, template: &'static str, variables: &Value) -> Result<Arc<Rendering>> {
        self.rendered(template, variables, || {
            wgrad_shaders::render(template, variables)
        })
    }

    /// The same for a template that is none of wgrad's files, by its text.
    pub fn render_text(
        &self,
        name: &str,
        text: &'static str,
        variables: &Value,
    ) -> Result<Arc<Rendering>> {
        self.rendered(text, variables, || {
            wgrad_shaders::render_text(name, text, variables)
        })
    }

    fn rendered(
        &self,
        template: &'static str,
        variables: &Value,
        render: impl FnOnce() -> Result<Rendering, TemplateError>,
    ) -> Result<Arc<Rendering>> {
        let key = (template, variables.clone());
        if let Some(known) = lock(&self.renderings).get(&key) {
            return Ok(known);
        }
        let rendering =
            render().map_err(|error| Error::Device(format!("shader template {error}")))?;
        let rendering = Arc::new(rendering);
        lock(&self.renderings).insert(key, rendering.clone());
        Ok(rendering)
    }
}

/// An open device.
pub(crate) struct Gpu {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub name: String,
    pub limits: Limits,
    pub traits: Traits,
    /// Whether products are tuned.
    #[cfg_attr(target_arch = "wasm32", allow(dead_code))]
    pub tunes: bool,
    pub checked: bool,
    pub poison: bool,
    /// Estimated work after which a run goes on in another submit.
    pub submit_seconds: f64,
    pub failure: Arc<Failure>,
    pub counters: Counters,
    /// Runs since a profile began.
    pub profile: Mutex<Option<Vec<Timed>>>,
    pub pool: Mutex<Pool>,
    pub pipelines: Mutex<Pipelines>,
    pub bind_groups: Mutex<BindGroups>,
    /// Words: code, value, upper half of the value, unused.
    pub fault: wgpu::Buffer,
    /// Whether a kernel that may report a fault ran since the word was last cleared.
    pub fault_armed: AtomicBool,
}

impl Gpu {
    /// Fails if the device is lost or something was reported since the last call.
    pub fn check(&self) -> Result<()> {
        let outcome = self.failure.check();
        if outcome.is_err() {
            // A destroyed device refuses commands at once, but tells of its loss when polled.
            let _ = self.device.poll(wgpu::PollType::Poll);
            if let Some(lost) = self.failure.lost() {
                return Err(lost);
            }
        }
        outcome
    }

    /// Runs `work` and returns what wgpu has to say against it.
    pub fn scoped<T>(
        &self,
        filter: wgpu::ErrorFilter,
        work: impl FnOnce() -> T,
    ) -> Result<T, wgpu::Error> {
        let scope = self.device.push_error_scope(filter);
        let value = work();
        match settled(scope.pop()) {
            Some(Some(error)) => Err(error),
            _ => Ok(value),
        }
    }

    /// Submits one command buffer.
    pub fn submit(&self, encoder: wgpu::CommandEncoder) -> wgpu::SubmissionIndex {
        Counters::add(&self.counters.submits, 1);
        self.queue.submit([encoder.finish()])
    }

    /// An encoder.
    pub fn encoder(&self) -> wgpu::CommandEncoder {
        self.device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None })
    }
}

impl crate::options::KernelSet {
    /// Whether barrier-free kernels are wanted on an adapter.
    pub(crate) fn software(self, adapter_is_cpu: bool) -> bool {
        match self {
            KernelSet::Auto => adapter_is_cpu,
            KernelSet::Hardware => false,
            KernelSet::Software => true,
        }
    }
}
