//! Mixed precision: the scopes, the scaler, and what trains with both.

mod devices;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;
use wgrad::optim::{AdamW, AdamWOptions, clip_grad_norm};
use wgrad::prelude::*;
use wgrad::{autocast_disabled, autocast_dtype};

/// What tests/golden/amp.py wrote.
fn golden() -> Value {
    serde_json::from_str(include_str!("golden/amp.json")).expect("a golden file")
}

/// tests/golden/cases.py's `numbers`: splitmix64 of a seed and the position.
fn numbers(n: usize, seed: u64, lo: f64, hi: f64) -> Vec<f32> {
    let number = |i: u64| {
        let mut z = i.wrapping_add(seed.wrapping_mul(0x632B_E59B_D9B4_E019));
        z = z.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (lo + (z >> 40) as f64 / f64::from(1 << 24) * (hi - lo)) as f32
    };
    (1..=n as u64).map(number).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    let list = value.as_array().expect("a list");
    list.iter()
        .map(|x| x.as_f64().expect("a number") as f32)
        .collect()
}

#[test]
fn a_scaler_follows_torch() {
    let golden = golden();
    for dev in devices::all() {
        let a = Tensor::from_vec(numbers(5, 1, -3.0, 3.0), 5, &dev).requires_grad();
        let b = Tensor::from_vec(numbers(6, 2, -3.0, 3.0), [2, 3], &dev).requires_grad();
        let mut adam = Adam::new(
            vec![a.clone()],
            AdamOptions {
                lr: 0.1,
                ..Default::default()
            },
        );
        let options = SgdOptions {
            lr: 0.1,
            momentum: 0.9,
            dampening: 0.5,
            ..Default::default()
        };
        let mut sgd = Sgd::new(vec![b.clone()], options);
        let options = GradScalerOptions {
            init_scale: 64.0,
            growth_factor: 4.0,
            backoff_factor: 0.25,
            growth_interval: 3,
            enabled: true,
        };
        let mut scaler = GradScaler::new(&dev, options);
        for (step, wanted) in golden["scaler"].as_array().unwrap().iter().enumerate() {
            adam.zero_grad();
            sgd.zero_grad();
            let mut weights = [
                numbers(5, 10 + step as u64, -3.0, 3.0),
                numbers(6, 50 + step as u64, -3.0, 3.0),
            ];
            let bad = match step {
                0 => Some((0, f32::INFINITY)),
                4 => Some((1, f32::NAN)),
                5 => Some((0, f32::NEG_INFINITY)),
                11 => Some((1, f32::INFINITY)),
                _ => None,
            };
            if let Some((which, value)) = bad {
                weights[which][1] = value;
            }
            let [u, v] = weights;
            let loss = (&a * Tensor::from_vec(u, 5, &dev)).sum();
            let loss = loss + (&b * Tensor::from_vec(v, [2, 3], &dev)).sum();
            let reads = dev.stats().reads;
            scaler.scale(&loss).backward().unwrap();
            scaler.unscale(&adam).unwrap();
            let norm = clip_grad_norm(&[a.clone()], 2.0).unwrap();
            scaler.step(&mut adam).unwrap();
            scaler.step(&mut sgd).unwrap();
            scaler.update().unwrap();
            assert_eq!(dev.stats().reads, reads, "a step reads nothing");
            let what = format!("{dev}, step {step}");
            let state = scaler.state_dict().unwrap();
            assert_eq!(state.scale, wanted["scale"].as_f64().unwrap(), "{what}");
            assert_eq!(
                u64::from(state.growth_tracker),
                wanted["tracker"].as_u64().unwrap(),
                "{what}"
            );
            let norm = norm.item::<f32>().unwrap();
            match wanted["norm"].as_f64() {
                Some(wanted) => assert!(
                    (f64::from(norm) - wanted).abs() < 1e-5 * wanted,
                    "{what}: {norm}"
                ),
                None => assert!(!norm.is_finite(), "{what}: {norm}"),
            }
            devices::assert_close(&a.to_vec().unwrap(), &floats(&wanted["a"]), 1e-5, 1e-6);
            devices::assert_close(&b.to_vec().unwrap(), &floats(&wanted["b"]), 1e-5, 1e-6);
            assert_eq!(
                adam.steps().unwrap()[0] as f64,
                wanted["steps"].as_f64().unwrap(),
                "{what}"
            );
        }
        // A state goes on where another scaler was.
        let state = scaler.state_dict().unwrap();
        let mut other = GradScaler::new(&dev, GradScalerOptions::default());
        other.load_state_dict(&state);
        assert_eq!(other.state_dict().unwrap(), state);
        assert_eq!(other.get_scale().unwrap(), state.scale);
        // So does the optimizer's, whose counts are on the device.
        let saved = adam.state_dict().unwrap();
        let mut resumed = Adam::new(vec![a.clone()], AdamOptions::default());
        resumed.load_state_dict(&saved).unwrap();
        assert_eq!(resumed.steps().unwrap(), adam.steps().unwrap());
    }
}

/// Losses of a network in mixed precision, as tests/golden/amp.py has them.
fn network(dev: &Device, dtype: DType) -> Vec<f32> {
    let parameter = |shape: &[usize], seed: u64, size: f64| {
        let n = shape.iter().product();
        Tensor::from_vec(numbers(n, seed, -size, size), shape, dev).requires_grad()
    };
    let (w1, w2) = (parameter(&[16, 6], 1, 0.6), parameter(&[3, 16], 2, 0.4));
    let (b1, b2) = (parameter(&[16], 3, 0.1), parameter(&[3], 4, 0.1));
    let x = Tensor::from_vec(numbers(24 * 6, 5, -2.0, 2.0), [24, 6], dev);
    let t = numbers(24, 6, 0.0, 3.0)
        .into_iter()
        .map(|t| t as i32)
        .collect();
    let t = Tensor::from_vec(t, 24, dev);
    let params = vec![w1.clone(), b1.clone(), w2.clone(), b2.clone()];
    let mut sgd = Sgd::new(
        params,
        SgdOptions {
            lr: 0.2,
            ..Default::default()
        },
    );
    let mut losses = Vec::new();
    for _ in 0..20 {
        sgd.zero_grad();
        let loss = autocast(dtype, || {
            let h = x.linear(&w1, Some(&b1));
            let y = h.tanh().linear(&w2, Some(&b2));
            assert_eq!((h.dtype().unwrap(), y.dtype().unwrap()), (dtype, dtype));
            y.cross_entropy(&t)
        });
        assert_eq!(loss.dtype().unwrap(), DType::F32);
        loss.backward().unwrap();
        assert_eq!(w1.grad().unwrap().dtype().unwrap(), DType::F32);
        sgd.step().unwrap();
        losses.push(loss.item::<f32>().unwrap());
    }
    losses
}

#[test]
fn a_network_follows_torch() {
    let golden = golden();
    for dev in devices::all() {
        // Roundings of 11 and of 8 bits, in other orders than torch's.
        for (dtype, name, tolerance) in [(DType::F16, "f16", 1e-3), (DType::BF16, "bf16", 8e-3)] {
            devices::assert_close(
                &network(&dev, dtype),
                &floats(&golden[name]),
                tolerance,
                0.0,
            );
        }
    }
}

#[test]
fn scopes_nest_and_end() {
    let dev = devices::cpu();
    let x = Tensor::ones([4, 4], &dev);
    let product = || x.matmul(&x).dtype().unwrap();
    assert_eq!(product(), DType::F32);
    autocast(DType::BF16, || {
        assert_eq!(product(), DType::BF16);
        autocast(DType::F16, || {
            assert_eq!(product(), DType::F16);
            autocast_disabled(|| {
                assert_eq!((product(), autocast_dtype()), (DType::F32, None));
                assert_eq!(autocast(DType::BF16, product), DType::BF16);
            });
            assert_eq!(product(), DType::F16);
        });
        // Another type switches it off, as in torch.
        assert_eq!(autocast(DType::F32, product), DType::F32);
        // The scope is this thread's.
        let other = std::thread::spawn(autocast_dtype).join().unwrap();
        assert_eq!((other, autocast_dtype()), (None, Some(DType::BF16)));
        assert_eq!(product(), DType::BF16);
    });
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        autocast(DType::F16, || panic!("on purpose"))
    }));
    assert!(unwound.is_err());
    assert_eq!((product(), autocast_dtype()), (DType::F32, None));
    // Doubles and integers stay what they are.
    autocast(DType::F16, || {
        let wide = x.to_dtype(DType::F64);
        assert_eq!(wide.matmul(&wide).dtype().unwrap(), DType::F64);
        let whole = x.to_dtype(DType::I32);
        assert_eq!(whole.matmul(&whole).dtype().unwrap(), DType::I32);
        assert_eq!(whole.sum().dtype().unwrap(), DType::I32);
    });
}

#[test]
fn derivatives_have_the_types_of_their_operations() {
    for dev in devices::all() {
        let w = Tensor::from_vec(numbers(12, 1, -1.0, 1.0), [3, 4], &dev).requires_grad();
        let x = Tensor::from_vec(numbers(20, 2, -1.0, 1.0), [5, 4], &dev).requires_grad();
        let forward = || x.linear(&w, None).softmax(-1).sqr().sum();
        // The same inside of the scope and outside, and where the forward pass is a checkpoint's.
        let grads = |backward: &dyn Fn()| {
            w.zero_grad();
            x.zero_grad();
            backward();
            let grads = [w.grad().unwrap(), x.grad().unwrap()];
            for grad in &grads {
                assert_eq!(grad.dtype().unwrap(), DType::F32);
            }
            grads.map(|grad| grad.to_vec::<f32>().unwrap())
        };
        let outside = grads(&|| autocast(DType::F16, forward).backward().unwrap());
        let inside = grads(&|| autocast(DType::F16, || forward().backward().unwrap()));
        let again = grads(&|| {
            let weight = w.clone();
            let f =
                move |x: &[Tensor]| x[0].linear(&weight, None).softmax(-1).sqr().sum().checked();
            let y = autocast(DType::F16, || autograd::checkpoint(&[&x], f)).unwrap();
            y.backward().unwrap();
        });
        assert_eq!(outside, inside, "{dev}");
        assert_eq!(outside, again, "{dev}");
        let plain = grads(&|| forward().backward().unwrap());
        assert_ne!(outside, plain, "{dev}: nothing was rounded");
        for (narrow, plain) in outside.iter().zip(&plain) {
            devices::assert_close(narrow, plain, 5e-3, 1e-3);
        }
    }
}

#[test]
fn a_parameter_is_converted_once() {
    for dev in devices::all().into_iter().filter(Device::fusion) {
        let w = Tensor::from_vec(numbers(64 * 64, 1, -0.2, 0.2), [64, 64], &dev).requires_grad();
        let x = Tensor::from_vec(numbers(8 * 64, 2, -1.0, 1.0), [8, 64], &dev).to_dtype(DType::F16);
        dev.synchronize().unwrap();
        // Launches of products with a weight of f16, and with one that is converted.
        let launches = |w: &Tensor, uses: usize| {
            let before = dev.stats().launches;
            let y = autocast(DType::F16, || {
                (0..uses).fold(x.clone(), |y, _| y.linear(w, None))
            });
            y.to_dtype(DType::F32).to_vec::<f32>().unwrap();
            dev.stats().launches - before
        };
        let narrow = w.detach().to_dtype(DType::F16);
        dev.synchronize().unwrap();
        for uses in [1, 2, 5] {
            assert_eq!(
                launches(&w, uses),
                launches(&narrow, uses) + 1,
                "{dev}, {uses} uses"
            );
        }
        // A parameter that is written in between is converted again, and so is one whose graph was not recorded.
        autocast(DType::F16, || {
            let one = Tensor::ones([1, 64], &dev);
            let first = no_grad(|| one.linear(&w, None));
            assert!(!first.needs_grad());
            let tracked = one.linear(&w, None);
            assert!(tracked.needs_grad());
            w.assign(&w.zeros_like()).unwrap();
            let y = one.linear(&w, None).to_dtype(DType::F32);
            assert_eq!(y.to_vec::<f32>().unwrap(), [0.0; 64]);
        });
    }
}

#[test]
fn activations_take_half_the_memory() {
    const ROWS: usize = 4096;
    const WIDTH: usize = 64;
    let some = std::iter::once(devices::cpu()).chain(devices::gpu());
    for dev in some {
        let weight = |i| {
            let w = Tensor::from_vec(numbers(WIDTH * WIDTH, i, -0.2, 0.2), [WIDTH, WIDTH], &dev);
            w.requires_grad()
        };
        let ws: Vec<Tensor> = (0..12).map(weight).collect();
        let x = Tensor::from_vec(numbers(ROWS * WIDTH, 99, -1.0, 1.0), [ROWS, WIDTH], &dev);
        dev.synchronize().unwrap();
        // What a forward pass leaves for the backward pass.
        let held = |dtype: Option<DType>| {
            let before = dev.stats().live_bytes;
            let forward = || {
                ws.iter()
                    .fold(x.clone(), |x, w| x.linear(w, None).tanh())
                    .sum()
            };
            let loss = match dtype {
                Some(dtype) => autocast(dtype, forward),
                None => forward(),
            };
            dev.synchronize().unwrap();
            let held = dev.stats().live_bytes - before;
            loss.backward().unwrap();
            for w in &ws {
                w.zero_grad();
            }
            held as f64
        };
        let wide = held(None);
        for dtype in [DType::F16, DType::BF16] {
            let ratio = held(Some(dtype)) / wide;
            // The first layer's converted input and the converted weights come on top.
            assert!((0.5..0.6).contains(&ratio), "{dev}: {ratio}");
        }
    }
}

#[test]
fn scalers_refuse_what_is_out_of_order() {
    let dev = devices::cpu();
    let w = Tensor::ones([2], &dev).requires_grad();
    let mut sgd = Sgd::new(
        vec![w.clone()],
        SgdOptions {
            lr: 0.5,
            ..Default::default()
        },
    );
    let mut scaler = GradScaler::new(&dev, GradScalerOptions::default());
    let error = scaler.step(&mut sgd).unwrap_err().to_string();
    assert!(
        error.contains("no parameter of the optimizer has a gradient"),
        "{error}"
    );
    let error = scaler.update().unwrap_err().to_string();
    assert!(error.contains("there was no step"), "{error}");
    scaler.scale(&w.sum()).backward().unwrap();
    scaler.unscale(&sgd).unwrap();
    let error = scaler.unscale(&sgd).unwrap_err().to_string();
    assert!(
        error.starts_with("unscale: has been called for this optimizer"),
        "{error}"
    );
    assert!(error.contains("tests/amp.rs"), "{error}");
    scaler.step(&mut sgd).unwrap();
    let error = scaler.step(&mut sgd).unwrap_err().to_string();
    assert!(
        error.starts_with("step: has been called since the last update"),
        "{error}"
    );
    assert!(
        scaler
            .unscale(&sgd)
            .unwrap_err()
            .to_string()
            .contains("after step")
    );
    scaler.update().unwrap();
    assert_eq!(w.to_vec::<f32>().unwrap(), [0.5, 0.5]);
    // A failed gradient is an error, and nothing has changed.
    let bad = Tensor::ones([2], &dev) + Tensor::ones([3], &dev);
    assert!(w.set_grad(&bad).is_err() || scaler.step(&mut sgd).is_err());
    assert_eq!(w.to_vec::<f32>().unwrap(), [0.5, 0.5]);
    // A scaler that is not enabled does nothing.
    let mut off = GradScaler::new(
        &dev,
        GradScalerOptions {
            enabled: false,
            ..Default::default()
        },
    );
    let w = Tensor::ones([1], &dev).requires_grad();
    let mut sgd = Sgd::new(
        vec![w.clone()],
        SgdOptions {
            lr: 0.5,
            ..Default::default()
        },
    );
    off.scale(&w.sum()).backward().unwrap();
    off.unscale(&sgd).unwrap();
    off.step(&mut sgd).unwrap();
    off.update().unwrap();
    assert_eq!(
        (w.to_vec::<f32>().unwrap(), off.get_scale().unwrap()),
        (vec![0.5], 1.0)
    );
}

/// The last of the losses of a training, smoothed, and whether the factor has moved.
fn train(
    dev: &Device,
    dtype: Option<DType>,
    model: &dyn Forward,
    steps: usize,
    batch: &dyn Fn(usize) -> (Tensor, Tensor),
) -> (f32, f64) {
    let options = AdamWOptions {
        lr: 3e-3,
        ..Default::default()
    };
    let mut adam = AdamW::new(model.parameters(), options);
    // So large that the first steps overflow in f16.
    let options = GradScalerOptions {
        init_scale: 2f64.powi(19),
        enabled: dtype == Some(DType::F16),
        ..Default::default()
    };
    let mut scaler = GradScaler::new(dev, options);
    let mut losses = Vec::new();
    for step in 0..steps {
        let (x, t) = batch(step);
        adam.zero_grad();
        let forward = || model.forward(&x).unwrap().cross_entropy(&t);
        let loss = match dtype {
            Some(dtype) => autocast(dtype, forward),
            None => forward(),
        };
        scaler.scale(&loss).backward().unwrap();
        scaler.unscale(&adam).unwrap();
        let _norm = clip_grad_norm(&model.parameters(), 1.0).unwrap();
        scaler.step(&mut adam).unwrap();
        scaler.update().unwrap();
        losses.push(loss.item::<f32>().unwrap());
    }
    let last = &losses[steps - 8..];
    (last.iter().sum::<f32>() / 8.0, scaler.get_scale().unwrap())
}

/// Trains in f32 and in mixed precision from the same start.
fn compare(
    make: &dyn Fn(&Device) -> Box<dyn Forward>,
    steps: usize,
    batch: &dyn Fn(&Device, usize) -> (Tensor, Tensor),
    good: f32,
) {
    let some = std::iter::once(devices::cpu()).chain(devices::gpu());
    for dev in some {
        let run = |dtype| {
            dev.seed(5);
            let model = make(&dev);
            train(&dev, dtype, &*model, steps, &|step| batch(&dev, step))
        };
        let (plain, _) = run(None);
        assert!(plain < good, "{dev}: {plain}");
        for dtype in [DType::F16, DType::BF16] {
            let (mixed, scale) = run(Some(dtype));
            println!("{dev}: {plain} in f32, {mixed} in {dtype}, factor {scale}");
            assert!(
                (mixed - plain).abs() < 0.1 * plain + 0.02,
                "{dev}: {plain} in f32, {mixed} in {dtype}"
            );
            let moved = scale < 2f64.powi(19) && scale > 16.0;
            assert!(moved || dtype != DType::F16, "{dev}: the factor is {scale}");
        }
    }
}

#[test]
fn a_convolutional_network_trains_as_well() {
    let digits = wgrad::data::sets::digits();
    let images: Vec<f32> = digits.x.values().iter().map(|v| v / 16.0).collect();
    let make = |dev: &Device| -> Box<dyn Forward> {
        let padded = nn::ConvOptions {
            padding: ConvPadding::Zeros([1, 1]),
            ..Default::default()
        };
        Box::new(
            nn::Sequential::new()
                .add(nn::Conv2d::with(1, 12, 3, padded, dev))
                .add(nn::BatchNorm2d::new(12, dev))
                .add(nn::Relu)
                .add(nn::MaxPool2d::new(2))
                .add(nn::Conv2d::with(12, 24, 3, padded, dev))
                .add(nn::Relu)
                .add(nn::MaxPool2d::new(2))
                .add(nn::Flatten::default())
                .add(nn::Linear::new(96, 10, dev)),
        )
    };
    let batch = |dev: &Device, step: usize| {
        let of = |i: usize| (step * 64 + i) % 640;
        let pixels = |i| images[of(i) * 64..][..64].to_vec();
        let x: Vec<f32> = (0..64).flat_map(pixels).collect();
        let classes: Vec<i32> = (0..64).map(|i| digits.y[of(i)]).collect();
        let x = Tensor::from_vec(x, [64, 1, 8, 8], dev);
        (x, Tensor::from_vec(classes, 64, dev))
    };
    compare(&make, 80, &batch, 0.2);
}

/// A small GPT over characters.
#[derive(Module)]
struct Gpt {
    tokens: nn::Embedding,
    places: nn::Embedding,
    layers: Vec<nn::TransformerEncoderLayer>,
    norm: nn::LayerNorm,
    head: nn::Linear,
    #[module(skip)]
    order: Tensor,
}

const LENGTH: usize = 24;
const WIDTH: usize = 32;

impl Forward for Gpt {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = self.tokens.forward(x)? + self.places.forward(&self.order)?;
        let masks = nn::Masks::causal();
        for layer in &self.layers {
            y = layer.forward_masked(&y, &masks)?;
        }
        let y = self.head.forward(&self.norm.forward(&y)?)?;
        Ok(y.flatten(0, 1))
    }
}

#[test]
fn a_transformer_trains_as_well() {
    let text =
        "the quick brown fox jumps over the lazy dog and the dog looks at the fox; ".repeat(4);
    let text: Vec<i32> = text.bytes().map(|b| i32::from(b % 32)).collect();
    let make = |dev: &Device| -> Box<dyn Forward> {
        let options = nn::TransformerLayerOptions {
            dim_feedforward: 64,
            dropout: 0.0,
            batch_first: true,
            norm_first: true,
            ..Default::default()
        };
        Box::new(Gpt {
            tokens: nn::Embedding::new(32, WIDTH, dev),
            places: nn::Embedding::new(LENGTH, WIDTH, dev),
            layers: (0..2)
                .map(|_| nn::TransformerEncoderLayer::with(WIDTH, 4, options, dev))
                .collect(),
            norm: nn::LayerNorm::new([WIDTH], dev),
            head: nn::Linear::new(WIDTH, 32, dev),
            order: Tensor::arange(0..LENGTH as i32, dev),
        })
    };
    let batch = |dev: &Device, step: usize| {
        let start = |i: usize| (step * 31 + i * 17) % (text.len() - LENGTH - 1);
        let of = |shift: usize| -> Vec<i32> {
            (0..16)
                .flat_map(|i| text[start(i) + shift..][..LENGTH].to_vec())
                .collect()
        };
        let x = Tensor::from_vec(of(0), [16, LENGTH], dev);
        (x, Tensor::from_vec(of(1), 16 * LENGTH, dev))
    };
    compare(&make, 120, &batch, 0.6);
}
