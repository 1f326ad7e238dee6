//! Options and shapes that do not fit: errors of `forward`, which name the layer and the line.

mod device;

use device::cpu;
use wgrad_core::{
    AvgPoolOptions, ConvPadding, DType, Error, MaxPoolOptions, Resampling, Result, Tensor,
};
use wgrad_nn::*;

#[test]
fn wrong_options_and_shapes_are_errors_of_forward() -> Result<()> {
    let dev = cpu();
    let ones = |shape: &[usize]| Tensor::ones(shape, &dev);
    let conv = |options: Conv2dOptions| Conv2d::with(4, 6, 3, options, &dev);
    let plain = Conv2dOptions::default;
    let transposed =
        |options: ConvTranspose1dOptions| ConvTranspose1d::with(4, 6, 3, options, &dev);
    let picture = ones(&[1, 4, 5, 5]);
    let line = ones(&[1, 4, 5]);
    let refused: Vec<(Box<dyn Forward>, &Tensor, &str)> = vec![
        (
            Box::new(conv(Conv2dOptions {
                stride: [0, 1],
                ..plain()
            })),
            &picture,
            "conv2d: stride [0, 1]",
        ),
        (
            Box::new(conv(Conv2dOptions {
                dilation: [1, 0],
                ..plain()
            })),
            &picture,
            "conv2d: stride",
        ),
        (
            Box::new(conv(Conv2dOptions {
                groups: 0,
                ..plain()
            })),
            &picture,
            "conv2d: an input of [1, 4, 5, 5]",
        ),
        (
            Box::new(conv(Conv2dOptions {
                groups: 3,
                ..plain()
            })),
            &picture,
            "conv2d: an input of",
        ),
        (
            Box::new(conv(Conv2dOptions {
                padding: ConvPadding::Same,
                stride: [2, 2],
                ..plain()
            })),
            &picture,
            "conv2d: padding",
        ),
        (
            Box::new(conv(Conv2dOptions {
                padding: ConvPadding::Same,
                stride: [2, 2],
                padding_mode: PaddingMode::Circular,
                ..plain()
            })),
            &picture,
            "conv2d: padding",
        ),
        (
            Box::new(conv(Conv2dOptions {
                padding: ConvPadding::Zeros([5, 5]),
                padding_mode: PaddingMode::Reflect,
                ..plain()
            })),
            &picture,
            "pad: ",
        ),
        (
            Box::new(conv(plain())),
            &line,
            "conv2d: an input of [1, 4, 5]",
        ),
        (
            Box::new(Conv2d::new(3, 6, 3, &dev)),
            &picture,
            "conv2d: an input of",
        ),
        (
            Box::new(Conv2d::new(4, 6, 9, &dev)),
            &picture,
            "conv2d: a kernel",
        ),
        (
            Box::new(Conv2d::new(4, 6, 0, &dev)),
            &picture,
            "conv2d: nothing",
        ),
        (
            Box::new(transposed(ConvTranspose1dOptions {
                output_padding: [1],
                ..Default::default()
            })),
            &line,
            "conv_transpose1d: output padding",
        ),
        (
            Box::new(transposed(ConvTranspose1dOptions {
                groups: 0,
                ..Default::default()
            })),
            &line,
            "conv_transpose1d: ",
        ),
        (Box::new(MaxPool2d::new(0)), &picture, "max_pool2d: "),
        (
            Box::new(MaxPool2d::with(
                2,
                MaxPoolOptions {
                    padding: [2, 2],
                    ..Default::default()
                },
            )),
            &picture,
            "max_pool2d: ",
        ),
        (
            Box::new(AvgPool1d::with(
                2,
                AvgPoolOptions {
                    stride: Some([0]),
                    ..Default::default()
                },
            )),
            &line,
            "avg_pool1d: ",
        ),
        (
            Box::new(AdaptiveAvgPool3d::new(1)),
            &line,
            "adaptive_avg_pool3d: ",
        ),
        (
            Box::new(BatchNorm2d::with(
                4,
                BatchNormOptions {
                    momentum: Some(-0.1),
                    ..Default::default()
                },
                &dev,
            )),
            &picture,
            "batch_norm: the momentum",
        ),
        (
            Box::new(BatchNorm2d::new(4, &dev)),
            &line,
            "batch_norm: BatchNorm2d does not take shape [1, 4, 5]",
        ),
        (
            Box::new(BatchNorm1d::new(4, &dev)),
            &picture,
            "batch_norm: BatchNorm1d does not",
        ),
        (
            Box::new(BatchNorm2d::new(3, &dev)),
            &picture,
            "batch_norm: a running mean",
        ),
        (
            Box::new(InstanceNorm3d::new(4, &dev)),
            &line,
            "instance_norm: InstanceNorm3d does not",
        ),
        (
            Box::new(InstanceNorm1d::with(
                4,
                InstanceNormOptions {
                    momentum: f64::NAN,
                    ..Default::default()
                },
                &dev,
            )),
            &line,
            "instance_norm: the momentum",
        ),
        (
            Box::new(LayerNorm::new([4, 6], &dev)),
            &line,
            "layer_norm: ",
        ),
        (Box::new(RmsNorm::new(6, &dev)), &line, "rms_norm: "),
        (Box::new(GroupNorm::new(3, 4, &dev)), &line, "group_norm: "),
        (Box::new(GroupNorm::new(0, 4, &dev)), &line, "group_norm: "),
        (
            Box::new(LocalResponseNorm::new(0)),
            &line,
            "local_response_norm: ",
        ),
        (Box::new(Dropout2d::new(-0.1)), &picture, "dropout2d: "),
        (Box::new(Dropout1d::new(0.5)), &picture, "dropout1d: "),
        (Box::new(Softmax { dim: 3 }), &line, "softmax: "),
        (Box::new(Glu { dim: -1 }), &line, "glu: "),
        (Box::new(Prelu::new(3, &dev)), &line, "prelu: "),
        (Box::new(Embedding::new(4, 3, &dev)), &line, "embedding: "),
        (Box::new(PixelShuffle::new(3)), &picture, "pixel_shuffle: "),
        (Box::new(Unflatten::new(1, [3, 2])), &line, "unflatten: "),
        (Box::new(ReflectionPad1d::new(5)), &line, "pad: "),
        (Box::new(ZeroPad2d::new(-3)), &picture, "pad: "),
        (
            Box::new(Upsample::by(-1.0, Resampling::Nearest)),
            &picture,
            "interpolate: ",
        ),
        (Box::new(Upsample::default()), &picture, "interpolate: "),
        (
            Box::new(Lstm::new(6, 2, &dev)),
            &line,
            "lstm: takes [time, batch, 6] or [time, 6], not [1, 4, 5]",
        ),
        (
            Box::new(Gru::with(
                5,
                2,
                GruOptions {
                    num_layers: 0,
                    ..Default::default()
                },
                &dev,
            )),
            &line,
            "gru: ",
        ),
        (
            Box::new(Rnn::with(
                5,
                2,
                RnnOptions {
                    dropout: 2.0,
                    num_layers: 2,
                    ..Default::default()
                },
                &dev,
            )),
            &line,
            "rnn_tanh: dropout",
        ),
        (
            Box::new(MultiheadAttention::new(5, 2, &dev)),
            &line,
            "multihead_attention: 2 heads of an embedding of 5",
        ),
        (
            Box::new(MultiheadAttention::new(5, 0, &dev)),
            &line,
            "multihead_attention: 0 heads",
        ),
        (
            Box::new(MultiheadAttention::new(4, 2, &dev)),
            &line,
            "linear: ",
        ),
        (
            Box::new(TransformerEncoderLayer::new(4, 2, &dev)),
            &line,
            "self_attn: MultiheadAttention(4, 2, dropout=0.1): linear",
        ),
    ];
    let mut others = Vec::new();
    for (layer, x, text) in refused {
        let name = layer.description();
        let error = match layer.forward(x) {
            Ok(y) => format!("gives {:?}", y.shape()),
            Err(error) => error.to_string(),
        };
        if !error.starts_with(text) || !error.contains("layer_refusals.rs") {
            others.push(format!("{name}: {error}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
    let options = EmbeddingOptions {
        padding_idx: Some(4),
        ..Default::default()
    };
    let error = Embedding::with(4, 3, options, &dev).forward(&Tensor::new([1], &dev));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("embedding: padding_idx 4")
    );
    let error = Bilinear::new(2, 3, 4, &dev).forward(&ones(&[5, 2]), &ones(&[6, 3]));
    assert!(matches!(error, Err(Error::Shape { op: "bilinear", .. })));
    let attention = MultiheadAttention::new(4, 2, &dev);
    let x = ones(&[3, 2, 4]);
    let masks = |attn: Option<Tensor>, padding: Option<Tensor>| Masks {
        attn_mask: attn,
        key_padding_mask: padding,
        is_causal: false,
    };
    for masks in [
        masks(Some(ones(&[3, 2])), None),
        masks(None, Some(ones(&[3, 2]))),
        masks(Some(ones(&[3, 3]).to_dtype(DType::I32)), None),
    ] {
        assert!(attention.forward_masked(&x, &x, &x, &masks).is_err());
    }
    let error = attention.forward(&x, &x, &ones(&[5, 2, 4])).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("multihead_attention: a query of shape [3, 2, 4]"),
        "{error}"
    );
    let lstm = Lstm::new(4, 2, &dev);
    let state = ones(&[1, 3, 2]);
    assert!(lstm.forward_from(&x, (&state, &state)).is_err());
    let options = LstmOptions {
        proj_size: 2,
        ..Default::default()
    };
    let lstm = Lstm::with(4, 3, options, &dev);
    let error = lstm.forward_from(&x, (&state, &state)).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("lstm: a state of shape [1, 3, 2], not [1, 2, 2]"),
        "{error}"
    );
    Ok(())
}
