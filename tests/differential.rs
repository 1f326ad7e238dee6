//! A differential fuzzer: random programs on random types, numbers and layouts, by wgrad on every
//! device, fused and unfused, and by a plain interpreter that shares nothing with it.
//!
//! `WGRAD_FUZZ_SEED` fixes the programs, `WGRAD_FUZZ_CASES` their number (default 2,000). Every
//! case runs on the CPU; every fourth number again, with a program of its own, on the GPU, whose
//! kernels have to be compiled. A disagreement is shrunk and printed; after `WGRAD_FUZZ_KINDS` different
//! ones (default 20) the test stops.

mod devices;
#[path = "differential"]
mod differential {
    pub mod array;
    pub mod generate;
    pub mod interpret;
    pub mod movement;
    pub mod number;
    pub mod program;
    pub mod random;
    pub mod reverse;
    pub mod rows;
    pub mod shrink;
    pub mod sums;
}

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use differential::array::{Array, Fault};
use differential::generate;
use differential::interpret::interpret;
use differential::number::Rules;
use differential::program::Program;
use differential::{reverse, shrink};
use wgrad::{Device, DeviceOptions};

/// Elements compared, and all that there were.
#[derive(Clone, Copy, Default)]
struct Count {
    compared: usize,
    all: usize,
}

fn compare_arrays(
    what: &str,
    got: &Array,
    want: &Array,
    rules: Rules,
    count: &mut Count,
) -> Result<(), String> {
    if (got.dtype, &got.shape) != (want.dtype, &want.shape) {
        return Err(format!("{what}: got {got}\n    expected {want}"));
    }
    for (i, (g, w)) in got.data.iter().zip(&want.data).enumerate() {
        let w = w.stored(want.dtype, rules);
        count.all += 1;
        match w.agrees(*g) {
            None => {}
            Some(true) => count.compared += 1,
            Some(false) => {
                return Err(format!(
                    "{what}, element {i}: got {g}, expected {w}\n    got {got}\n    expected {want}"
                ));
            }
        }
    }
    Ok(())
}

/// Runs the program on the device and compares all that is read.
fn check(program: &Program, dev: &Device, rules: Rules, count: &mut Count) -> Result<(), String> {
    let values = interpret(rules, program);
    let outcome =
        catch_unwind(AssertUnwindSafe(|| program.run(dev))).map_err(|_| "a panic".to_string())?;
    for (&i, got) in program.reads.iter().zip(&outcome.values) {
        match (&values[i], got) {
            (Err(Fault::Unspecified), _) => {}
            (Err(Fault::Refused), Err(_)) => {}
            (Err(Fault::Refused), Ok(got)) => {
                return Err(format!("v{i}: got {got}, expected a failed tensor"));
            }
            (Ok(want), Err(error)) => {
                return Err(format!("v{i}: got the error: {error}\n    expected {want}"));
            }
            (Ok(want), Ok(got)) => compare_arrays(&format!("v{i}"), got, want, rules, count)?,
        }
    }
    let Some((root, seed)) = &program.backward else {
        return Ok(());
    };
    let Ok(wanted) = reverse::backward(rules, program, &values, *root, seed) else {
        return Ok(());
    };
    for (i, got) in &outcome.grads {
        match (&wanted[*i], got) {
            (None, _) => {}
            (Some(want), Err(error)) => {
                return Err(format!(
                    "gradient of v{i}: got the error: {error}\n    expected {want}"
                ));
            }
            (Some(want), Ok(got)) => {
                compare_arrays(&format!("gradient of v{i}"), got, want, rules, count)?
            }
        }
    }
    Ok(())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

/// Ends the process where one case takes a minute: a hang is a failure too.
fn watch(current: &'static AtomicU64) {
    std::thread::spawn(move || {
        loop {
            let before = current.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_secs(60));
            if before == current.load(Ordering::Relaxed) {
                eprintln!("WGRAD_FUZZ_SEED={before} WGRAD_FUZZ_CASES=1: no end after a minute");
                std::process::abort();
            }
        }
    });
}

#[test]
fn random_programs_mean_the_same() {
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |t| t.as_secs());
    let (first, cases) = (
        number("WGRAD_FUZZ_SEED", clock),
        number("WGRAD_FUZZ_CASES", 2000),
    );
    println!("WGRAD_FUZZ_SEED={first} WGRAD_FUZZ_CASES={cases}");
    let kinds = number("WGRAD_FUZZ_KINDS", 20);
    let cpu = Rules {
        wide: true,
        shader: false,
    };
    let gpu = Rules {
        wide: false,
        shader: true,
    };
    let mut targets: Vec<(Device, Rules, u64)> = Vec::new();
    for fusion in [true, false] {
        let open = |options: DeviceOptions| options.fusion(fusion).poison(true);
        targets.push((
            open(DeviceOptions::cpu()).open().expect("the CPU opens"),
            cpu,
            1,
        ));
        targets.extend(devices::open_gpu(open(DeviceOptions::gpu())).map(|dev| (dev, gpu, 4)));
    }
    static CURRENT: AtomicU64 = AtomicU64::new(u64::MAX);
    watch(&CURRENT);
    let mut counts = vec![Count::default(); targets.len()];
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for case in 0..cases {
        let seed = first.wrapping_add(case);
        CURRENT.store(seed, Ordering::Relaxed);
        for ((dev, rules, every), count) in targets.iter().zip(&mut counts) {
            if seed % every != 0 {
                continue;
            }
            let program = generate::program(seed, *rules);
            let Err(_) = check(&program, dev, *rules, count) else {
                continue;
            };
            let fails = |p: &Program| check(p, dev, *rules, &mut Count::default()).err();
            let (program, problem) = shrink::shrink(&program, *rules, &fails);
            let kind = format!("{} {}", dev.is_cpu(), program.kind());
            let report = format!(
                "seed {seed} on {dev}, fusion {}\n{program}    {problem}\n",
                if dev.fusion() { "on" } else { "off" }
            );
            found.entry(kind).or_insert(report);
        }
        if found.len() as u64 >= kinds {
            break;
        }
    }
    for ((dev, ..), count) in targets.iter().zip(&counts) {
        let share = 100.0 * count.compared as f64 / count.all.max(1) as f64;
        println!(
            "{dev}, fusion {}: {share:.1} % of {} elements compared",
            dev.fusion(),
            count.all
        );
        assert!(
            count.all < 10_000 || share > 70.0,
            "too little is known to be worth a test"
        );
    }
    for report in found.values() {
        println!("{report}");
    }
    assert!(found.is_empty(), "{} kinds of disagreement", found.len());
}
