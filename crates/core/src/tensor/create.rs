//! Making tensors: from data, constant, counted, and random.

mod distribution;
mod generator;
mod sampling;
mod sequence;

use std::sync::Arc;

use crate::kernel::program::MapOp;
use crate::record::node::{Constant, Node, Op, Recipe, Source, State, Storage};
use crate::tensor::device::{Device, Target};
use crate::tensor::{Tensor, Value, check_size, record_node};
use crate::types::dtype::DType;
use crate::types::element::{Element, Scalar};
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

pub(crate) use distribution::draw;
pub use generator::{Generator, RandomState};
pub use sequence::Progression;

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
scalar_data!(
    f64,
    f32,
    half::f16,
    half::bf16,
    i64,
    i32,
    u32,
    i16,
    i8,
    u8,
    bool
);

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
    /// length give a failed tensor, and so does a value beyond an integer type's range. (Fractions are
    /// cut off; floats are rounded, to infinity where they must be.)
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

    /// All elements `value`; `f32` for floats, `i32` for integers unless a type is given. A value that
    /// the type does not hold is refused as in [`Tensor::new`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::full([2, 2], 7, &dev);
    /// assert_eq!(x.to_vec::<i32>()?, [7, 7, 7, 7]);
    /// # Ok::<(), Error>(())
    /// ```
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
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::zeros([2], &dev).to_vec::<f32>()?, [0.0, 0.0]);
    /// assert_eq!(Tensor::zeros([1, 2], (DType::I32, &dev)).dtype()?, DType::I32);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn zeros(shape: impl Into<Shape>, target: impl Target) -> Tensor {
        let dtype = target.dtype().unwrap_or(DType::F32);
        Tensor::full(shape, 0.0, (dtype, target.device()))
    }

    /// All ones, `f32` unless a type is given.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::ones([3], &dev).to_vec::<f32>()?, [1.0, 1.0, 1.0]);
    /// assert_eq!(Tensor::ones([1], (DType::I32, &dev)).to_vec::<i32>()?, [1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn ones(shape: impl Into<Shape>, target: impl Target) -> Tensor {
        let dtype = target.dtype().unwrap_or(DType::F32);
        Tensor::full(shape, 1.0, (dtype, target.device()))
    }

    /// Zeros of this tensor's shape, type and device.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([4, 5], &dev).zeros_like().to_vec::<i32>()?, [0, 0]);
    /// # Ok::<(), Error>(())
    /// ```
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

    /// All elements `value`, of this tensor's shape, type and device.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::zeros([2], (DType::F64, &dev)).full_like(0.1);
    /// assert_eq!(x.to_vec::<f64>()?, [0.1, 0.1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn full_like(&self, value: impl Into<Scalar>) -> Tensor {
        let place = Place::caller();
        let value = value.into();
        self.then(|v| {
            let constant = constant(&v.node.device, v.shape(), value, v.dtype(), place)?;
            Ok(constant.into_tensor())
        })
    }

    /// Ones of this tensor's shape, type and device.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([4, 5], &dev).ones_like().to_vec::<i32>()?, [1, 1]);
    /// # Ok::<(), Error>(())
    /// ```
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
}

/// A constant of `shape`: recorded like an operation, used as a scalar.
pub(crate) fn constant(
    device: &Device,
    shape: &Shape,
    value: Scalar,
    dtype: DType,
    place: Place,
) -> Result<Value> {
    if !value.fits(dtype) {
        return Err(unfit("full", value, dtype, place));
    }
    // The 16-bit floats hold the rounded value.
    let value = value.rounded(dtype);
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
        Some(Constant {
            value,
            exact: false,
        }),
        place,
    )
}

/// The error for a number that a type does not hold.
pub(crate) fn unfit(name: &'static str, value: Scalar, dtype: DType, place: Place) -> Error {
    let problem = match value {
        Scalar::Integer(v) => format!("{v} does not fit {dtype}"),
        other => format!("{} does not fit {dtype}", other.to_f64()),
    };
    Error::value(name, place, problem)
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
    if E::DTYPE == dtype {
        return upload(E::bytes(values), shape, dtype, device, place);
    }
    let mut bytes = Vec::with_capacity(needed * dtype.size());
    convert(name, values, dtype, &mut bytes, place)?;
    upload(&bytes, shape, dtype, device, place)
}

/// Host values as another type, rounded once where it is a float; integers must fit.
fn convert<E: Element>(
    name: &'static str,
    values: &[E],
    dtype: DType,
    bytes: &mut Vec<u8>,
    place: Place,
) -> Result<()> {
    for value in values {
        let value = value.scalar();
        if !value.fits(dtype) {
            return Err(unfit(name, value, dtype, place));
        }
        let integer = value.bits(dtype).to_i64();
        let single = match value {
            Scalar::Integer(v) => v as f32,
            other => other.to_f64() as f32,
        };
        match dtype {
            DType::F64 => f64::extend_bytes(&[value.to_f64()], bytes),
            DType::F32 => f32::extend_bytes(&[single], bytes),
            DType::F16 => half::f16::extend_bytes(&[half::f16::from_f32(value.to_odd())], bytes),
            DType::BF16 => {
                half::bf16::extend_bytes(&[half::bf16::from_f32(value.to_odd())], bytes);
            }
            DType::I64 => i64::extend_bytes(&[integer], bytes),
            DType::I32 => i32::extend_bytes(&[integer as i32], bytes),
            DType::U32 => u32::extend_bytes(&[integer as u32], bytes),
            DType::I16 => i16::extend_bytes(&[integer as i16], bytes),
            DType::I8 => i8::extend_bytes(&[integer as i8], bytes),
            DType::U8 => u8::extend_bytes(&[integer as u8], bytes),
            DType::Bool => bytes.push(u8::from(value.to_f64() != 0.0)),
        }
    }
    Ok(())
}

/// A leaf from host bytes (one byte per bool, anything but 0 being true).
pub(crate) fn upload(
    bytes: &[u8],
    shape: Shape,
    dtype: DType,
    device: &Device,
    place: Place,
) -> Result<Tensor> {
    let open = device.open()?;
    let storage = match (dtype, open.backend.limits().bool_bytes) {
        (DType::Bool, 4) => {
            let words: Vec<u32> = bytes.iter().map(|&b| u32::from(b != 0)).collect();
            store(open, bytemuck::cast_slice(&words))?
        }
        (DType::Bool, _) => {
            let truths: Vec<u8> = bytes.iter().map(|&b| u8::from(b != 0)).collect();
            store(open, &truths)?
        }
        _ => store(open, bytes)?,
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

fn store(open: &crate::tensor::device::Open, bytes: &[u8]) -> Result<Storage> {
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
