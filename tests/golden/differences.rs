//! Derivatives of every operation against finite differences, in `f64`: of the golden cases' operands and arguments,
//! as far as the operands are points where an operation has a derivative.

use std::collections::BTreeMap;

use wgrad::autograd::{gradcheck, gradgradcheck};
use wgrad::prelude::*;

use super::manifest::{Args, Case, Manifest};
use super::{DOMAINS, Domain, LAYERS};

/// Cases of an operation, and elements of a case, at most: each element is moved twice.
const CASES: usize = 3;
const ELEMENTS: usize = 130;

/// Operations whose result moves in steps.
fn is_rough(op: &str) -> bool {
    matches!(op, "to_dtype")
}

/// Whether an operand has no derivative, as in torch: class weights, running statistics.
fn is_constant(case: &Case, operand: usize) -> bool {
    match case.op.as_str() {
        // Of probabilities the second operand has one.
        "cross_entropy_with" | "nll_loss_with" => operand > 1,
        "batch_norm" | "instance_norm" => case.has("running") && matches!(operand, 1 | 2),
        op if op.starts_with("fractional_max_pool") => operand == 1,
        op => super::objectives::is_constant(op, operand),
    }
}

/// The float leaves of a case as `f64`, if the case is fit: few elements, all apart from one another and from where
/// functions have kinks.
fn leaves(case: &Case, manifest: &Manifest<'_>, dev: &Device) -> Option<Vec<Tensor>> {
    let mut values: Vec<f64> = Vec::new();
    let mut leaves = Vec::new();
    for (i, input) in case.inputs.iter().enumerate() {
        let dtype = manifest.dtype(input.leaf);
        if !dtype.is_float() || is_constant(case, i) {
            continue;
        }
        // 16-bit numbers lie on a grid, where others tie with them.
        if dtype != DType::F32 && dtype != DType::F64 {
            return None;
        }
        let leaf = manifest.tensor(input.leaf, dev).to_dtype(DType::F64);
        values.extend(leaf.to_vec::<f64>().ok()?);
        leaves.push(leaf);
    }
    values.sort_by(f64::total_cmp);
    let apart = values.windows(2).all(|pair| pair[1] - pair[0] > 1e-5);
    let smooth = |x: &f64| x.abs() < 1000.0 && ((x * 4.0).round() / 4.0 - x).abs() > 1e-5;
    let fit = !values.is_empty() && values.len() <= ELEMENTS && apart && values.iter().all(smooth);
    fit.then_some(leaves)
}

/// The weighted sum of all results that have a derivative.
fn total(domain: &Domain, case: &Case, manifest: &Manifest<'_>, x: &[Tensor]) -> Tensor {
    let dev = x[0].device();
    let mut floats = x.iter();
    let operand = |(i, input): (usize, &super::manifest::Input)| {
        let own = manifest.tensor(input.leaf, dev);
        match manifest.dtype(input.leaf).is_float() {
            true if is_constant(case, i) => input.of(&own.to_dtype(DType::F64)),
            true => input.of(floats.next().expect("a leaf")),
            false => input.of(&own),
        }
    };
    let operands: Vec<Tensor> = case.inputs.iter().enumerate().map(operand).collect();
    let results =
        (domain.apply)(&case.op, &operands, &Args::new(case, dev)).expect("a known operation");
    let mut sum = Tensor::zeros((), (DType::F64, dev));
    let differs = |i: usize| case.upstream.get(i).is_some_and(Option::is_some);
    for (_, y) in results.into_iter().enumerate().filter(|&(i, _)| differs(i)) {
        if y.dtype().is_ok_and(DType::is_float) {
            let n = y.numel().unwrap_or(0);
            let weights: Vec<f64> = (0..n)
                .map(|i| 0.7 + (i as f64 * 0.381_966).fract())
                .collect();
            let shape = y.shape().unwrap_or_default();
            sum = sum + (y * Tensor::from_vec(weights, shape, dev)).sum();
        } else if let Some(error) = y.error() {
            panic!("{}: {error}", case.id);
        }
    }
    sum
}

#[test]
fn derivatives_are_limits_of_differences() {
    let dev = DeviceOptions::cpu().open().expect("the CPU opens");
    let only = std::env::var("WGRAD_GOLDEN").unwrap_or_default();
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut unchecked: Vec<String> = Vec::new();
    let mut faults = Vec::new();
    // Layers are made of operations.
    for domain in DOMAINS.iter().filter(|domain| domain.name != LAYERS) {
        let manifest = Manifest::new(domain.name, domain.lines, domain.tensors);
        for case in manifest.cases.iter().filter(|case| !case.grads.is_empty()) {
            if !(only.is_empty() || only == domain.name || only == case.op) || is_rough(&case.op) {
                continue;
            }
            let count = counts.entry(case.op.clone()).or_default();
            if count.0 >= CASES {
                continue;
            }
            let Some(leaves) = leaves(case, &manifest, &dev) else {
                continue;
            };
            let f = |x: &[Tensor]| total(domain, case, &manifest, x);
            count.0 += 1;
            if let Err(error) = gradcheck(f, &leaves) {
                faults.push(format!("{}: {error}", case.id));
            }
            if !case.seconds.is_empty() {
                count.1 += 1;
                if let Err(error) = gradgradcheck(f, &leaves) {
                    faults.push(format!("{}, twice: {error}", case.id));
                }
            }
        }
    }
    for (op, (first, second)) in &counts {
        println!("{op:24} {first:3} once {second:3} twice");
        if *first == 0 {
            unchecked.push(op.clone());
        }
    }
    let (first, second) = counts.values().fold((0, 0), |s, c| (s.0 + c.0, s.1 + c.1));
    println!(
        "{} operations, {first} gradients, {second} second derivatives",
        counts.len()
    );
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(
        unchecked.is_empty(),
        "no case is fit for differences of {unchecked:?}"
    );
}
