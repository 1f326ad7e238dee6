//! The loss of sequences without alignment, and bags: second derivatives, replays, and bad positions.

mod devices;

use devices::{all, fill};
use wgrad::autograd::{gradcheck, gradgradcheck};
use wgrad::prelude::*;
use wgrad::{BagMode, CtcOptions, EmbeddingBagOptions};

fn ints(of: &[i32], dev: &Device) -> Tensor {
    Tensor::from_slice(of, [of.len()], dev)
}

/// The probability of a target by going through all ways to spread it: the sum over all sequences of classes that
/// are the target when repetitions and then blanks are left out.
fn by_enumeration(p: &[Vec<f64>], target: &[usize], blank: usize) -> f64 {
    let classes = p[0].len();
    let mut total = 0.0;
    for way in 0..classes.pow(p.len() as u32) {
        let path: Vec<usize> = (0..p.len())
            .map(|t| way / classes.pow(t as u32) % classes)
            .collect();
        let mut merged = path.clone();
        merged.dedup();
        merged.retain(|&class| class != blank);
        if merged == target {
            total += path.iter().zip(p).map(|(&c, p)| p[c]).product::<f64>();
        }
    }
    total
}

#[test]
fn the_loss_is_the_probability_of_all_ways() {
    for dev in all() {
        for (target, blank) in [
            (vec![1, 1], 0),
            (vec![1, 2], 0),
            (vec![2], 1),
            (vec![], 2),
            (vec![0, 1, 0], 2),
        ] {
            let time = 5;
            let x = Tensor::from_vec(fill(7, time * 3, 2.0), [time, 3], &dev);
            let log_p = x.log_softmax(-1);
            let p: Vec<f32> = log_p.exp().to_vec().unwrap();
            let p: Vec<Vec<f64>> = p
                .chunks(3)
                .map(|row| row.iter().map(|&p| f64::from(p)).collect())
                .collect();
            let labels: Vec<i32> = target.iter().map(|&c: &usize| c as i32).collect();
            let options = CtcOptions {
                blank,
                reduction: Reduction::Sum,
                ..Default::default()
            };
            let (one, n) = (
                ints(&[time as i32], &dev),
                ints(&[labels.len() as i32], &dev),
            );
            let loss = log_p.ctc_loss(&ints(&labels, &dev), &one, &n, options);
            let want = -by_enumeration(&p, &target, blank).ln();
            let got = f64::from(loss.item::<f32>().unwrap());
            assert!(
                (got - want).abs() < 1e-5 * want.max(1.0),
                "{got} for {want} on {dev}"
            );
        }
    }
}

#[test]
fn the_loss_of_sequences_is_twice_differentiable() {
    let dev = devices::cpu();
    let x = Tensor::from_vec(fill(3, 4 * 2 * 3, 2.0), [4, 2, 3], &dev).to_dtype(DType::F64);
    let targets = Tensor::new([[1, 1], [2, 0]], &dev);
    let f = |x: &[Tensor]| {
        let (inputs, lengths) = (ints(&[4, 3], &dev), ints(&[2, 1], &dev));
        let log_p = x[0].log_softmax(-1);
        log_p.ctc_loss(&targets, &inputs, &lengths, CtcOptions::default())
    };
    let leaves = [x];
    gradcheck(f, &leaves).unwrap();
    gradgradcheck(f, &leaves).unwrap();
}

/// Where a target does not fit, its loss is infinite and its gradient 0: it spoils nothing else.
#[test]
fn sequences_that_do_not_fit_have_no_gradient() {
    for dev in all() {
        for zero_infinity in [false, true] {
            let x = Tensor::from_vec(fill(4, 2 * 2 * 3, 2.0), [2, 2, 3], &dev).requires_grad();
            let targets = Tensor::new([[1, 1], [2, 0]], &dev); // two labels alike need three steps
            let options = CtcOptions {
                reduction: Reduction::None,
                zero_infinity,
                ..Default::default()
            };
            let (inputs, lengths) = (ints(&[2, 2], &dev), ints(&[2, 1], &dev));
            let losses = x
                .log_softmax(-1)
                .ctc_loss(&targets, &inputs, &lengths, options);
            losses.sum().backward().unwrap();
            let losses = losses.to_vec::<f32>().unwrap();
            let infinite = if zero_infinity { 0.0 } else { f32::INFINITY };
            assert!(
                losses[0] == infinite && losses[1].is_finite(),
                "{losses:?} on {dev}"
            );
            let grad = x.grad().unwrap();
            let (first, second) = (grad.select(1, 0), grad.select(1, 1));
            assert_eq!(first.to_vec::<f32>().unwrap(), [0.0; 6], "{dev}");
            assert!(second.norm(2.0).item::<f32>().unwrap() > 0.01, "{dev}");
        }
    }
}

/// A length that no sequence has is named, and gives no loss that could be taken for one.
#[test]
fn lengths_beyond_the_sequences_are_reported() {
    for dev in all() {
        let log_p = Tensor::from_vec(fill(5, 5 * 2 * 3, 2.0), [5, 2, 3], &dev).log_softmax(-1);
        let targets = Tensor::new([[1, 2], [2, 1]], &dev);
        for (inputs, lengths, name, index) in [
            ([6, 5], [2, 2], "input_lengths", 6),
            ([5, -1], [2, 2], "input_lengths", -1),
            ([5, 5], [3, 2], "target_lengths", 3),
            ([5, 5], [2, -2], "target_lengths", -2),
        ] {
            for zero_infinity in [false, true] {
                let options = CtcOptions {
                    reduction: Reduction::None,
                    zero_infinity,
                    ..Default::default()
                };
                let loss = log_p.ctc_loss(
                    &targets,
                    &ints(&inputs, &dev),
                    &ints(&lengths, &dev),
                    options,
                );
                let error = loss.to_vec::<f32>().unwrap_err();
                let Error::IndexOutOfRange { index: found, .. } = error else {
                    panic!("{error} on {dev}");
                };
                assert_eq!(found, index);
                let text = error.to_string();
                assert!(
                    text.contains(name) && text.contains("tests/sequences.rs"),
                    "{text}"
                );
                // It is reported once, and the other sequence has its loss.
                let losses = loss.to_vec::<f32>().unwrap();
                let bad = usize::from(inputs[0] == 5 && lengths[0] == 2);
                assert!(
                    losses[bad].is_nan() && losses[1 - bad].is_finite(),
                    "{losses:?}"
                );
            }
        }
    }
    // In their own type: what is beyond 32 bits would be taken for 5.
    let dev = devices::cpu();
    let log_p = Tensor::zeros([5, 1, 3], &dev);
    let long = Tensor::from_slice(&[(1i64 << 32) + 5], [1], &dev);
    let (targets, one) = (Tensor::new([[1]], &dev), ints(&[1], &dev));
    let loss = log_p.ctc_loss(&targets, &long, &one, CtcOptions::default());
    let error = loss.item::<f32>().unwrap_err().to_string();
    assert!(error.contains("index 4294967301"), "{error}");
}

/// As torch: targets one after the other are neither more nor fewer than their lengths say.
#[test]
fn targets_in_a_vector_are_as_many_as_their_lengths() {
    for dev in all() {
        let log_p = Tensor::zeros([5, 2, 3], &dev);
        let inputs = ints(&[5, 5], &dev);
        let loss = |targets: &[i32], lengths: &[i32]| {
            let (targets, lengths) = (ints(targets, &dev), ints(lengths, &dev));
            log_p.ctc_loss(&targets, &inputs, &lengths, CtcOptions::default())
        };
        let finite = |loss: Tensor| loss.item::<f32>().unwrap().is_finite();
        assert!(finite(loss(&[1, 2, 1], &[1, 2])));
        for targets in [&[1, 2, 1][..], &[1, 2, 1, 2, 2]] {
            let error = loss(targets, &[2, 2])
                .item::<f32>()
                .unwrap_err()
                .to_string();
            let n = targets.len();
            let want =
                format!("ctc_loss: targets of shape [{n}] with target_lengths that sum to 4");
            assert!(error.starts_with(&want), "{error}");
        }
        // Lengths whose sum is right are not yet lengths.
        let error = loss(&[1, 2, 1], &[4, -1]).item::<f32>().unwrap_err();
        assert!(matches!(error, Error::IndexOutOfRange { .. }), "{error}");
        // Without targets, none has a length.
        assert!(finite(loss(&[], &[0, 0])));
        let error = loss(&[], &[0, 1]).item::<f32>().unwrap_err();
        assert!(matches!(error, Error::IndexOutOfRange { .. }), "{error}");
    }
}

/// Steps with other numbers and lengths are replays: nothing is compiled, and a step of time is few launches.
#[test]
fn the_loss_of_sequences_replays() {
    for dev in all() {
        let time = 12;
        let step = |seed: u64, lengths: [i32; 2]| {
            let x =
                Tensor::from_vec(fill(seed, time * 2 * 4, 2.0), [time, 2, 4], &dev).requires_grad();
            let targets = Tensor::new([[1, 2, 3], [3, 3, 1]], &dev);
            let (inputs, lengths) = (ints(&[12, 9], &dev), ints(&lengths, &dev));
            let log_p = x.log_softmax(-1);
            log_p
                .ctc_loss(&targets, &inputs, &lengths, CtcOptions::default())
                .backward()
                .unwrap();
            x.grad().unwrap().to_vec::<f32>().unwrap()
        };
        step(1, [3, 2]);
        step(2, [2, 3]);
        let before = dev.stats();
        let grad = step(3, [1, 2]);
        let after = dev.stats();
        assert!(grad.iter().all(|g| g.is_finite()));
        assert_eq!(after.pipelines, before.pipelines, "{dev}");
        if dev.fusion() {
            let launches = after.launches - before.launches;
            assert!(
                launches <= 12 * time as u64 + 10,
                "{launches} launches on {dev}"
            );
        }
    }
}

#[test]
fn positions_out_of_the_table_are_reported() {
    for dev in all() {
        let table = Tensor::ones([3, 2], &dev);
        for index in [[[0, 3]], [[0, -1]]] {
            let y = table.embedding_bag(&Tensor::new(index, &dev), EmbeddingBagOptions::default());
            let error = y.to_vec::<f32>().unwrap_err();
            assert!(matches!(error, Error::IndexOutOfRange { .. }), "{error}");
        }
        // Offsets that begin behind the first position leave it out of all bags.
        let options = EmbeddingBagOptions {
            offsets: Some(ints(&[1], &dev)),
            mode: BagMode::Sum,
            ..Default::default()
        };
        let y = table.embedding_bag(&ints(&[0, 1], &dev), options);
        let error = y.to_vec::<f32>().unwrap_err();
        assert!(matches!(error, Error::IndexOutOfRange { .. }), "{error}");
    }
}
