//! Sets that come with the library, against scikit-learn's figures.

use wgrad::data::{Dataset, Random, Standardization, generate, sets, split};

fn sum(set: &wgrad::data::Set) -> f64 {
    set.x.values().iter().map(|&v| f64::from(v)).sum()
}

fn counts(labels: &[i32]) -> Vec<usize> {
    let mut counts = vec![0; labels.iter().max().map_or(0, |&m| m as usize + 1)];
    for &label in labels {
        counts[label as usize] += 1;
    }
    counts
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs()
}

#[test]
fn the_sets_are_scikit_learns() {
    let digits = sets::digits();
    assert_eq!(digits.x.dims(), [1797, 64]);
    assert_eq!(sum(&digits), 561_718.0);
    assert_eq!(
        counts(&digits.y),
        [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    );
    assert_eq!(digits.class_names.concat(), "0123456789");
    assert_eq!(digits.feature_names[63], "pixel_7_7");

    let iris = sets::iris();
    assert_eq!(iris.x.dims(), [150, 4]);
    assert!(close(sum(&iris), 2078.7));
    assert_eq!(counts(&iris.y), [50, 50, 50]);
    assert_eq!(iris.x.row_values(149).unwrap(), [5.9, 3.0, 5.1, 1.8]);

    let wine = sets::wine();
    assert!(close(sum(&wine), 159_975.295_999), "{}", sum(&wine));
    assert_eq!(counts(&wine.y), [59, 71, 48]);

    let cancer = sets::breast_cancer();
    assert!(close(sum(&cancer), 1_056_474.459_635_6), "{}", sum(&cancer));
    assert_eq!(counts(&cancer.y), [212, 357]);
    assert_eq!(cancer.class_names, ["malignant", "benign"]);
    assert_eq!(cancer.feature_names[29], "worst fractal dimension");

    let diabetes = sets::diabetes();
    assert_eq!(diabetes.x.dims(), [442, 10]);
    assert_eq!(diabetes.y.iter().sum::<f32>(), 67_243.0);
    assert_eq!(
        diabetes.x.row_values(441).unwrap(),
        [36.0, 1.0, 19.6, 71.0, 250.0, 133.2, 97.0, 3.0, 4.5951, 92.0]
    );
}

#[test]
fn standardized_diabetes_is_what_scikit_learn_scales() {
    let set = sets::diabetes();
    let scaled = Standardization::of(&set.x).apply(&set.x).unwrap();
    // load_diabetes().data[0] * sqrt(442)
    let expected = [
        0.800_500_09,
        1.065_488_48,
        1.297_088_46,
        0.459_840_57,
        -0.929_746_48,
        -0.732_064_55,
        -0.912_451_17,
        -0.054_499_27,
        0.418_531_11,
        -0.370_989_28,
    ];
    for (a, b) in scaled.row_values(0).unwrap().iter().zip(expected) {
        assert!((f64::from(*a) - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn random_numbers_do_not_change_between_versions() {
    let mut random = Random::new(7);
    let got: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
    assert_eq!(got, RANDOM);
    assert_eq!(Random::new(3).permutation(8), PERMUTATION);
}

const RANDOM: [u64; 3] = [
    0x57c3_24c9_6eea_3787,
    0x45a3_c0ce_45da_cd67,
    0x1123_2915_1d0e_ae7a,
];
const PERMUTATION: [usize; 8] = [0, 5, 4, 3, 7, 6, 2, 1];

#[test]
fn random_numbers_have_their_distributions() {
    let mut random = Random::new(1);
    let n = 200_000;
    let mut moments = |draw: &mut dyn FnMut(&mut Random) -> f64| {
        let values: Vec<f64> = (0..n).map(|_| draw(&mut random)).collect();
        let mean = values.iter().sum::<f64>() / f64::from(n);
        let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n);
        (mean, var)
    };
    let check = |(mean, var): (f64, f64), wanted: (f64, f64), what: &str| {
        let near = (mean - wanted.0).abs() < 0.02 && (var - wanted.1).abs() < 0.03;
        assert!(near, "{what}: {mean} {var}, not {wanted:?}");
    };
    check(moments(&mut |r| r.uniform()), (0.5, 1.0 / 12.0), "uniform");
    check(moments(&mut |r| r.normal()), (0.0, 1.0), "normal");
    check(moments(&mut |r| r.gamma(2.5)), (2.5, 2.5), "gamma 2.5");
    check(moments(&mut |r| r.gamma(0.3)), (0.3, 0.3), "gamma 0.3");
    // Mean a / (a + b), variance a b / ((a + b)^2 (a + b + 1)).
    check(
        moments(&mut |r| r.beta(0.2, 0.2)),
        (0.5, 0.25 / 1.4),
        "beta 0.2 0.2",
    );
    check(moments(&mut |r| r.beta(2.0, 3.0)), (0.4, 0.04), "beta 2 3");
    check(moments(&mut |r| r.below(5) as f64), (2.0, 2.0), "below 5");
}

#[test]
fn splits_keep_every_position_once_and_the_proportions() {
    let labels = sets::wine().y;
    let parts = split::stratified(&labels, &[0.7, 0.2, 0.1], 5).unwrap();
    let mut all = parts.concat();
    all.sort();
    assert_eq!(all, (0..178).collect::<Vec<_>>());
    for (part, fraction) in parts.iter().zip([0.7, 0.2, 0.1]) {
        let labels: Vec<i32> = part.iter().map(|&i| labels[i]).collect();
        for (got, whole) in counts(&labels).iter().zip([59.0, 71.0, 48.0]) {
            assert!((*got as f64 - whole * fraction).abs() <= 1.5, "{labels:?}");
        }
    }
    assert_ne!(
        parts,
        split::stratified(&labels, &[0.7, 0.2, 0.1], 6).unwrap()
    );
    for folds in [
        split::stratified_k_fold(&labels, 5, 1).unwrap(),
        split::k_fold(178, 5, 1).unwrap(),
    ] {
        let mut valid: Vec<usize> = folds.iter().flat_map(|f| f.valid.clone()).collect();
        valid.sort();
        assert_eq!(valid, (0..178).collect::<Vec<_>>());
        for fold in &folds {
            assert_eq!(fold.train.len() + fold.valid.len(), 178);
            assert!(fold.valid.iter().all(|v| !fold.train.contains(v)));
        }
    }
    for fold in split::stratified_k_fold(&labels, 5, 1).unwrap() {
        let labels: Vec<i32> = fold.valid.iter().map(|&i| labels[i]).collect();
        for (got, whole) in counts(&labels).iter().zip([59, 71, 48]) {
            assert!(*got == whole / 5 || *got == whole / 5 + 1);
        }
    }
}

#[test]
fn wrong_splits_are_errors() {
    for fractions in [&[0.6, 0.6][..], &[-0.1], &[f64::NAN], &[f64::INFINITY]] {
        assert!(split::random(10, fractions, 0).is_err(), "{fractions:?}");
    }
    assert!(split::k_fold(3, 4, 0).is_err());
    assert!(split::k_fold(3, 1, 0).is_err());
    let empty = split::random(0, &[0.5, 0.5], 0).unwrap();
    assert!(empty.iter().all(Vec::is_empty));
    let error = split::random(10, &[2.0], 0).unwrap_err().to_string();
    assert!(error.contains("tests/sets.rs"), "{error}");
}

#[test]
fn generated_sets_lie_on_their_curves_and_are_always_the_same() {
    let set = generate::moons(101, 0.0, 3);
    assert_eq!(counts(&set.y), [51, 50]);
    for (i, &class) in set.y.iter().enumerate() {
        let [x, y] = *set.x.row_values(i).unwrap() else {
            panic!()
        };
        let (dx, dy, inside) = match class {
            0 => (x, y, y >= -1e-6),
            _ => (x - 1.0, y - 0.5, y <= 0.5 + 1e-6),
        };
        assert!(((dx * dx + dy * dy).sqrt() - 1.0).abs() < 1e-5 && inside);
    }
    let noisy = generate::moons(10_000, 0.3, 3);
    let clean = generate::moons(10_000, 0.0, 3);
    let squares = noisy.x.values().iter().zip(clean.x.values());
    let var: f32 = squares.map(|(a, b)| (a - b).powi(2)).sum::<f32>() / 20_000.0;
    assert!((var.sqrt() - 0.3).abs() < 0.01, "{var}");

    let (set, weights) = generate::regression(500, 6, 3, 2.0, 1);
    let mut errors = 0.0;
    for (i, y) in set.y.iter().enumerate() {
        let row = set.x.row_values(i).unwrap();
        let fit: f32 = row.iter().zip(&weights).map(|(a, b)| a * b).sum();
        errors += (fit - y).powi(2) / 500.0;
    }
    assert!((errors.sqrt() - 2.0).abs() < 0.2, "{errors}");

    // To the bit, on every machine.
    let first = |set: &wgrad::data::Set| -> Vec<u32> {
        let values = &set.x.values()[..3];
        values.iter().map(|v| v.to_bits()).collect()
    };
    assert_eq!(first(&generate::spirals(9, 3, 0.1, 1)), SPIRALS);
    assert_eq!(first(&generate::blobs(9, 3, 2, 1.0, 1)), BLOBS);
    assert_eq!(generate::time_series(3, 0.1, 1)[2].to_bits(), SERIES);
}

const SPIRALS: [u32; 3] = [3180935986, 1046475541, 3208568553];
const BLOBS: [u32; 3] = [3235821112, 1090853546, 1075078607];
const SERIES: u32 = 1059986695;

#[test]
fn degenerate_sets_are_empty_or_refused() {
    assert!(generate::moons(0, 0.1, 1).is_empty());
    assert_eq!(generate::blobs(4, 0, 2, 1.0, 1).x.dims(), [4, 2]);
    assert!(generate::windows(&[1.0, 2.0], 3, 1).is_empty());
    assert!(generate::windows(&[1.0], 0, 0).is_empty());
    assert!(sets::iris().select(&[150]).is_err());
    assert!(sets::iris().example(150).is_err());
}
