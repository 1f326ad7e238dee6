//! Optimizers against the formulas in f64.

mod device;

use device::{both, cpu, fill, values};
use wgrad_core::{DType, Device, Error, Result, Tensor};
use wgrad_nn::optim::{
    AdamOptions, AdamW, AdamWOptions, Descent, Group, Hyperparameters, Optimizer, OptimizerState,
    Sgd, SgdOptions, clip_grad_norm,
};
use wgrad_nn::{Forward, Linear, Module, Sequential, Tanh};

/// The moments of one parameter.
#[derive(Clone, Default)]
struct Moments {
    t: i32,
    m: Vec<f64>,
    v: Vec<f64>,
    vmax: Vec<f64>,
}

/// One update of one parameter by the book.
trait Reference: Copy {
    fn update(self, p: &mut [f64], g: &[f64], state: &mut Moments);
}

fn adam(o: AdamOptions, decoupled: bool, p: &mut [f64], g: &[f64], s: &mut Moments) {
    s.t += 1;
    for x in [&mut s.m, &mut s.v, &mut s.vmax] {
        x.resize(p.len(), 0.0);
    }
    for i in 0..p.len() {
        let mut g = if o.maximize { -g[i] } else { g[i] };
        if decoupled {
            p[i] -= o.lr * o.weight_decay * p[i];
        } else {
            g += o.weight_decay * p[i];
        }
        s.m[i] = o.betas.0 * s.m[i] + (1.0 - o.betas.0) * g;
        s.v[i] = o.betas.1 * s.v[i] + (1.0 - o.betas.1) * g * g;
        s.vmax[i] = s.vmax[i].max(s.v[i]);
        let v = if o.amsgrad { s.vmax[i] } else { s.v[i] };
        let m_hat = s.m[i] / (1.0 - o.betas.0.powi(s.t));
        let v_hat = v / (1.0 - o.betas.1.powi(s.t));
        p[i] -= o.lr * m_hat / (v_hat.sqrt() + o.eps);
    }
}

impl Reference for AdamOptions {
    fn update(self, p: &mut [f64], g: &[f64], s: &mut Moments) {
        adam(self, false, p, g, s);
    }
}

impl Reference for AdamWOptions {
    fn update(self, p: &mut [f64], g: &[f64], s: &mut Moments) {
        let o = AdamOptions {
            lr: self.lr,
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
            amsgrad: self.amsgrad,
            maximize: self.maximize,
        };
        adam(o, true, p, g, s);
    }
}

impl Reference for SgdOptions {
    fn update(self, p: &mut [f64], g: &[f64], s: &mut Moments) {
        s.t += 1;
        s.m.resize(p.len(), 0.0);
        for i in 0..p.len() {
            let g = if self.maximize { -g[i] } else { g[i] } + self.weight_decay * p[i];
            let step = if self.momentum == 0.0 {
                g
            } else {
                s.m[i] = if s.t == 1 {
                    g
                } else {
                    self.momentum * s.m[i] + (1.0 - self.dampening) * g
                };
                if self.nesterov {
                    g + self.momentum * s.m[i]
                } else {
                    s.m[i]
                }
            };
            p[i] -= self.lr * step;
        }
    }
}

/// Parameters of several shapes, the gradients of which are given.
const SHAPES: [&[usize]; 4] = [&[3, 5], &[], &[70], &[2, 2, 2]];

fn params(dev: &Device, dtype: DType) -> (Vec<Tensor>, Vec<Vec<f64>>) {
    let mut tensors = Vec::new();
    let mut numbers = Vec::new();
    for (i, shape) in SHAPES.iter().enumerate() {
        let values = fill(i as u64, shape.iter().product());
        let tensor = Tensor::from_vec(values, *shape, dev).to_dtype(dtype);
        numbers.push(device::values(&tensor));
        tensors.push(tensor.requires_grad());
    }
    (tensors, numbers)
}

/// A gradient that depends on step and parameter; None where the parameter is left out.
fn gradient(step: u64, i: usize) -> Option<Vec<f64>> {
    if i == 2 && step.is_multiple_of(3) {
        return None;
    }
    Some(fill(
        100 * (step + 1) + i as u64,
        SHAPES[i].iter().product(),
    ))
}

/// Sets gradients by running backward through `sum(p * g)`.
fn backward(params: &[Tensor], step: u64) -> Result<Vec<Option<Vec<f64>>>> {
    let mut used = Vec::new();
    for (i, p) in params.iter().enumerate() {
        used.push(gradient(step, i));
        if let Some(g) = &used[i] {
            let g = Tensor::from_vec(g.clone(), SHAPES[i], p.device()).to_dtype(p.dtype()?);
            (p * g).sum().backward()?;
        }
    }
    Ok(used)
}

/// Twenty steps with a learning rate that changes, in f64 and in f32.
fn follow<O: Hyperparameters + Reference>(
    name: &str,
    groups: [O; 2],
    lr: fn(&mut O) -> &mut f64,
) -> Result<()> {
    for dev in both() {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
            let (tensors, mut numbers) = params(&dev, dtype);
            let mut options = groups;
            let mut optimizer = Descent::with_groups(vec![
                Group {
                    params: tensors[..2].to_vec(),
                    options: options[0],
                },
                Group {
                    params: tensors[2..].to_vec(),
                    options: options[1],
                },
            ]);
            let mut states = vec![Moments::default(); SHAPES.len()];
            for step in 0..20 {
                if step == 10 {
                    optimizer.set_lr(0.003);
                    options.iter_mut().for_each(|o| *lr(o) = 0.003);
                    assert_eq!(optimizer.lr(), 0.003);
                }
                optimizer.zero_grad();
                let grads = backward(&tensors, step)?;
                optimizer.step()?;
                for (i, g) in grads.iter().enumerate() {
                    if let Some(g) = g {
                        options[i / 2].update(&mut numbers[i], g, &mut states[i]);
                    }
                }
                for (i, tensor) in tensors.iter().enumerate() {
                    for (a, b) in values(tensor).iter().zip(&numbers[i]) {
                        let scale = b.abs().max(1.0);
                        assert!(
                            (a - b).abs() <= tolerance * scale,
                            "{name} {dtype} step {step} parameter {i}: {a} for {b}"
                        );
                    }
                }
            }
            let counts: Vec<u64> = states.iter().map(|s| s.t as u64).collect();
            assert_eq!(optimizer.steps()?, counts);
            assert_eq!(counts, [20, 20, 13, 20]);
        }
    }
    Ok(())
}

#[test]
fn adam_by_the_book() -> Result<()> {
    let base = AdamOptions {
        lr: 0.01,
        ..Default::default()
    };
    let other = AdamOptions {
        lr: 0.02,
        betas: (0.8, 0.99),
        eps: 1e-4,
        weight_decay: 0.1,
        ..base
    };
    for (amsgrad, maximize) in [(false, false), (true, false), (false, true), (true, true)] {
        let with = |o: AdamOptions| AdamOptions {
            amsgrad,
            maximize,
            ..o
        };
        follow("Adam", [with(base), with(other)], |o| &mut o.lr)?;
    }
    Ok(())
}

#[test]
fn adamw_by_the_book() -> Result<()> {
    let base = AdamWOptions {
        lr: 0.01,
        ..Default::default()
    };
    let other = AdamWOptions {
        lr: 0.02,
        weight_decay: 0.3,
        ..base
    };
    for (amsgrad, maximize) in [(false, false), (true, true)] {
        let with = |o: AdamWOptions| AdamWOptions {
            amsgrad,
            maximize,
            ..o
        };
        follow("AdamW", [with(base), with(other)], |o| &mut o.lr)?;
    }
    Ok(())
}

#[test]
fn sgd_by_the_book() -> Result<()> {
    let plain = SgdOptions {
        lr: 0.05,
        ..Default::default()
    };
    let decayed = SgdOptions {
        weight_decay: 0.1,
        ..plain
    };
    let momentum = SgdOptions {
        momentum: 0.9,
        ..plain
    };
    let dampened = SgdOptions {
        dampening: 0.3,
        weight_decay: 0.01,
        ..momentum
    };
    let nesterov = SgdOptions {
        nesterov: true,
        ..momentum
    };
    let nesterov_decayed = SgdOptions {
        weight_decay: 0.2,
        momentum: 0.5,
        ..nesterov
    };
    let undamped_by_lack_of_momentum = SgdOptions {
        dampening: 0.5,
        ..plain
    };
    let ascending = SgdOptions {
        maximize: true,
        ..dampened
    };
    for (name, groups) in [
        ("plain", [plain, decayed]),
        ("momentum", [momentum, dampened]),
        ("mixed", [undamped_by_lack_of_momentum, dampened]),
        ("nesterov", [nesterov, nesterov_decayed]),
        ("maximize", [ascending, ascending]),
    ] {
        follow(name, groups, |o| &mut o.lr)?;
    }
    Ok(())
}

fn model(dev: &Device) -> Sequential {
    dev.seed(3);
    Sequential::from((Linear::new(4, 8, dev), Tanh, Linear::new(8, 3, dev)))
}

/// Some steps on a fixed task, and the bits of the losses.
fn train(
    model: &Sequential,
    optimizer: &mut dyn Optimizer,
    steps: std::ops::Range<u64>,
) -> Result<Vec<u32>> {
    let dev = optimizer.parameters()[0].device().clone();
    let mut losses = Vec::new();
    for step in steps {
        let x: Vec<f32> = fill(step, 24).into_iter().map(|v| v as f32).collect();
        let x = Tensor::from_vec(x, [6, 4], &dev);
        let y = Tensor::new([0, 1, 2, 2, 1, 0], &dev);
        optimizer.zero_grad();
        let loss = model.forward(&x)?.cross_entropy(&y);
        loss.backward()?;
        optimizer.step()?;
        losses.push(loss.item::<f32>()?.to_bits());
    }
    Ok(losses)
}

/// Saves after five steps, resumes in a fresh model and optimizer, and compares the bits.
fn resume<O: Hyperparameters + Default>(name: &str, options: O) -> Result<()> {
    let dev = cpu();
    let folder = std::env::temp_dir();
    let file = |kind: &str| folder.join(format!("resume-{name}-{kind}-{}", std::process::id()));
    let original = model(&dev);
    let mut optimizer = Descent::new(original.parameters(), options);
    train(&original, &mut optimizer, 0..5)?;
    original.save_safetensors(file("model"))?;
    optimizer.state_dict()?.save_safetensors(file("state"))?;
    let expected = train(&original, &mut optimizer, 5..12)?;

    let other = cpu();
    let fresh = model(&other);
    let mut resumed = Descent::new(fresh.parameters(), O::default());
    // Steps of its own must leave no trace.
    train(&fresh, &mut resumed, 20..23)?;
    fresh.load_safetensors(file("model"), wgrad_nn::Strict)?;
    let state = OptimizerState::load_safetensors(file("state"), &other)?;
    resumed.load_state_dict(&state)?;
    assert_eq!(resumed.steps()?, [5; 4]);
    assert_eq!(train(&fresh, &mut resumed, 5..12)?, expected, "{name}");
    for kind in ["model", "state"] {
        std::fs::remove_file(file(kind)).ok();
    }
    Ok(())
}

#[test]
fn training_resumes_bit_exactly() -> Result<()> {
    let adam = AdamOptions {
        lr: 0.013,
        amsgrad: true,
        weight_decay: 1.0 / 3.0,
        ..Default::default()
    };
    resume("adam", adam)?;
    let adamw = AdamWOptions {
        lr: 0.1 + 0.2,
        ..Default::default()
    };
    resume("adamw", adamw)?;
    let sgd = SgdOptions {
        lr: 0.1,
        momentum: 0.9,
        nesterov: true,
        ..Default::default()
    };
    resume("sgd", sgd)?;
    resume("plain-sgd", SgdOptions::default())
}

#[test]
fn states_that_do_not_fit_change_nothing() -> Result<()> {
    let dev = cpu();
    let m = model(&dev);
    let mut adam = AdamW::new(m.parameters(), AdamWOptions::default());
    train(&m, &mut adam, 0..2)?;
    let good = adam.state_dict()?;
    let names: Vec<&str> = good.tensors.keys().map(String::as_str).collect();
    assert_eq!(names[..3], ["0.exp_avg", "0.exp_avg_sq", "1.exp_avg"]);
    assert_eq!(good.numbers["3.step"], 2.0);

    let reject = |adam: &mut AdamW, part: &str, change: &dyn Fn(&mut OptimizerState)| {
        let mut state = good.clone();
        change(&mut state);
        let error = adam.load_state_dict(&state).unwrap_err();
        assert!(matches!(error, Error::Load(_)), "{error}");
        assert!(error.to_string().contains(part), "{part}: {error}");
    };
    reject(&mut adam, "missing: 1.exp_avg", &|s| {
        s.tensors.remove("1.exp_avg");
    });
    reject(&mut adam, "unexpected: 9.exp_avg", &|s| {
        let moment = s.tensors["0.exp_avg"].clone();
        s.tensors.insert("9.exp_avg".into(), moment);
    });
    reject(&mut adam, "parameter 0", &|s| {
        let moment = s.tensors["1.exp_avg"].clone();
        s.tensors.insert("0.exp_avg".into(), moment);
    });
    reject(&mut adam, "7.step", &|s| {
        s.numbers.insert("7.step".into(), 1.0);
    });
    reject(&mut adam, "0.step", &|s| {
        s.numbers.insert("0.step".into(), 1.5);
    });
    reject(&mut adam, "groups.0.lr", &|s| {
        let lr = s.numbers.remove("groups.0.lr").unwrap_or(0.0);
        s.numbers.insert("groups.0.lr?".into(), lr);
    });
    reject(&mut adam, "lr must be", &|s| {
        s.numbers.insert("groups.0.lr".into(), f64::NAN);
    });
    assert_eq!(adam.steps()?, [2; 4]);
    let mut twin = AdamW::new(m.parameters(), AdamWOptions::default());
    twin.load_state_dict(&good)?;
    let before = m.state_dict();
    let losses = train(&m, &mut adam, 2..5)?;
    m.load_state_dict(&before, wgrad_nn::Strict)?;
    assert_eq!(train(&m, &mut twin, 2..5)?, losses);
    Ok(())
}

#[test]
fn clipping() -> Result<()> {
    for dev in both() {
        let (tensors, mut numbers) = params(&dev, DType::F64);
        let options = SgdOptions {
            lr: 0.1,
            ..Default::default()
        };
        let mut sgd = Sgd::new(tensors.clone(), options);
        for step in 0..20 {
            sgd.zero_grad();
            let grads = backward(&tensors, step)?;
            let submits = dev.stats().submits;
            let norm = clip_grad_norm(&tensors, 2.0)?;
            assert_eq!(dev.stats().submits, submits, "clipping waits for nothing");
            sgd.step()?;
            let squares = grads.iter().flatten().flatten().map(|g| g * g);
            let expected = squares.sum::<f64>().sqrt();
            assert!((norm.item::<f64>()? - expected).abs() < 1e-12);
            let scale = (2.0 / (expected + 1e-6)).min(1.0);
            for (i, g) in grads.iter().enumerate() {
                for (j, g) in g.iter().flatten().enumerate() {
                    numbers[i][j] -= 0.1 * scale * g;
                }
                for (a, b) in values(&tensors[i]).iter().zip(&numbers[i]) {
                    assert!((a - b).abs() < 1e-12, "step {step}: {a} for {b}");
                }
            }
        }
        // Small gradients stay as they are.
        sgd.zero_grad();
        backward(&tensors, 1)?;
        let before = values(&tensors[0].grad()?);
        let _ = clip_grad_norm(&tensors, 1e6)?;
        assert_eq!(values(&tensors[0].grad()?), before);

        sgd.zero_grad();
        assert_eq!(clip_grad_norm(&tensors, 1.0)?.item::<f32>()?, 0.0);
        assert!(clip_grad_norm(&tensors, f64::NAN).is_err());
        assert!(clip_grad_norm(&tensors, -1.0).is_err());
        assert!(clip_grad_norm(&[], 1.0).is_err());
    }
    Ok(())
}

#[test]
fn two_optimizers_may_share_parameters() -> Result<()> {
    for dev in both() {
        let (tensors, mut numbers) = params(&dev, DType::F64);
        let options = |lr| SgdOptions {
            lr,
            ..Default::default()
        };
        let mut optimizers = [0.1, 0.2].map(|lr| Sgd::new(tensors.clone(), options(lr)));
        for step in 0..6 {
            for (optimizer, lr) in optimizers.iter_mut().zip([0.1, 0.2]) {
                optimizer.zero_grad();
                let grads = backward(&tensors, step)?;
                optimizer.step()?;
                for (i, g) in grads.iter().enumerate() {
                    for (j, g) in g.iter().flatten().enumerate() {
                        numbers[i][j] -= lr * g;
                    }
                    for (a, b) in values(&tensors[i]).iter().zip(&numbers[i]) {
                        assert!((a - b).abs() < 1e-12, "step {step} lr {lr}: {a} for {b}");
                    }
                }
            }
        }
    }
    Ok(())
}

/// A gradient that lies in another parameter's place.
#[test]
fn gradients_may_be_exchanged() -> Result<()> {
    let dev = cpu();
    let make = || Tensor::zeros([64], (DType::F64, &dev)).requires_grad();
    let (p, q) = (make(), make());
    let options = SgdOptions {
        lr: 1.0,
        ..Default::default()
    };
    let mut sgd = Sgd::new(vec![p.clone(), q.clone()], options);
    for step in 1..4 {
        sgd.zero_grad();
        (&p * 2.0 + &q * 3.0).sum().backward()?;
        let (to_q, to_p) = (p.grad()?, q.grad()?);
        p.set_grad(&to_p)?;
        q.set_grad(&to_q)?;
        drop((to_q, to_p));
        sgd.step()?;
        assert_eq!(values(&p), vec![-3.0 * f64::from(step); 64]);
        assert_eq!(values(&q), vec![-2.0 * f64::from(step); 64]);
    }
    Ok(())
}

/// A gradient that somebody keeps while another takes its place.
#[test]
fn replaced_gradients_keep_their_values() -> Result<()> {
    for dev in both() {
        let p = Tensor::zeros([64], (DType::F64, &dev)).requires_grad();
        let options = SgdOptions {
            lr: 1.0,
            ..Default::default()
        };
        let mut sgd = Sgd::new(vec![p.clone()], options);
        for step in 1..5 {
            sgd.zero_grad();
            (&p * f64::from(step)).sum().backward()?;
            let kept = p.grad()?;
            let _ = clip_grad_norm(std::slice::from_ref(&p), 8e-3)?;
            sgd.step()?;
            assert_eq!(values(&kept), vec![f64::from(step); 64]);
            let clipped = -1e-3 * f64::from(step);
            assert!(values(&p).iter().all(|v| (v - clipped).abs() < 1e-8));
        }
    }
    Ok(())
}
