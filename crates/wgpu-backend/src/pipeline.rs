//! Compiled kernels, kept by their text.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wgrad_core::{DType, Error, Result};

use crate::counters::Counters;
use crate::device::{Gpu, lock};
use crate::source::Generated;

/// How a kernel gets its parameters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum ParamsAs {
    /// It has none.
    Nothing,
    /// Immediates of so many bytes.
    Immediates(u32),
    /// A uniform buffer in group 1, with a dynamic offset.
    Uniform,
}

/// Access to each storage binding (true: read and write) and the way of the parameters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Interface {
    pub writable: Vec<bool>,
    pub params: ParamsAs,
}

/// The wgpu layouts of an interface.
pub(crate) struct Layouts {
    pub id: u64,
    pub group: wgpu::BindGroupLayout,
    pipeline: wgpu::PipelineLayout,
}

/// A compiled kernel.
pub(crate) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layouts: Arc<Layouts>,
    pub id: u64,
    label: String,
    text: String,
}

/// The caches.
pub(crate) struct Pipelines {
    by_text: HashMap<String, Arc<Pipeline>>,
    layouts: HashMap<Interface, Arc<Layouts>>,
    params_layout: Option<wgpu::BindGroupLayout>,
    dump: Option<PathBuf>,
}

impl Pipelines {
    /// Empty caches; shaders are written to `dump`.
    pub fn new(dump: Option<OsString>) -> Pipelines {
        Pipelines {
            by_text: HashMap::new(),
            layouts: HashMap::new(),
            params_layout: None,
            dump: dump.map(PathBuf::from),
        }
    }

    /// Label and text of each pipeline, in the order of compilation.
    pub fn shaders(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> = self.by_text.values().collect();
        all.sort_by_key(|p| p.id);
        all.iter()
            .map(|p| (p.label.clone(), p.text.clone()))
            .collect()
    }
}

impl Gpu {
    /// The layout of the group that holds parameters.
    pub fn params_layout(&self) -> wgpu::BindGroupLayout {
        let mut pipelines = lock(&self.pipelines);
        pipelines
            .params_layout
            .get_or_insert_with(|| {
                self.device
                    .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                        label: Some("parameters"),
                        entries: &[wgpu::BindGroupLayoutEntry {
                            binding: 0,
                            visibility: wgpu::ShaderStages::COMPUTE,
                            ty: wgpu::BindingType::Buffer {
                                ty: wgpu::BufferBindingType::Uniform,
                                has_dynamic_offset: true,
                                min_binding_size: None,
                            },
                            count: None,
                        }],
                    })
            })
            .clone()
    }

    fn layouts(&self, interface: &Interface) -> Arc<Layouts> {
        if let Some(known) = lock(&self.pipelines).layouts.get(interface) {
            return known.clone();
        }
        let entries: Vec<_> = interface
            .writable
            .iter()
            .zip(0..)
            .map(|(&writable, binding)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage {
                        read_only: !writable,
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let group = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: None,
                entries: &entries,
            });
        let params = self.params_layout();
        let (groups, immediate_size) = match interface.params {
            ParamsAs::Nothing => (vec![Some(&group)], 0),
            ParamsAs::Immediates(bytes) => (vec![Some(&group)], bytes),
            ParamsAs::Uniform => (vec![Some(&group), Some(&params)], 0),
        };
        let pipeline = self
            .device
            .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &groups,
                immediate_size,
            });
        let mut pipelines = lock(&self.pipelines);
        let made = Arc::new(Layouts {
            id: pipelines.layouts.len() as u64,
            group: group.clone(),
            pipeline,
        });
        pipelines.layouts.insert(interface.clone(), made.clone());
        made
    }

    /// The compiled kernels, in the order given. What is missing is compiled on all cores: a
    /// driver takes tens of milliseconds for each.
    pub fn pipelines(&self, kernels: &[Generated]) -> Result<Vec<Arc<Pipeline>>> {
        let missing: Vec<&Generated> = {
            let known = lock(&self.pipelines);
            let mut texts: HashSet<&str> = HashSet::new();
            let mut missing = Vec::new();
            for kernel in kernels {
                if !known.by_text.contains_key(&kernel.text) && texts.insert(&kernel.text) {
                    missing.push(kernel);
                }
            }
            missing
        };
        // Layouts and numbers are given in order, so that they do not depend on who is faster.
        let layouts: Vec<Arc<Layouts>> =
            missing.iter().map(|k| self.layouts(&k.interface)).collect();
        let jobs: Vec<(&Generated, &Arc<Layouts>)> =
            missing.iter().copied().zip(&layouts).collect();
        for (pipeline, (kernel, layouts)) in self.compile_all(&jobs).into_iter().zip(&jobs) {
            self.keep(kernel, pipeline?, (*layouts).clone());
        }
        let known = lock(&self.pipelines);
        let find = |k: &Generated| known.by_text.get(&k.text).cloned();
        let found: Option<Vec<_>> = kernels.iter().map(find).collect();
        found.ok_or_else(|| Error::Device("a kernel was compiled and lost".into()))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn compile_all(
        &self,
        jobs: &[(&Generated, &Arc<Layouts>)],
    ) -> Vec<Result<wgpu::ComputePipeline>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = jobs
            .len()
            .div_ceil(threads.clamp(1, jobs.len().max(1)))
            .max(1);
        std::thread::scope(|scope| {
            let compile = |part: &[(&Generated, &Arc<Layouts>)]| -> Vec<_> {
                part.iter()
                    .map(|(k, layouts)| self.compile(k, layouts))
                    .collect()
            };
            let mut parts = jobs.chunks(share);
            let own = parts.next();
            let others: Vec<_> = parts
                .map(|part| scope.spawn(move || compile(part)))
                .collect();
            let mut all = own.map_or_else(Vec::new, compile);
            for other in others {
                match other.join() {
                    Ok(part) => all.extend(part),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all
        })
    }

    #[cfg(target_arch = "wasm32")]
    fn compile_all(
        &self,
        jobs: &[(&Generated, &Arc<Layouts>)],
    ) -> Vec<Result<wgpu::ComputePipeline>> {
        jobs.iter()
            .map(|(k, layouts)| self.compile(k, layouts))
            .collect()
    }

    fn compile(&self, kernel: &Generated, layouts: &Layouts) -> Result<wgpu::ComputePipeline> {
        let label = kernel.label.as_str();
        let compile = || {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(label),
                source: wgpu::ShaderSource::Wgsl(kernel.text.as_str().into()),
            };
            let module = if self.checked {
                self.device.create_shader_module(descriptor)
            } else {
                // SAFETY: the text is generated here and never a user's. Its loops end (each
                // counts up to a parameter or a constant), it divides only by sizes that are not
                // 0, and it indexes within its bindings: indices of views are clamped to the
                // iteration space and views lie within their buffers, which are padded to whole
                // vectors. The test suite runs the same kernels with the checks on.
                unsafe {
                    self.device.create_shader_module_trusted(
                        descriptor,
                        wgpu::ShaderRuntimeChecks::unchecked(),
                    )
                }
            };
            self.device
                .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(label),
                    layout: Some(&layouts.pipeline),
                    module: &module,
                    entry_point: Some("main"),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        zero_initialize_workgroup_memory: self.checked,
                        ..Default::default()
                    },
                    cache: None,
                })
        };
        let pipeline = self
            .scoped(wgpu::ErrorFilter::Validation, compile)
            .map_err(|e| self.refused(kernel, &e))?;
        self.check()?;
        Counters::add(&self.counters.pipelines, 1);
        Ok(pipeline)
    }

    /// What a person is told of a kernel that a driver does not take: its text goes to those who
    /// follow events, and where shaders are dumped.
    fn refused(&self, kernel: &Generated, problem: &wgpu::Error) -> Error {
        tracing::error!("{problem}\n{}", kernel.text);
        if let Some(folder) = &lock(&self.pipelines).dump {
            write_shader(folder, &format!("refused-{}", kernel.label), &kernel.text);
        }
        let mut cause: &dyn std::error::Error = problem;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let text = cause.to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let names = |types: &[DType]| {
            let names: Vec<&str> = types.iter().map(|t| t.name()).collect();
            names.join(", ")
        };
        Error::Device(format!(
            "the kernel {} from ({}) to ({}) does not compile: {}",
            kernel.label,
            names(&kernel.types.0),
            names(&kernel.types.1),
            lines.next().unwrap_or("no reason given"),
        ))
    }

    fn keep(&self, kernel: &Generated, pipeline: wgpu::ComputePipeline, layouts: Arc<Layouts>) {
        let mut pipelines = lock(&self.pipelines);
        if pipelines.by_text.contains_key(&kernel.text) {
            return; // another thread was faster
        }
        let id = pipelines.by_text.len() as u64;
        if let Some(folder) = &pipelines.dump {
            write_shader(folder, &format!("{id:04}-{}", kernel.label), &kernel.text);
        }
        let made = Arc::new(Pipeline {
            pipeline,
            layouts,
            id,
            label: kernel.label.clone(),
            text: kernel.text.clone(),
        });
        pipelines.by_text.insert(kernel.text.clone(), made);
    }
}

fn write_shader(folder: &Path, name: &str, text: &str) {
    let file = folder.join(format!("{name}.wgsl"));
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, text));
    if let Err(problem) = written {
        tracing::warn!("{}: {problem}", file.display());
    }
}
