//! Walks so long that a driver which limits a thread's loops would cut them short.

mod devices;

use devices::{cpu, gpu};
use wgrad::prelude::*;
use wgrad::{CrossEntropyOptions, Reduction};

/// Numbers of few digits that repeat only after a long while.
fn values(n: usize) -> Vec<f32> {
    let value = |i: usize| (i * 7919 % 1009) as f32 / 128.0 - 4.0;
    (0..n).map(value).collect()
}

#[track_caller]
fn assert_near(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let bound = tolerance * (1.0 + w.abs());
        assert!(
            (g - w).abs() <= bound,
            "{what}, element {i}: {g} but expected {w}"
        );
    }
}

#[test]
fn rows_of_up_to_200000_classes() {
    let Some(dev) = gpu() else { return };
    for (rows, classes) in [(3, 65_536), (3, 65_537), (2, 100_003), (2, 200_000)] {
        let data = values(rows * classes);
        let targets: Vec<i32> = (0..rows).map(|r| (classes - 1 - r * 77) as i32).collect();
        let x = Tensor::from_vec(data.clone(), [rows, classes], &dev).requires_grad();
        let t = Tensor::from_vec(targets.clone(), rows, &dev);
        let options = CrossEntropyOptions {
            reduction: Reduction::None,
            ..CrossEntropyOptions::default()
        };
        let loss = x.cross_entropy_with(&t, options);
        loss.sum().backward().unwrap();
        let p = x.detach().softmax(1).to_vec::<f32>().unwrap();
        let (mut losses, mut slopes, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for (row, &t) in data.chunks(classes).zip(&targets) {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            losses.push((sum.ln() - f64::from(row[t as usize])) as f32);
            for (c, &x) in row.iter().enumerate() {
                let share = f64::from(x).exp() / sum;
                shares.push(share as f32);
                slopes.push((share - f64::from(u8::from(c == t as usize))) as f32);
            }
        }
        let what = format!("{rows} x {classes}");
        assert_near(&loss.to_vec::<f32>().unwrap(), &losses, 1e-5, &what);
        let grad = x.grad().unwrap().to_vec::<f32>().unwrap();
        assert_near(&grad, &slopes, 1e-6, &what);
        assert_near(&p, &shares, 1e-6, &what);
    }
}

#[test]
fn products_of_long_k() {
    for dev in std::iter::once(cpu()).chain(gpu()) {
        for (m, n, k) in [(3, 5, 300_001), (17, 40, 140_000), (1, 9, 1_000_000)] {
            let (a, b) = (values(m * k), values(k * n));
            let x = Tensor::from_vec(a.clone(), [m, k], &dev);
            let y = Tensor::from_vec(b.clone(), [k, n], &dev);
            let want: Vec<f32> = (0..m * n)
                .map(|i| {
                    let term = |l: usize| f64::from(a[i / n * k + l]) * f64::from(b[l * n + i % n]);
                    ((0..k).map(term).sum::<f64>() / k as f64) as f32
                })
                .collect();
            for product in [
                x.matmul(&y),
                x.t().contiguous().t().matmul(&y.t().contiguous().t()),
            ] {
                let got = (product * (1.0 / k as f64)).to_vec::<f32>().unwrap();
                assert_near(
                    &got,
                    &want,
                    1e-4,
                    &format!("{m} x {k} x {n} on {}", dev.name()),
                );
            }
        }
    }
}

#[test]
fn long_sums() {
    for dev in std::iter::once(cpu()).chain(gpu()) {
        for (rows, columns) in [
            (8_000_000, 4),
            (4, 8_000_000),
            (300_000, 100),
            (256, 130_000),
        ] {
            let mut data = values(rows * columns);
            // What a walk that ends early would miss.
            data.iter_mut().rev().take(4).for_each(|v| *v = 1e5);
            let x = Tensor::from_vec(data.clone(), [rows, columns], &dev);
            for dim in [0, 1] {
                let length = if dim == 0 { rows } else { columns };
                let mut want = vec![0f64; rows * columns / length];
                for (i, &v) in data.iter().enumerate() {
                    want[if dim == 0 { i % columns } else { i / columns }] += f64::from(v);
                }
                let want: Vec<f32> = want.iter().map(|s| (s / length as f64) as f32).collect();
                let got = x.mean_dims([dim], false).to_vec::<f32>().unwrap();
                let what = format!("{rows} x {columns} over {dim} on {}", dev.name());
                assert_near(&got, &want, 1e-5, &what);
            }
        }
    }
}

#[test]
fn many_equal_indices() {
    for dev in std::iter::once(cpu()).chain(gpu()) {
        let n = 20_000;
        let table = Tensor::zeros([3, 2], &dev).requires_grad();
        let index: Vec<i32> = (0..n).map(|i| i32::from(i % 50 == 0)).collect();
        let index = Tensor::from_vec(index, n, &dev);
        let scale = Tensor::from_vec(values(n * 2), [n, 2], &dev);
        (table.embedding(&index) * &scale).sum().backward().unwrap();
        let mut want = [0f64; 6];
        for (i, v) in values(n * 2).iter().enumerate() {
            let row = usize::from(i / 2 % 50 == 0);
            want[row * 2 + i % 2] += f64::from(*v);
        }
        let want: Vec<f32> = want.iter().map(|&s| s as f32).collect();
        let got = table.grad().unwrap().to_vec::<f32>().unwrap();
        assert_near(&got, &want, 1e-4, dev.name());
    }
}

/// Positive numbers, none of which an f32 holds exactly as a decimal; the last few tower, so that a
/// walk that ends early shows.
fn positive(n: usize) -> Vec<f32> {
    let mut data: Vec<f32> = (0..n).map(|i| 0.1 + (i % 7) as f32 * 0.01).collect();
    data.iter_mut().rev().take(3).for_each(|v| *v = 100.0);
    data
}

#[track_caller]
fn assert_exact(got: f32, want: f64, what: &str) {
    let error = (f64::from(got) - want).abs() / want;
    assert!(
        error < 1e-5,
        "{what}: {got} but expected {want} ({error:e})"
    );
}

/// Sums, means and products of up to 10^7 positive terms, in every form that a kernel has, keep five
/// digits.
#[test]
fn long_sums_keep_their_digits() {
    for dev in std::iter::once(cpu()).chain(gpu()) {
        for n in [100_000, 1_000_000, 10_000_019] {
            let data = positive(n);
            let sum: f64 = data.iter().map(|&v| f64::from(v)).sum();
            let x = Tensor::from_vec(data, n, &dev);
            let what = |which: &str| format!("{which} of {n} on {dev}");
            assert_exact(x.sum().item().unwrap(), sum, &what("sum"));
            assert_exact(x.mean().item().unwrap(), sum / n as f64, &what("mean"));
            assert_exact(
                (&x * 3.0).sum().item().unwrap(),
                3.0 * sum,
                &what("scaled sum"),
            );
            let ones = Tensor::from_vec(vec![1f32; n], n, &dev);
            assert_exact(x.matmul(&ones).item().unwrap(), sum, &what("dot product"));
            // By stride 0: m rows and n columns of the same numbers.
            for (rows, columns) in [(1, 5), (2, 1), (3, 3), (5, 20), (40, 9)] {
                if rows * columns * n > 200_000_000 {
                    continue;
                }
                let a = x.unsqueeze(0).expand([rows, n]);
                let b = ones.unsqueeze(1).expand([n, columns]);
                let y = a.matmul(&b);
                let name = format!("product of {rows} rows and {columns} columns");
                for got in [y.max(), y.min()] {
                    assert_exact(got.item().unwrap(), sum, &what(&name));
                }
            }
        }
    }
}

/// The same where operands lie in memory as matrices do, in either direction.
#[test]
fn long_products_keep_their_digits() {
    for dev in std::iter::once(cpu()).chain(gpu()) {
        for (m, k, n) in [(1, 200_000, 40), (8, 150_000, 24), (33, 100_003, 17)] {
            let row = positive(k);
            let sum: f64 = row.iter().map(|&v| f64::from(v)).sum();
            let a = Tensor::from_vec(row.repeat(m), [m, k], &dev);
            let b = Tensor::from_vec(vec![1f32; k * n], [k, n], &dev);
            let turned = a.t().contiguous().t();
            for (a, b) in [
                (a.clone(), b.clone()),
                (a, b.t().contiguous().t()),
                (turned, b),
            ] {
                let y = a.matmul(&b).to_vec::<f32>().unwrap();
                for got in y {
                    assert_exact(got, sum, &format!("{m} x {k} x {n} on {dev}"));
                }
            }
        }
    }
}

#[test]
fn long_scatters_keep_their_digits() {
    for dev in std::iter::once(cpu()).chain(gpu()) {
        for n in [100_000, 400_000] {
            let table = Tensor::zeros([3, 2], &dev).requires_grad();
            let index = Tensor::ones([n], (DType::I32, &dev)).contiguous();
            let scale = Tensor::from_vec(positive(n), [n, 1], &dev);
            (table.embedding(&index) * &scale).sum().backward().unwrap();
            let want: f64 = positive(n).iter().map(|&v| f64::from(v)).sum();
            let got = table.grad().unwrap().to_vec::<f32>().unwrap();
            for column in [2, 3] {
                assert_exact(got[column], want, &format!("{n} rows on {dev}"));
            }
            assert_eq!([got[0], got[1], got[4], got[5]], [0.0; 4]);
        }
    }
}

#[test]
fn long_rows_keep_their_digits() {
    for dev in std::iter::once(cpu()).chain(gpu()) {
        for n in [60_000, 1_000_000] {
            // All alike but one, which no other comes near.
            let mut row = vec![-1.3f32; n];
            row[n / 2] = 1.0;
            let x = Tensor::from_vec(row, [1, n], &dev);
            let others = (n - 1) as f64 * f64::from(-2.3f32).exp();
            let want = 1.0 + (1.0 + others).ln();
            let got = x.logsumexp(1, false).to_vec::<f32>().unwrap()[0];
            assert!(
                (f64::from(got) - want).abs() < 3e-6,
                "{got} {want} on {dev}"
            );
            let share = x.softmax(1).select(1, 3).to_vec::<f32>().unwrap()[0];
            assert_exact(share, f64::from(-2.3f32).exp() / (1.0 + others), "softmax");
        }
    }
}
