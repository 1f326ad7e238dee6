//! Every representative kernel, through naga's validator and its SPIR-V, MSL and HLSL writers.

mod harness;

use harness::*;
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use wgrad_wgpu_backend::{KernelSet, MatmulChoice, WgpuOptions};

fn validate(label: &str, text: &str) {
    let fail =
        |stage: &str, problem: String| -> ! { panic!("{label}, {stage}: {problem}\n{text}") };
    let module = naga::front::wgsl::parse_str(text)
        .unwrap_or_else(|e| fail("parsing", e.emit_to_string(text)));
    let info = Validator::new(
        ValidationFlags::all(),
        Capabilities::IMMEDIATES
            | Capabilities::SHADER_FLOAT16_IN_FLOAT32
            | Capabilities::SHADER_INT64
            | Capabilities::SUBGROUP,
    )
    .validate(&module)
    .unwrap_or_else(|e| fail("validation", format!("{e:?}")));
    let options = spv::Options {
        fake_missing_bindings: true,
        ..spv::Options::default()
    };
    spv::write_vec(&module, &info, &options, None)
        .unwrap_or_else(|e| fail("SPIR-V", e.to_string()));
    let options = msl::Options {
        lang_version: (2, 4),
        fake_missing_bindings: true,
        ..msl::Options::default()
    };
    msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
        .unwrap_or_else(|e| fail("MSL", e.to_string()));
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        immediates_target: Some(hlsl::BindTarget {
            register: 9,
            ..hlsl::BindTarget::default()
        }),
        special_constants_binding: Some(hlsl::BindTarget {
            register: 8,
            ..hlsl::BindTarget::default()
        }),
        ..hlsl::Options::default()
    };
    let pipeline = hlsl::PipelineOptions::default();
    let mut out = String::new();
    hlsl::Writer::new(&mut out, &options, &pipeline)
        .write(&module, &info, None)
        .unwrap_or_else(|e| fail("HLSL", e.to_string()));
}

#[test]
fn all_variants_pass_every_writer() {
    let mut seen = std::collections::BTreeSet::new();
    for kernels in [KernelSet::Software, KernelSet::Hardware] {
        for matmul in [
            MatmulChoice::Auto,
            MatmulChoice::Registers,
            MatmulChoice::Lanes,
            MatmulChoice::Tile64,
            MatmulChoice::Tile128,
            MatmulChoice::SplitK,
            MatmulChoice::Dot,
        ] {
            let options = WgpuOptions {
                kernels,
                matmul,
                ..families()[0].clone()
            };
            let Some(gpu) = open(&options) else { return };
            for (label, text) in gpu.variants().unwrap() {
                if seen.insert(text.clone()) {
                    validate(&label, &text);
                }
            }
        }
    }
    assert!(seen.len() > 60, "{}", seen.len());
}

/// How often `what` is called in the kernel's entry point.
fn calls(text: &str, what: &str) -> usize {
    let main = text.find("fn main(").expect("an entry point");
    text[main..].matches(what).count()
}

/// Memory is what these kernels cost: an element is read once and written once.
#[test]
fn optimizers_and_cross_entropy_touch_each_element_once() {
    let Some(gpu) = open(&families()[1]) else {
        return;
    };
    let (mut adams, mut rows) = (0, 0);
    for (label, text) in gpu.variants().unwrap() {
        // In place: parameter, gradient and both moments are read, all but the gradient written.
        if label == "adam" && calls(&text, "load4_param(") == 1 && !text.contains("vmax") {
            adams += 1;
            assert_eq!(calls(&text, "load4_"), 4, "{text}");
            assert_eq!(calls(&text, "store4_"), 3, "{text}");
            // What decides on a step is one number.
            let decided = usize::from(text.contains("fn load_control("));
            assert_eq!(calls(&text, "load_"), decided, "{text}");
            assert_eq!(calls(&text, "store_"), 0, "{text}");
        }
        // Rows that fit registers, so many vectors in each thread.
        let head = text.lines().next().unwrap_or_default();
        if head.contains("cross_entropy.wgsl") && head.contains(", form registers") {
            rows += 1;
            let (_, count) = head.split_once(", count ").unwrap();
            let vectors: usize = count.split_once(',').unwrap().0.parse().unwrap();
            assert_eq!(calls(&text, "logits4("), vectors, "{text}");
            assert_eq!(calls(&text, "put_grad("), vectors, "{text}");
            // The first element and the target's, for the whole row.
            assert_eq!(calls(&text, "logit("), 2, "{text}");
        }
    }
    assert!(adams > 0 && rows > 2, "{adams} and {rows} kernels");
}

/// One text of each form of the kernels that are made of generated programs, so that a change is read as
/// the diff of a shader. `cargo insta review`, or `INSTA_UPDATE=always`, takes new ones.
#[test]
fn forms_of_kernels_of_rows() {
    for (options, forms) in families()
        .iter()
        .zip([&["thread"][..], &["registers", "long"]])
    {
        let Some(gpu) = open(options) else { return };
        let variants = gpu.variants().unwrap();
        for form in forms {
            let is = |head: &str| {
                head.starts_with("// rows") && head.contains(&format!(", form {form}"))
            };
            let mut found = variants.iter().map(|(_, text)| text);
            let text = found.find(|text| text.lines().next().is_some_and(is));
            insta::assert_snapshot!(format!("rows_{form}"), text.expect("one of each form"));
        }
    }
}
