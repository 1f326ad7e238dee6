//! Orders in which a loader walks a set.

use wgrad_core::{Place, Result};

use crate::split::{interleaved, value};
use crate::{Random, split};

/// The order of an epoch's examples. It depends on the epoch alone.
///
/// ```
/// use wgrad::data::{Sampler, Shuffled};
///
/// let order = Shuffled::new(5, 7);
/// assert_eq!(order.positions(1), order.positions(1));
/// ```
pub trait Sampler: Send + Sync {
    /// How many examples an epoch has.
    fn num_samples(&self) -> usize;

    /// Their positions in the set.
    fn positions(&self, epoch: u64) -> Vec<usize>;
}

/// The batches of an epoch, by the positions of their examples. They depend on the epoch alone.
///
/// ```
/// use wgrad::data::{BatchSampler, Batched, Sequential};
///
/// let batches = Batched::new(Sequential(5), 2, false);
/// assert_eq!(batches.batches(0), [vec![0, 1], vec![2, 3], vec![4]]);
/// assert_eq!(batches.num_batches(), 3);
/// ```
pub trait BatchSampler: Send + Sync {
    /// How many batches an epoch has.
    fn num_batches(&self) -> usize;

    /// The positions of each batch's examples.
    fn batches(&self, epoch: u64) -> Vec<Vec<usize>>;
}

/// From the first example to the last.
///
/// ```
/// use wgrad::data::{Sampler, Sequential};
///
/// assert_eq!(Sequential(3).positions(7), [0, 1, 2]);
/// ```
#[derive(Clone, Debug)]
pub struct Sequential(
    /// How many there are.
    pub usize,
);

impl Sampler for Sequential {
    fn num_samples(&self) -> usize {
        self.0
    }

    fn positions(&self, _epoch: u64) -> Vec<usize> {
        (0..self.0).collect()
    }
}

/// Every example once, in an order that is random and another one in each epoch.
///
/// ```
/// use wgrad::data::{Sampler, Shuffled};
///
/// let order = Shuffled::new(100, 7);
/// assert_eq!(order.positions(3), order.positions(3));
/// assert_ne!(order.positions(3), order.positions(4));
/// ```
#[derive(Clone, Debug)]
pub struct Shuffled {
    n: usize,
    seed: u64,
}

impl Shuffled {
    /// Orders of `n` examples.
    pub fn new(n: usize, seed: u64) -> Shuffled {
        Shuffled { n, seed }
    }
}

impl Sampler for Shuffled {
    fn num_samples(&self) -> usize {
        self.n
    }

    fn positions(&self, epoch: u64) -> Vec<usize> {
        Random::keyed([self.seed, epoch]).permutation(self.n)
    }
}

/// Examples drawn in proportion to their weights.
///
/// ```
/// use wgrad::data::{Sampler, Weighted};
///
/// let order = Weighted::new(&[0.0, 2.0, 1.0], 2, 7)?.without_replacement()?;
/// let mut both = order.positions(0);
/// both.sort();
/// assert_eq!(both, [1, 2]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Weighted {
    weights: Vec<f64>,
    draws: usize,
    replacement: bool,
    seed: u64,
}

impl Weighted {
    /// `draws` examples an epoch, each drawn anew from all.
    ///
    /// ```
    /// use wgrad::data::{Sampler, Weighted};
    ///
    /// let order = Weighted::new(&[1.0, 0.0, 3.0], 400, 7)?.positions(0);
    /// assert!(!order.contains(&1));
    /// assert!(order.iter().filter(|&&i| i == 2).count() > 250);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`](wgrad_core::Error::Value) for a weight that is negative or not finite, or where there is something
    /// to draw and all weights are 0.
    #[track_caller]
    pub fn new(weights: &[f64], draws: usize, seed: u64) -> Result<Weighted> {
        let place = Place::caller();
        let valid = |w: &f64| *w >= 0.0 && w.is_finite();
        if let Some(at) = weights.iter().position(|w| !valid(w)) {
            let problem = format!(
                "weight {at} is {}; weights are finite and at least 0",
                weights[at]
            );
            return Err(value("Weighted", problem, place));
        }
        if draws > 0 && !weights.iter().any(|&w| w > 0.0) {
            return Err(value("Weighted", "no weight is above 0", place));
        }
        Ok(Weighted {
            weights: weights.to_vec(),
            draws,
            replacement: true,
            seed,
        })
    }

    /// Weights that draw each class as often as any other, given each example's class.
    ///
    /// ```
    /// use wgrad::data::{Sampler, Weighted};
    ///
    /// let labels = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    /// let order = Weighted::balanced(&labels, 1000, 7)?.positions(0);
    /// let rare = order.iter().filter(|&&i| labels[i] == 1).count();
    /// assert!((400..600).contains(&rare));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`](wgrad_core::Error::Value) where there are draws but no examples.
    #[track_caller]
    pub fn balanced<L: Ord>(labels: &[L], draws: usize, seed: u64) -> Result<Weighted> {
        let mut weights = vec![0.0; labels.len()];
        for class in split::by_class(labels, &mut Random::new(0)) {
            for &position in &class {
                weights[position] = 1.0 / class.len() as f64;
            }
        }
        Place::caller().hold(|| Weighted::new(&weights, draws, seed))
    }

    /// Draws no example twice in an epoch
    /// ([Efraimidis and Spirakis 2006](https://doi.org/10.1016/j.ipl.2005.11.003)).
    ///
    /// # Errors
    /// [`Error::Value`](wgrad_core::Error::Value) where fewer examples than draws have a weight above 0.
    #[track_caller]
    pub fn without_replacement(mut self) -> Result<Weighted> {
        let possible = self.weights.iter().filter(|&&w| w > 0.0).count();
        if possible < self.draws {
            let problem = format!(
                "{} draws without replacement from {possible} examples of weight above 0",
                self.draws
            );
            return Err(value("Weighted", problem, Place::caller()));
        }
        self.replacement = false;
        Ok(self)
    }
}

impl Sampler for Weighted {
    fn num_samples(&self) -> usize {
        self.draws
    }

    fn positions(&self, epoch: u64) -> Vec<usize> {
        let mut random = Random::keyed([self.seed, epoch]);
        if self.replacement {
            // Scaled, so that no sum is infinite.
            let largest = self.weights.iter().copied().fold(0.0, f64::max);
            let mut sum = 0.0;
            let add = |w: &f64| {
                sum += w / largest;
                sum
            };
            let sums: Vec<f64> = self.weights.iter().map(add).collect();
            let mut draw = || {
                let at = random.uniform() * sum;
                // The first sum above: an example of weight 0 has the sum of the one before it.
                let found = sums.partition_point(|&s| s <= at);
                // Rounded up to the whole sum, it is the last of weight above 0.
                found.min(sums.partition_point(|&s| s < sum))
            };
            (0..self.draws).map(|_| draw()).collect()
        } else {
            // The smallest of exponentially distributed times of rates w come first.
            let time = |(at, &w): (usize, &f64)| (-libm::log(1.0 - random.uniform()) / w, at);
            let weights = self.weights.iter().enumerate();
            let mut times: Vec<(f64, usize)> = weights.map(time).collect();
            // 0 / 0 is a NaN of either sign; such an example comes last in any case.
            times.sort_by(|a, b| {
                let key = |t: f64| if t.is_nan() { f64::INFINITY } else { t };
                let none = |&(_, at): &(f64, usize)| self.weights[at] == 0.0;
                none(a)
                    .cmp(&none(b))
                    .then(key(a.0).total_cmp(&key(b.0)))
                    .then(a.1.cmp(&b.1))
            });
            let first = times.into_iter().take(self.draws);
            first.map(|(_, at)| at).collect()
        }
    }
}

/// Every example once, in a random order in which each stretch (each batch) has the classes in the proportions of the
/// whole set.
///
/// ```
/// use wgrad::data::{Sampler, Stratified};
///
/// let labels = [0, 0, 0, 0, 0, 0, 1, 1];
/// let order = Stratified::new(&labels, 7).positions(0);
/// assert_eq!(order[..4].iter().filter(|&&i| labels[i] == 1).count(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct Stratified<L> {
    labels: Vec<L>,
    seed: u64,
}

impl<L: Ord + Clone> Stratified<L> {
    /// From the class of each example.
    pub fn new(labels: &[L], seed: u64) -> Stratified<L> {
        let labels = labels.to_vec();
        Stratified { labels, seed }
    }
}

impl<L: Ord + Send + Sync> Sampler for Stratified<L> {
    fn num_samples(&self) -> usize {
        self.labels.len()
    }

    fn positions(&self, epoch: u64) -> Vec<usize> {
        interleaved(&self.labels, &mut Random::keyed([self.seed, epoch]))
    }
}

/// A sampler's order cut into batches of one size.
///
/// ```
/// use wgrad::data::{BatchSampler, Batched, Sequential};
///
/// let whole = Batched::new(Sequential(5), 2, true); // drops the last one
/// assert_eq!(whole.batches(0), [[0, 1], [2, 3]]);
/// ```
#[derive(Clone, Debug)]
pub struct Batched<S> {
    sampler: S,
    size: usize,
    drop_last: bool,
}

impl<S: Sampler> Batched<S> {
    /// Batches of `size` examples (1 at least); `drop_last` leaves out a last one of fewer.
    pub fn new(sampler: S, size: usize, drop_last: bool) -> Batched<S> {
        Batched {
            sampler,
            size: size.max(1),
            drop_last,
        }
    }
}

fn count(n: usize, size: usize, drop_last: bool) -> usize {
    if drop_last {
        n / size
    } else {
        n.div_ceil(size)
    }
}

fn cut(positions: &[usize], size: usize, drop_last: bool) -> Vec<Vec<usize>> {
    let batches = positions.chunks(size);
    let whole = batches.filter(|b| !drop_last || b.len() == size);
    whole.map(<[usize]>::to_vec).collect()
}

impl<S: Sampler> BatchSampler for Batched<S> {
    fn num_batches(&self) -> usize {
        count(self.sampler.num_samples(), self.size, self.drop_last)
    }

    fn batches(&self, epoch: u64) -> Vec<Vec<usize>> {
        cut(&self.sampler.positions(epoch), self.size, self.drop_last)
    }
}

/// Batches of examples of like length, for sequences that are filled up to the longest of their batch: the shuffled
/// examples are sorted by length in pools of `100 * batch_size`, and the batches come in random order.
///
/// ```
/// use wgrad::data::{BatchSampler, ByLength};
///
/// let lengths = [9, 1, 8, 2, 9, 1];
/// let mut batches = ByLength::new(&lengths, 2, false, 7).batches(0);
/// batches.sort_by_key(|b| lengths[b[0]]);
/// let lengths: Vec<Vec<usize>> = batches.iter().map(|b| b.iter().map(|&i| lengths[i]).collect()).collect();
/// assert_eq!(lengths, [[1, 1], [2, 8], [9, 9]]);
/// ```
#[derive(Clone, Debug)]
pub struct ByLength {
    lengths: Vec<usize>,
    size: usize,
    drop_last: bool,
    seed: u64,
}

impl ByLength {
    /// From the length of each example.
    pub fn new(lengths: &[usize], batch_size: usize, drop_last: bool, seed: u64) -> ByLength {
        ByLength {
            lengths: lengths.to_vec(),
            size: batch_size.max(1),
            drop_last,
            seed,
        }
    }
}

impl BatchSampler for ByLength {
    fn num_batches(&self) -> usize {
        count(self.lengths.len(), self.size, self.drop_last)
    }

    fn batches(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut random = Random::keyed([self.seed, epoch]);
        let mut positions = random.permutation(self.lengths.len());
        for pool in positions.chunks_mut(self.size.saturating_mul(100)) {
            pool.sort_by_key(|&i| self.lengths[i]); // stable: like lengths stay in random order
        }
        let mut batches = cut(&positions, self.size, self.drop_last);
        random.shuffle(&mut batches);
        batches
    }
}

macro_rules! boxed {
    ($($pointer:ty),*) => { $(
        impl<S: Sampler + ?Sized> Sampler for $pointer {
            fn num_samples(&self) -> usize {
                (**self).num_samples()
            }

            fn positions(&self, epoch: u64) -> Vec<usize> {
                (**self).positions(epoch)
            }
        }
    )* };
}
boxed!(Box<S>, std::sync::Arc<S>);
