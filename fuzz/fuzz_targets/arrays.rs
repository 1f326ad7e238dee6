//! IDX, npy and npz.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wgrad::data::{idx, npy, npz};

fuzz_target!(|bytes: &[u8]| {
    let device = wgrad::cpu();
    let _ = idx::decode::<u8>(bytes, "x");
    let _ = npy::decode(bytes, "x", &device);
    let _ = npz::decode(bytes, "x", &device);
});
