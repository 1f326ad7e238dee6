//! Bad input: each an `Err` that names operation, shapes and place; never a panic, a hang or a
//! wrong result.

mod devices;

use devices::{all, cpu, open_gpu};
use wgrad::optim::{Adam, AdamOptions, Optimizer};
use wgrad::prelude::*;

/// The error, which must name this file, the operation, and everything in `parts`.
#[track_caller]
fn fails(tensor: &Tensor, parts: &[&str]) -> Error {
    let error = tensor.clone().checked().expect_err("should have failed");
    named(&error, parts);
    // What reads says the same.
    assert_eq!(tensor.shape().unwrap_err(), error);
    assert_eq!(tensor.relu().sum().to_bytes().unwrap_err(), error);
    assert!(tensor.to_string().starts_with("Tensor(failed: "));
    error
}

#[track_caller]
fn named(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    assert!(
        text.contains("tests/faults.rs:"),
        "{text} does not name the line"
    );
    for part in parts {
        assert!(text.contains(part), "{text} does not say {part}");
    }
}

#[test]
fn shapes_that_do_not_fit() {
    for dev in all() {
        let z = |shape: &[usize]| Tensor::zeros(shape, &dev);
        fails(&(z(&[2, 3]) + z(&[4, 5])), &["add", "[2, 3]", "[4, 5]"]);
        fails(
            &z(&[2, 3]).matmul(&z(&[4, 5])),
            &["matmul", "[2, 3]", "[4, 5]"],
        );
        fails(&z(&[2, 3, 4]).matmul(&z(&[5, 4, 3])), &["matmul"]);
        fails(&z(&[]).matmul(&z(&[3])), &["matmul"]);
        fails(&z(&[2, 3]).linear(&z(&[5, 4]), None), &["linear"]);
        fails(&z(&[2, 3]).reshape([7]), &["reshape", "[2, 3]"]);
        fails(&z(&[2, 3]).reshape((-1, -1)), &["reshape"]);
        fails(&z(&[2, 3]).reshape((-1, 4)), &["reshape"]);
        fails(&z(&[2, 3]).expand([2, 4]), &["expand"]);
        fails(&z(&[2, 3]).permute([0, 0]), &["permute"]);
        fails(&z(&[2, 3]).transpose(0, 2), &["transpose", "dimension 2"]);
        fails(&z(&[2, 3]).sum_dims([2], false), &["sum", "dimension 2"]);
        fails(&z(&[2, 3]).sum_dims([1, -1], false), &["sum", "twice"]);
        fails(&z(&[2, 3]).slice((.., 2..5)), &["slice", "2..5"]);
        #[allow(clippy::reversed_empty_ranges)]
        fails(&z(&[2, 3]).slice(2..1), &["slice"]);
        fails(&z(&[2, 3]).slice(s(0..2).step(0)), &["slice"]);
        fails(&z(&[2, 3]).slice((.., .., ..)), &["slice"]);
        fails(&z(&[2, 3]).narrow(0, 1, 2), &["narrow"]);
        fails(&z(&[2, 3]).select(1, 3), &["select"]);
        fails(&z(&[2, 3]).chunk(0, 0)[0], &["chunk"]);
        fails(
            &Tensor::cat(&[z(&[2, 3]), z(&[3, 4])], 0),
            &["cat", "[2, 3]", "[3, 4]"],
        );
        fails(&z(&[2, 3]).unsqueeze(4), &["unsqueeze"]);
        fails(&z(&[2, 0]).max(), &["max", "[2, 0]"]);
        fails(&z(&[2, 0]).argmax(1, false), &["argmax"]);
        let error = z(&[2, 3]).dims::<3>().unwrap_err();
        named(&error, &["dims", "[2, 3]"]);
        let error = z(&[2, 3]).item::<f32>().unwrap_err();
        named(&error, &["item", "[2, 3]"]);
        let error = z(&[1]).item::<i32>().unwrap_err();
        named(&error, &["item", "f32", "i32"]);
    }
}

#[test]
fn data_that_does_not_fit() {
    for dev in all() {
        let error = fails(
            &Tensor::from_vec(vec![1.0f32; 5], [2, 3], &dev),
            &["5 values", "[2, 3]"],
        );
        assert!(matches!(
            error,
            Error::Length {
                len: 5,
                needed: 6,
                ..
            }
        ));
        fails(
            &Tensor::new(vec![vec![1.0], vec![1.0, 2.0]], &dev),
            &["unequal"],
        );
        fails(
            &Tensor::new([3i64 << 40], (DType::I32, &dev)),
            &["does not fit i32"],
        );
        fails(&Tensor::randint(3, 5, 5, &dev), &["randint"]);
        fails(
            &Tensor::new([1, 2], &dev).requires_grad(),
            &["requires_grad", "i32"],
        );
        assert!(Tensor::zeros([usize::MAX / 8, 7], &dev).checked().is_err());
        assert!(Tensor::zeros([usize::MAX, 2], &dev).checked().is_err());
    }
}

#[test]
fn devices_that_differ() {
    let (a, b) = (cpu(), cpu());
    let (x, y) = (Tensor::ones(3, &a), Tensor::ones(3, &b));
    let error = fails(&(&x + &y), &["add", "different devices"]);
    assert!(matches!(error, Error::DeviceMismatch { .. }));
    fails(&x.reshape([1, 3]).matmul(&y), &["matmul"]);
    fails(&Tensor::cat(&[x.clone(), y.clone()], 0), &["cat"]);
    let moved = (&x + y.to_device(&a).unwrap()).to_vec::<f32>().unwrap();
    assert_eq!(moved, [2.0; 3]);
}

#[test]
fn gradients_that_are_missing() {
    for dev in all() {
        let w = Tensor::ones(2, &dev).requires_grad();
        named(&w.grad().unwrap_err(), &["grad", "backward"]);
        named(&Tensor::ones(2, &dev).grad().unwrap_err(), &["grad"]);
        named(
            &Tensor::ones((), &dev).backward().unwrap_err(),
            &["backward"],
        );
        named(&(&w * 2.0).backward().unwrap_err(), &["backward", "[2]"]);
        let other = Tensor::ones(2, &dev).requires_grad();
        let error = autograd::grad(&w.sum(), &[&other], GradOptions::default()).unwrap_err();
        named(&error, &["does not depend"]);
        // A step without gradients leaves everything as it is, as in torch.
        let mut adam = Adam::new(vec![w.clone()], AdamOptions::default());
        adam.step().unwrap();
        assert_eq!(w.to_vec::<f32>().unwrap(), [1.0, 1.0]);
    }
}

#[test]
fn indices_out_of_range() {
    for dev in all() {
        let x = Tensor::from_vec(devices::fill(1, 12, 1.0), [4, 3], &dev).requires_grad();
        for bad in [3, -1, 7] {
            let t = Tensor::new([0, bad, 2, 1], &dev);
            let loss = x.cross_entropy(&t);
            let line = line!() - 1;
            let error = loss.item::<f32>().unwrap_err();
            match &error {
                Error::IndexOutOfRange {
                    index, size, place, ..
                } => {
                    assert_eq!((*index, *size), (i64::from(bad), 3), "{dev}: {error}");
                    assert_eq!(place.line(), line, "{dev}: {error}");
                }
                other => panic!("{dev}: {other}"),
            }
            // Told once; the value itself is NaN.
            assert!(loss.item::<f32>().unwrap().is_nan(), "{dev}");
        }
        // -100 is ignored by default.
        let t = Tensor::new([0, -100, 2, 1], &dev);
        assert!(x.cross_entropy(&t).item::<f32>().unwrap().is_finite());

        let table = Tensor::from_vec(devices::fill(2, 10, 1.0), [5, 2], &dev).requires_grad();
        let rows = table.embedding(&Tensor::new([1, 5], &dev));
        let error = rows.to_vec::<f32>().unwrap_err();
        assert!(
            matches!(
                error,
                Error::IndexOutOfRange {
                    index: 5,
                    size: 5,
                    ..
                }
            ),
            "{dev}: {error}"
        );
        let values = rows.to_vec::<f32>().unwrap();
        assert!(
            values[0].is_finite() && values[2].is_nan(),
            "{dev}: {values:?}"
        );
        // The gradient skips it, so the parameters are not poisoned.
        rows.sum().backward().unwrap();
        let mut adam = Adam::new(vec![table.clone()], AdamOptions::default());
        adam.step().unwrap();
        let error = table.to_vec::<f32>().unwrap_err();
        assert!(matches!(error, Error::IndexOutOfRange { .. }), "{error}");
        assert!(
            table.to_vec::<f32>().unwrap().iter().all(|v| v.is_finite()),
            "{dev}"
        );

        let index = Tensor::new([[0, 9, 1]], &dev);
        let picked = x.detach().gather(0, &index);
        assert!(matches!(
            picked.to_vec::<f32>(),
            Err(Error::IndexOutOfRange {
                index: 9,
                size: 4,
                ..
            })
        ));
        let chosen = x.detach().index_select(1, &Tensor::new([2, 3], &dev));
        assert!(matches!(
            chosen.to_vec::<f32>(),
            Err(Error::IndexOutOfRange {
                index: 3,
                size: 3,
                ..
            })
        ));
    }
}

#[test]
fn faults_reach_the_thread_that_made_them() {
    for dev in all() {
        let x = Tensor::ones([2, 3], &dev);
        let bad = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let loss = x.cross_entropy(&Tensor::new([0, 3], &dev));
                    dev.synchronize().unwrap_err();
                    loss
                })
                .join()
                .unwrap()
        });
        assert!(bad.item::<f32>().unwrap().is_nan());
    }
}

#[test]
fn targets_of_the_wrong_kind() {
    for dev in all() {
        let x = Tensor::ones([2, 3], &dev);
        fails(
            &x.cross_entropy(&Tensor::new([0.0, 1.0], &dev)),
            &["cross_entropy", "f32"],
        );
        fails(
            &x.cross_entropy(&Tensor::new([0, 1, 2], &dev)),
            &["cross_entropy", "[3]", "[2, 3]"],
        );
        fails(
            &x.cross_entropy(&Tensor::new([[0], [1]], &dev)),
            &["cross_entropy"],
        );
        fails(
            &Tensor::ones([2, 0], &dev).cross_entropy(&Tensor::new([0, 1], &dev)),
            &["no classes"],
        );
        fails(
            &x.gather(1, &Tensor::new([[0.0]], &dev)),
            &["gather", "integers"],
        );
        fails(&x.gather(1, &Tensor::new([0], &dev)), &["gather"]);
        let options = CrossEntropyOptions {
            weight: Some(Tensor::ones(2, &dev)),
            ..Default::default()
        };
        fails(
            &x.cross_entropy_with(&Tensor::new([0, 1], &dev), options),
            &["weight", "[2]"],
        );
    }
}

#[test]
fn empty_tensors_go_through() {
    for dev in all() {
        let e = Tensor::zeros([0, 3], &dev);
        assert_eq!(e.to_vec::<f32>().unwrap(), [0.0f32; 0]);
        assert_eq!((&e + 1.0).exp().to_vec::<f32>().unwrap(), [0.0f32; 0]);
        assert_eq!(e.sum().item::<f32>().unwrap(), 0.0);
        assert!(e.mean().item::<f32>().unwrap().is_nan());
        assert_eq!(e.sum_dims([0], false).to_vec::<f32>().unwrap(), [0.0; 3]);
        assert_eq!(e.sum_dims([1], false).to_vec::<f32>().unwrap(), [0.0f32; 0]);
        assert_eq!(e.max_dims([1], false).to_vec::<f32>().unwrap(), [0.0f32; 0]);
        assert!(!e.gt(0.0).any().item::<bool>().unwrap());
        assert!(e.gt(0.0).all().item::<bool>().unwrap());
        assert_eq!(
            e.matmul(&Tensor::ones([3, 2], &dev)).shape().unwrap(),
            [0, 2]
        );
        let k0 = Tensor::zeros([2, 0], &dev).matmul(&Tensor::zeros([0, 2], &dev));
        assert_eq!((k0 + 1.0).to_vec::<f32>().unwrap(), [1.0; 4]);
        assert_eq!(e.t().reshape([0]).to_vec::<f32>().unwrap(), [0.0f32; 0]);
        assert_eq!(e.softmax(1).to_vec::<f32>().unwrap(), [0.0f32; 0]);
        for softmax in [Tensor::softmax, Tensor::log_softmax] {
            let none = softmax(&e.t(), -1);
            assert_eq!(none.to_vec::<f32>().unwrap(), [0.0f32; 0]);
            let error = softmax(&e, 2).to_vec::<f32>().unwrap_err().to_string();
            assert!(error.contains("softmax: dimension 2"), "{error}");
            let one = Tensor::from_vec(vec![5.0f32], [], &dev);
            assert!(softmax(&one, 0).item::<f32>().unwrap() <= 1.0);
        }
        let sums = e.t().logsumexp(1, false).to_vec::<f32>().unwrap();
        assert_eq!(sums, [f32::NEG_INFINITY; 3]);
        let joined = Tensor::cat(&[e.clone(), Tensor::ones([1, 3], &dev)], 0);
        assert_eq!(joined.to_vec::<f32>().unwrap(), [1.0; 3]);
        let none = Tensor::from_vec(Vec::<i32>::new(), 0, &dev);
        let table = Tensor::ones([5, 2], &dev).requires_grad();
        let rows = table.embedding(&none);
        assert_eq!(rows.shape().unwrap(), [0, 2]);
        rows.sum().backward().unwrap();
        assert_eq!(table.grad().unwrap().to_vec::<f32>().unwrap(), [0.0; 10]);
        let loss = Tensor::zeros([0, 3], &dev).cross_entropy(&none);
        assert!(loss.item::<f32>().unwrap().is_nan());
        assert_eq!(
            Tensor::rand([0], &dev).to_vec::<f32>().unwrap(),
            [0.0f32; 0]
        );
        assert_eq!(e.to_string(), "tensor([], size=[0, 3])");
    }
}

#[test]
fn nan_and_infinity_as_torch_has_them() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for dev in all() {
        let x = Tensor::from_vec(vec![nan, inf, -inf, -1.0, 2.0], 5, &dev);
        let same = |t: Tensor, want: &[f32]| {
            devices::assert_close(&t.to_vec::<f32>().unwrap(), want, 1e-6, 0.0);
        };
        same(x.relu(), &[nan, inf, 0.0, 0.0, 2.0]);
        same(x.maximum(0.5), &[nan, inf, 0.5, 0.5, 2.0]);
        same(x.minimum(Tensor::full(5, f32::NAN, &dev)), &[nan; 5]);
        same(x.clamp(-0.5, 1.0), &[nan, 1.0, -0.5, -0.5, 1.0]);
        same(x.max().reshape([1]), &[nan]);
        same(x.slice(1..).max().reshape([1]), &[inf]);
        assert_eq!(x.argmax(0, false).item::<i32>().unwrap(), 0);
        same(x.slice(1..).softmax(0), &[nan; 4]);
        same(x.slice(2..).softmax(0), &[0.0, 0.047_425_874, 0.952_574_13]);
        same(x.slice(0..1).softmax(0), &[nan]);
        let logits = Tensor::from_vec(vec![nan, 0.0, -inf, 0.0, 1.0, 2.0], [3, 2], &dev);
        let options = CrossEntropyOptions {
            reduction: Reduction::None,
            ..Default::default()
        };
        let t = Tensor::new([0, 1, 0], &dev);
        same(
            logits.cross_entropy_with(&t, options.clone()),
            &[nan, 0.0, 1.313_261_7],
        );
        let t = Tensor::new([0, 0, 0], &dev);
        same(
            logits.cross_entropy_with(&t, options),
            &[nan, inf, 1.313_261_7],
        );
        assert_eq!(
            x.to_dtype(DType::I32).to_vec::<i32>().unwrap(),
            [0, i32::MAX, i32::MIN, -1, 2]
        );
    }
}

#[test]
fn tensors_above_the_limits() {
    for dev in all() {
        let limits = dev.limits().unwrap();
        let limit = limits.max_binding.min(limits.max_buffer);
        if limit > 1 << 40 {
            continue; // the CPU: memory is the limit
        }
        let n = limit / 4 + 4;
        let error = Tensor::zeros(n, &dev).to_vec::<f32>().unwrap_err();
        named(&error, &[&limit.to_string(), &(n * 4).to_string()]);
        assert!(matches!(error, Error::TooLarge { .. }));
    }
}

/// What a kernel computes on its way may be larger than a tensor, and a result that is too large fails
/// alone.
#[test]
fn only_what_is_stored_must_fit() {
    let Some(dev) = devices::gpu() else { return };
    let limit = dev.limits().unwrap().max_binding;
    if limit > 1 << 28 {
        return; // too large for a test
    }
    let n = limit / 4 + 4;
    let mut values = vec![half::f16::from_f32(0.5); n];
    values[n - 2] = half::f16::from_f32(2.5);
    // As f32, which it is reduced in, it does not fit.
    let x = Tensor::from_vec(values, [n], &dev);
    assert_eq!(x.max().to_dtype(DType::F32).item::<f32>().unwrap(), 2.5);
    let large = x.to_dtype(DType::F32) + 1.0;
    let dependent = &large * 2.0;
    let other = Tensor::new([1.0, 2.0], &dev) + 1.0;
    assert_eq!(other.to_vec::<f32>().unwrap(), [2.0, 3.0]);
    // Nothing of them has been stored, and nothing need be.
    let want = (n as f32 * 1.5 + 2.0) * 2.0;
    let sum = dependent.sum().item::<f32>().unwrap();
    assert!((sum / want - 1.0).abs() < 1e-6, "{sum} for {want}");
    assert_eq!(large.max().item::<f32>().unwrap(), 3.5);
    for failed in [&large, &dependent] {
        let error = failed.to_vec::<f32>().unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        named(&error, &["faults.rs", &limit.to_string()]);
    }
    // Constants and masks neither.
    let ones = (Tensor::ones([n], &dev) * Tensor::new([1.0], &dev)).sum();
    assert_eq!(ones.item::<f32>().unwrap(), n as f32);
    // A loss of so many elements passes through several runs while it is recorded.
    let loss = wgrad::nn::loss::mse_loss(&x, &Tensor::zeros([n], (DType::F16, &dev)));
    assert!((loss.to_dtype(DType::F32).item::<f32>().unwrap() - 0.25).abs() < 1e-3);
    let large = x.to_dtype(DType::F32) + 1.0;
    assert!(large.to_vec::<f32>().is_err());
    let w = Tensor::ones([2], &dev).requires_grad();
    let mut sgd = wgrad::optim::Sgd::new(vec![w.clone()], Default::default());
    use wgrad::optim::Optimizer;
    // A gradient that cannot be computed makes the step fail, and changes nothing.
    let slope = large.narrow(0, 0, 2);
    assert!((&w * &slope).sum().backward().is_ok());
    assert!(matches!(sgd.step().unwrap_err(), Error::TooLarge { .. }));
    assert_eq!(w.to_vec::<f32>().unwrap(), [1.0; 2]);
}

#[test]
fn more_elements_than_one_row_of_workgroups() {
    for dev in [Some(cpu()), devices::gpu()].into_iter().flatten() {
        // Bytes, so that the tensor stays small; more than 65,535 groups of 256.
        let n = 65_535 * 256 + 1000;
        let x = Tensor::full(n, 1, (DType::I32, &dev));
        let y = (Tensor::arange(n, &dev) + &x).slice(n - 3..);
        assert_eq!(
            y.to_vec::<i32>().unwrap(),
            [n as i32 - 2, n as i32 - 1, n as i32]
        );
        assert_eq!(
            (Tensor::arange(n, &dev) + &x).max().item::<i32>().unwrap(),
            n as i32
        );
    }
}

#[test]
fn running_out_of_memory_leaves_the_device_working() {
    let limit = 24 << 20;
    let n = 2 << 20; // 8 MiB each
    let mut devices = vec![DeviceOptions::cpu().memory_limit(limit).open().unwrap()];
    devices.extend(open_gpu(DeviceOptions::gpu().memory_limit(limit)));
    for dev in devices {
        let w = Tensor::ones(1000, &dev).requires_grad();
        w.sum().item::<f32>().unwrap();
        let held: Vec<Tensor> = (0..4).map(|_| Tensor::rand(n, &dev) + 1.0).collect();
        let error = held[0].to_vec::<f32>().unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{dev}: {error}");
        // The run's nodes have failed; everything else works.
        assert!(matches!(
            held[3].sum().item::<f32>(),
            Err(Error::OutOfMemory { .. })
        ));
        assert_eq!(w.sum().item::<f32>().unwrap(), 1000.0);
        drop(held);
        let first = Tensor::rand(n, &dev) + 1.0;
        let mean = first.mean().item::<f32>().unwrap();
        assert!((mean - 1.5).abs() < 0.01, "{dev}: {mean}");
        // A step that cannot be run changes nothing.
        let mut adam = Adam::new(vec![w.clone()], AdamOptions::default());
        (&w * 3.0).sum().backward().unwrap();
        let held: Vec<Tensor> = (0..4).map(|_| Tensor::rand(n, &dev) + w.sum()).collect();
        let error = adam.step().unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{dev}: {error}");
        drop((first, held));
        assert_eq!(w.to_vec::<f32>().unwrap(), [1.0; 1000]);
        let data: Vec<f32> = vec![0.0; n];
        let uploaded: Vec<Tensor> = (0..4).map(|_| Tensor::from_slice(&data, n, &dev)).collect();
        let error = uploaded[3].clone().checked().unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{dev}: {error}");
        drop(uploaded);
        // And the same step works once there is room.
        w.zero_grad();
        (&w * 3.0).sum().backward().unwrap();
        adam.step().unwrap();
        assert!(
            w.to_vec::<f32>()
                .unwrap()
                .iter()
                .all(|v| (v - 0.999).abs() < 1e-6)
        );
    }
}

#[test]
fn no_adapter() {
    let error = DeviceOptions::gpu()
        .adapter("no such adapter")
        .open()
        .unwrap_err();
    assert!(matches!(error, Error::NoAdapter(_)), "{error}");
    let failed = Device::failed(error.clone());
    let x = Tensor::ones([2, 2], &failed);
    assert_eq!((&x + 1.0).matmul(&x).item::<f32>().unwrap_err(), error);
    assert_eq!(Tensor::rand(3, &failed).to_vec::<f32>().unwrap_err(), error);
    assert!(failed.synchronize().is_err());
}

#[test]
fn a_device_destroyed_in_the_middle() {
    // Shared with the program: wgrad gets clones of the program's own device and queue.
    let instance =
        wgrad::wgpu::Instance::new(wgrad::wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = wgpu_block_on(instance.enumerate_adapters(wgrad::wgpu::Backends::all()));
    let Some(adapter) = adapters.into_iter().next() else {
        assert!(devices::gpu().is_none()); // says so, or fails where a GPU is required
        return;
    };
    let request = wgrad::wgpu::DeviceDescriptor {
        required_limits: adapter.limits(),
        ..Default::default()
    };
    let (device, queue) = wgpu_block_on(adapter.request_device(&request)).unwrap();
    let dev = wgrad::from_wgpu(&adapter, device.clone(), queue).unwrap();
    let x = Tensor::ones(100, &dev);
    assert_eq!((&x + 1.0).sum().item::<f32>().unwrap(), 200.0);
    let y = &x * 3.0;
    device.destroy();
    let error = y.to_vec::<f32>().unwrap_err();
    assert!(matches!(error, Error::DeviceLost(_)), "{error}");
    let error = Tensor::from_vec(vec![1.0f32; 4], 4, &dev)
        .sum()
        .item::<f32>()
        .unwrap_err();
    assert!(matches!(error, Error::DeviceLost(_)), "{error}");
    assert!(dev.synchronize().is_err());
}

fn wgpu_block_on<F: Future>(future: F) -> F::Output {
    use std::task::{Context, Poll, Waker};
    let mut future = Box::pin(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::yield_now();
    }
}

/// Indices of wide and unsigned types that would wrap into the range, in lists of one and of two.
#[test]
fn indices_beyond_i32_do_not_wrap() {
    for dev in devices::all() {
        let x = Tensor::arange(12, &dev).reshape([3, 4]);
        let good = Tensor::new([1], &dev);
        let beyond = Tensor::from_vec(vec![u32::MAX], [1], &dev);
        let mut bad = vec![beyond];
        if dev.limits().unwrap().has(DType::I64) {
            bad.push(Tensor::from_vec(vec![1i64 << 32], [1], &dev));
            bad.push(Tensor::from_vec(vec![-1 - (1i64 << 32)], [1], &dev));
        }
        for index in &bad {
            // One by one, for a read reports what went wrong in its run.
            let uses: [&dyn Fn() -> Tensor; 6] = [
                &|| x.index(index),
                &|| x.index((index, &good)),
                &|| x.index((&good, index)),
                &|| x.take(index),
                &|| x.index_put(index, 0, false),
                &|| x.put(index, &good, false),
            ];
            for (i, written) in uses.iter().enumerate() {
                let error = written().to_vec::<i32>();
                let error = error.expect_err(&format!("{i} on {dev}"));
                let out = matches!(error, Error::IndexOutOfRange { .. });
                assert!(out, "{i}: {error}");
                named(&error, &[]);
            }
        }
        for index in &bad {
            assert!(index.bincount(None, 0).checked().is_err());
            // No class has such a number.
            assert_eq!(index.one_hot(3).to_vec::<i32>().unwrap(), [0, 0, 0]);
        }
        let wide = Tensor::from_vec(vec![u32::MAX, 1], [2], &dev).one_hot(2);
        assert_eq!(wide.to_vec::<i32>().unwrap(), [0, 0, 0, 1]);
        let last = Tensor::from_vec(vec![2u32], [1], &dev);
        assert_eq!(x.index((&last, &good)).to_vec::<i32>().unwrap(), [9]);
    }
}
