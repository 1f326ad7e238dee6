//! The devices that tests of layers run on.
#![allow(dead_code)]

use wgrad_core::{Device, Tensor};
use wgrad_cpu_backend::{CpuBackend, CpuOptions};

fn open(fusion: bool) -> Device {
    let options = CpuOptions {
        poison: true,
        ..CpuOptions::default()
    };
    Device::new(CpuBackend::new(options), fusion)
}

/// A fresh CPU, seeded with 0, whose fresh memory holds NaN.
pub fn cpu() -> Device {
    open(true)
}

/// Fresh CPUs, fused and unfused.
pub fn both() -> [Device; 2] {
    [open(true), open(false)]
}

/// The values as f64.
pub fn values(tensor: &Tensor) -> Vec<f64> {
    tensor
        .to_dtype(wgrad_core::DType::F64)
        .to_vec()
        .expect("values")
}

/// Numbers that look random, in [-1, 1), from a seed.
pub fn fill(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0
        })
        .collect()
}
