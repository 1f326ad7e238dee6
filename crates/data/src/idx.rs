//! IDX files: the format of MNIST and its family (Fashion-MNIST, EMNIST, KMNIST), plain or packed by gzip.

#[cfg(not(target_arch = "wasm32"))]
use std::path::{Path, PathBuf};

use wgrad_core::{Element, Result, Shape};
use wgrad_files::{LARGEST_RANK, file_error, unpack_gzip};

use crate::{Array, Dataset};

/// Reads a file's array, whose type must be `E` (for MNIST `u8`). Packed files are known by their first bytes.
///
/// ```
/// use wgrad::data::idx;
///
/// let path = std::env::temp_dir().join(format!("example-{}.idx", std::process::id()));
/// std::fs::write(&path, [0, 0, 8, 1, 0, 0, 0, 2, 7, 8]).unwrap();
/// assert_eq!(idx::load::<u8>(&path)?.values(), [7, 8]);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::File`](wgrad_core::Error::File) where the file cannot be read or is not sound.
#[cfg(not(target_arch = "wasm32"))]
pub fn load<E: Element>(path: impl AsRef<Path>) -> Result<Array<E>> {
    let path = path.as_ref();
    decode(
        &wgrad_files::Mapped::open(path)?,
        &path.display().to_string(),
    )
}

/// A file's bytes as an array; `name` stands for the file in errors.
///
/// ```
/// use wgrad::data::idx;
///
/// let bytes = [0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9];
/// let array = idx::decode::<u8>(&bytes, "example")?;
/// assert_eq!((array.dims(), array.values()), (&[1, 3][..], &[7, 8, 9][..]));
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// As [`load`].
pub fn decode<E: Element>(bytes: &[u8], name: &str) -> Result<Array<E>> {
    let array = || -> Result<Array<E>, String> {
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            let (header, shape) = header::<E>(bytes)?;
            return array(&bytes[header..], shape);
        }
        // First what the header says is there, then that much.
        let beginning = first_bytes(bytes)?;
        let (header, shape) = header::<E>(&beginning)?;
        let length = size::<E>(&shape)?;
        let length = length
            .checked_add(header)
            .ok_or("sizes beyond any memory")?;
        let unpacked = unpack_gzip(bytes, bytes.len(), length)?;
        array(&unpacked[header..], shape)
    };
    array().map_err(|problem| file_error(name, problem))
}

/// Enough unpacked bytes for every header.
fn first_bytes(packed: &[u8]) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let unpacked = flate2::read::GzDecoder::new(packed);
    let read = unpacked
        .take(4 + 4 * LARGEST_RANK as u64)
        .read_to_end(&mut bytes);
    read.map_err(|e| format!("packed data: {e}"))?;
    Ok(bytes)
}

/// The numbers of types in files.
const TYPES: [(u8, wgrad_core::DType); 6] = [
    (0x08, wgrad_core::DType::U8),
    (0x09, wgrad_core::DType::I8),
    (0x0b, wgrad_core::DType::I16),
    (0x0c, wgrad_core::DType::I32),
    (0x0d, wgrad_core::DType::F32),
    (0x0e, wgrad_core::DType::F64),
];

/// How long the header is, and the shape: two zeros, the type, the rank, and the sizes, big-endian.
fn header<E: Element>(bytes: &[u8]) -> Result<(usize, Shape), String> {
    let short = || format!("byte {}: the file ends within the header", bytes.len());
    let &[zero, zero_too, kind, rank] = bytes.first_chunk().ok_or_else(short)?;
    if (zero, zero_too) != (0, 0) {
        return Err("byte 0: not an IDX file".to_string());
    }
    let found = TYPES.iter().find(|(number, _)| *number == kind);
    let (_, dtype) = found.ok_or_else(|| format!("byte 2: type {kind} is not known"))?;
    if *dtype != E::DTYPE {
        return Err(format!("it holds {dtype}, not {}", E::DTYPE));
    }
    let rank = usize::from(rank);
    if rank > LARGEST_RANK {
        return Err(format!("byte 3: {rank} dimensions are too many"));
    }
    let sizes = bytes.get(4..4 + 4 * rank).ok_or_else(short)?;
    let size = |s: &[u8]| u32::from_be_bytes([s[0], s[1], s[2], s[3]]) as usize;
    Ok((4 + 4 * rank, sizes.chunks_exact(4).map(size).collect()))
}

fn size<E: Element>(shape: &Shape) -> Result<usize, String> {
    let bytes = shape
        .checked_numel()
        .and_then(|n| n.checked_mul(size_of::<E>()));
    bytes.ok_or_else(|| format!("shape {shape} is beyond any memory"))
}

fn array<E: Element>(data: &[u8], shape: Shape) -> Result<Array<E>, String> {
    let needed = size::<E>(&shape)?;
    if data.len() != needed {
        let have = data.len();
        return Err(format!(
            "{have} bytes for shape {shape}, which needs {needed}"
        ));
    }
    let values = if size_of::<E>() == 1 || cfg!(target_endian = "big") {
        E::from_bytes(data)
    } else {
        let mut data = data.to_vec();
        data.chunks_exact_mut(size_of::<E>())
            .for_each(<[u8]>::reverse);
        E::from_bytes(&data)
    };
    Array::new(values, shape).map_err(|e| e.to_string())
}

/// Images and their classes as two IDX files hold them: MNIST, or one of its family.
///
/// Examples are `(image, class)` with images `[1, height, width]` of bytes.
///
/// ```no_run
/// use wgrad::data::{Dataset, idx::Mnist};
///
/// let train = Mnist::train("mnist/")?;
/// assert_eq!((train.len(), train.example(0)?.0.dims()), (60_000, &[1, 28, 28][..]));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mnist {
    images: Array<u8>,
    labels: Vec<u8>,
}

impl Mnist {
    /// The images to train on: `train-images-idx3-ubyte` and `train-labels-idx1-ubyte` in a directory, with or without
    /// `.gz` behind (or a dot before `idx`).
    ///
    /// # Errors
    /// [`Error::File`](wgrad_core::Error::File) where a file is not there or not sound, or they do not belong together.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn train(directory: impl AsRef<Path>) -> Result<Mnist> {
        let directory = directory.as_ref();
        Mnist::open(
            find(directory, "train-images", 3)?,
            find(directory, "train-labels", 1)?,
        )
    }

    /// The images to test with: `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`.
    ///
    /// # Errors
    /// As [`Mnist::train`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn test(directory: impl AsRef<Path>) -> Result<Mnist> {
        let directory = directory.as_ref();
        Mnist::open(
            find(directory, "t10k-images", 3)?,
            find(directory, "t10k-labels", 1)?,
        )
    }

    /// A file of images `[n, height, width]` and one of classes `[n]`, both of bytes.
    ///
    /// # Errors
    /// As [`Mnist::train`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(images: impl AsRef<Path>, labels: impl AsRef<Path>) -> Result<Mnist> {
        let name = labels.as_ref().display().to_string();
        let (images, labels) = (load(images)?, load(&labels)?);
        Mnist::new(images, labels, &name)
    }

    /// Images and classes that were read; `name` stands for the classes' file in errors.
    ///
    /// # Errors
    /// [`Error::File`](wgrad_core::Error::File) where they do not belong together.
    pub fn new(images: Array<u8>, labels: Array<u8>, name: &str) -> Result<Mnist> {
        let (&[n, height, width], &[m]) = (images.dims(), labels.dims()) else {
            let problem = format!(
                "images of shape {} and classes of shape {}, not [n, height, width] and [n]",
                images.shape(),
                labels.shape()
            );
            return Err(file_error(name, problem));
        };
        if n != m {
            return Err(file_error(name, format!("{m} classes for {n} images")));
        }
        Ok(Mnist {
            images: images.reshape([n, 1, height, width])?,
            labels: labels.into_values(),
        })
    }

    /// All images, `[n, 1, height, width]`.
    pub fn images(&self) -> &Array<u8> {
        &self.images
    }

    /// All classes.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }
}

impl Dataset for Mnist {
    type Item = (Array<u8>, i32);

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn example(&self, index: usize) -> Result<(Array<u8>, i32)> {
        let label = Dataset::example(&self.labels, index)?;
        Ok((self.images.row(index)?, i32::from(label)))
    }
}

/// The file of a name that ends in `idx1-ubyte` or the like.
#[cfg(not(target_arch = "wasm32"))]
fn find(directory: &Path, name: &str, rank: usize) -> Result<PathBuf> {
    let names = ["-", "."].map(|dot| format!("{name}{dot}idx{rank}-ubyte"));
    let candidates = names.iter().flat_map(|n| [n.clone(), format!("{n}.gz")]);
    let mut paths = candidates.map(|n| directory.join(n));
    paths.find(|path| path.is_file()).ok_or_else(|| {
        let problem = format!("neither {} nor {}.gz is there", names[0], names[0]);
        file_error(&directory.display().to_string(), problem)
    })
}
