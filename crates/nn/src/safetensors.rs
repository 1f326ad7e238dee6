//! [safetensors](https://github.com/huggingface/safetensors) files: named tensors that PyTorch and
//! other frameworks read and write.
//!
//! Files are not trusted: the `safetensors` crate checks header and offsets against the file's true
//! length, nothing is allocated for what a file merely claims to hold, and every mistake is an
//! [`Error::File`](wgrad_core::Error::File) with the file's name.

#[cfg(not(target_arch = "wasm32"))]
mod shards;
#[cfg(not(target_arch = "wasm32"))]
mod write;

use std::collections::BTreeMap;
#[cfg(not(target_arch = "wasm32"))]
use std::path::{Path, PathBuf};

use ::safetensors::{Dtype, SafeTensors, tensor::TensorInfo};
use wgrad_core::{DType, Device, Result, Shape, Tensor};
use wgrad_files::{LARGEST_RANK, file_error};

use crate::state::StateDict;
#[cfg(not(target_arch = "wasm32"))]
use crate::{module::Module, part::Leaf, part::Visitor, state, state::Match};

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
/// What reading the tensors can fail with, and [`Error::File`](wgrad_core::Error::File).
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

/// Writes tensors to several files of at most `most` bytes each, in Hugging Face's layout: `model-00001-of-00003.safetensors`
/// and so on in a directory, and `model.safetensors.index.json`, which is written last and whose path is the result. A
/// tensor that is larger alone has a file of its own.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_core::Tensor;
/// use wgrad_nn::{StateDict, safetensors};
///
/// let directory = std::env::temp_dir().join(format!("shards-{}", std::process::id()));
/// let tensors = ["a", "b", "c"].map(|name| (name.to_string(), Tensor::zeros([100], &dev)));
/// let index = safetensors::save_sharded(&directory, &StateDict::from(tensors), 800)?;
/// assert!(directory.join("model-00002-of-00002.safetensors").exists());
/// assert_eq!(safetensors::load(index, &dev)?.len(), 3);
/// # std::fs::remove_dir_all(&directory).ok();
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`save`].
#[cfg(not(target_arch = "wasm32"))]
pub fn save_sharded(
    directory: impl AsRef<Path>,
    tensors: &StateDict,
    most: usize,
) -> Result<PathBuf> {
    shards::save(directory.as_ref(), tensors, most)
}

/// Reads a file's tensors onto a device, or those of several files whose index (`model.safetensors.index.json`) is
/// given. Files are mapped: a tensor's bytes go from there to the device as they lie, 16-bit floats too. Types that the device does not have become the nearest
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
/// [`Error::File`](wgrad_core::Error::File) where the file cannot be read or is not sound.
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
    let files = shards::Files::open(path.as_ref())?;
    let (tensors, metadata) = files.contents()?;
    Ok((uploaded(tensors, device)?, metadata))
}

/// The tensors on a device.
fn uploaded<'a>(
    tensors: impl IntoIterator<Item = (String, (&'a str, Entry<'a>))>,
    device: &Device,
) -> Result<StateDict> {
    let mut dict = StateDict::new();
    for (tensor, (file, entry)) in tensors {
        let value = match entry.upload(&tensor, file, device) {
            Err(error) if entry.dtype.is_err() => Tensor::zeros((), &Device::failed(error)),
            made => made?,
        };
        dict.insert(tensor, value);
    }
    Ok(dict)
}

/// Reads tensors from a file's bytes; `name` stands for the file in errors.
///
/// # Errors
/// As [`load`].
pub fn decode(bytes: &[u8], name: &str, device: &Device) -> Result<(StateDict, Metadata)> {
    let contents = Contents::parse(bytes, name)?;
    let tensors = contents.tensors.into_iter();
    let named = tensors.map(|(tensor, entry)| (tensor, (name, entry)));
    Ok((uploaded(named, device)?, contents.metadata))
}

/// Gives a module the values of a file. The header tells whether everything fits before any
/// tensor is made.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn load_into<M: Module + ?Sized>(module: &M, path: &Path, names: Match) -> Result<()> {
    let file = path.display().to_string();
    let files = shards::Files::open(path)?;
    let (entries, _) = files.contents()?;
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
        if let Some((_, entry)) = entries.get(name) {
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
        if let Some((file, entry)) = entries.get(name) {
            let value = entry.upload(name, file, tensor.device())?;
            values.push((tensor, value.to_dtype(tensor.dtype()?).checked()?));
        }
    }
    state::assign_all(&values)
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
        if shape.len() > LARGEST_RANK {
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
        wgrad_files::tensor(self.bytes, *dtype, &self.shape, device)
            .map_err(|e| file_error(file, format!("tensor {name}: {e}")))
    }
}
