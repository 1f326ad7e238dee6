//! Initial values, dropout, activations and losses.

mod device;

use device::{both, cpu, fill, values};
use wgrad_core::{CrossEntropyOptions, DType, Error, Reduction, Result, Tensor};
use wgrad_nn::init::{self, Fan, Gain};
use wgrad_nn::{
    ConvTranspose2d, ConvTranspose2dOptions, Dropout, Flatten, Forward, FractionalMaxPool2d,
    FractionalMaxPool3d, Func, Gelu, GeluTanh, Identity, Linear, Masks, Module, MultiheadAttention,
    MultiheadAttentionOptions, Relu, Sigmoid, Silu, Softplus, Strict, Tanh, alibi_slopes, loss,
};

/// Mean and standard deviation.
fn moments(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m, v| m.max(v.abs()))
}

#[test]
fn linear_begins_as_in_torch() -> Result<()> {
    let dev = cpu();
    let linear = Linear::new(100, 300, &dev);
    assert_eq!(linear.weight.shape()?, [300, 100]);
    let weight = values(&linear.weight);
    let (mean, std) = moments(&weight);
    assert!(largest(&weight) <= 0.1 && largest(&weight) > 0.0999);
    assert!(mean.abs() < 1e-3 && (std - 0.1 / 3f64.sqrt()).abs() < 1e-3);
    let bias = linear.bias.as_ref().map(values).unwrap_or_default();
    assert!(bias.len() == 300 && largest(&bias) <= 0.1 && largest(&bias) > 0.09);
    assert_ne!(weight[0], bias[0]);
    assert_eq!(linear.description(), "Linear(100, 300)");

    // The device's stream decides, and the type is the target's.
    let (a, b) = (cpu(), cpu());
    a.seed(7);
    b.seed(7);
    let make = |dev| Linear::new(3, 2, (DType::F64, dev));
    assert_eq!(values(&make(&a).weight), values(&make(&b).weight));
    assert_eq!(make(&a).weight.dtype()?, DType::F64);
    assert_ne!(values(&make(&a).weight), values(&make(&a).weight));

    let plain = Linear::without_bias(3, 2, &dev);
    assert!(plain.bias.is_none());
    assert_eq!(plain.description(), "Linear(3, 2, bias=false)");
    let y = plain.forward(&Tensor::ones([4, 5, 3], &dev))?;
    assert_eq!(y.shape()?, [4, 5, 2]);
    assert_eq!(
        Linear::new(0, 2, &dev)
            .forward(&Tensor::ones([1, 0], &dev))?
            .shape()?,
        [1, 2]
    );
    Ok(())
}

#[test]
fn initial_values_have_their_moments() -> Result<()> {
    let dev = cpu();
    let shape = [200, 50, 2, 2]; // fan in 200, fan out 800
    let check = |name: &str, tensor: Tensor, std: f64, bound: Option<f64>| {
        let x = values(&tensor);
        let (mean, measured) = moments(&x);
        assert!(mean.abs() < 0.02 * std, "{name}: mean {mean}");
        assert!(
            (measured / std - 1.0).abs() < 0.02,
            "{name}: {measured} for {std}"
        );
        if let Some(bound) = bound {
            let largest = largest(&x);
            assert!(
                largest <= bound * (1.0 + 1e-6) && largest > 0.99 * bound,
                "{name}"
            );
        }
    };
    let by_fan_in = (2.0f64 / 200.0).sqrt();
    let uniform = init::kaiming_uniform(shape, Fan::In, Gain::Relu, &dev);
    check(
        "kaiming_uniform",
        uniform,
        by_fan_in,
        Some(3f64.sqrt() * by_fan_in),
    );
    let normal = init::kaiming_normal(shape, Fan::Out, Gain::LeakyRelu(0.5), &dev);
    check(
        "kaiming_normal",
        normal,
        (2.0f64 / 1.25 / 800.0).sqrt(),
        None,
    );
    let glorot = (5.0 / 3.0) * (2.0f64 / 1000.0).sqrt();
    let uniform = init::xavier_uniform(shape, Gain::Tanh, &dev);
    check(
        "xavier_uniform",
        uniform,
        glorot,
        Some(3f64.sqrt() * glorot),
    );
    let normal = init::xavier_normal(shape, Gain::Tanh, &dev);
    check("xavier_normal", normal, glorot, None);
    check(
        "normal",
        init::normal([200, 200], 0.0, 3.0, &dev),
        3.0,
        None,
    );
    check(
        "uniform",
        init::uniform([200, 200], -2.0, 2.0, &dev),
        2.0 / 3f64.sqrt(),
        Some(2.0),
    );
    assert_eq!(values(&init::zeros([2], &dev)), [0.0; 2]);
    assert_eq!(values(&init::ones([2], &dev)), [1.0; 2]);
    assert_eq!(Gain::Selu.factor(), 0.75);
    assert_eq!(Gain::Factor(4.0).factor() * Gain::Linear.factor(), 4.0);

    let vector = init::xavier_normal([3], Gain::Linear, &dev);
    assert!(matches!(
        vector.error(),
        Some(Error::Shape { op: "init", .. })
    ));
    Ok(())
}

#[test]
fn dropout_statistics() -> Result<()> {
    for dev in both() {
        let n = 100_000;
        let x = Tensor::ones([n], &dev).requires_grad();
        for p in [0.1, 0.5, 0.9] {
            let dropout = Dropout::new(p);
            let y = dropout.forward(&x)?;
            x.zero_grad();
            y.sum().backward()?;
            let (y, grad) = (values(&y), values(&x.grad()?));
            let zeros = y.iter().filter(|&&v| v == 0.0).count() as f64 / n as f64;
            // Four standard deviations of the share of zeros.
            let tolerance = 4.0 * (p * (1.0 - p) / n as f64).sqrt();
            assert!((zeros - p).abs() < tolerance, "{zeros} zeros with p = {p}");
            let kept = f64::from((1.0 / (1.0 - p)) as f32);
            assert!(y.iter().all(|&v| v == 0.0 || (v - kept).abs() < 1e-6));
            assert_eq!(grad, y, "the gradient passes where the value does");
            // Another mask at the next time.
            assert_ne!(values(&dropout.forward(&x)?), y);
            dropout.eval();
            assert_eq!(values(&dropout.forward(&x)?), vec![1.0; n]);
        }
        assert_eq!(values(&Dropout::new(0.0).forward(&x)?), vec![1.0; n]);
        assert_eq!(values(&Dropout::new(1.0).forward(&x)?), vec![0.0; n]);
        for p in [-0.1, 1.1, f64::NAN] {
            let result = Dropout::new(p).forward(&x);
            assert!(matches!(result, Err(Error::Value { op: "dropout", .. })));
        }
    }
    Ok(())
}

#[test]
fn activations_are_the_tensors_methods() -> Result<()> {
    let dev = cpu();
    let x = Tensor::from_vec(fill(1, 64), [4, 4, 4], &dev) * 3.0;
    let pairs: [(&dyn Forward, Tensor); 9] = [
        (&Relu, x.relu()),
        (&Gelu, x.gelu()),
        (&GeluTanh, x.gelu_tanh()),
        (&Silu, x.silu()),
        (&Tanh, x.tanh()),
        (&Sigmoid, x.sigmoid()),
        (&Softplus::default(), x.softplus()),
        (&Identity, x.clone()),
        (&Func::new("Cube", |x| x.powi(3)), x.powi(3)),
    ];
    for (layer, expected) in pairs {
        let y = layer.forward(&x)?;
        assert_eq!(values(&y), values(&expected), "{}", layer.description());
    }
    assert_eq!(Flatten::default().forward(&x)?.shape()?, [4, 16]);
    assert_eq!(Flatten { start: 0, end: 1 }.forward(&x)?.shape()?, [16, 4]);
    let error = Flatten { start: 5, end: 6 }.forward(&x).unwrap_err();
    assert!(matches!(error, Error::DimOutOfRange { .. }));
    Ok(())
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * b.abs().max(1.0)
}

#[test]
fn losses_against_formulas() -> Result<()> {
    for dev in both() {
        let (n, c) = (6, 5);
        let f64s = |seed, shape: &[usize]| {
            let n = shape.iter().product();
            Tensor::from_vec(fill(seed, n), shape, &dev)
        };
        let (x, t) = (f64s(1, &[n, c]), f64s(2, &[n, c]));
        let (xv, tv) = (values(&x), values(&t));
        let pairs = || xv.iter().zip(&tv);
        let mean = |sum: f64| sum / (n * c) as f64;

        let mse = mean(pairs().map(|(x, t)| (x - t).powi(2)).sum());
        assert!(close(loss::mse_loss(&x, &t).item()?, mse));
        let l1: f64 = pairs().map(|(x, t)| (x - t).abs()).sum();
        assert!(close(loss::l1_loss(&x, &t).item()?, mean(l1)));
        assert!(close(
            loss::l1_loss_with(&x, &t, Reduction::Sum).item()?,
            l1
        ));
        let none = loss::mse_loss_with(&x, &t, Reduction::None);
        assert_eq!(none.shape()?, [n, c]);

        // Probabilities and targets within 0 and 1.
        let (p, q) = (x.sigmoid(), t.abs());
        let bce = mean(
            values(&p)
                .iter()
                .zip(values(&q))
                .map(|(p, t)| -(t * p.ln() + (1.0 - t) * (1.0 - p).ln()))
                .sum(),
        );
        assert!(close(loss::binary_cross_entropy(&p, &q).item()?, bce));
        assert!(close(
            loss::binary_cross_entropy_with_logits(&x, &q).item()?,
            bce
        ));

        let classes = Tensor::new([0, 1, 2, 3, 4, 0], &dev);
        let log_p = x.log_softmax(1);
        let lv = values(&log_p);
        let nll = -(0..n).map(|i| lv[i * c + i % c]).sum::<f64>() / n as f64;
        assert!(close(loss::nll_loss(&log_p, &classes).item()?, nll));
        assert!(close(loss::cross_entropy(&x, &classes).item()?, nll));
        let grid = Tensor::zeros([2, 5, 3], (DType::F64, &dev)).log_softmax(1);
        let spots = Tensor::new([[0, 1, 2], [3, 4, 0]], &dev);
        let each = CrossEntropyOptions {
            reduction: Reduction::None,
            ..Default::default()
        };
        let rows = loss::nll_loss_with(&grid, &spots, each);
        assert_eq!(rows.shape()?, [2, 3]);
        assert!(values(&rows).iter().all(|&v| close(v, 5f64.ln())));
    }
    Ok(())
}

#[test]
fn losses_of_wrong_shapes_fail() {
    let dev = cpu();
    let (x, t) = (Tensor::zeros([4, 1], &dev), Tensor::zeros([4], &dev));
    for loss in [
        loss::mse_loss(&x, &t),
        loss::l1_loss(&x, &t),
        loss::binary_cross_entropy(&x, &t),
        loss::binary_cross_entropy_with_logits(&x, &t),
    ] {
        let error = loss.item::<f32>().unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        assert!(error.to_string().contains("layers.rs"), "{error}");
    }
}

#[test]
fn binary_cross_entropy_is_finite_at_its_ends() -> Result<()> {
    for dev in both() {
        let p = Tensor::new([0.0, 0.0, 1.0, 1.0, 0.25], (DType::F64, &dev)).requires_grad();
        let t = Tensor::new([0.0, 1.0, 0.0, 1.0, 1.0], (DType::F64, &dev));
        let losses = loss::binary_cross_entropy_with(&p, &t, Reduction::None);
        losses.sum().backward()?;
        // torch: the logarithm is at least -100, the slope at most 1e12.
        assert_eq!(values(&losses), [0.0, 100.0, 100.0, 0.0, -(0.25f64.ln())]);
        let slope = values(&p.grad()?);
        assert!(slope.iter().all(|s| s.is_finite()), "{slope:?}");
        assert_eq!(slope[1], -1e12);
        assert_eq!(slope[2], 1e12);
        assert!(close(slope[4], -4.0));

        let x = Tensor::new([800.0, -800.0, 800.0], &dev).requires_grad();
        let t = Tensor::new([1.0, 0.0, 0.0], &dev);
        let losses = loss::binary_cross_entropy_with_logits_with(&x, &t, Reduction::None);
        losses.sum().backward()?;
        assert_eq!(values(&losses), [0.0, 0.0, 800.0]);
        assert_eq!(values(&x.grad()?), [0.0, 0.0, 1.0]);
    }
    Ok(())
}

#[test]
fn transposed_convolutions_go_to_a_size() -> Result<()> {
    for dev in both() {
        let options = |output_padding| ConvTranspose2dOptions {
            stride: [3, 2],
            padding: [1, 0],
            dilation: [1, 2],
            output_padding,
            ..Default::default()
        };
        let layer = ConvTranspose2d::with(2, 3, [2, 3], options([0, 0]), &dev);
        let x = Tensor::randn([1, 2, 4, 3], &dev);
        // (4 - 1) 3 - 2 + 1 + 1 = 9 rows, (3 - 1) 2 + 2 2 + 1 = 9 columns.
        assert_eq!(layer.forward(&x)?.shape()?, [1, 3, 9, 9]);
        let y = layer.forward_to(&x, [11, 10])?;
        let other = ConvTranspose2d::with(2, 3, [2, 3], options([2, 1]), &dev);
        other.load_state_dict(&layer.state_dict(), Strict)?;
        assert_eq!(y.shape()?, [1, 3, 11, 10]);
        assert_eq!(values(&y), values(&other.forward(&x)?));
        for size in [[8, 9], [12, 9], [9, 11]] {
            let error = layer.forward_to(&x, size).unwrap_err().to_string();
            assert!(error.contains("it has 9 to"), "{error}");
        }
    }
    Ok(())
}

#[test]
fn linear_biases_of_attention_are_a_mask() -> Result<()> {
    for dev in both() {
        let options = MultiheadAttentionOptions {
            batch_first: true,
            ..Default::default()
        };
        let plain = MultiheadAttention::with(8, 4, options, &dev);
        let with = MultiheadAttentionOptions {
            alibi: true,
            ..options
        };
        let biased = MultiheadAttention::with(8, 4, with, &dev);
        biased.load_state_dict(&plain.state_dict(), Strict)?;
        let x = Tensor::randn([2, 5, 8], &dev);
        let at = Tensor::arange(0..5, &dev);
        let apart = (at.unsqueeze(1) - &at).abs().to_dtype(DType::F32);
        let bias = alibi_slopes(4, &dev).reshape([4, 1, 1]) * -apart;
        let mask = bias.unsqueeze(0).expand([2, 4, 5, 5]).reshape([8, 5, 5]);
        let masks = Masks {
            attn_mask: Some(mask),
            ..Default::default()
        };
        let (wanted, weights) = plain.forward_with_weights(&x, &x, &x, &masks, false)?;
        let close = |got: &Tensor, wanted: &Tensor| {
            for (got, wanted) in values(got).into_iter().zip(values(wanted)) {
                assert!((got - wanted).abs() < 1e-5, "{got}, not {wanted}");
            }
        };
        close(&biased.forward(&x, &x, &x)?, &wanted);
        let (y, own) = biased.forward_with_weights(&x, &x, &x, &Masks::default(), false)?;
        close(&y, &wanted);
        close(&own, &weights);
        // There is no distance to keys that are added.
        let odd = MultiheadAttentionOptions {
            add_zero_attn: true,
            ..with
        };
        let odd = MultiheadAttention::with(8, 4, odd, &dev);
        assert!(
            odd.forward(&x, &x, &x)
                .unwrap_err()
                .to_string()
                .contains("alibi")
        );
    }
    Ok(())
}

#[test]
fn fractional_pools_draw_anew() -> Result<()> {
    for dev in both() {
        let x = Tensor::randn([2, 3, 9, 8], &dev);
        let pool = FractionalMaxPool2d::new([2, 3], 5);
        let (a, at) = pool.forward_with_indices(&x)?;
        assert_eq!(a.shape()?, [2, 3, 5, 5]);
        let there = x
            .flatten(2, 3)
            .gather(-1, &at.flatten(2, 3))
            .reshape([2, 3, 5, 5]);
        assert_eq!(values(&a), values(&there));
        assert_ne!(values(&a), values(&pool.forward(&x)?));
        let error = FractionalMaxPool2d::with_ratio(2, [0.5, 1.0])
            .forward(&x)
            .unwrap_err();
        assert!(error.to_string().contains("output_ratio"), "{error}");
        let error = FractionalMaxPool2d::new(4, 8)
            .forward(&x)
            .unwrap_err()
            .to_string();
        assert!(error.contains("[8, 8] windows of [4, 4]"), "{error}");
        assert!(
            FractionalMaxPool3d::new(2, 2)
                .forward(&x.reshape([1, 2, 9, 3, 8]))
                .is_ok()
        );
    }
    Ok(())
}
