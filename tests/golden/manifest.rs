//! Golden files as they are read: cases, their arguments, their tensors.

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};
use wgrad::prelude::*;
use wgrad::{Scalar, Slice};

/// A case of a manifest; tensors by number.
pub struct Case {
    /// Domain, line and operation, for reports.
    pub id: String,
    pub op: String,
    args: Map<String, Value>,
    pub inputs: Vec<Input>,
    pub outputs: Vec<usize>,
    /// A gradient per output that has one; empty for none.
    pub upstream: Vec<Option<usize>>,
    pub grads: Vec<usize>,
    pub v: Vec<usize>,
    pub seconds: Vec<usize>,
    pub rtol: Option<f64>,
    pub atol: Option<f64>,
}

/// A leaf and how the operation sees it.
pub struct Input {
    pub leaf: usize,
    views: Vec<Value>,
}

/// The cases of a domain.
pub struct Manifest<'a> {
    pub cases: Vec<Case>,
    tensors: SafeTensors<'a>,
}

fn list(line: &Map<String, Value>, name: &str) -> Vec<Value> {
    match line.get(name) {
        Some(Value::Array(list)) => list.clone(),
        _ => Vec::new(),
    }
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("the number of a tensor") as usize
}

impl<'a> Manifest<'a> {
    pub fn new(domain: &str, lines: &str, tensors: &'a [u8]) -> Manifest<'a> {
        let tensors = SafeTensors::deserialize(tensors).expect("golden tensors");
        let mut cases = Vec::new();
        for (i, line) in lines.lines().enumerate().skip(1) {
            let Ok(Value::Object(line)) = serde_json::from_str(line) else {
                panic!("{domain}.jsonl, line {}: not an object", i + 1);
            };
            let text = |name: &str| line.get(name).and_then(Value::as_str);
            let float = |name: &str| line.get(name).and_then(Value::as_f64);
            let numbers = |name: &str| list(&line, name).iter().map(number).collect();
            let op = text("op").expect("an operation").to_string();
            let (rtol, atol) = (float("rtol"), float("atol"));
            let reasoned = text("reason").is_some_and(|reason| reason.len() > 10);
            assert!(
                rtol.or(atol).is_none() || reasoned,
                "{domain}.jsonl, line {}: a wide tolerance without a reason",
                i + 1
            );
            let input = |value: &Value| match value {
                Value::Object(input) => Input {
                    leaf: number(&input["t"]),
                    views: list(input, "views"),
                },
                _ => panic!("{domain}.jsonl, line {}: an input", i + 1),
            };
            let args = match line.get("args") {
                Some(Value::Object(args)) => args.clone(),
                _ => Map::new(),
            };
            let shown = match args.is_empty() {
                true => String::new(),
                false => format!(" {}", Value::Object(args.clone())),
            };
            cases.push(Case {
                id: format!("{domain}:{} {op}{shown}", i + 1),
                op,
                args,
                inputs: list(&line, "inputs").iter().map(input).collect(),
                outputs: numbers("outputs"),
                upstream: list(&line, "upstream")
                    .iter()
                    .map(|value| (!value.is_null()).then(|| number(value)))
                    .collect(),
                grads: numbers("grads"),
                v: numbers("v"),
                seconds: numbers("seconds"),
                rtol,
                atol,
            });
        }
        Manifest { cases, tensors }
    }

    fn view(&self, number: usize) -> TensorView<'_> {
        self.tensors
            .tensor(&number.to_string())
            .expect("a tensor of the file")
    }

    pub fn dtype(&self, number: usize) -> DType {
        match self.view(number).dtype() {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I64 => DType::I64,
            Dtype::I32 => DType::I32,
            Dtype::U32 => DType::U32,
            Dtype::I16 => DType::I16,
            Dtype::I8 => DType::I8,
            Dtype::U8 => DType::U8,
            Dtype::BOOL => DType::Bool,
            other => panic!("golden files have no {other:?}"),
        }
    }

    pub fn shape(&self, number: usize) -> Vec<usize> {
        self.view(number).shape().to_vec()
    }

    pub fn bytes(&self, number: usize) -> Vec<u8> {
        self.view(number).data().to_vec()
    }

    /// The tensor on a device, in its own type.
    pub fn tensor(&self, number: usize, dev: &Device) -> Tensor {
        let view = self.view(number);
        let (bytes, shape) = (view.data(), view.shape());
        macro_rules! of {
            ($t:ty) => {
                Tensor::from_vec(<$t as wgrad::Element>::from_bytes(bytes), shape, dev)
            };
        }
        match self.dtype(number) {
            DType::F64 => of!(f64),
            DType::F32 => of!(f32),
            DType::F16 => of!(f16),
            DType::BF16 => of!(bf16),
            DType::I64 => of!(i64),
            DType::I32 => of!(i32),
            DType::U32 => of!(u32),
            DType::I16 => of!(i16),
            DType::I8 => of!(i8),
            DType::U8 => of!(u8),
            DType::Bool => of!(bool),
            other => panic!("golden files have no {other}"),
        }
    }
}

impl Input {
    /// The leaf through the input's views.
    pub fn of(&self, leaf: &Tensor) -> Tensor {
        self.views.iter().fold(leaf.clone(), |x, view| {
            let Value::Array(view) = view else {
                panic!("a view is a list");
            };
            let numbers: Vec<usize> = view.iter().skip(1).map(number).collect();
            match (view[0].as_str(), &numbers[..]) {
                (Some("transpose"), &[a, b]) => x.transpose(a as isize, b as isize),
                (Some("step"), &[dim, start, step]) => {
                    let mut ranges = vec![Slice::from(..); dim];
                    ranges.push(s(start..).step(step));
                    x.slice(&ranges[..])
                }
                (Some("expand"), shape) => x.expand(shape),
                (other, _) => panic!("golden inputs have no view {other:?}"),
            }
        })
    }
}

impl Case {
    /// Whether the case has an argument that is neither null nor false.
    pub fn has(&self, name: &str) -> bool {
        let value = self.args.get(name);
        value.is_some_and(|value| !value.is_null() && *value != Value::Bool(false))
    }
}

/// The arguments of a case, by name.
pub struct Args<'a> {
    values: &'a Map<String, Value>,
    device: &'a Device,
}

#[allow(dead_code)] // a vocabulary for the domains
impl<'a> Args<'a> {
    pub fn new(case: &'a Case, device: &'a Device) -> Args<'a> {
        let values = &case.args;
        Args { values, device }
    }

    /// The device, for operations without operands.
    pub fn device(&self) -> &Device {
        self.device
    }

    pub fn has(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| !value.is_null())
    }

    fn get(&self, name: &str) -> &Value {
        let value = self.values.get(name);
        value.unwrap_or_else(|| panic!("no argument {name}"))
    }

    pub fn f64(&self, name: &str) -> f64 {
        match self.get(name) {
            Value::String(text) => text.parse().expect("inf, -inf or nan"),
            value => value.as_f64().expect("a number"),
        }
    }

    pub fn opt_f64(&self, name: &str) -> Option<f64> {
        self.has(name).then(|| self.f64(name))
    }

    pub fn int(&self, name: &str) -> i64 {
        self.get(name).as_i64().expect("an integer")
    }

    pub fn isize(&self, name: &str) -> isize {
        self.int(name) as isize
    }

    pub fn usize(&self, name: &str) -> usize {
        usize::try_from(self.int(name)).expect("a size")
    }

    pub fn bool(&self, name: &str) -> bool {
        self.get(name).as_bool().expect("a truth value")
    }

    /// A text, where the argument may be something else.
    pub fn opt_str(&self, name: &str) -> Option<&str> {
        self.values.get(name).and_then(Value::as_str)
    }

    pub fn str(&self, name: &str) -> &str {
        self.get(name).as_str().expect("a string")
    }

    /// A list of anything.
    pub fn values(&self, name: &str) -> &[Value] {
        self.get(name).as_array().expect("a list")
    }

    /// A list of integers.
    pub fn isizes(&self, name: &str) -> Vec<isize> {
        let Value::Array(list) = self.get(name) else {
            panic!("{name} is a list");
        };
        let int = |value: &Value| value.as_i64().expect("an integer") as isize;
        list.iter().map(int).collect()
    }

    /// A list of sizes.
    pub fn usizes(&self, name: &str) -> Vec<usize> {
        let size = |value: isize| usize::try_from(value).expect("a size");
        self.isizes(name).into_iter().map(size).collect()
    }

    pub fn opt_isize(&self, name: &str) -> Option<isize> {
        self.has(name).then(|| self.isize(name))
    }

    /// An integer, a float or a truth value, as the manifest writes it.
    pub fn scalar(&self, name: &str) -> Scalar {
        match self.get(name) {
            Value::Bool(value) => Scalar::Bool(*value),
            Value::Number(value) if value.is_i64() => Scalar::Integer(self.int(name)),
            _ => Scalar::Float(self.f64(name)),
        }
    }

    pub fn opt_scalar(&self, name: &str) -> Option<Scalar> {
        self.has(name).then(|| self.scalar(name))
    }

    pub fn dtype(&self, name: &str) -> DType {
        let text = self.str(name);
        let found = DType::ALL.into_iter().find(|dtype| dtype.name() == text);
        found.unwrap_or_else(|| panic!("there is no type {text}"))
    }
}
