//! k nearest neighbours: a prediction is the class that most of the nearest training examples have.
//!
//! ```text
//! cargo run --release --example knn
//! cargo run --release --example knn -- --device cpu
//! ```
//!
//! There is nothing to train, and no loss: distances (`cdist`), the nearest (`topk`), and a count. Accuracies are
//! compared with scikit-learn's (`examples/reference/classical.py`).

#[path = "place/mod.rs"]
mod place;

use clap::Parser;
use place::{accuracy, divided};
use wgrad::data::{Set, Standardization, sets};
use wgrad::prelude::*;

/// k nearest neighbours.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    place: place::Place,
}

/// The accuracy of `k` neighbours on the test examples.
fn score(train: &Set, test: &Set, k: usize, dev: &Device) -> Result<f32> {
    let (train, test, classes) = (
        train.to_batch(dev),
        test.to_batch(dev),
        train.class_names.len(),
    );
    let apart = test.x.cdist(&train.x, 2.0);
    let (_, nearest) = apart.neg().topk(k, -1, true, true);
    // Votes for each class; of equal ones the first wins.
    let votes = train.y.take(&nearest).one_hot(classes).sum_dims([1], false);
    accuracy(&votes.argmax([1], false), &test.y)
}

fn main() -> Result<()> {
    let dev = Options::parse().place.open()?;
    let (train, test) = divided(&sets::iris())?;
    for (k, wanted) in [(5, 0.96), (15, 0.96)] {
        let accuracy = score(&train, &test, k, &dev)?;
        println!("iris, {k} neighbours: {accuracy:.4}");
        assert!((accuracy - wanted).abs() < 1e-4);
    }

    let (mut train, mut test) = divided(&sets::wine())?;
    let raw = score(&train, &test, 5, &dev)?;
    // Distances are of whatever unit is largest, unless all columns have one deviation.
    let scale = Standardization::of(&train.x);
    (train.x, test.x) = (scale.apply(&train.x)?, scale.apply(&test.x)?);
    let standardised = score(&train, &test, 5, &dev)?;
    println!("wine: {raw:.4} as measured, {standardised:.4} standardised");
    assert!((raw - 0.711864).abs() < 1e-4 && (standardised - 0.966102).abs() < 1e-4);
    Ok(())
}
