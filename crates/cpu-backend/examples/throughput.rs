//! Times of single kernels: `cargo run --release -p wgrad-cpu-backend --example throughput`.

use std::time::Instant;

use smallvec::SmallVec;
use wgrad_core::{
    Accumulator, Arg, Backend, Binding, BufferSpec, DType, Instr, Kernel, Launch, Layout, MapOp,
    Operand, Output, Plan, Program, ReduceOp, ScalarBits, Shape,
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

/// Best and median time of a kernel over buffers of `sizes` bytes, in milliseconds.
fn time(name: &str, sizes: &[usize], scalars: &[ScalarBits], kernel: Kernel) {
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
    while times.len() < 5 || (begin.elapsed().as_secs_f64() < 0.7 && times.len() < 20_000) {
        let start = Instant::now();
        executable.run(&bindings, scalars, &[]).expect("run");
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!("{name:30} best {:9.4} median {median:9.4} ms", times[0]);
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

fn matmul(m: usize, n: usize, k: usize) {
    let kernel = Kernel::MatMul {
        batch: ().into(),
        m,
        n,
        k,
        a: operand(0, [m, k]),
        b: operand(1, [k, n]),
        epilogue_inputs: vec![],
        epilogue: Program {
            accumulators: vec![DType::F32],
            outputs: vec![(Arg::Acc(0), DType::F32)],
            ..Program::default()
        },
        outputs: vec![output(2)],
        sums: None,
    };
    let sizes = [m * k * 4, k * n * 4, m * n * 4];
    time(&format!("matmul {m}x{n}x{k}"), &sizes, &[], kernel);
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
    let adam = Kernel::Adam {
        dtype: DType::F32,
        len,
        param: 0,
        target: 0,
        grad: 1,
        m: 2,
        v: 3,
        vmax: None,
        decoupled: true,
        maximize: false,
        segments: 1,
    };
    let mut scalars = vec![ScalarBits::integer(0), ScalarBits::integer(len as i64)];
    scalars.extend([0.999, 0.9, 0.999, 1e-3, 1.0, 1e-8].map(ScalarBits::float));
    time("adam 10M", &[len * 4; 4], &scalars, adam);

    let (rows, classes) = (4096, 1000);
    let kernel = Kernel::CrossEntropy {
        rows,
        classes,
        logits: operand(0, [rows, classes]),
        targets: Operand {
            dtype: DType::U8,
            layout: Layout::contiguous(rows.into()),
            ..operand(1, rows)
        },
        weight: None,
        loss: Some(output(2)),
        row_weight: Some(output(3)),
        grad: Some(output(4)),
    };
    let sizes = [
        rows * classes * 4,
        rows,
        rows * 4,
        rows * 4,
        rows * classes * 4,
    ];
    time(
        "cross-entropy 4096x1000",
        &sizes,
        &[ScalarBits::integer(-100)],
        kernel,
    );

    let square = Layout::contiguous([4096, 4096].into());
    sum("sum of rows 4096x4096", square.clone());
    sum("sum of columns 4096x4096", square.permute(&[1, 0]));
    sum("sum of all 16M", Layout::contiguous([1, 1 << 24].into()));
    sum(
        "sum of columns 100000x10",
        Layout::contiguous([100_000, 10].into()).permute(&[1, 0]),
    );
    for (m, n, k) in [
        (32, 32, 32),
        (256, 256, 256),
        (1024, 1024, 1024),
        (128, 10, 512),
    ] {
        matmul(m, n, k);
    }
}
