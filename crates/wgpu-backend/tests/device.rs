//! The device itself: memory, copies, errors, replays, modes.

mod harness;

use std::time::Duration;

use harness::*;
use wgrad_core::*;
use wgrad_wgpu_backend::{WgpuBackend, WgpuOptions};

fn base() -> WgpuOptions {
    families()[0].clone()
}

/// `y = x * s` over `n` elements.
fn scale(t: &mut Trial, x: Operand, n: usize) -> Output {
    let y = t.output(DType::F32, n);
    let program = Program {
        inputs: vec![DType::F32],
        scalars: vec![DType::F32],
        instrs: vec![Instr {
            op: MapOp::Mul,
            dtype: DType::F32,
            args: [Arg::Input(0), Arg::Scalar(0)].into_iter().collect(),
        }],
        outputs: vec![(Arg::Instr(0), DType::F32)],
        ..Program::default()
    };
    t.launch(
        Kernel::Map {
            shape: [n].into(),
            inputs: vec![x],
            program,
            outputs: vec![y],
        },
        &[ScalarBits::float(3.0)],
    );
    y
}

#[test]
fn names_and_limits() {
    let Some(gpu) = open(&base()) else { return };
    let listed = pollster::block_on(wgrad_wgpu_backend::adapters());
    assert!(listed.iter().any(|a| gpu.name().contains(&a.name)));
    if listed
        .iter()
        .any(|a| a.software && gpu.name().contains(&a.name))
    {
        assert!(gpu.name().contains("software"));
    }
    assert!(!gpu.is_cpu());
    assert!(gpu.limits().max_kernel_buffers >= 4);
    let wrong = WgpuOptions {
        adapter: Some("no such thing".into()),
        ..base()
    };
    assert!(matches!(
        pollster::block_on(WgpuBackend::open(&wrong)),
        Err(Error::NoAdapter(_))
    ));
}

#[test]
fn write_read_copy_clear() {
    for gpu in gpus() {
        let a = gpu.allocate(1000).unwrap();
        let b = gpu.allocate(1000).unwrap();
        assert!(a.bytes() >= 1000 && a.bytes() % 16 == 0 && a.id() != b.id());
        let bytes: Vec<u8> = (0..1000).map(|i| i as u8).collect();
        gpu.write(&a, 0, &bytes).unwrap();
        gpu.write(&a, 8, &[9; 4]).unwrap();
        gpu.clear(&b).unwrap();
        gpu.copy(&a, 4, &b, 16, 100).unwrap();
        let back = pollster::block_on(gpu.read(Some(&b), 0, 130))
            .unwrap()
            .bytes;
        let mut want = vec![0; 130];
        want[16..116].copy_from_slice(&bytes[4..104]);
        want[20..24].copy_from_slice(&[9; 4]);
        assert_eq!(back, want);
        assert_eq!(
            pollster::block_on(gpu.read(None, 0, 0))
                .unwrap()
                .bytes
                .len(),
            0
        );
        assert!(gpu.write(&a, a.bytes(), &[0; 4]).is_err());
        assert!(pollster::block_on(gpu.read(Some(&a), 0, a.bytes() + 4)).is_err());
        gpu.synchronize().unwrap();
    }
}

#[test]
fn a_future_of_a_read_may_cross_threads() {
    let Some(gpu) = open(&base()) else { return };
    let a = gpu.allocate(16).unwrap();
    gpu.write(&a, 0, &[5; 16]).unwrap();
    let future = gpu.read(Some(&a), 0, 16);
    // What is asked later is not seen.
    gpu.write(&a, 0, &[6; 16]).unwrap();
    let back = std::thread::spawn(move || pollster::block_on(future))
        .join()
        .unwrap()
        .unwrap();
    assert_eq!(back.bytes, [5; 16]);
}

#[test]
fn recycled_buffers_and_exact_counters() {
    let Some(gpu) = open(&base()) else { return };
    let first = gpu.allocate(5000).unwrap();
    let (id, size) = (first.id(), first.bytes() as u64);
    assert_eq!(gpu.stats().live_bytes, size);
    drop(first);
    assert_eq!(gpu.stats().live_bytes, 0);
    assert_eq!(gpu.stats().held_bytes, size);
    let again = gpu.allocate(5000).unwrap();
    assert_eq!(again.id(), id);
    assert_eq!(gpu.stats().allocations, 1);
    drop(again);
    gpu.trim();
    let stats = gpu.stats();
    assert_eq!(
        (stats.live_bytes, stats.held_bytes, stats.peak_bytes),
        (0, 0, size)
    );
    // Poison shows.
    let poisoned = gpu.allocate(64).unwrap();
    assert_eq!(
        pollster::block_on(gpu.read(Some(&poisoned), 0, 64))
            .unwrap()
            .bytes,
        [0xFF; 64]
    );
}

#[test]
fn memory_limit_does_no_harm() {
    let Some(gpu) = open(&WgpuOptions {
        memory_limit: Some(1 << 20),
        ..base()
    }) else {
        return;
    };
    let a = gpu.allocate(1 << 19).unwrap();
    assert!(matches!(
        gpu.allocate(1 << 20),
        Err(Error::OutOfMemory { .. })
    ));
    gpu.write(&a, 0, &[1; 16]).unwrap();
    assert_eq!(
        pollster::block_on(gpu.read(Some(&a), 0, 16)).unwrap().bytes,
        [1; 16]
    );
    drop(a);
    // Unused buffers make room.
    gpu.allocate((1 << 20) - 4096).unwrap();
    assert!(matches!(
        gpu.allocate(usize::MAX / 2),
        Err(Error::OutOfMemory { .. })
    ));
}

#[test]
fn a_steady_replay_makes_nothing_new() {
    for options in families() {
        let Some(gpu) = open(&WgpuOptions {
            poison: false,
            ..options
        }) else {
            return;
        };
        let mut t = Trial::new(&gpu);
        let x: Vec<f64> = (0..1000).map(f64::from).collect();
        let a = t.dense(DType::F32, &x, &[1000]);
        let y = scale(&mut t, a, 1000);
        let z = t.output(DType::F32, 1);
        let sum = Accumulator {
            op: ReduceOp::Sum,
            dtype: DType::F32,
        };
        let long = Layout::contiguous([1000].into())
            .expand(&[500, 1000].into())
            .unwrap()
            .reshape(&[500, 1000].into())
            .unwrap();
        t.launch(
            Kernel::Reduce {
                shape: [500, 1000].into(),
                reduced: 2,
                inputs: vec![Operand {
                    buffer: y.buffer,
                    dtype: DType::F32,
                    layout: long,
                }],
                prologue: pass_inputs(&[DType::F32]),
                accumulators: vec![sum],
                epilogue_inputs: vec![],
                epilogue: pass_on(DType::F32),
                outputs: vec![z],
            },
            &[],
        );
        let made = gpu.compile(&t.plan).unwrap();
        made.run(&t.bindings, &t.scalars, &[1]).unwrap();
        t.read(z, 1);
        let before = gpu.stats();
        for i in 0..50 {
            t.scalars[0] = ScalarBits::float(f64::from(i));
            made.run(&t.bindings, &t.scalars, &[1]).unwrap();
        }
        let got = t.read(z, 1);
        close(&got, &[49.0 * 499_500.0 * 500.0], 1e-6, 0.0, "sum");
        let after = gpu.stats();
        assert_eq!(after.bind_groups, before.bind_groups);
        assert_eq!(after.pipelines, before.pipelines);
        assert_eq!(after.allocations, before.allocations);
        assert_eq!(after.submits, before.submits + 51);
        assert_eq!(after.live_bytes, before.live_bytes);
        // Another size of the same structure compiles nothing.
        let mut t = Trial::new(&gpu);
        let a = t.dense(DType::F32, &x[..700], &[700]);
        scale(&mut t, a, 700);
        t.run();
        assert_eq!(gpu.stats().pipelines, after.pipelines);
    }
}

#[test]
fn copies_in_a_plan_keep_their_place() {
    for gpu in gpus() {
        let mut t = Trial::new(&gpu);
        let x: Vec<f64> = (0..64).map(f64::from).collect();
        let a = t.dense(DType::F32, &x, &[64]);
        let y = scale(&mut t, a.clone(), 64);
        let copy = |source, target| Kernel::Copy {
            source,
            source_offset: 0,
            target,
            target_offset: 0,
            bytes: 256,
        };
        t.launch(copy(y.buffer, a.buffer), &[]);
        let z = scale(&mut t, a, 64);
        t.run();
        let want: Vec<f64> = x.iter().map(|v| v * 9.0).collect();
        close(&t.read(z, 64), &want, 0.0, 0.0, "copy between kernels");
    }
}

#[test]
fn a_long_run_goes_on_in_another_submit() {
    for family in families() {
        let options = WgpuOptions {
            submit_after: Some(Duration::ZERO),
            ..family
        };
        let Some(gpu) = open(&options) else { return };
        let mut t = Trial::new(&gpu);
        let x: Vec<f64> = (0..1000).map(f64::from).collect();
        let mut a = t.dense(DType::F32, &x, &[1000]);
        let first = a.clone();
        for _ in 0..5 {
            let y = scale(&mut t, a.clone(), 1000);
            a.buffer = y.buffer;
        }
        let copy = Kernel::Copy {
            source: a.buffer,
            source_offset: 0,
            target: first.buffer,
            target_offset: 0,
            bytes: 4000,
        };
        t.launch(copy, &[]);
        let last = scale(&mut t, first, 1000);
        let before = gpu.stats();
        t.run();
        let after = gpu.stats();
        assert_eq!(after.launches - before.launches, 6);
        assert_eq!(after.submits - before.submits, 6);
        let want: Vec<f64> = x.iter().map(|v| v * 3f64.powi(6)).collect();
        close(&t.read(last, 1000), &want, 0.0, 0.0, "six submits");
    }
}

#[test]
fn parts_of_one_buffer_as_input_and_output() {
    for gpu in gpus() {
        let mut t = Trial::new(&gpu);
        let arena = gpu.allocate(2048).unwrap();
        let x: Vec<f64> = (0..64).map(f64::from).collect();
        gpu.write(&arena, 256, &encode(DType::F32, &x)).unwrap();
        let a = t.dense(DType::F32, &x, &[64]);
        let y = scale(&mut t, a.clone(), 64);
        t.bindings[a.buffer] = Binding {
            buffer: arena.clone(),
            offset: 256,
        };
        t.bindings[y.buffer] = Binding {
            buffer: arena.clone(),
            offset: 1024,
        };
        t.plan.buffers[y.buffer].allocation = t.plan.buffers[a.buffer].allocation;
        t.run();
        let back = pollster::block_on(gpu.read(Some(&arena), 1024, 256)).unwrap();
        let want: Vec<f64> = x.iter().map(|v| v * 3.0).collect();
        close(
            &decode(DType::F32, &back.bytes, 64),
            &want,
            0.0,
            0.0,
            "arena",
        );
    }
}

#[test]
fn a_lost_device_says_so_and_does_not_hang() {
    let Some(gpu) = open(&base()) else { return };
    let mut t = Trial::new(&gpu);
    let x: Vec<f64> = (0..64).map(f64::from).collect();
    let a = t.dense(DType::F32, &x, &[64]);
    scale(&mut t, a.clone(), 64);
    let made = gpu.compile(&t.plan).unwrap();
    let buffer = t.bindings[a.buffer].buffer.clone();
    let pending = gpu.read(Some(&buffer), 0, 16);
    gpu.destroy();
    let lost = |r: Result<()>| assert!(matches!(r, Err(Error::DeviceLost(_))), "{r:?}");
    // The pending read ends: with its bytes or with the loss.
    let _ = pollster::block_on(pending);
    lost(made.run(&t.bindings, &t.scalars, &[1]));
    lost(gpu.write(&buffer, 0, &[0; 4]));
    lost(gpu.clear(&buffer));
    lost(gpu.copy(&buffer, 0, &buffer, 16, 16));
    lost(gpu.synchronize());
    lost(gpu.allocate(100).map(|_| ()));
    lost(gpu.compile(&t.plan).map(|_| ()));
    lost(pollster::block_on(gpu.read(Some(&buffer), 0, 16)).map(|_| ()));
    gpu.trim();
}

#[test]
fn strict_and_checked_modes_compute_the_same() {
    for options in [
        WgpuOptions {
            strict: true,
            ..base()
        },
        WgpuOptions {
            checked_kernels: true,
            ..base()
        },
        WgpuOptions {
            checked_kernels: true,
            ..families()[1].clone()
        },
        WgpuOptions {
            no_immediates: true,
            ..base()
        },
    ] {
        let Some(gpu) = open(&options) else { return };
        let mut t = Trial::new(&gpu);
        let x: Vec<f64> = (0..1001).map(f64::from).collect();
        let a = t.dense(DType::F32, &x, &[1001]);
        let y = scale(&mut t, a, 1001);
        t.run();
        let want: Vec<f64> = x.iter().map(|v| v * 3.0).collect();
        close(&t.read(y, 1001), &want, 0.0, 0.0, "scale");
    }
}

#[test]
fn a_run_must_bind_what_its_plan_needs() {
    let Some(gpu) = open(&base()) else { return };
    let mut t = Trial::new(&gpu);
    let a = t.dense(DType::F32, &[1.0; 8], &[8]);
    scale(&mut t, a, 8);
    let made = gpu.compile(&t.plan).unwrap();
    assert!(made.run(&t.bindings[..1], &t.scalars, &[1]).is_err());
    assert!(made.run(&t.bindings, &[], &[1]).is_err());
    assert!(made.run(&t.bindings, &t.scalars, &[]).is_err());
    let other = open(&base()).unwrap();
    t.bindings[0].buffer = other.allocate(64).unwrap();
    assert!(made.run(&t.bindings, &t.scalars, &[1]).is_err());
}

#[test]
fn a_kernel_that_does_not_compile_is_named_in_a_line() {
    for gpu in gpus() {
        // Against the contract of reductions, whose results are stored one by one.
        let mut t = Trial::new(&gpu);
        let x = t.dense(DType::U8, &[1.0; 500], &[5, 100]);
        let y = t.output(DType::U8, 5);
        let kernel = Kernel::Reduce {
            shape: [5, 100].into(),
            reduced: 1,
            inputs: vec![x],
            prologue: pass_inputs(&[DType::U8]),
            accumulators: vec![Accumulator {
                op: ReduceOp::Max,
                dtype: DType::U8,
            }],
            epilogue_inputs: Vec::new(),
            epilogue: pass_on(DType::U8),
            outputs: vec![y],
        };
        let plan = Plan {
            buffers: vec![
                BufferSpec {
                    bytes: 512,
                    allocation: 0,
                },
                BufferSpec {
                    bytes: 16,
                    allocation: 1,
                },
            ],
            launches: vec![Launch {
                kernel,
                scalars: 0..0,
                fault: None,
            }],
        };
        let Err(error) = gpu.compile(&plan) else {
            panic!("single bytes were stored")
        };
        let text = error.to_string();
        assert!(
            text.contains("the kernel reduce from (u8) to (u8) does not compile: "),
            "{text}"
        );
        assert!(text.lines().count() == 1 && text.len() < 300, "{text}");
        // Nothing else is harmed.
        gpu.synchronize().unwrap();
    }
}
