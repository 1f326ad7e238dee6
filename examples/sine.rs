//! A multilayer perceptron learns `y = sin(x)` from noisy points.
//!
//! ```text
//! cargo run --release --example sine
//! cargo run --release --example sine -- --steps 5000 --out pictures
//! ```
//!
//! Writes `sine.png`: the points, the sine and what was learned. The mean error over [-2 pi, 2 pi] ends below 0.05,
//! where the points themselves are off by 0.08 on average.

use std::f64::consts::TAU;
use std::path::PathBuf;

use clap::Parser;
use wgrad::data::Random;
use wgrad::prelude::*;
use wgrad::train::Chart;

/// Learns y = sin(x) from noisy points.
#[derive(Parser)]
struct Options {
    /// Steps of training
    #[arg(long, default_value_t = 2000)]
    steps: usize,
    /// The directory for the picture
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

fn main() -> wgrad::Result<()> {
    let options = Options::parse();
    let dev = wgrad::default_device();
    dev.seed(1);
    let mut random = Random::new(1);
    let xs: Vec<f64> = (0..256).map(|_| random.between(-TAU, TAU)).collect();
    let ys: Vec<f64> = xs.iter().map(|x| x.sin() + 0.1 * random.normal()).collect();
    let column = |values: &[f64]| {
        let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
        Tensor::from_slice(&values, [values.len(), 1], &dev)
    };
    let (x, y) = (column(&xs), column(&ys));

    let model = nn::Sequential::from((
        nn::Linear::new(1, 64, &dev),
        nn::Tanh,
        nn::Linear::new(64, 64, &dev),
        nn::Tanh,
        nn::Linear::new(64, 1, &dev),
    ));
    let mut adam = Adam::new(
        model.parameters(),
        AdamOptions {
            lr: 3e-3,
            ..Default::default()
        },
    );
    for step in 0..options.steps {
        adam.zero_grad();
        let loss = loss::mse_loss(&model.forward(&x)?, &y);
        loss.backward()?;
        adam.step()?;
        if step % 500 == 0 {
            println!("step {step:>5}: loss {:.5}", loss.item::<f32>()?);
        }
    }

    let grid: Vec<f64> = (-200..=200).map(|i| f64::from(i) / 200.0 * TAU).collect();
    let learned = no_grad(|| model.forward(&column(&grid)))?.to_vec::<f32>()?;
    let off = grid
        .iter()
        .zip(&learned)
        .map(|(x, y)| (x.sin() - f64::from(*y)).abs());
    let mean_error = off.sum::<f64>() / grid.len() as f64;
    let path = options.out.join("sine.png");
    Chart::new("sin(x), learned from noisy points")
        .labels("x", "y")
        .points("points", xs.iter().copied().zip(ys.iter().copied()))
        .line("sin(x)", grid.iter().map(|&x| (x, x.sin())))
        .line(
            "learned",
            grid.iter()
                .copied()
                .zip(learned.iter().map(|&y| f64::from(y))),
        )
        .save_png(&path)?;
    println!("mean error {mean_error:.4}; wrote {}", path.display());
    assert!(
        mean_error < 0.05 || options.steps < 2000,
        "it should have learned more"
    );
    Ok(())
}
