//! A small generative adversarial network: one network makes points, another tells them from real ones.
//!
//! ```text
//! cargo run --release --example gan
//! ```
//!
//! The real points lie on eight clusters around a circle. The generator maps noise to points, the discriminator gives
//! the logit of "real"; they are trained in turns (Goodfellow et al. 2014, <https://arxiv.org/abs/1406.2661>, with the
//! generator's loss that does not saturate). The discriminator sees all points through noise that fades: at first the
//! clusters flow into one another, so that none is out of the generator's reach (Sønderby et al. 2017,
//! <https://arxiv.org/abs/1610.04490>). Writes `gan.png`. At the end all eight clusters must be there, and most
//! points close to one: a generator that found only some of them has failed.

use std::f64::consts::TAU;
use std::path::PathBuf;

use clap::Parser;
use wgrad::prelude::*;
use wgrad::train::Chart;

const CLUSTERS: usize = 8;
const NOISE: usize = 16;
const BATCH: usize = 256;
/// How wide a cluster is; the circle has radius 2.
const SPREAD: f64 = 0.05;

/// Learns to make points like given ones.
#[derive(Parser)]
struct Options {
    /// Steps of both networks
    #[arg(long, default_value_t = 5000)]
    steps: usize,
    /// The directory for the picture
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

fn network(sizes: [usize; 4], dev: &Device) -> nn::Sequential {
    nn::Sequential::from((
        nn::Linear::new(sizes[0], sizes[1], dev),
        nn::LeakyRelu {
            negative_slope: 0.2,
        },
        nn::Linear::new(sizes[1], sizes[2], dev),
        nn::LeakyRelu {
            negative_slope: 0.2,
        },
        nn::Linear::new(sizes[2], sizes[3], dev),
    ))
}

fn real(dev: &Device) -> Tensor {
    let angle = Tensor::randint([BATCH], 0, CLUSTERS as i32, dev).to_dtype(DType::F32)
        * (TAU / CLUSTERS as f64);
    let centers = Tensor::stack(&[angle.cos() * 2.0, angle.sin() * 2.0], 1);
    centers + Tensor::randn([BATCH, 2], dev) * SPREAD
}

fn main() -> wgrad::Result<()> {
    let options = Options::parse();
    let dev = wgrad::default_device();
    dev.seed(8);
    let generator = network([NOISE, 128, 128, 2], &dev);
    let discriminator = network([2, 128, 128, 1], &dev);
    // Momentum makes the two circle around each other: none of it.
    let adam = AdamOptions {
        lr: 5e-4,
        betas: (0.0, 0.99),
        ..Default::default()
    };
    let mut of_generator = Adam::new(generator.parameters(), adam);
    let mut of_discriminator = Adam::new(discriminator.parameters(), adam);
    let make = || generator.forward(&Tensor::randn([BATCH, NOISE], &dev));

    for step in 0..options.steps {
        let fading = 1.0 - (step as f64 / (0.6 * options.steps as f64)).min(1.0);
        let blurred = |points: &Tensor| points + points.randn_like() * fading;
        // -log D(real) - log (1 - D(made)), as softplus of logits.
        let made = no_grad(make)?;
        let genuine = real(&dev);
        of_discriminator.zero_grad();
        let seen = Tensor::cat(&[&genuine, &made], 0);
        let told = discriminator.forward(&blurred(&seen))?;
        let (yes, no) = (told.narrow(0, 0, BATCH), told.narrow(0, BATCH, BATCH));
        let told_apart = ((-yes).softplus() + no.softplus()).mean();
        told_apart.backward()?;
        of_discriminator.step()?;

        // -log D(made).
        of_generator.zero_grad();
        let caught = (-discriminator.forward(&blurred(&make()?))?)
            .softplus()
            .mean();
        caught.backward()?;
        of_generator.step()?;
        if step % 500 == 0 {
            let (d, g) = (told_apart.item::<f32>()?, caught.item::<f32>()?);
            println!("step {step:>5}: discriminator {d:.3}, generator {g:.3}");
        }
    }

    let points: Vec<f32> = no_grad(|| -> wgrad::Result<_> {
        Ok(Tensor::cat(&[make()?, make()?, make()?, make()?], 0))
    })?
    .to_vec()?;
    let points: Vec<(f64, f64)> = points
        .chunks(2)
        .map(|p| (f64::from(p[0]), f64::from(p[1])))
        .collect();
    let mut found = [0; CLUSTERS];
    for (x, y) in &points {
        let nearest = (y.atan2(*x) / TAU * CLUSTERS as f64).round() as i64;
        let angle = nearest as f64 * TAU / CLUSTERS as f64;
        let off = (x - 2.0 * angle.cos()).hypot(y - 2.0 * angle.sin());
        found[nearest.rem_euclid(CLUSTERS as i64) as usize] += usize::from(off < 6.0 * SPREAD);
    }
    let close = found.iter().sum::<usize>() as f64 / points.len() as f64;
    let path = options.out.join("gan.png");
    let genuine: Vec<f32> = real(&dev).to_vec()?;
    Chart::new("eight clusters")
        .points("made", points.iter().copied())
        .points(
            "real",
            genuine
                .chunks(2)
                .map(|p| (f64::from(p[0]), f64::from(p[1]))),
        )
        .save_png(&path)?;
    println!(
        "{:.1} % of the points are close to a cluster: {found:?}",
        close * 100.0
    );
    println!("wrote {}", path.display());
    let all = found.iter().all(|&n| n > points.len() / CLUSTERS / 8);
    assert!(
        (all && close > 0.6) || options.steps < 5000,
        "clusters are missing"
    );
    Ok(())
}
