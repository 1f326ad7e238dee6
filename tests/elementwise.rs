//! Elementwise functions that are put together from others: one kernel each, derivatives of derivatives, and what is
//! particular to them. Their values are compared with torch's in tests/golden.rs.

mod devices;

use devices::{all, fill};
use wgrad::Rounding;
use wgrad::autograd::{grad, gradcheck};
use wgrad::prelude::*;

type Function = (&'static str, fn(&Tensor) -> Tensor);

/// Of one operand, with their arguments.
const FUNCTIONS: &[Function] = &[
    ("leaky_relu", |x| x.leaky_relu(0.1)),
    ("elu", |x| x.elu(1.3)),
    ("selu", Tensor::selu),
    ("celu", |x| x.celu(0.7)),
    ("mish", Tensor::mish),
    ("hardtanh", |x| x.hardtanh(-0.7, 1.2)),
    ("relu6", Tensor::relu6),
    ("hardswish", Tensor::hardswish),
    ("hardsigmoid", Tensor::hardsigmoid),
    ("hardshrink", |x| x.hardshrink(0.3)),
    ("softshrink", |x| x.softshrink(0.3)),
    ("tanhshrink", Tensor::tanhshrink),
    ("softsign", Tensor::softsign),
    ("logsigmoid", Tensor::logsigmoid),
    ("threshold", |x| x.threshold(0.3, 2.0)),
    ("rrelu", |x| x.rrelu(0.1, 0.3, false)),
    ("frac", Tensor::frac),
    ("deg2rad", Tensor::deg2rad),
    ("nan_to_num", |x| x.nan_to_num(None, None, None)),
    ("clamp_min", |x| x.clamp_min(0.3)),
    ("clamp_max", |x| x.clamp_max(0.3)),
    ("logit_within", |x| x.sigmoid().logit_within(0.3)),
    ("polygamma", |x| (x.abs() + 0.5).polygamma(2)),
    ("lerp", |x| x.lerp(&x.sqr(), 0.3)),
    ("addcmul", |x| x.addcmul(x, &x.exp(), 0.5)),
    ("addcdiv", |x| x.addcdiv(x, &x.exp(), 0.5)),
    ("fmod", |x| x.fmod(0.77)),
    ("hypot", |x| x.hypot(&(x.sqr() + 1.0))),
];

/// Away from kinks, at 0 and at multiples of what the functions name.
fn points(n: usize) -> Vec<f64> {
    let kinks = [
        0.0, 0.3, -0.3, -0.7, 1.2, 3.0, -3.0, 0.77, -0.77, 1.54, -1.54, 2.31, -2.31,
    ];
    let away = |x: f64| kinks.iter().all(|k| (x - k).abs() > 0.02) && (x - x.round()).abs() > 0.02;
    let random = fill(7, 8 * n, 3.5).into_iter().map(f64::from);
    random.filter(|&x| away(x)).take(n).collect()
}

#[test]
fn derivatives_of_every_function() {
    for fusion in [true, false] {
        let dev = DeviceOptions::cpu().fusion(fusion).open().unwrap();
        for (name, f) in FUNCTIONS {
            let x = Tensor::from_vec(points(23), [23], &dev);
            let w = (Tensor::arange(23, (DType::F64, &dev)) * 0.37).sin() + 1.5;
            gradcheck(|x| (f(&x[0]) * &w).sum(), std::slice::from_ref(&x))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            let slope = |x: &[Tensor]| {
                let leaf = match x[0].needs_grad() {
                    true => x[0].clone(),
                    false => x[0].clone().requires_grad(),
                };
                let options = GradOptions {
                    create_graph: true,
                    ..GradOptions::default()
                };
                // A sum beside it, so that there is a derivative where the function's is constant.
                let y = (f(&leaf) * &w).sum() + (leaf.sqr() * &w).sum();
                let g = grad(&y, &[&leaf], options).expect("a derivative");
                (g[0].sqr() * &w).sum()
            };
            gradcheck(slope, &[x]).unwrap_or_else(|e| panic!("second derivative of {name}: {e}"));
        }
    }
}

#[test]
fn each_is_one_kernel() {
    for dev in all().iter().filter(|dev| dev.fusion()) {
        for dtype in [DType::F32, DType::BF16] {
            for (name, f) in FUNCTIONS {
                let values: Vec<f32> = points(40).into_iter().map(|x| x as f32).collect();
                let x = Tensor::from_vec(values, [40], dev)
                    .to_dtype(dtype)
                    .requires_grad();
                dev.synchronize().unwrap();
                let before = dev.stats().launches;
                let y = f(&x);
                dev.synchronize().unwrap();
                let forward = dev.stats().launches - before;
                let g = Tensor::full([40], 0.5, (dtype, dev));
                y.backward_with(&g).unwrap();
                dev.synchronize().unwrap();
                let backward = dev.stats().launches - before - forward;
                assert_eq!(forward, 1, "{name} of {dtype} on {dev}");
                assert!(
                    backward <= 1,
                    "{name} of {dtype} on {dev}: {backward} backward"
                );
            }
        }
    }
}

/// A compiler of shaders for processors with AVX-512 (LLVM 15) merged the bits of a copied sign with the masks around
/// it, and made another number of both: a hyperbolic tangent of 4.
#[test]
fn signs_are_copied_beside_other_bits() {
    for device in all() {
        for n in [1, 2, 12] {
            for x in [-2.4f32, -0.0, 0.3, 4.4644] {
                let x = vec![x; n];
                let y = Tensor::from_slice(&x, [n], &device).softplus().tanh();
                for (y, x) in y.to_vec::<f32>().unwrap().into_iter().zip(x) {
                    let want = f64::from(x).exp().ln_1p().tanh();
                    let error = (f64::from(y) - want).abs();
                    assert!(error < 1e-6, "{device}: {y}, not {want}, of {x}");
                }
            }
            let zeros = Tensor::from_vec(vec![-0.0f32; n], [n], &device);
            for zero in (zeros * 3.0).tanh().to_vec::<f32>().unwrap() {
                assert!(zero == 0.0 && zero.is_sign_negative(), "{device}: {zero}");
            }
        }
    }
}

/// Steps are not rounded, also where nothing is fused.
#[test]
fn sixteen_bits_are_rounded_once() {
    for dev in all() {
        for (name, f) in FUNCTIONS {
            if [
                "logit_within",
                "polygamma",
                "lerp",
                "addcmul",
                "addcdiv",
                "hypot",
            ]
            .contains(name)
            {
                // Their operands are made of others here.
                continue;
            }
            let values: Vec<f32> = points(40).into_iter().map(|x| x as f32).collect();
            let x = Tensor::from_vec(values, [40], &dev).to_dtype(DType::F16);
            let got = f(&x).to_dtype(DType::F32).to_vec::<f32>().unwrap();
            let want = f(&x.to_dtype(DType::F32)).to_vec::<f32>().unwrap();
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                let bound = w.abs() * 1.01 * (0.5f32).powi(11) + 1e-7;
                // These have a step more, each rounded by itself.
                let steps = if ["softsign", "fmod"].contains(name) {
                    2.1
                } else {
                    1.0
                };
                assert!(
                    (g - w).abs() <= bound * steps,
                    "{name} on {dev}, element {i}: {g} for {w}"
                );
            }
        }
    }
}

#[test]
fn integers_divided_by_zero_are_zero_and_leave_zero() {
    for dev in all() {
        let i = Tensor::from_slice(&[7i32, -7, 0, i32::MIN, i32::MIN, i32::MAX], [6], &dev);
        let by = Tensor::from_slice(&[0i32, 0, 0, 0, -1, -1], [6], &dev);
        let wraps = [0, 0, 0, 0, i32::MIN, -i32::MAX];
        assert_eq!(i.div_trunc(&by).to_vec::<i32>().unwrap(), wraps, "{dev}");
        assert_eq!(i.floor_divide(&by).to_vec::<i32>().unwrap(), wraps, "{dev}");
        assert_eq!(i.fmod(&by).to_vec::<i32>().unwrap(), [0; 6], "{dev}");
        assert_eq!(i.remainder(&by).to_vec::<i32>().unwrap(), [0; 6], "{dev}");
        assert_eq!(i.remainder(0).to_vec::<i32>().unwrap(), [0; 6], "{dev}");
        assert_eq!(i.lcm(&by).to_vec::<i32>().unwrap()[..4], [0; 4], "{dev}");
        // A tensor without dimensions gives way to a smaller type.
        let one = Tensor::from_slice(&[6i32], [1], &dev).reshape(&[1usize; 0][..]);
        let small = Tensor::from_slice(&[4i8, 35], [2], &dev);
        assert_eq!(one.lcm(&small).to_vec::<i8>().unwrap(), [12, -46], "{dev}");
        let u = Tensor::from_slice(&[7u8, 0, 255], [3], &dev);
        for y in [
            u.fmod(0),
            u.remainder(0),
            u.div_trunc(0),
            u.div_rounded(0, Rounding::Floor),
        ] {
            assert_eq!(y.to_vec::<u8>().unwrap(), [0; 3], "{dev}");
        }
        let w = Tensor::from_slice(&[7u32, 0, u32::MAX], [3], &dev);
        for y in [w.fmod(0), w.remainder(0), w.div_trunc(0), w.floor_divide(0)] {
            assert_eq!(y.to_vec::<u32>().unwrap(), [0; 3], "{dev}");
        }
    }
}

/// `q b + r = a`, where `r` has the sign that the rounding says.
#[test]
fn quotient_and_rest_belong_together() {
    for dev in all() {
        let n = 500;
        let a: Vec<i32> = fill(1, n, 1e4).into_iter().map(|x| x as i32).collect();
        let b: Vec<i32> = fill(2, n, 30.0).into_iter().map(|x| x as i32 | 1).collect();
        let (x, y) = (
            Tensor::from_slice(&a, [n], &dev),
            Tensor::from_slice(&b, [n], &dev),
        );
        let read = |t: Tensor| t.to_vec::<i32>().unwrap();
        let (floor, rest) = (read(x.floor_divide(&y)), read(x.remainder(&y)));
        let (trunc, left) = (read(x.div_trunc(&y)), read(x.fmod(&y)));
        for i in 0..n {
            assert_eq!(
                floor[i] * b[i] + rest[i],
                a[i],
                "{} by {} on {dev}",
                a[i],
                b[i]
            );
            assert!(rest[i] == 0 || rest[i].signum() == b[i].signum());
            assert_eq!(
                trunc[i] * b[i] + left[i],
                a[i],
                "{} by {} on {dev}",
                a[i],
                b[i]
            );
            assert!(left[i] == 0 || left[i].signum() == a[i].signum());
        }
    }
}

/// Floats: the rest is exact whatever the quotient, and a quotient that rounds to a whole number is one.
#[test]
fn rests_of_floats_are_exact() {
    for dev in all() {
        let n = 2000;
        let a: Vec<f32> = fill(3, n, 1.0)
            .into_iter()
            .enumerate()
            .map(|(i, x)| x * 10f32.powi(i as i32 % 70 - 35))
            .collect();
        let b: Vec<f32> = fill(4, n, 1.0)
            .into_iter()
            .enumerate()
            .map(|(i, x)| x * 10f32.powi(i as i32 * 7 % 70 - 35))
            .collect();
        let (x, y) = (
            Tensor::from_slice(&a, [n], &dev),
            Tensor::from_slice(&b, [n], &dev),
        );
        let rest = x.fmod(&y).to_vec::<f32>().unwrap();
        for i in 0..n {
            let want = a[i] % b[i];
            // A GPU may take subnormal numbers for 0.
            let flushed = !dev.is_cpu()
                && (want.is_subnormal() || a[i].is_subnormal() || b[i].is_subnormal());
            let same = rest[i] == want || want.is_nan() && rest[i].is_nan();
            assert!(
                same || flushed,
                "{} % {} on {dev}: {} for {want}",
                a[i],
                b[i],
                rest[i]
            );
        }
        // Products of decimals: quotients just off whole numbers.
        let a: Vec<f32> = (0..n).map(|i| (i as f32 - 1000.0) * 0.1).collect();
        let x = Tensor::from_slice(&a, [n], &dev);
        let y = Tensor::from_slice(&[0.1f32], [1], &dev);
        let trunc = x.div_trunc(&y).to_vec::<f32>().unwrap();
        for (a, got) in a.iter().zip(&trunc) {
            assert_eq!(*got, (a / 0.1f32).trunc(), "{a} / 0.1 on {dev}");
        }
    }
}

#[test]
fn slopes_of_rrelu_are_drawn_in_training() {
    for dev in all() {
        let n = 4000;
        let values: Vec<f32> = (0..n)
            .map(|i| if i % 2 == 0 { -1.0 } else { 2.0 })
            .collect();
        let x = Tensor::from_vec(values, [n], &dev).requires_grad();
        let y = x.rrelu(0.1, 0.3, true);
        y.sum().backward().unwrap();
        let (y, slopes) = (
            y.to_vec::<f32>().unwrap(),
            x.grad().unwrap().to_vec::<f32>().unwrap(),
        );
        let mut sum = 0.0;
        for i in 0..n {
            if i % 2 == 1 {
                assert_eq!((y[i], slopes[i]), (2.0, 1.0), "{dev}");
            } else {
                assert!(
                    (0.1..0.3).contains(&-y[i]) && slopes[i] == -y[i],
                    "{dev}: {}",
                    y[i]
                );
                sum += slopes[i];
            }
        }
        // The standard error is 0.0013.
        assert!((sum / (n as f32 / 2.0) - 0.2).abs() < 0.007, "{dev}: {sum}");
    }
}

#[test]
fn what_does_not_fit_says_so() {
    for dev in all() {
        let x = Tensor::zeros([2, 3], &dev);
        let i = Tensor::zeros([2, 3], (DType::I32, &dev));
        let bools = Tensor::zeros([2, 3], (DType::Bool, &dev));
        let refused = [
            (x.bitwise_and(1), "bitwise_and: takes integers, not f32"),
            (i.bitwise_or(1.5), "bitwise_or: takes integers, not f32"),
            (x.bitwise_not(), "bitwise_not: takes integers, not f32"),
            (x.gcd(&x), "gcd: takes integers, not f32"),
            (bools.fmod(&bools), "fmod: takes numbers, not bools"),
            (
                i.remainder(1i64 << 40),
                "remainder: 1099511627776 does not fit i32",
            ),
            (x.celu(0.0), "celu: alpha is 0"),
            (x.softshrink(-1.0), "softshrink: lambda is -1"),
            (x.hardtanh(1.0, -1.0), "hardtanh: the lower bound 1"),
            (x.rrelu(0.5, 0.1, true), "rrelu: the lower slope 0.5"),
            (x.glu(1), "glu: dimension 1 of shape [2, 3] is odd"),
            (x.glu(2), "glu: dimension 2"),
            (
                x.prelu(&Tensor::zeros([2], &dev)),
                "prelu: a weight of shape [2] for [2, 3]",
            ),
            (x.prelu(&i), "prelu: a weight of shape"),
            (
                x.polygamma(-1),
                "polygamma: there is no derivative number -1",
            ),
            (x.logit_within(0.7), "logit_within: eps is 0.7"),
            (i.round_decimals(1), "round_decimals: takes floats, not i32"),
            (
                x.heaviside(&i),
                "heaviside: takes one type, not f32 and i32",
            ),
            (
                x.lerp(&Tensor::zeros([2, 2], &dev), 0.5),
                "sub: shapes [2, 2] and [2, 3]",
            ),
        ];
        for (y, words) in refused {
            let error = y
                .error()
                .unwrap_or_else(|| panic!("{words}: no error"))
                .to_string();
            assert!(error.starts_with(words), "{error}: {words}");
            assert!(error.contains("tests/elementwise.rs:"), "{error}");
        }
    }
}
