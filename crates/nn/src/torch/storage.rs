//! The archive's numbers, and tensors as views of them.

use std::borrow::Cow;
use std::collections::HashMap;

use wgrad_core::{DType, Device, Error, Place, Shape, Tensor};
use wgrad_files::LARGEST_RANK;
use wgrad_files::zip::{Archive, Entry};

/// The type of numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Known(DType),
    /// By its name: wgrad has none like it.
    Unknown(String),
}

const TYPES: [(&str, &str, DType); 11] = [
    ("DoubleStorage", "float64", DType::F64),
    ("FloatStorage", "float32", DType::F32),
    ("HalfStorage", "float16", DType::F16),
    ("BFloat16Storage", "bfloat16", DType::BF16),
    ("LongStorage", "int64", DType::I64),
    ("IntStorage", "int32", DType::I32),
    ("ShortStorage", "int16", DType::I16),
    ("CharStorage", "int8", DType::I8),
    ("ByteStorage", "uint8", DType::U8),
    ("BoolStorage", "bool", DType::Bool),
    ("", "uint32", DType::U32),
];

impl Kind {
    /// Of `torch.FloatStorage` and its like; bytes where there is no type.
    pub fn of_storage(class: &str) -> Kind {
        let name = class.rsplit('.').next().unwrap_or_default();
        if name == "UntypedStorage" {
            return Kind::Known(DType::U8);
        }
        let known = TYPES.iter().find(|(storage, ..)| *storage == name);
        known.map_or_else(
            || Kind::Unknown(name.to_string()),
            |(.., dtype)| Kind::Known(*dtype),
        )
    }

    /// Of `torch.float32` and its like.
    pub fn of_dtype(name: &str) -> Kind {
        let known = TYPES
            .iter()
            .find(|(_, of, _)| name.strip_prefix("torch.") == Some(of));
        known.map_or_else(
            || Kind::Unknown(name.to_string()),
            |(.., dtype)| Kind::Known(*dtype),
        )
    }
}

/// Numbers in the archive.
#[derive(Clone)]
pub(super) struct Storage {
    pub kind: Kind,
    pub key: String,
    pub length: usize,
}

/// A part of a storage, in elements.
pub(super) struct View {
    /// The elements' type where it is not the storage's.
    pub kind: Option<Kind>,
    pub offset: usize,
    pub sizes: Vec<usize>,
    pub strides: Vec<usize>,
}

/// A tensor's storage, type, offset, sizes and strides.
type Identity = (String, DType, usize, Vec<usize>, Vec<usize>);

pub(super) struct Storages<'a> {
    entries: HashMap<&'a str, &'a Entry<'a>>,
    /// What was read: its checksum is right.
    read: HashMap<String, Cow<'a, [u8]>>,
    big_endian: bool,
    device: Device,
    made: HashMap<Identity, Tensor>,
    /// How many bytes of tensors may yet be made. Views of the same numbers would otherwise let a small file fill any
    /// memory.
    budget: usize,
}

impl<'a> Storages<'a> {
    pub fn new(
        archive: &'a Archive<'a>,
        prefix: &str,
        file_size: usize,
        device: &Device,
    ) -> Result<Storages<'a>, String> {
        let order = archive.entry(&format!("{prefix}byteorder"));
        let order = order.map(Entry::read).transpose()?;
        let big_endian = match order.as_deref() {
            None | Some(b"little") => false,
            Some(b"big") => true,
            Some(_) => return Err("a byte order that is neither little nor big".to_string()),
        };
        let folder = format!("{prefix}data/");
        let numbers = archive.entries().iter();
        let numbers = numbers.filter_map(|e| Some((e.name().strip_prefix(&folder)?, e)));
        let unpacked: usize = archive
            .entries()
            .iter()
            .map(Entry::len)
            .fold(0, usize::saturating_add);
        Ok(Storages {
            entries: numbers.collect(),
            read: HashMap::new(),
            big_endian,
            device: device.clone(),
            made: HashMap::new(),
            budget: unpacked.max(file_size).saturating_mul(16),
        })
    }

    /// A tensor of a part of a storage.
    pub fn tensor(&mut self, storage: &Storage, view: &View) -> Result<Tensor, String> {
        let named = |problem: &str| format!("storage {}: {problem}", storage.key);
        let kind = view.kind.as_ref().unwrap_or(&storage.kind);
        let dtype = match kind {
            Kind::Known(dtype) => *dtype,
            Kind::Unknown(name) => {
                let error = Error::DType {
                    op: "torch::load",
                    problem: format!("the type {name} is not known"),
                    place: Place::caller(),
                };
                return Ok(Tensor::zeros((), &Device::failed(error)));
            }
        };
        let (sizes, strides) = (&view.sizes, &view.strides);
        if sizes.len() != strides.len() || sizes.len() > LARGEST_RANK {
            return Err(named("sizes and strides do not belong together"));
        }
        let identity = (
            storage.key.clone(),
            dtype,
            view.offset,
            sizes.clone(),
            strides.clone(),
        );
        if let Some(made) = self.made.get(&identity) {
            return Ok(made.clone());
        }
        if !self.read.contains_key(&storage.key) {
            let entry = self.entries.get(storage.key.as_str());
            let entry = entry.ok_or_else(|| named("it is not in the file"))?;
            let bytes = entry.read()?;
            let width = match &storage.kind {
                Kind::Known(dtype) => dtype.size(),
                // Known by the view alone; its bounds are checked.
                Kind::Unknown(_) => 0,
            };
            if width > 0 && storage.length.checked_mul(width) != Some(bytes.len()) {
                let problem = format!("{} bytes for {} elements", bytes.len(), storage.length);
                return Err(named(&problem));
            }
            self.read.insert(storage.key.clone(), bytes);
        }
        let bytes = &self.read[&storage.key];
        // Dimensions without a step repeat what is there: they are views on the device too.
        let stored: Vec<usize> = sizes
            .iter()
            .zip(strides)
            .map(|(&n, &step)| if step == 0 && n > 1 { 1 } else { n })
            .collect();
        let stored = Shape::new(&stored);
        let width = dtype.size();
        let needed = stored.checked_numel().and_then(|n| n.checked_mul(width));
        let last = last_element(view, &stored);
        let end = last.and_then(|last| last.checked_mul(width));
        let (Some(needed), Some(end)) = (needed, end) else {
            return Err(named("a tensor beyond any memory"));
        };
        if needed > 0 && end > bytes.len() {
            return Err(named("a tensor that reaches beyond it"));
        }
        self.budget = self.budget.checked_sub(needed).ok_or_else(|| {
            named("tensors that share numbers would take more than 16 times the file's size")
        })?;
        let begin = view.offset * width;
        let mut values = if needed == 0 {
            Cow::Borrowed(&[][..])
        } else if is_contiguous(&stored, strides) {
            Cow::Borrowed(&bytes[begin..begin + needed])
        } else {
            Cow::Owned(gathered(&bytes[begin..], &stored, strides, width))
        };
        if self.big_endian && width > 1 {
            values
                .to_mut()
                .chunks_exact_mut(width)
                .for_each(<[u8]>::reverse);
        }
        let tensor = wgrad_files::tensor(&values, dtype, &stored, &self.device)
            .map_err(|e| named(&e.to_string()))?;
        let tensor = match stored.dims() == &sizes[..] {
            true => tensor,
            false => tensor
                .expand(&sizes[..])
                .checked()
                .map_err(|e| named(&e.to_string()))?,
        };
        self.made.insert(identity, tensor.clone());
        Ok(tensor)
    }
}

/// One more than the last element of a view, from the storage's begin.
fn last_element(view: &View, stored: &Shape) -> Option<usize> {
    let steps = stored.dims().iter().zip(&view.strides);
    let mut reach = steps.map(|(&n, &step)| n.saturating_sub(1).checked_mul(step));
    let reach = reach.try_fold(view.offset, |sum, r| sum.checked_add(r?))?;
    reach.checked_add(1)
}

fn is_contiguous(shape: &Shape, strides: &[usize]) -> bool {
    let mut step = 1;
    shape.dims().iter().zip(strides).rev().all(|(&n, &stride)| {
        let fits = n == 1 || stride == step;
        step *= n;
        fits
    })
}

/// The elements of a view in row-major order.
fn gathered(bytes: &[u8], shape: &Shape, strides: &[usize], width: usize) -> Vec<u8> {
    let dims = shape.dims();
    let mut values = Vec::with_capacity(shape.numel() * width);
    let mut at = vec![0; dims.len()];
    let mut from = 0;
    for _ in 0..shape.numel() {
        values.extend_from_slice(&bytes[from * width..(from + 1) * width]);
        for axis in (0..dims.len()).rev() {
            at[axis] += 1;
            from += strides[axis];
            if at[axis] < dims[axis] {
                break;
            }
            from -= dims[axis] * strides[axis];
            at[axis] = 0;
        }
    }
    values
}
