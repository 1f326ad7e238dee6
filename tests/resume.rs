//! A training that is killed at any moment and started again comes to the same numbers as one that never was.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wgrad::data::{Batch, Batches};
use wgrad::optim::schedule::{CosineAnnealingLr, warm_up};
use wgrad::prelude::*;
use wgrad::train::{Accuracy, Auroc, Epochs, Keep, Stop, Trainer};

const EPOCHS: u64 = 6;
const BATCHES: usize = 31;

/// Batches in another order in each epoch.
struct Shuffled(Device);

impl Batches for Shuffled {
    type Batch = Batch;

    fn epoch(
        &self,
        epoch: u64,
        from: usize,
    ) -> Box<dyn Iterator<Item = wgrad::Result<Batch>> + '_> {
        Box::new((from..BATCHES).map(move |number| {
            let generator = wgrad::Generator::new(epoch * 1000 + number as u64);
            let pause = std::env::var("WGRAD_TRAIN_PAUSE").unwrap();
            std::thread::sleep(Duration::from_millis(pause.parse().unwrap()));
            let x = generator.with(|| Tensor::randn([16, 8], &self.0));
            let y = x.sum_dims([1], false).gt(0.3).to_dtype(DType::I32);
            Ok(Batch { x, y })
        }))
    }

    fn num_batches(&self) -> Option<usize> {
        Some(BATCHES)
    }
}

fn train(directory: &Path) -> wgrad::Result<()> {
    let dev = wgrad::cpu();
    dev.seed(5);
    let model = nn::Sequential::from((
        nn::Linear::new(8, 32, &dev),
        nn::BatchNorm1d::new(32, &dev),
        nn::Relu,
        nn::Dropout::new(0.3),
        nn::Linear::new(32, 2, &dev),
    ));
    let adam = AdamW::new(model.parameters(), AdamWOptions::default());
    let mut trainer = Trainer::new(model, adam)
        .criterion(|logits, y| logits.cross_entropy(y))
        .metric(Accuracy::new())
        .metric(Auroc { classes: 2 })
        .schedule(warm_up(
            20,
            CosineAnnealingLr {
                t_max: 80,
                eta_min: 1e-5,
            },
        ))
        .accumulate(2)
        .clip_norm(1.0)
        .log_every(3)
        .checkpoints(directory.join("checkpoints"), Keep::Best(2))
        .checkpoint_every(4)
        .json_lines(directory.join("log.jsonl"));
    let data = Shuffled(dev);
    let fit = trainer.fit(&data, &data, Epochs(EPOCHS))?;
    if fit.stop == Stop::Interrupted {
        return Ok(());
    }
    assert_eq!(fit.stop, Stop::Finished);
    assert_eq!(fit.history.len(), EPOCHS as usize);
    trainer
        .model()
        .save_safetensors(directory.join("model.safetensors"))
}

/// Not a test of its own: what the test below starts as a process.
#[test]
fn child() {
    if let Ok(directory) = std::env::var("WGRAD_TRAIN_IN") {
        train(Path::new(&directory)).unwrap();
    }
}

fn start(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact"])
        .env("WGRAD_TRAIN_IN", directory)
        .env("WGRAD_TRAIN_PAUSE", "1")
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The log without times, and the trained model.
fn outcome(directory: &Path) -> (Vec<serde_json::Value>, Vec<u8>) {
    let log = std::fs::read_to_string(directory.join("log.jsonl")).unwrap();
    let lines = log.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("seconds");
        line
    });
    let model = std::fs::read(directory.join("model.safetensors")).unwrap();
    (lines.collect(), model)
}

fn scratch(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("resume-{name}"));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

#[test]
fn a_killed_training_goes_on_exactly() {
    let whole = scratch("whole");
    let begun = Instant::now();
    assert!(start(&whole).wait().unwrap().success());
    let time = begun.elapsed();
    let expected = outcome(&whole);
    let steps = expected.0.iter().filter(|line| line["kind"] == "step");
    assert_eq!(
        steps.count() as u64,
        EPOCHS * BATCHES.div_ceil(2) as u64 / 3
    );

    let seed = std::env::var("WGRAD_FUZZ_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    let mut random = seed.unwrap_or(1u64);
    let mut share = || {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (random >> 40) as f64 / f64::from(1 << 24)
    };
    let mut killed = 0;
    for trial in 0..20 {
        let directory = scratch(&format!("{trial}"));
        for _ in 0..2 {
            let mut child = start(&directory);
            std::thread::sleep(Duration::from_secs_f64(time.as_secs_f64() * share()));
            // SIGKILL, on Unix.
            killed += usize::from(child.try_wait().unwrap().is_none());
            let _ = child.kill();
            child.wait().unwrap();
        }
        assert!(start(&directory).wait().unwrap().success(), "trial {trial}");
        let found = outcome(&directory);
        for (found, expected) in found.0.iter().zip(&expected.0) {
            assert_eq!(found, expected, "trial {trial}");
        }
        assert_eq!(found.0.len(), expected.0.len(), "trial {trial}");
        assert!(found.1 == expected.1, "trial {trial}: another model");
        std::fs::remove_dir_all(&directory).unwrap();
    }
    assert!(
        killed >= 15,
        "only {killed} of 40 were killed while they trained"
    );
}

/// Ctrl-C: a checkpoint of that moment, a clean end, and the same numbers afterwards.
#[cfg(unix)]
#[test]
fn an_interrupted_training_goes_on_exactly() {
    let whole = scratch("not-interrupted");
    assert!(start(&whole).wait().unwrap().success());
    let directory = scratch("interrupted");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact"])
        .env("WGRAD_TRAIN_IN", &directory)
        .env("WGRAD_TRAIN_PAUSE", "10")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Once it writes, it trains.
    let log = directory.join("log.jsonl");
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::metadata(&log).map_or(0, |file| file.len()) == 0 {
        assert!(Instant::now() < deadline, "nothing was written");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(
        child.wait().unwrap().success(),
        "it ended as if it had failed"
    );
    assert!(
        !directory.join("model.safetensors").exists(),
        "it was not interrupted"
    );
    assert!(start(&directory).wait().unwrap().success());
    let (found, expected) = (outcome(&directory), outcome(&whole));
    assert_eq!(found.0, expected.0);
    assert!(found.1 == expected.1);
}

/// A disk that is full in the middle of a checkpoint: an error that names the file, and the last good one stays.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_checkpoint() {
    let directory = scratch("full");
    // Files of this process can have 2 KiB: the first file of a checkpoint is larger. The signal that says so would
    // end the process otherwise.
    let child = std::env::current_exe().unwrap();
    let limited = |limit: &str| {
        Command::new("sh")
            .args([
                "-c",
                "trap '' XFSZ; ulimit -f $1; exec \"$0\" child --exact",
                child.to_str().unwrap(),
                limit,
            ])
            .env("WGRAD_TRAIN_IN", &directory)
            .env("WGRAD_TRAIN_PAUSE", "1")
            .stdout(Stdio::piped())
            .output()
            .unwrap()
    };
    let failed = limited("2");
    let told = String::from_utf8_lossy(&failed.stdout);
    assert!(!failed.status.success());
    assert!(
        told.contains(".safetensors") && told.contains("File too large"),
        "{told}"
    );
    let left = std::fs::read_dir(directory.join("checkpoints")).unwrap();
    assert_eq!(left.count(), 0, "something half-written is left");
    // With room again.
    assert!(start(&directory).wait().unwrap().success());
}
