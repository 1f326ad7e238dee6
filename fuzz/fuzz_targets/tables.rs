//! CSV.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wgrad::data::{CsvOptions, Table};

fuzz_target!(|bytes: &[u8]| {
    let _ = Table::from_csv(bytes, "x", &CsvOptions::default());
});
