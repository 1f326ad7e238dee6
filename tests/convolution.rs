//! What convolutions and pools cost, what they refuse, and that no window is ever stored.

mod devices;

use devices::{cpu, fill, gpu};
use wgrad::prelude::*;

fn both() -> Vec<Device> {
    std::iter::once(cpu()).chain(gpu()).collect()
}

fn tensor(seed: u64, shape: &[usize], dev: &Device) -> Tensor {
    Tensor::from_vec(fill(seed, shape.iter().product(), 1.0), shape, dev)
}

/// Bytes that `run` takes at most beyond those that were in use before.
fn grown(dev: &Device, run: impl FnOnce() -> Vec<Tensor>) -> u64 {
    dev.synchronize().unwrap();
    let before = dev.stats();
    let kept = run();
    dev.synchronize().unwrap();
    drop(kept);
    dev.stats().peak_bytes - before.live_bytes
}

/// A convolution of 32 channels stores its padded input and its result; its gradients the padded gradient and
/// theirs. The windows would be nine times the input.
#[test]
fn windows_are_never_stored() {
    let (n, c, side) = (2, 32, 28);
    let image = (n * c * side * side * 4) as u64;
    let padded = (n * c * (side + 2) * (side + 2) * 4) as u64;
    for dev in both() {
        let x = tensor(1, &[n, c, side, side], &dev).requires_grad();
        let w = tensor(2, &[c, c, 3, 3], &dev).requires_grad();
        let options = ConvOptions {
            padding: ConvPadding::Same,
            ..Default::default()
        };
        dev.synchronize().unwrap();
        let forward = grown(&dev, || vec![no_grad(|| x.conv2d_with(&w, None, options))]);
        assert!(forward <= image + padded + 65_536, "{dev}: {forward} bytes");
        let loss = x.conv2d_with(&w, None, options).sqr().sum();
        dev.synchronize().unwrap();
        loss.backward().unwrap();
        let both = [&x, &w].map(|t| t.grad().unwrap());
        dev.synchronize().unwrap();
        // Output and padded input, the output's gradient and the padded one, and the gradients; sums of parts on
        // a GPU.
        let all = dev.stats().peak_bytes;
        let most = 4 * image + 3 * padded + (4 << 20);
        assert!(all <= most, "{dev}: {all} bytes where {most} are enough");
        drop(both);
    }
}

/// Zeros around the input, then one product with what stands behind it.
#[test]
fn bias_and_activation_are_behind_the_product() {
    for dev in both() {
        let x = tensor(1, &[2, 8, 12, 12], &dev);
        let (w, b) = (tensor(2, &[16, 4, 3, 3], &dev), tensor(3, &[16], &dev));
        let residual = tensor(4, &[2, 16, 12, 12], &dev);
        let options = ConvOptions {
            padding: ConvPadding::Zeros([1, 1]),
            groups: 2,
            ..Default::default()
        };
        dev.synchronize().unwrap();
        let before = dev.stats().launches;
        let y = (x.conv2d_with(&w, Some(&b), options) + &residual).relu();
        dev.synchronize().unwrap();
        assert_eq!(dev.stats().launches - before, 2, "{dev}");
        drop(y);
    }
}

/// A second step replays the first one's plan.
#[test]
fn steps_are_replayed() {
    for dev in both() {
        let (x, w) = (
            tensor(1, &[2, 3, 9, 9], &dev),
            tensor(2, &[4, 3, 3, 3], &dev).requires_grad(),
        );
        let step = || {
            w.zero_grad();
            let y = x.conv2d(&w, None).relu().max_pool2d([2, 2]).sum();
            y.backward().unwrap();
            w.grad().unwrap().to_vec::<f32>().unwrap()
        };
        let first = step();
        step();
        let before = dev.stats();
        assert_eq!(step(), first, "{dev}");
        assert_eq!(dev.stats().plan_misses, before.plan_misses, "{dev}");
    }
}

/// Sums of many terms in the kernels that adapters of all kinds use, against sums in `f64`.
#[test]
fn large_convolutions_are_right() {
    let reference = cpu();
    for dev in both() {
        for (x, w, stride) in [
            ([2, 64, 17, 19], [48, 64, 3, 3], 1),
            ([1, 40, 33, 31], [70, 40, 3, 3], 2),
            ([3, 16, 20, 20], [16, 16, 7, 7], 1),
            ([1, 130, 9, 9], [130, 130, 1, 1], 1),
            // Few channels, which are few rows of products with rows that are long, and phases of them.
            ([2, 3, 31, 37], [5, 3, 5, 5], 1),
            ([2, 8, 40, 45], [7, 8, 7, 7], 2),
            ([1, 1, 20, 300], [4, 1, 3, 3], 1),
        ] {
            let gradients = |dev: &Device, dtype: DType| -> Vec<Vec<f64>> {
                let x = tensor(1, &x, dev).to_dtype(dtype).detach().requires_grad();
                let w = tensor(2, &w, dev).to_dtype(dtype).detach().requires_grad();
                let options = ConvOptions {
                    stride: [stride; 2],
                    padding: ConvPadding::Zeros([1, 1]),
                    ..Default::default()
                };
                let y = x.conv2d_with(&w, None, options);
                y.sqr().mean().backward().unwrap();
                [y, x.grad().unwrap(), w.grad().unwrap()]
                    .map(|t| {
                        t.to_dtype(dtype)
                            .to_vec::<f32>()
                            .map(widened)
                            .or_else(|_| t.to_vec::<f64>())
                    })
                    .map(Result::unwrap)
                    .to_vec()
            };
            let want = gradients(&reference, DType::F64);
            for (got, want) in gradients(&dev, DType::F32).iter().zip(&want) {
                let most = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
                for (got, want) in got.iter().zip(want) {
                    assert!(
                        (got - want).abs() <= 2e-5 * most,
                        "{dev}: {got} instead of {want}"
                    );
                }
            }
        }
    }
}

fn widened(values: Vec<f32>) -> Vec<f64> {
    values.into_iter().map(f64::from).collect()
}

/// A window of a billion elements over padding costs what lies in it.
#[test]
fn windows_are_as_long_as_what_lies_in_them() {
    for dev in devices::all() {
        let x = Tensor::new([[1.0, 3.0, 2.0]], &dev).requires_grad();
        let huge = 1 << 30;
        let options = MaxPoolOptions {
            padding: [huge / 2],
            ..Default::default()
        };
        let y = x.max_pool1d_with([huge], options);
        assert_eq!(y.to_vec::<f32>().unwrap(), [3.0], "{dev}");
        y.sum().backward().unwrap();
        assert_eq!(
            x.grad().unwrap().to_vec::<f32>().unwrap(),
            [0.0, 1.0, 0.0],
            "{dev}"
        );
        let x = Tensor::ones([1, 1, 2, 3], &dev).requires_grad();
        let options = AvgPoolOptions {
            padding: [huge / 8; 2],
            divisor: Some(2),
            ..Default::default()
        };
        let y = x.max_pool2d([1, 1]).avg_pool2d_with([huge / 4; 2], options);
        assert_eq!(y.to_vec::<f32>().unwrap(), [3.0], "{dev}");
    }
}

#[track_caller]
fn refused(y: Tensor, words: &[&str]) {
    let error = y.error().expect("an error").to_string();
    for word in words.iter().chain(&["tests/convolution.rs"]) {
        assert!(error.contains(word), "{error:?} without {word:?}");
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let dev = cpu();
    let (x, w) = (
        tensor(1, &[1, 4, 5, 5], &dev),
        tensor(2, &[6, 4, 3, 3], &dev),
    );
    let with = |options| x.conv2d_with(&w, None, options);
    let usual = ConvOptions::<2>::default();
    refused(
        x.conv2d(&tensor(2, &[6, 3, 3, 3], &dev), None),
        &["conv2d", "[1, 4, 5, 5]", "[6, 3, 3, 3]"],
    );
    refused(
        x.conv2d(&tensor(2, &[6, 4, 7, 3], &dev), None),
        &["conv2d", "[7, 3]", "[5, 5]"],
    );
    refused(
        x.conv2d(&w, Some(&tensor(3, &[5], &dev))),
        &["conv2d", "bias", "[5]", "6"],
    );
    refused(x.conv1d(&w, None), &["conv1d", "dimensions"]);
    refused(
        x.to_dtype(DType::I32).conv2d(&w.to_dtype(DType::I32), None),
        &["conv2d", "floats"],
    );
    refused(
        with(ConvOptions {
            stride: [0, 1],
            ..usual
        }),
        &["conv2d", "stride"],
    );
    refused(
        with(ConvOptions {
            dilation: [1, 0],
            ..usual
        }),
        &["conv2d", "dilation"],
    );
    refused(
        with(ConvOptions {
            dilation: [3, 1],
            ..usual
        }),
        &["conv2d", "[3, 3]", "[5, 5]"],
    );
    refused(
        with(ConvOptions { groups: 0, ..usual }),
        &["conv2d", "0 groups"],
    );
    refused(
        with(ConvOptions { groups: 3, ..usual }),
        &["conv2d", "3 groups"],
    );
    let same = ConvOptions {
        padding: ConvPadding::Same,
        stride: [2, 2],
        ..usual
    };
    refused(with(same), &["conv2d", "same", "stride"]);
    let turned = tensor(2, &[4, 6, 3, 3], &dev);
    let options = ConvTransposeOptions {
        output_padding: [1, 0],
        ..Default::default()
    };
    refused(
        x.conv_transpose2d_with(&turned, None, options),
        &["conv_transpose2d", "output padding"],
    );
    let options = ConvTransposeOptions {
        padding: [9, 9],
        ..Default::default()
    };
    refused(
        x.conv_transpose2d_with(&turned, None, options),
        &["conv_transpose2d", "no elements"],
    );
    refused(x.max_pool2d([6, 1]), &["max_pool2d", "[6, 1]", "[5, 5]"]);
    refused(x.max_pool2d([0, 1]), &["max_pool2d", "0"]);
    let options = MaxPoolOptions {
        padding: [2, 2],
        ..Default::default()
    };
    refused(x.max_pool2d_with([2, 2], options), &["max_pool2d", "half"]);
    refused(
        x.select(0, 0).select(0, 0).avg_pool2d([1, 1]),
        &["avg_pool2d", "dimensions"],
    );
    refused(x.adaptive_avg_pool2d([0, 2]), &["adaptive_avg_pool2d"]);
    refused(
        x.adaptive_avg_pool2d([1 << 40, 3]),
        &["adaptive_avg_pool2d", "[1099511627776, 3]"],
    );
    refused(
        x.adaptive_max_pool2d([usize::MAX, 3]),
        &["adaptive_max_pool2d"],
    );
    refused(
        x.max_unpool2d(&tensor(1, &[1], &dev).to_dtype(DType::I32), [2, 2]),
        &["max_unpool2d", "[1]"],
    );
    refused(x.unfold(2, 6, 1), &["unfold", "6"]);
    refused(x.unfold(2, 2, 0), &["unfold", "step"]);
    refused(x.unfold(4, 1, 1), &["unfold", "dimension"]);
}
