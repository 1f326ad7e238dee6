//! Optimizers' steps over whole arenas: the loop that comes with the rule, block by block.

use smallvec::SmallVec;
use wgrad_core::{CompiledUpdate, Control, DType, Kernel, ScalarBits, UpdateBlock};

use crate::executor::{Checker, Context, Launchable};
use crate::interpreter::{BLOCK, Bound};
use crate::lanes::Element;
use crate::parallel::{self, PARALLEL_ELEMENTS};

/// A prepared step.
pub(crate) struct Optimizer {
    compiled: CompiledUpdate,
    dtype: DType,
    len: usize,
    param: usize,
    target: usize,
    grad: usize,
    states: Vec<usize>,
    /// Scalars of a segment: its range, and the program's.
    width: usize,
    segments: usize,
    control: Option<Control>,
}

/// Most states of a rule.
const STATES: usize = 8;

/// Where segments lie.
type Ranges = SmallVec<[(usize, usize); 8]>;

impl Optimizer {
    pub fn new(checker: &Checker<'_>, kernel: &Kernel) -> Result<Optimizer, String> {
        let Kernel::Update {
            program,
            compiled,
            len,
            param,
            target,
            grad,
            states,
            segments,
            control,
            ..
        } = kernel
        else {
            return Err("not an optimizer's step".to_string());
        };
        let dtype = program.inputs.first().copied().unwrap_or(DType::F32);
        let floats = program.inputs.iter().chain(&program.scalars);
        let stored = program.outputs.iter().map(|(_, dtype)| dtype);
        if !matches!(dtype, DType::F32 | DType::F64) || floats.chain(stored).any(|&d| d != dtype) {
            return Err("an optimizer's step not in f32 or f64".to_string());
        }
        if program.outputs.len() != 1 + states.len() {
            return Err("an optimizer's step lacks results".to_string());
        }
        if states.len() > STATES || !compiled.fits(states.len(), program.scalars.len()) {
            return Err(format!("an optimizer with {} states", states.len()));
        }
        for &buffer in [param, target, grad].into_iter().chain(states) {
            checker.elements(buffer, dtype, *len)?;
        }
        if let Some(control) = control {
            if control.numbers > program.scalars.len() {
                return Err("an optimizer's step with too many numbers".to_string());
            }
            checker.elements(control.buffer, dtype, 1 + segments * control.numbers)?;
        }
        Ok(Optimizer {
            compiled: compiled.clone(),
            dtype,
            len: *len,
            param: *param,
            target: *target,
            grad: *grad,
            states: states.clone(),
            width: 2 + program.scalars.len(),
            segments: *segments,
            control: *control,
        })
    }

    /// The element ranges of the segments, whose scalars begin with `start` and `end`.
    fn ranges(&self, scalars: &[ScalarBits]) -> Ranges {
        let limit = |bits: ScalarBits| (bits.to_i64().max(0) as usize).min(self.len);
        scalars
            .chunks_exact(self.width)
            .map(|s| {
                let start = limit(s[0]);
                (start, limit(s[1]).max(start))
            })
            .collect()
    }

    /// Computes the elements `from..to` of a segment.
    fn update(&self, buffers: &[Bound], scalars: &[ScalarBits], from: usize, to: usize) {
        match self.dtype {
            DType::F64 => {
                self.blocks::<f64>(buffers, scalars, (from, to), |b| self.compiled.double(b));
            }
            _ => self.blocks::<f32>(buffers, scalars, (from, to), |b| self.compiled.single(b)),
        }
    }

    /// Calls `update` for blocks that stay in the first-level cache from the copy of the parameters on.
    fn blocks<E: Element>(
        &self,
        buffers: &[Bound],
        scalars: &[ScalarBits],
        (from, to): (usize, usize),
        update: impl Fn(UpdateBlock<'_, E>),
    ) {
        let numbers = scalars[2..].iter().map(|bits| E::from_f64(bits.to_f64()));
        let numbers: SmallVec<[E; 16]> = numbers.collect();
        for start in (from..to).step_by(BLOCK) {
            let end = to.min(start + BLOCK);
            self.copy(buffers, start, end);
            // SAFETY: the arenas were checked, those that are written overlap nothing else (`admits`), and
            // ranges are disjoint.
            unsafe {
                let mut states: [&mut [E]; STATES] =
                    std::array::from_fn(|i| match self.states.get(i) {
                        Some(&state) => elements(buffers[state], start, end),
                        None => &mut [],
                    });
                update(UpdateBlock {
                    param: elements(buffers[self.target], start, end),
                    grad: elements(buffers[self.grad], start, end),
                    states: &mut states[..self.states.len()],
                    numbers: &numbers,
                });
            }
        }
    }

    /// Copies parameters, where the new ones go elsewhere.
    fn copy(&self, buffers: &[Bound], from: usize, to: usize) {
        let (param, target) = (buffers[self.param], buffers[self.target]);
        if param.start() != target.start() && from < to {
            let size = self.dtype.size();
            // SAFETY: both arenas have `len` elements and do not overlap (`admits`).
            unsafe {
                std::ptr::copy_nonoverlapping(
                    param.start().add(from * size),
                    target.start().add(from * size),
                    (to - from) * size,
                );
            }
        }
    }
}

/// The elements `from..to` of an arena.
///
/// # Safety
/// The arena has them, and nobody else uses them meanwhile.
unsafe fn elements<'a, E>(arena: Bound, from: usize, to: usize) -> &'a mut [E] {
    // SAFETY: the caller's promise.
    unsafe {
        let start = arena.start().cast::<E>().add(from);
        std::slice::from_raw_parts_mut(start, to - from)
    }
}

impl Launchable for Optimizer {
    fn scalars(&self) -> usize {
        self.segments * self.width
    }

    /// Whether the arenas that are written overlap nothing else (the target may be the parameters).
    fn admits(&self, buffers: &[Bound]) -> bool {
        let bytes = self.len * self.dtype.size();
        let start = |b: usize| buffers[b].start as usize;
        let apart = |a: usize, b: usize| {
            start(a) + bytes <= start(b) || start(b) + bytes <= start(a) || bytes == 0
        };
        let written = || [self.target].into_iter().chain(self.states.iter().copied());
        let beside = |w: usize| {
            self.control.is_none_or(|control| {
                let count = 1 + self.segments * control.numbers;
                let (own, end) = (start(control.buffer), count * self.dtype.size());
                start(w) + bytes <= own || own + end <= start(w) || bytes == 0
            })
        };
        written().enumerate().all(|(i, w)| {
            beside(w)
                && apart(w, self.grad)
                && (apart(w, self.param) || (i == 0 && start(w) == start(self.param)))
                && written().skip(i + 1).all(|other| apart(w, other))
        })
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        let Some(control) = self.control else {
            return self.step(context, scalars);
        };
        let (flag, numbers) = match self.dtype {
            DType::F64 => self.decided::<f64>(context.buffers, control, |x| x),
            _ => self.decided::<f32>(context.buffers, control, f64::from),
        };
        if flag != 0.0 {
            self.copy(context.buffers, 0, self.len);
            return None;
        }
        let mut scalars: SmallVec<[ScalarBits; 16]> = scalars.into();
        let segments = scalars.chunks_exact_mut(self.width);
        for (segment, own) in segments.zip(numbers.chunks(control.numbers.max(1))) {
            for (scalar, &number) in segment[2..].iter_mut().zip(own) {
                *scalar = ScalarBits::float(number);
            }
        }
        self.step(context, &scalars)
    }
}

impl Optimizer {
    /// The flag and the numbers that the device decided on.
    fn decided<E: Copy>(
        &self,
        buffers: &[Bound],
        control: Control,
        wide: impl Fn(E) -> f64,
    ) -> (f64, Vec<f64>) {
        let count = 1 + self.segments * control.numbers;
        // SAFETY: the buffer was checked to have them, and nothing writes to it (`admits`).
        let read: &[E] = unsafe { elements(buffers[control.buffer], 0, count) };
        let numbers = read[1..].iter().map(|&x| wide(x)).collect();
        (wide(read[0]), numbers)
    }

    fn step(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        let (buffers, width) = (context.buffers, self.width);
        let ranges = self.ranges(scalars);
        let own = |segment: usize| &scalars[segment * width..(segment + 1) * width];
        // Segments in order of their place share the arena with what lies between them; others
        // come one by one after a copy of everything.
        let mut covered = 0;
        let in_order = ranges.iter().all(|&(from, to)| {
            let ok = from >= covered;
            covered = to;
            ok
        });
        if !in_order {
            self.copy(buffers, 0, self.len);
            for (segment, &(from, to)) in ranges.iter().enumerate() {
                self.update(buffers, own(segment), from, to);
            }
            return None;
        }
        // Small segments share a task: threads split the arena, not the segments.
        let parallel = self.len >= PARALLEL_ELEMENTS;
        parallel::for_ranges(parallel, self.len, BLOCK, |from, to| {
            let first = ranges.partition_point(|&(_, end)| end <= from);
            let mut done = from;
            for (segment, &(start, end)) in ranges.iter().enumerate().skip(first) {
                if start >= to {
                    break;
                }
                let (start, end) = (start.max(from), end.min(to));
                self.copy(buffers, done, start);
                self.update(buffers, own(segment), start, end);
                done = end;
            }
            self.copy(buffers, done, to);
        });
        None
    }
}
