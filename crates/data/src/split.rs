//! Dividing a set: into parts, and into folds for cross-validation.

use wgrad_core::{Error, Place, Result};

use crate::Random;

/// A fold of a cross-validation: positions to train on and to validate on.
///
/// ```
/// use wgrad::data::{sets, split};
///
/// let iris = sets::iris();
/// for fold in split::k_fold(iris.len(), 5, 1)? {
///     let (train, valid) = (iris.select(&fold.train)?, iris.select(&fold.valid)?);
///     assert_eq!((train.len(), valid.len()), (120, 30));
/// }
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Where to train.
    pub train: Vec<usize>,
    /// Where to validate.
    pub valid: Vec<usize>,
}

/// Divides the positions `0..n` at random into parts of these fractions. The sizes are rounded so that they sum to
/// `round(n * sum)`; each position is in at most one part.
///
/// ```
/// use wgrad::data::split;
///
/// let parts = split::random(10, &[0.8, 0.2], 1)?;
/// assert_eq!((parts[0].len(), parts[1].len()), (8, 2));
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for fractions that are negative, not finite, or more than 1 together.
#[track_caller]
pub fn random(n: usize, fractions: &[f64], seed: u64) -> Result<Vec<Vec<usize>>> {
    let ends = ends(n, fractions, Place::caller())?;
    let order = Random::keyed([seed, 0]).permutation(n);
    Ok(cut(&order, &ends))
}

/// [`random`] with the proportions of the classes in each part as they are in the whole, as far as whole numbers
/// allow: `labels` has the class of each position.
///
/// ```
/// use wgrad::data::split;
///
/// let labels = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1];
/// let parts = split::stratified(&labels, &[0.75, 0.25], 1)?;
/// assert_eq!(parts[1].iter().filter(|&&i| labels[i] == 1).count(), 1);
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// As [`random`].
#[track_caller]
pub fn stratified<L: Ord>(labels: &[L], fractions: &[f64], seed: u64) -> Result<Vec<Vec<usize>>> {
    let ends = ends(labels.len(), fractions, Place::caller())?;
    let mut random = Random::keyed([seed, 0]);
    let mut parts = cut(&interleaved(labels, &mut random), &ends);
    // Within a part the classes come in no order.
    for part in &mut parts {
        random.shuffle(part);
    }
    Ok(parts)
}

/// `k` folds at random: every position is validated in exactly one of them. Their sizes differ by one at most.
///
/// ```
/// use wgrad::data::split;
///
/// let folds = split::k_fold(10, 5, 1)?;
/// assert_eq!(folds.len(), 5);
/// assert_eq!((folds[0].train.len(), folds[0].valid.len()), (8, 2));
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] where `k` is below 2 or above `n`.
#[track_caller]
pub fn k_fold(n: usize, k: usize, seed: u64) -> Result<Vec<Fold>> {
    check_folds(n, k, Place::caller())?;
    Ok(folds(&Random::keyed([seed, 0]).permutation(n), k))
}

/// [`k_fold`] with the proportions of the classes in each fold as they are in the whole: every class appears in any
/// two folds equally often, or once more.
///
/// ```
/// use wgrad::data::split;
///
/// let labels = [0, 0, 0, 0, 1, 1];
/// for fold in split::stratified_k_fold(&labels, 2, 1)? {
///     assert_eq!(fold.valid.iter().filter(|&&i| labels[i] == 1).count(), 1);
/// }
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// As [`k_fold`].
#[track_caller]
pub fn stratified_k_fold<L: Ord>(labels: &[L], k: usize, seed: u64) -> Result<Vec<Fold>> {
    check_folds(labels.len(), k, Place::caller())?;
    // Dealt out in turn, the members of a class (neighbours in the order) go to all folds alike.
    let order = by_class(labels, &mut Random::keyed([seed, 0])).concat();
    Ok(folds(&order, k))
}

fn folds(order: &[usize], k: usize) -> Vec<Fold> {
    let fold = |f: usize| {
        let mut fold = Fold {
            train: Vec::new(),
            valid: Vec::new(),
        };
        for (at, &position) in order.iter().enumerate() {
            let part = if at % k == f {
                &mut fold.valid
            } else {
                &mut fold.train
            };
            part.push(position);
        }
        fold
    };
    (0..k).map(fold).collect()
}

fn check_folds(n: usize, k: usize, place: Place) -> Result<()> {
    if k < 2 || k > n {
        let problem =
            format!("{k} folds of {n} examples; there are at least 2 folds, none of them empty");
        return Err(value("k_fold", problem, place));
    }
    Ok(())
}

/// The positions of each class, in random order within it; classes in their order.
pub(crate) fn by_class<L: Ord>(labels: &[L], random: &mut Random) -> Vec<Vec<usize>> {
    let mut order = random.permutation(labels.len());
    order.sort_by(|&a, &b| labels[a].cmp(&labels[b])); // stable
    let classes = order.chunk_by(|&a, &b| labels[a] == labels[b]);
    classes.map(<[usize]>::to_vec).collect()
}

/// All positions so that every stretch has the classes in their proportions: the j-th of a class of c members stands
/// at (j + u) / c of the way, with one random u per class.
pub(crate) fn interleaved<L: Ord>(labels: &[L], random: &mut Random) -> Vec<usize> {
    let mut placed = Vec::with_capacity(labels.len());
    for class in by_class(labels, random) {
        let (count, offset) = (class.len() as f64, random.uniform());
        let place = |(j, position)| ((j as f64 + offset) / count, position);
        placed.extend(class.into_iter().enumerate().map(place));
    }
    placed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    placed.into_iter().map(|(_, position)| position).collect()
}

/// Where each part ends.
fn ends(n: usize, fractions: &[f64], place: Place) -> Result<Vec<usize>> {
    let mut sum = 0.0;
    let mut ends = Vec::with_capacity(fractions.len());
    for &fraction in fractions {
        sum += fraction;
        // Decimal fractions like 0.7 + 0.2 + 0.1 may sum to a little over 1.
        if !(fraction >= 0.0 && sum <= 1.0 + 1e-9) {
            let problem =
                format!("fractions {fractions:?}; each is at least 0, their sum at most 1");
            return Err(value("split", problem, place));
        }
        ends.push(((n as f64 * sum).round() as usize).min(n));
    }
    Ok(ends)
}

fn cut(order: &[usize], ends: &[usize]) -> Vec<Vec<usize>> {
    let begins = std::iter::once(&0).chain(ends);
    begins
        .zip(ends)
        .map(|(&a, &b)| order[a..b].to_vec())
        .collect()
}

pub(crate) fn value(op: &'static str, problem: impl Into<String>, place: Place) -> Error {
    Error::Value {
        op,
        problem: problem.into(),
        place,
    }
}
