//! Linear regression on the progression of diabetes: plain, ridge, lasso and elastic net.
//!
//! ```text
//! cargo run --release --example linear_regression
//! cargo run --release --example linear_regression -- --device cpu
//! ```
//!
//! All minimise `mse / 2 + l1 sum |w| + l2 / 2 sum w^2`. The smooth part goes down along its derivative, and the rest is
//! its proximal step, which is `softshrink`: so coefficients become exactly 0 (FISTA, Beck and Teboulle 2009). Figures
//! are compared with scikit-learn's (`examples/reference/classical.py`).

#[path = "place/mod.rs"]
mod place;

use std::slice::from_ref;

use clap::Parser;
use wgrad::data::sets;
use wgrad::nn::loss::{elastic_net_penalty, mse_loss};
use wgrad::prelude::*;

/// Linear regression.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    place: place::Place,
}

/// The weights that minimise the loss.
fn fit(x: &Tensor, y: &Tensor, l1: f64, l2: f64) -> Result<Tensor> {
    let [n, columns] = x.dims()?;
    // No step is longer than the inverse of the steepest curvature, which the trace bounds.
    let curvature = f64::from(x.sqr().sum().item::<f32>()?) / n as f64 + l2;
    let rate = 1.0 / curvature;
    let mut w = Tensor::zeros([columns], x.device());
    let at = w.clone().requires_grad();
    let mut t = 1f64;
    for _ in 0..4000 {
        at.zero_grad();
        let loss =
            mse_loss(&x.matmul(&at), y) * 0.5 + elastic_net_penalty(from_ref(&at), 0.0, 0.5 * l2);
        loss.backward()?;
        let slope = at.grad()?;
        let next = no_grad(|| (&at - slope * rate).softshrink(l1 * rate));
        let later = (1.0 + (1.0 + 4.0 * t * t).sqrt()) / 2.0;
        at.assign(&no_grad(|| &next + (&next - &w) * ((t - 1.0) / later)))?;
        (w, t) = (next, later);
    }
    Ok(w)
}

fn main() -> Result<()> {
    let dev = Options::parse().place.open()?;
    let set = sets::diabetes().to_batch(&dev);
    let x = (&set.x - set.x.mean_dims([0], true)) / set.x.var_dims([0], 0.0, true).sqrt();
    let y = &set.y - set.y.mean();
    let n = y.numel()? as f64;
    for (what, l1, l2, wanted, left) in [
        ("plain", 0.0, 0.0, [0.517748, 24.72655, 35.73445], 10),
        (
            "ridge, 50",
            0.0,
            50.0 / n,
            [0.512014, 23.07637, 20.76867],
            10,
        ),
        ("lasso, 3", 3.0, 0.0, [0.502887, 24.41416, 21.87491], 7),
        (
            "elastic net, 1, half of it L1",
            0.5,
            0.5,
            [0.484261, 18.09753, 15.44821],
            10,
        ),
    ] {
        let w = fit(&x, &y, l1, l2)?;
        let unexplained = (x.matmul(&w) - &y).sqr().sum() / y.sqr().sum();
        let r2 = 1.0 - unexplained.item::<f32>()?;
        let w = w.to_vec::<f32>()?;
        let used = w.iter().filter(|w| **w != 0.0).count();
        println!(
            "{what}: R^2 {r2:.5}, body mass {:.3}, s5 {:.3}, {used} columns used",
            w[2], w[8]
        );
        for (found, wanted) in [r2, w[2], w[8]].into_iter().zip(wanted) {
            assert!(
                (found - wanted).abs() < 3e-3 * wanted,
                "{found}, not {wanted}"
            );
        }
        assert_eq!(used, left);
    }
    Ok(())
}
