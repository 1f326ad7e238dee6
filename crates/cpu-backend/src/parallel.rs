//! Splitting work over threads. On the web, where there are none, the same splits run in order.

#[cfg(not(target_arch = "wasm32"))]
use std::cell::Cell;

/// A pointer that tasks on several threads share; each of them writes its own range only.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub *mut T);

// SAFETY: the pointer itself is a number; every use states why its range is its own.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The pointer. A method, so that closures capture the whole wrapper.
    pub fn get(self) -> *mut T {
        self.0
    }
}

/// Fewer elements than this stay on one thread: starting a second one costs as much as they do.
pub(crate) const PARALLEL_ELEMENTS: usize = 32 * 1024;

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    /// Whether this thread, which is none of the pool's, has given work to the pool.
    static CALLED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `task`, on a thread of the pool where `inside`; the result, and whether it used the pool's
/// threads.
///
/// Work that is given to the pool from outside takes two changes of threads, some 20 us. A sequence
/// of works that comes from inside takes them once.
pub(crate) fn on_pool<R: Send>(inside: bool, task: impl FnOnce() -> R + Send) -> (R, bool) {
    #[cfg(not(target_arch = "wasm32"))]
    {
        if inside && threads() > 1 {
            return (rayon::scope(|_| task()), true);
        }
        CALLED.set(false);
        let result = task();
        (result, CALLED.get())
    }
    #[cfg(target_arch = "wasm32")]
    (task(), inside)
}

/// Runs `task(0..count)`, over all threads where `parallel`.
pub(crate) fn for_each(parallel: bool, count: usize, task: impl Fn(usize) + Sync) {
    #[cfg(not(target_arch = "wasm32"))]
    if parallel && count > 1 && threads() > 1 {
        use rayon::prelude::*;
        CALLED.set(true);
        (0..count).into_par_iter().with_max_len(1).for_each(&task);
        return;
    }
    let _ = parallel;
    (0..count).for_each(task);
}

/// How many threads there are.
pub(crate) fn threads() -> usize {
    #[cfg(not(target_arch = "wasm32"))]
    {
        rayon::current_num_threads()
    }
    #[cfg(target_arch = "wasm32")]
    {
        1
    }
}

/// Splits `len` items into pieces of a multiple of `grain`, enough to balance the threads, and
/// runs `task(start, end)` on each.
pub(crate) fn for_ranges(
    parallel: bool,
    len: usize,
    grain: usize,
    task: impl Fn(usize, usize) + Sync,
) {
    if len == 0 {
        return;
    }
    if !parallel || threads() == 1 {
        return task(0, len);
    }
    let piece = len.div_ceil(threads() * 4).next_multiple_of(grain.max(1));
    for_each(true, len.div_ceil(piece), |i| {
        task(i * piece, (i * piece + piece).min(len));
    });
}
