//! What losses refuse, what they do at the edges, and what penalties add. (Values and derivatives: tests/golden.rs.)

mod device;

use device::{both, cpu, values};
use wgrad_core::{DType, Device, Error, Result, Tensor};
use wgrad_nn::loss::{self, *};

/// The message of a loss that failed, which names its operation and this file.
#[track_caller]
fn refused(op: &str, y: &Tensor) -> String {
    let error = y.sum().item::<f32>().expect_err(op);
    let text = error.to_string();
    assert!(text.contains(op), "{op}: {text}");
    assert!(text.contains("losses.rs:"), "{op}: {text}");
    text
}

#[test]
fn shapes_that_differ_are_refused() {
    let dev = cpu();
    let (x, t) = (Tensor::ones([2, 3], &dev), Tensor::ones([3], &dev));
    type Pair = fn(&Tensor, &Tensor) -> Tensor;
    // Closures: a pointer to a function would hide the caller's line.
    macro_rules! pairs {
        ($($name:ident)*) => {
            [
                $((stringify!($name), (|a, b| loss::$name(a, b)) as Pair),)*
                ("info_nce", |a, b| loss::info_nce(a, b, 1.0)),
            ]
        };
    }
    let pairs = pairs! {
        mse_loss l1_loss rmse_loss huber_loss smooth_l1_loss log_cosh_loss binary_cross_entropy binary_cross_entropy_with_logits focal_loss dice_loss kl_div poisson_nll_loss hinge_loss squared_hinge_loss exponential_loss soft_margin_loss hinge_embedding_loss multilabel_soft_margin_loss
    };
    for (op, pair) in pairs {
        let text = refused(op, &pair(&x, &t));
        assert!(text.contains("[2, 3]") && text.contains("[3]"), "{text}");
        // Integers are no floats.
        let whole = x.to_dtype(DType::I32);
        refused(op, &pair(&whole, &whole));
    }
    let both = Tensor::ones([2], &dev);
    refused("cosine_embedding_loss", &cosine_embedding_loss(&x, &x, &t));
    refused("margin_ranking_loss", &margin_ranking_loss(&t, &t, &both));
    refused("triplet_margin_loss", &triplet_margin_loss(&x, &x, &t));
    refused("gaussian_nll_loss", &gaussian_nll_loss(&x, &t, &x));
    refused("gaussian_nll_loss", &gaussian_nll_loss(&x, &x, &both));
    let labels = Tensor::new([0, 1, 2], &dev);
    refused("multi_margin_loss", &multi_margin_loss(&x, &labels));
    refused("multi_margin_loss", &multi_margin_loss(&x, &both));
    refused(
        "multilabel_margin_loss",
        &multilabel_margin_loss(&x, &labels),
    );
    let clusters = within_cluster_sum_of_squares(&x, &Tensor::ones([4, 2], &dev), &labels);
    refused("within_cluster_sum_of_squares", &clusters);
    refused("information_gain", &information_gain(&t));
}

#[test]
fn options_out_of_range_are_refused() {
    let dev = cpu();
    let x = Tensor::ones([2, 3], &dev);
    let huber = HuberOptions {
        delta: 0.0,
        ..Default::default()
    };
    assert!(refused("huber_loss", &huber_loss_with(&x, &x, huber)).contains("delta"));
    let smooth = SmoothL1Options {
        beta: -1.0,
        ..Default::default()
    };
    assert!(refused("smooth_l1_loss", &smooth_l1_loss_with(&x, &x, smooth)).contains("beta"));
    let triplet = TripletMarginOptions {
        margin: f64::NAN,
        ..Default::default()
    };
    let y = triplet_margin_loss_with(&x, &x, &x, triplet);
    assert!(refused("triplet_margin_loss", &y).contains("margin"));
    let y = multi_margin_loss_with(
        &x,
        &Tensor::new([0, 1], &dev),
        MultiMarginOptions {
            p: 3,
            ..Default::default()
        },
    );
    assert!(refused("multi_margin_loss", &y).contains("p must"));
    assert!(refused("info_nce", &info_nce(&x, &x, 0.0)).contains("temperature"));
    let weight = Some(Tensor::ones([2], &dev));
    let bce = BceOptions {
        weight: weight.clone(),
        ..Default::default()
    };
    let y = binary_cross_entropy_with(&x, &x, bce);
    assert!(refused("binary_cross_entropy", &y).contains("weight"));
    let logits = BceLogitsOptions {
        pos_weight: weight,
        ..Default::default()
    };
    let y = binary_cross_entropy_with_logits_with(&x, &x, logits);
    assert!(refused("binary_cross_entropy_with_logits", &y).contains("pos_weight"));
    assert!(refused("l1_penalty", &l1_penalty(&[])).contains("no parameters"));
    // A class that is not there.
    let y = multi_margin_loss(&x, &Tensor::new([0, 3], &dev));
    assert!(matches!(
        y.item::<f32>(),
        Err(Error::IndexOutOfRange { .. })
    ));
}

#[test]
fn edges() -> Result<()> {
    for dev in both() {
        let one = |x: f64| Tensor::new([x], (DType::F64, &dev));
        // Where naive forms overflow, or give NaN.
        let infinite = |y: &Tensor| values(y).iter().all(|v| v.is_infinite() && *v > 0.0);
        for size in [1e3, 1e300] {
            let y = log_cosh_loss(&one(size), &one(0.0));
            assert!((values(&y)[0] / size - 1.0).abs() < 1e-2);
            assert_eq!(values(&soft_margin_loss(&one(size), &one(1.0))), [0.0]);
            assert_eq!(values(&soft_margin_loss(&one(-size), &one(1.0))), [size]);
            assert_eq!(values(&focal_loss(&one(size), &one(1.0))), [0.0]);
        }
        assert!(infinite(&exponential_loss(&one(-1e3), &one(1.0))));
        // Slopes at the kinks are torch's.
        for (y, want) in [
            (huber_loss as fn(&Tensor, &Tensor) -> Tensor, 0.0),
            (smooth_l1_loss, 0.0),
            (log_cosh_loss, 0.0),
            (l1_loss, 0.0),
        ] {
            let x = one(0.0).requires_grad();
            y(&x, &one(0.0)).backward()?;
            assert_eq!(values(&x.grad()?), [want]);
        }
        let x = one(1.0).requires_grad();
        hinge_loss(&x, &one(1.0)).backward()?;
        assert_eq!(values(&x.grad()?), [0.0]);
        // Nothing is pure.
        let none = Tensor::zeros([2], &dev);
        assert_eq!(gini_impurity(&none).item::<f32>()?, 0.0);
        assert_eq!(entropy(&none).item::<f32>()?, 0.0);
        assert_eq!(
            information_gain(&Tensor::zeros([2, 2], &dev)).item::<f32>()?,
            0.0
        );
        // Sums of none are 0, means NaN.
        let empty = Tensor::zeros([0, 3], &dev);
        let sum = multi_margin_loss_with(
            &empty,
            &Tensor::zeros([0], (DType::I32, &dev)),
            MultiMarginOptions {
                reduction: wgrad_core::Reduction::Sum,
                ..Default::default()
            },
        );
        assert_eq!(sum.item::<f32>()?, 0.0);
        assert!(huber_loss(&empty, &empty).item::<f32>()?.is_nan());
    }
    Ok(())
}

#[test]
fn penalties_pull_towards_zero() -> Result<()> {
    for dev in both() {
        let params = |dev: &Device| {
            let a = Tensor::new([[1.0, -2.0], [0.0, 3.0]], dev).requires_grad();
            [a, Tensor::scalar(-0.5, (DType::F16, dev)).requires_grad()]
        };
        let each = params(&dev);
        elastic_net_penalty(&each, 0.25, 0.5).backward()?;
        assert_eq!(values(&each[0].grad()?), [1.25, -2.25, 0.0, 3.25]);
        assert_eq!(values(&each[1].grad()?), [-0.75]);
        assert_eq!(l1_penalty(&params(&dev)).item::<f32>()?, 6.5);
        assert_eq!(l2_penalty(&params(&dev)).item::<f32>()?, 14.25);
    }
    Ok(())
}
