//! LBFGS on Rosenbrock's function.

use wgrad::optim::*;
use wgrad::prelude::*;

use super::course::{close, golden, values};
use super::devices;

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
