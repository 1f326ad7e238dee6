//! What parameters begin with: torch's rules, by bounds and variances.

mod device;

use device::{cpu, values};
use wgrad_core::{ConvPadding, DType, Device, Result, Tensor};
use wgrad_nn::init::{self, Gain};
use wgrad_nn::*;

/// What a parameter is drawn from.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Uniform between a number and its negative.
    Uniform(f64),
    /// Normal, of variance 1.
    Normal,
    Constant(f64),
}

/// Checks each parameter and buffer of a layer against its rule; by the end of the name.
fn check(layer: &dyn Module, rules: &[(&str, Rule)]) {
    let name = layer.description();
    let mut seen = 0;
    for (path, tensor) in layer.state_dict() {
        let rule = rules.iter().find(|(end, _)| path.ends_with(end));
        let (_, rule) = rule.unwrap_or_else(|| panic!("{name}: no rule for {path}"));
        let x = values(&tensor);
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let largest = x.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        // Five standard deviations of what a sample's mean and variance are off by.
        let (off, spread) = (5.0 / n.sqrt(), 5.0 * (2.0 / n).sqrt());
        match *rule {
            Rule::Uniform(bound) => {
                let expected = bound * bound / 3.0;
                assert!(
                    largest <= bound * (1.0 + 1e-6),
                    "{name} {path}: {largest} beyond {bound}"
                );
                assert!(
                    largest > bound * (1.0 - 20.0 / n),
                    "{name} {path}: {largest} for {bound}"
                );
                assert!(
                    mean.abs() < off * expected.sqrt(),
                    "{name} {path}: mean {mean}"
                );
                assert!(
                    (variance / expected - 1.0).abs() < spread,
                    "{name} {path}: {variance} for {expected}"
                );
            }
            Rule::Normal => {
                assert!(mean.abs() < off, "{name} {path}: mean {mean}");
                assert!((variance - 1.0).abs() < spread, "{name} {path}: {variance}");
            }
            Rule::Constant(value) => assert!(x.iter().all(|&v| v == value), "{name} {path}"),
        }
        seen += 1;
    }
    assert!(seen > 0, "{name} has no parameters");
}

fn by_fan(fan: usize) -> Rule {
    Rule::Uniform(1.0 / (fan as f64).sqrt())
}

fn glorot(fans: usize) -> Rule {
    Rule::Uniform((6.0 / fans as f64).sqrt())
}

#[test]
fn layers_begin_as_in_torch() {
    let dev = cpu();
    let (zero, one) = (Rule::Constant(0.0), Rule::Constant(1.0));
    let both = |fan| [("weight", by_fan(fan)), ("bias", by_fan(fan))];
    check(&Linear::new(50, 80, &dev), &both(50));
    check(&Linear::without_bias(50, 80, &dev), &both(50));
    check(&Bilinear::new(10, 9, 40, &dev), &both(10));

    // The fan in is that of the weight's dimensions but the first.
    check(&Conv1d::new(12, 40, 5, &dev), &both(12 * 5));
    check(&Conv2d::new(6, 40, [3, 5], &dev), &both(6 * 15));
    check(&Conv3d::new(4, 40, [3, 2, 3], &dev), &both(4 * 18));
    let grouped = Conv2dOptions {
        groups: 3,
        ..Default::default()
    };
    check(&Conv2d::with(6, 60, 3, grouped, &dev), &both(2 * 9));
    check(&ConvTranspose1d::new(12, 40, 5, &dev), &both(40 * 5));
    check(&ConvTranspose2d::new(6, 40, 3, &dev), &both(40 * 9));
    check(&ConvTranspose3d::new(4, 40, 2, &dev), &both(40 * 8));
    let grouped = ConvTranspose2dOptions {
        groups: 2,
        ..Default::default()
    };
    check(
        &ConvTranspose2d::with(6, 40, 3, grouped, &dev),
        &both(20 * 9),
    );

    let affine = [
        ("weight", one),
        ("bias", zero),
        ("running_mean", zero),
        ("running_var", one),
        ("num_batches_tracked", zero),
    ];
    check(&BatchNorm1d::new(7, &dev), &affine);
    check(&BatchNorm2d::new(7, &dev), &affine);
    check(&BatchNorm3d::new(7, &dev), &affine);
    let tracking = InstanceNormOptions {
        affine: true,
        track_running_stats: true,
        ..Default::default()
    };
    check(&InstanceNorm2d::with(7, tracking, &dev), &affine);
    check(&LayerNorm::new([3, 4], &dev), &affine);
    check(&RmsNorm::new(5, &dev), &affine);
    check(&GroupNorm::new(2, 6, &dev), &affine);
    check(&Prelu::new(3, &dev), &[("weight", Rule::Constant(0.25))]);

    check(&Embedding::new(100, 30, &dev), &[("weight", Rule::Normal)]);
    check(
        &EmbeddingBag::new(100, 30, &dev),
        &[("weight", Rule::Normal)],
    );

    let recurrent = [("", by_fan(16))];
    let two = |bidirectional| LstmOptions {
        num_layers: 2,
        bidirectional,
        proj_size: 5,
        ..Default::default()
    };
    check(&Lstm::with(9, 16, two(true), &dev), &recurrent);
    check(&Gru::new(9, 16, &dev), &recurrent);
    check(&Rnn::new(9, 16, &dev), &recurrent);
    check(&LstmCell::new(9, 16, &dev), &recurrent);
    check(&GruCell::new(9, 16, &dev), &recurrent);
    check(&RnnCell::new(9, 16, &dev), &recurrent);

    // From torch: the projections in one are drawn by the fans of all three.
    let attention = [
        ("in_proj_weight", glorot(32 + 96)),
        ("in_proj_bias", zero),
        ("out_proj.bias", zero),
        ("out_proj.weight", by_fan(32)),
    ];
    check(&MultiheadAttention::new(32, 4, &dev), &attention);
    let apart = MultiheadAttentionOptions {
        kdim: Some(20),
        vdim: Some(10),
        ..Default::default()
    };
    let rules = [
        ("q_proj_weight", glorot(32 + 32)),
        ("k_proj_weight", glorot(32 + 20)),
        ("v_proj_weight", glorot(32 + 10)),
        ("in_proj_bias", zero),
        ("out_proj.bias", zero),
        ("out_proj.weight", by_fan(32)),
    ];
    check(&MultiheadAttention::with(32, 4, apart, &dev), &rules);

    let small = TransformerLayerOptions {
        dim_feedforward: 40,
        ..Default::default()
    };
    let norms = ["norm1", "norm2", "norm3", "norm"];
    let norms = norms.map(|n| [(format!("{n}.weight"), one), (format!("{n}.bias"), zero)]);
    let mut layer: Vec<(&str, Rule)> = Vec::new();
    layer.extend(
        norms
            .iter()
            .flatten()
            .map(|(name, rule)| (name.as_str(), *rule)),
    );
    layer.extend([("in_proj_bias", zero), ("out_proj.bias", zero)]);
    layer.extend([("linear1.bias", by_fan(32)), ("linear2.bias", by_fan(40))]);
    let mut whole = layer.clone();
    layer.extend([
        ("in_proj_weight", glorot(32 + 96)),
        ("out_proj.weight", by_fan(32)),
    ]);
    layer.extend([
        ("linear1.weight", by_fan(32)),
        ("linear2.weight", by_fan(40)),
    ]);
    check(&TransformerEncoderLayer::with(32, 4, small, &dev), &layer);
    check(&TransformerDecoderLayer::with(32, 4, small, &dev), &layer);
    // All matrices of a whole transformer are drawn by their fans.
    whole.extend([
        ("in_proj_weight", glorot(32 + 96)),
        ("out_proj.weight", glorot(64)),
    ]);
    whole.extend([
        ("linear1.weight", glorot(72)),
        ("linear2.weight", glorot(72)),
    ]);
    check(&Transformer::with(32, 4, [1, 2], small, &dev), &whole);
}

#[test]
fn the_target_says_type_and_stream() -> Result<()> {
    let make = |dev: &Device| -> Vec<Tensor> {
        let target = (DType::F64, dev);
        let same = Conv1dOptions {
            padding: ConvPadding::Same,
            ..Default::default()
        };
        let mut all = Conv1d::with(2, 3, 3, same, target).parameters();
        all.extend(Gru::new(2, 3, target).parameters());
        all.extend(Embedding::new(4, 3, target).parameters());
        all.extend(MultiheadAttention::new(4, 2, target).parameters());
        all
    };
    let (a, b) = (cpu(), cpu());
    a.seed(7);
    b.seed(7);
    for (a, b) in make(&a).iter().zip(make(&b)) {
        assert_eq!(a.dtype()?, DType::F64);
        assert!(a.needs_grad());
        assert_eq!(values(a), values(&b));
    }
    Ok(())
}

#[test]
fn matrices_begin_orthogonal() -> Result<()> {
    let dev = cpu();
    for (shape, rows, columns) in [
        (&[5, 5][..], 5, 5),
        (&[40, 40], 40, 40),
        (&[7, 3], 7, 3),
        (&[3, 2, 5], 3, 10),
        (&[1, 4], 1, 4),
        (&[4, 1], 4, 1),
        (&[1, 1], 1, 1),
    ] {
        let gain = 1.5;
        let target = (DType::F64, &dev);
        let q = init::orthogonal(shape, Gain::Factor(gain), target);
        assert_eq!(*q.shape()?, *shape);
        let q = q.reshape([rows, columns]) / gain;
        let product = if rows < columns {
            q.matmul(&q.t())
        } else {
            q.t().matmul(&q)
        };
        let error = product - Tensor::eye(rows.min(columns), target);
        assert!(values(&error.abs().max())[0] < 1e-9, "{shape:?}");
    }
    // Another one each time, and of both orientations.
    let of_two = |_| values(&init::orthogonal([2, 2], Gain::Linear, &dev));
    let turns: Vec<Vec<f64>> = (0..40).map(of_two).collect();
    let proper = turns
        .iter()
        .filter(|q| q[0] * q[3] - q[1] * q[2] > 0.0)
        .count();
    assert!((5..=35).contains(&proper), "{proper} of 40 are rotations");
    assert_eq!(
        init::orthogonal([0, 3], Gain::Linear, &dev).shape()?,
        [0, 3]
    );
    assert!(init::orthogonal([3], Gain::Linear, &dev).error().is_some());
    let half = init::orthogonal([3, 3], Gain::Linear, (DType::F16, &dev));
    assert_eq!(half.dtype()?, DType::F16);
    Ok(())
}

#[test]
fn other_initial_values() -> Result<()> {
    let dev = cpu();
    assert_eq!(values(&init::constant([2, 1], -3.0, &dev)), [-3.0; 2]);
    assert_eq!(values(&init::eye([2, 2], &dev)), [1.0, 0.0, 0.0, 1.0]);
    assert!(init::eye([2], &dev).error().is_some());

    // torch: nn.init.dirac_(torch.empty(4, 1, 2, 3), 2), by places.
    let places = |x: &Tensor| -> Vec<usize> {
        let x = values(x);
        (0..x.len()).filter(|&i| x[i] == 1.0).collect()
    };
    let x = init::dirac([4, 1, 2, 3], 2, &dev);
    assert_eq!(x.shape()?, [4, 1, 2, 3]);
    assert_eq!(places(&x), [4, 16]);
    assert_eq!(places(&init::dirac([2, 3, 3], 1, &dev)), [1, 13]);
    assert_eq!(places(&init::dirac([1, 1, 1, 1, 1], 1, &dev)), [0]);
    for (shape, groups) in [(&[4, 4][..], 1), (&[3, 1, 3], 2), (&[3, 1, 3], 0)] {
        let error = init::dirac(shape, groups, &dev).error();
        assert!(error.is_some_and(|e| e.to_string().contains("initial.rs")));
    }

    let x = values(&init::sparse([100, 50], 0.3, 2.0, &dev));
    for column in 0..50 {
        let zeros = (0..100).filter(|row| x[row * 50 + column] == 0.0).count();
        assert_eq!(zeros, 30);
    }
    let rest: Vec<f64> = x.iter().copied().filter(|&v| v != 0.0).collect();
    let variance = rest.iter().map(|v| v * v).sum::<f64>() / rest.len() as f64;
    assert!((variance / 4.0 - 1.0).abs() < 0.1, "{variance}");
    assert_eq!(values(&init::sparse([4, 2], 1.0, 1.0, &dev)), [0.0; 8]);
    assert!(init::sparse([4], 0.5, 1.0, &dev).error().is_some());
    assert!(init::sparse([4, 2], 1.5, 1.0, &dev).error().is_some());

    let x = values(&init::trunc_normal([10_000], 1.0, 2.0, (0.0, 2.0), &dev));
    assert!(x.iter().all(|v| (0.0..=2.0).contains(v)));
    Ok(())
}
