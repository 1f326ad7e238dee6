//! Checkpoints: directories that hold all that a training goes on from.
//!
//! A checkpoint is written as a hidden directory beside the others, each file flushed to the disk, and then renamed: it
//! is there whole or not at all. `trainer.json` has the length and the checksum of each file, so that a damaged one is
//! noticed before anything is taken from it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wgrad_core::{Device, Error, Result};
use wgrad_nn::optim::OptimizerState;
use wgrad_nn::safetensors;

use crate::snapshot::{Position, Snapshot};

/// Which checkpoints stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// The last ones.
    Last(usize),
    /// The best ones by the validation's loss or what [`monitor`](crate::Trainer::monitor) names, and the last one, to
    /// go on from.
    Best(usize),
    /// All of them.
    All,
}

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const TRAINER: &str = "trainer.json";
const PREFIX: &str = "step-";

/// A directory of checkpoints.
pub struct Checkpoints {
    root: PathBuf,
    keep: Keep,
    /// Whether the directory has been looked at and can be written.
    ready: bool,
}

/// A file of a checkpoint as it was written.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
struct Written {
    name: String,
    bytes: u64,
    crc32: u32,
}

/// The text of `trainer.json`, beside the checksum of the rest.
#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    files: Vec<Written>,
    /// What the checkpoints that are kept as the best are compared by.
    score: Option<f64>,
    progress: Position,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    crc32: u32,
    /// JSON as a text: its checksum is that of these bytes.
    state: String,
}

const VERSION: u32 = 1;

impl Checkpoints {
    pub fn new(root: PathBuf, keep: Keep) -> Checkpoints {
        Checkpoints {
            root,
            keep,
            ready: false,
        }
    }

    /// Looks at the directory, makes it, and removes what a process that was killed left half-written.
    pub fn prepare(&mut self) -> Result<()> {
        if self.ready {
            return Ok(());
        }
        fs::create_dir_all(&self.root).map_err(|e| failure(&self.root, e))?;
        for entry in self.entries()? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            let Some(name) = name
                .strip_prefix('.')
                .and_then(|n| n.strip_suffix(".partial"))
            else {
                continue;
            };
            // Killed between the two renames of a replacement, a process leaves the old one under its hidden name.
            let replaced = name.strip_suffix(".old").map(|name| self.root.join(name));
            match replaced.filter(|path| !path.exists()) {
                Some(path) => fs::rename(&entry, path),
                None => fs::remove_dir_all(&entry),
            }
            .map_err(|e| failure(&entry, e))?;
        }
        // A directory that cannot be written should not cost the first epoch.
        let probe = self
            .root
            .join(format!(".probe.{}.partial", std::process::id()));
        fs::create_dir(&probe).map_err(|e| failure(&self.root, e))?;
        fs::remove_dir(&probe).map_err(|e| failure(&self.root, e))?;
        self.ready = true;
        Ok(())
    }

    fn entries(&self) -> Result<Vec<PathBuf>> {
        let list = || -> io::Result<Vec<PathBuf>> {
            fs::read_dir(&self.root)?.map(|e| Ok(e?.path())).collect()
        };
        let mut all = list().map_err(|e| failure(&self.root, e))?;
        all.sort();
        Ok(all)
    }

    /// The checkpoints from the first to the last.
    pub fn all(&self) -> Result<Vec<PathBuf>> {
        let mut all = self.entries()?;
        all.retain(|path| step_of(path).is_some());
        all.sort_by_key(|path| step_of(path));
        Ok(all)
    }

    /// The last checkpoint, if there is one.
    pub fn last(&self) -> Result<Option<PathBuf>> {
        Ok(self.all()?.pop())
    }

    /// Writes a checkpoint, and removes those that are not to be kept. `score`: larger is better.
    pub fn save(&self, snapshot: &Snapshot, score: Option<f64>) -> Result<PathBuf> {
        let name = format!("{PREFIX}{:09}", snapshot.progress.step);
        let path = self.root.join(&name);
        let hidden = self
            .root
            .join(format!(".{name}.{}.partial", std::process::id()));
        let written = write(&hidden, snapshot, score).and_then(|()| {
            // Of a step there may be a checkpoint already: the end of an epoch replaces the one in its middle.
            let old = self.root.join(format!(".{name}.old.partial"));
            let replaces = path.exists();
            let rename = || -> io::Result<()> {
                if replaces {
                    fs::rename(&path, &old)?;
                }
                fs::rename(&hidden, &path)?;
                sync_directory(&self.root);
                if replaces {
                    fs::remove_dir_all(&old)?;
                }
                Ok(())
            };
            rename().map_err(|e| failure(&path, e))
        });
        if written.is_err() {
            // What is left of it is of no use; the error says what happened.
            let _ = fs::remove_dir_all(&hidden);
        }
        written?;
        self.remove_superfluous()?;
        Ok(path)
    }

    fn remove_superfluous(&self) -> Result<()> {
        let mut all = self.all()?;
        let superfluous: Vec<PathBuf> = match self.keep {
            Keep::All => Vec::new(),
            Keep::Last(count) => {
                let keep = count.max(1).min(all.len());
                all.truncate(all.len() - keep);
                all
            }
            Keep::Best(count) => {
                all.pop();
                // One without a score, and one that cannot be read, is not among the best; the latter stays.
                let mut scored: Vec<(PathBuf, f64)> = all
                    .into_iter()
                    .filter_map(|path| {
                        let score = read_state(&path).ok()?.score;
                        Some((
                            path,
                            score.filter(|s| !s.is_nan()).unwrap_or(f64::NEG_INFINITY),
                        ))
                    })
                    .collect();
                scored.sort_by(|a, b| b.1.total_cmp(&a.1));
                let good = scored.iter().filter(|s| s.1 > f64::NEG_INFINITY).count();
                let rest = scored.into_iter().skip(count.min(good));
                rest.map(|(path, _)| path).collect()
            }
        };
        for path in superfluous {
            // Renamed first, so that no half of it is ever taken for a checkpoint.
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let hidden = self.root.join(format!(".{name}.gone.partial"));
            fs::rename(&path, &hidden)
                .and_then(|()| fs::remove_dir_all(&hidden))
                .map_err(|e| failure(&path, e))?;
        }
        Ok(())
    }

    /// Reads a checkpoint; everything in it is checked before anything is used.
    ///
    /// # Errors
    /// [`Error::File`], which names the damaged file and what to do.
    pub fn load(&self, path: &Path, device: &Device) -> Result<Snapshot> {
        let read = || -> Result<Snapshot> {
            let state = read_state(path)?;
            for written in &state.files {
                let file = path.join(&written.name);
                let found = checksum(&file).map_err(|e| failure(&file, e))?;
                if found != (written.bytes, written.crc32) {
                    let problem = match found.0 == written.bytes {
                        true => "its contents are not what was written".to_string(),
                        false => format!("{} bytes long, not {}", found.0, written.bytes),
                    };
                    return Err(error(&file, problem));
                }
            }
            Ok(Snapshot {
                model: safetensors::load(path.join(MODEL), device)?,
                optimizer: OptimizerState::load_safetensors(path.join(OPTIMIZER), device)?,
                progress: state.progress,
            })
        };
        read().map_err(|error| match error {
            Error::File {
                path: file,
                problem,
            } => {
                let others = self.all().unwrap_or_default();
                let before = others
                    .iter()
                    .rev()
                    .find(|other| step_of(other) < step_of(path));
                let advice = match before {
                    Some(before) => format!(
                        "remove {} to go on from {}",
                        path.display(),
                        before.display()
                    ),
                    None => format!("remove {} to begin anew", path.display()),
                };
                let problem = format!("damaged checkpoint: {problem}; {advice}");
                Error::File {
                    path: file,
                    problem,
                }
            }
            other => other,
        })
    }
}

/// The step that a checkpoint's name tells. `None` for other paths.
pub fn step_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(PREFIX)?.parse().ok()
}

fn write(directory: &Path, snapshot: &Snapshot, score: Option<f64>) -> Result<()> {
    fs::create_dir(directory).map_err(|e| failure(directory, e))?;
    safetensors::save(directory.join(MODEL), &snapshot.model)?;
    snapshot
        .optimizer
        .save_safetensors(directory.join(OPTIMIZER))?;
    let mut files = Vec::new();
    for name in [MODEL, OPTIMIZER] {
        let file = directory.join(name);
        let (bytes, crc32) = checksum(&file).map_err(|e| failure(&file, e))?;
        files.push(Written {
            name: name.to_string(),
            bytes,
            crc32,
        });
    }
    let state = State {
        version: VERSION,
        files,
        score: score.filter(|score| score.is_finite()),
        progress: snapshot.progress.clone(),
    };
    let file = directory.join(TRAINER);
    let text = |e: serde_json::Error| error(&file, e.to_string());
    let state = serde_json::to_string(&state).map_err(text)?;
    let envelope = Envelope {
        crc32: crc32fast::hash(state.as_bytes()),
        state,
    };
    let contents = serde_json::to_vec_pretty(&envelope).map_err(text)?;
    wgrad_files::replace(&file, &contents)?;
    sync_directory(directory);
    Ok(())
}

fn read_state(directory: &Path) -> Result<State> {
    let file = directory.join(TRAINER);
    let text = |e: serde_json::Error| error(&file, e.to_string());
    let contents = fs::read(&file).map_err(|e| failure(&file, e))?;
    let envelope: Envelope = serde_json::from_slice(&contents).map_err(text)?;
    if crc32fast::hash(envelope.state.as_bytes()) != envelope.crc32 {
        return Err(error(&file, "its contents are not what was written"));
    }
    let state: State = serde_json::from_str(&envelope.state).map_err(text)?;
    if state.version != VERSION {
        let problem = format!(
            "version {}, where this program reads {VERSION}",
            state.version
        );
        return Err(error(&file, problem));
    }
    Ok(state)
}

/// Length and checksum of a file, read piece by piece.
fn checksum(path: &Path) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut piece = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok((bytes, hasher.finalize()));
        }
        hasher.update(&piece[..read]);
        bytes += read as u64;
    }
}

/// New names in a directory are on the disk once it is. Not every system lets a directory be opened, and what is in it
/// is whole in any case.
fn sync_directory(path: &Path) {
    if let Ok(directory) = File::open(path) {
        let _ = directory.sync_all();
    }
}

pub fn failure(path: &Path, problem: io::Error) -> Error {
    error(path, problem.to_string())
}

fn error(path: &Path, problem: impl Into<String>) -> Error {
    Error::File {
        path: path.display().to_string(),
        problem: problem.into(),
    }
}
