//! The walls of the architecture: variables, roots and slots, structure and data, failure, threads.
//! Each test runs on both devices, fused and unfused.

mod devices;

use std::thread;

use devices::{all, assert_close, fill};
use wgrad::optim::{Adam, AdamOptions, Optimizer};
use wgrad::prelude::*;

fn vector(values: &[f32], dev: &Device) -> Tensor {
    Tensor::from_slice(values, values.len(), dev)
}

/// A model of two layers by hand.
struct Mlp {
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
}

impl Mlp {
    fn new(seed: u64, dev: &Device) -> Mlp {
        let leaf = |s, shape: [usize; 2]| {
            Tensor::from_vec(fill(seed + s, shape[0] * shape[1], 0.3), shape, dev).requires_grad()
        };
        Mlp {
            w1: leaf(1, [16, 8]),
            b1: Tensor::zeros(16, dev).requires_grad(),
            w2: leaf(2, [4, 16]),
            b2: Tensor::zeros(4, dev).requires_grad(),
        }
    }

    fn parameters(&self) -> Vec<Tensor> {
        [&self.w1, &self.b1, &self.w2, &self.b2]
            .map(Tensor::clone)
            .to_vec()
    }

    fn loss(&self, x: &Tensor, t: &Tensor) -> Tensor {
        let h = x.linear(&self.w1, Some(&self.b1)).relu();
        h.linear(&self.w2, Some(&self.b2)).cross_entropy(t)
    }
}

fn batch(step: usize, dev: &Device) -> (Tensor, Tensor) {
    let x = Tensor::from_vec(fill(100 + step as u64, 12 * 8, 1.0), [12, 8], dev);
    let t: Vec<i32> = (0..12).map(|i| ((i * 7 + step) % 4) as i32).collect();
    (x, Tensor::from_vec(t, 12, dev))
}

/// The losses of some steps of training.
fn train(dev: &Device, steps: usize) -> Vec<f32> {
    let model = Mlp::new(3, dev);
    let mut adam = Adam::new(
        model.parameters(),
        AdamOptions {
            lr: 1e-2,
            ..Default::default()
        },
    );
    (0..steps)
        .map(|step| {
            let (x, t) = batch(step, dev);
            adam.zero_grad();
            let loss = model.loss(&x, &t);
            loss.backward().unwrap();
            adam.step().unwrap();
            loss.item::<f32>().unwrap()
        })
        .collect()
}

#[test]
fn what_is_recorded_sees_the_value_of_its_recording() {
    for dev in all() {
        let w = vector(&[1.0, 2.0], &dev).requires_grad();
        let mut adam = Adam::new(
            vec![w.clone()],
            AdamOptions {
                lr: 0.5,
                ..Default::default()
            },
        );
        for round in 0..4 {
            let before = w.to_vec::<f32>().unwrap();
            let pending = &w * 2.0;
            let snapshot = w.detach();
            let ema = snapshot.clone() * 0.9 + 0.1;
            let tape = w.sqr().sum();
            adam.zero_grad();
            (&w * vector(&[1.0, -1.0], &dev)).sum().backward().unwrap();
            adam.step().unwrap();
            let after = w.to_vec::<f32>().unwrap();
            assert_ne!(before, after, "{dev}, round {round}");
            assert_eq!(snapshot.to_vec::<f32>().unwrap(), before);
            let doubled: Vec<f32> = before.iter().map(|v| v * 2.0).collect();
            assert_eq!(pending.to_vec::<f32>().unwrap(), doubled);
            let averaged: Vec<f32> = before.iter().map(|v| v * 0.9 + 0.1).collect();
            assert_close(&ema.to_vec::<f32>().unwrap(), &averaged, 1e-6, 0.0);
            // A backward pass after the step uses what the forward pass saw.
            w.zero_grad();
            tape.backward().unwrap();
            assert_close(
                &w.grad().unwrap().to_vec::<f32>().unwrap(),
                &doubled,
                1e-6,
                0.0,
            );
        }
    }
}

#[test]
fn assigned_values_do_not_change_what_was_recorded() {
    for dev in all() {
        let w = vector(&[1.0, 2.0], &dev).buffer();
        let pending = &w + 1.0;
        w.assign(&vector(&[10.0, 20.0], &dev)).unwrap();
        assert_eq!(pending.to_vec::<f32>().unwrap(), [2.0, 3.0]);
        assert_eq!((&w + 1.0).to_vec::<f32>().unwrap(), [11.0, 21.0]);
        let error = w.assign(&vector(&[1.0], &dev)).unwrap_err();
        assert!(error.to_string().contains("shape [1]"), "{error}");
        assert_eq!(w.to_vec::<f32>().unwrap(), [10.0, 20.0]);
    }
}

#[test]
fn kept_losses_and_gradients_stay_right() {
    for dev in all() {
        let expected = train(&dev, 100);
        let model = Mlp::new(3, &dev);
        let mut adam = Adam::new(
            model.parameters(),
            AdamOptions {
                lr: 1e-2,
                ..Default::default()
            },
        );
        let mut kept = Vec::new();
        let mut grad = None;
        let mut grad_then = Vec::new();
        for step in 0..100 {
            let (x, t) = batch(step, &dev);
            adam.zero_grad();
            let loss = model.loss(&x, &t);
            loss.backward().unwrap();
            adam.step().unwrap();
            kept.push(loss);
            if step == 40 {
                let g = model.w1.grad().unwrap();
                grad_then = g.to_vec::<f32>().unwrap();
                grad = Some(g);
            }
        }
        let losses: Vec<f32> = kept.iter().map(|l| l.item().unwrap()).collect();
        assert_eq!(losses, expected, "{dev}");
        assert_eq!(grad.unwrap().to_vec::<f32>().unwrap(), grad_then);
    }
}

#[test]
fn a_rerun_gives_the_same_bits() {
    for dev in all() {
        let first = train(&dev, 20);
        assert_eq!(train(&dev, 20), first);
        assert!(first[19] < first[0]);
        assert!(first.iter().all(|l| l.is_finite()));
    }
}

#[test]
fn two_threads_train_alone_together() {
    for dev in all() {
        let alone = [train_other(&dev, 1), train_other(&dev, 2)];
        let together = [1, 2].map(|seed| {
            let dev = dev.clone();
            thread::spawn(move || train_other(&dev, seed))
        });
        for (thread, alone) in together.into_iter().zip(alone) {
            assert_eq!(thread.join().unwrap(), alone);
        }
    }
}

fn train_other(dev: &Device, seed: u64) -> Vec<f32> {
    let model = Mlp::new(seed * 50, dev);
    let mut adam = Adam::new(
        model.parameters(),
        AdamOptions {
            lr: 1e-2,
            ..Default::default()
        },
    );
    (0..25)
        .map(|step| {
            let (x, t) = batch(step * seed as usize, dev);
            adam.zero_grad();
            let loss = model.loss(&x, &t) * seed as f64;
            loss.backward().unwrap();
            adam.step().unwrap();
            loss.item::<f32>().unwrap()
        })
        .collect()
}

#[test]
fn one_thread_builds_another_reads() {
    for dev in all() {
        let x = vector(&[1.0, 2.0, 3.0], &dev);
        let y = (&x * 2.0).exp();
        let z = thread::spawn({
            let y = y.clone();
            move || (y + 1.0).to_vec::<f32>().unwrap()
        });
        let z = z.join().unwrap();
        let want: Vec<f32> = [2.0f32, 4.0, 6.0].iter().map(|v| v.exp() + 1.0).collect();
        assert_close(&z, &want, 1e-5, 0.0);
        // The builder's own list still holds what the other thread has run.
        let (sum, y) = (y.sum().item::<f32>().unwrap(), y.to_vec::<f32>().unwrap());
        assert_close(&[sum], &[y.iter().sum()], 1e-6, 0.0);
    }
}

#[test]
fn masks_and_rates_change_without_a_new_pipeline() {
    for dev in all() {
        let w = vector(&fill(5, 64, 1.0), &dev).requires_grad();
        let mut adam = Adam::new(
            vec![w.clone()],
            AdamOptions {
                lr: 0.1,
                ..Default::default()
            },
        );
        let mut seen = Vec::new();
        let mut pipelines = 0;
        let mut last = w.to_vec::<f32>().unwrap();
        for step in 0..8 {
            let mask = Tensor::rand(64, &dev).ge(0.5);
            adam.zero_grad();
            mask.where_cond(&w * 2.0, 0.0).sum().backward().unwrap();
            adam.set_lr(0.1 / f64::from(1 << step));
            adam.step().unwrap();
            let mask = mask.to_vec::<bool>().unwrap();
            assert!(
                !seen.contains(&mask),
                "{dev}: the mask of step {step} is an old one"
            );
            seen.push(mask);
            let now = w.to_vec::<f32>().unwrap();
            let moved = now
                .iter()
                .zip(&last)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(
                moved <= 0.11 / (1 << step) as f32 * 3.0,
                "{dev}: step {step} moved {moved}"
            );
            last = now;
            if step == 2 {
                pipelines = dev.stats().pipelines;
            }
        }
        assert_eq!(dev.stats().pipelines, pipelines, "{dev}");
    }
}

#[test]
fn a_failed_gradient_changes_nothing() {
    for dev in all() {
        let a = vector(&[1.0, 2.0], &dev).requires_grad();
        let b = vector(&[3.0, 4.0], &dev).requires_grad();
        let mut adam = Adam::new(vec![a.clone(), b.clone()], AdamOptions::default());
        (&a * &b).sum().backward().unwrap();
        let (ga, gb) = (a.grad().unwrap(), b.grad().unwrap());
        // A seed of another shape: backward refuses, gradients stay.
        let y = &a * &b;
        let options = GradOptions::default();
        let error = y
            .backward_with_options(&Tensor::zeros([3], &dev), options)
            .unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        assert!(a.grad().unwrap().is_same(&ga) && b.grad().unwrap().is_same(&gb));
        // A failed tensor as gradient cannot be set.
        assert!(
            a.set_grad(&(Tensor::zeros([2], &dev) + Tensor::zeros([3], &dev)))
                .is_err()
        );
        // A failed loss does not reach the parameters.
        let bad = (&a + Tensor::zeros([3], &dev)).sum();
        assert!(bad.backward().is_err());
        assert_eq!(a.to_vec::<f32>().unwrap(), [1.0, 2.0]);
        adam.step().unwrap();
        assert_ne!(a.to_vec::<f32>().unwrap(), [1.0, 2.0]);
    }
}

#[test]
fn a_graph_of_150_000_operations() {
    for dev in devices_for_depth() {
        let x = vector(&[1.0, 0.5, -0.25], &dev).requires_grad();
        let mut y = x.clone();
        for _ in 0..75_000 {
            y = y * 1.000_01 + 1e-6;
        }
        y.sum().backward().unwrap();
        let slope = 1.000_01f64.powi(75_000) as f32;
        let grad = x.grad().unwrap().to_vec::<f32>().unwrap();
        assert_close(&grad, &[slope; 3], 2e-2, 0.0);
        assert!(
            dev.stats().pipelines < 20,
            "{dev}: {} pipelines",
            dev.stats().pipelines
        );
        drop(y);
        // Never run: dropped all the same.
        let mut z = x.detach();
        for _ in 0..3000 {
            z = z.tanh();
        }
        drop(z);
        // Saved results on the tape, runs in between.
        let mut z = x.clone();
        for _ in 0..10_000 {
            z = (z * 0.5).abs() + 0.1;
        }
        z.sum().backward().unwrap();
        assert!(
            x.grad()
                .unwrap()
                .to_vec::<f32>()
                .unwrap()
                .iter()
                .all(|g| g.is_finite())
        );
    }
}

/// Unfused devices run every operation of the depth test alone, which says nothing more.
fn devices_for_depth() -> Vec<Device> {
    let mut devices = vec![devices::cpu()];
    devices.extend(devices::gpu());
    devices
}

#[test]
fn a_second_backward_says_that_the_graph_is_freed() {
    for dev in all() {
        let x = vector(&[1.0, 2.0], &dev).requires_grad();
        let y = x.sqr().sum();
        y.backward().unwrap();
        let error = y.backward().unwrap_err();
        assert!(matches!(error, Error::GraphFreed { .. }), "{error}");
        let y = x.sqr().sum();
        let keep = GradOptions {
            retain_graph: true,
            ..Default::default()
        };
        let one = Tensor::scalar(1.0, &dev);
        y.backward_with_options(&one, keep).unwrap();
        y.backward_with_options(&one, keep).unwrap();
        assert_eq!(x.grad().unwrap().to_vec::<f32>().unwrap(), [6.0, 12.0]);
    }
}

#[test]
fn gradients_accumulate_across_steps() {
    for dev in all() {
        let run = |parts: usize| {
            let model = Mlp::new(9, &dev);
            let mut adam = Adam::new(
                model.parameters(),
                AdamOptions {
                    lr: 1e-2,
                    ..Default::default()
                },
            );
            for step in 0..6 {
                let (x, t) = batch(step, &dev);
                adam.zero_grad();
                for part in 0..parts {
                    let n = 12 / parts;
                    let x = x.narrow(0, part * n, n);
                    let t = t.narrow(0, part * n, n);
                    (model.loss(&x, &t) * (1.0 / parts as f64))
                        .backward()
                        .unwrap();
                }
                adam.step().unwrap();
            }
            model.w1.to_vec::<f32>().unwrap()
        };
        assert_close(&run(3), &run(1), 2e-3, 2e-5);
    }
}
