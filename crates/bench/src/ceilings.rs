//! What a device could do at best: the bandwidth of a plain copy and the rate of multiply-adds,
//! measured without the framework.

use std::hint::black_box;

use wgrad::wgpu;
use wgrad::{Device, Error, Result};

/// The least that a repetition has to do.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Floating-point operations.
    Flops(usize),
    /// Bytes to move.
    Bytes(usize),
    /// Not said.
    Unknown,
}

/// Work that a device does about as fast as it can.
pub struct Ceiling {
    /// How much a repetition does.
    pub work: Work,
    run: Box<dyn FnMut() -> Result<f64>>,
}

impl Ceiling {
    fn new(work: Work, run: impl FnMut() -> Result<f64> + 'static) -> Ceiling {
        Ceiling {
            work,
            run: Box::new(run),
        }
    }

    /// Does it once, and waits; 1 if it was done.
    ///
    /// # Errors
    /// What the GPU reports.
    pub fn run(&mut self) -> Result<f64> {
        (self.run)()
    }
}

/// Floats that are copied: 64 MiB.
const FLOATS: usize = 16 << 20;
/// Independent sums of a thread: twelve vectors of eight, which hide the latency of a multiply-add
/// and leave registers for the factors.
const SUMS: usize = 96;
/// The same with vectors of sixteen.
#[cfg(target_arch = "x86_64")]
const WIDE_SUMS: usize = 192;

/// Copies 64 MiB, counted twice: read and written.
///
/// # Errors
/// Where no GPU opens.
pub fn copy(dev: &Device) -> Result<Ceiling> {
    let work = Work::Bytes(8 * FLOATS);
    if dev.is_cpu() {
        let from = vec![1.0f32; FLOATS];
        let mut to = vec![0.0f32; FLOATS];
        let part = FLOATS.div_ceil(threads());
        return Ok(Ceiling::new(work, move || {
            std::thread::scope(|scope| {
                for (to, from) in to.chunks_mut(part).zip(from.chunks(part)) {
                    scope.spawn(|| to.copy_from_slice(from));
                }
            });
            Ok(f64::from(black_box(to[FLOATS / 2])))
        }));
    }
    let text = "
        @group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
        @group(0) @binding(1) var<storage, read_write> goal: array<vec4<f32>>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            goal[id.x] = source[id.x];
        }";
    let gpu = Raw::new(text, [4 * FLOATS, 4 * FLOATS])?;
    let groups = (FLOATS / 4 / 64) as u32;
    // Dispatches of at most 65,535 groups.
    assert!(groups <= 65_536);
    Ok(Ceiling::new(work, move || gpu.run(groups - 1)))
}

/// Multiply-adds on values that stay in registers, two operations each.
///
/// # Errors
/// Where no GPU opens.
pub fn fma(dev: &Device) -> Result<Ceiling> {
    if dev.is_cpu() {
        const STEPS: usize = 2_000_000;
        let work = Work::Flops(2 * width() * STEPS * threads());
        return Ok(Ceiling::new(work, || {
            let sums: Vec<f32> = std::thread::scope(|scope| {
                let parts: Vec<_> = (0..threads())
                    .map(|_| scope.spawn(|| multiply_adds(STEPS)))
                    .collect();
                parts.into_iter().filter_map(|p| p.join().ok()).collect()
            });
            Ok(f64::from(sums.iter().sum::<f32>().min(1.0)))
        }));
    }
    const STEPS: usize = 1024;
    const GROUPS: usize = 256;
    let text = format!(
        "@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
        @group(0) @binding(1) var<storage, read_write> goal: array<vec4<f32>>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
            let x = source[id.x];
            let y = source[id.x + 1u];
            var a = x; var b = x + 1.0; var c = x + 2.0; var d = x + 3.0;
            for (var i = 0u; i < {STEPS}u; i++) {{
                a = fma(a, x, y); b = fma(b, x, y); c = fma(c, x, y); d = fma(d, x, y);
            }}
            goal[id.x] = a + b + c + d;
        }}"
    );
    let gpu = Raw::new(&text, [GROUPS * 64 * 16 + 16, GROUPS * 64 * 16])?;
    let work = Work::Flops(2 * 16 * STEPS * 64 * GROUPS);
    Ok(Ceiling::new(work, move || gpu.run(GROUPS as u32)))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[inline(always)]
fn sums<const N: usize>(steps: usize) -> f32 {
    let mut sums = [0.5f32; N];
    let (x, y) = (black_box(0.5f32), black_box(0.25f32));
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = sum.mul_add(x, y);
        }
    }
    sums.iter().sum()
}

/// How many sums a thread has.
fn width() -> usize {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        return WIDE_SUMS;
    }
    SUMS
}

#[cfg(target_arch = "x86_64")]
fn multiply_adds(steps: usize) -> f32 {
    #[target_feature(enable = "avx512f")]
    fn wide(steps: usize) -> f32 {
        sums::<WIDE_SUMS>(steps)
    }
    #[target_feature(enable = "avx2,fma")]
    fn narrow(steps: usize) -> f32 {
        sums::<SUMS>(steps)
    }
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the CPU has the feature.
        unsafe { wide(steps) }
    } else if is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has both features.
        unsafe { narrow(steps) }
    } else {
        sums::<SUMS>(steps)
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply_adds(steps: usize) -> f32 {
    sums::<SUMS>(steps)
}

/// A kernel with one buffer to read and one to write, on wgpu itself.
struct Raw {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
}

fn problem(error: impl std::fmt::Display) -> Error {
    Error::Device(error.to_string())
}

impl Raw {
    fn new(text: &str, bytes: [usize; 2]) -> Result<Raw> {
        let descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        let instance = wgpu::Instance::new(descriptor);
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = pollster::block_on(instance.request_adapter(&options)).map_err(problem)?;
        let (device, queue) =
            pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))
                .map_err(problem)?;
        // SAFETY: the kernels above stay within their buffers and their loops end.
        let module = unsafe {
            device.create_shader_module_trusted(
                wgpu::ShaderModuleDescriptor {
                    label: None,
                    source: wgpu::ShaderSource::Wgsl(text.into()),
                },
                wgpu::ShaderRuntimeChecks::unchecked(),
            )
        };
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let buffers = bytes.map(|size| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: size as u64,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        });
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[0, 1].map(|i| wgpu::BindGroupEntry {
                binding: i,
                resource: buffers[i as usize].as_entire_binding(),
            }),
        });
        Ok(Raw {
            device,
            queue,
            pipeline,
            group,
        })
    }

    fn run(&self, groups: u32) -> Result<f64> {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.group, &[]);
            pass.dispatch_workgroups(groups, 1, 1);
        }
        self.queue.submit([encoder.finish()]);
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(problem)?;
        Ok(1.0)
    }
}
