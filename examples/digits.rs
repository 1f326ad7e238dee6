//! Trains a small network on handwritten digits.
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --device cpu --epochs 10 --seed 3 --out runs
//! ```
//!
//! The network is a multilayer perceptron with dropout, trained by AdamW with a learning rate that
//! falls along a cosine. Each training image is shifted by up to one pixel in each direction,
//! another way in each epoch: 1,438 images are few, and a shifted digit is still that digit. The
//! test images (every fifth) are used as they are. At the end there are a confusion matrix, a
//! picture of the losses (`digits-loss.png`) and the model (`digits.safetensors`).

mod chart;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use plotters::style::RGBColor;
use wgrad::data::{Random, sets};
use wgrad::prelude::*;

const CLASSES: usize = 10;
/// Pixels of a row, and rows.
const SIDE: usize = 8;
const PIXELS: usize = SIDE * SIDE;

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

/// Images and their digits.
#[derive(Default)]
struct Set {
    /// Pixels from 0 to 1.
    images: Vec<[f32; PIXELS]>,
    digits: Vec<i32>,
}

/// Every fifth image is for the test.
fn read_data() -> (Set, Set) {
    let digits = sets::digits();
    let (mut train, mut test) = (Set::default(), Set::default());
    let rows = digits.x.values().chunks_exact(PIXELS).zip(digits.y);
    for (i, (pixels, digit)) in rows.enumerate() {
        let set = if i % 5 == 4 { &mut test } else { &mut train };
        set.images.push(std::array::from_fn(|p| pixels[p] / 16.0));
        set.digits.push(digit);
    }
    (train, test)
}

/// Appends the image moved by up to one pixel in each direction, with zeros from outside.
fn push_shifted(image: &[f32; PIXELS], random: &mut Random, pixels: &mut Vec<f32>) {
    let (down, right) = (random.below(3), random.below(3));
    let source = |at: usize, by: usize| (at + 1).checked_sub(by).filter(|&from| from < SIDE);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let from = source(y, down).zip(source(x, right));
            pixels.push(from.map_or(0.0, |(y, x)| image[y * SIDE + x]));
        }
    }
}

fn network(device: &Device) -> nn::Sequential {
    nn::Sequential::from((
        nn::Linear::new(PIXELS, 256, device),
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
    set: &Set,
    options: &Options,
    epoch: usize,
    random: &mut Random,
    progress: &ProgressBar,
) -> wgrad::Result<f64> {
    let device = optimizer.parameters()[0].device().clone();
    let mut order: Vec<usize> = (0..set.images.len()).collect();
    random.shuffle(&mut order);
    model.train();
    let steps = order.len().div_ceil(options.batch_size);
    let mut losses = Vec::with_capacity(steps);
    for (step, batch) in order.chunks(options.batch_size).enumerate() {
        let mut pixels = Vec::with_capacity(batch.len() * PIXELS);
        for &i in batch {
            push_shifted(&set.images[i], random, &mut pixels);
        }
        let digits: Vec<i32> = batch.iter().map(|&i| set.digits[i]).collect();
        let x = Tensor::from_vec(pixels, [batch.len(), PIXELS], &device);
        let y = Tensor::from_vec(digits, [batch.len()], &device);

        let done = (epoch * steps + step) as f64 / (options.epochs * steps) as f64;
        optimizer.set_lr(options.lr * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()));
        optimizer.zero_grad();
        let loss = model.forward(&x)?.cross_entropy(&y);
        loss.backward()?;
        optimizer.step()?;
        losses.push(loss.detach());
        progress.inc(1);
    }
    let losses: Vec<f32> = Tensor::stack(&losses, 0).to_vec()?;
    let sizes = order.chunks(options.batch_size).map(<[usize]>::len);
    let sum: f64 = losses
        .iter()
        .zip(sizes)
        .map(|(&l, n)| f64::from(l) * n as f64)
        .sum();
    Ok(sum / order.len() as f64)
}

/// Mean loss and the digits that the network reads.
fn test(model: &nn::Sequential, x: &Tensor, y: &Tensor) -> wgrad::Result<(f64, Vec<i32>)> {
    model.eval();
    let logits = no_grad(|| model.forward(x))?;
    let loss = logits.cross_entropy(y);
    let read = logits.argmax(1, false).to_vec()?;
    Ok((f64::from(loss.item::<f32>()?), read))
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
    let (train, test_set) = read_data();
    let test_x: Vec<f32> = test_set.images.iter().flatten().copied().collect();
    let test_x = Tensor::from_vec(test_x, [test_set.images.len(), PIXELS], &device);
    let test_y = Tensor::from_slice(&test_set.digits, [test_set.digits.len()], &device);

    device.seed(options.seed);
    let mut random = Random::new(options.seed);
    let model = network(&device);
    let adam_options = AdamWOptions {
        lr: options.lr,
        weight_decay: 0.05,
        ..Default::default()
    };
    let mut optimizer = AdamW::new(model.parameters(), adam_options);
    writeln!(
        out,
        "{} images to train, {} to test, {} parameters, on {}",
        train.images.len(),
        test_set.images.len(),
        model.num_parameters(),
        device.name()
    )?;

    let steps = train.images.len().div_ceil(options.batch_size);
    let progress = ProgressBar::new((options.epochs * steps) as u64);
    let style = "{bar:40} {pos}/{len} steps, {eta} left";
    progress.set_style(ProgressStyle::with_template(style)?);
    let (mut train_losses, mut test_losses) = (Vec::new(), Vec::new());
    let mut read = Vec::new();
    let begin = Instant::now();
    let mut in_training = Duration::ZERO;
    for epoch in 0..options.epochs {
        let epoch_begin = Instant::now();
        let loss = train_epoch(
            &model,
            &mut optimizer,
            &train,
            options,
            epoch,
            &mut random,
            &progress,
        )?;
        let seconds = epoch_begin.elapsed();
        in_training += seconds;
        let (test_loss, digits) = test(&model, &test_x, &test_y)?;
        let accuracy = correct(&digits, &test_set.digits) as f64 / digits.len() as f64;
        progress.suspend(|| {
            writeln!(
                out,
                "epoch {:>3}: loss {loss:.5}, test loss {test_loss:.5}, test accuracy \
                 {accuracy:.4}, {:.0} images/s",
                epoch + 1,
                train.images.len() as f64 / seconds.as_secs_f64().max(1e-9)
            )
        })?;
        train_losses.push(loss);
        test_losses.push(test_loss);
        read = digits;
    }
    let seconds = begin.elapsed().as_secs_f64();
    progress.finish_and_clear();

    print_confusion(&mut out, &read, &test_set.digits)?;
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
    let images = (train.images.len() * options.epochs) as f64;
    let rate = images / in_training.as_secs_f64().max(1e-9);
    writeln!(out, "{rate:.0} images/s in training")?;
    let right = correct(&read, &test_set.digits);
    let all = test_set.digits.len();
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
