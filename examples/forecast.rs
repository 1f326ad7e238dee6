//! An LSTM forecasts a time series: a trend, two seasons and noise.
//!
//! ```text
//! cargo run --release --example forecast
//! ```
//!
//! It reads 48 values and says the next one; the last fifth of the series is for the test. Its error there is
//! compared with two forecasts that need no training: the last value, and the value one season before. Writes
//! `forecast.png`.

use std::path::PathBuf;

use clap::Parser;
use wgrad::data::{DataLoader, generate};
use wgrad::optim::schedule::CosineAnnealingLr;
use wgrad::prelude::*;
use wgrad::train::{Chart, RootMeanSquaredError};

/// How many values the network reads, and how many make a season of the series.
const LENGTH: usize = 48;
const SEASON: usize = 25;

/// Forecasts a time series with an LSTM.
#[derive(Parser)]
struct Options {
    /// How often to go through the training windows
    #[arg(long, default_value_t = 20)]
    epochs: u64,
    /// The directory for the picture
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

#[derive(Module)]
struct Forecaster {
    lstm: nn::Lstm,
    head: nn::Linear,
}

impl Forward for Forecaster {
    /// `[n, length, 1]` to `[n, 1]`: how much the next value differs from the last one.
    fn forward(&self, x: &Tensor) -> wgrad::Result<Tensor> {
        let last = x.narrow(1, LENGTH - 1, 1);
        let (states, _) = self.lstm.forward(&(x - &last))?;
        Ok(self.head.forward(&states.select(1, -1))? + last.squeeze(2))
    }
}

fn rmse(pairs: impl Iterator<Item = (f32, f32)>) -> f64 {
    let squares: Vec<f64> = pairs.map(|(a, b)| f64::from(a - b).powi(2)).collect();
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

fn main() -> wgrad::Result<()> {
    let options = Options::parse();
    let dev = wgrad::default_device();
    dev.seed(2);
    let series = generate::time_series(1200, 0.05, 7);
    let windows = generate::windows(&series, LENGTH, 1);
    let cut = windows.len() * 4 / 5;
    let (before, after): (Vec<usize>, Vec<usize>) = (0..windows.len()).partition(|&i| i < cut);
    let (train, test) = (windows.select(&before)?, windows.select(&after)?);
    let (last, season): (Vec<f32>, Vec<f32>) = (0..test.len())
        .map(|i| {
            let row = test.x.row_values(i).unwrap_or_default();
            (row[LENGTH - 1], row[LENGTH - SEASON])
        })
        .unzip();

    let batch_first = nn::LstmOptions {
        batch_first: true,
        ..Default::default()
    };
    let model = Forecaster {
        lstm: nn::Lstm::with(1, 32, batch_first, &dev),
        head: nn::Linear::new(32, 1, &dev),
    };
    let adam = Adam::new(
        model.parameters(),
        AdamOptions {
            lr: 5e-3,
            ..Default::default()
        },
    );
    let load = |set: &wgrad::data::Set<f32>| DataLoader::new(set.clone(), &dev).batch_size(64);
    let steps = train.len().div_ceil(64) as u64 * options.epochs;
    let mut trainer = Trainer::new(model, adam)
        .loss(|model, batch| {
            let prediction = model.forward(&batch.x)?.squeeze(1);
            Ok((loss::mse_loss(&prediction, &batch.y), prediction))
        })
        .metric(RootMeanSquaredError)
        .schedule(CosineAnnealingLr {
            t_max: steps,
            eta_min: 0.0,
        })
        .clip_norm(1.0)
        .progress();
    let _ = trainer.fit(
        &load(&train).shuffle(1),
        &load(&test),
        Epochs(options.epochs),
    )?;

    let all = test.to_batch(&dev);
    let said: Vec<f32> = no_grad(|| trainer.model().forward(&all.x))?.to_vec()?;
    let truth = test.y.iter().copied();
    let own = rmse(said.iter().copied().zip(truth.clone()));
    let naive = rmse(last.iter().copied().zip(truth.clone()));
    let seasonal = rmse(season.iter().copied().zip(truth.clone()));
    let path = options.out.join("forecast.png");
    let points = |values: &[f32]| -> Vec<(f64, f64)> {
        values
            .iter()
            .enumerate()
            .map(|(i, &v)| ((cut + i) as f64, f64::from(v)))
            .collect()
    };
    Chart::new("the last fifth of the series, forecast one step ahead")
        .labels("time", "value")
        .line("series", points(&test.y))
        .line("LSTM", points(&said))
        .save_png(&path)?;
    println!("RMSE: LSTM {own:.4}, last value {naive:.4}, a season before {seasonal:.4}");
    println!("wrote {}", path.display());
    let better = own < 0.6 * naive.min(seasonal);
    assert!(better || options.epochs < 20, "it should forecast better");
    Ok(())
}
