//! Pictures that get smaller without false patterns: against weights in f64, derivatives, types, and replays.

mod devices;

use devices::{all, cpu, fill};
use wgrad::autograd::{gradcheck, gradgradcheck};
use wgrad::prelude::*;
use wgrad::{InterpolateOptions, Resampling};

fn antialiased(x: &Tensor, size: [usize; 2], mode: Resampling) -> Tensor {
    x.interpolate_with(InterpolateOptions {
        size: Some(size.to_vec()),
        mode,
        antialias: true,
        ..Default::default()
    })
}

/// How much of each old element is in a new one, in f64: a triangle or Keys' curve over it, that sums to 1.
fn weights(i: usize, from: usize, to: usize, mode: Resampling) -> Vec<f64> {
    let step = from as f64 / to as f64;
    let (size, middle) = (step.max(1.0), (i as f64 + 0.5) * step);
    let weight = |j: usize| {
        let x = ((j as f64 + 0.5 - middle) / size).abs();
        match mode {
            Resampling::Linear => (1.0 - x).max(0.0),
            _ if x < 1.0 => 1.5 * x.powi(3) - 2.5 * x.powi(2) + 1.0,
            _ if x < 2.0 => -0.5 * x.powi(3) + 2.5 * x.powi(2) - 4.0 * x + 2.0,
            _ => 0.0,
        }
    };
    let all: Vec<f64> = (0..from).map(weight).collect();
    let sum: f64 = all.iter().sum();
    all.iter().map(|w| w / sum).collect()
}

#[test]
fn new_elements_are_means_of_what_they_cover() {
    for dev in all() {
        for ([h, w], [to_h, to_w]) in [
            ([7, 10], [3, 4]),
            ([1, 5], [1, 1]),
            ([4, 130], [9, 3]),
            ([33, 6], [5, 6]),
        ] {
            let data = fill(5, 2 * h * w, 3.0);
            let x = Tensor::from_slice(&data, [1, 2, h, w], &dev);
            for mode in [Resampling::Linear, Resampling::Bicubic] {
                let y = antialiased(&x, [to_h, to_w], mode);
                let y: Vec<f32> = y.to_vec().unwrap();
                for (at, &got) in y.iter().enumerate() {
                    let (c, i, j) = (at / (to_h * to_w), at / to_w % to_h, at % to_w);
                    let (rows, columns) = (weights(i, h, to_h, mode), weights(j, w, to_w, mode));
                    let row = |r: usize| -> f64 {
                        let row = &data[(c * h + r) * w..][..w];
                        row.iter()
                            .zip(&columns)
                            .map(|(&x, w)| f64::from(x) * w)
                            .sum()
                    };
                    let want: f64 = (0..h).map(|r| row(r) * rows[r]).sum();
                    assert!(
                        (f64::from(got) - want).abs() < 2e-5,
                        "{got} for {want}: {mode:?} of {h} by {w} to {to_h} by {to_w}, {dev}"
                    );
                }
            }
        }
    }
}

#[test]
fn sixteen_bits_are_computed_in_more() {
    for dev in all() {
        let x = Tensor::from_vec(fill(6, 2 * 9 * 9, 3.0), [2, 1, 9, 9], &dev);
        for dtype in [DType::F16, DType::BF16] {
            if !dev.limits().unwrap().has(dtype) {
                continue;
            }
            for mode in [Resampling::Linear, Resampling::Bicubic] {
                let narrow = x.to_dtype(dtype);
                let y = antialiased(&narrow, [4, 2], mode);
                assert_eq!(y.dtype().unwrap(), dtype);
                let want = antialiased(&narrow.to_dtype(DType::F32), [4, 2], mode).to_dtype(dtype);
                let (y, want): (Vec<f32>, Vec<f32>) = (
                    y.to_dtype(DType::F32).to_vec().unwrap(),
                    want.to_dtype(DType::F32).to_vec().unwrap(),
                );
                assert_eq!(y, want, "{dtype} on {dev}");
            }
        }
    }
}

#[test]
fn antialiasing_is_twice_differentiable() {
    let dev = cpu();
    let x = Tensor::from_vec(fill(7, 5 * 7, 2.0), [1, 1, 5, 7], &dev).to_dtype(DType::F64);
    for mode in [Resampling::Linear, Resampling::Bicubic] {
        let f = |x: &[Tensor]| antialiased(&x[0], [2, 3], mode).sin().sum();
        let leaves = [x.clone()];
        gradcheck(f, &leaves).unwrap();
        gradgradcheck(f, &leaves).unwrap();
    }
}

/// What is not covered does not count, even where it is no number.
#[test]
fn what_is_not_covered_does_not_count() {
    for dev in all() {
        let mut data = fill(8, 30, 1.0);
        (data[0], data[29]) = (f32::NAN, f32::INFINITY);
        let x = Tensor::from_vec(data, [1, 1, 1, 30], &dev);
        for mode in [Resampling::Linear, Resampling::Bicubic] {
            let y: Vec<f32> = antialiased(&x, [1, 10], mode).to_vec().unwrap();
            assert!(y[0].is_nan() && !y[9].is_finite(), "{y:?} on {dev}");
            assert!(y[2..8].iter().all(|y| y.is_finite()), "{y:?} on {dev}");
        }
    }
}
