//! Random tensors: their distributions, which are the same numbers on every device, and generators.

mod devices;

use wgrad::prelude::*;
use wgrad::{Generator, RandomState};

fn vec(x: &Tensor) -> Vec<f32> {
    x.to_dtype(DType::F32).to_vec().unwrap()
}

fn moments(x: &[f32]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let square = x
        .iter()
        .map(|&x| (f64::from(x) - mean).powi(2))
        .sum::<f64>()
        / n;
    (mean, square.sqrt())
}

#[track_caller]
fn near(got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "{got} but expected {want}");
}

const N: usize = 40_000;

#[test]
fn normal_numbers_of_given_moments() {
    for dev in devices::all() {
        let x = vec(&Tensor::normal([N], 3.0, 2.0, &dev));
        let (mean, deviation) = moments(&x);
        near(mean, 3.0, 0.05);
        near(deviation, 2.0, 0.05);
        let means = Tensor::new([-1.0, 5.0], &dev).unsqueeze(1).expand([2, N]);
        let x = vec(&Tensor::normal_of(
            &means,
            Tensor::new([[1.0], [3.0]], &dev),
        ));
        for (row, (m, d)) in x.chunks(N).zip([(-1.0, 1.0), (5.0, 3.0)]) {
            let (mean, deviation) = moments(row);
            near(mean, m, 0.08);
            near(deviation, d, 0.08);
        }
        assert!(
            vec(&Tensor::normal([4], 3.0, 0.0, &dev))
                .iter()
                .all(|&x| x == 3.0)
        );
        let mean = Tensor::zeros([3], &dev).requires_grad();
        Tensor::normal_of(&mean, 1.0).sum().backward().unwrap();
        assert_eq!(vec(&mean.grad().unwrap()), [1.0; 3]);
    }
}

#[test]
fn truncated_normal_numbers_stay_inside() {
    for dev in devices::all() {
        let x = vec(&Tensor::trunc_normal([N], 1.0, 2.0, (-1.0, 3.0), &dev));
        assert!(x.iter().all(|&x| (-1.0..=3.0).contains(&x)));
        let (mean, deviation) = moments(&x);
        // Within one standard deviation of a normal distribution: 0.5396 of it.
        near(mean, 1.0, 0.03);
        near(deviation, 2.0 * 0.539_56, 0.02);
        // One side, far out.
        let x = vec(&Tensor::trunc_normal(
            [N],
            0.0,
            1.0,
            (2.0, f64::INFINITY),
            &dev,
        ));
        assert!(x.iter().all(|&x| x >= 2.0));
        near(moments(&x).0, 2.3732, 0.02);
        let x = Tensor::trunc_normal([100], 0.0, 0.02, (-2.0, 2.0), (DType::F16, &dev));
        assert!(vec(&x).iter().all(|x| x.is_finite()));
    }
}

#[test]
fn exponential_numbers() {
    for dev in devices::all() {
        let x = vec(&Tensor::exponential([N], 4.0, &dev));
        assert!(x.iter().all(|&x| x >= 0.0 && x.is_finite()));
        let (mean, deviation) = moments(&x);
        near(mean, 0.25, 0.01);
        near(deviation, 0.25, 0.01);
    }
}

#[test]
fn truths_of_given_probabilities() {
    for dev in devices::all() {
        let p = Tensor::new([0.0, 0.2, 1.0], &dev)
            .unsqueeze(1)
            .expand([3, N]);
        let x = vec(&Tensor::bernoulli_of(&p));
        for (row, p) in x.chunks(N).zip([0.0, 0.2, 1.0]) {
            near(moments(row).0, p, if p == 0.2 { 0.01 } else { 0.0 });
            assert!(row.iter().all(|&x| x == 0.0 || x == 1.0));
        }
    }
}

#[test]
fn permutations_hold_each_number_once() {
    for dev in devices::all() {
        for n in [0, 1, 2, 7, 1000] {
            let mut x: Vec<i32> = Tensor::randperm(n, &dev).to_vec().unwrap();
            if n > 2 {
                let again: Vec<i32> = Tensor::randperm(n, &dev).to_vec().unwrap();
                assert!(n < 10 || x != again);
            }
            x.sort_unstable();
            assert_eq!(x, (0..n as i32).collect::<Vec<_>>());
        }
        // Each order of three comes about as often.
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..600 {
            let x: Vec<i32> = Tensor::randperm(3, &dev).to_vec().unwrap();
            *counts.entry(x).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(
            counts.values().all(|&n| (60..150).contains(&n)),
            "{counts:?}"
        );
    }
}

#[test]
fn positions_by_weight() {
    for dev in devices::all() {
        let weights = Tensor::new([[1.0, 0.0, 3.0], [0.0, 5.0, 0.0]], &dev);
        let x = Tensor::multinomial(&weights, 8000, true);
        assert_eq!(x.shape().unwrap(), [2, 8000]);
        let x: Vec<i32> = x.to_vec().unwrap();
        let share = |row: usize, class: i32| {
            let row = &x[row * 8000..][..8000];
            row.iter().filter(|&&c| c == class).count() as f64 / 8000.0
        };
        near(share(0, 0), 0.25, 0.02);
        assert_eq!(share(0, 1), 0.0);
        assert_eq!(share(1, 1), 1.0);
        // Without replacement: the first of two is drawn by weight, and none comes again.
        let weights = Tensor::new([1.0, 2.0, 0.0, 1.0], &dev).expand([6000, 4]);
        let x = Tensor::multinomial(&weights, 3, false);
        let x: Vec<i32> = x.to_vec().unwrap();
        let mut first = [0; 4];
        for row in x.chunks(3) {
            first[row[0] as usize] += 1;
            let mut row = row.to_vec();
            row.sort_unstable();
            assert_eq!(row, [0, 1, 3]);
        }
        near(f64::from(first[1]) / 6000.0, 0.5, 0.03);
        near(f64::from(first[0]) / 6000.0, 0.25, 0.03);
        let one = Tensor::multinomial(&Tensor::new([0.0, 1.0], &dev), 1, false);
        assert_eq!(one.to_vec::<i32>().unwrap(), [1]);
    }
}

#[test]
fn a_generator_goes_on_where_it_stood() {
    for dev in devices::all() {
        let generator = Generator::new(7);
        let device_state = dev.random_state();
        let first = vec(&generator.with(|| Tensor::rand([5], &dev)));
        let state = generator.state();
        assert_eq!(
            state,
            RandomState {
                seed: 7,
                counter: 1
            }
        );
        let second = vec(&generator.with(|| Tensor::randn([5], &dev)));
        generator.set_state(state);
        assert_eq!(vec(&generator.with(|| Tensor::randn([5], &dev))), second);
        generator.seed(7);
        assert_eq!(vec(&generator.with(|| Tensor::rand([5], &dev))), first);
        // The device's own stream did not move, and goes on where it is set.
        assert_eq!(dev.random_state(), device_state);
        let own = vec(&Tensor::rand([5], &dev));
        assert_ne!(own, first);
        dev.set_random_state(device_state);
        assert_eq!(vec(&Tensor::rand([5], &dev)), own);
        // The innermost generator counts.
        let inner = Generator::new(8);
        let nested = generator.with(|| inner.with(|| Tensor::rand([5], &dev)));
        assert_eq!(
            vec(&nested),
            vec(&Generator::new(8).with(|| Tensor::rand([5], &dev)))
        );
    }
}

#[test]
fn equal_seeds_give_equal_numbers_on_every_device() {
    let draws = |dev: &Device| {
        Generator::new(3).with(|| {
            let weights = Tensor::new([1.0, 2.0, 3.0, 4.0], dev);
            let permutation = Tensor::randperm(100, dev);
            let drawn = Tensor::multinomial(&weights, 50, true);
            let truths = Tensor::bernoulli_of(&Tensor::full([50], 0.5, dev));
            let like = Tensor::zeros([2, 3], dev).rand_like();
            [permutation, drawn, truths, like].map(|x| vec(&x))
        })
    };
    let mut all = devices::all().into_iter().map(|dev| draws(&dev));
    let first = all.next().unwrap();
    assert!(all.all(|other| other == first));
}

#[test]
fn what_is_no_distribution_is_refused() {
    let dev = devices::cpu();
    let weights = Tensor::ones([3], &dev);
    let refused = [
        Tensor::normal([2], 0.0, -1.0, &dev),
        Tensor::normal([2], 0.0, 1.0, (DType::I32, &dev)),
        Tensor::normal_of(&Tensor::ones([2], &dev), Tensor::ones([3], &dev)),
        Tensor::exponential([2], 0.0, &dev),
        Tensor::exponential([2], f64::NAN, &dev),
        Tensor::trunc_normal([2], 0.0, 1.0, (1.0, 1.0), &dev),
        Tensor::trunc_normal([2], 0.0, 0.0, (0.0, 1.0), &dev),
        Tensor::bernoulli_of(&Tensor::ones([2], (DType::I32, &dev))),
        Tensor::multinomial(&weights, 4, false),
        Tensor::multinomial(&weights, 0, true),
        Tensor::multinomial(&Tensor::ones((), &dev), 1, true),
        Tensor::multinomial(&Tensor::ones([0], &dev), 1, true),
    ];
    for x in refused {
        let error = x.error().expect("refused").to_string();
        assert!(error.contains("tests/sampling.rs"), "{error}");
    }
}
