//! Training steps and the cost of the host: `cargo bench --bench training`.

mod rates;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rates::{Rates, criterion, devices};
use wgrad::Error;
use wgrad::optim::{Adam, AdamOptions, Optimizer};
use wgrad::prelude::*;

/// A training step of a perceptron with these layer sizes.
struct Training {
    layers: Vec<(Tensor, Tensor)>,
    adam: Adam,
    x: Tensor,
    t: Tensor,
}

impl Training {
    fn new(dev: &Device, sizes: &[usize], batch: usize) -> Training {
        let layer = |pair: &[usize]| {
            let w = Tensor::randn([pair[1], pair[0]], dev) * (1.0 / (pair[0] as f64).sqrt());
            (
                w.requires_grad(),
                Tensor::zeros(pair[1], dev).requires_grad(),
            )
        };
        let layers: Vec<(Tensor, Tensor)> = sizes.windows(2).map(layer).collect();
        let parameters = layers
            .iter()
            .flat_map(|(w, b)| [w.clone(), b.clone()])
            .collect();
        let classes = sizes.last().copied().unwrap_or(2) as i32;
        Training {
            adam: Adam::new(parameters, AdamOptions::default()),
            layers,
            x: Tensor::randn([batch, sizes[0]], dev),
            t: Tensor::randint(batch, 0, classes, dev),
        }
    }

    fn step(&mut self) -> Tensor {
        self.adam.zero_grad();
        let mut h = self.x.clone();
        let last = self.layers.len() - 1;
        for (i, (w, b)) in self.layers.iter().enumerate() {
            h = h.linear(w, Some(b));
            if i < last {
                h = h.relu();
            }
        }
        let loss = h.cross_entropy(&self.t);
        loss.backward().expect("a loss");
        self.adam.step().expect("a step");
        loss
    }
}

fn train_step(c: &mut Criterion<Rates>) {
    let mut group = c.benchmark_group("train_step");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5));
    for (name, dev) in devices() {
        for (case, sizes, batch) in [
            ("mlp", &[784usize, 512, 256, 10][..], 128usize),
            ("tiny", &[4, 8, 2][..], 8),
        ] {
            let mut training = Training::new(&dev, sizes, batch);
            for _ in 0..3 {
                let _ = training.step().item::<f32>();
            }
            // Three products per layer: forward, and both gradients.
            let weights: usize = sizes.windows(2).map(|pair| pair[0] * pair[1]).sum();
            group.throughput(Throughput::Elements((6 * batch * weights) as u64));
            group.bench_function(format!("{case}/{name}"), |bench| {
                bench.iter(|| training.step().item::<f32>().expect("a loss"));
            });
        }
    }
}

/// A GPU on which everything is recorded, bound, checked and encoded, and nothing executed: what
/// is left is the cost of the host without the driver's part.
fn noop() -> Result<Device> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop.enable = true;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::NOOP));
    let adapter = adapters.first().ok_or(Error::NoAdapter("no noop".into()))?;
    let asked = wgpu::DeviceDescriptor {
        required_features: wgpu::Features::IMMEDIATES,
        required_limits: adapter.limits(),
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&asked))
        .map_err(|e| Error::Device(e.to_string()))?;
    wgrad::from_wgpu(adapter, device, queue)
}

/// Recording per operation, and replaying per launch, without waiting for the device. A software
/// adapter executes while it is submitted to: there the replay's figure includes the kernels, and
/// the figure of the adapter that executes nothing is the host's share.
fn host(c: &mut Criterion<Rates>) {
    let mut group = c.benchmark_group("host");
    group.sample_size(10);
    let noop = noop().map(|dev| ("gpu that executes nothing", dev));
    for (name, dev) in devices().into_iter().chain(noop) {
        let x = Tensor::randn([16], &dev);
        group.bench_function(format!("record one operation/{name}"), |bench| {
            bench.iter_custom(|rounds| {
                let mut time = Duration::ZERO;
                for _ in 0..rounds {
                    let start = Instant::now();
                    let mut y = x.clone();
                    for _ in 0..1000 {
                        y = y * 1.5;
                    }
                    time += start.elapsed() / 1000;
                    drop(y);
                    let _ = dev.synchronize();
                }
                time
            });
        });
        // Products of 1 x 1 matrices do not fuse: each is a launch.
        let one = Tensor::ones([1, 1], &dev);
        let chain = || (0..100).fold(one.clone(), |y, _| y.matmul(&one));
        for _ in 0..3 {
            let _ = chain().item::<f32>();
        }
        group.bench_function(format!("replay one launch/{name}"), |bench| {
            bench.iter_custom(|rounds| {
                let mut time = Duration::ZERO;
                for _ in 0..rounds {
                    let y = chain();
                    let before = dev.stats().launches;
                    let start = Instant::now();
                    let read = y.to_vec_async::<f32>();
                    let launches = dev.stats().launches - before;
                    time += start.elapsed() / launches.max(1) as u32;
                    drop(read);
                    let _ = dev.synchronize();
                }
                time
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = train_step, host
}
criterion_main!(benches);
