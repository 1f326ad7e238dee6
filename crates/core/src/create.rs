//! Making tensors: from data, constant, counted, and random.

use smallvec::SmallVec;

use crate::device::{Device, Target};
use crate::dtype::DType;
use crate::element::{Element, Scalar};
use crate::elementwise::map;
use crate::error::{Error, Place, Result};
use crate::node::{Node, Op, Recipe, Source, State, Storage};
use crate::program::MapOp;
use crate::shape::Shape;
use crate::tensor::{Tensor, Value, check_size, record_node};
use std::sync::Arc;

/// Nested arrays, slices, vectors and scalars that [`Tensor::new`] takes. Floats become `f32` and
/// integers `i32` unless a type is given.
pub trait Data {
    /// The rows' type.
    type Item: Element;
    /// The shape; inner sizes are those of the first row.
    fn shape(&self) -> Shape;
    /// Appends the values in row-major order. False if a row has another shape than the first.
    fn collect(&self, shape: &[usize], values: &mut Vec<Self::Item>) -> bool;
}

macro_rules! scalar_data {
    ($($t:ty),*) => { $(impl Data for $t {
        type Item = $t;
        fn shape(&self) -> Shape { Shape::default() }
        fn collect(&self, shape: &[usize], values: &mut Vec<$t>) -> bool {
            values.push(*self);
            shape.is_empty()
        }
    })* };
}
scalar_data!(f64, f32, half::f16, half::bf16, i64, i32, u32, u8, bool);

fn rows_shape<D: Data>(rows: &[D]) -> Shape {
    let inner = rows.first().map(Data::shape).unwrap_or_default();
    [rows.len()]
        .into_iter()
        .chain(inner.iter().copied())
        .collect()
}

fn collect_rows<D: Data>(rows: &[D], shape: &[usize], values: &mut Vec<D::Item>) -> bool {
    match shape.split_first() {
        Some((&n, inner)) => n == rows.len() && rows.iter().all(|row| row.collect(inner, values)),
        None => false,
    }
}

macro_rules! rows_data {
    ($([$($generic:tt)*] $t:ty, $d:ident;)*) => { $(impl<$($generic)*> Data for $t {
        type Item = $d::Item;
        fn shape(&self) -> Shape { rows_shape(&self[..]) }
        fn collect(&self, shape: &[usize], values: &mut Vec<$d::Item>) -> bool {
            collect_rows(&self[..], shape, values)
        }
    })* };
}
rows_data! {
    [D: Data, const N: usize] [D; N], D;
    [D: Data] Vec<D>, D;
    [D: Data] &[D], D;
}

impl<D: Data, const N: usize> Data for &[D; N] {
    type Item = D::Item;
    fn shape(&self) -> Shape {
        rows_shape(&self[..])
    }
    fn collect(&self, shape: &[usize], values: &mut Vec<D::Item>) -> bool {
        collect_rows(&self[..], shape, values)
    }
}

impl<D: Data> Data for &Vec<D> {
    type Item = D::Item;
    fn shape(&self) -> Shape {
        rows_shape(&self[..])
    }
    fn collect(&self, shape: &[usize], values: &mut Vec<D::Item>) -> bool {
        collect_rows(&self[..], shape, values)
    }
}

impl Tensor {
    /// A tensor from nested arrays, slices or a scalar: `Tensor::new([[1.0, 2.0], [3.0, 4.0]], &dev)`.
    /// Floats become `f32`, integers `i32`; give a type as `(DType::F64, &dev)`. Rows of unequal
    /// length give a failed tensor.
    #[track_caller]
    pub fn new<D: Data>(data: D, target: impl Target) -> Tensor {
        let place = Place::caller();
        let default = match D::Item::DTYPE {
            DType::F64 => DType::F32,
            DType::I64 => DType::I32,
            dtype => dtype,
        };
        let dtype = target.dtype().unwrap_or(default);
        let device = target.device();
        let shape = data.shape();
        let mut values = Vec::new();
        Tensor::or_fail(
            device,
            if data.collect(&shape, &mut values) {
                from_elements("new", &values, shape, dtype, device, place)
            } else {
                Err(Error::value("new", place, "rows of unequal length"))
            },
        )
    }

    /// A tensor from values in row-major order; keeps their type. As many values as the shape has
    /// elements, or the tensor is a failed one.
    #[track_caller]
    pub fn from_vec<E: Element>(
        values: Vec<E>,
        shape: impl Into<Shape>,
        device: &Device,
    ) -> Tensor {
        Tensor::from_slice(&values, shape, device)
    }

    /// [`Tensor::from_vec`] from borrowed values.
    #[track_caller]
    pub fn from_slice<E: Element>(
        values: &[E],
        shape: impl Into<Shape>,
        device: &Device,
    ) -> Tensor {
        let place = Place::caller();
        let result = from_elements("from_slice", values, shape.into(), E::DTYPE, device, place);
        Tensor::or_fail(device, result)
    }

    /// A tensor without dimensions; `f32` for floats, `i32` for integers.
    #[track_caller]
    pub fn scalar(value: impl Into<Scalar>, target: impl Target) -> Tensor {
        Tensor::full((), value, target)
    }

    /// All elements `value`; `f32` for floats, `i32` for integers unless a type is given.
    #[track_caller]
    pub fn full(shape: impl Into<Shape>, value: impl Into<Scalar>, target: impl Target) -> Tensor {
        let place = Place::caller();
        let value = value.into();
        let dtype = target.dtype().unwrap_or(value.default_dtype());
        let device = target.device();
        let result = constant(device, &shape.into(), value, dtype, place);
        Tensor::or_fail(device, result.map(Value::into_tensor))
    }

    /// All zeros, `f32` unless a type is given.
    #[track_caller]
    pub fn zeros(shape: impl Into<Shape>, target: impl Target) -> Tensor {
        let dtype = target.dtype().unwrap_or(DType::F32);
        Tensor::full(shape, 0.0, (dtype, target.device()))
    }

    /// All ones, `f32` unless a type is given.
    #[track_caller]
    pub fn ones(shape: impl Into<Shape>, target: impl Target) -> Tensor {
        let dtype = target.dtype().unwrap_or(DType::F32);
        Tensor::full(shape, 1.0, (dtype, target.device()))
    }

    /// Zeros of this tensor's shape, type and device.
    #[track_caller]
    pub fn zeros_like(&self) -> Tensor {
        let place = Place::caller();
        self.then(|v| {
            Ok(constant(
                &v.node.device,
                v.shape(),
                Scalar::Float(0.0),
                v.dtype(),
                place,
            )?
            .into_tensor())
        })
    }

    /// Ones of this tensor's shape, type and device.
    #[track_caller]
    pub fn ones_like(&self) -> Tensor {
        let place = Place::caller();
        self.then(|v| {
            Ok(constant(
                &v.node.device,
                v.shape(),
                Scalar::Float(1.0),
                v.dtype(),
                place,
            )?
            .into_tensor())
        })
    }

    /// `0, 1, .., n - 1` as `i32`, or as the given type.
    #[track_caller]
    pub fn arange(n: usize, target: impl Target) -> Tensor {
        let place = Place::caller();
        let device = target.device();
        let index = map(
            "arange",
            MapOp::Index,
            device,
            SmallVec::new(),
            &Shape::from(n),
            DType::I32,
            place,
        );
        let index = Tensor::or_fail(device, index.map(Value::into_tensor));
        place.hold(|| index.to_dtype(target.dtype().unwrap_or(DType::I32)))
    }

    /// `n` evenly spaced numbers from `start` to `end`, both included.
    #[track_caller]
    pub fn linspace(start: f64, end: f64, n: usize, target: impl Target) -> Tensor {
        let place = Place::caller();
        let dtype = target.dtype().unwrap_or(DType::F32);
        let step = (end - start) / (n.max(2) - 1) as f64;
        place.hold(|| Tensor::arange(n, (dtype, target.device())) * step + start)
    }

    /// The `n x n` identity matrix.
    #[track_caller]
    pub fn eye(n: usize, target: impl Target) -> Tensor {
        let place = Place::caller();
        let dtype = target.dtype().unwrap_or(DType::F32);
        place.hold(|| {
            let i = Tensor::arange(n, target.device());
            i.unsqueeze(1).eq(i.unsqueeze(0)).to_dtype(dtype)
        })
    }

    /// Uniform random numbers in [0, 1) with 24 bits, from the device's stream
    /// (see [`Device::seed`]). The same seed gives the same numbers on every device.
    #[track_caller]
    pub fn rand(shape: impl Into<Shape>, target: impl Target) -> Tensor {
        random(MapOp::Uniform, shape.into(), target, Place::caller())
    }

    /// Standard normal random numbers (Box-Muller).
    #[track_caller]
    pub fn randn(shape: impl Into<Shape>, target: impl Target) -> Tensor {
        random(MapOp::Normal, shape.into(), target, Place::caller())
    }

    /// Uniform random numbers in [lo, hi).
    #[track_caller]
    pub fn uniform(shape: impl Into<Shape>, lo: f64, hi: f64, target: impl Target) -> Tensor {
        let place = Place::caller();
        place.hold(|| Tensor::rand(shape, target) * (hi - lo) + lo)
    }

    /// Random integers in `lo..hi` as `i32` (or the given type), by multiplication of a uniform
    /// 24-bit number: ranges above 2^24 are refused.
    #[track_caller]
    pub fn randint(shape: impl Into<Shape>, lo: i32, hi: i32, target: impl Target) -> Tensor {
        let place = Place::caller();
        let span = i64::from(hi) - i64::from(lo);
        if !(1..=1 << 24).contains(&span) {
            let error = Error::value(
                "randint",
                place,
                format!("the range {lo}..{hi} must hold 1 to 2^24 integers"),
            );
            return Tensor::fail(target.device(), error);
        }
        place.hold(|| {
            let u = Tensor::rand(shape, target.device()) * span as f64;
            let i = u.floor().to_dtype(DType::I32) + lo;
            i.to_dtype(target.dtype().unwrap_or(DType::I32))
        })
    }

    /// A random truth value per element, true with probability `p`.
    #[track_caller]
    pub fn bernoulli(shape: impl Into<Shape>, p: f64, target: impl Target) -> Tensor {
        let place = Place::caller();
        place.hold(|| {
            let mask = Tensor::rand(shape, target.device()).lt(p);
            mask.to_dtype(target.dtype().unwrap_or(DType::Bool))
        })
    }
}

/// A constant of `shape`: recorded like an operation, used as a scalar.
pub(crate) fn constant(
    device: &Device,
    shape: &Shape,
    value: Scalar,
    dtype: DType,
    place: Place,
) -> Result<Value> {
    // The 16-bit floats hold the rounded value.
    let value = match dtype {
        DType::F16 => Scalar::Float(half::f16::from_f64(value.to_f64()).to_f64()),
        DType::BF16 => Scalar::Float(half::bf16::from_f64(value.to_f64()).to_f64()),
        _ => value,
    };
    let inputs = [Source::Scalar(value, dtype.compute())]
        .into_iter()
        .collect();
    let recipe = Recipe {
        op: Op::Map(MapOp::Copy),
        inputs,
    };
    record_node(
        "full",
        device,
        recipe,
        shape.clone(),
        dtype,
        Some(value),
        place,
    )
}

fn random(op: MapOp, shape: Shape, target: impl Target, place: Place) -> Tensor {
    let device = target.device();
    let inputs = device
        .next_random()
        .map(|word| Source::Scalar(word, DType::U32))
        .into_iter()
        .collect();
    let value = map(op.name(), op, device, inputs, &shape, DType::F32, place);
    let tensor = Tensor::or_fail(device, value.map(Value::into_tensor));
    match target.dtype() {
        Some(dtype) => place.hold(|| tensor.to_dtype(dtype)),
        None => tensor,
    }
}

/// Uploads host values as `dtype`.
fn from_elements<E: Element>(
    name: &'static str,
    values: &[E],
    shape: Shape,
    dtype: DType,
    device: &Device,
    place: Place,
) -> Result<Tensor> {
    let needed = shape.numel();
    if values.len() != needed {
        return Err(Error::Length {
            op: name,
            len: values.len(),
            shape,
            needed,
            place,
        });
    }
    let limits = device.open()?.backend.limits();
    let dtype = if dtype == DType::I64 && !limits.has(dtype) {
        DType::I32
    } else {
        dtype
    };
    check_size(name, device, &shape, dtype, place)?;
    let mut bytes = Vec::with_capacity(needed * dtype.size());
    if E::DTYPE == dtype {
        E::extend_bytes(values, &mut bytes);
    } else {
        convert(name, values, dtype, &mut bytes, place)?;
    }
    upload(&bytes, shape, dtype, device, place)
}

/// Host values as another type: rounding floats, and integers only where they fit.
fn convert<E: Element>(
    name: &'static str,
    values: &[E],
    dtype: DType,
    bytes: &mut Vec<u8>,
    place: Place,
) -> Result<()> {
    let range = match dtype {
        DType::I32 => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
        DType::U32 => Some((0, i64::from(u32::MAX))),
        DType::U8 => Some((0, 255)),
        _ => None,
    };
    for value in values {
        let value = value.scalar();
        if let (Some((lo, hi)), Scalar::Integer(v)) = (range, value)
            && !(lo..=hi).contains(&v)
        {
            return Err(Error::value(
                name,
                place,
                format!("{v} does not fit {dtype}"),
            ));
        }
        let integer = value.bits(DType::I64).to_i64();
        let float = value.to_f64();
        match dtype {
            DType::F64 => f64::extend_bytes(&[float], bytes),
            DType::F32 => f32::extend_bytes(&[float as f32], bytes),
            DType::F16 => half::f16::extend_bytes(&[half::f16::from_f64(float)], bytes),
            DType::BF16 => half::bf16::extend_bytes(&[half::bf16::from_f64(float)], bytes),
            DType::I64 => i64::extend_bytes(&[integer], bytes),
            DType::I32 => i32::extend_bytes(
                &[integer.clamp(i32::MIN.into(), i32::MAX.into()) as i32],
                bytes,
            ),
            DType::U32 => u32::extend_bytes(&[integer.clamp(0, u32::MAX.into()) as u32], bytes),
            DType::U8 => u8::extend_bytes(&[integer.clamp(0, 255) as u8], bytes),
            DType::Bool => bytes.push(u8::from(float != 0.0)),
        }
    }
    Ok(())
}

/// A leaf from host bytes (one byte per bool).
pub(crate) fn upload(
    bytes: &[u8],
    shape: Shape,
    dtype: DType,
    device: &Device,
    place: Place,
) -> Result<Tensor> {
    let open = device.open()?;
    let storage = if dtype == DType::Bool && open.backend.limits().bool_bytes == 4 {
        let words: Vec<u32> = bytes.iter().map(|&b| u32::from(b)).collect();
        store(open, bytemuck::cast_slice(&words))?
    } else {
        store(open, bytes)?
    };
    let node = Node::new(
        device.clone(),
        shape,
        dtype,
        place,
        None,
        State::Done(storage),
    );
    Ok(Value::new(Arc::new(node)).into_tensor())
}

fn store(open: &crate::device::Open, bytes: &[u8]) -> Result<Storage> {
    let buffer = open.backend.allocate(bytes.len().max(16))?;
    if bytes.len().is_multiple_of(4) {
        if !bytes.is_empty() {
            open.backend.write(&buffer, 0, bytes)?;
        }
    } else {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(4), 0);
        open.backend.write(&buffer, 0, &padded)?;
    }
    Ok(Storage {
        buffer,
        offset: 0,
        tenancy: None,
    })
}
