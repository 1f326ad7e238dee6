//! What the operations of networks refuse, as torch does: failed tensors whose error names the operation, the shapes
//! or numbers that do not fit, and the line that called.

use wgrad::prelude::*;
use wgrad::{
    BatchNormOptions, CtcOptions, EmbeddingBagOptions, GridOptions, GridSampling,
    InterpolateOptions, PadMode, Resampling,
};

/// The message of each failed tensor begins and ends so.
fn refused(cases: Vec<(&str, Tensor)>) {
    for (want, y) in cases {
        let Some(error) = y.error() else {
            panic!("nothing is wrong, but it should be: {want}");
        };
        let text = error.to_string();
        assert!(text.starts_with(want), "{text:?} is not {want:?}");
        assert!(text.contains("(tests/refusals.rs:"), "no line in {text:?}");
    }
}

#[test]
fn of_normalisations() {
    let dev = wgrad::cpu();
    let x = Tensor::ones([2, 4, 3], &dev);
    let (three, integers) = (Tensor::ones([3], &dev), x.to_dtype(DType::I32));
    let wide = Tensor::ones([3], (DType::F64, &dev));
    let running = |n: usize| Some((Tensor::zeros([n], &dev), Tensor::ones([n], &dev)));
    let evaluation = BatchNormOptions {
        training: false,
        ..Default::default()
    };
    let odd = BatchNormOptions {
        running: running(3),
        ..Default::default()
    };
    let one = Tensor::ones([1, 4], &dev);
    refused(vec![
        (
            "layer_norm: shape [2, 4, 3] does not end with [4], the normalized shape",
            x.layer_norm([4], None, None, 0.0),
        ),
        (
            "layer_norm: shape [2, 4, 3] does not end with []",
            x.layer_norm((), None, None, 0.0),
        ),
        (
            "layer_norm: a weight of shape [3], not [4, 3], for shape [2, 4, 3]",
            x.layer_norm([4, 3], Some(&three), None, 0.0),
        ),
        (
            "layer_norm: a bias of f64 for a tensor of f32",
            x.layer_norm([3], None, Some(&wide), 0.0),
        ),
        (
            "layer_norm: takes floats, not i32",
            integers.layer_norm([3], None, None, 0.0),
        ),
        (
            "rms_norm: shape [2, 4, 3] does not end with [2]",
            x.rms_norm([2], None, None),
        ),
        (
            "group_norm: shape [2, 4, 3] has no channels in 3 equal groups: it is [n, channels, ..], with a multiple of the groups",
            x.group_norm(3, None, None, 0.0),
        ),
        (
            "group_norm: shape [2, 4, 3] has no channels in 0 equal groups",
            x.group_norm(0, None, None, 0.0),
        ),
        (
            "group_norm: more than one element per variance is needed, which shape [1, 4]",
            one.group_norm(4, None, None, 0.0),
        ),
        (
            "batch_norm: more than one element per variance is needed, which shape [1, 4]",
            one.batch_norm(BatchNormOptions::default()).output,
        ),
        (
            "batch_norm: without training, running statistics are needed for shape [2, 4, 3]",
            x.batch_norm(evaluation.clone()).mean,
        ),
        (
            "batch_norm: a running mean of shape [3], not [4], for shape [2, 4, 3]",
            x.batch_norm(odd.clone()).running.unwrap().1,
        ),
        (
            "batch_norm: shape [3] has no channels",
            three.batch_norm(odd).output,
        ),
        (
            "instance_norm: more than one element per variance is needed, which shape [1, 4]",
            one.instance_norm(BatchNormOptions::default()).output,
        ),
        (
            "local_response_norm: a window of 2 channels for shape [1, 4]: there must be one or more, and three dimensions",
            one.local_response_norm(2, 1.0, 1.0, 1.0),
        ),
        (
            "local_response_norm: a window of 0 channels for shape [2, 4, 3]",
            x.local_response_norm(0, 1.0, 1.0, 1.0),
        ),
        (
            "weight_norm: lengths of shape [3] must broadcast to shape [1, 4]",
            one.weight_norm(&three, Some(0)),
        ),
        (
            "normalize: takes floats, not i32",
            integers.normalize(2.0, [1], 0.0),
        ),
        (
            "cosine_similarity: shapes [2, 4, 3] and [1, 4] do not broadcast",
            x.cosine_similarity(&one, 1, 0.0),
        ),
        (
            "pairwise_distance: takes floats, not i32",
            integers.pairwise_distance(&integers, 2.0, 0.0, false),
        ),
    ]);
}

#[test]
fn of_padding_and_channels() {
    let dev = wgrad::cpu();
    let x = Tensor::ones([2, 3, 4], &dev);
    let (row, integers) = (Tensor::ones([4], &dev), x.to_dtype(DType::I32));
    refused(vec![
        (
            "pad: padding [1] of shape [2, 3, 4]: there is one number before",
            x.pad(&[1], PadMode::ZERO),
        ),
        (
            "pad: padding [0, 0, 0, 1] of shape [4]: there are fewer",
            row.pad(&[0, 0, 0, 1], PadMode::ZERO),
        ),
        (
            "pad: padding [-3, -2] of shape [2, 3, 4]: dimension 2 would have no size",
            x.pad(&[-3, -2], PadMode::ZERO),
        ),
        (
            "pad: padding Reflect [1, 1] of shape [4]: one to three",
            row.pad(&[1, 1], PadMode::Reflect),
        ),
        (
            "pad: padding Reflect [4, 0] of shape [2, 3, 4]: dimension 2 is not longer",
            x.pad(&[4, 0], PadMode::Reflect),
        ),
        (
            "pad: padding Replicate [-2, -2] of shape [2, 3, 4]: dimension 2 would be empty",
            x.pad(&[-2, -2], PadMode::Replicate),
        ),
        (
            "pad: padding Circular [5, 0] of shape [2, 3, 4]: dimension 2 is shorter",
            x.pad(&[5, 0], PadMode::Circular),
        ),
        (
            "pad: padding Circular [-2, 4] of shape [2, 3, 4]: dimension 2 is shorter",
            x.pad(&[-2, 4], PadMode::Circular),
        ),
        (
            "pad: padding Replicate [] of shape [2, 3, 4]: one to three",
            x.pad(&[], PadMode::Replicate),
        ),
        (
            "pad: 256 does not fit u8",
            x.to_dtype(DType::U8)
                .pad(&[1, 1], PadMode::Constant(256.into())),
        ),
        (
            "pixel_shuffle: shape [4] is no picture",
            row.pixel_shuffle(2),
        ),
        (
            "pixel_shuffle: shape [2, 3, 4] for squares of 2 by 2: the channels (2) must be a multiple of their elements",
            x.pixel_shuffle(2),
        ),
        (
            "pixel_shuffle: shape [2, 3, 4] for squares of 0 by 0",
            x.pixel_shuffle(0),
        ),
        (
            "pixel_unshuffle: shape [2, 3, 4] for squares of 2 by 2: height and width must be multiples of 2",
            x.pixel_unshuffle(2),
        ),
        (
            "channel_shuffle: shape [2, 3, 4] has no channels in 2 equal groups: it is [n, channels, ..]",
            x.channel_shuffle(2),
        ),
        (
            "channel_shuffle: shape [4] has no channels",
            row.channel_shuffle(1),
        ),
        (
            "dropout: the probability must be within 0 and 1, not 1.5",
            x.dropout(1.5, true),
        ),
        (
            "alpha_dropout: takes floats, not i32",
            integers.alpha_dropout(0.5, true),
        ),
        (
            "dropout1d: shape [4] has other dimensions",
            row.dropout1d(0.5, true),
        ),
        (
            "feature_dropout: shape [4] has other dimensions",
            row.feature_dropout(0.5, true),
        ),
    ]);
}

#[test]
fn of_soft_targets() {
    let dev = wgrad::cpu();
    let x = Tensor::ones([2, 3], &dev);
    let classes = Tensor::new([0, 1], &dev);
    let smoothed = |label_smoothing| CrossEntropyOptions {
        label_smoothing,
        ..Default::default()
    };
    let ignored = CrossEntropyOptions {
        ignore_index: Some(1),
        ..Default::default()
    };
    refused(vec![
        (
            "cross_entropy: a label smoothing of 1.5 is not within 0 and 1",
            x.cross_entropy_with(&classes, smoothed(1.5)),
        ),
        (
            "cross_entropy: targets of f32 are probabilities, of the logits' shape [2, 3] and not [3]; classes are integers",
            x.cross_entropy(&Tensor::ones([3], &dev)),
        ),
        (
            "cross_entropy: targets that are probabilities cannot be ignored",
            x.cross_entropy_with(&x, ignored),
        ),
        (
            "cross_entropy: targets of shape [2, 5] for shape [2, 3, 4]",
            Tensor::ones([2, 3, 4], &dev).cross_entropy(&Tensor::zeros([2, 5], (DType::I32, &dev))),
        ),
        (
            "nll_loss: targets are smoothed where there are logits",
            x.nll_loss_with(&classes, smoothed(0.1)),
        ),
    ]);
}

#[test]
fn of_resampling() {
    let dev = wgrad::cpu();
    let x = Tensor::ones([1, 2, 3, 4], &dev);
    let with = |options: InterpolateOptions| x.interpolate_with(options);
    let empty = Tensor::ones([1, 2, 0], &dev);
    let grid = Tensor::ones([1, 5, 5, 2], &dev);
    let options = GridOptions::default();
    let cubic = GridOptions {
        mode: GridSampling::Bicubic,
        ..options
    };
    refused(vec![
        (
            "interpolate: Linear of shape [2], which must have 3 to 5 dimensions, [n, channels, ..]",
            Tensor::ones([2], &dev).interpolate(&[3], Resampling::Linear),
        ),
        (
            "interpolate: Bicubic of shape [1, 2, 0], which must have 4 dimensions",
            empty.interpolate(&[3], Resampling::Bicubic),
        ),
        (
            "interpolate: dimension 2 of shape [1, 2, 0] to the size 3",
            empty.interpolate(&[3], Resampling::Nearest),
        ),
        (
            "interpolate: dimension 2 of shape [1, 2, 3, 4] to the size 0: neither may be 0",
            x.interpolate(&[0, 1], Resampling::Nearest),
        ),
        (
            "interpolate: 3 numbers for the 2 dimensions of shape [1, 2, 3, 4] behind the channels: there must be one, or one for each",
            x.interpolate(&[1, 2, 3], Resampling::Linear),
        ),
        (
            "interpolate: corners are aligned by Linear and Bicubic, not by Area",
            with(InterpolateOptions {
                size: Some(vec![2]),
                mode: Resampling::Area,
                align_corners: true,
                ..Default::default()
            }),
        ),
        (
            "interpolate: antialias is of Linear and Bicubic in shapes [n, channels, h, w], not of Nearest of shape [1, \
             2, 3, 4]",
            with(InterpolateOptions {
                size: Some(vec![2]),
                antialias: true,
                ..Default::default()
            }),
        ),
        (
            "interpolate: antialias is of Linear and Bicubic in shapes [n, channels, h, w], not of Linear of shape [1, 2, \
             3]",
            Tensor::ones([1, 2, 3], &dev).interpolate_with(InterpolateOptions {
                size: Some(vec![2]),
                mode: Resampling::Linear,
                antialias: true,
                ..Default::default()
            }),
        ),
        (
            "interpolate: takes either a size or a scale factor",
            with(InterpolateOptions::default()),
        ),
        (
            "interpolate: a factor of -1 for dimension 2 of shape [1, 2, 3, 4], which must have 0 to 4294967295 elements then",
            with(InterpolateOptions {
                scale_factor: Some(vec![-1.0]),
                ..Default::default()
            }),
        ),
        (
            "interpolate: takes floats, not i32",
            x.to_dtype(DType::I32).interpolate(&[2], Resampling::Linear),
        ),
        (
            "grid_sample: Bilinear of shape [1, 2, 3, 4] at a grid of shape [1, 2, 3, 4]: for [n, channels, h, w] it must be",
            x.grid_sample(&x, options),
        ),
        (
            "grid_sample: Bicubic of shape [1, 1, 2, 2, 2] at a grid of shape [1, 1, 1, 1, 3]",
            Tensor::ones([1, 1, 2, 2, 2], &dev)
                .grid_sample(&Tensor::ones([1, 1, 1, 1, 3], &dev), cubic),
        ),
        (
            "grid_sample: a grid of f64 for a tensor of f32",
            x.grid_sample(&grid.to_dtype(DType::F64), options),
        ),
        (
            "affine_grid: matrices of shape [1, 2, 2] for a picture of shape [1, 1, 2, 2]: they must be [n, 2, 3] for",
            Tensor::affine_grid(&Tensor::ones([1, 2, 2], &dev), [1, 1, 2, 2], false),
        ),
    ]);
}

#[test]
fn of_bags_and_sequences() {
    let dev = wgrad::cpu();
    let table = Tensor::ones([4, 2], &dev);
    let (two, row) = (Tensor::new([[0, 1]], &dev), Tensor::new([0, 1], &dev));
    let bag = |index: &Tensor, options: EmbeddingBagOptions| table.embedding_bag(index, options);
    let default = EmbeddingBagOptions::default;
    let weights = Some(Tensor::ones([1, 2], &dev));
    let x = Tensor::zeros([5, 2, 3], &dev);
    let (targets, lengths) = (Tensor::new([[1], [2]], &dev), Tensor::new([1, 1], &dev));
    let options = CtcOptions::default();
    refused(vec![
        (
            "embedding_bag: positions of shape [2] without offsets for a table of shape [4, 2]: the table must be [rows, size], \
             and positions [bags, size of a bag] without offsets or [positions] with them",
            bag(&row, default()),
        ),
        (
            "embedding_bag: positions of shape [1, 2] with offsets for a table of shape [4, 2]",
            bag(
                &two,
                EmbeddingBagOptions {
                    offsets: Some(row.clone()),
                    ..default()
                },
            ),
        ),
        (
            "embedding_bag: weights of shape [1, 2] and f32 for Mean of shape [1, 2]: they must be [1, 2] and f32, for Sum",
            bag(
                &two,
                EmbeddingBagOptions {
                    per_sample_weights: weights,
                    ..default()
                },
            ),
        ),
        (
            "embedding_bag: a padding at 4 for a table of shape [4, 2]: it must be one of its 4 rows",
            bag(
                &two,
                EmbeddingBagOptions {
                    padding_index: Some(4),
                    ..default()
                },
            ),
        ),
        (
            "embedding_bag: an index must hold integers, not f32",
            bag(&table, default()),
        ),
        (
            "ctc_loss: targets of shape [2, 1] with lengths of shapes [2] and [2] and the blank 3 for \
             shape [5, 2, 3]: that must be [time, n, classes]",
            x.ctc_loss(
                &targets,
                &lengths,
                &lengths,
                CtcOptions {
                    blank: 3,
                    ..options
                },
            ),
        ),
        (
            "ctc_loss: targets of shape [2, 1] with lengths of shapes [1] and [2] and the blank 0",
            x.ctc_loss(&targets, &Tensor::new([5], &dev), &lengths, options),
        ),
        (
            "ctc_loss: takes f32 or f64, not f16",
            x.to_dtype(DType::F16)
                .ctc_loss(&targets, &lengths, &lengths, options),
        ),
        (
            "ctc_loss: targets and lengths must be integers, not f32",
            x.ctc_loss(&x, &lengths, &lengths, options),
        ),
    ]);
}
