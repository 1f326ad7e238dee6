//! Metrics against scikit-learn's values (1.x; the script is tests/reference/metrics.py), in batches of odd sizes, on both
//! devices.

mod devices;

use devices::{all, cpu};
use wgrad::prelude::*;
use wgrad::train::*;

/// Scores of 97 examples for 4 classes, times 4: exact in every float type, with ties.
const SCORES: [i8; 388] = [
    -2, 12, -9, 12, -4, -12, 9, 7, -2, -1, -3, -2, 9, 11, -6, -12, 8, 0, -5, 2, 12, 5, 10, -10,
    -10, -11, 7, -7, -4, 2, -11, -2, 12, -5, 12, -1, -11, 3, 4, -7, 8, 5, 9, 2, 8, 11, 10, -12,
    -12, -3, 6, 8, -7, 12, 12, -5, -7, 2, -11, 5, -11, 9, 9, 11, -2, -1, -8, -9, 4, 4, -12, 4, 6,
    6, -1, 11, -12, 1, -7, 4, -11, 8, 5, 6, -10, -8, -4, 0, 4, -2, 10, 4, -8, 5, 9, 5, 12, -4, -5,
    -12, 4, -3, -11, 3, 11, 12, 11, -1, 8, -2, 4, 4, 0, -8, 0, 0, 7, 4, 12, -10, -5, 6, -11, -9, 1,
    6, 8, -11, 6, -10, 11, -9, 8, 5, 10, -1, -5, -11, -1, -12, 4, 9, -1, -4, 8, -4, 12, 2, 0, 7,
    -8, -3, 6, -7, 8, 11, -3, -2, 5, -3, -12, 1, 0, -5, -8, -2, -4, 12, 8, 0, 5, 8, -12, 9, 10, -5,
    -12, 11, 12, -11, 9, 7, 3, -1, 10, -3, 5, 7, -5, 1, -8, -3, 1, 1, -12, 12, 3, -8, 11, -2, 12,
    9, -6, 11, 0, 3, 2, -2, -1, -9, 9, 5, -4, -10, -1, 12, -8, 9, -12, 12, 1, -5, -11, -10, 9, -10,
    2, -2, -5, 0, -1, 10, -5, 5, 9, -5, 0, 0, 9, -3, -5, -10, 3, 10, 1, -8, -4, 8, -3, 7, -4, -7,
    10, 0, -9, 12, 8, -10, -1, 11, 11, 6, 6, -12, -5, 9, -12, 2, 7, -9, -7, 9, 2, 8, 11, 1, 0, 6,
    -10, -6, -6, 7, 1, 10, -5, 1, -5, -12, 0, -4, -8, -2, 9, -8, 9, 0, -12, -9, 1, 9, -8, -10, -7,
    5, -5, -3, -6, 1, -12, -11, -5, -12, -9, 11, 7, 2, -7, 10, 0, -1, -11, 3, 9, -9, -6, 2, 3, 12,
    2, -1, -7, 10, 3, 11, 4, -10, -11, -6, 6, 6, 9, 0, 11, 5, -8, -5, -2, -9, 5, -2, -10, 7, -11,
    9, 8, 2, 9, 2, 6, 0, -8, 5, -9, -10, 0, 5, -2, -8, 9, -4, 7, -11, 6, -6, -7, 11, 5, -1, -9, -2,
    7, 9, 4, -5, -10, 0, -6, 4,
];
const CLASSES: [i32; 97] = [
    3, 3, 1, 0, 0, 2, 1, 1, 2, 2, 0, 1, 3, 1, 0, 0, 2, 2, 0, 1, 0, 3, 3, 0, 0, 3, 2, 3, 0, 1, 2, 0,
    1, 0, 0, 0, 0, 0, 3, 2, 1, 1, 3, 2, 0, 1, 1, 1, 0, 1, 0, 3, 3, 0, 1, 3, 1, 0, 3, 3, 1, 1, 1, 1,
    1, 0, 1, 3, 0, 0, 1, 0, 0, 3, 1, 0, 0, 3, 1, 1, 0, 0, 1, 3, 0, 3, 3, 3, 1, 1, 3, 1, 1, 3, 1, 2,
    0,
];

/// The examples in batches of 40, 1, 33 and 23.
fn batches(dev: &Device) -> Vec<(Tensor, Tensor)> {
    let scores: Vec<f32> = SCORES.iter().map(|&s| f32::from(s) / 4.0).collect();
    let scores = Tensor::from_vec(scores, [97, 4], dev);
    let classes = Tensor::from_slice(&CLASSES, [97], dev);
    let mut begin = 0;
    [40, 1, 33, 23]
        .map(|n| {
            let batch = (scores.narrow(0, begin, n), classes.narrow(0, begin, n));
            begin += n;
            batch
        })
        .into()
}

fn close(name: &str, found: Option<f64>, expected: f64) {
    let found = found.unwrap_or(f64::NAN);
    assert!(
        (found - expected).abs() <= 2e-6 * expected.abs().max(1e-3),
        "{name}: {found}, not {expected}"
    );
}

/// A metric over what `view` makes of each batch.
fn value(
    metric: impl Metric + 'static,
    batches: &[(Tensor, Tensor)],
    view: impl Fn(&Tensor, &Tensor) -> (Tensor, Tensor),
) -> Value {
    let mut meter = Meter::new(metric);
    for (x, y) in batches {
        let (x, y) = view(x, y);
        meter.update(&x, &y).unwrap();
    }
    meter.value().unwrap()
}

fn same(x: &Tensor, y: &Tensor) -> (Tensor, Tensor) {
    (x.clone(), y.clone())
}

#[test]
fn classes() {
    for dev in all() {
        let all = batches(&dev);
        let check = |name: &str, value: Value, expected: f64| close(name, value.number(), expected);
        check(
            "accuracy",
            value(Accuracy::new(), &all, same),
            0.27835051546391754,
        );
        check(
            "top 2",
            value(Accuracy::top(2), &all, same),
            0.5257731958762887,
        );
        check(
            "precision macro",
            value(
                Precision {
                    average: Average::Macro,
                },
                &all,
                same,
            ),
            0.27807692307692305,
        );
        check(
            "recall macro",
            value(
                Recall {
                    average: Average::Macro,
                },
                &all,
                same,
            ),
            0.28084239130434785,
        );
        check(
            "f1 macro",
            value(
                F1Score {
                    average: Average::Macro,
                },
                &all,
                same,
            ),
            0.2652222162074379,
        );
        check(
            "precision micro",
            value(
                Precision {
                    average: Average::Micro,
                },
                &all,
                same,
            ),
            0.27835051546391754,
        );
        check(
            "recall micro",
            value(
                Recall {
                    average: Average::Micro,
                },
                &all,
                same,
            ),
            0.27835051546391754,
        );
        check(
            "f1 micro",
            value(
                F1Score {
                    average: Average::Micro,
                },
                &all,
                same,
            ),
            0.27835051546391754,
        );
        check(
            "auroc",
            value(Auroc { classes: 4 }, &all, same),
            0.5294244988667308,
        );
        check(
            "average precision",
            value(AveragePrecision { classes: 4 }, &all, same),
            0.2832347135148856,
        );
        check(
            "perplexity",
            value(Perplexity, &all, same),
            9.788537029932993,
        );
        let matrix = value(ConfusionMatrix, &all, same);
        let expected = vec![
            vec![6, 6, 10, 10],
            vec![6, 12, 4, 10],
            vec![3, 4, 3, 0],
            vec![5, 4, 8, 6],
        ];
        assert_eq!(matrix, Value::Matrix(expected));
    }
}

#[test]
fn yes_and_no() {
    for dev in all() {
        let all = batches(&dev);
        let one = |x: &Tensor, y: &Tensor| (x.select(1, 1), y.eq(1).to_dtype(DType::F32));
        let check = |name: &str, value: Value, expected: f64| close(name, value.number(), expected);
        let average = Average::Positive;
        check(
            "precision",
            value(Precision { average }, &all, one),
            0.3469387755102041,
        );
        check("recall", value(Recall { average }, &all, one), 0.53125);
        check(
            "f1",
            value(F1Score { average }, &all, one),
            0.41975308641975306,
        );
        check(
            "accuracy",
            value(Accuracy::new(), &all, one),
            0.5154639175257731,
        );
        check(
            "auroc",
            value(Auroc::default(), &all, one),
            0.5038461538461538,
        );
        check(
            "average precision",
            value(AveragePrecision::default(), &all, one),
            0.35472685633836526,
        );
    }
}

#[test]
fn numbers() {
    for dev in all() {
        let all = batches(&dev);
        // Far from 0, where sums of squares lose all their digits.
        let far = |x: &Tensor, _: &Tensor| {
            let first = x.select(1, 0);
            (&first + 1000.0, x.select(1, 3) + &first * 0.5 + 1000.0)
        };
        let check = |name: &str, value: Value, expected: f64| close(name, value.number(), expected);
        check("r2", value(R2Score, &all, far), -0.04661755915624233);
        check(
            "mae",
            value(MeanAbsoluteError, &all, far),
            1.7783505154639174,
        );
        check(
            "rmse",
            value(RootMeanSquaredError, &all, far),
            2.1582824165735865,
        );
    }
}

#[test]
fn nothing_is_read_before_a_value_is_asked_for() {
    for dev in all() {
        let all = batches(&dev);
        dev.synchronize().unwrap();
        let before = dev.stats().reads;
        let mut meter = Meter::new(F1Score::default());
        for (x, y) in &all {
            meter.update(x, y).unwrap();
            dev.flush().unwrap();
        }
        assert_eq!(dev.stats().reads, before);
        meter.value().unwrap();
        assert_eq!(dev.stats().reads, before + 1);
    }
}

#[test]
fn edges() {
    let dev = cpu();
    // No batch, no example.
    assert!(
        Meter::new(Accuracy::new())
            .value()
            .unwrap()
            .number()
            .unwrap()
            .is_nan()
    );
    let (x, y) = (
        Tensor::zeros([0, 3], &dev),
        Tensor::zeros([0], (DType::I32, &dev)),
    );
    let none = [(x, y)];
    for value in [
        value(Accuracy::new(), &none, same),
        value(F1Score::default(), &none, same),
        value(Auroc { classes: 3 }, &none, same),
        value(Perplexity, &none, same),
    ] {
        assert!(value.number().unwrap().is_nan(), "{value:?}");
    }
    // NaN is never right, and no order.
    let x = Tensor::new([[f32::NAN, f32::NAN], [0.0, 1.0]], &dev);
    let y = Tensor::new([1, 1], &dev);
    let nan = [(x, y)];
    assert_eq!(value(Accuracy::top(1), &nan, same).number(), Some(0.5));
    assert!(
        value(Auroc { classes: 2 }, &nan, same)
            .number()
            .unwrap()
            .is_nan()
    );
    // Whole numbers beyond those of f32 within a batch.
    let many = Tensor::ones([(1 << 24) + 3], (DType::U8, &dev));
    let all = [(many.to_dtype(DType::F32), many)];
    assert_eq!(value(Accuracy::new(), &all, same).number(), Some(1.0));
}

#[test]
fn what_does_not_fit_is_told() {
    let dev = cpu();
    let mut meter = Meter::new(Accuracy::new());
    let (x, y) = (
        Tensor::zeros([4, 3], &dev),
        Tensor::zeros([5], (DType::I32, &dev)),
    );
    let error = meter.update(&x, &y).unwrap_err().to_string();
    assert!(
        error.contains("accuracy: metric: predictions of shape [4, 3] fit no targets of shape [5]"),
        "{error}"
    );
    assert!(error.contains("tests/metrics.rs:"), "{error}");
    let error = Meter::new(Auroc::default()).update(&x, &Tensor::zeros([4], &dev));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("3 scores per example, not 1 (`classes`)"),
        "{error}"
    );
}
