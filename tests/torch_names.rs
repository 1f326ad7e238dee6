//! The guide to torch's names says what there is: `docs/guide/torch-names.md` is made of `torch_names.txt`, in which
//! every public operation stands.
//!
//! `WGRAD_UPDATE_DOCS=1 cargo test --test torch_names` writes the guide.

#[path = "golden/scan.rs"]
#[allow(dead_code)]
mod scan;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

const TABLE: &str = include_str!("torch_names.txt");
/// Layers; that each of them is here tests `golden/layers.rs`.
const LAYERS: &str = include_str!("layer_names.txt");

/// For tests alone.
const HIDDEN: &str = "linear_cross_entropy_by";

/// What is no operation of a tensor, and what is not there.
const BESIDE: &str = "\
## Beside tensors

| torch | wgrad |
|---|---|
| `torch.manual_seed`, `torch.get_rng_state`, `torch.set_rng_state` | `Device::{seed, random_state, set_random_state}` |
| `torch.Generator` | `Generator` |
| `torch.finfo`, `torch.iinfo`, `torch.can_cast`, `torch.promote_types` | `DType::{finfo, iinfo, can_cast, promote}` |
| `torch.result_type` | `result_type` |
| `torch.no_grad`, `torch.enable_grad` | `no_grad`, `autograd::with_grad` |
| `torch.autograd.grad(y, inputs)`, with `grad_outputs` | `autograd::{grad, grad_with}` |
| `torch.autograd.functional.{vjp, jvp, jacobian, hessian, hvp}` | `autograd::{vjp, jvp, jacobian, hessian, hvp}` |
| `torch.autograd.{gradcheck, gradgradcheck, detect_anomaly}` | `autograd::{gradcheck, gradgradcheck, detect_anomaly}` |
| `torch.Tensor.register_hook` | `Tensor::register_hook` |
| `torch.utils.checkpoint.checkpoint` | `autograd::checkpoint` |
| `torch.autograd.Function`, `torch.library.custom_op` | `Tensor::custom` |

## Modules

| torch | wgrad |
|---|---|
| `class Net(torch.nn.Module)` | `#[derive(Module)] struct Net`, and `impl Forward for Net` |
| `print(model)` | `print!` of `model.tree()` |
| `Module.{parameters, named_parameters, buffers, named_buffers}` | `Module::{parameters, named_parameters, buffers, named_buffers}` |
| `Module.{named_modules, state_dict, load_state_dict, train, eval, zero_grad}` | `Module::{named_modules, state_dict, load_state_dict, train, eval, zero_grad}` |
| `Module.{requires_grad_, to(device), to(dtype)}` | `Module::{set_requires_grad, to_device, to_dtype}` |
| `Module.{register_forward_pre_hook, register_forward_hook}` | `nn::hooks::{before, after}` |
| `torchinfo.summary` | `nn::summary` |
| `torch.nn.init.NAME_` | `init::NAME`, a new tensor |
| `torch.nn.LazyConv2d`, ... | none: sizes are given |
| `torch.nn.{SyncBatchNorm, DataParallel}` | none |
| `torch.nn.{FractionalMaxPool2d, Fold, Unfold, CrossMapLRN2d, AdaptiveLogSoftmaxWithLoss}` | none |
| `torch.nn.Softmax2d` | `nn::Softmax { dim: -3 }` |
| `torch.nn.{UpsamplingNearest2d, UpsamplingBilinear2d}` | `nn::Upsample` |

## Not there

Operations in place (a tensor's value never changes; the forms that give a new tensor are there), complex numbers, sparse and
quantised tensors, factorisations and solvers (`torch.linalg.{qr, svd, inv, solve, ...}`), FFT, fractional pooling, `torch.vmap`, forward-mode differentiation other than `jvp`.
";

/// Torch's names and wgrad's.
fn names(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let pair = |line: &'static str| line.rsplit_once(" = ").expect("torch's name = wgrad's");
    table.lines().map(pair)
}

#[test]
fn every_public_operation_has_torchs_name() {
    let mut public = scan::operations();
    public.remove(HIDDEN);
    let known: BTreeSet<String> = names(TABLE).map(|(_, ours)| ours.to_string()).collect();
    let gone: Vec<_> = known.difference(&public).collect();
    assert!(gone.is_empty(), "in the table, but not public: {gone:?}");
    let missing: Vec<_> = public.difference(&known).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
}

#[test]
fn the_guide_is_the_table() {
    let mut text = String::from(
        "# Torch's names\n\n\
         What an operation of PyTorch is called here. Most have torch's name and are methods of `Tensor`; an\n\
         argument `dim` that torch takes or leaves is a method of its own, since Rust has no optional arguments. Where\n\
         the meaning differs: [differences.md](differences.md).\n\n\
         (Made of `tests/torch_names.txt` by `WGRAD_UPDATE_DOCS=1 cargo test --test torch_names`.)\n\n\
         ## Under another name\n\n| torch | wgrad |\n|---|---|\n",
    );
    let (same, others): (Vec<_>, Vec<_>) =
        names(TABLE).partition(|(torch, ours)| parts(torch).1 == *ours);
    for (torch, ours) in others {
        let _ = writeln!(text, "| `{torch}` | `{ours}` |");
    }
    text.push_str("\n## Under the same name\n\n");
    for folder in [
        "torch",
        "torch.Tensor",
        "torch.nn.functional",
        "torch.special",
        "torch.linalg",
    ] {
        let mut list: Vec<&str> = same
            .iter()
            .filter(|(torch, _)| parts(torch).0 == folder)
            .map(|&(_, ours)| ours)
            .collect();
        list.sort_unstable();
        if !list.is_empty() {
            let _ = writeln!(text, "Of `{folder}`: `{}`.\n", list.join("`, `"));
        }
    }
    text.push_str("## Layers\n\nLayers are in `wgrad::nn`.\n\n| torch | wgrad |\n|---|---|\n");
    let (same, others): (Vec<_>, Vec<_>) =
        names(LAYERS).partition(|(torch, ours)| parts(torch).1 == *ours);
    for (torch, ours) in others {
        let _ = writeln!(text, "| `{torch}` | `{ours}` |");
    }
    let same: Vec<&str> = same.into_iter().map(|(_, ours)| ours).collect();
    let _ = writeln!(text, "\nOf `torch.nn`: `{}`.\n", same.join("`, `"));
    text.push_str(BESIDE);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/torch-names.md");
    let text = format!("{}\n", text.trim_end());
    if std::env::var("WGRAD_UPDATE_DOCS").is_ok_and(|v| v == "1") {
        std::fs::write(&path, &text).expect("the guide is written");
    }
    let guide = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        guide == text,
        "the guide is not up to date: WGRAD_UPDATE_DOCS=1 writes it"
    );
}

/// A name's folder, and what it is called there.
fn parts(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}
