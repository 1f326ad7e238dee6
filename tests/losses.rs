//! Losses and activations against their formulas in f64, over wide ranges, and what they refuse.

mod devices;

use devices::all;
use wgrad::nn::loss;
use wgrad::prelude::*;
use wgrad::{CrossEntropyOptions, Reduction};

/// Points over [-100, 100], denser around 0, whose f32 are exact operands of the formulas.
fn points() -> Vec<f32> {
    let steps = (1..=400).map(|i| i as f32 * 0.25);
    let small = (-40..0).map(|e| 1.5 * 2f32.powi(e));
    let positive: Vec<f32> = steps.chain(small).collect();
    positive
        .iter()
        .copied()
        .chain([0.0])
        .chain(positive.iter().map(|x| -x))
        .collect()
}

fn sigmoid(x: f64) -> f64 {
    match x < 0.0 {
        true => x.exp() / (1.0 + x.exp()),
        false => 1.0 / (1.0 + (-x).exp()),
    }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The upper tail of the normal distribution, by the continued fraction of Mills' ratio, and by
/// Taylor's series near 0.
fn normal_cdf(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if x.abs() < 3.0 {
        let mut term = x;
        let mut sum = x;
        for n in 1..100 {
            term *= x * x / (2 * n + 1) as f64;
            sum += term;
        }
        return 0.5 + density * sum;
    }
    let fraction = (1..200).rev().fold(x.abs(), |f, n| x.abs() + n as f64 / f);
    match x < 0.0 {
        true => density / fraction,
        false => 1.0 - density / fraction,
    }
}

struct Case {
    name: &'static str,
    y: fn(&Tensor) -> Tensor,
    value: fn(f64) -> f64,
    slope: fn(f64) -> f64,
}

/// Units in the last place that value and slope may be off, for an operand that is known to half a
/// unit: the function's condition number times that is no error of ours.
fn allowed(x: f64, f: fn(f64) -> f64, ulp: f64) -> f64 {
    let want = f(x);
    let h = (x.abs() * 1e-6).max(1e-9);
    let slope = (f(x + h) - f(x - h)) / (2.0 * h);
    let unit = f64::from(f32::EPSILON);
    // Below the normal range a GPU may give 0.
    unit * (ulp * want.abs() + 2.0 * (x * slope).abs()) + 1.2e-38
}

#[test]
fn activations_keep_their_precision() {
    let cases = [
        Case {
            name: "softplus",
            y: Tensor::softplus,
            value: softplus,
            slope: sigmoid,
        },
        Case {
            name: "gelu",
            y: Tensor::gelu,
            value: |x| x * normal_cdf(x),
            slope: |x| {
                normal_cdf(x) + x * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
            },
        },
        Case {
            name: "gelu_tanh",
            y: Tensor::gelu_tanh,
            value: |x| x * sigmoid(1.595_769_121_605_730_8 * (x + 0.044_715 * x * x * x)),
            slope: |x| {
                let u = 1.595_769_121_605_730_8 * (x + 0.044_715 * x * x * x);
                let du = 1.595_769_121_605_730_8 * (1.0 + 3.0 * 0.044_715 * x * x);
                sigmoid(u) * (1.0 + x * du * sigmoid(-u))
            },
        },
        Case {
            name: "silu",
            y: Tensor::silu,
            value: |x| x * sigmoid(x),
            slope: |x| sigmoid(x) * (1.0 + x * sigmoid(-x)),
        },
        Case {
            name: "bce_with_logits, target 1",
            y: |x| loss::binary_cross_entropy_with_logits_with(x, &x.ones_like(), Reduction::None),
            value: |x| softplus(-x),
            slope: |x| -sigmoid(-x),
        },
        Case {
            name: "bce_with_logits, target 0",
            y: |x| loss::binary_cross_entropy_with_logits_with(x, &x.zeros_like(), Reduction::None),
            value: softplus,
            slope: sigmoid,
        },
        Case {
            name: "cross_entropy of two classes",
            y: |x| {
                let logits = Tensor::stack(&[x.zeros_like(), x.clone()], 1);
                let targets = Tensor::zeros([x.numel().unwrap()], (DType::I32, x.device()));
                let options = CrossEntropyOptions {
                    reduction: Reduction::None,
                    ..Default::default()
                };
                logits.cross_entropy_with(&targets, options)
            },
            value: softplus,
            slope: sigmoid,
        },
        Case {
            name: "nll of log_softmax",
            y: |x| {
                let logits = Tensor::stack(&[x.clone(), x.zeros_like()], 1);
                logits.log_softmax(1).narrow(1, 0, 1).squeeze(1).neg()
            },
            value: |x| softplus(-x),
            slope: |x| -sigmoid(-x),
        },
    ];
    let mut faults = Vec::new();
    for dev in all() {
        for case in &cases {
            let points = points();
            let x = Tensor::from_slice(&points, [points.len()], &dev).requires_grad();
            let y = (case.y)(&x);
            let values: Vec<f32> = y.to_vec().unwrap();
            y.sum().backward().unwrap();
            let slopes: Vec<f32> = x.grad().unwrap().to_vec().unwrap();
            for (i, &x) in points.iter().enumerate() {
                let x = f64::from(x);
                for (what, got, f, ulp) in [
                    ("value", values[i], case.value, 12.0),
                    ("slope", slopes[i], case.slope, 24.0),
                ] {
                    let off = (f64::from(got) - f(x)).abs();
                    let most = allowed(x, f, ulp);
                    if off.is_nan() || off > most {
                        faults.push(format!(
                            "{} at {x}: {what} {got:e}, not {:e} ({:.1} times too far; {dev})",
                            case.name,
                            f(x),
                            off / most
                        ));
                    }
                }
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn binary_cross_entropy_at_its_ends() {
    for dev in all() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let p = Tensor::new([0.3, 0.5], (dtype, &dev)).requires_grad();
            let t = Tensor::new([1.0, 0.0], (dtype, &dev));
            let y = loss::binary_cross_entropy(&p, &t);
            assert_eq!(y.dtype().unwrap(), dtype);
            y.backward().unwrap();
            let got: Vec<f32> = p.grad().unwrap().to_dtype(DType::F32).to_vec().unwrap();
            for (got, want) in got.iter().zip([-1.0 / 0.6, 1.0]) {
                assert!(
                    (got / want - 1.0).abs() < 5e-3,
                    "{got} for {want} in {dtype}"
                );
            }
        }
        // Values as torch: logarithms end at -100. A probability near 0 keeps its digits.
        let p = Tensor::new([0.0f32, 1.0, 1e-20, 1.0, 0.0], &dev).requires_grad();
        let t = Tensor::new([1.0, 0.0, 0.0, 1.0, 0.0], &dev);
        let y = loss::binary_cross_entropy_with(&p, &t, Reduction::None);
        let values: Vec<f32> = y.to_vec().unwrap();
        assert_eq!(values, [100.0, 100.0, 1e-20, 0.0, 0.0]);
        y.sum().backward().unwrap();
        let slopes: Vec<f32> = p.grad().unwrap().to_vec().unwrap();
        for (got, want) in slopes.iter().zip([-1e12, 1e12, 1.0, -1.0, 1.0]) {
            assert!((got / want - 1.0).abs() < 1e-6, "{got} for {want}");
        }
    }
}

#[test]
fn means_of_16_bit_floats_are_taken_in_f32() {
    for dev in all() {
        let full = |value: f64| Tensor::full([70_000], value, (DType::F16, &dev));
        let read = |x: Tensor| x.to_dtype(DType::F32).item::<f32>().unwrap();
        // A leaf, which is no constant.
        let twos = Tensor::from_vec(vec![half::f16::from_f32(2.0); 70_000], [70_000], &dev);
        assert_eq!(read(twos.mean()), 2.0);
        let ones = Tensor::from_vec(vec![1.0f32; 41], [41], &dev);
        assert_eq!(ones.mean().item::<f32>().unwrap(), 1.0);
        assert_eq!(
            read(twos.reshape([7, 10_000]).mean_dims([1], false).max()),
            2.0
        );
        assert_eq!(read(loss::mse_loss(&twos, &full(1.0))), 1.0);
        assert_eq!(read(loss::mse_loss(&full(200.0), &full(0.0))), 40_000.0);
        assert_eq!(read(loss::l1_loss(&twos, &full(0.5))), 1.5);
        let x = twos.requires_grad();
        loss::mse_loss(&x, &full(0.0)).backward().unwrap();
        let slope = read(x.grad().unwrap().max());
        assert!((slope * 70_000.0 / 4.0 - 1.0).abs() < 2e-3, "{slope}");
    }
}

#[test]
fn norms_neither_overflow_nor_underflow() {
    for dev in all() {
        for (value, dtype) in [
            (1e20, DType::F32),
            (1e-25, DType::F32),
            (300.0, DType::F16),
            (1.0, DType::F32),
        ] {
            let w = Tensor::zeros([2], (dtype, &dev)).requires_grad();
            w.set_grad(&Tensor::new([3.0 * value, 4.0 * value], (dtype, &dev)))
                .unwrap();
            let norm = wgrad::optim::clip_grad_norm(std::slice::from_ref(&w), value).unwrap();
            let norm = norm.item::<f32>().unwrap();
            assert!(
                (f64::from(norm) / (5.0 * value) - 1.0).abs() < 1e-3,
                "{norm} for {value}"
            );
            let clipped: Vec<f32> = w.grad().unwrap().to_dtype(DType::F32).to_vec().unwrap();
            if value > 1e-6 {
                assert!(
                    (f64::from(clipped[1]) / (0.8 * value) - 1.0).abs() < 2e-3,
                    "{clipped:?}"
                );
            }
        }
        let w = Tensor::zeros([2], &dev).requires_grad();
        w.set_grad(&Tensor::zeros([2], &dev)).unwrap();
        let norm = wgrad::optim::clip_grad_norm(std::slice::from_ref(&w), 1.0).unwrap();
        assert_eq!(norm.item::<f32>().unwrap(), 0.0);
        w.set_grad(&Tensor::new([f32::INFINITY, 1.0], &dev))
            .unwrap();
        let norm = wgrad::optim::clip_grad_norm(&[w], 1.0).unwrap();
        assert_eq!(norm.item::<f32>().unwrap(), f32::INFINITY);
    }
}

#[test]
fn no_gradient_where_every_target_is_ignored() {
    for dev in all() {
        let x = Tensor::from_vec(devices::fill(3, 12, 2.0), [3, 4], &dev);
        let w = Tensor::from_vec(devices::fill(4, 20, 1.0), [5, 4], &dev).requires_grad();
        let ignored = Tensor::full([3], -100, &dev);
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let options = CrossEntropyOptions {
                reduction,
                ..Default::default()
            };
            let want = match reduction {
                Reduction::Mean => f32::NAN,
                _ => 0.0,
            };
            let logits = || x.linear(&w, None);
            for loss in [
                logits().cross_entropy_with(&ignored, options.clone()),
                logits()
                    .log_softmax(1)
                    .nll_loss_with(&ignored, options.clone()),
                x.linear_cross_entropy_with(&w, None, &ignored, options.clone()),
                x.linear_cross_entropy_by(2, &w, None, &ignored, options.clone()),
            ] {
                w.zero_grad();
                let value = loss.item::<f32>().unwrap();
                assert!(value == want || value.is_nan() && want.is_nan(), "{value}");
                loss.backward().unwrap();
                assert_eq!(w.grad().unwrap().to_vec::<f32>().unwrap(), [0.0; 20]);
            }
        }
        // Whatever comes from above.
        let sum = CrossEntropyOptions {
            reduction: Reduction::Sum,
            ..Default::default()
        };
        for loss in [
            x.linear(&w, None).cross_entropy_with(&ignored, sum.clone()),
            x.linear_cross_entropy_by(2, &w, None, &ignored, sum),
        ] {
            w.zero_grad();
            loss.ln().backward().unwrap();
            assert_eq!(w.grad().unwrap().to_vec::<f32>().unwrap(), [0.0; 20]);
        }
        // One row that counts not, and NaN from above it.
        let x = x.requires_grad();
        let targets = Tensor::new([1, -100, 2], &dev);
        let options = CrossEntropyOptions {
            reduction: Reduction::None,
            ..Default::default()
        };
        let losses = x.cross_entropy_with(&targets, options);
        losses
            .backward_with(&Tensor::new([1.0, f32::NAN, 1.0], &dev))
            .unwrap();
        let grad: Vec<f32> = x.grad().unwrap().to_vec().unwrap();
        assert_eq!(grad[4..8], [0.0; 4]);
        assert!(grad.iter().all(|g| g.is_finite()));
    }
}

#[test]
fn large_and_infinite_logits() {
    for dev in all() {
        let of = |logits: &[f32], target: i32| {
            let x = Tensor::from_slice(logits, [1, logits.len()], &dev).requires_grad();
            let y = x.cross_entropy(&Tensor::new([target], &dev));
            let value = y.item::<f32>().unwrap();
            y.backward().unwrap();
            (value, x.grad().unwrap().to_vec::<f32>().unwrap())
        };
        let (value, grad) = of(&[1e30, 1e30, 0.0], 0);
        assert!((value - 2f32.ln()).abs() < 1e-6, "{value}");
        assert_eq!(grad, [-0.5, 0.5, 0.0]);
        let (value, grad) = of(&[f32::NEG_INFINITY, 1.0, 0.0], 1);
        assert!(
            (value - 0.313_261_66).abs() < 1e-6 && grad[0] == 0.0,
            "{value} {grad:?}"
        );
        assert!(of(&[f32::INFINITY, 1.0, 0.0], 1).0.is_nan());
        // logsumexp of a row that holds infinity: 0 for what is finite.
        let x = Tensor::new([1.0, f32::INFINITY, 3.0], &dev).requires_grad();
        let y = x.logsumexp(0, false);
        assert_eq!(y.item::<f32>().unwrap(), f32::INFINITY);
        y.backward().unwrap();
        let grad = x.grad().unwrap().to_vec::<f32>().unwrap();
        assert!(
            grad[0] == 0.0 && grad[1].is_nan() && grad[2] == 0.0,
            "{grad:?}"
        );
        // The maximum of a row that holds NaN.
        let x = Tensor::new([[1.0, f32::NAN], [2.0, 2.0]], &dev).requires_grad();
        x.max_dims([1], false).sum().backward().unwrap();
        let grad = x.grad().unwrap().to_vec::<f32>().unwrap();
        assert!(
            grad[0].is_nan() && grad[1].is_nan() && grad[2..] == [0.5, 0.5],
            "{grad:?}"
        );
        // No slope is none, whatever comes from above.
        let x = Tensor::new([1.5, -0.5], &dev).requires_grad();
        let inf = Tensor::full([2], f32::INFINITY, &dev);
        x.floor().backward_with(&inf).unwrap();
        x.sign().backward_with(&inf).unwrap();
        x.round().backward_with(&inf).unwrap();
        x.ceil().backward_with(&inf).unwrap();
        assert_eq!(x.grad().unwrap().to_vec::<f32>().unwrap(), [0.0; 2]);
    }
}

#[test]
fn losses_refuse_what_does_not_fit() {
    for dev in all() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, &dev);
        let classes = |shape: &[usize]| Tensor::zeros(shape, (DType::I32, &dev));
        let of_shape = |x: Tensor| matches!(x.error(), Some(Error::Shape { .. }));
        assert!(of_shape(loss::nll_loss(&zeros(&[4, 2]), &classes(&[2]))));
        assert!(of_shape(loss::nll_loss(
            &zeros(&[2, 3, 4]),
            &classes(&[2, 2])
        )));
        assert!(of_shape(loss::nll_loss(&zeros(&[4]), &classes(&[4]))));
        assert!(
            loss::nll_loss(&zeros(&[4]), &classes(&[]))
                .error()
                .is_none()
        );
        let (x, w) = (zeros(&[2, 4]), zeros(&[4, 4]));
        for (bias, fits) in [
            (vec![4], true),
            (vec![1], true),
            (vec![2, 4], true),
            (vec![5, 1, 4], false),
            (vec![3], false),
        ] {
            let y = x.linear(&w, Some(&zeros(&bias)));
            assert_eq!(y.error().is_none(), fits, "{bias:?}");
        }
        let nll = loss::nll_loss(&zeros(&[2, 3]), &Tensor::new([1, 7], &dev));
        let error = nll.item::<f32>().unwrap_err();
        assert!(
            matches!(
                error,
                Error::IndexOutOfRange {
                    op: "nll_loss",
                    index: 7,
                    size: 3,
                    ..
                }
            ),
            "{error}"
        );
        // A weight of NaN is one.
        let x = Tensor::new([[-1.0, -2.0], [-3.0, -4.0]], &dev);
        let t = Tensor::new([0, 1], &dev);
        let options = || CrossEntropyOptions {
            weight: Some(Tensor::new([f32::NAN, 1.0], &dev)),
            ..Default::default()
        };
        assert!(
            x.nll_loss_with(&t, options())
                .item::<f32>()
                .unwrap()
                .is_nan()
        );
        assert!(
            x.cross_entropy_with(&t, options())
                .item::<f32>()
                .unwrap()
                .is_nan()
        );
        let bytes = |v: u8| Tensor::from_vec(vec![v], [1], &dev);
        assert!(loss::l1_loss(&bytes(1), &bytes(3)).error().is_some());
        // -100 counts for nothing.
        let some = loss::nll_loss(
            &Tensor::new([[-1.0, -2.0], [-5.0, -6.0]], &dev),
            &Tensor::new([1, -100], &dev),
        );
        assert_eq!(some.item::<f32>().unwrap(), 2.0);
    }
}
