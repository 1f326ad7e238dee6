//! Sort and the scans whose state is not a number, by the kernels of both families.

mod harness;

use harness::*;
use wgrad_core::*;

/// The elements that a view of values sees, in rows.
fn special(rng: &mut Rng, dtype: DType, len: usize) -> Vec<f64> {
    let mut values = rng.values(dtype, len);
    if dtype.is_float() {
        for i in (0..len).step_by(7) {
            values[i] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0][rng.below(4)];
        }
    }
    values
}

/// Whether `a` comes before `b`: NaN is the largest.
fn before(a: f64, b: f64) -> bool {
    a < b || (b.is_nan() && !a.is_nan())
}

#[test]
fn sorted_rows() {
    let mut rng = Rng(91);
    for gpu in gpus() {
        for (rows, n) in [
            (1usize, 1usize),
            (70, 3),
            (9, 31),
            (3, 33),
            (5, 500),
            (2, 1024),
            (3, 1025),
            (1, 4097),
            (2, 20_000),
        ] {
            for dtype in [DType::F32, DType::F16, DType::I32, DType::U8, DType::Bool] {
                let descending = rng.below(2) == 0;
                let first = [n, n, n.div_ceil(2), 1 + rng.below(n)][rng.below(4)];
                let (layout, len) = rng.layout(&[rows, n]);
                let values = special(&mut rng, dtype, len);
                let seen = view(&values, &layout);
                let mut t = Trial::new(&gpu);
                let x = t.operand(dtype, &values, layout);
                let positions = t.output(DType::I32, rows * first);
                let sorted = t.output(dtype, rows * first);
                let method = ops::Sort::NAME;
                let op = ops::Sort {
                    descending,
                    first,
                    method,
                };
                t.launch(Kernel::operation(op, [x], [positions, sorted]), &[]);
                t.run();
                let (got, got_values) = (
                    t.read(positions, rows * first),
                    t.read(sorted, rows * first),
                );
                for (r, row) in seen.chunks(n).enumerate() {
                    let mut want: Vec<usize> = (0..n).collect();
                    want.sort_by(|&a, &b| {
                        let (a, b) = if descending { (b, a) } else { (a, b) };
                        before(row[b], row[a]).cmp(&before(row[a], row[b]))
                    });
                    let what = format!("{first} of {rows} x {n} of {dtype}, row {r}");
                    for (i, &w) in want[..first].iter().enumerate() {
                        assert_eq!(got[r * first + i], w as f64, "{what}, place {i}");
                        let (v, w) = (got_values[r * first + i], row[w]);
                        assert!(v == w || (v.is_nan() && w.is_nan()), "{what}: {v} for {w}");
                    }
                }
            }
        }
    }
}

#[test]
fn running_extremes_and_logarithms() {
    let mut rng = Rng(93);
    for gpu in gpus() {
        for (rows, n) in [(1usize, 1usize), (70, 3), (3, 129), (2, 4097), (1, 70_000)] {
            for reverse in [false, true] {
                for min in [false, true] {
                    let (layout, len) = rng.layout(&[rows, n]);
                    let mut values = rng.values(DType::F32, len);
                    values[len / 2] = f64::NAN;
                    let seen = view(&values, &layout);
                    let mut t = Trial::new(&gpu);
                    let x = t.operand(DType::F32, &values, layout);
                    let y = t.output(DType::I32, rows * n);
                    let combine = if min {
                        ops::Combine::ArgMin
                    } else {
                        ops::Combine::ArgMax
                    };
                    t.launch(
                        Kernel::operation(ops::Scan { combine, reverse }, [x], [y]),
                        &[],
                    );
                    t.run();
                    let got = t.read(y, rows * n);
                    for (r, row) in seen.chunks(n).enumerate() {
                        let mut best: Option<usize> = None;
                        for i in 0..n {
                            let i = if reverse { n - 1 - i } else { i };
                            let stays = best.is_some_and(|b| {
                                let (x, y) = if min {
                                    (-row[b], -row[i])
                                } else {
                                    (row[b], row[i])
                                };
                                before(y, x)
                            });
                            if !stays {
                                best = Some(i);
                            }
                            let what = format!("{rows} x {n}, {combine:?}, reverse {reverse}");
                            assert_eq!(got[r * n + i], best.unwrap() as f64, "{what}: {r}, {i}");
                        }
                    }
                }
                let (layout, len) = rng.layout(&[rows, n]);
                let values: Vec<f64> = (0..len).map(|_| rng.range(-40.0, 40.0)).collect();
                let seen = view(&values, &layout);
                let mut t = Trial::new(&gpu);
                let x = t.operand(DType::F32, &values, layout);
                let y = t.output(DType::F32, rows * n);
                let combine = ops::Combine::LogSumExp;
                t.launch(
                    Kernel::operation(ops::Scan { combine, reverse }, [x], [y]),
                    &[],
                );
                t.run();
                let mut want = Vec::new();
                for row in seen.chunks(n) {
                    let mut row: Vec<f64> = row.iter().map(|&v| f64::from(v as f32)).collect();
                    if reverse {
                        row.reverse();
                    }
                    let mut sum = f64::NEG_INFINITY;
                    for v in &mut row {
                        let top = sum.max(*v);
                        sum = top + ((sum - top).exp() + (*v - top).exp()).ln();
                        *v = sum;
                    }
                    if reverse {
                        row.reverse();
                    }
                    want.extend(row);
                }
                let what = format!("{rows} x {n}, reverse {reverse}");
                close(&t.read(y, rows * n), &want, 2e-6, 2e-6, &what);
            }
        }
    }
}
