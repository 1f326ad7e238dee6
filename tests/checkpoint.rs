//! Checkpoints: the numbers of a plain pass in less memory.

mod devices;

use devices::{all, cpu, fill};
use wgrad::autograd::checkpoint;
use wgrad::nn::{Dropout, Forward};
use wgrad::prelude::*;

fn weights(n: usize, width: usize, dev: &Device) -> Vec<Tensor> {
    let scale = 1.5 / (width as f32).sqrt();
    (0..n)
        .map(|i| Tensor::from_vec(fill(i as u64, width * width, scale), [width, width], dev))
        .map(Tensor::requires_grad)
        .collect()
}

fn layers(x: &Tensor, weights: &[Tensor], dropout: &Dropout) -> Tensor {
    weights.iter().fold(x.clone(), |x, w| {
        dropout.forward(&x.matmul(w).tanh()).unwrap() + &x * 0.5
    })
}

/// The loss and all gradients of four layers, in checkpoints of so many.
fn gradients(dev: &Device, each: Option<usize>) -> Vec<Vec<f32>> {
    dev.seed(7);
    let ws = weights(4, 6, dev);
    let x = Tensor::from_vec(fill(99, 30, 1.0), [5, 6], dev).requires_grad();
    let dropout = Dropout::new(0.3);
    // Both ends of a checkpoint lie in the middle of the graph.
    let first = x.sin();
    let last = match each {
        None => layers(&first, &ws, &dropout),
        Some(each) => ws.chunks(each).fold(first, |x, ws| {
            let (ws, dropout) = (ws.to_vec(), dropout.clone());
            checkpoint(&[&x], move |x| Ok(layers(&x[0], &ws, &dropout))).unwrap()
        }),
    };
    let loss = (last.exp() * 0.1).mean();
    loss.backward().unwrap();
    let mut out = vec![loss.to_vec().unwrap()];
    let leaves = ws.iter().chain([&x]);
    out.extend(leaves.map(|t| t.grad().unwrap().to_vec::<f32>().unwrap()));
    // The stream of random numbers goes on as if nothing had happened.
    out.push(Tensor::rand([4], dev).to_vec().unwrap());
    out
}

#[test]
fn the_gradients_are_those_of_a_plain_pass() {
    for dev in all() {
        let want = gradients(&dev, None);
        for each in [1, 2, 4] {
            let got = gradients(&dev, Some(each));
            for (g, w) in got.iter().zip(&want) {
                devices::assert_close(g, w, 1e-5, 1e-6);
            }
        }
    }
}

#[test]
fn checkpoints_nest_and_take_several_inputs() {
    for dev in all() {
        let ws = weights(2, 3, &dev);
        let x = Tensor::from_vec(fill(5, 6, 1.0), [2, 3], &dev).requires_grad();
        let y = Tensor::from_vec(fill(6, 6, 1.0), [2, 3], &dev).requires_grad();
        let plain = |ws: &[Tensor], x: &Tensor, y: &Tensor| {
            ((x.matmul(&ws[0]) * y).tanh().matmul(&ws[1]) + x * y).sum()
        };
        plain(&ws, &x, &y).backward().unwrap();
        let leaves = || ws.iter().chain([&x, &y]);
        let grads = || -> Vec<Vec<f32>> {
            let grads = leaves()
                .map(|t| t.grad().unwrap().to_vec().unwrap())
                .collect();
            leaves().for_each(Tensor::zero_grad);
            grads
        };
        let want = grads();
        let own = ws.clone();
        let z = checkpoint(&[&x, &y], move |xy| {
            let inner = own.clone();
            let h = checkpoint(&[&xy[0], &xy[1]], move |xy| {
                (xy[0].matmul(&inner[0]) * &xy[1]).tanh().checked()
            })?;
            (h.matmul(&own[1]) + &xy[0] * &xy[1]).sum().checked()
        });
        let z = z.unwrap();
        z.backward().unwrap();
        for (g, w) in grads().iter().zip(&want) {
            devices::assert_close(g, w, 1e-5, 1e-6);
        }
    }
}

#[test]
fn what_cannot_be_computed_again_is_an_error() {
    let dev = cpu();
    let w = weights(1, 3, &dev).remove(0);
    let x = Tensor::ones([2, 3], &dev).requires_grad();
    let make = || {
        let w = w.clone();
        checkpoint(&[&x], move |x| x[0].matmul(&w).checked())
            .unwrap()
            .sum()
    };
    let y = make();
    w.assign(&Tensor::zeros([3, 3], &dev)).unwrap();
    let error = y.backward().unwrap_err().to_string();
    assert!(error.contains("changed between"), "{error}");
    assert!(x.grad().is_err(), "no gradient is left behind");
    let options = GradOptions {
        create_graph: true,
        ..GradOptions::default()
    };
    let error = autograd::grad(&make(), &[&x], options)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("differentiated again"), "{error}");
    // What fails inside is the result's failure.
    assert!(checkpoint(&[&x], |x| Ok(x[0].matmul(&x[0]))).is_err());
    assert!(checkpoint(&[&x.matmul(&x)], |x| Ok(x[0].clone())).is_err());
    // Without a tape nothing is kept, and nothing is on it.
    let plain = no_grad(|| checkpoint(&[&x], |x| Ok(&x[0] * 2.0))).unwrap();
    assert!(plain.sum().backward().is_err());
}

/// Bytes in use at most during a training pass of a deep network.
fn peak(each: Option<usize>) -> u64 {
    let dev = cpu();
    let ws = weights(24, 32, &dev);
    let x = Tensor::from_vec(fill(99, 4096 * 32, 1.0), [4096, 32], &dev);
    dev.synchronize().unwrap();
    let run = |x: &Tensor, ws: &[Tensor]| ws.iter().fold(x.clone(), |x, w| x.matmul(w).tanh());
    let y = match each {
        None => run(&x, &ws),
        Some(each) => ws.chunks(each).fold(x, |x, ws| {
            let ws = ws.to_vec();
            checkpoint(&[&x], move |x| Ok(run(&x[0], &ws))).unwrap()
        }),
    };
    y.sqr().mean().backward().unwrap();
    drop(y);
    dev.synchronize().unwrap();
    assert!(ws[0].grad().unwrap().sum().item::<f32>().unwrap() != 0.0);
    dev.stats().peak_bytes
}

#[test]
fn a_deep_network_takes_less_than_half_the_memory() {
    let (plain, less) = (peak(None), peak(Some(6)));
    assert!(less * 2 <= plain, "{less} of {plain} bytes");
}
