//! Factors that several products read are kept packed until somebody writes to them.

mod harness;

use harness::*;
use wgrad_core::{
    Arg, Backend, Binding, Buffer, BufferSpec, DType, Instr, Kernel, Launch, Layout, MapOp,
    Operand, Output, Plan, Program, Shape,
};
use wgrad_cpu_backend::{CpuBackend, CpuOptions};

const M: usize = 40;
const N: usize = 70;
const K: usize = 300;

fn operand(buffer: usize, shape: [usize; 2], offset: usize) -> Operand {
    let mut layout = Layout::contiguous(Shape::new(&shape));
    layout.offset = offset;
    Operand {
        buffer,
        dtype: DType::F32,
        layout,
    }
}

fn output(buffer: usize) -> Output {
    Output {
        buffer,
        dtype: DType::F32,
    }
}

/// `[M, K] x [K, N]`, the second factor from element `offset` of its buffer on.
fn product(a: Operand, b: Operand, out: usize) -> Kernel {
    let [m, n, k] = [a.layout.shape[0], b.layout.shape[1], a.layout.shape[1]];
    Kernel::MatMul {
        batch: Shape::new(&[]),
        m: m.into(),
        n: n.into(),
        k: k.into(),
        a,
        b,
        epilogue_inputs: vec![],
        epilogue: Program {
            accumulators: vec![DType::F32],
            outputs: vec![(Arg::Acc(0), DType::F32)],
            ..Program::default()
        },
        outputs: vec![output(out)],
        sums: None,
    }
}

fn negate(len: usize, from: usize, to: usize) -> Kernel {
    Kernel::Map {
        shape: len.into(),
        inputs: vec![Operand {
            buffer: from,
            dtype: DType::F32,
            layout: Layout::contiguous(len.into()),
        }],
        program: Program {
            inputs: vec![DType::F32],
            instrs: vec![Instr {
                op: MapOp::Neg,
                dtype: DType::F32,
                args: [Arg::Input(0)].into_iter().collect(),
            }],
            outputs: vec![(Arg::Instr(0), DType::F32)],
            ..Program::default()
        },
        outputs: vec![output(to)],
    }
}

/// Some memory of a device, and what it should hold.
struct Values {
    buffer: Buffer,
    values: Vec<f64>,
}

impl Values {
    fn new(cpu: &CpuBackend, len: usize, seed: u32) -> Values {
        let data = Data::random(&mut Dice::new(seed), DType::F32, len, -1.0, 1.0);
        let buffer = cpu.allocate(len * 4).unwrap();
        cpu.write(&buffer, 0, &encode(DType::F32, &data.1)).unwrap();
        Values {
            buffer,
            values: data.1,
        }
    }

    fn write(&mut self, cpu: &CpuBackend, at: usize, values: &[f64]) {
        cpu.write(&self.buffer, at * 4, &encode(DType::F32, values))
            .unwrap();
        self.values[at..at + values.len()].copy_from_slice(values);
    }
}

fn run(cpu: &CpuBackend, kernels: Vec<Kernel>, buffers: &[&Buffer]) {
    let plan = Plan {
        buffers: (0..buffers.len())
            .map(|allocation| BufferSpec {
                bytes: buffers[allocation].bytes(),
                allocation,
            })
            .collect(),
        launches: kernels
            .into_iter()
            .map(|kernel| Launch {
                kernel,
                scalars: 0..0,
                fault: None,
            })
            .collect(),
    };
    let bindings: Vec<Binding> = buffers
        .iter()
        .map(|&buffer| Binding {
            buffer: buffer.clone(),
            offset: 0,
        })
        .collect();
    cpu.compile(&plan)
        .unwrap()
        .run(&bindings, &[], &[])
        .unwrap();
}

fn read(cpu: &CpuBackend, buffer: &Buffer, len: usize) -> Vec<f64> {
    let read = pollster::block_on(cpu.read(Some(buffer), 0, len * 4)).unwrap();
    decode(DType::F32, &read.bytes)
}

/// Runs `a * b` and compares.
fn check(cpu: &CpuBackend, a: &Values, b: &Values, c: &Buffer, what: &str) {
    let kernel = product(operand(0, [M, K], 0), operand(1, [K, N], 0), 2);
    run(cpu, vec![kernel], &[&a.buffer, &b.buffer, c]);
    compare(&read(cpu, c, M * N), &a.values, &b.values, what);
}

fn compare(got: &[f64], a: &[f64], b: &[f64], what: &str) {
    for i in 0..M {
        for j in 0..N {
            let want: f64 = (0..K).map(|p| a[i * K + p] * b[p * N + j]).sum();
            let got = got[i * N + j];
            assert!(
                (got - want).abs() < 1e-3,
                "{what}, [{i}, {j}]: {got}, not {want}"
            );
        }
    }
}

/// Whoever writes, the next product sees it.
#[test]
fn a_product_sees_what_was_written_last() {
    let cpu = cpu();
    let a = Values::new(&cpu, M * K, 1);
    let mut b = Values::new(&cpu, K * N, 2);
    let other = Values::new(&cpu, K * N, 3);
    let c = cpu.allocate(M * N * 4).unwrap();
    let thrice = |b: &Values, what: &str| {
        // Read once, packed, found packed.
        for _ in 0..3 {
            check(&cpu, &a, b, &c, what);
        }
    };
    thrice(&b, "fresh");
    b.write(&cpu, K * N - 1, &[50.0]);
    thrice(&b, "the last element written");
    b.write(&cpu, 0, &[-50.0, 3.0]);
    thrice(&b, "the first elements written");
    cpu.copy(&other.buffer, 16, &b.buffer, 160, 400).unwrap();
    b.values[40..140].copy_from_slice(&other.values[4..104]);
    thrice(&b, "copied from another buffer");
    cpu.copy(&b.buffer, 0, &b.buffer, 4000, 4000).unwrap();
    b.values.copy_within(0..1000, 1000);
    thrice(&b, "copied within");
    run(&cpu, vec![negate(K * N, 0, 1)], &[&other.buffer, &b.buffer]);
    b.values = other.values.iter().map(|x| -x).collect();
    thrice(&b, "computed by a kernel");
    let copy = Kernel::Copy {
        source: 0,
        source_offset: 0,
        target: 1,
        target_offset: 0,
        bytes: K * N * 4,
    };
    run(&cpu, vec![copy], &[&other.buffer, &b.buffer]);
    b.values.clone_from(&other.values);
    thrice(&b, "copied by a plan");
    cpu.clear(&b.buffer).unwrap();
    b.values.fill(0.0);
    thrice(&b, "cleared");
}

/// Also where it is a product that writes, in the middle of a plan.
#[test]
fn products_that_write_what_others_read() {
    let cpu = cpu();
    let square = 128;
    let a = Values::new(&cpu, square * square, 1);
    let b = Values::new(&cpu, square * square, 2);
    let c = cpu.allocate(square * square * 4).unwrap();
    let factor = |buffer| operand(buffer, [square, square], 0);
    // c = a b twice, then b = a c twice: each factor is read and packed, and written by the next product.
    let forth = product(factor(0), factor(1), 2);
    let back = product(factor(0), factor(2), 1);
    let kernels = vec![forth.clone(), forth, back.clone(), back];
    let mut want = b.values.clone();
    for _ in 0..3 {
        run(&cpu, kernels.clone(), &[&a.buffer, &b.buffer, &c]);
        for _ in 0..2 {
            want = (0..square * square)
                .map(|at| {
                    let (i, j) = (at / square, at % square);
                    let terms =
                        (0..square).map(|p| a.values[i * square + p] * want[p * square + j]);
                    terms.sum()
                })
                .collect();
        }
        let got = read(&cpu, &b.buffer, square * square);
        let largest = want.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        assert_near(&got, &want, 1e-5 * largest);
    }
}

/// Every other order of the same memory is packed for itself; a part of it too.
#[test]
fn one_matrix_in_several_orders() {
    let cpu = cpu();
    let a = Values::new(&cpu, M * K, 1);
    let b = Values::new(&cpu, 2 * K * N, 2);
    let c = cpu.allocate(M * N * 4).unwrap();
    for _ in 0..3 {
        for (offset, turned) in [(0, false), (0, true), (K * N, false), (16, true)] {
            let mut factor = operand(1, [K, N], offset);
            if turned {
                factor.layout.strides = smallvec::smallvec![1, K as isize];
            }
            let layout = factor.layout.clone();
            let kernel = product(operand(0, [M, K], 0), factor, 2);
            run(&cpu, vec![kernel], &[&a.buffer, &b.buffer, &c]);
            let seen = view(&b.values, &layout);
            compare(&read(&cpu, &c, M * N), &a.values, &seen, "in some order");
        }
    }
}

/// It is packed by the second product that reads it, once, and its memory goes with it.
#[test]
fn packed_once_and_freed_with_its_matrix() {
    let cpu = cpu();
    let a = Values::new(&cpu, M * K, 1);
    let b = Values::new(&cpu, K * N, 2);
    let c = cpu.allocate(M * N * 4).unwrap();
    let live = cpu.stats().live_bytes;
    check(&cpu, &a, &b, &c, "once");
    assert_eq!(cpu.stats().live_bytes, live);
    check(&cpu, &a, &b, &c, "twice");
    let packed = cpu.stats();
    assert!(packed.live_bytes >= live + (K * N * 4) as u64);
    for _ in 0..5 {
        check(&cpu, &a, &b, &c, "and again");
        assert_eq!(cpu.stats().allocations, packed.allocations);
        assert_eq!(cpu.stats().live_bytes, packed.live_bytes);
    }
    let bytes = b.buffer.bytes() as u64;
    drop(b);
    assert_eq!(cpu.stats().live_bytes, live - bytes);
    // What it says of memory that is somebody else's now is nothing.
    let b = Values::new(&cpu, K * N, 5);
    check(&cpu, &a, &b, &c, "another one");
}

/// Where memory is short, packed factors give way.
#[test]
fn packed_factors_give_way() {
    // Room for this and for the matrices, not for a packed one too.
    let rest = 30 << 17;
    let limit = rest + 200_000;
    let cpu = CpuBackend::new(CpuOptions {
        memory_limit: Some(limit),
        ..CpuOptions::default()
    });
    let a = Values::new(&cpu, M * K, 1);
    let b = Values::new(&cpu, K * N, 2);
    let c = cpu.allocate(M * N * 4).unwrap();
    for _ in 0..3 {
        check(&cpu, &a, &b, &c, "with room");
    }
    assert!(cpu.stats().live_bytes as usize + rest > limit);
    let large = cpu.allocate(rest).unwrap();
    for _ in 0..3 {
        check(&cpu, &a, &b, &c, "without room");
    }
    drop(large);
    for _ in 0..3 {
        check(&cpu, &a, &b, &c, "with room again");
    }
    cpu.trim();
    let least = cpu.stats();
    assert_eq!(least.live_bytes, least.held_bytes);
    check(&cpu, &a, &b, &c, "after trim");
}
