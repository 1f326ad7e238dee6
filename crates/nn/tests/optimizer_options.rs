//! Optimizers' options: PyTorch's defaults, and what is refused.

mod device;

use device::{cpu, values};
use wgrad_core::{Error, Result, Tensor};
use wgrad_nn::optim::{
    Adam, AdamOptions, AdamWOptions, Descent, Group, Hyperparameters, Optimizer, SgdOptions,
};

#[test]
fn torch_defaults() {
    let adam = AdamOptions::default();
    assert_eq!((adam.lr, adam.betas, adam.eps), (1e-3, (0.9, 0.999), 1e-8));
    assert_eq!(adam.weight_decay, 0.0);
    assert_eq!(AdamWOptions::default().weight_decay, 1e-2);
    assert_eq!(SgdOptions::default().lr, 1e-3);
    assert_eq!(Adam::new(Vec::new(), adam).lr(), 1e-3);
}

/// A message of `step` for options that are out of range.
fn refusal<O: Hyperparameters>(options: O) -> String {
    let dev = cpu();
    let p = Tensor::scalar(1.0, &dev).requires_grad();
    let mut optimizer = Descent::new(vec![p.clone()], options);
    p.backward().expect("backward");
    let error = optimizer.step().expect_err("an option out of range");
    assert!(matches!(error, Error::Value { op: "step", .. }), "{error}");
    assert_eq!(values(&p), [1.0]);
    assert_eq!(optimizer.steps().unwrap(), [0]);
    error.to_string()
}

#[test]
fn options_out_of_range_are_named() {
    let adam = AdamOptions::default();
    let cases = [
        (
            "lr",
            AdamOptions {
                lr: f64::NAN,
                ..adam
            },
        ),
        ("lr", AdamOptions { lr: -1.0, ..adam }),
        ("eps", AdamOptions { eps: -1e-8, ..adam }),
        (
            "betas.0",
            AdamOptions {
                betas: (1.0, 0.9),
                ..adam
            },
        ),
        (
            "betas.1",
            AdamOptions {
                betas: (0.9, -0.1),
                ..adam
            },
        ),
        (
            "weight_decay",
            AdamOptions {
                weight_decay: f64::INFINITY,
                ..adam
            },
        ),
    ];
    for (name, options) in cases {
        let text = refusal(options);
        assert!(text.contains(name), "{name}: {text}");
    }
    let sgd = SgdOptions::default();
    let cases = [
        (
            "momentum",
            SgdOptions {
                momentum: -0.1,
                ..sgd
            },
        ),
        (
            "dampening",
            SgdOptions {
                dampening: f64::NAN,
                ..sgd
            },
        ),
        (
            "nesterov",
            SgdOptions {
                nesterov: true,
                ..sgd
            },
        ),
    ];
    for (name, options) in cases {
        let text = refusal(options);
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[test]
fn wrong_parameters_and_groups_are_errors() -> Result<()> {
    let dev = cpu();
    let p = Tensor::scalar(1.0, &dev).requires_grad();
    let twice = Adam::new(vec![p.clone(), p.clone()], AdamOptions::default()).step();
    assert!(twice.unwrap_err().to_string().contains("twice"));
    let plain = Adam::new(vec![Tensor::ones([2], &dev)], AdamOptions::default()).step();
    assert!(matches!(plain, Err(Error::Grad { .. })));
    let failed = Tensor::ones([2], &dev) + Tensor::ones([3], &dev);
    let failed = Adam::new(vec![failed.requires_grad()], AdamOptions::default()).step();
    assert!(matches!(failed, Err(Error::Broadcast { .. })));
    let group = |params, amsgrad| Group {
        params,
        options: AdamOptions {
            amsgrad,
            ..Default::default()
        },
    };
    let q = Tensor::scalar(1.0, &dev).requires_grad();
    let mut mixed = Adam::with_groups(vec![group(vec![p.clone()], true), group(vec![q], false)]);
    assert!(mixed.step().unwrap_err().to_string().contains("amsgrad"));

    // Mended options are taken; what needs other moments is not, once there are some.
    let mut adam = Adam::new(
        vec![p.clone()],
        AdamOptions {
            lr: -1.0,
            ..Default::default()
        },
    );
    p.zero_grad();
    (&p * 2.0).backward()?;
    assert!(adam.step().is_err());
    adam.set_lr(0.5);
    adam.step()?;
    assert!((p.item::<f32>()? - 0.5).abs() < 1e-6);
    adam.groups_mut()[0].amsgrad = true;
    assert!(adam.step().is_err());
    assert_eq!(adam.steps()?, [1]);
    Adam::new(Vec::new(), AdamOptions::default()).step()
}
