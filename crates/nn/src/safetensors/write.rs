//! Writing a safetensors file.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ::safetensors::{Dtype, View};
use wgrad_core::{Error, Result, Shape, Tensor};

use super::{Metadata, TYPES, file_error};
use crate::state::StateDict;

/// A tensor whose bytes are read when they are written.
struct Item<'a> {
    tensor: &'a Tensor,
    dtype: Dtype,
    shape: Shape,
    bytes: usize,
    /// Why a tensor could not be read.
    failure: &'a OnceCell<Error>,
}

impl View for Item<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.shape.dims()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = self.tensor.to_bytes().unwrap_or_else(|error| {
            self.failure.get_or_init(|| error);
            Vec::new()
        });
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.bytes
    }
}

pub fn save(path: &Path, tensors: &StateDict, metadata: &Metadata) -> Result<()> {
    let file = path.display().to_string();
    let failure = OnceCell::new();
    let mut items = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        if name == "__metadata__" {
            let problem = "no tensor may be named __metadata__";
            return Err(file_error(&file, problem));
        }
        let (dtype, shape) = (tensor.dtype()?, tensor.shape()?);
        let Some((written, _)) = TYPES.iter().find(|(_, known)| *known == dtype) else {
            let problem = format!("{name}: files do not hold {dtype}");
            return Err(file_error(&file, problem));
        };
        let item = Item {
            tensor,
            dtype: *written,
            bytes: shape.numel() * dtype.size(),
            shape,
            failure: &failure,
        };
        items.push((name.as_str(), item));
    }
    let strings = metadata.iter().map(|(k, v)| (k.clone(), v.clone()));
    let strings = (!metadata.is_empty()).then(|| strings.collect());
    let contents = ::safetensors::serialize(items, strings);
    if let Some(error) = failure.into_inner() {
        return Err(error);
    }
    let contents = contents.map_err(|e| file_error(&file, e.to_string()))?;
    replace(path, &contents).map_err(|e| file_error(&file, e.to_string()))
}

/// Puts a file with these bytes in the place of the one at `path`.
fn replace(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    let (temporary, mut handle) = Temporary::create(path)?;
    handle.write_all(contents)?;
    handle.sync_all()?;
    drop(handle);
    temporary.rename(path)
}

/// A file beside the one to be written, removed unless it takes that one's place.
struct Temporary(Option<PathBuf>);

impl Temporary {
    fn create(path: &Path) -> std::io::Result<(Temporary, File)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = path.file_name().ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path names no file")
        })?;
        loop {
            let unique = NEXT.fetch_add(1, Ordering::Relaxed);
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}.{unique}.partial", std::process::id()));
            let temporary = path.with_file_name(hidden);
            // A left-over of a process of the same number is not touched.
            match OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&temporary)
            {
                Ok(file) => return Ok((Temporary(Some(temporary)), file)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn rename(mut self, path: &Path) -> std::io::Result<()> {
        if let Some(temporary) = &self.0 {
            std::fs::rename(temporary, path)?;
            // The new name is on the disk once its directory is. Not every system lets a
            // directory be opened, and the file is whole in any case.
            let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
            if let Ok(directory) = File::open(directory.unwrap_or(Path::new("."))) {
                let _ = directory.sync_all();
            }
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Nothing more can be done about a file that cannot be removed.
            let _ = std::fs::remove_file(path);
        }
    }
}
