//! Compiled plans: launches with their parameters, and how they run.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use smallvec::SmallVec;
use wgrad_core::{Binding, Error, Executable, Kernel, Plan, Result, ScalarBits};

use crate::bindings::{Key, Part};
use crate::counters::Counters;
use crate::device::{Gpu, Traits, lock};
use crate::map::{accesses, targets};
use crate::matmul::Product;
use crate::pipeline::{ParamsAs, Pipeline};
use crate::pool::{Block, GpuBuffer, Purpose};
use crate::readback::FAULT_BYTES;
use crate::reduce::Reduction;
use crate::rows::Rows;
use crate::source::{Convert, Generated, Patch, Slot, Source};
use crate::{map, ops, optimizer};

/// Alignment of parameters in a uniform buffer; the largest that WebGPU allows a device to ask for.
const UNIFORM_ALIGN: usize = 256;

/// A dispatch of a compiled kernel.
struct Dispatch {
    name: Arc<str>,
    pipeline: Arc<Pipeline>,
    params: ParamsAs,
    /// The launch's parameters in the run's words.
    words: std::ops::Range<usize>,
    /// Position of the launch's first scalar in the run's.
    patches: Vec<Patch>,
    fault: Option<(usize, usize)>,
    slots: Vec<Slot>,
    groups: [u32; 3],
    seconds: f64,
}

enum Step {
    Dispatch(Dispatch),
    Copy {
        source: usize,
        source_offset: usize,
        target: usize,
        target_offset: usize,
        bytes: usize,
    },
}

/// Uniform parameters of a plan that does not fit immediates.
struct Uniforms {
    buffer: wgpu::Buffer,
    group: wgpu::BindGroup,
}

/// What one run at a time uses.
struct State {
    words: Vec<u32>,
    /// Per dispatch, the parts bound last and their group.
    bound: Vec<Option<(Key, wgpu::BindGroup)>>,
}

/// A plan made ready.
pub(crate) struct Program {
    gpu: Arc<Gpu>,
    steps: Vec<Step>,
    sizes: Vec<usize>,
    scratch: usize,
    uniforms: Option<Uniforms>,
    scalars: usize,
    faults: usize,
    state: Mutex<State>,
}

/// Scratch of the executable, given back when a run is submitted.
struct Scratch<'a> {
    gpu: &'a Gpu,
    block: Block,
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.gpu.give_block(Purpose::Storage, self.block.clone());
    }
}

/// The kernels of one launch.
pub(crate) fn generate(
    traits: &Traits,
    plan: &Plan,
    kernel: &Kernel,
    scratch: &mut usize,
) -> Result<Vec<Generated>> {
    let buffers = &plan.buffers;
    let source = || Source::new(traits, buffers);
    Ok(match kernel {
        Kernel::Map {
            shape,
            inputs,
            program,
            outputs,
        } => map::generate(
            source(),
            shape,
            &accesses("x", inputs),
            program,
            &targets(outputs),
        )?
        .into_iter()
        .collect(),
        Kernel::Reduce { .. } => match Reduction::of(kernel, 0, "") {
            Some(reduction) => reduction.generate(traits, buffers, scratch, "reduce")?,
            None => Vec::new(),
        },
        Kernel::Rows(rows) => Rows::generate(rows, traits, buffers)?.into_iter().collect(),
        Kernel::MatMul {
            batch,
            m,
            n,
            k,
            a,
            b,
            epilogue_inputs,
            epilogue,
            outputs,
            sums,
        } => Product {
            batch,
            m,
            n,
            k,
            a,
            b,
            epilogue_inputs,
            epilogue,
            outputs,
            sums: sums.as_deref().and_then(|sums| {
                let first_scalar = epilogue.scalars.len();
                Reduction::of(sums, first_scalar, "sum_")
            }),
        }
        .generate(traits, buffers, scratch)?,
        Kernel::Operation {
            op,
            inputs,
            outputs,
            epilogue,
        } => ops::generate(
            op,
            &mut ops::Launch {
                traits,
                buffers,
                inputs,
                outputs,
                epilogue: epilogue.as_ref(),
                scratch,
            },
        )?,
        Kernel::Update { .. } => optimizer::generate(traits, buffers, kernel)?,
        // Copies are no kernels.
        Kernel::Copy { .. } => Vec::new(),
    })
}

impl Program {
    /// Generates and compiles what the plan needs.
    pub fn compile(gpu: &Arc<Gpu>, traits: &Traits, plan: &Plan) -> Result<Program> {
        let mut scratch = 0usize;
        let (mut scalars, mut faults) = (0, 0);
        let mut kernels = Vec::new();
        // How many kernels each launch became.
        let mut counts = Vec::with_capacity(plan.launches.len());
        for launch in &plan.launches {
            let mut needed = 0;
            let made = generate(traits, plan, &launch.kernel, &mut needed)?;
            let most = &gpu.limits;
            let part = made.iter().flat_map(|m| &m.bindings).map(|b| match b.slot {
                Slot::Scratch { bytes, .. } => bytes,
                _ => 0,
            });
            if needed > most.max_buffer || part.max().is_some_and(|part| part > most.max_binding) {
                return Err(Error::Device(format!(
                    "{} needs {needed} bytes for parts of its result, more than the device binds",
                    launch.kernel
                )));
            }
            scratch = scratch.max(needed);
            counts.push(made.len());
            kernels.extend(made);
        }
        let pipelines = gpu.pipelines(&kernels)?;
        let mut ready = kernels.into_iter().zip(pipelines);
        let mut steps = Vec::new();
        let mut words: Vec<u32> = Vec::new();
        let mut uniform = 0usize;
        for (launch, count) in plan.launches.iter().zip(counts) {
            let name: Arc<str> = launch.kernel.to_string().into();
            if let Kernel::Copy {
                source,
                source_offset,
                target,
                target_offset,
                bytes,
            } = launch.kernel
            {
                if bytes > 0 {
                    steps.push(Step::Copy {
                        source,
                        source_offset,
                        target,
                        target_offset,
                        bytes,
                    });
                }
                continue;
            }
            scalars = scalars.max(launch.scalars.end);
            faults = launch.fault.map_or(faults, |f| faults.max(f + 1));
            for (made, pipeline) in ready.by_ref().take(count) {
                if made.interface.params == ParamsAs::Uniform {
                    words.resize(words.len().next_multiple_of(UNIFORM_ALIGN / 4), 0);
                    uniform = uniform.max(made.params.len() * 4);
                }
                let first = words.len();
                words.extend(&made.params);
                let patches = made.patches.iter().map(|p| Patch {
                    word: first + p.word,
                    scalar: launch.scalars.start + p.scalar,
                    ..*p
                });
                steps.push(Step::Dispatch(Dispatch {
                    name: name.clone(),
                    pipeline,
                    params: made.interface.params,
                    words: first..words.len(),
                    patches: patches.collect(),
                    fault: made
                        .fault_word
                        .zip(launch.fault)
                        .map(|(w, f)| (first + w, f)),
                    slots: made.bindings.iter().map(|b| b.slot).collect(),
                    groups: made.groups,
                    seconds: made.seconds,
                }));
            }
        }
        let uniforms = (uniform > 0).then(|| {
            words.resize(words.len().next_multiple_of(UNIFORM_ALIGN / 4), 0);
            let window = uniform.next_multiple_of(UNIFORM_ALIGN);
            make_uniforms(gpu, words.len() * 4, window)
        });
        let dispatches = steps.len();
        gpu.check()?;
        Ok(Program {
            gpu: gpu.clone(),
            steps,
            sizes: plan.buffers.iter().map(|b| b.bytes).collect(),
            scratch,
            uniforms,
            scalars,
            faults,
            state: Mutex::new(State {
                words,
                bound: (0..dispatches).map(|_| None).collect(),
            }),
        })
    }

    /// Puts the run's scalars and fault codes into the parameters.
    fn patch(&self, words: &mut [u32], scalars: &[ScalarBits], faults: &[u32]) {
        for step in &self.steps {
            let Step::Dispatch(dispatch) = step else {
                continue;
            };
            for patch in &dispatch.patches {
                if let Some(&bits) = scalars.get(patch.scalar) {
                    words[patch.word] = convert(bits, patch.convert);
                }
            }
            if let Some((word, fault)) = dispatch.fault {
                words[word] = faults.get(fault).copied().unwrap_or(0);
            }
        }
    }

    /// Number, offset and size of what a slot is bound to, and its buffer.
    fn part<'b>(
        &'b self,
        slot: Slot,
        bound: &[(&'b Block, usize)],
        scratch: Option<&'b Block>,
    ) -> Option<(Part, &'b wgpu::Buffer)> {
        match slot {
            Slot::Plan(i) => {
                let (block, offset) = *bound.get(i)?;
                let size = self.sizes[i].next_multiple_of(16).min(block.size - offset);
                Some(((block.id, offset as u64, size as u64), &block.buffer))
            }
            Slot::Scratch { offset, bytes } => {
                let block = scratch?;
                Some(((block.id, offset as u64, bytes as u64), &block.buffer))
            }
            Slot::Fault => Some(((0, 0, FAULT_BYTES as u64), &self.gpu.fault)),
        }
    }

    /// The bind group of a dispatch: that of the last run, one that is known, or a new one.
    fn bind(
        &self,
        dispatch: &Dispatch,
        memo: &mut Option<(Key, wgpu::BindGroup)>,
        bound: &[(&Block, usize)],
        scratch: Option<&Block>,
    ) -> Result<()> {
        let mut parts: SmallVec<[Part; 8]> = SmallVec::new();
        let mut buffers: SmallVec<[&wgpu::Buffer; 8]> = SmallVec::new();
        for &slot in &dispatch.slots {
            let (part, buffer) = self
                .part(slot, bound, scratch)
                .ok_or_else(|| Error::Device(format!("nothing is bound to {slot:?}")))?;
            parts.push(part);
            buffers.push(buffer);
        }
        let key = (dispatch.pipeline.layouts.id, parts);
        if memo.as_ref().is_some_and(|(known, _)| *known == key) {
            return Ok(());
        }
        let mut groups = lock(&self.gpu.bind_groups);
        let group = match groups.get(&key) {
            Some(group) => group,
            None => {
                let entries: SmallVec<[wgpu::BindGroupEntry<'_>; 8]> = key
                    .1
                    .iter()
                    .zip(&buffers)
                    .zip(0..)
                    .map(|((part, buffer), binding)| wgpu::BindGroupEntry {
                        binding,
                        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer,
                            offset: part.1,
                            size: wgpu::BufferSize::new(part.2),
                        }),
                    })
                    .collect();
                Counters::add(&self.gpu.counters.bind_groups, 1);
                let group = self
                    .gpu
                    .device
                    .create_bind_group(&wgpu::BindGroupDescriptor {
                        label: None,
                        layout: &dispatch.pipeline.layouts.group,
                        entries: &entries,
                    });
                groups.insert(key.clone(), group.clone());
                group
            }
        };
        *memo = Some((key, group));
        Ok(())
    }

    fn encode(
        &self,
        state: &State,
        bound: &[(&Block, usize)],
        pipelines: &[wgpu::ComputePipeline],
    ) {
        let mut pipelines = pipelines.iter();
        let gpu = &self.gpu;
        let counters = &gpu.counters;
        let mut encoder = gpu.encoder();
        let mut timer = gpu.timer(self.steps.len());
        let most = gpu.submit_seconds;
        let mut seconds = 0.0;
        let mut at = 0;
        while at < self.steps.len() {
            if seconds > most {
                gpu.submit(std::mem::replace(&mut encoder, gpu.encoder()));
                seconds = 0.0;
            }
            if let Step::Copy {
                source,
                source_offset,
                target,
                target_offset,
                bytes,
            } = &self.steps[at]
            {
                let (from, to) = (bound[*source], bound[*target]);
                encoder.copy_buffer_to_buffer(
                    &from.0.buffer,
                    (from.1 + source_offset) as u64,
                    &to.0.buffer,
                    (to.1 + target_offset) as u64,
                    *bytes as u64,
                );
                Counters::add(&counters.copies, 1);
                at += 1;
                continue;
            }
            let timestamp_writes = match (&mut timer, &self.steps[at]) {
                (Some(timer), Step::Dispatch(dispatch)) => timer.next(&dispatch.name),
                _ => None,
            };
            // A kernel that is timed has a pass of its own.
            let alone = timestamp_writes.is_some();
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes,
            });
            let mut current = u64::MAX;
            while let Some(Step::Dispatch(dispatch)) = self.steps.get(at) {
                if seconds > most {
                    break;
                }
                // One for each dispatch, in their order.
                if let Some(pipeline) = pipelines.next()
                    && current != dispatch.pipeline.id
                {
                    pass.set_pipeline(pipeline);
                    current = dispatch.pipeline.id;
                }
                if let Some((_, group)) = &state.bound[at] {
                    pass.set_bind_group(0, group, &[]);
                }
                let words = &state.words[dispatch.words.clone()];
                match (dispatch.params, &self.uniforms) {
                    (ParamsAs::Immediates(_), _) => {
                        pass.set_immediates(0, bytemuck::cast_slice(words));
                    }
                    (ParamsAs::Uniform, Some(uniforms)) => {
                        let offset = (dispatch.words.start * 4) as u32;
                        pass.set_bind_group(1, &uniforms.group, &[offset]);
                    }
                    _ => {}
                }
                let [x, y, z] = dispatch.groups;
                pass.dispatch_workgroups(x, y, z);
                seconds += dispatch.seconds;
                Counters::add(&counters.launches, 1);
                at += 1;
                if alone {
                    break;
                }
            }
        }
        if let Some(timer) = timer {
            gpu.stop(timer, &mut encoder);
        }
        gpu.submit(encoder);
    }
}

impl Executable for Program {
    fn run(&self, bindings: &[Binding], scalars: &[ScalarBits], faults: &[u32]) -> Result<()> {
        let gpu = &self.gpu;
        gpu.check()?;
        if bindings.len() != self.sizes.len()
            || scalars.len() < self.scalars
            || faults.len() < self.faults
        {
            return Err(Error::Device("a run binds less than its plan needs".into()));
        }
        if self.steps.is_empty() {
            return Ok(());
        }
        let dispatches = self.steps.iter().filter_map(|step| match step {
            Step::Dispatch(dispatch) => Some(&dispatch.pipeline),
            Step::Copy { .. } => None,
        });
        let pipelines = gpu.ready(dispatches)?;
        let mut bound: SmallVec<[(&Block, usize); 32]> = SmallVec::new();
        for (binding, &bytes) in bindings.iter().zip(&self.sizes) {
            let own = GpuBuffer::of(gpu, &binding.buffer, binding.offset, bytes)?;
            bound.push((own.block(), binding.offset));
        }
        let scratch = match self.scratch {
            0 => None,
            bytes => Some(Scratch {
                block: gpu.take_block(Purpose::Storage, bytes)?,
                gpu,
            }),
        };
        let mut state = lock(&self.state);
        let state = &mut *state;
        self.patch(&mut state.words, scalars, faults);
        for (step, memo) in self.steps.iter().zip(&mut state.bound) {
            if let Step::Dispatch(dispatch) = step {
                let scratch = scratch.as_ref().map(|s| &s.block);
                self.bind(dispatch, memo, &bound, scratch)?;
            }
        }
        if let Some(uniforms) = &self.uniforms {
            let bytes = bytemuck::cast_slice(&state.words);
            gpu.queue.write_buffer(&uniforms.buffer, 0, bytes);
        }
        gpu.check()?;
        if self.faults > 0 {
            gpu.fault_armed.store(true, Ordering::Relaxed);
        }
        self.encode(state, &bound, &pipelines);
        gpu.check()
    }
}

/// A buffer of parameters and the group that looks at it through a window.
fn make_uniforms(gpu: &Gpu, bytes: usize, window: usize) -> Uniforms {
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("parameters"),
        // The window of the last launch must not reach beyond the end.
        size: (bytes + window) as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("parameters"),
        layout: &gpu.params_layout(),
        entries: &[wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &buffer,
                offset: 0,
                size: wgpu::BufferSize::new(window as u64),
            }),
        }],
    });
    Uniforms { buffer, group }
}

/// A scalar as a parameter's bits.
fn convert(bits: ScalarBits, how: Convert) -> u32 {
    match how {
        Convert::F32 => (bits.to_f64() as f32).to_bits(),
        Convert::I32 => bits.to_i64() as u32,
        Convert::U32 => bits.to_i64() as u32,
        Convert::Bool => u32::from(bits.to_i64() != 0),
    }
}
