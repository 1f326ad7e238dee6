//! What the operations of networks refuse, as torch does: failed tensors whose error names the operation, the shapes
//! or numbers that do not fit, and the line that called.

use wgrad::BatchNormOptions;
use wgrad::prelude::*;

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
            "layer_norm: shape [2, 4, 3] does not end with [4]",
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
            "group_norm: shape [2, 4, 3] has no channels in 3 equal groups",
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
            "batch_norm: without training, running statistics are needed",
            x.batch_norm(evaluation.clone()).mean,
        ),
        (
            "batch_norm: a running mean of shape [3] for shape [2, 4, 3]",
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
            "local_response_norm: a window of 2 channels for shape [1, 4]",
            one.local_response_norm(2, 1.0, 1.0, 1.0),
        ),
        (
            "local_response_norm: a window of 0 channels for shape [2, 4, 3]",
            x.local_response_norm(0, 1.0, 1.0, 1.0),
        ),
        (
            "weight_norm: lengths of shape [3] for shape [1, 4]",
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
