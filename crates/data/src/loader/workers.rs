//! Threads that make batches ahead of their use, in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};

use wgrad_core::Result;

use super::Task;
use crate::{Collate, Dataset};

type Host<D> = <<D as Dataset>::Item as Collate>::Host;

/// An epoch's batches in their order, made by threads that end with it.
pub(super) struct Ordered<D: Dataset>
where
    D::Item: Collate,
{
    shared: Arc<Shared<D>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<D: Dataset>
where
    D::Item: Collate,
{
    task: Task<D>,
    /// How many batches may be made and not yet taken.
    ahead: usize,
    progress: Mutex<Progress<Host<D>>>,
    /// A batch was made.
    made: Condvar,
    /// A batch was taken, or all threads are to end.
    taken: Condvar,
}

struct Progress<H> {
    /// The next batch to begin.
    next: usize,
    /// The next batch to take.
    wanted: usize,
    waiting: BTreeMap<usize, Result<H>>,
    over: bool,
}

impl<D: Dataset> Shared<D>
where
    D::Item: Collate,
{
    /// No thread panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Progress<Host<D>>> {
        self.progress.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn work(&self) {
        loop {
            let mut progress = self.lock();
            while !progress.over && progress.next >= progress.wanted + self.ahead {
                progress = self.taken.wait(progress).unwrap_or_else(|e| e.into_inner());
            }
            let number = progress.next;
            if progress.over || number == self.task.batches.len() {
                return;
            }
            progress.next += 1;
            drop(progress);
            let batch = self.task.make(number, &|| self.lock().over);
            self.lock().waiting.insert(number, batch);
            self.made.notify_all();
        }
    }
}

impl<D> Ordered<D>
where
    D: Dataset + 'static,
    D::Item: Collate,
{
    pub fn start(task: Task<D>, workers: usize, prefetch: usize) -> Ordered<D> {
        let workers = workers.min(task.batches.len());
        let shared = Arc::new(Shared {
            task,
            ahead: workers.saturating_mul(prefetch),
            progress: Mutex::new(Progress {
                next: 0,
                wanted: 0,
                waiting: BTreeMap::new(),
                over: false,
            }),
            made: Condvar::new(),
            taken: Condvar::new(),
        });
        let worker = |n: usize| {
            let shared = Arc::clone(&shared);
            let name = format!("data worker {n}");
            // Where the system gives fewer threads, fewer work: without any, the one that asks.
            Builder::new().name(name).spawn(move || shared.work()).ok()
        };
        let threads = (0..workers).map_while(worker).collect();
        Ordered { shared, threads }
    }
}

impl<D: Dataset> Iterator for Ordered<D>
where
    D::Item: Collate,
{
    type Item = Result<Host<D>>;

    fn next(&mut self) -> Option<Self::Item> {
        let shared = &*self.shared;
        let mut progress = shared.lock();
        let wanted = progress.wanted;
        if wanted == shared.task.batches.len() {
            return None;
        }
        let batch = if self.threads.is_empty() {
            shared.task.make(wanted, &|| false)
        } else {
            loop {
                match progress.waiting.remove(&wanted) {
                    Some(batch) => break batch,
                    None => {
                        progress = shared
                            .made
                            .wait(progress)
                            .unwrap_or_else(|e| e.into_inner())
                    }
                }
            }
        };
        progress.wanted += 1;
        drop(progress);
        shared.taken.notify_all();
        Some(batch)
    }
}

impl<D: Dataset> Drop for Ordered<D>
where
    D::Item: Collate,
{
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.taken.notify_all();
        for thread in self.threads.drain(..) {
            // A worker catches the panics of the set; its own would have been shown.
            let _ = thread.join();
        }
    }
}
