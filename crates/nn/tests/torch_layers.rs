//! What the golden cases of layers do not show: noise, state over steps, sizes.

mod device;

use device::{both, cpu, values};
use wgrad_core::{DType, Result, Tensor, no_grad};
use wgrad_nn::optim::{Adam, AdamOptions, Optimizer};
use wgrad_nn::*;

#[test]
fn noise_is_in_training_alone() -> Result<()> {
    for dev in both() {
        let x = Tensor::full([20, 10, 3, 2, 2], 1.5, &dev);
        let planes = x.reshape([20, 10, 3, 4]);
        let lines = x.reshape([20, 10, 12]);
        let layers: [(&dyn Forward, &Tensor); 6] = [
            (&Dropout::new(0.4), &x),
            (&Dropout1d::new(0.4), &lines),
            (&Dropout2d::new(0.4), &planes),
            (&Dropout3d::new(0.4), &x),
            (&AlphaDropout::new(0.4), &x),
            (&FeatureAlphaDropout::new(0.4), &x),
        ];
        for (layer, x) in layers {
            let name = layer.description();
            let y = layer.forward(x)?;
            assert_ne!(values(&y), values(x), "{name}");
            assert_ne!(values(&y), values(&layer.forward(x)?), "{name}");
            // Whole channels, or not.
            let flat = y.reshape([20, 10, 12]);
            let spread = flat.max_dims([2], false) - flat.min_dims([2], false);
            let whole = values(&spread).iter().all(|&s| s == 0.0);
            assert_eq!(
                whole,
                name.contains('d') || name.starts_with("Feature"),
                "{name}"
            );
            layer.eval();
            assert_eq!(values(&layer.forward(x)?), values(x), "{name}");
            layer.train();
            assert_ne!(values(&layer.forward(x)?), values(x), "{name}");
        }
        let slopes = Rrelu::default();
        let y = values(&slopes.forward(&-&x)?);
        assert!(y.iter().all(|v| (-0.5..=-0.1875).contains(v)));
        assert!(y.iter().any(|v| *v != y[0]));

        // Layers that have dropout in them.
        let options = GruOptions {
            num_layers: 2,
            dropout: 0.5,
            ..Default::default()
        };
        let gru = Gru::with(4, 8, options, &dev);
        let x = Tensor::randn([5, 2, 4], &dev);
        let twice =
            |f: &dyn Fn() -> Result<Tensor>| -> Result<bool> { Ok(values(&f()?) == values(&f()?)) };
        assert!(!twice(&|| Ok(gru.forward(&x)?.0))?);
        gru.eval();
        assert!(twice(&|| Ok(gru.forward(&x)?.0))?);
        let options = LstmOptions {
            num_layers: 2,
            dropout: 0.5,
            proj_size: 3,
            ..Default::default()
        };
        let lstm = Lstm::with(4, 8, options, &dev);
        assert!(!twice(&|| Ok(lstm.forward(&x)?.0))?);
        lstm.eval();
        assert!(twice(&|| Ok(lstm.forward(&x)?.0))?);
        let layer = TransformerEncoderLayer::new(4, 2, &dev);
        assert!(!twice(&|| layer.forward(&x))?);
        layer.eval();
        assert!(twice(&|| layer.forward(&x))?);
        let options = MultiheadAttentionOptions {
            dropout: 0.5,
            ..Default::default()
        };
        let attention = MultiheadAttention::with(4, 2, options, &dev);
        let none = Masks::default();
        let weights = || Ok(attention.forward_with_weights(&x, &x, &x, &none, true)?.1);
        assert!(!twice(&|| attention.forward(&x, &x, &x))? && !twice(&weights)?);
        attention.eval();
        assert!(twice(&|| attention.forward(&x, &x, &x))? && twice(&weights)?);
    }
    Ok(())
}

#[test]
fn running_statistics_move_on_the_device() -> Result<()> {
    let dev = cpu();
    let x =
        |i: usize| Tensor::from_vec((0..6).map(|k| (k * (i + 1)) as f32).collect(), [3, 2], &dev);
    let of = |t: &Option<Tensor>| t.as_ref().map(values).unwrap_or_default();
    let norm = BatchNorm1d::new(2, &dev);
    let reads = dev.stats();
    for i in 0..3 {
        let _y = norm.forward(&x(i))?;
    }
    assert_eq!(dev.stats().reads, reads.reads, "nothing is read");
    let (mean, var) = (of(&norm.running_mean), of(&norm.running_var));
    // (1 - 0.1) old + 0.1 new, from torch.
    let expected = |first: f64, steps: [f64; 3]| steps.iter().fold(first, |m, s| 0.9 * m + 0.1 * s);
    let near = |a: f64, b: f64| (a - b).abs() < 1e-5;
    assert!(near(mean[0], expected(0.0, [2.0, 4.0, 6.0])), "{mean:?}");
    assert!(near(mean[1], expected(0.0, [3.0, 6.0, 9.0])), "{mean:?}");
    assert!(near(var[0], expected(1.0, [4.0, 16.0, 36.0])), "{var:?}");

    // Without momentum, the plain means over the batches.
    let options = BatchNormOptions {
        momentum: None,
        ..Default::default()
    };
    let norm = BatchNorm1d::with(2, options, &dev);
    for i in 0..3 {
        let _y = no_grad(|| norm.forward(&x(i)))?;
    }
    assert!(near(of(&norm.running_mean)[0], 4.0) && near(of(&norm.running_mean)[1], 6.0));
    assert!(near(of(&norm.running_var)[0], (4.0 + 16.0 + 36.0) / 3.0));
    assert_eq!(of(&norm.num_batches_tracked), [3.0]);

    // In evaluation they stay, and a failed step changes nothing.
    norm.eval();
    let _y = norm.forward(&x(7))?;
    norm.train();
    assert!(norm.forward(&Tensor::zeros([3, 5], &dev)).is_err());
    assert!(norm.forward(&Tensor::zeros([1, 2], &dev)).is_err());
    assert_eq!(of(&norm.num_batches_tracked), [3.0]);
    assert!(near(of(&norm.running_mean)[0], 4.0));

    // They are saved, and come back.
    let twin = BatchNorm1d::new(2, &dev);
    twin.load_state_dict(&norm.state_dict(), Strict)?;
    assert_eq!(of(&twin.running_var), of(&norm.running_var));
    assert_eq!(of(&twin.num_batches_tracked), [3.0]);
    Ok(())
}

#[test]
fn a_convolutional_network_trains() -> Result<()> {
    for dev in both() {
        dev.seed(3);
        let model = Sequential::from((
            Conv2d::new(1, 4, 3, &dev),
            BatchNorm2d::new(4, &dev),
            Relu,
            MaxPool2d::new(2),
            Flatten::default(),
            Linear::new(4 * 3 * 3, 2, &dev),
        ));
        let x = Tensor::randn([16, 1, 8, 8], &dev);
        // Whether the upper half is brighter than the lower.
        let half = |from| x.narrow(2, from, 4).sum_dims([1, 2, 3], false);
        let y = half(0).gt(half(4)).to_dtype(DType::I32);
        let options = AdamOptions {
            lr: 0.02,
            ..Default::default()
        };
        let mut adam = Adam::new(model.parameters(), options);
        let mut losses = Vec::new();
        for _ in 0..30 {
            adam.zero_grad();
            let loss = model.forward(&x)?.cross_entropy(&y);
            loss.backward()?;
            adam.step()?;
            losses.push(values(&loss)[0]);
        }
        assert!(losses[29] < 0.3 * losses[0], "{losses:?}");
        // 16 pictures of 4 channels of 6 by 6, and so on.
        let summary = summary(&model, [16, 1, 8, 8])?;
        assert_eq!(summary.multiply_adds, 16 * (4 * 36 * 9 + 36 * 2));
    }
    Ok(())
}

#[test]
fn embeddings_keep_padding_and_norms() -> Result<()> {
    for dev in both() {
        let options = EmbeddingOptions {
            padding_idx: Some(1),
            ..Default::default()
        };
        let table = Embedding::with(4, 3, options, &dev);
        let rows = values(&table.weight);
        assert!(rows[3..6].iter().all(|&v| v == 0.0) && rows[0] != 0.0);
        let at = Tensor::new([1, 2, 1, 3], &dev);
        table.forward(&at)?.sum().backward()?;
        let expected = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(values(&table.weight.grad()?), expected);

        let options = EmbeddingOptions {
            max_norm: Some(1.0),
            ..Default::default()
        };
        let table = Embedding::with(3, 2, options, &dev);
        let given = Tensor::new([[3.0, 4.0], [3.0, 4.0], [0.3, 0.4]], &dev);
        table.weight.assign(&given)?;
        let y = values(&table.forward(&Tensor::new([[0, 2], [2, 2]], &dev))?);
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(&y, &[0.6, 0.8, 0.3, 0.4, 0.3, 0.4, 0.3, 0.4]), "{y:?}");
        // In the table itself, and only what was looked up.
        let rows = values(&table.weight);
        assert!(near(&rows, &[0.6, 0.8, 3.0, 4.0, 0.3, 0.4]), "{rows:?}");

        let frozen = Embedding::from_pretrained(given, true);
        assert_eq!(frozen.description(), "Embedding(3, 2)");
        assert!(!frozen.weight.needs_grad());
        let y = frozen.forward(&Tensor::new(2, &dev))?;
        assert_eq!(y.shape()?, [2]);
    }
    Ok(())
}

#[test]
fn weights_are_cut_as_the_heads_are() -> Result<()> {
    let dev = cpu();
    let attention = MultiheadAttention::new(6, 3, &dev);
    let x = Tensor::randn([4, 2, 6], &dev);
    // One product for all three, or three: the same.
    let whole = values(&attention.forward(&x, &x, &x)?);
    let apart = values(&attention.forward(&x, &(&x * 1.0), &(&x * 1.0))?);
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(near(&whole, &apart));
    // Weights of all heads are each a distribution, and their mean is the mean.
    let none = Masks::default();
    let (y, weights) = attention.forward_with_weights(&x, &x, &x, &none, false)?;
    assert!(near(&values(&y), &whole));
    assert_eq!(weights.shape()?, [2, 3, 4, 4]);
    assert!(
        values(&weights.sum_dims([-1], false))
            .iter()
            .all(|s| (s - 1.0).abs() < 1e-5)
    );
    let (_, mean) = attention.forward_with_weights(&x, &x, &x, &none, true)?;
    assert!(near(
        &values(&weights.mean_dims([1], false)),
        &values(&mean)
    ));
    // Causality is the mask of the same name.
    let causal = attention.forward_masked(&x, &x, &x, &Masks::causal())?;
    let masks = Masks {
        attn_mask: Some(Tensor::ones([4, 4], &dev).triu(1).ne(0.0)),
        ..Default::default()
    };
    let masked = attention.forward_masked(&x, &x, &x, &masks)?;
    assert!(near(&values(&causal), &values(&masked)));
    // A query that nothing is left for gives the projection's bias.
    let masks = Masks {
        key_padding_mask: Some(Tensor::ones([2, 4], &dev).ne(0.0)),
        ..Default::default()
    };
    let y = attention.forward_masked(&x, &x, &x, &masks)?;
    assert!(values(&y).iter().all(|&v| v == 0.0));
    Ok(())
}

#[test]
fn biases_of_position() -> Result<()> {
    let dev = cpu();
    // From the reference implementation of Press et al.
    let slopes = values(&alibi_slopes(6, (DType::F64, &dev)));
    assert_eq!(slopes, [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]);
    assert_eq!(alibi_slopes(0, &dev).shape()?, [0]);
    let rotary = RotaryEmbedding::default();
    let x = Tensor::randn([5, 4], &dev);
    let whole = values(&rotary.forward(&x)?.narrow(0, 3, 2));
    assert_eq!(values(&rotary.forward_from(&x.narrow(0, 3, 2), 3)?), whole);
    let error = SinusoidalEncoding::default().forward(&Tensor::ones([3], &dev));
    assert!(error.is_err());
    let half = Tensor::zeros([2, 3, 4], (DType::F16, &dev));
    assert_eq!(
        SinusoidalEncoding::default().forward(&half)?.dtype()?,
        DType::F16
    );
    Ok(())
}
