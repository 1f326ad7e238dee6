//! Every operation against PyTorch's values: results, types, shapes, first and second derivatives, of operands in
//! every form, on every device, fused and unfused.
//!
//! `golden/generate.py` makes the files, `golden/cases.py` describes them. A domain has a module beside its files,
//! which maps an operation's name to its call. `WGRAD_GOLDEN=atan2` or `=order` walks one operation or domain.
//! A GPU walks a sample, since each form is a kernel to compile: another one each time, by `WGRAD_GOLDEN_SEED`
//! (printed); with `WGRAD_GOLDEN_ALL=1` all. `golden/autocast.rs` has the types inside of `autocast`.

mod devices;

#[path = "golden/attention.rs"]
mod attention;
#[path = "golden/autocast.rs"]
mod autocast;
#[path = "golden/check.rs"]
mod check;
#[path = "golden/convolution.rs"]
mod convolution;
#[path = "golden/creation.rs"]
mod creation;
#[path = "golden/differences.rs"]
mod differences;
#[path = "golden/elementwise.rs"]
mod elementwise;
#[path = "golden/index.rs"]
mod index;
#[path = "golden/layers.rs"]
mod layers;
#[path = "golden/losses.rs"]
mod losses;
#[path = "golden/manifest.rs"]
mod manifest;
#[path = "golden/normalisation.rs"]
mod normalisation;
#[path = "golden/objectives.rs"]
mod objectives;
#[path = "golden/order.rs"]
mod order;
#[path = "golden/pictures.rs"]
mod pictures;
#[path = "golden/pooling.rs"]
mod pooling;
#[path = "golden/products.rs"]
mod products;
#[path = "golden/public.rs"]
mod public;
#[path = "golden/public_layers.rs"]
mod public_layers;
#[path = "golden/recurrence.rs"]
mod recurrence;
#[path = "golden/reductions.rs"]
mod reductions;
#[path = "golden/scan.rs"]
mod scan;
#[path = "golden/sequence_layers.rs"]
mod sequence_layers;
#[path = "golden/shape.rs"]
mod shape;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use manifest::{Args, Case, Manifest};
use wgrad::prelude::*;

type Apply = fn(&str, &[Tensor], &Args<'_>) -> Option<Vec<Tensor>>;

/// A domain: its name, its files, its calls.
struct Domain {
    name: &'static str,
    lines: &'static str,
    tensors: &'static [u8],
    apply: Apply,
}

macro_rules! domains {
    ($($name:ident),*) => {
        const DOMAINS: &[Domain] = &[$(Domain {
            name: stringify!($name),
            lines: include_str!(concat!("golden/", stringify!($name), ".jsonl")),
            tensors: include_bytes!(concat!("golden/", stringify!($name), ".safetensors")),
            apply: $name::apply,
        }),*];
    };
}
domains!(
    attention,
    recurrence,
    elementwise,
    reductions,
    order,
    index,
    layers,
    shape,
    products,
    convolution,
    pooling,
    creation,
    losses,
    normalisation,
    objectives,
    pictures
);

/// The domain whose cases are of layers, not of operations.
const LAYERS: &str = "layers";

/// How many cases are recorded before they run: those of one run share plans and waits.
const BATCH: usize = 64;
/// How many cases of an operation a GPU walks.
const SAMPLE: usize = 6;

/// What is known of an operation after a walk.
#[derive(Default)]
struct Tally {
    cases: usize,
    skipped: usize,
    /// The largest error, as a part of what is tolerated.
    worst: f64,
    faults: Vec<String>,
}

#[test]
fn on_the_cpu() {
    walk(&DeviceOptions::cpu());
}

#[test]
fn on_the_cpu_unfused() {
    walk(&DeviceOptions::cpu().fusion(false));
}

#[test]
fn on_the_gpu() {
    walk(&DeviceOptions::gpu());
}

#[test]
fn on_the_gpu_unfused() {
    walk(&DeviceOptions::gpu().fusion(false));
}

fn walk(options: &DeviceOptions) {
    let Some(dev) = devices::open_gpu(options.clone().poison(true)) else {
        return;
    };
    let only = std::env::var("WGRAD_GOLDEN").unwrap_or_default();
    let seed = seed().filter(|_| !dev.is_cpu());
    if let Some(seed) = seed {
        println!("WGRAD_GOLDEN_SEED={seed}");
    }
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for domain in DOMAINS {
        let manifest = Manifest::new(domain.name, domain.lines, domain.tensors);
        let wanted = |case: &&Case| {
            only.is_empty() || only == domain.name || only == case.op || case.id.starts_with(&only)
        };
        let cases: Vec<&Case> = manifest.cases.iter().filter(wanted).collect();
        let cases = match seed {
            Some(seed) => sample(cases, seed),
            None => cases,
        };
        for batch in cases.chunks(BATCH) {
            walk_batch(&dev, domain, &manifest, batch, &mut tallies);
        }
    }
    let fusion = if dev.fusion() { "" } else { ", unfused" };
    println!("{dev}{fusion}: cases, worst error as a part of what is tolerated");
    for (op, tally) in &tallies {
        let skipped = match tally.skipped {
            0 => String::new(),
            n => format!(" ({n} skipped: types that the device lacks)"),
        };
        println!("{op:24} {:5} {:9.3}{skipped}", tally.cases, tally.worst);
    }
    let total: usize = tallies.values().map(|t| t.cases).sum();
    println!("{} operations, {total} cases", tallies.len());
    assert!(total > 0, "no cases");
    let faults: Vec<&String> = tallies.values().flat_map(|t| &t.faults).collect();
    let shown: Vec<&str> = faults.iter().take(200).map(|f| f.as_str()).collect();
    assert!(
        faults.is_empty(),
        "{} cases differ on {dev}{fusion}:\n{}",
        faults.len(),
        shown.join("\n")
    );
}

/// What chooses the sample of a GPU; `None` for all cases.
fn seed() -> Option<u64> {
    if std::env::var("WGRAD_GOLDEN_ALL").is_ok_and(|v| v == "1") {
        return None;
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let given = std::env::var("WGRAD_GOLDEN_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok());
    Some(seed.unwrap_or(clock.map_or(0, |t| t.as_secs())))
}

/// Some cases of each operation, chosen by a seed.
fn sample(cases: Vec<&Case>, seed: u64) -> Vec<&Case> {
    let mut by_op: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in cases {
        by_op.entry(&case.op).or_default().push(case);
    }
    let mut chosen = Vec::new();
    for (which, (_, mut of)) in by_op.into_iter().enumerate() {
        let mut state = seed.wrapping_add(which as u64);
        for _ in 0..SAMPLE.min(of.len()) {
            // Knuth's MMIX generator; the upper bits are the good ones.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            chosen.push(of.swap_remove((state >> 33) as usize % of.len()));
        }
    }
    chosen
}

/// Records cases, runs them together, and compares. Where the run fails, each case runs alone.
fn walk_batch(
    dev: &Device,
    domain: &Domain,
    manifest: &Manifest<'_>,
    batch: &[&Case],
    tallies: &mut BTreeMap<String, Tally>,
) {
    let recorded: Vec<_> = batch
        .iter()
        .map(|case| check::record(case, manifest, domain.apply, dev))
        .collect();
    if batch.len() > 1 && dev.synchronize().is_err() {
        drop(recorded);
        for case in batch {
            walk_batch(dev, domain, manifest, &[case], tallies);
        }
        return;
    }
    for (case, recorded) in batch.iter().zip(recorded) {
        let tally = tallies.entry(case.op.clone()).or_default();
        match recorded.and_then(|recorded| match recorded {
            Some(recorded) => check::compare(case, manifest, &recorded).map(Some),
            None => Ok(None),
        }) {
            Ok(Some(worst)) => {
                tally.cases += 1;
                tally.worst = tally.worst.max(worst);
            }
            Ok(None) => tally.skipped += 1,
            Err(fault) => {
                tally.cases += 1;
                tally.faults.push(format!("{}: {fault}", case.id));
            }
        }
    }
}
