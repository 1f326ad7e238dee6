//! Metrics of an order: how well scores put the examples of a class before the others.

use wgrad_core::{DType, Result, Tensor};

use super::{Contribution, Metric, Value, shape_error};

/// A row per example: the score of each class, and the class at the end. One score where targets are yes (1) or no.
fn scores(prediction: &Tensor, target: &Tensor) -> Result<Contribution> {
    let (shape, targets) = (prediction.shape()?, target.shape()?);
    let n = target.numel()?;
    let fits = match shape == targets {
        true => true,
        false => shape.dims().len() == 2 && targets.dims() == [shape.dims()[0]],
    };
    if !fits {
        return Err(shape_error(format!(
            "predictions of shape {shape} fit no targets of shape {targets}: \
             [n, classes] and [n], or both shapes are the same"
        )));
    }
    let columns = prediction.numel()?.checked_div(n).unwrap_or(1);
    let scores = prediction.to_dtype(DType::F32).reshape([n, columns]);
    let classes = target.to_dtype(DType::F32).reshape([n, 1]);
    Ok(Contribution::Rows(
        Tensor::cat(&[scores, classes], 1).checked()?,
    ))
}

/// The mean over the classes that both occur and do not always occur, each against the rest. `rank` gets a class's
/// examples from the largest score on, as groups of equal scores: how many of each are of the class, and how many not.
fn one_against_rest(totals: &[f64], columns: usize, rank: fn(&[(f64, f64)]) -> f64) -> Value {
    let rows = || totals.chunks_exact(columns + 1);
    let of_class = |column: usize, class: f64| {
        let mut sorted: Vec<(f64, bool)> = rows()
            .map(|row| (row[column], row[columns] == class))
            .collect();
        if sorted.iter().any(|(score, _)| score.is_nan()) {
            return Some(f64::NAN);
        }
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        let groups: Vec<(f64, f64)> = sorted
            .chunk_by(|a, b| a.0 == b.0)
            .map(|equal| {
                let yes = equal.iter().filter(|(_, yes)| *yes).count();
                (yes as f64, (equal.len() - yes) as f64)
            })
            .collect();
        let both = groups.iter().any(|g| g.0 > 0.0) && groups.iter().any(|g| g.1 > 0.0);
        both.then(|| rank(&groups))
    };
    let values: Vec<f64> = match columns {
        1 => of_class(0, 1.0).into_iter().collect(),
        _ => (0..columns)
            .filter_map(|class| of_class(class, class as f64))
            .collect(),
    };
    Value::Number(values.iter().sum::<f64>() / values.len() as f64)
}

/// The area under the receiver operating characteristic: how likely an example of the class has a larger score than
/// one of another class (ties count half). With more classes the mean of each against the rest. NaN where an order
/// means nothing (one class alone).
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Auroc, Meter};
/// # let dev = wgrad::cpu();
/// let mut auroc = Meter::new(Auroc::default());
/// auroc.update(&Tensor::new([0.1, 0.4, 0.35, 0.8], &dev), &Tensor::new([0, 0, 1, 1], &dev))?;
/// assert_eq!(auroc.value()?.number(), Some(0.75));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Auroc {
    /// How many classes there are; 0 or 1 for one score per example, of "yes".
    pub classes: usize,
}

impl Metric for Auroc {
    fn name(&self) -> String {
        "auroc".into()
    }

    fn contribution(&self, prediction: &Tensor, target: &Tensor) -> Result<Contribution> {
        check_classes(prediction, target, self.classes)?;
        scores(prediction, target)
    }

    fn value(&self, totals: &[f64]) -> Value {
        one_against_rest(totals, self.classes.max(1), |groups| {
            let yes: f64 = groups.iter().map(|g| g.0).sum();
            let no: f64 = groups.iter().map(|g| g.1).sum();
            let (mut before, mut area) = (0.0, 0.0);
            for (y, n) in groups {
                area += n * (before + y / 2.0);
                before += y;
            }
            area / (yes * no)
        })
    }
}

/// Average precision: the precision at each example of the class, in the order of the scores, averaged;
/// `sum (recall_k - recall_(k-1)) precision_k` over the distinct scores, as in scikit-learn. With more classes the mean
/// of each against the rest.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{AveragePrecision, Meter};
/// # let dev = wgrad::cpu();
/// let mut precision = Meter::new(AveragePrecision::default());
/// precision.update(&Tensor::new([0.1, 0.4, 0.35, 0.8], &dev), &Tensor::new([0, 0, 1, 1], &dev))?;
/// assert!((precision.value()?.number().unwrap() - 0.8333333).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AveragePrecision {
    /// How many classes there are; 0 or 1 for one score per example, of "yes".
    pub classes: usize,
}

impl Metric for AveragePrecision {
    fn name(&self) -> String {
        "average precision".into()
    }

    fn contribution(&self, prediction: &Tensor, target: &Tensor) -> Result<Contribution> {
        check_classes(prediction, target, self.classes)?;
        scores(prediction, target)
    }

    fn value(&self, totals: &[f64]) -> Value {
        one_against_rest(totals, self.classes.max(1), |groups| {
            let all: f64 = groups.iter().map(|g| g.0).sum();
            let (mut yes, mut seen, mut sum) = (0.0, 0.0, 0.0);
            for (y, n) in groups {
                yes += y;
                seen += y + n;
                sum += y / all * yes / seen;
            }
            sum
        })
    }
}

fn check_classes(prediction: &Tensor, target: &Tensor, classes: usize) -> Result<()> {
    let (shape, wanted) = (prediction.shape()?, classes.max(1));
    let given = match shape == target.shape()? {
        true => 1,
        false => shape.dims().get(1).copied().unwrap_or(1),
    };
    if given != wanted {
        return Err(shape_error(format!(
            "predictions of shape {shape} have {given} scores per example, not {wanted} (`classes`)"
        )));
    }
    Ok(())
}
