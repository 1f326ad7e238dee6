//! Tensors without dimensions, empty indices and lists, and errors that name what was called.

mod devices;

use devices::all;
use wgrad::prelude::*;

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
