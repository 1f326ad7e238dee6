//! A variational autoencoder draws digits.
//!
//! ```text
//! cargo run --release --example vae
//! ```
//!
//! The encoder maps an image of a handwritten digit to a normal distribution over 8 numbers, the decoder maps numbers
//! drawn from it back to an image. The loss is the negative evidence lower bound: binary cross-entropy of the pixels,
//! plus the divergence of the distribution from the standard normal one, `0.5 sum(mu^2 + var - 1 - log var)`
//! (Kingma, Welling 2014, <https://arxiv.org/abs/1312.6114>). Writes `vae-digits.png`: above, test images and what
//! becomes of them; below, images decoded from random numbers.

use std::path::PathBuf;

use clap::Parser;
use wgrad::Reduction;
use wgrad::data::{DataLoader, sets, split};
use wgrad::prelude::*;
use wgrad::train::Picture;

const PIXELS: usize = 64;
const HIDDEN: usize = 256;
const LATENT: usize = 8;

/// Learns to draw digits.
#[derive(Parser)]
struct Options {
    /// How often to go through the training images
    #[arg(long, default_value_t = 60)]
    epochs: u64,
    /// The directory for the picture
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

#[derive(Module)]
struct Vae {
    body: nn::Sequential,
    mean: nn::Linear,
    log_variance: nn::Linear,
    decoder: nn::Sequential,
}

impl Vae {
    fn new(dev: &Device) -> Vae {
        let layer = |from, to| nn::Linear::new(from, to, dev);
        Vae {
            body: nn::Sequential::from((layer(PIXELS, HIDDEN), nn::Silu)),
            mean: layer(HIDDEN, LATENT),
            log_variance: layer(HIDDEN, LATENT),
            decoder: nn::Sequential::from((layer(LATENT, HIDDEN), nn::Silu, layer(HIDDEN, PIXELS))),
        }
    }

    fn encode(&self, x: &Tensor) -> wgrad::Result<(Tensor, Tensor)> {
        let hidden = self.body.forward(x)?;
        Ok((
            self.mean.forward(&hidden)?,
            self.log_variance.forward(&hidden)?,
        ))
    }

    /// The negative evidence lower bound per image. `mean + exp(log_variance / 2) noise` is a draw whose
    /// gradients reach mean and variance.
    fn loss(&self, x: &Tensor) -> wgrad::Result<Tensor> {
        let (mean, log_variance) = self.encode(x)?;
        let z = &mean + (&log_variance * 0.5).exp() * mean.randn_like();
        let logits = self.decoder.forward(&z)?;
        let pixels = loss::binary_cross_entropy_with_logits_with(
            &logits,
            x,
            loss::BceLogitsOptions {
                reduction: Reduction::Sum,
                ..Default::default()
            },
        );
        let divergence = (mean.sqr() + log_variance.exp() - 1.0 - &log_variance).sum() * 0.5;
        Ok((pixels + divergence) / x.dims::<2>()?[0] as f64)
    }

    fn decode(&self, z: &Tensor) -> wgrad::Result<Tensor> {
        Ok(self.decoder.forward(z)?.sigmoid())
    }
}

fn main() -> wgrad::Result<()> {
    let options = Options::parse();
    let dev = wgrad::default_device();
    dev.seed(4);
    let mut digits = sets::digits();
    digits.x = digits.x.map(|v| v / 16.0);
    let parts = split::stratified(&digits.y, &[0.8, 0.2], 0)?;
    let (train, test) = (digits.select(&parts[0])?, digits.select(&parts[1])?);
    let flat = |x: &Tensor| x.reshape((-1, PIXELS));

    let model = Vae::new(&dev);
    let adam = Adam::new(
        model.parameters(),
        AdamOptions {
            lr: 2e-3,
            ..Default::default()
        },
    );
    let load = |set| DataLoader::new(set, &dev).batch_size(64);
    let mut trainer = Trainer::new(model, adam)
        .loss(move |model, batch| model.loss(&flat(&batch.x)))
        .progress();
    let test_images = test.to_batch(&dev).x;
    let fit = trainer.fit(&load(train).shuffle(4), &load(test), Epochs(options.epochs))?;

    let model = trainer.model();
    let originals = flat(&test_images).narrow(0, 0, 16);
    let (again, drawn) = no_grad(|| -> wgrad::Result<_> {
        let (mean, _) = model.encode(&originals)?;
        Ok((
            model.decode(&mean)?,
            model.decode(&Tensor::randn([96, LATENT], &dev))?,
        ))
    })?;
    let images = Tensor::cat(&[originals, again, drawn], 0).reshape([128, 1, 8, 8]);
    let path = options.out.join("vae-digits.png");
    Picture::grid(&images, 16, 6, (0.0, 1.0))?.save_png(&path)?;
    let bound = fit
        .last()
        .and_then(|last| last.score("loss"))
        .unwrap_or(f64::NAN);
    println!("{bound:.2} nats per test image; wrote {}", path.display());
    assert!(
        bound < 27.0 || options.epochs < 60,
        "it should describe the images better"
    );
    Ok(())
}
