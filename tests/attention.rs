//! Attention against the formula in plain operations: lengths around the blocks, masks that leave nothing,
//! grouped heads, windows, slopes, dropout; memory and launches.

#[path = "attention/cache.rs"]
mod cache;
mod devices;
#[path = "attention/rotary.rs"]
mod rotary;

use devices::{assert_close, cpu, fill, flash_gpu, gpu};
use wgrad::AttentionOptions;
use wgrad::autograd::grad;
use wgrad::prelude::*;

fn everywhere() -> impl Iterator<Item = Device> {
    devices::all().into_iter().chain(flash_gpu())
}

fn tensor(seed: u64, shape: &[usize], dev: &Device) -> Tensor {
    let n = shape.iter().product();
    Tensor::from_vec(fill(seed, n, 1.5), shape, dev)
}

/// Queries, keys and values of so many heads.
fn operands(heads: [usize; 2], lengths: [usize; 2], size: usize, dev: &Device) -> [Tensor; 3] {
    let keys = [1, heads[1], lengths[1], size];
    [
        tensor(1, &[1, heads[0], lengths[0], size], dev).requires_grad(),
        tensor(2, &keys, dev).requires_grad(),
        tensor(3, &keys, dev).requires_grad(),
    ]
}

fn causal() -> AttentionOptions {
    AttentionOptions {
        is_causal: true,
        ..Default::default()
    }
}

/// The formula, with all scores. Heads of keys are repeated for the queries that share them.
fn formula(x: &[Tensor; 3], options: &AttentionOptions) -> Tensor {
    let [q, k, v] = x;
    let (shape, keys) = (q.shape().unwrap(), k.shape().unwrap());
    let group = shape[1] / keys[1];
    let repeated = |t: &Tensor| t.repeat_interleave(group as i64, Some(1));
    let (k, v) = (repeated(k), repeated(v));
    let scale = options.scale.unwrap_or(1.0 / (shape[3] as f64).sqrt());
    let mut s = q.matmul(&k.transpose(-1, -2)) * scale;
    let dev = q.device();
    let i = Tensor::arange(shape[2], (DType::I32, dev)).unsqueeze(1);
    let j = Tensor::arange(keys[2], (DType::I32, dev));
    let apart = (&i - &j).abs();
    if let Some(slopes) = &options.alibi {
        s = s - slopes.reshape([-1, 1, 1]) * apart.to_dtype(DType::F32);
    }
    if let Some(mask) = &options.mask {
        s = match mask.dtype().unwrap() {
            DType::Bool => mask.where_cond(s, f64::NEG_INFINITY),
            _ => s + mask,
        };
    }
    if options.is_causal {
        s = j.le(&i).where_cond(s, f64::NEG_INFINITY);
    }
    if let Some(window) = options.window {
        s = apart.lt(window as i64).where_cond(s, f64::NEG_INFINITY);
    }
    // What is left without keys is 0, not NaN.
    let dead = s.max_dims([-1], true).eq(f64::NEG_INFINITY);
    let p = dead.where_cond(0.0, dead.where_cond(0.0, s).softmax(-1));
    p.matmul(&v)
}

/// The result and its gradients.
fn run(x: &[Tensor; 3], y: &Tensor) -> Vec<Vec<f32>> {
    let g = tensor(9, &y.shape().unwrap(), y.device());
    let grads = grad(
        &(y * g).sum(),
        &[&x[0], &x[1], &x[2]],
        GradOptions::default(),
    )
    .unwrap();
    let all = std::iter::once(y).chain(&grads);
    all.map(|t| t.to_vec().unwrap()).collect()
}

#[track_caller]
fn assert_is_the_formula(x: &[Tensor; 3], options: AttentionOptions) {
    let want = run(x, &formula(x, &options));
    let y = x[0].scaled_dot_product_attention_with(&x[1], &x[2], options);
    for (got, want) in run(x, &y).iter().zip(&want) {
        assert_close(got, want, 2e-4, 2e-5);
    }
}

#[test]
fn lengths_around_the_blocks() {
    for dev in everywhere() {
        for lengths in [
            [1, 1],
            [1, 17],
            [17, 1],
            [63, 64],
            [64, 65],
            [65, 63],
            [129, 33],
            [33, 129],
        ] {
            for options in [AttentionOptions::default(), causal()] {
                assert_is_the_formula(&operands([2, 2], lengths, 8, &dev), options);
            }
        }
    }
}

#[test]
fn sizes_of_heads() {
    let dev = cpu();
    for size in [1, 2, 3, 5, 8, 15, 16, 17, 33, 64, 100, 256, 300] {
        assert_is_the_formula(&operands([2, 1], [20, 37], size, &dev), causal());
    }
    if let Some(dev) = flash_gpu() {
        for size in [1, 33, 64] {
            assert_is_the_formula(&operands([2, 1], [20, 37], size, &dev), causal());
        }
        // Too large for its registers: plain operations.
        assert_is_the_formula(&operands([1, 1], [3, 4], 260, &dev), causal());
    }
}

#[test]
fn windows_slopes_and_grouped_heads() {
    for dev in everywhere() {
        let alibi = Some(Tensor::new([0.5f32, 0.25, 0.125, 0.0625], &dev));
        for is_causal in [false, true] {
            for window in [1, 5, 64, 1000] {
                let options = AttentionOptions {
                    is_causal,
                    window: Some(window),
                    alibi: alibi.clone(),
                    enable_gqa: true,
                    ..Default::default()
                };
                assert_is_the_formula(&operands([4, 2], [130, 140], 8, &dev), options);
            }
        }
    }
}

#[test]
fn masks_that_leave_a_query_nothing() {
    for dev in everywhere() {
        let seen: Vec<bool> = (0..6 * 70).map(|at| at / 70 != 2 && at % 3 != 0).collect();
        let seen = Tensor::from_vec(seen, [6, 70], &dev);
        let none = seen.where_cond(Tensor::zeros([6, 70], &dev), f64::NEG_INFINITY);
        for mask in [seen, none] {
            let x = operands([2, 2], [6, 70], 8, &dev);
            let options = AttentionOptions {
                mask: Some(mask),
                ..Default::default()
            };
            assert_is_the_formula(&x, options.clone());
            let y = x[0].scaled_dot_product_attention_with(&x[1], &x[2], options);
            assert_eq!(y.select(2, 2).to_vec::<f32>().unwrap(), [0.0; 16]);
            let dq = grad(&y.sum(), &[&x[0]], GradOptions::default()).unwrap();
            assert_eq!(dq[0].select(2, 2).to_vec::<f32>().unwrap(), [0.0; 16]);
        }
        // A window of nothing.
        let x = operands([1, 1], [3, 3], 8, &dev);
        let options = AttentionOptions {
            window: Some(0),
            ..Default::default()
        };
        let y = x[0].scaled_dot_product_attention_with(&x[1], &x[2], options);
        assert_eq!(y.to_vec::<f32>().unwrap(), [0.0; 24]);
    }
}

#[test]
fn gradients_of_a_mask_and_of_slopes() {
    for dev in everywhere() {
        let x = operands([2, 2], [5, 6], 4, &dev);
        let mask = tensor(4, &[5, 6], &dev).requires_grad();
        let alibi = Tensor::new([0.5f32, 0.25], &dev).requires_grad();
        let options = || AttentionOptions {
            mask: Some(mask.clone()),
            alibi: Some(alibi.clone()),
            ..Default::default()
        };
        let leaves = [&mask, &alibi, &x[0]];
        let of = |y: Tensor| {
            let grads = grad(&y.sin().sum(), &leaves, GradOptions::default()).unwrap();
            grads
                .iter()
                .map(|g| g.to_vec::<f32>().unwrap())
                .collect::<Vec<_>>()
        };
        let got = of(x[0].scaled_dot_product_attention_with(&x[1], &x[2], options()));
        for (got, want) in got.iter().zip(&of(formula(&x, &options()))) {
            assert_close(got, want, 2e-4, 2e-5);
        }
    }
}

#[test]
fn large_and_infinite_scores() {
    for dev in everywhere() {
        // e^s overflows, the weights do not.
        let [q, k, v] = operands([1, 1], [5, 70], 8, &dev);
        let scaled = [
            (q.detach() * 100.0).requires_grad(),
            (k.detach() * 100.0).requires_grad(),
            v,
        ];
        let y = scaled[0].scaled_dot_product_attention(&scaled[1], &scaled[2]);
        let want = formula(&scaled, &AttentionOptions::default());
        assert_close(&y.to_vec().unwrap(), &want.to_vec().unwrap(), 1e-2, 1e-2);
        // An infinite score has no softmax; the other queries are as they were.
        let q = Tensor::new([[[[f32::INFINITY], [1.0], [f32::NAN]]]], &dev);
        let ones = Tensor::ones([1, 1, 40, 1], &dev);
        let y = q
            .scaled_dot_product_attention(&ones, &ones)
            .to_vec::<f32>()
            .unwrap();
        assert!(
            y[0].is_nan() && (y[1] - 1.0).abs() < 1e-6 && y[2].is_nan(),
            "{y:?}"
        );
    }
}

#[test]
fn dropout_is_the_same_everywhere_and_as_often_as_it_should() {
    let (length, p) = (96, 0.25);
    let mut known: Option<Vec<f32>> = None;
    for dev in everywhere() {
        dev.seed(7);
        let options = || AttentionOptions {
            dropout: p,
            ..Default::default()
        };
        // Weights of 1 / length, seen one by one.
        let q = Tensor::zeros([1, 2, length, 8], &dev).requires_grad();
        let k = Tensor::zeros([1, 2, length, 8], &dev).requires_grad();
        let v = Tensor::eye(length, &dev).expand([1, 2, length, length]);
        let y = q.scaled_dot_product_attention_with(&k, &v.contiguous(), options());
        let weights: Vec<f32> = y.to_vec().unwrap();
        let kept = 1.0 / (length as f32 * (1.0 - p as f32));
        assert!(weights.iter().all(|&w| w == 0.0 || (w - kept).abs() < 1e-5));
        let zeros = weights.iter().filter(|&&w| w == 0.0).count() as f64;
        let (n, expected) = (weights.len() as f64, p * weights.len() as f64);
        assert!(
            (zeros - expected).abs() < 5.0 * (n * p * (1.0 - p)).sqrt(),
            "{zeros} of {n}"
        );
        // Each head and query has weights of its own.
        assert_ne!(weights[..length], weights[length..2 * length]);
        let pattern: Vec<f32> = weights.iter().map(|&w| f32::from(w > 0.0)).collect();
        assert_eq!(
            known.get_or_insert_with(|| pattern.clone()),
            &pattern,
            "{dev}"
        );
        // The backward pass drops the same: the gradient of the values is made of the same weights.
        let v = tensor(3, &[1, 2, length, 8], &dev).requires_grad();
        dev.seed(7);
        let y = q.scaled_dot_product_attention_with(&k, &v, options());
        let g = tensor(4, &[1, 2, length, 8], &dev);
        let dv = grad(&(y * &g).sum(), &[&v], GradOptions::default()).unwrap();
        let weights = Tensor::from_vec(weights, [1, 2, length, length], &dev);
        let want = weights.transpose(-1, -2).matmul(&g);
        assert_close(
            &dv[0].to_vec().unwrap(),
            &want.to_vec().unwrap(),
            1e-3,
            1e-4,
        );
        // Another run draws anew.
        let next = q.scaled_dot_product_attention_with(&k, &v, options());
        let again = q.scaled_dot_product_attention_with(&k, &v, options());
        assert_ne!(
            next.to_vec::<f32>().unwrap(),
            again.to_vec::<f32>().unwrap()
        );
        let all = AttentionOptions {
            dropout: 1.0,
            ..Default::default()
        };
        let y = q.scaled_dot_product_attention_with(&k, &v, all);
        assert!(y.to_vec::<f32>().unwrap().iter().all(|&y| y == 0.0));
    }
}

#[test]
fn dropout_has_gradients_of_its_own_weights() {
    // Finite differences of a loss whose weights are dropped in the same way each time.
    let dev = cpu();
    let x = [(2, 5), (2, 6), (2, 6)].map(|(heads, n)| {
        let t = Tensor::from_vec(fill(n as u64, heads * n * 4, 1.0), [1, heads, n, 4], &dev);
        t.to_dtype(DType::F64)
    });
    let attend = |x: &[Tensor]| {
        dev.seed(3);
        let options = AttentionOptions {
            dropout: 0.4,
            is_causal: true,
            ..Default::default()
        };
        x[0].scaled_dot_product_attention_with(&x[1], &x[2], options)
            .sin()
            .sum()
    };
    wgrad::autograd::gradcheck(attend, &x).unwrap();
}

#[test]
fn leading_dimensions_broadcast() {
    for dev in everywhere() {
        let q = tensor(1, &[2, 1, 3, 7, 4], &dev);
        let k = tensor(2, &[5, 1, 6, 4], &dev);
        let v = tensor(3, &[3, 6, 2], &dev);
        let y = q.scaled_dot_product_attention(&k, &v);
        assert_eq!(y.shape().unwrap(), [2, 5, 3, 7, 2]);
        let want = (q.matmul(&k.transpose(-1, -2)) * 0.5)
            .softmax(-1)
            .matmul(&v);
        assert_close(&y.to_vec().unwrap(), &want.to_vec().unwrap(), 1e-5, 1e-5);
        // Without heads, and transposed.
        let (q, k) = (tensor(4, &[4, 7], &dev).t(), tensor(5, &[4, 6], &dev).t());
        let v = tensor(6, &[6, 5], &dev);
        let want = (q.matmul(&k.t()) * 0.5).softmax(-1).matmul(&v);
        let y = q.scaled_dot_product_attention(&k, &v);
        assert_close(&y.to_vec().unwrap(), &want.to_vec().unwrap(), 1e-5, 1e-5);
    }
}

#[test]
fn nothing_to_attend_to_or_nobody_who_does() {
    for dev in everywhere() {
        for [l, s] in [[0, 3], [3, 0], [0, 0]] {
            let x = operands([2, 2], [l, s], 4, &dev);
            let y = x[0].scaled_dot_product_attention(&x[1], &x[2]);
            assert_eq!(y.to_vec::<f32>().unwrap(), vec![0.0; 8 * l]);
            let grads = grad(&y.sum(), &[&x[0], &x[1], &x[2]], GradOptions::default()).unwrap();
            assert!(
                grads
                    .iter()
                    .all(|g| g.to_vec::<f32>().unwrap().iter().all(|&g| g == 0.0))
            );
        }
    }
}

#[test]
fn wrong_operands_are_errors_with_their_place() {
    let dev = cpu();
    let x = |shape: &[usize]| Tensor::zeros(shape, &dev);
    let error = |y: Tensor| y.to_vec::<f32>().unwrap_err().to_string();
    let here =
        |text: &str| text.contains("scaled_dot_product_attention") && text.contains("attention.rs");
    let q = x(&[2, 3, 4]);
    for (k, v) in [
        (x(&[2, 5, 6]), x(&[2, 5, 4])),
        (x(&[2, 5, 4]), x(&[2, 6, 4])),
        (x(&[4]), x(&[4])),
    ] {
        let text = error(q.scaled_dot_product_attention(&k, &v));
        assert!(here(&text), "{text}");
    }
    let with =
        |options: AttentionOptions| error(q.scaled_dot_product_attention_with(&q, &q, options));
    let mask = |mask: Tensor| AttentionOptions {
        mask: Some(mask),
        ..Default::default()
    };
    for options in [
        mask(x(&[3, 4])),
        mask(x(&[3, 2, 3, 3])),
        mask(Tensor::zeros([3, 3], (DType::I32, &dev))),
        AttentionOptions {
            dropout: 1.5,
            ..Default::default()
        },
        AttentionOptions {
            alibi: Some(x(&[3])),
            ..Default::default()
        },
    ] {
        let text = with(options);
        assert!(here(&text), "{text}");
    }
    // Heads of queries that do not share those of keys; or that do, but not without being asked to.
    let grouped = |heads: usize, enable_gqa: bool| {
        let options = AttentionOptions {
            enable_gqa,
            ..Default::default()
        };
        let k = x(&[heads, 3, 4]);
        x(&[4, 3, 4]).scaled_dot_product_attention_with(&k, &k, options)
    };
    assert!(here(&error(grouped(3, true))) && here(&error(grouped(2, false))));
    assert_eq!(grouped(2, true).shape().unwrap(), [4, 3, 4]);
}

#[test]
fn the_same_bits_in_every_run() {
    for dev in [Some(cpu()), flash_gpu()].into_iter().flatten() {
        let x = operands([4, 2], [150, 140], 8, &dev);
        let options = || AttentionOptions {
            enable_gqa: true,
            ..causal()
        };
        let attend = || x[0].scaled_dot_product_attention_with(&x[1], &x[2], options());
        let first = run(&x, &attend());
        for _ in 0..3 {
            assert_eq!(run(&x, &attend()), first, "{dev}");
        }
    }
}

#[test]
fn one_launch_forward_three_backward_and_no_new_plan() {
    for dev in [Some(cpu()), flash_gpu()].into_iter().flatten() {
        let x = operands([2, 2], [40, 40], 8, &dev);
        let g = tensor(5, &[1, 2, 40, 8], &dev);
        dev.synchronize().unwrap();
        let mut plans = 0;
        for step in 0..3 {
            let before = dev.stats();
            let y = x[0].scaled_dot_product_attention_with(&x[1], &x[2], causal());
            dev.synchronize().unwrap();
            let middle = dev.stats();
            assert_eq!(middle.launches - before.launches, 1, "{dev}");
            y.backward_with(&g).unwrap();
            let grads: Vec<Tensor> = x.iter().map(|x| x.grad().unwrap()).collect();
            dev.synchronize().unwrap();
            let after = dev.stats();
            assert!(after.launches - middle.launches <= 3, "{dev}");
            if step > 0 {
                assert_eq!(after.plan_misses, plans, "{dev}");
            }
            plans = after.plan_misses;
            drop(grads);
            x.iter().for_each(Tensor::zero_grad);
        }
    }
}

/// With all scores, 8,192 squared of 4 bytes, it would be 256 MiB for each of several tensors.
#[test]
fn memory_is_linear_in_the_length() {
    let (length, size) = (8192, 8);
    let dev = DeviceOptions::cpu().open().unwrap();
    let x = operands([1, 1], [length, length], size, &dev);
    let y = x[0].scaled_dot_product_attention_with(&x[1], &x[2], causal());
    y.sum().backward().unwrap();
    for x in &x {
        assert!(
            x.grad()
                .unwrap()
                .to_vec::<f32>()
                .unwrap()
                .iter()
                .all(|g| g.is_finite())
        );
    }
    // A matrix of `[length, size]` is 256 KiB.
    let peak = dev.stats().peak_bytes;
    assert!(peak < 6 << 20, "{peak} bytes");
}
