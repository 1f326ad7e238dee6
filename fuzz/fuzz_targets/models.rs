//! safetensors and files of torch.save.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wgrad::nn::{safetensors, torch};

fuzz_target!(|bytes: &[u8]| {
    let device = wgrad::cpu();
    let _ = safetensors::decode(bytes, "x", &device);
    let _ = torch::decode(bytes, "x", &device);
});
