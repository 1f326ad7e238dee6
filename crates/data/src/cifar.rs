//! The binary files of CIFAR-10 and CIFAR-100: records of one or two classes and an image of 3 x 32 x 32 bytes.

#[cfg(not(target_arch = "wasm32"))]
use std::path::{Path, PathBuf};

use wgrad_core::Result;
use wgrad_files::file_error;

use crate::{Array, Dataset};

const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;

/// Which of the two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 10 classes.
    Cifar10,
    /// 100 classes, which are told from one another.
    Cifar100,
    /// CIFAR-100 by its 20 coarse classes.
    Cifar100Coarse,
}

impl Kind {
    /// The bytes before an image, the one of the class, and how many classes there are.
    fn layout(self) -> (usize, usize, u8) {
        match self {
            Kind::Cifar10 => (1, 0, 10),
            Kind::Cifar100 => (2, 1, 100),
            Kind::Cifar100Coarse => (2, 0, 20),
        }
    }
}

/// Images and their classes. Examples are `(image, class)` with images `[3, 32, 32]` of bytes.
///
/// ```no_run
/// use wgrad::data::{Dataset, cifar::{Cifar, Kind}};
///
/// let train = Cifar::train("cifar-10-batches-bin/", Kind::Cifar10)?;
/// assert_eq!(train.len(), 50_000);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cifar {
    records: Vec<u8>,
    kind: Kind,
}

impl Cifar {
    /// The images to train on: `data_batch_1.bin` to `data_batch_5.bin`, or `train.bin`.
    ///
    /// # Errors
    /// [`Error::File`](wgrad_core::Error::File) where a file is not there or not sound.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn train(directory: impl AsRef<Path>, kind: Kind) -> Result<Cifar> {
        let names = match kind {
            Kind::Cifar10 => (1..=5).map(|i| format!("data_batch_{i}.bin")).collect(),
            _ => vec!["train.bin".to_string()],
        };
        let paths: Vec<PathBuf> = names.iter().map(|n| directory.as_ref().join(n)).collect();
        Cifar::open(&paths, kind)
    }

    /// The images to test with: `test_batch.bin` or `test.bin`.
    ///
    /// # Errors
    /// As [`Cifar::train`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn test(directory: impl AsRef<Path>, kind: Kind) -> Result<Cifar> {
        let name = match kind {
            Kind::Cifar10 => "test_batch.bin",
            _ => "test.bin",
        };
        Cifar::open(&[directory.as_ref().join(name)], kind)
    }

    /// The images of some files, one after the other.
    ///
    /// # Errors
    /// As [`Cifar::train`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(paths: &[impl AsRef<Path>], kind: Kind) -> Result<Cifar> {
        let mut records = Vec::new();
        for path in paths {
            let path = path.as_ref();
            let bytes = wgrad_files::Mapped::open(path)?;
            check(&bytes, kind, &path.display().to_string())?;
            records.extend_from_slice(&bytes);
        }
        Ok(Cifar { records, kind })
    }

    /// The images of a file's bytes; `name` stands for the file in errors.
    ///
    /// ```
    /// use wgrad::data::{Dataset, cifar::{Cifar, Kind}};
    ///
    /// let mut record = vec![9u8];
    /// record.resize(1 + 3 * 32 * 32, 128);
    /// let set = Cifar::decode(record, Kind::Cifar10, "example")?;
    /// let (image, class) = set.example(0)?;
    /// assert_eq!((image.dims(), class), (&[3, 32, 32][..], 9));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Cifar::train`].
    pub fn decode(bytes: Vec<u8>, kind: Kind, name: &str) -> Result<Cifar> {
        check(&bytes, kind, name)?;
        Ok(Cifar {
            records: bytes,
            kind,
        })
    }

    fn record_len(&self) -> usize {
        self.kind.layout().0 + PIXELS
    }
}

fn check(bytes: &[u8], kind: Kind, name: &str) -> Result<()> {
    let (labels, at, classes) = kind.layout();
    let record = labels + PIXELS;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        let problem = format!("{} bytes are not whole records of {record}", bytes.len());
        return Err(file_error(name, problem));
    }
    for (i, example) in bytes.chunks_exact(record).enumerate() {
        if example[at] >= classes {
            let problem = format!(
                "byte {}: class {} of {classes}",
                i * record + at,
                example[at]
            );
            return Err(file_error(name, problem));
        }
    }
    Ok(())
}

impl Dataset for Cifar {
    type Item = (Array<u8>, i32);

    fn len(&self) -> usize {
        self.records.len() / self.record_len()
    }

    fn example(&self, index: usize) -> Result<(Array<u8>, i32)> {
        let (labels, at, _) = self.kind.layout();
        let mut records = self.records.chunks_exact(self.record_len());
        let record = records.nth(index).ok_or_else(|| {
            let place = wgrad_core::Place::caller();
            crate::array::out_of_range("example", index, self.len(), place)
        })?;
        let image = Array::new(record[labels..].to_vec(), [3, SIDE, SIDE])?;
        Ok((image, i32::from(record[at])))
    }
}
