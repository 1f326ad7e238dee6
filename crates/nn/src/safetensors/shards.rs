//! Files and sets of files: a large model's tensors lie in several, and an index says where, in Hugging Face's layout.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::json;
use wgrad_core::Result;
use wgrad_files::{Mapped, file_error, replace};

use super::{Contents, Entry, Metadata, write};
use crate::state::StateDict;

/// What an index file holds.
#[derive(serde::Deserialize)]
struct Index {
    #[serde(deserialize_with = "without_twins")]
    weight_map: BTreeMap<String, String>,
}

/// A map whose keys differ: a second one would hide the first.
fn without_twins<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("files by tensor")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = pairs.next_entry::<String, String>()? {
                if let Some(twin) = map.insert(key, value) {
                    let problem = format!("a tensor of {twin} is listed twice");
                    return Err(de::Error::custom(problem));
                }
            }
            Ok(map)
        }
    }
    from.deserialize_map(Pairs)
}

/// Files in memory.
pub(super) struct Files {
    files: Vec<(String, Mapped)>,
    /// The file of each tensor; `None` for a file by itself.
    index: Option<(String, BTreeMap<String, usize>)>,
}

/// A tensor, and the name of the file it is in.
pub(super) type Found<'a> = (&'a str, Entry<'a>);

impl Files {
    /// Opens a file, or those that an index names.
    pub fn open(path: &Path) -> Result<Files> {
        let name = path.display().to_string();
        let file = Mapped::open(path)?;
        if path.extension().is_none_or(|e| e != "json") {
            return Ok(Files {
                files: vec![(name, file)],
                index: None,
            });
        }
        let index: Index =
            serde_json::from_slice(&file).map_err(|e| file_error(&name, e.to_string()))?;
        let (mut files, mut opened) = (Vec::new(), BTreeMap::new());
        let mut places = BTreeMap::new();
        for (tensor, shard) in index.weight_map {
            let at = match opened.get(&shard) {
                Some(&at) => at,
                None => {
                    // Only files beside the index: a name is no way out of the directory.
                    let plain = Path::new(&shard)
                        .file_name()
                        .is_some_and(|n| n == shard.as_str());
                    if !plain || shard.contains('\\') {
                        return Err(file_error(&name, format!("{shard:?} is not a file's name")));
                    }
                    let path = path.with_file_name(&shard);
                    files.push((path.display().to_string(), Mapped::open(&path)?));
                    opened.insert(shard, files.len() - 1);
                    files.len() - 1
                }
            };
            places.insert(tensor, at);
        }
        Ok(Files {
            files,
            index: Some((name, places)),
        })
    }

    /// The tensors, and the strings of all files.
    pub fn contents(&self) -> Result<(BTreeMap<String, Found<'_>>, Metadata)> {
        let (mut tensors, mut metadata) = (BTreeMap::new(), Metadata::new());
        for (at, (file, bytes)) in self.files.iter().enumerate() {
            let contents = Contents::parse(bytes, file)?;
            metadata.extend(contents.metadata);
            for (name, entry) in contents.tensors {
                let wanted = self
                    .index
                    .as_ref()
                    .is_none_or(|(_, of)| of.get(&name) == Some(&at));
                if wanted {
                    tensors.insert(name, (file.as_str(), entry));
                }
            }
        }
        if let Some((index, places)) = &self.index {
            let absent = places.iter().find(|(name, _)| !tensors.contains_key(*name));
            if let Some((name, &at)) = absent {
                let problem = format!("tensor {name} is not in {}", self.files[at].0);
                return Err(file_error(index, problem));
            }
        }
        Ok((tensors, metadata))
    }
}

/// Writes tensors to files of at most `most` bytes each (one of a larger tensor has that alone) and their index.
pub(super) fn save(directory: &Path, tensors: &StateDict, most: usize) -> Result<PathBuf> {
    std::fs::create_dir_all(directory)
        .map_err(|e| file_error(&directory.display().to_string(), e.to_string()))?;
    let mut shards: Vec<StateDict> = Vec::new();
    let (mut room, mut total) = (0, 0);
    for (name, tensor) in tensors {
        let bytes = tensor.shape()?.numel() * tensor.dtype()?.size();
        if shards.is_empty() || bytes > room {
            shards.push(StateDict::new());
            room = most;
        }
        room = room.saturating_sub(bytes);
        total += bytes;
        let shard = shards.last_mut().expect("just pushed");
        shard.insert(name.clone(), tensor.clone());
    }
    let mut places = BTreeMap::new();
    for (at, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", at + 1, shards.len());
        // transformers asks for this string.
        let format = Metadata::from([("format".to_string(), "pt".to_string())]);
        write::save(&directory.join(&file), shard, &format)?;
        places.extend(shard.keys().map(|name| (name.as_str(), file.clone())));
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
    let path = directory.join("model.safetensors.index.json");
    // Last: where the index is, all that it names is.
    replace(&path, format!("{index:#}\n").as_bytes())?;
    Ok(path)
}
