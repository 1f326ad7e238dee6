//! That every public operation has golden cases, and an example that runs.

use std::collections::BTreeSet;
use std::path::Path;

use super::manifest::Manifest;
use super::{DOMAINS, LAYERS, scan};

#[test]
fn every_public_operation_has_golden_cases() {
    let mut public = scan::operations();
    for name in scan::RANDOM {
        assert!(public.remove(*name), "{name} is no public method of Tensor");
    }
    let mut golden = BTreeSet::new();
    let tensors = |name: &str| name != LOSSES && name != LAYERS;
    for domain in DOMAINS.iter().filter(|domain| tensors(domain.name)) {
        let manifest = Manifest::new(domain.name, domain.lines, domain.tensors);
        golden.extend(manifest.cases.into_iter().map(|case| case.op));
    }
    let unknown: Vec<_> = golden.difference(&public).collect();
    assert!(unknown.is_empty(), "golden, but not public: {unknown:?}");
    let missing: Vec<_> = public.difference(&golden).collect();
    assert!(
        missing.is_empty(),
        "operations without golden cases: {missing:?}"
    );
}

/// The domain of functions that are no methods of `Tensor`.
const LOSSES: &str = "objectives";

/// Sums of the parameters' absolute values and squares, which their examples check.
const PENALTIES: [&str; 3] = ["l1_penalty", "l2_penalty", "elastic_net_penalty"];

#[test]
fn every_loss_has_golden_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/nn/src/loss");
    let mut public = BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("the folder of losses") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("a text");
        for line in text.lines().filter_map(|line| line.strip_prefix("pub fn ")) {
            let name = line.split('(').next().unwrap_or_default();
            public.insert(name.trim_end_matches("_with").to_string());
        }
    }
    // The logits' own name ends like that of options.
    assert!(public.remove("binary_cross_entropy_with_logits"));
    for name in PENALTIES {
        assert!(public.remove(name), "{name} is no loss");
    }
    let domain = DOMAINS.iter().find(|domain| domain.name == LOSSES);
    let domain = domain.expect("the domain of losses");
    let manifest = Manifest::new(domain.name, domain.lines, domain.tensors);
    let mut golden: BTreeSet<String> = manifest.cases.into_iter().map(|case| case.op).collect();
    assert!(golden.remove("binary_cross_entropy_with_logits"));
    assert_eq!(public, golden);
}

#[test]
fn every_public_operation_has_an_example() {
    let without = scan::without_example();
    assert!(
        without.is_empty(),
        "no block of their documentation that runs calls them: {without:?}"
    );
}
