//! The devices that tests run on: the CPU, and a GPU where there is one.
#![allow(dead_code)]

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use wgrad::{Device, DeviceOptions};
use wgrad_wgpu_backend::{AttentionChoice, WgpuBackend, WgpuOptions};

/// Opens a GPU of the test's own; `None` (said loudly) where there is none. With
/// `WGRAD_REQUIRE_GPU=1` that is a failure.
pub fn open_gpu(options: DeviceOptions) -> Option<Device> {
    match options.open() {
        Ok(device) => Some(device),
        Err(error) if std::env::var("WGRAD_REQUIRE_GPU").is_ok_and(|v| v == "1") => {
            panic!("WGRAD_REQUIRE_GPU=1, but: {error}")
        }
        Err(error) => {
            static SKIPPED: AtomicUsize = AtomicUsize::new(0);
            let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
            // Not eprintln!, which the test runner keeps to itself.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED on the GPU, {count} so far in this file: {error}. A software Vulkan \
                 driver serves as well: apt-get install mesa-vulkan-drivers"
            );
            None
        }
    }
}

/// A fresh GPU with default options.
pub fn gpu() -> Option<Device> {
    open_gpu(DeviceOptions::gpu())
}

/// A GPU that computes attention by its kernels, also where the CPU plays the GPU.
pub fn flash_gpu() -> Option<Device> {
    gpu()?;
    let backend = pollster::block_on(WgpuBackend::open(&WgpuOptions {
        allow_software: true,
        poison: true,
        attention: AttentionChoice::Flash,
        ..Default::default()
    }));
    Some(Device::new(backend.expect("a second device"), true))
}

/// A fresh CPU device.
pub fn cpu() -> Device {
    DeviceOptions::cpu().open().expect("the CPU opens")
}

/// Fresh devices, fused and unfused, that hand out poisoned memory.
pub fn all() -> Vec<Device> {
    let mut devices = Vec::new();
    for fusion in [true, false] {
        devices.push(
            DeviceOptions::cpu()
                .fusion(fusion)
                .poison(true)
                .open()
                .expect("the CPU opens"),
        );
        devices.extend(open_gpu(DeviceOptions::gpu().fusion(fusion).poison(true)));
    }
    devices
}

/// Numbers that look random, in [-scale, scale), from a seed: an LCG (Knuth's MMIX constants).
pub fn fill(seed: u64, n: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u64 << 24) as f32 * 2.0 - 1.0) * scale
        })
        .collect()
}

/// Asserts that all numbers agree within `atol + rtol * |want|`; NaN agrees with NaN.
#[track_caller]
pub fn assert_close(got: &[f32], want: &[f32], rtol: f32, atol: f32) {
    assert_eq!(got.len(), want.len(), "lengths");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= atol + rtol * w.abs();
        assert!(same, "element {i}: {g} but expected {w}");
    }
}
