//! Optimizers' steps where gradients are shared, exchanged or come from several threads.

mod devices;

use devices::{all, assert_close};
use wgrad::optim::{Adam, AdamOptions, Optimizer, Sgd, SgdOptions};
use wgrad::prelude::*;

fn variable(values: &[f32], dev: &Device) -> Tensor {
    Tensor::from_slice(values, [values.len()], dev).requires_grad()
}

fn sgd(params: Vec<Tensor>, lr: f64) -> Sgd {
    let options = SgdOptions {
        lr,
        ..Default::default()
    };
    Sgd::new(params, options)
}

/// `d/da (a + b)^2` is one tensor for both operands, and in the second step it lies in the place of
/// one of them.
#[test]
fn parameters_may_share_a_gradient() {
    for dev in all() {
        let a = variable(&[1.0, -2.0, 3.0], &dev);
        let b = variable(&[0.5, 0.25, -1.0], &dev);
        let mut optimizer = sgd(vec![a.clone(), b.clone()], 0.1);
        let (mut want_a, mut want_b) = ([1.0, -2.0, 3.0], [0.5, 0.25, -1.0]);
        for _ in 0..4 {
            optimizer.zero_grad();
            (&a + &b).sqr().sum().backward().unwrap();
            optimizer.step().unwrap();
            for (a, b) in want_a.iter_mut().zip(&mut want_b) {
                let slope: f32 = 2.0 * (*a + *b);
                (*a, *b) = (*a - 0.1 * slope, *b - 0.1 * slope);
            }
            assert_close(&a.to_vec().unwrap(), &want_a, 1e-6, 1e-6);
            assert_close(&b.to_vec().unwrap(), &want_b, 1e-6, 1e-6);
        }
    }
}

/// Matrices of one product, `x (W1 + W2)`, by Adam, whose moments must not mix.
#[test]
fn shared_gradients_of_matrices() {
    for dev in all() {
        let x = Tensor::from_vec(devices::fill(1, 12, 1.0), [3, 4], &dev);
        let matrix = |seed| Tensor::from_vec(devices::fill(seed, 8, 1.0), [4, 2], &dev);
        let (w1, w2) = (matrix(2).requires_grad(), matrix(3).requires_grad());
        let alone = (matrix(2) + matrix(3)).requires_grad();
        let options = AdamOptions {
            lr: 0.05,
            ..Default::default()
        };
        let mut both = Adam::new(vec![w1.clone(), w2.clone()], options);
        let twice = AdamOptions { lr: 0.1, ..options };
        let mut one = Adam::new(vec![alone.clone()], twice);
        for _ in 0..3 {
            both.zero_grad();
            one.zero_grad();
            x.matmul(&(&w1 + &w2)).sqr().sum().backward().unwrap();
            x.matmul(&alone).sqr().sum().backward().unwrap();
            both.step().unwrap();
            one.step().unwrap();
            let sum: Vec<f32> = (&w1 + &w2).to_vec().unwrap();
            assert_close(&sum, &alone.to_vec::<f32>().unwrap(), 1e-5, 1e-6);
        }
    }
}

/// Gradients that change places within their arena.
#[test]
fn gradients_may_be_exchanged() {
    for dev in all() {
        let (p, q) = (variable(&[1.0, 2.0], &dev), variable(&[3.0, 4.0], &dev));
        let mut optimizer = sgd(vec![p.clone(), q.clone()], 1.0);
        let (mut want_p, mut want_q) = ([1.0f32, 2.0], [3.0f32, 4.0]);
        for step in 0..4 {
            optimizer.zero_grad();
            (p.sqr() * 0.5 + q.sqr() * 0.25).sum().backward().unwrap();
            let (slope_p, slope_q) = (want_p, want_q.map(|v| v * 0.5));
            if step % 2 == 1 {
                // Once computed, the gradients lie in each other's place.
                dev.synchronize().unwrap();
            }
            let (gp, gq) = (p.grad().unwrap(), q.grad().unwrap());
            p.set_grad(&gq).unwrap();
            q.set_grad(&gp).unwrap();
            drop((gp, gq));
            optimizer.step().unwrap();
            for i in 0..2 {
                want_p[i] -= slope_q[i];
                want_q[i] -= slope_p[i];
            }
            assert_close(&p.to_vec().unwrap(), &want_p, 1e-6, 1e-6);
            assert_close(&q.to_vec().unwrap(), &want_q, 1e-6, 1e-6);
        }
    }
}

/// A gradient given to another parameter, kept over steps, and held by somebody meanwhile.
#[test]
fn gradients_may_be_given_on() {
    for dev in all() {
        let (p, q) = (variable(&[1.0, 2.0], &dev), variable(&[3.0, 4.0], &dev));
        let mut optimizer = sgd(vec![p.clone(), q.clone()], 0.5);
        (&p * 2.0).sum().backward().unwrap();
        optimizer.step().unwrap();
        q.set_grad(&p.grad().unwrap()).unwrap();
        let held = q.grad().unwrap();
        optimizer.step().unwrap();
        optimizer.step().unwrap();
        assert_eq!(p.to_vec::<f32>().unwrap(), [-2.0, -1.0]);
        assert_eq!(q.to_vec::<f32>().unwrap(), [1.0, 2.0]);
        assert_eq!(held.to_vec::<f32>().unwrap(), [2.0, 2.0]);
    }
}

/// Clipping beside backward passes of other threads: none is lost.
#[test]
fn clipping_loses_no_gradient() {
    for dev in all() {
        let w = variable(&[1.0, 2.0], &dev);
        (&w * 0.0).sum().backward().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        (&w * 1.0).sum().backward().unwrap();
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..100 {
                    let one = std::slice::from_ref(&w);
                    let _ = wgrad::optim::clip_grad_norm(one, 1e30).unwrap();
                }
            });
        });
        assert_eq!(w.grad().unwrap().to_vec::<f32>().unwrap(), [300.0; 2]);
    }
}

/// Backward passes of several threads over one variable: none is lost.
#[test]
fn threads_add_to_one_gradient() {
    const THREADS: usize = 4;
    const PASSES: usize = 200;
    for dev in all() {
        let w = variable(&[1.0, 2.0], &dev);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..PASSES {
                        (&w * 1.0).sum().backward().unwrap();
                    }
                });
            }
        });
        let want = (THREADS * PASSES) as f32;
        assert_eq!(w.grad().unwrap().to_vec::<f32>().unwrap(), [want, want]);
    }
}
