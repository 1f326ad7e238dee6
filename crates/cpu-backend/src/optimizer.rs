//! Adam and SGD over whole arenas: one walk over blocks of them ([`Optimizer`]), and a [`Rule`] for
//! each that says how a block changes.

use pulp::{Arch, Simd, WithSimd};
use smallvec::SmallVec;
use wgrad_core::{DType, Kernel, ScalarBits};

use crate::executor::{Checker, Context, Launchable};
use crate::interpreter::{BLOCK, Bound};
use crate::lanes::{Element, FloatElement, FloatLane, Lane};
use crate::loops::fused;
use crate::parallel::{self, PARALLEL_ELEMENTS};

/// The arenas of either optimizer, as the numbers of buffers.
struct Arenas {
    dtype: DType,
    len: usize,
    param: usize,
    target: usize,
    grad: usize,
    /// What is updated in place besides the parameters.
    state: Vec<usize>,
    segments: usize,
}

impl Arenas {
    fn check(&self, checker: &Checker<'_>) -> Result<(), String> {
        if !matches!(self.dtype, DType::F32 | DType::F64) {
            return Err(format!("arenas of {}", self.dtype));
        }
        for &buffer in [self.param, self.target, self.grad]
            .iter()
            .chain(&self.state)
        {
            checker.elements(buffer, self.dtype, self.len)?;
        }
        Ok(())
    }

    /// Whether the arenas that are written overlap nothing else (the target may be the
    /// parameters).
    fn are_apart(&self, buffers: &[Bound]) -> bool {
        let bytes = self.len * self.dtype.size();
        let start = |b: usize| buffers[b].start as usize;
        let apart = |a: usize, b: usize| {
            start(a) + bytes <= start(b) || start(b) + bytes <= start(a) || bytes == 0
        };
        let written = || [self.target].into_iter().chain(self.state.iter().copied());
        written().enumerate().all(|(i, w)| {
            apart(w, self.grad)
                && (apart(w, self.param) || (i == 0 && start(w) == start(self.param)))
                && written().skip(i + 1).all(|other| apart(w, other))
        })
    }

    /// Calls `update(segment, from, to)` for blocks of all segments, after the parameters' block
    /// was copied to the target; elements outside segments are only copied.
    fn run(
        &self,
        buffers: &[Bound],
        ranges: &[(usize, usize)],
        update: impl Fn(usize, usize, usize) + Sync,
    ) {
        let size = self.dtype.size();
        let (param, target) = (buffers[self.param], buffers[self.target]);
        let elsewhere = param.start() != target.start();
        let copy = |from: usize, to: usize| {
            if elsewhere && from < to {
                // SAFETY: both arenas have `len` elements and do not overlap (`are_apart`).
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        param.start().add(from * size),
                        target.start().add(from * size),
                        (to - from) * size,
                    );
                }
            }
        };
        // Segments in order of their place; where they overlap or leave gaps, the copies come
        // first so that no update is overwritten.
        let mut covered = 0;
        let tidy = ranges.iter().all(|&(from, to)| {
            let ok = from >= covered && from <= to;
            covered = to;
            ok
        });
        if tidy {
            let mut end = 0;
            for &(from, to) in ranges {
                copy(end, from);
                end = to;
            }
            copy(end, self.len);
        } else {
            copy(0, self.len);
        }
        let work = |from: usize, to: usize, segment: usize| {
            for start in (from..to).step_by(BLOCK) {
                let end = to.min(start + BLOCK);
                if tidy {
                    copy(start, end);
                }
                update(segment, start, end);
            }
        };
        // Small segments share a task: threads split the arena, not the segments.
        if tidy && self.len >= PARALLEL_ELEMENTS {
            parallel::for_ranges(true, self.len, BLOCK, |from, to| {
                let first = ranges.partition_point(|&(_, end)| end <= from);
                for (i, &(start, end)) in ranges.iter().enumerate().skip(first) {
                    if start >= to {
                        break;
                    }
                    work(start.max(from), end.min(to), i);
                }
            });
        } else {
            for (i, &(start, end)) in ranges.iter().enumerate() {
                work(start, end, i);
            }
        }
    }

    /// The element ranges of the segments, whose scalars begin with `start` and `end`.
    fn ranges(&self, scalars: &[ScalarBits], each: usize) -> SmallVec<[(usize, usize); 8]> {
        let limit = |bits: ScalarBits| (bits.to_i64().max(0) as usize).min(self.len);
        scalars
            .chunks_exact(each)
            .map(|s| {
                let start = limit(s[0]);
                (start, limit(s[1]).max(start))
            })
            .collect()
    }
}

/// The elements `from..to` of an arena.
///
/// # Safety
/// The arena has them, and nobody else uses them meanwhile.
unsafe fn part<'a, E>(arena: Bound, from: usize, to: usize) -> &'a mut [E] {
    // SAFETY: the caller's promise.
    unsafe {
        let start = arena.start().cast::<E>().add(from);
        std::slice::from_raw_parts_mut(start, to - from)
    }
}

/// A block of every arena.
pub(crate) struct Block<'a, E> {
    /// The old parameters, which the new ones replace.
    p: &'a mut [E],
    g: &'a [E],
    /// What the rule keeps besides; empty where it keeps less.
    state: [&'a mut [E]; 3],
}

/// How an optimizer changes a block.
pub(crate) trait Rule: Send + Sync {
    /// How many scalars a segment has; the first two are its element range.
    const SCALARS: usize;
    /// Updates a block of a segment with these scalars.
    fn update<E: FloatElement>(&self, block: Block<'_, E>, scalars: &[ScalarBits]);
}

/// A prepared optimizer.
pub(crate) struct Optimizer<R> {
    arenas: Arenas,
    rule: R,
}

/// A prepared Adam.
pub(crate) type Adam = Optimizer<AdamRule>;
/// A prepared SGD.
pub(crate) type Sgd = Optimizer<SgdRule>;

impl<R: Rule> Optimizer<R> {
    /// # Safety
    /// The arenas were checked, overlap nothing (`admits`), and nobody else has these elements.
    unsafe fn update<E: FloatElement>(
        &self,
        buffers: &[Bound],
        scalars: &[ScalarBits],
        from: usize,
        to: usize,
    ) {
        let Arenas { target, grad, .. } = self.arenas;
        // SAFETY: the caller's promise.
        let block = unsafe {
            Block {
                p: part::<E>(buffers[target], from, to),
                g: part::<E>(buffers[grad], from, to),
                state: std::array::from_fn(|i| match self.arenas.state.get(i) {
                    Some(&state) => part::<E>(buffers[state], from, to),
                    None => &mut [],
                }),
            }
        };
        self.rule.update(block, scalars);
    }
}

impl<R: Rule> Launchable for Optimizer<R> {
    fn scalars(&self) -> usize {
        self.arenas.segments * R::SCALARS
    }

    fn admits(&self, buffers: &[Bound]) -> bool {
        self.arenas.are_apart(buffers)
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        let ranges = self.arenas.ranges(scalars, R::SCALARS);
        let buffers = context.buffers;
        self.arenas.run(buffers, &ranges, |segment, from, to| {
            let scalars = &scalars[segment * R::SCALARS..(segment + 1) * R::SCALARS];
            // SAFETY: `Arenas::check` and `admits` were asked, and blocks are disjoint.
            unsafe {
                if self.arenas.dtype == DType::F64 {
                    self.update::<f64>(buffers, scalars, from, to);
                } else {
                    self.update::<f32>(buffers, scalars, from, to);
                }
            }
        });
        None
    }
}

/// Adam and AdamW.
pub(crate) struct AdamRule {
    vmax: bool,
    decoupled: bool,
    maximize: bool,
}

impl Adam {
    pub fn new(checker: &Checker<'_>, kernel: &Kernel) -> Result<Adam, String> {
        let &Kernel::Adam {
            dtype,
            len,
            param,
            target,
            grad,
            m,
            v,
            vmax,
            decoupled,
            maximize,
            segments,
        } = kernel
        else {
            return Err("not Adam".to_string());
        };
        let arenas = Arenas {
            dtype,
            len,
            param,
            target,
            grad,
            state: [m, v].into_iter().chain(vmax).collect(),
            segments,
        };
        arenas.check(checker)?;
        Ok(Optimizer {
            arenas,
            rule: AdamRule {
                vmax: vmax.is_some(),
                decoupled,
                maximize,
            },
        })
    }
}

impl Rule for AdamRule {
    const SCALARS: usize = Kernel::ADAM_SCALARS.len();

    fn update<E: FloatElement>(&self, block: Block<'_, E>, scalars: &[ScalarBits]) {
        let s = |i: usize| E::from_f64(scalars[i].to_f64());
        let rest = |i: usize| E::from_f64(1.0 - scalars[i].to_f64());
        let update = AdamBlock {
            block,
            decay: s(2),
            beta: (s(3), s(4)),
            rest: (rest(3), rest(4)),
            step: s(5),
            scale: s(6),
            eps: s(7),
            sign: E::from_f64(if self.maximize { -1.0 } else { 1.0 }),
        };
        let arch = Arch::new();
        match (self.vmax, self.decoupled) {
            (false, false) => arch.dispatch(AdamCase::<E, false, false>(update)),
            (false, true) => arch.dispatch(AdamCase::<E, false, true>(update)),
            (true, false) => arch.dispatch(AdamCase::<E, true, false>(update)),
            (true, true) => arch.dispatch(AdamCase::<E, true, true>(update)),
        }
    }
}

/// A block and its segment's numbers.
struct AdamBlock<'a, E> {
    block: Block<'a, E>,
    decay: E,
    beta: (E, E),
    rest: (E, E),
    step: E,
    scale: E,
    eps: E,
    sign: E,
}

struct AdamCase<'a, E, const VMAX: bool, const DECOUPLED: bool>(AdamBlock<'a, E>);

impl<E: FloatElement, const VMAX: bool, const DECOUPLED: bool> WithSimd
    for AdamCase<'_, E, VMAX, DECOUPLED>
{
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        if fused::<S>() {
            self.0.run::<E::Fused, VMAX, DECOUPLED>();
        } else {
            self.0.run::<E::Plain, VMAX, DECOUPLED>();
        }
    }
}

impl<E: FloatElement> AdamBlock<'_, E> {
    #[inline(always)]
    fn run<L: FloatLane<Raw = E>, const VMAX: bool, const DECOUPLED: bool>(self) {
        let Block { p, g, state } = self.block;
        let [m, v, vmax] = state;
        let n = p.len();
        let (g, m, v) = (&g[..n], &mut m[..n], &mut v[..n]);
        let vmax = if VMAX { &mut vmax[..n] } else { vmax };
        let (b1, b2) = (L::new(self.beta.0), L::new(self.beta.1));
        let (r1, r2) = (L::new(self.rest.0), L::new(self.rest.1));
        let (decay, sign) = (L::new(self.decay), L::new(self.sign));
        let (step, scale, eps) = (L::new(self.step), L::new(self.scale), L::new(self.eps));
        for i in 0..n {
            let mut w = L::new(p[i]);
            let mut d = L::new(g[i]).mul(sign);
            if DECOUPLED {
                w = w.mul(decay);
            } else {
                d = d.add(decay.mul(w));
            }
            let first = b1.mul(L::new(m[i])).add(r1.mul(d));
            let second = b2.mul(L::new(v[i])).add(r2.mul(d.mul(d)));
            m[i] = first.raw();
            v[i] = second.raw();
            let mut u = second;
            if VMAX {
                u = L::new(vmax[i]).maximum(second);
                vmax[i] = u.raw();
            }
            let size = u.sqrt().mul(scale).add(eps);
            p[i] = w.sub(step.mul(first).div(size)).raw();
        }
    }
}

/// Stochastic gradient descent.
pub(crate) struct SgdRule {
    momentum: bool,
    nesterov: bool,
    maximize: bool,
}

impl Sgd {
    pub fn new(checker: &Checker<'_>, kernel: &Kernel) -> Result<Sgd, String> {
        let &Kernel::Sgd {
            dtype,
            len,
            param,
            target,
            grad,
            momentum,
            nesterov,
            maximize,
            segments,
        } = kernel
        else {
            return Err("not SGD".to_string());
        };
        let arenas = Arenas {
            dtype,
            len,
            param,
            target,
            grad,
            state: momentum.into_iter().collect(),
            segments,
        };
        arenas.check(checker)?;
        Ok(Optimizer {
            arenas,
            rule: SgdRule {
                momentum: momentum.is_some(),
                nesterov,
                maximize,
            },
        })
    }
}

impl Rule for SgdRule {
    const SCALARS: usize = Kernel::SGD_SCALARS.len();

    fn update<E: FloatElement>(&self, block: Block<'_, E>, scalars: &[ScalarBits]) {
        let s = |i: usize| E::from_f64(scalars[i].to_f64());
        let first = scalars[6].to_i64() != 0;
        // The first step's buffer is the gradient, whatever the buffer held (it may be NaN).
        let rest = if first {
            1.0
        } else {
            1.0 - scalars[5].to_f64()
        };
        let update = SgdBlock {
            block,
            lr: s(2),
            decay: s(3),
            momentum: s(4),
            rest: E::from_f64(rest),
            first,
            nesterov: self.nesterov,
            sign: E::from_f64(if self.maximize { -1.0 } else { 1.0 }),
        };
        if self.momentum {
            Arch::new().dispatch(SgdCase::<E, true>(update));
        } else {
            Arch::new().dispatch(SgdCase::<E, false>(update));
        }
    }
}

/// A block and its segment's numbers.
struct SgdBlock<'a, E> {
    block: Block<'a, E>,
    lr: E,
    decay: E,
    momentum: E,
    rest: E,
    first: bool,
    nesterov: bool,
    sign: E,
}

struct SgdCase<'a, E, const MOMENTUM: bool>(SgdBlock<'a, E>);

impl<E: FloatElement, const MOMENTUM: bool> WithSimd for SgdCase<'_, E, MOMENTUM> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        type L<E> = <E as Element>::Plain;
        let SgdBlock {
            block: Block { p, g, state },
            first,
            nesterov,
            ..
        } = self.0;
        let [buffer, ..] = state;
        let n = p.len();
        let g = &g[..n];
        let buffer = if MOMENTUM { &mut buffer[..n] } else { buffer };
        let (sign, decay) = (L::<E>::new(self.0.sign), L::<E>::new(self.0.decay));
        let (lr, rest) = (L::<E>::new(self.0.lr), L::<E>::new(self.0.rest));
        let momentum = L::<E>::new(self.0.momentum);
        for i in 0..n {
            let w = L::<E>::new(p[i]);
            let mut d = L::<E>::new(g[i]).mul(sign).add(decay.mul(w));
            if MOMENTUM {
                let old = if first { E::from_i64(0) } else { buffer[i] };
                let new = momentum.mul(L::<E>::new(old)).add(rest.mul(d));
                buffer[i] = new.raw();
                d = if nesterov {
                    d.add(momentum.mul(new))
                } else {
                    new
                };
            }
            p[i] = w.sub(lr.mul(d)).raw();
        }
    }
}
