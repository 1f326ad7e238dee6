//! Random tensors: intervals, moments, independence of draws, and what is refused.

mod devices;

use devices::all;
use wgrad::prelude::*;

const FLOATS: [DType; 4] = [DType::F64, DType::F32, DType::F16, DType::BF16];

fn floats(dev: &Device) -> impl Iterator<Item = DType> {
    let limits = dev.limits().unwrap();
    FLOATS.into_iter().filter(move |&d| limits.has(d))
}

/// As f64 where the device has it; else f32 holds them all.
fn values(x: &Tensor) -> Vec<f64> {
    if x.dtype().unwrap() == DType::F64 {
        return x.to_vec::<f64>().unwrap();
    }
    let x: Vec<f32> = x.to_dtype(DType::F32).to_vec().unwrap();
    x.into_iter().map(f64::from).collect()
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

fn variance(x: &[f64]) -> f64 {
    let m = mean(x);
    x.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / x.len() as f64
}

const N: usize = 400_000;

#[test]
fn intervals_are_half_open_in_every_type() {
    for dev in all() {
        dev.seed(7);
        for dtype in floats(&dev) {
            let u = values(&Tensor::rand([N], (dtype, &dev)));
            assert!(
                u.iter().all(|&v| (0.0..1.0).contains(&v)),
                "rand in {dtype}"
            );
            assert!((mean(&u) - 0.5).abs() < 4e-3, "{dtype}: mean {}", mean(&u));
            assert!(
                (variance(&u) - 1.0 / 12.0).abs() < 2e-3,
                "{dtype}: variance {}",
                variance(&u)
            );
            for (lo, hi) in [
                (1.0, 2.0),
                (-1.0, 1.0),
                (-2.0, -1.0),
                (0.1, 0.3),
                (100.0, 101.0),
                (-3.0, 0.0),
                (0.0, 6e-8),
                (1.0, 1.0 + 1e-9),
            ] {
                let x = values(&Tensor::uniform([N / 4], lo, hi, (dtype, &dev)));
                let low = values(&Tensor::full([1], lo, (dtype, &dev)))[0];
                let most = x.iter().copied().fold(f64::MIN, f64::max);
                let least = x.iter().copied().fold(f64::MAX, f64::min);
                // Where the type holds nothing between them, all are the start.
                assert!(
                    most < hi || most == low,
                    "{most} of [{lo}, {hi}) in {dtype}"
                );
                assert!(least >= low, "{least} of [{lo}, {hi}) in {dtype}");
            }
        }
    }
}

#[test]
fn uniform_numbers_have_the_bits_of_their_type() {
    for dev in all() {
        for (dtype, bits) in [
            (DType::F64, 53),
            (DType::F32, 24),
            (DType::F16, 11),
            (DType::BF16, 8),
        ] {
            if !dev.limits().unwrap().has(dtype) {
                continue;
            }
            let scale = 2f64.powi(bits);
            let u = values(&Tensor::rand([4096], (dtype, &dev)));
            assert!(u.iter().all(|v| (v * scale).fract() == 0.0), "{dtype}");
            let odd = u
                .iter()
                .filter(|&v| (v * scale / 2.0).fract() != 0.0)
                .count();
            assert!(
                (1800..2300).contains(&odd),
                "the last bit of {dtype} is set {odd} times"
            );
        }
    }
}

#[test]
fn normal_numbers_have_their_moments() {
    for dev in all() {
        dev.seed(11);
        for dtype in floats(&dev) {
            let x = values(&Tensor::randn([N], (dtype, &dev)));
            assert!(
                mean(&x).abs() < 8e-3 && (variance(&x) - 1.0).abs() < 1.2e-2,
                "{dtype}"
            );
            let fourth = x.iter().map(|v| v.powi(4)).sum::<f64>() / N as f64;
            assert!((fourth - 3.0).abs() < 0.1, "{dtype}: {fourth}");
            assert!(x.iter().all(|v| v.is_finite()));
            if dtype == DType::F64 {
                // Not an f32 made longer.
                let short = x.iter().filter(|&&v| f64::from(v as f32) == v).count();
                assert!(short < 10, "{short}");
            }
        }
    }
}

#[test]
fn draws_are_independent() {
    for dev in all() {
        dev.seed(3);
        let (a, b) = (Tensor::randn([N], &dev), Tensor::randn([N], &dev));
        let (a, b) = (values(&a), values(&b));
        let products: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a * b).collect();
        assert!(
            mean(&products).abs() < 8e-3,
            "two draws: {}",
            mean(&products)
        );
        let lagged: Vec<f64> = a.windows(2).map(|w| w[0] * w[1]).collect();
        assert!(mean(&lagged).abs() < 8e-3, "neighbours: {}", mean(&lagged));
        dev.seed(4);
        let other = values(&Tensor::randn([N], &dev));
        let products: Vec<f64> = a.iter().zip(&other).map(|(a, b)| a * b).collect();
        assert!(
            mean(&products).abs() < 8e-3,
            "two seeds: {}",
            mean(&products)
        );
    }
}

#[test]
fn integers_and_truths() {
    for dev in all() {
        dev.seed(5);
        for (lo, hi, dtype) in [
            (0, 6, DType::I32),
            (-3, 3, DType::I32),
            (0, 256, DType::U8),
            (0, 1 << 24, DType::I32),
            (0, (1 << 24) - 1, DType::F32),
            (0, 2049, DType::F16),
            (-256, 257, DType::BF16),
        ] {
            let x = values(&Tensor::randint([N / 4], lo, hi, (dtype, &dev)));
            let (lo, hi) = (f64::from(lo), f64::from(hi));
            assert!(
                x.iter().all(|&v| v >= lo && v < hi && v.fract() == 0.0),
                "{lo}..{hi}"
            );
            let off = (mean(&x) - (lo + hi - 1.0) / 2.0).abs() / (hi - lo);
            assert!(off < 4e-3, "{lo}..{hi} of {dtype}: {off}");
        }
        let dice = values(&Tensor::randint([N], 0, 6, &dev));
        for face in 0..6 {
            let count = dice.iter().filter(|&&v| v == f64::from(face)).count();
            assert!(
                (count as f64 / N as f64 - 1.0 / 6.0).abs() < 4e-3,
                "{face}: {count}"
            );
        }
        for p in [0.0, 0.3, 1.0] {
            let x = values(&Tensor::bernoulli([N], p, (DType::F32, &dev)));
            assert!(
                (mean(&x) - p).abs() < 4e-3 && (p == 0.3 || mean(&x) == p),
                "{p}"
            );
        }
    }
}

#[test]
fn what_no_type_holds_is_refused() {
    for dev in all() {
        for p in [2.0, -0.1, f64::NAN] {
            assert!(Tensor::bernoulli([2], p, &dev).error().is_some(), "{p}");
        }
        for (lo, hi) in [
            (2.0, 1.0),
            (f64::NAN, 1.0),
            (0.0, f64::INFINITY),
            (-3e38, 3e38),
        ] {
            assert!(
                Tensor::uniform([2], lo, hi, &dev).error().is_some(),
                "{lo}, {hi}"
            );
        }
        for (lo, hi) in [(0.0, 1e5), (1e5, 2e5)] {
            assert!(
                Tensor::uniform([2], lo, hi, (DType::F16, &dev))
                    .error()
                    .is_some()
            );
        }
        for dtype in [DType::I32, DType::U8, DType::Bool] {
            assert!(Tensor::rand([2], (dtype, &dev)).error().is_some());
            assert!(Tensor::randn([2], (dtype, &dev)).error().is_some());
            assert!(
                Tensor::uniform([2], 0.0, 1.0, (dtype, &dev))
                    .error()
                    .is_some()
            );
        }
        for (lo, hi, dtype) in [
            (0, 300, DType::U8),
            (-1, 3, DType::U8),
            (0, 4096, DType::F16),
            (0, 1000, DType::BF16),
            (3, 3, DType::I32),
        ] {
            assert!(
                Tensor::randint([2], lo, hi, (dtype, &dev))
                    .error()
                    .is_some(),
                "{lo}..{hi}"
            );
        }
    }
}

#[test]
fn what_dropout_keeps_is_scaled() {
    for dev in all() {
        dev.seed(21);
        for dtype in floats(&dev) {
            let x = Tensor::full([N / 8, 8], 3.0, (dtype, &dev));
            let y = values(&x.dropout(0.25, true));
            let kept = 3.0 / 0.75;
            assert!(y.iter().all(|&v| v == 0.0 || v == kept), "{dtype} on {dev}");
            let share = y.iter().filter(|&&v| v == 0.0).count() as f64 / N as f64;
            assert!((share - 0.25).abs() < 5e-3, "{dtype} on {dev}: {share}");
        }
        let ones = Tensor::ones([4, 4], &dev);
        assert!(values(&ones.dropout(1.0, true)).iter().all(|&v| v == 0.0));
        assert!(
            values(&ones.alpha_dropout(1.0, true))
                .iter()
                .all(|&v| v == 0.0)
        );
        // Neither NaN nor infinities come through where they are left out.
        let inf = Tensor::full([N], f64::INFINITY, &dev).dropout(0.5, true);
        assert!(values(&inf).iter().all(|&v| v == 0.0 || v == f64::INFINITY));
        // The gradient goes where the elements went.
        let x = Tensor::ones([1000], &dev).requires_grad();
        let y = x.dropout(0.5, true);
        y.sum().backward().unwrap();
        assert_eq!(values(&y), values(&x.grad().unwrap()));
    }
}

#[test]
fn channels_drop_out_whole() {
    for dev in all() {
        dev.seed(22);
        let masked = |y: &Tensor, channels: usize| {
            let y = values(y);
            let size = y.len() / channels;
            let mut dropped = 0;
            for channel in y.chunks(size) {
                assert!(
                    channel.iter().all(|v| *v == channel[0]),
                    "{channel:?} on {dev}"
                );
                dropped += usize::from(channel[0] <= 0.0);
            }
            let share = dropped as f64 / channels as f64;
            assert!((share - 0.3).abs() < 0.05, "{share} on {dev}");
        };
        let ones = |shape: &[usize]| Tensor::ones(shape, &dev);
        masked(&ones(&[500, 8, 3]).feature_dropout(0.3, true), 4000);
        masked(&ones(&[500, 8, 3]).dropout1d(0.3, true), 4000);
        masked(&ones(&[4000, 3]).dropout1d(0.3, true), 4000);
        masked(&ones(&[500, 8, 2, 3]).dropout2d(0.3, true), 4000);
        masked(&ones(&[500, 8, 3]).dropout2d(0.3, true), 4000);
        masked(&ones(&[500, 8, 2, 1, 3]).dropout3d(0.3, true), 4000);
        masked(&ones(&[4000, 2, 1, 3]).dropout3d(0.3, true), 4000);
        masked(
            &ones(&[500, 8, 2, 3]).feature_alpha_dropout(0.3, true),
            4000,
        );
    }
}

#[test]
fn alpha_dropout_keeps_mean_and_variance() {
    for dev in all() {
        dev.seed(23);
        for p in [0.1, 0.5, 0.9] {
            let y = values(&Tensor::randn([N], &dev).alpha_dropout(p, true));
            assert!(mean(&y).abs() < 2e-2, "{p}: {}", mean(&y));
            assert!((variance(&y) - 1.0).abs() < 2e-2, "{p}: {}", variance(&y));
        }
        // What is left out: selu's limit, scaled and shifted, and what is not (torch's numbers).
        let y = values(&Tensor::ones([100], &dev).alpha_dropout(0.5, true));
        let near = |v: f64, to: f64| (v - to).abs() < 1e-4;
        assert!(
            y.iter().all(|&v| near(v, -0.7792) || near(v, 1.6656)),
            "{y:?}"
        );
    }
}
