//! The device itself: counters, limits, faults, errors and threads.

mod harness;

use harness::*;
use wgrad_core::{
    Arg, Backend, Binding, BufferSpec, DType, Error, Instr, Kernel, Launch, Layout, MapOp, Operand,
    Output, Plan, Program, ScalarBits,
};
use wgrad_cpu_backend::{CpuBackend, CpuOptions};

/// `x + s` over `n` elements, from buffer 0 to buffer 1.
fn add_plan(n: usize) -> Plan {
    let spec = |allocation| BufferSpec {
        bytes: n * 4,
        allocation,
    };
    let kernel = Kernel::Map {
        shape: n.into(),
        inputs: vec![Operand {
            buffer: 0,
            dtype: DType::F32,
            layout: Layout::contiguous(n.into()),
        }],
        program: Program {
            inputs: vec![DType::F32],
            scalars: vec![DType::F32],
            instrs: vec![Instr {
                op: MapOp::Add,
                dtype: DType::F32,
                args: [Arg::Input(0), Arg::Scalar(0)].into_iter().collect(),
            }],
            outputs: vec![(Arg::Instr(0), DType::F32)],
            ..Program::default()
        },
        outputs: vec![Output {
            buffer: 1,
            dtype: DType::F32,
        }],
    };
    let copy = Kernel::Copy {
        source: 1,
        source_offset: 0,
        target: 0,
        target_offset: 4,
        bytes: n * 4 - 4,
    };
    let launch = |kernel, scalars| Launch {
        kernel,
        scalars,
        fault: None,
    };
    Plan {
        buffers: vec![spec(0), spec(1)],
        launches: vec![launch(kernel, 0..1), launch(copy, 0..0)],
    }
}

fn read(cpu: &CpuBackend, binding: &Binding, n: usize) -> Vec<f64> {
    let read = cpu.read(Some(&binding.buffer), binding.offset, n * 4);
    decode(DType::F32, &pollster::block_on(read).unwrap().bytes)
}

fn bind(cpu: &CpuBackend, bytes: usize) -> Binding {
    Binding {
        buffer: cpu.allocate(bytes).unwrap(),
        offset: 0,
    }
}

#[test]
fn counters_are_exact() {
    let cpu = cpu();
    let n = 100;
    let bindings = [bind(&cpu, n * 4), bind(&cpu, n * 4)];
    let bytes = encode(DType::F32, &vec![1.0; n]);
    cpu.write(&bindings[0].buffer, 0, &bytes).unwrap();
    let plan = cpu.compile(&add_plan(n)).unwrap();
    plan.run(&bindings, &[ScalarBits::float(2.0)], &[]).unwrap();
    plan.run(&bindings, &[ScalarBits::float(2.0)], &[]).unwrap();
    let mut want = vec![5.0; n];
    want[0] = 3.0;
    assert_eq!(read(&cpu, &bindings[1], n), want);
    cpu.clear(&bindings[0].buffer).unwrap();
    cpu.copy(&bindings[0].buffer, 0, &bindings[1].buffer, 4, 8)
        .unwrap();
    want[1] = 0.0;
    want[2] = 0.0;
    assert_eq!(read(&cpu, &bindings[1], n), want);
    cpu.synchronize().unwrap();
    let stats = cpu.stats();
    assert_eq!((stats.launches, stats.copies, stats.submits), (2, 3, 2));
    assert_eq!((stats.clears, stats.uploads, stats.reads), (1, 1, 2));
    assert_eq!((stats.allocations, stats.live_bytes), (2, 2 * 448));
    drop(bindings);
    assert_eq!(cpu.stats().live_bytes, 0);
    assert_eq!(cpu.stats().peak_bytes, 2 * 448);
    cpu.trim();
    assert_eq!(cpu.stats().held_bytes, 0);
}

#[test]
fn memory_limit() {
    let cpu = CpuBackend::new(CpuOptions {
        memory_limit: Some(1 << 20),
        ..CpuOptions::default()
    });
    let kept = cpu.allocate(1 << 19).unwrap();
    assert!(matches!(
        cpu.allocate(1 << 20),
        Err(Error::OutOfMemory { .. })
    ));
    drop(kept);
    assert!(cpu.allocate(1 << 20).is_ok());
    assert!(cpu.allocate(usize::MAX).is_err());
}

#[test]
fn wrong_calls_are_errors() {
    let cpu = cpu();
    let n = 64;
    let bindings = [bind(&cpu, n * 4), bind(&cpu, n * 4)];
    let plan = cpu.compile(&add_plan(n)).unwrap();
    let s = [ScalarBits::float(1.0)];
    assert!(plan.run(&bindings[..1], &s, &[]).is_err());
    assert!(plan.run(&bindings, &[], &[]).is_err());
    let small = [bind(&cpu, n * 4), bind(&cpu, 16)];
    assert!(plan.run(&small, &s, &[]).is_err());
    let other = harness::cpu();
    let foreign = [bind(&cpu, n * 4), bind(&other, n * 4)];
    assert!(plan.run(&foreign, &s, &[]).is_err());
    assert!(cpu.write(&bindings[0].buffer, 250, &[0; 16]).is_err());
    assert!(pollster::block_on(cpu.read(Some(&bindings[0].buffer), 8, usize::MAX)).is_err());
    // An operand that leaves its buffer, one that lies below it, and a type that does not fit.
    for change in 0..3 {
        let mut bad = add_plan(n);
        if let Kernel::Map {
            inputs, program, ..
        } = &mut bad.launches[0].kernel
        {
            match change {
                0 => inputs[0].layout.offset = 1,
                1 => inputs[0].layout.strides[0] = -1,
                _ => program.scalars[0] = DType::I32,
            }
        }
        assert!(cpu.compile(&bad).is_err(), "{change}");
    }
    assert_eq!(cpu.stats().launches, 0);
}

#[test]
fn the_first_fault_is_reported_once() {
    let cpu = cpu();
    let gather = |buffer| {
        let operand = |buffer, dtype| Operand {
            buffer,
            dtype,
            layout: Layout::contiguous(4.into()),
        };
        let output = Output {
            buffer: 3,
            dtype: DType::F32,
        };
        let inputs = [operand(0, DType::F32), operand(buffer, DType::I32)];
        Kernel::operation(wgrad_core::ops::Gather::new(0), inputs, [output])
    };
    let plan = Plan {
        buffers: (0..4)
            .map(|allocation| BufferSpec {
                bytes: 16,
                allocation,
            })
            .collect(),
        launches: (1..3)
            .map(|buffer| Launch {
                kernel: gather(buffer),
                scalars: 0..0,
                fault: Some(buffer - 1),
            })
            .collect(),
    };
    let bindings: Vec<Binding> = (0..4).map(|_| bind(&cpu, 16)).collect();
    let good = encode(DType::I32, &[0.0, 1.0, 2.0, 3.0]);
    let bad = encode(DType::I32, &[0.0, 8.0, -2.0, 3.0]);
    cpu.write(&bindings[1].buffer, 0, &good).unwrap();
    cpu.write(&bindings[2].buffer, 0, &bad).unwrap();
    let executable = cpu.compile(&plan).unwrap();
    executable.run(&bindings, &[], &[5, 6]).unwrap();
    cpu.write(&bindings[1].buffer, 0, &bad).unwrap();
    executable.run(&bindings, &[], &[7, 8]).unwrap();
    let fault = pollster::block_on(cpu.read(None, 0, 0))
        .unwrap()
        .fault
        .unwrap();
    assert_eq!((fault.code, fault.value), (6, 8));
    assert_eq!(
        pollster::block_on(cpu.read(None, 0, 0)).unwrap().fault,
        None
    );
}

#[test]
fn threads_share_a_device() {
    let cpu = cpu();
    let n = 100_000;
    let plan = cpu.compile(&add_plan(n)).unwrap();
    std::thread::scope(|scope| {
        for t in 0..4 {
            let (cpu, plan) = (&cpu, &plan);
            scope.spawn(move || {
                let bindings = [bind(cpu, n * 4), bind(cpu, n * 4)];
                for round in 0..10 {
                    cpu.clear(&bindings[0].buffer).unwrap();
                    let s = f64::from(t * 100 + round);
                    plan.run(&bindings, &[ScalarBits::float(s)], &[]).unwrap();
                    assert!(read(cpu, &bindings[1], n).iter().all(|&x| x == s));
                }
            });
        }
    });
    assert_eq!(cpu.stats().launches, 40);
}
