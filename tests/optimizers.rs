//! Optimizers against torch's over 100 steps (tests/golden/optimizers.py), and against formulas in f64 where torch
//! has none: on every device, fused and not.

mod devices;

use wgrad::optim::*;
use wgrad::prelude::*;

/// What tests/golden/optimizers.py wrote: lines of numbers under a name.
fn golden(name: &str) -> Vec<Vec<f64>> {
    let text = include_str!("golden/optimizers.txt");
    let lines = text.lines().skip_while(|line| *line != name).skip(1);
    let numbers = |line: &str| {
        let parsed: Vec<_> = line.split(' ').map(str::parse::<f64>).collect();
        parsed.into_iter().collect::<Result<Vec<f64>, _>>().ok()
    };
    let lines: Vec<Vec<f64>> = lines.map_while(numbers).collect();
    assert!(!lines.is_empty(), "{name} is not in optimizers.txt");
    lines
}

const SHAPES: [&[usize]; 4] = [&[3, 5], &[], &[70], &[2, 2, 2]];

fn numbers(seed: u64, i: usize) -> Vec<f32> {
    devices::fill(seed, SHAPES[i].iter().product(), 1.0)
}

fn tensor(seed: u64, i: usize, dev: &Device, dtype: DType) -> Tensor {
    Tensor::from_vec(numbers(seed, i), SHAPES[i], dev).to_dtype(dtype)
}

fn values(x: &Tensor) -> Vec<f64> {
    match x.dtype().unwrap() {
        DType::F64 => x.to_vec::<f64>().unwrap(),
        _ => {
            let values = x.to_vec::<f32>().unwrap();
            values.into_iter().map(f64::from).collect()
        }
    }
}

fn params(dev: &Device, dtype: DType) -> Vec<Tensor> {
    let make = |i: usize| tensor(i as u64, i, dev, dtype).requires_grad();
    (0..SHAPES.len()).map(make).collect()
}

/// The gradients of a step; the third parameter has none in every third.
fn set_gradients(params: &[Tensor], step: u64, dtype: DType) {
    for (i, p) in params.iter().enumerate() {
        p.zero_grad();
        if i != 2 || !step.is_multiple_of(3) {
            let grad = tensor(100 * (step + 1) + i as u64, i, p.device(), dtype);
            p.set_grad(&grad).unwrap();
        }
    }
}

/// Devices with the types that they have.
fn places() -> Vec<(Device, DType, f64)> {
    let mut places = Vec::new();
    for dev in devices::all() {
        if dev.is_cpu() {
            places.push((dev.clone(), DType::F64, 1e-8));
        }
        places.push((dev, DType::F32, 1e-5));
    }
    places
}

#[track_caller]
fn close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (g - w).abs() / w.abs().max(1.0);
        assert!(error <= tolerance, "{what}, element {i}: {g}, not {w}");
    }
}

/// A hundred steps of an optimizer of two groups, compared after 1, 10 and 100 of them.
fn follow(name: &str, make: &dyn Fn(Vec<Tensor>, Vec<Tensor>) -> Box<dyn Optimizer>) {
    let golden = golden(name);
    for (dev, dtype, tolerance) in places() {
        let params = params(&dev, dtype);
        let mut optimizer = make(params[..2].to_vec(), params[2..].to_vec());
        let mut checked = golden.iter();
        // A step in plain operations is dozens of launches on a GPU.
        let steps = if dev.is_cpu() || dev.fusion() {
            100
        } else {
            10
        };
        for step in 0..steps {
            set_gradients(&params, step, dtype);
            optimizer.step().unwrap();
            if [1, 10, 100].contains(&(step + 1)) {
                let mut got: Vec<f64> = params.iter().flat_map(values).collect();
                if name.starts_with("asgd") {
                    let state = optimizer.state_dict().unwrap();
                    for (i, p) in params.iter().enumerate() {
                        let average = state.tensors.get(&format!("{i}.ax"));
                        let none = || vec![0.0; p.numel().unwrap()];
                        got.extend(average.map_or_else(none, values));
                    }
                }
                let what = format!("{name} of {dtype} on {} after {}", dev.name(), step + 1);
                close(&got, checked.next().unwrap(), tolerance, &what);
            }
        }
    }
}

/// Follows torch with an elementwise optimizer.
fn elementwise<O: Hyperparameters + 'static>(name: &str, first: O, second: O) {
    follow(name, &|a, b| {
        Box::new(Descent::with_groups(vec![
            Group {
                params: a,
                options: first.clone(),
            },
            Group {
                params: b,
                options: second.clone(),
            },
        ]))
    });
}

/// Options that differ from the defaults.
macro_rules! with {
    ($options:ident { $($field:ident: $value:expr),* $(,)? }) => {
        $options { $($field: $value,)* ..Default::default() }
    };
}

#[test]
fn sgd() {
    elementwise(
        "sgd",
        with!(SgdOptions { lr: 0.05 }),
        with!(SgdOptions {
            lr: 0.05,
            weight_decay: 0.1
        }),
    );
    elementwise(
        "sgd_momentum",
        with!(SgdOptions {
            lr: 0.05,
            momentum: 0.9
        }),
        with!(SgdOptions {
            lr: 0.03,
            momentum: 0.8,
            dampening: 0.3,
            weight_decay: 0.01
        }),
    );
    elementwise(
        "sgd_nesterov",
        with!(SgdOptions {
            lr: 0.05,
            momentum: 0.9,
            nesterov: true
        }),
        with!(SgdOptions {
            lr: 0.05,
            momentum: 0.5,
            nesterov: true,
            weight_decay: 0.2
        }),
    );
    elementwise(
        "sgd_maximize",
        with!(SgdOptions {
            lr: 0.01,
            momentum: 0.9,
            maximize: true
        }),
        with!(SgdOptions {
            lr: 0.02,
            maximize: true,
            weight_decay: 0.1
        }),
    );
}

#[test]
fn adam() {
    elementwise(
        "adam",
        with!(AdamOptions { lr: 0.01 }),
        with!(AdamOptions {
            lr: 0.02,
            betas: (0.8, 0.99),
            eps: 1e-4,
            weight_decay: 0.1
        }),
    );
    elementwise(
        "adam_amsgrad",
        with!(AdamOptions {
            lr: 0.01,
            amsgrad: true
        }),
        with!(AdamOptions {
            lr: 0.02,
            betas: (0.8, 0.9),
            amsgrad: true,
            weight_decay: 0.1
        }),
    );
    elementwise(
        "adam_maximize",
        with!(AdamOptions {
            lr: 0.01,
            maximize: true
        }),
        with!(AdamOptions {
            lr: 0.02,
            maximize: true,
            weight_decay: 0.1
        }),
    );
    elementwise(
        "adamw",
        with!(AdamWOptions { lr: 0.01 }),
        with!(AdamWOptions {
            lr: 0.02,
            weight_decay: 0.3
        }),
    );
    elementwise(
        "adamw_amsgrad_maximize",
        with!(AdamWOptions {
            lr: 0.01,
            amsgrad: true,
            maximize: true
        }),
        with!(AdamWOptions {
            lr: 0.02,
            betas: (0.5, 0.9),
            amsgrad: true,
            maximize: true
        }),
    );
}

#[test]
fn adamax() {
    elementwise(
        "adamax",
        with!(AdamaxOptions { lr: 0.01 }),
        with!(AdamaxOptions {
            lr: 0.02,
            betas: (0.8, 0.9),
            eps: 1e-3,
            weight_decay: 0.1
        }),
    );
    elementwise(
        "adamax_maximize",
        with!(AdamaxOptions { maximize: true }),
        with!(AdamaxOptions {
            lr: 0.03,
            maximize: true
        }),
    );
}

#[test]
fn nadam() {
    elementwise(
        "nadam",
        with!(NAdamOptions { lr: 0.01 }),
        with!(NAdamOptions {
            lr: 0.02,
            betas: (0.8, 0.99),
            eps: 1e-4,
            weight_decay: 0.1,
            momentum_decay: 0.02,
        }),
    );
    elementwise(
        "nadam_decoupled",
        with!(NAdamOptions {
            lr: 0.01,
            decoupled_weight_decay: true,
            weight_decay: 0.1
        }),
        with!(NAdamOptions {
            lr: 0.02,
            decoupled_weight_decay: true
        }),
    );
    elementwise(
        "nadam_maximize",
        with!(NAdamOptions {
            lr: 0.01,
            maximize: true
        }),
        with!(NAdamOptions {
            maximize: true,
            weight_decay: 0.1
        }),
    );
}

#[test]
fn radam() {
    elementwise(
        "radam",
        with!(RAdamOptions { lr: 0.01 }),
        with!(RAdamOptions {
            lr: 0.02,
            betas: (0.8, 0.99),
            eps: 1e-4,
            weight_decay: 0.1
        }),
    );
    elementwise(
        "radam_decoupled",
        with!(RAdamOptions {
            lr: 0.01,
            decoupled_weight_decay: true,
            weight_decay: 0.1
        }),
        with!(RAdamOptions {
            lr: 0.02,
            betas: (0.7, 0.5),
            decoupled_weight_decay: true
        }),
    );
    elementwise(
        "radam_maximize",
        with!(RAdamOptions {
            lr: 0.01,
            maximize: true
        }),
        with!(RAdamOptions {
            maximize: true,
            weight_decay: 0.1
        }),
    );
}

#[test]
fn adagrad() {
    elementwise(
        "adagrad",
        with!(AdagradOptions { lr: 0.1 }),
        with!(AdagradOptions {
            lr: 0.1,
            lr_decay: 0.1,
            weight_decay: 0.1,
            eps: 1e-3,
        }),
    );
    elementwise(
        "adagrad_initial",
        with!(AdagradOptions {
            lr: 0.1,
            initial_accumulator_value: 0.5
        }),
        with!(AdagradOptions {
            lr: 0.2,
            initial_accumulator_value: 0.5
        }),
    );
    elementwise(
        "adagrad_maximize",
        with!(AdagradOptions { maximize: true }),
        with!(AdagradOptions {
            lr: 0.1,
            maximize: true
        }),
    );
}

#[test]
fn adadelta() {
    elementwise(
        "adadelta",
        AdadeltaOptions::default(),
        with!(AdadeltaOptions {
            lr: 0.5,
            rho: 0.8,
            eps: 1e-3,
            weight_decay: 0.1
        }),
    );
    elementwise(
        "adadelta_maximize",
        with!(AdadeltaOptions { maximize: true }),
        with!(AdadeltaOptions {
            rho: 0.0,
            eps: 1e-2,
            maximize: true
        }),
    );
}

#[test]
fn rmsprop() {
    elementwise(
        "rmsprop",
        RmsPropOptions::default(),
        with!(RmsPropOptions {
            lr: 0.02,
            alpha: 0.9,
            eps: 1e-3,
            weight_decay: 0.1
        }),
    );
    elementwise(
        "rmsprop_momentum",
        with!(RmsPropOptions { momentum: 0.9 }),
        with!(RmsPropOptions {
            lr: 0.005,
            alpha: 0.9
        }),
    );
    elementwise(
        "rmsprop_centered",
        with!(RmsPropOptions {
            lr: 1e-3,
            centered: true,
            eps: 0.1
        }),
        with!(RmsPropOptions {
            lr: 0.02,
            alpha: 0.9,
            centered: true,
            eps: 0.01
        }),
    );
    elementwise(
        "rmsprop_centered_momentum",
        with!(RmsPropOptions {
            lr: 1e-3,
            centered: true,
            momentum: 0.5,
            eps: 0.1
        }),
        with!(RmsPropOptions {
            lr: 0.01,
            alpha: 0.9,
            centered: true,
            momentum: 0.9,
            eps: 0.01
        }),
    );
    elementwise(
        "rmsprop_maximize",
        with!(RmsPropOptions { maximize: true }),
        with!(RmsPropOptions {
            maximize: true,
            weight_decay: 0.1
        }),
    );
}

#[test]
fn rprop() {
    elementwise(
        "rprop",
        RpropOptions::default(),
        with!(RpropOptions {
            lr: 0.1,
            etas: (0.7, 1.5),
            step_sizes: (1e-2, 0.5)
        }),
    );
    elementwise(
        "rprop_maximize",
        with!(RpropOptions { maximize: true }),
        with!(RpropOptions {
            maximize: true,
            lr: 0.5
        }),
    );
}

#[test]
fn asgd() {
    elementwise(
        "asgd",
        AsgdOptions::default(),
        with!(AsgdOptions {
            lr: 0.1,
            lambd: 0.01,
            alpha: 0.5,
            t0: 20.0,
            weight_decay: 0.1
        }),
    );
    elementwise(
        "asgd_maximize",
        with!(AsgdOptions { maximize: true }),
        with!(AsgdOptions {
            t0: 0.0,
            maximize: true
        }),
    );
}

#[test]
fn adafactor() {
    let layerwise = |name: &str, first: AdafactorOptions, second: AdafactorOptions| {
        follow(name, &|a, b| {
            let (first, second) = ((a, first), (b, second));
            let group = |(params, options)| Group { params, options };
            Box::new(Adafactor::with_groups(vec![group(first), group(second)]))
        });
    };
    // torch's resolution is that of f64 here; no variance comes near either.
    layerwise(
        "adafactor",
        AdafactorOptions::default(),
        with!(AdafactorOptions {
            lr: 0.1,
            beta2_decay: -0.5,
            eps1: 1e-6,
            eps2: 1e-2,
            d: 0.5,
            weight_decay: 0.1,
        }),
    );
    layerwise(
        "adafactor_maximize",
        with!(AdafactorOptions { maximize: true }),
        with!(AdafactorOptions {
            lr: 0.05,
            maximize: true
        }),
    );
}

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
    for (dev, dtype, tolerance) in places() {
        let all = params(&dev, dtype);
        let params: Vec<Tensor> = chosen.iter().map(|&i| all[i].clone()).collect();
        let mut optimizer = make(params.clone());
        for (step, wanted) in course.iter().enumerate() {
            for (k, &i) in chosen.iter().enumerate() {
                let grad = tensor(100 * (step as u64 + 1) + i as u64, i, &dev, dtype);
                params[k].set_grad(&grad).unwrap();
            }
            optimizer.step().unwrap();
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
        error.contains("Muon takes matrices") && error.contains("optimizers.rs"),
        "{error}"
    );
}

fn rosenbrock(x: &Tensor, y: &Tensor) -> Tensor {
    ((1.0 - x).sqr() + (y - x.sqr()).sqr() * 100.0).sum()
}

#[test]
fn lbfgs() {
    let strong = LineSearch::StrongWolfe;
    let cases = [
        (
            "lbfgs",
            with!(LbfgsOptions {
                lr: 0.01,
                max_iter: 4
            }),
        ),
        (
            "lbfgs_history",
            with!(LbfgsOptions {
                lr: 0.02,
                max_iter: 6,
                history_size: 2,
                tolerance_change: 0.0
            }),
        ),
        (
            "lbfgs_strong_wolfe",
            with!(LbfgsOptions {
                max_iter: 5,
                line_search: strong
            }),
        ),
        (
            "lbfgs_strong_wolfe_evals",
            with!(LbfgsOptions {
                lr: 0.5,
                max_iter: 20,
                max_eval: Some(9),
                history_size: 3,
                line_search: strong,
            }),
        ),
    ];
    for (name, options) in cases {
        let golden = golden(name);
        for dev in devices::all().into_iter().filter(Device::is_cpu) {
            let start = |seed| {
                let values = Tensor::from_vec(devices::fill(seed, 3, 1.0), [3], &dev);
                (values.to_dtype(DType::F64) * 1.5)
                    .contiguous()
                    .requires_grad()
            };
            let (x, y) = (start(1), start(2));
            let mut lbfgs = Lbfgs::new(vec![x.clone(), y.clone()], options);
            for (step, wanted) in golden.iter().enumerate() {
                if step == 3 {
                    // Goes on from a saved state.
                    let state = lbfgs.state_dict().unwrap();
                    lbfgs = Lbfgs::new(vec![x.clone(), y.clone()], options);
                    lbfgs.load_state_dict(&state).unwrap();
                }
                let closure = || {
                    lbfgs_zero(&[&x, &y]);
                    let loss = rosenbrock(&x, &y);
                    loss.backward()?;
                    Ok(loss)
                };
                let mut got = vec![lbfgs.step(closure).unwrap()];
                got.extend(values(&x));
                got.extend(values(&y));
                let what = format!("{name} step {step}");
                close(&got, wanted, 1e-6, &what);
            }
        }
    }
}

fn lbfgs_zero(params: &[&Tensor]) {
    params.iter().for_each(|p| p.zero_grad());
}

#[test]
fn lbfgs_finds_the_minimum_on_every_device() {
    for dev in devices::all() {
        let x = Tensor::new([-1.2], &dev).requires_grad();
        let y = Tensor::new([1.0], &dev).requires_grad();
        let options = LbfgsOptions {
            line_search: LineSearch::StrongWolfe,
            max_iter: 60,
            ..Default::default()
        };
        let mut lbfgs = Lbfgs::new(vec![x.clone(), y.clone()], options);
        let first = lbfgs
            .step(|| {
                lbfgs_zero(&[&x, &y]);
                let loss = rosenbrock(&x, &y);
                loss.backward()?;
                Ok(loss)
            })
            .unwrap();
        assert!((first - 24.2).abs() < 1e-4);
        close(&values(&x), &[1.0], 1e-3, "x");
        close(&values(&y), &[1.0], 2e-3, "y");
        // A closure that fails leaves the parameters where they were.
        let before = values(&x);
        let mut calls = 0;
        let failing = lbfgs.step(|| {
            calls += 1;
            lbfgs_zero(&[&x, &y]);
            let loss = rosenbrock(&(&x + 1.0), &y);
            loss.backward()?;
            if calls > 1 {
                return Err(Error::Device("as told".into()));
            }
            Ok(loss)
        });
        assert!(failing.is_err());
        assert_eq!(values(&x), before);
        lbfgs.options_mut().lr = f64::NAN;
        let error = lbfgs.step(|| Ok(x.sum())).unwrap_err().to_string();
        assert!(error.contains("lr must be"), "{error}");
    }
}

#[test]
fn one_launch_updates_all_parameters_of_every_optimizer() {
    fn launches<O: Hyperparameters>(dev: &Device, options: O) -> u64 {
        let params = params(dev, DType::F32);
        let mut optimizer = Descent::new(params.clone(), options);
        for step in 1..3 {
            set_gradients(&params, step, DType::F32);
            optimizer.step().unwrap();
        }
        // The same gradients again lie in their places.
        let before = dev.stats();
        optimizer.step().unwrap();
        let after = dev.stats();
        assert_eq!(after.copies, before.copies);
        after.launches - before.launches
    }
    for dev in devices::all().into_iter().filter(Device::fusion) {
        assert_eq!(launches(&dev, with!(SgdOptions { momentum: 0.9 })), 1);
        assert_eq!(launches(&dev, AdamOptions::default()), 1);
        assert_eq!(launches(&dev, AdamWOptions::default()), 1);
        assert_eq!(launches(&dev, AdamaxOptions::default()), 1);
        assert_eq!(launches(&dev, NAdamOptions::default()), 1);
        assert_eq!(launches(&dev, RAdamOptions::default()), 1);
        assert_eq!(launches(&dev, AdagradOptions::default()), 1);
        assert_eq!(launches(&dev, AdadeltaOptions::default()), 1);
        assert_eq!(launches(&dev, RmsPropOptions::default()), 1);
        assert_eq!(launches(&dev, RpropOptions::default()), 1);
        assert_eq!(launches(&dev, AsgdOptions::default()), 1);
        assert_eq!(launches(&dev, LionOptions::default()), 1);
    }
}
