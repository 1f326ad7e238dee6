//! Naive Bayes with normal distributions: classes by the likelihood of each measurement by itself.
//!
//! ```text
//! cargo run --release --example naive_bayes
//! cargo run --release --example naive_bayes -- --device cpu
//! ```
//!
//! Nothing is minimised step by step: means and variances of each class are the likelihood's maximum. Accuracy and
//! likelihood are compared with scikit-learn's (`examples/reference/classical.py`).

#[path = "place/mod.rs"]
mod place;

use clap::Parser;
use place::{accuracy, divided};
use wgrad::data::sets;
use wgrad::prelude::*;

/// Gaussian naive Bayes on wines.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    place: place::Place,
}

fn main() -> Result<()> {
    let dev = Options::parse().place.open()?;
    let (train, test) = divided(&sets::wine())?;
    let classes = train.class_names.len();
    let (train, test) = (train.to_batch(&dev), test.to_batch(&dev));

    // Sums over the examples of each class are products with rows of 1.
    let members = train.y.one_hot(classes).to_dtype(DType::F32).t();
    let counts = members.sum_dims([1], true);
    let means = members.matmul(&train.x) / &counts;
    let apart = &train.x - means.index_select(0, &train.y);
    let variances = members.matmul(&apart.sqr()) / &counts;
    let priors = (&counts / counts.sum()).ln().squeeze(1);

    // ln p(class) + sum of ln N(x; mean, variance), which normalised is ln p(class | x).
    let z = test.x.unsqueeze(1) - means;
    let logs = (z.sqr() / &variances + variances.ln() + std::f64::consts::TAU.ln()) * -0.5;
    let joint = logs.sum_dims([2], false) + priors;
    let log_p = joint.log_softmax(1);

    let accuracy = accuracy(&log_p.argmax([1], false), &test.y)?;
    let likelihood = -log_p
        .nll_loss_with(&test.y, CrossEntropyOptions::default())
        .item::<f32>()?;
    println!("wine: accuracy {accuracy:.4}, mean log-likelihood {likelihood:.5}");
    assert!((accuracy - 0.983051).abs() < 1e-4);
    assert!((likelihood - -0.051161).abs() < 1e-3);
    Ok(())
}
