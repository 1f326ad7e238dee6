//! Sets that are computed: the same from a seed on every machine.

use std::f64::consts::{PI, TAU};

use wgrad_core::{Element, Shape};

use crate::{Array, Random, Set};

/// Two half circles that reach into each other, as `sklearn.datasets.make_moons`: class 0 the upper one,
/// `(cos t, sin t)`, class 1 the lower one, `(1 - cos t, 0.5 - sin t)`, with normal noise of deviation `noise`.
/// Examples alternate between the classes.
///
/// ```
/// use wgrad::data::generate;
///
/// let set = generate::moons(200, 0.1, 7);
/// assert_eq!(set.x.dims(), [200, 2]);
/// assert_eq!(set, generate::moons(200, 0.1, 7));
/// ```
pub fn moons(n: usize, noise: f64, seed: u64) -> Set {
    planar(n, 2, noise, seed, |class, t| {
        let (sin, cos) = libm::sincos(PI * t);
        match class {
            0 => [cos, sin],
            _ => [1.0 - cos, 0.5 - sin],
        }
    })
}

/// A circle of radius 1 (class 0) around one of radius `factor` (class 1), as `sklearn.datasets.make_circles`.
///
/// ```
/// let set = wgrad::data::generate::circles(100, 0.0, 0.5, 7);
/// let radius = |i: usize| set.x.row_values(i).unwrap().iter().map(|v| v * v).sum::<f32>().sqrt();
/// assert!((radius(0) - 1.0).abs() < 1e-6 && (radius(1) - 0.5).abs() < 1e-6);
/// ```
pub fn circles(n: usize, noise: f64, factor: f64, seed: u64) -> Set {
    planar(n, 2, noise, seed, |class, t| {
        let radius = if class == 0 { 1.0 } else { factor };
        let (sin, cos) = libm::sincos(TAU * t);
        [radius * cos, radius * sin]
    })
}

/// `arms` spirals of a turn and a half around the origin, one per class, from radius 0.1 to 1.
///
/// ```
/// let set = wgrad::data::generate::spirals(90, 3, 0.0, 7);
/// assert_eq!(set.class_names, ["0", "1", "2"]);
/// assert!(set.x.values().iter().all(|v| v.abs() <= 1.0));
/// ```
pub fn spirals(n: usize, arms: usize, noise: f64, seed: u64) -> Set {
    planar(n, arms, noise, seed, |arm, t| {
        let (sin, cos) = libm::sincos(1.5 * TAU * t + TAU * arm as f64 / arms as f64);
        let radius = 0.1 + 0.9 * t;
        [radius * cos, radius * sin]
    })
}

/// Points of the plane: `at(class, t)` with t uniform in 0..1, and noise.
fn planar(
    n: usize,
    classes: usize,
    noise: f64,
    seed: u64,
    at: impl Fn(usize, f64) -> [f64; 2],
) -> Set {
    let mut random = Random::new(seed);
    let (mut x, mut y) = (Vec::with_capacity(2 * n), Vec::with_capacity(n));
    for i in 0..n {
        let class = i % classes.max(1);
        let point = at(class, random.uniform());
        x.extend(point.map(|v| (v + noise * random.normal()) as f32));
        y.push(class as i32);
    }
    classified(x, y, 2, classes)
}

/// Normal clouds of deviation `std` around `centers` points that are uniform in -10..10, as
/// `sklearn.datasets.make_blobs`; the class is the center. Examples take turns between the centers.
///
/// ```
/// let set = wgrad::data::generate::blobs(300, 3, 5, 1.0, 7);
/// assert_eq!(set.x.dims(), [300, 5]);
/// assert_eq!(set.y[..4], [0, 1, 2, 0]);
/// ```
pub fn blobs(n: usize, centers: usize, features: usize, std: f64, seed: u64) -> Set {
    let mut random = Random::new(seed);
    let middle: Vec<f64> = (0..centers * features)
        .map(|_| random.between(-10.0, 10.0))
        .collect();
    let (mut x, mut y) = (Vec::with_capacity(n * features), Vec::with_capacity(n));
    for i in 0..n {
        let class = i % centers.max(1);
        for &m in middle.iter().skip(class * features).take(features) {
            x.push((m + std * random.normal()) as f32);
        }
        y.push(class as i32);
    }
    x.resize(n * features, 0.0); // without centers
    classified(x, y, features, centers)
}

/// Standard normal inputs and `y = x . w + noise`, and the `w`: `informative` of its numbers are uniform in 0..100, the
/// others are 0, as in `sklearn.datasets.make_regression`.
///
/// ```
/// let (set, weights) = wgrad::data::generate::regression(50, 4, 2, 0.0, 7);
/// assert_eq!(set.x.dims(), [50, 4]);
/// assert_eq!(weights.iter().filter(|&&w| w != 0.0).count(), 2);
/// let y: f32 = set.x.row_values(3)?.iter().zip(&weights).map(|(x, w)| x * w).sum();
/// assert!((y - set.y[3]).abs() < 1e-3);
/// # Ok::<(), wgrad::Error>(())
/// ```
pub fn regression(
    n: usize,
    features: usize,
    informative: usize,
    noise: f64,
    seed: u64,
) -> (Set<f32>, Vec<f32>) {
    let mut random = Random::new(seed);
    let mut weights = vec![0.0f64; features];
    for at in random.permutation(features).into_iter().take(informative) {
        weights[at] = 100.0 * (1.0 - random.uniform());
    }
    let (mut x, mut y) = (Vec::with_capacity(n * features), Vec::with_capacity(n));
    for _ in 0..n {
        let mut sum = 0.0;
        for weight in &weights {
            let v = random.normal();
            sum += v * weight;
            x.push(v as f32);
        }
        y.push((sum + noise * random.normal()) as f32);
    }
    let set = named(x, y, features, "y", Vec::new());
    (set, weights.iter().map(|&w| w as f32).collect())
}

/// A series to be foretold: a trend, two periods and noise,
/// `0.002 t + sin(2 pi t / 25) + 0.5 sin(2 pi t / 7 + 1) + noise`.
///
/// ```
/// let series = wgrad::data::generate::time_series(1000, 0.1, 7);
/// assert_eq!(series.len(), 1000);
/// ```
pub fn time_series(n: usize, noise: f64, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let value = |t: usize| {
        let t = t as f64;
        let seasons = libm::sin(TAU * t / 25.0) + 0.5 * libm::sin(TAU * t / 7.0 + 1.0);
        (0.002 * t + seasons + noise * random.normal()) as f32
    };
    (0..n).map(value).collect()
}

/// A series cut into windows: `x` is `[windows, length, 1]`, and `y` is the value `ahead` steps after each
/// window's last one (1: the next value). There is none where the series is too short, and none of length 0
/// and 0 ahead.
///
/// ```
/// use wgrad::data::generate;
///
/// let set = generate::windows(&[0.0, 1.0, 2.0, 3.0, 4.0], 3, 1);
/// assert_eq!(set.x.dims(), [2, 3, 1]);
/// assert_eq!(set.x.row_values(1)?, [1.0, 2.0, 3.0]);
/// assert_eq!(set.y, [3.0, 4.0]);
/// # Ok::<(), wgrad::Error>(())
/// ```
pub fn windows(series: &[f32], length: usize, ahead: usize) -> Set<f32> {
    let span = length.saturating_add(ahead);
    let n = if span == 0 {
        0
    } else {
        (series.len() + 1).saturating_sub(span)
    };
    let x: Vec<f32> = (0..n)
        .flat_map(|i| &series[i..i + length])
        .copied()
        .collect();
    let y = (0..n).map(|i| series[i + length + ahead - 1]).collect();
    let mut set = named(x, y, length, "y", Vec::new());
    set.x = set.x.reshape([n, length, 1]).expect("one value a step");
    set
}

fn classified(x: Vec<f32>, y: Vec<i32>, features: usize, classes: usize) -> Set {
    let names = (0..classes).map(|c| c.to_string()).collect();
    named(x, y, features, "class", names)
}

fn named<Y: Element>(
    x: Vec<f32>,
    y: Vec<Y>,
    features: usize,
    target: &str,
    class_names: Vec<String>,
) -> Set<Y> {
    Set {
        x: Array::new(x, Shape::new(&[y.len(), features])).expect("full rows"),
        y,
        feature_names: (0..features).map(|i| format!("x{i}")).collect(),
        class_names,
        target_name: target.to_string(),
    }
}
