//! Kernels, CPU against GPU: `cargo bench --bench kernels`.
//!
//! Rates are of the least work: floating-point operations of products, bytes that must move for the
//! others. The `ceiling` group shows what each device does without the framework: a plain copy, and
//! multiply-adds in registers.

mod rates;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rates::{Rates, criterion, devices};
use wgrad::optim::{Adam, AdamOptions, Optimizer};
use wgrad::prelude::*;
use wgrad_bench::ceilings::{self, Work};

/// Runs what `f` records, and waits.
fn run(dev: &Device, f: impl Fn() -> Tensor) {
    let result = f();
    dev.synchronize().expect("the device works");
    drop(result);
}

fn ceiling(c: &mut Criterion<Rates>) {
    let mut group = c.benchmark_group("ceiling");
    group.sample_size(10);
    for (name, dev) in devices() {
        for (what, ceiling) in [
            ("copy", ceilings::copy(&dev)),
            ("multiply_add", ceilings::fma(&dev)),
        ] {
            let mut ceiling = ceiling.expect("the device opens");
            match ceiling.work {
                Work::Flops(flops) => group.throughput(Throughput::Elements(flops as u64)),
                Work::Bytes(bytes) => group.throughput(Throughput::Bytes(bytes as u64)),
                Work::Unknown => &mut group,
            };
            group.bench_function(BenchmarkId::new(name, what), |bench| {
                bench.iter(|| ceiling.run().expect("the device works"));
            });
        }
    }
}

fn matmul(c: &mut Criterion<Rates>) {
    let mut group = c.benchmark_group("matmul");
    group.sample_size(10);
    for (name, dev) in devices() {
        for n in [64usize, 256, 512, 1024] {
            let (a, b) = (Tensor::randn([n, n], &dev), Tensor::randn([n, n], &dev));
            run(&dev, || &a + &b);
            group.throughput(Throughput::Elements(2 * (n as u64).pow(3)));
            group.bench_function(BenchmarkId::new(name, n), |bench| {
                bench.iter(|| run(&dev, || a.matmul(&b)));
            });
        }
    }
}

fn elementwise(c: &mut Criterion<Rates>) {
    let mut group = c.benchmark_group("elementwise");
    group.sample_size(10);
    for (name, dev) in devices() {
        for n in [1usize << 10, 1 << 16, 1 << 22] {
            let x = Tensor::randn([n], &dev);
            run(&dev, || x.clone());
            group.throughput(Throughput::Bytes(8 * n as u64));
            group.bench_function(BenchmarkId::new(format!("{name}/copy"), n), |bench| {
                bench.iter(|| run(&dev, || &x + 1.0));
            });
            group.bench_function(BenchmarkId::new(format!("{name}/chain"), n), |bench| {
                bench.iter(|| run(&dev, || (&x * 2.0 + 1.0).gelu() * x.sigmoid() - x.tanh()));
            });
        }
    }
}

fn reduce(c: &mut Criterion<Rates>) {
    let mut group = c.benchmark_group("reduce");
    group.sample_size(10);
    for (name, dev) in devices() {
        for n in [256usize, 2048] {
            let x = Tensor::randn([n, n], &dev);
            run(&dev, || x.clone());
            group.throughput(Throughput::Bytes(4 * (n * n) as u64));
            group.bench_function(BenchmarkId::new(format!("{name}/rows"), n), |bench| {
                bench.iter(|| run(&dev, || x.sum_dims([1], false)));
            });
            group.bench_function(BenchmarkId::new(format!("{name}/columns"), n), |bench| {
                bench.iter(|| run(&dev, || x.sum_dims([0], false)));
            });
            group.bench_function(BenchmarkId::new(format!("{name}/all"), n), |bench| {
                bench.iter(|| run(&dev, || x.sum()));
            });
        }
    }
}

fn cross_entropy(c: &mut Criterion<Rates>) {
    let mut group = c.benchmark_group("cross_entropy");
    group.sample_size(10);
    for (name, dev) in devices() {
        for (rows, classes) in [(128usize, 10usize), (1024, 1000), (64, 32_000)] {
            let x = Tensor::randn([rows, classes], &dev).requires_grad();
            let t = Tensor::randint(rows, 0, classes as i32, &dev);
            run(&dev, || x.sum() + t.sum());
            // Read the logits, write the gradient.
            group.throughput(Throughput::Bytes(8 * (rows * classes) as u64));
            group.bench_function(
                BenchmarkId::new(name, format!("{rows}x{classes}")),
                |bench| {
                    bench.iter(|| {
                        x.zero_grad();
                        let loss = x.cross_entropy(&t);
                        loss.backward().expect("a loss");
                        dev.synchronize().expect("the device works");
                    });
                },
            );
        }
    }
}

fn adam(c: &mut Criterion<Rates>) {
    let mut group = c.benchmark_group("adam");
    group.sample_size(10);
    for (name, dev) in devices() {
        for (count, n) in [(1usize, 1usize << 20), (100, 10_000)] {
            let parameters: Vec<Tensor> = (0..count)
                .map(|_| Tensor::randn([n], &dev).requires_grad())
                .collect();
            let mut adam = Adam::new(parameters.clone(), AdamOptions::default());
            for p in &parameters {
                p.set_grad(&Tensor::randn([n], &dev)).expect("a gradient");
            }
            // The first step lays the arenas out; gradients then stay where they are.
            adam.step().expect("a step");
            group.throughput(Throughput::Bytes(28 * (count * n) as u64));
            group.bench_function(BenchmarkId::new(name, format!("{count}x{n}")), |bench| {
                bench.iter(|| {
                    adam.step().expect("a step");
                    dev.synchronize().expect("the device works");
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = ceiling, matmul, elementwise, reduce, cross_entropy, adam
}
criterion_main!(benches);
