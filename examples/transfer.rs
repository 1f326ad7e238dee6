//! Transfer: a network that PyTorch trained goes on to another question with very few examples.
//!
//! ```text
//! cargo run --release --example transfer
//! ```
//!
//! `data/digits-torch.safetensors` is the `state_dict` of a small convolutional network, written by torch, that tells
//! the ten digits apart (`reference/transfer.py`). Here its convolutions are frozen, the last layer is replaced, and
//! the rest learns from 8 labelled images whether a digit is odd. Mean accuracy over 5 seeds on the 789 other images,
//! beside a network that learns from the same 8 images alone; torch itself comes to 0.751 and 0.690.

use std::path::Path;

use wgrad::data::sets;
use wgrad::nn::safetensors;
use wgrad::prelude::*;

const SEEDS: u64 = 5;
const STEPS: usize = 100;

#[derive(Module)]
struct Network {
    body: nn::Sequential,
    head: nn::Linear,
}

impl Network {
    fn new(classes: usize, dev: &Device) -> Network {
        let conv = |from, to| {
            let options = nn::Conv2dOptions {
                padding: ConvPadding::Zeros([1; 2]),
                ..Default::default()
            };
            nn::Conv2d::with(from, to, 3, options, dev)
        };
        Network {
            body: nn::Sequential::from((
                conv(1, 16),
                nn::Relu,
                nn::MaxPool2d::new(2),
                conv(16, 32),
                nn::Relu,
                nn::MaxPool2d::new(2),
                nn::Flatten::default(),
                nn::Linear::new(128, 64, dev),
                nn::Relu,
            )),
            head: nn::Linear::new(64, classes, dev),
        }
    }
}

impl Forward for Network {
    fn forward(&self, x: &Tensor) -> wgrad::Result<Tensor> {
        self.head.forward(&self.body.forward(x)?)
    }
}

fn accuracy(model: &Network, x: &Tensor, y: &Tensor) -> wgrad::Result<f64> {
    let right = no_grad(|| model.forward(x))?.argmax(1, false).eq(y);
    Ok(f64::from(right.to_dtype(DType::F32).mean().item::<f32>()?))
}

fn train(model: &Network, x: &Tensor, y: &Tensor) -> wgrad::Result<()> {
    let mut adam = Adam::new(
        model.parameters(),
        AdamOptions {
            lr: 2e-3,
            ..Default::default()
        },
    );
    for _ in 0..STEPS {
        adam.zero_grad();
        model.forward(x)?.cross_entropy(y).backward()?;
        adam.step()?;
    }
    Ok(())
}

fn main() -> wgrad::Result<()> {
    let dev = wgrad::default_device();
    let digits = sets::digits().to_batch(&dev);
    let x = digits.x.reshape((-1, 1, 8, 8)) / 16.0;
    let n = digits.y.numel()?;
    let unseen = (
        x.narrow(0, 1000, n - 1000),
        digits.y.narrow(0, 1000, n - 1000),
    );

    // torch's sequence has positions as names; the last layer, 9, is the head here.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits-torch.safetensors");
    let from_torch: nn::StateDict = safetensors::load(&file, &dev)?
        .into_iter()
        .map(|(name, tensor)| match name.strip_prefix("9.") {
            Some(rest) => (format!("head.{rest}"), tensor),
            None => (format!("body.{name}"), tensor),
        })
        .collect();
    let pretrained = Network::new(10, &dev);
    pretrained.load_state_dict(&from_torch, Strict)?;
    let digits_right = accuracy(&pretrained, &unseen.0, &unseen.1)?;
    println!("torch's network reads {digits_right:.4} of the digits that it has not seen");

    let odd = unseen.1.remainder(2);
    let few = (unseen.0.narrow(0, 0, 8), odd.narrow(0, 0, 8));
    let rest = (unseen.0.narrow(0, 8, n - 1008), odd.narrow(0, 8, n - 1008));
    let (mut tuned, mut alone) = (0.0, 0.0);
    for seed in 0..SEEDS {
        dev.seed(seed);
        let model = Network::new(2, &dev);
        let mut body = from_torch.clone();
        body.retain(|name, _| name.starts_with("body."));
        model.load_state_dict(&body, Loose)?;
        for (name, parameter) in model.body.named_parameters() {
            // The convolutions are as they are; the layer behind them, 7, learns.
            parameter.set_requires_grad(name.starts_with("7."));
        }
        train(&model, &few.0, &few.1)?;
        tuned += accuracy(&model, &rest.0, &rest.1)? / SEEDS as f64;

        dev.seed(seed);
        let model = Network::new(2, &dev);
        train(&model, &few.0, &few.1)?;
        alone += accuracy(&model, &rest.0, &rest.1)? / SEEDS as f64;
    }
    println!("odd or even from 8 images: {tuned:.3} with torch's network, {alone:.3} without");
    assert!(
        (digits_right - 0.9536).abs() < 0.003,
        "torch's own accuracy is 0.9536"
    );
    assert!(tuned > 0.72 && tuned > alone, "transfer should help");
    Ok(())
}
