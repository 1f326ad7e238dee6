//! Sorting, searching and what is made of them, against plain Rust: rows of all lengths, ties, NaN, both zeros, all
//! types, odd layouts, on every device, fused and unfused.

mod devices;

use std::cmp::Ordering;

use devices::{all, fill};
use wgrad::autograd::gradcheck;
use wgrad::prelude::*;

/// The order of elements: NaN is the largest, zeros of both signs are equal.
fn order(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.partial_cmp(&b).unwrap(),
    }
}

/// Where the elements of a row stand that come first, second and so on.
fn sorted(row: &[f64], descending: bool) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..row.len()).collect();
    positions.sort_by(|&a, &b| match descending {
        true => order(row[b], row[a]),
        false => order(row[a], row[b]),
    });
    positions
}

fn read(t: &Tensor) -> Vec<f64> {
    let single: Vec<f32> = t.to_dtype(DType::F32).to_vec().unwrap();
    single.into_iter().map(f64::from).collect()
}

fn positions(t: &Tensor) -> Vec<usize> {
    let positions: Vec<i32> = t.to_vec().unwrap();
    positions.into_iter().map(|p| p as usize).collect()
}

/// Equal, NaN to NaN, and zeros by their signs.
#[track_caller]
fn assert_same(got: &[f64], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = (g.is_nan() && w.is_nan()) || g.to_bits() == w.to_bits();
        assert!(same, "{what}, element {i}: {g} instead of {w}");
    }
}

/// Compares a sort of rows, and the first `k` of them.
#[track_caller]
fn assert_sorted(x: &Tensor, rows: usize, n: usize, descending: bool, what: &str) {
    let elements = read(x);
    let (values, places) = x.sort(-1, descending);
    let (got_values, got_places) = (read(&values), positions(&places));
    for (r, row) in elements.chunks(n).enumerate() {
        let want = sorted(row, descending);
        assert_eq!(got_places[r * n..][..n], want[..], "row {r} of {what}");
        let want: Vec<f64> = want.iter().map(|&i| row[i]).collect();
        assert_same(&got_values[r * n..][..n], &want, what);
    }
    assert_eq!(got_places.len(), rows * n);
    for k in [1, 3, n / 2, n - n / 8].into_iter().filter(|k| *k <= n) {
        let (values, places) = x.topk(k, -1, descending);
        let (got_values, got_places) = (read(&values), positions(&places));
        assert_eq!(got_places.len(), rows * k, "{k} of {what}");
        for (r, row) in elements.chunks(n).enumerate() {
            let want = sorted(row, descending);
            assert_eq!(
                got_places[r * k..][..k],
                want[..k],
                "{k} of row {r}, {what}"
            );
            let want: Vec<f64> = want[..k].iter().map(|&i| row[i]).collect();
            assert_same(&got_values[r * k..][..k], &want, what);
        }
    }
}

#[test]
fn rows_of_all_lengths() {
    for dev in all() {
        for (rows, n) in [
            (1, 1),
            (7, 2),
            (5, 3),
            (70, 31),
            (3, 32),
            (3, 33),
            (2, 127),
            (5, 129),
            (2, 512),
            (3, 1023),
            (2, 1024),
            (2, 1025),
            (1, 4097),
            (2, 5000),
            (1, 70_001),
        ] {
            // Few different values: many ties.
            let x: Vec<f32> = fill(n as u64, rows * n, 20.0);
            let x = x.into_iter().map(|v| v.round() * 0.5).collect();
            let x = Tensor::from_vec(x, [rows, n], &dev);
            let what = format!("{rows} x {n} on {dev}");
            assert_sorted(&x, rows, n, n % 2 == 0, &what);
            if n < 1030 {
                assert_sorted(&x, rows, n, n % 2 == 1, &what);
            }
        }
    }
}

#[test]
fn a_row_of_a_million() {
    for dev in [Some(devices::cpu()), devices::gpu()].into_iter().flatten() {
        let n = 1_000_003;
        let x = fill(5, n, 1.0);
        let tensor = Tensor::from_vec(x.clone(), n, &dev);
        let (values, places) = tensor.sort(0, false);
        let (values, places) = (values.to_vec::<f32>().unwrap(), positions(&places));
        assert!(values.is_sorted(), "{dev}");
        let mut seen = vec![false; n];
        for (v, &p) in values.iter().zip(&places) {
            assert!(!std::mem::replace(&mut seen[p], true), "{p} twice on {dev}");
            assert_eq!(*v, x[p]);
        }
        let (top, at) = tensor.topk(5, 0, true);
        let top = top.to_vec::<f32>().unwrap();
        let want: Vec<f32> = values.iter().rev().take(5).copied().collect();
        assert_eq!(top, want, "{dev}");
        assert_eq!(x[positions(&at)[0]], top[0]);
    }
}

/// Elements that are special, in an order that is none.
const SPECIAL: [f32; 14] = [
    0.0,
    f32::NAN,
    -0.0,
    f32::INFINITY,
    1.0,
    f32::NEG_INFINITY,
    -1.0,
    0.0,
    f32::NAN,
    1.0,
    -0.0,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
];

#[test]
fn special_elements_in_all_types_and_layouts() {
    for dev in all() {
        let has = dev.limits().unwrap().dtypes;
        let plain = Tensor::from_vec(SPECIAL.repeat(3), [3, 14], &dev);
        for dtype in has {
            let x = plain.to_dtype(dtype);
            for descending in [false, true] {
                let what = format!("{dtype} on {dev}");
                assert_sorted(&x, 3, 14, descending, &what);
                let turned = x.t().contiguous().t();
                assert_sorted(&turned, 3, 14, descending, &format!("{what}, turned"));
                let stepped = x.slice((.., s(1..14).step(3)));
                assert_sorted(&stepped, 3, 5, descending, &format!("{what}, stepped"));
                let expanded = x.narrow(0, 1, 1).expand([3, 14]);
                assert_sorted(&expanded, 3, 14, descending, &format!("{what}, expanded"));
            }
        }
        // The ends of ranges.
        let ends = Tensor::new([i32::MAX, i32::MIN, 0, -1, i32::MAX], &dev);
        let (up, down) = (ends.argsort(0, false), ends.argsort(0, true));
        assert_eq!(up.to_vec::<i32>().unwrap(), [1, 3, 2, 0, 4]);
        assert_eq!(down.to_vec::<i32>().unwrap(), [0, 4, 2, 3, 1]);
        let words = Tensor::from_vec(vec![u32::MAX, 0, 1 << 31, 0], 4, &dev);
        assert_eq!(
            words.argsort(0, true).to_vec::<i32>().unwrap(),
            [0, 2, 1, 3]
        );
    }
}

#[test]
fn dimensions_nothing_and_mistakes() {
    for dev in all() {
        let x = Tensor::new([[3.0, 1.0], [2.0, 5.0], [2.0, 0.0]], &dev);
        let (values, places) = x.sort(0, false);
        assert_eq!(
            values.to_vec::<f32>().unwrap(),
            [2.0, 0.0, 2.0, 1.0, 3.0, 5.0]
        );
        assert_eq!(places.to_vec::<i32>().unwrap(), [1, 2, 2, 0, 0, 1]);
        assert_eq!(
            x.msort().to_vec::<f32>().unwrap(),
            values.to_vec::<f32>().unwrap()
        );
        let (value, place) = x.kthvalue(2, 0, false);
        assert_eq!(value.to_vec::<f32>().unwrap(), [2.0, 1.0]);
        assert_eq!(place.to_vec::<i32>().unwrap(), [2, 0]);
        assert_eq!(x.kthvalue(1, -1, true).0.dims().unwrap(), [3, 1]);
        // No dimensions, no elements.
        let scalar = Tensor::scalar(2.5, &dev);
        let (value, place) = scalar.sort(-1, true);
        assert_eq!(
            (value.item::<f32>().unwrap(), place.item::<i32>().unwrap()),
            (2.5, 0)
        );
        assert_eq!(scalar.topk(1, 0, true).0.item::<f32>().unwrap(), 2.5);
        assert_eq!(scalar.topk(0, 0, true).0.dims().unwrap(), [0]);
        assert_eq!(scalar.kthvalue(1, 0, true).0.item::<f32>().unwrap(), 2.5);
        for shape in [[3, 0], [0, 3]] {
            let (values, places) = Tensor::zeros(shape, &dev).sort(1, false);
            assert_eq!(values.to_vec::<f32>().unwrap(), [0f32; 0]);
            assert_eq!(places.dims().unwrap(), shape);
        }
        let (none, _) = x.topk(0, 1, true);
        assert_eq!(none.dims().unwrap(), [3, 0]);
        assert_eq!(none.to_vec::<f32>().unwrap(), [0f32; 0]);
        let line = line!() + 1;
        let error = x.topk(3, 1, true).0.shape().unwrap_err().to_string();
        let place = format!("order.rs:{line}:");
        assert!(
            error.contains("topk: 3 of 2 elements") && error.contains(&place),
            "{error}"
        );
        for (bad, says) in [
            (x.kthvalue(0, 1, false).1, "k counts from 1"),
            (x.kthvalue(4, 0, false).0, "4 of 3 elements"),
            (x.sort(2, false).1, "sort"),
            (scalar.sort(1, false).0, "sort"),
            (x.argsort(-3, false), "argsort"),
        ] {
            let error = bad.shape().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}

#[test]
fn gradients_go_back_to_where_elements_stood() {
    for dev in all() {
        let x = Tensor::new([[3.0, 1.0, 2.0], [5.0, 4.0, 6.0]], &dev).requires_grad();
        let w = Tensor::new([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]], &dev);
        (x.sort(1, false).0 * &w).sum().backward().unwrap();
        let grad: Vec<f32> = x.grad().unwrap().to_vec().unwrap();
        assert_eq!(grad, [100.0, 1.0, 10.0, 20.0, 2.0, 200.0]);
        x.zero_grad();
        (x.topk(1, 0, true).0 * 7.0).sum().backward().unwrap();
        let grad: Vec<f32> = x.grad().unwrap().to_vec().unwrap();
        assert_eq!(grad, [0.0, 0.0, 0.0, 7.0, 7.0, 7.0]);
        x.zero_grad();
        x.kthvalue(2, 1, false).0.sum().backward().unwrap();
        let grad: Vec<f32> = x.grad().unwrap().to_vec().unwrap();
        assert_eq!(grad, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    }
    let cpu = devices::cpu();
    let x = Tensor::arange(24, (DType::F64, &cpu)) * 1.7;
    let x = x.sin().reshape([2, 3, 4]);
    for dim in 0..3 {
        let f = |x: &[Tensor]| (x[0].sort(dim, true).0.sqr() * x[0].sum()).sum();
        gradcheck(f, std::slice::from_ref(&x)).unwrap();
        let f = |x: &[Tensor]| x[0].topk(2, dim, false).0.sqr().sum();
        gradcheck(f, std::slice::from_ref(&x)).unwrap();
    }
}

#[test]
fn searching() {
    for dev in all() {
        let mut row: Vec<f32> = fill(3, 1000, 10.0).iter().map(|v| v.round()).collect();
        row.sort_by(f32::total_cmp);
        row.extend([f32::INFINITY, f32::NAN, f32::NAN]);
        let values: Vec<f32> = fill(4, 300, 12.0)
            .iter()
            .map(|v| (v * 2.0).round() / 2.0)
            .collect();
        let values = [
            values,
            vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0],
        ]
        .concat();
        let count = |value: f32, right: bool| {
            let before = |&&s: &&f32| match order(f64::from(s), f64::from(value)) {
                Ordering::Less => true,
                Ordering::Equal => right,
                Ordering::Greater => false,
            };
            row.iter().filter(before).count() as i32
        };
        let sorted = Tensor::from_slice(&row, row.len(), &dev);
        let wanted = Tensor::from_slice(&values, [4, 76], &dev);
        for right in [false, true] {
            let want: Vec<i32> = values.iter().map(|&v| count(v, right)).collect();
            let got: Vec<i32> = sorted.searchsorted(&wanted, right).to_vec().unwrap();
            assert_eq!(got, want, "{dev}");
            let got = wanted.t().bucketize(&sorted, right).t();
            assert_eq!(got.to_vec::<i32>().unwrap(), want, "{dev}");
        }
        // A row for each row; one value; nothing; other types.
        let rows = Tensor::new([[1, 3, 5], [2, 4, 6]], &dev);
        let values = Tensor::new([[3, 6], [3, 6]], &dev);
        assert_eq!(
            rows.searchsorted(&values, false).to_vec::<i32>().unwrap(),
            [1, 3, 1, 2]
        );
        assert_eq!(
            rows.searchsorted(&values, true).to_vec::<i32>().unwrap(),
            [2, 3, 1, 3]
        );
        let turned = rows.t().contiguous().t();
        assert_eq!(
            turned.searchsorted(&values, true).to_vec::<i32>().unwrap(),
            [2, 3, 1, 3]
        );
        let one = rows
            .select(0, 0)
            .searchsorted(&Tensor::scalar(4, &dev), false);
        assert_eq!(one.item::<i32>().unwrap(), 2);
        let none = Tensor::zeros([0], (DType::I32, &dev));
        assert_eq!(
            none.searchsorted(&values, false).to_vec::<i32>().unwrap(),
            [0; 4]
        );
        assert_eq!(
            rows.select(0, 1).searchsorted(&none, false).dims().unwrap(),
            [0]
        );
        for dtype in [DType::F16, DType::U8, DType::U32] {
            let got = rows
                .to_dtype(dtype)
                .searchsorted(&values.to_dtype(dtype), false);
            assert_eq!(
                got.to_vec::<i32>().unwrap(),
                [1, 3, 1, 2],
                "{dtype} on {dev}"
            );
        }
        for bad in [
            rows.searchsorted(&values.narrow(0, 0, 1), false),
            Tensor::scalar(1, &dev).searchsorted(&values, false),
            values.bucketize(&rows, false),
        ] {
            assert!(bad.shape().is_err());
        }
    }
}

#[test]
fn different_elements() {
    for dev in all() {
        let x: Vec<i32> = fill(9, 2000, 30.0).iter().map(|v| *v as i32).collect();
        let tensor = Tensor::from_slice(&x, [40, 50], &dev);
        let mut want = x.clone();
        want.sort_unstable();
        want.dedup();
        let unique = tensor.unique();
        assert_eq!(unique.values.to_vec::<i32>().unwrap(), want, "{dev}");
        let inverse: Vec<i32> = unique.inverse.to_vec().unwrap();
        assert_eq!(unique.inverse.dims().unwrap(), [40, 50]);
        let back: Vec<i32> = inverse.iter().map(|&i| want[i as usize]).collect();
        assert_eq!(back, x);
        let counts: Vec<i32> = unique.counts.to_vec().unwrap();
        let count = |v: &i32| x.iter().filter(|x| *x == v).count() as i32;
        assert_eq!(counts, want.iter().map(count).collect::<Vec<_>>());
        let runs =
            Tensor::new([1.0, 1.0, 2.0, f64::NAN, f64::NAN, 0.0, -0.0], &dev).unique_consecutive();
        assert_same(
            &read(&runs.values),
            &[1.0, 2.0, f64::NAN, f64::NAN, 0.0],
            "runs",
        );
        assert_eq!(runs.inverse.to_vec::<i32>().unwrap(), [0, 0, 1, 2, 3, 4, 4]);
        assert_eq!(runs.counts.to_vec::<i32>().unwrap(), [2, 1, 1, 1, 2]);
        let truths = Tensor::new([true, false, true], &dev).unique();
        assert_eq!(truths.values.to_vec::<bool>().unwrap(), [false, true]);
        assert_eq!(truths.counts.to_vec::<i32>().unwrap(), [1, 2]);
        let scalar = Tensor::scalar(3, &dev).unique();
        assert_eq!(scalar.values.to_vec::<i32>().unwrap(), [3]);
        assert_eq!(scalar.inverse.item::<i32>().unwrap(), 0);
        let none = Tensor::zeros([2, 0], &dev).unique();
        assert_eq!(none.values.to_vec::<f32>().unwrap(), [0f32; 0]);
        assert_eq!(none.inverse.dims().unwrap(), [2, 0]);
        assert_eq!(none.counts.dims().unwrap(), [0]);
        let rows = Tensor::from_vec(x.iter().map(|v| v / 12).collect(), [500, 4], &dev);
        let scaled: Vec<i32> = x.iter().map(|v| v / 12).collect();
        let mut want: Vec<&[i32]> = scaled.chunks(4).collect();
        want.sort_unstable();
        want.dedup();
        let unique = rows.unique_along(0);
        assert_eq!(
            unique.values.to_vec::<i32>().unwrap(),
            want.concat(),
            "{dev}"
        );
        let inverse: Vec<i32> = unique.inverse.to_vec().unwrap();
        let back: Vec<i32> = inverse
            .iter()
            .flat_map(|&i| want[i as usize].to_vec())
            .collect();
        assert_eq!(back, scaled);
        assert_eq!(unique.counts.sum().item::<i32>().unwrap(), 500);
        let columns = rows.t().unique_along(1);
        assert_eq!(columns.values.t().to_vec::<i32>().unwrap(), want.concat());
        let error = rows.unique_along(2).counts.shape().unwrap_err();
        assert!(
            matches!(error, Error::DimOutOfRange { op: "unique", .. }),
            "{error}"
        );
        let same = Tensor::full([3000], 7, &dev).unique();
        assert_eq!(same.counts.to_vec::<i32>().unwrap(), [3000]);
    }
}
