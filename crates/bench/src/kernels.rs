//! Writes generated kernels to files, for other compilers to look at.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use wgrad::Device;
use wgrad_wgpu_backend::{KernelSet, MatmulChoice, WgpuBackend, WgpuOptions};

use crate::cases;
use crate::measure::Bench;

const MATMULS: [(&str, MatmulChoice); 7] = [
    ("auto", MatmulChoice::Auto),
    ("registers", MatmulChoice::Registers),
    ("lanes", MatmulChoice::Lanes),
    ("tile64", MatmulChoice::Tile64),
    ("tile128", MatmulChoice::Tile128),
    ("split", MatmulChoice::SplitK),
    ("dot", MatmulChoice::Dot),
];

/// Writes the kernels of both families: the representative ones of every kind, and those that
/// the bench's own programs compile (once each).
pub fn write(out: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(out)?;
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for (set, kernels) in [
        ("hardware", KernelSet::Hardware),
        ("software", KernelSet::Software),
    ] {
        for (name, matmul) in MATMULS {
            let backend = pollster::block_on(WgpuBackend::open(&WgpuOptions {
                allow_software: true,
                kernels,
                matmul,
                ..WgpuOptions::default()
            }))?;
            for (i, (label, text)) in backend.variants()?.into_iter().enumerate() {
                let file = format!("{set}-{name}-{i:04}-{label}");
                named.entry(text).or_insert(file);
            }
            if matmul == MatmulChoice::Auto {
                cases::run(&Bench::once(Device::new(backend.clone(), true)), &[]);
                for (i, (label, text)) in backend.shaders().into_iter().enumerate() {
                    let file = format!("{set}-program-{i:04}-{label}");
                    named.entry(text).or_insert(file);
                }
            }
        }
    }
    for (text, file) in &named {
        std::fs::write(out.join(format!("{file}.wgsl")), text)?;
    }
    println!("{} kernels in {}", named.len(), out.display());
    Ok(())
}
