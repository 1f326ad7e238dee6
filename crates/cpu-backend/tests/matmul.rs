//! Matrix products against `f64`, with the usual error bound.

mod harness;

use harness::*;
use wgrad_core::{
    Accumulator, Arg, DType, Instr, Kernel, Layout, MapOp, Operand, Program, ReduceOp, Shape,
};

fn plain(dtype: DType) -> Program {
    Program {
        accumulators: vec![dtype],
        outputs: vec![(Arg::Acc(0), dtype)],
        ..Program::default()
    }
}

struct Case {
    batch: Vec<usize>,
    m: usize,
    n: usize,
    k: usize,
    dtype: DType,
}

impl Case {
    fn shape(&self, rows: usize, columns: usize) -> Shape {
        self.batch.iter().copied().chain([rows, columns]).collect()
    }

    /// Runs with these operands; checks `epilogue(sum)` within `c k eps sum |a| |b|`.
    fn check(&self, mut bench: Bench, (a, x): (Operand, Vec<f64>), (b, y): (Operand, Vec<f64>)) {
        let Case { m, n, k, dtype, .. } = *self;
        let result = dtype.compute();
        let count = self.batch.iter().product::<usize>();
        let bias = (!result.is_integer()).then(|| {
            let data = Data::random(&mut Dice::new(4), result, n, -1.0, 1.0);
            let mut layout = Layout::contiguous(n.into());
            layout = layout.expand(&self.shape(m, n)).unwrap();
            (bench.input(data.clone(), layout), data.1)
        });
        let out = bench.output(result, count * m * n);
        let mut epilogue = plain(result);
        let mut epilogue_inputs = Vec::new();
        if let Some((operand, _)) = &bias {
            epilogue.inputs = vec![result];
            epilogue_inputs = vec![operand.clone()];
            epilogue.instrs = vec![Instr {
                op: MapOp::Add,
                dtype: result,
                args: [Arg::Acc(0), Arg::Input(0)].into_iter().collect(),
            }];
            epilogue.outputs = vec![(Arg::Instr(0), result)];
        }
        let got = bench.run(Kernel::MatMul {
            batch: Shape::new(&self.batch),
            m: m.into(),
            n: n.into(),
            k: k.into(),
            a,
            b,
            epilogue_inputs,
            epilogue,
            outputs: vec![out],
            sums: None,
        });
        let eps = if result == DType::F64 { 1.2e-16 } else { 6e-8 };
        for item in 0..count {
            for i in 0..m {
                for j in 0..n {
                    let add = bias.as_ref().map_or(0.0, |(_, values)| values[j]);
                    let (mut sum, mut size) = (add, add.abs());
                    for p in 0..k {
                        let product = x[(item * m + i) * k + p] * y[(item * k + p) * n + j];
                        sum += product;
                        size += product.abs();
                    }
                    let g = got[0][(item * m + i) * n + j];
                    let want = match dtype {
                        DType::U8 => f64::from(sum as u64 as u8),
                        _ => sum,
                    };
                    let slack = if result.is_integer() {
                        0.0
                    } else {
                        2.0 * (k + 2) as f64 * eps * size
                    };
                    assert!(
                        (g - want).abs() <= slack,
                        "{:?} {m}x{n}x{k} {dtype}: [{item}, {i}, {j}] is {g}, not {want}",
                        self.batch
                    );
                }
            }
        }
    }
}

#[test]
fn random_strides_and_sizes() {
    let mut dice = Dice::new(1);
    let sizes = [
        (1, 1, 1),
        (1, 7, 5),
        (7, 1, 5),
        (5, 7, 1),
        (1, 1, 300),
        (33, 17, 65),
        (64, 64, 64),
        (0, 3, 4),
        (3, 4, 0),
        (3, 0, 4),
        (100, 101, 77),
    ];
    for (m, n, k) in sizes {
        for batch in [vec![], vec![3], vec![2, 3]] {
            for dtype in [
                DType::F32,
                DType::F64,
                DType::F16,
                DType::BF16,
                DType::I32,
                DType::I64,
                DType::U32,
                DType::U8,
            ] {
                if m * n * k > 100_000 && !matches!(dtype, DType::F32 | DType::F16) {
                    continue;
                }
                let case = Case {
                    batch: batch.clone(),
                    m,
                    n,
                    k,
                    dtype,
                };
                let range = match dtype {
                    DType::U8 | DType::U32 => (0.0, 9.0),
                    _ => (-3.0, 3.0),
                };
                let mut bench = Bench::new();
                let a = bench.random(&mut dice, dtype, &case.shape(m, k), range);
                let b = bench.random(&mut dice, dtype, &case.shape(k, n), range);
                case.check(bench, a, b);
            }
        }
    }
}

/// Factors that are dense row by row or column by column.
fn check_transposed(dice: &mut Dice, (m, n, k): (usize, usize, usize), (ta, tb): (bool, bool)) {
    let case = Case {
        batch: vec![],
        m,
        n,
        k,
        dtype: DType::F32,
    };
    let mut bench = Bench::new();
    let mut operand = |rows: usize, columns: usize, transposed: bool| {
        let data = Data::random(dice, DType::F32, rows * columns, -1.0, 1.0);
        let layout = if transposed {
            Layout::contiguous([columns, rows].into()).permute(&[1, 0])
        } else {
            Layout::contiguous([rows, columns].into())
        };
        let values = view(&data.1, &layout);
        (bench.input(data, layout), values)
    };
    let a = operand(m, k, ta);
    let b = operand(k, n, tb);
    case.check(bench, a, b);
}

const WAYS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// Large enough for threads, in the four ways that training uses.
#[test]
fn transposes() {
    let mut dice = Dice::new(2);
    for sizes in [(130, 70, 300), (257, 300, 33), (200, 140, 600)] {
        for way in WAYS {
            check_transposed(&mut dice, sizes, way);
        }
    }
    // Tiles of all heights, whose columns are packed one after the other.
    for m in 33..=50 {
        for way in WAYS {
            check_transposed(&mut dice, (m, 128 + m % 3, 40), way);
        }
    }
}

/// Sizes around those of tiles, blocks and depths.
#[test]
fn edges_of_tiles_and_blocks() {
    let mut dice = Dice::new(5);
    for m in [1, 2, 3, 5, 6, 7, 12, 13, 24, 25, 97] {
        for n in [1, 8, 15, 16, 17, 31, 32, 33, 127, 129] {
            let k = [1, 2, 5, 192, 193, 255, 256, 257][dice.below(8)];
            let way = WAYS[dice.below(4)];
            check_transposed(&mut dice, (m, n, k), way);
        }
    }
}

/// One row, and B too large to be packed at once.
#[test]
fn thin_and_deep() {
    let mut dice = Dice::new(6);
    for way in WAYS {
        check_transposed(&mut dice, (1, 2100, 300), way);
        check_transposed(&mut dice, (2, 300, 2111), way);
        check_transposed(&mut dice, (7, 100, 40_000), way);
    }
}

/// The same bits in every run and in every row of equal operands, whatever threads and tiles do.
#[test]
fn bits_repeat() {
    let (m, n, k) = (301, 150, 270);
    let run = || {
        let mut dice = Dice::new(7);
        let mut bench = Bench::new();
        let row = Data::random(&mut dice, DType::F32, k, -1.0, 1.0);
        let layout = Layout::contiguous(k.into()).expand(&[m, k].into()).unwrap();
        let a = bench.input(row, layout);
        let (b, _) = bench.random(&mut dice, DType::F32, &[k, n].into(), (-1.0, 1.0));
        let out = bench.output(DType::F32, m * n);
        bench.run(Kernel::MatMul {
            batch: ().into(),
            m: m.into(),
            n: n.into(),
            k: k.into(),
            a,
            b,
            epilogue_inputs: vec![],
            epilogue: plain(DType::F32),
            outputs: vec![out],
            sums: None,
        })
    };
    let first = run();
    assert!(first[0].chunks(n).all(|row| row == &first[0][..n]));
    for _ in 0..3 {
        assert_eq!(run(), first);
    }
}

/// NaN and infinities reach the elements of their rows and columns and no others.
#[test]
fn not_a_number_stays_in_its_row() {
    for (m, n, k) in [(1, 40, 30), (7, 17, 30), (50, 130, 300)] {
        let mut bench = Bench::new();
        let mut a = vec![1.0; m * k];
        a[(m - 1) * k + 3] = f64::NAN;
        let mut b = vec![1.0; k * n];
        b[5 * n + n - 1] = f64::INFINITY;
        let a = bench.dense(Data(DType::F32, a), [m, k]);
        let b = bench.dense(Data(DType::F32, b), [k, n]);
        let out = bench.output(DType::F32, m * n);
        let got = bench.run(Kernel::MatMul {
            batch: ().into(),
            m: m.into(),
            n: n.into(),
            k: k.into(),
            a,
            b,
            epilogue_inputs: vec![],
            epilogue: plain(DType::F32),
            outputs: vec![out],
            sums: None,
        });
        for (e, &x) in got[0].iter().enumerate() {
            let (i, j) = (e / n, e % n);
            if i == m - 1 {
                assert!(x.is_nan());
            } else if j == n - 1 {
                assert_eq!(x, f64::INFINITY);
            } else {
                assert_eq!(x, k as f64);
            }
        }
    }
}

/// A product whose epilogue reads what lies where the output goes.
#[test]
fn sums_beside_the_product() {
    let mut dice = Dice::new(8);
    for (m, n, k) in [(1, 1, 1), (5, 3, 7), (40, 50, 300), (3, 4, 0)] {
        for of_a in [true, false] {
            let mut bench = Bench::new();
            let (a, x) = bench.random(&mut dice, DType::F32, &[m, k].into(), (-1.0, 1.0));
            let (b, y) = bench.random(&mut dice, DType::F32, &[k, n].into(), (-1.0, 1.0));
            let product = bench.output(DType::F32, m * n);
            let operand = match of_a {
                true => a.clone(),
                false => Operand {
                    layout: b.layout.permute(&[1, 0]),
                    ..b.clone()
                },
            };
            let results = operand.layout.shape[0];
            let sums = bench.output(DType::F32, results);
            let kernel = Kernel::Reduce {
                shape: operand.layout.shape.clone(),
                reduced: 1,
                inputs: vec![operand],
                prologue: Program {
                    inputs: vec![DType::F32],
                    outputs: vec![(Arg::Input(0), DType::F32)],
                    ..Program::default()
                },
                accumulators: vec![Accumulator {
                    op: ReduceOp::Sum,
                    dtype: DType::F32,
                }],
                epilogue_inputs: vec![],
                epilogue: plain(DType::F32),
                outputs: vec![sums],
            };
            let got = bench.run(Kernel::MatMul {
                batch: ().into(),
                m: m.into(),
                n: n.into(),
                k: k.into(),
                a,
                b,
                epilogue_inputs: vec![],
                epilogue: plain(DType::F32),
                outputs: vec![product],
                sums: Some(Box::new(kernel)),
            });
            let product = (0..m * n).map(|e| {
                let (i, j) = (e / n, e % n);
                (0..k).map(|p| x[i * k + p] * y[p * n + j]).sum()
            });
            let sums = (0..results).map(|r| match of_a {
                true => (0..k).map(|p| x[r * k + p]).sum(),
                false => (0..k).map(|p| y[p * n + r]).sum(),
            });
            assert_near(&got[0], &product.collect::<Vec<f64>>(), 1e-4);
            assert_near(&got[1], &sums.collect::<Vec<f64>>(), 1e-4);
        }
    }
}

#[test]
fn output_over_an_operand() {
    let mut dice = Dice::new(3);
    let (m, n, k) = (40, 50, 30);
    let mut bench = Bench::new();
    let a = bench.random(&mut dice, DType::F32, &[m, k].into(), (-1.0, 1.0));
    let b = bench.random(&mut dice, DType::F32, &[k, n].into(), (-1.0, 1.0));
    let c = Data::random(&mut dice, DType::F32, m * n, -1.0, 1.0);
    let operand = bench.dense(c.clone(), [m, n]);
    let over = wgrad_core::Output {
        buffer: operand.buffer,
        dtype: DType::F32,
    };
    let mut epilogue = plain(DType::F32);
    epilogue.inputs = vec![DType::F32];
    epilogue.instrs = vec![Instr {
        op: MapOp::Add,
        dtype: DType::F32,
        args: [Arg::Acc(0), Arg::Input(0)].into_iter().collect(),
    }];
    epilogue.outputs = vec![(Arg::Instr(0), DType::F32)];
    let (all, _) = bench.run_all(Kernel::MatMul {
        batch: ().into(),
        m: m.into(),
        n: n.into(),
        k: k.into(),
        a: a.0,
        b: b.0,
        epilogue_inputs: vec![operand],
        epilogue,
        outputs: vec![over],
        sums: None,
    });
    let want: Vec<f64> = (0..m * n)
        .map(|e| {
            let (i, j) = (e / n, e % n);
            let sum: f64 = (0..k).map(|p| a.1[i * k + p] * b.1[p * n + j]).sum();
            sum + c.1[e]
        })
        .collect();
    assert_near(&all[2], &want, 1e-5);
}
