//! Writing a safetensors file.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};
use wgrad_core::{DType, Result, Shape, Tensor};

use super::{Metadata, file_error, header};
use crate::state::StateDict;

/// A tensor's place in the file.
struct Item<'a> {
    name: &'a str,
    tensor: &'a Tensor,
    dtype: DType,
    shape: Shape,
    bytes: usize,
}

pub fn save(path: &Path, tensors: &StateDict, metadata: &Metadata) -> Result<()> {
    let file = path.display().to_string();
    let mut items = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        if name == "__metadata__" {
            let problem = "no tensor may be named __metadata__";
            return Err(file_error(&file, problem));
        }
        let (dtype, shape) = (tensor.dtype()?, tensor.shape()?);
        let bytes = shape.numel() * dtype.size();
        items.push(Item {
            name,
            tensor,
            dtype,
            shape,
            bytes,
        });
    }
    // The widest types first, so that all data are aligned; names are in order already.
    items.sort_by_key(|item| std::cmp::Reverse(item.dtype.size()));
    let header = header_text(&items, metadata).map_err(|problem| file_error(&file, problem))?;

    let io = |e: std::io::Error| file_error(&file, e.to_string());
    let (temporary, handle) = Temporary::create(path).map_err(io)?;
    let mut writer = BufWriter::new(handle);
    writer
        .write_all(&(header.len() as u64).to_le_bytes())
        .and_then(|()| writer.write_all(&header))
        .map_err(io)?;
    for item in &items {
        writer.write_all(&item.tensor.to_bytes()?).map_err(io)?;
    }
    let handle = writer.into_inner().map_err(|e| io(e.into_error()))?;
    handle.sync_all().map_err(io)?;
    drop(handle);
    temporary.rename(path).map_err(io)
}

/// The header, padded so that the data begin at a multiple of 8.
fn header_text(items: &[Item<'_>], metadata: &Metadata) -> Result<Vec<u8>, String> {
    let mut map = Map::new();
    if !metadata.is_empty() {
        map.insert("__metadata__".into(), json!(metadata));
    }
    let mut begin = 0;
    for item in items {
        let dtype = header::type_name(item.dtype)
            .ok_or_else(|| format!("{}: files do not hold {}", item.name, item.dtype))?;
        let end = begin + item.bytes;
        let entry = json!({
            "dtype": dtype,
            "shape": item.shape.dims(),
            "data_offsets": [begin, end],
        });
        map.insert(item.name.into(), entry);
        begin = end;
    }
    let mut text = Value::Object(map).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok(text)
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
