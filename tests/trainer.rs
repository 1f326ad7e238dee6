//! The trainer: what it records, reads, keeps and refuses.

mod devices;

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

/// A model whose logarithm meets a number below 0 in one batch.
#[derive(Module)]
struct Logarithm {
    inner: nn::Linear,
}

impl Forward for Logarithm {
    fn forward(&self, x: &Tensor) -> wgrad::Result<Tensor> {
        (self.inner.forward(x)? + x.select(1, 2).unsqueeze(1) * 100.0 + 300.0)
            .ln()
            .checked()
    }
}

/// The line of the logarithm above.
fn line_of_ln() -> usize {
    let mut lines = include_str!("trainer.rs").lines();
    lines
        .position(|line| line.trim_start().starts_with(".ln()"))
        .unwrap()
        + 1
}

#[test]
fn nan_is_traced_to_its_line() {
    for dev in all() {
        let mut train = data(&dev, 30, 4);
        train[22].x = Tensor::full([4, 3], -4.0, &dev);
        for checkpoints in [false, true] {
            let model = Logarithm { inner: line(&dev) };
            let sgd = sgd(&model.inner, 0.0001);
            let mut trainer = Trainer::new(model, sgd)
                .criterion(|x, y| (x - y).sqr().mean())
                .log_every(7);
            if checkpoints {
                let directory = scratch("nan");
                trainer = trainer
                    .checkpoints(directory, Keep::Last(1))
                    .checkpoint_every(5);
            }
            let error = trainer
                .fit_without_validation(&train, Epochs(3))
                .unwrap_err();
            let told = error.to_string();
            assert!(matches!(error.root(), Error::NotANumber { .. }), "{told}");
            let begin = "the loss is NaN in epoch 1, batch 23 (step 23): ln: the result has NaN";
            assert!(told.starts_with(begin), "{told}");
            assert!(
                told.contains(&format!("tests/trainer.rs:{}:", line_of_ln())),
                "{told}"
            );
            // The model is as it was before that step.
            let weights = trainer.model().inner.weight.to_vec::<f32>().unwrap();
            assert!(weights.iter().all(|w| w.is_finite()), "{weights:?}");
        }
        // NaN in the data is told as such.
        train[22].x = Tensor::full([4, 3], f64::NAN, &dev);
        let error = trainer(&dev, 0.001)
            .fit_without_validation(&train, Epochs(1))
            .unwrap_err();
        let told = error.to_string();
        assert!(
            told.contains("epoch 1, batch 23") && told.contains("NaN"),
            "{told}"
        );
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn checkpoints_are_kept_as_asked() {
    let dev = cpu();
    let train = data(&dev, 2, 4);
    let kept = |keep: Keep, lr: f64| {
        let directory = scratch("keep");
        let mut trainer = trainer(&dev, lr).checkpoints(&directory, keep);
        let fit = trainer.fit(&train, &train, Epochs(5)).unwrap();
        (names(&directory), fit)
    };
    assert_eq!(
        kept(Keep::Last(2), 0.1).0,
        ["step-000000008", "step-000000010"]
    );
    assert_eq!(kept(Keep::All, 0.1).0.len(), 5);
    // Diverging: the first ones are the best; the last one stays to go on from.
    let (found, fit) = kept(Keep::Best(2), 2.0);
    let valid: Vec<f64> = fit
        .history
        .iter()
        .map(|e| e.score("loss").unwrap())
        .collect();
    assert!(valid[0] < valid[1] && valid[1] < valid[2], "{valid:?}");
    assert_eq!(
        found,
        ["step-000000002", "step-000000004", "step-000000010"]
    );
    // What the file holds is the model's.
    let model = line(&dev);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trainer-keep/step-000000010");
    model
        .load_safetensors(directory.join("model.safetensors"), Strict)
        .unwrap();
}

#[test]
fn damage_is_noticed_and_told() {
    let dev = cpu();
    let train = data(&dev, 2, 4);
    let directory = scratch("damage");
    let run = |epochs: u64| {
        let mut trainer = trainer(&dev, 0.1).checkpoints(&directory, Keep::All);
        trainer.fit(&train, &train, Epochs(epochs))
    };
    let whole = run(3).unwrap();
    let last = directory.join("step-000000006");
    for file in ["model.safetensors", "optimizer.safetensors", "trainer.json"] {
        let path = last.join(file);
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        let middle = flipped.len() - 20;
        flipped[middle] ^= 4;
        for bad in [&flipped[..], &good[..good.len() / 2], &[]] {
            std::fs::write(&path, bad).unwrap();
            let error = run(4).unwrap_err();
            let told = error.to_string();
            assert!(matches!(error, Error::File { .. }), "{told}");
            assert!(
                told.contains(file) && told.contains("damaged checkpoint"),
                "{told}"
            );
            let advice = format!(
                "remove {} to go on from {}",
                last.display(),
                directory.join("step-000000004").display()
            );
            assert!(told.contains(&advice), "{told}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(
            run(4)
                .unwrap_err()
                .to_string()
                .contains("damaged checkpoint")
        );
        std::fs::write(&path, good).unwrap();
    }
    // As advised.
    std::fs::remove_dir_all(&last).unwrap();
    assert_eq!(run(3).unwrap().history[2].train, whole.history[2].train);
    // A checkpoint of another model.
    let model = nn::Linear::new(4, 1, &dev);
    let other = sgd(&model, 0.1);
    let mut other = Trainer::new(model, other)
        .criterion(loss::mse_loss)
        .checkpoints(&directory, Keep::All);
    let told = other
        .fit(&train, &train, Epochs(9))
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("step-000000006") && told.contains("weight"),
        "{told}"
    );
    // A directory that cannot be one.
    let file = directory.join("file");
    std::fs::write(&file, "").unwrap();
    let mut nowhere = trainer(&dev, 0.1).checkpoints(file.join("run"), Keep::All);
    let error = nowhere.fit(&train, &train, Epochs(1)).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
    assert_eq!(nowhere.steps(), 0);
}

#[test]
fn what_is_missing_is_told() {
    let dev = cpu();
    let train = data(&dev, 2, 4);
    let model = line(&dev);
    let optimizer = sgd(&model, 0.1);
    let mut without = Trainer::new(model, optimizer)
        .loss(|model, batch| Ok(loss::mse_loss(&model.forward(&batch.x)?, &batch.y)))
        .metric(R2Score);
    let told = without
        .fit_without_validation(&train, Epochs(1))
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("r2 needs predictions") && told.contains("tests/trainer.rs:"),
        "{told}"
    );
    let told = trainer(&dev, 0.1)
        .accumulate(0)
        .fit_without_validation(&train, Epochs(1));
    let told = told.unwrap_err().to_string();
    assert!(
        told.starts_with("accumulate: must be at least 1, not 0 (tests/trainer.rs:"),
        "{told}"
    );
    let told = trainer(&dev, 0.1).fit_without_validation(&Vec::<Batch>::new(), Steps(3));
    assert!(
        told.unwrap_err()
            .to_string()
            .contains("epoch 1 has no batches")
    );
    let misfit = vec![Batch {
        x: Tensor::zeros([4, 7], &dev),
        y: Tensor::zeros([4, 1], &dev),
    }];
    let told = trainer(&dev, 0.1)
        .fit_without_validation(&misfit, Epochs(1))
        .unwrap_err();
    assert!(told.to_string().contains("[4, 7]"), "{told}");
    // A loader that cannot load, and a schedule that cannot be: the user's line, not one of the trainer.
    let told = trainer(&dev, 0.1)
        .schedule(StepLr {
            step_size: 0,
            gamma: 0.5,
        })
        .fit_without_validation(&train, Epochs(1));
    let told = told.unwrap_err().to_string();
    assert!(
        told.contains("step_size") && told.contains("tests/trainer.rs:"),
        "{told}"
    );
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

#[test]
fn everything_is_written() {
    let dev = cpu();
    let directory = scratch("written");
    let classes = |seed| {
        let x = Tensor::from_vec(fill(seed, 30 * 64, 1.0), [30, 1, 8, 8], &dev);
        let y = x.mean_dims([1, 2, 3], false).gt(0.0).to_dtype(DType::I32);
        Batch { x, y }
    };
    let train: Vec<Batch> = (0..9).map(classes).collect();
    let model = nn::Sequential::from((nn::Flatten::default(), nn::Linear::new(64, 2, &dev)));
    let adam = Adam::new(model.parameters(), AdamOptions::default());
    let mut trainer = Trainer::new(model, adam)
        .criterion(|x, y| x.cross_entropy(y))
        .metric(Accuracy::new())
        .metric(ConfusionMatrix)
        .log_every(3)
        .progress()
        .json_lines(directory.join("log/steps.jsonl"))
        .tensorboard(directory.join("events"))
        .curves(directory.join("curves"))
        .report(directory.join("report.html"));
    let _ = trainer.fit(&train, &train, Epochs(4)).unwrap();

    let log = std::fs::read_to_string(directory.join("log/steps.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4 * 3 + 4);
    assert_eq!(
        (&lines[3]["kind"], &lines[3]["step"]),
        (&"epoch".into(), &9.into())
    );
    assert_eq!(
        names(&directory.join("curves")),
        ["accuracy.png", "loss.png"]
    );
    let png = std::fs::read(directory.join("curves/loss.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG") && png.len() > 5000);
    let page = std::fs::read_to_string(directory.join("report.html")).unwrap();
    for part in [
        "<svg",
        "Confusion matrix",
        "data:image/png;base64",
        "Linear(64, 2)",
        "finished",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(
        !page.contains("http://")
            || page.matches("http://").count() == page.matches("http://www.w3.org").count()
    );
    let events = names(&directory.join("events"));
    assert_eq!(events.len(), 1);
    // Records: length, its checksum, the message, its checksum; and nothing behind.
    let bytes = std::fs::read(directory.join("events").join(&events[0])).unwrap();
    let (mut at, mut records) = (0, 0);
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        at += 8 + 4 + length as usize + 4;
        records += 1;
    }
    assert_eq!((at, records), (bytes.len(), 1 + 4 * 3 + 4 * 2));
}

/// What TensorBoard itself reads in the files; `WGRAD_PYTHON` names a Python that has the package `tensorboard`.
#[test]
fn tensorboard_reads_the_events() {
    let Ok(python) = std::env::var("WGRAD_PYTHON") else {
        use std::io::Write;
        let told = "SKIPPED: WGRAD_PYTHON names no Python with the package tensorboard";
        writeln!(std::io::stderr(), "{told}").unwrap();
        return;
    };
    let dev = cpu();
    let directory = scratch("tensorboard");
    let train = data(&dev, 6, 4);
    let mut whole = Vec::new();
    // The second process begins again after the first one's checkpoint: nothing is told twice.
    for epochs in [2, 3] {
        let mut part = trainer(&dev, 0.05)
            .metric(RootMeanSquaredError)
            .log_every(2)
            .checkpoints(directory.join("checkpoints"), Keep::Last(1))
            .tensorboard(directory.join("events"));
        whole = part.fit(&train, &train, Epochs(epochs)).unwrap().history;
    }
    let program = r#"
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
for tag in sorted(events.Tags()["scalars"]):
    for e in events.Scalars(tag):
        print(tag, e.step, repr(e.value))
"#;
    let output = std::process::Command::new(python)
        .args(["-c", program])
        .arg(directory.join("events"))
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let of = |tag: &str| -> Vec<(u64, f64)> {
        let lines = told.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mine = lines.filter(|parts| parts[0] == tag);
        mine.map(|parts| (parts[1].parse().unwrap(), parts[2].parse().unwrap()))
            .collect()
    };
    let steps: Vec<u64> = of("loss").iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [2, 4, 6, 8, 10, 12, 14, 16, 18]);
    let expected = whole
        .iter()
        .map(|e| (e.step, e.score("rmse").unwrap() as f32 as f64));
    assert_eq!(of("valid/rmse"), expected.collect::<Vec<_>>());
    assert_eq!(of("lr").len(), 9);
}

/// A device that is lost: the error says from where the training goes on.
#[test]
fn a_lost_device_names_the_last_checkpoint() {
    let dev = cpu();
    let directory = scratch("lost");
    let train = data(&dev, 5, 4);
    let calls = std::cell::Cell::new(0);
    let model = line(&dev);
    let optimizer = sgd(&model, 0.1);
    let mut trainer = Trainer::new(model, optimizer)
        .loss(move |model: &nn::Linear, batch: &Batch| {
            calls.set(calls.get() + 1);
            match calls.get() {
                8 => Err(Error::DeviceLost("the driver was reset".into())),
                _ => Ok(loss::mse_loss(&model.forward(&batch.x)?, &batch.y)),
            }
        })
        .checkpoints(&directory, Keep::All);
    let error = trainer
        .fit_without_validation(&train, Epochs(3))
        .unwrap_err();
    assert!(matches!(error.root(), Error::DeviceLost(_)));
    let expected = format!(
        "training stopped after step 7; run the program again to go on from {}: device lost: the driver was reset",
        directory.join("step-000000005").display()
    );
    assert_eq!(error.to_string(), expected);
}

/// The moment from which NaN is looked for is kept of small models only: of a large one nothing is held beside its
/// parameters and their gradients.
#[test]
fn a_large_model_is_not_copied() {
    let dev = cpu();
    let model = nn::Linear::new(2500, 2500, &dev);
    let bytes = 4 * (2500 * 2500 + 2500);
    let (x, y) = (Tensor::ones([2, 2500], &dev), Tensor::ones([2, 2500], &dev));
    let sgd = Sgd::new(model.parameters(), SgdOptions::default());
    let (seen, device) = (Arc::new(Mutex::new(Vec::new())), dev.clone());
    let live = seen.clone();
    let mut trainer =
        Trainer::new(model, sgd)
            .criterion(loss::mse_loss)
            .callback(move |_: &EpochRecord| {
                live.lock().unwrap().push(device.stats().live_bytes);
                Ok(Control::Continue)
            });
    let batches = vec![Batch { x, y }; 55];
    let _ = trainer.fit_without_validation(&batches, Epochs(2)).unwrap();
    for live in seen.lock().unwrap().iter() {
        assert!(
            *live < bytes * 2 + (1 << 20),
            "{live} bytes of a model of {bytes}"
        );
    }
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
