//! Draws the losses of docs/guide/losses.md: each over what it depends on, with its derivative by autograd.
//!
//! ```text
//! cargo run --release --example losses
//! cargo run --release --example losses -- --out docs/guide/losses
//! ```
//!
//! Losses are computed by the library's own functions.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;
use wgrad::nn::loss::*;
use wgrad::prelude::*;
use wgrad::train::Chart;

/// Points of a curve; odd, so that the middle is one.
const POINTS: usize = 161;

/// Draws losses and their derivatives.
#[derive(Parser)]
struct Options {
    /// The directory for the pictures
    #[arg(long, default_value = "losses")]
    out: PathBuf,
    /// PNG files instead of SVG ones
    #[arg(long)]
    png: bool,
}

/// A loss of every element of a vector.
type Loss = fn(&Tensor) -> Tensor;

/// A picture: its file, what the axis is, from where to where, and the loss.
struct Picture {
    file: &'static str,
    title: &'static str,
    axis: &'static str,
    range: (f64, f64),
    loss: Loss,
}

macro_rules! charts {
    ($($file:literal $title:literal, $axis:literal in $from:literal..$to:literal: $loss:expr;)*) => {
        [$(Picture { file: $file, title: $title, axis: $axis, range: ($from, $to), loss: $loss }),*]
    };
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.out)?;
    for chart in &charts() {
        let extension = if options.png { "png" } else { "svg" };
        let path = options.out.join(chart.file).with_extension(extension);
        draw(&path, chart, options.png)?;
        println!("{}", path.display());
    }
    Ok(())
}

const EACH: Reduction = Reduction::None;

/// A tensor like `x`, of one number.
fn all(x: &Tensor, value: f64) -> Tensor {
    x.detach().ones_like() * value
}

/// `x` beside other numbers, as rows.
fn beside(x: &Tensor, others: &[f64]) -> Tensor {
    let mut columns = vec![x.clone()];
    columns.extend(others.iter().map(|&other| all(x, other)));
    Tensor::stack(&columns, -1)
}

/// Classes, one for each element.
fn class(x: &Tensor, class: i32) -> Tensor {
    all(x, 1.0).to_dtype(DType::I32) * class
}

/// A function of scalars, for each element by itself.
fn one_by_one(x: &Tensor, f: impl Fn(Tensor) -> Tensor) -> Tensor {
    let each: Vec<Tensor> = (0..POINTS as isize).map(|i| f(x.select(0, i))).collect();
    Tensor::stack(&each, 0)
}

fn charts() -> Vec<Picture> {
    let regression = charts! {
        "mse" "squared error", "x - t" in -3.0..3.0: |x| mse_loss_with(x, &all(x, 0.0), EACH);
        "l1" "absolute error", "x - t" in -3.0..3.0: |x| l1_loss_with(x, &all(x, 0.0), EACH);
        "huber" "Huber, delta 1", "x - t" in -3.0..3.0: |x| {
            huber_loss_with(x, &all(x, 0.0), HuberOptions { reduction: EACH, ..Default::default() })
        };
        "log_cosh" "log cosh", "x - t" in -3.0..3.0: |x| log_cosh_loss_with(x, &all(x, 0.0), EACH);
        "poisson_nll" "Poisson, t = 3", "x" in -1.0..2.5: |x| {
            poisson_nll_loss_with(x, &all(x, 3.0), PoissonNllOptions { reduction: EACH, ..Default::default() })
        };
        "gaussian_nll" "normal distribution, (x - t)^2 = 1", "variance" in 0.2..4.0: |x| {
            let options = GaussianNllOptions { reduction: EACH, ..Default::default() };
            gaussian_nll_loss_with(&all(x, 1.0), &all(x, 0.0), x, options)
        };
        "l1_penalty" "L1 penalty", "w" in -2.0..2.0: |x| one_by_one(x, |w| l1_penalty(&[w]));
        "l2_penalty" "L2 penalty", "w" in -2.0..2.0: |x| one_by_one(x, |w| l2_penalty(&[w]));
        "elastic_net" "elastic net, L1 0.5, L2 0.5", "w" in -2.0..2.0: |x| {
            one_by_one(x, |w| elastic_net_penalty(&[w], 0.5, 0.5))
        };
    };
    let classes = charts! {
        "logistic" "cross-entropy of two classes, t = 1", "x" in -4.0..4.0: |x| {
            let options = BceLogitsOptions { reduction: EACH, ..Default::default() };
            binary_cross_entropy_with_logits_with(x, &all(x, 1.0), options)
        };
        "soft_margin" "the same for signs", "t x" in -4.0..4.0: |x| soft_margin_loss_with(x, &all(x, 1.0), EACH);
        "hinge" "hinge", "t x" in -2.0..3.0: |x| hinge_loss_with(x, &all(x, 1.0), EACH);
        "squared_hinge" "squared hinge", "t x" in -2.0..3.0: |x| squared_hinge_loss_with(x, &all(x, 1.0), EACH);
        "exponential" "exponential, AdaBoost's", "t x" in -2.0..3.0: |x| exponential_loss_with(x, &all(x, 1.0), EACH);
        "cross_entropy" "cross-entropy, other scores 0 and 1", "own score" in -4.0..6.0: |x| {
            let options = CrossEntropyOptions { reduction: EACH, ..Default::default() };
            beside(x, &[0.0, 1.0]).cross_entropy_with(&class(x, 0), options)
        };
        "multi_margin" "multi-class hinge, other scores 0 and 1", "own score" in -1.0..3.0: |x| {
            let options = MultiMarginOptions { reduction: EACH, ..Default::default() };
            multi_margin_loss_with(&beside(x, &[0.0, 1.0]), &class(x, 0), options)
        };
        "nll" "likelihood", "p of the own class" in 0.02..1.0: |x| {
            let options = CrossEntropyOptions { reduction: EACH, ..Default::default() };
            beside(&x.ln(), &[0.0]).nll_loss_with(&class(x, 0), options)
        };
        "focal" "focal, gamma 2", "x, t = 1" in -4.0..4.0: |x| {
            focal_loss_with(x, &all(x, 1.0), FocalOptions { reduction: EACH, ..Default::default() })
        };
    };
    let criteria = charts! {
        "gini" "Gini's impurity of two classes", "share of one" in 0.005..0.995: |x| {
            gini_impurity(&Tensor::stack(&[x.clone(), 1.0 - x], -1))
        };
        "entropy" "entropy of two classes", "share of one" in 0.005..0.995: |x| {
            entropy(&Tensor::stack(&[x.clone(), 1.0 - x], -1))
        };
        "information_gain" "gain of a split of two equal classes", "share of one class on one side" in 0.005..0.995: |x| {
            let rest = 1.0 - x;
            let left = Tensor::stack(&[x.clone(), rest.clone()], -1);
            let right = Tensor::stack(&[rest, x.clone()], -1);
            information_gain(&Tensor::stack(&[left, right], -2))
        };
        "k_means" "squares within a cluster of -1, 0 and 2", "center" in -2.0..3.0: |x| {
            one_by_one(x, |center| {
                let points = Tensor::new([[-1.0], [0.0], [2.0]], center.device());
                let labels = Tensor::new([0, 0, 0], center.device());
                within_cluster_sum_of_squares(&points, &center.reshape([1, 1]), &labels)
            })
        };
    };
    let networks = charts! {
        "kl_div" "Kullback-Leibler of (0.3, 0.7) from (q, 1 - q)", "q" in 0.02..0.98: |x| {
            let options = KlDivOptions { reduction: KlReduction::None, ..Default::default() };
            let logs = Tensor::stack(&[x.ln(), (1.0 - x).ln()], -1);
            let targets = Tensor::stack(&[all(x, 0.3), all(x, 0.7)], -1);
            kl_div_with(&logs, &targets, options).sum_dims([-1], false)
        };
        "dice" "Dice of one pixel, t = 1", "p" in 0.0..1.0: |x| {
            one_by_one(x, |p| dice_loss(&p.reshape([1, 1]), &Tensor::ones([1, 1], p.device())))
        };
        "margin_ranking" "margin ranking, margin 0.5", "t (a - b)" in -2.0..2.0: |x| {
            let options = MarginRankingOptions { margin: 0.5, reduction: EACH };
            margin_ranking_loss_with(x, &all(x, 0.0), &all(x, 1.0), options)
        };
        "triplet" "triplets, to the negative 1", "distance to the positive" in 0.05..2.0: |x| {
            let options = TripletMarginOptions { margin: 0.5, reduction: EACH, ..Default::default() };
            let (anchor, positive) = (all(x, 0.0).unsqueeze(-1), x.unsqueeze(-1));
            triplet_margin_loss_with(&anchor, &positive, &all(x, 1.0).unsqueeze(-1), options)
        };
        "cosine_embedding" "cosine embedding of a pair", "angle" in 0.0..3.14: |x| {
            let options = CosineEmbeddingOptions { margin: 0.0, reduction: EACH };
            let a = Tensor::stack(&[x.cos(), x.sin()], -1);
            cosine_embedding_loss_with(&a, &beside(&all(x, 1.0), &[0.0]), &all(x, 1.0), options)
        };
    };
    let all = regression.into_iter().chain(classes);
    all.chain(criteria).chain(networks).collect()
}

/// The loss at every place, and its derivative.
fn curves(chart: &Picture) -> Result<[Vec<(f64, f64)>; 2]> {
    let dev = wgrad::cpu();
    let (from, to) = chart.range;
    let x = Tensor::linspace(from, to, POINTS, (DType::F64, &dev)).requires_grad();
    let y = (chart.loss)(&x);
    y.sum().backward()?;
    let places = x.to_vec::<f64>()?;
    let line = |y: Tensor| -> Result<Vec<(f64, f64)>> {
        Ok(places.iter().copied().zip(y.to_vec::<f64>()?).collect())
    };
    Ok([line(y)?, line(x.grad()?)?])
}

fn draw(path: &Path, chart: &Picture, png: bool) -> std::result::Result<(), Box<dyn Error>> {
    let [loss, slope] = curves(chart)?;
    let picture = Chart::new(chart.title)
        .labels(chart.axis, "")
        .line("loss", loss)
        .line("derivative", slope);
    match png {
        true => picture.save_png(path)?,
        false => std::fs::write(path, picture.to_svg()?)?,
    }
    Ok(())
}
