//! Structured kernels: cross-entropy, picking by position, joining, running sums.

mod harness;

use std::sync::Arc;

use harness::*;
use wgrad_core::*;
use wgrad_wgpu_backend::WgpuBackend;

struct Case {
    rows: usize,
    classes: usize,
    weighted: bool,
    dtype: DType,
    turned: bool,
    targets: Vec<f64>,
    logits: Vec<f64>,
}

fn cross_entropy(gpu: &Arc<WgpuBackend>, case: &Case) -> Option<Fault> {
    let (rows, classes) = (case.rows, case.classes);
    let what = format!(
        "{rows} rows of {classes}, weighted {}, {} turned {}",
        case.weighted, case.dtype, case.turned
    );
    let layout = if case.turned {
        Layout::contiguous([classes, rows].into()).permute(&[1, 0])
    } else {
        Layout::contiguous([rows, classes].into())
    };
    let x = view(&stored(case.dtype, &case.logits), &layout);
    let weights: Vec<f64> = (0..classes).map(|c| 0.5 + (c % 5) as f64 * 0.25).collect();
    let mut t = Trial::new(gpu);
    let logits = t.operand(case.dtype, &case.logits, layout);
    // Rows of packed types need whole quads.
    let softmax = (case.dtype == DType::F32 || classes.is_multiple_of(4)).then(|| {
        let output = t.output(case.dtype, rows * classes);
        let at = t.output(DType::I32, rows);
        t.launch(Kernel::Rows(Rows::softmax(logits.clone(), output, at)), &[]);
        (output, at)
    });
    let targets = t.dense(DType::I32, &case.targets, &[rows]);
    let weight = case
        .weighted
        .then(|| t.dense(DType::F32, &weights, &[classes]));
    let out = case.dtype;
    let (loss, row_weight, grad) = (
        t.output(DType::F32, rows),
        t.output(out, rows),
        t.output(out, rows * classes),
    );
    let inputs: Vec<Operand> = [logits, targets].into_iter().chain(weight).collect();
    let op = ops::CrossEntropy { ignore: -100 };
    t.launch(Kernel::operation(op, inputs, [row_weight, loss, grad]), &[]);
    t.run();
    let (mut wl, mut ww, mut wg) = (vec![], vec![], vec![0.0; rows * classes]);
    for r in 0..rows {
        let row = &x[r * classes..(r + 1) * classes];
        let target = case.targets[r];
        if target == -100.0 {
            wl.push(0.0);
            ww.push(0.0);
            continue;
        }
        if target < 0.0 || target >= classes as f64 {
            wl.push(f64::NAN);
            ww.push(1.0);
            continue;
        }
        let c = target as usize;
        let w = if case.weighted { weights[c] } else { 1.0 };
        let top = row.iter().fold(
            f64::NEG_INFINITY,
            |a, &b| if b.is_nan() { b } else { a.max(b) },
        );
        let total: f64 = row.iter().map(|v| (v - top).exp()).sum();
        wl.push(w * (total.ln() + top - row[c]));
        ww.push(w);
        for (k, v) in row.iter().enumerate() {
            wg[r * classes + k] = w * ((v - top).exp() / total - if k == c { 1.0 } else { 0.0 });
        }
    }
    let (mut want, mut want_at) = (vec![], vec![]);
    for row in x.chunks(classes) {
        let largest = |a: f64, b: &f64| if b.is_nan() { *b } else { a.max(*b) };
        let top = row.iter().fold(f64::NEG_INFINITY, largest);
        let total: f64 = row.iter().map(|v| (v - top).exp()).sum();
        want.extend(row.iter().map(|v| (v - top).exp() / total));
        let at = row.iter().position(|v| *v == top || v.is_nan());
        want_at.push(at.unwrap_or(0) as f64);
    }
    if let Some((output, at)) = softmax {
        let (relative, absolute) = match out {
            DType::F32 => (3e-6, 3e-6),
            DType::F16 => (1e-3, 1e-5),
            _ => (8e-3, 1e-5),
        };
        let what = format!("softmax, {what}");
        close(
            &t.read(output, rows * classes),
            &want,
            relative,
            absolute,
            &what,
        );
        assert_eq!(t.read(at, rows), want_at, "{what}");
    }
    let e = match out {
        DType::F32 => 3e-6,
        DType::F16 => 1e-3,
        _ => 8e-3,
    };
    close(
        &t.read(loss, rows),
        &wl,
        3e-6,
        3e-6,
        &format!("loss, {what}"),
    );
    close(
        &t.read(row_weight, rows),
        &ww,
        e,
        0.0,
        &format!("weight, {what}"),
    );
    close(
        &t.read(grad, rows * classes),
        &wg,
        e,
        e * 0.1,
        &format!("gradient, {what}"),
    );
    t.fault
}

#[test]
fn cross_entropy_of_all_lengths() {
    let mut rng = Rng(31);
    for gpu in gpus() {
        for classes in [
            1usize, 2, 3, 10, 31, 64, 65, 100, 257, 1000, 1024, 4096, 4097, 9001,
        ] {
            for (weighted, dtype, turned) in [
                (false, DType::F32, false),
                (true, DType::F32, true),
                (true, DType::F16, false),
                (false, DType::BF16, false),
            ] {
                let rows = if classes > 500 { 3 } else { 37 };
                let mut targets: Vec<f64> = (0..rows).map(|_| rng.below(classes) as f64).collect();
                targets[1] = -100.0;
                let logits: Vec<f64> = rng
                    .values(DType::F32, rows * classes)
                    .iter()
                    .map(|v| v * 3.0)
                    .collect();
                let case = Case {
                    rows,
                    classes,
                    weighted,
                    dtype,
                    turned,
                    targets,
                    logits,
                };
                assert_eq!(cross_entropy(&gpu, &case), None);
            }
        }
    }
}

#[test]
fn cross_entropy_of_odd_values() {
    // The fault word is the device's: a device that no other test uses.
    for gpu in families().iter().filter_map(open) {
        for classes in [5usize, 300, 5000] {
            let rows = 4;
            let mut logits = vec![0.25; rows * classes];
            // A certain row, a row with minus infinity, a row with NaN, and a bad target.
            logits[2] = 60.0;
            logits[classes] = f64::NEG_INFINITY;
            logits[2 * classes + classes - 1] = f64::NAN;
            let mut case = Case {
                rows,
                classes,
                weighted: false,
                dtype: DType::F32,
                turned: false,
                targets: vec![2.0, 1.0, 0.0, 3.0],
                logits,
            };
            case.targets[3] = classes as f64 + 4.0;
            let fault = cross_entropy(&gpu, &case);
            assert_eq!(
                fault,
                Some(Fault {
                    code: 7,
                    value: classes as i64 + 4
                })
            );
            case.targets[3] = -3.0;
            assert_eq!(
                cross_entropy(&gpu, &case),
                Some(Fault { code: 7, value: -3 })
            );
            // Reported once.
            case.targets[3] = 1.0;
            assert_eq!(cross_entropy(&gpu, &case), None);
        }
    }
}

#[test]
fn gather_and_scatter_add() {
    let mut rng = Rng(41);
    for gpu in gpus() {
        for (shape, dim, size) in [
            (vec![7usize], 0usize, 5usize),
            (vec![300, 5], 0, 40),
            (vec![5, 33, 3], 1, 9),
            (vec![4, 6], 1, 100),
            (vec![1000, 4], 0, 3),
            (vec![3, 0], 1, 4),
            // The same for all other positions, a workgroup looks for what it sums, up to some size.
            (vec![2, 130, 12], 1, 9),
            (vec![2048, 8], 0, 5),
            (vec![2049, 8], 0, 5),
            (vec![64, 300], 0, 6),
            (vec![7, 33, 4], 1, 2),
            (vec![40, 516], 0, 3),
        ] {
            for dtype in [DType::F32, DType::F16, DType::I32, DType::U8, DType::Bool] {
                for shared in [false, true] {
                    let count: usize = shape.iter().product();
                    let mut table = shape.clone();
                    table[dim] = size;
                    let values = rng.values(dtype, table.iter().product());
                    // An index of full rank, or one that is the same along other dimensions.
                    let index_shape: Vec<usize> = shape
                        .iter()
                        .enumerate()
                        .map(|(d, &n)| if shared && d != dim { 1 } else { n })
                        .collect();
                    let index: Vec<f64> = (0..index_shape.iter().product())
                        .map(|_| rng.below(size) as f64)
                        .collect();
                    let il = Layout::contiguous(index_shape.into())
                        .expand(&shape.clone().into())
                        .unwrap();
                    let seen = view(&index, &il);
                    let at = |e: usize| {
                        let mut p = points_at(&shape, e);
                        p[dim] = seen[e] as usize;
                        Layout::contiguous(table.clone().into()).index(&p)
                    };
                    let what = format!("{shape:?} {dim} {size} {dtype} {shared}");
                    let mut t = Trial::new(&gpu);
                    let source = t.dense(dtype, &values, &table);
                    let operand = t.operand(DType::I32, &index, il.clone());
                    let y = t.output(dtype, count);
                    t.launch(
                        Kernel::operation(ops::Gather::new(dim), [source, operand], [y]),
                        &[],
                    );
                    t.run();
                    let want: Vec<f64> = (0..count).map(|e| values[at(e)]).collect();
                    close(&t.read(y, count), &want, 0.0, 0.0, &what);
                    if !matches!(dtype, DType::F32 | DType::I32) {
                        continue;
                    }
                    let added = rng.values(dtype, count);
                    let mut t = Trial::new(&gpu);
                    let source = t.dense(dtype, &added, &shape);
                    let operand = t.operand(DType::I32, &index, il);
                    let total: usize = table.iter().product();
                    let y = t.output(dtype, total);
                    t.launch(
                        Kernel::operation(
                            ops::Scatter::new(dim, size, ops::Merge::Sum),
                            [source, operand],
                            [y],
                        ),
                        &[],
                    );
                    t.run();
                    // In f32 and ascending, as the kernel is bound to do it.
                    let mut want = vec![0f32; total];
                    for (e, v) in added.iter().enumerate() {
                        want[at(e)] += *v as f32;
                    }
                    let want: Vec<f64> = want.iter().map(|&v| f64::from(v)).collect();
                    close(
                        &t.read(y, total),
                        &want,
                        0.0,
                        0.0,
                        &format!("scatter {what}"),
                    );
                    assert_eq!(t.fault, None);
                }
            }
        }
    }
}

fn points_at(shape: &[usize], mut e: usize) -> Vec<usize> {
    let mut p = vec![0; shape.len()];
    for d in (0..shape.len()).rev() {
        p[d] = e % shape[d];
        e /= shape[d];
    }
    p
}

#[test]
fn bad_indices_are_reported_and_skipped() {
    for gpu in families().iter().filter_map(open) {
        let mut t = Trial::new(&gpu);
        let source = t.dense(DType::F32, &[1.0, 2.0, 3.0], &[3]);
        let index = t.dense(DType::I32, &[0.0, 2.0, 3.0, 1.0], &[4]);
        let y = t.output(DType::F32, 4);
        t.launch(
            Kernel::operation(ops::Gather::new(0), [source, index], [y]),
            &[],
        );
        t.run();
        close(
            &t.read(y, 4),
            &[1.0, 3.0, f64::NAN, 2.0],
            0.0,
            0.0,
            "gather",
        );
        assert_eq!(t.fault, Some(Fault { code: 7, value: 3 }));
        let mut t = Trial::new(&gpu);
        let source = t.dense(DType::F32, &[1.0, 2.0, 4.0, 8.0], &[4]);
        let index = t.dense(DType::U32, &[0.0, 2.0, 4294967295.0, 0.0], &[4]);
        let y = t.output(DType::F32, 3);
        t.launch(
            Kernel::operation(
                ops::Scatter::new(0, 3, ops::Merge::Sum),
                [source, index],
                [y],
            ),
            &[],
        );
        t.run();
        close(&t.read(y, 3), &[9.0, 0.0, 2.0], 0.0, 0.0, "scatter");
        assert_eq!(
            t.fault,
            Some(Fault {
                code: 7,
                value: 4294967295
            })
        );
        let mut t = Trial::new(&gpu);
        let source = t.dense(DType::F32, &[1.0; 16], &[4, 4]);
        let index = t.dense(DType::I32, &[1.0, -5.0, 1.0, 0.0], &[4, 1]);
        let index = Operand {
            layout: index.layout.expand(&[4, 4].into()).unwrap(),
            ..index
        };
        let y = t.output(DType::F32, 8);
        t.launch(
            Kernel::operation(
                ops::Scatter::new(0, 2, ops::Merge::Sum),
                [source, index],
                [y],
            ),
            &[],
        );
        t.run();
        let want = [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0];
        close(&t.read(y, 8), &want, 0.0, 0.0, "scatter of rows");
        assert_eq!(t.fault, Some(Fault { code: 7, value: -5 }));
    }
}

#[test]
fn concat_and_place() {
    let mut rng = Rng(51);
    for gpu in gpus() {
        for dtype in [DType::F32, DType::BF16, DType::U8, DType::Bool] {
            let sizes = [3usize, 0, 4, 1];
            for dim in 0..3 {
                let mut t = Trial::new(&gpu);
                let mut inputs = Vec::new();
                let mut seen = Vec::new();
                for size in sizes {
                    let mut shape = [5usize, 6, 7];
                    shape[dim] = size;
                    let (layout, len) = rng.layout(&shape);
                    let values = rng.values(dtype, len);
                    seen.push((shape, view(&stored(dtype, &values), &layout)));
                    inputs.push(t.operand(dtype, &values, layout));
                }
                let mut shape = [5usize, 6, 7];
                shape[dim] = 8;
                let count = shape.iter().product();
                let y = t.output(dtype, count);
                t.launch(Kernel::operation(ops::Concat { dim }, inputs, [y]), &[]);
                t.run();
                let want: Vec<f64> = points(&shape)
                    .into_iter()
                    .map(|mut p| {
                        let mut which = 0;
                        while p[dim] >= seen[which].0[dim] {
                            p[dim] -= seen[which].0[dim];
                            which += 1;
                        }
                        seen[which].1[Layout::contiguous(seen[which].0.into()).index(&p)]
                    })
                    .collect();
                close(
                    &t.read(y, count),
                    &want,
                    0.0,
                    0.0,
                    &format!("concat {dtype} {dim}"),
                );
            }
            for (shape, start, step, from) in [
                ([9usize, 10], [1usize, 2], [2usize, 3], [4usize, 3]),
                ([4, 5], [0, 0], [1, 1], [4, 5]),
                ([4, 5], [2, 0], [1, 1], [0, 5]),
            ] {
                let (layout, len) = rng.layout(&from);
                let values = rng.values(dtype, len);
                let seen = view(&stored(dtype, &values), &layout);
                let mut t = Trial::new(&gpu);
                let source = t.operand(dtype, &values, layout);
                let count = shape[0] * shape[1];
                let y = t.output(dtype, count);
                t.launch(
                    Kernel::operation(
                        ops::Place {
                            shape: shape.into(),
                            start: start.to_vec(),
                            step: step.to_vec(),
                        },
                        [source],
                        [y],
                    ),
                    &[],
                );
                t.run();
                let mut want = vec![0.0; count];
                for (e, v) in seen.iter().enumerate() {
                    let (i, j) = (e / from[1], e % from[1]);
                    want[(start[0] + i * step[0]) * shape[1] + start[1] + j * step[1]] = *v;
                }
                close(
                    &t.read(y, count),
                    &want,
                    0.0,
                    0.0,
                    &format!("place {dtype} {shape:?}"),
                );
            }
        }
    }
}

#[test]
fn running_sums() {
    let mut rng = Rng(71);
    for gpu in gpus() {
        for (rows, n) in [
            (1usize, 1usize),
            (70, 3),
            (3, 129),
            (2, 4097),
            (5, 9000),
            (1, 70_000),
        ] {
            for dtype in [DType::F32, DType::I32] {
                for reverse in [false, true] {
                    let (layout, len) = rng.layout(&[rows, n]);
                    let values = rng.values(dtype, len);
                    let seen = view(&values, &layout);
                    let mut t = Trial::new(&gpu);
                    let x = t.operand(dtype, &values, layout);
                    let y = t.output(dtype, rows * n);
                    t.launch(
                        Kernel::operation(
                            ops::Scan {
                                combine: ops::Combine::Sum,
                                reverse,
                            },
                            [x],
                            [y],
                        ),
                        &[],
                    );
                    t.run();
                    let mut want = Vec::new();
                    // Errors grow with what is added up, whatever cancels.
                    let size: f64 = seen.iter().map(|v| v.abs()).sum();
                    for row in seen.chunks(n) {
                        let mut row = row.to_vec();
                        if reverse {
                            row.reverse();
                        }
                        let mut sum = 0.0;
                        for v in &mut row {
                            sum += *v;
                            *v = sum;
                        }
                        if reverse {
                            row.reverse();
                        }
                        want.extend(row);
                    }
                    let what = format!("{rows} x {n} of {dtype}, reverse {reverse}");
                    close(&t.read(y, rows * n), &want, 1e-6, 1e-6 * size, &what);
                }
            }
        }
    }
}
