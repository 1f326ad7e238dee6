//! Softmax cross-entropy against class targets.

use smallvec::SmallVec;

use crate::autograd::{self, Saves};
use crate::dtype::DType;
use crate::element::Scalar;
use crate::elementwise::cast;
use crate::error::{Error, Place, Result};
use crate::index::{gather_along, index_select};
use crate::node::{CrossEntropyPart, Op, Source};
use crate::shape::Shape;
use crate::tensor::{Tensor, Value, record, same_device};
use crate::views::materialized;

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
}

/// Torch's default for `ignore_index`.
const IGNORE: i64 = -100;

impl Tensor {
    /// The mean cross-entropy of logits `[n, classes]` (or `[classes]`) against integer class
    /// targets `[n]` (or no dimension): `mean(logsumexp(x_r) - x_r[t_r])`.
    ///
    /// Losses and the gradient come from one read of the logits. A target out of range gives NaN,
    /// a zero gradient, and [`Error::IndexOutOfRange`] at this thread's next read.
    #[track_caller]
    pub fn cross_entropy(&self, targets: &Tensor) -> Tensor {
        self.cross_entropy_with(targets, CrossEntropyOptions::default())
    }

    /// [`Tensor::cross_entropy`] with class weights, an ignored class, and the choice of
    /// reduction. The mean divides by the sum of the weights of the targets that count; where
    /// none does it is NaN, as in torch.
    #[track_caller]
    pub fn cross_entropy_with(&self, targets: &Tensor, options: CrossEntropyOptions) -> Tensor {
        let place = Place::caller();
        place.hold(|| self.then(|x| cross_entropy(&x, targets, &options, place)))
    }
}

impl Tensor {
    /// The mean of `-x[i, targets[i]]` for log-probabilities `[n, classes, ..]` (or `[classes]`)
    /// against integer classes `[n, ..]` (or no dimension), with the options of
    /// [`Tensor::cross_entropy_with`]: `torch.nn.functional.nll_loss`.
    #[track_caller]
    pub fn nll_loss_with(&self, targets: &Tensor, options: CrossEntropyOptions) -> Tensor {
        let place = Place::caller();
        place.hold(|| self.then(|x| nll_loss(&x, targets, &options, place)))
    }
}

fn nll_loss(
    x: &Value,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    place: Place,
) -> Result<Tensor> {
    let name = "nll_loss";
    let dtype = x.dtype();
    let shape = targets.shape()?;
    // [n, classes, ..] as rows of classes.
    let rows = match x.shape().rank() {
        0 | 1 => x.clone().into_tensor(),
        rank => {
            let classes = x.shape()[1];
            let last = x.clone().into_tensor().unsqueeze(rank as isize);
            let rows = last.transpose(1, -1).squeeze(1);
            let fits = shape.rank() == rank - 1
                && shape[0] == x.shape()[0]
                && shape[1..] == x.shape()[2..];
            if !fits {
                let problem = format!("targets of shape {shape} for shape {}", x.shape());
                return Err(Error::shape(name, place, problem));
            }
            rows.reshape([shape.numel(), classes])
        }
    };
    let targets = match shape.rank() {
        0 => targets.clone(),
        _ => targets.reshape([shape.numel()]),
    };
    let (x, operands) = checked(name, &rows.capture()?, &targets, options, place)?;
    let (losses, weights) = picked(name, &x.into_tensor(), &operands, place)?;
    let result = match options.reduction {
        Reduction::Mean => mean(&losses.sum(), &weights.sum()),
        Reduction::Sum => total(&losses.sum(), &weights.sum()),
        Reduction::None => losses.reshape(&shape),
    };
    Ok(result.to_dtype(dtype))
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
    let (rank, dtype) = (x.shape().rank(), x.dtype());
    let (x, operands) = checked("cross_entropy", x, targets, options, place)?;
    let (losses, weights) = if x.node.device.fusion() {
        rows(&x, &operands, place)?
    } else {
        reference(&x, &operands, place)?
    };
    let result = match options.reduction {
        Reduction::Mean => mean(&losses.sum(), &weights.sum()),
        Reduction::Sum => total(&losses.sum(), &weights.sum()),
        Reduction::None if rank == 1 => losses.squeeze(0),
        Reduction::None => losses,
    };
    Ok(result.to_dtype(dtype))
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

/// Records one result of the kernel.
fn part(
    x: &Value,
    o: &Operands,
    part: CrossEntropyPart,
    shape: Shape,
    place: Place,
) -> Result<Value> {
    let mut inputs: SmallVec<[Source; 2]> = SmallVec::from_iter([x.source(), o.targets.source()]);
    inputs.extend(o.weight.as_ref().map(Value::source));
    inputs.push(Source::Scalar(Scalar::Integer(o.ignore), DType::I64));
    record(
        "cross_entropy",
        &x.node.device,
        Op::CrossEntropy {
            part,
            ignore: o.ignore,
        },
        inputs,
        shape,
        x.dtype(),
        place,
    )
}

/// Row losses and row weights by the fused kernel.
pub(crate) fn rows(x: &Value, o: &Operands, place: Place) -> Result<(Tensor, Tensor)> {
    let n = Shape::from(x.shape()[0]);
    let weights = part(x, o, CrossEntropyPart::Weight, n.clone(), place)?.into_tensor();
    let losses = part(x, o, CrossEntropyPart::Loss, n, place)?;
    if !autograd::tracks(&[x]) {
        return Ok((losses.into_tensor(), weights));
    }
    let saves = Saves {
        inputs: SmallVec::from_iter([x.clone().into_tensor()]),
        output: false,
    };
    let (o, counted) = (o.clone(), weights.clone());
    let losses = autograd::track("cross_entropy", losses, &[x], saves, place, move |c| {
        let place = Place::caller();
        let slope = c.inputs[0].then(|x| rows_grad(&x, &o, place));
        // A row that does not count has the gradient 0, whatever comes from above. What comes from a
        // sum or a mean is one factor for all rows, which moves behind products; it is 0 where no row
        // counts.
        let several = |g: &Value| g.layout().is_single() && g.shape().numel() > 1;
        let one = c.grad.capture().is_ok_and(|g| several(&g));
        let grad = match one {
            true => c.grad.clone(),
            false => counted.ne(0.0).where_cond(c.grad, 0.0),
        };
        SmallVec::from_iter([Some(slope * grad.unsqueeze(1))])
    });
    Ok((losses, weights))
}

/// The gradient of each row's loss, `w (softmax(x) - onehot(t))`, by the fused kernel. Its own
/// derivative is the softmax's: `w p (g - sum(p g))`.
pub(crate) fn rows_grad(x: &Value, o: &Operands, place: Place) -> Result<Tensor> {
    let slope = part(x, o, CrossEntropyPart::Grad, x.shape().clone(), place)?;
    if !autograd::tracks(&[x]) {
        return Ok(slope.into_tensor());
    }
    let saves = Saves {
        inputs: SmallVec::from_iter([x.clone().into_tensor()]),
        output: false,
    };
    let o = o.clone();
    Ok(autograd::track(
        "cross_entropy",
        slope,
        &[x],
        saves,
        place,
        move |c| {
            let x = &c.inputs[0];
            let weights = x.then(|x| {
                let n = Shape::from(x.shape()[0]);
                Ok(part(&x, &o, CrossEntropyPart::Weight, n, place)?.into_tensor())
            });
            let p = x.softmax(1);
            let along = (c.grad * &p).sum_dims([1], true);
            let weights = weights.unsqueeze(1);
            let slope = p * (c.grad - along) * &weights;
            // A row that does not count has no gradient, whatever it holds.
            SmallVec::from_iter([Some(weights.ne(0.0).where_cond(slope, 0.0))])
        },
    ))
}

/// The same in plain operations: what runs with fusion off, and what the kernel is tested against.
fn reference(x: &Value, o: &Operands, place: Place) -> Result<(Tensor, Tensor)> {
    // A row that does not count has no gradient, whatever it holds.
    let targets = o.targets.clone().into_tensor().unsqueeze(1);
    let counts = targets.ne(Scalar::Integer(o.ignore));
    let log_p = counts
        .where_cond(x.clone().into_tensor(), 0.0)
        .log_softmax(1);
    picked("cross_entropy", &log_p, o, place)
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
