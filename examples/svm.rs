//! A linear support vector machine on breast masses: the hinge loss, and half the squared weights.
//!
//! ```text
//! cargo run --release --example svm
//! cargo run --release --example svm -- --device cpu
//! ```
//!
//! The objective `|w|^2 / 2 + sum max(0, 1 - t (x w + b))` has kinks, so the learning rate must fall for the steps to
//! settle: Adam along a cosine. The objective and the accuracy are compared with those of scikit-learn's exact
//! solution (`examples/reference/classical.py`).

#[path = "place/mod.rs"]
mod place;

use std::slice::from_ref;

use clap::Parser;
use place::accuracy;
use wgrad::data::sets;
use wgrad::nn::loss::{hinge_loss_with, l2_penalty};
use wgrad::optim::schedule::{CosineAnnealingLr, Scheduler};
use wgrad::prelude::*;

const STEPS: u64 = 4000;
/// scikit-learn's.
const OBJECTIVE: f32 = 26.52546;
const ACCURACY: f32 = 0.987698;

/// A linear support vector machine.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    place: place::Place,
}

fn main() -> Result<()> {
    let dev = Options::parse().place.open()?;
    let set = sets::breast_cancer().to_batch(&dev);
    let x = (&set.x - set.x.mean_dims([0], true)) / set.x.var_dims([0], 0.0, true).sqrt();
    let signs = set.y.to_dtype(DType::F32) * 2.0 - 1.0;
    let w = Tensor::zeros([30], &dev).requires_grad();
    let b = Tensor::scalar(0.0, &dev).requires_grad();
    let scores = || x.matmul(&w) + &b;
    let objective =
        || l2_penalty(from_ref(&w)) * 0.5 + hinge_loss_with(&scores(), &signs, Reduction::Sum);
    let mut adam = Adam::new(
        vec![w.clone(), b.clone()],
        AdamOptions {
            lr: 0.05,
            ..Default::default()
        },
    );
    let schedule = CosineAnnealingLr {
        t_max: STEPS,
        eta_min: 0.0,
    };
    let mut scheduler = Scheduler::new(&mut adam, schedule)?;
    for step in 0..STEPS {
        adam.zero_grad();
        let value = objective();
        if step % 500 == 0 {
            println!("step {step}: {:.4}", value.item::<f32>()?);
        }
        value.backward()?;
        adam.step()?;
        scheduler.step(&mut adam)?;
    }
    let value = no_grad(objective).item::<f32>()?;
    let scores = no_grad(scores);
    let accuracy = accuracy(&scores.sign(), &signs)?;
    let support = (scores * &signs)
        .le(1.0 + 1e-3)
        .to_dtype(DType::I32)
        .sum()
        .item::<i32>()?;
    println!("objective {value:.4}, accuracy {accuracy:.4}, {support} support vectors");
    assert!(
        (OBJECTIVE - 0.01..OBJECTIVE * 1.01).contains(&value),
        "{value}"
    );
    assert!((accuracy - ACCURACY).abs() < 4e-3, "{accuracy}");
    Ok(())
}
