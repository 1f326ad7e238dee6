//! Trains a small network on handwritten digits.
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --device cpu --epochs 10 --seed 3 --out runs
//! cargo run --release --example digits -- --mnist DIR --epochs 5
//! ```
//!
//! The network is a multilayer perceptron with dropout, trained by AdamW with a learning rate that
//! falls along a cosine. Each training image is shifted by up to one pixel in each direction,
//! another way in each epoch: 1,438 images are few, and a shifted digit is still that digit. The
//! test images (every fifth) are used as they are. At the end there are a confusion matrix, a
//! picture of the losses (`digits-loss.png`) and the model (`digits.safetensors`).
//!
//! With `--mnist` the images are those of MNIST, or of another set in its format, whose four files
//! (packed or not) lie in the directory: 60,000 of 28 by 28 pixels to train on.

mod chart;

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use plotters::style::RGBColor;
use wgrad::data::idx::Mnist;
use wgrad::data::transform::{RandomCrop, Transform, to_float};
use wgrad::data::{Array, Batch, Batches, DataLoader, Dataset, sets};
use wgrad::prelude::*;

const CLASSES: usize = 10;

/// Trains a small network on handwritten digits.
#[derive(Parser)]
struct Options {
    /// Where to train [default: a GPU if there is one, else the CPU]
    #[arg(long, value_enum)]
    device: Option<Place>,
    /// How often to go through the training images
    #[arg(long, default_value_t = 150, value_parser = at_least_one)]
    epochs: usize,
    /// Images per step
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    batch_size: usize,
    /// The learning rate at the beginning; it falls to 0
    #[arg(long, default_value_t = 3e-3, value_parser = above_zero)]
    lr: f64,
    /// Decides the initial parameters, the order of the images, the shifts, and what is dropped
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Read MNIST's files in this directory instead of the small set that is part of wgrad
    #[arg(long, value_name = "DIR")]
    mnist: Option<PathBuf>,
    /// The directory for the picture and the model
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Place {
    Cpu,
    Gpu,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(n) => Ok(n),
        Err(_) => Err("must be a whole number".into()),
    }
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if x > 0.0 && f64::is_finite(x) => Ok(x),
        Ok(_) => Err("must be finite and above 0".into()),
        Err(_) => Err("must be a number".into()),
    }
}

/// Images, pixels from 0 to 1, and their digits.
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
    digits.x = digits
        .x
        .map(|v| v / 16.0)
        .reshape([digits.y.len(), 1, 8, 8])?;
    // Every fifth image is for the test.
    let part = |test: bool| -> wgrad::Result<Images> {
        let mine = (0..digits.len()).filter(|i| (i % 5 == 4) == test);
        Ok(Box::new(digits.select(&mine.collect::<Vec<_>>())?))
    };
    Ok([part(false)?, part(true)?])
}

fn network(pixels: usize, device: &Device) -> nn::Sequential {
    nn::Sequential::from((
        nn::Flatten::default(),
        nn::Linear::new(pixels, 256, device),
        nn::Relu,
        nn::Dropout::new(0.2),
        nn::Linear::new(256, 128, device),
        nn::Relu,
        nn::Dropout::new(0.2),
        nn::Linear::new(128, CLASSES, device),
    ))
}

/// One epoch; the mean loss. The losses of the steps stay on the device until the end.
fn train_epoch(
    model: &nn::Sequential,
    optimizer: &mut AdamW,
    loader: &impl Batches<Batch = Batch>,
    options: &Options,
    epoch: usize,
    progress: &ProgressBar,
) -> wgrad::Result<f64> {
    model.train();
    let steps = loader.num_batches().unwrap_or_default();
    let (mut losses, mut sizes) = (Vec::with_capacity(steps), Vec::with_capacity(steps));
    for (step, batch) in loader.epoch(epoch as u64, 0).enumerate() {
        let Batch { x, y } = batch?;
        let done = (epoch * steps + step) as f64 / (options.epochs * steps) as f64;
        optimizer.set_lr(options.lr * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()));
        optimizer.zero_grad();
        let loss = model.forward(&x)?.cross_entropy(&y);
        loss.backward()?;
        optimizer.step()?;
        losses.push(loss.detach());
        sizes.push(y.shape()?.numel() as f64);
        progress.inc(1);
    }
    let losses: Vec<f32> = Tensor::stack(&losses, 0).to_vec()?;
    let weighted = losses.iter().zip(&sizes);
    let sum: f64 = weighted.map(|(&loss, n)| f64::from(loss) * n).sum();
    Ok(sum / sizes.iter().sum::<f64>())
}

/// Mean loss and the digits that the network reads.
fn test(
    model: &nn::Sequential,
    batches: &impl Batches<Batch = Batch>,
) -> wgrad::Result<(f64, Vec<i32>)> {
    model.eval();
    let (mut sum, mut read) = (0.0, Vec::new());
    for batch in batches.epoch(0, 0) {
        let Batch { x, y } = batch?;
        let logits = no_grad(|| model.forward(&x))?;
        let loss = f64::from(logits.cross_entropy(&y).item::<f32>()?);
        let digits: Vec<i32> = logits.argmax(1, false).to_vec()?;
        sum += loss * digits.len() as f64;
        read.extend(digits);
    }
    Ok((sum / read.len() as f64, read))
}

fn correct(read: &[i32], digits: &[i32]) -> usize {
    read.iter().zip(digits).filter(|(a, b)| a == b).count()
}

fn print_confusion(out: &mut impl Write, read: &[i32], digits: &[i32]) -> io::Result<()> {
    let mut counts = [[0; CLASSES]; CLASSES];
    for (&read, &digit) in read.iter().zip(digits) {
        counts[digit as usize][read as usize] += 1;
    }
    writeln!(
        out,
        "\nconfusion matrix (rows: the digit, columns: as it was read)"
    )?;
    write!(out, "    ")?;
    for column in 0..CLASSES {
        write!(out, "{column:>4}")?;
    }
    writeln!(out)?;
    for (digit, row) in counts.iter().enumerate() {
        write!(out, "{digit:>4}")?;
        for &count in row {
            if count == 0 {
                write!(out, "   .")?;
            } else {
                write!(out, "{count:>4}")?;
            }
        }
        writeln!(out)?;
    }
    writeln!(out)
}

/// An error and what to do about it.
fn explained(problem: impl std::fmt::Display, advice: &str) -> Box<dyn Error> {
    format!("{problem}\n{advice}").into()
}

fn open(place: Option<Place>) -> Result<Device, Box<dyn Error>> {
    let device = match place {
        None => wgrad::default_device(),
        Some(Place::Cpu) => wgrad::cpu(),
        Some(Place::Gpu) => wgrad::gpu().unwrap_or_else(Device::failed),
    };
    match device.error() {
        None => Ok(device),
        Some(error) => Err(explained(error, "Train on the CPU instead: --device cpu")),
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    let device = open(options.device)?;
    // Before the training: a directory that cannot be made should not cost its result.
    std::fs::create_dir_all(&options.out).map_err(|error| {
        let problem = format!("{}: {error}", options.out.display());
        explained(problem, "Choose another directory: --out DIR")
    })?;
    let [train, test_set] = read_data(options.mnist.as_deref())
        .map_err(|error| explained(error, "Read the small set instead: without --mnist"))?;
    let digits: Vec<i32> = (0..test_set.len())
        .map(|i| test_set.example(i).map(|(_, digit)| digit))
        .collect::<wgrad::Result<_>>()?;
    let (image, _) = train.example(0)?;
    let &[_, height, width] = image.dims() else {
        return Err(format!("images of shape {:?}", image.dims()).into());
    };
    let images = train.len();
    // Brought to the device once; small enough for one batch where that is cheap.
    let test_loader = DataLoader::new(test_set, &device).batch_size(1000);
    let test_batches: Vec<Batch> = test_loader.epoch(0, 0).collect::<wgrad::Result<_>>()?;
    let shift = RandomCrop::new(height, width).padding(1);
    let train = train.augment(options.seed, move |(image, digit), random| {
        Ok((shift.apply(image, random)?, digit))
    });
    let loader = DataLoader::new(train, &device)
        .batch_size(options.batch_size)
        .shuffle(options.seed);

    device.seed(options.seed);
    let model = network(height * width, &device);
    let adam_options = AdamWOptions {
        lr: options.lr,
        weight_decay: 0.05,
        ..Default::default()
    };
    let mut optimizer = AdamW::new(model.parameters(), adam_options);
    writeln!(
        out,
        "{} images to train, {} to test, {} parameters, on {}",
        images,
        digits.len(),
        model.num_parameters(),
        device.name()
    )?;

    let steps = images.div_ceil(options.batch_size);
    let progress = ProgressBar::new((options.epochs * steps) as u64);
    let style = "{bar:40} {pos}/{len} steps, {eta} left";
    progress.set_style(ProgressStyle::with_template(style)?);
    let (mut train_losses, mut test_losses) = (Vec::new(), Vec::new());
    let mut read = Vec::new();
    let begin = Instant::now();
    let mut in_training = Duration::ZERO;
    for epoch in 0..options.epochs {
        let epoch_begin = Instant::now();
        let loss = train_epoch(&model, &mut optimizer, &loader, options, epoch, &progress)?;
        let seconds = epoch_begin.elapsed();
        in_training += seconds;
        let (test_loss, now_read) = test(&model, &test_batches)?;
        let accuracy = correct(&now_read, &digits) as f64 / digits.len() as f64;
        progress.suspend(|| {
            writeln!(
                out,
                "epoch {:>3}: loss {loss:.5}, test loss {test_loss:.5}, test accuracy \
                 {accuracy:.4}, {:.0} images/s",
                epoch + 1,
                images as f64 / seconds.as_secs_f64().max(1e-9)
            )
        })?;
        train_losses.push(loss);
        test_losses.push(test_loss);
        read = now_read;
    }
    let seconds = begin.elapsed().as_secs_f64();
    progress.finish_and_clear();

    print_confusion(&mut out, &read, &digits)?;
    let picture = options.out.join("digits-loss.png");
    let lines = [
        chart::Line {
            name: "train",
            color: RGBColor(31, 119, 180),
            values: &train_losses,
        },
        chart::Line {
            name: "test",
            color: RGBColor(214, 94, 0),
            values: &test_losses,
        },
    ];
    chart::draw(&picture, "loss", &lines).map_err(|error| {
        let problem = format!("{}: {error}", picture.display());
        explained(problem, "Choose another directory: --out DIR")
    })?;
    let file = options.out.join("digits.safetensors");
    model
        .save_safetensors(&file)
        .map_err(|error| explained(error, "Choose another directory: --out DIR"))?;
    writeln!(out, "wrote {} and {}", picture.display(), file.display())?;
    let images = (images * options.epochs) as f64;
    let rate = images / in_training.as_secs_f64().max(1e-9);
    writeln!(out, "{rate:.0} images/s in training")?;
    let right = correct(&read, &digits);
    let all = digits.len();
    writeln!(
        out,
        "test accuracy {:.4} ({right}/{all}) on {}, trained in {seconds:.1} s",
        right as f64 / all as f64,
        device.name()
    )?;
    Ok(())
}

fn main() -> ExitCode {
    // Interrupted by Ctrl-C, the program just ends: files appear whole or not at all.
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let io_error = error.downcast_ref::<io::Error>();
            if io_error.is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
                return ExitCode::SUCCESS; // whoever read the output has had enough
            }
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
