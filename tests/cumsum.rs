//! Running sums against f64, in odd sizes, long rows and all types.

mod devices;

use devices::{all, fill, open_gpu};
use wgrad::prelude::*;

/// The running sums of rows of `n` numbers, and of their absolute values: what rounding is measured by.
fn sums(x: &[f32], n: usize) -> Vec<(f64, f64)> {
    let row = |row: &[f32]| {
        let mut sum = (0.0, 0.0);
        let mut step = |v: &f32| {
            sum = (sum.0 + f64::from(*v), sum.1 + f64::from(v.abs()));
            sum
        };
        row.iter().map(&mut step).collect::<Vec<_>>()
    };
    x.chunks(n.max(1)).flat_map(row).collect()
}

#[track_caller]
fn assert_sums(got: &[f32], x: &[f32], n: usize, tolerance: f64, what: &str) {
    let want = sums(x, n);
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, (w, size))) in got.iter().zip(&want).enumerate() {
        let near = (f64::from(*g) - w).abs() <= tolerance * size.max(1e-30);
        assert!(near, "{what}, element {i}: {g} instead of {w}");
    }
}

#[test]
fn rows_of_all_lengths() {
    for dev in all() {
        for (rows, n) in [
            (1, 1),
            (5, 2),
            (7, 31),
            (300, 128),
            (3, 129),
            (2, 4095),
            (2, 4096),
            (2, 4097),
            (1, 16_385),
            (3, 70_001),
        ] {
            let x = fill(n as u64, rows * n, 1.0);
            let tensor = Tensor::from_vec(x.clone(), [rows, n], &dev);
            let what = format!("{rows} x {n} on {dev}");
            let got: Vec<f32> = tensor.cumsum(1).to_vec().unwrap();
            assert_sums(&got, &x, n, 1e-6, &what);
            // Columns of a turned tensor are its rows.
            let got: Vec<f32> = tensor.t().cumsum(0).t().to_vec().unwrap();
            assert_sums(&got, &x, n, 1e-6, &format!("{what}, turned"));
            // Same program, same bits.
            let again: Vec<f32> = tensor.cumsum(-1).to_vec().unwrap();
            let first: Vec<f32> = tensor.cumsum(1).to_vec().unwrap();
            assert_eq!(again, first, "{what}");
        }
    }
}

#[test]
fn a_long_row_is_exact_to_five_digits() {
    let gpu = open_gpu(DeviceOptions::gpu());
    for dev in [devices::cpu()].into_iter().chain(gpu) {
        let n = 3_000_001;
        let x = vec![0.1f32; n];
        let got: Vec<f32> = Tensor::full([n], 0.1, &dev).cumsum(0).to_vec().unwrap();
        assert_sums(&got, &x, n, 1e-6, &format!("{dev}"));
    }
}

#[test]
fn types_dimensions_and_nothing() {
    for dev in all() {
        let x = Tensor::new([[1, 2, 3], [4, 5, 6]], &dev);
        assert_eq!(x.cumsum(0).to_vec::<i32>().unwrap(), [1, 2, 3, 5, 7, 9]);
        assert_eq!(x.cumsum(-1).to_vec::<i32>().unwrap(), [1, 3, 6, 4, 9, 15]);
        let big = Tensor::new([i32::MAX, 1], &dev);
        assert_eq!(big.cumsum(0).to_vec::<i32>().unwrap(), [i32::MAX, i32::MIN]);
        let truths = Tensor::new([true, false, true], &dev).cumsum(0);
        assert_eq!(truths.to_vec::<i32>().unwrap(), [1, 1, 2]);
        let bytes = Tensor::from_vec(vec![200u8, 100, 3], 3, &dev).cumsum(0);
        assert_eq!(bytes.to_vec::<i32>().unwrap(), [200, 300, 303]);
        let words = Tensor::from_vec(vec![7u32, 8], 2, &dev).cumsum(0);
        let has_i64 = dev.limits().unwrap().dtypes.contains(&DType::I64);
        assert_eq!(
            words.dtype().unwrap(),
            if has_i64 { DType::I64 } else { DType::U32 }
        );
        assert_eq!(words.to_dtype(DType::I32).to_vec::<i32>().unwrap(), [7, 15]);
        // 16-bit floats are rounded once.
        let halves = Tensor::full([3000], 1.0, (DType::F16, &dev)).cumsum(0);
        assert_eq!(halves.dtype().unwrap(), DType::F16);
        let last: f32 = halves.select(0, 2999).to_dtype(DType::F32).item().unwrap();
        assert_eq!(last, 3000.0);
        // No elements, no dimensions, dimensions that are not there.
        assert_eq!(
            Tensor::zeros([3, 0], &dev).cumsum(1).shape().unwrap(),
            [3, 0]
        );
        assert_eq!(
            Tensor::zeros([0, 3], &dev)
                .cumsum(1)
                .to_vec::<f32>()
                .unwrap(),
            [0f32; 0]
        );
        let scalar = Tensor::scalar(2.5, &dev);
        assert_eq!(scalar.cumsum(0).item::<f32>().unwrap(), 2.5);
        assert_eq!(
            Tensor::scalar(true, &dev).cumsum(-1).item::<i32>().unwrap(),
            1
        );
        for bad in [scalar.cumsum(1), x.cumsum(2), x.cumsum(-3)] {
            let error = bad.shape().unwrap_err();
            assert!(
                matches!(error, Error::DimOutOfRange { op: "cumsum", .. }),
                "{error}"
            );
        }
    }
}

#[test]
fn what_is_not_a_number_goes_on_to_the_end() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for dev in all() {
        for n in [6usize, 200, 5000] {
            let mut x = vec![1.0f32; n];
            (x[2], x[4]) = (inf, -inf);
            let y: Vec<f32> = Tensor::from_vec(x.clone(), n, &dev)
                .cumsum(0)
                .to_vec()
                .unwrap();
            assert_eq!(y[..4], [1.0, 2.0, inf, inf]);
            assert!(y[4..].iter().all(|v| v.is_nan()), "{n} on {dev}");
            x[1] = nan;
            let y: Vec<f32> = Tensor::from_vec(x, n, &dev).cumsum(0).to_vec().unwrap();
            assert!(
                y[0] == 1.0 && y[1..].iter().all(|v| v.is_nan()),
                "{n} on {dev}"
            );
        }
    }
}

#[test]
fn gradients_run_the_other_way() {
    for dev in all() {
        let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &dev).requires_grad();
        let w = Tensor::new([[1.0, 10.0, 100.0], [0.0, 1.0, 0.0]], &dev);
        (x.cumsum(1) * &w).sum().backward().unwrap();
        let grad: Vec<f32> = x.grad().unwrap().to_vec().unwrap();
        assert_eq!(grad, [111.0, 110.0, 100.0, 1.0, 1.0, 0.0]);
        x.zero_grad();
        (x.cumsum(0) * &w).sum().backward().unwrap();
        let grad: Vec<f32> = x.grad().unwrap().to_vec().unwrap();
        assert_eq!(grad, [1.0, 11.0, 100.0, 0.0, 1.0, 0.0]);
    }
    let cpu = devices::cpu();
    let x = Tensor::arange(12, (DType::F64, &cpu))
        .sin()
        .reshape([2, 3, 2]);
    for dim in 0..3 {
        let f = |x: &[Tensor]| (x[0].cumsum(dim).sqr() * 0.5).sum();
        autograd::gradcheck(f, std::slice::from_ref(&x)).unwrap();
    }
}
