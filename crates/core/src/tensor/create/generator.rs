//! Streams of random numbers beside the devices' own.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A stream of random numbers, which [`Generator::with`] puts in place of the devices'. Its state can be kept and
/// set again, and equal states give equal numbers on every device. `torch.Generator`.
///
/// ```
/// # use wgrad::{Generator, prelude::*};
/// # let dev = wgrad::cpu();
/// let generator = Generator::new(42);
/// let x = generator.with(|| Tensor::randn([3], &dev));
/// let state = generator.state();
/// let y = generator.with(|| Tensor::rand([3], &dev));
/// generator.set_state(state);
/// let again = generator.with(|| Tensor::rand([3], &dev));
/// assert_eq!(again.to_vec::<f32>()?, y.to_vec::<f32>()?);
/// # Ok::<(), Error>(())
/// ```
///
/// A clone is the same stream.
#[derive(Clone, Debug)]
pub struct Generator(Arc<Mutex<RandomState>>);

/// Where a stream of random numbers stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct RandomState {
    /// What the stream was started with.
    pub seed: u64,
    /// How many random operations have drawn from it.
    pub counter: u64,
}

impl RandomState {
    /// The words of the next random operation: key low and high, counter low and high.
    pub(crate) fn next(&mut self) -> [u64; 4] {
        let RandomState { seed, counter } = *self;
        self.counter = counter.wrapping_add(1);
        [seed, seed >> 32, counter, counter >> 32]
    }
}

thread_local! {
    /// The generators in whose place this thread stands, the innermost last.
    static CURRENT: RefCell<Vec<Generator>> = const { RefCell::new(Vec::new()) };
}

impl Generator {
    /// A stream from its beginning.
    pub fn new(seed: u64) -> Generator {
        Generator(Arc::new(Mutex::new(RandomState { seed, counter: 0 })))
    }

    /// Restarts the stream with another seed.
    pub fn seed(&self, seed: u64) {
        self.set_state(RandomState { seed, counter: 0 });
    }

    /// Where the stream stands.
    pub fn state(&self) -> RandomState {
        *self.lock()
    }

    /// Has the stream go on where it stood once.
    pub fn set_state(&self, state: RandomState) {
        *self.lock() = state;
    }

    /// Does `f`, in which random operations of this thread draw from this stream, whatever device they are on.
    pub fn with<T>(&self, f: impl FnOnce() -> T) -> T {
        struct Entered;
        impl Drop for Entered {
            fn drop(&mut self) {
                CURRENT.with_borrow_mut(|current| current.pop());
            }
        }
        CURRENT.with_borrow_mut(|current| current.push(self.clone()));
        let _entered = Entered;
        f()
    }

    /// The next draw of the generator that this thread is in, if it is in one.
    pub(crate) fn draw() -> Option<[u64; 4]> {
        let generator = CURRENT.with_borrow(|current| current.last().cloned())?;
        let next = generator.lock().next();
        Some(next)
    }

    fn lock(&self) -> MutexGuard<'_, RandomState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
