//! Which instruction set a device uses.

use std::process::Command;

use wgrad_core::Backend;
use wgrad_cpu_backend::{CpuBackend, CpuOptions, InstructionSet};

fn open(instructions: Option<InstructionSet>) -> CpuBackend {
    CpuBackend::new(CpuOptions {
        instructions,
        ..CpuOptions::default()
    })
}

#[test]
fn devices_use_what_they_are_told_to() {
    for set in InstructionSet::ALL {
        assert_eq!(set.name().parse(), Ok(set));
        let cpu = open(Some(set));
        let memory = cpu.allocate(64);
        if set.is_available() {
            assert_eq!(cpu.instructions(), set);
            assert_eq!(cpu.name(), format!("CPU ({set})"));
            assert!(memory.is_ok());
        } else {
            assert_eq!(cpu.name(), "CPU");
            let error = memory.unwrap_err().to_string();
            let best = InstructionSet::best();
            assert!(
                error.contains(&format!("does not have {set}; its best is {best}")),
                "{error}"
            );
        }
    }
    assert!(InstructionSet::Scalar.is_available());
    let error = "sse9".parse::<InstructionSet>().unwrap_err();
    assert!(error.contains("\"sse9\"") && error.contains("scalar") && error.contains("avx512"));
}

/// Says what the environment chose; the next test reads it.
#[test]
fn device_of_the_environment() {
    let cpu = open(None);
    match cpu.allocate(64) {
        Ok(_) => println!("opened {}", cpu.name()),
        Err(error) => println!("refused: {error}"),
    }
}

#[test]
fn the_environment_chooses() {
    let said = |wish: &str| {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "device_of_the_environment", "--nocapture"]);
        let output = test.env("WGRAD_CPU", wish).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let best = format!("opened CPU ({})", InstructionSet::best());
    assert!(said("").contains(&best), "{}", said(""));
    assert!(said("scalar").contains("opened CPU (scalar)"));
    let refused = said("mmx");
    assert!(
        refused.contains("refused: ") && refused.contains("WGRAD_CPU=mmx"),
        "{refused}"
    );
}
