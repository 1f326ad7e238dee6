//! Softmax cross-entropy against class targets.

mod soft;

use smallvec::SmallVec;

use crate::operation::{AnyOperation, Derivative, Operation, Spec, apply, apply_part};
use crate::ops::elementwise::cast;
use crate::ops::index::{gather_along, index_select};
use crate::tensor::views::materialized;
use crate::tensor::{Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Error, Place, Result};

/// How the losses of the rows become the result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reduction {
    /// Their weighted mean: the sum divided by the sum of the targets' weights.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// As they are, in the targets' shape.
    None,
}

/// Options of [`Tensor::cross_entropy_with`].
#[derive(Clone, Default)]
pub struct CrossEntropyOptions {
    /// A weight per class, `[classes]`.
    pub weight: Option<Tensor>,
    /// Targets of this value count for nothing. `None` is torch's -100.
    pub ignore_index: Option<i64>,
    /// What becomes of the rows' losses.
    pub reduction: Reduction,
    /// The part of each target, within 0 and 1, that is spread over all classes
    /// ([Szegedy et al. 2015](https://arxiv.org/abs/1512.00567)).
    pub label_smoothing: f64,
}

/// Torch's default for `ignore_index`.
const IGNORE: i64 = -100;

impl Tensor {
    /// The mean cross-entropy of logits `[n, classes]` (or `[classes]`) against integer class
    /// targets `[n]` (or no dimension): `mean(logsumexp(x_r) - x_r[t_r])`.
    ///
    /// Losses and the gradient come from one read of the logits. A target out of range gives NaN,
    /// a zero gradient, and [`Error::IndexOutOfRange`] at this thread's next read.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let logits = Tensor::new([[0.0, 0.0], [100.0, 0.0]], &dev);
    /// let loss = logits.cross_entropy(&Tensor::new([1, 0], &dev)).item::<f32>()?;
    /// assert!((loss - 2.0_f32.ln() / 2.0).abs() < 1e-6); // the mean of ln 2 and 0
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cross_entropy(&self, targets: &Tensor) -> Tensor {
        self.cross_entropy_with(targets, CrossEntropyOptions::default())
    }

    /// [`Tensor::cross_entropy`] with class weights, an ignored class, the choice of reduction, and smoothed targets.
    /// The mean divides by the sum of the weights of the targets that count; where none does it is NaN, as in torch.
    ///
    /// Logits may be `[n, classes, ..]` for targets `[n, ..]`. Targets may be probabilities: floats of the logits' shape,
    /// which have a derivative, too; then nothing is ignored, the result is of the type that both promote to, and the
    /// mean divides by the number of rows.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let logits = Tensor::new([[0.0, 0.0], [100.0, 0.0]], &dev);
    /// let options = CrossEntropyOptions { ignore_index: Some(0), ..Default::default() };
    /// let loss = logits.cross_entropy_with(&Tensor::new([1, 0], &dev), options).item::<f32>()?;
    /// assert!((loss - 2.0_f32.ln()).abs() < 1e-6); // the second row does not count
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cross_entropy_with(&self, targets: &Tensor, options: CrossEntropyOptions) -> Tensor {
        let place = Place::caller();
        let x = self.widened();
        place.within(|| x.then(|x| cross_entropy(&x, targets, &options, place)))
    }
}

impl Tensor {
    /// The mean of `-x[i, targets[i]]` for log-probabilities `[n, classes, ..]` (or `[classes]`)
    /// against integer classes `[n, ..]` (or no dimension), with the options of
    /// [`Tensor::cross_entropy_with`]: `torch.nn.functional.nll_loss`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let logs = Tensor::new([[-1.0, -2.0], [-3.0, -4.0]], &dev);
    /// let options = CrossEntropyOptions { reduction: Reduction::None, ..Default::default() };
    /// let losses = logs.nll_loss_with(&Tensor::new([1, 0], &dev), options);
    /// assert_eq!(losses.to_vec::<f32>()?, [2.0, 3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn nll_loss_with(&self, targets: &Tensor, options: CrossEntropyOptions) -> Tensor {
        let place = Place::caller();
        let x = self.widened();
        place.within(|| x.then(|x| nll_loss(&x, targets, &options, place)))
    }
}

/// Rows of classes of `[n, classes, ..]`, and a target for each.
fn as_rows(
    name: &'static str,
    x: &Value,
    targets: &Tensor,
    place: Place,
) -> Result<(Tensor, Tensor)> {
    let shape = targets.shape()?;
    let rows = match x.shape().rank() {
        0 | 1 => x.clone().into_tensor(),
        rank => {
            let classes = x.shape()[1];
            let fits = shape.rank() == rank - 1
                && shape[0] == x.shape()[0]
                && shape[1..] == x.shape()[2..];
            if !fits {
                let problem = format!("targets of shape {shape} for shape {}", x.shape());
                return Err(Error::shape(name, place, problem));
            }
            let last = x.clone().into_tensor().unsqueeze(rank as isize);
            let rows = last.transpose(1, -1).squeeze(1);
            rows.reshape([shape.numel(), classes])
        }
    };
    let targets = match shape.rank() {
        0 => targets.clone(),
        _ => targets.reshape([shape.numel()]),
    };
    Ok((rows, targets))
}

fn nll_loss(
    x: &Value,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    place: Place,
) -> Result<Tensor> {
    let name = "nll_loss";
    if options.label_smoothing != 0.0 {
        let problem = "targets are smoothed where there are logits, in cross_entropy";
        return Err(Error::value(name, place, problem));
    }
    let (rows, classes) = as_rows(name, x, targets, place)?;
    let (rows, operands) = checked(name, &rows.capture()?, &classes, options, place)?;
    let (losses, weights) = picked(name, &rows.into_tensor(), &operands, place)?;
    let result = soft::reduced(losses, &weights, options.reduction);
    Ok(shaped(result, targets, options)?.to_dtype(x.dtype()))
}

/// Losses that are not reduced in the targets' shape.
fn shaped(result: Tensor, targets: &Tensor, options: &CrossEntropyOptions) -> Result<Tensor> {
    Ok(match options.reduction {
        Reduction::None => result.reshape(targets.shape()?),
        _ => result,
    })
}

/// The operands of the kernel, checked.
#[derive(Clone)]
pub(crate) struct Operands {
    targets: Value,
    weight: Option<Value>,
    ignore: i64,
}

fn cross_entropy(
    x: &Value,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    place: Place,
) -> Result<Tensor> {
    let name = "cross_entropy";
    let part = options.label_smoothing;
    if !(0.0..=1.0).contains(&part) {
        let problem = format!("a label smoothing of {part} is not within 0 and 1");
        return Err(Error::value(name, place, problem));
    }
    if targets.dtype()?.is_float() && x.dtype().is_float() {
        return soft::probable(x, &targets.capture()?, options, place);
    }
    let (logits, classes) = match x.shape().rank() {
        // Their errors are those of the kernel's operands.
        0..=2 => (x.clone().into_tensor(), targets.clone()),
        _ => as_rows(name, x, targets, place)?,
    };
    let (logits, operands) = checked(name, &logits.capture()?, &classes, options, place)?;
    let (losses, weights) = match part {
        0.0 => rows(&logits, &operands, place)?,
        _ => soft::smoothed(&logits, &operands, options, place)?,
    };
    let result = soft::reduced(losses, &weights, options.reduction);
    Ok(shaped(result, targets, options)?.to_dtype(x.dtype()))
}

/// The mean of the rows from their sum and their weights' sum: NaN where none counts, as in torch, but
/// with the derivative 0 there.
pub(crate) fn mean(loss: &Tensor, weight: &Tensor) -> Tensor {
    let counts = weight.ne(0.0);
    let mean = loss / counts.where_cond(weight, 1.0);
    counts.where_cond(mean, f64::NAN)
}

/// The sum of the rows, with the derivative 0 where none counts.
pub(crate) fn total(loss: &Tensor, weight: &Tensor) -> Tensor {
    weight.ne(0.0).where_cond(loss, 0.0)
}

/// The derivative of the mean with respect to the rows' sum, times `grad`.
pub(crate) fn mean_slope(grad: &Tensor, weight: &Tensor) -> Tensor {
    weight.ne(0.0).where_cond(grad / weight, 0.0)
}

/// The kernel's operands: logits `[n, classes]` of a type that computes, and the others.
pub(crate) fn checked(
    name: &'static str,
    x: &Value,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    place: Place,
) -> Result<(Value, Operands)> {
    let targets = materialized(&targets.capture()?, place)?;
    same_device(name, x, &targets, place)?;
    if !targets.dtype().is_integer() {
        let problem = format!("targets must be integer classes, not {}", targets.dtype());
        return Err(Error::dtype(name, place, problem));
    }
    if !x.dtype().is_float() {
        return Err(Error::dtype(
            name,
            place,
            format!("logits must be floats, not {}", x.dtype()),
        ));
    }
    let rank = x.shape().rank();
    let fits = matches!(rank, 1 | 2)
        && targets.shape().rank() == rank - 1
        && (rank == 1 || targets.shape()[0] == x.shape()[0]);
    if !fits {
        let problem = format!(
            "targets of shape {} for logits of shape {}",
            targets.shape(),
            x.shape()
        );
        return Err(Error::shape(name, place, problem));
    }
    let classes = x.shape()[rank - 1];
    if classes == 0 {
        return Err(Error::shape(
            name,
            place,
            format!("no classes in shape {}", x.shape()),
        ));
    }
    let mut x = cast(x, x.dtype().compute(), place)?;
    let mut targets = targets;
    if rank == 1 {
        x = x.into_tensor().unsqueeze(0).capture()?;
        targets = targets.into_tensor().unsqueeze(0).capture()?;
    }
    let weight = match &options.weight {
        None => None,
        Some(weight) => {
            let weight = weight.capture()?;
            same_device(name, &x, &weight, place)?;
            if *weight.shape() != [classes] {
                let problem = format!("weight of shape {} for {classes} classes", weight.shape());
                return Err(Error::shape(name, place, problem));
            }
            let weight = materialized(&cast(&weight, x.dtype(), place)?, place)?;
            Some(Value {
                history: None,
                ..weight
            })
        }
    };
    let operands = Operands {
        targets,
        weight,
        ignore: options.ignore_index.unwrap_or(IGNORE),
    };
    Ok((materialized(&x, place)?, operands))
}

impl Operands {
    fn with<'a>(&'a self, x: &'a Value) -> SmallVec<[&'a Value; 3]> {
        [x, &self.targets].into_iter().chain(&self.weight).collect()
    }

    fn operation(&self) -> AnyOperation {
        AnyOperation::new(CrossEntropy {
            ignore: self.ignore,
        })
    }
}

/// Row losses and row weights.
pub(crate) fn rows(x: &Value, o: &Operands, place: Place) -> Result<(Tensor, Tensor)> {
    let wanted = [CrossEntropy::WEIGHT, CrossEntropy::LOSS];
    let made = apply(o.operation(), &o.with(x), &wanted, place)?;
    match <[Tensor; 2]>::try_from(made) {
        Ok([weights, losses]) => Ok((losses, weights)),
        Err(_) => Err(Error::value("cross_entropy", place, "results are missing")),
    }
}

/// The gradient of each row's loss, `w (softmax(x) - onehot(t))`.
pub(crate) fn rows_grad(x: &Value, o: &Operands, place: Place) -> Result<Tensor> {
    apply_part(o.operation(), &o.with(x), CrossEntropy::GRAD, place)
}

/// Cross-entropy of each row of logits against its class, and the gradient, from one read: of logits
/// `[rows, classes]`, classes `[rows]` and, if there are any, weights `[classes]` the results row weights
/// `[rows]`, row losses `[rows]` and the losses' gradient `[rows, classes]`, all of the logits' type.
///
/// Row `r` with target `t` has the weight `w = weight[t]` (1 without weights), or 0 where `t` is `ignore`;
/// the loss `w (logsumexp(x_r) - x_r[t])`, 0 where it is ignored; and the gradient
/// `w (softmax(x_r)[c] - [c == t])`, where the target's entry is computed as `-w` times the sum of the other
/// probabilities, because `p - 1` cancels. A target outside of the classes that is not `ignore` is reported;
/// its loss is NaN, its weight 1 and its gradient 0.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CrossEntropy {
    /// Targets of this value count for nothing.
    pub ignore: i64,
}

impl CrossEntropy {
    /// The number of the result that holds the rows' weights.
    pub const WEIGHT: usize = 0;
    /// The number of the result that holds the rows' losses.
    pub const LOSS: usize = 1;
    /// The number of the result that holds the losses' gradient.
    pub const GRAD: usize = 2;

    /// Another result of the same operands.
    fn beside(&self, c: &Derivative<'_>, part: usize) -> Tensor {
        let place = Place::caller();
        let made = || {
            let operands = (0..c.operands()).map(|i| c.operand(i).capture());
            let operands: Vec<Value> = operands.collect::<Result<_>>()?;
            let operands: Vec<&Value> = operands.iter().collect();
            apply_part(AnyOperation::new(self.clone()), &operands, part, place)
        };
        Tensor::or_fail(c.grad().device(), made())
    }
}

impl Operation for CrossEntropy {
    const NAME: &'static str = "cross_entropy";
    const RESULTS: usize = 3;

    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String> {
        let (logits, targets, weight) = match operands {
            [logits, targets] => (logits, targets, None),
            [logits, targets, weight] => (logits, targets, Some(weight)),
            _ => return Err(format!("{} operands", operands.len())),
        };
        let [rows, classes] = logits.shape[..] else {
            return Err(format!("logits of shape {}", logits.shape));
        };
        if !logits.dtype.is_float() || classes == 0 {
            return Err(format!("logits {logits}"));
        }
        if !targets.dtype.is_integer() || targets.shape != [rows] {
            return Err(format!("targets {targets} for logits {logits}"));
        }
        if weight.is_some_and(|w| !w.dtype.is_float() || w.shape != [classes]) {
            return Err(format!(
                "weights of {classes} classes have another shape or type"
            ));
        }
        let by_row = Spec::new(rows, logits.dtype);
        Ok(vec![by_row.clone(), by_row, logits.clone()])
    }

    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let device = operands[0].device();
        let results = || -> Result<Vec<Tensor>> {
            let o = Operands {
                targets: operands[1].capture()?,
                weight: operands.get(2).map(Tensor::capture).transpose()?,
                ignore: self.ignore,
            };
            // A row that does not count has no gradient, whatever it holds.
            let targets = operands[1].unsqueeze(1);
            let ignored = Scalar::Integer(self.ignore);
            let x = targets.ne(ignored).where_cond(&operands[0], 0.0);
            let log_p = x.log_softmax(1);
            let (losses, weights) = picked(Self::NAME, &log_p, &o, Place::caller())?;
            let classes = operands[0].shape()?[1];
            let class = Tensor::arange(classes, (DType::I32, device));
            let hit = class
                .eq(targets.to_dtype(DType::I32))
                .to_dtype(log_p.dtype()?);
            let inside = targets.ge(0).logical_and(targets.lt(classes as i64));
            let grad = inside.where_cond((log_p.exp() - hit) * weights.unsqueeze(1), 0.0);
            let dtype = operands[0].dtype()?;
            let all = [weights, losses, grad].into_iter();
            Ok(all.map(|t| t.to_dtype(dtype)).collect())
        };
        results().unwrap_or_else(|error| vec![Tensor::fail(device, error); 3])
    }

    /// As in torch, the weights of the classes get no gradient.
    fn is_constant(&self, operand: usize) -> bool {
        operand == 2
    }

    /// The losses' looks at the weights.
    fn keeps_result(&self, part: usize, result: usize) -> bool {
        part == Self::LOSS && result == Self::WEIGHT
    }

    fn is_bounded(&self, part: usize) -> bool {
        part == Self::GRAD
    }

    fn is_differentiable(&self, part: usize) -> bool {
        part != Self::WEIGHT
    }

    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        let grad = c.grad();
        let by_logits = match c.part() {
            Self::LOSS => {
                // A row that does not count has the gradient 0, whatever comes from above. What comes from
                // a sum or a mean is one factor for all rows, which moves behind products; it is 0 where no
                // row counts.
                let several = |g: &Value| g.layout().is_single() && g.shape().numel() > 1;
                let one = grad.capture().is_ok_and(|g| several(&g));
                let grad = match one {
                    true => grad.clone(),
                    false => c.result(Self::WEIGHT).ne(0.0).where_cond(grad, 0.0),
                };
                self.beside(c, Self::GRAD) * grad.unsqueeze(1)
            }
            // The softmax's: `w p (g - sum(p g))`.
            _ => {
                let p = c.operand(0).softmax(1);
                let along = (grad * &p).sum_dims([1], true);
                let weights = self.beside(c, Self::WEIGHT).unsqueeze(1);
                let slope = p * (grad - along) * &weights;
                // A row that does not count has no gradient, whatever it holds.
                weights.ne(0.0).where_cond(slope, 0.0)
            }
        };
        vec![Some(by_logits), None, None]
    }

    fn index_range(&self, operands: &[Spec]) -> Option<usize> {
        operands.first()?.shape.get(1).copied()
    }

    fn examples() -> Vec<(CrossEntropy, Vec<Spec>)> {
        let case = |rows: usize, classes: usize, weighted: bool| {
            let logits = Spec::new([rows, classes], DType::F32);
            let mut specs = vec![logits, Spec::new(rows, DType::I32)];
            if weighted {
                specs.push(Spec::new(classes, DType::F32));
            }
            (CrossEntropy { ignore: 1 }, specs)
        };
        let mut cases = vec![case(4, 5, false), case(0, 4, false), case(3, 10_001, false)];
        cases.extend([10, 65, 300, 4096, 70_000].map(|classes| case(3, classes, true)));
        cases
    }
}

/// Row losses `-w log_p[t]` and row weights `w`, both 0 where a target is ignored.
fn picked(
    name: &'static str,
    log_p: &Tensor,
    o: &Operands,
    place: Place,
) -> Result<(Tensor, Tensor)> {
    let targets = o.targets.clone().into_tensor();
    let counts = targets.ne(Scalar::Integer(o.ignore));
    // Ignored targets may be out of range.
    let classes = counts.where_cond(&targets, 0);
    let weights = match &o.weight {
        Some(weight) => {
            let w = index_select(name, &weight.clone().into_tensor(), 0, &classes, place);
            // A class that is not there weighs 1; its loss is NaN.
            let inside = classes.ge(0).logical_and(classes.lt(weight.shape()[0]));
            counts.where_cond(inside.where_cond(w, 1.0), 0.0)
        }
        None => counts.to_dtype(log_p.dtype()?),
    };
    let log_p = gather_along(name, log_p, 1, &classes.unsqueeze(1), place).squeeze(1);
    let losses = counts.where_cond((log_p * &weights).neg(), 0.0);
    Ok((losses, weights))
}
