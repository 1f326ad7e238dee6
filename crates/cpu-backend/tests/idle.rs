//! A process whose devices have nothing to do uses no processor.
#![cfg(target_os = "linux")]

mod harness;

use std::time::Duration;

use harness::*;
use wgrad_core::{Arg, DType, Kernel, Program, Shape};

/// Clock ticks that all threads of this process have run for: the 14th and 15th field of
/// [proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html).
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields
        .skip(11)
        .take(2)
        .map(|x| x.parse::<u64>().unwrap())
        .sum()
}

#[test]
fn idle_threads_sleep() {
    let size = 256;
    let mut bench = Bench::new();
    let mut factor = || {
        let data = Data::random(&mut Dice::new(1), DType::F32, size * size, -1.0, 1.0);
        bench.dense(data, [size, size])
    };
    let (a, b) = (factor(), factor());
    let out = bench.output(DType::F32, size * size);
    let kernel = Kernel::MatMul {
        batch: Shape::new(&[]),
        m: size.into(),
        n: size.into(),
        k: size.into(),
        a,
        b,
        epilogue_inputs: vec![],
        epilogue: Program {
            accumulators: vec![DType::F32],
            outputs: vec![(Arg::Acc(0), DType::F32)],
            ..Program::default()
        },
        outputs: vec![out],
        sums: None,
    };
    let before = ticks();
    while ticks() < before + 10 {
        bench.run(kernel.clone());
    }
    // The threads are awake now, for a moment.
    std::thread::sleep(Duration::from_millis(5));
    let before = ticks();
    std::thread::sleep(Duration::from_millis(500));
    // A tick is 10 ms; a thread that spins would have taken 50.
    assert!(ticks() - before <= 2);
}
