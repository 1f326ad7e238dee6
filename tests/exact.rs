//! Sums and differences are IEEE's: no driver cancels what cannot be cancelled.

mod devices;

use devices::{all, cpu, gpu};
use wgrad::prelude::*;

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

/// Equal to the last bit of the value; NaN is NaN.
#[track_caller]
fn assert_same(got: &Tensor, want: &[f32], what: &str) {
    let values = got.to_vec::<f32>().unwrap();
    let same = |g: &f32, w: &f32| g == w || (g.is_nan() && w.is_nan());
    assert!(
        values.len() == want.len() && values.iter().zip(want).all(|(g, w)| same(g, w)),
        "{what}: {values:?} but expected {want:?} on {}",
        got.device()
    );
}

#[test]
fn what_is_not_finite_does_not_cancel() {
    for dev in all() {
        let x = Tensor::from_vec(vec![INF, -INF, NAN, 0.0, -1.5, 3e38], 6, &dev);
        let want = [NAN, NAN, NAN, 0.0, 0.0, 0.0];
        assert_same(&(&x - &x), &want, "x - x");
        assert_same(&(&x + -&x), &want, "x + -x");
        assert_same(&(-&x + &x), &want, "-x + x");
        assert_same(&(&x - x.detach()), &want, "x - x.detach()");
        assert_same(
            &(&x * 1.5 - &x * 1.5),
            &want[..5].iter().copied().chain([NAN]).collect::<Vec<_>>(),
            "1.5 x - 1.5 x",
        );
        let want = [NAN, NAN, NAN, NAN, 1.0, 1.0];
        assert_same(&(&x / &x), &want, "x / x");
        let (own, inverse) = (x.narrow(0, 0, 5), x.narrow(0, 0, 5).recip());
        assert_same(&(own * inverse), &want[..5], "x * (1 / x)");
        let zero = &x * 0.0;
        assert_same(&zero, &[NAN, NAN, NAN, 0.0, 0.0, 0.0], "x * 0");
        assert_same(&(&x - &x).abs().sum(), &[NAN], "the sum of |x - x|");
        let y = x.ge(&x).to_dtype(DType::F32);
        assert_same(&y, &[1.0, 1.0, 0.0, 1.0, 1.0, 1.0], "x >= x");
        assert_same(&x.lt(&x).to_dtype(DType::F32), &[0.0; 6], "x < x");
        assert_same(
            &x.eq(&x).to_dtype(DType::F32),
            &[1.0, 1.0, 0.0, 1.0, 1.0, 1.0],
            "x == x",
        );
        assert_same(
            &x.ne(&x).to_dtype(DType::F32),
            &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
            "x != x",
        );
        assert_same(
            &(&x + 1.0).gt(&x).to_dtype(DType::F32),
            &[0.0, 0.0, 0.0, 1.0, 1.0, 0.0],
            "x + 1 > x",
        );
        assert_same(
            &(&x + 1.0).eq(&x).to_dtype(DType::F32),
            &[1.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            "x + 1 == x",
        );
    }
}

#[test]
fn rounding_is_seen() {
    for dev in all() {
        let x = Tensor::from_vec(vec![1e8f32, 1.0, -3e7, INF], 4, &dev);
        let b = Tensor::from_vec(vec![1.0f32, 1e-9, 0.25, 1.0], 4, &dev);
        let xs = [1e8f32, 1.0, -3e7, INF];
        let bs = [1.0f32, 1e-9, 0.25, 1.0];
        let each = |f: fn(f32, f32) -> f32| -> Vec<f32> {
            xs.iter().zip(&bs).map(|(&x, &b)| f(x, b)).collect()
        };
        assert_same(&((&x + &b) - &x), &each(|x, b| (x + b) - x), "(x + b) - x");
        assert_same(&((&b + &x) - &x), &each(|x, b| (b + x) - x), "(b + x) - x");
        assert_same(&(&x - (&x + &b)), &each(|x, b| x - (x + b)), "x - (x + b)");
        assert_same(&(&x - (&x - &b)), &each(|x, b| x - (x - b)), "x - (x - b)");
        assert_same(&((&x - &b) + &b), &each(|x, b| (x - b) + b), "(x - b) + b");
        assert_same(
            &((&x + 3.0) - 3.0),
            &each(|x, _| (x + 3.0) - 3.0),
            "(x + 3) - 3",
        );
        assert_same(
            &((&b + 1e8) - 1e8),
            &each(|_, b| (b + 1e8) - 1e8),
            "(b + 1e8) - 1e8",
        );
        assert_same(
            &((&b * 1e30) * 1e-30 * &b),
            &each(|_, b| (b * 1e30) * 1e-30 * b),
            "scaled",
        );
    }
}

/// Kahan's sum keeps what an addition loses.
#[test]
fn a_compensated_sum_compensates() {
    for dev in std::iter::once(cpu()).chain(gpu()) {
        let terms = [1e8f32, 1.0, 1.0, -1e8].map(|v| Tensor::from_vec(vec![v], 1, &dev));
        let mut sum = Tensor::from_vec(vec![0f32], 1, &dev);
        let mut lost = Tensor::from_vec(vec![0f32], 1, &dev);
        for term in &terms {
            // Neumaier's form with the branch left out: |sum| is the larger or they are alike.
            let total = &sum + term;
            let part = &total - &sum;
            lost = lost + ((&sum - (&total - &part)) + (term - &part));
            sum = total;
        }
        assert_same(&(sum + lost), &[2.0], "a compensated sum");
    }
}

/// Programs at random: what a compiler may do to sums and products of sums would show.
#[test]
fn programs_of_sums_are_computed_as_written() {
    let inputs = [
        [1e8f32, 1.0, -3.5, INF],
        [1.0, 3e-8, 2.5, 1.0],
        [-7.25, 1.0, 1e7, 2.0],
    ];
    for dev in std::iter::once(cpu()).chain(gpu()) {
        let mut state = 1u64;
        let mut below = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % n
        };
        for program in 0..100 {
            let mut made: Vec<Tensor> = inputs
                .iter()
                .map(|x| Tensor::from_vec(x.to_vec(), 4, &dev))
                .collect();
            let mut want: Vec<[f32; 4]> = inputs.to_vec();
            let mut text = String::new();
            for _ in 0..10 {
                let (op, i, j) = (below(8), below(made.len()), below(made.len()));
                let both =
                    |f: fn(f32, f32) -> f32| std::array::from_fn(|l| f(want[i][l], want[j][l]));
                let (sign, y, v) = match op {
                    0..3 => ('+', &made[i] + &made[j], both(|a, b| a + b)),
                    3..6 => ('-', &made[i] - &made[j], both(|a, b| a - b)),
                    6 => ('n', -&made[i], both(|a, _| -a)),
                    // Products stay in the range of numbers that no device flushes to 0.
                    _ => ('m', &made[i] * 0.5, both(|a, _| a * 0.5)),
                };
                text.push_str(&format!("{} = {i} {sign} {j}; ", made.len()));
                made.push(y);
                want.push(v);
            }
            let (last, last_want) = (&made[made.len() - 1], &want[want.len() - 1]);
            assert_same(last, last_want, &format!("program {program}: {text}"));
        }
    }
}
