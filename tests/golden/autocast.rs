//! The types of results inside of `autocast`, for every operation: those that torch has on a GPU
//! (`golden/autocast.py`).

use std::collections::BTreeSet;

use serde_json::Value;
use wgrad::prelude::*;

use super::manifest::{Args, Manifest};
use super::{DOMAINS, LAYERS};
use crate::devices;

/// Where wgrad's types are others.
fn differs(op: &str) -> bool {
    match op {
        // Called with a type in torch, which decides there.
        "prod" | "prod_dims" | "cumsum" | "cumprod" => true,
        // A tensor without dimensions does not promote the other.
        "atan2" => true,
        // torch's identity, which is no product.
        "matrix_power" => true,
        // What the golden cases compose for it in torch: no sums there, and one there is none of here.
        "hinge_loss" | "embedding_bag" => true,
        // Other ways for one channel, for all dimensions, and for no areas.
        "local_response_norm" | "weight_norm" | "trapezoid" => true,
        _ => false,
    }
}

#[test]
fn types_inside_of_autocast() {
    let lines = include_str!("autocast.jsonl").lines();
    let lines: Vec<Value> = lines
        .map(|l| serde_json::from_str(l).expect("a line"))
        .collect();
    for dev in devices::all() {
        let (mut checked, mut faults) = (0, BTreeSet::new());
        for domain in DOMAINS {
            let manifest = Manifest::new(domain.name, domain.lines, domain.tensors);
            for line in lines.iter().filter(|line| line["domain"] == domain.name) {
                let of = manifest.cases.iter().filter(|case| line["op"] == *case.op);
                let nth = line["case"].as_u64().expect("a number") as usize - 1;
                let case = of
                    .into_iter()
                    .nth(nth)
                    .expect("a case; autocast.py must run again");
                let args = Args::new(case, &dev);
                let mut inputs = Vec::new();
                for input in &case.inputs {
                    let mut leaf = manifest.tensor(input.leaf, &dev);
                    if line["narrow"] == true && leaf.dtype().is_ok_and(DType::is_float) {
                        leaf = leaf.to_dtype(DType::F16);
                    }
                    inputs.push(input.of(&leaf));
                }
                let made = wgrad::autocast(DType::F16, || (domain.apply)(&case.op, &inputs, &args));
                let made = made.expect("a known operation");
                let types = made.iter().map(|y| y.dtype());
                let types: Vec<String> = match types.collect::<Result<Vec<DType>>>() {
                    Ok(types) => types.iter().map(ToString::to_string).collect(),
                    // What the device lacks: integers of 64 bits.
                    Err(_) if !dev.is_cpu() => continue,
                    Err(error) => vec![error.to_string()],
                };
                let wanted: Vec<&str> = line["types"]
                    .as_array()
                    .expect("types")
                    .iter()
                    .filter_map(Value::as_str)
                    .collect();
                // Indices are i32 in wgrad.
                let same = types
                    .iter()
                    .zip(&wanted)
                    .all(|(t, w)| t == w || (t.starts_with('i') && w.starts_with('i')));
                checked += 1;
                if (!same || types.len() != wanted.len()) && !differs(&case.op) {
                    let narrow = if line["narrow"] == true {
                        " of f16"
                    } else {
                        ""
                    };
                    faults.insert(format!(
                        "{}{narrow}: {types:?}, torch has {wanted:?}",
                        case.id
                    ));
                }
            }
        }
        assert!(checked > 1000, "{checked} cases");
        let faults: Vec<String> = faults.into_iter().collect();
        assert!(
            faults.is_empty(),
            "{} of {checked} differ on {dev}:\n{}",
            faults.len(),
            faults.join("\n")
        );
    }
    let _ = LAYERS;
}
