//! One neuron by hand: from a student's grade (cgpa) whether they get a job (placed).
//!
//! ```text
//! cargo run --release --example neuron
//! cargo run --release --example neuron -- --device cpu
//! ```
//!
//! `p = 1 / (1 + e^-(w x + b))`: a weight, a bias and a loss, whose derivatives autograd has; each step goes a little
//! against them. What it comes to is compared with scikit-learn's logistic regression
//! (`examples/reference/classical.py`).

#[path = "place/mod.rs"]
mod place;

use clap::Parser;
use wgrad::prelude::*;

const CGPA: [f32; 14] = [
    5.1, 5.5, 5.9, 6.2, 6.4, 6.8, 7.0, 7.1, 7.4, 7.7, 8.0, 8.3, 8.7, 9.1,
];
const PLACED: [f32; 14] = [
    0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0,
];

/// One neuron.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    place: place::Place,
}

fn main() -> Result<()> {
    let dev = Options::parse().place.open()?;
    let x = Tensor::new(CGPA, &dev) - 7.0; // near 0, where steps are even
    let placed = Tensor::new(PLACED, &dev);
    let w = Tensor::scalar(0.0, &dev).requires_grad();
    let b = Tensor::scalar(0.0, &dev).requires_grad();
    for step in 0..=1500 {
        let p = (&x * &w + &b).sigmoid();
        let surprise = &placed * p.ln() + (1.0 - &placed) * (1.0 - &p).ln();
        let loss = -surprise.mean();
        if step % 300 == 0 {
            println!("step {step}: loss {:.5}", loss.item::<f32>()?);
        }
        w.zero_grad();
        b.zero_grad();
        loss.backward()?;
        for parameter in [&w, &b] {
            let slope = parameter.grad()?;
            parameter.assign(&no_grad(|| parameter - slope * 0.5))?;
        }
    }
    let (w, b) = (w.item::<f32>()?, b.item::<f32>()?);
    let b = b - 7.0 * w;
    println!(
        "placed with p = 1 / (1 + e^-({w:.4} cgpa {b:+.4})): even odds at {:.2}",
        -b / w
    );
    assert!(
        (w - 2.226534).abs() < 1e-2 && (b - -15.75434).abs() < 1e-1,
        "{w} {b}"
    );
    Ok(())
}
