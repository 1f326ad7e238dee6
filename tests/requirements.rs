//! Refusals of networks' operations say what must hold, with the numbers: whoever reads one knows which to change.

use wgrad::prelude::*;
use wgrad::{
    AttentionOptions, AvgPoolOptions, CellWeights, ColumnOptions, ConvTransposeOptions, KvCache,
    MaxPoolOptions, RecurrenceOptions, RotaryOptions, UnpoolOptions,
};

/// The whole message of each failed tensor, but for the line.
#[track_caller]
fn refused(cases: Vec<(&str, Tensor)>) {
    for (want, y) in cases {
        let Some(error) = y.error() else {
            panic!("nothing is wrong, but it should be: {want}");
        };
        let text = error.to_string();
        let (problem, place) = text.rsplit_once(" (").expect("a place");
        assert_eq!(problem, want);
        assert!(place.starts_with("tests/requirements.rs:"), "{text}");
    }
}

#[test]
fn of_convolutions() {
    let dev = wgrad::cpu();
    let ones = |shape: &[usize]| Tensor::ones(shape, &dev);
    let x = ones(&[2, 4, 5, 5]);
    let usual = ConvOptions::<2>::default();
    let grouped = |groups| ConvOptions { groups, ..usual };
    let turned = ConvTransposeOptions::<2>::default();
    refused(vec![
        (
            "conv2d: an input of [2, 4, 5, 5] and a weight of [6, 5, 3, 3] with 1 group: the weight's channels \
             (dimension 1: 5) times the groups must be the input's channels (dimension 1: 4)",
            x.conv2d(&ones(&[6, 5, 3, 3]), None),
        ),
        (
            "conv1d: an input of [3, 5] and a weight of [6, 2, 3] with 1 group: the weight's channels (dimension 1: 2) \
             times the groups must be the input's channels (dimension 0: 3)",
            ones(&[3, 5]).conv1d(&ones(&[6, 2, 3]), None),
        ),
        (
            "conv2d: an input of [2, 4, 5, 5] and a weight of [5, 2, 3, 3] with 2 groups: the weight's results \
             (dimension 0: 5) must be a multiple of the groups",
            x.conv2d_with(&ones(&[5, 2, 3, 3]), None, grouped(2)),
        ),
        (
            "conv2d: an input of [2, 4, 5, 5] and a weight of [6, 4, 3, 3] with 0 groups: there must be at least one",
            x.conv2d_with(&ones(&[6, 4, 3, 3]), None, grouped(0)),
        ),
        (
            "conv_transpose2d: an input of [2, 4, 5, 5] and a weight of [6, 4, 3, 3] with 1 group: the weight's channels \
             (dimension 0: 6) must be the input's (dimension 1: 4)",
            x.conv_transpose2d(&ones(&[6, 4, 3, 3]), None),
        ),
        (
            "conv_transpose2d: an input of [2, 4, 5, 5] and a weight of [4, 2, 3, 3] with 3 groups: the weight's \
             channels (dimension 0: 4) must be a multiple of the groups",
            x.conv_transpose2d_with(
                &ones(&[4, 2, 3, 3]),
                None,
                ConvTransposeOptions {
                    groups: 3,
                    ..turned
                },
            ),
        ),
        (
            "conv2d: nothing to add up: an input of [2, 4, 5, 5] and a weight of [6, 4, 0, 3], where neither the \
             weight's dimensions nor the channels may be 0",
            x.conv2d(&ones(&[6, 4, 0, 3]), None),
        ),
        (
            "conv2d: a bias of [5], not [6], for 6 results of an input of [2, 4, 5, 5] and a weight of [6, 4, 3, 3]",
            x.conv2d(&ones(&[6, 4, 3, 3]), Some(&ones(&[5]))),
        ),
        (
            "conv2d: a kernel of [3, 3] with dilation [1, 3] that spans more than [5, 5], to which padding brings an \
             input of [2, 4, 5, 5]",
            x.conv2d_with(
                &ones(&[6, 4, 3, 3]),
                None,
                ConvOptions {
                    dilation: [1, 3],
                    ..usual
                },
            ),
        ),
        (
            "conv2d: padding \"same\" with stride [2, 2]: it takes a stride of 1",
            x.conv2d_with(
                &ones(&[6, 4, 3, 3]),
                None,
                ConvOptions {
                    padding: ConvPadding::Same,
                    stride: [2, 2],
                    ..usual
                },
            ),
        ),
        (
            "conv_transpose2d: an input of [2, 4, 5, 5] and a weight of [4, 6, 3, 3] give no elements along dimension 1 \
             of what is convolved: (s - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1, with s = 5, k = \
             3, stride 1, padding 4, dilation 1 and output_padding 0, must be at least 1",
            x.conv_transpose2d_with(
                &ones(&[4, 6, 3, 3]),
                None,
                ConvTransposeOptions {
                    padding: [0, 4],
                    ..turned
                },
            ),
        ),
        (
            "conv_transpose2d: output padding [1, 0] must be below stride [1, 1] or dilation [1, 1]",
            x.conv_transpose2d_with(
                &ones(&[4, 6, 3, 3]),
                None,
                ConvTransposeOptions {
                    output_padding: [1, 0],
                    ..turned
                },
            ),
        ),
    ]);
}

#[test]
fn of_windows_and_pools() {
    let dev = wgrad::cpu();
    let x = Tensor::ones([2, 4, 5, 5], &dev);
    let columns = ColumnOptions::default();
    let indices = Tensor::zeros([2, 4, 5], (DType::I32, &dev));
    refused(vec![
        (
            "max_pool2d: kernel [6, 1] with dilation [1, 1] spans 6 along dimension 0 of [5, 5], more than its elements \
             and twice the padding [0, 0]",
            x.max_pool2d([6, 1]),
        ),
        (
            "max_pool2d: kernel [3, 2], stride [3, 2], dilation [1, 0]: none may be 0",
            x.max_pool2d_with(
                [3, 2],
                MaxPoolOptions {
                    dilation: [1, 0],
                    ..Default::default()
                },
            ),
        ),
        (
            "avg_pool2d: padding [1, 2] may be half of what kernel [2, 2] with dilation [1, 1] spans at most: 1 along \
             dimension 1 of what is pooled",
            x.avg_pool2d_with(
                [2, 2],
                AvgPoolOptions {
                    padding: [1, 2],
                    ..Default::default()
                },
            ),
        ),
        (
            "avg_pool2d: a divisor of 0: it must be at least 1",
            x.avg_pool2d_with(
                [2, 2],
                AvgPoolOptions {
                    divisor: Some(0),
                    ..Default::default()
                },
            ),
        ),
        (
            "avg_pool1d: an input of [2, 0, 5] has no elements to pool: only the batch may be 0",
            Tensor::ones([2, 0, 5], &dev).avg_pool1d([2]),
        ),
        (
            "max_unpool2d: indices of [2, 4, 5] for elements of [2, 4, 5, 5]: both must have one shape",
            x.max_unpool2d(&indices, [2, 2]),
        ),
        (
            "max_unpool2d: a size of [10, 12] for elements of [2, 4, 5, 5]: along dimension 1 of what is pooled it must \
             be less than the stride 2 from 10",
            x.max_unpool2d_with(
                &x.to_dtype(DType::I32),
                [2, 2],
                UnpoolOptions {
                    size: Some([10, 12]),
                    ..Default::default()
                },
            ),
        ),
        (
            "adaptive_avg_pool2d: [0, 2] windows of an input of [2, 4, 5, 5]: there must be 1 to 16777216 along each \
             dimension",
            x.adaptive_avg_pool2d([0, 2]),
        ),
        (
            "fractional_max_pool2d: [2, 4] windows of [3, 3] over shape [2, 4, 5, 5]: along dimension 3 their number and \
             size must be at least 1, and their sum at most 6",
            x.fractional_max_pool2d([3, 3], [2, 4], &Tensor::ones([2, 4, 2], &dev)),
        ),
        (
            "unfold: windows of 6 along dimension 2 of [2, 4, 5, 5], which has 5 elements there",
            x.unfold(2, 6, 1),
        ),
        (
            "unfold: a step of 0 along dimension 2 of [2, 4, 5, 5], not 1 or more",
            x.unfold(2, 2, 0),
        ),
        (
            "im2col: windows of [3, 6] over images of [5, 5], padding [0, 0]: what they span with their dilation, [3, \
             6], must not be more than the padded images",
            x.im2col([3, 6], columns),
        ),
        (
            "im2col: windows of [0, 2], stride [1, 1], dilation [1, 1]: none may be 0",
            x.im2col([0, 2], columns),
        ),
        (
            "col2im: columns of shape [5, 2] for 2 windows of [2, 2]: they must be [n, c 4, 2] or [c 4, 2]",
            Tensor::ones([5, 2], &dev).col2im([2, 3], [2, 2], columns),
        ),
    ]);
}

#[test]
fn of_attention() {
    let dev = wgrad::cpu();
    let ones = |shape: &[usize]| Tensor::ones(shape, &dev);
    let q = ones(&[2, 4, 3, 8]);
    let attend = |k: &[usize], v: &[usize], enable_gqa| {
        let options = AttentionOptions {
            enable_gqa,
            ..Default::default()
        };
        q.scaled_dot_product_attention_with(&ones(k), &ones(v), options)
    };
    let rotated = |x: &Tensor, positions: Option<Tensor>| {
        x.rotary_embedding_with(RotaryOptions {
            positions,
            ..Default::default()
        })
    };
    refused(vec![
        (
            "scaled_dot_product_attention: queries [8], keys [5, 8] and values [5, 8] must have two dimensions or more \
             each",
            ones(&[8]).scaled_dot_product_attention(&ones(&[5, 8]), &ones(&[5, 8])),
        ),
        (
            "scaled_dot_product_attention: queries [2, 4, 3, 8], keys [2, 4, 5, 6] and values [2, 4, 5, 8]: the last \
             dimensions of queries (8) and keys (6) must agree",
            attend(&[2, 4, 5, 6], &[2, 4, 5, 8], false),
        ),
        (
            "scaled_dot_product_attention: queries [2, 4, 3, 8], keys [2, 4, 5, 8] and values [2, 4, 6, 8]: there must \
             be as many keys (5) as values (6), in the last dimension but one",
            attend(&[2, 4, 5, 8], &[2, 4, 6, 8], false),
        ),
        (
            "scaled_dot_product_attention: queries [2, 4, 3, 8], keys [2, 2, 5, 8] and values [2, 2, 5, 8] do not \
             broadcast in the dimensions before the last two (fewer heads of keys and values than of queries are shared \
             with enable_gqa)",
            attend(&[2, 2, 5, 8], &[2, 2, 5, 8], false),
        ),
        (
            "scaled_dot_product_attention: queries [2, 4, 3, 8], keys [2, 3, 5, 8] and values [2, 3, 5, 8]: the heads of \
             queries (4) must be a multiple of those of keys and values (3)",
            attend(&[2, 3, 5, 8], &[2, 3, 5, 8], true),
        ),
        (
            "scaled_dot_product_attention: slopes of shape [3], not [4], for 4 heads",
            q.scaled_dot_product_attention_with(
                &q,
                &q,
                AttentionOptions {
                    alibi: Some(ones(&[3])),
                    ..Default::default()
                },
            ),
        ),
        (
            "scaled_dot_product_attention: dropout 1.5 must be within 0 and 1",
            q.scaled_dot_product_attention_with(
                &q,
                &q,
                AttentionOptions {
                    dropout: 1.5,
                    ..Default::default()
                },
            ),
        ),
        (
            "rotary_embedding: shape [4] has no rows: it is [.., length, size]",
            rotated(&ones(&[4]), None),
        ),
        (
            "rotary_embedding: shape [3, 5] has a last dimension of 5, which must be even",
            rotated(&ones(&[3, 5]), None),
        ),
        (
            "rotary_embedding: positions of shape [4] for shape [2, 4, 3, 8] must broadcast to [2, 4, 3]",
            rotated(&q, Some(ones(&[4]))),
        ),
    ]);
}

#[test]
fn of_caches() {
    let dev = wgrad::cpu();
    let ones = |shape: &[usize]| Tensor::ones(shape, &dev);
    let mut cache = KvCache::new([2, 2, 4, 8], &dev);
    let three = ones(&[2, 2, 3, 8]);
    let _ = cache.attend(&three, &three, &three).unwrap();
    let odd = ones(&[2, 2, 1, 6]);
    for (operand, want) in [
        (
            odd,
            "scaled_dot_product_attention: queries [2, 2, 1, 6], keys [2, 2, 1, 6] and values [2, 2, 1, 6] for a cache \
             of [2, 2, 4, 8]: keys and values must be [2, 2, tokens, 8], and queries of four dimensions with as many \
             tokens (tests/requirements.rs:",
        ),
        (
            ones(&[2, 2, 2, 8]),
            "scaled_dot_product_attention: 3 tokens and 2 more in a cache of [2, 2, 4, 8], which must not hold more \
             than 4 tokens (tests/requirements.rs:",
        ),
    ] {
        let error = cache.attend(&operand, &operand, &operand).unwrap_err();
        assert!(error.to_string().starts_with(want), "{error}");
        assert_eq!(cache.len(), 3);
    }
}

#[test]
fn of_recurrences() {
    let dev = wgrad::cpu();
    let ones = |shape: &[usize]| Tensor::ones(shape, &dev);
    let (x, h) = (ones(&[2, 3]), ones(&[2, 4]));
    let (w_ih, w_hh) = (ones(&[12, 3]), ones(&[12, 4]));
    let layer = || CellWeights {
        w_ih: w_ih.clone(),
        w_hh: w_hh.clone(),
        b_ih: None,
        b_hh: None,
    };
    let sequence = |x: &[usize], h: &[usize], options: RecurrenceOptions| {
        ones(x).gru(&ones(h), &[layer()], options).0
    };
    let usual = RecurrenceOptions::default;
    let both = RecurrenceOptions {
        bidirectional: true,
        ..usual()
    };
    let dropped = RecurrenceOptions {
        dropout: -1.0,
        ..usual()
    };
    refused(vec![
        (
            "gru_cell: an input of shape [3, 3] for a state of shape [2, 4]: all dimensions but the last must agree",
            ones(&[3, 3]).gru_cell(&h, &w_ih, &w_hh, None, None),
        ),
        (
            "lstm_cell: cells of shape [2, 5], not [2, 4], the state's",
            x.lstm_cell(&h, &ones(&[2, 5]), &w_ih, &w_hh, None, None).0,
        ),
        (
            "gru_cell: a state of shape [2, 5], whose last dimension must be 4 for weights of [12, 4]",
            x.gru_cell(&ones(&[2, 5]), &w_ih, &w_hh, None, None),
        ),
        (
            "lstm_cell: weights of shapes [12, 3] and [12, 4], which must be [4 size, input] and [4 size, size]",
            x.lstm_cell(&h, &h, &w_ih, &w_hh, None, None).0,
        ),
        (
            "gru_cell: a bias of shape [4], not [12], for weights of shapes [12, 3] and [12, 4]",
            x.gru_cell(&h, &w_ih, &w_hh, Some(&ones(&[4])), None),
        ),
        (
            "gru: an input of shape [3] with a state of shape [1, 4]: both must have two dimensions, or three with a \
             batch",
            sequence(&[3], &[1, 4], usual()),
        ),
        (
            "gru: weights of 1 layers and directions for a state of shape [2, 4]: the state's first dimension must be \
             their number, a multiple of 1",
            sequence(&[5, 3], &[2, 4], usual()),
        ),
        (
            "gru: weights of 1 layers and directions for a state of shape [1, 4]: the state's first dimension must be \
             their number, a multiple of 2",
            sequence(&[5, 3], &[1, 4], both),
        ),
        (
            "gru: an input of shape [0, 2, 3], [steps, batch, size], with a state of shape [1, 2, 4]: there must be a \
             step, and one batch",
            sequence(&[0, 2, 3], &[1, 2, 4], usual()),
        ),
        (
            "gru: an input of shape [6, 5, 3], [batch, steps, size], with a state of shape [1, 2, 4]: there must be a \
             step, and one batch",
            sequence(
                &[6, 5, 3],
                &[1, 2, 4],
                RecurrenceOptions {
                    batch_first: true,
                    ..usual()
                },
            ),
        ),
        (
            "gru: dropout -1 must be within 0 and 1",
            sequence(&[5, 3], &[1, 4], dropped),
        ),
        (
            "gru: a state of shape [2, 5], whose last dimension (5) must be that of the weights of shape [12, 4]",
            sequence(&[6, 2, 3], &[1, 2, 5], usual()),
        ),
    ]);
}
