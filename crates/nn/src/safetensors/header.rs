//! The header of a safetensors file: parsed without trust.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Seek, SeekFrom};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use wgrad_core::{DType, Shape};

use super::Metadata;

/// The largest header that is read, as in the reference implementation.
const LARGEST: u64 = 100_000_000;

/// More dimensions than any tensor of use has, and few enough for every kernel.
const MOST_DIMENSIONS: usize = 32;

/// The names of the types in files.
const TYPES: [(&str, DType); 9] = [
    ("F64", DType::F64),
    ("F32", DType::F32),
    ("F16", DType::F16),
    ("BF16", DType::BF16),
    ("I64", DType::I64),
    ("I32", DType::I32),
    ("U32", DType::U32),
    ("U8", DType::U8),
    ("BOOL", DType::Bool),
];

/// The name of a type in files.
pub fn type_name(dtype: DType) -> Option<&'static str> {
    let found = TYPES.iter().find(|(_, d)| *d == dtype);
    found.map(|(name, _)| *name)
}

/// A tensor in a file.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    pub dtype: DType,
    pub shape: Shape,
    /// The first byte, from where the data begin.
    pub begin: usize,
    /// The byte after the last.
    pub end: usize,
}

/// What a file holds.
#[derive(Default)]
pub struct Header {
    pub tensors: BTreeMap<String, Entry>,
    pub metadata: Metadata,
}

/// Reads and checks a header; also tells where the data begin.
pub fn read(source: &mut (impl Read + Seek)) -> Result<(Header, u64), String> {
    let io = |e: std::io::Error| e.to_string();
    let length = source.seek(SeekFrom::End(0)).map_err(io)?;
    source.seek(SeekFrom::Start(0)).map_err(io)?;
    if length < 8 {
        return Err(format!(
            "not a safetensors file: {length} bytes are too few for a header"
        ));
    }
    let mut size = [0; 8];
    source.read_exact(&mut size).map_err(io)?;
    let size = u64::from_le_bytes(size);
    if size > LARGEST || size > length - 8 {
        return Err(format!(
            "not a safetensors file, or a truncated one: a header of {size} bytes in a file of \
             {length}"
        ));
    }
    let mut text = vec![0; size as usize]; // at most LARGEST
    source.read_exact(&mut text).map_err(io)?;
    let raw: Raw = serde_json::from_slice(&text)
        .map_err(|e| format!("the header is not what it should be: {e}"))?;
    let start = 8 + size;
    Ok((check(raw, length - start)?, start))
}

/// The header as it is written.
#[derive(Default)]
struct Raw {
    tensors: BTreeMap<String, RawEntry>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// A map of strings in which no name stands twice.
struct Strings(Metadata);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from names to tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut raw = Raw::default();
                let mut metadata_seen = false;
                while let Some(name) = map.next_key::<String>()? {
                    let twice = if name == "__metadata__" {
                        raw.metadata = map.next_value::<Strings>()?.0;
                        std::mem::replace(&mut metadata_seen, true)
                    } else {
                        let entry = map.next_value()?;
                        raw.tensors.insert(name.clone(), entry).is_some()
                    };
                    if twice {
                        return Err(A::Error::custom(format!("the name {name} stands twice")));
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strings, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Strings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from strings to strings")
            }

            fn visit_unit<E>(self) -> Result<Strings, E> {
                Ok(Strings(Metadata::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strings, A::Error> {
                let mut strings = Metadata::new();
                while let Some(name) = map.next_key::<String>()? {
                    if strings.contains_key(&name) {
                        map.next_value::<IgnoredAny>()?;
                        return Err(A::Error::custom(format!("the name {name} stands twice")));
                    }
                    strings.insert(name, map.next_value()?);
                }
                Ok(Strings(strings))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

/// Checks types, shapes and offsets: the tensors must fill `available` bytes without gaps and
/// without overlaps.
fn check(raw: Raw, available: u64) -> Result<Header, String> {
    let mut tensors = BTreeMap::new();
    let mut extents = Vec::with_capacity(raw.tensors.len());
    for (name, entry) in raw.tensors {
        let (begin, end) = entry.data_offsets;
        if begin > end || end > available {
            return Err(format!(
                "tensor {name}: bytes {begin} to {end} of {available}; the file is truncated or \
                 its header is wrong"
            ));
        }
        let dtype = TYPES
            .iter()
            .find(|(written, _)| *written == entry.dtype)
            .map(|(_, dtype)| *dtype)
            .ok_or_else(|| format!("tensor {name}: the type {} is not known", entry.dtype))?;
        if entry.shape.len() > MOST_DIMENSIONS {
            let rank = entry.shape.len();
            return Err(format!("tensor {name}: {rank} dimensions are too many"));
        }
        let sizes = entry.shape.iter().map(|&d| usize::try_from(d));
        let shape: Option<Shape> = sizes.collect::<Result<Shape, _>>().ok();
        let bytes = shape
            .as_ref()
            .and_then(Shape::checked_numel)
            .and_then(|n| n.checked_mul(dtype.size()));
        let (Some(shape), Some(bytes)) = (shape, bytes) else {
            return Err(format!(
                "tensor {name}: shape {:?} is too large",
                entry.shape
            ));
        };
        if bytes as u64 != end - begin {
            return Err(format!(
                "tensor {name}: shape {shape} of {dtype} takes {bytes} bytes, not {}",
                end - begin
            ));
        }
        extents.push((begin, end, name.clone()));
        let (Ok(begin), Ok(end)) = (usize::try_from(begin), usize::try_from(end)) else {
            return Err(format!("tensor {name}: too large for this machine"));
        };
        let entry = Entry {
            dtype,
            shape,
            begin,
            end,
        };
        tensors.insert(name, entry);
    }
    extents.sort_unstable();
    let mut filled = 0;
    for (begin, end, name) in extents {
        if begin != filled {
            let what = if begin < filled {
                "an overlap"
            } else {
                "a gap"
            };
            return Err(format!("tensor {name}: {what} in the data at byte {begin}"));
        }
        filled = end;
    }
    if filled != available {
        return Err(format!(
            "{} bytes of data, of which the tensors fill {filled}",
            available
        ));
    }
    Ok(Header {
        tensors,
        metadata: raw.metadata,
    })
}
