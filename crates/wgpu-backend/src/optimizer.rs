//! Optimizer steps over whole arenas: four elements per thread, the segments in the parameters.

use wgrad_core::{BufferSpec, DType, Error, Kernel, Result};
use wgrad_shaders::{Value, context};

use crate::device::Traits;
use crate::source::{Convert, Generated, Slot, Source};

/// Threads of a workgroup, as the templates have it.
const GROUP: usize = 64;
/// Segments of one launch.
const MOST: usize = 8;

/// A field of a segment: name, which of its scalars, how.
type Field = (&'static str, usize, Convert);

const ADAM: [Field; 10] = [
    ("start", 0, Convert::U32),
    ("end", 1, Convert::U32),
    ("decay", 2, Convert::F32),
    ("beta1", 3, Convert::F32),
    // 1 - beta in f64: 1 - 0.999 in f32 is off by 1e-5 of itself.
    ("rest1", 3, Convert::Complement),
    ("beta2", 4, Convert::F32),
    ("rest2", 4, Convert::Complement),
    ("step", 5, Convert::F32),
    ("scale", 6, Convert::F32),
    ("eps", 7, Convert::F32),
];

const SGD: [Field; 7] = [
    ("start", 0, Convert::U32),
    ("end", 1, Convert::U32),
    ("lr", 2, Convert::F32),
    ("weight_decay", 3, Convert::F32),
    ("momentum", 4, Convert::F32),
    ("rest", 5, Convert::Complement),
    ("first", 6, Convert::U32),
];

/// Makes the parameters of the segments in `range`: `s0_start`, `s0_end` and so on.
fn declare_segments(
    source: &mut Source<'_>,
    fields: &[Field],
    width: usize,
    range: std::ops::Range<usize>,
) {
    for (k, segment) in range.enumerate() {
        for (name, scalar, convert) in fields {
            source.scalar(&format!("s{k}_{name}"), segment * width + scalar, *convert);
        }
    }
}

/// The launches over `len` parameters, a few segments each. `make` binds the operands and gives the
/// template and its variables, but for those that all optimizers have.
fn launches(
    traits: &Traits,
    buffers: &[BufferSpec],
    segments: usize,
    len: usize,
    in_place: bool,
    make: impl Fn(&mut Source<'_>, std::ops::Range<usize>) -> (&'static str, Value),
) -> Result<Vec<Generated>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let mut made = Vec::new();
    let mut at = 0;
    // Without any segment there may still be parameters to copy.
    while at < segments || (at == 0 && !in_place) {
        let range = at..(at + MOST).min(segments);
        at += MOST;
        let mut source = Source::new(traits, buffers);
        source.u32("n", len);
        let (template, own) = make(&mut source, range.clone());
        let label = template.trim_end_matches(".wgsl");
        // What no segment covers is copied once, by the first launch; later ones write over it.
        let keep = !in_place && made.is_empty();
        let variables = context! { segments => range.len(), keep => keep, ..own };
        source.bytes = (len * 28) as f64;
        let groups = len.div_ceil(4).div_ceil(GROUP);
        made.push(source.render(label, template, &variables, groups)?);
    }
    Ok(made)
}

fn only_f32(dtype: DType) -> Result<()> {
    if dtype == DType::F32 {
        return Ok(());
    }
    Err(Error::Device(format!(
        "optimizers on a GPU take f32, not {dtype}"
    )))
}

/// The launches of an `Adam` or `Sgd` kernel.
pub(crate) fn generate(
    traits: &Traits,
    buffers: &[BufferSpec],
    kernel: &Kernel,
) -> Result<Vec<Generated>> {
    match *kernel {
        Kernel::Adam {
            dtype,
            len,
            param,
            target,
            grad,
            m,
            v,
            vmax,
            decoupled,
            maximize,
            segments,
        } => {
            only_f32(dtype)?;
            let width = Kernel::ADAM_SCALARS.len();
            launches(
                traits,
                buffers,
                segments,
                len,
                param == target,
                |source, range| {
                    bind(
                        source,
                        &[("param", param), ("grad", grad)],
                        &[("goal", target), ("m", m), ("v", v)],
                    );
                    if let Some(vmax) = vmax {
                        bind(source, &[], &[("vmax", vmax)]);
                    }
                    declare_segments(source, &ADAM, width, range);
                    let form = context! {
                        maximize => maximize,
                        decoupled => decoupled,
                        amsgrad => vmax.is_some(),
                    };
                    ("adam.wgsl", form)
                },
            )
        }
        Kernel::Sgd {
            dtype,
            len,
            param,
            target,
            grad,
            momentum,
            nesterov,
            maximize,
            segments,
        } => {
            only_f32(dtype)?;
            let width = Kernel::SGD_SCALARS.len();
            launches(
                traits,
                buffers,
                segments,
                len,
                param == target,
                |source, range| {
                    bind(
                        source,
                        &[("param", param), ("grad", grad)],
                        &[("goal", target)],
                    );
                    declare_segments(source, &SGD, width, range);
                    if let Some(momentum) = momentum {
                        bind(source, &[], &[("momentum", momentum)]);
                    }
                    let form = context! {
                        maximize => maximize,
                        momentum => momentum.is_some(),
                        nesterov => nesterov,
                    };
                    ("sgd.wgsl", form)
                },
            )
        }
        _ => Err(Error::Device("not an optimizer".into())),
    }
}

fn bind(source: &mut Source<'_>, inputs: &[(&str, usize)], outputs: &[(&str, usize)]) {
    for (name, buffer) in inputs {
        source.input(name, Slot::Plan(*buffer), DType::F32, true);
    }
    for (name, buffer) in outputs {
        source.output(name, Slot::Plan(*buffer), DType::F32, true);
    }
}
