//! What the benchmarks share: the ceilings of a device.

pub mod ceilings;
