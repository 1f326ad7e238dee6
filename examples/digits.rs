//! Trains a convolutional network on handwritten digits.
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --device cpu --epochs 10 --seed 3 --out runs
//! cargo run --release --example digits -- --mnist DIR --epochs 5
//! ```
//!
//! The small set that is part of wgrad has 1,797 images of 8 by 8 pixels; every fifth is for the test. With `--mnist`
//! the images are those of MNIST, or of another set in its format, whose four files (packed or not) lie in the
//! directory: 60,000 of 28 by 28 pixels to train on. Each training image is shifted by up to one pixel, another way in
//! each epoch. The test accuracy on the small set ends above 98.5 %.
//!
//! Writes `digits.html` (curves, the confusion matrix, images with what they were read as) and `digits.safetensors` (the
//! model). With `--run DIR` it keeps checkpoints there: interrupt the program, start it again, and it goes on.

mod place;

use std::path::{Path, PathBuf};

use clap::Parser;
use wgrad::data::idx::Mnist;
use wgrad::data::transform::{RandomCrop, Transform, to_float};
use wgrad::data::{Array, DataLoader, Dataset, sets};
use wgrad::nn::{BatchNorm2d, Conv2d, Conv2dOptions};
use wgrad::optim::schedule::OneCycleLr;
use wgrad::prelude::*;
use wgrad::train::{ConfusionMatrix, Report};

const CLASSES: usize = 10;

/// Trains a convolutional network on handwritten digits.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    place: place::Place,
    /// How often to go through the training images
    #[arg(long, default_value_t = 30)]
    epochs: u64,
    /// Images per step
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// The largest learning rate: it rises to it and falls again
    #[arg(long, default_value_t = 3e-3)]
    lr: f64,
    /// Decides the initial parameters, the order of the images, the shifts, and what is dropped
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Read MNIST's files in this directory instead of the small set that is part of wgrad
    #[arg(long, value_name = "DIR")]
    mnist: Option<PathBuf>,
    /// Keep checkpoints in this directory, and go on from the last one that is there
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// The directory for the report and the model
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

/// Images, `[1, height, width]` with pixels from 0 to 1, and their digits.
type Images = Box<dyn Dataset<Item = (Array<f32>, i32)>>;

/// The images to train on and those to test with.
fn read_data(mnist: Option<&Path>) -> wgrad::Result<[Images; 2]> {
    if let Some(directory) = mnist {
        let floats = |set: Mnist| -> Images {
            Box::new(set.map(|(image, digit)| Ok((to_float(&image), digit))))
        };
        let (train, test) = (Mnist::train(directory)?, Mnist::test(directory)?);
        return Ok([floats(train), floats(test)]);
    }
    let mut digits = sets::digits();
    let n = digits.len();
    digits.x = digits.x.map(|v| v / 16.0).reshape([n, 1, 8, 8])?;
    let part = |test: bool| -> wgrad::Result<Images> {
        let mine = (0..n).filter(|i| (i % 5 == 4) == test);
        Ok(Box::new(digits.select(&mine.collect::<Vec<_>>())?))
    };
    Ok([part(false)?, part(true)?])
}

fn network(dev: &Device) -> nn::Sequential {
    let conv = |from, to| {
        let options = Conv2dOptions {
            padding: ConvPadding::Same,
            bias: false, // the norm behind it has one
            ..Default::default()
        };
        Conv2d::with(from, to, 3, options, dev)
    };
    nn::Sequential::new()
        .add(conv(1, 32))
        .add(BatchNorm2d::new(32, dev))
        .add(nn::Relu)
        .add(conv(32, 32))
        .add(BatchNorm2d::new(32, dev))
        .add(nn::Relu)
        .add(nn::MaxPool2d::new(2))
        .add(conv(32, 64))
        .add(BatchNorm2d::new(64, dev))
        .add(nn::Relu)
        .add(nn::AdaptiveAvgPool2d::new([4, 4]))
        .add(nn::Flatten::default())
        .add(nn::Dropout::new(0.3))
        .add(nn::Linear::new(64 * 16, CLASSES, dev))
}

fn main() -> wgrad::Result<()> {
    let options = Options::parse();
    let dev = options.place.open()?;
    dev.seed(options.seed);
    let [train, test] = read_data(options.mnist.as_deref())?;
    let (image, _) = train.example(0)?;
    let (height, width) = (image.dims()[1], image.dims()[2]);
    println!("{} images to train, {} to test", train.len(), test.len());
    let steps = train.len().div_ceil(options.batch_size.max(1)) as u64 * options.epochs;
    let shift = RandomCrop::new(height, width).padding(1);
    let train = train.augment(options.seed, move |(image, digit), random| {
        Ok((shift.apply(image, random)?, digit))
    });
    let train = DataLoader::new(train, &dev)
        .batch_size(options.batch_size)
        .shuffle(options.seed)
        .workers(1);
    let test = DataLoader::new(test, &dev).batch_size(500);

    let model = network(&dev);
    println!("{}", nn::summary(&model, [1, 1, height, width])?);
    let adam = AdamW::new(model.parameters(), AdamWOptions::default());
    let page = options.out.join("digits.html");
    let mut trainer = Trainer::new(model, adam)
        .criterion(|logits, digits| logits.cross_entropy(digits))
        .metric(Accuracy::new())
        .metric(ConfusionMatrix)
        .schedule(OneCycleLr {
            max_lr: vec![options.lr],
            total_steps: steps,
            ..Default::default()
        })
        .callback(Report::new(&page).title("Handwritten digits"))
        .progress();
    if let Some(run) = &options.run {
        trainer = trainer.checkpoints(run, Keep::Last(1));
    }
    let fit = trainer.fit(&train, &test, Epochs(options.epochs))?;

    let file = options.out.join("digits.safetensors");
    trainer.model().save_safetensors(&file)?;
    println!("wrote {} and {}", page.display(), file.display());
    let accuracy = fit.last().and_then(|last| last.score("accuracy"));
    let accuracy = accuracy.unwrap_or(f64::NAN);
    println!("test accuracy {accuracy:.4}");
    let whole = options.mnist.is_none() && options.epochs >= 30;
    assert!(accuracy >= 0.985 || !whole, "it should read more of them");
    Ok(())
}
