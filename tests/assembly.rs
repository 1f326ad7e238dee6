//! Wholes whose gradients come in parts, and products over batches: values, and how many kernels they take.

mod devices;

use devices::{all, assert_close, fill};
use wgrad::prelude::*;

fn tensor(seed: u64, shape: &[usize], dev: &Device) -> Tensor {
    Tensor::from_vec(fill(seed, shape.iter().product(), 1.0), shape, dev)
}

/// How many kernels `f` launches.
fn launches(dev: &Device, f: impl FnOnce()) -> u64 {
    dev.synchronize().unwrap();
    let before = dev.stats().launches;
    f();
    dev.synchronize().unwrap();
    dev.stats().launches - before
}

/// The gradient of `sum(parts * weights)` by `x`, which is the weights laid where the parts come from.
#[track_caller]
fn assert_gradient(shape: &[usize], parts: impl Fn(&Tensor) -> Vec<Tensor>, kernels: Option<u64>) {
    for dev in all() {
        let x = tensor(1, shape, &dev).requires_grad();
        let cut = parts(&x);
        let weights: Vec<Tensor> = (2..)
            .zip(&cut)
            .map(|(seed, part)| tensor(seed, &part.shape().unwrap(), &dev))
            .collect();
        // What each weight is laid to, one after the other.
        let mut want = vec![0.0; shape.iter().product()];
        let places = Tensor::arange(want.len(), (DType::I32, &dev)).reshape(shape);
        for (place, weight) in parts(&places).iter().zip(&weights) {
            let weight = weight.to_vec::<f32>().unwrap();
            for (at, w) in place.to_vec::<i32>().unwrap().into_iter().zip(weight) {
                want[at as usize] += w;
            }
        }
        let mut sum = Tensor::zeros((), &dev);
        for (part, weight) in cut.iter().zip(&weights) {
            sum = sum + (part * weight).sum();
        }
        dev.synchronize().unwrap();
        let mut grad = None;
        let count = launches(&dev, || {
            sum.backward().unwrap();
            grad = Some(x.grad().unwrap().contiguous());
        });
        assert_close(&grad.unwrap().to_vec::<f32>().unwrap(), &want, 1e-6, 1e-6);
        if let (Some(kernels), true) = (kernels, dev.fusion()) {
            assert_eq!(count, kernels, "kernels on {dev:?}");
        }
    }
}

#[test]
fn parts_that_fill_a_whole_are_one_join() {
    // The slope of the sum is 1, so that the weights are what is joined.
    let thirds = |x: &Tensor| x.chunk(3, 1);
    assert_gradient(&[4, 6, 5], thirds, Some(1));
    let uneven = |x: &Tensor| vec![x.narrow(0, 3, 4), x.narrow(0, 0, 1), x.narrow(0, 1, 2)];
    assert_gradient(&[7, 3], uneven, Some(1));
    let rows = |x: &Tensor| (0..4).map(|i| x.select(0, i)).collect();
    assert_gradient(&[4, 33], rows, Some(1));
}

#[test]
fn many_parts_are_joined_in_steps() {
    let steps = |x: &Tensor| (0..300).map(|i| x.select(1, i)).collect();
    assert_gradient(&[4, 300, 3], steps, None);
    for dev in all().into_iter().filter(Device::fusion) {
        let x = tensor(1, &[100, 8], &dev).requires_grad();
        let sum = (0..100).fold(Tensor::zeros((), &dev), |sum, i| {
            sum + (x.select(0, i) * i as f64).sum()
        });
        dev.synchronize().unwrap();
        let count = launches(&dev, || sum.backward().unwrap());
        // A kernel for each part's slope at most, and fewer than those for the joins.
        assert!(count < 150, "{count} kernels");
    }
}

#[test]
fn other_parts_are_added_up() {
    let overlapping = |x: &Tensor| vec![x.narrow(0, 0, 4), x.narrow(0, 3, 4)];
    assert_gradient(&[7, 3], overlapping, None);
    let with_a_gap = |x: &Tensor| vec![x.narrow(0, 0, 2), x.narrow(0, 4, 3)];
    assert_gradient(&[7, 3], with_a_gap, None);
    let one_of_another_view = |x: &Tensor| {
        let turned = x.t();
        vec![x.narrow(0, 0, 2), x.narrow(0, 2, 2), turned.narrow(0, 1, 2)]
    };
    assert_gradient(&[4, 3], one_of_another_view, None);
    let some_and_all = |x: &Tensor| vec![x.narrow(0, 1, 2), x.clone(), x.narrow(0, 3, 2)];
    assert_gradient(&[6, 3], some_and_all, None);
    let along_both = |x: &Tensor| vec![x.narrow(0, 0, 2), x.narrow(1, 1, 2)];
    assert_gradient(&[4, 3], along_both, None);
    let twice = |x: &Tensor| vec![x.narrow(0, 0, 2), x.narrow(0, 2, 2), x.narrow(0, 2, 2)];
    assert_gradient(&[4, 3], twice, None);
    let every_other = |x: &Tensor| vec![x.slice(s(0..).step(2)), x.slice(s(1..).step(2))];
    assert_gradient(&[8, 3], every_other, None);
}

#[test]
fn parts_of_a_view_in_another_order_are_one_join() {
    // Queries, keys and values of one product, by heads.
    let heads = |x: &Tensor| {
        let apart = x.reshape([2, 5, 3, 4, 8]).permute([2, 0, 3, 1, 4]);
        (0..3).map(|i| apart.select(0, i)).collect()
    };
    assert_gradient(&[2, 5, 96], heads, Some(1));
}

#[test]
fn a_linear_layer_over_a_batch_is_one_kernel_and_so_are_its_gradients() {
    for dev in all() {
        let x = tensor(1, &[3, 5, 7], &dev).requires_grad();
        let w = tensor(2, &[6, 7], &dev).requires_grad();
        let b = tensor(3, &[6], &dev).requires_grad();
        let g = tensor(4, &[3, 5, 6], &dev);
        let flat = x.detach().reshape([15, 7]);
        let want = (flat.matmul(&w.detach().t()) + b.detach()).gelu();
        let want = want.to_vec::<f32>().unwrap();
        let mut y = None;
        let forward = launches(&dev, || y = Some(x.linear(&w, Some(&b)).gelu()));
        let y = y.unwrap();
        assert_close(&y.to_vec::<f32>().unwrap(), &want, 1e-5, 1e-6);
        let plain = x.linear(&w, Some(&b));
        dev.synchronize().unwrap();
        let backward = launches(&dev, || (plain * &g).sum().backward().unwrap());
        let rows = g.reshape([15, 6]);
        let checks = [
            (x.grad().unwrap(), rows.matmul(&w.detach())),
            (w.grad().unwrap(), rows.t().matmul(&flat)),
            (b.grad().unwrap(), rows.sum_dims([0], false)),
        ];
        for (got, want) in checks {
            let [got, want] = [got, want].map(|t| t.to_vec::<f32>().unwrap());
            assert_close(&got, &want, 1e-5, 1e-6);
        }
        if dev.fusion() {
            assert_eq!(forward, 1, "forward");
            // The loss, the gradient of x, and those of weight and bias together.
            assert!(backward <= 4, "{backward} backward");
        }
    }
}
