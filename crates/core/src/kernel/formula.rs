//! What formulas of optimizers compute on, and the loops over them that a CPU runs.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::Arc;

use pulp::{Arch, Simd, WithSimd};

/// What an optimizer's formula computes on: an element, or what stands for one while a kernel is made of the
/// formula.
pub trait Number:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// The result of a comparison.
    type Truth: Copy;

    /// A constant of the same kind.
    fn constant(self, value: f64) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
    /// -1, 0 or 1; NaN stays NaN.
    fn sign(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The smaller; NaN if either is.
    fn minimum(self, other: Self) -> Self;
    /// The larger; NaN if either is.
    fn maximum(self, other: Self) -> Self;
    /// Whether `self > other`.
    fn gt(self, other: Self) -> Self::Truth;
    /// Whether `self < other`.
    fn lt(self, other: Self) -> Self::Truth;
    /// `yes` where it is true, `no` elsewhere.
    fn select(truth: Self::Truth, yes: Self, no: Self) -> Self;

    /// The square.
    fn sqr(self) -> Self {
        self * self
    }
}

macro_rules! elements {
    ($($t:ident)*) => { $(
        #[allow(clippy::eq_op)] // x != x is the branch-free test for NaN
        impl Number for $t {
            type Truth = bool;
            #[inline(always)]
            fn constant(self, value: f64) -> $t {
                value as $t
            }
            #[inline(always)]
            fn abs(self) -> $t {
                $t::abs(self)
            }
            #[inline(always)]
            fn sign(self) -> $t {
                let one = (i32::from(self > 0.0) - i32::from(self < 0.0)) as $t;
                if self != self { self } else { one }
            }
            #[inline(always)]
            fn sqrt(self) -> $t {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn minimum(self, other: $t) -> $t {
                if (self <= other) | (self != self) { self } else { other }
            }
            #[inline(always)]
            fn maximum(self, other: $t) -> $t {
                if (self >= other) | (self != self) { self } else { other }
            }
            #[inline(always)]
            fn gt(self, other: $t) -> bool {
                self > other
            }
            #[inline(always)]
            fn lt(self, other: $t) -> bool {
                self < other
            }
            #[inline(always)]
            fn select(truth: bool, yes: $t, no: $t) -> $t {
                if truth { yes } else { no }
            }
        }
    )* };
}
elements!(f32 f64);

/// The formula of an optimizer's step for one element of a parameter: of the element, its gradient, `STATES` values
/// that are kept between steps, and `NUMBERS` numbers that each step gives anew (learning rate and so on). It gives
/// the new element and the new states.
///
/// It is written once for all kinds of [`Number`]: traced it becomes the kernel of a GPU and plain operations,
/// compiled the loop of the CPU.
///
/// States are zero before the first step, and elements beside a parameter (where its part of the memory ends) are
/// zero too.
pub trait Formula<const STATES: usize, const NUMBERS: usize>: Copy + Send + Sync + 'static {
    /// The new element and the new states.
    fn apply<X: Number>(
        self,
        p: X,
        g: X,
        states: [X; STATES],
        numbers: [X; NUMBERS],
    ) -> (X, [X; STATES]);
}

/// Elements of a parameter, its gradient and its states, all of one length, and the numbers of the step.
pub struct UpdateBlock<'a, E> {
    /// The old elements, which the new ones replace.
    pub param: &'a mut [E],
    /// Their gradient.
    pub grad: &'a [E],
    /// The states, in the rule's order, which the new ones replace.
    pub states: &'a mut [&'a mut [E]],
    /// The step's numbers, without constants.
    pub numbers: &'a [E],
}

/// The loops that a CPU runs for a rule. Like the kernels that travel with a user's operation, they come with it:
/// a formula that is compiled is several times as fast as its instructions one by one.
#[derive(Clone)]
pub struct CompiledUpdate(Arc<dyn Loops>);

/// The loops of a formula.
trait Loops: Send + Sync {
    /// States and numbers.
    fn counts(&self) -> (usize, usize);
    fn single(&self, block: UpdateBlock<'_, f32>);
    fn double(&self, block: UpdateBlock<'_, f64>);
}

impl CompiledUpdate {
    pub(crate) fn new<const STATES: usize, const NUMBERS: usize>(
        formula: impl Formula<STATES, NUMBERS>,
    ) -> CompiledUpdate {
        CompiledUpdate(Arc::new(Compiled::<_, STATES, NUMBERS>(formula)))
    }

    /// Whether the formula has so many states, and so many numbers at most.
    pub fn fits(&self, states: usize, numbers: usize) -> bool {
        let (own, least) = self.0.counts();
        own == states && least <= numbers
    }

    /// Updates a block of `f32`.
    pub fn single(&self, block: UpdateBlock<'_, f32>) {
        self.0.single(block);
    }

    /// Updates a block of `f64`.
    pub fn double(&self, block: UpdateBlock<'_, f64>) {
        self.0.double(block);
    }
}

/// The program beside them says what they compute.
impl PartialEq for CompiledUpdate {
    fn eq(&self, _: &CompiledUpdate) -> bool {
        true
    }
}

impl Eq for CompiledUpdate {}

impl Hash for CompiledUpdate {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Debug for CompiledUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompiledUpdate")
    }
}

struct Compiled<F, const STATES: usize, const NUMBERS: usize>(F);

impl<F: Formula<STATES, NUMBERS>, const STATES: usize, const NUMBERS: usize> Loops
    for Compiled<F, STATES, NUMBERS>
{
    fn counts(&self) -> (usize, usize) {
        (STATES, NUMBERS)
    }
    fn single(&self, block: UpdateBlock<'_, f32>) {
        Arch::new().dispatch(Work::<_, _, STATES, NUMBERS>(self.0, block));
    }
    fn double(&self, block: UpdateBlock<'_, f64>) {
        Arch::new().dispatch(Work::<_, _, STATES, NUMBERS>(self.0, block));
    }
}

/// A loop over a block, compiled for each instruction set.
struct Work<'a, F, E, const STATES: usize, const NUMBERS: usize>(F, UpdateBlock<'a, E>);

impl<F, E, const STATES: usize, const NUMBERS: usize> WithSimd for Work<'_, F, E, STATES, NUMBERS>
where
    F: Formula<STATES, NUMBERS>,
    E: Number,
{
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Work(formula, block) = self;
        let UpdateBlock {
            param,
            grad,
            states,
            numbers,
        } = block;
        let count = param.len();
        let grad = &grad[..count];
        let numbers: [E; NUMBERS] = std::array::from_fn(|i| numbers[i]);
        let mut states = states.iter_mut();
        let mut states: [&mut [E]; STATES] = std::array::from_fn(|_| match states.next() {
            Some(state) => &mut state[..count],
            None => &mut [][..],
        });
        for i in 0..count {
            let old = std::array::from_fn(|k| states[k][i]);
            let (new, kept) = formula.apply(param[i], grad[i], old, numbers);
            param[i] = new;
            for (state, kept) in states.iter_mut().zip(kept) {
                state[i] = kept;
            }
        }
    }
}
