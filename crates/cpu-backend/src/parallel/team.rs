//! The threads that share work out: one posts a job, and whoever is free takes its next task.
//!
//! A run of a network shares work out every few microseconds, and to wake a sleeping thread takes ten or twenty. So
//! a thread that has finished looks for the next job for [`PATIENCE`] before it goes back to sleep, and who posts a
//! job begins at once instead of waiting for the others.

use std::any::Any;
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{env, hint, ptr, thread};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::instructions::{self, InstructionSet};

/// How long an idle thread looks for work before it sleeps.
const PATIENCE: Duration = Duration::from_micros(50);

/// How many looks lie between two looks at the clock, and before a waiting thread offers its core to others.
const LOOKS: usize = 64;

struct Team {
    /// The threads that help who posts a job. They sleep when there is nothing to do, and are woken by rayon; they are
    /// not its global ones, on which a program's own tasks run. `None` where there are none.
    ///
    /// One fewer than cores: rayon wakes a second thread when a first one finds work, and with one more than cores
    /// that thread takes the core of somebody at work, for whole milliseconds.
    helpers: Option<ThreadPool>,
    /// Whether somebody shares work out.
    taken: AtomicBool,
    /// What it is; null where there is nothing.
    job: AtomicPtr<Job<'static>>,
    /// How many jobs there have been: a thread looks into each once.
    jobs: AtomicUsize,
    /// How many threads may be using `job`.
    active: AtomicUsize,
    /// How many threads look for jobs, or were woken to do so.
    present: AtomicUsize,
}

struct Job<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    /// One past the last task.
    end: usize,
    next: AtomicUsize,
    instructions: InstructionSet,
    /// What a task on another thread panicked with.
    panicked: Mutex<Option<Box<dyn Any + Send>>>,
}

thread_local! {
    /// Whether this thread is at a task: what that shares out, it does alone.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

fn team() -> &'static Team {
    static TEAM: OnceLock<Team> = OnceLock::new();
    TEAM.get_or_init(|| {
        let helpers = cores() - 1;
        Team {
            helpers: (helpers > 0).then(|| threads_of_rayon(helpers)).flatten(),
            taken: AtomicBool::new(false),
            job: AtomicPtr::new(ptr::null_mut()),
            jobs: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            present: AtomicUsize::new(0),
        }
    })
}

/// How many threads work at a time: as many as there are cores, or as rayon's variable says.
fn cores() -> usize {
    let asked = env::var("RAYON_NUM_THREADS").ok();
    let asked = asked.and_then(|count| count.parse().ok());
    let asked = asked.and_then(NonZeroUsize::new);
    asked.map_or_else(
        || thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    )
}

fn threads_of_rayon(count: usize) -> Option<ThreadPool> {
    let name = |i| format!("wgrad-cpu-{i}");
    let pool = ThreadPoolBuilder::new().num_threads(count);
    pool.thread_name(name).build().ok()
}

impl Team {
    /// All threads, with the one that asks.
    fn size(&self) -> usize {
        1 + self
            .helpers
            .as_ref()
            .map_or(0, ThreadPool::current_num_threads)
    }

    /// Looks for jobs and helps with them until there has been none for a while.
    fn serve(&self) {
        let mut since = Instant::now();
        let mut looks = 0usize;
        let mut seen = self.jobs.load(Ordering::Relaxed).wrapping_sub(1);
        loop {
            let jobs = self.jobs.load(Ordering::Acquire);
            if jobs != seen && !self.job.load(Ordering::Relaxed).is_null() {
                self.help();
                seen = jobs;
                since = Instant::now();
            }
            hint::spin_loop();
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(LOOKS) && since.elapsed() > PATIENCE {
                self.present.fetch_sub(1, Ordering::SeqCst);
                // A job that was posted meanwhile counted on this thread, if it did not wake another.
                let posted = self.jobs.load(Ordering::SeqCst) != seen
                    && !self.job.load(Ordering::SeqCst).is_null();
                let stays = |present| (present < self.size() - 1).then_some(present + 1);
                let again = posted
                    && self
                        .present
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, stays)
                        .is_ok();
                if !again {
                    return;
                }
            }
        }
    }

    /// Helps with the job, if there still is one.
    fn help(&self) {
        // Who posted the job takes it away and then waits until nobody is active; so either this thread is seen, or
        // it sees that there is none. Both sides are sequentially consistent.
        self.active.fetch_add(1, Ordering::SeqCst);
        let job = self.job.load(Ordering::SeqCst);
        if !job.is_null() {
            // SAFETY: it lives until this thread is no longer active.
            let job = unsafe { &*job };
            if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| job.work())) {
                *job.panicked.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
        }
        self.active.fetch_sub(1, Ordering::SeqCst);
    }

    /// Runs the job on this thread and all that come to help.
    fn run(&self, threads: &'static ThreadPool, job: &Job<'_>) {
        /// Takes the job away and waits until nobody uses it, also where a task panics.
        struct Finish<'a>(&'a Team);
        impl Drop for Finish<'_> {
            fn drop(&mut self) {
                self.0.job.store(ptr::null_mut(), Ordering::SeqCst);
                let mut looks = 0;
                while self.0.active.load(Ordering::SeqCst) > 0 {
                    hint::spin_loop();
                    looks += 1;
                    if looks % LOOKS == 0 {
                        thread::yield_now();
                    }
                }
                self.0.taken.store(false, Ordering::Release);
            }
        }
        let finish = Finish(self);
        let tasks = job.end - job.next.load(Ordering::Relaxed);
        let wanted = (self.size() - 1).min(tasks.saturating_sub(1));
        let posted = ptr::from_ref(job).cast::<Job<'static>>().cast_mut();
        self.jobs.fetch_add(1, Ordering::SeqCst);
        self.job.store(posted, Ordering::SeqCst);
        for _ in self.present.load(Ordering::SeqCst)..wanted {
            self.present.fetch_add(1, Ordering::SeqCst);
            threads.spawn(|| team().serve());
        }
        job.work();
        drop(finish);
    }
}

impl Job<'_> {
    /// Takes tasks until none is left.
    fn work(&self) {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                AT_WORK.set(false);
            }
        }
        AT_WORK.set(true);
        let _leave = Leave;
        self.instructions.during(|| {
            loop {
                let i = self.next.fetch_add(1, Ordering::Relaxed);
                if i >= self.end {
                    break;
                }
                (self.task)(i);
            }
        });
    }
}

/// Runs the tasks on this thread and on those that are free; `false`, and nothing done, where this thread is to do them
/// alone: it is at a task itself, or another one shares work out.
pub(super) fn share(tasks: Range<usize>, task: &(dyn Fn(usize) + Sync)) -> bool {
    let team = team();
    let Some(helpers) = &team.helpers else {
        return false;
    };
    if AT_WORK.get() || team.taken.swap(true, Ordering::Acquire) {
        return false;
    }
    let job = Job {
        task,
        end: tasks.end,
        next: AtomicUsize::new(tasks.start),
        instructions: instructions::current(),
        panicked: Mutex::new(None),
    };
    team.run(helpers, &job);
    let panicked = job.panicked.into_inner();
    if let Some(panic) = panicked.unwrap_or_else(PoisonError::into_inner) {
        panic::resume_unwind(panic);
    }
    true
}

/// How many threads a task of the current thread may use.
pub(super) fn threads() -> usize {
    if AT_WORK.get() { 1 } else { team().size() }
}

/// Sorts with all threads: those of a pool of its own, since rayon lets who asks wait.
pub(super) fn sort<T: Ord + Send>(items: &mut [T]) {
    static SORTERS: OnceLock<Option<ThreadPool>> = OnceLock::new();
    match SORTERS.get_or_init(|| threads_of_rayon(cores())) {
        // A thread of another pool takes up that one's tasks while it waits, and one of them may want the device that
        // this one holds.
        Some(pool) if !AT_WORK.get() && rayon::current_thread_index().is_none() => {
            pool.install(|| items.par_sort_unstable());
        }
        _ => items.sort_unstable(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every task runs once, in every nesting and from several threads at a time.
    #[test]
    fn every_task_runs_once() {
        let counts: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in 1..200 {
                        let range = 1000 / round;
                        super::super::for_each(true, range, |i| {
                            super::super::for_each(true, 2, |_| {
                                counts[i].fetch_add(1, Ordering::Relaxed);
                            });
                        });
                        if round % 50 == 0 {
                            thread::sleep(2 * PATIENCE);
                        }
                    }
                });
            }
        });
        for (i, count) in counts.iter().enumerate() {
            let rounds = (1..200).filter(|round| 1000 / round > i).count();
            assert_eq!(count.load(Ordering::Relaxed), 6 * rounds, "task {i}");
        }
    }

    /// A task may wait for one with a lower number.
    #[test]
    fn tasks_begin_in_order() {
        for _ in 0..1000 {
            let done = AtomicUsize::new(0);
            super::super::for_each(true, 9, |i| {
                while i >= 3 && done.load(Ordering::Acquire) < 3 {
                    hint::spin_loop();
                }
                done.fetch_add(1, Ordering::Release);
            });
            assert_eq!(done.into_inner(), 9);
        }
    }

    #[test]
    fn a_panic_comes_through_and_the_team_goes_on() {
        for bad in 0..8 {
            let caught = panic::catch_unwind(|| {
                super::super::for_each(true, 8, |i| assert_ne!(i, bad, "task {i}"));
            });
            let message = caught.unwrap_err();
            assert!(message.downcast_ref::<String>().unwrap().contains("task"));
            let sum = AtomicUsize::new(0);
            super::super::for_each(true, 8, |i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 28);
        }
    }

    /// A job's tasks use the instruction set of the thread that shares it out.
    #[test]
    fn tasks_use_the_instructions_of_their_job() {
        let sets = InstructionSet::ALL.into_iter();
        for set in sets.filter(|set| set.is_available()) {
            set.during(|| {
                super::super::for_each(true, 64, |_| assert_eq!(instructions::current(), set));
            });
        }
        assert_eq!(instructions::current(), InstructionSet::best());
    }

    #[test]
    fn idle_threads_sleep() {
        super::super::for_each(true, 8, |_| {});
        let until = Instant::now() + Duration::from_secs(5);
        while team().present.load(Ordering::SeqCst) > 0 || team().taken.load(Ordering::SeqCst) {
            assert!(Instant::now() < until, "threads still look for work");
            thread::sleep(PATIENCE);
        }
    }
}
