//! A case recorded on a device, and compared with what torch computed.

use half::{bf16, f16};
use wgrad::Element;
use wgrad::autograd::{GradOptions, grad};
use wgrad::prelude::*;

use super::Apply;
use super::manifest::{Args, Case, Manifest};

/// What a case gives on a device, recorded and not yet run.
pub struct Recorded {
    outputs: Vec<Tensor>,
    grads: Vec<Tensor>,
    seconds: Vec<Tensor>,
}

/// Records a case; `None` if the device lacks a type of its operands.
pub fn record(
    case: &Case,
    manifest: &Manifest<'_>,
    apply: Apply,
    dev: &Device,
) -> Result<Option<Recorded>, String> {
    let has = |dtype: DType| dev.limits().is_ok_and(|limits| limits.has(dtype));
    let args = Args::new(case, dev);
    let mut types = case.inputs.iter().map(|input| manifest.dtype(input.leaf));
    let asked = args.has("dtype").then(|| args.dtype("dtype"));
    if !types.all(has) || asked.is_some_and(|dtype| !has(dtype)) {
        return Ok(None);
    }
    let mut leaves = Vec::new();
    let mut inputs = Vec::new();
    for input in &case.inputs {
        let mut leaf = manifest.tensor(input.leaf, dev);
        if !case.grads.is_empty() && leaf.dtype().is_ok_and(DType::is_float) {
            leaf = leaf.requires_grad();
            leaves.push(leaf.clone());
        }
        inputs.push(input.of(&leaf));
    }
    let outputs = apply(&case.op, &inputs, &args)
        .ok_or_else(|| "the domain's module does not know the operation".to_string())?;
    let mut recorded = Recorded {
        outputs,
        grads: Vec::new(),
        seconds: Vec::new(),
    };
    if case.grads.is_empty() {
        return Ok(Some(recorded));
    }
    let failed = |what: &str| {
        let what = what.to_string();
        move |error: Error| format!("{what}: {error}")
    };
    let wanted: Vec<&Tensor> = leaves.iter().collect();
    let weighted = recorded.outputs.iter().zip(&case.upstream);
    let weighted = weighted.filter_map(|(y, g)| Some((y.clone(), (*g)?)));
    let y = weigh(weighted, manifest, dev);
    let options = GradOptions {
        create_graph: !case.seconds.is_empty(),
        allow_unused: true,
        ..GradOptions::default()
    };
    recorded.grads = grad(&y, &wanted, options).map_err(failed("the derivative"))?;
    if !case.seconds.is_empty() {
        let weighted = recorded.grads.iter().cloned().zip(case.v.iter().copied());
        let tracked = weighted.filter(|(g, _)| g.needs_grad());
        let y = weigh(tracked, manifest, dev);
        let options = GradOptions {
            allow_unused: true,
            ..GradOptions::default()
        };
        recorded.seconds = match y.needs_grad() {
            true => grad(&y, &wanted, options).map_err(failed("the second derivative"))?,
            false => leaves.iter().map(Tensor::zeros_like).collect(),
        };
    }
    Ok(Some(recorded))
}

/// The sum of the tensors' weighted sums: what makes the gradient at each the weight.
fn weigh(
    of: impl Iterator<Item = (Tensor, usize)>,
    manifest: &Manifest<'_>,
    dev: &Device,
) -> Tensor {
    let zero = Tensor::scalar(0.0, (DType::F32, dev));
    of.fold(zero, |sum, (y, weight)| {
        let weighted = y * manifest.tensor(weight, dev);
        sum + match weighted.dtype() {
            Ok(DType::F64) => weighted.sum(),
            _ => weighted.sum().to_dtype(DType::F32),
        }
    })
}

/// What is tolerated of a type: torch.testing.assert_close's defaults.
fn tolerance(dtype: DType) -> (f64, f64) {
    match dtype {
        DType::F64 => (1e-7, 1e-7),
        DType::F32 => (1.3e-6, 1e-5),
        DType::F16 => (1e-3, 1e-5),
        DType::BF16 => (1.6e-2, 1e-5),
        _ => (0.0, 0.0),
    }
}

/// Compares a case that ran; the worst error as a part of what is tolerated.
pub fn compare(case: &Case, manifest: &Manifest<'_>, got: &Recorded) -> Result<f64, String> {
    if got.outputs.len() != case.outputs.len() {
        let (n, wanted) = (got.outputs.len(), case.outputs.len());
        return Err(format!("{n} results for {wanted}"));
    }
    let mut worst: f64 = 0.0;
    let parts = [
        ("result", &got.outputs, &case.outputs),
        ("derivative", &got.grads, &case.grads),
        ("second derivative", &got.seconds, &case.seconds),
    ];
    for (part, got, want) in parts {
        for (i, (got, &want)) in got.iter().zip(want).enumerate() {
            let error = same(case, manifest, got, want, part != "result");
            worst = worst.max(error.map_err(|fault| format!("{part} {i}: {fault}"))?);
        }
    }
    Ok(worst)
}

/// Whether `got` is torch's tensor `want`.
fn same(
    case: &Case,
    manifest: &Manifest<'_>,
    got: &Tensor,
    want: usize,
    derivative: bool,
) -> Result<f64, String> {
    let failed = |error: Error| error.to_string();
    let shape = got.shape().map_err(failed)?.to_vec();
    let (dtype, wanted) = (got.dtype().map_err(failed)?, manifest.dtype(want));
    if shape != manifest.shape(want) {
        let want = manifest.shape(want);
        return Err(format!("shape {shape:?} for {want:?}"));
    }
    // Torch's i64 of other types is i32 in wgrad: docs/guide/differences.md, Types. On a device without i64 u32
    // stays what it is.
    let of = |dtype: DType| {
        let mut inputs = case.inputs.iter();
        inputs.any(|input| manifest.dtype(input.leaf) == dtype)
    };
    let narrow = match dtype {
        DType::I32 => !of(DType::I64),
        DType::U32 => of(DType::U32) && got.device().limits().is_ok_and(|l| !l.has(DType::I64)),
        _ => false,
    };
    if dtype != wanted && !(wanted == DType::I64 && narrow) {
        return Err(format!("type {dtype} for {wanted}"));
    }
    let exact = !dtype.is_float();
    let (got, want) = (values(got)?, stored(&manifest.bytes(want), wanted));
    let (mut rtol, mut atol) = tolerance(dtype);
    if derivative && dtype != dtype.compute() {
        // Unfused, each step of a derivative's formula is rounded: docs/guide/differences.md, 16-bit floats.
        (rtol, atol) = (rtol * 4.0, atol.max(rtol * 2.0));
    }
    let (rtol, atol) = (case.rtol.unwrap_or(rtol), case.atol.unwrap_or(atol));
    let mut worst: f64 = 0.0;
    for (i, (&g, &w)) in got.iter().zip(&want).enumerate() {
        let error = match (g, w) {
            (Number::Integer(g), Number::Integer(w)) if g == w => 0.0,
            (Number::Float(g), Number::Float(w)) if g == w || (g.is_nan() && w.is_nan()) => 0.0,
            (Number::Float(g), Number::Float(w)) if g.is_finite() && w.is_finite() && !exact => {
                (g - w).abs() / (atol + rtol * w.abs())
            }
            _ => f64::INFINITY,
        };
        if error.is_nan() || error > 1.0 {
            return Err(format!("element {i} of {}: {g} for {w}", got.len()));
        }
        worst = worst.max(error);
    }
    Ok(worst)
}

#[derive(Clone, Copy)]
enum Number {
    Integer(i64),
    Float(f64),
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Integer(v) => write!(f, "{v}"),
            Number::Float(v) => write!(f, "{v:e}"),
        }
    }
}

fn values(x: &Tensor) -> Result<Vec<Number>, String> {
    let bytes = x.to_bytes().map_err(|error| error.to_string())?;
    Ok(stored(
        &bytes,
        x.dtype().map_err(|error| error.to_string())?,
    ))
}

fn stored(bytes: &[u8], dtype: DType) -> Vec<Number> {
    fn all<E: Element>(bytes: &[u8], number: fn(E) -> Number) -> Vec<Number> {
        E::from_bytes(bytes).into_iter().map(number).collect()
    }
    match dtype {
        DType::F64 => all::<f64>(bytes, Number::Float),
        DType::F32 => all::<f32>(bytes, |v| Number::Float(v.into())),
        DType::F16 => all::<f16>(bytes, |v| Number::Float(v.into())),
        DType::BF16 => all::<bf16>(bytes, |v| Number::Float(v.into())),
        DType::I64 => all::<i64>(bytes, Number::Integer),
        DType::I32 => all::<i32>(bytes, |v| Number::Integer(v.into())),
        DType::U32 => all::<u32>(bytes, |v| Number::Integer(v.into())),
        DType::I16 => all::<i16>(bytes, |v| Number::Integer(v.into())),
        DType::I8 => all::<i8>(bytes, |v| Number::Integer(v.into())),
        DType::U8 => all::<u8>(bytes, |v| Number::Integer(v.into())),
        DType::Bool => all::<bool>(bytes, |v| Number::Integer(v.into())),
        other => panic!("golden files have no {other}"),
    }
}
