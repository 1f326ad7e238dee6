//! PNG and JPEG.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wgrad::data::{Channels, decode_image};

fuzz_target!(|bytes: &[u8]| {
    let _ = decode_image(bytes, "x", Channels::Rgb);
});
