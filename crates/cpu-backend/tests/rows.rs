//! Cross-entropy, gathering, scattering, joining and placing against plain loops.

mod harness;

use harness::*;
use wgrad_core::ops::{Concat, CrossEntropy, Gather, Merge, Place, Scatter};
use wgrad_core::{AnyOperation, DType, Kernel, Layout, Rows, Shape};

struct Loss {
    loss: f64,
    weight: f64,
    grad: Vec<f64>,
}

fn cross_entropy(x: &[f64], target: i64, ignore: i64, weights: Option<&[f64]>) -> Loss {
    let n = x.len();
    if target == ignore || target < 0 || target >= n as i64 {
        let ignored = target == ignore;
        return Loss {
            loss: if ignored { 0.0 } else { f64::NAN },
            weight: if ignored { 0.0 } else { 1.0 },
            grad: vec![0.0; n],
        };
    }
    let t = target as usize;
    let w = weights.map_or(1.0, |w| w[t]);
    let most = x.iter().fold(
        f64::NEG_INFINITY,
        |m, &v| if v.is_nan() || v > m { v } else { m },
    );
    let e: Vec<f64> = x.iter().map(|&v| (v - most).exp()).collect();
    let total: f64 = e.iter().sum();
    Loss {
        loss: w * (most + total.ln() - x[t]),
        weight: w,
        grad: (0..n)
            .map(|c| w * (e[c] / total - f64::from(u8::from(c == t))))
            .collect(),
    }
}

#[test]
fn cross_entropy_of_all_types() {
    let mut dice = Dice::new(1);
    for (rows, classes) in [(0, 3), (1, 1), (7, 10), (50, 1000), (300, 33), (3, 5003)] {
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            for (i, index) in [DType::I64, DType::I32, DType::U32, DType::U8]
                .iter()
                .enumerate()
            {
                let mut bench = Bench::new();
                let shape = Shape::from([rows, classes]);
                let (logits, x) = bench.random(&mut dice, dtype, &shape, (-9.0, 9.0));
                let ignore = 2.min(classes as i64 - 1);
                let values = (0..rows)
                    .map(|_| dice.below(classes.min(250)) as f64)
                    .collect();
                let targets = Data(*index, values);
                let t = targets.1.clone();
                let targets = bench.dense(targets, rows);
                let weights = (i % 2 == 0).then(|| {
                    let data = Data::random(&mut dice, DType::F32, classes, 0.1, 2.0);
                    (bench.dense(data.clone(), classes), data.1)
                });
                let wide = dtype.compute();
                let loss = Some(bench.output(wide, rows));
                let row_weight = (i != 1).then(|| bench.output(wide, rows));
                let grad = (i != 3).then(|| bench.output(dtype, rows * classes));
                let weight = weights.as_ref().map(|w| w.0.clone());
                let kernel = Kernel::Operation {
                    op: AnyOperation::new(CrossEntropy { ignore }),
                    inputs: [logits, targets].into_iter().chain(weight).collect(),
                    outputs: vec![row_weight, loss, grad],
                    epilogue: None,
                };
                let got = bench.run(kernel);
                let tolerance = match dtype {
                    DType::F64 => 1e-12,
                    DType::F32 => 2e-6,
                    DType::F16 => 1e-3,
                    _ => 8e-3,
                };
                for r in 0..rows {
                    let weights = weights.as_ref().map(|w| &w.1[..]);
                    let row = &x[r * classes..(r + 1) * classes];
                    let want = cross_entropy(row, t[r] as i64, ignore, weights);
                    assert_near(&got[0][r..=r], &[want.loss], 2e-6);
                    if i != 1 {
                        assert_near(&got[1][r..=r], &[want.weight], 1e-6);
                    }
                    if i != 3 {
                        let grad = got.last().unwrap();
                        assert_near(&grad[r * classes..(r + 1) * classes], &want.grad, tolerance);
                    }
                }
            }
        }
    }
}

#[test]
fn softmax_of_rows() {
    let mut dice = Dice::new(21);
    let (n, inf) = (f64::NAN, f64::INFINITY);
    let odd = vec![
        1.0, n, 3.0, inf, 2.0, 3.0, -inf, 2.0, 3.0, -inf, -inf, -inf, inf, -inf, n, 1e4, -1e4, 0.0,
    ];
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for (rows, classes) in [(1, 1), (6, 3), (3, 33), (40, 1000), (3, 5000), (70, 12)] {
            for special in [false, true] {
                if special && (rows, classes) != (6, 3) {
                    continue;
                }
                let mut bench = Bench::new();
                let shape = Shape::from([rows, classes]);
                let (input, x) = match special {
                    true => {
                        let data = Data(dtype, odd.clone());
                        let x = data.rounded();
                        (bench.dense(data, [rows, classes]), x)
                    }
                    false => bench.random(&mut dice, dtype, &shape, (-9.0, 9.0)),
                };
                let output = bench.output(dtype, rows * classes);
                let at = bench.output(DType::I32, rows);
                let kernel = Kernel::Rows(Rows::softmax(input, output, at));
                let got = bench.run(kernel);
                let (mut want, mut want_at) = (Vec::new(), Vec::new());
                for row in x.chunks(classes) {
                    let top = row.iter().copied().fold(-inf, f64::max);
                    let total: f64 = row.iter().map(|v| (v - top).exp()).sum();
                    want.extend(row.iter().map(|v| (v - top).exp() / total));
                    let nan = row.iter().position(|v| v.is_nan());
                    let at = nan.or(row.iter().position(|v| *v == top));
                    want_at.push(at.unwrap_or(0) as f64);
                }
                let tolerance = match dtype {
                    DType::F32 => 2e-6,
                    DType::F16 => 2e-3,
                    _ => 1e-2,
                };
                assert_near(&got[0], &want, tolerance);
                assert_same(&got[1], &want_at);
            }
        }
    }
}

#[test]
fn cross_entropy_of_bad_targets_and_values() {
    let n = f64::NAN;
    let inf = f64::INFINITY;
    let rows = [
        ([1.0, 2.0, 3.0], 1.0),
        ([1.0, 2.0, 3.0], 3.0),
        ([1.0, 2.0, 3.0], -1.0),
        ([1.0, 2.0, 3.0], -100.0),
        ([1.0, n, 3.0], 0.0),
        ([1.0, n, 3.0], -100.0),
        ([inf, 2.0, 3.0], 0.0),
        ([-inf, 2.0, 3.0], 1.0),
        ([-inf, -inf, -inf], 1.0),
        ([1e4, -1e4, 0.0], 0.0),
        ([1e4, -1e4, 0.0], 1.0),
    ];
    let mut bench = Bench::new();
    let x = rows.iter().flat_map(|r| r.0).collect();
    let logits = bench.dense(Data(DType::F32, x), [rows.len(), 3]);
    let t = rows.iter().map(|r| r.1).collect();
    let targets = bench.dense(Data(DType::I64, t), rows.len());
    let loss = bench.output(DType::F32, rows.len());
    let row_weight = bench.output(DType::F32, rows.len());
    let grad = bench.output(DType::F32, rows.len() * 3);
    let op = CrossEntropy { ignore: -100 };
    let kernel = Kernel::operation(op, [logits, targets], [row_weight, loss, grad]);
    let (all, fault) = bench.run_all(kernel);
    let fault = fault.unwrap();
    assert_eq!((fault.code, fault.value), (77, 3));
    for (r, (x, t)) in rows.iter().enumerate() {
        let want = cross_entropy(x, *t as i64, -100, None);
        assert_near(&all[2][r..=r], &[want.loss], 1e-6);
        assert_near(&all[3][r..=r], &[want.weight], 0.0);
        assert_near(&all[4][r * 3..r * 3 + 3], &want.grad, 1e-6);
    }
    // Where p is nearly 1, its gradient p - 1 is minus the sum of the other probabilities.
    let mut bench = Bench::new();
    let logits = bench.dense(Data(DType::F32, vec![30.0, 0.0]), [1, 2]);
    let targets = bench.dense(Data(DType::U8, vec![0.0]), 1);
    let kernel = Kernel::Operation {
        op: AnyOperation::new(CrossEntropy { ignore: -100 }),
        inputs: vec![logits, targets],
        outputs: vec![None, None, Some(bench.output(DType::F32, 2))],
        epilogue: None,
    };
    let got = bench.run(kernel);
    assert!((got[0][0] / -(-30f64).exp() - 1.0).abs() < 1e-6);
}

const ALL: [DType; 11] = DType::ALL;

#[test]
fn gather() {
    let mut dice = Dice::new(2);
    let cases: [(&[usize], usize, usize); 8] = [
        (&[5], 0, 9),
        (&[4, 7], 0, 3),
        (&[4, 7], 1, 3),
        (&[3, 4, 5], 1, 6),
        (&[3, 4, 5], 2, 0),
        (&[0, 4], 0, 0),
        (&[300, 200], 0, 250),
        (&[300, 200], 1, 250),
    ];
    for (i, (dims, dim, len)) in cases.into_iter().enumerate() {
        for (j, dtype) in ALL.into_iter().enumerate() {
            let from = Shape::new(dims);
            if from.numel() > 10_000 && (i + j) % 3 != 0 {
                continue;
            }
            let mut bench = Bench::new();
            let (source, x) = bench.random(&mut dice, dtype, &from, (0.0, 100.0));
            let mut to = dims.to_vec();
            to[dim] = len;
            let to = Shape::from(to);
            let types = [DType::I64, DType::I32, DType::U32, DType::U8];
            let high = from[dim].min(250) as f64;
            let (index, at) = bench.random(&mut dice, types[j % 4], &to, (0.0, high));
            let output = bench.output(dtype, to.numel());
            let got = bench.run(Kernel::operation(
                Gather::new(dim),
                [source, index],
                [output],
            ));
            let strides = Layout::contiguous(from);
            let want: Vec<f64> = indices(&to)
                .into_iter()
                .zip(&at)
                .map(|(mut at, &i)| {
                    at[dim] = i as usize;
                    x[strides.index(&at)]
                })
                .collect();
            assert_same(&got[0], &want);
        }
    }
}

/// Rows of a table, as an embedding reads them, with bad ones among them.
#[test]
fn gather_rows_with_faults() {
    for dtype in ALL {
        let mut bench = Bench::new();
        let table = bench.dense(
            Data(dtype, (0..40).map(|i| f64::from(i % 2)).collect()),
            [10, 4],
        );
        let index = Data(DType::I32, vec![3.0, -1.0, 9.0, 10.0]);
        let layout = Layout {
            strides: [1, 0].into_iter().collect(),
            ..Layout::contiguous([4, 4].into())
        };
        let index = bench.input(index, layout);
        let output = bench.output(dtype, 16);
        let (all, fault) =
            bench.run_all(Kernel::operation(Gather::new(0), [table, index], [output]));
        assert_eq!(fault.unwrap().value, -1);
        let none = if dtype.is_float() { f64::NAN } else { 0.0 };
        let row = [0.0, 1.0, 0.0, 1.0];
        assert_same(&all[2], &[row, [none; 4], row, [none; 4]].concat());
    }
}

#[test]
fn scatter_add() {
    let mut dice = Dice::new(3);
    let cases: [(&[usize], usize, usize); 8] = [
        (&[5], 0, 9),
        (&[4, 7], 0, 3),
        (&[4, 7], 1, 3),
        (&[3, 4, 5], 1, 6),
        (&[3, 0, 5], 1, 2),
        (&[0, 4], 1, 3),
        (&[300, 200], 0, 250),
        (&[300, 200], 1, 250),
    ];
    for (dims, dim, size) in cases {
        for (j, dtype) in [DType::F32, DType::F64, DType::I32].into_iter().enumerate() {
            let shape = Shape::new(dims);
            let mut bench = Bench::new();
            let (source, x) = bench.random(&mut dice, dtype, &shape, (-50.0, 50.0));
            let types = [DType::I64, DType::I32, DType::U8];
            let (index, at) = bench.random(&mut dice, types[j], &shape, (0.0, size as f64));
            let mut to = dims.to_vec();
            to[dim] = size;
            let to = Layout::contiguous(Shape::from(to));
            let output = bench.output(dtype, to.shape.numel());
            let got = bench.run(Kernel::operation(
                Scatter::new(dim, size, Merge::Sum),
                [source, index],
                [output],
            ));
            let mut want = vec![0.0; to.shape.numel()];
            for ((mut place, &v), &x) in indices(&shape).into_iter().zip(&at).zip(&x) {
                place[dim] = v as usize;
                want[to.index(&place)] += x;
            }
            assert_near(&got[0], &want, 1e-5);
        }
    }
    let mut bench = Bench::new();
    let source = bench.dense(Data(DType::F32, vec![1.0, 2.0, 3.0]), 3);
    let index = bench.dense(Data(DType::I32, vec![1.0, 7.0, 1.0]), 3);
    let output = bench.output(DType::F32, 2);
    let (all, fault) = bench.run_all(Kernel::operation(
        Scatter::new(0, 2, Merge::Sum),
        [source, index],
        [output],
    ));
    assert_eq!(all[2], [0.0, 4.0]);
    assert_eq!(fault.unwrap().value, 7);
}

#[test]
fn concat() {
    let mut dice = Dice::new(4);
    for (j, dtype) in ALL.into_iter().enumerate() {
        for (dims, dim, lens) in [
            (vec![3], 0, vec![3, 0, 5]),
            (vec![2, 3, 4], 1, vec![3, 1, 2]),
            (vec![2, 3, 4], 2, vec![4, 4]),
            (vec![2, 3, 0], 0, vec![2, 1]),
            (vec![200, 130], 1, vec![130, 70, 1]),
            (vec![200, 300], 0, vec![200, 7]),
        ] {
            if dims[0] == 200 && j % 3 != 0 {
                continue;
            }
            let mut bench = Bench::new();
            let mut parts = Vec::new();
            let mut inputs = Vec::new();
            for &len in &lens {
                let mut shape = dims.clone();
                shape[dim] = len;
                let (operand, x) =
                    bench.random(&mut dice, dtype, &Shape::from(shape.clone()), (0.0, 90.0));
                parts.push((Layout::contiguous(Shape::from(shape)), x));
                inputs.push(operand);
            }
            let mut to = dims.clone();
            to[dim] = lens.iter().sum();
            let to = Shape::from(to);
            let output = bench.output(dtype, to.numel());
            let got = bench.run(Kernel::operation(Concat { dim }, inputs, [output]));
            let want: Vec<f64> = indices(&to)
                .into_iter()
                .map(|mut at| {
                    let mut part = 0;
                    while at[dim] >= lens[part] {
                        at[dim] -= lens[part];
                        part += 1;
                    }
                    parts[part].1[parts[part].0.index(&at)]
                })
                .collect();
            assert_same(&got[0], &want);
        }
    }
}

#[test]
fn place() {
    let mut dice = Dice::new(5);
    for dtype in ALL {
        for (dims, start, step, inner) in [
            (vec![7], vec![1], vec![2], vec![3]),
            (vec![5, 6], vec![0, 2], vec![1, 1], vec![5, 3]),
            (vec![5, 6], vec![1, 0], vec![3, 2], vec![2, 3]),
            (vec![4, 5, 6], vec![1, 0, 3], vec![2, 1, 1], vec![2, 5, 1]),
            (vec![4, 5], vec![0, 0], vec![1, 1], vec![0, 5]),
            (vec![0, 5], vec![0, 0], vec![1, 1], vec![0, 5]),
            (vec![], vec![], vec![], vec![]),
            (vec![300, 200], vec![10, 5], vec![1, 2], vec![250, 90]),
        ] {
            let mut bench = Bench::new();
            let inner = Shape::from(inner);
            let (source, x) = bench.random(&mut dice, dtype, &inner, (1.0, 90.0));
            let shape = Shape::from(dims);
            let output = bench.output(dtype, shape.numel());
            let got = bench.run(Kernel::operation(
                Place {
                    shape: shape.clone(),
                    start: start.clone(),
                    step: step.clone(),
                },
                [source],
                [output],
            ));
            let to = Layout::contiguous(shape);
            let mut want = vec![0.0; to.shape.numel()];
            for (at, &x) in indices(&inner).into_iter().zip(&x) {
                let place: Vec<usize> = (0..at.len()).map(|d| start[d] + step[d] * at[d]).collect();
                want[to.index(&place)] = x;
            }
            assert_same(&got[0], &want);
        }
    }
}
