//! Optimizer steps over whole arenas: four elements per thread, the segments in the parameters.

use std::fmt::Write;

use wgrad_core::{BufferSpec, DType, Error, Kernel, Result};

use crate::device::Traits;
use crate::source::{Convert, Generated, Slot, Source};

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

/// Declares `struct Segment` and `segment_of(i)`, whose `found` says whether `i` lies in one.
fn declare_segments(
    source: &mut Source<'_>,
    fields: &[Field],
    width: usize,
    range: std::ops::Range<usize>,
) {
    let mut text = String::from("struct Segment {\n    found: bool,\n");
    for (name, _, convert) in &fields[2..] {
        let t = if *convert == Convert::U32 {
            "u32"
        } else {
            "f32"
        };
        let _ = writeln!(text, "    {name}: {t},");
    }
    text.push_str("}\n\nfn segment_of(i: u32) -> Segment {\n    var s: Segment;\n");
    for (k, segment) in range.enumerate() {
        let mut values = Vec::new();
        for (name, scalar, convert) in fields {
            let value = source.scalar(&format!("s{k}_{name}"), segment * width + scalar, *convert);
            values.push(value);
        }
        let _ = write!(
            text,
            "    if i >= {} && i < {} {{\n        s = Segment(true, {});\n    }}\n",
            values[0],
            values[1],
            values[2..].join(", ")
        );
    }
    text.push_str("    return s;\n}\n");
    source.declare(&text);
}

fn launches(
    traits: &Traits,
    buffers: &[BufferSpec],
    segments: usize,
    len: usize,
    in_place: bool,
    make: impl Fn(&mut Source<'_>, std::ops::Range<usize>) -> (&'static str, String),
) -> Vec<Generated> {
    if len == 0 {
        return Vec::new();
    }
    let mut made = Vec::new();
    let mut at = 0;
    // Without any segment there may still be parameters to copy.
    while at < segments || (at == 0 && !in_place) {
        let range = at..(at + MOST).min(segments);
        at += MOST;
        let mut source = Source::new(traits, buffers);
        let n = source.u32("n", len);
        let (label, work) = make(&mut source, range);
        // What no segment covers is copied once, by the first launch; later ones write over it.
        let keep = if !in_place && made.is_empty() {
            "store4_goal(i, load4_param(i));\n    "
        } else {
            ""
        };
        let body = format!(
            "let i = (group_index * {GROUP}u + lane) * 4u;\n\
             if i >= {n} {{\n    return;\n}}\n\
             let s = segment_of(i);\n\
             if !s.found {{\n    {keep}return;\n}}\n{work}"
        );
        source.bytes = (len * 28) as f64;
        let groups = len.div_ceil(4).div_ceil(GROUP);
        let what = "four parameters per thread";
        made.push(source.finish(label, what, GROUP as u32, groups, &body));
    }
    made
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
            Ok(launches(
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
                    let sign = if maximize { "-" } else { "" };
                    let decay = if decoupled {
                        "p = p * s.decay;\n"
                    } else {
                        "g = g + s.decay * p;\n"
                    };
                    let bound = match vmax {
                        Some(_) => "let u = max_f32(load4_vmax(i), v);\nstore4_vmax(i, u);\n",
                        None => "let u = v;\n",
                    };
                    let work = format!(
                        "var p = load4_param(i);\n\
                     var g = {sign}load4_grad(i);\n\
                     {decay}\
                     let m = s.beta1 * load4_m(i) + s.rest1 * g;\n\
                     let v = s.beta2 * load4_v(i) + s.rest2 * g * g;\n\
                     {bound}\
                     store4_m(i, m);\n\
                     store4_v(i, v);\n\
                     store4_goal(i, p - s.step * m / (sqrt_f32(u) * s.scale + s.eps));\n"
                    );
                    ("adam", work)
                },
            ))
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
            Ok(launches(
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
                    let sign = if maximize { "-" } else { "" };
                    let mut work = format!(
                        "let p = load4_param(i);\n\
                     var g = {sign}load4_grad(i) + s.weight_decay * p;\n"
                    );
                    if let Some(momentum) = momentum {
                        bind(source, &[], &[("momentum", momentum)]);
                        // The buffer holds nothing before the first step: not even multiplied by 0.
                        work.push_str(
                        "var b = g;\n\
                         if s.first == 0u {\n    b = s.momentum * load4_momentum(i) + s.rest * g;\n}\n\
                         store4_momentum(i, b);\n",
                    );
                        work.push_str(if nesterov {
                            "g = g + s.momentum * b;\n"
                        } else {
                            "g = b;\n"
                        });
                    }
                    work.push_str("store4_goal(i, p - s.lr * g);\n");
                    ("sgd", work)
                },
            ))
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
