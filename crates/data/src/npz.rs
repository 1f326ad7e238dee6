//! NumPy's `.npz` files: zip archives of named `.npy` arrays, stored or deflated.

use std::collections::BTreeMap;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use wgrad_core::{Device, Result, Tensor};
use wgrad_files::file_error;
use wgrad_files::zip::Archive;
#[cfg(not(target_arch = "wasm32"))]
use wgrad_files::{Mapped, replace_with, zip::Writer};

use crate::npy;

/// Reads a file's arrays onto a device, by name.
///
/// ```
/// # use wgrad::prelude::*;
/// use std::collections::BTreeMap;
/// use wgrad::data::npz;
/// # let dev = wgrad::cpu();
/// let path = std::env::temp_dir().join(format!("example-{}.npz", std::process::id()));
/// npz::save(&path, &BTreeMap::from([("x".to_string(), Tensor::new([1, 2], &dev))]))?;
/// assert_eq!(npz::load(&path, &dev)?["x"].to_vec::<i32>()?, [1, 2]);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::File`](wgrad_core::Error::File) where the file cannot be read or is not sound.
#[cfg(not(target_arch = "wasm32"))]
#[track_caller]
pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    let path = path.as_ref();
    decode(&Mapped::open(path)?, &path.display().to_string(), device)
}

/// A file's bytes as tensors; `name` stands for the file in errors. Entries that are no arrays are left out.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::npz;
/// # let dev = wgrad::cpu();
/// assert!(npz::decode(b"PK", "x.npz", &dev).unwrap_err().to_string().starts_with("x.npz: "));
/// ```
///
/// # Errors
/// As [`load`].
#[track_caller]
pub fn decode(bytes: &[u8], name: &str, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    let wrong = |problem: String| file_error(name, problem);
    let archive = Archive::parse(bytes).map_err(wrong)?;
    let mut arrays = BTreeMap::new();
    for entry in archive.entries() {
        if let Some(array) = entry.name().strip_suffix(".npy") {
            let contents = entry.read().map_err(wrong)?;
            let file = format!("{name}: {}", entry.name());
            arrays.insert(array.to_string(), npy::decode(&contents, &file, device)?);
        }
    }
    Ok(arrays)
}

/// Writes tensors to a file, which is replaced at once or not at all. `numpy.load` reads it.
///
/// # Errors
/// As [`npy::save`].
#[cfg(not(target_arch = "wasm32"))]
pub fn save(path: impl AsRef<Path>, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let file = path.as_ref().display().to_string();
    replace_with(path, |handle| {
        let mut archive = Writer::new(handle);
        for (name, tensor) in tensors {
            let contents = npy::encode(tensor, &format!("{file}: {name}"))?;
            archive.add(&format!("{name}.npy"), &contents)?;
        }
        archive.finish()?;
        Ok(())
    })
}
