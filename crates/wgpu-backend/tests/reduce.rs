//! Reductions: every operation, form and layout.

mod harness;

use harness::*;
use wgrad_core::*;

fn combine(op: ReduceOp, values: &[f64]) -> f64 {
    let better =
        |a: f64, b: f64, up: bool| !b.is_nan() && (a.is_nan() || if up { a > b } else { a < b });
    let best = |up: bool| {
        let mut at = 0;
        for (i, &v) in values.iter().enumerate() {
            if better(v, values[at], up) {
                at = i;
            }
        }
        at
    };
    match op {
        ReduceOp::Sum => values.iter().sum(),
        ReduceOp::Product => values.iter().product(),
        ReduceOp::Max => values[best(true)],
        ReduceOp::Min => values[best(false)],
        ReduceOp::ArgMax => best(true) as f64,
        ReduceOp::ArgMin => best(false) as f64,
        ReduceOp::Any => f64::from(values.iter().any(|&v| v != 0.0)),
        ReduceOp::All => f64::from(values.iter().all(|&v| v != 0.0)),
    }
}

const OPS: [ReduceOp; 7] = [
    ReduceOp::Sum,
    ReduceOp::Max,
    ReduceOp::Min,
    ReduceOp::ArgMax,
    ReduceOp::ArgMin,
    ReduceOp::Any,
    ReduceOp::All,
];

/// Reduces one view by an operation; checks against the reference.
fn check(
    gpu: &std::sync::Arc<wgrad_wgpu_backend::WgpuBackend>,
    op: ReduceOp,
    dtype: DType,
    values: &[f64],
    layout: Layout,
    reduced: usize,
) {
    let shape = layout.shape.clone();
    let kept: usize = shape[..shape.rank() - reduced].iter().product();
    let length: usize = shape[shape.rank() - reduced..].iter().product();
    if length == 0 && !matches!(op, ReduceOp::Sum | ReduceOp::Any | ReduceOp::All) {
        return;
    }
    let seen = view(&stored(dtype, values), &layout);
    let mut t = Trial::new(gpu);
    let x = t.operand(dtype, values, layout);
    let what = format!("{op:?} {dtype} {x:?} over {reduced}");
    let accumulator = Accumulator {
        op,
        dtype: dtype.compute(),
    };
    let y = t.output(accumulator.result(), kept);
    t.launch(
        Kernel::Reduce {
            shape,
            reduced,
            inputs: vec![x],
            prologue: pass_inputs(&[dtype]),
            accumulators: vec![accumulator],
            epilogue_inputs: vec![],
            epilogue: pass_on(accumulator.result()),
            outputs: vec![y],
        },
        &[],
    );
    t.run();
    let want: Vec<f64> = (0..kept)
        .map(|o| combine(op, &seen[o * length..(o + 1) * length]))
        .collect();
    let bound = if op == ReduceOp::Sum && dtype.is_float() {
        1e-6 * (length as f64).sqrt() * 3.0
    } else {
        0.0
    };
    close(&t.read(y, kept), &want, 0.0, bound, &what);
}

#[test]
fn operations_and_types() {
    let mut rng = Rng(11);
    for gpu in gpus() {
        for op in OPS {
            for dtype in [
                DType::F32,
                DType::F16,
                DType::BF16,
                DType::I32,
                DType::U32,
                DType::Bool,
            ] {
                if dtype == DType::Bool && op == ReduceOp::Sum {
                    continue;
                }
                if dtype != DType::Bool && matches!(op, ReduceOp::Any | ReduceOp::All) {
                    continue;
                }
                for shape in [[3usize, 7], [5, 100], [2, 1500], [1, 40_000]] {
                    let n = shape[0] * shape[1];
                    let values = rng.values(dtype, n);
                    check(
                        &gpu,
                        op,
                        dtype,
                        &values,
                        Layout::contiguous(shape.into()),
                        1,
                    );
                    // Columns.
                    let turned = Layout::contiguous([shape[1], shape[0]].into()).permute(&[1, 0]);
                    check(&gpu, op, dtype, &values, turned, 1);
                }
            }
        }
    }
}

/// The product of numbers of a type, whose integers wrap.
fn product(dtype: DType, x: &[f64]) -> f64 {
    let wrapped = x.iter().fold(1i64, |p, &v| p.wrapping_mul(v as i64));
    match dtype {
        DType::I64 => wrapped as f64,
        DType::I32 => f64::from(wrapped as i32),
        DType::U32 => f64::from(wrapped as u32),
        DType::U8 => f64::from(wrapped as u8),
        _ => x.iter().product(),
    }
}

#[test]
fn products() {
    let mut rng = Rng(17);
    for gpu in gpus() {
        for dtype in [DType::F32, DType::F16, DType::I32, DType::U32] {
            for shape in [
                [3usize, 1],
                [3, 7],
                [5, 100],
                [2, 1500],
                [1, 40_000],
                [4, 0],
            ] {
                let n = shape[0] * shape[1];
                let spread = 4.0 / (shape[1] as f64).sqrt();
                let values: Vec<f64> = match dtype {
                    DType::F32 => (0..n)
                        .map(|_| rng.range(1.0 - spread.min(0.5), 1.0 + spread.min(0.5)))
                        .collect(),
                    DType::F16 => (0..n).map(|_| [1.0, -1.0][rng.below(2)]).collect(),
                    // Odd, so that nothing is shifted out.
                    _ => (0..n).map(|_| [1.0, 3.0, 5.0, 7.0][rng.below(4)]).collect(),
                };
                let plain = Layout::contiguous(shape.into());
                let turned = Layout::contiguous([shape[1], shape[0]].into()).permute(&[1, 0]);
                for layout in [plain, turned] {
                    let seen = view(&stored(dtype, &values), &layout);
                    let mut t = Trial::new(&gpu);
                    let x = t.operand(dtype, &values, layout.clone());
                    let accumulator = Accumulator {
                        op: ReduceOp::Product,
                        dtype: dtype.compute(),
                    };
                    let y = t.output(accumulator.result(), shape[0]);
                    t.launch(
                        Kernel::Reduce {
                            shape: layout.shape.clone(),
                            reduced: 1,
                            inputs: vec![x],
                            prologue: pass_inputs(&[dtype]),
                            accumulators: vec![accumulator],
                            epilogue_inputs: vec![],
                            epilogue: pass_on(accumulator.result()),
                            outputs: vec![y],
                        },
                        &[],
                    );
                    t.run();
                    let rows = (0..shape[0]).map(|o| &seen[o * shape[1]..(o + 1) * shape[1]]);
                    let want: Vec<f64> = rows.map(|row| product(dtype, row)).collect();
                    let what = format!("{dtype} {shape:?} {layout:?}");
                    // Each factor is rounded, and each step.
                    let rounded = 1e-7 * (shape[1] as f64).sqrt() * 3.0;
                    let bound = if dtype == DType::F32 {
                        rounded + 1e-6
                    } else {
                        0.0
                    };
                    close(&t.read(y, shape[0]), &want, bound, 0.0, &what);
                }
            }
        }
    }
}

#[test]
fn shapes_and_layouts() {
    let mut rng = Rng(5);
    let shapes: &[(&[usize], usize)] = &[
        (&[], 0),
        (&[5], 1),
        (&[4], 0),
        (&[1, 1], 1),
        (&[3, 0], 1),
        (&[0, 3], 1),
        (&[6, 33], 1),
        (&[64, 65], 1),
        (&[65, 64], 1),
        (&[2, 3, 4], 2),
        (&[3, 4, 5], 1),
        (&[2, 3, 4, 5], 3),
        (&[7, 127], 1),
        (&[129, 3], 1),
        (&[4, 9, 8], 2),
        (&[300, 36], 1),
        (&[3, 1, 300], 1),
        (&[8, 1030], 1),
        (&[2, 5, 3, 8], 2),
    ];
    for gpu in gpus() {
        for _ in 0..5 {
            for &(shape, reduced) in shapes {
                let (layout, len) = rng.layout(shape);
                let values = rng.values(DType::F32, len);
                let op = OPS[rng.below(5)];
                check(&gpu, op, DType::F32, &values, layout, reduced);
            }
        }
    }
}

#[test]
fn long_reductions_are_split() {
    let mut rng = Rng(17);
    for gpu in gpus() {
        for op in [ReduceOp::Sum, ReduceOp::ArgMin, ReduceOp::Max] {
            for (kept, length) in [
                (1usize, 300_001usize),
                (3, 100_000),
                (10, 4096),
                (5, 20_003),
                (37, 5000),
            ] {
                let values = rng.values(DType::F32, kept * length);
                check(
                    &gpu,
                    op,
                    DType::F32,
                    &values,
                    Layout::contiguous([kept, length].into()),
                    1,
                );
                let turned = Layout::contiguous([length, kept].into()).permute(&[1, 0]);
                check(&gpu, op, DType::F32, &values, turned, 1);
            }
        }
    }
}

/// Columns short enough that workgroups which share bands of them need no second launch.
#[test]
fn columns_are_shared_in_bands() {
    let mut rng = Rng(29);
    for gpu in gpus() {
        for (kept, length) in [
            (4usize, 128usize),
            (5, 131),
            (37, 1000),
            (66, 1027),
            (130, 1024),
            (601, 300),
            (516, 4095),
        ] {
            for op in OPS.into_iter().chain([ReduceOp::Product]) {
                let mut values = rng.values(DType::F32, kept * length);
                if op == ReduceOp::Product {
                    values.iter_mut().for_each(|v| *v = v.signum());
                }
                let turned = Layout::contiguous([length, kept].into()).permute(&[1, 0]);
                check(&gpu, op, DType::F32, &values, turned, 1);
            }
            let turned = Layout::contiguous([length, kept + 3].into()).permute(&[1, 0]);
            let turned = turned.slice(0, 1, kept + 1, 1);
            let values = rng.values(DType::F16, (kept + 3) * length);
            check(&gpu, ReduceOp::ArgMax, DType::F16, &values, turned, 1);
        }
    }
}

/// Sums of up to 20 million positive terms, in every form, keep five digits. The terms lie in memory
/// once, by stride 0.
#[test]
fn positive_sums_keep_their_digits() {
    for gpu in gpus() {
        for (kept, length) in [
            (1usize, 20_000_000usize),
            (4, 5_000_000),
            (600, 80_000),
            (9, 131_073),
        ] {
            for column in [false, true] {
                let mut t = Trial::new(&gpu);
                let layout = Layout {
                    shape: [kept, length].into(),
                    // Neighbouring results beside each other, or not.
                    strides: if column { [1, 0] } else { [0, 0] }.into_iter().collect(),
                    offset: 0,
                };
                let x = t.operand(DType::F32, &vec![0.1; kept], layout);
                let y = t.output(DType::F32, kept);
                t.launch(
                    Kernel::Reduce {
                        shape: [kept, length].into(),
                        reduced: 1,
                        inputs: vec![x],
                        prologue: pass_inputs(&[DType::F32]),
                        accumulators: vec![Accumulator {
                            op: ReduceOp::Sum,
                            dtype: DType::F32,
                        }],
                        epilogue_inputs: vec![],
                        epilogue: pass_on(DType::F32),
                        outputs: vec![y],
                    },
                    &[],
                );
                t.run();
                let want = vec![f64::from(0.1f32) * length as f64; kept];
                let what = format!("{kept} x {length}, columns: {column}");
                close(&t.read(y, kept), &want, 1e-5, 0.0, &what);
            }
        }
    }
}

#[test]
fn nan_infinity_and_ties() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let rows = [
        [1.0, nan, 3.0, nan, 5.0],
        [-inf, -inf, -inf, -inf, -inf],
        [inf, 1.0, -inf, inf, -inf],
        [0.0, -0.0, 0.0, -0.0, 0.0],
        [2.0, 7.0, 7.0, 2.0, 7.0],
        [-1.0, -2.0, -3.0, -4.0, -5.0],
    ];
    let values: Vec<f64> = rows.concat();
    for gpu in gpus() {
        for op in [
            ReduceOp::Max,
            ReduceOp::Min,
            ReduceOp::ArgMax,
            ReduceOp::ArgMin,
        ] {
            check(
                &gpu,
                op,
                DType::F32,
                &values,
                Layout::contiguous([6, 5].into()),
                1,
            );
            let turned: Vec<f64> = (0..30).map(|i| rows[i % 6][i / 6]).collect();
            check(
                &gpu,
                op,
                DType::F32,
                &turned,
                Layout::contiguous([5, 6].into()).permute(&[1, 0]),
                1,
            );
        }
    }
}

#[test]
fn prologue_several_accumulators_and_epilogue() {
    let mut rng = Rng(23);
    let instr = |op, dtype, args: &[Arg]| Instr {
        op,
        dtype,
        args: args.iter().copied().collect(),
    };
    for gpu in gpus() {
        for (kept, length) in [(7usize, 50usize), (40, 9), (2, 70_000), (130, 1100)] {
            for turned in [false, true] {
                let n = kept * length;
                let a = rng.values(DType::F32, n);
                let bias = rng.values(DType::F32, kept);
                let layout = if turned {
                    Layout::contiguous([length, kept].into()).permute(&[1, 0])
                } else {
                    Layout::contiguous([kept, length].into())
                };
                let seen = view(&a, &layout);
                let mut t = Trial::new(&gpu);
                let x = t.operand(DType::F32, &a, layout);
                let z = t.dense(DType::F32, &bias, &[kept]);
                let (y0, y1) = (t.output(DType::F32, kept), t.output(DType::I32, kept));
                let prologue = Program {
                    inputs: vec![DType::F32],
                    scalars: vec![DType::F32],
                    instrs: vec![instr(
                        MapOp::Mul,
                        DType::F32,
                        &[Arg::Input(0), Arg::Scalar(0)],
                    )],
                    outputs: vec![(Arg::Instr(0), DType::F32), (Arg::Input(0), DType::F32)],
                    ..Program::default()
                };
                let epilogue = Program {
                    inputs: vec![DType::F32],
                    accumulators: vec![DType::F32, DType::I32],
                    scalars: vec![DType::F32],
                    instrs: vec![
                        instr(MapOp::Mul, DType::F32, &[Arg::Acc(0), Arg::Scalar(0)]),
                        instr(MapOp::Add, DType::F32, &[Arg::Instr(0), Arg::Input(0)]),
                    ],
                    outputs: vec![(Arg::Instr(1), DType::F32), (Arg::Acc(1), DType::I32)],
                };
                t.launch(
                    Kernel::Reduce {
                        shape: [kept, length].into(),
                        reduced: 1,
                        inputs: vec![x],
                        prologue,
                        accumulators: vec![
                            Accumulator {
                                op: ReduceOp::Sum,
                                dtype: DType::F32,
                            },
                            Accumulator {
                                op: ReduceOp::ArgMax,
                                dtype: DType::F32,
                            },
                        ],
                        epilogue_inputs: vec![z],
                        epilogue,
                        outputs: vec![y0, y1],
                    },
                    &[ScalarBits::float(2.0), ScalarBits::float(0.5)],
                );
                t.run();
                let row = |o: usize| &seen[o * length..(o + 1) * length];
                let sums: Vec<f64> = (0..kept)
                    .map(|o| row(o).iter().sum::<f64>() + bias[o])
                    .collect();
                let what = format!("{kept} {length} {turned}");
                close(
                    &t.read(y0, kept),
                    &sums,
                    0.0,
                    3e-6 * (length as f64).sqrt(),
                    &what,
                );
                let at: Vec<f64> = (0..kept)
                    .map(|o| combine(ReduceOp::ArgMax, row(o)))
                    .collect();
                close(&t.read(y1, kept), &at, 0.0, 0.0, &what);
            }
        }
    }
}
