//! The trainer: what it records, reads, keeps and refuses.

#[path = "trainer/checkpoints.rs"]
mod checkpoints;
mod devices;
#[path = "trainer/failures.rs"]
mod failures;
#[path = "trainer/writers.rs"]
mod writers;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use devices::{all, cpu, fill};
use wgrad::data::{Batch, Batches};
use wgrad::optim::schedule::{CosineAnnealingLr, ReduceLrOnPlateau, Schedule, StepLr};
use wgrad::prelude::*;
use wgrad::train::*;

/// A regression: `y` is a sum of `x` and something that no line describes.
fn data(dev: &Device, batches: usize, size: usize) -> Vec<Batch> {
    let batch = |seed| {
        let x = Tensor::from_vec(fill(seed, size * 3, 1.0), [size, 3], dev);
        let y = x.sum_dims([1], true) + (&x * 5.0).sin().sum_dims([1], true) * 0.1;
        Batch { x, y }
    };
    (0..batches as u64).map(batch).collect()
}

fn line(dev: &Device) -> nn::Linear {
    let model = nn::Linear::new(3, 1, dev);
    model
        .weight
        .assign(&Tensor::new([[0.5, -0.5, 0.25]], dev))
        .unwrap();
    model
        .bias
        .as_ref()
        .unwrap()
        .assign(&Tensor::new([0.125], dev))
        .unwrap();
    model
}

fn sgd(model: &nn::Linear, lr: f64) -> Sgd {
    let options = SgdOptions {
        lr,
        momentum: 0.5,
        ..Default::default()
    };
    Sgd::new(model.parameters(), options)
}

fn trainer(dev: &Device, lr: f64) -> Trainer<nn::Linear, Sgd, Batch> {
    let model = line(dev);
    let sgd = sgd(&model, lr);
    Trainer::new(model, sgd).criterion(loss::mse_loss)
}

/// Keeps all records.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<(Vec<StepRecord>, Vec<EpochRecord>)>>);

impl Callback for Seen {
    fn step(&mut self, record: &StepRecord) -> wgrad::Result<Control> {
        self.0.lock().unwrap().0.push(record.clone());
        Ok(Control::Continue)
    }

    fn epoch(&mut self, record: &EpochRecord) -> wgrad::Result<Control> {
        self.0.lock().unwrap().1.push(record.clone());
        Ok(Control::Continue)
    }
}

fn scratch(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("trainer-{name}"));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// The same steps by hand, in f64: the losses of the batches.
fn by_hand(batches: &[Batch], epochs: usize, lr: impl Fn(usize) -> f64) -> Vec<f64> {
    let (mut w, mut v) = ([0.5, -0.5, 0.25, 0.125], [0.0; 4]);
    let mut losses = Vec::new();
    for step in 0..epochs * batches.len() {
        let batch = &batches[step % batches.len()];
        let (x, y) = (
            batch.x.to_vec::<f32>().unwrap(),
            batch.y.to_vec::<f32>().unwrap(),
        );
        let (mut loss, mut g) = (0.0, [0.0; 4]);
        for (x, y) in x.chunks(3).zip(&y) {
            let x = [f64::from(x[0]), f64::from(x[1]), f64::from(x[2]), 1.0];
            let off = (0..4).map(|i| w[i] * x[i]).sum::<f64>() - f64::from(*y);
            loss += off * off / y_len(batch);
            (0..4).for_each(|i| g[i] += 2.0 * off * x[i] / y_len(batch));
        }
        for i in 0..4 {
            v[i] = if step == 0 { g[i] } else { 0.5 * v[i] + g[i] };
            w[i] -= lr(step) * v[i];
        }
        losses.push(loss);
    }
    losses
}

fn y_len(batch: &Batch) -> f64 {
    batch.y.numel().unwrap() as f64
}

#[test]
fn records_are_those_of_a_loop_by_hand() {
    for dev in all() {
        let train = data(&dev, 5, 8);
        let seen = Seen::default();
        let schedule = CosineAnnealingLr {
            t_max: 15,
            eta_min: 0.001,
        };
        let mut trainer = trainer(&dev, 0.1)
            .schedule(schedule)
            .metric(RootMeanSquaredError)
            .log_every(1)
            .callback(seen.clone());
        let fit = trainer.fit(&train, &train, Epochs(3)).unwrap();
        assert_eq!(
            (fit.stop, fit.history.len(), trainer.steps()),
            (Stop::Finished, 3, 15)
        );

        let lr = |step: usize| schedule.at(step as u64, 0, 0.1).unwrap().lr;
        let expected = by_hand(&train, 3, lr);
        let (steps, epochs) = seen.0.lock().unwrap().clone();
        assert_eq!(steps.len(), 15);
        for (i, record) in steps.iter().enumerate() {
            assert_eq!(
                (record.epoch, record.step),
                (i as u64 / 5 + 1, i as u64 + 1)
            );
            assert_eq!(record.lr, lr(i));
            let loss = record.scores.loss();
            assert!(
                (loss - expected[i]).abs() < 1e-5,
                "step {i}: {loss}, not {}",
                expected[i]
            );
        }
        for (record, losses) in epochs.iter().zip(expected.chunks(5)) {
            let mean = losses.iter().sum::<f64>() / 5.0;
            assert!((record.train.loss() - mean).abs() < 1e-5);
            assert!((record.train.get("rmse").unwrap() - mean.sqrt()).abs() < 1e-5);
            // The validation sees the model after the epoch.
            let valid = record.valid.as_ref().unwrap();
            assert!((valid.get("rmse").unwrap() - valid.loss().sqrt()).abs() < 1e-5);
        }
        let scores = trainer.evaluate(&train).unwrap();
        assert_eq!(Some(&scores), epochs[2].valid.as_ref());
    }
}

#[test]
fn reads_once_per_interval() {
    for dev in all() {
        let train = data(&dev, 40, 4);
        let valid = data(&dev, 3, 4);
        let mut trainer = trainer(&dev, 0.01)
            .metric(MeanAbsoluteError)
            .metric(R2Score)
            .clip_norm(1.0)
            .log_every(10);
        dev.synchronize().unwrap();
        let before = dev.stats().reads;
        let _ = trainer.fit(&train, &valid, Epochs(2)).unwrap();
        // Per epoch: after steps 10, 20, 30, 40, and once after the validation.
        assert_eq!(dev.stats().reads - before, 2 * 5);
    }
}

#[test]
fn accumulated_batches_are_one_larger_batch() {
    let dev = cpu();
    let small = data(&dev, 8, 4);
    let large: Vec<Batch> = small
        .chunks(4)
        .map(|four| {
            let cat = |pick: fn(&Batch) -> &Tensor| {
                Tensor::cat(&four.iter().map(pick).collect::<Vec<_>>(), 0)
            };
            Batch {
                x: cat(|b| &b.x),
                y: cat(|b| &b.y),
            }
        })
        .collect();
    let weights = |batches: &Vec<Batch>, count: usize| {
        let mut trainer = trainer(&dev, 0.05).accumulate(count);
        let fit = trainer.fit_without_validation(batches, Epochs(3)).unwrap();
        assert_eq!(trainer.steps(), 6);
        let loss = fit.last().unwrap().train.loss();
        (trainer.model().weight.to_vec::<f32>().unwrap(), loss)
    };
    let ((a, loss_a), (b, loss_b)) = (weights(&small, 4), weights(&large, 1));
    assert!(
        a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6),
        "{a:?} {b:?}"
    );
    assert!((loss_a - loss_b).abs() < 1e-6);
    // Eight batches in steps of three: the rest makes a step.
    let mut trainer = trainer(&dev, 0.05).accumulate(3);
    let _ = trainer.fit_without_validation(&small, Epochs(1)).unwrap();
    assert_eq!(trainer.steps(), 3);
}

#[test]
fn a_second_fit_goes_on() {
    let dev = cpu();
    let train = data(&dev, 6, 4);
    let mut whole = trainer(&dev, 0.05);
    let whole = whole.fit(&train, &train, Epochs(4)).unwrap();
    let mut parts = trainer(&dev, 0.05);
    let _ = parts.fit(&train, &train, Epochs(1)).unwrap();
    let parts = parts.fit(&train, &train, Epochs(4)).unwrap();
    let losses = |fit: &Fit| -> Vec<f64> { fit.history.iter().map(|e| e.train.loss()).collect() };
    assert_eq!(losses(&whole), losses(&parts));
    // A budget of steps ends in the middle of an epoch, with its validation.
    let mut steps = trainer(&dev, 0.05);
    let fit = steps.fit(&train, &train, Steps(8)).unwrap();
    assert_eq!(
        (steps.steps(), fit.history.len(), fit.history[1].step),
        (8, 2, 8)
    );
    assert!(fit.history[1].valid.is_some());
}

#[test]
fn it_stops_when_nothing_gets_better() {
    let dev = cpu();
    let train = data(&dev, 4, 4);
    // A learning rate of 0 gets no better than after the first epoch.
    let mut stopped = trainer(&dev, 0.0).early_stopping(EarlyStopping {
        patience: 3,
        ..Default::default()
    });
    let fit = stopped.fit(&train, &train, Epochs(50)).unwrap();
    assert_eq!((fit.stop, fit.history.len()), (Stop::Early, 4));
    // A metric of which more is better.
    let mut stopped = trainer(&dev, 0.0)
        .metric(R2Score)
        .monitor("r2")
        .early_stopping(EarlyStopping {
            monitor: "r2".into(),
            patience: 2,
            min_delta: 0.0,
        });
    let fit = stopped.fit(&train, &train, Epochs(50)).unwrap();
    assert_eq!(fit.history.len(), 3);
    let unknown = EarlyStopping {
        monitor: "f1".into(),
        ..Default::default()
    };
    let error = trainer(&dev, 0.1)
        .early_stopping(unknown)
        .fit(&train, &train, Epochs(1));
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with("fit: no score is called f1; there are: loss (tests/trainer.rs:"),
        "{error}"
    );
}

#[test]
fn schedules_of_epochs_and_plateaus() {
    let dev = cpu();
    let train = data(&dev, 3, 4);
    let rates = |trainer: &mut Trainer<nn::Linear, Sgd, Batch>| -> Vec<f64> {
        let fit = trainer.fit(&train, &train, Epochs(6)).unwrap();
        fit.history.iter().map(|epoch| epoch.lr).collect()
    };
    let mut steps = trainer(&dev, 0.25).schedule_epochs(StepLr {
        step_size: 2,
        gamma: 0.5,
    });
    assert_eq!(
        rates(&mut steps),
        [0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625]
    );
    // Diverging: no epoch is better than the first.
    let mut falls = trainer(&dev, 2.0).plateau(ReduceLrOnPlateau {
        patience: 0,
        factor: 0.5,
        ..Default::default()
    });
    let rates = rates(&mut falls);
    assert_eq!(rates[..3], [2.0, 2.0, 1.0]);
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Batches of a type of one's own.
struct Pairs(Vec<(Tensor, Tensor, Tensor)>);

impl Batches for Pairs {
    type Batch = (Tensor, Tensor, Tensor);

    fn epoch(
        &self,
        _epoch: u64,
        from: usize,
    ) -> Box<dyn Iterator<Item = wgrad::Result<Self::Batch>> + '_> {
        Box::new(self.0.iter().skip(from).cloned().map(Ok))
    }

    fn num_batches(&self) -> Option<usize> {
        None
    }
}

#[test]
fn own_batches_and_losses() {
    let dev = cpu();
    let pairs = data(&dev, 4, 6)
        .into_iter()
        .map(|b| (b.x.clone(), b.x * 0.5, b.y));
    let pairs = Pairs(pairs.collect());
    let model = line(&dev);
    let optimizer = sgd(&model, 0.1);
    let mut trainer = Trainer::new(model, optimizer)
        .loss_with(|model: &nn::Linear, (a, b, y): &(Tensor, Tensor, Tensor)| {
            let prediction = model.forward(&(a + b))?;
            Ok((loss::mse_loss(&prediction, y), prediction, y.clone()))
        })
        .metric(MeanAbsoluteError);
    let fit = trainer.fit(&pairs, &pairs, Epochs(10)).unwrap();
    let losses: Vec<f64> = fit.history.iter().map(|e| e.train.loss()).collect();
    assert!(losses[9] < losses[0] * 0.2, "{losses:?}");
}

/// Mixed precision comes to the same loss, and goes on exactly from a checkpoint, with its scaler.
#[test]
fn mixed_precision() {
    for dev in all() {
        let train = data(&dev, 8, 16);
        let last = |fit: &Fit| fit.last().unwrap().score("loss").unwrap();
        let plain = last(&trainer(&dev, 0.05).fit(&train, &train, Epochs(12)).unwrap());
        for dtype in [DType::F16, DType::BF16] {
            let mixed = || trainer(&dev, 0.05).mixed_precision(dtype).clip_norm(10.0);
            let whole = mixed().fit(&train, &train, Epochs(12)).unwrap();
            assert!(
                (last(&whole) - plain).abs() < 0.05 * plain,
                "{} {plain}",
                last(&whole)
            );
            let directory = scratch("mixed");
            for epochs in [5, 12] {
                let mut part = mixed().checkpoints(&directory, Keep::Last(1));
                let fit = part.fit(&train, &train, Epochs(epochs)).unwrap();
                let losses = |fit: &Fit| -> Vec<f64> {
                    fit.history.iter().map(|e| e.train.loss()).collect()
                };
                assert_eq!(losses(&fit), losses(&whole)[..epochs as usize]);
            }
        }
        let error = trainer(&dev, 0.1)
            .mixed_precision(DType::F32)
            .fit(&train, &train, Epochs(1));
        assert!(
            error
                .unwrap_err()
                .to_string()
                .starts_with("mixed_precision: f16 or bf16, not f32")
        );
    }
}
