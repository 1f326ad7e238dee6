//! Tensors without dimensions, empty indices and lists, and errors that name what was called.

mod devices;

use devices::all;
use wgrad::autograd::grad;
use wgrad::prelude::*;
use wgrad::{
    AttentionOptions, BagMode, BatchNormOptions, ColumnOptions, EmbeddingBagOptions, PadMode,
};

#[test]
fn tensors_without_dimensions_are_indexed_as_one_element() {
    for dev in all() {
        let x = Tensor::scalar(5.0, &dev).requires_grad();
        let zero = Tensor::scalar(0, &dev);
        let zeros = Tensor::new([0, 0], &dev);
        assert_eq!(x.gather(0, &zero).shape().unwrap(), [0usize; 0]);
        assert_eq!(x.gather(-1, &zeros).to_vec::<f32>().unwrap(), [5.0, 5.0]);
        assert_eq!(x.index_select(0, &zero).item::<f32>().unwrap(), 5.0);
        assert!(x.index_select(0, &zeros).error().is_some());
        assert!(x.gather(1, &zero).error().is_some());
        let v = Tensor::new([5.0, 6.0], &dev);
        assert_eq!(
            v.gather(0, &Tensor::scalar(1, &dev)).item::<f32>().unwrap(),
            6.0
        );
        (x.gather(0, &zeros).sum() + x.index_select(0, &zero))
            .backward()
            .unwrap();
        assert_eq!(x.grad().unwrap().item::<f32>().unwrap(), 3.0);
        // An empty index of any rank.
        let m = Tensor::ones([3, 4], &dev).requires_grad();
        let none = Tensor::from_vec(Vec::<i32>::new(), [0], &dev);
        assert_eq!(m.gather(0, &none).shape().unwrap(), [0]);
        assert_eq!(m.index_select(1, &none).shape().unwrap(), [3, 0]);
    }
}

/// Torch joins tensors of shape [0] with anything; their type counts, and they get gradients.
#[test]
fn nothing_is_joined_with_anything() {
    for dev in all() {
        let nothing = Tensor::zeros([0], &dev).requires_grad();
        let x = Tensor::new([[1, 2]], &dev);
        let y = Tensor::cat(&[nothing.clone(), x], 0);
        assert_eq!(
            (y.dtype().unwrap(), y.shape().unwrap()),
            (DType::F32, [1, 2].into())
        );
        y.sum().backward().unwrap();
        assert_eq!(nothing.grad().unwrap().shape().unwrap(), [0]);
    }
}

#[test]
fn an_empty_list_of_dimensions_means_all() {
    for dev in all() {
        let x = Tensor::new([[1.0, 2.0], [3.0, 6.0]], &dev);
        let none: [isize; 0] = [];
        assert_eq!(x.sum_dims(none, false).item::<f32>().unwrap(), 12.0);
        assert_eq!(x.mean_dims(none, false).item::<f32>().unwrap(), 3.0);
        assert_eq!(x.max_dims(none, true).shape().unwrap(), [1, 1]);
        assert_eq!(x.min_dims(none, false).item::<f32>().unwrap(), 1.0);
        // As in torch, not of these two.
        assert_eq!(x.gt(2.5).any_dims(none, false).shape().unwrap(), [2, 2]);
    }
}

#[test]
fn dimensions_that_are_not_there_are_refused() {
    for dev in all() {
        let scalar = Tensor::scalar(1.0, &dev);
        for wrong in [
            scalar.squeeze(7),
            scalar.squeeze(-2),
            scalar.transpose(0, 1),
            scalar.flatten(0, 3),
            Tensor::zeros([2, 3, 4], &dev).flatten(2, 1),
            Tensor::zeros([2, 3], &dev).softmax(2),
            scalar.log_softmax(1),
        ] {
            assert!(wrong.error().is_some());
        }
        assert_eq!(scalar.squeeze(-1).item::<f32>().unwrap(), 1.0);
        assert_eq!(scalar.softmax(0).item::<f32>().unwrap(), 1.0);
        let whole = Tensor::new([1, 2], &dev);
        assert!(matches!(
            whole.log_softmax(0).error(),
            Some(Error::DType { .. })
        ));
        assert!(matches!(
            whole.softmax(0).error(),
            Some(Error::DType { .. })
        ));
        let sum = whole.logsumexp(0, false).item::<f32>().unwrap();
        assert!((sum - 2.313_261_7).abs() < 1e-6, "{sum}");
    }
}

/// Views of few elements may have any shape, but not one whose elements no number counts.
#[test]
fn shapes_beyond_counting_are_refused() {
    for dev in all() {
        let one = Tensor::ones([1], &dev);
        let h = 1usize << 33;
        for wrong in [
            one.expand([h, h]),
            one.expand([h, h, 4]),
            one.expand([isize::MAX as usize]),
            Tensor::zeros([h, h, 0], &dev),
            Tensor::ones([h, 1], &dev) + Tensor::ones([1, h], &dev),
        ] {
            assert!(wrong.error().is_some());
            for failed in [
                wrong.mean(),
                wrong.flatten(0, -1),
                wrong.reshape((-1,)),
                wrong.matmul(&wrong),
                Tensor::cat(&[wrong.clone(), wrong.clone()], 0),
            ] {
                assert!(failed.error().is_some());
            }
        }
        // Large ones are all right until somebody stores them.
        let large = one.expand([1usize << 20, 1 << 20]);
        assert_eq!(large.flatten(0, 1).numel().unwrap(), 1 << 40);
        assert!(large.contiguous().to_vec::<f32>().is_err());
    }
}

#[test]
fn a_bad_index_is_reported_for_what_was_called() {
    for dev in all() {
        let x = Tensor::zeros([3, 2], &dev);
        let bad = Tensor::new([0, 9], &dev);
        type Call = fn(&Tensor, &Tensor) -> Tensor;
        let calls: [(&str, Call); 3] = [
            ("index_select", |x, bad| x.index_select(0, bad)),
            ("embedding", |x, bad| x.embedding(bad)),
            ("gather", |x, bad| x.gather(0, &bad.unsqueeze(0))),
        ];
        for (name, call) in calls {
            let error = call(&x, &bad).to_vec::<f32>().unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("{name}: index 9")),
                "{error}"
            );
        }
        let error = x
            .cross_entropy(&Tensor::new([0, 1, 5], &dev))
            .item::<f32>()
            .unwrap_err();
        assert!(
            error.to_string().starts_with("cross_entropy: index 5"),
            "{error}"
        );
    }
}

#[test]
fn devices_of_one_name_are_told_apart() {
    let (a, b) = (devices::cpu(), devices::cpu());
    let error = (Tensor::zeros([2], &a) + Tensor::zeros([2], &b))
        .error()
        .unwrap()
        .to_string();
    let named = format!("{} (opened as number ", a.name());
    assert!(error.contains(&named), "{error}");
}

/// `a / b` of tiny numbers, `0^0`, and other derivatives whose parts are out of range.
#[test]
fn derivatives_stay_in_range() {
    for dev in all() {
        let slopes = |a: f32, b: f32, f: fn(&Tensor, &Tensor) -> Tensor| -> (f32, f32) {
            let a = Tensor::scalar(a, &dev).requires_grad();
            let b = Tensor::scalar(b, &dev).requires_grad();
            f(&a, &b).backward().unwrap();
            let read = |x: &Tensor| x.grad().unwrap().item::<f32>().unwrap();
            (read(&a), read(&b))
        };
        let close = |got: f32, want: f32| assert!((got / want - 1.0).abs() < 1e-5, "{got}, {want}");
        let (da, db) = slopes(1e-25, 1e-25, |a, b| a / b);
        close(da, 1e25);
        close(db, -1e25);
        let (da, db) = slopes(0.0, 0.0, |a, b| a.pow(b));
        assert_eq!((da, db), (0.0, 0.0));
        let (da, db) = slopes(f32::NAN, 1.0, |a, b| a.maximum(b));
        assert_eq!((da, db), (1.0, 1.0));
    }
}

#[test]
fn a_batch_of_nothing_leaves_running_statistics_alone() {
    for dev in all() {
        for shape in [vec![0, 2], vec![3, 2, 0]] {
            let x = Tensor::zeros(&shape[..], &dev).requires_grad();
            let weight = Tensor::new([2.0, 3.0], &dev).requires_grad();
            let running = (Tensor::new([5.0, 6.0], &dev), Tensor::new([7.0, 8.0], &dev));
            let y = x.batch_norm(BatchNormOptions {
                running: Some(running),
                weight: Some(weight.clone()),
                ..BatchNormOptions::default()
            });
            assert_eq!(y.output.shape().unwrap(), shape[..]);
            let (mean, variance) = y.running.unwrap();
            assert_eq!(mean.to_vec::<f32>().unwrap(), [5.0, 6.0]);
            assert_eq!(variance.to_vec::<f32>().unwrap(), [7.0, 8.0]);
            y.output.sum().backward().unwrap();
            assert_eq!(weight.grad().unwrap().to_vec::<f32>().unwrap(), [0.0, 0.0]);
            assert_eq!(x.grad().unwrap().shape().unwrap(), shape[..]);
        }
    }
}

#[test]
fn bags_begin_at_0_one_behind_the_other_and_may_end_before_the_end() {
    for dev in all() {
        let table = Tensor::new([[1.0], [2.0], [4.0]], &dev).requires_grad();
        let index = Tensor::new([0, 1, 2], &dev);
        let bags = |offsets: &Tensor, mode, include_last_offset| {
            table.embedding_bag(
                &index,
                EmbeddingBagOptions {
                    offsets: Some(offsets.clone()),
                    include_last_offset,
                    mode,
                    ..EmbeddingBagOptions::default()
                },
            )
        };
        // What lies behind the last offset is in no bag.
        for (mode, want) in [
            (BagMode::Sum, [1.0, 2.0]),
            (BagMode::Mean, [1.0, 2.0]),
            (BagMode::Max, [1.0, 2.0]),
        ] {
            let y = bags(&Tensor::new([0, 1, 2], &dev), mode, true);
            assert_eq!(y.to_vec::<f32>().unwrap(), want, "{mode:?} on {dev}");
            let grads = grad(&y.sum(), &[&table], GradOptions::default()).unwrap();
            assert_eq!(grads[0].to_vec::<f32>().unwrap(), [1.0, 1.0, 0.0]);
        }
        for wrong in [[0, 7], [0, -1], [1, 2], [2, 1]] {
            for dtype in [DType::I32, DType::I64] {
                let offsets = Tensor::new(wrong, &dev).to_dtype(dtype);
                if offsets.error().is_some() {
                    continue; // i64 on a GPU without it
                }
                let error = bags(&offsets, BagMode::Sum, false).to_vec::<f32>();
                let error = error.unwrap_err().to_string();
                assert!(error.contains("embedding_bag with offsets"), "{error}");
                assert!(error.contains("tests/edges.rs"), "{error}");
            }
        }
    }
}

#[test]
fn heads_of_no_elements_attend_to_all_alike() {
    for dev in all() {
        let x = Tensor::zeros([2, 3, 0], &dev);
        let v = Tensor::new([[[1.0], [2.0], [6.0]], [[0.0], [0.0], [3.0]]], &dev);
        let y = x.scaled_dot_product_attention_with(&x, &v, AttentionOptions::default());
        let want = [3.0, 3.0, 3.0, 1.0, 1.0, 1.0];
        for (got, want) in y.to_vec::<f32>().unwrap().into_iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{got} on {dev}");
        }
    }
}

#[test]
fn what_cannot_be_is_refused_by_the_name_of_what_was_called() {
    let dev = wgrad::cpu();
    let ones = |shape: &[usize]| Tensor::ones(shape, &dev);
    let x = Tensor::new([1.0, 2.0, 3.0], &dev);
    let huge = ColumnOptions {
        padding: [usize::MAX, 0],
        ..ColumnOptions::default()
    };
    let input =
        ones(&[2, 9]).gru_cell(&ones(&[2, 8]), &ones(&[24, 6]), &ones(&[24, 8]), None, None);
    for (wrong, said) in [
        (x.pad(&[-5, 4], PadMode::Constant(9.0.into())), "pad: "),
        (x.pad(&[4, -5], PadMode::ZERO), "no 5 elements to leave out"),
        (ones(&[1, 1, 2, 2]).im2col([1, 1], huge), "im2col: "),
        (input, "whose last dimension must be 6"),
    ] {
        let error = wrong.checked().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert!(error.contains("tests/edges.rs"), "{error}");
    }
    let (x, at) = (ones(&[1, 2]), Tensor::new([[0, 9]], &dev));
    let error = x.max_unpool1d(&at, [2]).to_vec::<f32>().unwrap_err();
    assert!(error.to_string().contains("max_unpool1d"), "{error}");
}
