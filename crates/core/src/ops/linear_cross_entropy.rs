//! A linear layer and the cross-entropy of its results, without all of these in memory at once.

use smallvec::SmallVec;

use crate::autocast::autocast_dtype;
use crate::autograd::{self, Grads, Saves, no_grad};
use crate::ops::cross_entropy::{self, CrossEntropyOptions, Operands, Reduction};
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Place, Result};

/// More logits than this are computed some rows at a time.
const MOST_LOGITS: usize = 1 << 25;
/// Logits of a chunk, in about.
const CHUNK_LOGITS: usize = 1 << 23;

impl Tensor {
    /// The mean cross-entropy of a linear layer's results:
    /// `x.linear(weight, bias).cross_entropy(targets)` for `x` of `[n, in]`, `weight` `[classes,
    /// in]`, `bias` `[classes]` and integer `targets` `[n]`.
    ///
    /// A language model's logits, `n` tokens by tens of thousands of classes, are often its
    /// largest tensor by far. From 2^25 logits on they are computed some rows at a time, and each
    /// chunk's loss and gradients from them at once, so that neither the logits nor their gradient
    /// are ever stored as a whole. The gradients of `x`, `weight` and `bias` are then computed
    /// with the loss, if gradients are on; the loss alone is cheaper within
    /// [`no_grad`](crate::autograd::no_grad). The method is that of
    /// [Hsu et al. 2024](https://arxiv.org/abs/2410.10989), section 3.2.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let hidden = Tensor::randn([8, 16], &dev).requires_grad();
    /// let embedding = Tensor::randn([100, 16], &dev).requires_grad();
    /// let next_tokens = Tensor::randint([8], 0, 100, &dev);
    /// let loss = hidden.linear_cross_entropy(&embedding, None, &next_tokens);
    /// loss.backward()?;
    /// assert_eq!(embedding.grad()?.shape()?, [100, 16]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn linear_cross_entropy(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        targets: &Tensor,
    ) -> Tensor {
        self.linear_cross_entropy_with(weight, bias, targets, CrossEntropyOptions::default())
    }

    /// [`Tensor::linear_cross_entropy`] with the options of [`Tensor::cross_entropy_with`].
    /// Without a reduction or with smoothed targets, all logits are computed at once.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]], &dev);
    /// let (w, t) = (Tensor::new([[1.0, 0.0], [0.0, 1.0]], &dev), Tensor::new([0, 1], &dev));
    /// let options = || CrossEntropyOptions { reduction: Reduction::Sum, ..Default::default() };
    /// let loss = x.linear_cross_entropy_with(&w, None, &t, options()).item::<f32>()?;
    /// let plain = x.linear(&w, None).cross_entropy_with(&t, options()).item::<f32>()?;
    /// assert!((loss - plain).abs() < 1e-5);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn linear_cross_entropy_with(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        targets: &Tensor,
        options: CrossEntropyOptions,
    ) -> Tensor {
        let logits = match (self.shape(), weight.shape()) {
            (Ok(x), Ok(w)) if x.rank() == 2 && w.rank() == 2 => x[0].saturating_mul(w[0]),
            _ => 0,
        };
        let rows = match weight.shape() {
            Ok(w) if logits > MOST_LOGITS => (CHUNK_LOGITS / w[0]).max(1).next_multiple_of(16),
            _ => usize::MAX,
        };
        self.linear_cross_entropy_by(rows, weight, bias, targets, options)
    }

    /// [`Tensor::linear_cross_entropy_with`] by so many rows at a time; for tests.
    #[doc(hidden)]
    #[track_caller]
    pub fn linear_cross_entropy_by(
        &self,
        rows: usize,
        weight: &Tensor,
        bias: Option<&Tensor>,
        targets: &Tensor,
        options: CrossEntropyOptions,
    ) -> Tensor {
        let place = Place::caller();
        let wide = autocast_dtype().is_some();
        let [x, weight] = &[self, weight].map(|x| x.narrowed(place));
        let bias = &bias.map(|bias| bias.narrowed(place));
        let bias = bias.as_ref();
        place.within(|| {
            let one = |t: &Tensor, rank| t.shape().is_ok_and(|shape| shape.rank() == rank);
            let n = x
                .shape()
                .map_or(0, |shape| shape.first().copied().unwrap_or(0));
            // Another bias would be broadcast.
            let classes = weight
                .shape()
                .map_or([0], |shape| [shape.first().copied().unwrap_or(0)]);
            let chunked = (1..n).contains(&rows)
                && options.reduction != Reduction::None
                && options.label_smoothing == 0.0
                && targets.dtype().is_ok_and(|dtype| !dtype.is_float())
                && x.device().fusion()
                && one(x, 2)
                && one(weight, 2)
                && bias.is_none_or(|bias| bias.shape().ok().as_deref() == Some(&classes))
                && targets.shape().is_ok_and(|shape| *shape == [n]);
            if !chunked {
                // Also whatever does not fit, for the errors are those of these two.
                let logits = x.linear(weight, bias);
                let logits = match logits.dtype() {
                    Ok(dtype) if wide => logits.to_dtype(dtype.compute()),
                    _ => logits,
                };
                return logits.cross_entropy_with(targets, options);
            }
            x.then(|x| {
                let layer = Layer {
                    x,
                    weight: weight.capture()?,
                    bias: bias.map(Tensor::capture).transpose()?,
                };
                by_chunks(rows, &layer, targets, &options, wide, place)
            })
        })
    }
}

/// The linear layer.
struct Layer {
    x: Value,
    weight: Value,
    bias: Option<Value>,
}

/// What the chunks add up to, before the division by the rows' weights.
struct Sums {
    loss: Tensor,
    weights: Tensor,
    /// The logits' type.
    dtype: DType,
    /// Of `x` (all rows), `weight` and `bias`, where they are wanted.
    grads: [Option<Tensor>; 3],
}

fn by_chunks(
    rows: usize,
    layer: &Layer,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    wide: bool,
    place: Place,
) -> Result<Tensor> {
    let name = "linear_cross_entropy";
    let Layer { x, weight, bias } = layer;
    let operands: SmallVec<[&Value; 3]> = [x, weight].into_iter().chain(bias).collect();
    let wanted: SmallVec<[bool; 3]> = operands.iter().map(|v| autograd::tracks(&[v])).collect();
    let sums = no_grad(|| sum_chunks(rows, layer, &wanted, targets, options, place))?;
    let mean = options.reduction == Reduction::Mean;
    let loss = match mean {
        true => cross_entropy::mean(&sums.loss, &sums.weights),
        false => cross_entropy::total(&sums.loss, &sums.weights),
    };
    let loss = match wide {
        true => loss.to_dtype(sums.dtype.compute()),
        false => loss.to_dtype(sums.dtype),
    };
    if !wanted.contains(&true) {
        return Ok(loss);
    }
    let saves = Saves {
        inputs: operands.iter().map(|&v| v.clone().into_tensor()).collect(),
        output: false,
    };
    let (options, targets) = (options.clone(), targets.clone());
    let (weights, grads) = (sums.weights, sums.grads);
    let loss = loss.capture()?;
    let rule = move |c: &autograd::Context<'_>| -> Grads {
        if autograd::is_grad_enabled() {
            return differentiable(c, &targets, &options, place);
        }
        let scale = match mean {
            true => cross_entropy::mean_slope(c.grad, &weights),
            false => cross_entropy::total(c.grad, &weights),
        };
        let scaled = |(input, grad): (&Tensor, &Option<Tensor>)| {
            let grad = grad.as_ref()? * &scale;
            input.dtype().ok().map(|dtype| grad.to_dtype(dtype))
        };
        c.inputs.iter().zip(&grads).map(scaled).collect()
    };
    Ok(autograd::track(name, loss, &operands, saves, place, rule))
}

/// One chunk after the other: logits, losses and the logits' gradient, and what these add to.
fn sum_chunks(
    rows: usize,
    layer: &Layer,
    wanted: &[bool],
    targets: &Tensor,
    options: &CrossEntropyOptions,
    place: Place,
) -> Result<Sums> {
    let n = layer.x.shape()[0];
    let x = layer.x.clone().into_tensor();
    let weight = layer.weight.clone().into_tensor();
    let bias = layer.bias.clone().map(Value::into_tensor);
    let wants = |i: usize| wanted.get(i).copied().unwrap_or(false);
    let (mut loss, mut weights) = (None, None);
    let (mut dx, mut dw, mut db) = (Vec::new(), None, None);
    let mut dtype = layer.x.dtype();
    for start in (0..n).step_by(rows) {
        let len = rows.min(n - start);
        let x = x.narrow(0, start, len);
        let targets = targets.narrow(0, start, len);
        let logits = x.linear(&weight, bias.as_ref()).capture()?;
        dtype = logits.dtype();
        let (logits, o) =
            cross_entropy::checked("linear_cross_entropy", &logits, &targets, options, place)?;
        let (losses, row_weights) = cross_entropy::rows(&logits, &o, place)?;
        if wanted.contains(&true) {
            let slope = cross_entropy::rows_grad(&logits, &o, place)?;
            if wants(0) {
                dx.push(slope.matmul(&weight));
            }
            if wants(1) {
                add(&mut dw, slope.t().matmul(&x));
            }
            if wants(2) {
                add(&mut db, slope.sum_dims([0], false));
            }
        }
        add(&mut loss, losses.sum());
        add(&mut weights, row_weights.sum());
    }
    let nothing = || Tensor::zeros(crate::types::shape::Shape::default(), x.device());
    let dx = dx.first().map(|_| Tensor::cat(&dx, 0));
    Ok(Sums {
        loss: loss.unwrap_or_else(nothing),
        weights: weights.unwrap_or_else(nothing),
        dtype,
        grads: [dx, dw, db],
    })
}

fn add(sum: &mut Option<Tensor>, more: Tensor) {
    *sum = Some(match sum.take() {
        // In this order the sum is the epilogue of the later kernel, so that the earlier one runs
        // before it and its operands can go.
        Some(sum) => more + sum,
        None => more,
    });
}

/// Gradients that can be differentiated again: of all rows at once.
fn differentiable(
    c: &autograd::Context<'_>,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    place: Place,
) -> Grads {
    let (x, weight, bias) = (&c.inputs[0], &c.inputs[1], c.inputs.get(2));
    let slope = x.linear(weight, bias).then(|logits| {
        let name = "linear_cross_entropy";
        let (logits, o): (Value, Operands) =
            cross_entropy::checked(name, &logits, targets, options, place)?;
        let slope = cross_entropy::rows_grad(&logits, &o, place)?;
        let (_, weights) = no_grad(|| cross_entropy::rows(&logits, &o, place))?;
        let weights = weights.sum();
        Ok(match options.reduction {
            Reduction::Mean => slope * cross_entropy::mean_slope(c.grad, &weights),
            _ => slope * cross_entropy::total(c.grad, &weights),
        })
    });
    let grad = |(i, &needed): (usize, &bool)| {
        let grad = needed.then(|| match i {
            0 => slope.matmul(weight),
            1 => slope.t().matmul(x),
            _ => slope.sum_dims([0], false),
        })?;
        c.inputs[i].dtype().ok().map(|dtype| grad.to_dtype(dtype))
    };
    c.needs.iter().enumerate().map(grad).collect()
}
