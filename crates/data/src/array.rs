//! Arrays on the host: what examples are made of before they go to a device.

use wgrad_core::{Device, Element, Error, Place, Result, Shape, Tensor};

/// Values with a shape, row-major, in the host's memory: an image, a window of a series, a table.
///
/// A [`Tensor`] belongs to a device and a thread; examples are read and changed by any thread as arrays.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::Array;
/// # let dev = wgrad::cpu();
///
/// let a = Array::new(vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3])?;
/// assert_eq!(a.dims(), [2, 3]);
/// assert_eq!(a.row(1)?.values(), [4.0, 5.0, 6.0]);
/// assert_eq!(a.to_tensor(&dev).sum().item::<f32>()?, 21.0);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Array<E = f32> {
    shape: Shape,
    values: Vec<E>,
}

impl<E: Element> Array<E> {
    /// An array from its values in row-major order.
    ///
    /// # Errors
    /// [`Error::Length`] where there are not as many values as the shape has elements.
    #[track_caller]
    pub fn new(values: Vec<E>, shape: impl Into<Shape>) -> Result<Array<E>> {
        let shape = shape.into();
        if shape.checked_numel() != Some(values.len()) {
            return Err(Error::Length {
                op: "Array::new",
                len: values.len(),
                needed: shape.numel(),
                shape,
                place: Place::caller(),
            });
        }
        Ok(Array { shape, values })
    }

    /// The same value everywhere.
    pub fn full(value: E, shape: impl Into<Shape>) -> Array<E> {
        let shape = shape.into();
        let values = vec![value; shape.numel()];
        Array { shape, values }
    }

    /// A tensor's values.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_tensor(tensor: &Tensor) -> Result<Array<E>> {
        let (shape, values) = (tensor.shape()?, tensor.to_vec()?);
        Ok(Array { shape, values })
    }

    /// A tensor of these values on a device.
    #[track_caller]
    pub fn to_tensor(&self, device: &Device) -> Tensor {
        Tensor::from_slice(&self.values, &self.shape, device)
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The sizes of the dimensions.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// The values in row-major order.
    pub fn values(&self) -> &[E] {
        &self.values
    }

    /// The values, to change them.
    pub fn values_mut(&mut self) -> &mut [E] {
        &mut self.values
    }

    /// The values.
    pub fn into_values(self) -> Vec<E> {
        self.values
    }

    /// How many rows there are: the size of the first dimension (1 without dimensions).
    pub fn num_rows(&self) -> usize {
        self.dims().first().copied().unwrap_or(1)
    }

    /// How many values a row has.
    fn row_len(&self) -> usize {
        self.dims().iter().skip(1).product()
    }

    /// A row as an array with the other dimensions.
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`].
    #[track_caller]
    pub fn row(&self, index: usize) -> Result<Array<E>> {
        let values = self.row_values(index)?.to_vec();
        let shape = Shape::new(self.dims().get(1..).unwrap_or_default());
        Ok(Array { shape, values })
    }

    /// A row's values.
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`].
    #[track_caller]
    pub fn row_values(&self, index: usize) -> Result<&[E]> {
        let (rows, len) = (self.num_rows(), self.row_len());
        if index >= rows {
            return Err(out_of_range("row", index, rows, Place::caller()));
        }
        Ok(&self.values[index * len..(index + 1) * len])
    }

    /// The rows at these positions, in their order.
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`].
    #[track_caller]
    pub fn select(&self, rows: &[usize]) -> Result<Array<E>> {
        let mut values = Vec::with_capacity(rows.len() * self.row_len());
        for &row in rows {
            values.extend_from_slice(self.row_values(row)?);
        }
        let mut dims = self.dims().to_vec();
        match dims.first_mut() {
            Some(first) => *first = rows.len(),
            None => dims.push(rows.len()),
        }
        Ok(Array {
            shape: dims.into(),
            values,
        })
    }

    /// The same values in another shape.
    ///
    /// # Errors
    /// [`Error::Length`] where the shape has another number of elements.
    #[track_caller]
    pub fn reshape(self, shape: impl Into<Shape>) -> Result<Array<E>> {
        Array::new(self.values, shape)
    }

    /// Each value through a function.
    ///
    /// ```
    /// use wgrad::data::Array;
    ///
    /// let bytes = Array::full(51u8, [2]);
    /// assert_eq!(bytes.map(|b| f32::from(b) / 255.0).values(), [0.2, 0.2]);
    /// ```
    pub fn map<F: Element>(&self, f: impl FnMut(E) -> F) -> Array<F> {
        Array {
            shape: self.shape.clone(),
            values: self.values.iter().copied().map(f).collect(),
        }
    }

    /// Arrays of one shape as the rows of one.
    ///
    /// # Errors
    /// [`Error::Shape`] where their shapes differ.
    #[track_caller]
    pub fn stack<'a>(arrays: impl IntoIterator<Item = &'a Array<E>>) -> Result<Array<E>> {
        let mut values = Vec::new();
        let mut dims = vec![0];
        for array in arrays {
            if dims[0] == 0 {
                dims.extend_from_slice(array.dims());
            } else if dims[1..] != *array.dims() {
                return Err(unequal(dims[0], &dims[1..], array.dims(), Place::caller()));
            }
            values.extend_from_slice(&array.values);
            dims[0] += 1;
        }
        Ok(Array {
            shape: dims.into(),
            values,
        })
    }

    /// Arrays of one rank as the rows of one, each filled up at its ends to the largest size in each dimension.
    ///
    /// ```
    /// use wgrad::data::Array;
    ///
    /// let (a, b) = (Array::from(vec![1, 2, 3]), Array::from(vec![4]));
    /// let both = Array::stack_padded([&a, &b], 0)?;
    /// assert_eq!(both.dims(), [2, 3]);
    /// assert_eq!(both.values(), [1, 2, 3, 4, 0, 0]);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where their ranks differ.
    #[track_caller]
    pub fn stack_padded<'a>(
        arrays: impl IntoIterator<Item = &'a Array<E>>,
        value: E,
    ) -> Result<Array<E>> {
        let arrays: Vec<&Array<E>> = arrays.into_iter().collect();
        let mut largest = arrays.first().map_or(Vec::new(), |a| a.dims().to_vec());
        for (at, array) in arrays.iter().enumerate() {
            if array.dims().len() != largest.len() {
                return Err(unequal(at, &largest, array.dims(), Place::caller()));
            }
            for (size, &other) in largest.iter_mut().zip(array.dims()) {
                *size = other.max(*size);
            }
        }
        let row: usize = largest.iter().product();
        let dims = std::iter::once(arrays.len()).chain(largest.iter().copied());
        let mut all = Array::full(value, dims.collect::<Shape>());
        for (array, to) in arrays.iter().zip(all.values.chunks_exact_mut(row.max(1))) {
            place(&array.values, array.dims(), to, &largest);
        }
        Ok(all)
    }
}

/// Writes an array into the corner of a larger one.
fn place<E: Element>(from: &[E], dims: &[usize], to: &mut [E], sizes: &[usize]) {
    let (Some((&n, inner)), Some((_, inner_sizes))) = (dims.split_first(), sizes.split_first())
    else {
        to.copy_from_slice(from);
        return;
    };
    let (part, step): (usize, usize) = (inner.iter().product(), inner_sizes.iter().product());
    if part == 0 {
        return;
    }
    for (from, to) in from
        .chunks_exact(part)
        .zip(to.chunks_exact_mut(step))
        .take(n)
    {
        place(from, inner, to, inner_sizes);
    }
}

#[cold]
pub(crate) fn out_of_range(op: &'static str, index: usize, size: usize, place: Place) -> Error {
    Error::IndexOutOfRange {
        op,
        index: i64::try_from(index).unwrap_or(i64::MAX),
        size,
        place,
    }
}

/// Examples of a batch whose shapes differ.
#[cold]
pub(crate) fn unequal(at: usize, first: &[usize], other: &[usize], place: Place) -> Error {
    Error::Shape {
        op: "stack",
        problem: format!("example {at} of the batch has shape {other:?}, the first has {first:?}"),
        place,
    }
}

impl<E: Element> From<Vec<E>> for Array<E> {
    fn from(values: Vec<E>) -> Array<E> {
        Array {
            shape: Shape::new(&[values.len()]),
            values,
        }
    }
}
