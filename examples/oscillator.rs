//! A physics-informed network: a damped oscillator from its differential equation alone, without a single data point.
//!
//! ```text
//! cargo run --release --example oscillator
//! ```
//!
//! The network `u(t)` is trained until `u'' + 2 d u' + w^2 u = 0` on [0, 1], with `u(0) = 1` and `u'(0) = 0`. `u'` and
//! `u''` are its own derivatives, by automatic differentiation twice; the gradient of the loss is a third one.
//! (Raissi, Perdikaris, Karniadakis 2019, <https://doi.org/10.1016/j.jcp.2018.10.045>.) It is compared with the exact
//! solution `exp(-d t) (cos(v t) + d / v sin(v t))`, `v^2 = w^2 - d^2`, and drawn into `oscillator.png`.

use std::path::PathBuf;

use clap::Parser;
use wgrad::autograd::grad;
use wgrad::optim::schedule::{CosineAnnealingLr, Scheduler};
use wgrad::prelude::*;
use wgrad::train::Chart;

/// Damping, and the frequency without it (radians per second).
const DAMPING: f64 = 2.0;
const FREQUENCY: f64 = 12.0;
/// Points at which the equation is asked for.
const POINTS: usize = 128;

/// Solves a differential equation with a network.
#[derive(Parser)]
struct Options {
    /// Steps of training
    #[arg(long, default_value_t = 4000)]
    steps: usize,
    /// The directory for the picture
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

fn exact(t: f64) -> f64 {
    let v = (FREQUENCY.powi(2) - DAMPING.powi(2)).sqrt();
    (-DAMPING * t).exp() * ((v * t).cos() + DAMPING / v * (v * t).sin())
}

/// The derivative of each element of `u` by the element of `t` at its place: `u(t)` depends on no other one.
fn derivative(u: &Tensor, t: &Tensor) -> wgrad::Result<Tensor> {
    let options = GradOptions {
        create_graph: true,
        ..Default::default()
    };
    Ok(grad(&u.sum(), &[t], options)?.remove(0))
}

fn main() -> wgrad::Result<()> {
    let options = Options::parse();
    let dev = wgrad::default_device();
    dev.seed(3);
    let model = nn::Sequential::from((
        nn::Linear::new(1, 48, &dev),
        nn::Tanh,
        nn::Linear::new(48, 48, &dev),
        nn::Tanh,
        nn::Linear::new(48, 1, &dev),
    ));
    // The network sees time scaled to [-1, 1] periods' worth of change: first layers learn slow functions first.
    let u_of = |t: &Tensor| model.forward(&((t - 0.5) * 6.0));
    let t = Tensor::linspace(0.0, 1.0, POINTS, &dev)
        .reshape([POINTS, 1])
        .requires_grad();
    let mut adam = Adam::new(
        model.parameters(),
        AdamOptions {
            lr: 4e-3,
            ..Default::default()
        },
    );
    let schedule = CosineAnnealingLr {
        t_max: options.steps as u64,
        eta_min: 1e-5,
    };
    let mut scheduler = Scheduler::new(&mut adam, schedule)?;
    for step in 0..options.steps {
        adam.zero_grad();
        let u = u_of(&t)?;
        let du = derivative(&u, &t)?;
        let ddu = derivative(&du, &t)?;
        let residual = ddu + &du * (2.0 * DAMPING) + &u * FREQUENCY.powi(2);
        let start =
            (u.narrow(0, 0, 1) - 1.0).sqr().sum() + (du.narrow(0, 0, 1) / FREQUENCY).sqr().sum();
        let loss = (residual / FREQUENCY.powi(2)).sqr().mean() + start;
        loss.backward()?;
        adam.step()?;
        scheduler.step(&mut adam)?;
        if step % 500 == 0 {
            println!("step {step:>5}: loss {:.6}", loss.item::<f32>()?);
        }
    }

    let times: Vec<f64> = t.to_vec::<f32>()?.into_iter().map(f64::from).collect();
    let found: Vec<f64> = no_grad(|| u_of(&t))?
        .to_vec::<f32>()?
        .into_iter()
        .map(f64::from)
        .collect();
    let worst = times
        .iter()
        .zip(&found)
        .map(|(&t, u)| (exact(t) - u).abs())
        .fold(0.0, f64::max);
    let path = options.out.join("oscillator.png");
    Chart::new("a damped oscillator, from its equation alone")
        .labels("t", "u(t)")
        .line("exact", times.iter().map(|&t| (t, exact(t))))
        .points("network", times.iter().copied().zip(found.iter().copied()))
        .save_png(&path)?;
    println!("largest error {worst:.4}; wrote {}", path.display());
    assert!(worst < 0.03 || options.steps < 4000, "it should be closer");
    Ok(())
}
