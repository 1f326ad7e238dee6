//! That every public layer has golden cases, and torch's name.

use std::collections::BTreeSet;
use std::path::Path;

use super::manifest::Manifest;
use super::{DOMAINS, LAYERS};

/// Layers that hold others, or a function of the user's.
const CONTAINERS: &[&str] = &[
    "Func",
    "ModuleDict",
    "ModuleList",
    "ParameterDict",
    "ParameterList",
    "Sequential",
];

/// Layers of any number of dimensions, which have a name for each.
const RANKED: &[&str] = &[
    "AdaptiveAvgPool",
    "AdaptiveMaxPool",
    "AvgPool",
    "BatchNorm",
    "CircularPad",
    "ConstantPad",
    "Conv",
    "ConvTranspose",
    "InstanceNorm",
    "LpPool",
    "MaxPool",
    "MaxUnpool",
    "ReflectionPad",
    "ReplicationPad",
    "ZeroPad",
];

/// The public layers: types that say which layer of torch they are, or that are a module.
fn public() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/nn/src");
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                // Optimizers and losses are no layers.
                let name = path.file_name().unwrap_or_default();
                if name != "optim" && name != "loss" {
                    folders.push(path);
                }
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a source");
            scan(&text, &mut found);
        }
    }
    for ranked in RANKED {
        assert!(found.remove(*ranked), "{ranked} is no layer");
        found.extend((1..=3).map(|rank| format!("{ranked}{rank}d")));
    }
    // As in torch there is none of one dimension.
    assert!(found.remove("FractionalMaxPool"));
    found.extend((2..=3).map(|rank| format!("FractionalMaxPool{rank}d")));
    found
}

/// Types behind a derivation of `Module`, and rows of macros that are documented with a layer of
/// torch.
fn scan(text: &str, found: &mut BTreeSet<String>) {
    let (mut derives, mut torch) = (false, false);
    for line in text.lines() {
        let words: Vec<&str> = line.split([' ', '<', '{', ';']).collect();
        let row = line.strip_prefix("    ").filter(|row| {
            let end = row.find(|c: char| !c.is_alphanumeric());
            row.starts_with(|c: char| c.is_ascii_uppercase())
                && end.is_some_and(|end| row[end..].starts_with(' '))
        });
        if line.starts_with("#[derive(Module") {
            derives = true;
        } else if line.trim_start().starts_with("///") {
            torch |= line.contains("`torch.nn.");
        } else if let ["pub", "struct", name, ..] = words[..] {
            if derives {
                found.insert(name.to_string());
            }
            (derives, torch) = (false, false);
        } else if let Some(row) = row {
            let end = row.find(' ').unwrap_or(row.len());
            if torch {
                found.insert(row[..end].to_string());
            }
            torch = false;
        } else if !line.starts_with('#') {
            (derives, torch) = (false, false);
        }
    }
}

#[test]
fn every_layer_has_golden_cases_and_torchs_name() {
    let table = include_str!("../layer_names.txt");
    let named = |line: &str| line.rsplit_once(" = ").map(|pair| pair.1.to_string());
    let named: BTreeSet<String> = table.lines().filter_map(named).collect();
    let domain = DOMAINS.iter().find(|domain| domain.name == LAYERS);
    let domain = domain.expect("the domain of layers");
    let manifest = Manifest::new(domain.name, domain.lines, domain.tensors);
    let golden: BTreeSet<String> = manifest.cases.into_iter().map(|case| case.op).collect();
    let containers = CONTAINERS.iter().map(ToString::to_string).collect();

    let missing: Vec<_> = named
        .difference(&(&golden | &containers))
        .cloned()
        .collect();
    assert!(
        missing.is_empty(),
        "layers without golden cases: {missing:?}"
    );
    let unnamed: Vec<_> = golden.difference(&named).collect();
    assert!(unnamed.is_empty(), "not in layer_names.txt: {unnamed:?}");
    let public = public();
    assert!(public.len() > 100, "found {public:?}");
    let unnamed: Vec<_> = public.difference(&named).collect();
    assert!(
        unnamed.is_empty(),
        "public, but not in layer_names.txt: {unnamed:?}"
    );
    let gone: Vec<_> = named
        .difference(&(&public | &containers))
        .cloned()
        .collect();
    assert!(
        gone.is_empty(),
        "in layer_names.txt, but not found: {gone:?}"
    );
}
