//! What holds for every optimizer: wrong options, saved states, groups, frozen parameters, accumulated gradients,
//! averages of weights.

mod device;

use device::{both, cpu, fill, values};
use wgrad_core::{Device, Error, Result, Tensor};
use wgrad_nn::optim::*;
use wgrad_nn::{Linear, Module};

/// Makes an optimizer of some parameters.
type Make = fn(Vec<Tensor>) -> Box<dyn Optimizer>;

macro_rules! optimizers {
    ($($name:ident $options:ident { $($field:ident: $value:expr),* };)*) => {
        [$((stringify!($name), (|params| {
            let options = $options { $($field: $value,)* ..Default::default() };
            Box::new($name::new(params, options))
        }) as Make)),*]
    };
}

/// Every optimizer, with everything on that keeps a state.
fn all() -> [(&'static str, Make); 15] {
    optimizers! {
        Sgd SgdOptions { momentum: 0.9, nesterov: true };
        Adam AdamOptions { amsgrad: true, weight_decay: 0.1 };
        AdamW AdamWOptions { lr: 0.01 };
        Adamax AdamaxOptions { lr: 0.01 };
        NAdam NAdamOptions { lr: 0.01 };
        RAdam RAdamOptions { betas: (0.9, 0.9) };
        Adagrad AdagradOptions { initial_accumulator_value: 0.5 };
        Adadelta AdadeltaOptions { lr: 0.5 };
        RmsProp RmsPropOptions { momentum: 0.5, centered: true };
        Rprop RpropOptions { lr: 0.02 };
        Asgd AsgdOptions { t0: 2.0, lambd: 0.01 };
        Lion LionOptions { lr: 0.01 };
        Lamb LambOptions { lr: 0.01 };
        Muon MuonOptions { lr: 0.01 };
        Adafactor AdafactorOptions { lr: 0.01 };
    }
}

fn matrices(dev: &Device) -> Vec<Tensor> {
    let make = |i: u64, shape: [usize; 2]| {
        let numbers: Vec<f32> = fill(i, shape[0] * shape[1])
            .iter()
            .map(|x| *x as f32)
            .collect();
        Tensor::from_vec(numbers, shape, dev).requires_grad()
    };
    vec![make(1, [3, 5]), make(2, [4, 2]), make(3, [1, 7])]
}

fn gradients(params: &[Tensor], step: u64) -> Result<()> {
    for (i, p) in params.iter().enumerate() {
        let numbers = fill(100 * step + i as u64, p.numel()?);
        let numbers: Vec<f32> = numbers.iter().map(|x| *x as f32).collect();
        p.set_grad(&Tensor::from_vec(numbers, p.shape()?, p.device()))?;
    }
    Ok(())
}

fn bits(params: &[Tensor]) -> Vec<u64> {
    params.iter().flat_map(values).map(f64::to_bits).collect()
}

#[test]
fn a_saved_state_goes_on_bit_exactly() -> Result<()> {
    for (name, make) in all() {
        for dev in both() {
            let params = matrices(&dev);
            let mut optimizer = make(params.clone());
            for step in 0..4 {
                gradients(&params, step)?;
                optimizer.step()?;
            }
            let file = std::env::temp_dir().join(format!("state-{name}-{}", std::process::id()));
            optimizer.state_dict()?.save_safetensors(&file)?;
            let copies: Vec<Tensor> = params
                .iter()
                .map(|p| (p.detach() + 0.0).contiguous().requires_grad())
                .collect();
            for step in 4..9 {
                gradients(&params, step)?;
                optimizer.step()?;
            }
            // Once more through an optimizer that saves what it has loaded, without a step between.
            let mut passed = make(copies.clone());
            passed.load_state_dict(&OptimizerState::load_safetensors(&file, &dev)?)?;
            let mut resumed = make(copies.clone());
            resumed.load_state_dict(&passed.state_dict()?)?;
            for step in 4..9 {
                gradients(&copies, step)?;
                resumed.step()?;
            }
            assert_eq!(bits(&copies), bits(&params), "{name}");
            std::fs::remove_file(&file).ok();
            // A state of something else changes nothing.
            let mut wrong = optimizer.state_dict()?;
            wrong.numbers.insert("99.step".into(), 1.0);
            let error = resumed.load_state_dict(&wrong).unwrap_err();
            assert!(matches!(error, Error::Load(_)), "{name}: {error}");
            for params in [&params, &copies] {
                gradients(params, 9)?;
            }
            optimizer.step()?;
            resumed.step()?;
            assert_eq!(bits(&copies), bits(&params), "{name}");
        }
    }
    Ok(())
}

#[test]
fn wrong_options_name_option_and_line() -> Result<()> {
    let dev = cpu();
    for (name, make) in all() {
        let mut names = vec!["lr"];
        let probe = make(Vec::new());
        let candidates = [
            "eps",
            "weight_decay",
            "beta1",
            "beta2",
            "momentum",
            "rho",
            "alpha",
            "lr_decay",
            "eps1",
            "eta1",
            "momentum_decay",
            "d",
            "step_size1",
        ];
        names.extend(
            candidates
                .iter()
                .filter(|n| probe.hyperparameter(0, n).is_some()),
        );
        for option in names {
            for wrong in [-1.0, f64::NAN] {
                if name == "Asgd" && option == "alpha" && wrong == -1.0 {
                    continue; // a power of any sign
                }
                let params = matrices(&dev);
                gradients(&params, 1)?;
                let before = bits(&params);
                let mut optimizer = make(params.clone());
                assert!(optimizer.set_hyperparameter(0, option, wrong));
                let line = line!() + 1;
                let error = optimizer.step().unwrap_err();
                assert!(matches!(error, Error::Value { op: "step", .. }), "{error}");
                let text = error.to_string();
                let named = option.trim_end_matches(['1', '2']);
                assert!(text.contains(named), "{name}, {option}: {text}");
                let place = format!("optimizer_states.rs:{line}:");
                assert!(text.contains(&place), "{name}, {option}: {text}");
                assert_eq!(bits(&params), before);
            }
        }
        for beta in ["beta1", "beta2"] {
            let mut optimizer = make(matrices(&dev));
            if optimizer.set_hyperparameter(0, beta, 1.0) {
                assert!(optimizer.step().is_err(), "{name}: {beta} of 1");
            }
        }
    }
    Ok(())
}

#[test]
fn frozen_parameters_and_those_without_gradient_stay() -> Result<()> {
    for (name, make) in all() {
        for dev in both() {
            let params = matrices(&dev);
            let mut optimizer = make(params.clone());
            gradients(&params, 1)?;
            optimizer.step()?;
            optimizer.zero_grad();
            // One has no gradient, one is frozen; the third learns.
            params[1].set_requires_grad(false);
            let before = bits(&params[..2]);
            // Of the frozen one nothing is computed.
            let frozen = (&params[1] * 2.0).sum();
            assert!(frozen.backward().is_err(), "{name}");
            (&params[2] * 2.0).sum().backward()?;
            let third = bits(&params[2..]);
            optimizer.step()?;
            assert_eq!(bits(&params[..2]), before, "{name}");
            assert_ne!(bits(&params[2..]), third, "{name}");
            let state = optimizer.state_dict()?;
            let counts = ["0.step", "1.step", "2.step"].map(|step| state.numbers[step]);
            assert_eq!(counts, [1.0, 1.0, 2.0], "{name}");
        }
    }
    Ok(())
}

#[test]
fn accumulated_gradients_are_the_sum() -> Result<()> {
    for (name, make) in all() {
        for dev in both() {
            let (once, twice) = (matrices(&dev), matrices(&dev));
            let (mut a, mut b) = (make(once.clone()), make(twice.clone()));
            for step in 0..3 {
                a.zero_grad();
                b.zero_grad();
                for i in 0..3 {
                    let c = Tensor::from_vec(fill(step * 10 + i as u64, 1), [1, 1], &dev);
                    let c = c.to_dtype(wgrad_core::DType::F32);
                    (&once[i] * (&c * 2.0)).sum().backward()?;
                    (&twice[i] * &c).sum().backward()?;
                    (&twice[i] * &c).sum().backward()?;
                }
                a.step()?;
                b.step()?;
            }
            assert_eq!(bits(&once), bits(&twice), "{name}");
        }
    }
    Ok(())
}

#[test]
fn later_groups_leave_the_others_states() -> Result<()> {
    for dev in both() {
        let params = matrices(&dev);
        let options = |lr| AdamOptions {
            lr,
            ..Default::default()
        };
        let group = |at: std::ops::Range<usize>, lr| Group {
            params: params[at].to_vec(),
            options: options(lr),
        };
        let mut adam = Adam::with_groups(vec![group(0..2, 0.01)]);
        let twins = matrices(&dev);
        let mut first = Adam::new(twins[..2].to_vec(), options(0.01));
        let mut second = Adam::new(twins[2..].to_vec(), options(0.03));
        for step in 0..6 {
            if step == 3 {
                adam.add_group(group(2..3, 0.03))?;
            }
            gradients(&params, step)?;
            gradients(&twins, step)?;
            adam.step()?;
            first.step()?;
            if step >= 3 {
                second.step()?;
            }
            assert_eq!(bits(&params), bits(&twins), "step {step}");
        }
        assert_eq!(adam.steps()?, [6, 6, 3]);
        assert_eq!(adam.group_count(), 2);
        // A parameter that is there already is told of in the step.
        adam.add_group(group(0..1, 0.1))?;
        gradients(&params, 7)?;
        assert!(adam.step().unwrap_err().to_string().contains("twice"));
    }
    Ok(())
}

#[test]
fn gradients_are_cut_elementwise_without_a_wait() -> Result<()> {
    for dev in both() {
        let params = matrices(&dev);
        gradients(&params[..2], 5)?;
        dev.flush()?;
        let before = dev.stats();
        clip_grad_value(&params, 0.25)?;
        assert_eq!(dev.stats().submits, before.submits);
        assert_eq!(dev.stats().reads, before.reads);
        for (i, p) in params[..2].iter().enumerate() {
            let want = fill(500 + i as u64, p.numel()?);
            let want = want
                .iter()
                .map(|x| f64::from((*x as f32).clamp(-0.25, 0.25)));
            assert_eq!(values(&p.grad()?), want.collect::<Vec<_>>());
        }
        assert!(params[2].grad().is_err());
        params[0].set_grad(&Tensor::full([3, 5], f64::NAN, &dev))?;
        clip_grad_value(&params, 0.25)?;
        assert!(values(&params[0].grad()?).iter().all(|x| x.is_nan()));
        for wrong in [-1.0, f64::NAN] {
            let error = clip_grad_value(&params, wrong).unwrap_err().to_string();
            assert!(error.contains("clip_grad_value"), "{error}");
        }
    }
    Ok(())
}

#[test]
fn averages_of_weights() -> Result<()> {
    for dev in both() {
        let model = Linear::new(3, 2, &dev);
        let mut equal = AveragedModel::new(Averaging::Equal);
        let mut moving = AveragedModel::new(Averaging::Exponential { decay: 0.9 });
        let mut course: Vec<Vec<f64>> = Vec::new();
        let (mut mean, mut ema) = (Vec::new(), Vec::new());
        for step in 0..7 {
            gradients(&model.parameters(), step)?;
            let rate = SgdOptions {
                lr: 1.0,
                ..Default::default()
            };
            Sgd::new(model.parameters(), rate).step()?;
            let reads = dev.stats().reads;
            equal.update(&model)?;
            moving.update(&model)?;
            assert_eq!(dev.stats().reads, reads, "nothing is read");
            course.push(values(&model.weight));
            let now = course.last().cloned().unwrap_or_default();
            if step == 0 {
                ema = now.clone();
            }
            let mixed = ema.iter().zip(&now).map(|(a, p)| 0.9 * a + 0.1 * p);
            ema = if step == 0 { now } else { mixed.collect() };
            let n = course.len() as f64;
            let sum = |j: usize| course.iter().map(|c| c[j]).sum::<f64>();
            mean = (0..6).map(|j| sum(j) / n).collect();
            if step == 3 {
                let saved = equal.state();
                equal = AveragedModel::new(Averaging::Equal);
                equal.load_state(&saved)?;
            }
        }
        for (average, want) in [(&equal, &mean), (&moving, &ema)] {
            assert_eq!(average.updates(), 7);
            let got = values(&average.state_dict()["weight"]);
            for (g, w) in got.iter().zip(want) {
                assert!((g - w).abs() < 1e-5, "{g}, not {w}");
            }
        }
        equal.copy_to(&model)?;
        assert_eq!(values(&model.weight), values(&equal.state_dict()["weight"]));
        let other = Linear::new(4, 2, &dev);
        assert!(matches!(equal.update(&other), Err(Error::Load(_))));
        assert_eq!(equal.updates(), 7);
        let wrong = Averaging::Exponential { decay: 1.5 };
        let error = AveragedModel::new(wrong).update(&model).unwrap_err();
        assert!(error.to_string().contains("decay"), "{error}");
    }
    Ok(())
}
