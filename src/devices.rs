//! Opening devices.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

#[cfg(not(all(target_arch = "wasm32", feature = "gpu")))]
use wgrad_core::Error;
use wgrad_core::{Device, Result};
use wgrad_cpu_backend::{CpuBackend, CpuOptions, InstructionSet};
#[cfg(feature = "gpu")]
use wgrad_wgpu_backend::{WgpuBackend, WgpuOptions};

/// Which device to open.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Kind {
    Cpu,
    Gpu {
        name: Option<String>,
        index: Option<usize>,
        software: bool,
    },
}

/// How to open a device that is yours alone: with its own counters, random stream and memory
/// limit. [`cpu`], [`gpu`] and [`default_device`] share one device per process instead.
///
/// ```
/// # fn main() -> wgrad::Result<()> {
/// let dev = wgrad::DeviceOptions::cpu().fusion(false).memory_limit(1 << 30).open()?;
/// assert!(dev.is_cpu());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options open nothing by themselves; call open"]
pub struct DeviceOptions {
    kind: Kind,
    fusion: Option<bool>,
    checked: bool,
    memory_limit: Option<usize>,
    poison: bool,
    instructions: Option<InstructionSet>,
    strict: bool,
    immediates: bool,
    tune: bool,
}

impl DeviceOptions {
    fn new(kind: Kind) -> DeviceOptions {
        DeviceOptions {
            kind,
            fusion: None,
            checked: false,
            memory_limit: None,
            poison: flag("WGRAD_POISON"),
            instructions: None,
            strict: false,
            immediates: true,
            tune: false,
        }
    }

    /// The CPU.
    pub fn cpu() -> DeviceOptions {
        DeviceOptions::new(Kind::Cpu)
    }

    /// A GPU: hardware if there is any, else a software adapter (which says so in its name).
    pub fn gpu() -> DeviceOptions {
        DeviceOptions::new(Kind::Gpu {
            name: None,
            index: None,
            software: true,
        })
    }

    /// Prefers the adapter whose name contains `name` (in any case). Only for GPUs.
    pub fn adapter(mut self, wanted: impl Into<String>) -> DeviceOptions {
        if let Kind::Gpu { name, .. } = &mut self.kind {
            *name = Some(wanted.into());
        }
        self
    }

    /// Takes the adapter at this place in [`devices`]' list of GPUs, from 0.
    pub fn index(mut self, wanted: usize) -> DeviceOptions {
        if let Kind::Gpu { index, .. } = &mut self.kind {
            *index = Some(wanted);
        }
        self
    }

    /// Whether software adapters count as GPUs.
    pub fn software(mut self, allow: bool) -> DeviceOptions {
        if let Kind::Gpu { software, .. } = &mut self.kind {
            *software = allow;
        }
        self
    }

    /// Whether operations are fused into larger kernels. Default: yes, unless the environment has
    /// `WGRAD_FUSION=0`.
    pub fn fusion(mut self, fusion: bool) -> DeviceOptions {
        self.fusion = Some(fusion);
        self
    }

    /// Whether GPU kernels keep bounds checks. Default: no, unless `WGRAD_CHECKED=1`.
    pub fn checked_kernels(mut self, checked: bool) -> DeviceOptions {
        self.checked = checked;
        self
    }

    /// Most bytes of device memory to hold. Beyond it runs fail with
    /// [`Error::OutOfMemory`], and the device still works.
    pub fn memory_limit(mut self, bytes: usize) -> DeviceOptions {
        self.memory_limit = Some(bytes);
        self
    }

    /// Fills memory with NaN patterns before it is used, so that tests notice reads of what was
    /// never written.
    pub fn poison(mut self, poison: bool) -> DeviceOptions {
        self.poison = poison;
        self
    }

    /// The instruction set that the CPU's loops use. Default: the best that the machine has, or what the environment
    /// variable `WGRAD_CPU` names (`scalar`, `avx2`, `avx512`, `neon`, `simd128`). With one that the machine does not
    /// have, every use of the device is an error. Optimizers use the best in any case. Only for the CPU.
    ///
    /// ```
    /// # fn main() -> wgrad::Result<()> {
    /// use wgrad::{DeviceOptions, InstructionSet, Tensor};
    /// let dev = DeviceOptions::cpu().instructions(InstructionSet::Scalar).open()?;
    /// assert_eq!(dev.name(), "CPU (scalar)");
    /// assert_eq!(Tensor::ones([2, 3], &dev).sum().item::<f32>()?, 6.0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn instructions(mut self, set: InstructionSet) -> DeviceOptions {
        self.instructions = Some(set);
        self
    }

    /// Restricts a GPU to what the WebGPU standard has.
    pub fn strict(mut self, strict: bool) -> DeviceOptions {
        self.strict = strict;
        self
    }

    /// Times all ways to compute a matrix product when its shape is first met, and keeps the
    /// fastest, instead of choosing by a table. Each way's numbers are checked first. Default: no,
    /// unless `WGRAD_TUNE=1`. Only for GPUs, and not in browsers.
    pub fn tune(mut self, tune: bool) -> DeviceOptions {
        self.tune = tune;
        self
    }

    /// Whether kernel parameters may travel as immediates, where the adapter has them.
    pub fn immediates(mut self, immediates: bool) -> DeviceOptions {
        self.immediates = immediates;
        self
    }

    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if no adapter fits, [`Error::Device`] if its driver refuses.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(&self) -> Result<Device> {
        pollster::block_on(self.open_async())
    }

    /// [`DeviceOptions::open`] for the web, where nothing may block.
    ///
    /// # Errors
    /// As `open`.
    pub async fn open_async(&self) -> Result<Device> {
        let fusion = self.fusion.unwrap_or_else(|| !has("WGRAD_FUSION", "0"));
        match &self.kind {
            Kind::Cpu => {
                let options = CpuOptions {
                    memory_limit: self.memory_limit,
                    poison: self.poison,
                    instructions: self.instructions,
                    ..CpuOptions::default()
                };
                Ok(Device::new(CpuBackend::new(options), fusion))
            }
            Kind::Gpu {
                name,
                index,
                software,
            } => {
                self.open_gpu(name.as_deref(), *index, *software, fusion)
                    .await
            }
        }
    }

    #[cfg(feature = "gpu")]
    async fn open_gpu(
        &self,
        name: Option<&str>,
        index: Option<usize>,
        software: bool,
        fusion: bool,
    ) -> Result<Device> {
        let options = WgpuOptions {
            adapter: name.map(str::to_string),
            index,
            allow_software: software,
            checked_kernels: self.checked,
            memory_limit: self.memory_limit,
            poison: self.poison,
            strict: self.strict,
            no_immediates: !self.immediates,
            tune: self.tune,
            ..WgpuOptions::default()
        };
        Ok(Device::new(WgpuBackend::open(&options).await?, fusion))
    }

    #[cfg(not(feature = "gpu"))]
    async fn open_gpu(
        &self,
        _: Option<&str>,
        _: Option<usize>,
        _: bool,
        _: bool,
    ) -> Result<Device> {
        Err(Error::NoAdapter(
            "wgrad was built without its feature \"gpu\"".into(),
        ))
    }
}

/// Wraps a wgpu device that the program already has, so that both share it. `adapter` must be the
/// one that `device` was requested from.
///
/// # Errors
/// [`Error::Device`] if the device lacks what wgrad needs.
#[cfg(feature = "gpu")]
pub fn from_wgpu(
    adapter: &wgpu::Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
) -> Result<Device> {
    let backend = WgpuBackend::from_wgpu(adapter, device, queue, &WgpuOptions::default())?;
    Ok(Device::new(backend, !has("WGRAD_FUSION", "0")))
}

fn has(variable: &str, value: &str) -> bool {
    std::env::var(variable).is_ok_and(|v| v == value)
}

fn flag(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|v| !v.is_empty() && v != "0")
}

/// The devices that this process shares, by what was asked for.
fn shared() -> MutexGuard<'static, HashMap<Kind, Device>> {
    static DEVICES: OnceLock<Mutex<HashMap<Kind, Device>>> = OnceLock::new();
    DEVICES
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

#[cfg(not(target_arch = "wasm32"))]
fn open_shared(options: &DeviceOptions) -> Result<Device> {
    let mut devices = shared();
    if let Some(device) = devices.get(&options.kind) {
        return Ok(device.clone());
    }
    let device = options.open()?;
    devices.insert(options.kind.clone(), device.clone());
    Ok(device)
}

/// The CPU, one device per process.
pub fn cpu() -> Device {
    let mut devices = shared();
    let open = || {
        let options = CpuOptions {
            poison: flag("WGRAD_POISON"),
            instructions: None,
            ..CpuOptions::default()
        };
        Device::new(CpuBackend::new(options), !has("WGRAD_FUSION", "0"))
    };
    devices.entry(Kind::Cpu).or_insert_with(open).clone()
}

/// A GPU, one device per process: hardware if there is any, else a software adapter, which says so
/// in its name.
///
/// # Errors
/// [`Error::NoAdapter`] if there is none at all.
#[cfg(not(target_arch = "wasm32"))]
pub fn gpu() -> Result<Device> {
    open_shared(&DeviceOptions::gpu())
}

/// What the environment variable `WGRAD_DEVICE` says (`cpu`, `gpu`, or `gpu:N` for the N-th of
/// [`devices`]); without it a hardware GPU, or else the CPU. Never a software adapter unasked: it
/// is slower than the CPU backend.
///
/// If `WGRAD_DEVICE` cannot be satisfied the result is a failed device, whose tensors all carry
/// the error.
#[cfg(not(target_arch = "wasm32"))]
pub fn default_device() -> Device {
    let wish = std::env::var("WGRAD_DEVICE").unwrap_or_default();
    let opened = match wish.split_once(':').unwrap_or((wish.as_str(), "")) {
        ("", _) => {
            return open_shared(&DeviceOptions::gpu().software(false)).unwrap_or_else(|_| cpu());
        }
        ("cpu", "") => Ok(cpu()),
        ("gpu", "") => gpu(),
        ("gpu", index) => match index.parse() {
            Ok(index) => open_shared(&DeviceOptions::gpu().index(index)),
            Err(_) => Err(unknown(&wish)),
        },
        _ => Err(unknown(&wish)),
    };
    opened.unwrap_or_else(Device::failed)
}

#[cfg(not(target_arch = "wasm32"))]
fn unknown(wish: &str) -> Error {
    Error::NoAdapter(format!("WGRAD_DEVICE={wish} is none of cpu, gpu, gpu:N"))
}

/// A device that could be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceInfo {
    /// What `WGRAD_DEVICE` calls it: `cpu` or `gpu:N`.
    pub id: String,
    /// The name.
    pub name: String,
    /// The interface: `Vulkan`, `Metal`, `Dx12`, ...; `CPU` for the CPU.
    pub api: String,
    /// Whether it is a GPU played by the CPU.
    pub software: bool,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<6} {} ({}{})",
            self.id,
            self.name,
            self.api,
            if self.software { ", software" } else { "" }
        )
    }
}

/// The devices of this machine.
///
/// ```
/// for info in wgrad::devices() {
///     println!("{info}");
/// }
/// ```
#[cfg(not(target_arch = "wasm32"))]
pub fn devices() -> Vec<DeviceInfo> {
    let cpu = DeviceInfo {
        id: "cpu".into(),
        name: cpu().name().to_string(),
        api: "CPU".into(),
        software: false,
    };
    #[cfg_attr(not(feature = "gpu"), allow(unused_mut))]
    let mut devices = vec![cpu];
    #[cfg(feature = "gpu")]
    for adapter in pollster::block_on(wgrad_wgpu_backend::adapters()) {
        devices.push(DeviceInfo {
            id: format!("gpu:{}", adapter.index),
            name: adapter.name,
            api: adapter.api,
            software: adapter.software,
        });
    }
    devices
}
