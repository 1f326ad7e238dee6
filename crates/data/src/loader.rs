//! Batches of a set's examples.

#[cfg(not(target_arch = "wasm32"))]
mod workers;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use wgrad_core::{Device, Error, Place, Result};

use crate::sampler::{BatchSampler, Batched, Sampler, Sequential, Shuffled};
use crate::split::value;
use crate::{Batches, Collate, Dataset};

/// Walks a [`Dataset`] in batches: reads examples and puts them together, in threads of its own if wanted, and brings
/// the batches to a device on the thread that asks for them.
///
/// The batches of an epoch depend on the set, the order and the epoch alone: not on the number of threads, and not on
/// what was asked before. They are made only shortly before they are needed.
///
/// An example that cannot be read, or whose reading panics, makes its batch an error that begins with
/// `example N:`; the other batches are as they were.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::{Batches, DataLoader, sets};
/// # let dev = wgrad::cpu();
///
/// let loader = DataLoader::new(sets::iris(), &dev).batch_size(32).shuffle(7).workers(2);
/// assert_eq!(loader.num_batches(), Some(5));
/// for batch in loader.epoch(0, 0) {
///     let batch = batch?;
///     assert_eq!(batch.x.shape()?.dims()[1..], [4]);
/// }
/// # Ok::<(), Error>(())
/// ```
pub struct DataLoader<D> {
    set: Arc<D>,
    device: Device,
    order: Order,
    batch_size: usize,
    drop_last: bool,
    workers: usize,
    prefetch: usize,
}

enum Order {
    Sequential,
    Shuffled(u64),
    Sampler(Arc<dyn Sampler>),
    Batches(Box<dyn BatchSampler>),
}

impl<D: Dataset> DataLoader<D> {
    /// Batches of one example each, in the set's order, without threads.
    pub fn new(set: D, device: &Device) -> DataLoader<D> {
        DataLoader {
            set: Arc::new(set),
            device: device.clone(),
            order: Order::Sequential,
            batch_size: 1,
            drop_last: false,
            workers: 0,
            prefetch: 2,
        }
    }

    /// Examples per batch.
    pub fn batch_size(mut self, n: usize) -> DataLoader<D> {
        self.batch_size = n;
        self
    }

    /// Another random order in each epoch.
    pub fn shuffle(mut self, seed: u64) -> DataLoader<D> {
        self.order = Order::Shuffled(seed);
        self
    }

    /// The order of a sampler.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::data::{Batches, DataLoader, Stratified, sets};
    /// # let dev = wgrad::cpu();
    /// let iris = sets::iris();
    /// let order = Stratified::new(&iris.y, 7);
    /// let loader = DataLoader::new(iris, &dev).batch_size(30).sampler(order);
    /// let batch = loader.epoch(0, 0).next().unwrap()?;
    /// let classes = batch.y.to_vec::<i32>()?;
    /// assert_eq!(classes.iter().filter(|&&c| c == 2).count(), 10);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> DataLoader<D> {
        self.order = Order::Sampler(Arc::new(sampler));
        self
    }

    /// The batches of a sampler, which decides their sizes too.
    pub fn batch_sampler(mut self, sampler: impl BatchSampler + 'static) -> DataLoader<D> {
        self.order = Order::Batches(Box::new(sampler));
        self
    }

    /// How many threads read examples; 0: the one that asks. In browsers it is always that one.
    pub fn workers(mut self, n: usize) -> DataLoader<D> {
        self.workers = n;
        self
    }

    /// How many batches each thread makes before they are asked for (at least 1; 2 unless said otherwise).
    pub fn prefetch(mut self, batches: usize) -> DataLoader<D> {
        self.prefetch = batches.max(1);
        self
    }

    /// Whether a last batch of fewer examples is left out.
    pub fn drop_last(mut self, drop: bool) -> DataLoader<D> {
        self.drop_last = drop;
        self
    }

    /// The set.
    pub fn dataset(&self) -> &D {
        &self.set
    }

    /// The device that batches are brought to.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn plan(&self) -> Box<dyn BatchSampler + '_> {
        let n = self.set.len();
        let (size, drop) = (self.batch_size, self.drop_last);
        match &self.order {
            Order::Sequential => Box::new(Batched::new(Sequential(n), size, drop)),
            Order::Shuffled(seed) => Box::new(Batched::new(Shuffled::new(n, *seed), size, drop)),
            Order::Sampler(sampler) => Box::new(Batched::new(Arc::clone(sampler), size, drop)),
            Order::Batches(batches) => Box::new(&**batches),
        }
    }
}

impl<B: BatchSampler + ?Sized> BatchSampler for &B {
    fn num_batches(&self) -> usize {
        (**self).num_batches()
    }

    fn batches(&self, epoch: u64) -> Vec<Vec<usize>> {
        (**self).batches(epoch)
    }
}

impl<D> Batches for DataLoader<D>
where
    D: Dataset + 'static,
    D::Item: Collate,
{
    type Batch = <D::Item as Collate>::Batch;

    #[track_caller]
    fn epoch(&self, epoch: u64, from: usize) -> Box<dyn Iterator<Item = Result<Self::Batch>> + '_> {
        let place = Place::caller();
        if self.batch_size == 0 {
            let error = value("DataLoader", "batches of 0 examples", place);
            return Box::new(std::iter::once(Err(error)));
        }
        let mut batches = self.plan().batches(epoch);
        batches.drain(..from.min(batches.len()));
        let task = Task {
            set: Arc::clone(&self.set),
            batches,
            epoch,
            place,
        };
        let upload = |host: Result<_>| D::Item::upload(host?, &self.device);
        #[cfg(not(target_arch = "wasm32"))]
        if self.workers > 0 {
            let made = workers::Ordered::start(task, self.workers, self.prefetch);
            return Box::new(made.map(upload));
        }
        let numbers = 0..task.batches.len();
        Box::new(numbers.map(move |n| upload(task.make(n, &|| false))))
    }

    fn num_batches(&self) -> Option<usize> {
        Some(if self.batch_size == 0 {
            0
        } else {
            self.plan().num_batches()
        })
    }
}

/// An epoch to be made.
struct Task<D> {
    set: Arc<D>,
    batches: Vec<Vec<usize>>,
    epoch: u64,
    place: Place,
}

impl<D: Dataset> Task<D>
where
    D::Item: Collate,
{
    /// A batch on the host. Whether it is still wanted is asked between examples.
    fn make(
        &self,
        number: usize,
        abandoned: &dyn Fn() -> bool,
    ) -> Result<<D::Item as Collate>::Host> {
        let positions = &self.batches[number];
        let mut examples = Vec::with_capacity(positions.len());
        for &position in positions {
            if abandoned() {
                return Err(value("DataLoader", "the epoch was left", self.place));
            }
            let example = self.caught("reading it", || {
                self.set.example_in_epoch(position, self.epoch)
            });
            let named = |e: Error| e.in_module(&format!("example {position}"), "");
            examples.push(example.map_err(named)?);
        }
        self.caught("collating", || D::Item::collate(examples))
            .map_err(|e| e.in_module(&format!("examples {}", list(positions)), ""))
    }

    /// A panic as an error.
    fn caught<T>(&self, doing: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
        // What the set changed behind a lock is its own matter: a poisoned lock is an error in turn.
        let f = || self.place.hold(f);
        catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
            let problem = format!("{doing} panicked: {}", message(&*panic));
            Err(value("DataLoader", problem, self.place))
        })
    }
}

fn list(positions: &[usize]) -> String {
    let first: Vec<String> = positions.iter().take(8).map(usize::to_string).collect();
    let more = if positions.len() > 8 { ", .." } else { "" };
    format!("{}{more}", first.join(", "))
}

pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let string = panic.downcast_ref::<String>().map(String::as_str);
    let text = string.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message")
}
