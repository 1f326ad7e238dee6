//! [safetensors](https://github.com/huggingface/safetensors) files: named tensors that PyTorch and
//! other frameworks read and write.
//!
//! A file is the length of a JSON header (8 bytes, little-endian), the header, and the data. Files
//! are not trusted: whatever a file says is checked against the file's true length before anything
//! is allocated, and every mistake is an [`Error::File`] with the file's name.

mod header;
#[cfg(not(target_arch = "wasm32"))]
mod write;

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, SeekFrom};
#[cfg(not(target_arch = "wasm32"))]
use std::{fs::File, path::Path};

use half::{bf16, f16};
use wgrad_core::{DType, Device, Element, Error, Result, Shape, Tensor};

use crate::state::StateDict;
#[cfg(not(target_arch = "wasm32"))]
use crate::{module::Module, part::Leaf, part::Visitor, state, state::Match};
use header::{Entry, Header};

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
/// that it has: `f64` becomes `f32`, `i64` becomes `i32` where the values fit.
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
    Source::open(path.as_ref())?.tensors(device)
}

/// Reads tensors from a file's bytes; `name` stands for the file in errors.
///
/// # Errors
/// As [`load`].
pub fn decode(bytes: &[u8], name: &str, device: &Device) -> Result<(StateDict, Metadata)> {
    Source::new(Cursor::new(bytes), name)?.tensors(device)
}

/// Gives a module the values of a file. The header tells whether everything fits before any
/// tensor is read.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn load_into<M: Module + ?Sized>(module: &M, path: &Path, names: Match) -> Result<()> {
    let mut source = Source::open(path)?;
    let mut leaves = Vec::new();
    let mut each = |name: &str, leaf: Leaf<'_>| {
        if let Leaf::Parameter(tensor) | Leaf::Buffer(tensor) = leaf {
            leaves.push((name.to_string(), tensor.clone()));
        }
    };
    module.visit(&mut Visitor::new(&mut each));
    let wanted = leaves.iter().map(|(name, _)| name.as_str());
    let given = source.header.tensors.keys().map(String::as_str);
    let mut misfits = state::Misfits::of_names(wanted, given, names);
    for (name, tensor) in &leaves {
        if let Some(entry) = source.header.tensors.get(name) {
            misfits.check(name, tensor, &entry.shape, entry.dtype);
        }
    }
    if let Some(summary) = misfits.summary() {
        return Err(source.error(summary));
    }
    let mut values = Vec::with_capacity(leaves.len());
    for (name, tensor) in &leaves {
        if let Some(entry) = source.header.tensors.get(name).cloned() {
            let value = source.tensor(name, &entry, tensor.device())?;
            values.push((tensor, value.to_dtype(tensor.dtype()?).checked()?));
        }
    }
    state::assign_all(&values)
}

/// A file whose header has been checked.
struct Source<R> {
    reader: R,
    name: String,
    header: Header,
    /// Where the data begin.
    start: u64,
}

#[cfg(not(target_arch = "wasm32"))]
impl Source<std::io::BufReader<File>> {
    fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|e| file_error(&name, e.to_string()))?;
        Source::new(std::io::BufReader::new(file), &name)
    }
}

impl<R: Read + Seek> Source<R> {
    fn new(mut reader: R, name: &str) -> Result<Source<R>> {
        let (header, start) =
            header::read(&mut reader).map_err(|problem| file_error(name, problem))?;
        Ok(Source {
            reader,
            name: name.to_string(),
            header,
            start,
        })
    }

    fn error(&self, problem: String) -> Error {
        file_error(&self.name, problem)
    }

    fn tensors(mut self, device: &Device) -> Result<(StateDict, Metadata)> {
        let mut dict = StateDict::new();
        for (name, entry) in std::mem::take(&mut self.header.tensors) {
            let tensor = self.tensor(&name, &entry, device)?;
            dict.insert(name, tensor);
        }
        Ok((dict, self.header.metadata))
    }

    /// Reads one tensor. The header has been checked, so its length is within the file's.
    fn tensor(&mut self, name: &str, entry: &Entry, device: &Device) -> Result<Tensor> {
        let mut bytes = vec![0; entry.end - entry.begin];
        self.reader
            .seek(SeekFrom::Start(self.start + entry.begin as u64))
            .and_then(|_| self.reader.read_exact(&mut bytes))
            .map_err(|e| self.error(format!("tensor {name}: {e}")))?;
        if entry.dtype == DType::Bool && bytes.iter().any(|&b| b > 1) {
            return Err(self.error(format!("tensor {name}: a bool that is neither 0 nor 1")));
        }
        upload(&bytes, entry.dtype, &entry.shape, device)
            .map_err(|e| self.error(format!("tensor {name}: {e}")))
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
