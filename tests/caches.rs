//! What is kept for later is bounded, and given back when asked for.

mod devices;

use devices::{cpu, gpu};
use wgrad::prelude::*;

/// A chain of operations that no other number below 6^7 has.
fn structure(number: usize, x: &Tensor) -> Tensor {
    let mut y = x.clone();
    let mut rest = number;
    for _ in 0..5 {
        y = match rest % 6 {
            0 => y + 1.5,
            1 => y * 0.5,
            2 => y.abs(),
            3 => y.maximum(0.25),
            4 => y.minimum(8.0),
            _ => -y,
        };
        rest /= 6;
    }
    y
}

/// The same on one number.
fn reference(number: usize, x: f32) -> f32 {
    let mut rest = number;
    (0..5).fold(x, |y, _| {
        let digit = rest % 6;
        rest /= 6;
        match digit {
            0 => y + 1.5,
            1 => y * 0.5,
            2 => y.abs(),
            3 => y.max(0.25),
            4 => y.min(8.0),
            _ => -y,
        }
    })
}

/// Bytes of this process that lie in memory, where the system tells.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

fn check(number: usize, x: &Tensor) {
    let got = structure(number, x).to_vec::<f32>().unwrap();
    let want: Vec<f32> = [-2.0f32, 0.1, 3.0].map(|x| reference(number, x)).into();
    assert_eq!(got, want, "structure {number} on {}", x.device());
}

#[test]
fn two_thousand_structures_leave_no_more_than_some_hundred() {
    for dev in std::iter::once(cpu()).chain(gpu()) {
        let x = Tensor::from_vec(vec![-2.0f32, 0.1, 3.0], 3, &dev);
        (0..500).for_each(|i| check(i, &x));
        let (before, held) = (resident(), dev.stats().pipelines_held);
        (500..2000).for_each(|i| check(i, &x));
        let stats = dev.stats();
        assert!(stats.plan_misses >= 2000 && stats.pipelines_held <= 1024);
        if dev.name().contains("software") {
            assert!(stats.pipelines >= 2000, "{stats}");
            assert!(held <= 192 && stats.pipelines_held <= 192, "{stats}");
        }
        // 1,500 of these kernels take a software adapter half a gigabyte.
        if let (Some(before), Some(after)) = (before, resident()) {
            let grown = after.saturating_sub(before) >> 20;
            assert!(grown < 300, "{grown} MiB more on {dev}");
        }
        // What was dropped is made again.
        (0..20).for_each(|i| check(i, &x));
        dev.trim();
        let stats = dev.stats();
        assert_eq!(stats.pipelines_held, 0, "{stats}");
        (0..20).for_each(|i| check(i, &x));
        let again = dev.stats();
        assert_eq!(again.plan_misses, stats.plan_misses + 20);
        // And is then there.
        (0..20).for_each(|i| check(i, &x));
        let last = dev.stats();
        assert_eq!(last.pipelines, again.pipelines);
        assert_eq!(last.plan_misses, again.plan_misses);
    }
}

/// A plan outlives its pipelines: it compiles what it needs when it runs again.
#[test]
fn a_step_goes_on_after_others_took_its_kernels_place() {
    let Some(dev) = gpu() else { return };
    let x = Tensor::from_vec(vec![-2.0f32, 0.1, 3.0], 3, &dev);
    check(7, &x);
    let first = dev.stats();
    // Not so many plans that this one would be forgotten.
    (1000..1240).for_each(|i| check(i, &x));
    let misses = dev.stats().plan_misses;
    check(7, &x);
    let last = dev.stats();
    assert_eq!(last.plan_misses, misses, "the plan was kept");
    if dev.name().contains("software") {
        assert!(last.pipelines > first.pipelines + 240, "{last}");
    }
}
