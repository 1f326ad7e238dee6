//! Kernels by their text, compiled for as long as they are used.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use smallvec::SmallVec;
use wgrad_core::{DType, Error, Result};

use crate::bindings::BindGroups;
use crate::counters::Counters;
use crate::device::{Gpu, lock};
use crate::source::{Generated, Origin, Types};

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

/// A kernel: its text, and what the driver made of it for as long as it is used.
pub(crate) struct Pipeline {
    pub layouts: Arc<Layouts>,
    pub id: u64,
    label: String,
    text: String,
    types: Types,
    origin: Option<Origin>,
    compiled: Mutex<Option<wgpu::ComputePipeline>>,
    /// The run that used it last.
    used: AtomicU64,
}

/// The caches.
pub(crate) struct Pipelines {
    by_text: HashMap<String, Arc<Pipeline>>,
    layouts: HashMap<Interface, Arc<Layouts>>,
    /// Numbers given to pipelines and layouts.
    next: u64,
    /// Counts runs.
    clock: u64,
    /// Compiled pipelines beyond which those that were not used lately are dropped.
    most: usize,
    params_layout: Option<wgpu::BindGroupLayout>,
    dump: Option<PathBuf>,
}

/// Runs for which a pipeline is kept after its last use, however many there are: a program that goes
/// round in longer circles, through more kernels than are kept, compiles again.
const KEPT_RUNS: u64 = 64;

impl Pipelines {
    /// Empty caches for `most` pipelines; shaders are written to `dump`.
    pub fn new(most: usize, dump: Option<OsString>) -> Pipelines {
        Pipelines {
            by_text: HashMap::new(),
            layouts: HashMap::new(),
            next: 0,
            clock: 0,
            most,
            params_layout: None,
            dump: dump.map(PathBuf::from),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Label and text of each pipeline, in the order of compilation.
    pub fn shaders(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> = self.by_text.values().collect();
        all.sort_by_key(|p| p.id);
        all.iter()
            .map(|p| (p.label.clone(), p.text.clone()))
            .collect()
    }

    /// Drops compiled pipelines, the longest unused first, until there are no more than `most`;
    /// those used in the last `kept` runs stay. Forgets what no plan refers to. Returns how many
    /// pipelines were dropped.
    fn shrink(&mut self, most: usize, kept: u64) -> u64 {
        let mut made: Vec<&Arc<Pipeline>> = self
            .by_text
            .values()
            .filter(|p| lock(&p.compiled).is_some())
            .collect();
        made.sort_by_key(|p| p.used.load(Relaxed));
        let surplus = made.len().saturating_sub(most);
        let mut dropped = 0;
        for pipeline in made.into_iter().take(surplus) {
            if pipeline.used.load(Relaxed) + kept <= self.clock {
                *lock(&pipeline.compiled) = None;
                dropped += 1;
            }
        }
        self.by_text
            .retain(|_, p| Arc::strong_count(p) > 1 || lock(&p.compiled).is_some());
        self.layouts.retain(|_, l| Arc::strong_count(l) > 1);
        dropped
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
            id: pipelines.number(),
            group: group.clone(),
            pipeline,
        });
        pipelines.layouts.insert(interface.clone(), made.clone());
        made
    }

    /// The kernels in the order given, compiled.
    pub fn pipelines(&self, kernels: &[Generated]) -> Result<Vec<Arc<Pipeline>>> {
        let found: Vec<Arc<Pipeline>> = kernels.iter().map(|k| self.pipeline(k)).collect();
        self.ready(found.iter())?;
        Ok(found)
    }

    fn pipeline(&self, kernel: &Generated) -> Arc<Pipeline> {
        if let Some(known) = lock(&self.pipelines).by_text.get(&kernel.text) {
            return known.clone();
        }
        let layouts = self.layouts(&kernel.interface);
        let mut pipelines = lock(&self.pipelines);
        let id = pipelines.number();
        pipelines
            .by_text
            .entry(kernel.text.clone())
            // Another thread may have been faster.
            .or_insert_with(|| {
                Arc::new(Pipeline {
                    layouts,
                    id,
                    label: kernel.label.clone(),
                    text: kernel.text.clone(),
                    types: kernel.types.clone(),
                    origin: kernel.origin.clone(),
                    compiled: Mutex::new(None),
                    used: AtomicU64::new(0),
                })
            })
            .clone()
    }

    /// What a run needs of the driver, in the order given. What is missing is compiled on all cores:
    /// a driver takes tens of milliseconds for each.
    pub fn ready<'p>(
        &self,
        wanted: impl Iterator<Item = &'p Arc<Pipeline>>,
    ) -> Result<SmallVec<[wgpu::ComputePipeline; 16]>> {
        let now = {
            let mut pipelines = lock(&self.pipelines);
            pipelines.clock += 1;
            pipelines.clock
        };
        let wanted: SmallVec<[&Arc<Pipeline>; 16]> = wanted.collect();
        let mut found: SmallVec<[Option<wgpu::ComputePipeline>; 16]> = SmallVec::new();
        for pipeline in &wanted {
            pipeline.used.store(now, Relaxed);
            found.push(lock(&pipeline.compiled).clone());
        }
        if found.iter().any(Option::is_none) {
            let mut numbers = HashSet::new();
            let missing: Vec<&Pipeline> = wanted
                .iter()
                .zip(&found)
                .filter(|(p, made)| made.is_none() && numbers.insert(p.id))
                .map(|(p, _)| p.as_ref())
                .collect();
            for (pipeline, made) in missing.iter().zip(self.compile_all(&missing)) {
                let made = made?;
                // Unless another thread was faster.
                if lock(&pipeline.compiled).replace(made).is_none() {
                    Counters::add(&self.counters.pipelines_held, 1);
                }
            }
            for (pipeline, found) in wanted.iter().zip(&mut found) {
                found.clone_from(&lock(&pipeline.compiled));
            }
            self.shrink_pipelines();
        }
        let found: Option<_> = found.into_iter().collect();
        found.ok_or_else(|| Error::Device("a kernel was compiled and lost".into()))
    }

    /// Drops some of the pipelines if there are too many; an eighth more than has to be, because
    /// looking for them takes time.
    fn shrink_pipelines(&self) {
        let mut pipelines = lock(&self.pipelines);
        let most = pipelines.most;
        let held = self.counters.pipelines_held.load(Relaxed);
        if held as usize > most {
            let dropped = pipelines.shrink(most - most / 8, KEPT_RUNS);
            self.counters.pipelines_held.fetch_sub(dropped, Relaxed);
        }
    }

    /// Drops every pipeline, to be compiled again by plans that still need it, and all that is kept
    /// for reuse.
    pub fn trim_pipelines(&self) {
        let dropped = lock(&self.pipelines).shrink(0, 0);
        self.counters.pipelines_held.fetch_sub(dropped, Relaxed);
        *lock(&self.bind_groups) = BindGroups::default();
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn compile_all(&self, jobs: &[&Pipeline]) -> Vec<Result<wgpu::ComputePipeline>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = jobs
            .len()
            .div_ceil(threads.clamp(1, jobs.len().max(1)))
            .max(1);
        std::thread::scope(|scope| {
            let compile =
                |part: &[&Pipeline]| -> Vec<_> { part.iter().map(|p| self.compile(p)).collect() };
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
    fn compile_all(&self, jobs: &[&Pipeline]) -> Vec<Result<wgpu::ComputePipeline>> {
        jobs.iter().map(|p| self.compile(p)).collect()
    }

    fn compile(&self, kernel: &Pipeline) -> Result<wgpu::ComputePipeline> {
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
                    layout: Some(&kernel.layouts.pipeline),
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
        if let Some(folder) = &lock(&self.pipelines).dump {
            write_shader(folder, &format!("{:04}-{label}", kernel.id), &kernel.text);
        }
        Ok(pipeline)
    }

    /// What a person is told of a kernel that a driver does not take: its text goes to those who
    /// follow events, and where shaders are dumped.
    fn refused(&self, kernel: &Pipeline, problem: &wgpu::Error) -> Error {
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
        let origin = kernel.origin.as_ref().and_then(|(rendering, first)| {
            let line = line_of(&problem.to_string())?;
            let (template, line) = rendering.origin(line.checked_sub(*first)?)?;
            Some(format!(" ({template}, line {line})"))
        });
        Error::Device(format!(
            "the kernel {} from ({}) to ({}) does not compile: {}{}",
            kernel.label,
            names(&kernel.types.0),
            names(&kernel.types.1),
            lines.next().unwrap_or("no reason given"),
            origin.unwrap_or_default(),
        ))
    }
}

/// The line of the module that naga's message points at, as in `wgsl:12:5`.
fn line_of(message: &str) -> Option<usize> {
    let (_, at) = message.split_once("wgsl:")?;
    at.split(':').next()?.parse().ok()
}

fn write_shader(folder: &Path, name: &str, text: &str) {
    let file = folder.join(format!("{name}.wgsl"));
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, text));
    if let Err(problem) = written {
        tracing::warn!("{}: {problem}", file.display());
    }
}
