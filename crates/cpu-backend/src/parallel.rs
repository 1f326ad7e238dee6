//! Splitting work over threads. On the web, where there are none, the same splits run in order.

#[cfg(not(target_arch = "wasm32"))]
mod team;

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

/// Runs `task(0..count)`, over all threads where `parallel`. Tasks are begun in order: one may wait for another with
/// a lower number.
pub(crate) fn for_each(parallel: bool, count: usize, task: impl Fn(usize) + Sync) {
    #[cfg(not(target_arch = "wasm32"))]
    if parallel {
        for i in 0..count {
            // Threads may have become free since the last one.
            if i + 1 < count && team::share(i..count, &task) {
                return;
            }
            task(i);
        }
        return;
    }
    let _ = parallel;
    (0..count).for_each(task);
}

/// Sorts, with all threads where `parallel`.
pub(crate) fn sort<T: Ord + Send>(parallel: bool, items: &mut [T]) {
    #[cfg(not(target_arch = "wasm32"))]
    if parallel {
        return team::sort(items);
    }
    let _ = parallel;
    items.sort_unstable();
}

/// How many threads a task of the current thread may use.
pub(crate) fn threads() -> usize {
    #[cfg(not(target_arch = "wasm32"))]
    return team::threads();
    #[cfg(target_arch = "wasm32")]
    1
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
    let threads = threads();
    if !parallel || threads == 1 {
        return task(0, len);
    }
    let piece = len.div_ceil(threads * 4).next_multiple_of(grain.max(1));
    for_each(true, len.div_ceil(piece), |i| {
        task(i * piece, (i * piece + piece).min(len));
    });
}
