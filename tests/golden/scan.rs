//! The public operations of `Tensor`, from the sources of core and from the table of rows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wgrad::backend::MapOp;

/// Public methods of `Tensor` that compute nothing: they make, read, describe and differentiate.
const NO_OPERATION: &[&str] = &[
    "assign",
    "backward",
    "backward_with",
    "backward_with_options",
    "buffer",
    "checked",
    "custom",
    "detach",
    "device",
    "dims",
    "dtype",
    "error",
    "from_slice",
    "from_vec",
    "grad",
    "graph_dot",
    "is_contiguous",
    "is_same",
    "item",
    "item_async",
    "needs_grad",
    "new",
    "numel",
    "rank",
    "register_hook",
    "requires_grad",
    "scalar",
    "set_grad",
    "set_requires_grad",
    "shape",
    "to_bytes",
    "to_device",
    "to_vec",
    "to_vec_async",
    "update_grad",
    "zero_grad",
    // The row behind polygamma.
    "zeta",
];

/// Operations that draw random numbers (tests/distributions.rs).
#[allow(dead_code)] // not in every test that includes this
pub const RANDOM: &[&str] = &[
    "bernoulli",
    "bernoulli_of",
    "exponential",
    "multinomial",
    "normal",
    "normal_of",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "trunc_normal",
    "uniform",
];

/// Methods that macros make for one to three dimensions, of which the number is left out.
const FAMILIES: &[&str] = &[
    "adaptive_avg_pool#d",
    "adaptive_max_pool#d",
    "adaptive_max_pool#d_with_indices",
    "avg_pool#d",
    "avg_pool#d_with",
    "conv#d",
    "conv#d_with",
    "conv_transpose#d",
    "conv_transpose#d_with",
    "lp_pool#d",
    "lp_pool#d_with",
    "max_pool#d",
    "max_pool#d_with",
    "max_pool#d_with_indices",
    "max_unpool#d",
    "max_unpool#d_with",
];

/// The names of the public methods in the `impl Tensor` blocks of a file.
fn methods(text: &str, names: &mut BTreeSet<String>) {
    let mut end = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        match end {
            None if line.trim_start() == "impl Tensor {" => end = Some(indent),
            Some(outer) if indent == outer && line.trim() == "}" => end = None,
            Some(_) => {
                let Some(rest) = line.trim_start().strip_prefix("pub fn ") else {
                    continue;
                };
                let name = identifier(rest);
                // A macro's name is in its table.
                if !name.is_empty() {
                    names.insert(name);
                }
            }
            None => {}
        }
    }
}

/// The name at the beginning of a line.
fn identifier(line: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.chars().take_while(|&c| is_part(c)).collect()
}

/// The folder of core's sources.
fn core() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/core/src")
}

/// Each source in a folder.
fn each(folder: &Path, of: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(folder).expect("the sources of core") {
        let path = entry.expect("the sources of core").path();
        match path.extension() {
            None => each(&path, of),
            Some(extension) if extension == "rs" => {
                of(&std::fs::read_to_string(&path).expect("a source"));
            }
            _ => {}
        }
    }
}

/// The names of all operations.
pub fn operations() -> BTreeSet<String> {
    let mut public: BTreeSet<String> = MapOp::ROWS.iter().map(|op| op.name().into()).collect();
    each(&core(), &mut |text| methods(text, &mut public));
    for family in FAMILIES {
        public.extend(["1", "2", "3"].map(|n| family.replace('#', n)));
    }
    for name in NO_OPERATION {
        assert!(public.remove(*name), "{name} is no public method of Tensor");
    }
    public
}

/// The public operations without an example in their documentation that runs and calls them.
#[allow(dead_code)] // not in every test that includes this
pub fn without_example() -> BTreeSet<String> {
    let mut shown = BTreeSet::new();
    each(&core(), &mut |text| shows(text, &mut shown));
    // Families have theirs in the table of their macro.
    let families = FAMILIES
        .iter()
        .flat_map(|f| ["1", "2", "3"].map(|n| f.replace('#', n)));
    let families: Vec<String> = families.collect();
    each(&core(), &mut |text| {
        let called = |name: &&String| text.contains(&format!(".{name}("));
        shown.extend(families.iter().filter(called).cloned());
    });
    let mut without = operations();
    without.retain(|name| !shown.contains(name));
    without
}

/// Adds the names of a file's functions whose documentation calls them in a block that runs. Methods that a macro
/// makes of a row have an example of its own, `example!`.
fn shows(text: &str, shown: &mut BTreeSet<String>) {
    let (mut code, mut runs, mut of_row, mut hidden) = (String::new(), None, false, false);
    for line in text.lines().map(str::trim_start) {
        if let Some(doc) = line.strip_prefix("///") {
            match (doc.trim().strip_prefix("```"), runs) {
                (Some(kind), None) => runs = Some(!kind.contains("ignore") && kind != "text"),
                (Some(_), Some(_)) => runs = None,
                (None, Some(true)) => code.push_str(doc),
                (None, _) => {}
            }
            continue;
        }
        if line.starts_with("#[") {
            of_row |= line.starts_with("#[doc = example!(");
            hidden |= line.starts_with("#[doc(hidden)]");
            continue;
        }
        match line.strip_prefix("pub fn ") {
            Some(rest) if rest.starts_with('$') && of_row => {
                shown.extend(MapOp::ROWS.iter().map(|op| op.name().to_string()));
            }
            Some(rest) => {
                let name = identifier(rest);
                let called = |before| code.contains(&format!("{before}{name}("));
                if hidden || called('.') || called(':') {
                    shown.insert(name);
                }
            }
            None => {}
        }
        (code, runs, of_row, hidden) = (String::new(), None, false, false);
    }
}
