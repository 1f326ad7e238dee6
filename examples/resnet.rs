//! A small ResNet learns the images of a folder, in mixed precision.
//!
//! ```text
//! cargo run --release --example resnet
//! cargo run --release --example resnet -- --images DIR --precision f32
//! ```
//!
//! Each subdirectory of DIR is a class; PNG and JPEG files in it are its images. Without `--images` it first draws 800
//! pictures of circles, crosses, squares and triangles, in all colours, on noise. A fifth of the images is for
//! validation; the others are cropped and flipped at random, another way in each epoch. The network has residual
//! blocks (He et al. 2016, <https://arxiv.org/abs/1512.03385>) with batch norm; products are computed in `bf16` or
//! `f16`, parameters stay `f32`. Writes `resnet.html`: curves, confusion matrix, images with what they were taken for.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use wgrad::data::transform::{Compose, Flip, Normalize, RandomCrop, Resize, Transform, to_float};
use wgrad::data::{Array, Channels, DataLoader, Dataset, ImageFolder, Random, encode_png, split};
use wgrad::nn::{BatchNorm2d, Conv2d, Conv2dOptions};
use wgrad::optim::schedule::OneCycleLr;
use wgrad::prelude::*;
use wgrad::train::{ConfusionMatrix, Report};

/// Height and width to which images are brought.
const SIDE: usize = 32;
const BATCH: usize = 32;
const SHAPES: [&str; 4] = ["circle", "cross", "square", "triangle"];

/// Learns to tell the images of a folder apart.
#[derive(Parser)]
struct Options {
    /// A directory with a subdirectory of images per class [default: draws some]
    #[arg(long)]
    images: Option<PathBuf>,
    /// How often to go through the images
    #[arg(long, default_value_t = 8)]
    epochs: u64,
    /// What products are computed in
    #[arg(long, value_enum, default_value = "bf16")]
    precision: Precision,
    /// The directory for the report
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Precision {
    F32,
    F16,
    Bf16,
}

/// `relu(norm(conv(relu(norm(conv(x))))) + x)`; where the size changes, `x` goes through a 1 x 1 convolution.
#[derive(Module)]
struct Block {
    conv1: Conv2d,
    norm1: BatchNorm2d,
    conv2: Conv2d,
    norm2: BatchNorm2d,
    shortcut: Option<Conv2d>,
}

fn conv(from: usize, to: usize, size: usize, stride: usize, dev: &Device) -> Conv2d {
    let options = Conv2dOptions {
        stride: [stride; 2],
        padding: ConvPadding::Zeros([size / 2; 2]),
        bias: false,
        ..Default::default()
    };
    Conv2d::with(from, to, size, options, dev)
}

impl Block {
    fn new(from: usize, to: usize, stride: usize, dev: &Device) -> Block {
        Block {
            conv1: conv(from, to, 3, stride, dev),
            norm1: BatchNorm2d::new(to, dev),
            conv2: conv(to, to, 3, 1, dev),
            norm2: BatchNorm2d::new(to, dev),
            shortcut: (from != to).then(|| conv(from, to, 1, stride, dev)),
        }
    }
}

impl Forward for Block {
    fn forward(&self, x: &Tensor) -> wgrad::Result<Tensor> {
        let h = self.norm1.forward(&self.conv1.forward(x)?)?.relu();
        let h = self.norm2.forward(&self.conv2.forward(&h)?)?;
        match &self.shortcut {
            Some(shortcut) => (h + shortcut.forward(x)?).relu().checked(),
            None => (h + x).relu().checked(),
        }
    }
}

#[derive(Module)]
struct ResNet {
    stem: Conv2d,
    norm: BatchNorm2d,
    blocks: Vec<Block>,
    head: nn::Linear,
}

impl ResNet {
    fn new(classes: usize, dev: &Device) -> ResNet {
        ResNet {
            stem: conv(3, 16, 3, 1, dev),
            norm: BatchNorm2d::new(16, dev),
            blocks: vec![
                Block::new(16, 16, 1, dev),
                Block::new(16, 32, 2, dev),
                Block::new(32, 64, 2, dev),
            ],
            head: nn::Linear::new(64, classes, dev),
        }
    }
}

impl Forward for ResNet {
    fn forward(&self, x: &Tensor) -> wgrad::Result<Tensor> {
        let mut h = self.norm.forward(&self.stem.forward(x)?)?.relu();
        for block in &self.blocks {
            h = block.forward(&h)?;
        }
        self.head.forward(&h.mean_dims([2, 3], false))
    }
}

/// Whether a point belongs to a shape of size 1 around the origin.
fn inside(shape: usize, x: f64, y: f64) -> bool {
    match shape {
        0 => x.hypot(y) < 1.0,
        1 => x.abs().max(y.abs()) < 1.0 && x.abs().min(y.abs()) < 0.35,
        2 => x.abs().max(y.abs()) < 0.85,
        _ => y < 0.8 && y > -0.9 && x.abs() < (y + 0.9) * 0.6,
    }
}

/// Draws 200 images of each shape: another colour, size, place and angle in each.
fn draw_shapes(directory: &Path) -> wgrad::Result<()> {
    let io = |e: std::io::Error| Error::File {
        path: directory.display().to_string(),
        problem: e.to_string(),
    };
    let mut random = Random::new(5);
    for (shape, name) in SHAPES.iter().enumerate() {
        let class = directory.join(name);
        std::fs::create_dir_all(&class).map_err(io)?;
        for number in 0..200 {
            let (size, angle) = (random.between(7.0, 13.0), random.between(-0.4, 0.4));
            let middle = [0, 1].map(|_| random.between(14.0, 26.0));
            let colors = [0, 1].map(|_| [0, 1, 2].map(|_| random.between(0.0, 255.0)));
            let mut bytes = vec![0u8; 3 * 40 * 40];
            for y in 0..40 {
                for x in 0..40 {
                    let (dx, dy) = (x as f64 - middle[0], y as f64 - middle[1]);
                    let turned = (
                        (dx * angle.cos() + dy * angle.sin()) / size,
                        (dy * angle.cos() - dx * angle.sin()) / size,
                    );
                    let color = colors[usize::from(inside(shape, turned.0, turned.1))];
                    for (channel, value) in color.iter().enumerate() {
                        let noisy = value + 20.0 * random.normal();
                        bytes[(channel * 40 + y) * 40 + x] = noisy as u8; // saturates
                    }
                }
            }
            let png = encode_png(&Array::new(bytes, [3, 40, 40])?)?;
            std::fs::write(class.join(format!("{number:03}.png")), png).map_err(io)?;
        }
    }
    Ok(())
}

fn main() -> wgrad::Result<()> {
    let options = Options::parse();
    let dev = wgrad::default_device();
    dev.seed(3);
    let directory = match &options.images {
        Some(directory) => directory.clone(),
        None => {
            let directory = std::env::temp_dir().join("wgrad-shapes");
            draw_shapes(&directory)?;
            directory
        }
    };
    let folder = ImageFolder::open(&directory, Channels::Rgb)?;
    let classes = folder.class_names().len();
    let labels: Vec<i32> = folder.files().iter().map(|(_, class)| *class).collect();
    let parts = split::stratified(&labels, &[0.8, 0.2], 1)?;
    println!(
        "{} images of {}",
        labels.len(),
        folder.class_names().join(", ")
    );

    let normalize = || Normalize::new(&[0.5; 3], &[0.25; 3]);
    let still = move |(image, class): (Array<u8>, i32)| {
        let image = Resize::to(SIDE, SIDE).apply(to_float(&image), &mut Random::new(0))?;
        Ok((normalize().apply(image, &mut Random::new(0))?, class))
    };
    let moving = Compose::new()
        .then(RandomCrop::new(SIDE, SIDE).padding(3))
        .then(Flip::horizontal(0.5));
    let train = folder.clone().subset(parts[0].clone()).map(still);
    let train = train.augment(1, move |(image, class), random| {
        Ok((moving.apply(image, random)?, class))
    });
    let valid = folder.subset(parts[1].clone()).map(still);
    let train = DataLoader::new(train, &dev)
        .batch_size(BATCH)
        .shuffle(1)
        .workers(1)
        .drop_last(true);
    let valid = DataLoader::new(valid, &dev).batch_size(BATCH).workers(1);

    let model = ResNet::new(classes, &dev);
    println!("{}", nn::summary(&model, [1, 3, SIDE, SIDE])?);
    let adam = AdamW::new(
        model.parameters(),
        AdamWOptions {
            lr: 1e-3,
            ..Default::default()
        },
    );
    let steps = (parts[0].len() / BATCH) as u64 * options.epochs;
    let page = options.out.join("resnet.html");
    let mut trainer = Trainer::new(model, adam)
        .criterion(|logits, y| logits.cross_entropy(y))
        .metric(Accuracy::new())
        .metric(ConfusionMatrix)
        .schedule(OneCycleLr {
            max_lr: vec![4e-3],
            total_steps: steps,
            ..Default::default()
        })
        .log_every(10)
        .callback(Report::new(&page).title("A ResNet on the images of a folder"))
        .progress();
    trainer = match options.precision {
        Precision::F32 => trainer,
        Precision::F16 => trainer.mixed_precision(DType::F16),
        Precision::Bf16 => trainer.mixed_precision(DType::BF16),
    };
    let fit = trainer.fit(&train, &valid, Epochs(options.epochs))?;
    let accuracy = fit
        .last()
        .and_then(|last| last.score("accuracy"))
        .unwrap_or(0.0);
    println!("accuracy {accuracy:.4}; wrote {}", page.display());
    let drawn = options.images.is_none() && options.epochs >= 8;
    assert!(accuracy > 0.95 || !drawn, "it should tell the shapes apart");
    Ok(())
}
