//! Logistic regression on breast masses, with and without regularisation.
//!
//! ```text
//! cargo run --release --example logistic_regression
//! ```
//!
//! The loss is `binary_cross_entropy_with_logits`, and `strength / n` times half the squared weights beside it; L-BFGS
//! finds its minimum. Losses, accuracies and weights are compared with scikit-learn's
//! (`examples/reference/classical.py`). In `f64`, so on the CPU.

#[path = "place/mod.rs"]
mod place;

use place::accuracy;
use wgrad::data::sets;
use wgrad::nn::loss::{binary_cross_entropy_with_logits, l2_penalty};
use wgrad::optim::{Lbfgs, LbfgsOptions, LineSearch};
use wgrad::prelude::*;

/// Loss, accuracy and squared weights of the minimum.
fn fit(x: &Tensor, y: &Tensor, strength: f64) -> Result<[f64; 3]> {
    let [n, columns] = x.dims()?;
    let target = (DType::F64, x.device());
    let w = Tensor::zeros([columns], target).requires_grad();
    let b = Tensor::zeros((), target).requires_grad();
    let logits = || x.matmul(&w) + &b;
    let options = LbfgsOptions {
        lr: 1.0,
        max_iter: 2000,
        max_eval: Some(4000),
        history_size: 30,
        tolerance_grad: 1e-10,
        tolerance_change: 1e-15,
        line_search: LineSearch::StrongWolfe,
    };
    let mut lbfgs = Lbfgs::new(vec![w.clone(), b.clone()], options);
    lbfgs.step(|| {
        w.zero_grad();
        b.zero_grad();
        let penalty = l2_penalty(std::slice::from_ref(&w)) * (0.5 * strength / n as f64);
        let loss = binary_cross_entropy_with_logits(&logits(), y) + penalty;
        loss.backward()?;
        Ok(loss)
    })?;
    let loss = binary_cross_entropy_with_logits(&logits(), y).item::<f64>()?;
    let right = accuracy(&logits().gt(0.0).to_dtype(DType::F64), y)?;
    Ok([loss, right.into(), w.sqr().sum().item::<f64>()?])
}

fn main() -> Result<()> {
    let dev = wgrad::cpu();
    let set = sets::breast_cancer().to_batch(&dev);
    let x = set.x.to_dtype(DType::F64);
    let x = (&x - x.mean_dims([0], true)) / x.var_dims([0], 0.0, true).sqrt();
    let y = set.y.to_dtype(DType::F64);
    for (what, x, strength, wanted) in [
        (
            "ten columns",
            x.narrow(1, 0, 10),
            0.0,
            [0.128410, 0.949033, 262.358338],
        ),
        (
            "all columns, strength 1",
            x.clone(),
            1.0,
            [0.053392, 0.987698, 14.757958],
        ),
        (
            "all columns, strength 100",
            x.clone(),
            100.0,
            [0.162495, 0.956063, 0.814413],
        ),
    ] {
        let found = fit(&x, &y, strength)?;
        let [loss, accuracy, weights] = found;
        println!("{what}: loss {loss:.6}, accuracy {accuracy:.4}, |w|^2 {weights:.4}");
        for (found, wanted) in found.into_iter().zip(wanted) {
            assert!(
                (found - wanted).abs() < 2e-3 * wanted,
                "{found}, not {wanted}"
            );
        }
    }
    Ok(())
}
