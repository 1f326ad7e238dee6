//! Splitting work over threads. On the web, where there are none, the same splits run in order.

#[cfg(not(target_arch = "wasm32"))]
use std::cell::Cell;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::atomic::{AtomicUsize, Ordering};

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
    /// How often this thread, which is none of the pool's, has shared work with the pool.
    static SHARED: Cell<usize> = const { Cell::new(0) };
}

/// A run that shares its work out so often is given to the pool as a whole.
const OFTEN: usize = 2;

/// Runs `task`, on a thread of the pool where `inside`; the result, and whether the same task had
/// better run inside the next time.
///
/// A thread outside the pool that shares work out with it may have to sleep until the others are
/// done, and to be woken, which takes 10 to 20 us; a thread of the pool looks for other work.
/// To change over to the pool takes as long, but once.
pub(crate) fn on_pool<R: Send>(inside: bool, task: impl FnOnce() -> R + Send) -> (R, bool) {
    #[cfg(not(target_arch = "wasm32"))]
    {
        if inside && threads() > 1 {
            return (rayon::scope(|_| task()), true);
        }
        SHARED.set(0);
        let result = task();
        (result, SHARED.get() >= OFTEN)
    }
    #[cfg(target_arch = "wasm32")]
    (task(), inside)
}

/// Runs `task(0..count)`, over all threads where `parallel`.
pub(crate) fn for_each(parallel: bool, count: usize, task: impl Fn(usize) + Sync) {
    #[cfg(not(target_arch = "wasm32"))]
    if parallel && count > 1 && threads() > 1 {
        if rayon::current_thread_index().is_none() {
            return share(count, task);
        }
        use rayon::prelude::*;
        (0..count).into_par_iter().with_max_len(1).for_each(&task);
        return;
    }
    let _ = parallel;
    (0..count).for_each(task);
}

/// Runs `task(0..count)` on this thread, which is none of the pool's, and on the pool's: whoever is
/// free takes the next. This thread begins at once, while the others are woken.
#[cfg(not(target_arch = "wasm32"))]
fn share(count: usize, task: impl Fn(usize) + Sync) {
    SHARED.set(SHARED.get() + 1);
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                break;
            }
            task(i);
        }
    };
    rayon::in_place_scope(|scope| {
        for _ in 1..threads().min(count) {
            scope.spawn(|_| work());
        }
        work();
    });
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
