//! Metrics of predicted numbers. Predictions and targets have the same shape; every element counts.

use wgrad_core::{DType, Result, Tensor};

use super::{Contribution, Metric, Value, shape_error};

/// Sums over all elements of what `terms` makes of predictions and targets, and at the end how many there are.
fn sums(
    prediction: &Tensor,
    target: &Tensor,
    terms: impl Fn(&Tensor, &Tensor) -> Vec<Tensor>,
) -> Result<Contribution> {
    let (shape, targets) = (prediction.shape()?, target.shape()?);
    if shape != targets {
        return Err(shape_error(format!(
            "predictions of shape {shape} and targets of shape {targets} differ"
        )));
    }
    let (x, y) = (prediction.to_dtype(DType::F32), target.to_dtype(DType::F32));
    let mut all: Vec<Tensor> = terms(&x, &y).iter().map(Tensor::sum).collect();
    all.push(Tensor::full([], x.numel()? as f64, x.device()));
    Ok(Contribution::Sums(Tensor::stack(&all, 0).checked()?))
}

/// The mean of `|x - y|`.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{MeanAbsoluteError, Meter};
/// # let dev = wgrad::cpu();
/// let mut mae = Meter::new(MeanAbsoluteError);
/// mae.update(&Tensor::new([1.0, 4.0], &dev), &Tensor::new([2.0, 2.0], &dev))?;
/// assert_eq!(mae.value()?.number(), Some(1.5));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MeanAbsoluteError;

impl Metric for MeanAbsoluteError {
    fn name(&self) -> String {
        "mae".into()
    }

    fn higher_is_better(&self) -> bool {
        false
    }

    fn contribution(&self, prediction: &Tensor, target: &Tensor) -> Result<Contribution> {
        sums(prediction, target, |x, y| vec![(x - y).abs()])
    }

    fn value(&self, totals: &[f64]) -> Value {
        Value::Number(totals[0] / totals[1])
    }
}

/// The root of the mean of `(x - y)^2`.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Meter, RootMeanSquaredError};
/// # let dev = wgrad::cpu();
/// let mut rmse = Meter::new(RootMeanSquaredError);
/// rmse.update(&Tensor::new([1.0, 9.0], &dev), &Tensor::new([2.0, 2.0], &dev))?;
/// assert_eq!(rmse.value()?.number(), Some(5.0));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RootMeanSquaredError;

impl Metric for RootMeanSquaredError {
    fn name(&self) -> String {
        "rmse".into()
    }

    fn higher_is_better(&self) -> bool {
        false
    }

    fn contribution(&self, prediction: &Tensor, target: &Tensor) -> Result<Contribution> {
        sums(prediction, target, |x, y| vec![(x - y).sqr()])
    }

    fn value(&self, totals: &[f64]) -> Value {
        Value::Number((totals[0] / totals[1]).sqrt())
    }
}

/// The coefficient of determination: `1 - sum (x - y)^2 / sum (y - mean y)^2`. 1 is perfect, 0 is no better than the
/// mean.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Meter, R2Score};
/// # let dev = wgrad::cpu();
/// let mut r2 = Meter::new(R2Score);
/// r2.update(&Tensor::new([1.0, 2.0, 4.0], &dev), &Tensor::new([1.0, 2.0, 3.0], &dev))?;
/// assert_eq!(r2.value()?.number(), Some(0.5));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct R2Score;

impl Metric for R2Score {
    fn name(&self) -> String {
        "r2".into()
    }

    fn contribution(&self, prediction: &Tensor, target: &Tensor) -> Result<Contribution> {
        // The squares of a batch are taken about its own mean: sums of squares about 0 cancel where targets are
        // far from it. Batches are kept apart and put together below.
        let (shape, targets) = (prediction.shape()?, target.shape()?);
        if shape != targets {
            return Err(shape_error(format!(
                "predictions of shape {shape} and targets of shape {targets} differ"
            )));
        }
        let (x, y) = (prediction.to_dtype(DType::F32), target.to_dtype(DType::F32));
        let mean = y.mean();
        let off = &y - &mean;
        let row = [
            (x - &y).sqr().sum(),
            off.sqr().sum(),
            off.sum(),
            mean,
            Tensor::full([], y.numel()? as f64, y.device()),
        ];
        Ok(Contribution::Rows(Tensor::stack(&row, 0).checked()?))
    }

    fn value(&self, totals: &[f64]) -> Value {
        // Chan, Golub, LeVeque 1979: variances of parts make the whole's.
        let (mut error, mut squares, mut mean, mut count) = (0.0, 0.0, 0.0, 0.0);
        for row in totals.chunks_exact(5).filter(|row| row[4] > 0.0) {
            // What the mean lost when it was rounded to f32.
            let correction = row[2] / row[4];
            let (own, n) = (row[3] + correction, row[4]);
            let (all, apart) = (count + n, own - mean);
            error += row[0];
            squares += row[1] - correction * correction * n + apart * apart * count * n / all;
            mean += apart * n / all;
            count = all;
        }
        Value::Number(1.0 - error / squares)
    }
}
