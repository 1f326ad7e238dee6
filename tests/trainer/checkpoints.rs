//! What the trainer keeps to go on from, and what it says of what is damaged.

use std::path::Path;

use super::*;

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
