//! Times of single kernels: `cargo run --release -p wgrad-cpu-backend --example throughput [part of a
//! name ..]`.

use std::time::Instant;

use smallvec::SmallVec;
use wgrad_core::{
    Accumulator, Arg, Backend, Binding, BufferSpec, DType, Formula, Instr, Kernel, Launch, Layout,
    MapOp, Number, Operand, Output, Plan, Program, ReduceOp, ScalarBits, Shape, UpdateRule,
};
use wgrad_cpu_backend::{CpuBackend, CpuOptions};

fn operand(buffer: usize, shape: impl Into<Shape>) -> Operand {
    Operand {
        buffer,
        dtype: DType::F32,
        layout: Layout::contiguous(shape.into()),
    }
}

fn output(buffer: usize) -> Output {
    Output {
        buffer,
        dtype: DType::F32,
    }
}

fn instr(op: MapOp, args: &[Arg]) -> Instr {
    Instr {
        op,
        dtype: DType::F32,
        args: SmallVec::from_slice(args),
    }
}

/// Arguments pick cases by parts of their names.
fn is_wanted(name: &str) -> bool {
    let mut parts = std::env::args().skip(1).peekable();
    parts.peek().is_none() || parts.any(|part| name.contains(&part))
}

/// Best and median time of a kernel over buffers of `sizes` bytes, in milliseconds; the best, if
/// the case was wanted.
fn time(name: &str, sizes: &[usize], scalars: &[ScalarBits], kernel: Kernel) -> Option<f64> {
    if !is_wanted(name) {
        return None;
    }
    let cpu = CpuBackend::new(CpuOptions::default());
    let bindings: Vec<Binding> = sizes
        .iter()
        .map(|&bytes| {
            let buffer = cpu.allocate(bytes).expect("memory");
            let values: Vec<u8> = (0..buffer.bytes() / 4)
                .flat_map(|i| ((i * 37 % 1000) as f32 * 1e-3 - 0.25).to_le_bytes())
                .collect();
            cpu.write(&buffer, 0, &values).expect("write");
            Binding { buffer, offset: 0 }
        })
        .collect();
    let plan = Plan {
        buffers: sizes
            .iter()
            .enumerate()
            .map(|(allocation, &bytes)| BufferSpec { bytes, allocation })
            .collect(),
        launches: vec![Launch {
            kernel,
            scalars: 0..scalars.len(),
            fault: None,
        }],
    };
    let executable = cpu.compile(&plan).expect("compile");
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 5 || (begin.elapsed().as_secs_f64() < 0.7 && times.len() < 200_000) {
        let start = Instant::now();
        executable.run(&bindings, scalars, &[]).expect("run");
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!("{name:30} best {:9.5} median {median:9.5} ms", times[0]);
    Some(times[0])
}

fn map(name: &str, n: usize, scalars: &[f64], instrs: Vec<Instr>) {
    let last = Arg::Instr(instrs.len() as u16 - 1);
    let scalars: Vec<_> = scalars.iter().map(|&s| ScalarBits::float(s)).collect();
    let kernel = Kernel::Map {
        shape: n.into(),
        inputs: vec![operand(0, n)],
        program: Program {
            inputs: vec![DType::F32],
            scalars: vec![DType::F32; scalars.len()],
            instrs,
            outputs: vec![(last, DType::F32)],
            ..Program::default()
        },
        outputs: vec![output(1)],
    };
    time(name, &[n * 4, n * 4], &scalars, kernel);
}

fn sum(name: &str, layout: Layout) {
    let kept = layout.shape[0];
    let bytes = layout.end() * 4;
    let kernel = Kernel::Reduce {
        shape: layout.shape.clone(),
        reduced: 1,
        inputs: vec![Operand {
            buffer: 0,
            dtype: DType::F32,
            layout,
        }],
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
        epilogue: Program {
            accumulators: vec![DType::F32],
            outputs: vec![(Arg::Acc(0), DType::F32)],
            ..Program::default()
        },
        outputs: vec![output(1)],
    };
    time(name, &[bytes, kept * 4], &[], kernel);
}

/// A product; `layout` says which factors are transposed (T) rather than plain (N).
fn matmul(batch: usize, [m, n, k]: [usize; 3], layout: &str, relu: bool) {
    let factor = |buffer, rows: usize, columns: usize, transposed| {
        let plain = if transposed {
            Layout::contiguous([batch, columns, rows].into()).permute(&[0, 2, 1])
        } else {
            Layout::contiguous([batch, rows, columns].into())
        };
        Operand {
            buffer,
            dtype: DType::F32,
            layout: plain,
        }
    };
    let mut epilogue = Program {
        accumulators: vec![DType::F32],
        outputs: vec![(Arg::Acc(0), DType::F32)],
        ..Program::default()
    };
    let mut epilogue_inputs = vec![];
    if relu {
        let bias = Layout::contiguous(n.into());
        epilogue_inputs.push(Operand {
            buffer: 3,
            dtype: DType::F32,
            layout: bias.expand(&[batch, m, n].into()).expect("bias"),
        });
        epilogue.inputs = vec![DType::F32];
        epilogue.instrs = vec![
            instr(MapOp::Add, &[Arg::Acc(0), Arg::Input(0)]),
            instr(MapOp::Relu, &[Arg::Instr(0)]),
        ];
        epilogue.outputs = vec![(Arg::Instr(1), DType::F32)];
    }
    let kernel = Kernel::MatMul {
        batch: batch.into(),
        m: m.into(),
        n: n.into(),
        k: k.into(),
        a: factor(0, m, k, layout.starts_with('T')),
        b: factor(1, k, n, layout.ends_with('T')),
        epilogue_inputs,
        epilogue,
        outputs: vec![output(2)],
        sums: None,
    };
    let sizes = [m * k, k * n, m * n, n].map(|len| batch * len * 4);
    let name = format!(
        "{layout} {batch}x{m}x{n}x{k}{}",
        if relu { " +bias relu" } else { "" }
    );
    if let Some(best) = time(&name, &sizes, &[], kernel) {
        let flops = (2 * batch * m * n * k) as f64;
        println!("{:30} {:7.1} GFLOP/s", "", flops / best / 1e6);
    }
}

/// The rate of independent multiply-adds in registers, on one core.
fn multiply_adds() {
    struct Chains;
    impl pulp::WithSimd for Chains {
        type Output = f64;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, simd: S) -> f64 {
            let mut sums: [S::f32s; 12] =
                std::array::from_fn(|i| simd.splat_f32s(std::hint::black_box(i as f32)));
            let (a, b) = (simd.splat_f32s(0.999), simd.splat_f32s(0.001));
            let count = std::hint::black_box(100_000);
            let start = Instant::now();
            for _ in 0..count {
                for sum in &mut sums {
                    *sum = simd.mul_add_f32s(*sum, a, b);
                }
            }
            std::hint::black_box(sums);
            (count * 12 * 2 * S::F32_LANES) as f64 / start.elapsed().as_secs_f64() * 1e-9
        }
    }
    let name = "FMA rate of one core";
    if !is_wanted(name) {
        return;
    }
    let best = (0..200)
        .map(|_| pulp::Arch::new().dispatch(Chains))
        .fold(0.0, f64::max);
    println!("{name:30} {best:7.1} GFLOP/s");
}

#[derive(Clone, Copy)]
struct Adam;

impl Formula<2, 7> for Adam {
    fn apply<X: Number>(self, p: X, g: X, [m, v]: [X; 2], numbers: [X; 7]) -> (X, [X; 2]) {
        let [b1, r1, b2, r2, step, scale, eps] = numbers;
        let m = b1 * m + r1 * g;
        let v = b2 * v + r2 * g.sqr();
        (p - step * m / (v.sqrt() * scale + eps), [m, v])
    }
}

fn main() {
    let n = 4 << 20;
    let x = Arg::Input(0);
    map("copy 4M", n, &[], vec![instr(MapOp::Copy, &[x])]);
    map(
        "gelu(2x+1) sigmoid(x) 4M",
        n,
        &[2.0, 1.0],
        vec![
            instr(MapOp::Mul, &[x, Arg::Scalar(0)]),
            instr(MapOp::Add, &[Arg::Instr(0), Arg::Scalar(1)]),
            instr(MapOp::Gelu, &[Arg::Instr(1)]),
            instr(MapOp::Sigmoid, &[x]),
            instr(MapOp::Mul, &[Arg::Instr(2), Arg::Instr(3)]),
        ],
    );
    map(
        "gelu(2x+1) sigmoid(x) - tanh(x)",
        n,
        &[2.0, 1.0],
        vec![
            instr(MapOp::Mul, &[x, Arg::Scalar(0)]),
            instr(MapOp::Add, &[Arg::Instr(0), Arg::Scalar(1)]),
            instr(MapOp::Gelu, &[Arg::Instr(1)]),
            instr(MapOp::Sigmoid, &[x]),
            instr(MapOp::Mul, &[Arg::Instr(2), Arg::Instr(3)]),
            instr(MapOp::Tanh, &[x]),
            instr(MapOp::Sub, &[Arg::Instr(4), Arg::Instr(5)]),
        ],
    );
    // Light operations show what the interpreter itself costs.
    map(
        "8 polynomial steps 4M",
        n,
        &[0.5, 0.25],
        (0..16)
            .map(|i| {
                let last = if i == 0 { x } else { Arg::Instr(i - 1) };
                if i % 2 == 0 {
                    instr(MapOp::Mul, &[last, Arg::Scalar(0)])
                } else {
                    instr(MapOp::Add, &[last, Arg::Scalar(1)])
                }
            })
            .collect(),
    );
    for op in [
        MapOp::Exp,
        MapOp::Ln,
        MapOp::Sigmoid,
        MapOp::Tanh,
        MapOp::Erf,
        MapOp::Gelu,
        MapOp::GeluTanh,
        MapOp::Softplus,
        MapOp::Sin,
        MapOp::Relu,
    ] {
        map(&format!("{} 4M", op.name()), n, &[], vec![instr(op, &[x])]);
    }
    map(
        "add 10 (a launch)",
        10,
        &[],
        vec![instr(MapOp::Add, &[x, x])],
    );
    map("add 1000", 1000, &[], vec![instr(MapOp::Add, &[x, x])]);

    let len = 10_000_000;
    let rule = UpdateRule::new("adam", ["exp_avg", "exp_avg_sq"], Adam);
    let adam = Kernel::Update {
        name: rule.name(),
        program: rule.program(DType::F32),
        compiled: rule.compiled().clone(),
        len,
        param: 0,
        target: 0,
        grad: 1,
        states: vec![2, 3],
        segments: 1,
        control: None,
    };
    let mut scalars = vec![ScalarBits::integer(0), ScalarBits::integer(len as i64)];
    scalars.extend([0.9, 0.1, 0.999, 0.001, 1e-3, 1.0, 1e-8].map(ScalarBits::float));
    time("adam 10M", &[len * 4; 4], &scalars, adam);

    let (rows, classes) = (4096, 1000);
    let targets = Operand {
        dtype: DType::U8,
        layout: Layout::contiguous(rows.into()),
        ..operand(1, rows)
    };
    let op = wgrad_core::ops::CrossEntropy { ignore: -100 };
    let results = [output(3), output(2), output(4)];
    let kernel = Kernel::operation(op, [operand(0, [rows, classes]), targets], results);
    let sizes = [
        rows * classes * 4,
        rows,
        rows * 4,
        rows * 4,
        rows * classes * 4,
    ];
    time("cross-entropy 4096x1000", &sizes, &[], kernel);

    let square = Layout::contiguous([4096, 4096].into());
    sum("sum of rows 4096x4096", square.clone());
    sum("sum of columns 4096x4096", square.permute(&[1, 0]));
    sum("sum of all 16M", Layout::contiguous([1, 1 << 24].into()));
    sum(
        "sum of columns 100000x10",
        Layout::contiguous([100_000, 10].into()).permute(&[1, 0]),
    );
    multiply_adds();
    for (batch, sizes, layout, relu) in [
        (1, [8, 8, 2], "NN", true),
        (1, [8, 1, 8], "NT", true),
        (1, [32, 32, 32], "NN", false),
        (1, [256, 256, 256], "NN", false),
        (1, [512, 512, 512], "NN", false),
        (1, [1024, 1024, 1024], "NN", false),
        (1, [64, 512, 784], "NN", false),
        (1, [512, 512, 512], "NT", false),
        (1, [512, 512, 512], "TN", false),
        (32, [128, 128, 64], "NN", false),
        (1, [1, 2048, 2048], "NN", false),
        (1, [1, 2048, 2048], "NT", false),
        (1, [256, 512, 784], "NN", true),
        (1, [128, 512, 784], "NT", true),
        (1, [128, 256, 512], "NT", true),
        (1, [128, 10, 256], "NT", true),
        (1, [512, 784, 128], "TN", false),
        (1, [256, 512, 128], "TN", false),
        (1, [10, 256, 128], "TN", false),
        (1, [128, 512, 256], "NN", false),
        (1, [128, 256, 10], "NN", false),
    ] {
        matmul(batch, sizes, layout, relu);
    }
}
