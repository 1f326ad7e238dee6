//! Numbers beside tensors: what lies outside a type, what is rounded and when, and fills.

mod devices;

use devices::all;
use wgrad::prelude::*;

fn bytes(dev: &Device) -> Tensor {
    Tensor::from_vec(vec![1u8, 2, 44, 200], [4], dev)
}

fn truths(x: &Tensor) -> Vec<bool> {
    x.to_vec().unwrap()
}

#[test]
fn comparisons_with_numbers_outside_the_type() {
    for dev in all() {
        let x = bytes(&dev);
        assert_eq!(truths(&x.eq(300)), [false; 4]);
        assert_eq!(truths(&x.ne(300)), [true; 4]);
        assert_eq!(truths(&x.gt(-1)), [true; 4]);
        assert_eq!(truths(&x.lt(-1)), [false; 4]);
        assert_eq!(truths(&x.lt(44.5)), [true, true, true, false]);
        let i = Tensor::new([-5, 7], &dev);
        assert_eq!(truths(&i.lt(3_000_000_000i64)), [true; 2]);
        assert_eq!(truths(&i.eq(i64::MAX)), [false; 2]);
        let u = Tensor::from_vec(vec![0u32, u32::MAX], [2], &dev);
        assert_eq!(truths(&u.gt(-1)), [true; 2]);
        assert_eq!(truths(&u.ge(u32::MAX)), [false, true]);
        // As an operand of another operation, and as a condition.
        let chosen = x.gt(-1).where_cond(&x, 0).sum();
        assert_eq!(chosen.item::<i32>().unwrap(), 247);
        let counted = x.lt(1000).logical_and(x.gt(43)).sum();
        assert_eq!(counted.item::<i32>().unwrap(), 2);
    }
}

#[test]
fn bounds_outside_the_type_are_its_ends() {
    for dev in all() {
        let x = bytes(&dev);
        assert_eq!(x.clamp(-129, 300).to_vec::<u8>().unwrap(), [1, 2, 44, 200]);
        assert_eq!(x.clamp(300, 400).to_vec::<u8>().unwrap(), [255; 4]);
        assert_eq!(x.clamp(3, 1000).to_vec::<u8>().unwrap(), [3, 3, 44, 200]);
        assert_eq!(x.minimum(300).to_vec::<u8>().unwrap(), [1, 2, 44, 200]);
        assert_eq!(x.maximum(-7).to_vec::<u8>().unwrap(), [1, 2, 44, 200]);
        let i = Tensor::new([-5, i32::MAX], &dev);
        let bounded = i.clamp(0, 5_000_000_000i64);
        assert_eq!(bounded.to_vec::<i32>().unwrap(), [0, i32::MAX]);
    }
}

#[test]
fn arithmetic_wraps_and_fills_are_refused() {
    for dev in all() {
        let x = bytes(&dev);
        assert_eq!((&x + 300).to_vec::<u8>().unwrap(), [45, 46, 88, 244]);
        assert_eq!((&x * -1).to_vec::<u8>().unwrap(), [255, 254, 212, 56]);
        for (value, dtype) in [(300, DType::U8), (-1, DType::U8), (-1, DType::U32)] {
            let full = Tensor::full([2], value, (dtype, &dev));
            assert!(
                matches!(full.error(), Some(Error::Value { op: "full", .. })),
                "{value}"
            );
            let new = Tensor::new([value], (dtype, &dev));
            assert!(
                matches!(new.error(), Some(Error::Value { op: "new", .. })),
                "{value}"
            );
        }
        for value in [f64::NAN, f64::INFINITY, 3e9, -3e9] {
            assert!(
                Tensor::full([2], value, (DType::I32, &dev))
                    .error()
                    .is_some(),
                "{value}"
            );
            assert!(
                Tensor::new([value], (DType::I32, &dev)).error().is_some(),
                "{value}"
            );
        }
        let refused = x.gt(1).where_cond(&x, 300);
        assert!(refused.error().is_some());
        // What decides the type must fit it.
        let truth = Tensor::new([true], &dev);
        assert!(truth.add(5_000_000_000i64).error().is_some());
        assert_eq!(
            Tensor::full([2], 2.7, (DType::I32, &dev))
                .to_vec::<i32>()
                .unwrap(),
            [2, 2]
        );
    }
}

#[test]
fn whatever_is_not_zero_is_true() {
    for dev in all() {
        for value in [0.5, -0.25, f64::NAN, f64::INFINITY, 1e-40] {
            let full = Tensor::full([2], value, (DType::Bool, &dev));
            assert_eq!(truths(&full), [true; 2], "{value}");
            assert_eq!(full.sum().item::<i32>().unwrap(), 2);
            let b = Tensor::new([true, false], &dev);
            assert_eq!(truths(&b.logical_and(value)), [true, false], "{value}");
            let held = Tensor::from_vec(vec![value], [1], &Device::clone(&cpu_or(&dev)));
            assert_eq!(truths(&held.to_dtype(DType::Bool)), [true], "{value}");
        }
        assert_eq!(
            truths(&Tensor::full([1], -0.0, (DType::Bool, &dev))),
            [false]
        );
    }
}

/// The device if it has f64, else the CPU.
fn cpu_or(dev: &Device) -> Device {
    match dev.limits().unwrap().has(DType::F64) {
        true => dev.clone(),
        false => devices::cpu(),
    }
}

#[test]
fn numbers_are_not_rounded_to_16_bits() {
    for dev in all() {
        for dtype in [DType::F16, DType::BF16] {
            let x = Tensor::new([1.0, 2.0], (dtype, &dev)).requires_grad();
            let slope = |y: Tensor| -> f32 {
                x.zero_grad();
                y.sum().backward().unwrap();
                let grad = x.grad().unwrap();
                assert_eq!(grad.dtype().unwrap(), dtype);
                grad.to_dtype(DType::F32).to_vec::<f32>().unwrap()[0]
            };
            let close = |got: f32, want: f32| {
                let eps = if dtype == DType::F16 { 1e-3 } else { 8e-3 };
                // The smallest f16 is 6e-8.
                assert!(
                    (got - want).abs() <= eps * want.abs() + 6e-8,
                    "{got} for {want} in {dtype}"
                );
            };
            close(slope(&x / 1e5), 1e-5);
            close(slope(x.sum() / 70_000.0), 1.0 / 70_000.0);
            close(slope((&x * 1e5) * 1e-5), 1.0);
            close(slope(x.pow(3.3)), 3.3);
            close(slope(x.powf(2.5) * 0.1), 0.25);
            // A base: d 3^x = ln 3 3^x.
            let three = Tensor::scalar(3.0, &dev);
            close(slope(three.pow(&x)), 3.0 * 3f32.ln());
        }
        // Before it is compared, a number is rounded.
        let tenth = Tensor::new([0.1], (DType::F16, &dev));
        assert_eq!(truths(&tenth.eq(0.1)), [true]);
        assert_eq!(truths(&tenth.lt(0.1)), [false]);
    }
}

#[test]
fn wide_numbers_are_rounded_once() {
    for dev in all() {
        // Just above the middle of two f16, at the middle as an f32.
        let x = 1.0 + 0.5f64.powi(11) + 0.5f64.powi(40);
        let above = 1.0 + 0.5f32.powi(10);
        let made = Tensor::new([x], (DType::F16, &dev));
        assert_eq!(made.to_dtype(DType::F32).to_vec::<f32>().unwrap(), [above]);
        let full = Tensor::full([1], x, (DType::F16, &dev));
        assert_eq!(full.to_dtype(DType::F32).to_vec::<f32>().unwrap(), [above]);
        // Integers of more digits than an f32 has.
        for (n, up) in [
            (
                (1i32 << 30) + (1 << 22) + 1,
                ((1i32 << 30) + (1 << 23)) as f32,
            ),
            (
                -(1i32 << 30) - (1 << 22) - 1,
                -(((1i32 << 30) + (1 << 23)) as f32),
            ),
            ((1i32 << 30) + (1 << 22), (1i32 << 30) as f32),
            (i32::MIN, -(2f32.powi(31))),
            (12_345, 12_352.0),
        ] {
            let cast = Tensor::new([n], &dev).to_dtype(DType::BF16);
            assert_eq!(
                cast.to_dtype(DType::F32).to_vec::<f32>().unwrap(),
                [up],
                "{n}"
            );
        }
        if dev.limits().unwrap().has(DType::F64) {
            let cast = Tensor::from_vec(vec![x], [1], &dev).to_dtype(DType::F16);
            assert_eq!(cast.to_dtype(DType::F32).to_vec::<f32>().unwrap(), [above]);
            // More digits than an f64 has: 2^60 + 2^52 is the middle of two bf16.
            let n = (1i64 << 60) + (1 << 52) + 1;
            let cast = Tensor::from_vec(vec![n], [1], &dev).to_dtype(DType::BF16);
            let up = ((1i64 << 60) + (1 << 53)) as f32;
            assert_eq!(cast.to_dtype(DType::F32).to_vec::<f32>().unwrap(), [up]);
        }
    }
}

#[test]
fn powers_of_integers_are_integers() {
    for dev in all() {
        let i = Tensor::new([-3, 2, 10], &dev);
        for (n, want) in [
            (0, [1, 1, 1]),
            (1, [-3, 2, 10]),
            (3, [-27, 8, 1000]),
            (4, [81, 16, 10_000]),
        ] {
            assert_eq!(i.powi(n).to_vec::<i32>().unwrap(), want, "powi({n})");
            assert_eq!(i.pow(n).to_vec::<i32>().unwrap(), want, "pow({n})");
        }
        assert_eq!(i.powi(31).to_vec::<i32>().unwrap()[1], i32::MIN);
        assert!(i.powi(-1).error().is_some() && i.pow(-2).error().is_some());
        let exponents = Tensor::new([2, -1, -3], &dev);
        let bases = Tensor::new([7, -1, 5], &dev);
        assert_eq!(bases.pow(&exponents).to_vec::<i32>().unwrap(), [49, -1, 0]);
        assert_eq!(bytes(&dev).powi(2).to_vec::<u8>().unwrap(), [1, 4, 144, 64]);
        let x = Tensor::new([f32::INFINITY, f32::NAN, 0.0], &dev).requires_grad();
        let y = x.powi(0);
        assert_eq!(y.to_vec::<f32>().unwrap(), [1.0; 3]);
        y.sum().backward().unwrap();
        assert_eq!(x.grad().unwrap().to_vec::<f32>().unwrap(), [0.0; 3]);
        let small = Tensor::new([1e-10], &dev).requires_grad();
        small.powi(-2).sum().backward().unwrap();
        let slope = small.grad().unwrap().item::<f32>().unwrap();
        assert!((slope / -2e30 - 1.0).abs() < 1e-5, "{slope}");
    }
}

#[test]
fn sums_and_products_of_bools() {
    for dev in all() {
        let a = Tensor::new([true, true, false, false], &dev);
        let b = Tensor::new([true, false, true, false], &dev);
        assert_eq!(truths(&(&a + &b)), [true, true, true, false]);
        assert_eq!(truths(&(&a * &b)), [true, false, false, false]);
        assert_eq!(truths(&a.maximum(&b)), [true, true, true, false]);
        assert_eq!(truths(&a.minimum(&b)), [true, false, false, false]);
        assert!((&a - &b).error().is_some() && a.neg().error().is_some());
        assert_eq!((&a + 1).to_vec::<i32>().unwrap(), [2, 2, 1, 1]);
    }
}

#[test]
fn sequences_reach_their_ends() {
    for dev in all() {
        let ends = |x: &Tensor| -> (f32, f32) {
            let x = x.to_dtype(DType::F32).to_vec::<f32>().unwrap();
            (x[0], x[x.len() - 1])
        };
        assert_eq!(ends(&Tensor::linspace(0.1, 0.7, 49, &dev)), (0.1, 0.7));
        assert_eq!(
            ends(&Tensor::linspace(0.0, 1.0, 70_000, (DType::F16, &dev))),
            (0.0, 1.0)
        );
        let x = Tensor::linspace(-1.0, 1.0, 5001, (DType::F16, &dev));
        let x = x.to_dtype(DType::F32).to_vec::<f32>().unwrap();
        for (i, &x) in x.iter().enumerate() {
            let want = half::f16::from_f64(-1.0 + i as f64 / 2500.0).to_f32();
            assert_eq!(x, want, "{i}");
        }
        let whole = Tensor::linspace(0.0, 10.0, 4, (DType::I32, &dev));
        assert_eq!(whole.to_vec::<i32>().unwrap(), [0, 3, 6, 10]);
        assert_eq!(
            Tensor::arange(2..5, &dev).to_vec::<i32>().unwrap(),
            [2, 3, 4]
        );
        assert_eq!(
            Tensor::arange((5, 0, -2), &dev).to_vec::<i32>().unwrap(),
            [5, 3, 1]
        );
        let quarters = Tensor::arange((1.0, 0.0, -0.25), &dev);
        assert_eq!(quarters.to_vec::<f32>().unwrap(), [1.0, 0.75, 0.5, 0.25]);
        assert_eq!(
            Tensor::arange(3, (DType::U8, &dev)).to_vec::<u8>().unwrap(),
            [0, 1, 2]
        );
        // Near 0 as exact as elsewhere.
        let tenths = Tensor::arange((-1000.0, 1000.0, 0.1), &dev)
            .to_vec::<f32>()
            .unwrap();
        for (i, &x) in tenths.iter().enumerate() {
            assert_eq!(x, (-1000.0 + 0.1 * i as f64) as f32, "{i}");
        }
        let large = Tensor::arange(16_777_217..16_777_220, (DType::F32, &dev));
        assert_eq!(
            large.to_vec::<f32>().unwrap(),
            [16777216.0, 16777218.0, 16777220.0]
        );
        assert!(Tensor::arange(-1..2, (DType::Bool, &dev)).error().is_some());
        let far = Tensor::arange((i64::MIN, i64::MAX, i64::MAX), (DType::F32, &dev));
        assert_eq!(far.numel().unwrap(), 3);
        assert!(
            Tensor::linspace(0.0, 1.0, usize::MAX, &dev)
                .error()
                .is_some()
        );
        assert!(Tensor::linspace(0.0, 1.0, 1 << 40, &dev).error().is_some());
        assert!(Tensor::arange((0, 3, -1), &dev).error().is_some());
        assert!(Tensor::arange((0, 3, 0), &dev).error().is_some());
        assert!(Tensor::arange(300, (DType::U8, &dev)).error().is_some());
        assert_eq!(Tensor::arange(0, &dev).numel().unwrap(), 0);
    }
}
