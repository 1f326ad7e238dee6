//! Every hand-written kernel against its reference in plain operations: values and gradients, on
//! both devices. A device without fusion runs the references.

mod devices;

use devices::{assert_close, fill, open_gpu};
use wgrad::nn::{Dropout, Forward};
use wgrad::optim::{Adam, AdamOptions, AdamW, AdamWOptions, Optimizer, Sgd, SgdOptions};
use wgrad::prelude::*;
use wgrad::{CrossEntropyOptions, DeviceOptions, Reduction};

/// Pairs of one device with its kernels and the same with the references.
fn pairs() -> Vec<(Device, Device)> {
    let cpu = |fusion| DeviceOptions::cpu().fusion(fusion).poison(true).open();
    let gpu = |fusion| open_gpu(DeviceOptions::gpu().fusion(fusion).poison(true));
    let mut pairs = vec![(cpu(true).unwrap(), cpu(false).unwrap())];
    pairs.extend(gpu(true).zip(gpu(false)));
    pairs
}

/// Launches that `f` and what it recorded cost on `dev`.
fn launches<T>(dev: &Device, f: impl FnOnce() -> T) -> (T, u64) {
    dev.synchronize().unwrap();
    let before = dev.stats().launches;
    let result = f();
    dev.synchronize().unwrap();
    (result, dev.stats().launches - before)
}

/// A result and its gradients by the leaves, for an upstream gradient in the middle of a graph.
fn value_and_grads(
    dev: &Device,
    leaves: &[(Vec<f32>, Vec<usize>)],
    f: &dyn Fn(&[Tensor]) -> Tensor,
) -> (Vec<Vec<f32>>, u64) {
    let leaf = |(data, shape): &(Vec<f32>, Vec<usize>)| {
        Tensor::from_vec(data.clone(), shape.clone(), dev).requires_grad()
    };
    let leaves: Vec<Tensor> = leaves.iter().map(leaf).collect();
    let inner: Vec<Tensor> = leaves.iter().map(|x| x.tanh()).collect();
    dev.synchronize().unwrap();
    let (y, forward) = launches(dev, || f(&inner));
    (&y * &y).sum().backward().unwrap();
    let mut results = vec![y.to_vec().unwrap()];
    for x in &leaves {
        results.push(x.grad().unwrap().to_vec().unwrap());
    }
    (results, forward)
}

/// Compares kernel and reference. The reference must have taken more launches: else the kernel
/// would have been compared with itself.
fn compare(name: &str, leaves: &[(Vec<f32>, Vec<usize>)], f: impl Fn(&[Tensor]) -> Tensor) {
    for (fused, plain) in pairs() {
        let (got, few) = value_and_grads(&fused, leaves, &f);
        let (want, many) = value_and_grads(&plain, leaves, &f);
        assert!(few < many, "{name}: {few} launches against {many}");
        for (g, w) in got.iter().zip(&want) {
            assert!(w.iter().any(|v| *v != 0.0), "{name}: nothing to compare");
            assert_close(g, w, 2e-4, 2e-5);
        }
    }
}

#[test]
fn matrix_products() {
    let leaf = |seed, shape: &[usize]| (fill(seed, shape.iter().product(), 1.0), shape.to_vec());
    for (m, k, n) in [
        (1, 2, 1),
        (3, 5, 2),
        (17, 33, 65),
        (64, 16, 128),
        (1, 300, 7),
    ] {
        let name = format!("{m} x {k} x {n}");
        compare(&name, &[leaf(1, &[m, k]), leaf(2, &[k, n])], |x| {
            x[0].matmul(&x[1])
        });
        compare(
            &name,
            &[leaf(1, &[m, k]), leaf(2, &[n, k]), leaf(3, &[n])],
            |x| x[0].linear(&x[1], Some(&x[2])).relu(),
        );
        compare(&name, &[leaf(1, &[k, m]), leaf(2, &[n, k])], |x| {
            (x[0].t().matmul(&x[1].t()) * 0.5).gelu()
        });
    }
    compare(
        "batches",
        &[leaf(1, &[3, 1, 5, 7]), leaf(2, &[2, 7, 4])],
        |x| x[0].matmul(&x[1]).sigmoid(),
    );
    compare("vector", &[leaf(1, &[9]), leaf(2, &[9, 4])], |x| {
        x[0].matmul(&x[1])
    });
    // More than the reference multiplies out at a time.
    // Scaled, so that the rounding of 1,500 terms stays below the tolerance.
    compare("long", &[leaf(1, &[40, 1500]), leaf(2, &[1500, 80])], |x| {
        x[0].matmul(&x[1]) * 0.02
    });
}

#[test]
fn dropout_and_residual_behind_a_product() {
    let leaf = |seed, shape: &[usize]| (fill(seed, shape.iter().product(), 1.0), shape.to_vec());
    let dropout = Dropout::new(0.4);
    // Edges of tiles, vectors of four or not, few rows, a long k, a batch.
    for shape in [
        vec![5, 7],
        vec![1, 64],
        vec![3, 130],
        vec![66, 65],
        vec![130, 128],
        vec![2, 3, 17, 9],
    ] {
        for k in [3, 40, 700] {
            let [.., m, n] = shape[..] else {
                unreachable!()
            };
            let batch = &shape[..shape.len() - 2];
            let a = [batch, &[m, k]].concat();
            let leaves = [leaf(1, &a), leaf(2, &[k, n]), leaf(3, &shape)];
            compare(&format!("{shape:?} of {k}"), &leaves, |x| {
                x[0].device().seed(11);
                let y = dropout.forward(&(x[0].matmul(&x[1]) * 0.05)).unwrap();
                (y + &x[2]) * 0.5
            });
        }
    }
}

#[test]
fn cross_entropies() {
    let weight = |n: usize| {
        fill(9, n, 0.5)
            .iter()
            .map(|w| w + 1.0)
            .collect::<Vec<f32>>()
    };
    for (rows, classes) in [(1, 2), (5, 3), (33, 10), (4, 1000), (3, 5000)] {
        let logits = (fill(4, rows * classes, 3.0), vec![rows, classes]);
        let targets: Vec<i32> = (0..rows).map(|r| (r * 7 % classes) as i32).collect();
        for weighted in [false, true] {
            for ignore in [None, Some(targets[0] as i64)] {
                for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
                    if reduction == Reduction::Mean && ignore.is_some() && rows == 1 {
                        continue; // the mean of nothing
                    }
                    if rows == 1 && ignore.is_some() {
                        continue; // all zeros
                    }
                    let name = format!("{rows} x {classes}, {weighted}, {ignore:?}, {reduction:?}");
                    compare(&name, std::slice::from_ref(&logits), |x| {
                        let dev = x[0].device();
                        let options = CrossEntropyOptions {
                            weight: weighted
                                .then(|| Tensor::from_vec(weight(classes), classes, dev)),
                            ignore_index: ignore,
                            reduction,
                            ..Default::default()
                        };
                        let targets = Tensor::from_vec(targets.clone(), rows, dev);
                        (&x[0] * 4.0).cross_entropy_with(&targets, options)
                    });
                }
            }
        }
    }
}

#[test]
fn softmax_and_its_kin() {
    for shape in [&[5, 7][..], &[33, 10], &[2, 3, 4], &[3, 1000], &[6]] {
        let x = (fill(8, shape.iter().product(), 1.0), shape.to_vec());
        for dim in [0, -1] {
            let name = format!("{shape:?} along {dim}");
            let x = std::slice::from_ref(&x);
            compare(&name, x, |x| (&x[0] * 9.0).softmax(dim) * 3.0);
            compare(&name, x, |x| (&x[0] * 9.0).log_softmax(dim));
            compare(&name, x, |x| (&x[0] * 9.0).logsumexp(dim, false));
        }
        compare("turned", std::slice::from_ref(&x), |x| {
            (x[0].transpose(0, -1) * 5.0).softmax(-1)
        });
    }
}

/// Parameters after five steps. One has no gradient in the third step, and an old value of
/// another is held over the fourth.
fn trained<O: Optimizer>(dev: &Device, make: &dyn Fn(Vec<Tensor>) -> O) -> Vec<Vec<f32>> {
    let shapes: [&[usize]; 4] = [&[7, 9], &[1], &[300], &[4, 4, 4]];
    let params: Vec<Tensor> = (0..4)
        .map(|i| {
            let n = shapes[i].iter().product();
            Tensor::from_vec(fill(i as u64, n, 1.0), shapes[i], dev).requires_grad()
        })
        .collect();
    let mut optimizer = make(params.clone());
    let mut results = Vec::new();
    for step in 0..5 {
        optimizer.zero_grad();
        let mut loss = Tensor::zeros([], dev);
        for (i, p) in params.iter().enumerate() {
            if (step, i) == (2, 1) {
                continue;
            }
            let n = p.numel().unwrap();
            let x = Tensor::from_vec(fill(50 + step, n, 1.0), p.shape().unwrap(), dev);
            loss = loss + (p * x - 0.3).sqr().sum();
        }
        loss.backward().unwrap();
        let old = (step == 3).then(|| params[2].detach());
        optimizer.step().unwrap();
        results.extend(old.map(|old| old.to_vec().unwrap()));
    }
    results.extend(params.iter().map(|p| p.to_vec().unwrap()));
    let state = optimizer.state_dict().unwrap();
    results.extend(state.tensors.values().map(|t| t.to_vec().unwrap()));
    results
}

fn compare_steps<O: Optimizer>(name: &str, make: impl Fn(Vec<Tensor>) -> O) {
    for (fused, plain) in pairs() {
        let (got, few) = launches(&fused, || trained(&fused, &make));
        let (want, many) = launches(&plain, || trained(&plain, &make));
        assert!(few < many, "{name}: {few} launches against {many}");
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(&want) {
            assert_close(g, w, 2e-5, 2e-6);
        }
    }
}

#[test]
fn adam_steps() {
    let plain = AdamOptions {
        lr: 0.05,
        ..AdamOptions::default()
    };
    for amsgrad in [false, true] {
        for maximize in [false, true] {
            for weight_decay in [0.0, 0.1] {
                let options = AdamOptions {
                    amsgrad,
                    maximize,
                    weight_decay,
                    ..plain
                };
                compare_steps("Adam", |params| Adam::new(params, options));
            }
        }
    }
}

#[test]
fn adamw_steps() {
    for amsgrad in [false, true] {
        for weight_decay in [0.0, 0.3] {
            let options = AdamWOptions {
                lr: 0.05,
                amsgrad,
                weight_decay,
                ..AdamWOptions::default()
            };
            compare_steps("AdamW", |params| AdamW::new(params, options));
        }
    }
}

#[test]
fn sgd_steps() {
    let plain = SgdOptions {
        lr: 0.01,
        ..SgdOptions::default()
    };
    for momentum in [0.0, 0.9] {
        for nesterov in [false, momentum > 0.0] {
            for dampening in [0.0, if nesterov { 0.0 } else { 0.2 }] {
                let options = SgdOptions {
                    momentum,
                    nesterov,
                    dampening,
                    weight_decay: 0.05,
                    ..plain
                };
                compare_steps("SGD", |params| Sgd::new(params, options));
            }
        }
    }
}

/// What a product's kernel stores besides its last result: the product itself, and what was recorded
/// before it.
#[test]
fn a_product_and_what_is_computed_beside_it_are_all_kept() {
    for (fused, plain) in pairs() {
        let results = |dev: &Device| -> Vec<Vec<f32>> {
            dev.seed(3);
            let leaf = |seed| Tensor::from_vec(fill(seed, 48 * 48, 1.0), [48, 48], dev);
            let (a, b, c) = (leaf(1), leaf(2), leaf(3));
            let noise = Tensor::randn([48, 48], dev);
            let early = c.relu();
            let p = a.matmul(&b);
            let y = &p + &noise;
            let z = (&p * &early).tanh();
            let q = &p * 1.0;
            let mut out: Vec<Vec<f32>> = [&y, &z, &noise, &early, &p, &q]
                .iter()
                .map(|t| t.to_vec().unwrap())
                .collect();
            // The same in training: both factors are saved.
            let (x, w) = (leaf(4).requires_grad(), leaf(5).requires_grad());
            let h = leaf(6).requires_grad();
            let gate = h.sigmoid();
            let y = gate * x.matmul(&w);
            y.sum().backward().unwrap();
            out.extend([&x, &w, &h].map(|t| t.grad().unwrap().to_vec().unwrap()));
            out
        };
        for (got, want) in results(&fused).iter().zip(&results(&plain)) {
            assert_close(got, want, 2e-4, 2e-5);
        }
    }
}
