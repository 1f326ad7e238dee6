//! The memory of a process that only trains.

use crate::measure::{Bench, Line};
use crate::training;

/// The largest resident set of this process so far, in MiB; 0 where the system does not say.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Trains the small GPT and prints how much memory that took.
pub fn run(bench: &Bench) {
    let before = peak();
    match training::gpt(bench) {
        Ok(_) => bench.print(Line {
            case: "mem",
            peak_rss_mib: Some(peak()),
            before_mib: Some(before),
            ..Line::default()
        }),
        Err(error) => bench.error("mem", &error.to_string()),
    }
}
