//! Cross-entropy against targets that are no single classes: probabilities, and classes that are smoothed. Plain
//! operations on the logarithm of the softmax.

use super::{CrossEntropyOptions, IGNORE, Operands, Reduction, mean, picked, total};
use crate::ops::elementwise::{cast, result_type};
use crate::tensor::views::materialized;
use crate::tensor::{Tensor, Value, same_device};
use crate::types::error::{Error, Place, Result};

/// Of classes, where a part `label_smoothing` of each target is spread over all classes.
pub(super) fn smoothed(
    x: &Value,
    operands: &Operands,
    options: &CrossEntropyOptions,
    place: Place,
) -> Result<(Tensor, Tensor)> {
    let part = options.label_smoothing;
    let classes = x.shape()[1];
    let log_p = x.clone().into_tensor().log_softmax(1);
    let (losses, weights) = picked("cross_entropy", &log_p, operands, place)?;
    let counts = operands
        .targets
        .clone()
        .into_tensor()
        .ne(options.ignore_index.unwrap_or(IGNORE));
    let every = match &operands.weight {
        Some(weight) => log_p * weight.clone().into_tensor(),
        None => log_p,
    };
    let spread = counts.where_cond(every.sum_dims([1], false).neg(), 0.0);
    let losses = losses * (1.0 - part) + spread * (part / classes as f64);
    Ok((losses, weights))
}

/// Of probabilities of all classes, of the logits' shape `[n, classes, ..]` or `[classes]`.
pub(super) fn probable(
    x: &Value,
    targets: &Value,
    options: &CrossEntropyOptions,
    place: Place,
) -> Result<Tensor> {
    let name = "cross_entropy";
    same_device(name, x, targets, place)?;
    let shape = x.shape();
    if targets.shape() != shape {
        let problem = format!(
            "targets of {} are probabilities, of the logits' shape {shape} and not {}; classes are integers",
            targets.dtype(),
            targets.shape()
        );
        return Err(Error::shape(name, place, problem));
    }
    if options.ignore_index.is_some_and(|class| class >= 0) {
        let problem = "targets that are probabilities cannot be ignored by their class";
        return Err(Error::value(name, place, problem));
    }
    let d = usize::from(shape.rank() > 1);
    let classes = match shape.get(d) {
        Some(&classes) if classes > 0 => classes,
        _ => {
            return Err(Error::shape(
                name,
                place,
                format!("no classes in shape {shape}"),
            ));
        }
    };
    let dtype = result_type(x.clone().into_tensor(), targets.clone().into_tensor())?;
    let wide = |value: &Value| -> Result<Tensor> {
        Ok(materialized(&cast(value, dtype.compute(), place)?, place)?.into_tensor())
    };
    let targets = wide(targets)?;
    let targets = match options.label_smoothing {
        0.0 => targets,
        part => targets * (1.0 - part) + part / classes as f64,
    };
    let mut terms = wide(x)?.log_softmax(d as isize) * targets;
    if let Some(weight) = &options.weight {
        let weight = weight.capture()?;
        same_device(name, x, &weight, place)?;
        if *weight.shape() != [classes] {
            let problem = format!("weight of shape {} for {classes} classes", weight.shape());
            return Err(Error::shape(name, place, problem));
        }
        let mut along = vec![1; shape.rank()];
        along[d] = classes;
        terms = terms * wide(&weight)?.detach().reshape(along);
    }
    let losses = terms.sum_dims([d as isize], false).neg();
    let result = match options.reduction {
        // Of all rows, whatever their weights.
        Reduction::Mean => losses.mean(),
        Reduction::Sum => losses.sum(),
        Reduction::None => losses,
    };
    Ok(result.to_dtype(dtype))
}

/// The losses' reduction.
pub(super) fn reduced(losses: Tensor, weights: &Tensor, reduction: Reduction) -> Tensor {
    match reduction {
        Reduction::Mean => mean(&losses.sum(), &weights.sum()),
        Reduction::Sum => total(&losses.sum(), &weights.sum()),
        Reduction::None => losses,
    }
}
