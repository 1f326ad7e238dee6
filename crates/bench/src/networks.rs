//! What networks are made of, forward and backward: convolutions, attention, batch norm, an LSTM.
//!
//! A repetition computes `sum(f(x, ..) * gy)` and the gradients of every operand. The checks are the means of
//! the absolute values of the first two gradients.

use wgrad::{
    AttentionOptions, BatchNormOptions, CellWeights, ConvOptions, ConvPadding,
    ConvTransposeOptions, RecurrenceOptions, Result, Tensor,
};

use crate::inputs::{mean_abs, rsqrt, tensor};
use crate::measure::{Bench, Work};

/// Measures `f` of variables made from seeds 1, 2, .. with these shapes and scales, with all gradients.
fn gradients(
    b: &Bench,
    case: &str,
    work: Work,
    operands: &[(&[usize], f32)],
    f: impl Fn(&[Tensor]) -> Tensor,
) -> Result<()> {
    let variable = |(seed, (shape, scale)): (u32, &(&[usize], f32))| {
        tensor(&b.dev, seed, shape, *scale).requires_grad()
    };
    let operands: Vec<Tensor> = (1..).zip(operands).map(variable).collect();
    let gy = tensor(&b.dev, 100, f(&operands).shape()?.dims(), 0.5);
    b.measure(
        case,
        work,
        || {
            operands.iter().for_each(Tensor::zero_grad);
            // Somebody holds the loss, or it would not be computed.
            let loss = (f(&operands) * &gy).sum();
            loss.backward()?;
            b.wait()?;
            Ok([operands[0].grad()?, operands[1].grad()?, loss])
        },
        |[first, second, _]| {
            let [first, second] = [first.to_vec::<f32>()?, second.to_vec::<f32>()?];
            Ok((mean_abs(&first), Some(mean_abs(&second))))
        },
    )
}

/// The multiply-adds of a convolution and its two gradients, counted twice.
fn flops(outputs: &[usize], window: &[usize]) -> Work {
    let product = |sizes: &[usize]| sizes.iter().product::<usize>();
    Work::Flops(3 * 2 * product(outputs) * product(window))
}

/// 64 to 64 channels, 3 x 3, the middle of a ResNet.
pub fn conv2d_3x3(b: &Bench, case: &str) -> Result<()> {
    let options = ConvOptions {
        padding: ConvPadding::Same,
        ..ConvOptions::default()
    };
    let operands: [(&[usize], f32); 3] = [
        (&[8, 64, 56, 56], 1.0),
        (&[64, 64, 3, 3], rsqrt(576)),
        (&[64], 0.1),
    ];
    let work = flops(&[8, 64, 56, 56], &[64, 3, 3]);
    gradients(b, case, work, &operands, |o| {
        o[0].conv2d_with(&o[1], Some(&o[2]), options)
    })
}

/// 256 to 64 channels, 1 x 1, the entrance of a bottleneck.
pub fn conv2d_1x1(b: &Bench, case: &str) -> Result<()> {
    let operands: [(&[usize], f32); 2] = [(&[8, 256, 28, 28], 1.0), (&[64, 256, 1, 1], rsqrt(256))];
    let work = flops(&[8, 64, 28, 28], &[256]);
    gradients(b, case, work, &operands, |o| o[0].conv2d(&o[1], None))
}

/// 3 to 64 channels, 7 x 7, every other place, the entrance of a ResNet.
pub fn conv2d_7x7_stride2(b: &Bench, case: &str) -> Result<()> {
    let options = ConvOptions {
        stride: [2, 2],
        padding: ConvPadding::Zeros([3, 3]),
        ..ConvOptions::default()
    };
    let operands: [(&[usize], f32); 2] = [(&[8, 3, 112, 112], 1.0), (&[64, 3, 7, 7], rsqrt(147))];
    let work = flops(&[8, 64, 56, 56], &[3, 7, 7]);
    gradients(b, case, work, &operands, |o| {
        o[0].conv2d_with(&o[1], None, options)
    })
}

/// 128 channels apart from each other, 3 x 3.
pub fn conv2d_depthwise(b: &Bench, case: &str) -> Result<()> {
    let options = ConvOptions {
        padding: ConvPadding::Same,
        groups: 128,
        ..ConvOptions::default()
    };
    let operands: [(&[usize], f32); 2] = [(&[8, 128, 28, 28], 1.0), (&[128, 1, 3, 3], rsqrt(9))];
    let work = flops(&[8, 128, 28, 28], &[3, 3]);
    gradients(b, case, work, &operands, |o| {
        o[0].conv2d_with(&o[1], None, options)
    })
}

/// 16 to 32 channels, windows of 9, a second of sound.
pub fn conv1d_16000(b: &Bench, case: &str) -> Result<()> {
    let options = ConvOptions {
        padding: ConvPadding::Same,
        ..ConvOptions::default()
    };
    let operands: [(&[usize], f32); 2] = [(&[4, 16, 16_000], 1.0), (&[32, 16, 9], rsqrt(144))];
    let work = flops(&[4, 32, 16_000], &[16, 9]);
    gradients(b, case, work, &operands, |o| {
        o[0].conv1d_with(&o[1], None, options)
    })
}

/// 64 to 32 channels, 4 x 4, twice the height and width, a step of a generator.
pub fn conv_transpose2d_4x4(b: &Bench, case: &str) -> Result<()> {
    let options = ConvTransposeOptions {
        stride: [2, 2],
        padding: [1, 1],
        ..ConvTransposeOptions::default()
    };
    let operands: [(&[usize], f32); 2] = [(&[8, 64, 32, 32], 1.0), (&[64, 32, 4, 4], rsqrt(256))];
    let work = flops(&[8, 64, 32, 32], &[32, 4, 4]);
    gradients(b, case, work, &operands, |o| {
        o[0].conv_transpose2d_with(&o[1], None, options)
    })
}

fn attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
    let options = AttentionOptions {
        is_causal: true,
        ..AttentionOptions::default()
    };
    q.scaled_dot_product_attention_with(k, v, options)
}

const QUERIES: &[usize] = &[1, 8, 512, 64];

/// Causal attention of 8 heads over 512 places of 64, forward only.
pub fn attention_forward(b: &Bench, case: &str) -> Result<()> {
    let [q, k, v] = [1, 2, 3].map(|seed| tensor(&b.dev, seed, QUERIES, 1.0));
    // Half of the scores count.
    let work = Work::Flops(2 * 8 * 512 * 512 * 64);
    b.measure(
        case,
        work,
        || {
            let y = attention(&q, &k, &v);
            b.wait()?;
            y.checked()
        },
        |y| Ok((mean_abs(&y.to_vec::<f32>()?), None)),
    )
}

/// The same with all gradients.
pub fn attention_gradients(b: &Bench, case: &str) -> Result<()> {
    let operands = [(QUERIES, 1.0); 3];
    let work = Work::Flops(7 * 8 * 512 * 512 * 64);
    gradients(b, case, work, &operands, |o| attention(&o[0], &o[1], &o[2]))
}

/// Batch norm in training over 64 channels.
pub fn batch_norm(b: &Bench, case: &str) -> Result<()> {
    let operands: [(&[usize], f32); 3] = [(&[16, 64, 56, 56], 1.0), (&[64], 1.0), (&[64], 0.1)];
    gradients(b, case, Work::Unknown, &operands, |o| {
        let options = BatchNormOptions {
            weight: Some(o[1].clone()),
            bias: Some(o[2].clone()),
            ..BatchNormOptions::default()
        };
        o[0].batch_norm(options).output
    })
}

/// An LSTM of 128 over 100 steps of 32 sequences.
pub fn lstm_128x100(b: &Bench, case: &str) -> Result<()> {
    let scale = rsqrt(128);
    let operands: [(&[usize], f32); 5] = [
        (&[100, 32, 128], 1.0),
        (&[512, 128], scale),
        (&[512, 128], scale),
        (&[512], scale),
        (&[512], scale),
    ];
    let zero = Tensor::zeros([1, 32, 128], &b.dev);
    let work = Work::Flops(3 * 2 * 100 * 32 * 512 * 256);
    gradients(b, case, work, &operands, |o| {
        let layer = CellWeights {
            w_ih: o[1].clone(),
            w_hh: o[2].clone(),
            b_ih: Some(o[3].clone()),
            b_hh: Some(o[4].clone()),
        };
        o[0].lstm(&zero, &zero, &[layer], RecurrenceOptions::default())
            .0
    })
}

/// An LSTM of 512 over 100 steps of one sequence, forward only.
pub fn lstm_512x100_alone(b: &Bench, case: &str) -> Result<()> {
    let scale = rsqrt(512);
    let operands: [(&[usize], f32); 5] = [
        (&[100, 1, 512], 1.0),
        (&[2048, 512], scale),
        (&[2048, 512], scale),
        (&[2048], scale),
        (&[2048], scale),
    ];
    let make = |(seed, (shape, scale)): (u32, (&[usize], f32))| tensor(&b.dev, seed, shape, scale);
    let [x, w_ih, w_hh, b_ih, b_hh] = [0, 1, 2, 3, 4].map(|i| make((i + 1, operands[i as usize])));
    let layer = CellWeights {
        w_ih,
        w_hh,
        b_ih: Some(b_ih),
        b_hh: Some(b_hh),
    };
    let zero = Tensor::zeros([1, 1, 512], &b.dev);
    let work = Work::Flops(2 * 100 * 2048 * 1024);
    b.measure(
        case,
        work,
        || {
            let layer = std::slice::from_ref(&layer);
            let y = x.lstm(&zero, &zero, layer, RecurrenceOptions::default()).0;
            b.wait()?;
            y.checked()
        },
        |y| Ok((mean_abs(&y.to_vec::<f32>()?), None)),
    )
}
