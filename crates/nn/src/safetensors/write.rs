//! Writing a safetensors file.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::path::Path;

use ::safetensors::{Dtype, View};
use wgrad_core::{Error, Result, Shape, Tensor};
use wgrad_files::{file_error, replace};

use super::{Metadata, TYPES};
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
    replace(path, &contents)
}
