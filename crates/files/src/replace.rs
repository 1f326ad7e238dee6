//! Writing a file so that it is there whole or not at all.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use wgrad_core::{Error, Result};

use crate::file_error;

/// Puts a file with these bytes in the place of the one at `path`, if there is one. It is written under another name
/// in the same directory, flushed to the disk, and renamed.
///
/// ```
/// let path = std::env::temp_dir().join(format!("replaced-{}", std::process::id()));
/// wgrad_files::replace(&path, b"first")?;
/// wgrad_files::replace(&path, b"second")?;
/// assert_eq!(std::fs::read(&path).unwrap(), b"second");
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), wgrad_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::File`]; then the old file is as it was.
pub fn replace(path: impl AsRef<Path>, contents: &[u8]) -> Result<()> {
    replace_with(path, |file| file.write_all(contents).map_err(Failure::Io))
}

/// Why a file was not written.
pub enum Failure {
    /// The system refused.
    Io(std::io::Error),
    /// What was to be written could not be had.
    Other(Error),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Other(error)
    }
}

/// [`replace`] with a function that writes the contents.
///
/// ```
/// use std::io::Write;
///
/// let path = std::env::temp_dir().join(format!("with-{}", std::process::id()));
/// wgrad_files::replace_with(&path, |file| Ok(file.write_all(b"contents")?))?;
/// assert_eq!(std::fs::read(&path).unwrap(), b"contents");
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), wgrad_core::Error>(())
/// ```
///
/// # Errors
/// As `replace`, and what the function fails with.
pub fn replace_with(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), Failure>,
) -> Result<()> {
    let path = path.as_ref();
    let all = || -> Result<(), Failure> {
        let (temporary, handle) = Temporary::create(path)?;
        let mut handle = BufWriter::new(handle);
        write(&mut handle)?;
        let handle = handle.into_inner().map_err(|e| e.into_error())?;
        handle.sync_all()?;
        drop(handle);
        Ok(temporary.rename(path)?)
    };
    all().map_err(|failure| match failure {
        Failure::Io(error) => file_error(&path.display().to_string(), error.to_string()),
        Failure::Other(error) => error,
    })
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
            let mut hidden = OsString::from(".");
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
