//! A file as memory.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;
use wgrad_core::Result;

use crate::file_error;

/// A file's bytes, as memory that the system fills where it is read: a large file costs no copy, and parts that nobody
/// reads cost nothing.
///
/// The file must not be cut short while it is mapped: reading beyond the new end ends the process, on every system and
/// in every program that maps files. (wgrad replaces files by renaming, which leaves what is mapped as it was.)
///
/// ```
/// let path = std::env::temp_dir().join(format!("mapped-{}", std::process::id()));
/// std::fs::write(&path, b"contents").unwrap();
/// let file = wgrad_files::Mapped::open(&path)?;
/// assert_eq!(&file[..3], b"con");
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), wgrad_core::Error>(())
/// ```
pub struct Mapped(Option<Mmap>);

impl Mapped {
    /// Maps a file.
    ///
    /// # Errors
    /// [`Error::File`](wgrad_core::Error::File) where it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Mapped> {
        let path = path.as_ref();
        let map = || -> std::io::Result<Option<Mmap>> {
            let file = File::open(path)?;
            let about = file.metadata()?;
            if about.is_dir() {
                return Err(std::io::ErrorKind::IsADirectory.into());
            }
            // Empty files cannot be mapped on every system.
            if about.len() == 0 {
                return Ok(None);
            }
            // SAFETY: the memory is only read. Nothing else in this program writes to the file in place: files are
            // replaced by renaming. Other programs are asked not to cut it short (see above).
            Ok(Some(unsafe { Mmap::map(&file)? }))
        };
        let name = || path.display().to_string();
        map()
            .map(Mapped)
            .map_err(|e| file_error(&name(), e.to_string()))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
