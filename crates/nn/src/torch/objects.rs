//! What values are made of, by the names of classes and functions. This is the whole list of what has a meaning here:
//! other names stay names.

use wgrad_core::Tensor;

use super::machine::Machine;
use super::storage::{Kind, Storage, View};

/// A value's place in the machine's memory.
pub(super) type Id = usize;

/// A value. Others in it by their places: pickles may share values, and put one into itself.
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function.
    Name(String),
    /// Numbers in the archive.
    Storage(Storage),
    Tensor(Tensor),
    /// A NumPy type: `f8`.
    NumpyType(String),
    /// An object of a class that has no meaning here.
    Made {
        class: String,
        args: Id,
        state: Option<Id>,
        /// Entries of a kind of dictionary or list.
        items: Vec<(Id, Id)>,
    },
}

impl Object {
    /// About how many bytes a copy takes.
    fn size(&self) -> usize {
        match self {
            Object::Text(text) | Object::Name(text) | Object::NumpyType(text) => text.len(),
            Object::Bytes(bytes) => bytes.len(),
            Object::List(ids) | Object::Tuple(ids) => ids.len() * size_of::<Id>(),
            Object::Dict(ids) => ids.len() * size_of::<(Id, Id)>(),
            _ => 0,
        }
    }
}

impl Machine<'_> {
    /// What a call of a class or function gives.
    pub(super) fn made(&mut self, class: Id, args: Id) -> Result<Object, String> {
        let Object::Name(name) = &self.objects[class] else {
            return Err("a call of what is no class".to_string());
        };
        let name = name.clone();
        let Object::Tuple(values) = &self.objects[args] else {
            return Err(format!("{name} is called without a tuple"));
        };
        let values = values.clone();
        let within: usize = values.iter().map(|&id| self.objects[id].size()).sum();
        self.charge(name.len() + values.len() * size_of::<Id>() + within)?;
        let wrong = || format!("{name} is called with other arguments than PyTorch's");
        match (name.as_str(), &values[..]) {
            (
                "collections.OrderedDict"
                | "collections.defaultdict"
                | "builtins.dict"
                | "__builtin__.dict",
                rest,
            ) => {
                // With entries as pairs, as Python 2 wrote it, or without.
                match rest.last().map(|&last| &self.objects[last]) {
                    Some(Object::List(pairs)) => {
                        let pair = |&id: &Id| match &self.objects[id] {
                            Object::Tuple(pair) | Object::List(pair) if pair.len() == 2 => {
                                Ok((pair[0], pair[1]))
                            }
                            _ => Err(wrong()),
                        };
                        Ok(Object::Dict(
                            pairs.iter().map(pair).collect::<Result<_, _>>()?,
                        ))
                    }
                    Some(Object::Dict(pairs)) => Ok(Object::Dict(pairs.clone())),
                    _ => Ok(Object::Dict(Vec::new())),
                }
            }
            ("collections.Counter", [counts]) => match &self.objects[*counts] {
                Object::Dict(pairs) => Ok(Object::Dict(pairs.clone())),
                _ => Err(wrong()),
            },
            ("collections.deque" | "builtins.list" | "__builtin__.list", []) => {
                Ok(Object::List(Vec::new()))
            }
            (
                "builtins.set"
                | "__builtin__.set"
                | "builtins.frozenset"
                | "__builtin__.frozenset"
                | "builtins.list"
                | "collections.deque"
                | "torch.Size",
                [values, ..],
            ) => match &self.objects[*values] {
                Object::List(values) | Object::Tuple(values) => Ok(Object::List(values.clone())),
                _ => Err(wrong()),
            },
            // How protocol 2 writes bytes.
            ("_codecs.encode", [text, _]) => match &self.objects[*text] {
                Object::Text(text) => {
                    let byte = |c: char| u8::try_from(c).map_err(|_| wrong());
                    Ok(Object::Bytes(
                        text.chars().map(byte).collect::<Result<_, _>>()?,
                    ))
                }
                _ => Err(wrong()),
            },
            ("builtins.bytes" | "builtins.bytearray" | "__builtin__.bytearray", []) => {
                Ok(Object::Bytes(Vec::new()))
            }
            ("builtins.bytes" | "builtins.bytearray", [bytes]) => match &self.objects[*bytes] {
                Object::Bytes(bytes) => Ok(Object::Bytes(bytes.clone())),
                _ => Err(wrong()),
            },
            ("torch.device", [kind, rest @ ..]) => {
                let Object::Text(kind) = &self.objects[*kind] else {
                    return Err(wrong());
                };
                Ok(Object::Text(
                    match rest.first().map(|&n| &self.objects[n]) {
                        Some(Object::Int(n)) => format!("{kind}:{n}"),
                        _ => kind.clone(),
                    },
                ))
            }
            ("torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2", args) => {
                self.tensor(args, None).ok_or_else(wrong)?
            }
            ("torch._utils._rebuild_tensor_v3", args) => {
                let dtype = args.get(6).map(|&id| &self.objects[id]);
                let Some(Object::Name(dtype)) = dtype else {
                    return Err(wrong());
                };
                let kind = Kind::of_dtype(dtype);
                self.tensor(args, Some(kind)).ok_or_else(wrong)?
            }
            (
                "torch._utils._rebuild_parameter"
                | "torch._utils._rebuild_parameter_with_state"
                | "torch.nn.parameter.Parameter"
                | "torch.nn.parameter.Buffer",
                [data, ..],
            ) => match &self.objects[*data] {
                Object::Tensor(tensor) => Ok(Object::Tensor(tensor.clone())),
                _ => Err(wrong()),
            },
            // A subclass of Tensor: how its tensor is made, the class, the arguments, attributes.
            ("torch._tensor._rebuild_from_type_v2", [function, _, args, _]) => {
                let (function, args) = (*function, *args);
                match &self.objects[function] {
                    // Only once: no call within calls.
                    Object::Name(inner) if inner.starts_with("torch._utils._rebuild_") => {
                        self.made(function, args)
                    }
                    _ => Err(wrong()),
                }
            }
            ("numpy.dtype", [name, ..]) => match &self.objects[*name] {
                Object::Text(name) => Ok(Object::NumpyType(name.clone())),
                _ => Err(wrong()),
            },
            ("numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar", [kind, bytes]) => {
                let (Object::NumpyType(kind), Object::Bytes(bytes)) =
                    (&self.objects[*kind], &self.objects[*bytes])
                else {
                    return Err(wrong());
                };
                numpy_scalar(kind, bytes).ok_or_else(wrong)
            }
            _ => Ok(Object::Made {
                class: name,
                args,
                state: None,
                items: Vec::new(),
            }),
        }
    }

    /// Attributes of an object. Those of dictionaries and tensors (as `_metadata`) say nothing about their values.
    pub(super) fn set_state(&mut self, object: Id, attributes: Id) {
        if let Object::Made { state, .. } = &mut self.objects[object] {
            *state = Some(attributes);
        }
    }

    /// What a persistent identifier stands for: `('storage', type, key, device, length)`.
    pub(super) fn storage(&mut self, id: Id) -> Result<Object, String> {
        let wrong = || "a persistent identifier that is no storage".to_string();
        let Object::Tuple(parts) = &self.objects[id] else {
            return Err(wrong());
        };
        let &[tag, class, key, _, length] = &parts[..] else {
            return Err(wrong());
        };
        self.charge(self.objects[key].size() + self.objects[class].size())?;
        match (
            &self.objects[tag],
            &self.objects[class],
            &self.objects[key],
            &self.objects[length],
        ) {
            (Object::Text(tag), Object::Name(class), Object::Text(key), Object::Int(length))
                if tag == "storage" =>
            {
                let kind = Kind::of_storage(class);
                Ok(Object::Storage(Storage {
                    kind,
                    key: key.clone(),
                    length: usize::try_from(*length).map_err(|_| wrong())?,
                }))
            }
            _ => Err(wrong()),
        }
    }

    /// Storage, offset, sizes and strides as a tensor; `None` where they are something else.
    fn tensor(&mut self, args: &[Id], kind: Option<Kind>) -> Option<Result<Object, String>> {
        let &[storage, offset, sizes, strides, ..] = args else {
            return None;
        };
        let numbers = |id: Id| match &self.objects[id] {
            Object::Tuple(values) | Object::List(values) => {
                let number = |&v: &Id| match self.objects[v] {
                    Object::Int(n) => usize::try_from(n).ok(),
                    _ => None,
                };
                values.iter().map(number).collect::<Option<Vec<usize>>>()
            }
            _ => None,
        };
        let Object::Int(offset) = self.objects[offset] else {
            return None;
        };
        let view = View {
            kind,
            offset: usize::try_from(offset).ok()?,
            sizes: numbers(sizes)?,
            strides: numbers(strides)?,
        };
        let Object::Storage(storage) = &self.objects[storage] else {
            return None;
        };
        Some(self.storages.tensor(storage, &view).map(Object::Tensor))
    }
}

fn numpy_scalar(kind: &str, bytes: &[u8]) -> Option<Object> {
    Some(match kind {
        "f8" => Object::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
        "f4" => Object::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
        "i8" => Object::Int(i64::from_le_bytes(bytes.try_into().ok()?).into()),
        "i4" => Object::Int(i32::from_le_bytes(bytes.try_into().ok()?).into()),
        "u8" => Object::Int(u64::from_le_bytes(bytes.try_into().ok()?).into()),
        "b1" => Object::Bool(*bytes.first()? != 0),
        _ => return None,
    })
}
