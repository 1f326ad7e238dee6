//! NumPy's `.npy` files: one array each.
//!
//! Floats, integers and bools of either byte order and either layout are read; unsigned integers that wgrad lacks become
//! the next wider signed ones. Files of Python objects and of records are refused. What is written is little-endian and
//! row-major, as NumPy writes it.

use wgrad_core::{DType, Device, Element, Result, Shape, Tensor};
use wgrad_files::{LARGEST_RANK, file_error};
#[cfg(not(target_arch = "wasm32"))]
use {std::path::Path, wgrad_files::Mapped};

use crate::Array;

/// Reads a file's array onto a device. Types that the device does not have become the nearest that it has.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::npy;
/// # let dev = wgrad::cpu();
/// let path = std::env::temp_dir().join(format!("example-{}.npy", std::process::id()));
/// npy::save(&path, &Tensor::new([[1.0, 2.0], [3.0, 4.0]], &dev))?;
/// assert_eq!(npy::load(&path, &dev)?.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::File`](wgrad_core::Error::File) where the file cannot be read or is not sound.
#[cfg(not(target_arch = "wasm32"))]
#[track_caller]
pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Tensor> {
    let path = path.as_ref();
    decode(&Mapped::open(path)?, &path.display().to_string(), device)
}

/// Reads a file's array, whose type must be `E`.
///
/// ```
/// use wgrad::data::{Array, npy};
///
/// let path = std::env::temp_dir().join(format!("load-{}.npy", std::process::id()));
/// npy::save_array(&path, &Array::full(1.5f32, [2, 3]))?;
/// assert_eq!(npy::load_array::<f32>(&path)?.dims(), [2, 3]);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// As [`load`].
#[cfg(not(target_arch = "wasm32"))]
pub fn load_array<E: Element>(path: impl AsRef<Path>) -> Result<Array<E>> {
    let path = path.as_ref();
    decode_array(&Mapped::open(path)?, &path.display().to_string())
}

/// Writes a tensor to a file, which is replaced at once or not at all.
///
/// # Errors
/// What reading the tensor can fail with, [`Error::File`](wgrad_core::Error::File), and `bf16`, which NumPy lacks.
#[cfg(not(target_arch = "wasm32"))]
pub fn save(path: impl AsRef<Path>, tensor: &Tensor) -> Result<()> {
    let contents = encode(tensor, &path.as_ref().display().to_string())?;
    wgrad_files::replace(path, &contents)
}

/// Writes an array to a file.
///
/// ```
/// use wgrad::data::{Array, npy};
///
/// let path = std::env::temp_dir().join(format!("save-{}.npy", std::process::id()));
/// npy::save_array(&path, &Array::full(1.5f32, [2, 3]))?;
/// assert_eq!(npy::load_array::<f32>(&path)?.dims(), [2, 3]);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// As [`save`].
#[cfg(not(target_arch = "wasm32"))]
pub fn save_array<E: Element>(path: impl AsRef<Path>, array: &Array<E>) -> Result<()> {
    let bytes = E::bytes(array.values());
    let name = path.as_ref().display().to_string();
    wgrad_files::replace(path, &encoded(bytes, E::DTYPE, array.shape(), &name)?)
}

/// A file's bytes as a tensor; `name` stands for the file in errors.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::npy;
/// # let dev = wgrad::cpu();
/// let bytes = npy::encode(&Tensor::new([1, 2], &dev), "x.npy")?;
/// assert_eq!(npy::decode(&bytes, "x.npy", &dev)?.to_vec::<i32>()?, [1, 2]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`load`].
#[track_caller]
pub fn decode(bytes: &[u8], name: &str, device: &Device) -> Result<Tensor> {
    let contents = Contents::parse(bytes).map_err(|problem| file_error(name, problem))?;
    let (dtype, data) = contents.little_endian_rows();
    wgrad_files::tensor(&data, dtype, &contents.shape, device)
        .map_err(|e| file_error(name, e.to_string()))
}

/// A file's bytes as an array.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::npy;
/// # let dev = wgrad::cpu();
/// let bytes = npy::encode(&Tensor::new([1, 2], &dev), "x.npy")?;
/// assert_eq!(npy::decode_array::<i32>(&bytes, "x.npy")?.values(), [1, 2]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`load_array`].
pub fn decode_array<E: Element>(bytes: &[u8], name: &str) -> Result<Array<E>> {
    let contents = Contents::parse(bytes).map_err(|problem| file_error(name, problem))?;
    let (dtype, data) = contents.little_endian_rows();
    if dtype != E::DTYPE {
        let problem = format!("it holds {dtype}, not {}", E::DTYPE);
        return Err(file_error(name, problem));
    }
    if dtype == DType::Bool && data.iter().any(|&b| b > 1) {
        return Err(file_error(name, "a bool that is neither 0 nor 1"));
    }
    Array::new(E::from_bytes(&data), &contents.shape)
}

/// A tensor as a file's bytes.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::npy;
/// # let dev = wgrad::cpu();
/// let bytes = npy::encode(&Tensor::scalar(1.5, &dev), "x.npy")?;
/// assert!(bytes.starts_with(b"\x93NUMPY"));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`save`].
#[cfg(not(target_arch = "wasm32"))]
pub fn encode(tensor: &Tensor, name: &str) -> Result<Vec<u8>> {
    encoded(&tensor.to_bytes()?, tensor.dtype()?, &tensor.shape()?, name)
}

#[cfg(not(target_arch = "wasm32"))]
fn encoded(data: &[u8], dtype: DType, shape: &Shape, name: &str) -> Result<Vec<u8>> {
    let Some((descr, _)) = TYPES.iter().find(|(_, kind)| kind.dtype() == dtype) else {
        let problem = format!("NumPy has no {dtype}; convert to f32 first");
        return Err(file_error(name, problem));
    };
    let order = if dtype.size() == 1 { '|' } else { '<' };
    let dims: Vec<String> = shape.dims().iter().map(usize::to_string).collect();
    let comma = if dims.len() == 1 { "," } else { "" };
    let mut header = format!(
        "{{'descr': '{order}{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}",
        dims.join(", ")
    );
    // The data begin at a multiple of 64.
    let length = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 4;
    while header.len() + 1 < length {
        header.push(' ');
    }
    header.push('\n');
    let mut file = MAGIC.to_vec();
    file.extend([1, 0]);
    file.extend((header.len() as u16).to_le_bytes()); // 32 dimensions are 700 bytes at most
    file.extend(header.into_bytes());
    file.extend_from_slice(data);
    Ok(file)
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// A type in a file.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    /// As tensors have it.
    Same(DType),
    /// Two unsigned bytes, which become an `i32`.
    U16,
    /// Eight unsigned bytes, which become an `i64` where they fit.
    U64,
}

impl Kind {
    fn dtype(self) -> DType {
        match self {
            Kind::Same(dtype) => dtype,
            Kind::U16 => DType::I32,
            Kind::U64 => DType::I64,
        }
    }

    fn size(self) -> usize {
        match self {
            Kind::Same(dtype) => dtype.size(),
            Kind::U16 => size_of::<u16>(),
            Kind::U64 => size_of::<u64>(),
        }
    }
}

const TYPES: [(&str, Kind); 12] = [
    ("f8", Kind::Same(DType::F64)),
    ("f4", Kind::Same(DType::F32)),
    ("f2", Kind::Same(DType::F16)),
    ("i8", Kind::Same(DType::I64)),
    ("i4", Kind::Same(DType::I32)),
    ("i2", Kind::Same(DType::I16)),
    ("i1", Kind::Same(DType::I8)),
    ("u8", Kind::U64),
    ("u4", Kind::Same(DType::U32)),
    ("u2", Kind::U16),
    ("u1", Kind::Same(DType::U8)),
    ("b1", Kind::Same(DType::Bool)),
];

struct Contents<'a> {
    kind: Kind,
    big_endian: bool,
    columns_first: bool,
    shape: Shape,
    data: &'a [u8],
}

impl<'a> Contents<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Contents<'a>, String> {
        let short = |n: usize| format!("byte {n}: the file ends within the header");
        if bytes.get(..MAGIC.len()) != Some(MAGIC) {
            return Err("byte 0: not an .npy file".to_string());
        }
        let version = *bytes.get(6).ok_or_else(|| short(bytes.len()))?;
        let (begin, length): (usize, Option<usize>) = match version {
            1 => (
                10,
                bytes
                    .get(8..10)
                    .map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))),
            ),
            2 | 3 => {
                let length = bytes.get(8..12);
                (
                    12,
                    length.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize),
                )
            }
            other => return Err(format!("byte 6: version {other} is not known")),
        };
        let header = length.and_then(|n| bytes.get(begin..begin.checked_add(n)?));
        let header = header.ok_or_else(|| short(bytes.len()))?;
        let data = &bytes[begin + header.len()..];
        let header = std::str::from_utf8(header)
            .map_err(|_| format!("byte {begin}: the header is not text"))?;
        let header =
            Header::parse(header).map_err(|problem| format!("byte {begin}: header: {problem}"))?;
        let contents = Contents { data, ..header };
        let size = contents
            .shape
            .checked_numel()
            .and_then(|n| n.checked_mul(contents.kind.size()));
        if size != Some(data.len()) {
            return Err(format!(
                "byte {}: {} bytes for shape {}, which needs {}",
                begin,
                data.len(),
                contents.shape,
                size.map_or("more than there can be".to_string(), |n| n.to_string())
            ));
        }
        if contents.kind == Kind::U64 {
            let sign = if contents.big_endian { 0 } else { 7 };
            if data.chunks_exact(8).any(|v| v[sign] >= 128) {
                return Err("a number beyond the largest i64".to_string());
            }
        }
        Ok(contents)
    }

    /// The type and the bytes of it as tensors have them.
    fn little_endian_rows(&self) -> (DType, std::borrow::Cow<'a, [u8]>) {
        use std::borrow::Cow;
        let size = self.kind.size();
        let mut data = Cow::Borrowed(self.data);
        if self.big_endian && size > 1 {
            let swapped = data.to_mut().chunks_exact_mut(size);
            swapped.for_each(<[u8]>::reverse);
        }
        let dims = self.shape.dims();
        if self.columns_first && dims.len() > 1 && !data.is_empty() {
            // Element (i, j, ..) stands at i + d0 (j + d1 (..)).
            let mut steps = vec![1; dims.len()];
            for axis in 1..dims.len() {
                steps[axis] = steps[axis - 1] * dims[axis - 1];
            }
            let mut rows = Vec::with_capacity(data.len());
            let mut at = vec![0; dims.len()];
            for _ in 0..self.shape.numel() {
                let from: usize = at.iter().zip(&steps).map(|(i, s)| i * s).sum();
                rows.extend_from_slice(&data[from * size..(from + 1) * size]);
                for axis in (0..dims.len()).rev() {
                    at[axis] += 1;
                    if at[axis] < dims[axis] {
                        break;
                    }
                    at[axis] = 0;
                }
            }
            data = Cow::Owned(rows);
        }
        if self.kind == Kind::U16 {
            let wide = data.chunks_exact(2).flat_map(|v| [v[0], v[1], 0, 0]);
            data = Cow::Owned(wide.collect());
        }
        (self.kind.dtype(), data)
    }
}

/// The header: a Python dictionary of three known keys.
struct Header<'a>(&'a str);

impl<'a> Header<'a> {
    fn parse(text: &str) -> Result<Contents<'static>, String> {
        let mut rest = Header(text);
        let (mut descr, mut order, mut shape) = (None, None, None);
        rest.expect("{")?;
        while !rest.eat("}") {
            let key = rest.string()?;
            rest.expect(":")?;
            match key {
                "descr" => {
                    descr = Some(
                        rest.string()
                            .map_err(|_| "records are not read".to_string())?,
                    )
                }
                "fortran_order" if rest.eat("True") => order = Some(true),
                "fortran_order" if rest.eat("False") => order = Some(false),
                "shape" => shape = Some(rest.shape()?),
                other => return Err(format!("{other:?} is not known")),
            }
            if !rest.eat(",") {
                rest.expect("}")?;
                break;
            }
        }
        if !rest.0.trim_start().is_empty() {
            return Err("more than a dictionary".to_string());
        }
        let descr = descr.ok_or("no descr")?;
        let (big_endian, name) = match descr.split_at_checked(1) {
            Some(("<" | "|" | "=", name)) => (false, name),
            Some((">", name)) => (true, name),
            _ => (false, descr),
        };
        if name.starts_with('O') {
            return Err("Python objects are not read".to_string());
        }
        let found = TYPES.iter().find(|(known, _)| *known == name);
        let (_, kind) = found.ok_or_else(|| format!("type {descr:?} is not known"))?;
        Ok(Contents {
            kind: *kind,
            big_endian,
            columns_first: order.ok_or("no fortran_order")?,
            shape: shape.ok_or("no shape")?,
            data: &[],
        })
    }

    fn eat(&mut self, token: &str) -> bool {
        let rest = self.0.trim_start().strip_prefix(token);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        let found = self.eat(token);
        found
            .then_some(())
            .ok_or_else(|| format!("{token:?} is missing"))
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let text = self.0.trim_start();
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let quote = quote.ok_or("a string is missing")?;
        let (string, rest) = text[1..].split_once(quote).ok_or("a string without end")?;
        self.0 = rest;
        Ok(string)
    }

    fn shape(&mut self) -> Result<Shape, String> {
        let mut dims: Vec<usize> = Vec::new();
        self.expect("(")?;
        while !self.eat(")") {
            let text = self.0.trim_start();
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let (digits, rest) = text.split_at(end);
            dims.push(
                digits
                    .parse()
                    .map_err(|_| "a size that is no number".to_string())?,
            );
            if dims.len() > LARGEST_RANK {
                return Err("too many dimensions".to_string());
            }
            // Python 2 wrote some sizes as long integers.
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if !self.eat(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(dims.into())
    }
}
