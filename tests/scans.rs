//! Running products, logarithms of sums and extremes against plain Rust in `f64`: rows of all lengths, zeros, ties,
//! NaN, infinities, all types, on every device, fused and unfused. Running sums have `cumsum.rs`.

mod devices;

use devices::{all, assert_close, fill};
use wgrad::autograd::gradcheck;
use wgrad::prelude::*;

/// The running state of each row, from the elements and the state before.
fn running<S: Copy>(x: &[f32], n: usize, nothing: S, join: impl Fn(S, f64, usize) -> S) -> Vec<S> {
    let row = |row: &[f32]| {
        let mut state = nothing;
        let step = |(i, &v): (usize, &f32)| {
            state = join(state, f64::from(v), i);
            state
        };
        row.iter().enumerate().map(step).collect::<Vec<_>>()
    };
    x.chunks(n).flat_map(row).collect()
}

const LENGTHS: [(usize, usize); 10] = [
    (1, 1),
    (5, 2),
    (7, 31),
    (300, 128),
    (3, 129),
    (2, 4095),
    (2, 4097),
    (1, 16_385),
    (1, 33_000),
    (3, 70_001),
];

#[test]
fn products_and_logarithms_of_all_lengths() {
    for dev in all() {
        for (rows, n) in LENGTHS {
            let x: Vec<f32> = fill(n as u64, rows * n, 1.0);
            // Products that neither vanish nor overflow.
            let near_one: Vec<f32> = x.iter().map(|v| 1.0 + v * 0.01).collect();
            let tensor = Tensor::from_slice(&near_one, [rows, n], &dev);
            let want = running(&near_one, n, 1.0, |p, v, _| p * v);
            let want: Vec<f32> = want.iter().map(|&v| v as f32).collect();
            let got: Vec<f32> = tensor.cumprod(1).to_vec().unwrap();
            let tolerance = 1e-6 + 1e-7 * (n as f32).sqrt();
            assert_close(&got, &want, tolerance, 0.0);
            let got: Vec<f32> = tensor.t().cumprod(0).t().to_vec().unwrap();
            assert_close(&got, &want, tolerance, 0.0);
            let scaled: Vec<f32> = x.iter().map(|v| v * 30.0).collect();
            let tensor = Tensor::from_slice(&scaled, [rows, n], &dev);
            let want = running(&scaled, n, f64::NEG_INFINITY, |s, v, _| {
                let top = s.max(v);
                top + ((s - top).exp() + (v - top).exp()).ln()
            });
            let want: Vec<f32> = want.iter().map(|&v| v as f32).collect();
            let got: Vec<f32> = tensor.logcumsumexp(-1).to_vec().unwrap();
            assert_close(&got, &want, 2e-6, 2e-6);
        }
    }
}

#[test]
fn extremes_of_all_lengths() {
    for dev in all() {
        for (rows, n) in LENGTHS {
            let x: Vec<f32> = fill(n as u64 + 9, rows * n, 1.0);
            // Slowly rising, with ties: positions change all along.
            let mut x: Vec<f32> = x
                .iter()
                .enumerate()
                .map(|(i, v)| (v * 20.0).round() + (i % n / 50) as f32)
                .collect();
            if n == 70_001 {
                x[60_000] = f32::NAN;
                x[65_000] = f32::NAN;
            }
            for sign in [1.0f32, -1.0] {
                let x: Vec<f32> = x.iter().map(|v| v * sign).collect();
                let tensor = Tensor::from_slice(&x, [rows, n], &dev);
                let want = running(&x, n, (f64::NAN, -1), |(best, at): (f64, i32), v, i| {
                    let wins = at < 0
                        || v.is_nan()
                        || (!best.is_nan() && f64::from(sign) * (v - best) >= 0.0);
                    if wins { (v, i as i32) } else { (best, at) }
                });
                let (values, positions) = match sign > 0.0 {
                    true => tensor.cummax(1),
                    false => tensor.cummin(1),
                };
                let places: Vec<i32> = want.iter().map(|w| w.1).collect();
                let got: Vec<i32> = positions.to_vec().unwrap();
                assert!(got == places, "{rows} x {n}, {sign} on {dev}");
                let want: Vec<f32> = want.iter().map(|w| w.0 as f32).collect();
                assert_close(&values.to_vec::<f32>().unwrap(), &want, 0.0, 0.0);
            }
        }
    }
}

#[test]
fn types_dimensions_and_nothing() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for dev in all() {
        let x = Tensor::new([[1, 2, 3], [4, 5, 6]], &dev);
        assert_eq!(x.cumprod(0).to_vec::<i32>().unwrap(), [1, 2, 3, 4, 10, 18]);
        assert_eq!(
            x.cumprod(-1).to_vec::<i32>().unwrap(),
            [1, 2, 6, 4, 20, 120]
        );
        let big = Tensor::new([i32::MAX, 2, i32::MIN], &dev);
        assert_eq!(big.cumprod(0).to_vec::<i32>().unwrap(), [i32::MAX, -2, 0]);
        let truths = Tensor::new([true, true, false, true], &dev);
        assert_eq!(truths.cumprod(0).to_vec::<i32>().unwrap(), [1, 1, 0, 0]);
        let (values, positions) = truths.cummin(0);
        assert_eq!(values.to_vec::<bool>().unwrap(), [true, true, false, false]);
        assert_eq!(positions.to_vec::<i32>().unwrap(), [0, 1, 2, 2]);
        for dtype in dev.limits().unwrap().dtypes {
            let (values, positions) = x.to_dtype(dtype).cummax(1);
            assert_eq!(values.dtype().unwrap(), dtype);
            let want = [0, 1, 2, 0, 1, 2];
            assert_eq!(positions.to_vec::<i32>().unwrap(), want, "{dtype} on {dev}");
            let (_, positions) = x.to_dtype(dtype).cummin(1);
            let want = match dtype {
                DType::Bool => [0, 1, 2, 0, 1, 2],
                _ => [0; 6],
            };
            assert_eq!(positions.to_vec::<i32>().unwrap(), want, "{dtype} on {dev}");
        }
        let halves = Tensor::full([300], 1.0, (DType::F16, &dev)).logcumsumexp(0);
        assert_eq!(halves.dtype().unwrap(), DType::F16);
        let last: f32 = halves.select(0, 299).to_dtype(DType::F32).item().unwrap();
        assert!((last - 6.7038).abs() < 4e-3, "{last}");
        // What is special.
        let odd = Tensor::new([-inf, -inf, 1.0, inf, 2.0, nan, 1.0], &dev);
        let logs: Vec<f32> = odd.logcumsumexp(0).to_vec().unwrap();
        assert_close(&logs, &[-inf, -inf, 1.0, inf, inf, nan, nan], 0.0, 0.0);
        let (values, positions) = odd.cummax(0);
        assert_close(
            &values.to_vec::<f32>().unwrap(),
            &[-inf, -inf, 1.0, inf, inf, nan, nan],
            0.0,
            0.0,
        );
        assert_eq!(positions.to_vec::<i32>().unwrap(), [0, 1, 2, 3, 3, 5, 5]);
        let (values, positions) = odd.cummin(0);
        assert_close(
            &values.to_vec::<f32>().unwrap(),
            &[-inf, -inf, -inf, -inf, -inf, nan, nan],
            0.0,
            0.0,
        );
        assert_eq!(positions.to_vec::<i32>().unwrap(), [0, 1, 1, 1, 1, 5, 5]);
        let zeros = Tensor::new([0.0, -0.0, 0.0], &dev).cummax(0).1;
        assert_eq!(zeros.to_vec::<i32>().unwrap(), [0, 1, 2]);
        // No elements, no dimensions, dimensions that are not there.
        assert_eq!(
            Tensor::zeros([3, 0], &dev).cumprod(1).dims().unwrap(),
            [3, 0]
        );
        let (values, positions) = Tensor::zeros([0, 3], &dev).cummax(1);
        assert_eq!(values.to_vec::<f32>().unwrap(), [0f32; 0]);
        assert_eq!(positions.dims().unwrap(), [0, 3]);
        let scalar = Tensor::scalar(2.5, &dev);
        assert_eq!(scalar.cumprod(0).item::<f32>().unwrap(), 2.5);
        assert_eq!(scalar.logcumsumexp(-1).item::<f32>().unwrap(), 2.5);
        let (value, position) = scalar.cummin(0);
        assert_eq!(
            (
                value.item::<f32>().unwrap(),
                position.item::<i32>().unwrap()
            ),
            (2.5, 0)
        );
        for (bad, says) in [
            (scalar.cumprod(1), "cumprod"),
            (x.cummax(2).0, "cummax"),
            (x.cummin(-3).1, "cummin"),
            (x.logcumsumexp(0), "takes floats"),
        ] {
            let error = bad.shape().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}

#[test]
fn gradients() {
    for dev in all() {
        let x = Tensor::new([2.0, 0.0, 3.0, 0.0, 5.0], &dev).requires_grad();
        x.cumprod(0).sum().backward().unwrap();
        let grad: Vec<f32> = x.grad().unwrap().to_vec().unwrap();
        // d/dx1 of 2 x1 (1 + 3), and nothing behind the second zero.
        assert_eq!(grad, [1.0, 8.0, 0.0, 0.0, 0.0]);
        let x = Tensor::new([1.0, 3.0, 3.0, 2.0, 5.0], &dev).requires_grad();
        x.cummax(0).0.sum().backward().unwrap();
        let grad: Vec<f32> = x.grad().unwrap().to_vec().unwrap();
        assert_eq!(grad, [1.0, 1.0, 2.0, 0.0, 1.0]);
        let x = Tensor::new([f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY, 1.0], &dev).requires_grad();
        x.logcumsumexp(0).narrow(0, 1, 3).sum().backward().unwrap();
        let grad: Vec<f32> = x.grad().unwrap().to_vec().unwrap();
        assert_close(&grad, &[0.0, 2.5, 0.0, 0.5], 1e-6, 0.0);
    }
    let cpu = devices::cpu();
    let x = (Tensor::arange(24, (DType::F64, &cpu)) * 1.3)
        .sin()
        .reshape([2, 3, 4]);
    let zeros = x.abs().gt(0.3).where_cond(&x, 0.0);
    for dim in 0..3 {
        for x in [&x, &zeros] {
            let f = |x: &[Tensor]| (x[0].cumprod(dim) + 2.0).sqr().sum();
            gradcheck(f, std::slice::from_ref(x)).unwrap();
            let f = |x: &[Tensor]| (x[0].logcumsumexp(dim).sqr() * 0.5).sum();
            gradcheck(f, std::slice::from_ref(x)).unwrap();
        }
        let f = |x: &[Tensor]| (x[0].cummax(dim).0.sqr() + x[0].cummin(dim).0).sum();
        gradcheck(f, std::slice::from_ref(&x)).unwrap();
        // The derivative again.
        let f = |x: &[Tensor]| {
            let options = GradOptions {
                create_graph: true,
                ..Default::default()
            };
            // The difference quotients come without a tape.
            let x = match x[0].needs_grad() {
                true => &x[0] * 1.0,
                false => x[0].detach().requires_grad(),
            };
            let y = (x.cumprod(dim).sqr() + x.logcumsumexp(dim).sqr()).sum();
            autograd::grad(&y, &[&x], options).unwrap()[0].sqr().sum()
        };
        gradcheck(f, std::slice::from_ref(&x)).unwrap();
    }
}
