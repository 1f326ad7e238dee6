//! What torch lacks, or computes in bfloat16, against formulas in f64.

use wgrad::optim::*;
use wgrad::prelude::*;

use super::course::{advance, close, numbers, params, places, skipped, tensor, unscaled, values};
use super::devices;

/// Follows a formula in f64 for 30 steps.
fn formula<O: Optimizer>(
    make: impl Fn(Vec<Tensor>) -> O,
    chosen: &[usize],
    mut update: impl FnMut(i32, usize, &mut [f64], &[f64], &mut Vec<f64>),
) {
    let mut wanted: Vec<Vec<f64>> = Vec::new();
    let as_f64 = |x: Vec<f32>| x.into_iter().map(f64::from).collect::<Vec<f64>>();
    for &i in chosen {
        wanted.push(as_f64(numbers(i as u64, i)));
    }
    let mut states = vec![Vec::new(); chosen.len()];
    let mut course = Vec::new();
    for step in 0..30 {
        for (k, &i) in chosen.iter().enumerate() {
            let g = as_f64(numbers(100 * (step + 1) + i as u64, i));
            update(step as i32 + 1, i, &mut wanted[k], &g, &mut states[k]);
        }
        course.push(wanted.concat());
    }
    let both = |place| [(place, false), (place, true)];
    for ((dev, dtype, tolerance), scaled) in places().iter().flat_map(both) {
        let (dtype, tolerance) = (*dtype, *tolerance);
        let all = params(dev, dtype);
        let params: Vec<Tensor> = chosen.iter().map(|&i| all[i].clone()).collect();
        let mut optimizer = make(params.clone());
        let mut scaler = unscaled(dev);
        for (step, wanted) in course.iter().enumerate() {
            if scaled && step % 3 == 0 {
                skipped(&mut scaler, &mut optimizer, step as u64);
            }
            for (k, &i) in chosen.iter().enumerate() {
                let grad = tensor(100 * (step as u64 + 1) + i as u64, i, dev, dtype);
                params[k].set_grad(&grad).unwrap();
            }
            match scaled {
                false => optimizer.step().unwrap(),
                true => advance(&mut scaler, &mut optimizer),
            }
            let got: Vec<f64> = params.iter().flat_map(values).collect();
            let what = format!("{dtype} on {} after {}", dev.name(), step + 1);
            close(&got, wanted, tolerance, &what);
        }
    }
}

#[test]
fn lion() {
    for maximize in [false, true] {
        let options = LionOptions {
            lr: 0.01,
            betas: (0.8, 0.95),
            weight_decay: 0.2,
            maximize,
        };
        let make = |params| Lion::new(params, options);
        formula(make, &[0, 1, 2, 3], |_, _, p, g, m| {
            m.resize(p.len(), 0.0);
            for j in 0..p.len() {
                let g = if maximize { -g[j] } else { g[j] };
                let mixed = 0.8 * m[j] + 0.2 * g;
                let sign = f64::from(i8::from(mixed > 0.0) - i8::from(mixed < 0.0));
                p[j] = p[j] * (1.0 - 0.01 * 0.2) - 0.01 * sign;
                m[j] = 0.95 * m[j] + 0.05 * g;
            }
        });
    }
}

fn length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[test]
fn lamb() {
    for maximize in [false, true] {
        let options = LambOptions {
            lr: 0.02,
            betas: (0.8, 0.95),
            eps: 1e-4,
            weight_decay: 0.1,
            maximize,
        };
        let make = |params| Lamb::new(params, options);
        formula(make, &[0, 1, 2, 3], |t, _, p, g, state| {
            let n = p.len();
            state.resize(2 * n, 0.0);
            let mut r = Vec::new();
            for j in 0..n {
                let g = if maximize { -g[j] } else { g[j] };
                state[j] = 0.8 * state[j] + 0.2 * g;
                state[n + j] = 0.95 * state[n + j] + 0.05 * g * g;
                let m = state[j] / (1.0 - 0.8f64.powi(t));
                let v = state[n + j] / (1.0 - 0.95f64.powi(t));
                r.push(m / (v.sqrt() + 1e-4) + 0.1 * p[j]);
            }
            let trust = length(p) / length(&r);
            for j in 0..n {
                p[j] -= 0.02 * trust * r[j];
            }
        });
    }
    // Nothing is 0 times as long.
    let dev = devices::cpu();
    let w = Tensor::zeros([3], &dev).requires_grad();
    let mut lamb = Lamb::new(
        vec![w.clone()],
        LambOptions {
            lr: 0.5,
            ..Default::default()
        },
    );
    w.set_grad(&Tensor::ones([3], &dev)).unwrap();
    lamb.step().unwrap();
    close(&values(&w), &[-0.5; 3], 1e-5, "from zero");
}

/// Row-major `[n, k] x [k, m]`.
fn product(a: &[f64], b: &[f64], n: usize, k: usize, m: usize) -> Vec<f64> {
    let mut c = vec![0.0; n * m];
    for i in 0..n {
        for l in 0..k {
            for j in 0..m {
                c[i * m + j] += a[i * k + l] * b[l * m + j];
            }
        }
    }
    c
}

fn transposed(a: &[f64], n: usize, m: usize) -> Vec<f64> {
    (0..n * m).map(|at| a[at % n * m + at / n]).collect()
}

#[test]
fn muon() {
    for nesterov in [true, false] {
        let options = MuonOptions {
            lr: 0.03,
            nesterov,
            match_rms_adamw: !nesterov,
            ..Default::default()
        };
        let make = |params| Muon::new(params, options);
        formula(make, &[0], |_, _, p, g, b| {
            b.resize(p.len(), 0.0);
            let mut u = Vec::new();
            for j in 0..p.len() {
                b[j] = 0.95 * b[j] + 0.05 * g[j];
                u.push(if nesterov {
                    0.95 * b[j] + 0.05 * g[j]
                } else {
                    b[j]
                });
            }
            let norm = length(&u);
            let mut x: Vec<f64> = u.iter().map(|x| x / norm).collect();
            for _ in 0..5 {
                let a = product(&x, &transposed(&x, 3, 5), 3, 5, 3);
                let aa = product(&a, &a, 3, 3, 3);
                let poly: Vec<f64> = a
                    .iter()
                    .zip(&aa)
                    .map(|(a, b)| -4.775 * a + 2.0315 * b)
                    .collect();
                let next = product(&poly, &x, 3, 3, 5);
                x = x.iter().zip(next).map(|(x, y)| 3.4445 * x + y).collect();
            }
            let ratio = if nesterov { 1.0 } else { 0.2 * 5f64.sqrt() };
            for j in 0..p.len() {
                p[j] = p[j] * (1.0 - 0.03 * 0.1) - 0.03 * ratio * x[j];
            }
        });
    }
    // A matrix that is higher than wide is turned, and its step is longer.
    let dev = devices::cpu();
    let wide = Tensor::from_vec(numbers(7, 0), [3, 5], &dev);
    let high = wide.transpose(0, 1).contiguous();
    let options = MuonOptions {
        weight_decay: 0.0,
        ..Default::default()
    };
    let mut steps = Vec::new();
    for grad in [&wide, &high] {
        let w = grad.zeros_like().requires_grad();
        let mut muon = Muon::new(vec![w.clone()], options);
        w.set_grad(grad).unwrap();
        muon.step().unwrap();
        steps.push(w.detach());
    }
    let turned = values(&(steps[1].transpose(0, 1) * (0.6f64).sqrt()).contiguous());
    close(&turned, &values(&steps[0]), 1e-6, "turned");
    let vector = Tensor::zeros([3], &dev).requires_grad();
    let error = Muon::new(vec![vector], options)
        .step()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("Muon takes matrices") && error.contains("formulas.rs"),
        "{error}"
    );
}
