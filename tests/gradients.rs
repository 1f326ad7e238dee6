//! Derivatives: every row of the table and every structured operation against finite differences
//! (f64, CPU), second derivatives, and the GPU's gradients against the CPU's, with an upstream
//! gradient that is not 1.

mod devices;

use devices::{assert_close, fill};
use wgrad::autograd::{grad, gradcheck};
use wgrad::backend::{MapOp, apply_row};
use wgrad::prelude::*;

/// Random f64 numbers in a range, away from ties and kinks at multiples of 0.5.
fn points(seed: u64, n: usize, (lo, hi): (f64, f64)) -> Vec<f64> {
    fill(seed, n, 1.0)
        .into_iter()
        .map(|u| {
            let x = lo + (f64::from(u) + 1.0) / 2.0 * (hi - lo);
            let distance = (x * 2.0 - (x * 2.0).round()).abs();
            if distance < 0.02 { x + 0.03 } else { x }
        })
        .collect()
}

fn tensor(seed: u64, shape: &[usize], range: (f64, f64), dev: &Device) -> Tensor {
    Tensor::from_vec(points(seed, shape.iter().product(), range), shape, dev)
}

/// A weight per element: what makes the upstream gradient differ from 1 everywhere.
fn weigh(y: &Tensor) -> Tensor {
    let n = y.numel().unwrap_or(1);
    let w = (Tensor::arange(n, (DType::F64, y.device())) * 0.37).sin() + 1.5;
    let w = w
        .reshape(y.shape().unwrap_or_default())
        .to_dtype(y.dtype().unwrap_or(DType::F64));
    (y * w).sum()
}

fn cpus() -> Vec<Device> {
    [true, false]
        .map(|fusion| {
            DeviceOptions::cpu()
                .fusion(fusion)
                .poison(true)
                .open()
                .unwrap()
        })
        .to_vec()
}

#[test]
fn every_row_of_the_table() {
    for dev in cpus() {
        for &op in MapOp::ROWS {
            let Some(range) = op.domain() else { continue };
            let (a, b) = (tensor(1, &[7], range, &dev), tensor(2, &[7], range, &dev));
            let f = |x: &[Tensor]| weigh(&apply_row(op, &x[0], &x[1]));
            gradcheck(f, &[a, b]).unwrap_or_else(|e| panic!("{}: {e}", op.name()));
            // Broadcast operands, and the middle of a graph.
            let (a, b) = (
                tensor(3, &[3, 1], range, &dev),
                tensor(4, &[2], range, &dev),
            );
            let f =
                |x: &[Tensor]| weigh(&(apply_row(op, &(&x[0] * 1.0), &(&x[1] * 1.0)) * 1.1).sqr());
            gradcheck(f, &[a, b]).unwrap_or_else(|e| panic!("{}: {e}", op.name()));
        }
    }
}

#[test]
fn second_derivatives_of_every_row() {
    let dev = devices::cpu();
    for &op in MapOp::ROWS {
        let Some(range) = op.domain() else { continue };
        let (a, b) = (tensor(1, &[5], range, &dev), tensor(2, &[5], range, &dev));
        let slope = |x: &[Tensor]| {
            let leaves: Vec<Tensor> = x
                .iter()
                .map(|t| {
                    if t.needs_grad() {
                        t.clone()
                    } else {
                        t.clone().requires_grad()
                    }
                })
                .collect();
            // Squared, so that the first derivative of linear rows depends on the operands, and with
            // a square beside it for rows whose derivative is 0.
            let y = weigh(&apply_row(op, &leaves[0], &leaves[1]).sqr()) + weigh(&leaves[0].sqr());
            let options = GradOptions {
                create_graph: true,
                allow_unused: true,
                ..Default::default()
            };
            match grad(&y, &[&leaves[0], &leaves[1]], options) {
                Ok(g) => weigh(&(&g[0] * 1.3)) + weigh(&(&g[1] * 0.7)),
                Err(error) => panic!("{}: {error}", op.name()),
            }
        };
        gradcheck(slope, &[a, b]).unwrap_or_else(|e| panic!("{}: {e}", op.name()));
    }
}

#[test]
fn structured_operations() {
    for dev in cpus() {
        let r = (-1.0, 1.0);
        let t = |seed, shape: &[usize]| tensor(seed, shape, r, &dev);
        let check = |name: &str, f: &dyn Fn(&[Tensor]) -> Tensor, x: &[Tensor]| {
            gradcheck(|x| weigh(&f(x)), x).unwrap_or_else(|e| panic!("{name} on {dev}: {e}"));
            // The gradient's own derivative, too.
        };
        let a = t(1, &[3, 4]);
        check(
            "matmul",
            &|x| x[0].matmul(&x[1]),
            &[a.clone(), t(2, &[4, 2])],
        );
        check(
            "matmul nt",
            &|x| x[0].matmul(&x[1].t()),
            &[a.clone(), t(2, &[2, 4])],
        );
        check(
            "matmul tn",
            &|x| x[0].t().matmul(&x[1]),
            &[t(3, &[4, 3]), t(2, &[4, 2])],
        );
        check(
            "matmul tt",
            &|x| x[0].t().matmul(&x[1].t()),
            &[t(3, &[4, 3]), t(2, &[2, 4])],
        );
        check(
            "vector matrix",
            &|x| x[0].matmul(&x[1]),
            &[t(4, &[4]), t(2, &[4, 2])],
        );
        check(
            "matrix vector",
            &|x| x[0].matmul(&x[1]),
            &[a.clone(), t(4, &[4])],
        );
        check("dot", &|x| x[0].matmul(&x[1]), &[t(5, &[4]), t(4, &[4])]);
        check(
            "batched",
            &|x| x[0].matmul(&x[1]),
            &[t(6, &[2, 3, 4]), t(7, &[2, 4, 2])],
        );
        check(
            "broadcast batch",
            &|x| x[0].matmul(&x[1]),
            &[t(6, &[2, 1, 3, 4]), t(7, &[3, 4, 2])],
        );
        check(
            "linear",
            &|x| x[0].linear(&x[1], Some(&x[2])).gelu(),
            &[a.clone(), t(2, &[5, 4]), t(3, &[5])],
        );
        check(
            "sum",
            &|x| x[0].sum_dims([0], false),
            std::slice::from_ref(&a),
        );
        check(
            "mean",
            &|x| x[0].mean_dims([-1], true),
            std::slice::from_ref(&a),
        );
        check(
            "max",
            &|x| x[0].max_dims([1], false),
            std::slice::from_ref(&a),
        );
        check("min", &|x| x[0].min(), std::slice::from_ref(&a));
        check("softmax", &|x| x[0].softmax(1), std::slice::from_ref(&a));
        check(
            "log_softmax",
            &|x| x[0].log_softmax(0),
            std::slice::from_ref(&a),
        );
        check(
            "logsumexp",
            &|x| x[0].logsumexp(1, false),
            std::slice::from_ref(&a),
        );
        check(
            "reshape",
            &|x| x[0].t().reshape((2, -1)).sqr(),
            std::slice::from_ref(&a),
        );
        check(
            "permute",
            &|x| x[0].permute([2, 0, 1]).sqr(),
            &[t(6, &[2, 3, 4])],
        );
        check(
            "expand",
            &|x| x[0].expand([3, 2, 4]).sqr(),
            &[t(6, &[2, 1])],
        );
        check(
            "slice",
            &|x| x[0].slice((1.., s(0..4).step(2))).sqr(),
            std::slice::from_ref(&a),
        );
        check(
            "select",
            &|x| x[0].select(1, 2).sqr(),
            std::slice::from_ref(&a),
        );
        check(
            "cat",
            &|x| Tensor::cat(&[&x[0].sqr(), &x[1], &x[0]], 1),
            &[a.clone(), t(8, &[3, 2])],
        );
        check(
            "stack",
            &|x| Tensor::stack(&[&x[0], &x[1]], -1).sqr(),
            &[a.clone(), t(8, &[3, 4])],
        );
        check(
            "chunk",
            &|x| x[0].chunk(3, 1).into_iter().map(|c| c.sqr().sum()).sum(),
            std::slice::from_ref(&a),
        );
        check(
            "clamp",
            &|x| x[0].clamp(-0.4, 0.6).sqr(),
            std::slice::from_ref(&a),
        );
        check(
            "where",
            &|x| x[0].gt(0.1).where_cond(&x[1] * 2.0, x[0].sqr()),
            &[a.clone(), t(9, &[4])],
        );
        check(
            "powi",
            &|x| x[0].powi(3) + x[0].powi(5),
            std::slice::from_ref(&a),
        );
        let index = Tensor::new([[2, 0], [1, 1], [3, 2]], &dev);
        check(
            "gather",
            &|x| x[0].gather(1, &index).sqr(),
            std::slice::from_ref(&a),
        );
        let rows = Tensor::new([2, 0, 2, 1], &dev);
        check(
            "index_select",
            &|x| x[0].index_select(0, &rows).sqr(),
            std::slice::from_ref(&a),
        );
        check(
            "embedding",
            &|x| x[0].embedding(&rows.reshape([2, 2])).sqr(),
            std::slice::from_ref(&a),
        );
        let target = Tensor::new([1, 3, -100], &dev);
        check(
            "cross_entropy",
            &|x| x[0].cross_entropy(&target) * 1.7,
            std::slice::from_ref(&a),
        );
        let weighted = |x: &[Tensor]| {
            let weight = Tensor::new([0.5, 2.0, 1.0, 0.25], (DType::F64, &dev));
            let options = CrossEntropyOptions {
                weight: Some(weight),
                ..Default::default()
            };
            x[0].cross_entropy_with(&target, options) * 1.7
        };
        check(
            "weighted cross_entropy",
            &weighted,
            std::slice::from_ref(&a),
        );
        let rows = |x: &[Tensor]| {
            let options = CrossEntropyOptions {
                reduction: Reduction::None,
                ..Default::default()
            };
            x[0].sqr().cross_entropy_with(&target, options)
        };
        check("cross_entropy rows", &rows, std::slice::from_ref(&a));
    }
}

#[test]
fn second_derivatives_of_structured_operations() {
    for dev in cpus() {
        let a = tensor(1, &[3, 4], (-1.0, 1.0), &dev);
        let b = tensor(2, &[4, 2], (-1.0, 1.0), &dev);
        let target = Tensor::new([1, 3, 0], &dev);
        let index = Tensor::new([2, 0, 2], &dev);
        type F<'a> = (&'a str, Box<dyn Fn(&Tensor) -> Tensor + 'a>);
        let functions: Vec<F<'_>> = vec![
            ("matmul", Box::new(|x| x.matmul(&b).sqr())),
            ("softmax", Box::new(|x| x.softmax(1).sqr())),
            ("cross_entropy", Box::new(|x| x.cross_entropy(&target))),
            (
                "index_select",
                Box::new(|x| x.index_select(0, &index).powi(3)),
            ),
            (
                "slice",
                Box::new(|x| x.slice((0..2, s(1..4).step(2))).powi(3)),
            ),
            ("sum", Box::new(|x| x.sum_dims([1], true).powi(3))),
        ];
        for (name, f) in functions {
            let slope = |x: &[Tensor]| {
                let leaf = if x[0].needs_grad() {
                    x[0].clone()
                } else {
                    x[0].clone().requires_grad()
                };
                let options = GradOptions {
                    create_graph: true,
                    ..Default::default()
                };
                match grad(&weigh(&f(&leaf)), &[&leaf], options) {
                    Ok(g) => weigh(&(&g[0] * 1.3)),
                    Err(e) => panic!("{name}: {e}"),
                }
            };
            gradcheck(slope, std::slice::from_ref(&a))
                .unwrap_or_else(|e| panic!("{name} on {dev}: {e}"));
        }
    }
}

/// Value and gradients of `f` at f32 inputs, with a weighted sum as the loss.
fn value_and_grads(
    f: &dyn Fn(&[Tensor]) -> Tensor,
    inputs: &[(Vec<f32>, Vec<usize>)],
    dev: &Device,
) -> Vec<Vec<f32>> {
    let leaves: Vec<Tensor> = inputs
        .iter()
        .map(|(v, s)| Tensor::from_slice(v, s, dev).requires_grad())
        .collect();
    let y = f(&leaves);
    let n = y.numel().unwrap();
    let w = Tensor::from_vec(fill(77, n, 1.0), y.shape().unwrap(), dev);
    let loss = (&y * w).sum();
    loss.backward().unwrap();
    let mut all = vec![y.to_vec::<f32>().unwrap()];
    all.extend(leaves.iter().map(|l| match l.grad() {
        Ok(g) => g.to_vec::<f32>().unwrap(),
        Err(_) => Vec::new(),
    }));
    all
}

#[test]
fn gpu_and_unfused_agree_with_the_cpu() {
    let reference = devices::cpu();
    let devices = devices::all();
    for &op in MapOp::ROWS {
        let Some((lo, hi)) = op.domain() else {
            continue;
        };
        let draw = |seed, n| -> Vec<f32> {
            points(seed, n, (lo, hi))
                .into_iter()
                .map(|v| v as f32)
                .collect()
        };
        for (sa, sb) in [
            (vec![5, 13], vec![5, 13]),
            (vec![3, 1, 4], vec![2, 1]),
            (vec![257], vec![1]),
        ] {
            let inputs = [
                (draw(1, sa.iter().product()), sa.clone()),
                (draw(2, sb.iter().product()), sb.clone()),
            ];
            let f = |x: &[Tensor]| (apply_row(op, &(&x[0] * 1.0), &x[1]) + 0.5).sqr();
            let want = value_and_grads(&f, &inputs, &reference);
            for dev in &devices {
                let got = value_and_grads(&f, &inputs, dev);
                for (g, w) in got.iter().zip(&want) {
                    assert_close(g, w, 2e-4, 2e-5);
                }
            }
        }
    }
}

#[test]
fn structured_gradients_agree_across_devices() {
    let reference = devices::cpu();
    for dev in devices::all() {
        for (n, c) in [(1, 2), (5, 3), (7, 33), (3, 1000), (130, 10), (2, 5000)] {
            let x = fill(n as u64, n * c, 4.0);
            let targets: Vec<i32> = (0..n).map(|i| (i * 7919 % c) as i32).collect();
            let weights: Vec<f32> = fill(3, c, 0.5).iter().map(|v| v + 1.0).collect();
            for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
                for weighted in [false, true] {
                    let f = |x: &[Tensor]| {
                        let dev = x[0].device();
                        let mut targets = targets.clone();
                        if n > 2 {
                            targets[1] = -100;
                        }
                        let options = CrossEntropyOptions {
                            weight: weighted.then(|| Tensor::from_slice(&weights, c, dev)),
                            reduction,
                            ..Default::default()
                        };
                        let t = Tensor::from_vec(targets, n, dev);
                        // In the middle of a graph: operations before and after.
                        (&x[0] * 0.7).cross_entropy_with(&t, options) * 1.9
                    };
                    let inputs = [(x.clone(), vec![n, c])];
                    let want = value_and_grads(&f, &inputs, &reference);
                    let got = value_and_grads(&f, &inputs, &dev);
                    assert_close(&got[0], &want[0], 2e-5, 1e-5);
                    assert_close(&got[1], &want[1], 2e-4, 1e-6);
                }
            }
        }
        for (m, k, n) in [
            (1, 1, 1),
            (3, 5, 7),
            (17, 33, 9),
            (64, 64, 64),
            (65, 127, 31),
            (2, 300, 3),
        ] {
            let inputs = [
                (fill(1, m * k, 1.0), vec![m, k]),
                (fill(2, n * k, 1.0), vec![n, k]),
                (fill(3, n, 1.0), vec![n]),
            ];
            let f = |x: &[Tensor]| x[0].linear(&x[1], Some(&x[2])).relu().sqr() * 0.3;
            let want = value_and_grads(&f, &inputs, &reference);
            let got = value_and_grads(&f, &inputs, &dev);
            for (g, w) in got.iter().zip(&want) {
                assert_close(g, w, 2e-4, 2e-4);
            }
        }
    }
}

#[test]
fn cross_entropies_of_the_same_logits_stay_apart() {
    for dev in devices::all() {
        let x = Tensor::from_vec(fill(4, 15, 2.0), [5, 3], &dev).requires_grad();
        let t = Tensor::new([0, 1, 2, 1, 0], &dev);
        let loss = |ignore_index| {
            let options = CrossEntropyOptions {
                ignore_index,
                ..Default::default()
            };
            x.cross_entropy_with(&t, options)
        };
        let grad = |y: &Tensor| {
            x.zero_grad();
            y.backward().unwrap();
            x.grad().unwrap().to_vec::<f32>().unwrap()
        };
        // Each in a run of its own, then all recorded before anything runs.
        let kinds = [None, Some(1), Some(0), None];
        let alone: Vec<f32> = kinds.iter().map(|&k| loss(k).item().unwrap()).collect();
        let grads: Vec<Vec<f32>> = kinds.iter().map(|&k| grad(&loss(k))).collect();
        let together: Vec<Tensor> = kinds.iter().map(|&k| loss(k)).collect();
        let read: Vec<f32> = together.iter().map(|y| y.item().unwrap()).collect();
        assert_close(&read, &alone, 1e-6, 0.0);
        assert_ne!(alone[0], alone[1]);
        let total = grad(&kinds.iter().map(|&k| loss(k)).sum());
        let sum: Vec<f32> = (0..15).map(|i| grads.iter().map(|g| g[i]).sum()).collect();
        assert_close(&total, &sum, 1e-5, 1e-6);
    }
}
