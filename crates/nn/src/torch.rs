//! Files that PyTorch's `torch.save` writes (`.pt`, `.pth`, `.bin`).
//!
//! Such a file is a zip archive of a pickle and of raw numbers. Pickles are programs for a small machine that can call any
//! Python function; here nothing is called. Containers, numbers, strings and tensors are made as data, and an object of any
//! other class stays a description of itself ([`TorchValue::Object`]): a checkpoint is read whatever else is in it.
//!
//! Files are mapped: a tensor's bytes go from there to the device as they lie. What they take in memory is bounded by
//! the file's size.

mod machine;
mod objects;
mod storage;
mod tree;

use wgrad_core::{Device, Result, Tensor};
use wgrad_files::file_error;
use wgrad_files::zip::Archive;
#[cfg(not(target_arch = "wasm32"))]
use {std::path::Path, wgrad_files::Mapped};

use crate::state::StateDict;
use machine::Machine;
use storage::Storages;

/// A value in a file.
#[derive(Clone, Debug)]
pub enum TorchValue {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// A float.
    Float(f64),
    /// A string. Also what is named by one: types (`torch.float32`), devices (`cuda:0`).
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list, tuple, set or `torch.Size`.
    List(Vec<TorchValue>),
    /// A dictionary of any kind, in its order. Keys need not be strings.
    Dict(Vec<(TorchValue, TorchValue)>),
    /// A tensor or parameter. Of a type that wgrad lacks: a failed tensor, whose error says so.
    Tensor(Tensor),
    /// An object of another class; nothing of that class was run.
    Object {
        /// Module and name, as `argparse.Namespace`.
        class: String,
        /// What its constructor would get.
        args: Vec<TorchValue>,
        /// Its attributes, mostly a dictionary; [`TorchValue::None`] where there are none.
        state: Box<TorchValue>,
    },
}

/// Reads a file's value; tensors go to a device. Types that the device does not have become the nearest that it has.
///
/// Tensors that are the same in the file are the same here; views of one memory become tensors of their own.
///
/// ```no_run
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_nn::torch;
///
/// let checkpoint = torch::load("checkpoint.pt", &dev)?;
/// let epoch = checkpoint.get("epoch").and_then(|v| v.as_int());
/// let weights = checkpoint.get("model").unwrap().state_dict()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::File`](wgrad_core::Error::File) where the file cannot be read, is not sound, or is of the kind that PyTorch
/// wrote before version 1.6.
#[cfg(not(target_arch = "wasm32"))]
pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<TorchValue> {
    let path = path.as_ref();
    decode(&Mapped::open(path)?, &path.display().to_string(), device)
}

/// Reads the tensors of a model: of a file that is a state dictionary, a checkpoint with one under `state_dict`,
/// `model_state_dict`, `model`, `module`, `net` or `network`, or a whole module.
///
/// ```no_run
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_nn::{Linear, Module, Strict, torch};
///
/// let model = Linear::new(4, 2, &dev);
/// model.load_state_dict(&torch::load_state_dict("linear.pt", &dev)?, Strict)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`load`], and where there are no tensors at any of these places.
#[cfg(not(target_arch = "wasm32"))]
pub fn load_state_dict(path: impl AsRef<Path>, device: &Device) -> Result<StateDict> {
    let name = path.as_ref().display().to_string();
    let value = load(path, device)?;
    value.model().map_err(|e| file_error(&name, e.to_string()))
}

/// [`load`] of a file's bytes; `name` stands for the file in errors.
///
/// ```
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// let error = wgrad_nn::torch::decode(b"pickle", "x.pt", &dev).unwrap_err();
/// assert_eq!(error.to_string(), "x.pt: too short for a zip archive");
/// ```
///
/// # Errors
/// As `load`.
pub fn decode(bytes: &[u8], name: &str, device: &Device) -> Result<TorchValue> {
    let value = || -> Result<TorchValue, String> {
        let old = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19";
        if bytes.starts_with(old) {
            return Err(
                "written by PyTorch before 1.6; load it there and save it again".to_string(),
            );
        }
        let archive = Archive::parse(bytes)?;
        let is_pickle = |name: &str| name == "data.pkl" || name.ends_with("/data.pkl");
        let mut pickles = archive.entries().iter().filter(|e| is_pickle(e.name()));
        let pickle = pickles
            .next()
            .ok_or("no data.pkl: not a file of torch.save")?;
        let prefix = pickle.name().strip_suffix("data.pkl").unwrap_or_default();
        let program = pickle.read()?;
        let storages = Storages::new(&archive, prefix, bytes.len(), device)?;
        let mut machine = Machine::new(&program, storages);
        let result = machine.run();
        let root = result.map_err(|problem| {
            format!("{}, byte {}: {problem}", pickle.name(), machine.position())
        })?;
        machine.tree(root, program.len())
    };
    value().map_err(|problem| file_error(name, problem))
}

impl TorchValue {
    /// The value of a key, which is a string or (as text) an integer. The last one where there are several.
    ///
    /// ```
    /// use wgrad_nn::torch::TorchValue::{Dict, Int, Text};
    ///
    /// let dict = Dict(vec![(Text("lr".into()), Int(1)), (Int(7), Int(2))]);
    /// assert_eq!(dict.get("lr").and_then(|v| v.as_int()), Some(1));
    /// assert_eq!(dict.get("7").and_then(|v| v.as_int()), Some(2));
    /// ```
    pub fn get(&self, key: &str) -> Option<&TorchValue> {
        let pairs = match self {
            TorchValue::Dict(pairs) => pairs,
            TorchValue::Object { state, .. } => return state.get(key),
            _ => return None,
        };
        let mut found = pairs.iter().rev();
        found
            .find(|(k, _)| k.key().as_deref() == Some(key))
            .map(|(_, value)| value)
    }

    /// The value as a key.
    fn key(&self) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            TorchValue::Text(text) => Some(text.into()),
            TorchValue::Int(n) => Some(n.to_string().into()),
            _ => None,
        }
    }

    /// An integer or a truth value.
    pub fn as_int(&self) -> Option<i128> {
        match self {
            TorchValue::Int(n) => Some(*n),
            TorchValue::Bool(b) => Some(i128::from(*b)),
            _ => None,
        }
    }

    /// A number.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            TorchValue::Float(v) => Some(*v),
            other => other.as_int().map(|n| n as f64),
        }
    }

    /// A string.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            TorchValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A list's or tuple's values.
    pub fn as_list(&self) -> Option<&[TorchValue]> {
        match self {
            TorchValue::List(values) => Some(values),
            _ => None,
        }
    }

    /// A tensor.
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match self {
            TorchValue::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// All tensors in this value by name: in dictionaries and lists within, keys and places are joined by dots
    /// (`state.0.exp_avg`). Of a module, its parameters and buffers under the names of its `state_dict()`.
    ///
    /// ```
    /// # let dev = wgrad_core::Device::new(
    /// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
    /// use wgrad_core::Tensor;
    /// use wgrad_nn::torch::TorchValue::{self, Dict, List, Text};
    ///
    /// let tensor = TorchValue::Tensor(Tensor::ones([2], &dev));
    /// let value = Dict(vec![(Text("layers".into()), List(vec![tensor]))]);
    /// assert_eq!(value.state_dict()?.keys().collect::<Vec<_>>(), ["layers.0"]);
    /// # Ok::<(), wgrad_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Load`](wgrad_core::Error::Load) where there is no tensor.
    pub fn state_dict(&self) -> Result<StateDict> {
        let mut dict = StateDict::new();
        self.collect("", &mut dict);
        if dict.is_empty() {
            let problem = "the file has no tensors there".to_string();
            return Err(wgrad_core::Error::Load(problem));
        }
        Ok(dict)
    }

    fn collect(&self, path: &str, dict: &mut StateDict) {
        let join = |key: &str| match path {
            "" => key.to_string(),
            path => format!("{path}.{key}"),
        };
        match self {
            TorchValue::Tensor(tensor) => {
                dict.insert(path.to_string(), tensor.clone());
            }
            TorchValue::Dict(pairs) => {
                for (key, value) in pairs {
                    if let Some(key) = key.key() {
                        value.collect(&join(&key), dict);
                    }
                }
            }
            TorchValue::List(values) => {
                for (at, value) in values.iter().enumerate() {
                    value.collect(&join(&at.to_string()), dict);
                }
            }
            TorchValue::Object { state, .. } => {
                // A module: its own tensors and those of its parts have no further word between.
                for part in ["_parameters", "_buffers", "_modules"] {
                    if let Some(part) = state.get(part) {
                        part.collect(path, dict);
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether it is a dictionary of tensors, or a module.
    fn is_model(&self) -> bool {
        match self {
            TorchValue::Dict(pairs) => {
                let tensors = pairs.iter().filter(|(_, v)| v.as_tensor().is_some());
                tensors.count() * 2 > pairs.len()
            }
            TorchValue::Object { .. } => self.state_dict().is_ok(),
            _ => false,
        }
    }

    /// The tensors of a model: of this value if it is a state dictionary or a module, else of what is under `state_dict`,
    /// `model_state_dict`, `model`, `module`, `net` or `network`.
    ///
    /// # Errors
    /// [`Error::Load`](wgrad_core::Error::Load) where there are no tensors at any of these places.
    pub fn model(&self) -> Result<StateDict> {
        let names = [
            "state_dict",
            "model_state_dict",
            "model",
            "module",
            "net",
            "network",
        ];
        let inside = || names.iter().filter_map(|name| self.get(name));
        let found = std::iter::once(self).chain(inside()).find(|v| v.is_model());
        let problem = || format!("no state dictionary, also not under {}", names.join(", "));
        found
            .ok_or_else(|| wgrad_core::Error::Load(problem()))?
            .state_dict()
    }
}
