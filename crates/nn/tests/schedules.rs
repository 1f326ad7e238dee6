//! Schedules against torch's over their whole course (tests/golden/schedules.py).

mod device;

use device::cpu;
use wgrad_core::{Error, Result, Tensor};
use wgrad_nn::optim::schedule::*;
use wgrad_nn::optim::{Adam, AdamOptions, Group, Optimizer, Sgd, SgdOptions};

/// What tests/golden/schedules.py wrote: lines of numbers under a name.
fn golden(name: &str) -> Vec<Vec<f64>> {
    let text = include_str!("../../../tests/golden/schedules.txt");
    let lines = text.lines().skip_while(|line| *line != name).skip(1);
    let numbers = |line: &str| {
        let parsed = line.split(' ').map(str::parse::<f64>);
        parsed.collect::<std::result::Result<Vec<f64>, _>>().ok()
    };
    let lines: Vec<Vec<f64>> = lines.map_while(numbers).collect();
    assert!(!lines.is_empty(), "{name} is not in schedules.txt");
    lines
}

/// Two groups of learning rates 0.1 and 0.3.
fn optimizer(adam: bool) -> Box<dyn Optimizer> {
    let dev = cpu();
    let params = || vec![Tensor::zeros([1], &dev).requires_grad()];
    if adam {
        let group = |lr| Group {
            params: params(),
            options: AdamOptions {
                lr,
                ..Default::default()
            },
        };
        return Box::new(Adam::with_groups(vec![group(0.1), group(0.3)]));
    }
    let group = |lr| Group {
        params: params(),
        options: SgdOptions {
            lr,
            momentum: 0.9,
            ..Default::default()
        },
    };
    Box::new(Sgd::with_groups(vec![group(0.1), group(0.3)]))
}

fn row(optimizer: &dyn Optimizer) -> Vec<f64> {
    let number = |group, name| optimizer.hyperparameter(group, name);
    let momentum = |group| number(group, "momentum").or(number(group, "beta1"));
    let all = [number(0, "lr"), number(1, "lr"), momentum(0), momentum(1)];
    all.into_iter().map(|x| x.expect("a number")).collect()
}

#[track_caller]
fn close(name: &str, step: usize, got: &[f64], want: &[f64]) {
    for (g, w) in got.iter().zip(want) {
        let error = (g - w).abs() / w.abs().max(1e-3);
        assert!(error < 1e-12, "{name} step {step}: {got:?}, not {want:?}");
    }
}

fn follow(name: &str, adam: bool, make: &dyn Fn() -> Box<dyn Schedule>) -> Result<()> {
    let golden = golden(&format!("{name}{}", if adam { "_adam" } else { "" }));
    let mut optimizer = optimizer(adam);
    let mut scheduler = Scheduler::new(&mut *optimizer, make())?;
    for (step, want) in golden.iter().enumerate() {
        if step > 0 {
            scheduler.step(&mut *optimizer)?;
        }
        if step == golden.len() / 2 {
            // Goes on from a saved state, whatever the new optimizer's learning rates are.
            let state = scheduler.state_dict();
            scheduler = Scheduler::new(&mut *optimizer, make())?;
            scheduler.load_state_dict(&state)?;
            assert_eq!(scheduler.last_step(), step as u64);
            continue;
        }
        close(name, step, &row(&*optimizer), want);
    }
    Ok(())
}

#[test]
fn torch_schedules() -> Result<()> {
    let check = |name: &str, make: &dyn Fn() -> Box<dyn Schedule>| follow(name, false, make);
    check("step", &|| {
        Box::new(StepLr {
            step_size: 7,
            gamma: 0.1,
        })
    })?;
    check("step_gamma", &|| {
        Box::new(StepLr {
            step_size: 4,
            gamma: 0.5,
        })
    })?;
    check("multi_step", &|| {
        Box::new(MultiStepLr {
            milestones: vec![9, 3, 9, 20],
            gamma: 0.3,
        })
    })?;
    check("swa", &|| {
        Box::new(SwaLr {
            anneal_epochs: 7,
            ..SwaLr::new(0.05)
        })
    })?;
    check("swa_linear", &|| {
        Box::new(SwaLr {
            swa_lr: 0.5,
            anneal_epochs: 5,
            anneal_strategy: SwaAnneal::Linear,
        })
    })?;
    check("swa_at_once", &|| {
        Box::new(SwaLr {
            anneal_epochs: 0,
            ..SwaLr::new(0.05)
        })
    })?;
    check("exponential", &|| Box::new(ExponentialLr { gamma: 0.9 }))?;
    let cosine = |t_max, eta_min| CosineAnnealingLr { t_max, eta_min };
    check("cosine", &|| Box::new(cosine(20, 0.0)))?;
    check("cosine_eta", &|| Box::new(cosine(13, 0.01)))?;
    check("restarts", &|| {
        Box::new(CosineAnnealingWarmRestarts::default())
    })?;
    check("restarts_mult", &|| {
        Box::new(CosineAnnealingWarmRestarts {
            t_0: 5,
            t_mult: 2,
            eta_min: 0.01,
        })
    })?;
    check("linear", &|| Box::new(LinearLr::default()))?;
    check("linear_down", &|| {
        Box::new(LinearLr {
            start_factor: 1.0,
            end_factor: 0.2,
            total_iters: 8,
        })
    })?;
    check("constant", &|| Box::new(ConstantLr::default()))?;
    check("constant_factor", &|| {
        Box::new(ConstantLr {
            factor: 0.5,
            total_iters: 3,
        })
    })?;
    check("polynomial", &|| Box::new(PolynomialLr::default()))?;
    check("polynomial_power", &|| {
        Box::new(PolynomialLr {
            total_iters: 9,
            power: 2.5,
        })
    })?;
    check("sequential", &|| {
        Box::new(SequentialLr {
            schedules: vec![
                Box::new(LinearLr {
                    start_factor: 0.1,
                    ..Default::default()
                }),
                Box::new(ExponentialLr { gamma: 0.9 }),
                Box::new(ConstantLr {
                    factor: 0.5,
                    total_iters: 4,
                }),
            ],
            milestones: vec![5, 15],
        })
    })?;
    check("lambda", &|| Box::new(LambdaLr(|t| 1.0 / (1 + t) as f64)))?;
    check("multiplicative", &|| {
        Box::new(MultiplicativeLr::new(
            |t| if t % 2 == 1 { 0.9 } else { 0.8 },
        ))
    })
}

#[test]
fn cycles() -> Result<()> {
    let one = |total_steps| OneCycleLr {
        max_lr: vec![0.2],
        total_steps,
        ..Default::default()
    };
    let cyclic = |step_size_up| CyclicLr {
        base_lr: vec![0.01],
        max_lr: vec![0.1],
        step_size_up,
        ..Default::default()
    };
    for adam in [false, true] {
        follow("one_cycle", adam, &|| Box::new(one(40)))?;
        follow("one_cycle_linear", adam, &|| {
            Box::new(OneCycleLr {
                max_lr: vec![0.2, 0.4],
                anneal: Anneal::Linear,
                pct_start: 0.4,
                div_factor: 10.0,
                final_div_factor: 50.0,
                base_momentum: 0.7,
                max_momentum: 0.9,
                ..one(40)
            })
        })?;
        follow("one_cycle_three_phase", adam, &|| {
            Box::new(OneCycleLr {
                three_phase: true,
                ..one(43)
            })
        })?;
        follow("one_cycle_no_momentum", adam, &|| {
            Box::new(OneCycleLr {
                cycle_momentum: false,
                ..one(30)
            })
        })?;
        follow("cyclic", adam, &|| Box::new(cyclic(6)))?;
        follow("cyclic_two", adam, &|| {
            Box::new(CyclicLr {
                base_lr: vec![0.01, 0.02],
                max_lr: vec![0.1, 0.3],
                step_size_down: Some(7),
                mode: CyclicMode::Triangular2,
                base_momentum: 0.5,
                max_momentum: 0.7,
                ..cyclic(4)
            })
        })?;
        follow("cyclic_exp", adam, &|| {
            Box::new(CyclicLr {
                mode: CyclicMode::ExpRange { gamma: 0.95 },
                cycle_momentum: false,
                ..cyclic(5)
            })
        })?;
    }
    Ok(())
}

#[test]
fn plateaus() -> Result<()> {
    let plain = ReduceLrOnPlateau::default();
    let cases = [
        (
            "plateau",
            ReduceLrOnPlateau {
                patience: 2,
                ..plain.clone()
            },
        ),
        (
            "plateau_cooldown",
            ReduceLrOnPlateau {
                patience: 1,
                factor: 0.5,
                cooldown: 3,
                ..plain.clone()
            },
        ),
        (
            "plateau_abs",
            ReduceLrOnPlateau {
                patience: 1,
                factor: 0.7,
                threshold: 0.5,
                threshold_mode: ThresholdMode::Abs,
                min_lr: vec![0.02, 0.05],
                ..plain.clone()
            },
        ),
        (
            "plateau_max",
            ReduceLrOnPlateau {
                patience: 3,
                maximize: true,
                factor: 0.3,
                ..plain.clone()
            },
        ),
        (
            "plateau_max_abs",
            ReduceLrOnPlateau {
                patience: 2,
                maximize: true,
                threshold_mode: ThresholdMode::Abs,
                threshold: 1.0,
                eps: 0.01,
                ..plain
            },
        ),
    ];
    let nan = f64::NAN;
    let metrics = [
        5.0, 4.0, 3.0, 3.0, 3.0, 3.0001, 2.9999, 3.0, 3.0, 3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0,
        2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, nan, 1.0, 1.0, 1.0, 1.0, 1.0,
    ];
    for (name, options) in cases {
        let mut optimizer = optimizer(false);
        let mut plateau = options.clone();
        for (step, (want, metric)) in golden(name).iter().zip(metrics).enumerate() {
            if step == 14 {
                let state = plateau.state_dict();
                plateau = options.clone();
                plateau.load_state_dict(&state)?;
            }
            plateau.step(&mut *optimizer, metric)?;
            close(name, step, &row(&*optimizer), want);
        }
    }
    Ok(())
}

#[test]
fn wrong_options_are_named() -> Result<()> {
    let mut sgd = optimizer(false);
    let mut refused = |part: &str, schedule: Box<dyn Schedule>| {
        let line = line!() + 1;
        let error = Scheduler::new(&mut *sgd, schedule).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Value { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(part), "{part}: {text}");
        assert!(text.contains(&format!("schedules.rs:{line}:")), "{text}");
        assert_eq!(row(&*sgd), [0.1, 0.3, 0.9, 0.9]);
    };
    let step = |step_size, gamma| Box::new(StepLr { step_size, gamma });
    refused("step_size", step(0, 0.1));
    refused("gamma", step(1, f64::NAN));
    refused("total_iters", {
        Box::new(LinearLr {
            total_iters: 0,
            ..Default::default()
        })
    });
    refused("start_factor", {
        Box::new(LinearLr {
            start_factor: 0.0,
            ..Default::default()
        })
    });
    refused("max_lr", Box::<OneCycleLr>::default());
    refused("milestones", {
        let one = || Box::new(ExponentialLr { gamma: 0.5 });
        Box::new(SequentialLr {
            schedules: vec![one(), one(), one()],
            milestones: vec![5, 5],
        })
    });
    let wrong = ReduceLrOnPlateau {
        factor: 1.0,
        ..Default::default()
    };
    let error = wrong.clone().step(&mut *sgd, 1.0).unwrap_err().to_string();
    assert!(error.contains("factor"), "{error}");

    // An optimizer without momentum has none to cycle.
    let dev = cpu();
    let w = Tensor::zeros([1], &dev).requires_grad();
    let mut adagrad = wgrad_nn::optim::Adagrad::new(vec![w], Default::default());
    let cycle = OneCycleLr {
        max_lr: vec![0.1],
        total_steps: 3,
        ..Default::default()
    };
    let error = Scheduler::new(&mut adagrad, cycle.clone())
        .map(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("cycle_momentum"), "{error}");
    let mut scheduler = Scheduler::new(&mut *sgd, cycle)?;
    for _ in 0..3 {
        scheduler.step(&mut *sgd)?;
    }
    let error = scheduler.step(&mut *sgd).unwrap_err().to_string();
    assert!(error.contains("total_steps 3"), "{error}");
    assert_eq!(scheduler.last_step(), 3);
    Ok(())
}

#[test]
fn groups_that_come_later_begin_at_their_own_rate() -> Result<()> {
    let dev = cpu();
    let param = || vec![Tensor::zeros([1], &dev).requires_grad()];
    let options = |lr| SgdOptions {
        lr,
        ..Default::default()
    };
    let mut sgd = Sgd::new(param(), options(0.5));
    let mut scheduler = Scheduler::new(&mut sgd, ExponentialLr { gamma: 0.5 })?;
    scheduler.step(&mut sgd)?;
    sgd.add_group(Group {
        params: param(),
        options: options(0.125),
    })?;
    scheduler.step(&mut sgd)?;
    assert_eq!(sgd.hyperparameter(0, "lr"), Some(0.125));
    assert_eq!(sgd.hyperparameter(1, "lr"), Some(0.03125));
    Ok(())
}
