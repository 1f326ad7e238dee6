//! What the trainer writes: lines of JSON, curves, a report, and the events of TensorBoard.

use super::*;

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
