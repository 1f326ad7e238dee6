//! Matrix products: every kernel at every edge, transposed, batched, with epilogues.

mod harness;

use std::sync::Arc;

use harness::*;
use wgrad_core::*;
use wgrad_wgpu_backend::{MatmulChoice, WgpuBackend, WgpuOptions};

/// How an operand lies: row-major, column-major, or with gaps.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Lie {
    Rows,
    Columns,
    Gaps,
}

fn layout(lie: Lie, rows: usize, columns: usize) -> (Layout, usize) {
    match lie {
        Lie::Rows => (Layout::contiguous([rows, columns].into()), rows * columns),
        Lie::Columns => (
            Layout::contiguous([columns, rows].into()).permute(&[1, 0]),
            rows * columns,
        ),
        Lie::Gaps => {
            let base = Layout::contiguous([rows * 2 + 1, columns * 3 + 1].into());
            let n = base.shape.numel();
            (base.slice(0, 1, rows, 2).slice(1, 1, columns, 3), n)
        }
    }
}

/// Twice the sums over `k` of A's rows (`a` is `[m, k]`) or B's columns (`[n, k]`).
fn sums(t: &mut Trial, operand: &Operand, out: DType) -> (Kernel, Output) {
    let shape = operand.layout.shape.clone();
    let output = t.output(out, shape[0]);
    let kernel = Kernel::Reduce {
        shape,
        reduced: 1,
        inputs: vec![operand.clone()],
        prologue: Program {
            inputs: vec![operand.dtype],
            outputs: vec![(Arg::Input(0), out)],
            ..Program::default()
        },
        accumulators: vec![Accumulator {
            op: ReduceOp::Sum,
            dtype: out,
        }],
        epilogue_inputs: vec![],
        epilogue: Program {
            accumulators: vec![out],
            scalars: vec![out],
            instrs: vec![Instr {
                op: MapOp::Mul,
                dtype: out,
                args: [Arg::Acc(0), Arg::Scalar(0)].into_iter().collect(),
            }],
            outputs: vec![(Arg::Instr(0), out)],
            ..Program::default()
        },
        outputs: vec![output],
    };
    (kernel, output)
}

fn check(
    gpu: &Arc<WgpuBackend>,
    [m, n, k]: [usize; 3],
    [la, lb]: [Lie; 2],
    dtype: DType,
    rng: &mut Rng,
) {
    let (a_layout, a_len) = layout(la, m, k);
    let (b_layout, b_len) = layout(lb, k, n);
    let a = rng.values(dtype, a_len.max(1));
    let b = rng.values(dtype, b_len.max(1));
    let (av, bv) = (view(&a, &a_layout), view(&b, &b_layout));
    let what = format!("{m}x{k}x{n} {la:?} {lb:?} {dtype}");
    let mut t = Trial::new(gpu);
    let a = t.operand(dtype, &a, a_layout);
    let b = t.operand(dtype, &b, b_layout);
    let out = dtype.compute();
    let y = t.output(out, m * n);
    // Without sums, with those of A's rows, and with those of B's columns.
    let turned = Operand {
        layout: b.layout.permute(&[1, 0]),
        ..b.clone()
    };
    let beside = [None, Some((&a, m)), Some((&turned, n))][rng.below(3)];
    let beside = beside.map(|(operand, len)| (sums(&mut t, operand, out), len));
    let mut epilogue = pass_on(out);
    epilogue.scalars = vec![out];
    epilogue.instrs = vec![Instr {
        op: MapOp::Add,
        dtype: out,
        args: [Arg::Acc(0), Arg::Scalar(0)].into_iter().collect(),
    }];
    epilogue.outputs = vec![(Arg::Instr(0), out)];
    // Sometimes with random numbers, which depend on an element's place in the result.
    let draws = out == DType::F32 && rng.below(16) == 0;
    if draws {
        epilogue.scalars.extend([DType::U32; 4]);
        epilogue.instrs.push(Instr {
            op: MapOp::Uniform,
            dtype: out,
            args: (1..5).map(Arg::Scalar).collect(),
        });
        epilogue.instrs.push(Instr {
            op: MapOp::Add,
            dtype: out,
            args: [Arg::Instr(0), Arg::Instr(1)].into_iter().collect(),
        });
        epilogue.outputs = vec![(Arg::Instr(2), out)];
    }
    let number = |v: i64| match out.is_float() {
        true => ScalarBits::float(v as f64),
        false => ScalarBits::integer(v),
    };
    let mut scalars = vec![number(3)];
    if draws {
        scalars.extend([5, 6, 7, 8].map(ScalarBits::integer));
    }
    if beside.is_some() {
        scalars.push(number(2));
    }
    t.launch(
        Kernel::MatMul {
            batch: ().into(),
            m: m.into(),
            n: n.into(),
            k: k.into(),
            a: a.clone(),
            b: b.clone(),
            epilogue_inputs: vec![],
            epilogue,
            outputs: vec![y],
            sums: beside
                .as_ref()
                .map(|((kernel, _), _)| Box::new(kernel.clone())),
        },
        &scalars,
    );
    t.run();
    let mut want = vec![3.0; m * n];
    for i in 0..m {
        for l in 0..k {
            for j in 0..n {
                want[i * n + j] += av[i * k + l] * bv[l * n + j];
            }
        }
    }
    if draws {
        for (i, sum) in want.iter_mut().enumerate() {
            let words = random::philox([i as u32 / 4, 0, 7, 8], [5, 6]);
            *sum += f64::from(random::unit(words[i % 4]));
        }
    }
    let of_rows: Vec<f64> = (0..m)
        .map(|i| 2.0 * (0..k).map(|l| av[i * k + l]).sum::<f64>())
        .collect();
    let of_columns: Vec<f64> = (0..n)
        .map(|j| 2.0 * (0..k).map(|l| bv[l * n + j]).sum::<f64>())
        .collect();
    let bound = if dtype.is_float() {
        2e-6 * (k as f64 + 1.0)
    } else {
        0.0
    };
    close(&t.read(y, m * n), &want, 0.0, bound, &what);
    if let Some(((kernel, output), len)) = beside
        && m * n > 0
    {
        let Kernel::Reduce { inputs, .. } = kernel else {
            unreachable!()
        };
        let want = if inputs[0] == a { of_rows } else { of_columns };
        close(
            &t.read(output, len),
            &want,
            0.0,
            bound,
            &format!("{what}, sums"),
        );
    }
}

const SIZES: [usize; 13] = [1, 2, 3, 5, 16, 17, 31, 33, 63, 64, 65, 127, 129];

fn edges(choice: MatmulChoice, seed: u64) {
    let Some(gpu) = with_matmul(choice) else {
        return;
    };
    let mut rng = Rng(seed);
    let lies = [
        [Lie::Rows, Lie::Rows],
        [Lie::Rows, Lie::Columns],
        [Lie::Columns, Lie::Rows],
        [Lie::Gaps, Lie::Gaps],
        [Lie::Columns, Lie::Columns],
    ];
    // Each size in each place, with the others at random; the layouts in turn.
    for place in 0..3 {
        for (i, size) in SIZES.into_iter().enumerate() {
            for lie in [lies[(i + place) % 5], lies[(i + place + 2) % 5]] {
                let mut shape = [
                    SIZES[rng.below(13)],
                    SIZES[rng.below(13)],
                    SIZES[rng.below(13)],
                ];
                shape[place] = size;
                check(&gpu, shape, lie, DType::F32, &mut rng);
            }
        }
    }
    for lie in lies {
        check(&gpu, [64, 64, 64], lie, DType::F32, &mut rng);
        check(&gpu, [132, 68, 36], lie, DType::F32, &mut rng);
        check(&gpu, [8, 12, 0], lie, DType::F32, &mut rng);
        check(&gpu, [20, 24, 600], lie, DType::F32, &mut rng);
        for dtype in [DType::F16, DType::BF16, DType::I32, DType::U32] {
            check(&gpu, [20, 28, 36], lie, dtype, &mut rng);
            check(&gpu, [7, 9, 11], lie, dtype, &mut rng);
        }
    }
    check(&gpu, [0, 5, 5], lies[0], DType::F32, &mut rng);
}

#[test]
fn registers() {
    edges(MatmulChoice::Registers, 1);
}

#[test]
fn lanes() {
    edges(MatmulChoice::Lanes, 6);
}

#[test]
fn tile_64() {
    edges(MatmulChoice::Tile64, 2);
}

#[test]
fn tile_128() {
    edges(MatmulChoice::Tile128, 3);
}

#[test]
fn dot() {
    edges(MatmulChoice::Dot, 4);
}

#[test]
fn split_k() {
    edges(MatmulChoice::SplitK, 5);
}

#[test]
fn chosen_by_shape() {
    let mut rng = Rng(9);
    for gpu in gpus() {
        for shape in [
            [1, 300, 1000],
            [4, 4, 3000],
            [300, 1, 700],
            [2, 64, 64],
            [64, 10, 4096],
            [500, 501, 33],
            [3, 1000, 8],
            [130, 4, 65],
        ] {
            for lie in [
                [Lie::Rows, Lie::Rows],
                [Lie::Rows, Lie::Columns],
                [Lie::Columns, Lie::Rows],
            ] {
                check(&gpu, shape, lie, DType::F32, &mut rng);
            }
        }
    }
}

/// Batches that broadcast, bias along columns, a full operand, and two outputs.
fn epilogues(gpu: &Arc<WgpuBackend>) {
    let mut rng = Rng(12);
    let instr = |op, dtype, args: &[Arg]| Instr {
        op,
        dtype,
        args: args.iter().copied().collect(),
    };
    for [m, n, k] in [
        [5usize, 7usize, 9usize],
        [65, 68, 20],
        [1, 8, 4],
        [130, 12, 40],
    ] {
        let batch = [2usize, 3usize];
        let count = 6 * m * n;
        let a = rng.values(DType::F32, 2 * m * k);
        let b = rng.values(DType::F32, 3 * k * n);
        let bias = rng.values(DType::F32, n);
        let full = rng.values(DType::F32, count);
        let mut t = Trial::new(gpu);
        let al = Layout::contiguous([2, 1, m, k].into())
            .expand(&[2, 3, m, k].into())
            .unwrap();
        let bl = Layout::contiguous([1, 3, k, n].into())
            .expand(&[2, 3, k, n].into())
            .unwrap();
        let zl = Layout::contiguous([n].into())
            .expand(&[2, 3, m, n].into())
            .unwrap();
        let (a_view, b_view) = (view(&a, &al), view(&b, &bl));
        let a = t.operand(DType::F32, &a, al);
        let b = t.operand(DType::F32, &b, bl);
        let z0 = t.operand(DType::F32, &bias, zl);
        let z1 = t.dense(DType::F32, &full, &[2, 3, m, n]);
        let y = [
            t.output(DType::F32, count),
            t.output(DType::Bool, count),
            t.output(DType::I32, count),
        ];
        let epilogue = Program {
            inputs: vec![DType::F32, DType::F32],
            accumulators: vec![DType::F32],
            scalars: vec![DType::F32],
            instrs: vec![
                instr(MapOp::Add, DType::F32, &[Arg::Acc(0), Arg::Input(0)]),
                instr(MapOp::Mul, DType::F32, &[Arg::Input(1), Arg::Scalar(0)]),
                instr(MapOp::Add, DType::F32, &[Arg::Instr(0), Arg::Instr(1)]),
                instr(MapOp::Relu, DType::F32, &[Arg::Instr(2)]),
                instr(MapOp::Gt, DType::Bool, &[Arg::Instr(2), Arg::Input(0)]),
                instr(MapOp::Index, DType::I32, &[]),
            ],
            outputs: vec![
                (Arg::Instr(3), DType::F32),
                (Arg::Instr(4), DType::Bool),
                (Arg::Instr(5), DType::I32),
            ],
        };
        t.launch(
            Kernel::MatMul {
                batch: batch.into(),
                m: m.into(),
                n: n.into(),
                k: k.into(),
                a,
                b,
                epilogue_inputs: vec![z0, z1],
                epilogue,
                outputs: y.to_vec(),
                sums: None,
            },
            &[ScalarBits::float(0.25)],
        );
        t.run();
        let mut sum = vec![0.0; count];
        for (e, s) in sum.iter_mut().enumerate() {
            let (g, i, j) = (e / (m * n), e / n % m, e % n);
            for l in 0..k {
                *s += a_view[(g * m + i) * k + l] * b_view[(g * k + l) * n + j];
            }
            *s += bias[j] + full[e] * 0.25;
        }
        let relu: Vec<f64> = sum.iter().map(|s| s.max(0.0)).collect();
        close(&t.read(y[0], count), &relu, 0.0, 1e-4, "relu");
        let above: Vec<f64> = sum
            .iter()
            .enumerate()
            .map(|(e, s)| f64::from(*s > bias[e % n]))
            .collect();
        let differ = t
            .read(y[1], count)
            .iter()
            .zip(&above)
            .filter(|(a, b)| a != b)
            .count();
        assert!(differ < 3, "{differ}");
        let index: Vec<f64> = (0..count).map(|e| e as f64).collect();
        close(&t.read(y[2], count), &index, 0.0, 0.0, "index");
    }
}

#[test]
fn epilogues_and_batches() {
    for choice in [
        MatmulChoice::Registers,
        MatmulChoice::Lanes,
        MatmulChoice::Tile64,
        MatmulChoice::Tile128,
        MatmulChoice::Dot,
        MatmulChoice::SplitK,
        MatmulChoice::Auto,
    ] {
        if let Some(gpu) = with_matmul(choice) {
            epilogues(&gpu);
        }
    }
}

/// Products so deep that each form sums sums: right, and exact to five digits where all terms are
/// positive.
#[test]
fn deep_products() {
    for choice in [
        MatmulChoice::Lanes,
        MatmulChoice::Registers,
        MatmulChoice::Tile64,
        MatmulChoice::Tile128,
        MatmulChoice::SplitK,
        MatmulChoice::Dot,
    ] {
        let Some(gpu) = with_matmul(choice) else {
            return;
        };
        let mut rng = Rng(91);
        for (lies, k) in [
            ([Lie::Rows, Lie::Rows], 5003),
            ([Lie::Columns, Lie::Columns], 2304),
            ([Lie::Rows, Lie::Columns], 4096),
            ([Lie::Gaps, Lie::Gaps], 2111),
            ([Lie::Columns, Lie::Rows], 17_003),
        ] {
            check(&gpu, [5, 6, k], lies, DType::F32, &mut rng);
        }
        check(&gpu, [5, 6, 3001], [Lie::Rows; 2], DType::I32, &mut rng);
        let (m, n, k) = (3, 5, 70_003);
        for lies in [[Lie::Rows, Lie::Rows], [Lie::Columns, Lie::Columns]] {
            let mut t = Trial::new(&gpu);
            let a = t.operand(DType::F32, &vec![0.1; m * k], layout(lies[0], m, k).0);
            let b = t.operand(DType::F32, &vec![1.0; k * n], layout(lies[1], k, n).0);
            let y = t.output(DType::F32, m * n);
            t.launch(
                Kernel::MatMul {
                    batch: ().into(),
                    m: m.into(),
                    n: n.into(),
                    k: k.into(),
                    a,
                    b,
                    epilogue_inputs: vec![],
                    epilogue: pass_on(DType::F32),
                    outputs: vec![y],
                    sums: None,
                },
                &[],
            );
            t.run();
            let want = vec![f64::from(0.1f32) * k as f64; m * n];
            let what = format!("{choice:?} {lies:?}");
            close(&t.read(y, m * n), &want, 1e-5, 0.0, &what);
        }
    }
}

#[test]
fn tuned_products_are_right() {
    for family in families() {
        let options = WgpuOptions {
            tune: true,
            ..family
        };
        let Some(gpu) = open(&options) else { return };
        let mut rng = Rng(77);
        let before = gpu.stats().pipelines;
        for (size, lies) in [
            ([65, 70, 300], [Lie::Rows, Lie::Columns]),
            ([3, 40, 257], [Lie::Rows, Lie::Rows]),
            ([33, 20, 64], [Lie::Columns, Lie::Gaps]),
        ] {
            check(&gpu, size, lies, DType::F32, &mut rng);
        }
        let tried = gpu.stats().pipelines - before;
        assert!(tried > 6, "{tried} kernels: only those that were used");
        // Nothing is tried twice, and other types go by the table.
        check(
            &gpu,
            [65, 70, 300],
            [Lie::Rows, Lie::Columns],
            DType::F32,
            &mut rng,
        );
        let before = gpu.stats().pipelines;
        check(
            &gpu,
            [65, 70, 300],
            [Lie::Rows, Lie::Columns],
            DType::F32,
            &mut rng,
        );
        check(
            &gpu,
            [5, 6, 7],
            [Lie::Rows, Lie::Rows],
            DType::I32,
            &mut rng,
        );
        let tried = gpu.stats().pipelines - before;
        assert!(tried <= 3, "{tried} kernels after tuning");
    }
}
