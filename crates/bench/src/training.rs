//! The cases that train: the same weights, batch and optimizer in every framework.

use wgrad::nn::{Linear, Module};
use wgrad::optim::{Adam, AdamOptions, AdamW, AdamWOptions, Optimizer};
use wgrad::{AttentionOptions, ConvOptions, ConvPadding, Device, Result, Tensor};

use crate::inputs::{integers, rsqrt, tensor};
use crate::measure::{Bench, Line, Schedule};

/// Weights from `seed`, biases from the seed after it.
fn linear(dev: &Device, seed: u32, inputs: usize, outputs: usize) -> Linear {
    let scale = rsqrt(inputs);
    Linear::from_tensors(
        tensor(dev, seed, &[outputs, inputs], scale),
        Some(tensor(dev, seed + 1, &[outputs], scale)),
    )
}

fn apply(layer: &Linear, x: &Tensor) -> Tensor {
    x.linear(&layer.weight, layer.bias.as_ref())
}

fn classes(dev: &Device, seed: u32, rows: usize, count: u32) -> Tensor {
    Tensor::from_vec(integers(seed, rows, count), [rows], dev)
}

/// A step: forward, backward, update; the loss where it is wanted.
fn step(optimizer: &mut dyn Optimizer, loss: &dyn Fn() -> Tensor, read: bool) -> Result<f64> {
    optimizer.zero_grad();
    let loss = loss();
    loss.backward()?;
    optimizer.step()?;
    if read {
        loss.item::<f32>().map(f64::from)
    } else {
        Ok(0.0)
    }
}

/// A perceptron of 784, 512, 256 and 10, batch 128, Adam.
pub fn mlp_step(b: &Bench, case: &str) -> Result<()> {
    let dev = &b.dev;
    let layers = [
        linear(dev, 10, 784, 512),
        linear(dev, 12, 512, 256),
        linear(dev, 14, 256, 10),
    ];
    let x = tensor(dev, 100, &[128, 784], 0.5);
    let y = classes(dev, 101, 128, 10);
    let parameters = layers.iter().flat_map(Module::parameters).collect();
    let mut adam = Adam::new(parameters, AdamOptions::default());
    let loss = || {
        let h = apply(&layers[0], &x).relu();
        let h = apply(&layers[1], &h).relu();
        apply(&layers[2], &h).cross_entropy(&y)
    };
    let schedule = Schedule {
        check_step: 20,
        per_repetition: 20,
        read_each: false,
    };
    b.train(case, schedule, &mut |read| step(&mut adam, &loss, read))
}

/// A convolution's weight from `seed` and bias from the seed after it.
fn kernel(dev: &Device, seed: u32, inputs: usize, outputs: usize) -> [Tensor; 2] {
    let scale = rsqrt(inputs * 9);
    let weight = tensor(dev, seed, &[outputs, inputs, 3, 3], scale);
    let bias = tensor(dev, seed + 1, &[outputs], scale);
    [weight.requires_grad(), bias.requires_grad()]
}

/// Two convolutions of 3 x 3 to 32 and 64 channels, each with ReLU and pooling by 2, and two layers; pictures of
/// 28 x 28, batch 64, Adam.
pub fn cnn_step(b: &Bench, case: &str) -> Result<()> {
    let dev = &b.dev;
    let kernels = [kernel(dev, 10, 1, 32), kernel(dev, 12, 32, 64)];
    let layers = [linear(dev, 14, 3136, 128), linear(dev, 16, 128, 10)];
    let x = tensor(dev, 100, &[64, 1, 28, 28], 1.0);
    let y = classes(dev, 101, 64, 10);
    let parameters = kernels.iter().flatten().cloned();
    let parameters = parameters.chain(layers.iter().flat_map(Module::parameters));
    let mut adam = Adam::new(parameters.collect(), AdamOptions::default());
    let options = ConvOptions {
        padding: ConvPadding::Same,
        ..ConvOptions::default()
    };
    let loss = || {
        let layer = |x: &Tensor, [weight, bias]: &[Tensor; 2]| {
            let y = x.conv2d_with(weight, Some(bias), options).relu();
            y.max_pool2d([2, 2])
        };
        let h = layer(&layer(&x, &kernels[0]), &kernels[1]);
        let h = apply(&layers[0], &h.flatten_from(1)).relu();
        apply(&layers[1], &h).cross_entropy(&y)
    };
    let schedule = Schedule {
        check_step: 5,
        per_repetition: 4,
        read_each: false,
    };
    b.train(case, schedule, &mut |read| step(&mut adam, &loss, read))
}

/// One layer of 4 and 2, batch 2, Adam: what a step costs where there is nothing to compute.
pub fn tiny_step(b: &Bench, case: &str, read_each: bool) -> Result<()> {
    let dev = &b.dev;
    let layer = linear(dev, 10, 4, 2);
    let x = tensor(dev, 100, &[2, 4], 1.0);
    let y = Tensor::new([0, 1], dev);
    let mut adam = Adam::new(layer.parameters(), AdamOptions::default());
    let loss = || apply(&layer, &x).cross_entropy(&y);
    let schedule = Schedule {
        check_step: 100,
        per_repetition: 100,
        read_each,
    };
    b.train(case, schedule, &mut |read| step(&mut adam, &loss, read))
}

const WIDTH: usize = 128;
const HEADS: usize = 4;
const BATCH: usize = 16;
const LENGTH: usize = 64;

struct Norm {
    gamma: Tensor,
    beta: Tensor,
}

impl Norm {
    fn new(dev: &Device) -> Norm {
        Norm {
            gamma: Tensor::ones([WIDTH], dev).requires_grad(),
            beta: Tensor::zeros([WIDTH], dev).requires_grad(),
        }
    }

    fn apply(&self, x: &Tensor) -> Tensor {
        x.layer_norm([WIDTH], Some(&self.gamma), Some(&self.beta), 1e-5)
    }

    fn parameters(&self) -> [Tensor; 2] {
        [self.gamma.clone(), self.beta.clone()]
    }
}

struct Block {
    norms: [Norm; 2],
    qkv: Linear,
    project: Linear,
    widen: Linear,
    narrow: Linear,
}

impl Block {
    fn new(dev: &Device, i: u32) -> Block {
        let seed = 200 + 20 * i;
        Block {
            norms: [Norm::new(dev), Norm::new(dev)],
            qkv: linear(dev, seed, WIDTH, 3 * WIDTH),
            project: linear(dev, seed + 2, WIDTH, WIDTH),
            widen: linear(dev, seed + 4, WIDTH, 4 * WIDTH),
            narrow: linear(dev, seed + 6, 4 * WIDTH, WIDTH),
        }
    }

    /// `x` is `[BATCH, LENGTH, WIDTH]`.
    fn apply(&self, x: &Tensor) -> Tensor {
        let qkv = apply(&self.qkv, &self.norms[0].apply(x))
            .reshape([BATCH, LENGTH, 3, HEADS, WIDTH / HEADS])
            .permute([2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|i| qkv.select(0, i));
        let options = AttentionOptions {
            is_causal: true,
            ..AttentionOptions::default()
        };
        let mixed = q
            .scaled_dot_product_attention_with(&k, &v, options)
            .transpose(1, 2)
            .reshape([BATCH, LENGTH, WIDTH]);
        let x = x + apply(&self.project, &mixed);
        let wide = apply(&self.widen, &self.norms[1].apply(&x)).gelu();
        &x + apply(&self.narrow, &wide)
    }

    fn parameters(&self) -> Vec<Tensor> {
        let norms = self.norms.iter().flat_map(Norm::parameters);
        let layers = [&self.qkv, &self.project, &self.widen, &self.narrow];
        norms
            .chain(layers.into_iter().flat_map(Module::parameters))
            .collect()
    }
}

/// Rows of 65 tokens: the first 64 are inputs, the last 64 the classes to predict.
fn tokens(dev: &Device) -> (Tensor, Tensor) {
    let ids = integers(170, BATCH * (LENGTH + 1), 256);
    let rows = || ids.chunks(LENGTH + 1);
    let x: Vec<i32> = rows().flat_map(|r| r[..LENGTH].to_vec()).collect();
    let y: Vec<i32> = rows().flat_map(|r| r[1..].to_vec()).collect();
    (
        Tensor::from_vec(x, [BATCH, LENGTH], dev),
        Tensor::from_vec(y, [BATCH * LENGTH], dev),
    )
}

/// Trains a GPT of two blocks, AdamW.
pub fn gpt(b: &Bench) -> Result<Line<'static>> {
    let dev = &b.dev;
    let variable = |seed, shape: &[usize], scale| tensor(dev, seed, shape, scale).requires_grad();
    let table = variable(150, &[256, WIDTH], 0.05);
    let places = variable(151, &[LENGTH, WIDTH], 0.05);
    let head = variable(160, &[256, WIDTH], rsqrt(WIDTH));
    let blocks = [Block::new(dev, 0), Block::new(dev, 1)];
    let last = Norm::new(dev);
    let (x, y) = tokens(dev);
    let mut parameters = vec![table.clone(), places.clone(), head.clone()];
    parameters.extend(last.parameters());
    parameters.extend(blocks.iter().flat_map(Block::parameters));
    let mut adam = AdamW::new(parameters, AdamWOptions::default());
    let loss = || {
        let mut h = table.embedding(&x) + &places;
        for block in &blocks {
            h = block.apply(&h);
        }
        let logits = last.apply(&h).linear(&head, None);
        logits.reshape([BATCH * LENGTH, 256]).cross_entropy(&y)
    };
    let schedule = Schedule {
        check_step: 5,
        per_repetition: 5,
        read_each: false,
    };
    b.train_line("gpt_step", schedule, &mut |read| {
        step(&mut adam, &loss, read)
    })
}

/// [`gpt`] as a case.
pub fn gpt_step(b: &Bench, _: &str) -> Result<()> {
    let line = gpt(b)?;
    b.print(line);
    Ok(())
}
