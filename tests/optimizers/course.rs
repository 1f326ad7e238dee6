//! Parameters, gradients and what they should become.

use wgrad::optim::Optimizer;
use wgrad::prelude::*;

use super::devices;

/// What tests/golden/optimizers.py wrote: lines of numbers under a name.
pub fn golden(name: &str) -> Vec<Vec<f64>> {
    let text = include_str!("../golden/optimizers.txt");
    let lines = text.lines().skip_while(|line| *line != name).skip(1);
    let numbers = |line: &str| {
        let parsed: Vec<_> = line.split(' ').map(str::parse::<f64>).collect();
        parsed.into_iter().collect::<Result<Vec<f64>, _>>().ok()
    };
    let lines: Vec<Vec<f64>> = lines.map_while(numbers).collect();
    assert!(!lines.is_empty(), "{name} is not in optimizers.txt");
    lines
}

pub const SHAPES: [&[usize]; 4] = [&[3, 5], &[], &[70], &[2, 2, 2]];

pub fn numbers(seed: u64, i: usize) -> Vec<f32> {
    devices::fill(seed, SHAPES[i].iter().product(), 1.0)
}

pub fn tensor(seed: u64, i: usize, dev: &Device, dtype: DType) -> Tensor {
    Tensor::from_vec(numbers(seed, i), SHAPES[i], dev).to_dtype(dtype)
}

pub fn values(x: &Tensor) -> Vec<f64> {
    match x.dtype().unwrap() {
        DType::F64 => x.to_vec::<f64>().unwrap(),
        _ => {
            let values = x.to_vec::<f32>().unwrap();
            values.into_iter().map(f64::from).collect()
        }
    }
}

pub fn params(dev: &Device, dtype: DType) -> Vec<Tensor> {
    let make = |i: usize| tensor(i as u64, i, dev, dtype).requires_grad();
    (0..SHAPES.len()).map(make).collect()
}

/// The gradients of a step; the third parameter has none in every third.
pub fn set_gradients(params: &[Tensor], step: u64, dtype: DType) {
    for (i, p) in params.iter().enumerate() {
        p.zero_grad();
        if i != 2 || !step.is_multiple_of(3) {
            let grad = tensor(100 * (step + 1) + i as u64, i, p.device(), dtype);
            p.set_grad(&grad).unwrap();
        }
    }
}

/// Devices with the types that they have.
pub fn places() -> Vec<(Device, DType, f64)> {
    let mut places = Vec::new();
    for dev in devices::all() {
        if dev.is_cpu() {
            places.push((dev.clone(), DType::F64, 1e-8));
        }
        places.push((dev, DType::F32, 1e-5));
    }
    places
}

#[track_caller]
pub fn close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (g - w).abs() / w.abs().max(1.0);
        assert!(error <= tolerance, "{what}, element {i}: {g}, not {w}");
    }
}

/// A scaler for gradients of losses that were not scaled.
pub fn unscaled(dev: &Device) -> GradScaler {
    let options = GradScalerOptions {
        init_scale: 1.0,
        backoff_factor: 1.0,
        ..Default::default()
    };
    GradScaler::new(dev, options)
}

/// A step by a scaler.
pub fn advance(scaler: &mut GradScaler, optimizer: &mut dyn Optimizer) {
    scaler.step(optimizer).unwrap();
    scaler.update().unwrap();
}

/// A step whose gradients are no numbers, so that it must be skipped.
pub fn skipped(scaler: &mut GradScaler, optimizer: &mut dyn Optimizer, step: u64) {
    let bad = if step.is_multiple_of(2) {
        f64::INFINITY
    } else {
        f64::NAN
    };
    let last = optimizer.parameters().len() - 1;
    for (i, p) in optimizer.parameters().iter().enumerate() {
        // One parameter is enough.
        let grad = p.detach().zeros_like();
        let grad = if i == last { grad + bad } else { grad };
        p.set_grad(&grad).unwrap();
    }
    advance(scaler, optimizer);
}
