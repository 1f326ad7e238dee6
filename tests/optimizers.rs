//! Optimizers against torch's over 100 steps (tests/golden/optimizers.py), and against formulas in f64 where torch
//! has none: on every device, fused and not.

mod devices;

/// Options that differ from the defaults.
macro_rules! with {
    ($options:ident { $($field:ident: $value:expr),* $(,)? }) => {
        $options { $($field: $value,)* ..Default::default() }
    };
}

#[path = "optimizers/course.rs"]
mod course;
#[path = "optimizers/formulas.rs"]
mod formulas;
#[path = "optimizers/lbfgs.rs"]
mod lbfgs;

use course::{advance, close, golden, params, places, set_gradients, skipped, unscaled, values};
use wgrad::optim::*;
use wgrad::prelude::*;

/// How a step is made.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Plain,
    /// By a `GradScaler`, with a step before every third whose gradients are infinite or NaN, and which must be
    /// skipped: nothing of the course may change.
    Scaled,
}

/// A hundred steps of an optimizer of two groups, compared after 1, 10 and 100 of them.
fn follow(name: &str, make: &dyn Fn(Vec<Tensor>, Vec<Tensor>) -> Box<dyn Optimizer>) {
    follow_by(Way::Plain, name, make);
    follow_by(Way::Scaled, name, make);
}

fn follow_by(way: Way, name: &str, make: &dyn Fn(Vec<Tensor>, Vec<Tensor>) -> Box<dyn Optimizer>) {
    let golden = golden(name);
    for (dev, dtype, tolerance) in places() {
        let params = params(&dev, dtype);
        let mut optimizer = make(params[..2].to_vec(), params[2..].to_vec());
        let mut checked = golden.iter();
        let mut scaler = unscaled(&dev);
        let mut reads = dev.stats().reads;
        for step in 0..100 {
            if way == Way::Scaled && step % 3 == 0 {
                skipped(&mut scaler, &mut *optimizer, step);
            }
            set_gradients(&params, step, dtype);
            match way {
                Way::Plain => optimizer.step().unwrap(),
                Way::Scaled => advance(&mut scaler, &mut *optimizer),
            }
            assert_eq!(dev.stats().reads, reads, "{name} reads");
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
                reads = dev.stats().reads;
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
