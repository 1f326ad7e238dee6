//! The public operations of `Tensor`, from the sources of core and from the table of rows.

use std::collections::BTreeSet;
use std::path::Path;

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
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                let name: String = rest.chars().take_while(|&c| is_part(c)).collect();
                // A macro's name is in its table.
                if !name.is_empty() {
                    names.insert(name);
                }
            }
            None => {}
        }
    }
}

fn scan(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources of core") {
        let path = entry.expect("the sources of core").path();
        match path.extension() {
            None => scan(&path, names),
            Some(extension) if extension == "rs" => {
                methods(&std::fs::read_to_string(&path).expect("a source"), names);
            }
            _ => {}
        }
    }
}

/// The names of all operations.
pub fn operations() -> BTreeSet<String> {
    let mut public: BTreeSet<String> = MapOp::ROWS.iter().map(|op| op.name().into()).collect();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/core/src");
    scan(&sources, &mut public);
    for family in FAMILIES {
        public.extend(["1", "2", "3"].map(|n| family.replace('#', n)));
    }
    for name in NO_OPERATION {
        assert!(public.remove(*name), "{name} is no public method of Tensor");
    }
    public
}
