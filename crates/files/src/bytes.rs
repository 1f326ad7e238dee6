//! Bytes of files as tensors, and out of their packing.

use std::io::Read;

use half::{bf16, f16};
use wgrad_core::{DType, Device, Element, Error, Place, Result, Shape, Tensor};

/// More dimensions than any tensor of use has, and few enough for every kernel.
pub const LARGEST_RANK: usize = 32;

/// A file's bytes (little-endian, row-major) as a tensor: where they are aligned, they go to the device as they lie. Types
/// that the device does not have become the nearest that it has: `f64` becomes `f32`, `i64` becomes `i32` where the values
/// fit.
///
/// ```
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_core::{DType, Shape};
///
/// let tensor = wgrad_files::tensor(&[1, 0, 2, 0], DType::I16, &Shape::new(&[2]), &dev)?;
/// assert_eq!(tensor.to_vec::<i16>()?, [1, 2]);
/// # Ok::<(), wgrad_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for bools other than 0 and 1, [`Error::Length`] for a wrong number of bytes, and what the device
/// fails with.
#[track_caller]
pub fn tensor(bytes: &[u8], dtype: DType, shape: &Shape, device: &Device) -> Result<Tensor> {
    fn made<E: Element>(bytes: &[u8], shape: &Shape, device: &Device) -> Tensor {
        match E::view(bytes) {
            Some(values) if cfg!(target_endian = "little") || size_of::<E>() == 1 => {
                Tensor::from_slice(values, shape, device)
            }
            _ => Tensor::from_vec(values::<E>(bytes), shape, device),
        }
    }
    fn narrowed<E: Element>(bytes: &[u8], shape: &Shape, device: &Device) -> Tensor {
        let values = values::<E>(bytes).into_iter();
        let values: Vec<f32> = values.map(|v| v.scalar().to_f64() as f32).collect();
        Tensor::from_vec(values, shape, device)
    }
    let needed = shape
        .checked_numel()
        .and_then(|n| n.checked_mul(dtype.size()));
    if needed != Some(bytes.len()) {
        return Err(Error::Length {
            op: "load",
            len: bytes.len() / dtype.size().max(1),
            needed: shape.numel(),
            shape: shape.clone(),
            place: Place::caller(),
        });
    }
    let refused = |problem: String| Error::Value {
        op: "load",
        problem,
        place: Place::caller(),
    };
    let has = device.limits()?.has(dtype);
    match dtype {
        DType::F64 if has => made::<f64>(bytes, shape, device),
        DType::F64 => narrowed::<f64>(bytes, shape, device),
        DType::F32 => made::<f32>(bytes, shape, device),
        DType::F16 if has => made::<f16>(bytes, shape, device),
        DType::F16 => narrowed::<f16>(bytes, shape, device),
        DType::BF16 if has => made::<bf16>(bytes, shape, device),
        DType::BF16 => narrowed::<bf16>(bytes, shape, device),
        DType::I64 => made::<i64>(bytes, shape, device),
        DType::I32 => made::<i32>(bytes, shape, device),
        DType::U32 => made::<u32>(bytes, shape, device),
        DType::I16 => made::<i16>(bytes, shape, device),
        DType::I8 => made::<i8>(bytes, shape, device),
        DType::U8 => made::<u8>(bytes, shape, device),
        DType::Bool if bytes.iter().any(|&b| b > 1) => {
            return Err(refused("a bool that is neither 0 nor 1".to_string()));
        }
        DType::Bool => made::<bool>(bytes, shape, device),
        other => return Err(refused(format!("{other} is not a type that files hold"))),
    }
    .checked()
}

/// Little-endian bytes as values.
fn values<E: Element>(bytes: &[u8]) -> Vec<E> {
    if cfg!(target_endian = "little") {
        return E::from_bytes(bytes);
    }
    let mut bytes = bytes.to_vec();
    bytes
        .chunks_exact_mut(size_of::<E>())
        .for_each(<[u8]>::reverse);
    E::from_bytes(&bytes)
}

/// What gzip made of `length` bytes. Deflate makes no more than 1,032 bytes of one: longer claims are refused before
/// anything is allocated.
///
/// ```
/// let problem = wgrad_files::unpack_gzip(&[0x1f, 0x8b][..], 2, 1 << 40).unwrap_err();
/// assert_eq!(problem, "1099511627776 bytes cannot be packed into 2");
/// ```
///
/// # Errors
/// What is wrong with the packed bytes.
pub fn unpack_gzip(
    packed: impl Read,
    packed_length: usize,
    length: usize,
) -> Result<Vec<u8>, String> {
    read_exactly(flate2::read::GzDecoder::new(packed), packed_length, length)
}

/// Exactly `length` bytes of an unpacker.
pub(crate) fn read_exactly(
    mut unpacked: impl Read,
    packed_length: usize,
    length: usize,
) -> Result<Vec<u8>, String> {
    if length / 1032 > packed_length {
        return Err(format!(
            "{length} bytes cannot be packed into {packed_length}"
        ));
    }
    let mut bytes = Vec::new();
    let limit = (length as u64).saturating_add(1);
    let read = unpacked.by_ref().take(limit).read_to_end(&mut bytes);
    read.map_err(|e| format!("packed data: {e}"))?;
    if bytes.len() != length {
        let more = if bytes.len() > length {
            "more"
        } else {
            "fewer"
        };
        return Err(format!(
            "packed data: {more} bytes than the {length} expected"
        ));
    }
    Ok(bytes)
}
