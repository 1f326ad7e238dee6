//! That every public operation has golden cases, and an example that runs.

use std::collections::BTreeSet;

use super::manifest::Manifest;
use super::{DOMAINS, LAYERS, scan};

#[test]
fn every_public_operation_has_golden_cases() {
    let mut public = scan::operations();
    for name in scan::RANDOM {
        assert!(public.remove(*name), "{name} is no public method of Tensor");
    }
    let mut golden = BTreeSet::new();
    for domain in DOMAINS.iter().filter(|domain| domain.name != LAYERS) {
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

#[test]
fn every_public_operation_has_an_example() {
    let without = scan::without_example();
    assert!(
        without.is_empty(),
        "no block of their documentation that runs calls them: {without:?}"
    );
}
