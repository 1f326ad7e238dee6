//! Splitting work over threads. On the web, where there are none, the same splits run in order.

#[cfg(not(target_arch = "wasm32"))]
use std::cell::Cell;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::OnceLock;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(not(target_arch = "wasm32"))]
use rayon::{ThreadPool, ThreadPoolBuilder};

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
#[cfg(not(target_arch = "wasm32"))]
const OFTEN: usize = 2;

/// The backend's threads, started when first needed; `None` where none can be started.
///
/// They are not rayon's global ones, on which a program's own tasks run: a thread that waits takes
/// up other tasks of its pool, and a task that uses a device must not begin in the middle of a run
/// that holds this device.
#[cfg(not(target_arch = "wasm32"))]
fn pool() -> Option<&'static ThreadPool> {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let start = || {
        let name = |i| format!("wgrad-cpu-{i}");
        ThreadPoolBuilder::new().thread_name(name).build().ok()
    };
    POOL.get_or_init(start).as_ref()
}

/// Where the current thread stands to the pool.
#[cfg(not(target_arch = "wasm32"))]
enum Standing {
    Inside,
    Outside(&'static ThreadPool),
    /// A thread of another pool, which must not wait for this one (see [`pool`]); what runs on it
    /// is one of many tasks anyway.
    Alone,
}

#[cfg(not(target_arch = "wasm32"))]
fn standing() -> Standing {
    match pool() {
        Some(pool) if pool.current_thread_index().is_some() => Standing::Inside,
        Some(pool) if rayon::current_thread_index().is_none() => Standing::Outside(pool),
        _ => Standing::Alone,
    }
}

/// Runs `task`, on a thread of the pool where `inside`; the result, and whether the same task had
/// better run inside the next time.
///
/// A thread outside the pool that shares work out with it may have to sleep until the others are
/// done, and to be woken, which takes 10 to 20 us; a thread of the pool looks for other work.
/// To change over to the pool takes as long, but once.
pub(crate) fn on_pool<R: Send>(inside: bool, task: impl FnOnce() -> R + Send) -> (R, bool) {
    #[cfg(not(target_arch = "wasm32"))]
    {
        if inside && let Standing::Outside(pool) = standing() {
            return (pool.install(task), true);
        }
        SHARED.set(0);
        let result = task();
        (result, inside || SHARED.get() >= OFTEN)
    }
    #[cfg(target_arch = "wasm32")]
    (task(), inside)
}

/// Runs `task(0..count)`, over all threads where `parallel`.
pub(crate) fn for_each(parallel: bool, count: usize, task: impl Fn(usize) + Sync) {
    #[cfg(not(target_arch = "wasm32"))]
    if parallel && count > 1 {
        match standing() {
            Standing::Inside => {
                use rayon::prelude::*;
                (0..count).into_par_iter().with_max_len(1).for_each(&task);
                return;
            }
            Standing::Outside(pool) if pool.current_num_threads() > 1 => {
                return share(pool, count, task);
            }
            _ => {}
        }
    }
    let _ = parallel;
    (0..count).for_each(task);
}

/// Runs `task(0..count)` on this thread, which is none of the pool's, and on the pool's: whoever is
/// free takes the next. This thread begins at once, while the others are woken.
#[cfg(not(target_arch = "wasm32"))]
fn share(pool: &ThreadPool, count: usize, task: impl Fn(usize) + Sync) {
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
    pool.in_place_scope(|scope| {
        for _ in 1..pool.current_num_threads().min(count) {
            scope.spawn(|_| work());
        }
        work();
    });
}

/// Runs `task`, which shares its work out by rayon's own means, on a thread of the pool.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn install<R: Send>(task: impl FnOnce() -> R + Send) -> R {
    match standing() {
        Standing::Outside(pool) => pool.install(task),
        _ => task(),
    }
}

/// Sorts, with all threads where `parallel`.
pub(crate) fn sort<T: Ord + Send>(parallel: bool, items: &mut [T]) {
    #[cfg(not(target_arch = "wasm32"))]
    if parallel {
        use rayon::prelude::*;
        return install(|| items.par_sort_unstable());
    }
    let _ = parallel;
    items.sort_unstable();
}

/// How many threads a task of the current thread may use.
pub(crate) fn threads() -> usize {
    #[cfg(not(target_arch = "wasm32"))]
    match standing() {
        Standing::Inside | Standing::Outside(_) => {
            pool().map_or(1, ThreadPool::current_num_threads)
        }
        Standing::Alone => 1,
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
