//! The device that an example runs on, as an option of the command line, and the examples' test sets.
#![allow(dead_code)]

use clap::{Args, ValueEnum};
use wgrad::data::Set;
use wgrad::prelude::*;

/// Where to compute.
#[derive(Args)]
pub struct Place {
    /// Where to compute [default: a GPU if there is one, else the CPU]
    #[arg(long, value_enum)]
    device: Option<Kind>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Cpu,
    Gpu,
}

impl Place {
    /// The device.
    pub fn open(&self) -> Result<Device> {
        let dev = match self.device {
            None => wgrad::default_device(),
            Some(Kind::Cpu) => wgrad::cpu(),
            Some(Kind::Gpu) => wgrad::gpu()?,
        };
        println!("on {dev}");
        Ok(dev)
    }
}

/// Training and test examples: every third is a test example.
pub fn divided<Y: wgrad::Element>(set: &Set<Y>) -> Result<(Set<Y>, Set<Y>)> {
    let of = |test: bool| {
        (0..set.len())
            .filter(move |i| (i % 3 == 2) == test)
            .collect::<Vec<_>>()
    };
    Ok((set.select(&of(false))?, set.select(&of(true))?))
}

/// The share of predictions that are right.
pub fn accuracy(predicted: &Tensor, classes: &Tensor) -> Result<f32> {
    predicted
        .eq(classes)
        .to_dtype(DType::F32)
        .mean()
        .item::<f32>()
}
