//! The main job in small: the digits classifier's first steps, on real data, on every device.

mod devices;

use wgrad::optim::{AdamW, AdamWOptions, Optimizer};
use wgrad::prelude::*;

/// The first images of the data file, scaled to 0..1, and their classes.
fn digits(n: usize) -> (Vec<f32>, Vec<i32>) {
    let set = wgrad::data::sets::digits();
    let images = set.x.values()[..n * 64].iter().map(|v| v / 16.0);
    (images.collect(), set.y[..n].to_vec())
}

/// Twenty losses of a classifier with dropout under AdamW with a decaying rate.
fn losses(dev: &Device) -> Vec<f32> {
    dev.seed(7);
    let model = nn::Sequential::new()
        .add(nn::Linear::new(64, 96, dev))
        .add(nn::Gelu)
        .add(nn::Dropout::new(0.2))
        .add(nn::Linear::new(96, 64, dev))
        .add(nn::Relu)
        .add(nn::Dropout::new(0.2))
        .add(nn::Linear::new(64, 10, dev));
    let mut adam = AdamW::new(
        model.parameters(),
        AdamWOptions {
            lr: 3e-3,
            ..Default::default()
        },
    );
    let (images, classes) = digits(20 * 48);
    (0..20)
        .map(|step| {
            let (a, b) = (step * 48, (step + 1) * 48);
            let x = Tensor::from_slice(&images[a * 64..b * 64], [48, 64], dev);
            let t = Tensor::from_slice(&classes[a..b], 48, dev);
            adam.zero_grad();
            let loss = model.forward(&x).unwrap().cross_entropy(&t);
            loss.backward().unwrap();
            adam.set_lr(3e-3 * (1.0 - step as f64 / 40.0));
            adam.step().unwrap();
            loss.item::<f32>().unwrap()
        })
        .collect()
}

#[test]
fn the_first_20_losses_agree_on_all_devices() {
    let mut reference: Option<Vec<f32>> = None;
    for dev in devices::all() {
        let got = losses(&dev);
        assert_eq!(losses(&dev), got, "{dev}: a rerun with the same seed");
        assert!(got[19] < got[0] * 0.9, "{dev}: {got:?}");
        devices::assert_close(
            &got,
            reference.get_or_insert_with(|| got.clone()),
            1e-4,
            0.0,
        );
    }
}
