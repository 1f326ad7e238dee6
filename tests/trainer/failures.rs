//! NaN, which is traced to its line without copying large models, and what the trainer refuses.

use super::*;

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
    let mut lines = include_str!("failures.rs").lines();
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
                told.contains(&format!("tests/trainer/failures.rs:{}:", line_of_ln())),
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
        told.contains("r2 needs predictions") && told.contains("tests/trainer/failures.rs:"),
        "{told}"
    );
    let told = trainer(&dev, 0.1)
        .accumulate(0)
        .fit_without_validation(&train, Epochs(1));
    let told = told.unwrap_err().to_string();
    assert!(
        told.starts_with("accumulate: must be at least 1, not 0 (tests/trainer/failures.rs:"),
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
        told.contains("step_size") && told.contains("tests/trainer/failures.rs:"),
        "{told}"
    );
}
