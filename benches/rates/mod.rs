//! What the benchmarks share: devices, and times with rates in the units of the field.
#![allow(dead_code)]

use std::time::{Duration, Instant};

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput};
use wgrad::Device;

/// The CPU, and a GPU where there is one.
pub fn devices() -> Vec<(&'static str, Device)> {
    let mut devices = vec![("cpu", wgrad::cpu())];
    match wgrad::gpu() {
        Ok(gpu) => devices.push(("gpu", gpu)),
        Err(error) => eprintln!("no GPU: {error}"),
    }
    devices
}

/// A `Criterion` that prints rates.
pub fn criterion() -> Criterion<Rates> {
    Criterion::default().with_measurement(Rates)
}

/// The wall clock; throughputs are `GFLOP/s` of `Throughput::Elements` and `GB/s` of bytes.
pub struct Rates;

impl Measurement for Rates {
    type Intermediate = Instant;
    type Value = Duration;

    fn start(&self) -> Instant {
        WallTime.start()
    }

    fn end(&self, start: Instant) -> Duration {
        WallTime.end(start)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        WallTime.add(a, b)
    }

    fn zero(&self) -> Duration {
        WallTime.zero()
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Rates {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_values(typical, values)
    }

    fn scale_throughputs(
        &self,
        typical: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        let (work, unit) = match *throughput {
            Throughput::Elements(flops) => (flops, "GFLOP/s"),
            Throughput::Bytes(bytes) => (bytes, "GB/s"),
            _ => {
                let formatter = WallTime.formatter();
                return formatter.scale_throughputs(typical, throughput, values);
            }
        };
        // Times are in nanoseconds.
        values
            .iter_mut()
            .for_each(|time| *time = work as f64 / *time);
        unit
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_for_machines(values)
    }
}
