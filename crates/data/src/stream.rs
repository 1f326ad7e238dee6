//! Sets without numbers: examples that come one after the other.

use std::sync::Arc;

use wgrad_core::{Device, Place, Result};

use crate::split::value;
use crate::{Batches, Collate, Random};

/// A stream of an epoch's examples.
pub type Stream<'a, T> = Box<dyn Iterator<Item = Result<T>> + Send + 'a>;

/// A set whose examples can only be walked from the first on: a large text file, a generator, records of an archive.
///
/// ```
/// use wgrad::data::{IterableDataset, Stream};
/// use wgrad::prelude::*;
///
/// /// The lines of a text.
/// struct Lines(String);
///
/// impl IterableDataset for Lines {
///     type Item = String;
///
///     fn stream(&self, _epoch: u64) -> Stream<'_, String> {
///         Box::new(self.0.lines().map(|line| Ok(line.to_string())))
///     }
/// }
///
/// let lengths = Lines("one\nthree".into()).map_stream(|line| Ok(line.len()));
/// assert_eq!(lengths.stream(0).collect::<Result<Vec<_>>>()?, [3, 5]);
/// # Ok::<(), Error>(())
/// ```
pub trait IterableDataset: Send + Sync {
    /// An example.
    type Item: Send;

    /// The examples of an epoch, from the first on. They depend on the epoch alone.
    fn stream(&self, epoch: u64) -> Stream<'_, Self::Item>;

    /// How many examples an epoch has, where that is known.
    fn num_examples(&self) -> Option<usize> {
        None
    }

    /// Each example through a function.
    fn map_stream<T, F>(self, f: F) -> MappedStream<Self, F>
    where
        Self: Sized,
        T: Send,
        F: Fn(Self::Item) -> Result<T> + Send + Sync,
    {
        MappedStream { set: self, f }
    }

    /// Mixes the stream by a buffer of `size` examples, of which a random one is given for each one that comes: the
    /// larger it is, the nearer to a random order.
    ///
    /// ```
    /// use wgrad::data::{IterableDataset, stream_from_fn};
    ///
    /// let mixed = stream_from_fn(|_| (0..100).map(Ok)).mixed(20, 7);
    /// let mut values: Vec<i32> = mixed.stream(1).collect::<Result<_, _>>()?;
    /// assert_ne!(values, (0..100).collect::<Vec<_>>());
    /// values.sort();
    /// assert_eq!(values, (0..100).collect::<Vec<_>>());
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    fn mixed(self, size: usize, seed: u64) -> Mixed<Self>
    where
        Self: Sized,
    {
        Mixed {
            set: self,
            size,
            seed,
        }
    }
}

/// A stream that a function makes for each epoch.
///
/// ```
/// use wgrad::data::{IterableDataset, stream_from_fn};
///
/// let set = stream_from_fn(|epoch| (0..3).map(move |i| Ok(epoch + i)));
/// assert_eq!(set.stream(10).collect::<Result<Vec<_>, _>>()?, [10, 11, 12]);
/// # Ok::<(), wgrad::Error>(())
/// ```
pub fn stream_from_fn<T, I, F>(f: F) -> StreamFromFn<F>
where
    T: Send,
    I: Iterator<Item = Result<T>> + Send + 'static,
    F: Fn(u64) -> I + Send + Sync,
{
    StreamFromFn(f)
}

/// See [`stream_from_fn`].
pub struct StreamFromFn<F>(F);

impl<T, I, F> IterableDataset for StreamFromFn<F>
where
    T: Send,
    I: Iterator<Item = Result<T>> + Send + 'static,
    F: Fn(u64) -> I + Send + Sync,
{
    type Item = T;

    fn stream(&self, epoch: u64) -> Stream<'_, T> {
        Box::new((self.0)(epoch))
    }
}

/// See [`IterableDataset::map_stream`].
pub struct MappedStream<D, F> {
    set: D,
    f: F,
}

impl<D, F, T> IterableDataset for MappedStream<D, F>
where
    D: IterableDataset,
    T: Send,
    F: Fn(D::Item) -> Result<T> + Send + Sync,
{
    type Item = T;

    fn stream(&self, epoch: u64) -> Stream<'_, T> {
        let examples = self.set.stream(epoch);
        Box::new(examples.map(|example| (self.f)(example?)))
    }

    fn num_examples(&self) -> Option<usize> {
        self.set.num_examples()
    }
}

/// See [`IterableDataset::mixed`].
pub struct Mixed<D> {
    set: D,
    size: usize,
    seed: u64,
}

impl<D: IterableDataset> IterableDataset for Mixed<D> {
    type Item = D::Item;

    fn stream(&self, epoch: u64) -> Stream<'_, D::Item> {
        let mut examples = self.set.stream(epoch);
        let mut random = Random::keyed([self.seed, epoch]);
        let mut buffer: Vec<Result<D::Item>> = Vec::new();
        Box::new(std::iter::from_fn(move || {
            while buffer.len() < self.size.max(1) {
                match examples.next() {
                    Some(example) => buffer.push(example),
                    None => break,
                }
            }
            let at = random.below(buffer.len());
            (!buffer.is_empty()).then(|| buffer.swap_remove(at))
        }))
    }

    fn num_examples(&self) -> Option<usize> {
        self.set.num_examples()
    }
}

/// Walks an [`IterableDataset`] in batches, which a thread makes ahead of their use (not in browsers).
///
/// To begin in the midst of an epoch, the examples before are read and left.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::{Batches, StreamLoader, stream_from_fn};
/// # let dev = wgrad::cpu();
/// let set = stream_from_fn(|_| (0..5).map(|i| Ok((i as f32, i))));
/// let loader = StreamLoader::new(set, &dev).batch_size(2);
/// let batches = loader.epoch(0, 1).collect::<Result<Vec<_>>>()?;
/// assert_eq!(batches[0].y.to_vec::<i32>()?, [2, 3]);
/// assert_eq!(batches[1].y.to_vec::<i32>()?, [4]);
/// # Ok::<(), Error>(())
/// ```
pub struct StreamLoader<D> {
    set: Arc<D>,
    device: Device,
    batch_size: usize,
    drop_last: bool,
    prefetch: usize,
}

impl<D: IterableDataset> StreamLoader<D> {
    /// Batches of one example each.
    pub fn new(set: D, device: &Device) -> StreamLoader<D> {
        StreamLoader {
            set: Arc::new(set),
            device: device.clone(),
            batch_size: 1,
            drop_last: false,
            prefetch: 2,
        }
    }

    /// Examples per batch.
    pub fn batch_size(mut self, n: usize) -> StreamLoader<D> {
        self.batch_size = n;
        self
    }

    /// How many batches are made before they are asked for; 0: without a thread.
    pub fn prefetch(mut self, batches: usize) -> StreamLoader<D> {
        self.prefetch = batches;
        self
    }

    /// Whether a last batch of fewer examples is left out.
    pub fn drop_last(mut self, drop: bool) -> StreamLoader<D> {
        self.drop_last = drop;
        self
    }
}

/// The batches of a stream, on the host.
struct Collated<'a, T> {
    examples: Stream<'a, T>,
    size: usize,
    drop_last: bool,
    from: usize,
}

impl<T: Collate> Iterator for Collated<'_, T> {
    type Item = Result<T::Host>;

    fn next(&mut self) -> Option<Result<T::Host>> {
        // An error among the examples before is not hidden: what follows would be others.
        for _ in 0..std::mem::take(&mut self.from).saturating_mul(self.size) {
            if let Err(error) = self.examples.next()? {
                return Some(Err(error));
            }
        }
        let batch: Result<Vec<T>> = self.examples.by_ref().take(self.size).collect();
        match batch {
            Ok(batch) if batch.is_empty() || self.drop_last && batch.len() < self.size => None,
            Ok(batch) => Some(T::collate(batch)),
            Err(error) => Some(Err(error)),
        }
    }
}

impl<D> Batches for StreamLoader<D>
where
    D: IterableDataset + 'static,
    D::Item: Collate,
{
    type Batch = <D::Item as Collate>::Batch;

    #[track_caller]
    fn epoch(&self, epoch: u64, from: usize) -> Box<dyn Iterator<Item = Result<Self::Batch>> + '_> {
        if self.batch_size == 0 {
            let error = value("StreamLoader", "batches of 0 examples", Place::caller());
            return Box::new(std::iter::once(Err(error)));
        }
        let upload = |host: Result<_>| D::Item::upload(host?, &self.device);
        let (size, drop_last) = (self.batch_size, self.drop_last);
        #[cfg(not(target_arch = "wasm32"))]
        if self.prefetch > 0 {
            let set = Arc::clone(&self.set);
            let ahead = ahead::Ahead::start(self.prefetch, Place::caller(), move |send| {
                let examples = set.stream(epoch);
                let batches = Collated {
                    examples,
                    size,
                    drop_last,
                    from,
                };
                for batch in batches {
                    if !send(batch) {
                        break;
                    }
                }
            });
            return Box::new(ahead.map(upload));
        }
        let batches = Collated {
            examples: self.set.stream(epoch),
            size,
            drop_last,
            from,
        };
        Box::new(batches.map(upload))
    }

    fn num_batches(&self) -> Option<usize> {
        let n = self.set.num_examples()?;
        let size = self.batch_size.max(1);
        Some(if self.drop_last {
            n / size
        } else {
            n.div_ceil(size)
        })
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod ahead {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::thread::{Builder, JoinHandle};

    use wgrad_core::{Place, Result};

    use crate::loader::message;
    use crate::split::value;

    /// What a thread makes, some of it ahead.
    pub struct Ahead<T> {
        made: Option<Receiver<Result<T>>>,
        thread: Option<JoinHandle<()>>,
        failure: Option<String>,
        place: Place,
    }

    impl<T: Send + 'static> Ahead<T> {
        /// `work` gives each result to its argument, which says whether more is wanted.
        pub fn start(
            ahead: usize,
            place: Place,
            work: impl FnOnce(&dyn Fn(Result<T>) -> bool) + Send + 'static,
        ) -> Ahead<T> {
            let (sender, made) = sync_channel(ahead);
            let failed = sender.clone();
            let run = move || {
                let work = || work(&|result| sender.send(result).is_ok());
                if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                    let problem = format!("the stream panicked: {}", message(&*panic));
                    let _ = failed.send(Err(value("StreamLoader", problem, place)));
                }
            };
            let name = "data stream".to_string();
            let (thread, failure) = match Builder::new().name(name).spawn(run) {
                Ok(thread) => (Some(thread), None),
                Err(error) => (None, Some(format!("no thread for the stream: {error}"))),
            };
            Ahead {
                made: Some(made),
                thread,
                failure,
                place,
            }
        }
    }

    impl<T> Iterator for Ahead<T> {
        type Item = Result<T>;

        fn next(&mut self) -> Option<Result<T>> {
            if let Some(problem) = self.failure.take() {
                return Some(Err(value("StreamLoader", problem, self.place)));
            }
            self.made.as_ref()?.recv().ok()
        }
    }

    impl<T> Drop for Ahead<T> {
        fn drop(&mut self) {
            // A thread that waits to send sees that nobody will take it.
            self.made = None;
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
    }
}
