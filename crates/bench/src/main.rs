//! The cases that wgrad is compared with other frameworks on.
//!
//! `cargo run --release -p wgrad-bench -- [--device cpu|gpu] [--profile] [CASE...]` runs the cases whose names
//! contain a given word (all without one) and prints a line of JSON for each: times in
//! milliseconds, rates, a number that says whether the result is right, and what one repetition
//! cost the device. `... -- kernels --out DIR` writes the WGSL of every kind of kernel instead.

mod cases;
mod inputs;
mod kernels;
mod measure;
mod memory;
mod networks;
mod training;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use wgrad::{Device, DeviceOptions, Result};

use measure::Bench;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Cpu,
    Gpu,
}

/// Runs the cases that wgrad is compared with other frameworks on.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// The device; without it a hardware GPU, or else the CPU.
    #[arg(long)]
    device: Option<Kind>,
    /// Also print a table of the kernels of each case, to the standard error.
    #[arg(long)]
    profile: bool,
    /// Parts of the names of the cases to run; `mem` alone measures memory.
    cases: Vec<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Writes the WGSL of every kind of kernel and of fused ones, a file each.
    Kernels {
        /// The directory, made where it does not exist.
        #[arg(long)]
        out: PathBuf,
    },
}

fn open(kind: Option<Kind>) -> Result<Device> {
    match kind {
        Some(Kind::Cpu) => Ok(wgrad::cpu()),
        Some(Kind::Gpu) => DeviceOptions::gpu().open(),
        None => Ok(wgrad::default_device()),
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    if let Some(Command::Kernels { out }) = arguments.command {
        return kernels::write(&out);
    }
    let device = open(arguments.device)?;
    eprintln!("on {}", device.name());
    let mut bench = Bench::new(device);
    bench.profile = arguments.profile;
    bench.wake()?;
    if arguments.cases == ["mem"] {
        memory::run(&bench);
    } else {
        cases::run(&bench, &arguments.cases);
    }
    Ok(())
}
