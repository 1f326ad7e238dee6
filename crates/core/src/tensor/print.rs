//! Printing tensors the way PyTorch does.

use std::fmt;

use crate::tensor::Tensor;
use crate::types::dtype::DType;

/// More elements than this are summarised ...
const SUMMARISE: usize = 1000;
/// ... to so many at both ends of each dimension.
const EDGE: usize = 3;

/// Numbers as they are printed, row-major.
enum Values {
    Float(Vec<f64>),
    Text(Vec<String>),
}

#[cfg(not(target_arch = "wasm32"))]
fn values(tensor: &Tensor) -> crate::types::error::Result<Values> {
    let text = |v: Vec<i64>| Values::Text(v.iter().map(i64::to_string).collect());
    Ok(match tensor.dtype()? {
        DType::F64 => Values::Float(tensor.to_vec::<f64>()?),
        DType::F32 => Values::Float(tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect()),
        DType::F16 => Values::Float(
            tensor
                .to_vec::<half::f16>()?
                .iter()
                .map(|v| v.to_f64())
                .collect(),
        ),
        DType::BF16 => Values::Float(
            tensor
                .to_vec::<half::bf16>()?
                .iter()
                .map(|v| v.to_f64())
                .collect(),
        ),
        DType::I64 => text(tensor.to_vec::<i64>()?),
        DType::I32 => text(tensor.to_vec::<i32>()?.into_iter().map(i64::from).collect()),
        DType::U32 => text(tensor.to_vec::<u32>()?.into_iter().map(i64::from).collect()),
        DType::I16 => text(tensor.to_vec::<i16>()?.into_iter().map(i64::from).collect()),
        DType::I8 => text(tensor.to_vec::<i8>()?.into_iter().map(i64::from).collect()),
        DType::U8 => text(tensor.to_vec::<u8>()?.into_iter().map(i64::from).collect()),
        DType::Bool => Values::Text(
            tensor
                .to_vec::<bool>()?
                .iter()
                .map(bool::to_string)
                .collect(),
        ),
    })
}

/// One format for all: integers as `1.`, else four decimals, or scientific where the range is wide.
fn format_floats(values: &[f64]) -> Vec<String> {
    let finite: Vec<f64> = values
        .iter()
        .copied()
        .filter(|v| v.is_finite())
        .map(f64::abs)
        .collect();
    let largest = finite.iter().copied().fold(0.0, f64::max);
    let smallest = finite
        .iter()
        .copied()
        .filter(|v| *v > 0.0)
        .fold(f64::INFINITY, f64::min);
    let whole = finite.iter().all(|v| v.fract() == 0.0);
    let wide = largest > 1e8 || smallest < 1e-4 || largest / smallest > 1e3 && largest > 1e5;
    values
        .iter()
        .map(|&v| match v {
            v if v.is_nan() => "nan".into(),
            v if v.is_infinite() => {
                if v > 0.0 {
                    "inf".into()
                } else {
                    "-inf".into()
                }
            }
            v if whole && largest < 1e8 => format!("{v:.0}."),
            v if wide && largest > 0.0 => {
                let text = format!("{v:.4e}");
                match text.split_once('e') {
                    // Rust writes 1e-5 where C writes 1e-05.
                    Some((m, e)) => {
                        let (sign, digits) = e.strip_prefix('-').map_or(('+', e), |d| ('-', d));
                        format!("{m}e{sign}{digits:0>2}")
                    }
                    None => text,
                }
            }
            v => format!("{v:.4}"),
        })
        .collect()
}

#[cfg(not(target_arch = "wasm32"))]
impl fmt::Display for Tensor {
    /// Reads the tensor; a failure is printed, never returned.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shape, dtype) = match (self.shape(), self.dtype()) {
            (Ok(shape), Ok(dtype)) => (shape, dtype),
            (Err(error), _) | (_, Err(error)) => return write!(f, "Tensor(failed: {error})"),
        };
        let summarise = shape.numel() > SUMMARISE;
        // Only what is shown is read.
        let mut shown = self.detach();
        let mut kept = Vec::new();
        for (d, &size) in shape.iter().enumerate() {
            let cut = summarise && size > 2 * EDGE;
            kept.push((if cut { 2 * EDGE } else { size }, cut));
            if cut {
                let (head, tail) = (
                    shown.narrow(d as isize, 0, EDGE),
                    shown.narrow(d as isize, size - EDGE, EDGE),
                );
                shown = Tensor::cat(&[head, tail], d as isize);
            }
        }
        let texts = match values(&shown) {
            Ok(Values::Float(v)) => format_floats(&v),
            Ok(Values::Text(v)) => v,
            Err(error) => return write!(f, "Tensor(failed: {error})"),
        };
        let width = texts.iter().map(String::len).max().unwrap_or(0);
        f.write_str("tensor(")?;
        write_rows(f, &texts, &kept, width, 8)?;
        if shape.contains(&0) && shape.rank() > 1 {
            write!(f, ", size={shape}")?;
        }
        if !matches!(dtype, DType::F32 | DType::I32 | DType::Bool) {
            write!(f, ", dtype={dtype}")?;
        }
        if self.needs_grad() {
            f.write_str(", requires_grad")?;
        }
        f.write_str(")")
    }
}

fn write_rows(
    f: &mut fmt::Formatter<'_>,
    texts: &[String],
    dims: &[(usize, bool)],
    width: usize,
    indent: usize,
) -> fmt::Result {
    let Some((&(size, cut), inner)) = dims.split_first() else {
        return f.write_str(texts.first().map_or("", String::as_str));
    };
    f.write_str("[")?;
    let each = texts.len().checked_div(size).unwrap_or(0);
    for i in 0..size {
        if i > 0 {
            f.write_str(",")?;
            if inner.is_empty() {
                f.write_str(" ")?;
            } else {
                f.write_str(&"\n".repeat(inner.len()))?;
                write!(f, "{:indent$}", "")?;
            }
        }
        if cut && i == EDGE {
            f.write_str("...")?;
            if inner.is_empty() {
                f.write_str(", ")?;
            } else {
                write!(f, ",{}{:indent$}", "\n".repeat(inner.len()), "")?;
            }
        }
        if inner.is_empty() {
            write!(f, "{:>width$}", texts[i])?;
        } else {
            write_rows(
                f,
                &texts[i * each..(i + 1) * each],
                inner,
                width,
                indent + 1,
            )?;
        }
    }
    f.write_str("]")
}

impl fmt::Debug for Tensor {
    /// Shape, type and device; runs nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.shape(), self.dtype()) {
            (Ok(shape), Ok(dtype)) => write!(f, "Tensor({shape}, {dtype}, {})", self.device()),
            (Err(error), _) | (_, Err(error)) => write!(f, "Tensor(failed: {error})"),
        }
    }
}
