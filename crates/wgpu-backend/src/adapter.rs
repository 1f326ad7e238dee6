//! Finding and opening a device, and the backend's front.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use wgrad_core::{
    AnyOperation, Backend, BoxFuture, Buffer, DType, Error, Executable, Limits, Plan, ReadBack,
    Result, Span, Spec, Stats,
};

use crate::bindings::BindGroups;
use crate::counters::Counters;
use crate::device::{Failure, Gpu, Traits, convert, lock};
use crate::executable::Program;
use crate::instance::find_adapters;
use crate::ops;
use crate::options::{AdapterSummary, WgpuOptions};
use crate::pipeline::Pipelines;
use crate::pool::{GpuBuffer, Pool};
use crate::readback::{self, FAULT_BYTES};
use crate::recent::Recent;

/// Work on hardware after which a run goes on in another submit: Windows resets a GPU that is
/// busy for two seconds.
const SUBMIT_SECONDS: f64 = 0.1;

/// Compiled kernels that are kept at most, unless more were used lately. Those of software adapters
/// are programs for the CPU, of up to 2 MB each.
const KEPT_PIPELINES: usize = 1024;
const KEPT_SOFTWARE_PIPELINES: usize = 128;

/// A GPU, or a driver that plays one on the CPU, behind wgpu. Clones are the same device.
#[derive(Clone)]
pub struct WgpuBackend {
    pub(crate) gpu: Arc<Gpu>,
}

fn flag(name: &str) -> bool {
    std::env::var(name).is_ok_and(|v| !v.is_empty() && v != "0")
}

fn is_software(info: &wgpu::AdapterInfo) -> bool {
    info.device_type == wgpu::DeviceType::Cpu
}

/// The adapters of this machine.
pub async fn adapters() -> Vec<AdapterSummary> {
    find_adapters(false)
        .await
        .iter()
        .enumerate()
        .map(|(index, adapter)| {
            let info = adapter.get_info();
            AdapterSummary {
                index,
                software: is_software(&info),
                api: format!("{:?}", info.backend),
                driver: format!("{} {}", info.driver, info.driver_info),
                name: info.name,
            }
        })
        .collect()
}

/// Discrete before integrated before unknown before software.
fn rank(info: &wgpu::AdapterInfo) -> u32 {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn choose(adapters: Vec<wgpu::Adapter>, options: &WgpuOptions) -> Result<wgpu::Adapter> {
    let names: Vec<String> = adapters.iter().map(|a| a.get_info().name).collect();
    let named = options.adapter.is_some() || options.index.is_some();
    let wanted = options.adapter.as_ref().map(|w| w.to_lowercase());
    adapters
        .into_iter()
        .enumerate()
        .filter(|(index, adapter)| {
            let info = adapter.get_info();
            options.index.is_none_or(|wanted| wanted == *index)
                && wanted
                    .as_ref()
                    .is_none_or(|w| info.name.to_lowercase().contains(w))
                && (named || options.allow_software || !is_software(&info))
        })
        .min_by_key(|(_, adapter)| rank(&adapter.get_info()))
        .map(|(_, adapter)| adapter)
        .ok_or_else(|| {
            Error::NoAdapter(if names.is_empty() {
                "the system has none".into()
            } else {
                format!("none of {names:?} fits the options")
            })
        })
}

impl WgpuBackend {
    /// Opens the adapter that the options name, or the best one.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where none fits, [`Error::Device`] where the driver refuses.
    pub async fn open(options: &WgpuOptions) -> Result<WgpuBackend> {
        let strict = options.strict || flag("WGRAD_STRICT");
        let adapter = choose(find_adapters(strict).await, options)?;
        let mut features = adapter.features() & wgpu::Features::TIMESTAMP_QUERY;
        if !strict && !options.no_immediates {
            features |= adapter.features() & wgpu::Features::IMMEDIATES;
        }
        if !strict && options.kernels.software(is_software(&adapter.get_info())) {
            let useful = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_INT64;
            features |= adapter.features() & useful;
        }
        let mut limits = adapter.limits();
        if !features.contains(wgpu::Features::IMMEDIATES) {
            limits.max_immediate_size = 0;
        }
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("wgrad"),
                required_features: features,
                required_limits: limits,
                memory_hints: wgpu::MemoryHints::MemoryUsage,
                ..Default::default()
            })
            .await
            .map_err(|e| Error::Device(e.to_string()))?;
        WgpuBackend::from_wgpu(&adapter, device, queue, options)
    }

    /// A backend on a device that the program already has. Takes over its error handler and its
    /// device-lost callback. The adapter options are not looked at.
    ///
    /// # Errors
    /// [`Error::Device`] where the device's limits are too small.
    pub fn from_wgpu(
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: &WgpuOptions,
    ) -> Result<WgpuBackend> {
        let info = adapter.get_info();
        let failure = Arc::new(Failure::default());
        let handler = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error| handler.record(error)));
        let handler = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            handler.lose(format!("{reason:?} {message}").trim().to_string());
        });
        let most = device.limits();
        if most.max_storage_buffers_per_shader_stage < 4
            || most.max_compute_invocations_per_workgroup < 256
        {
            return Err(Error::Device("the device has no compute limits".into()));
        }
        let strict = options.strict || flag("WGRAD_STRICT");
        let immediates = device.features().contains(wgpu::Features::IMMEDIATES)
            && !options.no_immediates
            && !strict;
        let max_buffer = usize::try_from(most.max_buffer_size).unwrap_or(usize::MAX);
        let max_binding = usize::try_from(most.max_storage_buffer_binding_size)
            .unwrap_or(usize::MAX)
            .min(max_buffer)
            / 256
            * 256;
        let mut dtypes = vec![
            DType::F32,
            DType::BF16,
            DType::I32,
            DType::U32,
            DType::I16,
            DType::I8,
            DType::U8,
            DType::Bool,
        ];
        // f16 is storage only, but reading it takes `unpack2x16float`.
        let downlevel = adapter.get_downlevel_capabilities();
        if downlevel
            .flags
            .contains(wgpu::DownlevelFlags::SHADER_F16_IN_F32)
        {
            dtypes.insert(1, DType::F16);
        }
        let limits = Limits {
            max_buffer,
            max_binding,
            max_kernel_buffers: most.max_storage_buffers_per_shader_stage as usize,
            // Drivers take seconds to compile a kernel of 64 routines.
            max_kernel_ops: 64,
            // Kernels index with u32 and the `Index` operation gives i32.
            max_elements: i32::MAX as usize - 256,
            dtypes,
            bool_bytes: 4,
        };
        let software = is_software(&info);
        let fault = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("fault"),
            size: FAULT_BYTES as u64,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let barrier_free = options.kernels.software(software);
        // Kernels that share rows within a subgroup are one subgroup wide, so its size must be known.
        let subgroup = if barrier_free
            && !strict
            && device.features().contains(wgpu::Features::SUBGROUP)
            && info.subgroup_min_size == info.subgroup_max_size
        {
            info.subgroup_min_size as usize
        } else {
            0
        };
        let wide =
            barrier_free && !strict && device.features().contains(wgpu::Features::SHADER_INT64);
        let traits = Traits {
            immediates: if immediates {
                most.max_immediate_size as usize
            } else {
                0
            },
            software: barrier_free,
            subgroup,
            wide,
            matmul: options.matmul,
            attention: options.attention,
            tuned: Arc::default(),
            renderings: Arc::default(),
            workgroup_bytes: most.max_compute_workgroup_storage_size as usize,
            max_groups: most.max_compute_workgroups_per_dimension,
        };
        let name = if software {
            format!("{} (software, {:?})", info.name, info.backend)
        } else {
            format!("{} ({:?})", info.name, info.backend)
        };
        let gpu = Arc::new(Gpu {
            device,
            queue,
            name,
            limits,
            traits,
            tunes: options.tune || flag("WGRAD_TUNE"),
            checked: options.checked_kernels || flag("WGRAD_CHECKED"),
            poison: options.poison,
            submit_seconds: match options.submit_after {
                Some(time) => time.as_secs_f64(),
                None if software => f64::INFINITY,
                None => SUBMIT_SECONDS,
            },
            failure,
            counters: Counters::default(),
            profile: Mutex::default(),
            pool: Mutex::new(Pool::new(options.memory_limit)),
            pipelines: Mutex::new(Pipelines::new(
                if software {
                    KEPT_SOFTWARE_PIPELINES
                } else {
                    KEPT_PIPELINES
                },
                std::env::var_os("WGRAD_DUMP_WGSL"),
            )),
            bind_groups: Mutex::new(BindGroups::default()),
            fault,
            fault_armed: AtomicBool::new(true),
        });
        gpu.check()?;
        Ok(WgpuBackend { gpu })
    }

    /// The WGSL of every pipeline compiled so far, with a label each, for checks that run it
    /// through other compilers.
    pub fn shaders(&self) -> Vec<(String, String)> {
        lock(&self.gpu.pipelines).shaders()
    }

    /// The WGSL of representative kernels of every kind, as this device would compile them, with a
    /// label each; nothing is compiled.
    ///
    /// # Errors
    /// Where a kernel cannot be generated, which is a bug.
    pub fn variants(&self) -> Result<Vec<(String, String)>> {
        crate::variants::generate_all(&self.gpu)
    }

    /// Ends the device as a driver reset would: every later operation returns
    /// [`Error::DeviceLost`].
    pub fn destroy(&self) {
        self.gpu.device.destroy();
        self.gpu.failure.lose("destroyed".into());
    }
}

impl Backend for WgpuBackend {
    fn name(&self) -> &str {
        &self.gpu.name
    }

    fn is_cpu(&self) -> bool {
        false
    }

    fn limits(&self) -> &Limits {
        &self.gpu.limits
    }

    fn allocate(&self, bytes: usize) -> Result<Buffer> {
        GpuBuffer::allocate(&self.gpu, bytes)
    }

    fn write(&self, buffer: &Buffer, offset: usize, bytes: &[u8]) -> Result<()> {
        self.gpu.check()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let own = GpuBuffer::of(&self.gpu, buffer, offset, bytes.len())?;
        let target = &own.block().buffer;
        self.gpu
            .scoped(wgpu::ErrorFilter::OutOfMemory, || {
                self.gpu.queue.write_buffer(target, offset as u64, bytes);
            })
            .map_err(convert)?;
        Counters::add(&self.gpu.counters.uploads, 1);
        self.gpu.check()
    }

    fn read(
        &self,
        buffer: Option<&Buffer>,
        offset: usize,
        bytes: usize,
    ) -> BoxFuture<Result<ReadBack>> {
        readback::read(&self.gpu, buffer, offset, bytes)
    }

    fn clear(&self, buffer: &Buffer) -> Result<()> {
        self.gpu.check()?;
        let own = GpuBuffer::of(&self.gpu, buffer, 0, 0)?;
        let mut encoder = self.gpu.encoder();
        encoder.clear_buffer(&own.block().buffer, 0, None);
        Counters::add(&self.gpu.counters.clears, 1);
        self.gpu.submit(encoder);
        self.gpu.check()
    }

    fn copy(
        &self,
        source: &Buffer,
        source_offset: usize,
        target: &Buffer,
        target_offset: usize,
        bytes: usize,
    ) -> Result<()> {
        self.gpu.check()?;
        let from = GpuBuffer::of(&self.gpu, source, source_offset, bytes)?;
        let to = GpuBuffer::of(&self.gpu, target, target_offset, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        let mut encoder = self.gpu.encoder();
        encoder.copy_buffer_to_buffer(
            &from.block().buffer,
            source_offset as u64,
            &to.block().buffer,
            target_offset as u64,
            bytes as u64,
        );
        Counters::add(&self.gpu.counters.copies, 1);
        self.gpu.submit(encoder);
        self.gpu.check()
    }

    fn has_kernel(&self, op: &AnyOperation, operands: &[Spec]) -> bool {
        // Operands, results and the fault word are bindings.
        let fault = usize::from(op.index_range(operands).is_some());
        let bindings = self.gpu.limits.max_kernel_buffers.saturating_sub(fault);
        ops::has_kernel(op, operands, bindings, &self.gpu.traits)
    }

    fn takes_epilogue(&self, op: &AnyOperation) -> bool {
        ops::takes_epilogue(op)
    }

    fn compile(&self, plan: &Plan) -> Result<Box<dyn Executable>> {
        self.gpu.check()?;
        #[cfg(not(target_arch = "wasm32"))]
        if self.gpu.tunes {
            self.gpu.tune(plan)?;
        }
        let traits = &self.gpu.traits;
        Ok(Box::new(Program::compile(&self.gpu, traits, plan)?))
    }

    fn synchronize(&self) -> Result<()> {
        self.gpu.check()?;
        #[cfg(not(target_arch = "wasm32"))]
        self.gpu
            .device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|e| Error::Device(e.to_string()))?;
        self.gpu.check()
    }

    fn stats(&self) -> Stats {
        self.gpu.counters.stats()
    }

    fn trim(&self) {
        self.gpu.trim_pool();
        self.gpu.trim_pipelines();
        *lock(&self.gpu.traits.tuned) = Recent::default();
        *lock(&self.gpu.traits.renderings) = Recent::default();
        // What the driver still had work for goes when it is done.
        #[cfg(not(target_arch = "wasm32"))]
        let _ = self.gpu.device.poll(wgpu::PollType::Poll);
    }

    fn begin_profile(&self) -> Result<()> {
        self.gpu.begin_profile()
    }

    fn end_profile(&self) -> Result<Vec<Span>> {
        self.gpu.end_profile()
    }
}
