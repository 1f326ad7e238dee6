//! Metrics of decisions between classes.
//!
//! Predictions are scores (logits or probabilities) with the classes along dimension 1, as for `cross_entropy`, and
//! targets are classes; or predictions are logits of the targets' shape, a decision between yes (above 0) and no.

use wgrad_core::{DType, Result, Tensor};

use super::{Contribution, Metric, Value, shape_error};

/// Decided and true classes, one after the other, and how many classes there are.
fn decide(prediction: &Tensor, target: &Tensor) -> Result<(Tensor, Tensor, usize)> {
    let (shape, targets) = (prediction.shape()?, target.shape()?);
    let truth = target.to_dtype(DType::I32).flatten(0, -1);
    if shape == targets {
        let yes = prediction.gt(0.0).to_dtype(DType::I32);
        return Ok((yes.flatten(0, -1), truth, 2));
    }
    let dim = class_dim(prediction, target)?;
    let decided = prediction.argmax(dim as isize, false).flatten(0, -1);
    Ok((decided.to_dtype(DType::I32), truth, shape.dims()[dim]))
}

/// The dimension of the classes, where predictions have one more than targets.
fn class_dim(prediction: &Tensor, target: &Tensor) -> Result<usize> {
    let (shape, targets) = (prediction.shape()?, target.shape()?);
    let dim = usize::from(shape.dims().len() > 1);
    let mut rest = shape.dims().to_vec();
    if !rest.is_empty() {
        rest.remove(dim);
    }
    if shape.dims().is_empty() || rest != targets.dims() {
        return Err(shape_error(format!(
            "predictions of shape {shape} fit no targets of shape {targets}: \
             classes are along dimension 1, or both shapes are the same"
        )));
    }
    Ok(dim)
}

/// The share of decisions that are right.
#[derive(Clone, Copy, Debug)]
pub struct Accuracy {
    k: usize,
}

impl Default for Accuracy {
    fn default() -> Accuracy {
        Accuracy { k: 1 }
    }
}

impl Accuracy {
    /// The share of examples whose class has the largest score.
    pub fn new() -> Accuracy {
        Accuracy::default()
    }

    /// The share of examples whose class is among the `k` with the largest scores.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::train::{Accuracy, Meter};
    /// # let dev = wgrad::cpu();
    /// let mut top2 = Meter::new(Accuracy::top(2));
    /// let scores = Tensor::new([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], &dev);
    /// top2.update(&scores, &Tensor::new([1, 2], &dev))?;
    /// assert_eq!(top2.value()?.number(), Some(0.5));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn top(k: usize) -> Accuracy {
        Accuracy { k }
    }
}

impl Metric for Accuracy {
    fn name(&self) -> String {
        match self.k {
            1 => "accuracy".into(),
            k => format!("top-{k} accuracy"),
        }
    }

    fn contribution(&self, prediction: &Tensor, target: &Tensor) -> Result<Contribution> {
        let right = if self.k == 1 {
            let (decided, truth, _) = decide(prediction, target)?;
            decided.eq(&truth)
        } else {
            let dim = class_dim(prediction, target)?;
            let classes = prediction.shape()?.dims()[dim];
            let truth = target.to_dtype(DType::I32).unsqueeze(dim as isize);
            let own = prediction.gather(dim as isize, &truth);
            // Of equal scores the first class counts as the larger; NaN is larger than all.
            let mut column = vec![1; prediction.shape()?.dims().len()];
            column[dim] = classes;
            let class = Tensor::arange(classes as i32, prediction.device()).reshape(column);
            let ahead = prediction
                .le(&own)
                .logical_not()
                .logical_or(prediction.eq(&own).logical_and(class.lt(&truth)));
            let rank = ahead.to_dtype(DType::I32).sum_dims([dim as isize], false);
            rank.lt(self.k as i32).flatten(0, -1)
        };
        let right = right.to_dtype(DType::I32);
        let counts = [right.sum(), right.ones_like().sum()];
        Ok(Contribution::Counts(Tensor::stack(&counts, 0).checked()?))
    }

    fn value(&self, totals: &[f64]) -> Value {
        Value::Number(totals[0] / totals[1])
    }
}

/// How the classes' values become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Average {
    /// The mean over the classes that occur, as targets or as decisions. With two classes of logits of the targets'
    /// shape too: [`Average::Positive`] is what is asked for there more often.
    #[default]
    Macro,
    /// Counts of all classes together.
    Micro,
    /// The value of class 1 alone: of "yes", where there are two.
    Positive,
}

/// Of each class how often it was decided rightly, how often it was decided and how often it is true.
fn hits(prediction: &Tensor, target: &Tensor) -> Result<Contribution> {
    let (decided, truth, classes) = decide(prediction, target)?;
    let right = decided.eq(&truth).to_dtype(DType::I32);
    let (decided, truth) = (decided.one_hot(classes), truth.one_hot(classes));
    let hit = &decided * right.unsqueeze(1);
    let counts = [hit, decided, truth].map(|some| some.to_dtype(DType::I32).sum_dims([0], false));
    Ok(Contribution::Counts(Tensor::stack(&counts, 0).checked()?))
}

/// The classes' values of `share(hit, decided, truth)` (a numerator and a denominator), averaged. A share of nothing
/// is 0, as in scikit-learn.
fn average(totals: &[f64], average: Average, share: fn(f64, f64, f64) -> (f64, f64)) -> Value {
    let classes = totals.len() / 3;
    let count = |row: usize, class: usize| totals[row * classes + class];
    let of = |hit: f64, decided: f64, truth: f64| {
        let (part, whole) = share(hit, decided, truth);
        if whole == 0.0 { 0.0 } else { part / whole }
    };
    let of_class = |class: usize| of(count(0, class), count(1, class), count(2, class));
    Value::Number(match average {
        Average::Positive if classes < 2 => f64::NAN,
        Average::Positive => of_class(1),
        Average::Micro => {
            let sum = |row: usize| (0..classes).map(|class| count(row, class)).sum();
            of(sum(0), sum(1), sum(2))
        }
        Average::Macro => {
            let occurs = |class: &usize| count(1, *class) + count(2, *class) > 0.0;
            let there: Vec<f64> = (0..classes).filter(occurs).map(of_class).collect();
            there.iter().sum::<f64>() / there.len() as f64
        }
    })
}

macro_rules! of_hits {
    ($(#[$doc:meta])* $name:ident, $text:literal, $share:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name {
            /// How the classes' values become one.
            pub average: Average,
        }

        impl Metric for $name {
            fn name(&self) -> String {
                $text.into()
            }

            fn contribution(&self, prediction: &Tensor, target: &Tensor) -> Result<Contribution> {
                hits(prediction, target)
            }

            fn value(&self, totals: &[f64]) -> Value {
                average(totals, self.average, $share)
            }
        }
    };
}

of_hits! {
    /// Of the decisions for a class, the share that is right: `hits / decisions`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::train::{Average, Meter, Precision};
    /// # let dev = wgrad::cpu();
    /// let mut precision = Meter::new(Precision { average: Average::Positive });
    /// precision.update(&Tensor::new([1.5, 0.5, -1.0], &dev), &Tensor::new([1, 0, 1], &dev))?;
    /// assert_eq!(precision.value()?.number(), Some(0.5));
    /// # Ok::<(), Error>(())
    /// ```
    Precision, "precision", |hit, decided, _| (hit, decided)
}

of_hits! {
    /// Of the examples of a class, the share that is found: `hits / examples`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::train::{Average, Meter, Recall};
    /// # let dev = wgrad::cpu();
    /// let mut recall = Meter::new(Recall { average: Average::Positive });
    /// recall.update(&Tensor::new([1.5, 0.5, -1.0, 2.0], &dev), &Tensor::new([1, 0, 1, 1], &dev))?;
    /// assert_eq!(recall.value()?.number(), Some(2.0 / 3.0));
    /// # Ok::<(), Error>(())
    /// ```
    Recall, "recall", |hit, _, truth| (hit, truth)
}

of_hits! {
    /// The harmonic mean of precision and recall: `2 hits / (decisions + examples)`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::train::{Average, F1Score, Meter};
    /// # let dev = wgrad::cpu();
    /// let mut f1 = Meter::new(F1Score { average: Average::Positive });
    /// f1.update(&Tensor::new([1.5, 0.5, -1.0, 2.0], &dev), &Tensor::new([1, 0, 1, 1], &dev))?;
    /// assert_eq!(f1.value()?.number(), Some(2.0 / 3.0));
    /// # Ok::<(), Error>(())
    /// ```
    F1Score, "f1", |hit, decided, truth| (2.0 * hit, decided + truth)
}

/// How often each class (rows) was taken for each class (columns).
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{ConfusionMatrix, Meter, Value};
/// # let dev = wgrad::cpu();
/// let mut confusion = Meter::new(ConfusionMatrix);
/// confusion.update(&Tensor::new([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]], &dev), &Tensor::new([0, 1, 1], &dev))?;
/// assert_eq!(confusion.value()?, Value::Matrix(vec![vec![1, 0], vec![1, 1]]));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfusionMatrix;

impl Metric for ConfusionMatrix {
    fn name(&self) -> String {
        "confusion".into()
    }

    fn contribution(&self, prediction: &Tensor, target: &Tensor) -> Result<Contribution> {
        let (decided, truth, classes) = decide(prediction, target)?;
        // Counts below 2^24 per batch are exact in f32, which products are made for.
        let [decided, truth] =
            [decided, truth].map(|some| some.one_hot(classes).to_dtype(DType::F32));
        let counts = truth.transpose(0, 1).matmul(&decided);
        Ok(Contribution::Counts(counts.to_dtype(DType::I32).checked()?))
    }

    fn value(&self, totals: &[f64]) -> Value {
        let classes = totals.len().isqrt().max(1);
        let rows = totals.chunks(classes);
        Value::Matrix(
            rows.map(|row| row.iter().map(|&n| n as u64).collect())
                .collect(),
        )
    }
}
