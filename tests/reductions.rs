//! Moments, norms, products, extremes with positions, medians, quantiles, modes and counts: against plain Rust in
//! `f64`, in odd sizes and layouts, with their derivatives, their precision and what is refused. Torch's values are in
//! `golden/`.

mod devices;

use devices::{all, assert_close, fill, gpu};
use wgrad::Interpolation::{self, Linear, Nearest};
use wgrad::autograd::gradcheck;
use wgrad::prelude::*;

/// Launches that `work` takes when it is replayed.
fn launches(dev: &Device, work: impl Fn()) -> u64 {
    work();
    dev.synchronize().unwrap();
    let before = dev.stats();
    work();
    dev.synchronize().unwrap();
    dev.stats().launches - before.launches
}

/// What a row gives, for rows in all layouts: as they are, turned, and every second element of longer ones.
#[track_caller]
fn assert_rows(
    dev: &Device,
    (rows, n): (usize, usize),
    x: &[f32],
    tolerance: f32,
    compute: &dyn Fn(&Tensor) -> Tensor,
    row: &dyn Fn(&[f64]) -> f64,
) {
    let want: Vec<f32> = x
        .chunks(n)
        .map(|r| row(&r.iter().map(|&v| f64::from(v)).collect::<Vec<_>>()) as f32)
        .collect();
    let plain = Tensor::from_slice(x, [rows, n], dev);
    let turned = plain.t().contiguous().t();
    let apart = Tensor::stack(&[&plain, &plain], -1).reshape([rows, 2 * n]);
    let stepped = apart.slice((.., s(..).step(2)));
    for layout in [plain, turned, stepped] {
        let got: Vec<f32> = compute(&layout).to_vec().unwrap();
        assert_close(&got, &want, tolerance, tolerance);
    }
}

fn mean(row: &[f64]) -> f64 {
    row.iter().sum::<f64>() / row.len() as f64
}

fn variance(row: &[f64], correction: f64) -> f64 {
    let mean = mean(row);
    let squares: f64 = row.iter().map(|v| (v - mean).powi(2)).sum();
    squares / (row.len() as f64 - correction).max(0.0)
}

#[test]
fn moments_norms_and_products_of_rows() {
    for dev in all() {
        for (rows, n) in [
            (1, 2),
            (7, 3),
            (5, 64),
            (3, 129),
            (2, 1025),
            (300, 4),
            (1, 5000),
        ] {
            let x = fill(n as u64, rows * n, 2.0);
            let check =
                |tolerance, compute: &dyn Fn(&Tensor) -> Tensor, row: &dyn Fn(&[f64]) -> f64| {
                    assert_rows(&dev, (rows, n), &x, tolerance, compute, row);
                };
            for correction in [0.0, 1.0] {
                check(2e-6, &|x| x.var_dims([1], correction, false), &|r| {
                    variance(r, correction)
                });
                check(2e-6, &|x| x.std_dims([-1], correction, true), &|r| {
                    variance(r, correction).sqrt()
                });
            }
            check(2e-6, &|x| x.std_mean([1], 0.0, false).1, &mean);
            for p in [1.0, 2.0, 3.0, 0.5] {
                let norm =
                    move |r: &[f64]| r.iter().map(|v| v.abs().powf(p)).sum::<f64>().powf(1.0 / p);
                // The sixteenth root of a sum of roots is its square.
                check(2e-5, &|x| x.vector_norm(p, [1], false), &norm);
            }
            let largest = |r: &[f64]| r.iter().fold(0.0, |m, v| v.abs().max(m));
            check(0.0, &|x| x.vector_norm(f64::INFINITY, [1], false), &largest);
            let near_one: Vec<f32> = x.iter().map(|v| 1.0 + v * 0.02).collect();
            let product = |r: &[f64]| r.iter().product();
            let compute = |x: &Tensor| x.prod_dims([1], true);
            assert_rows(&dev, (rows, n), &near_one, 1e-5, &compute, &product);
        }
    }
}

#[test]
fn sorted_places_of_rows() {
    for dev in all() {
        for (rows, n) in [(1, 1), (7, 2), (5, 33), (3, 130), (2, 1101)] {
            let x: Vec<f32> = fill(n as u64, rows * n, 9.0)
                .iter()
                .map(|v| v.round() / 2.0)
                .collect();
            let check = |compute: &dyn Fn(&Tensor) -> Tensor, row: &dyn Fn(&[f64]) -> f64| {
                assert_rows(&dev, (rows, n), &x, 1e-6, compute, row);
            };
            let sorted = |r: &[f64]| {
                let mut r = r.to_vec();
                r.sort_by(f64::total_cmp);
                r
            };
            check(&|x| x.median_along(1, false).0, &|r| sorted(r)[(n - 1) / 2]);
            check(&|x| x.nanmedian_along(1, true).0, &|r| {
                sorted(r)[(n - 1) / 2]
            });
            for q in [0.0, 0.3, 0.5, 0.99, 1.0] {
                let at = |r: &[f64]| {
                    let place = q * (n - 1) as f64;
                    let (low, high) = (
                        sorted(r)[place.floor() as usize],
                        sorted(r)[place.ceil() as usize],
                    );
                    low + (high - low) * place.fract()
                };
                assert_rows(
                    &dev,
                    (rows, n),
                    &x,
                    2e-4,
                    &|x| x.quantile(q, [1], false, Linear),
                    &at,
                );
            }
            let mode = |r: &[f64]| {
                let count = |v: f64| r.iter().filter(|&&w| w == v).count();
                let most = r.iter().map(|&v| count(v)).max().unwrap();
                sorted(r).into_iter().find(|&v| count(v) == most).unwrap()
            };
            check(&|x| x.mode(1, false).0, &mode);
            check(&|x| x.max_along(-1, true).0, &|r| {
                *sorted(r).last().unwrap()
            });
            check(&|x| x.min_along(1, false).0, &|r| sorted(r)[0]);
            // A position names an element of the value.
            let tensor = Tensor::from_slice(&x, [rows, n], &dev);
            for (values, positions) in [
                tensor.median_along(1, true),
                tensor.nanmedian_along(1, true),
                tensor.mode(1, true),
                tensor.max_along(1, true),
                tensor.min_along(1, true),
            ] {
                let there = tensor.gather(1, &positions);
                assert!(there.eq(&values).all().item::<bool>().unwrap(), "{dev}");
            }
        }
    }
}

#[test]
fn reductions_of_rows_are_single_launches() {
    for dev in [Some(devices::cpu()), gpu()].into_iter().flatten() {
        let x = Tensor::from_vec(fill(1, 64 * 48, 2.0), [64, 48], &dev);
        dev.synchronize().unwrap();
        let once = |what: &str, work: &dyn Fn() -> Tensor| {
            let count = launches(&dev, || drop(work().to_bytes().unwrap()));
            assert_eq!(count, 1, "{what} on {dev}");
        };
        once("var", &|| x.var_dims([1], 1.0, false));
        once("std that keeps", &|| x.std_dims([-1], 0.0, true));
        once("the norm", &|| x.vector_norm(2.0, [1], false));
        once("the 3-norm of a product", &|| {
            (&x * 0.5).vector_norm(3.0, [1], false)
        });
        once("the largest absolute value", &|| {
            x.vector_norm(f64::INFINITY, [1], false)
        });
        once("the product of squares", &|| x.sqr().prod_dims([1], false));
        once("divided by the product", &|| &x / x.prod_dims([1], true));
        once("nansum", &|| x.nansum([1], false));
        once("nanmean", &|| x.nanmean([1], false));
        once("count_nonzero", &|| x.count_nonzero([1]));
        once("standardised by var and mean", &|| {
            let (variance, mean) = x.var_mean([1], 1.0, true);
            (&x - mean) / (variance + 1e-5).sqrt()
        });
    }
}

#[test]
fn nothing_is_lost_beside_a_large_mean_or_in_16_bits() {
    for dev in all() {
        // Numbers of 10,000 with a deviation of 1: squares would leave nothing of it.
        let x: Vec<f32> = fill(3, 1000, 1.0).iter().map(|v| 10_000.0 + v).collect();
        let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
        let got: f32 = Tensor::from_vec(x, 1000, &dev).var().item().unwrap();
        let want = variance(&wide, 1.0) as f32;
        assert!(
            (got - want).abs() < 1e-4 * want,
            "{got} for {want} on {dev}"
        );
        let halves = Tensor::full([70_000], 300.0, (DType::F16, &dev));
        let norm = halves.norm(2.0).to_dtype(DType::F32).item::<f32>().unwrap();
        assert_eq!(norm, f32::INFINITY, "beyond f16");
        let halves = Tensor::new([300.0, 400.0], (DType::F16, &dev));
        assert_eq!(
            halves.norm(2.0).to_dtype(DType::F32).item::<f32>().unwrap(),
            500.0
        );
        assert_eq!(halves.var().dtype().unwrap(), DType::F16);
        assert_eq!(
            halves.var().to_dtype(DType::F32).item::<f32>().unwrap(),
            5000.0
        );
        let count = Tensor::ones([3000], (DType::BF16, &dev)).nanmean(.., false);
        assert_eq!(count.to_dtype(DType::F32).item::<f32>().unwrap(), 1.0);
    }
}

#[test]
fn counts_of_many() {
    for dev in [Some(devices::cpu()), gpu()].into_iter().flatten() {
        let n = 300_001;
        let x: Vec<i32> = fill(7, n, 500.0)
            .iter()
            .map(|v| (v + 500.0) as i32)
            .collect();
        let mut want = vec![0i32; 1000];
        x.iter().for_each(|&v| want[v as usize] += 1);
        let tensor = Tensor::from_slice(&x, n, &dev);
        let counts: Vec<i32> = tensor.bincount(None, 0).to_vec().unwrap();
        let length = want.iter().rposition(|&c| c > 0).unwrap() + 1;
        assert_eq!(counts, want[..length], "{dev}");
        assert_eq!(tensor.bincount(None, 1200).dims().unwrap(), [1200]);
        let bins: Vec<f32> = tensor
            .to_dtype(DType::F32)
            .histc(10, 0.0, 1000.0)
            .to_vec()
            .unwrap();
        let tens: Vec<f32> = want
            .chunks(100)
            .map(|c| c.iter().sum::<i32>() as f32)
            .collect();
        assert_eq!(bins, tens, "{dev}");
        // One number, over and over.
        let same = Tensor::full([n], 3, &dev).bincount(None, 0);
        assert_eq!(same.to_vec::<i32>().unwrap(), [0, 0, 0, n as i32]);
    }
}

#[test]
fn derivatives_agree_with_finite_differences() {
    let cpu = devices::cpu();
    let x = (Tensor::arange(24, (DType::F64, &cpu)) * 1.7 + 0.4)
        .sin()
        .reshape([2, 3, 4])
        * 2.0;
    let check = |what: &str, f: &dyn Fn(&Tensor) -> Tensor| {
        let weighed = |x: &[Tensor]| {
            let y = f(&x[0]);
            let w = (Tensor::arange(y.numel().unwrap(), (DType::F64, &cpu)) * 0.37).sin() + 1.5;
            (y.reshape([-1isize]) * w).sqr().sum()
        };
        gradcheck(weighed, std::slice::from_ref(&x)).unwrap_or_else(|e| panic!("{what}: {e}"));
        let options = GradOptions {
            create_graph: true,
            ..GradOptions::default()
        };
        let slope = |x: &[Tensor]| {
            // The difference quotients come without a tape.
            let inner = match x[0].needs_grad() {
                true => &x[0] * 1.0,
                false => x[0].detach().requires_grad(),
            };
            let y = weighed(std::slice::from_ref(&inner));
            autograd::grad(&y, &[&inner], options).unwrap()[0]
                .sqr()
                .sum()
        };
        gradcheck(slope, std::slice::from_ref(&x)).unwrap_or_else(|e| panic!("{what} again: {e}"));
    };
    check("var", &|x| x.var_dims([0, 2], 1.0, false));
    check("std", &|x| x.std_dims([1], 0.0, true));
    check("var_mean", &|x| x.var_mean([-1], 1.0, false).0);
    check("norm", &|x| x.vector_norm(2.0, [1, 2], false));
    check("3-norm", &|x| x.vector_norm(3.0, [0], true));
    check("1.5-norm", &|x| x.norm(1.5));
    check("inverse norm", &|x| x.vector_norm(-2.0, [2], false));
    check("prod", &|x| (x * 0.7).prod_dims([0, 2], false));
    check("prod of all", &|x| (x * 0.9).prod());
    check("max_along", &|x| x.max_along(1, false).0);
    check("median_along", &|x| x.median_along(2, true).0);
    check("nanmedian", &|x| x.nanmedian());
    check("quantile", &|x| x.quantile(0.35, [2], false, Linear));
    check("quantile of all", &|x| {
        x.quantile(0.6, .., true, Interpolation::Midpoint)
    });
    check("nearest", &|x| x.nanquantile(0.4, [0], false, Nearest));
    check("mode", &|x| x.mode(1, false).0);
    check("diff", &|x| x.diff(2, 2));
    check("trapezoid", &|x| x.cumulative_trapezoid(0.3, 1));
    check("nansum", &|x| x.nansum([1], false));
    // By the quantile, and by the places of a trapezoid.
    let q = Tensor::new([0.2, 0.55], (DType::F64, &cpu));
    let f = |q: &[Tensor]| x.quantile(&q[0], [2], false, Linear).sqr().sum();
    gradcheck(f, std::slice::from_ref(&q)).unwrap();
    let places = Tensor::new([0.0, 1.0, 3.0, 4.5], (DType::F64, &cpu));
    let f = |p: &[Tensor]| x.trapezoid(&p[0], -1).sqr().sum();
    gradcheck(f, std::slice::from_ref(&places)).unwrap();
}

#[test]
fn derivatives_where_elements_tie_or_vanish() {
    for dev in all() {
        let slope = |x: &[f32], f: &dyn Fn(&Tensor) -> Tensor| -> Vec<f32> {
            let x = Tensor::from_slice(x, x.len(), &dev).requires_grad();
            f(&x).sum().backward().unwrap();
            x.grad().unwrap().to_vec().unwrap()
        };
        // The first of equal ones takes all along a dimension, and over dimensions they share.
        let ties = [3.0, 1.0, 3.0];
        assert_eq!(slope(&ties, &|x| x.max_along(0, false).0), [1.0, 0.0, 0.0]);
        assert_eq!(slope(&ties, &|x| x.amax([0], false)), [0.5, 0.0, 0.5]);
        assert_eq!(slope(&ties, &|x| x.aminmax([0], false).0), [0.0, 1.0, 0.0]);
        assert_eq!(slope(&ties, &|x| x.median()), [0.5, 0.0, 0.5]);
        assert_eq!(
            slope(&ties, &|x| x.median_along(0, false).0),
            [1.0, 0.0, 0.0]
        );
        assert_eq!(slope(&ties, &|x| x.norm(f64::INFINITY)), [0.5, 0.0, 0.5]);
        assert_eq!(slope(&[2.0, 2.0], &|x| x.std()), [0.0; 2]);
        assert_eq!(slope(&[0.0, 0.0], &|x| x.norm(2.0)), [0.0; 2]);
        assert_eq!(slope(&[0.0, 0.0], &|x| x.norm(3.0)), [0.0; 2]);
        assert_eq!(slope(&[2.0, 0.0, 5.0], &|x| x.norm(0.0)), [0.0; 3]);
        assert_eq!(slope(&[2.0, 0.0, 5.0], &|x| x.prod()), [0.0, 10.0, 0.0]);
        assert_eq!(slope(&[0.0, 0.0, 5.0], &|x| x.prod()), [0.0; 3]);
        assert_eq!(
            slope(&[0.0, 1.0, 3.0], &|x| x.nanmean([0], false)),
            [1.0 / 3.0; 3]
        );
    }
}

#[test]
fn mistakes_are_told() {
    for dev in all() {
        let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]], &dev);
        let numbers = Tensor::new([1, 2, 3], &dev);
        let none = Tensor::zeros([0, 3], &dev);
        let line = line!() + 1;
        let bad = numbers.var();
        let error = bad.shape().unwrap_err().to_string();
        assert!(error.contains("var: takes floats, not i32"), "{error}");
        assert!(error.contains(&format!("reductions.rs:{line}:")), "{error}");
        let wide = Tensor::new([1.0, 2.0, 3.0], &dev);
        for (bad, says) in [
            (numbers.norm(2.0), "norm: takes floats"),
            (numbers.nanmean(.., false), "nanmean: takes floats"),
            (
                numbers.quantile(0.5, .., false, Linear),
                "quantile: takes floats",
            ),
            (numbers.histc(3, 0.0, 1.0), "histc: takes floats"),
            (x.var_dims([2], 1.0, false), "var"),
            (x.std_dims([0, 0], 1.0, false), "named twice"),
            (none.max_along(0, false).0, "max: no elements"),
            (none.median_along(0, false).1, "median: no elements"),
            (none.mode(0, false).0, "mode: no elements"),
            (none.norm(f64::INFINITY), "norm: no elements"),
            (
                none.vector_norm(-1.0, [0], true),
                "vector_norm: no elements",
            ),
            (
                none.quantile(0.5, [0], false, Linear),
                "quantile: no elements",
            ),
            (x.max_along(2, false).1, "max"),
            (x.quantile(1.5, .., false, Linear), "1.5 is not in 0..=1"),
            (
                x.quantile(f64::NAN, .., false, Linear),
                "NaN is not in 0..=1",
            ),
            (x.quantile(&x, .., false, Linear), "are no vector"),
            (x.histc(0, 0.0, 1.0), "histc: 0 bins"),
            (x.histc(2, 1.0, 0.0), "histc: 2 bins from 1 to 0"),
            (x.bincount(None, 0), "bincount: counts integers"),
            (numbers.reshape([3, 1]).bincount(None, 0), "is no vector"),
            (numbers.bincount(Some(&x), 0), "weights of shape"),
            (numbers.bincount(None, usize::MAX), "arange"),
            (
                Tensor::new([1, -1], &dev).bincount(None, 0),
                "integers from 0 on",
            ),
            (Tensor::scalar(1.0, &dev).diff(1, 0), "diff"),
            (x.trapezoid(&wide, 1), "places of shape [3]"),
            (x.trapezoid(1.0, 2), "trapezoid"),
        ] {
            let error = bad.shape().unwrap_err().to_string();
            assert!(error.contains(says), "{error} instead of {says}");
        }
        // A quantile in a tensor is found out at the next read.
        let q = Tensor::new([0.5, 3.0], &dev);
        let error = x
            .quantile(&q, [0], false, Linear)
            .to_vec::<f32>()
            .unwrap_err();
        assert!(matches!(error, Error::IndexOutOfRange { .. }), "{error}");
        // Afterwards everything works, and nothing of nothing is nothing.
        assert_eq!(x.prod().item::<f32>().unwrap(), 24.0);
        assert_eq!(none.max_along(1, true).0.dims().unwrap(), [0, 1]);
        assert_eq!(none.mode(1, false).1.dims().unwrap(), [0]);
        assert_eq!(
            Tensor::zeros([0, 0], &dev)
                .median_along(1, true)
                .0
                .dims()
                .unwrap(),
            [0, 1]
        );
        assert!(none.median().item::<f32>().unwrap().is_nan());
        assert!(none.var().item::<f32>().unwrap().is_nan());
        assert_eq!(
            none.prod_dims([0], false).to_vec::<f32>().unwrap(),
            [1.0; 3]
        );
        assert_eq!(none.norm(2.0).item::<f32>().unwrap(), 0.0);
    }
}
