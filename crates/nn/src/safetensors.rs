//! [safetensors](https://github.com/huggingface/safetensors) files: named tensors that PyTorch and
//! other frameworks read and write.
//!
//! Files are not trusted: the `safetensors` crate checks header and offsets against the file's true
//! length, nothing is allocated for what a file merely claims to hold, and every mistake is an
//! [`Error::File`] with the file's name.

#[cfg(not(target_arch = "wasm32"))]
mod write;

use std::collections::BTreeMap;
#[cfg(not(target_arch = "wasm32"))]
use std::{fs::File, io::Read, path::Path};

use ::safetensors::{Dtype, SafeTensors, tensor::TensorInfo};
use half::{bf16, f16};
use wgrad_core::{DType, Device, Element, Error, Result, Shape, Tensor};

use crate::state::StateDict;
#[cfg(not(target_arch = "wasm32"))]
use crate::{module::Module, part::Leaf, part::Visitor, state, state::Match};

/// More dimensions than any tensor of use has, and few enough for every kernel.
const MOST_DIMENSIONS: usize = 32;

/// The types that files hold.
const TYPES: [(Dtype, DType); 11] = [
    (Dtype::F64, DType::F64),
    (Dtype::F32, DType::F32),
    (Dtype::F16, DType::F16),
    (Dtype::BF16, DType::BF16),
    (Dtype::I64, DType::I64),
    (Dtype::I32, DType::I32),
    (Dtype::U32, DType::U32),
    (Dtype::I16, DType::I16),
    (Dtype::I8, DType::I8),
    (Dtype::U8, DType::U8),
    (Dtype::BOOL, DType::Bool),
];

/// The file's strings by name, beside its tensors.
pub type Metadata = BTreeMap<String, String>;

/// Writes tensors to a file. The file is written under another name in the same directory, flushed
/// to the disk, and renamed: it is replaced at once or not at all.
///
/// # Errors
/// What reading the tensors can fail with, and [`Error::File`].
#[cfg(not(target_arch = "wasm32"))]
pub fn save(path: impl AsRef<Path>, tensors: &StateDict) -> Result<()> {
    write::save(path.as_ref(), tensors, &Metadata::new())
}

/// [`save`] with strings beside the tensors.
///
/// # Errors
/// As `save`.
#[cfg(not(target_arch = "wasm32"))]
pub fn save_with_metadata(
    path: impl AsRef<Path>,
    tensors: &StateDict,
    metadata: &Metadata,
) -> Result<()> {
    write::save(path.as_ref(), tensors, metadata)
}

/// Reads a file's tensors onto a device. Types that the device does not have become the nearest
/// that it has: `f64` becomes `f32`, `i64` becomes `i32` where the values fit. A tensor of a type that
/// wgrad does not know is a failed tensor, whose error says so; the others are read.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_core::Tensor;
/// use wgrad_nn::{StateDict, safetensors};
///
/// let path = std::env::temp_dir().join(format!("example-{}.safetensors", std::process::id()));
/// let tensors = StateDict::from([("x".to_string(), Tensor::new([1, 2, 3], &dev))]);
/// safetensors::save(&path, &tensors)?;
/// assert_eq!(safetensors::load(&path, &dev)?["x"].to_vec::<i32>()?, [1, 2, 3]);
/// # std::fs::remove_file(&path).ok();
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::File`] where the file cannot be read or is not sound.
#[cfg(not(target_arch = "wasm32"))]
pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<StateDict> {
    Ok(load_with_metadata(path, device)?.0)
}

/// [`load`] with the strings beside the tensors.
///
/// # Errors
/// As `load`.
#[cfg(not(target_arch = "wasm32"))]
pub fn load_with_metadata(
    path: impl AsRef<Path>,
    device: &Device,
) -> Result<(StateDict, Metadata)> {
    let name = path.as_ref().display().to_string();
    decode(&read(path.as_ref(), &name)?, &name, device)
}

/// Reads tensors from a file's bytes; `name` stands for the file in errors.
///
/// # Errors
/// As [`load`].
pub fn decode(bytes: &[u8], name: &str, device: &Device) -> Result<(StateDict, Metadata)> {
    let contents = Contents::parse(bytes, name)?;
    let mut dict = StateDict::new();
    for (tensor, entry) in contents.tensors {
        let value = match entry.upload(&tensor, name, device) {
            Err(error) if entry.dtype.is_err() => Tensor::zeros((), &Device::failed(error)),
            made => made?,
        };
        dict.insert(tensor, value);
    }
    Ok((dict, contents.metadata))
}

/// Gives a module the values of a file. The header tells whether everything fits before any
/// tensor is made.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn load_into<M: Module + ?Sized>(module: &M, path: &Path, names: Match) -> Result<()> {
    let file = path.display().to_string();
    let bytes = read(path, &file)?;
    let entries = Contents::parse(&bytes, &file)?.tensors;
    let mut leaves = Vec::new();
    let mut each = |name: &str, leaf: Leaf<'_>| {
        if let Leaf::Parameter(tensor) | Leaf::Buffer(tensor) = leaf {
            leaves.push((name.to_string(), tensor.clone()));
        }
    };
    module.visit(&mut Visitor::new(&mut each));
    let wanted = leaves.iter().map(|(name, _)| name.as_str());
    let given = entries.keys().map(String::as_str);
    let mut misfits = state::Misfits::of_names(wanted, given, names);
    for (name, tensor) in &leaves {
        if let Some(entry) = entries.get(name) {
            match &entry.dtype {
                Ok(dtype) => misfits.check(name, tensor, &entry.shape, *dtype),
                Err(problem) => misfits.refuse(name, problem),
            }
        }
    }
    if let Some(summary) = misfits.summary() {
        return Err(file_error(&file, summary));
    }
    let mut values = Vec::with_capacity(leaves.len());
    for (name, tensor) in &leaves {
        if let Some(entry) = entries.get(name) {
            let value = entry.upload(name, &file, tensor.device())?;
            values.push((tensor, value.to_dtype(tensor.dtype()?).checked()?));
        }
    }
    state::assign_all(&values)
}

/// A file's bytes; as many at most as the file is long when it is opened.
#[cfg(not(target_arch = "wasm32"))]
fn read(path: &Path, name: &str) -> Result<Vec<u8>> {
    let all = || -> std::io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX))?;
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    all().map_err(|e| file_error(name, e.to_string()))
}

/// What a file holds.
struct Contents<'a> {
    tensors: BTreeMap<String, Entry<'a>>,
    metadata: Metadata,
}

/// A tensor in a file.
struct Entry<'a> {
    /// `Err` names a type that tensors do not have. It hinders nobody who does not read the tensor.
    dtype: Result<DType, String>,
    shape: Shape,
    bytes: &'a [u8],
}

impl<'a> Contents<'a> {
    fn parse(bytes: &'a [u8], file: &str) -> Result<Contents<'a>> {
        // The crate adds the header's length to that of all data, which the file chooses. The sum
        // may pass `usize::MAX`: an error in release builds, a panic with overflow checks.
        let (size, header) = std::panic::catch_unwind(|| SafeTensors::read_metadata(bytes))
            .map_err(|_| file_error(file, "the tensors are larger than any memory"))?
            .map_err(|e| file_error(file, e.to_string()))?;
        let data = &bytes[size_of::<u64>() + size..];
        let mut tensors = BTreeMap::new();
        for (name, info) in header.tensors() {
            let entry = Entry::new(info, data)
                .map_err(|problem| file_error(file, format!("tensor {name}: {problem}")))?;
            tensors.insert(name, entry);
        }
        let strings = header.metadata().iter().flatten();
        Ok(Contents {
            tensors,
            metadata: strings.map(|(k, v)| (k.clone(), v.clone())).collect(),
        })
    }
}

impl<'a> Entry<'a> {
    fn new(info: &TensorInfo, data: &'a [u8]) -> Result<Entry<'a>, String> {
        let (dtype, shape) = (info.dtype, &info.shape);
        let known = TYPES.iter().find(|(written, _)| *written == dtype);
        let unknown = || format!("the type {dtype} is not known");
        let dtype = known.map(|(_, dtype)| *dtype).ok_or_else(unknown);
        if shape.len() > MOST_DIMENSIONS {
            return Err(format!("{} dimensions are too many", shape.len()));
        }
        let (begin, end) = info.data_offsets;
        Ok(Entry {
            dtype,
            shape: shape.iter().copied().collect(),
            bytes: data.get(begin..end).ok_or("bytes beyond the end")?,
        })
    }

    /// The tensor, on a device.
    fn upload(&self, name: &str, file: &str, device: &Device) -> Result<Tensor> {
        let wrong = |problem: &str| file_error(file, format!("tensor {name}: {problem}"));
        let dtype = self.dtype.as_ref().map_err(|problem| wrong(problem))?;
        if *dtype == DType::Bool && self.bytes.iter().any(|&b| b > 1) {
            return Err(wrong("a bool that is neither 0 nor 1"));
        }
        upload(self.bytes, *dtype, &self.shape, device)
            .map_err(|e| file_error(file, format!("tensor {name}: {e}")))
    }
}

fn file_error(path: &str, problem: impl Into<String>) -> Error {
    Error::File {
        path: path.to_string(),
        problem: problem.into(),
    }
}

/// The file's bytes as a tensor.
fn upload(bytes: &[u8], dtype: DType, shape: &Shape, device: &Device) -> Result<Tensor> {
    fn tensor<E: Element>(bytes: &[u8], shape: &Shape, device: &Device) -> Tensor {
        Tensor::from_vec(E::from_bytes(bytes), shape, device)
    }
    fn narrowed<E: Element>(bytes: &[u8], shape: &Shape, device: &Device) -> Tensor {
        let values = E::from_bytes(bytes).into_iter();
        let values: Vec<f32> = values.map(|v| v.scalar().to_f64() as f32).collect();
        Tensor::from_vec(values, shape, device)
    }
    let has = device.limits()?.has(dtype);
    match dtype {
        DType::F64 if has => tensor::<f64>(bytes, shape, device),
        DType::F64 => narrowed::<f64>(bytes, shape, device),
        DType::F32 => tensor::<f32>(bytes, shape, device),
        DType::F16 if has => tensor::<f16>(bytes, shape, device),
        DType::F16 => narrowed::<f16>(bytes, shape, device),
        DType::BF16 if has => tensor::<bf16>(bytes, shape, device),
        DType::BF16 => narrowed::<bf16>(bytes, shape, device),
        DType::I64 => tensor::<i64>(bytes, shape, device),
        DType::I32 => tensor::<i32>(bytes, shape, device),
        DType::U32 => tensor::<u32>(bytes, shape, device),
        DType::I16 => tensor::<i16>(bytes, shape, device),
        DType::I8 => tensor::<i8>(bytes, shape, device),
        DType::U8 => tensor::<u8>(bytes, shape, device),
        DType::Bool => tensor::<bool>(bytes, shape, device),
        other => {
            return Err(Error::Value {
                op: "load",
                problem: format!("{other} is not a type that files hold"),
                place: wgrad_core::Place::caller(),
            });
        }
    }
    .checked()
}
