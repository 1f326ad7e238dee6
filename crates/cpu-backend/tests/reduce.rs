//! Reductions against `f64`, over random splits and layouts.

mod harness;

use harness::*;
use wgrad_core::{Accumulator, Arg, DType, Instr, Kernel, MapOp, Program, ReduceOp, Shape};

fn identity(dtype: DType) -> Program {
    Program {
        inputs: vec![dtype],
        outputs: vec![(Arg::Input(0), dtype.compute())],
        ..Program::default()
    }
}

fn results(accumulators: &[Accumulator]) -> Program {
    Program {
        accumulators: accumulators.iter().map(Accumulator::result).collect(),
        outputs: accumulators
            .iter()
            .enumerate()
            .map(|(i, a)| (Arg::Acc(i as u16), a.result()))
            .collect(),
        ..Program::default()
    }
}

fn reference(op: ReduceOp, x: &[f64]) -> f64 {
    let best = |better: fn(f64, f64) -> bool| {
        let mut at = 0;
        for (i, &v) in x.iter().enumerate() {
            if !x[at].is_nan() && (v.is_nan() || better(v, x[at])) {
                at = i;
            }
        }
        at
    };
    match op {
        ReduceOp::Sum => x.iter().sum(),
        ReduceOp::Product => x.iter().product(),
        ReduceOp::Max => x[best(|a, b| a > b)],
        ReduceOp::Min => x[best(|a, b| a < b)],
        ReduceOp::ArgMax => best(|a, b| a > b) as f64,
        ReduceOp::ArgMin => best(|a, b| a < b) as f64,
        ReduceOp::Any => f64::from(u8::from(x.iter().any(|&v| v != 0.0))),
        ReduceOp::All => f64::from(u8::from(x.iter().all(|&v| v != 0.0))),
    }
}

const NUMERIC: [ReduceOp; 5] = [
    ReduceOp::Sum,
    ReduceOp::Max,
    ReduceOp::Min,
    ReduceOp::ArgMax,
    ReduceOp::ArgMin,
];

fn check(dice: &mut Dice, shape: &Shape, reduced: usize, dtype: DType, layout: usize) {
    let kept = Shape::new(&shape[..shape.rank() - reduced]);
    let each = Shape::new(&shape[shape.rank() - reduced..]).numel();
    let mut bench = Bench::new();
    let (low, high) = match dtype {
        DType::Bool => (0.0, 1.001),
        DType::U8 | DType::U32 => (0.0, 50.0),
        _ => (-40.0, 40.0),
    };
    let (operand, x) = if layout == 0 {
        let data = Data::random(dice, dtype, shape.numel(), low, high);
        let x = data.1.clone();
        (bench.dense(data, shape.clone()), x)
    } else {
        bench.random(dice, dtype, shape, (low, high))
    };
    let ops: &[ReduceOp] = match (dtype, each) {
        (DType::Bool, _) => &[ReduceOp::Any, ReduceOp::All],
        (_, 0) => &[ReduceOp::Sum],
        _ => &NUMERIC,
    };
    let accumulators: Vec<_> = ops
        .iter()
        .map(|&op| Accumulator {
            op,
            dtype: dtype.compute(),
        })
        .collect();
    let outputs = accumulators
        .iter()
        .map(|a| bench.output(a.result(), kept.numel()))
        .collect();
    let mut prologue = identity(dtype);
    prologue.outputs = vec![prologue.outputs[0]; ops.len()];
    let got = bench.run(Kernel::Reduce {
        shape: shape.clone(),
        reduced,
        inputs: vec![operand],
        prologue,
        epilogue: results(&accumulators),
        accumulators,
        epilogue_inputs: vec![],
        outputs,
    });
    for (o, &op) in ops.iter().enumerate() {
        for k in 0..kept.numel() {
            let part = &x[k * each..(k + 1) * each];
            let want = reference(op, part);
            let g = got[o][k];
            let near = if op == ReduceOp::Sum && dtype.compute() == DType::F32 {
                let size: f64 = part.iter().map(|v| v.abs()).sum();
                (g - want).abs() <= 1e-6 * size + 1e-6 * want.abs()
            } else if op == ReduceOp::Sum && dtype == DType::U8 {
                g == (want as u64 as u8).into()
            } else if dtype == DType::F64 {
                same(g, want) || (g - want).abs() <= 1e-9
            } else {
                same(g, want)
            };
            assert!(
                near,
                "{op:?} {dtype} {shape} -{reduced}: element {k} is {g}, not {want}"
            );
        }
    }
}

#[test]
fn all_operations_over_all_shapes() {
    let mut dice = Dice::new(1);
    let shapes: [(&[usize], usize); 24] = [
        (&[1], 1),
        (&[], 0),
        (&[0], 1),
        (&[5, 0], 1),
        (&[0, 5], 1),
        (&[7], 0),
        (&[1023], 1),
        (&[1024], 1),
        (&[1025], 1),
        (&[100_000], 1),
        (&[3, 70_000], 1),
        (&[150_001], 1),
        (&[10, 10_007], 1),
        (&[3, 5], 1),
        (&[40, 67], 1),
        (&[67, 40, 3], 2),
        (&[67, 40, 3], 1),
        (&[1500, 2], 1),
        (&[1100, 130], 1),
        (&[2, 3, 4, 5], 3),
        (&[2, 3, 4, 5], 2),
        (&[500, 600], 1),
        (&[6, 8, 14, 14], 3),
        (&[300, 1], 1),
    ];
    let types = [
        DType::F32,
        DType::F64,
        DType::I32,
        DType::I64,
        DType::U32,
        DType::U8,
        DType::F16,
        DType::BF16,
        DType::Bool,
    ];
    for (i, &(dims, reduced)) in shapes.iter().enumerate() {
        let shape = Shape::new(dims);
        for (j, &dtype) in types.iter().enumerate() {
            // Large shapes with a type or two each.
            if shape.numel() > 20_000 && (i + j) % 6 != 0 && dtype != DType::F32 {
                continue;
            }
            for layout in 0..3 {
                check(&mut dice, &shape, reduced, dtype, layout);
            }
        }
    }
}

/// Sums over the rows of matrices of all widths: the way by columns.
#[test]
fn columns() {
    let mut dice = Dice::new(5);
    for (rows, width) in [
        (100_000, 1),
        (30_011, 3),
        (9001, 10),
        (700, 1023),
        (300, 1025),
        (65, 2500),
        (70, 5000),
        (3, 7),
        (1000, 129),
    ] {
        for dtype in [DType::F32, DType::I32, DType::F64] {
            let mut bench = Bench::new();
            let data = Data::random(&mut dice, dtype, rows * width, -9.0, 9.0);
            let x = data.1.clone();
            let operand = bench.dense(data, [rows, width]);
            let operand = wgrad_core::Operand {
                layout: operand.layout.permute(&[1, 0]),
                ..operand
            };
            let accumulators: Vec<_> = NUMERIC.map(|op| Accumulator { op, dtype }).to_vec();
            let outputs = accumulators
                .iter()
                .map(|a| bench.output(a.result(), width))
                .collect();
            let mut prologue = identity(dtype);
            prologue.outputs = vec![prologue.outputs[0]; NUMERIC.len()];
            let got = bench.run(Kernel::Reduce {
                shape: [width, rows].into(),
                reduced: 1,
                inputs: vec![operand],
                prologue,
                epilogue: results(&accumulators),
                accumulators,
                epilogue_inputs: vec![],
                outputs,
            });
            for c in 0..width {
                let part: Vec<f64> = (0..rows).map(|r| x[r * width + c]).collect();
                let size: f64 = part.iter().map(|v| v.abs()).sum();
                for (o, &op) in NUMERIC.iter().enumerate() {
                    let want = reference(op, &part);
                    let slack = if op == ReduceOp::Sum {
                        2e-7 * size
                    } else {
                        0.0
                    };
                    assert!(
                        (got[o][c] - want).abs() <= slack,
                        "{op:?} {dtype} {rows}x{width} column {c}: {}, not {want}",
                        got[o][c]
                    );
                }
            }
        }
    }
}

#[test]
fn nan_wins_and_the_first_of_equals() {
    let n = f64::NAN;
    for (values, at) in [
        (vec![1.0, n, 5.0, n], 1),
        (vec![3.0, 7.0, 7.0, 1.0], 1),
        (vec![n, 9.0], 0),
        (vec![f64::NEG_INFINITY, f64::NEG_INFINITY], 0),
    ] {
        for transposed in [false, true] {
            // The same values in each of 40 kept elements.
            let (kept, each) = (40, values.len());
            let mut bench = Bench::new();
            let mut layout = wgrad_core::Layout::contiguous([kept, each].into());
            let mut data = Vec::new();
            if transposed {
                values.iter().for_each(|&v| data.extend(vec![v; kept]));
                layout.strides = [1, kept as isize].into_iter().collect();
            } else {
                (0..kept).for_each(|_| data.extend(&values));
            }
            let operand = bench.input(Data(DType::F32, data), layout);
            let accumulators = vec![
                Accumulator {
                    op: ReduceOp::Max,
                    dtype: DType::F32,
                },
                Accumulator {
                    op: ReduceOp::ArgMax,
                    dtype: DType::F32,
                },
            ];
            let outputs = vec![
                bench.output(DType::F32, kept),
                bench.output(DType::I32, kept),
            ];
            let mut prologue = identity(DType::F32);
            prologue.outputs = vec![prologue.outputs[0]; 2];
            let got = bench.run(Kernel::Reduce {
                shape: [kept, each].into(),
                reduced: 1,
                inputs: vec![operand],
                prologue,
                epilogue: results(&accumulators),
                accumulators,
                epilogue_inputs: vec![],
                outputs,
            });
            assert_same(&got[0], &vec![values[at]; kept]);
            assert_same(&got[1], &vec![at as f64; kept]);
        }
    }
}

/// A mean of squares with a prologue, an epilogue with an operand, and a scalar for each.
#[test]
fn prologue_and_epilogue() {
    let mut dice = Dice::new(9);
    for (kept, each) in [(1500, 33), (7, 3000), (1, 200_000), (2100, 1)] {
        let mut bench = Bench::new();
        let shape = Shape::from([kept, each]);
        let (a, x) = bench.random(&mut dice, DType::F32, &shape, (-1.0, 1.0));
        let (b, y) = bench.random(&mut dice, DType::F32, &Shape::from(kept), (-1.0, 1.0));
        bench.scalars = vec![
            wgrad_core::ScalarBits::float(3.0),
            wgrad_core::ScalarBits::float(1.0 / each as f64),
        ];
        let out = bench.output(DType::F32, kept);
        let op = |op, args: &[Arg]| Instr {
            op,
            dtype: DType::F32,
            args: args.iter().copied().collect(),
        };
        let got = bench.run(Kernel::Reduce {
            shape,
            reduced: 1,
            inputs: vec![a],
            prologue: Program {
                inputs: vec![DType::F32],
                scalars: vec![DType::F32],
                instrs: vec![
                    op(MapOp::Sqr, &[Arg::Input(0)]),
                    op(MapOp::Mul, &[Arg::Instr(0), Arg::Scalar(0)]),
                ],
                outputs: vec![(Arg::Instr(1), DType::F32)],
                ..Program::default()
            },
            accumulators: vec![Accumulator {
                op: ReduceOp::Sum,
                dtype: DType::F32,
            }],
            epilogue_inputs: vec![b],
            epilogue: Program {
                inputs: vec![DType::F32],
                accumulators: vec![DType::F32],
                scalars: vec![DType::F32],
                instrs: vec![
                    op(MapOp::Mul, &[Arg::Acc(0), Arg::Scalar(0)]),
                    op(MapOp::Add, &[Arg::Instr(0), Arg::Input(0)]),
                ],
                outputs: vec![(Arg::Instr(1), DType::F32)],
            },
            outputs: vec![out],
        });
        let want: Vec<f64> = (0..kept)
            .map(|k| {
                let row = &x[k * each..(k + 1) * each];
                row.iter().map(|v| 3.0 * v * v).sum::<f64>() / each as f64 + y[k]
            })
            .collect();
        assert_near(&got[0], &want, 1e-6);
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
    let mut dice = Dice::new(23);
    for dtype in [
        DType::F64,
        DType::F32,
        DType::F16,
        DType::I64,
        DType::I32,
        DType::U32,
        DType::U8,
    ] {
        for (rows, n) in [
            (3usize, 0usize),
            (3, 1),
            (5, 7),
            (2, 1500),
            (1, 70_000),
            (300, 33),
        ] {
            for columns in [false, true] {
                let shape: Shape = if columns {
                    [n, rows].into()
                } else {
                    [rows, n].into()
                };
                let mut bench = Bench::new();
                let range = match dtype.is_float() {
                    true => (
                        1.0 - 0.3 / (1.0 + n as f64).sqrt(),
                        1.0 + 0.3 / (1.0 + n as f64).sqrt(),
                    ),
                    false => (1.0, 4.0),
                };
                let (mut operand, x) = bench.random(&mut dice, dtype, &shape, range);
                let mut x = x;
                if columns {
                    operand.layout = operand.layout.permute(&[1, 0]);
                    x = (0..rows * n).map(|i| x[i % n * rows + i / n]).collect();
                }
                let accumulators = vec![Accumulator {
                    op: ReduceOp::Product,
                    dtype: dtype.compute(),
                }];
                let outputs = vec![bench.output(accumulators[0].result(), rows)];
                let got = bench.run(Kernel::Reduce {
                    shape: [rows, n].into(),
                    reduced: 1,
                    inputs: vec![operand],
                    prologue: identity(dtype),
                    epilogue: results(&accumulators),
                    accumulators,
                    epilogue_inputs: vec![],
                    outputs,
                });
                for r in 0..rows {
                    let want = product(dtype, &x[r * n..(r + 1) * n]);
                    let tolerance = match dtype {
                        DType::F32 | DType::F16 => 1e-7 * want.abs(),
                        DType::F64 => 1e-12 * want.abs(),
                        _ => 0.0,
                    };
                    let near = (got[0][r] - want).abs() <= tolerance;
                    assert!(
                        near,
                        "{dtype} {rows} x {n}, row {r}: {}, not {want}",
                        got[0][r]
                    );
                }
            }
        }
    }
}
