//! Exact counts on the GPU backend: launches, submits, allocations, pipelines, bytes.

mod devices;

use devices::{fill, flash_gpu, gpu, open_gpu};
use wgrad::nn::Forward;
use wgrad::optim::{Adam, AdamOptions, AdamW, AdamWOptions, Optimizer};
use wgrad::prelude::*;
use wgrad::{AttentionOptions, ConvOptions, ConvPadding, DeviceOptions, Stats};

/// The 784-512-256-10 perceptron.
struct Mlp {
    layers: Vec<(Tensor, Tensor)>,
}

impl Mlp {
    fn new(dev: &Device) -> Mlp {
        let sizes = [784, 512, 256, 10];
        let layer = |(i, pair): (usize, &[usize])| {
            let (inputs, outputs) = (pair[0], pair[1]);
            let scale = 1.0 / (inputs as f32).sqrt();
            let w = Tensor::from_vec(
                fill(i as u64, inputs * outputs, scale),
                [outputs, inputs],
                dev,
            );
            let b = Tensor::from_vec(fill(90 + i as u64, outputs, scale), outputs, dev);
            (w.requires_grad(), b.requires_grad())
        };
        Mlp {
            layers: sizes.windows(2).enumerate().map(layer).collect(),
        }
    }

    fn parameters(&self) -> Vec<Tensor> {
        self.layers
            .iter()
            .flat_map(|(w, b)| [w.clone(), b.clone()])
            .collect()
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let mut h = x.clone();
        for (i, (w, b)) in self.layers.iter().enumerate() {
            h = h.linear(w, Some(b));
            if i + 1 < self.layers.len() {
                h = h.relu();
            }
        }
        h
    }
}

struct Training {
    model: Mlp,
    adam: Adam,
    dev: Device,
}

impl Training {
    fn new(dev: &Device) -> Training {
        let model = Mlp::new(dev);
        let adam = Adam::new(model.parameters(), AdamOptions::default());
        Training {
            model,
            adam,
            dev: dev.clone(),
        }
    }

    /// One step on a batch of `n`.
    fn step(&mut self, n: usize) -> Tensor {
        let x = Tensor::from_vec(fill(7, n * 784, 1.0), [n, 784], &self.dev);
        let t: Vec<i32> = (0..n as i32).map(|i| i % 10).collect();
        let t = Tensor::from_vec(t, n, &self.dev);
        self.adam.zero_grad();
        let loss = self.model.forward(&x).cross_entropy(&t);
        loss.backward().unwrap();
        self.adam.step().unwrap();
        loss
    }

    fn counted(&mut self, n: usize) -> Stats {
        let before = self.dev.stats();
        let _loss = self.step(n);
        since(&before, &self.dev.stats())
    }
}

fn since(a: &Stats, b: &Stats) -> Stats {
    Stats {
        launches: b.launches - a.launches,
        copies: b.copies - a.copies,
        clears: b.clears - a.clears,
        submits: b.submits - a.submits,
        uploads: b.uploads - a.uploads,
        reads: b.reads - a.reads,
        pipelines: b.pipelines - a.pipelines,
        bind_groups: b.bind_groups - a.bind_groups,
        allocations: b.allocations - a.allocations,
        plan_hits: b.plan_hits - a.plan_hits,
        plan_misses: b.plan_misses - a.plan_misses,
        ..*b
    }
}

#[test]
fn a_training_step_is_11_commands_and_nothing_new() {
    let Some(dev) = open_gpu(DeviceOptions::gpu().fusion(true)) else {
        return;
    };
    let mut training = Training::new(&dev);
    for _ in 0..3 {
        let _ = training.counted(128);
    }
    for step in 4..8 {
        let s = training.counted(128);
        assert!(s.launches + s.copies + s.clears <= 11, "step {step}: {s:?}");
        assert_eq!(s.submits, 1, "step {step}: {s:?}");
        assert_eq!(
            (s.pipelines, s.allocations, s.bind_groups),
            (0, 0, 0),
            "step {step}: {s:?}"
        );
        assert_eq!((s.plan_hits, s.plan_misses), (1, 0), "step {step}: {s:?}");
    }
    let s = training.counted(96);
    assert_eq!(s.pipelines, 0, "batch 96: {s:?}");
    let s = training.counted(29);
    assert!(s.pipelines <= s.launches, "batch 29: {s:?}");
    let s = training.counted(31);
    assert_eq!(s.pipelines, 0, "batch 31 after 29: {s:?}");
}

#[test]
fn memory_stays_flat_over_1000_steps() {
    let Some(dev) = gpu() else { return };
    let mut training = Training::new(&dev);
    let (mut at_10, mut at_1000) = (Stats::default(), Stats::default());
    for step in 1..=1000 {
        let loss = training.step(128);
        match step {
            10 => at_10 = dev.stats(),
            1000 => at_1000 = dev.stats(),
            _ => {}
        }
        // The first read takes a buffer to read into.
        if step == 5 || step % 100 == 0 {
            assert!(loss.item::<f32>().unwrap().is_finite());
        }
    }
    assert_eq!(at_1000.live_bytes, at_10.live_bytes);
    assert_eq!(at_1000.peak_bytes, at_10.peak_bytes);
    assert_eq!(at_1000.allocations, at_10.allocations);
}

#[test]
fn a_chain_of_elementwise_operations_is_one_launch() {
    let Some(dev) = open_gpu(DeviceOptions::gpu().fusion(true)) else {
        return;
    };
    let x = Tensor::from_vec(fill(3, 1000, 2.0), 1000, &dev).requires_grad();
    let chain = |x: &Tensor| (x * 2.0 + 1.0).gelu() * x.sigmoid() - x.tanh();
    dev.synchronize().unwrap();
    let before = dev.stats();
    let y = chain(&x.detach());
    dev.synchronize().unwrap();
    assert_eq!(since(&before, &dev.stats()).launches, 1);
    drop(y);
    // Forward and gradient recorded together: still one.
    let g = Tensor::from_vec(fill(4, 1000, 1.0), 1000, &dev);
    let before = dev.stats();
    let y = chain(&x);
    y.backward_with(&g).unwrap();
    dev.synchronize().unwrap();
    let s = since(&before, &dev.stats());
    assert_eq!(s.launches, 1, "{s:?}");
    // The gradient alone, after the forward pass has run.
    x.zero_grad();
    let y = chain(&x);
    dev.synchronize().unwrap();
    let before = dev.stats();
    y.backward_with(&g).unwrap();
    dev.synchronize().unwrap();
    let s = since(&before, &dev.stats());
    assert_eq!(s.launches, 1, "{s:?}");
}

#[test]
fn reads_cost_one_submit() {
    let Some(dev) = gpu() else { return };
    let x = Tensor::from_vec(fill(3, 100, 2.0), 100, &dev);
    dev.synchronize().unwrap();
    let before = dev.stats();
    assert_eq!(x.to_vec::<f32>().unwrap().len(), 100);
    let s = since(&before, &dev.stats());
    assert_eq!((s.reads, s.launches), (1, 0), "{s:?}");
}

#[test]
fn dropout_residual_and_scale_are_a_products_epilogue() {
    let cpu = DeviceOptions::cpu().fusion(true).open().unwrap();
    let gpu = open_gpu(DeviceOptions::gpu().fusion(true));
    for dev in std::iter::once(cpu).chain(gpu) {
        let x = Tensor::from_vec(fill(1, 64 * 48, 1.0), [64, 48], &dev);
        let w = Tensor::from_vec(fill(2, 48 * 48, 1.0), [48, 48], &dev);
        let b = Tensor::from_vec(fill(3, 48, 1.0), 48, &dev);
        let dropout = wgrad::nn::Dropout::new(0.4);
        let block = || {
            let y = dropout.forward(&x.linear(&w, Some(&b)).relu()).unwrap();
            (y + &x) * 0.5
        };
        dev.synchronize().unwrap();
        let before = dev.stats();
        let y = block();
        dev.synchronize().unwrap();
        assert_eq!(since(&before, &dev.stats()).launches, 1);
        drop(y);
    }
}

#[test]
fn gradients_that_stay_are_copied_once() {
    let cpu = DeviceOptions::cpu().fusion(true).open().unwrap();
    let gpu = open_gpu(DeviceOptions::gpu().fusion(true));
    for dev in std::iter::once(cpu).chain(gpu) {
        let given = |i: u64| Tensor::from_vec(fill(50 + i, 10, 1.0), 10, &dev);
        let parameters: Vec<Tensor> = (0..5).map(|_| Tensor::zeros(10, &dev)).collect();
        let parameters: Vec<Tensor> = parameters.into_iter().map(Tensor::requires_grad).collect();
        for (i, p) in (0..).zip(&parameters) {
            p.set_grad(&given(i)).unwrap();
        }
        let mut adam = Adam::new(parameters.clone(), AdamOptions::default());
        let mut step = || {
            let before = dev.stats();
            adam.step().unwrap();
            since(&before, &dev.stats()).copies
        };
        step(); // lays the arenas out
        assert_eq!(step(), 0);
        // The gradients are still what they were, also for whoever holds one of them.
        let held = parameters[2].grad().unwrap();
        parameters[2].set_grad(&given(9)).unwrap();
        assert!(step() >= 1);
        assert_eq!(step(), 0);
        let numbers = |t: &Tensor| t.to_vec::<f32>().unwrap();
        assert_eq!(numbers(&held), fill(52, 10, 1.0));
        assert_eq!(numbers(&parameters[2].grad().unwrap()), fill(59, 10, 1.0));
        assert_eq!(numbers(&parameters[4].grad().unwrap()), fill(54, 10, 1.0));
    }
}

#[test]
fn elementwise_work_is_the_epilogue_of_an_operation() {
    let cpu = DeviceOptions::cpu().fusion(true).open().unwrap();
    let gpu = open_gpu(DeviceOptions::gpu().fusion(true));
    for dev in std::iter::once(cpu).chain(gpu) {
        let launches = |f: &dyn Fn() -> Tensor| {
            dev.synchronize().unwrap();
            let before = dev.stats();
            let kept = f();
            dev.synchronize().unwrap();
            drop(kept);
            since(&before, &dev.stats()).launches
        };
        // A network's input: words, their places, and a scale.
        let words = Tensor::from_vec(fill(1, 50 * 32, 1.0), [50, 32], &dev);
        let places = Tensor::from_vec(fill(2, 8 * 32, 1.0), [8, 32], &dev);
        let index = Tensor::from_vec((0..24).collect::<Vec<i32>>(), [3, 8], &dev);
        assert_eq!(launches(&|| (words.embedding(&index) + &places) * 2.0), 1);
        // The gradient of a pooled activation: the mask of the ReLU where the windows' elements are put.
        let x = Tensor::from_vec(fill(3, 3 * 64, 1.0), [3, 1, 8, 8], &dev).requires_grad();
        let by = Tensor::from_vec(fill(4, 3 * 16, 1.0), [3, 1, 4, 4], &dev);
        let gradient = || {
            x.relu().max_pool2d([2, 2]).backward_with(&by).unwrap();
            x.grad().unwrap()
        };
        assert_eq!(launches(&gradient), 3); // the activation, and the positions of its largest elements
        let unit = Tensor::from_vec(fill(5, 3 * 16, 1.0), [3, 1, 4, 4], &dev);
        assert_eq!(launches(&|| unit.avg_pool2d([2, 2])), 1);
    }
}

/// Sums of channels have a workgroup for each, of everything many for one.
#[test]
fn sums_of_channels_are_one_launch() {
    let Some(dev) = open_gpu(DeviceOptions::gpu().fusion(true)) else {
        return;
    };
    for (shape, dims, most) in [
        ([64, 64, 14, 14], vec![0, 2, 3], 1),
        ([3, 33, 77, 91], vec![0, 2, 3], 1),
        ([1, 2, 700, 701], vec![0, 1, 2, 3], 2),
    ] {
        let data = fill(1, shape.iter().product(), 1.0);
        let x = Tensor::from_vec(data.clone(), shape, &dev);
        dev.synchronize().unwrap();
        let before = dev.stats();
        let sums = x.sum_dims(&dims[..], false);
        dev.synchronize().unwrap();
        assert_eq!(since(&before, &dev.stats()).launches, most);
        let sums = sums.to_vec::<f32>().unwrap();
        let channels = shape[1].min(if most == 1 { usize::MAX } else { 1 });
        let mut want = vec![0f64; channels];
        for (plane, part) in data.chunks(shape[2] * shape[3]).enumerate() {
            want[plane % channels] += part.iter().map(|&v| f64::from(v)).sum::<f64>();
        }
        assert_eq!(sums.len(), channels);
        for (got, want) in sums.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-3, "{got} but {want}");
        }
    }
}

/// The network that wgrad is compared with others on: two layers of convolution, ReLU and max pooling, two linear ones.
#[test]
fn a_training_step_of_a_cnn_is_24_launches() {
    let cpu = DeviceOptions::cpu().fusion(true).open().unwrap();
    let gpu = open_gpu(DeviceOptions::gpu().fusion(true));
    for (dev, most) in std::iter::once((cpu, 23)).chain(gpu.map(|gpu| (gpu, 24))) {
        let weight = |seed: u64, shape: &[usize]| {
            let n = shape.iter().product();
            Tensor::from_vec(fill(seed, n, 0.05), shape, &dev).requires_grad()
        };
        let w = [
            weight(1, &[32, 1, 3, 3]),
            weight(2, &[32]),
            weight(3, &[64, 32, 3, 3]),
            weight(4, &[64]),
            weight(5, &[128, 3136]),
            weight(6, &[128]),
            weight(7, &[10, 128]),
            weight(8, &[10]),
        ];
        let x = Tensor::from_vec(fill(9, 64 * 784, 1.0), [64, 1, 28, 28], &dev);
        let t = Tensor::from_vec((0..64).map(|i| i % 10).collect::<Vec<i32>>(), 64, &dev);
        let mut adam = Adam::new(w.to_vec(), AdamOptions::default());
        let options = ConvOptions {
            padding: ConvPadding::Same,
            ..ConvOptions::default()
        };
        let layer = |x: &Tensor, weight, bias| {
            let y = x.conv2d_with(weight, Some(bias), options).relu();
            y.max_pool2d([2, 2])
        };
        let mut step = || {
            let before = dev.stats();
            adam.zero_grad();
            let h = layer(&layer(&x, &w[0], &w[1]), &w[2], &w[3]).flatten_from(1);
            let h = h
                .linear(&w[4], Some(&w[5]))
                .relu()
                .linear(&w[6], Some(&w[7]));
            let loss = h.cross_entropy(&t);
            loss.backward().unwrap();
            adam.step().unwrap();
            since(&before, &dev.stats()).launches
        };
        step(); // lays the arenas out
        let launches = step();
        assert!(launches <= most, "{launches} on {dev}");
    }
}

/// A GPT of two blocks. Attention is one launch forward, and two backward on GPUs; those that are no CPUs split long
/// products, and sum the parts in launches of their own.
#[test]
fn a_training_step_of_a_gpt_is_57_commands_and_59_on_software_gpus() {
    const WIDTH: usize = 128;
    let cpu = DeviceOptions::cpu().fusion(true).open().unwrap();
    let gpus = open_gpu(DeviceOptions::gpu().fusion(true)).into_iter();
    for dev in std::iter::once(cpu).chain(gpus).chain(flash_gpu()) {
        let most = match dev.to_string() {
            name if name.starts_with("CPU") => 57,
            name if name.contains("software") => 59,
            _ => 76,
        };
        let mut parameters: Vec<Tensor> = Vec::new();
        let mut weight = |shape: &[usize]| {
            let (seed, n) = (parameters.len() as u64, shape.iter().product());
            let values = fill(seed, n, 0.1);
            parameters.push(Tensor::from_vec(values, shape, &dev).requires_grad());
            parameters[seed as usize].clone()
        };
        let (words, places) = (weight(&[256, WIDTH]), weight(&[64, WIDTH]));
        let mut pair = |n: usize, k: usize| [weight(&[n, k]), weight(&[n])];
        let mut block = || {
            let [scale, narrow] = [[WIDTH, WIDTH], [WIDTH, 4 * WIDTH]].map(|[n, k]| pair(n, k));
            (
                pair(3 * WIDTH, WIDTH),
                scale,
                pair(4 * WIDTH, WIDTH),
                narrow,
            )
        };
        let blocks = [block(), block()];
        let mut norm = || [weight(&[WIDTH]), weight(&[WIDTH])];
        let norms: [_; 5] = std::array::from_fn(|_| norm());
        let head = weight(&[256, WIDTH]);
        let normed = |x: &Tensor, i: usize| {
            let [scale, shift] = &norms[i];
            x.layer_norm([WIDTH], Some(scale), Some(shift), 1e-5)
        };
        let ids = |from: i32| {
            let ids: Vec<i32> = (0..1024).map(|i| (i * 37 + from) % 256).collect();
            Tensor::from_vec(ids, [16, 64], &dev)
        };
        let (x, y) = (ids(0), ids(37));
        let causal = AttentionOptions {
            is_causal: true,
            ..AttentionOptions::default()
        };
        let mut adam = AdamW::new(parameters, AdamWOptions::default());
        let mut step = || {
            let before = dev.stats();
            adam.zero_grad();
            let mut h = words.embedding(&x) + &places;
            for (i, (qkv, out, widen, narrow)) in blocks.iter().enumerate() {
                let linear = |x: &Tensor, [w, b]: &[Tensor; 2]| x.linear(w, Some(b));
                let qkv = linear(&normed(&h, 2 * i), qkv);
                let qkv = qkv.reshape([16, 64, 3, 4, 32]).permute([2, 0, 3, 1, 4]);
                let [q, k, v] = [0, 1, 2].map(|part| qkv.select(0, part));
                let mixed = q.scaled_dot_product_attention_with(&k, &v, causal.clone());
                let mixed = mixed.transpose(1, 2).reshape([16, 64, WIDTH]);
                h = h + linear(&mixed, out);
                let wide = linear(&normed(&h, 2 * i + 1), widen).gelu();
                h = &h + linear(&wide, narrow);
            }
            let logits = normed(&h, 4).linear(&head, None).reshape([1024, 256]);
            logits.cross_entropy(&y.reshape([1024])).backward().unwrap();
            adam.step().unwrap();
            let s = since(&before, &dev.stats());
            s.launches + s.copies + s.clears
        };
        step(); // lays the arenas out
        let commands = step();
        assert!(commands <= most, "{commands} on {dev}");
    }
}
