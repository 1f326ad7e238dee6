//! Peak memory: never much more than what is needed at one time.

mod devices;

use devices::{cpu, fill, gpu};
use wgrad::prelude::*;

const ROWS: usize = 4096;
const WIDTH: usize = 64;
/// Bytes of one activation.
const ACTIVATION: u64 = (ROWS * WIDTH * 4) as u64;

fn both() -> Vec<Device> {
    std::iter::once(cpu()).chain(gpu()).collect()
}

fn weights(n: usize, dev: &Device) -> Vec<Tensor> {
    let scale = 2.0 / (WIDTH as f32).sqrt();
    (0..n)
        .map(|i| Tensor::from_vec(fill(i as u64, WIDTH * WIDTH, scale), [WIDTH, WIDTH], dev))
        .map(Tensor::requires_grad)
        .collect()
}

fn input(dev: &Device) -> Tensor {
    Tensor::from_vec(fill(99, ROWS * WIDTH, 1.0), [ROWS, WIDTH], dev)
}

/// Bytes that `run` takes at most beyond those that were in use before.
fn grown(dev: &Device, run: impl FnOnce()) -> u64 {
    dev.synchronize().unwrap();
    let before = dev.stats();
    assert!(before.peak_bytes <= before.live_bytes + 4096, "{before:?}");
    run();
    dev.synchronize().unwrap();
    dev.stats().peak_bytes - before.live_bytes
}

#[track_caller]
fn assert_within_a_tenth(bytes: u64, needed: u64) {
    assert!(
        bytes <= needed + needed / 10,
        "{bytes} bytes where {needed} are needed"
    );
}

#[test]
fn a_forward_pass_holds_two_activations() {
    for dev in both() {
        let (x, ws) = (input(&dev), weights(16, &dev));
        let run = || {
            let y = no_grad(|| ws.iter().fold(x.clone(), |x, w| x.matmul(w).relu()));
            dev.synchronize().unwrap();
            drop(y);
        };
        assert_within_a_tenth(grown(&dev, run), 2 * ACTIVATION);
    }
}

#[test]
fn training_holds_the_activations_and_one_gradient() {
    for dev in both() {
        let layers = 12;
        let (x, ws) = (input(&dev), weights(layers, &dev));
        let run = || {
            let y = ws.iter().fold(x.clone(), |x, w| x.matmul(w).relu());
            y.sqr().mean().backward().unwrap();
            drop(y);
            dev.synchronize().unwrap();
        };
        let gradients = (layers * WIDTH * WIDTH * 4) as u64;
        let needed = (layers as u64 + 1) * ACTIVATION + gradients;
        assert_within_a_tenth(grown(&dev, run), needed);
    }
}

#[test]
fn elementwise_kernels_write_over_what_nobody_reads_again() {
    for dev in both() {
        let x = input(&dev);
        let mut y = None;
        let bytes = grown(&dev, || {
            let s = x.softmax(1);
            y = Some(&s * 2.0 + s.sqr());
        });
        assert_within_a_tenth(bytes, ACTIVATION);
        let s = x.softmax(1).to_vec::<f32>().unwrap();
        let want: Vec<f32> = s.iter().map(|s| s * 2.0 + s * s).collect();
        devices::assert_close(&y.unwrap().to_vec::<f32>().unwrap(), &want, 1e-6, 1e-7);
        // A transposed reader stands in the way.
        let y = x.softmax(1);
        let y = &y * 2.0 + y.reshape([WIDTH, ROWS]).transpose(0, 1);
        let at = |r: usize, c: usize| s[r * WIDTH + c] * 2.0 + s[c * ROWS + r];
        let want: Vec<f32> = (0..ROWS * WIDTH)
            .map(|i| at(i / WIDTH, i % WIDTH))
            .collect();
        devices::assert_close(&y.to_vec::<f32>().unwrap(), &want, 1e-6, 1e-7);
    }
}
