//! The cases that are not trainings.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wgrad::optim::{Adam, AdamOptions, Optimizer};
use wgrad::{Result, Tensor};
use wgrad_bench::ceilings::{self, Ceiling};

use crate::inputs::{integers, mean, mean_abs, rsqrt, sum_abs, sum_squares, tensor, values};
use crate::measure::{Bench, Work};
use crate::{networks, training};

type Case = (&'static str, fn(&Bench, &str) -> Result<()>);

const CASES: &[Case] = &[
    ("matmul_256", |b, c| matmul(b, c, [256, 256, 256], STORED)),
    ("matmul_512", |b, c| matmul(b, c, [512, 512, 512], STORED)),
    ("matmul_1024", |b, c| {
        matmul(b, c, [1024, 1024, 1024], STORED)
    }),
    ("matmul_2048", |b, c| {
        matmul(b, c, [2048, 2048, 2048], STORED)
    }),
    ("matmul_777", |b, c| matmul(b, c, [777, 777, 777], STORED)),
    ("matmul_33x4097x65", |b, c| {
        matmul(b, c, [33, 4097, 65], STORED)
    }),
    ("matmul_16x512x512", |b, c| {
        matmul(b, c, [16, 512, 512], STORED)
    }),
    ("matmul_64x784x512", |b, c| {
        matmul(b, c, [64, 784, 512], STORED)
    }),
    ("matmul_t_512", |b, c| {
        matmul(
            b,
            c,
            [512, 512, 512],
            Stored {
                a_turned: true,
                ..STORED
            },
        )
    }),
    ("matmul_nt_512", |b, c| {
        matmul(
            b,
            c,
            [512, 512, 512],
            Stored {
                b_turned: true,
                ..STORED
            },
        )
    }),
    ("matmul_tt_512", |b, c| {
        let turned = Stored {
            a_turned: true,
            b_turned: true,
            ..STORED
        };
        matmul(b, c, [512, 512, 512], turned)
    }),
    ("matmul_new_512", |b, c| {
        matmul(
            b,
            c,
            [512, 512, 512],
            Stored {
                new: true,
                ..STORED
            },
        )
    }),
    ("bmm_32x128x64x128", batched),
    ("gemv_1x2048x2048", |b, c| {
        matmul(b, c, [1, 2048, 2048], STORED)
    }),
    ("linear_relu_256x784x512", linear_relu),
    ("ce_4096x1000", |b, c| cross_entropy(b, c, 4096, 1000)),
    ("ce_256x32000", |b, c| cross_entropy(b, c, 256, 32_000)),
    ("adam_10m", |b, c| adam(b, c, 1, 10_000_000)),
    ("adam_100x10k", |b, c| adam(b, c, 100, 10_000)),
    ("eltwise_chain_4m", chain_forward),
    ("eltwise_chain_4m_grad", chain_gradient),
    ("layernorm_4096x768", layer_norm),
    ("softmax_4096x1024", softmax),
    ("sum_rows_4096", |b, c| sum(b, c, 1)),
    ("sum_cols_4096", |b, c| sum(b, c, 0)),
    ("conv2d_3x3", networks::conv2d_3x3),
    ("conv2d_1x1", networks::conv2d_1x1),
    ("conv2d_7x7_stride2", networks::conv2d_7x7_stride2),
    ("conv2d_depthwise", networks::conv2d_depthwise),
    ("conv1d_16000", networks::conv1d_16000),
    ("conv_transpose2d_4x4", networks::conv_transpose2d_4x4),
    ("attention_8x512x64", networks::attention_forward),
    ("attention_8x512x64_grad", networks::attention_gradients),
    ("batch_norm_16x64x56x56", networks::batch_norm),
    ("lstm_128x100", networks::lstm_128x100),
    ("lstm_512x100_alone", networks::lstm_512x100_alone),
    ("mlp_step", training::mlp_step),
    ("cnn_step", training::cnn_step),
    ("gpt_step", training::gpt_step),
    ("tiny_step", |b, c| training::tiny_step(b, c, true)),
    ("tiny_step_nosync", |b, c| training::tiny_step(b, c, false)),
    ("scalar_add_1000", scalar_add),
    ("ceiling_copy", |b, c| {
        ceiling(b, c, ceilings::copy(&b.dev)?)
    }),
    ("ceiling_fma", |b, c| ceiling(b, c, ceilings::fma(&b.dev)?)),
];

/// Runs the cases whose names contain one of the words, all where there is none.
pub fn run(bench: &Bench, words: &[String]) {
    for (name, case) in CASES {
        if !words.is_empty() && !words.iter().any(|w| name.contains(w.as_str())) {
            continue;
        }
        match catch_unwind(AssertUnwindSafe(|| case(bench, name))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => bench.error(name, &error.to_string()),
            Err(_) => bench.error(name, "panic"),
        }
    }
}

fn ceiling(b: &Bench, case: &str, mut ceiling: Ceiling) -> Result<()> {
    let work = ceiling.work;
    b.measure(case, work, || ceiling.run(), |done| Ok((done, None)))
}

/// Records, and waits until it is computed.
fn computed(bench: &Bench, f: impl FnOnce() -> Tensor) -> Result<Tensor> {
    let result = f();
    bench.wait()?;
    result.checked()
}

fn mean_abs_of(x: &Tensor) -> Result<f64> {
    Ok(mean_abs(&x.to_vec::<f32>()?))
}

/// How the operands of a product lie in memory.
#[derive(Clone, Copy)]
struct Stored {
    /// The first one as `[k, m]`, the second one as `[n, k]`.
    a_turned: bool,
    b_turned: bool,
    /// Whether the second one is computed anew, by a kernel, for each product: nothing that was learned of it serves
    /// the next.
    new: bool,
}

const STORED: Stored = Stored {
    a_turned: false,
    b_turned: false,
    new: false,
};

/// `[m, k] x [k, n]`.
fn matmul(b: &Bench, case: &str, [m, k, n]: [usize; 3], stored: Stored) -> Result<()> {
    let operand = |seed, [rows, columns]: [usize; 2], turned: bool| match turned {
        true => tensor(&b.dev, seed, &[columns, rows], 0.5).t(),
        false => tensor(&b.dev, seed, &[rows, columns], 0.5),
    };
    let x = operand(1, [m, k], stored.a_turned);
    let y = operand(2, [k, n], stored.b_turned);
    b.measure(
        case,
        Work::Flops(2 * m * k * n),
        || match stored.new {
            true => {
                let y = computed(b, || &y * 1.0)?;
                computed(b, || x.matmul(&y))
            }
            false => computed(b, || x.matmul(&y)),
        },
        |o| Ok((mean_abs_of(&o)?, None)),
    )
}

fn batched(b: &Bench, case: &str) -> Result<()> {
    let x = tensor(&b.dev, 1, &[32, 128, 64], 0.5);
    let y = tensor(&b.dev, 2, &[32, 64, 128], 0.5);
    b.measure(
        case,
        Work::Flops(2 * 32 * 128 * 64 * 128),
        || computed(b, || x.matmul(&y)),
        |o| Ok((mean_abs_of(&o)?, None)),
    )
}

fn linear_relu(b: &Bench, case: &str) -> Result<()> {
    let x = tensor(&b.dev, 1, &[256, 784], 0.5);
    let weight = tensor(&b.dev, 2, &[512, 784], rsqrt(784));
    let bias = tensor(&b.dev, 3, &[512], 0.1);
    b.measure(
        case,
        Work::Flops(2 * 256 * 784 * 512),
        || computed(b, || x.linear(&weight, Some(&bias)).relu()),
        |o| Ok((mean_abs_of(&o)?, None)),
    )
}

fn cross_entropy(b: &Bench, case: &str, rows: usize, classes: usize) -> Result<()> {
    let z = tensor(&b.dev, 1, &[rows, classes], 2.0).requires_grad();
    let y = Tensor::from_vec(integers(2, rows, classes as u32), [rows], &b.dev);
    b.measure(
        case,
        Work::Bytes(3 * 4 * rows * classes),
        || {
            z.zero_grad();
            let loss = z.cross_entropy(&y);
            loss.backward()?;
            b.wait()?;
            Ok((loss, z.grad()?))
        },
        |(loss, grad)| {
            let check = f64::from(loss.item::<f32>()?);
            Ok((check, Some(sum_abs(&grad.to_vec::<f32>()?))))
        },
    )
}

/// One step on `count` parameters of `n` elements; the gradients are given.
fn adam(b: &Bench, case: &str, count: usize, n: usize) -> Result<()> {
    let parameters: Vec<Tensor> = (0..count as u32)
        .map(|i| tensor(&b.dev, 10 + i, &[n], 0.5).requires_grad())
        .collect();
    for (i, p) in (0..).zip(&parameters) {
        p.set_grad(&tensor(&b.dev, 1000 + i, &[n], 0.5))?;
    }
    let mut adam = Adam::new(parameters.clone(), AdamOptions::default());
    b.measure(
        case,
        Work::Bytes(7 * 4 * n * count),
        || {
            adam.step()?;
            b.wait()
        },
        |()| {
            // The way of the first parameter along its gradient: -lr mean|g| after the first step.
            let (old, grad) = (values(10, n, 0.5), values(1000, n, 0.5));
            let new = parameters[0].to_vec::<f32>()?;
            let along = old.iter().zip(&new).zip(&grad);
            let sum: f64 = along
                .map(|((old, new), g)| f64::from(new - old) * f64::from(*g))
                .sum();
            Ok((1e3 * sum / n as f64, None))
        },
    )
}

fn chain(x: &Tensor) -> Tensor {
    (x * 2.0 + 1.0).gelu() * x.sigmoid() - x.tanh()
}

const MANY: usize = 4 << 20;

fn chain_forward(b: &Bench, case: &str) -> Result<()> {
    let x = tensor(&b.dev, 1, &[MANY], 2.0);
    b.measure(
        case,
        Work::Bytes(8 * MANY),
        || computed(b, || chain(&x)),
        |o| Ok((mean(&o.to_vec::<f32>()?), None)),
    )
}

fn chain_gradient(b: &Bench, case: &str) -> Result<()> {
    let x = tensor(&b.dev, 1, &[MANY], 2.0).requires_grad();
    b.measure(
        case,
        Work::Unknown,
        || {
            x.zero_grad();
            chain(&x).sum().backward()?;
            b.wait()?;
            x.grad()
        },
        |g| Ok((mean_abs_of(&g)?, None)),
    )
}

/// Forward and backward of `sum(layer_norm(x) * gy)`.
fn layer_norm(b: &Bench, case: &str) -> Result<()> {
    let x = tensor(&b.dev, 1, &[4096, 768], 1.0).requires_grad();
    let gamma = values(2, 768, 0.1).into_iter().map(|v| v + 1.0).collect();
    let gamma = Tensor::from_vec::<f32>(gamma, [768], &b.dev).requires_grad();
    let beta = tensor(&b.dev, 3, &[768], 0.1).requires_grad();
    let gy = tensor(&b.dev, 4, &[4096, 768], 0.5);
    b.measure(
        case,
        Work::Unknown,
        || {
            for v in [&x, &gamma, &beta] {
                v.zero_grad();
            }
            let y = x.layer_norm([768], Some(&gamma), Some(&beta), 1e-5);
            (y * &gy).sum().backward()?;
            b.wait()?;
            Ok((x.grad()?, gamma.grad()?, beta.grad()?))
        },
        |(dx, dgamma, _)| Ok((mean_abs_of(&dx)?, Some(mean_abs_of(&dgamma)?))),
    )
}

fn softmax(b: &Bench, case: &str) -> Result<()> {
    let x = tensor(&b.dev, 1, &[4096, 1024], 2.0);
    b.measure(
        case,
        Work::Bytes(8 * 4096 * 1024),
        || computed(b, || x.softmax(1)),
        |o| Ok((sum_squares(&o.to_vec::<f32>()?), None)),
    )
}

fn sum(b: &Bench, case: &str, dim: isize) -> Result<()> {
    let x = tensor(&b.dev, 1, &[4096, 4096], 0.5);
    b.measure(
        case,
        Work::Bytes(4 * 4096 * 4096),
        || computed(b, || x.sum_dims([dim], false)),
        |o| Ok((mean_abs_of(&o)?, None)),
    )
}

fn scalar_add(b: &Bench, case: &str) -> Result<()> {
    b.measure(
        case,
        Work::Unknown,
        || {
            let mut x = Tensor::zeros([1], &b.dev);
            for _ in 0..1000 {
                x = x + 1.0;
            }
            x.item::<f32>()
        },
        |x| Ok((f64::from(x), None)),
    )
}
